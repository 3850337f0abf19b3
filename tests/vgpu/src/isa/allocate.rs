//! How many registers a kernel needs, from the liveness of its values.
//!
//! A value lives from its definition to its last use on any path. The most that live at once, in
//! 32-bit registers, is what an allocator without spills cannot do with less of; ptxas adds a few
//! for addresses and scheduling.

use super::op::Op;
use super::program::{FunctionInfo, Guard, Inst, Program};
use super::reg::{Class, Reg};
use super::visit::{Role, visit};

/// Registers that ptxas uses beyond live values.
const OVERHEAD: u32 = 6;
/// Counts are multiples of this.
const GRANULE: u32 = 8;

/// Estimates the registers of every function.
pub(super) fn allocate(program: &mut Program) {
    for i in 0..program.functions.len() {
        let info = &program.functions[i];
        let code = &program.code[info.entry as usize..info.end as usize];
        let live = most_live(code, info);
        let registers = (live + OVERHEAD).next_multiple_of(GRANULE).clamp(16, 255);
        program.functions[i].registers = registers;
    }
}

/// A set of registers of a function.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn insert(&mut self, i: usize) -> bool {
        let (word, bit) = (&mut self.0[i / 64], 1 << (i % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn remove(&mut self, i: usize) -> bool {
        let (word, bit) = (&mut self.0[i / 64], 1 << (i % 64));
        let was = *word & bit != 0;
        *word &= !bit;
        was
    }
}

/// Index of a register among words, then doubles; none for predicates.
fn index(reg: Reg, words: usize) -> Option<(usize, u32)> {
    match reg.class() {
        Class::Word => Some((reg.index(), 1)),
        Class::Double => Some((words + reg.index(), 2)),
        Class::Predicate => None,
    }
}

fn most_live(code: &[Inst], info: &FunctionInfo) -> u32 {
    let words = info.slots[0] as usize;
    let size = (words + info.slots[1] as usize) / 64 + 1;
    // Basic blocks: first instruction of each.
    let mut starts = vec![false; code.len() + 1];
    let local = |pc: u32| (pc - info.entry) as usize;
    for (i, inst) in code.iter().enumerate() {
        match &inst.op {
            Op::Bra { target } => starts[local(*target)] = true,
            Op::Brx { targets, .. } => targets.iter().for_each(|t| starts[local(*t)] = true),
            Op::Ret | Op::Exit => {}
            _ => continue,
        }
        starts[i + 1] = true;
    }
    let mut blocks = vec![0];
    blocks.extend((1..code.len()).filter(|i| starts[*i]));
    let block_of = |i: usize| blocks.partition_point(|b| *b <= i) - 1;
    let end = |b: usize| blocks.get(b + 1).copied().unwrap_or(code.len());
    let successors: Vec<Vec<usize>> = (0..blocks.len())
        .map(|b| {
            let last = &code[end(b) - 1];
            let mut next: Vec<usize> = match &last.op {
                Op::Bra { target } => vec![block_of(local(*target))],
                Op::Brx { targets, .. } => targets.iter().map(|t| block_of(local(*t))).collect(),
                _ => Vec::new(),
            };
            let stops =
                matches!(last.op, Op::Bra { .. } | Op::Brx { .. } | Op::Ret | Op::Exit) && last.guard == Guard::NONE;
            if !stops && end(b) < code.len() {
                next.push(b + 1);
            }
            next
        })
        .collect();
    let mut live_in = vec![Set(vec![0; size]); blocks.len()];
    let leave = |b: usize, live_in: &[Set]| {
        let mut live = Set(vec![0; size]);
        for next in &successors[b] {
            live.0.iter_mut().zip(&live_in[*next].0).for_each(|(a, b)| *a |= b);
        }
        live
    };
    let mut changed = true;
    while changed {
        changed = false;
        for b in (0..blocks.len()).rev() {
            let mut live = leave(b, &live_in);
            for inst in code[blocks[b]..end(b)].iter().rev() {
                step(inst, words, &mut live);
            }
            if live != live_in[b] {
                live_in[b] = live;
                changed = true;
            }
        }
    }
    let mut most = 0;
    for b in 0..blocks.len() {
        let mut live = leave(b, &live_in);
        let mut now: i64 = count(&live, words);
        most = most.max(now);
        for inst in code[blocks[b]..end(b)].iter().rev() {
            now += step(inst, words, &mut live);
            most = most.max(now);
        }
    }
    most.max(0) as u32
}

fn count(live: &Set, words: usize) -> i64 {
    let mut sum = 0;
    for (i, word) in live.0.iter().enumerate() {
        let mut left = *word;
        while left != 0 {
            let at = i * 64 + left.trailing_zeros() as usize;
            sum += if at < words { 1 } else { 2 };
            left &= left - 1;
        }
    }
    sum
}

/// From behind an instruction to before it; by how many registers the live values grow.
fn step(inst: &Inst, words: usize, live: &mut Set) -> i64 {
    let mut change = 0;
    let always = inst.guard == Guard::NONE;
    visit(inst, |reg, role| {
        if role == Role::Define
            && always
            && let Some((i, size)) = index(reg, words)
            && live.remove(i)
        {
            change -= i64::from(size);
        }
    });
    visit(inst, |reg, role| {
        if role == Role::Use
            && let Some((i, size)) = index(reg, words)
            && live.insert(i)
        {
            change += i64::from(size);
        }
    });
    change
}
