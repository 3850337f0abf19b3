//! `tempest check`: our numbers against goldens, or a device's against the reference's.

use super::machine::Machine;
use super::model::SubjectArgs;
use super::print;
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::backend::Device;
use tempest::backend::cuda::virtual_gpu::Counters;
use tempest::check::{self, Agreement, Report, Trial};
use tempest::files::atomic::{self, Existing};
use tempest::program::{DType, Storage};
use tempest::workload::{Step, Subject, Workload};
use tempest::{Error, Result, terminal};

/// Check that this machine computes what it should
///
/// Op by op, the device is compared with the CPU's reference in single precision: both get the same inputs, and every output
/// must agree, as a whole and in each element, within the rounding of how the device stores it. Without more being said that is
/// done on small models and single ops that launch every kernel; with --preset, --run or --batch on a training step and a
/// denoising step of that model. With --against, this build is compared with golden vectors of the original's PyTorch model
/// instead.
#[derive(Args, Debug)]
#[command(after_help = super::help::CHECK)]
pub(crate) struct CheckArgs {
    /// A golden set: PREFIX.json with PREFIX_weights, _io, _grads, _after1 and _after5.safetensors beside it
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["preset", "run", "batch"])]
    against: Option<PathBuf>,
    /// Sequences of the steps of one model [default: 2]
    #[arg(short, long, value_name = "N")]
    batch: Option<usize>,
    /// Write what was found as JSON too: each output's error and tolerance, each kernel's launches and its worst output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace that file if it is there already
    #[arg(long, requires = "json")]
    force: bool,
    #[command(flatten)]
    model: SubjectArgs,
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let existing = Existing::forced(args.force);
    if let Some(path) = &args.json {
        atomic::check_place(path, existing)?;
    }
    let one_model = args.model.is_named() || args.batch.is_some();
    let subject = if one_model { Some(args.model.subject()?.0) } else { None };
    let device = args.machine.open()?;
    let dtype = args.machine.dtype(&device);
    let storage = device.storage(dtype);
    if args.against.is_none() && matches!(device, Device::Cpu) && storage.acts == DType::F32 {
        terminal::say("the reference is this very CPU in f32: it is compared with itself (--dtype bf16 would not be)");
    }
    let mut report = Report::new(&device, &super::describe(&device), dtype);
    let summary = match (&args.against, subject) {
        (Some(prefix), _) => goldens(prefix, dtype, &device, &mut report),
        (None, Some(subject)) => steps(&subject, args.batch.unwrap_or(2), storage, &device, &mut report),
        (None, None) => everything(storage, &device, &mut report),
    }?;
    if let Some(path) = &args.json {
        report.write(path, existing)?;
        terminal::say(format!("what was found is {}", path.display()));
    }
    if let (Device::Cuda(_), Some(counters)) = (&device, Counters::of_driver()) {
        super::faultless(&counters.take())?;
    }
    match report.failed() {
        0 => print(&format!("all {summary} agree\n")),
        failed => Err(Error::Mismatch(format!("{failed} of {summary} differ beyond their tolerance"))),
    }
}

/// Compares with a golden set; what was counted, in words.
fn goldens(prefix: &Path, dtype: DType, device: &Device, report: &mut Report) -> Result<String> {
    report.goldens = check::against(prefix, dtype, device)?;
    let lines = &report.goldens;
    let width = lines.iter().map(|l| l.what.len()).max().unwrap_or(0);
    let mut table = format!("{:<width$}  {:>14}  {:>12}  {:>9}\n", "", "relative error", "largest", "tolerance");
    for l in lines {
        let verdict = if l.passes() { "" } else { "  FAILED" };
        let numbers = format!("{:>14.2e}  {:>12.2e}  {:>9.0e}", l.relative, l.max_abs, l.tolerance);
        table += &format!("{:<width$}  {numbers}{verdict}\n", l.what);
    }
    print(&table)?;
    Ok(format!("{} quantities", lines.len()))
}

