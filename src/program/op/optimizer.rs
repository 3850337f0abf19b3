//! The optimizer's step: AdamW for any parameter, Muon for matrices.
//!
//! Muon: momentum whose direction is made orthogonal, for matrices that map vectors to vectors (Jordan et al. 2024,
//! github.com/KellerJordan/Muon).
//!
//! Of one matrix with gradient g: m ← μ·m + (1-μ)·g, n = μ·m + (1-μ)·g (Nesterov), X = n/‖n‖; five times A = X Xᵀ,
//! X ← a·X + (b·A + c·A²)·X, which brings every singular value near 1; then a step along X. Where the matrix is tall, A is the
//! smaller Xᵀ X and stands on X's other side: the same without a transposition.

use super::Kind::{F32, Ids, Numbers};
use super::{Access, Contract, Describe, Mat, Product};

/// Steps with finite gradients after which the loss scale is doubled, as PyTorch's `GradScaler` does.
pub const SCALE_GROWTH_STEPS: f32 = 2000.0;

/// The largest loss scale: gradients of a mean over a large batch are small, but not that small.
pub const MAX_LOSS_SCALE: f32 = 16_777_216.0;

/// Constants of AdamW (Loshchilov & Hutter 2019), as PyTorch has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled: p shrinks by lr·weight_decay.
    pub weight_decay: f32,
    /// The gradient is scaled down to this global norm; `f32::INFINITY` for never.
    pub clip: f32,
}

/// `metrics[step mod rows].{grad_norm, loss_scale} = √Σ(g/scale)², scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradNorm {
    pub grads: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    pub metrics: Mat,
}

impl Describe for GradNorm {
    fn describe(&self, contract: &mut Contract) {
        contract.read("grads", self.grads, self.grads.shape(), F32);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.metrics(Access::Update, self.metrics, 2);
        contract.are_scalars = true;
    }
}

/// The dynamic loss scale of half-precision gradients (Micikevicius et al., "Mixed Precision Training", 2018):
/// `scale = [S, age]`. After a step whose gradient norm is finite, age += 1, and at [`SCALE_GROWTH_STEPS`]
/// `[min(2S, MAX_LOSS_SCALE), 0]`; after a step whose gradients are not finite, `[max(S/2, 1), 0]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    /// `[1, 2]` f32, updated.
    pub scale: Mat,
}

impl Describe for LossScale {
    fn describe(&self, contract: &mut Contract) {
        contract.metrics(Access::Read, self.metrics, 1);
        contract.update("scale", self.scale, [1, 2], F32);
        contract.is_exact = true;
        contract.are_scalars = true;
    }
}

/// One AdamW step on all parameters, with the gradient divided by `scale` and multiplied by
/// `min(1, clip/(norm + 10⁻⁶))`, as PyTorch does; then `stored` = p in the activations' dtype. Where the norm is not finite, all
/// stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    pub grads: Mat,
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    pub adamw: AdamW,
    /// `[1, params]` f32 parameters.
    pub params: Mat,
    /// `[1, params]` f32 first moment.
    pub m: Mat,
    /// `[1, params]` f32 second moment.
    pub v: Mat,
    /// `[1, params]` copy for the matmuls, where they read another dtype.
    pub stored: Option<Mat>,
}

impl Describe for AdamWStep {
    fn describe(&self, contract: &mut Contract) {
        let shape = self.grads.shape();
        contract.read("grads", self.grads, shape, F32);
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.update("params", self.params, shape, F32);
        contract.update("m", self.m, shape, F32);
        contract.update("v", self.v, shape, F32);
        contract.write("stored", self.stored, shape, Numbers);
    }
}

/// μ, the decay of Muon's momentum.
pub const MUON_MOMENTUM: f32 = 0.95;

/// Added to Muon's ‖n‖ before dividing by it.
pub const MUON_EPS: f32 = 1e-7;

/// How often Muon's X is replaced.
pub const NEWTON_SCHULZ_STEPS: usize = 5;

/// a, b and c of each time: after five of them singular values of at least 1/500 lie between 0.68 and 1.21.
pub const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Matrices of one shape `[R, C]`, one below the other, that go through each op together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// `[n·R, C]`.
    pub all: Mat,
    /// n.
    pub matrices: usize,
}

impl Stack {
    /// R and C.
    pub fn shape(self) -> [usize; 2] {
        [self.all.rows / self.matrices, self.all.cols]
    }

    /// S, the lesser of R and C.
    pub fn short(self) -> usize {
        let [rows, cols] = self.shape();
        rows.min(cols)
    }

