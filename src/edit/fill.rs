//! Gaps of texts, filled.
//!
//! **Lengths** that are unknown are tried from 0 on. Of a model of masks, `P(n | text) ∝ prior(n) · p(what follows | what comes before,
//! n masks)`: masks that stay are tokens that are summed over, so no fill needs to be guessed to judge a length. Of a block model the
//! same sum is a mean over fills that it draws from what comes before, and of a model whose noise are other symbols the best bound
//! of some fills. Several unknown gaps are judged from left to right, and the most probable beginnings are kept.
//!
//! **Fills** of the most probable lengths are searched for by beams from both ends, or drawn by a policy, the first by taking the
//! likeliest, and ranked by `P(n | text)` times their share of the likelihood of all that were found of that length. Where texts come
//! out of masks that is exact: the mean over both directions, or the law of a policy (DUEL); elsewhere it is a bound. By their
//! likelihoods alone the short ones would win: of a long gap each single fill is improbable.

use super::Sight;
use super::directed::{Direction, Scored, beams, ln_p};
use super::gaps::{Gapped, Laid};
use super::likelihood::{behind, bound, revealed};
use super::window::{Window, input, open_windows, room};
use super::write::{Draft, write_open};
use crate::config::{Family, Policy, Schedule};
use crate::denoiser::{Denoiser, Start};
use crate::error::{Error, Result};
use crate::sample::{CAREFUL, SampleConfig, check_resample};
use serde::Serialize;
use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::ops::Range;

/// How gaps are filled.
#[derive(Clone, Debug, PartialEq)]
pub struct FillConfig {
    /// Most candidates of a text.
    pub candidates: usize,
    /// Fills of each length: as many as are drawn, or as a beam is wide.
    pub tries: usize,
    /// Most tokens of a gap of unknown length.
    pub longest: usize,
    /// How probable its lengths are before anything is read.
    pub prior: LengthPrior,
    /// By which policy fills are drawn. None for the usual one, but of a model of masks for no draws: beams from both ends.
    pub policy: Option<Policy>,
    /// Of every draw but the first of a length, which takes the likeliest symbols.
    pub temperature: f32,
    /// How often each step is made that takes noise away, as of [`SampleConfig`].
    pub resample: u32,
    /// By which policy fills are scored, one with an exact likelihood. None for the usual one, but of a model of masks for the mean
    /// over both directions. A model without policies is scored by its bound.
    pub scored_by: Option<Policy>,
    /// Key of every random number.
    pub seed: u64,
}

/// How probable a gap's length is, in tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthPrior {
    /// All alike.
    Flat,
    /// Each further token with the same probability, so that the mean is this.
    Geometric {
        /// Mean number of tokens; above 0.
        mean: f64,
    },
    /// In proportion to how often each length, from 0 on, was counted, each once more than it was.
    Counted(Vec<u64>),
}

/// A filled text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// All of it.
    pub text: String,
    /// What stands in each gap.
    pub gaps: Vec<String>,
    /// Tokens of each gap.
    pub lengths: Vec<usize>,
    /// ln of prior and likelihood, in nats: for comparing candidates of one text.
    pub score: f64,
    /// How probable its lengths are, times its share of the likelihood of all fills that were tried of them.
    pub share: f64,
}

/// Tokens behind a gap that say how long it is.
pub(super) const NEAR: usize = 16;

/// Lengths of unknown gaps that fills are drawn for: at most so many,
const BEAM: usize = 5;

/// and none that is less probable than the best one by more than this, in nats.
const FAR_BEHIND: f64 = 5.0;

impl LengthPrior {
    /// Of the lengths of a text's words, in characters.
    pub fn of_words(text: &str) -> Self {
        let mut counts = Vec::new();
        for word in text.split_whitespace() {
            let length = word.chars().count();
            counts.resize(counts.len().max(length + 1), 0);
            counts[length] += 1;
        }
        LengthPrior::Counted(counts)
    }

