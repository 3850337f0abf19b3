//! `cp.async`.

use std::collections::VecDeque;

use super::block::IN_FLIGHT;
use super::frame::lanes;
use super::options::Landing;
use super::step::Exec;
use crate::check::Kind;
use crate::isa::{Addr, Op, Reg, Space};
use crate::memory::POISON;

/// A copy under way.
#[derive(Clone, Debug)]
struct Copy {
    to: u32,
    bytes: u32,
    data: [u8; 16],
    /// Its entry in [`Sources`].
    source: Option<u32>,
}

/// Copies of a lane: those not yet in a group, and groups, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneCopies {
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

/// Global memory that copies of a block under way read: none of it may be written until they have landed.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Address, bytes and thread; no bytes where the copy has landed.
    entries: Vec<(u64, u32, u32)>,
    free: Vec<u32>,
    under_way: usize,
    /// All of them lie within.
    from: u64,
    to: u64,
}

impl Sources {
    fn add(&mut self, address: u64, bytes: u32, thread: u32) -> u32 {
        if self.under_way == 0 {
            (self.from, self.to) = (address, address);
            self.entries.clear();
            self.free.clear();
        }
        self.under_way += 1;
        self.from = self.from.min(address);
        self.to = self.to.max(address.saturating_add(bytes.into()));
        let entry = (address, bytes, thread);
        if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            return place;
        }
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    fn remove(&mut self, place: u32) {
        self.under_way -= 1;
        self.entries[place as usize].1 = 0;
        self.free.push(place);
    }

    /// A thread whose copy reads some of this.
    #[inline(always)]
    fn reader(&self, address: u64, bytes: u32) -> Option<u32> {
        if self.under_way == 0 || address >= self.to || address.saturating_add(bytes.into()) <= self.from {
            return None;
        }
        let end = |at: u64, bytes: u32| at.saturating_add(bytes.into());
        let overlaps = |at: u64, n: u32| address < end(at, n) && at < end(address, bytes);
        self.entries.iter().find(|(at, n, _)| *n > 0 && overlaps(*at, *n)).map(|(.., thread)| *thread)
    }
}

impl Exec<'_, '_> {
    /// Reports a write to what a copy under way reads.
    #[inline(always)]
    pub(super) fn check_source(&mut self, lane: usize, address: u64, bytes: u32) {
        let Some(thread) = self.common.sources.reader(address, bytes) else { return };
        let spot = self.spot(lane, address, bytes);
        let (pc, launch) = (self.group.pc, self.launch);
        self.worker.report(launch, Kind::AsyncCopyRace, pc, spot, || {
            let [x, y, z] = launch.thread_index(thread);
            format!("the source of an asynchronous copy that thread ({x}, {y}, {z}) did not wait for")
        });
    }

    pub(super) fn copy(&mut self, op: &Op, mask: u32) {
        let copies = self.warp.copies.get_or_insert_default();
        match op {
            Op::CopyAsync { to, to_space, from, from_space, bytes, size, ignore } => {
                self.start([(*to, *to_space), (*from, *from_space)], *bytes, *size, *ignore, mask);
            }
            Op::CopyCommit => {
                for lane in lanes(mask) {
                    let lane = &mut copies[lane];
                    let group = std::mem::take(&mut lane.open);
                    lane.groups.push_back(group);
                }
            }
            Op::CopyWait { pending } => {
                for lane in lanes(mask) {
                    match pending {
                        Some(n) => self.land(lane, *n as usize),
                        None => self.land_lane(lane),
                    }
                }
            }
            Op::CopyArrive { addr, space, extra } => {
                for lane in lanes(mask) {
                    self.land_lane(lane);
                }
                self.copy_arrive(*addr, *space, *extra, mask);
            }
            _ => {}
        }
    }

