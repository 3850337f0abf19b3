//! Instructions that exchange values between lanes. Each runs with all lanes of a warp and with
//! some of them, named by `activemask`.

use crate::harness::{Kind, Row, Warp, check, warp_equals};

const B32: Kind = Kind::B32;

/// `shfl`: source lane and whether it is in range, as the ISA's pseudocode has it.
fn shuffle(mode: &str, lane: i64, b: u64, c: u64) -> (i64, bool) {
    let (b, clamp, mask) = ((b & 31) as i64, (c & 31) as i64, (c >> 8 & 31) as i64);
    let highest = lane & mask | clamp & !mask & 31;
    let lowest = lane & mask;
    let j = match mode {
        "up" => lane - b,
        "down" => lane + b,
        "bfly" => lane ^ b,
        _ => lowest | b & !mask & 31,
    };
    let valid = if mode == "up" { j >= highest } else { j <= highest };
    (if valid { j } else { lane }, valid)
}

#[test]
fn shuffles_read_other_lanes() {
    let mut rows = Vec::new();
    for (mode, segments) in [
        ("up", [0, 0x1000, 0x1800, 0x1e00]),
        ("down", [31, 0x101f, 0x181f, 0x1e1f]),
        ("bfly", [31, 0x101f, 0x181f, 0x1e1f]),
        ("idx", [31, 0x101f, 0x181f, 0x0f]),
    ] {
        for c in segments {
            for amount in [Some(1u64), Some(5), Some(16), None] {
                // The amount is the same in all lanes, or each lane's own.
                let b = amount.map_or("%y".to_string(), |n| n.to_string());
                let body = format!(
                    "activemask.b32 %x;\nand.b32 %y, $b, 31;\nshfl.sync.{mode}.b32 $d|%p, $a, {b}, {c}, %x;\n\
                     selp.u32 %y, 1, 0, %p;\nxor.b32 $d, $d, %y;"
                );
                let judge = warp_equals(B32, move |w: &Warp| {
                    let b = amount.unwrap_or(w.operands[1][w.lane] & 31);
                    let (from, valid) = shuffle(mode, w.lane as i64, b, c);
                    // A lane that takes no part has no defined value.
                    let present = w.active >> from & 1 == 1;
                    present.then(|| w.operands[0][from as usize] ^ u64::from(valid))
                });
                rows.push(Row::warp(&format!("shfl.sync.{mode}.b32 {b}, {c:#x}"), B32, &[B32, B32], &body, judge));
            }
        }
    }
    check(rows);
}

#[test]
fn votes_count_the_lanes_that_take_part() {
    let truth = "activemask.b32 %x;\nand.b32 %y, $a, LOW;\nsetp.eq.u32 %p, %y, 0;\n";
    let mut rows = Vec::new();
    for (low, bits) in [("1", 1u64), ("0", 0), ("1023", 1023)] {
        let holds = move |w: &Warp, l: usize| w.operands[0][l] & bits == 0;
        for (mode, negate) in [("all", false), ("any", false), ("uni", false), ("all", true), ("any", true)] {
            let p = if negate { "!%p" } else { "%p" };
            let text = format!("{truth}vote.sync.{mode}.pred %q, {p}, %x;\nselp.u32 $d, 1, 0, %q;").replace("LOW", low);
            let judge = warp_equals(B32, move |w| {
                let n = w.lanes().filter(|l| holds(w, *l) != negate).count();
                let all = w.lanes().count();
                Some(u64::from(match mode {
                    "all" => n == all,
                    "any" => n > 0,
                    _ => n == all || n == 0,
                }))
            });
            rows.push(Row::warp(&format!("vote.sync.{mode}.pred {p} {low}"), B32, &[B32], &text, judge));
        }
        let text = format!("{truth}vote.sync.ballot.b32 $d, %p, %x;").replace("LOW", low);
        let judge = warp_equals(B32, move |w| Some(w.lanes().filter(|l| holds(w, *l)).map(|l| 1 << l).sum()));
        rows.push(Row::warp(&format!("vote.sync.ballot.b32 {low}"), B32, &[B32], &text, judge));
    }
    let judge = warp_equals(B32, |w| Some(w.active.into()));
    rows.push(Row::warp("activemask.b32", B32, &[B32], "activemask.b32 $d;", judge));
    check(rows);
}

