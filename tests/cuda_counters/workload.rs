//! The original model's training and denoising steps, op by op on the virtual GPU.

use crate::device::{device, driver};
use crate::measure::{self, Measured};
use std::collections::BTreeSet;
use std::sync::Arc;
use tempest::backend::Backend;
use tempest::config::{
    Averages, LrSchedule, ModelConfig, MuonConfig, Objective, Optimizer, OptimizerConfig, Preset, ProcessConfig,
    Unknown, VocabKind,
};
use tempest::data::{Corpus, Source, Tokens};
use tempest::model::Use;
use tempest::process::{Process, ReverseStep};
use tempest::program::{
    Access, Accumulate, AdamWStep, Attention, AttentionBackward, Builder, DType, HeadLoss, LinearResidual, Mat,
    NEWTON_SCHULZ, NormLinearBackward, Op, Operand, Plan, Predict, Program, Relu2Backward, SamplingParams, Stage,
    StepArgs, TimeOrder, WeightGrads,
};

/// V: a head of one whole tile.
const SYMBOLS: usize = 128;

/// The mask is the last symbol.
const PROCESS: ProcessConfig =
    ProcessConfig::Masked { mask_token_id: SYMBOLS as u32 - 1, context_len: 16, prompt_drop: 0.0 };

/// T.
pub(crate) const POSITIONS: usize = 256;

/// L.
const LAYERS: usize = 6;

/// Sequences of a step.
pub(crate) const BATCH: usize = 64;

fn model(layers: usize) -> ModelConfig {
    let model = Preset::Original.model(SYMBOLS);
    assert_eq!(model.sequence_len, POSITIONS);
    ModelConfig { n_layer: layers, ..model }
}

fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).expect("the embedded corpus opens"))
}

fn optimizer(kind: Optimizer) -> OptimizerConfig {
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
        ema: Averages::default(),
        muon: (kind == Optimizer::Muon).then_some(MuonConfig { lr: MuonConfig::LR }),
    }
}

/// How each text is sampled: by temperature 1, the 25 most confident tokens committed.
const SAMPLING: SamplingParams = SamplingParams { temperature: 1.0, amount: 25.0, ..SamplingParams::MOST_PROBABLE };

/// A program in memory.
struct Loaded {
    backend: Box<dyn Backend>,
    program: Program,
}

impl Loaded {
    fn new(plan: Plan, program: Program) -> Self {
        let mut backend = device().open(Arc::new(plan)).expect("the virtual GPU has room");
        backend.bind_corpus(corpus()).expect("the corpus fits");
        Loaded { backend, program }
    }

    /// Runs the ops that `wanted` picks, in order. Numbers are as good as any, nothing counted depends on them; ids are
    /// text of which half is masked. Texts are drawn by temperature 1, and the 25 most confident tokens are committed.
    fn measure(&mut self, wanted: impl Fn(&Op) -> bool) -> Vec<Measured> {
        let args = StepArgs { seed: 5, lr: 1e-3, bias1: 0.1, bias2: 0.01, ..StepArgs::default() };
        let ops: Vec<Op> = self.program.ops.iter().filter(|op| wanted(op)).cloned().collect();
        let mut operands: Vec<(&str, Mat)> = Vec::new();
        let constants: Vec<Mat> = self.backend.plan().constants().iter().map(|(mat, _)| *mat).collect();
        for Operand { name, mat, .. } in ops.iter().flat_map(Op::operands) {
            if !constants.contains(&mat) && !operands.iter().any(|(_, other)| *other == mat) {
                operands.push((name, mat));
            }
        }
        for (name, mat) in operands {
            let filled = match self.backend.plan().dtype(mat) {
                // Those of texts; the optimizer's are others.
                _ if name == "params" && mat.cols == SamplingParams::COLS => {
                    self.backend.write_f32(mat, bytemuck::cast_slice(&vec![SAMPLING; mat.rows]))
                }
                _ if name == "lots" => self.backend.write_u32(mat, &vec![0; mat.len()]),
                DType::U32 => self.backend.write_u32(mat, &half_masked(mat.len())),
                _ => {
                    let values: Vec<f32> = (0..mat.len()).map(|i| 0.01 + 0.005 * (i * 7 % 13) as f32).collect();
                    self.backend.write_f32(mat, &values)
                }
            };
            filled.expect("memory takes numbers");
        }
        let list = ops.iter().map(|op| {
            driver().clear_reports();
            self.backend.run_op(op, &args).expect("the op runs");
            Measured {
                op: op.name(),
                variant: variant(op),
                detail: op.detail(),
                copies: copies(op),
                work: op.work(self.backend.plan()),
                read_bytes: read_bytes(op, self.backend.plan()),
                special_functions: special_functions(op),
                launches: measure::launches(),
            }
        });
        list.collect()
    }
}

