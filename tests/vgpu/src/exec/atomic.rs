//! `atom` and `red`.

use super::frame::{Doubles, lanes};
use super::global::{define, is_defined};
use super::step::Exec;
use crate::arith::float::{self, Extremum, Mode};
use crate::arith::half::{self, Bf16, F16};
use crate::arith::soft::Round;
use crate::check::Kind;
use crate::count::Sectors;
use crate::isa::{Addr, AtomicOp, AtomicType, Order, Reg, Space};

/// An atomic instruction; the registers are those of its vector's elements.
#[derive(Clone, Copy)]
pub(super) struct Atomic<'a> {
    pub(super) op: AtomicOp,
    pub(super) ty: AtomicType,
    pub(super) order: Order,
    pub(super) d: &'a [Reg],
    pub(super) b: &'a [Reg],
    pub(super) c: Reg,
}

/// What is in memory afterwards. `flush`: global memory flushes `f32` subnormals.
pub(super) fn combine(op: AtomicOp, ty: AtomicType, old: u64, b: u64, c: u64, flush: bool) -> u64 {
    match op {
        AtomicOp::Exch => return b,
        AtomicOp::Cas => return if old == b { c } else { old },
        AtomicOp::And => return old & b,
        AtomicOp::Or => return old | b,
        AtomicOp::Xor => return old ^ b,
        _ => {}
    }
    let max = op == AtomicOp::Max;
    let extremum = Extremum { max, ..Extremum::default() };
    let halves = |a: u32, b: u32, pair: bool, bf16: bool| {
        let one = |x: u16, y: u16| match (op == AtomicOp::Add, bf16) {
            (true, false) => half::add::<F16>(x, y, half::Mode::default()),
            (true, true) => half::add::<Bf16>(x, y, half::Mode::default()),
            (false, false) => half::extremum::<F16>(x, y, extremum),
            (false, true) => half::extremum::<Bf16>(x, y, extremum),
        };
        if pair { half::pair2(a, b, one) } else { u32::from(one(a as u16, b as u16)) }
    };
    let (x, y) = (old as u32, b as u32);
    let mode = Mode { round: Round::Rn, ftz: flush, sat: false };
    match (op, ty) {
        (AtomicOp::Inc, _) => u64::from(if x >= y { 0 } else { x + 1 }),
        (AtomicOp::Dec, _) => u64::from(if x == 0 || x > y { y } else { x - 1 }),
        (AtomicOp::Add, AtomicType::F32) => u64::from(float::add_f32(x, y, mode)),
        (_, AtomicType::F32) => u64::from(float::extremum_f32(x, y, extremum)),
        (AtomicOp::Add, AtomicType::F64) => float::add_f64(old, b, Mode::rounding(Round::Rn)),
        (_, AtomicType::F64) => float::extremum_f64(old, b, max),
        (_, AtomicType::F16) => halves(x, y, false, false).into(),
        (_, AtomicType::Bf16) => halves(x, y, false, true).into(),
        (_, AtomicType::F16x2) => halves(x, y, true, false).into(),
        (_, AtomicType::Bf16x2) => halves(x, y, true, true).into(),
        (AtomicOp::Add, AtomicType::U64 | AtomicType::S64) => old.wrapping_add(b),
        (AtomicOp::Add, _) => u64::from(x.wrapping_add(y)),
        (_, AtomicType::S32) => {
            let (x, y) = (x as i32, y as i32);
            u64::from((if max { x.max(y) } else { x.min(y) }) as u32)
        }
        (_, AtomicType::S64) => {
            let (x, y) = (old as i64, b as i64);
            (if max { x.max(y) } else { x.min(y) }) as u64
        }
        (_, AtomicType::U64) => {
            if max {
                old.max(b)
            } else {
                old.min(b)
            }
        }
        _ => u64::from(if max { x.max(y) } else { x.min(y) }),
    }
}

impl Exec<'_, '_> {
    pub(super) fn atomic(&mut self, op: Atomic<'_>, space: Space, addr: Addr, mask: u32) {
        self.worker.counters.atomics += 1;
        self.warp.polls += 1;
        self.warp.effects += 1;
        self.common.progress += u64::from(op.op != AtomicOp::Cas);
        let mut addresses = self.addresses(addr);
        for part in self.parts(space, &mut addresses, mask) {
            if part.mask == 0 {
                continue;
            }
            let total = op.ty.bytes() * op.b.len() as u32;
            self.check_alignment(&addresses, total, part.mask);
            match part.space {
                Space::Shared => self.shared_atomic(op, &addresses, part.mask),
                Space::Global => self.global_atomic(op, &addresses, part.mask),
                _ => self.oob(Kind::LocalOob, &addresses, part.mask, total),
            }
        }
    }

    fn operands(&self, op: Atomic<'_>, i: usize, lane: usize) -> (u64, u64) {
        let k = self.launch.constants;
        let bits = op.ty.bytes() * 8;
        let ones = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        let c = if op.c.is_some() { self.frame().lane(k, op.c, lane) } else { 0 };
        (self.frame().lane(k, op.b[i], lane) & ones, c & ones)
    }

