//! Shared memory.

use super::block::{DEFINED, IN_FLIGHT};
use super::frame::{Doubles, lanes};
use super::special::extend;
use super::step::Exec;
use crate::check::{Accessor, Kind, Opponent};
use crate::count::{fewest, wavefronts};
use crate::isa::{Element8, Order, Reg};
use crate::memory::window;

impl Exec<'_, '_> {
    /// Offset of an address in the block's own shared memory.
    #[inline(always)]
    fn own_offset(&self, address: u64) -> u64 {
        let rank = address / window::RANK_STEP;
        if rank == u64::from(self.common.rank) + 1 { address % window::RANK_STEP } else { address }
    }

    /// Whether an access lies within the block's shared memory; says so otherwise.
    pub(super) fn in_shared(&mut self, lane: usize, address: u64, bytes: u32, write: bool) -> Option<u32> {
        let at = self.own_offset(address);
        if at.saturating_add(u64::from(bytes)) <= self.common.shared.len() as u64 {
            return Some(at as u32);
        }
        let kind = if write { Kind::SharedOobWrite } else { Kind::SharedOobRead };
        let spot = self.spot(lane, at, bytes);
        let (pc, size) = (self.group.pc, self.common.shared.len());
        self.worker.report(self.launch, kind, pc, spot, || format!("the block has {size} bytes of shared memory"));
        None
    }

    /// Reports reads of unwritten bytes and of copies under way.
    #[inline(always)]
    fn check_state(&mut self, lane: usize, at: u32, bytes: u32, read: bool) {
        let state = &self.common.state[at as usize..(at + bytes) as usize];
        if !is_settled(state) {
            self.check_unsettled(lane, at, bytes, read);
        }
    }

    fn check_unsettled(&mut self, lane: usize, at: u32, bytes: u32, read: bool) {
        let (mut all, mut any) = (u8::MAX, 0);
        for state in &self.common.state[at as usize..(at + bytes) as usize] {
            all &= state;
            any |= state;
        }
        if any & IN_FLIGHT != 0 {
            let spot = self.spot(lane, at.into(), bytes);
            let pc = self.group.pc;
            self.worker.report(self.launch, Kind::AsyncCopyRace, pc, spot, || {
                "the destination of an asynchronous copy that was not waited for".to_string()
            });
        }
        if read && all & DEFINED == 0 {
            let spot = self.spot(lane, at.into(), bytes);
            self.common.unwritten.push((self.group.pc, spot));
        }
    }

    fn report_race(&mut self, lane: usize, at: u32, bytes: u32, opponent: Opponent) {
        if !opponent.wrote {
            // A read that came before this write, by chance: the race is the fault.
            let (from, to) = (u64::from(at), u64::from(at + bytes));
            self.common
                .unwritten
                .retain(|(_, spot)| spot.address >= to || spot.address + u64::from(spot.bytes) <= from);
        }
        let spot = self.spot(lane, at.into(), bytes);
        let (pc, launch) = (self.group.pc, self.launch);
        self.worker.report(launch, Kind::SharedRace, pc, spot, || {
            let [x, y, z] = launch.thread_index(opponent.thread);
            let verb = if opponent.wrote { "wrote" } else { "read" };
            format!("thread ({x}, {y}, {z}) {verb} it and no barrier lies between")
        });
    }

    /// What every read of shared memory by a lane goes through.
    pub(super) fn note_shared_read(&mut self, lane: usize, at: u32, bytes: u32, strong: bool) {
        self.check_state(lane, at, bytes, true);
        if !self.launch.options.checks(Kind::SharedRace) {
            return;
        }
        let me = Accessor {
            thread: self.warp.index * 32 + lane as u32,
            epoch: self.warp.epoch,
            clock: &self.common.clocks[self.warp.index as usize].epochs,
            synced: &self.warp.synced,
            strong,
        };
        if let Some(opponent) = self.common.shadow.read(at, bytes, me) {
            self.report_race(lane, at, bytes, opponent);
        }
    }

    /// What every write goes through, before it changes the bytes.
    pub(super) fn note_shared_write(&mut self, lane: usize, at: u32, bytes: u32, changes: bool, strong: bool) {
        self.check_state(lane, at, bytes, false);
        if self.launch.options.checks(Kind::SharedRace) {
            let me = Accessor {
                thread: self.warp.index * 32 + lane as u32,
                epoch: self.warp.epoch,
                clock: &self.common.clocks[self.warp.index as usize].epochs,
                synced: &self.warp.synced,
                strong,
            };
            if let Some(opponent) = self.common.shadow.write(at, bytes, changes, me) {
                self.report_race(lane, at, bytes, opponent);
            }
        }
        for state in &mut self.common.state[at as usize..(at + bytes) as usize] {
            *state |= DEFINED;
        }
    }

