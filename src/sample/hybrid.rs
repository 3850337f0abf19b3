//! Texts of two models over one vocabulary and one window, of which the second is of masked diffusion.
//!
//! - **Refine**: the first, of any process, drafts; the second masks again what it finds least likely given all else, and fills
//!   it in; several times. What comes out has no likelihood that anybody knows.
//! - **Verify**: the second drafts some tokens at once, the first accepts or replaces them from left to right
//!   (speculative sampling): the law of the texts is exactly the first's.

use super::{Policy, Progress, SampleConfig, Text, Watch, check_order, sample};
use crate::config::Family;
use crate::denoiser::{Denoiser, Law, Start, cost};
use crate::error::{Error, Result};
use crate::program::SamplingParams;
use crate::rng::{Stream, philox};
use std::ops::Range;

/// How two models share the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hybrid {
    /// The one of masked diffusion mends the other's texts.
    Refine(Refine),
    /// The autoregressive one verifies the other's drafts.
    Verify {
        /// Tokens that are drafted at once.
        draft: usize,
    },
}

/// How texts are mended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refine {
    /// How many times.
    pub rounds: u32,
    /// What is masked again of what was written, the least likely tokens, in each; above 0 and at most 1.
    pub share: f32,
    /// K: the likelihood of every token given all others is found in K passes, each with every K-th token masked. More know
    /// more of a token's neighbours.
    pub stripes: usize,
    /// How the drafts are written, by a model that has a choice; none for ancestral sampling.
    pub draft: Option<Policy>,
}

/// Both models, made for batches of one size.
pub struct Pair<'a> {
    /// It writes from left to right, or drafts in its own way.
    pub first: &'a mut Denoiser,
    /// It is of masked diffusion.
    pub masked: &'a mut Denoiser,
}

/// What verifying came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Tokens that were drafted and decided on.
    pub drafted: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
    /// Tokens that were written.
    pub written: u64,
    /// Passes of both models that the texts took, each counted by itself.
    pub passes: u64,
}

impl Verified {
    /// Adds what another batch came to.
    pub fn add(&mut self, other: Verified) {
        let Verified { drafted, accepted, written, passes } = other;
        self.drafted += drafted;
        self.accepted += accepted;
        self.written += written;
        self.passes += passes;
    }
}

impl Hybrid {
    /// Refuses numbers that do nothing.
    pub fn validate(self) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        match self {
            Hybrid::Verify { draft: 0 } => refuse("drafts of 0 tokens; wanted at least 1".into()),
            Hybrid::Refine(Refine { rounds: 0, .. }) => refuse("0 rounds; wanted at least 1".into()),
            Hybrid::Refine(Refine { share, .. }) if !(share > 0.0 && share <= 1.0) => {
                refuse(format!("a share of {share} to mask again; wanted above 0 and at most 1"))
            }
            Hybrid::Refine(Refine { stripes: 0, .. }) => refuse("0 stripes; wanted at least 1".into()),
            _ => Ok(()),
        }
    }
}

