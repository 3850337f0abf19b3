//! Global memory.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::frame::{Doubles, lanes};
use super::special::extend;
use super::step::Exec;
use super::warp::Opened;
use crate::check::{Kind, Spot};
use crate::count::Sectors;
use crate::isa::{Element8, Order, Reg};
use crate::memory::{Allocation, Arena, Clash, Place, Touch};

const ALL_DEFINED: u64 = 0x0101_0101_0101_0101;

/// Reads that a warp remembers as opening a loop of atomics; more would all be of one kind.
const MOST_OPENED: usize = 256;

impl<'l> Exec<'_, 'l> {
    /// The allocation that holds a lane's access; reports what is wrong with it otherwise.
    pub(super) fn allocation(
        &mut self,
        lane: usize,
        address: u64,
        bytes: u32,
        write: bool,
    ) -> Option<(&'l Allocation, usize)> {
        let table = self.launch.table;
        if let Some(recent) = table.get(self.worker.recent) {
            let offset = address.wrapping_sub(recent.base);
            if offset < recent.bytes && u64::from(bytes) <= recent.bytes - offset && recent.is_live() {
                return Some((recent, offset as usize));
            }
        }
        let place = Arena::find(table, address);
        if let Place::Inside(index) = place {
            let allocation = &table[index];
            let offset = address - allocation.base;
            if u64::from(bytes) <= allocation.bytes - offset {
                self.worker.recent = index;
                return Some((allocation, offset as usize));
            }
        }
        self.report_outside(lane, address, bytes, write, place);
        None
    }

    fn report_outside(&mut self, lane: usize, address: u64, bytes: u32, write: bool, place: Place) {
        let table = self.launch.table;
        let kind = match place {
            Place::Freed(_) => Kind::UseAfterFree,
            _ if write => Kind::GlobalOobWrite,
            _ => Kind::GlobalOobRead,
        };
        let spot = self.spot(lane, address, bytes);
        let pc = self.group.pc;
        self.worker.report(self.launch, kind, pc, spot, || match place {
            Place::Inside(i) | Place::Outside(Some(i)) => {
                let a = &table[i];
                // In this order nothing wraps, even at the end of the address space.
                let past = (address - a.base).saturating_add(u64::from(bytes)) - a.bytes;
                format!("{past} bytes past the {} bytes at {:#x}", a.bytes, a.base)
            }
            Place::Freed(i) => {
                let a = &table[i];
                format!("inside {} bytes at {:#x} that were freed", a.bytes, a.base)
            }
            Place::Outside(None) => "below all allocations".to_string(),
        });
    }

    /// A device-side allocation, for an access that the table does not hold.
    pub(super) fn heap(&self, address: u64, bytes: u32) -> Option<Arc<Allocation>> {
        let heap = self.launch.heap.lock().ok()?;
        let found = heap.iter().find(|a| address >= a.base && address - a.base + u64::from(bytes) <= a.bytes);
        found.cloned()
    }

    fn on_heap(&self, address: u64) -> bool {
        let Ok(heap) = self.launch.heap.lock() else { return false };
        heap.iter().any(|a| address >= a.base && address - a.base < a.bytes)
    }

    /// Counts a request and its sectors; marks them as touched.
    pub(super) fn count_global(&mut self, addresses: &Doubles, bytes: u32, mask: u32, write: bool) {
        let sectors = Sectors::of(addresses, mask, bytes);
        let list = sectors.list();
        let n = list.len() as u64;
        let ideal = u64::from((mask.count_ones() * bytes).div_ceil(32)).min(n);
        let c = &mut self.worker.counters;
        if write {
            c.global_store_requests += 1;
            c.global_store_sectors += n;
            c.global_store_sectors_ideal += ideal;
        } else {
            c.global_load_requests += 1;
            c.global_load_sectors += n;
            c.global_load_sectors_ideal += ideal;
        }
        self.touch_sectors(list, write);
    }

    pub(super) fn touch_sectors(&mut self, list: &[u64], write: bool) {
        let table = self.launch.table;
        for sector in list {
            let address = sector * 32;
            let recent = table.get(self.worker.recent);
            let near = recent.filter(|a| address.wrapping_sub(a.base) < a.bytes && a.is_live());
            let found = near.or_else(|| match Arena::find(table, address) {
                Place::Inside(index) => {
                    self.worker.recent = index;
                    Some(&table[index])
                }
                _ => None,
            });
            let Some(a) = found else { continue };
            let offset = (address - a.base) as usize;
            if a.page(offset, self.launch.id).first_touch(offset, write) {
                let c = &mut self.worker.counters;
                if write {
                    c.dram_bytes_written += 32;
                } else {
                    c.dram_bytes_read += 32;
                }
            }
        }
    }

    fn touch(&self, strong: bool) -> Touch<'_> {
        Touch {
            releases: &self.launch.releases,
            block: self.common.linear,
            warp: self.warp.index,
            epoch: self.warp.epoch,
            known: self.common.clocks[self.warp.index as usize].known(),
            strong,
            bytes: 15,
        }
    }

    /// Looks for earlier writes of the launch to what is read past the coherent caches: whatever orders
    /// them, the read may give what was there before. Whether there is one.
    fn written_before(&mut self, lane: usize, at: (&Allocation, usize), bytes: u32) -> bool {
        let (allocation, offset) = at;
        let writer = words(offset, bytes).find_map(|(word, bytes)| {
            allocation.page(word, self.launch.id).writer(word, bytes).map(|block| (block, word))
        });
        let Some((block, word)) = writer else { return false };
        let spot = self.spot(lane, allocation.base + offset as u64, bytes);
        let (pc, launch) = (self.group.pc, self.launch);
        self.worker.report(launch, Kind::GlobalRace, pc, spot, || {
            let [x, y, z] = launch.block_index(u64::from(block));
            let at = allocation.base + word as u64;
            format!("block ({x}, {y}, {z}) wrote {at:#x} in the same launch, and `.nc` reads past coherent caches")
        });
        true
    }

    /// Looks for conflicts with other blocks. `changes` tells whether a write leaves other bytes.
    pub(super) fn hazard(
        &mut self,
        lane: usize,
        at: (&Allocation, usize),
        bytes: u32,
        write: bool,
        strong: bool,
        changes: bool,
    ) {
        let (allocation, offset) = at;
        let mut clash: Option<Clash> = None;
        for (word, bytes) in words(offset, bytes) {
            let page = allocation.page(word, self.launch.id);
            let touch = Touch { bytes, ..self.touch(strong) };
            let found = if write { page.write(word, touch) } else { page.read(word, touch) };
            clash = clash.or(found);
        }
        let Some(clash) = clash else { return };
        if write && !changes {
            return;
        }
        let spot = self.spot(lane, allocation.base + offset as u64, bytes);
        if clash.strong && !write {
            if self.warp.opened.len() < MOST_OPENED {
                self.warp.opened.push(Opened { lane, pc: self.group.pc, spot, block: clash.block });
            }
            return;
        }
        if strong && !clash.write {
            return; // that read comes up when it follows an atomic, in another order of blocks
        }
        let (pc, launch) = (self.group.pc, self.launch);
        self.worker.report(launch, Kind::GlobalRace, pc, spot, || {
            let [x, y, z] = launch.block_index(u64::from(clash.block));
            let verb = if clash.write { "wrote" } else { "read" };
            format!("block ({x}, {y}, {z}) {verb} it in the same launch")
        });
    }

    /// A read of bytes that nothing had written. Where blocks run at once it may yet turn out
    /// that another one writes them.
    pub(super) fn unwritten(&mut self, spot: Spot, offset: usize, base: u64) {
        let pc = self.group.pc;
        if self.launch.hazards && self.launch.options.checks(Kind::UninitGlobalRead) {
            self.worker.unwritten.push((pc, spot));
            return;
        }
        self.worker.report(self.launch, Kind::UninitGlobalRead, pc, spot, || {
            format!("{offset} bytes into the allocation at {base:#x}")
        });
    }

    /// A plain read of an atomic's result that no atomic of the thread's own followed.
    pub(super) fn report_opened(&mut self, opened: Opened) {
        let launch = self.launch;
        self.worker.report(launch, Kind::GlobalRace, opened.pc, opened.spot, || {
            let [x, y, z] = launch.block_index(u64::from(opened.block));
            format!("block ({x}, {y}, {z}) wrote it in the same launch, by an atomic")
        });
    }

    pub(super) fn global_load(&mut self, addresses: &Doubles, order: Order, element: Element8, d: &[Reg], mask: u32) {
        let size = usize::from(element.bytes);
        let total = (size * d.len()) as u32;
        self.check_alignment(addresses, total, mask);
        let strong = order.is_strong();
        if strong {
            self.protocol(order, true, false);
        }
        for lane in lanes(mask) {
            let address = addresses[lane];
            let heap;
            let (allocation, offset) = if self.in_heap(address) {
                heap = self.heap(address, total);
                match &heap {
                    Some(a) => (&**a, (address - a.base) as usize),
                    None => {
                        self.report_outside(lane, address, total, false, Place::Outside(None));
                        continue;
                    }
                }
            } else if let Some(found) = self.allocation(lane, address, total, false) {
                found
            } else {
                for reg in d {
                    self.frame_mut().set_lane(*reg, lane, 0);
                }
                continue;
            };
            if !is_defined(allocation, offset, total as usize) {
                let spot = self.spot(lane, address, total);
                self.unwritten(spot, offset, allocation.base);
            }
            let read_only = order == Order::ReadOnly;
            if self.launch.hazards && !(read_only && self.written_before(lane, (allocation, offset), total)) {
                self.hazard(lane, (allocation, offset), total, false, strong, true);
            }
            let data = &allocation.data;
            for (i, reg) in d.iter().enumerate() {
                let at = offset + i * size;
                let value = match size {
                    1 => u64::from(data.load_u8(at)),
                    2 => u64::from(data.load_u16(at)),
                    4 => u64::from(data.load_u32(at)),
                    _ => data.load_u64(at),
                };
                let frame = &mut self.warp.frames[self.group.depth as usize];
                frame.set_lane(*reg, lane, extend(value, element));
            }
        }
        self.count_global(addresses, total, mask, false);
    }

    pub(super) fn global_store(
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
        let strong = order.is_strong();
        self.common.progress += 1;
        for lane in lanes(mask) {
            let address = addresses[lane];
            let heap;
            let (allocation, offset) = if self.in_heap(address) {
                heap = self.heap(address, total);
                match &heap {
                    Some(a) => (&**a, (address - a.base) as usize),
                    None => {
                        self.report_outside(lane, address, total, true, Place::Outside(None));
                        continue;
                    }
                }
            } else if let Some(found) = self.allocation(lane, address, total, true) {
                found
            } else {
                continue;
            };
            self.check_source(lane, address, total);
            let data = &allocation.data;
            let mut changes = false;
            for (i, reg) in src.iter().enumerate() {
                let at = offset + i * size;
                let value = self.warp.frames[self.group.depth as usize].lane(k, *reg, lane);
                if self.launch.hazards {
                    changes |= match size {
                        1 => data.load_u8(at) != value as u8,
                        2 => data.load_u16(at) != value as u16,
                        4 => data.load_u32(at) != value as u32,
                        _ => data.load_u64(at) != value,
                    };
                }
                match size {
                    1 => data.store_u8(at, value as u8),
                    2 => data.store_u16(at, value as u16),
                    4 => data.store_u32(at, value as u32),
                    _ => data.store_u64(at, value),
                }
            }
            define(allocation, offset, total as usize);
            if self.launch.hazards {
                self.hazard(lane, (allocation, offset), total, true, strong, changes);
            }
        }
        if strong {
            self.protocol(order, false, true);
        }
        self.count_global(addresses, total, mask, true);
    }

    /// Whether an address is device-side heap; there rarely is any.
    pub(super) fn in_heap(&self, address: u64) -> bool {
        self.launch.table.last().is_none_or(|last| address > last.base + last.bytes) && self.on_heap(address)
    }
}

