//! For each sanitizer a kernel with a planted fault, caught at the right place, and its mended
//! twin, which is clean.
//!
//! In the texts, `FAULTY` starts a line that only the faulty kernel has (it may be blamed),
//! `MENDED` one that only the mended kernel has, `BLAMED` one of both that may be blamed.

mod planted;

use planted::PLANTED;
use vgpu::check::Kind;
use vgpu::gpu::{Gpu, Landing, LaunchConfig, LaunchReport, Options, Profile};

/// Words of each buffer; blocks have as many threads.
const WORDS: u64 = 64;

/// The kernel's text and the lines that may be blamed. `%in` is initialised, `%out` is not,
/// `%gone` was freed; `%a` is the lane's own offset in words.
fn kernel(body: &str, faulty: bool) -> (String, Vec<u32>) {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n\
        .visible .entry k(.param .u64 in, .param .u64 out, .param .u64 gone)\n{\n\
        .reg .b64 %in, %out, %gone, %a, %p, %q;\n.reg .b32 %lane, %x, %y, %s, %v<4>;\n.reg .pred %c, %d;\n\
        .shared .align 16 .b8 box[256];\n.local .align 16 .b8 own[16];\n\
        ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nld.param.u64 %gone, [gone];\nmov.u32 %lane, %tid.x;\n\
        mul.wide.u32 %a, %lane, 4;\nmov.u32 %s, box;\nshl.b32 %x, %lane, 2;\nadd.u32 %s, %s, %x;\n";
    let mut text = String::from(head);
    let mut blamed = Vec::new();
    for line in body.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (mark, rest) = match line.split_once(' ') {
            Some((mark @ ("FAULTY" | "MENDED" | "BLAMED"), rest)) => (mark, rest),
            _ => ("", line),
        };
        if mark == if faulty { "MENDED" } else { "FAULTY" } {
            continue;
        }
        text += rest;
        text.push('\n');
        if mark == "FAULTY" || mark == "BLAMED" {
            blamed.push(text.lines().count() as u32);
        }
    }
    text += "ret;\n}\n";
    (text, blamed)
}

fn run(text: &str, blocks: u32, options: Options) -> LaunchReport {
    let gpu = Gpu::new(Profile::a100(), options);
    let module = gpu.load(text).unwrap_or_else(|e| panic!("line {}: {}\n{text}", e.line, e.message));
    let [input, output, gone] = [0; 3].map(|_| gpu.alloc(4 * WORDS).unwrap());
    gpu.fill(input, 7, 4, WORDS).unwrap();
    gpu.fill(gone, 7, 4, WORDS).unwrap();
    gpu.free(gone).unwrap();
    let config = LaunchConfig {
        grid: [blocks, 1, 1],
        block: [WORDS as u32, 1, 1],
        dynamic_shared: 0,
        cooperative: false,
        cluster: [1; 3],
    };
    let params: Vec<u8> = [input, output, gone].iter().flat_map(|a| a.to_le_bytes()).collect();
    gpu.launch(&module.kernel("k").unwrap(), &config, &params).unwrap()
}

fn options(seed: u64) -> Options {
    let landing = if seed.is_multiple_of(2) { Landing::Earliest } else { Landing::Latest };
    Options { seed, landing, instruction_limit: 1_000_000, ..Options::default() }
}

#[test]
fn planted_faults_are_caught_at_their_place_and_mended_twins_are_clean() {
    let mut wrong = Vec::new();
    for planted in PLANTED {
        for seed in 0..4 {
            let name = format!("{} ({}), seed {seed}", planted.kind.name(), planted.what);
            let (text, blamed) = kernel(planted.body, true);
            let report = run(&text, planted.blocks, options(seed));
            let found: Vec<_> = report.findings.iter().filter(|f| f.kind == planted.kind).collect();
            let Some(finding) = found.first() else {
                wrong.push(format!("{name}: missed; found {:?}", report.findings));
                continue;
            };
            for other in report.findings.iter().filter(|f| f.kind != planted.kind) {
                wrong.push(format!("{name}: also {other:?}"));
            }
            if !blamed.contains(&finding.site.ptx_line) {
                wrong.push(format!("{name}: blames line {}, wanted one of {blamed:?}", finding.site.ptx_line));
            }
            let threads: u64 = found.iter().map(|f| f.threads).sum();
            if planted.threads.is_some_and(|n| n != threads) {
                wrong.push(format!("{name}: {threads} lanes, wanted {:?}", planted.threads));
            }
            if planted.thread.is_some_and(|t| [t, 0, 0] != finding.site.thread) {
                wrong.push(format!("{name}: thread {:?}, wanted {:?}", finding.site.thread, planted.thread));
            }
            if finding.kernel != "k" {
                wrong.push(format!("{name}: kernel {}", finding.kernel));
            }
            let report = run(&kernel(planted.body, false).0, planted.blocks, options(seed));
            if !report.findings.is_empty() || report.trap.is_some() {
                wrong.push(format!("{name}: the mended twin has {:?} {:?}", report.findings, report.trap));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A check that is off finds nothing and changes no result.
#[test]
fn checks_can_be_switched_off_one_by_one() {
    for planted in PLANTED.iter().filter(|p| p.kind != Kind::BarrierDeadlock) {
        let all = Options::default();
        let off = Options { checks: all.checks & !planted.kind.bit(), ..options(0) };
        let report = run(&kernel(planted.body, true).0, planted.blocks, off);
        assert!(report.findings.iter().all(|f| f.kind != planted.kind), "{}: {:?}", planted.what, report.findings);
    }
}

/// `.loc` lines name the source.
#[test]
fn findings_name_the_source_line() {
    let (text, _) = kernel("add.u64 %p, %in, %a;\n.loc 1 42 7\nFAULTY ld.global.u32 %x, [%p+400];\n.loc 1 43 1", true);
    let text = text.replace(".address_size 64\n", ".address_size 64\n.file 1 \"/src/norm.cu\"\n");
    let report = run(&text, 1, options(0));
    let site = &report.findings[0].site;
    assert_eq!(site.source, Some(("/src/norm.cu".to_string(), 42)));
    assert_eq!(site.bytes, 4);
    assert_eq!(report.findings[0].kind, Kind::GlobalOobRead);
}
