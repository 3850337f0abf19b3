//! Kernels compiled here and launched through cudarc, and what they get.

use crate::common::{device, driver, ptx};
use cudarc::driver::{CudaContext, CudaFunction, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, ValidAsZeroBits};
use cudarc::nvrtc::Ptx;
use std::sync::Arc;

/// A device and the kernels of one file.
pub(crate) struct Harness {
    context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    text: String,
}

/// Compiles one of the files of `kernels/` for sm_80.
pub(crate) fn harness(file: &str) -> Harness {
    let path = format!("{}/tests/kernels/{file}.cu", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&path).unwrap();
    let (context, stream) = device();
    Harness { context, stream, text: ptx(&source, "sm_80") }
}

impl Harness {
    pub(crate) fn kernel(&self, name: &str) -> CudaFunction {
        let module = self.context.load_module(Ptx::from_src(self.text.clone())).unwrap();
        module.load_function(name).unwrap()
    }

    pub(crate) fn put<T: DeviceRepr>(&self, data: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(data).unwrap()
    }

    /// Memory that the kernel has to write before anyone reads it.
    pub(crate) fn fresh<T: DeviceRepr>(&self, n: usize) -> CudaSlice<T> {
        // SAFETY: the device marks it as undefined; a read of it is a finding.
        unsafe { self.stream.alloc(n) }.unwrap()
    }

    pub(crate) fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, n: usize) -> CudaSlice<T> {
        self.stream.alloc_zeros(n).unwrap()
    }

    pub(crate) fn get<T: DeviceRepr + Clone + Default>(&self, data: &CudaSlice<T>) -> Vec<T> {
        self.stream.clone_dtoh(data).unwrap()
    }
}

/// `run!(harness, kernel(arguments…), blocks, threads)`: launches, waits, wants no finding.
macro_rules! run {
    ($harness:ident, $kernel:ident($($argument:expr),* $(,)?), $blocks:expr, $threads:expr) => {{
        launch!($harness, $kernel($($argument),*), $blocks, $threads);
        $crate::harness::no_findings(stringify!($kernel));
    }};
}

/// Launches and waits.
macro_rules! launch {
    ($harness:ident, $kernel:ident($($argument:expr),* $(,)?), $blocks:expr, $threads:expr) => {{
        use cudarc::driver::PushKernelArg;
        let kernel = $harness.kernel(stringify!($kernel));
        let mut launch = $harness.stream.launch_builder(&kernel);
        let shape = $crate::harness::shape($blocks, $threads);
        // SAFETY: the arguments are those of the kernel's declaration.
        unsafe { launch$(.arg($argument))*.launch(shape) }.unwrap();
        $harness.stream.synchronize().unwrap();
    }};
}

pub(crate) fn shape(blocks: u32, threads: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 }
}

pub(crate) fn no_findings(kernel: &str) {
    let found: Vec<_> = driver().findings().into_iter().filter(|finding| finding["kernel"] == kernel).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The same numbers in every run, spread over 32 bits.
pub(crate) fn numbers(n: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9u32;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        })
        .collect()
}

pub(crate) fn small(n: usize, below: u32) -> Vec<i32> {
    numbers(n).iter().map(|v| (v % below) as i32).collect()
}

pub(crate) fn signed(n: usize, from: usize, limit: u32) -> Vec<i32> {
    numbers(n + from)[from..].iter().map(|v| (v >> 8) as i32 % (2 * limit as i32 + 1) - limit as i32).collect()
}
