//! Whole runs on the GPU, through graphs: training, going on elsewhere, sampling.

use crate::device::{self, device, nothing_found};
use crate::files;
use std::process::Command;
use std::sync::Arc;
use tempest::backend::Device;
use tempest::backend::cuda::{Gpu, Launching, Options};
use tempest::check;
use tempest::config::{
    Averages, BatchGrowth, DataConfig, LrSchedule, ModelConfig, MuonConfig, Objective, OptimizerConfig, ProcessConfig,
    RunConfig, Schedule, Score, TrainConfig, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, MOST_PROGRAMS, Start};
use tempest::files::atomic::Existing;
use tempest::process::Past;
use tempest::program::DType;
use tempest::sample::hybrid::{Pair, Refine};
use tempest::sample::{self, Policy, Request, SampleConfig, Text, Watch};
use tempest::store::SavedModel;
use tempest::store::{RunFolder, TrainingState};
use tempest::train::{StepReport, Trainer, Wait};

fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap())
}

fn run_config(dtype: DType, objective: Objective, accumulate: usize) -> RunConfig {
    let original = objective == Objective::Original;
    RunConfig {
        version: String::new(),
        seed: 11,
        dtype,
        model: ModelConfig {
            n_layer: 2,
            n_head: 2,
            n_embd: 64,
            sequence_len: 32,
            vocab_size: 66,
            diffusion_steps: if original { 16 } else { 0 },
            vector_dims: 0,
            autoencoder: None,
            short_conv: if original { 0 } else { 3 },
            architecture: Default::default(),
        },
        process: ProcessConfig::Masked {
            mask_token_id: 65,
            context_len: if original { 4 } else { 0 },
            prompt_drop: if original { 0.25 } else { 0.0 },
        },
        data: DataConfig { newlines: None, ..DataConfig::embedded(VocabKind::Chars) },
        objective,
        optimizer: OptimizerConfig {
            lr: 3e-3,
            min_lr: 1e-4,
            schedule: LrSchedule::Cosine,
            warmup: 2,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
            dropout: 0.0,
            ema: Averages::of(0.9),
            muon: None,
        },
        train: TrainConfig {
            steps: 20,
            batch: 3,
            batch_growth: BatchGrowth::default(),
            accumulate,
            eval_every: 0,
            eval_windows: 8,
            sample_every: 0,
            checkpoint_every: 100,
            sample_prompt: None,
        },
        from: None,
    }
}

fn with_muon(config: RunConfig) -> RunConfig {
    let optimizer = OptimizerConfig { muon: Some(MuonConfig { lr: 0.03 }), ..config.optimizer };
    RunConfig { optimizer, ..config }
}

fn trainer(config: &RunConfig, device: &Device) -> Trainer {
    Trainer::new(config, corpus(), device).unwrap()
}

/// Steps handed over without waiting, and what they reported.
fn train(trainer: &mut Trainer, steps: usize) -> Vec<StepReport> {
    let mut reports = Vec::new();
    for _ in 0..steps {
        trainer.advance().unwrap();
        reports.extend(trainer.reports(Wait::IfFarBehind).unwrap());
    }
    reports.extend(trainer.reports(Wait::ForAll).unwrap());
    assert_eq!(reports.len(), steps);
    reports
}

#[test]
fn five_steps_equal_the_originals() {
    let golden = files::root().join("tests/data/golden/config_a");
    for dtype in [DType::F16, DType::Bf16] {
        let lines = check::against(&golden, dtype, &device()).unwrap();
        let failed: Vec<_> = lines.iter().filter(|line| !line.passes()).collect();
        assert!(failed.is_empty(), "{dtype:?}: {failed:#?}");
        let worst = lines.iter().map(|line| line.relative).fold(0.0, f64::max);
        println!("{dtype:?}: {} quantities, worst relative error {worst:.1e}", lines.len());
    }
    nothing_found();
}

