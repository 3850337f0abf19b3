//! The `tempest` command.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "they panic where nobody listens: terminal::say")]

mod cli;

use clap::{FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use tempest::train::Outcome;
use tempest::{Error, Result, terminal};

/// Train and sample text-diffusion transformers
#[derive(Parser, Debug)]
#[command(version, about, long_about = None, arg_required_else_help = true)]
struct Tempest {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Train(Box<cli::train::TrainArgs>),
    Sample(cli::sample::SampleArgs),
    Eval(cli::eval::EvalArgs),
    Import(cli::import::ImportArgs),
    Check(cli::check::CheckArgs),
    /// Show what programs can run on, and what would run there
    Devices,
    Profile(cli::profile::ProfileArgs),
}

fn main() -> ExitCode {
    let arguments = cli::numbers::command::<Tempest>().get_matches();
    let tempest = Tempest::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    match run(&tempest.command) {
        Ok(code) => code,
        Err(error) => {
            terminal::rest();
            terminal::say(format!("tempest: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Train(args) => Ok(match cli::train::run(args)? {
            Outcome::Finished => ExitCode::SUCCESS,
            Outcome::Interrupted(signal) => ExitCode::from(Error::Stopped(signal).exit_code()),
        }),
        Command::Sample(args) => cli::sample::run(args).map(|()| ExitCode::SUCCESS),
        Command::Eval(args) => cli::eval::run(args).map(|()| ExitCode::SUCCESS),
        Command::Import(args) => cli::import::run(args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => cli::check::run(args).map(|()| ExitCode::SUCCESS),
        Command::Devices => cli::devices::run().map(|()| ExitCode::SUCCESS),
        Command::Profile(args) => cli::profile::run(args).map(|()| ExitCode::SUCCESS),
    }
}
