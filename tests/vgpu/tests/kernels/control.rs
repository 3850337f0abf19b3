//! Calls, jumps, parameters, local memory.

use crate::harness::{harness, numbers, small};
use cudarc::driver::DeviceRepr;

#[test]
fn calls_go_where_they_should() {
    let b = harness("control");
    let x = small(64, 50);
    let dx = b.put(&x);
    let mut out = b.fresh::<i32>(64);
    run!(b, virtual_calls(&dx, &mut out), 1, 64);
    let area = |v: i32| if v & 1 == 1 { v * v } else { v * 3 };
    assert_eq!(b.get(&out), x.iter().map(|&v| area(v)).collect::<Vec<_>>());

    run!(b, function_table(&dx, &mut out), 1, 64);
    let called = |v: i32| [v * 2, v * v, -v][v as usize % 3];
    assert_eq!(b.get(&out), x.iter().map(|&v| called(v)).collect::<Vec<_>>());

    let mut out = b.fresh::<u32>(32);
    run!(b, recursion(&mut out), 1, 32);
    let expected: Vec<u32> = (0..32).map(|i| 2 * (i % 4) + 3).collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn jumps_go_where_they_should() {
    let b = harness("control");
    let x = small(128, 100);
    let mut out = b.zeros::<i32>(128);
    run!(b, switches(&b.put(&x), &mut out), 1, 128);
    let expected = x.iter().map(|&v| match v % 9 {
        0 => 10,
        1 => v * 3 + 7,
        2 => 7,
        3 => v ^ 0x55,
        4 => (0..v).map(|k| k * k).sum(),
        5 => -v,
        6 => 0,
        7 => v << 2,
        _ => 99,
    });
    assert_eq!(b.get(&out), expected.collect::<Vec<i32>>());

    let mut out = b.fresh::<i32>(256);
    run!(b, collatz(&mut out, &100i32), 2, 128);
    let steps = |start: u64| {
        let mut v = start;
        for step in 0..=100 {
            if v == 1 {
                return step;
            }
            v = if v % 2 == 1 { 3 * v + 1 } else { v / 2 };
        }
        -1
    };
    assert_eq!(b.get(&out), (1..=256).map(steps).collect::<Vec<i32>>());
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Parameters {
    count: i32,
    factor: [f32; 5],
    offset: i64,
    tag: i8,
}

// SAFETY: plain data with the layout of the kernel's parameter.
unsafe impl DeviceRepr for Parameters {}

#[test]
fn structures_pass_by_value_and_variables_keep_theirs() {
    let b = harness("control");
    let p = Parameters { count: 5, factor: [0.5, -1.0, 2.0, 4.0, -8.0], offset: -1 << 40, tag: -3 };
    let mut out = b.fresh::<f64>(32);
    run!(b, by_value(&p, &mut out), 1, 32);
    // The sum with the offset is taken in single precision, as C's rules have it.
    let expected = (0..32).map(|i| f64::from(p.factor[i % 5] * i as f32 + p.offset as f32 + f32::from(p.tag)));
    assert_eq!(b.get(&out), expected.collect::<Vec<_>>());

    let mut out = b.fresh::<i32>(32);
    run!(b, variables(&mut out), 1, 32);
    let expected = (0..32).map(|i| [1, -2, 3, -4][i as usize % 4] * i + 200);
    assert_eq!(b.get(&out), expected.collect::<Vec<i32>>());
}

#[test]
fn local_arrays_are_indexed_at_run_time() {
    let b = harness("control");
    let x: Vec<i16> = numbers(64 * 16).iter().map(|&v| v as i16).collect();
    let mut out = b.fresh::<i16>(64 * 16);
    run!(b, local_sort(&b.put(&x), &mut out), 1, 64);
    let mut expected = x;
    expected.chunks_mut(16).for_each(|chunk| chunk.sort_unstable());
    assert_eq!(b.get(&out), expected);
}
