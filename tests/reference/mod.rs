//! The model in double precision and plain loops, forward only: what the hand-written backward is differentiated
//! against. It shares no code with the engine but the order of the parameters.

use tempest::config::{Architecture, ModelConfig};
use tempest::model::Params;
use tempest::program::{AttentionMask, weight_number};
use tempest::rng::{Stream, philox, threshold, uniform24};

/// ε of every norm.
const EPS: f64 = 1.192_092_9e-7;

/// Row-major `[rows, cols]`.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) cols: usize,
    pub(crate) data: Vec<f64>,
}

impl Matrix {
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, f64> {
        self.data.chunks_exact(self.cols)
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.data[row * self.cols..][..self.cols]
    }

    fn map_rows(&self, f: impl Fn(usize, &[f64]) -> Vec<f64>) -> Matrix {
        let rows: Vec<Vec<f64>> = self.rows().enumerate().map(|(i, row)| f(i, row)).collect();
        Matrix { cols: rows[0].len(), data: rows.concat() }
    }

    fn plus(&self, other: &Matrix) -> Matrix {
        Matrix { cols: self.cols, data: self.data.iter().zip(&other.data).map(|(a, b)| a + b).collect() }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By its series of positive terms, 2/√π·e^(-x²)·Σ 2ⁿx^(2n+1)/(2n+1)!!.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, 0.0);
    for n in 0..200 {
        sum += term;
        term *= 2.0 * x * x / f64::from(2 * n + 3);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

fn norm(x: &[f64]) -> Vec<f64> {
    let r = 1.0 / (dot(x, x) / x.len() as f64 + EPS).sqrt();
    x.iter().map(|x| x * r).collect()
}

fn rotate(position: usize, head: &[f64]) -> Vec<f64> {
    let (d, half) = (head.len(), head.len() / 2);
    let mut out = vec![0.0; d];
    for i in 0..half {
        let (sin, cos) = (position as f64 / 10_000_f64.powf(2.0 * i as f64 / d as f64)).sin_cos();
        out[i] = head[i] * cos + head[half + i] * sin;
        out[half + i] = head[half + i] * cos - head[i] * sin;
    }
    out
}

/// A model with weights.
pub(crate) struct Reference<'a> {
    pub config: &'a ModelConfig,
    pub mask: AttentionMask,
    /// All parameters, packed as [`Params`] says.
    pub weights: &'a [f64],
    /// Probability of a number to be dropped, in step 0 under seed 0.
    pub dropout: f32,
}

impl Reference<'_> {
    /// The first place of a block where numbers are dropped; the embedding's, 0, is before all.
    fn place(&self, block: usize) -> usize {
        1 + block * (2 + self.config.n_head)
    }

    /// What a number of a sequence is multiplied by at one of a pass's places.
    fn kept(&self, place: usize, sequence: usize, number: usize) -> f64 {
        let step = sequence * self.place(self.config.n_layer) + place;
        let words = philox(0, Stream::Dropout, step as u64, number as u32 / 4);
        let dropped = uniform24(words[number % 4]) < threshold(self.dropout.into());
        if dropped { 0.0 } else { 1.0 / (1.0 - f64::from(self.dropout)) }
    }

    fn dropped(&self, x: &Matrix, place: usize, positions: usize) -> Matrix {
        let copies = if let AttentionMask::Blocks { .. } = self.mask { 2 } else { 1 };
        let sequences = x.rows().count() / positions / copies;
        x.map_rows(|row, x| {
            // The rows of a text with noise, and behind them those of it without.
            let (sequence, position) =
                (row / positions % sequences, row / positions / sequences * positions + row % positions);
            let factor = |col| self.kept(place, sequence, position * x.len() + col);
            (0..x.len()).map(|col| x[col] * factor(col)).collect()
        })
    }

    fn weight(&self, name: &str) -> Matrix {
        let params = Params::new(self.config);
        let p = params.iter().find(|p| p.name == name).unwrap();
        Matrix { cols: p.shape[1], data: self.weights[p.offset..][..p.shape[0] * p.shape[1]].to_vec() }
    }

    fn linear(&self, x: &Matrix, name: &str) -> Matrix {
        let w = self.weight(name);
        x.map_rows(|_, x| w.rows().map(|w| dot(x, w)).collect())
    }

