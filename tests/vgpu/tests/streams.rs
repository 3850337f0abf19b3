//! Random streams of instructions, with guards and forward branches, against a plain evaluation
//! of each lane in turn.

use std::fmt::Write;
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile};

/// Registers of a lane.
#[derive(Clone, Debug, PartialEq)]
struct State {
    r: [u32; 8],
    d: [u64; 4],
    p: [bool; 4],
}

/// An instruction form: text with `r`, `d`, `p` for registers, and its effect. Operands are
/// indices, destination first.
struct Form {
    text: &'static str,
    effect: fn(&mut State, &[usize]),
}

fn float(x: u32) -> f32 {
    f32::from_bits(x)
}

/// NaN is one value.
fn bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

fn double(x: f64) -> u64 {
    if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
}

const FORMS: &[Form] = &[
    Form { text: "add.u32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].wrapping_add(s.r[i[2]]) },
    Form { text: "sub.s32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].wrapping_sub(s.r[i[2]]) },
    Form {
        text: "add.sat.s32 r, r, r;",
        effect: |s, i| s.r[i[0]] = (s.r[i[1]] as i32).saturating_add(s.r[i[2]] as i32) as u32,
    },
    Form { text: "mul.lo.u32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].wrapping_mul(s.r[i[2]]) },
    Form {
        text: "mul.hi.u32 r, r, r;",
        effect: |s, i| s.r[i[0]] = ((u64::from(s.r[i[1]]) * u64::from(s.r[i[2]])) >> 32) as u32,
    },
    Form {
        text: "mul.hi.s32 r, r, r;",
        effect: |s, i| s.r[i[0]] = ((i64::from(s.r[i[1]] as i32) * i64::from(s.r[i[2]] as i32)) >> 32) as u32,
    },
    Form {
        text: "mad.lo.s32 r, r, r, r;",
        effect: |s, i| s.r[i[0]] = s.r[i[1]].wrapping_mul(s.r[i[2]]).wrapping_add(s.r[i[3]]),
    },
    Form { text: "mul.wide.u32 d, r, r;", effect: |s, i| s.d[i[0]] = u64::from(s.r[i[1]]) * u64::from(s.r[i[2]]) },
    Form {
        text: "mad.wide.s32 d, r, r, d;",
        effect: |s, i| {
            let product = i64::from(s.r[i[1]] as i32) * i64::from(s.r[i[2]] as i32);
            s.d[i[0]] = (product as u64).wrapping_add(s.d[i[3]]);
        },
    },
    Form { text: "add.u64 d, d, d;", effect: |s, i| s.d[i[0]] = s.d[i[1]].wrapping_add(s.d[i[2]]) },
    Form { text: "mul.lo.u64 d, d, d;", effect: |s, i| s.d[i[0]] = s.d[i[1]].wrapping_mul(s.d[i[2]]) },
    Form { text: "xor.b64 d, d, d;", effect: |s, i| s.d[i[0]] = s.d[i[1]] ^ s.d[i[2]] },
    Form { text: "shr.u64 d, d, 17;", effect: |s, i| s.d[i[0]] = s.d[i[1]] >> 17 },
    Form { text: "shr.s64 d, d, r;", effect: |s, i| s.d[i[0]] = ((s.d[i[1]] as i64) >> s.r[i[2]].min(63)) as u64 },
    Form { text: "mov.b64 d, {r, r};", effect: |s, i| s.d[i[0]] = u64::from(s.r[i[2]]) << 32 | u64::from(s.r[i[1]]) },
    Form {
        text: "mov.b64 {r, r}, d;",
        effect: |s, i| {
            let x = s.d[i[2]];
            s.r[i[0]] = x as u32;
            s.r[i[1]] = (x >> 32) as u32;
        },
    },
    Form { text: "and.b32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]] & s.r[i[2]] },
    Form { text: "or.b32 r, r, 0x1234;", effect: |s, i| s.r[i[0]] = s.r[i[1]] | 0x1234 },
    Form { text: "not.b32 r, r;", effect: |s, i| s.r[i[0]] = !s.r[i[1]] },
    Form {
        text: "lop3.b32 r, r, r, r, 0xE8;",
        effect: |s, i| {
            let (a, b, c) = (s.r[i[1]], s.r[i[2]], s.r[i[3]]);
            s.r[i[0]] = a & b | a & c | b & c;
        },
    },
    Form { text: "shl.b32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].checked_shl(s.r[i[2]]).unwrap_or(0) },
    Form { text: "shr.u32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].checked_shr(s.r[i[2]]).unwrap_or(0) },
    Form { text: "shr.s32 r, r, 5;", effect: |s, i| s.r[i[0]] = (s.r[i[1]] as i32 >> 5) as u32 },
    Form { text: "shf.l.wrap.b32 r, r, r, 9;", effect: |s, i| s.r[i[0]] = s.r[i[2]] << 9 | s.r[i[1]] >> 23 },
    Form { text: "prmt.b32 r, r, r, 0x5410;", effect: |s, i| s.r[i[0]] = s.r[i[1]] & 0xffff | s.r[i[2]] << 16 },
    Form { text: "min.s32 r, r, r;", effect: |s, i| s.r[i[0]] = (s.r[i[1]] as i32).min(s.r[i[2]] as i32) as u32 },
    Form { text: "max.u32 r, r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].max(s.r[i[2]]) },
    Form { text: "popc.b32 r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].count_ones() },
    Form { text: "clz.b64 r, d;", effect: |s, i| s.r[i[0]] = s.d[i[1]].leading_zeros() },
    Form { text: "brev.b32 r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]].reverse_bits() },
    Form { text: "bfe.u32 r, r, 3, 11;", effect: |s, i| s.r[i[0]] = s.r[i[1]] >> 3 & 0x7ff },
    Form { text: "bfi.b32 r, r, r, 8, 4;", effect: |s, i| s.r[i[0]] = s.r[i[2]] & !0xf00 | (s.r[i[1]] & 15) << 8 },
    Form { text: "rem.u32 r, r, 13;", effect: |s, i| s.r[i[0]] = s.r[i[1]] % 13 },
    Form { text: "div.s32 r, r, 7;", effect: |s, i| s.r[i[0]] = (s.r[i[1]] as i32 / 7) as u32 },
    Form { text: "add.f32 r, r, r;", effect: |s, i| s.r[i[0]] = bits(float(s.r[i[1]]) + float(s.r[i[2]])) },
    Form { text: "mul.f32 r, r, r;", effect: |s, i| s.r[i[0]] = bits(float(s.r[i[1]]) * float(s.r[i[2]])) },
    Form {
        text: "fma.rn.f32 r, r, r, r;",
        effect: |s, i| s.r[i[0]] = bits(float(s.r[i[1]]).mul_add(float(s.r[i[2]]), float(s.r[i[3]]))),
    },
    Form { text: "div.rn.f32 r, r, r;", effect: |s, i| s.r[i[0]] = bits(float(s.r[i[1]]) / float(s.r[i[2]])) },
    Form { text: "sqrt.rn.f32 r, r;", effect: |s, i| s.r[i[0]] = bits(float(s.r[i[1]]).sqrt()) },
    Form { text: "cvt.rn.f32.s32 r, r;", effect: |s, i| s.r[i[0]] = (s.r[i[1]] as i32 as f32).to_bits() },
    Form { text: "cvt.rzi.s32.f32 r, r;", effect: |s, i| s.r[i[0]] = float(s.r[i[1]]) as i32 as u32 },
    Form { text: "cvt.rn.f64.u64 d, d;", effect: |s, i| s.d[i[0]] = double(s.d[i[1]] as f64) },
    Form { text: "cvt.rzi.u64.f64 d, d;", effect: |s, i| s.d[i[0]] = f64::from_bits(s.d[i[1]]) as u64 },
    Form { text: "cvt.rn.f32.f64 r, d;", effect: |s, i| s.r[i[0]] = bits(f64::from_bits(s.d[i[1]]) as f32) },
    Form { text: "cvt.f64.f32 d, r;", effect: |s, i| s.d[i[0]] = double(f64::from(float(s.r[i[1]]))) },
    Form { text: "cvt.u32.u64 r, d;", effect: |s, i| s.r[i[0]] = s.d[i[1]] as u32 },
    Form { text: "cvt.s64.s32 d, r;", effect: |s, i| s.d[i[0]] = s.r[i[1]] as i32 as u64 },
    Form { text: "cvt.s32.s8 r, r;", effect: |s, i| s.r[i[0]] = s.r[i[1]] as i8 as u32 },
    Form {
        text: "fma.rn.f64 d, d, d, d;",
        effect: |s, i| {
            let [x, y, z] = [1, 2, 3].map(|n| f64::from_bits(s.d[i[n]]));
            s.d[i[0]] = double(x.mul_add(y, z));
        },
    },
    Form { text: "setp.lt.s32 p, r, r;", effect: |s, i| s.p[i[0]] = (s.r[i[1]] as i32) < s.r[i[2]] as i32 },
    Form {
        text: "setp.ge.and.u32 p|p, r, r, p;",
        effect: |s, i| {
            let (ge, with) = (s.r[i[2]] >= s.r[i[3]], s.p[i[4]]);
            s.p[i[0]] = ge && with;
            s.p[i[1]] = !ge && with;
        },
    },
    Form { text: "setp.neu.f32 p, r, r;", effect: |s, i| s.p[i[0]] = float(s.r[i[1]]) != float(s.r[i[2]]) },
    Form { text: "setp.eq.u64 p, d, d;", effect: |s, i| s.p[i[0]] = s.d[i[1]] == s.d[i[2]] },
    Form { text: "xor.pred p, p, p;", effect: |s, i| s.p[i[0]] = s.p[i[1]] ^ s.p[i[2]] },
    Form { text: "not.pred p, p;", effect: |s, i| s.p[i[0]] = !s.p[i[1]] },
    Form { text: "selp.b32 r, r, r, p;", effect: |s, i| s.r[i[0]] = if s.p[i[3]] { s.r[i[1]] } else { s.r[i[2]] } },
    Form { text: "selp.b64 d, d, d, p;", effect: |s, i| s.d[i[0]] = if s.p[i[3]] { s.d[i[1]] } else { s.d[i[2]] } },
    Form {
        text: "add.cc.u32 r, r, r; addc.u32 r, r, 0;",
        effect: |s, i| {
            let (sum, carry) = s.r[i[1]].overflowing_add(s.r[i[2]]);
            s.r[i[0]] = sum;
            s.r[i[3]] = s.r[i[4]].wrapping_add(u32::from(carry));
        },
    },
];

/// A random number generator (an LCG's high bits).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

enum Step {
    /// A form with its operands, under a predicate or its opposite.
    Apply { form: usize, operands: Vec<usize>, guard: Option<(usize, bool)> },
    /// Lanes whose predicate is so go on behind a later step.
    Skip { predicate: usize, holds: bool, to: usize },
}

fn program(r: &mut Random, length: usize) -> Vec<Step> {
    (0..length)
        .map(|at| {
            if r.below(8) == 0 {
                return Step::Skip {
                    predicate: r.below(4),
                    holds: r.below(2) == 0,
                    to: (at + 2 + r.below(12)).min(length),
                };
            }
            let form = r.below(FORMS.len());
            let mut operands: Vec<usize> = Vec::new();
            for (_, class) in registers(FORMS[form].text) {
                // Two results of one instruction must not be one register.
                let count = if class == 'r' { 8 } else { 4 };
                let mut choice = r.below(count);
                if operands.len() == 1 && operands[0] == choice {
                    choice = (choice + 1) % count;
                }
                operands.push(choice);
            }
            let guard = (r.below(3) == 0).then(|| (r.below(4), r.below(2) == 0));
            Step::Apply { form, operands, guard }
        })
        .collect()
}

/// Places of register letters in a form: letters that stand alone.
fn registers(text: &str) -> Vec<(usize, char)> {
    let bytes = text.as_bytes();
    let alone = |i: usize| {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'.';
        (i == 0 || !is_word(bytes[i - 1])) && !bytes.get(i + 1).is_some_and(|b| is_word(*b))
    };
    text.char_indices().filter(|(i, c)| matches!(c, 'r' | 'd' | 'p') && alone(*i)).collect()
}

fn text(steps: &[Step]) -> String {
    let mut out = String::new();
    for (at, step) in steps.iter().enumerate() {
        let _ = writeln!(out, "L{at}:");
        match step {
            Step::Skip { predicate, holds, to } => {
                let _ = writeln!(out, "@{}%p{predicate} bra L{to};", if *holds { "" } else { "!" });
            }
            Step::Apply { form, operands, guard } => {
                let mut line = String::new();
                let mut from = 0;
                let form = FORMS[*form].text;
                for ((i, class), operand) in registers(form).into_iter().zip(operands) {
                    let _ = write!(line, "{}%{class}{operand}", &form[from..i]);
                    from = i + 1;
                }
                line += &form[from..];
                if let Some((p, holds)) = guard {
                    let guard = format!("@{}%p{p} ", if *holds { "" } else { "!" });
                    // A form may be two instructions.
                    line = line.split_inclusive("; ").map(|part| format!("{guard}{part}")).collect();
                }
                let _ = writeln!(out, "{line}");
            }
        }
    }
    let _ = writeln!(out, "L{}:", steps.len());
    out
}

fn evaluate(steps: &[Step], mut s: State) -> State {
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Skip { predicate, holds, to } if s.p[*predicate] == *holds => at = *to,
            Step::Skip { .. } => {}
            Step::Apply { guard: Some((p, holds)), .. } if s.p[*p] != *holds => {}
            Step::Apply { form, operands, .. } => (FORMS[*form].effect)(&mut s, operands),
        }
    }
    s
}

const LANES: usize = 96;

fn start(r: &mut Random) -> State {
    let mut word = || (r.below(1 << 16) << 16 | r.below(1 << 16)) as u32;
    let mut s = State { r: [0; 8], d: [0; 4], p: [false; 4] };
    s.r = s.r.map(|_| if word() & 1 == 0 { word() } else { (word() as i16 as f32 * 0.37).to_bits() });
    s.d = s.d.map(|_| {
        if word() & 1 == 0 { u64::from(word()) << 32 | u64::from(word()) } else { f64::from(word() as i16).to_bits() }
    });
    s.p = s.p.map(|_| word() & 1 == 0);
    s
}

/// A lane's registers as 17 words: r, d, p.
fn pack(s: &State) -> Vec<u32> {
    let doubles = s.d.iter().flat_map(|d| [*d as u32, (*d >> 32) as u32]);
    let predicates = s.p.iter().enumerate().map(|(i, p)| u32::from(*p) << i).sum();
    s.r.iter().copied().chain(doubles).chain([predicates]).collect()
}

#[test]
fn random_streams_compute_what_plain_rust_computes() {
    let rounds = std::env::var("VGPU_STREAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let gpu = Gpu::new(Profile::a100(), Options::default());
    for round in 0..rounds {
        let mut r = Random(round * 7919 + 1);
        let length = 20 + r.below(150);
        let steps = program(&mut r, length);
        let states: Vec<State> = (0..LANES).map(|_| start(&mut r)).collect();
        let transfer = |load: bool| {
            let mut t = String::new();
            let mut one = |class: &str, ty: &str, i: usize, at: usize| {
                let _ = if load {
                    writeln!(t, "ld.global.{ty} %{class}{i}, [%at+{at}];")
                } else {
                    writeln!(t, "st.global.{ty} [%at+{at}], %{class}{i};")
                };
            };
            (0..8).for_each(|i| one("r", "b32", i, 4 * i));
            (0..4).for_each(|i| one("d", "b64", i, 32 + 8 * i));
            t
        };
        let unpack: String =
            (0..4).map(|i| format!("and.b32 %t, %w, {};\nsetp.ne.u32 %p{i}, %t, 0;\n", 1 << i)).collect();
        let repack: String =
            (0..4).map(|i| format!("selp.u32 %t, {}, 0, %p{i};\nor.b32 %w, %w, %t;\n", 1 << i)).collect();
        let ptx = format!(
            ".version 7.4\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 data)\n{{\n.reg .b32 %r<8>, %t, %w;\n\
             .reg .b64 %d<4>, %at, %o;\n.reg .pred %p<4>;\nld.param.u64 %at, [data];\nmov.u32 %t, %tid.x;\nmul.wide.u32 %o, %t, 72;\n\
             add.u64 %at, %at, %o;\n{}ld.global.b32 %w, [%at+64];\n{unpack}{}\n{}mov.u32 %w, 0;\n{repack}st.global.b32 [%at+64], %w;\nret;\n}}\n",
            transfer(true),
            text(&steps),
            transfer(false)
        );
        let module = gpu.load(&ptx).unwrap_or_else(|e| panic!("line {}: {}\n{ptx}", e.line, e.message));
        // 17 words and one of padding a lane, so that doubles are aligned.
        let words: Vec<u32> = states.iter().flat_map(|s| pack(s).into_iter().chain([0])).collect();
        let mut data: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let address = gpu.alloc(data.len() as u64).unwrap();
        gpu.write(address, &data).unwrap();
        let config = LaunchConfig {
            grid: [1; 3],
            block: [LANES as u32, 1, 1],
            dynamic_shared: 0,
            cooperative: false,
            cluster: [1; 3],
        };
        let report = gpu.launch(&module.kernel("k").unwrap(), &config, &address.to_le_bytes()).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        gpu.read(address, &mut data).unwrap();
        gpu.free(address).unwrap();
        for (lane, state) in states.iter().enumerate() {
            let got: Vec<u32> =
                data[72 * lane..][..68].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            let wanted = pack(&evaluate(&steps, state.clone()));
            assert_eq!(got, wanted, "round {round}, lane {lane}, from {state:x?}\n{}", text(&steps));
        }
    }
}
