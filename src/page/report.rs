//! The page of `tempest report`: how runs trained, what noise costs them, what their texts are like.

use super::shell::page;
use super::{Figure, Looks, Trained, charts};
use crate::error::Result;
use crate::eval::{ByLevel, Estimate};
use crate::plot::{Axis, Chart, Line, Point, Scale, Style};
use crate::quality::{MEANINGS, NLL, Quality};
use crate::terminal::printable;
use maud::{Markup, html};

/// Everything on the page.
#[derive(Debug)]
pub struct Report {
    /// What was measured on: a line each.
    pub facts: Vec<String>,
    /// How runs trained.
    pub trained: Vec<Trained>,
    /// Runs whose bound was measured.
    pub bounds: Vec<(String, ByLevel)>,
    /// What a token is: `char`.
    pub unit: &'static str,
    /// Texts by where they are from, real ones first.
    pub origins: Vec<Origin>,
}

/// Texts of one origin.
#[derive(Debug)]
pub struct Origin {
    /// The run; none for real text.
    pub run: Option<String>,
    /// Temperature that they were written at.
    pub temperature: f32,
    /// Steps that they were written in, where that was said.
    pub steps: Option<u32>,
    /// Their figures.
    pub quality: Quality,
    /// What a character costs the model that judges, in nats, where one does.
    pub nll: Option<Estimate>,
    /// Some of them.
    pub samples: Vec<String>,
}

impl Origin {
    /// `(what, figure)` of each of its figures.
    pub fn rows(&self) -> Vec<(String, String)> {
        let error = |nll: &Estimate| nll.standard_error.map_or(String::new(), |error| format!(" ± {error:.4}"));
        let nll = self.nll.iter().map(|nll| (NLL.to_owned(), format!("{:.4}{}", nll.nats, error(nll))));
        self.quality.rows().into_iter().chain(nll).collect()
    }

    /// At the head of its column.
    pub fn name(&self) -> String {
        match (&self.run, self.steps) {
            (None, _) => "real text".into(),
            (Some(run), None) => format!("{run} at {}", self.temperature),
            (Some(run), Some(steps)) => {
                format!("{run} at {}, {steps} step{}", self.temperature, if steps == 1 { "" } else { "s" })
            }
        }
    }
}

/// The page, whole.
pub fn report(report: &Report) -> Result<String> {
    let validated = report.trained.iter().any(|run| run.history.validations.iter().any(|found| !found.is_empty()));
    let figures = if validated { &[Figure::Loss, Figure::Validation][..] } else { &[Figure::Loss] };
    let training = match report.trained.is_empty() {
        true => Vec::new(),
        false => charts(&report.trained, figures, &Looks::default())?,
    };
    let runs: Vec<&str> = report.origins.iter().filter_map(|origin| origin.run.as_deref()).collect();
    let title = format!("Report of {}", distinct(&runs).join(", "));
    let body = html! {
        h1 { (title) }
        @for fact in &report.facts { p.soft { (fact) } }
        @if !training.is_empty() {
            h2 { "How they trained" }
            div.grid { @for chart in &training { figure { (chart.on_page()) } } }
            p.soft { "Losses are means over a hundredth of a run's steps, of what stands faint behind them." }
        }
        @if !report.bounds.is_empty() {
            h2 { "What noise costs" }
            div.grid {
                (figure(&levels(report), "The mean of a curve is the bound: what a token costs when all levels of noise come as often. \
                    On the right nearly all is noise, on the left nearly nothing. Bars are a standard error each way."))
                (figure(&step_bounds(report), "At most what a token costs where a text is written in so many steps: what few steps \
                    lose."))
            }
        }
        @let by_steps = series(report, By::Steps);
        @let by_temperature = series(report, By::Temperature);
        @let frontier = frontier(report);
        @if !by_steps.is_empty() || !by_temperature.is_empty() || frontier.is_some() {
            h2 { "What texts are like, by how they are written" }
            div.grid {
                @if let Some(chart) = &frontier {
                    (figure(chart, "Lower texts are more probable, those on the left say less: a text that repeats itself is probable. So \
                        of two lines the one nearer to the lower right is better. Bars are a standard error each way."))
                }
                @for chart in by_steps.iter().chain(&by_temperature) { figure { (chart.on_page()) } }
            }
        }
        h2 { "What texts are like" }
        (table(&report.origins))
        h2 { "Texts" }
        @for origin in &report.origins {
            details open[origin.run.is_some()] {
                summary { (origin.name()) }
                @for text in &origin.samples { pre { (printable(text)) } }
            }
        }
    };
    Ok(page(&title, "", &body, ""))
}

