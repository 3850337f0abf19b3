//! Muon, all matrices of some stacks in one launch: which stacks one launch takes, and how many tiles their matrices are.

use super::super::call::{
    Call, GramArgs, GramStack, Launch, MUON_CHUNK as CHUNK, MuonMomentumArgs, MuonStack, MuonStepArgs, MuonStepStack,
    NewtonSchulzArgs, NewtonSchulzStack, Ptr, PtrMut, STACKS, call,
};
use super::{Lowering, Rung, args, size};
use crate::program::{
    Gram, MUON_CHUNK, MUON_EPS, MUON_LARGEST, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NewtonSchulz, Stack,
};

const _: () = assert!(CHUNK == MUON_CHUNK, "a block's part of a matrix is what the op says");

/// A stack, and how much of the others lies before it.
#[derive(Clone, Copy)]
struct Part {
    stack: Stack,
    matrices: usize,
    numbers: usize,
    squares: usize,
    chunks: usize,
}

impl Part {
    fn each(stacks: &[Stack]) -> Vec<Part> {
        let (mut matrices, mut numbers, mut squares, mut chunks) = (0, 0, 0, 0);
        let mut next = |&stack: &Stack| {
            let part = Part { stack, matrices, numbers, squares, chunks };
            matrices += stack.matrices;
            numbers += stack.matrices * stack.len();
            squares += stack.matrices * stack.squares().len();
            chunks += stack.matrices * stack.chunks();
            part
        };
        stacks.iter().map(&mut next).collect()
    }

    /// Its matrices, of the row that all lie in.
    fn of(&self, row: Mat) -> Mat {
        let Stack { matrices, rows, cols } = self.stack;
        Mat { offset: row.offset + self.numbers, rows: matrices * rows, cols, ..row }
    }

    /// Its `[S, S]`, of the row of all.
    fn square_of(&self, row: Mat) -> Mat {
        let Stack { matrices, rows, cols } = self.stack.squares();
        Mat { offset: row.offset + self.squares, rows: matrices * rows, cols, ..row }
    }

    /// Its sums of squares, of the row of all.
    fn chunks_of(&self, row: Mat) -> Mat {
        Mat { offset: row.offset + self.chunks, cols: self.stack.matrices * self.stack.chunks(), ..row }
    }
}

/// Tiles of a matrix that a kernel's blocks make, one each.
fn tiles(kernel: &Call, rows: usize, cols: usize) -> [usize; 2] {
    let block = kernel.block();
    [rows.div_ceil(block.rows as usize), cols.div_ceil(block.cols as usize)]
}

/// As many stacks as a launch takes; those that there are not have no matrices.
fn filled<T: Copy>(none: T, some: impl Iterator<Item = T>) -> [T; STACKS] {
    let mut all = [none; STACKS];
    all.iter_mut().zip(some).for_each(|(slot, stack)| *slot = stack);
    all
}