/// The corpus from its beginning, every other token by the toss of a coin the mask.
fn half_masked(len: usize) -> Vec<u32> {
    let corpus = corpus();
    let Tokens::U8(text) = corpus.tokens() else { panic!("the embedded corpus has few symbols") };
    let is_masked =
        |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(7).wrapping_mul(2_654_435_761) >> 31 == 1;
    let id = |i| if is_masked(i) { PROCESS.mask_token_id() } else { u32::from(text[i % text.len()]) };
    (0..len).map(id).collect()
}

/// Exponentials, roots and reciprocals that an op computes for each of its numbers, summed; those once a row are left out.
fn special_functions(op: &Op) -> f64 {
    let evaluations = match op {
        // A weight for each pair of a query and a key; the backward makes them again.
        Op::Attention(Attention { o: rows, heads, positions, .. })
        | Op::AttentionBackward(AttentionBackward { d_o: rows, heads, positions, .. }) => {
            rows.rows * *heads as usize * *positions as usize
        }
        Op::Relu2Backward(Relu2Backward { h, .. }) => h.len(),
        Op::HeadLoss(HeadLoss { dlogits, .. }) => dlogits.len(),
        Op::Predict(Predict { logits, .. }) => logits.len(),
        // A root and two quotients.
        Op::AdamWStep(AdamWStep { params, .. }) => 3 * params.len(),
        _ => 0,
    };
    evaluations as f64
}

/// Bytes of operands that an op reads.
fn read_bytes(op: &Op, plan: &Plan) -> f64 {
    let read = op.operands().into_iter().filter(|operand| operand.access != Access::Write);
    read.map(|Operand { mat, .. }| (mat.len() * plan.dtype(mat).bytes()) as f64).sum()
}

/// What tells an op from others of its kind.
fn variant(op: &Op) -> String {
    match op {
        Op::LinearResidual(LinearResidual { a, .. }) => format!("inner {}", a.cols),
        Op::NormLinearBackward(NormLinearBackward { dy, .. }) => format!("inner {}", dy.cols),
        Op::WeightGrads(WeightGrads { grads, .. }) if grads.len() == 1 => "head".to_owned(),
        Op::WeightGrads(WeightGrads { grads, .. }) => format!("{} matrices", grads.len()),
        Op::Gram(gram) => (if gram.terms.is_some() { "terms" } else { "of x" }).to_owned(),
        _ => String::new(),
    }
}

/// How often an op is in a step: once a block, or once.
fn copies(op: &Op) -> usize {
    match op {
        Op::Qkv(_)
        | Op::Attention(_)
        | Op::LinearResidual(_)
        | Op::LinearRelu2(_)
        | Op::Relu2Backward(_)
        | Op::NormLinearBackward(NormLinearBackward { residual: Some(_), .. })
        | Op::ProjectionBackward(_)
        | Op::AttentionBackward(_) => LAYERS,
        Op::WeightGrads(WeightGrads { grads, .. }) if grads.len() > 1 => LAYERS,
        Op::Gram(_) => NEWTON_SCHULZ.len(),
        // The last one ends in the step.
        Op::NewtonSchulz(_) => NEWTON_SCHULZ.len() - 1,
        _ => 1,
    }
}

/// Whether an op's work is a matter of parameters, not of rows.
fn is_of_parameters(op: &Op) -> bool {
    op.stage() == Stage::Update
}

/// Two numbers of sequences for which an op takes the kernels that it takes for [`BATCH`]: where tiles are few, smaller ones
/// are taken.
fn few_sequences(op: &Op) -> [usize; 2] {
    match op {
        Op::Qkv(_) | Op::LinearRelu2(_) => [8, 10],
        Op::LinearResidual(_) => [22, 24],
        // One block a tile of rows; and the symbols of many windows.
        Op::HeadLogits(_) | Op::EmbedBackward(_) => [BATCH, BATCH + 2],
        _ => [2, 4],
    }
}

