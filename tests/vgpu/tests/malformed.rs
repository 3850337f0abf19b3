//! Text that is not PTX, or no longer: an error that says where, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use vgpu::gpu::{Gpu, LaunchConfig, LoadError, Options, Profile};

/// Kernels to damage: those of the cases, and what earlier runs found.
fn seeds() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut left = vec![root.join("cases"), root.join("tests/malformed")];
    while let Some(folder) = left.pop() {
        let Ok(entries) = folder.read_dir() else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "ptx") {
                texts.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    texts.sort();
    texts.push((root.to_path_buf(), INSTRUCTIONS.to_string()));
    texts.into_iter().map(|(_, text)| text).collect()
}

/// Forms that the cases do not have.
const INSTRUCTIONS: &str = ".version 8.5\n.target sm_90a\n.address_size 64\n.global .align 4 .b8 table[16] = {1, 2, 3};\n\
    .const .u64 pointers[2] = {generic(table)+4, 0};\n.extern .shared .align 16 .b8 dynamic[];\n\
    .func (.param .b32 r) f(.param .b32 x)\n{\n.reg .b32 %a;\nld.param.b32 %a, [x];\nst.param.b32 [r], %a;\nret;\n}\n\
    .visible .entry k(.param .u64 p, .param .align 8 .b8 s[24])\n.maxntid 128, 1, 1\n.maxnreg 64\n{\n\
    .reg .b16 %h<4>;\n.reg .b32 %r<16>;\n.reg .b64 %d<8>;\n.reg .pred %p<4>;\n.local .align 8 .b8 depot[32];\n\
    .loc 1 2 3\nld.param.u64 %d0, [p];\nld.param.v2.u32 {%r0, %r1}, [s+8];\nmov.u64 %d1, depot;\ncvta.local.u64 %d1, %d1;\n\
    @!%p1 mad.wide.s32 %d2, %r0, -4, %d0;\nsetp.lt.and.s32 %p0|%p1, %r0, 0x10, !%p2;\nprmt.b32.f4e %r2, %r0, %r1, 3;\n\
    lop3.b32 %r3, %r0, %r1, %r2, 0x96;\nvadd.s32.s32.s32.sat %r4.b0, %r0.h1, %r1.b3, %r2;\nmov.b64 {%r5, _}, %d0;\n\
    fma.rn.f32 %r6, %r0, 0f3F800000, %r1;\nadd.f64 %d3, %d3, 0d3FF0000000000000;\ncvt.rn.satfinite.e4m3x2.f32 %h0, %r0, %r1;\n\
    shfl.sync.bfly.b32 %r7|%p3, %r6, 16, 31, -1;\natom.global.gpu.acq_rel.cas.b32 %r8, [%d0+-4], %r0, %r1;\n\
    cp.async.cg.shared.global [dynamic], [%d0], 16, %r0;\nbar.red.popc.u32 %r9, 1, 64, %p0;\n\
    ldmatrix.sync.aligned.x4.trans.m8n8.shared.b16 {%r0, %r1, %r2, %r3}, [dynamic+16];\n\
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3};\n\
    {\n.param .b32 x;\n.param .b32 r;\nst.param.b32 [x], %r0;\ncall.uni (r), f, (x);\nld.param.b32 %r1, [r];\n}\n\
    T: .branchtargets A, B;\nbrx.idx %r0, T;\nA:\nbra.uni B;\nB:\nret;\n}\n";

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

const PIECES: [&str; 40] = [
    "",
    ";",
    ",",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ".",
    ":",
    "@",
    "!",
    "|",
    "+",
    "-",
    "<",
    ">",
    "=",
    "\"",
    "/*",
    "//",
    "\n",
    "0x",
    "0f",
    "0d3FF",
    "-1",
    "99999999999999999999",
    "%",
    "%r0",
    "%d0",
    "%p0",
    ".reg",
    ".b32",
    ".f16x2",
    ".v4",
    ".sync",
    "_",
    "é",
    "\0",
];

/// Words of the text: names, numbers, signs.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices() {
        let is_word = c.is_alphanumeric() || matches!(c, '_' | '%' | '.' | '$');
        match (is_word, start) {
            (true, None) => start = Some(i),
            (false, Some(from)) => {
                spans.push((from, i));
                start = None;
            }
            _ => {}
        }
        if !is_word && !c.is_whitespace() {
            spans.push((i, i + c.len_utf8()));
        }
    }
    spans
}

/// A text with one to four of its words removed, doubled, exchanged, or replaced.
fn damage(text: &str, spans: &[(usize, usize)], r: &mut Random) -> String {
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    for _ in 0..=r.below(4) {
        let (from, to) = spans[r.below(spans.len())];
        let other = spans[r.below(spans.len())];
        let word = &text[from..to];
        let new = match r.below(6) {
            0 => String::new(),
            1 => format!("{word} {word}"),
            2 => text[other.0..other.1].to_string(),
            3 => PIECES[r.below(PIECES.len())].to_string(),
            4 => format!("{word}{}", PIECES[r.below(PIECES.len())]),
            // A modifier of another instruction.
            _ => match (word.rsplit_once('.'), text[other.0..other.1].split_once('.')) {
                (Some((head, _)), Some((_, tail))) => format!("{head}.{tail}"),
                _ => text[other.0..other.1].to_string(),
            },
        };
        edits.push((from, to, new));
    }
    edits.sort_by_key(|e| std::cmp::Reverse(e.0));
    let mut out = text.to_string();
    let mut end = usize::MAX;
    for (from, to, new) in edits {
        if to <= end {
            out.replace_range(from..to, &new);
            end = from;
        }
    }
    if r.below(40) == 0 {
        let cut = (0..=r.below(out.len())).rev().find(|i| out.is_char_boundary(*i)).unwrap_or(0);
        out.truncate(cut);
    }
    out
}

