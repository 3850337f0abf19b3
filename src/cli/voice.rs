//! How much is said, and in which colours: options of every command.

use clap::{Args, ColorChoice};
use std::ffi::OsString;
use tempest::terminal::{self, Voice};

/// What is said on standard error; results on standard output are the same.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Words")]
pub(crate) struct Words {
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more: every checkpoint, and why a GPU is not used
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Say all in lines: no view of the whole terminal (train, sample --watch), no bar
    #[arg(long, global = true)]
    plain: bool,
    /// Colours: on terminals (where NO_COLOR is not set), always or never
    #[arg(long, value_enum, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: ColorChoice,
}

impl Words {
    /// From now on what is said heeds these.
    pub(crate) fn heed(&self) {
        terminal::set_voice(match (self.quiet, self.verbose) {
            (true, _) => Voice::Quiet,
            (_, true) => Voice::Detailed,
            _ => Voice::Usual,
        });
        if self.plain {
            terminal::set_plain();
        }
        match self.color {
            ColorChoice::Auto => {}
            ColorChoice::Always => terminal::set_colours(true),
            ColorChoice::Never => terminal::set_colours(false),
        }
    }
}

/// What `--color` says of the help and of messages about the arguments, which are written before arguments are known.
pub(crate) fn color(args: impl Iterator<Item = OsString>) -> ColorChoice {
    let words: Vec<String> =
        args.map(|word| word.to_string_lossy().into_owned()).take_while(|word| word != "--").collect();
    let value = words.iter().enumerate().find_map(|(i, word)| match word.strip_prefix("--color")? {
        "" => words.get(i + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    });
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}
