//! What build.rs reads from kernels and from compiled PTX, and what it writes.

#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../build/generate.rs"]
mod generate;
#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../build/ptx.rs"]
mod ptx;
#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../build/source.rs"]
mod source;
#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../build/toolkit.rs"]
mod toolkit;

use generate::Facts;
use ptx::{Block, Launch};
use source::{Layout, Sources, Type};
use std::ffi::OsString;
use std::path::Path;

const KERNELS: &str = r#"// A header comment.
// nvcc: --fmad=false
#include "shared.cuh"
constexpr u32 MOST = 2;
/* __global__ in a comment */
#define MACRO \
    __global__
struct Grads {
    const store_t *x[MOST];
    float *dw;
    u32 rows;
    u32 cols;
};
SHARED_BYTES(first, 1024);
extern "C" __global__ void __launch_bounds__(128, 2)
first(const store_t *__restrict__ x, float *y, const StepArgs *args, const float2 *rope, u32 rows, u64 seed,
      float in, const __grid_constant__ Grads grads) {
    printf("__global__ \" text");
}
extern "C" __global__ void __launch_bounds__(THREADS) second(Codes codes) {
}
HOST constexpr u32 QUEUE = 8;
HOST enum class Order : u32 { Seen, Hidden };
HOST enum class Level : u32 { Independent, Spread };
HOST enum class Stream : u32 { Crop = 2, Mask = 4u };
struct Codes {
    const float *x;
    Order order;
};
"#;

const HEADER: &str = "#pragma once\nstruct StepArgs {\n    u64 seed;\n    float lr;\n    float decay;\n};\n";

const PTX: &str = "\
.version 9.0
.target sm_80
.global .align 4 .u32 first_shared_bytes = 1024;
.visible .global .align 4 .u32 first_block_rows = 32;
.visible .global .align 4 .u32 first_block_cols = 128;
.visible .global .align 4 .u32 first_block_cols_first = 1;
.visible .global .align 4 .u32 second_block_rows = 4;
.visible .global .align 4 .u32 second_block_cols = 1;
.visible .global .align 4 .u32 second_block_cols_first;
.extern .shared .align 128 .b8 shared[];

.visible .entry first(
	.param .u64 first_param_0,
	.param .u64 .ptr .align 1 first_param_1,
	.param .u64 first_param_2,
	.param .u64 first_param_3,
	.param .u32 first_param_4,
	.param .u64 first_param_5,
	.param .f32 first_param_6,
	.param .align 8 .b8 first_param_7[32]
)
.maxntid 128, 1, 1
.minnctapersm 2
{
	.loc	1 6 0
	mov.u32 	%r7, shared;
	ret;

}
	// .globl	second
.visible .entry second(
	.param .align 8 .b8 second_param_0[16]
)
.maxntid 64, 2, 1
{
	ret;

}
	.file	1 \"/some/where/kernels/mma/own.cu\"
	.file	2 \"/opt/cuda/include/crt/device.hpp\"
	.section	.debug_str
	{
$L__info_string0:
.b8 95,0

	}
";

fn texts(kernels: &str) -> Vec<(String, String)> {
    [("own.cu", kernels), ("shared.cuh", HEADER)].map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec()
}

fn refused(from: &str, to: &str) -> String {
    assert!(KERNELS.contains(from), "{from}");
    Sources::parse(&texts(&KERNELS.replace(from, to))).expect_err("it is refused")
}

#[test]
fn kernels_parameters_structs_and_flags_are_read() {
    let sources = Sources::parse(&texts(KERNELS)).unwrap();
    let [file] = &sources.files[..] else { panic!("one file: {sources:?}") };
    assert_eq!((&file.name[..], &file.flags[..]), ("own.cu", &["--fmad=false".to_owned()][..]));
    let [first, second] = &file.kernels[..] else { panic!("two kernels: {file:?}") };
    assert_eq!((&first.name[..], first.line, second.params.len()), ("first", 15, 1));
    let names: Vec<&str> = first.params.iter().map(|param| &param.name[..]).collect();
    assert_eq!(names, ["x", "y", "args", "rope", "rows", "seed", "in", "grads"]);
    assert_eq!(first.params[0].ty, Type::Pointer { to: Box::new(Type::Store), writable: false });
    assert_eq!(first.params[1].ty, Type::Pointer { to: Box::new(Type::F32), writable: true });
    assert_eq!(first.params[6].ty, Type::F32);
    assert_eq!(sources.layout(&first.params[7].ty), Layout { size: 32, align: 8 });
    assert_eq!(sources.structs.keys().collect::<Vec<_>>(), ["Codes", "Grads", "StepArgs"]);
    assert_eq!(sources.layout(&second.params[0].ty), Layout { size: 16, align: 8 }, "filled up at its end");
    assert_eq!(sources.constants["QUEUE"].value, 8);
    let names = |codes: &str| sources.codes[codes].names.clone();
    assert_eq!(names("Order"), [("Seen".to_owned(), None), ("Hidden".to_owned(), None)]);
    assert_eq!(names("Stream"), [("Crop".to_owned(), Some(2)), ("Mask".to_owned(), Some(4))]);
}