/// Loads a text, and runs for a while what it holds if it is accepted; the panic's message if
/// either panics.
fn load(text: &str) -> Result<(), String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let options = Options { threads: 1, instruction_limit: 5000, ..Options::default() };
        let gpu = Gpu::new(Profile::h100(), options);
        let module = gpu.load(text)?;
        let data = gpu.alloc(4096).unwrap();
        gpu.fill(data, 0, 4, 1000).unwrap();
        for kernel in module.kernels() {
            let block = kernel.required_block.unwrap_or([kernel.max_threads.clamp(1, 64), 1, 1]);
            let config =
                LaunchConfig { grid: [2, 1, 1], block, dynamic_shared: 4096, cooperative: false, cluster: [1; 3] };
            let params = data.to_le_bytes().repeat(16);
            // Refused or not, trapped or not: anything but a panic.
            let _ = gpu.launch(kernel, &config, &params);
        }
        Ok::<(), LoadError>(())
    }));
    match attempt {
        Ok(Err(error)) if error.message.is_empty() => Err("an error without a message".into()),
        Ok(_) => Ok(()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default())
        }
    }
}

/// `VGPU_FUZZ` is the number of damaged texts to try (3000); texts that panic are left in the
/// target folder, to be made smaller and kept under `tests/malformed/`.
#[test]
fn damaged_text_is_refused_without_a_panic() {
    let rounds = std::env::var("VGPU_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let mut r = Random(std::env::var("VGPU_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1));
    let texts = seeds();
    let spans: Vec<_> = texts.iter().map(|t| words(t)).collect();
    let mut failures = Vec::new();
    std::panic::set_hook(Box::new(|_| {}));
    for round in 0..rounds {
        let i = r.below(texts.len());
        let text = damage(&texts[i], &spans[i], &mut r);
        if let Err(message) = load(&text) {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("malformed{round}.ptx"));
            std::fs::write(&path, &text).unwrap();
            failures.push(format!("{}: {message}", path.display()));
        }
    }
    let _ = std::panic::take_hook();
    failures.truncate(20);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn undamaged_text_is_accepted() {
    for text in seeds().iter().filter(|t| t.contains(".address_size")) {
        let gpu = Gpu::new(Profile::h100(), Options::default());
        if let Err(e) = gpu.load(text) {
            panic!("line {}: {}\n{}", e.line, e.message, text.lines().nth(e.line as usize - 1).unwrap_or_default());
        }
    }
}

/// Found by the loop above: the end of an access at the last address wraps around.
#[test]
fn an_access_at_the_end_of_the_address_space_is_reported() {
    for access in ["st.global.u32 [-4], %r0;", "ld.global.v4.u32 {%r0,%r1,%r2,%r3}, [-16];", "st.global.u32 [-1], %r0;"]
    {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 p)\n{{\n.reg .b32 %r<4>;\nmov.u32 %r0, 1;\n{access}\nret;\n}}\n"
        );
        assert_eq!(load(&text), Ok(()), "{access}");
    }
}

/// Found by the loop above: a block that no register can count.
#[test]
fn a_block_of_too_many_threads_is_refused_without_a_panic() {
    for bound in [".reqntid 65536, 65536, 2", ".maxntid 4294967295, 2, 1"] {
        let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n.entry k() {bound}\n{{\nret;\n}}\n");
        assert_eq!(load(&text), Ok(()), "{bound}");
    }
}

/// Every error names the line; inside a kernel, the kernel; of an instruction, the instruction.
#[test]
fn errors_say_what_is_wrong_and_where() {
    let kernel = |line: &str| {
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.entry broken()\n{{\n.reg .b32 %r<4>;\n.reg .pred %p;\n{line}\nret;\n}}\n"
        )
    };
    for (line, says) in [
        ("frobnicate.u32 %r0, %r1;", "frobnicate"),
        ("add.u33 %r0, %r1, %r2;", "add.u33"),
        ("add.u32 %r0, %r1;", "add.u32"),
        ("add.u32 %r0, %r1, %nowhere;", "%nowhere"),
        ("bra NOWHERE;", "NOWHERE"),
        ("mma.sync.aligned.m16n8k64.row.col.f32.f16.f16.f32 {%r0}, {%r0}, {%r0}, {%r0};", "mma"),
        ("ld.global.u32 %r0, [missing];", "missing"),
        ("add.rn.u32 %r0, %r1, %r2;", "add.rn.u32"),
        ("mul.wide.b32 %r0, %r1, 4;", "mul.wide.b32"),
    ] {
        let gpu = Gpu::new(Profile::a100(), Options::default());
        let Err(error) = gpu.load(&kernel(line)) else { panic!("{line} was accepted") };
        assert_eq!(error.line, 8, "{line}: {error:?}");
        assert_eq!(error.kernel.as_deref(), Some("broken"), "{line}: {error:?}");
        assert!(error.message.contains(says), "{line}: {error:?}");
    }
}
