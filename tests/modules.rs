//! A model's parts: modules that share one set of weights, and blocks over a stream that no tokens were embedded into.

use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{ModelConfig, Optimizer, Preset};
use tempest::model::{Keep, Kept, Memory, Params, Transformer, Use};
use tempest::program::{
    Accumulate, AttentionMask, Builder, DType, LossSum, Mat, Op, Persistence, Plan, Program, StepArgs, Storage,
};
use tempest::rng::{Stream, philox};

const TEXTS: usize = 3;
const MASK: AttentionMask = AttentionMask::Bidirectional;
const TRAINING: Use = Use::Training { averages: 0, optimizer: Optimizer::AdamW, dropout: 0.0 };

fn storage() -> Storage {
    Storage::wide_stream(DType::F32)
}

fn config(n_layer: usize, n_embd: usize) -> ModelConfig {
    ModelConfig { n_layer, n_head: 2, n_embd, sequence_len: 7, diffusion_steps: 3, ..Preset::Nano.model(13) }
}

/// Initial weights, the last of them the head's, which training starts at zero.
fn weights(params: &Params) -> Vec<f32> {
    let drawn = params.init(3);
    drawn
        .iter()
        .zip(drawn.iter().cycle().skip(1))
        .map(|(&w, &next)| if w == 0.0 { 0.1 + 0.01 * next } else { w })
        .collect()
}

/// A module's training step but for the update, over a batch of its own.
fn learn(model: &Transformer, b: &mut Builder<'_>, batch: Batch, metrics: Mat, accumulate: Accumulate) {
    let forward = model.forward(b, batch.ids, batch.t, Keep::All);
    let cross_entropy = model.loss_and_backward(b, &forward, batch.ids, batch.weight, None, accumulate);
    b.push(LossSum { cross_entropy, weight: batch.weight, accumulate, metrics });
}

#[derive(Clone, Copy)]
struct Batch {
    ids: Mat,
    t: Mat,
    weight: Mat,
}

impl Batch {
    fn lay_out(plan: &mut Plan, positions: usize) -> Self {
        let ids = plan.region("tokens", DType::U32, Persistence::Kept);
        let numbers = plan.region("loss weights", DType::F32, Persistence::Kept);
        Batch {
            ids: plan.alloc(ids, TEXTS, positions),
            t: plan.alloc(ids, TEXTS, 1),
            weight: plan.alloc(numbers, TEXTS * positions, 1),
        }
    }

    fn fill(self, backend: &mut dyn Backend) {
        let ids: Vec<u32> = (0..self.ids.len()).map(|i| philox(5, Stream::Init, 0, i as u32)[0] % 12).collect();
        backend.write_u32(self.ids, &ids).unwrap();
        backend.write_u32(self.t, &[0, 2, 1]).unwrap();
        backend.write_f32(self.weight, &vec![0.05; self.weight.len()]).unwrap();
    }
}

/// Memory with weights, and moments of zero.
fn started(plan: Plan, memory: &Memory, weights: &[f32], batch: Batch) -> Box<dyn Backend> {
    let mut cpu: Box<dyn Backend> = Box::new(Cpu::new(Arc::new(plan)));
    let training = memory.training.as_ref().unwrap();
    cpu.write_f32(memory.weights, weights).unwrap();
    for moment in [training.m, training.v] {
        cpu.write_f32(moment, &vec![0.0; moment.len()]).unwrap();
    }
    batch.fill(cpu.as_mut());
    cpu
}

fn run(cpu: &mut dyn Backend, program: &Program) {
    cpu.run(program, &StepArgs { lr: 1e-2, bias1: 0.1, bias2: 0.01, ..StepArgs::default() }).unwrap();
}

