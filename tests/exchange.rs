//! Models come in from PyTorch and go out to it.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use half::f16;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempest::files::atomic::Existing;
use tempest::files::tensors::{self, Tensor};

/// What `make.py` beside them wrote with PyTorch.
fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pytorch").join(name)
}

fn import(file: &Path, out: &Path) -> Command {
    let mut command = tempest(["import", "--heads", "2", "--positions", "16", "--context", "4", "--out"]);
    command.arg(out).arg(file);
    command
}

/// The tensors of a file, and what it says its step is.
fn read(path: &Path) -> (BTreeMap<String, Vec<f32>>, u64) {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let step = header.metadata().as_ref().and_then(|metadata| metadata.get("step")?.parse().ok());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = tensors.tensors().into_iter().map(|(name, t)| (name, bytemuck::pod_collect_to_vec(t.data())));
    (values.collect(), step.unwrap_or(0))
}

#[test]
fn files_of_torch_save_are_imported_whole_from_under_their_prefixes_and_with_their_step() {
    let temp = tempfile::tempdir().unwrap();
    let (weights, _) = read(&made("weights.safetensors"));
    let halved: BTreeMap<String, Vec<f32>> = weights
        .iter()
        .map(|(name, w)| (name.clone(), w.iter().map(|&w| f16::from_f32(w).to_f32()).collect()))
        .collect();
    for (name, prefix, expected, step) in [
        ("weights.safetensors", None, &weights, 0),
        ("legacy.pt", None, &weights, 0),
        ("compiled.pt", Some("_orig_mod."), &halved, 0),
        ("checkpoint.pt", Some("model.module."), &weights, 1234),
    ] {
        let out = temp.path().join(name).with_extension("imported");
        let said = String::from_utf8(succeed(&mut import(&made(name), &out)).stderr).unwrap();
        match prefix {
            Some(prefix) => assert!(said.contains(&format!("tensors are those under {prefix:?}")), "{name}: {said}"),
            None => assert!(!said.contains("note: "), "{name}: {said}"),
        }
        assert_eq!(said.contains(", after 1,234 steps"), step > 0, "{name}: {said}");
        let (found, found_step) = read(&out);
        assert!(found == *expected, "{name}");
        assert_eq!(found_step, step, "{name}");
    }
}

#[test]
fn an_imported_checkpoint_is_trained_further() {
    let temp = tempfile::tempdir().unwrap();
    let (model, run) = (temp.path().join("model"), temp.path().join("run"));
    succeed(&mut import(&made("checkpoint.pt"), &model));
    let mut train = tempest(["train", "--preset", "original", "--steps", "3", "--batch", "2", "--from"]);
    succeed(train.arg(&model).arg("--out").arg(&run).args(["--eval-windows", "8"]));
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    for part in ["kind = \"original\"", "n_embd = 8", "diffusion_steps = 4", "sequence_len = 16", "context_len = 4"] {
        assert!(config.contains(part), "{part:?} is not in: {config}");
    }
}

#[test]
fn no_code_of_a_pickle_is_run_and_what_is_no_model_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (file, trace, out) = (temp.path().join("file.pt"), temp.path().join("trace"), temp.path().join("out"));
    // os.system("touch TRACE"), as a pickle calls it.
    let call = format!("touch {}", trace.display());
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    pickle.extend((call.len() as u32).to_le_bytes());
    pickle.extend(call.as_bytes());
    pickle.extend(b"\x85R.");
    let archive: &[u8] = b"PK\x03\x04 and so on";
    for bytes in [&pickle[..], archive, b"\x80\x02}."] {
        std::fs::write(&file, bytes).unwrap();
        let said = fail(&mut import(&file, &out), 2);
        assert!(said.contains("file.pt: "), "{said}");
        assert!(!trace.exists() && !out.exists());
    }
    let two: Vec<_> =
        ["a.token_emb.weight", "b.token_emb.weight"].map(|name| Tensor { name, shape: &[1, 1], data: &[0.0] }).to_vec();
    tensors::write(&file, Existing::Replace, &two, &BTreeMap::new()).unwrap();
    let said = fail(&mut import(&file, &out), 2);
    assert!(said.contains("holds a model under each of [\"a.\", \"b.\"]; save the one that is wanted"), "{said}");
}

