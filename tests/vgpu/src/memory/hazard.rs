//! What the blocks of a launch did to each word of memory, in pages made on first touch.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that a page covers.
pub(super) const PAGE: usize = 16 << 10;
const WORDS: usize = PAGE / 4;
const SECTORS: usize = PAGE / 32;

/// State of 16 KB of memory during one launch.
#[derive(Debug)]
pub struct Page {
    launch: AtomicU32,
    reset: Mutex<()>,
    /// Last writer of each word: block + 1, warp, epoch, and which of the four bytes; 0 for none. The top
    /// bit marks an access that is part of a protocol (atomic, volatile, release).
    writers: Box<[AtomicU64]>,
    readers: Box<[AtomicU64]>,
    read_sectors: [AtomicU64; SECTORS / 64],
    written_sectors: [AtomicU64; SECTORS / 64],
}

/// What a block passed on to others, and when.
#[derive(Debug, Default)]
pub struct Releases(Mutex<Vec<Release>>);

/// From this time on those who take over know the accesses of each warp up to its epoch.
#[derive(Clone, Debug)]
struct Release {
    time: u32,
    epochs: Vec<u32>,
}

impl Releases {
    fn list(&self) -> MutexGuard<'_, Vec<Release>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on the accesses of each warp up to an epoch, in addition to what was before.
    pub fn add(&self, time: u32, epochs: &[u32]) {
        let mut list = self.list();
        let before = list.last().map_or(&[][..], |release| &release.epochs);
        let known = |warp: usize| before.get(warp).copied().unwrap_or(0);
        if epochs.iter().enumerate().all(|(warp, epoch)| known(warp) >= *epoch) {
            return;
        }
        let most = before.len().max(epochs.len());
        let own = |warp: usize| epochs.get(warp).copied().unwrap_or(0);
        let epochs = (0..most).map(|warp| known(warp).max(own(warp))).collect();
        list.push(Release { time, epochs });
    }

    /// Whether an access was passed on by then.
    fn hold(&self, warp: u32, epoch: u32, time: u32) -> bool {
        let list = self.list();
        let by_then = list.partition_point(|release| release.time <= time);
        let last = by_then.checked_sub(1).map(|last| &list[last]);
        last.and_then(|release| release.epochs.get(warp as usize)).is_some_and(|passed_on| *passed_on >= epoch)
    }
}

/// An access of a block.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'a> {
    /// What each block passed on; empty if none can.
    pub releases: &'a [Releases],
    /// Linear index of the block.
    pub block: u64,
    /// Its warp.
    pub warp: u32,
    /// The warp's epoch.
    pub epoch: u32,
    /// Until when what other blocks passed on is ordered before this.
    pub known: u32,
    /// Part of a protocol.
    pub strong: bool,
    /// Bytes of the word, one bit each.
    pub bytes: u32,
}

/// A conflict with another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The other block.
    pub block: u32,
    /// The other access was a write.
    pub write: bool,
    /// The other access was part of a protocol.
    pub strong: bool,
}

const STRONG: u64 = 1 << 63;
/// Blocks and epochs beyond this are not told apart.
const MOST: u32 = (1 << 27) - 2;

/// Who touched a word, in 64 bits: strong 1, block + 1 27, warp 5, epoch 27, bytes 4.
fn pack(t: Touch<'_>) -> u64 {
    let flag = if t.strong { STRONG } else { 0 };
    let block = number(t.block) + 1;
    flag | u64::from(block) << 36
        | u64::from(t.warp & 31) << 31
        | u64::from(t.epoch.min(MOST)) << 4
        | u64::from(t.bytes)
}

fn number(block: u64) -> u32 {
    block.min(MOST.into()) as u32
}

/// Who left an entry.
#[derive(Clone, Copy)]
struct Entry {
    block: u32,
    warp: u32,
    epoch: u32,
    bytes: u32,
    strong: bool,
}

fn unpack(entry: u64) -> Option<Entry> {
    let block = ((entry & !STRONG) >> 36) as u32;
    (block != 0).then(|| Entry {
        block: block - 1,
        warp: (entry >> 31 & 31) as u32,
        epoch: (entry >> 4) as u32 & ((1 << 27) - 1),
        bytes: (entry & 15) as u32,
        strong: entry & STRONG != 0,
    })
}

fn cells(n: usize) -> Box<[AtomicU64]> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

