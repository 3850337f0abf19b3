//! What a card can do, measured on it: not what its data sheet says at a clock that it may never hold.

use super::Gpu;
use super::call::{Launch, PtrMut, RATE_BLOCKS, RATE_SUMS, RATE_WARPS, call as kernel};
use super::gpu::{Code, device_fault};
use crate::error::Result;
use crate::program::DType;
use crate::raw::gpu::{Context, Fault, Memory};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits of a card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// 10¹² multiplications and additions a second in a loop of nothing but matrix products (`mma.sync`, sums in f32).
    pub tflops: f64,
    /// 10⁹ bytes a second, read and written, of a copy on the device that no cache holds.
    pub bandwidth_gb: f64,
    /// Of the core clock right behind the products.
    pub clock_ghz: f64,
}

/// Rounds of a launch: two milliseconds of an A100.
const ROUNDS: u32 = 10_000;
/// Launches between two events: longer than the host needs to give them.
const LAUNCHES: u32 = 8;
/// Of these stretches the best counts: a limit is what nothing stood in the way of.
const STRETCHES: u32 = 5;
/// The clock is counted for this long.
const CLOCK_NS: u64 = 2_000_000;
/// Bytes of a copy, at least; and four times what the cache holds.
const COPY_BYTES: usize = 256 << 20;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    warm_up: Duration,
    rounds: u32,
    copy_bytes: usize,
    stretches: u32,
}

impl Gpu {
    /// Measures the card's limits for a stored dtype, in under a second. Of a virtual one, which has no times, it runs the
    /// kernels and copies once, over little.
    pub fn rates(&self, dtype: DType) -> Result<Rates> {
        let extent = if self.is_virtual() {
            Extent { warm_up: Duration::ZERO, rounds: 2, copy_bytes: 1 << 16, stretches: 1 }
        } else {
            // Room for two.
            let most = self.free_bytes()? / 4;
            let copy_bytes = COPY_BYTES.max(4 * self.l2_bytes()).min(most).next_multiple_of(256);
            Extent { warm_up: Duration::from_millis(200), rounds: ROUNDS, copy_bytes, stretches: STRETCHES }
        };
        let context = self.context().with_own_stream().map_err(device_fault("open a stream"))?;
        let clock = self.clock(&context)?;
        let code = self.code(dtype)?;
        let blocks = RATE_BLOCKS as u32 * self.multiprocessors();
        let memory = |bytes| context.alloc(bytes).map_err(|fault| self.no_room(fault, "the measurement", bytes));
        let out = memory(blocks as usize * RATE_WARPS * 32 * 4)?;
        let [from, to] = [memory(extent.copy_bytes)?, memory(extent.copy_bytes)?];
        let product = kernel::product_rate(PtrMut::at(out.address()), extent.rounds).over([blocks, 1, 1]);
        self.make_ready(&code, std::slice::from_ref(&product))?;
        let products = || code.launch(&context, &product);
        let copies = || context.copy((&to, 0), (&from, 0), extent.copy_bytes);

        let measured = || -> Result<(f64, f64), Fault> {
            let warm = Instant::now();
            loop {
                copies()?;
                products()?;
                context.synchronize()?;
                if warm.elapsed() >= extent.warm_up {
                    break;
                }
            }
            let copy_ms = best(&context, extent.stretches, &copies)?;
            Ok((copy_ms, best(&context, extent.stretches, &products)?))
        };
        let (copy_ms, product_ms) = measured().map_err(device_fault("measure the GPU"))?;
        let clock_ghz = clock.read(&context)?;
        let flops = 4096.0 * (RATE_SUMS * RATE_WARPS) as f64 * f64::from(extent.rounds) * f64::from(blocks);
        Ok(Rates {
            tflops: flops / product_ms / 1e9,
            bandwidth_gb: 2.0 * extent.copy_bytes as f64 / copy_ms / 1e6,
            clock_ghz,
        })
    }

    /// A count of the core clock, to be put behind other work.
    pub(super) fn clock(&self, context: &Context) -> Result<Clock> {
        let code = self.code(DType::F16)?;
        let out = context.alloc(16).map_err(|fault| self.no_room(fault, "a clock", 16))?;
        let wanted = if self.is_virtual() { 1 } else { CLOCK_NS };
        let launch = kernel::clock_rate(PtrMut::at(out.address()), wanted).alone();
        self.make_ready(&code, std::slice::from_ref(&launch))?;
        Ok(Clock { code, launch, out })
    }
}

/// Milliseconds of one, in the shortest of some stretches of several.
fn best(context: &Context, stretches: u32, give: &dyn Fn() -> Result<(), Fault>) -> Result<f64, Fault> {
    let marks = [context.mark()?, context.mark()?];
    let mut best_ms = f64::INFINITY;
    for _ in 0..stretches {
        // Ahead of the first that counts.
        give()?;
        context.put(&marks[0])?;
        (0..LAUNCHES).try_for_each(|_| give())?;
        context.put(&marks[1])?;
        best_ms = best_ms.min(f64::from(marks[0].ms_until(&marks[1])?) / f64::from(LAUNCHES));
    }
    Ok(best_ms)
}

/// See [`Gpu::clock`].
pub(super) struct Clock {
    code: Arc<Code>,
    launch: Launch,
    out: Memory,
}

impl Clock {
    /// Counts behind what the stream was given, and waits: GHz.
    pub(super) fn read(&self, context: &Context) -> Result<f64> {
        let failed = || device_fault("count the GPU's clock");
        self.code.launch(context, &self.launch).map_err(failed())?;
        let bytes = context.read(&self.out, 0, 16).map_err(failed())?;
        let [cycles, ns] = bytemuck::pod_read_unaligned::<[u64; 2]>(&bytes);
        Ok(cycles as f64 / ns as f64)
    }
}
