//! What all blocks of a launch share, and what each host thread collects.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::frame::Constants;
use super::options::{Options, TensorSums};
use crate::arith::matrix::sums::Sums;
use crate::check::{Collector, Kind, Spot};
use crate::count::Counters;
use crate::isa::{FunctionInfo, Program};
use crate::memory::{Allocation, Arena, Releases};
use crate::profile::Profile;

/// A launch in progress.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Code.
    pub program: &'a Program,
    /// Its constants.
    pub constants: &'a Constants,
    /// The kernel.
    pub kernel: &'a FunctionInfo,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster.
    pub cluster: [u32; 3],
    /// Dynamic shared memory.
    pub dynamic_shared: u32,
    /// Parameters.
    pub params: &'a [u8],
    /// Allocations at the start.
    pub table: &'a [Arc<Allocation>],
    /// Where device-side `malloc` allocates.
    pub arena: &'a Arena,
    /// Allocations made by the kernel.
    pub heap: Mutex<Vec<Arc<Allocation>>>,
    /// Settings.
    pub options: &'a Options,
    /// The device.
    pub profile: &'a Profile,
    /// Number of the launch.
    pub id: u32,
    /// Conflicts between blocks are looked for.
    pub hazards: bool,
    /// Granules of the race shadow are `1 << granule` bytes.
    pub granule: u32,
    /// Whether blocks may see each other's work while they run.
    pub communicates: bool,
    /// Counts strong accesses.
    pub protocol: AtomicU32,
    /// What each block passed on to others.
    pub releases: Box<[Releases]>,
    /// Set once the launch has to stop.
    pub stopped: AtomicU8,
    /// Warp instructions so far.
    pub instructions: AtomicU64,
}

/// Why a launch stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stop {
    No,
    Assert,
    Trap,
    Timeout,
}

impl Launch<'_> {
    pub(super) fn stop(&self, why: Stop) {
        // The first reason stays.
        let _ = self.stopped.compare_exchange(Stop::No as u8, why as u8, Relaxed, Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed) != Stop::No as u8
    }

    /// The time of a strong access.
    pub(super) fn tick(&self) -> u32 {
        self.protocol.fetch_add(1, Relaxed) + 1
    }

    /// How tensor cores sum the products of `mma.sync` and `wmma`.
    pub(super) fn sums(&self) -> Sums {
        match self.options.sums {
            TensorSums::AsPlayed => Sums::Truncated(self.profile.tensor_core),
            TensorSums::Rounded => Sums::Rounded,
        }
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Where dynamic shared memory starts.
    pub(super) fn dynamic_base(&self) -> u32 {
        self.kernel.static_shared.next_multiple_of(self.kernel.dynamic_align)
    }

    /// Bytes of shared memory of a block.
    pub(super) fn shared_bytes(&self) -> u32 {
        if self.dynamic_shared == 0 { self.kernel.static_shared } else { self.dynamic_base() + self.dynamic_shared }
    }

    /// Index of a block of this linear index.
    pub fn block_index(&self, linear: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [(linear % x) as u32, (linear / x % y) as u32, (linear / x / y) as u32]
    }

    /// Index of a thread of this linear index.
    pub fn thread_index(&self, linear: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [linear % x, linear / x % y, linear / x / y]
    }
}

/// What a host thread collects.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) counters: Counters,
    /// Executions and lanes of each instruction.
    pub(super) executed: Vec<(u64, u64)>,
    pub(super) findings: Collector,
    /// Reads of global bytes that nothing had written: a race may explain them.
    pub(super) unwritten: Vec<(u32, Spot)>,
    /// What each block printed.
    pub(super) printed: Vec<(u64, String)>,
    /// Index of the allocation of the last access.
    pub(super) recent: usize,
}

impl Worker {
    pub(super) fn new(launch: &Launch<'_>) -> Worker {
        Worker {
            counters: Counters::default(),
            executed: vec![(0, 0); launch.program.code.len()],
            findings: Collector::default(),
            unwritten: Vec::new(),
            printed: Vec::new(),
            recent: 0,
        }
    }

    /// Adds a finding, if its kind is looked for.
    pub(super) fn report(
        &mut self,
        launch: &Launch<'_>,
        kind: Kind,
        pc: u32,
        spot: Spot,
        note: impl FnOnce() -> String,
    ) {
        if launch.options.checks(kind) {
            self.findings.add(kind, pc, spot, note);
        }
    }
}

/// What a launch did.
#[derive(Debug)]
pub struct Outcome {
    /// Counters.
    pub counters: Counters,
    /// Findings.
    pub findings: Collector,
    /// What was printed, block by block.
    pub printed: String,
    /// Why it stopped early.
    pub trap: Option<super::options::Trap>,
    /// Executions and lanes of each instruction.
    pub executed: Vec<(u64, u64)>,
}
