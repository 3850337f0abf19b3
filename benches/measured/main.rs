//! Writes `docs/measured.md` from what `./prove-gpu run` found: `cargo run --example measured -- RESULTS`, the unpacked folder
//! `results` of a run. A card that `docs/measured.json` knows is replaced there, another one is added.

mod page;
mod record;
#[cfg(test)]
mod tests;

use record::Record;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(results) = std::env::args_os().nth(1) else {
        eprintln!("measured: wanted the folder of a run's results");
        return ExitCode::from(2);
    };
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    match report(Path::new(&results), &docs) {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("measured: {why}");
            ExitCode::from(2)
        }
    }
}

/// Adds what a folder holds to the documents; says what was done.
fn report(results: &Path, docs: &Path) -> Result<String, String> {
    if !results.is_dir() {
        return Err(format!("{} is no folder; wanted the results of a run", results.display()));
    }
    let document = docs.join("measured.json");
    let mut records = Record::all(&document)?;
    let found = Record::read(results)?;
    let said = match &found {
        Some(record) => format!("{} is in docs/measured.json and docs/measured.md", record.card),
        None => format!("nothing in {} was measured on a card; the page is as it was", results.display()),
    };
    records.retain(|record| found.as_ref().is_none_or(|new| new.card != record.card));
    records.extend(found);
    records.sort_by(|a, b| a.card.cmp(&b.card));
    let json = serde_json::to_string_pretty(&records).expect("plain values") + "\n";
    write(&document, &json)?;
    write(&docs.join("measured.md"), &page::page(&records))?;
    Ok(said)
}

/// Whole, or as before.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let part = path.with_extension("part");
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|e| format!("cannot write {}: {e}", path.display()))
}
