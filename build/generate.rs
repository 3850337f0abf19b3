//! Writes the Rust that the crate includes: tables of kernels and images, and a typed function for each launch.

use crate::ptx::{Block, Launch};
use crate::source::{self, Codes, Constant, Field, Kernel, Sources, Struct, Type};
use std::fmt::Write;

/// What the tables hold beside what the sources declare.
pub(crate) struct Facts<'a> {
    /// `nvcc 13.0.88`.
    pub(crate) built_with: Option<&'a str>,
    pub(crate) notes: &'a [String],
    /// Per file and kernel; zeros without a compiler.
    pub(crate) launches: &'a [Vec<Launch>],
    /// What the images were assembled for, as far as their files' targets allow. Images are empty without a compiler.
    pub(crate) archs: &'a [u32],
    /// Suffixes of the dtypes.
    pub(crate) dtypes: &'a [&'a str],
}

/// Rust's reserved words that C++ lets a parameter be called.
const RESERVED: [&str; 24] = [
    "as", "async", "await", "box", "dyn", "final", "fn", "impl", "in", "let", "loop", "macro", "match", "mod", "move",
    "mut", "override", "priv", "pub", "ref", "trait", "type", "use", "where",
];

/// The file of an image as the program carries it.
pub(crate) fn packed(image: &str) -> String {
    format!("{image}.zlib")
}

/// The whole file.
pub(crate) fn rust(sources: &Sources, facts: &Facts) -> String {
    let mut out = String::from("// Written by build.rs from kernels/.\n\n");
    tables(&mut out, sources, facts);
    for (name, Constant { file, value }) in &sources.constants {
        let _ = match own(name) {
            Some(path) => {
                writeln!(out, "const _: () = assert!({path} == {value}, \"kernels/{file}: {name}\");\n")
            }
            None => writeln!(out, "/// `{name}` of kernels/{file}.\npub(crate) const {name}: usize = {value};\n"),
        };
    }
    for (name, of) in &sources.codes {
        codes(&mut out, name, of);
    }
    for (name, of) in &sources.structs {
        if let Some(path) = own(name) {
            let _ = writeln!(out, "use {path};");
        }
        structure(&mut out, sources, name, of);
    }
    out.push_str("/// One function a kernel: its arguments, in order.\n#[allow(clippy::too_many_arguments, clippy::module_inception)]\n");
    out.push_str("pub(crate) mod call {\n    use super::*;\n");
    let kernels = sources.files.iter().flat_map(|file| file.kernels.iter().map(move |kernel| (file, kernel)));
    for (index, (file, kernel)) in kernels.enumerate() {
        call(&mut out, index, &file.name, kernel);
    }
    out.push_str("}\n");
    out
}

