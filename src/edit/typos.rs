//! Texts with errors that are known: what typing and reading by machine make of a text.

use crate::rng::{Stream, below, philox, threshold, uniform24};
use serde::Serialize;
use std::fmt;

/// Where errors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Slips {
    /// Typing: a key beside the right one, a key left out, one hit twice, two in the wrong order; each as often.
    Typing,
    /// Reading by machine: letters taken for others of like shape, `rn` for `m`, `l` for `I`.
    Reading,
}

impl fmt::Display for Slips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slips::Typing => "typing",
            Slips::Reading => "reading",
        })
    }
}

/// A text with errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slipped {
    /// As it is now.
    pub text: String,
    /// What each of its characters should be; none where it should not be there.
    pub meant: Vec<Option<char>>,
    /// Errors that were made.
    pub errors: usize,
}

/// Keys and those around them.
const KEYS: [(char, &str); 26] = [
    ('a', "qwsz"),
    ('b', "vghn"),
    ('c', "xdfv"),
    ('d', "serfcx"),
    ('e', "wrds"),
    ('f', "drtgvc"),
    ('g', "ftyhbv"),
    ('h', "gyujnb"),
    ('i', "uokj"),
    ('j', "huiknm"),
    ('k', "jiolm"),
    ('l', "kop"),
    ('m', "njk"),
    ('n', "bhjm"),
    ('o', "iplk"),
    ('p', "ol"),
    ('q', "wa"),
    ('r', "etfd"),
    ('s', "awedxz"),
    ('t', "rygf"),
    ('u', "yijh"),
    ('v', "cfgb"),
    ('w', "qesa"),
    ('x', "zsdc"),
    ('y', "tuhg"),
    ('z', "asx"),
];

/// What is taken for what.
const SHAPES: [(&str, &str); 28] = [
    ("rn", "m"),
    ("m", "rn"),
    ("cl", "d"),
    ("d", "cl"),
    ("vv", "w"),
    ("w", "vv"),
    ("l", "I"),
    ("l", "i"),
    ("I", "l"),
    ("i", "l"),
    ("i", "j"),
    ("e", "c"),
    ("c", "e"),
    ("h", "b"),
    ("b", "h"),
    ("u", "n"),
    ("n", "u"),
    ("f", "t"),
    ("t", "f"),
    ("a", "o"),
    ("o", "a"),
    ("g", "q"),
    ("y", "v"),
    ("v", "y"),
    ("O", "Q"),
    ("E", "F"),
    (",", "."),
    (".", ","),
];

/// A text in which about a share of the characters went wrong, where a character can. Newlines never do. A function of the seed and
/// the text's number alone.
pub fn slip(text: &str, slips: Slips, share: f64, seed: u64, number: u32) -> Slipped {
    let characters: Vec<char> = text.chars().collect();
    let mut made = Slipped::default();
    let mut at = 0;
    while at < characters.len() {
        let words = philox(seed, Stream::Slip, u64::from(number), at as u32);
        let hit = uniform24(words[0]) < threshold(share) && characters[at] != '\n';
        let slip = if hit { error(&characters[at..], slips, &words) } else { None };
        let (read, written) = slip.unwrap_or_else(|| (1, characters[at].to_string()));
        let meant = &characters[at..at + read];
        let same = written.chars().eq(meant.iter().copied());
        made.errors += usize::from(!same);
        // Of a letter that was hit twice the first is right; what has no character of its own should not be there.
        made.meant.extend((0..written.chars().count()).map(|i| meant.get(i).copied()));
        made.text += &written;
        at += read;
    }
    made
}

/// What becomes of the beginning of some characters: how many of them go, and what stands there instead.
fn error(rest: &[char], slips: Slips, words: &[u32; 4]) -> Option<(usize, String)> {
    let one = |word: u32, n: usize| below([word, 0, 0, 0], n as u64) as usize;
    let first = rest[0];
    match slips {
        Slips::Typing => match one(words[1], 4) {
            0 => {
                let (_, around) = KEYS.iter().find(|(key, _)| *key == first.to_ascii_lowercase())?;
                let key = around.chars().nth(one(words[2], around.len()))?;
                Some((1, if first.is_ascii_uppercase() { key.to_ascii_uppercase() } else { key }.to_string()))
            }
            1 => Some((1, String::new())),
            2 => Some((1, [first, first].iter().collect())),
            _ => rest.get(1).filter(|next| **next != '\n').map(|&next| (2, [next, first].iter().collect())),
        },
        Slips::Reading => {
            let begins = |shape: &str| shape.chars().eq(rest.iter().copied().take(shape.len()));
            let taken: Vec<&(&str, &str)> = SHAPES.iter().filter(|(shape, _)| begins(shape)).collect();
            let (shape, seen) = taken.get(one(words[1], taken.len().max(1)))?;
            Some((shape.len(), (*seen).to_owned()))
        }
    }
}
