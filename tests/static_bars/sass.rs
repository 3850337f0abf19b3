//! Machine code as `cuobjdump` prints it: what of a kernel's cost can be read off without running it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) address: u32,
    /// `LDG.E.128`.
    pub(crate) opcode: String,
    /// Where a branch goes.
    pub(crate) target: Option<u32>,
    /// Cycles that the compiler lets pass before the warp's next one.
    pub(crate) stall: u32,
}

impl Instruction {
    /// `LDG` of `LDG.E.128`.
    pub(crate) fn base(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// Whether one of the modifiers behind the base is this.
    pub(crate) fn has(&self, modifier: &str) -> bool {
        self.opcode.split('.').skip(1).any(|word| word == modifier)
    }

    /// Bytes that a thread moves with it.
    pub(crate) fn bytes(&self) -> u32 {
        match () {
            () if self.has("128") => 16,
            () if self.has("64") => 8,
            () if self.has("U16") || self.has("S16") => 2,
            () if self.has("U8") || self.has("S8") => 1,
            () => 4,
        }
    }
}

/// What one kernel takes of a multiprocessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) registers: u32,
    pub(crate) stack: u32,
    /// Static shared memory, bytes.
    pub(crate) shared: u32,
    pub(crate) local: u32,
}

/// The kernels of `cuobjdump --dump-resource-usage`.
pub(crate) fn resources(text: &str) -> BTreeMap<String, Resources> {
    let mut found = BTreeMap::new();
    let mut kernel = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("Function ") {
            kernel = name.trim_end_matches(':');
        } else if line.starts_with("REG:") {
            let of = |name: &str| {
                let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
                word.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line:?}"))
            };
            let all =
                Resources { registers: of("REG:"), stack: of("STACK:"), shared: of("SHARED:"), local: of("LOCAL:") };
            found.insert(kernel.to_owned(), all);
        }
    }
    found
}

/// The kernels of `cuobjdump --dump-sass`.
pub(crate) fn kernels(text: &str) -> BTreeMap<String, Vec<Instruction>> {
    let mut found = BTreeMap::new();
    let mut lines = text.lines().map(str::trim);
    let mut code: Option<&mut Vec<Instruction>> = None;
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("Function : ") {
            code = Some(found.entry(name.to_owned()).or_default());
        } else if let (Some(code), Some(instruction)) = (&mut code, instruction(line)) {
            // The second half of the encoding, which says how it is scheduled, has its own line.
            let high = lines.next().and_then(hexadecimal).unwrap_or_else(|| panic!("no second half after {line:?}"));
            code.push(Instruction { stall: (high >> 41 & 15) as u32, ..instruction });
        }
    }
    found
}

/// `/*0010*/ @!P0 LDG.E.128 R4, [R2] ; /* 0x… */`, without its stall.
fn instruction(line: &str) -> Option<Instruction> {
    let (address, rest) = line.strip_prefix("/*")?.split_once("*/")?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let (text, _) = rest.split_once(';')?;
    let mut words = text.split_whitespace().filter(|word| !word.starts_with('@'));
    let opcode = words.next()?.to_owned();
    let target = words.next_back().and_then(|word| word.trim_matches(['`', '(', ')']).strip_prefix("0x"));
    let target = target.filter(|_| opcode.starts_with("BRA")).and_then(|word| u32::from_str_radix(word, 16).ok());
    Some(Instruction { address, opcode, target, stall: 0 })
}

/// What matters here of the kernels of a file, in few bytes: to disassemble takes far longer than to read this.
pub(crate) fn compact(kernels: &BTreeMap<String, Vec<Instruction>>) -> String {
    let mut out = String::new();
    for (name, code) in kernels {
        let _ = writeln!(out, "{name}");
        for Instruction { address, opcode, target, stall } in code {
            let _ =
                writeln!(out, " {address} {opcode} {stall} {}", target.map(|to| to.to_string()).unwrap_or_default());
        }
    }
    out
}

/// The kernels that [`compact`] wrote.
pub(crate) fn from_compact(text: &str) -> Option<BTreeMap<String, Vec<Instruction>>> {
    let mut kernels = BTreeMap::new();
    let mut code: Option<&mut Vec<Instruction>> = None;
    for line in text.lines() {
        let Some(line) = line.strip_prefix(' ') else {
            code = Some(kernels.entry(line.to_owned()).or_default());
            continue;
        };
        let mut words = line.split(' ');
        let (address, opcode) = (words.next()?.parse().ok()?, words.next()?.to_owned());
        let (stall, target) = (words.next()?.parse().ok()?, words.next()?.parse().ok());
        code.as_mut()?.push(Instruction { address, opcode, target, stall });
    }
    Some(kernels)
}

fn hexadecimal(line: &str) -> Option<u64> {
    u64::from_str_radix(line.strip_prefix("/* 0x")?.strip_suffix(" */")?, 16).ok()
}

/// The loop that a kernel spends its time in: the shortest with more than half as many HMMA as any has.
pub(crate) fn main_loop(code: &[Instruction]) -> Option<&[Instruction]> {
    let at = |address: u32| code.binary_search_by_key(&address, |instruction| instruction.address).ok();
    let mut loops = Vec::new();
    for (end, instruction) in code.iter().enumerate().filter(|(_, instruction)| instruction.base() == "BRA") {
        let start = instruction.target.and_then(at);
        loops.extend(start.filter(|&start| start < end).map(|start| &code[start..=end]));
    }
    let products = |of: &&[Instruction]| count(of, "HMMA");
    let most = loops.iter().map(products).max().filter(|&most| most > 0)?;
    loops.into_iter().filter(|of| 2 * products(of) > most).min_by_key(|of| of.len())
}

/// How many of these instructions there are, by base.
pub(crate) fn count(code: &[Instruction], base: &str) -> usize {
    code.iter().filter(|instruction| instruction.base() == base).count()
}