    /// Counts a request and its wavefronts.
    pub(super) fn count_shared(&mut self, addresses: &Doubles, bytes: u32, mask: u32, write: bool) {
        let offsets = addresses.map(|a| a as u32);
        let n = wavefronts(&offsets, mask, bytes);
        let c = &mut self.worker.counters;
        if write {
            c.shared_store_requests += 1;
            c.shared_store_wavefronts += n;
        } else {
            c.shared_load_requests += 1;
            c.shared_load_wavefronts += n;
        }
        c.shared_bank_conflicts += n - fewest(mask, bytes).min(n);
    }

    /// An acquiring or releasing access at an address of shared memory.
    pub(super) fn shared_protocol(&mut self, at: u32, mask: u32) {
        if !self.launch.options.checks(Kind::SharedRace) {
            return;
        }
        let warp = self.warp.index as usize;
        self.clock();
        let lock = self.common.locks.entry(u64::from(at)).or_default();
        self.common.clocks[warp].join(lock);
        lock.join(&self.common.clocks[warp]);
        self.warp.synchronise(mask);
    }

    pub(super) fn shared_load(&mut self, addresses: &Doubles, order: Order, element: Element8, d: &[Reg], mask: u32) {
        let size = usize::from(element.bytes);
        let total = (size * d.len()) as u32;
        self.check_alignment(addresses, total, mask);
        let strong = order.is_strong();
        for lane in lanes(mask) {
            let Some(at) = self.in_shared(lane, addresses[lane], total, false) else {
                for reg in d {
                    self.frame_mut().set_lane(*reg, lane, 0);
                }
                continue;
            };
            if strong {
                self.shared_protocol(at, 1 << lane);
            }
            self.note_shared_read(lane, at, total, strong);
            for (i, reg) in d.iter().enumerate() {
                let value = self.shared_value(at as usize + i * size, size);
                let frame = &mut self.warp.frames[self.group.depth as usize];
                frame.set_lane(*reg, lane, extend(value, element));
            }
        }
        self.count_shared(addresses, total, mask, false);
    }

    /// Bytes of shared memory as a number.
    #[inline(always)]
    pub(super) fn shared_value(&self, at: usize, size: usize) -> u64 {
        number(&self.common.shared[at..at + size])
    }

    pub(super) fn shared_store(
        &mut self,
        addresses: &Doubles,
        order: Order,
        element: Element8,
        src: &[Reg],
        mask: u32,
    ) {
        let size = usize::from(element.bytes);
        let total = (size * src.len()) as u32;
        let k = self.launch.constants;
        self.check_alignment(addresses, total, mask);
        self.common.progress += 1;
        let strong = order.is_strong();
        for lane in lanes(mask) {
            let Some(at) = self.in_shared(lane, addresses[lane], total, true) else { continue };
            let mut bytes = [0; 64];
            for (i, reg) in src.iter().enumerate() {
                let value = self.frame().lane(k, *reg, lane).to_le_bytes();
                bytes[i * size..(i + 1) * size].copy_from_slice(&value[..size]);
            }
            let bytes = &bytes[..total as usize];
            let place = at as usize..(at + total) as usize;
            let changes = self.common.shared[place.clone()] != *bytes;
            self.note_shared_write(lane, at, total, changes, strong);
            self.common.shared[place].copy_from_slice(bytes);
            if strong {
                self.shared_protocol(at, 1 << lane);
            }
        }
        self.count_shared(addresses, total, mask, true);
    }
}

/// At most 8 bytes as a number. Those of a register are loaded at once: a load of bytes that were put together has to wait for them.
#[inline(always)]
fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

/// Whether bytes were all written, and nothing else is known of them.
#[inline(always)]
fn is_settled(state: &[u8]) -> bool {
    const ALL: u64 = u64::from_ne_bytes([DEFINED; 8]);
    match state.len() {
        4 => number(state) == ALL & u64::from(u32::MAX),
        8 => number(state) == ALL,
        16 => number(&state[..8]) == ALL && number(&state[8..]) == ALL,
        _ => false,
    }
}
