//! For each sanitizer a kernel with a planted fault, caught at the right place, and its mended
//! twin, which is clean.
//!
//! In the texts, `FAULTY` starts a line that only the faulty kernel has (it may be blamed),
//! `MENDED` one that only the mended kernel has, `BLAMED` one of both that may be blamed.

use vgpu::check::Kind;
use vgpu::gpu::{Gpu, Landing, LaunchConfig, LaunchReport, Options, Profile};

/// Words of each buffer; blocks have as many threads.
const WORDS: u64 = 64;

struct Planted {
    kind: Kind,
    /// What is wrong.
    what: &'static str,
    body: &'static str,
    blocks: u32,
    /// Offending lane accesses, where there is one answer.
    threads: Option<u64>,
    /// The first thread to offend, where there is one answer.
    thread: Option<u32>,
}

impl Planted {
    const fn new(kind: Kind, what: &'static str, body: &'static str) -> Planted {
        Planted { kind, what, body, blocks: 1, threads: None, thread: None }
    }

    const fn threads(mut self, threads: u64, first: u32) -> Planted {
        self.threads = Some(threads);
        self.thread = Some(first);
        self
    }

    const fn blocks(mut self, blocks: u32) -> Planted {
        self.blocks = blocks;
        self
    }
}

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

const PLANTED: &[Planted] = &[
    Planted::new(
        Kind::GlobalOobRead,
        "one word past the end",
        "add.u64 %p, %in, %a;
         FAULTY ld.global.u32 %x, [%p+4];
         MENDED ld.global.u32 %x, [%p];
         add.u64 %p, %out, %a;
         st.global.u32 [%p], %x;",
    )
    .threads(1, 63),
    Planted::new(
        Kind::GlobalOobRead,
        "a vector that ends past the end",
        "and.b32 %x, %lane, 15;
         mul.wide.u32 %p, %x, 16;
         add.u64 %p, %in, %p;
         FAULTY ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p+16];
         MENDED ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%p];",
    )
    .threads(4, 15),
    Planted::new(
        Kind::GlobalOobWrite,
        "before the start",
        "add.u64 %p, %out, %a;
         FAULTY st.global.u32 [%p+-4], %lane;
         MENDED st.global.u32 [%p], %lane;",
    )
    .threads(1, 0),
    Planted::new(
        Kind::GlobalOobWrite,
        "a null pointer",
        "MENDED add.u64 %p, %out, %a;
         FAULTY mov.u64 %p, 0;
         BLAMED st.u32 [%p], %lane;",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UseAfterFree,
        "memory that was given back",
        "FAULTY add.u64 %p, %gone, %a;
         MENDED add.u64 %p, %in, %a;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::Misaligned,
        "four words from the second on",
        "FAULTY ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in+4];
         MENDED ld.global.v4.u32 {%v0, %v1, %v2, %v3}, [%in+16];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::Misaligned,
        "a double at an odd word of shared memory",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         mov.u32 %y, box;
         FAULTY ld.shared.v2.u32 {%v0, %v1}, [%y+4];
         MENDED ld.shared.v2.u32 {%v0, %v1}, [%y+8];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::SharedOobRead,
        "the right neighbour of the last",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         FAULTY ld.shared.u32 %x, [%s+4];
         MENDED ld.shared.u32 %x, [%s];",
    )
    .threads(1, 63),
    Planted::new(
        Kind::SharedOobWrite,
        "past the end",
        "FAULTY st.shared.u32 [%s+128], %lane;
         MENDED st.shared.u32 [%s], %lane;",
    )
    .threads(32, 32),
    Planted::new(
        Kind::LocalOob,
        "far past the frame",
        "mov.u32 %x, own;
         FAULTY st.local.u32 [%x+65536], %lane;
         MENDED st.local.u32 [%x+12], %lane;",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitGlobalRead,
        "an output read before it is written",
        "add.u64 %p, %out, %a;
         MENDED st.global.u32 [%p], %lane;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitGlobalRead,
        "a word of which three bytes were written",
        "add.u64 %p, %out, %a;
         st.global.u16 [%p], 1;
         st.global.u8 [%p+2], 1;
         MENDED st.global.u8 [%p+3], 1;
         BLAMED ld.global.u32 %x, [%p];",
    )
    .threads(64, 0),
    Planted::new(
        Kind::UninitSharedRead,
        "the upper half is never filled",
        "setp.lt.u32 %c, %lane, 32;
         FAULTY @%c st.shared.u32 [%s], %lane;
         MENDED st.shared.u32 [%s], %lane;
         bar.sync 0;
         BLAMED ld.shared.u32 %x, [%s];",
    )
    .threads(32, 32),
    Planted::new(
        Kind::UninitLocalRead,
        "only even lanes fill their memory",
        "mov.u32 %x, own;
         and.b32 %y, %lane, 1;
         setp.eq.u32 %c, %y, 0;
         FAULTY @%c st.local.u32 [%x], %lane;
         MENDED st.local.u32 [%x], %lane;
         BLAMED ld.local.u32 %v0, [%x];",
    )
    .threads(32, 1),
    Planted::new(
        Kind::SharedRace,
        "read after write, across warps, no barrier",
        "st.shared.u32 [%s], 0;
         bar.sync 0;
         BLAMED st.shared.u32 [%s], %lane;
         MENDED bar.sync 0;
         xor.b32 %x, %lane, 32;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];",
    ),
    Planted::new(
        Kind::SharedRace,
        "write after read: the stage is refilled too early",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         xor.b32 %x, %lane, 32;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];
         MENDED bar.sync 0;
         BLAMED st.shared.u32 [%s], 5;",
    ),
    Planted::new(
        Kind::SharedRace,
        "two warps write different values",
        "and.b32 %x, %lane, 31;
         mov.u32 %y, box;
         FAULTY mad.lo.u32 %y, %x, 4, %y;
         MENDED mad.lo.u32 %y, %lane, 4, %y;
         BLAMED st.shared.u32 [%y], %lane;",
    ),
    Planted::new(
        Kind::SharedRace,
        "lanes of one warp, no bar.warp.sync",
        "st.shared.u32 [%s], 0;
         bar.sync 0;
         BLAMED st.shared.u32 [%s], %lane;
         MENDED bar.warp.sync -1;
         xor.b32 %x, %lane, 1;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 4, %y;
         BLAMED ld.shared.u32 %x, [%y];",
    ),
    Planted::new(
        Kind::SharedRace,
        "a plain store beside an atomic",
        "mov.u32 %y, box;
         setp.ne.u32 %c, %lane, 0;
         @%c bra READY;
         st.shared.u32 [%y], 0;
         READY:
         bar.sync 0;
         BLAMED atom.shared.add.u32 %x, [%y], 1;
         MENDED bar.sync 0;
         setp.ne.u32 %c, %lane, 40;
         @%c bra DONE;
         BLAMED st.shared.u32 [%y], 5;
         DONE:",
    ),
    Planted::new(
        Kind::GlobalRace,
        "blocks read what another writes",
        "mov.u32 %x, %ctaid.x;
         add.u64 %p, %in, %a;
         setp.ne.u32 %c, %x, 0;
         @%c bra READ;
         FAULTY st.global.u32 [%p], %lane;
         bra DONE;
         READ:
         BLAMED ld.global.u32 %y, [%p];
         DONE:",
    )
    .blocks(2),
    Planted::new(
        Kind::GlobalRace,
        "blocks write the same words",
        "mov.u32 %x, %ctaid.x;
         FAULTY add.u64 %p, %out, %a;
         FAULTY st.global.u32 [%p], %x;
         MENDED add.u64 %p, %in, %a;
         MENDED red.global.add.u32 [%p], %x;",
    )
    .blocks(2),
    Planted::new(
        Kind::BarrierDeadlock,
        "more threads expected than there are",
        "FAULTY bar.sync 1, 96;
         MENDED bar.sync 1, 64;",
    ),
    Planted::new(
        Kind::BarrierDeadlock,
        "one warp waits at another barrier",
        "setp.lt.u32 %c, %lane, 32;
         @%c bra OTHER;
         BLAMED bar.sync 1, 64;
         bra DONE;
         OTHER:
         FAULTY bar.sync 2, 64;
         MENDED bar.sync 1, 64;
         DONE:",
    ),
    Planted::new(
        Kind::BarrierDeadlock,
        "half a warp at a barrier",
        "and.b32 %x, %lane, 16;
         setp.eq.u32 %c, %x, 0;
         FAULTY @%c bra HALF;
         BLAMED bar.sync 0;
         FAULTY bra DONE;
         FAULTY HALF:
         FAULTY bar.sync 0;
         FAULTY DONE:",
    ),
    Planted::new(
        Kind::AlignedDivergence,
        "ldmatrix by some lanes",
        "st.shared.u32 [%s], %lane;
         bar.sync 0;
         and.b32 %x, %lane, 7;
         mov.u32 %y, box;
         mad.lo.u32 %y, %x, 16, %y;
         setp.lt.u32 %c, %x, 5;
         FAULTY @%c ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%v0}, [%y];
         MENDED ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%v0}, [%y];
         add.u64 %p, %out, %a;
         st.global.u32 [%p], %x;",
    ),
    Planted::new(
        Kind::AsyncCopyRace,
        "copied data read before the wait",
        "add.u64 %p, %in, %a;
         BLAMED cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         MENDED cp.async.wait_group 0;
         BLAMED ld.shared.u32 %x, [%s];",
    ),
    Planted::new(
        Kind::AsyncCopyRace,
        "one group too many in flight",
        "add.u64 %p, %in, %a;
         BLAMED cp.async.ca.shared.global [%s], [%p], 4;
         cp.async.commit_group;
         FAULTY cp.async.wait_group 1;
         MENDED cp.async.wait_all;
         BLAMED ld.shared.u32 %x, [%s];",
    ),
];

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
    let text = text.replace(".address_size 64\n", ".address_size 64\n.file 1 \"/home/me/norm.cu\"\n");
    let report = run(&text, 1, options(0));
    let site = &report.findings[0].site;
    assert_eq!(site.source, Some(("/home/me/norm.cu".to_string(), 42)));
    assert_eq!(site.bytes, 4);
    assert_eq!(report.findings[0].kind, Kind::GlobalOobRead);
}
