//! Operations with effects beyond one lane's registers.

use super::alu::{Alu, Compared};
use super::reg::Reg;
use crate::arith::compare::Relation;
use crate::arith::matrix::element::{Accumulator, Element};
use crate::arith::matrix::layout::Shape;
use crate::arith::matrix::product::Mma;
use crate::arith::matrix::wmma::Fragment;

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

/// Which window `cvta` and `isspacep` mean.
pub type Window = Space;

/// A product of fragments: `mma.sync` and `wmma.mma`.
#[derive(Clone, Debug)]
pub struct MatrixProduct {
    /// Shape and types.
    pub product: Mma,
    /// Registers of D.
    pub d: Box<[Reg]>,
    /// Registers of A.
    pub a: Box<[Reg]>,
    /// Registers of B.
    pub b: Box<[Reg]>,
    /// Registers of C.
    pub c: Box<[Reg]>,
}

/// A `wmma.load` or `wmma.store`.
#[derive(Clone, Debug)]
pub struct WmmaMove {
    /// Operand, shape and type.
    pub fragment: Fragment,
    /// Stored by rows.
    pub row_major: bool,
    /// Where.
    pub space: Space,
    /// First element.
    pub addr: Addr,
    /// Elements between rows or columns; none for dense.
    pub stride: Reg,
    /// Fragment.
    pub regs: Box<[Reg]>,
}

/// A warpgroup product.
#[derive(Clone, Debug)]
pub struct Wgmma {
    /// m, n, k.
    pub shape: Shape,
    /// Elements of A.
    pub a_type: Element,
    /// Elements of B.
    pub b_type: Element,
    /// Elements of D.
    pub d_type: Accumulator,
    /// Registers of D.
    pub d: Box<[Reg]>,
    /// Registers of A, or one descriptor.
    pub a: Box<[Reg]>,
    /// A comes from registers.
    pub a_registers: bool,
    /// Descriptor of B.
    pub b: Reg,
    /// Whether D is added to: a predicate, or none for always.
    pub scale_d: Reg,
    /// Signs of A and B.
    pub negate: (bool, bool),
    /// A and B are stored with M and N contiguous.
    pub transposed: (bool, bool),
    /// `.satfinite`.
    pub saturate: bool,
}

/// `mbarrier` instructions.
#[derive(Clone, Debug)]
pub enum Mbarrier {
    /// `init addr, count`.
    Init(Reg),
    /// `inval`.
    Invalidate,
    /// `arrive{.expect_tx}{.drop}{.noComplete} state, addr, count`; `tx` bytes are expected first.
    Arrive {
        /// Old state.
        state: Reg,
        /// Arrivals; none for 1.
        count: Reg,
        /// Bytes expected.
        expect: Reg,
        /// The expected count of later phases falls too.
        drop: bool,
    },
    /// `expect_tx addr, bytes`.
    Expect(Reg),
    /// `complete_tx addr, bytes`.
    Complete(Reg),
    /// `test_wait`, `try_wait`: has the phase of `state` completed?
    Test {
        /// Result.
        done: Reg,
        /// Token of an arrival (a double) or parity (a word).
        state: Reg,
        /// The state is a parity.
        parity: bool,
        /// May suspend.
        suspends: bool,
    },
    /// `pending_count`.
    Pending {
        /// Result.
        count: Reg,
        /// Token.
        state: Reg,
    },
}

/// Bulk copies.
#[derive(Clone, Debug)]
pub enum Bulk {
    /// `cp.async.bulk.shared.global [dst], [src], bytes, [mbar]`.
    Load {
        /// In shared memory.
        to: Addr,
        /// In global memory.
        from: Addr,
        /// Bytes.
        bytes: Reg,
        /// Barrier that counts the bytes.
        mbarrier: Addr,
    },
    /// `cp.async.bulk.global.shared [dst], [src], bytes`.
    Store {
        /// In global memory.
        to: Addr,
        /// In shared memory.
        from: Addr,
        /// Bytes.
        bytes: Reg,
        /// `cp.reduce.async.bulk`: how old and new combine.
        reduce: Option<(AtomicOp, AtomicType)>,
    },
}

/// What a call copies into its callee's frame.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function, or a register that holds its address.
    pub target: Result<u32, Reg>,
    /// Offsets, in the caller's frame, of arguments, each with its words.
    pub args: Box<[(u32, u32)]>,
    /// The same for return values.
    pub returns: Box<[(u32, u32)]>,
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

