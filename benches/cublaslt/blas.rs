//! NVIDIA's library. Its calls are unsafe, and no part of the engine makes any: this file may, beside `src/raw`.
//!
//! cudarc knows the types, and loads the library of CUDA 12 and older by name; here it is loaded from wherever it lies, of any
//! version: these calls and their types have been the same since CUDA 11.
#![allow(unsafe_code)]

use crate::find;
use cudarc::cublaslt::sys;
use cudarc::driver::sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};
use half::f16;
use libloading::Library;
use std::ffi::c_void;
use std::fmt::Display;
use std::ptr::{from_mut, from_ref, null_mut};
use std::sync::Arc;

type Status = sys::cublasStatus_t;
type Create = unsafe extern "C" fn(*mut sys::cublasLtHandle_t) -> Status;
type DescCreate =
    unsafe extern "C" fn(*mut sys::cublasLtMatmulDesc_t, sys::cublasComputeType_t, sys::cudaDataType_t) -> Status;
type DescSet = unsafe extern "C" fn(
    sys::cublasLtMatmulDesc_t,
    sys::cublasLtMatmulDescAttributes_t,
    *const c_void,
    usize,
) -> Status;
type LayoutCreate =
    unsafe extern "C" fn(*mut sys::cublasLtMatrixLayout_t, sys::cudaDataType_t, u64, u64, i64) -> Status;
type PreferenceCreate = unsafe extern "C" fn(*mut sys::cublasLtMatmulPreference_t) -> Status;
type PreferenceSet = unsafe extern "C" fn(
    sys::cublasLtMatmulPreference_t,
    sys::cublasLtMatmulPreferenceAttributes_t,
    *const c_void,
    usize,
) -> Status;
type Heuristic = unsafe extern "C" fn(
    sys::cublasLtHandle_t,
    sys::cublasLtMatmulDesc_t,
    sys::cublasLtMatrixLayout_t,
    sys::cublasLtMatrixLayout_t,
    sys::cublasLtMatrixLayout_t,
    sys::cublasLtMatrixLayout_t,
    sys::cublasLtMatmulPreference_t,
    i32,
    *mut sys::cublasLtMatmulHeuristicResult_t,
    *mut i32,
) -> Status;
type Matmul = unsafe extern "C" fn(
    sys::cublasLtHandle_t,
    sys::cublasLtMatmulDesc_t,
    *const c_void,
    *const c_void,
    sys::cublasLtMatrixLayout_t,
    *const c_void,
    sys::cublasLtMatrixLayout_t,
    *const c_void,
    *const c_void,
    sys::cublasLtMatrixLayout_t,
    *mut c_void,
    sys::cublasLtMatrixLayout_t,
    *const sys::cublasLtMatmulAlgo_t,
    *mut c_void,
    usize,
    sys::cudaStream_t,
) -> Status;

/// What the library may use for partial sums: what it asks for on a Hopper.
const WORKSPACE_BYTES: usize = 32 << 20;

/// cuBLASLt on the first GPU.
pub(crate) struct Blas {
    stream: Arc<CudaStream>,
    library: Library,
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    /// Where it was found.
    pub(crate) from: String,
}

/// Matrices of one product: x [rows, inner], w [cols, inner], y [rows, cols].
struct Set {
    x: CudaSlice<f16>,
    w: CudaSlice<f16>,
    y: CudaSlice<f16>,
}

impl Blas {
    /// Opens it, or says why not.
    pub(crate) fn open() -> Result<Self, String> {
        let candidates = find::candidates();
        // SAFETY: the library is NVIDIA's; loading it runs its start-up code, as linking to it would.
        let found = candidates.iter().find_map(|path| Some((path, unsafe { Library::new(path) }.ok()?)));
        let Some((path, library)) = found else {
            return Err(
                "no cuBLASLt (libcublasLt.so.13, .12 or .11) on this machine, nor in the wheels of its Python; it \
                        comes with CUDA, or pip install nvidia-cublas"
                    .into(),
            );
        };
        let from = path.display().to_string();
        let context = CudaContext::new(0).map_err(text)?;
        // SAFETY: one stream does everything here; its order is enough, and events must not be recorded inside a capture.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(text)?;
        let workspace = stream.alloc_zeros(WORKSPACE_BYTES).map_err(text)?;
        let mut handle = null_mut();
        // SAFETY: the signature is that of cublasLt.h; a place for the handle is given.
        fine(unsafe { (library.get::<Create>(b"cublasLtCreate\0").map_err(text)?)(&mut handle) }, "start")?;
        Ok(Blas { stream, library, handle, workspace, from })
    }

