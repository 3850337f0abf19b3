//! Charts of how runs trained.

use crate::config::Measure;
use crate::error::{Error, Result};
use crate::plot::{Axis, Chart, Line, Point, Scale, Style};
use crate::report::{History, averaged};
use std::str::FromStr;

/// A run that trained.
#[derive(Clone, Debug)]
pub struct Trained {
    /// What people call it.
    pub name: String,
    /// What a token of its text is: `char`.
    pub unit: &'static str,
    /// What it measured.
    pub history: History,
}

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The training loss.
    Loss,
    /// What validation found.
    Validation,
    /// The learning rate.
    Rate,
    /// The gradient's norm.
    Norm,
}

impl Figure {
    /// All of them, by the words that name them.
    pub const ALL: [(&'static str, Figure); 4] =
        [("loss", Figure::Loss), ("validation", Figure::Validation), ("lr", Figure::Rate), ("grad-norm", Figure::Norm)];
}

impl FromStr for Figure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Figure::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, figure)| *figure).ok_or_else(|| {
            let names = Figure::ALL.map(|(name, _)| name).join(", ");
            Error::input(format!("{text}: no figure of a run; wanted some of {names}"))
        })
    }
}

/// What stands to the right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// Steps of training.
    #[default]
    Steps,
    /// Seconds of training.
    Seconds,
}

/// How curves are drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// What stands to the right.
    pub over: Over,
    /// How that is spread.
    pub scale: Scale,
    /// Losses and norms are means of so many steps each; none for a hundredth of the run's.
    pub smooth: Option<usize>,
    /// Whether the beginning, where curves fall from far above, is shown whole.
    pub whole: bool,
}

/// Points that a smooth curve has where it is not said how smooth it is.
const POINTS: usize = 100;

/// The share of a curve whose height may be cut off: in it a loss falls from far above.
const BEGINNING: f64 = 0.05;

/// A chart for each figure, a line for each run in it. Refuses figures that no run has, and seconds where a run has none.
pub fn charts(runs: &[Trained], figures: &[Figure], looks: &Looks) -> Result<Vec<Chart>> {
    if let (Over::Seconds, Some(run)) = (looks.over, runs.iter().find(|run| !run.history.has_clock())) {
        return Err(Error::input(format!(
            "{}: its metrics say nothing of seconds, which are noted at each checkpoint; leave --x seconds out",
            run.name
        )));
    }
    figures.iter().map(|&figure| chart(runs, figure, looks)).collect()
}

fn chart(runs: &[Trained], figure: Figure, looks: &Looks) -> Result<Chart> {
    let lines: Vec<Line> = runs.iter().enumerate().flat_map(|(i, run)| run.lines(i, figure, looks)).collect();
    let named: Vec<&Line> = lines.iter().filter(|line| line.name.is_some()).collect();
    if named.is_empty() {
        let (word, _) = Figure::ALL.iter().find(|(_, of)| *of == figure).expect("every figure has a word");
        return Err(Error::input(format!("{}: has no {word} of any step; leave it out of --show", names(runs))));
    }
    // Until the beginning is over, losses are cut at what they are behind it.
    let late = |line: &&Line| {
        let (first, last) = (line.points.first().map_or(0.0, |p| p.x), line.points.last().map_or(0.0, |p| p.x));
        let behind = first + BEGINNING * (last - first);
        line.points.iter().filter(|point| point.x >= behind).map(|point| point.y).fold(f64::NEG_INFINITY, f64::max)
    };
    let most = named.iter().map(late).fold(f64::NEG_INFINITY, f64::max);
    let cut = !looks.whole && looks.scale == Scale::Linear && figure == Figure::Loss;
    let units = runs.windows(2).all(|pair| pair[0].unit == pair[1].unit);
    let nats = format!("nats/{}", if units { runs.first().map_or("char", |run| run.unit) } else { "token" });
    let (title, label) = match figure {
        Figure::Loss => ("Training loss", nats),
        Figure::Validation => ("Validation", nats),
        Figure::Rate => ("Learning rate", "rate".into()),
        Figure::Norm => ("Norm of the gradient", "norm".into()),
    };
    let over = match looks.over {
        Over::Steps => "steps",
        Over::Seconds => "seconds of training",
    };
    Ok(Chart {
        title: title.into(),
        x: Axis { label: over.into(), scale: looks.scale, ..Axis::default() },
        y: Axis { label, most: (cut && most.is_finite()).then_some(most), ..Axis::default() },
        lines,
    })
}

fn names(runs: &[Trained]) -> String {
    runs.iter().map(|run| &run.name[..]).collect::<Vec<_>>().join(", ")
}

impl Trained {
    /// The lines of one figure; those of one run have its colour, but for the second of two measures.
    fn lines(&self, colour: usize, figure: Figure, looks: &Looks) -> Vec<Line> {
        let history = &self.history;
        match figure {
            Figure::Loss => self.smooth(colour, &history.losses, looks),
            Figure::Norm => self.smooth(colour, &history.norms, looks),
            Figure::Rate => {
                let points: Vec<(f64, f64)> = history.rates.iter().map(|&(step, rate)| (step as f64, rate)).collect();
                vec![self.line(colour, Style::Plain, self.placed(&points, looks), self.name.clone())]
            }
            Figure::Validation => {
                let measured =
                    Measure::ALL.iter().filter(|&&measure| !history.validations[measure as usize].is_empty());
                let line = |&measure: &Measure| {
                    let points = history.validations[measure as usize].iter();
                    let at = |&(step, nats, error): &(u64, f64, Option<f64>)| {
                        Some(Point { x: self.place(step as f64, looks)?, y: nats, error })
                    };
                    let shift = if measure == Measure::Nll { 3 } else { 0 };
                    let name = format!("{}, {}", self.name, measure.name());
                    self.line(colour + shift, Style::Dotted, points.filter_map(at).collect(), name)
                };
                measured.map(line).collect()
            }
        }
        .into_iter()
        .filter(|line| !line.points.is_empty())
        .collect()
    }

    /// A smooth line, and what it is the mean of behind it.
    fn smooth(&self, colour: usize, values: &[(u64, f64)], looks: &Looks) -> Vec<Line> {
        let width = looks.smooth.unwrap_or(values.len() / POINTS).max(1);
        let all: Vec<(f64, f64)> = values.iter().map(|&(step, value)| (step as f64, value)).collect();
        let named = self.line(colour, Style::Plain, self.placed(&averaged(values, width), looks), self.name.clone());
        if width == 1 {
            return vec![named];
        }
        let behind = Line { name: None, style: Style::Faint, points: self.placed(&all, looks), ..named.clone() };
        vec![behind, named]
    }

    fn line(&self, colour: usize, style: Style, points: Vec<Point>, name: String) -> Line {
        Line { name: Some(name), colour, style, points }
    }

    fn placed(&self, points: &[(f64, f64)], looks: &Looks) -> Vec<Point> {
        points.iter().filter_map(|&(step, value)| Some((self.place(step, looks)?, value).into())).collect()
    }

    fn place(&self, step: f64, looks: &Looks) -> Option<f64> {
        match looks.over {
            Over::Steps => Some(step),
            Over::Seconds => self.history.seconds(step.round() as u64),
        }
    }
}
