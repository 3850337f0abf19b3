//! A model ready for inference: laid out in a backend's memory once, then asked for reverse steps or next tokens, likelihoods
//! and evaluation passes. Sampling, evaluation and the trainer's validation all work through a [`Denoiser`].

mod law;
mod vectors;

pub use law::{Law, cost};

use crate::backend::{Backend, Device, Fetch};
use crate::config::{Family, ModelConfig, ProcessConfig};
use crate::data::{Corpus, Vocab};
use crate::error::{Error, Result};
use crate::model::{Params, Use};
use crate::process::{Kind, Past, Process, ReverseStep, SampleState};
use crate::program::{
    BROKEN, Builder, DType, GIVEN, Level, Mat, NoisedCost, Op, Plan, Program, SamplingParams, StepArgs, Storage,
    TimeOrder, Windows,
};
use crate::rng::{Stream, UNIFORM_STEPS, philox, threshold, uniform24};
use crate::stop::Stop;
use crate::store::SavedModel;
use std::ops::Range;
use std::sync::Arc;
use vectors::{levels_of, thirds};

/// A model on a backend, for up to `batch` texts at a time.
pub struct Denoiser {
    process: Process,
    process_config: ProcessConfig,
    vocab: Vocab,
    plan: Plan,
    state: SampleState,
    sums: Mat,
    backend: Box<dyn Backend>,
    corpus: Option<Arc<Corpus>>,
    /// The one that was used last stands last.
    programs: Vec<(Key, Arc<Program>)>,
}

/// What tells one program from another.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Reverse { rows: usize, positions: usize, step: ReverseStep },
    Score { rows: usize, positions: usize, step: ReverseStep },
    Evaluate { rows: usize, pass: EvalPass },
    Noised { rows: usize, pass: EvalPass, cost: NoisedCost },
    Renoise { rows: usize, positions: usize },
    Vectors { rows: usize, pass: EvalPass },
    RenoiseVectors { rows: usize, positions: usize },
    BeginVectors { rows: usize, positions: usize },
    ReadVectors { rows: usize, positions: usize },
    Next { rows: usize, positions: usize, past: Past },
    Logits { rows: usize, positions: usize, part: Family },
    Fill { rows: usize, positions: usize, known: usize },
    Keep { rows: usize, stretches: usize },
    Likelihood { rows: usize, range: Range<u64>, windows: u32 },
}

/// Passes over evenly spaced windows of the bound corpus, each window with an exact number of masked tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalPass {
    /// Positions that the windows lie in.
    pub range: Range<u64>,
    /// Windows that one pass takes.
    pub windows: u32,
    /// Passes; the noise levels of all of them together are evenly spaced.
    pub passes: u32,
}

/// A text to start from: a token where the text is given, none where it is to be written.
pub type Start = Vec<Option<u32>>;

/// Programs that are kept: a training run, a sampling command and an evaluation need fewer. Of more, as a server's requests
/// of many lengths want them, those go that were not used for longest.
pub const MOST_PROGRAMS: usize = 32;

/// Texts of a batch whose tokens can be counted.
fn most_texts(config: &ModelConfig) -> usize {
    u32::MAX as usize / config.sequence_len
}

/// Tokens that a text begins with are computed together in multiples of so many.
const FILL: usize = 64;

impl Denoiser {
    /// Lays out the model and every program's memory on a device, which stores a run of `dtype` in its own way.
    pub fn new(model: &SavedModel, dtype: DType, batch: usize, device: &Device) -> Result<Self> {
        let SavedModel { config, process, vocab, weights, .. } = model;
        let process_config = &process.used();
        config.validate()?;
        process_config.validate(config)?;
        if batch == 0 || batch > most_texts(config) {
            return Err(Error::input(format!(
                "a batch of {batch} texts of {} tokens; wanted 1 to {} texts, 2³² tokens",
                config.sequence_len,
                most_texts(config)
            )));
        }
        let storage = device.storage(dtype);
        let weight_bytes = size_of_val(&weights[..]);
        device.check_room("this model with its memory", batch, &|batch| {
            Denoiser::bytes(config, process_config, storage, batch).saturating_add(weight_bytes)
        })?;
        let (plan, process, state, sums) = Denoiser::lay_out(config, process_config, storage, batch);
        let backend = device.open(Arc::new(plan.clone()))?;
        let mut denoiser = Denoiser {
            process,
            process_config: *process_config,
            vocab: vocab.clone(),
            plan,
            state,
            sums,
            backend,
            corpus: None,
            programs: Vec::new(),
        };
        denoiser.set_weights(weights)?;
        Ok(denoiser)
    }

