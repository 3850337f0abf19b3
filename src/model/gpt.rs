//! The transformer of GPT-2 under the names that nanoGPT (github.com/karpathy/nanoGPT, `model.py`) has for its parts.
//!
//! `x = wte[ids] + wpe[position]`; per block `x += c_proj(attention(c_attn(ln_1(x))))`, `x += c_proj(gelu(c_fc(ln_2(x))))`;
//! `logits = ln_f(x) wteᵀ`: the head is the embedding's table, whose gradient is the sum of both uses.

use super::dropout::{Drops, Place};
use super::pass::{Attend, Cost, Forward, HeadGrad, Heads, Keep, Kept as Passed, Last, Tokens};
use super::{Role, Transformer};
use crate::config::ModelConfig;
use crate::program::{
    Accumulate, AttentionBackward, BiasGrad, Builder, EmbedPositions, EmbedPositionsBackward, GeluBackward, LayerNorm,
    LayerNormBackward, Linear, LinearBackward, LinearGelu, Mat, ProjectionBackward, RegionId, WeightGrad, WeightGrads,
};

/// The table of tokens, which is the head too.
pub(super) const TOKENS: &str = "transformer.wte.weight";
const POSITIONS: &str = "transformer.wpe.weight";

/// What nanoGPT calls the head, and stores a second time.
pub const TIED: [(&str, &str); 1] = [("lm_head.weight", TOKENS)];

const EPS: f32 = 1e-5;

/// Every parameter in the order of memory: what decays, and then what does not. Name, shape, role, mean and standard deviation
/// of initial values.
pub(super) fn parameters(
    config: &ModelConfig,
    bias: bool,
) -> impl Iterator<Item = (String, [usize; 2], Role, [f32; 2])> {
    const STD: f32 = 0.02;
    let (c, f, layers) = (config.n_embd, config.mlp_width(), config.n_layer);
    // Of what adds to the stream, so that it does not grow with the layers (GPT-2, section 2.3).
    let into_stream = STD / (2.0 * layers as f32).sqrt();
    let tables = [(TOKENS, config.vocab_size), (POSITIONS, config.sequence_len)];
    let tables = tables.map(|(name, rows)| (name.to_owned(), [rows, c], Role::Table, [0.0, STD]));
    let matrices = (0..layers).flat_map(move |i| {
        [
            ("attn.c_attn", 3, [c, c], STD),
            ("attn.c_proj", 1, [c, c], into_stream),
            ("mlp.c_fc", 1, [f, c], STD),
            ("mlp.c_proj", 1, [c, f], into_stream),
        ]
        .map(|(part, n, [rows, cols], std)| {
            (format!("transformer.h.{i}.{part}.weight"), [n * rows, cols], Role::Matrices(n), [0.0, std])
        })
    });
    let of_blocks = (0..layers).flat_map(move |i| {
        let norm = |name| (format!("transformer.h.{i}.{name}"), c, true);
        let product = |name, n| (format!("transformer.h.{i}.{name}"), n, false);
        let products = [("attn.c_attn", 3 * c), ("attn.c_proj", c), ("mlp.c_fc", f), ("mlp.c_proj", c)];
        ["ln_1", "ln_2"].map(norm).into_iter().chain(products.map(|(name, n)| product(name, n)))
    });
    let vectors = of_blocks.chain([("transformer.ln_f".to_owned(), c, true)]).flat_map(move |(name, n, is_norm)| {
        let vector = |kind, mean| (format!("{name}.{kind}"), [1, n], Role::Vector, [mean, 0.0]);
        [is_norm.then(|| vector("weight", 1.0)), bias.then(|| vector("bias", 0.0))].into_iter().flatten()
    });
    tables.into_iter().chain(matrices).chain(vectors.collect::<Vec<_>>())
}

/// What the backward needs of a forward pass.
#[derive(Clone, Debug)]
pub struct Kept {
    ids: Mat,
    blocks: Vec<Block>,
    last: Norm,
}

/// A LayerNorm that was done.
#[derive(Clone, Copy, Debug)]
struct Norm {
    /// `[N, C]`, the stream.
    x: Mat,
    /// `[N, C]`.
    y: Mat,
    /// `[N, 1]` each.
    mean: Mat,
    rstd: Mat,
}

/// What a block leaves.
#[derive(Clone, Copy, Debug)]
struct Block {
    before: Norm,
    heads: Heads,
    middle: Norm,
    /// `[N, F]` each: before GELU and behind it.
    u: Mat,
    h: Mat,
}

