//! Writes the curves of healthy runs that `tempest train` holds a run's loss against, data/healthy.json, from finished runs:
//!
//! ```sh
//! for seed in 1 2 3; do tempest train --preset nano --seed $seed --out target/healthy/nano-$seed; done
//! cargo run --release --example healthy -- target/healthy/*
//! ```
//!
//! Runs of one preset on one text become one curve, whatever their seeds; curves of other presets and texts stay.

use clap::ValueEnum;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempest::config::{Preset, RunConfig};
use tempest::data::{Corpus, Reading, Selection};
use tempest::files::atomic::{self, Existing};
use tempest::files::metrics::Metrics;
use tempest::report::health::{Curve, Curves, TextFacts};
use tempest::store::RunPaths;
use tempest::{Error, Result, terminal};

fn main() -> ExitCode {
    let folders: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match write(&folders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(format!("healthy: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs of one preset on one text.
struct Group {
    preset: Preset,
    config: RunConfig,
    /// The losses of each run and their steps.
    runs: Vec<Vec<(u64, f64)>>,
}

fn write(folders: &[PathBuf]) -> Result<()> {
    if folders.is_empty() {
        return Err(Error::input("no runs; give the folders of finished runs of presets"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/healthy.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read the curves", &path))?;
    let mut curves = Curves::parse(&text)?;
    for group in groups(folders)?.values() {
        let data = &group.config.data;
        let reading = Reading { unknown: data.unknown, newlines: data.newlines };
        let facts = TextFacts::of(&Corpus::open(Selection::of(data, Path::new("")), data.vocab, reading)?);
        if facts.sha256 != data.sha256 {
            return Err(Error::input(format!("{}: the text has changed since the run; restore it", data.source)));
        }
        curves.put(Curve::of_runs(&group.preset.to_string(), &group.config, facts, &group.runs)?);
    }
    atomic::write_text(&path, "write the curves", Existing::Replace, &curves.to_json())
}

/// The runs in these folders, by preset and text.
fn groups(folders: &[PathBuf]) -> Result<BTreeMap<(String, String), Group>> {
    let mut groups = BTreeMap::new();
    for folder in folders {
        let paths = RunPaths::of(folder);
        let text =
            std::fs::read_to_string(paths.config()).map_err(Error::io("read the configuration", paths.config()))?;
        let config = RunConfig::from_toml(&text)?;
        let preset = preset(&config).ok_or_else(|| {
            Error::input(format!("{}: is a run of no preset as it is; give others", folder.display()))
        })?;
        let key = (preset.to_string(), config.data.sha256.clone());
        let group = groups.entry(key).or_insert_with(|| Group { preset, config, runs: Vec::new() });
        group.runs.push(Metrics::losses(&paths.metrics()));
    }
    Ok(groups)
}

/// The preset whose model and way of training a run has.
fn preset(config: &RunConfig) -> Option<Preset> {
    Preset::value_variants().iter().copied().find(|preset| {
        let training = preset.training();
        preset.model(config.model.vocab_size) == config.model
            && training.objective == config.objective
            && training.optimizer == config.optimizer
            && (training.batch, training.steps) == (config.train.batch * config.train.accumulate, config.train.steps)
    })
}
