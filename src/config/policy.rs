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
}

impl Policy {
    const SURE: f32 = 0.9;
    const CERTAIN_NATS: f32 = 0.1;
    const FACTOR: f32 = 1.0;
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
        }
    }

    /// The same with all of its numbers, for texts of `length` tokens.
    pub fn for_length(self, length: usize) -> Self {
        let whole = |n: Option<u32>, length: usize| n.or(Some(length.max(1) as u32));
        match self {
            Policy::TopK(k, score) => Policy::TopK(whole(k, length / 10), score),
            Policy::Ancestral { steps, schedule } => Policy::Ancestral { steps: whole(steps, length), schedule },
            Policy::Threshold(..) | Policy::Factor(..) | Policy::EntropyBounded(_) => self,
        }
    }

    /// By what positions are ranked.
    pub fn score(self) -> Score {
        match self {
            Policy::Threshold(_, score) | Policy::TopK(_, score) | Policy::Factor(_, score) => score,
            Policy::EntropyBounded(_) => Score::Entropy,
            Policy::Ancestral { .. } => Score::Max,
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
            Policy::Ancestral { .. } => (f32::INFINITY, Quota::Best(0)),
        }
    }

    /// Whether lots alone decide which positions a step commits, so that they are known before the model is asked.
    pub fn is_by_lot(self) -> bool {
        matches!(self, Policy::Ancestral { .. })
    }

    /// The probability with which each is committed in step `step`, from 0, beside what [`Policy::commits`] says.
    pub fn reveal(self, step: u32, length: usize) -> f64 {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), schedule } if step < steps => schedule.reveal(steps - step, steps),
            _ => 0.0,
        }
    }

    /// Most steps for a text of `length` tokens, `open` of them unknown: all but lots commit one at least in every step.
    pub fn steps(self, length: usize, open: u32) -> u32 {
        match self.for_length(length) {
            Policy::Ancestral { steps: Some(steps), .. } => steps,
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
            Policy::Ancestral { steps: Some(0), .. } => "at least 1 step",
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
            Policy::EntropyBounded(_) | Policy::Ancestral { .. } => self,
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
            _ => return None,
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
                "{text:?} is no sampler; wanted threshold, top-k, factor, entropy-bounded, first-hitting or ancestral, as in \
                 threshold:0.9, top-k:4, top-k:4:margin or ancestral:64:linear"
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
            Policy::TopK(n, _) | Policy::Ancestral { steps: n, .. } => n.map_or(Ok(()), |n| write!(f, ":{n}")),
        }?;
        match *self {
            Policy::Ancestral { schedule: Schedule::Cosine, .. } | Policy::EntropyBounded(_) => Ok(()),
            Policy::Ancestral { schedule, .. } => write!(f, ":{schedule}"),
            _ if self.score() == Score::Max => Ok(()),
            _ => write!(f, ":{}", self.score()),
        }
    }
}

stored_as_text!(Policy);
