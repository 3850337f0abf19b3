//! Whole training steps of small models of every odd shape.

use super::noise::corpus;
use crate::chance::seed;
use crate::watch::{Twins, Watch};
use tempest::Result;
use tempest::config::{
    Architecture, Averages, LrSchedule, ModelConfig, Objective, Optimizer, OptimizerConfig, Schedule,
};
use tempest::model::{Transformer, Use};
use tempest::process::{Batch, Block, Masked, Process};
use tempest::program::{Accumulate, AttentionMask, Builder, DType, Op, Plan, Program, StepArgs};
use tempest::rng::{Stream, philox};

/// A model and a batch for it.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) layers: usize,
    /// `[heads, columns of each]`.
    pub(super) heads: [usize; 2],
    pub(super) positions: usize,
    pub(super) symbols: usize,
    pub(super) timesteps: usize,
    pub(super) context: usize,
    pub(super) sequences: usize,
}

impl Shape {
    fn gpt(self, bias: bool) -> ModelConfig {
        ModelConfig { short_conv: 0, diffusion_steps: 0, architecture: Architecture::Gpt { bias }, ..self.config() }
    }

    pub(super) fn config(self) -> ModelConfig {
        let [n_head, head_dim] = self.heads;
        let model = ModelConfig {
            n_layer: self.layers,
            n_head,
            n_embd: n_head * head_dim,
            sequence_len: self.positions,
            vocab_size: self.symbols,
            diffusion_steps: self.timesteps,
            vector_dims: 0,
            autoencoder: None,
            short_conv: if self.timesteps == 0 { 5 } else { 0 },
            architecture: Default::default(),
        };
        model.validate().unwrap();
        model
    }

    /// Models of blocks mix nothing.
    fn config_under(self, mask: AttentionMask) -> ModelConfig {
        match mask {
            AttentionMask::Blocks { .. } => ModelConfig { short_conv: 0, ..self.config() },
            AttentionMask::Bidirectional | AttentionMask::Causal => self.config(),
        }
    }

    fn process(self, model: Transformer) -> Process {
        let mask = model.mask;
        let (mask_token_id, prompt_drop) = (self.symbols as u32 - 1, 1 << 23);
        let masked = Masked { model, mask_token_id, context_len: self.context, prompt_drop };
        match mask {
            AttentionMask::Blocks { length } => Process::Block(vec![Block { within: masked, length: length as usize }]),
            AttentionMask::Bidirectional | AttentionMask::Causal => Process::Masked(masked),
        }
    }
}

/// What is trained, how, in how many micro-batches.
pub(super) struct Case {
    pub(super) shape: Shape,
    pub(super) mask: AttentionMask,
    pub(super) objective: Objective,
    pub(super) batches: usize,
}

const BOTH: AttentionMask = AttentionMask::Bidirectional;
const CAUSAL: AttentionMask = AttentionMask::Causal;

const fn blocks(length: u32) -> AttentionMask {
    AttentionMask::Blocks { length }
}

#[rustfmt::skip]
fn case(
    heads: [usize; 2], positions: usize, symbols: usize, [timesteps, context, sequences, batches]: [usize; 4],
    mask: AttentionMask, objective: Objective,
) -> Case {
    Case { shape: Shape { layers: 1, heads, positions, symbols, timesteps, context, sequences }, mask, objective, batches }
}

/// Widths that are no multiples of 8, heads of every dimension, one row and one more than a tile's.
#[rustfmt::skip]
pub(crate) fn small_cases(watch: &mut Watch) {
    let (nelbo, simple) = (Objective::nelbo, Objective::simple);
    for case in [
        case([3, 2], 7, 67, [5, 2, 1, 1], BOTH, Objective::Original),
        case([13, 10], 7, 129, [0, 0, 1, 2], CAUSAL, nelbo(Schedule::Cosine)),
        case([6, 16], 1, 66, [0, 0, 1, 1], BOTH, nelbo(Schedule::Linear)),
        case([3, 8], 7, 66, [4, 0, 1, 2], BOTH, simple(Schedule::Quadratic)),
        case([4, 34], 33, 257, [0, 3, 1, 1], BOTH, simple(Schedule::LogLinear)),
        case([1, 2], 7, 2, [3, 0, 3, 1], CAUSAL, Objective::Original),
        case([3, 32], 33, 66, [16, 4, 3, 2], BOTH, Objective::Original),
        case([2, 64], 33, 129, [0, 0, 2, 1], CAUSAL, nelbo(Schedule::LogLinear)),
        case([1, 128], 65, 128, [0, 0, 1, 1], CAUSAL, Objective::NelboCount),
        case([3, 16], 65, 2, [9, 1, 1, 1], BOTH, Objective::Original),
        case([3, 10], 9, 66, [0, 0, 3, 2], blocks(3), nelbo(Schedule::Linear)),
        case([2, 32], 66, 67, [0, 0, 1, 1], blocks(11), Objective::NelboCount),
    ] {
        train(watch, &case);
    }
}

