//! A warp: its lanes, and which of them run next.

use super::copy::LaneCopies;
use super::frame::{Frame, lanes};
use crate::check::Spot;
use crate::memory::POISON;

/// Back-edges after which a group that polls lets others run.
const PATIENCE: u32 = 300;
/// The same for a group that does not seem to wait for anything.
const LONG_PATIENCE: u32 = 100_000;

/// Lanes at one instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) pc: u32,
    pub(super) mask: u32,
    pub(super) depth: u32,
    /// Counter at which the group meets, or must let pass, other lanes.
    pub(super) limit: u32,
}

/// Local memory of a thread.
#[derive(Debug, Default)]
pub(super) struct LocalMemory {
    pub(super) data: Vec<u8>,
    pub(super) defined: Vec<u8>,
}

/// A warp of a block.
/// A plain read that an atomic may yet excuse.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) lane: usize,
    pub(super) pc: u32,
    pub(super) spot: Spot,
    /// Who wrote.
    pub(super) block: u32,
}

#[derive(Debug, Default)]
pub(super) struct Warp {
    pub(super) index: u32,
    /// Lanes that have not exited.
    pub(super) live: u32,
    /// Lanes at a barrier of the block.
    pub(super) waiting: u32,
    /// Lanes at a collective whose other lanes are elsewhere.
    pub(super) parked: u32,
    /// Lanes that were set aside at an `.aligned` instruction and have not executed it yet.
    pub(super) parked_aligned: u32,
    /// Other lanes exited meanwhile, and not without effect.
    pub(super) deserted: bool,
    /// The group executes its `.aligned` instruction though lanes are missing.
    pub(super) forced: bool,
    pub(super) pc: [u32; 32],
    pub(super) depth: [u32; 32],
    pub(super) frames: Vec<Frame>,
    pub(super) local: Vec<LocalMemory>,
    pub(super) copies: Option<Box<[LaneCopies; 32]>>,
    /// Instructions executed: the warp's clock.
    pub(super) steps: u64,
    /// Stores, atomics and barriers executed.
    pub(super) effects: u64,
    /// `effects` when a group was first parked at an `.aligned` instruction.
    pub(super) effects_at_park: u64,
    /// Plain reads of what another block's atomics wrote: races, unless they open a loop that
    /// ends in an atomic on the same address, which then fails where the value was stale.
    pub(super) opened: Vec<Opened>,
    /// Epoch of the race detector.
    pub(super) epoch: u32,
    /// Epoch of each lane's last synchronisation with its warp.
    pub(super) synced: [u32; 32],
    /// Back-edges of the current group.
    pub(super) turns: u32,
    /// Atomics and other strong accesses since the last rotation.
    pub(super) polls: u32,
    /// Groups take turns, starting behind this key.
    pub(super) rotating: Option<u64>,
    /// Turns left until lowest-first comes back.
    pub(super) rotations: u32,
}

impl Warp {
    pub(super) fn new(index: u32, threads: u32, entry: u32, frame: Frame) -> Warp {
        let live = if threads >= 32 { u32::MAX } else { (1 << threads) - 1 };
        Warp { index, live, pc: [entry; 32], frames: vec![frame], epoch: 1, ..Warp::default() }
    }

    /// Lanes that can run.
    pub(super) fn runnable(&self) -> u32 {
        self.live & !self.waiting & !self.parked
    }

    /// Deeper calls first, then lower counters.
    fn key(&self, lane: usize) -> u64 {
        u64::from(u32::MAX - self.depth[lane]) << 32 | u64::from(self.pc[lane])
    }

    /// The group that runs next.
    pub(super) fn select(&mut self) -> Option<Group> {
        let runnable = self.runnable();
        if runnable == 0 {
            return None;
        }
        let mut lowest = u64::MAX;
        let mut next = u64::MAX;
        let after = self.rotating;
        for lane in lanes(runnable) {
            let key = self.key(lane);
            lowest = lowest.min(key);
            if after.is_some_and(|after| key > after) {
                next = next.min(key);
            }
        }
        let chosen = if next == u64::MAX { lowest } else { next };
        let mut mask = 0;
        let mut limit = u64::MAX;
        for lane in lanes(runnable) {
            let key = self.key(lane);
            if key == chosen {
                mask |= 1 << lane;
            } else if key > chosen {
                limit = limit.min(key);
            }
        }
        if mask == runnable {
            self.rotating = None;
        }
        let depth = u32::MAX - (chosen >> 32) as u32;
        // Lanes of another depth are never met by counting up.
        let limit = if limit >> 32 == chosen >> 32 { limit as u32 } else { u32::MAX };
        Some(Group { pc: chosen as u32, mask, depth, limit })
    }

    /// Notes where a group stands.
    pub(super) fn save(&mut self, group: &Group) {
        for lane in lanes(group.mask) {
            self.pc[lane] = group.pc;
            self.depth[lane] = group.depth;
        }
    }

    /// Counts a jump backwards; whether others get a turn now.
    pub(super) fn jumped_back(&mut self, group: &Group) -> bool {
        self.turns += 1;
        let patience = if self.polls > 0 { PATIENCE } else { LONG_PATIENCE };
        if self.turns < patience || group.mask == self.runnable() {
            return false;
        }
        self.rotate(group);
        true
    }

    /// Gives the other groups a turn.
    pub(super) fn rotate(&mut self, group: &Group) {
        self.turns = 0;
        self.polls = 0;
        if self.rotating.is_none() {
            self.rotations = 64;
        }
        self.rotations = self.rotations.saturating_sub(1);
        self.rotating = if self.rotations == 0 {
            None
        } else {
            Some(u64::from(u32::MAX - group.depth) << 32 | u64::from(group.pc))
        };
    }

    /// Ends an epoch for lanes that synchronised with each other.
    pub(super) fn synchronise(&mut self, mask: u32) {
        for lane in lanes(mask) {
            self.synced[lane] = self.epoch;
        }
        self.epoch += 1;
    }

    /// Makes sure that local memory reaches to `end`.
    pub(super) fn reserve_local(&mut self, lane: usize, end: u32) {
        if self.local.is_empty() {
            self.local.resize_with(32, LocalMemory::default);
        }
        let local = &mut self.local[lane];
        let end = end as usize;
        if local.data.len() < end {
            local.data.resize(end, POISON);
            local.defined.resize(end, 0);
        }
    }
}
