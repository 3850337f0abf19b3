//! A run as it trains.

use super::curve::Curve;
use super::{Colours, Key, Screen, Then, View};
use crate::config::{Measure, RunConfig, VocabKind};
use crate::error::Result;
use crate::report::{History, Pulse, si};
use crate::terminal::{self, printable, thousands};
use crate::train::{Event, Observer, StepReport};
use indicatif::{DecimalBytes, HumanDuration};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, LineGauge, Paragraph, Wrap};
use std::time::Duration;

/// Lines of what was said that are shown.
const SAID: usize = 3;

/// Lines of a terminal from which on there is room for curves and the sample.
const HIGH: u16 = 18;

/// Columns of the figures, and most lines of them.
const FIGURES: [u16; 2] = [46, 9];

/// Columns of their names.
const NAMES: usize = 14;

/// Words in lines of at most so many columns, or of one word.
fn in_lines(words: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split(' ') {
        match lines.last_mut() {
            Some(line) if Span::raw(line.as_str()).width() + 1 + Span::raw(word).width() <= width => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What is known of a run before its first step.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where it is kept.
    pub folder: String,
    /// What computes.
    pub device: String,
    /// Memory that it needs, in bytes.
    pub memory: usize,
}

/// How a run trains: curves, figures, the latest sample.
pub struct Training {
    facts: Facts,
    colours: Colours,
    /// What a symbol is.
    unit: &'static str,
    pulse: Pulse,
    last: Option<StepReport>,
    losses: Curve,
    validations: [Curve; Measure::ALL.len()],
    latest: [Option<(f64, Option<f64>)>; Measure::ALL.len()],
    sample: Option<(u64, String)>,
    checkpoint: Option<u64>,
}

impl Training {
    /// Of a run over symbols of such a vocabulary, which has done so many steps and measured this before.
    pub fn new(
        facts: Facts,
        config: &RunConfig,
        vocab: VocabKind,
        done: u64,
        before: &History,
        colours: Colours,
    ) -> Self {
        let mut view = Training {
            facts,
            colours,
            unit: vocab.unit(),
            pulse: Pulse::new(config, done),
            last: None,
            losses: Curve::default(),
            validations: Measure::ALL.map(|_| Curve::default()),
            latest: [None; Measure::ALL.len()],
            sample: None,
            checkpoint: None,
        };
        before.losses.iter().for_each(|&(step, loss)| view.losses.push(step, loss));
        for (measure, found) in before.validations.iter().enumerate() {
            for &(step, nats, error) in found {
                view.validations[measure].push(step, nats);
                view.latest[measure] = Some((nats, error));
            }
        }
        view
    }

    /// Something happened.
    pub fn take(&mut self, event: &Event<'_>) {
        match *event {
            Event::Step(report) => {
                self.pulse.beat(&report);
                self.losses.push(report.step, report.loss.into());
                self.last = Some(report);
            }
            Event::Validation { step, validation } => {
                self.validations[validation.measure as usize].push(step, validation.nats);
                self.latest[validation.measure as usize] = Some((validation.nats, validation.standard_error));
            }
            Event::Sample { step, text } => self.sample = Some((step, printable(text))),
            Event::Checkpoint { step } => self.checkpoint = Some(step),
            Event::Stopping | Event::BeforeCheckpoint => {}
        }
    }

    fn colour(&self, colour: u8) -> Style {
        match self.colours {
            Colours::Some => Style::new().fg(Color::Indexed(colour)),
            Colours::None => Style::new(),
        }
    }

    fn draw_gauge(&self, frame: &mut Frame<'_>, area: Rect) {
        let (step, steps) = (self.pulse.step, self.pulse.steps());
        let left = self.pulse.left().map_or(String::new(), |left| format!("  {} left", HumanDuration(left)));
        let label = format!("step {} of {}{left}", thousands(step), thousands(steps));
        let gauge = LineGauge::default().ratio((step as f64 / steps.max(1) as f64).clamp(0.0, 1.0)).label(label);
        let (full, empty) = (self.colour(39), Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(
            gauge.filled_style(full).unfilled_style(empty).filled_symbol("█").unfilled_symbol("░"),
            area,
        );
    }

    /// Draws curves into one chart, each with its marker and its colour.
    fn draw_chart(&self, frame: &mut Frame<'_>, area: Rect, title: String, curves: &[(&Curve, Marker, u8)]) {
        let block = Block::new().borders(Borders::TOP).border_style(Style::new().add_modifier(Modifier::DIM));
        let block = block.title(Line::styled(title, Style::new().add_modifier(Modifier::BOLD)));
        let ranges = curves.iter().filter_map(|(curve, ..)| curve.range());
        let Some([least, most]) = ranges.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]) else {
            return frame.render_widget(Paragraph::new("nothing yet").block(block), area);
        };
        // A level curve has a place, too.
        let margin = if most > least { 0.0 } else { 0.5 };
        let (bounds, end) = ([least - margin, most + margin], self.pulse.step.max(1) as f64);
        let datasets = curves.iter().map(|&(curve, marker, colour)| self.dataset(curve, marker, colour)).collect();
        let middle = (bounds[0] + bounds[1]) / 2.0;
        let dim = Style::new().add_modifier(Modifier::DIM);
        let y = Axis::default().bounds(bounds).style(dim);
        let y = y.labels([bounds[0], middle, bounds[1]].map(|value| format!("{value:.2}")));
        let x = Axis::default().bounds([0.0, end]).style(dim).labels(["0".to_owned(), thousands(end as u64)]);
        let chart = Chart::new(datasets).x_axis(x).y_axis(y).legend_position(None);
        frame.render_widget(chart.block(block), area);
    }

    fn dataset<'a>(&self, curve: &'a Curve, marker: Marker, colour: u8) -> Dataset<'a> {
        // A point alone is no line.
        let graph_type = if curve.points().len() > 1 { GraphType::Line } else { GraphType::Scatter };
        Dataset::default().data(curve.points()).marker(marker).style(self.colour(colour)).graph_type(graph_type)
    }

    fn draw_curves(&self, frame: &mut Frame<'_>, area: Rect) {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
        let mean = self.pulse.loss.map_or(String::new(), |loss| format!(" {loss:.3}"));
        self.draw_chart(frame, left, format!(" loss{mean} "), &[(&self.losses, Marker::Braille, 208)]);
        let looks = [(Marker::Braille, 39), (Marker::Dot, 178)];
        let measured = Measure::ALL.iter().filter(|&&measure| self.latest[measure as usize].is_some());
        let curves: Vec<_> = measured
            .clone()
            .map(|&measure| {
                (&self.validations[measure as usize], looks[measure as usize % 2].0, looks[measure as usize % 2].1)
            })
            .collect();
        let title = |has_unit: bool, has_errors: bool| {
            let named = |&measure: &Measure| {
                let (nats, error) = self.latest[measure as usize].unwrap_or_default();
                let error = error.filter(|_| has_errors).map_or(String::new(), |error| format!(" ± {error:.3}"));
                format!("{} {nats:.3}{error}", measure.name())
            };
            let names: Vec<String> = measured.clone().map(named).collect();
            let unit = if has_unit { format!("nats/{}", self.unit) } else { String::new() };
            format!(" validation {} {unit} ", names.join(", ")).replace("  ", " ")
        };
        let mut titles = [title(true, true), title(false, true), title(false, false)].into_iter();
        let fits = |title: &String| Span::raw(title).width() <= right.width.into();
        let title = titles.find(fits).unwrap_or_else(|| " validation ".into());
        self.draw_chart(frame, right, title, &curves);
    }

    /// The figures, a line each.
    fn figures(&self) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let mut put = |mut name: &str, what: String| {
            for part in in_lines(&what, usize::from(FIGURES[0]) - NAMES) {
                lines.push(Line::from(vec![
                    Span::styled(format!("{name:<NAMES$}"), Style::new().add_modifier(Modifier::DIM)),
                    Span::raw(part),
                ]));
                name = "";
            }
        };
        if let Some([steps, symbols]) = self.pulse.rates() {
            let steps = if steps < 100.0 { format!("{steps:.2}") } else { si(steps) };
            put("rate", format!("{steps} steps/s, {} {}s/s", si(symbols), self.unit));
        }
        if let Some(last) = &self.last {
            put("learning rate", format!("{:.3e}", last.lr));
            put("gradient norm", format!("{:.3}", last.grad_norm));
            if last.loss_scale != 1.0 {
                put("loss scale", thousands(last.loss_scale as u64));
            }
        }
        if let Some(step) = self.checkpoint {
            put("checkpoint", format!("step {}", thousands(step)));
        }
        put("memory", DecimalBytes(self.facts.memory as u64).to_string());
        put("device", self.facts.device.clone());
        lines
    }

    fn draw_sample(&self, frame: &mut Frame<'_>, area: Rect) {
        let (title, text) = match &self.sample {
            Some((step, text)) => (format!(" sample after step {} ", thousands(*step)), text.as_str()),
            None => (" sample ".to_owned(), "none yet"),
        };
        let block = Block::new().borders(Borders::TOP).border_style(Style::new().add_modifier(Modifier::DIM));
        let block = block.title(Line::styled(title, Style::new().add_modifier(Modifier::BOLD)));
        frame.render_widget(Paragraph::new(text.replace('\t', " ")).wrap(Wrap { trim: false }).block(block), area);
    }
}

