//! Times of programs and ops on a GPU, taken by events of the device: the host is ahead of it, or took no part at all.

use super::call::{KERNELS, Launch};
use super::gpu::device_fault;
use super::{ALIGN, Cuda};
use crate::backend::Backend;
use crate::error::Result;
use crate::program::{Mat, Op, Operand, Program, StepArgs};
use crate::raw::gpu::{Fault, Graph, Mark, Memory};

/// What one kernel costs, as far as it can be known before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Of a thread.
    pub registers: i32,
    /// That one multiprocessor holds at once.
    pub blocks: i32,
}

/// One launch, timed.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// Place of its op in the program.
    pub op: usize,
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// What it uses.
    pub resources: Resources,
    /// From the first launch's beginning to its own beginning, and to its end.
    pub span_ms: [f32; 2],
}

/// One step, launch by launch.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedStep {
    /// Between two events that nothing stands between: what an event adds to each span.
    pub empty_ms: f32,
    /// Every launch, in order.
    pub launches: Vec<Timed>,
}

/// Steps as they run when nobody looks into them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steady {
    /// Mean time of a step, in milliseconds.
    pub step_ms: f64,
    /// Of the core clock, right behind the last of them.
    pub clock_ghz: f64,
}

/// Launches of a rotation at most: of tiny ops the start is what counts, wherever their operands are.
const MOST_COPIES: usize = 1024;

impl Cuda {
    /// Runs a program for some steps, whole graphs without waiting, and times them.
    pub fn time_steps(&mut self, program: &Program, args: &StepArgs, steps: usize) -> Result<Steady> {
        let failed = || device_fault("time a step");
        let marks = [self.context.mark().map_err(failed())?, self.context.mark().map_err(failed())?];
        let clock = self.gpu.clock(&self.context)?;
        // The device is busy with one when the first that counts is given to it.
        self.run(program, args)?;
        self.context.put(&marks[0]).map_err(failed())?;
        for _ in 0..steps {
            self.run(program, args)?;
        }
        self.context.put(&marks[1]).map_err(failed())?;
        let clock_ghz = clock.read(&self.context)?;
        let ms = marks[0].ms_until(&marks[1]).map_err(failed())?;
        Ok(Steady { step_ms: f64::from(ms) / steps as f64, clock_ghz })
    }

    /// Runs a program for some steps and times every launch, by events between the kernels in the very graph.
    pub fn time(&mut self, program: &Program, args: &StepArgs, steps: usize) -> Result<Vec<TimedStep>> {
        self.prepare(program)?;
        let _range = self.gpu.range(&program.name);
        self.queue(&[*args])?;
        self.enqueue(&self.next_step(0), "next_step")?;
        self.time_launches(&self.programs[&program.id].launches, steps).map_err(device_fault("time a kernel"))
    }

