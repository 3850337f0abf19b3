//! The interpreter's loop.

use super::alu::{self, Regs};
use super::barrier::BarrierOp;
use super::block::Common;
use super::compare::{combine, compared, half_relation, lanes_where};
use super::frame::{Doubles, Frame, Words, lanes};
use super::launch::{Launch, Stop, Worker};
use super::warp::{Group, Warp};
use crate::isa::{Class, Guard, Logic, Op, Reg};

/// What comes after an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// The next one.
    Next,
    /// The group goes elsewhere.
    Jump(u32),
    /// Counters of lanes were set: choose anew.
    Reselect,
    /// The instruction waits for other lanes of the warp.
    Park,
    /// The instruction is done; let others run.
    Yield,
}

/// Why a warp stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    /// Its turn is over.
    Turn,
    /// It polls for something.
    Yielded,
    /// All its lanes wait or have exited.
    Blocked,
}

/// A warp running.
pub(super) struct Exec<'a, 'l> {
    pub(super) launch: &'a Launch<'l>,
    pub(super) worker: &'a mut Worker,
    pub(super) common: &'a mut Common,
    pub(super) warp: &'a mut Warp,
    pub(super) group: Group,
}

impl<'a, 'l> Exec<'a, 'l> {
    pub(super) fn new(
        launch: &'a Launch<'l>,
        worker: &'a mut Worker,
        common: &'a mut Common,
        warp: &'a mut Warp,
    ) -> Exec<'a, 'l> {
        let group = Group { pc: 0, mask: 0, depth: 0, limit: 0 };
        Exec { launch, worker, common, warp, group }
    }

    /// Runs for about `turn` instructions.
    pub(super) fn run(&mut self, turn: u32) -> Paused {
        let start = self.warp.steps;
        let end = start + u64::from(turn);
        let paused = loop {
            let Some(group) = self.warp.select() else {
                if self.force_parked() {
                    continue;
                }
                break Paused::Blocked;
            };
            self.group = group;
            if let Some(paused) = self.run_group(end) {
                break paused;
            }
            if self.launch.is_stopped() {
                break Paused::Blocked;
            }
        };
        let spent = self.warp.steps - start;
        let total = self.launch.instructions.fetch_add(spent, core::sync::atomic::Ordering::Relaxed);
        if total > self.launch.options.instruction_limit {
            self.launch.stop(Stop::Timeout);
        }
        paused
    }

    /// No lane can run: lanes at an `.aligned` instruction go on without the others.
    fn force_parked(&mut self) -> bool {
        let stuck = self.warp.parked & self.warp.parked_aligned & self.warp.live;
        if stuck == 0 {
            return false;
        }
        self.warp.parked &= !stuck;
        let Some(group) = self.warp.select() else { return false };
        self.warp.parked |= stuck & !group.mask;
        self.warp.forced = true;
        true
    }

    /// Runs the current group until it meets others, splits, waits, or the turn is over.
    fn run_group(&mut self, end: u64) -> Option<Paused> {
        let launch = self.launch;
        let code = &launch.program.code;
        loop {
            if self.warp.steps >= end {
                self.warp.save(&self.group);
                return Some(Paused::Turn);
            }
            let pc = self.group.pc as usize;
            let inst = &code[pc];
            let mut mask = self.group.mask;
            if inst.guard != Guard::NONE {
                let p = self.frame().p(inst.guard.predicate);
                mask &= if inst.guard.negate { !p } else { p };
            }
            self.warp.steps += 1;
            let executed = &mut self.worker.executed[pc];
            executed.0 += 1;
            executed.1 += u64::from(mask.count_ones());
            let flow = if mask == 0 {
                // A branch that no lane takes is one all the same.
                self.worker.counters.branches += u64::from(matches!(inst.op, Op::Bra { .. }));
                Flow::Next
            } else {
                self.execute(&inst.op, mask)
            };
            match flow {
                Flow::Next => {
                    self.group.pc += 1;
                    if self.group.pc >= self.group.limit {
                        self.warp.save(&self.group);
                        return None;
                    }
                }
                Flow::Jump(target) => {
                    let back = target <= self.group.pc;
                    self.group.pc = target;
                    if back && self.warp.jumped_back(&self.group) {
                        self.warp.save(&self.group);
                        return None;
                    }
                    if self.group.limit != u32::MAX || self.warp.rotating.is_some() {
                        self.warp.save(&self.group);
                        if target >= self.group.limit || self.warp.rotating.is_some() {
                            return None;
                        }
                    }
                }
                Flow::Reselect => return None,
                Flow::Park => {
                    let mask = self.guarded(mask);
                    self.park(mask);
                    return None;
                }
                Flow::Yield => {
                    self.group.pc += 1;
                    self.warp.save(&self.group);
                    if self.group.mask != self.warp.runnable() {
                        self.warp.rotate(&self.group);
                        return None;
                    }
                    return Some(Paused::Yielded);
                }
            }
        }
    }