    fn global_atomic(&mut self, op: Atomic<'_>, addresses: &Doubles, mask: u32) {
        self.protocol(op.order, !op.d.is_empty(), true);
        let size = op.ty.bytes();
        let total = size * op.b.len() as u32;
        for lane in lanes(mask) {
            let address = addresses[lane];
            if self.in_heap(address) {
                self.heap_atomic(op, lane, address);
                continue;
            }
            let Some((allocation, offset)) = self.allocation(lane, address, total, true) else {
                continue;
            };
            if !is_defined(allocation, offset, total as usize) && op.op != AtomicOp::Exch {
                let spot = self.spot(lane, address, total);
                let pc = self.group.pc;
                self.worker.report(self.launch, Kind::UninitGlobalRead, pc, spot, String::new);
            }
            define(allocation, offset, total as usize);
            self.check_source(lane, address, total);
            if self.launch.hazards {
                if !self.warp.opened.is_empty() {
                    self.warp.opened.retain(|o| o.lane != lane || o.spot.address != address);
                }
                self.hazard(lane, (allocation, offset), total, true, true, true);
            }
            for i in 0..op.b.len() {
                let at = offset + i * size as usize;
                if !at.is_multiple_of(size as usize) {
                    continue;
                }
                let (b, c) = self.operands(op, i, lane);
                let data = &allocation.data;
                let new = |old: u64| combine(op.op, op.ty, old, b, c, true);
                let old = match size {
                    2 => u64::from(data.update_u16(at, |old| new(old.into()) as u16)),
                    4 => u64::from(data.update_u32(at, |old| new(old.into()) as u32)),
                    _ => data.update_u64(at, new),
                };
                if let Some(d) = op.d.get(i) {
                    self.frame_mut().set_lane(*d, lane, old);
                }
            }
        }
        let sectors = Sectors::of(addresses, mask, total);
        self.touch_sectors(sectors.list(), false);
        self.touch_sectors(sectors.list(), true);
    }

    fn heap_atomic(&mut self, op: Atomic<'_>, lane: usize, address: u64) {
        let size = op.ty.bytes();
        let Some(allocation) = self.heap(address, size) else { return };
        let at = (address - allocation.base) as usize;
        if !at.is_multiple_of(size as usize) {
            return;
        }
        let (b, c) = self.operands(op, 0, lane);
        let new = |old: u64| combine(op.op, op.ty, old, b, c, true);
        let old = match size {
            2 => u64::from(allocation.data.update_u16(at, |old| new(old.into()) as u16)),
            4 => u64::from(allocation.data.update_u32(at, |old| new(old.into()) as u32)),
            _ => allocation.data.update_u64(at, new),
        };
        define(&allocation, at, size as usize);
        if let Some(d) = op.d.first() {
            self.frame_mut().set_lane(*d, lane, old);
        }
    }

    fn shared_atomic(&mut self, op: Atomic<'_>, addresses: &Doubles, mask: u32) {
        let size = op.ty.bytes();
        let total = size * op.b.len() as u32;
        for lane in lanes(mask) {
            let Some(at) = self.in_shared(lane, addresses[lane], total, true) else { continue };
            if !op.d.is_empty() {
                self.shared_protocol(at, 1 << lane);
            }
            if op.op != AtomicOp::Exch {
                self.note_shared_read(lane, at, total, true);
            }
            self.note_shared_write(lane, at, total, true, true);
            for i in 0..op.b.len() {
                let place = at as usize + i * size as usize;
                let old = self.shared_value(place, size as usize);
                let (b, c) = self.operands(op, i, lane);
                let new = combine(op.op, op.ty, old, b, c, false).to_le_bytes();
                let place = place..place + size as usize;
                self.common.shared[place].copy_from_slice(&new[..size as usize]);
                if let Some(d) = op.d.get(i) {
                    self.frame_mut().set_lane(*d, lane, old);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inc_and_dec_wrap_at_their_operand() {
        let apply = |op, old, b| combine(op, AtomicType::U32, old, b, 0, false);
        assert_eq!(apply(AtomicOp::Inc, 3, 5), 4);
        assert_eq!(apply(AtomicOp::Inc, 5, 5), 0);
        assert_eq!(apply(AtomicOp::Inc, 9, 5), 0);
        assert_eq!(apply(AtomicOp::Dec, 3, 5), 2);
        assert_eq!(apply(AtomicOp::Dec, 0, 5), 5);
        assert_eq!(apply(AtomicOp::Dec, 6, 5), 5);
    }

    #[test]
    fn signed_and_unsigned_extrema_differ() {
        let minus = u64::from(u32::MAX);
        assert_eq!(combine(AtomicOp::Max, AtomicType::U32, minus, 1, 0, false), minus);
        assert_eq!(combine(AtomicOp::Max, AtomicType::S32, minus, 1, 0, false), 1);
        assert_eq!(combine(AtomicOp::Min, AtomicType::S64, u64::MAX, 1, 0, false), u64::MAX);
    }

    #[test]
    fn pairs_of_halves_add_apart() {
        let sum = combine(AtomicOp::Add, AtomicType::F16x2, 0x3c00_4000, 0x3c00_3c00, 0, false);
        assert_eq!(sum, 0x4000_4200);
    }
}
