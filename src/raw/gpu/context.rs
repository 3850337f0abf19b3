//! A device and its stream, to which all work goes (the default stream cannot be captured) in the order in which it is given.
//! cudarc's event tracking is off: it would record events inside captures.

use super::code::{Function, Graph, Module, Params};
use super::driver::{Fault, Outcome};
use super::memory::{Arriving, Memory, Pinned, SMALL_BYTES};
use cudarc::driver::sys::{self, CUdevice_attribute, CUjit_option, CUresult};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};
use std::ffi::c_void;
use std::sync::{Arc, Mutex};

/// What the roofline and the choice of images need to know of a device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Properties {
    /// As its maker calls it.
    pub(crate) name: String,
    /// Compute capability: 80, 89, 90.
    pub(crate) sm: u32,
    /// Number of streaming multiprocessors.
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
    /// Opens device number `ordinal`, after [`probe`](super::probe) has found it.
    pub(crate) fn open(ordinal: usize) -> Outcome<Self> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: everything here runs on one stream, whose order is the only one that is needed.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream()?;
        Ok(Context { context, stream, spare: Arc::default() })
    }

    /// The same device with a stream of its own: what one thread records, another does not get into.
    pub(crate) fn with_own_stream(&self) -> Outcome<Self> {
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
