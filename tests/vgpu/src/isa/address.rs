//! What an access to memory says: where, how wide, how strongly ordered.

use super::reg::Reg;

/// Where an address points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Space {
    /// Any of them, by window.
    Generic,
    /// Global memory; constants live there too.
    Global,
    /// Shared memory of the block.
    Shared,
    /// Shared memory of the cluster: window addresses of other blocks.
    SharedCluster,
    /// Local memory of the thread.
    Local,
    /// Parameters of the kernel.
    Param,
    /// Parameters of calls in the current frame.
    Frame,
}

/// What an address is counted from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Base {
    /// A register, of either width; constants too.
    Reg(Reg),
    /// The local memory of the current frame.
    Frame,
}

/// An address operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Addr {
    /// What it is counted from.
    pub base: Base,
    /// Added to it.
    pub offset: i64,
}

/// How strongly an access is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Order {
    /// Plain.
    #[default]
    Weak,
    /// `.nc`: of memory that nothing writes during the launch.
    ReadOnly,
    /// Volatile, relaxed or of less than the GPU's scope: part of a protocol between threads.
    Strong,
    /// What comes after is ordered behind it.
    Acquire,
    /// What came before is ordered before it.
    Release,
    /// Both.
    Both,
}

impl Order {
    /// Whether it is part of a protocol between threads.
    pub const fn is_strong(self) -> bool {
        !matches!(self, Order::Weak | Order::ReadOnly)
    }
}

/// Element of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Element8 {
    /// 1, 2, 4, 8 or 16.
    pub bytes: u8,
    /// Sign-extended to its register.
    pub signed: bool,
}

/// Which window `cvta` and `isspacep` mean.
pub type Window = Space;
