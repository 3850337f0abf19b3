//! A text in the making as lines of characters, each with its colour.

use super::Colours;
use crate::data::Vocab;
use crate::sample::{Place, Recorded};
use crate::terminal::printable;
use console::measure_text_width;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// What an open position looks like.
pub(super) const OPEN: &str = "·";

/// From unsure to sure, of the 256 colours that nearly all terminals have: orange to blue, which are told apart by those who
/// see red and green alike, and are legible on black and on white.
const SURE: [u8; 7] = [202, 208, 178, 144, 109, 74, 39];
/// From early to late, where it is not known how sure a model was.
const LATE: [u8; 5] = [245, 103, 68, 32, 39];

/// What colours mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// How sure the model was.
    Sureness,
    /// When a character was written.
    Step,
}

impl By {
    /// The style of a share, 0 to 1: of what is sure, or late.
    pub(super) fn style(self, share: f32, colours: Colours) -> Style {
        let scale: &[u8] = if self == By::Sureness { &SURE } else { &LATE };
        let at = (share.clamp(0.0, 1.0) * (scale.len() - 1) as f32).round() as usize;
        match colours {
            Colours::Some => Style::new().fg(Color::Indexed(scale[at])),
            Colours::None if share < 0.5 => Style::new().add_modifier(Modifier::DIM),
            Colours::None => Style::new(),
        }
    }

    /// What both ends of the scale are.
    pub(super) fn ends(self) -> [&'static str; 2] {
        match self {
            By::Sureness => ["unsure 0 %", "100 % sure"],
            By::Step => ["early", "late"],
        }
    }
}

/// How a position looks after so many steps.
fn style(place: &Place, steps: usize, by: By, colours: Colours) -> Style {
    let written = match (place.token, by, place.sure) {
        (None, ..) => return Style::new().add_modifier(Modifier::DIM),
        _ if place.since == 0 => Style::new().add_modifier(Modifier::BOLD),
        (_, By::Sureness, Some(sure)) => by.style(sure, colours),
        (_, By::Sureness, None) => Style::new(),
        (_, By::Step, _) => by.style(place.since as f32 / steps.max(1) as f32, colours),
    };
    if place.since > 0 && place.since == steps { written.add_modifier(Modifier::REVERSED) } else { written }
}

/// A text's lines of so many columns, and the number of the line where its first open position stands, or its last line.
pub(super) fn lines(
    text: &Recorded,
    vocab: &Vocab,
    columns: usize,
    by: By,
    colours: Colours,
) -> (Vec<Line<'static>>, usize) {
    let mut page = Page { columns: columns.max(1), lines: vec![Vec::new()], used: 0 };
    let (mut at, mut first_open) = (0, None);
    while let Some(place) = text.places.get(at) {
        let (shape, length) = match place.token {
            None => (OPEN.to_owned(), 1),
            Some(_) => shape(&text.places[at..], vocab),
        };
        page.put(&shape, style(&text.places[at + length - 1], text.steps.len(), by, colours));
        if place.token.is_none() {
            first_open.get_or_insert(page.lines.len() - 1);
        }
        at += length;
    }
    let last = page.lines.len() - 1;
    (page.lines.into_iter().map(Line::from).collect(), first_open.unwrap_or(last))
}

/// Most bytes of a character.
const MOST_BYTES: usize = 4;

/// The characters of the token that stands first, and of those behind it without which it has none: bytes of one character.
fn shape(places: &[Place], vocab: &Vocab) -> (String, usize) {
    let known: Vec<u32> = places.iter().take(MOST_BYTES).map_while(|place| place.token).collect();
    let whole =
        |n: usize| Some((vocab.decode(&known[..n]), n)).filter(|(s, _)| !s.contains(char::REPLACEMENT_CHARACTER));
    (1..=known.len()).find_map(whole).unwrap_or_else(|| (vocab.decode(&known[..1]), 1))
}

/// Lines that are being filled.
struct Page {
    columns: usize,
    lines: Vec<Vec<Span<'static>>>,
    used: usize,
}

impl Page {
    fn put(&mut self, shape: &str, style: Style) {
        for c in printable(shape).chars() {
            if c == '\n' {
                self.turn();
                continue;
            }
            let c = if c == '\t' { ' ' } else { c };
            let width = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if self.used + width > self.columns {
                self.turn();
            }
            self.used += width;
            let line = self.lines.last_mut().expect("never empty");
            match line.last_mut().filter(|span| span.style == style) {
                Some(span) => span.content.to_mut().push(c),
                None => line.push(Span::styled(c.to_string(), style)),
            }
        }
    }

    fn turn(&mut self) {
        self.lines.push(Vec::new());
        self.used = 0;
    }
}
