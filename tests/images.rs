//! The PTX that is shipped, as older drivers see it: their assembler is that of the CUDA release they came with.

mod toolchain;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use toolchain::{BUILT_WITH, DTYPES, each, families, image, output, tool};

/// Old assemblers with the architectures that they know, of those that we ship.
const OLD: [(&str, &[u32]); 2] = [("11.8", &[80, 86, 89, 90]), ("12.0", &[80])];

/// What is wrong with one PTX file under one old assembler. A finding takes seconds: a clean one is remembered.
fn wrong(ptxas: &Path, stem: &str, version: &str, arch: u32) -> Option<String> {
    let ptx = image(&format!("{stem}.ptx"));
    let mut hasher = DefaultHasher::new();
    (fs::read(&ptx).expect("the build leaves its PTX"), version).hash(&mut hasher);
    let key = hasher.finish().to_string();
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let clean = temporary.join(format!("{stem}.ptxas-{version}.sm{arch}.clean"));
    if fs::read_to_string(&clean).is_ok_and(|old| old == key) {
        return None;
    }
    let cubin = clean.with_extension("cubin");
    let mut command = Command::new(ptxas);
    command.args(["-v", "-O3"]).arg(format!("-arch=sm_{arch}")).arg(&ptx).arg("-o").arg(&cubin);
    let (fine, text) = output(&mut command);
    let found = format!("{stem} under ptxas {version} for sm_{arch}");
    if !fine {
        return Some(format!("{found}: {text}"));
    }
    let _ = fs::remove_file(&cubin);
    let spills = spills(&text);
    if spills.is_empty() {
        fs::write(&clean, key).unwrap();
        return None;
    }
    Some(format!("{found}: {}", spills.join("; ")))
}

/// The kernels that keep registers in memory, by what `ptxas -v` says.
fn spills(text: &str) -> Vec<String> {
    let mut kernel = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((_, name)) = line.split_once("Function properties for ") {
            kernel = name.trim();
        } else if line.contains("bytes spill stores") {
            let zero = line.split(',').all(|part| part.trim().starts_with("0 bytes"));
            found.extend((!zero).then(|| format!("{kernel}: {}", line.trim())));
        }
    }
    found
}

#[test]
fn the_ptx_assembles_with_the_compilers_of_old_drivers_without_spills() {
    let tools: Vec<_> = OLD.iter().filter_map(|old| Some((tool(&format!("ptxas-{}/ptxas", old.0))?, old))).collect();
    if BUILT_WITH.is_empty() || tools.len() < OLD.len() {
        eprintln!("skipped: there are no kernels or no old assemblers; ./setup-cuda --with-old-ptxas installs both");
        return;
    }
    let mut jobs = Vec::new();
    for (tool, (version, archs)) in &tools {
        for family in families() {
            for dtype in DTYPES {
                jobs.extend(archs.iter().map(|&arch| (tool, format!("{family}.{dtype}"), *version, arch)));
            }
        }
    }
    let wrong = each(&jobs, |(tool, stem, version, arch)| wrong(tool, stem, version, *arch));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_spill_is_found_with_its_kernel() {
    let text = "\
ptxas info    : Function properties for fine
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Function properties for tight
    8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
";
    assert_eq!(spills(text), ["tight: 8 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads"]);
}

#[test]
fn images_name_no_folder_of_the_machine_that_built_them() {
    if BUILT_WITH.is_empty() {
        eprintln!("skipped: there are no kernels; ./setup-cuda installs a compiler");
        return;
    }
    let home = toolchain::root().to_str().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(image("")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let found = bytes.windows(home.len()).any(|window| window == home.as_bytes());
        assert!(!found, "{} contains {home}", path.display());
        let ptx = path.extension().is_some_and(|ending| ending == "ptx");
        if ptx {
            seen += 1;
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains("\n.version 7.4\n"), "{}", path.display());
            let files = text.lines().filter(|line| line.trim_start().starts_with(".file"));
            let own = |line: &&str| line.contains("\"kernels/") || !line.contains(['/', '\\']);
            assert_eq!(files.filter(|line| !own(line)).collect::<Vec<_>>(), [""; 0], "{}", path.display());
        }
    }
    assert_eq!(seen, families().len() * DTYPES.len());
}
