//! `tempest check`: our numbers against goldens, or a device's against the reference's.

use super::model::AnyModel;
use super::{DeviceArgs, Precision, print};
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::backend::Device;
use tempest::check::{self, Agreement, Report};
use tempest::files::atomic::{self, Existing};
use tempest::program::DType;
use tempest::workload::{Step, Subject, Workload};
use tempest::{Error, Result, terminal};

/// Check that this machine computes what it should
///
/// Op by op, a training step and a denoising step on the device are compared with the CPU's reference in single precision:
/// both get the same inputs, and every output must agree within twice the rounding of how the device stores it. With
/// --against, this build is compared with golden vectors of the original's PyTorch model instead.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// A golden set: PREFIX.json with PREFIX_weights, _io, _grads, _after1 and _after5.safetensors beside it
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["preset", "run", "batch"])]
    against: Option<PathBuf>,
    /// Sequences
    #[arg(long, value_name = "N", default_value_t = 2)]
    batch: usize,
    /// Storage of activations and matmul inputs [default: f32 on a CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    /// Write what was found as JSON too: each output's error and tolerance, each kernel's launches and its worst output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace that file if it is there already
    #[arg(long, requires = "json")]
    force: bool,
    #[command(flatten)]
    model: AnyModel,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let existing = Existing::forced(args.force);
    if let Some(path) = &args.json {
        atomic::check_place(path, existing)?;
    }
    let subject = if args.against.is_some() { None } else { Some(args.model.subject()?.0) };
    let device = args.device.open()?;
    let dtype = args.dtype.map_or(device.preferred_dtype(), DType::from);
    let mut report = Report::new(&device, &super::describe(&device), dtype);
    let summary = match (&args.against, subject) {
        (Some(prefix), _) => goldens(prefix, dtype, &device, &mut report),
        (None, Some(subject)) => steps(&subject, args.batch, dtype, &device, &mut report),
        (None, None) => unreachable!("the model is read where there is no golden set"),
    }?;
    if let Some(path) = &args.json {
        report.write(path, existing)?;
        terminal::say(format!("what was found is {}", path.display()));
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
fn steps(subject: &Subject, batch: usize, dtype: DType, device: &Device, report: &mut Report) -> Result<String> {
    let storage = device.storage(dtype);
    if matches!(device, Device::Cpu) && storage.acts == DType::F32 {
        terminal::say("the reference is this very CPU in f32: it is compared with itself (--dtype bf16 would not be)");
    }
    for step in [Step::Train, Step::Denoise] {
        let workload = Workload::new(subject, step, storage, batch)?;
        let of = workload.describe();
        print(&format!("{of}, {} against the CPU's f32\n{}\n\n", report.dtype, super::describe(device)))?;
        print(&format!("  #  {:<21} {:<28} {:>9}  {:>9}\n", "op", "output", "error", "tolerance"))?;
        terminal::doing("computing");
        check::in_lockstep(&workload, device, &mut |op| {
            report.add(&of, op);
            op.outputs.iter().try_for_each(|output| print(&row(output)))
        })?;
        terminal::rest();
        print("\n")?;
    }
    Ok(format!("{} outputs", report.outputs.len()))
}

/// `  3  qkv   acts [256, 384]   2.1e-4   4.3e-4  ok`.
fn row(agreement: &Agreement) -> String {
    let Agreement { difference: d, region, shape: [rows, cols] } = agreement;
    let output = format!("{region} [{rows}, {cols}]");
    let verdict = match (d.passes(), d.broken) {
        (true, _) if d.norm == 0.0 => "ok (all zero)".to_owned(),
        (true, _) => "ok".to_owned(),
        (false, 0) => "FAILED".to_owned(),
        (false, broken) => format!("FAILED: {broken} of {} are other ids, or not finite", rows * cols),
    };
    let error = if d.relative_l2 == 0.0 { "0".to_owned() } else { format!("{:.1e}", d.relative_l2) };
    let tolerance = format!("{:.1e}", d.tolerance());
    format!("{:>3}  {:<21} {output:<28} {error:>9}  {tolerance:>9}  {verdict}\n", d.index, d.op)
}
