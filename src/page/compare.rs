//! What `tempest compare` found: models of several processes beside one another, as a table, as charts, as a page.

use super::shell::page;
use crate::eval::Estimate;
use crate::plot::{Axis, Chart, Line, Point, Scale, Style};
use maud::{Markup, html};
use serde::Serialize;

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was measured on, and what differs that should not: a line each.
    pub facts: Vec<String>,
    /// What a token is: `char`.
    pub unit: &'static str,
    /// The models, in the order in which they were named.
    pub models: Vec<Compared>,
    /// What is no model, to read their texts beside.
    pub others: Vec<Other>,
}

/// One model.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Its run.
    pub run: String,
    /// Its process: `masked`.
    pub process: String,
    /// Numbers that it has learned.
    pub parameters: usize,
    /// Steps that it was trained for.
    pub trained_steps: u64,
    /// How long that took; none where its run did not say.
    pub trained_seconds: Option<f64>,
    /// At most what a token costs.
    pub nelbo: Option<Estimate>,
    /// What a token costs exactly, given those before it in its window.
    pub nll: Option<Estimate>,
    /// What a token costs exactly where it is written by a sampler, which is named.
    pub exact: Option<(String, Estimate)>,
    /// Its texts, by how many steps they were written in.
    pub written: Vec<Written>,
}

/// Texts of a model that were written in so many steps.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// Steps of a text, or of each of its blocks; of an autoregressive model its tokens.
    pub steps: u32,
    /// The bound of so many steps.
    pub bound: Option<Estimate>,
    /// Jensen-Shannon divergence from real text's n-grams, n = [`GRAMS`], in nats.
    pub divergence: [f64; 2],
    /// Seconds that all texts took.
    pub seconds: f64,
    /// Characters a second.
    pub characters_per_second: f64,
}

/// Texts of another origin.
#[derive(Clone, Debug, Serialize)]
pub struct Other {
    /// What wrote them.
    pub name: String,
    /// As of a model's texts.
    pub divergence: [f64; 2],
}

/// n of the n-grams of characters whose divergence is told: what a model that counts gets right, and about the length of a word.
pub const GRAMS: [usize; 2] = [3, 5];

/// Heads of the first table's columns.
fn heads(unit: &str) -> [String; 7] {
    let nats = |what: &str| format!("{what}, nats/{unit}");
    [
        "run".into(),
        "process".into(),
        "parameters".into(),
        "steps; seconds".into(),
        nats("bound"),
        nats("NLL"),
        nats("exact"),
    ]
}

/// An estimate with its standard error.
fn shown(estimate: Option<Estimate>) -> String {
    estimate.map_or("–".into(), |Estimate { nats, standard_error, .. }| {
        standard_error.map_or(format!("{nats:.3}"), |error| format!("{nats:.3} ± {error:.3}"))
    })
}

impl Comparison {
    /// How likely text is: a head and a row for each model.
    pub fn likelihoods(&self) -> Vec<Vec<String>> {
        let row = |model: &Compared| {
            let seconds = model.trained_seconds.map_or("–".into(), |seconds| format!("{seconds:.0}"));
            let exact = model
                .exact
                .as_ref()
                .map_or("–".into(), |(sampler, nll)| format!("{} ({sampler})", shown(Some(*nll))));
            vec![
                model.run.clone(),
                model.process.clone(),
                model.parameters.to_string(),
                format!("{}; {seconds}", model.trained_steps),
                shown(model.nelbo),
                shown(model.nll),
                exact,
            ]
        };
        std::iter::once(heads(self.unit).to_vec()).chain(self.models.iter().map(row)).collect()
    }

    /// What few steps cost: a head, a row for each model and number of steps, and for what is no model.
    pub fn texts(&self) -> Vec<Vec<String>> {
        let grams = |divergence: &[f64; 2]| divergence.map(|value| format!("{value:.4}"));
        let head: Vec<String> = ["run", "steps", "bound"]
            .into_iter()
            .map(String::from)
            .chain(GRAMS.map(|n| format!("{n}-grams")))
            .chain(["chars/s".into()])
            .collect();
        let of_models = self.models.iter().flat_map(|model| {
            model.written.iter().map(|written| {
                let [three, five] = grams(&written.divergence);
                let speed = format!("{:.0}", written.characters_per_second);
                vec![model.run.clone(), written.steps.to_string(), shown(written.bound), three, five, speed]
            })
        });
        let others = self.others.iter().map(|other| {
            let [three, five] = grams(&other.divergence);
            vec![other.name.clone(), "–".into(), "–".into(), three, five, "–".into()]
        });
        std::iter::once(head).chain(of_models).chain(others).collect()
    }

