//! What is ordered before an access: within a block by barriers, between blocks by fences around
//! strong accesses.
//!
//! The rules are those of the ISA's memory model, by warps. A strong write (atomic, volatile,
//! relaxed, release) passes on to other blocks what lies before a fence of the GPU's scope that lies
//! before the write; a strong read takes it over from the next such fence on. Before means in the
//! same warp, or ordered by the block's barriers. `.release` and `.acquire` are such a fence and the
//! access in one. Which address passed something on is not followed: a read takes over from every
//! block what it has passed on by then.

use super::step::Exec;
use crate::isa::Order;

/// What is ordered before a warp's next access, or before whoever passes a barrier.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// The epoch of each warp of the block up to which its accesses are.
    pub(super) epochs: Vec<u32>,
    /// The same, with a fence behind them.
    fenced: Vec<u32>,
    /// When the last strong read was, on the launch's clock.
    heard: u32,
    /// When the last was that a fence came behind.
    known: u32,
}

impl Clock {
    /// Of a block of this many warps that have done nothing.
    pub(super) fn new(warps: usize) -> Clock {
        Clock { epochs: vec![0; warps], ..Clock::default() }
    }

    /// Takes over what another knows.
    pub(super) fn join(&mut self, other: &Clock) {
        later(&mut self.epochs, &other.epochs);
        later(&mut self.fenced, &other.fenced);
        self.heard = self.heard.max(other.heard);
        self.known = self.known.max(other.known);
    }

    /// Until when what other blocks passed on is ordered before.
    pub(super) fn known(&self) -> u32 {
        self.known
    }
}

/// The later of epochs, warp by warp.
fn later(into: &mut Vec<u32>, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (mine, other) in into.iter_mut().zip(from) {
        *mine = (*mine).max(*other);
    }
}

impl Exec<'_, '_> {
    /// The warp's clock, with what it did itself.
    pub(super) fn clock(&mut self) -> &mut Clock {
        let warp = self.warp.index as usize;
        let clock = &mut self.common.clocks[warp];
        clock.epochs[warp] = self.warp.epoch;
        clock
    }

    /// `fence` and `membar` of the GPU's scope or the system's.
    pub(super) fn fence(&mut self) {
        if !self.launch.hazards {
            return;
        }
        let Clock { epochs, fenced, heard, known } = self.clock();
        later(fenced, epochs);
        *known = *heard;
        // What comes now is not covered by it.
        self.warp.epoch += 1;
    }

    /// A strong access to global memory by this warp.
    pub(super) fn protocol(&mut self, order: Order, reads: bool, writes: bool) {
        if !self.launch.hazards || !self.launch.communicates {
            return;
        }
        if matches!(order, Order::Release | Order::Both) {
            self.fence();
        }
        let (launch, block) = (self.launch, self.common.linear as usize);
        let now = launch.tick();
        let clock = self.clock();
        if writes && !clock.fenced.is_empty() {
            launch.releases[block].add(now, &clock.fenced);
        }
        if reads {
            clock.heard = now;
            if matches!(order, Order::Acquire | Order::Both) {
                clock.known = now;
            }
        }
    }
}