/// Weights after one step of training both modules, in one program.
fn together(configs: &[(&str, &ModelConfig); 2], all: &[f32]) -> Vec<f32> {
    let mut plan = Plan::new();
    let params = Params::of_modules(configs);
    let memory = Memory::lay_out(&mut plan, &params, storage(), TRAINING);
    let [first, second] = configs.map(|(prefix, config)| Transformer::module(prefix, config, MASK, &params, &memory));
    let batch = Batch::lay_out(&mut plan, first.config.sequence_len);
    let metrics = plan.alloc(memory.kept, 1, 4);
    let mut b = Builder::new(&mut plan, "step");
    learn(&first, &mut b, batch, metrics, Accumulate::Overwrite);
    learn(&second, &mut b, batch, metrics, Accumulate::Overwrite);
    memory.update(&mut b, &params, metrics, &Preset::Original.training().optimizer);
    let program = b.finish();
    assert_eq!(program.ops.iter().filter(|op| matches!(op, Op::AdamWStep(_))).count(), 1);
    let mut cpu = started(plan, &memory, all, batch);
    run(cpu.as_mut(), &program);
    cpu.read_f32(memory.weights).unwrap()
}

/// Weights after one step of training a model by itself.
fn alone(config: &ModelConfig, weights: &[f32]) -> Vec<f32> {
    let mut plan = Plan::new();
    let model = Transformer::new(&mut plan, config, MASK, storage(), TRAINING);
    let batch = Batch::lay_out(&mut plan, config.sequence_len);
    let metrics = plan.alloc(model.memory.kept, 1, 4);
    let mut b = Builder::new(&mut plan, "step");
    learn(&model, &mut b, batch, metrics, Accumulate::Overwrite);
    model.update(&mut b, metrics, &Preset::Original.training().optimizer);
    let program = b.finish();
    let mut cpu = started(plan, &model.memory, weights, batch);
    run(cpu.as_mut(), &program);
    cpu.read_f32(model.memory.weights).unwrap()
}

/// The original's optimizer does not clip, so that nothing but AdamW's one pass over all weights joins the two.
#[test]
fn modules_over_one_set_of_weights_learn_what_each_learns_alone() {
    let (small, large) = (config(1, 8), config(2, 12));
    let modules = [("encoder.", &small), ("decoder.", &large)];
    let params = Params::of_modules(&modules);
    let names: Vec<_> = params.iter().map(|p| p.name.as_str()).collect();
    assert!(names[0] == "encoder.token_emb.weight" && names.contains(&"decoder.blocks.1.attn.c_q.weight"), "{names:?}");
    let (all, border) = (weights(&params), Params::new(&small).len());
    let both = together(&modules, &all);
    assert!(both.iter().zip(&all).any(|(new, old)| new != old));
    assert!(both[..border] == alone(&small, &all[..border])[..], "the encoder");
    assert!(both[border..] == alone(&large, &all[border..])[..], "the decoder");
}

#[test]
fn blocks_and_head_read_a_stream_from_anywhere_as_they_read_embedded_tokens() {
    let config = config(2, 8);
    let mut plan = Plan::new();
    let model = Transformer::new(&mut plan, &config, MASK, storage(), TRAINING);
    let batch = Batch::lay_out(&mut plan, config.sequence_len);
    let stats = plan.region("kept statistics", DType::F32, Persistence::Kept);
    let vectors = plan.alloc(stats, TEXTS * config.sequence_len, config.n_embd);
    let sumsq = plan.alloc(stats, TEXTS * config.sequence_len, 1);
    let mut b = Builder::new(&mut plan, "tokens");
    let forward = model.forward(&mut b, batch.ids, batch.t, Keep::All);
    let Kept::Original { embedding, .. } = &forward.kept else { panic!("the original's") };
    let embedded = embedding.first;
    let from_tokens = model.head_logits(&mut b, forward.last);
    let tokens = b.finish();
    let mut b = Builder::new(&mut plan, "vectors");
    let (_, last) = model.blocks(&mut b, tempest::model::Stream { x: vectors, sumsq }, config.sequence_len, Keep::All);
    let from_vectors = model.head_logits(&mut b, last);
    let elsewhere = b.finish();

    let mut cpu = started(plan, &model.memory, &weights(&model.params), batch);
    run(cpu.as_mut(), &tokens);
    let wanted = cpu.read_f32(from_tokens).unwrap();
    for (from, to) in [(embedded.x, vectors), (embedded.sumsq, sumsq)] {
        let values = cpu.read_f32(from).unwrap();
        cpu.write_f32(to, &values).unwrap();
    }
    run(cpu.as_mut(), &elsewhere);
    assert!(wanted.iter().any(|x| x.abs() > 1e-3));
    assert_eq!(cpu.read_f32(from_vectors).unwrap(), wanted);
}
