//! Texts as they denoise.

use super::glyphs::{self, By, lines};
use super::{Colours, Key, Then, View};
use crate::sample::{Recorded, Recording};
use crate::terminal;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use std::ops::Range;
use std::time::Duration;

/// Steps a second that + and - choose among; 0 is as fast as it goes.
const SPEEDS: [u32; 9] = [1, 2, 5, 10, 25, 50, 100, 250, 0];
/// The one it begins with: a small model denoises faster than anyone reads.
const USUAL_SPEED: usize = 4;

/// Fewest columns of a text beside another, and fewest lines of one.
const LEAST: [usize; 2] = [32, 4];

/// Columns that hold most lines of a text whole.
const WIDE: usize = 60;

/// Columns between two texts.
const GAP: usize = 2;

/// Characters of a line of text, about, for how much room a text takes.
const USUAL_LINE: usize = 40;

/// Columns of the scale of colours.
const SCALE: usize = 14;

/// Texts in the making, how fast they are shown, and which of them.
pub struct Texts {
    recording: Recording,
    colours: Colours,
    /// What is written: `by runs/1`.
    title: String,
    /// What the batch has come to.
    status: String,
    /// Texts that are wanted, and those that are finished.
    progress: [usize; 2],
    speed: usize,
    paused: bool,
    /// Steps that were asked for one by one.
    steps: u32,
    /// The first text that is shown, and how many fit.
    shown: Range<usize>,
    finished: bool,
}

impl Texts {
    /// Of texts that a recording will hold, as many as these.
    pub fn new(recording: Recording, colours: Colours, title: impl Into<String>, wanted: usize) -> Self {
        Texts {
            recording,
            colours,
            title: title.into(),
            status: String::new(),
            progress: [wanted, 0],
            speed: USUAL_SPEED,
            paused: false,
            steps: 0,
            shown: 0..1,
            finished: false,
        }
    }

    /// What is shown, to be added to.
    pub fn recording(&mut self) -> &mut Recording {
        &mut self.recording
    }

    /// Says what the batch has come to, and how many texts are finished.
    pub fn tell(&mut self, status: impl Into<String>, finished: usize) {
        (self.status, self.progress[1]) = (status.into(), finished);
    }

    /// All texts are finished: they stay until a key is pressed.
    pub fn finish(&mut self) {
        (self.finished, self.paused, self.progress[1]) = (true, false, self.progress[0]);
    }

    /// How long the next step is to wait, which has been shown so long; none to go on.
    pub fn rest(&mut self, shown: Duration) -> Option<Duration> {
        if self.finished {
            return Some(Duration::MAX);
        }
        if self.paused {
            let Some(left) = self.steps.checked_sub(1) else { return Some(Duration::MAX) };
            self.steps = left;
            return None;
        }
        match SPEEDS[self.speed] {
            0 => None,
            speed => (Duration::from_secs(1) / speed).checked_sub(shown).filter(|left| !left.is_zero()),
        }
    }

    fn by(&self) -> By {
        if self.recording.has_sureness() { By::Sureness } else { By::Step }
    }

    fn head(&self) -> Line<'static> {
        let [wanted, finished] = self.progress;
        let many = if wanted > 1 { format!("  {finished} of {wanted} texts done") } else { String::new() };
        Line::from(vec![
            Span::styled(self.title.clone(), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!("  {}{many}", self.status)),
        ])
    }

    fn legend(&self) -> Line<'static> {
        let [low, high] = self.by().ends();
        let block = |i: usize| {
            let share = i as f32 / (SCALE - 1) as f32;
            Span::styled("█", self.by().style(share, self.colours))
        };
        let mut spans = vec![Span::raw(format!("{low} "))];
        spans.extend((0..SCALE).map(block));
        spans.extend([
            Span::raw(format!(" {high}   ")),
            Span::styled(glyphs::OPEN, Style::new().add_modifier(Modifier::DIM)),
            Span::raw(" open   "),
            Span::styled("given", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw("   "),
            Span::styled("of this step", Style::new().add_modifier(Modifier::REVERSED)),
        ]);
        Line::from(spans)
    }

    fn keys(&self) -> Line<'static> {
        let speed = match SPEEDS[self.speed] {
            0 => "as fast as it goes".to_owned(),
            speed => format!("{speed} steps/s"),
        };
        let mut keys = match (self.finished, self.paused) {
            (true, _) => vec![("q", "print the texts and end".to_owned())],
            (_, true) => {
                vec![("space", "go on".into()), ("→", "step".into()), ("+ -", speed), ("q", "close the view".into())]
            }
            (_, false) => {
                vec![("space", "pause".into()), ("→", "step".into()), ("+ -", speed), ("q", "close the view".into())]
            }
        };
        if self.shown.len() < self.recording.texts().len() {
            keys.push(("tab", "more texts".into()));
        }
        if !self.finished {
            keys.push(("Ctrl-C", "stop".into()));
        }
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let key = |(key, what): (&'static str, String)| [Span::styled(key, bold), Span::raw(format!(" {what}   "))];
        Line::from(keys.into_iter().flat_map(key).collect::<Vec<_>>())
    }

    /// Draws a text and its number.
    fn draw_text(&self, frame: &mut Frame<'_>, area: Rect, number: u32, text: &Recorded) {
        let head = format!("─ text {number} {}", "─".repeat(usize::from(area.width)));
        let [top, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        frame.render_widget(Line::styled(head, Style::new().add_modifier(Modifier::DIM)), top);
        let (lines, at) = lines(text, self.recording.vocab(), below.width.into(), self.by(), self.colours);
        // Where writing goes on stands in the middle, where not all is seen.
        let height = usize::from(below.height);
        let first = at.saturating_sub(height / 2).min(lines.len().saturating_sub(height));
        frame.render_widget(Paragraph::new(lines.into_iter().skip(first).take(height).collect::<Vec<_>>()), below);
    }
}