impl Pair<'_> {
    /// Refuses models that cannot share the work, or do not speak of the same tokens, or not of as many.
    pub fn check(&self, hybrid: Hybrid) -> Result<()> {
        let [first, masked] = [&*self.first, &*self.masked];
        let verifies = matches!(hybrid, Hybrid::Verify { .. });
        let parts = [(first, Family::Autoregressive, "first", verifies), (masked, Family::Masked, "second", true)];
        for (model, part, role, matters) in parts {
            if matters && !is(model, part) {
                return Err(Error::input(format!(
                    "the {role} model of a hybrid is of process {}; wanted {part} or joint",
                    model.process_config().family()
                )));
            }
        }
        if let Hybrid::Refine(Refine { draft: Some(policy), .. }) = hybrid
            && is(first, Family::Autoregressive)
        {
            return Err(Error::input(format!(
                "drafts by the sampler {} (--draft-sampler), and the first model writes from left to right; leave it out",
                policy.name()
            )));
        }
        if first.vocab() != masked.vocab() {
            return Err(Error::input(format!(
                "the models have different symbols ({} and {}); wanted two that were trained in one vocabulary",
                first.vocab().size(),
                masked.vocab().size()
            )));
        }
        let [one, other] = [first, masked].map(|model| model.config().sequence_len);
        if one != other {
            return Err(Error::input(format!(
                "the models have windows of {one} and {other} tokens; wanted equal ones"
            )));
        }
        Ok(())
    }

    /// Samples one text for each start, as text `first`, `first + 1`, …: at most a batch. Of a text's steps there is a number
    /// for the draft and one for each round.
    pub fn refine(
        &mut self,
        refine: Refine,
        config: &SampleConfig,
        starts: &[Start],
        first: u32,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Text>> {
        let draft = refine.drafting(self.first, config);
        let mut texts = sample(self.first, &draft, starts, first, Watch::Progress(&mut *tell))?;
        for round in 1..=refine.rounds {
            let costs = self.costs(&texts, starts, refine.stripes)?;
            let again: Vec<Start> = texts
                .iter()
                .zip(starts)
                .zip(&costs)
                .map(|((text, start), costs)| refine.mask(text, start, costs))
                .collect();
            let seed = config.block_seed(round);
            let filled = SampleConfig { part: Family::Masked, seed, ..config.clone() };
            let filled = sample(self.masked, &filled, &again, first, Watch::Progress(&mut *tell))?;
            texts = texts.into_iter().zip(filled).map(|(text, filled)| mended(text, filled)).collect();
        }
        Ok(texts)
    }

    /// -log p of every token of the texts given all others but those of its stripe; of given ones nothing.
    fn costs(&mut self, texts: &[Text], starts: &[Start], stripes: usize) -> Result<Vec<Vec<f64>>> {
        let drop = self.masked.process().mask_id();
        let mut costs = vec![vec![0.0; texts[0].tokens.len()]; texts.len()];
        let (length, symbols) = (costs[0].len(), self.masked.config().vocab_size);
        for stripe in 0..stripes.min(length) {
            let open = |i: usize, p: usize| p % stripes == stripe && starts[i][p].is_none();
            let hidden = |i: usize| (0..length).map(|p| (!open(i, p)).then_some(texts[i].tokens[p])).collect();
            let hidden: Vec<Start> = (0..texts.len()).map(hidden).collect();
            let rows = logits(self.masked, Family::Masked, &hidden, &vec![0..length; texts.len()])?;
            for (i, rows) in rows.iter().enumerate() {
                for (p, logits) in rows.chunks_exact(symbols).enumerate().filter(|&(p, _)| open(i, p)) {
                    costs[i][p] = cost(logits, drop, texts[i].tokens[p]);
                }
            }
        }
        Ok(costs)
    }

    /// Samples one text for each start, as text `first`, `first + 1`, …: at most a batch. The law of each is that of the
    /// autoregressive model under `config`. The steps of its tokens are passes.
    pub fn verify(
        &mut self,
        draft: usize,
        config: &SampleConfig,
        starts: &[Start],
        first: u32,
        tell: &mut dyn FnMut(&Progress),
    ) -> Result<(Vec<Text>, Verified)> {
        starts.iter().try_for_each(|start| check_order(start, 1))?;
        let symbols = self.first.config().vocab_size;
        let params = config.params(&config.request(starts[0].clone()), starts[0].len());
        let mask = self.first.process().mask_id();
        let laws = |rows: &Vec<f32>| -> Vec<Law> {
            rows.chunks_exact(symbols).map(|logits| Law::drawn(logits, mask, &params)).collect()
        };
        let words =
            |text: usize, at: usize| philox(config.seed, Stream::Draft, u64::from(first) + text as u64, at as u32);
        let mut texts: Vec<Verifying> = starts.iter().map(Verifying::new).collect();
        let mut found = Verified::default();
        while texts.iter().any(|text| !text.is_whole()) {
            let chunks: Vec<Range<usize>> =
                texts.iter().map(|text| text.next..(text.next + draft).min(text.tokens.len())).collect();
            let drafting: Vec<Start> = texts.iter().map(|text| text.tokens.clone()).collect();
            let drafted_from = logits(self.masked, Family::Masked, &drafting, &chunks)?;
            let drafted_from: Vec<Vec<Law>> = drafted_from.iter().map(laws).collect();
            let mut drafted = drafting;
            for (i, (text, chunk)) in drafted.iter_mut().zip(&chunks).enumerate() {
                for (at, law) in chunk.clone().zip(&drafted_from[i]) {
                    text[at] = Some(law.draw(words(i, at)[0]));
                }
            }
            // And what stands behind a chunk that is accepted whole.
            let decided =
                chunks.iter().zip(&texts).map(|(chunk, text)| chunk.start..(chunk.end + 1).min(text.tokens.len()));
            let decided: Vec<Range<usize>> = decided.collect();
            let wanted = logits(self.first, Family::Autoregressive, &drafted, &decided)?;
            for (i, text) in texts.iter_mut().enumerate() {
                for (law, at) in laws(&wanted[i]).iter().zip(decided[i].clone()) {
                    let [_, accepts, instead, behind] = words(i, at);
                    let Some(draft) = drafted[i][at].filter(|_| chunks[i].contains(&at)) else {
                        text.append(law.draw(behind));
                        break;
                    };
                    let token = law.verify(&drafted_from[i][at - chunks[i].start], draft, [accepts, instead]);
                    text.append(token);
                    found.drafted += 1;
                    found.accepted += u64::from(token == draft);
                    if token != draft {
                        break;
                    }
                }
                text.passes += u32::from(!chunks[i].is_empty());
            }
            let left = texts.iter().map(|text| (text.tokens.len() - text.next) as u32).sum();
            let steps = texts.iter().map(|text| text.passes).max().unwrap_or(0);
            tell(&Progress { texts: first..first + texts.len() as u32, block: 0, steps, left });
        }
        found.written = starts.iter().flatten().filter(|token| token.is_none()).count() as u64;
        found.passes = texts.iter().map(|text| u64::from(text.passes)).sum();
        Ok(((first..).zip(texts).map(|(number, text)| text.finished(number)).collect(), found))
    }
}

