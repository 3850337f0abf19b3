//! Reads back from compiled PTX what the launcher must know, and makes it acceptable to older drivers.

use crate::source::{Kernel, Layout, Sources};
use std::collections::BTreeMap;

/// The newest PTX that is shipped: that of CUDA 11.4. Drivers refuse what is newer than they are.
const VERSION: (u32, u32) = (7, 4);

/// What becomes of a text's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The shipped one, or an older one.
    Shipped,
    /// The compiler's: the text is for its own assembler alone.
    Kept,
}

/// A kernel as the compiler understood it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Launch {
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Blocks that fit a multiprocessor at least.
    pub(crate) min_blocks: u32,
    /// Bytes of dynamic shared memory.
    pub(crate) shared_bytes: u32,
    pub(crate) block: Block,
}

/// What of a result a block makes; zeros of a kernel that does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    /// Whether the grid's x counts columns, and y rows.
    pub(crate) cols_first: bool,
}

/// What `SHARED_BYTES` and `BLOCK` tell of a kernel, behind its name.
const TOLD: [&str; 4] = ["_shared_bytes", "_block_rows", "_block_cols", "_block_cols_first"];

#[derive(Debug, Default)]
struct Entry {
    params: Vec<Layout>,
    launch: Launch,
    uses_dynamic: bool,
}

