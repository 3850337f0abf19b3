//! Rotary position embedding (Su et al., RoFormer, 2021), half split: `y₁ = x₁ cos + x₂ sin`, `y₂ = -x₁ sin + x₂ cos`.

use std::collections::HashMap;

/// Cosines and sines per position: `[positions, D/2]` each, of `position / 10000^(2i/D)`, rounded from double precision.
pub(super) struct Table {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

/// Tables by (positions, D), made when a program first needs them.
#[derive(Default)]
pub(super) struct Tables(HashMap<(u32, usize), Table>);

impl Tables {
    /// The table for (positions, D).
    pub(super) fn get(&mut self, key: (u32, usize)) -> &Table {
        self.0.entry(key).or_insert_with(|| Table::new(key.0 as usize, key.1))
    }
}

impl Table {
    fn new(positions: usize, head_dim: usize) -> Self {
        let half = head_dim / 2;
        let angles = super::super::rope_angles(positions, head_dim);
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Table { cos, sin, half }
    }

    /// D.
    pub(super) fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// T: rows of the table.
    pub(super) fn positions(&self) -> usize {
        self.cos.len() / self.half
    }

    #[inline(always)]
    fn row(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }

    /// Rotates one head's columns in place.
    #[inline(always)]
    pub(super) fn rotate(&self, position: usize, head: &mut [f32]) {
        let (cos, sin) = self.row(position);
        let (first, second) = head.split_at_mut(self.half);
        for (((x1, x2), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*x1, *x2) = (*x1 * cos + *x2 * sin, *x2 * cos - *x1 * sin);
        }
    }

    /// Rotates back: the transpose, which is also the gradient.
    #[inline(always)]
    pub(super) fn rotate_back(&self, position: usize, head: &mut [f32]) {
        let (cos, sin) = self.row(position);
        let (first, second) = head.split_at_mut(self.half);
        for (((y1, y2), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*y1, *y2) = (*y1 * cos - *y2 * sin, *y1 * sin + *y2 * cos);
        }
    }
}
