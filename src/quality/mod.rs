//! How good written texts are, beside real ones: figures of characters and words that need no other model.
//!
//! None of them says alone that a text is good: a list of real words in any order has valid words, and a copy of the training
//! text everything. So each is to be read beside the same figure of real text, and beside how much is copied.

pub mod bleu;
pub mod blind;
pub mod cer;
pub mod chain;
pub mod chrf;
pub mod copied;
pub mod interpolated;
pub mod ngrams;

use copied::Longest;
use ngrams::{Counts, divergence};
use serde::Serialize;
use std::collections::HashSet;
use std::iter::once;

/// The longest n-grams of characters that are counted.
pub const MOST_CHARACTERS: usize = 6;

/// What texts are held against.
pub struct Reference {
    /// What training saw.
    train: Vec<char>,
    /// Its words.
    words: HashSet<String>,
    /// Real texts that it did not see.
    texts: Vec<String>,
}

/// Figures of some texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Texts.
    pub texts: usize,
    /// Characters of all.
    pub characters: usize,
    /// Jensen-Shannon divergence from the reference's n-grams of characters, n = 1 to 6, in nats: 0 where both are alike,
    /// ln 2 where they share none.
    pub divergence: Vec<f64>,
    /// Share of the reference's n-grams of characters, n = 1 to 6, each as often as it occurs, that the texts have too.
    pub coverage: Vec<f64>,
    /// The same divergence of words' lengths.
    pub word_lengths: f64,
    /// And of lines' lengths.
    pub line_lengths: f64,
    /// Entropy of the characters, in nats.
    pub entropy: f64,
    /// And of their 3-grams: low where few are written again and again. The fewer characters, the lower.
    pub entropy_of_3_grams: f64,
    /// Share of the words that the training text has.
    pub known_words: Option<f64>,
    /// Different n-grams of words among all, n = 1 to 3.
    pub distinct: Vec<Option<f64>>,
    /// Mean over the texts of BLEU-4 against all others, 0 to 100: how alike they are.
    pub self_bleu: Option<f64>,
    /// Share of 4-grams of words that their text had before.
    pub repeated: Option<f64>,
    /// Longest stretch of each text that the training text has, in characters.
    pub copied: Copied,
}

/// Of how much is copied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Copied {
    /// Mean over the texts.
    pub mean: f64,
    /// The most.
    pub max: usize,
    /// Share of the texts with 32 or more.
    pub share_32: f64,
    /// With 50 or more.
    pub share_50: f64,
}

impl Reference {
    /// Of what training saw, and of real texts that it did not see.
    pub fn new(train: &str, texts: Vec<String>) -> Self {
        Reference { train: train.chars().collect(), words: words(train).map(str::to_lowercase).collect(), texts }
    }

    /// Figures of some texts, at least one and not all empty.
    #[must_use]
    pub fn judge(&self, texts: &[String]) -> Quality {
        let counts = |texts: &[String], n| Counts::of(texts.iter().map(|text| text.chars().collect()), n);
        let (mut divergences, mut coverage) = (Vec::new(), Vec::new());
        for n in 1..=MOST_CHARACTERS {
            let (found, real) = (counts(texts, n), counts(&self.texts, n));
            divergences.push(divergence(&found, &real));
            coverage.push(real.share_in(&found));
        }
        let lengths = |texts: &[String], parts: fn(&str) -> Vec<usize>| {
            Counts::of(texts.iter().flat_map(|text| parts(text)).map(|length| vec![length]), 1)
        };
        let of_lengths = |parts| divergence(&lengths(texts, parts), &lengths(&self.texts, parts));
        let in_words: Vec<Vec<&str>> = texts.iter().map(|text| text.split_whitespace().collect()).collect();
        let known: Vec<bool> =
            texts.iter().flat_map(|text| words(text)).map(|word| self.words.contains(&word.to_lowercase())).collect();
        let copied = texts.iter().map(|text| Longest::of(&text.chars().collect::<Vec<_>>()).shared_with(&self.train));
        Quality {
            texts: texts.len(),
            characters: texts.iter().map(|text| text.chars().count()).sum(),
            divergence: divergences,
            coverage,
            word_lengths: of_lengths(|text| words(text).map(|word| word.chars().count()).collect()),
            line_lengths: of_lengths(|text| text.lines().map(|line| line.chars().count()).collect()),
            entropy: counts(texts, 1).entropy(),
            entropy_of_3_grams: counts(texts, 3).entropy(),
            known_words: share(&known, |known| *known),
            distinct: (1..=3).map(|n| Counts::of(in_words.iter().cloned(), n).distinct()).collect(),
            self_bleu: bleu::of_each_against_the_others(&in_words),
            repeated: repeated(&in_words, 4),
            copied: Copied::of(&copied.collect::<Vec<_>>()),
        }
    }
}

