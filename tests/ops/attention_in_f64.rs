//! Attention and its backward against the formulas in double precision, at odd sizes.

use half::bf16;
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::program::{
    Attention, AttentionBackward, AttentionMask, DType, NORM_EPS, Persistence, Plan, QkvNorms, Scores, StepArgs,
};

#[derive(Clone, Copy, Debug)]
struct Case {
    sequences: usize,
    t: usize,
    heads: usize,
    d: usize,
    mask: AttentionMask,
    dtype: DType,
}

fn noise(i: usize, salt: usize) -> f64 {
    let hash = ((i * 2_654_435_761) ^ (salt * 40_503)).wrapping_mul(2_246_822_519) >> 7;
    (hash % 2001) as f64 / 1000.0 - 1.0
}

/// What an op's operands hold, in f64, after `dtype` has rounded it.
struct Values(Vec<f64>);

impl Case {
    fn values(self, dtype: DType, rows: usize, cols: usize, salt: usize, f: impl Fn(f64) -> f64) -> Values {
        let round = |x: f64| match dtype {
            DType::Bf16 => f64::from(bf16::from_f64(x).to_f32()),
            _ => f64::from(x as f32),
        };
        Values((0..rows * cols).map(|i| round(f(noise(i, salt)))).collect())
    }
}

fn f32s(v: &Values) -> Vec<f32> {
    v.0.iter().map(|&x| x as f32).collect()
}

/// Largest difference over the largest magnitude.
fn worst(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
    found.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max) / largest
}

