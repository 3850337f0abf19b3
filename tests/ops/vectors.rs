//! Vectors with Gaussian noise: steps, predictions and bounds against numbers of another implementation, gradients against
//! differences.
//!
//! `tests/data/laws/gaussian.json` holds a toy of 2 positions of 3 symbols with vectors of 2 numbers, in which everything was
//! integrated; steps of DDPM and DDIM on three grids; and predictions with an output prior: in double precision, by code that is
//! independent of this project's.

use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{Gamma, Levels, Schedule};
use tempest::program::{
    Accumulate, Builder, DType, Denoise, Diffuse, DiffuseBackward, ErrorCost, GIVEN, LogitsGrad, Mat, Op, Persistence,
    Plan, ReadOff, RegionId, RenoiseVectors, SamplingParams, StepArgs, Streams, UnitRows, UnitsGrad, VectorCost,
    VectorInput, VectorLevel, VectorLoss, VectorStep, WeightGrad, WeightGrads,
};
use tempest::rng::{Stream, normals, philox};

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/laws/gaussian.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(of: &Value) -> Vec<f64> {
    of.as_array().unwrap().iter().flat_map(|x| x.as_f64().map_or_else(|| numbers(x), |x| vec![x])).collect()
}

fn f32s(of: &[f64]) -> Vec<f32> {
    of.iter().map(|&x| x as f32).collect()
}

/// Memory, ops over it, and what runs them.
struct Desk {
    plan: Plan,
    floats: RegionId,
    ids: RegionId,
    contents: Vec<(Mat, Vec<u8>)>,
}

impl Desk {
    fn new() -> Self {
        let mut plan = Plan::new();
        let floats = plan.region("floats", DType::F32, Persistence::Kept);
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        Desk { plan, floats, ids, contents: Vec::new() }
    }

    fn output(&mut self, rows: usize, cols: usize) -> Mat {
        self.plan.alloc(self.floats, rows, cols)
    }

    fn input(&mut self, rows: usize, cols: usize, values: &[f32]) -> Mat {
        let mat = self.output(rows, cols);
        assert_eq!(mat.len(), values.len());
        self.contents.push((mat, bytemuck::cast_slice(values).to_vec()));
        mat
    }

    fn ids(&mut self, rows: usize, cols: usize, values: &[u32]) -> Mat {
        let mat = self.plan.alloc(self.ids, rows, cols);
        assert_eq!(mat.len(), values.len());
        self.contents.push((mat, bytemuck::cast_slice(values).to_vec()));
        mat
    }

    fn steps(&mut self, steps: &[VectorStep]) -> Mat {
        self.input(steps.len(), VectorStep::COLS, bytemuck::cast_slice(steps))
    }

    fn run(mut self, ops: Vec<Op>, args: &StepArgs) -> Cpu {
        let mut b = Builder::new(&mut self.plan, "case");
        ops.into_iter().for_each(|op| b.push(op));
        let program = b.finish();
        let mut cpu = Cpu::new(Arc::new(self.plan));
        self.contents.iter().for_each(|(mat, bytes)| cpu.write_bytes(*mat, bytes).unwrap());
        cpu.run(&program, args).unwrap();
        cpu
    }
}

fn read(cpu: &mut Cpu, mat: Mat) -> Vec<f32> {
    let cpu: &mut dyn Backend = cpu;
    cpu.read_f32(mat).unwrap()
}

/// Within 10⁻⁵ of the largest number of a vector: a few roundings of f32.
#[track_caller]
fn close(found: impl IntoIterator<Item = f64>, wanted: &[f64], what: &str) {
    let largest = wanted.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    for (found, wanted) in found.into_iter().zip(wanted) {
        assert!((found - wanted).abs() <= 1e-5 * largest, "{what}: {found}, wanted {wanted}");
    }
}

