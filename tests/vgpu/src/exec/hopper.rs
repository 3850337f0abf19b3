//! Barriers in shared memory, bulk copies and products of warpgroups.

use super::clock::Clock;
use super::frame::lanes;
use super::matrix::accumulator_value;
use super::options::TensorSums;
use super::step::{Exec, Flow};
use crate::arith::half;
use crate::arith::matrix::element::{Accumulator, Element};
use crate::arith::matrix::sums::TensorCore;
use crate::arith::matrix::wgmma::{Descriptor, Major, d_at};
use crate::check::Kind;
use crate::count::Sectors;
use crate::isa::{Addr, Bulk, Class, Mbarrier, Reg, Space, Wgmma};
use crate::memory::window;

/// State of an `mbarrier`. Its bytes in memory stay opaque.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryBarrier {
    /// Arrivals of each phase.
    expected: u32,
    /// Arrivals that this phase still waits for.
    pending: i64,
    /// Bytes that it waits for.
    bytes: i64,
    /// Phases completed.
    phase: u64,
    /// What is ordered before the end of this phase, and of the last.
    clock: Clock,
    completed: Clock,
}

impl MemoryBarrier {
    fn advance(&mut self) {
        if self.pending <= 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.expected.into();
            self.completed = std::mem::take(&mut self.clock);
            self.clock = self.completed.clone();
        }
    }

    /// What an arrival returns: phase and pending arrivals.
    fn token(&self) -> u64 {
        self.phase << 21 | (self.pending.max(0) as u64 & 0x1f_ffff)
    }
}

impl Exec<'_, '_> {
    /// Offset of a barrier in shared memory, for each lane.
    fn barrier_at(&mut self, lane: usize, address: u64) -> Option<u32> {
        let at = if address >= window::SHARED { address - window::SHARED } else { address };
        if at % 8 != 0 {
            let spot = self.spot(lane, at, 8);
            let pc = self.group.pc;
            self.worker.report(self.launch, Kind::Misaligned, pc, spot, String::new);
        }
        self.in_shared(lane, at, 8, true)
    }

    /// Everything this warp did so far is ordered before the barrier's phase ends.
    fn publish(&mut self, at: u32) {
        let warp = self.warp.index as usize;
        self.clock();
        let barrier = self.common.memory_barriers.entry(at).or_default();
        barrier.clock.join(&self.common.clocks[warp]);
        self.warp.epoch += 1;
    }

    pub(super) fn copy_arrive(&mut self, addr: Addr, _space: Space, extra: bool, mask: u32) {
        let addresses = self.addresses(addr);
        for lane in lanes(mask) {
            let Some(at) = self.barrier_at(lane, addresses[lane]) else { continue };
            self.publish(at);
            let barrier = self.common.memory_barriers.entry(at).or_default();
            barrier.pending -= i64::from(!extra);
            barrier.advance();
        }
        self.common.progress += 1;
    }

