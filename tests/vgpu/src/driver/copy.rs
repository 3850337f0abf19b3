//! Work on memory in stream order: copies, fills, allocation.

use super::abi::{Array, HostMemory, Out, exports};
use super::capture;
use super::context::{self, Context};
use super::error::{Answer, Code};
use super::handles::Handle;
use super::memory::{self, unified};
use super::run;
use super::stream::Stream;
use super::work::{Place, Work};

/// A copy that returns when it is done: on the legacy stream, and not during a capture.
fn copy_now(to: Place, from: Place, bytes: usize) -> Answer {
    let stream = context::stream(0)?;
    stream.forbid_in_capture()?;
    capture::forbid_unsafe_call()?;
    run::submit(&stream, Work::Copy { to, from, bytes })
}

fn copy_on(stream: Handle, to: Place, from: Place, bytes: usize) -> Answer {
    run::submit(&*context::stream(stream)?, Work::Copy { to, from, bytes })
}

fn fill_now(to: u64, value: u32, size: u32, count: usize) -> Answer {
    let stream = context::stream(0)?;
    stream.forbid_in_capture()?;
    capture::forbid_unsafe_call()?;
    submit_fill(&stream, to, value, size, count)
}

fn fill_on(stream: Handle, to: u64, value: u32, size: u32, count: usize) -> Answer {
    submit_fill(&*context::stream(stream)?, to, value, size, count)
}

fn submit_fill(stream: &Stream, to: u64, value: u32, size: u32, count: usize) -> Answer {
    if !to.is_multiple_of(u64::from(size)) {
        return Err(Code::InvalidValue);
    }
    run::submit(stream, Work::Fill { to, value, size, count })
}

/// Allocation in stream order. In a capture the address is fixed now and belongs to the graph.
pub(super) fn allocate_on(out: Out<u64>, bytes: usize, stream: Handle) -> Answer {
    let stream = context::stream(stream)?;
    if out.is_null() {
        return Err(Code::InvalidValue);
    }
    let address = memory::allocate(&*context::of(&stream)?, bytes)?;
    run::submit(&stream, Work::Allocate { address })?;
    out.set(address)
}

fn free_on(address: u64, stream: Handle) -> Answer {
    let stream = context::stream(stream)?;
    let Some(capture) = stream.capture() else {
        return memory::free(&*context::of(&stream)?, address);
    };
    if !capture.allocated(address) {
        return Err(Code::InvalidValue); // only a graph's own memory is freed in the graph
    }
    run::submit(&stream, Work::Nothing) // the address stays the graph's
}

exports! {
    /// Allocates in stream order.
    fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) {
        allocate_on(address, bytes, stream)
    }

    /// Frees in stream order.
    fn cuMemFreeAsync(address: u64, stream: Handle) {
        free_on(address, stream)
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
        let stream = context::stream(stream)?;
        stream.forbid_in_capture()?;
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
