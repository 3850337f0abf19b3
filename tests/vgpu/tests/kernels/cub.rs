//! Algorithms of CUB, by blocks and by warps.

use crate::common::driver;
use crate::harness::{harness, numbers, small};

#[test]
fn cub_reduces_a_block() {
    let b = harness("cub");
    let x: Vec<f32> = small(1000, 4096).iter().map(|&v| v as f32).collect();
    let mut out = b.fresh::<f32>(2);
    run!(b, block_reduce(&b.put(&x), &mut out, &1000i32), 1, 128);
    let of_thread = |t: usize| x.iter().skip(t).step_by(128).sum::<f32>();
    let most = (0..128).map(of_thread).fold(0.0, f32::max);
    assert_eq!(b.get(&out), [x.iter().sum::<f32>(), most]);
}

#[test]
fn cub_scans_a_block() {
    let b = harness("cub");
    let x = small(1024, 1000);
    let mut out = b.fresh::<i32>(1024);
    run!(b, block_scan(&b.put(&x), &mut out), 2, 128);
    let expected: Vec<i32> = x
        .chunks(512)
        .flat_map(|block| {
            block.iter().scan(0, |sum, v| {
                *sum += v;
                Some(*sum)
            })
        })
        .collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn cub_sorts_pairs_by_radix() {
    let b = harness("cub");
    let keys = numbers(512);
    let values: Vec<u32> = (0..512).collect();
    let (mut sorted, mut order) = (b.fresh::<u32>(512), b.fresh::<u32>(512));
    let (k, v) = (b.put(&keys), b.put(&values));
    run!(b, block_sort(&k, &v, &mut sorted, &mut order), 1, 128);
    let mut expected: Vec<(u32, u32)> = keys.into_iter().zip(values).collect();
    expected.sort_by_key(|pair| pair.0);
    let got: Vec<(u32, u32)> = b.get(&sorted).into_iter().zip(b.get(&order)).collect();
    assert_eq!(got, expected);
}

#[test]
fn cub_sorts_floats_downwards() {
    let b = harness("cub");
    let mut x: Vec<f32> = numbers(512).iter().map(|&v| v as i32 as f32 * 1e-3).collect();
    let mut data = b.put(&x);
    run!(b, block_sort_floats_down(&mut data), 1, 128);
    x.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(b.get(&data), x);
}

#[test]
fn cub_sorts_by_merging() {
    let b = harness("cub");
    let mut x: Vec<i32> = numbers(512).iter().map(|&v| v as i32).collect();
    let mut data = b.put(&x);
    launch!(b, block_merge_sort(&mut data), 1, 128);
    x.sort_unstable();
    assert_eq!(b.get(&data), x);
    // CUB compares with the key one past the end of the tile, which nothing has written, and
    // does not use the answer; the check is right to say so.
    let findings = driver().findings();
    let ours = findings.iter().filter(|finding| finding["kernel"] == "block_merge_sort");
    let kinds: Vec<_> = ours.map(|finding| finding["kind"].as_str().unwrap_or("").to_owned()).collect();
    assert_eq!(kinds, ["uninit_shared_read"]);
}

#[test]
fn cub_works_in_warps() {
    let b = harness("cub");
    let x = small(128, 1000);
    let mut out = b.fresh::<i32>(384);
    run!(b, warp_algorithms(&b.put(&x), &mut out), 1, 128);
    let out = b.get(&out);
    for i in 0..128 {
        let (half, warp) = (i / 16 * 16, i / 32 * 32);
        let sum = x[half..half + 16].iter().sum::<i32>();
        assert_eq!(out[i], if i == half { sum } else { -1 });
        assert_eq!(out[128 + i], x[warp..i].iter().sum::<i32>());
        assert_eq!(out[256 + i], x[warp..warp + 32].iter().sum::<i32>());
    }
}

#[test]
fn cub_counts_bytes() {
    let b = harness("cub");
    let x: Vec<u8> = small(512, 64).iter().map(|&v| v as u8).collect();
    let mut out = b.fresh::<u32>(64);
    run!(b, histogram(&b.put(&x), &mut out), 1, 128);
    let expected: Vec<u32> = (0..64).map(|bin| x.iter().filter(|&&v| v == bin).count() as u32).collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn cub_flags_where_runs_begin() {
    let b = harness("cub");
    let x: Vec<i32> = small(512, 3);
    let mut out = b.fresh::<i32>(512);
    run!(b, discontinuity(&b.put(&x), &mut out), 1, 128);
    let expected: Vec<i32> = (0..512).map(|i| i32::from(i == 0 || x[i] != x[i - 1])).collect();
    assert_eq!(b.get(&out), expected);
}
