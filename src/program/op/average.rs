//! The average of the weights, which is a better model than the weights themselves while these still move.

use super::Kind::F32;
use super::{Access, Contract, Describe, Mat};

/// `average += (1 - min(decay, args.ema_warmup))·(p - average)`, the exponential moving average of the parameters. Where the norm
/// of all gradients is not finite, and the step was not made, it stays as it is.
///
/// An op of its own, for each average that is kept: the optimizer's ops, which have the parameters at hand, are several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightAverage {
    /// `[ring, 4]` f32, for the norm that [`GradNorm`](super::GradNorm) left.
    pub metrics: Mat,
    /// `[1, params]` f32 parameters.
    pub params: Mat,
    /// At least 0 and below 1.
    pub decay: f32,
    /// `[1, params]` f32.
    pub average: Mat,
}

impl Describe for WeightAverage {
    fn describe(&self, contract: &mut Contract) {
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("params", self.params, self.params.shape(), F32);
        contract.update("average", self.average, self.params.shape(), F32);
    }
}
