//! Shuffles, votes and cooperative groups of a warp.

use crate::harness::{harness, small};

#[test]
fn tiles_sum_by_shuffles() {
    let b = harness("collectives");
    let x = small(256, 1000);
    let mut out = b.fresh::<i32>(256);
    run!(b, tile_sum(&b.put(&x), &mut out), 2, 128);
    let expected: Vec<i32> = (0..256).map(|i| x[i / 8 * 8..i / 8 * 8 + 8].iter().sum()).collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn warps_scan() {
    let b = harness("collectives");
    let n = 128;
    let x = small(n, 1000);
    let mut out = b.fresh::<i32>(2 * n);
    run!(b, warp_scans(&b.put(&x), &mut out, &(n as i32)), 2, 64);
    let out = b.get(&out);
    for (w, warp) in x.chunks(32).enumerate() {
        for i in 0..32 {
            assert_eq!(Some(&out[w * 32 + i]), warp[..=i].iter().max());
            assert_eq!(out[n + w * 32 + i], warp[..i].iter().sum::<i32>());
        }
    }
}

#[test]
fn coalesced_threads_compact_a_list() {
    let b = harness("collectives");
    let n = 500;
    let x = small(n, 100_000);
    let mut list = b.fresh::<i32>(n);
    let mut count = b.zeros::<u32>(1);
    run!(b, compact_odd(&b.put(&x), &mut list, &mut count, &(n as i32)), 4, 128);
    let mut expected: Vec<i32> = x.into_iter().filter(|v| v % 2 == 1).collect();
    assert_eq!(b.get(&count), [expected.len() as u32]);
    let mut list = b.get(&list)[..expected.len()].to_vec();
    list.sort_unstable();
    expected.sort_unstable();
    assert_eq!(list, expected);
}

#[test]
fn labeled_groups_reduce_side_by_side() {
    let b = harness("collectives");
    let (key, x) = (small(64, 8), small(64, 1000));
    let mut out = b.fresh::<i32>(64);
    run!(b, sum_by_key(&b.put(&key), &b.put(&x), &mut out), 1, 64);
    let out = b.get(&out);
    for i in 0..64 {
        let warp = i / 32 * 32;
        let same = (warp..warp + 32).filter(|&j| key[j] == key[i]);
        assert_eq!(out[i], same.map(|j| x[j]).sum::<i32>(), "{i}");
    }
}

#[test]
fn warp_intrinsics_follow_their_definitions() {
    let b = harness("collectives");
    let x: Vec<u32> = small(32, 900).into_iter().map(|v| v as u32).collect();
    let mut out = b.fresh::<u32>(32 * 12);
    run!(b, intrinsics(&b.put(&x), &mut out), 1, 32);
    let out = b.get(&out);
    let mask = |test: &dyn Fn(usize) -> bool| (0..32).filter(|&i| test(i)).map(|i| 1u32 << i).sum::<u32>();
    for lane in 0..32 {
        let o = &out[lane * 12..][..12];
        assert_eq!(o[0], mask(&|i| x[i] & 1 == 1));
        assert_eq!(o[1], 0b11);
        assert_eq!(o[2], mask(&|i| x[i] % 5 == x[lane] % 5));
        assert_eq!(o[3], 0, "all lanes match with predicate 1: mask ~0 plus 1");
        assert_eq!(o[4], x.iter().sum::<u32>());
        assert_eq!(o[5], x.iter().min().unwrap() << 16 | x.iter().max().unwrap());
        assert_eq!(o[6], x.iter().fold(0, |a, v| a ^ v));
        assert_eq!(o[7], if lane % 16 < 3 { x[lane] } else { x[lane - 3] });
        assert_eq!(o[8], if lane % 8 + 5 > 7 { x[lane] } else { x[lane + 5] });
        assert_eq!(o[9], x[lane * 7 % 32]);
        assert_eq!(o[10], if lane % 3 == 0 { mask(&|i| i % 3 == 0) } else { 0 });
        let or = x[..20].iter().fold(0, |a, v| a | 1 << (v % 32));
        assert_eq!(o[11], if lane < 20 { or } else { x[lane ^ 1] });
    }
}

#[test]
fn lanes_of_a_warp_take_a_lock_in_turn() {
    let b = harness("collectives");
    let (mut lock, mut counter) = (b.zeros::<i32>(1), b.zeros::<i32>(1));
    run!(b, lane_lock(&mut lock, &mut counter), 3, 64);
    assert_eq!(b.get(&counter), [192]);
}
