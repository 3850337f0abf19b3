//! Speculative sampling (Leviathan et al. 2023): tokens that a fast law drafted, accepted or put right so that what comes out has
//! exactly another law.
//!
//! A draft x from q is accepted with probability min(1, p(x)/q(x)); else a token is drawn from max(p - q, 0), normalised. Then
//! x is accepted with min(p(x), q(x)) and comes instead of others with the rest of p(x): its law is p, whatever q. It asks that q
//! be the law that x was really drawn from, given all that p is conditioned on. So a chunk of tokens is drafted in one pass, each
//! from its own distribution given the same accepted prefix: none is conditioned on another draft, q is known for each, and left to
//! right p conditions on accepted tokens alone.

use crate::program::SamplingParams;

/// A distribution of one token, as a draw has it: probabilities by symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct Law(Vec<f64>);

impl Law {
    /// Of some probabilities, normalised here.
    pub fn of(weights: Vec<f64>) -> Self {
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|p| p / sum).collect())
    }

    /// What [`Predict`](crate::program::Predict) draws from of these logits but for rounding: without `drop`, at a temperature,
    /// truncated.
    pub fn of_logits(logits: &[f32], drop: u32, params: &SamplingParams) -> Self {
        let logit = |symbol: usize| if symbol == drop as usize { f64::NEG_INFINITY } else { logits[symbol].into() };
        let best = (0..logits.len()).reduce(|best, i| if logit(i) > logit(best) { i } else { best });
        let best = best.expect("a vocabulary has symbols");
        if params.temperature == 0.0 {
            return Law((0..logits.len()).map(|i| f64::from(u8::from(i == best))).collect());
        }
        let weight = |symbol| ((logit(symbol) - logit(best)) / f64::from(params.temperature)).exp();
        let likely = |weight: f64| if weight < params.min_p.into() { 0.0 } else { weight };
        let mut weights: Vec<f64> = (0..logits.len()).map(|symbol| likely(weight(symbol))).collect();
        if params.top_p < 1.0 || params.top_symbols > 0.0 {
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
            let most = if params.top_symbols > 0.0 { params.top_symbols as usize } else { order.len() };
            let all = weights.iter().sum::<f64>();
            let enough = if params.top_p < 1.0 { f64::from(params.top_p) * all } else { f64::INFINITY };
            let mut mass = 0.0;
            for (rank, symbol) in order.into_iter().enumerate() {
                let weight = if rank < most && mass < enough { weights[symbol] } else { 0.0 };
                (mass, weights[symbol]) = (mass + weight, weight);
            }
        }
        Law::of(weights)
    }

    /// The symbol at which the probabilities, added up by symbol, exceed a random word.
    pub fn draw(&self, word: u32) -> u32 {
        let u = uniform(word);
        let mut below = 0.0;
        let hit = self.0.iter().position(|p| {
            below += p;
            u < below
        });
        // Rounding can leave the last partial sum below 1.
        hit.or(self.0.iter().rposition(|&p| p > 0.0)).unwrap_or(0) as u32
    }

    /// What becomes of a draft that was drawn from `draft` where this law is wanted: itself, or another symbol.
    pub fn verify(&self, draft: &Law, drafted: u32, words: [u32; 2]) -> u32 {
        let (p, q) = (self.0[drafted as usize], draft.0[drafted as usize]);
        if uniform(words[0]) * q < p {
            return drafted;
        }
        let rest: Vec<f64> = self.0.iter().zip(&draft.0).map(|(p, q)| (p - q).max(0.0)).collect();
        // It is empty but for rounding only where the laws are equal but for rounding.
        if rest.iter().sum::<f64>() > 0.0 { Law::of(rest).draw(words[1]) } else { drafted }
    }
}

fn uniform(word: u32) -> f64 {
    f64::from(word) / (f64::from(u32::MAX) + 1.0)
}