#[test]
fn what_a_kernel_may_not_be_is_refused_with_its_place_and_reason() {
    for (from, to, why) in [
        (
            "extern \"C\" __global__ void __launch_bounds__(T",
            "__global__ void __launch_bounds__(T",
            "own.cu:20: a kernel is",
        ),
        ("__launch_bounds__(THREADS)", "", "no launch bounds"),
        ("codes) {", "codes);", "kernel second is declared without its body"),
        ("second(Codes", "first(Codes", "kernel first is declared twice"),
        ("u64 seed", "double seed", "own.cu:15: kernel first: double seed is of a type that is not passed"),
        ("u64 seed", "store_t seed", "seed cannot be passed by value"),
        ("u64 seed", "const Unknown *seed", "kernel first, parameter seed: type Unknown is unknown here"),
        ("u64 seed", "float **seed", "`float * * seed` is not understood"),
        ("u64 seed", "u32 seed[4]", "seed cannot be passed by value"),
        ("u32 QUEUE = 8;", "u32 QUEUE = 1u << 3;", "own.cu:22: HOST marks"),
        ("enum class Order : u32 {", "enum Order {", "own.cu:23: HOST marks"),
        ("Crop = 2,", "Crop = TWO,", "own.cu:25: HOST marks"),
        ("class Order", "class QUEUE", "type Order is unknown here"),
        ("HOST enum", "HOST constexpr u32 QUEUE = 9;\nHOST enum", "own.cu:23: QUEUE is marked HOST twice"),
        ("    float *dw;\n    u32 rows;", "    u32 rows;\n    float *dw;", "struct Grads has a gap before dw"),
        ("    u32 cols;\n", "    u32 rows() { return 1; }\n", "struct Grads of kernels/own.cu"),
        ("constexpr u32 MOST", "constexpr u32 FEWEST", "`const store_t * x [ MOST ]` is not understood"),
        (
            "constexpr u32 MOST = 2;",
            "constexpr u32 MOST = 2;\n// nvcc: -O1",
            "own.cu:5: `// nvcc:` stands in the comment",
        ),
    ] {
        let found = refused(from, to);
        assert!(found.contains(why), "{to}: {found}");
    }
}

#[test]
fn a_compilation_depends_on_what_it_includes() {
    let mut all = texts(KERNELS);
    all.push(("other.cuh".to_owned(), String::new()));
    let names =
        |all: &[(String, String)]| source::closure(all, "own.cu").iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&all), ["own.cu", "shared.cuh"]);
    all[1].1.push_str("  # include \"other.cuh\"\n");
    assert_eq!(names(&all), ["own.cu", "shared.cuh", "other.cuh"]);
}

#[test]
fn what_the_launcher_must_know_is_read_from_ptx() {
    let sources = Sources::parse(&texts(KERNELS)).unwrap();
    let launches = |text: &str| ptx::launches(text, &sources.files[0].kernels, &sources);
    assert_eq!(
        launches(PTX).unwrap(),
        [
            Launch {
                threads: 128,
                min_blocks: 2,
                shared_bytes: 1024,
                block: Block { rows: 32, cols: 128, cols_first: true }
            },
            Launch {
                threads: 128,
                min_blocks: 1,
                shared_bytes: 0,
                block: Block { rows: 4, cols: 1, cols_first: false }
            }
        ]
    );
    for (from, to, why) in [
        (
            ".u32 first_param_4",
            ".u64 first_param_4",
            "parameter rows: 4 bytes aligned to 4 as declared, 8 bytes aligned to 8",
        ),
        ("param_7[32]", "param_7[40]", "parameter grads: 32 bytes aligned to 8 as declared, 40 bytes"),
        (".align 8 .b8", ".align 16 .b8", "parameter grads: 32 bytes aligned to 8 as declared, 32 bytes aligned to 16"),
        ("\t.param .f32 first_param_6,\n", "", "kernel first has 8 parameters, its PTX 7"),
        (".entry second", ".entry third", "kernel second is not in the compiled PTX"),
        (".maxntid 64, 2, 1\n", "", "kernel second has no .maxntid"),
        ("first_shared", "first_other", "kernel first uses dynamic shared memory"),
        (
            "first_shared_bytes = 1024;",
            "first_shared_bytes = 1024;\n.global .u32 third_block_rows = 1;",
            "third_block_rows is of no kernel",
        ),
    ] {
        assert!(PTX.contains(from), "{from}");
        let found = launches(&PTX.replace(from, to)).expect_err(to);
        assert!(found.contains(why), "{to}: {found}");
    }
}

