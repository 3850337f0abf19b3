//! What must hold of the machine code of every kernel, and more of some.

use crate::measure::{Compiled, REGISTERS};
use crate::sass::Instruction;

/// Most shared memory of a block that every GPU grants.
const MOST_SHARED: u32 = 99 << 10;

/// The bars of the kernels whose name begins with a prefix; the longest prefix counts.
#[derive(Clone, Copy)]
struct Bar {
    prefix: &'static str,
    /// At most.
    registers: u32,
    /// Blocks of a multiprocessor of an A100 or H100, at least.
    blocks: u32,
    /// Global accesses of two bytes or one, at most: rows that no 16 bytes divide end in them.
    halves: usize,
    /// What its main loop must be, if it is one of products on tensor cores.
    products: Option<ProductBar>,
}

/// Bars of a loop of products. Ratios are per HMMA.
#[derive(Clone, Copy)]
struct ProductBar {
    /// HMMA of all instructions, at least.
    share: f64,
    /// LDSM, at most.
    fragments: f64,
    /// Integer arithmetic, at most.
    address: f64,
    /// MUFU, at most.
    exponentials: f64,
    /// SHFL and FMNMX in the loop, at most.
    shuffles: usize,
    /// Cycles of a warp over those of its products, at most: A100, H100.
    stall: [f64; 2],
    /// Global accesses of fewer than 16 bytes in the loop, at most.
    narrow: usize,
}

const NO_BAR: f64 = f64::INFINITY;
const ANY: usize = usize::MAX;

/// A warp's 64×64 tile loads 16 fragments for 64 HMMA. An address computed anew for each LDSM costs 0.95. On an H100 a warp
/// may issue an HMMA every 6 cycles instead of 8, and what stands between two of them counts for more.
const MATMUL: ProductBar = ProductBar {
    share: 0.58,
    fragments: 0.25,
    address: 0.15,
    exponentials: 0.0,
    shuffles: 0,
    stall: [1.23, 1.35],
    narrow: 0,
};

/// Before each of its copies a tile asks whether it lies on the diagonal, where one operand is both.
const SYMMETRIC: ProductBar = ProductBar { share: 0.56, stall: [1.25, 1.39], ..MATMUL };

/// A warp's 32×32 tile, for matrices too small to fill a GPU with larger ones: half as many HMMA per fragment.
const SMALL: ProductBar = ProductBar { share: 0.36, fragments: 0.50, address: 0.20, stall: [1.70, 2.10], ..MATMUL };

/// Rows that only 4 bytes divide: four copies for one.
const NARROW: ProductBar = ProductBar { share: 0.29, address: 1.20, stall: [1.55, 1.75], narrow: 48, ..MATMUL };

/// No maximum and no rescaling in the loop.
const BOUNDED: ProductBar = ProductBar {
    share: 0.45,
    fragments: 0.25,
    address: NO_BAR,
    exponentials: 0.5,
    shuffles: 0,
    stall: [NO_BAR; 2],
    narrow: 0,
};

/// Heads of 32 have half the products for as many exponentials.
const BOUNDED_32: ProductBar = ProductBar { share: 0.32, exponentials: 1.0, ..BOUNDED };

const ONLINE: ProductBar = ProductBar { share: 0.18, fragments: 0.50, exponentials: NO_BAR, shuffles: ANY, ..BOUNDED };

const ONLINE_32: ProductBar = ProductBar { share: 0.15, ..ONLINE };

const BACKWARD: ProductBar =
    ProductBar { share: 0.20, fragments: NO_BAR, exponentials: NO_BAR, shuffles: ANY, narrow: ANY, ..BOUNDED };

const BACKWARD_32: ProductBar = ProductBar { share: 0.13, ..BACKWARD };

/// Under blocks the steps at the ends of spans hide what is not seen, and the others jump over that: the count of instructions
/// has it in the loop all the same.
const BACKWARD_BLOCKS: ProductBar = ProductBar { share: 0.08, ..BACKWARD };

/// Its loop over blocks of queries holds a shorter one, run several times, which the count of instructions cannot know.
const FUSED: ProductBar = ProductBar { share: 0.09, ..BACKWARD };

