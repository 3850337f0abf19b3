//! Turns rows into kernels, runs them, and judges every lane.

use std::fmt::Write;
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile};

/// Combinations of operands per row.
const LANES: usize = 4096;
const BLOCK: usize = 256;
/// What lanes that are switched off must still hold.
const UNTOUCHED: u64 = 0x5ead_beef_0bad_cafe;

/// What an operand is: register width and which values are interesting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    F32,
    F32x2,
    F64,
    B16,
    B32,
    B64,
    /// A shift amount or bit position.
    Amount,
    Pred,
}

impl Kind {
    /// The kind of operands of this PTX type.
    pub(crate) fn of(ty: &str) -> Kind {
        match ty {
            "f16" => Kind::F16,
            "bf16" => Kind::Bf16,
            "f16x2" => Kind::F16x2,
            "bf16x2" => Kind::Bf16x2,
            "f32" => Kind::F32,
            "f32x2" => Kind::F32x2,
            "f64" => Kind::F64,
            "b16" | "u16" | "s16" | "e4m3x2" | "e5m2x2" => Kind::B16,
            "b8" | "u8" | "s8" | "b32" | "u32" | "s32" | "tf32" => Kind::B32,
            "b64" | "u64" | "s64" => Kind::B64,
            "pred" => Kind::Pred,
            other => panic!("no kind of operand for type {other}"),
        }
    }

    fn register(self) -> &'static str {
        match self {
            Kind::F16 | Kind::Bf16 | Kind::B16 => "b16",
            Kind::F16x2 | Kind::Bf16x2 | Kind::F32 | Kind::B32 | Kind::Amount => "b32",
            Kind::F64 | Kind::F32x2 | Kind::B64 => "b64",
            Kind::Pred => "pred",
        }
    }

    pub(crate) fn mask(self) -> u64 {
        match self.register() {
            "b16" => 0xffff,
            "b32" => 0xffff_ffff,
            "pred" => 1,
            _ => u64::MAX,
        }
    }

    /// Values on which instructions differ.
    fn corners(self) -> Vec<u64> {
        let halves = |infinity: u64, one: u64| {
            let m = [
                0,
                1,
                2,
                infinity - 1,
                infinity,
                infinity | 1,
                0x7fff,
                one,
                one + 1,
                one - 1,
                one + 0x80,
                0x3ff,
                0x400,
            ];
            m.iter().flat_map(|x| [*x, x | 0x8000]).collect::<Vec<u64>>()
        };
        let pair = |x: Vec<u64>, width: u32| {
            let n = x.len();
            (0..n).map(|i| x[i] | x[(i * 7 + 3) % n] << width).collect()
        };
        let integers = |width: u32| {
            let top = 1u64 << (width - 1);
            let ones = top | (top - 1);
            let mut all = vec![0, 1, 2, 3, 7, 10, ones, ones - 1, ones - 6, top, top - 1, top + 1, top | top >> 1];
            all.extend([0x5555_5555_5555_5555 & ones, 0x8080_8080_8080_8080 & ones, 0x0102_0304_0506_0708 & ones]);
            all.extend([1 << (width / 2), (1 << (width / 2)) - 1, ones << (width / 2) & ones, 255, 256, 127, 128]);
            all
        };
        match self {
            Kind::F16 => halves(0x7c00, 0x3c00),
            Kind::Bf16 => halves(0x7f80, 0x3f80),
            Kind::F16x2 => pair(halves(0x7c00, 0x3c00), 16),
            Kind::Bf16x2 => pair(halves(0x7f80, 0x3f80), 16),
            Kind::F32 => {
                let m = [0u32, 1, 0x7f_ffff, 0x80_0000, 0x80_0001, 0x3f80_0000, 0x3f80_0001, 0x3f7f_ffff, 0x3f00_0000];
                let big = [0x7f7f_ffff, 0x7f80_0000, 0x7fc0_0000, 0x7f80_0001, 0x4b00_0001, 0x4f00_0000, 0x5f00_0000];
                let some = [2.5f32, 3.0, 127.5, 255.5, 0.1, 65504.0, 65520.0, 1e-6, 3e9, 6e-8].map(f32::to_bits);
                let all = m.into_iter().chain(big).chain(some);
                all.flat_map(|x| [u64::from(x), u64::from(x | 1 << 31)]).collect()
            }
            Kind::F32x2 => pair(Kind::F32.corners(), 32),
            Kind::F64 => {
                let m =
                    [0, 1, (1 << 52) - 1, 1 << 52, 0x7fef_ffff_ffff_ffff, 0x7ff0_0000_0000_0000, 0x7ff8_0000_0000_0001];
                let some = [0.5, 1.0, 1.5, 2.5, 1.0 + f64::EPSILON, 3.0, 0.1, 1e300, 1e-300, 65519.9, 3.5e38, 1e-45];
                let big = [2147483647.5, 4294967295.5, 9.3e18, 1.9e19, 127.5, 32767.5, 1.0 + 2f64.powi(-24)];
                let all = m.into_iter().chain(some.map(f64::to_bits)).chain(big.map(f64::to_bits));
                all.flat_map(|x: u64| [x, x | 1 << 63]).collect()
            }
            Kind::B16 => integers(16),
            Kind::B32 => integers(32),
            Kind::B64 => integers(64),
            Kind::Amount => (0..=66).chain([127, 128, 255, 256, 0x7fff_ffff, 0x8000_0001, 0xffff_ffff]).collect(),
            Kind::Pred => vec![0, 1],
        }
    }

    fn random(self, r: &mut u64) -> u64 {
        let word = next(r);
        match self {
            // Numbers of moderate size as often as any bits at all.
            Kind::F32 if word & 1 == 0 => {
                let x = ((word >> 32) as i32 as f32) * 2f32.powi((word >> 8 & 63) as i32 - 50);
                u64::from(x.to_bits())
            }
            Kind::F32x2 => Kind::F32.random(r) | Kind::F32.random(r) << 32,
            Kind::F64 if word & 1 == 0 => ((word as i64 >> 11) as f64 * 2f64.powi((word & 63) as i32 - 60)).to_bits(),
            Kind::Amount => word >> 32 & 63,
            _ => (word >> (if word & 2 == 0 { word & 31 } else { 0 })) & self.mask(),
        }
    }
}