#[test]
fn training_goes_as_on_the_cpu_step_by_step() {
    for (objective, accumulate) in
        [(Objective::Original, 1), (Objective::simple(Schedule::Linear), 2), (Objective::NelboCount, 1)]
    {
        // What rounding to storage moves in a loss, and then in the weights that the next steps start from: 8 steps of at
        // most 3e-3 that differ by the rounding's share. A wrong gradient is off by its own size.
        for (dtype, tolerance) in [(DType::F16, 2e-3), (DType::Bf16, 1e-2)] {
            let mut config = run_config(dtype, objective, accumulate);
            config.optimizer.dropout = if accumulate > 1 { 0.1 } else { 0.0 };
            let on_cpu = train(&mut trainer(&RunConfig { dtype: DType::F32, ..config.clone() }, &Device::Cpu), 8);
            let on_gpu = train(&mut trainer(&config, &device()), 8);
            for (gpu, cpu) in on_gpu.iter().zip(&on_cpu) {
                let case = format!("{objective:?} {dtype:?} step {}: {gpu:?} {cpu:?}", cpu.step);
                assert_eq!((gpu.step, gpu.masked, gpu.lr), (cpu.step, cpu.masked, cpu.lr), "{case}");
                assert!((gpu.loss - cpu.loss).abs() <= tolerance * cpu.loss.abs(), "{case}");
                let skipped = !gpu.grad_norm.is_finite();
                assert!(skipped || (gpu.grad_norm - cpu.grad_norm).abs() <= 10.0 * tolerance * cpu.grad_norm, "{case}");
                assert!(!skipped, "no step overflows at this scale: {case}");
            }
            assert!(on_gpu[7].loss < on_gpu[0].loss - 0.2, "it learns: {on_gpu:?}");
        }
    }
    nothing_found();
}

/// The direction of a step is made of numbers of f16, each of 9 products rounded once, which the polynomials' slopes enlarge by
/// 101 where a singular value is tiny and by 415 at most, where one is all there is: a few percent of a step. A wrong direction
/// is off by all of it, and a loss falls by some percent in four steps.
#[test]
fn muon_trains_as_on_the_cpu_and_the_same_again() {
    let config = with_muon(run_config(DType::F16, Objective::simple(Schedule::Linear), 1));
    let on_cpu = train(&mut trainer(&RunConfig { dtype: DType::F32, ..config.clone() }, &Device::Cpu), 4);
    let [one, two] = [(); 2].map(|()| {
        let mut trainer = trainer(&config, &device());
        let reports = train(&mut trainer, 4);
        (reports, trainer.state().unwrap())
    });
    for (gpu, cpu) in one.0.iter().zip(&on_cpu) {
        assert!((gpu.loss - cpu.loss).abs() <= 2e-3 * cpu.loss, "{gpu:?} {cpu:?}");
    }
    assert!(one == two, "the same run again");
    nothing_found();
}

/// One part's programs are another's memory, step by step in turn. What rounding moves is said above.
#[test]
fn a_joint_run_trains_as_on_the_cpu() {
    let config = run_config(DType::F16, Objective::simple(Schedule::Linear), 2);
    let config = RunConfig { process: ProcessConfig::Joint { mask_token_id: 65, causal_share: 0.5 }, ..config };
    let on_cpu = train(&mut trainer(&RunConfig { dtype: DType::F32, ..config.clone() }, &Device::Cpu), 6);
    let on_gpu = train(&mut trainer(&config, &device()), 6);
    for (gpu, cpu) in on_gpu.iter().zip(&on_cpu) {
        assert_eq!(gpu.masked, cpu.masked);
        assert!((gpu.loss - cpu.loss).abs() <= 2e-3 * cpu.loss, "{gpu:?} {cpu:?}");
    }
    let all = 2 * 3 * 32;
    assert!(on_gpu.iter().any(|step| step.masked == all) && on_gpu.iter().any(|step| step.masked < all));
    nothing_found();
}

#[test]
fn two_runs_are_bitwise_equal() {
    for dtype in [DType::F16, DType::Bf16] {
        let config = run_config(dtype, Objective::nelbo(Schedule::Cosine), 2);
        let [one, two] = [(); 2].map(|()| {
            let mut trainer = trainer(&config, &device());
            let reports = train(&mut trainer, 6);
            (reports, trainer.state().unwrap())
        });
        assert_eq!(one, two);
    }
    nothing_found();
}

