//! Programs op by op on the virtual GPU and on the CPU, watched: what each op computes, that it leaves everything
//! else in memory alone, what the sanitizers find, and which kernels ran.

use crate::device::take_reports;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use tempest::Result;
use tempest::backend::cuda::Gpu;
use tempest::backend::{Backend, Cpu, Device, lockstep};
use tempest::data::Corpus;
use tempest::program::{
    Access, DType, Embed, LinearResidual, Mat, Op, Operand, Plan, Program, RegionId, SUMSQ_COLS, StepArgs,
};

/// Every byte of what an op is to write, before it does: NaN in every type of number, beyond every id.
const POISON: u8 = 0xff;

/// A GPU under watch, and what was seen of it.
pub(crate) struct Watch {
    device: Device,
    dtype: DType,
    stops: bool,
    problems: Vec<String>,
    kernels: BTreeSet<&'static str>,
}

/// One plan's memory on both sides: the CPU's is the widened one.
pub(crate) struct Twins {
    pub(crate) cpu: Box<dyn Backend>,
    pub(crate) gpu: Box<dyn Backend>,
}

impl Twins {
    pub(crate) fn write_f32(&mut self, mat: Mat, values: &[f32]) -> Result<()> {
        self.cpu.write_f32(mat, values)?;
        self.gpu.write_f32(mat, values)
    }

    pub(crate) fn write_u32(&mut self, mat: Mat, values: &[u32]) -> Result<()> {
        self.cpu.write_u32(mat, values)?;
        self.gpu.write_u32(mat, values)
    }

    pub(crate) fn bind_corpus(&mut self, corpus: &Arc<Corpus>) -> Result<()> {
        self.cpu.bind_corpus(Arc::clone(corpus))?;
        self.gpu.bind_corpus(Arc::clone(corpus))
    }
}

impl Watch {
    /// On a GPU of which nothing was seen yet; if it `stops`, nothing more is tried after the first problem.
    pub(crate) fn new(gpu: Arc<Gpu>, dtype: DType, stops: bool) -> Self {
        Watch { device: Device::Cuda(gpu), dtype, stops, problems: Vec::new(), kernels: BTreeSet::new() }
    }