impl View for Training {
    const PACE: Duration = Duration::from_millis(100);
    const REFRESH: Duration = Duration::from_secs(1);

    fn draw(&mut self, frame: &mut Frame<'_>) {
        // The lines of a sample stand elsewhere.
        let said: Vec<String> = terminal::held(20).into_iter().filter(|line| !line.starts_with("  │")).collect();
        let said = &said[said.len().saturating_sub(SAID)..];
        let (line, area) = (Constraint::Length, frame.area());
        let said_lines = (said.len() as u16).min(area.height.saturating_sub(3));
        let rows = [line(1), line(1), Constraint::Fill(1), line(said_lines), line(1)];
        let [head, gauge, body, notes, keys] = Layout::vertical(rows).areas(area);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.facts.folder.clone(), bold), head);
        self.draw_gauge(frame, gauge);
        let figures = Paragraph::new(self.figures());
        if area.height >= HIGH {
            let most = FIGURES[1].min(body.height / 2);
            let [curves, below] = Layout::vertical([Constraint::Fill(1), line(most)]).areas(body);
            self.draw_curves(frame, curves);
            let [left, right] = Layout::horizontal([line(FIGURES[0]), Constraint::Fill(1)]).spacing(2).areas(below);
            frame.render_widget(figures, left);
            self.draw_sample(frame, right);
        } else {
            frame.render_widget(figures, body);
        }
        let dim = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(said.join("\n")).style(dim), notes);
        let key = |key: &'static str, what: &'static str| [Span::styled(key, bold), Span::raw(what)];
        let known = [key("q", " close the view and train on   "), key("Ctrl-C", " save and stop")];
        frame.render_widget(Line::from(known.concat()), keys);
    }

    fn key(&mut self, key: Key) -> Then {
        match key {
            Key::Char('q') | Key::Escape => Then::Close,
            _ => Then::Stay,
        }
    }
}

