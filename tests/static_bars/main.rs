//! What must hold of the kernels' machine code, which needs a compiler but no GPU to know.

#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../../build/ptx.rs"]
mod ptx;
#[allow(dead_code, reason = "the build script uses the rest")]
#[path = "../../build/source.rs"]
mod source;
#[path = "../toolchain/mod.rs"]
mod toolchain;

mod bars;
mod measure;
mod sass;
mod table;

use measure::{Compiled, GPUS};
use std::fs;
use std::sync::OnceLock;
use toolchain::{BUILT_WITH, PINNED, root};

/// The kernels as the pinned compiler made them; none without it.
fn kernels() -> Option<&'static [Compiled]> {
    static KERNELS: OnceLock<Option<Vec<Compiled>>> = OnceLock::new();
    if BUILT_WITH != PINNED {
        let built = if BUILT_WITH.is_empty() { "no compiler" } else { BUILT_WITH };
        eprintln!("skipped: built with {built}, and the figures are those of {PINNED}; ./setup-cuda installs it");
        return None;
    }
    let kernels = KERNELS.get_or_init(measure::measure).as_deref();
    if kernels.is_none() {
        eprintln!("skipped: there is no cuobjdump; ./setup-cuda installs it");
    }
    kernels
}

#[test]
fn machine_code_of_every_kernel_holds_its_bars() {
    let Some(kernels) = kernels() else { return };
    assert!(!kernels.is_empty(), "no machine code to look at");
    let wrong: Vec<String> = kernels.iter().flat_map(bars::wrong).collect();
    assert!(wrong.is_empty(), "{} bars do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_table_of_figures_is_up_to_date() {
    let Some(kernels) = kernels() else { return };
    let archs = GPUS.iter().filter(|gpu| kernels.iter().any(|one| one.gpu.arch == gpu.arch)).count();
    if archs < GPUS.len() {
        eprintln!("skipped: TEMPEST_ARCHS left {} of {} architectures out", GPUS.len() - archs, GPUS.len());
        return;
    }
    let path = root().join("docs/kernels.md");
    let new = table::document(kernels);
    if std::env::var_os("TEMPEST_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, new).unwrap();
        return;
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let cure = "run TEMPEST_BLESS=1 cargo test --test static_bars and look at what changed";
    let differs = new.lines().find(|line| !old.lines().any(|other| other == *line)).unwrap_or("a line is gone");
    assert!(old == new, "docs/kernels.md is out of date; {cure}\n{differs}");
}

const DUMP: &str = "
		Function : scale
	.headerflags	@\"EF_CUDA_SM80\"
        /*0000*/                   MOV R1, c[0x0][0x28] ;     /* 0x00000a0000017a02 */
                                                              /* 0x000fe40000000f00 */
        /*0010*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ; /* 0x0000000000007b1d */
                                                              /* 0x000fec0000010000 */
        /*0020*/               @P0 HMMA.16816.F32 R4, R8, R12, R4 ; /* 0x0000000c0804723c */
                                                              /* 0x000ff00000001804 */
        /*0030*/              @!P1 BRA 0x20 ;                 /* 0x0000000000007947 */
                                                              /* 0x000fea000383ffff */
        /*0040*/                   LDG.E.64 R2, [R2.64] ;     /* 0x0000000402027981 */
                                                              /* 0x000fea000c1e1b00 */
        /*0050*/               @P0 BRA 0x10 ;                 /* 0x0000000000007947 */
                                                              /* 0x000fea000383ffff */
";

#[test]
fn machine_code_is_read_with_its_stalls_and_its_main_loop() {
    let code = &sass::kernels(DUMP)["scale"];
    let read: Vec<_> = code.iter().map(|i| (i.address, i.base(), i.stall)).collect();
    assert_eq!(read[..3], [(0, "MOV", 2), (16, "BAR", 6), (32, "HMMA", 8)]);
    assert_eq!((code[4].bytes(), code[4].has("64"), code.len()), (8, true, 6));
    let again = sass::from_compact(&sass::compact(&sass::kernels(DUMP)));
    assert_eq!(again.as_ref(), Some(&sass::kernels(DUMP)));
    let addresses: Vec<u32> = sass::main_loop(code).expect("a loop").iter().map(|i| i.address).collect();
    assert_eq!(addresses, [32, 48]);
    let text = " Function scale:\n  REG:40 STACK:8 SHARED:16 LOCAL:24 CONSTANT[0]:396 TEXTURE:0\n";
    let expected = sass::Resources { registers: 40, stack: 8, shared: 16, local: 24 };
    assert_eq!(sass::resources(text)["scale"], expected);
}

#[test]
fn forbidden_instructions_are_told_from_allowed_ones() {
    let is_forbidden = |opcode: &str| {
        let dump = format!("Function : f\n/*0000*/ {opcode} R1 ; /* 0x0 */\n/* 0x000fe40000000f00 */\n");
        bars::is_forbidden(&sass::kernels(&dump)["f"][0])
    };
    for opcode in
        ["LDL.LU", "STL.64", "DADD", "DFMA", "DMUL", "F2F.F64.F32", "RED.E.ADD.F32.FTZ.RN.STRONG.GPU", "CALL.ABS.NOINC"]
    {
        assert!(is_forbidden(opcode), "{opcode}");
    }
    for opcode in
        ["LDG.E.128", "ATOMS.ADD", "RED.E.ADD.STRONG.GPU", "REDUX.SUM", "CALL.REL.NOINC", "F2F.F16.F32", "LDS.64"]
    {
        assert!(!is_forbidden(opcode), "{opcode}");
    }
}
