//! Primary contexts: one a device, shared by all who ask for it.

use super::abi::{Out, exports};
use super::context::{self, Context, Owner};
use super::device;
use super::error::{Answer, Code};
use super::handles::{Handle, lock};
use std::collections::BTreeMap;
use std::sync::Mutex;

#[derive(Debug, Default)]
struct Primary {
    context: Handle,
    references: usize,
    flags: u32,
}

/// By the device's ordinal.
static PRIMARY: Mutex<BTreeMap<i32, Primary>> = Mutex::new(BTreeMap::new());

/// Works on a device's own.
fn with<T>(ordinal: i32, f: impl FnOnce(&mut Primary) -> Answer<T>) -> Answer<T> {
    device::find(ordinal)?;
    f(lock(&PRIMARY).entry(ordinal).or_default())
}

exports! {
    /// Retains the primary context, and creates it the first time.
    fn cuDevicePrimaryCtxRetain(context: Out<Handle>, device: i32) {
        if context.is_null() {
            device::find(device)?;
            return Err(Code::InvalidValue);
        }
        let retained = with(device, |primary| {
            if primary.context == 0 {
                primary.context = Context::create(device::find(device)?, primary.flags, Owner::Device).handle;
            }
            primary.references += 1;
            Ok(primary.context)
        });
        context.set(retained?)
    }

    /// Releases the primary context; the last release destroys it.
    fn cuDevicePrimaryCtxRelease_v2(device: i32) {
        let unused = with(device, |primary| {
            primary.references = primary.references.checked_sub(1).ok_or(Code::InvalidContext)?;
            Ok((primary.references == 0).then(|| std::mem::take(&mut primary.context)))
        });
        unused?.map_or(Ok(()), context::destroy)
    }

    /// Destroys the primary context with all that is in it.
    fn cuDevicePrimaryCtxReset_v2(device: i32) {
        match with(device, |primary| Ok(std::mem::take(&mut primary.context)))? {
            0 => Ok(()),
            context => context::destroy(context),
        }
    }

    /// Flags for the primary context.
    fn cuDevicePrimaryCtxSetFlags_v2(device: i32, wanted: u32) {
        with(device, |primary| {
            primary.flags = wanted;
            Ok(())
        })
    }

    /// Whether the primary context is alive, and its flags.
    fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) {
        let (now, context) = with(device, |primary| Ok((primary.flags, primary.context)))?;
        flags.set(now)?;
        active.set(i32::from(context != 0))
    }
}
