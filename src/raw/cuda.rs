//! The CUDA driver behind checked calls: what every unsafe call owes is met here, and nothing outside can break it.
//!
//! Device memory is not host memory: a kernel that goes wrong can spoil results and end its context, never this process's
//! memory. All work goes to one stream of its own (the default stream cannot be captured) in the order in which it is given.
//! cudarc's event tracking is off: it would record events inside captures.

use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute, CUjit_option, CUresult};
use cudarc::driver::{CudaContext, CudaEvent, CudaGraph, CudaStream, DriverError, result};
use std::ffi::{CString, c_void};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What the driver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(CUresult);

impl Fault {
    /// The device has no room.
    pub(crate) fn is_out_of_memory(self) -> bool {
        self.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY
    }

    /// The library that was loaded is the one of a toolkit that programs are linked against, and no driver.
    pub(crate) fn is_stub(self) -> bool {
        self.0 == CUresult::CUDA_ERROR_STUB_LIBRARY
    }

    /// The image holds no code for this device, or code that this driver cannot read.
    pub(crate) fn is_wrong_image(self) -> bool {
        use CUresult::*;
        matches!(
            self.0,
            CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_INVALID_IMAGE
                | CUDA_ERROR_UNSUPPORTED_PTX_VERSION
                | CUDA_ERROR_INVALID_SOURCE
                | CUDA_ERROR_INVALID_PTX
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = DriverError(self.0);
        match (error.error_name(), error.error_string()) {
            (Ok(name), Ok(text)) => write!(f, "{} ({})", text.to_string_lossy(), name.to_string_lossy()),
            _ => write!(f, "CUDA error {}", self.0 as u32),
        }
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        Fault(error.0)
    }
}

type Outcome<T> = Result<T, Fault>;

/// Why there is no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// No driver library on this machine.
    NoDriver,
    /// The library named by the user cannot be loaded.
    NotLoaded(String),
    /// The driver refuses to start.
    Refused(Fault),
    /// The driver knows no device.
    NoDevice,
    /// The library lacks this function: it is no driver, or too old.
    Lacks(&'static str),
}

/// Every function of the driver that is called, here or by cudarc, which panics where one is missing.
const FUNCTIONS: [&str; 44] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetAttribute",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuModuleLoadDataEx",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuFuncSetAttribute",
    "cuFuncGetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuEventDestroy_v2",
];

/// Opens a driver library by its path before anybody looks for one by name. It stays open.
pub(crate) fn preload(path: &Path) -> Result<(), Absence> {
    // SAFETY: the user names a CUDA driver; loading one runs its own start-up code, as finding it by name would.
    match unsafe { libloading::Library::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(Absence::NotLoaded(error.to_string())),
    }
}

/// Number of devices, and the driver's version as 12040 for 12.4.
pub(crate) fn probe() -> Result<(usize, i32), Absence> {
    // SAFETY: looks whether a library can be opened.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absence::NoDriver);
    }
    // SAFETY: a driver library is there, so that it is found again; it stays open.
    let library = unsafe { sys::culib() };
    // SAFETY: symbols are looked up, not called.
    let lacks = |name: &str| unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_err();
    if let Some(name) = FUNCTIONS.into_iter().find(|name| lacks(name)) {
        return Err(Absence::Lacks(name));
    }
    match result::init().map_err(Fault::from) {
        Err(Fault(CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(Absence::NoDevice),
        Err(fault) => return Err(Absence::Refused(fault)),
        Ok(()) => {}
    }
    let mut version = 0;
    // SAFETY: one integer to write.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    let count = asked.and_then(|()| result::device::get_count()).map_err(|e| Absence::Refused(e.into()))?;
    if count == 0 { Err(Absence::NoDevice) } else { Ok((count as usize, version)) }
}

/// Which kernels leave the L1 cache no more than it must have of the memory that it shares with shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carveout {
    /// Those that use shared memory: without it fewer blocks may be resident than fit. The others keep a large L1.
    #[default]
    WhereShared,
    /// All.
    Always,
    /// None: the driver chooses.
    Never,
}

