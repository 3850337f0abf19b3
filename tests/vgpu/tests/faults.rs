//! What goes wrong, and how the driver says so. Each test has the device to itself: a
//! fault takes its context along, and dropping the last handle brings a fresh one.

#![allow(unsafe_code, reason = "cudarc's launches are unsafe")]

mod common;

use common::{context, driver};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaStream, DriverError, LaunchConfig, PushKernelArg, result,
    sys::{self, CUresult},
};
use cudarc::nvrtc::Ptx;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One kernel for each way to fail.
const KERNELS: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry store(.param .u64 x, .param .u32 i)
{
    .reg .b32 %r<3>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [x];
    ld.param.u32 %r1, [i];
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1;
    ret;
}
.visible .entry misaligned(.param .u64 x)
{
    .reg .b32 %r<3>; .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [x];
    add.s64 %rd2, %rd1, 2;
    ld.global.u32 %r1, [%rd2];
    st.global.u32 [%rd1], %r1;
    ret;
}
.visible .entry stop(.param .u64 x)
{
    trap;
    ret;
}
.visible .entry bounded(.param .u64 x)
.maxntid 64, 1, 1
{
    ret;
}
.visible .entry exact(.param .u64 x)
.reqntid 32, 2, 1
{
    ret;
}
.visible .entry reads_undefined(.param .u64 x)
{
    .reg .b32 %r<3>; .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [x];
    ld.global.u32 %r1, [%rd1];
    st.global.u32 [%rd1], %r1;
    ret;
}
";

static ALONE: Mutex<()> = Mutex::new(());

struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    _alone: MutexGuard<'static, ()>,
}

fn device() -> Device {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let context = context();
    let stream = context.default_stream();
    Device { context, stream, _alone: alone }
}

impl Device {
    fn kernel(&self, name: &str) -> CudaFunction {
        let module = self.context.load_module(Ptx::from_src(KERNELS)).unwrap();
        module.load_function(name).unwrap()
    }
}

fn shape(grid: (u32, u32, u32), block: (u32, u32, u32)) -> LaunchConfig {
    LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes: 0 }
}

fn code<T>(result: Result<T, DriverError>) -> CUresult {
    match result {
        Ok(_) => CUresult::CUDA_SUCCESS,
        Err(error) => error.0,
    }
}

