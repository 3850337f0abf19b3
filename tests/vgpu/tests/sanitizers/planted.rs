//! The planted faults.

use vgpu::check::Kind;

/// A fault.
pub(crate) struct Planted {
    pub(crate) kind: Kind,
    /// What is wrong.
    pub(crate) what: &'static str,
    pub(crate) body: &'static str,
    pub(crate) blocks: u32,
    /// Offending lane accesses, where there is one answer.
    pub(crate) threads: Option<u64>,
    /// The first thread to offend, where there is one answer.
    pub(crate) thread: Option<u32>,
}

impl Planted {
    const fn new(kind: Kind, what: &'static str, body: &'static str) -> Planted {
        Planted { kind, what, body, blocks: 1, threads: None, thread: None }
    }

    const fn threads(mut self, threads: u64, first: u32) -> Planted {
        self.threads = Some(threads);
        self.thread = Some(first);
        self
    }

    const fn blocks(mut self, blocks: u32) -> Planted {
        self.blocks = blocks;
        self
    }
}

/// All of them.
pub(crate) const PLANTED: &[Planted] = &[
    Planted::new(
        Kind::GlobalOobRead,
        "one word past the end",
        "add.u64 %p, %in, %a;
         FAULTY ld.global.u32 %x, [%p+4];
         MENDED ld.global.u32 %x, [%p];
         add.u64 %p, %out, %a;
         st.global.u32 [%p], %x;",
    )
    .threads(1, 63),
    Planted::new(
        Kind::GlobalOobRead,
        "a vector that ends past the end",
        "and.b32 %x, %lane, 15;
         mul.wide.u32 %p, %x, 16;
         add.u64 %p, %in, %p;
         FAULTY ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p+16];
         MENDED ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p];",
    )
    .threads(4, 15),
    Planted::new(
        Kind::GlobalOobWrite,
        "before the start",
        "add.u64 %p, %out, %a;
         FAULTY st.global.u32 [%p+-4], %lane;
         MENDED st.global.u32 [%p], %lane;",
    )
    .threads(1, 0),
    Planted::new(
        Kind::GlobalOobWrite,
        "a null pointer",
        "MENDED add.u64 %p, %out, %a;
         FAULTY mov.u64 %p, 0;
         BLAMED st.u32 [%p], %lane;",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UseAfterFree,
        "memory that was given back",
        "FAULTY add.u64 %p, %gone, %a;
         MENDED add.u64 %p, %in, %a;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::Misaligned,
        "four words from the second on",
        "FAULTY ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in+4];
         MENDED ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in+16];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::Misaligned,
        "a double at an odd word of shared memory",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         mov.u32 %y, box;
         FAULTY ld.shared.v2.u32 {%v0, %v1}, [%y+4];
         MENDED ld.shared.v2.u32 {%v0, %v1}, [%y+8];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::SharedOobRead,
        "the right neighbour of the last",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         FAULTY ld.shared.u32 %x, [%s+4];
         MENDED ld.shared.u32 %x, [%s];",
    )
    .threads(1, 63),
    Planted::new(
        Kind::SharedOobWrite,
        "past the end",
        "FAULTY st.shared.u32 [%s+128], %lane;
         MENDED st.shared.u32 [%s], %lane;",
    )
    .threads(32, 32),
    Planted::new(
        Kind::LocalOob,
        "far past the frame",
        "mov.u32 %x, own;
         FAULTY st.local.u32 [%x+65536], %lane;
         MENDED st.local.u32 [%x+12], %lane;",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitGlobalRead,
        "an output read before it is written",
        "add.u64 %p, %out, %a;
         MENDED st.global.u32 [%p], %lane;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitGlobalRead,
        "a word of which three bytes were written",
        "add.u64 %p, %out, %a;
         st.global.u16 [%p], 1;
         st.global.u8 [%p+2], 1;
         MENDED st.global.u8 [%p+3], 1;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitSharedRead,
        "the upper half is never filled",
        "setp.lt.u32 %c, %lane, 32;
         FAULTY @%c st.shared.u32 [%s], %lane;
         MENDED st.shared.u32 [%s], %lane;
         bar.sync 0;
         BLAMED ld.shared.u32 %x, [%s];",
    )
    .threads(32, 32),
    Planted::new(
        Kind::UninitLocalRead,
        "only even lanes fill their memory",
        "mov.u32 %x, own;
         and.b32 %y, %lane, 1;
         setp.eq.u32 %c, %y, 0;
         FAULTY @%c st.local.u32 [%x], %lane;
         MENDED st.local.u32 [%x], %lane;
         BLAMED ld.local.u32 %v0, [%x];",
    )
    .threads(32, 1),
    Planted::new(
        Kind::SharedRace,
        "read after write, across warps, no barrier",
        "st.shared.u32 [%s], 0;
         bar.sync 0;
         BLAMED st.shared.u32 [%s], %lane;
         MENDED bar.sync 0;
         xor.b32 %x, %lane, 32;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];",
    ),
    Planted::new(
        Kind::SharedRace,
        "write after read: the stage is refilled too early",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         xor.b32 %x, %lane, 32;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];
         MENDED bar.sync 0;
         BLAMED st.shared.u32 [%s], 5;",
    ),
    Planted::new(
        Kind::SharedRace,
        "two warps write different values",
        "and.b32 %x, %lane, 31;
         mov.u32 %y, box;
         FAULTY mad.lo.u32 %y, %x, 4, %y;
         MENDED mad.lo.u32 %y, %lane, 4, %y;
         BLAMED st.shared.u32 [%y], %lane;",
    ),
    Planted::new(
        Kind::SharedRace,
        "lanes of one warp, no bar.warp.sync",
        "st.shared.u32 [%s], 0;
         bar.sync 0;
         BLAMED st.shared.u32 [%s], %lane;
         MENDED bar.warp.sync -1;
         xor.b32 %x, %lane, 1;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];",
    ),
    Planted::new(
        Kind::SharedRace,
        "a plain store beside an atomic",
        "mov.u32 %y, box;
         setp.ne.u32 %c, %lane, 0;
         @%c bra READY;
         st.shared.u32 [%y], 0;
         READY:
         bar.sync 0;
         BLAMED atom.shared.add.u32 %x, [%y], 1;
         MENDED bar.sync 0;
         setp.ne.u32 %c, %lane, 40;
         @%c bra DONE;
         BLAMED st.shared.u32 [%y], 5;
         DONE:",
    ),
    Planted::new(
        Kind::GlobalRace,
        "blocks read what another writes",
        "mov.u32 %x, %ctaid.x;
         add.u64 %p, %in, %a;
         setp.ne.u32 %c, %x, 0;
         @%c bra READ;
         FAULTY st.global.u32 [%p], %lane;
         bra DONE;
         READ:
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "blocks write the same words",
        "mov.u32 %x, %ctaid.x;
         FAULTY add.u64 %p, %out, %a;
         FAULTY st.global.u32 [%p], %x;
         MENDED add.u64 %p, %in, %a;
         MENDED red.global.add.u32 [%p], %x;",
    )
    .blocks(2),
    Planted::new(
        Kind::BarrierDeadlock,
        "more threads expected than there are",
        "FAULTY bar.sync 1, 96;
         MENDED bar.sync 1, 64;",
    ),
    Planted::new(
        Kind::BarrierDeadlock,
        "one warp waits at another barrier",
        "setp.lt.u32 %c, %lane, 32;
         @%c bra OTHER;
         BLAMED bar.sync 1, 64;
         bra DONE;
         OTHER:
         FAULTY bar.sync 2, 64;
         MENDED bar.sync 1, 64;
         DONE:",
    ),
    Planted::new(
        Kind::BarrierDeadlock,
        "half a warp at a barrier",
        "and.b32 %x, %lane, 16;
         setp.eq.u32 %c, %x, 0;
         FAULTY @%c bra HALF;
         BLAMED bar.sync 0;
         FAULTY bra DONE;
         FAULTY HALF:
         FAULTY bar.sync 0;
         FAULTY DONE:",
    ),
    Planted::new(
        Kind::AlignedDivergence,
        "ldmatrix by some lanes",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         and.b32 %x, %lane, 7;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 16, %y;
         setp.lt.u32 %c, %x, 5;
         FAULTY @%c ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%v0}, [%y];
         MENDED ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%v0}, [%y];
         add.u64 %p, %out, %a;
         st.global.u32 [%p], %x;",
    ),
    Planted::new(
        Kind::AsyncCopyRace,
        "copied data read before the wait",
        "add.u64 %p, %in, %a;
         BLAMED cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         MENDED cp.async.wait_group 0;
         BLAMED ld.shared.u32 %x, [%s];",
    ),
    Planted::new(
        Kind::AsyncCopyRace,
        "one group too many in flight",
        "add.u64 %p, %in, %a;
         BLAMED cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         FAULTY cp.async.wait_group 1;
         MENDED cp.async.wait_all;
         BLAMED ld.shared.u32 %x, [%s];",
    ),
    Planted::new(
        Kind::AsyncCopyRace,
        "the source overwritten before the wait",
        "add.u64 %p, %in, %a;
         cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         MENDED cp.async.wait_group 0;
         BLAMED st.global.u32 [%p], %lane;
         cp.async.wait_all;",
    )
    .threads(64, 0),
    Planted::new(
        Kind::AsyncCopyRace,
        "another thread's source added to, its oldest group under way",
        "add.u64 %p, %in, %a;
         cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         cp.async.commit_group;
         FAULTY cp.async.wait_group 2;
         MENDED cp.async.wait_group 1;
         bar.sync 0;
         xor.b32 %x, %lane, 32;
         mul.wide.u32 %p, %x, 4;
         add.u64 %p, %in, %p;
         BLAMED red.global.add.u32 [%p], 1;
         bar.sync 0;
         cp.async.wait_all;",
    ),
    Planted::new(
        Kind::ShuffleUndefined,
        "a lane that the mask does not name",
        "and.b32 %x, %lane, 31;
         setp.ge.u32 %c, %x, 16;
         @%c bra DONE;
         FAULTY shfl.sync.idx.b32 %y, %lane, 20, 31, 65535;
         MENDED shfl.sync.idx.b32 %y, %lane, 12, 31, 65535;
         DONE:",
    )
    .threads(32, 0),
    Planted::new(
        Kind::ShuffleUndefined,
        "lanes that have left",
        "and.b32 %x, %lane, 31;
         setp.ge.u32 %c, %x, 24;
         @%c exit;
         FAULTY shfl.sync.down.b32 %y, %lane, 4, 31, -1;
         MENDED shfl.sync.bfly.b32 %y, %lane, 4, 31, -1;",
    )
    .threads(8, 20),
    Planted::new(
        Kind::GlobalRace,
        "a read past the caches of what the launch wrote",
        "add.u64 %p, %in, %a;
         st.global.u32 [%p], %lane;
         bar.sync 0;
         FAULTY ld.global.nc.u32 %x, [%p];
         MENDED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    // Below, block 0 writes its output and sets a flag in the input, on which block 1 waits.
    Planted::new(
        Kind::GlobalRace,
        "a flag set without a fence",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         st.global.u32 [%p], %lane;
         MENDED membar.gl;
         bar.sync 0;
         @%c bra DONE;
         atom.global.exch.b32 %x, [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         atom.global.or.b32 %x, [%in], 0;
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         fence.acq_rel.gpu;
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "a fence before the data, not behind",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         FAULTY membar.gl;
         st.global.u32 [%p], %lane;
         bar.sync 0;
         @%c bra DONE;
         MENDED membar.gl;
         st.volatile.global.u32 [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         ld.volatile.global.u32 %x, [%in];
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         membar.sys;
         READY:
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "a fence of the block's scope",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         st.global.u32 [%p], %lane;
         FAULTY membar.cta;
         MENDED fence.sc.gpu;
         bar.sync 0;
         @%c bra DONE;
         atom.global.exch.b32 %x, [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         ld.acquire.gpu.global.u32 %x, [%in];
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "a relaxed store where a release is meant",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         st.global.u32 [%p], %lane;
         bar.sync 0;
         @%c bra DONE;
         FAULTY st.relaxed.gpu.global.u32 [%in], 1;
         MENDED st.release.gpu.global.u32 [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         ld.acquire.gpu.global.u32 %x, [%in];
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "no fence behind the flag that was read",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         st.global.u32 [%p], %lane;
         membar.gl;
         bar.sync 0;
         @%c bra DONE;
         red.release.gpu.global.add.u32 [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         ld.relaxed.gpu.global.u32 %x, [%in];
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         bar.sync 0;
         MENDED membar.gl;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "a flag set before the other warp is there",
        "add.u64 %p, %out, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         BLAMED st.global.u32 [%p], %lane;
         membar.gl;
         MENDED bar.sync 0;
         @%c bra DONE;
         atom.global.exch.b32 %x, [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         atom.global.or.b32 %x, [%in], 0;
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         membar.gl;
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "sums by atomics behind a flag without a fence",
        "add.u64 %p, %in, %a;
         mov.u32 %x, %ctaid.x;
         setp.ne.u32 %d, %x, 0;
         setp.ne.u32 %c, %lane, 0;
         @%d bra READ;
         @%c red.global.add.u32 [%p], 1;
         MENDED membar.gl;
         bar.sync 0;
         @%c bra DONE;
         atom.global.exch.b32 %x, [%in], 1;
         bra DONE;
         READ:
         @%c bra READY;
         WAIT:
         atom.global.or.b32 %x, [%in], 0;
         setp.eq.u32 %d, %x, 7;
         @%d bra WAIT;
         READY:
         membar.gl;
         bar.sync 0;
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
];
