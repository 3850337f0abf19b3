//! An unchanged cudarc program on the virtual GPU: everything a program does with the
//! driver on a good day.

#![allow(unsafe_code, reason = "cudarc's launches are unsafe")]

mod common;

use common::{context, device, driver};
use cudarc::driver::{
    CudaContext, LaunchConfig, PushKernelArg, result,
    sys::{self, CUdevice_attribute as Device, CUfunction_attribute as Attribute},
};
use cudarc::nvrtc::Ptx;
use std::ffi::c_void;
use std::sync::mpsc::Sender;

/// y[i] = a·x[i] + y[i] for i < n
const SAXPY: &str = "
.version 7.4
.target sm_80
.address_size 64
.visible .entry saxpy(.param .f32 a, .param .u64 x, .param .u64 y, .param .u32 n)
{
    .reg .pred %p; .reg .f32 %f<4>; .reg .b32 %r<6>; .reg .b64 %rd<6>;
    ld.param.f32 %f1, [a];
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p, %r5, %r1;
    @%p bra DONE;
    mul.wide.u32 %rd3, %r5, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    ld.global.f32 %f2, [%rd4];
    ld.global.f32 %f3, [%rd5];
    fma.rn.f32 %f3, %f1, %f2, %f3;
    st.global.f32 [%rd5], %f3;
DONE:
    ret;
}
";

/// Writes the block's dynamic shared memory full and sums it up again, through a variable.
const SHARED: &str = "
.version 8.0
.target sm_80
.address_size 64
.global .align 4 .u32 scale = 3;
.global .align 4 .b8 table[16];
.extern .shared .align 16 .b8 buffer[];
.visible .entry fill_and_sum(.param .u64 out, .param .u32 words)
{
    .reg .pred %p; .reg .b32 %r<9>; .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    ld.param.u32 %r1, [words];
    mov.u32 %r2, %tid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, buffer;
    mov.u32 %r5, %r2;
WRITE:
    setp.ge.u32 %p, %r5, %r1;
    @%p bra WRITTEN;
    mad.lo.u32 %r6, %r5, 4, %r4;
    st.shared.u32 [%r6], %r5;
    add.u32 %r5, %r5, %r3;
    bra WRITE;
WRITTEN:
    bar.sync 0;
    setp.ne.u32 %p, %r2, 0;
    @%p bra DONE;
    mov.u32 %r5, 0;
    mov.u32 %r7, 0;
SUM:
    setp.ge.u32 %p, %r5, %r1;
    @%p bra SUMMED;
    mad.lo.u32 %r6, %r5, 4, %r4;
    ld.shared.u32 %r8, [%r6];
    add.u32 %r7, %r7, %r8;
    add.u32 %r5, %r5, 1;
    bra SUM;
SUMMED:
    ld.global.u32 %r8, [scale];
    mul.lo.u32 %r7, %r7, %r8;
    st.global.u32 [%rd1], %r7;
DONE:
    ret;
}
";

