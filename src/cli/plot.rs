//! `tempest plot`.

use super::place::Place;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use tempest::page::{Figure, Looks, Over, Trained, charts};
use tempest::plot::{self, Scale, Size};
use tempest::report::History;
use tempest::store::{self, Glance, RUNS, RunPaths};
use tempest::{Error, Result};

/// Draw how runs trained, as an SVG: loss and validation over steps or seconds
#[derive(Args, Debug)]
#[command(after_help = super::help::PLOT)]
pub(crate) struct PlotArgs {
    /// Runs: folders, or names in runs/ [default: the newest there]
    runs: Vec<PathBuf>,
    /// The file to write: SVG, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "curves.svg")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
    /// What is drawn, a chart each: loss, validation, lr, grad-norm [default: loss, and validation where there is one]
    #[arg(long, value_name = "FIGURE,…", value_delimiter = ',')]
    show: Option<Vec<Figure>>,
    /// What stands to the right
    #[arg(long, value_enum, default_value = "steps")]
    x: X,
    /// Spread that by its logarithm: what happens early gets as much room as what happens late
    #[arg(long)]
    log_x: bool,
    /// Loss and gradient's norm as means of so many steps each; 1 for every step [default: a hundredth of the run's]
    #[arg(long, value_name = "N")]
    smooth: Option<usize>,
    /// Show the beginning whole, where a loss falls from far above
    #[arg(long)]
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum X {
    /// Steps of training.
    Steps,
    /// Seconds of training.
    Seconds,
}

pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let place = Place::of(&args.out, args.force, &["svg"])?;
    if args.smooth == Some(0) {
        return Err(Error::input("--smooth 0 is the mean of nothing; wanted at least 1, which is every step alone"));
    }
    let looks = Looks {
        over: if args.x == X::Steps { Over::Steps } else { Over::Seconds },
        scale: if args.log_x { Scale::Log } else { Scale::Linear },
        smooth: args.smooth,
        whole: args.whole,
    };
    let runs = trained(&args.runs)?;
    let validated = runs.iter().any(|run| run.history.validations.iter().any(|found| !found.is_empty()));
    let unless_said = if validated { &[Figure::Loss, Figure::Validation][..] } else { &[Figure::Loss] };
    let svg = plot::file(&charts(&runs, args.show.as_deref().unwrap_or(unless_said), &looks)?, Size::FILE);
    place.write("write the curves", "curves", "", svg.as_bytes())
}

/// Runs by their folders or names, and what they measured; the newest where none is named.
fn trained(named: &[PathBuf]) -> Result<Vec<Trained>> {
    let newest = || {
        let newest = store::newest(Path::new(RUNS))?;
        newest.ok_or_else(|| {
            Error::input(format!("{RUNS}: holds no trained run; train one with `tempest train`, or name one"))
        })
    };
    let folders = match named.is_empty() {
        true => vec![newest()?],
        false => named.iter().map(|run| store::named(run)).collect(),
    };
    folders.iter().map(|folder| read(folder)).collect()
}

/// A run, and what it measured.
pub(crate) fn read(folder: &Path) -> Result<Trained> {
    let Glance { config, .. } = Glance::at(folder)?;
    let history = History::read(&RunPaths::of(folder))?;
    Ok(Trained { name: folder.display().to_string(), unit: config.data.vocab.unit(), history })
}
