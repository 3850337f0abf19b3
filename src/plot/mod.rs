//! Line charts as SVG: axes, ticks, a legend, several lines.
//!
//! Own lines and no crate: a chart here is a dozen elements whose colours must follow the reader's light or dark ground and whose
//! text must be escaped. [`maud`] does both, the one for pages too, while plotters (the crate of choice) writes colours into every
//! element, and for pixels wants a font of 750 kB in the program. So there is SVG, which every browser and most programs for
//! papers read, and no PNG.
//!
//! Colours are those of Okabe and Ito (2008), darkened until each has a contrast
//! of 4.5 with white, and lightened until it has that with black. From the fourth line on they are dashed: not every eye tells the
//! fifth's colour from the second's. The seventh begins with the first colour again.

mod ticks;

use maud::{Markup, PreEscaped, html};
use std::fmt::Write;
use ticks::Ticks;

/// Style of all charts of a page or a file, once: light or dark, as the reader has it.
pub const STYLE: &str = "\
.plot{--p0:#0072b2;--p1:#b84a00;--p2:#007a5a;--p3:#a23f78;--p4:#856000;--p5:#595959;--grid:#8884;--ink:#1b1b1b;--ground:#fff;\
font:13px system-ui,sans-serif;fill:var(--ink)}\
@media(prefers-color-scheme:dark){.plot{--p0:#56b4e9;--p1:#f0894e;--p2:#2fc598;--p3:#e08fbf;--p4:#e6c04a;--p5:#b5b5b5;\
--ink:#e8e8e8;--ground:#161616}}\
.plot path{fill:none;stroke-width:2;stroke-linejoin:round}.plot .grid{stroke:var(--grid);stroke-width:1}\
.plot .faint{stroke-width:1;opacity:.28}.plot .title{font-size:14px;font-weight:600}.plot .ground{fill:var(--ground)}";

/// Colours before they come again.
const COLOURS: usize = 6;

/// Lines before they are dashed.
const SOLID: usize = 3;

/// Average width of a character of the labels, of its height: wide enough for most fonts.
const CHARACTER: f64 = 0.56;

/// Height of labels.
const FONT: f64 = 13.0;

/// A chart.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// What is drawn, in order.
    pub lines: Vec<Line>,
}

/// One of two directions.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What is measured, and its unit.
    pub label: String,
    /// How values are spread.
    pub scale: Scale,
    /// Where ticks stand; where that is empty, at round numbers.
    pub ticks: Vec<f64>,
    /// The highest value that is drawn; all where there is none. What is above is cut off.
    pub most: Option<f64>,
}

/// How the values of an axis are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithm; what is not above 0 is left out.
    Log,
}

/// One line.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// In the legend; a line without a name is not there.
    pub name: Option<String>,
    /// Lines of one number have one colour.
    pub colour: usize,
    /// How it is drawn.
    pub style: Style,
    /// In the order of x. What is no finite number leaves a gap.
    pub points: Vec<Point>,
}

/// One point of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// Standard error of y, drawn as a bar on both sides where it is known.
    pub error: Option<f64>,
}

impl From<(f64, f64)> for Point {
    fn from((x, y): (f64, f64)) -> Self {
        Point { x, y, error: None }
    }
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// A line.
    #[default]
    Plain,
    /// A line that tells each point, its value and its error.
    Dotted,
    /// A background for another line.
    Faint,
}

/// Width and height of the user's units, pixels at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

impl Size {
    /// Of a chart on a page: its labels can be read on a phone, where it is three quarters as large.
    pub const PAGE: Size = Size { width: 480.0, height: 300.0 };
    /// Of one in a file of its own.
    pub const FILE: Size = Size { width: 800.0, height: 380.0 };
}

/// A file that shows charts below each other on a ground of its own.
pub fn file(charts: &[Chart], size: Size) -> String {
    let height = size.height * charts.len() as f64;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox={ "0 0 " (size.width) " " (height) } width=(size.width)
            height=(height) {
            style { (PreEscaped(STYLE)) }
            rect class="ground" width="100%" height="100%" {}
            @for (i, chart) in charts.iter().enumerate() {
                g role="img" aria-label=(chart.in_words()) transform={ "translate(0 " (size.height * i as f64) ")" } {
                    (chart.draw(size))
                }
            }
        }
    };
    picture.into_string() + "\n"
}

impl Chart {
    /// An element of a page that has [`STYLE`].
    pub fn on_page(&self) -> Markup {
        let Size { width, height } = Size::PAGE;
        html! {
            svg class="plot" viewBox={ "0 0 " (width) " " (height) } role="img" aria-label=(self.in_words()) {
                (self.draw(Size::PAGE))
            }
        }
    }

