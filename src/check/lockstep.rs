//! A whole program on a device and on the reference, op by op.

use crate::backend::{Backend, Cpu, Device, Difference, lockstep};
use crate::error::Result;
use crate::program::{Operand, Plan, Program, RegionId, StepArgs};
use crate::workload::Workload;
use std::sync::Arc;

/// Fills a backend's memory.
type Fill = dyn Fn(&mut dyn Backend) -> Result<()>;

/// A program to be checked, with its memory and what that holds.
pub struct Trial {
    /// For people: `train step of preset nano, 2 sequences of 128`.
    pub name: String,
    /// The memory of its program.
    pub plan: Plan,
    /// What is run.
    pub program: Program,
    /// With these arguments.
    pub args: StepArgs,
    fill: Box<Fill>,
}

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
    /// How far the two results lie apart.
    pub difference: Difference,
    /// Where the output lies: `acts`.
    pub region: &'static str,
    /// Rows and columns of the output.
    pub shape: [usize; 2],
}

impl From<Workload> for Trial {
    fn from(workload: Workload) -> Self {
        let (name, plan, program, args) =
            (workload.describe(), workload.plan.clone(), workload.program.clone(), workload.args);
        Trial::new(name, plan, program, args, move |backend| workload.fill(backend))
    }
}

impl Trial {
    /// Of a program, its arguments, and what fills a backend's memory.
    pub(super) fn new(
        name: String,
        plan: Plan,
        program: Program,
        args: StepArgs,
        fill: impl Fn(&mut dyn Backend) -> Result<()> + 'static,
    ) -> Self {
        Trial { name, plan, program, args, fill: Box::new(fill) }
    }

    /// Writes what its memory holds into a backend of its plan.
    pub fn fill(&self, backend: &mut dyn Backend) -> Result<()> {
        (self.fill)(backend)
    }

    /// Runs it op by op on a device and on the CPU, which stores every number in f32; before each op both get the same
    /// inputs. `observe` sees each op as soon as it is done.
    pub fn in_lockstep(
        &self,
        device: &Device,
        observe: &mut dyn FnMut(&CheckedOp) -> Result<()>,
    ) -> Result<Vec<CheckedOp>> {
        let mut reference = Cpu::new(Arc::new(self.plan.widened()));
        let mut backend = device.open(Arc::new(self.plan.clone()))?;
        (self.fill)(&mut reference)?;
        (self.fill)(backend.as_mut())?;
        let region = |id: RegionId| self.plan.regions()[id.index()].name;
        let mut all = Vec::new();
        for (index, op) in self.program.ops.iter().enumerate() {
            let (id, name) = (self.program.id, self.program.name.clone());
            let alone = Program { id, name, ops: vec![op.clone()] };
            let differences = lockstep(&mut reference, backend.as_mut(), &alone, &self.args)?;
            let outputs = op.operands().into_iter().filter(Operand::is_output).zip(differences);
            let outputs = outputs.map(|(Operand { mat, .. }, difference)| {
                let difference = Difference { index, ..difference };
                Agreement { difference, region: region(mat.region), shape: mat.shape() }
            });
            let checked = CheckedOp { outputs: outputs.collect(), kernels: backend.kernels(op)? };
            observe(&checked)?;
            all.push(checked);
        }
        Ok(all)
    }

    /// The kernels that it launches on a device, in order; nothing is run.
    pub fn kernels(&self, device: &Device) -> Result<Vec<&'static str>> {
        let mut backend = device.open(Arc::new(self.plan.clone()))?;
        (self.fill)(backend.as_mut())?;
        let mut all = Vec::new();
        for op in &self.program.ops {
            all.extend(backend.kernels(op)?);
        }
        Ok(all)
    }
}
