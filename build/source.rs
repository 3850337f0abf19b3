//! Reads what the kernel files declare: kernels with their parameters, the structs that they take, compiler flags, and what
//! is marked `HOST`: constants and codes that the launcher needs too.
//!
//! The reader knows declarations only, in the one form that the kernels are written in, and refuses every other. It
//! needs no CUDA compiler, so that the typed launch functions exist in every build.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The type of a parameter, a member or of what a pointer points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    U8,
    U16,
    U32,
    U64,
    F32,
    /// `float2`.
    F32x2,
    /// `store_t`, f16 or bf16.
    Store,
    Struct(String),
    Pointer {
        to: Box<Type>,
        writable: bool,
    },
    Array {
        of: Box<Type>,
        length: usize,
    },
}

/// A parameter of a kernel or a member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

/// A `__global__` function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) params: Vec<Field>,
}

/// A struct that kernels take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Struct {
    pub(crate) file: String,
    pub(crate) members: Vec<Field>,
}

/// Codes that kernels take as numbers: `HOST enum class Noise : u32 { Timesteps, Continuous };`, or with numbers that both
/// sides have: `{ Crop = 2, Level = 3 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) file: String,
    pub(crate) names: Vec<(String, Option<usize>)>,
}

/// `HOST constexpr u32 QUEUE = 8;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Constant {
    pub(crate) file: String,
    pub(crate) value: usize,
}

/// One generation of cards, with what only it has: `90a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// As the compiler takes it behind `sm_` and `compute_`.
    pub(crate) name: String,
    /// Compute capability.
    pub(crate) sm: u32,
}

/// A `.cu` file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path in `kernels/`: `mma/linear.cu`.
    pub(crate) name: String,
    /// Of its `// nvcc: --fmad=false` line.
    pub(crate) flags: Vec<String>,
    /// Of its `// target: 90a` line, the only cards that it is compiled for; none for every card.
    pub(crate) target: Option<Target>,
    pub(crate) kernels: Vec<Kernel>,
}

impl File {
    /// What its images are called: `mma_linear`.
    pub(crate) fn stem(&self) -> String {
        self.name.trim_end_matches(".cu").replace('/', "_")
    }
}

/// All of `kernels/`.
#[derive(Debug)]
pub(crate) struct Sources {
    /// By name.
    pub(crate) files: Vec<File>,
    /// Those that a kernel takes, in whatever way, and those that these consist of.
    pub(crate) structs: BTreeMap<String, Struct>,
    /// What is marked `HOST`.
    pub(crate) constants: BTreeMap<String, Constant>,
    pub(crate) codes: BTreeMap<String, Codes>,
}

/// Bytes of a type on the device and their alignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: usize,
    pub(crate) align: usize,
}

impl Sources {
    /// Reads all of them from `(name, text)` of every `.cu` and `.cuh`.
    pub(crate) fn parse(texts: &[(String, String)]) -> Result<Sources, String> {
        let mut scans: Vec<Scan> = texts.iter().map(|(name, text)| Scan::new(name, text)).collect();
        scans.sort_by(|a, b| a.name.cmp(b.name));
        let mut sources =
            Sources { files: Vec::new(), structs: BTreeMap::new(), constants: BTreeMap::new(), codes: BTreeMap::new() };
        for scan in &scans {
            sources.add_host(scan)?;
        }
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for scan in &scans {
            let kernels = scan.kernels()?;
            if scan.name.ends_with(".cuh") {
                if let Some(kernel) = kernels.first() {
                    return Err(scan.error(kernel.line, "a kernel in a header; kernels stand in .cu files"));
                }
                continue;
            }
            for kernel in &kernels {
                if let Some(other) = seen.insert(kernel.name.clone(), scan.name.to_owned()) {
                    let twice = format!("kernel {} is declared twice, also in kernels/{other}", kernel.name);
                    return Err(scan.error(kernel.line, &twice));
                }
                for param in &kernel.params {
                    let place = || format!("kernel {}, parameter {}", kernel.name, param.name);
                    sources
                        .add_structs(&scans, scan, &param.ty)
                        .map_err(|e| scan.error(kernel.line, &format!("{}: {e}", place())))?;
                }
            }
            let (flags, target) = (scan.flags()?, scan.target()?);
            sources.files.push(File { name: scan.name.to_owned(), flags, target, kernels });
        }
        Ok(sources)
    }