impl Lowering<'_> {
    /// What the products of some stacks are made by: those that a rung takes, as many at a time as a launch does.
    fn grouped(&self, stacks: &[Stack], operands: impl Fn(&Part) -> Vec<Mat>) -> Vec<(Rung, Vec<Part>)> {
        let choose = |part: Part| (self.choose(&[(Rung::Mma, self.vectorizes(&operands(&part)))]), part);
        let all: Vec<(Rung, Part)> = Part::each(stacks).into_iter().map(choose).collect();
        let mut groups = Vec::new();
        for rung in Rung::ALL {
            let taken: Vec<Part> = all.iter().filter(|(of, _)| *of == rung).map(|(_, part)| *part).collect();
            groups.extend(taken.chunks(STACKS).map(|group| (rung, group.to_vec())));
        }
        groups
    }

    pub(super) fn muon_momentum(&mut self, op: &MuonMomentum) -> Vec<Launch> {
        let MuonMomentum { grads, metrics, scale, places, ref stacks, clip, m, x, sumsq } = *op;
        let launch = |group: &[Part]| {
            let none = MuonStack { x: PtrMut::NULL, matrices: 0, rows: 0, cols: 0, first: 0 };
            let some = group.iter().map(|part| {
                let (Stack { matrices, rows, cols }, x, first) = (part.stack, part.of(x), part.matrices);
                args!(self, MuonStack { x, matrices, rows, cols, first })
            });
            let stack = filled(none, some);
            let blocks = group.iter().map(|part| part.chunks_of(sumsq).cols).sum();
            let (step, sumsq) = (self.step(), group[0].chunks_of(sumsq));
            let args = args!(
                self,
                MuonMomentumArgs {
                    stack,
                    step,
                    grads,
                    metrics,
                    scale,
                    places,
                    m,
                    sumsq,
                    clip,
                    momentum: MUON_MOMENTUM,
                    magnified: MuonMomentum::magnified(clip),
                    largest: MUON_LARGEST,
                    ring: metrics.rows,
                }
            );
            call::muon_momentum(args).over([size(blocks), 1, 1])
        };
        Part::each(stacks).chunks(STACKS).map(launch).collect()
    }

    pub(super) fn gram(&mut self, op: &Gram) -> Vec<Launch> {
        let Gram { x, sumsq, ref stacks, terms, out } = *op;
        let [linear, square] = terms.unwrap_or([0.0, 1.0]);
        let launch = |(rung, group): (Rung, Vec<Part>)| {
            let kernel = match (rung, terms) {
                (Rung::Mma, None) => call::gram_mma,
                (Rung::Mma, Some(_)) => call::gram_mma_terms,
                (Rung::Plain, None) => call::gram_plain,
                (Rung::Plain, Some(_)) => call::gram_plain_terms,
            };
            let with = |stack| kernel(GramArgs { stack, linear, square, eps: MUON_EPS });
            let none = GramStack {
                x: Ptr::NULL,
                sumsq: Ptr::NULL,
                out: PtrMut::NULL,
                matrices: 0,
                rows: 0,
                cols: 0,
                tiles: 0,
            };
            let empty = with([none; STACKS]);
            let tiles_of = |side| match (rung, tiles(&empty, side, side)) {
                (Rung::Mma, [down, _]) => down * (down + 1) / 2,
                (Rung::Plain, [down, across]) => down * across,
            };
            let some = group.iter().map(|part| {
                let (Stack { matrices, rows, cols }, tiles) = (part.stack, tiles_of(part.stack.short()));
                let (x, sumsq, out) = (part.of(x), sumsq.map(|row| part.chunks_of(row)), part.square_of(out));
                args!(self, GramStack { x, sumsq, out, matrices, rows, cols, tiles })
            });
            let stack = filled(none, some);
            let blocks = stack.iter().map(|of| of.matrices * of.tiles).sum();
            with(stack).over([blocks, 1, 1])
        };
        self.grouped(stacks, |part| vec![part.of(x), part.square_of(out)]).into_iter().map(launch).collect()
    }

    pub(super) fn newton_schulz(&mut self, op: &NewtonSchulz) -> Vec<Launch> {
        let NewtonSchulz { x, sumsq, b, ref stacks, a: linear, out } = *op;
        let launch = |(rung, group): (Rung, Vec<Part>)| {
            let kernel = match rung {
                Rung::Mma => call::newton_schulz_mma,
                Rung::Plain => call::newton_schulz_plain,
            };
            let with = |stack| kernel(NewtonSchulzArgs { stack, linear, eps: MUON_EPS });
            let none = NewtonSchulzStack {
                x: Ptr::NULL,
                sumsq: Ptr::NULL,
                b: Ptr::NULL,
                out: PtrMut::NULL,
                matrices: 0,
                rows: 0,
                cols: 0,
                tiles: 0,
            };
            let empty = with([none; STACKS]);
            let some = group.iter().map(|part| {
                let Stack { matrices, rows, cols } = part.stack;
                let [down, across] = tiles(&empty, rows, cols);
                let (x, sumsq, b) = (part.of(x), sumsq.map(|row| part.chunks_of(row)), part.square_of(b));
                let (out, tiles) = (part.of(out), down * across);
                args!(self, NewtonSchulzStack { x, sumsq, b, out, matrices, rows, cols, tiles })
            });
            let stack = filled(none, some);
            let blocks = stack.iter().map(|of| of.matrices * of.tiles).sum();
            with(stack).over([blocks, 1, 1])
        };
        self.grouped(stacks, |part| vec![part.of(x), part.square_of(b), part.of(out)]).into_iter().map(launch).collect()
    }

    pub(super) fn muon_step(&mut self, op: &MuonStep) -> Vec<Launch> {
        let MuonStep { metrics, x, b, places, ref stacks, a: linear, rate, weight_decay, params, stored } = *op;
        let launch = |(rung, group): (Rung, Vec<Part>)| {
            let kernel = match rung {
                Rung::Mma => call::newton_schulz_mma_step,
                Rung::Plain => call::newton_schulz_plain_step,
            };
            let with = |stack: [MuonStepStack; STACKS]| {
                let (step, ring) = (self.step(), metrics.rows);
                kernel(args!(
                    self,
                    MuonStepArgs { stack, step, metrics, places, params, stored, linear, rate, weight_decay, ring }
                ))
            };
            let none = MuonStepStack { x: Ptr::NULL, b: Ptr::NULL, matrices: 0, rows: 0, cols: 0, tiles: 0, first: 0 };
            let empty = with([none; STACKS]);
            let some = group.iter().map(|part| {
                let Stack { matrices, rows, cols } = part.stack;
                let [down, across] = tiles(&empty, rows, cols);
                let (x, b, tiles, first) = (part.of(x), part.square_of(b), down * across, part.matrices);
                args!(self, MuonStepStack { x, b, matrices, rows, cols, tiles, first })
            });
            let stack = filled(none, some);
            let blocks = stack.iter().map(|of| of.matrices * of.tiles).sum();
            with(stack).over([blocks, 1, 1])
        };
        self.grouped(stacks, |part| vec![part.of(x), part.square_of(b)]).into_iter().map(launch).collect()
    }
}
