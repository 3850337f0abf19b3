//! Launches: the checks a driver makes before anything runs, and the arguments.

use super::abi::{Array, HostMemory, Out, exports};
use super::context::{self, Context};
use super::error::{Answer, Code};
use super::function::Function;
use super::handles::Handle;
use super::module;
use super::run;
use super::work::Work;
use crate::gpu::LaunchConfig;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// `CUlaunchConfig`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
    attributes: usize,
    count: u32,
}

/// `CUlaunchAttribute`: a number and 64 bytes that depend on it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Attribute {
    number: u32,
    pad: u32,
    value: [u32; 16],
}

impl Config {
    /// What the launch asks for besides its shape.
    fn with_attributes(&self) -> Answer<LaunchConfig> {
        let mut config = LaunchConfig {
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.shared,
            cooperative: false,
            cluster: [1; 3],
        };
        let bytes = size_of::<Attribute>();
        for i in 0..self.count as usize {
            let words = HostMemory::at(self.attributes).offset(i * bytes).read(bytes)?;
            let word = |at: usize| u32::from_le_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
            match word(0) {
                2 => config.cooperative = word(8) != 0,
                4 => config.cluster = [word(8), word(12), word(16)],
                _ => {} // the rest are hints: policies, priorities, overlap of launches
            }
        }
        Ok(config)
    }
}

/// What `extra` may hold instead of `kernelParams`.
const EXTRA_END: usize = 0;
const EXTRA_BUFFER: usize = 1;
const EXTRA_BYTES: usize = 2;

/// The parameter buffer of a launch.
fn params(function: &Function, arguments: Array<HostMemory>, extra: Array<usize>) -> Answer<Vec<u8>> {
    let list = &function.kernel.params;
    let bytes = list.iter().map(|p| (p.offset + p.size) as usize).max().unwrap_or(0);
    let mut buffer = vec![0; bytes];
    match (arguments.is_null(), extra.is_null()) {
        (false, false) => return Err(Code::InvalidValue),
        (true, true) if list.is_empty() => {}
        (true, true) => return Err(Code::InvalidValue),
        (false, true) => {
            for (i, param) in list.iter().enumerate() {
                let start = param.offset as usize;
                arguments.at(i)?.read_into(&mut buffer[start..start + param.size as usize])?;
            }
        }
        (true, false) => {
            let (mut given, mut room) = (HostMemory::at(0), 0);
            for i in (0..).step_by(2) {
                match extra.at(i)? {
                    EXTRA_END => break,
                    EXTRA_BUFFER => given = HostMemory::at(extra.at(i + 1)?),
                    EXTRA_BYTES => room = HostMemory::at(extra.at(i + 1)?).read_word()?,
                    _ => return Err(Code::InvalidValue),
                }
            }
            if room < bytes {
                return Err(Code::InvalidValue);
            }
            given.read_into(&mut buffer)?;
        }
    }
    Ok(buffer)
}

/// Refuses what the device or the function cannot do, with the driver's own codes, and says
/// why on standard error: the code alone leaves people guessing.
fn check(context: &Context, function: &Function, config: &LaunchConfig) -> Answer {
    let profile = context.gpu.profile();
    let kernel = &function.kernel;
    let refuse = |code: Code, why: String| {
        eprintln!("vgpu: {} is not launched: {why}", kernel.name);
        Err(code)
    };
    let within = |value: [u32; 3], limit: [u32; 3]| (0..3).all(|i| (1..=limit[i]).contains(&value[i]));
    if !within(config.grid, profile.grid_limit) {
        let why = format!("grid {:?}, the limit is {:?}", config.grid, profile.grid_limit);
        return refuse(Code::InvalidValue, why);
    }
    let threads = config.block.iter().map(|&n| u64::from(n)).product::<u64>();
    if !within(config.block, profile.block_limit) || threads > profile.threads_per_block.into() {
        let why = format!(
            "block {:?}, the limit is {:?} and {} threads",
            config.block, profile.block_limit, profile.threads_per_block
        );
        return refuse(Code::InvalidValue, why);
    }
    let threads = threads as u32;
    if kernel.required_block.is_some_and(|required| required != config.block) {
        let why = format!("block {:?}, it is compiled for {:?}", config.block, kernel.required_block);
        return refuse(Code::InvalidValue, why);
    }
    if threads > kernel.max_threads {
        let why = format!("{threads} threads, its launch bounds allow {}", kernel.max_threads);
        return refuse(Code::LaunchOutOfResources, why);
    }
    let dynamic_limit = function.dynamic_limit.load(Ordering::SeqCst);
    if config.dynamic_shared > dynamic_limit {
        let why = format!(
            "{} bytes of dynamic shared memory, {dynamic_limit} are allowed: set CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES first (a block may have {} in all)",
            config.dynamic_shared, profile.shared_per_block_optin
        );
        return refuse(Code::InvalidValue, why);
    }
    let shared = function.static_shared() + config.dynamic_shared;
    let clusters = config.cluster.iter().product::<u32>();
    if config.cluster != [1; 3] {
        let divides = (0..3).all(|i| config.cluster[i] > 0 && config.grid[i].is_multiple_of(config.cluster[i]));
        if profile.cluster_blocks == 0 || clusters > profile.cluster_blocks * 2 || !divides {
            let why = format!("clusters of {:?} blocks in a grid of {:?}", config.cluster, config.grid);
            return refuse(Code::InvalidClusterSize, why);
        }
    }
    let resident = profile.resident_blocks(threads, kernel.registers, shared);
    // The number of registers is an estimate, up to half too high: what it tells apart with
    // certainty is only a block that half of it would not fit either.
    if profile.resident_blocks(threads, kernel.registers / 2, shared) == 0 {
        let why = format!(
            "a block of {threads} threads with {} registers each and {shared} bytes of shared memory does not fit an SM",
            kernel.registers
        );
        return refuse(Code::LaunchOutOfResources, why);
    }
    if config.cooperative {
        let blocks = config.grid.iter().map(|&n| u64::from(n)).product::<u64>();
        let room = u64::from(resident.max(1) * profile.sm_count);
        if blocks > room {
            let why = format!("{blocks} cooperating blocks, the device holds {room} at once");
            return refuse(Code::CooperativeLaunchTooLarge, why);
        }
    }
    Ok(())
}

