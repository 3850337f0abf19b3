//! A curve that grows, in little memory.

/// Most points; then neighbours become one.
const MOST: usize = 512;

/// Means of as many steps each, in the order of the steps.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    /// Values of a point.
    width: usize,
    /// Sums of the values that are no point yet, and their number.
    open: (f64, f64, usize),
}

impl Default for Curve {
    fn default() -> Self {
        Curve { points: Vec::new(), width: 1, open: (0.0, 0.0, 0) }
    }
}

impl Curve {
    /// Puts a value behind the others; one that is no number is left out.
    pub(super) fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let (steps, values, count) = &mut self.open;
        (*steps, *values, *count) = (*steps + step as f64, *values + value, *count + 1);
        if *count < self.width {
            return;
        }
        self.points.push((*steps / *count as f64, *values / *count as f64));
        self.open = (0.0, 0.0, 0);
        if self.points.len() == MOST {
            let pair = |pair: &[(f64, f64)]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(pair).collect();
            self.width *= 2;
        }
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The least and the greatest value; where there are many not those of the first twentieth, which most curves fall from.
    pub(super) fn range(&self) -> Option<[f64; 2]> {
        let beginning = if self.points.len() < 20 { 0 } else { self.points.len() / 20 };
        let values = || self.points[beginning..].iter().map(|point| point.1);
        let bounds = [values().reduce(f64::min)?, values().reduce(f64::max)?];
        Some(bounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_of_any_length_has_few_points_that_are_its_means() {
        let mut curve = Curve::default();
        (1..=100_000).for_each(|step| curve.push(step, step as f64 * 2.0));
        curve.push(100_001, f64::NAN);
        assert!((MOST / 2..MOST).contains(&curve.points().len()), "{}", curve.points().len());
        assert!(curve.points().iter().all(|&(step, value)| (value - 2.0 * step).abs() < 1e-6));
        // 256 steps a point: the mean of the steps 1 to 256.
        assert_eq!((curve.width, curve.points()[0]), (256, (128.5, 257.0)));
        assert_eq!(Curve::default().range(), None);
    }

    #[test]
    fn the_fall_of_the_beginning_does_not_flatten_the_rest() {
        let mut curve = Curve::default();
        (0..100).for_each(|step| curve.push(step, if step < 5 { 9.0 } else { 2.0 + step as f64 / 100.0 }));
        assert_eq!(curve.range(), Some([2.05, 2.99]));
    }
}
