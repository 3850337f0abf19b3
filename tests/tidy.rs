//! Rules of the sources that no lint knows: which module may use which, and where what may stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from left to right, a line at a time: a module uses its own line's neighbours never, what stands in
/// lines above it freely. The modules of `raw` have places of their own.
const ORDER: [&[&str]; 17] = [
    &["error", "tty"],
    &["rng", "terminal", "plot", "raw::cpu", "raw::gpu", "raw::mmap", "raw::signals"],
    &["config", "files", "stop"],
    &["data"],
    &["program"],
    &["raw::arena"],
    &["model", "backend"],
    &["store", "process"],
    &["denoiser"],
    &["workload"],
    &["check", "profile", "sample", "eval", "quality"],
    &["train", "edit"],
    &["report", "serve"],
    &["page", "watch"],
    &["lib"],
    &["cli"],
    &["main"],
];

/// The same of the virtual GPU, and of the parts of its driver: what owns an object stands right of it.
const VGPU_ORDER: [&[&str]; 22] = [
    &["arith", "check", "ptx"],
    &["profile", "count"],
    &["isa"],
    &["memory"],
    &["exec"],
    &["gpu"],
    &["report"],
    &["driver::error"],
    &["driver::abi", "driver::handles"],
    &["driver::device", "driver::function", "driver::image", "driver::nvtx", "driver::texts", "driver::unsupported"],
    &["driver::report", "driver::work"],
    &["driver::capture"],
    &["driver::stream"],
    &["driver::context"],
    &["driver::event", "driver::host", "driver::primary"],
    &["driver::memory"],
    &["driver::run"],
    &["driver::copy", "driver::graph"],
    &["driver::module", "driver::pool", "driver::stream_calls"],
    &["driver::launch", "driver::library", "driver::occupancy"],
    &["driver", "runner"],
    &["main", "lib"],
];

/// Most lines of a source file, without the unit tests at its end.
const MOST_LINES: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `(path from the root, text)` of every file under some folders with one of these endings.
fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|f| root().join(f)).filter(|f| f.exists()).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| endings.contains(&e.to_str().unwrap())) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The code of each line: no comments, and no contents of string literals (those of one line).
fn code(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    text.lines().enumerate().map(|(i, line)| {
        let mut kept = String::new();
        let mut chars = line.chars().peekable();
        let mut quoted = false;
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted => drop(chars.next()),
                // The character '"' begins no text.
                '\'' if !quoted && chars.peek() == Some(&'"') => drop((chars.next(), chars.next())),
                '"' => quoted = !quoted,
                '/' if !quoted && chars.peek() == Some(&'/') => break,
                _ if !quoted => kept.push(c),
                _ => {}
            }
        }
        (i + 1, kept)
    })
}

/// The module that a file belongs to: `src/backend/cpu/mod.rs` to `backend`.
fn module_of(file: &str) -> String {
    let (_, path) = file.split_once("src/").expect("a source file");
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    named(&mut path.split('/'))
}

/// The module that a path names, by its first words.
fn named<'a>(words: &mut impl Iterator<Item = &'a str>) -> String {
    match (words.next().unwrap_or_default(), words.next()) {
        (folder @ ("raw" | "driver"), Some(module)) => format!("{folder}::{module}"),
        (module, _) => module.into(),
    }
}

/// `(line, module)` of every other module that a file names in its code; `super` is followed where the parts of a folder are
/// modules of their own and name each other so.
fn uses(from: &str, text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let parent = if from.starts_with("driver::") { "driver::" } else { "" };
    let lines: Vec<(usize, String)> = code(text).collect();
    for (at, (number, line)) in lines.iter().enumerate() {
        for (root, within) in [("crate::", ""), ("tempest::", ""), ("vgpu::", ""), ("super::", parent)] {
            if root == "super::" && parent.is_empty() {
                continue;
            }
            for (start, _) in line.match_indices(root) {
                let before = line[..start].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue;
                }
                // A group may go on over the following lines.
                let rest: String =
                    [&line[start + root.len()..]].into_iter().chain(lines[at + 1..].iter().map(|l| &l.1[..])).collect();
                for path in heads(&rest) {
                    // What the crate's front page re-exports.
                    let path = if matches!(&path[..], "Error" | "Result") { "error".to_owned() } else { path };
                    // `use super::*` in a file's own tests.
                    if !path.is_empty() {
                        found.push((*number, named(&mut format!("{within}{path}").split("::"))));
                    }
                }
            }
        }
    }
    found
}

