//! Noise that turns tokens into others: what predictions cost, and one reverse step. A cost is a sum of terms
//! `q·φ(q̂/q)`, φ(r) = r - 1 - ln r, none of which is negative: [`excess`] computes one without taking large numbers apart.

use super::linear::rstds_or_one;
use super::math::{self, dot, max, softmax_weights};
use super::sampling::{first_largest, pair, params, weights};
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::program::{
    BROKEN, GIVEN, LogitsGrad, Marginal, Mixing, NoisedCost, NoisedLoss, Renoise, Transition, reveal_words,
};
use crate::raw::cpu::element::Element;
use crate::rng::{UNIFORM_STEPS, uniform, uniform24};
use rayon::prelude::*;

computed! {
    renoise(Renoise);
}

impl Context<'_> {
    pub(super) fn noised_loss(&mut self, op: &NoisedLoss) {
        match op.back.map(|back| self.o.dtype(back.dlogits)) {
            Some(crate::program::DType::Bf16) => noised_loss::<half::bf16>(self, op),
            _ => noised_loss::<f32>(self, op),
        }
    }
}

/// Two probabilities, q and the model's, and how far the second is above the first.
#[derive(Clone, Copy)]
struct Ratio {
    q: f32,
    model: f32,
    apart: f32,
}

impl Ratio {
    /// `q·φ(q̂/q)`: the term of a KL divergence and of the mass on both sides, `q ln(q/q̂) + q̂ - q`.
    fn term(self) -> f32 {
        let d = self.apart / self.q;
        match () {
            () if self.q == 0.0 => self.apart,
            // The series of d - ln(1+d), what is left out below half a rounding.
            () if d.abs() < 0.03125 => self.q * d * d * (0.5 - d * (1.0 / 3.0 - d * (0.25 - d * (0.2 - d / 6.0)))),
            () => self.apart - self.q * (self.model / self.q).ln(),
        }
    }

    /// The same, its sides exchanged.
    fn turned(self) -> Self {
        Ratio { q: self.model, model: self.q, apart: -self.apart }
    }
}

/// A token x, and z that noise made of it; `p` is what is predicted of it, R.
#[derive(Clone, Copy)]
struct Row {
    x: usize,
    z: usize,
    mixing: Mixing,
}

impl Row {
    /// `q(j|x)`, `q̂(j)` and their difference, which is taken before noise is added.
    fn ratio(self, marginal: Marginal, j: usize, r: f32) -> Ratio {
        let Marginal { keep, noise } = marginal;
        let (base, x) = (self.mixing.of(j as u32, noise), if j == self.x { 1.0 } else { 0.0 });
        Ratio { q: base + keep * x, model: base + keep * r, apart: keep * (r - x) }
    }

    /// R(z): a mask is never predicted.
    fn r_of_z(self, p: &[f32]) -> f32 {
        p.get(self.z).map_or(0.0, |&r| r)
    }

    /// `-ln P(x|z)` from `e^(logit - max)`, their sum and the target's distance to the maximum; p becomes its gradient by the
    /// logits.
    fn cross_entropy(self, p: &mut [f32], marginal: Marginal, sum: f32, distance: f32) -> f32 {
        let mixed = self.mixing.of(self.z as u32, marginal.noise);
        // A symbol that stands there is likelier by this; the mask tells nothing.
        let favour = if self.z == self.mixing.mask as usize { 1.0 } else { (mixed + marginal.keep) / mixed };
        let of_z = self.r_of_z(p);
        let (rest, whole) = (sum - of_z, (sum - of_z) / favour + of_z);
        let loss = if self.z == self.x { whole.ln() - distance } else { (rest + of_z * favour).ln() - distance };
        p.iter_mut().for_each(|p| *p /= favour * whole);
        if let Some(p) = p.get_mut(self.z) {
            *p *= favour;
        }
        p[self.x] -= 1.0;
        loss
    }

