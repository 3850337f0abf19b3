//! A run is killed, or its disk fails, at every call that changes one of its files; gone on with, it ends as one that was
//! left alone, bit by bit.
//!
//! `libfaults` (tests/faults) is preloaded into the command and counts those calls.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod common;

use common::{fail, succeed, tempest};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempest::files::tensors::TensorFile;
use tempest::store::SavedRun;

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The process dies before it.
    Kill,
    /// The process dies after it, or in the middle of a write.
    Torn,
    /// The process dies before it, and so does the power: what was not synced is lost.
    Power,
    /// It fails, once.
    Io,
    /// From this one on the disk is full.
    Full,
}

use Fault::{Full, Io, Kill, Power, Torn};

/// A call that changed a file, as `libfaults` records it.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    result: i64,
    path: PathBuf,
    other: PathBuf,
}

/// A place for one run, beside others.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.under()).unwrap();
        place
    }

    /// The folder whose changes count.
    fn under(&self) -> PathBuf {
        self.folder.path().join("under")
    }

    fn run(&self) -> PathBuf {
        self.under().join("run")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The command that starts the run, or goes on with it where there is one.
    fn command(&self) -> Command {
        if self.run().join("config.toml").exists() {
            return tempest([
                Path::new("train"),
                Path::new("--resume"),
                &self.run(),
                Path::new("--threads"),
                Path::new("1"),
            ]);
        }
        let args = "train --layers 1 --heads 2 --width 16 --positions 16 --batch 4 --ema 0.9 --steps 6 --warmup 2 \
                    --checkpoint-every 2 --eval-every 3 --eval-windows 2 --sample-every 3 --threads 1 --out";
        let mut command = tempest(args.split_whitespace());
        command.arg(self.run()).arg("--data").arg(text());
        command
    }

    /// The same with a fault at one call.
    fn with_fault(&self, fault: Option<(usize, Fault)>) -> Command {
        let _ = fs::remove_file(self.log());
        let mut command = self.command();
        command.env("LD_PRELOAD", library()).env("FAULTS_UNDER", self.under()).env("FAULTS_LOG", self.log());
        if let Some((at, fault)) = fault {
            let kind = match fault {
                Kill | Power => "kill",
                Torn => "torn",
                Io => "io",
                Full => "full",
            };
            command.env("FAULTS_AT", at.to_string()).env("FAULTS_KIND", kind);
        }
        command
    }

    /// The calls of the last command.
    fn calls(&self) -> Vec<Call> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let call = |(number, line): (usize, &str)| {
            let [at, name, result, path, other] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!(at.parse(), Ok(number), "the order of the calls: {log}");
            Call { name: name.into(), result: result.parse().unwrap(), path: path.into(), other: other.into() }
        };
        log.lines().enumerate().map(call).collect()
    }

    /// What the run's end must not depend on: every file but the lock and TensorBoard's, whose figures stand for it, and how
    /// long the run took.
    fn remains(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for (prefix, folder) in [("", self.run()), ("samples/", self.run().join("samples"))] {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
                let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if entry.path().is_file() && name != ".lock" && !name.starts_with("events.") {
                    found.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
        if found.contains_key("metrics.jsonl") {
            found.insert("metrics.jsonl".into(), common::figures(&self.run()).into_bytes());
        }
        let figures = figures(&self.run());
        assert!(figures.values().all(|values| values.len() == 1), "a step is drawn twice: {figures:?}");
        found.insert("figures".into(), format!("{figures:?}").into_bytes());
        found
    }
}

/// A text that is there for all runs, so that their configurations are equal.
fn text() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crashes.txt");
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| fs::write(&path, "to be, or not to be, that is the question\n".repeat(60)).unwrap());
    path
}

fn library() -> PathBuf {
    let path = std::env::current_exe().unwrap().with_file_name("libfaults.so");
    assert!(path.is_file(), "{}: is built as a dependency of the tests", path.display());
    path
}