    /// Bytes on a device of a model for `batch` texts at a time.
    pub fn bytes(config: &ModelConfig, process: &ProcessConfig, storage: Storage, batch: usize) -> usize {
        Denoiser::lay_out(config, process, storage, batch).0.bytes()
    }

    /// From now on work ends between ops when somebody asks to stop.
    pub fn heed(&mut self, stop: &Stop) {
        self.backend.heed(stop);
    }

    /// The memory of every program, for `batch` texts at a time.
    fn lay_out(
        config: &ModelConfig,
        process_config: &ProcessConfig,
        storage: Storage,
        batch: usize,
    ) -> (Plan, Process, SampleState, Mat) {
        let mut plan = Plan::new();
        let process = Process::new(&mut plan, &process_config.used(), config, storage, Use::Inference);
        // The largest programs, so that every later one finds its memory.
        let mut b = Builder::new(&mut plan, "state");
        let state = process.sample_state(&mut b, batch);
        // Of vectors, what reading tokens off them costs stands behind, and those that are read off wrong.
        let blocks = if state.vectors.is_some() { 3 } else { process_config.blocks(config) };
        let sums = b.alloc(process.model().memory.kept, batch * blocks, 2);
        if let Process::Block(lengths) = &process {
            let most = process_config.blocks(config);
            lengths[0].fill_cache(&mut Builder::new(&mut plan, "layout"), state, most);
        }
        for part in process.parts() {
            match part {
                Kind::Diffusion(process) => {
                    let step = ReverseStep { order: TimeOrder::Original, drop: None, is_guided: false };
                    process.reverse_step(&mut Builder::new(&mut plan, "layout"), state, step);
                    if batch > 1 && process.check_guidance().is_ok() {
                        // Of each text two rows.
                        let (half, step) =
                            (state.part(batch / 2, state.x.cols), ReverseStep { is_guided: true, ..step });
                        process.reverse_step(&mut Builder::new(&mut plan, "layout"), half, step);
                    }
                    process.score_step(&mut Builder::new(&mut plan, "layout"), state, step);
                    let (windows, level) = (Windows::Random(0..0), Level::Independent);
                    process.evaluate(&mut Builder::new(&mut plan, "layout"), windows, level, sums);
                }
                Kind::Interpolating(process) => {
                    process.reverse_step(&mut Builder::new(&mut plan, "layout"), state);
                    let (windows, rates) = (Windows::Random(0..0), pairs(state.lots, batch));
                    let cost = NoisedCost::Bound;
                    process.evaluate(&mut Builder::new(&mut plan, "layout"), windows, rates, cost, sums);
                }
                Kind::Vectors(process) => {
                    process.begin(&mut Builder::new(&mut plan, "layout"), state);
                    process.reverse_step(&mut Builder::new(&mut plan, "layout"), state);
                    process.read(&mut Builder::new(&mut plan, "layout"), state);
                    let (windows, steps) = (Windows::Random(0..0), levels_of(state, batch));
                    process.evaluate(&mut Builder::new(&mut plan, "layout"), windows, steps, thirds(sums));
                }
                Kind::Autoregressive(process) => {
                    for past in [Past::Kept, Past::Recomputed] {
                        process.next_token(&mut Builder::new(&mut plan, "layout"), state, past);
                    }
                    process.fill_cache(&mut Builder::new(&mut plan, "layout"), state, state.truth);
                    let range = 0..config.sequence_len as u64;
                    process.likelihood(&mut Builder::new(&mut plan, "layout"), range, 1, sums);
                }
            }
        }
        (plan, process, state, sums)
    }

    /// Replaces the weights, packed as [`Params`] says; refuses those that no device can compute with.
    pub fn set_weights(&mut self, weights: &[f32]) -> Result<()> {
        let memory = &self.process.model().memory;
        assert_eq!(weights.len(), memory.weights.len(), "weights of another model");
        check_range(&self.process.model().params, weights, self.plan.dtype(memory.stored))?;
        self.backend.write_f32(memory.weights, weights)?;
        if memory.stored != memory.weights {
            self.backend.write_f32(memory.stored, weights)?;
        }
        Ok(())
    }

