//! Matrix instructions of a warp.

use super::frame::{Doubles, lanes};
use super::step::Exec;
use crate::arith::matrix::element::{Accumulator, Element, Row};
use crate::arith::matrix::move_;
use crate::check::Kind;
use crate::count::row_wavefronts;
use crate::isa::{Addr, Element8, MatrixProduct, Order, Reg, Space, WmmaMove};

/// Bytes of a row of an 8×8 matrix of halves.
const ROW: u32 = 16;
/// Registers of the largest fragment.
const FRAGMENT: usize = 8;

impl Exec<'_, '_> {
    /// Offsets of the rows that the lanes of an `ldmatrix` or `stmatrix` point at.
    fn matrix_rows(&mut self, addr: Addr, space: Space, number: usize, mask: u32) -> Doubles {
        let mut addresses = self.addresses(addr);
        let used = if number == 4 { u32::MAX } else { (1 << (8 * number)) - 1 };
        let parts = self.parts(space, &mut addresses, mask & used);
        let shared = parts.iter().filter(|p| p.space == Space::Shared).fold(0, |m, p| m | p.mask);
        let elsewhere = mask & used & !shared;
        if elsewhere != 0 {
            self.oob(Kind::SharedOobRead, &addresses, elsewhere, ROW);
            for lane in lanes(elsewhere) {
                addresses[lane] = u64::MAX - 64;
            }
        }
        self.check_alignment(&addresses, ROW, mask & used);
        addresses
    }

    fn count_rows(&mut self, addresses: &Doubles, number: usize, write: bool) {
        let mut total = 0;
        for i in 0..number {
            let rows: Vec<u32> = addresses[8 * i..8 * i + 8].iter().map(|a| *a as u32).collect();
            total += row_wavefronts(&rows);
        }
        let c = &mut self.worker.counters;
        if write {
            c.shared_store_requests += 1;
            c.shared_store_wavefronts += total;
        } else {
            c.shared_load_requests += 1;
            c.shared_load_wavefronts += total;
        }
        c.shared_bank_conflicts += total - number as u64;
    }

    pub(super) fn ldmatrix(&mut self, trans: bool, d: &[Reg], addr: Addr, space: Space, mask: u32) {
        let addresses = self.matrix_rows(addr, space, d.len(), mask);
        for (i, reg) in d.iter().enumerate() {
            let mut rows = [[0; 4]; 8];
            for (j, row) in rows.iter_mut().enumerate() {
                let lane = 8 * i + j;
                let Some(at) = self.in_shared(lane, addresses[lane], ROW, false) else { continue };
                self.note_shared_read(lane, at, ROW, false);
                for (w, word) in row.iter_mut().enumerate() {
                    *word = self.shared_value(at as usize + 4 * w, 4) as u32;
                }
            }
            let fragment = move_::load(&rows, trans);
            self.frame_mut().set_w(*reg, &fragment, mask);
        }
        self.count_rows(&addresses, d.len(), false);
    }

    pub(super) fn stmatrix(&mut self, trans: bool, src: &[Reg], addr: Addr, space: Space, mask: u32) {
        let addresses = self.matrix_rows(addr, space, src.len(), mask);
        self.warp.effects += 1;
        self.common.progress += 1;
        for (i, reg) in src.iter().enumerate() {
            let rows = move_::store(self.words(*reg), trans);
            for (j, row) in rows.iter().enumerate() {
                let lane = 8 * i + j;
                let Some(at) = self.in_shared(lane, addresses[lane], ROW, true) else { continue };
                let mut bytes = [0; 16];
                for (w, word) in row.iter().enumerate() {
                    bytes[4 * w..4 * w + 4].copy_from_slice(&word.to_le_bytes());
                }
                let place = at as usize..(at + ROW) as usize;
                let changes = self.common.shared[place.clone()] != bytes;
                self.note_shared_write(lane, at, ROW, changes, false);
                self.common.shared[place].copy_from_slice(&bytes);
            }
        }
        self.count_rows(&addresses, src.len(), true);
    }

