//! Counters equal the figures one gets with pencil and paper.
//!
//! A request is one warp instruction, a sector 32 aligned bytes, a wavefront one pass over the 32
//! banks of 4 bytes; accesses of 8 and 16 bytes go by half and quarter warps, `ldmatrix` by 8
//! rows. Every kernel here is one warp unless it says otherwise.

use serde_json::Value;
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile};
use vgpu::report;

struct Counted {
    what: &'static str,
    body: &'static str,
    blocks: u32,
    threads: u32,
    wanted: &'static [(&'static str, u64)],
}

const fn counted(what: &'static str, body: &'static str, wanted: &'static [(&'static str, u64)]) -> Counted {
    Counted { what, body, blocks: 1, threads: 32, wanted }
}

/// `%in` and `%out` are 8 KiB, 256-byte aligned; shared memory is filled.
fn counters(row: &Counted, options: Options) -> Value {
    let ptx = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b64 %in, %out, %p, %q;\n.reg .b32 %lane, %x, %y, %s, %v<8>;\n.reg .b16 %h;\n.reg .pred %c;\n.shared .align 128 .b8 box[8192];\n\
         ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nmov.u32 %lane, %tid.x;\nmov.u32 %s, box;\n{}\nret;\n}}\n",
        row.body
    );
    let gpu = Gpu::new(Profile::a100(), options);
    let module = gpu.load(&ptx).unwrap_or_else(|e| panic!("line {}: {}\n{ptx}", e.line, e.message));
    let [input, output] = [0; 2].map(|_| gpu.alloc(8192).unwrap());
    gpu.fill(input, 1, 4, 2048).unwrap();
    let config = LaunchConfig {
        grid: [row.blocks, 1, 1],
        block: [row.threads, 1, 1],
        dynamic_shared: 0,
        cooperative: false,
        cluster: [1; 3],
    };
    let params: Vec<u8> = [input, output].iter().flat_map(|a| a.to_le_bytes()).collect();
    let report = gpu.launch(&module.kernel("k").unwrap(), &config, &params).unwrap();
    report::counters(&report.counters)
}

