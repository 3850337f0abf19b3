//! The two number formats that memory may hold. Arithmetic is f32 in both.

use bytemuck::Pod;
use half::bf16;
use multiversion::multiversion;

/// A number as it lies in memory: `f32`, or `bf16` (round to nearest even on the way in).
pub(crate) trait Element: Pod + Default + Send + Sync + std::fmt::Debug {
    /// Which of the two it is, for kernels that exist once per format.
    const FORMAT: Format;

    /// The same number in f32, exactly.
    fn wide(self) -> f32;

    /// The nearest representable number.
    fn nearest(value: f32) -> Self;

    /// `to[i] = from[i]`, exactly.
    fn widen(from: &[Self], to: &mut [f32]);

    /// `to[i] = nearest(from[i])`.
    fn narrow(from: &[f32], to: &mut [Self]);
}

/// A memory format, as a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// IEEE binary32.
    F32,
    /// The upper half of an f32.
    Bf16,
}

impl Element for f32 {
    const FORMAT: Format = Format::F32;

    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }

    fn widen(from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

impl Element for bf16 {
    const FORMAT: Format = Format::Bf16;

    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        bf16::from_bits(round_to_bf16(value))
    }

    fn widen(from: &[Self], to: &mut [f32]) {
        widen_bf16(from, to);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        narrow_bf16(from, to);
    }
}

/// Round to nearest even in integers. Infinities stay, and so does every NaN that arithmetic makes (a NaN whose payload is
/// all ones would not).
#[inline(always)]
fn round_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn widen_bf16(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.wide();
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn narrow_bf16(from: &[f32], to: &mut [bf16]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = bf16::nearest(*from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_rounds_as_the_half_crate_does() {
        let interesting = [0.0, -0.0, 1.0, f32::MIN_POSITIVE, 1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
        let sweep =
            (0..=u16::MAX).map(|i| f32::from_bits((u32::from(i) << 16) | u32::from(i).wrapping_mul(40503) & 0xffff));
        for value in sweep.chain(interesting).filter(|value| !value.is_nan()) {
            assert_eq!(bf16::nearest(value).to_bits(), bf16::from_f32(value).to_bits(), "{value}");
        }
        assert!(
            [f32::NAN, -f32::NAN, f32::INFINITY - f32::INFINITY].into_iter().all(|nan| bf16::nearest(nan).is_nan())
        );
    }

    #[test]
    fn widening_a_narrowed_slice_gives_back_what_bf16_can_hold() {
        let exact: Vec<f32> = (-33..33).map(|i| i as f32 * 0.5).collect();
        let mut narrow = vec![bf16::default(); exact.len()];
        bf16::narrow(&exact, &mut narrow);
        let mut wide = vec![0.0; exact.len()];
        bf16::widen(&narrow, &mut wide);
        assert_eq!(exact, wide);
    }
}
