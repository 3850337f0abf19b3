//! Conway's game of life on texts, as the original's `animations/game-of-life.py` plays it: the characters of a text are the cells
//! of a square, row by row; those that live in a generation are masked and written anew.

use super::{Frame, SampleConfig, Text, Watch, Written, sample_as_finished};
use crate::denoiser::{Denoiser, Start};
use crate::error::Result;
use crate::rng::{Stream, philox};

/// The cells of a text of any length: a square whose edges meet; what its last row lacks is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Board {
    width: usize,
    alive: Vec<bool>,
}

impl Board {
    /// Half of the cells, by lot.
    fn of_text(seed: u64, number: u32, length: usize) -> Self {
        let lives = |at: usize| philox(seed, Stream::Life, number.into(), at as u32)[0] & 1 == 1;
        Board { width: length.isqrt().max(1), alive: (0..length).map(lives).collect() }
    }

    /// The next generation: three neighbours bring a cell to life, two or three keep it there.
    fn next(&self) -> Self {
        let (width, height) = (self.width, self.alive.len().div_ceil(self.width));
        let lives = |at: usize| {
            let (row, column) = (at / width, at % width);
            let around = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)];
            let neighbour = |(down, right): (usize, usize)| {
                let (row, column) = ((row + height + down - 1) % height, (column + width + right - 1) % width);
                self.alive.get(row * width + column).is_some_and(|&lives| lives)
            };
            let neighbours = around.into_iter().filter(|&place| neighbour(place)).count();
            neighbours == 3 || (neighbours == 2 && self.alive[at])
        };
        Board { width, alive: (0..self.alive.len()).map(lives).collect() }
    }
}

/// Samples texts and plays so many generations on them.
pub fn write(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    starts: &[Start],
    first: u32,
    generations: u32,
    mut watch: Watch<'_>,
) -> Result<Vec<Text>> {
    let mut texts = Vec::with_capacity(starts.len());
    let mut heard = |written: Written<'_>| texts.extend(written.whole());
    sample_as_finished(denoiser, config, starts, first, watch.again(), &mut heard)?;
    live(denoiser, config, starts, texts, generations, watch)
}

/// Plays so many generations on finished texts of one window, which began with these starts: of each the living cells are masked,
/// but for those that were given, and written anew as `config` says. A text depends on the seed and its number alone.
///
/// What is watched of a generation begins with its masks, as step 0 of a block of its own.
fn live(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    starts: &[Start],
    mut texts: Vec<Text>,
    generations: u32,
    mut watch: Watch<'_>,
) -> Result<Vec<Text>> {
    texts.sort_by_key(|text| text.number);
    let (first, mask) = (texts.first().map_or(0, |text| text.number), denoiser.vocab().mask_id());
    let mut boards: Vec<Board> =
        texts.iter().map(|text| Board::of_text(config.seed, text.number, text.tokens.len())).collect();
    let nothing = vec![Text::default(); texts.len()];
    for generation in 1..=generations {
        boards = boards.iter().map(Board::next).collect();
        let masked = |((text, start), board): ((&Text, &Start), &Board)| -> Start {
            let cells = text.tokens.iter().zip(start).zip(&board.alive);
            cells.map(|((&token, given), lives)| if *lives { *given } else { Some(token) }).collect()
        };
        let holes: Vec<Start> = texts.iter().zip(starts).zip(&boards).map(masked).collect();
        if holes.iter().flatten().all(Option::is_some) {
            continue;
        }
        let mut rewritten = Vec::with_capacity(texts.len());
        let mut heard = |written: Written<'_>| rewritten.extend(written.whole());
        let again = SampleConfig { seed: config.block_seed(generation), ..config.clone() };
        if let Watch::Steps(show) = &mut watch {
            let tokens: Vec<u32> = holes.iter().flatten().map(|token| token.unwrap_or(mask)).collect();
            let open: Vec<u32> = holes.iter().flatten().map(|token| u32::from(token.is_none())).collect();
            show(&Frame {
                texts: first..first + texts.len() as u32,
                block: generation,
                step: 0,
                tokens: &tokens,
                masked: &open,
                confidence: &vec![0.0; tokens.len()],
                before: &nothing,
                new: 0..holes[0].len(),
            });
        }
        sample_as_finished(denoiser, &again, &holes, first, watch.again(), &mut heard)?;
        rewritten.sort_by_key(|text| text.number);
        texts = texts.into_iter().zip(rewritten).map(|(text, again)| text.rewritten(again)).collect();
    }
    Ok(texts)
}

impl Text {
    /// It, of which some tokens were written again after all its steps: both are one block.
    fn rewritten(self, again: Text) -> Text {
        let before: u32 = self.steps.iter().sum();
        let latest = |(was, now): (Option<u32>, Option<u32>)| now.map(|step| before + step).or(was);
        let committed_at = self.committed_at.into_iter().zip(again.committed_at).map(latest).collect();
        let steps = vec![before + again.steps.iter().sum::<u32>()];
        Text { committed_at, steps, ends: vec![again.tokens.len()], ..again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(rows: &[&str]) -> Board {
        Board { width: rows[0].len(), alive: rows.iter().flat_map(|row| row.chars()).map(|c| c == '#').collect() }
    }

    #[test]
    fn a_blinker_turns_and_a_glider_goes_over_the_edge() {
        let upright = board(&[".....", "..#..", "..#..", "..#..", "....."]);
        assert_eq!(upright.next(), board(&[".....", ".....", ".###.", ".....", "....."]));
        assert_eq!(upright.next().next(), upright);
        // A glider is one cell further down and right after four generations; after 20 it has been around.
        let glider = board(&[".#...", "..#..", "###..", ".....", "....."]);
        let after = |generations| (0..generations).fold(glider.clone(), |board, _| board.next());
        assert_eq!(after(4), board(&[".....", "..#..", "...#.", ".###.", "....."]));
        assert!(after(20) == glider && after(19) != glider);
    }

    #[test]
    fn a_last_row_may_be_short_and_a_text_tiny() {
        assert_eq!(board(&["##", "#"]).alive.len(), 3);
        for length in [0, 1, 2, 3, 7, 130] {
            assert_eq!(Board::of_text(1, 0, length).next().alive.len(), length);
        }
        let half = Board::of_text(1, 0, 10_000).alive.iter().filter(|&&lives| lives).count();
        // Six standard deviations of 50.
        assert!(half.abs_diff(5000) < 300, "{half}");
    }
}
