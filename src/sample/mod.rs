//! Sampling: texts from a [`Denoiser`], step by step.
//!
//! A text starts from what is given (nothing, a prompt, a template with holes) and a mask everywhere else. Each step
//! predicts every masked position and commits some of the predictions for good; the [`Policy`] says which. An autoregressive
//! model has no such choice: each step writes the first token that is open, and all that is given comes first. A model of block
//! diffusion writes one stretch of a text behind the other, each like a text of its own that knows those before.
//!
//! Each text has a number, and its randomness is a function of the seed and that number alone: text 37 is the same text
//! whatever the batch size and its place in the batch.
//!
//! A program is written for texts of one length, which says how large its matrices are, so a batch has one length, and programs
//! are kept by length, [`MOST_PROGRAMS`](crate::denoiser::MOST_PROGRAMS) of them. Padding texts to a common length instead
//! would compute positions that nobody reads, and attention would have to ask for each tile of keys where its text ends: all
//! training would carry that for what a caller gets who sorts requests by length.

pub mod hybrid;
pub mod speculative;
mod start;

pub use crate::config::Policy;
pub use start::{end_of_prompt, from_corpus, open, prompt, template};

use crate::config::{Family, ModelConfig, ProcessConfig};
use crate::denoiser::{Canvas, Denoiser, Start};
use crate::error::{Error, Result};
use crate::process::{Kind, Past, ReverseStep};
use crate::program::{GIVEN, SamplingParams, StepArgs, TimeOrder, reveal_words};
use crate::rng::{Stream, philox, threshold, uniform24};
use std::collections::VecDeque;
use std::ops::Range;

/// How texts are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleConfig {
    /// As which of its process's parts a model writes.
    pub part: Family,
    /// Which predictions a step commits, of a model that has a choice.
    pub policy: Policy,
    /// Divides the logits of a draw; 0 takes the most probable symbol. It does not enter into how sure a prediction is, by
    /// which policies choose what to commit (but for `original_order`).
    pub temperature: f32,
    /// Only the most probable symbols that together hold this share are drawn; 1 for all.
    pub top_p: f32,
    /// Only symbols at least this times as probable as the most probable one are drawn; 0 for all.
    pub min_p: f32,
    /// The most probable symbols are taken where no more than this share of the text is unknown; 0 for none.
    pub greedy_tail: f32,
    /// Key of every random number.
    pub seed: u64,
    /// The original's way: the timestep counts up from 0, the most probable symbol is taken (the temperature only
    /// shapes its probability), the mask may be predicted.
    pub original_order: bool,
    /// Windows that continue one another, each beginning with the end of the one before.
    pub blocks: u32,
    /// Tokens of that beginning.
    pub overlap: usize,
    /// What an autoregressive model keeps of what it has computed.
    pub past: Past,
}

/// One text of a batch whose texts are each sampled in their own way; numbers as in [`SampleConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is given.
    pub start: Start,
    /// Which predictions a step commits.
    pub policy: Policy,
    /// Of a draw.
    pub temperature: f32,
    /// Share of the symbols that are drawn.
    pub top_p: f32,
    /// Least probability of one that is drawn, of the most probable one's.
    pub min_p: f32,
    /// Share of the text that is not drawn.
    pub greedy_tail: f32,
}

/// A temperature at which a small model keeps to words that it is sure of; 1 is its own distribution.
pub const CAREFUL: f32 = 0.5;

/// What the blocks of a model without a context share.
const DEFAULT_OVERLAP: usize = 16;

impl SampleConfig {
    /// A policy with temperature 1, every symbol, one block.
    pub fn new(policy: Policy, seed: u64, process: &ProcessConfig) -> Self {
        let context = process.context_len();
        let overlap = if context > 0 { context } else { DEFAULT_OVERLAP };
        let (temperature, top_p, min_p, greedy_tail) = (1.0, 1.0, 0.0, 0.0);
        let (part, original_order, blocks, past) = (process.family().parts()[0], false, 1, Past::Kept);
        SampleConfig {
            part,
            policy,
            temperature,
            top_p,
            min_p,
            greedy_tail,
            seed,
            original_order,
            blocks,
            overlap,
            past,
        }
    }

