//! Memory pools: bookkeeping only, since freed memory is never used again here.

use super::abi::{Array, HostMemory, Out, exports};
use super::context;
use super::copy;
use super::device;
use super::error::{Answer, Code};
use super::handles::{self, Handle, lock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A pool with its attributes by number: 1 to 3 switches, 4 the release threshold, 5 to 8
/// bytes reserved and used, now and at most.
#[derive(Debug)]
struct Pool {
    handle: Handle,
    attributes: Mutex<BTreeMap<u32, u64>>,
}

/// The default pool and the current pool of each device.
static OF_DEVICES: Mutex<BTreeMap<i32, (Handle, Handle)>> = Mutex::new(BTreeMap::new());

fn create() -> Arc<Pool> {
    handles::insert(|handle| {
        Arc::new(Pool { handle, attributes: Mutex::new((1..=8).map(|n| (n, u64::from(n <= 3))).collect()) })
    })
}

fn of_device(ordinal: i32) -> Answer<(Handle, Handle)> {
    device::find(ordinal)?;
    let mut pools = lock(&OF_DEVICES);
    Ok(*pools.entry(ordinal).or_insert_with(|| {
        let default = create().handle;
        (default, default)
    }))
}

/// Switches are 32 bits wide, amounts 64.
fn is_switch(number: u32) -> bool {
    number <= 3
}

fn attribute(pool: Handle, number: u32, out: HostMemory) -> Answer {
    let pool = handles::get::<Pool>(pool)?;
    let value = lock(&pool.attributes).get(&number).copied();
    let mut value = value.ok_or(Code::InvalidValue)?;
    if (5..=8).contains(&number) {
        value = context::current().map_or(0, |context| context.gpu.used());
    }
    if is_switch(number) { out.write(&(value as u32).to_le_bytes()) } else { out.write(&value.to_le_bytes()) }
}

fn set_attribute(pool: Handle, number: u32, value: HostMemory) -> Answer {
    let pool = handles::get::<Pool>(pool)?;
    let mut word = [0; 8];
    value.read_into(&mut word[..if is_switch(number) { 4 } else { 8 }])?;
    let word = u64::from_le_bytes(word);
    match number {
        1..=4 => lock(&pool.attributes).insert(number, word),
        6 | 8 if word == 0 => None, // forgets the high-water mark
        _ => return Err(Code::InvalidValue),
    };
    Ok(())
}

exports! {
    /// The pool a device starts with.
    fn cuDeviceGetDefaultMemPool(pool: Out<Handle>, device: i32) {
        pool.set(of_device(device)?.0)
    }

    /// The pool a device allocates from.
    fn cuDeviceGetMemPool(pool: Out<Handle>, device: i32) {
        pool.set(of_device(device)?.1)
    }

    /// Sets the pool a device allocates from.
    fn cuDeviceSetMemPool(device: i32, pool: Handle) {
        let (default, _) = of_device(device)?;
        handles::get::<Pool>(pool)?;
        lock(&OF_DEVICES).insert(device, (default, pool));
        Ok(())
    }

    /// Creates a pool.
    fn cuMemPoolCreate(pool: Out<Handle>, properties: Array<u8>) {
        device::require_init()?;
        if pool.is_null() || properties.is_null() {
            return Err(Code::InvalidValue);
        }
        pool.set(create().handle)
    }

    /// Destroys a pool; what was allocated from it lives on.
    fn cuMemPoolDestroy(pool: Handle) {
        let mut pools = lock(&OF_DEVICES);
        if pools.values().any(|(default, _)| *default == pool) {
            return Err(Code::InvalidValue);
        }
        handles::remove::<Pool>(pool)?;
        for (default, current) in pools.values_mut() {
            if *current == pool {
                *current = *default;
            }
        }
        Ok(())
    }

    /// Gives unused memory back: pools keep none.
    fn cuMemPoolTrimTo(pool: Handle, _keep: usize) {
        handles::get::<Pool>(pool)?;
        Ok(())
    }

    /// An attribute of a pool.
    fn cuMemPoolGetAttribute(pool: Handle, number: u32, out: HostMemory) {
        attribute(pool, number, out)
    }

    /// Sets an attribute of a pool.
    fn cuMemPoolSetAttribute(pool: Handle, number: u32, value: HostMemory) {
        set_attribute(pool, number, value)
    }

    /// Allocates from a pool, in stream order.
    fn cuMemAllocFromPoolAsync(address: Out<u64>, bytes: usize, pool: Handle, stream: Handle) {
        handles::get::<Pool>(pool)?;
        copy::allocate_on(address, bytes, stream)
    }
}