#[test]
fn steps_of_ddpm_and_ddim_are_those_of_another_implementation() {
    let file = golden();
    let check = |case: &Value, from: [f64; 2], to: [f64; 2], [z, x]: [&str; 2], samples: &[(&str, f64)]| {
        let [z, x, n] = [z, x, "n"].map(|name| numbers(&case[name]));
        for &(name, eta) in samples {
            let step = VectorStep::default().leading(from, to, eta, 1.0);
            let next = (0..z.len()).map(|i| {
                f64::from(step.of_denoised) * x[i] + f64::from(step.of_noisy) * z[i] + f64::from(step.of_noise) * n[i]
            });
            close(next, &numbers(&case[name]), name);
            assert!((eta == 0.0) == (step.of_noise == 0.0) || to[1] == 0.0, "{name}: {step:?}");
        }
        // A score that is divided by τ is that of an x̂ as much nearer to what is there, z/α.
        let [one, warm] = [1.0, 1.25].map(|tau| VectorStep::default().leading(from, to, 0.5, tau));
        let nearer = |i: usize| x[i] / 1.25 + (1.0 - 1.0 / 1.25) * z[i] / from[0].sqrt();
        let next = |step: VectorStep, x: f64, z: f64| f64::from(step.of_denoised) * x + f64::from(step.of_noisy) * z;
        let wanted: Vec<f64> = (0..z.len()).map(|i| next(one, nearer(i), z[i])).collect();
        close((0..z.len()).map(|i| next(warm, x[i], z[i])), &wanted, "a warm score");
    };
    for grid in ["linear", "cosine", "sqrt"] {
        for case in file["updates"][grid].as_array().unwrap() {
            let squares = |name: &str| {
                let kept = case[name].as_f64().unwrap();
                [kept, 1.0 - kept]
            };
            let samples = [("ddpm_sample", 1.0), ("ddim_eta0.0", 0.0), ("ddim_eta0.5", 0.5), ("ddim_eta1.0", 1.0)];
            check(case, squares("abar_t"), squares("abar_s"), ["x_t", "x0_hat"], &samples);
        }
    }
    for case in file["vdm"]["cases"].as_array().unwrap() {
        let [from, to] = ["gamma_t", "gamma_s"].map(|name| Gamma::squares(case[name].as_f64().unwrap()));
        check(case, from, to, ["z_t", "x_hat"], &[("ancestral_sample", 1.0), ("ddim_eta0.0", 0.0)]);
    }
}

#[test]
fn what_is_known_of_a_vector_is_added_to_its_logits() {
    for case in golden()["output_prior"].as_array().unwrap() {
        let [units, z, logits] = ["E", "z", "logits"].map(|name| f32s(&numbers(&case[name])));
        let (v, d) = (logits.len(), z.len());
        let mut desk = Desk::new();
        // A symbol that is never predicted, however likely.
        let logits = desk.input(1, v + 1, &[&logits[..], &[50.0]].concat());
        let units = desk.input(v + 1, d, &[&units[..], &z[..]].concat());
        let (z, denoised) = (desk.input(1, d, &z), desk.output(1, d));
        let steps = desk.steps(&[VectorStep::level(Gamma::USUAL, case["gamma"].as_f64().unwrap(), 1.0)]);
        let ops = vec![Denoise { logits, z, units, steps, drop: v as u32, denoised }.into()];
        let mut cpu = desk.run(ops, &StepArgs::default());
        let found = read(&mut cpu, denoised);
        close(found.into_iter().map(f64::from), &numbers(&case["x_hat"]), "x̂");
    }
}

/// A toy whose exact denoiser is an enumeration.
struct Toy {
    file: Value,
    units: Vec<f64>,
    p: Vec<f64>,
    gamma: Gamma,
}

const V: usize = 3;
const L: usize = 2;
const D: usize = 2;

impl Toy {
    fn open() -> Self {
        let file = golden()["toy"].clone();
        let weights = numbers(&file["p_weights"]);
        let sum: f64 = weights.iter().sum();
        let [least, most] = ["g0", "g1"].map(|name| file[name].as_f64().unwrap() as f32);
        let units = numbers(&file["embeddings"]);
        Toy { p: weights.iter().map(|w| w / sum).collect(), file, units, gamma: Gamma { least, most } }
    }

    fn number(&self, name: &str) -> f64 {
        self.file[name].as_f64().unwrap()
    }

    /// Logits whose softmax with the output prior is p(x_i | z) of each position.
    fn logits(&self, gamma: f64, z: &[f32]) -> [f32; L * V] {
        let [alpha2, sigma2] = Gamma::squares(gamma);
        let (alpha, unit) = (alpha2.sqrt(), |v: usize| &self.units[v * D..][..D]);
        let along =
            |i: usize, v: usize| alpha / sigma2 * (0..D).map(|c| f64::from(z[i * D + c]) * unit(v)[c]).sum::<f64>();
        let mut logits = [0.0; L * V];
        let ln_q = |text: usize| self.p[text].ln() + along(0, text / V) + along(1, text % V);
        let most = (0..V * V).map(ln_q).fold(f64::MIN, f64::max);
        for i in 0..L {
            for v in 0..V {
                let with = (0..V).map(|other| if i == 0 { v * V + other } else { other * V + v });
                let sum: f64 = with.map(|text| (ln_q(text) - most).exp()).sum();
                logits[i * V + v] = (sum.ln() - along(i, v)) as f32;
            }
        }
        logits
    }
}

