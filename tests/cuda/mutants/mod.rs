//! Bugs to plant in the kernels, each of a sort that has been made somewhere before.

pub(crate) mod chance;
mod decisions;
mod numbers;
mod places;
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

const ATTENTION: Place = ["attention.cu", "attention", "long models"];
const ATTENTION_FREE: Place = ["attention.cu", "attention", "attention"];
const ATTENTION_PARTS: Place = ["attention.cuh", "attention", "attention"];
const BACKWARD: Place = ["attention_backward.cu", "attention_backward", "long models"];
const COMMON: Place = ["common.cuh", "noise", "noise"];
const COMMON_PRODUCTS: Place = ["common.cuh", "linear", "linear"];
const COUNTS: Place = ["integers.cuh", "noise", "noise"];
const COUNTS_SAMPLING: Place = ["integers.cuh", "sampling", "sampling"];
const EMBED: Place = ["embed.cu", "embed", "embed"];
const FUSED: Place = ["attention_backward_fused.cu", "attention_backward_fused", "long models"];
const GEMM: Place = ["gemm.cuh", "linear", "linear"];
const GEMM_BACK: Place = ["gemm.cuh", "linear_backward", "linear"];
const GEMM_GRADS: Place = ["gemm.cuh", "weight_grads", "linear"];
const GRADS: Place = ["weight_grads.cu", "weight_grads", "linear"];
const HEAD: Place = ["head.cu", "head", "head"];
const LINEAR: Place = ["linear.cu", "linear", "linear"];
const LINEAR_BACK: Place = ["linear_backward.cu", "linear_backward", "linear"];
const LOSS: Place = ["loss.cu", "loss", "head"];
const MMA: Place = ["mma.cuh", "linear", "linear"];
const NOISE: Place = ["noise.cu", "noise", "noise"];
const NORMS: Place = ["norms.cu", "norms", "norms"];
const OPTIMIZER: Place = ["optimizer.cu", "optimizer", "optimizer"];
const PLAIN: Place = ["plain.cu", "plain", "linear"];
const PLAIN_ATTENTION: Place = ["plain_attention.cu", "plain_attention", "small models"];
const SAMPLING: Place = ["sampling.cu", "sampling", "sampling"];
const SOFTMAX: Place = ["softmax.cuh", "head", "head"];
const STEPS: Place = ["attention_backward.cuh", "attention_backward", "long models"];

/// All of them.
pub(crate) fn all() -> Vec<Mutant> {
    [waits::BUGS, places::BUGS, numbers::BUGS, decisions::BUGS].concat()
}
