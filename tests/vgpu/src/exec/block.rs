//! A block: its warps, shared memory and barriers.

use std::collections::{BTreeMap, HashMap};

use super::barrier::Barrier;
use super::clock::Clock;
use super::copy::Sources;
use super::frame::Frame;
use super::hopper::MemoryBarrier;
use super::launch::{Launch, Stop, Worker};
use super::step::{Exec, Paused};
use super::warp::Warp;
use crate::check::{Kind, SharedShadow, Spot};
use crate::memory::POISON;

/// A byte of shared memory was written.
pub(super) const DEFINED: u8 = 1;
/// An asynchronous copy to the byte is under way.
pub(super) const IN_FLIGHT: u8 = 2;

/// Instructions of a warp's turn.
const TURN: u32 = 2048;
/// Rounds without an effect that others could see, after which other blocks get their turn.
const QUIET: u32 = 2;

/// A small generator for the order of things (splitmix64).
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Puts a slice into random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = (self.next() % (i as u64 + 1)) as usize;
            items.swap(i, j);
        }
    }
}

/// What all warps of a block share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) index: [u32; 3],
    pub(super) linear: u64,
    /// Rank in its cluster.
    pub(super) rank: u32,
    pub(super) shared: Vec<u8>,
    /// [`DEFINED`] and [`IN_FLIGHT`] of each byte.
    pub(super) state: Vec<u8>,
    pub(super) shadow: SharedShadow,
    /// Reads of bytes that nothing had written: instruction and place. A race may explain them.
    pub(super) unwritten: Vec<(u32, Spot)>,
    pub(super) barriers: [Barrier; 17],
    pub(super) memory_barriers: BTreeMap<u32, MemoryBarrier>,
    /// For each warp, what is ordered before it.
    pub(super) clocks: Vec<Clock>,
    /// What the threads that have exited did: ordered before a barrier of the whole block.
    pub(super) departed: Clock,
    /// What is ordered before whoever acquires at an address of shared memory next.
    pub(super) locks: HashMap<u64, Clock>,
    /// Where copies under way read.
    pub(super) sources: Sources,
    /// Lanes of each warp that have not exited.
    pub(super) live: Vec<u32>,
    pub(super) printed: String,
    /// Counts what other warps may be waiting for.
    pub(super) progress: u64,
}

/// A resident block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) common: Common,
    pub(super) warps: Vec<Warp>,
    order: Vec<usize>,
    rng: Rng,
    /// Rounds in which nothing moved.
    idle: u32,
}

/// How far a block got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    Done,
    /// Its time is up.
    Paused,
}

