//! The page of `tempest report`: how runs trained, what noise costs them, what their texts are like.

use super::shell::page;
use super::{Figure, Looks, Trained, charts};
use crate::error::Result;
use crate::eval::{ByLevel, Estimate};
use crate::plot::{Axis, Chart, Line, Point, Scale, Style};
use crate::quality::{MEANINGS, NLL, Quality, SECONDS};
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
    /// The sampler that they were written by, where there are texts by several.
    pub sampler: Option<String>,
    /// Seconds that a text took, where that was measured.
    pub seconds: Option<f64>,
    /// Their figures.
    pub quality: Quality,
    /// What a character costs the model that judges, in nats, where one does.
    pub nll: Option<Estimate>,
    /// Some of them.
    pub samples: Vec<String>,
}

impl Origin {
    /// At the head of its column.
    pub fn name(&self) -> String {
        self.run.as_ref().map_or("real text".into(), |run| format!("{run} at {}{}", self.temperature, self.way()))
    }

    /// How it was written, where that was said.
    fn way(&self) -> String {
        match (self.steps, &self.sampler) {
            (Some(steps), _) => format!(", {steps} step{}", if steps == 1 { "" } else { "s" }),
            (None, Some(sampler)) => format!(", {sampler}"),
            (None, None) => String::new(),
        }
    }

    /// The same without numbers: what it shares with texts of other numbers of steps.
    fn kind(&self) -> String {
        let kind = |sampler: &str| format!(", {}", sampler.split(':').next().unwrap_or(sampler));
        self.sampler.as_deref().map_or(String::new(), kind)
    }

    fn cost(&self) -> Option<String> {
        let error = |nll: &Estimate| nll.standard_error.map_or(String::new(), |error| format!(" ± {error:.4}"));
        self.nll.map(|nll| format!("{:.4}{}", nll.nats, error(&nll)))
    }
}

