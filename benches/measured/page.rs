//! `docs/measured.md`.

use crate::record::{Check, Profile, Record};
use std::fmt::Write;

const HEAD: &str = "# Measured\n\n\
    What `./prove-gpu run` found on real cards; `./prove-gpu report DIR` writes this page, from a run's folder into\n\
    [measured.json](measured.json) and from there. How it is measured: a step is one CUDA graph, timed after half a second of\n\
    warm-up over at least a second of them; ops are timed by events within the graph; the roofline is what a loop of products\n\
    and a copy reach on the same card right before. Peers run the same model in PyTorch on the same card in the same run.\n\n";

/// The page on these cards.
pub(crate) fn page(records: &[Record]) -> String {
    let mut out = HEAD.to_owned();
    if records.is_empty() {
        out += "**None yet: no card has been used.** Until then the estimates of [step-time.md](step-time.md) are all there is.\n";
    }
    for record in records {
        card(&mut out, record);
    }
    out
}

/// A line of a table.
fn row<S: AsRef<str>>(out: &mut String, cells: &[S]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A table's head.
fn head(out: &mut String, title: &str, cells: &[&str]) {
    let _ = write!(out, "\n### {title}\n\n");
    row(out, cells);
    row(out, &vec!["---"; cells.len()]);
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// `3.1e-4`.
fn scientific(value: Option<f64>) -> String {
    value.map_or_else(|| "no number".to_owned(), |value| if value == 0.0 { "0".into() } else { format!("{value:.1e}") })
}

fn card(out: &mut String, record: &Record) {
    let Record { card, driver, memory_mib, max_mhz: [sm, mem], date, commit, .. } = record;
    let _ = write!(
        out,
        "## {card}\n\n{date}, commit {commit}; driver {driver}, {memory_mib} MiB, at most {sm} MHz (memory {mem} MHz).\n"
    );
    steps(out, record);
    peers(out, record);
    record.profiles.iter().filter(|p| p.what == "train" && p.step_ms.is_some()).for_each(|p| ops(out, p));
    checks(out, &record.checks);
    learning(out, record);
    head(out, "Parts of the run", &["part", "verdict", "s", "what it said"]);
    for part in &record.parts {
        row(out, &[&part.name, &part.verdict, &part.seconds, &part.note.replace('|', "/")]);
    }
    out.push('\n');
}

/// `train B=64 f16`.
fn name(profile: &Profile) -> String {
    format!("{} B={} {}", profile.what, profile.batch, profile.dtype)
}

fn steps(out: &mut String, record: &Record) {
    let timed: Vec<&Profile> = record.profiles.iter().filter(|profile| profile.step_ms.is_some()).collect();
    if timed.is_empty() {
        return;
    }
    head(
        out,
        "Whole steps, original model",
        &["step", "ms", "10⁶ tokens/s", "TFLOP/s of the model", "MHz", "limits: TFLOP/s, GB/s"],
    );
    for profile in timed {
        let limits = profile.roofline.as_ref();
        row(
            out,
            &[
                name(profile),
                number(profile.step_ms, 3),
                number(profile.tokens_per_s.map(|n| n / 1e6), 2),
                number(profile.model_tflops, 1),
                number(profile.clocks.sm_mhz, 0),
                limits.map_or_else(|| "–".into(), |l| format!("{:.0}, {:.0}", l.tflops, l.bandwidth_gb)),
            ],
        );
    }
}

/// Our fastest step of this kind, in ms.
fn ours_ms(record: &Record, what: &str, batch: usize) -> Option<f64> {
    let same = record.profiles.iter().filter(|profile| profile.what == what && profile.batch == batch);
    same.filter_map(|profile| profile.step_ms).min_by(f64::total_cmp)
}

fn peers(out: &mut String, record: &Record) {
    for peers in &record.peers {
        let attention = peers.attention.as_deref().unwrap_or("what it chooses");
        head(
            out,
            &format!("PyTorch {}, attention by {attention}", peers.torch),
            &["step", "way", "ms", "ours, ms", "ours is so many times as fast"],
        );
        for step in &peers.steps {
            let ours = ours_ms(record, &step.what, step.batch);
            row(
                out,
                &[
                    format!("{} B={}", step.what, step.batch),
                    format!("{} {}", step.way, step.dtype),
                    number(Some(step.median_ms), 3),
                    number(ours, 3),
                    number(ours.map(|ours| step.median_ms / ours), 2),
                ],
            );
        }
    }
}

fn ops(out: &mut String, profile: &Profile) {
    head(
        out,
        &format!("Ops: {}", name(profile)),
        &["op", "times", "ms", "share", "of roofline", "kernels, µs a launch"],
    );
    for op in &profile.ops {
        let kernels = op.kernels.iter().map(|kernel| {
            let us = kernel.ms.map(|ms| 1e3 * ms / kernel.launches.max(1) as f64);
            format!("`{}` {}", kernel.kernel, number(us, 1))
        });
        let percent = |share: Option<f64>| number(share.map(|share| 100.0 * share), 1) + " %";
        row(
            out,
            &[
                format!("{} {}", op.op, op.detail).trim_end().to_owned(),
                op.times.to_string(),
                number(op.ms, 3),
                percent(op.share),
                percent(op.of_roofline),
                kernels.collect::<Vec<_>>().join(", "),
            ],
        );
    }
}

fn checks(out: &mut String, checks: &[Check]) {
    for check in checks.iter().filter(|check| !check.kernels.is_empty()) {
        head(
            out,
            &format!("Every kernel beside the CPU: {} ({})", check.name, check.dtype),
            &["kernel", "launches", "failed", "worst error", "tolerance", "in"],
        );
        for (kernel, found) in &check.kernels {
            let (error, tolerance, op) = found.worst.as_ref().map_or_else(Default::default, |worst| {
                (scientific(worst.error), scientific(worst.tolerance), worst.op.clone())
            });
            let counts = [found.launches.to_string(), found.failed.to_string()];
            row(out, &[format!("`{kernel}`"), counts[0].clone(), counts[1].clone(), error, tolerance, op]);
        }
    }
    let goldens: Vec<&Check> = checks.iter().filter(|check| !check.goldens.is_empty()).collect();
    if goldens.is_empty() {
        return;
    }
    head(out, "Beside the original's numbers", &["dtype", "quantities", "largest error over tolerance", "of"]);
    for check in goldens {
        let share = |golden: &crate::record::Golden| match (golden.error, golden.tolerance) {
            (Some(error), Some(tolerance)) => error / tolerance,
            _ => f64::INFINITY,
        };
        let worst = check.goldens.iter().max_by(|a, b| share(a).total_cmp(&share(b))).expect("not empty");
        row(out, &[&check.dtype, &check.goldens.len().to_string(), &number(Some(share(worst)), 3), &worst.what]);
    }
}

fn learning(out: &mut String, record: &Record) {
    if record.learning.is_empty() {
        return;
    }
    head(
        out,
        "Learning, 10.8 M parameters on Tiny Shakespeare",
        &["run", "steps", "wall s", "NELBO, nats/char", "bits/char"],
    );
    for run in &record.learning {
        let error = run.nelbo.standard_error.map_or_else(String::new, |e| format!(" ± {e:.3}"));
        let bound = [number(run.nelbo.nats, 3) + &error, number(run.nelbo.bits, 3)];
        row(out, &[&run.name, &run.steps.to_string(), &number(Some(run.seconds), 0), &bound[0], &bound[1]]);
    }
    for run in &record.learning {
        let _ = write!(out, "\nFrom {}:\n\n```text\n{}\n```\n", run.name, run.sample.trim_end());
    }
}
