//! Host memory that the driver gives out: pinned, registered, managed.
//!
//! Managed memory is host memory at one address for both sides; kernels reach it through
//! the device's own memory only if the virtual GPU maps it, which it does not yet, so
//! managed memory serves copies and the host.

use super::abi::{HostMemory, Out, exports};
use super::capture;
use super::context;
use super::error::{Answer, Code};
use super::handles::lock;
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::Mutex;

const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pinned,
    Managed,
    /// The caller's own memory, made known.
    Registered,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: usize,
    kind: Kind,
    flags: u32,
}

static BLOCKS: Mutex<BTreeMap<usize, Block>> = Mutex::new(BTreeMap::new());

fn layout(bytes: usize) -> Answer<Layout> {
    Layout::from_size_align(bytes, PAGE).map_err(|_| Code::OutOfMemory)
}

fn allocate(bytes: usize, kind: Kind, flags: u32) -> Answer<usize> {
    if bytes == 0 {
        return Err(Code::InvalidValue);
    }
    // SAFETY: the layout is not empty.
    let start = unsafe { std::alloc::alloc_zeroed(layout(bytes)?) };
    if start.is_null() {
        return Err(Code::OutOfMemory);
    }
    let address = start.expose_provenance();
    lock(&BLOCKS).insert(address, Block { bytes, kind, flags });
    Ok(address)
}

fn free(address: usize, kind: Kind) -> Answer {
    let mut blocks = lock(&BLOCKS);
    let block = blocks.get(&address).filter(|block| block.kind == kind);
    let layout = layout(block.ok_or(Code::InvalidValue)?.bytes)?;
    blocks.remove(&address);
    // SAFETY: the table held this address, so `allocate` made it with this layout, and it
    // has been taken out, so it is freed once.
    unsafe { std::alloc::dealloc(std::ptr::with_exposed_provenance_mut(address), layout) };
    Ok(())
}

/// Frees managed memory, if the address is such.
pub(super) fn free_managed(address: u64) -> bool {
    free(address as usize, Kind::Managed).is_ok()
}

/// The block that holds these bytes.
fn block_of(address: u64, bytes: usize) -> Option<(usize, Block)> {
    let address = address as usize;
    let blocks = lock(&BLOCKS);
    let (&start, &block) = blocks.range(..=address).next_back()?;
    (address + bytes <= start + block.bytes && address < start + block.bytes).then_some((start, block))
}

/// Whether these bytes are host memory that the driver knows.
pub(super) fn holds(address: u64, bytes: usize) -> bool {
    block_of(address, bytes).is_some()
}

/// `CUpointer_attribute` by number, for a pointer of either side.
fn pointer_attribute(out: HostMemory, number: u32, address: u64) -> Answer {
    let context = context::current()?;
    let device = context.gpu.allocation(address);
    let host = block_of(address, 1);
    let managed = host.is_some_and(|(_, block)| block.kind == Kind::Managed);
    let (start, bytes) = match (device, host) {
        (Some((start, bytes)), _) => (start, bytes),
        (None, Some((start, block))) => (start as u64, block.bytes as u64),
        (None, None) => return Err(Code::InvalidValue),
    };
    match number {
        1 => out.write(&context.handle.to_le_bytes()),
        2 => out.write(&(if device.is_some() || managed { 2u32 } else { 1 }).to_le_bytes()),
        3 => out.write(&address.to_le_bytes()),
        4 if device.is_none() => out.write(&address.to_le_bytes()),
        7 => out.write(&start.to_le_bytes()),
        8 => out.write(&u32::from(managed).to_le_bytes()),
        9 => out.write(&context.ordinal.to_le_bytes()),
        11 => out.write(&start.to_le_bytes()),
        12 => out.write(&bytes.to_le_bytes()),
        13 => out.write(&1u32.to_le_bytes()),
        _ => Err(Code::InvalidValue),
    }
}

exports! {
    /// Allocates pinned memory.
    fn cuMemHostAlloc(address: Out<usize>, bytes: usize, flags: u32) {
        context::current()?;
        capture::forbid_unsafe_call()?;
        if address.is_null() || flags > 7 {
            return Err(Code::InvalidValue);
        }
        address.set(allocate(bytes, Kind::Pinned, flags)?)
    }

    /// Allocates pinned memory, by an old name.
    fn cuMemAllocHost_v2(address: Out<usize>, bytes: usize) {
        context::current()?;
        capture::forbid_unsafe_call()?;
        if address.is_null() {
            return Err(Code::InvalidValue);
        }
        address.set(allocate(bytes, Kind::Pinned, 0)?)
    }

    /// Frees pinned memory.
    fn cuMemFreeHost(address: usize) {
        context::current_even_faulted()?;
        capture::forbid_unsafe_call()?;
        if address == 0 {
            return Ok(());
        }
        free(address, Kind::Pinned)
    }

    /// Allocates managed memory.
    fn cuMemAllocManaged(address: Out<u64>, bytes: usize, flags: u32) {
        context::current()?;
        capture::forbid_unsafe_call()?;
        if address.is_null() || !matches!(flags, 1 | 2 | 4) {
            return Err(Code::InvalidValue);
        }
        address.set(allocate(bytes, Kind::Managed, flags)? as u64)
    }

    /// Pins memory of the caller's.
    fn cuMemHostRegister_v2(address: usize, bytes: usize, flags: u32) {
        context::current()?;
        if address == 0 || bytes == 0 {
            return Err(Code::InvalidValue);
        }
        if holds(address as u64, 1) {
            return Err(Code::HostMemoryAlreadyRegistered);
        }
        lock(&BLOCKS).insert(address, Block { bytes, kind: Kind::Registered, flags });
        Ok(())
    }

    /// Unpins memory of the caller's.
    fn cuMemHostUnregister(address: usize) {
        context::current()?;
        let mut blocks = lock(&BLOCKS);
        match blocks.get(&address) {
            Some(block) if block.kind == Kind::Registered => {
                blocks.remove(&address);
                Ok(())
            }
            _ => Err(Code::HostMemoryNotRegistered),
        }
    }

    /// The flags pinned memory was allocated with.
    fn cuMemHostGetFlags(flags: Out<u32>, address: usize) {
        context::current()?;
        let (_, block) = block_of(address as u64, 1).ok_or(Code::InvalidValue)?;
        flags.set(block.flags)
    }

    /// Where kernels would see pinned memory: they cannot here.
    fn cuMemHostGetDevicePointer_v2(_device: Out<u64>, _address: usize, _flags: u32) {
        context::current()?;
        Err(Code::NotSupported)
    }

    /// What is known of a pointer.
    fn cuPointerGetAttribute(out: HostMemory, number: u32, address: u64) {
        pointer_attribute(out, number, address)
    }
}
