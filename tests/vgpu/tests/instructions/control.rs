//! Branches, calls, special registers and the ways a kernel ends.

use crate::harness::{bytes, launch, words};
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile, Trap};

const REGISTERS: &str = ".reg .b32 %x, %y, %z, %s;\n.reg .b64 %o, %u, %v;\n.reg .pred %p, %q;\n";
const STORE: &str = "mul.wide.u32 %o, %lane, 4;\nadd.u64 %o, %o, %out;\nst.global.u32 [%o], %x;\n";

fn lanes(body: &str, f: impl Fn(u32) -> u32) {
    let out = words(&launch("", &format!("{REGISTERS}{body}\n{STORE}"), 64, &[], 256));
    assert_eq!(out, (0..64).map(f).collect::<Vec<u32>>(), "{body}");
}

#[test]
fn lanes_go_their_own_ways_and_meet_again() {
    // Collatz steps: each lane loops as often as it must.
    let steps = |lane: u32| {
        let (mut n, mut count) = (lane + 1, 0);
        while n != 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
            count += 1;
        }
        count
    };
    lanes(
        "mov.u32 %x, 0;\nadd.u32 %y, %lane, 1;\nLOOP:\nsetp.eq.u32 %p, %y, 1;\n@%p bra OUT;\nand.b32 %z, %y, 1;\nsetp.eq.u32 %q, %z, 0;\n\
         @%q bra EVEN;\nmad.lo.u32 %y, %y, 3, 1;\nbra.uni NEXT;\nEVEN:\nshr.u32 %y, %y, 1;\nNEXT:\nadd.u32 %x, %x, 1;\nbra LOOP;\nOUT:",
        steps,
    );
    // After the paths meet, all lanes of the warp vote together again.
    lanes(
        "and.b32 %y, %lane, 3;\nsetp.eq.u32 %p, %y, 2;\nmov.u32 %x, 1;\n@%p bra A;\nmov.u32 %x, 2;\nA:\nactivemask.b32 %z;\n\
         popc.b32 %z, %z;\nmad.lo.u32 %x, %z, 10, %x;",
        |lane| 320 + if lane % 4 == 2 { 1 } else { 2 },
    );
}

#[test]
fn tables_of_targets_are_indexed_by_lane() {
    lanes(
        "and.b32 %y, %lane, 3;\nTABLE: .branchtargets L0, L1, L2, L3;\nbrx.idx %y, TABLE;\nL0:\nmov.u32 %x, 10;\nbra END;\n\
         L1:\nmov.u32 %x, 11;\nbra END;\nL2:\nmov.u32 %x, 12;\nL3:\nadd.u32 %x, %lane, 100;\nEND:",
        |lane| [10, 11, lane + 100, lane + 100][lane as usize % 4],
    );
}

#[test]
fn guards_switch_single_instructions_off() {
    lanes("setp.lt.u32 %p, %lane, 20;\nmov.u32 %x, 1;\n@%p mov.u32 %x, 2;\n@!%p add.u32 %x, %x, %lane;", |lane| {
        if lane < 20 { 2 } else { 1 + lane }
    });
    lanes(
        "mov.u32 %x, %lane;\nsetp.gt.u32 %p, %lane, 40;\n@%p bra GO;\nbra JOIN;\nGO:\nadd.u32 %x, %x, 1000;\nJOIN:",
        |lane| if lane > 40 { lane + 1000 } else { lane },
    );
}

