//! Noise that turns tokens into others: bounds and laws against enumerations of 27 texts, and gradients.
//!
//! `tests/data/laws/uniform.json`, `mixed.json` and `gidd.json` hold a joint distribution of 3 positions of 3 symbols, -ln p of every text,
//! and for some numbers of steps the bound of each text and the law of the sampler with an exact denoiser, in double precision
//! by code that is independent of this project's.

use crate::mixing::{Law, Noise};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::MaskShare;
use tempest::program::{
    Builder, DType, GIVEN, LogitsGrad, Mat, Mixing, NoisedCost, NoisedLoss, Persistence, Plan, Program, Renoise,
    SamplingParams, StepArgs,
};
use tempest::rng::{Stream, UNIFORM_STEPS, normals, philox, threshold};

const V: usize = 3;
const L: usize = 3;
const TEXTS: usize = 27;
const MASK: u32 = V as u32;

/// The toys, and what noise is in each.
fn toys() -> [Toy; 3] {
    [
        Toy::open("uniform", MaskShare::default()),
        Toy::open("mixed", 0.7.into()),
        Toy::open("gidd", MaskShare::Gidd(0.2)),
    ]
}

struct Toy {
    file: Value,
    p: Vec<f64>,
    noise: Noise,
    mixing: Mixing,
}

fn numbers(of: &Value) -> Vec<f64> {
    of.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// The digits of a text, the first one highest.
fn text(number: usize, symbols: usize) -> [usize; L] {
    [number / symbols / symbols, number / symbols % symbols, number % symbols]
}

impl Toy {
    fn open(name: &str, masks: MaskShare) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/laws/{name}.json"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let weights = numbers(&file["p_weights"]);
        let sum: f64 = weights.iter().sum();
        let noise = Noise { masks, others: V as f64 };
        Toy { p: weights.iter().map(|w| w / sum).collect(), file, noise, mixing: Mixing::new(MASK, V as u32, masks) }
    }

    /// The noise rate of the i-th of so many times that lie evenly.
    fn rate_at(&self, i: u32, steps: u32) -> f64 {
        1.0 - self.noise.at_time(f64::from(i) / f64::from(steps)).keep
    }

    fn q(law: Law, z: usize, x: usize) -> f64 {
        law.noise(z == V) + if z == x { law.keep } else { 0.0 }
    }

    /// What noise makes of a token: one of so many.
    fn states(&self) -> usize {
        if self.mixing.mask_share > 0 { V + 1 } else { V }
    }

    /// ln p(x_i | z without z_i) of every symbol, and something of the mask.
    fn leave_one_out(&self, law: Law, z: [usize; L], i: usize) -> Vec<f32> {
        let mut r = [0.0; V];
        for (number, p) in self.p.iter().enumerate() {
            let x = text(number, V);
            r[x[i]] += p * (0..L).filter(|&j| j != i).map(|j| Toy::q(law, z[j], x[j])).product::<f64>();
        }
        r.iter().map(|r| r.ln() as f32).chain([1.0]).take(self.states()).collect()
    }
}

/// Memory of every kind, and ops over it.
struct Desk {
    cpu: Cpu,
    program: Program,
}

impl Desk {
    fn new(write: impl FnOnce(&mut Plan, [tempest::program::RegionId; 2]) -> Program) -> Self {
        let mut plan = Plan::new();
        let floats = plan.region("floats", DType::F32, Persistence::Kept);
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let program = write(&mut plan, [floats, ids]);
        Desk { cpu: Cpu::new(Arc::new(plan)), program }
    }

    fn backend(&mut self) -> &mut dyn Backend {
        &mut self.cpu
    }

    fn run(&mut self, args: &StepArgs) {
        self.cpu.run(&self.program, args).unwrap();
    }
}

/// Costs of every text under every noise of it.
struct Costs {
    desk: Desk,
    logits: Mat,
    rates: Mat,
    loss: Mat,
    noises: usize,
}

impl Costs {
    fn new(toy: &Toy, cost: NoisedCost) -> Self {
        let symbols = toy.states();
        let noises = symbols.pow(L as u32);
        let sequences = TEXTS * noises;
        let mut mats = None;
        let mut desk = Desk::new(|plan, [floats, ids]| {
            let mut b = Builder::new(plan, "costs");
            let (logits, loss) = (b.alloc(floats, sequences * L, symbols), b.alloc(floats, sequences * L, 1));
            let [target, z] = [(); 2].map(|()| b.alloc(ids, sequences, L));
            let rates = b.alloc(ids, sequences, 2);
            b.push(NoisedLoss { logits, target, z, rates, mixing: toy.mixing, cost, loss, back: None });
            mats = Some([logits, target, z, rates, loss]);
            b.finish()
        });
        let [logits, target, z, rates, loss] = mats.unwrap();
        let each = |of: &dyn Fn(usize, usize) -> [usize; L]| -> Vec<u32> {
            (0..sequences).flat_map(|i| of(i / noises, i % noises)).map(|id| id as u32).collect()
        };
        desk.backend().write_u32(target, &each(&|x, _| text(x, V))).unwrap();
        desk.backend().write_u32(z, &each(&|_, z| text(z, symbols))).unwrap();
        Costs { desk, logits, rates, loss, noises }
    }