fn tables(out: &mut String, sources: &Sources, facts: &Facts) {
    let files = &sources.files;

    let _ = writeln!(out, "/// The compiler that made the images; none without one.");
    let _ = writeln!(out, "pub(crate) const BUILT_WITH: Option<&str> = {:?};\n", facts.built_with);
    let _ = writeln!(out, "/// What the build did otherwise than usual.");
    let _ = writeln!(out, "pub(crate) const BUILD_NOTES: &[&str] = &{:?};\n", facts.notes);

    let _ = writeln!(out, "/// The kernel files, in the order of [`IMAGES`].");
    let _ = writeln!(out, "pub(crate) static FAMILIES: [Family; {}] = [", files.len());
    let mut first = 0;
    for file in files {
        let kernels: Vec<usize> = (first..first + file.kernels.len()).collect();
        first += kernels.len();
        let _ = writeln!(
            out,
            "    Family {{ name: {:?}, kernels: &{kernels:?}, target: {:?} }},",
            file.stem(),
            file.target.as_ref().map(|target| target.sm)
        );
    }
    out.push_str("];\n\n");

    let _ = writeln!(out, "/// Every kernel, family by family.");
    let _ = writeln!(out, "pub(crate) static KERNELS: [Kernel; {first}] = [");
    for (family, file) in files.iter().enumerate() {
        for (at, kernel) in file.kernels.iter().enumerate() {
            let launch = facts.launches.get(family).map(|of| of[at]).unwrap_or_default();
            let Launch { threads, min_blocks, shared_bytes, block: Block { rows, cols, cols_first } } = launch;
            let name = &kernel.name;
            let _ = writeln!(
                out,
                "    Kernel {{ name: {name:?}, family: {family}, threads: {threads}, min_blocks: {min_blocks}, \
                 shared_bytes: {shared_bytes}, block: Block {{ rows: {rows}, cols: {cols}, cols_first: {cols_first} }} }},"
            );
        }
    }
    out.push_str("];\n\n");

    let _ = writeln!(out, "/// Machine code and PTX of every family, per stored dtype: {}.", facts.dtypes.join(", "));
    let _ = writeln!(out, "pub(crate) static IMAGES: [[Image; {}]; {}] = [", files.len(), facts.dtypes.len());
    for dtype in facts.dtypes {
        out.push_str("    [\n");
        for file in files {
            if facts.built_with.is_none() {
                out.push_str("        Image { ptx: Packed(b\"\"), cubins: &[] },\n");
                continue;
            }
            let path = |ending: &str| {
                let file = packed(&format!("/kernels/{}.{dtype}.{ending}", file.stem()));
                format!("Packed(include_bytes!(concat!(env!(\"OUT_DIR\"), {file:?})))")
            };
            let _ = writeln!(out, "        Image {{");
            let ptx = if file.target.is_none() { path("ptx") } else { "Packed(b\"\")".to_owned() };
            let _ = writeln!(out, "            ptx: {ptx},");
            out.push_str("            cubins: &[\n");
            for arch in source::archs(file.target.as_ref(), facts.archs) {
                let _ = writeln!(out, "                ({arch}, {}),", path(&format!("sm{arch}.cubin")));
            }
            out.push_str("            ],\n        },\n");
        }
        out.push_str("    ],\n");
    }
    out.push_str("];\n\n");
}

/// What the program has already is made into the kernels' codes, or has the numbers that stand with them.
fn codes(out: &mut String, name: &str, Codes { file, names }: &Codes) {
    let numbered = names.iter().filter_map(|(choice, number)| Some((choice, (*number)?)));
    if let (Some(path), true) = (own(name), numbered.clone().count() > 0) {
        for (choice, number) in numbered {
            let why = format!("kernels/{file}: {name}::{choice}");
            let _ = writeln!(out, "const _: () = assert!({path}::{choice} as u32 == {number}, {why:?});");
        }
        // As an argument it is that number.
        let _ = writeln!(out, "#[allow(unused_imports)]\nuse {path};\n");
        argument(out, &path);
        return;
    }
    let _ = writeln!(out, "/// `{name}` of kernels/{file}.\n#[derive(Clone, Copy, PartialEq, Eq)]\n#[repr(u32)]");
    let _ = writeln!(out, "pub(crate) enum {name} {{");
    for (choice, number) in names {
        let number = number.map_or(String::new(), |number| format!(" = {number}"));
        let _ = writeln!(out, "    {choice}{number},");
    }
    out.push_str("}\n\n");
    argument(out, name);
    if let Some(path) = own(name) {
        // Exhaustive: a choice that one side lacks does not compile.
        let _ = writeln!(out, "#[allow(clippy::unneeded_struct_pattern)]\nimpl From<{path}> for {name} {{");
        let _ = writeln!(out, "    fn from(choice: {path}) -> Self {{\n        match choice {{");
        for (choice, _) in names {
            let _ = writeln!(out, "            {path}::{choice} {{ .. }} => {name}::{choice},");
        }
        out.push_str("        }\n    }\n}\n\n");
    }
}

/// Makes a type of choices an argument.
fn argument(out: &mut String, path: &str) {
    let _ = writeln!(out, "impl Argument for {path} {{\n    fn append(&self, bytes: &mut Vec<u8>) {{");
    let _ = writeln!(out, "        (*self as u32).append(bytes);\n    }}\n}}\n\nimpl Code for {path} {{}}\n");
}