    /// A text from a start, sampled as this says.
    pub fn request(&self, start: Start) -> Request {
        let SampleConfig { policy, temperature, top_p, min_p, greedy_tail, .. } = *self;
        Request { start, policy, temperature, top_p, min_p, greedy_tail }
    }

    /// Refuses what cannot be sampled, for texts of `length` tokens.
    pub fn validate(&self, length: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        self.request(Start::new()).validate()?;
        if self.blocks == 0 {
            return refuse("0 blocks hold no text; give --blocks at least 1".into());
        }
        if self.blocks > 1 && !(1..length).contains(&self.overlap) {
            return refuse(format!(
                "blocks of {length} tokens that share {}; wanted 1 to {}, so that each has a beginning and adds something",
                self.overlap,
                length.saturating_sub(1)
            ));
        }
        Ok(())
    }

    fn step(&self, denoiser: &Denoiser, positions: usize) -> Step {
        match denoiser.process().part(self.part) {
            Kind::Autoregressive(process) => Step::NextToken(process.past(self.past)),
            Kind::Diffusion(_) if self.original_order => {
                Step::Reverse(ReverseStep { order: TimeOrder::Original, drop: None })
            }
            Kind::Diffusion(process) => {
                Step::Reverse(ReverseStep { order: process.time_order(positions), drop: Some(process.mask_id()) })
            }
        }
    }

    /// Of what is written together, `length` tokens.
    fn params(&self, request: &Request, length: usize) -> SamplingParams {
        let Request { temperature, top_p, min_p, .. } = *request;
        let greedy_tail = (request.greedy_tail * length as f32).floor();
        let greedy = SamplingParams::greedy(request.policy, length);
        match self.original_order {
            // It compares tempered probabilities.
            true if temperature > 0.0 => SamplingParams { confidence_at: temperature, ..greedy },
            true => greedy,
            false => SamplingParams { temperature, top_p, min_p, greedy_tail, ..greedy },
        }
    }

    /// What is written behind a text's beginning, piece by piece, draws other numbers than that.
    fn block_seed(&self, block: u32) -> u64 {
        match block {
            0 => self.seed,
            _ => {
                let [low, high, ..] = philox(self.seed, Stream::Block, u64::from(block), 0);
                u64::from(high) << 32 | u64::from(low)
            }
        }
    }
}

impl Request {
    fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        self.policy.validate()?;
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse(format!(
                "a temperature of {}; wanted 0 (the most probable symbol) or a finite number above it",
                self.temperature
            ));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse(format!("a top-p of {}; wanted above 0 and at most 1", self.top_p));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse(format!("a min-p of {}; wanted 0 (every symbol) to 1", self.min_p));
        }
        if !(0.0..=1.0).contains(&self.greedy_tail) {
            return refuse(format!("a greedy tail of {}; wanted a share of the text, 0 to 1", self.greedy_tail));
        }
        Ok(())
    }
}

/// A finished text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its number, which together with the seed stands for its randomness.
    pub number: u32,
    /// All tokens, given and written.
    pub tokens: Vec<u32>,
    /// The step (from 0, in its block) that committed each token; none where it was given.
    pub committed_at: Vec<Option<u32>>,
    /// Denoising steps that each block took.
    pub steps: Vec<u32>,
}

/// Texts in the making, after one more step.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Numbers of the batch's texts.
    pub texts: Range<u32>,
    /// Which block of them, from 0.
    pub block: u32,
    /// Denoising steps done in this block.
    pub step: u32,
    /// The batch's tokens, one text after the other; the mask where unknown.
    pub tokens: &'a [u32],
    /// 1 where a token is unknown.
    pub masked: &'a [u32],
    /// The batch's texts from the blocks before.
    pub before: &'a [Text],
}

