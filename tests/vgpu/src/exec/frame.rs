//! The registers of a warp at one depth of calls.

use crate::isa::{Class, Reg};

/// One word of every lane.
pub(super) type Words = [u32; 32];
/// One double of every lane.
pub(super) type Doubles = [u64; 32];

/// Constants of a program, spread over the lanes.
#[derive(Debug, Default)]
pub struct Constants {
    pub(super) words: Vec<Words>,
    pub(super) doubles: Vec<Doubles>,
}

impl Constants {
    /// Spreads the constants of a program.
    pub fn new(words: &[u32], doubles: &[u64]) -> Constants {
        Constants {
            words: words.iter().map(|w| [*w; 32]).collect(),
            doubles: doubles.iter().map(|d| [*d; 32]).collect(),
        }
    }
}

/// Registers and call state of the lanes at one depth. Lanes are columns: lanes that are in
/// different functions at the same depth do not see each other.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) words: Vec<Words>,
    pub(super) doubles: Vec<Doubles>,
    pub(super) predicates: Vec<u32>,
    /// Parameters of calls.
    pub(super) params: Vec<Words>,
    /// Where the lane's local memory of this frame starts, and where it ends.
    pub(super) local_base: Words,
    pub(super) local_end: Words,
    /// Instruction of the call that made this frame.
    pub(super) call: Words,
}

impl Frame {
    /// A frame of so many words, doubles and predicates, and of one word and double more, for
    /// values on their way.
    pub(super) fn new(slots: [u32; 3], params: u32) -> Frame {
        Frame {
            words: vec![[0; 32]; slots[0] as usize + 1],
            doubles: vec![[0; 32]; slots[1] as usize + 1],
            predicates: vec![0; slots[2] as usize],
            params: vec![[0; 32]; params as usize],
            ..Frame::default()
        }
    }

    #[inline(always)]
    pub(super) fn w<'a>(&'a self, k: &'a Constants, reg: Reg) -> &'a Words {
        if reg.is_constant() { &k.words[reg.index()] } else { &self.words[reg.index()] }
    }

    #[inline(always)]
    pub(super) fn d<'a>(&'a self, k: &'a Constants, reg: Reg) -> &'a Doubles {
        if reg.is_constant() { &k.doubles[reg.index()] } else { &self.doubles[reg.index()] }
    }

    /// The lanes where a predicate holds.
    #[inline(always)]
    pub(super) fn p(&self, reg: Reg) -> u32 {
        if reg.is_constant() { if reg.index() == 0 { 0 } else { u32::MAX } } else { self.predicates[reg.index()] }
    }

    /// A register of either width as doubles.
    #[inline(always)]
    pub(super) fn wide(&self, k: &Constants, reg: Reg) -> Doubles {
        if reg.class() == Class::Double { *self.d(k, reg) } else { self.w(k, reg).map(u64::from) }
    }

    #[inline(always)]
    pub(super) fn set_w(&mut self, reg: Reg, value: &Words, mask: u32) {
        let slot = &mut self.words[reg.index()];
        if mask == u32::MAX {
            *slot = *value;
        } else {
            for i in 0..32 {
                slot[i] = if mask >> i & 1 == 1 { value[i] } else { slot[i] };
            }
        }
    }

    #[inline(always)]
    pub(super) fn set_d(&mut self, reg: Reg, value: &Doubles, mask: u32) {
        let slot = &mut self.doubles[reg.index()];
        if mask == u32::MAX {
            *slot = *value;
        } else {
            for i in 0..32 {
                slot[i] = if mask >> i & 1 == 1 { value[i] } else { slot[i] };
            }
        }
    }

    #[inline(always)]
    pub(super) fn set_p(&mut self, reg: Reg, value: u32, mask: u32) {
        if reg.is_some() {
            let slot = &mut self.predicates[reg.index()];
            *slot = *slot & !mask | value & mask;
        }
    }

    /// Sets one lane of a register of either width.
    #[inline(always)]
    pub(super) fn set_lane(&mut self, reg: Reg, lane: usize, value: u64) {
        if !reg.is_some() {
            return;
        }
        if reg.class() == Class::Double {
            self.doubles[reg.index()][lane] = value;
        } else {
            self.words[reg.index()][lane] = value as u32;
        }
    }

    /// One lane of a register of either width.
    #[inline(always)]
    pub(super) fn lane(&self, k: &Constants, reg: Reg, lane: usize) -> u64 {
        if reg.class() == Class::Double { self.d(k, reg)[lane] } else { u64::from(self.w(k, reg)[lane]) }
    }
}

/// The lanes of a mask, from the lowest.
#[inline(always)]
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    core::iter::from_fn(move || {
        (left != 0).then(|| {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            lane
        })
    })
}