    /// Takes in what a file marks `HOST`.
    fn add_host(&mut self, scan: &Scan) -> Result<(), String> {
        const FORM: &str = "HOST marks `constexpr u32 NAME = 3;` and `enum class Name : u32 { First, Second };` alone";
        for at in (0..scan.tokens.len()).filter(|&i| scan.is_word(i, "HOST")) {
            let wrong = |why: &str| scan.error(scan.tokens[at].0, why);
            let name = scan.word(at + 3).ok_or_else(|| wrong(FORM))?.to_owned();
            let file = scan.name.to_owned();
            let known = if scan.is_word(at + 1, "constexpr") {
                let value = scan.constant(&name).ok_or_else(|| wrong(FORM))?;
                self.constants.insert(name.clone(), Constant { file, value }).is_some()
            } else {
                let names = scan.codes(at + 1).ok_or_else(|| wrong(FORM))?;
                self.codes.insert(name.clone(), Codes { file, names }).is_some()
            };
            if known {
                return Err(wrong(&format!("{name} is marked HOST twice")));
            }
        }
        Ok(())
    }

    /// Finds the structs that a type consists of: in its own file, then in the headers.
    fn add_structs(&mut self, scans: &[Scan], from: &Scan, ty: &Type) -> Result<(), String> {
        let name = match ty {
            Type::Pointer { to: ty, .. } | Type::Array { of: ty, .. } => return self.add_structs(scans, from, ty),
            Type::Struct(name) if self.codes.contains_key(name) => return Ok(()),
            Type::Struct(name) => name,
            _ => return Ok(()),
        };
        let headers = scans.iter().filter(|scan| scan.name.ends_with(".cuh"));
        let found = [from].into_iter().chain(headers).find_map(|scan| Some((scan, scan.structure(name, scans)?)));
        let Some((scan, members)) = found else { return Err(format!("type {name} is unknown here")) };
        let members = members.map_err(|e| format!("struct {name} of kernels/{}: {e}", scan.name))?;
        let new = Struct { file: scan.name.to_owned(), members };
        if let Some(old) = self.structs.get(name) {
            let clash = format!("struct {name} is another one in kernels/{} and kernels/{}", old.file, new.file);
            return if *old == new { Ok(()) } else { Err(clash) };
        }
        for member in &new.members {
            self.add_structs(scans, scan, &member.ty).map_err(|e| format!("member {}: {e}", member.name))?;
        }
        self.check_padding(name, &new)?;
        self.structs.insert(name.clone(), new);
        Ok(())
    }

    /// Rust and CUDA lay out a struct alike; between its members there are no gaps, so that every byte has a name or is at
    /// the end.
    fn check_padding(&self, name: &str, new: &Struct) -> Result<(), String> {
        let mut offset = 0;
        for member in &new.members {
            let layout = self.layout(&member.ty);
            if offset % layout.align != 0 {
                return Err(format!("struct {name} has a gap before {}; order its members by size", member.name));
            }
            offset += layout.size;
        }
        if offset == 0 { Err(format!("struct {name} is empty")) } else { Ok(()) }
    }

    /// Size and alignment of a type of these sources.
    pub(crate) fn layout(&self, ty: &Type) -> Layout {
        let same = |size| Layout { size, align: size };
        match ty {
            Type::U8 => same(1),
            Type::U16 | Type::Store => same(2),
            Type::U32 | Type::F32 => same(4),
            Type::U64 | Type::Pointer { .. } | Type::F32x2 => same(8),
            Type::Array { of, length } => {
                let of = self.layout(of);
                Layout { size: of.size * length, align: of.align }
            }
            Type::Struct(name) if self.codes.contains_key(name) => same(4),
            Type::Struct(name) => {
                let members = self.structs[name].members.iter().map(|member| self.layout(&member.ty));
                let Layout { size, align } = members.fold(Layout { size: 0, align: 1 }, |all, member| Layout {
                    size: all.size + member.size,
                    align: all.align.max(member.align),
                });
                Layout { size: size.next_multiple_of(align), align }
            }
        }
    }
}

