//! How numbers are stored.

use serde::{Deserialize, Serialize};

/// How one element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision: what GPU kernels store best, with a loss scale to keep gradients in its range.
    F16,
    /// bfloat16: the upper half of an f32.
    Bf16,
    /// Unsigned 32-bit: token ids, counts.
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