#[test]
fn launches_beyond_the_limits_are_refused_and_leave_no_trace() {
    let device = device();
    let x = device.stream.alloc_zeros::<u32>(4).unwrap();
    let try_launch = |kernel: &CudaFunction, config| {
        let mut launch = device.stream.launch_builder(kernel);
        launch.arg(&x);
        // SAFETY: these kernels touch nothing.
        code(unsafe { launch.launch(config) })
    };
    let bounded = device.kernel("bounded");
    let exact = device.kernel("exact");
    for (kernel, grid, block, expected) in [
        (&bounded, (1, 1, 1), (64, 1, 1), CUresult::CUDA_SUCCESS),
        (&bounded, (1, 1, 1), (65, 1, 1), CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES),
        (&bounded, (1, 1, 1), (1025, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&bounded, (1, 1, 1), (1, 1, 65), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&bounded, (1, 1, 1), (0, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&bounded, (0, 1, 1), (1, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&bounded, (1, 65_536, 1), (1, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&bounded, (1, 1, 65_536), (1, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
        (&exact, (1, 1, 1), (32, 2, 1), CUresult::CUDA_SUCCESS),
        (&exact, (1, 1, 1), (64, 1, 1), CUresult::CUDA_ERROR_INVALID_VALUE),
    ] {
        assert_eq!(try_launch(kernel, shape(grid, block)), expected, "{grid:?} {block:?}");
    }
    device.context.synchronize().unwrap();
    assert_eq!(device.stream.clone_dtoh(&x).unwrap(), [0; 4]);
}

#[test]
fn cooperative_launches_must_be_resident_at_once() {
    let device = device();
    let x = device.stream.alloc_zeros::<u32>(1).unwrap();
    let kernel = device.kernel("bounded");
    let try_launch = |blocks| {
        let mut launch = device.stream.launch_builder(&kernel);
        launch.arg(&x);
        // SAFETY: the kernel touches nothing.
        code(unsafe { launch.launch_cooperative(shape((blocks, 1, 1), (64, 1, 1))) })
    };
    assert_eq!(try_launch(108 * 32), CUresult::CUDA_SUCCESS);
    let too_large = CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    assert_eq!(try_launch(108 * 32 + 1), too_large);
}

#[test]
fn missing_arguments_are_an_invalid_value() {
    let device = device();
    let kernel = device.kernel("bounded");
    let launch = |arguments: &mut [*mut std::ffi::c_void], null: bool| {
        let arguments = if null { std::ptr::null_mut() } else { arguments.as_mut_ptr() };
        // SAFETY: the handles are live; bad arguments are what is tested.
        let function = unsafe {
            let mut function = std::mem::MaybeUninit::uninit();
            let mut module = std::mem::MaybeUninit::uninit();
            let text = std::ffi::CString::new(KERNELS).unwrap();
            sys::cuModuleLoadData(module.as_mut_ptr(), text.as_ptr().cast()).result().unwrap();
            sys::cuModuleGetFunction(function.as_mut_ptr(), module.assume_init(), c"bounded".as_ptr())
                .result()
                .unwrap();
            function.assume_init()
        };
        // SAFETY: as above.
        let result = unsafe {
            sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, std::ptr::null_mut(), arguments, std::ptr::null_mut())
        };
        code(result.result())
    };
    let mut pointer = 0u64;
    let good = (&raw mut pointer).cast();
    assert_eq!(launch(&mut [good], false), CUresult::CUDA_SUCCESS);
    assert_eq!(launch(&mut [], true), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(launch(&mut [std::ptr::null_mut()], false), CUresult::CUDA_ERROR_INVALID_VALUE);
    drop(kernel);
}

/// Launches a faulty kernel and returns what the calls after it answer.
fn after_fault(name: &str, index: Option<u32>) -> [CUresult; 4] {
    let device = device();
    let kernel = device.kernel(name);
    let x = device.stream.alloc_zeros::<u32>(16).unwrap();
    let mut launch = device.stream.launch_builder(&kernel);
    launch.arg(&x);
    if let Some(index) = &index {
        launch.arg(index);
    }
    // SAFETY: the kernel's fault is what is tested; the virtual GPU contains it.
    let launched = code(unsafe { launch.launch(shape((1, 1, 1), (1, 1, 1))) });
    let codes = [
        launched,
        code(device.stream.synchronize()),
        code(device.stream.clone_dtoh(&x)),
        code(device.stream.alloc_zeros::<u32>(1)),
    ];
    drop(x);
    let _ = device.context.check_err(); // freeing x was refused too
    codes
}

#[test]
fn faults_stick_to_their_context() {
    use CUresult::{CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_MISALIGNED_ADDRESS, CUDA_SUCCESS};
    for (name, index, expected) in [
        ("store", Some(15), CUDA_SUCCESS),
        ("store", Some(16), CUDA_ERROR_ILLEGAL_ADDRESS),
        ("store", Some(1 << 29), CUDA_ERROR_ILLEGAL_ADDRESS),
        ("misaligned", None, CUDA_ERROR_MISALIGNED_ADDRESS),
        ("stop", None, CUDA_ERROR_LAUNCH_FAILED),
    ] {
        let [launched, later @ ..] = after_fault(name, index);
        assert_eq!(launched, CUDA_SUCCESS, "{name}: the launch itself is accepted");
        assert_eq!(later, [expected; 3], "{name}");
    }
    // A fresh context works again.
    let device = device();
    let x = device.stream.clone_htod(&[1u32]).unwrap();
    assert_eq!(device.stream.clone_dtoh(&x).unwrap(), [1]);
}

#[test]
fn strictness_turns_findings_into_faults() {
    for strict in [false, true] {
        let device = device();
        driver().set_strict(strict);
        driver().clear_reports();
        let kernel = device.kernel("reads_undefined");
        // SAFETY: left undefined on purpose.
        let x = unsafe { device.stream.alloc::<u32>(1) }.unwrap();
        let mut launch = device.stream.launch_builder(&kernel);
        launch.arg(&x);
        // SAFETY: the buffer holds the element.
        unsafe { launch.launch(shape((1, 1, 1), (1, 1, 1))) }.unwrap();
        let expected = if strict { CUresult::CUDA_ERROR_LAUNCH_FAILED } else { CUresult::CUDA_SUCCESS };
        assert_eq!(code(device.stream.synchronize()), expected);
        let findings = driver().findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0]["kind"], "uninit_global_read");
        assert_eq!(findings[0]["kernel"], "reads_undefined");
        driver().set_strict(false);
        drop(x);
        let _ = device.context.check_err();
    }
}

#[test]
fn copies_must_stay_inside_one_allocation() {
    let device = device();
    let x = device.stream.alloc_zeros::<u32>(4).unwrap();
    let y = device.stream.alloc_zeros::<u32>(4).unwrap();
    use cudarc::driver::DevicePtr;
    let (address, _guard) = x.device_ptr(&device.stream);
    let mut host = [0u32; 5];
    // SAFETY: the driver checks the range; that is the test.
    let read = unsafe { result::memcpy_dtoh_sync(&mut host, address) };
    assert_eq!(code(read), CUresult::CUDA_ERROR_INVALID_VALUE);
    // SAFETY: as above.
    let beyond = unsafe { result::memcpy_dtoh_sync(&mut host[..1], address + 16) };
    assert_eq!(code(beyond), CUresult::CUDA_ERROR_INVALID_VALUE);
    // SAFETY: as above.
    let fill = unsafe { result::memset_d8_sync(address, 1, 17) };
    assert_eq!(code(fill), CUresult::CUDA_ERROR_INVALID_VALUE);
    // SAFETY: as above.
    let freed = unsafe { result::free_sync(address + 4) };
    assert_eq!(code(freed), CUresult::CUDA_ERROR_INVALID_VALUE);
    device.stream.synchronize().unwrap();
    assert_eq!(device.stream.clone_dtoh(&y).unwrap(), [0; 4]);
}

#[test]
fn memory_runs_out_where_the_device_ends() {
    let device = device();
    let bytes = device.context.total_mem().unwrap() + 1;
    // SAFETY: nothing is read.
    let too_much = unsafe { device.stream.alloc::<u8>(bytes) };
    assert_eq!(code(too_much.map(drop)), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    device.stream.synchronize().unwrap();
}

#[test]
fn bad_modules_are_refused_with_the_code_of_their_fault() {
    let device = device();
    let load = |text: &str| code(device.context.load_module(Ptx::from_src(text)).map(drop));
    assert_eq!(load(KERNELS), CUresult::CUDA_SUCCESS);
    assert_eq!(load("this is no PTX"), CUresult::CUDA_ERROR_INVALID_PTX);
    let broken = KERNELS.replace("st.global.u32", "frobnicate.u32");
    assert_eq!(load(&broken), CUresult::CUDA_ERROR_INVALID_PTX);
    let newer = KERNELS.replace(".version 8.0", ".version 9.9");
    assert_eq!(load(&newer), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let hopper = KERNELS.replace("sm_80", "sm_90");
    assert_eq!(load(&hopper), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    let cubin = Ptx::from_binary(b"\x7fELF\x02\x01\x01\0".to_vec());
    let cubin = device.context.load_module(cubin).map(drop);
    assert_eq!(code(cubin), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    let missing = device.context.load_module(Ptx::from_file("/nonexistent.ptx")).map(drop);
    assert_eq!(code(missing), CUresult::CUDA_ERROR_FILE_NOT_FOUND);
}

#[test]
fn the_load_log_names_the_instruction_and_its_line() {
    let _device = device();
    let text = KERNELS.replace("st.global.u32 [%rd3], %r1", "frobnicate.u32 [%rd3], %r1");
    let text = std::ffi::CString::new(text).unwrap();
    let mut log = vec![0u8; 4096];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast(), log.len() as *mut std::ffi::c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the options describe the buffer, which outlives the call.
    let loaded = unsafe {
        sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    assert_eq!(loaded, CUresult::CUDA_ERROR_INVALID_PTX);
    let log = std::ffi::CStr::from_bytes_until_nul(&log).unwrap().to_string_lossy();
    assert!(log.contains("frobnicate") && log.contains("line 12") && log.contains("store"), "{log}");
}

#[test]
fn handles_end_with_their_objects() {
    let device = device();
    let stream = result::stream::create(result::stream::StreamKind::NonBlocking).unwrap();
    // SAFETY: destroying twice is what is tested.
    unsafe {
        result::stream::destroy(stream).unwrap();
        let again = result::stream::destroy(stream);
        assert_eq!(code(again), CUresult::CUDA_ERROR_INVALID_HANDLE);
        assert_eq!(code(result::stream::synchronize(stream)), CUresult::CUDA_ERROR_INVALID_HANDLE);
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).unwrap();
        // An event is no stream.
        assert_eq!(code(result::stream::synchronize(event.cast())), CUresult::CUDA_ERROR_INVALID_HANDLE);
        result::event::destroy(event).unwrap();
    }
    device.context.synchronize().unwrap();
}

#[test]
fn what_is_not_there_says_so() {
    let _device = device();
    let mut texture = 0;
    let null = std::ptr::null();
    // SAFETY: the function refuses before it looks at anything.
    let refused = unsafe { sys::cuTexObjectCreate(&mut texture, null, null.cast(), null.cast()) };
    assert_eq!(refused, CUresult::CUDA_ERROR_NOT_SUPPORTED);
}
