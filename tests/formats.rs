//! Files of earlier versions: a run of format 1, which knew masked diffusion alone and called the original's way `seed`.

mod common;

use common::{fail, succeed, tempest};
use std::fs;
use std::path::{Path, PathBuf};
use tempest::config::ProcessConfig;
use tempest::files::atomic::Existing;
use tempest::files::tensors::{self, Tensor};
use tempest::store::{SavedModel, SavedRun};
use tempfile::TempDir;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format1").join(name)
}

/// A copy of the run that was stopped after step 50 of 400.
fn old_run() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.toml", "model.safetensors", "state.safetensors", "metrics.jsonl"] {
        fs::copy(data(name), folder.path().join(name)).unwrap();
    }
    folder
}

const MASKED: ProcessConfig = ProcessConfig::Masked { mask_token_id: 0, context_len: 4, prompt_drop: 0.0 };

#[test]
fn a_run_of_format_1_is_read_as_masked() {
    let SavedRun { config, model, note } = SavedRun::read(old_run().path(), None).unwrap();
    assert_eq!((config.process, model.process, model.config.diffusion_steps, note), (MASKED, MASKED, 8, None));
}

#[test]
fn a_run_of_format_1_goes_on_to_the_weights_that_it_would_have_had() {
    let folder = old_run();
    let run = folder.path();
    succeed(tempest(["train", "--resume"]).arg(run));
    let [ours, then] =
        [run.join("model.safetensors"), data("finished.safetensors")].map(|path| SavedModel::read(&path).unwrap());
    assert!(ours == then, "every weight, bit by bit");
    assert!(fs::read(run.join("config.toml")).unwrap() == fs::read(data("config.toml")).unwrap(), "left as it was");
    // From here on its files are of this version, and the next process reads them as such.
    let said = String::from_utf8(succeed(tempest(["train", "--resume"]).arg(run)).stderr).unwrap();
    assert!(said.contains("all 400 steps of this run are done"), "{said}");
    succeed(tempest(["sample", "--length", "16", "--run"]).arg(run));
}

#[test]
fn a_checkpoint_of_format_1_belongs_to_the_configuration_that_it_was_written_under() {
    let folder = old_run();
    let run = folder.path();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    fs::write(run.join("config.toml"), config.replace("lr = 0.0003", "lr = 0.0004")).unwrap();
    let said = fail(tempest(["train", "--resume"]).arg(run), 2);
    assert!(said.contains("state.safetensors: was written under another configuration"), "{said}");
}

#[test]
fn a_model_says_its_format_and_its_process_and_what_is_unknown_of_them_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [path, changed] = ["model", "changed"].map(|name| folder.path().join(name));
    SavedModel::read(&data("model.safetensors")).unwrap().write(&path, Existing::Keep).unwrap();
    let mut said = tensors::metadata(&path).unwrap();
    assert_eq!(said["format_version"], "2");
    assert_eq!(said["process"], r#"{"kind":"masked","mask_token_id":0,"context_len":4}"#);
    said.remove(tensors::CHECKSUM);
    for (key, value, part) in [
        ("format_version", "3", "is of format 3, and this version reads 1 to 2; bring tempest up to date"),
        (
            "process",
            r#"{"kind":"future"}"#,
            "its configuration cannot be read: the process is \"future\", and this version knows masked, ar, joint, block, uniform, mixed, gaussian, relaxed, latent; bring tempest up to date",
        ),
        ("process", r#"{"kind":"masked","mask_token_id":128,"context_len":4}"#, "mask token 128 lies outside"),
    ] {
        let mut metadata = said.clone();
        metadata.insert(key.into(), value.into());
        let tensor = Tensor { name: "token_emb.weight", shape: &[1], data: &[0.0] };
        tensors::write(&changed, Existing::Replace, &[tensor], &metadata).unwrap();
        let refused = fail(tempest(["sample", "--model"]).arg(&changed), 2);
        assert!(refused.contains(part), "{refused}");
    }
}
