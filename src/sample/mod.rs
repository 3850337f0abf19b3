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

mod check;
mod edits;
pub mod hybrid;
pub mod life;
mod recording;
mod speculative;
mod start;
mod steps;
mod stop;

pub use crate::config::Policy;
pub use check::{LONGEST, check, check_length, check_resample};
use check::{check_order, check_room};
pub use edits::Edits;
pub use recording::{Change, Place, Recorded, Recording};
pub use start::{end_of_prompt, from_corpus, open, prompt, template};

use crate::config::{Family, ProcessConfig};
use crate::data::Vocab;
use crate::denoiser::{Canvas, Denoiser, Start};
use crate::error::{Error, Result};
use crate::process::{Kind, Past, ReverseStep};
use crate::program::{GIVEN, SamplingParams, TimeOrder};
use crate::rng::{Stream, philox};
use std::ops::Range;
use steps::{Batch, Step};
use stop::Cut;

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
    /// Only so many of the most probable symbols are drawn; 0 for all.
    pub top_symbols: u32,
    /// The most probable symbols are taken where no more than this share of the text is unknown; 0 for none.
    pub greedy_tail: f32,
    /// W, by how much what is given guides a text of masked diffusion ([`Guide`](crate::program::Guide)), up to
    /// [`MOST_GUIDANCE`]; 0 for the model's own distribution.
    pub guidance: f32,
    /// Key of every random number.
    pub seed: u64,
    /// The original's way: the timestep counts up from 0, the most probable symbol is taken (the temperature only
    /// shapes its probability), the mask may be predicted.
    pub original_order: bool,
    /// Windows that continue one another, each beginning with the end of the one before.
    pub blocks: u32,
    /// Tokens of the last of several, where it is shorter.
    pub last: Option<usize>,
    /// Tokens of that beginning.
    pub overlap: usize,
    /// What an autoregressive model keeps of what it has computed.
    pub past: Past,
    /// What ends a text, which ends before it.
    pub stop: Option<String>,
    /// Of a model of vectors with Gaussian noise.
    pub vectors: VectorSampling,
    /// How often each step that takes noise away is made, the text getting its noise again in between (RePaint, Lugmayr et al. 2022):
    /// what is written fits what is known better. 1 for once.
    pub resample: u32,
    /// Whether tokens are replaced again once a text is written, of a process whose noise are other symbols.
    pub edits: Option<Edits>,
}

/// How vectors without noise are made of those with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VectorSampling {
    /// Divides the score, the direction towards likelier vectors ([`leading`](crate::program::VectorStep::leading)); 1 for the model's own.
    pub score_temperature: f32,
    /// Whether they are those of tokens.
    pub clamps: bool,
}

impl Default for VectorSampling {
    fn default() -> Self {
        VectorSampling { score_temperature: 1.0, clamps: false }
    }
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
    /// Most symbols that are drawn.
    pub top_symbols: u32,
    /// Share of the text that is not drawn.
    pub greedy_tail: f32,
    /// By how much what is given guides the text.
    pub guidance: f32,
}

/// The largest W: far beyond those that are of use, and what it makes of logits is a number.
pub const MOST_GUIDANCE: f32 = 100.0;

/// A temperature at which a small model keeps to words that it is sure of; 1 is its own distribution.
pub const CAREFUL: f32 = 0.5;

/// What the blocks of a model without a context share.
const DEFAULT_OVERLAP: usize = 16;

impl SampleConfig {
    /// A policy with temperature 1, every symbol, one block.
    pub fn new(policy: Policy, seed: u64, process: &ProcessConfig) -> Self {
        let context = process.context_len();
        let overlap = if context > 0 { context } else { DEFAULT_OVERLAP };
        let (temperature, top_p, min_p, top_symbols, greedy_tail, guidance) = (1.0, 1.0, 0.0, 0, 0.0, 0.0);
        let (part, original_order, blocks, past) = (process.family().parts()[0], false, 1, Past::Kept);
        let (last, stop) = (None, None);
        SampleConfig {
            part,
            policy,
            temperature,
            top_p,
            min_p,
            top_symbols,
            greedy_tail,
            guidance,
            seed,
            original_order,
            blocks,
            last,
            overlap,
            past,
            stop,
            vectors: VectorSampling::default(),
            resample: 1,
            edits: None,
        }
    }

