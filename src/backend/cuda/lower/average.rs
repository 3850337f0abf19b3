//! The average of the weights.

use super::super::call::{Launch, WeightAverageArgs, call};
use super::{Lowering, args};
use crate::program::WeightAverage;

impl Lowering<'_> {
    pub(super) fn weight_average(&mut self, op: &WeightAverage) -> Launch {
        let WeightAverage { metrics, params, decay, average } = *op;
        let (step, n) = (self.step(), params.len());
        let args = args!(self, WeightAverageArgs { step, metrics, params, average, n, decay, ring: metrics.rows });
        call::weight_average(args).cover_rows(n)
    }
}
