//! `tempest profile`.

use super::model::AnyModel;
use super::{DeviceArgs, Precision, print};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::sync::Arc;
use tempest::backend::cuda::Gpu;
use tempest::backend::cuda::virtual_gpu::Counters;
use tempest::backend::{Backend, Cpu, Device};
use tempest::config::thousands;
use tempest::profile::{self, Repeats, Roofline, Times};
use tempest::program::{DType, Plan};
use tempest::workload::{Step, Workload};
use tempest::{Error, Result};

/// Show where the time of a step goes, op by op
#[derive(Args, Debug)]
pub(crate) struct ProfileArgs {
    /// Which step
    #[arg(long, value_enum, default_value = "train")]
    what: What,
    /// Sequences [default: as in training; 1 on the virtual GPU]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Timed steps, after one that is not; medians are over these
    #[arg(long, value_name = "N", default_value_t = 5)]
    steps: usize,
    /// Write the last of them as a trace, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Storage of activations and matmul inputs [default: f32 on a CPU, f16 on a GPU]
    #[arg(long, value_enum)]
    dtype: Option<Precision>,
    #[command(flatten)]
    model: AnyModel,
    #[command(flatten)]
    device: DeviceArgs,
    /// Worker threads [default: all cores]
    #[arg(long, value_name = "N", help_heading = "Machine")]
    threads: Option<usize>,
}

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// One of training: batch, forward, backward, optimizer.
    Train,
    /// One of sampling: a forward and the choice of tokens.
    Denoise,
}

impl From<What> for Step {
    fn from(what: What) -> Self {
        match what {
            What::Train => Step::Train,
            What::Denoise => Step::Denoise,
        }
    }
}

pub(crate) fn run(args: &ProfileArgs) -> Result<()> {
    super::set_threads(args.threads)?;
    if args.steps == 0 {
        return Err(Error::input("--steps is 0; wanted at least 1"));
    }
    let (subject, trained_batch) = args.model.subject()?;
    let device = args.device.open_to_profile()?;
    let storage = device.storage(args.dtype.map_or(device.preferred_dtype(), DType::from));
    let counters = if matches!(device, Device::Cuda(_)) { Counters::of_driver() } else { None };
    let batch = args.batch.unwrap_or(if counters.is_some() { 1 } else { trained_batch });
    let workload = Workload::new(&subject, args.what.into(), storage, batch)?;
    let on = match &device {
        Device::Cpu => Cpu::new(Arc::new(Plan::new())).describe(),
        Device::Cuda(gpu) => gpu.describe(),
    };
    let stored = format!("{:?}", storage.acts).to_lowercase();
    let head = format!("{}, {stored}\n{on}\n", workload.describe());
    if let (Device::Cuda(gpu), Some(counters)) = (&device, counters) {
        if args.trace.is_some() {
            return Err(Error::input(
                "--trace shows times, and a virtual GPU has no times; leave it out, or use --device cpu",
            ));
        }
        print(&head)?;
        return count(&workload, gpu, &counters);
    }
    print(&format!("{head}\n"))?;
    let times = profile::time(&workload, &device, Repeats { warm_up: 1, timed: args.steps })?;
    print(&profile::times_table(&workload, &times))?;
    print(&totals(&workload, &times, args.steps))?;
    if let Some(path) = &args.trace {
        profile::write_trace(path, &workload, &times, &on)?;
        eprintln!("the trace is {}", path.display());
    }
    Ok(())
}

fn totals(workload: &Workload, times: &Times, steps: usize) -> String {
    let seconds = times.step_ms / 1e3;
    let tokens = workload.tokens() as f64 / seconds;
    let model_tflops = workload.model_flops() / seconds / 1e12;
    let how = if times.roofline.is_some() { "as one graph" } else { "by the clock" };
    let mut out = format!(
        "\na step {how}: {:.3} ms, {} tokens/s, {model_tflops:.3} TFLOP/s of the model",
        times.step_ms,
        thousands(tokens as usize)
    );
    if let Some(Roofline { tflops, bandwidth_gb }) = times.roofline {
        out += &format!(
            ", MFU {:.1} %\n\nof roofline: the time that the op's flops take at {tflops:.0} TFLOP/s or its bytes at {bandwidth_gb:.0} \
             GB/s, whichever is more, over the time it took\nMFU: flops of the model over those that the tensor cores could do",
            100.0 * model_tflops / tflops
        );
    }
    let basis = match workload.step {
        Step::Train => "3 × the forward's products; what the attention's backward computes again is left out",
        Step::Denoise => "the forward's products",
    };
    let medians = if steps == 1 { "of one step".into() } else { format!("the medians of {steps} steps") };
    out + &format!("\nflops of the model: {basis}\ntimes of ops: {medians}, each op waited for\n")
}

fn count(workload: &Workload, gpu: &Arc<Gpu>, counters: &Counters) -> Result<()> {
    let ops = &workload.program.ops;
    print("This GPU is a virtual one: it has no times; what follows are counts.\n\n")?;
    let bar = ProgressBar::new(ops.len() as u64);
    bar.set_style(ProgressStyle::with_template("{msg:21}  {bar:32.cyan/dim} {pos}/{len} ops").expect("well formed"));
    let counts = profile::count(workload, gpu, counters, &mut |index| {
        bar.set_position(index as u64);
        bar.set_message(ops[index].name());
    })?;
    bar.finish_and_clear();
    print(&profile::counts_table(workload, &counts))?;
    let findings: u64 = counts.iter().flat_map(|op| &op.kernels).map(|kernel| kernel.findings).sum();
    print(
        "\nmma/useful: flops of matrix instructions over those of the op's products\n\
         sectors: of 32 bytes, each access of a warp to global memory, and how many it would be side by side\n\
         conflicts: passes over the banks of shared memory beyond the necessary ones\n\
         DRAM/least: bytes between memory and chip with a perfect cache, over those of the op's operands\n",
    )?;
    if findings > 0 {
        return Err(Error::Device(format!("the virtual GPU found {findings} faults in these kernels, told above")));
    }
    Ok(())
}
