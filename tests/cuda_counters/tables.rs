//! `docs/counters.md` and `docs/step-time.md`.

use crate::Figures;
use crate::bars::{barriers, excess_sectors};
use crate::measure::Measured;
use crate::model::{Gpu, estimates, gpus, step_ms};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// Holds a document of `docs/` against what it should be, or writes it.
#[track_caller]
pub(crate) fn check(name: &str, new: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if env::var_os("TEMPEST_BLESS").is_some() {
        fs::create_dir_all(path.parent().expect("docs")).expect("docs can be made");
        fs::write(&path, new).expect("the document can be written");
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let differs = new.lines().find(|line| !old.lines().any(|other| other == *line)).unwrap_or("a line is gone");
    assert!(
        old == new,
        "docs/{name} is out of date; run TEMPEST_BLESS=1 cargo test --test cuda_counters and look at what changed\n{differs}"
    );
}

fn table(out: &mut String, step: &[Measured]) {
    *out += "| op | kernel | blocks | GF | flops | MB | traffic | workspace MB | L2 MB | loads | stores | banks | barriers | M instr |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for op in step {
        for (i, launch) in op.launches.iter().enumerate() {
            let counts = &launch.counts;
            let [loads, stores] = excess_sectors(launch);
            let of_op = |cell: String| if i == 0 { cell } else { String::new() };
            let _ = writeln!(
                out,
                "| {} | `{}` | {:.0} | {} | {} | {:.1} | {} | {} | {:.0} | {} | {} | {} | {:.0} | {:.1} |",
                of_op(op.name()),
                launch.kernel,
                launch.blocks,
                nonzero(counts.get("mma_flops") / 1e9, 2),
                of_op(nonzero(op.sum("mma_flops") / op.work.flops.max(1.0), 4)),
                counts.dram_bytes() / 1e6,
                of_op(format!("{:.3}", op.traffic_ratio())),
                of_op(nonzero(op.workspace_bytes() / 1e6, 1)),
                counts.l2_bytes() / 1e6,
                nonzero(loads, 4),
                nonzero(stores, 4),
                nonzero(counts.get("shared_bank_conflicts") / launch.blocks, 1),
                barriers(launch),
                counts.get("warp_instructions") / 1e6,
            );
        }
    }
}

/// A number, or nothing for none.
fn nonzero(value: f64, digits: usize) -> String {
    if value.abs() < 1e-9 { String::new() } else { format!("{value:.digits$}") }
}

pub(crate) fn counters(figures: &Figures) -> String {
    let mut out = String::new();
    for (title, step) in [("Training step", &figures.training), ("Denoising step", &figures.denoising)] {
        let _ = write!(out, "\n## {title}\n\n");
        table(&mut out, step);
    }
    out
}

fn times(out: &mut String, step: &[Measured], gpus: &[Gpu]) {
    for op in step {
        for (i, launch) in op.launches.iter().enumerate() {
            let _ = write!(out, "| {} | `{}` | {} |", if i == 0 { op.name() } else { String::new() }, launch.kernel, op.copies);
            for gpu in gpus {
                let found = estimates(gpu, op)[i];
                let _ = write!(out, " {:.0} {} |", found.time_us, found.bound);
            }
            *out += "\n";
        }
    }
    let _ = write!(out, "| **step, ms** | | |");
    for gpu in gpus {
        let _ = write!(out, " **{:.2}** |", step_ms(gpu, step));
    }
    *out += "\n";
}

pub(crate) fn step_time(figures: &Figures) -> String {
    let mut out = String::new();
    let gpus = gpus();
    for (title, step) in
        [("Training step, B = 64", &figures.training), ("Denoising step, B = 64", &figures.denoising), ("Denoising step, B = 1", &figures.denoising_one)]
    {
        let _ = write!(out, "\n## {title}\n\n| op | kernel | times |{}\n", gpus.iter().map(|g| format!(" {} |", g.name)).collect::<String>());
        let _ = writeln!(out, "|---|---|---|{}", "---|".repeat(gpus.len()));
        times(&mut out, step, &gpus);
    }
    out
}