const HEAD_LOSS: ProductBar =
    ProductBar { share: 0.16, fragments: 0.60, exponentials: NO_BAR, shuffles: ANY, ..BOUNDED };

#[rustfmt::skip]
const BARS: &[Bar] = &[
    Bar { prefix: "", registers: 255, blocks: 1, halves: ANY, products: None },

    Bar { prefix: "qkv_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "qkv_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "linear_residual_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_residual_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "linear_relu2_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_relu2_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "head_logits_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "head_logits_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "head_logits_mma_free_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "norm_linear_backward_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "norm_linear_backward_mma_narrow", registers: 248, blocks: 2, halves: 0, products: Some(NARROW) },
    Bar { prefix: "relu2_backward_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "projection_backward_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "linear_gelu_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_gelu_mma_small", registers: 168, blocks: 3, halves: 0, products: Some(SMALL) },
    Bar { prefix: "linear_backward_mma", registers: 248, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "linear_backward_mma_narrow", registers: 248, blocks: 2, halves: 0, products: Some(NARROW) },
    Bar { prefix: "gelu_backward_mma", registers: 255, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "weight_grads_mma", registers: 232, blocks: 2, halves: 0, products: Some(MATMUL) },
    Bar { prefix: "weight_grads_mma_narrow", registers: 232, blocks: 2, halves: 0, products: Some(NARROW) },
    Bar { prefix: "gram_mma", registers: 255, blocks: 2, halves: 0, products: Some(SYMMETRIC) },
    Bar { prefix: "newton_schulz_mma", registers: 255, blocks: 2, halves: 0, products: Some(MATMUL) },
    // A copy of parameters that does not begin where 16 bytes do, one by one: 8 numbers for each of 16 steps.
    Bar { prefix: "newton_schulz_mma_step", registers: 224, blocks: 2, halves: 128, products: Some(MATMUL) },
    // Numbers one by one at the end of a matrix and where it is not aligned, for each of four steps.
    Bar { prefix: "muon_", registers: 48, blocks: 5, halves: 32, products: None },
    Bar { prefix: "weight_grads_reduce", registers: 48, blocks: 5, halves: 0, products: None },

    // On sm_90 ptxas takes 235; two blocks fit up to 255.
    Bar { prefix: "attention_mma_bounded", registers: 236, blocks: 2, halves: 0, products: Some(BOUNDED) },
    Bar { prefix: "attention_mma_bounded_d32", registers: 232, blocks: 2, halves: 0, products: Some(BOUNDED_32) },
    Bar { prefix: "attention_mma_online", registers: 240, blocks: 2, halves: 0, products: Some(ONLINE) },
    Bar { prefix: "attention_mma_online_d32", registers: 240, blocks: 2, halves: 0, products: Some(ONLINE_32) },
    Bar { prefix: "attention_mma_online_d128", registers: 255, blocks: 1, halves: 0, products: Some(ONLINE) },
    Bar { prefix: "attention_backward_mma_blocks", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD_BLOCKS) },
    Bar { prefix: "attention_backward_mma", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD) },
    Bar { prefix: "attention_backward_mma_kv_d32", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD_32) },
    Bar { prefix: "attention_backward_mma_q_d32", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD_32) },
    Bar { prefix: "attention_backward_mma_kv_free_d32", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD_32) },
    Bar { prefix: "attention_backward_mma_q_free_d32", registers: 255, blocks: 1, halves: 0, products: Some(BACKWARD_32) },
    Bar { prefix: "attention_backward_mma_fused", registers: 255, blocks: 1, halves: 0, products: Some(FUSED) },

    Bar { prefix: "head_loss_mma", registers: 200, blocks: 1, halves: 64, products: Some(HEAD_LOSS) },
    Bar { prefix: "adamw_step", registers: 48, blocks: 5, halves: 2, products: None },
    Bar { prefix: "grad_norm", registers: 48, blocks: 5, halves: 0, products: None },
    // Odd widths go number by number, beside the path of 16 bytes; bf16 is unrolled further.
    Bar { prefix: "embed", registers: 40, blocks: 8, halves: 32, products: None },
    Bar { prefix: "embed_backward", registers: 80, blocks: 3, halves: 64, products: None },
    Bar { prefix: "embed_rows_backward", registers: 64, blocks: 4, halves: 64, products: None },
];