/// Each figure that any of some texts has, with its value of each of them.
pub fn figures(origins: &[Origin]) -> Vec<(String, Vec<String>)> {
    let of_quality: Vec<Vec<(String, String)>> = origins.iter().map(|origin| origin.quality.rows()).collect();
    let names = of_quality.first().into_iter().flatten().map(|(what, _)| what.clone()).enumerate();
    let mut rows: Vec<(String, Vec<String>)> =
        names.map(|(i, what)| (what, of_quality.iter().map(|rows| rows[i].1.clone()).collect())).collect();
    let mut put = |what: &str, of: &dyn Fn(&Origin) -> Option<String>| {
        let found: Vec<Option<String>> = origins.iter().map(of).collect();
        if found.iter().any(Option::is_some) {
            rows.push((what.into(), found.into_iter().map(|value| value.unwrap_or("n/a".into())).collect()));
        }
    };
    put(NLL, &Origin::cost);
    put(SECONDS, &|origin| origin.seconds.map(|seconds| format!("{seconds:.4}")));
    rows
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
        @let by_seconds = series(report, By::Seconds);
        @let frontier = frontier(report);
        @if [&by_steps, &by_temperature, &by_seconds].iter().any(|charts| !charts.is_empty()) || frontier.is_some() {
            h2 { "What texts are like, by how they are written" }
            div.grid {
                @if let Some(chart) = &frontier {
                    (figure(chart, "Lower texts are more probable, those on the left say less: a text that repeats itself is probable. So \
                        of two lines the one nearer to the lower right is better. Bars are a standard error each way."))
                }
                @for chart in &by_seconds {
                    (figure(chart, "Of two points the one nearer to the lower left is better. Seconds are of this machine, and of texts \
                        written in batches."))
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
    Seconds,
}

/// A figure: its title, its unit, itself and its standard error.
type Shown = (&'static str, &'static str, fn(&Origin) -> Option<(f64, Option<f64>)>);

const DIVERGENCE: Shown =
    ("Divergence of 3-grams from real text", "nats", |origin| Some((origin.quality.divergence[2], None)));

impl By {
    fn value(self, origin: &Origin) -> Option<f64> {
        match self {
            By::Steps => origin.steps.map(f64::from),
            By::Temperature => Some(f64::from(origin.temperature)),
            By::Seconds => origin.seconds,
        }
    }

    /// The line that a run's texts belong to.
    fn line(self, origin: &Origin) -> String {
        let run = origin.run.as_deref().unwrap_or_default();
        match self {
            By::Steps => format!("{run} at {}", origin.temperature),
            By::Temperature => format!("{run}{}", origin.way()),
            By::Seconds => format!("{run} at {}{}", origin.temperature, origin.kind()),
        }
    }

    fn figures(self) -> &'static [Shown] {
        match self {
            By::Steps | By::Temperature => &[
                DIVERGENCE,
                ("Words that the training text has", "share", |origin| Some((origin.quality.known_words?, None))),
                ("Entropy of the characters", "nats/char", |origin| Some((origin.quality.entropy, None))),
            ],
            By::Seconds => &[
                DIVERGENCE,
                ("What texts cost the judge", "nats/char", |origin| {
                    origin.nll.map(|nll| (nll.nats, nll.standard_error))
                }),
            ],
        }
    }

    /// The axis over these values.
    fn axis(self, values: Vec<f64>) -> Axis {
        let (label, scale, ticks) = match self {
            By::Steps => ("steps of a text", Scale::Log, values),
            By::Temperature => ("temperature", Scale::Linear, values),
            By::Seconds => (SECONDS, Scale::Log, Vec::new()),
        };
        Axis { label: label.into(), scale, ticks, ..Axis::default() }
    }
}

/// Charts of some figures over what was tried, where more than one value was.
fn series(report: &Report, by: By) -> Vec<Chart> {
    let written: Vec<&Origin> =
        report.origins.iter().filter(|origin| origin.run.is_some() && by.value(origin).is_some()).collect();
    let names: Vec<String> = written.iter().map(|origin| by.line(origin)).collect();
    let mut values: Vec<f64> = written.iter().filter_map(|origin| by.value(origin)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let (Some(&first), Some(&last)) = (values.first(), values.last().filter(|_| values.len() > 1)) else {
        return Vec::new();
    };
    let groups = distinct(&names.iter().map(|name| &name[..]).collect::<Vec<_>>());
    let chart = |&(title, unit, of): &Shown| {
        let line = |(colour, group): (usize, &&str)| {
            let here = written.iter().zip(&names).filter(|(_, name)| name == group);
            let mut points: Vec<Point> = here
                .filter_map(|(origin, _)| {
                    let (y, error) = of(origin)?;
                    by.value(origin).map(|x| Point { x, y, error })
                })
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            Line { name: Some((*group).into()), colour, style: Style::Dotted, points }
        };
        let mut lines: Vec<Line> = groups.iter().enumerate().map(line).filter(|line| !line.points.is_empty()).collect();
        if lines.is_empty() {
            return None;
        }
        let real = report.origins.iter().find(|origin| origin.run.is_none());
        if let Some((at, _)) = real.and_then(of) {
            let points = [first, last].map(|x| (x, at).into()).to_vec();
            lines.push(Line { name: Some("real text".into()), colour: 5, style: Style::Plain, points });
        }
        let y = Axis { label: unit.into(), ..Axis::default() };
        Some(Chart { title: title.into(), x: by.axis(values.clone()), y, lines })
    };
    by.figures().iter().filter_map(chart).collect()
}

/// What texts cost the judge against how much they say, a line for each run from one temperature to the next.
fn frontier(report: &Report) -> Option<Chart> {
    let at = |origin: &Origin| {
        let nll = origin.nll?;
        Some(Point { x: origin.quality.entropy_of_3_grams, y: nll.nats, error: nll.standard_error })
    };
    let name = |origin: &Origin| match origin.run {
        Some(_) => By::Temperature.line(origin),
        None => "real text".into(),
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
    html! {
        div.wide tabindex="0" role="region" aria-label="Figures of texts" {
            table {
                thead { tr {
                    th scope="col" { "figure" }
                    @for origin in origins { th scope="col" { (origin.name()) } }
                } }
                tbody {
                    @for (what, values) in figures(origins) {
                        tr {
                            th scope="row" {
                                (what)
                                @if let Some((_, meaning)) = MEANINGS.iter().find(|(of, _)| what == *of || what == format!("{of}, 1-grams")) {
                                    small { (meaning) }
                                }
                            }
                            @for value in values { td { (value) } }
                        }
                    }
                }
            }
        }
    }
}
