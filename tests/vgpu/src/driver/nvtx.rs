//! NVTX's side of a profiler: with `NVTX_INJECTION64_PATH` leading here, the report of each launch names the ranges that its
//! thread was in.

use super::abi::{ExportTables, HostMemory};
use std::cell::RefCell;

/// `NVTX_CBID_CORE_RangePushA` and `NVTX_CBID_CORE_RangePop`.
const PUSH: usize = 9;
const POP: usize = 11;

thread_local! {
    static RANGES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The ranges that this thread is in, outermost first.
pub(super) fn ranges() -> Vec<String> {
    RANGES.with_borrow(Clone::clone)
}

extern "C" fn push(name: HostMemory) -> i32 {
    RANGES.with_borrow_mut(|ranges| {
        ranges.push(name.text().unwrap_or_default());
        ranges.len() as i32 - 1
    })
}

extern "C" fn pop() -> i32 {
    RANGES.with_borrow_mut(|ranges| {
        ranges.pop();
        ranges.len() as i32
    })
}

/// Called by who has names to give.
#[unsafe(no_mangle)]
pub extern "C" fn InitializeInjectionNvtx2(tables: ExportTables) -> i32 {
    let push = push as extern "C" fn(HostMemory) -> i32 as *const ();
    let pop = pop as extern "C" fn() -> i32 as *const ();
    i32::from(tables.put(&[(PUSH, push), (POP, pop)]))
}
