//! Muon: momentum whose direction is made orthogonal, for matrices that map vectors to vectors (Jordan et al. 2024,
//! github.com/KellerJordan/Muon).
//!
//! Of one matrix with gradient g: m ← μ·m + (1-μ)·g, n = μ·m + (1-μ)·g (Nesterov), X = n/‖n‖; with each [a, b, c] of
//! [`NEWTON_SCHULZ`] A = X Xᵀ, X ← a·X + (b·A + c·A²)·X, which takes every singular value s to a·s + b·s³ + c·s⁵ and brings it
//! near 1; then a step along X. Where the matrix is tall, A is the smaller Xᵀ X and stands on X's other side: the same without
//! a transposition.
//!
//! What moves bytes takes part of the products, so that nothing is read twice: n is written as it is and divided by its length
//! where the first products end, and the last ones end in the step.
//!
//! One op is for all matrices at once, in [`Stack`]s of equal shapes: one matrix is too little work for a GPU.

use super::Kind::{F32, Ids, Numbers};
use super::{Access, Contract, Describe, Mat, Product};

/// μ, the decay of Muon's momentum.
pub const MUON_MOMENTUM: f32 = 0.95;

/// Added to Muon's ‖n‖ before dividing by it.
pub const MUON_EPS: f32 = 1e-7;

/// The least singular value of X that [`NEWTON_SCHULZ`] brings near 1: smaller ones are multiplied by 101. It and how many
/// polynomials there are were chosen by what models learn (docs/speedrun.md).
pub const NEWTON_SCHULZ_LEAST: f64 = 1.0 / 198.0;

/// a, b and c of each replacement of Muon's X: the Polar Express of three quintics, which brings singular values of
/// [`NEWTON_SCHULZ_LEAST`] to 1 between 0.50 and 1.50 (Amsel, Persson, Musco, Gower 2025, arXiv 2505.16932).
///
/// Each polynomial p is the odd quintic whose greatest error e = max |1 - p(s)| over an interval [l, u] is least: the one whose
/// errors are e, -e, e and -e at l, at its two turning points and at u. What it leaves lies in [1 - e, 1 + e], which is the next
/// one's interval; then no other three quintics in a row end nearer to 1 (Theorem 4.1). In bf16 two things come to that. X
/// starts out with rounded numbers, which makes it longer than 1 by 2⁻⁸ at most: the first interval ends at 1 + 2⁻⁸. And each
/// product and each number of X is rounded once more, where behind u the polynomials rise steeply: the other intervals end at
/// 1.01·(1 + e), as the paper's do.
pub const NEWTON_SCHULZ: [[f32; 3]; 3] =
    [[8.265121, -24.14136, 17.73709], [3.878427, -2.83779, 0.5327225], [3.155563, -2.323322, 0.476379]];

/// Matrices of one shape, R rows and C columns. Stacks lie one after another in a row, and so do the matrices of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// How many.
    pub matrices: usize,
    /// R.
    pub rows: usize,
    /// C.
    pub cols: usize,
}

impl Stack {
    /// Elements of one matrix.
    pub fn len(self) -> usize {
        self.rows * self.cols
    }

    /// Whether it has no elements; no parameter is so.
    pub fn is_empty(self) -> bool {
        self.matrices * self.len() == 0
    }

    /// S, the lesser of R and C.
    pub fn short(self) -> usize {
        self.rows.min(self.cols)
    }

    /// Chunks of one matrix: [`MUON_CHUNK`] numbers each, or what is left.
    pub fn chunks(self) -> usize {
        self.len().div_ceil(MUON_CHUNK)
    }

    /// As many `[S, S]`.
    pub fn squares(self) -> Stack {
        let side = self.short();
        Stack { rows: side, cols: side, ..self }
    }
}

/// The row that some stacks take.
fn row_of(stacks: impl IntoIterator<Item = Stack>) -> [usize; 2] {
    [1, stacks.into_iter().map(|stack| stack.matrices * stack.len()).sum()]
}

/// A number for each chunk.
fn chunks_of(stacks: &[Stack]) -> [usize; 2] {
    [1, stacks.iter().map(|stack| stack.matrices * stack.chunks()).sum()]
}

