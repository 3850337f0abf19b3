//! PTX text to syntax tree.
//!
//! The parser knows the shape of PTX, not its instructions: an opcode is a dotted word, operands
//! are names, numbers, addresses and vectors. What an instruction means is [`crate::isa`]'s.

mod ast;
mod expression;
mod lexer;
mod parser;
mod statement;

pub use ast::*;
pub use parser::{ParseError, parse};