/// How far a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Numbers of the batch's texts.
    pub texts: Range<u32>,
    /// Which block of them, from 0.
    pub block: u32,
    /// Denoising steps given to the device in this block.
    pub steps: u32,
    /// Tokens that were unknown when it was last heard of.
    pub left: u32,
}

/// Who looks on while texts are made.
pub enum Watch<'a> {
    /// Is told from time to time how far a batch is; the device never waits.
    Progress(&'a mut dyn FnMut(&Progress)),
    /// Sees the tokens after every step, for which the device waits.
    Steps(&'a mut dyn FnMut(&Frame<'_>)),
}

/// Samples one text for each start, as text `first`, `first + 1`, …; as many at a time as the denoiser's batch. All starts
/// have one length, at most the model's window.
pub fn sample(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    starts: &[Start],
    first: u32,
    watch: Watch<'_>,
) -> Result<Vec<Text>> {
    sample_each(denoiser, config, &requests(config, starts), first, watch)
}

/// The same, and hands each text over as soon as it is finished, before the others of its batch are.
pub fn sample_as_finished(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    starts: &[Start],
    first: u32,
    watch: Watch<'_>,
    finished: &mut dyn FnMut(Text),
) -> Result<()> {
    sample_requests(denoiser, config, &requests(config, starts), first, watch, finished)
}

/// Samples each text in its own way and of its own length: of `config`, what is no part of a [`Request`] counts. A text is the
/// same as it is alone. Requests of one length that stand beside each other share batches.
pub fn sample_each(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    first: u32,
    watch: Watch<'_>,
) -> Result<Vec<Text>> {
    let mut texts = Vec::with_capacity(requests.len());
    sample_requests(denoiser, config, requests, first, watch, &mut |text| texts.push(text))?;
    texts.sort_by_key(|text| text.number);
    Ok(texts)
}

fn requests(config: &SampleConfig, starts: &[Start]) -> Vec<Request> {
    starts.iter().map(|start| config.request(start.clone())).collect()
}

fn sample_requests(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    mut first: u32,
    mut watch: Watch<'_>,
    finished: &mut dyn FnMut(Text),
) -> Result<()> {
    let lengths = requests.iter().map(|request| request.start.len());
    for length in [lengths.clone().min(), lengths.max()].map(Option::unwrap_or_default) {
        check_length(length, denoiser.config())?;
        config.validate(length)?;
    }
    requests.iter().try_for_each(Request::validate)?;
    let together = match denoiser.process().part(config.part) {
        Kind::Autoregressive(_) => Some(1),
        Kind::Diffusion(process) => process.stretch(),
    };
    if let Some(together) = together {
        requests.iter().try_for_each(|request| check_order(&request.start, together))?;
    }
    if first.checked_add(requests.len() as u32).is_none() || requests.len() > u32::MAX as usize {
        return Err(Error::input(format!("{} texts from number {first} on; numbers end at 2³²", requests.len())));
    }
    let most = denoiser.batch();
    let of_one_length = requests.chunk_by(|one, next| one.start.len() == next.start.len());
    for batch in of_one_length.flat_map(|run| run.chunks(most)) {
        sample_batch(denoiser, config, batch, first, &mut watch, finished)?;
        first += batch.len() as u32;
    }
    Ok(())
}

/// Refuses a start with known tokens behind the first stretch of so many that has open ones.
fn check_order(start: &Start, stretch: usize) -> Result<()> {
    let known = start.iter().take_while(|token| token.is_some()).count();
    let seen = start.len().min((known / stretch + 1) * stretch);
    if start[seen..].iter().all(Option::is_none) {
        return Ok(());
    }
    let gap = start[known..].iter().take_while(|token| token.is_none()).count();
    Err(Error::input(format!(
        "a text with {gap} open tokens before known ones, and this model writes from left to right, {stretch} at a time; give a \
         prompt, or use a model of masked diffusion"
    )))
}