/// Compares both steps of a model op by op; what was counted, in words.
fn steps(subject: &Subject, batch: usize, storage: Storage, device: &Device, report: &mut Report) -> Result<String> {
    for step in [Step::Train, Step::Denoise] {
        let workload = Workload::new(subject, step, storage, batch)?;
        device.check_room("a step and its reference", batch, &|batch| workload.bytes_of_both(batch))?;
        let trial = Trial::from(workload);
        print(&format!("{}, {} against the CPU's f32\n{}\n\n", trial.name, report.dtype, super::describe(device)))?;
        print(&format!("  #  {:<21} {:<28} {:>9}  {:>9}\n", "op", "output", "error", "tolerance"))?;
        terminal::doing("computing");
        trial.in_lockstep(device, &mut |op| {
            report.add(&trial.name, op);
            op.outputs.iter().try_for_each(|output| print(&row(output)))
        })?;
        terminal::rest();
        print("\n")?;
    }
    Ok(format!("{} outputs", report.outputs.len()))
}

/// Compares small models and ops alone, which launch every kernel; what was counted, in words.
fn everything(storage: Storage, device: &Device, report: &mut Report) -> Result<String> {
    print(&format!("{} against the CPU's f32\n{}\n\n", report.dtype, super::describe(device)))?;
    for trial in check::every_kernel(storage)? {
        let mut failed = String::new();
        terminal::doing("computing");
        let ops = trial.in_lockstep(device, &mut |op| {
            report.add(&trial.name, op);
            failed.extend(op.outputs.iter().filter(|output| !output.difference.passes()).map(row));
            Ok(())
        })?;
        terminal::rest();
        let outputs: usize = ops.iter().map(|op| op.outputs.len()).sum();
        let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
        print(&format!("{:<62} {outputs:>4} outputs  {verdict}\n{failed}", trial.name))?;
    }
    if !report.kernels.is_empty() {
        print(&kernels(report))?;
    }
    print("\n")?;
    Ok(match report.kernels.len() {
        0 => format!("{} outputs", report.outputs.len()),
        n => format!("{} outputs of {n} kernels", report.outputs.len()),
    })
}

/// A line for each kernel, with the output that came nearest to its tolerance.
fn kernels(report: &Report) -> String {
    let head = ["kernel", "launches", "error", "tolerance", "share"];
    let mut table = format!("\n{:<31}{:>8}  {:>9}  {:>9}  {:>5}\n", head[0], head[1], head[2], head[3], head[4]);
    for (name, kernel) in &report.kernels {
        table += &format!("{name:<31}{:>8}", kernel.launches);
        table += &match &kernel.worst {
            None => "  brings the arguments of all others\n".to_owned(),
            Some(worst) => {
                let verdict = if kernel.failed == 0 { "ok" } else { "FAILED" };
                let (error, share) = (number(worst.error), 100.0 * worst.ratio);
                format!("  {error:>9}  {:>9}  {share:>3.0} %  {verdict}\n", number(worst.tolerance))
            }
        };
    }
    table
        + "\nerror and tolerance are those of the output that came nearest to its tolerance, of all ops that launch the kernel\n"
}

/// `  3  qkv   acts [256, 384]   2.1e-4   4.3e-4  ok`.
fn row(agreement: &Agreement) -> String {
    let Agreement { difference: d, region, shape: [rows, cols] } = agreement;
    let output = format!("{region} [{rows}, {cols}]");
    let verdict = match (d.passes(), d.broken) {
        (true, _) if d.norm == 0.0 => "ok (all zero)".to_owned(),
        (true, _) => "ok".to_owned(),
        (false, 0) if d.relative_l2 <= d.tolerance() => format!("FAILED: one is off by {:.1} of what it may", d.worst),
        (false, 0) => "FAILED".to_owned(),
        (false, broken) => format!("FAILED: {broken} of {} are other ids, or not finite", rows * cols),
    };
    let (error, tolerance) = (number(d.relative_l2), number(d.tolerance()));
    format!("{:>3}  {:<21} {output:<28} {error:>9}  {tolerance:>9}  {verdict}\n", d.index, d.op)
}

fn number(error: f64) -> String {
    if error == 0.0 { "0".to_owned() } else { format!("{error:.1e}") }
}
