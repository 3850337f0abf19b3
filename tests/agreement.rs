//! Runs that must agree: on any number of threads bit for bit, and on two backends op by op.

use std::sync::Arc;
use tempest::backend::{Backend, Cpu, Device, Difference, Fetch, lockstep};
use tempest::config::{
    Averages, BatchGrowth, DataConfig, LrSchedule, ModelConfig, Objective, Optimizer, OptimizerConfig, Policy,
    ProcessConfig, RunConfig, Schedule, TrainConfig, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source};
use tempest::error::Result;
use tempest::model::Use;
use tempest::process::{Process, ReverseStep, SampleState};
use tempest::program::{
    Accumulate, Builder, DType, Mat, Op, Operand, Plan, Program, SamplingParams, StepArgs, Storage, TimeOrder,
};
use tempest::store::TrainingState;
use tempest::train::Trainer;

fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap())
}

/// Odd sizes: rows that fill no block, heads that fill no vector.
fn model() -> ModelConfig {
    ModelConfig {
        n_layer: 2,
        n_head: 3,
        n_embd: 42,
        sequence_len: 75,
        vocab_size: 128,
        diffusion_steps: 10,
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    }
}

const PROCESS: ProcessConfig = ProcessConfig::Masked { mask_token_id: 0, context_len: 3, prompt_drop: 0.5 };

fn run(objective: Objective, dtype: DType, batch: usize, accumulate: usize) -> RunConfig {
    RunConfig {
        version: String::new(),
        seed: 5,
        dtype,
        model: model(),
        process: PROCESS,
        data: DataConfig { newlines: None, ..DataConfig::embedded(VocabKind::Ascii) },
        objective,
        optimizer: OptimizerConfig {
            lr: 3e-3,
            min_lr: 1e-3,
            schedule: LrSchedule::Cosine,
            warmup: 2,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 0.5,
            dropout: 0.0,
            ema: Averages::of(0.9),
            muon: None,
        },
        train: TrainConfig {
            steps: 10,
            batch,
            batch_growth: BatchGrowth::default(),
            accumulate,
            eval_every: 0,
            eval_windows: 1,
            sample_every: 0,
            checkpoint_every: 10,
            sample_prompt: None,
        },
        from: None,
    }
}

