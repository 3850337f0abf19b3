//! `docs/counters.md` and `docs/step-time.md`.

use crate::Figures;
use crate::bars::{GOAL_SLACK, barriers, excess_sectors};
use crate::fit;
use crate::measure::Measured;
use crate::model::{Gpu, estimates, gpus, step_ms, waits_ms};
use crate::record::Record;
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// Holds a document of `docs/` against what it should be, or writes it.
#[track_caller]
pub(crate) fn check(name: &str, new: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if env::var_os("TEMPEST_BLESS").is_some() {
        fs::write(&path, new).unwrap_or_else(|error| panic!("docs/{name}: {error}"));
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let differs = new.lines().find(|line| !old.lines().any(|other| other == *line)).unwrap_or("a line is gone");
    let cure = "run TEMPEST_BLESS=1 cargo test --test cuda_counters and look at what changed";
    assert!(old == new, "docs/{name} is out of date; {cure}\n{differs}");
}

/// What each kernel does.
pub(crate) fn counters(figures: &Figures) -> String {
    let mut out = include_str!("counters.md").to_owned();
    for (title, step) in [
        ("A training step", &figures.training),
        ("Muon's part of an update", &figures.muon),
        ("A denoising step", &figures.denoising),
    ] {
        let _ = write!(out, "\n## {title}\n\n");
        count_table(&mut out, step);
    }
    out + "\n" + include_str!("others.md")
}

fn count_table(out: &mut String, step: &[Measured]) {
    *out += "| op | kernel | blocks | GF | flops | MB | traffic | workspace | L2 | loads | stores | banks | barriers | instructions |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for op in step {
        for (i, launch) in op.launches.iter().enumerate() {
            let counts = &launch.counts;
            let [loads, stores] = excess_sectors(launch);
            let of_op = |cell: String| if i == 0 { cell } else { String::new() };
            let _ = writeln!(
                out,
                "| {} | `{}` | {:.0} | {} | {} | {:.1} | {} | {} | {:.0} | {} | {} | {} | {} | {:.1} |",
                of_op(op.name()),
                launch.kernel,
                launch.blocks,
                some(counts.get("mma_flops") / 1e9, 2),
                of_op(some(op.sum("mma_flops") / op.work.flops.max(1.0), 4)),
                counts.dram_bytes() / 1e6,
                of_op(format!("{:.2}", op.traffic_ratio())),
                of_op(some(op.workspace_bytes() / 1e6, 1)),
                counts.l2_bytes() / 1e6,
                some(loads, 2),
                some(stores, 2),
                some(counts.get("shared_bank_conflicts") / launch.blocks, 0),
                some(barriers(launch), 0),
                counts.get("warp_instructions") / 1e6,
            );
        }
    }
}

/// A number, or nothing where it rounds to none.
fn some(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.bytes().all(|c| matches!(c, b'0' | b'.' | b'-')) { String::new() } else { text }
}

/// How long each may take, and in parentheses what it took where a card was measured.
pub(crate) fn step_time(figures: &Figures, measured: &[Record]) -> String {
    let mut out = include_str!("step-time.md").to_owned();
    let gpus = gpus();
    assumptions(&mut out, &gpus);
    summary(&mut out, &gpus, figures);
    let record = |gpu: &Gpu| measured.iter().find(|record| record.card.contains(&gpu.name));
    for gpu in gpus.iter().filter(|gpu| record(gpu).is_some()) {
        let _ = write!(
            out,
            "\nConstants of the {}: {}. Times that were measured are in parentheses below.\n",
            gpu.name, gpu.from
        );
    }
    for (title, step) in [
        ("A training step, B = 64", &figures.training),
        ("Muon's part of an update", &figures.muon),
        ("A denoising step, B = 64", &figures.denoising),
        ("A denoising step, B = 1", &figures.denoising_one),
    ] {
        let _ = write!(out, "\n## {title}\n\nEstimated µs of each launch, and what it waits for most.\n\n");
        row(&mut out, ["op", "kernel", "times"], gpus.iter().map(|gpu| gpu.name.clone()));
        row(&mut out, ["---"; 3], gpus.iter().map(|_| "---".to_owned()));
        for op in step {
            for (i, launch) in op.launches.iter().enumerate() {
                let name = if i == 0 { op.name() } else { String::new() };
                let times = gpus.iter().map(|gpu| {
                    let found = estimates(gpu, op)[i];
                    let steps = record(gpu).map_or_else(Vec::new, |record| fit::steps(record, figures));
                    let same = steps.into_iter().find(|(other, _)| std::ptr::eq(*other, &step[..]));
                    let took = same.and_then(|(_, profile)| fit::measured_us(profile, op)[i]);
                    let took = took.map_or_else(String::new, |us| format!(" ({us:.0})"));
                    format!("{:.0} {}{took}", found.time_us, found.bound)
                });
                row(&mut out, [&name, &format!("`{}`", launch.kernel), &op.copies.to_string()], times);
            }
        }
    }
    out
}

