//! Vectors with Gaussian noise. Most ops have no kernels yet: one without launches is refused.

use super::super::call::{Launch, UnitRowsArgs, call};
use super::{Lowering, args, without_kernels};
use crate::program::{Denoise, Diffuse, DiffuseBackward, ReadOff, RenoiseVectors, UnitRows, VectorInput, VectorLoss};

impl Lowering<'_> {
    pub(super) fn unit_rows(&mut self, op: &UnitRows) -> Launch {
        let UnitRows { table, units, rstd } = *op;
        let [rows, cols] = table.shape();
        call::unit_rows(args!(self, UnitRowsArgs { table, units, rstd, rows, cols })).cover_rows(rows)
    }
}

without_kernels! {
    diffuse(Diffuse);
    vector_input(VectorInput);
    denoise(Denoise);
    vector_loss(VectorLoss);
    read_off(ReadOff);
    diffuse_backward(DiffuseBackward);
    renoise_vectors(RenoiseVectors);
}
