//! The hand-written backward against differences of a forward pass that shares no code with it.
//!
//! For every parameter tensor and a random direction v in it, ⟨gradient, v⟩ must be the slope of the loss along v. The
//! slope is a central difference of the double-precision model in `reference`, with h = 1e-6: its own error is h² = 1e-12
//! of the loss's third derivative, ε/h ≈ 2e-10 of the loss in rounding, and h of a neuron's share where h carries it over
//! the kink in relu²'s derivative.

mod reference;

use reference::{Reference, cross_entropy};
use std::path::Path;
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{Architecture, ModelConfig, Optimizer, ProcessConfig};
use tempest::files::tensors::TensorFile;
use tempest::model::{Keep, Role, Transformer, Use};
use tempest::program::{Accumulate, AttentionMask, Builder, DType, Persistence, Plan, StepArgs, Storage};
use tempest::rng::{Stream, normals, philox};
use tempest::store::read_weights;

/// One model, one batch.
struct Case {
    config: ModelConfig,
    mask: AttentionMask,
    sequences: usize,
    drop: Option<u32>,
    dropout: f32,
}

fn config(n_layer: usize, n_head: usize, n_embd: usize, sequence_len: usize, diffusion_steps: usize) -> ModelConfig {
    ModelConfig {
        n_layer,
        n_head,
        n_embd,
        sequence_len,
        vocab_size: 13,
        diffusion_steps,
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    }
}

fn random(step: u64, n: usize) -> Vec<f32> {
    let words = (0..n.div_ceil(4)).flat_map(|i| normals(philox(4, Stream::Init, step, i as u32)));
    words.take(n).collect()
}

fn ids(step: u64, n: usize, below: u32) -> Vec<u32> {
    (0..n).map(|i| philox(5, Stream::Init, step, i as u32)[0] % below).collect()
}

impl Case {
    /// Compares the slope along one random direction in each tensor.
    #[track_caller]
    fn check(&self) {
        let (n, positions) = (self.sequences * self.config.sequence_len, self.config.sequence_len);
        let mut plan = Plan::new();
        let used = Use::Training { averages: 0, optimizer: Optimizer::AdamW, dropout: self.dropout };
        let model = Transformer::new(&mut plan, &self.config, self.mask, Storage::wide_stream(DType::F32), used);
        let id_region = plan.region("inputs", DType::U32, Persistence::Kept);
        let weight_region = plan.region("weights of rows", DType::F32, Persistence::Kept);
        let [xt, x0] = [(); 2].map(|()| plan.alloc(id_region, self.sequences, positions));
        let t = plan.alloc(id_region, self.sequences, 1);
        let weight = plan.alloc(weight_region, n, 1);
        let mut b = Builder::new(&mut plan, "gradient");
        let forward = model.forward(&mut b, xt, t, Keep::All);
        let ce = model.loss_and_backward(&mut b, &forward, x0, weight, self.drop, Accumulate::Overwrite);
        let program = b.finish();
        let mut b = Builder::new(&mut plan, "gradient once more");
        let again = model.forward(&mut b, xt, t, Keep::All);
        model.loss_and_backward(&mut b, &again, x0, weight, self.drop, Accumulate::Add);
        let added = b.finish();

        let (tokens, times) = (ids(1, n, 13), ids(2, self.sequences, self.config.diffusion_steps.max(1) as u32));
        let targets = ids(3, n, 12);
        let row_weights: Vec<f32> = (0..n).map(|i| [0.5, 0.0, 1.25][i % 3]).collect();
        // Every tensor at its own scale, also those that training starts at zero.
        let mut weights = vec![0.0; model.params.len()];
        for (i, p) in model.params.iter().enumerate() {
            let std = if p.std == 1.0 || p.role == Role::Vector { 1.0 } else { 1.0 / (p.shape[1] as f32).sqrt() };
            let values = random(10 + i as u64, p.shape[0] * p.shape[1]);
            weights[p.offset..][..values.len()].iter_mut().zip(values).for_each(|(w, z)| *w = std * z);
        }

        let mut cpu = Cpu::new(Arc::new(plan));
        let cpu: &mut dyn Backend = &mut cpu;
        cpu.write_f32(model.memory.weights, &weights).unwrap();
        cpu.write_u32(xt, &tokens).unwrap();
        cpu.write_u32(x0, &targets).unwrap();
        cpu.write_u32(t, &times).unwrap();
        cpu.write_f32(weight, &row_weights).unwrap();
        let grads = model.memory.training.as_ref().unwrap().grads;
        cpu.write_f32(grads, &vec![f32::NAN; model.params.len()]).unwrap();
        cpu.run(&program, &StepArgs::default()).unwrap();
        let gradient = cpu.read_f32(grads).unwrap();
        let losses = cpu.read_f32(ce).unwrap();

        let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        let rows = |weights: &[f64]| {
            let reference = Reference { config: &self.config, mask: self.mask, weights, dropout: self.dropout };
            cross_entropy(&reference.logits(&tokens, &times), &targets, self.drop)
        };
        for (ours, exact) in losses.iter().zip(rows(&weights)) {
            assert!((f64::from(*ours) - exact).abs() < 1e-5 * (1.0 + exact), "cross-entropy {ours}, wanted {exact}");
        }
        let loss =
            |weights: &[f64]| rows(weights).iter().zip(&row_weights).map(|(ce, w)| ce * f64::from(*w)).sum::<f64>();
        for (i, p) in model.params.iter().enumerate() {
            let len = p.shape[0] * p.shape[1];
            let direction = random(100 + i as u64, len);
            let g = &gradient[p.offset..][..len];
            let along: f64 = g.iter().zip(&direction).map(|(g, v)| f64::from(*g) * f64::from(*v)).sum();
            let moved = |h: f64| {
                let mut weights = weights.clone();
                weights[p.offset..][..len].iter_mut().zip(&direction).for_each(|(w, v)| *w += h * f64::from(*v));
                loss(&weights)
            };
            let h = 1e-6;
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            // f32 gradients are off by about 1e-6 of their length (the original's own by up to 2.3e-6), in no
            // particular direction: as much along v as any random vector of that length lies along it. One that
            // vanishes (a query's with a single key) is a difference of terms as large as other tensors' gradients.
            let size =
                |x: &[f32]| (x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() / x.len() as f64).sqrt();
            let typical = size(g).max(0.1 * size(&gradient)) * size(&direction) * (len as f64).sqrt();
            let error = (along - slope).abs() / slope.abs().max(typical);
            assert!(error < 1e-5, "{}: ⟨gradient, v⟩ is {along}, the slope {slope}: {error:.1e} off", p.name);
        }

        // A second micro-batch of the same rows doubles every gradient.
        cpu.run(&added, &StepArgs::default()).unwrap();
        for (twice, once) in cpu.read_f32(grads).unwrap().iter().zip(&gradient) {
            assert!((twice - 2.0 * once).abs() <= 1e-5 * once.abs().max(1e-2), "{once} became {twice}");
        }
    }
}

