//! NVIDIA's library. Its calls are unsafe, and no part of the engine makes any: this file may, beside `src/raw`.
#![allow(unsafe_code)]

use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig, sys};
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaStream};
use half::f16;
use std::fmt::Display;
use std::sync::Arc;

/// cuBLASLt on the first GPU.
pub(crate) struct Blas {
    stream: Arc<CudaStream>,
    blas: CudaBlasLT,
}

impl Blas {
    /// Opens it, or says why not.
    pub(crate) fn open() -> Result<Self, String> {
        // SAFETY: looks whether the library can be opened.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "no cuBLASLt (libcublasLt) on this machine; it comes with CUDA, or pip install nvidia-cublas".into()
            );
        }
        let context = CudaContext::new(0).map_err(text)?;
        // SAFETY: one stream does everything here; its order is enough, and events must not be recorded inside a capture.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(text)?;
        let blas = CudaBlasLT::new(Arc::clone(&stream)).map_err(text)?;
        Ok(Blas { stream, blas })
    }

    /// Microseconds of `[rows, inner] · [inner, cols]`, the second factor stored transposed as weights are: the mean of
    /// `runs` in one graph, so that the choice of the algorithm, which the library makes at each call, is not timed.
    pub(crate) fn time_us(&self, rows: usize, inner: usize, cols: usize, runs: usize) -> Result<f64, String> {
        // No zeros: with them a card draws less power, and clocks higher.
        let number = |i: usize| f16::from_f32((i.wrapping_mul(0x9e37_79b9) >> 7) as u16 as f32 / 65536.0 - 0.5);
        let fill = |len: usize| self.stream.clone_htod(&(0..len).map(number).collect::<Vec<_>>()).map_err(text);
        let (x, w) = (fill(rows * inner)?, fill(cols * inner)?);
        let mut y = self.stream.alloc_zeros::<f16>(rows * cols).map_err(text)?;
        // Columns first: yᵀ [cols, rows] = (w as stored [inner, cols])ᵀ · xᵀ [inner, rows].
        let config = || MatmulConfig {
            transa: true,
            transb: false,
            transc: false,
            m: cols as u64,
            n: rows as u64,
            k: inner as u64,
            alpha: 1.0,
            lda: inner as i64,
            ldb: inner as i64,
            beta: 0.0,
            ldc: cols as i64,
            stride_a: None,
            stride_b: None,
            stride_c: None,
            stride_bias: None,
            batch_size: None,
        };
        let mut multiply = || {
            // SAFETY: the matrices have the sizes that the configuration says, and live through the run.
            unsafe { self.blas.matmul(config(), &w, &x, &mut y, None, None) }.map_err(text)
        };
        multiply()?;
        self.stream.synchronize().map_err(text)?;
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(text)?;
        let given = (0..runs).try_for_each(|_| multiply());
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(text);
        given?;
        let graph = graph?.ok_or("cuBLASLt cannot be captured")?;
        graph.launch().map_err(text)?;
        let mark = || self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(text);
        let start = mark()?;
        graph.launch().map_err(text)?;
        let end = mark()?;
        Ok(1e3 * f64::from(start.elapsed_ms(&end).map_err(text)?) / runs as f64)
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