#[test]
fn functions_take_and_return_parameters() {
    let module = ".func (.param .b32 result) twice(.param .b32 value, .param .align 8 .b8 pair[16])\n{\n.reg .b32 %a, %b;\n.reg .b64 %c;\n\
        ld.param.b32 %a, [value];\nld.param.b64 %c, [pair+8];\ncvt.u32.u64 %b, %c;\nmad.lo.u32 %a, %a, 2, %b;\nst.param.b32 [result], %a;\nret;\n}\n\
        .func (.reg .b32 %r) sum(.reg .b32 %n)\n{\n.reg .pred %p;\n.reg .b32 %m;\nsetp.eq.u32 %p, %n, 0;\nmov.u32 %r, 0;\n@%p ret;\nsub.u32 %m, %n, 1;\n\
        call (%r), sum, (%m);\nadd.u32 %r, %r, %n;\nret;\n}\n\
        .func nothing()\n{\nret;\n}\n.global .u64 table[2] = {twice, twice};\n";
    let call = |how: &str| {
        format!(
            "{REGISTERS}mov.u64 %u, {{%lane, %lane}};\ncvt.u64.u32 %u, %lane;\n{{\n.param .b32 value;\n.param .align 8 .b8 pair[16];\n.param .b32 result;\n\
             st.param.b32 [value], %lane;\nst.param.b64 [pair], 77;\nst.param.b64 [pair+8], %u;\n{how}\nld.param.b32 %x, [result];\n}}\n\
             call.uni nothing;\n{STORE}"
        )
    };
    let proto = "PROTO: .callprototype (.param .b32 _) _ (.param .b32 _, .param .align 8 .b8 _[16]);\n";
    for how in [
        "call (result), twice, (value, pair);".to_string(),
        "call.uni (result), twice, (value, pair);".to_string(),
        format!("{proto}mov.u64 %v, twice;\ncall (result), %v, (value, pair), PROTO;"),
        format!("{proto}mov.u64 %v, table;\nld.global.u64 %v, [%v+8];\ncall (result), %v, (value, pair), PROTO;"),
    ] {
        let text = call(&how).replace("mov.u64 %u, {%lane, %lane};\n", "");
        let out = words(&launch(module, &text, 64, &[], 256));
        assert_eq!(out, (0..64).map(|l| 3 * l).collect::<Vec<u32>>(), "{how}");
    }
    // Recursion: each lane to its own depth.
    let text = format!("{REGISTERS}call (%x), sum, (%lane);\n{STORE}");
    let out = words(&launch(module, &text, 64, &[], 256));
    assert_eq!(out, (0..64).map(|l| l * (l + 1) / 2).collect::<Vec<u32>>());
}

#[test]
fn special_registers_know_the_lane() {
    lanes("mov.u32 %x, %laneid;", |lane| lane % 32);
    lanes("mov.u32 %x, %warpid;", |lane| lane / 32);
    lanes("mov.u32 %x, %ntid.x;\nmov.u32 %y, %ntid.y;\nmad.lo.u32 %x, %y, 100, %x;", |_| 164);
    lanes("mov.u32 %x, %nctaid.x;\nmov.u32 %y, %ctaid.z;\nadd.u32 %x, %x, %y;", |_| 1);
    lanes("mov.u32 %x, %lanemask_lt;", |lane| (1 << (lane % 32)) - 1);
    lanes("mov.u32 %x, %lanemask_ge;", |lane| !((1 << (lane % 32)) - 1));
    lanes("mov.u32 %x, %lanemask_eq;", |lane| 1 << (lane % 32));
    lanes("mov.u32 %x, %lanemask_le;\nmov.u32 %y, %lanemask_gt;\nadd.u32 %x, %x, %y;", |_| u32::MAX);
    lanes("mov.u64 %u, %clock64;\nmov.u64 %v, %clock64;\nsetp.gt.u64 %p, %v, %u;\nselp.u32 %x, 1, 0, %p;", |_| 1);
    lanes("mov.u64 %u, %globaltimer;\nmov.u32 %y, %clock;\nsetp.ne.u64 %p, %u, 0;\nselp.u32 %x, 1, 0, %p;", |_| 1);
    lanes(".reg .v4 .b32 %t;\nmov.v4.u32 %t, %tid;\nadd.u32 %x, %t.x, %t.y;", |lane| lane);
}

/// Lanes that are done leave the others alone, also at barriers.
#[test]
fn lanes_exit_one_by_one() {
    for how in ["exit", "ret"] {
        let body = format!(
            "{REGISTERS}mov.u32 %x, 9;\n{STORE}setp.lt.u32 %p, %lane, 40;\n@%p {how};\nbar.sync 0;\nmov.u32 %x, %lane;\n{STORE}"
        );
        let out = words(&launch("", &body, 64, &[], 256));
        assert_eq!(out, (0..64).map(|l| if l < 40 { 9 } else { l }).collect::<Vec<u32>>(), "{how}");
    }
}

