//! Where programs run. A backend owns the memory of a [`Plan`] and replays [`Program`]s over it.

mod cpu;
pub mod cuda;
mod device;
mod lockstep;

pub use cpu::{Cpu, stratified_level};
pub use device::Device;
pub use lockstep::{Difference, lockstep, truncation};

use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::program::{Contract, DType, Mat, Op, Plan, Program, ProgramId, StepArgs};
use crate::stop::Stop;
use std::sync::Arc;

/// Something that runs programs. `run` is the whole of it; the rest carries data in and out between programs.
pub trait Backend: Send {
    /// For people: `cpu, 2 threads, avx512`.
    fn describe(&self) -> String;

    /// The memory it allocated.
    fn plan(&self) -> &Plan;

    /// From now on work ends between ops, or at least between programs, when somebody asks to stop. What a program has not
    /// yet written keeps its content; an update of the weights is made whole or not at all.
    fn heed(&mut self, _stop: &Stop) {}

    /// Makes a corpus the source of every `crop`.
    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()>;

    /// Runs all ops in order.
    fn run(&mut self, program: &Program, args: &StepArgs) -> Result<()> {
        program.ops.iter().try_for_each(|op| self.run_op(op, args))
    }

    /// Makes ready for a program: memory that only this backend needs, and whatever else may fail, fails here. `run` does it
    /// where nobody has.
    fn prepare(&mut self, _program: &Program) -> Result<()> {
        Ok(())
    }

    /// Lets go of what it made of a program.
    fn forget(&mut self, _program: ProgramId) {}

    /// Programs of which it keeps something.
    fn prepared(&self) -> usize {
        0
    }

    /// Steps that are best given at once to [`Backend::run_each`]: as many as hide the host from the device.
    fn burst(&self) -> usize {
        1
    }

    /// Runs a program once for each of `steps`, in order, without a word from the host in between.
    fn run_each(&mut self, program: &Program, steps: &[StepArgs]) -> Result<()> {
        steps.iter().try_for_each(|args| self.run(program, args))
    }

    /// Runs one op, for lockstep and profiling.
    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()>;

    /// Names of the kernels that [`Backend::run_op`] launches for an op, in order; none where there are no kernels.
    fn kernels(&mut self, _op: &Op) -> Result<Vec<&'static str>> {
        Ok(Vec::new())
    }

    /// Starts to copy a matrix out as it is stored after all that was run so far, and does not wait for it.
    fn fetch(&mut self, mat: Mat) -> Result<Box<dyn Fetch>>;

    /// Copies a matrix out as it is stored.
    fn read_bytes(&mut self, mat: Mat) -> Result<Vec<u8>> {
        self.fetch(mat)?.wait()
    }

    /// Copies a matrix in as it is stored.
    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()>;
}

/// Refuses an op that reads the corpus where none is bound.
fn require_corpus<C>(contract: &Contract, bound: &Option<C>) -> Result<()> {
    if contract.reads_corpus && bound.is_none() {
        return Err(Error::input("no corpus is bound to crop from"));
    }
    Ok(())
}

/// Angles of rotary embeddings, `[positions, D/2]`: position / 10000^(2i/D). Every device makes its table of cosines and
/// sines from these, rounded to f32.
fn rope_angles(positions: usize, head_dim: usize) -> impl Iterator<Item = f64> {
    let frequency = move |i: usize| 10_000_f64.powf(2.0 * i as f64 / head_dim as f64);
    (0..positions).flat_map(move |p| (0..head_dim / 2).map(move |i| p as f64 / frequency(i)))
}

/// A matrix on its way out of a device.
pub trait Fetch: Send {
    /// Whether it has arrived.
    fn is_ready(&self) -> bool;

    /// Its bytes, as soon as they are there.
    fn wait(self: Box<Self>) -> Result<Vec<u8>>;
}

/// What has arrived already.
impl Fetch for Vec<u8> {
    fn is_ready(&self) -> bool {
        true
    }

    fn wait(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(*self)
    }
}

impl dyn Backend + '_ {
    /// A matrix as f32, whatever it is stored as.
    pub fn read_f32(&mut self, mat: Mat) -> Result<Vec<f32>> {
        let bytes = self.read_bytes(mat)?;
        Ok(match self.plan().dtype(mat) {
            DType::F32 => bytemuck::pod_collect_to_vec(&bytes),
            DType::F16 => bytemuck::pod_collect_to_vec::<u8, half::f16>(&bytes).iter().map(|x| x.to_f32()).collect(),
            DType::Bf16 => bytemuck::pod_collect_to_vec::<u8, half::bf16>(&bytes).iter().map(|x| x.to_f32()).collect(),
            DType::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(&bytes).iter().map(|&x| x as f32).collect(),
        })
    }

    /// Stores f32 values, rounded to the matrix's dtype.
    pub fn write_f32(&mut self, mat: Mat, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), mat.len());
        match self.plan().dtype(mat) {
            DType::F32 => self.write_bytes(mat, bytemuck::cast_slice(values)),
            DType::F16 => {
                let narrow: Vec<_> = values.iter().map(|&x| half::f16::from_f32(x)).collect();
                self.write_bytes(mat, bytemuck::cast_slice(&narrow))
            }
            DType::Bf16 => {
                let narrow: Vec<_> = values.iter().map(|&x| half::bf16::from_f32(x)).collect();
                self.write_bytes(mat, bytemuck::cast_slice(&narrow))
            }
            DType::U32 => panic!("{mat:?} holds ids"),
        }
    }

    /// A matrix of ids.
    pub fn read_u32(&mut self, mat: Mat) -> Result<Vec<u32>> {
        assert_eq!(self.plan().dtype(mat), DType::U32);
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(mat)?))
    }

    /// Stores token ids.
    pub fn write_u32(&mut self, mat: Mat, values: &[u32]) -> Result<()> {
        assert_eq!((self.plan().dtype(mat), values.len()), (DType::U32, mat.len()));
        self.write_bytes(mat, bytemuck::cast_slice(values))
    }
}