    /// E[Σ cost] over the noise of a rate, of every text, with an exact denoiser.
    fn expected(&mut self, toy: &Toy, [from, to]: [u32; 2]) -> Vec<f64> {
        let noises = self.noises;
        let law = toy.noise.at(f64::from(from.min(UNIFORM_STEPS - 1)) / f64::from(UNIFORM_STEPS));
        let symbols = toy.states();
        let rows = |z| (0..L).flat_map(move |i| toy.leave_one_out(law, text(z, symbols), i));
        let logits: Vec<f32> = (0..noises).flat_map(rows).collect();
        let pairs = [from, to].repeat(TEXTS * noises);
        let (of_logits, of_rates, of_loss) = (self.logits, self.rates, self.loss);
        self.desk.backend().write_f32(of_logits, &logits.repeat(TEXTS)).unwrap();
        self.desk.backend().write_u32(of_rates, &pairs).unwrap();
        self.desk.run(&StepArgs::default());
        let costs = self.desk.backend().read_f32(of_loss).unwrap();
        let of_text = |x: usize| {
            let of_noise = |z: usize| {
                let p: f64 = (0..L).map(|i| Toy::q(law, text(z, symbols)[i], text(x, V)[i])).product();
                p * costs[(x * noises + z) * L..][..L].iter().map(|&c| f64::from(c)).sum::<f64>()
            };
            (0..noises).map(of_noise).sum()
        };
        (0..TEXTS).map(of_text).collect()
    }
}

/// The change of variable μ = 1 - (1 - u³)² leaves u²·ln u at one end and makes what goes like √(1-μ) at the other, as GIDD's does, a slope:
/// by one of at most 200 a rule of 400 midpoints misses 200/24/400², 5·10⁻⁵. Costs in f32 are off by less than 10⁻⁶ of a few nats. A bound
/// that lost an end, 10⁻³ of the rates, would miss 10⁻².
#[test]
fn the_bound_of_an_exact_denoiser_is_the_likelihood_and_no_end_of_it_is_lost() {
    const NODES: usize = 400;
    for toy in toys() {
        let mut costs = Costs::new(&toy, NoisedCost::Bound);
        let mut bounds = [0.0; TEXTS];
        for node in 0..NODES {
            let u = (node as f64 + 0.5) / NODES as f64;
            let left = 1.0 - u * u * u;
            let (rate, weight) = (threshold(1.0 - left * left).max(1), 6.0 * left * u * u / NODES as f64);
            let expected = costs.expected(&toy, [rate, 0]);
            bounds.iter_mut().zip(expected).for_each(|(bound, cost)| *bound += weight * cost);
        }
        for (bound, exact) in bounds.into_iter().zip(numbers(&toy.file["minus_log_p"])) {
            assert!((bound - exact).abs() < 1e-4, "{bound}, and -ln p is {exact}");
        }
    }
}

#[test]
fn bounds_of_few_steps_are_those_that_were_enumerated_and_lie_above() {
    for toy in toys() {
        let mut costs = Costs::new(&toy, NoisedCost::Step);
        for steps in [1, 4] {
            let mut bounds = [0.0; TEXTS];
            for step in 0..steps {
                let rates = [step + 1, step].map(|i| threshold(toy.rate_at(i, steps)));
                let expected = costs.expected(&toy, rates);
                bounds.iter_mut().zip(expected).for_each(|(bound, cost)| *bound += cost);
            }
            let wanted = numbers(&toy.file["steps"][steps.to_string()]["bound_per_string"]);
            let exact = numbers(&toy.file["minus_log_p"]);
            for ((bound, wanted), _) in bounds.into_iter().zip(wanted).zip(&exact) {
                // Costs in f32 of a few nats.
                assert!((bound - wanted).abs() < 1e-5 * wanted, "{steps} steps: {bound}, wanted {wanted}");
            }
            let mean = |of: &[f64]| of.iter().zip(&toy.p).map(|(x, p)| x * p).sum::<f64>();
            assert!(mean(&bounds) >= mean(&exact), "{steps} steps");
        }
    }
}

/// Texts that are drawn of each law.
const DRAWS: usize = 100_000;