/// A kernel's bars.
fn bar(name: &str) -> Bar {
    let fitting = BARS.iter().filter(|bar| name.starts_with(bar.prefix));
    *fitting.max_by_key(|bar| bar.prefix.len()).expect("the empty prefix fits all")
}

/// What is wrong with a kernel.
pub(crate) fn wrong(kernel: &Compiled) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut hold = |fine: bool, what: String| wrong.extend((!fine).then(|| format!("{}: {what}", kernel.title())));
    let (bar, of, threads) = (bar(&kernel.name), kernel.resources, kernel.launch.threads);

    hold(of.stack == 0 && of.local == 0, format!("{} bytes of stack, {} of local memory", of.stack, of.local));
    hold(of.registers * threads <= REGISTERS, format!("{} registers × {threads} threads", of.registers));
    hold(kernel.shared() <= MOST_SHARED, format!("{} bytes of shared memory", kernel.shared()));
    let forbidden: Vec<&str> = kernel.code.iter().filter(|i| is_forbidden(i)).map(|i| &i.opcode[..]).collect();
    if let Some(first) = forbidden.first() {
        hold(false, format!("{} forbidden instructions, as {first}", forbidden.len()));
    }

    hold(of.registers <= bar.registers, format!("{} registers, the bar is {}", of.registers, bar.registers));
    let large = matches!(kernel.gpu.arch, 80 | 90);
    let (blocks, promised) = (kernel.blocks(), kernel.promised());
    // The others have less shared memory.
    let held = if large { blocks } else { kernel.blocks_by_registers() };
    hold(held >= promised, format!("{held} blocks fit a multiprocessor, its launch bounds promise {promised}"));
    hold(!large || blocks >= bar.blocks, format!("{blocks} blocks fit a multiprocessor, the bar is {}", bar.blocks));
    let halves = kernel.halves();
    hold(halves <= bar.halves, format!("{halves} global accesses of 1 or 2 bytes, the bar is {}", bar.halves));

    let Some(bar) = bar.products else { return wrong };
    let Some(products) = kernel.products() else {
        hold(false, "no loop of products found".into());
        return wrong;
    };
    let share = products.share;
    hold(
        share >= bar.share,
        format!("{:.1} % of the loop is HMMA, the bar is {:.1} %", 100.0 * share, 100.0 * bar.share),
    );
    for (what, found, most) in [
        ("LDSM", products.fragments, bar.fragments),
        ("integer instructions", products.address, bar.address),
        ("MUFU", products.exponentials, bar.exponentials),
    ] {
        hold(found <= most, format!("{found:.3} {what} per HMMA, the bar is {most:.3}"));
    }
    for (what, found, most) in [
        ("SHFL and FMNMX", products.shuffles, bar.shuffles),
        ("global accesses of fewer than 16 bytes", products.narrow, bar.narrow),
    ] {
        hold(found <= most, format!("{found} {what} in the loop, the bar is {most}"));
    }
    if let Some(stall) = products.stall {
        let most = bar.stall[usize::from(kernel.gpu.arch == 90)];
        // As the table shows it.
        hold(
            (100.0 * stall).round() <= 100.0 * most,
            format!("the loop takes {stall:.2} times its products, the bar is {most:.2}"),
        );
    }
    wrong
}

/// Spills, double precision, sums whose order is open, and calls that need a stack.
pub(crate) fn is_forbidden(i: &Instruction) -> bool {
    let float = ["F16", "F16x2", "BF16", "BF16x2", "BF16_V2", "F32", "F64"].iter().any(|of| i.has(of));
    match i.base() {
        "LDL" | "STL" | "DADD" | "DFMA" | "DMUL" | "DMNMX" | "DSETP" | "DMMA" => true,
        "ATOM" | "ATOMG" | "ATOMS" | "RED" | "REDG" | "REDS" => float,
        // A branch of ptxas' own: a division's rare case, or a block that all lanes enter.
        "CALL" => !(i.has("REL") && i.has("NOINC")),
        "MUFU" => i.has("RCP64H") || i.has("RSQ64H"),
        _ => i.has("F64"),
    }
}