#[test]
fn ptx_is_lowered_for_old_drivers_and_names_no_folder() {
    let lowered = ptx::lowered(PTX, ptx::Version::Shipped);
    assert!(lowered.starts_with(".version 7.4\n"), "{lowered}");
    assert!(lowered.contains("\t.file\t1 \"kernels/mma/own.cu\"\n\t.file\t2 \"device.hpp\"\n"), "{lowered}");
    assert!(ptx::lowered(".version 7.0\n", ptx::Version::Shipped).starts_with(".version 7.0\n"), "older text stays");
    let kept = ptx::lowered(PTX, ptx::Version::Kept);
    assert!(kept.starts_with(".version 9.0\n"), "an assembler beside the compiler reads it: {kept}");
    let bare = ptx::without_lines(&lowered);
    let gone = [".loc", ".file", ".section", "info_string"];
    assert!(gone.iter().all(|word| !bare.contains(word)) && bare.trim_end().ends_with("ret;\n\n}"), "{bare}");
}

#[test]
fn a_launch_is_a_function_of_typed_arguments() {
    let sources = Sources::parse(&texts(KERNELS)).unwrap();
    let block = Block { rows: 32, cols: 128, cols_first: true };
    let launches = [vec![Launch { threads: 128, min_blocks: 2, shared_bytes: 1024, block }, Launch::default()]];
    let notes = ["a \"note\"".to_owned()];
    let mut facts =
        Facts { built_with: Some("nvcc 1.2"), notes: &notes, launches: &launches, archs: &[80], dtypes: &["f16"] };
    let text = generate::rust(&sources, &facts);
    for line in [
        "pub(crate) const BUILT_WITH: Option<&str> = Some(\"nvcc 1.2\");",
        "pub(crate) const BUILD_NOTES: &[&str] = &[\"a \\\"note\\\"\"];",
        "Family { name: \"own\", kernels: &[0, 1], target: None },",
        "Kernel { name: \"first\", family: 0, threads: 128, min_blocks: 2, shared_bytes: 1024, block: Block { rows: 32, cols: 128, \
         cols_first: true } },",
        "pub(crate) const QUEUE: usize = 8;",
        "pub(crate) enum Order {\n    Seen,\n    Hidden,\n}",
        "        bytes.resize(end, 0);",
        "pub(crate) static IMAGES: [[Image; 1]; 1] = [",
        "(80, Packed(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/kernels/own.f16.sm80.cubin.zlib\")))),",
        "ptx: Packed(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/kernels/own.f16.ptx.zlib\"))),",
        "    pub(crate) x: [Ptr<Store>; 2],",
        "    assert!(size_of::<Grads>() == 32 && align_of::<Grads>() == 8);",
        "    assert!(std::mem::offset_of!(crate::program::StepArgs, lr) == 8);",
        "pub(crate) fn first(x: Ptr<Store>, y: PtrMut<f32>, args: Ptr<StepArgs>, rope: Ptr<[f32; 2]>, \
         rows: u32, seed: u64, r#in: f32, grads: Grads) -> Call {",
        "pub(crate) fn second(codes: Codes) -> Call {",
    ] {
        assert!(text.contains(line), "{line}\n\n{text}");
    }
    assert!(!text.contains("struct StepArgs"), "the program's own is used: {text}");

    facts.built_with = None;
    facts.launches = &[];
    let text = generate::rust(&sources, &facts);
    for line in
        ["BUILT_WITH: Option<&str> = None;", "threads: 0, min_blocks: 0", "Image { ptx: Packed(b\"\"), cubins: &[] },"]
    {
        assert!(text.contains(line), "{line}\n\n{text}");
    }
    assert!(!text.contains("include_"), "{text}");
}

