//! An estimate of how long launches take on real GPUs, from what they do. Nothing here was timed.
//!
//! A block is as slow as the busiest part of its multiprocessor makes it: tensor cores, shared memory, instruction issue,
//! special functions, or its share of L2. A multiprocessor has `n = ⌈blocks / multiprocessors⌉` of them to do, of which
//! `resident` at a time hide each other's beginnings and ends; and memory has to deliver each sector once. Of the two the
//! longer one counts, and of the other the part that cannot be hidden.

use crate::measure::{Launch, Measured};
use vgpu::profile::Profile;

/// A GPU as the model sees it.
#[derive(Clone)]
pub(crate) struct Gpu {
    pub(crate) name: &'static str,
    pub(crate) profile: Profile,
    pub(crate) clock_ghz: f64,
    /// Cycles between m16n8k16 products with f32 sums of one of a multiprocessor's four tensor cores.
    pub(crate) product_cycles: f64,
    /// From L2 to one multiprocessor.
    pub(crate) l2_bytes_per_cycle: f64,
    pub(crate) memory_gb: f64,
    /// Dense f16 products with f32 sums.
    pub(crate) peak_tflops: f64,
    /// What a training step of the seed model should take, from the work alone and usual efficiencies.
    pub(crate) goal_ms: [f64; 2],
}

/// The GPUs of the tables. Clocks and peaks are NVIDIA's; product cycles follow from them (H100: as far as mma.sync gets);
/// bytes a cycle of L2 are estimates.
pub(crate) fn gpus() -> [Gpu; 3] {
    [
        Gpu {
            name: "A100",
            profile: Profile::a100(),
            clock_ghz: 1.41,
            product_cycles: 8.0,
            l2_bytes_per_cycle: 29.0,
            memory_gb: 2000.0,
            peak_tflops: 312.0,
            goal_ms: [6.2, 6.9],
        },
        Gpu {
            name: "RTX 4090",
            profile: Profile::rtx4090(),
            clock_ghz: 2.52,
            product_cycles: 32.0,
            l2_bytes_per_cycle: 15.5,
            memory_gb: 1008.0,
            peak_tflops: 165.0,
            goal_ms: [9.6, 10.7],
        },
        Gpu {
            name: "H100",
            profile: Profile::h100(),
            clock_ghz: 1.755,
            product_cycles: 6.4,
            l2_bytes_per_cycle: 28.0,
            memory_gb: 3350.0,
            peak_tflops: 990.0,
            goal_ms: [3.1, 3.8],
        },
    ]
}

/// Multiplications and additions of one m16n8k16.
const PRODUCT_FLOPS: f64 = 2.0 * 16.0 * 8.0 * 16.0;

/// Cycles of a block in which nothing flows: until its first operands are there, and from its last product to its end.
const LATENCY_CYCLES: f64 = 1200.0 + 900.0;

/// Of the memory's bandwidth, what streams get.
const MEMORY_SHARE: f64 = 0.88;

/// Of the shorter of computing and moving, what does not hide behind the longer.
const UNHIDDEN: f64 = 0.15;

/// Between a launch and the next in a graph.
const LAUNCH_US: f64 = 1.6;

/// An estimate for one launch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) time_us: f64,
    /// What it waits for most.
    pub(crate) bound: &'static str,
}

/// Blocks of a kernel that one multiprocessor holds at once, read off the machine code by `tests/static_bars`.
#[track_caller]
fn resident(gpu: &Gpu, kernel: &str) -> f64 {
    const FIGURES: &str = include_str!("../../docs/kernels.md");
    const ARCHS: [u32; 5] = [80, 86, 89, 90, 120];
    let cell = |line: &'static str, place: usize| line.split('|').nth(place).map(str::trim);
    let place_of_blocks = FIGURES.lines().find_map(|line| line.split('|').position(|title| title.trim() == "blocks"));
    let blocks = FIGURES.lines().find(|line| cell(line, 1) == Some(&format!("`{kernel}`"))).and_then(|line| {
        let arch = ARCHS.iter().position(|arch| *arch == gpu.profile.sm())?;
        cell(line, place_of_blocks?)?.split(' ').nth(arch)?.parse().ok()
    });
    blocks.unwrap_or_else(|| panic!("docs/kernels.md has no blocks of {kernel} for sm_{}", gpu.profile.sm()))
}

/// How long a launch of an op takes that computes so many special functions.
pub(crate) fn estimate(gpu: &Gpu, launch: &Launch, special_functions: f64) -> Estimate {
    let counts = &launch.counts;
    let in_block = |total: f64| total / launch.blocks;
    let issued = counts.get("warp_instructions") - counts.get("instructions.move");
    let wavefronts = counts.get("shared_load_wavefronts") + counts.get("shared_store_wavefronts");
    let parts = [
        ("tensor cores", in_block(counts.get("mma_flops")) / PRODUCT_FLOPS * gpu.product_cycles / 4.0),
        ("shared memory", in_block(wavefronts)),
        ("issue", in_block(issued) / 4.0),
        ("special functions", in_block(special_functions) / 16.0),
        ("L2", in_block(counts.l2_bytes()) / gpu.l2_bytes_per_cycle),
    ];
    let (mut bound, block_cycles) = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there are parts");
    let stored = 32.0 * in_block(counts.get("global_store_sectors"));
    let ends = LATENCY_CYCLES + 2.0 * stored / gpu.l2_bytes_per_cycle;
    let blocks = (launch.blocks / f64::from(gpu.profile.sm_count)).ceil();
    let at_once = resident(gpu, &launch.kernel).min(blocks);
    let cycles = blocks * block_cycles + (blocks / at_once).ceil() * ends / at_once;
    if ends > at_once * block_cycles {
        bound = "latency";
    }
    let busy_us = cycles / gpu.clock_ghz / 1e3;
    let memory_us = counts.dram_bytes() / (MEMORY_SHARE * gpu.memory_gb) / 1e3;
    if memory_us > busy_us {
        bound = "memory";
    }
    let time_us = busy_us.max(memory_us) + UNHIDDEN * busy_us.min(memory_us) + LAUNCH_US;
    if LAUNCH_US > time_us / 2.0 {
        bound = "launch";
    }
    Estimate { time_us, bound }
}

/// Of all launches of an op, in order.
pub(crate) fn estimates(gpu: &Gpu, op: &Measured) -> Vec<Estimate> {
    // All of an op's special functions are in its first launch.
    let special = |i: usize| if i == 0 { op.special_functions } else { 0.0 };
    op.launches.iter().enumerate().map(|(i, launch)| estimate(gpu, launch, special(i))).collect()
}

/// A whole step.
pub(crate) fn step_ms(gpu: &Gpu, step: &[Measured]) -> f64 {
    waits_ms(gpu, step).iter().map(|(_, ms)| ms).sum()
}

/// A whole step by what its launches wait for most, the longest first.
pub(crate) fn waits_ms(gpu: &Gpu, step: &[Measured]) -> Vec<(&'static str, f64)> {
    let mut waits: Vec<(&str, f64)> = Vec::new();
    for op in step {
        for Estimate { time_us, bound } in estimates(gpu, op) {
            let ms = op.copies as f64 * time_us / 1e3;
            match waits.iter_mut().find(|(name, _)| *name == bound) {
                Some((_, sum)) => *sum += ms,
                None => waits.push((bound, ms)),
            }
        }
    }
    waits.sort_by(|a, b| b.1.total_cmp(&a.1));
    waits
}
