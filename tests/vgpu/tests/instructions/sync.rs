//! Barriers, fences and asynchronous copies.

use crate::harness::{bytes, launch, words};

/// `%o` is the lane's place in the output.
const OUT: &str = "mul.wide.u32 %o, %lane, 4;\nadd.u64 %o, %o, %out;\n";
const REGISTERS: &str = ".reg .b32 %x, %y, %z, %s;\n.reg .b64 %o, %u, %v;\n.reg .pred %p, %q;\n";

/// Every lane stores its index to shared memory; after the barrier each reads another's.
fn exchange(barrier: &str, threads: u32) -> Vec<u32> {
    let body = format!(
        "{REGISTERS}.shared .align 4 .b8 box[4096];\nmov.u32 %s, box;\nmad.lo.u32 %x, %lane, 4, %s;\nst.shared.u32 [%x], %lane;\n\
         {barrier}\nxor.b32 %y, %lane, 96;\nmad.lo.u32 %x, %y, 4, %s;\nld.shared.u32 %y, [%x];\n{OUT}st.global.u32 [%o], %y;"
    );
    words(&launch("", &body, threads, &[], threads as usize * 4))
}

#[test]
fn barriers_make_shared_memory_visible() {
    for barrier in [
        "bar.sync 0;",
        "bar.sync 3, 128;",
        "mov.u32 %y, 5;\nmov.u32 %z, 128;\nbar.sync %y, %z;",
        "barrier.sync 1;",
        "barrier.sync.aligned 2, 128;",
        "barrier.cta.sync 0;",
        "bar.cta.sync 0;",
        "bar.arrive 1, 256;\nbar.sync 1, 256;",
        "membar.cta;\nbar.sync 0;\nmembar.gl;\nmembar.sys;",
        "fence.acq_rel.gpu;\nfence.sc.cta;\nfence.acq_rel.cta;\nfence.sc.gpu;\nfence.acq_rel.sys;\nbar.sync 0;",
        "nanosleep.u32 20;\nbar.sync 0;\nnanosleep.u32 %lane;",
    ] {
        let wanted: Vec<u32> = (0..128).map(|l| l ^ 96).collect();
        assert_eq!(exchange(barrier, 128), wanted, "{barrier}");
    }
}

/// Two halves of a block hand work to each other: producers arrive, consumers wait.
#[test]
fn arrivals_do_not_wait() {
    let body = format!(
        "{REGISTERS}.shared .align 4 .b8 box[256];\nmov.u32 %s, box;\nand.b32 %y, %lane, 63;\nmad.lo.u32 %x, %y, 4, %s;\n\
         setp.ge.u32 %p, %lane, 64;\n@%p bra CONSUME;\nmul.lo.u32 %z, %lane, 7;\nst.shared.u32 [%x], %z;\nbar.arrive 1, 128;\nbra DONE;\n\
         CONSUME:\nbar.sync 1, 128;\nld.shared.u32 %z, [%x];\n{OUT}st.global.u32 [%o], %z;\nDONE:"
    );
    let out = words(&launch("", &body, 128, &[], 512));
    assert_eq!(out[64..], (0..64).map(|l| l * 7).collect::<Vec<u32>>());
}

#[test]
fn barriers_reduce_predicates() {
    for (limit, threads) in [(40u32, 96u32), (0, 96), (200, 64)] {
        let body = format!(
            "{REGISTERS}setp.lt.u32 %p, %lane, {limit};\nbar.red.popc.u32 %x, 0, %p;\nbar.red.and.pred %q, 1, %p;\n\
             selp.u32 %y, 256, 0, %q;\nadd.u32 %x, %x, %y;\nbar.red.or.pred %q, 0, {threads}, %p;\nselp.u32 %y, 512, 0, %q;\n\
             add.u32 %x, %x, %y;\nbar.red.or.pred %q, 0, !%p;\nselp.u32 %y, 1024, 0, %q;\nadd.u32 %x, %x, %y;\n\
             barrier.red.popc.aligned.u32 %y, 0, %p;\nmad.lo.u32 %x, %y, 2048, %x;\n{OUT}st.global.u32 [%o], %x;"
        );
        let n = limit.min(threads);
        let flag = |holds: bool, value: u32| if holds { value } else { 0 };
        let wanted = n + flag(n == threads, 256) + flag(n > 0, 512) + flag(n < threads, 1024) + 2048 * n;
        assert_eq!(words(&launch("", &body, threads, &[], threads as usize * 4)), vec![wanted; threads as usize]);
    }
}