/// An operation.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// Does nothing that shows here: `prefetch`, `fence`, `setmaxnreg`, …
    Nop,
    Alu {
        f: Alu,
        d: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
    },
    /// `bfi`, the only one with four operands.
    Alu4 {
        f: Alu,
        d: Reg,
        src: Box<[Reg; 4]>,
    },
    Special {
        d: Reg,
        which: Special,
    },
    Selp {
        d: Reg,
        a: Reg,
        b: Reg,
        p: Reg,
    },
    /// `d = a REL b`, `q` its complement; both combined with `with`.
    Setp {
        relation: Relation,
        ty: Compared,
        d: Reg,
        q: Reg,
        a: Reg,
        b: Reg,
        with: Option<(Logic, Reg, bool)>,
    },
    /// `setp` on pairs of halves: `d` for the low half, `q` for the high one.
    SetpPair {
        relation: Relation,
        half: super::alu::HalfType,
        ftz: bool,
        d: Reg,
        q: Reg,
        a: Reg,
        b: Reg,
        with: Option<(Logic, Reg, bool)>,
    },
    /// `d = (a ≠ 0)` as a predicate.
    ToPredicate {
        d: Reg,
        a: Reg,
    },
    /// Combines predicates; `Logic::Xor` with the constant true negates.
    Predicate {
        logic: Logic,
        d: Reg,
        a: Reg,
        b: Reg,
    },
    /// Sum or difference with the carry flag; `mad` splits into a product and this.
    Carry {
        subtract: bool,
        d: Reg,
        a: Reg,
        b: Reg,
        carry_in: Reg,
        carry_out: Reg,
    },
    /// Adds or removes the window of a space; null pointers stay null nowhere, as on hardware.
    Cvta {
        d: Reg,
        a: Reg,
        window: Window,
        to: bool,
    },
    IsSpace {
        d: Reg,
        a: Reg,
        window: Window,
    },
    /// A parameter of the kernel at a fixed place: the same for all lanes.
    LoadParam {
        d: Reg,
        offset: u32,
        element: Element8,
    },
    Load {
        space: Space,
        order: Order,
        element: Element8,
        d: Box<[Reg]>,
        addr: Addr,
    },
    Store {
        space: Space,
        order: Order,
        element: Element8,
        src: Box<[Reg]>,
        addr: Addr,
    },
    Atomic {
        op: AtomicOp,
        ty: AtomicType,
        order: Order,
        space: Space,
        d: Box<[Reg]>,
        addr: Addr,
        b: Box<[Reg]>,
        c: Reg,
    },
    Bra {
        target: u32,
    },
    Brx {
        index: Reg,
        targets: Box<[u32]>,
    },
    Call(Box<Call>),
    System {
        call: SystemCall,
        args: Box<[(u32, u32)]>,
        returns: Box<[(u32, u32)]>,
    },
    Ret,
    Exit,
    Trap,
    /// Tells the compiler something; `nanosleep` and its kind give other warps a turn.
    Yield,
    Shfl {
        mode: Shuffle,
        d: Reg,
        p: Reg,
        a: Reg,
        b: Reg,
        c: Reg,
        mask: Reg,
    },
    Vote {
        mode: Vote,
        d: Reg,
        a: Reg,
        negate: bool,
        mask: Reg,
    },
    Match {
        all: bool,
        d: Reg,
        p: Reg,
        a: Reg,
        mask: Reg,
    },
    Redux {
        op: Redux,
        d: Reg,
        a: Reg,
        mask: Reg,
    },
    ActiveMask {
        d: Reg,
    },
    Elect {
        d: Reg,
        p: Reg,
        mask: Reg,
    },
    WarpSync {
        mask: Reg,
    },
    Barrier {
        kind: BarrierKind,
        aligned: bool,
        id: Reg,
        count: Reg,
        d: Reg,
        p: Reg,
        negate: bool,
    },
    ClusterArrive {
        aligned: bool,
    },
    ClusterWait {
        aligned: bool,
    },
    /// Orders memory beyond the block.
    /// `membar` and `fence`; only those of the GPU's scope or the system's order what other blocks see.
    Fence {
        is_wide: bool,
    },
    CopyAsync {
        to: Addr,
        to_space: Space,
        from: Addr,
        from_space: Space,
        bytes: u32,
        /// Bytes to read, the rest zero; none for all.
        size: Reg,
        /// A predicate: zero all; none for never.
        ignore: Reg,
    },
    CopyCommit,
    /// Waits for all but the newest groups; none for everything, committed or not.
    CopyWait {
        pending: Option<u32>,
    },
    /// Arrives on a barrier when this thread's copies have landed.
    CopyArrive {
        addr: Addr,
        space: Space,
        /// Arrivals are counted besides those the barrier expects.
        extra: bool,
    },
    Ldmatrix {
        trans: bool,
        d: Box<[Reg]>,
        addr: Addr,
        space: Space,
    },
    Stmatrix {
        trans: bool,
        src: Box<[Reg]>,
        addr: Addr,
        space: Space,
    },
    Movmatrix {
        d: Reg,
        a: Reg,
    },
    Matrix(Box<MatrixProduct>),
    WmmaLoad(Box<WmmaMove>),
    WmmaStore(Box<WmmaMove>),
    Wgmma(Box<Wgmma>),
    Mbarrier {
        what: Box<Mbarrier>,
        addr: Addr,
        space: Space,
    },
    Bulk(Box<Bulk>),
    /// Address of the same shared variable in another block of the cluster.
    Mapa {
        d: Reg,
        a: Reg,
        rank: Reg,
        space: Space,
    },
    /// Rank of the block that a shared address belongs to.
    GetCtaRank {
        d: Reg,
        a: Reg,
        space: Space,
    },
}
