use crate::arith::compare::Relation;
use crate::arith::video::*;

fn scalar(primary: Primary, signed: [bool; 3]) -> Scalar {
    Scalar {
        primary,
        d_signed: signed[0],
        a_signed: signed[1],
        b_signed: signed[2],
        a_part: Part::Word,
        b_part: Part::Word,
        sat: false,
        secondary: Secondary::None,
    }
}

#[test]
fn scalar_parts_are_selected_extended_and_merged() {
    let (a, b, c) = (0x80ff_7f02, 0x0102_f304, 0x1111_2222);
    let s = scalar(Primary::Add, [true, true, true]);
    let parts = Scalar { a_part: Part::Byte(2), b_part: Part::Byte(1), ..s };
    assert_eq!(parts.run(a, b, c), (-1i32 - 13) as u32);
    let halves = Scalar { a_part: Part::Half(1), b_part: Part::Half(0), a_signed: false, ..s };
    assert_eq!(halves.run(a, b, c), (0x80ff - 0x0cfc) as u32);
    let merge = Scalar { secondary: Secondary::Merge(Part::Byte(3)), ..parts };
    assert_eq!(merge.run(a, b, c), 0xf211_2222);
    let merge = Scalar { secondary: Secondary::Merge(Part::Half(0)), sat: true, ..halves };
    assert_eq!(merge.run(a, b, c), 0x1111_7403);
    let add = Scalar { secondary: Secondary::Add, ..parts };
    assert_eq!(add.run(a, b, c), c - 14);
    let min = Scalar { secondary: Secondary::Min, ..parts };
    assert_eq!(min.run(a, b, c), -14i32 as u32);
    let max = Scalar { secondary: Secondary::Max, ..parts };
    assert_eq!(max.run(a, b, c), c);
}

#[test]
fn scalar_operations_work_on_33_bits() {
    let u = [false, false, false];
    assert_eq!(scalar(Primary::AbsDiff, u).run(0, u32::MAX, 0), u32::MAX);
    let sat = |p| Scalar { sat: true, ..scalar(p, u) };
    assert_eq!(sat(Primary::Sub).run(1, 2, 0), 0);
    assert_eq!(sat(Primary::Add).run(u32::MAX, 2, 0), u32::MAX);
    let to_signed = Scalar { d_signed: true, ..sat(Primary::Add) };
    assert_eq!(to_signed.run(u32::MAX, 2, 0), i32::MAX as u32);
    assert_eq!(scalar(Primary::Set(Relation::Lt), [true; 3]).run(u32::MAX, 0, 0), 1);
    let vshr = Scalar { secondary: Secondary::Add, ..scalar(Primary::ShrClamp, u) };
    assert_eq!(vshr.run(0xf000_0000, 28, 7), 22);
    assert_eq!(vshr.run(0xf000_0000, 60, 7), 7);
    let wrap = scalar(Primary::ShrWrap, u);
    assert_eq!(wrap.run(0xf000_0000, 60, 0), 15);
    assert_eq!(scalar(Primary::ShrClamp, [true, true, false]).run(0x8000_0000, 99, 0), u32::MAX);
    assert_eq!(scalar(Primary::ShlClamp, u).run(3, 32, 0), 0);
    assert_eq!(scalar(Primary::ShlWrap, u).run(3, 33, 0), 6);
}

#[test]
fn vmad_shifts_and_adds_one() {
    let mad = Mad { a_signed: true, b_signed: true, d_signed: true, ..Mad::default() };
    assert_eq!(mad.run(-3i32 as u32, 5, 100), 85);
    assert_eq!(Mad { shift: 7, ..mad }.run(-3i32 as u32, 500, 0), (-1500i32 >> 7) as u32);
    assert_eq!(Mad { plus_one: true, ..mad }.run(2, 5, 0), 11);
    assert_eq!(Mad { negate_product: true, ..mad }.run(2, 5, 1), -9i32 as u32);
    assert_eq!(Mad { sat: true, ..mad }.run(i32::MAX as u32, i32::MAX as u32, 0), i32::MAX as u32);
}

#[test]
fn simd_lanes_are_independent() {
    let (a, b, c) = (0x80ff_7f02, 0x0102_f304, 0x1020_3040);
    let bytes = |x: u32| x.to_le_bytes().map(i32::from);
    let abs: u32 = bytes(a).iter().zip(bytes(b)).enumerate().map(|(i, (x, y))| (x - y).unsigned_abs() << (8 * i)).sum();
    let s = Simd::new(Primary::AbsDiff, 4, [false; 3]);
    assert_eq!(s.run(a, b, 0), abs);
    let total: u32 = bytes(a).iter().zip(bytes(b)).map(|(x, y)| (x - y).unsigned_abs()).sum();
    assert_eq!(Simd { add: true, ..s }.run(a, b, c), c + total);
    assert_eq!(Simd { mask: 0b0100, ..s }.run(a, b, c), 0x10fd_3040);
    let add = Simd { sat: true, ..Simd::new(Primary::Add, 4, [true; 3]) };
    assert_eq!(add.run(0x7f80_01ff, 0x01ff_0101, 0), 0x7f80_0200);
    let half = Simd::new(Primary::Sub, 2, [false; 3]);
    assert_eq!(half.run(0x0001_0005, 0x0002_0003, 0), 0xffff_0002);
    let swapped = Simd { a_lanes: [1, 0, 0, 0], ..half };
    assert_eq!(swapped.run(0x0001_0005, 0x0002_0003, 0), 0x0003_fffe);
    let average = Simd::new(Primary::Average, 4, [false; 3]);
    assert_eq!(average.run(0x0001_ff02, 0x0002_ff02, 0), 0x0002_ff02);
    let set = Simd::new(Primary::Set(Relation::Ge), 4, [false; 3]);
    assert_eq!(set.run(0x0102_0304, 0x0201_0305, 0), 0x0001_0100);
}
