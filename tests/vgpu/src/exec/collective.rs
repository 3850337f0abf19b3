//! Instructions that lanes of a warp execute together.

use super::frame::lanes;
use super::step::{Exec, Flow};
use crate::check::Kind;
use crate::isa::{Op, Redux, Shuffle, Vote};

/// The lane that `lane` reads from in a shuffle, if it is in range.
fn source(mode: Shuffle, lane: u32, b: u32, c: u32) -> Option<u32> {
    let (clamp, segment, b) = (c & 31, c >> 8 & 31, b & 31);
    let last = lane & segment | clamp & !segment;
    let first = lane & segment;
    match mode {
        Shuffle::Up => lane.checked_sub(b).filter(|j| *j >= last),
        Shuffle::Down => Some(lane + b).filter(|j| *j <= last),
        Shuffle::Butterfly => Some(lane ^ b).filter(|j| *j <= last),
        Shuffle::Index => Some(first | b & !segment).filter(|j| *j <= last),
    }
}

/// The value of a reduction.
fn reduce(op: Redux, values: impl Iterator<Item = u32>) -> u32 {
    let signed = |x: u32| x as i32;
    let float = |max: bool, abs: bool, nan: bool, a: u32, b: u32| {
        let clear = if abs { 0x7fff_ffff } else { u32::MAX };
        let mode = crate::arith::float::Extremum { max, nan, ..Default::default() };
        crate::arith::float::extremum_f32(a & clear, b & clear, mode)
    };
    let result = values.reduce(|a, b| match op {
        Redux::Add => a.wrapping_add(b),
        Redux::MinU => a.min(b),
        Redux::MaxU => a.max(b),
        Redux::MinS => signed(a).min(signed(b)) as u32,
        Redux::MaxS => signed(a).max(signed(b)) as u32,
        Redux::And => a & b,
        Redux::Or => a | b,
        Redux::Xor => a ^ b,
        Redux::Float { max, abs, nan } => float(max, abs, nan, a, b),
    });
    match (op, result) {
        (Redux::Float { abs: true, .. }, Some(x)) => x & 0x7fff_ffff,
        (_, x) => x.unwrap_or(0),
    }
}

impl Exec<'_, '_> {
    pub(super) fn execute_collective(&mut self, op: &Op, mask: u32) -> Flow {
        self.gather();
        let mask = self.guarded(mask);
        let member = match op {
            Op::Shfl { mask, .. }
            | Op::Vote { mask, .. }
            | Op::Match { mask, .. }
            | Op::Redux { mask, .. }
            | Op::Elect { mask, .. }
            | Op::WarpSync { mask } => *mask,
            Op::ActiveMask { d } => {
                self.frame_mut().set_w(*d, &[mask; 32], mask);
                return Flow::Next;
            }
            _ => return self.execute_aligned(op, mask),
        };
        let members = *self.words(member);
        // Lanes whose partners are all here.
        let live = self.warp.live;
        let ready = lanes(mask).filter(|lane| members[*lane] & live & !mask == 0).fold(0u32, |m, lane| m | 1 << lane);
        let mut left = ready;
        while left != 0 {
            let named = members[left.trailing_zeros() as usize];
            let part = lanes(left).filter(|l| members[*l] == named).fold(0, |m, l| m | 1 << l);
            left &= !part;
            self.together(op, part);
        }
        if ready == mask {
            return Flow::Next;
        }
        // The others wait here; those who are done, and those whose guard is false, go on.
        let rest = mask & !ready;
        self.park(rest);
        for lane in lanes(ready) {
            self.warp.pc[lane] = self.group.pc + 1;
        }
        Flow::Reselect
    }