impl Transformer {
    pub(super) fn gpt_forward(
        &self,
        b: &mut Builder<'_>,
        Tokens { ids, open, .. }: Tokens,
        keep: Keep,
        attend: &mut Attend<'_>,
    ) -> Forward {
        let (n, c) = (ids.len(), self.config.n_embd);
        let mut x = b.alloc(self.memory.stream, n, c);
        b.push(EmbedPositions { ids, open, token: self.weight(TOKENS), position: self.weight(POSITIONS), x });
        // What a branch adds, where it is dropped on its way into the stream.
        let drops = self.drops(keep, n, ids.cols).map(|drops| (drops, b.alloc(self.memory.acts, n, c)));
        if let Some((drops, _)) = drops {
            let left = b.alloc(self.memory.stream, n, c);
            x = drops.left(b, Place::Embedding, x, left);
        }
        let mut blocks: Vec<Block> = Vec::new();
        for i in 0..self.config.n_layer {
            let block = match (keep, blocks.last()) {
                (Keep::Last, Some(&shared)) => shared,
                _ => self.gpt_block(b, n),
            };
            let block = Block { before: Norm { x, ..block.before }, ..block };
            let name = |part: &str| format!("transformer.h.{i}.{part}");
            self.norm(b, &name("ln_1"), block.before);
            self.linear(b, &name("attn.c_attn"), block.before.y, None, block.heads.qkv);
            attend(b, i, block.heads);
            let stream = [x, block.middle.x];
            self.branch(b, &name("attn.c_proj"), block.heads.o, stream, drops, Place::Attention(i));
            self.norm(b, &name("ln_2"), block.middle);
            let (w, bias) = self.weight_and_bias(&name("mlp.c_fc"));
            b.push(LinearGelu { x: block.middle.y, w, bias, u: block.u, h: block.h });
            let after = match keep {
                Keep::All => b.alloc(self.memory.stream, n, c),
                // Nobody reads the stream in front of the block any more.
                Keep::Last => x,
            };
            self.branch(b, &name("mlp.c_proj"), block.h, [block.middle.x, after], drops, Place::Mlp(i));
            blocks.push(block);
            x = after;
        }
        // The head takes it as the stream is stored.
        let last = Norm { x, ..self.norm_memory(b, n, self.memory.stream) };
        self.norm(b, "transformer.ln_f", last);
        Forward { last: Last { x: last.y, sumsq: None }, kept: Passed::Gpt(Kept { ids, blocks, last }) }
    }

    pub(super) fn gpt_backward(
        &self,
        b: &mut Builder<'_>,
        kept: &Kept,
        target: Mat,
        weight: Mat,
        cost: Cost,
        accumulate: Accumulate,
    ) -> Mat {
        let training = self.training();
        let (n, c, f) = (kept.ids.len(), self.config.n_embd, self.config.mlp_width());
        let (heads, acts, stats) = (self.config.n_head, self.memory.acts, self.memory.stats);
        let [dx, dx_middle] = [(); 2].map(|()| b.alloc(self.memory.stream, n, c));
        let [d_norm, d_o] = [(); 2].map(|()| b.alloc(acts, n, c));
        let (du, dqkv, dot) = (b.alloc(acts, n, f), b.alloc(acts, n, 3 * c), b.alloc(stats, n, heads));
        let last = Last { x: kept.last.y, sumsq: None };
        let HeadGrad { loss, dlogits, .. } = self.push_loss(b, last, target, weight, cost);
        b.push(LinearBackward { dy: dlogits, w: self.weight(TOKENS), dx: d_norm });
        self.norm_backward(b, "transformer.ln_f", d_norm, kept.last, None, dx, accumulate);
        // Gradients of what was dropped: of the MLP, and of attention.
        let drops = self.drops(Keep::All, n, target.cols);
        let drops = drops.map(|drops| (drops, [(); 2].map(|()| b.alloc(self.memory.stream, n, c))));
        for (i, block) in kept.blocks.iter().enumerate().rev() {
            let name = |part: &str| format!("transformer.h.{i}.{part}");
            let weight = |part: &str| self.weight_and_bias(&name(part)).0;
            let d_mlp = drops.map_or(dx, |(drops, [y, _])| drops.left(b, Place::Mlp(i), dx, y));
            b.push(GeluBackward { dx: d_mlp, w: weight("mlp.c_proj"), u: block.u, du });
            b.push(LinearBackward { dy: du, w: weight("mlp.c_fc"), dx: d_norm });
            self.norm_backward(b, &name("ln_2"), d_norm, block.middle, Some(dx), dx_middle, accumulate);
            let Heads { qkv, o, lse } = block.heads;
            let (positions, heads) = (target.cols as u32, heads as u32);
            let d_attention =
                drops.map_or(dx_middle, |(drops, [_, y])| drops.left(b, Place::Attention(i), dx_middle, y));
            b.push(ProjectionBackward { dx: d_attention, w: weight("attn.c_proj"), o, heads, d_o, dot });
            let (mask, norms) = (self.mask, None);
            let dropout = drops.map(|(drops, _)| drops.lots(Place::Weights(i)));
            b.push(AttentionBackward { qkv, lse, d_o, dot, positions, heads, mask, norms, dropout, dqkv });
            let products = [
                ("mlp.c_proj", d_mlp, block.h),
                ("mlp.c_fc", du, block.middle.y),
                ("attn.c_proj", d_attention, o),
                ("attn.c_attn", dqkv, block.before.y),
            ];
            let grad = |part: &str, kind| self.param(training.grads, &format!("{}.{kind}", name(part)));
            let grads = products.map(|(part, dy, x)| WeightGrad { dy, x, dw: grad(part, "weight") });
            b.push(WeightGrads { grads: grads.to_vec(), accumulate });
            for (part, dy, _) in products.into_iter().filter(|_| self.has_biases()) {
                b.push(BiasGrad { dy, accumulate, db: grad(part, "bias") });
            }
            b.push(LinearBackward { dy: dqkv, w: weight("attn.c_attn"), dx: d_norm });
            self.norm_backward(b, &name("ln_1"), d_norm, block.before, Some(dx_middle), dx, accumulate);
        }
        let [dtoken, dposition] = [TOKENS, POSITIONS].map(|name| self.param(training.grads, name));
        let dx = drops.map_or(dx, |(drops, [y, _])| drops.left(b, Place::Embedding, dx, y));
        b.push(EmbedPositionsBackward { ids: kept.ids, dx, accumulate, dtoken, dposition });
        // The table's other use.
        let grads = vec![WeightGrad { dy: dlogits, x: kept.last.y, dw: dtoken }];
        b.push(WeightGrads { grads, accumulate: Accumulate::Add });
        loss
    }