    fn check(self, contract: &mut Contract) {
        contract.require(self.matrices > 0 && self.all.rows.is_multiple_of(self.matrices), || {
            format!("{} rows are not {} matrices", self.all.rows, self.matrices)
        });
    }
}

/// Momentum and its normalised direction, of matrices that lie scattered among all parameters. The gradient is divided by
/// `scale` and clipped as in [`AdamWStep`]. Of each matrix, `m ← μ·m + (1-μ)·g` and `x = n/(‖n‖ + 10⁻⁷)`
/// with `n = μ·m + (1-μ)·g`. Where the norm of all gradients is not finite, m stays as it is and x is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonMomentum {
    /// `[1, params]` f32.
    pub grads: Mat,
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    /// `[1, n]` u32: where each matrix begins among the parameters, in their order.
    pub places: Mat,
    /// The gradients are scaled down to this global norm; `f32::INFINITY` for never.
    pub clip: f32,
    /// `[1, params]` f32 momentum.
    pub m: Mat,
    pub x: Stack,
}

impl Describe for MuonMomentum {
    fn describe(&self, contract: &mut Contract) {
        let (all, touched) = (self.grads.shape(), self.x.all.len());
        contract.read("grads", self.grads, all, F32).moves(touched);
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.read("places", self.places, [1, self.x.matrices], Ids);
        contract.update("m", self.m, all, F32).moves(2 * touched);
        contract.write("x", self.x.all, self.x.all.shape(), Numbers);
        self.x.check(contract);
    }
}

/// `out = x xᵀ` of each matrix, or xᵀ x where they are tall; with `terms` [b, c], `out = b·x + c·x xᵀ` of symmetric ones.
/// The result is symmetric: half of it is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gram {
    pub x: Stack,
    pub terms: Option<[f32; 2]>,
    /// `[S, S]` each.
    pub out: Stack,
}

impl Describe for Gram {
    fn describe(&self, contract: &mut Contract) {
        let (n, [rows, cols], short) = (self.x.matrices, self.x.shape(), self.x.short());
        contract.read("x", self.x.all, self.x.all.shape(), Numbers);
        contract.write("out", self.out.all, [n * short, short], Numbers);
        let share = (short + 1) as f64 / (2 * short) as f64;
        let (inner, factors) = (rows.max(cols), vec![self.x.all]);
        contract.products.push(Product { rows: n * short, inner, cols: short, share, factors });
        self.x.check(contract);
        contract.require(self.terms.is_none() || rows == cols, || format!("[{rows}, {cols}] is not symmetric"));
    }
}

/// `out = a·x + b x` of each matrix, or a·x + x b where they are tall, for symmetric b.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewtonSchulz {
    pub x: Stack,
    /// `[S, S]` each.
    pub b: Stack,
    pub a: f32,
    /// As x.
    pub out: Stack,
}

impl Describe for NewtonSchulz {
    fn describe(&self, contract: &mut Contract) {
        let (n, short) = (self.x.matrices, self.x.short());
        let shape = self.x.all.shape();
        contract.read("x", self.x.all, shape, Numbers);
        contract.read("b", self.b.all, [n * short, short], Numbers);
        contract.write("out", self.out.all, shape, Numbers);
        let [rows, cols] = shape;
        let factors = vec![self.x.all, self.b.all];
        contract.products.push(Product { rows, inner: short, cols, share: 1.0, factors });
        self.x.check(contract);
    }
}

/// The step along x: `p ← (1 - lr·weight_decay)·p - lr·rate·√max(1, R/C)·x` of each matrix, then its copy as
/// [`AdamWStep`] makes it. Where the norm of all gradients is not finite, all stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// `[ring, 4]` f32, for the norm that [`GradNorm`] left.
    pub metrics: Mat,
    pub x: Stack,
    /// `[1, n]` u32: where each matrix begins among the parameters, in their order.
    pub places: Mat,
    /// Of these matrices' learning rate to the step's.
    pub rate: f32,
    /// Decoupled, at the step's learning rate.
    pub weight_decay: f32,
    /// `[1, params]` f32 parameters.
    pub params: Mat,
    /// `[1, params]` copy for the matmuls, where they read another dtype.
    pub stored: Option<Mat>,
}

impl Describe for MuonStep {
    fn describe(&self, contract: &mut Contract) {
        let (all, touched) = (self.params.shape(), self.x.all.len());
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("x", self.x.all, self.x.all.shape(), Numbers);
        contract.read("places", self.places, [1, self.x.matrices], Ids);
        contract.update("params", self.params, all, F32).moves(2 * touched);
        contract.update("stored", self.stored, all, Numbers).moves(touched);
        self.x.check(contract);
    }
}