/// The numbers that TensorBoard shows, by tag and step: files in the order of their names, and what a session voids dropped.
/// (TensorFlow, `util/event.proto`; a record that ends early ends its file.)
fn figures(run: &Path) -> BTreeMap<(String, u64), Vec<u32>> {
    let mut files: Vec<PathBuf> = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    files.sort();
    let mut figures: BTreeMap<(String, u64), Vec<u32>> = BTreeMap::new();
    for bytes in files.iter().map(|path| fs::read(path).unwrap()) {
        let mut rest = &bytes[..];
        while let Some((length, more)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            let Some(event) = more.get(4..4 + length).filter(|_| more.len() >= 8 + length) else { break };
            rest = &more[8 + length..];
            let event = fields(event);
            let step = event.iter().find(|field| field.0 == 2).map_or(0, |field| field.1);
            for (number, _, content) in event {
                match number {
                    // A session that starts here.
                    7 => figures.retain(|(_, of), _| *of < step),
                    5 => {
                        let value = fields(&fields(&content)[0].2);
                        let tag = String::from_utf8(value[0].2.clone()).unwrap();
                        if let Some(number) = value.iter().find(|field| field.0 == 2) {
                            figures.entry((tag, step)).or_default().push(number.1 as u32);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    figures
}

/// The fields of a protocol-buffer message: number, value, content.
fn fields(mut data: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = data.split_first().unwrap();
            *data = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let (value, length) = match key & 7 {
            0 => (varint(&mut data), 0),
            1 => (u64::from_le_bytes(data[..8].try_into().unwrap()), 8),
            5 => (u32::from_le_bytes(data[..4].try_into().unwrap()).into(), 4),
            _ => (0, varint(&mut data) as usize),
        };
        found.push((key >> 3, value, data[..length].to_vec()));
        data = &data[length..];
    }
    found
}

/// What a power cut leaves: of each file what was synced, of each new name what its folder's sync brought to the disk.
fn cut_power(calls: &[Call]) {
    #[derive(Clone, Default)]
    struct Known {
        written: u64,
        synced: u64,
        named: bool,
    }
    let mut files: BTreeMap<PathBuf, Known> = BTreeMap::new();
    for Call { name, result, path, other } in calls.iter().filter(|call| call.result >= 0) {
        match &name[..] {
            "create" => drop(files.entry(path.clone()).or_default()),
            "write" => files.get_mut(path).expect("created before").written += *result as u64,
            "sync" => match files.get_mut(path) {
                Some(known) => known.synced = known.written,
                None => {
                    files.iter_mut().filter(|file| file.0.parent() == Some(path)).for_each(|file| file.1.named = true)
                }
            },
            "rename" | "link" => {
                let known = files.remove(path).expect("created before");
                // A name that replaces another stays in any case: its content is the old or the new, both are right.
                let named = files.get(other).is_some_and(|old| old.named);
                files.insert(other.clone(), Known { named, ..known });
            }
            "remove" => drop(files.remove(path)),
            "folder" => {}
            other => panic!("a run that begins makes no call {other}"),
        }
    }
    for (path, known) in files {
        match known.named {
            true => fs::File::options().write(true).open(path).unwrap().set_len(known.synced).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
}

/// Whoever reads the run gets the model of its last checkpoint, whatever state its files are in.
fn check_reader(run: &Path) -> Result<(), String> {
    if !run.join("config.toml").exists() || !run.join("state.safetensors").exists() {
        return Ok(());
    }
    let state = TensorFile::open(run.join("state.safetensors")).map_err(|e| e.to_string())?;
    let step: u64 = state.metadata("step").unwrap().parse().unwrap();
    let model = SavedRun::read(run, None).map_err(|e| e.to_string())?.model;
    let average = state.get_any::<f32>("ema").unwrap();
    let same = average.iter().map(|w| w.to_bits()).eq(model.weights.iter().map(|w| w.to_bits()));
    if model.step != step || !same {
        return Err(format!("the model that is read is of step {}, the checkpoint of step {step}", model.step));
    }
    Ok(())
}

/// Whether a command ended as the fault demands.
fn check_end(output: &Output, fault: Fault) -> Result<(), String> {
    use std::os::unix::process::ExitStatusExt;
    let good = match fault {
        Kill | Torn | Power => output.status.signal() == Some(9),
        // Some calls may fail without harm.
        Io | Full => matches!(output.status.code(), Some(0 | 2)),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    match good && !said.contains("panicked") {
        true => Ok(()),
        false => Err(format!("ended with {}: {said}", output.status)),
    }
}

/// Goes on until the run is done, and compares its end.
fn finish(place: &Place, whole: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    check_reader(&place.run())?;
    let output = place.command().output().unwrap();
    if !output.status.success() {
        return Err(format!("cannot go on: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let remains = place.remains();
    let differ: Vec<_> =
        whole.keys().chain(remains.keys()).filter(|name| whole.get(*name) != remains.get(*name)).collect();
    match differ.is_empty() {
        true => Ok(()),
        false => Err(format!("differs in {differ:?}")),
    }
}

/// Tries all of these, on every core.
fn try_all<T: Sync + std::fmt::Debug>(points: &[T], attempt: impl Fn(&T) -> Result<(), String> + Sync) {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = attempt(point) {
                        failures.lock().unwrap().push(format!("{point:?}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} points:\n{}", failures.len(), points.len(), failures.join("\n"));
}

/// A run that is left alone: the place, its calls, what remains.
fn undisturbed() -> (Place, Vec<Call>, BTreeMap<String, Vec<u8>>) {
    let place = Place::new();
    succeed(&mut place.with_fault(None));
    let (calls, remains) = (place.calls(), place.remains());
    (place, calls, remains)
}

#[test]
fn every_file_is_synced_before_it_takes_its_name_and_its_folder_after() {
    let (_, calls, _) = undisturbed();
    let mut named = Vec::new();
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| ["rename", "link"].contains(&&call.name[..])) {
        let touched = calls[..at].iter().rfind(|before| before.path == call.path).unwrap();
        assert_eq!(touched.name, "sync", "{call:?}");
        let folder = call.other.parent().unwrap();
        let after = calls[at + 1..].iter().find(|after| after.name != "remove").unwrap();
        assert_eq!((&after.name[..], after.path.as_path()), ("sync", folder), "{call:?}");
        named.push(call.other.file_name().unwrap().to_str().unwrap());
    }
    // And so the library sees everything that a checkpoint does.
    let checkpoint = ["state.safetensors", "model.safetensors"];
    let expected: Vec<&str> =
        [&["config.toml"], &checkpoint[..], &["step-0000003.txt"], &checkpoint, &["step-0000006.txt"], &checkpoint]
            .concat();
    assert_eq!(named, expected);
}

#[test]
fn a_run_that_crashes_at_any_change_of_its_files_ends_as_one_that_was_left_alone() {
    let (_place, calls, whole) = undisturbed();
    let faults = [Kill, Torn, Power, Io, Full];
    let points: Vec<_> = (0..calls.len()).flat_map(|at| faults.map(|fault| (at, fault))).collect();
    assert!(points.len() >= 300, "{} points", points.len());
    try_all(&points, |&(at, fault)| {
        let place = Place::new();
        let output = place.with_fault(Some((at, fault))).output().unwrap();
        check_end(&output, fault)?;
        if fault == Power {
            cut_power(&place.calls());
        }
        finish(&place, &whole)
    });
}

#[test]
fn a_run_that_crashes_again_while_it_is_mended_ends_as_one_that_was_left_alone() {
    let (_place, calls, whole) = undisturbed();
    // Just before the models of the first two checkpoints take their names: one is missing then, one is old.
    let renames =
        calls.iter().enumerate().filter(|(_, call)| call.other.ends_with("model.safetensors")).map(|(at, _)| at);
    let mut points = Vec::new();
    for at in renames.take(2) {
        let place = Place::new();
        check_end(&place.with_fault(Some((at, Kill))).output().unwrap(), Kill).unwrap();
        succeed(&mut place.with_fault(None));
        let mending = place.calls();
        let until = mending.iter().position(|call| call.other.ends_with("state.safetensors")).unwrap();
        points.extend((0..until).flat_map(|again| [Kill, Torn, Io, Full].map(|fault| (at, again, fault))));
    }
    try_all(&points, |&(at, again, fault)| {
        let place = Place::new();
        check_end(&place.with_fault(Some((at, Kill))).output().unwrap(), Kill)?;
        check_end(&place.with_fault(Some((again, fault))).output().unwrap(), fault)?;
        finish(&place, &whole)
    });
}

#[test]
fn a_run_that_stopped_before_its_first_checkpoint_is_drawn_once() {
    let (_place, calls, whole) = undisturbed();
    let state = calls.iter().position(|call| call.other.ends_with("state.safetensors")).unwrap();
    let place = Place::new();
    check_end(&place.with_fault(Some((state, Kill))).output().unwrap(), Kill).unwrap();
    let steps: Vec<u64> = figures(&place.run()).into_keys().map(|(_, step)| step).collect();
    assert!(steps.contains(&1) && steps.contains(&2), "{steps:?}");
    finish(&place, &whole).unwrap();
}

#[test]
fn a_file_system_without_locks_is_noted_and_used() {
    let place = Place::new();
    let output = succeed(place.with_fault(None).env("FAULTS_NO_LOCKS", "1"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("note: ") && said.contains("has no locks"), "{said}");
    let output = succeed(place.with_fault(None).env("FAULTS_NO_LOCKS", "1"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no locks"));
    assert!(!String::from_utf8_lossy(&succeed(&mut place.command()).stderr).contains("has no locks"));
}

#[test]
fn a_start_whose_figures_cannot_be_written_leaves_nothing() {
    let (_place, calls, _) = undisturbed();
    let place = Place::new();
    let events = calls.iter().position(|call| call.path.to_str().unwrap().contains("events.")).unwrap();
    fail(&mut place.with_fault(Some((events, Io))), 2);
    assert_eq!(fs::read_dir(place.under()).unwrap().count(), 0);
}
