//! Memory: allocation on the device and on the host, copies, fills.

use super::abi::{Answer, Array, HostMemory, Out, exports};
use super::capture;
use super::context::{self, Context};
use super::error::Code;
use super::handles::Handle;
use super::host;
use super::stream::{self, Stream};
use super::work::{self, Place, Work};

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
fn unified(context: &Context, address: u64) -> Place {
    if context.gpu.allocation(address).is_some() {
        Place::Device(address)
    } else {
        Place::Host(HostMemory::at(address as usize))
    }
}

/// A copy that returns when it is done: on the legacy stream, and not during a capture.
fn copy_now(to: Place, from: Place, bytes: usize) -> Answer {
    let context = context::current()?;
    let stream = context.stream(0)?;
    capture::forbid_in_capture(&stream)?;
    capture::forbid_unsafe_call()?;
    work::submit(&stream, Work::Copy { to, from, bytes })
}

fn copy_on(stream: Handle, to: Place, from: Place, bytes: usize) -> Answer {
    work::submit(&*stream::find(stream)?, Work::Copy { to, from, bytes })
}

fn fill_now(to: u64, value: u32, size: u32, count: usize) -> Answer {
    let context = context::current()?;
    let stream = context.stream(0)?;
    capture::forbid_in_capture(&stream)?;
    capture::forbid_unsafe_call()?;
    submit_fill(&stream, to, value, size, count)
}

fn fill_on(stream: Handle, to: u64, value: u32, size: u32, count: usize) -> Answer {
    submit_fill(&*stream::find(stream)?, to, value, size, count)
}

fn submit_fill(stream: &Stream, to: u64, value: u32, size: u32, count: usize) -> Answer {
    if !to.is_multiple_of(u64::from(size)) {
        return Err(Code::InvalidValue);
    }
    work::submit(stream, Work::Fill { to, value, size, count })
}

/// Allocation in stream order. In a capture the address is fixed now and belongs to the graph.
pub(super) fn allocate_on(out: Out<u64>, bytes: usize, stream: Handle) -> Answer {
    let stream = stream::find(stream)?;
    if out.is_null() {
        return Err(Code::InvalidValue);
    }
    let address = allocate(&*stream.context()?, bytes)?;
    work::submit(&stream, Work::Allocate { address })?;
    out.set(address)
}

