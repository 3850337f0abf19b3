//! Handles: the numbers that stand for the driver's objects on the C side.
//!
//! A handle is never given out twice, so one that was destroyed, or that belongs to an
//! object of another kind, is told apart from a live one instead of being followed.

use super::error::{Answer, Code};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle as the C side carries it: the size of a pointer, 0 = none.
pub(super) type Handle = usize;

type Object = Arc<dyn Any + Send + Sync>;

struct Table {
    objects: BTreeMap<Handle, Object>,
    next: Handle,
}

/// Handles start far from small numbers (special streams) and from real addresses.
static TABLE: Mutex<Table> = Mutex::new(Table { objects: BTreeMap::new(), next: 0x7670_0000_0000 });

/// A lock that a panic elsewhere does not take away.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enters an object that is told its own handle.
pub(super) fn insert<T: Any + Send + Sync>(make: impl FnOnce(Handle) -> Arc<T>) -> Arc<T> {
    let handle = {
        let mut table = lock(&TABLE);
        table.next += 16;
        table.next
    };
    let object = make(handle);
    lock(&TABLE).objects.insert(handle, object.clone());
    object
}

/// The live object behind a handle.
pub(super) fn get<T: Any + Send + Sync>(handle: Handle) -> Answer<Arc<T>> {
    let object = lock(&TABLE).objects.get(&handle).cloned();
    object.and_then(|object| object.downcast().ok()).ok_or(Code::InvalidHandle)
}

/// Ends a handle and returns its object.
pub(super) fn remove<T: Any + Send + Sync>(handle: Handle) -> Answer<Arc<T>> {
    let object = get(handle)?;
    lock(&TABLE).objects.remove(&handle);
    Ok(object)
}

/// Every live object of a kind.
pub(super) fn all<T: Any + Send + Sync>() -> Vec<Arc<T>> {
    let objects: Vec<Object> = lock(&TABLE).objects.values().cloned().collect();
    objects.into_iter().filter_map(|object| object.downcast().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_ends_with_its_object_and_knows_its_kind() {
        let object = insert(|handle| Arc::new((handle, "text")));
        let handle = object.0;
        assert_eq!(get::<(Handle, &str)>(handle).unwrap().1, "text");
        assert_eq!(get::<String>(handle).unwrap_err(), Code::InvalidHandle);
        assert!(remove::<(Handle, &str)>(handle).is_ok());
        assert_eq!(get::<(Handle, &str)>(handle).unwrap_err(), Code::InvalidHandle);
        let next = insert(|handle| Arc::new((handle, "other")));
        assert_ne!(next.0, handle);
    }
}
