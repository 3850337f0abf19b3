//! The parameters: names and shapes as the original's `state_dict` has them, packed one after another.

use super::gpt;
use crate::config::{Architecture, ModelConfig, Optimizer, ProcessConfig};
use crate::program::{Mat, Stack};
use crate::rng::{Stream, normals, philox};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::ops::Range;

/// What a parameter tensor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has a row for each symbol or timestep: an embedding, the head.
    Table,
    /// It maps vectors to vectors within a block: as many matrices of one shape, one above another.
    Matrices(usize),
    /// It weighs columns one by one.
    Columns,
    /// It is a gain or a bias, of one dimension: nothing decays it.
    Vector,
}

/// One parameter tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// As in the original: `blocks.3.mlp.c_fc.weight`.
    pub name: String,
    /// `[out, in]` of a linear layer, `[symbols, C]` of an embedding, `[1, n]` of what is a vector in files.
    pub shape: [usize; 2],
    /// First element in the packed vector of all parameters.
    pub offset: usize,
    /// Mean of the initial values: 1 of a gain.
    pub mean: f32,
    /// Their standard deviation.
    pub std: f32,
    /// What it does.
    pub role: Role,
    /// Whether training leaves it as it is.
    pub is_frozen: bool,
}

impl Param {
    /// Its elements in the packed vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.shape[0] * self.shape[1]
    }

    /// Its shape in files.
    pub fn dimensions(&self) -> &[usize] {
        if self.role == Role::Vector { &self.shape[1..] } else { &self.shape }
    }

    /// How many matrices it is.
    fn matrices(&self) -> usize {
        if let Role::Matrices(matrices) = self.role { matrices } else { 0 }
    }

    /// Whether it is AdamW that updates it.
    fn takes_adamw(&self, optimizer: Optimizer) -> bool {
        optimizer == Optimizer::AdamW || self.matrices() == 0
    }
}

/// What the names of an encoder's parameters begin with, and a decoder's.
pub(super) const ENCODER: &str = "encoder.";
pub(super) const DECODER: &str = "decoder.";

/// All parameter tensors in their order in memory. q, k and v of a block follow each other: together they are one
/// `[3C, C]` matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    list: Vec<Param>,
}

impl Params {
    /// The tensors of a model by itself: of one of latents those of the denoiser, then of the encoder and the decoder beside it.
    pub fn new(config: &ModelConfig) -> Self {
        match config.autoencoder {
            Some(_) => Params::of_latents(config),
            None => Params::of_modules(&[("", config)]),
        }
    }

    /// The same, of which a run that learns a stage leaves the others as they are.
    pub fn of_run(config: &ModelConfig, process: &ProcessConfig) -> Self {
        let mut params = Params::new(config);
        if let ProcessConfig::Latent { stage, .. } = process {
            for param in &mut params.list {
                let is_of_coder = [ENCODER, DECODER].iter().any(|prefix| param.name.starts_with(prefix));
                param.is_frozen = !(if is_of_coder { stage.learns_coder() } else { stage.learns_denoiser() });
            }
        }
        params
    }

    /// Those of several modules, each under a prefix such as `decoder.`, one after another.
    pub fn of_modules(modules: &[(&str, &ModelConfig)]) -> Self {
        let mut params = Params { list: Vec::new() };
        for (prefix, config) in modules {
            match config.architecture {
                Architecture::Original => params.add_module(prefix, config),
                Architecture::Gpt { bias } => {
                    gpt::parameters(config, bias).for_each(|(name, shape, role, [mean, std])| {
                        params.add(format!("{prefix}{name}"), shape, role, [mean, std])
                    })
                }
            }
        }
        params
    }

    fn add(&mut self, name: String, shape: [usize; 2], role: Role, [mean, std]: [f32; 2]) {
        self.list.push(Param { name, shape, offset: self.len(), mean, std, role, is_frozen: false });
    }

    fn of_latents(config: &ModelConfig) -> Self {
        let (coder, c, v, d) = (config.coder(), config.n_embd, config.vocab_size, config.vector_dims);
        let (read, pooled) = (config.vector_inputs(), config.pool() * c);
        let mut params = Params { list: Vec::new() };
        let mut module =
            |prefix: &str, config: &ModelConfig, first: (&str, [usize; 2], f32), last: (&str, [usize; 2], f32)| {
                for (i, (name, shape, std)) in [first, last].into_iter().enumerate() {
                    params.add(format!("{prefix}{name}.weight"), shape, Role::Table, [0.0, std]);
                    if i == 0 {
                        params.add_blocks(prefix, config);
                    }
                }
            };
        module("", config, ("input_proj", [c, read], linear_std(c, read)), ("output_head", [d, c], 0.0));
        // Each number of what is pooled counts: latents have one length whatever it is, and what is made of them is normed.
        module(ENCODER, &coder, ("token_emb", [v, c], 1.0), ("pool", [d, pooled], linear_std(d, pooled)));
        module(DECODER, &coder, ("unpool", [pooled, d], 1.0), ("output_head", [v, c], 0.0));
        params
    }

    fn add_module(&mut self, prefix: &str, config: &ModelConfig) {
        let (c, v) = (config.n_embd, config.vocab_size);
        let mut add =
            |name: &str, shape, std| self.add(format!("{prefix}{name}.weight"), shape, Role::Table, [0.0, std]);
        match config.vector_dims {
            0 => add("token_emb", [v, c], 1.0),
            dims => {
                let read = config.vector_inputs();
                add("token_emb", [v, dims], 1.0);
                add("input_proj", [c, read], linear_std(c, read));
            }
        }
        if config.diffusion_steps > 0 {
            add("time_emb", [config.diffusion_steps, c], 1.0);
        }
        self.add_blocks(prefix, config);
        self.add(format!("{prefix}output_head.weight"), [v, c], Role::Table, [0.0, 0.0]);
    }

