//! Texts that come about as one picture that moves: SVG with nothing but styles, so that it also moves where scripts may not run.
//!
//! Symbols that stand for the same steps are one element, with keyframes of their own. Who asks for less motion sees the finished
//! texts.

use maud::{Markup, PreEscaped, html};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const STYLE: &str = "\
.ground{fill:#fff}text{font:15px ui-monospace,monospace;fill:#1b1b1b;white-space:pre}.dot{fill:#767676;opacity:0}.gone{opacity:0}\
@media(prefers-color-scheme:dark){.ground{fill:#161616}text{fill:#e8e8e8}.dot{fill:#8a8a8a}}";

/// Columns before a line is broken.
pub(super) const COLUMNS: usize = 64;

/// Width of a column and height of a line, in pixels.
const CELL: [f64; 2] = [9.1, 22.0];

/// Margin around all.
const MARGIN: f64 = 16.0;

/// Seconds of a step, and how long they are together at least and at most.
pub(super) const STEP_S: f64 = 0.12;
pub(super) const LENGTH_S: [f64; 2] = [4.0, 20.0];

/// Share of the time in which steps are made; in the rest the finished text stands.
pub(super) const MOVING: f64 = 0.8;

/// What stands at one position: from a step on, until another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stay {
    /// The first step after which it is there.
    pub(super) from: usize,
    /// The first after which it is not; none where it stays.
    pub(super) until: Option<usize>,
    /// What it is; none where the position is open.
    pub(super) symbol: Option<String>,
    /// How sure the model was of it, 0 to 1; where that is not known, how late it was.
    pub(super) share: f32,
}

/// Column and line of every position of texts below each other, and how many lines they take: what a position is in the end says
/// where those behind it stand.
pub(super) fn places(texts: &[Vec<Vec<Stay>>]) -> (Vec<Vec<[usize; 2]>>, usize) {
    let (mut all, mut line) = (Vec::with_capacity(texts.len()), 0);
    for text in texts {
        let (mut places, mut column) = (Vec::with_capacity(text.len()), 0);
        for stays in text {
            places.push([column, line]);
            let last = stays.last().and_then(|stay| stay.symbol.as_deref()).unwrap_or("·");
            column += last.chars().filter(|&c| c != '\n').count().max(usize::from(last != "\n"));
            if last.contains('\n') || column >= COLUMNS {
                (column, line) = (0, line + 1);
            }
        }
        line += if column > 0 { 2 } else { 1 };
        all.push(places);
    }
    (all, line.saturating_sub(1))
}

/// The picture of some texts below each other; of each the stays at every position, over so many steps.
pub(super) fn animation(texts: &[Vec<Vec<Stay>>], steps: usize, title: &str) -> String {
    let mut groups: BTreeMap<(usize, Option<usize>, bool), Group> = BTreeMap::new();
    let (places, lines) = places(texts);
    for (stays, &[column, line]) in texts.iter().flatten().zip(places.iter().flatten()) {
        for stay in stays {
            let shape = stay.symbol.as_deref().unwrap_or("·");
            let group = groups.entry((stay.from, stay.until, stay.symbol.is_some())).or_default();
            for (i, c) in shape.chars().filter(|c| !c.is_whitespace() && !c.is_control()).enumerate() {
                group.put(column + i, line, c);
            }
        }
    }
    let width = 2.0 * MARGIN + COLUMNS as f64 * CELL[0];
    let height = 2.0 * MARGIN + lines as f64 * CELL[1];
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (tenth(width)) " " (tenth(height)) } width=(tenth(width)) height=(tenth(height))
            role="img" aria-label=(title) {
            style { (PreEscaped(STYLE)) (PreEscaped(keyframes(groups.keys(), steps))) }
            rect class="ground" width="100%" height="100%" {}
            @for (key, group) in &groups { @if !group.text.is_empty() { (group.draw(*key)) } }
        }
    };
    picture.into_string() + "\n"
}

/// Symbols that come and go together.
#[derive(Default)]
struct Group {
    x: String,
    y: String,
    text: String,
}

impl Group {
    fn put(&mut self, column: usize, line: usize, c: char) {
        let [x, y] = [MARGIN + column as f64 * CELL[0], MARGIN + 14.0 + line as f64 * CELL[1]];
        let _ = write!(self.x, "{} ", tenth(x));
        let _ = write!(self.y, "{} ", tenth(y));
        self.text.push(c);
    }

    fn draw(&self, (from, until, written): (usize, Option<usize>, bool)) -> Markup {
        let kind = match (written, until) {
            (false, _) => "dot ",
            (true, Some(_)) => "gone ",
            (true, None) => "",
        };
        html! { text class={ (kind) (name(from, until)) } x=(self.x.trim_end()) y=(self.y.trim_end()) { (self.text) } }
    }
}

/// Of symbols that come after one step and go after another.
fn name(from: usize, until: Option<usize>) -> String {
    until.map_or(format!("s{from}"), |until| format!("s{from}-{until}"))
}

fn keyframes<'a>(stays: impl Iterator<Item = &'a (usize, Option<usize>, bool)>, steps: usize) -> String {
    let seconds = (steps as f64 * STEP_S).clamp(LENGTH_S[0], LENGTH_S[1]) / MOVING;
    let at = |step: usize| 100.0 * MOVING * step as f64 / steps.max(1) as f64;
    let kinds: BTreeSet<(usize, Option<usize>)> = stays.map(|&(from, until, _)| (from, until)).collect();
    let mut css = String::from("@media(prefers-reduced-motion:no-preference){");
    for &(from, until) in kinds.iter().filter(|kind| **kind != (0, None)) {
        let name = name(from, until);
        let _ = write!(css, ".{name}{{animation:{name} {seconds:.2}s step-end infinite}}@keyframes {name}{{");
        if from > 0 {
            let _ = write!(css, "0%{{opacity:0}}");
        }
        let _ = write!(css, "{:.2}%{{opacity:1}}", at(from));
        if let Some(until) = until {
            let _ = write!(css, "{:.2}%{{opacity:0}}", at(until));
        }
        css += "}";
    }
    css + "}"
}

fn tenth(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}
