//! Vectors with Gaussian noise. Most ops have no kernels yet: one without launches is refused.

use super::super::call::{Launch, UnitRowsArgs, call};
use super::{Lowering, args};
use crate::program::{Denoise, Diffuse, DiffuseBackward, ReadOff, RenoiseVectors, UnitRows, VectorInput, VectorLoss};

impl Lowering<'_> {
    pub(super) fn unit_rows(&mut self, op: &UnitRows) -> Launch {
        let UnitRows { table, units, rstd } = *op;
        let [rows, cols] = table.shape();
        call::unit_rows(args!(self, UnitRowsArgs { table, units, rstd, rows, cols })).cover_rows(rows)
    }
}

/// The methods of ops that no kernel computes.
macro_rules! without_kernels {
    ($($name:ident($op:ident);)*) => {
        impl Lowering<'_> {
            $(pub(super) fn $name(&mut self, _: &$op) -> Vec<Launch> {
                Vec::new()
            })*
        }
    };
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
