//! Where programs run. A backend owns the memory of a [`Plan`] and replays [`Program`]s over it.

mod cpu;
mod lockstep;

pub use cpu::Cpu;
pub use lockstep::{Difference, lockstep};

use crate::data::Corpus;
use crate::error::Result;
use crate::program::{DType, Mat, Op, Plan, Program, StepArgs};
use std::sync::Arc;

/// Something that runs programs. `run` is the whole of it; the rest carries data in and out between programs.
pub trait Backend: Send {
    /// For people: `cpu, 2 threads, avx512`.
    fn describe(&self) -> String;

    /// The memory it allocated.
    fn plan(&self) -> &Plan;

    /// Makes a corpus the source of every `crop`.
    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()>;

    /// Runs all ops in order.
    fn run(&mut self, program: &Program, args: &StepArgs) -> Result<()> {
        program.ops.iter().try_for_each(|op| self.run_op(op, args))
    }

    /// Runs one op, for lockstep and profiling.
    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()>;

    /// Copies a matrix out as it is stored.
    fn read_bytes(&mut self, mat: Mat) -> Result<Vec<u8>>;

    /// Copies a matrix in as it is stored.
    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()>;
}

impl dyn Backend + '_ {
    /// A matrix as f32, whatever it is stored as.
    pub fn read_f32(&mut self, mat: Mat) -> Result<Vec<f32>> {
        let bytes = self.read_bytes(mat)?;
        Ok(match self.plan().dtype(mat) {
            DType::F32 => bytemuck::pod_collect_to_vec(&bytes),
            DType::Bf16 => bytemuck::pod_collect_to_vec::<u8, half::bf16>(&bytes).iter().map(|x| x.to_f32()).collect(),
            DType::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(&bytes).iter().map(|&x| x as f32).collect(),
        })
    }

    /// Stores f32 values, rounded to the matrix's dtype.
    pub fn write_f32(&mut self, mat: Mat, values: &[f32]) -> Result<()> {
        assert_eq!(values.len(), mat.len());
        match self.plan().dtype(mat) {
            DType::F32 => self.write_bytes(mat, bytemuck::cast_slice(values)),
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

    /// Stores ids.
    pub fn write_u32(&mut self, mat: Mat, values: &[u32]) -> Result<()> {
        assert_eq!((self.plan().dtype(mat), values.len()), (DType::U32, mat.len()));
        self.write_bytes(mat, bytemuck::cast_slice(values))
    }
}
