//! Keys, out of the bytes that a terminal sends for them.

/// A key that a view may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the keys' names")]
pub enum Key {
    Char(char),
    Enter,
    Tab,
    Escape,
    Left,
    Right,
    Up,
    Down,
}

/// The keys of what was read at once. A terminal sends a key whole, so that an escape character with nothing behind it is the
/// Escape key.
pub(super) fn keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let (mut rest, mut keys) = (&text[..], Vec::new());
    while let Some(first) = rest.chars().next() {
        let (key, length) = match rest.strip_prefix("\x1b[").or_else(|| rest.strip_prefix("\x1bO")) {
            Some(sequence) => {
                // Numbers, then what ends the sequence.
                let end = sequence.find(|c: char| c.is_ascii_alphabetic() || c == '~').unwrap_or(sequence.len());
                let key = match sequence[end..].chars().next() {
                    Some('A') => Some(Key::Up),
                    Some('B') => Some(Key::Down),
                    Some('C') => Some(Key::Right),
                    Some('D') => Some(Key::Left),
                    _ => None,
                };
                (key, (2 + end + 1).min(rest.len()))
            }
            None => {
                let key = match first {
                    '\x1b' => Key::Escape,
                    '\r' | '\n' => Key::Enter,
                    '\t' => Key::Tab,
                    c => Key::Char(c),
                };
                (Some(key), first.len_utf8())
            }
        };
        keys.extend(key);
        rest = &rest[length..];
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_keys_and_other_sequences_are_none() {
        assert_eq!(keys(b"q \x1b[C\x1bOA+"), [Key::Char('q'), Key::Char(' '), Key::Right, Key::Up, Key::Char('+')]);
        assert_eq!(keys(b"\x1b[1;5D\x1b[15~\t\r"), [Key::Left, Key::Tab, Key::Enter]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys("\x1b[é\x1b[".as_bytes()), []);
        assert_eq!(keys(b"\xff"), [Key::Char(char::REPLACEMENT_CHARACTER)]);
    }
}
