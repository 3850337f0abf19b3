//! The occupancy calculator: how many blocks an SM holds.

use super::abi::{Out, SharedForBlock, exports};
use super::context;
use super::error::{Answer, Code};
use super::handles::Handle;
use super::module;

/// `CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE` is the only flag.
const ALL_FLAGS: u32 = 1;

fn resident(function: Handle, threads: i32, dynamic: usize) -> Answer<u32> {
    let context = context::current()?;
    let function = module::find_function(function)?;
    let threads = u32::try_from(threads).map_err(|_| Code::InvalidValue)?;
    if threads == 0 || threads > context.gpu.profile().threads_per_block {
        return Err(Code::InvalidValue);
    }
    let shared = u32::try_from(dynamic).unwrap_or(u32::MAX).saturating_add(function.static_shared());
    if threads > function.kernel.max_threads {
        return Ok(0);
    }
    Ok(context.gpu.profile().resident_blocks(threads, function.kernel.registers, shared))
}

fn max_blocks(count: Out<i32>, function: Handle, threads: i32, dynamic: usize, flags: u32) -> Answer {
    if flags & !ALL_FLAGS != 0 {
        return Err(Code::InvalidValue);
    }
    count.set(resident(function, threads, dynamic)? as i32)
}

/// The block size, a multiple of the warp, that keeps the most threads resident; the larger
/// one where two do. And the fewest blocks that fill the device with it.
fn best_block(
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle,
    shared_for: SharedForBlock,
    dynamic: usize,
    limit: i32,
) -> Answer {
    let context = context::current()?;
    let found = module::find_function(function)?;
    let most = found.kernel.max_threads.min(context.gpu.profile().threads_per_block);
    let most = match u32::try_from(limit) {
        Ok(limit) if limit > 0 => most.min(limit),
        _ => most,
    };
    let mut best = (0, 0, 0); // resident threads, block, resident blocks
    let sizes = (1..=most.div_ceil(32)).map(|warps| (warps * 32).min(most) as i32);
    for size in sizes {
        let shared = shared_for.call(size).unwrap_or(dynamic);
        let blocks = resident(function, size, shared)? as i32;
        if blocks * size >= best.0 && blocks > 0 {
            best = (blocks * size, size, blocks);
        }
    }
    grid.set(best.2 * context.gpu.profile().sm_count as i32)?;
    block.set(best.1)
}

exports! {
    /// Blocks of that size an SM holds.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(count: Out<i32>, function: Handle, threads: i32, dynamic: usize) {
        max_blocks(count, function, threads, dynamic, 0)
    }

    /// Blocks of that size an SM holds.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count: Out<i32>, function: Handle, threads: i32, dynamic: usize, flags: u32) {
        max_blocks(count, function, threads, dynamic, flags)
    }

    /// The block size that fills an SM best.
    fn cuOccupancyMaxPotentialBlockSize(grid: Out<i32>, block: Out<i32>, function: Handle, shared_for: SharedForBlock, dynamic: usize, limit: i32) {
        best_block(grid, block, function, shared_for, dynamic, limit)
    }

    /// The block size that fills an SM best.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(grid: Out<i32>, block: Out<i32>, function: Handle, shared_for: SharedForBlock, dynamic: usize, limit: i32, flags: u32) {
        if flags & !ALL_FLAGS != 0 {
            return Err(Code::InvalidValue);
        }
        best_block(grid, block, function, shared_for, dynamic, limit)
    }

    /// Dynamic shared memory a block may have with that many blocks on an SM.
    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: Handle, blocks: i32, threads: i32) {
        let context = context::current()?;
        let found = module::find_function(function)?;
        let profile = context.gpu.profile();
        let blocks = u32::try_from(blocks).ok().filter(|&n| n > 0).ok_or(Code::InvalidValue)?;
        if resident(function, threads, 0)? < blocks {
            return Err(Code::InvalidValue);
        }
        let share = profile.shared_per_sm / blocks / profile.shared_unit * profile.shared_unit;
        let block = share
            .saturating_sub(profile.shared_reserved_per_block)
            .min(profile.shared_per_block_optin);
        bytes.set(block.saturating_sub(found.static_shared()) as usize)
    }
}