    /// ln of the probability of a length of at most `longest`.
    pub(super) fn ln(&self, length: usize, longest: usize) -> f64 {
        let weight = |length: usize| match self {
            LengthPrior::Flat => 1.0,
            LengthPrior::Geometric { mean } => (mean / (1.0 + mean)).powi(length as i32),
            LengthPrior::Counted(counts) => counts.get(length).copied().unwrap_or(0) as f64 + 1.0,
        };
        weight(length).ln() - (0..=longest).map(weight).sum::<f64>().ln()
    }
}

impl FillConfig {
    /// Tokens of a gap of unknown length, on average, where nothing else is said.
    pub const MEAN: f64 = 5.0;

    /// As models fill best: 5 candidates, gaps of up to 12 tokens, of 5 on average.
    pub fn new(seed: u64) -> Self {
        FillConfig {
            candidates: 5,
            tries: 4,
            longest: 12,
            prior: LengthPrior::Geometric { mean: FillConfig::MEAN },
            policy: None,
            temperature: CAREFUL,
            resample: 1,
            scored_by: None,
            seed,
        }
    }

    /// By which policy fills of a family of models are drawn where nothing is said.
    pub fn usual_policy(family: Family) -> Policy {
        match family.has_policies() {
            true => Policy::top_k(1),
            false => Policy::Ancestral { steps: Some(32), schedule: Schedule::Cosine },
        }
    }

    /// Refuses what fills nothing, for a model whose window has so many tokens.
    pub fn validate(&self, window: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        for (what, number) in [("candidates", self.candidates), ("tries", self.tries)] {
            if number == 0 {
                return refuse(format!("0 {what} fill no gap; wanted at least 1"));
            }
        }
        if self.longest > window / 2 {
            return refuse(format!(
                "gaps of up to {} tokens; wanted at most {}, half of this model's window",
                self.longest,
                window / 2
            ));
        }
        if let LengthPrior::Geometric { mean } = self.prior
            && !(mean > 0.0 && mean.is_finite())
        {
            return refuse(format!("gaps of {mean} tokens on average; wanted a finite number above 0"));
        }
        self.policy.map_or(Ok(()), Policy::validate)?;
        self.scored_by.map_or(Ok(()), |policy| policy.validate().and_then(|()| policy.check_likelihood()))
    }
}

