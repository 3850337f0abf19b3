//! Atomic operations, flags and locks between blocks.

use crate::common::driver;
use crate::harness::{harness, numbers, signed, small};
use cudarc::driver::DeviceRepr;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    add: i32,
    sub: i32,
    least: i32,
    most: i32,
    both: i32,
    either: i32,
    differ: i32,
    ring_up: u32,
    ring_down: u32,
    last: i32,
    umost: u32,
    pad: u32,
    wide_add: i64,
    wide_most: u64,
    wide_least: i64,
    real: f32,
    pad2: u32,
    exact: f64,
}

// SAFETY: plain data with the layout of the kernel's structure.
unsafe impl DeviceRepr for Totals {}

#[test]
fn atomics_of_every_kind_add_up() {
    let b = harness("atomics");
    let n = 700;
    let x = signed(n, 0, 3000);
    let start = Totals { least: i32::MAX, most: i32::MIN, both: -1, wide_least: i64::MAX, ..Totals::default() };
    let mut totals = b.put(&[start]);
    run!(b, totals(&b.put(&x), &mut totals, &(n as i32)), 6, 128);
    let sum: i32 = x.iter().sum();
    let expected = Totals {
        add: sum,
        sub: -sum,
        least: *x.iter().min().unwrap(),
        most: *x.iter().max().unwrap(),
        both: x.iter().fold(-1, |a, v| a & (v | 0x0f0)),
        either: x.iter().fold(0, |a, v| a | v & 0xff),
        differ: x.iter().fold(0, |a, v| a ^ v),
        ring_up: n as u32 % 11,
        ring_down: (11 - n as u32 % 11) % 11,
        last: 5,
        umost: x.iter().map(|&v| v as u32).max().unwrap(),
        pad: 0,
        wide_add: i64::from(sum),
        wide_most: x.iter().map(|&v| (v as u64 & 0xffff) << 20).max().unwrap(),
        wide_least: x.iter().map(|&v| i64::from(v) << 24).min().unwrap(),
        real: sum as f32, // every partial sum is an integer below 2^24
        pad2: 0,
        exact: f64::from(sum) * 0.5,
    };
    let got = b.stream.clone_dtoh(&totals).unwrap();
    assert_eq!(got, [expected]);
}

#[test]
fn atomics_work_in_shared_memory_and_by_compare_and_swap() {
    let b = harness("atomics");
    let x: Vec<u8> = numbers(5000).iter().map(|&v| v as u8).collect();
    let mut bins = b.zeros::<u32>(32);
    run!(b, shared_histogram(&b.put(&x), &mut bins, &5000i32), 3, 128);
    let expected: Vec<u32> = (0..32).map(|bin| x.iter().filter(|&&v| v & 31 == bin).count() as u32).collect();
    assert_eq!(b.get(&bins), expected);

    let x: Vec<f32> = numbers(300).iter().map(|&v| v as f32 * 1e-6).collect();
    let mut most = b.zeros::<f32>(1);
    run!(b, float_max(&b.put(&x), &mut most, &300i32), 3, 128);
    assert_eq!(b.get(&most), [x.iter().copied().fold(0.0, f32::max)]);
}

#[test]
fn a_loop_of_atomics_may_open_with_a_plain_read() {
    let b = harness("atomics");
    let x: Vec<f32> = small(700, 100).iter().map(|&v| v as f32).collect();
    let mut sum = b.zeros::<f32>(1);
    run!(b, cas_sum(&b.put(&x), &mut sum, &700i32), 6, 128);
    assert_eq!(b.get(&sum), [x.iter().sum::<f32>()]);

    let (mut count, mut seen) = (b.zeros::<i32>(1), b.fresh::<i32>(20));
    launch!(b, peek(&mut count, &mut seen), 20, 64);
    let findings = driver().findings();
    let ours = findings.iter().filter(|finding| finding["kernel"] == "peek");
    let kinds: Vec<_> = ours.map(|finding| finding["kind"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(kinds, ["global_race"], "a plain read that no atomic follows");
}

#[test]
fn blocks_talk_through_flags() {
    let b = harness("atomics");
    let x: Vec<f32> = small(640, 100).iter().map(|&v| v as f32).collect();
    let (mut partial, mut arrived, mut out) = (b.fresh::<f32>(10), b.zeros::<u32>(1), b.fresh::<f32>(1));
    let dx = b.put(&x);
    run!(b, last_block(&dx, &mut partial, &mut arrived, &mut out), 10, 64);
    assert_eq!(b.get(&out), [x.iter().sum::<f32>()]);

    let (mut place, mut flag, mut out) = (b.fresh::<i32>(1), b.zeros::<i32>(1), b.fresh::<i32>(1));
    run!(b, hand_over(&mut place, &mut flag, &mut out), 2, 1);
    assert_eq!(b.get(&out), [42]);
}
