//! Texts judged by people who do not know where they are from: pairs of texts, and what the answers say.
//!
//! A pair has texts of two of the sources, in an order by chance. What people prefer is a share of the pairs in which they do
//! prefer one; its interval is Wilson's (1927), which holds for few answers and for shares near 0 and 1, and is never outside them.

use crate::error::{Error, Result};
use crate::rng::{Stream, below, philox};
use serde::{Deserialize, Serialize};

/// Of a normal distribution 95 % is within so many standard deviations.
const Z: f64 = 1.959_963_984_540_054;

/// A pair of texts: the numbers of their sources, left and right, and which text of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Source of the left text.
    pub left: usize,
    /// Of the right one.
    pub right: usize,
    /// Number of either text among those of its source.
    pub text: usize,
}

/// What is said of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The left text is preferred.
    Left,
    /// The right one.
    Right,
    /// Neither.
    Tie,
}

/// What a sheet does not tell: where texts are from. It goes with the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Names of the sources.
    pub sources: Vec<String>,
    /// The pairs in the order of the sheet.
    pub pairs: Vec<Pair>,
}

/// A file of answers, as a sheet saves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// [`Key::sealed`].
    pub key: String,
    /// One for each pair, none where nothing was said.
    pub answers: Vec<Option<Choice>>,
}

/// How one source did against another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duel {
    /// The first source.
    pub source: String,
    /// The other one.
    pub against: String,
    /// Pairs in which the first was preferred.
    pub wins: u64,
    /// In which the other was.
    pub losses: u64,
    /// In which neither was.
    pub ties: u64,
    /// Wins among wins and losses; none where there are neither.
    pub rate: Option<f64>,
    /// 95 % interval of that.
    pub interval: [f64; 2],
}

/// Every two of so many sources, each with the texts of the same numbers, in an order and with sides by chance: a function of
/// the seed.
pub fn shuffled(sources: usize, texts: usize, seed: u64) -> Vec<Pair> {
    let twos = (0..sources).flat_map(|one| (one + 1..sources).map(move |other| (one, other)));
    let mut pairs: Vec<Pair> =
        twos.flat_map(|(left, right)| (0..texts).map(move |text| Pair { left, right, text })).collect();
    // Fisher and Yates; of what has got its place the third word says which is left.
    for i in (0..pairs.len()).rev() {
        let words = philox(seed, Stream::Sheet, 0, i as u32);
        pairs.swap(i, below(words, i as u64 + 1) as usize);
        if words[2] & 1 == 1 {
            let Pair { left, right, text } = pairs[i];
            pairs[i] = Pair { left: right, right: left, text };
        }
    }
    pairs
}

impl Key {
    /// It as a string that tells nothing to who happens to see it.
    pub fn sealed(&self) -> String {
        let json = serde_json::to_vec(self).expect("names and numbers are always JSON");
        json.iter().map(|byte| format!("{:02x}", byte ^ SEAL)).collect()
    }

    /// What was sealed.
    pub fn open(sealed: &str) -> Option<Self> {
        let byte = |at: usize| Some(u8::from_str_radix(sealed.get(at..at + 2)?, 16).ok()? ^ SEAL);
        let bytes: Option<Vec<u8>> = (0..sealed.len()).step_by(2).map(byte).collect();
        let key: Key = serde_json::from_slice(&bytes?).ok()?;
        let known =
            key.pairs.iter().all(|pair| pair.left.max(pair.right) < key.sources.len() && pair.left != pair.right);
        known.then_some(key)
    }
}

/// Turns letters into others.
const SEAL: u8 = 0x5a;

impl Answers {
    /// Out of a file's text; `name` is the file's.
    pub fn parse(name: &str, text: &str) -> Result<(Self, Key)> {
        let refuse = |what: &str| {
            Error::input(format!("{name}: {what}; wanted a file that a sheet of `tempest judge make` saved, as it is"))
        };
        let answers: Answers =
            serde_json::from_str(text).map_err(|e| refuse(&format!("is no file of answers ({e})")))?;
        let key = Key::open(&answers.key).ok_or_else(|| refuse("its key was changed"))?;
        if key.pairs.len() != answers.answers.len() {
            let (found, wanted) = (answers.answers.len(), key.pairs.len());
            return Err(refuse(&format!("has {found} answers to {wanted} pairs")));
        }
        Ok((answers, key))
    }
}

/// How every source did against every other that it was paired with, over several files of answers; names are what tells them
/// apart.
pub fn count(files: &[(Answers, Key)]) -> Vec<Duel> {
    let mut duels: Vec<Duel> = Vec::new();
    for (Answers { answers, .. }, key) in files {
        for (answer, pair) in answers.iter().zip(&key.pairs) {
            let (first, second) = (pair.left.min(pair.right), pair.left.max(pair.right));
            let names = [&key.sources[first], &key.sources[second]];
            let at = duels.iter().position(|duel| [&duel.source, &duel.against] == names).unwrap_or_else(|| {
                let [source, against] = names.map(String::clone);
                duels.push(Duel { source, against, wins: 0, losses: 0, ties: 0, rate: None, interval: [0.0, 1.0] });
                duels.len() - 1
            });
            let duel = &mut duels[at];
            match answer {
                None => {}
                Some(Choice::Tie) => duel.ties += 1,
                Some(side) if (*side == Choice::Left) == (pair.left == first) => duel.wins += 1,
                Some(_) => duel.losses += 1,
            }
        }
    }
    for duel in &mut duels {
        let decided = duel.wins + duel.losses;
        duel.rate = (decided > 0).then(|| duel.wins as f64 / decided as f64);
        duel.interval = wilson(duel.wins, decided);
    }
    duels
}

/// Wilson's 95 % interval of a share: `(p + z²/2n ± z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n)`; all there is where n is 0.
pub fn wilson(wins: u64, of: u64) -> [f64; 2] {
    if of == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (of as f64, wins as f64 / of as f64);
    let (middle, half) = (p + Z * Z / (2.0 * n), Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt());
    [(middle - half) / (1.0 + Z * Z / n), (middle + half) / (1.0 + Z * Z / n)].map(|end| end.clamp(0.0, 1.0))
}
