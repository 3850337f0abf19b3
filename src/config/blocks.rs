//! How long the blocks of block diffusion are.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Tokens of a block, or a few such lengths that a run trains in turn: a file's `block_length = 16` or `[4, 16]`, an option's
/// `4,16`. A model is used as one of one length, the first where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct BlockLengths {
    lengths: [usize; BlockLengths::MOST],
    count: usize,
}

/// As files have it.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "wanted the tokens of a block, or a list of such lengths")]
enum Written {
    One(usize),
    Several(Vec<usize>),
}

impl BlockLengths {
    /// Lengths that a run may mix: each has programs of its own.
    const MOST: usize = 8;

    fn new(lengths: &[usize]) -> Result<Self> {
        let repeated = |(i, length)| lengths[..i].contains(length);
        if lengths.is_empty() || lengths.len() > Self::MOST || lengths.iter().enumerate().any(repeated) {
            return Err(Error::input(format!(
                "block lengths {lengths:?}; wanted 1 to {} of them, each once, as in --block-length 4,16",
                Self::MOST
            )));
        }
        let mut all = BlockLengths { lengths: [0; Self::MOST], count: lengths.len() };
        all.lengths[..lengths.len()].copy_from_slice(lengths);
        Ok(all)
    }

    /// All of them, in the order in which they were named.
    pub fn all(&self) -> &[usize] {
        &self.lengths[..self.count]
    }

    /// The one that a model is used by where nothing else is said.
    pub fn first(&self) -> usize {
        self.lengths[0]
    }
}

impl From<usize> for BlockLengths {
    fn from(length: usize) -> Self {
        BlockLengths::new(&[length]).expect("one is none too many")
    }
}

impl TryFrom<Written> for BlockLengths {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        match written {
            Written::One(length) => Ok(length.into()),
            Written::Several(lengths) => BlockLengths::new(&lengths),
        }
    }
}

impl From<BlockLengths> for Written {
    fn from(lengths: BlockLengths) -> Self {
        match lengths.all() {
            [one] => Written::One(*one),
            several => Written::Several(several.to_vec()),
        }
    }
}

impl FromStr for BlockLengths {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| {
            let unread =
                || Error::input(format!("a block length of {part:?}; wanted numbers of tokens, as in 16 or 4,16"));
            part.trim().parse().map_err(|_| unread())
        };
        BlockLengths::new(&text.split(',').map(number).collect::<Result<Vec<_>>>()?)
    }
}

impl fmt::Display for BlockLengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.all().iter().map(usize::to_string).collect();
        f.write_str(&words.join(","))
    }
}
