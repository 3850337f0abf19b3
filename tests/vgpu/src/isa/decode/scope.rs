//! Names: registers, variables and labels of nested scopes.

use std::collections::HashMap;

use crate::isa::reg::Class;

/// A declared register, or a family of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegisterSet {
    pub(super) class: Class,
    /// Slot of the first.
    pub(super) base: u32,
    /// How many.
    pub(super) count: u32,
    /// Elements of a vector register.
    pub(super) lanes: u32,
}

/// What a symbol stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Symbol {
    /// Global or constant memory.
    Global(u64),
    /// Static shared memory, by offset.
    Shared(u32),
    /// Dynamic shared memory.
    DynamicShared(u32),
    /// Local memory of the frame, by offset.
    Local(u32),
    /// Parameters of calls, by offset and bytes.
    Frame(u32, u32),
    /// A parameter of the kernel, by offset.
    Param(u32),
    /// Code.
    Function(u32),
}

/// One pair of braces.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) registers: HashMap<String, RegisterSet>,
    pub(super) families: HashMap<String, RegisterSet>,
    pub(super) symbols: HashMap<String, Symbol>,
    pub(super) labels: HashMap<String, u32>,
    pub(super) tables: HashMap<String, Vec<String>>,
    pub(super) prototypes: HashMap<String, (Vec<u32>, Vec<u32>)>,
}

/// All scopes around a statement, innermost last.
#[derive(Default)]
pub(super) struct Scopes(pub(super) Vec<Scope>);

impl Scopes {
    pub(super) fn inner(&mut self) -> &mut Scope {
        if self.0.is_empty() {
            self.0.push(Scope::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn lookup<T>(&self, f: impl Fn(&Scope) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(f)
    }

    /// The registers of a name: class, first slot, number of vector elements.
    pub(super) fn register(&self, name: &str) -> Option<RegisterSet> {
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        self.lookup(|scope| {
            if let Some(set) = scope.registers.get(name) {
                return Some(*set);
            }
            // `%r12` of `%r<20>`; the family's own name may end in digits (`%r1<3>`).
            (1..=digits).rev().find_map(|n| {
                let (prefix, number) = name.split_at(name.len() - n);
                let set = scope.families.get(prefix)?;
                let number: u32 = number.parse().ok()?;
                let base = set.base + number * set.lanes;
                (number < set.count).then_some(RegisterSet { base, count: 1, ..*set })
            })
        })
    }

    pub(super) fn symbol(&self, name: &str) -> Option<Symbol> {
        self.lookup(|scope| scope.symbols.get(name).copied())
    }

    pub(super) fn label(&self, name: &str) -> Option<u32> {
        self.lookup(|scope| scope.labels.get(name).copied())
    }

    pub(super) fn table(&self, name: &str) -> Option<Vec<String>> {
        self.lookup(|scope| scope.tables.get(name).cloned())
    }

    pub(super) fn prototype(&self, name: &str) -> Option<(Vec<u32>, Vec<u32>)> {
        self.lookup(|scope| scope.prototypes.get(name).cloned())
    }
}