impl Copied {
    fn of(lengths: &[usize]) -> Self {
        let at_least = |least| share(lengths, |length| *length >= least).unwrap_or(0.0);
        Copied {
            mean: lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64,
            max: lengths.iter().copied().max().unwrap_or(0),
            share_32: at_least(32),
            share_50: at_least(50),
        }
    }
}

/// Runs of letters and what joins them: `o'er`, `well-kept`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let joins = |c: char| c == '\'' || c == '-';
    text.split(move |c: char| !c.is_alphabetic() && !joins(c))
        .map(move |word| word.trim_matches(joins))
        .filter(|word| !word.is_empty())
}

/// The share of n-grams that their own text had before.
fn repeated(texts: &[Vec<&str>], n: usize) -> Option<f64> {
    let again = |text: &Vec<&str>| {
        let mut seen = HashSet::new();
        text.windows(n).map(|gram| !seen.insert(gram.to_vec())).collect::<Vec<_>>()
    };
    share(&texts.iter().flat_map(again).collect::<Vec<_>>(), |again| *again)
}

/// The share of some things that are so; none of nothing.
fn share<T>(all: &[T], so: impl Fn(&T) -> bool) -> Option<f64> {
    (!all.is_empty()).then(|| all.iter().filter(|one| so(one)).count() as f64 / all.len() as f64)
}

/// The name of what texts cost another model.
pub const NLL: &str = "NLL by the judge, nats/char";

/// The name of what texts took.
pub const SECONDS: &str = "seconds of a text";

/// What figures mean, by the names that [`Quality::rows`] gives them; that of the shortest n-grams stands for all.
pub const MEANINGS: [(&str, &str); 16] = [
    ("characters", "of all texts together"),
    (
        "divergence",
        "Jensen-Shannon, in nats, from n-grams of characters of real text: lower is nearer, 0.6931 shares nothing",
    ),
    ("coverage", "share of real text's n-grams of characters that these texts have too: higher is nearer"),
    ("divergence of word lengths", "the same divergence, of how long words are"),
    ("divergence of line lengths", "and of how long lines are"),
    ("entropy, nats/char", "of single characters: far below real text's, a few are written again and again"),
    ("entropy of 3-grams, nats", "how many different ones texts hold: far below real text's, they say little"),
    ("known words", "share of words that the training text has: below real text's, words are made up"),
    ("distinct 1-grams of words", "different ones among all: low where texts repeat themselves or each other"),
    ("self-BLEU", "how alike the texts are, 0 to 100: above real text's, they say the same"),
    ("repeated 4-grams of words", "share that a text had before"),
    (
        "copied, mean characters",
        "longest stretch of a text that the training text has too: above real text's, it is memory",
    ),
    (
        NLL,
        "what they cost the judging model: far above real text's, they are improbable; far below it, they repeat what is likely",
    ),
    (SECONDS, "how long it took to write, in a batch with others, on this machine"),
    ("texts with 32 copied", "share of texts with so long a stretch"),
    ("texts with 50 copied", "and with one as long as this"),
];

/// Figures with their names, in the order that people read them in; n/a where there is none.
impl Quality {
    /// `(what, figure)` of each.
    pub fn rows(&self) -> Vec<(String, String)> {
        let four = |x: f64| format!("{x:.4}");
        let percent = |x: f64| format!("{:.1} %", 100.0 * x);
        let or = |x: Option<f64>, f: &dyn Fn(f64) -> String| x.map_or("n/a".into(), f);
        let of_n = |what: &'static str, of: &[f64], f: fn(f64) -> String| {
            of.iter().enumerate().map(move |(i, &x)| (format!("{what}, {}-grams", i + 1), f(x))).collect::<Vec<_>>()
        };
        let copied = self.copied;
        let mut rows = vec![("characters".to_owned(), self.characters.to_string())];
        rows.extend(of_n("divergence", &self.divergence, four));
        rows.extend(of_n("coverage", &self.coverage, percent));
        rows.push(("divergence of word lengths".into(), four(self.word_lengths)));
        rows.push(("divergence of line lengths".into(), four(self.line_lengths)));
        rows.push(("entropy, nats/char".into(), four(self.entropy)));
        rows.push(("entropy of 3-grams, nats".into(), four(self.entropy_of_3_grams)));
        rows.push(("known words".into(), or(self.known_words, &percent)));
        rows.extend(
            self.distinct.iter().zip(1..).map(|(&x, n)| (format!("distinct {n}-grams of words"), or(x, &percent))),
        );
        rows.push(("self-BLEU".into(), or(self.self_bleu, &|x| format!("{x:.2}"))));
        rows.push(("repeated 4-grams of words".into(), or(self.repeated, &percent)));
        rows.extend(once(("copied, mean characters".into(), format!("{:.1}", copied.mean))));
        rows.push(("copied, most".into(), copied.max.to_string()));
        rows.push(("texts with 32 copied".into(), percent(copied.share_32)));
        rows.push(("texts with 50 copied".into(), percent(copied.share_50)));
        rows
    }
}
