//! The C side of the API as Rust types: pointers that callers hand in, wrapped so that
//! the rest of the driver is safe code.
//!
//! Every wrapper has the layout of the pointer it stands for, and only a C caller can
//! make one. That caller owes what the driver API's documentation asks: each pointer is
//! null or valid for what the function does with it, for as long as the call lasts. The
//! unsafe blocks here rest on that promise.

use super::error::{Answer, Code, SUCCESS};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an entry point; neither an error nor a panic crosses into C.
pub(super) fn entry(name: &str, body: impl FnOnce() -> Answer) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(code)) => code as u32,
        Err(_) => {
            eprintln!("vgpu: {name} failed inside the virtual GPU (a bug of its own, see above)");
            Code::Unknown as u32
        }
    }
}

/// Defines exported entry points: `fn name(arguments) { body }`, where the body answers
/// `Result<(), Code>`.
macro_rules! exports {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            #[allow(clippy::too_many_arguments)]
            pub extern "C" fn $name($($argument: $kind),*) -> u32 {
                $crate::driver::abi::entry(stringify!($name), move || $body)
            }
        )*
    };
}
pub(super) use exports;

/// A place the caller wants a `T` written to.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// A place of our own.
    pub(super) fn to(place: &mut T) -> Out<T> {
        Out(place)
    }

    /// Writes the value; null is an invalid value.
    pub(super) fn set(self, value: T) -> Answer {
        if self.0.is_null() {
            return Err(Code::InvalidValue);
        }
        // SAFETY: not null, so the caller promises room for a T (see the module's head);
        // unaligned, because C structures may be packed.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// Writes the value where the caller wants it; null says they do not.
    pub(super) fn set_if_wanted(self, value: T) {
        let _ = self.set(value);
    }

    /// What stands there now.
    pub(super) fn get(self) -> Answer<T>
    where
        T: Copy,
    {
        Array(self.0.cast_const()).at(0)
    }

    pub(super) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Writes the i-th element of the array that starts here.
    pub(super) fn set_at(self, index: usize, value: T) -> Answer {
        // SAFETY: wrapping_add computes an address only; `set` writes there under the
        // caller's promise that the array holds that many elements.
        Out(if self.0.is_null() { self.0 } else { self.0.wrapping_add(index) }).set(value)
    }
}

impl Out<c_char> {
    /// Writes a NUL-terminated text into `room` bytes, cut where it does not fit.
    pub(super) fn set_text(self, text: &str, room: usize) -> Answer {
        if room == 0 {
            return Err(Code::InvalidValue);
        }
        let bytes = &text.as_bytes()[..text.len().min(room - 1)];
        for (i, &byte) in bytes.iter().enumerate() {
            self.set_at(i, byte as c_char)?;
        }
        self.set_at(bytes.len(), 0)
    }
}

/// An array, or one structure, that the caller lets us read.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Array<T>(*const T);

impl<T> Array<T> {
    pub(super) const NULL: Array<T> = Array(std::ptr::null());
}

