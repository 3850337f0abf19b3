//! What the blocks of a launch did to each word of memory, in pages made on first touch.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;

/// Bytes that a page covers.
pub(super) const PAGE: usize = 16 << 10;
const WORDS: usize = PAGE / 4;
const SECTORS: usize = PAGE / 32;

/// State of 16 KB of memory during one launch.
#[derive(Debug)]
pub struct Page {
    launch: AtomicU32,
    reset: Mutex<()>,
    /// Last writer of each word: block + 1, time, and which of the four bytes; 0 for none. The top
    /// bit of the block marks an access that is part of a protocol (atomic, volatile, release).
    writers: Box<[AtomicU64]>,
    readers: Box<[AtomicU64]>,
    read_sectors: [AtomicU64; SECTORS / 64],
    written_sectors: [AtomicU64; SECTORS / 64],
}

/// An access of a block.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'a> {
    /// When each block last released: an atomic or another strong access.
    pub released: &'a [AtomicU32],
    /// Linear index of the block.
    pub block: u32,
    /// Time of the launch's protocol clock.
    pub time: u32,
    /// When the block last acquired.
    pub acquired: u32,
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
    /// When it made its access.
    pub time: u32,
    /// The other access was a write.
    pub write: bool,
    /// The other access was part of a protocol.
    pub strong: bool,
}

const STRONG: u64 = 1 << 63;
/// Times beyond this are not told apart.
const LATEST: u32 = (1 << 28) - 1;

fn pack(t: Touch<'_>) -> u64 {
    let flag = if t.strong { STRONG } else { 0 };
    flag | u64::from(t.block + 1) << 32 | u64::from(t.time.min(LATEST)) << 4 | u64::from(t.bytes)
}

/// Block, time and whether the access was strong.
fn unpack(entry: u64) -> Option<(u32, u32, bool)> {
    let block = (entry & !STRONG) >> 32;
    (block != 0).then(|| (block as u32 - 1, entry as u32 >> 4, entry & STRONG != 0))
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

    /// The block that wrote the word at `offset` last.
    pub fn writer(&self, offset: usize) -> Option<u32> {
        unpack(self.writers[offset % PAGE / 4].load(Relaxed)).map(|(block, ..)| block)
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
/// clash; others do unless the other block released after its access and this one acquired after
/// it. Which addresses they used for that is not followed.
#[inline]
fn clash(entry: u64, touch: Touch<'_>, write: bool) -> Option<Clash> {
    let (block, time, strong) = unpack(entry)?;
    let released = touch.released.get(block as usize).map_or(0, |t| t.load(Relaxed));
    let ordered = block == touch.block
        || entry as u32 & touch.bytes == 0
        || (strong && touch.strong)
        || (touch.acquired > time && released > time);
    (!ordered).then_some(Clash { block, time, write, strong })
}