    /// The dimensions of its model.
    pub fn config(&self) -> &ModelConfig {
        &self.process.model().config
    }

    /// What the ids mean.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// Most texts at a time.
    pub fn batch(&self) -> usize {
        self.state.x.rows
    }

    /// The process that the model belongs to.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// It in words of files.
    pub fn process_config(&self) -> &ProcessConfig {
        &self.process_config
    }

    /// Programs kept, and what the backend keeps of programs, of which it runs no others: at most [`MOST_PROGRAMS`] each.
    pub fn kept(&self) -> [usize; 2] {
        [self.programs.len(), self.backend.prepared()]
    }

    /// The backend in words.
    pub fn describe(&self) -> String {
        self.backend.describe()
    }

    /// Makes a corpus the source of [`Denoiser::evaluate`]'s windows. It must be written in the model's vocabulary.
    pub fn bind_corpus(&mut self, corpus: &Arc<Corpus>) -> Result<()> {
        assert_eq!(corpus.vocab(), &self.vocab, "a corpus of another vocabulary");
        if self.corpus.as_ref().is_some_and(|bound| Arc::ptr_eq(bound, corpus)) {
            return Ok(());
        }
        self.backend.bind_corpus(Arc::clone(corpus))?;
        self.corpus = Some(Arc::clone(corpus));
        Ok(())
    }

    /// Tokens of a text of so many that are written together: all, or a block of those that follow one another.
    pub fn stretch(&self, length: usize) -> usize {
        match self.process.parts()[0] {
            Kind::Diffusion(process) => process.stretch().unwrap_or(length),
            Kind::Autoregressive(_) | Kind::Interpolating(_) | Kind::Vectors(_) => length,
        }
    }