/// The words of an access, and which of their bytes it touches.
fn words(offset: usize, bytes: u32) -> impl Iterator<Item = (usize, u32)> {
    let end = offset + bytes as usize;
    (offset & !3..end).step_by(4).map(move |word| {
        let (from, to) = (offset.max(word) - word, end.min(word + 4) - word);
        (word, (1 << to) - (1 << from))
    })
}

/// Whether all bytes of an access were written.
#[inline(always)]
pub(super) fn is_defined(allocation: &Allocation, at: usize, bytes: usize) -> bool {
    let defined = &allocation.defined;
    match bytes {
        4 if at.is_multiple_of(4) => defined.load_u32(at) == ALL_DEFINED as u32,
        8 if at.is_multiple_of(8) => defined.load_u64(at) == ALL_DEFINED,
        16 if at.is_multiple_of(8) => defined.load_u64(at) == ALL_DEFINED && defined.load_u64(at + 8) == ALL_DEFINED,
        _ => allocation.is_defined(at, bytes),
    }
}

/// Notes that bytes were written.
#[inline(always)]
pub(super) fn define(allocation: &Allocation, at: usize, bytes: usize) {
    if !allocation.stored.load(Relaxed) {
        allocation.stored.store(true, Relaxed);
    }
    let defined = &allocation.defined;
    match bytes {
        4 if at.is_multiple_of(4) => defined.store_u32(at, ALL_DEFINED as u32),
        8 if at.is_multiple_of(8) => defined.store_u64(at, ALL_DEFINED),
        _ => defined.fill(at, bytes, 1),
    }
}
