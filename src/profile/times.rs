//! Times.

use crate::backend::cuda::{Cuda, Gpu, Rates, Resources, Timed, TimedStep};
use crate::backend::{Backend, Cpu, Device};
use crate::error::{Error, Result};
use crate::program::Work;
use crate::workload::Workload;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Before anything is timed, and at least one step: a GPU raises its clocks first.
    pub warm_up: Duration,
    /// Steps that are timed; medians are over these. None: as many as fill a second, 5 to 1000.
    pub steps: Option<usize>,
}

impl Effort {
    /// What it takes on a device, for a number of steps or, where none is given, its usual one.
    pub fn on(device: &Device, steps: Option<usize>) -> Self {
        match device {
            Device::Cpu => Effort { warm_up: Duration::ZERO, steps: steps.or(Some(5)) },
            Device::Cuda(_) => Effort { warm_up: Duration::from_millis(500), steps },
        }
    }

    fn steps(self, step_s: f64) -> usize {
        self.steps.unwrap_or_else(|| ((1.0 / step_s).ceil() as usize).clamp(5, 1000))
    }
}

/// Medians of more steps say nothing more.
const MOST_TIMED: usize = 10_000;

/// The most that a device can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// 10¹² multiplications and additions a second.
    pub tflops: f64,
    /// 10⁹ bytes a second.
    pub bandwidth_gb: f64,
}

impl Roofline {
    /// Of a GPU's tensor cores and memory, by its clocks; none where the driver does not tell them.
    pub fn by_clocks(gpu: &Gpu) -> Option<Self> {
        Some(Roofline { tflops: gpu.tensor_tflops()?, bandwidth_gb: gpu.bandwidth_gb()? })
    }

    /// The least time that work can take, in ms: that of its flops or that of its bytes.
    pub fn least_ms(self, work: Work) -> f64 {
        1e3 * (work.flops / (1e12 * self.tflops)).max(work.bytes / (1e9 * self.bandwidth_gb))
    }
}

impl From<Rates> for Roofline {
    fn from(rates: Rates) -> Self {
        Roofline { tflops: rates.tflops, bandwidth_gb: rates.bandwidth_gb }
    }
}

/// One op, in the order of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Median over the timed steps.
    pub ms: f64,
    /// What it costs at least.
    pub work: Work,
    /// From the beginning of the last timed step to the op's beginning and to its end.
    pub span_ms: [f64; 2],
    /// Its kernels; none on a CPU.
    pub kernels: Vec<KernelTime>,
}

/// One launch of an op.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Name of the kernel.
    pub name: &'static str,
    /// Median over the timed steps.
    pub ms: f64,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// What it uses.
    pub resources: Resources,
    /// As in [`OpTime`].
    pub span_ms: [f64; 2],
}

/// A step, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Times {
    /// One entry for each op, in the order of the program.
    pub ops: Vec<OpTime>,
    /// A step as it runs when nobody looks into it (on a GPU: one graph), the mean of the timed ones.
    pub step_ms: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// The device's limits, where they are known: measured on a GPU.
    pub roofline: Option<Roofline>,
    /// What its data sheet would say, by its highest clocks.
    pub peak: Option<Roofline>,
    /// Of the core clock, right behind the steps.
    pub clock_ghz: Option<f64>,
    /// What an event adds to what it times; it is taken off the times of kernels and ops, not off their spans.
    pub empty_ms: f64,
}

impl Times {
    /// Sum over all ops.
    pub fn ops_ms(&self) -> f64 {
        self.ops.iter().map(|op| op.ms).sum()
    }
}

/// Times a step on a device.
pub fn time(workload: &Workload, device: &Device, effort: Effort) -> Result<Times> {
    if let Some(steps) = effort.steps
        && !(1..=MOST_TIMED).contains(&steps)
    {
        return Err(Error::input(format!("{steps} timed steps; wanted 1 to {MOST_TIMED}")));
    }
    match device {
        Device::Cpu => on_cpu(workload, effort),
        Device::Cuda(gpu) => on_gpu(workload, gpu, effort),
    }
}

