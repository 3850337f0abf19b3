//! Compiles the `.cu` files of `kernels/` and writes what the crate includes of them, `$OUT_DIR/kernels.rs`.
//!
//! Each file becomes, once per stored dtype, PTX that every driver since CUDA 11.4 takes, and from that very text
//! machine code for the GPUs of [`ARCHS`]; the program carries both packed. A file with a line `// target: 90a` becomes machine
//! code for that generation alone, where it is among the GPUs. Without a CUDA compiler the build succeeds
//! and the crate computes on CPUs only; what the sources declare is generated all the same.
//!
//! - `TEMPEST_KERNELS=off` builds without kernels, `require` fails where there is no compiler.
//! - `TEMPEST_ARCHS=80,90` assembles for these only; `none` leaves the PTX alone.
//! - `NVCC`, `CUDA_HOME` and their like lead to a compiler; `./setup-cuda` installs one.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/generate.rs"]
mod generate;
#[path = "build/ptx.rs"]
mod ptx;
#[path = "build/source.rs"]
mod source;
#[path = "build/toolkit.rs"]
mod toolkit;

use compile::{Compiler, Failure};
use generate::Facts;
use source::Sources;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;
use toolkit::Toolkit;

/// GPUs that get machine code, by compute capability: A100, RTX 30, RTX 40, H100, RTX 50. Others compile the PTX.
const ARCHS: [u32; 5] = [80, 86, 89, 90, 120];

/// Name and compiler flag of each stored dtype, in the order of `IMAGES`.
const DTYPES: [(&str, &str); 2] = [("f16", "-DSTORE_F16"), ("bf16", "-DSTORE_BF16")];

/// What `TEMPEST_KERNELS` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Auto,
    Off,
    Require,
}

fn main() {
    let variables = toolkit::VARIABLES.iter().chain(&["TEMPEST_KERNELS", "TEMPEST_ARCHS"]);
    variables.for_each(|name| println!("cargo::rerun-if-env-changed={name}"));
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    if let Err(why) = build() {
        for line in why.lines() {
            println!("cargo::error={line}");
        }
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let (mode, archs) = (mode()?, archs()?);
    let texts = source::read(&root.join("kernels"))?;
    let sources = Sources::parse(&texts)?;

    let images = out.join("kernels");
    fs::create_dir_all(&images).map_err(|e| format!("{}: {e}", images.display()))?;
    // For tests, which look into the images.
    println!("cargo::rustc-env=TEMPEST_KERNEL_DIR={}", images.display());

    let mut launches = Vec::new();
    let (mut archs, mut notes) = (archs, Vec::new());
    let toolkit = if mode == Mode::Off { None } else { find(&root, mode, &mut notes)? };
    let toolkit = match toolkit {
        Some(toolkit) => {
            let (known, unknown) = compile::known(&toolkit, &archs);
            archs = known;
            notes.extend(unknown);
            let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
            let kernels = root.join("kernels");
            // A release is for real cards.
            let lines = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
            let compiler =
                Compiler { toolkit: &toolkit, kernels: &kernels, out: &images, texts: &texts, threads, lines };
            match compiler.run(&sources, &archs) {
                Ok((built, warnings)) => {
                    let lines = warnings.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty());
                    lines.for_each(|line| println!("cargo::warning={line}"));
                    launches = agreed(&sources, &built)?;
                    Some(toolkit)
                }
                Err(Failure::Refused { what, message }) => {
                    return Err(format!("{what}{message}\n(TEMPEST_KERNELS=off builds for the CPU only)"));
                }
                Err(Failure::Unusable(why)) => {
                    without(mode, &why)?;
                    None
                }
            }
        }
        None => None,
    };
    let built_with = toolkit.as_ref().map(|toolkit| &toolkit.version[..]);
    if built_with.is_none() {
        launches.clear();
        let _ = fs::remove_dir_all(&images);
        fs::create_dir_all(&images).map_err(|e| format!("{}: {e}", images.display()))?;
    }
    println!("cargo::rustc-env=TEMPEST_BUILT_WITH={}", built_with.unwrap_or_default());
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        // Two thirds of the program are the lines that a backtrace names.
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    // For tests that need kernels to run.
    println!("cargo::rustc-check-cfg=cfg(kernels)");
    if built_with.is_some() {
        println!("cargo::rustc-cfg=kernels");
    }
    let facts =
        Facts { built_with, notes: &notes, launches: &launches, archs: &archs, dtypes: &DTYPES.map(|(name, _)| name) };
    let path = out.join("kernels.rs");
    fs::write(&path, generate::rust(&sources, &facts)).map_err(|e| format!("{}: {e}", path.display()))
}