/// A barrier in shared memory: everyone arrives and waits for the phase, twice.
#[test]
fn memory_barriers_complete_their_phases() {
    let wait = |n: u32, test: &str| format!("WAIT{n}:\n{test}\n@!%p bra WAIT{n};\n");
    let body = format!(
        "{REGISTERS}.shared .align 8 .b64 gate;\n.shared .align 4 .b8 box[512];\nsetp.ne.u32 %p, %lane, 0;\n@%p bra READY;\n\
         mbarrier.init.shared.b64 [gate], 64;\nREADY:\nbar.sync 0;\nmov.u32 %s, box;\nmad.lo.u32 %x, %lane, 4, %s;\n\
         st.shared.u32 [%x], %lane;\nmbarrier.arrive.shared.b64 %u, [gate];\n{}\
         xor.b32 %y, %lane, 33;\nmad.lo.u32 %y, %y, 4, %s;\nld.shared.u32 %z, [%y];\n\
         mbarrier.arrive.shared::cta.b64 _, [gate];\n{}\
         st.shared.u32 [%x], 5;\n{OUT}st.global.u32 [%o], %z;",
        wait(1, "mbarrier.test_wait.shared.b64 %p, [gate], %u;"),
        wait(2, "mbarrier.try_wait.parity.shared::cta.b64 %p, [gate], 1;")
    );
    let wanted: Vec<u32> = (0..64).map(|l| l ^ 33).collect();
    assert_eq!(words(&launch("", &body, 64, &[], 256)), wanted);
}