/// Refuses texts that are not as long as a model's window allows.
pub fn check_length(length: usize, model: &ModelConfig) -> Result<()> {
    if length == 0 || length > model.sequence_len {
        return Err(Error::input(format!(
            "a text of {length} tokens; wanted 1 to {}, this model's window (more with --blocks)",
            model.sequence_len
        )));
    }
    Ok(())
}

fn sample_batch(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    first: u32,
    watch: &mut Watch<'_>,
    finished: &mut dyn FnMut(Text),
) -> Result<()> {
    let empty = |i: usize| Text { number: first + i as u32, tokens: vec![], committed_at: vec![], steps: vec![] };
    let mut texts: Vec<Text> = (0..requests.len()).map(empty).collect();
    let length = requests[0].start.len();
    let stretch = denoiser.stretch(length);
    let stretches = length.div_ceil(stretch);
    let step = config.step(denoiser, stretch);
    let params: Vec<SamplingParams> = requests.iter().map(|request| config.params(request, stretch)).collect();
    let mut starts: Vec<Start> = requests.iter().map(|request| request.start.clone()).collect();
    let mut handed_over = vec![false; requests.len()];
    for (window, at) in (0..config.blocks).flat_map(|window| (0..stretches).map(move |at| (window, at))) {
        if window > 0 && at == 0 {
            let end = |text: &Text| {
                let given = text.tokens[text.tokens.len() - config.overlap..].iter().map(|&id| Some(id));
                given.chain(std::iter::repeat_n(None, length - config.overlap)).collect()
            };
            starts = texts.iter().map(end).collect();
        }
        let places = at * stretch..length.min((at + 1) * stretch);
        // A stretch is written whole, and what is beyond the text is nobody's.
        let of = |start: &Start| {
            start[places.clone()].iter().copied().chain(std::iter::repeat(None)).take(stretch).collect()
        };
        let mut canvas = denoiser.canvas(&starts.iter().map(of).collect::<Vec<_>>(), &params)?;
        canvas.stand_at(places.start)?;
        let block = window * stretches as u32 + at as u32;
        let last = block + 1 == config.blocks * stretches as u32;
        let known = if window == 0 { 0 } else { config.overlap.saturating_sub(places.start).min(places.len()) };
        let added = known..places.len();
        let mut hand_over = |canvas: &mut Canvas<'_>, remaining: &[u32]| {
            let new: Vec<usize> = (0..remaining.len()).filter(|&i| remaining[i] == 0 && !handed_over[i]).collect();
            if !last || new.is_empty() {
                return Ok(());
            }
            let rows = Rows::of(canvas)?;
            for i in new {
                handed_over[i] = true;
                finished(rows.behind(i, texts[i].clone(), added.clone()));
            }
            Ok(())
        };
        Batch { config, requests, step, first, block, before: &texts }.run(&mut canvas, watch, &mut hand_over)?;
        if last {
            return hand_over(&mut canvas, &vec![0; requests.len()]);
        }
        let rows = Rows::of(&mut canvas)?;
        texts = texts.into_iter().enumerate().map(|(i, text)| rows.behind(i, text, added.clone())).collect();
        if at + 1 < stretches
            && let Step::Reverse(step) = step
        {
            canvas.keep(step)?;
        }
    }
    Ok(())
}

/// What a canvas holds of every text.
struct Rows {
    length: usize,
    tokens: Vec<u32>,
    committed_at: Vec<u32>,
}

impl Rows {
    fn of(canvas: &mut Canvas<'_>) -> Result<Self> {
        Ok(Rows { length: canvas.positions(), tokens: canvas.tokens()?, committed_at: canvas.committed_at()? })
    }

