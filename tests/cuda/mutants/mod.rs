//! Bugs to plant in the kernels, each of a sort that has been made somewhere before.

pub(crate) mod chance;
mod decisions;
mod gpt;
mod guidance;
mod latents;
mod muon;
mod numbers;
mod places;
mod relaxed;
mod vectors;
mod waits;

use tempest::program::DType;

/// One bug: every one of the `times` places where `needle` stands in `file` becomes `instead`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) needle: &'static str,
    pub(crate) times: usize,
    pub(crate) instead: &'static str,
    /// The family that is compiled with it.
    pub(crate) family: &'static str,
    /// The cases that are to find it.
    pub(crate) group: &'static str,
    /// When copies land: what is read before its wait may be there already.
    pub(crate) landing: &'static str,
    /// What is stored.
    pub(crate) dtype: DType,
}

const fn bug(name: &'static str, [file, family, group]: Place, needle: &'static str, instead: &'static str) -> Mutant {
    Mutant { name, file, needle, times: 1, instead, family, group, landing: "earliest", dtype: DType::F16 }
}

impl Mutant {
    const fn late(self) -> Self {
        Mutant { landing: "latest", ..self }
    }

    /// A bug that only bfloat16 has.
    const fn bf16(self) -> Self {
        Mutant { dtype: DType::Bf16, ..self }
    }

    /// Where other cases are to find it than those of its place.
    const fn found_by(self, group: &'static str) -> Self {
        Mutant { group, ..self }
    }

    const fn times(self, times: usize) -> Self {
        Mutant { times, ..self }
    }
}