/// As many symbols as GPT-2's tokenizer has, and the mask.
pub(crate) fn wide_cases(watch: &mut Watch) {
    train(watch, &case([1, 32], 7, 50_258, [0, 0, 1, 1], BOTH, Objective::nelbo(Schedule::Linear)));
}

/// Sequences around and beyond what attention's backward has on chip at once, and rows enough for slices of the weights'
/// gradients. The largest is last: most planted bugs are found before it.
#[rustfmt::skip]
pub(crate) fn long_cases(watch: &mut Watch) {
    let nelbo = Objective::nelbo;
    for case in [
        case([1, 32], 130, 66, [0, 16, 1, 1], CAUSAL, nelbo(Schedule::Quadratic)),
        case([1, 64], 130, 67, [0, 0, 1, 1], CAUSAL, nelbo(Schedule::Linear)),
        case([2, 64], 256, 66, [128, 16, 1, 1], BOTH, Objective::Original),
        case([1, 32], 257, 66, [0, 0, 1, 1], BOTH, Objective::NelboCount),
        case([2, 32], 300, 66, [0, 0, 1, 1], CAUSAL, nelbo(Schedule::Cosine)),
        case([1, 64], 300, 66, [0, 0, 1, 1], BOTH, nelbo(Schedule::Cosine)),
        case([1, 64], 257, 66, [0, 0, 2, 1], CAUSAL, Objective::NelboCount),
        case([1, 128], 130, 66, [0, 0, 1, 1], BOTH, nelbo(Schedule::Linear)),
        case([1, 128], 257, 66, [0, 0, 1, 1], CAUSAL, Objective::NelboCount),
        case([1, 10], 65, 67, [0, 0, 1, 1], BOTH, Objective::NelboCount),
        case([3, 32], 130, 66, [0, 0, 5, 2], BOTH, Objective::NelboCount),
    ] {
        train(watch, &case);
    }
}

/// The same under blocks.
#[rustfmt::skip]
pub(crate) fn block_cases(watch: &mut Watch) {
    for case in [
        case([1, 64], 300, 66, [0, 0, 1, 1], blocks(20), Objective::simple(Schedule::Linear)),
        case([1, 128], 140, 66, [0, 0, 1, 1], blocks(140), Objective::nelbo(Schedule::Cosine)),
    ] {
        train(watch, &case);
    }
}

/// GPTs with biases and without, and models that drop numbers.
#[rustfmt::skip]
pub(crate) fn gpt_cases(watch: &mut Watch) {
    let nelbo = Objective::nelbo;
    for (case, bias, dropout) in [
        (case([3, 32], 33, 66, [0, 0, 3, 2], CAUSAL, nelbo(Schedule::Linear)), true, 0.0),
        (case([2, 64], 130, 67, [0, 0, 1, 1], CAUSAL, nelbo(Schedule::Linear)), false, 0.0),
        (case([3, 10], 7, 67, [0, 0, 2, 1], BOTH, nelbo(Schedule::Linear)), true, 0.2),
        (case([2, 32], 9, 67, [0, 0, 2, 2], CAUSAL, nelbo(Schedule::Linear)), false, 0.2),
    ] {
        train_model(watch, &case, &case.shape.gpt(bias), dropout);
    }
    // And the original's, of which the MLPs alone are dropped.
    for mask in [BOTH, blocks(7)] {
        let case = case([2, 16], 7, 67, [0, 0, 2, 2], mask, nelbo(Schedule::Linear));
        train_model(watch, &case, &case.shape.config_under(mask), 0.2);
    }
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        lr: 1e-3,
        min_lr: 1e-3,
        schedule: LrSchedule::Constant,
        warmup: 0,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.1,
        clip: 1.0,
        dropout: 0.0,
        ema: Averages::of(0.9),
        muon: None,
    }
}

/// Weights as training begins with them; tensors that it starts at zero get some of the others' numbers. Every second head's
/// queries and keys are so small that the ε of their norm counts.
pub(super) fn weights(model: &Transformer) -> Vec<f32> {
    let mut weights = model.params.init(3 + seed());
    let spread = weights.clone();
    for (i, w) in weights.iter_mut().enumerate() {
        if *w == 0.0 {
            *w = 0.3 * spread[(i * 7) % spread.len()];
        }
    }
    if model.config.architecture != Architecture::Original {
        return weights;
    }
    let (width, head) = (model.config.n_embd, model.config.head_dim() * model.config.n_embd);
    for layer in 0..model.config.n_layer {
        let qkv = model.qkv(model.memory.weights, layer);
        let queries_and_keys = &mut weights[qkv.offset..qkv.offset + 2 * width * width];
        let small = queries_and_keys.chunks_mut(head).skip(1).step_by(2);
        small.flatten().for_each(|w| *w *= 1e-3);
    }
    weights
}

