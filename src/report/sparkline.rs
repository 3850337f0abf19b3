//! A curve in one line.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar for each value, from the least to the greatest; what is not finite is a blank.
pub(super) fn sparkline(values: &[f64]) -> String {
    let finite = || values.iter().copied().filter(|x| x.is_finite());
    let (least, most) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let bar = |x: f64| match most > least {
        true => BARS[((x - least) / (most - least) * (BARS.len() - 1) as f64).round() as usize],
        false => BARS[0],
    };
    values.iter().map(|&x| if x.is_finite() { bar(x) } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_value_has_the_tallest_bar() {
        assert_eq!(sparkline(&[4.0, 2.0, 1.0, 0.5]), "█▄▂▁");
        assert_eq!(sparkline(&[1.0, f64::NAN, 1.0]), "▁ ▁");
        assert_eq!(sparkline(&[]), "");
    }
}