/// The same on 1, 2 and 3 threads.
#[track_caller]
fn on_any_threads<T: PartialEq + Send>(case: &str, f: impl Fn() -> T + Sync) {
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&f);
    let one = on(1);
    for threads in [2, 3] {
        assert!(on(threads) == one, "{case}: {threads} threads make a difference");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn training_is_bitwise_equal_on_any_number_of_threads() {
    let cosine = Schedule::Cosine;
    for dtype in [DType::F32, DType::Bf16] {
        for (objective, batch, accumulate) in
            [(Objective::Original, 5, 2), (Objective::nelbo(cosine), 1, 1), (Objective::NelboCount, 12, 1)]
        {
            let config = run(objective, dtype, batch, accumulate);
            on_any_threads(&format!("{objective:?} {dtype:?} batch {batch}"), || {
                let mut trainer = Trainer::new(&config, corpus(), &Device::Cpu).unwrap();
                let steps: Vec<_> =
                    (0..3).map(|_| trainer.step().unwrap()).map(|s| bits(&[s.loss, s.grad_norm])).collect();
                let TrainingState { weights, m, v, averages, .. } = trainer.state().unwrap();
                (steps, [weights, m, v, averages.concat()].map(|values| bits(&values)))
            });
        }
    }
}

/// Temperature, top-p and policy of a text.
type Way = (f32, f32, &'static str);

/// Lots that commit everything in as many steps.
const LOTS: Way = (0.9, 0.9, "ancestral:4");
const STEPS: u64 = 4;

/// A model with random weights and its reverse step for some texts.
struct Sampler {
    cpu: Cpu,
    program: Program,
    state: SampleState,
    logits: Mat,
}

impl Sampler {
    fn new(dtype: DType, ways: &[Way]) -> Sampler {
        let sequences = ways.len();
        let mut plan = Plan::new();
        let process = Process::new(&mut plan, &PROCESS, &model(), Storage::wide_stream(dtype), Use::Inference);
        let memory = process.model().memory.clone();
        let mut weights = process.model().params.init(3);
        let spread = weights.clone();
        // Tensors that training starts at zero get some of the others' numbers.
        weights.iter_mut().zip(spread.iter().rev()).filter(|(w, _)| **w == 0.0).for_each(|(w, z)| *w = 0.2 * z);
        let mut b = Builder::new(&mut plan, "reverse step");
        let state = process.sample_state(&mut b, sequences);
        let order = TimeOrder::Masked { maskable: 72 };
        let logits =
            process.diffusion().reverse_step(&mut b, state, ReverseStep { order, drop: Some(0), is_guided: false });
        let program = b.finish();
        let mut sampler = Sampler { cpu: Cpu::new(Arc::new(plan)), program, state, logits };
        let cpu: &mut dyn Backend = &mut sampler.cpu;
        cpu.write_f32(memory.weights, &weights).unwrap();
        if memory.stored != memory.weights {
            cpu.write_f32(memory.stored, &weights).unwrap();
        }
        let open = vec![1; sequences * 75];
        cpu.write_u32(state.x, &vec![0; open.len()]).unwrap();
        cpu.write_u32(state.masked, &open).unwrap();
        cpu.write_u32(state.remaining, &vec![75; sequences]).unwrap();
        let params = ways.iter().map(|&(temperature, top_p, policy)| {
            let policy: Policy = policy.parse().unwrap();
            SamplingParams { temperature, top_p, ..SamplingParams::greedy(policy, 75) }
        });
        let params: Vec<_> = params.collect();
        cpu.write_f32(state.params, bytemuck::cast_slice(&params)).unwrap();
        let lots =
            |way: &Way, step: u64| if way.2 == LOTS.2 { (1 << 24) / STEPS.saturating_sub(step).max(1) } else { 0 };
        let lots = ways.iter().flat_map(|way| (0..75).flat_map(move |step| [lots(way, step) as u32, 0]));
        cpu.write_u32(state.lots, &lots.collect::<Vec<_>>()).unwrap();
        sampler
    }

    /// Runs all steps; returns `(tokens, last logits)`.
    fn run(&mut self) -> (Vec<u32>, Vec<u32>) {
        let cpu: &mut dyn Backend = &mut self.cpu;
        for step in 0..STEPS {
            cpu.run(&self.program, &StepArgs { seed: 8, step, ..StepArgs::default() }).unwrap();
        }
        (cpu.read_u32(self.state.x).unwrap(), bits(&cpu.read_f32(self.logits).unwrap()))
    }
}

#[test]
fn sampling_is_bitwise_equal_on_any_number_of_threads() {
    for dtype in [DType::F32, DType::Bf16] {
        for sequences in [1, 5] {
            for way in [LOTS, (0.9, 1.0, "threshold:0.3"), (0.0, 1.0, "top-k:20")] {
                on_any_threads(&format!("{sequences} texts {dtype:?} {way:?}"), || {
                    Sampler::new(dtype, &vec![way; sequences]).run()
                });
            }
        }
    }
}

#[test]
fn a_text_does_not_depend_on_what_else_is_in_its_batch() {
    for way in [LOTS, (0.9, 1.0, "top-k:20")] {
        let (alone, _) = Sampler::new(DType::F32, &[way]).run();
        let (together, _) = Sampler::new(DType::F32, &[way, way, (1.3, 0.5, "threshold:0.1")]).run();
        assert!(alone.iter().all(|&id| id != 0), "every position is committed");
        assert_eq!(alone, together[..75], "{way:?}");
        assert_ne!(alone, together[75..150], "{way:?}: each text has its own draws");
    }
}

#[test]
fn committed_tokens_never_change() {
    let mut sampler = Sampler::new(DType::F32, &[LOTS; 2]);
    let mut before = vec![0; 150];
    for step in 0..STEPS {
        let cpu: &mut dyn Backend = &mut sampler.cpu;
        cpu.run(&sampler.program, &StepArgs { seed: 1, step, ..StepArgs::default() }).unwrap();
        let now = cpu.read_u32(sampler.state.x).unwrap();
        let masked = cpu.read_u32(sampler.state.masked).unwrap();
        for ((before, now), masked) in before.iter().zip(&now).zip(&masked) {
            assert!(*before == 0 || before == now, "{before} became {now}");
            assert_eq!(*masked == 1, *now == 0, "what is open is the mask, and the mask is never a candidate");
        }
        before = now;
    }
    assert!(before.iter().all(|&id| id != 0), "the last step reveals all that is left");
}

/// A train step over the model, ready to run on any number of backends.
fn train_step(dtype: DType) -> (Arc<Plan>, Program, Process) {
    let mut plan = Plan::new();
    let used = Use::Training { averages: 1, optimizer: Optimizer::AdamW, dropout: 0.0 };
    let process = Process::new(&mut plan, &PROCESS, &model(), Storage::wide_stream(dtype), used);
    let metrics = plan.alloc(process.model().memory.kept, 4, 4);
    let mut b = Builder::new(&mut plan, "train step");
    let part = process.parts()[0].generative();
    let batch = part.batch(&mut b, 2);
    part.corrupt(&mut b, batch, Objective::Original, corpus().train(), 2);
    part.learn(&mut b, batch, Objective::Original, metrics, Accumulate::Overwrite);
    process.model().update(&mut b, metrics, &run(Objective::Original, dtype, 2, 1).optimizer);
    let program = b.finish();
    (Arc::new(plan), program, process)
}

/// A CPU with one wrong op.
struct Faulty {
    inner: Cpu,
    op: &'static str,
    harm: fn(&mut [u8]),
}

impl Backend for Faulty {
    fn describe(&self) -> String {
        "faulty".into()
    }

    fn plan(&self) -> &Plan {
        self.inner.plan()
    }

    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()> {
        self.inner.bind_corpus(corpus)
    }

    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()> {
        self.inner.run_op(op, args)?;
        if op.name() == self.op {
            let mat = op.operands().iter().find(|operand| operand.is_output()).unwrap().mat;
            let mut bytes = self.inner.read_bytes(mat)?;
            (self.harm)(&mut bytes);
            self.inner.write_bytes(mat, &bytes)?;
        }
        Ok(())
    }

    fn fetch(&mut self, mat: Mat) -> Result<Box<dyn Fetch>> {
        self.inner.fetch(mat)
    }

    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()> {
        self.inner.write_bytes(mat, bytes)
    }
}

/// Differences of a train step between a right backend and one that harms the first output of `op`.
fn differences(dtype: DType, op: &'static str, harm: fn(&mut [u8])) -> (Program, Vec<Difference>) {
    let (plan, program, process) = train_step(dtype);
    let mut right = Cpu::new(Arc::clone(&plan));
    let mut wrong = Faulty { inner: Cpu::new(plan), op, harm };
    let (right, wrong): (&mut dyn Backend, &mut dyn Backend) = (&mut right, &mut wrong);
    let weights = process.model().params.init(1);
    // The other backend has no weights of its own: lockstep hands it every input.
    right.write_f32(process.model().memory.weights, &weights).unwrap();
    if process.model().memory.stored != process.model().memory.weights {
        right.write_f32(process.model().memory.stored, &weights).unwrap();
    }
    right.bind_corpus(corpus()).unwrap();
    wrong.bind_corpus(corpus()).unwrap();
    let args = StepArgs { seed: 2, lr: 1e-3, bias1: 0.1, bias2: 0.01, ema_warmup: 0.9, ..StepArgs::default() };
    let differences = lockstep(right, wrong, &program, &args).unwrap();
    (program, differences)
}

fn agrees(d: &Difference) -> bool {
    d.relative_l2 == 0.0 && d.max_abs == 0.0 && d.broken == 0
}

#[test]
fn two_backends_of_a_kind_agree_in_every_output_of_every_op() {
    for dtype in [DType::F32, DType::Bf16] {
        let (program, differences) = differences(dtype, "none", |_| ());
        let outputs = program.ops.iter().flat_map(|op| op.operands()).filter(Operand::is_output);
        assert_eq!(differences.len(), outputs.count(), "every output is compared");
        assert!(differences.iter().all(agrees), "{differences:#?}");
    }
}

#[test]
fn a_wrong_op_is_named_and_no_other() {
    let bump = |bytes: &mut [u8]| {
        let value = f32::from_le_bytes(bytes[8..12].try_into().unwrap());
        bytes[8..12].copy_from_slice(&(value + 0.25).to_le_bytes());
    };
    for op in
        ["qkv", "linear_residual", "linear_relu2", "head_loss", "attention_backward", "weight_grads", "adamw_step"]
    {
        let (program, differences) = differences(DType::F32, op, bump);
        let found: Vec<&Difference> = differences.iter().filter(|d| !agrees(d)).collect();
        let places = program.ops.iter().enumerate().filter(|(_, o)| o.name() == op).map(|(index, _)| index);
        assert_eq!(found.iter().map(|d| d.index).collect::<Vec<_>>(), places.collect::<Vec<_>>(), "{op}: {found:#?}");
        for d in found {
            assert_eq!(d.op, op);
            // One of the values was moved by a quarter, to the rounding of a number of its size.
            assert!((d.max_abs - 0.25).abs() < 1e-4 && d.relative_l2 > 0.0 && d.broken == 0, "{d:?}");
        }
    }
}

#[test]
fn what_is_no_number_and_wrong_ids_are_differences_too() {
    let (_, found) = differences(DType::F32, "attention", |bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes()));
    assert!(found.iter().all(|d| d.broken == usize::from(d.op == "attention" && !agrees(d))));
    assert_eq!(found.iter().filter(|d| d.broken == 1).count(), 2, "one in each block");
    // The lowest bit of one id.
    let (_, found) = differences(DType::F32, "corrupt", |bytes| bytes[0] ^= 1);
    let wrong: Vec<&Difference> = found.iter().filter(|d| !agrees(d)).collect();
    assert!(matches!(wrong[..], [Difference { op: "corrupt", broken: 1, .. }]), "{wrong:?}");
}
