//! How numbers are stored.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// Single precision, the reference; a GPU computes such a run in f16
    F32,
    /// Half precision with f32 sums and master weights, and a loss scale: what GPUs do best. The CPU computes such a run in
    /// f32
    F16,
    /// bfloat16 with f32 sums and master weights; on a CPU fast where it multiplies bf16
    Bf16,
    /// Unsigned 32-bit: token ids, counts
    #[value(skip)]
    U32,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}