#[test]
fn what_is_sampled_with_an_exact_denoiser_has_the_law_that_was_enumerated() {
    for toy in toys() {
        for steps in [1_u32, 4] {
            let mut mats = None;
            let mut desk = Desk::new(|plan, [floats, ids]| {
                let mut b = Builder::new(plan, "step");
                let (logits, params) =
                    (b.alloc(floats, DRAWS * L, toy.states()), b.alloc(floats, DRAWS, SamplingParams::COLS));
                let [x, truth, masked, committed_at] = [(); 4].map(|()| b.alloc(ids, DRAWS, L));
                let (rates, remaining) = (b.alloc(ids, DRAWS, 2), b.alloc(ids, DRAWS, 1));
                let mixing = toy.mixing;
                b.push(Renoise { logits, params, rates, truth, mixing, x, masked, committed_at, remaining });
                mats = Some([logits, params, x, masked, committed_at, rates, remaining]);
                b.finish()
            });
            let [logits, params, x, masked, committed_at, rates, remaining] = mats.unwrap();
            let backend = desk.backend();
            let drawn = SamplingParams { temperature: 1.0, ..SamplingParams::MOST_PROBABLE };
            backend.write_f32(params, bytemuck::cast_slice(&vec![drawn; DRAWS])).unwrap();
            let noise = |i: u32| {
                let [symbol, mask, ..] = philox(3, Stream::Start, 0, i);
                toy.mixing.draw(symbol, mask, toy.mixing.masks_at(UNIFORM_STEPS))
            };
            backend.write_u32(x, &(0..(DRAWS * L) as u32).map(noise).collect::<Vec<_>>()).unwrap();
            backend.write_u32(masked, &vec![1; DRAWS * L]).unwrap();
            backend.write_u32(committed_at, &vec![GIVEN; DRAWS * L]).unwrap();
            backend.write_u32(remaining, &vec![L as u32; DRAWS]).unwrap();
            for step in 0..steps {
                let pair = [steps - step, steps - step - 1].map(|i| toy.rate_at(i, steps));
                let states = desk.backend().read_u32(x).unwrap();
                let law = toy.noise.at(pair[0]);
                let mut known = std::collections::HashMap::new();
                let mut rows = Vec::with_capacity(states.len() * V);
                for state in states.chunks_exact(L) {
                    let z = [0, 1, 2].map(|i| state[i] as usize);
                    rows.extend(
                        known
                            .entry(z)
                            .or_insert_with(|| (0..L).flat_map(|i| toy.leave_one_out(law, z, i)).collect::<Vec<f32>>())
                            .iter(),
                    );
                }
                desk.backend().write_f32(logits, &rows).unwrap();
                desk.backend().write_u32(rates, &pair.map(threshold).repeat(DRAWS)).unwrap();
                desk.run(&StepArgs { seed: 7, step: step.into(), ..StepArgs::default() });
            }
            assert!(desk.backend().read_u32(remaining).unwrap().iter().all(|&left| left == 0));
            let mut counts = [0.0; TEXTS];
            for state in desk.backend().read_u32(x).unwrap().chunks_exact(L) {
                counts[state.iter().fold(0, |number, &id| number * V + id as usize)] += 1.0;
            }
            let law = numbers(&toy.file["steps"][steps.to_string()]["sampler_law"]);
            let chi2 = |law: &[f64]| -> f64 {
                counts.iter().zip(law).map(|(n, p)| (n - p * DRAWS as f64).powi(2) / (p * DRAWS as f64)).sum()
            };
            // 26 degrees of freedom: five standard deviations, √52, above the mean, less than once in 10⁴. The data have another law.
            let most = 26.0 + 5.0 * 52.0_f64.sqrt();
            assert!(chi2(&law) < most, "{steps} steps: χ² {}", chi2(&law));
            assert!(chi2(&toy.p) > 10.0 * most, "{steps} steps are not told from infinitely many");
        }
    }
}

/// In double precision, as papers have it: `λ(z) · Σ_{j≠z} (r̂ - r + r ln(r/r̂))` with ratios to z, and `-ln P(x)`.
fn reference(cost: NoisedCost, noise: Noise, mask: usize, rate: f64, [x, z]: [usize; 2], logits: &[f64]) -> f64 {
    let (v, law) = (logits.len(), noise.at(rate));
    let b = |j: usize| law.noise(j == mask);
    let sum: f64 = (0..v).filter(|&j| j != mask).map(|j| logits[j].exp()).sum();
    let r = |j: usize| if j == mask { 0.0 } else { logits[j].exp() / sum };
    let q = |j: usize, x: usize| b(j) + if j == x { law.keep } else { 0.0 };
    let model = |j: usize| law.keep * r(j) + b(j);
    if cost == NoisedCost::CrossEntropy {
        return -(r(x) * q(z, x) / (0..v).map(|w| r(w) * q(z, w)).sum::<f64>()).ln();
    }
    let term = |j: usize| {
        let (wanted, found) = (q(j, x) / q(z, x), model(j) / model(z));
        found - wanted + if wanted > 0.0 { wanted * (wanted / found).ln() } else { 0.0 }
    };
    noise.jumps(rate)[usize::from(z != mask)] * (0..v).filter(|&j| j != z && b(j) > 0.0).map(term).sum::<f64>()
}

