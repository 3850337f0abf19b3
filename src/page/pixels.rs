//! Texts that come about as pixels: a GIF that moves, and a PNG of what they come to.
//!
//! Both have one palette: each colour of a character in steps towards the ground's, as the edges of its strokes need them.

use super::animation::{COLUMNS, LENGTH_S, MOVING, STEP_S, Stay, places};
use crate::error::{Error, Result};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::ops::Range;

/// Dark, as most terminals are.
const GROUND: [u8; 3] = [22, 22, 22];
/// Of open positions, of what was given, and from unsure to sure, or from early to late.
const INKS: [[u8; 3]; 9] = [
    [118, 118, 118],
    [238, 238, 238],
    [255, 110, 40],
    [255, 150, 30],
    [220, 180, 40],
    [178, 186, 140],
    [140, 186, 190],
    [95, 178, 222],
    [60, 175, 255],
];
/// Steps of an ink, from the ground to itself.
const LEVELS: usize = 16;

/// Height of a line and of its characters, and margin around all, in pixels.
const SIZE: RasterHeight = RasterHeight::Size20;
const LINE: usize = 24;
const MARGIN: usize = 16;

/// Most pictures of a GIF, and the least time for which browsers show one, in hundredths of a second.
const MOST_PICTURES: usize = 500;
const LEAST_DELAY: u16 = 2;

/// Most pixels of a picture: GIFs count sides in 16 bits.
const MOST_LINES: usize = (u16::MAX as usize - 2 * MARGIN) / LINE;

/// Texts below each other; of each the stays at every position, over so many steps.
pub(super) struct Pixels<'a> {
    texts: &'a [Vec<Vec<Stay>>],
    places: Vec<Vec<[usize; 2]>>,
    lines: usize,
    steps: usize,
}

impl<'a> Pixels<'a> {
    /// Refuses texts that are longer than such files may be.
    pub(super) fn new(texts: &'a [Vec<Vec<Stay>>], steps: usize) -> Result<Self> {
        let (places, lines) = places(texts);
        match lines {
            1..=MOST_LINES => Ok(Pixels { texts, places, lines, steps }),
            _ => Err(Error::input(format!(
                "a picture of {lines} lines; wanted 1 to {MOST_LINES}: give fewer --texts or a lower --length"
            ))),
        }
    }

    /// The animation.
    pub(super) fn gif(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let broken = |e: gif::EncodingError| Error::input(format!("cannot write a GIF: {e}"));
        let (width, height) = (self.width() as u16, self.height() as u16);
        let mut encoder = gif::Encoder::new(&mut bytes, width, height, &palette()).map_err(broken)?;
        encoder.set_repeat(gif::Repeat::Infinite).map_err(broken)?;
        let pictures = self.steps.min(MOST_PICTURES);
        let seconds = (self.steps as f64 * STEP_S).clamp(LENGTH_S[0], LENGTH_S[1]);
        let delay = ((100.0 * seconds / pictures.max(1) as f64).round() as u16).max(LEAST_DELAY);
        let rest = (100.0 * seconds * (1.0 - MOVING) / MOVING) as u16;
        let mut before: Option<Vec<u8>> = None;
        for picture in 0..=pictures {
            let pixels = self.draw((picture * self.steps).checked_div(pictures).unwrap_or(0));
            let rows = before.as_ref().map_or(0..self.height(), |before| self.changed(before, &pixels));
            let frame = gif::Frame {
                width,
                height: rows.len() as u16,
                top: rows.start as u16,
                delay: if picture == pictures { rest.max(delay) } else { delay },
                buffer: pixels[rows.start * self.width()..rows.end * self.width()].into(),
                ..gif::Frame::default()
            };
            encoder.write_frame(&frame).map_err(broken)?;
            before = Some(pixels);
        }
        drop(encoder);
        Ok(bytes)
    }

    /// The last picture.
    pub(super) fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let broken = |e: png::EncodingError| Error::input(format!("cannot write a PNG: {e}"));
        let mut encoder = png::Encoder::new(&mut bytes, self.width() as u32, self.height() as u32);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette());
        let mut writer = encoder.write_header().map_err(broken)?;
        writer.write_image_data(&self.draw(self.steps)).and_then(|()| writer.finish()).map_err(broken)?;
        Ok(bytes)
    }

    fn width(&self) -> usize {
        2 * MARGIN + COLUMNS * get_raster_width(FontWeight::Regular, SIZE)
    }

    fn height(&self) -> usize {
        2 * MARGIN + self.lines * LINE
    }

    /// The lines of pixels that differ; one where none do, since a picture has one at least.
    fn changed(&self, before: &[u8], now: &[u8]) -> Range<usize> {
        let rows = || before.chunks_exact(self.width()).zip(now.chunks_exact(self.width()));
        let first = rows().position(|(a, b)| a != b).unwrap_or(0);
        let last = rows().rposition(|(a, b)| a != b).unwrap_or(first);
        first..last + 1
    }

    /// The colours' numbers after so many steps.
    fn draw(&self, step: usize) -> Vec<u8> {
        let mut pixels = vec![0; self.width() * self.height()];
        let column_width = get_raster_width(FontWeight::Regular, SIZE);
        for (stays, places) in self.texts.iter().zip(&self.places) {
            for (stays, &[column, line]) in stays.iter().zip(places) {
                let stay = stays.iter().rfind(|stay| stay.from <= step).expect("something stands there from the start");
                let (shape, ink) = match &stay.symbol {
                    None => ("·", 0),
                    Some(_) if stay.from == 0 => (stay.symbol.as_deref().unwrap_or_default(), 1),
                    Some(symbol) => (&symbol[..], ink(stay.share)),
                };
                for (at, c) in shape.chars().filter(|c| !c.is_control()).enumerate() {
                    if column + at < COLUMNS {
                        let place = [MARGIN + (column + at) * column_width, MARGIN + line * LINE];
                        self.put(&mut pixels, place, c, ink);
                    }
                }
            }
        }
        pixels
    }

    /// Puts a character down; a box for one that the font has not.
    fn put(&self, pixels: &mut [u8], [x, y]: [usize; 2], c: char, ink: usize) {
        let raster = |c| get_raster(c, FontWeight::Regular, SIZE);
        let Some(raster) = raster(c).or_else(|| raster(char::REPLACEMENT_CHARACTER)).or_else(|| raster('?')) else {
            return;
        };
        for (row, values) in raster.rows().enumerate() {
            for (column, &value) in values.iter().enumerate() {
                let level = usize::from(value) * (LEVELS - 1) / 255;
                if level > 0 {
                    pixels[(y + row) * self.width() + x + column] = (ink * LEVELS + level) as u8;
                }
            }
        }
    }
}

/// The ink of a share, 0 to 1: of what is sure, or late.
fn ink(share: f32) -> usize {
    let first = 2;
    first + (share.clamp(0.0, 1.0) * (INKS.len() - 1 - first) as f32).round() as usize
}

/// Red, green and blue of each colour, [`LEVELS`] of each ink.
fn palette() -> Vec<u8> {
    let mix = |ink: u8, ground: u8, level: usize| {
        let (ink, ground, most) = (usize::from(ink), usize::from(ground), LEVELS - 1);
        ((ink * level + ground * (most - level)) / most) as u8
    };
    let levels = |ink: [u8; 3]| (0..LEVELS).flat_map(move |level| [0, 1, 2].map(|i| mix(ink[i], GROUND[i], level)));
    INKS.into_iter().flat_map(levels).collect()
}
