//! Tables for people, a line for each kind of op.

use super::{KernelTime, Kind, OpCounts, OpTime, Times, kinds};
use crate::backend::cuda::Resources;
use crate::backend::cuda::virtual_gpu::Counts;
use crate::program::Work;
use crate::terminal::thousands;
use crate::workload::Workload;

/// What takes longest comes first. Registers and blocks are those of the op's longest kernel.
pub fn times_table(workload: &Workload, times: &Times) -> String {
    let mut kinds = kinds(workload, &times.ops);
    kinds.sort_by(|a, b| b.sum(|op| op.ms).total_cmp(&a.sum(|op| op.ms)));
    let name = |kind: &Kind<OpTime>| format!("{:<21} {}", kind.name, kind.detail).trim_end().to_owned();
    let width = kinds.iter().map(|kind| name(kind).chars().count()).max().unwrap_or(0);
    let sum = times.ops_ms();
    let on_gpu = times.roofline.is_some();
    let gpu_head = if on_gpu { "  of roofline  kernels  registers  blocks/SM" } else { "" };
    let mut out = format!(
        "{:<width$}  {:>3} {:>9}  {:>6}  {:>7}  {:>7}{gpu_head}\n",
        "op",
        "×",
        if on_gpu { "µs" } else { "ms" },
        "share",
        "GB/s",
        "TFLOP/s"
    );
    let line = |name: &str, ops: usize, ms: f64, work: Work, kernels: usize, longest: Option<&KernelTime>| {
        let rate = |amount: f64| if ms > 0.0 { amount / ms } else { 0.0 };
        // A TFLOP/s is 10⁹ flops a ms.
        let tflops = rate(work.flops / 1e9);
        let (time, tflops) = if on_gpu {
            (format!("{:.1}", 1e3 * ms), format!("{tflops:.1}"))
        } else {
            (format!("{ms:.3}"), format!("{tflops:.3}"))
        };
        let tflops = if work.flops > 0.0 { tflops } else { String::new() };
        let start = format!("{name:<width$}  {ops:>3} {time:>9}  {:>4.1} %", 100.0 * ms / sum);
        let mut text = format!("{start}  {:>7.1}  {tflops:>7}", rate(work.bytes / 1e6));
        if let Some(roofline) = times.roofline {
            text += &format!("  {:>9.1} %  {kernels:>7}", 100.0 * rate(roofline.least_ms(work)));
        }
        if let Some(Resources { registers, blocks }) = longest.map(|kernel| kernel.resources) {
            text += &format!("  {registers:>9}  {blocks:>9}");
        }
        text.trim_end().to_owned() + "\n"
    };
    for kind in &kinds {
        let kernels: Vec<_> = kind.found.iter().flat_map(|op| &op.kernels).collect();
        let longest = kernels.iter().max_by(|a, b| a.ms.total_cmp(&b.ms)).copied();
        let (ms, work) = (kind.sum(|op| op.ms), kind.sum(|op| op.work));
        out += &line(&name(kind), kind.found.len(), ms, work, kernels.len(), longest);
    }
    let kernels = times.ops.iter().map(|op| op.kernels.len()).sum();
    out + &line("all", times.ops.len(), sum, workload.work(), kernels, None)
}

/// In the order of the program, each op with its kernels.
pub fn counts_table(workload: &Workload, counts: &[OpCounts]) -> String {
    let row = |kind: Kind<OpCounts>| {
        let name = format!("{} {}", kind.name, kind.detail).trim_end().to_owned();
        let kernels = Counts::by_kernel(kind.found.iter().flat_map(|op| &op.kernels));
        (name, kind.found.len(), kind.sum(|op| op.work), kernels)
    };
    let rows: Vec<_> = kinds(workload, counts).into_iter().map(row).collect();
    let names = rows.iter().flat_map(|(name, _, _, kernels)| {
        let kernels = kernels.iter().map(|kernel| kernel.kernel.chars().count() + 2);
        kernels.chain([name.chars().count()])
    });
    let width = names.max().unwrap_or(0);
    let mut out = format!(
        "{:<width$}  {:>8}  {:>8}  {:>13}  {:>10}  {:>13}  {:>9}  {:>10}\n",
        "op, and its kernels",
        "launches",
        "blocks",
        "instructions",
        "mma/useful",
        "sectors/ideal",
        "conflicts",
        "DRAM/least"
    );
    for (name, ops, work, kernels) in &rows {
        out += &format!("{name}{}\n", if *ops > 1 { format!(" ×{ops}") } else { String::new() });
        for (place, kernel) in kernels.iter().enumerate() {
            let requests = kernel.requests.max(1) as f64;
            let sectors =
                format!("{:.1}/{:.1}", kernel.sectors as f64 / requests, kernel.sectors_ideal as f64 / requests);
            // Products and operands are the op's: they stand beside its last kernel, for all of them.
            let (mut mma, mut dram) = (String::new(), String::new());
            if place + 1 == kernels.len() {
                let sum = |of: fn(&Counts) -> u64| kernels.iter().map(of).sum::<u64>() as f64;
                let flops = sum(|kernel| kernel.mma_flops);
                if flops > 0.0 && work.flops > 0.0 {
                    mma = format!("{:.2}", flops / work.flops);
                }
                dram = format!("{:.2}", sum(|kernel| kernel.dram_bytes) / work.bytes);
            }
            let name = format!("  {:<1$}", kernel.kernel, width - 2);
            out += &format!(
                "{name}  {:>8}  {:>8}  {:>13}  {mma:>10}  {sectors:>13}  {:>9}  {dram:>10}\n",
                kernel.launches,
                thousands(kernel.blocks),
                thousands(kernel.instructions),
                thousands(kernel.bank_conflicts),
            );
        }
    }
    out
}
