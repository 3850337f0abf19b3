//! Changes of single values of a configuration, as `--set optimizer.lr=1e-3` makes them.

use super::RunConfig;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;
use toml::{Table, Value};

/// A value and the key that it belongs to, the names of tables and of the value with points between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    key: String,
    text: String,
}

/// What a run is told by the text that it reads, and by the program that trains it.
const TOLD: [&str; 6] =
    ["version", "model.vocab_size", "process.mask_token_id", "data.sha256", "data.tokenizer.sha256", "from.sha256"];

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wanted = || Error::input("wanted KEY=VALUE, as in optimizer.lr=1e-3, with the keys of a run's config.toml");
        let (key, value) = text.split_once('=').ok_or_else(wanted)?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').any(|name| name.is_empty()) || value.is_empty() {
            return Err(wanted());
        }
        if TOLD.contains(&key) {
            return Err(Error::input(format!(
                "{key} is told by the text and the program, and not chosen; leave it out"
            )));
        }
        Ok(Assignment { key: key.into(), text: value.into() })
    }
}

impl fmt::Display for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.text)
    }
}

impl Assignment {
    /// The configuration with this value in it. What reads as a value of TOML may be one; else it is text.
    pub fn apply(&self, config: &RunConfig) -> Result<RunConfig> {
        let text = Value::String(self.text.clone());
        match self.value() {
            None => self.put(config, text),
            Some(value) => self.put(config, value).or_else(|e| self.put(config, text).map_err(|_| e)),
        }
    }

    /// The value of TOML that the text is.
    fn value(&self) -> Option<Value> {
        let mut table: Table = toml::from_str(&format!("value = {}", self.text)).ok()?;
        table.remove("value").filter(|_| table.is_empty())
    }

    fn put(&self, config: &RunConfig, value: Value) -> Result<RunConfig> {
        let refuse = |why: &dyn fmt::Display| {
            let why = why.to_string();
            Error::input(format!("--set {self}: {}", why.trim().replace('\n', " ")))
        };
        let mut whole = Table::try_from(config).map_err(|e| refuse(&e))?;
        let (tables, name) = self.key.rsplit_once('.').unwrap_or(("", &self.key));
        let mut table = &mut whole;
        for part in tables.split('.').filter(|part| !part.is_empty()) {
            // A table that is optional may not be there yet.
            let inner = table.entry(part).or_insert_with(|| Table::new().into());
            table = inner.as_table_mut().ok_or_else(|| refuse(&format!("{part} is a value and has no {name}")))?;
        }
        table.insert(name.into(), value);
        whole.try_into().map_err(|e| refuse(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DType, Density, LrSchedule, MuonConfig, Objective, Preset, Schedule, VocabKind};

    fn nano() -> RunConfig {
        Preset::Nano.run(DType::F32)
    }

    fn changed(text: &str) -> Result<RunConfig> {
        text.parse::<Assignment>()?.apply(&nano())
    }

    #[test]
    fn a_value_is_changed_and_no_other() {
        let run = nano();
        let of = |text: &str| changed(text).unwrap();
        assert_eq!(of("seed=7"), RunConfig { seed: 7, ..run.clone() });
        // The largest that TOML holds.
        assert_eq!(of(&format!("seed={}", i64::MAX)).seed, i64::MAX as u64);
        assert_eq!(of("optimizer.lr = 1e-3").optimizer.lr, 1e-3);
        // A whole number where a fraction may stand, a word as it is and in quotes.
        assert_eq!(of("optimizer.lr=1").optimizer.lr, 1.0);
        assert_eq!(of("optimizer.schedule=wsd").optimizer.schedule, LrSchedule::Wsd);
        assert_eq!(of("optimizer.schedule='wsd'"), of("optimizer.schedule=wsd"));
        assert_eq!(of("data.vocab=bytes").data.vocab, VocabKind::Bytes);
        // A text that reads as a number of TOML.
        assert_eq!(of("data.source=2024").data.source, "2024");
        // What the file does not hold while it is the default.
        assert_eq!(of("optimizer.muon.lr=0.02").optimizer.muon, Some(MuonConfig { lr: 0.02 }));
        let levels = Density::Beta { a: 3, b: 5 }.into();
        assert_eq!(of("objective.levels=beta:3:5").objective, Objective::Simple { schedule: Schedule::Linear, levels });
        // A whole table.
        assert_eq!(of("objective={ kind = \"nelbo-count\" }").objective, Objective::NelboCount);
    }

    #[test]
    fn what_is_no_change_of_a_value_is_refused_with_what_was_wanted() {
        for (text, part) in [
            ("optimizer.lr", "wanted KEY=VALUE, as in optimizer.lr=1e-3"),
            ("=1", "wanted KEY=VALUE"),
            ("optimizer..lr=1", "wanted KEY=VALUE"),
            ("seed=", "wanted KEY=VALUE"),
            ("optimizer.lrr=1", "--set optimizer.lrr=1: unknown field `lrr`, expected one of `lr`, `min_lr`"),
            ("optimiser.lr=1", "unknown field `optimiser`, expected one of"),
            ("optimizer.lr=fast", "--set optimizer.lr=fast: invalid type: string \"fast\", expected f32"),
            ("train.steps=-1", "--set train.steps=-1: invalid value: integer `-1`, expected u64"),
            ("optimizer.schedule=steep", "unknown variant `steep`, expected one of `constant`, `cosine`"),
            ("seed.low=1", "--set seed.low=1: seed is a value and has no low"),
            ("seed=1\nversion=2", "--set seed=1"),
            ("model.vocab_size=3", "model.vocab_size is told by the text and the program"),
            ("version=2", "version is told by"),
        ] {
            let error = changed(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {part:?} is not in: {error}");
        }
    }
}