    pub(super) fn mbarrier(&mut self, what: &Mbarrier, addr: Addr, _: Space, mask: u32) -> Flow {
        let addresses = self.addresses(addr);
        let read = |me: &Self, reg: Reg, lane: usize, default: u64| {
            if reg.is_some() { me.frame().lane(me.launch.constants, reg, lane) } else { default }
        };
        if let Mbarrier::Pending { count, state } = what {
            for lane in lanes(mask) {
                let token = read(self, *state, lane, 0);
                self.frame_mut().set_lane(*count, lane, token & 0x1f_ffff);
            }
            return Flow::Next;
        }
        let mut waiting = false;
        for lane in lanes(mask) {
            let Some(at) = self.barrier_at(lane, addresses[lane]) else { continue };
            match what {
                Mbarrier::Init(count) => {
                    let expected = read(self, *count, lane, 1) as u32;
                    self.note_shared_write(lane, at, 8, true, true);
                    let pending = i64::from(expected);
                    let barrier = MemoryBarrier { expected, pending, ..MemoryBarrier::default() };
                    self.common.memory_barriers.insert(at, barrier);
                }
                Mbarrier::Invalidate => {
                    self.common.memory_barriers.remove(&at);
                }
                Mbarrier::Arrive { state, count, expect, drop } => {
                    let count = read(self, *count, lane, 1);
                    let expect = read(self, *expect, lane, 0);
                    self.publish(at);
                    let barrier = self.common.memory_barriers.entry(at).or_default();
                    let token = barrier.token();
                    barrier.bytes += expect as i64;
                    barrier.pending -= count as i64;
                    if *drop {
                        barrier.expected = barrier.expected.saturating_sub(count as u32);
                    }
                    barrier.advance();
                    self.frame_mut().set_lane(*state, lane, token);
                }
                Mbarrier::Expect(bytes) => {
                    let bytes = read(self, *bytes, lane, 0);
                    let barrier = self.common.memory_barriers.entry(at).or_default();
                    barrier.bytes += bytes as i64;
                }
                Mbarrier::Complete(bytes) => {
                    let bytes = read(self, *bytes, lane, 0);
                    self.publish(at);
                    let barrier = self.common.memory_barriers.entry(at).or_default();
                    barrier.bytes -= bytes as i64;
                    barrier.advance();
                }
                Mbarrier::Test { done, state, parity, .. } => {
                    let state = read(self, *state, lane, 0);
                    let barrier = self.common.memory_barriers.entry(at).or_default();
                    let passed = if *parity { barrier.phase & 1 != state & 1 } else { barrier.phase > state >> 21 };
                    if passed {
                        let completed = barrier.completed.clone();
                        let warp = self.warp.index as usize;
                        self.common.clocks[warp].join(&completed);
                    }
                    waiting |= !passed;
                    let value = if passed { u32::MAX } else { 0 };
                    self.frame_mut().set_p(*done, value, 1 << lane);
                }
                Mbarrier::Pending { .. } => {}
            }
        }
        if matches!(what, Mbarrier::Test { .. }) {
            self.warp.polls += 1;
            if !waiting {
                self.warp.synchronise(mask);
            }
            return if waiting { Flow::Yield } else { Flow::Next };
        }
        self.common.progress += 1;
        Flow::Next
    }

    /// Bulk copies land at issue.
    pub(super) fn bulk(&mut self, bulk: &Bulk, mask: u32) {
        self.warp.effects += 1;
        self.common.progress += 1;
        match bulk {
            Bulk::Load { to, from, bytes, mbarrier } => {
                let (to, from) = (self.addresses(*to), self.addresses(*from));
                let (sizes, barriers) = (*self.words(*bytes), self.addresses(*mbarrier));
                self.check_alignment(&to, 16, mask);
                self.check_alignment(&from, 16, mask);
                for lane in lanes(mask) {
                    let n = sizes[lane];
                    let at = to[lane].checked_sub(window::SHARED).unwrap_or(to[lane]);
                    if let Some(at) = self.in_shared(lane, at, n, true) {
                        let mut data = vec![0; n as usize];
                        self.read_global(lane, from[lane], &mut data);
                        self.note_shared_write(lane, at, n, true, false);
                        self.common.shared[at as usize..(at + n) as usize].copy_from_slice(&data);
                        self.touch_range(from[lane], n, false);
                    }
                    if let Some(at) = self.barrier_at(lane, barriers[lane]) {
                        self.publish(at);
                        let barrier = self.common.memory_barriers.entry(at).or_default();
                        barrier.bytes -= i64::from(n);
                        barrier.advance();
                    }
                }
            }
            Bulk::Store { to, from, bytes, reduce } => {
                let (to, from) = (self.addresses(*to), self.addresses(*from));
                let sizes = *self.words(*bytes);
                self.check_alignment(&to, 16, mask);
                self.check_alignment(&from, 16, mask);
                for lane in lanes(mask) {
                    let n = sizes[lane];
                    let at = from[lane].checked_sub(window::SHARED).unwrap_or(from[lane]);
                    let Some(at) = self.in_shared(lane, at, n, false) else { continue };
                    self.note_shared_read(lane, at, n, false);
                    let mut data = self.common.shared[at as usize..(at + n) as usize].to_vec();
                    let Some((allocation, offset)) = self.allocation(lane, to[lane], n, true) else {
                        continue;
                    };
                    if let Some((op, ty)) = reduce {
                        let mut old = vec![0; n as usize];
                        allocation.data.read(offset, &mut old);
                        let size = ty.bytes() as usize;
                        for (new, old) in data.chunks_exact_mut(size).zip(old.chunks_exact(size)) {
                            let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
                            let (a, b) = (number(old), number(new));
                            let sum = super::atomic::combine(*op, *ty, a, b, 0, false);
                            new.copy_from_slice(&sum.to_le_bytes()[..size]);
                        }
                    }
                    self.check_source(lane, to[lane], n);
                    allocation.data.write(offset, &data);
                    super::global::define(allocation, offset, n as usize);
                    if self.launch.hazards {
                        let strong = reduce.is_some();
                        self.hazard(lane, (allocation, offset), n, true, strong, true);
                    }
                    self.touch_range(to[lane], n, true);
                }
            }
        }
    }