fn check(rows: &[Counted]) {
    let mut wrong = Vec::new();
    for row in rows {
        // Shared memory is read without being written: not the subject here.
        let got = counters(row, Options { checks: 0, ..Options::default() });
        for (name, wanted) in row.wanted {
            let value = name.split('/').fold(&got, |value, key| &value[key]);
            if *value != *wanted {
                wrong.push(format!("{}: {name} is {value}, wanted {wanted}", row.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sectors_of_global_loads() {
    check(&[
        counted(
            "neighbouring words: 128 bytes",
            "mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %in; ld.global.u32 %x, [%p];",
            &[("global_load_requests", 1), ("global_load_sectors", 4), ("global_load_sectors_ideal", 4)],
        ),
        counted(
            "the same, backwards",
            "sub.u32 %x, 31, %lane; mul.wide.u32 %p, %x, 4; add.u64 %p, %p, %in; ld.global.u32 %x, [%p];",
            &[("global_load_requests", 1), ("global_load_sectors", 4)],
        ),
        counted(
            "off by one word: bytes 4 to 131",
            "mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %in; ld.global.u32 %x, [%p+4];",
            &[("global_load_sectors", 5), ("global_load_sectors_ideal", 4)],
        ),
        counted(
            "every second word: 256 bytes",
            "mul.wide.u32 %p, %lane, 8; add.u64 %p, %p, %in; ld.global.u32 %x, [%p];",
            &[("global_load_sectors", 8), ("global_load_sectors_ideal", 4)],
        ),
        counted(
            "a column of a matrix with 32 words a row",
            "mul.wide.u32 %p, %lane, 128; add.u64 %p, %p, %in; ld.global.u32 %x, [%p];",
            &[("global_load_sectors", 32), ("global_load_sectors_ideal", 4)],
        ),
        counted(
            "one word for all",
            "ld.global.u32 %x, [%in+64];",
            &[("global_load_requests", 1), ("global_load_sectors", 1), ("global_load_sectors_ideal", 1)],
        ),
        counted(
            "bytes",
            "cvt.u64.u32 %p, %lane; add.u64 %p, %p, %in; ld.global.u8 %x, [%p];",
            &[("global_load_requests", 1), ("global_load_sectors", 1)],
        ),
        counted(
            "four words a lane",
            "mul.wide.u32 %p, %lane, 16; add.u64 %p, %p, %in; ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p];",
            &[("global_load_requests", 1), ("global_load_sectors", 16), ("global_load_sectors_ideal", 16)],
        ),
        counted(
            "eight lanes only",
            "setp.lt.u32 %c, %lane, 8; mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %in; @%c ld.global.nc.u32 %x, [%p];",
            &[("global_load_requests", 1), ("global_load_sectors", 1)],
        ),
        Counted {
            what: "two blocks of two warps each, all reading the same 256 bytes twice",
            body: "mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %in; ld.global.u32 %x, [%p]; ld.global.u32 %x, [%p];",
            blocks: 2,
            threads: 64,
            wanted: &[("global_load_requests", 8), ("global_load_sectors", 32), ("dram_bytes_read", 256)],
        },
    ]);
}

#[test]
fn sectors_of_global_stores() {
    check(&[
        counted(
            "neighbouring words",
            "mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %out; st.global.u32 [%p], %lane;",
            &[
                ("global_store_requests", 1),
                ("global_store_sectors", 4),
                ("dram_bytes_written", 128),
                ("dram_bytes_read", 0),
            ],
        ),
        counted(
            "pairs of words as fragments are stored: 8 rows of 32 bytes",
            "shr.u32 %x, %lane, 2; and.b32 %y, %lane, 3; mul.lo.u32 %x, %x, 256; mad.lo.u32 %x, %y, 8, %x; \
             cvt.u64.u32 %p, %x; add.u64 %p, %p, %out; st.global.v2.u32 [%p], {%lane, %lane};",
            &[("global_store_requests", 1), ("global_store_sectors", 8), ("global_store_sectors_ideal", 8)],
        ),
        counted(
            "one word in each sector",
            "mul.wide.u32 %p, %lane, 32; add.u64 %p, %p, %out; st.global.u32 [%p], %lane;",
            &[("global_store_sectors", 32), ("global_store_sectors_ideal", 4), ("dram_bytes_written", 1024)],
        ),
    ]);
}

#[test]
fn wavefronts_of_shared_accesses() {
    check(&[
        counted(
            "neighbouring words",
            "mad.lo.u32 %x, %lane, 4, %s; ld.shared.u32 %y, [%x]; st.shared.u32 [%x], %y;",
            &[
                ("shared_load_requests", 1),
                ("shared_load_wavefronts", 1),
                ("shared_store_requests", 1),
                ("shared_store_wavefronts", 1),
                ("shared_bank_conflicts", 0),
            ],
        ),
        counted(
            "every second word: two lanes a bank",
            "mad.lo.u32 %x, %lane, 8, %s; ld.shared.u32 %y, [%x];",
            &[("shared_load_wavefronts", 2), ("shared_bank_conflicts", 1)],
        ),
        counted(
            "a column: all lanes in one bank",
            "mad.lo.u32 %x, %lane, 128, %s; ld.shared.u32 %y, [%x]; st.shared.u32 [%x], %y;",
            &[("shared_load_wavefronts", 32), ("shared_store_wavefronts", 32), ("shared_bank_conflicts", 62)],
        ),
        counted(
            "a column of a padded tile",
            "mad.lo.u32 %x, %lane, 132, %s; ld.shared.u32 %y, [%x];",
            &[("shared_load_wavefronts", 1), ("shared_bank_conflicts", 0)],
        ),
        counted("one word for all", "ld.shared.u32 %y, [%s+36];", &[("shared_load_wavefronts", 1)]),
        counted(
            "two lanes a word",
            "shr.u32 %x, %lane, 1; mad.lo.u32 %x, %x, 4, %s; ld.shared.u32 %y, [%x];",
            &[("shared_load_wavefronts", 1)],
        ),
        counted(
            "bytes: four lanes a word",
            "add.u32 %x, %lane, %s; ld.shared.u8 %h, [%x];",
            &[("shared_load_requests", 1), ("shared_load_wavefronts", 1)],
        ),
        counted(
            "doubles: half a warp fills the banks",
            "mad.lo.u32 %x, %lane, 8, %s; ld.shared.u64 %p, [%x];",
            &[("shared_load_requests", 1), ("shared_load_wavefronts", 2), ("shared_bank_conflicts", 0)],
        ),
        counted(
            "16 bytes a lane: a quarter of a warp fills the banks",
            "mad.lo.u32 %x, %lane, 16, %s; ld.shared.v4.u32 {%v0, %v1, %v2, %v3}, [%x];",
            &[("shared_load_requests", 1), ("shared_load_wavefronts", 4), ("shared_bank_conflicts", 0)],
        ),
        counted(
            "16 bytes a lane, rows of 128 bytes: 8 lanes on 4 banks",
            "mad.lo.u32 %x, %lane, 128, %s; ld.shared.v4.u32 {%v0, %v1, %v2, %v3}, [%x];",
            &[("shared_load_wavefronts", 32), ("shared_bank_conflicts", 28)],
        ),
    ]);
}

#[test]
fn wavefronts_of_ldmatrix() {
    let rows = |stride: u32| {
        let body = format!(
            "mad.lo.u32 %x, %lane, {stride}, %s; ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%v0, %v1, %v2, %v3}}, [%x];"
        );
        Box::leak(body.into_boxed_str())
    };
    check(&[
        counted("rows side by side", rows(16), &[("shared_load_requests", 1), ("shared_load_wavefronts", 4)]),
        counted("rows of 128 bytes: all on the same banks", rows(128), &[("shared_load_wavefronts", 32)]),
        counted("rows padded by 16 bytes", rows(144), &[("shared_load_wavefronts", 4), ("shared_bank_conflicts", 0)]),
        counted(
            "two matrices",
            "and.b32 %x, %lane, 15; mad.lo.u32 %x, %x, 16, %s; ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%v0, %v1}, [%x];",
            &[("shared_load_requests", 1), ("shared_load_wavefronts", 2)],
        ),
    ]);
}

#[test]
fn branches_barriers_and_atomics() {
    check(&[
        counted(
            "a loop of ten rounds: nine jumps back and one that falls through",
            "mov.u32 %x, 0; AGAIN: add.u32 %x, %x, 1; setp.lt.u32 %c, %x, 10; @%c bra AGAIN;",
            &[("branches", 10), ("divergent_branches", 0)],
        ),
        counted(
            "odd lanes go elsewhere",
            "and.b32 %x, %lane, 1; setp.eq.u32 %c, %x, 1; @%c bra ODD; mov.u32 %y, 1; ODD:",
            &[("branches", 1), ("divergent_branches", 1)],
        ),
        Counted {
            what: "three warps at two barriers",
            body: "bar.sync 0; bar.sync 1, 96;",
            blocks: 2,
            threads: 96,
            wanted: &[("barriers", 12), ("warps", 6)],
        },
        counted(
            "an atomic and a reduction",
            "atom.global.add.u32 %x, [%out], 1; red.shared.add.u32 [%s], 1;",
            &[("atomics", 2)],
        ),
    ]);
}

#[test]
fn instructions_by_class_and_matrix_flops() {
    let zero = "mov.u32 %v0, 0; mov.u32 %v1, 0; mov.u32 %v2, 0; mov.u32 %v3, 0; ";
    let text = |body: &str| Box::leak(format!("{zero}{body}").into_boxed_str());
    check(&[
        counted(
            "three sums, two conversions",
            "cvt.rn.f32.u32 %x, %lane; add.f32 %y, %x, %x; mul.f32 %y, %y, %x; fma.rn.f32 %y, %y, %x, %x; cvt.rzi.u32.f32 %x, %y;",
            &[("instructions/float", 3), ("instructions/convert", 2), ("instructions/tensor", 0), ("mma_flops", 0)],
        ),
        counted(
            "2·16·8·16",
            text(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%v0, %v1, %v2, %v3}, {%v0, %v1, %v2, %v3}, {%v0, %v1}, \
                 {%v0, %v1, %v2, %v3};",
            ),
            &[("mma_flops", 4096), ("instructions/tensor", 1)],
        ),
        counted(
            "2·16·8·8",
            text(
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%v0, %v1, %v2, %v3}, {%v0, %v1, %v2, %v3}, {%v0, %v1}, \
                 {%v0, %v1, %v2, %v3};",
            ),
            &[("mma_flops", 2048)],
        ),
        counted(
            "lanes of a guarded instruction",
            "setp.lt.u32 %c, %lane, 5; @%c add.u32 %x, %lane, 1;",
            &[
                // Four in front, setp and ret by 32 lanes, the sum by 5.
                ("lane_instructions", 32 * 6 + 5),
            ],
        ),
    ]);
}

/// One seed, one schedule, one result; another seed, the same counters.
#[test]
fn counters_do_not_depend_on_the_schedule() {
    let row = Counted {
        what: "",
        body: "mad.lo.u32 %x, %lane, 8, %s; st.shared.u32 [%x], %lane; bar.sync 0; ld.shared.u32 %y, [%x]; \
            mul.wide.u32 %p, %lane, 4; add.u64 %p, %p, %out; st.global.u32 [%p], %y; atom.global.add.u32 %x, [%in], 1;",
        blocks: 20,
        threads: 128,
        wanted: &[],
    };
    let of = |seed: u64, threads: usize| counters(&row, Options { seed, threads, checks: 0, ..Options::default() });
    let first = of(0, 1);
    for (seed, threads) in [(0, 1), (1, 1), (2, 2), (3, 4)] {
        assert_eq!(of(seed, threads), first, "seed {seed}, {threads} threads");
    }
}