    /// A text with the new tokens of row `i` behind it.
    fn behind(&self, i: usize, mut text: Text, new: Range<usize>) -> Text {
        let row = i * self.length..(i + 1) * self.length;
        let (tokens, committed_at) = (&self.tokens[row.clone()], &self.committed_at[row]);
        let steps = committed_at.iter().filter(|&&at| at != GIVEN).max().map_or(0, |last| last + 1);
        text.steps.push(steps);
        text.tokens.extend(&tokens[new.clone()]);
        text.committed_at.extend(committed_at[new].iter().map(|&at| (at != GIVEN).then_some(at)));
        text
    }
}

/// Is told how many tokens each text has left.
type Heard<'a> = &'a mut dyn FnMut(&mut Canvas<'_>, &[u32]) -> Result<()>;

/// What is done again and again until nothing is open.
#[derive(Clone, Copy)]
enum Step {
    Reverse(ReverseStep),
    NextToken(Past),
}

impl Step {
    /// To be done once before.
    fn begin(self, canvas: &mut Canvas<'_>) -> Result<()> {
        match self {
            Step::NextToken(Past::Kept) => canvas.fill_cache(),
            Step::NextToken(Past::Recomputed) | Step::Reverse(_) => Ok(()),
        }
    }

    fn run(self, canvas: &mut Canvas<'_>, steps: &[StepArgs]) -> Result<()> {
        match self {
            Step::Reverse(step) => canvas.reverse_steps(step, steps),
            Step::NextToken(past) => canvas.next_tokens(past, steps),
        }
    }

    /// Most steps for a text of `length` tokens, `open` of them unknown.
    fn most(self, policy: Policy, length: usize, open: u32) -> u32 {
        match self {
            Step::Reverse(_) => policy.steps(length, open),
            Step::NextToken(_) => open,
        }
    }
}

/// One block of a batch.
struct Batch<'a> {
    config: &'a SampleConfig,
    requests: &'a [Request],
    step: Step,
    first: u32,
    block: u32,
    before: &'a [Text],
}

