//! Calls, returns and exits.

use super::frame::{Frame, lanes};
use super::launch::Stop;
use super::step::{Exec, Flow};
use crate::isa::{Call, Op, Reg, function_at};

/// Depth at which a recursion is taken to be endless.
const DEEPEST: u32 = 4096;

impl Exec<'_, '_> {
    pub(super) fn brx(&mut self, index: Reg, targets: &[u32], mask: u32) -> Flow {
        self.worker.counters.branches += 1;
        let index = *self.words(index);
        self.group.pc += 1;
        let fallthrough = self.group.mask & !mask;
        self.warp.save(&self.group);
        let mut first = None;
        let mut divergent = fallthrough != 0;
        for lane in lanes(mask) {
            // An index beyond the table is undefined; the last entry is as good as any.
            let i = (index[lane] as usize).min(targets.len().saturating_sub(1));
            let target = targets.get(i).copied().unwrap_or(self.group.pc);
            divergent |= first.is_some_and(|f| f != target);
            first.get_or_insert(target);
            self.warp.pc[lane] = target;
        }
        self.worker.counters.divergent_branches += u64::from(divergent);
        Flow::Reselect
    }

    pub(super) fn call(&mut self, call: &Call, mask: u32) -> Flow {
        let here = self.group.pc;
        let depth = self.group.depth;
        self.group.pc = here + 1;
        self.warp.save(&self.group);
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            let (function, part) = match call.target {
                Ok(function) => (Some(function), left),
                Err(reg) => {
                    let target = self.doubles(reg);
                    let same = lanes(left).filter(|l| target[*l] == target[lane]);
                    (function_at(target[lane]), same.fold(0, |m, l| m | 1 << l))
                }
            };
            left &= !part;
            let functions = &self.launch.program.functions;
            let Some(info) = function.and_then(|f| functions.get(f as usize)) else {
                self.launch.stop(Stop::Trap);
                return Flow::Reselect;
            };
            if depth >= DEEPEST || info.kernel {
                self.launch.stop(Stop::Trap);
                return Flow::Reselect;
            }
            self.enter(call, info, part, here);
        }
        Flow::Reselect
    }

    fn enter(&mut self, call: &Call, info: &crate::isa::FunctionInfo, mask: u32, here: u32) {
        let depth = self.group.depth as usize;
        if self.warp.frames.len() <= depth + 1 {
            let slots = self
                .launch
                .program
                .functions
                .iter()
                .fold([0; 3], |most: [u32; 3], f| core::array::from_fn(|i| most[i].max(f.slots[i])));
            let words = self.launch.program.functions.iter().map(|f| f.frame_words).max();
            self.warp.frames.push(Frame::new(slots, words.unwrap_or(0)));
        }
        let (below, above) = self.warp.frames.split_at_mut(depth + 1);
        let (from, to) = (&below[depth], &mut above[0]);
        for ((offset, words), formal) in call.args.iter().zip(&info.params) {
            for i in 0..(*words).min(formal.size.div_ceil(4).max(1)) {
                let value = from.params[(offset / 4 + i) as usize];
                let place = &mut to.params[(formal.offset / 4 + i) as usize];
                for lane in lanes(mask) {
                    place[lane] = value[lane];
                }
            }
        }
        let bases = from.local_end;
        for lane in lanes(mask) {
            let end = bases[lane] + info.local_bytes;
            to.local_base[lane] = bases[lane];
            to.local_end[lane] = end;
            to.call[lane] = here;
        }
        for lane in lanes(mask) {
            let (base, end) = (bases[lane], bases[lane] + info.local_bytes);
            self.warp.pc[lane] = info.entry;
            self.warp.depth[lane] = depth as u32 + 1;
            if info.local_bytes > 0 {
                self.warp.reserve_local(lane, end);
                // A new frame holds nothing yet, whatever an earlier one left here.
                self.warp.local[lane].defined[base as usize..end as usize].fill(0);
            }
        }
    }

    pub(super) fn ret(&mut self, mask: u32) -> Flow {
        let depth = self.group.depth as usize;
        if depth == 0 {
            return self.exit(mask);
        }
        let function = self.launch.program.origin[self.group.pc as usize].function;
        let info = &self.launch.program.functions[function as usize];
        self.group.pc += 1;
        self.warp.save(&self.group);
        let (below, above) = self.warp.frames.split_at_mut(depth);
        let (to, from) = (&mut below[depth - 1], &above[0]);
        for lane in lanes(mask) {
            let site = from.call[lane];
            if let Op::Call(call) = &self.launch.program.code[site as usize].op {
                for ((offset, words), formal) in call.returns.iter().zip(&info.returns) {
                    for i in 0..(*words).min(formal.size.div_ceil(4).max(1)) {
                        let value = from.params[(formal.offset / 4 + i) as usize][lane];
                        to.params[(offset / 4 + i) as usize][lane] = value;
                    }
                }
            }
            self.warp.pc[lane] = site + 1;
            self.warp.depth[lane] = depth as u32 - 1;
        }
        Flow::Reselect
    }

    pub(super) fn exit(&mut self, mask: u32) -> Flow {
        self.group.pc += 1;
        self.warp.save(&self.group);
        self.land_all(mask);
        self.depart(mask);
        self.warp.live &= !mask;
        self.common.live[self.warp.index as usize] = self.warp.live;
        self.common.progress += 1;
        if self.warp.parked_aligned & self.warp.live != 0 {
            self.warp.deserted |= self.warp.effects > self.warp.effects_at_park;
        }
        // Those who wait may be complete now.
        self.warp.parked = 0;
        Flow::Reselect
    }

    /// What exiting threads leave behind for the race detectors.
    fn depart(&mut self, mask: u32) {
        let warp = self.warp.index as usize;
        self.clock();
        self.common.departed.join(&self.common.clocks[warp]);
        self.warp.epoch += 1;
        for opened in core::mem::take(&mut self.warp.opened) {
            if mask >> opened.lane & 1 == 1 {
                self.report_opened(opened);
            } else {
                self.warp.opened.push(opened);
            }
        }
    }
}