#[test]
fn a_state_goes_on_where_it_stopped_and_on_the_other_device() {
    let levels = "beta:3:5:anneal:0.9".parse().unwrap();
    let mut config = run_config(DType::F16, Objective::Simple { schedule: Schedule::Linear, levels }, 1);
    // All that goes with the step, and changes between the stop and the end.
    config.train.batch_growth = "7:5".parse().unwrap();
    config.process = ProcessConfig::Masked { mask_token_id: 65, context_len: 4, prompt_drop: 0.5 };
    config.optimizer.ema = "0.9,0.5".parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pass_on = |state: &TrainingState, name: &str| {
        let run = RunFolder::create(&folder.path().join(name), Existing::Keep, &config).unwrap();
        run.save(&config, corpus().vocab(), state).unwrap();
        run.load(&config, corpus().vocab()).unwrap().expect("just saved").state
    };
    // Twelve steps on one device, in one go, and stopped after five.
    let mut whole = trainer(&config, &device());
    let whole_reports = train(&mut whole, 12);
    let mut first = trainer(&config, &device());
    train(&mut first, 5);
    let state = pass_on(&first.state().unwrap(), "state");
    let mut second = trainer(&config, &device());
    second.restore(&state).unwrap();
    let reports = train(&mut second, 7);
    assert_eq!(reports, whole_reports[5..]);
    assert_eq!(second.state().unwrap(), whole.state().unwrap());

    // From the GPU to the CPU and back: the numbers are those of a run in the other precision, the masks the same.
    let mut cpu = trainer(&config, &Device::Cpu);
    cpu.restore(&state).unwrap();
    let on_cpu = train(&mut cpu, 3);
    for (cpu, gpu) in on_cpu.iter().zip(&whole_reports[5..]) {
        assert_eq!((cpu.step, cpu.masked), (gpu.step, gpu.masked));
        assert!((cpu.loss - gpu.loss).abs() < 2e-3 * gpu.loss, "{cpu:?} {gpu:?}");
    }
    let back = pass_on(&cpu.state().unwrap(), "back");
    assert_eq!(back.loss_scale, state.loss_scale, "the CPU keeps the scale that it does not need");
    let mut third = trainer(&config, &device());
    third.restore(&back).unwrap();
    let reports = train(&mut third, 4);
    for (now, gpu) in reports.iter().zip(&whole_reports[8..]) {
        assert_eq!((now.step, now.masked), (gpu.step, gpu.masked));
        assert!((now.loss - gpu.loss).abs() < 2e-3 * gpu.loss, "{now:?} {gpu:?}");
    }
    nothing_found();
}

#[test]
fn a_scale_that_is_too_high_skips_steps_until_it_fits() {
    let config = run_config(DType::F16, Objective::Original, 1);
    let mut trainer = trainer(&config, &device());
    let mut state = trainer.state().unwrap();
    let before = state.weights.clone();
    state.loss_scale = Some([16_777_216.0 * 1024.0, 0.0]);
    // The head starts at zero and no gradient passes it: the first step's weights make the next ones overflow.
    for (i, w) in state.weights.iter_mut().enumerate() {
        if *w == 0.0 {
            *w = 0.3 * before[(i * 7) % 4096];
        }
    }
    trainer.restore(&state).unwrap();
    let reports = train(&mut trainer, 20);
    let skipped = reports.iter().take_while(|report| !report.grad_norm.is_finite()).count();
    assert!((1..20).contains(&skipped), "{reports:#?}");
    for pair in reports[..=skipped].windows(2) {
        assert_eq!(pair[1].loss_scale, pair[0].loss_scale / 2.0);
    }
    assert!(reports.iter().all(|report| report.loss.is_finite()));
    nothing_found();
}

