use super::Random;
use crate::arith::bits::*;
use crate::arith::int::*;

fn words() -> Vec<u32> {
    let mut r = Random(8);
    let corners =
        [0, 1, 2, 3, 31, 32, 33, 63, 64, 65, 255, 256, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX, 0xff00_00ff];
    corners.into_iter().chain((0..40).map(|_| r.u32() >> (r.u32() % 32))).collect()
}

fn triples() -> Vec<(u32, u32, u32)> {
    let all = words();
    let mut r = Random(9);
    let mut out: Vec<_> = all.iter().flat_map(|a| all.iter().map(|b| (*a, *b, all[0]))).collect();
    for t in &mut out {
        t.2 = all[r.u32() as usize % all.len()];
    }
    out
}

/// The pseudocode of `bfe`.
fn bfe_isa(a: u64, b: u32, c: u32, signed: bool, msb: i32) -> u64 {
    let (pos, len) = ((b & 0xff) as i32, (c & 0xff) as i32);
    let bit = |i: i32| a >> i & 1;
    let sign = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
    (0..=msb).map(|i| if i < len && pos + i <= msb { bit(pos + i) << i } else { sign << i }).sum()
}

/// The pseudocode of `bfi`.
fn bfi_isa(a: u64, b: u64, c: u32, d: u32, msb: i32) -> u64 {
    let (pos, len) = ((c & 0xff) as i32, (d & 0xff) as i32);
    let mut f = b;
    for i in (0..len).take_while(|i| pos + i <= msb) {
        f = f & !(1 << (pos + i)) | (a >> i & 1) << (pos + i);
    }
    f
}

#[test]
fn bit_fields_follow_the_pseudocode() {
    let mut r = Random(10);
    for (a, b, c) in triples() {
        let wide = r.u64() ^ u64::from(a);
        for signed in [false, true] {
            assert_eq!(
                u64::from(bfe32(a, b, c, signed)),
                bfe_isa(a.into(), b, c, signed, 31),
                "{a:x} {b} {c} {signed}"
            );
            assert_eq!(bfe64(wide, b, c, signed), bfe_isa(wide, b, c, signed, 63), "{wide:x} {b} {c} {signed}");
        }
        assert_eq!(u64::from(bfi32(a, !a, b, c)), bfi_isa(a.into(), (!a).into(), b, c, 31));
        assert_eq!(bfi64(wide, !wide, b, c), bfi_isa(wide, !wide, b, c, 63));
    }
}

/// The pseudocode of `fns`.
fn fns_isa(mask: u32, base: u32, offset: i32) -> u32 {
    if offset == 0 {
        return if mask >> base & 1 == 1 { base } else { u32::MAX };
    }
    let (mut pos, mut count) = (base as i64, i64::from(offset).abs() - 1);
    while (0..32).contains(&pos) {
        if mask >> pos & 1 == 1 {
            if count == 0 {
                return pos as u32;
            }
            count -= 1;
        }
        pos += i64::from(offset.signum());
    }
    u32::MAX
}

#[test]
fn searches_and_masks_follow_the_pseudocode() {
    for (a, b, c) in triples() {
        for signed in [false, true] {
            let flip = if signed && a >> 31 == 1 { !a } else { a };
            let found = (0..32).rev().find(|i| flip >> i & 1 == 1);
            assert_eq!(bfind32(a, signed, false), found.unwrap_or(u32::MAX));
            assert_eq!(bfind32(a, signed, true), found.map_or(u32::MAX, |i| 31 - i));
            let wide = u64::from(a) << 32 | u64::from(b);
            let flip = if signed && wide >> 63 == 1 { !wide } else { wide };
            let found = (0..64).rev().find(|i| flip >> i & 1 == 1);
            assert_eq!(bfind64(wide, signed, false), found.unwrap_or(u32::MAX));
            assert_eq!(bfind64(wide, signed, true), found.map_or(u32::MAX, |i| 63 - i));
        }
        assert_eq!(fns(a, b & 31, c as i32), fns_isa(a, b & 31, c as i32));
        assert_eq!(fns(a, b & 31, (c % 9) as i32 - 4), fns_isa(a, b & 31, (c % 9) as i32 - 4));
        for clamp in [false, true] {
            let (start, width) = if clamp { (a.min(32), b.min(32)) } else { (a % 32, b % 32) };
            let ones = (0..32).filter(|i| *i >= start && *i < start + width).fold(0u32, |m, i| m | 1 << i);
            assert_eq!(bmsk(a, b, clamp), ones, "{a} {b} {clamp}");
            for signed in [false, true] {
                let n = if clamp { b.min(32) } else { b % 32 };
                let low = if n == 32 { a } else { a & ((1 << n) - 1) };
                let fill = signed && n > 0 && n < 32 && a >> (n - 1) & 1 == 1;
                let expected = if fill { low | u32::MAX << n } else { low };
                assert_eq!(szext(a, b, clamp, signed), expected, "{a:x} {b} {clamp} {signed}");
            }
        }
        assert_eq!(cnot(a.into()), u64::from(a == 0));
    }
}

