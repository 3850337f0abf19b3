//! Sampling: texts from a [`Denoiser`], step by step.
//!
//! A text starts from what is given (nothing, a prompt, a template with holes) and a mask everywhere else. Each step
//! predicts every masked position and commits some of the predictions for good; the [`Policy`] says which.
//!
//! Each text has a number, and its randomness is a function of the seed and that number alone: text 37 is the same text
//! whatever the batch size and its place in the batch.

mod start;

pub use crate::config::Policy;
pub use start::{from_corpus, open, prompt, template};

use crate::config::{ModelConfig, ProcessConfig};
use crate::denoiser::{Canvas, Denoiser, GIVEN, Start};
use crate::error::{Error, Result};
use crate::process::ReverseStep;
use crate::program::{self, Choice, StepArgs, TimeOrder};
use crate::rng::{Stream, philox, threshold};
use std::collections::VecDeque;
use std::ops::Range;

/// How texts are sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleConfig {
    /// Which predictions a step commits.
    pub policy: Policy,
    /// Divides the logits of a draw; 0 takes the most probable symbol. It does not enter into how sure a prediction is, by
    /// which policies choose what to commit (but for `original_order`).
    pub temperature: f32,
    /// Only the most probable symbols that together hold this share are drawn; 1 for all.
    pub top_p: f32,
    /// Key of every random number.
    pub seed: u64,
    /// The original's way: the timestep counts up from 0, the most probable symbol is taken (the temperature only
    /// shapes its probability), the mask may be predicted.
    pub original_order: bool,
    /// Windows that continue one another, each beginning with the end of the one before.
    pub blocks: u32,
    /// Tokens of that beginning.
    pub overlap: usize,
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
        SampleConfig { policy, temperature: 1.0, top_p: 1.0, seed, original_order: false, blocks: 1, overlap }
    }

    /// Refuses what cannot be sampled, for texts of `length` tokens.
    pub fn validate(&self, length: usize) -> Result<()> {
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

    fn reverse_step(&self, denoiser: &Denoiser, positions: usize) -> ReverseStep {
        let process = denoiser.process();
        let greedy = self.original_order || self.temperature == 0.0;
        let (temperature, top_p) = (self.temperature, self.top_p);
        ReverseStep {
            order: if self.original_order { TimeOrder::Original } else { process.time_order(positions) },
            drop: (!self.original_order).then(|| process.mask_id()),
            choice: if greedy { Choice::Greedy } else { Choice::Sample { temperature, top_p } },
            // The original compares tempered probabilities.
            confidence_at: if self.original_order && temperature > 0.0 { temperature } else { 1.0 },
            policy: program::Policy::new(self.policy, positions),
        }
    }

    /// A text's further blocks draw other numbers than its first.
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
    mut watch: Watch<'_>,
) -> Result<Vec<Text>> {
    let length = starts.first().map_or(0, Vec::len);
    check_length(length, denoiser.config())?;
    config.validate(length)?;
    if first.checked_add(starts.len() as u32).is_none() || starts.len() > u32::MAX as usize {
        return Err(Error::input(format!("{} texts from number {first} on; numbers end at 2³²", starts.len())));
    }
    let mut texts = Vec::with_capacity(starts.len());
    for (i, batch) in starts.chunks(denoiser.batch()).enumerate() {
        let first = first + (i * denoiser.batch()) as u32;
        texts.extend(sample_batch(denoiser, config, batch, first, &mut watch)?);
    }
    Ok(texts)
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
    starts: &[Start],
    first: u32,
    watch: &mut Watch<'_>,
) -> Result<Vec<Text>> {
    let empty = |i: usize| Text { number: first + i as u32, tokens: vec![], committed_at: vec![], steps: vec![] };
    let mut texts: Vec<Text> = (0..starts.len()).map(empty).collect();
    let length = starts[0].len();
    let mut continued: Vec<Start>;
    let mut starts = starts;
    for block in 0..config.blocks {
        let step = config.reverse_step(denoiser, length);
        let mut canvas = denoiser.canvas(starts)?;
        Batch { config, policy: config.policy.for_length(length), step, first, block, before: &texts }
            .run(&mut canvas, watch)?;
        let (tokens, committed_at) = (canvas.tokens()?, canvas.committed_at()?);
        let rows = tokens.chunks_exact(length).zip(committed_at.chunks_exact(length));
        let known = if block == 0 { 0 } else { config.overlap };
        for (text, (tokens, committed_at)) in texts.iter_mut().zip(rows) {
            let steps = committed_at.iter().filter(|&&at| at != GIVEN).max().map_or(0, |last| last + 1);
            text.steps.push(steps);
            text.tokens.extend(&tokens[known..]);
            text.committed_at.extend(committed_at[known..].iter().map(|&at| (at != GIVEN).then_some(at)));
        }
        let end = |row: &[u32]| {
            let given = row[length - config.overlap..].iter().map(|&id| Some(id));
            given.chain(std::iter::repeat_n(None, length - config.overlap)).collect()
        };
        if block + 1 < config.blocks {
            continued = tokens.chunks_exact(length).map(end).collect();
            starts = &continued;
        }
    }
    Ok(texts)
}