    pub(super) fn matrix(&mut self, op: &MatrixProduct, mask: u32) {
        self.worker.counters.mma_flops += op.product.shape.flops();
        if op.product.a == Element::F64 {
            let take = |regs: &[Reg]| -> Vec<Doubles> { regs.iter().map(|r| self.doubles(*r)).collect() };
            let (a, b, c) = (take(&op.a), take(&op.b), take(&op.c));
            let mut d = vec![[0; 32]; op.d.len()];
            op.product.run_f64(&a, &b, &c, &mut d);
            for (reg, value) in op.d.iter().zip(&d) {
                self.frame_mut().set_d(*reg, value, mask);
            }
            return;
        }
        let mut buffer = [[[0; 32]; FRAGMENT]; 4];
        let [a, b, c, d] = &mut buffer;
        let take = |regs: &[Reg], into: &mut [Row; FRAGMENT]| {
            for (reg, value) in regs.iter().zip(into) {
                *value = *self.words(*reg);
            }
        };
        take(&op.a, a);
        take(&op.b, b);
        take(&op.c, c);
        let n = |regs: &[Reg]| regs.len().min(FRAGMENT);
        let d = &mut d[..n(&op.d)];
        let sums = self.launch.sums();
        super::alu::matrix(&op.product, sums, &a[..n(&op.a)], &b[..n(&op.b)], &c[..n(&op.c)], d);
        for (reg, value) in op.d.iter().zip(d.iter()) {
            self.frame_mut().set_w(*reg, value, mask);
        }
    }

    /// Where elements of a `wmma` fragment lie: one access for each, of a register at a time.
    fn wmma_addresses(&self, op: &WmmaMove, reg: usize, index: usize) -> Doubles {
        let base = self.addresses(op.addr);
        let (rows, columns) = op.fragment.size();
        let dense = if op.row_major { columns } else { rows };
        let strides = if op.stride.is_some() { *self.words(op.stride) } else { [dense as u32; 32] };
        core::array::from_fn(|lane| {
            let at = op.fragment.at(lane, reg, index);
            let offset = op.fragment.offset(at, strides[lane] as usize, op.row_major);
            base[lane].wrapping_add((offset * op.fragment.bits() / 8) as u64)
        })
    }

    pub(super) fn wmma_load(&mut self, op: &WmmaMove, mask: u32) {
        self.wmma_count(op, mask, false);
        let before = self.quiet();
        let bits = op.fragment.bits();
        let d = self.scratch(bits);
        for (r, reg) in op.regs.iter().enumerate() {
            let unique = r % op.fragment.unique_registers();
            let mut value = [0u64; 32];
            // Narrower elements than bytes come in pairs.
            let step = 8usize.div_ceil(bits);
            for i in (0..op.fragment.per_register()).step_by(step) {
                let mut addresses = self.wmma_addresses(op, unique, i);
                let element = Element8 { bytes: (bits.max(8) / 8) as u8, signed: false };
                for part in self.parts(op.space, &mut addresses, mask) {
                    if part.mask == 0 {
                        continue;
                    }
                    match part.space {
                        Space::Shared => self.shared_load(&addresses, Order::Weak, element, &[d], part.mask),
                        _ => self.global_load(&addresses, Order::Weak, element, &[d], part.mask),
                    }
                }
                let loaded = self.doubles(d);
                for lane in lanes(mask) {
                    value[lane] |= loaded[lane] << (i * bits);
                }
            }
            for lane in lanes(mask) {
                self.frame_mut().set_lane(*reg, lane, value[lane]);
            }
        }
        self.restore(before);
    }