#[test]
fn shifts_clamp_or_wrap() {
    for (a, b, c) in triples() {
        let shifted = |x: i128| x as u32;
        let n = c.min(200);
        let up = |x: u32| if n > 64 { 0 } else { shifted(i128::from(x) << n) };
        assert_eq!(shl32(a, c), up(a));
        assert_eq!(shl16(a as u16, c), if n > 16 { 0 } else { ((a & 0xffff) << n.min(16)) as u16 });
        assert_eq!(shr_u32(a, c), if n > 31 { 0 } else { a >> n });
        assert_eq!(shr_s32(a, c), shifted(i128::from(a as i32) >> n.min(100)));
        assert_eq!(shr_s16(a as u16, c), (i128::from(a as i16) >> n.min(100)) as u16);
        assert_eq!(shr_u16(a as u16, c), (i128::from(a as u16) >> n.min(100)) as u16);
        let wide = u64::from(b) << 32 | u64::from(a);
        assert_eq!(shl64(wide, c), if n > 63 { 0 } else { wide << n });
        assert_eq!(shr_u64(wide, c), (i128::from(wide) >> n.min(100)) as u64);
        assert_eq!(shr_s64(wide, c), (i128::from(wide as i64) >> n.min(100)) as u64);
        for wrap in [false, true] {
            let n = if wrap { c % 32 } else { c.min(32) };
            let left = if n == 0 { b } else { (u64::from(b) << n) as u32 | (u64::from(a) >> (32 - n)) as u32 };
            let right = if n == 0 { a } else { (u64::from(a) >> n) as u32 | (u64::from(b) << (32 - n)) as u32 };
            assert_eq!(shf_l(a, b, c, wrap), left, "{a:x} {b:x} {c} {wrap}");
            assert_eq!(shf_r(a, b, c, wrap), right, "{a:x} {b:x} {c} {wrap}");
        }
    }
}

#[test]
fn lop3_looks_every_bit_up() {
    let (a, b, c) = (0xf0f0_f0f0 ^ 0x1234_5678, 0xcccc_cccc ^ 0x0f1e_2d3c, 0xaaaa_aaaa ^ 0x8765_4321);
    for table in 0..=255u8 {
        let bit = |i: u32| u32::from(table) >> (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1)) & 1;
        assert_eq!(lop3(a, b, c, table), (0..32).map(|i| bit(i) << i).sum::<u32>());
    }
    assert_eq!(lop3(0xf0, 0xcc, 0xaa, 0x96), 0xf0 ^ 0xcc ^ 0xaa);
}

/// The tables of the ISA: bytes 3 to 0 of the result for control 0 to 3.
#[test]
fn prmt_modes_follow_their_tables() {
    let tables = [
        (Permute::Forward, [0x3210, 0x4321, 0x5432, 0x6543]),
        (Permute::Backward, [0x5670, 0x6701, 0x7012, 0x0123]),
        (Permute::ReplicateByte, [0x0000, 0x1111, 0x2222, 0x3333]),
        (Permute::EdgeLeft, [0x3210, 0x3211, 0x3222, 0x3333]),
        (Permute::EdgeRight, [0x0000, 0x1110, 0x2210, 0x3210]),
        (Permute::ReplicateHalf, [0x1010, 0x3232, 0x1010, 0x3232]),
    ];
    let (a, b) = (0xd3c2_b1a0, 0x1706_f5e4);
    let bytes = [0xa0, 0xb1, 0xc2, 0xd3, 0xe4, 0xf5, 0x06, 0x17u32];
    for (mode, rows) in tables {
        for (control, row) in rows.into_iter().enumerate() {
            let expected = (0..4).map(|i| bytes[row >> (4 * i) & 7] << (8 * i)).sum::<u32>();
            assert_eq!(prmt(a, b, control as u32 | 0xfff0, mode), expected, "{mode:?} {control}");
        }
    }
    assert_eq!(prmt(a, b, 0x7531, Permute::Index), 0x17f5_d3b1);
    assert_eq!(prmt(a, b, 0xfe08, Permute::Index), 0x0000_a0ff);
}

