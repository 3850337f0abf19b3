//! Races in shared memory.
//!
//! Every warp counts epochs; one ends wherever its earlier accesses become ordered before
//! something: at barriers, `bar.warp.sync`, atomics that return a value. A warp knows, of every
//! other warp, the last epoch that is ordered before what it does now (a vector clock); of its own
//! lanes, when each last synchronised with the others. Each granule of memory remembers its last
//! writer and two readers with their epochs; an access that finds another thread's conflicting one
//! that is not ordered before it is a race.

/// What a granule remembers. Threads are counted from 1; 0 is none.
#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    writer: u32,
    written: u32,
    readers: [u32; 2],
    read: [u32; 2],
}

/// The access was atomic or volatile.
const STRONG: u32 = 1 << 31;

/// The accessing thread and what is ordered before it.
#[derive(Clone, Copy, Debug)]
pub struct Accessor<'a> {
    /// Thread of the block.
    pub thread: u32,
    /// Current epoch of its warp.
    pub epoch: u32,
    /// Epochs of each warp that are ordered before now.
    pub clock: &'a [u32],
    /// Epoch of the last synchronisation of each lane of its warp.
    pub synced: &'a [u32; 32],
    /// Atomic or volatile.
    pub strong: bool,
}

/// The other thread of a race.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opponent {
    /// Thread of the block.
    pub thread: u32,
    /// It wrote.
    pub wrote: bool,
}

impl Accessor<'_> {
    #[inline(always)]
    fn ordered_after(&self, entry: u32, epoch: u32) -> bool {
        let other = (entry & !STRONG).wrapping_sub(1);
        if entry == 0 || other == self.thread || (entry & STRONG != 0 && self.strong) {
            return true;
        }
        if other / 32 == self.thread / 32 {
            let lane = |thread: u32| self.synced[(thread % 32) as usize];
            lane(other).min(lane(self.thread)) >= epoch
        } else {
            self.clock.get((other / 32) as usize).is_some_and(|known| *known >= epoch)
        }
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        (self.thread + 1) | if self.strong { STRONG } else { 0 }
    }
}

/// What every granule of a block's shared memory remembers.
#[derive(Debug, Default)]
pub struct SharedShadow {
    entries: Vec<Entry>,
    shift: u32,
}

impl SharedShadow {
    /// A shadow of granules of `1 << shift` bytes.
    pub fn new(bytes: usize, shift: u32) -> SharedShadow {
        SharedShadow { entries: vec![Entry::default(); (bytes >> shift) + 1], shift }
    }

    fn range(&self, at: u32, bytes: u32) -> core::ops::Range<usize> {
        let last = (at + bytes.max(1) - 1) >> self.shift;
        (at >> self.shift) as usize..(last as usize + 1).min(self.entries.len())
    }

    /// Notes a read.
    #[inline]
    pub fn read(&mut self, at: u32, bytes: u32, me: Accessor<'_>) -> Option<Opponent> {
        let mut opponent = None;
        let range = self.range(at, bytes);
        for entry in &mut self.entries[range] {
            if !me.ordered_after(entry.writer, entry.written) {
                let thread = (entry.writer & !STRONG) - 1;
                opponent.get_or_insert(Opponent { thread, wrote: true });
            }
            let id = me.id();
            if entry.readers[0] == id || me.ordered_after(entry.readers[0], entry.read[0]) {
                (entry.readers[0], entry.read[0]) = (id, me.epoch);
            } else {
                (entry.readers[1], entry.read[1]) = (id, me.epoch);
            }
        }
        opponent
    }

    /// Notes a write; one that leaves the bytes as they were does not race with other writes.
    #[inline]
    pub fn write(&mut self, at: u32, bytes: u32, changes: bool, me: Accessor<'_>) -> Option<Opponent> {
        let mut opponent = None;
        let range = self.range(at, bytes);
        for entry in &mut self.entries[range] {
            if changes && !me.ordered_after(entry.writer, entry.written) {
                let thread = (entry.writer & !STRONG) - 1;
                opponent.get_or_insert(Opponent { thread, wrote: true });
            }
            for i in 0..2 {
                if !me.ordered_after(entry.readers[i], entry.read[i]) {
                    let thread = (entry.readers[i] & !STRONG) - 1;
                    opponent.get_or_insert(Opponent { thread, wrote: false });
                }
            }
            *entry = Entry { writer: me.id(), written: me.epoch, ..Entry::default() };
        }
        opponent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNCED: [u32; 32] = [0; 32];

    fn thread(thread: u32, epoch: u32, clock: &[u32]) -> Accessor<'_> {
        Accessor { thread, epoch, clock, synced: &SYNCED, strong: false }
    }

    #[test]
    fn a_read_of_anothers_write_races_until_a_barrier() {
        let mut shadow = SharedShadow::new(64, 2);
        assert_eq!(shadow.write(0, 4, true, thread(0, 1, &[0, 0])), None);
        let found = shadow.read(0, 4, thread(40, 1, &[0, 0]));
        assert_eq!(found, Some(Opponent { thread: 0, wrote: true }));
        assert_eq!(shadow.read(0, 4, thread(40, 2, &[1, 1])), None);
    }

    #[test]
    fn a_write_after_anothers_read_races() {
        let mut shadow = SharedShadow::new(64, 2);
        shadow.read(8, 4, thread(3, 1, &[0, 0]));
        shadow.read(8, 4, thread(70, 1, &[0, 0, 0]));
        let found = shadow.write(8, 4, true, thread(70, 1, &[0, 0, 0]));
        assert_eq!(found, Some(Opponent { thread: 3, wrote: false }));
    }

    #[test]
    fn lanes_of_a_warp_race_until_they_synchronise() {
        let mut shadow = SharedShadow::new(64, 2);
        shadow.write(4, 4, true, thread(1, 5, &[0]));
        assert!(shadow.read(4, 4, thread(2, 5, &[0])).is_some());
        let synced = [5; 32];
        let after = Accessor { synced: &synced, ..thread(2, 6, &[0]) };
        assert_eq!(shadow.read(4, 4, after), None);
    }

    #[test]
    fn atomics_do_not_race_with_atomics() {
        let mut shadow = SharedShadow::new(64, 2);
        let strong = |t| Accessor { strong: true, ..thread(t, 1, &[0, 0]) };
        shadow.write(0, 4, true, strong(0));
        assert_eq!(shadow.write(0, 4, true, strong(33)), None);
        assert!(shadow.read(0, 4, thread(5, 1, &[0, 0])).is_some());
    }
}