    fn start(&mut self, places: [(Addr, Space); 2], bytes: u32, size: Reg, ignore: Reg, mask: u32) {
        let mut to = self.addresses(places[0].0);
        let mut from = self.addresses(places[1].0);
        let parts = self.parts(places[0].1, &mut to, mask);
        let shared = parts.iter().filter(|p| p.space == Space::Shared).fold(0, |m, p| m | p.mask);
        if shared != mask {
            self.oob(Kind::SharedOobWrite, &to, mask & !shared, bytes);
        }
        let parts = self.parts(places[1].1, &mut from, shared);
        let global = parts.iter().filter(|p| p.space == Space::Global).fold(0, |m, p| m | p.mask);
        self.check_alignment(&to, bytes, shared);
        self.check_alignment(&from, bytes, shared);
        let skip = if ignore.is_some() { self.frame().p(ignore) } else { 0 };
        let sizes = if size.is_some() { *self.words(size) } else { [bytes; 32] };
        self.warp.effects += 1;
        let mut reading = 0;
        for lane in lanes(shared) {
            let wanted = if skip >> lane & 1 == 1 { 0 } else { sizes[lane].min(bytes) };
            let mut data = [0; 16];
            let reads = wanted > 0 && global >> lane & 1 == 1;
            if reads {
                reading |= 1 << lane;
                self.read_global(lane, from[lane], &mut data[..wanted as usize]);
            }
            let Some(at) = self.in_shared(lane, to[lane], bytes, true) else { continue };
            self.note_shared_write(lane, at, bytes, true, false);
            let place = at as usize..(at + bytes) as usize;
            match self.launch.options.landing {
                Landing::Earliest => {
                    self.common.shared[place.clone()].copy_from_slice(&data[..bytes as usize]);
                }
                Landing::Latest => self.common.shared[place.clone()].fill(POISON),
            }
            for state in &mut self.common.state[place] {
                *state |= IN_FLIGHT;
            }
            if let Some(copies) = &mut self.warp.copies {
                let thread = self.warp.index * 32 + lane as u32;
                let source = reads.then(|| self.common.sources.add(from[lane], wanted, thread));
                copies[lane].open.push(Copy { to: at, bytes, data, source });
            }
        }
        if reading != 0 {
            self.count_global(&from, bytes, reading, false);
        }
        self.count_shared(&to, bytes, shared, true);
    }

    /// Reads global memory with the checks of a load.
    pub(super) fn read_global(&mut self, lane: usize, address: u64, into: &mut [u8]) {
        let bytes = into.len() as u32;
        let Some((allocation, offset)) = self.allocation(lane, address, bytes, false) else { return };
        if !allocation.is_defined(offset, into.len()) {
            let spot = self.spot(lane, address, bytes);
            self.unwritten(spot, offset, allocation.base);
        }
        if self.launch.hazards {
            self.hazard(lane, (allocation, offset), bytes, false, false, true);
        }
        allocation.data.read(offset, into);
    }

    /// Lands all but the newest `keep` groups of a lane.
    fn land(&mut self, lane: usize, keep: usize) {
        loop {
            let Some(copies) = &mut self.warp.copies else { return };
            if copies[lane].groups.len() <= keep {
                return;
            }
            let group = copies[lane].groups.pop_front().unwrap_or_default();
            self.finish(lane, group);
        }
    }

    /// Lands everything of a lane.
    fn land_lane(&mut self, lane: usize) {
        self.land(lane, 0);
        if let Some(copies) = &mut self.warp.copies {
            let open = std::mem::take(&mut copies[lane].open);
            self.finish(lane, open);
        }
    }

    /// Lands everything of lanes that exit.
    pub(super) fn land_all(&mut self, mask: u32) {
        if self.warp.copies.is_some() {
            for lane in lanes(mask) {
                self.land_lane(lane);
            }
        }
    }

    fn finish(&mut self, lane: usize, group: Vec<Copy>) {
        for copy in group {
            if let Some(source) = copy.source {
                self.common.sources.remove(source);
            }
            let place = copy.to as usize..(copy.to + copy.bytes) as usize;
            for state in &mut self.common.state[place.clone()] {
                *state &= !IN_FLIGHT;
            }
            if self.launch.options.landing == Landing::Latest {
                self.common.shared[place].copy_from_slice(&copy.data[..copy.bytes as usize]);
            }
            // The write counts as the thread's own, done now.
            self.own_shared(lane, copy.to, copy.bytes);
        }
    }

    /// Notes a write that was checked when it started.
    fn own_shared(&mut self, lane: usize, at: u32, bytes: u32) {
        if !self.launch.options.checks(Kind::SharedRace) {
            return;
        }
        let me = crate::check::Accessor {
            thread: self.warp.index * 32 + lane as u32,
            epoch: self.warp.epoch,
            clock: &self.common.clocks[self.warp.index as usize].epochs,
            synced: &self.warp.synced,
            strong: false,
        };
        // A reader in between has been reported as touching a copy under way.
        let _ = self.common.shadow.write(at, bytes, false, me);
    }
}