fn check(case: Case) {
    let Case { sequences, t, heads, d, mask, dtype } = case;
    let (n, c) = (sequences * t, heads * d);
    let mut plan = Plan::new();
    let acts = plan.region("activations", dtype, Persistence::Kept);
    let stats = plan.region("statistics", DType::F32, Persistence::Kept);
    let [qkv, out, d_o, dqkv] = [3 * c, c, c, 3 * c].map(|cols| plan.alloc(acts, n, cols));
    let slots = c.div_ceil(128);
    let [qk_rstd, lse, dot, sumsq, s] = [2 * heads, heads, heads, slots, heads].map(|cols| plan.alloc(stats, n, cols));
    let positions = t as u32;
    let scores = Scores::Free;
    let forward = Attention { qkv, positions, heads: heads as u32, mask, scores, dropout: None, o: out, lse };
    let backward = AttentionBackward {
        qkv,
        lse,
        d_o,
        dot,
        positions,
        heads: heads as u32,
        mask,
        norms: Some(QkvNorms { qk_rstd, sumsq, s }),
        dropout: None,
        dqkv,
    };
    let mut cpu = Cpu::new(Arc::new(plan));
    let cpu: &mut dyn Backend = &mut cpu;
    let y = case.values(dtype, n, 3 * c, 1, |x| 1.7 * x);
    let g = case.values(dtype, n, c, 2, |x| x);
    let head_rstd = case.values(DType::F32, n, 2 * heads, 3, |x| 1.5 + x);
    let squares = case.values(DType::F32, n, slots, 4, |x| 60.0 * (1.1 + x));
    cpu.write_f32(qkv, &f32s(&y)).unwrap();
    cpu.write_f32(d_o, &f32s(&g)).unwrap();
    cpu.write_f32(qk_rstd, &f32s(&head_rstd)).unwrap();
    cpu.write_f32(sumsq, &f32s(&squares)).unwrap();
    cpu.run_op(&forward.into(), &StepArgs::default()).unwrap();

    let scale = 1.0 / (d as f64).sqrt();
    let mut o_wanted = vec![0.0; n * c];
    let mut lse_wanted = vec![0.0; n * heads];
    let mut dot_wanted = vec![0.0; n * heads];
    let mut d_wanted = vec![0.0; n * 3 * c];
    let mut s_wanted = vec![0.0; n * heads];
    for (b, h) in (0..sequences).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let at = |row: usize, part: usize, i: usize| (b * t + row) * 3 * c + part * c + h * d + i;
        let sees = |i: usize, j: usize| mask == AttentionMask::Bidirectional || j <= i;
        let inner = |i: usize, pi: usize, j: usize, pj: usize| -> f64 {
            (0..d).map(|l| y.0[at(i, pi, l)] * y.0[at(j, pj, l)]).sum()
        };
        for i in 0..t {
            let go = |l: usize| (b * t + i) * c + h * d + l;
            let weights: Vec<f64> =
                (0..t).map(|j| if sees(i, j) { (scale * inner(i, 0, j, 1)).exp() } else { 0.0 }).collect();
            let sum: f64 = weights.iter().sum();
            lse_wanted[(b * t + i) * heads + h] = sum.ln();
            for (j, weight) in weights.iter().enumerate() {
                (0..d).for_each(|l| o_wanted[go(l)] += weight / sum * y.0[at(j, 2, l)]);
            }
            let dot: f64 = (0..d).map(|l| o_wanted[go(l)] * g.0[go(l)]).sum();
            dot_wanted[(b * t + i) * heads + h] = dot;
            for (j, weight) in weights.iter().enumerate() {
                let p = weight / sum;
                let dp: f64 = (0..d).map(|l| g.0[go(l)] * y.0[at(j, 2, l)]).sum();
                let ds = scale * p * (dp - dot);
                for l in 0..d {
                    d_wanted[at(i, 0, l)] += ds * y.0[at(j, 1, l)];
                    d_wanted[at(j, 1, l)] += ds * y.0[at(i, 0, l)];
                    d_wanted[at(j, 2, l)] += p * g.0[go(l)];
                }
            }
        }
        for row in 0..t {
            let n_row = b * t + row;
            let mean = squares.0[n_row * slots..][..slots].iter().sum::<f64>() / c as f64;
            let r = 1.0 / (mean + f64::from(NORM_EPS)).sqrt();
            let s = &mut s_wanted[n_row * heads + h];
            *s += (0..d).map(|l| d_wanted[at(row, 2, l)] * y.0[at(row, 2, l)]).sum::<f64>();
            (0..d).for_each(|l| d_wanted[at(row, 2, l)] *= r);
            for part in 0..2 {
                let head_rstd = head_rstd.0[n_row * 2 * heads + part * heads + h];
                let dot: f64 = (0..d).map(|l| d_wanted[at(row, part, l)] * y.0[at(row, part, l)]).sum();
                *s += f64::from(NORM_EPS) * head_rstd * head_rstd * dot;
                let z: Vec<f64> = (0..d)
                    .map(|l| r * head_rstd * (d_wanted[at(row, part, l)] - y.0[at(row, part, l)] * dot / d as f64))
                    .collect();
                for l in 0..d / 2 {
                    let angle = row as f64 / 10_000_f64.powf(2.0 * l as f64 / d as f64);
                    let (sin, cos) = angle.sin_cos();
                    d_wanted[at(row, part, l)] = z[l] * cos - z[l + d / 2] * sin;
                    d_wanted[at(row, part, l + d / 2)] = z[l] * sin + z[l + d / 2] * cos;
                }
            }
        }
    }
    // f32: sums of up to t terms of similar size. bf16: 2^-9 per rounding of weights, their gradients and the results.
    let tolerance = if dtype == DType::F32 { 1e-5 } else { 2e-2 };
    let compare = |what: &str, found: Vec<f32>, wanted: &[f64]| {
        let error = worst(&found, wanted);
        assert!(error < tolerance, "{what} is {error} off, {case:?}");
    };
    compare("o", cpu.read_f32(out).unwrap(), &o_wanted);
    compare("lse", cpu.read_f32(lse).unwrap(), &lse_wanted);
    let exact = |v: &[f64]| v.iter().map(|&x| x as f32).collect::<Vec<_>>();
    cpu.write_f32(lse, &exact(&lse_wanted)).unwrap();
    cpu.write_f32(dot, &exact(&dot_wanted)).unwrap();
    cpu.run_op(&backward.into(), &StepArgs::default()).unwrap();
    compare("dqkv", cpu.read_f32(dqkv).unwrap(), &d_wanted);
    compare("s", cpu.read_f32(s).unwrap(), &s_wanted);
}

#[test]
fn attention_and_its_backward_agree_with_f64() {
    for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
        for dtype in [DType::F32, DType::Bf16] {
            for (sequences, t, heads, d) in [(1, 1, 1, 2), (2, 7, 3, 10), (1, 33, 2, 32), (2, 130, 1, 64)] {
                check(Case { sequences, t, heads, d, mask, dtype });
            }
        }
    }
}