/// Fills the gaps of some texts: for each its candidates, the best first. What a text's draws are depends on the seed and on its
/// number alone, the first of these being `first`. `progress` is told what is done of how much.
pub fn fill(
    denoiser: &mut Denoiser,
    config: &FillConfig,
    texts: &[Gapped],
    first: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Vec<Candidate>>> {
    let sight = Sight::of(denoiser, "fill a gap")?;
    config.validate(denoiser.config().sequence_len)?;
    check_resample(denoiser.process_config().family(), config.resample)?;
    let numbers = (u64::from(first) + texts.len() as u64).saturating_mul(config.tries as u64);
    if numbers > u64::from(u32::MAX) {
        return Err(Error::input(format!("{numbers} fills; numbers end at 2³²")));
    }
    let mut filler = Filler { denoiser, config, sight, first, progress };
    let beams = filler.lengths(texts)?;
    let mut found = vec![Vec::new(); texts.len()];
    // What is searched for shares batches with other lengths; what is drawn has numbers that follow one another, a length at a time.
    let slots = 0..beams.iter().map(Vec::len).max().unwrap_or(0);
    let held = slots.map(|slot| (0..texts.len()).filter(|&i| slot < beams[i].len()).map(|i| (i, slot)).collect());
    let mut held: Vec<Vec<(usize, usize)>> = held.collect();
    if filler.searches() {
        held = vec![held.concat()];
    }
    for held in held {
        let laid: Vec<Laid> = held.iter().map(|&(i, slot)| texts[i].laid_out(&beams[i][slot].lengths)).collect();
        let of: Vec<usize> = held.iter().map(|&(i, _)| i).collect();
        let fills = filler.fills(&of, &laid.iter().map(|laid| laid.tokens.clone()).collect::<Vec<_>>())?;
        for ((&(i, slot), laid), fills) in held.iter().zip(&laid).zip(fills) {
            let (lengths, all) = (&beams[i][slot], ln_sum(fills.iter().map(|fill| fill.1)));
            found[i].extend(fills.into_iter().map(|(tokens, ln_p)| Found {
                tokens,
                gaps: laid.gaps.clone(),
                score: lengths.score + ln_p,
                rank: lengths.rank + ln_p - all,
            }));
        }
    }
    let vocab = filler.denoiser.vocab().clone();
    let candidates = found.into_iter().map(|mut found: Vec<Found>| {
        found.sort_by(|a, b| b.rank.total_cmp(&a.rank));
        let all = ln_sum(found.iter().map(|found| found.rank));
        let of = |Found { tokens, gaps, score, rank }| Candidate {
            text: vocab.decode(&tokens),
            gaps: gaps.iter().map(|gap| vocab.decode(&tokens[gap.clone()])).collect(),
            lengths: gaps.iter().map(|gap| gap.len()).collect(),
            score,
            share: (rank - all).exp(),
        };
        found.into_iter().take(config.candidates).map(of).collect()
    });
    Ok(candidates.collect())
}

/// A filled text.
#[derive(Clone, Debug)]
struct Found {
    tokens: Vec<u32>,
    gaps: Vec<Range<usize>>,
    score: f64,
    /// ln of how probable its lengths are, and of its share of the fills that were tried of them.
    rank: f64,
}

/// The fills of a text with ln p from left to right and from right to left, as far as these are known.
type Directed = BTreeMap<Vec<u32>, [Option<f64>; 2]>;

/// Lengths of the gaps of a text that have none, from the first on.
#[derive(Clone, Debug)]
struct Lengths {
    lengths: Vec<usize>,
    /// ln of the prior, and of what the text says of them where that is not said again by its fills.
    score: f64,
    /// By which they are chosen.
    rank: f64,
}

struct Filler<'a> {
    denoiser: &'a mut Denoiser,
    config: &'a FillConfig,
    sight: Sight,
    first: u32,
    progress: &'a mut dyn FnMut(&str, usize, usize),
}