    /// Sets the lanes of `mask` aside at the current instruction; lanes whose guard does not hold
    /// go on.
    pub(super) fn park(&mut self, mask: u32) {
        let pc = self.group.pc;
        self.warp.save(&self.group);
        for lane in lanes(self.group.mask & !mask) {
            self.warp.pc[lane] = pc + 1;
        }
        self.warp.parked |= mask;
        if self.is_aligned(pc) {
            self.warp.parked_aligned |= mask;
            self.warp.effects_at_park = self.warp.effects;
        }
    }

    fn is_aligned(&self, pc: u32) -> bool {
        match &self.launch.program.code[pc as usize].op {
            Op::Barrier { aligned, .. } => *aligned,
            Op::ClusterArrive { aligned } | Op::ClusterWait { aligned } => *aligned,
            Op::Shfl { .. } | Op::Vote { .. } | Op::Match { .. } | Op::Redux { .. } => false,
            Op::Elect { .. } | Op::WarpSync { .. } => false,
            _ => true,
        }
    }

    /// Lanes set aside at this very instruction join the group.
    pub(super) fn gather(&mut self) {
        let (pc, depth) = (self.group.pc, self.group.depth);
        for lane in lanes(self.warp.parked & self.warp.live) {
            if self.warp.pc[lane] == pc && self.warp.depth[lane] == depth {
                self.warp.parked &= !(1 << lane);
                self.group.mask |= 1 << lane;
            }
        }
    }

    #[inline(always)]
    pub(super) fn frame(&self) -> &Frame {
        &self.warp.frames[self.group.depth as usize]
    }

    #[inline(always)]
    pub(super) fn frame_mut(&mut self) -> &mut Frame {
        &mut self.warp.frames[self.group.depth as usize]
    }

    /// A word operand.
    #[inline(always)]
    pub(super) fn words(&self, reg: Reg) -> &Words {
        self.frame().w(self.launch.constants, reg)
    }

    /// An operand of either width.
    #[inline(always)]
    pub(super) fn doubles(&self, reg: Reg) -> Doubles {
        self.frame().wide(self.launch.constants, reg)
    }

    #[inline(always)]
    fn alu(&mut self, f: crate::isa::Alu, regs: Regs, mask: u32) {
        let constants = self.launch.constants;
        let frame = &mut self.warp.frames[self.group.depth as usize];
        alu::run(f, frame, constants, regs, mask);
    }

    #[inline(always)]
    fn execute(&mut self, op: &Op, mask: u32) -> Flow {
        match op {
            Op::Alu { f, d, a, b, c } => {
                self.alu(*f, Regs { d: *d, a: *a, b: *b, c: *c, e: Reg::NONE }, mask);
                Flow::Next
            }
            Op::Setp { relation, ty, d, q, a, b, with } => {
                let k = self.launch.constants;
                let frame = self.frame_mut();
                let truth = compared(frame, k, *relation, *ty, *a, *b);
                let value = combine(frame, truth, *with);
                let other = combine(frame, !truth, *with);
                frame.set_p(*d, value, mask);
                frame.set_p(*q, other, mask);
                Flow::Next
            }
            Op::Bra { target } => self.branch(*target, mask),
            _ => self.execute_rest(op, mask),
        }
    }

    fn branch(&mut self, target: u32, mask: u32) -> Flow {
        self.worker.counters.branches += 1;
        if mask == self.group.mask {
            return Flow::Jump(target);
        }
        self.worker.counters.divergent_branches += 1;
        let next = self.group.pc + 1;
        self.group.pc = next;
        self.warp.save(&self.group);
        for lane in lanes(mask) {
            self.warp.pc[lane] = target;
        }
        if target < next {
            let group = self.group;
            self.warp.jumped_back(&group);
        }
        Flow::Reselect
    }