#[test]
fn matches_find_equal_lanes() {
    let mut rows = Vec::new();
    for ty in ["b32", "b64"] {
        let (kind, register) = if ty == "b32" { (B32, "%y") } else { (Kind::B64, "%u") };
        for low in [3u64, 0, 255] {
            let prepare = format!("activemask.b32 %x;\nand.{ty} {register}, $a, {low};\n");
            let text = format!("{prepare}match.any.sync.{ty} $d, {register}, %x;");
            let judge = warp_equals(B32, move |w| {
                let mine = w.operands[0][w.lane] & low;
                Some(w.lanes().filter(|l| w.operands[0][*l] & low == mine).map(|l| 1 << l).sum())
            });
            rows.push(Row::warp(&format!("match.any.sync.{ty} {low}"), B32, &[kind], &text, judge));
            let text = format!(
                "{prepare}match.all.sync.{ty} $d|%p, {register}, %x;\nselp.u32 %x, 1, 0, %p;\nxor.b32 $d, $d, %x;"
            );
            let judge = warp_equals(B32, move |w| {
                let mine = w.operands[0][w.lane] & low;
                let all = w.lanes().all(|l| w.operands[0][l] & low == mine);
                Some(if all { u64::from(w.active) ^ 1 } else { 0 })
            });
            rows.push(Row::warp(&format!("match.all.sync.{ty} {low}"), B32, &[kind], &text, judge));
        }
    }
    check(rows);
}

#[test]
fn reductions_run_over_the_lanes_that_take_part() {
    let row = |name: &str| {
        let op = name.split('.').nth(2).unwrap().to_string();
        let signed = name.ends_with("s32");
        let judge = warp_equals(B32, move |w| {
            let values = w.lanes().map(|l| w.operands[0][l] as u32);
            let order = |x: u32| if signed { i64::from(x as i32) } else { i64::from(x) };
            let result = match op.as_str() {
                "add" => values.fold(0, u32::wrapping_add),
                "and" => values.fold(u32::MAX, |x, y| x & y),
                "or" => values.fold(0, |x, y| x | y),
                "xor" => values.fold(0, |x, y| x ^ y),
                "min" => values.min_by_key(|x| order(*x)).unwrap_or(0),
                _ => values.max_by_key(|x| order(*x)).unwrap_or(0),
            };
            Some(result.into())
        });
        Row::warp(name, B32, &[B32], "activemask.b32 %x;\nOP $d, $a, %x;", judge)
    };
    let names = "redux.sync.add.s32 redux.sync.add.u32 redux.sync.and.b32 redux.sync.max.s32 redux.sync.max.u32
        redux.sync.min.s32 redux.sync.min.u32 redux.sync.or.b32 redux.sync.xor.b32";
    check(names.split_whitespace().map(row).collect());
}

/// Lanes hand values to each other through shared memory, ordered by `bar.warp.sync`.
#[test]
fn warp_barriers_order_shared_memory() {
    let text = ".shared .align 4 .b8 swap[1024];\n.reg .b32 %z;\nactivemask.b32 %x;\n\
        mov.u32 %y, %tid.x;\nshl.b32 %y, %y, 2;\nmov.u32 %z, swap;\nadd.u32 %y, %y, %z;\nst.shared.b32 [%y], $a;\n\
        bar.warp.sync %x;\n\
        mov.u32 %z, %laneid;\nxor.b32 %z, %z, 1;\nshr.u32 %z, %x, %z;\nand.b32 %z, %z, 1;\nsetp.eq.u32 %p, %z, 1;\n\
        @%p xor.b32 %y, %y, 4;\nld.shared.b32 $d, [%y];\nbar.warp.sync %x;";
    // A lane whose partner takes no part reads its own.
    let judge = warp_equals(B32, |w| {
        let from = if w.active >> (w.lane ^ 1) & 1 == 1 { w.lane ^ 1 } else { w.lane };
        Some(w.operands[0][from])
    });
    check(vec![Row::warp("bar.warp.sync", B32, &[B32], text, judge)]);
}

#[test]
fn one_lane_is_elected() {
    let judge = warp_equals(B32, |w| {
        let leader = w.active.trailing_zeros() as usize;
        Some(leader as u64 | u64::from(w.lane == leader) << 8)
    });
    let text = "activemask.b32 %x;\nelect.sync $d|%p, %x;\nselp.u32 %y, 256, 0, %p;\nor.b32 $d, $d, %y;";
    check(vec![Row::warp("elect.sync", B32, &[B32], text, judge)]);
}