    /// One collective by lanes that name the same partners.
    fn together(&mut self, op: &Op, mask: u32) {
        match op {
            Op::Shfl { mode, d, p, a, b, c, .. } => {
                let (values, b, c) = (*self.words(*a), *self.words(*b), *self.words(*c));
                let mut result = [0; 32];
                let (mut valid, mut undefined) = (0, 0);
                for lane in lanes(mask) {
                    let from = source(*mode, lane as u32, b[lane], c[lane]);
                    valid |= u32::from(from.is_some()) << lane;
                    undefined |= from.filter(|from| mask >> from & 1 == 0).map_or(0, |_| 1 << lane);
                    result[lane] = values[from.unwrap_or(lane as u32) as usize & 31];
                }
                let frame = self.frame_mut();
                frame.set_w(*d, &result, mask);
                frame.set_p(*p, valid, mask);
                for lane in lanes(undefined) {
                    let spot = self.spot(lane, 0, 0);
                    let (pc, from) = (self.group.pc, source(*mode, lane as u32, b[lane], c[lane]));
                    self.worker.report(self.launch, Kind::ShuffleUndefined, pc, spot, || {
                        let from = from.unwrap_or_default();
                        format!("lane {from}, which it reads from, is not among those that take part")
                    });
                }
            }
            Op::Vote { mode, d, a, negate, .. } => {
                let frame = self.frame_mut();
                let votes = (frame.p(*a) ^ if *negate { u32::MAX } else { 0 }) & mask;
                let truth = match mode {
                    Vote::All => votes == mask,
                    Vote::Any => votes != 0,
                    Vote::Uniform => votes == mask || votes == 0,
                    Vote::Ballot => {
                        frame.set_w(*d, &[votes; 32], mask);
                        return;
                    }
                };
                frame.set_p(*d, if truth { u32::MAX } else { 0 }, mask);
            }
            Op::Match { all, d, p, a, .. } => {
                let values = self.doubles(*a);
                let mut result = [0; 32];
                for lane in lanes(mask) {
                    let same = lanes(mask).filter(|l| values[*l] == values[lane]);
                    result[lane] = same.fold(0u32, |m, l| m | 1 << l);
                }
                let first = mask.trailing_zeros() as usize;
                let agree = result[first] == mask;
                let frame = self.frame_mut();
                if *all {
                    frame.set_w(*d, &[if agree { mask } else { 0 }; 32], mask);
                    frame.set_p(*p, if agree { u32::MAX } else { 0 }, mask);
                } else {
                    frame.set_w(*d, &result, mask);
                }
            }
            Op::Redux { op, d, a, .. } => {
                let values = *self.words(*a);
                let result = reduce(*op, lanes(mask).map(|lane| values[lane]));
                self.frame_mut().set_w(*d, &[result; 32], mask);
            }
            Op::Elect { d, p, .. } => {
                let leader = mask.trailing_zeros();
                let frame = self.frame_mut();
                frame.set_w(*d, &[leader; 32], mask);
                frame.set_p(*p, 1 << leader, mask);
            }
            _ => self.warp.synchronise(mask),
        }
    }

    /// Instructions that the whole warp executes, and memory instructions of the Hopper set.
    fn execute_aligned(&mut self, op: &Op, mask: u32) -> Flow {
        match op {
            Op::CopyAsync { .. } | Op::CopyCommit | Op::CopyWait { .. } | Op::CopyArrive { .. } => {
                self.copy(op, mask);
                return Flow::Next;
            }
            Op::Mbarrier { what, addr, space } => return self.mbarrier(what, *addr, *space, mask),
            Op::Bulk(bulk) => {
                self.bulk(bulk, mask);
                return Flow::Next;
            }
            Op::Mapa { d, a, rank, space } => {
                self.mapa(*d, *a, *rank, *space, mask);
                return Flow::Next;
            }
            Op::GetCtaRank { d, a, space } => {
                self.cta_rank(*d, *a, *space, mask);
                return Flow::Next;
            }
            _ => {}
        }
        if !self.assemble(mask) {
            return Flow::Park;
        }
        match op {
            Op::ClusterWait { .. } => return self.cluster_wait(mask),
            Op::Ldmatrix { trans, d, addr, space } => self.ldmatrix(*trans, d, *addr, *space, mask),
            Op::Stmatrix { trans, src, addr, space } => {
                self.stmatrix(*trans, src, *addr, *space, mask);
            }
            Op::Movmatrix { d, a } => {
                let value = crate::arith::matrix::move_::transpose(self.words(*a));
                self.frame_mut().set_w(*d, &value, mask);
            }
            Op::Matrix(product) => self.matrix(product, mask),
            Op::WmmaLoad(op) => self.wmma_load(op, mask),
            Op::WmmaStore(op) => self.wmma_store(op, mask),
            Op::Wgmma(op) => self.wgmma(op, mask),
            _ => {}
        }
        Flow::Next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_stay_inside_their_segments() {
        // Width 8: segment mask 24, c = 0x1807 for down, bfly and idx, 0x1800 for up.
        assert_eq!(source(Shuffle::Down, 6, 1, 0x1807), Some(7));
        assert_eq!(source(Shuffle::Down, 7, 1, 0x1807), None);
        assert_eq!(source(Shuffle::Up, 8, 1, 0x1800), None);
        assert_eq!(source(Shuffle::Up, 9, 1, 0x1800), Some(8));
        assert_eq!(source(Shuffle::Index, 13, 2, 0x1807), Some(10));
        assert_eq!(source(Shuffle::Butterfly, 13, 8, 0x1807), Some(5));
        assert_eq!(source(Shuffle::Butterfly, 5, 8, 0x1807), None);
    }

    #[test]
    fn reductions_follow_their_types() {
        let values = [5, u32::MAX, 7];
        let apply = |op| reduce(op, values.into_iter());
        assert_eq!(apply(Redux::Add), 11);
        assert_eq!(apply(Redux::MinS), u32::MAX);
        assert_eq!(apply(Redux::MinU), 5);
        assert_eq!(apply(Redux::MaxS), 7);
        assert_eq!(apply(Redux::Xor), 5 ^ u32::MAX ^ 7);
    }
}