    fn execute_rest(&mut self, op: &Op, mask: u32) -> Flow {
        match op {
            Op::Nop => {}
            Op::Alu4 { f, d, src } => {
                let [a, b, c, e] = **src;
                self.alu(*f, Regs { d: *d, a, b, c, e }, mask);
            }
            Op::Special { d, which } => self.special(*d, *which, mask),
            Op::Selp { d, a, b, p } => self.select(*d, *a, *b, *p, mask),
            Op::SetpPair { relation, half, ftz, d, q, a, b, with } => {
                let (x, y) = (*self.words(*a), *self.words(*b));
                let at = |shift: u32| {
                    lanes_where(|i| {
                        let (x, y) = ((x[i] >> shift) as u16, (y[i] >> shift) as u16);
                        half_relation(*relation, *half, *ftz, x, y)
                    })
                };
                let (low, high) = (at(0), at(16));
                let frame = self.frame_mut();
                let (low, high) = (combine(frame, low, *with), combine(frame, high, *with));
                frame.set_p(*d, low, mask);
                frame.set_p(*q, high, mask);
            }
            Op::ToPredicate { d, a } => {
                let x = *self.words(*a);
                self.frame_mut().set_p(*d, lanes_where(|i| x[i] != 0), mask);
            }
            Op::Predicate { logic, d, a, b } => {
                let frame = self.frame_mut();
                let value = match logic {
                    Logic::And => frame.p(*a) & frame.p(*b),
                    Logic::Or => frame.p(*a) | frame.p(*b),
                    Logic::Xor => frame.p(*a) ^ frame.p(*b),
                };
                frame.set_p(*d, value, mask);
            }
            Op::Carry { subtract, d, a, b, carry_in, carry_out } => {
                self.carry(*subtract, *d, [*a, *b], [*carry_in, *carry_out], mask);
            }
            Op::Cvta { d, a, window, to } => self.cvta(*d, *a, *window, *to, mask),
            Op::IsSpace { d, a, window } => {
                let x = self.doubles(*a);
                let window = *window;
                let here = lanes_where(|i| self.is_space(x[i], window));
                self.frame_mut().set_p(*d, here, mask);
            }
            Op::LoadParam { d, offset, element } => self.load_param(*d, *offset, *element, mask),
            Op::Load { space, order, element, d, addr } => {
                self.load(*space, *order, *element, d, *addr, mask);
            }
            Op::Store { space, order, element, src, addr } => {
                self.store(*space, *order, *element, src, *addr, mask);
            }
            Op::Atomic { op, ty, order, space, d, addr, b, c } => {
                let op = super::atomic::Atomic { op: *op, ty: *ty, order: *order, d, b, c: *c };
                self.atomic(op, *space, *addr, mask);
            }
            Op::Brx { index, targets } => return self.brx(*index, targets, mask),
            Op::Call(call) => return self.call(call, mask),
            Op::System { call, args, returns } => return self.system(*call, args, returns, mask),
            Op::Ret => return self.ret(mask),
            Op::Exit => return self.exit(mask),
            Op::Trap => {
                self.launch.stop(Stop::Trap);
                return Flow::Yield;
            }
            Op::Yield => return Flow::Yield,
            Op::Barrier { kind, aligned, id, count, d, p, negate } => {
                self.gather();
                let mask = self.guarded(mask);
                let op =
                    BarrierOp { kind: *kind, aligned: *aligned, id: *id, count: *count, d: *d, p: *p, negate: *negate };
                return self.barrier(op, mask);
            }
            Op::Fence { is_wide } => {
                if *is_wide {
                    self.fence();
                }
            }
            _ => return self.execute_collective(op, mask),
        }
        Flow::Next
    }

    /// The lanes of the group whose guard holds, after others joined it.
    pub(super) fn guarded(&self, mask: u32) -> u32 {
        let guard = self.launch.program.code[self.group.pc as usize].guard;
        if guard == Guard::NONE {
            return self.group.mask;
        }
        let p = self.frame().p(guard.predicate);
        mask | self.group.mask & if guard.negate { !p } else { p }
    }

    fn select(&mut self, d: Reg, a: Reg, b: Reg, p: Reg, mask: u32) {
        let k = self.launch.constants;
        let frame = self.frame_mut();
        let p = frame.p(p);
        if d.class() == Class::Double {
            let (x, y) = (frame.d(k, a), frame.d(k, b));
            let value = core::array::from_fn(|i| if p >> i & 1 == 1 { x[i] } else { y[i] });
            frame.set_d(d, &value, mask);
        } else {
            let (x, y) = (frame.w(k, a), frame.w(k, b));
            let value = core::array::from_fn(|i| if p >> i & 1 == 1 { x[i] } else { y[i] });
            frame.set_w(d, &value, mask);
        }
    }

    /// Sum or difference with carry or borrow.
    fn carry(&mut self, subtract: bool, d: Reg, src: [Reg; 2], flags: [Reg; 2], mask: u32) {
        let double = d.class() == Class::Double;
        let (x, y) = (self.doubles(src[0]), self.doubles(src[1]));
        let frame = self.frame_mut();
        let carry = frame.p(flags[0]);
        let mut out = 0;
        let bits = if double { 64 } else { 32 };
        let ones = if double { u64::MAX } else { u64::from(u32::MAX) };
        // The flag of a subtraction is set when nothing is borrowed, as on hardware: a − b is
        // a + !b + 1, and without a flag to take in, that 1 stands.
        let starts = subtract && flags[0].is_constant();
        for lane in lanes(mask) {
            let flag = u128::from(carry >> lane & 1);
            let b = if subtract { !y[lane] & ones } else { y[lane] };
            let wide = u128::from(x[lane]) + u128::from(b) + if starts { 1 } else { flag };
            out |= ((wide >> bits & 1) as u32) << lane;
            frame.set_lane(d, lane, wide as u64 & ones);
        }
        frame.set_p(flags[1], out, mask);
    }
}
