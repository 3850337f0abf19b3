//! Batches that grow while a run goes on.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// After so many steps, micro-batches of so many sequences: early steps learn as much from few, and late ones want less noise
/// (Smith et al., "Don't decay the learning rate, increase the batch size", 2018).
///
/// Written `500:32,1000:64`; `none` for a batch that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchGrowth(Vec<(u64, usize)>);

/// Every size has programs of its own.
const MOST: usize = 8;

impl BatchGrowth {
    /// Whether the batch stays as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Steps after which the batch grows, and what it grows to, in order.
    pub fn changes(&self) -> &[(u64, usize)] {
        &self.0
    }

    /// Refuses what is no growth from a first batch within so many steps.
    pub(super) fn validate(&self, first: usize, steps: u64) -> Result<()> {
        let mut before = (0, first);
        for &(step, batch) in &self.0 {
            if step <= before.0 || batch <= before.1 {
                return Err(Error::input(format!(
                    "batch_growth is {self} from a batch of {first}; wanted steps and batches that rise, as in 500:{},1000:{}",
                    first.saturating_mul(2),
                    first.saturating_mul(4)
                )));
            }
            before = (step, batch);
        }
        if before.0 >= steps && !self.is_empty() {
            return Err(Error::input(format!(
                "the batch grows after step {} of a run of {steps}; wanted an earlier step",
                before.0
            )));
        }
        if self.0.len() > MOST {
            return Err(Error::input(format!("the batch grows {} times; wanted at most {MOST}", self.0.len())));
        }
        Ok(())
    }
}

impl FromStr for BatchGrowth {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(BatchGrowth::default());
        }
        let change = |text: &str| {
            let (step, batch) = text.split_once(':')?;
            Some((step.trim().parse().ok()?, batch.trim().parse().ok()?))
        };
        let changes: Option<Vec<_>> = text.split(',').map(change).collect();
        changes.map(BatchGrowth).ok_or_else(|| {
            Error::input(format!("{text:?} is no growth of a batch; wanted STEP:BATCH,…, as in 500:32,1000:64"))
        })
    }
}

impl fmt::Display for BatchGrowth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let changes: Vec<String> = self.0.iter().map(|(step, batch)| format!("{step}:{batch}")).collect();
        f.write_str(&changes.join(","))
    }
}

stored_as_text!(BatchGrowth);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growth_is_read_as_it_is_written_and_refused_with_what_was_wanted() {
        for text in ["none", "500:32", "500:32,1000:64"] {
            let growth: BatchGrowth = text.parse().unwrap();
            growth.validate(16, 2000).unwrap();
            assert_eq!(growth.to_string(), text);
        }
        for (text, wanted) in [
            ("", "wanted STEP:BATCH"),
            ("500", "wanted STEP:BATCH"),
            ("500:x", "wanted STEP:BATCH"),
            ("0:32", "wanted steps and batches that rise, as in 500:32,1000:64"),
            ("500:16", "steps and batches that rise"),
            ("500:32,400:64", "steps and batches that rise"),
            ("500:32,2000:64", "after step 2000 of a run of 2000"),
            ("1:17,2:18,3:19,4:20,5:21,6:22,7:23,8:24,9:25", "9 times; wanted at most 8"),
        ] {
            let growth = text.parse::<BatchGrowth>().and_then(|growth| growth.validate(16, 2000));
            let error = growth.unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