    fn gpt_block(&self, b: &mut Builder<'_>, n: usize) -> Block {
        let (c, f, acts) = (self.config.n_embd, self.config.mlp_width(), self.memory.acts);
        let middle = self.norm_memory(b, n, acts);
        Block {
            before: self.norm_memory(b, n, acts),
            heads: Heads {
                qkv: b.alloc(acts, n, 3 * c),
                o: b.alloc(acts, n, c),
                lse: b.alloc(self.memory.stats, n, self.config.n_head),
            },
            middle: Norm { x: b.alloc(self.memory.stream, n, c), ..middle },
            u: b.alloc(acts, n, f),
            h: b.alloc(acts, n, f),
        }
    }

    /// Memory for what a norm makes; x is another's.
    fn norm_memory(&self, b: &mut Builder<'_>, n: usize, region: RegionId) -> Norm {
        let y = b.alloc(region, n, self.config.n_embd);
        Norm { x: y, y, mean: b.alloc(self.memory.stats, n, 1), rstd: b.alloc(self.memory.stats, n, 1) }
    }

    fn norm(&self, b: &mut Builder<'_>, name: &str, Norm { x, y, mean, rstd }: Norm) {
        let (gain, bias) = self.weight_and_bias(name);
        b.push(LayerNorm { x, gain, bias, eps: EPS, y, mean, rstd });
    }

    #[allow(clippy::too_many_arguments, reason = "what it is of, and the op's own operands")]
    fn norm_backward(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        dy: Mat,
        Norm { x, mean, rstd, .. }: Norm,
        residual: Option<Mat>,
        dx: Mat,
        accumulate: Accumulate,
    ) {
        let grad = |kind| self.param(self.training().grads, &format!("{name}.{kind}"));
        let (gain, dgain, dbias) =
            (self.weight_and_bias(name).0, grad("weight"), self.has_biases().then(|| grad("bias")));
        b.push(LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias });
    }

    fn linear(&self, b: &mut Builder<'_>, name: &str, x: Mat, residual: Option<Mat>, y: Mat) {
        let (w, bias) = self.weight_and_bias(name);
        b.push(Linear { x, w, bias, residual, y });
    }

    /// Appends what adds a branch to the stream, from one matrix to the other; what is dropped of it goes by way of a third.
    fn branch(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        x: Mat,
        [around, to]: [Mat; 2],
        drops: Option<(Drops, Mat)>,
        place: Place,
    ) {
        match drops {
            None => self.linear(b, name, x, Some(around), to),
            Some((drops, y)) => {
                self.linear(b, name, x, None, y);
                drops.push(b, place, y, Some(around), to, None);
            }
        }
    }

    fn weight_and_bias(&self, name: &str) -> (Mat, Option<Mat>) {
        (self.weight(&format!("{name}.weight")), self.has_biases().then(|| self.weight(&format!("{name}.bias"))))
    }
}
