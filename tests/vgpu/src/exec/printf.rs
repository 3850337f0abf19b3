//! `vprintf`, `__assertfail`, and the heap of the device.

use super::frame::lanes;
use super::launch::Stop;
use super::step::{Exec, Flow};
use crate::isa::{Element8, Space, SystemCall};
use crate::memory::window;

impl Exec<'_, '_> {
    pub(super) fn system(&mut self, call: SystemCall, args: &[(u32, u32)], returns: &[(u32, u32)], mask: u32) -> Flow {
        for lane in lanes(mask) {
            let argument = |i: usize| {
                let params = &self.frame().params;
                let Some((offset, words)) = args.get(i) else { return 0 };
                let word = |at: u32| params.get(at as usize).map_or(0, |w| u64::from(w[lane]));
                word(offset / 4) | if *words > 1 { word(offset / 4 + 1) << 32 } else { 0 }
            };
            let (first, second) = (argument(0), argument(1));
            let result = match call {
                SystemCall::Printf => self.printf(lane, first, second),
                SystemCall::AssertFail => {
                    self.launch.stop(Stop::Assert);
                    return Flow::Yield;
                }
                SystemCall::Malloc => self.malloc(first),
                SystemCall::Free => {
                    if let Ok(mut heap) = self.launch.heap.lock() {
                        heap.retain(|a| a.base != first);
                    }
                    self.launch.arena.free(first);
                    0
                }
            };
            if let Some((offset, words)) = returns.first() {
                for i in 0..*words {
                    let at = (offset / 4 + i) as usize;
                    if let Some(place) = self.frame_mut().params.get_mut(at) {
                        place[lane] = (result >> (32 * i)) as u32;
                    }
                }
            }
        }
        self.warp.effects += 1;
        Flow::Next
    }

    /// Zero where there is no room, as in C.
    fn malloc(&mut self, bytes: u64) -> u64 {
        let Some(base) = self.launch.arena.alloc(bytes, 16) else { return 0 };
        if let (Some(allocation), Ok(mut heap)) = (self.launch.arena.holding(base, 0), self.launch.heap.lock()) {
            heap.push(allocation);
        }
        base
    }

    /// Bytes at a generic address, as far as there are any; nothing is checked.
    fn peek(&self, lane: usize, address: u64, into: &mut [u8]) -> bool {
        let (space, at) = window::locate(address);
        let at = at as usize;
        match space {
            Space::Local => {
                let local = self.warp.local.get(lane);
                let Some(bytes) = local.and_then(|l| l.data.get(at..at + into.len())) else {
                    return false;
                };
                into.copy_from_slice(bytes);
            }
            Space::Shared => {
                let Some(bytes) = self.common.shared.get(at..at + into.len()) else { return false };
                into.copy_from_slice(bytes);
            }
            Space::Param => {
                for (i, byte) in into.iter_mut().enumerate() {
                    let element = Element8 { bytes: 1, signed: false };
                    *byte = self.param((at + i) as u64, element) as u8;
                }
            }
            _ => {
                let place = crate::memory::Arena::find(self.launch.table, address);
                let crate::memory::Place::Inside(index) = place else { return false };
                let allocation = &self.launch.table[index];
                let offset = (address - allocation.base) as usize;
                if offset + into.len() > allocation.bytes as usize {
                    return false;
                }
                allocation.data.read(offset, into);
            }
        }
        true
    }