fn launch(
    function: Handle,
    config: LaunchConfig,
    stream: Handle,
    arguments: Array<HostMemory>,
    extra: Array<usize>,
) -> Answer {
    let function: Arc<Function> = module::find_function(function)?;
    let stream = context::stream(stream)?;
    let context = context::of(&stream)?;
    if function.context != context.handle {
        return Err(Code::InvalidHandle);
    }
    check(&context, &function, &config)?;
    let params = params(&function, arguments, extra)?;
    run::submit(&stream, Work::Launch { function, config, params })
}

exports! {
    /// Launches a kernel.
    fn cuLaunchKernel(
        function: Handle,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: Handle,
        arguments: Array<HostMemory>,
        extra: Array<usize>,
    ) {
        let config = LaunchConfig {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            dynamic_shared: shared,
            cooperative: false,
            cluster: [1; 3],
        };
        launch(function, config, stream, arguments, extra)
    }

    /// Launches a kernel whose blocks are all resident at once.
    fn cuLaunchCooperativeKernel(
        function: Handle,
        grid_x: u32,
        grid_y: u32,
        grid_z: u32,
        block_x: u32,
        block_y: u32,
        block_z: u32,
        shared: u32,
        stream: Handle,
        arguments: Array<HostMemory>,
    ) {
        let config = LaunchConfig {
            grid: [grid_x, grid_y, grid_z],
            block: [block_x, block_y, block_z],
            dynamic_shared: shared,
            cooperative: true,
            cluster: [1; 3],
        };
        launch(function, config, stream, arguments, Array::NULL)
    }

    /// Launches a kernel with attributes: clusters, cooperation.
    fn cuLaunchKernelEx(config: Array<Config>, function: Handle, arguments: Array<HostMemory>, extra: Array<usize>) {
        let config = config.at(0)?;
        launch(function, config.with_attributes()?, config.stream, arguments, extra)
    }

    /// Clusters the device holds at once.
    fn cuOccupancyMaxActiveClusters(count: Out<i32>, function: Handle, config: Array<Config>) {
        let context = context::current()?;
        let function = module::find_function(function)?;
        let config = config.at(0)?.with_attributes()?;
        let profile = context.gpu.profile();
        if profile.cluster_blocks == 0 {
            return Err(Code::NotSupported);
        }
        let threads = config.block.iter().product();
        let shared = function.static_shared() + config.dynamic_shared;
        let resident = profile.resident_blocks(threads, function.kernel.registers, shared);
        let blocks: u32 = config.cluster.iter().product();
        count.set((resident * profile.sm_count / blocks.max(1)) as i32)
    }

    /// The largest cluster a function runs in.
    fn cuOccupancyMaxPotentialClusterSize(size: Out<i32>, function: Handle, _config: Array<Config>) {
        let context = context::current()?;
        module::find_function(function)?;
        match context.gpu.profile().cluster_blocks {
            0 => Err(Code::NotSupported),
            blocks => size.set(blocks as i32),
        }
    }
}