#[test]
fn terms_of_the_toys_bound_are_those_that_were_computed() {
    let toy = Toy::open();
    for case in toy.file["term_examples"].as_array().unwrap() {
        let gamma = case["gamma"].as_f64().unwrap();
        let z = f32s(&numbers(&case["z"]));
        let mut desk = Desk::new();
        let cost = 0.5 * f64::from(toy.gamma.most - toy.gamma.least) * (-gamma).exp();
        let steps = desk.steps(&[VectorStep::level(toy.gamma, gamma, cost)]);
        let (logits, units) = (desk.input(L, V, &toy.logits(gamma, &z)), desk.input(V, D, &f32s(&toy.units)));
        let words: Vec<u32> = numbers(&case["w"]).iter().map(|&w| w as u32).collect();
        let (target, z) = (desk.ids(1, L, &words), desk.input(L, D, &z));
        let [loss, denoised] = [1, D].map(|cols| desk.output(L, cols));
        let drop = V as u32;
        let ops = vec![
            VectorLoss { logits, target, z, units, steps, drop, cost: VectorCost::SquaredError, loss, back: None }
                .into(),
            Denoise { logits, z, units, steps, drop, denoised }.into(),
        ];
        let mut cpu = desk.run(ops, &StepArgs::default());
        close(read(&mut cpu, denoised).into_iter().map(f64::from), &numbers(&case["x_hat"]), "x̂");
        let (found, wanted) =
            (read(&mut cpu, loss).iter().map(|&x| f64::from(x)).sum::<f64>(), case["term"].as_f64().unwrap());
        // Logits in f32 are off by 10⁻⁶ of some tens: so is a probability, and its error twice.
        assert!((found - wanted).abs() <= 1e-4 * wanted + 1e-9, "{found}, wanted {wanted}");
    }
}

/// Texts of the toy's law, with noise of levels as evenly spaced as they are many; the costs of each text, and of reading it off.
fn costs(toy: &Toy, texts: usize, level: impl Fn(f64) -> VectorStep, gamma_of: impl Fn(f64) -> f64) -> [Vec<f64>; 2] {
    let place = |i: usize| (i as f64 + 0.5) / texts as f64;
    // An irrational stride: every level meets every text.
    let word = |i: usize| {
        let mut u = (i as f64 * 0.618_033_988_749_894_8).fract();
        toy.p.iter().position(|p| {
            u -= p;
            u < 0.0
        })
    };
    let words: Vec<u32> = (0..texts)
        .map(|i| word(i).unwrap_or(V * V - 1))
        .flat_map(|text| [text / V, text % V])
        .map(|v| v as u32)
        .collect();
    let all: Vec<VectorStep> = (0..texts).map(|i| level(place(i))).collect();
    let lay_out = |desk: &mut Desk| {
        (desk.ids(texts, L, &words), desk.input(V, D, &f32s(&toy.units)), desk.steps(&all), desk.output(texts * L, D))
    };
    let args = StepArgs { seed: 3, ..StepArgs::default() };
    let mut desk = Desk::new();
    let (x0, units, steps, z) = lay_out(&mut desk);
    let weight = desk.output(texts * L, 1);
    let noise = Diffuse { x0, units, level: VectorLevel::Given, streams: Streams::Eval, steps, z, weight };
    let vectors = read(&mut desk.run(vec![noise.into()], &args), z);
    let mut desk = Desk::new();
    let (target, units, steps, _) = lay_out(&mut desk);
    let rows = vectors.chunks_exact(L * D).enumerate().flat_map(|(i, z)| toy.logits(gamma_of(place(i)), z));
    let logits = desk.input(texts * L, V, &rows.collect::<Vec<_>>());
    let z = desk.input(texts * L, D, &vectors);
    let [errors, readings] = [(); 2].map(|()| desk.output(texts * L, 1));
    let (drop, cost, gamma, accumulate) = (V as u32, VectorCost::SquaredError, toy.gamma, Accumulate::Overwrite);
    let ops = vec![
        VectorLoss { logits, target, z, units, steps, drop, cost, loss: errors, back: None }.into(),
        ReadOff { target, units, gamma, drop, accumulate, loss: readings, back: None }.into(),
    ];
    let mut cpu = desk.run(ops, &args);
    [errors, readings].map(|mat| {
        let rows = read(&mut cpu, mat);
        rows.chunks_exact(L).map(|text| text.iter().map(|&x| f64::from(x)).sum()).collect()
    })
}