/// A model of a process, with random weights in every tensor, for three texts at a time.
fn denoiser_of(process: ProcessConfig, dtype: DType, device: &Device, diffusion_steps: usize) -> Denoiser {
    let config = ModelConfig {
        n_layer: 2,
        n_head: 2,
        n_embd: 64,
        sequence_len: 26,
        vocab_size: 128,
        diffusion_steps,
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    };
    let params = tempest::model::Params::new(&config);
    let mut weights = params.init(3);
    let spread = weights.clone();
    for (i, w) in weights.iter_mut().enumerate() {
        if *w == 0.0 {
            *w = 0.5 * spread[(i * 7) % spread.len()];
        }
    }
    let model = SavedModel { config, process, vocab: Vocab::ascii(), weights, step: 0 };
    Denoiser::new(&model, dtype, 3, device).unwrap()
}

fn denoiser(dtype: DType, device: &Device, diffusion_steps: usize) -> Denoiser {
    denoiser_of(
        ProcessConfig::Masked { mask_token_id: 0, context_len: 0, prompt_drop: 0.0 },
        dtype,
        device,
        diffusion_steps,
    )
}

const POLICIES: [Policy; 4] = [
    Policy::EntropyBounded(6.0),
    Policy::TopK(Some(3), Score::Margin),
    Policy::Ancestral { steps: Some(21), schedule: Schedule::Cosine },
    Policy::Ancestral { steps: Some(3), schedule: Schedule::Linear },
];

fn starts() -> Vec<Start> {
    vec![sample::open(26), sample::prompt(&Vocab::ascii(), "What ", 26).unwrap(), sample::open(26), sample::open(26)]
}

fn texts(denoiser: &mut Denoiser, policy: Policy, watch: Watch<'_>) -> Vec<Text> {
    // Finding a nucleus is slow on a virtual GPU; one policy does it.
    let top_p = if matches!(policy, Policy::TopK(..)) { 0.5 } else { 1.0 };
    let config = SampleConfig { temperature: 0.7, top_p, ..SampleConfig::new(policy, 9, denoiser.process_config()) };
    sample::sample(denoiser, &config, &starts(), 100, watch).unwrap()
}

#[test]
fn sampling_ahead_of_the_device_and_step_by_step_give_the_same_texts() {
    for (timesteps, policies) in [(0, &POLICIES[..]), (16, &POLICIES[..1])] {
        let mut denoiser = denoiser(DType::F16, &device(), timesteps);
        for &policy in policies {
            let ahead = texts(&mut denoiser, policy, Watch::Progress(&mut |_| {}));
            let watched = texts(&mut denoiser, policy, Watch::Steps(&mut |_| {}));
            assert_eq!(ahead, watched, "{policy:?}");
            assert!(ahead.iter().all(|text| text.tokens.iter().all(|&id| id != 0)), "every mask is gone");
        }
    }
    nothing_found();
}

#[test]
fn texts_from_left_to_right_are_the_same_whatever_is_kept_and_however_they_are_watched() {
    let process = ProcessConfig::Autoregressive { mask_token_id: 0 };
    let mut model = denoiser_of(process, DType::F16, &device(), 0);
    let mut write = |past, watch: Watch<'_>| {
        let plain = SampleConfig::new(Policy::top_k(1), 9, model.process_config());
        let config = SampleConfig { past, blocks: 2, overlap: 9, temperature: 0.7, ..plain };
        sample::sample(&mut model, &config, &starts(), 100, watch).unwrap()
    };
    let kept = write(Past::Kept, Watch::Progress(&mut |_| {}));
    assert_eq!(kept, write(Past::Kept, Watch::Steps(&mut |_| {})));
    assert_eq!(kept, write(Past::Recomputed, Watch::Progress(&mut |_| {})));
    assert!(kept.iter().all(|text| text.tokens.iter().all(|&id| id != 0)), "every token is written");
    nothing_found();
}

