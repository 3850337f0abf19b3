//! Statements and operands of function bodies.

use super::ast::{Instruction, Operand, Statement};
use super::expression::Constant;
use super::lexer::TokenKind;
use super::parser::{ParseError, Parser};

/// Nested blocks that are still plausible; more is an attack on the stack.
const DEEPEST: u32 = 100;

impl Parser<'_> {
    /// Statements up to the closing brace; the opening one is read.
    pub(super) fn block(&mut self, depth: u32) -> Result<Vec<Statement>, ParseError> {
        if depth > DEEPEST {
            return Err(self.error("blocks nested too deeply"));
        }
        let mut statements = Vec::new();
        while !self.accept(b'}') {
            self.statement(&mut statements, depth)?;
        }
        Ok(statements)
    }

    fn statement(&mut self, into: &mut Vec<Statement>, depth: u32) -> Result<(), ParseError> {
        if self.accept(b';') {
            return Ok(());
        }
        if self.accept(b'{') {
            into.push(Statement::Block(self.block(depth + 1)?));
            return Ok(());
        }
        let Some(token) = self.peek() else {
            return Err(self.error("unexpected end of the text"));
        };
        if token.kind == TokenKind::Directive {
            return self.directive(into);
        }
        let labelled =
            token.kind == TokenKind::Word && self.peek_at(1).is_some_and(|t| t.kind == TokenKind::Punctuation(b':'));
        if !labelled {
            into.push(Statement::Instruction(self.instruction()?));
            return Ok(());
        }
        let name = self.word()?;
        self.expect(b':')?;
        if self.accept_directive(".branchtargets") {
            into.push(Statement::BranchTargets(name, self.names()?));
        } else if self.accept_directive(".calltargets") {
            self.names()?;
        } else if self.accept_directive(".callprototype") {
            let returns = if self.at(b'(') { self.parameters()? } else { Vec::new() };
            if !self.at(b'(') && !self.at(b';') {
                self.word()?;
            }
            let params = if self.at(b'(') { self.parameters()? } else { Vec::new() };
            self.skip_statement()?;
            into.push(Statement::Prototype(name, returns, params));
        } else {
            into.push(Statement::Label(name));
        }
        Ok(())
    }

    fn names(&mut self) -> Result<Vec<String>, ParseError> {
        let mut names = vec![self.word()?];
        while self.accept(b',') {
            names.push(self.word()?);
        }
        self.expect(b';')?;
        Ok(names)
    }

    fn directive(&mut self, into: &mut Vec<Statement>) -> Result<(), ParseError> {
        let Some(token) = self.peek() else { return Ok(()) };
        match token.text {
            ".loc" => {
                self.next()?;
                let (file, line) = (self.integer()? as u32, self.integer()? as u32);
                into.push(Statement::Location(file, line));
                self.skip_line(token.line);
            }
            ".file" => self.skip_line(token.line),
            ".pragma" => self.skip_statement()?,
            ".section" => self.section()?,
            ".reg" => {
                self.next()?;
                self.registers(into)?;
            }
            ".extern" | ".visible" | ".weak" => {
                self.next()?;
                let mut variables = Vec::new();
                self.variables(token.text == ".extern", &mut variables)?;
                into.extend(variables.into_iter().map(Statement::Variable));
            }
            _ => {
                let mut variables = Vec::new();
                self.variables(false, &mut variables)?;
                into.extend(variables.into_iter().map(Statement::Variable));
            }
        }
        Ok(())
    }

    /// `.b32 %r<10>, %x;`
    fn registers(&mut self, into: &mut Vec<Statement>) -> Result<(), ParseError> {
        let (mut lanes, mut element) = (1, String::new());
        while let Some(token) = self.peek().filter(|t| t.kind == TokenKind::Directive) {
            self.next()?;
            match token.text {
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                ".align" => {
                    self.integer()?;
                }
                other => element = other[1..].to_string(),
            }
        }
        let mut names = Vec::new();
        loop {
            let name = self.word()?;
            let mut count = None;
            if self.accept(b'<') {
                count = Some(self.integer()? as u32);
                self.expect(b'>')?;
            }
            names.push((name, count));
            if !self.accept(b',') {
                break;
            }
        }
        self.expect(b';')?;
        into.push(Statement::Registers { element, lanes, names });
        Ok(())
    }

    fn instruction(&mut self) -> Result<Instruction, ParseError> {
        let line = self.line();
        let mut guard = None;
        if self.accept(b'@') {
            let negated = self.accept(b'!');
            guard = Some((self.word()?, negated));
        }
        let mut opcode = self.word()?;
        while let Some(token) = self.peek().filter(|t| t.kind == TokenKind::Directive) {
            self.next()?;
            opcode.push_str(token.text);
        }
        let call = opcode == "call" || opcode.starts_with("call.");
        let mut operands = Vec::new();
        while !self.accept(b';') {
            if !operands.is_empty() {
                self.expect(b',')?;
            }
            operands.push(self.operand(call, 0)?);
        }
        Ok(Instruction { guard, opcode, operands, line })
    }

    fn operand(&mut self, call: bool, depth: u32) -> Result<Operand, ParseError> {
        if depth > 8 {
            return Err(self.error("operand nested too deeply"));
        }
        if self.accept(b'{') {
            return Ok(Operand::Vector(self.sequence(b'}', call, depth)?));
        }
        if call && self.accept(b'(') {
            return Ok(Operand::List(self.sequence(b')', call, depth)?));
        }
        if self.accept(b'[') {
            return self.address_operand(depth);
        }
        if self.accept(b'!') {
            return Ok(Operand::Not(self.word()?));
        }
        if self.at_constant() {
            return Ok(match self.constant()? {
                Constant::Int(value) => Operand::Int(value),
                Constant::F32(bits) => Operand::F32(bits),
                Constant::F64(bits) => Operand::F64(bits),
            });
        }
        let name = self.word()?;
        let plain = if name == "_" { Operand::Sink } else { Operand::Name(name.clone()) };
        if self.accept(b'|') {
            let other = self.operand(call, depth + 1)?;
            return Ok(Operand::Pair(Box::new(plain), Box::new(other)));
        }
        if self.at(b'+') || self.at(b'-') {
            return Ok(Operand::Offset(name, self.integer()? as i64));
        }
        Ok(plain)
    }

    fn sequence(&mut self, end: u8, call: bool, depth: u32) -> Result<Vec<Operand>, ParseError> {
        let mut operands = Vec::new();
        while !self.accept(end) {
            if !operands.is_empty() {
                self.expect(b',')?;
            }
            operands.push(self.operand(call, depth + 1)?);
        }
        Ok(operands)
    }

    /// `base+offset, {…}]`, the opening bracket already read.
    fn address_operand(&mut self, depth: u32) -> Result<Operand, ParseError> {
        let mut base = None;
        let mut offset = 0;
        if self.at_constant() {
            offset = self.integer()? as i64;
        } else {
            base = Some(self.word()?);
            if self.at(b'+') || self.at(b'-') {
                offset = self.integer()? as i64;
            }
        }
        let mut extra = Vec::new();
        while self.accept(b',') {
            extra.push(self.operand(false, depth + 1)?);
        }
        self.expect(b']')?;
        Ok(Operand::Address { base, offset, extra })
    }
}