    /// Puts texts to start from into memory, 1 to `batch` of one length, and how each is sampled. No lots are drawn until
    /// [`Canvas::set_lots`] says which. Where texts are written in [stretches](Denoiser::stretch) these are one of each, the
    /// first until [`Canvas::stand_at`] says which.
    pub fn canvas(&mut self, starts: &[Start], params: &[SamplingParams]) -> Result<Canvas<'_>> {
        let positions = starts.first().map_or(0, Vec::len);
        assert!((1..=self.batch()).contains(&starts.len()), "{} texts in a batch of {}", starts.len(), self.batch());
        assert!(starts.iter().all(|s| s.len() == positions), "texts of several lengths");
        let state = self.state.part(starts.len(), positions);
        let mask_id = self.process.mask_id();
        let each = |f: &dyn Fn(Option<u32>) -> u32| -> Vec<u32> { starts.iter().flatten().map(|&s| f(s)).collect() };
        let open = |start: &Start| start.iter().filter(|s| s.is_none()).count() as u32;
        self.backend.write_u32(state.x, &each(&|s| s.unwrap_or(mask_id)))?;
        self.backend.write_u32(state.masked, &each(&|s| u32::from(s.is_none())))?;
        self.backend.write_u32(state.committed_at, &vec![GIVEN; starts.len() * positions])?;
        self.backend.write_u32(state.remaining, &starts.iter().map(open).collect::<Vec<_>>())?;
        self.backend.write_f32(state.params, bytemuck::cast_slice(params))?;
        if let Kind::Interpolating(_) | Kind::Vectors(_) = self.process.parts()[0] {
            self.backend.write_u32(state.truth, &each(&|s| s.unwrap_or(mask_id)))?;
        }
        let mut canvas = Canvas { denoiser: self, state };
        canvas.no_lots()?;
        canvas.stand_at(0)?;
        Ok(canvas)
    }

    /// Runs pass number `pass` over windows `first .. first + n` (n up to `batch`) of the bound corpus. Per window and block of
    /// it, the cross-entropy of the masked tokens in nats and their number.
    pub fn evaluate(&mut self, seed: u64, eval: &EvalPass, pass: u32, first: u32, n: usize) -> Result<Vec<[f32; 2]>> {
        let sums = self.sums.row_block(0, n * self.process_config.blocks(self.config()));
        let level = Level::Spread { windows: eval.windows, passes: eval.passes };
        let crop = Windows::Spaced { range: eval.range.clone(), windows: eval.windows };
        let program = self.program(Key::Evaluate { rows: n, pass: eval.clone() }, "evaluate", |process, b| {
            process.diffusion().evaluate(b, crop, level, sums);
        });
        self.sums(&program, sums, &StepArgs { seed, step: u64::from(pass), sequence: first, ..StepArgs::default() })
    }

    /// Runs pass number `pass` over windows `first ..` of the bound corpus, one for each pair of noise rates in units of 2⁻²⁴. Per
    /// window, the sum of its tokens' costs.
    pub fn noised(
        &mut self,
        seed: u64,
        eval: &EvalPass,
        cost: NoisedCost,
        pass: u32,
        first: u32,
        rates: &[[u32; 2]],
    ) -> Result<Vec<f32>> {
        let (sums, given) = (self.sums.row_block(0, rates.len()), pairs(self.state.lots, rates.len()));
        let crop = Windows::Spaced { range: eval.range.clone(), windows: eval.windows };
        let key = Key::Noised { rows: rates.len(), pass: eval.clone(), cost };
        let program = self.program(key, "evaluate", |process, b| {
            process.interpolating().evaluate(b, crop, given, cost, sums);
        });
        self.backend.write_u32(given, rates.as_flattened())?;
        let args = StepArgs { seed, step: u64::from(pass), sequence: first, ..StepArgs::default() };
        Ok(self.sums(&program, sums, &args)?.into_iter().map(|[sum, _]| sum).collect())
    }

    /// Runs over windows `first .. first + n` (n up to `batch`) of `windows` evenly spaced ones over a range of the bound corpus.
    /// Per window, the cross-entropy in nats of its tokens that no window before has counted, and their number.
    pub fn likelihood(&mut self, range: &Range<u64>, windows: u32, first: u32, n: usize) -> Result<Vec<[f32; 2]>> {
        let (sums, key) = (self.sums.row_block(0, n), Key::Likelihood { rows: n, range: range.clone(), windows });
        let program = self.program(key, "likelihood", |process, b| {
            process.autoregressive().likelihood(b, range.clone(), windows, sums);
        });
        self.sums(&program, sums, &StepArgs { sequence: first, ..StepArgs::default() })
    }

    fn sums(&mut self, program: &Program, sums: Mat, args: &StepArgs) -> Result<Vec<[f32; 2]>> {
        self.backend.run(program, args)?;
        let sums = self.backend.read_f32(sums)?;
        self.check_numbers(&sums)?;
        Ok(sums.as_chunks::<2>().0.to_vec())
    }

    fn check_numbers(&self, results: &[f32]) -> Result<()> {
        if results.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(self.not_a_number()) }
    }

    fn not_a_number(&self) -> Error {
        let cure = match self.plan.dtype(self.process.model().memory.stored) {
            DType::F16 => "its numbers may be too large for f16: try --dtype bf16",
            _ => "its training diverged: go back to an earlier checkpoint, or train with a lower --lr",
        };
        Error::NotANumber(format!("the model predicts what is not a number; {cure}"))
    }

    /// The program under a key, written on its first use.
    fn program(&mut self, key: Key, name: &str, write: impl FnOnce(&Process, &mut Builder<'_>)) -> Arc<Program> {
        if let Some(at) = self.programs.iter().position(|(k, _)| *k == key) {
            self.programs[at..].rotate_left(1);
            return self.programs[self.programs.len() - 1].1.clone();
        }
        if self.programs.len() == MOST_PROGRAMS {
            self.backend.forget(self.programs.remove(0).1.id);
        }
        let mut b = Builder::new(&mut self.plan, name);
        write(&self.process, &mut b);
        let program = Arc::new(b.finish());
        let fits = self.plan.regions().iter().zip(self.backend.plan().regions()).all(|(now, then)| now.len <= then.len);
        assert!(fits, "{key:?} needs more memory than was laid out");
        self.programs.push((key, program.clone()));
        program
    }
}

/// The memory of a pair of numbers for each of so many texts.
fn pairs(lots: Mat, rows: usize) -> Mat {
    Mat { rows, cols: 2, ..lots }
}