fn next(r: &mut u64) -> u64 {
    *r = r.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*r ^ (*r >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Judges a result from the operands; an error says what was expected.
pub(crate) type Judge = Box<dyn Fn(&[u64], u64) -> Result<(), String>>;

/// What a lane of a warp sees of its warp.
pub(crate) struct Warp<'a> {
    /// The lane asked about.
    pub(crate) lane: usize,
    /// Lanes that take part.
    pub(crate) active: u32,
    /// Operands of all lanes, operand by operand.
    pub(crate) operands: Vec<&'a [u64]>,
}

impl Warp<'_> {
    /// Lanes that take part.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..32).filter(|l| self.active >> l & 1 == 1)
    }
}

/// Judges the result of a lane that takes part, from those of its whole warp.
pub(crate) type WarpJudge = Box<dyn Fn(&Warp, u64) -> Result<(), String>>;

/// Who knows what is right.
pub(crate) enum Expect {
    Lane(Judge),
    Warp(WarpJudge),
}

/// An instruction to test.
pub(crate) struct Row {
    /// As PTX writes it.
    pub(crate) name: String,
    /// Text with `$d`, `$a`, `$b`, `$c`, `$e`; predicates `%p %q`, words `%x %y`, doubles `%u %v`
    /// and shorts `%h` are free to use.
    pub(crate) body: String,
    /// Result.
    pub(crate) d: Kind,
    /// Operands.
    pub(crate) inputs: Vec<Kind>,
    /// Expectation.
    pub(crate) expect: Expect,
    /// Declarations at the top of the module.
    pub(crate) module: String,
}