fn training(layers: usize, sequences: usize) -> Loaded {
    let mut plan = Plan::new();
    let storage = device().storage(DType::F16);
    let used = Use::Training { averages: 0, optimizer: Optimizer::AdamW, dropout: 0.0 };
    let process = Process::new(&mut plan, &PROCESS, &model(layers), storage, used);
    let metrics = plan.alloc(process.model().memory.kept, 4, 4);
    let mut b = Builder::new(&mut plan, "training step");
    let part = process.parts()[0].generative();
    let batch = part.batch(&mut b, sequences);
    part.corrupt(&mut b, batch, Objective::Original, corpus().train(), sequences);
    part.learn(&mut b, batch, Objective::Original, metrics, Accumulate::Overwrite);
    process.model().update(&mut b, metrics, &optimizer(Optimizer::AdamW));
    let program = b.finish();
    Loaded::new(plan, program)
}

/// The update of a model of so many layers by Muon, each of its ops once.
fn update(layers: usize) -> Loaded {
    let mut plan = Plan::new();
    let used = Use::Training { averages: 0, optimizer: Optimizer::Muon, dropout: 0.0 };
    let process = Process::new(&mut plan, &PROCESS, &model(layers), device().storage(DType::F16), used);
    let metrics = plan.alloc(process.model().memory.kept, 4, 4);
    let mut b = Builder::new(&mut plan, "update");
    process.model().update(&mut b, metrics, &optimizer(Optimizer::Muon));
    let mut program = b.finish();
    let mut seen = BTreeSet::new();
    program.ops.retain(|op| seen.insert((op.name(), variant(op))));
    Loaded::new(plan, program)
}

fn denoising(sequences: usize) -> Loaded {
    let mut plan = Plan::new();
    let storage = device().storage(DType::F16);
    let process = Process::new(&mut plan, &PROCESS, &model(1), storage, Use::Inference);
    let mut b = Builder::new(&mut plan, "denoising step");
    let state = process.sample_state(&mut b, sequences);
    let step = ReverseStep { order: TimeOrder::Original, drop: Some(process.mask_id()), is_guided: false };
    process.diffusion().reverse_step(&mut b, state, step);
    let program = b.finish();
    Loaded::new(plan, program)
}

/// A step over [`BATCH`] sequences but for what is `known`, from programs of one layer over smaller numbers of them.
fn extrapolated(load: impl Fn(usize) -> Loaded, known: &[Measured]) -> Vec<Measured> {
    let ops = load(1).program.ops;
    let same = |op: &Op| known.iter().find(|other| other.op == op.name() && other.variant == variant(op));
    let mut found: Vec<Option<Measured>> = ops.iter().map(|op| same(op).cloned()).collect();
    let sizes: BTreeSet<[usize; 2]> = ops.iter().map(few_sequences).collect();
    for pair in sizes {
        let fits = |op: &Op| few_sequences(op) == pair && !is_of_parameters(op) && same(op).is_none();
        let places = ops.iter().enumerate().filter(|(_, op)| fits(op)).map(|(i, _)| i);
        let points = pair.map(|sequences| load(sequences).measure(fits));
        for (i, place) in places.enumerate() {
            found[place] = Some(Measured::extrapolated([(pair[0], &points[0][i]), (pair[1], &points[1][i])], BATCH));
        }
    }
    found.into_iter().flatten().collect()
}

/// The training step over [`BATCH`] sequences.
pub(crate) fn training_step() -> Vec<Measured> {
    let mut step = extrapolated(|sequences| training(1, sequences), &[]);
    step.extend(training(LAYERS, 1).measure(is_of_parameters));
    step
}

/// What Muon adds to an update: all is linear in layers, as long as all of their matrices fit one launch.
pub(crate) fn muon() -> Vec<Measured> {
    let is_muons = |op: &Op| matches!(op, Op::MuonMomentum(_) | Op::Gram(_) | Op::NewtonSchulz(_) | Op::MuonStep(_));
    let [one, two] = [1, 2].map(|layers| update(layers).measure(is_muons));
    one.iter().zip(&two).map(|(one, two)| Measured::extrapolated([(1, one), (2, two)], LAYERS)).collect()
}

/// A denoising step over as many, whose passes forward are those of training: shapes and kernels are the same.
pub(crate) fn denoising_step(training: &[Measured]) -> Vec<Measured> {
    extrapolated(denoising, training)
}

/// A denoising step over one sequence.
pub(crate) fn denoising_one() -> Vec<Measured> {
    denoising(1).measure(|_| true)
}
