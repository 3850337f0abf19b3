//! Tables for people, a line for each kind of op.

use super::{KernelTime, Kind, OpCounts, Times, kinds};
use crate::backend::cuda::Resources;
use crate::backend::cuda::virtual_gpu::Counts;
use crate::program::Work;
use crate::terminal::thousands;
use crate::workload::Workload;

/// Ops of one name and one size, added up.
struct Row<'a> {
    name: String,
    ops: u32,
    ms: f64,
    work: Work,
    kernels: Vec<&'a KernelTime>,
}

fn rows<'a>(workload: &Workload, times: &'a Times) -> Vec<Row<'a>> {
    let row = |kind: Kind| {
        let of = || kind.places.iter().map(|&place| &times.ops[place]);
        Row {
            name: format!("{:<21} {}", kind.name, kind.detail).trim_end().to_owned(),
            ops: kind.places.len() as u32,
            ms: of().map(|op| op.ms).sum(),
            work: of().fold(Work::default(), |sum, op| sum.plus(op.work)),
            kernels: of().flat_map(|op| &op.kernels).collect(),
        }
    };
    let mut rows: Vec<Row<'a>> = kinds(&workload.program.ops).into_iter().map(row).collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// What takes longest comes first. Registers and blocks are those of the op's longest kernel.
pub fn times_table(workload: &Workload, times: &Times) -> String {
    let rows = rows(workload, times);
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
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
    let line = |name: &str, ops: u32, ms: f64, work: Work, kernels: usize, most: Option<&KernelTime>| {
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
        if let Some(Resources { registers, blocks }) = most.map(|kernel| kernel.resources) {
            text += &format!("  {registers:>9}  {blocks:>9}");
        }
        text.trim_end().to_owned() + "\n"
    };
    for row in &rows {
        let most = row.kernels.iter().max_by(|a, b| a.ms.total_cmp(&b.ms)).copied();
        out += &line(&row.name, row.ops, row.ms, row.work, row.kernels.len(), most);
    }
    let kernels = rows.iter().map(|row| row.kernels.len()).sum();
    out + &line("all", times.ops.len() as u32, sum, workload.work(), kernels, None)
}

/// Ops of one name and one size, and what their kernels did.
struct Counted {
    name: String,
    ops: u32,
    work: Work,
    kernels: Vec<Counts>,
}

fn counted(workload: &Workload, counts: &[OpCounts]) -> Vec<Counted> {
    let row = |kind: Kind| {
        let of = || kind.places.iter().map(|&place| &counts[place]);
        Counted {
            name: format!("{} {}", kind.name, kind.detail).trim_end().to_owned(),
            ops: kind.places.len() as u32,
            work: of().fold(Work::default(), |sum, op| sum.plus(op.work)),
            kernels: Counts::by_kernel(of().flat_map(|op| &op.kernels)),
        }
    };
    kinds(&workload.program.ops).into_iter().map(row).collect()
}

/// In the order of the program, each op with its kernels.
pub fn counts_table(workload: &Workload, counts: &[OpCounts]) -> String {
    let rows = counted(workload, counts);
    let names = rows.iter().flat_map(|row| {
        let kernels = row.kernels.iter().map(|kernel| kernel.kernel.chars().count() + 2);
        kernels.chain([row.name.chars().count()])
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
    for row in &rows {
        out += &format!("{}{}\n", row.name, if row.ops > 1 { format!(" ×{}", row.ops) } else { String::new() });
        for (place, kernel) in row.kernels.iter().enumerate() {
            let requests = kernel.requests.max(1) as f64;
            let sectors =
                format!("{:.1}/{:.1}", kernel.sectors as f64 / requests, kernel.sectors_ideal as f64 / requests);
            // Products and operands are the op's: they stand beside its last kernel, for all of them.
            let (mut mma, mut dram) = (String::new(), String::new());
            if place + 1 == row.kernels.len() {
                let sum = |of: fn(&Counts) -> u64| row.kernels.iter().map(of).sum::<u64>() as f64;
                let flops = sum(|kernel| kernel.mma_flops);
                if flops > 0.0 && row.work.flops > 0.0 {
                    mma = format!("{:.2}", flops / row.work.flops);
                }
                dram = format!("{:.2}", sum(|kernel| kernel.dram_bytes) / row.work.bytes);
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
