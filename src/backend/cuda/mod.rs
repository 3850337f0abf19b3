//! Programs on an NVIDIA GPU: hand-written kernels, launched as whole CUDA graphs.
//!
//! An op is lowered to launches (`lower`), a program to one graph, which is recorded when it first runs. What changes from
//! step to step ([`StepArgs`]) reaches the device as the argument of a small kernel in front of it; so a step costs the host
//! two calls. Sampling replays graphs of several steps, each of which takes its arguments from a queue on the device.
//!
//! Memory is one arena for the plan's regions and a workspace for partial sums, both allocated before anything runs. Every
//! sum has a fixed order, nothing is added atomically: two runs on one kind of device are bitwise equal.

mod call;
mod gpu;
mod lower;
mod rates;
mod timing;
pub mod virtual_gpu;

pub use crate::raw::gpu::Carveout;
pub use gpu::{DRIVER_VARIABLE, Gpu, Launching, Naming, Options, built_with, count, driver_version, machine_code};
pub use lower::Rung;
pub use rates::Rates;
pub use timing::{Resources, Rotation, Steady, Timed, TimedStep};

use super::{Backend, Fetch, require_corpus};
use crate::data::Corpus;
use crate::error::{Error, Result};
use crate::program::{DType, Mat, Op, Plan, Program, ProgramId, StepArgs};
use crate::raw::gpu::{Arriving, Context, Fault, Graph, Memory, SMALL_BYTES};
use crate::stop::Stop;
use call::{Launch, Ptr, PtrMut, QUEUE, StepQueue, call as kernel};
use gpu::{Code, Tokenized, device_fault};
use lower::Lowering;
use std::collections::HashMap;
use std::sync::Arc;

/// The kernels that bring a step's arguments to the device; all others belong to an op.
pub const ARGUMENT_KERNELS: [&str; 2] = ["queue_steps", "next_step"];

/// Memory and recorded programs on one GPU.
pub struct Cuda {
    gpu: Arc<Gpu>,
    /// A stream of its own.
    context: Context,
    code: Arc<Code>,
    plan: Arc<Plan>,
    arena: Memory,
    /// First byte of each region in the arena.
    regions: Vec<usize>,
    /// The current step's arguments, and behind them the queue of the next.
    args: Memory,
    /// Cosines and sines by (positions, D).
    tables: HashMap<(u32, usize), Memory>,
    corpus: Option<Arc<Tokenized>>,
    /// The newest is the largest; recorded programs may still use older ones.
    workspaces: Vec<Memory>,
    programs: HashMap<ProgramId, Recorded>,
    stop: Stop,
}

/// A program, lowered, and what was recorded of it.
struct Recorded {
    name: String,
    /// Name and launches of each op.
    launches: Vec<(&'static str, Vec<Launch>)>,
    once: Option<Graph>,
    several: Option<Graph>,
}

impl Cuda {
    fn new(gpu: Arc<Gpu>, plan: Arc<Plan>) -> Result<Self> {
        let mut dtypes: Vec<DType> = plan.regions().iter().map(|r| r.dtype).filter(|d| d.bytes() == 2).collect();
        dtypes.dedup();
        assert!(dtypes.len() <= 1, "a plan stores f16 or bf16, this one both");
        let code = gpu.code(dtypes.first().copied().unwrap_or(DType::F16))?;
        let mut regions = Vec::with_capacity(plan.regions().len());
        let mut bytes = 0;
        for region in plan.regions() {
            regions.push(bytes);
            bytes += (region.len * region.dtype.bytes()).next_multiple_of(ALIGN);
        }
        let no_room = |fault| match gpu.no_room(fault, "the run", bytes) {
            Error::Input(message) => Error::Input(format!("{message}\n{}", plan.table())),
            other => other,
        };
        let context = gpu.context().with_own_stream().map_err(device_fault("open a stream"))?;
        let arena = context.alloc(bytes).map_err(no_room)?;
        let args = context.alloc((1 + QUEUE) * size_of::<StepArgs>()).map_err(no_room)?;
        let mut cuda = Cuda {
            gpu,
            context,
            code,
            plan: Arc::clone(&plan),
            arena,
            regions,
            args,
            tables: HashMap::new(),
            corpus: None,
            workspaces: Vec::new(),
            programs: HashMap::new(),
            stop: Stop::default(),
        };
        plan.constants().iter().try_for_each(|(mat, values)| cuda.write_bytes(*mat, bytemuck::cast_slice(values)))?;
        Ok(cuda)
    }

    fn locate(&self, mat: Mat) -> (usize, usize) {
        let width = self.plan.dtype(mat).bytes();
        (self.regions[mat.region.index()] + mat.offset * width, mat.len() * width)
    }

