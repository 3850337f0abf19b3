//! Counts of n-grams, and how two of them differ.

use std::collections::BTreeMap;

/// How often each n-gram occurs. In their order, so that sums over them have one.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts<T> {
    of: BTreeMap<Vec<T>, u64>,
    all: u64,
}

impl<T: Ord + Clone> Counts<T> {
    /// Those of some sequences; none reaches from one into the next.
    pub fn of(sequences: impl IntoIterator<Item = Vec<T>>, n: usize) -> Self {
        let mut counts = Counts { of: BTreeMap::new(), all: 0 };
        for sequence in sequences {
            for gram in sequence.windows(n) {
                counts.all += 1;
                match counts.of.get_mut(gram) {
                    Some(count) => *count += 1,
                    None => drop(counts.of.insert(gram.to_vec(), 1)),
                }
            }
        }
        counts
    }

    /// How often one occurs.
    pub fn count(&self, gram: &[T]) -> u64 {
        self.of.get(gram).copied().unwrap_or(0)
    }

    /// `(n-gram, how often)` of all that occur.
    pub fn iter(&self) -> impl Iterator<Item = (&[T], u64)> {
        self.of.iter().map(|(gram, &count)| (&gram[..], count))
    }

    /// How many there are, each as often as it occurs.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// Different ones among all; none where there are none.
    pub fn distinct(&self) -> Option<f64> {
        (self.all > 0).then(|| self.of.len() as f64 / self.all as f64)
    }

    /// `-Σ p ln p`, in nats.
    pub fn entropy(&self) -> f64 {
        self.of.values().map(|&count| count as f64 / self.all as f64).map(|p| -p * p.ln()).sum()
    }

    /// The share of these, each as often as it occurs, that occur among others too.
    pub fn share_in(&self, others: &Counts<T>) -> f64 {
        let shared: u64 = self.iter().filter(|(gram, _)| others.count(gram) > 0).map(|(_, count)| count).sum();
        shared as f64 / self.all.max(1) as f64
    }
}

/// Jensen-Shannon divergence of two distributions, `(KL(p‖m) + KL(q‖m))/2` with `m = (p + q)/2`, in nats: from 0 to ln 2.
/// Not a number where one has nothing to count.
pub fn divergence<T: Ord + Clone>(p: &Counts<T>, q: &Counts<T>) -> f64 {
    let towards_middle = |p: &Counts<T>, q: &Counts<T>| -> f64 {
        let part = |(gram, count): (&[T], u64)| {
            let (p, q) = (count as f64 / p.all as f64, q.count(gram) as f64 / q.all as f64);
            p * (2.0 * p / (p + q)).ln()
        };
        p.iter().map(part).sum()
    };
    if p.all == 0 || q.all == 0 { f64::NAN } else { (towards_middle(p, q) + towards_middle(q, p)) / 2.0 }
}
