//! The model in double precision and plain loops, forward only: what the hand-written backward is differentiated
//! against. It shares no code with the engine but the order of the parameters.

use tempest::config::ModelConfig;
use tempest::model::Params;
use tempest::program::AttentionMask;

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
}

impl Reference<'_> {
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
            x = x.plus(&self.linear(&h, &format!("blocks.{block}.mlp.c_proj.weight")));
        }
        self.linear(&x.map_rows(|_, row| norm(row)), "output_head.weight")
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
        let o = q.map_rows(|row, q| {
            let (first, half) = (row / positions * positions, x.rows().count() / 2);
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
                let column = |j: usize| keys.iter().zip(&p).map(|(&key, p)| p / total * v.row(key)[j]).sum::<f64>();
                cols.clone().map(column).collect::<Vec<f64>>()
            };
            (0..self.config.n_head).flat_map(head_of).collect()
        });
        self.linear(&o, &format!("{name}.c_proj.weight"))
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
