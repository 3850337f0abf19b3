//! Names and texts of result codes, for callers in C.

use super::abi::{CText, Out};
use super::error::{Code, SUCCESS};
use std::ffi::CStr;

fn describe(number: u32, out: Out<CText>, of: impl Fn(Code) -> &'static CStr, ok: &'static CStr) -> u32 {
    let (text, answer) = match Code::from_number(number) {
        Some(code) => (CText::of(of(code)), SUCCESS),
        None if number == SUCCESS => (CText::of(ok), SUCCESS),
        None => (CText::NULL, Code::InvalidValue as u32),
    };
    match out.set(text) {
        Ok(()) => answer,
        Err(code) => code as u32,
    }
}

/// Name of a result code; null for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(error: u32, name: Out<CText>) -> u32 {
    describe(error, name, Code::name, c"CUDA_SUCCESS")
}

/// Text of a result code; null for a number that is none.
#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(error: u32, text: Out<CText>) -> u32 {
    describe(error, text, Code::text, c"no error")
}
