//! Numbers and other small values as options: read alike in every command, with a message that says what was wanted.

use clap::builder::ValueParser;
use clap::{Arg, Command, CommandFactory};
use std::any::TypeId;
use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

/// The command line of a program whose options take negative numbers as values (that they may not be is said by what checks
/// them), and say what number was wanted.
pub(crate) fn command<P: CommandFactory>() -> Command {
    P::command().mut_subcommands(|command| command.mut_args(number))
}

fn number(arg: Arg) -> Arg {
    if !arg.get_action().takes_values() {
        return arg;
    }
    let kind = arg.get_value_parser().type_id();
    let arg = arg.allow_negative_numbers(true);
    if kind == TypeId::of::<u32>() {
        arg.value_parser(whole(u32::MAX))
    } else if kind == TypeId::of::<u64>() {
        arg.value_parser(whole(u64::MAX))
    } else if kind == TypeId::of::<usize>() {
        arg.value_parser(whole(usize::MAX))
    } else if kind == TypeId::of::<f32>() {
        arg.value_parser(|text: &str| text.parse::<f32>().map_err(|_| "wanted a number, such as 0.5 or 1e-3"))
    } else if kind == TypeId::of::<char>() {
        arg.value_parser(|text: &str| text.parse::<char>().map_err(|_| "wanted one character"))
    } else if kind == TypeId::of::<SocketAddr>() {
        let wanted = "wanted an address and a port, such as 127.0.0.1:8000";
        arg.value_parser(move |text: &str| text.parse::<SocketAddr>().map_err(|_| wanted))
    } else {
        arg
    }
}

fn whole<T: FromStr + Display + Clone + Send + Sync + 'static>(most: T) -> ValueParser {
    ValueParser::new(move |text: &str| {
        text.parse::<T>().map_err(|_| format!("wanted a whole number from 0 to {most}, in digits alone"))
    })
}
