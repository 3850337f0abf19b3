//! Lane instructions per second on one core, and floating-point operations through `mma.sync`.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile, TensorSums};

/// Integer and single-precision arithmetic in a loop of 1000 rounds.
const ARITHMETIC: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
    .reg .pred %p<2>;
    .reg .b32 %r<10>;
    .reg .f32 %f<10>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    cvt.rn.f32.u32 %f1, %r1;
    mov.f32 %f2, 0f3F800000;
    mov.u32 %r2, 0;
    mov.u32 %r3, 7;
loop:
    fma.rn.f32 %f2, %f2, 0f3F7FF000, %f1;
    mad.lo.s32 %r3, %r3, 1664525, %r1;
    add.f32 %f3, %f2, %f1;
    xor.b32 %r4, %r3, %r1;
    mul.f32 %f4, %f3, 0f3F000000;
    shl.b32 %r5, %r4, 3;
    add.s32 %r3, %r5, %r4;
    sub.f32 %f2, %f4, %f1;
    add.u32 %r2, %r2, 1;
    setp.lt.u32 %p1, %r2, 1000;
    @%p1 bra loop;
    cvt.rzi.s32.f32 %r6, %f2;
    add.s32 %r7, %r6, %r3;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r7;
    ret;
}
";

/// 1000 products of 16×8×16.
const MMA: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
    .reg .pred %p<2>;
    .reg .b32 %r<10>;
    .reg .f32 %f<10>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, 0;
    mov.b32 %r3, 0x3c003800;
    mov.b32 %r4, 0x3a003c00;
    mov.f32 %f1, 0f00000000;
    mov.f32 %f2, 0f00000000;
    mov.f32 %f3, 0f00000000;
    mov.f32 %f4, 0f00000000;
loop:
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3,%f4}, {%r3,%r4,%r3,%r4}, {%r3,%r4}, {%f1,%f2,%f3,%f4};
    add.u32 %r2, %r2, 1;
    setp.lt.u32 %p1, %r2, 1000;
    @%p1 bra loop;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.f32 [%rd3], %f1;
    ret;
}
";

fn measure(c: &mut Criterion, name: &str, ptx: &str, work: u64, profile: Profile, sums: TensorSums) {
    let threads = 256;
    let gpu = Gpu::new(profile, Options { threads: 1, sums, ..Options::default() });
    let module = gpu.load(ptx).expect("the kernel loads");
    let kernel = module.kernel("k").expect("the kernel is there");
    let out = gpu.alloc(4096).expect("there is memory");
    let config =
        LaunchConfig { grid: [1; 3], block: [threads, 1, 1], dynamic_shared: 0, cooperative: false, cluster: [1; 3] };
    let mut group = c.benchmark_group("speed");
    group.throughput(Throughput::Elements(work));
    group.sample_size(20);
    group.bench_function(name, |b| {
        b.iter(|| gpu.launch(&kernel, &config, &out.to_le_bytes()).expect("it runs"));
    });
    group.finish();
}

fn speed(c: &mut Criterion) {
    // Eleven instructions a round.
    let name = "plain arithmetic, lane instructions";
    measure(c, name, ARITHMETIC, 11 * 1000 * 256, Profile::a100(), TensorSums::AsPlayed);
    // Eight warps, 4096 operations a product.
    let mut products = |name: &str, profile: Profile, sums: TensorSums| {
        let name = format!("mma.sync, floating-point operations, {name}");
        measure(c, &name, MMA, 8 * 1000 * 4096, profile, sums);
    };
    products("rounded", Profile::a100(), TensorSums::Rounded);
    products("a100", Profile::a100(), TensorSums::AsPlayed);
    products("h100", Profile::h100(), TensorSums::AsPlayed);
}

criterion_group!(benches, speed);
criterion_main!(benches);