/// Copies of 4, 8 and 16 bytes; the source size cuts off, the rest becomes zero.
#[test]
fn asynchronous_copies_land_and_fill_with_zeros() {
    let input: Vec<u32> = (0..256).map(|i| 0x0101_0101 * i).collect();
    let copy = |copies: &str, wait: &str| {
        let body = format!(
            "{REGISTERS}.shared .align 16 .b8 box[512];\nmov.u32 %s, box;\nmad.lo.u32 %x, %lane, 16, %s;\nmul.wide.u32 %u, %lane, 16;\n\
             add.u64 %u, %u, %in;\nst.shared.v2.u64 [%x], {{-1, -1}};\n{copies}\n{wait}\n.reg .b32 %w<4>;\n\
             ld.shared.v4.b32 {{%w0, %w1, %w2, %w3}}, [%x];\nmul.wide.u32 %o, %lane, 16;\nadd.u64 %o, %o, %out;\n\
             st.global.v4.b32 [%o], {{%w0, %w1, %w2, %w3}};"
        );
        words(&launch("", &body, 32, &bytes(&input), 512))
    };
    let group = "cp.async.commit_group;\ncp.async.wait_group 0;";
    // What the copy writes of the lane's 16 bytes: `done` bytes copied, zeros up to `size`.
    let wanted = |size: usize, done: usize| -> Vec<u32> {
        let all = bytes(&input);
        let lane = |l: usize| (0..16).map(move |i| (l, i));
        let byte = |(l, i): (usize, usize)| {
            if i < done {
                all[16 * l + i]
            } else if i < size {
                0
            } else {
                0xff
            }
        };
        words(&(0..32).flat_map(lane).map(byte).collect::<Vec<u8>>())
    };
    for (text, size, done) in [
        ("cp.async.ca.shared.global [%x], [%u], 4;", 4, 4),
        ("cp.async.ca.shared.global [%x], [%u], 8;", 8, 8),
        ("cp.async.ca.shared.global [%x], [%u], 16;", 16, 16),
        ("cp.async.cg.shared.global [%x], [%u], 16;", 16, 16),
        ("cp.async.cg.shared::cta.global [%x], [%u], 16;", 16, 16),
        ("cp.async.cg.shared.global.L2::128B [%x], [%u], 16;", 16, 16),
        ("cp.async.ca.shared.global.L2::64B [%x], [%u], 16, 5;", 16, 5),
        ("mov.u32 %y, 9;\ncp.async.cg.shared.global [%x], [%u], 16, %y;", 16, 9),
        ("cp.async.ca.shared.global [%x], [%u], 8, 0;", 8, 0),
        ("setp.eq.u32 %p, 0, 0;\ncp.async.cg.shared.global [%x], [%u], 16, %p;", 16, 0),
    ] {
        assert_eq!(copy(text, group), wanted(size, done), "{text}");
        assert_eq!(copy(text, "cp.async.wait_all;"), wanted(size, done), "{text}");
    }
    // Two groups in flight: waiting for all but one is enough for the first.
    let two = "cp.async.ca.shared.global [%x], [%u], 8;\ncp.async.commit_group;\n\
        cp.async.ca.shared.global [%x+8], [%u+8], 8;\ncp.async.commit_group;\ncp.async.wait_group 1;\nld.shared.u32 %y, [%x];";
    assert_eq!(copy(two, "cp.async.wait_group 0;"), wanted(16, 16));
    // A group is complete when a barrier in shared memory says so.
    let gate = "bar.sync 0;\nsetp.ne.u32 %p, %lane, 0;\n.shared .align 8 .b64 gate;\n@%p bra READY;\nmbarrier.init.shared.b64 [gate], 32;\n\
        READY:\nbar.sync 0;\ncp.async.cg.shared.global [%x], [%u], 16;\ncp.async.mbarrier.arrive.noinc.shared.b64 [gate];\n\
        WAIT:\nmbarrier.test_wait.parity.shared.b64 %p, [gate], 0;\n@!%p bra WAIT;\nbar.sync 0;";
    assert_eq!(copy(gate, ""), wanted(16, 16));
}

/// All lanes of a block, and lanes that diverged, add to one place.
#[test]
fn contended_atomics_lose_nothing() {
    let body = format!(
        "{REGISTERS}.shared .align 8 .b64 total;\nsetp.ne.u32 %p, %lane, 0;\n@%p bra READY;\nst.shared.u64 [total], 0;\nREADY:\nbar.sync 0;\n\
         cvt.u64.u32 %u, %lane;\natom.shared.add.u64 %v, [total], %u;\nand.b32 %y, %lane, 1;\nsetp.eq.u32 %p, %y, 0;\n\
         @%p red.shared.add.u64 [total], 1000000;\natom.global.add.u32 %x, [%out], 1;\natom.global.max.u32 %x, [%out+4], %lane;\n\
         atom.global.inc.u32 %x, [%out+8], 99;\nbar.sync 0;\nld.shared.u64 %v, [total];\n\
         setp.ne.u32 %p, %lane, 7;\n@%p bra DONE;\nst.global.u32 [%out+12], %v;\nDONE:"
    );
    let out = words(&launch("", &body, 256, &[], 16));
    assert_eq!(out, [256, 255, 256 % 100, 255 * 128 + 128_000_000]);
}

/// Lanes of one warp take a lock one after the other.
#[test]
fn lanes_of_a_warp_can_wait_for_each_other() {
    let body = format!(
        "{REGISTERS}TRY:\natom.global.cas.b32 %x, [%out], 0, 1;\nsetp.ne.u32 %p, %x, 0;\n@%p bra TRY;\nmembar.gl;\n\
         ld.volatile.global.u32 %y, [%out+4];\nadd.u32 %y, %y, %lane;\nst.volatile.global.u32 [%out+4], %y;\nmembar.gl;\n\
         atom.global.exch.b32 %x, [%out], 0;"
    );
    let out = words(&launch("", &body, 64, &[], 8));
    assert_eq!(out, [0, 63 * 32]);
}