/// The text for older drivers, naming no folder of this machine: sources become `kernels/mma/linear.cu`, others
/// their file name. What only hints at the bytes that a load is for (PTX 8.3) they do not know.
pub(crate) fn lowered(text: &str, keep: Version) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(version) = line.strip_prefix(".version ").and_then(version)
            && keep == Version::Shipped
        {
            let (major, minor) = version.min(VERSION);
            out.push_str(&format!(".version {major}.{minor}"));
        } else if let Some((start, path, end)) = file_line(line) {
            out.push_str(&format!("{start}\"{}\"{end}", shown(path)));
        } else if keep == Version::Shipped && line.trim_start().starts_with(".pragma \"used_bytes_mask") {
            continue;
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

/// `kernels/mma/linear.cu` of a source's path, the file's name of any other's.
fn shown(path: &str) -> String {
    let path = path.replace('\\', "/");
    match path.rfind("/kernels/") {
        Some(at) if path.ends_with(".cu") || path.ends_with(".cuh") => path[at + 1..].to_owned(),
        _ => path.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The path of `.file 1 "…"`, and what stands before and behind it.
fn file_line(line: &str) -> Option<(&str, &str, &str)> {
    line.trim_start().strip_prefix(".file")?;
    let (start, rest) = line.split_once('"')?;
    let (path, end) = rest.rsplit_once('"')?;
    Some((start, path, end))
}

/// The text without the lines of the source, which would only make the machine code's file larger.
pub(crate) fn without_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut section = false;
    for line in text.lines() {
        let code = line.trim_start();
        section |= code.starts_with(".section");
        if !section && !code.starts_with(".loc") && !code.starts_with(".file") {
            out.push_str(line);
            out.push('\n');
        }
        section &= code != "}";
    }
    out
}

/// What the launcher must know of the kernels of one file; an error where compiler and source differ.
pub(crate) fn launches(text: &str, kernels: &[Kernel], sources: &Sources) -> Result<Vec<Launch>, String> {
    let Module { mut entries, mut told } = parse(text)?;
    let mut found = Vec::new();
    for kernel in kernels {
        let name = &kernel.name;
        let entry = entries.remove(name).ok_or_else(|| format!("kernel {name} is not in the compiled PTX"))?;
        let (declared, compiled) = (kernel.params.len(), entry.params.len());
        if declared != compiled {
            return Err(format!("kernel {name} has {declared} parameters, its PTX {compiled}"));
        }
        for (param, &compiled) in kernel.params.iter().zip(&entry.params) {
            let declared = sources.layout(&param.ty);
            if declared != compiled {
                let shown = |l: Layout| format!("{} bytes aligned to {}", l.size, l.align);
                let (param, declared, compiled) = (&param.name, shown(declared), shown(compiled));
                return Err(format!("kernel {name}, parameter {param}: {declared} as declared, {compiled} in its PTX"));
            }
        }
        if entry.launch.threads == 0 {
            return Err(format!("kernel {name} has no .maxntid in its PTX"));
        }
        let mut tell = |what| told.remove(&format!("{name}{what}"));
        let shared_bytes = tell("_shared_bytes");
        let block = Block {
            rows: tell("_block_rows").unwrap_or(0),
            cols: tell("_block_cols").unwrap_or(0),
            cols_first: tell("_block_cols_first").unwrap_or(0) != 0,
        };
        if entry.uses_dynamic && shared_bytes.is_none() {
            return Err(format!("kernel {name} uses dynamic shared memory; SHARED_BYTES({name}, …) says how much"));
        }
        found.push(Launch { shared_bytes: shared_bytes.unwrap_or(0), block, ..entry.launch });
    }
    match (entries.keys().next(), told.keys().next()) {
        (Some(name), _) => Err(format!("kernel {name} is compiled from a declaration that is not understood")),
        (None, Some(name)) => Err(format!("{name} is of no kernel of this file: SHARED_BYTES and BLOCK name one")),
        (None, None) => Ok(found),
    }
}

/// The entry points by name, and the numbers that macros leave for the host, `<kernel>_shared_bytes`, by name.
#[derive(Debug, Default)]
struct Module {
    entries: BTreeMap<String, Entry>,
    told: BTreeMap<String, u32>,
}

fn parse(text: &str) -> Result<Module, String> {
    let Module { mut entries, mut told } = Module::default();
    let mut dynamic: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((_, rest)) = line.split_once(".entry ") {
            let (name, _) = rest.split_once('(').ok_or_else(|| format!("{line:?} is not understood"))?;
            entries.insert(name.trim().to_owned(), entry(&mut lines, &dynamic)?);
        } else if line.contains(".extern .shared") {
            dynamic.extend(line.split_whitespace().last().map(|word| word.trim_end_matches([';', '[', ']'])));
        } else if let Some(variable) = line.strip_prefix(".visible .global ").or(line.strip_prefix(".global "))
            && let Some(name) =
                variable.split(" = ").next().and_then(|rest| rest.trim_end_matches(';').split(' ').next_back())
            && TOLD.iter().any(|what| name.ends_with(what))
        {
            // A variable that is 0 has no value.
            let value = variable.split_once(" = ").map_or("0", |(_, value)| value.trim_end_matches(';'));
            told.insert(name.to_owned(), value.parse().map_err(|_| format!("{line:?} is not understood"))?);
        }
    }
    Ok(Module { entries, told })
}

/// The entry point whose first line was just read.
fn entry<'a>(lines: &mut impl Iterator<Item = &'a str>, dynamic: &[&str]) -> Result<Entry, String> {
    let mut entry = Entry { launch: Launch { min_blocks: 1, ..Launch::default() }, ..Entry::default() };
    let mut in_body = false;
    for line in lines {
        let words: Vec<&str> = line.split([' ', '\t', ',']).filter(|word| !word.is_empty()).collect();
        let bad = || format!("{line:?} is not understood");
        match words[..] {
            ["}"] => return Ok(entry),
            ["{"] => in_body = true,
            _ if in_body => {
                let mut names = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                entry.uses_dynamic |= names.any(|name| dynamic.contains(&name));
            }
            [".param", ref rest @ ..] => entry.params.push(param(rest).ok_or_else(bad)?),
            [".maxntid", ref sizes @ ..] => {
                let sizes: Result<Vec<u32>, _> = sizes.iter().map(|size| size.parse()).collect();
                entry.launch.threads = sizes.map_err(|_| bad())?.iter().product();
            }
            [".minnctapersm", blocks] => entry.launch.min_blocks = blocks.parse().map_err(|_| bad())?,
            _ => {}
        }
    }
    Err("the PTX ends within a kernel".into())
}

/// `.u64 .ptr .global .align 16 name`, `.u32 name` or `.align 8 .b8 name[16]`.
fn param(words: &[&str]) -> Option<Layout> {
    let (align, words) = match words {
        [".align", align, rest @ ..] => (align.parse().ok(), rest),
        _ => (None, words),
    };
    let bits: usize = words.first()?.trim_start_matches(['.', 'u', 's', 'b', 'f']).parse().ok()?;
    let count = match words.last()?.split_once('[') {
        Some((_, count)) => count.trim_end_matches(']').parse().ok()?,
        None => 1,
    };
    Some(Layout { size: bits / 8 * count, align: align.unwrap_or(bits / 8) })
}