/// Mean and standard error.
fn mean(of: &[f64]) -> [f64; 2] {
    let n = of.len() as f64;
    let mean = of.iter().sum::<f64>() / n;
    [mean, (of.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n / n).sqrt()]
}

#[test]
fn the_bound_of_an_exact_denoiser_is_the_entropy_and_what_its_ends_cost() {
    const TEXTS: usize = 1 << 16;
    let toy = Toy::open();
    let prior = L as f64 * toy.gamma.prior_nats(D);
    assert!((prior - toy.number("prior")).abs() < 1e-9, "{prior}");
    let continuous = |u: f64| toy.gamma.at(Schedule::Linear, u);
    let half = 0.5 * f64::from(toy.gamma.most - toy.gamma.least);
    let level = |u: f64| VectorStep::level(toy.gamma, continuous(u), half * (-continuous(u)).exp());
    let [errors, readings] = costs(&toy, TEXTS, level, continuous);
    // Evenly spaced levels vary less than the standard error says.
    let [diffusion, error] = mean(&errors);
    assert!((diffusion - toy.number("diffusion")).abs() < 4.0 * error && error < 0.02, "{diffusion} ± {error}");
    let [reading, error] = mean(&readings);
    let wanted = toy.number("reconstruction_factored_decoder");
    assert!((reading - wanted).abs() < 4.0 * error && error < 0.001, "{reading} ± {error}, wanted {wanted}");
    assert!(prior + diffusion + reading + 0.06 > toy.number("entropy"), "a bound");
    // Of four steps: the cost of the step from t to s at t.
    let at = |i: f64| continuous(i / 4.0);
    let of = |u: f64| at((4.0 * u).floor() + 1.0);
    let step = |u: f64| {
        let [s, t] = [at((4.0 * u).floor()), of(u)];
        VectorStep::level(toy.gamma, t, 4.0 * 0.5 * ((-s).exp() - (-t).exp()))
    };
    let [diffusion, error] = mean(&costs(&toy, TEXTS, step, of)[0]);
    let wanted = toy.file["T_steps"]["4"]["diffusion"].as_f64().unwrap();
    assert!((diffusion - wanted).abs() < 4.0 * error && error < 0.05, "{diffusion} ± {error}, wanted {wanted}");
}

fn random(step: u64, n: usize) -> Vec<f32> {
    (0..n.div_ceil(4)).flat_map(|i| normals(philox(11, Stream::Init, step, i as u32))).take(n).collect()
}

/// Small on purpose, no two numbers alike: sequences, positions, symbols with one that is dropped, numbers of a vector.
const B: usize = 3;
const T: usize = 5;
const S: usize = 7;
const W: usize = 6;
const N: usize = B * T;
const DROP: usize = 2;
const FEATURES: usize = 16;

/// Everything that a loss is a function of, in double precision.
struct Case {
    table: Vec<f64>,
    logits: Vec<f64>,
    tokens: Vec<u32>,
    steps: Vec<VectorStep>,
    weight: Vec<f64>,
    dy: Vec<f64>,
    cost: VectorCost,
    gamma: Gamma,
    seed: u64,
}

impl Case {
    fn normals(&self, stream: Stream, row: usize) -> Vec<f64> {
        let (b, first) = (row / T, row % T * W);
        let number = |e: usize| f64::from(normals(philox(self.seed, stream, b as u64, (e / 4) as u32))[e % 4]);
        (first..first + W).map(number).collect()
    }

    /// `-ln softmax(logits + κ⟨z, E⟩)[target]` or the squared error, without the dropped symbol.
    fn cost(
        &self,
        units: &[f64],
        logits: &[f64],
        z: &[f64],
        target: usize,
        [alpha, sigma]: [f64; 2],
        squared: Option<f64>,
    ) -> f64 {
        let product = |v: usize| (0..W).map(|c| z[c] * units[v * W + c]).sum::<f64>();
        let of = |v: usize| if v == DROP { 0.0 } else { (logits[v] + alpha / (sigma * sigma) * product(v)).exp() };
        let p: Vec<f64> = (0..S).map(of).collect();
        let sum: f64 = p.iter().sum();
        let Some(factor) = squared else { return -(p[target] / sum).ln() };
        let off = |c: usize| (0..S).map(|v| p[v] / sum * units[v * W + c]).sum::<f64>() - units[target * W + c];
        factor * (0..W).map(|c| off(c).powi(2)).sum::<f64>()
    }

