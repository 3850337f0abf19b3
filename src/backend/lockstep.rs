//! Verification is a loop: two backends run one program op by op, each op on the same inputs.

use super::Backend;
use crate::error::Result;
use crate::program::{Access, DType, Mat, Op, Operand, Plan, Program, StepArgs};

/// How one output of one op differs between two backends.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Position in the program.
    pub index: usize,
    /// The op's name.
    pub op: &'static str,
    /// The output's name.
    pub operand: &'static str,
    /// `‖device - reference‖₂ / ‖reference‖₂` (0 where both are 0); of numbers that each mean something else (a loss and how
    /// many tokens are in it) the largest such quotient of one of them.
    pub relative_l2: f64,
    /// The same for the reference itself rounded to how the device stores it: no device can do better than a little less.
    pub rounding: f64,
    /// Roundings to the stored dtype on the way to an element: its own, and in attention that of what goes into the last product.
    pub roundings: f64,
    /// What else the device may be off, relative: what the op owes to its arithmetic, whatever it stores.
    pub floor: f64,
    /// `‖reference‖₂`: where it is 0 the comparison says little. Of ids the number that are not 0.
    pub norm: f64,
    /// Largest `|device - reference|`.
    pub max_abs: f64,
    /// The largest such error as a share of what that very element may be off: a few wrong numbers are lost in the norm of a
    /// large matrix.
    pub worst: f64,
    /// Elements that are not finite in one and differ in the other (what is not a number agrees with what is none); of ids all
    /// that differ.
    pub broken: usize,
}

impl Difference {
    /// The largest `relative_l2` that passes: the rounding of storage as often as it happens, and the floor. An op that rounds
    /// at the end alone stores the nearest of a number that is off by e to what the reference has: as near to that as the
    /// reference's own rounding, or, where e carries it over the middle between two neighbours, by up to 2e less near; the
    /// floor, twice what sums are off, has room for it.
    pub fn tolerance(&self) -> f64 {
        self.roundings * self.rounding + self.floor
    }

    /// Whether the device computed what the reference did.
    pub fn passes(&self) -> bool {
        self.broken == 0 && self.relative_l2 <= self.tolerance() && self.worst <= 1.0
    }
}

/// Relative error that an op owes to its arithmetic, whatever it stores.
///
/// Sums in f32 in another order, of up to a few thousand products: 2⁻²⁴·√4096 and a few, 10⁻⁵; and what tensor cores cut
/// off of them ([`truncation`]). Attention and its backward
/// round probabilities and their gradients (and the first its scaled queries) to the stored dtype, u = 2⁻¹¹ or 2⁻⁸, before
/// they multiply them: independent relative errors of up to u in every term leave u of the sum; where the sum cancels, as
/// in gradients of a softmax (Σ dS = 0) and in s (what goes back into a norm is orthogonal to what was normed), a few times
/// that. Sums of squares are of x as it is stored: each x² has
/// up to 2u of its rounding, which average out where a row is wide. Where a factor of a product is stored wider than the dtype that
/// products are made in (the CPU's residual stream in f32 beside bf16), it is rounded to that first: again up to u.
/// Sums of losses are sums in double precision, or of that quality, rounded once, 2⁻²⁴, on either side, and once more where
/// they are added to what is there, which is no smaller: 2⁻²² in all.
fn floor(op: &Op, stored: DType, output: DType, plan: &Plan) -> f64 {
    let unit = match stored {
        DType::F16 => 2.0_f64.powi(-11),
        DType::Bf16 => 2.0_f64.powi(-8),
        _ => 0.0,
    };
    let contract = op.contract();
    if contract.sums_in_double {
        return 2.0_f64.powi(-22);
    }
    let longest = contract.products.iter().map(|product| product.inner).max().unwrap_or(0);
    let sums = 1e-5 + if stored.bytes() == 2 { truncation(longest) } else { 0.0 };
    let wide = contract.products.iter().flat_map(|product| &product.factors).any(|&mat| plan.dtype(mat) == DType::F32);
    sums + (contract.units)(wide, output) * unit
}

/// Relative error of sums of `n` products in one accumulation on tensor cores that comes from cutting off: a bound on its
/// root mean square over many sums, `(4 + 1/√3)·(n + 8)·2⁻²⁸`.
///
/// Tensor cores do not round (Fasi, Higham, Mikaitis and Pranesh 2021; Li et al., FTTN, 2024; Khattak and Mikaitis 2025).
/// They add N products to the sum so far at once, each term aligned to the largest and cut off, toward zero, 23 + E bits
/// below it; the new sum is cut off to f32's 23. Of the cards that kernels are made for those lose most that have N = 8 and
/// E = 1 (sm_80 to 89; sm_90 has 16 and 2). On average over where the cuts fall, n products cost there:
///
/// - *the sums*, cut n/8 times. A sum d_t comes in halves of a unit of its last place and loses a quarter, at most
///   2⁻²⁵·d_t, toward zero: all together 2⁻²⁵·Σ d_t. If d_t wanders (independent products of mean zero),
///   ‖Σ d_t‖ ≤ (n/8 + 1)/√3·‖d‖; if it grows steadily, half of n/8·‖d‖; in between, less than the first. So at most
///   2⁻²⁵·(n + 8)/8/√3 = 1/√3·(n + 8)·2⁻²⁸.
/// - *the products*, each cut once, by half of 2⁻²⁴·d_t. If all have one sign, d_t grows steadily and they lose
///   2⁻²⁵·n/2·d = 4·n·2⁻²⁸. If signs are random, the losses wander too and come to some √n·2⁻²⁵, within what rounding costs.
///
/// So sums of random signs lose less than n·2⁻²⁸, those of one sign nearly all of the bound; `docs/tensor-sums.md` has both
/// beside it. Partial sums much larger than the whole (a sum that all but cancels) would lose more than that: single sums
/// do, the norm over all of a matrix does not.
pub fn truncation(n: usize) -> f64 {
    (4.0 + 1.0 / 3f64.sqrt()) * (n + 8) as f64 * 2f64.powi(-28)
}