    /// Microseconds of `[rows, inner] · [inner, cols]`, the second factor stored transposed as weights are: the mean of one
    /// graph of as many products as keep `bytes` of other matrices between two over the same ones. The choice of the
    /// algorithm is not timed.
    pub(crate) fn time_us(&self, rows: usize, inner: usize, cols: usize, bytes: usize) -> Result<f64, String> {
        let each = 2 * (rows * inner + cols * inner + rows * cols);
        let sets = (0..bytes.div_ceil(each) + 1).map(|_| self.set(rows, inner, cols)).collect::<Result<Vec<_>, _>>()?;
        let product = self.product(rows, inner, cols)?;
        let all = || sets.iter().try_for_each(|set| product.run(set));
        all()?;
        self.stream.synchronize().map_err(text)?;
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(text)?;
        let given = all();
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0)).map_err(text);
        given?;
        let graph = graph?.ok_or("cuBLASLt cannot be captured")?;
        let context = self.stream.context();
        let mark = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(text);
        let (start, end) = (mark()?, mark()?);
        // Warm, and ahead of the host.
        let repeats = 20;
        (0..repeats).try_for_each(|_| graph.launch()).map_err(text)?;
        start.record(&self.stream).map_err(text)?;
        (0..repeats).try_for_each(|_| graph.launch()).map_err(text)?;
        end.record(&self.stream).map_err(text)?;
        Ok(1e3 * f64::from(start.elapsed_ms(&end).map_err(text)?) / (repeats * sets.len()) as f64)
    }

    fn set(&self, rows: usize, inner: usize, cols: usize) -> Result<Set, String> {
        // No zeros: with them a card draws less power, and clocks higher.
        let number = |i: usize| f16::from_f32((i.wrapping_mul(0x9e37_79b9) >> 7) as u16 as f32 / 65536.0 - 0.5);
        let fill = |len: usize| self.stream.clone_htod(&(0..len).map(number).collect::<Vec<_>>()).map_err(text);
        let y = self.stream.alloc_zeros(rows * cols).map_err(text)?;
        Ok(Set { x: fill(rows * inner)?, w: fill(cols * inner)?, y })
    }

    /// Columns first: yᵀ [cols, rows] = (w as stored [inner, cols])ᵀ · xᵀ [inner, rows].
    fn product(&self, rows: usize, inner: usize, cols: usize) -> Result<Product<'_>, String> {
        use sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
        use sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA;
        use sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        use sys::cudaDataType_t::{CUDA_R_16F, CUDA_R_32F};
        let (mut desc, mut preference) = (null_mut(), null_mut());
        let mut layouts = [null_mut(); 3];
        let sizes = [(inner, cols), (inner, rows), (cols, rows)];
        // CUBLAS_OP_T.
        let transposed = 1_i32;
        // SAFETY: plain numbers; it is written by the library.
        let mut best: sys::cublasLtMatmulHeuristicResult_t = unsafe { std::mem::zeroed() };
        let mut found = 0;
        // SAFETY: the signatures are those of cublasLt.h; every pointer is to a live place of the right type. The handles are
        // small and stay until the process ends.
        unsafe {
            let create = self.library.get::<DescCreate>(b"cublasLtMatmulDescCreate\0").map_err(text)?;
            let set = self.library.get::<DescSet>(b"cublasLtMatmulDescSetAttribute\0").map_err(text)?;
            let layout = self.library.get::<LayoutCreate>(b"cublasLtMatrixLayoutCreate\0").map_err(text)?;
            let prefer = self.library.get::<PreferenceCreate>(b"cublasLtMatmulPreferenceCreate\0").map_err(text)?;
            let allow = self.library.get::<PreferenceSet>(b"cublasLtMatmulPreferenceSetAttribute\0").map_err(text)?;
            let choose = self.library.get::<Heuristic>(b"cublasLtMatmulAlgoGetHeuristic\0").map_err(text)?;
            fine(create(&mut desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describe a product")?;
            let (transa, bytes) = (from_ref(&transposed).cast(), size_of::<i32>());
            fine(set(desc, CUBLASLT_MATMUL_DESC_TRANSA, transa, bytes), "transpose")?;
            for (made, (rows, cols)) in layouts.iter_mut().zip(sizes) {
                fine(layout(made, CUDA_R_16F, rows as u64, cols as u64, rows as i64), "describe a matrix")?;
            }
            fine(prefer(&mut preference), "have preferences")?;
            let (most, bytes) = (from_ref(&WORKSPACE_BYTES).cast(), size_of::<usize>());
            fine(allow(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most, bytes), "have a workspace")?;
            let [w, x, y] = layouts;
            fine(choose(self.handle, desc, w, x, y, y, preference, 1, &mut best, &mut found), "choose an algorithm")?;
        }
        if found == 0 {
            return Err(format!("cuBLASLt knows no algorithm for {rows}×{inner}×{cols}"));
        }
        Ok(Product { blas: self, desc, layouts, algorithm: best.algo })
    }
}

/// A product that the library has chosen an algorithm for.
struct Product<'a> {
    blas: &'a Blas,
    desc: sys::cublasLtMatmulDesc_t,
    /// Of w, x and y.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
}

impl Product<'_> {
    fn run(&self, set: &Set) -> Result<(), String> {
        let Blas { stream, library, handle, workspace, .. } = self.blas;
        let [w, x, y] = [&set.w, &set.x, &set.y].map(|matrix| matrix.device_ptr(stream).0);
        let [of_w, of_x, of_y] = self.layouts;
        let (alpha, beta) = (1.0_f32, 0.0_f32);
        let at = |address: u64| std::ptr::without_provenance_mut::<c_void>(address as usize);
        let mut algorithm = self.algorithm;
        // SAFETY: the signature is that of cublasLt.h; the matrices have the sizes of the layouts and live through the run.
        let status = unsafe {
            let matmul = library.get::<Matmul>(b"cublasLtMatmul\0").map_err(text)?;
            matmul(
                *handle,
                self.desc,
                from_ref(&alpha).cast(),
                at(w),
                of_w,
                at(x),
                of_x,
                from_ref(&beta).cast(),
                at(y),
                of_y,
                at(y),
                of_y,
                from_mut(&mut algorithm),
                at(workspace.device_ptr(stream).0),
                WORKSPACE_BYTES,
                stream.cu_stream().cast(),
            )
        };
        fine(status, "multiply")
    }
}

fn fine(status: Status, what: &str) -> Result<(), String> {
    match status {
        Status::CUBLAS_STATUS_SUCCESS => Ok(()),
        other => Err(format!("cuBLASLt does not {what}: {other:?}")),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