#[test]
fn two_models_share_the_work_and_what_was_given_stays() {
    let mut masked = denoiser(DType::F16, &device(), 0);
    let process = ProcessConfig::Joint { mask_token_id: 0, causal_share: 0.5 };
    let weights = tempest::model::Params::new(masked.config()).init(8);
    let (config, vocab) = (masked.config().clone(), Vocab::ascii());
    let model = SavedModel { config, process, vocab, weights, step: 0 };
    let mut causal = Denoiser::new(&model, DType::F16, 3, &device()).unwrap();
    let mut pair = Pair { first: &mut causal, masked: &mut masked };
    let config = SampleConfig::new(Policy::top_k(9), 9, &process);
    let starts = starts();
    let (verified, found) = pair.verify(5, &config, &starts[1..3], 7, &mut |_| {}).unwrap();
    let alone = pair.verify(5, &config, &starts[1..2], 7, &mut |_| {}).unwrap().0;
    assert_eq!(verified[..1], alone);
    assert!(found.drafted > 0 && found.written == 2 * 26 - 5);
    let refine = Refine { rounds: 1, share: 0.3, stripes: 2, draft: None };
    let refined = pair.refine(refine, &config, &starts[1..3], 7, &mut |_| {}).unwrap();
    assert_eq!(refined[..1], pair.refine(refine, &config, &starts[1..2], 7, &mut |_| {}).unwrap());
    for text in verified.iter().chain(&refined) {
        assert!(text.tokens.iter().all(|&id| id != 0), "every token is written");
    }
    assert!([&verified, &refined].iter().all(|texts| vocab_text(&texts[0]).starts_with("What ")));
    nothing_found();
}

fn vocab_text(text: &Text) -> String {
    Vocab::ascii().decode(&text.tokens)
}

#[test]
fn predictions_too_large_for_f16_end_sampling_with_the_cure() {
    let mut model = denoiser(DType::F16, &device(), 0);
    // In range one by one: the square in the MLP is not.
    let n = tempest::model::Params::new(model.config()).len();
    model.set_weights(&vec![60_000.0; n]).unwrap();
    for policy in [POLICIES[1], POLICIES[3]] {
        let config = SampleConfig::new(policy, 9, model.process_config());
        let ahead: Watch<'_> = Watch::Progress(&mut |_| {});
        let error = sample::sample(&mut model, &config, &starts(), 0, ahead).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("try --dtype bf16"), "{error}");
    }
    let error = model.set_weights(&vec![70_000.0; n]).unwrap_err().to_string();
    assert!(error.contains("holds 70000 at position 0, and f16 ends at 65504; use --dtype bf16"), "{error}");
    let mut wide = denoiser(DType::Bf16, &device(), 0);
    wide.set_weights(&vec![70_000.0; n]).unwrap();
    nothing_found();
}

#[test]
fn a_text_is_the_same_in_any_batch() {
    let mut denoiser = denoiser(DType::Bf16, &device(), 0);
    let config = SampleConfig::new(Policy::top_k(4), 9, denoiser.process_config());
    let starts = vec![sample::open(26); 4];
    let mut draw = |starts: &[Start], first| {
        sample::sample(&mut denoiser, &config, starts, first, Watch::Progress(&mut |_| {})).unwrap()
    };
    let together = draw(&starts, 0);
    for (number, text) in together.iter().enumerate() {
        assert_eq!(draw(&starts[..1], number as u32)[0], *text);
    }
    nothing_found();
}

#[test]
fn blocks_of_a_prompt_are_kept_in_one_pass_as_they_are_block_by_block() {
    let process = ProcessConfig::Block { mask_token_id: 0, block_length: 2.into() };
    let mut denoiser = denoiser_of(process, DType::F16, &device(), 0);
    let config = SampleConfig::new(Policy::top_k(1), 9, &process);
    let starts = [sample::prompt(&Vocab::ascii(), "What is", 10).unwrap(), sample::open(10)];
    let mut draw = |starts: &[Start]| {
        sample::sample(&mut denoiser, &config, starts, 0, Watch::Progress(&mut |_| {})).unwrap().remove(0)
    };
    // Beside a text without a prompt every block has a pass of its own.
    assert_eq!(draw(&starts[..1]), draw(&starts));
    nothing_found();
}

