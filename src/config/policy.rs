//! Which predictions a denoising step commits: one type, and one spelling, for every command.

use super::Schedule;
use crate::error::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which predictions a step commits. Written `threshold:0.9`, `top-k:4`, `ancestral:64`, `ancestral:64:linear`. A number
/// that is left out follows from the text's length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// All whose probability is at least this, and always the most probable (Fast-dLLM, Wu et al. 2025).
    Threshold(f32),
    /// The k most probable (LLaDA, Nie et al. 2025); a tenth of the text where nothing is said.
    TopK(Option<u32>),
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

    /// The name without its numbers.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Threshold(_) => "threshold",
            Policy::TopK(_) => "top-k",
            Policy::Ancestral { .. } => "ancestral",
        }
    }

    /// The same with all of its numbers, for texts of `length` tokens.
    pub fn for_length(self, length: usize) -> Self {
        let whole = |n: Option<u32>, length: usize| n.or(Some(length.max(1) as u32));
        match self {
            Policy::Threshold(_) => self,
            Policy::TopK(k) => Policy::TopK(whole(k, length / 10)),
            Policy::Ancestral { steps, schedule } => Policy::Ancestral { steps: whole(steps, length), schedule },
        }
    }

    /// What a step commits of a text of `length` tokens: all whose probability is at least the first, and as many of the most
    /// probable as the second says.
    pub fn commits(self, length: usize) -> (f32, usize) {
        match self.for_length(length) {
            Policy::Threshold(least) => (least, 1),
            Policy::TopK(k) => (f32::INFINITY, k.map_or(length, |k| length.min(k as usize))),
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
            Policy::Threshold(least) if !(0.0..=1.0).contains(&least) => "a threshold of 0 to 1",
            Policy::TopK(Some(0)) => "at least 1 token a step",
            Policy::Ancestral { steps: Some(0), .. } => "at least 1 step",
            _ => return Ok(()),
        };
        Err(Error::input(format!("the sampler is {self}; wanted {wanted}")))
    }

    fn read(text: &str) -> Option<Self> {
        let (name, numbers) = text.split_once(':').map_or((text, None), |(name, numbers)| (name, Some(numbers)));
        match name {
            "threshold" => numbers.map_or(Some(Policy::SURE), |p| p.parse().ok()).map(Policy::Threshold),
            "top-k" => numbers.map(|k| k.parse().ok()).map_or(Some(None), |k| k.map(Some)).map(Policy::TopK),
            "ancestral" => {
                let (mut steps, mut parts) = (None, numbers.into_iter().flat_map(|n| n.split(':')).peekable());
                if let Some(n) = parts.peek().and_then(|part| part.parse().ok()) {
                    (steps, _) = (Some(n), parts.next());
                }
                let schedule = parts.next().map_or(Some(Schedule::Cosine), |s| Schedule::from_str(s, false).ok())?;
                parts.next().is_none().then_some(Policy::Ancestral { steps, schedule })
            }
            _ => None,
        }
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
            Policy::Threshold(least) => write!(f, ":{least}"),
            Policy::TopK(k) => k.map_or(Ok(()), |k| write!(f, ":{k}")),
            Policy::Ancestral { steps, schedule } => {
                steps.map_or(Ok(()), |steps| write!(f, ":{steps}"))?;
                if schedule == Schedule::Cosine { Ok(()) } else { write!(f, ":{schedule}") }
            }
        }
    }
}

stored_as_text!(Policy);
