//! The model's constants from times that a card took.

use crate::Figures;
use crate::measure::{Launch, Measured};
use crate::model::{Gpu, busy};
use crate::record::{Profile, Record};

/// A launch, and what it took.
pub(crate) struct Sample<'a> {
    pub(crate) launch: &'a Launch,
    pub(crate) special_functions: f64,
    pub(crate) us: f64,
}

/// A step of a record, where it was timed.
fn profile<'a>(record: &'a Record, what: &str, batch: usize) -> Option<&'a Profile> {
    let mut all = record.profiles.iter();
    all.find(|p| p.what == what && p.batch == batch && p.dtype == "f16" && p.step_ms.is_some())
}

/// What each launch of an op took, in µs; none of a kernel that was not timed.
pub(crate) fn measured_us(profile: &Profile, op: &Measured) -> Vec<Option<f64>> {
    let timed = profile.ops.iter().find(|timed| timed.op == op.op && timed.detail == op.detail);
    let of = |launch: &Launch| {
        let kernel = timed?.kernels.iter().find(|kernel| kernel.kernel == launch.kernel)?;
        Some(1e3 * kernel.ms? / kernel.launches.max(1) as f64)
    };
    op.launches.iter().map(of).collect()
}

/// The steps of which there are counts, beside what a record has of them.
pub(crate) fn steps<'a>(record: &'a Record, figures: &'a Figures) -> Vec<(&'a [Measured], &'a Profile)> {
    let steps =
        [("train", 64, &figures.training), ("denoise", 64, &figures.denoising), ("denoise", 1, &figures.denoising_one)];
    steps.into_iter().filter_map(|(what, batch, step)| Some((&step[..], profile(record, what, batch)?))).collect()
}

/// A GPU with the constants that fit a record of it best, at the clock that was counted; none where no launch was timed.
pub(crate) fn fitted(gpu: &Gpu, record: &Record, figures: &Figures) -> Option<Gpu> {
    let steps = steps(record, figures);
    let mut samples = Vec::new();
    for (op, profile) in steps.iter().flat_map(|(step, profile)| step.iter().map(move |op| (op, profile))) {
        for ((launch, special_functions), us) in op.each_launch().zip(measured_us(profile, op)) {
            samples.extend(us.filter(|us| *us > 0.0).map(|us| Sample { launch, special_functions, us }));
        }
    }
    if samples.is_empty() {
        return None;
    }
    let counted = steps.iter().find_map(|(_, profile)| profile.clocks.sm_mhz);
    let start = Gpu { clock_ghz: counted.map_or(gpu.clock_ghz, |mhz| mhz / 1e3), ..gpu.clone() };
    let mut found = fit(&start, &samples);
    // What a whole step takes beyond its launches lies between them.
    if let Some((step, profile)) = steps.first() {
        let launches: usize = step.iter().map(|op| op.copies * op.launches.len()).sum();
        let busy_us: f64 = step.iter().map(|op| op.copies as f64 * op_busy_us(&found, op)).sum();
        let step_us = 1e3 * profile.step_ms.expect("it was timed");
        found.launch_us = ((step_us - busy_us) / launches as f64).max(0.0);
    }
    for constant in [
        &mut found.clock_ghz,
        &mut found.product_cycles,
        &mut found.l2_bytes_per_cycle,
        &mut found.fill_cycles,
        &mut found.memory_share,
        &mut found.launch_us,
    ] {
        *constant = rounded(*constant);
    }
    found.from = format!("fitted to {}, {}", record.card, record.date);
    Some(found)
}

fn op_busy_us(gpu: &Gpu, op: &Measured) -> f64 {
    op.each_launch().map(|(launch, special_functions)| busy(gpu, launch, special_functions).time_us).sum()
}

/// Constants that are fitted, as logarithms.
const FITTED: usize = 4;

fn constants(gpu: &Gpu) -> [f64; FITTED] {
    [gpu.product_cycles, gpu.l2_bytes_per_cycle, gpu.fill_cycles, gpu.memory_share].map(f64::ln)
}

/// What a multiprocessor's port takes from L2 a cycle, in bytes (NVIDIA A100 whitepaper, 2020): a fit to launches that never
/// wait for L2 ends here.
const L2_PORT: f64 = 64.0;

fn with(gpu: &Gpu, logarithms: [f64; FITTED]) -> Gpu {
    let [product_cycles, l2_bytes_per_cycle, fill_cycles, memory_share] = logarithms.map(f64::exp);
    Gpu {
        product_cycles,
        l2_bytes_per_cycle: l2_bytes_per_cycle.min(L2_PORT),
        fill_cycles,
        memory_share: memory_share.min(1.0),
        ..gpu.clone()
    }
}

