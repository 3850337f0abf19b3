//! Files, functions and variables; statements are in [`super::statement`].

use super::ast::{File, Function, Initial, StateSpace, Variable};
use super::expression::Constant;
use super::lexer::{Token, TokenKind, tokens};

/// PTX that does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// Function in which it stands.
    pub function: Option<String>,
}

impl ParseError {
    pub(super) fn new(line: u32, message: impl Into<String>) -> ParseError {
        ParseError { line, message: message.into(), function: None }
    }
}

/// A cursor over tokens.
pub(super) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
    function: Option<String>,
}

/// Parses a file.
pub fn parse(text: &str) -> Result<File, ParseError> {
    let mut parser = Parser { tokens: tokens(text)?, position: 0, function: None };
    parser.file().map_err(|mut e| {
        e.function = e.function.or(parser.function);
        e
    })
}

/// What may stand before a declaration.
#[derive(Default)]
struct Linkage {
    external: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.position + ahead).copied()
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, ParseError> {
        let token = self.peek().ok_or_else(|| self.error("unexpected end of the text"))?;
        self.position += 1;
        Ok(token)
    }

    /// The line of the token at the cursor.
    pub(super) fn line(&self) -> u32 {
        self.peek().or(self.tokens.last().copied()).map_or(0, |t| t.line)
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.line(), message)
    }

    pub(super) fn at(&self, c: u8) -> bool {
        self.peek().is_some_and(|t| t.kind == TokenKind::Punctuation(c))
    }

    pub(super) fn at_directive(&self, name: &str) -> bool {
        self.peek().is_some_and(|t| t.kind == TokenKind::Directive && t.text == name)
    }

    pub(super) fn accept(&mut self, c: u8) -> bool {
        let found = self.at(c);
        self.position += usize::from(found);
        found
    }

    pub(super) fn accept_directive(&mut self, name: &str) -> bool {
        let found = self.at_directive(name);
        self.position += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, c: u8) -> Result<(), ParseError> {
        if self.accept(c) {
            return Ok(());
        }
        let found = self.peek().map_or("the end of the text", |t| t.text);
        Err(self.error(format!("expected `{}`, found `{found}`", c as char)))
    }

    pub(super) fn word(&mut self) -> Result<String, ParseError> {
        let token = self.next()?;
        if token.kind != TokenKind::Word {
            let message = format!("expected a name, found `{}`", token.text);
            return Err(ParseError::new(token.line, message));
        }
        Ok(token.text.to_string())
    }

    /// Skips what is left of a line.
    pub(super) fn skip_line(&mut self, line: u32) {
        while self.peek().is_some_and(|t| t.line == line) {
            self.position += 1;
        }
    }

    fn file(&mut self) -> Result<File, ParseError> {
        let mut file = File::default();
        while let Some(token) = self.peek() {
            if self.accept(b';') {
                continue;
            }
            if token.kind != TokenKind::Directive {
                let message = format!("expected a directive, found `{}`", token.text);
                return Err(self.error(message));
            }
            match token.text {
                ".version" => {
                    self.next()?;
                    file.version = version(self.next()?)?;
                    self.skip_line(token.line);
                }
                ".target" => {
                    self.next()?;
                    let name = self.word()?;
                    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
                    file.target = digits.parse().unwrap_or(0);
                    self.skip_line(token.line);
                }
                ".address_size" => {
                    self.next()?;
                    if self.integer()? != 64 {
                        return Err(ParseError::new(token.line, "only .address_size 64 is supported"));
                    }
                }
                ".file" => {
                    self.next()?;
                    let index = self.integer()? as u32;
                    let path = self.next()?.text.to_string();
                    file.sources.push((index, path));
                    self.skip_line(token.line);
                }
                ".section" => self.section()?,
                ".pragma" | ".alias" => self.skip_statement()?,
                ".loc" => self.skip_line(token.line),
                _ => self.declaration(&mut file)?,
            }
        }
        Ok(file)
    }

    /// Debug information: everything up to the brace that closes it.
    pub(super) fn section(&mut self) -> Result<(), ParseError> {
        while !self.at(b'{') {
            self.next()?;
        }
        let mut depth = 0u32;
        loop {
            match self.next()?.kind {
                TokenKind::Punctuation(b'{') => depth += 1,
                TokenKind::Punctuation(b'}') => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn skip_statement(&mut self) -> Result<(), ParseError> {
        while !self.accept(b';') {
            self.next()?;
        }
        Ok(())
    }

    fn declaration(&mut self, file: &mut File) -> Result<(), ParseError> {
        let mut linkage = Linkage::default();
        loop {
            let token = self.peek().ok_or_else(|| self.error("unexpected end of the text"))?;
            match token.text {
                ".extern" => linkage.external = true,
                ".visible" | ".weak" | ".common" => {}
                ".entry" | ".func" => {
                    let function = self.function()?;
                    file.functions.push(function);
                    return Ok(());
                }
                _ => break,
            }
            self.next()?;
        }
        self.variables(linkage.external, &mut file.variables)
    }

    fn function(&mut self) -> Result<Function, ParseError> {
        let kernel = self.next()?.text == ".entry";
        let mut function = Function { kernel, ..Function::default() };
        self.accept_directive(".attribute");
        if self.at(b'(') && !kernel {
            function.returns = self.parameters()?;
        }
        function.line = self.line();
        function.name = self.word()?;
        self.function = Some(function.name.clone());
        if self.at(b'(') {
            function.params = self.parameters()?;
        }
        loop {
            let token = self.next()?;
            match token.text {
                "{" => {
                    function.body = Some(self.block(0)?);
                    break;
                }
                ";" => break,
                ".maxntid" => function.max_block = Some(self.extents()?),
                ".reqntid" => function.required_block = Some(self.extents()?),
                ".reqnctapercluster" => function.cluster = Some(self.extents()?),
                ".maxnreg" => function.max_registers = Some(self.integer()? as u32),
                ".minnctapersm" | ".maxnctapersm" | ".maxclusterrank" => {
                    self.integer()?;
                }
                ".noreturn" | ".explicitcluster" | ".blocksareclusters" => {}
                ".pragma" => self.skip_statement()?,
                ".abi_preserve" | ".abi_preserve_control" => {
                    self.integer()?;
                }
                other => {
                    let message = format!("`{other}` is not supported on a function");
                    return Err(ParseError::new(token.line, message));
                }
            }
        }
        self.function = None;
        Ok(function)
    }

    fn extents(&mut self) -> Result<[u32; 3], ParseError> {
        let mut extents = [1; 3];
        for (i, extent) in extents.iter_mut().enumerate() {
            if i > 0 && !self.accept(b',') {
                break;
            }
            *extent = self.integer()? as u32;
        }
        Ok(extents)
    }

    /// `(.param .b32 a, …)`.
    pub(super) fn parameters(&mut self) -> Result<Vec<Variable>, ParseError> {
        let mut parameters = Vec::new();
        self.expect(b'(')?;
        while !self.accept(b')') {
            if !parameters.is_empty() {
                self.expect(b',')?;
            }
            let space = self.state_space()?;
            parameters.push(self.variable(space, false)?.0);
        }
        Ok(parameters)
    }

    fn state_space(&mut self) -> Result<StateSpace, ParseError> {
        let token = self.next()?;
        let space = token.text.split("::").next().unwrap_or("");
        Ok(match space {
            ".reg" => StateSpace::Reg,
            ".param" => StateSpace::Param,
            ".global" => StateSpace::Global,
            ".const" => StateSpace::Const,
            ".shared" => StateSpace::Shared,
            ".local" => StateSpace::Local,
            _ => {
                let message = format!("`{}` is not supported here", token.text);
                return Err(ParseError::new(token.line, message));
            }
        })
    }

    /// One declaration of memory, with all its names.
    pub(super) fn variables(&mut self, external: bool, into: &mut Vec<Variable>) -> Result<(), ParseError> {
        let space = self.state_space()?;
        let (first, align) = self.variable(space, external)?;
        let (element, element_bytes) = (first.element.clone(), first.element_bytes);
        let lanes = first.lanes;
        into.push(first);
        while self.accept(b',') {
            let mut next = self.declarator(space, external, &element, element_bytes, align)?;
            next.lanes = lanes;
            into.push(next);
        }
        self.expect(b';')
    }

    /// `.align 4 .b8 name[16] = {…}`, the space already read.
    fn variable(&mut self, space: StateSpace, external: bool) -> Result<(Variable, u32), ParseError> {
        let (mut align, mut lanes) = (0, 1);
        let mut element = String::new();
        while let Some(token) = self.peek().filter(|t| t.kind == TokenKind::Directive) {
            self.next()?;
            match token.text {
                ".align" => {
                    align = self.integer()? as u32;
                    if !align.is_power_of_two() || align > 1 << 20 {
                        return Err(ParseError::new(token.line, "alignment is not a power of two"));
                    }
                }
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".v8" => lanes = 8,
                ".ptr" => {
                    // Space and alignment of what the pointer points at: nothing to check here.
                    while let Some(t) = self.peek().filter(|t| t.kind == TokenKind::Directive) {
                        self.next()?;
                        if t.text == ".align" {
                            self.integer()?;
                        }
                    }
                }
                ".attribute" => {
                    self.expect(b'(')?;
                    while !self.accept(b')') {
                        self.next()?;
                    }
                }
                other => element = other[1..].to_string(),
            }
        }
        let Some(bytes) = element_bytes(&element) else {
            return Err(self.error(format!("`.{element}` is not a type")));
        };
        let mut variable = self.declarator(space, external, &element, bytes * lanes, align)?;
        variable.lanes = lanes;
        Ok((variable, align))
    }

    fn declarator(
        &mut self,
        space: StateSpace,
        external: bool,
        element: &str,
        element_bytes: u32,
        align: u32,
    ) -> Result<Variable, ParseError> {
        let line = self.line();
        // Prototypes may leave out the name.
        let name = if self.at(b',') || self.at(b')') { "_".to_string() } else { self.word()? };
        let mut count = 1u64;
        let mut open = false;
        while self.accept(b'[') {
            if self.accept(b']') {
                open = true;
                continue;
            }
            count = count.saturating_mul(self.integer()?);
            self.expect(b']')?;
        }
        let mut initial = Vec::new();
        if self.accept(b'=') {
            self.initial(&mut initial, 0)?;
        }
        if open {
            count = initial.len() as u64 * u64::from(count > 0);
        }
        let align = if align == 0 { element_bytes.next_power_of_two().min(16) } else { align };
        let variable = Variable {
            space,
            name,
            element: element.to_string(),
            element_bytes,
            lanes: 1,
            align,
            count,
            initial,
            external,
            line,
        };
        if variable.bytes() > 1 << 36 {
            return Err(ParseError::new(line, format!("`{}` is too large", variable.name)));
        }
        Ok(variable)
    }

    fn initial(&mut self, into: &mut Vec<Initial>, depth: u32) -> Result<(), ParseError> {
        if depth > 16 {
            return Err(self.error("initialiser nested too deeply"));
        }
        if self.accept(b'{') {
            while !self.accept(b'}') {
                self.initial(into, depth + 1)?;
                if !self.at(b'}') {
                    self.expect(b',')?;
                }
            }
            return Ok(());
        }
        let masked = self.peek().is_some_and(|t| t.kind == TokenKind::Number)
            && self.peek_at(1).is_some_and(|t| t.kind == TokenKind::Punctuation(b'('));
        if masked {
            let mask = match super::expression::number(self.next()?)? {
                Constant::Int(mask) => mask,
                _ => return Err(self.error("mask is not an integer")),
            };
            self.expect(b'(')?;
            let address = self.address(Some(mask))?;
            self.expect(b')')?;
            into.push(address);
        } else if self.at_constant() {
            into.push(match self.constant()? {
                Constant::Int(bits) => Initial::Bits(bits),
                Constant::F32(bits) => Initial::F32(bits),
                Constant::F64(bits) => Initial::F64(bits),
            });
        } else {
            let address = self.address(None)?;
            into.push(address);
        }
        Ok(())
    }

    fn address(&mut self, mask: Option<u64>) -> Result<Initial, ParseError> {
        let mut symbol = self.word()?;
        let generic = symbol == "generic" && self.accept(b'(');
        if generic {
            symbol = self.word()?;
        }
        let mut offset = 0;
        if generic && self.at(b'+') {
            offset = self.integer()? as i64;
        }
        if generic {
            self.expect(b')')?;
        }
        if self.at(b'+') || self.at(b'-') {
            offset += self.integer()? as i64;
        }
        Ok(Initial::Address { symbol, offset, generic, mask })
    }
}

fn version(token: Token<'_>) -> Result<(u32, u32), ParseError> {
    let mut parts = token.text.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(ParseError::new(token.line, format!("`{}` is not a version", token.text))),
    }
}

/// Bytes of a fundamental type.
fn element_bytes(name: &str) -> Option<u32> {
    Some(match name {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" | "f32x2" => 8,
        "b128" => 16,
        "pred" => 1,
        _ => return None,
    })
}
