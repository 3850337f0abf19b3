//! Counter-based randomness: a pure function of (seed, stream, step, index), bit-equal on every device.
//!
//! Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11). There is no state to save:
//! resuming a run needs (seed, step) alone, and a kernel asks for the numbers of its own token whatever the grid.
//!
//! Everything below a float is decided on integers: a mask compares 24-bit integers, never rounded floats. Normals use
//! only operations that IEEE 754 rounds exactly (+, -, ×, ÷, √, never contracted), so they too are bit-equal.

/// What the numbers are for. The discriminants are part of the file format: they are never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial weights; step = index of the parameter tensor, index = element / 4.
    Init = 1,
    /// Where each training window starts; step = training step, index = sequence in the global batch.
    Crop = 2,
    /// Noise levels; step = training step, index = sequence (or 0 for the one offset that stratified levels share).
    Level = 3,
    /// Which tokens are masked; step = training step, index = token in the global batch.
    Mask = 4,
    /// Which positions a step of sampling commits or masks again by lot (word 0), as what (word 1), and how a random order ranks
    /// them (word 2); step = sequence·2³² + denoising step, index = position.
    Reveal = 5,
    /// Noise levels of an evaluation; step = pass, index = 0.
    EvalLevel = 6,
    /// Which tokens an evaluation masks; step = pass·2³² + window, index = position.
    EvalMask = 7,
    /// Where in the corpus a prompt is taken from; step = sequence, index = 0.
    Prompt = 8,
    /// Key of each further block of a continued text, or round of a refined one; step = block or round, index = 0.
    Block = 9,
    /// Gaussian noise of the continuous processes; step = step·2³² + sequence, index = element / 4.
    Noise = 10,
    /// Which part of a joint process a step of training learns; step = training step, index = 0.
    Part = 11,
    /// What is drafted at a position (word 0), whether it is accepted (word 1), what stands there instead (word 2), or behind a
    /// draft that was accepted whole (word 3); step = sequence, index = position.
    Draft = 12,
    /// Which numbers dropout keeps; step = training step·2³² + sequence·places + place ([`Lots`](crate::program::Lots)), index =
    /// number of the sequence's / 4.
    Dropout = 13,
    /// The noise that a text begins with (words 1 and 2), and of one that is written anew where there is any (word 0); step =
    /// sequence, index = position.
    Start = 14,
    /// Gaussian noise of an evaluation; step = pass·2³² + window, index = element / 4.
    EvalNoise = 15,
    /// The little noise that tokens are read through at the end; as of [`Stream::Noise`].
    Decode = 16,
    /// Which characters of a text go wrong (word 0), how (word 1), and as which others (word 2); step = text, index = character.
    Slip = 17,
    /// Gumbel numbers of relaxed tokens, of true tokens; step = training step·2³² + sequence, index = (position·V + symbol) / 4.
    Gumbel = 18,
    /// The same of predicted ones.
    GumbelAgain = 19,
    /// Which characters of a text live at first, in a game of life (bit 0 of word 0); step = sequence, index = position.
    Life = 20,
    /// Noise that a text gets again before a step of its writing is repeated: which tokens are hit (word 0), and what they become
    /// (words 1 and 2), or Gaussian noise; step = denoising step·2³² + sequence, index = position, or element / 4.
    Again = 21,
    /// Which texts are learned without what they begin with; step = training step, index = sequence in the global batch.
    PromptDrop = 22,
    /// In which order a sheet shows its pairs of texts (words 0 and 1), and which of a pair is left (word 2); step = 0, index =
    /// place. Numbers below it are those of noise and sampling.
    Sheet = 32,
}

/// Four independent 32-bit words: Philox4x32-10 under key `seed` at the counter (index, step, stream).
pub fn philox(seed: u64, stream: Stream, step: u64, index: u32) -> [u32; 4] {
    let counter = [index, step as u32, (step >> 32) as u32, stream as u32];
    philox4x32_10(counter, [seed as u32, (seed >> 32) as u32])
}

fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [c0, c1, c2, c3] = counter;
        let p0 = 0xD251_1F53_u64 * u64::from(c0);
        let p1 = 0xCD9E_8D57_u64 * u64::from(c2);
        counter = [(p1 >> 32) as u32 ^ c1 ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ c3 ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// The number of distinct values of a [`uniform24`].
pub const UNIFORM_STEPS: u32 = 1 << 24;

/// The top 24 bits of a word: the integer that probabilities are compared with.
pub fn uniform24(word: u32) -> u32 {
    word >> 8
}

/// A uniform in [0, 1): exactly `uniform24 · 2⁻²⁴`.
pub fn uniform(word: u32) -> f32 {
    uniform24(word) as f32 * (1.0 / UNIFORM_STEPS as f32)
}

/// The integer below which [`uniform24`] falls with probability `p`; 1 and more always, 0 and less never.
pub fn threshold(p: f64) -> u32 {
    (p.clamp(0.0, 1.0) * f64::from(UNIFORM_STEPS)).round() as u32
}

/// An index in 0..n from two words, by the high half of a 64 × 64 product (bias below n·2⁻⁶⁴).
pub fn below(words: [u32; 4], n: u64) -> u64 {
    let wide = u64::from(words[0]) << 32 | u64::from(words[1]);
    ((u128::from(wide) * u128::from(n)) >> 64) as u64
}

/// Four standard normals from four words (Box–Muller on two pairs).
pub fn normals(words: [u32; 4]) -> [f32; 4] {
    let [a, b] = box_muller(words[0], words[1]);
    let [c, d] = box_muller(words[2], words[3]);
    [a, b, c, d]
}

fn box_muller(radius: u32, angle: u32) -> [f32; 2] {
    // (0, 1]: never the logarithm of zero; the farthest normal is √(2·24·ln 2) = 5.77.
    let u = (uniform24(radius) + 1) as f32 * (1.0 / UNIFORM_STEPS as f32);
    let r = (-2.0 * ln(u)).sqrt();
    let [cos, sin] = cos_sin_turn(uniform24(angle));
    [r * cos, r * sin]
}

/// Four standard Gumbel numbers `-ln(-ln u)` from four words, u in (0, 1): from -2.82 to 16.7.
pub fn gumbels(words: [u32; 4]) -> [f32; 4] {
    words.map(|word| {
        let u = uniform24(word).max(1) as f32 * (1.0 / UNIFORM_STEPS as f32);
        -ln(-ln(u))
    })
}

/// ln of a positive normal number, |relative error| < 3e-7: exponent and a series in s = (m-1)/(m+1), m in [√½, √2).
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(0x3F35_04F3); // √½: centres the mantissa on 1
    let exponent = (shifted as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23));
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut series = 2.0 / 11.0;
    for c in [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0] {
        series = series * s2 + c;
    }
    exponent as f32 * std::f32::consts::LN_2 + s * series
}