    /// Tokens that a window takes over from the one before, unless said, of texts of `length` tokens: the model's context, from
    /// left to right three quarters of the window.
    pub fn usual_overlap(&self, length: usize, process: &ProcessConfig) -> usize {
        match self.part {
            Family::Autoregressive => (length * 3).div_ceil(4).min(length.saturating_sub(1)),
            _ if process.context_len() > 0 => self.overlap,
            _ => self.overlap.min((length / 2).max(1)),
        }
    }

    /// The same for texts of so many tokens, in as many windows as that takes.
    pub fn of_length(self, length: usize, window: usize) -> Self {
        let (further, new) = (length.saturating_sub(window), window.saturating_sub(self.overlap).max(1));
        match further.div_ceil(new) {
            0 => self,
            more => SampleConfig {
                blocks: u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1),
                last: Some(self.overlap + further - (more - 1) * new),
                ..self
            },
        }
    }

    /// What a text has of a stop, if it has it behind so many tokens that were given.
    fn cut(&self, vocab: &Vocab, tokens: &[u32], given: usize) -> Option<Cut> {
        self.stop.as_ref().and_then(|stop| Cut::at(vocab, tokens, given, stop))
    }

    /// A whole text without what stands from the stop on, if it has one behind so many tokens that were given.
    pub fn stopped(&self, vocab: &Vocab, text: Text, given: usize) -> Text {
        match self.cut(vocab, &text.tokens, given) {
            Some(cut) => cut.of(text),
            None => text,
        }
    }

    /// A text from a start, sampled as this says.
    pub fn request(&self, start: Start) -> Request {
        let SampleConfig { policy, temperature, top_p, min_p, top_symbols, greedy_tail, guidance, .. } = *self;
        Request { start, policy, temperature, top_p, min_p, top_symbols, greedy_tail, guidance }
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
        if self.stop.as_ref().is_some_and(String::is_empty) {
            return refuse("an empty stop ends every text where it begins; wanted some characters".into());
        }
        if self.resample == 0 {
            return refuse("every step made 0 times writes no text; give --resample at least 1".into());
        }
        self.edits.map_or(Ok(()), Edits::validate)?;
        let VectorSampling { score_temperature, .. } = self.vectors;
        if !(score_temperature > 0.0 && score_temperature.is_finite()) {
            return refuse(format!("a score temperature of {score_temperature}; wanted a finite number above 0"));
        }
        Ok(())
    }

    /// Tokens of a window, where whole ones have `length`.
    fn window(&self, window: u32, length: usize) -> usize {
        self.last.filter(|_| window > 0 && window + 1 == self.blocks).unwrap_or(length)
    }

    /// What is written one after another: windows, and what of each is written together.
    fn pieces(&self, denoiser: &Denoiser, length: usize) -> impl Iterator<Item = (u32, usize)> + use<> {
        let stretches = |length: usize| length.div_ceil(denoiser.stretch(length));
        let (blocks, whole, last) = (self.blocks, stretches(length), stretches(self.window(self.blocks - 1, length)));
        let count = move |window| if window + 1 == blocks { last } else { whole };
        (0..blocks).flat_map(move |window| (0..count(window)).map(move |at| (window, at)))
    }

    /// Of texts all of which are guided, or none.
    fn step(&self, denoiser: &Denoiser, positions: usize, is_guided: bool) -> Step {
        match denoiser.process().part(self.part) {
            Kind::Autoregressive(process) => Step::NextToken(process.past(self.past)),
            Kind::Interpolating(_) => Step::Renoise,
            Kind::Vectors(process) => Step::Vectors(process.gamma()),
            Kind::Diffusion(_) if self.original_order => {
                Step::Reverse(ReverseStep { order: TimeOrder::Original, drop: None, is_guided })
            }
            Kind::Diffusion(process) => {
                let (order, drop) = (process.time_order(positions), Some(process.mask_id()));
                Step::Reverse(ReverseStep { order, drop, is_guided })
            }
        }
    }

    /// Of what is written together, `length` tokens.
    fn params(&self, request: &Request, length: usize) -> SamplingParams {
        let Request { temperature, top_p, min_p, guidance, .. } = *request;
        // More symbols than there are numbers for are all of any vocabulary.
        let top_symbols = request.top_symbols.min(1 << 24) as f32;
        let greedy_tail = (request.greedy_tail * length as f32).floor();
        let greedy = SamplingParams::greedy(request.policy, length);
        match self.original_order {
            // It compares tempered probabilities.
            true if temperature > 0.0 => SamplingParams { confidence_at: temperature, ..greedy },
            true => greedy,
            false => SamplingParams { temperature, top_p, min_p, top_symbols, greedy_tail, guidance, ..greedy },
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
        if !(0.0..=MOST_GUIDANCE).contains(&self.guidance) {
            return refuse(format!("a guidance of {}; wanted 0 (none) to {MOST_GUIDANCE}", self.guidance));
        }
        Ok(())
    }

    fn is_guided(&self) -> bool {
        self.guidance > 0.0
    }
}