/// To four digits, more than the times have.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().expect("it is a number")
}

/// The constants whose times are nearest to the samples', by squares of logarithms of ratios: a launch of 3 µs counts as much
/// as one of 300. A search in all directions at once, for the model has kinks, with ever smaller steps; a constant that no
/// sample depends on stays as it was.
pub(crate) fn fit(start: &Gpu, samples: &[Sample]) -> Gpu {
    const LARGEST: f64 = 0.4;
    const SMALLEST: f64 = 1e-7;
    let miss = |at: [f64; FITTED]| -> f64 {
        let gpu = with(start, at);
        let of = |s: &Sample| (busy(&gpu, s.launch, s.special_functions).time_us / s.us).ln().powi(2);
        samples.iter().map(of).sum()
    };
    let directions: Vec<[f64; FITTED]> = (0..3_usize.pow(FITTED as u32))
        .map(|code| std::array::from_fn(|i| (code / 3_usize.pow(i as u32) % 3) as f64 - 1.0))
        .collect();
    let (mut at, mut step) = (constants(start), LARGEST);
    let mut least = miss(at);
    while step > SMALLEST {
        let moved = directions.iter().map(|direction| std::array::from_fn(|i| at[i] + step * direction[i]));
        let best = moved.map(|to: [f64; FITTED]| (miss(to), to)).min_by(|a, b| a.0.total_cmp(&b.0));
        match best {
            // Ties go to where it is: nothing moves for nothing.
            Some((found, to)) if found < least * (1.0 - 1e-12) => (least, at) = (found, to),
            _ => step /= 2.0,
        }
    }
    // Of constants that moved along with others without need, none is kept.
    for i in 0..FITTED {
        let back = std::array::from_fn(|j| if i == j { constants(start)[i] } else { at[j] });
        if miss(back) <= least {
            at = back;
        }
    }
    with(start, at)
}

/// Launches that wait for one thing each, on an H100: products, L2, their beginning and end, memory.
fn launches() -> [Launch; 4] {
    [
        // kernel, blocks, flops, sectors from L2, sectors from memory
        ("linear_relu2_mma", 1056.0, 5e10, 1e6, 1e5),
        ("qkv_mma", 1056.0, 1e8, 2e7, 1e5),
        ("attention_mma_bounded_d64", 132.0, 1e7, 1e4, 1e3),
        ("adamw_step", 10512.0, 0.0, 1.05e7, 1.05e7),
    ]
    .map(|(kernel, blocks, flops, l2, dram)| Launch::of_counts(kernel, blocks, flops, l2, dram))
}

#[test]
fn constants_become_times_and_a_fit_gives_them_back() {
    let assumed = crate::model::gpus().pop().expect("there are GPUs");
    let truth = Gpu {
        product_cycles: 7.7,
        l2_bytes_per_cycle: 41.0,
        fill_cycles: 1500.0,
        memory_share: 0.8,
        ..assumed.clone()
    };
    let launches = launches();
    let waits = launches.each_ref().map(|launch| busy(&truth, launch, 0.0).bound);
    assert_eq!(waits, ["tensor cores", "L2", "latency", "memory"], "each constant is seen");
    let samples = launches.each_ref().map(|launch| Sample {
        launch,
        special_functions: 0.0,
        us: busy(&truth, launch, 0.0).time_us,
    });
    let found = constants(&fit(&assumed, &samples));
    for (found, truth) in found.iter().zip(constants(&truth)) {
        // The search ends at steps of 1e-7; four samples determine four constants.
        assert!((found - truth).abs() < 1e-5, "{:.6} is found for {:.6}", found.exp(), truth.exp());
    }
}

#[test]
fn a_constant_that_no_launch_shows_stays_as_it_was() {
    let assumed = crate::model::gpus().pop().expect("there are GPUs");
    let truth = Gpu { memory_share: 0.7, product_cycles: 20.0, ..assumed.clone() };
    let launches = launches();
    let moving = &launches[3];
    let samples = [Sample { launch: moving, special_functions: 0.0, us: busy(&truth, moving, 0.0).time_us }];
    assert_eq!(fit(&assumed, &samples).product_cycles, assumed.product_cycles.ln().exp());
}

#[test]
fn no_card_is_fitted_beyond_what_one_can_do() {
    let assumed = crate::model::gpus().pop().expect("there are GPUs");
    // Times of nothing: no rate is high enough for them.
    let launches = launches();
    let samples = launches.each_ref().map(|launch| Sample { launch, special_functions: 0.0, us: 1e-3 });
    let found = fit(&assumed, &samples);
    assert_eq!((found.l2_bytes_per_cycle, found.memory_share), (L2_PORT, 1.0));
}
