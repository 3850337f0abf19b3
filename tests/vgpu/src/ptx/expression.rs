//! Numbers and constant expressions.

use super::lexer::{Token, TokenKind};
use super::parser::{ParseError, Parser};

/// A constant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Constant {
    /// An integer in two's complement.
    Int(u64),
    /// `0f…`.
    F32(u32),
    /// `0d…` or a decimal.
    F64(u64),
}

/// The value of a number token.
pub(super) fn number(token: Token<'_>) -> Result<Constant, ParseError> {
    let text = token.text;
    let bad = || ParseError::new(token.line, format!("`{text}` is not a number"));
    let lower = text.to_ascii_lowercase();
    let hex = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| bad());
    if let Some(digits) = lower.strip_prefix("0f").filter(|d| d.len() == 8) {
        return Ok(Constant::F32(hex(digits)? as u32));
    }
    if let Some(digits) = lower.strip_prefix("0d").filter(|d| d.len() == 16) {
        return Ok(Constant::F64(hex(digits)?));
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    if let Some(digits) = digits.strip_prefix("0x") {
        return Ok(Constant::Int(hex(digits)?));
    }
    if let Some(digits) = digits.strip_prefix("0b") {
        return u64::from_str_radix(digits, 2).map(Constant::Int).map_err(|_| bad());
    }
    if digits.contains('.') || digits.contains('e') {
        return digits.parse::<f64>().map(|x| Constant::F64(x.to_bits())).map_err(|_| bad());
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return u64::from_str_radix(digits, 8).map(Constant::Int).map_err(|_| bad());
    }
    digits.parse().map(Constant::Int).map_err(|_| bad())
}

/// Binding strength of a binary operator at the cursor, and its text.
fn operator(parser: &Parser<'_>) -> Option<(u32, &'static str)> {
    let here = parser.peek()?;
    let TokenKind::Punctuation(c) = here.kind else { return None };
    let next = parser.peek_at(1).map(|t| t.kind);
    let double = next == Some(TokenKind::Punctuation(c));
    Some(match c {
        b'*' => (10, "*"),
        b'/' => (10, "/"),
        b'%' => (10, "%"),
        b'+' => (9, "+"),
        b'-' => (9, "-"),
        b'<' if double => (8, "<<"),
        b'>' if double => (8, ">>"),
        b'&' if !double => (5, "&"),
        b'^' => (4, "^"),
        b'|' if !double => (3, "|"),
        _ => return None,
    })
}

impl Parser<'_> {
    /// Whether a constant expression starts here.
    pub(super) fn at_constant(&self) -> bool {
        self.peek().is_some_and(|t| {
            t.kind == TokenKind::Number
                || matches!(t.kind, TokenKind::Punctuation(b'-' | b'+' | b'~' | b'('))
                || t.text == "WARP_SZ"
        })
    }

    /// A constant expression; floats take no operators but a sign.
    pub(super) fn constant(&mut self) -> Result<Constant, ParseError> {
        self.binary(0, 0)
    }

    /// A constant expression of integers.
    pub(super) fn integer(&mut self) -> Result<u64, ParseError> {
        match self.constant()? {
            Constant::Int(value) => Ok(value),
            _ => Err(self.error("expected an integer")),
        }
    }

    fn binary(&mut self, floor: u32, depth: u32) -> Result<Constant, ParseError> {
        let mut left = self.unary(depth)?;
        while let Constant::Int(a) = left {
            let Some((strength, op)) = operator(self).filter(|(s, _)| *s > floor) else { break };
            for _ in 0..op.len() {
                self.next()?;
            }
            let Constant::Int(b) = self.binary(strength, depth + 1)? else {
                return Err(self.error("operator on a float"));
            };
            let signed = a as i64;
            left = Constant::Int(match op {
                "*" => a.wrapping_mul(b),
                "/" if b == 0 => return Err(self.error("division by zero")),
                "%" if b == 0 => return Err(self.error("division by zero")),
                "/" => signed.wrapping_div(b as i64) as u64,
                "%" => signed.wrapping_rem(b as i64) as u64,
                "+" => a.wrapping_add(b),
                "-" => a.wrapping_sub(b),
                "<<" => a.checked_shl(b.min(64) as u32).unwrap_or(0),
                ">>" => a.checked_shr(b.min(64) as u32).unwrap_or(0),
                "&" => a & b,
                "^" => a ^ b,
                _ => a | b,
            });
        }
        Ok(left)
    }

    fn unary(&mut self, depth: u32) -> Result<Constant, ParseError> {
        if depth > 64 {
            return Err(self.error("expression nested too deeply"));
        }
        let token = self.next()?;
        match token.kind {
            TokenKind::Number => number(token),
            TokenKind::Word if token.text == "WARP_SZ" => Ok(Constant::Int(32)),
            TokenKind::Punctuation(b'+') => self.unary(depth + 1),
            TokenKind::Punctuation(b'-') => Ok(match self.unary(depth + 1)? {
                Constant::Int(x) => Constant::Int(x.wrapping_neg()),
                Constant::F32(x) => Constant::F32(x ^ 1 << 31),
                Constant::F64(x) => Constant::F64(x ^ 1 << 63),
            }),
            TokenKind::Punctuation(b'~') => match self.unary(depth + 1)? {
                Constant::Int(x) => Ok(Constant::Int(!x)),
                _ => Err(self.error("~ of a float")),
            },
            TokenKind::Punctuation(b'(') => {
                let cast = matches!(self.peek(), Some(t) if t.kind == TokenKind::Directive);
                if cast {
                    // (.s64) and (.u64) change nothing that two's complement shows here.
                    self.next()?;
                    self.expect(b')')?;
                    return self.unary(depth + 1);
                }
                let inner = self.binary(0, depth + 1)?;
                self.expect(b')')?;
                Ok(inner)
            }
            _ => Err(ParseError::new(token.line, format!("expected a number, found `{}`", token.text))),
        }
    }
}
