//! Launches.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::Instant;

use super::{Gpu, Kernel, LaunchConfig, LaunchError, LaunchReport};
use crate::check::{Collector, Finding, Kind, Site};
use crate::exec::{self, Launch, Outcome};
use crate::isa::{self, Program};
use crate::memory::Releases;

impl Gpu {
    /// Runs a kernel to its end.
    pub fn launch(&self, kernel: &Kernel, config: &LaunchConfig, params: &[u8]) -> Result<LaunchReport, LaunchError> {
        self.check_launch(kernel, config, params)?;
        let start = Instant::now();
        let program = &kernel.code.program;
        let function = &program.functions[kernel.function];
        let table = self.arena.table();
        let blocks: u64 = config.grid.iter().map(|n| u64::from(*n)).product();
        // One block alone can only trip over its own writes, where it reads past the coherent caches.
        let alone = blocks == 1 && !kernel.code.reads_past_caches;
        let hazards = !alone && self.options.checks(Kind::GlobalRace);
        let communicates = blocks > 1 && exec::blocks_communicate(program);
        let launch = Launch {
            program,
            constants: &kernel.code.constants,
            kernel: function,
            grid: config.grid,
            block: config.block,
            cluster: function.cluster.unwrap_or(config.cluster).map(|n| n.max(1)),
            dynamic_shared: config.dynamic_shared,
            params,
            table: &table,
            arena: &self.arena,
            heap: Mutex::default(),
            options: &self.options,
            profile: &self.profile,
            id: self.launches.fetch_add(1, Relaxed) + 1,
            hazards,
            granule: kernel.code.granule,
            protocol: AtomicU32::new(1),
            releases: if hazards && communicates {
                (0..blocks).map(|_| Releases::default()).collect()
            } else {
                Box::new([])
            },
            communicates,
            stopped: AtomicU8::new(0),
            instructions: AtomicU64::new(0),
        };
        let mut outcome = exec::run(&launch);
        self.count(program, &mut outcome, blocks * u64::from(launch_warps(config)));
        let findings = findings(&launch, &outcome.findings, &kernel.name);
        let mut stdout: Vec<String> = outcome.printed.split('\n').map(str::to_string).collect();
        if stdout.last().is_some_and(String::is_empty) {
            stdout.pop();
        }
        Ok(LaunchReport {
            findings,
            counters: outcome.counters,
            stdout,
            trap: outcome.trap,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn check_launch(&self, kernel: &Kernel, config: &LaunchConfig, params: &[u8]) -> Result<(), LaunchError> {
        let p = &self.profile;
        let within =
            |value: [u32; 3], limit: [u32; 3]| value.iter().zip(limit).all(|(v, limit)| (1..=limit).contains(v));
        if !within(config.grid, p.grid_limit) || !within(config.block, p.block_limit) {
            return Err(LaunchError::BadDimensions);
        }
        let threads: u64 = config.block.iter().map(|n| u64::from(*n)).product();
        if threads > u64::from(kernel.max_threads.min(p.threads_per_block)) {
            return Err(LaunchError::BadDimensions);
        }
        if kernel.required_block.is_some_and(|block| block != config.block) {
            return Err(LaunchError::BadDimensions);
        }
        let shared = u64::from(kernel.static_shared) + u64::from(config.dynamic_shared);
        if shared > u64::from(p.shared_per_block_optin) {
            return Err(LaunchError::SharedMemory);
        }
        let function = &kernel.code.program.functions[kernel.function];
        let cluster = function.cluster.unwrap_or(config.cluster);
        if cluster.iter().any(|n| *n > 1) && kernel.code.clusters {
            return Err(LaunchError::Clusters);
        }
        if params.len() < kernel.param_bytes() as usize {
            return Err(LaunchError::Parameters);
        }
        Ok(())
    }

    /// Instructions by class, from how often each was executed.
    fn count(&self, program: &Program, outcome: &mut Outcome, warps: u64) {
        outcome.counters.warps = warps;
        for (pc, (times, lanes)) in outcome.executed.iter().enumerate() {
            if *times > 0 && !program.origin[pc].helper {
                outcome.counters.instructions[isa::class(&program.code[pc].op)] += times;
                outcome.counters.lane_instructions += lanes;
            }
        }
    }
}

fn launch_warps(config: &LaunchConfig) -> u32 {
    config.block.iter().product::<u32>().div_ceil(32)
}

/// Findings with names and lines.
fn findings(launch: &Launch<'_>, collected: &Collector, kernel: &str) -> Vec<Finding> {
    let program = launch.program;
    let found = collected.records.iter().map(|((kind, pc), record)| {
        let origin = program.origin.get(*pc as usize).copied().unwrap_or_default();
        let opcode = program.opcodes.get(origin.opcode as usize).map_or("", String::as_str);
        let file = program.sources.iter().find(|(index, _)| *index == origin.source.0);
        let source = file.map(|(_, path)| (path.clone(), origin.source.1));
        let first = record.first;
        let note = if record.note.is_empty() { String::new() } else { format!(": {}", record.note) };
        Finding {
            kind: *kind,
            threads: record.threads,
            kernel: kernel.to_string(),
            message: format!("`{opcode}`, {} bytes at {:#x}{note}", first.bytes, first.address),
            site: Site {
                ptx_line: origin.line,
                source,
                block: launch.block_index(first.block),
                thread: launch.thread_index(first.thread),
                address: first.address,
                bytes: first.bytes,
            },
        }
    });
    found.collect()
}
