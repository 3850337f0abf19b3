//! Muon, all matrices of some stacks in one launch: which stacks one launch takes, and how many tiles their matrices are.

use super::super::call::{
    Call, GramArgs, GramStack, Launch, MUON_CHUNK, MuonMomentumArgs, MuonStack, MuonStepArgs, NewtonSchulzArgs,
    NewtonSchulzStack, Ptr, PtrMut, STACKS, call,
};
use super::{Lowering, Rung, args, size};
use crate::program::{Gram, MUON_EPS, MUON_MOMENTUM, Mat, MuonMomentum, MuonStep, NewtonSchulz, Stack};

/// Each stack as one matrix, of the row that all lie in.
fn parts(row: Mat, stacks: impl IntoIterator<Item = Stack>) -> impl Iterator<Item = Mat> {
    let mut offset = row.offset;
    stacks.into_iter().map(move |Stack { matrices, rows, cols }| {
        let part = Mat { region: row.region, offset, rows: matrices * rows, cols };
        offset += part.len();
        part
    })
}

/// Blocks of so many rows and columns that cover a matrix.
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
    fn grouped<'a, T: Copy>(
        &self,
        all: &'a [T],
        operands: impl Fn(&T) -> Vec<Mat> + 'a,
    ) -> impl Iterator<Item = (Rung, Vec<T>)> + 'a {
        let rungs: Vec<Rung> =
            all.iter().map(|of| self.choose(&[(Rung::Mma, self.vectorizes(&operands(of)))])).collect();
        Rung::ALL.into_iter().flat_map(move |rung| {
            let taken = all.iter().zip(&rungs).filter(|(_, of)| **of == rung).map(|(of, _)| *of);
            let taken: Vec<T> = taken.collect();
            taken.chunks(STACKS).map(|group| (rung, group.to_vec())).collect::<Vec<_>>()
        })
    }

    /// Some stacks at a time, and how many chunks they are.
    fn chunked(&self, x: Mat, stacks: &[Stack]) -> Vec<([MuonStack; STACKS], u32)> {
        let mut first = 0;
        let stack = |(x, &Stack { matrices, rows, cols }): (Mat, &Stack)| {
            let before = first;
            first += matrices;
            args!(self, MuonStack { x, matrices, rows, cols, first: before })
        };
        let all: Vec<MuonStack> = parts(x, stacks.iter().copied()).zip(stacks).map(stack).collect();
        let group = |(of, stacks): (&[MuonStack], &[Stack])| {
            let none = MuonStack { x: PtrMut::NULL, matrices: 0, rows: 0, cols: 0, first: 0 };
            let chunks = stacks.iter().map(|stack| stack.matrices * stack.len().div_ceil(MUON_CHUNK)).sum();
            (filled(none, of.iter().copied()), size(chunks))
        };
        all.chunks(STACKS).zip(stacks.chunks(STACKS)).map(group).collect()
    }

    pub(super) fn muon_momentum(&mut self, op: &MuonMomentum) -> Vec<Launch> {
        let MuonMomentum { grads, metrics, scale, places, ref stacks, clip, m, x } = *op;
        let mut launches = Vec::new();
        for (stack, chunks) in self.chunked(x, stacks) {
            let partials = self.partials::<f32>(0, chunks as usize);
            let step = self.step();
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
                    partials,
                    clip,
                    momentum: MUON_MOMENTUM,
                    eps: MUON_EPS,
                    ring: metrics.rows,
                }
            );
            launches
                .extend([call::muon_momentum, call::muon_direction].map(|kernel| kernel(args).over([chunks, 1, 1])));
        }
        launches
    }

    pub(super) fn gram(&mut self, op: &Gram) -> Vec<Launch> {
        let Gram { x, ref stacks, terms, out } = *op;
        let squares = stacks.iter().map(|stack| stack.squares());
        let all: Vec<(Stack, Mat, Mat)> = (stacks.iter().copied())
            .zip(parts(x, stacks.iter().copied()))
            .zip(parts(out, squares))
            .map(|((stack, x), out)| (stack, x, out))
            .collect();
        let [linear, square] = terms.unwrap_or([0.0, 1.0]);
        let launch = |(rung, group): (Rung, Vec<(Stack, Mat, Mat)>)| {
            let kernel = match (rung, terms) {
                (Rung::Mma, None) => call::gram_mma,
                (Rung::Mma, Some(_)) => call::gram_mma_terms,
                (Rung::Plain, None) => call::gram_plain,
                (Rung::Plain, Some(_)) => call::gram_plain_terms,
            };
            let none = GramStack { x: Ptr::NULL, out: PtrMut::NULL, matrices: 0, rows: 0, cols: 0, tiles: 0 };
            let empty = kernel(GramArgs { stack: [none; STACKS], linear, square });
            let tiles_of = |side| match (rung, tiles(&empty, side, side)) {
                (Rung::Mma, [down, _]) => down * (down + 1) / 2,
                (Rung::Plain, [down, across]) => down * across,
            };
            let some = group.iter().map(|&(stack @ Stack { matrices, rows, cols }, x, out)| {
                args!(self, GramStack { x, out, matrices, rows, cols, tiles: tiles_of(stack.short()) })
            });
            let stack = filled(none, some);
            let blocks = stack.iter().map(|of| of.matrices * of.tiles).sum();
            kernel(GramArgs { stack, linear, square }).over([blocks, 1, 1])
        };
        self.grouped(&all, |(_, x, out)| vec![*x, *out]).map(launch).collect()
    }

    pub(super) fn newton_schulz(&mut self, op: &NewtonSchulz) -> Vec<Launch> {
        let NewtonSchulz { x, b, ref stacks, a: linear, out } = *op;
        let squares = stacks.iter().map(|stack| stack.squares());
        let all: Vec<(Stack, [Mat; 3])> = (stacks.iter().copied())
            .zip(parts(x, stacks.iter().copied()))
            .zip(parts(b, squares))
            .zip(parts(out, stacks.iter().copied()))
            .map(|(((stack, x), b), out)| (stack, [x, b, out]))
            .collect();
        let launch = |(rung, group): (Rung, Vec<(Stack, [Mat; 3])>)| {
            let kernel = match rung {
                Rung::Mma => call::newton_schulz_mma,
                Rung::Plain => call::newton_schulz_plain,
            };
            let (x, b, out) = (Ptr::NULL, Ptr::NULL, PtrMut::NULL);
            let none = NewtonSchulzStack { x, b, out, matrices: 0, rows: 0, cols: 0, tiles: 0 };
            let empty = kernel(NewtonSchulzArgs { stack: [none; STACKS], linear });
            let some = group.iter().map(|&(Stack { matrices, rows, cols }, [x, b, out])| {
                let [down, across] = tiles(&empty, rows, cols);
                args!(self, NewtonSchulzStack { x, b, out, matrices, rows, cols, tiles: down * across })
            });
            let stack = filled(none, some);
            let blocks = stack.iter().map(|of| of.matrices * of.tiles).sum();
            kernel(NewtonSchulzArgs { stack, linear }).over([blocks, 1, 1])
        };
        self.grouped(&all, |(_, operands)| operands.to_vec()).map(launch).collect()
    }

    pub(super) fn muon_step(&mut self, op: &MuonStep) -> Vec<Launch> {
        let MuonStep { metrics, x, places, ref stacks, rate, weight_decay, params, stored } = *op;
        let launch = |(stack, chunks)| {
            let (step, ring) = (self.step(), metrics.rows);
            let args =
                args!(self, MuonStepArgs { stack, step, metrics, places, params, stored, rate, weight_decay, ring });
            call::muon_step(args).over([chunks, 1, 1])
        };
        self.chunked(x, stacks).into_iter().map(launch).collect()
    }
}