impl Row {
    /// `name $d, $a, …;`
    pub(crate) fn new(name: &str, d: Kind, inputs: &[Kind], judge: Judge) -> Row {
        let operands: Vec<&str> = ["$a", "$b", "$c", "$e"][..inputs.len()].to_vec();
        let body = format!("{name} $d, {};", operands.join(", "));
        let expect = Expect::Lane(judge);
        Row { name: name.to_string(), body, d, inputs: inputs.to_vec(), expect, module: String::new() }
    }

    /// A row whose result depends on the whole warp.
    pub(crate) fn warp(name: &str, d: Kind, inputs: &[Kind], body: &str, judge: WarpJudge) -> Row {
        let mut row = Row::new(name, d, inputs, Box::new(|_, _| Ok(())));
        row.expect = Expect::Warp(judge);
        row.body(body)
    }

    /// Declarations that the text needs at the top of the module.
    pub(crate) fn module(mut self, text: &str) -> Row {
        self.module = text.to_string();
        self
    }

    /// Another text for the same row.
    pub(crate) fn body(mut self, body: &str) -> Row {
        self.body = body.replace("OP", &self.name);
        self
    }

    fn kernel(&self, index: usize, text: &mut String) {
        let _ = write!(
            text,
            ".visible .entry k{index}(.param .u64 in, .param .u64 out)\n{{\n\
             .reg .b64 %rd<8>;\n.reg .b32 %r<8>;\n.reg .pred %g;\n.reg .{} %d;\n",
            self.d.register()
        );
        for (name, kind) in ["a", "b", "c", "e"].iter().zip(&self.inputs) {
            let _ = writeln!(text, ".reg .{} %{name};", kind.register());
        }
        let _ = write!(
            text,
            "ld.param.u64 %rd0, [in];\nld.param.u64 %rd1, [out];\n\
             mov.u32 %r0, %tid.x;\nmov.u32 %r1, %ctaid.x;\nmad.lo.u32 %r0, %r1, {BLOCK}, %r0;\n\
             mul.wide.u32 %rd2, %r0, 8;\nadd.u64 %rd3, %rd0, %rd2;\nadd.u64 %rd6, %rd1, %rd2;\n"
        );
        for (i, (name, kind)) in ["a", "b", "c", "e"].iter().zip(&self.inputs).enumerate() {
            let _ = writeln!(text, "ld.global.u64 %rd4, [%rd3+{}];", i * LANES * 8);
            let _ = writeln!(text, "{}", narrow(&format!("%{name}"), "%rd4", *kind));
        }
        let body = self.body.replace('$', "%");
        let scope =
            format!("{{\n.reg .pred %p, %q;\n.reg .b32 %x, %y;\n.reg .b64 %u, %v;\n.reg .b16 %h;\n{}\n}}\n", body);
        let _ = write!(text, "{scope}{}\nst.global.u64 [%rd6], %rd5;\n", widen("%rd5", "%d", self.d));
        // The same with lanes 0, 3, 6, … and the whole of warp 1 switched off.
        let _ = write!(
            text,
            "mov.b64 %rd4, {UNTOUCHED};\n{}\n\
             rem.u32 %r2, %r0, 3;\nsetp.eq.u32 %g, %r2, 0;\nshr.u32 %r3, %r0, 5;\nsetp.eq.or.u32 %g, %r3, 1, %g;\n\
             @%g bra SKIP;\n{scope}SKIP:\n{}\nst.global.u64 [%rd6+{}], %rd5;\nret;\n}}\n",
            narrow("%d", "%rd4", self.d),
            widen("%rd5", "%d", self.d),
            LANES * 8
        );
    }
}

fn narrow(to: &str, from: &str, kind: Kind) -> String {
    match kind.register() {
        "b16" => format!("cvt.u16.u64 {to}, {from};"),
        "b32" => format!("cvt.u32.u64 {to}, {from};"),
        "pred" => format!("{{ .reg .b64 %low; and.b64 %low, {from}, 1; setp.ne.u64 {to}, %low, 0; }}"),
        _ => format!("mov.b64 {to}, {from};"),
    }
}

