//! What counters may be at most.

use crate::measure::{Launch, Measured};
use crate::workload::{BATCH, POSITIONS};

/// How far the estimated training step may be above its goal.
pub(crate) const GOAL_SLACK: f64 = 1.35;

/// Ops that move less are not worth a bar: their launches cost more than their bytes.
const SMALL_BYTES: f64 = 1e6;

/// Traffic over the fewest bytes.
const MOST_TRAFFIC: f64 = 1.05;

/// What a kernel may do beyond the ideal.
#[derive(Clone, Copy)]
struct Allowed {
    op: &'static str,
    kernel: &'static str,
    /// Sectors for each row of the op, beyond those that hold the same bytes.
    loads: f64,
    stores: f64,
    /// Passes over the banks of shared memory for each block, beyond those that the widths need.
    conflicts: f64,
    barriers: f64,
}

/// Without sectors beyond the ideal and without conflicts.
const fn clean(op: &'static str, kernel: &'static str, barriers: f64) -> Allowed {
    Allowed { op, kernel, loads: 0.0, stores: 0.0, conflicts: 0.0, barriers }
}

/// Statistics of rows are why some sectors are not full: 4-byte numbers, a row of them for each row of a matrix, and a warp
/// takes the same number of 32 rows or stores those of two. Where 32 lanes read 4 bytes each, s bytes apart, they touch s
/// sectors and not 4, or 32 where s ≥ 32: 8 too many of the `[N, 3]` sums of squares (s = 12), 20 of an `[N, 6]`, 28 of an
/// `[N, 12]`.
///
/// Barriers: one for each 32 of the summed dimension, four in the epilogue of a matrix product; one for each 64 keys of an
/// attention; four for each 32 queries of its backward.
const ALLOWED: [Allowed; 25] = [
    // Two sums of squares at once, 12 bytes a row: one pair in eight ends in the next sector.
    Allowed { stores: 0.125, ..clean("embed", "embed", 0.0) },
    // 9 tiles in a row, each reads 3 sums of squares: 9·3·8/32. 6 of them store two numbers of 2 rows, 48 bytes apart: 6/2.
    Allowed { loads: 6.75, stores: 3.0, ..clean("qkv", "qkv_mma", 16.0) },
    // lse of a head, 8 rows at a time, 24 bytes apart: 6 sectors for 1, 6 heads: 6·5/8.
    Allowed { stores: 3.75, ..clean("attention", "attention_mma_bounded_d64", 5.0) },
    // 3 tiles, each stores the sums of squares of 2 rows, 12 bytes apart: 4/3 sectors for 1.
    Allowed { stores: 0.5, ..clean("linear_residual (inner 384)", "linear_residual_mma", 16.0) },
    Allowed { stores: 0.5, ..clean("linear_residual (inner 1536)", "linear_residual_mma", 52.0) },
    // 12·3·8/32.
    Allowed { loads: 9.0, ..clean("linear_relu2", "linear_relu2_mma", 16.0) },
    // 16 rows at a time, each for two lanes: 6 sectors where 32 numbers would fill 4, 3·2/16.
    Allowed { loads: 0.375, ..clean("head_loss", "head_loss_mma", 12.0) },
    // 3·8/32.
    Allowed { loads: 0.75, ..clean("head_logits", "head_logits_mma", 16.0) },
    clean("weight_grads (head)", "weight_grads_mma", 8.0),
    clean("weight_grads (4 matrices)", "weight_grads_mma", 256.0),
    // 3 tiles, sums of squares and an `[N, 1]`: 3·3·8/32.
    Allowed { loads: 2.25, ..clean("norm_linear_backward (inner 128)", "norm_linear_backward_mma", 8.0) },
    // And 6 of s: 3·(3·8 + 6·20)/32.
    Allowed { loads: 13.5, ..clean("norm_linear_backward (inner 1152)", "norm_linear_backward_mma", 40.0) },
    // And 12 of s: 3·(3·8 + 12·28)/32.
    Allowed { loads: 33.75, ..clean("norm_linear_backward (inner 1536)", "norm_linear_backward_mma", 52.0) },
    // 12·3·8/32; 12 tiles store s of 2 rows, 48 bytes apart: 12/2.
    Allowed { loads: 9.0, stores: 6.0, ..clean("relu2_backward", "relu2_backward_mma", 16.0) },
    // 3 tiles store the dots of 2 rows, 24 bytes apart: 5/3 sectors for 1.
    Allowed { stores: 1.0, ..clean("projection_backward", "projection_backward_mma", 16.0) },
    // For each of 6 heads lse and dot, 20/32 each, factors of q and of k, 28/32 each, sums of squares, 3·2/16, and angles,
    // of which a lane reads 64 bytes in four pieces, so that 8 rows touch every sector twice: 4·16/8. s is stored as lse is
    // by the forward. The conflicts are as found, half a percent of its passes.
    Allowed {
        loads: 68.25,
        stores: 3.75,
        conflicts: 128.0,
        ..clean("attention_backward", "attention_backward_mma_fused_d64", 33.0)
    },
    // Partial rows: a lane's eight neighbouring floats go in two halves, a sector's half each. How many there are depends on
    // the text, as do the reduction's reads of where each symbol's row is: as found.
    Allowed { stores: 14.0, conflicts: 4.0, ..clean("embed_backward", "embed_backward", 5.0) },
    Allowed { loads: 5.5, ..clean("embed_backward", "embed_backward_reduce", 1.0) },
    // Barriers: 24 matrices of 12 steps and 12 of 48, which are 24 on average, 4 in the epilogue, and 4 more for the half of
    // the tiles that are turned, where two lanes at a time meet a bank: of 128·128/32 stores, half of the tiles.
    // A matrix's sums of squares, which the first of the three reads, begin and end amid a sector.
    Allowed { loads: 0.02, conflicts: 256.0, ..clean("gram (of x)", "gram_mma", 30.0) },
    Allowed { conflicts: 256.0, ..clean("gram (terms)", "gram_mma_terms", 18.0) },
    // And here.
    Allowed { loads: 0.03, ..clean("newton_schulz", "newton_schulz_mma", 16.0) },
    clean("muon_step", "newton_schulz_mma_step", 16.0),
    // The sum of squares.
    clean("muon_momentum", "muon_momentum", 2.0),
    clean("grad_norm", "grad_norm", 2.0),
    clean("grad_norm", "grad_norm_finish", 2.0),
];