fn row(out: &mut String, first: [&str; 3], cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = first.iter().map(ToString::to_string).chain(cells).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A line of a table with a column a GPU.
fn line(out: &mut String, gpus: &[Gpu], title: &str, cell: impl Fn(&Gpu) -> String) {
    let cells: Vec<String> = gpus.iter().map(cell).collect();
    let _ = writeln!(out, "| {title} | {} |", cells.join(" | "));
}

fn assumptions(out: &mut String, gpus: &[Gpu]) {
    line(out, gpus, "", |gpu| gpu.name.clone());
    line(out, gpus, "---", |_| "---".to_owned());
    line(out, gpus, "multiprocessors", |gpu| gpu.profile.sm_count.to_string());
    line(out, gpus, "clock, GHz", |gpu| gpu.clock_ghz.to_string());
    line(out, gpus, "dense f16 peak, TFLOP/s", |gpu| gpu.peak_tflops.to_string());
    line(out, gpus, "cycles between two m16n8k16 of a tensor core", |gpu| gpu.product_cycles.to_string());
    line(out, gpus, "bytes a cycle from L2 to a multiprocessor", |gpu| gpu.l2_bytes_per_cycle.to_string());
    line(out, gpus, "memory, GB/s", |gpu| gpu.memory_gb.to_string());
}

fn summary(out: &mut String, gpus: &[Gpu], figures: &Figures) {
    let step = &figures.training;
    *out += "\n## Estimates\n\n";
    line(out, gpus, "", |gpu| gpu.name.clone());
    line(out, gpus, "---", |_| "---".to_owned());
    line(out, gpus, "**training step, B = 64, ms**", |gpu| format!("**{:.1}**", step_ms(gpu, step)));
    line(out, gpus, "goal, ms", |gpu| format!("{:.1} to {:.1}", gpu.goal_ms[0], gpu.goal_ms[1]));
    line(out, gpus, "bar, ms", |gpu| format!("{:.1}", GOAL_SLACK * gpu.goal_ms[1]));
    let flops: f64 = step.iter().map(|op| op.copies as f64 * op.work.flops).sum();
    line(out, gpus, "tensor cores' share of their peak", |gpu| {
        format!("{:.0} %", flops / (step_ms(gpu, step) * gpu.peak_tflops * 1e9) * 100.0)
    });
    line(out, gpus, "its ms by what launches wait for", |gpu| {
        let waits = waits_ms(gpu, step).into_iter().filter(|(_, ms)| *ms >= 0.05);
        waits.map(|(name, ms)| format!("{name} {ms:.1}")).collect::<Vec<_>>().join(", ")
    });
    for (title, factor) in [("with twice the bytes from L2, ms", 2.0), ("with three quarters of them, ms", 0.75)] {
        line(out, gpus, title, |gpu| {
            let other = Gpu { l2_bytes_per_cycle: factor * gpu.l2_bytes_per_cycle, ..gpu.clone() };
            format!("{:.1}", step_ms(&other, step))
        });
    }
    line(out, gpus, "**Muon's part of an update, ms**", |gpu| format!("**{:.2}**", step_ms(gpu, &figures.muon)));
    line(out, gpus, "**denoising step, B = 64, ms**", |gpu| format!("**{:.1}**", step_ms(gpu, &figures.denoising)));
    line(out, gpus, "**denoising step, B = 1, ms**", |gpu| format!("**{:.2}**", step_ms(gpu, &figures.denoising_one)));
}