    pub(super) fn wmma_store(&mut self, op: &WmmaMove, mask: u32) {
        self.warp.effects += 1;
        self.wmma_count(op, mask, true);
        let before = self.quiet();
        let bits = op.fragment.bits();
        let k = self.launch.constants;
        let src = self.scratch(bits);
        for (r, reg) in op.regs.iter().enumerate() {
            for i in 0..op.fragment.per_register() {
                let mut addresses = self.wmma_addresses(op, r, i);
                for lane in lanes(mask) {
                    let value = self.frame().lane(k, *reg, lane) >> (i * bits);
                    self.frame_mut().set_lane(src, lane, value);
                }
                let element = Element8 { bytes: (bits / 8) as u8, signed: false };
                for part in self.parts(op.space, &mut addresses, mask) {
                    if part.mask == 0 {
                        continue;
                    }
                    match part.space {
                        Space::Shared => self.shared_store(&addresses, Order::Weak, element, &[src], part.mask),
                        _ => self.global_store(&addresses, Order::Weak, element, &[src], part.mask),
                    }
                }
            }
        }
        self.restore(before);
    }

    /// A register slot for values on their way; every frame ends with one of each width.
    fn scratch(&self, bits: usize) -> Reg {
        let frame = self.frame();
        if bits == 64 {
            Reg::slot(crate::isa::Class::Double, frame.doubles.len() as u32 - 1)
        } else {
            Reg::slot(crate::isa::Class::Word, frame.words.len() as u32 - 1)
        }
    }

    /// Counts a fragment's move as one request over all of its bytes.
    fn wmma_count(&mut self, op: &WmmaMove, mask: u32, write: bool) {
        let mut all = Vec::new();
        for r in 0..op.fragment.unique_registers() {
            for i in 0..op.fragment.per_register() {
                let addresses = self.wmma_addresses(op, r, i);
                all.extend(lanes(mask).map(|lane| addresses[lane]));
            }
        }
        let shared = match op.space {
            Space::Shared => true,
            Space::Generic => all.first().is_some_and(|a| crate::memory::window::locate(*a).0 == Space::Shared),
            _ => false,
        };
        let c = &mut self.worker.counters;
        if shared {
            let bytes = (all.len() * op.fragment.bits() / 8) as u64;
            let waves = bytes.div_ceil(128);
            if write {
                c.shared_store_requests += 1;
                c.shared_store_wavefronts += waves;
            } else {
                c.shared_load_requests += 1;
                c.shared_load_wavefronts += waves;
            }
            return;
        }
        let mut sectors: Vec<u64> = all.iter().map(|a| a >> 5).collect();
        sectors.sort_unstable();
        sectors.dedup();
        if write {
            c.global_store_requests += 1;
            c.global_store_sectors += sectors.len() as u64;
        } else {
            c.global_load_requests += 1;
            c.global_load_sectors += sectors.len() as u64;
        }
    }

    /// The counters of requests, before accesses that are not to be counted one by one.
    fn quiet(&self) -> [u64; 11] {
        let c = &self.worker.counters;
        [
            c.global_load_requests,
            c.global_load_sectors,
            c.global_load_sectors_ideal,
            c.global_store_requests,
            c.global_store_sectors,
            c.global_store_sectors_ideal,
            c.shared_load_requests,
            c.shared_load_wavefronts,
            c.shared_store_requests,
            c.shared_store_wavefronts,
            c.shared_bank_conflicts,
        ]
    }

    fn restore(&mut self, before: [u64; 11]) {
        let c = &mut self.worker.counters;
        [
            c.global_load_requests,
            c.global_load_sectors,
            c.global_load_sectors_ideal,
            c.global_store_requests,
            c.global_store_sectors,
            c.global_store_sectors_ideal,
            c.shared_load_requests,
            c.shared_load_wavefronts,
            c.shared_store_requests,
            c.shared_store_wavefronts,
            c.shared_bank_conflicts,
        ] = before;
    }
}

/// The accumulator's bits, for fragments of the warpgroup.
pub(super) fn accumulator_value(ty: Accumulator, value: f32) -> u32 {
    match ty {
        Accumulator::F16 => u32::from(crate::arith::half::f32_to_f16(value)),
        _ => value.to_bits(),
    }
}