/// Matrix flops over useful ones: one but for attention, whose row sums are a product with eight columns of ones beside the
/// 2·D = 128 of scores and values, and for symmetric products, of whose 384 rows and columns 6 whole tiles are made.
fn flops_ratio(op: &Measured) -> f64 {
    match op.op {
        "attention" => (128.0 + 8.0) / 128.0,
        "gram" => 6.0 * 128.0 * 128.0 / (384.0 * 385.0 / 2.0),
        _ => 1.0,
    }
}

/// Every bar that an op breaks, in words.
pub(crate) fn broken(op: &Measured) -> Vec<String> {
    let mut broken = Vec::new();
    let mut hold = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("{}: {what}", op.name()));
        }
    };
    if op.work.flops > 0.0 {
        let (found, wanted) = (op.sum("mma_flops") / op.work.flops, flops_ratio(op));
        hold((found - wanted).abs() < 1e-9, format!("{found:.4} matrix flops a useful one, not {wanted:.4}"));
    }
    // A few integer atomics are fine; none of these kernels has any.
    hold(op.sum("atomics") == 0.0, format!("{} atomics", op.sum("atomics")));
    if op.work.bytes < SMALL_BYTES {
        return broken;
    }
    let found = op.traffic_ratio();
    hold(found <= MOST_TRAFFIC, format!("moves {found:.3} of the fewest bytes, more than {MOST_TRAFFIC}"));
    for launch in &op.launches {
        let kernel = &launch.kernel;
        let allowed = ALLOWED.into_iter().find(|allowed| allowed.op == op.name() && allowed.kernel == kernel);
        let allowed = allowed.unwrap_or(clean("", "", 0.0));
        let [loads, stores] = excess_sectors(launch);
        let conflicts = launch.counts.get("shared_bank_conflicts") / launch.blocks;
        for (what, found, most) in [
            ("sectors a row loaded beyond the ideal", loads, allowed.loads),
            ("sectors a row stored beyond the ideal", stores, allowed.stores),
            ("bank conflicts a block", conflicts, allowed.conflicts),
            ("barriers a block", barriers(launch), allowed.barriers),
        ] {
            hold(found <= most + 1e-9, format!("{kernel}: {found:.4} {what}, more than {most}"));
        }
    }
    broken
}

/// Loaded and stored for each row beyond the fewest that hold the same bytes.
pub(crate) fn excess_sectors(launch: &Launch) -> [f64; 2] {
    ["load", "store"].map(|way| {
        let [found, ideal] = ["", "_ideal"].map(|which| launch.counts.get(&format!("global_{way}_sectors{which}")));
        (found - ideal) / (BATCH * POSITIONS) as f64
    })
}

/// That every warp of a block meets.
pub(crate) fn barriers(launch: &Launch) -> f64 {
    launch.counts.get("barriers") / launch.blocks / f64::from(launch.threads / 32)
}