/// What the roofline and the choice of images need to know of a device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Properties {
    /// As its maker calls it.
    pub(crate) name: String,
    /// Compute capability: 80, 89, 90.
    pub(crate) sm: u32,
    /// Streaming multiprocessors.
    pub(crate) multiprocessors: u32,
    /// Highest core clock in GHz; 0 where the driver does not tell it.
    pub(crate) clock_ghz: f64,
    /// Memory bandwidth in 10⁹ bytes a second, from clock and bus width; 0 where the driver does not tell the clock.
    pub(crate) bandwidth_gb: f64,
    /// Second-level cache in bytes.
    pub(crate) l2_bytes: usize,
    /// Shared memory that one block may ask for, in bytes.
    pub(crate) shared_bytes: u32,
    /// Device memory in bytes.
    pub(crate) memory_bytes: usize,
}

/// A device, its stream, and the room that small results come back through.
#[derive(Debug)]
pub(crate) struct Context {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    spare: Arc<Mutex<Vec<Pinned>>>,
}

impl Context {
    /// Opens device number `ordinal`, after [`probe`] has found it.
    pub(crate) fn open(ordinal: usize) -> Outcome<Self> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: everything here runs on one stream, whose order is the only one that is needed.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        Ok(Context { context, stream, spare: Arc::default() })
    }

    /// The same device with a stream of its own: what one thread records, another does not get into.
    pub(crate) fn beside(&self) -> Outcome<Self> {
        let context = Arc::clone(&self.context);
        let stream = context.new_stream()?;
        Ok(Context { context, stream, spare: Arc::clone(&self.spare) })
    }

    /// What the device is.
    pub(crate) fn properties(&self) -> Outcome<Properties> {
        use CUdevice_attribute::*;
        let get = |attribute| self.context.attribute(attribute).map(|value| value as u32);
        let (major, minor) = self.context.compute_capability()?;
        let memory_khz = f64::from(get(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?);
        let bus_bytes = f64::from(get(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?) / 8.0;
        Ok(Properties {
            name: self.context.name()?,
            sm: (10 * major + minor) as u32,
            multiprocessors: get(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            clock_ghz: f64::from(get(CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?) / 1e6,
            bandwidth_gb: 2.0 * memory_khz * bus_bytes / 1e6,
            l2_bytes: get(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
            shared_bytes: get(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            memory_bytes: self.context.total_mem()?,
        })
    }

    /// Free bytes of device memory.
    pub(crate) fn free_bytes(&self) -> Outcome<usize> {
        Ok(self.context.mem_get_info()?.0)
    }

    /// Takes device memory; what it holds is left from before.
    pub(crate) fn alloc(&self, bytes: usize) -> Outcome<Memory> {
        self.context.bind_to_thread()?;
        // SAFETY: a context is bound; the memory is freed once, by `Memory`.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Memory { address, bytes, context: Arc::clone(&self.context) })
    }

    /// Copies bytes to the device after all work that was given so far.
    #[track_caller]
    pub(crate) fn write(&self, to: &Memory, offset: usize, bytes: &[u8]) -> Outcome<()> {
        let address = to.locate(offset, bytes.len());
        self.context.bind_to_thread()?;
        // SAFETY: in bounds of live device memory. The host bytes outlive the copy: the stream is waited for.
        unsafe { result::memcpy_htod_async(address, bytes, self.stream.cu_stream()) }?;
        self.synchronize()
    }

    /// Copies bytes from the device after all work that was given so far.
    #[track_caller]
    pub(crate) fn read(&self, from: &Memory, offset: usize, len: usize) -> Outcome<Vec<u8>> {
        let address = from.locate(offset, len);
        let mut bytes = vec![0; len];
        self.context.bind_to_thread()?;
        // SAFETY: in bounds of live device memory; the host bytes outlive the copy: the stream is waited for.
        unsafe { result::memcpy_dtoh_async(&mut bytes, address, self.stream.cu_stream()) }?;
        self.synchronize()?;
        Ok(bytes)
    }

    /// Starts to copy up to [`SMALL_BYTES`] from the device, and goes on.
    #[track_caller]
    pub(crate) fn start_read(&self, from: &Memory, offset: usize, len: usize) -> Outcome<Arriving> {
        assert!(len <= SMALL_BYTES, "{len} bytes are no small result");
        let address = from.locate(offset, len);
        let spare = self.spare.lock().map_or(None, |mut spare| spare.pop());
        let mut landing = spare.map_or_else(|| Pinned::new(&self.context), Ok)?;
        self.context.bind_to_thread()?;
        // SAFETY: in bounds of live device memory and of the page-locked bytes, which `Arriving` keeps until the copy is done.
        unsafe { result::memcpy_dtoh_async(&mut landing.bytes_mut()[..len], address, self.stream.cu_stream()) }?;
        let done = self.context.new_event(None)?;
        done.record(&self.stream)?;
        Ok(Arriving { landing: Some(landing), len, done, spare: Arc::clone(&self.spare) })
    }

    /// Loads a module image: a cubin, or PTX that ends in NUL. An error comes with what the driver's compiler wrote.
    pub(crate) fn load(&self, image: &[u8]) -> Result<Arc<Module>, (Fault, String)> {
        self.context.bind_to_thread().map_err(|e| (e.into(), String::new()))?;
        let mut log = vec![0_u8; 4096];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(log.len())];
        let mut handle = std::ptr::null_mut();
        // The driver may read an image in words.
        let aligned: Vec<u64> = bytemuck::pod_collect_to_vec(&padded(image));
        // SAFETY: image, log and options live through the call; the image says its own end (NUL, or an ELF header).
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &mut handle,
                aligned.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        match loaded {
            CUresult::CUDA_SUCCESS => Ok(Arc::new(Module { handle, context: Arc::clone(&self.context) })),
            fault => {
                let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
                Err((Fault(fault), String::from_utf8_lossy(&log[..end]).trim().to_owned()))
            }
        }
    }

    /// Gives a kernel to the stream.
    pub(crate) fn launch(&self, kernel: &Function, grid: [u32; 3], threads: u32, params: &Params) -> Outcome<()> {
        let mut pointers: Vec<*mut c_void> =
            params.starts.iter().map(|&start| params.bytes[start..].as_ptr().cast_mut().cast()).collect();
        self.context.bind_to_thread()?;
        // SAFETY: the function's module is alive; the driver copies as many bytes behind each pointer as the kernel declares,
        // and the build checks those sizes against the declarations that `params` are made by.
        unsafe {
            result::launch_kernel(
                kernel.handle,
                grid.into(),
                (threads, 1, 1),
                kernel.shared_bytes,
                self.stream.cu_stream(),
                &mut pointers,
            )
        }?;
        Ok(())
    }

    /// Records what `give` gives to the stream instead of running it.
    pub(crate) fn capture<E: From<Fault>>(&self, give: impl FnOnce() -> Result<(), E>) -> Result<Graph, E> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(Fault::from)?;
        let given = give();
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        given?;
        let graph = graph.map_err(Fault::from)?.ok_or(Fault(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED))?;
        Ok(Graph(graph))
    }

    /// Waits for all work that was given so far.
    pub(crate) fn synchronize(&self) -> Outcome<()> {
        Ok(self.stream.synchronize()?)
    }

    /// Copies on the device, after all work that was given so far, and goes on.
    #[track_caller]
    pub(crate) fn copy(&self, to: (&Memory, usize), from: (&Memory, usize), len: usize) -> Outcome<()> {
        let (to, from) = (to.0.locate(to.1, len), from.0.locate(from.1, len));
        self.context.bind_to_thread()?;
        // SAFETY: both in bounds of live device memory, which is freed only after the work that uses it.
        Ok(unsafe { result::memcpy_dtod_async(to, from, len, self.stream.cu_stream()) }?)
    }

    /// A mark that stands nowhere yet. Making one takes the driver long: not within what is timed.
    pub(crate) fn mark(&self) -> Outcome<Mark> {
        Ok(Mark(self.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))?))
    }

    /// Puts a mark at this place of the stream; while work is recorded, at this place of every replay.
    pub(crate) fn put(&self, mark: &Mark) -> Outcome<()> {
        self.context.bind_to_thread()?;
        let external = sys::CUevent_record_flags_enum::CU_EVENT_RECORD_EXTERNAL as u32;
        let flags = if self.capturing()? { external } else { 0 };
        // SAFETY: event and stream are alive and of one context. Recorded, the event is part of the graph: whoever replays it
        // keeps the mark.
        unsafe { sys::cuEventRecordWithFlags(mark.0.cu_event(), self.stream.cu_stream(), flags) }.result()?;
        Ok(())
    }

    fn capturing(&self) -> Outcome<bool> {
        Ok(self.stream.capture_status()? == sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE)
    }
}

fn padded(image: &[u8]) -> Vec<u8> {
    let mut bytes = image.to_vec();
    bytes.resize(image.len().next_multiple_of(8) + 8, 0);
    bytes
}

/// A place of the stream in time.
pub(crate) struct Mark(CudaEvent);

impl Mark {
    /// Milliseconds from here to a later mark; waits for both.
    pub(crate) fn ms_until(&self, later: &Mark) -> Outcome<f32> {
        Ok(self.0.elapsed_ms(&later.0)?)
    }
}

/// Device memory.
#[derive(Debug)]
pub(crate) struct Memory {
    address: u64,
    bytes: usize,
    context: Arc<CudaContext>,
}

impl Memory {
    /// Where it begins on the device: a multiple of 256.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    #[track_caller]
    fn locate(&self, offset: usize, len: usize) -> u64 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.bytes),
            "{offset} + {len} of {} bytes",
            self.bytes
        );
        self.address + offset as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `alloc`, freed here alone; freeing waits for work that uses it.
        let freed = self.context.bind_to_thread().and_then(|()| unsafe { result::free_sync(self.address) });
        self.context.record_err(freed);
    }
}

