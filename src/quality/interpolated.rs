//! A model of n-grams of characters, for what counting alone can do: the probability of the next character, and the best fill of a
//! gap.

use super::chain::{Followers, followers};
use std::collections::BTreeMap;

/// Counts of 1- to n-grams, interpolated.
#[derive(Clone, Debug)]
pub struct Interpolated {
    /// Sorted.
    symbols: Vec<char>,
    /// Followers of 0 to n - 1 characters.
    orders: Vec<BTreeMap<Vec<char>, Followers>>,
}

/// A gap's fill.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// The most probable one.
    pub text: String,
    /// ln of its probability and that of what follows, given what stands before.
    pub ln_p: f64,
    /// ln of the probability of what follows, whatever the gap holds.
    pub ln_all: f64,
}

/// Some ways into a gap that end alike, so that they go on alike.
#[derive(Clone, Debug)]
struct Ways {
    best: (f64, String),
    ln_all: f64,
}

impl Ways {
    fn join(&mut self, other: Ways) {
        if other.best.0 > self.best.0 {
            self.best = other.best;
        }
        let (most, least) = (self.ln_all.max(other.ln_all), self.ln_all.min(other.ln_all));
        self.ln_all = most + (least - most).exp().ln_1p();
    }
}

/// Endings that are gone on with, the most probable ones.
const ENDINGS: usize = 300;

impl Interpolated {
    /// That of a text; one that is shorter than n has none.
    pub fn of(text: &str, n: usize) -> Option<Self> {
        let text: Vec<char> = text.chars().collect();
        if n == 0 || text.len() < n {
            return None;
        }
        let mut symbols = text.clone();
        symbols.sort_unstable();
        symbols.dedup();
        Some(Interpolated { symbols, orders: (0..n).map(|order| followers(&text, order)).collect() })
    }

    /// p of each of the text's characters behind these, and of any other: with Witten and Bell's weights (Chen and Goodman 1998,
    /// section 2.4), `p(c | h) = (count(h c) + d·p(c | h less its first)) / (count(h) + d)` for d different followers of h.
    fn next(&self, before: &[char]) -> (Vec<f64>, f64) {
        let mut other = 1.0 / (self.symbols.len() + 1) as f64;
        let mut p = vec![other; self.symbols.len()];
        for (order, followers) in self.orders.iter().enumerate().take(before.len() + 1) {
            let Some(found) = followers.get(&before[before.len() - order..]) else { break };
            let different = found.counts.len() as f64;
            let all = found.all as f64 + different;
            p.iter_mut().chain([&mut other]).for_each(|p| *p *= different / all);
            for (c, &count) in &found.counts {
                p[self.symbols.binary_search(c).expect("a character of the text")] += count as f64 / all;
            }
        }
        (p, other)
    }

    /// ln of the probability of a text behind another.
    pub fn ln_p(&self, before: &[char], text: &[char]) -> f64 {
        let whole = [before, text].concat();
        let one = |i: usize| {
            let (p, other) = self.next(&whole[i.saturating_sub(self.orders.len() - 1)..i]);
            self.symbols.binary_search(&whole[i]).map_or(other, |c| p[c]).ln()
        };
        (before.len()..whole.len()).map(one).sum()
    }

    /// The best fill of each length from 0 to `longest` between two texts.
    pub fn fills(&self, before: &[char], longest: usize, behind: &[char]) -> Vec<Filled> {
        let seen = self.orders.len() - 1;
        let ending = |text: &[char]| text[text.len().saturating_sub(seen)..].to_vec();
        // The first of what follows depend on the fill, the others are as probable behind every one.
        let (near, far) = behind.split_at(seen.min(behind.len()));
        let ln_far = self.ln_p(near, far);
        let start = Ways { best: (0.0, String::new()), ln_all: 0.0 };
        let mut ways = BTreeMap::from([(ending(before), start)]);
        let mut fills = Vec::with_capacity(longest + 1);
        for length in 0..=longest {
            if length > 0 {
                ways = self.longer(ways, &ending);
            }
            let mut found: Option<Ways> = None;
            for (end, way) in &ways {
                let ln_p = self.ln_p(end, near) + ln_far;
                let way = Ways { best: (way.best.0 + ln_p, way.best.1.clone()), ln_all: way.ln_all + ln_p };
                match &mut found {
                    Some(found) => found.join(way),
                    None => found = Some(way),
                }
            }
            let Ways { best: (ln_p, text), ln_all } = found.expect("at least one way");
            fills.push(Filled { text, ln_p, ln_all });
        }
        fills
    }

    /// Ways that are a character longer.
    fn longer(
        &self,
        ways: BTreeMap<Vec<char>, Ways>,
        ending: &dyn Fn(&[char]) -> Vec<char>,
    ) -> BTreeMap<Vec<char>, Ways> {
        let mut next: BTreeMap<Vec<char>, Ways> = BTreeMap::new();
        for (end, way) in ways {
            let (p, _) = self.next(&end);
            for (&c, p) in self.symbols.iter().zip(p) {
                let text = format!("{}{c}", way.best.1);
                let way = Ways { best: (way.best.0 + p.ln(), text), ln_all: way.ln_all + p.ln() };
                let end = ending(&[&end[..], &[c]].concat());
                match next.get_mut(&end) {
                    Some(ways) => ways.join(way),
                    None => drop(next.insert(end, way)),
                }
            }
        }
        let mut best: Vec<_> = next.into_iter().collect();
        best.sort_by(|a, b| b.1.ln_all.total_cmp(&a.1.ln_all));
        best.truncate(ENDINGS);
        best.into_iter().collect()
    }
}
