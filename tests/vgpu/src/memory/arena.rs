//! Allocations.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, RwLock};

use super::cells::Cells;
use super::hazard::{PAGE, Page};
use super::{POISON, window};

/// Bytes that are never given out between two allocations.
const RED_ZONE: u64 = 256;
/// Freed ranges that are remembered.
const TOMBSTONES: usize = 1 << 16;

/// A range of device memory.
#[derive(Debug)]
pub struct Allocation {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
    /// Contents.
    pub data: Cells,
    /// For each byte, 1 if something wrote it.
    pub defined: Cells,
    /// Whether a kernel wrote to it.
    pub stored: AtomicBool,
    /// Not freed.
    live: bool,
    pages: Box<[OnceLock<Box<Page>>]>,
}

/// Where an address lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Inside the live allocation of this index.
    Inside(usize),
    /// Inside a freed one.
    Freed(usize),
    /// Nowhere; the allocation below, if there is one.
    Outside(Option<usize>),
}

impl Allocation {
    fn new(base: u64, bytes: u64) -> Allocation {
        Allocation {
            base,
            bytes,
            data: Cells::filled(bytes as usize, POISON),
            defined: Cells::zeroed(bytes as usize),
            stored: AtomicBool::new(false),
            live: true,
            pages: (0..(bytes as usize).div_ceil(PAGE)).map(|_| OnceLock::new()).collect(),
        }
    }

    fn tombstone(&self) -> Allocation {
        Allocation {
            base: self.base,
            bytes: self.bytes,
            data: Cells::zeroed(0),
            defined: Cells::zeroed(0),
            stored: AtomicBool::new(false),
            live: false,
            pages: Box::new([]),
        }
    }

    /// The page of an offset, as this launch sees it.
    #[inline]
    pub fn page(&self, offset: usize, launch: u32) -> &Page {
        let page = self.pages[offset / PAGE].get_or_init(|| Box::new(Page::new()));
        page.enter(launch);
        page
    }

    /// Whether it is not freed.
    #[inline(always)]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether every byte of a range was written.
    pub fn is_defined(&self, at: usize, bytes: usize) -> bool {
        (at..at + bytes).all(|i| self.defined.load_u8(i) != 0)
    }
}

/// All allocations, sorted by address. Addresses only grow.
#[derive(Debug)]
pub struct Arena {
    state: RwLock<State>,
    limit: u64,
}

#[derive(Debug)]
struct State {
    table: Arc<Vec<Arc<Allocation>>>,
    next: u64,
    used: u64,
    freed: usize,
}

impl Arena {
    /// Empty memory of this size.
    pub fn new(limit: u64) -> Arena {
        let state = State { table: Arc::default(), next: window::GLOBAL + RED_ZONE, used: 0, freed: 0 };
        Arena { state: RwLock::new(state), limit }
    }

    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Where an address lies in a table of allocations.
    #[inline]
    pub fn find(table: &[Arc<Allocation>], address: u64) -> Place {
        let after = table.partition_point(|a| a.base <= address);
        let Some(index) = after.checked_sub(1) else { return Place::Outside(None) };
        let allocation = &table[index];
        if address - allocation.base >= allocation.bytes {
            Place::Outside(Some(index))
        } else if allocation.live {
            Place::Inside(index)
        } else {
            Place::Freed(index)
        }
    }

    /// The allocations of now.
    pub fn table(&self) -> Arc<Vec<Arc<Allocation>>> {
        self.read_state().table.clone()
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.read_state().used
    }

    /// Allocates uninitialised memory; none if there is no room.
    pub fn alloc(&self, bytes: u64, align: u64) -> Option<u64> {
        let mut state = self.write_state();
        if bytes > self.limit.saturating_sub(state.used) {
            return None;
        }
        let base = state.next.next_multiple_of(align.max(256));
        state.next = (base + bytes).next_multiple_of(256) + RED_ZONE;
        state.used += bytes;
        let allocation = Arc::new(Allocation::new(base, bytes));
        Arc::make_mut(&mut state.table).push(allocation);
        Some(base)
    }

    /// Frees the allocation that starts here; whether there was one.
    pub fn free(&self, base: u64) -> bool {
        let mut state = self.write_state();
        let index = match state.table.binary_search_by_key(&base, |a| a.base) {
            Ok(index) if state.table[index].live => index,
            _ => return false,
        };
        let tombstone = Arc::new(state.table[index].tombstone());
        state.used -= tombstone.bytes;
        state.freed += 1;
        let forget = state.freed > TOMBSTONES;
        let table = Arc::make_mut(&mut state.table);
        table[index] = tombstone;
        if forget {
            table.retain(|a| a.live);
            state.freed = 0;
        }
        true
    }

    /// The live allocation that holds a range.
    pub fn holding(&self, address: u64, bytes: u64) -> Option<Arc<Allocation>> {
        let state = self.read_state();
        // An empty range may start at the end of an allocation.
        let Place::Inside(index) = Arena::find(&state.table, address) else { return None };
        let allocation = &state.table[index];
        (bytes <= allocation.bytes - (address - allocation.base)).then(|| allocation.clone())
    }

    /// Forgets that kernels stored to an allocation.
    pub fn clear_stored(&self, address: u64) {
        if let Some(allocation) = self.holding(address, 0) {
            allocation.stored.store(false, Relaxed);
        }
    }
}