    /// The weighted losses, and what else a model makes of its input: as if `dy` came back from it.
    fn loss(&self, table: &[f64], logits: &[f64]) -> f64 {
        let unit = |row: &[f64]| {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter().map(|x| x / length).collect::<Vec<_>>()
        };
        let units: Vec<f64> = table.chunks_exact(W).flat_map(unit).collect();
        let at = |row: usize, stream, [alpha, sigma]: [f64; 2]| {
            let noise = self.normals(stream, row);
            (0..W).map(|c| alpha * units[self.tokens[row] as usize * W + c] + sigma * noise[c]).collect::<Vec<f64>>()
        };
        let least = VectorStep::level(self.gamma, self.gamma.least.into(), 0.0);
        let of_row = |row: usize| {
            let (step, target) = (self.steps[row / T], self.tokens[row] as usize);
            let level = |step: VectorStep| [f64::from(step.alpha), f64::from(step.sigma)];
            let ([alpha, sigma], z) = (level(step), at(row, Stream::Noise, level(step)));
            let squared = (self.cost == VectorCost::SquaredError).then_some(f64::from(step.cost));
            let mut loss = self.cost(&units, &logits[row * S..][..S], &z, target, level(step), squared);
            if squared.is_some() {
                let z = at(row, Stream::Decode, level(least));
                loss += self.cost(&units, &[0.0; S], &z, target, level(least), None);
            }
            let scale = (alpha * alpha / W as f64 + sigma * sigma).powf(-0.5);
            let beside: f64 = (0..W).map(|c| self.dy[row * (2 * W + FEATURES) + c] * scale * z[c]).sum();
            self.weight[row] * loss + beside
        };
        (0..N).map(of_row).sum()
    }
}