/// Of these cards those that a file of this target is compiled for.
pub(crate) fn archs(target: Option<&Target>, archs: &[u32]) -> impl Iterator<Item = u32> {
    archs.iter().copied().filter(move |&arch| target.is_none_or(|target| target.sm == arch))
}

/// `(path, text)` of every `.cu` and `.cuh` below a folder, by path from there.
pub(crate) fn read(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let wrong = |path: &Path| format!("{}: ", path.display());
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).map_err(|e| wrong(&inner) + &e.to_string())? {
            let path = entry.map_err(|e| wrong(&inner) + &e.to_string())?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "cu" || ending == "cuh") {
                let parts = path.strip_prefix(folder).unwrap_or(&path).iter().map(|part| part.to_string_lossy());
                let name = parts.collect::<Vec<_>>().join("/");
                texts.push((name, fs::read_to_string(&path).map_err(|e| wrong(&path) + &e.to_string())?));
            }
        }
    }
    texts.sort();
    Ok(texts)
}

/// The files that `name` includes, itself first: what its compilation depends on.
pub(crate) fn closure<'a>(texts: &'a [(String, String)], name: &str) -> Vec<&'a (String, String)> {
    let mut found: Vec<&(String, String)> = texts.iter().filter(|(n, _)| n == name).collect();
    let mut at = 0;
    while let Some((_, text)) = found.get(at) {
        for line in text.lines() {
            let Some(rest) = line.trim_start().strip_prefix('#').map(str::trim_start) else { continue };
            let Some(rest) = rest.strip_prefix("include") else { continue };
            let included = rest.trim().trim_matches('"');
            let new = texts.iter().filter(|(n, _)| n == included && !found.iter().any(|(f, _)| f == n));
            found.extend(new.collect::<Vec<_>>());
        }
        at += 1;
    }
    found
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

/// The tokens of a file, without comments and preprocessor lines.
struct Scan<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<(usize, Token)>,
}

