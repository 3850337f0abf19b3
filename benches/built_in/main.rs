//! Writes the model that the program carries, data/model.safetensors, from a finished run, with weights of 16 bits:
//!
//! ```sh
//! cargo run --release -- train --device cpu --dtype bf16 --out target/built-in
//! cargo run --release --example built-in -- target/built-in
//! ```

use half::f16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempest::files::atomic::Existing;
use tempest::files::tensors::{self, CHECKSUM, Tensor, TensorFile};
use tempest::store::RunPaths;
use tempest::{Error, Result, terminal};

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::input("no run; give the folder of a finished one"));
    match folder.and_then(|folder| write(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(format!("built-in: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn write(run: &Path) -> Result<()> {
    let path = RunPaths::of(run).model();
    let (file, mut metadata) = (TensorFile::open(&path)?, tensors::metadata(&path)?);
    // It is made anew.
    metadata.remove(CHECKSUM);
    let mut all = Vec::new();
    for name in file.names() {
        let values = file.get_any(&name)?.into_iter().map(f16::from_f32).collect::<Vec<_>>();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::input(format!("{}: {name:?} holds {value} in 16 bits", path.display())));
        }
        all.push((name, values));
    }
    let shape = |name: &str| file.shape(name).expect("it is one of the file's names");
    let list: Vec<_> = all.iter().map(|(name, data)| Tensor { name, shape: shape(name), data }).collect();
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/model.safetensors");
    tensors::write(&out, Existing::Replace, &list, &metadata)
}
