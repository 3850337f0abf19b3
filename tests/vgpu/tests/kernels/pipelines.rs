//! Asynchronous copies and named barriers.

use crate::harness::{harness, small};

#[test]
fn pipelined_copies_arrive_before_they_are_read() {
    let b = harness("pipelines");
    let tiles = 5;
    let x: Vec<f32> = (0..tiles * 512).map(|i| i as f32).collect();
    let mut out = b.fresh::<f32>(x.len());
    run!(b, primitives(&b.put(&x), &mut out, &(tiles as i32)), 1, 128);
    assert_eq!(b.get(&out), x.iter().map(|v| v * 2.0).collect::<Vec<_>>());

    let x = small(tiles * 128, 1000);
    let dx = b.put(&x);
    let mut out = b.fresh::<i32>(tiles * 128);
    run!(b, block_pipeline(&dx, &mut out, &(tiles as i32)), 1, 128);
    let expected = (0..tiles * 128).map(|i| x[i / 128 * 128 + (i + 1) % 128] + 1);
    assert_eq!(b.get(&out), expected.collect::<Vec<_>>());

    let mut out = b.fresh::<i32>(128);
    run!(b, barrier_phases(&dx, &mut out), 1, 128);
    let expected = (0..128).map(|t| (0..3).map(|r| x[r * 128 + (t * 5 + r) % 128] + r as i32).sum());
    assert_eq!(b.get(&out), expected.collect::<Vec<i32>>());

    run!(b, group_copy(&dx, &mut out), 1, 128);
    let expected: Vec<i32> = x[..128].iter().rev().copied().collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn named_barriers_pass_a_buffer_along() {
    let b = harness("pipelines");
    let rounds = 6;
    let x = small(rounds * 64, 1000);
    let dx = b.put(&x);
    let mut out = b.fresh::<i32>(rounds * 64);
    run!(b, producer_consumer(&dx, &mut out, &(rounds as i32)), 1, 128);
    let expected = (0..rounds * 64).map(|i| x[i / 64 * 64 + 63 - i % 64] * 3);
    assert_eq!(b.get(&out), expected.collect::<Vec<_>>());

    let x = small(128, 1000);
    let mut out = b.fresh::<i32>(16);
    run!(b, early_leavers(&b.put(&x), &mut out), 1, 128);
    let expected = (0..16).map(|t| (0..8).map(|k| x[t + 16 * k]).sum());
    assert_eq!(b.get(&out), expected.collect::<Vec<i32>>());

    let x = small(96, 20);
    let mut out = b.fresh::<i32>(96);
    run!(b, counting(&b.put(&x), &mut out), 1, 96);
    let yes = x.iter().filter(|&&v| v > 10).count() as i32;
    assert_eq!(b.get(&out), vec![yes | 1 << 17; 96]);
}