impl<'a> Scan<'a> {
    fn new(name: &'a str, text: &'a str) -> Scan<'a> {
        Scan { name, text, tokens: tokens(text) }
    }

    fn error(&self, line: usize, what: &str) -> String {
        format!("kernels/{}:{line}: {what}", self.name)
    }

    /// `(line, text)` behind `// nvcc:` and its like, which stand in the comment that the file begins with.
    fn header(&self, key: &str) -> Result<Vec<(usize, &'a str)>, String> {
        let mut found = Vec::new();
        let mut header = true;
        for (i, line) in self.text.lines().enumerate() {
            header &= line.is_empty() || line.starts_with("//");
            if let Some(rest) = line.trim_start().strip_prefix("// ").and_then(|line| line.strip_prefix(key)) {
                if !header {
                    return Err(
                        self.error(i + 1, &format!("`// {key}` stands in the comment that the file begins with"))
                    );
                }
                found.push((i + 1, rest.trim()));
            }
        }
        Ok(found)
    }

    fn flags(&self) -> Result<Vec<String>, String> {
        let lines = self.header("nvcc:")?;
        Ok(lines.iter().flat_map(|(_, text)| text.split_whitespace().map(str::to_owned)).collect())
    }

    fn target(&self) -> Result<Option<Target>, String> {
        let (line, name) = match self.header("target:")?[..] {
            [] => return Ok(None),
            [one] => one,
            [_, (line, _), ..] => return Err(self.error(line, "a file has one target")),
        };
        match name.trim_end_matches('a').parse() {
            Ok(sm @ 80..) if name.is_ascii() => Ok(Some(Target { name: name.to_owned(), sm })),
            _ => Err(self.error(line, &format!("target {name:?} is no compute capability from 80, as 90a"))),
        }
    }

    fn kernels(&self) -> Result<Vec<Kernel>, String> {
        let starts = (0..self.tokens.len()).filter(|&i| self.is_word(i, "__global__"));
        starts.map(|at| self.kernel(at).map_err(|e| self.error(self.tokens[at].0, &e))).collect()
    }

    /// The kernel whose `__global__` stands at a token.
    fn kernel(&self, at: usize) -> Result<Kernel, String> {
        const FORM: &str = "a kernel is declared as: extern \"C\" __global__ void __launch_bounds__(…) name(…) {";
        let c = at >= 2 && self.is_word(at - 2, "extern") && self.tokens[at - 1].1 == Token::Text("C".into());
        if !c || !self.is_word(at + 1, "void") {
            return Err(FORM.into());
        }
        if !self.is_word(at + 2, "__launch_bounds__") || !self.is_mark(at + 3, '(') {
            return Err(format!("the kernel has no launch bounds; {FORM}"));
        }
        let name_at = self.closing(at + 3).ok_or(FORM)? + 1;
        let name = self.word(name_at).ok_or(FORM)?.to_owned();
        if !self.is_mark(name_at + 1, '(') {
            return Err(FORM.into());
        }
        let end = self.closing(name_at + 1).ok_or(FORM)?;
        if !self.is_mark(end + 1, '{') {
            return Err(format!("kernel {name} is declared without its body"));
        }
        let mut params = Vec::new();
        let range = name_at + 2..end;
        for part in self.tokens[range].split(|(_, token)| *token == Token::Mark(',')).filter(|part| !part.is_empty()) {
            let param = field(part, &|_| None).map_err(|e| format!("kernel {name}: {e}"))?;
            if let Type::Array { .. } | Type::Store | Type::F32x2 | Type::U8 | Type::U16 = param.ty {
                return Err(format!("kernel {name}: {} cannot be passed by value", param.name));
            }
            params.push(param);
        }
        Ok(Kernel { name, line: self.tokens[at].0, params })
    }

    /// The members of a struct that is defined here.
    fn structure(&self, name: &str, scans: &[Scan]) -> Option<Result<Vec<Field>, String>> {
        let at = (0..self.tokens.len())
            .find(|&i| self.is_word(i, "struct") && self.is_word(i + 1, name) && self.is_mark(i + 2, '{'))?;
        let end = self.closing(at + 2)?;
        let mut body = &self.tokens[at + 3..end];
        let constant = |name: &str| self.constant(name).or_else(|| scans.iter().find_map(|scan| scan.constant(name)));
        let mut members = Vec::new();
        while !body.is_empty() {
            let Some(stop) = body.iter().position(|(_, token)| *token == Token::Mark(';')) else {
                return Some(Err("its members are not understood".into()));
            };
            match field(&body[..stop], &constant) {
                Ok(Field { name, ty: Type::Store | Type::F32x2 | Type::U8 | Type::U16 }) => {
                    return Some(Err(format!("member {name} is none of u32, u64, float and pointers")));
                }
                Ok(member) => members.push(member),
                Err(e) => return Some(Err(e)),
            }
            body = &body[stop + 1..];
        }
        Some(Ok(members))
    }

    /// The value of `constexpr u32 NAME = 3;`.
    fn constant(&self, name: &str) -> Option<usize> {
        let at = (0..self.tokens.len())
            .find(|&i| self.is_word(i, "constexpr") && self.is_word(i + 2, name) && self.is_mark(i + 3, '='))?;
        if self.is_mark(at + 5, ';') { number(self.word(at + 4)?) } else { None }
    }

    /// The names in `enum class Name : u32 { First, Second = 7 }` at a token, and their numbers where they stand there.
    fn codes(&self, at: usize) -> Option<Vec<(String, Option<usize>)>> {
        let is_enum = self.is_word(at, "enum") && self.is_word(at + 1, "class") && self.is_mark(at + 3, ':');
        if !is_enum || !self.is_word(at + 4, "u32") || !self.is_mark(at + 5, '{') {
            return None;
        }
        let list = &self.tokens[at + 6..self.closing(at + 5)?];
        let names = list.split(|(_, token)| *token == Token::Mark(',')).filter(|part| !part.is_empty());
        let name = |part: &[(usize, Token)]| match part {
            [(_, Token::Word(name))] => Some((name.clone(), None)),
            [(_, Token::Word(name)), (_, Token::Mark('=')), (_, Token::Word(value))] => {
                Some((name.clone(), Some(number(value)?)))
            }
            _ => None,
        };
        names.map(name).collect()
    }

    /// The bracket that closes the one at a token.
    fn closing(&self, at: usize) -> Option<usize> {
        let mut depth = 0;
        for (i, (_, token)) in self.tokens.iter().enumerate().skip(at) {
            match token {
                Token::Mark('(' | '{' | '[') => depth += 1,
                Token::Mark(')' | '}' | ']') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(i);
            }
        }
        None
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some((_, Token::Word(word))) => Some(word),
            _ => None,
        }
    }

    fn is_word(&self, at: usize, word: &str) -> bool {
        self.word(at) == Some(word)
    }

    fn is_mark(&self, at: usize, mark: char) -> bool {
        self.tokens.get(at).is_some_and(|(_, token)| *token == Token::Mark(mark))
    }
}