#[test]
fn one_graph_serves_a_batch_of_all_policies_and_each_text_is_the_one_sampled_alone() {
    let mut denoiser = denoiser(DType::F16, &device(), 0);
    let config = SampleConfig::new("top-k".parse().unwrap(), 9, denoiser.process_config());
    let request = |(i, policy)| {
        let temperature = [0.7, 0.0, 1.2][i % 3];
        Request {
            start: sample::open(9),
            policy,
            temperature,
            top_p: 1.0,
            min_p: 0.01,
            top_symbols: 9,
            greedy_tail: 0.2,
            guidance: 0.0,
        }
    };
    let requests: Vec<Request> = POLICIES.into_iter().enumerate().map(request).collect();
    let mut draw = |requests: &[Request], first| {
        let quiet = Watch::Progress(&mut |_| {});
        sample::sample_each(&mut denoiser, &config, requests, first, quiet).unwrap()
    };
    let together = draw(&requests, 0);
    for (number, text) in together.iter().enumerate() {
        assert_eq!(draw(&requests[number..=number], number as u32)[0], *text, "{:?}", requests[number].policy);
    }
    assert_eq!(denoiser.kept(), [2, 2], "one program of three texts and one of one");
    nothing_found();
}

#[test]
fn graphs_of_programs_that_are_no_longer_kept_are_freed() {
    let mut denoiser = denoiser(DType::F16, &device(), 0);
    let config = SampleConfig::new(Policy::top_k(40), 9, denoiser.process_config());
    for length in (1..=MOST_PROGRAMS + 2).chain([1]) {
        let starts = [sample::open(length % 26 + 1), sample::open(length % 26 + 1)];
        let starts = &starts[..1 + length / 26];
        sample::sample(&mut denoiser, &config, starts, 0, Watch::Progress(&mut |_| {})).unwrap();
    }
    assert_eq!(denoiser.kept(), [MOST_PROGRAMS; 2]);
    nothing_found();
}

#[test]
fn most_tokens_are_those_of_the_cpu() {
    // Logits differ by the rounding of f16, so a draw near an edge may fall to the other side, and what follows with it: the
    // first step's tokens are compared, of which at most a few lie that near.
    let step_one = |device: &Device| {
        let mut denoiser = denoiser(DType::F16, device, 0);
        let mut first = Vec::new();
        let policy = Policy::Ancestral { steps: Some(2), schedule: Schedule::Linear };
        texts(
            &mut denoiser,
            policy,
            Watch::Steps(&mut |frame| {
                if frame.step == 1 {
                    first.extend_from_slice(frame.tokens);
                }
            }),
        );
        first
    };
    let (cpu, gpu) = (step_one(&Device::Cpu), step_one(&device()));
    let open = |tokens: &[u32]| tokens.iter().map(|&id| id == 0).collect::<Vec<_>>();
    assert_eq!(open(&cpu), open(&gpu), "which positions are revealed is decided on integers");
    let other = cpu.iter().zip(&gpu).filter(|(a, b)| a != b).count();
    assert!(other <= cpu.len() / 20, "{other} of {} tokens differ", cpu.len());
    nothing_found();
}

/// A kernel that stops its launch, under the name and signature of a real one.
fn broken(family: &str, kernel: &str) -> Arc<Gpu> {
    let built = files::ptx(family);
    let entry = built.find(&format!(".entry {kernel}(")).expect("the kernel is in its family");
    let body = entry + built[entry..].find("\n{\n").expect("its body") + 3;
    let ptx = format!("{}\ttrap;\n{}", &built[..body], &built[body..]);
    let replaced = [(family.to_owned(), ptx)].into();
    device::open(Options { launching: Launching::Synchronous, replaced, ..Options::default() })
}

#[test]
fn a_kernel_that_fails_is_named_with_its_op() {
    // A fault ends the context for good, so this runs in a process of its own.
    if std::env::var_os("TEMPEST_TEST_FAULT").is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "runs::a_kernel_that_fails_is_named_with_its_op";
        let run = Command::new(this).args(["--exact", name]).env("TEMPEST_TEST_FAULT", "1").output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        return;
    }
    let gpu = Device::Cuda(broken("mma_linear", "linear_relu2_mma_small"));
    let error = trainer(&run_config(DType::F16, Objective::NelboCount, 1), &gpu).step().unwrap_err().to_string();
    assert!(error.starts_with("linear_relu2: kernel linear_relu2_mma_small failed: "), "{error}");
}
