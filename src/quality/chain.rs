//! Texts of a model that counts: each character is drawn as often as it stands behind the same characters in real text. It has
//! the n-grams of that text and knows nothing else, so that a model that learns has to be better.

use crate::rng::{Stream, below, philox};
use std::collections::BTreeMap;

/// How often each character stands behind each n - 1 others.
#[derive(Clone, Debug)]
pub struct Chain {
    text: Vec<char>,
    /// Characters that the next one depends on.
    order: usize,
    next: BTreeMap<Vec<char>, Followers>,
}

/// What stands behind some characters.
#[derive(Clone, Debug, Default)]
pub(super) struct Followers {
    pub(super) counts: BTreeMap<char, u64>,
    pub(super) all: u64,
}

/// What stands behind each `order` characters of a text, which is read as a ring, so that something stands behind all of it. The
/// text has more characters than that.
pub(super) fn followers(text: &[char], order: usize) -> BTreeMap<Vec<char>, Followers> {
    let ring: Vec<char> = text.iter().chain(&text[..order]).copied().collect();
    let mut next: BTreeMap<Vec<char>, Followers> = BTreeMap::new();
    for gram in ring.windows(order + 1) {
        let (before, last) = gram.split_at(order);
        let followers = match next.get_mut(before) {
            Some(followers) => followers,
            None => next.entry(before.to_vec()).or_default(),
        };
        *followers.counts.entry(last[0]).or_default() += 1;
        followers.all += 1;
    }
    next
}

impl Chain {
    /// That of a text's n-grams, of at least one character each; a text that is shorter than n has no model.
    pub fn of(text: &str, n: usize) -> Option<Self> {
        let (text, order): (Vec<char>, usize) = (text.chars().collect(), n.checked_sub(1)?);
        if text.len() < n {
            return None;
        }
        let next = followers(&text, order);
        Some(Chain { text, order, next })
    }

    /// Text number `number` of a seed, of so many characters.
    pub fn write(&self, seed: u64, number: u32, length: usize) -> String {
        let draw = |position: usize| philox(seed, Stream::Draft, number.into(), position as u32);
        // As likely as in the text.
        let first = below(draw(0), self.text.len() as u64) as usize;
        let mut written: Vec<char> =
            self.text.iter().cycle().skip(first).take(self.order.min(length)).copied().collect();
        while written.len() < length {
            let followers = &self.next[&written[written.len() - self.order..]];
            let mut place = below(draw(written.len() + 1), followers.all);
            let drawn = followers.counts.iter().find(|(_, count)| {
                let here = place < **count;
                place = place.saturating_sub(**count);
                here
            });
            written.push(*drawn.expect("a place below all of them").0);
        }
        written.into_iter().collect()
    }
}