/// Largest result that comes back without the host waiting for it.
pub(crate) const SMALL_BYTES: usize = 4096;

/// Page-locked host memory, so that the device copies into it by itself.
#[derive(Debug)]
struct Pinned {
    start: *mut u8,
    context: Arc<CudaContext>,
}

// SAFETY: the memory is owned, and belongs to no thread.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: a context is bound; freed once, in `drop`.
        let start = unsafe { result::malloc_host(SMALL_BYTES, 0) }?;
        // SAFETY: the allocation is that long, and made of bytes.
        unsafe { start.cast::<u8>().write_bytes(0, SMALL_BYTES) };
        Ok(Pinned { start: start.cast(), context: Arc::clone(context) })
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: allocated that long and filled in `new`, borrowed with `self`.
        unsafe { std::slice::from_raw_parts(self.start, SMALL_BYTES) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, SMALL_BYTES) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`, freed here alone.
        let freed = self.context.bind_to_thread().and_then(|()| unsafe { result::free_host(self.start.cast()) });
        self.context.record_err(freed);
    }
}

/// A small result on its way.
pub(crate) struct Arriving {
    landing: Option<Pinned>,
    len: usize,
    done: CudaEvent,
    spare: Arc<Mutex<Vec<Pinned>>>,
}

impl Arriving {
    /// Whether it is there (or will never be: then waiting says why).
    pub(crate) fn is_ready(&self) -> bool {
        !matches!(self.done.try_is_complete(), Ok(false))
    }

    /// Its bytes, as soon as they are there.
    pub(crate) fn wait(mut self) -> Outcome<Vec<u8>> {
        self.done.synchronize()?;
        let landing = self.landing.take().expect("taken once");
        let bytes = landing.bytes()[..self.len].to_vec();
        if let Ok(mut spare) = self.spare.lock() {
            spare.push(landing);
        }
        Ok(bytes)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if self.landing.is_some() {
            // The device may still be writing: the memory must not go before it is done. An error means that it is.
            let _ = self.done.synchronize();
        }
    }
}

/// Code on the device.
#[derive(Debug)]
pub(crate) struct Module {
    handle: sys::CUmodule,
    context: Arc<CudaContext>,
}

// SAFETY: module handles may be used from any thread to which their context is bound.
unsafe impl Send for Module {}
// SAFETY: as above; looking up functions is synchronised by the driver.
unsafe impl Sync for Module {}

impl Module {
    /// A kernel, with the dynamic shared memory that it is launched with. Asking for the attributes loads it for good, so that
    /// nothing is loaded while a stream is captured.
    pub(crate) fn function(self: &Arc<Self>, name: &str, shared_bytes: u32, carveout: Carveout) -> Outcome<Function> {
        let name = CString::new(name).expect("a kernel's name holds no NUL");
        self.context.bind_to_thread()?;
        // SAFETY: the module is alive, and `Function` keeps it so.
        let handle = unsafe { result::module::get_function(self.handle, name) }?;
        let set = |attribute, value| {
            // SAFETY: a handle of a live module.
            unsafe { result::function::set_function_attribute(handle, attribute, value) }
        };
        set(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes as i32)?;
        // SAFETY: as above.
        let fixed = unsafe {
            result::function::get_function_attribute(handle, CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
        }?;
        let all = match carveout {
            Carveout::WhereShared => shared_bytes > 0 || fixed > 0,
            Carveout::Always => true,
            Carveout::Never => false,
        };
        if all {
            set(CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100)?;
        }
        Ok(Function { handle, shared_bytes, module: Arc::clone(self) })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, unloaded here alone, when no function of it is left.
        let unloaded = self.context.bind_to_thread().and_then(|()| unsafe { result::module::unload(self.handle) });
        self.context.record_err(unloaded);
    }
}

/// A kernel.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    handle: sys::CUfunction,
    shared_bytes: u32,
    #[allow(dead_code, reason = "keeps the code loaded")]
    module: Arc<Module>,
}

// SAFETY: function handles may be used from any thread to which their context is bound.
unsafe impl Send for Function {}
// SAFETY: as above; launches do not change them.
unsafe impl Sync for Function {}

impl Function {
    /// Registers of a thread and blocks of `threads` that one multiprocessor holds.
    pub(crate) fn occupancy(&self, threads: u32) -> Outcome<(i32, i32)> {
        self.module.context.bind_to_thread()?;
        // SAFETY: a handle of a live module.
        unsafe {
            let registers = result::function::get_function_attribute(
                self.handle,
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS,
            )?;
            let blocks = result::occupancy::max_active_block_per_multiprocessor(
                self.handle,
                threads as i32,
                self.shared_bytes as usize,
            )?;
            Ok((registers, blocks))
        }
    }
}

/// The parameters of a launch, each aligned as the kernel declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Params {
    /// Appends one.
    pub(crate) fn push(&mut self, bytes: &[u8], align: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0);
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
    }
}

/// Recorded work.
pub(crate) struct Graph(CudaGraph);

// SAFETY: a graph may be used from any thread, by one at a time; it is only reached through `&mut` of its owner.
unsafe impl Send for Graph {}

impl Graph {
    /// Gives the recorded work to the stream that it was recorded from.
    pub(crate) fn replay(&mut self) -> Outcome<()> {
        Ok(self.0.launch()?)
    }
}
