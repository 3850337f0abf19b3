//! What `./prove-gpu run` found on a card: read from its results, kept in `docs/measured.json`.
//!
//! Each struct is both a file of the results, of which it takes what the page needs, and its place in that document.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The driver's name of it.
    pub(crate) card: String,
    pub(crate) driver: String,
    pub(crate) memory_mib: String,
    /// The highest, of multiprocessors and of memory.
    pub(crate) max_mhz: [String; 2],
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) checks: Vec<Check>,
    pub(crate) peers: Vec<Peers>,
    pub(crate) learning: Vec<Learning>,
}

/// A part of the run, as its summary has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// ok, FAILED, skipped, unfinished or stopped.
    pub(crate) verdict: String,
    pub(crate) code: String,
    pub(crate) seconds: String,
    pub(crate) note: String,
}

/// `tempest profile --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) what: String,
    pub(crate) batch: usize,
    pub(crate) dtype: String,
    /// None where the virtual GPU counted.
    pub(crate) step_ms: Option<f64>,
    #[serde(default)]
    pub(crate) tokens_per_s: Option<f64>,
    #[serde(default)]
    pub(crate) model_tflops: Option<f64>,
    pub(crate) clocks: Clocks,
    pub(crate) roofline: Option<Limits>,
    pub(crate) ops: Vec<OpTime>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clocks {
    pub(crate) sm_mhz: Option<f64>,
}

/// What the card reached in a loop of products and in a copy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) tflops: f64,
    pub(crate) bandwidth_gb: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpTime {
    pub(crate) op: String,
    pub(crate) detail: String,
    /// How often the step has it; `ms` is of all of them.
    pub(crate) times: usize,
    pub(crate) ms: Option<f64>,
    #[serde(default)]
    pub(crate) share: Option<f64>,
    #[serde(default)]
    pub(crate) of_roofline: Option<f64>,
    pub(crate) kernels: Vec<KernelTime>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct KernelTime {
    pub(crate) kernel: String,
    pub(crate) launches: usize,
    /// Of all launches.
    #[serde(default)]
    pub(crate) ms: Option<f64>,
}

/// `tempest check --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Check {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) kernels: BTreeMap<String, Kernel>,
    pub(crate) goldens: Vec<Golden>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) launches: usize,
    pub(crate) failed: usize,
    pub(crate) worst: Option<Worst>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worst {
    /// None where it is no number.
    pub(crate) error: Option<f64>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) op: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Golden {
    pub(crate) what: String,
    pub(crate) error: Option<f64>,
    pub(crate) tolerance: Option<f64>,
}

/// `benches/peers/torch_steps.py --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Peers {
    pub(crate) torch: String,
    pub(crate) attention: Option<String>,
    pub(crate) steps: Vec<PeerStep>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerStep {
    pub(crate) what: String,
    pub(crate) way: String,
    pub(crate) dtype: String,
    pub(crate) batch: usize,
    pub(crate) median_ms: f64,
}

/// A learning run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Learning {
    pub(crate) name: String,
    pub(crate) steps: usize,
    pub(crate) seconds: f64,
    /// Of `tempest eval --json`: nats a character, and its standard error.
    pub(crate) nelbo: Bound,
    pub(crate) sample: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// None where the evaluation was too short to say.
    pub(crate) nats: Option<f64>,
    pub(crate) bits: Option<f64>,
    pub(crate) standard_error: Option<f64>,
}

/// A file's text; none where there is no such file.
fn text(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}

fn parsed<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let Some(text) = text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| format!("{} is not what the run writes: {e}", path.display()))
}

impl Record {
    /// What a folder of results holds; none where nothing ran on a card.
    pub(crate) fn read(results: &Path) -> Result<Option<Self>, String> {
        let figures = results.join("figures");
        let Some(card) = text(&figures.join("card.csv"))? else { return Ok(None) };
        let cells: Vec<&str> = card.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        let [name, driver, memory, sm, mem, ..] = cells[..] else {
            return Err(format!("{}: wanted name, driver, memory and clocks, found {card:?}", figures.display()));
        };
        let of_call = text(&figures.join("run.txt"))?.unwrap_or_default();
        let value = |key: &str| {
            let mut pairs = of_call.lines().filter_map(|line| line.split_once('='));
            pairs.find(|(name, _)| *name == key).map_or(String::new(), |(_, value)| value.to_owned())
        };
        let table = text(&results.join("parts.tsv"))?.unwrap_or_default();
        let mut record = Record {
            card: name.to_owned(),
            driver: driver.to_owned(),
            memory_mib: memory.to_owned(),
            max_mhz: [sm.to_owned(), mem.to_owned()],
            date: value("date"),
            commit: value("commit"),
            parts: table.lines().filter_map(Part::read).collect(),
            ..Record::default()
        };
        for name in ["train_f16", "train_bf16", "denoise_1", "denoise_16", "denoise_64", "denoise_512"] {
            record.profiles.extend(parsed(&figures.join(format!("time_{name}.json")))?);
        }
        for name in ["check_f16", "check_bf16", "check_large", "golden_f16", "golden_bf16"] {
            let found: Option<Check> = parsed(&figures.join(format!("{name}.json")))?;
            record.checks.extend(found.map(|check| Check { name: name.into(), ..check }));
        }
        for name in ["peers_train", "peers_denoise"] {
            record.peers.extend(parsed(&figures.join(format!("{name}.json")))?);
        }
        for name in ["learn", "learn_original"] {
            record.learning.extend(Learning::read(&figures, name)?);
        }
        Ok(Some(record))
    }

    /// Those of a document.
    pub(crate) fn all(document: &Path) -> Result<Vec<Self>, String> {
        Ok(parsed(document)?.unwrap_or_default())
    }
}

impl Part {
    fn read(line: &str) -> Option<Self> {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut next = || cells.next();
        Some(Part { name: next()?, verdict: next()?, code: next()?, seconds: next()?, note: next()? })
    }
}

impl Learning {
    fn read(figures: &Path, name: &str) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        struct Evaluation {
            nelbo: Bound,
        }
        let file = |ending: &str| figures.join(format!("{name}.{ending}"));
        let Some(Evaluation { nelbo }) = parsed(&file("json"))? else { return Ok(None) };
        let metrics = text(&file("jsonl"))?.unwrap_or_default();
        Ok(Some(Learning {
            name: name.into(),
            steps: metrics.lines().filter(|line| line.contains("\"loss\"")).count(),
            seconds: text(&file("seconds"))?.and_then(|text| text.trim().parse().ok()).unwrap_or(0.0),
            nelbo,
            sample: text(&file("txt"))?.unwrap_or_default(),
        }))
    }
}