/// A finished text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Its number, which together with the seed stands for its randomness.
    pub number: u32,
    /// All tokens, given and written.
    pub tokens: Vec<u32>,
    /// The step (from 0, in its block) that committed each token; none where it was given.
    pub committed_at: Vec<Option<u32>>,
    /// Denoising steps that each block took.
    pub steps: Vec<u32>,
    /// Tokens up to the end of each block.
    pub ends: Vec<usize>,
    /// Bytes at the end of the text that its tokens say which belong to a stop, and not to the text: a stop may begin within a
    /// token.
    pub cut: usize,
}

impl Text {
    /// It with tokens that stand before it.
    pub fn behind(self, before: &[u32]) -> Self {
        let tokens = before.iter().copied().chain(self.tokens).collect();
        let committed_at = before.iter().map(|_| None).chain(self.committed_at).collect();
        let ends = self.ends.iter().map(|end| before.len() + end).collect();
        Text { tokens, committed_at, ends, ..self }
    }
}

/// What is heard of a text.
#[derive(Debug)]
pub enum Written<'a> {
    /// It as far as it is written: what there is of it does not change any more.
    Part(&'a Text),
    /// All of it.
    Whole(Text),
}

impl Written<'_> {
    /// A whole text.
    pub fn whole(self) -> Option<Text> {
        match self {
            Written::Whole(text) => Some(text),
            Written::Part(_) => None,
        }
    }
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
    /// How sure the sampler's [`Score`](crate::config::Score) is of what is unknown, and was of the rest when it was written; of
    /// a process that masks nothing no figure.
    pub confidence: &'a [f32],
    /// The batch's texts from the blocks before.
    pub before: &'a [Text],
    /// Places among those of a text's tokens here that stand behind what it has from the blocks before.
    pub new: Range<usize>,
}

impl Frame<'_> {
    /// The batch's first text so far; the mask where unknown.
    pub fn first_text(&self) -> Vec<u32> {
        [&self.before[0].tokens, &self.tokens[self.new.clone()]].concat()
    }
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

impl Watch<'_> {
    /// The same who looks on, once more.
    fn again(&mut self) -> Watch<'_> {
        match self {
            Watch::Progress(tell) => Watch::Progress(&mut **tell),
            Watch::Steps(show) => Watch::Steps(&mut **show),
        }
    }
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

