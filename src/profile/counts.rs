//! What kernels do, counted by the virtual GPU.

use crate::backend::Backend;
use crate::backend::cuda::virtual_gpu::{Counters, Counts};
use crate::backend::cuda::{ARGUMENT_KERNELS, Gpu};
use crate::error::Result;
use crate::program::Work;
use crate::workload::Workload;
use std::sync::Arc;

/// One op, in the order of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct OpCounts {
    /// What it costs at least.
    pub work: Work,
    /// Its launches, in order.
    pub kernels: Vec<Counts>,
}

/// Runs a step once, op by op, on the virtual GPU, and asks it what each kernel did.
pub fn count(
    workload: &Workload,
    gpu: &Arc<Gpu>,
    counters: &Counters,
    observe: &mut dyn FnMut(usize),
) -> Result<Vec<OpCounts>> {
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone()))?;
    workload.fill(&mut cuda)?;
    counters.take();
    let ops = workload.program.ops.iter().enumerate().map(|(index, op)| {
        observe(index);
        cuda.run_op(op, &workload.args)?;
        cuda.read_bytes(workload.last)?; // Waits.
        let kernels =
            counters.take().into_iter().filter(|launch| !ARGUMENT_KERNELS.contains(&&launch.kernel[..])).collect();
        Ok(OpCounts { work: op.work(&workload.plan), kernels })
    });
    ops.collect()
}