fn on_cpu(workload: &Workload, effort: Effort) -> Result<Times> {
    let mut cpu = Cpu::new(Arc::new(workload.plan.clone()));
    workload.fill(&mut cpu)?;
    let ops = &workload.program.ops;
    let mut step = || -> Result<(Vec<[f64; 2]>, f64)> {
        let start = Instant::now();
        let ms = || 1e3 * start.elapsed().as_secs_f64();
        let spans = ops.iter().map(|op| {
            let begin = ms();
            cpu.run_op(op, &workload.args)?;
            Ok([begin, ms()])
        });
        Ok((spans.collect::<Result<_>>()?, ms()))
    };
    let warm = Instant::now();
    let mut last_ms = step()?.1;
    while warm.elapsed() < effort.warm_up {
        last_ms = step()?.1;
    }
    let steps = effort.steps(last_ms / 1e3);
    let timed = (0..steps).map(|_| step()).collect::<Result<Vec<_>>>()?;
    let (last, _) = timed.last().expect("at least one");
    let ops = ops.iter().zip(last).enumerate().map(|(place, (op, &span_ms))| {
        let lengths = timed.iter().map(|(spans, _)| spans[place][1] - spans[place][0]);
        let ms = median(&mut lengths.collect::<Vec<f64>>());
        OpTime { ms, work: op.work(&workload.plan), span_ms, kernels: Vec::new() }
    });
    let step_ms = timed.iter().map(|(_, ms)| ms).sum::<f64>() / steps as f64;
    Ok(Times { ops: ops.collect(), step_ms, steps, roofline: None, peak: None, clock_ghz: None, empty_ms: 0.0 })
}

fn on_gpu(workload: &Workload, gpu: &Arc<Gpu>, effort: Effort) -> Result<Times> {
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone()))?;
    workload.fill(&mut cuda)?;
    let peak = Roofline::by_clocks(gpu);
    // Events of a virtual GPU say nothing of the card that it plays.
    let roofline = if gpu.is_virtual() { peak } else { Some(gpu.rates(workload.storage().acts)?.into()) };
    let step_s = warm_up(workload, &mut cuda, effort.warm_up)?;
    let count = effort.steps(step_s);
    let steady = cuda.time_steps(&workload.program, &workload.args, count)?;
    let steps = cuda.time(&workload.program, &workload.args, count)?;
    let empty_ms = median(&mut steps.iter().map(|step| f64::from(step.empty_ms)).collect::<Vec<_>>());
    let length = |launch: &Timed| (f64::from(launch.span_ms[1] - launch.span_ms[0]) - empty_ms).max(0.0);
    let last = &steps.last().expect("at least one").launches;
    let ops = workload.program.ops.iter().enumerate().map(|(index, op)| {
        let of_op = |step: &TimedStep| step.launches.iter().filter(|launch| launch.op == index).map(length).sum();
        let launches = last.iter().enumerate().filter(|(_, launch)| launch.op == index);
        let kernels: Vec<KernelTime> = launches
            .map(|(place, launch)| KernelTime {
                name: launch.kernel,
                ms: median(&mut steps.iter().map(|step| length(&step.launches[place])).collect::<Vec<_>>()),
                grid: launch.grid,
                threads: launch.threads,
                resources: launch.resources,
                span_ms: launch.span_ms.map(f64::from),
            })
            .collect();
        let edge = |kernel: Option<&KernelTime>, side: usize| kernel.map_or(0.0, |kernel| kernel.span_ms[side]);
        OpTime {
            ms: median(&mut steps.iter().map(of_op).collect::<Vec<f64>>()),
            work: op.work(&workload.plan),
            span_ms: [edge(kernels.first(), 0), edge(kernels.last(), 1)],
            kernels,
        }
    });
    let (step_ms, clock_ghz) = (steady.step_ms, Some(steady.clock_ghz));
    Ok(Times { ops: ops.collect(), step_ms, steps: count, roofline, peak, clock_ghz, empty_ms })
}

/// Runs steps for this long; how many seconds one took in the end.
fn warm_up(workload: &Workload, cuda: &mut Cuda, length: Duration) -> Result<f64> {
    let start = Instant::now();
    let mut burst = 1;
    loop {
        let begin = Instant::now();
        for _ in 0..burst {
            cuda.run(&workload.program, &workload.args)?;
        }
        cuda.read_bytes(workload.last)?; // Waits for all of them.
        let step_s = begin.elapsed().as_secs_f64() / f64::from(burst);
        if start.elapsed() >= length {
            return Ok(step_s);
        }
        // A tenth of a second's: the device does not wait for the host in between.
        burst = ((0.1 / step_s) as u32).clamp(1, 1000);
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roofline_is_the_slower_of_flops_and_bytes() {
        let a100 = Roofline { tflops: 312.0, bandwidth_gb: 2039.0 };
        let ms = |flops, bytes| a100.least_ms(Work { flops, bytes });
        assert_eq!(ms(312e9, 0.0), 1.0);
        assert_eq!(ms(312e9, 4.078e9), 2.0);
    }

    #[test]
    fn medians_do_not_see_an_outlier() {
        assert_eq!(median(&mut [3.0, 1000.0, 1.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 1000.0]), 3.0);
    }
}
