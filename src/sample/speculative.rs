//! Speculative sampling (Leviathan et al. 2023): tokens that a fast law drafted, accepted or put right so that what comes out has
//! exactly another law.
//!
//! A draft x from q is accepted with probability min(1, p(x)/q(x)); else a token is drawn from max(p - q, 0), normalised. Then
//! x is accepted with min(p(x), q(x)) and comes instead of others with the rest of p(x): its law is p, whatever q. It asks that q
//! be the law that x was really drawn from, given all that p is conditioned on. So a chunk of tokens is drafted in one pass, each
//! from its own distribution given the same accepted prefix: none is conditioned on another draft, q is known for each, and left to
//! right p conditions on accepted tokens alone.

use crate::denoiser::Law;

impl Law {
    /// The symbol at which the probabilities, added up by symbol, exceed a random word.
    pub fn draw(&self, word: u32) -> u32 {
        let u = uniform(word);
        let mut below = 0.0;
        let hit = self.probabilities().iter().position(|p| {
            below += p;
            u < below
        });
        // Rounding can leave the last partial sum below 1.
        hit.or(self.probabilities().iter().rposition(|&p| p > 0.0)).unwrap_or(0) as u32
    }

    /// What becomes of a draft that was drawn from `draft` where this law is wanted: itself, or another symbol.
    pub fn verify(&self, draft: &Law, drafted: u32, words: [u32; 2]) -> u32 {
        let (p, q) = (self.of_symbol(drafted), draft.of_symbol(drafted));
        if uniform(words[0]) * q < p {
            return drafted;
        }
        let both = self.probabilities().iter().zip(draft.probabilities());
        let rest: Vec<f64> = both.map(|(p, q)| (p - q).max(0.0)).collect();
        // It is empty but for rounding only where the laws are equal but for rounding.
        if rest.iter().sum::<f64>() > 0.0 { Law::new(rest).draw(words[1]) } else { drafted }
    }
}

fn uniform(word: u32) -> f64 {
    f64::from(word) / (f64::from(u32::MAX) + 1.0)
}