/// The beginnings of what follows `crate::`: one path, or one for each entry of a group.
fn heads(rest: &str) -> Vec<String> {
    let path = |text: &str| {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        text[..end].trim_end_matches(':').to_owned()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![path(rest)] };
    let (mut depth, mut entry, mut entries) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entries.push(std::mem::take(&mut entry)),
            _ if depth == 0 => entry.push(c),
            _ => {}
        }
    }
    entries.push(entry);
    entries.iter().map(|e| path(e.trim())).filter(|e| !e.is_empty()).collect()
}

fn layer(order: &[&[&str]], module: &str) -> Option<usize> {
    order.iter().position(|layer| layer.contains(&module))
}

/// What is wrong with the arrows of these files, and the arrows as text.
fn wrong_arrows(order: &[&[&str]], sources: &[(String, String)]) -> (Vec<String>, String) {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (file, text) in sources {
        let from = module_of(file);
        for (line, to) in uses(&from, text).into_iter().filter(|(_, to)| *to != from) {
            match (layer(order, &from), layer(order, &to)) {
                (Some(from), Some(to)) if to < from => {}
                (Some(_), Some(_)) => wrong.push(format!("{file}:{line}: {from} may not use {to}")),
                (None, _) => wrong.push(format!("{file}:{line}: {from} has no place in the order of modules")),
                (_, None) => wrong.push(format!("{file}:{line}: {to} has no place in the order of modules")),
            }
            arrows.entry(from.clone()).or_default().insert(to);
        }
    }
    let graph = arrows
        .iter()
        .map(|(from, to)| format!("{from} -> {}\n", to.iter().map(String::as_str).collect::<Vec<_>>().join(", ")));
    (wrong, graph.collect())
}

#[test]
fn modules_use_only_what_stands_left_of_them() {
    let sources = files(&["src"], &["rs"]);
    assert!(sources.len() > 40, "{} files", sources.len());
    let (wrong, graph) = wrong_arrows(&ORDER, &sources);
    assert!(wrong.is_empty(), "\n{}\n\nthe arrows as they are:\n{graph}", wrong.join("\n"));
    for arrow in ["model -> config, program", "process -> config, error, model, program"] {
        assert!(graph.contains(arrow), "the arrows are drawn:\n{graph}");
    }
}

#[test]
fn the_virtual_gpus_modules_use_only_what_stands_left_of_them() {
    let sources = files(&["tests/vgpu/src"], &["rs"]);
    assert!(sources.len() > 40, "{} files", sources.len());
    let (wrong, graph) = wrong_arrows(&VGPU_ORDER, &sources);
    assert!(wrong.is_empty(), "\n{}\n\nthe arrows as they are:\n{graph}", wrong.join("\n"));
}

#[test]
fn a_wrong_arrow_is_found_with_its_file_and_line() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let wrong = |name: &str, text: &str| wrong_arrows(&ORDER, &[file(name, text)]).0;
    assert_eq!(
        wrong("src/model/forward.rs", "\nuse crate::backend::Cpu;\n"),
        ["src/model/forward.rs:2: model may not use backend"]
    );
    assert_eq!(wrong("src/rng.rs", "fn f() { crate::data::x() }"), ["src/rng.rs:1: rng may not use data"]);
    let group = "use crate::{\n    error::{Error, Result},\n    train::{self, run},\n};";
    assert_eq!(wrong("src/program/op.rs", group), ["src/program/op.rs:1: program may not use train"]);
    assert_eq!(
        wrong("src/data/mod.rs", "use crate::raw::arena::Arena;"),
        ["src/data/mod.rs:1: data may not use raw::arena"]
    );
    assert_eq!(
        wrong("src/model/x.rs", "use crate::new::X;"),
        ["src/model/x.rs:1: new has no place in the order of modules"]
    );
    assert_eq!(
        wrong("src/config/run.rs", "use tempest::train::run;"),
        ["src/config/run.rs:1: config may not use train"]
    );
    let driver = |text: &str| wrong_arrows(&VGPU_ORDER, &[file("tests/vgpu/src/driver/stream.rs", text)]).0;
    assert_eq!(
        driver("use super::work::Work;\nuse super::context::{self, Context};"),
        ["tests/vgpu/src/driver/stream.rs:2: driver::stream may not use driver::context"]
    );
    // Right arrows, its own module, comments and texts are none.
    for fine in [
        "use crate::data::raw::X;",
        "use crate::{error::Result, program::Op};",
        "use crate::backend::Backend;",
        "//! See [`crate::train`].\n/// And `crate::train::run`. // crate::main",
        "let x = \"crate::train\"; // crate::train",
        "my_crate::train();",
    ] {
        assert_eq!(wrong("src/backend/cpu/mod.rs", fine), [""; 0], "{fine}");
    }
}

