//! Where a pass that is learned from drops numbers.

use super::{Keep, Transformer};
use crate::program::{AttentionMask, Builder, Dropout, Lots, Mat};

/// A place of a pass where numbers are dropped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The embedding's sum.
    Embedding,
    /// What a block's attention adds to the stream.
    Attention(usize),
    /// What a block's MLP adds to it.
    Mlp(usize),
    /// A block's attention weights, those of its first head.
    Weights(usize),
}

/// Dropout of a pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drops {
    rate: f32,
    layers: u32,
    heads: u32,
    positions: u32,
    sequences: u32,
}

impl Transformer {
    /// What is dropped in a pass over rows of so many positions; none in one that is not learned from.
    pub(super) fn drops(&self, keep: Keep, rows: usize, positions: usize) -> Option<Drops> {
        let copies = if let AttentionMask::Blocks { .. } = self.mask { 2 } else { 1 };
        let (layers, heads) = (self.config.n_layer as u32, self.config.n_head as u32);
        let (positions, sequences) = (positions as u32, (rows / positions / copies) as u32);
        (keep == Keep::All && self.dropout > 0.0).then_some(Drops {
            rate: self.dropout,
            layers,
            heads,
            positions,
            sequences,
        })
    }
}

impl Drops {
    /// A block has a place for each of its branches, and one for each of its heads.
    pub(super) fn lots(self, place: Place) -> Lots {
        let of_block = 2 + self.heads;
        let place = match place {
            Place::Embedding => 0,
            Place::Attention(block) => 1 + block as u32 * of_block,
            Place::Mlp(block) => 2 + block as u32 * of_block,
            Place::Weights(block) => 3 + block as u32 * of_block,
        };
        Lots { rate: self.rate, place, places: 1 + self.layers * of_block }
    }

    /// Appends `y = [residual +]` what is left of `x`.
    pub(super) fn push(
        self,
        b: &mut Builder<'_>,
        place: Place,
        x: Mat,
        residual: Option<Mat>,
        y: Mat,
        sumsq: Option<Mat>,
    ) {
        let Drops { positions, sequences, .. } = self;
        b.push(Dropout { x, residual, positions, sequences, lots: self.lots(place), y, sumsq });
    }

    /// Appends `y`, what is left of `x`, and returns it.
    pub(super) fn left(self, b: &mut Builder<'_>, place: Place, x: Mat, y: Mat) -> Mat {
        self.push(b, place, x, None, y, None);
        y
    }
}