fn widen(to: &str, from: &str, kind: Kind) -> String {
    match kind.register() {
        "b16" => format!("cvt.u64.u16 {to}, {from};"),
        "b32" => format!("cvt.u64.u32 {to}, {from};"),
        "pred" => format!("selp.u64 {to}, 1, 0, {from};"),
        _ => format!("mov.b64 {to}, {from};"),
    }
}

/// The operands of all lanes, operand by operand.
fn operands(inputs: &[Kind]) -> Vec<Vec<u64>> {
    let corners: Vec<Vec<u64>> = inputs.iter().map(|k| k.corners()).collect();
    let mut r = 12345u64;
    let mut all = vec![Vec::with_capacity(LANES); inputs.len()];
    for lane in 0..LANES {
        // All pairs of corners of the first two operands, as far as they go.
        let mut rest = lane;
        let random = lane >= LANES * 3 / 4;
        for (i, kind) in inputs.iter().enumerate() {
            let n = corners[i].len();
            let at = if i < 2 { rest % n } else { next(&mut r) as usize % n };
            rest /= n;
            let beyond = i == 0 && inputs.len() == 1 && lane >= n;
            all[i].push(if random || beyond { kind.random(&mut r) } else { corners[i][at] });
        }
    }
    all
}

/// Runs all rows; fails with every row that is wrong and its first wrong lane.
pub(crate) fn check(rows: Vec<Row>) {
    let gpu = Gpu::new(Profile::h100(), Options::default());
    let mut failures = Vec::new();
    let count = rows.len();
    for row in rows {
        if let Err(failure) = run(&gpu, &row) {
            failures.push(format!("{}: {failure}", row.name));
        }
    }
    assert!(failures.is_empty(), "{} of {count} instructions fail:\n{}", failures.len(), failures.join("\n"));
}

fn run(gpu: &Gpu, row: &Row) -> Result<(), String> {
    let mut ptx = String::from(".version 8.5\n.target sm_90a\n.address_size 64\n");
    ptx += &row.module;
    ptx.push('\n');
    row.kernel(0, &mut ptx);
    let module = gpu.load(&ptx).map_err(|e| format!("line {}: {}\n{ptx}", e.line, e.message))?;
    let kernel = module.kernel("k0").ok_or("no kernel")?;
    let inputs = operands(&row.inputs);
    let bytes: Vec<u8> = inputs.concat().iter().flat_map(|x| x.to_le_bytes()).collect();
    let from = gpu.alloc(bytes.len() as u64).map_err(|e| format!("{e:?}"))?;
    let to = gpu.alloc(2 * LANES as u64 * 8).map_err(|e| format!("{e:?}"))?;
    gpu.write(from, &bytes).map_err(|e| format!("{e:?}"))?;
    let config = LaunchConfig {
        grid: [(LANES / BLOCK) as u32, 1, 1],
        block: [BLOCK as u32, 1, 1],
        dynamic_shared: 0,
        cooperative: false,
        cluster: [1, 1, 1],
    };
    let params: Vec<u8> = [from, to].iter().flat_map(|x| x.to_le_bytes()).collect();
    let report = gpu.launch(&kernel, &config, &params).map_err(|e| format!("{e:?}"))?;
    let mut out = vec![0; 2 * LANES * 8];
    gpu.read(to, &mut out).map_err(|e| format!("{e:?}"))?;
    gpu.free(from).and_then(|()| gpu.free(to)).map_err(|e| format!("{e:?}"))?;
    // Under the mask, shuffles read from lanes that are off: the judges know which values that leaves open.
    let mut findings = report.findings.iter();
    if let Some(finding) = findings.find(|f| f.kind != vgpu::check::Kind::ShuffleUndefined) {
        return Err(format!("{finding:?}"));
    }
    let out: Vec<u64> = out.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let is_off = |lane: usize| lane.is_multiple_of(3) || lane / 32 == 1;
    for lane in 0..LANES {
        let values: Vec<u64> = inputs.iter().map(|x| x[lane]).collect();
        let show = |got: u64, wanted: &str| {
            let values: Vec<String> = values.iter().map(|v| format!("{v:#x}")).collect();
            format!("lane {lane}: {} gives {got:#x}, wanted {wanted}", values.join(" "))
        };
        for masked in [false, true] {
            let got = out[lane + if masked { LANES } else { 0 }];
            if masked && is_off(lane) {
                let kept = UNTOUCHED & row.d.mask();
                if got != kept {
                    return Err(format!("switched off, {}", show(got, &format!("{kept:#x}"))));
                }
                continue;
            }
            let first = lane / 32 * 32;
            let verdict = match &row.expect {
                Expect::Lane(judge) => judge(&values, got),
                Expect::Warp(judge) => {
                    let on = |l: usize| !masked || !is_off(first + l);
                    let active = (0..32).filter(|l| on(*l)).fold(0, |m, l| m | 1 << l);
                    let operands = inputs.iter().map(|x| &x[first..first + 32]).collect();
                    judge(&Warp { lane: lane % 32, active, operands }, got)
                }
            };
            let place = if masked { "under a mask, " } else { "" };
            verdict.map_err(|wanted| format!("{place}{}", show(got, &wanted)))?;
        }
    }
    Ok(())
}

