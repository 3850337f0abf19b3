//! Which predictions a denoising step commits: one type, and one spelling, for every command.

use super::Schedule;
use crate::error::{Error, Result};
use clap::ValueEnum;
use std::fmt;

/// Which predictions a step commits. Written `threshold:0.9`, `top-k:4`, `ancestral:64`, `ancestral:64:linear`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// All whose probability is at least this, and always the most probable (Fast-dLLM, Wu et al. 2025).
    Threshold(f32),
    /// The k most probable (LLaDA, Nie et al. 2025).
    TopK(u32),
    /// Each by the lot that reverses the noise, in a fixed number of steps (MDLM, Sahoo et al. 2024). The only one that
    /// draws from the model's own distribution.
    Ancestral {
        /// Steps; the last one commits all that is left.
        steps: u32,
        /// How much noise each step takes away.
        schedule: Schedule,
    },
}

impl Sampler {
    /// A sampler as it is written; what is left out is chosen for texts of `length` tokens: a threshold of 0.9, a tenth of
    /// the text a step, as many steps as tokens by a cosine.
    pub fn parse(text: &str, length: usize) -> Result<Self> {
        let mut parts = text.split(':');
        let (name, number, schedule) = (parts.next(), parts.next(), parts.next());
        let whole = |default: usize| number.map_or(Some(default.max(1) as u32), |n| n.parse().ok());
        let sampler = match (name, parts.next()) {
            (Some("threshold"), None) if schedule.is_none() => {
                number.map_or(Some(0.9), |p| p.parse().ok()).map(Sampler::Threshold)
            }
            (Some("top-k"), None) if schedule.is_none() => whole(length / 10).map(Sampler::TopK),
            (Some("ancestral"), None) => {
                let schedule = schedule.map_or(Some(Schedule::Cosine), |name| Schedule::from_str(name, false).ok());
                whole(length).zip(schedule).map(|(steps, schedule)| Sampler::Ancestral { steps, schedule })
            }
            _ => None,
        };
        sampler.ok_or_else(|| {
            Error::input(format!(
                "{text:?} is no sampler; wanted threshold, top-k or ancestral, as in threshold:0.9, top-k:4, ancestral:64 or \
                 ancestral:64:linear"
            ))
        })
    }

    /// The name without its numbers.
    pub fn name(self) -> &'static str {
        match self {
            Sampler::Threshold(_) => "threshold",
            Sampler::TopK(_) => "top-k",
            Sampler::Ancestral { .. } => "ancestral",
        }
    }

    /// Refuses one that gets nowhere.
    pub fn validate(self) -> Result<()> {
        let wanted = match self {
            Sampler::Threshold(least) if !(0.0..=1.0).contains(&least) => "a threshold of 0 to 1",
            Sampler::TopK(0) => "at least 1 token a step",
            Sampler::Ancestral { steps: 0, .. } => "at least 1 step",
            _ => return Ok(()),
        };
        Err(Error::input(format!("the sampler is {self}; wanted {wanted}")))
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Sampler::Threshold(least) => write!(f, "{name}:{least}"),
            Sampler::TopK(k) => write!(f, "{name}:{k}"),
            Sampler::Ancestral { steps, schedule: Schedule::Cosine } => write!(f, "{name}:{steps}"),
            Sampler::Ancestral { steps, schedule } => {
                let value = schedule.to_possible_value().expect("every schedule can be asked for");
                write!(f, "{name}:{steps}:{}", value.get_name())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampler_is_read_as_it_is_written() {
        let all = [
            Sampler::Threshold(0.9),
            Sampler::Threshold(0.0),
            Sampler::TopK(4),
            Sampler::Ancestral { steps: 64, schedule: Schedule::Cosine },
            Sampler::Ancestral { steps: 7, schedule: Schedule::LogLinear },
        ];
        for sampler in all {
            assert_eq!(Sampler::parse(&sampler.to_string(), 1).unwrap(), sampler, "{sampler}");
            sampler.validate().unwrap();
        }
        assert_eq!(
            all.map(|s| s.to_string()).join(" "),
            "threshold:0.9 threshold:0 top-k:4 ancestral:64 ancestral:7:log-linear"
        );
    }

    #[test]
    fn what_is_left_out_is_chosen_by_the_length() {
        let parse = |text: &str, length| Sampler::parse(text, length).unwrap();
        assert_eq!(parse("threshold", 128), Sampler::Threshold(0.9));
        assert_eq!((parse("top-k", 128), parse("top-k", 3)), (Sampler::TopK(12), Sampler::TopK(1)));
        assert_eq!(parse("ancestral", 128), Sampler::Ancestral { steps: 128, schedule: Schedule::Cosine });
    }

    #[test]
    fn what_is_no_sampler_is_refused_with_what_was_wanted() {
        for text in
            ["", "beam", "top-k:", "top-k:-1", "top-k:4:linear", "threshold:x", "ancestral:3:steep", "top-k:4:5:6"]
        {
            let error = Sampler::parse(text, 9).unwrap_err().to_string();
            assert!(error.contains("is no sampler; wanted threshold, top-k or ancestral"), "{text}: {error}");
        }
        for text in ["top-k:0", "threshold:2", "threshold:NaN", "ancestral:0"] {
            let error = Sampler::parse(text, 9).unwrap().validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("the sampler is {text}; wanted ")), "{error}");
        }
    }
}