/// Refuses weights that are no numbers in the dtype that they are stored in, or whose squares have no sum.
fn check_range(params: &Params, weights: &[f32], stored: DType) -> Result<()> {
    let largest = match stored {
        DType::F16 => half::f16::MAX.to_f32(),
        // Norms add up squares of up to 2¹⁶ columns of the sum of two embeddings.
        _ => (f32::MAX / 65_536.0).sqrt() / 2.0,
    };
    let fits = |w: &f32| w.abs() <= largest;
    if weights.iter().all(fits) {
        return Ok(());
    }
    for param in params.iter() {
        let values = &weights[param.offset..][..param.shape[0] * param.shape[1]];
        if let Some(at) = values.iter().position(|w| !fits(w)) {
            let (name, value) = (&param.name, values[at]);
            return Err(Error::NotANumber(match stored {
                DType::F16 if value.is_finite() => {
                    format!("{name:?} holds {value} at position {at}, and f16 ends at {largest}; use --dtype bf16")
                }
                _ => format!(
                    "the weights are broken: {name:?} holds {value} at position {at}; go back to an earlier checkpoint"
                ),
            }));
        }
    }
    Ok(())
}

/// Texts in the making, in a denoiser's memory.
pub struct Canvas<'d> {
    denoiser: &'d mut Denoiser,
    state: SampleState,
}

