//! `tempest runs`.

use super::print;
use super::table::table;
use clap::Args;
use indicatif::HumanDuration;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempest::Result;
use tempest::config::DataConfig;
use tempest::store::{self, Glance, RUNS};
use tempest::terminal::{self, printable, thousands};

/// List the runs of a folder, the newest last
#[derive(Args, Debug)]
#[command(after_help = super::help::RUNS)]
pub(crate) struct RunsArgs {
    /// The folder that holds them
    #[arg(default_value = RUNS)]
    folder: PathBuf,
}

pub(crate) fn run(args: &RunsArgs) -> Result<()> {
    let found = store::runs(&args.folder)?;
    if found.is_empty() {
        terminal::say(format!("{}: holds no runs; `tempest train` makes one", args.folder.display()));
        return Ok(());
    }
    let mut rows =
        vec![["run", "text", "steps", "validation", "parameters", "last written"].map(String::from).to_vec()];
    for folder in &found {
        match Glance::at(folder) {
            Ok(glance) => rows.push(row(&glance)),
            Err(e) => terminal::say(format!("note: {e}")),
        }
    }
    print(&table(&rows, 6))
}

fn row(run: &Glance) -> Vec<String> {
    let (config, age) = (&run.config, SystemTime::now().duration_since(run.changed).unwrap_or_default());
    let text = match config.data.source.as_str() {
        DataConfig::EMBEDDED => "Tiny Shakespeare".into(),
        DataConfig::STDIN => "standard input".into(),
        path => Path::new(path).file_name().map_or(path.into(), |name| printable(&name.to_string_lossy())),
    };
    let unit = config.data.vocab.unit();
    vec![
        run.folder.display().to_string(),
        text,
        format!("{} of {}", run.step.unwrap_or(0), config.train.steps),
        run.validation_nats.map_or("-".into(), |nats| format!("{nats:.3} nats/{unit}")),
        thousands(config.model.n_params() as u64),
        format!("{} ago", HumanDuration(age)),
    ]
}
