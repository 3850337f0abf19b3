//! What logits say of a token.

use super::Canvas;
use crate::error::Result;
use crate::program::{Marginal, SamplingParams};
use crate::rng::{UNIFORM_STEPS, threshold};
use std::ops::Range;

/// -log p of a token in nats, from its row of logits; the mask is never one.
pub fn cost(logits: &[f32], mask: u32, token: u32) -> f64 {
    let among = || logits.iter().enumerate().filter(|(symbol, _)| *symbol != mask as usize).map(|(_, &y)| f64::from(y));
    let most = among().fold(f64::NEG_INFINITY, f64::max);
    among().map(|y| (y - most).exp()).sum::<f64>().ln() + most - f64::from(logits[token as usize])
}

/// A distribution of one token: probabilities by symbol.
#[derive(Clone, Debug, PartialEq)]
pub struct Law(Vec<f64>);

impl Law {
    /// Of some weights, which are normalised here.
    pub fn new(weights: Vec<f64>) -> Self {
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|weight| weight / sum).collect())
    }

    /// Of a row of logits, the mask never being a token.
    pub fn of(logits: &[f32], mask: u32) -> Self {
        Law::drawn(logits, mask, &SamplingParams { temperature: 1.0, ..SamplingParams::MOST_PROBABLE })
    }

    /// What [`Predict`](crate::program::Predict) draws from of these logits but for rounding: without the mask, at a temperature,
    /// truncated.
    pub fn drawn(logits: &[f32], mask: u32, params: &SamplingParams) -> Self {
        let logit = |symbol: usize| if symbol == mask as usize { f64::NEG_INFINITY } else { logits[symbol].into() };
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
        Law::new(weights)
    }

    /// The probabilities, by symbol.
    pub fn probabilities(&self) -> &[f64] {
        &self.0
    }

    /// The probability of a symbol.
    pub fn of_symbol(&self, symbol: u32) -> f64 {
        self.0[symbol as usize]
    }

    /// The most probable symbol among some, the lowest of equals, and its probability.
    pub fn best(&self, among: &[bool]) -> (u32, f64) {
        let better = |best: (u32, f64), next: (u32, f64)| if next.1 > best.1 { next } else { best };
        let all = (0..).zip(self.0.iter().copied()).zip(among).filter(|(_, among)| **among).map(|(one, _)| one);
        all.fold((0, f64::NEG_INFINITY), better)
    }

    /// The most probable symbols, at most so many, and their probabilities, the most probable first and the lowest of equals.
    pub fn most_probable(&self, most: usize) -> Vec<(u32, f64)> {
        let mut all: Vec<(u32, f64)> = (0..).zip(self.0.iter().copied()).filter(|(_, p)| *p > 0.0).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(most);
        all
    }

    /// Bayes: the law given what was seen, whose likelihood each symbol has.
    pub fn weighted(self, likelihood: impl Fn(u32) -> f64) -> Self {
        Law::new((0..).zip(self.0).map(|(symbol, p)| p * likelihood(symbol)).collect())
    }
}

impl Canvas<'_> {
    /// Of a process whose noise are other symbols: the law of each token at some positions of every text, given all that stands there,
    /// as if noise had hit this share of all tokens.
    pub fn posteriors(&mut self, share: f32, positions: &[Range<usize>]) -> Result<Vec<Vec<Law>>> {
        let (mixing, part) =
            (self.denoiser.process.interpolating().mixing, self.denoiser.process_config.family().parts()[0]);
        let (symbols, length) = (self.symbols(), self.positions());
        let rate = threshold(share.into()).clamp(1, UNIFORM_STEPS - 1);
        let Marginal { keep, noise: [_, other] } = mixing.marginal(rate);
        let [keep, other] = [keep, other].map(f64::from);
        self.set_lots(&[rate, 0].repeat(self.rows() * length))?;
        let (tokens, logits) = (self.tokens()?, self.logits(part, positions)?);
        let of_text = |(text, (logits, positions)): (usize, (Vec<f32>, &Range<usize>))| {
            let here = &tokens[text * length..][positions.clone()];
            let of = |(&z, logits): (&u32, &[f32])| {
                Law::of(logits, mixing.mask).weighted(|v| other + if v == z { keep } else { 0.0 })
            };
            here.iter().zip(logits.chunks_exact(symbols)).map(of).collect()
        };
        Ok(logits.into_iter().zip(positions).enumerate().map(of_text).collect())
    }
}