    /// Logits `[N, V]` of tokens `[B, T]` at timesteps `[B]`.
    pub(crate) fn logits(&self, ids: &[u32], t: &[u32]) -> Matrix {
        let c = self.config;
        if c.architecture != Architecture::Original {
            return self.gpt_logits(ids, ids.len() / t.len());
        }
        let (positions, token) = (ids.len() / t.len(), self.weight("token_emb.weight"));
        let time = (c.diffusion_steps > 0).then(|| self.weight("time_emb.weight"));
        let embedded = ids.iter().enumerate().flat_map(|(i, &id)| {
            let token = token.row(id as usize).to_vec();
            let e = match &time {
                Some(time) => token.iter().zip(time.row(t[i / positions] as usize)).map(|(a, b)| a + b).collect(),
                None => token,
            };
            norm(&e)
        });
        let mut x = Matrix { cols: c.n_embd, data: embedded.collect() };
        for block in 0..c.n_layer {
            x = self.mixed(x, positions, &format!("blocks.{block}.attn.conv.weight"));
            x = x.plus(&self.attention(&x, positions, &format!("blocks.{block}.attn")));
            x = self.mixed(x, positions, &format!("blocks.{block}.mlp.conv.weight"));
            let normed = x.map_rows(|_, row| norm(row));
            let mut h = self.linear(&normed, &format!("blocks.{block}.mlp.c_fc.weight"));
            h.data.iter_mut().for_each(|y| *y = y.max(0.0) * y.max(0.0));
            let branch = self.linear(&h, &format!("blocks.{block}.mlp.c_proj.weight"));
            x = x.plus(&self.dropped(&branch, self.place(block) + 1, positions));
        }
        self.linear(&x.map_rows(|_, row| norm(row)), "output_head.weight")
    }

    fn gpt_logits(&self, ids: &[u32], positions: usize) -> Matrix {
        let (token, position) = (self.weight("transformer.wte.weight"), self.weight("transformer.wpe.weight"));
        let sum = |(i, &id): (usize, &u32)| {
            let row = token.row(id as usize).iter().zip(position.row(i % positions)).map(|(a, b)| a + b);
            row.collect::<Vec<f64>>()
        };
        let x = Matrix { cols: token.cols, data: ids.iter().enumerate().flat_map(sum).collect() };
        let mut x = self.dropped(&x, 0, positions);
        for block in 0..self.config.n_layer {
            let name = |part: &str| format!("transformer.h.{block}.{part}");
            let qkv = self.affine(&self.layer_norm(&x, &name("ln_1")), &name("attn.c_attn"));
            let c = token.cols;
            let part = |part: usize| qkv.map_rows(|_, row| row[part * c..(part + 1) * c].to_vec());
            let o = self.heads([&part(0), &part(1), &part(2)], positions, Some(self.place(block) + 2));
            let branch = self.affine(&o, &name("attn.c_proj"));
            x = x.plus(&self.dropped(&branch, self.place(block), positions));
            let mut h = self.affine(&self.layer_norm(&x, &name("ln_2")), &name("mlp.c_fc"));
            h.data.iter_mut().for_each(|u| *u *= 0.5 * (1.0 + erf(*u / std::f64::consts::SQRT_2)));
            let branch = self.affine(&h, &name("mlp.c_proj"));
            x = x.plus(&self.dropped(&branch, self.place(block) + 1, positions));
        }
        let normed = self.layer_norm(&x, "transformer.ln_f");
        normed.map_rows(|_, x| token.rows().map(|w| dot(x, w)).collect())
    }

    /// A bias, or zeros where the model has none.
    fn bias(&self, name: &str, cols: usize) -> Vec<f64> {
        let biased = self.config.architecture == Architecture::Gpt { bias: true };
        if biased { self.weight(&format!("{name}.bias")).data } else { vec![0.0; cols] }
    }

    fn affine(&self, x: &Matrix, name: &str) -> Matrix {
        let y = self.linear(x, &format!("{name}.weight"));
        let bias = self.bias(name, y.cols);
        y.map_rows(|_, y| y.iter().zip(&bias).map(|(y, b)| y + b).collect())
    }