#[test]
fn products_match_wide_arithmetic() {
    let mut r = Random(11);
    for (a, b, c) in triples() {
        let (s, t) = (a as i32, b as i32);
        assert_eq!(mul_hi(a, b), ((u128::from(a) * u128::from(b)) >> 32) as u32);
        assert_eq!(mul_hi(s, t), ((i128::from(s) * i128::from(t)) >> 32) as i32);
        assert_eq!(mul_hi(a as u16, b as u16), (((a & 0xffff) * (b & 0xffff)) >> 16) as u16);
        assert_eq!(mul_hi(a as i16, b as i16), ((i64::from(a as i16) * i64::from(b as i16)) >> 16) as i16);
        let clamped =
            (((i128::from(s) * i128::from(t)) >> 32) + i128::from(c as i32)).clamp(i32::MIN.into(), i32::MAX.into());
        assert_eq!(mad_hi_sat(a, b, c), clamped as u32);
        let low =
            |x: u32, signed: bool| if signed { i128::from((x << 8) as i32) >> 8 } else { i128::from(x & 0xff_ffff) };
        for signed in [false, true] {
            let product = low(a, signed) * low(b, signed);
            assert_eq!(mul24_lo(a, b, signed), product as u32);
            assert_eq!(mul24_hi(a, b, signed), (product >> 16) as u32);
        }
        let clamp = |x: i64| x.clamp(i32::MIN.into(), i32::MAX.into()) as u32;
        assert_eq!(add_sat(a, b), clamp(i64::from(s) + i64::from(t)));
        assert_eq!(sub_sat(a, b), clamp(i64::from(s) - i64::from(t)));
        assert_eq!(sad(a, b, c), c.wrapping_add(a.abs_diff(b)));
        assert_eq!(sad(s, t, c as i32), (c as i32).wrapping_add(s.abs_diff(t) as i32));
        let (x, y) = (r.u64(), r.u64());
        // Schoolbook on 32-bit digits.
        let digits = |v: u64| (v & 0xffff_ffff, v >> 32);
        let ((x0, x1), (y0, y1)) = (digits(x), digits(y));
        let middle = ((x0 * y0) >> 32) + ((x1 * y0) & 0xffff_ffff) + ((x0 * y1) & 0xffff_ffff);
        assert_eq!(mul_hi(x, y), x1 * y1 + ((x1 * y0) >> 32) + ((x0 * y1) >> 32) + (middle >> 32));
        let mut signed = mul_hi(x, y);
        signed = signed.wrapping_sub(if x >> 63 == 1 { y } else { 0 }).wrapping_sub(if y >> 63 == 1 { x } else { 0 });
        assert_eq!(mul_hi(x as i64, y as i64), signed as i64);
    }
}

#[test]
fn division_by_zero_gives_ones_and_the_dividend() {
    assert_eq!((div(7u32, 0), rem(7u32, 0)), (u32::MAX, 7));
    assert_eq!((div(-7i32, 0), rem(-7i32, 0)), (-1, -7));
    assert_eq!((div(7u64, 0), rem(-7i64, 0)), (u64::MAX, -7));
    assert_eq!((div(i32::MIN, -1), rem(i32::MIN, -1)), (i32::MIN, 0));
    assert_eq!((div(-7i32, 2), rem(-7i32, 2)), (-3, -1));
    assert_eq!((div(7i64, -2), rem(7i64, -2)), (-3, 1));
    assert_eq!((div(7u16, 2), rem(-7i16, 4)), (3, -3));
}

#[test]
fn carries_chain_to_wider_numbers() {
    let mut r = Random(12);
    for i in 0..2000 {
        let (mut x, mut y) = (r.u64(), r.u64());
        if i % 3 == 0 {
            y = !x;
        }
        if i % 5 == 0 {
            x = y;
        }
        let (low, carry) = add_carry(x as u32, y as u32, false);
        let (high, carry) = add_carry((x >> 32) as u32, (y >> 32) as u32, carry);
        assert_eq!((u64::from(high) << 32 | u64::from(low), carry), x.overflowing_add(y));
        let (low, carry) = sub_carry(x as u32, y as u32, true);
        let (high, carry) = sub_carry((x >> 32) as u32, (y >> 32) as u32, carry);
        assert_eq!(u64::from(high) << 32 | u64::from(low), x.wrapping_sub(y));
        assert_eq!(carry, x >= y);
        let (low, carry) = add_carry_64(x, y, true);
        assert_eq!(u128::from(low) | u128::from(carry) << 64, u128::from(x) + u128::from(y) + 1);
        assert_eq!(sub_carry_64(x, y, true), (x.wrapping_sub(y), x >= y));
    }
}

#[test]
fn dot_products_extend_each_operand_by_its_type() {
    let (a, b) = (0x80ff_7f02u32, 0x7fff_8103u32);
    let unsigned = |x: u32| x.to_le_bytes().map(i64::from);
    let signed = |x: u32| x.to_le_bytes().map(|b| i64::from(b as i8));
    for (sa, sb) in [(false, false), (false, true), (true, false), (true, true)] {
        let x = if sa { signed(a) } else { unsigned(a) };
        let y = if sb { signed(b) } else { unsigned(b) };
        let dot: i64 = x.iter().zip(y).map(|(x, y)| x * y).sum();
        assert_eq!(dp4a(a, b, 5, sa, sb), (dot + 5) as u32);
        let half = |x: u32| if sa { i64::from(x as i16) } else { i64::from(x as u16) };
        let halves = [half(a), half(a >> 16)];
        assert_eq!(dp2a(a, b, 5, sa, sb, false), (halves[0] * y[0] + halves[1] * y[1] + 5) as u32);
        assert_eq!(dp2a(a, b, 5, sa, sb, true), (halves[0] * y[2] + halves[1] * y[3] + 5) as u32);
    }
}