    /// Makes the tables that an op needs.
    fn prepare_op(&mut self, op: &Op) -> Result<()> {
        let contract = op.contract();
        if let Some((positions, head_dim)) = contract.rope {
            self.prepare_table(positions, head_dim)?;
        }
        require_corpus(&contract, &self.corpus)
    }

    fn prepare_table(&mut self, positions: u32, head_dim: usize) -> Result<()> {
        if self.tables.contains_key(&(positions, head_dim)) {
            return Ok(());
        }
        let values: Vec<[f32; 2]> = super::rope_angles(positions as usize, head_dim)
            .map(|angle| [angle.cos() as f32, angle.sin() as f32])
            .collect();
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let table = self.context.alloc(bytes.len());
        let table = table.map_err(|fault| self.gpu.no_room(fault, "the rotary table", bytes.len()))?;
        self.context.write(&table, 0, bytes).map_err(device_fault("copy the rotary table"))?;
        self.tables.insert((positions, head_dim), table);
        Ok(())
    }

    /// Address of each region's first element.
    fn bases(&self) -> Vec<u64> {
        self.regions.iter().map(|&offset| self.arena.address() + offset as u64).collect()
    }

    /// An op's launches over regions at these addresses, and the bytes of workspace that they want.
    fn lower_at(&self, op: &Op, regions: &[u64]) -> (Vec<Launch>, usize) {
        let tables = &self.tables;
        let mut lowering = Lowering {
            plan: &self.plan,
            regions,
            args: self.args.address(),
            workspace: self.workspaces.last().map_or(0, Memory::address),
            wanted: 0,
            rope: &|positions, head_dim| tables[&(positions, head_dim)].address(),
            target: self.gpu.target(&self.code),
            corpus: self.corpus.as_ref().map(|tokens| (tokens.memory.address(), tokens.wide)),
        };
        let launches = lowering.lower(op);
        (launches, lowering.wanted)
    }

    /// An op's launches, whose kernels are loaded; the workspace grows to what they want.
    fn lower(&mut self, op: &Op) -> Result<Vec<Launch>> {
        self.prepare_op(op)?;
        loop {
            let (launches, wanted) = self.lower_at(op, &self.bases());
            if self.workspaces.last().map_or(0, Memory::len) >= wanted {
                return self.gpu.make_ready(&self.code, &launches).map(|()| launches);
            }
            let larger = self.context.alloc(wanted);
            let larger = larger.map_err(|fault| self.gpu.no_room(fault, "the workspace for partial sums", wanted))?;
            self.workspaces.push(larger);
        }
    }

    /// The arguments of the next steps, on their way to the device.
    fn queue(&self, steps: &[StepArgs]) -> Result<()> {
        assert!(steps.len() <= QUEUE, "{} steps in a queue of {QUEUE}", steps.len());
        let mut step = [StepArgs::default(); QUEUE];
        step[..steps.len()].copy_from_slice(steps);
        let launch = kernel::queue_steps(PtrMut::at(self.queue_address()), StepQueue { step }).alone();
        self.enqueue(&launch, "queue_steps")
    }

    fn queue_address(&self) -> u64 {
        self.args.address() + size_of::<StepArgs>() as u64
    }

    fn next_step(&self, index: usize) -> Launch {
        let (queue, args) = (Ptr::at(self.queue_address()), PtrMut::at(self.args.address()));
        kernel::next_step(queue, args, index as u32).alone()
    }

    /// Puts one launch into the stream.
    fn enqueue(&self, launch: &Launch, op: &str) -> Result<()> {
        let context = &self.context;
        let failed = |fault: Fault| Error::Device(format!("{op}: kernel {} failed: {fault}", launch.name()));
        self.code.launch(context, launch).map_err(failed)?;
        match self.gpu.launching() {
            Launching::Graphs => Ok(()),
            Launching::Synchronous => context.synchronize().map_err(failed),
        }
    }

