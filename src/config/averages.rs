//! Averages of the weights that a run keeps.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Decays of the averages of the weights that are kept, each at least 0 and below 1. The first is the model that a run writes:
/// which one it is shall not depend on a measurement, which would no longer be of unseen text. Others are asked for by name.
///
/// Written `0.999`, `0.999,0.99`; `0` for none. In files a number, or a list of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Averages(Vec<f32>);

impl Averages {
    /// Those of one decay, or none where it is 0.
    pub fn of(decay: f32) -> Self {
        Written::One(decay).into()
    }

    /// The decays.
    pub fn decays(&self) -> &[f32] {
        &self.0
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which of them has this decay, or what there is instead.
    pub fn position(&self, decay: f32) -> Result<usize> {
        self.0.iter().position(|&kept| kept == decay).ok_or_else(|| {
            let kept = if self.is_empty() { String::new() } else { format!("{self}, or ") };
            Error::input(format!("the run keeps no average of decay {decay}; wanted {kept}none, for the last weights"))
        })
    }

    /// Refuses decays that are none, and one that stands twice.
    pub(super) fn validate(&self) -> Result<()> {
        for (i, decay) in self.0.iter().enumerate() {
            if !(0.0..1.0).contains(decay) {
                return Err(Error::input(format!("ema is {decay}; wanted at least 0 (0 switches it off) and below 1")));
            }
            if *decay == 0.0 || self.0[..i].contains(decay) {
                return Err(Error::input(format!("ema is {self}; wanted several different decays above 0, or one")));
            }
        }
        Ok(())
    }
}

/// As files have them.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "wanted a decay, or a list of them")]
enum Written {
    One(f32),
    Several(Vec<f32>),
}

impl From<Written> for Averages {
    fn from(written: Written) -> Self {
        Averages(match written {
            Written::One(0.0) => Vec::new(),
            Written::One(decay) => vec![decay],
            Written::Several(decays) => decays,
        })
    }
}

impl From<Averages> for Written {
    fn from(Averages(decays): Averages) -> Self {
        match decays[..] {
            [] => Written::One(0.0),
            [decay] => Written::One(decay),
            _ => Written::Several(decays),
        }
    }
}

impl FromStr for Averages {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let decays: Option<Vec<f32>> = text.split(',').map(|decay| decay.trim().parse().ok()).collect();
        match decays.as_deref() {
            Some(&[decay]) => Ok(Averages::of(decay)),
            Some(several) => Ok(Averages(several.to_vec())),
            None => Err(Error::input(format!(
                "{text:?} is no decay of an average, nor several; wanted for example 0.999, or 0.999,0.99, or 0 for none"
            ))),
        }
    }
}

impl fmt::Display for Averages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("0");
        }
        let decays: Vec<String> = self.0.iter().map(f32::to_string).collect();
        f.write_str(&decays.join(","))
    }
}

/// Which weights of a run a model is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights {
    /// The average of this decay.
    Average(f32),
    /// Those of the last step, which no average smooths.
    Last,
}

impl FromStr for Weights {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Weights::Last),
            decay => decay.parse().map(Weights::Average).map_err(|_| {
                Error::input(format!("{text:?} is no decay of an average; wanted one that the run keeps, or none"))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct File {
        ema: Averages,
    }

    #[test]
    fn averages_are_read_as_they_are_written_in_options_and_in_files() {
        for (text, file) in [("0", "ema = 0.0\n"), ("0.5", "ema = 0.5\n"), ("0.5,0.25", "ema = [0.5, 0.25]\n")] {
            let averages: Averages = text.parse().unwrap();
            averages.validate().unwrap();
            assert_eq!(averages.to_string(), text);
            assert_eq!(toml::to_string(&File { ema: averages.clone() }).unwrap(), file);
            assert_eq!(toml::from_str::<File>(file).unwrap().ema, averages);
        }
    }

    #[test]
    fn what_is_no_average_is_refused_with_what_was_wanted() {
        for (text, wanted) in [
            ("", "wanted for example 0.999"),
            ("0.9;0.99", "wanted for example 0.999"),
            ("1", "below 1"),
            ("0.9,-0.1", "at least 0"),
            ("0.9,0", "several different decays above 0"),
            ("0.9,0.5,0.9", "several different decays above 0"),
        ] {
            let error = text.parse::<Averages>().and_then(|averages| averages.validate()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        for (kept, wanted) in [("0.9,0.5", "wanted 0.9,0.5, or none, for the last weights"), ("0", "wanted none, for")]
        {
            let error = kept.parse::<Averages>().unwrap().position(0.7).unwrap_err().to_string();
            assert!(error.contains("keeps no average of decay 0.7") && error.contains(wanted), "{error}");
        }
    }
}
