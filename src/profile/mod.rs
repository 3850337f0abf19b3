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

use crate::program::Op;

/// Ops of one name and one [`detail`](Op::detail).
struct Kind {
    name: &'static str,
    detail: String,
    /// Where they stand in the program.
    places: Vec<usize>,
}

/// A program's ops by kind, in the order in which kinds appear.
fn kinds(ops: &[Op]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        let (name, detail) = (op.name(), op.detail());
        match kinds.iter_mut().find(|kind| kind.name == name && kind.detail == detail) {
            Some(kind) => kind.places.push(place),
            None => kinds.push(Kind { name, detail, places: vec![place] }),
        }
    }
    kinds
}