    fn text(&self, lane: usize, address: u64) -> String {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while bytes.len() < 1 << 16 && self.peek(lane, address + bytes.len() as u64, &mut byte) {
            if byte[0] == 0 {
                break;
            }
            bytes.push(byte[0]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Prints; the arguments lie one after the other, each at a multiple of its size.
    fn printf(&mut self, lane: usize, format: u64, arguments: u64) -> u64 {
        let format = self.text(lane, format);
        let mut at = arguments;
        let mut count = 0;
        let mut out = String::new();
        let mut rest = format.as_str();
        while let Some(place) = rest.find('%') {
            out.push_str(&rest[..place]);
            rest = &rest[place + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                out.push('%');
                rest = after;
                continue;
            }
            let mut next = |size: u64| {
                at = at.next_multiple_of(size);
                let mut bytes = [0; 8];
                self.peek(lane, at, &mut bytes[..size as usize]);
                at += size;
                u64::from_le_bytes(bytes)
            };
            let (spec, after) = Spec::parse(rest, || next(4) as i32);
            rest = after;
            count += 1;
            let value = next(spec.bytes());
            let text = if spec.conversion == 's' { self.text(lane, value) } else { String::new() };
            out.push_str(&spec.show(value, &text));
        }
        out.push_str(rest);
        self.common.printed.push_str(&out);
        count
    }
}

/// A conversion of a format.
#[derive(Clone, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    /// `h` counts down, `l` up.
    length: i32,
    conversion: char,
}

impl Spec {
    /// Parses what follows the `%`; gives the rest of the format.
    fn parse(text: &str, mut star: impl FnMut() -> i32) -> (Spec, &str) {
        let mut spec = Spec::default();
        let chars = text.char_indices();
        let mut in_precision = false;
        for (i, c) in chars {
            match c {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '#' => spec.alternate = true,
                '0' if spec.width == 0 && !in_precision => spec.zero = true,
                '.' => {
                    in_precision = true;
                    spec.precision = Some(0);
                }
                '*' => {
                    let value = star();
                    if in_precision {
                        spec.precision = usize::try_from(value).ok();
                    } else {
                        spec.minus |= value < 0;
                        spec.width = value.unsigned_abs() as usize;
                    }
                }
                '0'..='9' => {
                    let digit = c as usize - '0' as usize;
                    let number = if in_precision { spec.precision.get_or_insert(0) } else { &mut spec.width };
                    *number = (*number * 10 + digit).min(4096);
                }
                'h' => spec.length -= 1,
                'l' | 'z' | 'j' | 't' | 'q' => spec.length += 1,
                'L' => {}
                _ => {
                    spec.conversion = c;
                    return (spec, &text[i + c.len_utf8()..]);
                }
            }
        }
        (spec, "")
    }

    /// Bytes of its argument.
    fn bytes(&self) -> u64 {
        match self.conversion {
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' if self.length <= 0 => 4,
            'c' => 4,
            _ => 8,
        }
    }

    fn show(&self, value: u64, text: &str) -> String {
        let (sign, digits) = match self.conversion {
            'd' | 'i' => {
                let x = match self.length {
                    ..=-2 => i64::from(value as i8),
                    -1 => i64::from(value as i16),
                    0 => i64::from(value as i32),
                    _ => value as i64,
                };
                (self.sign(x < 0), self.at_least(x.unsigned_abs().to_string()))
            }
            'u' | 'x' | 'X' | 'o' => {
                let x = match self.length {
                    ..=-2 => value & 0xff,
                    -1 => value & 0xffff,
                    0 => value & 0xffff_ffff,
                    _ => value,
                };
                let prefix = self.alternate && x != 0;
                match self.conversion {
                    'u' => (String::new(), self.at_least(x.to_string())),
                    'x' => (if prefix { "0x".into() } else { String::new() }, self.at_least(format!("{x:x}"))),
                    'X' => (if prefix { "0X".into() } else { String::new() }, self.at_least(format!("{x:X}"))),
                    _ => (String::new(), self.at_least(format!("{}{x:o}", if prefix { "0" } else { "" }))),
                }
            }
            'c' => (String::new(), char::from(value as u8).to_string()),
            's' => {
                let cut = self.precision.unwrap_or(usize::MAX);
                (String::new(), text.chars().take(cut).collect())
            }
            'p' => (String::new(), format!("0x{value:x}")),
            'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'a' | 'A' => {
                let x = f64::from_bits(value);
                (self.sign(x.is_sign_negative() && !x.is_nan()), self.float(x.abs()))
            }
            _ => (String::new(), String::new()),
        };
        let length = sign.chars().count() + digits.chars().count();
        let pad = self.width.saturating_sub(length);
        let integer = matches!(self.conversion, 'd' | 'i' | 'u' | 'x' | 'X' | 'o');
        let zeros = self.zero && !self.minus && !(integer && self.precision.is_some());
        if self.minus {
            format!("{sign}{digits}{}", " ".repeat(pad))
        } else if zeros
            && self.conversion != 's'
            && self.conversion != 'c'
            && !digits.contains("inf")
            && !digits.contains("nan")
        {
            format!("{sign}{}{digits}", "0".repeat(pad))
        } else {
            format!("{}{sign}{digits}", " ".repeat(pad))
        }
    }

    fn sign(&self, negative: bool) -> String {
        match (negative, self.plus, self.space) {
            (true, ..) => "-".into(),
            (_, true, _) => "+".into(),
            (_, _, true) => " ".into(),
            _ => String::new(),
        }
    }

    /// Digits filled up with zeros to the precision.
    fn at_least(&self, digits: String) -> String {
        match self.precision {
            Some(0) if digits == "0" => String::new(),
            Some(n) => format!("{}{digits}", "0".repeat(n.saturating_sub(digits.len()))),
            None => digits,
        }
    }

    fn float(&self, x: f64) -> String {
        let upper = self.conversion.is_ascii_uppercase();
        let text = if x.is_nan() {
            "nan".to_string()
        } else if x.is_infinite() {
            "inf".to_string()
        } else {
            let n = self.precision.unwrap_or(6);
            match self.conversion.to_ascii_lowercase() {
                'f' => format!("{x:.n$}"),
                'e' => exponential(x, n),
                'a' => hexadecimal(x),
                _ => {
                    let n = n.max(1);
                    let scientific = exponential(x, n - 1);
                    let exponent: i32 = scientific.rsplit_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
                    let text = if exponent < -4 || exponent >= n as i32 {
                        scientific
                    } else {
                        format!("{x:.*}", (n as i32 - 1 - exponent).max(0) as usize)
                    };
                    if self.alternate { text } else { trim(&text) }
                }
            }
        };
        if upper { text.to_uppercase() } else { text }
    }
}

/// C's `%e`: at least two digits in the exponent.
fn exponential(x: f64, n: usize) -> String {
    let text = format!("{x:.n$e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// C's `%a`.
fn hexadecimal(x: f64) -> String {
    let bits = x.to_bits();
    let (exponent, mantissa) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    if x == 0.0 {
        return "0x0p+0".into();
    }
    let (lead, power) = if exponent == 0 { (0, -1022) } else { (1, exponent - 1023) };
    let digits = format!("{mantissa:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{lead}{point}{digits}p{power:+}")
}

/// Removes zeros behind the point, as `%g` does.
fn trim(text: &str) -> String {
    let (number, exponent) = text.split_once('e').map_or((text, None), |(n, e)| (n, Some(e)));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    exponent.map_or_else(|| number.to_string(), |e| format!("{number}e{e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, value: u64) -> String {
        Spec::parse(format, || 0).0.show(value, "text")
    }

    #[test]
    fn integers_print_as_in_c() {
        assert_eq!(shown("d", u64::from(-5i32 as u32)), "-5");
        assert_eq!(shown("5d", 42), "   42");
        assert_eq!(shown("-5d|", 42), "42   ");
        assert_eq!(shown("05d", u64::from(-42i32 as u32)), "-0042");
        assert_eq!(shown("+d", 7), "+7");
        assert_eq!(shown("#x", 255), "0xff");
        assert_eq!(shown("08X", 0xbeef), "0000BEEF");
        assert_eq!(shown("llu", u64::MAX), "18446744073709551615");
        assert_eq!(shown(".3d", 7), "007");
    }

    #[test]
    fn floats_print_as_in_c() {
        let bits = |x: f64| x.to_bits();
        assert_eq!(shown("f", bits(1.5)), "1.500000");
        assert_eq!(shown(".2f", bits(-3.256)), "-3.26");
        assert_eq!(shown("8.3f", bits(2.0)), "   2.000");
        assert_eq!(shown("e", bits(12345.678)), "1.234568e+04");
        assert_eq!(shown("g", bits(0.0001)), "0.0001");
        assert_eq!(shown("g", bits(1e10)), "1e+10");
        assert_eq!(shown("g", bits(100000.0)), "100000");
        assert_eq!(shown("f", bits(f64::INFINITY)), "inf");
        assert_eq!(shown("a", bits(1.0)), "0x1p+0");
    }
}
