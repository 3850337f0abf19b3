//! A JSON object that is read field by field: each fault names the field, what was found and what was wanted.

use super::refusal::Refusal;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// The fields of a request's body that were not read yet.
pub(super) struct Fields {
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    pub(super) fn of(body: &[u8]) -> Result<Self, Refusal> {
        let value: Value =
            serde_json::from_slice(body).map_err(|e| Refusal::bad(format!("the body is no JSON: {e}")))?;
        match value {
            Value::Object(left) => Ok(Fields { left, known: Vec::new() }),
            other => Err(Refusal::bad(format!("the body is {}; wanted a JSON object", shown(&other)))),
        }
    }

    /// Takes a field out; null counts as left out.
    fn take<T>(
        &mut self,
        name: &'static str,
        wanted: impl FnOnce() -> String,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        self.known.push(name);
        match self.left.remove(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(Refusal::field(name, shown(&value), wanted())),
            },
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        self.take(name, || "a string".into(), |value| value.as_str().map(String::from))
    }

    pub(super) fn whole(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, wanted, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    /// A number that `fits`, as `wanted` says.
    pub(super) fn number(
        &mut self,
        name: &'static str,
        wanted: &str,
        fits: impl FnOnce(f32) -> bool,
    ) -> Result<Option<f32>, Refusal> {
        self.take(
            name,
            || wanted.into(),
            |value| value.as_f64().map(|number| number as f32).filter(|number| fits(*number)),
        )
    }

    /// A word that `read` understands; else it says what was wanted.
    pub(super) fn word<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refusal> {
        self.text(name)?
            .map(|word| read(&word).map_err(|wanted| Refusal::field(name, quoted(&word), wanted)))
            .transpose()
    }

    /// Refuses fields that nobody has asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.left.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                let known = self.known.join(", ");
                Err(Refusal::field(cut(&name).trim(), "a field that is not known", format!("one of {known}")))
            }
        }
    }
}

/// Characters of what was found that are repeated.
const SHOWN: usize = 60;

/// A value, its beginning where it is long.
pub(super) fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A string as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    shown(&Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str, read: impl FnOnce(&mut Fields) -> Result<(), Refusal>) -> String {
        let refused =
            Fields::of(body.as_bytes()).and_then(|mut fields| read(&mut fields).and_then(|()| fields.finish()));
        refused
            .map_or_else(|refusal| refusal.json()["error"]["message"].as_str().unwrap().to_owned(), |()| String::new())
    }

    #[test]
    fn a_fault_names_the_field_what_was_found_and_what_was_wanted() {
        let read = |fields: &mut Fields| {
            fields.text("prompt")?;
            fields.whole("texts", 1..=4)?;
            fields.number("temperature", "0 or more", |t| t >= 0.0).map(drop)
        };
        assert_eq!(said(r#"{"prompt":"a","texts":4,"temperature":null}"#, read), "");
        let cases = [
            (r#"{"prompt":7}"#, "prompt: found 7; wanted a string"),
            (r#"{"texts":5}"#, "texts: found 5; wanted a whole number from 1 to 4"),
            (r#"{"texts":1.5}"#, "texts: found 1.5; wanted a whole number from 1 to 4"),
            (r#"{"temperature":-1}"#, "temperature: found -1; wanted 0 or more"),
            (r#"{"tempo":1}"#, "tempo: found a field that is not known; wanted one of prompt, texts, temperature"),
            ("[1]", "the body is [1]; wanted a JSON object"),
        ];
        for (body, wanted) in cases {
            assert_eq!(said(body, read), wanted, "{body}");
        }
        assert!(said("{", read).starts_with("the body is no JSON: EOF"));
        let long = format!(r#"{{"prompt":["{}"]}}"#, "x".repeat(1000));
        assert!(said(&long, read).len() < 200, "{}", said(&long, read));
    }
}