fn distinct<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(name) {
            seen.push(name);
        }
    }
    seen
}

fn figure(chart: &Chart, caption: &str) -> Markup {
    html! { figure { (chart.on_page()) figcaption { (caption) } } }
}

/// The lines of all bounds, each with its run's name and colour.
fn of_bounds(report: &Report, points: impl Fn(&ByLevel) -> Vec<Point>) -> Vec<Line> {
    let line = |(run, bounds): &(String, ByLevel)| Line {
        name: Some(run.clone()),
        colour: report.colour(run),
        style: Style::Dotted,
        points: points(bounds),
    };
    report.bounds.iter().map(line).collect()
}

fn levels(report: &Report) -> Chart {
    let points = |bounds: &ByLevel| {
        let point = |level: &crate::eval::LevelCost| Point {
            x: level.level,
            y: level.cost.nats,
            error: level.cost.standard_error,
        };
        bounds.levels.iter().map(point).collect()
    };
    Chart {
        title: "Bound by level of noise".into(),
        x: Axis { label: "level of noise".into(), ..Axis::default() },
        y: Axis { label: format!("nats/{}", report.unit), ..Axis::default() },
        lines: of_bounds(report, points),
    }
}

fn step_bounds(report: &Report) -> Chart {
    let points = |bounds: &ByLevel| {
        let found = bounds.step_bounds.iter().filter_map(|of| Some((of.steps, of.bound?)));
        found.map(|(steps, bound)| Point { x: steps.into(), y: bound.nats, error: bound.standard_error }).collect()
    };
    let lines = of_bounds(report, points);
    let mut ticks: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(|point| point.x)).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    Chart {
        title: "Bound of few steps".into(),
        x: Axis { label: "steps".into(), scale: Scale::Log, ticks, ..Axis::default() },
        y: Axis { label: format!("nats/{}", report.unit), ..Axis::default() },
        lines,
    }
}

/// What texts were written with several values of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Steps,
    Temperature,
}

/// A figure: its title, its unit, itself.
type Shown = (&'static str, &'static str, fn(&Quality) -> f64);

/// Charts of some figures over what was tried, where more than one value was.
fn series(report: &Report, by: By) -> Vec<Chart> {
    let value = |origin: &Origin| match by {
        By::Steps => origin.steps.map(f64::from),
        By::Temperature => Some(f64::from(origin.temperature)),
    };
    let with = |origin: &Origin| match by {
        By::Steps => format!("{} at {}", origin.run.as_deref().unwrap_or_default(), origin.temperature),
        By::Temperature => match origin.steps {
            Some(steps) => format!("{}, {steps} steps", origin.run.as_deref().unwrap_or_default()),
            None => origin.run.clone().unwrap_or_default(),
        },
    };
    let written: Vec<&Origin> =
        report.origins.iter().filter(|origin| origin.run.is_some() && value(origin).is_some()).collect();
    let names: Vec<String> = written.iter().map(|origin| with(origin)).collect();
    let mut ticks: Vec<f64> = written.iter().filter_map(|origin| value(origin)).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    if ticks.len() < 2 {
        return Vec::new();
    }
    let groups = distinct(&names.iter().map(|name| &name[..]).collect::<Vec<_>>());
    let chart = |&(title, label, of): &Shown| {
        let mut lines: Vec<Line> = groups
            .iter()
            .enumerate()
            .map(|(colour, group)| {
                let here = written.iter().filter(|origin| with(origin) == *group);
                let mut points: Vec<Point> =
                    here.filter_map(|origin| Some((value(origin)?, of(&origin.quality)).into())).collect();
                points.sort_by(|a, b| a.x.total_cmp(&b.x));
                Line { name: Some((*group).into()), colour, style: Style::Dotted, points }
            })
            .collect();
        if let Some(real) = report.origins.iter().find(|origin| origin.run.is_none()) {
            let at = of(&real.quality);
            let points = [ticks[0], ticks[ticks.len() - 1]].map(|x| (x, at).into()).to_vec();
            lines.push(Line { name: Some("real text".into()), colour: 5, style: Style::Plain, points });
        }
        let (label_x, scale) = match by {
            By::Steps => ("steps of a text", Scale::Log),
            By::Temperature => ("temperature", Scale::Linear),
        };
        Chart {
            title: title.into(),
            x: Axis { label: label_x.into(), scale, ticks: ticks.clone(), ..Axis::default() },
            y: Axis { label: label.into(), ..Axis::default() },
            lines,
        }
    };
    let figures: [Shown; 3] = [
        ("Divergence of 3-grams from real text", "nats", |quality| quality.divergence[2]),
        ("Words that the training text has", "share", |quality| quality.known_words.unwrap_or(f64::NAN)),
        ("Entropy of the characters", "nats/char", |quality| quality.entropy),
    ];
    figures.iter().map(chart).collect()
}

