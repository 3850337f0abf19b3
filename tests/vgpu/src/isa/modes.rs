//! What instructions of one name do differently: the modes of atomics, shuffles, votes, barriers, and special registers.

/// Combines predicates in `setp` and `set`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Logic {
    /// `.and`.
    And,
    /// `.or`.
    Or,
    /// `.xor`.
    Xor,
}

/// Atomic operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
    Inc,
    Dec,
}

/// Types of atomic operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum AtomicType {
    B16,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
}

impl AtomicType {
    /// Bytes of the memory location.
    pub const fn bytes(self) -> u32 {
        match self {
            AtomicType::B16 | AtomicType::F16 | AtomicType::Bf16 => 2,
            AtomicType::U64 | AtomicType::S64 | AtomicType::F64 => 8,
            _ => 4,
        }
    }
}

/// `shfl` modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `vote` modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `redux` operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Redux {
    Add,
    MinU,
    MaxU,
    MinS,
    MaxS,
    And,
    Or,
    Xor,
    /// `redux.sync.{min,max}{.abs}{.NaN}.f32`.
    Float {
        max: bool,
        abs: bool,
        nan: bool,
    },
}

/// What a barrier instruction does besides arriving.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum BarrierKind {
    /// Waits.
    Sync,
    /// Does not wait.
    Arrive,
    /// Waits; counts the threads whose predicate holds.
    Popc,
    /// Waits; do all threads' predicates hold?
    And,
    /// Waits; does any thread's?
    Or,
}

/// Special registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    Clock,
    ClockHi,
    Clock64,
    GlobalTimer,
    GlobalTimerLo,
    GlobalTimerHi,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    DynamicSharedSize,
    TotalSharedSize,
    /// First byte of dynamic shared memory.
    DynamicSharedBase,
    /// Local memory of the current frame, plus an offset.
    LocalFrame(u32),
    EnvReg(u8),
    ClusterId(u8),
    NClusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtarank,
    ClusterNctarank,
    IsExplicitCluster,
    Zero,
}

/// Functions of the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum SystemCall {
    /// `vprintf(format, arguments)`.
    Printf,
    /// `__assertfail(message, file, line, function, size)`.
    AssertFail,
    /// `malloc(bytes)`.
    Malloc,
    /// `free(pointer)`.
    Free,
}