    /// Both tables in Markdown.
    pub fn markdown(&self) -> String {
        let table = |rows: &[Vec<String>]| {
            let line = |row: &Vec<String>| {
                format!("| {} |\n", row.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
            };
            let under = format!("|{}\n", "---|".repeat(rows[0].len()));
            rows.iter()
                .enumerate()
                .map(|(i, row)| if i == 0 { line(row) + &under } else { line(row) })
                .collect::<String>()
        };
        let facts: String = self.facts.iter().map(|fact| format!("{fact}\n")).collect();
        format!("{facts}\n{}\n{}\n{}", table(&self.likelihoods()), table(&self.texts()), LEGEND.trim_start())
    }

    /// Bounds and quality over steps, quality over time.
    pub fn charts(&self) -> Vec<Chart> {
        let line = |colour: usize, model: &Compared, points: Vec<Point>| Line {
            name: Some(format!("{} ({})", model.run, model.process)),
            colour,
            style: Style::Dotted,
            points,
        };
        let lines = |point: &dyn Fn(&Written) -> Option<Point>| -> Vec<Line> {
            let of = |(colour, model): (usize, &Compared)| {
                line(colour, model, model.written.iter().filter_map(point).collect())
            };
            self.models.iter().enumerate().map(of).filter(|line| !line.points.is_empty()).collect()
        };
        let bounds = lines(&|written| {
            let bound = written.bound?;
            Some(Point { x: written.steps.into(), y: bound.nats, error: bound.standard_error })
        });
        let by_steps = lines(&|written| Some((f64::from(written.steps), written.divergence[1]).into()));
        let by_time = lines(&|written| Some((1e3 / written.characters_per_second, written.divergence[1]).into()));
        let title = format!("Divergence of {}-grams from real text", GRAMS[1]);
        let steps = || Axis { label: "steps".into(), scale: Scale::Log, ..Axis::default() };
        let nats = |label: &str| Axis { label: label.into(), ..Axis::default() };
        let mut charts = Vec::new();
        if !bounds.is_empty() {
            let y = nats(&format!("nats/{}", self.unit));
            charts.push(Chart { title: "Bound of few steps".into(), x: steps(), y, lines: bounds });
        }
        charts.push(Chart { title: title.clone(), x: steps(), y: nats("nats"), lines: self.with_others(by_steps) });
        let time = Axis { label: "seconds for 1,000 characters".into(), scale: Scale::Log, ..Axis::default() };
        charts.push(Chart {
            title: format!("{title}, by time"),
            x: time,
            y: nats("nats"),
            lines: self.with_others(by_time),
        });
        charts
    }

    /// Lines, and what is no model as level ones.
    fn with_others(&self, mut lines: Vec<Line>) -> Vec<Line> {
        let all = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.x));
        let (first, last) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        if first < last {
            let colours = self.models.len()..;
            lines.extend(self.others.iter().zip(colours).map(|(other, colour)| Line {
                name: Some(other.name.clone()),
                colour,
                style: Style::Plain,
                points: [first, last].map(|x| (x, other.divergence[1]).into()).to_vec(),
            }));
        }
        lines
    }

    /// The page, whole.
    pub fn page(&self) -> String {
        let title = "Models beside one another";
        let body = html! {
            h1 { (title) }
            @for fact in &self.facts { p.soft { (fact) } }
            h2 { "How likely text is" }
            (table("Likelihoods", &self.likelihoods(), 2))
            h2 { "What few steps cost" }
            div.grid { @for chart in self.charts() { figure { (chart.on_page()) } } }
            (table("Texts", &self.texts(), 1))
            pre { (LEGEND.trim()) }
        };
        page(title, "", &body, "")
    }
}

fn table(label: &str, rows: &[Vec<String>], left: usize) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table {
                thead { tr { @for cell in &rows[0] { th scope="col" { (cell) } } } }
                tbody {
                    @for row in &rows[1..] {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else if i < left { td style="text-align:left" { (cell) } }
                                @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What the columns are.
pub const LEGEND: &str = "
bound       at most what a token costs, -log p (NELBO): in ever more steps, or in so many; lower is better
NLL         exactly what it costs given those before it in its window
exact       exactly what it costs where that sampler writes the text (DUEL)
3-grams     Jensen-Shannon divergence of the texts' n-grams of characters from real text's, in nats: lower is nearer
steps       of a text, or of each of its blocks; an autoregressive model writes a token a step
real text   as many texts that training did not see, beside those that all are held against
";
