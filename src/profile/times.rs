//! Times.

use crate::backend::cuda::{Cuda, Gpu, Resources, Timed};
use crate::backend::{Backend, Cpu, Device};
use crate::error::{Error, Result};
use crate::program::Work;
use crate::workload::Workload;
use std::sync::Arc;
use std::time::Instant;

/// How often a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Before anything is timed.
    pub warm_up: usize,
    /// Timed; medians are over these.
    pub timed: usize,
}

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
    /// The kernel.
    pub name: &'static str,
    /// Median over the timed steps.
    pub ms: f64,
    /// Blocks.
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
    /// Every op.
    pub ops: Vec<OpTime>,
    /// A step as it runs when nobody looks into it (on a GPU: one graph), the mean of the timed ones.
    pub step_ms: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// The device's limits, where they are known.
    pub roofline: Option<Roofline>,
}

impl Times {
    /// Sum over all ops.
    pub fn ops_ms(&self) -> f64 {
        self.ops.iter().map(|op| op.ms).sum()
    }
}

/// Times a step on a device.
pub fn time(workload: &Workload, device: &Device, repeats: Repeats) -> Result<Times> {
    if repeats.timed == 0 {
        return Err(Error::input("0 steps take no time; wanted at least 1"));
    }
    match device {
        Device::Cpu => on_cpu(workload, repeats),
        Device::Cuda(gpu) => on_gpu(workload, gpu, repeats),
    }
}

fn on_cpu(workload: &Workload, repeats: Repeats) -> Result<Times> {
    let mut cpu = Cpu::new(Arc::new(workload.plan.clone()));
    workload.fill(&mut cpu)?;
    let ops = &workload.program.ops;
    let mut samples = vec![Vec::with_capacity(repeats.timed); ops.len()];
    let mut spans = Vec::new();
    let mut step_ms = 0.0;
    for step in 0..repeats.warm_up + repeats.timed {
        spans.clear();
        let start = Instant::now();
        let ms = || 1e3 * start.elapsed().as_secs_f64();
        for op in ops {
            let begin = ms();
            cpu.run_op(op, &workload.args)?;
            spans.push([begin, ms()]);
        }
        if step >= repeats.warm_up {
            step_ms += ms() / repeats.timed as f64;
            samples.iter_mut().zip(&spans).for_each(|(list, [begin, end])| list.push(end - begin));
        }
    }
    let ops = ops.iter().zip(samples.iter_mut().zip(&spans)).map(|(op, (list, &span_ms))| OpTime {
        ms: median(list),
        work: op.work(&workload.plan),
        span_ms,
        kernels: Vec::new(),
    });
    Ok(Times { ops: ops.collect(), step_ms, steps: repeats.timed, roofline: None })
}

fn on_gpu(workload: &Workload, gpu: &Arc<Gpu>, repeats: Repeats) -> Result<Times> {
    let mut cuda = gpu.open_plan(Arc::new(workload.plan.clone()))?;
    workload.fill(&mut cuda)?;
    let run = |cuda: &mut Cuda, steps: usize| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..steps {
            cuda.run(&workload.program, &workload.args)?;
        }
        cuda.read_bytes(workload.last)?; // Waits for all of them.
        Ok(1e3 * start.elapsed().as_secs_f64())
    };
    run(&mut cuda, repeats.warm_up.max(1))?;
    let step_ms = run(&mut cuda, repeats.timed)? / repeats.timed as f64;
    cuda.time(&workload.program, &workload.args)?;
    let steps = (0..repeats.timed).map(|_| cuda.time(&workload.program, &workload.args));
    let steps = steps.collect::<Result<Vec<Vec<Timed>>>>()?;
    let length = |launch: &Timed| f64::from(launch.span_ms[1] - launch.span_ms[0]);
    let last = steps.last().expect("at least one");
    let ops = workload.program.ops.iter().enumerate().map(|(index, op)| {
        let of_op = |step: &[Timed]| step.iter().filter(|launch| launch.op == index).map(length).sum();
        let launches = last.iter().enumerate().filter(|(_, launch)| launch.op == index);
        let kernels: Vec<KernelTime> = launches
            .map(|(place, launch)| KernelTime {
                name: launch.kernel,
                ms: median(&mut steps.iter().map(|step| length(&step[place])).collect::<Vec<_>>()),
                grid: launch.grid,
                threads: launch.threads,
                resources: launch.resources,
                span_ms: launch.span_ms.map(f64::from),
            })
            .collect();
        let edge = |kernel: Option<&KernelTime>, side: usize| kernel.map_or(0.0, |kernel| kernel.span_ms[side]);
        OpTime {
            ms: median(&mut steps.iter().map(|step| of_op(step)).collect::<Vec<f64>>()),
            work: op.work(&workload.plan),
            span_ms: [edge(kernels.first(), 0), edge(kernels.last(), 1)],
            kernels,
        }
    });
    Ok(Times { ops: ops.collect(), step_ms, steps: repeats.timed, roofline: Roofline::by_clocks(gpu) })
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