    fn time_launches(&self, list: &[(&'static str, Vec<Launch>)], steps: usize) -> Result<Vec<TimedStep>, Fault> {
        let context = &self.context;
        let launches: Vec<(usize, &Launch)> =
            list.iter().enumerate().flat_map(|(op, (_, list))| list.iter().map(move |launch| (op, launch))).collect();
        // One before the rest: what lies between it and the first is an event alone.
        let empty = context.mark()?;
        let marks = (0..=launches.len()).map(|_| context.mark()).collect::<Result<Vec<Mark>, _>>()?;
        let mut graph = context.capture(|| {
            context.put(&empty)?;
            context.put(&marks[0])?;
            launches.iter().zip(&marks[1..]).try_for_each(|((_, launch), mark)| {
                self.code.launch(context, launch)?;
                context.put(mark)
            })
        })?;
        let resources = launches.iter().map(|(_, launch)| {
            let (registers, blocks) = self.code.occupancy(launch.call.kernel)?;
            Ok(Resources { registers, blocks })
        });
        let resources = resources.collect::<Result<Vec<_>, Fault>>()?;
        // The first replay brings the graph to the device.
        graph.replay()?;
        context.synchronize()?;
        let step = |_| {
            graph.replay()?;
            // A mark in a graph is put when the graph gets there: until then it stands where it stood before.
            context.synchronize()?;
            let ends = marks.iter().map(|mark| marks[0].ms_until(mark)).collect::<Result<Vec<f32>, _>>()?;
            let timed = launches.iter().zip(&resources).zip(ends.windows(2));
            let launches = timed.map(|((&(op, launch), &resources), span)| Timed {
                op,
                kernel: launch.name(),
                grid: launch.grid,
                threads: KERNELS[launch.call.kernel].threads,
                resources,
                span_ms: [span[0], span[1]],
            });
            Ok(TimedStep { empty_ms: empty.ms_until(&marks[0])?, launches: launches.collect() })
        };
        (0..steps).map(step).collect()
    }

    /// An op over so many copies of its operands that between two runs over one of them `bytes` of others are moved: more than
    /// the cache holds, so that it finds none of them there. What the op would change in the plan's memory stays as it is.
    pub fn rotate(&mut self, op: &Op, args: &StepArgs, bytes: usize) -> Result<Rotation<'_>> {
        let failed = || device_fault("copy the operands of an op");
        let _ = self.lower(op)?; // Tables and workspace.
        self.queue(&[*args])?;
        self.enqueue(&self.next_step(0), "next_step")?;

        let (touched, pieces) = self.pieces(op);
        let set: usize = pieces.iter().map(|piece| piece.len).sum();
        let room = self.gpu.free_bytes()? / 2 / set.max(1);
        let copies = (bytes.div_ceil(touched.max(1)) + 1).min(MOST_COPIES).min(room).max(1);
        let cuda = &*self;
        let memory = cuda
            .context
            .alloc(copies * set)
            .map_err(|fault| cuda.gpu.no_room(fault, "the copies of an op's operands", copies * set))?;
        let mut launches = Vec::new();
        let mut at = 0;
        for _ in 0..copies {
            let mut bases = vec![0; cuda.regions.len()];
            for piece in &pieces {
                let from = cuda.regions[piece.region] + piece.start;
                cuda.context.copy((&memory, at), (&cuda.arena, from), piece.len).map_err(failed())?;
                bases[piece.region] = (memory.address() + at as u64).wrapping_sub(piece.start as u64);
                at += piece.len;
            }
            launches.extend(cuda.lower_at(op, &bases).0);
        }
        let context = &cuda.context;
        let marks = [context.mark().map_err(failed())?, context.mark().map_err(failed())?];
        let graph = context.capture(|| {
            context.put(&marks[0])?;
            launches.iter().try_for_each(|launch| cuda.code.launch(context, launch))?;
            context.put(&marks[1])
        });
        Ok(Rotation { graph: graph.map_err(failed())?, marks, copies, cuda, memory })
    }

    /// Bytes that an op touches, and what must be copied for it: of each region the stretch from its first operand to its last.
    fn pieces(&self, op: &Op) -> (usize, Vec<Piece>) {
        let mut mats: Vec<Mat> = Vec::new();
        for Operand { mat, .. } in op.operands() {
            if !mats.contains(&mat) {
                mats.push(mat);
            }
        }
        let mut pieces: Vec<Piece> = Vec::new();
        let mut touched = 0;
        for mat in mats {
            let (region, width) = (mat.region.index(), self.plan.dtype(mat).bytes());
            let (first, end) = (mat.offset * width, (mat.offset + mat.len()) * width);
            touched += end - first;
            let start = first / ALIGN * ALIGN;
            match pieces.iter_mut().find(|piece| piece.region == region) {
                Some(piece) => {
                    let end = end.max(piece.start + piece.len);
                    piece.start = piece.start.min(start);
                    piece.len = end - piece.start;
                }
                None => pieces.push(Piece { region, start, len: end - start }),
            }
        }
        // Up to a full line: a region ends with one.
        pieces.iter_mut().for_each(|piece| piece.len = piece.len.next_multiple_of(ALIGN));
        (touched, pieces)
    }
}

/// A stretch of a region, in bytes.
struct Piece {
    region: usize,
    start: usize,
    len: usize,
}

/// An op over copies of its operands, one after the other: see [`Cuda::rotate`].
pub struct Rotation<'a> {
    graph: Graph,
    marks: [Mark; 2],
    copies: usize,
    cuda: &'a Cuda,
    #[allow(dead_code, reason = "the graph's kernels use it")]
    memory: Memory,
}

impl Rotation<'_> {
    /// Copies of the operands.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// Runs the op over each copy once: milliseconds of one run, mean.
    pub fn time_ms(&mut self) -> Result<f64> {
        let mut timed = || {
            self.graph.replay()?;
            self.cuda.context.synchronize()?;
            self.marks[0].ms_until(&self.marks[1])
        };
        let ms = timed().map_err(device_fault("time an op"))?;
        Ok(f64::from(ms) / self.copies as f64)
    }
}

impl Drop for Rotation<'_> {
    fn drop(&mut self) {
        // As for the whole backend: nothing may go while work that uses it is under way.
        let _ = self.cuda.context.synchronize();
    }
}
