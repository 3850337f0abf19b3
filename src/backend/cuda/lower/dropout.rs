//! Dropout.

use super::super::call::{DropoutArgs, Launch, Lots as Drawn, call};
use super::{Lowering, args};
use crate::program::{Dropout, Lots};

impl Lowering<'_> {
    pub(super) fn dropout(&mut self, op: &Dropout) -> Launch {
        let Dropout { x, residual, positions, sequences, lots, y, sumsq } = *op;
        let ([rows, cols], lots) = (x.shape(), self.lots(lots));
        let args = args!(self, DropoutArgs { lots, x, residual, y, sumsq, rows, cols, positions, sequences });
        call::dropout(args).cover_rows(rows)
    }

    /// Lots as kernels draw them.
    pub(super) fn lots(&self, lots: Lots) -> [Drawn; 1] {
        let (step, Lots { place, places, .. }) = (self.step(), lots);
        [args!(self, Drawn { step, threshold: lots.threshold(), scale: lots.scale(), place, places })]
    }
}