    /// [`NoisedCost::Bound`] of a rate; p becomes its gradient by the logits.
    fn bound(self, p: &mut [f32], rate: u32) -> f32 {
        let marginal = self.mixing.marginal(rate);
        let of_z = self.ratio(marginal, self.z, self.r_of_z(p));
        let is_real = |j: usize| j != self.mixing.mask as usize;
        let mut terms = of_z.turned().term() / of_z.model;
        // ∂/∂R(j) over αλ(z)/q(z|x) is 1 - q/q̂, and at z what the turned term adds; less its mean, which softmax takes away.
        let slope = |of: Ratio, j: usize| {
            let slope = if of.model > 0.0 { of.apart / of.model } else { 0.0 };
            if j == self.z { slope + slope / of.model } else { slope }
        };
        let mut mean = 0.0;
        for (j, &r) in p.iter().enumerate().filter(|(j, _)| is_real(*j)) {
            let of = self.ratio(marginal, j, r);
            terms += of.term();
            mean += r * slope(of, j);
        }
        let factor = self.mixing.of(self.z as u32, self.mixing.jumps(rate)) / of_z.q;
        for (j, p) in p.iter_mut().enumerate() {
            *p = if is_real(j) { factor * *p * (slope(self.ratio(marginal, j, *p), j) - mean) } else { 0.0 };
        }
        factor / marginal.keep * terms
    }

    /// [`NoisedCost::Step`] from one rate to a lower one.
    fn step(self, p: &[f32], from: u32, to: u32) -> f32 {
        let Transition { stays, moves } = self.mixing.transition(from, to);
        let [from, to] = [from, to].map(|rate| self.mixing.marginal(rate));
        let of_z = self.ratio(from, self.z, self.r_of_z(p));
        let moves = self.mixing.of(self.z as u32, moves);
        let of = |j: usize, r: f32| {
            let (to, way) = (self.ratio(to, j, r), if j == self.z { stays + moves } else { moves });
            Ratio {
                q: way * to.q / of_z.q,
                model: way * to.model / of_z.model,
                apart: way * (to.apart * of_z.q - to.q * of_z.apart) / (of_z.q * of_z.model),
            }
            .term()
        };
        p.iter().enumerate().map(|(j, &r)| of(j, r)).sum()
    }
}

fn noised_loss<A: Element>(Context { o, .. }: &mut Context<'_>, op: &NoisedLoss) {
    let NoisedLoss { logits, target, z, rates, mixing, cost, loss, back } = *op;
    let (v, positions) = (logits.cols, z.cols);
    let rates = o.get::<u32>(rates).as_chunks::<2>().0;
    let (target, z) = (o.get::<u32>(target), o.get::<u32>(z));
    let cost_of = |i: usize, logits: &[f32], p: &mut [f32]| {
        p.copy_from_slice(logits);
        if let Some(mask) = p.get_mut(mixing.mask as usize) {
            *mask = f32::NEG_INFINITY;
        }
        with_scratch(v, |kept| {
            kept.copy_from_slice(p);
            let (most, sum) = softmax_weights(kept, 1.0, p);
            let [from, to] = rates[i / positions];
            let from = from.clamp(1, UNIFORM_STEPS - 1);
            let to = to.min(from);
            let (x, z) = (target[i] as usize, z[i] as usize);
            if cost != NoisedCost::CrossEntropy {
                p.iter_mut().for_each(|p| *p /= sum);
            }
            let row = Row { x, z, mixing };
            match cost {
                NoisedCost::CrossEntropy => row.cross_entropy(p, mixing.marginal(from), sum, logits[x] - most),
                NoisedCost::Bound => row.bound(p, from),
                NoisedCost::Step => row.step(p, from, to),
            }
        })
    };
    let rows = o.get::<f32>(logits).par_chunks_exact(v).zip(o.take::<f32>(loss)).enumerate().with_min_len(64);
    let Some(LogitsGrad { sumsq, width, weight, scale, dlogits, s }) = back else {
        rows.for_each(|(i, (logits, loss))| with_scratch(v, |p| *loss = cost_of(i, logits, p)));
        return;
    };
    let (sumsq, weight) = (sumsq.map(|sumsq| o.get::<f32>(sumsq)), o.get::<f32>(weight));
    let scale = scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]);
    let outputs = o.take::<A>(dlogits).par_chunks_exact_mut(v).zip(o.take::<f32>(s));
    rows.zip(outputs).for_each(|((i, (logits, loss)), (dlogits, s))| {
        with_scratch(v, |p| {
            *loss = cost_of(i, logits, p);
            let (mut r, weight) = ([0.0], scale * weight[i]);
            rstds_or_one(sumsq, width as usize, i, &mut r);
            p.iter_mut().for_each(|p| *p *= weight);
            // A column of the mask has no gradient, whatever its logit.
            *s = dot(p, logits);
            dlogits.iter_mut().zip(&*p).for_each(|(d, p)| *d = A::nearest(r[0] * p));
        });
    });
}