/// Every op of a training step, micro-batch by micro-batch.
pub(super) fn train(watch: &mut Watch, case: &Case) {
    train_model(watch, case, &case.shape.config_under(case.mask), 0.0);
}

fn train_model(watch: &mut Watch, case: &Case, config: &ModelConfig, dropout: f32) {
    let dtype = watch.dtype();
    let mut plan = Plan::new();
    let storage = tempest::program::Storage::uniform(dtype);
    let used = Use::Training { averages: 1, optimizer: Optimizer::AdamW, dropout };
    let process = case.shape.process(Transformer::new(&mut plan, config, case.mask, storage, used));
    let metrics = plan.alloc(process.model().memory.kept, 4, 4);
    let mut programs = Vec::new();
    let mut batch = None;
    for number in 0..case.batches {
        let mut b = Builder::new(&mut plan, "learn");
        let part = process.parts()[0].generative();
        let memory = part.batch(&mut b, case.shape.sequences);
        part.corrupt(&mut b, memory, case.objective, corpus().train(), case.shape.sequences * case.batches);
        let accumulate = if number == 0 { Accumulate::Overwrite } else { Accumulate::Add };
        part.learn(&mut b, memory, case.objective, metrics, accumulate);
        programs.push(b.finish());
        batch = Some(memory);
    }
    let mut b = Builder::new(&mut plan, "update");
    process.model().update(&mut b, metrics, &optimizer());
    programs.push(b.finish());
    let what = format!("{config:?} in {dtype:?}, {:?}, {:?}", case.mask, case.objective);
    watch.attempt(&what, |watch| {
        let mut twins = watch.twins(plan)?;
        fill(&mut twins, process.model())?;
        let batch = batch.expect("there is a micro-batch");
        programs.iter_mut().try_for_each(|program| own_text(&mut twins, program, batch, case.shape))?;
        for (number, program) in programs.iter().enumerate() {
            let sequence = (number * case.shape.sequences) as u32;
            let rates = StepArgs { lr: 1e-3, ema_warmup: 0.9, bias1: 0.271, bias2: 0.0297, ..StepArgs::default() };
            watch.run(&what, &mut twins, program, &StepArgs { seed: 5 + seed(), step: 2, sequence, ..rates })?;
        }
        Ok(())
    });
}

fn fill(twins: &mut Twins, model: &Transformer) -> Result<()> {
    let memory = &model.memory;
    let training = memory.training.as_ref().expect("laid out for training");
    let weights = weights(model);
    for mat in [memory.weights, memory.stored, training.averages[0]] {
        twins.write_f32(mat, &weights)?;
    }
    for (mat, value) in [(training.m, 1e-4), (training.v, 1e-6)] {
        let moments: Vec<f32> = (0..mat.len()).map(|i| value * (i % 13) as f32).collect();
        twins.write_f32(mat, &moments)?;
    }
    training.scale.map_or(Ok(()), |scale| twins.write_f32(scale, &[1024.0, 1999.0]))?;
    twins.bind_corpus(&corpus())
}

/// The embedded text has symbols that a small vocabulary does not know: then a batch is made here instead of cropped.
fn own_text(twins: &mut Twins, program: &mut Program, batch: Batch, shape: Shape) -> Result<()> {
    if shape.symbols >= corpus().vocab().size() {
        return Ok(());
    }
    program.ops.retain(|op| !matches!(op, Op::Crop(_)));
    let symbols = shape.symbols as u32 - 1;
    let ids: Vec<u32> =
        (0..batch.x0.len()).map(|i| philox(7 + seed(), Stream::Init, 0, i as u32)[0] % symbols).collect();
    twins.write_u32(batch.x0, &ids)
}

/// Weights for inference, in both forms.
pub(super) fn fill_weights(twins: &mut Twins, model: &Transformer) -> Result<()> {
    let weights = weights(model);
    [model.memory.weights, model.memory.stored].iter().try_for_each(|mat| twins.write_f32(*mat, &weights))
}

/// Memory for inference with a model.
pub(super) fn inference(plan: &mut Plan, shape: Shape, mask: AttentionMask, dtype: DType) -> Process {
    let storage = tempest::program::Storage::uniform(dtype);
    shape.process(Transformer::new(plan, &shape.config_under(mask), mask, storage, Use::Inference))
}
