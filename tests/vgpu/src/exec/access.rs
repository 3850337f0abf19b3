//! Loads and stores: which lanes go to which space.

use super::frame::{Doubles, Words, lanes};
use super::special::extend;
use super::step::Exec;
use crate::check::Kind;
use crate::isa::{Addr, Base, Element8, Order, Reg, Space};
use crate::memory::window;

/// Lanes of one space, with addresses within it.
pub(super) struct Part {
    pub(super) space: Space,
    pub(super) mask: u32,
}

impl Exec<'_, '_> {
    /// The address of each lane.
    #[inline(always)]
    pub(super) fn addresses(&self, addr: Addr) -> Doubles {
        let offset = addr.offset as u64;
        match addr.base {
            Base::Reg(reg) => self.doubles(reg).map(|a| a.wrapping_add(offset)),
            Base::Frame => self.frame().local_base.map(|base| u64::from(base).wrapping_add(offset)),
        }
    }

    /// Splits the lanes of an access by space, and makes their addresses relative to it.
    pub(super) fn parts(&self, space: Space, addresses: &mut Doubles, mask: u32) -> [Part; 4] {
        let none = || Part { space: Space::Global, mask: 0 };
        match space {
            Space::Generic => {
                let spaces = [Space::Global, Space::Shared, Space::Local, Space::Param];
                let mut parts = spaces.map(|space| Part { space, mask: 0 });
                for lane in lanes(mask) {
                    let (space, at) = window::locate(addresses[lane]);
                    addresses[lane] = at;
                    let i = match space {
                        Space::Shared => 1,
                        Space::Local => 2,
                        Space::Param => 3,
                        _ => 0,
                    };
                    parts[i].mask |= 1 << lane;
                }
                parts
            }
            // A pointer to shared memory of the cluster may be a window address or an offset.
            Space::SharedCluster => {
                for lane in lanes(mask) {
                    if addresses[lane] >= window::SHARED {
                        addresses[lane] -= window::SHARED;
                    }
                }
                [Part { space: Space::Shared, mask }, none(), none(), none()]
            }
            _ => [Part { space, mask }, none(), none(), none()],
        }
    }

    pub(super) fn load(&mut self, space: Space, order: Order, element: Element8, d: &[Reg], addr: Addr, mask: u32) {
        if order.is_strong() {
            self.warp.polls += 1;
        }
        let mut addresses = self.addresses(addr);
        if space == Space::Global {
            return self.global_load(&addresses, order, element, d, mask);
        }
        for part in self.parts(space, &mut addresses, mask) {
            if part.mask == 0 {
                continue;
            }
            match part.space {
                Space::Shared => self.shared_load(&addresses, order, element, d, part.mask),
                Space::Local => self.local_load(&addresses, element, d, part.mask),
                Space::Param => {
                    for lane in lanes(part.mask) {
                        for (i, reg) in d.iter().enumerate() {
                            let at = addresses[lane] + i as u64 * u64::from(element.bytes);
                            let value = self.param(at, element);
                            self.frame_mut().set_lane(*reg, lane, value);
                        }
                    }
                }
                Space::Frame => self.frame_load(&addresses, element, d, part.mask),
                _ => self.global_load(&addresses, order, element, d, part.mask),
            }
        }
    }

    pub(super) fn store(&mut self, space: Space, order: Order, element: Element8, src: &[Reg], addr: Addr, mask: u32) {
        let mut addresses = self.addresses(addr);
        if space == Space::Global {
            self.warp.effects += 1;
            return self.global_store(&addresses, order, element, src, mask);
        }
        for part in self.parts(space, &mut addresses, mask) {
            if part.mask == 0 {
                continue;
            }
            match part.space {
                Space::Shared => {
                    self.warp.effects += 1;
                    self.shared_store(&addresses, order, element, src, part.mask);
                }
                Space::Local => self.local_store(&addresses, element, src, part.mask),
                // Parameters of a kernel are constant: a store to them has no meaning.
                Space::Param => self.oob(Kind::LocalOob, &addresses, part.mask, element.bytes.into()),
                Space::Frame => self.frame_store(&addresses, element, src, part.mask),
                _ => {
                    self.warp.effects += 1;
                    self.global_store(&addresses, order, element, src, part.mask);
                }
            }
        }
    }

