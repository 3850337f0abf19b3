//! Operations with effects beyond one lane's registers.

use super::address::{Addr, Element8, Order, Space, Window};
use super::alu::{Alu, Compared, HalfType};
use super::modes::{AtomicOp, AtomicType, BarrierKind, Logic, Redux, Shuffle, Special, SystemCall, Vote};
use super::reg::Reg;
use super::tensor::{MatrixProduct, Wgmma, WmmaMove};
use crate::arith::compare::Relation;

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
        half: HalfType,
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
