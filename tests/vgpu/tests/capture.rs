//! The rules of stream capture, as the hardware's driver enforces them.

#![allow(unsafe_code, reason = "calls cudarc's raw layer")]

mod common;

use common::context;
use cudarc::driver::{
    CudaContext, CudaStream, DriverError, result,
    sys::{self, CUresult, CUstreamCaptureMode, CUstreamCaptureStatus},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const GLOBAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const THREAD_LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const RELAXED: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;

/// A global capture concerns every thread, so these tests take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn device() -> (Arc<CudaContext>, MutexGuard<'static, ()>) {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let context = context();
    // SAFETY: no test here shares a buffer between streams.
    unsafe { context.disable_event_tracking() };
    (context, alone)
}

fn code<T>(result: Result<T, DriverError>) -> CUresult {
    match result {
        Ok(_) => CUresult::CUDA_SUCCESS,
        Err(error) => error.0,
    }
}

fn end(stream: &Arc<CudaStream>) -> CUresult {
    code(stream.end_capture(sys::CUgraphInstantiate_flags(0)))
}

/// A blocking stream, which cudarc's safe layer does not make.
fn blocking_stream() -> sys::CUstream {
    result::stream::create(result::stream::StreamKind::Default).unwrap()
}

#[test]
fn the_legacy_stream_is_not_captured() {
    let (context, _alone) = device();
    let refused = context.default_stream().begin_capture(THREAD_LOCAL);
    assert_eq!(code(refused), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

#[test]
fn begin_and_end_come_in_pairs() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    assert_eq!(end(&stream), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    stream.begin_capture(THREAD_LOCAL).unwrap();
    let again = stream.begin_capture(THREAD_LOCAL);
    assert_eq!(code(again), CUresult::CUDA_ERROR_ILLEGAL_STATE);
    assert_eq!(end(&stream), CUresult::CUDA_SUCCESS, "an empty graph");
    let none = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    assert_eq!(stream.capture_status().unwrap(), none);
}

#[test]
fn synchronising_invalidates_the_capture() {
    let (context, _alone) = device();
    for action in ["stream", "context", "query"] {
        let stream = context.new_stream().unwrap();
        stream.begin_capture(RELAXED).unwrap();
        let refused = match action {
            "stream" => code(stream.synchronize()),
            "context" => code(context.synchronize()),
            // SAFETY: the stream is live.
            _ => unsafe { sys::cuStreamQuery(stream.cu_stream()) },
        };
        assert_eq!(refused, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "{action}");
        let invalidated = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_INVALIDATED;
        assert_eq!(stream.capture_status().unwrap(), invalidated);
        assert_eq!(end(&stream), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        stream.synchronize().unwrap();
    }
}

#[test]
fn calls_that_may_synchronise_are_refused_by_mode_and_thread() {
    let (context, _alone) = device();
    let allocate = || {
        context.bind_to_thread().unwrap();
        // SAFETY: freed at once.
        unsafe { result::malloc_sync(256).and_then(|address| result::free_sync(address)) }
    };
    let unsupported = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    for (mode, here, elsewhere) in [
        (GLOBAL, unsupported, unsupported),
        (THREAD_LOCAL, unsupported, CUresult::CUDA_SUCCESS),
        (RELAXED, CUresult::CUDA_SUCCESS, CUresult::CUDA_SUCCESS),
    ] {
        for in_this_thread in [true, false] {
            let stream = context.new_stream().unwrap();
            stream.begin_capture(mode).unwrap();
            let (answer, expected) = if in_this_thread {
                (code(allocate()), here)
            } else {
                let answer = std::thread::scope(|scope| scope.spawn(|| code(allocate())).join());
                (answer.unwrap(), elsewhere)
            };
            assert_eq!(answer, expected, "{mode:?}, in this thread: {in_this_thread}");
            let expected = if answer == CUresult::CUDA_SUCCESS {
                CUresult::CUDA_SUCCESS
            } else {
                CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
            };
            assert_eq!(end(&stream), expected);
        }
    }
}

#[test]
fn a_capture_waits_for_nothing_outside_it() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    let other = context.new_stream().unwrap();
    let outside = other.record_event(None).unwrap();
    stream.begin_capture(THREAD_LOCAL).unwrap();
    let refused = stream.wait(&outside);
    assert_eq!(code(refused), CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert_eq!(end(&stream), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn forked_streams_are_captured_and_must_be_joined() {
    let (context, _alone) = device();
    for (joined, expected) in [(true, CUresult::CUDA_SUCCESS), (false, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED)] {
        let stream = context.new_stream().unwrap();
        let mut x = stream.alloc_zeros::<u32>(4).unwrap();
        let mut y = stream.alloc_zeros::<u32>(4).unwrap();
        let fork = context.new_stream().unwrap();
        stream.begin_capture(THREAD_LOCAL).unwrap();
        stream.memset_zeros(&mut x).unwrap();
        fork.join(&stream).unwrap();
        let active = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE;
        assert_eq!(fork.capture_status().unwrap(), active);
        fork.memset_zeros(&mut y).unwrap();
        if joined {
            stream.join(&fork).unwrap();
        }
        assert_eq!(end(&stream), expected);
        let none = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        assert_eq!(fork.capture_status().unwrap(), none);
    }
}

#[test]
fn only_the_origin_ends_its_capture() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    let fork = context.new_stream().unwrap();
    stream.begin_capture(THREAD_LOCAL).unwrap();
    fork.join(&stream).unwrap();
    assert_eq!(end(&fork), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    assert_eq!(end(&stream), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn another_thread_does_not_end_a_thread_local_capture() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    stream.begin_capture(THREAD_LOCAL).unwrap();
    let raw = stream.cu_stream() as usize;
    let elsewhere = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            context.bind_to_thread().unwrap();
            // SAFETY: the stream is live.
            code(unsafe { result::stream::end_capture(raw as sys::CUstream) })
        });
        thread.join().unwrap()
    });
    assert_eq!(elsewhere, CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    assert_eq!(end(&stream), CUresult::CUDA_SUCCESS);
}

#[test]
fn separate_captures_do_not_merge() {
    let (context, _alone) = device();
    let (a, b) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    a.begin_capture(THREAD_LOCAL).unwrap();
    b.begin_capture(THREAD_LOCAL).unwrap();
    let merged = a.join(&b);
    assert_eq!(code(merged), CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE);
    assert_eq!(end(&a), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_eq!(end(&b), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn legacy_work_beside_a_blocking_capture_is_implicit_dependence() {
    let (context, _alone) = device();
    let legacy = context.default_stream();
    let mut x = legacy.alloc_zeros::<u32>(4).unwrap();

    // A non-blocking stream has nothing to do with the legacy stream.
    let free = context.new_stream().unwrap();
    free.begin_capture(RELAXED).unwrap();
    legacy.memset_zeros(&mut x).unwrap();
    assert_eq!(end(&free), CUresult::CUDA_SUCCESS);

    let blocking = blocking_stream();
    // SAFETY: the stream is live until it is destroyed here.
    unsafe {
        result::stream::begin_capture(blocking, RELAXED).unwrap();
        let refused = legacy.memset_zeros(&mut x);
        assert_eq!(code(refused), CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
        let ended = result::stream::end_capture(blocking);
        assert_eq!(code(ended), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        result::stream::destroy(blocking).unwrap();
    }
}

#[test]
fn events_of_a_capture_are_not_queried() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    let event = context.new_event(None).unwrap();
    assert!(event.try_is_complete().unwrap(), "never recorded");
    stream.begin_capture(THREAD_LOCAL).unwrap();
    event.record(&stream).unwrap();
    assert_eq!(code(event.try_is_complete()), CUresult::CUDA_ERROR_CAPTURED_EVENT);
    assert_eq!(end(&stream), CUresult::CUDA_SUCCESS);
    event.record(&stream).unwrap();
    assert!(event.try_is_complete().unwrap());
}

#[test]
fn graphs_own_the_memory_they_allocate_and_free_no_other() {
    let (context, _alone) = device();
    let stream = context.new_stream().unwrap();
    let outside = stream.clone_htod(&[7u32; 4]).unwrap();
    stream.begin_capture(THREAD_LOCAL).unwrap();
    // SAFETY: filled before it is read.
    let mut inside = unsafe { stream.alloc::<u32>(4) }.unwrap();
    stream.memcpy_dtod(&outside, &mut inside).unwrap();
    drop(inside);
    context.check_err().unwrap();
    assert_eq!(end(&stream), CUresult::CUDA_SUCCESS);

    stream.begin_capture(THREAD_LOCAL).unwrap();
    drop(outside);
    let refused = context.check_err();
    assert_eq!(code(refused), CUresult::CUDA_ERROR_INVALID_VALUE, "dropped in a capture");
    let _ = end(&stream);
}