impl<T: Copy> Array<T> {
    pub(super) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The element at `index`; a null array is an invalid value.
    pub(super) fn at(self, index: usize) -> Answer<T> {
        if self.0.is_null() {
            return Err(Code::InvalidValue);
        }
        // SAFETY: not null, so the caller promises elements up to the counts they gave.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

/// Plain host memory: the other end of a copy, a kernel argument, a module image. Kept as
/// an address, because captured copies outlive the call that named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct HostMemory(usize);

impl HostMemory {
    pub(super) fn at(address: usize) -> HostMemory {
        HostMemory(address)
    }

    pub(super) fn address(self) -> usize {
        self.0
    }

    pub(super) fn is_null(&self) -> bool {
        self.0 == 0
    }

    pub(super) fn offset(self, bytes: usize) -> HostMemory {
        HostMemory(self.0.wrapping_add(bytes))
    }

    /// `bytes` bytes read from there.
    pub(super) fn read(self, bytes: usize) -> Answer<Vec<u8>> {
        let mut copy = vec![0; bytes];
        self.read_into(&mut copy)?;
        Ok(copy)
    }

    /// Fills `buffer` from there.
    pub(super) fn read_into(self, buffer: &mut [u8]) -> Answer {
        if buffer.is_empty() {
            return Ok(());
        }
        if self.is_null() {
            return Err(Code::InvalidValue);
        }
        let source = std::ptr::with_exposed_provenance::<u8>(self.0);
        // SAFETY: the caller promises that many readable bytes; a copy, not a reference,
        // because other threads of theirs may look at the memory too.
        unsafe { std::ptr::copy(source, buffer.as_mut_ptr(), buffer.len()) };
        Ok(())
    }

    /// The word that stands there.
    pub(super) fn read_word(self) -> Answer<usize> {
        let mut word = [0; size_of::<usize>()];
        self.read_into(&mut word)?;
        Ok(usize::from_le_bytes(word))
    }

    /// Writes `bytes` there.
    pub(super) fn write(self, bytes: &[u8]) -> Answer {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_null() {
            return Err(Code::InvalidValue);
        }
        let target = std::ptr::with_exposed_provenance_mut::<u8>(self.0);
        // SAFETY: the caller promises that many writable bytes.
        unsafe { std::ptr::copy(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    /// The NUL-terminated text that starts there.
    pub(super) fn text(self) -> Answer<String> {
        if self.is_null() {
            return Err(Code::InvalidValue);
        }
        let start = std::ptr::with_exposed_provenance::<c_char>(self.0);
        // SAFETY: the caller promises a NUL-terminated text.
        let text = unsafe { CStr::from_ptr(start) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// A constant text handed to the caller.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct CText(*const c_char);

impl CText {
    pub(super) const NULL: CText = CText(std::ptr::null());

    pub(super) fn of(text: &'static CStr) -> CText {
        CText(text.as_ptr())
    }

    /// A text that lives as long as whatever owns it; the caller must not use it longer.
    pub(super) fn borrowed(text: &CStr) -> CText {
        CText(text.as_ptr())
    }
}

/// A function the caller wants called on the host.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct HostFunction(Option<unsafe extern "C" fn(*mut c_void)>);

impl HostFunction {
    pub(super) fn is_null(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn call(self, argument: HostMemory) {
        if let Some(function) = self.0 {
            // SAFETY: the caller of cuLaunchHostFunc promises that the function may be
            // called with this argument, from any thread.
            unsafe { function(std::ptr::with_exposed_provenance_mut(argument.address())) };
        }
    }
}

/// NVTX's function that hands out its tables.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct ExportTables(Option<unsafe extern "C" fn(u32) -> *const Callbacks>);

/// NVTX's table of callbacks, by module.
#[repr(C)]
pub struct Callbacks {
    bytes: usize,
    table: unsafe extern "C" fn(u32, *mut *const *mut *const (), *mut u32) -> i32,
}

impl ExportTables {
    /// Puts functions into places of the module of plain ranges; whether they are all there.
    pub(super) fn put(self, functions: &[(usize, *const ())]) -> bool {
        const CALLBACKS: u32 = 1;
        const CORE: u32 = 1;
        let Some(export) = self.0 else { return false };
        let (mut table, mut places) = (std::ptr::null(), 0);
        // SAFETY: the caller promises NVTX's tables: of callbacks, with as many places as it says, each null or the address of
        // a place for a function.
        unsafe {
            let Some(callbacks) = export(CALLBACKS).as_ref() else { return false };
            if callbacks.bytes < size_of::<Callbacks>() || (callbacks.table)(CORE, &mut table, &mut places) == 0 {
                return false;
            }
            functions.iter().all(|&(place, function)| {
                let there = place < places as usize && !(*table.add(place)).is_null();
                if there {
                    **table.add(place) = function;
                }
                there
            })
        }
    }
}

/// The occupancy calculator's callback: dynamic shared memory for a block size.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct SharedForBlock(Option<unsafe extern "C" fn(i32) -> usize>);

impl SharedForBlock {
    pub(super) fn call(self, block: i32) -> Option<usize> {
        // SAFETY: the caller promises a function of this signature or null.
        self.0.map(|function| unsafe { function(block) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_pointers_are_invalid_values() {
        assert_eq!(Out::<u32>(std::ptr::null_mut()).set(1), Err(Code::InvalidValue));
        assert_eq!(Array::<u32>(std::ptr::null()).at(0), Err(Code::InvalidValue));
        assert_eq!(HostMemory(0).read(4), Err(Code::InvalidValue));
        assert_eq!(HostMemory(0).read(0), Ok(vec![]));
        assert_eq!(HostMemory(0).text(), Err(Code::InvalidValue));
    }

    #[test]
    fn texts_are_cut_and_terminated() {
        let mut room = [1 as c_char; 4];
        Out(room.as_mut_ptr()).set_text("abcdef", 4).unwrap();
        assert_eq!(room.map(|c| c as u8), *b"abc\0");
    }

    #[test]
    fn a_panic_does_not_cross_into_c() {
        assert_eq!(entry("test", || panic!("on purpose")), Code::Unknown as u32);
        assert_eq!(entry("test", || Err(Code::NotFound)), 500);
        assert_eq!(entry("test", || Ok(())), 0);
    }
}