/// A compiler, if one may be and is found; says so in one line if none is.
fn find(root: &Path, mode: Mode, notes: &mut Vec<String>) -> Result<Option<Toolkit>, String> {
    // NVIDIA has none for the others.
    let target = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if !matches!(&target[..], "linux" | "windows") && mode == Mode::Auto {
        return Ok(None);
    }
    let (toolkit, wrong) = toolkit::find(root, &|name| env::var_os(name));
    match &toolkit {
        Some(found) => {
            if !wrong.is_empty() {
                println!("cargo::warning={}; {} of {} is used", wrong.join("; "), found.version, found.nvcc.display());
            }
            let watched =
                if toolkit::is_own(root, found) { ".cuda-toolchain/nvidia/wheels.txt".as_ref() } else { &*found.nvcc };
            println!("cargo::rerun-if-changed={}", watched.display());
            notes.extend(
                wrong.iter().map(|_| "a compiler that was asked for is not there; another was used".to_owned()),
            );
        }
        None => {
            let cure = if target == "linux" { "run ./setup-cuda, or set NVCC" } else { "install the CUDA toolkit" };
            let wrong: String = wrong.iter().map(|why| format!(" ({why})")).collect();
            without(mode, &format!("no CUDA compiler found{wrong}: {cure}"))?;
        }
    }
    Ok(toolkit)
}

/// The build goes on without kernels, unless they are required.
fn without(mode: Mode, why: &str) -> Result<(), String> {
    if mode == Mode::Require {
        return Err(format!("TEMPEST_KERNELS=require, but {why}"));
    }
    println!("cargo::warning=built for the CPU only; {why} (TEMPEST_KERNELS=off silences this)");
    Ok(())
}

fn mode() -> Result<Mode, String> {
    match env::var("TEMPEST_KERNELS").unwrap_or_default().as_str() {
        "" | "auto" => Ok(Mode::Auto),
        "off" => Ok(Mode::Off),
        "require" => Ok(Mode::Require),
        other => Err(format!("TEMPEST_KERNELS is {other:?}; auto, off and require are known")),
    }
}

fn archs() -> Result<Vec<u32>, String> {
    let text = env::var("TEMPEST_ARCHS").unwrap_or_default();
    match text.trim() {
        "" => return Ok(ARCHS.to_vec()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let arch = |word: &str| match word.trim().trim_start_matches("sm_").parse() {
        Ok(arch) if arch >= 80 => Ok(arch),
        _ => Err(format!("TEMPEST_ARCHS is {text:?}; it lists compute capabilities from 80, as in 80,89")),
    };
    let mut archs = text.split(',').map(arch).collect::<Result<Vec<u32>, String>>()?;
    archs.sort_unstable();
    archs.dedup();
    Ok(archs)
}

/// What the launcher must know of each file's kernels, which no dtype may change.
fn agreed(sources: &Sources, built: &[String]) -> Result<Vec<Vec<ptx::Launch>>, String> {
    let dtypes = built.chunks(DTYPES.len());
    let files = sources.files.iter().zip(dtypes).map(|(file, dtypes)| {
        if dtypes.iter().all(String::is_empty) {
            return Ok(vec![ptx::Launch::default(); file.kernels.len()]);
        }
        let read = |text: &String| ptx::launches(text, &file.kernels, sources);
        let all = dtypes.iter().map(read).collect::<Result<Vec<_>, String>>();
        let all = all.map_err(|e| format!("kernels/{}: {e}", file.name))?;
        if all.iter().any(|other| *other != all[0]) {
            return Err(format!("kernels/{}: threads, blocks or shared memory depend on the dtype", file.name));
        }
        Ok(all[0].clone())
    });
    files.collect()
}
