//! Which predictions a denoising step commits: one type, and one spelling, for every command.

use super::Schedule;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Peekable;
use std::str::{FromStr, Split};

/// How sure a prediction of a position is, by which positions are ranked: a function of its distribution p alone, but for the
/// last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Score {
    /// The probability of the most probable symbol.
    Max,
    /// How far it is ahead of the second (Kim et al. 2025).
    Margin,
    /// The negative entropy in nats: 0 is certain.
    Entropy,
    /// The probability of the symbol that was drawn there (LLaDA, Nie et al. 2025): what is drawn decides what is kept, so
    /// the law of the texts is none that can be added up.
    Candidate,
    /// A lot: every position is as likely as every other.
    Random,
}

impl Score {
    /// The score that has a number, its place among them.
    pub fn numbered(number: f32) -> Self {
        Score::value_variants()[number as usize]
    }

    /// Whether nothing but p decides.
    fn is_of_p(self) -> bool {
        !matches!(self, Score::Candidate | Score::Random)
    }
}

/// How many of the best a step commits at least, of what is not sure enough by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quota {
    /// So many.
    Best(usize),
    /// Rank after rank, r = 1, 2, …, while the score is at least 1 - φ/(r+1); the first always.
    Factor(f32),
    /// Rank after rank while the entropies of those before add up to at most γ nats.
    EntropyBound(f32),
}

/// With what probability σ a step takes back what was committed (ReMDM, Wang et al. 2025): at most
/// σ_max = min(1, (1 - α_s)/α_t), with which every step still has its share of masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Remasking {
    /// σ = min(η, σ_max).
    Cap,
    /// σ = η·σ_max.
    Rescale,
    /// σ_max in all, shared out: the less sure the model was of a token when it was written, the larger its share, which is the
    /// softmax of -p over all that were written. Of what stays masked σ is 0.
    Confidence,
    /// Writes nine tenths of the text, holds them for half of the steps with σ = min(η, σ_max), then writes the rest.
    Loop,
}

impl Remasking {
    fn name(self) -> &'static str {
        match self {
            Remasking::Cap => "remdm-cap",
            Remasking::Rescale => "remdm-rescale",
            Remasking::Confidence => "remdm-confidence",
            Remasking::Loop => "remdm-loop",
        }
    }

    /// The η where none is said: the largest of the paper's settings; of shares, which have none there, 1.
    fn eta(self) -> f32 {
        if self == Remasking::Confidence { 1.0 } else { 0.04 }
    }

    /// What is held of the text's masks, and from which time to which.
    const HELD: f64 = 0.1;
    const HOLD: [f64; 2] = [0.55, 0.05];

    /// Mask rate after `i` of `steps` steps of the time, 1 at `steps`.
    fn rate_at(self, schedule: Schedule, i: u32, steps: u32) -> f64 {
        let (time, [on, off]) = (f64::from(i) / f64::from(steps), Remasking::HOLD);
        match self {
            Remasking::Cap | Remasking::Rescale | Remasking::Confidence => schedule.rate_at(i, steps),
            Remasking::Loop if time > on => Remasking::HELD + (1.0 - Remasking::HELD) * (time - on) / (1.0 - on),
            Remasking::Loop => Remasking::HELD * (time / off).min(1.0),
        }
    }

    /// Of the step from mask rate `from` to `to`.
    fn sigma(self, eta: f64, from: f64, to: f64) -> f64 {
        let most = if from < 1.0 { (to / (1.0 - from)).min(1.0) } else { 1.0 };
        match self {
            Remasking::Cap => eta.min(most),
            Remasking::Rescale | Remasking::Confidence => eta * most,
            Remasking::Loop => {
                if from == to {
                    eta.min(most)
                } else {
                    0.0
                }
            }
        }
    }
}