/// As many ids as there are matrices.
fn place_of_each(stacks: &[Stack]) -> [usize; 2] {
    [1, stacks.iter().map(|stack| stack.matrices).sum()]
}

/// The numbers of a matrix whose squares are summed together.
pub const MUON_CHUNK: usize = 4096;

/// The largest magnitude in X before its length is known: the largest finite f16.
pub const MUON_LARGEST: f32 = 65504.0;

/// Momentum, and its direction as long as it is. The gradient is divided by `scale` and clipped as in
/// [`AdamWStep`](super::AdamWStep). Of each matrix, `m ← μ·m + (1-μ)·g` and `x = 2ᵏ·n` with `n = μ·m + (1-μ)·g`, the 2ᵏ of
/// [`MuonMomentum::magnified`], no magnitude above [`MUON_LARGEST`]. Where the norm of all gradients is not finite, m stays as
/// it is, x and sumsq are 0.
#[derive(Clone, Debug, PartialEq)]
pub struct MuonMomentum {
    /// `[1, params]` f32.
    pub grads: Mat,
    /// `[ring, 4]` f32, for the norm that [`GradNorm`](super::GradNorm) left.
    pub metrics: Mat,
    /// `[1, 2]` f32: the loss scale that is in the gradients; 1 without.
    pub scale: Option<Mat>,
    /// u32: where each matrix begins among the parameters, stack by stack.
    pub places: Mat,
    pub stacks: Vec<Stack>,
    /// The gradients are scaled down to this global norm; `f32::INFINITY` for never.
    pub clip: f32,
    /// `[1, params]` f32 momentum.
    pub m: Mat,
    pub x: Mat,
    /// `[1, chunks]` f32: the sum of squares of each [`MUON_CHUNK`] numbers of a matrix 2ᵏ·n, the last ones of which may be
    /// fewer; matrix by matrix.
    pub sumsq: Mat,
}

impl MuonMomentum {
    /// 2ᵏ, which brings n to where f16 is exact: as gradients are clipped, so is n, and 2ᵏ·clip lies between 2¹⁴ and 2¹⁵. Numbers
    /// are then as exact as in bf16 down to a matrix of 768×768 that has a millionth of that length. Without a clip nothing is
    /// known of n, and k is 0.
    pub fn magnified(clip: f32) -> f32 {
        // Where f32 still holds what comes of a clip that is next to nothing.
        const MOST: i32 = 100;
        let exponent = (clip.to_bits() >> 23) as i32 - 127;
        if clip.is_finite() { 2_f32.powi((14 - exponent).min(MOST)) } else { 1.0 }
    }
}

impl Describe for MuonMomentum {
    fn describe(&self, contract: &mut Contract) {
        let (all, touched) = (self.grads.shape(), self.x.len());
        contract.read("grads", self.grads, all, F32).moves(touched);
        contract.metrics(Access::Read, self.metrics, 1);
        contract.read("scale", self.scale, [1, 2], F32);
        contract.read("places", self.places, place_of_each(&self.stacks), Ids);
        contract.update("m", self.m, all, F32).moves(2 * touched);
        contract.write("x", self.x, row_of(self.stacks.iter().copied()), Numbers);
        contract.write("sumsq", self.sumsq, chunks_of(&self.stacks), F32);
    }
}

/// `out = x xᵀ` of each matrix, or xᵀ x where they are tall, of matrices that are first divided by their lengths where they have
/// `sumsq`; with `terms` [b, c], `out = b·x + c·x xᵀ` of symmetric ones. The result is symmetric: half of it is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    pub x: Mat,
    /// f32: as [`MuonMomentum`] leaves them; x is divided by the root of their sum and 10⁻⁷. None for as it is.
    pub sumsq: Option<Mat>,
    /// Of x.
    pub stacks: Vec<Stack>,
    pub terms: Option<[f32; 2]>,
    /// `[S, S]` of each.
    pub out: Mat,
}