    /// Counts a bulk copy as one request.
    fn touch_range(&mut self, address: u64, bytes: u32, write: bool) {
        let list: Vec<u64> = (address >> 5..(address + u64::from(bytes)).div_ceil(32)).collect();
        let c = &mut self.worker.counters;
        if write {
            c.global_store_requests += 1;
            c.global_store_sectors += list.len() as u64;
        } else {
            c.global_load_requests += 1;
            c.global_load_sectors += list.len() as u64;
        }
        self.touch_sectors(&list, write);
        let _ = Sectors::of;
    }

    pub(super) fn mapa(&mut self, d: Reg, a: Reg, rank: Reg, space: Space, mask: u32) {
        let (x, ranks) = (self.doubles(a), *self.words(rank));
        for lane in lanes(mask) {
            let own = x[lane].checked_sub(window::SHARED).unwrap_or(x[lane]) % window::RANK_STEP;
            let there = own + (u64::from(ranks[lane]) + 1) * window::RANK_STEP;
            let generic = space == Space::Generic && d.class() == Class::Double;
            let value = if generic { there + window::SHARED } else { there };
            self.frame_mut().set_lane(d, lane, value);
        }
    }

    pub(super) fn cta_rank(&mut self, d: Reg, a: Reg, _: Space, mask: u32) {
        let x = self.doubles(a);
        let own = u64::from(self.common.rank);
        for lane in lanes(mask) {
            let at = x[lane].checked_sub(window::SHARED).unwrap_or(x[lane]);
            let rank = (at / window::RANK_STEP).checked_sub(1).unwrap_or(own);
            self.frame_mut().set_lane(d, lane, rank);
        }
    }