/// A judge that knows the result; only the bits of the result's type count.
pub(crate) fn equals(d: Kind, f: impl Fn(&[u64]) -> u64 + 'static) -> Judge {
    Box::new(move |v, got| {
        let wanted = f(v) & d.mask();
        if got == wanted { Ok(()) } else { Err(format!("{wanted:#x}")) }
    })
}

/// A judge of warps that knows the result; none if the ISA leaves it open.
pub(crate) fn warp_equals(d: Kind, f: impl Fn(&Warp) -> Option<u64> + 'static) -> WarpJudge {
    Box::new(move |warp, got| match f(warp) {
        Some(wanted) if got != wanted & d.mask() => Err(format!("{wanted:#x}")),
        _ => Ok(()),
    })
}

/// Runs a kernel of one block, `body` between loading its two parameters and `ret`: `%in` and
/// `%out` are the addresses of the input and the zeroed output, `%lane` is the thread's index.
/// Panics on findings and traps.
pub(crate) fn launch(module: &str, body: &str, threads: u32, input: &[u8], output: usize) -> Vec<u8> {
    let ptx = format!(
        ".version 8.5\n.target sm_90a\n.address_size 64\n{module}\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b64 %in, %out;\n.reg .b32 %lane;\nld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nmov.u32 %lane, %tid.x;\n\
         {body}\nret;\n}}\n"
    );
    let gpu = Gpu::new(Profile::h100(), Options::default());
    let module = gpu.load(&ptx).unwrap_or_else(|e| panic!("line {}: {}\n{ptx}", e.line, e.message));
    let kernel = module.kernel("k").expect("a kernel");
    let (from, to) = (gpu.alloc(input.len().max(1) as u64).unwrap(), gpu.alloc(output as u64).unwrap());
    gpu.write(from, input).unwrap();
    gpu.fill(to, 0, 1, output as u64).unwrap();
    let config =
        LaunchConfig { grid: [1; 3], block: [threads, 1, 1], dynamic_shared: 0, cooperative: false, cluster: [1; 3] };
    let params: Vec<u8> = [from, to].iter().flat_map(|x| x.to_le_bytes()).collect();
    let report = gpu.launch(&kernel, &config, &params).unwrap();
    assert!(report.trap.is_none(), "{:?}\n{ptx}", report.trap);
    assert!(report.findings.is_empty(), "{:?}\n{ptx}", report.findings);
    let mut out = vec![0; output];
    gpu.read(to, &mut out).unwrap();
    out
}

/// The bytes of words.
pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// The words of bytes.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}
