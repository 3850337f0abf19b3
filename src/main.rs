//! The `tempest` command.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "they panic where nobody listens: terminal::say")]

mod cli;

use clap::{FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use tempest::train::Outcome;
use tempest::{Error, Result, terminal};

/// Train and sample text-diffusion transformers
#[derive(Parser, Debug)]
#[command(version, about, long_about = None, arg_required_else_help = true, after_help = cli::help::TEMPEST)]
struct Tempest {
    #[command(flatten)]
    words: cli::voice::Words,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Train(Box<cli::train::TrainArgs>),
    Sample(Box<cli::sample::SampleArgs>),
    #[cfg(feature = "serve")]
    Serve(cli::serve::ServeArgs),
    Fill(Box<cli::fill::FillArgs>),
    Repair(Box<cli::repair::RepairArgs>),
    Rewrite(Box<cli::rewrite::RewriteArgs>),
    BenchFill(Box<cli::bench_fill::BenchFillArgs>),
    BenchRepair(Box<cli::bench_repair::BenchRepairArgs>),
    Eval(cli::eval::EvalArgs),
    Report(cli::report::ReportArgs),
    Compare(cli::compare::CompareArgs),
    Plot(cli::plot::PlotArgs),
    Replay(Box<cli::replay::ReplayArgs>),
    Judge(cli::judge::JudgeArgs),
    Runs(cli::runs::RunsArgs),
    Import(cli::import::ImportArgs),
    Export(cli::export::ExportArgs),
    Check(cli::check::CheckArgs),
    /// Show what programs can run on, and what would run there
    Devices,
    Profile(cli::profile::ProfileArgs),
    Completions(cli::manual::CompletionsArgs),
    Man(cli::manual::ManArgs),
}

fn main() -> ExitCode {
    let arguments = command().get_matches();
    let tempest = Tempest::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    tempest.words.heed();
    match run(&tempest.command) {
        Ok(code) => code,
        Err(error) => {
            terminal::rest();
            terminal::complain(format!("tempest: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command line.
fn command() -> clap::Command {
    cli::numbers::command::<Tempest>().color(cli::voice::color(std::env::args_os()))
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Train(args) => Ok(match cli::train::run(args)? {
            Outcome::Finished => ExitCode::SUCCESS,
            Outcome::Interrupted(signal) => ExitCode::from(Error::Stopped(signal).exit_code()),
        }),
        Command::Sample(args) => cli::sample::run(args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "serve")]
        Command::Serve(args) => cli::serve::run(args).map(|()| ExitCode::SUCCESS),
        Command::Fill(args) => cli::fill::run(args).map(|()| ExitCode::SUCCESS),
        Command::Repair(args) => cli::repair::run(args),
        Command::Rewrite(args) => cli::rewrite::run(args).map(|()| ExitCode::SUCCESS),
        Command::BenchFill(args) => cli::bench_fill::run(args).map(|()| ExitCode::SUCCESS),
        Command::BenchRepair(args) => cli::bench_repair::run(args).map(|()| ExitCode::SUCCESS),
        Command::Eval(args) => cli::eval::run(args).map(|()| ExitCode::SUCCESS),
        Command::Compare(args) => cli::compare::run(args).map(|()| ExitCode::SUCCESS),
        Command::Report(args) => cli::report::run(args).map(|()| ExitCode::SUCCESS),
        Command::Plot(args) => cli::plot::run(args).map(|()| ExitCode::SUCCESS),
        Command::Replay(args) => cli::replay::run(args).map(|()| ExitCode::SUCCESS),
        Command::Judge(args) => cli::judge::run(args).map(|()| ExitCode::SUCCESS),
        Command::Runs(args) => cli::runs::run(args).map(|()| ExitCode::SUCCESS),
        Command::Import(args) => cli::import::run(args).map(|()| ExitCode::SUCCESS),
        Command::Export(args) => cli::export::run(args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => cli::check::run(args).map(|()| ExitCode::SUCCESS),
        Command::Devices => cli::devices::run().map(|()| ExitCode::SUCCESS),
        Command::Profile(args) => cli::profile::run(args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => cli::manual::completions(self::command(), args).map(|()| ExitCode::SUCCESS),
        Command::Man(args) => cli::manual::man(self::command(), args).map(|()| ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command lines among some examples, as words.
    fn examples(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
        let lines = text.lines().filter(|line| line.starts_with("  tempest "));
        lines.map(|line| {
            // Behind two blanks stands what it is for.
            let line = line.trim_start().split("  ").next().unwrap_or_default();
            let line = line.split(" > ").next().unwrap_or_default();
            // Every other part stands in quotes.
            let parts = line.split('\'').enumerate();
            let words = parts.flat_map(|(i, part)| match i % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            words.map(String::from).collect()
        })
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn every_example_of_the_help_is_a_command_line() {
        let mut root = command();
        root.build();
        let mut texts = vec![root.render_help().to_string()];
        let of_commands = root.get_subcommands_mut().map(|command| command.render_long_help().to_string());
        texts.extend(of_commands);
        let wide =
            texts.iter().flat_map(|text| text.lines()).find(|line| line.starts_with("  tempest ") && line.len() > 80);
        assert_eq!(wide, None, "it does not fit into a terminal");
        let lines: Vec<Vec<String>> = texts.iter().flat_map(|text| examples(text)).collect();
        assert!(lines.len() > 15, "{lines:?}");
        for words in lines {
            let parsed = command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }
}
