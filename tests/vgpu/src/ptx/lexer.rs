//! PTX text to tokens.

use super::parser::ParseError;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TokenKind {
    /// A name or opcode, with its dotted parts: `ld.global.u32`, `%tid.x`, `$L1`.
    Word,
    /// `.reg`, `.b32`, `.shared::cta`.
    Directive,
    /// A number, of whatever base.
    Number,
    /// A quoted string, without its quotes.
    Text,
    /// One character.
    Punctuation(u8),
}

/// A token and its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    /// What it is.
    pub(super) kind: TokenKind,
    /// Its text.
    pub(super) text: &'a str,
    /// Its line, from 1.
    pub(super) line: u32,
}

fn starts_name(c: u8) -> bool {
    c.is_ascii_alphabetic() || c == b'_' || c == b'$'
}

fn continues_name(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c == b'$'
}

/// All tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let mut tokens = Vec::with_capacity(text.len() / 5);
    let (mut i, mut line) = (0, 1);
    while i < bytes.len() {
        let c = bytes[i];
        let start = i;
        let first_line = line;
        let kind = match c {
            b'\n' => {
                line += 1;
                i += 1;
                continue;
            }
            // A driver gets the text with its terminating zero, sometimes more than one.
            0 | b' ' | b'\t' | b'\r' | 0x0b | 0x0c => {
                i += 1;
                continue;
            }
            b'/' if at(i + 1) == b'/' => {
                while i < bytes.len() && bytes[i] != b'\n' {
                    i += 1;
                }
                continue;
            }
            b'/' if at(i + 1) == b'*' => {
                i += 2;
                loop {
                    if i >= bytes.len() {
                        return Err(ParseError::new(first_line, "comment without an end"));
                    }
                    if bytes[i] == b'*' && at(i + 1) == b'/' {
                        break;
                    }
                    line += u32::from(bytes[i] == b'\n');
                    i += 1;
                }
                i += 2;
                continue;
            }
            b'"' => {
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    line += u32::from(bytes[i] == b'\n');
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                if i >= bytes.len() {
                    return Err(ParseError::new(first_line, "string without an end"));
                }
                i += 1;
                TokenKind::Text
            }
            b'.' if starts_name(at(i + 1)) => {
                i += 1;
                i = name_end(bytes, i, false);
                TokenKind::Directive
            }
            b'%' if starts_name(at(i + 1)) => {
                i = name_end(bytes, i + 1, true);
                TokenKind::Word
            }
            _ if starts_name(c) => {
                i = name_end(bytes, i, true);
                TokenKind::Word
            }
            _ if c.is_ascii_digit() || (c == b'.' && at(i + 1).is_ascii_digit()) => {
                i = number_end(bytes, i);
                TokenKind::Number
            }
            _ if c.is_ascii() => {
                i += 1;
                TokenKind::Punctuation(c)
            }
            _ => {
                let shown = text.get(i..).and_then(|s| s.chars().next()).unwrap_or('?');
                return Err(ParseError::new(line, format!("unexpected character {shown:?}")));
            }
        };
        let inner = if kind == TokenKind::Text { start + 1..i - 1 } else { start..i };
        let text = text.get(inner).ok_or_else(|| ParseError::new(first_line, "text that is not UTF-8"))?;
        tokens.push(Token { kind, text, line: first_line });
    }
    Ok(tokens)
}

/// The end of the name that starts at `i`; `dots` takes the dotted parts along.
fn name_end(bytes: &[u8], mut i: usize, dots: bool) -> usize {
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    loop {
        while continues_name(at(i)) {
            i += 1;
        }
        if at(i) == b':' && at(i + 1) == b':' && continues_name(at(i + 2)) {
            i += 2;
        } else if dots && at(i) == b'.' && continues_name(at(i + 1)) {
            i += 1;
        } else {
            return i;
        }
    }
}

/// The end of the number that starts at `i`.
fn number_end(bytes: &[u8], mut i: usize) -> usize {
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let prefixed = at(i) == b'0' && matches!(at(i + 1), b'x' | b'X' | b'f' | b'F' | b'd' | b'D');
    if prefixed {
        i += 2;
        while at(i).is_ascii_alphanumeric() {
            i += 1;
        }
        return i;
    }
    while at(i).is_ascii_alphanumeric() || at(i) == b'.' {
        let exponent = matches!(at(i), b'e' | b'E');
        i += 1;
        if exponent && matches!(at(i), b'+' | b'-') && at(i + 1).is_ascii_digit() {
            i += 1;
        }
    }
    i
}
