//! Tensor-core instructions: who holds which element, and the products themselves.
//!
//! - [`layout`]: which lane and register of a fragment holds which element
//! - [`product`]: `mma.sync` on whole warps
//! - [`sums`]: how tensor cores add products up; `truncated` does so for whole fragments
//! - [`mod@move_`]: `ldmatrix`, `stmatrix`, `movmatrix`
//! - [`wmma`]: the older, opaque fragments
//! - [`wgmma`]: warpgroup products with operands in shared memory

pub mod element;
pub mod layout;
pub mod move_;
pub mod product;
pub mod sums;
mod truncated;
pub mod wgmma;
pub mod wmma;