    /// The rows of a warpgroup's product that belong to this warp.
    pub(super) fn wgmma(&mut self, op: &Wgmma, mask: u32) {
        let (n, k) = (op.shape.n, op.shape.k);
        let warp = (self.warp.index % 4) as usize;
        let bytes = op.a_type.bits() / 8;
        // One instruction of four warps: each counts its quarter.
        self.worker.counters.mma_flops += op.shape.flops() / 4;
        let major = |transposed: bool| if transposed { Major::Mn } else { Major::K };
        let lane = mask.trailing_zeros() as usize;
        let constants = self.launch.constants;
        let b_at = Descriptor::decode(self.frame().lane(constants, op.b, lane));
        let b = self.tile(b_at, n, 0, k, bytes, op.b_type, major(op.transposed.1), lane);
        let a = if op.a_registers {
            let per = op.a_type.per_register();
            let mut a = vec![0.0; 16 * k];
            for (r, reg) in op.a.iter().enumerate() {
                let words = *self.words(*reg);
                for (lane, word) in words.iter().enumerate() {
                    for i in 0..per {
                        let row = lane / 4 + 8 * (r % 2);
                        let col = r / 2 * 4 * per + lane % 4 * per + i;
                        a[row * k + col] = value(op.a_type, word >> (i * op.a_type.bits()));
                    }
                }
            }
            a
        } else {
            let at = Descriptor::decode(self.frame().lane(constants, op.a[0], lane));
            self.tile(at, 16, 16 * warp, k, bytes, op.a_type, major(op.transposed.0), lane)
        };
        let sign = |negate: bool| if negate { -1.0 } else { 1.0 };
        let sign = sign(op.negate.0) * sign(op.negate.1);
        let adds = if op.scale_d.is_some() { self.frame().p(op.scale_d) } else { u32::MAX };
        let halves = op.d_type == Accumulator::F16;
        let sums = self.launch.options.sums;
        for (r, reg) in op.d.iter().enumerate() {
            let old = *self.words(*reg);
            let mut new = [0u32; 32];
            for lane in lanes(mask) {
                for part in 0..if halves { 2 } else { 1 } {
                    let i = if halves { 2 * r + part } else { r };
                    let (row, col) = d_at(0, lane, i);
                    let pairs: Vec<_> = (0..k).map(|j| (a[row * k + j], b[col * k + j] * sign)).collect();
                    // In doubles such sums are exact, or nearly.
                    let plain = || pairs.iter().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
                    let add = |c: f32| match sums {
                        TensorSums::AsPlayed => TensorCore::HOPPER_WGMMA.dot((op.a_type, op.b_type), &pairs, c, halves),
                        TensorSums::Rounded => (f64::from(c) + plain()) as f32,
                    };
                    let adds = adds >> lane & 1 == 1;
                    let bits = match op.d_type {
                        Accumulator::S32 => {
                            let c = if adds { i64::from(old[lane] as i32) } else { 0 };
                            let sum = c + plain() as i64;
                            let limits = (i64::from(i32::MIN), i64::from(i32::MAX));
                            if op.saturate { sum.clamp(limits.0, limits.1) as u32 } else { sum as u32 }
                        }
                        Accumulator::F16 => {
                            let c = half::f16_to_f32((old[lane] >> (16 * part)) as u16);
                            accumulator_value(op.d_type, add(if adds { c } else { 0.0 }))
                        }
                        _ => accumulator_value(op.d_type, add(if adds { f32::from_bits(old[lane]) } else { 0.0 })),
                    };
                    new[lane] |= bits << (16 * part);
                }
            }
            self.frame_mut().set_w(*reg, &new, mask);
        }
    }

    /// A tile of shared memory as numbers, `k` contiguous.
    #[allow(clippy::too_many_arguments)]
    fn tile(
        &mut self,
        at: Descriptor,
        rows: usize,
        first: usize,
        k: usize,
        bytes: usize,
        element: Element,
        major: Major,
        lane: usize,
    ) -> Vec<f32> {
        let mut tile = vec![0.0; rows * k];
        let mut noted = std::collections::BTreeSet::new();
        for row in 0..rows {
            for col in 0..k {
                let address = at.address(first + row, col, bytes, major);
                let chunk = address & !15;
                if noted.insert(chunk) {
                    match self.in_shared(lane, chunk.into(), 16, false) {
                        Some(at) => self.note_shared_read(lane, at, 16, false),
                        None => continue,
                    }
                }
                if (address as usize + bytes) <= self.common.shared.len() {
                    let bits = self.shared_value(address as usize, bytes) as u32;
                    tile[row * k + col] = value(element, bits);
                }
            }
        }
        tile
    }
}

fn value(element: Element, bits: u32) -> f32 {
    element.value(bits)
}