    fn enqueue_all(&self, launches: &[(&'static str, Vec<Launch>)]) -> Result<()> {
        launches.iter().try_for_each(|(op, list)| {
            let _range = self.gpu.range(op);
            list.iter().try_for_each(|launch| self.enqueue(launch, op))
        })
    }

    /// Records `copies` of a program, each behind its own arguments.
    fn record(&self, launches: &[(&'static str, Vec<Launch>)], copies: usize) -> Result<Graph> {
        self.context.capture(|| {
            (0..copies).try_for_each(|i| {
                self.enqueue(&self.next_step(i), "next_step")?;
                self.enqueue_all(launches)
            })
        })
    }

    /// Runs a prepared program for up to [`QUEUE`] steps.
    fn replay(&mut self, id: ProgramId, steps: &[StepArgs]) -> Result<()> {
        let recorded = &self.programs[&id];
        let gpu = Arc::clone(&self.gpu);
        let _range = gpu.range(&recorded.name);
        self.queue(steps)?;
        if self.gpu.launching() == Launching::Synchronous {
            return (0..steps.len()).try_for_each(|i| {
                self.enqueue(&self.next_step(i), "next_step")?;
                self.enqueue_all(&recorded.launches)
            });
        }
        let missing = if steps.len() == 1 { recorded.once.is_none() } else { recorded.several.is_none() };
        let fresh = if missing { Some(self.record(&recorded.launches, steps.len())?) } else { None };
        let recorded = self.programs.get_mut(&id).expect("prepared");
        let graph = if steps.len() == 1 { &mut recorded.once } else { &mut recorded.several };
        let name = &recorded.name;
        graph.get_or_insert_with(|| fresh.expect("recorded above")).replay().map_err(|fault| {
            Error::Device(format!("{name}: {fault}; run again with --sync to learn which kernel of which op it was"))
        })
    }
}

/// Regions start at full sectors.
const ALIGN: usize = 256;

impl Backend for Cuda {
    fn describe(&self) -> String {
        self.gpu.describe()
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn heed(&mut self, stop: &Stop) {
        self.stop = stop.clone();
    }

    fn bind_corpus(&mut self, corpus: Arc<Corpus>) -> Result<()> {
        self.corpus = Some(self.gpu.tokenized(&corpus)?);
        self.programs.clear(); // They know the old one's address.
        Ok(())
    }

    fn prepare(&mut self, program: &Program) -> Result<()> {
        if self.programs.contains_key(&program.id) {
            return Ok(());
        }
        // Twice where the workspace grows: every launch gets the last one.
        let mut lowered = Vec::new();
        loop {
            let before = self.workspaces.len();
            lowered.clear();
            for op in &program.ops {
                lowered.push((op.name(), self.lower(op)?));
            }
            if self.workspaces.len() == before {
                break;
            }
        }
        let recorded = Recorded { name: program.name.clone(), launches: lowered, once: None, several: None };
        self.programs.insert(program.id, recorded);
        Ok(())
    }

    fn run(&mut self, program: &Program, args: &StepArgs) -> Result<()> {
        self.stop.check()?;
        self.prepare(program)?;
        self.replay(program.id, std::slice::from_ref(args))
    }

    fn forget(&mut self, program: ProgramId) {
        if let Some(recorded) = self.programs.remove(&program) {
            // Nothing may go while it runs. An error was or will be told elsewhere.
            let _ = self.context.synchronize();
            drop(recorded);
        }
    }

    fn prepared(&self) -> usize {
        self.programs.len()
    }

    fn burst(&self) -> usize {
        QUEUE
    }

    fn run_each(&mut self, program: &Program, steps: &[StepArgs]) -> Result<()> {
        self.stop.check()?;
        self.prepare(program)?;
        let (several, rest) = steps.as_chunks::<QUEUE>();
        several.iter().try_for_each(|steps| self.replay(program.id, steps))?;
        rest.iter().try_for_each(|step| self.replay(program.id, std::slice::from_ref(step)))
    }

    fn run_op(&mut self, op: &Op, args: &StepArgs) -> Result<()> {
        let launches = self.lower(op)?;
        self.queue(std::slice::from_ref(args))?;
        self.enqueue(&self.next_step(0), "next_step")?;
        self.enqueue_all(&[(op.name(), launches)])
    }

    fn kernels(&mut self, op: &Op) -> Result<Vec<&'static str>> {
        Ok(ARGUMENT_KERNELS.into_iter().chain(self.lower(op)?.iter().map(Launch::name)).collect())
    }

    fn fetch(&mut self, mat: Mat) -> Result<Box<dyn Fetch>> {
        let (offset, len) = self.locate(mat);
        let context = &self.context;
        let failed = device_fault("read from the GPU");
        Ok(if len <= SMALL_BYTES {
            Box::new(context.start_read(&self.arena, offset, len).map_err(failed)?)
        } else {
            Box::new(context.read(&self.arena, offset, len).map_err(failed)?)
        })
    }

    fn write_bytes(&mut self, mat: Mat, bytes: &[u8]) -> Result<()> {
        let (offset, len) = self.locate(mat);
        assert_eq!(bytes.len(), len, "{mat:?}");
        self.context.write(&self.arena, offset, bytes).map_err(device_fault("write to the GPU"))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Nothing may go while work that uses it is under way. An error was or will be told elsewhere.
        let _ = self.context.synchronize();
        // Graphs before the code that they launch.
        self.programs.clear();
    }
}

impl Fetch for Arriving {
    fn is_ready(&self) -> bool {
        Arriving::is_ready(self)
    }

    fn wait(self: Box<Self>) -> Result<Vec<u8>> {
        Arriving::wait(*self).map_err(device_fault("finish the work on the GPU (--sync names the kernel)"))
    }
}
