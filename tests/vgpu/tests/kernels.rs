//! Kernels as nvcc makes them from CUDA C++: calls, collectives, CUB, half precision, tensor
//! cores, atomics, asynchronous copies, messages. Each is compiled here, runs through
//! cudarc, and is compared with what plain Rust computes; none may leave a finding.

#![allow(unsafe_code, reason = "cudarc's launches are unsafe")]

mod common;

use common::{device, driver, ptx};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr, LaunchConfig, ValidAsZeroBits};
use cudarc::nvrtc::Ptx;
use half::{bf16, f16};
use std::sync::Arc;

struct Bench {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    text: String,
}

/// Compiles one of the files of `kernels/` for sm_80.
fn bench(file: &str) -> Bench {
    let path = format!("{}/tests/kernels/{file}.cu", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&path).unwrap();
    let (context, stream) = device();
    Bench { context, stream, text: ptx(&source, "sm_80") }
}

impl Bench {
    fn put<T: DeviceRepr>(&self, data: &[T]) -> CudaSlice<T> {
        self.stream.clone_htod(data).unwrap()
    }

    /// Memory that the kernel has to write before anyone reads it.
    fn fresh<T: DeviceRepr>(&self, n: usize) -> CudaSlice<T> {
        // SAFETY: the device marks it as undefined; a read of it is a finding.
        unsafe { self.stream.alloc(n) }.unwrap()
    }

    fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, n: usize) -> CudaSlice<T> {
        self.stream.alloc_zeros(n).unwrap()
    }

    fn get<T: DeviceRepr + Clone + Default>(&self, data: &CudaSlice<T>) -> Vec<T> {
        self.stream.clone_dtoh(data).unwrap()
    }
}

/// `run!(bench, kernel(arguments…), blocks, threads)`: launches, waits, wants no finding.
macro_rules! run {
    ($bench:ident, $kernel:ident($($argument:expr),* $(,)?), $blocks:expr, $threads:expr) => {{
        launch!($bench, $kernel($($argument),*), $blocks, $threads);
        no_findings(stringify!($kernel));
    }};
}