/// Which predictions a step commits. Written `threshold:0.9`, `top-k:4:margin`, `factor:1`, `entropy-bounded:0.1`,
/// `first-hitting`, `ancestral:64:linear`. What is left out follows from the text's length, or is the usual.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// All whose score is at least this, and always the best (Fast-dLLM, Wu et al. 2025). By entropy: at most this many nats.
    Threshold(f32, Score),
    /// The k best (LLaDA, Nie et al. 2025); a tenth of the text where nothing is said. One at random is first-hitting
    /// sampling (Zheng et al. 2024): ancestral in infinitely many steps, without those in which nothing happens.
    TopK(Option<u32>, Score),
    /// The best, and further ones while rank r's probability is at least 1 - φ/(r+1) (Fast-dLLM's factor, Wu et al. 2025).
    Factor(f32, Score),
    /// The most certain, and further ones while the entropies of those before add up to at most γ nats (EB-sampler, Ben-Hamu
    /// et al. 2025).
    EntropyBounded(f32),
    /// Each by the lot that reverses the noise, in a fixed number of steps (MDLM, Sahoo et al. 2024): a draw from the model's
    /// own distribution.
    Ancestral {
        /// Steps, as many as tokens where nothing is said; the last one commits all that is left.
        steps: Option<u32>,
        /// How much noise each step takes away.
        schedule: Schedule,
    },
    /// Ancestral, but what was committed may be taken back and written anew (ReMDM, Wang et al. 2025).
    Remdm {
        /// With what probability,
        rule: Remasking,
        /// and with which η.
        eta: f32,
        /// As of [`Policy::Ancestral`].
        steps: Option<u32>,
        /// As of [`Policy::Ancestral`]; a loop has its own grid.
        schedule: Schedule,
    },
    /// Steps of Gaussian noise with only so much of the noise of ancestral ones, which have η = 1 (DDIM, Song et al. 2021): at 0 all
    /// that is random is what a text begins with.
    Ddim {
        /// As of [`Policy::Ancestral`].
        steps: Option<u32>,
        /// η.
        eta: f32,
        /// As of [`Policy::Ancestral`].
        schedule: Schedule,
    },
}

impl Policy {
    const SURE: f32 = 0.9;
    const CERTAIN_NATS: f32 = 0.1;
    const FACTOR: f32 = 1.0;
    /// What samples where nothing is said: in as many steps as a text has tokens, along the cosine schedule.
    pub const ANCESTRAL: Policy = Policy::Ancestral { steps: None, schedule: Schedule::Cosine };
    const FIRST_HITTING: Policy = Policy::TopK(Some(1), Score::Random);

    /// The k whose most probable symbol is most probable.
    pub const fn top_k(k: u32) -> Self {
        Policy::TopK(Some(k), Score::Max)
    }

    /// All whose most probable symbol has this probability at least.
    pub const fn threshold(least: f32) -> Self {
        Policy::Threshold(least, Score::Max)
    }

