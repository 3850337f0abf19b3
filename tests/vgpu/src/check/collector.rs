//! Findings of a launch as they come in.

use std::collections::BTreeMap;

use super::finding::Kind;

/// Where an access happened, before lines and names are looked up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Spot {
    /// Linear index of the block.
    pub block: u64,
    /// Thread of the block.
    pub thread: u32,
    /// Address.
    pub address: u64,
    /// Bytes.
    pub bytes: u32,
}

/// One kind of fault at one instruction.
#[derive(Clone, Debug)]
pub struct Record {
    /// Lane accesses.
    pub threads: u64,
    /// The first, by block and thread.
    pub first: Spot,
    /// What else is to say of the first.
    pub note: String,
}

/// Records by kind and instruction.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    /// The records.
    pub records: BTreeMap<(Kind, u32), Record>,
}

impl Collector {
    /// Adds one lane's access.
    pub fn add(&mut self, kind: Kind, pc: u32, spot: Spot, note: impl FnOnce() -> String) {
        match self.records.entry((kind, pc)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Record { threads: 1, first: spot, note: note() });
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let record = place.get_mut();
                record.threads += 1;
                if spot < record.first {
                    record.first = spot;
                    record.note = note();
                }
            }
        }
    }

    /// Takes over what another worker found.
    pub fn merge(&mut self, other: Collector) {
        for (key, record) in other.records {
            match self.records.get_mut(&key) {
                None => {
                    self.records.insert(key, record);
                }
                Some(mine) => {
                    mine.threads += record.threads;
                    if record.first < mine.first {
                        mine.first = record.first;
                        mine.note = record.note;
                    }
                }
            }
        }
    }
}