/// `const store_t *__restrict__ x`, `u32 rows` or `u32 first[4]`.
fn field(tokens: &[(usize, Token)], constant: &dyn Fn(&str) -> Option<usize>) -> Result<Field, String> {
    let shown = || {
        let words = tokens.iter().map(|(_, token)| match token {
            Token::Word(word) | Token::Text(word) => word.clone(),
            Token::Mark(mark) => mark.to_string(),
        });
        format!("`{}` is not understood", words.collect::<Vec<_>>().join(" "))
    };
    let mut rest: Vec<&Token> = tokens.iter().map(|(_, token)| token).collect();
    let mut lengths = Vec::new();
    while let [.., Token::Mark('['), Token::Word(length), Token::Mark(']')] = rest[..] {
        let length = number(length).or_else(|| constant(length)).filter(|&length| length > 0);
        lengths.push(length.ok_or_else(shown)?);
        rest.truncate(rest.len() - 3);
    }
    let Some(Token::Word(name)) = rest.pop() else { return Err(shown()) };
    let star = rest.iter().position(|&token| *token == Token::Mark('*'));
    let (base, after) = rest.split_at(star.unwrap_or(rest.len()));
    let is = |token: &Token, words: &[&str]| matches!(token, Token::Word(word) if words.contains(&&word[..]));
    let fine = |token: &&Token| is(token, &["__restrict__", "__restrict", "const"]);
    if star.is_some() && !after[1..].iter().all(fine) {
        return Err(shown());
    }
    let qualifiers = ["const", "__grid_constant__"];
    let types: Vec<&&Token> = base.iter().filter(|token| !is(token, &qualifiers)).collect();
    let [Token::Word(word)] = types[..] else { return Err(shown()) };
    let mut ty = match &word[..] {
        "u8" => Type::U8,
        "u16" => Type::U16,
        "u32" => Type::U32,
        "u64" => Type::U64,
        "float" => Type::F32,
        "float2" => Type::F32x2,
        "store_t" => Type::Store,
        "int" | "unsigned" | "char" | "short" | "long" | "size_t" | "bool" | "void" | "double" | "auto" => {
            return Err(format!(
                "{word} {name} is of a type that is not passed: u8, u16, u32, u64, float, float2, store_t, structs"
            ));
        }
        _ => Type::Struct(word.clone()),
    };
    if star.is_some() {
        ty = Type::Pointer { to: Box::new(ty), writable: !base.iter().any(|token| is(token, &["const"])) };
    }
    for length in lengths {
        ty = Type::Array { of: Box::new(ty), length };
    }
    Ok(Field { name: name.clone(), ty })
}

fn number(word: &str) -> Option<usize> {
    word.trim_end_matches(['u', 'U']).parse().ok()
}

/// `(line, token)` of everything but comments and preprocessor lines.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let mut found = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut begins_line = true;
    while let Some(c) = rest.chars().next() {
        // Up to `length`: what is skipped or one token.
        let mut token = None;
        let length = if c == '#' && begins_line {
            let mut end = 0;
            for part in rest.split_inclusive('\n') {
                end += part.len();
                if !part.trim_end().ends_with('\\') {
                    break;
                }
            }
            end
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else if c == '"' {
            let end = quoted(rest);
            token = Some(Token::Text(rest[1..end].trim_end_matches('"').to_owned()));
            end
        } else if c.is_alphanumeric() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            token = Some(Token::Word(rest[..end].to_owned()));
            end
        } else {
            if !c.is_whitespace() {
                token = Some(Token::Mark(c));
            }
            c.len_utf8()
        };
        found.extend(token.map(|token| (line, token)));
        let passed = &rest[..length];
        line += passed.matches('\n').count();
        begins_line = passed.ends_with('\n') || (begins_line && passed.trim().is_empty());
        rest = &rest[length..];
    }
    found
}

/// Bytes of the string literal that a text begins with.
fn quoted(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}