/// What texts cost the judge against how much they say, a line for each run from one temperature to the next.
fn frontier(report: &Report) -> Option<Chart> {
    let at = |origin: &Origin| {
        let nll = origin.nll?;
        Some(Point { x: origin.quality.entropy_of_3_grams, y: nll.nats, error: nll.standard_error })
    };
    let name = |origin: &Origin| match (&origin.run, origin.steps) {
        (Some(run), Some(steps)) => format!("{run}, {steps} steps"),
        (Some(run), None) => run.clone(),
        (None, _) => "real text".into(),
    };
    let names: Vec<String> = report.origins.iter().map(name).collect();
    let lines = distinct(&names.iter().map(|name| &name[..]).collect::<Vec<_>>()).into_iter().enumerate();
    let lines = lines.map(|(colour, group)| {
        let mut here: Vec<&Origin> = report.origins.iter().filter(|origin| name(origin) == group).collect();
        here.sort_by(|a, b| a.temperature.total_cmp(&b.temperature));
        Line {
            name: Some(group.into()),
            colour,
            style: Style::Dotted,
            points: here.into_iter().filter_map(at).collect(),
        }
    });
    let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    (!lines.is_empty()).then(|| Chart {
        title: "Likelihood against variety".into(),
        x: Axis { label: "entropy of 3-grams, nats".into(), ..Axis::default() },
        y: Axis { label: NLL.into(), ..Axis::default() },
        lines,
    })
}

impl Report {
    /// A run has one colour in every chart of training and bounds.
    fn colour(&self, run: &str) -> usize {
        let names: Vec<&str> =
            self.trained.iter().map(|run| &run.name[..]).chain(self.bounds.iter().map(|(name, _)| &name[..])).collect();
        distinct(&names).iter().position(|name| *name == run).unwrap_or(0)
    }
}

/// A row for each figure with what it means, a column for each origin.
fn table(origins: &[Origin]) -> Markup {
    let rows: Vec<Vec<(String, String)>> = origins.iter().map(Origin::rows).collect();
    html! {
        div.wide tabindex="0" role="region" aria-label="Figures of texts" {
            table {
                thead { tr {
                    th scope="col" { "figure" }
                    @for origin in origins { th scope="col" { (origin.name()) } }
                } }
                tbody {
                    @for (i, (what, _)) in rows.first().into_iter().flatten().enumerate() {
                        tr {
                            th scope="row" {
                                (what)
                                @if let Some((_, meaning)) = MEANINGS.iter().find(|(of, _)| what == of || what == &format!("{of}, 1-grams")) {
                                    small { (meaning) }
                                }
                            }
                            @for rows in &rows { td { (rows[i].1) } }
                        }
                    }
                }
            }
        }
    }
}