impl Canvas<'_> {
    /// Runs one reverse step; of `args`, `seed`, `step` and `sequence` count.
    pub fn reverse_step(&mut self, step: ReverseStep, args: &StepArgs) -> Result<()> {
        self.reverse_steps(step, std::slice::from_ref(args))
    }

    /// Runs one reverse step for each of `steps`, without waiting.
    pub fn reverse_steps(&mut self, step: ReverseStep, steps: &[StepArgs]) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::Reverse { rows, positions, step }, "reverse step", |process, b| {
            process.diffusion().reverse_step(b, state, step);
        });
        self.denoiser.backend.run_each(&program, steps)
    }

    /// Replaces all tokens by noise, as a text's writing begins with it: of `args`, `seed` and `sequence` count.
    pub fn noise(&mut self, args: &StepArgs) -> Result<()> {
        let (mixing, [rows, positions]) = (self.denoiser.process.interpolating().mixing, self.state.x.shape());
        let draw = |i: usize| {
            let sequence = u64::from(args.sequence) + (i / positions) as u64;
            let [_, symbol, mask, _] = philox(args.seed, Stream::Start, sequence, (i % positions) as u32);
            mixing.draw(symbol, mask, mixing.mask_share)
        };
        self.denoiser.backend.write_u32(self.state.x, &(0..rows * positions).map(draw).collect::<Vec<_>>())
    }

    /// Gives the tokens of every text noise again before a step that repeats one: of the noise rates of each text, in units of 2⁻²⁴,
    /// what is between the second and the first, which is not below it; of `args`, `seed`, `step` and `sequence` count.
    pub fn noise_again(&mut self, args: &StepArgs, rates: &[[u32; 2]]) -> Result<()> {
        let (mixing, positions) = (self.denoiser.process.interpolating().mixing, self.positions());
        let (mut tokens, mut committed_at, masked) = (self.tokens()?, self.committed_at()?, self.masked()?);
        // How many tokens are hit, and how many of those become masks, both in units of 2⁻²⁴.
        let between = |&[from, to]: &[u32; 2]| match from - to {
            0 => [0, 0],
            way => [threshold(f64::from(way) / f64::from(UNIFORM_STEPS - to)), mixing.masks_between(from, to)],
        };
        let between: Vec<[u32; 2]> = rates.iter().map(between).collect();
        for (i, token) in tokens.iter_mut().enumerate() {
            let (b, p) = (i / positions, i % positions);
            let step = args.step << 32 | (u64::from(args.sequence) + b as u64);
            let [lot, symbol, mask, _] = philox(args.seed, Stream::Again, step, p as u32);
            let [hits, masks] = between[b];
            let drawn = mixing.draw(symbol, mask, masks);
            if uniform24(lot) < hits && drawn != *token {
                *token = drawn;
                if masked[i] != 0 {
                    committed_at[i] = args.step as u32;
                }
            }
        }
        self.replace(&tokens, &committed_at)
    }

    /// Replaces all tokens, known or not, as a text begins of which noise has taken a part.
    pub fn set_tokens(&mut self, tokens: &[u32]) -> Result<()> {
        self.denoiser.backend.write_u32(self.state.x, tokens)
    }

    /// Replaces all tokens and says which step did, as a text changes again that was finished.
    pub fn replace(&mut self, tokens: &[u32], committed_at: &[u32]) -> Result<()> {
        self.denoiser.backend.write_u32(self.state.committed_at, committed_at)?;
        self.set_tokens(tokens)
    }

    /// Makes one step of noise's reversal for each of `steps`, without waiting, between the noise rates that
    /// [`Canvas::set_lots`] says.
    pub fn renoise(&mut self, steps: &[StepArgs]) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::Renoise { rows, positions }, "reverse step", |process, b| {
            process.interpolating().reverse_step(b, state);
        });
        self.denoiser.backend.run_each(&program, steps)
    }

    /// Writes the next token of every text once for each of `steps`, without waiting. A text's known tokens come first, and
    /// where the past is kept, [`Canvas::fill_cache`] before all.
    pub fn next_tokens(&mut self, past: Past, steps: &[StepArgs]) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::Next { rows, positions, past }, "next token", |process, b| {
            process.autoregressive().next_token(b, state, past);
        });
        self.denoiser.backend.run_each(&program, steps)
    }

    /// What the model says as one of its parts of some positions of each text: their rows of logits, one after another.
    pub fn logits(&mut self, part: Family, positions: &[Range<usize>]) -> Result<Vec<Vec<f32>>> {
        let (state, [rows, length]) = (self.state, self.state.x.shape());
        let key = Key::Logits { rows, positions: length, part };
        let program = self.denoiser.program(key, "logits", |process, b| {
            process.part(part).generative().logits(b, state);
        });
        self.denoiser.backend.run(&program, &StepArgs::default())?;
        let last = program.ops.last().map_or(Vec::new(), Op::operands);
        let logits =
            last.iter().find(|operand| operand.name == "logits").expect("the op that writes them is the last").mat;
        let read = |(text, positions): (usize, &Range<usize>)| match positions.is_empty() {
            true => Ok(Vec::new()),
            false => {
                let rows = logits.row_block(text * length + positions.start, positions.len());
                let logits = self.denoiser.backend.read_f32(rows)?;
                self.denoiser.check_numbers(&logits).map(|()| logits)
            }
        };
        positions.iter().enumerate().map(read).collect()
    }

    /// Computes the keys and values of all tokens that are known.
    pub fn fill_cache(&mut self) -> Result<()> {
        let (state, most) = (self.state, self.positions());
        let fewest = self.remaining()?.into_iter().min().unwrap_or(0) as usize;
        if fewest == most {
            return Ok(());
        }
        // Programs are written for few lengths: what is computed beyond is written again before it is read.
        let known = (most - fewest).next_multiple_of(FILL).min(most);
        let tokens = self.tokens()?;
        let first: Vec<u32> = tokens.chunks_exact(most).flat_map(|text| &text[..known]).copied().collect();
        let rows = self.rows();
        // Nobody asks for the truth of texts that are written.
        let begun = Mat { rows, cols: known, ..state.truth };
        self.denoiser.backend.write_u32(begun, &first)?;
        let key = Key::Fill { rows, positions: most, known };
        let program = self.denoiser.program(key, "first tokens", |process, b| {
            process.autoregressive().fill_cache(b, state, begun);
        });
        self.denoiser.backend.run(&program, &StepArgs::default())
    }

    /// Says at which position of their windows stretches stand: keys and values of those before must be [kept](Canvas::keep).
    pub fn stand_at(&mut self, first: usize) -> Result<()> {
        let Some(ahead) = self.state.ahead else { return Ok(()) };
        let ahead_of = (self.denoiser.config().sequence_len - first) as u32;
        self.denoiser.backend.write_u32(ahead, &vec![ahead_of; ahead.len()])
    }

    /// Keeps the keys and values of whole stretches that stand before, in one pass; as many tokens of every text.
    pub fn keep_before(&mut self, texts: &[&[u32]]) -> Result<()> {
        let (state, Process::Block(lengths)) = (self.state, &self.denoiser.process) else {
            panic!("texts of this process have no stretches")
        };
        let ([rows, stretch], block) = (state.x.shape(), lengths[0].clone());
        assert_eq!(texts.len(), rows, "one for each text");
        let (stretches, window) = (texts[0].len() / stretch, self.denoiser.config().sequence_len);
        let places = (0..stretches).map(|at| at * stretch);
        let tokens = places.clone().flat_map(|at| texts.iter().flat_map(move |text| &text[at..at + stretch]));
        let ahead = places.clone().flat_map(|at| std::iter::repeat_n((window - at) as u32, rows));
        let [begun, begun_ahead] = state.begun_of(stretches);
        self.denoiser.backend.write_u32(begun, &tokens.copied().collect::<Vec<_>>())?;
        self.denoiser.backend.write_u32(begun_ahead, &ahead.collect::<Vec<_>>())?;
        let program = self.denoiser.program(Key::Keep { rows, stretches }, "first stretches", |_, b| {
            block.fill_cache(b, state, stretches);
        });
        self.denoiser.backend.run(&program, &StepArgs::default())
    }

    /// Keeps the keys and values of stretches in which nothing is open, for those behind: a step that commits nothing.
    pub fn keep(&mut self, step: ReverseStep) -> Result<()> {
        self.no_lots()?;
        self.reverse_step(step, &StepArgs::default())
    }

    fn no_lots(&mut self) -> Result<()> {
        self.set_lots(&vec![0; self.state.lots.len()])
    }

    /// Steps that are best given at once.
    pub fn burst(&self) -> usize {
        self.denoiser.backend.burst()
    }

    /// Asks for [`Canvas::remaining`] and does not wait for it; [`Canvas::answered`] reads the answer.
    pub fn ask_remaining(&mut self) -> Result<Box<dyn Fetch>> {
        self.denoiser.backend.fetch(self.state.remaining)
    }

    /// Sets the lots that commit a position and that mask it again, or the noise rates before and behind a step, by text and
    /// step: pair `step mod positions` of `[rows, 2·positions]` thresholds of 24 bits.
    pub fn set_lots(&mut self, lots: &[u32]) -> Result<()> {
        self.denoiser.backend.write_u32(self.state.lots, lots)
    }

    /// Sets the true tokens of every text, as [`Canvas::score_step`] reveals them, and its likelihood to 0.
    pub fn set_truth(&mut self, tokens: &[u32]) -> Result<()> {
        self.denoiser.backend.write_u32(self.state.truth, tokens)?;
        self.denoiser.backend.write_f32(self.state.nll, &vec![0.0; self.state.nll.len()])
    }

    /// Runs one step of the exact likelihood of a policy that has one.
    pub fn score_step(&mut self, step: ReverseStep, args: &StepArgs) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::Score { rows, positions, step }, "score step", |process, b| {
            process.diffusion().score_step(b, state, step);
        });
        self.denoiser.backend.run(&program, args)
    }

    /// Texts that are denoised at once.
    pub fn rows(&self) -> usize {
        self.state.x.rows
    }

    /// Length of every text.
    pub fn positions(&self) -> usize {
        self.state.x.cols
    }

    /// Symbols of the model's vocabulary, the mask among them.
    pub fn symbols(&self) -> usize {
        self.denoiser.config().vocab_size
    }

    /// Tokens of all texts, one text after the other; the mask where unknown.
    pub fn tokens(&mut self) -> Result<Vec<u32>> {
        self.denoiser.backend.read_u32(self.state.x)
    }

    /// 1 where a token is unknown.
    pub fn masked(&mut self) -> Result<Vec<u32>> {
        self.denoiser.backend.read_u32(self.state.masked)
    }

    /// How sure the model is of each unknown token, and was of the others when they were written, by its policy's score.
    pub fn confidence(&mut self) -> Result<Vec<f32>> {
        self.denoiser.backend.read_f32(self.state.confidence)
    }

    /// The step that committed a position; [`GIVEN`] where none did.
    pub fn committed_at(&mut self) -> Result<Vec<u32>> {
        self.denoiser.backend.read_u32(self.state.committed_at)
    }

    /// Unknown positions of each text; an error where the model predicted what is not a number.
    pub fn remaining(&mut self) -> Result<Vec<u32>> {
        let answer = self.ask_remaining()?;
        self.answered(answer)
    }

    /// [`Canvas::remaining`], as it was asked for.
    pub fn answered(&self, answer: Box<dyn Fetch>) -> Result<Vec<u32>> {
        let remaining: Vec<u32> = bytemuck::pod_collect_to_vec(&answer.wait()?);
        if remaining.contains(&BROKEN) { Err(self.denoiser.not_a_number()) } else { Ok(remaining) }
    }

    /// Negative log-likelihood of each text so far, in nats.
    pub fn nll(&mut self) -> Result<Vec<f32>> {
        let nll = self.denoiser.backend.read_f32(self.state.nll)?;
        self.denoiser.check_numbers(&nll)?;
        Ok(nll)
    }
}
