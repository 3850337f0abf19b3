//! Device memory: allocation, and copies and fills that are done at once.

use super::abi::{HostMemory, Out, exports};
use super::capture;
use super::context::{self, Context};
use super::error::{Answer, Code};
use super::handles::Handle;
use super::host;
use super::work::Place;

/// Allocates, and refuses what the API refuses.
pub(super) fn allocate(context: &Context, bytes: usize) -> Answer<u64> {
    if bytes == 0 {
        return Err(Code::InvalidValue);
    }
    let capacity = context.gpu.profile().memory_bytes;
    if bytes as u64 > capacity.saturating_sub(context.gpu.used()) {
        return Err(Code::OutOfMemory);
    }
    context.gpu.alloc(bytes as u64).map_err(|_| Code::OutOfMemory)
}

/// Frees an allocation by its first address; 0 is nothing to free.
pub(super) fn free(context: &Context, address: u64) -> Answer {
    if address == 0 || host::free_managed(address) {
        return Ok(());
    }
    context.gpu.free(address).map_err(|_| Code::InvalidValue)
}

/// A device pointer: usually device memory, but pinned and managed memory have addresses
/// in the same space.
fn resolve(context: &Context, address: u64, bytes: usize) -> Place {
    if context.gpu.allocation(address).is_none() && host::holds(address, bytes) {
        Place::Host(HostMemory::at(address as usize))
    } else {
        Place::Device(address)
    }
}

/// Copies now.
pub(super) fn copy(context: &Context, to: Place, from: Place, bytes: usize) -> Answer {
    if bytes == 0 {
        return Ok(());
    }
    let to = match to {
        Place::Device(address) => resolve(context, address, bytes),
        host => host,
    };
    let from = match from {
        Place::Device(address) => resolve(context, address, bytes),
        host => host,
    };
    let bad = |address: u64| {
        eprintln!("vgpu: a copy of {bytes} bytes at device address {address:#x} is not inside one allocation");
        Code::InvalidValue
    };
    match (to, from) {
        (Place::Device(to), Place::Device(from)) => {
            context.gpu.copy(to, from, bytes as u64).map_err(|e| bad(e.address))
        }
        (Place::Device(to), Place::Host(from)) => context.gpu.write(to, &from.read(bytes)?).map_err(|e| bad(e.address)),
        (Place::Host(to), Place::Device(from)) => {
            let mut buffer = vec![0; bytes];
            context.gpu.read(from, &mut buffer).map_err(|e| bad(e.address))?;
            to.write(&buffer)
        }
        (Place::Host(to), Place::Host(from)) => to.write(&from.read(bytes)?),
    }
}

/// Fills now.
pub(super) fn fill(context: &Context, to: u64, value: u32, size: u32, count: usize) -> Answer {
    if count == 0 {
        return Ok(());
    }
    match resolve(context, to, size as usize * count) {
        Place::Device(to) => context.gpu.fill(to, value, size, count as u64).map_err(|_| Code::InvalidValue),
        Place::Host(to) => to.write(&value.to_le_bytes()[..size as usize].repeat(count)),
    }
}

/// Where a pointer of the unified address space leads.
pub(super) fn unified(context: &Context, address: u64) -> Place {
    if context.gpu.allocation(address).is_some() {
        Place::Device(address)
    } else {
        Place::Host(HostMemory::at(address as usize))
    }
}

exports! {
    /// Allocates device memory.
    fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) {
        let context = context::current()?;
        capture::forbid_unsafe_call()?;
        if address.is_null() {
            return Err(Code::InvalidValue);
        }
        address.set(allocate(&context, bytes)?)
    }

    /// Allocates rows, each a multiple of 512 bytes apart.
    fn cuMemAllocPitch_v2(address: Out<u64>, pitch: Out<usize>, width: usize, height: usize, element: u32) {
        let context = context::current()?;
        capture::forbid_unsafe_call()?;
        if address.is_null() || pitch.is_null() || !matches!(element, 4 | 8 | 16) {
            return Err(Code::InvalidValue);
        }
        let row = width.checked_next_multiple_of(512).ok_or(Code::InvalidValue)?;
        let bytes = row.checked_mul(height).ok_or(Code::InvalidValue)?;
        address.set(allocate(&context, bytes)?)?;
        pitch.set(row)
    }

    /// Frees device memory.
    fn cuMemFree_v2(address: u64) {
        let context = context::current()?;
        capture::forbid_unsafe_call()?;
        free(&context, address)
    }

    /// Free and total bytes of the device.
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let context = context::current()?;
        let capacity = context.gpu.profile().memory_bytes;
        free.set_if_wanted(capacity.saturating_sub(context.gpu.used()) as usize);
        total.set_if_wanted(capacity as usize);
        Ok(())
    }

    /// The allocation that an address lies in.
    fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) {
        let context = context::current()?;
        let (start, length) = context.gpu.allocation(address).ok_or(Code::InvalidValue)?;
        base.set_if_wanted(start);
        bytes.set_if_wanted(length as usize);
        Ok(())
    }

    /// Advice on managed memory; without effect here.
    fn cuMemAdvise_v2(_address: u64, _bytes: usize, _advice: u32, _location: u64) {
        context::current()?;
        Ok(())
    }

    /// Advice on managed memory; without effect here.
    fn cuMemAdvise(_address: u64, _bytes: usize, _advice: u32, _device: i32) {
        context::current()?;
        Ok(())
    }

    /// Moves managed memory; without effect here.
    fn cuMemPrefetchAsync_v2(_address: u64, _bytes: usize, _location: u64, _flags: u32, stream: Handle) {
        context::stream(stream)?;
        Ok(())
    }

    /// Moves managed memory; without effect here.
    fn cuMemPrefetchAsync(_address: u64, _bytes: usize, _device: i32, stream: Handle) {
        context::stream(stream)?;
        Ok(())
    }
}