    /// The stored dtype that cases are run for.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// What went wrong.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Names of the kernels that ran.
    pub(crate) fn kernels(&self) -> &BTreeSet<&'static str> {
        &self.kernels
    }

    /// Memory for a plan on both sides.
    pub(crate) fn twins(&self, plan: Plan) -> Result<Twins> {
        let cpu = Box::new(Cpu::new(Arc::new(plan.widened())));
        Ok(Twins { cpu, gpu: self.device.open(Arc::new(plan))? })
    }

    /// Does something that may fail, as what a broken kernel left makes it; whatever happens is noted.
    pub(crate) fn attempt(&mut self, case: &str, what: impl FnOnce(&mut Self) -> Result<()>) {
        if self.stops && !self.problems.is_empty() {
            return;
        }
        if let Err(error) = what(self) {
            self.problems.push(format!("{case}: {error}"));
        }
        for report in take_reports() {
            let found = report["findings"].as_array().into_iter().flatten();
            self.problems.extend(found.map(|finding| format!("{case}: {finding}")));
            if !report["trap"].is_null() {
                self.problems.push(format!("{case}: {} ended by {}", report["kernel"], report["trap"]));
            }
        }
    }

    /// Runs a program op by op on both, each op on the same inputs.
    pub(crate) fn run(&mut self, case: &str, twins: &mut Twins, program: &Program, args: &StepArgs) -> Result<()> {
        for (index, op) in program.ops.iter().enumerate() {
            self.kernels.extend(twins.gpu.kernels(op)?);
            let problems = check_op(twins, program, op, args)?;
            let named = problems.into_iter().map(|problem| format!("{case}: op {index}, {}: {problem}", op.name()));
            self.problems.extend(named);
            if self.stops && !self.problems.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with one op.
fn check_op(twins: &mut Twins, program: &Program, op: &Op, args: &StepArgs) -> Result<Vec<String>> {
    let operands = op.operands();
    for Operand { mat, .. } in operands.iter().filter(|operand| operand.access == Access::Write) {
        let bytes = mat.len() * twins.gpu.plan().dtype(*mat).bytes();
        twins.gpu.write_bytes(*mat, &vec![POISON; bytes])?;
    }
    let before = memory(twins, &operands)?;
    let single = Program { ops: vec![op.clone()], ..program.clone() };
    let differences = lockstep(twins.cpu.as_mut(), twins.gpu.as_mut(), &single, args)?;
    let mut problems: Vec<String> = (differences.iter().filter(|difference| !difference.passes()))
        .map(|d| {
            let (off, bound) = (d.relative_l2, d.tolerance());
            let elements = format!("{} elements broken, one off by {:.2} of its own", d.broken, d.worst);
            format!("{} is off by {off:.2e} of {bound:.2e}, {elements}", d.operand)
        })
        .collect();
    for operand @ Operand { name, mat, .. } in &operands {
        let differs = |twins: &mut Twins| -> Result<bool> {
            Ok(read_bits(twins.gpu.as_mut(), *mat)? != read_bits(twins.cpu.as_mut(), *mat)?)
        };
        if !operand.is_output() && differs(twins)? {
            problems.push(format!("its input {name} has changed"));
        }
        if operand.is_output() && op.contract().is_exact && differs(twins)? {
            problems.push(format!("{name} is not the same bits"));
        }
    }
    problems.extend(check_squares(twins, op)?);
    for (region, after) in memory(twins, &operands)? {
        let plan = twins.gpu.plan();
        let width = plan.regions()[region.index()].dtype.bytes();
        let mut own: Vec<Range<usize>> =
            (operands.iter().map(|operand| operand.mat).filter(|mat| mat.region == region))
                .map(|mat| mat.range().start * width..mat.range().end * width)
                .collect();
        own.sort_by_key(|range| range.start);
        let ends = std::iter::once(0).chain(own.iter().map(|range| range.end));
        let starts = own.iter().map(|range| range.start).chain([after.len()]);
        for gap in ends.zip(starts).map(|(end, start)| end..start.max(end)) {
            if before[&region][gap.clone()] != after[gap.clone()] {
                let name = plan.regions()[region.index()].name;
                problems.push(format!("bytes {gap:?} of {name} changed that are not its own"));
            }
        }
    }
    Ok(problems)
}

/// The bits of a matrix's elements as f32, or of its ids. What is not a number has other bits on every device: here one.
fn read_bits(backend: &mut dyn Backend, mat: Mat) -> Result<Vec<u32>> {
    if backend.plan().dtype(mat) == DType::U32 {
        return backend.read_u32(mat);
    }
    let bits = |x: f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    Ok(backend.read_f32(mat)?.into_iter().map(bits).collect())
}

/// Whether the sums of squares that an op left are those of the very numbers that it stored: the reference, which does not
/// round them, could not tell.
fn check_squares(twins: &mut Twins, op: &Op) -> Result<Option<String>> {
    let (Op::Embed(Embed { x, sumsq, .. }) | Op::LinearResidual(LinearResidual { out: x, sumsq, .. })) = op else {
        return Ok(None);
    };
    let (x_, sums) = (twins.gpu.read_f32(*x)?, twins.gpu.read_f32(*sumsq)?);
    let square = |x: &f32| f64::from(*x) * f64::from(*x);
    let want =
        x_.chunks(x.cols).flat_map(|row| row.chunks(SUMSQ_COLS).map(|part| part.iter().map(square).sum::<f64>()));
    // Up to 128 additions of positive numbers, each rounded to f32.
    let bound = 128.0 * 2.0_f64.powi(-24);
    let finite = sums.iter().zip(want).filter(|(got, want)| got.is_finite() || want.is_finite());
    let off = finite.map(|(&got, want)| (f64::from(got) - want).abs() / want.max(1e-30));
    // Of what is finite on one side only the quotient is infinite or no number.
    let wrong: Vec<f64> = off.filter(|off| off.is_nan() || *off > bound).collect();
    let told = |first: &f64| format!("sums of squares are off by {first:.1e} of those of what it stored");
    Ok(wrong.first().map(told))
}

/// The GPU's regions in which an op works, byte by byte.
fn memory(twins: &mut Twins, operands: &[Operand]) -> Result<BTreeMap<RegionId, Vec<u8>>> {
    let regions: BTreeSet<RegionId> = operands.iter().map(|operand| operand.mat.region).collect();
    let whole: Vec<_> = regions.iter().map(|region| (*region, twins.gpu.plan().whole(*region))).collect();
    whole.into_iter().map(|(region, mat)| Ok((region, twins.gpu.read_bytes(mat)?))).collect()
}
