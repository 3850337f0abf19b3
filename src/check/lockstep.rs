//! A whole step on a device and on the reference, op by op.

use crate::backend::{Cpu, Device, Difference, lockstep};
use crate::error::Result;
use crate::program::{Program, RegionId};
use crate::workload::Workload;
use std::sync::Arc;

/// What one op came to.
#[derive(Clone, Debug)]
pub struct CheckedOp {
    /// The kernels that it was launched as, in order; none on a CPU.
    pub kernels: Vec<&'static str>,
    /// Everything that it wrote.
    pub outputs: Vec<Agreement>,
}

/// How one output of one op agrees.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// In numbers.
    pub difference: Difference,
    /// Where the output lies: `acts`.
    pub region: &'static str,
    /// Its shape.
    pub shape: [usize; 2],
}

/// Runs a step op by op on a device and on the CPU, which stores every number in f32; before each op both get the same
/// inputs. `observe` sees each op as soon as it is done.
pub fn in_lockstep(
    workload: &Workload,
    device: &Device,
    observe: &mut dyn FnMut(&CheckedOp) -> Result<()>,
) -> Result<Vec<CheckedOp>> {
    let plan = &workload.plan;
    let mut reference = Cpu::new(Arc::new(plan.widened()));
    let mut backend = device.open(Arc::new(plan.clone()))?;
    workload.fill(&mut reference)?;
    workload.fill(backend.as_mut())?;
    let region = |id: RegionId| plan.regions()[id.index()].name;
    let mut all = Vec::new();
    for (index, op) in workload.program.ops.iter().enumerate() {
        let (id, name) = (workload.program.id, workload.program.name.clone());
        let alone = Program { id, name, ops: vec![op.clone()] };
        let differences = lockstep(&mut reference, backend.as_mut(), &alone, &workload.args)?;
        let operands = op.operands();
        let outputs = differences.into_iter().map(|difference| {
            let mat = operands[difference.operand].0;
            let difference = Difference { index, ..difference };
            Agreement { difference, region: region(mat.region), shape: mat.shape() }
        });
        let checked = CheckedOp { outputs: outputs.collect(), kernels: backend.kernels(op)? };
        observe(&checked)?;
        all.push(checked);
    }
    Ok(all)
}