impl Describe for Gram {
    fn describe(&self, contract: &mut Contract) {
        contract.read("x", self.x, row_of(self.stacks.iter().copied()), Numbers);
        contract.read("sumsq", self.sumsq, chunks_of(&self.stacks), F32);
        contract.write("out", self.out, row_of(self.stacks.iter().map(|stack| stack.squares())), Numbers);
        for stack @ Stack { matrices, rows, cols } in self.stacks.iter().copied() {
            let (side, inner, factors) = (stack.short(), rows.max(cols), vec![self.x]);
            let share = (side + 1) as f64 / (2 * side) as f64;
            contract.products.push(Product { rows: matrices * side, inner, cols: side, share, factors });
            contract.require(self.terms.is_none() || rows == cols, || format!("[{rows}, {cols}] is not symmetric"));
        }
        let both = self.terms.is_some() && self.sumsq.is_some();
        contract.require(!both, || "b·x + c·x xᵀ takes x as it is".to_owned());
        contract.detail = if self.terms.is_some() { "b·A + c·A²" } else { "A = X Xᵀ" }.into();
    }
}

/// `out = a·x + b x` of each matrix, or a·x + x b where they are tall, for symmetric b, of matrices that are first divided by
/// their lengths where they have `sumsq`.
#[derive(Clone, Debug, PartialEq)]
pub struct NewtonSchulz {
    pub x: Mat,
    /// f32: as [`Gram`] takes them.
    pub sumsq: Option<Mat>,
    /// `[S, S]` of each.
    pub b: Mat,
    /// Of x.
    pub stacks: Vec<Stack>,
    pub a: f32,
    /// As x.
    pub out: Mat,
}

impl Describe for NewtonSchulz {
    fn describe(&self, contract: &mut Contract) {
        contract.replaced(self.x, self.b, &self.stacks);
        contract.read("sumsq", self.sumsq, chunks_of(&self.stacks), F32);
        contract.write("out", self.out, row_of(self.stacks.iter().copied()), Numbers);
        contract.detail = "a·X + B X".into();
    }
}

/// The last replacement of X, as [`NewtonSchulz`] makes it but not rounded, and the step along it: `d = a·x + b x`, or
/// a·x + x b where matrices are tall, `p ← (1 - lr·weight_decay)·p - lr·rate·√max(1, R/C)·d` of each matrix, then its copy as
/// [`AdamWStep`](super::AdamWStep) makes it. Where the norm of all gradients is not finite, all stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MuonStep {
    /// `[ring, 4]` f32, for the norm that [`GradNorm`](super::GradNorm) left.
    pub metrics: Mat,
    pub x: Mat,
    /// `[S, S]` of each.
    pub b: Mat,
    /// u32: where each matrix begins among the parameters, stack by stack.
    pub places: Mat,
    /// Of x.
    pub stacks: Vec<Stack>,
    pub a: f32,
    /// Of these matrices' learning rate to the step's.
    pub rate: f32,
    /// Decoupled, at the step's learning rate: as small as that of the parameters that AdamW updates.
    pub weight_decay: f32,
    /// `[1, params]` f32 parameters.
    pub params: Mat,
    /// `[1, params]` copy for the matmuls, where they read another dtype.
    pub stored: Option<Mat>,
}

impl Describe for MuonStep {
    fn describe(&self, contract: &mut Contract) {
        let (all, touched) = (self.params.shape(), self.x.len());
        contract.metrics(Access::Read, self.metrics, 1);
        contract.replaced(self.x, self.b, &self.stacks);
        contract.read("places", self.places, place_of_each(&self.stacks), Ids);
        contract.update("params", self.params, all, F32).moves(2 * touched);
        contract.update("stored", self.stored, all, Numbers).moves(touched);
        contract.detail = "p - lr·(a·X + B X)".into();
    }
}

impl Contract {
    /// x and b of a·x + b x.
    fn replaced(&mut self, x: Mat, b: Mat, stacks: &[Stack]) {
        self.read("x", x, row_of(stacks.iter().copied()), Numbers);
        self.read("b", b, row_of(stacks.iter().map(|stack| stack.squares())), Numbers);
        for stack @ Stack { matrices, rows, cols } in stacks.iter().copied() {
            let factors = vec![x, b];
            self.products.push(Product { rows: matrices * rows, inner: stack.short(), cols, share: 1.0, factors });
        }
    }
}
