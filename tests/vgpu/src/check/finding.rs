//! What the sanitizers report.

/// The kinds of fault that are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A load or atomic outside every allocation.
    GlobalOobRead,
    /// A store or atomic outside every allocation.
    GlobalOobWrite,
    /// An access to memory that was freed.
    UseAfterFree,
    /// An address that is not a multiple of the access size.
    Misaligned,
    /// A load past the shared memory of the block.
    SharedOobRead,
    /// A store past the shared memory of the block.
    SharedOobWrite,
    /// An access past the local memory of the thread.
    LocalOob,
    /// A load of global memory that nothing has written.
    UninitGlobalRead,
    /// A load of shared memory that nothing has written.
    UninitSharedRead,
    /// A load of local memory that nothing has written.
    UninitLocalRead,
    /// Two threads of a block touch the same shared bytes, one writes, nothing orders them.
    SharedRace,
    /// Two blocks of a launch touch the same global bytes, one writes, nothing orders them.
    GlobalRace,
    /// A barrier that some threads reach and others cannot.
    BarrierDeadlock,
    /// An `.aligned` instruction that only part of a warp executes.
    AlignedDivergence,
    /// The destination of a `cp.async` touched, or its source overwritten, before its wait.
    AsyncCopyRace,
    /// A shuffle reads from a lane that does not take part in it.
    ShuffleUndefined,
    /// An output that the kernel never wrote.
    UnwrittenOutput,
}

impl Kind {
    /// Every kind, in the order of the reports.
    pub const ALL: [Kind; 17] = [
        Kind::GlobalOobRead,
        Kind::GlobalOobWrite,
        Kind::UseAfterFree,
        Kind::Misaligned,
        Kind::SharedOobRead,
        Kind::SharedOobWrite,
        Kind::LocalOob,
        Kind::UninitGlobalRead,
        Kind::UninitSharedRead,
        Kind::UninitLocalRead,
        Kind::SharedRace,
        Kind::GlobalRace,
        Kind::BarrierDeadlock,
        Kind::AlignedDivergence,
        Kind::AsyncCopyRace,
        Kind::ShuffleUndefined,
        Kind::UnwrittenOutput,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::GlobalOobRead => "global_oob_read",
            Kind::GlobalOobWrite => "global_oob_write",
            Kind::UseAfterFree => "use_after_free",
            Kind::Misaligned => "misaligned",
            Kind::SharedOobRead => "shared_oob_read",
            Kind::SharedOobWrite => "shared_oob_write",
            Kind::LocalOob => "local_oob",
            Kind::UninitGlobalRead => "uninit_global_read",
            Kind::UninitSharedRead => "uninit_shared_read",
            Kind::UninitLocalRead => "uninit_local_read",
            Kind::SharedRace => "shared_race",
            Kind::GlobalRace => "global_race",
            Kind::BarrierDeadlock => "barrier_deadlock",
            Kind::AlignedDivergence => "aligned_divergence",
            Kind::AsyncCopyRace => "async_copy_race",
            Kind::ShuffleUndefined => "shuffle_undefined",
            Kind::UnwrittenOutput => "unwritten_output",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.name() == name.trim())
    }

    /// The kind's bit in a set of checks.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Where a fault happened first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Site {
    /// Line of the PTX text, from 1.
    pub ptx_line: u32,
    /// Source file and line, if the PTX has `.loc`.
    pub source: Option<(String, u32)>,
    /// Block index.
    pub block: [u32; 3],
    /// Thread index in its block.
    pub thread: [u32; 3],
    /// Address: of global memory the virtual address, else the offset in its space.
    pub address: u64,
    /// Bytes of the access.
    pub bytes: u32,
}

/// One kind of fault at one instruction of one kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// Lane accesses that did it.
    pub threads: u64,
    /// Kernel's name.
    pub kernel: String,
    /// The first of them, by block and thread.
    pub site: Site,
    /// For people: instruction, address, nearest allocation, the other party of a race.
    pub message: String,
}