/// The same, and hands each text over as soon as it is finished, before the others of its batch are; of one of several windows
/// also its beginning after each.
pub fn sample_as_finished(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    starts: &[Start],
    first: u32,
    watch: Watch<'_>,
    heard: &mut dyn FnMut(Written<'_>),
) -> Result<()> {
    sample_requests(denoiser, config, &requests(config, starts), first, watch, heard)
}

/// Samples each text in its own way and of its own length: of `config`, what is no part of a [`Request`] counts. A text is the
/// same as it is alone. Requests of one length that stand beside each other share batches; those that are guided, of which each
/// takes the place of two, those of their own.
pub fn sample_each(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    first: u32,
    watch: Watch<'_>,
) -> Result<Vec<Text>> {
    let mut texts = Vec::with_capacity(requests.len());
    sample_requests(denoiser, config, requests, first, watch, &mut |written| texts.extend(written.whole()))?;
    texts.sort_by_key(|text| text.number);
    Ok(texts)
}

fn requests(config: &SampleConfig, starts: &[Start]) -> Vec<Request> {
    starts.iter().map(|start| config.request(start.clone())).collect()
}

/// The same, and hands each text over as soon as it is finished, as [`sample_as_finished`] does.
pub fn sample_requests(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    mut first: u32,
    mut watch: Watch<'_>,
    heard: &mut dyn FnMut(Written<'_>),
) -> Result<()> {
    check(denoiser.process(), config, requests)?;
    check_room(denoiser.batch(), requests)?;
    if first.checked_add(requests.len() as u32).is_none() || requests.len() > u32::MAX as usize {
        return Err(Error::input(format!("{} texts from number {first} on; numbers end at 2³²", requests.len())));
    }
    let most = denoiser.batch();
    // Those that are edited are finished at once.
    let policy = |request: &Request| config.edits.map(|_| request.policy);
    let alike = |request: &Request| (request.start.len(), request.is_guided(), policy(request));
    let rows = |run: &[Request]| if run[0].is_guided() { most / 2 } else { most };
    for batch in requests.chunk_by(|one, next| alike(one) == alike(next)).flat_map(|run| run.chunks(rows(run))) {
        sample_batch(denoiser, config, batch, first, &mut watch, heard)?;
        first += batch.len() as u32;
    }
    Ok(())
}

fn sample_batch(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    requests: &[Request],
    first: u32,
    watch: &mut Watch<'_>,
    heard: &mut dyn FnMut(Written<'_>),
) -> Result<()> {
    let empty = |i: usize| Text { number: first + i as u32, ..Text::default() };
    let mut texts: Vec<Text> = (0..requests.len()).map(empty).collect();
    let length = requests[0].start.len();
    let mut starts: Vec<Start> = requests.iter().map(|request| request.start.clone()).collect();
    let given: Vec<usize> = starts.iter().map(|start| start.iter().take_while(|t| t.is_some()).count()).collect();
    let vocab = config.stop.as_ref().map(|_| denoiser.vocab().clone());
    let cut = |i: usize, tokens: &[u32]| vocab.as_ref().and_then(|vocab| config.cut(vocab, tokens, given[i]));
    let mut handed_over = vec![false; requests.len()];
    let mut begun = whole_stretches(denoiser, &starts);
    for (window, at) in config.pieces(denoiser, length) {
        if window > 0 && at == 0 {
            let end = |text: &Text| {
                let given = text.tokens[text.tokens.len() - config.overlap..].iter().map(|&id| Some(id));
                given.chain(std::iter::repeat_n(None, config.window(window, length) - config.overlap)).collect()
            };
            starts = texts.iter().map(end).collect();
            begun = whole_stretches(denoiser, &starts);
        }
        let here = starts[0].len();
        let stretch = denoiser.stretch(here);
        let step = config.step(denoiser, stretch, requests[0].is_guided());
        let params: Vec<SamplingParams> = requests.iter().map(|request| config.params(request, stretch)).collect();
        let places = at * stretch..here.min((at + 1) * stretch);
        // A stretch is written whole, and what is beyond the text is nobody's.
        let of = |start: &Start| {
            start[places.clone()].iter().copied().chain(std::iter::repeat(None)).take(stretch).collect()
        };
        let block = window * length.div_ceil(denoiser.stretch(length)) as u32 + at as u32;
        let last = window + 1 == config.blocks && places.end == here;
        let known = if window == 0 { 0 } else { config.overlap.saturating_sub(places.start).min(places.len()) };
        let added = known..places.len();
        if at < begun {
            for (text, start) in texts.iter_mut().zip(&starts) {
                let new = start[places.clone()][added.clone()].iter().flatten();
                text.tokens.extend(new);
                text.committed_at.resize(text.tokens.len(), None);
                text.steps.push(0);
                text.ends.push(text.tokens.len());
            }
            continue;
        }
        let mut canvas = denoiser.canvas(&starts.iter().map(of).collect::<Vec<_>>(), &params)?;
        canvas.stand_at(places.start)?;
        if at == begun && begun > 0 {
            let before: Vec<Vec<u32>> =
                starts.iter().map(|start| start[..places.start].iter().flatten().copied().collect()).collect();
            canvas.keep_before(&before.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        // What an autoregressive model has written stays, so that a text may end before all of it is.
        let in_order = matches!(step, Step::NextToken(_)) && vocab.is_some();
        let mut hand_over = |canvas: &mut Canvas<'_>, remaining: &[u32]| {
            let may_end = |i: &usize| !handed_over[*i] && (in_order || last && remaining[*i] == 0);
            let new: Vec<usize> = (0..remaining.len()).filter(may_end).collect();
            if new.is_empty() {
                return Ok(handed_over.iter().all(|&done| done));
            }
            let rows = Rows::of(canvas)?;
            for i in new {
                let text = rows.behind(i, texts[i].clone(), added.clone());
                let written = text.tokens.len() - remaining[i] as usize;
                let end = cut(i, &text.tokens[..written]);
                if end.is_some() || last && remaining[i] == 0 {
                    handed_over[i] = true;
                    heard(Written::Whole(end.map_or(text.clone(), |end| end.of(text))));
                }
            }
            Ok(handed_over.iter().all(|&done| done))
        };
        let new = added.clone();
        Batch { config, requests, step, first, block, before: &texts, new }.run(&mut canvas, watch, &mut hand_over)?;
        if hand_over(&mut canvas, &vec![0; requests.len()])? || last {
            return Ok(());
        }
        let rows = Rows::of(&mut canvas)?;
        if places.end < here
            && let Step::Reverse(step) = step
        {
            canvas.keep(step)?;
        }
        texts = texts.into_iter().enumerate().map(|(i, text)| rows.behind(i, text, added.clone())).collect();
        for (i, text) in texts.iter().enumerate() {
            if handed_over[i] {
                continue;
            }
            match cut(i, &text.tokens) {
                Some(end) => {
                    handed_over[i] = true;
                    heard(Written::Whole(end.of(text.clone())));
                }
                None => heard(Written::Part(text)),
            }
        }
        if handed_over.iter().all(|&done| done) {
            return Ok(());
        }
    }
    Ok(())
}

/// Stretches of a window in which nothing is to be written of any text, before the first in which something may be.
fn whole_stretches(denoiser: &Denoiser, starts: &[Start]) -> usize {
    let (length, known) = (starts[0].len(), |start: &Start| start.iter().take_while(|token| token.is_some()).count());
    let (stretch, fewest) = (denoiser.stretch(length), starts.iter().map(known).min().unwrap_or(0));
    (fewest / stretch).min(length.div_ceil(stretch) - 1)
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
        text.ends.push(text.tokens.len());
        text.committed_at.extend(committed_at[new].iter().map(|&at| (at != GIVEN).then_some(at)));
        text
    }
}