/// A text whose first tokens are decided.
struct Verifying {
    tokens: Start,
    /// The first that is not.
    next: usize,
    committed_at: Vec<Option<u32>>,
    passes: u32,
}

impl Verifying {
    fn new(start: &Start) -> Self {
        let next = start.iter().take_while(|token| token.is_some()).count();
        Verifying { tokens: start.clone(), next, committed_at: vec![None; start.len()], passes: 0 }
    }

    fn is_whole(&self) -> bool {
        self.next == self.tokens.len()
    }

    fn append(&mut self, token: u32) {
        (self.tokens[self.next], self.committed_at[self.next]) = (Some(token), Some(self.passes));
        self.next += 1;
    }

    fn finished(self, number: u32) -> Text {
        let tokens: Vec<u32> = self.tokens.into_iter().map(|token| token.expect("it is whole")).collect();
        let ends = vec![tokens.len()];
        Text { number, tokens, committed_at: self.committed_at, steps: vec![self.passes], ends, cut: 0 }
    }
}

impl Refine {
    /// How the first model drafts, where the second fills in as `config` says: at its temperature.
    fn drafting(&self, model: &Denoiser, config: &SampleConfig) -> SampleConfig {
        let part = match is(model, Family::Autoregressive) {
            true => Family::Autoregressive,
            false => model.process_config().family().parts()[0],
        };
        let SampleConfig { temperature, past, .. } = *config;
        let policy = self.draft.unwrap_or(Policy::ANCESTRAL);
        let draft = SampleConfig::new(policy, config.seed, model.process_config());
        let draft = SampleConfig { part, temperature, past, ..draft };
        match part {
            // Others draw nothing, or may draw any symbol on the way.
            Family::Autoregressive | Family::Masked | Family::Block => {
                let SampleConfig { top_p, min_p, top_symbols, .. } = *config;
                SampleConfig { top_p, min_p, top_symbols, ..draft }
            }
            _ => draft,
        }
    }

    /// A text to be filled in: of what was written the share that costs most is open, of equals what comes first.
    fn mask(&self, text: &Text, start: &Start, costs: &[f64]) -> Start {
        let mut order: Vec<usize> = (0..start.len()).filter(|&p| start[p].is_none()).collect();
        order.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]).then(a.cmp(&b)));
        let most = (f64::from(self.share) * order.len() as f64).round().max(1.0) as usize;
        let mut again: Start = text.tokens.iter().copied().map(Some).collect();
        order.into_iter().take(most).for_each(|p| again[p] = None);
        again
    }
}

/// A text with what was filled in, whose steps follow its own.
fn mended(mut text: Text, filled: Text) -> Text {
    let before: u32 = text.steps.iter().sum();
    for (place, at) in text.committed_at.iter_mut().zip(filled.committed_at) {
        *place = at.map(|at| before + at).or(*place);
    }
    text.tokens = filled.tokens;
    text.steps.extend(filled.steps);
    text
}

/// Whether a model can be used as this.
fn is(model: &Denoiser, part: Family) -> bool {
    model.process_config().family().parts().contains(&part)
}

/// What a model says of some tokens of each text, one row of logits after another.
fn logits(model: &mut Denoiser, part: Family, texts: &[Start], rows: &[Range<usize>]) -> Result<Vec<Vec<f32>>> {
    model.canvas(texts, &vec![SamplingParams::MOST_PROBABLE; texts.len()])?.logits(part, rows)
}