#[test]
fn gradients_by_logits_and_by_vectors_are_the_slopes_of_the_loss() {
    let gamma = Gamma { least: -1.0, most: 3.0 };
    let tokens: Vec<u32> = (0..N).map(|i| [0, 1, 3, 4, 5, 6, 1][i * 5 % 7]).collect();
    let [table, logits] = [(1, S * W), (2, N * S)].map(|(step, n)| random(step, n));
    let dy: Vec<f32> = random(3, N * (2 * W + FEATURES));
    let weight: Vec<f32> = (0..N).map(|i| [0.5, 0.0, 1.25][i % 3]).collect();
    let levels: Vec<VectorStep> = [-0.7, 0.4, 2.5].map(|g| VectorStep::level(gamma, g, 0.8 * f64::exp(-g))).to_vec();
    let wide = |of: &[f32]| of.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    for cost in [VectorCost::SquaredError, VectorCost::CrossEntropy] {
        let mut desk = Desk::new();
        let x0 = desk.ids(B, T, &tokens);
        let (of_table, of_logits) = (desk.input(S, W, &table), desk.input(N, S, &logits));
        let (of_dy, of_weight) = (desk.input(N, 2 * W + FEATURES, &dy), desk.input(N, 1, &weight));
        let steps = desk.steps(&levels);
        let [units, dunits, dtable] = [(); 3].map(|()| desk.output(S, W));
        let (rstd, z, own, ones) = (desk.output(S, 1), desk.output(N, W), desk.output(N, W), desk.output(N, 1));
        let products = VectorLoss::products(cost) + usize::from(cost == VectorCost::SquaredError);
        let (q, g) = (desk.output(products * N, S), desk.output(products * N, W));
        let [loss, s] = [(); 2].map(|()| desk.output(N, 1));
        let dlogits = desk.output(N, S);
        let some = |first: usize, count: usize| {
            let [q, g] = [q, g].map(|mat| mat.row_block(first * N, count * N));
            UnitsGrad { q, g, own }
        };
        let back = LogitsGrad { sumsq: None, width: 1, weight: of_weight, scale: None, dlogits, s };
        let (drop, of_loss) = (DROP as u32, VectorLoss::products(cost));
        let mut ops: Vec<Op> = vec![
            UnitRows { table: of_table, units, rstd }.into(),
            Diffuse { x0, units, level: VectorLevel::Given, streams: Streams::Train, steps, z, weight: ones }.into(),
            VectorLoss {
                logits: of_logits,
                target: x0,
                z,
                units,
                steps,
                drop,
                cost,
                loss,
                back: Some((back, some(0, of_loss))),
            }
            .into(),
        ];
        if of_loss < products {
            let (accumulate, back) = (Accumulate::Add, Some((of_weight, None, some(of_loss, 1))));
            ops.push(ReadOff { target: x0, units, gamma, drop, accumulate, loss, back }.into());
        }
        let grads = vec![WeightGrad { dy: q, x: g, dw: dunits }];
        ops.push(WeightGrads { grads, accumulate: Accumulate::Overwrite }.into());
        let accumulate = Accumulate::Overwrite;
        ops.push(DiffuseBackward { x0, steps, dy: of_dy, own, dunits, units, rstd, accumulate, dtable }.into());
        let args = StepArgs { seed: 21, ..StepArgs::default() };
        let mut cpu = desk.run(ops, &args);
        let [dlogits, s, dtable, losses] = [dlogits, s, dtable, loss].map(|mat| read(&mut cpu, mat));
        assert_eq!(read(&mut cpu, ones), [1.0; N]);

        let [table, logits, weight, dy] = [&table, &logits, &weight, &dy].map(|of| wide(of));
        let (nothing, tokens) = (vec![0.0; dy.len()], tokens.clone());
        let mut case =
            Case { table, logits, tokens, steps: levels.clone(), weight, dy: nothing, cost, gamma, seed: 21 };
        let total: f64 = losses.iter().zip(&case.weight).map(|(&loss, weight)| f64::from(loss) * weight).sum();
        let wanted = case.loss(&case.table, &case.logits);
        assert!((total - wanted).abs() < 1e-5 * wanted, "{cost:?}: a loss of {total}, wanted {wanted}");
        case.dy = dy;
        // Some tens of roundings of numbers of a few units, of which κ is three.
        let slope = |at: &dyn Fn(f64) -> f64| (at(1e-5) - at(-1e-5)) / 2e-5;
        let close = |found: f32, wanted: f64| (f64::from(found) - wanted).abs() < 2e-5 * wanted.abs().max(1.0);
        let moved = |of: &[f64], i: usize, by: f64| {
            let mut of = of.to_vec();
            of[i] += by;
            of
        };
        for (i, &found) in dtable.iter().enumerate() {
            let wanted = slope(&|by| case.loss(&moved(&case.table, i, by), &case.logits));
            assert!(close(found, wanted), "{cost:?}: by number {i} of the table {found}, wanted {wanted}");
        }
        let mut products = vec![0.0; N];
        for (i, &found) in dlogits.iter().enumerate() {
            let wanted = slope(&|by| case.loss(&case.table, &moved(&case.logits, i, by)));
            assert!(close(found, wanted), "{cost:?}: by logit {i} {found}, wanted {wanted}");
            products[i / S] += wanted * case.logits[i];
        }
        assert!(s.iter().zip(products).all(|(&found, wanted)| close(found, wanted)), "{cost:?}: {s:?}");
    }
}

#[test]
fn what_a_model_reads_has_squares_of_about_1_and_says_how_much_noise_there_is() {
    let levels = [-3.0, 0.5, 5.0].map(|g| VectorStep::level(Gamma::USUAL, g, 1.0));
    let (z, x) = (random(5, N * W), random(6, N * W));
    for told in [false, true] {
        let mut desk = Desk::new();
        let (of_z, of_x, steps) = (desk.input(N, W, &z), desk.input(N, W, &x), desk.steps(&levels));
        let y = desk.output(N, 2 * W + FEATURES);
        let ops = vec![VectorInput { z: of_z, steps, denoised: told.then_some(of_x), y }.into()];
        let y = read(&mut desk.run(ops, &StepArgs::default()), y);
        for (row, y) in y.chunks_exact(2 * W + FEATURES).enumerate() {
            let step = levels[row / T];
            let [alpha, sigma, place] = [step.alpha, step.sigma, step.place].map(f64::from);
            let scale = (alpha * alpha / W as f64 + sigma * sigma).powf(-0.5);
            let of_x = if told { (W as f64).sqrt() } else { 0.0 };
            let number = |i: usize| match i {
                i if i < W => scale * f64::from(z[row * W + i]),
                i if i < 2 * W => of_x * f64::from(x[row * W + i - W]),
                i => (std::f64::consts::PI * (i - 2 * W) as f64 * place).cos(),
            };
            for (i, &found) in y.iter().enumerate() {
                // Of a place in 23 bits, times up to fifteen half turns.
                assert!(
                    (f64::from(found) - number(i)).abs() < 1e-5 * number(i).abs().max(1.0),
                    "row {row}, number {i}"
                );
            }
        }
    }
}

