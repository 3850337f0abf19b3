//! Barriers of a block.

use super::clock::Clock;
use super::frame::lanes;
use super::step::{Exec, Flow};
use super::warp::Warp;
use crate::check::{Kind, Spot};
use crate::isa::{BarrierKind, Reg};

/// Lanes that wait for the result of a reduction.
#[derive(Clone, Debug)]
struct Waiter {
    warp: u32,
    mask: u32,
    depth: u32,
    d: Reg,
    kind: BarrierKind,
}

/// State of a barrier.
#[derive(Clone, Debug, Default)]
pub(super) struct Barrier {
    waiters: Vec<Waiter>,
    /// Threads that arrived; warps count whole.
    arrived: u32,
    /// Threads that an operand asked for.
    expected: Option<u32>,
    /// Threads whose predicate held, of how many.
    holds: u32,
    asked: u32,
    /// What is ordered before the completion.
    clock: Clock,
}

impl Barrier {
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty() || self.arrived > 0
    }

    /// Whether everyone is there. Without a number that means every thread that has not exited.
    pub(super) fn is_complete(&self, live: &[u32]) -> bool {
        if let Some(expected) = self.expected {
            return self.arrived >= expected;
        }
        live.iter().enumerate().all(|(warp, live)| {
            let here = self.waiters.iter().filter(|w| w.warp == warp as u32);
            live & !here.fold(0, |mask, w| mask | w.mask) == 0
        })
    }

    /// Lets everyone go on. A barrier of the whole block also waits for threads to exit, so
    /// what they did, `departed`, is ordered before it.
    pub(super) fn release(mut self, warps: &mut [Warp], clocks: &mut [Clock], departed: &Clock) {
        let whole_block = self.expected.is_none();
        if whole_block {
            self.clock.join(departed);
        }
        for waiter in self.waiters {
            let warp = &mut warps[waiter.warp as usize];
            let mask = waiter.mask;
            let frame = &mut warp.frames[waiter.depth as usize];
            match waiter.kind {
                BarrierKind::Popc => frame.set_w(waiter.d, &[self.holds; 32], mask),
                BarrierKind::And => {
                    let all = if self.holds == self.asked { u32::MAX } else { 0 };
                    frame.set_p(waiter.d, all, mask);
                }
                BarrierKind::Or => {
                    let any = if self.holds > 0 { u32::MAX } else { 0 };
                    frame.set_p(waiter.d, any, mask);
                }
                _ => {}
            }
            warp.waiting &= !mask;
            clocks[waiter.warp as usize].join(&self.clock);
            let exited = if whole_block { !warp.live } else { 0 };
            warp.synchronise(mask | exited);
        }
    }
}

/// The barrier behind the sixteen that kernels name.
const CLUSTER: u32 = 16;

/// A barrier instruction.
#[derive(Clone, Copy)]
pub(super) struct BarrierOp {
    pub(super) kind: BarrierKind,
    pub(super) aligned: bool,
    pub(super) id: Reg,
    pub(super) count: Reg,
    pub(super) d: Reg,
    pub(super) p: Reg,
    pub(super) negate: bool,
}

impl Exec<'_, '_> {
    /// `bar` and `barrier`, by the lanes of `mask`.
    pub(super) fn barrier(&mut self, op: BarrierOp, mask: u32) -> Flow {
        if op.aligned && !self.assemble(mask) {
            return Flow::Park;
        }
        self.worker.counters.barriers += 1;
        self.warp.effects += 1;
        self.common.progress += 1;
        let ids = *self.words(op.id);
        // Lanes that name different barriers arrive at each.
        let mut left = mask;
        while left != 0 {
            let id = ids[left.trailing_zeros() as usize];
            let part = lanes(left).filter(|l| ids[*l] == id).fold(0, |m, l| m | 1 << l);
            left &= !part;
            self.arrive(op, id & 15, part);
        }
        self.group.pc += 1;
        self.warp.save(&self.group);
        Flow::Reselect
    }

    /// `barrier.cluster.wait`: in a cluster of one block, a barrier of the block.
    pub(super) fn cluster_wait(&mut self, mask: u32) -> Flow {
        let none = Reg::NONE;
        let op = BarrierOp {
            kind: BarrierKind::Sync,
            aligned: true,
            id: none,
            count: none,
            d: none,
            p: none,
            negate: false,
        };
        self.worker.counters.barriers += 1;
        self.warp.effects += 1;
        self.common.progress += 1;
        self.arrive(op, CLUSTER, mask);
        self.group.pc += 1;
        self.warp.save(&self.group);
        Flow::Reselect
    }

    fn arrive(&mut self, op: BarrierOp, id: u32, mask: u32) {
        let lane = mask.trailing_zeros() as usize;
        let expected = op.count.is_some().then(|| self.words(op.count)[lane]);
        let holds = if op.p.is_some() {
            let p = self.frame().p(op.p) ^ if op.negate { u32::MAX } else { 0 };
            (p & mask).count_ones()
        } else {
            0
        };
        let warp = self.warp.index as usize;
        let whole = self.warp.live & !mask & !self.warp.waiting == 0;
        let threads = if op.aligned || whole && self.warp.waiting == 0 { 32 } else { mask.count_ones() };
        self.clock();
        let barrier = &mut self.common.barriers[id as usize];
        barrier.clock.join(&self.common.clocks[warp]);
        barrier.arrived += threads;
        barrier.holds += holds;
        barrier.asked += mask.count_ones();
        if expected.is_some() {
            barrier.expected = expected;
        }
        if op.kind == BarrierKind::Arrive {
            // What the warp does from here on is not ordered by this barrier.
            self.warp.epoch += 1;
            return;
        }
        barrier.waiters.push(Waiter { warp: self.warp.index, mask, depth: self.group.depth, d: op.d, kind: op.kind });
        self.warp.waiting |= mask;
    }

    /// Whether the lanes of `mask`, at an `.aligned` instruction, are all of the warp that can
    /// come. Says so too, with a finding, when the others will not: because they wait elsewhere,
    /// or have exited after going past this point and having an effect there.
    pub(super) fn assemble(&mut self, mask: u32) -> bool {
        let missing = self.warp.live & !mask;
        if missing != 0 && !self.warp.forced {
            return false;
        }
        let deserted = self.warp.deserted && self.warp.parked_aligned & mask != 0;
        if missing != 0 || deserted {
            self.report_divergence(mask);
        }
        self.warp.forced = false;
        self.warp.parked_aligned &= !mask;
        self.warp.deserted &= self.warp.parked_aligned != 0;
        true
    }

    fn report_divergence(&mut self, mask: u32) {
        let barrier = matches!(self.launch.program.code[self.group.pc as usize].op, crate::isa::Op::Barrier { .. });
        let kind = if barrier { Kind::BarrierDeadlock } else { Kind::AlignedDivergence };
        for lane in lanes(mask) {
            let spot = self.spot(lane, 0, 0);
            let pc = self.group.pc;
            self.worker
                .report(self.launch, kind, pc, spot, || "other threads of the warp do not execute it".to_string());
        }
    }

    /// Where a lane is.
    pub(super) fn spot(&self, lane: usize, address: u64, bytes: u32) -> Spot {
        Spot { block: self.common.linear, thread: self.warp.index * 32 + lane as u32, address, bytes }
    }
}