/// A header or a kernel file, the family that is compiled with it, and the cases that are to find what is wrong.
type Place = [&'static str; 3];

const ATTENTION: Place = ["mma/attention.cu", "mma/attention", "long models"];
const ATTENTION_FREE: Place = ["mma/attention.cu", "mma/attention", "attention"];
const ATTENTION_PARTS: Place = ["mma/attention.cuh", "mma/attention", "attention"];
const AVERAGE: Place = ["average.cu", "average", "average"];
const BACKWARD: Place = ["mma/attention_backward.cu", "mma/attention_backward", "long models"];
const BLOCK_FORWARD: Place = ["mma/attention.cu", "mma/attention", "block models"];
const BLOCK_STEPS: Place = ["mma/attention_backward.cuh", "mma/attention_backward", "block models"];
const CONV: Place = ["conv.cu", "conv", "convolution"];
const COSTS: Place = ["denoise.cu", "denoise", "costs of vectors"];
const COUNTS: Place = ["shared/integers.cuh", "noise", "noise"];
const COUNTS_SAMPLING: Place = ["shared/integers.cuh", "sampling", "sampling"];
const DECODE: Place = ["decode.cu", "decode", "decode"];
const DRAWN_LEVELS: Place = ["shared/vector_levels.cuh", "vectors", "vectors"];
const DRAWS: Place = ["shared/draws.cuh", "sampling", "sampling"];
const EMBED: Place = ["embed.cu", "embed", "embed"];
const EPILOGUES: Place = ["shared/epilogues.cuh", "mma/linear", "linear"];
const EPILOGUES_BACK: Place = ["shared/epilogues.cuh", "mma/linear_backward", "linear"];
const EXACT: Place = ["shared/exact.cuh", "sampling", "sampling"];
const EXACT_VECTORS: Place = ["shared/exact.cuh", "vectors", "vectors"];
const FUSED: Place = ["mma/attention_backward_fused.cu", "mma/attention_backward_fused", "long models"];
const GRADS: Place = ["mma/weight_grads.cu", "mma/weight_grads", "linear"];
const GUESSES: Place = ["shared/vectors.cuh", "latents", "latents"];
const GUIDANCE: Place = ["guidance.cu", "guidance", "guidance"];
const HEAD: Place = ["head.cu", "head", "head"];
const HEAD_LOSS: Place = ["mma/head.cu", "mma/head", "head"];
const INSTRUCTIONS: Place = ["mma/instructions.cuh", "mma/linear", "linear"];
const LATENTS: Place = ["latents.cu", "latents", "latents"];
const LATENT_STEPS: Place = ["latents.cu", "latents", "steps of latents"];
const LEVELS: Place = ["shared/levels.cuh", "noise", "noise"];
const LINEAR: Place = ["mma/linear.cu", "mma/linear", "linear"];
const LARGEST: Place = ["shared/largest.cuh", "denoise", "steps of vectors"];
const MIXING: Place = ["shared/mixing.cuh", "noised", "noised"];
const MIXING_DRAWN: Place = ["shared/mixing.cuh", "sampling", "noised"];
const MAIN_LOOP: Place = ["mma/main_loop.cuh", "mma/linear", "linear"];
const MAIN_LOOP_BACK: Place = ["mma/main_loop.cuh", "mma/linear_backward", "linear"];
const MUON: Place = ["muon.cu", "muon", "muon"];
const MUON_PLAIN: Place = ["plain/muon.cu", "plain/muon", "muon"];
const MUON_PRODUCTS: Place = ["mma/muon.cu", "mma/muon", "muon"];
const MUON_STACKS: Place = ["shared/muon.cuh", "mma/muon", "muon"];
const NOISE: Place = ["noise.cu", "noise", "noise"];
const NOISED: Place = ["noised.cu", "noised", "noised"];
const RENOISE: Place = ["sampling.cu", "sampling", "noised"];
const NORMALS: Place = ["shared/normals.cuh", "denoise", "costs of vectors"];
const NORMS: Place = ["norms.cu", "norms", "norms"];
const OPERANDS: Place = ["mma/operands.cuh", "mma/linear", "linear"];
const OPERANDS_BACK: Place = ["mma/operands.cuh", "mma/linear_backward", "linear"];
const OPERANDS_GRADS: Place = ["mma/operands.cuh", "mma/weight_grads", "linear"];
const OPTIMIZER: Place = ["optimizer.cu", "optimizer", "optimizer"];
const PHILOX: Place = ["shared/philox.cuh", "noise", "noise"];
const PLAIN_ATTENTION: Place = ["plain/attention.cu", "plain/attention", "small models"];
const PLAIN_BACK: Place = ["plain/linear_backward.cu", "plain/linear_backward", "linear"];
const PLAIN_HEAD: Place = ["plain/head.cu", "plain/head", "linear"];
const PLAIN_LINEAR: Place = ["plain/linear.cu", "plain/linear", "linear"];
const PLAIN_PRODUCT: Place = ["plain/product.cuh", "plain/linear", "linear"];
const REDUCTIONS: Place = ["shared/reductions.cuh", "mma/linear", "linear"];
const REDUCTIONS_HEAD: Place = ["shared/reductions.cuh", "mma/head", "head"];
const RELAXED: Place = ["relaxed.cu", "relaxed", "relaxed"];
const REVERSE: Place = ["denoise.cu", "denoise", "steps of vectors"];
const SAMPLING: Place = ["sampling.cu", "sampling", "sampling"];
const SOFTMAX: Place = ["shared/softmax.cuh", "mma/head", "head"];
const SPANS: Place = ["shared/spans.cuh", "plain/attention", "plain attention"];
const STAGING: Place = ["mma/staging.cuh", "mma/linear", "linear"];
const STAGING_BACK: Place = ["mma/staging.cuh", "mma/linear_backward", "linear"];
const STEP_LEVELS: Place = ["shared/vectors.cuh", "denoise", "steps of vectors"];
const STEPS: Place = ["mma/attention_backward.cuh", "mma/attention_backward", "long models"];
const UPDATE: Place = ["shared/update.cuh", "optimizer", "optimizer"];
const VECTORS: Place = ["vectors.cu", "vectors", "vectors"];
const WEIGHTED: Place = ["shared/attention.cuh", "plain/attention", "small models"];
const TYPES: Place = ["shared/types.cuh", "mma/linear", "linear"];

/// All of them.
pub(crate) fn all() -> Vec<Mutant> {
    [
        waits::BUGS,
        places::BUGS,
        numbers::BUGS,
        decisions::BUGS,
        gpt::BUGS,
        guidance::BUGS,
        latents::BUGS,
        muon::BUGS,
        relaxed::BUGS,
        vectors::BUGS,
    ]
    .concat()
}