fn launch_of(threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

#[test]
fn probing_finds_the_device_it_plays() {
    driver();
    // SAFETY: the probe loads a library and looks at nothing else.
    assert!(unsafe { sys::is_culib_present() });
    result::init().unwrap();
    let mut version = 0;
    // SAFETY: one integer to write.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().unwrap();
    assert_eq!(version, 13_000);
    assert!(CudaContext::device_count().unwrap() >= 1);

    let context = context();
    let profile = vgpu::profile::Profile::a100();
    assert_eq!(context.name().unwrap(), profile.name);
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    assert_eq!(context.total_mem().unwrap() as u64, profile.memory_bytes);
    for (attribute, value) in [
        (Device::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 108),
        (Device::CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32),
        (Device::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024),
        (Device::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49_152),
        (Device::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 166_912),
        (Device::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 41_943_040),
        (Device::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1),
    ] {
        assert_eq!(context.attribute(attribute).unwrap(), value, "{attribute:?}");
    }
    assert_ne!(context.uuid().unwrap().bytes, [0; 16]);
    let beyond = CudaContext::new(99).unwrap_err();
    assert_eq!(beyond.0, sys::CUresult::CUDA_ERROR_INVALID_DEVICE);
    assert!(format!("{beyond:?}").contains("invalid device ordinal"));
}

#[test]
fn copies_round_trip_between_host_and_device() {
    let (context, stream) = device();
    let data: Vec<u32> = (0..1000).map(|i| i * 7).collect();
    let x = stream.clone_htod(&data).unwrap();
    let y = stream.clone_dtod(&x).unwrap();
    assert_eq!(stream.clone_dtoh(&y).unwrap(), data);
    assert_eq!(stream.clone_dtoh(&y.slice(10..13)).unwrap(), [70, 77, 84]);
    let zeros = stream.alloc_zeros::<f32>(33).unwrap();
    assert_eq!(stream.clone_dtoh(&zeros).unwrap(), [0.0; 33]);

    // SAFETY: the buffer is written before it is read.
    let mut pinned = unsafe { context.alloc_pinned_with_flags::<u32>(1000, 0) }.unwrap();
    stream.memcpy_dtoh(&y, &mut pinned).unwrap();
    assert_eq!(pinned.as_slice().unwrap(), data);
    pinned.as_mut_slice().unwrap()[0] = 5;
    let z = stream.clone_htod(&pinned).unwrap();
    assert_eq!(stream.clone_dtoh(&z.slice(0..2)).unwrap(), [5, 7]);

    let (free, total) = context.mem_get_info().unwrap();
    assert!(free < total);
}

#[test]
fn a_kernel_from_ptx_text_computes() {
    let (context, stream) = device();
    let module = context.load_module(Ptx::from_src(SAXPY)).unwrap();
    let saxpy = module.load_function("saxpy").unwrap();
    let n = 1000u32;
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let x = stream.clone_htod(&x).unwrap();
    let mut y = stream.clone_htod(&vec![1.0f32; n as usize]).unwrap();
    let mut launch = stream.launch_builder(&saxpy);
    launch.arg(&2.0f32).arg(&x).arg(&mut y).arg(&n);
    // SAFETY: the arguments are those of the kernel, the buffers hold n elements.
    unsafe { launch.launch(LaunchConfig::for_num_elems(n)) }.unwrap();
    let y = stream.clone_dtoh(&y).unwrap();
    assert!(y.iter().enumerate().all(|(i, &v)| v == 2.0 * i as f32 + 1.0));
}

#[test]
fn shared_memory_beyond_48_kib_needs_opting_in() {
    let (context, stream) = device();
    let module = context.load_module(Ptx::from_src(SHARED)).unwrap();
    let kernel = module.load_function("fill_and_sum").unwrap();
    let words = 20_000u32; // 80 KB
    let mut out = stream.alloc_zeros::<u32>(1).unwrap();
    let run = |out: &mut _| {
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(out).arg(&words);
        // SAFETY: the arguments are those of the kernel, and it gets `words` words.
        unsafe { launch.launch(launch_of(128, words * 4)) }.map(|_| ())
    };
    assert_eq!(run(&mut out).unwrap_err().0, sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    let optin = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    kernel.set_attribute(optin, 80_000).unwrap();
    assert_eq!(kernel.get_attribute(optin).unwrap(), 80_000);
    run(&mut out).unwrap();
    let expected = (0..words).fold(0u32, u32::wrapping_add).wrapping_mul(3);
    assert_eq!(stream.clone_dtoh(&out).unwrap(), [expected]);
    let too_much = kernel.set_attribute(optin, 166_913).unwrap_err();
    assert_eq!(too_much.0, sys::CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn functions_tell_what_they_need() {
    let (context, _) = device();
    let module = context.load_module(Ptx::from_src(SAXPY)).unwrap();
    let saxpy = module.load_function("saxpy").unwrap();
    let registers = saxpy.num_regs().unwrap();
    assert!((8..=64).contains(&registers), "{registers}");
    assert_eq!(saxpy.local_size_bytes().unwrap(), 0);
    assert_eq!(saxpy.shared_size_bytes().unwrap(), 0);
    assert_eq!(saxpy.max_threads_per_block().unwrap(), 1024);
    assert_eq!(saxpy.ptx_version().unwrap(), 80, "the architecture, not the language");
    let resident = saxpy.occupancy_max_active_blocks_per_multiprocessor(256, 0, None).unwrap();
    assert_eq!(resident, 8, "2048 threads an SM");
    let resident = saxpy.occupancy_max_active_blocks_per_multiprocessor(128, 40 * 1024, None).unwrap();
    assert_eq!(resident, 4, "164 KiB of shared memory an SM, 41 KiB a block");
    extern "C" fn no_shared(_block: std::ffi::c_int) -> usize {
        0
    }
    let (grid, block) = saxpy.occupancy_max_potential_block_size(no_shared, 0, 0, None).unwrap();
    assert_eq!(block, 1024);
    assert_eq!(grid, 2 * 108);
    let available = saxpy.occupancy_available_dynamic_smem_per_block(2, 256).unwrap();
    assert_eq!(available, 81 * 1024);
    let missing = module.load_function("nothing").unwrap_err();
    assert_eq!(missing.0, sys::CUresult::CUDA_ERROR_NOT_FOUND);
}

#[test]
fn module_variables_are_read_and_written_by_name() {
    let (context, stream) = device();
    let module = context.load_module(Ptx::from_src(SHARED)).unwrap();
    let mut scale = module.get_global("scale", &stream).unwrap();
    let mut table = module.get_global("table", &stream).unwrap();
    assert_eq!((scale.len(), table.len()), (4, 16));
    assert_eq!(stream.clone_dtoh(&scale).unwrap(), [3, 0, 0, 0]);
    assert_eq!(stream.clone_dtoh(&table).unwrap(), [0; 16]);
    stream.memcpy_htod(&5u32.to_le_bytes(), &mut scale).unwrap();
    stream.memcpy_htod(&[9u8; 16], &mut table).unwrap();
    let kernel = module.load_function("fill_and_sum").unwrap();
    let mut out = stream.alloc_zeros::<u32>(1).unwrap();
    let mut launch = stream.launch_builder(&kernel);
    launch.arg(&mut out).arg(&4u32);
    // SAFETY: the arguments are those of the kernel, and it gets 4 words.
    unsafe { launch.launch(launch_of(32, 16)) }.unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), [30]);
    let error = module.get_global("nothing", &stream).unwrap_err();
    assert_eq!(error.0, sys::CUresult::CUDA_ERROR_NOT_FOUND);
}

#[test]
fn events_measure_time() {
    let (context, stream) = device();
    let module = context.load_module(Ptx::from_src(SAXPY)).unwrap();
    let saxpy = module.load_function("saxpy").unwrap();
    let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let (start, end) = (context.new_event(timed).unwrap(), context.new_event(timed).unwrap());
    let n = 4096u32;
    let x = stream.alloc_zeros::<f32>(n as usize).unwrap();
    let mut y = stream.alloc_zeros::<f32>(n as usize).unwrap();
    start.record(&stream).unwrap();
    let mut launch = stream.launch_builder(&saxpy);
    launch.arg(&2.0f32).arg(&x).arg(&mut y).arg(&n);
    // SAFETY: the arguments are those of the kernel, the buffers hold n elements.
    unsafe { launch.launch(LaunchConfig::for_num_elems(n)) }.unwrap();
    end.record(&stream).unwrap();
    assert!(end.is_complete());
    let elapsed = start.elapsed_ms(&end).unwrap();
    assert!(elapsed > 0.0 && elapsed < 60_000.0, "{elapsed} ms");

    let untimed = context.new_event(None).unwrap();
    untimed.record(&stream).unwrap();
    let refused = untimed.elapsed_ms(&end).unwrap_err();
    assert_eq!(refused.0, sys::CUresult::CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn a_captured_graph_replays_with_the_arguments_it_saw() {
    let context = context();
    // SAFETY: one stream uses the buffers; there is nothing to track.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let module = context.load_module(Ptx::from_src(SAXPY)).unwrap();
    let saxpy = module.load_function("saxpy").unwrap();
    let n = 256u32;
    let x = stream.clone_htod(&vec![1.0f32; n as usize]).unwrap();
    let mut y = stream.alloc_zeros::<f32>(n as usize).unwrap();
    let mut copy = stream.alloc_zeros::<f32>(n as usize).unwrap();
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    for factor in [1.0f32, 10.0] {
        let mut launch = stream.launch_builder(&saxpy);
        launch.arg(&factor).arg(&x).arg(&mut y).arg(&n);
        // SAFETY: the arguments are those of the kernel, the buffers hold n elements.
        unsafe { launch.launch(LaunchConfig::for_num_elems(n)) }.unwrap();
    }
    stream.memcpy_dtod(&y, &mut copy).unwrap();
    stream.memset_zeros(&mut y).unwrap();
    let status = stream.capture_status().unwrap();
    assert_eq!(status, sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().expect("a graph");
    assert_eq!(stream.clone_dtoh(&copy).unwrap(), vec![0.0; n as usize], "nothing ran yet");
    graph.upload().unwrap();
    for round in 0..3 {
        graph.launch().unwrap();
        stream.synchronize().unwrap();
        assert_eq!(stream.clone_dtoh(&copy).unwrap(), vec![11.0; n as usize], "round {round}");
        assert_eq!(stream.clone_dtoh(&y).unwrap(), vec![0.0; n as usize]);
    }
}

#[test]
fn streams_order_work_by_events() {
    let context = context();
    let first = context.new_stream().unwrap();
    let second = first.fork().unwrap();
    let x = first.clone_htod(&[1u32, 2, 3]).unwrap();
    second.join(&first).unwrap();
    let y = second.clone_dtod(&x).unwrap();
    first.join(&second).unwrap();
    assert_eq!(first.clone_dtoh(&y).unwrap(), [1, 2, 3]);
    context.synchronize().unwrap();
    let urgent = context.new_stream_with_priority(-100).unwrap();
    urgent.synchronize().unwrap();
    let (least, greatest) = result::stream::get_priority_range().unwrap();
    assert!(least > greatest);
}

#[test]
fn host_functions_run_in_stream_order() {
    let (_, stream) = device();
    let (sender, receiver) = std::sync::mpsc::channel::<u32>();
    extern "C" fn send_42(sender: *mut c_void) {
        // SAFETY: the test passes its sender, which lives until the receiver has answered.
        let sender = unsafe { &*sender.cast::<Sender<u32>>() };
        sender.send(42).unwrap();
    }
    let argument = (&raw const sender).cast_mut().cast();
    // SAFETY: the function takes this argument.
    unsafe { result::stream::launch_host_function(stream.cu_stream(), send_42, argument) }.unwrap();
    stream.synchronize().unwrap();
    assert_eq!(receiver.recv().unwrap(), 42);
}

#[test]
fn limits_and_preferences_are_remembered() {
    let context = context();
    let limit = sys::CUlimit::CU_LIMIT_PRINTF_FIFO_SIZE;
    assert_eq!(context.get_limit(limit).unwrap(), 1 << 20);
    context.set_limit(limit, 1 << 21).unwrap();
    assert_eq!(context.get_limit(limit).unwrap(), 1 << 21);
    context.set_limit(limit, 1 << 20).unwrap();
    let prefer = sys::CUfunc_cache::CU_FUNC_CACHE_PREFER_SHARED;
    context.set_cache_config(prefer).unwrap();
    assert_eq!(context.get_cache_config().unwrap(), prefer);
    context.set_blocking_synchronize().unwrap();
}

#[test]
fn reports_hold_findings_and_counters() {
    let (context, stream) = device();
    let named = SAXPY.replace("saxpy", "saxpy_of_reports");
    let module = context.load_module(Ptx::from_src(named)).unwrap();
    let saxpy = module.load_function("saxpy_of_reports").unwrap();
    let x = stream.alloc_zeros::<f32>(64).unwrap();
    let mut y = stream.alloc_zeros::<f32>(64).unwrap();
    let mut launch = stream.launch_builder(&saxpy);
    launch.arg(&2.0f32).arg(&x).arg(&mut y).arg(&64u32);
    // SAFETY: the arguments are those of the kernel, the buffers hold 64 elements.
    unsafe { launch.launch(launch_of(64, 0)) }.unwrap();
    let reports = driver().reports();
    let ours = reports.iter().find(|report| report["kernel"] == "saxpy_of_reports").expect("a report");
    assert_eq!(ours["findings"].as_array().map(Vec::len), Some(0));
    assert_eq!(ours["counters"]["global_load_requests"], 4, "2 warps · 2 loads");
    assert_eq!(ours["counters"]["global_store_sectors"], 8, "64 floats in 32-byte sectors");
}