#[test]
fn embedding_and_head_alone_have_the_slopes_of_their_loss() {
    for drop in [None, Some(12)] {
        for timesteps in [0, 3] {
            let config = config(0, 1, 10, 7, timesteps);
            Case { config, mask: AttentionMask::Bidirectional, sequences: 3, drop, dropout: 0.0 }.check();
        }
    }
}

#[test]
fn one_block_has_the_slopes_of_its_loss() {
    for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
        for (heads, width, positions, sequences) in [(1, 2, 1, 1), (3, 18, 5, 2), (2, 20, 33, 1), (1, 130, 3, 1)] {
            let config = config(1, heads, width, positions, 0);
            Case { config, mask, sequences, drop: Some(12), dropout: 0.0 }.check();
        }
    }
}

#[test]
fn a_whole_model_has_the_slopes_of_its_loss() {
    for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
        Case { config: config(3, 2, 12, 9, 4), mask, sequences: 3, drop: None, dropout: 0.0 }.check();
    }
}

#[test]
fn a_model_of_blocks_has_the_slopes_of_its_loss() {
    for (length, positions, sequences) in [(1, 5, 4), (3, 9, 2), (7, 7, 2), (5, 70, 2)] {
        let mask = AttentionMask::Blocks { length };
        let dropout = if length == 3 { 0.3 } else { 0.0 };
        Case { config: config(2, 2, 12, positions, 0), mask, sequences, drop: Some(12), dropout }.check();
    }
}

#[test]
fn a_model_that_mixes_neighbours_has_the_slopes_of_its_loss() {
    for (short_conv, heads, width, positions, sequences) in
        [(3, 2, 12, 9, 3), (1, 1, 6, 3, 2), (5, 1, 10, 2, 3), (7, 1, 130, 4, 1)]
    {
        for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
            let config = ModelConfig { short_conv, ..config(2, heads, width, positions, 0) };
            let dropout = if short_conv == 3 { 0.3 } else { 0.0 };
            Case { config, mask, sequences, drop: Some(12), dropout }.check();
        }
    }
}

#[test]
fn a_gpt_has_the_slopes_of_its_loss() {
    for (bias, layers, heads, width, positions, sequences) in
        [(true, 2, 2, 12, 9, 3), (false, 1, 3, 18, 5, 2), (true, 1, 1, 130, 3, 1)]
    {
        for mask in [AttentionMask::Bidirectional, AttentionMask::Causal] {
            let architecture = Architecture::Gpt { bias };
            let config = ModelConfig { architecture, ..config(layers, heads, width, positions, 0) };
            let dropout = if bias { 0.3 } else { 0.0 };
            Case { config, mask, sequences, drop: Some(12), dropout }.check();
        }
    }
}

#[test]
fn the_reference_has_the_originals_logits() {
    let golden =
        |suffix: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/golden/config_a{suffix}"));
    let (config, _) = ProcessConfig::read_with_model(&std::fs::read_to_string(golden(".json")).unwrap()).unwrap();
    let weights = read_weights(&TensorFile::open(golden("_weights.safetensors")).unwrap(), &config).unwrap();
    let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
    let io = TensorFile::open(golden("_io.safetensors")).unwrap();
    let ids = |name: &str| io.get_any::<i32>(name).unwrap().iter().map(|&id| id as u32).collect::<Vec<_>>();
    let reference = Reference { config: &config, mask: AttentionMask::Bidirectional, weights: &weights, dropout: 0.0 };
    let logits = reference.logits(&ids("x_t"), &ids("t"));
    let theirs = io.get_any::<f32>("logits").unwrap();
    let largest = theirs.iter().fold(0.0_f32, |m, y| m.max(y.abs()));
    // The golden logits were computed in double precision too: what is left is their storage as f32.
    for (ours, theirs) in logits.data.iter().zip(&theirs) {
        assert!((ours - f64::from(*theirs)).abs() < 1e-7 * f64::from(largest), "{ours} against {theirs}");
    }
    let losses = cross_entropy(&logits, &ids("x0"), None);
    for (ours, theirs) in losses.iter().zip(io.get_any::<f32>("token_loss").unwrap()) {
        assert!((ours - f64::from(theirs)).abs() < 1e-6, "{ours} against {theirs}");
    }
}
