//! Where a step's time goes, op by op.
//!
//! On a GPU every kernel is timed by events around it, which are part of the step's graph, on the CPU every op by the clock; the
//! yardstick of both is the op's own work ([`Op::work`](crate::program::Op::work)) and, on a GPU, its measured [`Roofline`]. The virtual GPU has no times: there
//! [`count`] says what each kernel does.

mod counts;
mod record;
mod table;
mod times;
mod trace;

pub use counts::{OpCounts, count};
pub use record::{Found, write_record};
pub use table::{counts_table, times_table};
pub use times::{Effort, KernelTime, OpTime, Roofline, Times, time};
pub use trace::write_trace;

use crate::workload::Workload;

/// Ops of one name and one [`detail`](crate::program::Op::detail), with what was found of each.
struct Kind<'a, T> {
    name: &'static str,
    detail: String,
    found: Vec<&'a T>,
}

impl<T> Kind<'_, T> {
    fn sum<S: std::iter::Sum>(&self, of: impl Fn(&T) -> S) -> S {
        self.found.iter().map(|found| of(found)).sum()
    }
}

/// What was found of each op, by kind, in the order in which kinds appear.
fn kinds<'a, T>(workload: &Workload, found: &'a [T]) -> Vec<Kind<'a, T>> {
    let mut kinds: Vec<Kind<'a, T>> = Vec::new();
    for (op, found) in workload.program.ops.iter().zip(found) {
        let (name, detail) = (op.name(), op.detail());
        match kinds.iter_mut().find(|kind| kind.name == name && kind.detail == detail) {
            Some(kind) => kind.found.push(found),
            None => kinds.push(Kind { name, detail, found: vec![found] }),
        }
    }
    kinds
}