fn renoise(Context { o, args, .. }: &mut Context<'_>, op: &Renoise) {
    let Renoise { logits, params: rows, rates, truth, mixing, x, masked, committed_at, remaining } = *op;
    let (v, positions, params) = (logits.cols, x.cols, params(o, rows));
    let pairs: Vec<[u32; 2]> = (0..x.rows).map(|b| pair(o, rates, args, b)).collect();
    let texts = (o.get::<f32>(logits).par_chunks_exact(v * positions))
        .zip(o.get::<u32>(truth).par_chunks_exact(positions))
        .zip(o.take::<u32>(x).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(masked).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(committed_at).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(remaining));
    texts.enumerate().for_each(|(b, (((((logits, truth), x), masked), committed_at), remaining))| {
        if *remaining == BROKEN {
            return;
        }
        let ([from, to], params) = (pairs[b], params[b]);
        let to = to.min(from);
        let greedy = params.temperature == 0.0
            || from as f32 * (1.0 / UNIFORM_STEPS as f32) * positions as f32 <= params.greedy_tail;
        let reverse = Reverse { way: mixing.transition(from, to), to: mixing.marginal(to), mixing };
        let masks = mixing.masks_at(to);
        let drawn = |p: usize| {
            let [hit, symbol, mask, _] = reveal_words(args, b, p);
            if masked[p] == 0 {
                return Some(if uniform24(hit) < to { mixing.draw(symbol, mask, masks) } else { truth[p] });
            }
            let draw = if greedy { None } else { Some((params.temperature, uniform(symbol))) };
            reverse.next(&logits[p * v..][..v], x[p] as usize, draw)
        };
        let Some(next) = (0..positions).map(drawn).collect::<Option<Vec<u32>>>() else {
            *remaining = BROKEN;
            return;
        };
        for (p, next) in next.into_iter().enumerate() {
            if masked[p] != 0 && (x[p] != next || committed_at[p] == GIVEN) {
                committed_at[p] = args.step as u32;
            }
            x[p] = next;
        }
        if to == 0 {
            masked.fill(0);
            *remaining = 0;
        }
    });
}

/// What the tokens of a text are drawn from.
struct Reverse {
    way: Transition,
    to: Marginal,
    mixing: Mixing,
}

impl Reverse {
    /// z_s from the logits of a position and its z_t, by a temperature and a uniform number, or the most probable one; none where
    /// the logits are no numbers.
    fn next(&self, logits: &[f32], z: usize, draw: Option<(f32, f32)>) -> Option<u32> {
        let v = logits.len();
        with_scratch(3 * v, |scratch| {
            let (distances, rest) = scratch.split_at_mut(v);
            let (scaled, p) = rest.split_at_mut(v);
            distances.copy_from_slice(logits);
            let mask = self.mixing.mask as usize;
            if let Some(mask) = distances.get_mut(mask) {
                *mask = f32::NEG_INFINITY;
            }
            let most = max(distances);
            distances.iter_mut().for_each(|y| *y -= most);
            let sum = weights(distances, draw.map_or(1.0, |(temperature, _)| temperature), scaled, p);
            if sum.is_nan() {
                return None;
            }
            let Transition { stays, moves } = self.way;
            let moves = self.mixing.of(z as u32, moves);
            for (j, p) in p.iter_mut().enumerate() {
                let mixed = self.mixing.of(j as u32, self.to.noise);
                let way = if j == z { moves + stays } else { moves };
                *p = way * (self.to.keep * *p + mixed * sum);
            }
            let Some((_, u)) = draw else { return Some(first_largest(p) as u32) };
            let whole = math::sum(p);
            let mut below = 0.0;
            let hit = p.iter().position(|p| {
                below += p;
                u * whole < below
            });
            // Rounding can leave the last partial sum below the whole: then the last symbol is meant.
            hit.or_else(|| p.iter().rposition(|&p| p > 0.0)).map(|symbol| symbol as u32)
        })
    }
}