    /// For those who do not see it: where each line begins and ends.
    fn in_words(&self) -> String {
        let mut words = format!("{}. {} over {}.", self.title, self.y.label, self.x.label);
        for line in &self.lines {
            let (Some(name), Some(first), Some(last)) = (&line.name, line.points.first(), line.points.last()) else {
                continue;
            };
            let of = |x| ticks::rounded(x);
            let _ = write!(words, " {name}: {} at {} to {} at {}.", of(first.y), of(first.x), of(last.y), of(last.x));
        }
        words
    }

    /// A name that other charts of a page do not have (FNV-1a).
    fn id(&self) -> String {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("clip-{:016x}", self.in_words().bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    fn draw(&self, size: Size) -> Markup {
        let legend = Legend::of(self, size.width);
        let Some([x, y]) = self.ranges() else {
            return html! {
                text class="title" x="8" y="20" { (self.title) }
                text x=(size.width / 2.0) y=(size.height / 2.0) text-anchor="middle" { "nothing was measured" }
            };
        };
        let ticks = [Ticks::of(&self.x, x, size.width / 90.0), Ticks::of(&self.y, y, size.height / 55.0)];
        let widest = ticks[1].labels().map(|(_, label)| label.chars().count()).max().unwrap_or(0) as f64;
        let left = 34.0 + widest * FONT * CHARACTER;
        let area = Area {
            x: Span { scale: self.x.scale, from: x, to: [left, size.width - 16.0] },
            y: Span { scale: self.y.scale, from: y, to: [size.height - 46.0, 34.0 + legend.height()] },
        };
        let [[left, right], [bottom, top]] = [area.x.to, area.y.to];
        let clip = self.id();
        html! {
            text class="title" x="8" y="20" { (self.title) }
            (legend.draw())
            @for (value, label) in ticks[1].labels() {
                @let at = area.y.at(value);
                path class="grid" d={ "M" (one(left)) " " (one(at)) "H" (one(right)) } {}
                text x=(one(left - 6.0)) y=(one(at + 4.5)) text-anchor="end" { (label) }
            }
            @for (value, label) in ticks[0].labels() {
                @let at = area.x.at(value);
                path class="grid" d={ "M" (one(at)) " " (one(bottom)) "V" (one(top)) } {}
                text x=(one(at)) y=(one(bottom + 18.0)) text-anchor="middle" { (label) }
            }
            text x=(one((left + right) / 2.0)) y=(one(size.height - 8.0)) text-anchor="middle" { (self.x.label) }
            @let middle = (bottom + top) / 2.0;
            text transform={ "translate(15 " (one(middle)) ") rotate(-90)" } text-anchor="middle" { (self.y.label) }
            clipPath id=(clip) {
                // Dots at both ends are whole.
                rect x=(one(left - 5.0)) y=(one(top)) width=(one(right - left + 10.0)) height=(one(bottom - top)) {}
            }
            g clip-path={ "url(#" (clip) ")" } {
                @for line in &self.lines { (line.draw(&area)) }
            }
        }
    }

    /// The values that are drawn in both directions, a little wider upwards; none where there is nothing to draw.
    fn ranges(&self) -> Option<[[f64; 2]; 2]> {
        let mut ranges = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
        let points = self.lines.iter().flat_map(|line| &line.points);
        for point in points.filter(|point| self.x.holds(point.x) && self.y.holds(point.y)) {
            let error = point.error.filter(|error| self.y.holds(point.y - error)).unwrap_or(0.0);
            for (range, [low, high]) in ranges.iter_mut().zip([[point.x; 2], [point.y - error, point.y + error]]) {
                *range = [range[0].min(low), range[1].max(high)];
            }
        }
        let [x, y] = ranges;
        let most = self.y.most.filter(|&most| most > y[0]).unwrap_or(y[1]).min(y[1]);
        (x[0] <= x[1]).then(|| [self.x.widened(x, 0.0), self.y.widened([y[0], most], 0.05)])
    }
}

impl Axis {
    /// Whether it has a place for a value.
    fn holds(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    /// A range with so much of its length on both sides, and in any case one with a length.
    fn widened(&self, [from, to]: [f64; 2], share: f64) -> [f64; 2] {
        let least = 1e-9 * from.abs().max(to.abs()).max(1e-3);
        match self.scale {
            Scale::Linear if to - from <= least => [from - 0.5 * from.abs().max(1.0), to + 0.5 * to.abs().max(1.0)],
            Scale::Linear => [from - share * (to - from), to + share * (to - from)],
            Scale::Log if to / from <= 1.0 + 1e-9 => [from / 2.0, to * 2.0],
            Scale::Log => [from * (from / to).powf(share), to * (to / from).powf(share)],
        }
    }
}

/// From values to places.
struct Span {
    scale: Scale,
    from: [f64; 2],
    to: [f64; 2],
}

impl Span {
    fn at(&self, value: f64) -> f64 {
        let [low, high] = self.from;
        let share = match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => (value / low).ln() / (high / low).ln(),
        };
        // Far outside of the picture all places are alike.
        self.to[0] + share.clamp(-2.0, 3.0) * (self.to[1] - self.to[0])
    }
}

struct Area {
    x: Span,
    y: Span,
}

impl Line {
    fn draw(&self, area: &Area) -> Markup {
        let holds = |point: &Point| point.x.is_finite() && point.y.is_finite();
        let log = |span: &Span, value: f64| span.scale == Scale::Linear || value > 0.0;
        let mut path = String::new();
        let mut broken = true;
        for point in self.thinned(area) {
            if !holds(&point) || !log(&area.x, point.x) || !log(&area.y, point.y) {
                broken = true;
                continue;
            }
            let command = if broken { 'M' } else { 'L' };
            let _ = write!(path, "{command}{} {}", one(area.x.at(point.x)), one(area.y.at(point.y)));
            broken = false;
        }
        let stroke = format!("stroke:var(--p{})", self.colour % COLOURS);
        let dashed = (self.colour >= SOLID).then_some("7 4");
        html! {
            path class=[(self.style == Style::Faint).then_some("faint")] style=(stroke) stroke-dasharray=[dashed] d=(path) {}
            @if self.style == Style::Dotted {
                @for point in self.points.iter().filter(|point| holds(point)) {
                    (self.dot(point, area, &stroke))
                }
            }
        }
    }

    /// A point with its error, which says what it is when asked.
    fn dot(&self, point: &Point, area: &Area, stroke: &str) -> Markup {
        let [x, y] = [area.x.at(point.x), area.y.at(point.y)];
        let name = self.name.as_ref().map_or(String::new(), |name| format!("{name}: "));
        let error = point.error.map_or(String::new(), |error| format!(" ± {}", ticks::rounded(error)));
        html! {
            @if let Some(error) = point.error {
                path style=(stroke) d={ "M" (one(x)) " " (one(area.y.at(point.y - error))) "V" (one(area.y.at(point.y + error))) } {}
            }
            circle cx=(one(x)) cy=(one(y)) r="3.5" style={ "fill:var(--p" (self.colour % COLOURS) ")" } {
                title { (name) (ticks::rounded(point.y)) (error) " at " (ticks::rounded(point.x)) }
            }
        }
    }

    /// Its points, or the lowest and the highest of each column of the picture where that is less.
    fn thinned(&self, area: &Area) -> Vec<Point> {
        let columns = (area.x.to[1] - area.x.to[0]).abs().max(1.0) as usize;
        if self.points.len() <= 2 * columns {
            return self.points.clone();
        }
        let column = |point: &Point| area.x.at(point.x) as i64;
        let ends = |points: &[Point]| {
            let by_y = |a: &&Point, b: &&Point| a.y.total_cmp(&b.y);
            let (low, high) = (points.iter().min_by(by_y), points.iter().max_by(by_y));
            let mut ends: Vec<Point> = low.into_iter().chain(high).copied().collect();
            ends.sort_by(|a, b| a.x.total_cmp(&b.x));
            ends.dedup();
            ends
        };
        self.points.chunk_by(|one, next| column(one) == column(next)).flat_map(ends).collect()
    }
}

/// The names of the lines, in as many rows as they need.
struct Legend<'a> {
    /// Colour, name, place and row of each.
    entries: Vec<(usize, &'a str, f64, usize)>,
    rows: usize,
}

impl<'a> Legend<'a> {
    /// Of a chart with more than one name.
    fn of(chart: &'a Chart, width: f64) -> Self {
        let named: Vec<_> = chart.lines.iter().filter_map(|line| Some((line.colour, line.name.as_deref()?))).collect();
        let (mut entries, mut x, mut row) = (Vec::new(), 8.0, 0);
        for (colour, name) in named {
            let wide = 42.0 + name.chars().count() as f64 * FONT * CHARACTER;
            if x > 8.0 && x + wide > width {
                (x, row) = (8.0, row + 1);
            }
            entries.push((colour, name, x, row));
            x += wide;
        }
        let rows = if entries.is_empty() { 0 } else { row + 1 };
        Legend { entries, rows }
    }

    fn height(&self) -> f64 {
        self.rows as f64 * 20.0
    }

    fn draw(&self) -> Markup {
        html! {
            @for &(colour, name, x, row) in &self.entries {
                @let y = 40.0 + row as f64 * 20.0;
                path style={ "stroke:var(--p" (colour % COLOURS) ")" } stroke-dasharray=[(colour >= SOLID).then_some("7 4")]
                    d={ "M" (one(x)) " " (one(y - 4.5)) "h22" } {}
                text x=(one(x + 28.0)) y=(one(y)) { (name) }
            }
        }
    }
}

/// A place, to a tenth of a pixel.
fn one(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}