/// e^x for |x| up to 87, |relative error| < 3e-7: a power of two and a series on [-ln √2, ln √2].
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: what is added to it is rounded to a whole number.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut series = 1.0 / 40_320.0;
    for c in [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + c;
    }
    f32::from_bits(series.to_bits().wrapping_add(((n as i32) as u32) << 23))
}

/// Cosine and sine of `turn`·2⁻²⁴ turns, |absolute error| < 1e-6: exact quadrant reduction, then Taylor series on [0, π/2).
pub(crate) fn cos_sin_turn(turn: u32) -> [f32; 2] {
    let quadrant = turn >> 22;
    let x = (turn & 0x3F_FFFF) as f32 * (std::f32::consts::FRAC_PI_2 / 4_194_304.0);
    let x2 = x * x;
    let mut sin = -1.0 / 39_916_800.0;
    for c in [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0] {
        sin = sin * x2 + c;
    }
    sin *= x;
    let mut cos = 1.0 / 479_001_600.0;
    for c in [-1.0 / 3_628_800.0, 1.0 / 40_320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0] {
        cos = cos * x2 + c;
    }
    match quadrant {
        0 => [cos, sin],
        1 => [-sin, cos],
        2 => [-cos, -sin],
        _ => [sin, -cos],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox4x32_10([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox4x32_10([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn logarithm_and_circle_agree_with_f64() {
        for i in 1..=4096_u32 {
            let x = i as f32 / 4096.0;
            let want = f64::from(x).ln();
            assert!((f64::from(ln(x)) - want).abs() <= 3e-7 * want.abs().max(1e-3), "ln {x}");
            let power = (x - 0.5) * 170.0;
            let want = f64::from(power).exp();
            // r is off by n·2⁻²⁴ of ln 2's low part and a rounding of what is left of x.
            assert!((f64::from(exp(power)) / want - 1.0).abs() < 3e-7, "exp {power}");
            let turn = i * 4096 - 1;
            let angle = f64::from(turn) / f64::from(UNIFORM_STEPS) * std::f64::consts::TAU;
            let [cos, sin] = cos_sin_turn(turn);
            assert!((f64::from(cos) - angle.cos()).abs() < 1e-6, "cos {turn}");
            assert!((f64::from(sin) - angle.sin()).abs() < 1e-6, "sin {turn}");
        }
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        let n = 40_000_u32;
        let (mut sum, mut square, mut fourth) = (0.0, 0.0, 0.0);
        for index in 0..n / 4 {
            for z in normals(philox(7, Stream::Init, 0, index)) {
                let z = f64::from(z);
                sum += z;
                square += z * z;
                fourth += z * z * z * z;
            }
        }
        let n = f64::from(n);
        // Five standard errors: 1/√n, √(2/n), √(96/n).
        assert!((sum / n).abs() < 5.0 / n.sqrt());
        assert!((square / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((fourth / n - 3.0).abs() < 5.0 * (96.0 / n).sqrt());
    }

    #[test]
    fn gumbels_have_the_moments_of_a_gumbel_and_no_infinities() {
        let n = 40_000_u32;
        let all = (0..n / 4).flat_map(|index| gumbels(philox(7, Stream::Gumbel, 0, index)).map(f64::from));
        let (sum, square) = all.fold((0.0, 0.0), |(sum, square), g| (sum + g, square + g * g));
        let (mean, variance) = (sum / f64::from(n), square / f64::from(n) - (sum / f64::from(n)).powi(2));
        // Five standard errors: the variance is π²/6, the kurtosis 5.4.
        let wanted = std::f64::consts::PI.powi(2) / 6.0;
        let n = f64::from(n);
        assert!((mean - 0.577_215_66).abs() < 5.0 * (wanted / n).sqrt(), "{mean}");
        assert!((variance - wanted).abs() < 5.0 * wanted * (4.4 / n).sqrt(), "{variance}");
        for (word, wanted) in [(0, -(24.0 * 2.0_f64.ln()).ln()), (!0, 24.0 * 2.0_f64.ln())] {
            assert!((f64::from(gumbels([word; 4])[0]) - wanted).abs() < 1e-5, "of {word}");
        }
    }

    #[test]
    fn below_reaches_both_ends_and_nothing_beyond() {
        assert_eq!(below([0; 4], 10), 0);
        assert_eq!(below([!0; 4], 10), 9);
        assert_eq!(below([!0; 4], u64::MAX), u64::MAX - 1);
    }
}
