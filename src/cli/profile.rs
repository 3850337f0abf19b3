//! `tempest profile`.

use super::machine::Machine;
use super::model::SubjectArgs;
use super::print;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::backend::cuda::Gpu;
use tempest::backend::cuda::virtual_gpu::Counters;
use tempest::files::atomic::{self, Existing};
use tempest::profile::{self, Effort, Found, OpCounts, Roofline, Times};
use tempest::terminal::{self, Activity, thousands};
use tempest::workload::{Step, Workload};
use tempest::{Error, Result};

/// Show where the time of a step goes, op by op
#[derive(Args, Debug)]
#[command(after_help = super::help::PROFILE)]
pub(crate) struct ProfileArgs {
    /// Which step
    #[arg(long, value_enum, default_value = "train")]
    what: Step,
    /// Sequences [default: as in training; 1 on the virtual GPU]
    #[arg(short, long, value_name = "N")]
    batch: Option<usize>,
    /// Timed steps, after those that warm up; medians are over these [default: 5 on a CPU; a second's on a GPU, 5 to 1000]
    #[arg(short = 'n', long, value_name = "N")]
    steps: Option<usize>,
    /// Write the last of them as a trace, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write the profile as JSON too, times or counts, for other programs to read
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    model: SubjectArgs,
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: &ProfileArgs) -> Result<()> {
    if args.steps == Some(0) {
        return Err(Error::input("--steps is 0; wanted at least 1"));
    }
    if args.force && args.trace.is_none() && args.json.is_none() {
        return Err(super::useless("--force", "is for files that --trace and --json write"));
    }
    let existing = Existing::forced(args.force);
    for path in [&args.trace, &args.json].into_iter().flatten() {
        atomic::check_place(path, existing)?;
    }
    let (subject, trained_batch) = args.model.subject()?;
    let device = args.machine.open_to_profile()?;
    let storage = device.storage(args.machine.dtype(&device));
    let counters = if matches!(device, Device::Cuda(_)) { Counters::of_driver() } else { None };
    let batch = args.batch.unwrap_or(if counters.is_some() { 1 } else { trained_batch });
    let workload = Workload::new(&subject, args.what, storage, batch)?;
    device.check_room("a step", batch, &|batch| workload.bytes_of(batch))?;
    let on = super::describe(&device);
    let head = format!("{}, {}\n{on}\n", workload.describe(), storage.acts);
    if let (Device::Cuda(gpu), Some(counters)) = (&device, counters) {
        if args.steps.is_some() {
            return Err(super::useless("--steps", "is of steps that are timed, and a virtual GPU counts one"));
        }
        if args.trace.is_some() {
            return Err(Error::input(
                "--trace shows times, and a virtual GPU has no times; leave it out, or use --device cpu",
            ));
        }
        print(&head)?;
        let counts = count(&workload, gpu, &counters)?;
        record(args, &workload, &device, &on, Found::Counts(&counts))?;
        return super::faultless(counts.iter().flat_map(|op| &op.kernels));
    }
    print(&format!("{head}\n"))?;
    terminal::doing("timing");
    let times = profile::time(&workload, &device, Effort::on(&device, args.steps))?;
    terminal::rest();
    print(&profile::times_table(&workload, &times))?;
    print(&totals(&workload, &times))?;
    if let Some(path) = &args.trace {
        profile::write_trace(path, existing, &workload, &times, &on)?;
        terminal::say(format!("the trace is {}", path.display()));
    }
    record(args, &workload, &device, &on, Found::Times(&times))
}

fn record(args: &ProfileArgs, workload: &Workload, device: &Device, on: &str, found: Found) -> Result<()> {
    let Some(path) = &args.json else { return Ok(()) };
    profile::write_record(path, Existing::forced(args.force), workload, device, on, found)?;
    terminal::say(format!("the profile is {}", path.display()));
    Ok(())
}

fn totals(workload: &Workload, times: &Times) -> String {
    let seconds = times.step_ms / 1e3;
    let tokens = thousands((workload.tokens() as f64 / seconds) as u64);
    let model_tflops = workload.model_flops() / seconds / 1e12;
    let mut out = format!("\na whole step: {:.3} ms, {tokens} tokens/s, {model_tflops:.3} TFLOP/s", times.step_ms);
    if let Some(peak) = times.peak {
        out += &format!(", MFU {:.1} %", 100.0 * model_tflops / peak.tflops);
    }
    if let Some(ghz) = times.clock_ghz {
        out += &format!(", at {:.0} MHz", 1e3 * ghz);
    }
    let medians = if times.steps == 1 { "one step".into() } else { format!("medians of {} steps", times.steps) };
    out += &match times.roofline {
        None => format!("\n\nops           {medians}\n"),
        Some(Roofline { tflops, bandwidth_gb }) => format!(
            "\n\nops           {medians}, between events around every kernel, less the {:.1} µs that an event takes; a whole step\n              \
             runs without them\n\
             of roofline   least time over time; the least is that of the flops at {tflops:.0} TFLOP/s or of the bytes of all\n              \
             operands, each moved once, at {bandwidth_gb:.0} GB/s, whichever is more: what a loop of products and a copy\n              \
             reached on this card before the steps\n\
             registers     of a thread of the op's longest kernel, and how many blocks one multiprocessor holds\n",
            1e3 * times.empty_ms
        ),
    };
    if let Some(peak) = times.peak {
        out += &format!(
            "MFU           the model's flops over the {:.0} TFLOP/s that the tensor cores would do at the highest clock\n",
            peak.tflops
        );
    }
    if times.clock_ghz.is_some() {
        out += "MHz           of the core clock, counted right behind the steps\n";
    }
    let basis = match workload.step {
        Step::Train => "the products forward, times 3; what the attention's backward computes again does not count",
        Step::Denoise => "the products forward",
    };
    out + &format!("model's flops {basis}: {:.1} GFLOP\n", workload.model_flops() / 1e9)
}

fn count(workload: &Workload, gpu: &Arc<Gpu>, counters: &Counters) -> Result<Vec<OpCounts>> {
    let ops = &workload.program.ops;
    print("these are counts of a virtual GPU, and no times\n\n")?;
    let counts = profile::count(workload, gpu, counters, &mut |index| {
        let (done, of, facts) = (index as u64, ops.len() as u64, vec![ops[index].name().to_owned()]);
        terminal::show(Activity { what: "op".into(), done, of, facts });
    })?;
    terminal::rest();
    print(&profile::counts_table(workload, &counts))?;
    print(
        "\ninstructions   of warps, in the PTX\n\
         mma/useful     flops of matrix instructions over those of the op's products\n\
         sectors/ideal  32 bytes each, in an access of a warp to global memory; and if its bytes lay side by side\n\
         conflicts      passes over the banks of shared memory beyond the necessary ones\n\
         DRAM/least     bytes between memory and chip with a perfect cache over those of the op's operands, each moved once\n",
    )?;
    Ok(counts)
}