    pub(super) fn oob(&mut self, kind: Kind, addresses: &Doubles, mask: u32, bytes: u32) {
        for lane in lanes(mask) {
            let spot = self.spot(lane, addresses[lane], bytes);
            let pc = self.group.pc;
            self.worker.report(self.launch, kind, pc, spot, String::new);
        }
    }

    /// Reports accesses whose address is not a multiple of their size.
    pub(super) fn check_alignment(&mut self, addresses: &Doubles, bytes: u32, mask: u32) {
        let low = u64::from(bytes.next_power_of_two()) - 1;
        let mut wrong = 0;
        for (lane, address) in addresses.iter().enumerate() {
            wrong |= u32::from(address & low != 0) << lane;
        }
        if wrong & mask != 0 {
            self.oob(Kind::Misaligned, addresses, wrong & mask, bytes);
        }
    }

    fn frame_load(&mut self, addresses: &Doubles, element: Element8, d: &[Reg], mask: u32) {
        for (i, reg) in d.iter().enumerate() {
            for lane in lanes(mask) {
                let at = addresses[lane] as usize + i * usize::from(element.bytes);
                let frame = self.frame_mut();
                let word = |at: usize| frame.params.get(at / 4).map_or(0, |w: &Words| w[lane]);
                let pair = u64::from(word(at)) | u64::from(word(at + 4)) << 32;
                let value = pair >> (8 * (at % 4));
                let bits = 8 * u32::from(element.bytes);
                let value = if bits >= 64 { value } else { value & ((1 << bits) - 1) };
                frame.set_lane(*reg, lane, extend(value, element));
            }
        }
    }

    fn frame_store(&mut self, addresses: &Doubles, element: Element8, src: &[Reg], mask: u32) {
        let k = self.launch.constants;
        for (i, reg) in src.iter().enumerate() {
            for lane in lanes(mask) {
                let at = addresses[lane] as usize + i * usize::from(element.bytes);
                let frame = self.frame_mut();
                let value = frame.lane(k, *reg, lane);
                for (j, byte) in value.to_le_bytes()[..usize::from(element.bytes)].iter().enumerate() {
                    let (word, shift) = ((at + j) / 4, 8 * ((at + j) % 4));
                    if let Some(place) = frame.params.get_mut(word) {
                        place[lane] = place[lane] & !(0xff << shift) | u32::from(*byte) << shift;
                    }
                }
            }
        }
    }

    fn local_load(&mut self, addresses: &Doubles, element: Element8, d: &[Reg], mask: u32) {
        let total = usize::from(element.bytes) * d.len();
        self.check_alignment(addresses, total as u32, mask);
        for lane in lanes(mask) {
            let at = addresses[lane];
            let end = u64::from(self.frame().local_end[lane]);
            if at.saturating_add(total as u64) > end || self.warp.local.is_empty() {
                self.oob(Kind::LocalOob, addresses, 1 << lane, total as u32);
                for reg in d {
                    self.frame_mut().set_lane(*reg, lane, 0);
                }
                continue;
            }
            let range = at as usize..at as usize + total;
            if self.warp.local[lane].defined[range.clone()].contains(&0) {
                self.oob(Kind::UninitLocalRead, addresses, 1 << lane, total as u32);
            }
            for (i, reg) in d.iter().enumerate() {
                let start = range.start + i * usize::from(element.bytes);
                let mut bytes = [0; 8];
                let n = usize::from(element.bytes);
                bytes[..n].copy_from_slice(&self.warp.local[lane].data[start..start + n]);
                let value = extend(u64::from_le_bytes(bytes), element);
                self.frame_mut().set_lane(*reg, lane, value);
            }
        }
    }

    fn local_store(&mut self, addresses: &Doubles, element: Element8, src: &[Reg], mask: u32) {
        let total = usize::from(element.bytes) * src.len();
        let k = self.launch.constants;
        self.check_alignment(addresses, total as u32, mask);
        for lane in lanes(mask) {
            let at = addresses[lane];
            let end = u64::from(self.frame().local_end[lane]);
            if at.saturating_add(total as u64) > end || self.warp.local.is_empty() {
                self.oob(Kind::LocalOob, addresses, 1 << lane, total as u32);
                continue;
            }
            for (i, reg) in src.iter().enumerate() {
                let n = usize::from(element.bytes);
                let start = at as usize + i * n;
                let value = self.frame().lane(k, *reg, lane).to_le_bytes();
                let local = &mut self.warp.local[lane];
                local.data[start..start + n].copy_from_slice(&value[..n]);
                local.defined[start..start + n].fill(1);
            }
        }
    }
}
