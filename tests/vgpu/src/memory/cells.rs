//! Bytes that many threads may read and write at once, as device memory is.
//!
//! Every access is a relaxed atomic of the host: on hosts of today a plain move, and defined
//! whatever the other threads do. A kernel's own races then give one of the values that were
//! written, never undefined behaviour of the interpreter.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A run of bytes.
#[derive(Debug)]
pub struct Cells {
    words: Box<[AtomicU64]>,
    bytes: usize,
}

macro_rules! access {
    ($load:ident, $store:ident, $exchange:ident, $int:ident, $atomic:ty) => {
        /// Loads; an address that is not aligned goes byte by byte.
        #[inline(always)]
        pub fn $load(&self, at: usize) -> $int {
            const SIZE: usize = size_of::<$int>();
            if at.is_multiple_of(SIZE) {
                return self.$int(at).load(Relaxed);
            }
            let mut bytes = [0; SIZE];
            self.read(at, &mut bytes);
            <$int>::from_le_bytes(bytes)
        }

        /// Stores.
        #[inline(always)]
        pub fn $store(&self, at: usize, value: $int) {
            const SIZE: usize = size_of::<$int>();
            if at.is_multiple_of(SIZE) {
                return self.$int(at).store(value, Relaxed);
            }
            self.write(at, &value.to_le_bytes());
        }

        /// Replaces what is there by what `f` makes of it, atomically; gives the old value.
        #[inline]
        pub fn $exchange(&self, at: usize, f: impl Fn($int) -> $int) -> $int {
            let cell = self.$int(at);
            let mut old = cell.load(Relaxed);
            loop {
                match cell.compare_exchange_weak(old, f(old), Relaxed, Relaxed) {
                    Ok(old) => return old,
                    Err(now) => old = now,
                }
            }
        }

        #[inline(always)]
        fn $int(&self, at: usize) -> &$atomic {
            const SIZE: usize = size_of::<$int>();
            assert!(at.is_multiple_of(SIZE) && at + SIZE <= self.bytes);
            // SAFETY: the pointer is inside `words` and aligned, by the assertion; the words are
            // atomics, so they may be changed through a shared reference; nothing reaches them
            // but through atomics of this module.
            unsafe { <$atomic>::from_ptr(self.pointer().add(at).cast()) }
        }
    };
}

impl Cells {
    /// Zeroed bytes; the system provides them when they are touched.
    pub fn zeroed(bytes: usize) -> Cells {
        let words = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        // SAFETY: `AtomicU64` has the layout of `u64`, and the box is not used otherwise.
        let words = unsafe { Box::from_raw(Box::into_raw(words) as *mut [AtomicU64]) };
        Cells { words, bytes }
    }

    /// Bytes of one value.
    pub fn filled(bytes: usize, value: u8) -> Cells {
        let pattern = u64::from_ne_bytes([value; 8]);
        let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(pattern)).collect();
        Cells { words, bytes }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn pointer(&self) -> *mut u8 {
        self.words.as_ptr().cast::<u8>().cast_mut()
    }

    access!(load_u8, store_u8, update_u8, u8, AtomicU8);
    access!(load_u16, store_u16, update_u16, u16, AtomicU16);
    access!(load_u32, store_u32, update_u32, u32, AtomicU32);
    access!(load_u64, store_u64, update_u64, u64, AtomicU64);

    /// Copies out.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        let mut i = 0;
        while i < into.len() {
            if (at + i).is_multiple_of(8) && into.len() - i >= 8 {
                into[i..i + 8].copy_from_slice(&self.load_u64(at + i).to_le_bytes());
                i += 8;
            } else {
                into[i] = self.load_u8(at + i);
                i += 1;
            }
        }
    }

    /// Copies in.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            if (at + i).is_multiple_of(8)
                && let Some(eight) = bytes[i..].first_chunk::<8>()
            {
                self.store_u64(at + i, u64::from_le_bytes(*eight));
                i += 8;
            } else {
                self.store_u8(at + i, bytes[i]);
                i += 1;
            }
        }
    }

    /// Sets a range to one value.
    pub fn fill(&self, at: usize, bytes: usize, value: u8) {
        let mut i = at;
        let end = at + bytes;
        while i < end {
            if i.is_multiple_of(8) && end - i >= 8 {
                self.store_u64(i, u64::from_le_bytes([value; 8]));
                i += 8;
            } else {
                self.store_u8(i, value);
                i += 1;
            }
        }
    }
}
