//! The virtual GPU of the tests, where it plays the driver: it cannot say how long a kernel takes, but counts what it does.

use super::gpu;
use crate::error::{Error, Result};
use crate::raw::gpu::vgpu::Reports;
use serde_json::Value;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::PathBuf;

/// The library, if it lies beside this program or in the folder `deps` there, where cargo builds it.
pub fn library() -> Option<PathBuf> {
    let file = format!("{DLL_PREFIX}vgpu{DLL_SUFFIX}");
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    [folder.to_path_buf(), folder.join("deps")].map(|folder| folder.join(&file)).into_iter().find(|path| path.is_file())
}

/// Makes it the CUDA driver of this process, which must not have found one yet.
pub fn load() -> Result<()> {
    let path = library().ok_or_else(|| {
        Error::input(
            "the virtual GPU is not there: no libvgpu beside this program or in its folder deps; cargo build -p vgpu \
             makes one, with the same --release or without",
        )
    })?;
    gpu::use_driver(&path)
}

/// What was counted of launches, until it is taken.
#[derive(Debug)]
pub struct Counters(Reports);

/// What the virtual GPU counted in one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Name of the kernel.
    pub kernel: String,
    /// Launches that were added up.
    pub launches: u64,
    /// Blocks that were run.
    pub blocks: u64,
    /// Instructions of warps.
    pub instructions: u64,
    /// Multiplications and additions of matrix instructions.
    pub mma_flops: u64,
    /// Loads and stores of global memory by warps.
    pub requests: u64,
    /// Sectors of 32 bytes that they touch.
    pub sectors: u64,
    /// Sectors that they would touch if the bytes of each lay side by side.
    pub sectors_ideal: u64,
    /// Passes over the banks of shared memory beyond the necessary ones.
    pub bank_conflicts: u64,
    /// Bytes between memory and chip with a perfect cache, read and written.
    pub dram_bytes: u64,
    /// Faults that were found: races, stray accesses.
    pub findings: u64,
}

impl Counters {
    /// Of the driver that this process has opened a GPU with, if that is the virtual one.
    pub fn of_driver() -> Option<Self> {
        Reports::of_driver().map(Counters)
    }

    /// Every launch since the last time, in order.
    pub fn take(&self) -> Vec<Counts> {
        let reports: Vec<Value> = serde_json::from_str(&self.0.take()).unwrap_or_default();
        reports.iter().map(Counts::read).collect()
    }
}

impl Counts {
    fn read(report: &Value) -> Self {
        let counter = |name: &str| report["counters"][name].as_u64().unwrap_or(0);
        let both =
            |ending: &str| counter(&format!("global_load_{ending}")) + counter(&format!("global_store_{ending}"));
        let grid = report["grid"].as_array().map_or(&[][..], Vec::as_slice);
        Counts {
            kernel: report["kernel"].as_str().unwrap_or_default().into(),
            launches: 1,
            blocks: grid.iter().filter_map(Value::as_u64).product(),
            instructions: counter("warp_instructions"),
            mma_flops: counter("mma_flops"),
            requests: both("requests"),
            sectors: both("sectors"),
            sectors_ideal: both("sectors_ideal"),
            bank_conflicts: counter("shared_bank_conflicts"),
            dram_bytes: counter("dram_bytes_read") + counter("dram_bytes_written"),
            findings: report["findings"].as_array().map_or(0, Vec::len) as u64,
        }
    }

    /// The sums of each kernel's, in the order in which the kernels appear.
    pub fn by_kernel<'a>(launches: impl IntoIterator<Item = &'a Counts>) -> Vec<Counts> {
        let mut sums: Vec<Counts> = Vec::new();
        for launch in launches {
            match sums.iter_mut().find(|known| known.kernel == launch.kernel) {
                Some(known) => known.add(launch),
                None => sums.push(launch.clone()),
            }
        }
        sums
    }

    /// Adds another launch's; the kernel's name stays.
    pub fn add(&mut self, other: &Counts) {
        self.launches += other.launches;
        self.blocks += other.blocks;
        self.instructions += other.instructions;
        self.mma_flops += other.mma_flops;
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.sectors_ideal += other.sectors_ideal;
        self.bank_conflicts += other.bank_conflicts;
        self.dram_bytes += other.dram_bytes;
        self.findings += other.findings;
    }
}