impl Block {
    pub(super) fn new(launch: &Launch<'_>, linear: u64, rank: u32) -> Block {
        let threads = launch.threads();
        let count = threads.div_ceil(32);
        let shared = launch.shared_bytes() as usize;
        let slots = launch
            .program
            .functions
            .iter()
            .fold([0; 3], |most: [u32; 3], f| core::array::from_fn(|i| most[i].max(f.slots[i])));
        let calls = !launch.kernel.callees.is_empty() || launch.kernel.indirect;
        let slots = if calls { slots } else { launch.kernel.slots };
        let words = launch.program.functions.iter().map(|f| f.frame_words).max().unwrap_or(0);
        let words = if calls { words } else { launch.kernel.frame_words };
        let mut warps = Vec::new();
        for index in 0..count {
            let frame = Frame::new(slots, words);
            let mut warp = Warp::new(index, threads - index * 32, launch.kernel.entry, frame);
            if launch.kernel.local_bytes > 0 {
                for lane in 0..32 {
                    warp.reserve_local(lane, launch.kernel.local_bytes);
                    warp.frames[0].local_end[lane] = launch.kernel.local_bytes;
                }
            }
            warps.push(warp);
        }
        let mut rng = Rng(launch.options.seed ^ linear.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let mut order: Vec<usize> = (0..count as usize).collect();
        rng.shuffle(&mut order);
        let races = launch.options.checks(Kind::SharedRace);
        Block {
            common: Common {
                index: launch.block_index(linear),
                linear,
                rank,
                shared: vec![POISON; shared],
                state: vec![0; shared],
                shadow: if races { SharedShadow::new(shared, launch.granule) } else { SharedShadow::default() },
                unwritten: Vec::new(),
                barriers: core::array::from_fn(|_| Barrier::default()),
                memory_barriers: BTreeMap::new(),
                clocks: vec![Clock::new(count as usize); count as usize],
                departed: Clock::default(),
                locks: HashMap::new(),
                sources: Sources::default(),
                live: warps.iter().map(|w| w.live).collect(),
                printed: String::new(),
                progress: 0,
            },
            warps,
            order,
            rng,
            idle: 0,
        }
    }

    /// Runs until the block is done, has used its rounds, or cannot go on by itself.
    pub(super) fn run(&mut self, launch: &Launch<'_>, worker: &mut Worker, rounds: u32) -> Progress {
        let mut quiet = 0;
        for _ in 0..rounds {
            if launch.is_stopped() {
                return Progress::Done;
            }
            let before = self.common.progress;
            let mut ran = false;
            let mut alive = false;
            let mut yielded = true;
            for i in 0..self.order.len() {
                let index = self.order[i];
                if self.warps[index].live == 0 {
                    continue;
                }
                alive = true;
                if self.warps[index].runnable() == 0 && self.warps[index].parked == 0 {
                    continue;
                }
                let turn = TURN / 2 + (self.rng.next() % u64::from(TURN)) as u32;
                let mut warp = std::mem::take(&mut self.warps[index]);
                let steps = warp.steps;
                let paused = Exec::new(launch, worker, &mut self.common, &mut warp).run(turn);
                ran |= warp.steps != steps;
                yielded &= paused == Paused::Yielded || warp.steps == steps;
                self.warps[index] = warp;
                self.release_barriers();
            }
            if !alive {
                return Progress::Done;
            }
            if !ran {
                self.deadlock(launch, worker);
                return Progress::Done;
            }
            // Others may do what it waits for.
            quiet = if self.common.progress == before { quiet + 1 } else { 0 };
            if quiet > QUIET && rounds != u32::MAX {
                return Progress::Paused;
            }
            // Polling without effect, round after round, waits for another block or for ever.
            self.idle = if yielded && self.common.progress == before { self.idle + 1 } else { 0 };
            if self.idle > 64 {
                return Progress::Paused;
            }
        }
        Progress::Paused
    }

    /// Reports what is only sure at the end.
    pub(super) fn finish(&mut self, launch: &Launch<'_>, worker: &mut Worker) {
        for (pc, spot) in std::mem::take(&mut self.common.unwritten) {
            worker.report(launch, Kind::UninitSharedRead, pc, spot, String::new);
        }
    }

    /// Rounds of nothing but polling.
    pub(super) fn is_polling(&self) -> bool {
        self.idle > 64
    }

    /// Reports the lanes that wait for ever, once per warp and instruction.
    pub(super) fn deadlock(&mut self, launch: &Launch<'_>, worker: &mut Worker) {
        for warp in &mut self.warps {
            for lane in super::frame::lanes(warp.live) {
                let spot =
                    Spot { block: self.common.linear, thread: warp.index * 32 + lane as u32, address: 0, bytes: 0 };
                // Lanes at a barrier already point behind it.
                let pc = warp.pc[lane] - (warp.waiting >> lane & 1);
                worker.report(launch, Kind::BarrierDeadlock, pc, spot, || {
                    "waits for threads that never come".to_string()
                });
            }
            warp.live = 0;
        }
    }

    /// Lets the warps of completed barriers go on.
    fn release_barriers(&mut self) {
        for id in 0..17 {
            if !self.common.barriers[id].is_waited_for() {
                continue;
            }
            if !self.common.barriers[id].is_complete(&self.common.live) {
                continue;
            }
            let barrier = std::mem::take(&mut self.common.barriers[id]);
            self.common.progress += 1;
            barrier.release(&mut self.warps, &mut self.common.clocks, &self.common.departed);
        }
    }

    pub(super) fn stop_all(&mut self) {
        for warp in &mut self.warps {
            warp.live = 0;
        }
    }
}

/// A launch that stopped early has no use for what is left.
pub(super) fn stop_of(code: u8) -> Option<super::options::Trap> {
    match code {
        c if c == Stop::Assert as u8 => Some(super::options::Trap::Assert),
        c if c == Stop::Trap as u8 => Some(super::options::Trap::Trap),
        c if c == Stop::Timeout as u8 => Some(super::options::Trap::Timeout),
        _ => None,
    }
}