#[test]
fn an_exported_model_is_the_same_one_with_what_the_original_wants_of_it() {
    let temp = tempfile::tempdir().unwrap();
    let (run, out) = (temp.path().join("run"), temp.path().join("out.safetensors"));
    succeed(tempest(tiny_run(&run, 20)).args(["--short-conv", "0"]));
    let export = || {
        let mut command = tempest(["export", "--run"]);
        command.arg(&run).arg("--out").arg(&out);
        command
    };
    let lines = String::from_utf8(succeed(&mut export()).stdout).unwrap();
    for part in [
        "sequence_len=16, vocab_size=66, mask_token_id=65, n_layer=1, n_head=2, n_embd=16,",
        "diffusion_steps=128, context_len=0,",
        &format!("model.load_state_dict(load_file({:?}))", out.display().to_string()),
        "symbols = [\"\\n\",\" \",\"!\"",
    ] {
        assert!(lines.contains(part), "{part:?} is not in: {lines}");
    }
    let ((mut exported, _), (trained, _)) = (read(&out), read(&run.join("model.safetensors")));
    assert_eq!(exported.remove("time_emb.weight"), Some(vec![0.0; 128 * 16]));
    assert!(exported == trained);
    let sampled = |option: &str, path: &Path| succeed(tempest(["sample", option]).arg(path)).stdout;
    assert_eq!(sampled("--model", &out), sampled("--run", &run));
    assert!(fail(&mut export(), 2).contains("exists already"));
    succeed(export().arg("--force"));
    let mixing = temp.path().join("mixing");
    succeed(tempest(tiny_run(&mixing, 5)).args(["--short-conv", "3"]));
    let said = fail(tempest(["export", "--run"]).arg(&mixing).arg("--out").arg(temp.path().join("none")), 2);
    let cure = "short convolutions, which the original's class lacks; train one with --short-conv 0";
    assert!(said.contains(cure), "{said}");
    let written = temp.path().join("written");
    succeed(tempest(tiny_run(&written, 5)).args(["--process", "ar", "--short-conv", "0"]));
    let said = fail(tempest(["export", "--run"]).arg(&written).arg("--out").arg(temp.path().join("none")), 2);
    assert!(said.contains("process is ar, and the original's class is of masked diffusion"), "{said}");
}

/// A tensor of a file: its shape and its values.
type Shaped = (Vec<usize>, Vec<f32>);

fn shaped(path: &Path) -> BTreeMap<String, Shaped> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let all = tensors.tensors().into_iter();
    all.map(|(name, t)| (name, (t.shape().to_vec(), bytemuck::pod_collect_to_vec(t.data())))).collect()
}

fn write_shaped(path: &Path, tensors: &BTreeMap<String, Shaped>) {
    let list: Vec<_> = tensors.iter().map(|(name, (shape, data))| Tensor { name, shape, data }).collect();
    tensors::write(path, Existing::Replace, &list, &BTreeMap::new()).unwrap();
}

/// As Hugging Face's GPT-2 has it: matrices [in, out], no `transformer.`, no head, causal masks.
fn as_hugging_face_has_it(gpt: &BTreeMap<String, Shaped>) -> BTreeMap<String, Shaped> {
    let mut other = BTreeMap::from([("h.0.attn.bias".to_owned(), (vec![1, 1, 1, 1], vec![1.0]))]);
    for (name, (shape, data)) in gpt {
        let Some(part) = name.strip_prefix("transformer.") else { continue };
        let is_matrix = shape.len() == 2 && !part.starts_with("wte") && !part.starts_with("wpe");
        let turned = || {
            let [rows, cols] = shape[..].try_into().unwrap();
            let at = |i: usize| data[i % rows * cols + i / rows];
            (vec![cols, rows], (0..rows * cols).map(at).collect())
        };
        other.insert(part.to_owned(), if is_matrix { turned() } else { (shape.clone(), data.clone()) });
    }
    other
}

#[test]
fn a_gpt_goes_in_under_every_name_and_comes_out_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden/gpt_bias_weights.safetensors");
    let gpt = shaped(&golden);
    // Its 29 symbols.
    let symbols = path("symbols.txt");
    std::fs::write(&symbols, "\nabcdefghijklmnopqrstuvwxyz ,").unwrap();
    let import = |file: &Path, out: &Path| {
        let mut command = tempest(["import", "--heads", "2", "--force", "--data"]);
        command.arg(&symbols).arg("--out").arg(out).arg(file);
        command
    };
    let export = |model: &Path, out: &Path| {
        let mut command = tempest(["export", "--force", "--model"]);
        String::from_utf8(succeed(command.arg(model).arg("--out").arg(out)).stdout).unwrap()
    };
    let (model, out) = (path("model.safetensors"), path("out.safetensors"));
    let under = |prefix: &str| gpt.iter().map(|(name, t)| (format!("{prefix}{name}"), t.clone())).collect();
    let variants = [gpt.clone(), under("_orig_mod."), under("module."), as_hugging_face_has_it(&gpt)];
    for (i, variant) in variants.iter().enumerate() {
        let file = path("file.safetensors");
        write_shaped(&file, variant);
        succeed(&mut import(&file, &model));
        let lines = export(&model, &out);
        let wanted = "block_size=24, vocab_size=29, n_layer=2, n_head=2, n_embd=32, dropout=0.0, bias=True,";
        assert!(lines.contains(wanted) && lines.contains("symbols = [\"\\n\",\" \",\",\",\"a\""), "{lines}");
        assert!(shaped(&out) == gpt, "variant {i}");
    }
    // And what came out goes in and out again, byte by byte.
    let again = path("again.safetensors");
    succeed(&mut import(&out, &model));
    export(&model, &again);
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&out).unwrap());
    succeed(tempest(["sample", "--prompt", "abc", "--length", "20", "--model"]).arg(&model));

    let mut untied = gpt.clone();
    untied.get_mut("lm_head.weight").unwrap().1[7] += 1.0;
    write_shaped(&out, &untied);
    let said = fail(&mut import(&out, &model), 2);
    assert!(said.contains("is not \"transformer.wte.weight\", and a gpt has one matrix for both"), "{said}");
    let said = fail(tempest(["import", "--heads", "2", "--out"]).arg(path("none")).arg(&golden), 2);
    assert!(
        said.contains("has 29 symbols, and the vocabulary 65; name the text that it learned with --data"),
        "{said}"
    );
}