impl View for Texts {
    const PACE: Duration = Duration::from_millis(16);
    const REFRESH: Duration = Duration::MAX;

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let said = terminal::held(2);
        let line = Constraint::Length;
        let rows = [line(1), Constraint::Fill(1), line(said.len() as u16), line(1), line(1)];
        let [head, body, notes, legend, keys] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(self.head(), head);
        frame.render_widget(Paragraph::new(said.join("\n")), notes);
        frame.render_widget(self.legend(), legend);
        let (width, height) = (usize::from(body.width), usize::from(body.height));
        let lengths: Vec<usize> = self.recording.texts().values().map(|text| text.places.len()).collect();
        let grid = Grid::of(&lengths, width, height);
        let first = self.shown.start.min(lengths.len().saturating_sub(1)) / grid.fit() * grid.fit();
        self.shown = first..(first + grid.fit()).min(lengths.len());
        for (at, (&number, text)) in self.recording.texts().iter().skip(first).take(grid.fit()).enumerate() {
            self.draw_text(frame, grid.area(at, body), number, text);
        }
        frame.render_widget(self.keys(), keys);
    }

    fn key(&mut self, key: Key) -> Then {
        match key {
            Key::Char('q') | Key::Escape => return Then::Close,
            _ if self.finished && matches!(key, Key::Enter | Key::Char(' ')) => return Then::Close,
            Key::Char(' ') => (self.paused, self.steps) = (!self.paused, 0),
            Key::Right | Key::Char('n') => (self.paused, self.steps) = (true, self.steps + 1),
            Key::Char('+' | '=') | Key::Up => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Key::Char('-' | '_') | Key::Down => self.speed = self.speed.saturating_sub(1),
            Key::Tab => {
                let all = self.recording.texts().len();
                let first = if self.shown.end < all { self.shown.end } else { 0 };
                self.shown = first..first + 1;
            }
            Key::Char(_) | Key::Enter | Key::Left => {}
        }
        Then::Stay
    }
}

/// Where texts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    columns: usize,
    rows: usize,
    /// Of a text, in characters.
    width: usize,
    height: usize,
}

impl Grid {
    /// For texts of these lengths on a place of this size: so that as little as possible of them is hidden, then so that few lines
    /// are broken, then as much beside each other as that allows.
    fn of(lengths: &[usize], width: usize, height: usize) -> Self {
        let texts = lengths.len().max(1);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let of = |columns: usize| {
            let inner = (width - GAP * (columns - 1).min(width / GAP)) / columns;
            let rows = texts.div_ceil(columns).min((height / LEAST[1]).max(1));
            Grid { columns, rows, width: inner, height: height / rows }
        };
        let hidden = |grid: &Grid| {
            let needed = 1 + longest.div_ceil(grid.width.clamp(1, USUAL_LINE));
            let unseen = texts.saturating_sub(grid.fit());
            let is_narrow = grid.columns > 1 && grid.width < WIDE;
            (unseen, needed.saturating_sub(grid.height), is_narrow, grid.rows, grid.columns)
        };
        let most = ((width + GAP) / (LEAST[0] + GAP)).clamp(1, texts);
        (1..=most).map(of).min_by_key(hidden).expect("one column at least")
    }

    /// Texts that are seen at once.
    fn fit(&self) -> usize {
        self.columns * self.rows
    }

    fn area(&self, at: usize, all: Rect) -> Rect {
        let (row, column) = (at / self.columns, at % self.columns);
        let x = all.x + (column * (self.width + GAP)) as u16;
        let y = all.y + (row * self.height) as u16;
        Rect::new(x, y, self.width as u16, self.height as u16).intersection(all)
    }
}
