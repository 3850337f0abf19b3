//! An estimate of how long launches take on real GPUs, from what they do. Nothing here was timed.
//!
//! A block is as slow as the busiest part of its multiprocessor makes it: tensor cores, shared memory, instruction issue,
//! special functions, or its share of L2. A multiprocessor has `n = ⌈blocks / multiprocessors⌉` of them to do, of which
//! `resident` at a time hide each other's beginnings and ends; and memory has to deliver each sector once. Of the two the
//! longer one counts, and of the other the part that cannot be hidden.

use crate::measure::{Launch, Measured};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use vgpu::profile::Profile;

/// A GPU as the model sees it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Gpu {
    /// Part of the name that its driver gives it.
    pub(crate) name: String,
    /// Where the constants come from: assumed, or fitted to a measured card.
    pub(crate) from: String,
    #[serde(skip, default = "Profile::a100")]
    pub(crate) profile: Profile,
    pub(crate) clock_ghz: f64,
    /// Cycles between m16n8k16 products with f32 sums of one of a multiprocessor's four tensor cores.
    pub(crate) product_cycles: f64,
    /// From L2 to one multiprocessor.
    pub(crate) l2_bytes_per_cycle: f64,
    /// Cycles of a block in which nothing flows: until its first operands are there, and from its last product to its end.
    pub(crate) fill_cycles: f64,
    pub(crate) memory_gb: f64,
    /// Of the memory's bandwidth, what streams get.
    pub(crate) memory_share: f64,
    /// Between a launch and the next in a graph.
    pub(crate) launch_us: f64,
    /// Dense f16 products with f32 sums.
    pub(crate) peak_tflops: f64,
    /// What a training step of the original model should take, from the work alone and usual efficiencies.
    pub(crate) goal_ms: [f64; 2],
}

/// `gpus.toml`.
#[derive(Serialize, Deserialize)]
struct Gpus {
    gpu: Vec<Gpu>,
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda_counters/gpus.toml")
}

/// The GPUs of the tables. Clocks and peaks are NVIDIA's; product cycles follow from them (H100: as far as mma.sync gets);
/// bytes a cycle of L2 are estimates; unless they are fitted.
pub(crate) fn gpus() -> Vec<Gpu> {
    let text = std::fs::read_to_string(file()).expect("gpus.toml is there");
    let Gpus { mut gpu } = toml::from_str(&text).unwrap_or_else(|e| panic!("gpus.toml: {e}"));
    for gpu in &mut gpu {
        gpu.profile = match &gpu.name[..] {
            "A100" => Profile::a100(),
            "RTX 4090" => Profile::rtx4090(),
            "H100" => Profile::h100(),
            other => panic!("gpus.toml: there is no profile of {other}"),
        };
    }
    gpu
}

/// Writes them, under the comment that the file begins with.
pub(crate) fn write(gpus: &[Gpu]) {
    let old = std::fs::read_to_string(file()).expect("gpus.toml is there");
    let comment: String =
        old.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    let text = toml::to_string(&Gpus { gpu: gpus.to_vec() }).expect("plain values");
    std::fs::write(file(), format!("{comment}\n{text}")).expect("gpus.toml can be written");
}

/// Multiplications and additions of one m16n8k16.
const PRODUCT_FLOPS: f64 = 2.0 * 16.0 * 8.0 * 16.0;

/// Of the shorter of computing and moving, what does not hide behind the longer.
const UNHIDDEN: f64 = 0.15;

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

/// How long a launch of an op takes that computes so many special functions, until the next one begins.
pub(crate) fn estimate(gpu: &Gpu, launch: &Launch, special_functions: f64) -> Estimate {
    let Estimate { time_us, bound } = busy(gpu, launch, special_functions);
    let time_us = time_us + gpu.launch_us;
    Estimate { time_us, bound: if gpu.launch_us > time_us / 2.0 { "launch" } else { bound } }
}

/// From its beginning to its end.
pub(crate) fn busy(gpu: &Gpu, launch: &Launch, special_functions: f64) -> Estimate {
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
    let ends = gpu.fill_cycles + 2.0 * stored / gpu.l2_bytes_per_cycle;
    let blocks = (launch.blocks / f64::from(gpu.profile.sm_count)).ceil();
    let at_once = resident(gpu, &launch.kernel).min(blocks);
    let cycles = blocks * block_cycles + (blocks / at_once).ceil() * ends / at_once;
    if ends > at_once * block_cycles {
        bound = "latency";
    }
    let busy_us = cycles / gpu.clock_ghz / 1e3;
    let memory_us = counts.dram_bytes() / (gpu.memory_share * gpu.memory_gb) / 1e3;
    if memory_us > busy_us {
        bound = "memory";
    }
    Estimate { time_us: busy_us.max(memory_us) + UNHIDDEN * busy_us.min(memory_us), bound }
}

/// Of all launches of an op, in order.
pub(crate) fn estimates(gpu: &Gpu, op: &Measured) -> Vec<Estimate> {
    op.each_launch().map(|(launch, special_functions)| estimate(gpu, launch, special_functions)).collect()
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