/// Lines of code that name a variant of `Op`.
fn variants(text: &str) -> Vec<usize> {
    let named = |line: &str| {
        line.match_indices("Op::").any(|(at, _)| {
            let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            begins && line[at + 4..].starts_with(char::is_uppercase)
        })
    };
    code(text).filter(|(_, line)| named(line)).map(|(number, _)| number).collect()
}

#[test]
fn only_the_list_of_ops_goes_by_which_op_it_is() {
    let mut found = Vec::new();
    for (file, text) in files(&["src"], &["rs"]).iter().filter(|(file, _)| file != "src/program/op/mod.rs") {
        found.extend(variants(text).into_iter().map(|line| format!("{file}:{line}")));
    }
    assert!(
        found.is_empty(),
        "what is to be known of an op stands in its contract, not in a match over ops: {found:#?}"
    );
    assert_eq!(variants("match op {\n    Op::Crop(_) => 1,\n    // Op::Qkv\n    _ => MyOp::X(Op::from(x)),\n}"), [2]);
}

#[test]
fn a_family_of_ops_has_one_name_in_every_tree() {
    let stem = |file: &str| file.rsplit('/').next().unwrap().split('.').next().unwrap().to_owned();
    let kernels: BTreeSet<String> = files(&["kernels"], &["cu"]).iter().map(|(file, _)| stem(file)).collect();
    let mut wrong = Vec::new();
    let families = files(&["src/program/op"], &["rs"]).into_iter().filter(|(file, _)| stem(file) != "mod");
    let mut count = 0;
    for (file, text) in families {
        let family = stem(&file);
        let ops: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("impl Describe for ")?.strip_suffix(" {")).collect();
        count += ops.len();
        for tree in ["src/backend/cpu", "src/backend/cuda/lower", "tests/ops", "tests/cuda/cases"] {
            let file = format!("{tree}/{family}.rs");
            let Ok(text) = fs::read_to_string(root().join(&file)) else {
                wrong.push(format!("there is no {file}"));
                continue;
            };
            let words: BTreeSet<&str> = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
            // The cases of a family may try ops of others beside its own.
            let missing = ops.iter().filter(|op| tree != "tests/cuda/cases" && !words.contains(**op));
            wrong.extend(missing.map(|op| format!("{file} has no {op}")));
        }
        if !kernels.contains(&family) {
            wrong.push(format!("there is no {family}.cu under kernels"));
        }
    }
    assert!(count >= 30, "{count} ops were looked at");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_lives_in_raw_alone() {
    let mut found = Vec::new();
    for (file, text) in files(&["src", "tests", "benches", "build", "build.rs"], &["rs"]) {
        // And where a bench calls NVIDIA's own library.
        let may = file.starts_with("src/raw/") || file == "benches/cublaslt/blas.rs";
        if may || file.starts_with("tests/vgpu/") || file.starts_with("tests/faults/") {
            continue;
        }
        let word = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|w| w == "unsafe");
        found.extend(code(&text).filter(|(_, line)| word(line)).map(|(n, _)| format!("{file}:{n}")));
    }
    assert!(found.is_empty(), "unsafe outside src/raw: {found:#?}");
}

#[test]
fn a_file_is_one_idea_long() {
    let long: Vec<String> = files(&["src", "tests", "benches", "build", "build.rs", "kernels"], &["rs", "cu", "cuh"])
        .into_iter()
        .map(|(file, text)| (file, text.lines().take_while(|line| *line != "#[cfg(test)]").count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {MOST_LINES} lines: {long:#?}");
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_skipped() {
    let mut found = Vec::new();
    for (file, text) in files(&["src", "tests", "benches", "build", "build.rs"], &["rs"]) {
        for (number, line) in code(&text) {
            let unfinished = ["todo!", "unimplemented!", "#[ignore", "dbg!"].iter().any(|word| line.contains(word));
            found.extend(unfinished.then(|| format!("{file}:{number}: {}", line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let mut texts = files(
        &["src", "tests", "benches", "build", "build.rs", "kernels", "docs", "data"],
        &["rs", "md", "toml", "cu", "cuh"],
    );
    for name in ["README.md", "Cargo.toml", ".ci/run"] {
        texts.extend(fs::read_to_string(root().join(name)).map(|text| (name.to_owned(), text)));
    }
    // Written in two parts so that this file passes itself.
    let places = ["home", "work", "root", "Users", "tmp"].map(|folder| format!("/{folder}/"));
    let mut found = Vec::new();
    for (file, text) in &texts {
        for (i, line) in text.lines().enumerate() {
            // Only where a path begins: `target/tmp/x` is one of our own.
            let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}~".contains(c));
            let absolute = places.iter().any(|place| line.match_indices(&place[..]).any(|(at, _)| begins(at)));
            found.extend(absolute.then(|| format!("{file}:{}: {}", i + 1, line.trim())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