impl Batch<'_> {
    fn run(&self, canvas: &mut Canvas<'_>, watch: &mut Watch<'_>, heard: Heard<'_>) -> Result<()> {
        let open = canvas.remaining()?;
        if open.iter().all(|&open| open == 0) {
            return Ok(());
        }
        let steps = self.steps(canvas, &open)?;
        self.step.begin(canvas)?;
        let left = match watch {
            Watch::Progress(tell) => self.run_ahead(canvas, &steps, tell, heard)?,
            Watch::Steps(show) => self.run_watched(canvas, &steps, show, heard)?,
        };
        assert_eq!(left, 0, "{steps:?} left {left} positions open");
        Ok(())
    }

    /// The steps that commit something, in order. Where lots alone decide for all texts they are drawn first, and the model is
    /// asked only where one falls: what it would have said in the other steps is never read.
    fn steps(&self, canvas: &mut Canvas<'_>, open: &[u32]) -> Result<Vec<u32>> {
        let length = canvas.positions();
        let most = |(request, &open): (&Request, &u32)| self.step.most(request.policy, length, open);
        let most = self.requests.iter().zip(open).map(most).max().unwrap_or(0);
        let by_lot = |request: &Request| matches!(self.step, Step::Reverse(_)) && request.policy.is_by_lot();
        if !self.requests.iter().all(by_lot) {
            return Ok((0..most).collect());
        }
        let (mut masked, mut falls) = (canvas.masked()?, vec![false; most as usize]);
        for (row, (request, masked)) in self.requests.iter().zip(masked.chunks_exact_mut(length)).enumerate() {
            for step in 0..most {
                let (args, below) = (self.args(step), threshold(request.policy.reveal(step, length)));
                for (position, masked) in masked.iter_mut().enumerate().filter(|(_, masked)| **masked != 0) {
                    if uniform24(reveal_words(&args, row, position)[0]) < below {
                        *masked = 0;
                        falls[step as usize] = true;
                    }
                }
            }
        }
        Ok((0..most).filter(|&step| falls[step as usize]).collect())
    }

    fn args(&self, step: u32) -> StepArgs {
        let seed = self.config.block_seed(self.block);
        StepArgs { seed, step: u64::from(step), sequence: self.first, ..StepArgs::default() }
    }

    /// Puts lots on the device, those of as many steps as a text has positions, the step `first` among them.
    fn set_lots(&self, canvas: &mut Canvas<'_>, first: u32) -> Result<()> {
        let positions = canvas.positions();
        let first = first - first % positions as u32;
        let of = |request: &Request| {
            let policy = request.policy;
            let pair = move |step| [policy.reveal(step, positions), policy.remask(step, positions)].map(threshold);
            (first..).take(positions).flat_map(pair)
        };
        canvas.set_lots(&self.requests.iter().flat_map(of).collect::<Vec<_>>())
    }

    /// Whether texts without masks are finished.
    fn keep(&self) -> bool {
        self.requests.iter().all(|request| request.policy.keeps())
    }

    fn texts(&self, canvas: &Canvas<'_>) -> Range<u32> {
        self.first..self.first + canvas.rows() as u32
    }

    /// Gives the device bursts of steps and hears how far it is one burst late, so that it never waits: what it does beyond
    /// the last token changes nothing; it waits where a text is finished before the others. Returns the tokens left.
    fn run_ahead(
        &self,
        canvas: &mut Canvas<'_>,
        steps: &[u32],
        tell: &mut dyn FnMut(&Progress),
        heard: Heard<'_>,
    ) -> Result<u32> {
        let (mut asked, mut left) = (VecDeque::new(), u32::MAX);
        let round = canvas.positions() as u32;
        for steps in steps.chunk_by(|step, next| step / round == next / round) {
            self.set_lots(canvas, steps[0])?;
            for burst in steps.chunks(canvas.burst()) {
                let args: Vec<StepArgs> = burst.iter().map(|&step| self.args(step)).collect();
                self.step.run(canvas, &args)?;
                asked.push_back(canvas.ask_remaining()?);
                while asked.len() > 1 || asked.front().is_some_and(|answer| answer.is_ready()) {
                    let answer = asked.pop_front().expect("there is a front");
                    let remaining = canvas.answered(answer)?;
                    left = remaining.iter().sum();
                    if left > 0 && self.keep() {
                        heard(canvas, &remaining)?;
                    }
                }
                if left < u32::MAX {
                    let steps = burst.last().map_or(0, |last| last + 1);
                    tell(&Progress { texts: self.texts(canvas), block: self.block, steps, left });
                }
                if left == 0 && self.keep() {
                    return Ok(0);
                }
            }
        }
        while let Some(answer) = asked.pop_front() {
            left = canvas.answered(answer)?.into_iter().sum();
        }
        Ok(left)
    }

    /// Gives the device one step at a time and shows each. Returns the tokens left.
    fn run_watched(
        &self,
        canvas: &mut Canvas<'_>,
        steps: &[u32],
        show: &mut dyn FnMut(&Frame<'_>),
        heard: Heard<'_>,
    ) -> Result<u32> {
        let (mut left, round) = (u32::MAX, canvas.positions() as u32);
        for steps in steps.chunk_by(|step, next| step / round == next / round) {
            self.set_lots(canvas, steps[0])?;
            for &step in steps {
                self.step.run(canvas, &[self.args(step)])?;
                let remaining = canvas.remaining()?;
                left = remaining.iter().sum();
                let (tokens, masked) = (canvas.tokens()?, canvas.masked()?);
                show(&Frame {
                    texts: self.texts(canvas),
                    block: self.block,
                    step: step + 1,
                    tokens: &tokens,
                    masked: &masked,
                    before: self.before,
                });
                if left == 0 && self.keep() {
                    return Ok(0);
                }
                if self.keep() {
                    heard(canvas, &remaining)?;
                }
            }
        }
        Ok(left)
    }
}