impl Page {
    pub(super) fn new() -> Page {
        Page {
            launch: AtomicU32::new(0),
            reset: Mutex::new(()),
            writers: cells(WORDS),
            readers: cells(WORDS),
            read_sectors: [const { AtomicU64::new(0) }; SECTORS / 64],
            written_sectors: [const { AtomicU64::new(0) }; SECTORS / 64],
        }
    }

    /// Forgets what earlier launches did.
    pub(super) fn enter(&self, launch: u32) {
        if self.launch.load(Relaxed) == launch {
            return;
        }
        let Ok(_guard) = self.reset.lock() else { return };
        if self.launch.load(Relaxed) == launch {
            return;
        }
        for cell in self.writers.iter().chain(&self.readers[..]) {
            cell.store(0, Relaxed);
        }
        for cell in self.read_sectors.iter().chain(&self.written_sectors) {
            cell.store(0, Relaxed);
        }
        self.launch.store(launch, Relaxed);
    }

    /// Notes that a sector was touched; whether it was for the first time.
    #[inline]
    pub fn first_touch(&self, offset: usize, write: bool) -> bool {
        let sector = offset % PAGE / 32;
        let map = if write { &self.written_sectors } else { &self.read_sectors };
        let (cell, bit) = (&map[sector / 64], 1 << (sector % 64));
        cell.load(Relaxed) & bit == 0 && cell.fetch_or(bit, Relaxed) & bit == 0
    }

    /// The block that wrote some of these bytes of the word at `offset` last.
    pub fn writer(&self, offset: usize, bytes: u32) -> Option<u32> {
        let entry = unpack(self.writers[offset % PAGE / 4].load(Relaxed))?;
        (entry.bytes & bytes != 0).then_some(entry.block)
    }

    /// Notes a read of the word at `offset`; the other block if it clashes.
    #[inline]
    pub fn read(&self, offset: usize, touch: Touch<'_>) -> Option<Clash> {
        let word = offset % PAGE / 4;
        self.readers[word].store(pack(touch), Relaxed);
        clash(self.writers[word].load(Relaxed), touch, true)
    }

    /// Notes a write.
    #[inline]
    pub fn write(&self, offset: usize, touch: Touch<'_>) -> Option<Clash> {
        let word = offset % PAGE / 4;
        let writer = self.writers[word].swap(pack(touch), Relaxed);
        let reader = self.readers[word].load(Relaxed);
        clash(writer, touch, true).or_else(|| clash(reader, touch, false))
    }
}

/// Another block's access that nothing orders before this one. Two accesses of a protocol never
/// clash; others do unless the other block passed its access on and this one's took it over.
#[inline]
fn clash(entry: u64, touch: Touch<'_>, write: bool) -> Option<Clash> {
    let Entry { block, warp, epoch, bytes, strong } = unpack(entry)?;
    if block == number(touch.block) || bytes & touch.bytes == 0 || strong && touch.strong {
        return None;
    }
    let passed_on = |releases: &Releases| releases.hold(warp, epoch, touch.known);
    let ordered = touch.releases.get(block as usize).is_some_and(passed_on);
    (!ordered).then_some(Clash { block, write, strong })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_block_passed_on_holds_from_then_on() {
        let releases = Releases::default();
        releases.add(5, &[2, 0]);
        releases.add(7, &[1, 3]);
        assert!(!releases.hold(0, 2, 4));
        assert!(releases.hold(0, 2, 5) && releases.hold(0, 1, 5) && !releases.hold(0, 3, 9));
        assert!(!releases.hold(1, 3, 6) && releases.hold(1, 3, 7) && releases.hold(0, 2, 7));
        assert_eq!(releases.list().len(), 2);
        releases.add(9, &[2, 3]);
        assert_eq!(releases.list().len(), 2, "nothing new");
    }

    #[test]
    fn entries_keep_who_touched_a_word() {
        let touch = Touch { releases: &[], block: 70_000, warp: 31, epoch: 9, known: 0, strong: true, bytes: 6 };
        let entry = unpack(pack(touch)).expect("an entry");
        let Entry { block, warp, epoch, bytes, strong } = entry;
        assert_eq!((block, warp, epoch, bytes, strong), (70_000, 31, 9, 6, true));
        assert!(unpack(0).is_none());
        let late = Touch { epoch: u32::MAX, block: u64::MAX, ..touch };
        let entry = unpack(pack(late)).expect("an entry");
        assert_eq!((entry.block, entry.epoch, entry.warp, entry.strong), (MOST, MOST, 31, true));
    }
}