    /// The name without its numbers.
    pub fn name(self) -> &'static str {
        match self {
            Policy::FIRST_HITTING => "first-hitting",
            Policy::Threshold(..) => "threshold",
            Policy::TopK(..) => "top-k",
            Policy::Factor(..) => "factor",
            Policy::EntropyBounded(_) => "entropy-bounded",
            Policy::Ancestral { .. } => "ancestral",
            Policy::Remdm { rule, .. } => rule.name(),
            Policy::Ddim { eta: 1.0, .. } => "ddpm",
            Policy::Ddim { .. } => "ddim",
        }
    }

    /// The same with all of its numbers, for texts of `length` tokens.
    pub fn for_length(self, length: usize) -> Self {
        let whole = |n: Option<u32>, length: usize| n.or(Some(length.max(1) as u32));
        match self {
            Policy::TopK(k, score) => Policy::TopK(whole(k, length / 10), score),
            Policy::Ancestral { steps, schedule } => Policy::Ancestral { steps: whole(steps, length), schedule },
            Policy::Remdm { rule, eta, steps, schedule } => {
                Policy::Remdm { rule, eta, steps: whole(steps, length), schedule }
            }
            Policy::Ddim { steps, eta, schedule } => Policy::Ddim { steps: whole(steps, length), eta, schedule },
            Policy::Threshold(..) | Policy::Factor(..) | Policy::EntropyBounded(_) => self,
        }
    }

    /// By what positions are ranked.
    pub fn score(self) -> Score {
        match self {
            Policy::Threshold(_, score) | Policy::TopK(_, score) | Policy::Factor(_, score) => score,
            Policy::EntropyBounded(_) => Score::Entropy,
            Policy::Remdm { rule: Remasking::Confidence, .. } => Score::Candidate,
            Policy::Ancestral { .. } | Policy::Remdm { .. } | Policy::Ddim { .. } => Score::Max,
        }
    }

    /// What a step commits of a text of `length` tokens: all whose score is at least the first, and a quota of the best.
    pub fn commits(self, length: usize) -> (f32, Quota) {
        match self.for_length(length) {
            Policy::Threshold(most, Score::Entropy) => (-most, Quota::Best(1)),
            Policy::Threshold(least, _) => (least, Quota::Best(1)),
            Policy::TopK(k, _) => (f32::INFINITY, Quota::Best(k.map_or(length, |k| length.min(k as usize)))),
            Policy::Factor(phi, _) => (f32::INFINITY, Quota::Factor(phi)),
            Policy::EntropyBounded(gamma) => (f32::INFINITY, Quota::EntropyBound(gamma)),
            Policy::Ancestral { .. } | Policy::Remdm { .. } | Policy::Ddim { .. } => (f32::INFINITY, Quota::Best(0)),
        }
    }

    /// Whether a committed token stays, so that a text without masks is finished.
    pub fn keeps(self) -> bool {
        !matches!(self, Policy::Remdm { .. })
    }

    /// Whether lots alone decide which positions a step commits for good, so that they are known before the model is asked.
    pub fn is_by_lot(self) -> bool {
        matches!(self, Policy::Ancestral { .. })
    }

    /// The probability with which each is committed in step `step`, from 0, beside what [`Policy::commits`] says.
    pub fn reveal(self, step: u32, length: usize) -> f64 {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), schedule } if step < steps => schedule.reveal(steps - step, steps),
            Policy::Remdm { rule, eta, steps: Some(steps), schedule } if step < steps => {
                let [from, to] = [steps - step, steps - step - 1].map(|i| rule.rate_at(schedule, i, steps));
                // What takes back by shares takes nothing from what stays masked.
                let sigma = if rule == Remasking::Confidence { 0.0 } else { rule.sigma(eta.into(), from, to) };
                1.0 - (to - sigma * (1.0 - from)) / from
            }
            _ => 0.0,
        }
    }

    /// The probability with which a committed one is taken back in that step; with a score of [`Score::Candidate`] of all together,
    /// of which each has a share.
    pub fn remask(self, step: u32, length: usize) -> f64 {
        match self.for_length(length) {
            Policy::Remdm { rule, eta, steps: Some(steps), schedule } if step < steps => {
                let [from, to] = [steps - step, steps - step - 1].map(|i| rule.rate_at(schedule, i, steps));
                rule.sigma(eta.into(), from, to)
            }
            _ => 0.0,
        }
    }

    /// The noise rates before and behind step `step`, from 0, of a policy that takes noise away: both 0 of another, or behind its
    /// last step.
    pub fn noise_rates(self, step: u32, length: usize) -> [f64; 2] {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), schedule } if step < steps => {
                [steps - step, steps - step - 1].map(|i| schedule.rate_at(i, steps))
            }
            _ => [0.0, 0.0],
        }
    }

    /// What reverses Gaussian noise: how many steps, its η and its grid; none of another.
    pub fn of_vectors(self, length: usize) -> Option<(u32, f32, Schedule)> {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), schedule } => Some((steps, 1.0, schedule)),
            Policy::Ddim { steps: Some(steps), eta, schedule } => Some((steps, eta, schedule)),
            _ => None,
        }
    }

    /// Most steps for a text of `length` tokens, `open` of them unknown: all but lots commit one at least in every step.
    pub fn steps(self, length: usize, open: u32) -> u32 {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), .. }
            | Policy::Remdm { steps: Some(steps), .. }
            | Policy::Ddim { steps: Some(steps), .. } => steps,
            _ => open,
        }
    }

    /// Refuses one that gets nowhere, or means nothing.
    pub fn validate(self) -> Result<()> {
        let wanted = match self {
            Policy::Threshold(_, Score::Random) => "a threshold of max, margin, entropy or candidate",
            Policy::Threshold(most, Score::Entropy) if !(0.0..f32::INFINITY).contains(&most) => {
                "a threshold of 0 nats or more"
            }
            Policy::Threshold(least, score) if score != Score::Entropy && !(0.0..=1.0).contains(&least) => {
                "a threshold of 0 to 1"
            }
            Policy::TopK(Some(0), _) => "at least 1 token a step",
            Policy::Factor(phi, _) if !(0.0..f32::INFINITY).contains(&phi) => "a factor of 0 or more",
            Policy::Factor(_, Score::Margin | Score::Entropy | Score::Random) => "a factor of max or candidate",
            Policy::EntropyBounded(gamma) if !(0.0..f32::INFINITY).contains(&gamma) => "a bound of 0 nats or more",
            Policy::Ancestral { steps: Some(0), .. }
            | Policy::Remdm { steps: Some(0), .. }
            | Policy::Ddim { steps: Some(0), .. } => "at least 1 step",
            Policy::Remdm { eta, .. } | Policy::Ddim { eta, .. } if !(0.0..=1.0).contains(&eta) => "an eta of 0 to 1",
            Policy::Remdm { rule: Remasking::Loop, schedule, .. } if schedule != Schedule::Cosine => {
                "no schedule, a loop has its own"
            }
            _ => return Ok(()),
        };
        Err(Error::input(format!("the sampler is {self}; wanted {wanted}")))
    }

    /// Refuses one without a likelihood: where chance, or what was drawn, decides which positions are committed, a text can
    /// come about in more ways than can be added up.
    pub fn check_likelihood(self) -> Result<()> {
        let why = match self {
            Policy::Ancestral { .. } | Policy::FIRST_HITTING => {
                "is random and has no exact likelihood; its bound is the NELBO".to_owned()
            }
            Policy::Remdm { .. } => {
                "takes back what it wrote and has no exact likelihood; ancestral has a bound".to_owned()
            }
            Policy::Ddim { .. } => {
                "is of Gaussian noise and has no exact likelihood; its bound is the NELBO".to_owned()
            }
            _ if self.score().is_of_p() => return Ok(()),
            _ => format!(
                "commits by {} and has no exact likelihood; {} commits by probabilities and has one",
                if self.score() == Score::Random { "lot" } else { "what was drawn" },
                self.ranked_by(Score::Max)
            ),
        };
        Err(Error::input(format!("{self} {why}")))
    }

    fn ranked_by(self, score: Score) -> Self {
        match self {
            Policy::Threshold(least, _) => Policy::Threshold(least, score),
            Policy::TopK(k, _) => Policy::TopK(k, score),
            Policy::Factor(phi, _) => Policy::Factor(phi, score),
            Policy::EntropyBounded(_) | Policy::Ancestral { .. } | Policy::Remdm { .. } | Policy::Ddim { .. } => self,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = Words(text.split(':').peekable());
        let policy = match words.0.next()? {
            "threshold" => {
                let (number, score) = (words.number(), words.choice().unwrap_or(Score::Max));
                let usual = if score == Score::Entropy { Policy::CERTAIN_NATS } else { Policy::SURE };
                Policy::Threshold(number.unwrap_or(usual), score)
            }
            "top-k" => Policy::TopK(words.number(), words.choice().unwrap_or(Score::Max)),
            "factor" => {
                let phi = words.number().unwrap_or(Policy::FACTOR);
                Policy::Factor(phi, words.choice().unwrap_or(Score::Max))
            }
            "entropy-bounded" => Policy::EntropyBounded(words.number().unwrap_or(Policy::CERTAIN_NATS)),
            "first-hitting" => Policy::FIRST_HITTING,
            "ancestral" => {
                let steps = words.number();
                Policy::Ancestral { steps, schedule: words.choice().unwrap_or(Schedule::Cosine) }
            }
            name @ ("ddim" | "ddpm") => {
                let steps = words.number();
                let eta = if name == "ddpm" { 1.0 } else { words.number().unwrap_or(0.0) };
                Policy::Ddim { steps, eta, schedule: words.choice().unwrap_or(Schedule::Linear) }
            }
            name => {
                let rule = Remasking::value_variants().iter().copied().find(|rule| rule.name() == name)?;
                let (eta, steps) = (words.number().unwrap_or(rule.eta()), words.number());
                Policy::Remdm { rule, eta, steps, schedule: words.choice().unwrap_or(Schedule::Cosine) }
            }
        };
        words.0.next().is_none().then_some(policy)
    }
}

