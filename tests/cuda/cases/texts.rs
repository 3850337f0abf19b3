//! Sampling, scoring and evaluation with whole models: several steps, each from where the last one ended.

use super::models::{Shape, fill_weights, inference};
use super::noise::corpus;
use crate::chance::seed;
use crate::watch::{Twins, Watch};
use tempest::Result;
use tempest::config::{Policy, Schedule, Score};
use tempest::process::{ReverseStep, SampleState};
use tempest::program::{
    AttentionMask, Builder, DType, GIVEN, Level, Plan, SamplingParams, StepArgs, TimeOrder, Windows,
};

/// Denoising steps of each case.
const STEPS: u64 = 2;

#[rustfmt::skip]
const SHAPES: [(Shape, AttentionMask); 5] = [
    (Shape { layers: 2, heads: [3, 2], positions: 7, symbols: 67, timesteps: 5, context: 2, sequences: 1 }, AttentionMask::Bidirectional),
    (Shape { layers: 1, heads: [3, 32], positions: 33, symbols: 66, timesteps: 0, context: 0, sequences: 3 }, AttentionMask::Bidirectional),
    (Shape { layers: 2, heads: [1, 64], positions: 130, symbols: 129, timesteps: 128, context: 16, sequences: 1 }, AttentionMask::Causal),
    (Shape { layers: 1, heads: [1, 128], positions: 65, symbols: 257, timesteps: 0, context: 0, sequences: 2 }, AttentionMask::Bidirectional),
    (Shape { layers: 2, heads: [2, 32], positions: 33, symbols: 66, timesteps: 0, context: 0, sequences: 2 }, AttentionMask::Blocks { length: 11 }),
];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for (i, (shape, mask)) in SHAPES.into_iter().enumerate() {
        for way in [i, i + 1] {
            write(watch, shape, mask, dtype, way % 4);
        }
        evaluate(watch, shape, mask, dtype);
    }
}

/// Texts half known.
fn fill(twins: &mut Twins, state: SampleState, mask_id: u32) -> Result<()> {
    let known = |i: usize| i % 5 == 1;
    let token = |i: usize| (i as u32 * 7) % 64;
    let n = state.x.len();
    let x: Vec<u32> = (0..n).map(|i| if known(i) { token(i) } else { mask_id }).collect();
    let masked: Vec<u32> = (0..n).map(|i| u32::from(!known(i))).collect();
    let truth: Vec<u32> = (0..n).map(token).collect();
    twins.write_u32(state.x, &x)?;
    twins.write_u32(state.masked, &masked)?;
    twins.write_u32(state.truth, &truth)?;
    let committed_at = (0..n).map(|i| [GIVEN, 0][i % 2]);
    twins.write_u32(state.committed_at, &committed_at.collect::<Vec<_>>())?;
    twins.write_u32(state.remaining, &vec![0; state.remaining.len()])?;
    twins.write_f32(state.nll, &vec![0.25; state.nll.len()])
}

fn write(watch: &mut Watch, shape: Shape, mask: AttentionMask, dtype: DType, way: usize) {
    let length = match mask {
        AttentionMask::Blocks { length } => length as usize,
        AttentionMask::Bidirectional | AttentionMask::Causal => shape.positions,
    };
    let params = |sequence: usize| {
        let ways = [
            (0.0, 1.0, 1.0, Policy::TopK(Some(2), Score::Margin)),
            (1.0, 1.0, 1.0, Policy::Ancestral { steps: None, schedule: Schedule::Cosine }),
            (0.8, 0.9, 1.0, Policy::threshold(0.02)),
            (0.0, 1.0, 1.2, Policy::threshold(2.0)),
        ];
        // Each text of a batch in another way.
        let (temperature, top_p, confidence_at, policy) = ways[(way + sequence) % ways.len()];
        let guidance = sequence as f32 + 0.5;
        SamplingParams { temperature, top_p, confidence_at, guidance, ..SamplingParams::greedy(policy, length) }
    };
    let lots = |sequence: usize| if (way + sequence) % 4 == 1 { 1 << 22 } else { 0 };
    let params: Vec<SamplingParams> = (0..shape.sequences).map(params).collect();
    let lots: Vec<u32> = (0..shape.sequences).flat_map(|text| std::iter::repeat_n(lots(text), 2 * length)).collect();
    let mut plan = Plan::new();
    let process = inference(&mut plan, shape, mask, dtype);
    let mut b = Builder::new(&mut plan, "texts");
    let state = process.sample_state(&mut b, shape.sequences);
    let order = [process.diffusion().time_order(shape.positions), TimeOrder::Original][way % 2];
    let drop = (way < 2).then(|| process.mask_id());
    // What is guided takes twice as much.
    let is_guided = way < 2 && process.diffusion().check_guidance().is_ok();
    process.diffusion().reverse_step(&mut b, state, ReverseStep { order, drop, is_guided });
    let write = b.finish();
    let mut b = Builder::new(&mut plan, "score");
    process.diffusion().score_step(&mut b, state, ReverseStep { order, drop, is_guided: false });
    let score = b.finish();
    let what = format!("texts of {:?} in {dtype:?}, {:?}", shape.config(), params[0]);
    watch.attempt(&what, |watch| {
        let mut twins = watch.twins(plan)?;
        fill_weights(&mut twins, process.model())?;
        fill(&mut twins, state, process.mask_id())?;
        twins.write_f32(state.params, bytemuck::cast_slice(&params))?;
        twins.write_u32(state.lots, &lots)?;
        if let Some(ahead) = state.ahead {
            // The second block, behind what nobody has computed.
            twins.write_u32(ahead, &vec![(shape.positions - state.x.cols) as u32; ahead.len()])?;
            let cache = state.cache.expect("what is kept");
            twins.write_f32(cache, &vec![0.5; cache.len()])?;
        }
        for step in 0..STEPS {
            let args = StepArgs { seed: 3 + seed(), step, sequence: 7, ..StepArgs::default() };
            let program = if way == 0 && step == 1 { &score } else { &write };
            watch.run(&what, &mut twins, program, &args)?;
        }
        Ok(())
    });
}

fn evaluate(watch: &mut Watch, shape: Shape, mask: AttentionMask, dtype: DType) {
    let mut plan = Plan::new();
    let process = inference(&mut plan, shape, mask, dtype);
    let blocks = match mask {
        AttentionMask::Blocks { length } => shape.positions / length as usize,
        AttentionMask::Bidirectional | AttentionMask::Causal => 1,
    };
    let sums = plan.alloc(process.model().memory.kept, shape.sequences * blocks, 2);
    let mut b = Builder::new(&mut plan, "evaluate");
    let windows = 5;
    let crop = Windows::Spaced { range: corpus().validation(), windows };
    process.diffusion().evaluate(&mut b, crop, Level::Spread { windows, passes: 4 }, sums);
    let program = b.finish();
    let what = format!("evaluation of {:?} in {dtype:?}", shape.config());
    watch.attempt(&what, |watch| {
        let mut twins = watch.twins(plan)?;
        fill_weights(&mut twins, process.model())?;
        twins.bind_corpus(&corpus())?;
        watch.run(
            &what,
            &mut twins,
            &program,
            &StepArgs { seed: 4 + seed(), step: 6, sequence: 1, ..StepArgs::default() },
        )
    });
}