fn free_on(address: u64, stream: Handle) -> Answer {
    let stream = stream::find(stream)?;
    let Some(capture) = stream.capture() else {
        return free(&*stream.context()?, address);
    };
    if !capture.allocated(address) {
        return Err(Code::InvalidValue); // only a graph's own memory is freed in the graph
    }
    work::submit(&stream, Work::Nothing) // the address stays the graph's
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

    /// Allocates in stream order.
    fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) {
        allocate_on(address, bytes, stream)
    }

    /// Frees in stream order.
    fn cuMemFreeAsync(address: u64, stream: Handle) {
        free_on(address, stream)
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

    /// Copies between any two places of the unified address space.
    fn cuMemcpy(to: u64, from: u64, bytes: usize) {
        let context = context::current()?;
        copy_now(unified(&context, to), unified(&context, from), bytes)
    }

    /// Copies between any two places, in stream order.
    fn cuMemcpyAsync(to: u64, from: u64, bytes: usize, stream: Handle) {
        let context = context::current()?;
        copy_on(stream, unified(&context, to), unified(&context, from), bytes)
    }

    /// Copies from the host.
    fn cuMemcpyHtoD_v2(to: u64, from: HostMemory, bytes: usize) {
        copy_now(Place::Device(to), Place::Host(from), bytes)
    }

    /// Copies to the host.
    fn cuMemcpyDtoH_v2(to: HostMemory, from: u64, bytes: usize) {
        copy_now(Place::Host(to), Place::Device(from), bytes)
    }

    /// Copies inside the device.
    fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) {
        copy_now(Place::Device(to), Place::Device(from), bytes)
    }

    /// Copies from the host, in stream order.
    fn cuMemcpyHtoDAsync_v2(to: u64, from: HostMemory, bytes: usize, stream: Handle) {
        copy_on(stream, Place::Device(to), Place::Host(from), bytes)
    }

    /// Copies to the host, in stream order.
    fn cuMemcpyDtoHAsync_v2(to: HostMemory, from: u64, bytes: usize, stream: Handle) {
        copy_on(stream, Place::Host(to), Place::Device(from), bytes)
    }

    /// Copies inside the device, in stream order.
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        copy_on(stream, Place::Device(to), Place::Device(from), bytes)
    }

    /// Copies between contexts, through the host.
    fn cuMemcpyPeerAsync(to: u64, to_context: Handle, from: u64, from_context: Handle, bytes: usize, stream: Handle) {
        let stream = stream::find(stream)?;
        capture::forbid_in_capture(&stream)?;
        let mut buffer = vec![0; bytes];
        let source = context::find(from_context)?;
        source.gpu.read(from, &mut buffer).map_err(|_| Code::InvalidValue)?;
        let target = context::find(to_context)?;
        target.gpu.write(to, &buffer).map_err(|_| Code::InvalidValue)
    }

    /// Sets bytes.
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize) {
        fill_now(to, value.into(), 1, count)
    }

    /// Sets 16-bit words.
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize) {
        fill_now(to, value.into(), 2, count)
    }

    /// Sets 32-bit words.
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize) {
        fill_now(to, value, 4, count)
    }

    /// Sets bytes, in stream order.
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) {
        fill_on(stream, to, value.into(), 1, count)
    }

    /// Sets 16-bit words, in stream order.
    fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) {
        fill_on(stream, to, value.into(), 2, count)
    }

    /// Sets 32-bit words, in stream order.
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle) {
        fill_on(stream, to, value, 4, count)
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
        stream::find(stream)?;
        Ok(())
    }

    /// Moves managed memory; without effect here.
    fn cuMemPrefetchAsync(_address: u64, _bytes: usize, _device: i32, stream: Handle) {
        stream::find(stream)?;
        Ok(())
    }

    /// Copies a rectangle: `CUDA_MEMCPY2D` between plain memories.
    fn cuMemcpy2D_v2(copy: Array<Rectangle>) {
        rectangle(copy.at(0)?, None)
    }

    /// Copies a rectangle, with any alignment of the rows.
    fn cuMemcpy2DUnaligned_v2(copy: Array<Rectangle>) {
        rectangle(copy.at(0)?, None)
    }

    /// Copies a rectangle, in stream order.
    fn cuMemcpy2DAsync_v2(copy: Array<Rectangle>, stream: Handle) {
        rectangle(copy.at(0)?, Some(stream))
    }
}

/// `CUDA_MEMCPY2D`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rectangle {
    from: Corner,
    to: Corner,
    width: usize,
    height: usize,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Corner {
    x: usize,
    y: usize,
    kind: u32,
    host: usize,
    device: u64,
    array: usize,
    pitch: usize,
}

impl Corner {
    /// `CUmemorytype`: host 1, device 2, array 3, unified 4.
    fn place(&self, context: &Context, row: usize) -> Answer<Place> {
        let offset = (self.y + row) * self.pitch + self.x;
        let device = self.device.wrapping_add(offset as u64);
        match self.kind {
            1 => Ok(Place::Host(HostMemory::at(self.host).offset(offset))),
            2 => Ok(Place::Device(device)),
            4 => Ok(unified(context, device)),
            3 => Err(Code::NotSupported),
            _ => Err(Code::InvalidValue),
        }
    }
}

fn rectangle(copy: Rectangle, stream: Option<Handle>) -> Answer {
    let context = context::current()?;
    if copy.height > 1 && (copy.width > copy.from.pitch || copy.width > copy.to.pitch) {
        return Err(Code::InvalidValue);
    }
    for row in 0..copy.height {
        let (to, from) = (copy.to.place(&context, row)?, copy.from.place(&context, row)?);
        match stream {
            Some(stream) => copy_on(stream, to, from, copy.width)?,
            None => copy_now(to, from, copy.width)?,
        }
    }
    Ok(())
}