#[test]
fn parameters_are_read_at_their_offsets() {
    // `launch` passes two addresses; the rest of this test reads them byte by byte.
    let body = format!(
        "{REGISTERS}.reg .b16 %h;\nld.param.u32 %x, [in];\nld.param.u32 %y, [in+4];\nmov.b64 %u, {{%x, %y}};\nsub.u64 %u, %u, %in;\n\
         ld.param.v2.u32 {{%x, %y}}, [out];\nmov.b64 %v, {{%x, %y}};\nsub.u64 %v, %v, %out;\nadd.u64 %u, %u, %v;\n\
         ld.param.u8 %h, [in+1];\ncvt.u32.u16 %x, %h;\nld.param.s8 %h, [in+1];\ncvt.u32.u16 %y, %h;\nand.b32 %y, %y, 255;\n\
         sub.u32 %x, %x, %y;\nld.param.u16 %h, [in+2];\nld.param.f32 %y, [in];\ncvt.u32.u64 %z, %in;\nsub.u32 %y, %y, %z;\nadd.u32 %x, %x, %y;\n\
         cvt.u32.u64 %y, %u;\nadd.u32 %x, %x, %y;\nadd.u32 %x, %x, %lane;\n{STORE}"
    );
    let out = words(&launch("", &body, 64, &bytes(&[1]), 256));
    assert_eq!(out, (0..64).collect::<Vec<u32>>());
}

/// Every type through a parameter and back.
#[test]
fn parameters_of_calls_have_every_type() {
    for (ty, register) in [
        ("b8", "b16"),
        ("u8", "b16"),
        ("s8", "b16"),
        ("b16", "b16"),
        ("u16", "b16"),
        ("s16", "b16"),
        ("b32", "b32"),
        ("u32", "b32"),
        ("s32", "b32"),
        ("f32", "b32"),
        ("b64", "b64"),
        ("u64", "b64"),
        ("s64", "b64"),
        ("f64", "b64"),
    ] {
        let module = format!(
            ".func (.param .{ty} result) same(.param .{ty} value)\n{{\n.reg .{register} %a;\nld.param.{ty} %a, [value];\n\
             st.param.{ty} [result], %a;\nret;\n}}\n"
        );
        let number = |r: &str| {
            if r == "b64" {
                "cvt.u64.u32 %n, %lane;"
            } else if r == "b32" {
                "mov.b32 %n, %lane;"
            } else {
                "cvt.u16.u32 %n, %lane;"
            }
        };
        let back = if register == "b64" {
            "cvt.u32.u64 %x, %n;"
        } else if register == "b32" {
            "mov.b32 %x, %n;"
        } else {
            "cvt.u32.u16 %x, %n;"
        };
        let body = format!(
            "{REGISTERS}.reg .{register} %n;\n{}\n{{\n.param .{ty} value;\n.param .{ty} result;\nst.param.{ty} [value], %n;\n\
             call (result), same, (value);\nmov.b{} %n, 0;\nld.param.{ty} %n, [result];\n}}\n{back}\n{STORE}",
            number(register),
            &register[1..]
        );
        let out = words(&launch(&module, &body, 64, &[], 256));
        assert_eq!(out, (0..64).collect::<Vec<u32>>(), "{ty}");
    }
    // The kernel's own, in pairs and as floats: the address of the input, twice over.
    let body = format!(
        "{REGISTERS}ld.param.f64 %u, [in];\nld.param.v2.f32 {{%x, %y}}, [in];\nmov.b64 %v, {{%x, %y}};\nsub.u64 %u, %u, %v;\n\
         ld.param.s64 %v, [in];\nsub.u64 %v, %v, %in;\nadd.u64 %u, %u, %v;\nld.param.s32 %x, [in];\nld.param.b32 %y, [in];\n\
         sub.u32 %x, %x, %y;\ncvt.u32.u64 %y, %u;\nadd.u32 %x, %x, %y;\nadd.u32 %x, %x, %lane;\n{STORE}"
    );
    assert_eq!(words(&launch("", &body, 64, &[], 256)), (0..64).collect::<Vec<u32>>());
}

#[test]
fn traps_end_the_launch() {
    let gpu = Gpu::new(Profile::a100(), Options::default());
    for (text, trap) in [("trap;", Some(Trap::Trap)), ("brkpt;", Some(Trap::Trap)), ("exit;", None)] {
        let ptx = format!(
            ".version 7.4\n.target sm_80\n.address_size 64\n.entry k()\n{{\n.reg .pred %p;\n.reg .b32 %r;\nmov.u32 %r, %tid.x;\n\
             setp.eq.u32 %p, %r, 33;\n@%p {text}\nret;\n}}\n"
        );
        let kernel = gpu.load(&ptx).unwrap().kernel("k").unwrap();
        let config =
            LaunchConfig { grid: [2, 1, 1], block: [64, 1, 1], dynamic_shared: 0, cooperative: false, cluster: [1; 3] };
        assert_eq!(gpu.launch(&kernel, &config, &[]).unwrap().trap, trap, "{text}");
    }
}