#[test]
fn levels_are_drawn_evenly_and_weigh_as_their_density_says() {
    const SEQUENCES: usize = 512;
    for (schedule, levels) in [
        (Schedule::Linear, Levels::UNIFORM),
        (Schedule::Cosine, Levels::UNIFORM),
        (Schedule::Sqrt, Levels::UNIFORM),
        (Schedule::Linear, "beta:3:5".parse().unwrap()),
    ] {
        let (gamma, mut desk) = (Gamma::USUAL, Desk::new());
        let x0 = desk.ids(SEQUENCES, 1, &[0; SEQUENCES]);
        let quantiles = desk.ids(1, 257, &gamma.quantiles(schedule, levels));
        let (units, z, weight) = (desk.input(1, W, &[0.0; W]), desk.output(SEQUENCES, W), desk.output(SEQUENCES, 1));
        let steps = desk.output(SEQUENCES, VectorStep::COLS);
        let level = VectorLevel::Drawn { of: SEQUENCES as u32, quantiles, gamma, cost: ErrorCost::Bound };
        let ops = vec![Diffuse { x0, units, level, streams: Streams::Train, steps, z, weight }.into()];
        let mut cpu = desk.run(ops, &StepArgs { seed: 9, ..StepArgs::default() });
        let [found, weights, z] = [steps, weight, z].map(|mat| read(&mut cpu, mat));
        let found: &[VectorStep] = bytemuck::cast_slice(&found);
        let [least, most] = [gamma.least, gamma.most].map(f64::from);
        for step in found {
            let of = least + (most - least) * f64::from(step.place);
            let wanted = VectorStep::level(gamma, of, 0.5 * (most - least) * (-of).exp());
            let close = |a: f32, b: f32| (a - b).abs() < 2e-6 * b.abs();
            assert!(
                close(step.alpha, wanted.alpha) && close(step.sigma, wanted.sigma) && close(step.cost, wanted.cost)
            );
        }
        // ∫ p(place)^2 d place of [0, 1]: levels of equal shares, each weighed by one over its density, cover the axis evenly.
        let integral: f64 =
            found.iter().zip(&weights).map(|(step, &weight)| f64::from(weight) * f64::from(step.place).powi(2)).sum();
        assert!((integral - 1.0 / 3.0).abs() < 0.01, "{schedule} {levels}: {integral}");
        // Vectors of nothing but noise: z/σ is standard normal, ±5 standard errors of its square.
        let squares = z
            .chunks_exact(W)
            .zip(found)
            .map(|(z, step)| z.iter().map(|z| f64::from(z / step.sigma).powi(2)).sum::<f64>());
        let mean = squares.sum::<f64>() / (SEQUENCES * W) as f64;
        assert!((mean - 1.0).abs() < 5.0 * (2.0 / (SEQUENCES * W) as f64).sqrt(), "{mean}");
    }
}

