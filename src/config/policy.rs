//! Which predictions a denoising step commits: one type, and one spelling, for every command.

use super::Schedule;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Peekable;
use std::str::{FromStr, Split};

/// How sure a prediction of a position is, by which positions are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Score {
    /// The probability of the most probable symbol: a function of p alone, whichever symbol is then drawn from p.
    Max,
    /// The probability of the symbol that was drawn there (LLaDA, Nie et al. 2025): what is drawn decides what is kept, so
    /// the law of the texts is none that can be added up.
    Candidate,
}

/// Which predictions a step commits. Written `threshold:0.9`, `top-k:4`, `top-k:4:candidate`, `ancestral:64`,
/// `ancestral:64:linear`. A number that is left out follows from the text's length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// All whose score is at least this, and always the best (Fast-dLLM, Wu et al. 2025).
    Threshold(f32, Score),
    /// The k best (LLaDA, Nie et al. 2025); a tenth of the text where nothing is said.
    TopK(Option<u32>, Score),
    /// Each by the lot that reverses the noise, in a fixed number of steps (MDLM, Sahoo et al. 2024). The only one that
    /// draws from the model's own distribution.
    Ancestral {
        /// Steps, as many as tokens where nothing is said; the last one commits all that is left.
        steps: Option<u32>,
        /// How much noise each step takes away.
        schedule: Schedule,
    },
}

impl Policy {
    const SURE: f32 = 0.9;

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
            Policy::Threshold(..) => "threshold",
            Policy::TopK(..) => "top-k",
            Policy::Ancestral { .. } => "ancestral",
        }
    }

    /// The same with all of its numbers, for texts of `length` tokens.
    pub fn for_length(self, length: usize) -> Self {
        let whole = |n: Option<u32>, length: usize| n.or(Some(length.max(1) as u32));
        match self {
            Policy::Threshold(..) => self,
            Policy::TopK(k, score) => Policy::TopK(whole(k, length / 10), score),
            Policy::Ancestral { steps, schedule } => Policy::Ancestral { steps: whole(steps, length), schedule },
        }
    }

    /// By what positions are ranked.
    pub fn score(self) -> Score {
        match self {
            Policy::Threshold(_, score) | Policy::TopK(_, score) => score,
            Policy::Ancestral { .. } => Score::Max,
        }
    }

    /// What a step commits of a text of `length` tokens: all whose score is at least the first, and as many of the best as the
    /// second says.
    pub fn commits(self, length: usize) -> (f32, usize) {
        match self.for_length(length) {
            Policy::Threshold(least, _) => (least, 1),
            Policy::TopK(k, _) => (f32::INFINITY, k.map_or(length, |k| length.min(k as usize))),
            Policy::Ancestral { .. } => (f32::INFINITY, 0),
        }
    }

    /// And beside them each with this probability in step `step`, from 0.
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

    /// Refuses one that gets nowhere.
    pub fn validate(self) -> Result<()> {
        let wanted = match self {
            Policy::Threshold(least, _) if !(0.0..=1.0).contains(&least) => "a threshold of 0 to 1",
            Policy::TopK(Some(0), _) => "at least 1 token a step",
            Policy::Ancestral { steps: Some(0), .. } => "at least 1 step",
            _ => return Ok(()),
        };
        Err(Error::input(format!("the sampler is {self}; wanted {wanted}")))
    }

    /// Refuses one without a likelihood: where chance, or what was drawn, decides which positions are committed, a text can
    /// come about in more ways than can be added up.
    pub fn check_likelihood(self) -> Result<()> {
        let why = match self {
            Policy::Ancestral { .. } => "is random and has no exact likelihood; its bound is the NELBO".to_owned(),
            Policy::Threshold(_, Score::Candidate) | Policy::TopK(_, Score::Candidate) => {
                let ranked = self.ranked_by(Score::Max);
                format!(
                    "commits by what was drawn and has no exact likelihood; {ranked} commits by probabilities and has one"
                )
            }
            Policy::Threshold(..) | Policy::TopK(..) => return Ok(()),
        };
        Err(Error::input(format!("{self} {why}")))
    }

    fn ranked_by(self, score: Score) -> Self {
        match self {
            Policy::Threshold(least, _) => Policy::Threshold(least, score),
            Policy::TopK(k, _) => Policy::TopK(k, score),
            Policy::Ancestral { .. } => self,
        }
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = Words(text.split(':').peekable());
        let policy = match words.0.next()? {
            "threshold" => {
                let least = words.number().unwrap_or(Policy::SURE);
                Policy::Threshold(least, words.choice().unwrap_or(Score::Max))
            }
            "top-k" => Policy::TopK(words.number(), words.choice().unwrap_or(Score::Max)),
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
                "{text:?} is no sampler; wanted threshold, top-k or ancestral, as in threshold:0.9, top-k:4, ancestral:64 or \
                 ancestral:64:linear"
            ))
        })?;
        policy.validate().map(|()| policy)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match *self {
            Policy::Threshold(least, _) => write!(f, ":{least}"),
            Policy::TopK(k, _) => k.map_or(Ok(()), |k| write!(f, ":{k}")),
            Policy::Ancestral { steps, .. } => steps.map_or(Ok(()), |steps| write!(f, ":{steps}")),
        }?;
        match *self {
            Policy::Threshold(_, Score::Max) | Policy::TopK(_, Score::Max) => Ok(()),
            Policy::Threshold(_, score) | Policy::TopK(_, score) => write!(f, ":{score}"),
            Policy::Ancestral { schedule: Schedule::Cosine, .. } => Ok(()),
            Policy::Ancestral { schedule, .. } => write!(f, ":{schedule}"),
        }
    }
}

stored_as_text!(Policy);