/// Runs `program` on both backends and compares every output of every op. The reference may store wider numbers (a plan
/// and its [`widened`](crate::program::Plan::widened) twin): before each op both get the reference's inputs as the device
/// stores them, so that an error is named where it arises.
pub fn lockstep(
    reference: &mut dyn Backend,
    device: &mut dyn Backend,
    program: &Program,
    args: &StepArgs,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (index, op) in program.ops.iter().enumerate() {
        let operands = op.operands();
        for operand in operands.iter().filter(|operand| operand.access != Access::Write) {
            share(reference, device, operand.mat)?;
        }
        reference.run_op(op, args)?;
        device.run_op(op, args)?;
        let narrow = operands.iter().map(|operand| device.plan().dtype(operand.mat)).find(|dtype| dtype.bytes() == 2);
        let narrow = narrow.unwrap_or(DType::F32);
        for operand in operands.into_iter().filter(Operand::is_output) {
            let floor = floor(op, narrow, device.plan().dtype(operand.mat), device.plan());
            differences.push(compare(reference, device, (index, op), operand, floor)?);
        }
    }
    Ok(differences)
}

/// Gives both backends the reference's matrix, rounded to how the device stores it.
fn share(reference: &mut dyn Backend, device: &mut dyn Backend, mat: Mat) -> Result<()> {
    if reference.plan().dtype(mat) == device.plan().dtype(mat) {
        let bytes = reference.read_bytes(mat)?;
        return device.write_bytes(mat, &bytes);
    }
    let values = reference.read_f32(mat)?;
    device.write_f32(mat, &values)?;
    let rounded = device.read_f32(mat)?;
    reference.write_f32(mat, &rounded)
}

/// How many times the relative error of a whole matrix one of its elements may be off.
///
/// An element's error is a sum of many independent roundings, so the elements' errors are normal numbers whose standard
/// deviation is at most the matrix's relative error times a typical element's size; of a billion normal numbers the largest
/// is 6.2 standard deviations.
const OF_AN_ELEMENT: f64 = 8.0;

/// Half of the distance between neighbours of a number of this size.
fn half_a_step(stored: DType, size: f64) -> f64 {
    match stored {
        DType::F16 => (size * 2.0_f64.powi(-11)).max(2.0_f64.powi(-25)),
        DType::Bf16 => size * 2.0_f64.powi(-8),
        _ => 0.0,
    }
}

/// Root mean square of what is finite.
fn typical(values: &[f32]) -> f64 {
    let squares = values.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x) * f64::from(x));
    (squares.sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// How an output differs. An element may be off by its roundings to the stored dtype, and by
/// [`OF_AN_ELEMENT`] floors of what is the largest of its own size, its row's and the matrix's typical ones: terms of a sum
/// that cancels are as large as those of sums beside it that do not.
fn compare(
    reference: &mut dyn Backend,
    device: &mut dyn Backend,
    (index, op): (usize, &Op),
    operand: Operand,
    floor: f64,
) -> Result<Difference> {
    let (mat, contract) = (operand.mat, op.contract());
    let roundings = contract.roundings;
    let found = Difference {
        index,
        op: op.name(),
        operand: operand.name,
        relative_l2: 0.0,
        rounding: 0.0,
        roundings,
        floor,
        norm: 0.0,
        max_abs: 0.0,
        worst: 0.0,
        broken: 0,
    };
    let stored = device.plan().dtype(mat);
    if stored == DType::U32 {
        let ids = reference.read_u32(mat)?;
        let norm = ids.iter().filter(|&&id| id != 0).count() as f64;
        let broken = device.read_u32(mat)?.into_iter().zip(ids).filter(|(a, b)| a != b).count();
        return Ok(Difference { norm, broken, ..found });
    }
    let (got, want) = (device.read_f32(mat)?, reference.read_f32(mat)?);
    let (mut square, mut rounding, mut norm) = (0.0, 0.0, 0.0);
    let (mut max_abs, mut worst, mut most_alone, mut broken) = (0.0_f64, 0.0_f64, 0.0_f64, 0);
    let of_all = typical(&want);
    for (got, want) in got.chunks(mat.cols).zip(want.chunks(mat.cols)) {
        let usual = of_all.max(typical(want));
        for (&got, &want) in got.iter().zip(want) {
            let nearest = match stored {
                DType::F16 => half::f16::from_f32(want).to_f32(),
                DType::Bf16 => half::bf16::from_f32(want).to_f32(),
                _ => want,
            };
            if !(got.is_finite() && want.is_finite()) {
                broken += usize::from(got != nearest && !(got.is_nan() && nearest.is_nan()));
                continue;
            }
            let [got, want, nearest] = [got, want, nearest].map(f64::from);
            let off = (got - want).abs();
            square += off * off;
            rounding += (nearest - want) * (nearest - want);
            norm += want * want;
            max_abs = max_abs.max(off);
            if off > 0.0 {
                most_alone = most_alone.max(off / want.abs());
                let may = roundings * half_a_step(stored, want.abs()) + OF_AN_ELEMENT * floor * usual.max(want.abs());
                worst = worst.max(off / may);
            }
        }
    }
    let relative = |square: f64| if square == 0.0 { 0.0 } else { (square / norm).sqrt() };
    let relative_l2 = if contract.are_scalars { most_alone } else { relative(square) };
    Ok(Difference { relative_l2, rounding: relative(rounding), norm: norm.sqrt(), max_abs, worst, broken, ..found })
}