/// One block of a batch.
struct Batch<'a> {
    config: &'a SampleConfig,
    policy: Policy,
    step: ReverseStep,
    first: u32,
    block: u32,
    before: &'a [Text],
}

impl Batch<'_> {
    fn run(&self, canvas: &mut Canvas<'_>, watch: &mut Watch<'_>) -> Result<()> {
        let open: u32 = canvas.remaining()?.into_iter().max().unwrap_or(0);
        let steps = match self.policy {
            Policy::Ancestral { steps: Some(steps), .. } => steps,
            // Every step commits a token of every text that is not yet whole.
            _ => open,
        };
        if open == 0 {
            return Ok(());
        }
        let left = match watch {
            Watch::Progress(tell) => self.run_ahead(canvas, steps, tell)?,
            Watch::Steps(show) => self.run_watched(canvas, steps, show)?,
        };
        assert_eq!(left, 0, "{steps} steps left {left} positions open");
        Ok(())
    }

    fn args(&self, step: u32) -> StepArgs {
        let reveal = match self.policy {
            Policy::Ancestral { steps: Some(steps), schedule } => threshold(schedule.reveal(steps - step, steps)),
            _ => 0,
        };
        let seed = self.config.block_seed(self.block);
        StepArgs { seed, step: u64::from(step), sequence: self.first, reveal, ..StepArgs::default() }
    }

    fn texts(&self, canvas: &Canvas<'_>) -> Range<u32> {
        self.first..self.first + canvas.rows() as u32
    }

    /// Gives the device bursts of steps and hears how far it is one burst late, so that it never waits: what it does beyond
    /// the last token changes nothing. Returns the tokens left.
    fn run_ahead(&self, canvas: &mut Canvas<'_>, all: u32, tell: &mut dyn FnMut(&Progress)) -> Result<u32> {
        let (mut asked, mut left, mut steps) = (VecDeque::new(), u32::MAX, 0);
        while steps < all {
            let end = all.min(steps.saturating_add(canvas.burst() as u32));
            let burst: Vec<StepArgs> = (steps..end).map(|step| self.args(step)).collect();
            canvas.reverse_steps(self.step, &burst)?;
            steps = end;
            asked.push_back(canvas.ask_remaining()?);
            while let Some(answer) = asked.pop_front_if(|answer| answer.is_ready()) {
                left = canvas.answered(answer)?.into_iter().sum();
            }
            while asked.len() > 1
                && let Some(answer) = asked.pop_front()
            {
                left = canvas.answered(answer)?.into_iter().sum();
            }
            if left < u32::MAX {
                tell(&Progress { texts: self.texts(canvas), block: self.block, steps, left });
            }
            if left == 0 {
                return Ok(0);
            }
        }
        while let Some(answer) = asked.pop_front() {
            left = canvas.answered(answer)?.into_iter().sum();
        }
        Ok(left)
    }

    /// Gives the device one step at a time and shows each. Returns the tokens left.
    fn run_watched(&self, canvas: &mut Canvas<'_>, all: u32, show: &mut dyn FnMut(&Frame<'_>)) -> Result<u32> {
        let mut left = u32::MAX;
        for step in 0..all {
            canvas.reverse_step(self.step, &self.args(step))?;
            left = canvas.remaining()?.into_iter().sum();
            let (tokens, masked) = (canvas.tokens()?, canvas.masked()?);
            show(&Frame {
                texts: self.texts(canvas),
                block: self.block,
                step: step + 1,
                tokens: &tokens,
                masked: &masked,
                before: self.before,
            });
            if left == 0 {
                break;
            }
        }
        Ok(left)
    }
}