/// The words of a policy behind its name; each may be left out.
struct Words<'a>(Peekable<Split<'a, char>>);

impl Words<'_> {
    fn take<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let taken = self.0.peek().and_then(|word| read(word));
        taken.inspect(|_| _ = self.0.next())
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.take(|word| word.parse().ok())
    }

    fn choice<T: ValueEnum>(&mut self) -> Option<T> {
        self.take(|word| T::from_str(word, false).ok())
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let policy = Policy::read(text).ok_or_else(|| {
            Error::input(format!(
                "{text:?} is no sampler; wanted threshold, top-k, factor, entropy-bounded, first-hitting, ancestral, \
                 remdm-cap, remdm-rescale, remdm-confidence, remdm-loop, ddpm or ddim, as in threshold:0.9, top-k:4, top-k:4:margin, ancestral:64:linear or ddim:20:0.5"
            ))
        })?;
        policy.validate().map(|()| policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match *self {
            Policy::FIRST_HITTING => return Ok(()),
            Policy::Threshold(x, _) | Policy::Factor(x, _) | Policy::EntropyBounded(x) => write!(f, ":{x}"),
            Policy::Remdm { eta, steps: Some(steps), .. } => write!(f, ":{eta}:{steps}"),
            Policy::Remdm { eta, .. } => write!(f, ":{eta}"),
            Policy::Ddim { steps, eta, .. } => {
                let steps = steps.map_or(Ok(()), |n| write!(f, ":{n}"));
                steps.and(if eta > 0.0 && eta < 1.0 { write!(f, ":{eta}") } else { Ok(()) })
            }
            Policy::TopK(n, _) | Policy::Ancestral { steps: n, .. } => n.map_or(Ok(()), |n| write!(f, ":{n}")),
        }?;
        match *self {
            Policy::Ancestral { schedule, .. } | Policy::Remdm { schedule, .. } => match schedule {
                Schedule::Cosine => Ok(()),
                schedule => write!(f, ":{schedule}"),
            },
            Policy::Ddim { schedule: Schedule::Linear, .. } | Policy::EntropyBounded(_) => Ok(()),
            Policy::Ddim { schedule, .. } => write!(f, ":{schedule}"),
            _ if self.score() == Score::Max => Ok(()),
            _ => write!(f, ":{}", self.score()),
        }
    }
}

stored_as_text!(Policy);