impl Observer for Screen<Training> {
    fn event(&mut self, event: &Event<'_>) -> Result<()> {
        if self.is_open() {
            self.change(|view| view.take(event));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DType, Preset};
    use ratatui::{Terminal, backend::TestBackend};

    #[test]
    fn what_has_no_room_is_left_out_and_not_cut() {
        let device = "cpu, 2 threads, f32 by AVX-512, bf16 by AVX512-BF16";
        let facts = Facts { folder: "runs/1".into(), device: device.into(), memory: 1 << 20 };
        let before =
            History { validations: Measure::ALL.map(|_| vec![(50, 2.3714, Some(0.016))]), ..History::default() };
        let config = Preset::Nano.run(DType::F32);
        let mut view = Training::new(facts, &config, VocabKind::Chars, 50, &before, Colours::None);
        for (width, title) in [(200, "± 0.016 nats/char ─"), (110, "± 0.016 ─"), (80, "2.371 ─")] {
            let mut terminal = Terminal::new(TestBackend::new(width, 24)).unwrap();
            terminal.draw(|frame| view.draw(frame)).unwrap();
            let shown = terminal.backend().to_string();
            assert!(shown.contains(title), "{shown}");
            // Its second line stands below the first.
            let at = |part: &str| {
                shown.lines().find_map(|line| line.find(part)).unwrap_or_else(|| panic!("{part}: {shown}"))
            };
            assert_eq!(at("cpu, 2 threads"), at("bf16 by"), "{shown}");
        }
    }
}
