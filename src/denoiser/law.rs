//! What logits say of a token.

use super::Canvas;
use crate::error::Result;
use crate::program::Marginal;
use crate::rng::{UNIFORM_STEPS, threshold};
use std::ops::Range;

/// -log p of a token in nats, from its row of logits; the mask is never one.
pub fn cost(logits: &[f32], mask: u32, token: u32) -> f64 {
    let among = || logits.iter().enumerate().filter(|(symbol, _)| *symbol != mask as usize).map(|(_, &y)| f64::from(y));
    let most = among().fold(f64::NEG_INFINITY, f64::max);
    among().map(|y| (y - most).exp()).sum::<f64>().ln() + most - f64::from(logits[token as usize])
}

/// A distribution of one token, the mask never being one.
#[derive(Clone, Debug)]
pub struct Law(Vec<f64>);

impl Law {
    /// Of a row of logits.
    pub fn of(logits: &[f32], mask: u32) -> Self {
        let logit = |j: usize| if j == mask as usize { f64::NEG_INFINITY } else { f64::from(logits[j]) };
        let most = (0..logits.len()).map(logit).fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = (0..logits.len()).map(|j| (logit(j) - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|weight| weight / sum).collect())
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
        let weights: Vec<f64> = (0..).zip(self.0).map(|(symbol, p)| p * likelihood(symbol)).collect();
        let sum: f64 = weights.iter().sum();
        Law(weights.into_iter().map(|weight| weight / sum).collect())
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
