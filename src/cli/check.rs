//! `tempest check`: our numbers against goldens.

use super::{DeviceArgs, Precision, print};
use clap::Args;
use std::path::PathBuf;
use tempest::program::DType;
use tempest::{Error, Result, check};

/// Compare this build with golden vectors of the original's PyTorch model
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The golden set: PREFIX.json with PREFIX_weights, _io, _grads, _after1 and _after5.safetensors beside it
    #[arg(long, value_name = "PREFIX")]
    against: PathBuf,
    /// Storage of activations and matmul inputs [default: f32 on a CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(crate) fn run(args: &CheckArgs) -> Result<()> {
    let device = args.device.open()?;
    let dtype = args.dtype.map_or(device.preferred_dtype(), DType::from);
    let lines = check::against(&args.against, dtype, &device)?;
    let width = lines.iter().map(|l| l.what.len()).max().unwrap_or(0);
    let mut table = format!("{:<width$}  {:>14}  {:>12}  {:>9}\n", "", "relative error", "largest", "tolerance");
    for l in &lines {
        let verdict = if l.passes() { "" } else { "  FAILED" };
        let numbers = format!("{:>14.2e}  {:>12.2e}  {:>9.0e}", l.relative, l.max_abs, l.tolerance);
        table += &format!("{:<width$}  {numbers}{verdict}\n", l.what);
    }
    print(&table)?;
    let failed = lines.iter().filter(|l| !l.passes()).count();
    if failed > 0 {
        return Err(Error::Mismatch(format!("{failed} of {} quantities differ beyond their tolerance", lines.len())));
    }
    print(&format!("all {} quantities agree\n", lines.len()))
}
