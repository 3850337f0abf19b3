//! Where an axis has ticks, and how they are written.

use super::{Axis, Scale};

/// Values on an axis, and the digits behind the point that they are written with; none for as many as each needs.
pub(super) struct Ticks {
    values: Vec<f64>,
    digits: Option<usize>,
}

impl Ticks {
    /// About `wanted` of a range: those that the axis names, else round numbers.
    pub(super) fn of(axis: &Axis, [from, to]: [f64; 2], wanted: f64) -> Self {
        let within = |value: &f64| (from..=to).contains(value);
        if !axis.ticks.is_empty() {
            return Ticks { values: axis.ticks.iter().copied().filter(within).collect(), digits: None };
        }
        if axis.scale == Scale::Log && to / from >= 8.0 {
            return Ticks { values: decades(from, to, wanted).filter(within).collect(), digits: None };
        }
        let step = round_step((to - from) / wanted.max(1.0));
        // Whole multiples, so that 0.3 does not become 0.30000000000000004.
        let values = ((from / step).ceil() as i64..=(to / step).floor() as i64).map(|i| i as f64 * step).collect();
        Ticks { values, digits: Some((-step.log10().floor()).clamp(0.0, 12.0) as usize) }
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        self.values.iter().map(|&value| (value, self.digits.map_or_else(|| rounded(value), |n| written(value, n))))
    }
}

/// 1, 2 or 5 times a power of ten, the least that is not below a number.
fn round_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|&step| step >= at_least).unwrap_or(10.0 * power)
}

/// 1, 2 and 5 times each power of ten, or the powers alone where that is more than wanted, or some of them.
fn decades(from: f64, to: f64, wanted: f64) -> impl Iterator<Item = f64> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let digits: &[f64] = if 3.0 * f64::from(last - first) <= 2.0 * wanted { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (f64::from(last - first) / wanted.max(1.0)).ceil().max(1.0) as usize;
    (first..=last).step_by(every).flat_map(move |power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
}

/// A number as people write it, with up to four digits that count.
pub(super) fn rounded(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = written(value, digits);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// With so many digits behind the point, and a comma between thousands.
fn written(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", &text[..]), |rest| ("−", rest));
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let grouped: Vec<String> =
        whole.as_bytes().rchunks(3).rev().map(|digits| String::from_utf8_lossy(digits).into_owned()).collect();
    format!("{sign}{}{rest}", grouped.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, from: f64, to: f64, wanted: f64) -> Vec<String> {
        Ticks::of(axis, [from, to], wanted).labels().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_with_the_digits_that_tell_them_apart() {
        let linear = Axis::default();
        assert_eq!(labels(&linear, 0.0, 20_000.0, 4.0), ["0", "5,000", "10,000", "15,000", "20,000"]);
        assert_eq!(labels(&linear, 1.48, 1.71, 5.0), ["1.50", "1.55", "1.60", "1.65", "1.70"]);
        assert_eq!(labels(&linear, -0.31, 0.31, 6.0), ["−0.2", "0.0", "0.2"]);
        let log = Axis { scale: Scale::Log, ..Axis::default() };
        assert_eq!(labels(&log, 1.0, 128.0, 6.0), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(&log, 1e-6, 1e6, 6.0), ["0.000001", "0.0001", "0.01", "1", "100", "10,000", "1,000,000"]);
        let named = Axis { ticks: vec![1.0, 64.0, 4096.0], ..log };
        assert_eq!(labels(&named, 1.0, 64.0, 6.0), ["1", "64"]);
    }

    #[test]
    fn numbers_have_four_digits_that_count() {
        let found = [2.0 / 3.0, 1234.56, 0.000_123_456, -1.5, 1e7, 0.0].map(rounded);
        assert_eq!(found, ["0.6667", "1,235", "0.0001235", "−1.5", "10,000,000", "0"]);
    }
}
