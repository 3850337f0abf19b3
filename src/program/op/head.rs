//! The output head and its loss.

use super::Kind::{F32, Ids, Numbers};
use super::{Access, Accumulate, Contract, Describe, Mat, sumsq_slots};

/// The shape of a column of `n`, which may also be written `[B, T]`.
pub(super) fn of_rows(mat: Mat, n: usize) -> [usize; 2] {
    if mat.len() == n { mat.shape() } else { [n, 1] }
}

/// `logits = r·(x Wᵀ)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLogits {
    pub x: Mat,
    /// Without it r = 1: x is normed already.
    pub sumsq: Option<Mat>,
    pub w: Mat,
    pub logits: Mat,
}

impl Describe for HeadLogits {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], v) = (self.x.shape(), self.logits.cols);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.read("w", self.w, [v, c], Numbers);
        contract.write("logits", self.logits, [n, v], F32);
        contract.product(self.x, self.w.rows);
    }
}

/// `p = softmax(logits)` without symbol `drop`; `cross_entropy = -ln p[target]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    pub logits: Mat,
    pub target: Mat,
    /// A symbol of probability 0: the mask (the zero masking probability of SUBS, MDLM section 3.2.3).
    pub drop: Option<u32>,
    pub cross_entropy: Mat,
}

impl Describe for CrossEntropy {
    fn describe(&self, contract: &mut Contract) {
        let [n, v] = self.logits.shape();
        contract.read("logits", self.logits, [n, v], F32);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.write("cross_entropy", self.cross_entropy, [n, 1], F32);
    }
}

/// [`HeadLogits`] and [`CrossEntropy`] in one, and their backward without the logits ever being stored:
/// `d = scale·weight·(p - onehot(target))`, `dlogits = r·d`, `s = ⟨d, logits⟩`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadLoss {
    pub x: Mat,
    /// As in [`HeadLogits`].
    pub sumsq: Option<Mat>,
    pub w: Mat,
    pub target: Mat,
    /// `[N, 1]` f32; 0 for rows that do not count.
    pub weight: Mat,
    /// `[1, 2]` f32: the loss scale and its age, if gradients have one ([`LossScale`](super::LossScale)).
    pub scale: Option<Mat>,
    /// As in [`CrossEntropy`].
    pub drop: Option<u32>,
    /// `[N, 1]` f32, not weighted.
    pub cross_entropy: Mat,
    pub dlogits: Mat,
    pub s: Mat,
}

impl Describe for HeadLoss {
    fn describe(&self, contract: &mut Contract) {
        let ([n, c], v) = (self.x.shape(), self.dlogits.cols);
        contract.read("x", self.x, [n, c], Numbers);
        contract.read("sumsq", self.sumsq, [n, sumsq_slots(c)], F32);
        contract.read("w", self.w, [v, c], Numbers);
        contract.read("target", self.target, of_rows(self.target, n), Ids);
        contract.read("weight", self.weight, [n, 1], F32);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.write("cross_entropy", self.cross_entropy, [n, 1], F32);
        contract.write("dlogits", self.dlogits, [n, v], Numbers);
        contract.write("s", self.s, [n, 1], F32);
        contract.product(self.x, self.w.rows);
    }
}

/// `metrics[step mod rows].{loss, tokens} (+)= Σ weight·cross_entropy, rows with a weight`, in row order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossSum {
    pub cross_entropy: Mat,
    pub weight: Mat,
    pub accumulate: Accumulate,
    /// `[ring, 4]` f32: loss, masked tokens, gradient norm, loss scale.
    pub metrics: Mat,
}

impl Describe for LossSum {
    fn describe(&self, contract: &mut Contract) {
        let n = self.weight.rows;
        contract.read("cross_entropy", self.cross_entropy, [n, 1], F32);
        contract.read("weight", self.weight, [n, 1], F32);
        contract.metrics(Access::Update, self.metrics, 2);
        contract.are_scalars = true;
        contract.sums_in_double = true;
    }
}

/// `sums[b] = [Σ cross_entropy over rows with a weight, their number]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SequenceLoss {
    pub cross_entropy: Mat,
    pub weight: Mat,
    pub sums: Mat,
}

impl Describe for SequenceLoss {
    fn describe(&self, contract: &mut Contract) {
        let (n, b) = (self.weight.rows, self.sums.rows);
        contract.read("cross_entropy", self.cross_entropy, [n, 1], F32);
        contract.read("weight", self.weight, [n, 1], F32);
        contract.write("sums", self.sums, [b, 2], F32);
        contract.are_scalars = true;
        contract.sums_in_double = true;
        contract.require(n.is_multiple_of(b), || format!("{n} rows, {b} sequences"));
    }
}

/// `out = 0`: the gradient of rows that the head does not read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clear {
    pub out: Mat,
}

impl Describe for Clear {
    fn describe(&self, contract: &mut Contract) {
        contract.write("out", self.out, self.out.shape(), Numbers);
        contract.is_exact = true;
    }
}