fn structure(out: &mut String, sources: &Sources, name: &str, of: &Struct) {
    let path = own(name).unwrap_or_else(|| name.to_owned());
    if path == name {
        let _ = writeln!(out, "/// `{name}` of kernels/{}.\n#[derive(Clone, Copy)]\n#[repr(C)]", of.file);
        let _ = writeln!(out, "pub(crate) struct {name} {{");
        for member in &of.members {
            let _ = writeln!(out, "    pub(crate) {}: {},", identifier(&member.name), rust_type(&member.ty));
        }
        out.push_str("}\n\n");
    }
    let _ = writeln!(out, "impl Argument for {path} {{\n    fn append(&self, bytes: &mut Vec<u8>) {{");
    let _ = writeln!(out, "        let end = bytes.len() + size_of::<Self>();");
    for member in &of.members {
        let _ = writeln!(out, "        self.{}.append(bytes);", identifier(&member.name));
    }
    out.push_str("        bytes.resize(end, 0);\n    }\n}\n\n");
    let layout = sources.layout(&Type::Struct(name.to_owned()));
    let _ = writeln!(out, "const _: () = {{");
    let _ = writeln!(
        out,
        "    assert!(size_of::<{path}>() == {} && align_of::<{path}>() == {});",
        layout.size, layout.align
    );
    let mut offset = 0;
    for member in &of.members {
        let _ = writeln!(out, "    assert!(std::mem::offset_of!({path}, {}) == {offset});", identifier(&member.name));
        offset += sources.layout(&member.ty).size;
    }
    out.push_str("};\n\n");
}

fn call(out: &mut String, index: usize, file: &str, kernel: &Kernel) {
    let Kernel { name, params, .. } = kernel;
    let shown = |param: &Field| format!("{}: {}", identifier(&param.name), rust_type(&param.ty));
    let list: Vec<String> = params.iter().map(shown).collect();
    let _ = writeln!(out, "\n    /// `{name}` of kernels/{file}.");
    let _ = writeln!(out, "    pub(crate) fn {name}({}) -> Call {{", list.join(", "));
    let mutable = if params.is_empty() { "" } else { "mut " };
    // No parameter can be called this.
    let _ = writeln!(out, "        let {mutable}call__ = Call::new({index});");
    for param in params {
        let _ = writeln!(out, "        call__.push(&{});", identifier(&param.name));
    }
    out.push_str("        call__\n    }\n");
}

/// What the crate has in Rust already, by module: structs are taken from there, constants are held against it, and codes are
/// made of its choices, or held against them where their numbers stand there.
const OWN: [(&str, &[&str]); 3] = [
    (
        "config",
        &[
            "DENSITY_CELLS",
            "LARGEST_HEAD",
            "LARGEST_VECTOR",
            "NOISE_FEATURES",
            "Relaxation",
            "Schedule",
            "Score",
            "Temperatures",
        ],
    ),
    (
        "program",
        &[
            "Accumulate",
            "BROKEN",
            "ErrorCost",
            "GIVEN",
            "Level",
            "Mixing",
            "Noise",
            "NoisedCost",
            "QuotaKind",
            "SUMSQ_COLS",
            "SamplingParams",
            "StepArgs",
            "StepMetrics",
            "Streams",
            "TimeOrder",
            "VectorCost",
            "VectorLevel",
            "VectorStep",
            "Weighting",
        ],
    ),
    ("rng", &["Stream", "UNIFORM_STEPS"]),
];

/// The path of what the crate has already.
fn own(name: &str) -> Option<String> {
    let (module, _) = OWN.iter().find(|(_, names)| names.contains(&name))?;
    Some(format!("crate::{module}::{name}"))
}

fn identifier(name: &str) -> String {
    if RESERVED.contains(&name) { format!("r#{name}") } else { name.to_owned() }
}

fn rust_type(ty: &Type) -> String {
    match ty {
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::F32 => "f32".into(),
        Type::F32x2 => "[f32; 2]".into(),
        Type::Store => "Store".into(),
        Type::Struct(name) => name.clone(),
        Type::Pointer { to, writable } => format!("{}<{}>", if *writable { "PtrMut" } else { "Ptr" }, rust_type(to)),
        Type::Array { of, length } => format!("[{}; {length}]", rust_type(of)),
    }
}