impl Filler<'_> {
    /// The most probable lengths of each text's unknown gaps.
    fn lengths(&mut self, texts: &[Gapped]) -> Result<Vec<Vec<Lengths>>> {
        let nothing = Lengths { lengths: Vec::new(), score: 0.0, rank: 0.0 };
        let mut beams = vec![vec![nothing]; texts.len()];
        let most = texts.iter().map(Gapped::unknown).max().unwrap_or(0);
        for gap in 0..most {
            (self.progress)("lengths", gap, most);
            let mut tried = Vec::new();
            for (i, beam) in beams.iter().enumerate().filter(|(i, _)| gap < texts[*i].unknown()) {
                for before in beam {
                    for length in 0..=self.config.longest {
                        let lengths = [&before.lengths[..], &[length]].concat();
                        let prior = self.config.prior.ln(length, self.config.longest);
                        tried.push((i, Lengths { lengths, score: before.score + prior, rank: before.rank + prior }));
                    }
                }
            }
            let laid: Vec<Laid> = tried.iter().map(|(i, lengths)| texts[*i].laid_out(&lengths.lengths)).collect();
            let evidence = match self.sight {
                Sight::Masks => self.what_follows(&laid)?,
                Sight::Blocks | Sight::Symbols => {
                    self.drawn_evidence(&tried.iter().map(|(i, _)| *i).collect::<Vec<_>>(), &laid)?
                }
            };
            let mut next: Vec<Vec<Lengths>> = vec![Vec::new(); texts.len()];
            for ((i, mut lengths), evidence) in tried.into_iter().zip(evidence) {
                lengths.rank += evidence;
                if self.sight == Sight::Masks {
                    lengths.score += evidence;
                }
                next[i].push(lengths);
            }
            for (beam, mut next) in beams.iter_mut().zip(next).filter(|(_, next)| !next.is_empty()) {
                next.sort_by(|a, b| b.rank.total_cmp(&a.rank));
                let best = next[0].rank;
                next.retain(|lengths| lengths.rank >= best - FAR_BEHIND);
                next.truncate(BEAM);
                *beam = next;
            }
        }
        Ok(beams)
    }

    /// The window around the last gap of a text whose length is tried: as much before and behind it whatever its length.
    fn around(&self, laid: &Laid) -> Window {
        let gap = laid.of_unknown.last().map_or(0..0, |&gap| laid.gaps[gap].clone());
        let (before, behind) = (gap.start, laid.tokens.len() - gap.end);
        let room = self.denoiser.config().sequence_len - self.config.longest;
        let left = before.min((room / 2).max(room.saturating_sub(behind)));
        let right = behind.min(room - left);
        Window { seen: gap.start - left..gap.end + right, own: gap.start..gap.end + right }
    }

    /// ln p of what is given behind the last gap of each text, with masks wherever something is open.
    fn what_follows(&mut self, laid: &[Laid]) -> Result<Vec<f64>> {
        let mask = self.denoiser.process().mask_id();
        let windows: Vec<Window> = laid.iter().map(|laid| self.around(laid)).collect();
        let mut starts = Vec::with_capacity(laid.len());
        let mut truth = Vec::with_capacity(laid.len());
        for (laid, window) in laid.iter().zip(&windows) {
            let gap = laid.of_unknown.last().map_or(0..0, |&gap| laid.gaps[gap].clone());
            // One for all lengths of a gap.
            let length = room(self.denoiser, window.seen.len() - gap.len() + self.config.longest);
            let near: Vec<usize> =
                (gap.end..window.seen.end).filter(|&p| laid.tokens[p].is_some()).take(NEAR).collect();
            let seen = |p: usize| if near.contains(&p) { None } else { laid.tokens[p].or(Some(mask)) };
            let mut start: Start = window.seen.clone().map(seen).collect();
            start.resize(length, Some(mask));
            let mut tokens: Vec<u32> = window.seen.clone().map(|p| laid.tokens[p].unwrap_or(mask)).collect();
            tokens.resize(length, mask);
            starts.push(start);
            truth.push(tokens);
        }
        // Every length in one order, whatever fills are scored by.
        ln_p(self.denoiser, &starts, &truth, Direction::LeftToRight)
    }

    /// The same of models without masks that stay, from fills; `of` are the texts that these belong to.
    fn drawn_evidence(&mut self, of: &[usize], laid: &[Laid]) -> Result<Vec<f64>> {
        let windows: Vec<Window> = laid.iter().map(|laid| self.around(laid)).collect();
        let cut = |(laid, window): (&Laid, &Window)| laid.tokens[window.seen.clone()].to_vec();
        let texts: Vec<Start> = laid.iter().zip(&windows).map(cut).collect();
        let written = self.written(of, &texts)?;
        let policy = self.config.scored_by.unwrap_or(Policy::top_k(1));
        let mut evidence = Vec::with_capacity(laid.len());
        for (written, (laid, window)) in written.iter().zip(laid.iter().zip(&windows)) {
            let gap_end = laid.of_unknown.last().map_or(0, |&gap| laid.gaps[gap].end) - window.seen.start;
            evidence.push(match self.sight {
                Sight::Symbols => {
                    let counted = vec![0..written[0].len(); written.len()];
                    let bounds = bound(self.denoiser, written, &counted, self.config.seed)?;
                    bounds.into_iter().fold(f64::NEG_INFINITY, f64::max)
                }
                _ => {
                    let given = vec![gap_end; written.len()];
                    let each = behind(self.denoiser, written, &given, policy)?;
                    ln_sum(each.into_iter()) - (written.len() as f64).ln()
                }
            });
        }
        Ok(evidence)
    }

    /// Whether fills are searched for and not drawn.
    fn searches(&self) -> bool {
        self.sight == Sight::Masks && self.config.policy.is_none()
    }

    /// The fills of each text, its tries, each with its score; `of` are the texts' places.
    fn fills(&mut self, of: &[usize], texts: &[Start]) -> Result<Vec<Scored>> {
        let found = if self.searches() {
            self.searched(texts)?
        } else {
            let unscored = |written: Vec<Vec<u32>>| written.into_iter().map(|fill| (fill, [None; 2])).collect();
            self.written(of, texts)?.into_iter().map(unscored).collect()
        };
        if let (Sight::Masks, None) = (self.sight, self.config.scored_by) {
            return self.means(texts, found);
        }
        let mut fills = Vec::with_capacity(texts.len());
        for (i, (start, found)) in texts.iter().zip(found).enumerate() {
            (self.progress)("scores", i, texts.len());
            let found: Vec<Vec<u32>> = found.into_keys().collect();
            let scores = self.scores(start, &found)?;
            fills.push(found.into_iter().zip(scores).collect());
        }
        Ok(fills)
    }

    /// What beams from both ends find of each text.
    fn searched(&mut self, texts: &[Start]) -> Result<Vec<Directed>> {
        let mut found = vec![Directed::new(); texts.len()];
        for direction in Direction::BOTH {
            (self.progress)("beams", direction as usize, Direction::BOTH.len());
            let beams = beams(self.denoiser, texts, direction, self.config.tries)?;
            for (found, beam) in found.iter_mut().zip(beams) {
                for (fill, ln_p) in beam {
                    found.entry(fill).or_default()[direction as usize] = Some(ln_p);
                }
            }
        }
        Ok(found)
    }

    /// Fills, each with the mean of its likelihoods in both directions, of which some are known.
    fn means(&mut self, texts: &[Start], mut found: Vec<Directed>) -> Result<Vec<Scored>> {
        for direction in Direction::BOTH {
            let mut unknown: Vec<(usize, Vec<u32>)> = Vec::new();
            for (i, found) in found.iter().enumerate() {
                let of = found.iter().filter(|(_, ln_p)| ln_p[direction as usize].is_none());
                unknown.extend(of.map(|(fill, _)| (i, fill.clone())));
            }
            (self.progress)("scores", direction as usize, Direction::BOTH.len());
            let sums = self.in_direction(texts, &unknown, direction)?;
            for ((i, fill), ln_p) in unknown.into_iter().zip(sums) {
                found[i].entry(fill).or_default()[direction as usize] = Some(ln_p);
            }
        }
        let mean = |(fill, ln_p): (Vec<u32>, [Option<f64>; 2])| (fill, ln_sum(ln_p.into_iter().flatten()) - LN_2);
        Ok(found.into_iter().map(|found| found.into_iter().map(mean).collect()).collect())
    }

    /// ln p of fills, each with its text's place, in one direction within each window.
    fn in_direction(&mut self, texts: &[Start], fills: &[(usize, Vec<u32>)], direction: Direction) -> Result<Vec<f64>> {
        let windows: Vec<Vec<Window>> =
            texts.iter().map(|text| open_windows(text, self.denoiser.config().sequence_len)).collect();
        let mut sums = vec![0.0; fills.len()];
        for round in 0..windows.iter().map(Vec::len).max().unwrap_or(0) {
            let held: Vec<usize> = (0..fills.len()).filter(|&i| round < windows[fills[i].0].len()).collect();
            let opened = held.iter().map(|&i| {
                let (text, fill) = &fills[i];
                self.opened(&texts[*text], fill, &windows[*text][round])
            });
            let (starts, truth): (Vec<Start>, Vec<Vec<u32>>) = opened.unzip();
            for (i, ln_p) in held.into_iter().zip(ln_p(self.denoiser, &starts, &truth, direction)?) {
                sums[i] += ln_p;
            }
        }
        Ok(sums)
    }

    /// What a model of masks reads of a filled text to be asked about what was open in a window, and what stands there. What stands
    /// before is filled already, and differs from fill to fill.
    fn opened(&self, start: &Start, fill: &[u32], window: &Window) -> (Start, Vec<u32>) {
        let known = |p: usize| (p < window.own.start).then(|| fill[p]).or(start[p]);
        let known: Start = (0..start.len()).map(known).collect();
        let read = input(self.denoiser, self.sight, &known, window);
        let token = |p: usize| fill.get(window.seen.start + p).copied().unwrap_or(0);
        let truth = (0..read.len()).map(token).collect();
        (read, truth)
    }

    /// The tries of each text.
    fn written(&mut self, of: &[usize], texts: &[Start]) -> Result<Vec<Vec<Vec<u32>>>> {
        let (config, tries) = (self.config, self.config.tries);
        let usual = FillConfig::usual_policy(self.denoiser.process_config().family());
        let policy = config.policy.unwrap_or(usual);
        let sampling = SampleConfig::new(policy, config.seed, self.denoiser.process_config());
        let sampling = SampleConfig { resample: config.resample, ..sampling };
        let (mut drafts, mut numbers) = (Vec::new(), Vec::new());
        for (&i, text) in of.iter().zip(texts) {
            for attempt in 0..tries {
                let temperature = if attempt == 0 { 0.0 } else { config.temperature };
                drafts.push(Draft { text: text.clone(), temperature });
                numbers.push((self.first + i as u32) * tries as u32 + attempt as u32);
            }
        }
        write_open(self.denoiser, self.sight, &sampling, &mut drafts, &numbers, self.progress)?;
        let whole: Vec<Vec<u32>> = drafts.into_iter().map(|draft| draft.text.into_iter().flatten().collect()).collect();
        Ok(whole.chunks(tries).map(<[Vec<u32>]>::to_vec).collect())
    }

    /// How probable the fills of one text are.
    fn scores(&mut self, start: &Start, written: &[Vec<u32>]) -> Result<Vec<f64>> {
        let policy = self.config.scored_by.unwrap_or(Policy::top_k(1));
        let mut scores = vec![0.0; written.len()];
        let windows = open_windows(start, self.denoiser.config().sequence_len);
        for (i, window) in windows.iter().enumerate() {
            let last = i + 1 == windows.len();
            let end = if last { window.seen.end } else { window.own.end };
            let texts: Vec<Vec<u32>> = written.iter().map(|text| text[window.seen.start..end].to_vec()).collect();
            let found = match self.sight {
                Sight::Masks => {
                    let opened = written.iter().map(|fill| self.opened(start, fill, window));
                    let (starts, truth): (Vec<Start>, Vec<Vec<u32>>) = opened.unzip();
                    revealed(self.denoiser, &starts, &truth, policy)?
                }
                Sight::Blocks => {
                    let open = window.own.clone().find(|&p| start[p].is_none()).unwrap_or(end);
                    let given = vec![open - window.seen.start; texts.len()];
                    behind(self.denoiser, &texts, &given, policy)?
                }
                Sight::Symbols => {
                    let counted = vec![window.own.start - window.seen.start..texts[0].len(); texts.len()];
                    bound(self.denoiser, &texts, &counted, self.config.seed)?
                }
            };
            scores.iter_mut().zip(found).for_each(|(score, found)| *score += found);
        }
        Ok(scores)
    }
}

/// ln Σ exp.
fn ln_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY { most } else { most + logs.map(|x| (x - most).exp()).sum::<f64>().ln() }
}