    fn layer_norm(&self, x: &Matrix, name: &str) -> Matrix {
        let (gain, bias) = (self.weight(&format!("{name}.weight")).data, self.bias(name, x.cols));
        x.map_rows(|_, x| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let centred: Vec<f64> = x.iter().map(|x| x - mean).collect();
            let r = 1.0 / (dot(&centred, &centred) / x.len() as f64 + 1e-5).sqrt();
            centred.iter().zip(&gain).zip(&bias).map(|((x, gain), bias)| x * r * gain + bias).collect()
        })
    }

    /// Each position and its neighbours in the sequence by their weights, if the model mixes them.
    fn mixed(&self, x: Matrix, positions: usize, name: &str) -> Matrix {
        if self.config.short_conv == 0 {
            return x;
        }
        let w = self.weight(name);
        let before = match self.mask {
            AttentionMask::Bidirectional => self.config.short_conv / 2,
            AttentionMask::Causal => self.config.short_conv - 1,
            AttentionMask::Blocks { .. } => unreachable!("models of blocks mix nothing"),
        };
        x.map_rows(|row, own| {
            let mut sum = own.to_vec();
            for (tap, w) in w.rows().enumerate() {
                let position = row % positions + tap;
                if (before..positions + before).contains(&position) {
                    let other = x.row(row + tap - before);
                    sum.iter_mut().zip(w).zip(other).for_each(|((sum, w), x)| *sum += w * x);
                }
            }
            sum
        })
    }

    fn attention(&self, x: &Matrix, positions: usize, name: &str) -> Matrix {
        let normed = x.map_rows(|_, row| norm(row));
        let d = self.config.head_dim();
        let turned = |y: Matrix| {
            y.map_rows(|row, y| y.chunks_exact(d).flat_map(|head| norm(&rotate(row % positions, head))).collect())
        };
        let q = turned(self.linear(&normed, &format!("{name}.c_q.weight")));
        let k = turned(self.linear(&normed, &format!("{name}.c_k.weight")));
        let v = self.linear(&normed, &format!("{name}.c_v.weight"));
        let o = self.heads([&q, &k, &v], positions, None);
        self.linear(&o, &format!("{name}.c_proj.weight"))
    }

    /// What each head sees of the values, its weights dropped from a place on, one for each head.
    fn heads(&self, [q, k, v]: [&Matrix; 3], positions: usize, place: Option<usize>) -> Matrix {
        let d = self.config.head_dim();
        let half = q.rows().count() / 2;
        q.map_rows(|row, q| {
            let first = row / positions * positions;
            let keys: Vec<usize> = match self.mask {
                AttentionMask::Bidirectional => (first..first + positions).collect(),
                AttentionMask::Causal => (first..=row).collect(),
                AttentionMask::Blocks { length } => {
                    let own = row - row % positions % length as usize;
                    let own = own..own + length as usize;
                    // The second half of the rows are the texts without noise.
                    if row >= half {
                        (first..own.end).collect()
                    } else {
                        (half + first..half + own.start).chain(own).collect()
                    }
                }
            };
            let head_of = |head: usize| {
                let cols = head * d..(head + 1) * d;
                let p: Vec<f64> = (keys.iter())
                    .map(|&key| (dot(&q[cols.clone()], &k.row(key)[cols.clone()]) / (d as f64).sqrt()).exp())
                    .collect();
                let total: f64 = p.iter().sum();
                let left = |key: usize| {
                    let number = weight_number(positions, row - first, key - first);
                    place.map_or(1.0, |place| self.kept(place + head, row / positions, number))
                };
                let weights: Vec<f64> = keys.iter().zip(&p).map(|(&key, p)| left(key) * p / total).collect();
                let column = |j: usize| keys.iter().zip(&weights).map(|(&key, p)| p * v.row(key)[j]).sum::<f64>();
                cols.clone().map(column).collect::<Vec<f64>>()
            };
            (0..self.config.n_head).flat_map(head_of).collect()
        })
    }
}

/// -ln p(target) of each row, without symbol `drop`.
pub(crate) fn cross_entropy(logits: &Matrix, target: &[u32], drop: Option<u32>) -> Vec<f64> {
    let of_row = |(y, &target): (&[f64], &u32)| {
        let kept = (0..y.len()).filter(|&i| Some(i as u32) != drop).map(|i| y[i].exp());
        kept.sum::<f64>().ln() - y[target as usize]
    };
    logits.rows().zip(target).map(of_row).collect()
}