#[test]
fn costs_and_their_gradients_are_those_of_the_formulas() {
    // Seven symbols, the mask among them or behind.
    const V: usize = 7;
    let scaled = |i: u32| normals(philox(1, Stream::Init, 7, i)).map(|z| 2.0 * z);
    let logits: Vec<f32> = (0..63 * V as u32).flat_map(scaled).take(63 * V).collect();
    let noises =
        [(V as u32, MaskShare::default()), (2, MaskShare::default()), (2, 0.75.into()), (2, MaskShare::Gidd(0.1))];
    for (mask, masks) in noises {
        let noise = Noise { masks, others: (if mask == 2 { V - 1 } else { V }) as f64 };
        let mixing = Mixing::new(mask, noise.others as u32, masks);
        let real: Vec<u32> = (0..V as u32).filter(|&j| j != mixing.mask).collect();
        let targets: Vec<u32> = (0..63).map(|i| real[i * 5 % real.len()]).collect();
        // The token itself, another, and the mask where noise makes one.
        let noised = |(i, &x): (usize, &u32)| match i % 3 {
            0 => x,
            1 if mixing.mask_share > 0 => mixing.mask,
            _ => real[i * 11 % real.len()],
        };
        let z: Vec<u32> = targets.iter().enumerate().map(noised).collect();
        let rates: Vec<u32> = (0..21).flat_map(|b| [UNIFORM_STEPS / 23 * (b + 1), 0]).collect();
        for cost in [NoisedCost::Bound, NoisedCost::CrossEntropy] {
            let mut mats = None;
            let mut desk = Desk::new(|plan, [floats, ids]| {
                let mut b = Builder::new(plan, "loss");
                let [of_logits, dlogits] = [(); 2].map(|()| b.alloc(floats, 63, V));
                let [loss, weight, s] = [(); 3].map(|()| b.alloc(floats, 63, 1));
                let [target, of_z] = [(); 2].map(|()| b.alloc(ids, 21, 3));
                let of_rates = b.alloc(ids, 21, 2);
                let back = Some(LogitsGrad { sumsq: None, width: 1, weight, scale: None, dlogits, s });
                let (logits, z, rates) = (of_logits, of_z, of_rates);
                b.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back });
                mats = Some([logits, dlogits, loss, weight, s, target, z, rates]);
                b.finish()
            });
            let [of_logits, dlogits, loss, weight, s, target, of_z, of_rates] = mats.unwrap();
            let backend = desk.backend();
            backend.write_f32(of_logits, &logits).unwrap();
            backend.write_f32(weight, &[0.5; 63]).unwrap();
            [(target, &targets), (of_z, &z), (of_rates, &rates)]
                .into_iter()
                .for_each(|(mat, ids)| backend.write_u32(mat, ids).unwrap());
            desk.run(&StepArgs::default());
            let [losses, gradients, products] = [loss, dlogits, s].map(|mat| desk.backend().read_f32(mat).unwrap());
            for i in 0..63 {
                let row: Vec<f64> = logits[i * V..][..V].iter().map(|&y| f64::from(y)).collect();
                let rate = f64::from(rates[i / 3 * 2]) / f64::from(UNIFORM_STEPS);
                let of = |row: &[f64]| {
                    reference(cost, noise, mask as usize, rate, [targets[i], z[i]].map(|id| id as usize), row)
                };
                let (wanted, mut product) = (of(&row), 0.0);
                // A few roundings of terms of up to a few nats, over the smallest keep, 1/23.
                let close = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() < 2e-5 * wanted.abs().max(1.0);
                assert!(close(losses[i], wanted), "{cost:?} {mixing:?} row {i}: {}, wanted {wanted}", losses[i]);
                for j in 0..V {
                    let moved = |by: f64| {
                        of(&row.iter().enumerate().map(|(k, y)| y + if k == j { by } else { 0.0 }).collect::<Vec<_>>())
                    };
                    // A central difference is off by 10⁻⁸ of the third derivative.
                    let wanted = 0.5 * (moved(1e-4) - moved(-1e-4)) / 2e-4;
                    product += wanted * row[j];
                    let found = gradients[i * V + j];
                    assert!(close(found, wanted), "{cost:?} {mixing:?} row {i}, symbol {j}: {found}, wanted {wanted}");
                }
                assert!(
                    close(products[i], product),
                    "{cost:?} {mixing:?} row {i}: s {}, wanted {product}",
                    products[i]
                );
            }
        }
    }
}