/// Launches and waits.
macro_rules! launch {
    ($bench:ident, $kernel:ident($($argument:expr),* $(,)?), $blocks:expr, $threads:expr) => {{
        use cudarc::driver::PushKernelArg;
        let name = stringify!($kernel);
        let module = $bench.context.load_module(Ptx::from_src($bench.text.clone())).unwrap();
        let kernel = module.load_function(name).unwrap();
        let mut launch = $bench.stream.launch_builder(&kernel);
        let shape = LaunchConfig {
            grid_dim: ($blocks, 1, 1),
            block_dim: ($threads, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are those of the kernel's declaration.
        unsafe { launch$(.arg($argument))*.launch(shape) }.unwrap();
        $bench.stream.synchronize().unwrap();
    }};
}

fn no_findings(kernel: &str) {
    let found: Vec<_> = driver().findings().into_iter().filter(|finding| finding["kernel"] == kernel).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// The same numbers in every run, spread over 32 bits.
fn numbers(n: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9u32;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        })
        .collect()
}

fn small(n: usize, below: u32) -> Vec<i32> {
    numbers(n).iter().map(|v| (v % below) as i32).collect()
}

// --- collectives ---------------------------------------------------------------------

#[test]
fn tiles_sum_by_shuffles() {
    let b = bench("collectives");
    let x = small(256, 1000);
    let mut out = b.fresh::<i32>(256);
    run!(b, tile_sum(&b.put(&x), &mut out), 2, 128);
    let expected: Vec<i32> = (0..256).map(|i| x[i / 8 * 8..i / 8 * 8 + 8].iter().sum()).collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn warps_scan() {
    let b = bench("collectives");
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
    let b = bench("collectives");
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
    let b = bench("collectives");
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
    let b = bench("collectives");
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
    let b = bench("collectives");
    let (mut lock, mut counter) = (b.zeros::<i32>(1), b.zeros::<i32>(1));
    run!(b, lane_lock(&mut lock, &mut counter), 3, 64);
    assert_eq!(b.get(&counter), [192]);
}

// --- CUB -----------------------------------------------------------------------------

#[test]
fn cub_reduces_a_block() {
    let b = bench("cub");
    let x: Vec<f32> = small(1000, 4096).iter().map(|&v| v as f32).collect();
    let mut out = b.fresh::<f32>(2);
    run!(b, block_reduce(&b.put(&x), &mut out, &1000i32), 1, 128);
    let of_thread = |t: usize| x.iter().skip(t).step_by(128).sum::<f32>();
    let most = (0..128).map(of_thread).fold(0.0, f32::max);
    assert_eq!(b.get(&out), [x.iter().sum::<f32>(), most]);
}

#[test]
fn cub_scans_a_block() {
    let b = bench("cub");
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
    let b = bench("cub");
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
    let b = bench("cub");
    let mut x: Vec<f32> = numbers(512).iter().map(|&v| v as i32 as f32 * 1e-3).collect();
    let mut data = b.put(&x);
    run!(b, block_sort_floats_down(&mut data), 1, 128);
    x.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(b.get(&data), x);
}

#[test]
fn cub_sorts_by_merging() {
    let b = bench("cub");
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
    let b = bench("cub");
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
    let b = bench("cub");
    let x: Vec<u8> = small(512, 64).iter().map(|&v| v as u8).collect();
    let mut out = b.fresh::<u32>(64);
    run!(b, histogram(&b.put(&x), &mut out), 1, 128);
    let expected: Vec<u32> = (0..64).map(|bin| x.iter().filter(|&&v| v == bin).count() as u32).collect();
    assert_eq!(b.get(&out), expected);
}

#[test]
fn cub_flags_where_runs_begin() {
    let b = bench("cub");
    let x: Vec<i32> = small(512, 3);
    let mut out = b.fresh::<i32>(512);
    run!(b, discontinuity(&b.put(&x), &mut out), 1, 128);
    let expected: Vec<i32> = (0..512).map(|i| i32::from(i == 0 || x[i] != x[i - 1])).collect();
    assert_eq!(b.get(&out), expected);
}

// --- half precision --------------------------------------------------------------------

/// Finite halves of every magnitude.
fn halves(n: usize) -> Vec<f16> {
    numbers(2 * n).into_iter().map(|v| f16::from_bits((v >> 7) as u16)).filter(|v| v.is_finite()).take(n).collect()
}

/// One rounding from f64 to half: f64 is exact for sums and products of halves.
fn round(v: f64) -> f16 {
    f16::from_f64(v)
}

#[track_caller]
fn same_half(got: f16, expected: f16, what: &str) {
    let equal = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
    assert!(equal, "{what}: {got} ({:#06x}), expected {expected} ({:#06x})", got.to_bits(), expected.to_bits());
}

#[test]
fn half_scalars_round_once() {
    let b = bench("halves");
    let n = 500;
    let all = halves(2 * n);
    let (x, y) = all.split_at(n);
    let bits = |v: &[f16]| v.iter().map(|h| h.to_bits()).collect::<Vec<u16>>();
    let mut out = b.fresh::<u16>(n * 16);
    let (dx, dy) = (b.put(&bits(x)), b.put(&bits(y)));
    run!(b, half_scalars(&dx, &dy, &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    for i in 0..n {
        let (a, c) = (x[i].to_f64(), y[i].to_f64());
        let o = |at: usize| f16::from_bits(out[i * 16 + at]);
        let what = format!("{a}, {c}");
        same_half(o(0), round(a + c), &what);
        same_half(o(1), round(a - c), &what);
        same_half(o(2), round(a * c), &what);
        same_half(o(3), round(a * c + 1.0), &what);
        same_half(o(5), round(if a > c { a } else { c }), &what);
        same_half(o(6), round(if a < c { a } else { c }), &what);
        same_half(o(7), round((a + c).clamp(0.0, 1.0)), &what);
        let relu = round(a * c + a).to_f64().max(0.0);
        same_half(o(8), round(relu), &what);
        same_half(o(9), round(-a.abs()), &what);
        same_half(o(10), round(f64::from(x[i].to_bits()) - 32768.0), &what);
        assert_eq!(o(11).to_f64(), a.trunc());
        let flags = u16::from(a < c) | u16::from(a >= c) << 1 | u16::from(a == c) << 2 | u16::from(a != c) << 3;
        assert_eq!(out[i * 16 + 12], flags);
        assert_eq!(out[i * 16 + 13], a as i32 as u16);
        // Division and root go through single precision; both are right to half an ulp or so.
        let close = |got: f16, exact: f64| {
            let ulp = (exact.abs() * 2f64.powi(-10)).max(2f64.powi(-24));
            let overflow = exact.abs() > 65_504.0 && got.is_infinite();
            assert!(overflow || (got.to_f64() - exact).abs() <= ulp, "{what}: {got}, expected {exact}");
        };
        if c != 0.0 {
            close(o(4), a / c);
        }
        close(o(14), a.abs().sqrt());
        let cut = o(15).to_f64().abs();
        let exact = f64::from(x[i].to_f32() * 1.0001f32).abs();
        assert!(cut <= exact && exact - cut <= (exact * 2f64.powi(-10)).max(2f64.powi(-24)) || exact > 65_504.0);
    }
}

#[test]
fn half_pairs_work_on_both_halves() {
    let b = bench("halves");
    let n = 256;
    let all = halves(4 * n);
    let (x, y) = all.split_at(2 * n);
    let mut out = b.fresh::<f16>(n * 16);
    let (dx, dy) = (b.put(x), b.put(y));
    run!(b, half_pairs(&dx, &dy, &mut out, &(n as i32)), 2, 128);
    let out = b.get(&out);
    for i in 0..n {
        for side in 0..2 {
            let (a, c) = (x[2 * i + side].to_f64(), y[2 * i + side].to_f64());
            let o = |at: usize| out[i * 16 + at * 2 + side];
            let what = format!("{a}, {c}");
            same_half(o(0), round(a + c), &what);
            same_half(o(1), round(a * c + c), &what);
            same_half(o(2), round(a * c), &what);
            same_half(o(3), round(if a > c { a } else { c }), &what);
            same_half(o(4), x[2 * i + 1 - side], &what);
            same_half(o(5), round(f64::from(u8::from(a > c))), &what);
            same_half(o(6), round(a - c), &what);
            same_half(o(7), if side == 0 { x[2 * i] } else { y[2 * i + 1] }, &what);
        }
    }
}

#[test]
fn bfloats_round_once() {
    let b = bench("halves");
    let n = 256;
    let all: Vec<bf16> = numbers(4 * n)
        .into_iter()
        .map(|v| bf16::from_f32((v as i32 as f32) * 2f32.powi((v % 40) as i32 - 50)))
        .collect();
    let (x, y) = all.split_at(2 * n);
    let mut out = b.fresh::<bf16>(n * 12);
    let (dx, dy) = (b.put(x), b.put(y));
    run!(b, bfloats(&dx, &dy, &mut out, &(n as i32)), 2, 128);
    let out = b.get(&out);
    for i in 0..n {
        for side in 0..2 {
            let (a, c) = (x[2 * i + side].to_f64(), y[2 * i + side].to_f64());
            let o = |at: usize| out[i * 12 + at * 2 + side].to_f64();
            // Products of bfloats are exact in f64, and so are these sums: 16 bits plus
            // 40 powers of two apart.
            let rounded = |v: f64| bf16::from_f64(v).to_f64();
            assert_eq!(o(0), rounded(a + c), "{a} + {c}");
            assert_eq!(o(1), rounded(a * c), "{a} · {c}");
            assert_eq!(o(2), rounded(a * c + a), "{a} · {c} + {a}");
            assert_eq!(o(3), a.max(c));
            let (first, second) = (x[2 * i].to_f32() * 3.0, y[2 * i + 1].to_f32() / 3.0);
            let expected = bf16::from_f32(if side == 0 { first } else { second });
            assert_eq!(o(4), expected.to_f64());
            assert_eq!(o(5), -a.min(c));
        }
    }
}

#[test]
fn half_atomics_add_up() {
    let b = bench("halves");
    let mut sum = b.zeros::<f16>(2);
    let mut one = b.zeros::<f16>(2);
    let mut bsum = b.zeros::<bf16>(2);
    run!(b, half_atomics(&mut sum, &mut one, &mut bsum), 1, 96);
    assert_eq!(b.get(&sum).iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [96.0, 48.0]);
    assert_eq!(b.get(&one)[0].to_f32(), 24.0);
    assert_eq!(b.get(&bsum).iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [96.0, 192.0]);
}

// --- tensor cores ----------------------------------------------------------------------

/// 2·(a·b + c) for integers small enough that every format holds them exactly.
fn product(a: &[i32], b: impl Fn(usize, usize) -> i32, c: &[i32], depth: usize) -> Vec<i32> {
    (0..256)
        .map(|at| {
            let (row, column) = (at / 16, at % 16);
            let sum: i32 = (0..depth).map(|k| a[row * depth + k] * b(k, column)).sum();
            2 * (sum + c[at])
        })
        .collect()
}

fn signed(n: usize, from: usize, limit: u32) -> Vec<i32> {
    numbers(n + from)[from..].iter().map(|v| (v >> 8) as i32 % (2 * limit as i32 + 1) - limit as i32).collect()
}

#[test]
fn wmma_products_are_exact_on_small_integers() {
    let b = bench("matrices");
    let depth = 32;
    let d = depth as i32;
    let (x, y, c) = (signed(16 * depth, 0, 4), signed(16 * depth, 900, 4), signed(256, 2000, 9));
    let by_column = product(&x, |k, n| y[n * depth + k], &c, depth);
    let by_row = product(&x, |k, n| y[k * 16 + n], &c, depth);
    macro_rules! case {
        ($kernel:ident, $in:ty, $out:ty, $to:expr, $up:expr, $down:expr, $expected:expr) => {{
            let (x, y): (Vec<$in>, Vec<$in>) = (x.iter().map($to).collect(), y.iter().map($to).collect());
            let c: Vec<$out> = c.iter().map($up).collect();
            let (dx, dy, mut dc) = (b.put(&x), b.put(&y), b.put(&c));
            run!(b, $kernel(&dx, &dy, &mut dc, &d), 1, 32);
            let got: Vec<i32> = b.get(&dc).into_iter().map($down).collect();
            assert_eq!(got, $expected, stringify!($kernel));
        }};
    }
    let to_half = |&v: &i32| f16::from_f32(v as f32);
    let to_bfloat = |&v: &i32| bf16::from_f32(v as f32);
    let to_float = |&v: &i32| v as f32;
    let from_float = |v: f32| v as i32;
    case!(wmma_half, f16, f32, to_half, to_float, from_float, by_column);
    case!(wmma_half_half, f16, f16, to_half, to_half, |v: f16| v.to_f32() as i32, by_row);
    case!(wmma_bfloat, bf16, f32, to_bfloat, to_float, from_float, by_column);
    case!(wmma_bytes, i8, i32, |&v: &i32| v as i8, |&v: &i32| v, |v: i32| v, by_row);
    case!(wmma_tf32, f32, f32, to_float, to_float, from_float, by_row);
}

#[test]
fn wmma_doubles_keep_double_precision() {
    let b = bench("matrices");
    let x: Vec<f64> = numbers(64).iter().map(|&v| f64::from(v) * 1e-9 - 2.0).collect();
    let (a, c) = x.split_at(32);
    let mut out = b.fresh::<f64>(64);
    let (da, dc) = (b.put(a), b.put(c));
    run!(b, wmma_double(&da, &dc, &mut out), 1, 32);
    let out = b.get(&out);
    for (row, column) in (0..8).flat_map(|r| (0..8).map(move |c| (r, c))) {
        let exact: f64 = (0..4).map(|k| a[row * 4 + k] * c[column * 4 + k]).sum::<f64>() + 1.0;
        assert!((out[column * 8 + row] - exact).abs() < 1e-13, "{row}, {column}");
    }
}

// --- control ---------------------------------------------------------------------------

#[test]
fn calls_go_where_they_should() {
    let b = bench("control");
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
    let b = bench("control");
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
    let b = bench("control");
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
    let b = bench("control");
    let x: Vec<i16> = numbers(64 * 16).iter().map(|&v| v as i16).collect();
    let mut out = b.fresh::<i16>(64 * 16);
    run!(b, local_sort(&b.put(&x), &mut out), 1, 64);
    let mut expected = x;
    expected.chunks_mut(16).for_each(|chunk| chunk.sort_unstable());
    assert_eq!(b.get(&out), expected);
}

// --- atomics ---------------------------------------------------------------------------

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
    let b = bench("atomics");
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
    let b = bench("atomics");
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
    let b = bench("atomics");
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
    let b = bench("atomics");
    let x: Vec<f32> = small(640, 100).iter().map(|&v| v as f32).collect();
    let (mut partial, mut arrived, mut out) = (b.fresh::<f32>(10), b.zeros::<u32>(1), b.fresh::<f32>(1));
    let dx = b.put(&x);
    run!(b, last_block(&dx, &mut partial, &mut arrived, &mut out), 10, 64);
    assert_eq!(b.get(&out), [x.iter().sum::<f32>()]);

    let (mut place, mut flag, mut out) = (b.fresh::<i32>(1), b.zeros::<i32>(1), b.fresh::<i32>(1));
    run!(b, hand_over(&mut place, &mut flag, &mut out), 2, 1);
    assert_eq!(b.get(&out), [42]);
}

// --- asynchronous copies -----------------------------------------------------------------

#[test]
fn pipelined_copies_arrive_before_they_are_read() {
    let b = bench("pipelines");
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
    let b = bench("pipelines");
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

// --- mathematics -------------------------------------------------------------------------

/// The functions of `mathematics.cu`, in its order, in double precision.
fn functions(x: f64, y: f64, single: bool) -> Vec<f64> {
    // Arguments that the kernel computes in its own precision.
    let own = |v: f64| if single { f64::from(v as f32) } else { v };
    let (eighth, large) = (own(x / 8.0), own(x * 100_000.0));
    let remainder = x - y * (x / y).round_ties_even();
    vec![
        x.sin(),
        x.cos(),
        x.tan(),
        eighth.asin(),
        eighth.acos(),
        x.atan(),
        x.sinh(),
        x.cosh(),
        x.tanh(),
        x.exp(),
        x.exp2(),
        x.exp_m1(),
        y.ln(),
        y.log2(),
        y.log10(),
        y.ln_1p(),
        y.sqrt(),
        x.cbrt(),
        y.powf(x),
        x.atan2(y),
        x.hypot(y),
        x % y,
        remainder,
        x.floor(),
        x.ceil(),
        x.trunc(),
        x.round(),
        x.round_ties_even(),
        x.abs(),
        x.max(y),
        x.min(y),
        y.copysign(x),
        (x - y).max(0.0),
        x.mul_add(y, x),
        x * 32.0,
        x / y,
        1.0 / y,
        1.0 / y.sqrt(),
        large.sin(),
        large.cos(),
    ]
}

/// Arguments on a grid fine enough that x - y·k is exact: x in ±8, y in 0.25 to 4.
fn arguments(n: usize) -> (Vec<f64>, Vec<f64>) {
    let raw = numbers(2 * n);
    let x = raw[..n].iter().map(|&v| f64::from(v as i32 >> 12) / 65_536.0).collect();
    let y = raw[n..].iter().map(|&v| f64::from((v >> 14) + (1 << 14)) / 65_536.0).collect();
    (x, y)
}

#[test]
fn mathematics_stay_within_their_error_bounds() {
    let b = bench("mathematics");
    let n = 300;
    let (x, y) = arguments(n);
    let single = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let mut floats = b.fresh::<f32>(40 * n);
    run!(b, floats(&b.put(&single(&x)), &b.put(&single(&y)), &mut floats, &(n as i32)), 3, 128);
    let mut doubles = b.fresh::<f64>(40 * n);
    run!(b, doubles(&b.put(&x), &b.put(&y), &mut doubles, &(n as i32)), 3, 128);
    let (floats, doubles) = (b.get(&floats), b.get(&doubles));
    for i in 0..n {
        let narrow = functions(f64::from(x[i] as f32), f64::from(y[i] as f32), true);
        for (at, (exact, precise)) in narrow.iter().zip(functions(x[i], y[i], false)).enumerate() {
            // The CUDA C++ guide bounds each of these by a few ulps; 16 for powers.
            let ulps = if at == 18 { 16.0 } else { 5.0 };
            let off = |got: f64, exact: f64, bits: i32| (got - exact).abs() / (exact.abs() + 1e-30) * 2f64.powi(bits);
            let what = format!("function {at} of {}, {}", x[i], y[i]);
            let got = f64::from(floats[at * n + i]);
            assert!(off(got, *exact, 23) <= ulps || (got - exact).abs() < 1e-30, "{what}: {got}, expected {exact}");
            let got = doubles[at * n + i];
            assert!(
                off(got, precise, 52) <= ulps || (got - precise).abs() < 1e-300,
                "{what}: {got}, expected {precise}"
            );
        }
    }
}

#[test]
fn roundings_bracket_the_exact_value() {
    let b = bench("mathematics");
    let n = 500;
    let raw = numbers(2 * n);
    let float = |v: &u32| f32::from_bits(v & 0x807f_ffff | (((v >> 24) & 0x1f) + 112) << 23);
    let (x, y): (Vec<f32>, Vec<f32>) = (raw[..n].iter().map(float).collect(), raw[n..].iter().map(float).collect());
    let mut out = b.fresh::<f32>(12 * n);
    run!(b, roundings(&b.put(&x), &b.put(&y), &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    // The largest float not above, and the smallest not below, a value known to more bits.
    let down = |v: f64| if f64::from(v as f32) > v { (v as f32).next_down() } else { v as f32 };
    let up = |v: f64| if f64::from(v as f32) < v { (v as f32).next_up() } else { v as f32 };
    let zero = |v: f64| if v < 0.0 { up(v) } else { down(v) };
    for i in 0..n {
        let (a, c) = (f64::from(x[i]), f64::from(y[i]));
        let (sum, product, root) = (a + c, a * c, a.abs().sqrt());
        // Sums and products are exact in double precision here; quotients and roots are not,
        // but are never within a double's rounding of a float unless they are one.
        let expected = [
            zero(sum),
            up(sum),
            down(sum),
            zero(product),
            up(product),
            down(product),
            zero(a / c),
            up(a / c),
            down(a / c),
            down(root),
            up(root),
        ];
        assert_eq!(out[i * 12..][..11], expected, "{a}, {c}");
    }
}

#[test]
fn integer_intrinsics_follow_their_definitions() {
    let b = bench("mathematics");
    let n = 400;
    let raw = numbers(2 * n);
    let (x, y) = raw.split_at(n);
    let mut out = b.fresh::<u32>(24 * n);
    run!(b, integers(&b.put(x), &b.put(y), &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    for i in 0..n {
        let (a, c) = (x[i], y[i]);
        let (sa, sc) = (a as i32, c as i32);
        let w = u64::from(a) << 32 | u64::from(c);
        let v = w.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = |v: u32| v.to_le_bytes();
        let pairs = || bytes(a).into_iter().zip(bytes(c));
        let all = u64::from(c) << 32 | u64::from(a);
        let permuted = [4, 1, 6, 3].map(|k: u32| (all >> (8 * k)) as u8);
        let shift = (c % 40).min(32);
        let halves = |v: u32| [v as i16, (v >> 16) as i16];
        let most = [0, 1].map(|k| halves(a)[k].max(halves(c)[k]) as u16);
        let quads = |f: fn(u8, u8) -> u8| u32::from_le_bytes(std::array::from_fn(|k| f(bytes(a)[k], bytes(c)[k])));
        let expected = [
            a.reverse_bits(),
            a.leading_zeros(),
            a.count_ones(),
            if a == 0 { 0 } else { a.trailing_zeros() + 1 },
            u32::from_le_bytes(permuted),
            ((all << (a & 31)) >> 32) as u32,
            (all >> shift) as u32,
            ((i64::from(sa) * i64::from(sc)) >> 32) as u32,
            ((u64::from(a) * u64::from(c)) >> 32) as u32,
            ((u128::from(w) * u128::from(v)) >> 96) as u32,
            sa.abs_diff(sc).wrapping_add(7),
            a.abs_diff(c).wrapping_add(9),
            (11 + pairs().map(|(p, q)| i32::from(p as i8) * i32::from(q as i8)).sum::<i32>()) as u32,
            12 + pairs().map(|(p, q)| u32::from(p) * u32::from(q)).sum::<u32>(),
            (a & 0xff_ffff).wrapping_mul(c & 0xff_ffff),
            ((i64::from(sa) + i64::from(sc)) >> 1) as u32,
            ((u64::from(a) + u64::from(c) + 1) >> 1) as u32,
            (sa / (sc | 1)) as u32,
            (sa % (sc | 1)) as u32,
            (a / (c | 1)).wrapping_add(a % (c | 1)),
            (w / (v >> 40 | 1)) as u32,
            (w as i64 % (v as i64 >> 33 | 1)) as u32,
            (v >> (a & 31)).leading_zeros(),
            quads(u8::saturating_add) ^ (u32::from(most[1]) << 16 | u32::from(most[0])) ^ quads(u8::abs_diff),
        ];
        assert_eq!(out[i * 24..][..24], expected, "{a:#x}, {c:#x}");
    }
}

// --- messages ----------------------------------------------------------------------------

#[test]
fn printf_formats_as_c_does() {
    let b = bench("messages");
    run!(b, print_kinds(&-42i32, &2.5f64, &0u64), 1, 32);
    let reports = driver().reports();
    let ours = reports.iter().rfind(|report| report["kernel"] == "print_kinds").unwrap();
    let mut lines: Vec<&str> = ours["stdout"].as_array().unwrap().iter().filter_map(|l| l.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "float 2.500000 2.500e+00 2.5 width [    2.50]",
            "int -42 hex ffffffd6 char A percent %",
            "long -360777252864 unsigned 42 text inside",
            "thread 0 of block 0",
            "thread 1 of block 0",
            "thread 2 of block 0",
        ]
    );
}