#[test]
fn choices_of_the_program_become_codes_in_a_match_that_both_sides_must_fill() {
    let sources = Sources::parse(&texts(KERNELS)).unwrap();
    let facts = Facts { built_with: None, notes: &[], launches: &[], archs: &[], dtypes: &["f16"] };
    let text = generate::rust(&sources, &facts);
    for part in [
        "pub(crate) enum Level {\n    Independent,\n    Spread,\n}\n",
        "impl From<crate::program::Level> for Level {\n    fn from(choice: crate::program::Level) -> Self {\n        \
         match choice {\n            crate::program::Level::Independent { .. } => Level::Independent,\n            \
         crate::program::Level::Spread { .. } => Level::Spread,\n        }\n",
        "const _: () = assert!(crate::rng::Stream::Mask as u32 == 4, \"kernels/own.cu: Stream::Mask\");\n",
    ] {
        assert!(text.contains(part), "{part}\n\n{text}");
    }
    assert!(!text.contains("From<crate::program::Order>"), "the program has none: {text}");
    assert!(!text.contains("enum Stream"), "the program's own is used: {text}");
}

#[test]
fn a_file_for_one_target_has_machine_code_for_it_and_no_ptx() {
    let targeted = |line: &str| Sources::parse(&texts(&KERNELS.replace("// nvcc: --fmad=false", line)));
    let sources = targeted("// target: 90a").unwrap();
    let target = sources.files[0].target.as_ref().unwrap();
    assert_eq!((&target.name[..], target.sm), ("90a", 90));
    assert_eq!(source::archs(Some(target), &[80, 90, 120]).collect::<Vec<_>>(), [90]);
    let launches = [vec![Launch::default(); 2]];
    let facts =
        |archs| Facts { built_with: Some("nvcc 1.2"), notes: &[], launches: &launches, archs, dtypes: &["f16"] };
    let text = generate::rust(&sources, &facts(&[80, 90]));
    for line in ["kernels: &[0, 1], target: Some(90) },", "ptx: Packed(b\"\"),", "/kernels/own.f16.sm90.cubin.zlib"] {
        assert!(text.contains(line), "{line}\n\n{text}");
    }
    assert!(!text.contains("sm80") && !text.contains("ptx.zlib"), "{text}");
    let text = generate::rust(&sources, &facts(&[80]));
    assert!(text.contains("pub(crate) fn first(") && !text.contains("include_"), "it is absent: {text}");
    for (line, why) in [
        ("// target: hopper", "own.cu:2: target \"hopper\" is no compute capability from 80, as 90a"),
        ("// target: 75", "own.cu:2: target \"75\" is no"),
        ("// target: 90a\n// target: 100a", "own.cu:3: a file has one target"),
        ("#pragma once\n// target: 90a", "own.cu:3: `// target:` stands in the comment that the file begins with"),
    ] {
        let found = targeted(line).expect_err("it is refused");
        assert!(found.contains(why), "{found}");
    }
}

#[test]
fn every_kernel_file_of_the_repository_is_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let texts = source::read(&folder).unwrap();
    let sources = Sources::parse(&texts).unwrap();
    let kernels: usize = sources.files.iter().map(|file| file.kernels.len()).sum();
    let words: usize = texts.iter().map(|(_, text)| text.matches("extern \"C\" __global__").count()).sum();
    assert!(kernels > 0 && kernels == words, "{kernels} of {words}");
}

#[test]
fn a_compiler_that_is_asked_for_in_vain_is_told_of() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-toolkit");
    let folder = empty.join("here");
    let set = |name: &str| match name {
        "NVCC" => Some(OsString::from(&folder)),
        "CUDA_HOME" => Some(OsString::from(&empty)),
        _ => None,
    };
    let (found, wrong) = toolkit::find(&empty, &set);
    // A machine may have one in the usual place all the same.
    assert!(found.is_none_or(|toolkit| !toolkit.nvcc.starts_with(&empty)));
    let wrong = wrong.join("\n");
    assert!(wrong.contains("NVCC leads to") && wrong.contains("CUDA_HOME leads to"), "{wrong}");
}

#[test]
fn a_missing_host_compiler_is_told_from_a_wrong_kernel() {
    for message in [
        "sh: 1: gcc: not found",
        "gcc: No such file or directory\nnvcc fatal: failed",
        "nvcc fatal   : Cannot find compiler 'cl.exe' in PATH",
        "gcc: fatal error: cannot execute 'cc1plus': execvp: No such file or directory",
    ] {
        assert!(toolkit::missing_host_compiler(message).is_some_and(|cure| cure.contains("install g++")), "{message}");
    }
    for message in ["kernels/a.cu(8): error: identifier \"gcc\" not found", "error: no such variable", ""] {
        assert_eq!(toolkit::missing_host_compiler(message), None, "{message}");
    }
    assert_eq!(toolkit::version("Cuda compilation tools, release 13.0, V13.0.88\nBuild x"), Some("13.0.88"));
}
