//! The blocks of a launch: in seeded order, on the host's cores where that cannot show.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::collections::VecDeque;

use super::block::{Block, Progress, Rng, stop_of};
use super::launch::{Launch, Outcome, Worker};
use crate::check::{Collector, Kind, Spot};
use crate::count::Counters;
use crate::isa::{AtomicOp, AtomicType, Op, Program, Space};
use crate::memory::{Arena, Place};

/// Rounds of a block's turn when others wait.
const ROUNDS: u32 = 64;

/// Whether blocks may see each other's work while they run: by atomics whose order shows, or by
/// volatile and ordered accesses. Then they take turns on one thread, for the same seed always in
/// the same order.
pub fn blocks_communicate(program: &Program) -> bool {
    program.code.iter().any(|inst| match &inst.op {
        Op::Atomic { op, ty, space, d, .. } => {
            let order_shows = !d.is_empty()
                || matches!(op, AtomicOp::Exch | AtomicOp::Cas | AtomicOp::Inc | AtomicOp::Dec)
                || matches!(
                    ty,
                    AtomicType::F32
                        | AtomicType::F64
                        | AtomicType::F16
                        | AtomicType::Bf16
                        | AtomicType::F16x2
                        | AtomicType::Bf16x2
                );
            *space != Space::Shared && order_shows
        }
        Op::Load { order, space, .. } | Op::Store { order, space, .. } => order.is_strong() && *space != Space::Shared,
        Op::Bulk(_) => true,
        Op::System { .. } => true,
        _ => false,
    })
}

/// Runs a launch to its end.
pub fn run(launch: &Launch<'_>) -> Outcome {
    let blocks: u64 = launch.grid.iter().map(|n| u64::from(*n)).product();
    let mut order: Vec<u64> = (0..blocks).collect();
    Rng(launch.options.seed).shuffle(&mut order);
    let cores = match launch.options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let cores = cores.min(blocks as usize);
    let workers = if cores <= 1 || launch.communicates {
        vec![in_turns(launch, &order)]
    } else {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|_| scope.spawn(|| in_parallel(launch, &order, &next))).collect();
            threads.into_iter().filter_map(|t| t.join().ok()).collect()
        })
    };
    finish(launch, workers)
}

/// Blocks that cannot see each other, each to its end.
fn in_parallel(launch: &Launch<'_>, order: &[u64], next: &AtomicUsize) -> Worker {
    let mut worker = Worker::new(launch);
    while let Some(linear) = order.get(next.fetch_add(1, Relaxed)) {
        let mut block = Block::new(launch, *linear, rank(launch, *linear));
        let mut polls = 0;
        while block.run(launch, &mut worker, u32::MAX) == Progress::Paused {
            // A block that polls by itself waits for ever.
            polls += 1;
            if polls > 1000 {
                block.deadlock(launch, &mut worker);
            }
        }
        retire(block, launch, &mut worker);
        if launch.is_stopped() {
            break;
        }
    }
    worker
}

/// Blocks in turns: as many at once as the device would hold.
fn in_turns(launch: &Launch<'_>, order: &[u64]) -> Worker {
    let mut worker = Worker::new(launch);
    let threads = launch.threads().max(1);
    let per_sm = (launch.profile.threads_per_sm / threads).clamp(1, launch.profile.blocks_per_sm);
    let resident = (launch.profile.sm_count * per_sm).max(1) as usize;
    let mut waiting = order.iter();
    let mut running: VecDeque<Block> = VecDeque::new();
    let mut idle = 0u64;
    loop {
        if launch.is_stopped() {
            for mut block in running {
                block.stop_all();
                retire(block, launch, &mut worker);
            }
            return worker;
        }
        // A new block runs before the old ones go on: most never wait.
        let mut block = if running.len() < resident
            && let Some(linear) = waiting.next()
        {
            Block::new(launch, *linear, rank(launch, *linear))
        } else if let Some(block) = running.pop_front() {
            block
        } else {
            return worker;
        };
        let alone = running.is_empty() && waiting.len() == 0;
        let progress = block.run(launch, &mut worker, ROUNDS);
        match progress {
            Progress::Done => {
                idle = 0;
                retire(block, launch, &mut worker);
            }
            Progress::Paused => {
                idle = if block.is_polling() { idle + 1 } else { 0 };
                let patience = 1000 * (running.len() as u64 + 1);
                if idle > patience && (alone || running.len() + 1 == resident || waiting.len() == 0) {
                    block.deadlock(launch, &mut worker);
                    retire(block, launch, &mut worker);
                } else {
                    running.push_back(block);
                }
            }
        }
    }
}

/// Rank of a block in its cluster.
fn rank(launch: &Launch<'_>, linear: u64) -> u32 {
    let index = launch.block_index(linear);
    let [cx, cy, _] = launch.cluster;
    let at: [u32; 3] = core::array::from_fn(|i| index[i] % launch.cluster[i]);
    at[0] + cx * (at[1] + cy * at[2])
}

fn retire(mut block: Block, launch: &Launch<'_>, worker: &mut Worker) {
    block.finish(launch, worker);
    if !block.common.printed.is_empty() {
        worker.printed.push((block.common.linear, block.common.printed));
    }
}

/// Whether another block wrote, in the end, what a block read: then the race is the fault.
fn written_by_another(launch: &Launch<'_>, spot: &Spot) -> bool {
    let Place::Inside(index) = Arena::find(launch.table, spot.address) else { return false };
    let allocation = &launch.table[index];
    let offset = (spot.address - allocation.base) as usize;
    let writer = allocation.page(offset, launch.id).writer(offset, 15);
    writer.is_some_and(|block| u64::from(block) != spot.block)
}

fn finish(launch: &Launch<'_>, workers: Vec<Worker>) -> Outcome {
    let mut counters = Counters::default();
    let mut findings = Collector::default();
    let mut printed = Vec::new();
    let mut executed = vec![(0, 0); launch.program.code.len()];
    for mut worker in workers {
        for (pc, spot) in std::mem::take(&mut worker.unwritten) {
            if !written_by_another(launch, &spot) {
                worker.report(launch, Kind::UninitGlobalRead, pc, spot, String::new);
            }
        }
        counters.add(&worker.counters);
        findings.merge(worker.findings);
        printed.extend(worker.printed);
        for (sum, one) in executed.iter_mut().zip(&worker.executed) {
            sum.0 += one.0;
            sum.1 += one.1;
        }
    }
    printed.sort_by_key(|(block, _)| *block);
    Outcome {
        counters,
        findings,
        printed: printed.into_iter().map(|(_, text)| text).collect(),
        trap: stop_of(launch.stopped.load(Relaxed)),
        executed,
    }
}