/// Texts of three positions, of which the second is known, one step before the last and then the last.
#[test]
fn a_step_leads_where_it_should_and_the_last_reads_tokens_off() {
    let (units, logits) = ([1.0, 0.0, 0.0, 1.0, -0.6, 0.8], [0.3, 0.1, -0.2, 5.0, 5.0, 5.0, -0.1, 2.0, 0.4]);
    let gamma = Gamma::USUAL;
    let leading = |from: f64, to: f64, eta: f64| {
        VectorStep::level(gamma, from, 0.0).leading(Gamma::squares(from), Gamma::squares(to), eta, 1.0)
    };
    // Back from where it leads there is the noise of where it began, to f32's roundings.
    let step = leading(1.0, -1.0, 0.5);
    let [kept, added] = step.back();
    assert!((kept * step.alpha_to - step.alpha).abs() < 1e-6);
    assert!(((kept * step.sigma_to).powi(2) + added.powi(2) - step.sigma.powi(2)).abs() < 1e-6);
    let run = |step: VectorStep, temperature: f32, z: &[f32]| {
        let mut desk = Desk::new();
        let drop = 3;
        let [of_units, of_logits] = [(3, 2, &units[..]), (3, 3, &logits[..])].map(|(n, c, of)| desk.input(n, c, of));
        let (of_z, denoised, steps) = (desk.input(3, 2, z), desk.input(3, 2, &[0.0; 6]), desk.steps(&[step]));
        let params = SamplingParams { temperature, ..SamplingParams::MOST_PROBABLE };
        let params = desk.input(1, SamplingParams::COLS, bytemuck::cast_slice(&[params]));
        let [truth, x] = [[0, 2, 0], [0, 2, 0]].map(|ids| desk.ids(1, 3, &ids));
        let (masked, committed_at) = (desk.ids(1, 3, &[1, 0, 1]), desk.ids(1, 3, &[GIVEN; 3]));
        let remaining = desk.ids(1, 1, &[2]);
        let (logits, units, z) = (of_logits, of_units, of_z);
        let op = RenoiseVectors {
            logits,
            params,
            steps,
            units,
            truth,
            drop,
            z,
            denoised,
            x,
            masked,
            committed_at,
            remaining,
        };
        let mut cpu = desk.run(vec![op.into()], &StepArgs { seed: 4, step: 6, ..StepArgs::default() });
        let floats = [z, denoised].map(|mat| read(&mut cpu, mat));
        let cpu: &mut dyn Backend = &mut cpu;
        (floats, [x, masked, committed_at, remaining].map(|mat| cpu.read_u32(mat).unwrap()))
    };
    let z = [0.4, 0.2, 9.0, 9.0, -0.3, 0.5];
    let noise: Vec<f32> = (0..2).flat_map(|i| normals(philox(4, Stream::Noise, 6 << 32, i))).take(6).collect();
    for (eta, temperature) in [(0.0, 1.0), (1.0, 0.5), (0.5, 0.0)] {
        let step = leading(0.5, -0.5, eta);
        let ([found, denoised], [x, masked, committed_at, remaining]) = run(step, temperature, &z);
        for p in [0, 2] {
            let sharpness = step.alpha / (step.sigma * step.sigma);
            let along = |v: usize| z[2 * p] * units[2 * v] + z[2 * p + 1] * units[2 * v + 1];
            let of: Vec<f32> = (0..3).map(|v| logits[3 * p + v] + sharpness * along(v)).collect();
            let best = (0..3).max_by(|&a, &b| of[a].total_cmp(&of[b])).unwrap();
            let p_of = |v: usize| match temperature {
                0.0 => f32::from(u8::from(v == best)),
                t => (of[v] / t).exp() / (0..3).map(|v| (of[v] / t).exp()).sum::<f32>(),
            };
            for c in 0..2 {
                let i = 2 * p + c;
                let wanted: f32 = (0..3).map(|v| p_of(v) * units[2 * v + c]).sum();
                let next = step.of_denoised * wanted + step.of_noisy * z[i] + step.of_noise * noise[i];
                assert!((denoised[i] - wanted).abs() < 1e-5 && (found[i] - next).abs() < 1e-5, "η {eta}, position {p}");
            }
            assert_eq!((x[p], committed_at[p]), (best as u32, 6));
        }
        // What is known has noise of the level that is reached.
        let known = |c: usize| step.alpha_to * units[4 + c] + step.sigma_to * noise[2 + c];
        assert!((0..2).all(|c| (found[2 + c] - known(c)).abs() < 1e-6) && denoised[2..4] == units[4..6]);
        assert_eq!((x[1], committed_at[1], &masked[..], &remaining[..]), (2, GIVEN, &[1, 0, 1][..], &[2][..]));
    }
    // Clamped: x̂ is a token's vector at any temperature.
    let clamped = VectorStep { clamps: 1.0, ..leading(0.5, -0.5, 0.0) };
    let ([_, denoised], _) = run(clamped, 1.0, &z);
    assert!(denoised.chunks_exact(2).all(|x| units.chunks_exact(2).any(|unit| unit == x)), "{denoised:?}");
    // The last step reads off the nearest token, and finishes the text.
    let last = VectorStep { of_denoised: 0.0, of_noisy: 1.0, of_noise: 0.0, ends: 1.0, ..leading(0.5, -4.0, 0.0) };
    let ([found, _], [x, masked, _, remaining]) = run(last, 1.0, &[0.9, 0.1, 0.0, 0.0, -0.5, 0.4]);
    assert_eq!(
        (&found[..2], &x[..], &masked[..], &remaining[..]),
        (&[0.9, 0.1][..], &[0, 2, 2][..], &[0; 3][..], &[0][..])
    );
}