    fn add_blocks(&mut self, prefix: &str, config: &ModelConfig) {
        let (c, f) = (config.n_embd, config.mlp_width());
        let mut add = |name: &str, shape, std| {
            let role = if name.ends_with(".conv") { Role::Columns } else { Role::Matrices(1) };
            self.add(format!("{prefix}{name}.weight"), shape, role, [0.0, std]);
        };
        // Before the matrices of all blocks: AdamW updates them in one run with the embedding.
        for block in (0..config.n_layer).filter(|_| config.short_conv > 0) {
            for part in ["attn", "mlp"] {
                add(&format!("blocks.{block}.{part}.conv"), [config.short_conv, c], 0.0);
            }
        }
        for block in 0..config.n_layer {
            for name in ["c_q", "c_k", "c_v"] {
                add(&format!("blocks.{block}.attn.{name}"), [c, c], linear_std(c, c));
            }
            add(&format!("blocks.{block}.attn.c_proj"), [c, c], 0.0);
            add(&format!("blocks.{block}.mlp.c_fc"), [f, c], linear_std(f, c));
            add(&format!("blocks.{block}.mlp.c_proj"), [c, f], 0.0);
        }
    }

    /// Every parameter tensor, in the order of memory.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.list.iter()
    }

    /// Elements in all.
    pub fn len(&self) -> usize {
        self.list.last().map_or(0, |p| p.range().end)
    }

    /// Whether there are none; a model has some.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What training changes: the elements from the first such tensor to the last, between which there are no others.
    pub fn learned(&self) -> Range<usize> {
        let mut learned = self.list.iter().filter(|p| !p.is_frozen).map(Param::range);
        let first = learned.next().unwrap_or(0..0);
        first.start..learned.next_back().unwrap_or(first).end
    }

    /// What AdamW updates: runs of elements that follow each other, and whether weights there decay. Everything is in one run
    /// unless another optimizer takes a part, or there are vectors.
    pub fn of_adamw(&self, optimizer: Optimizer) -> Vec<(Range<usize>, bool)> {
        let mut runs: Vec<(Range<usize>, bool)> = Vec::new();
        for param in self.list.iter().filter(|p| !p.is_frozen && p.takes_adamw(optimizer)) {
            let (range, decays) = (param.range(), param.role != Role::Vector);
            match runs.last_mut() {
                Some((last, same)) if last.end == range.start && *same == decays => last.end = range.end,
                _ => runs.push((range, decays)),
            }
        }
        runs
    }

    /// Elements of the second moment, which AdamW alone has.
    pub fn second_moments(&self, optimizer: Optimizer) -> usize {
        self.of_adamw(optimizer).iter().map(|(run, _)| run.len()).sum()
    }

    /// What Muon updates: stacks of matrices of equal shapes, the largest first, and where each of their matrices begins. Those
    /// that are one tensor are apart.
    pub fn matrices(&self, optimizer: Optimizer) -> (Vec<Stack>, Vec<u32>) {
        let of_muon = self.list.iter().filter(|p| !p.is_frozen && !p.takes_adamw(optimizer));
        let mut found: Vec<([usize; 2], usize)> = of_muon
            .flat_map(|p| {
                let shape = [p.shape[0] / p.matrices(), p.shape[1]];
                p.range().step_by(shape[0] * shape[1]).map(move |place| (shape, place))
            })
            .collect();
        found.sort_by_key(|&(shape, _)| Reverse((shape[0] * shape[1], shape)));
        let shapes = found.chunk_by(|a, b| a.0 == b.0);
        let stacks = shapes.map(|of| Stack { matrices: of.len(), rows: of[0].0[0], cols: of[0].0[1] });
        let place = |&(_, place): &(_, usize)| u32::try_from(place).expect("it begins within the first 2³² parameters");
        (stacks.collect(), found.iter().map(place).collect())
    }

    /// A tensor's place within `all`, which holds every parameter (or gradient, or moment).
    #[track_caller]
    pub fn mat(&self, all: Mat, name: &str) -> Mat {
        let param = self.list.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no parameter {name}"));
        Mat { region: all.region, offset: all.offset + param.offset, rows: param.shape[0], cols: param.shape[1] }
    }

    /// Initial values: normal, std `min(1, √(out/in))/√in` for linear layers (Yang et al., "A Spectral Condition for
    /// Feature Learning", 2023) and 1 for embeddings; the head, both output projections and what mixes neighbours start at zero.
    /// Those of a GPT are as nanoGPT has them.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut all = vec![0.0; self.len()];
        let mut rest = all.as_mut_slice();
        for (tensor, param) in self.list.iter().enumerate() {
            let (values, after) = rest.split_at_mut(param.range().len());
            rest = after;
            values.fill(param.mean);
            if param.std > 0.0 {
                values.par_chunks_mut(4).enumerate().with_min_len(1024).for_each(|(i, four)| {
                    let z = normals(philox(seed, Stream::Init, tensor as u64, i as u32));
                    four.iter_mut().zip(z).for_each(|(w, z)| *w = z * param.std);
                });
            }
        }
        all
    }
}

fn linear_std(fan_out: usize, fan_in: usize) -> f32 {
    (1.0 / (fan_in as f64).sqrt() * (fan_out as f64 / fan_in as f64).sqrt().min(1.0)) as f32
}
