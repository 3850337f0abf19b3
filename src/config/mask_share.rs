//! How much of the noise is the mask, where other symbols are in it too.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The share of masks in mixed noise, at every noise rate: a file's `mask_share = 0.8` or `"gidd:0.2"`, an option's `0.8` or
/// `gidd:0.2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum MaskShare {
    /// The same at all rates.
    Constant(f32),
    /// GIDD's (von Rütte et al. 2025): hardly any mask at first and nothing else in the end. Halfway in time this share of all tokens
    /// are symbols that noise put there, and never more (their p_u).
    Gidd(f32),
}

/// As files have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "wanted a share of masks, such as 0.8 or \"gidd:0.2\"")]
enum Written {
    Share(f32),
    Text(String),
}

impl Default for MaskShare {
    fn default() -> Self {
        MaskShare::Constant(0.0)
    }
}

impl From<f32> for MaskShare {
    fn from(share: f32) -> Self {
        MaskShare::Constant(share)
    }
}

impl MaskShare {
    /// Refuses what is no share, or one of noise that has no other symbols.
    pub(super) fn validate(self) -> Result<()> {
        let is_share = match self {
            MaskShare::Constant(share) => (0.0..1.0).contains(&share),
            MaskShare::Gidd(others) => others > 0.0 && others < 1.0,
        };
        if is_share {
            return Ok(());
        }
        Err(Error::input(format!(
            "a share of masks of {self} in noise of other symbols too; wanted --mask-share from 0 to less than 1, or gidd:P with P \
             between 0 and 1"
        )))
    }
}

impl TryFrom<Written> for MaskShare {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::Share(share) => Ok(share.into()),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<MaskShare> for Written {
    fn from(share: MaskShare) -> Self {
        match share {
            MaskShare::Constant(share) => Written::Share(share),
            MaskShare::Gidd(_) => Written::Text(share.to_string()),
        }
    }
}

impl FromStr for MaskShare {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = match text.strip_prefix("gidd:") {
            Some(others) => others.parse().map(MaskShare::Gidd),
            None => text.parse().map(MaskShare::Constant),
        };
        read.map_err(|_| {
            Error::input(format!(
                "a share of masks of {text:?}; wanted a number below 1, as in 0.8, or gidd:P, as in gidd:0.2"
            ))
        })
    }
}

impl fmt::Display for MaskShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MaskShare::Constant(share) => share.fmt(f),
            MaskShare::Gidd(others) => write!(f, "gidd:{others}"),
        }
    }
}
