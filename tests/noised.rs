//! Noise that turns tokens into others: runs, evaluation and texts.

#[path = "common/steps.rs"]
mod steps;

use std::sync::Arc;
use steps::shakespeare;
use tempest::backend::Device;
use tempest::config::{
    DType, Family, Levels, MaskShare, ModelConfig, Objective, Preset, ProcessConfig, Relaxation, RunConfig, Schedule,
};
use tempest::data::{Corpus, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::edit::{self, Lines, RepairConfig};
use tempest::eval::{self, EvalConfig};
use tempest::model::Params;
use tempest::program::{Mixing, SamplingParams, StepArgs};
use tempest::rng::{Stream, UNIFORM_STEPS, normals, philox, threshold};
use tempest::sample::{self, Edits, Policy, Request, SampleConfig, Text, Watch};
use tempest::store::SavedModel;
use tempest::train::Trainer;

fn run(family: Family, objective: Objective) -> (RunConfig, Arc<Corpus>) {
    let corpus = shakespeare();
    let mut config = Preset::Nano.run(DType::F32);
    config.model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, sequence_len: 24, ..config.model };
    (config.model.vocab_size, config.model.diffusion_steps) = (corpus.vocab().size(), 16);
    config.process = family.config(corpus.vocab().mask_id());
    (config.train.steps, config.train.batch, config.train.accumulate) = (60, 8, 2);
    config.objective = objective;
    (config, corpus)
}

fn model(config: &RunConfig, vocab: &Vocab, scale: f32) -> SavedModel {
    let n = Params::new(&config.model).len();
    let random = (0..n.div_ceil(4)).flat_map(|i| normals(philox(5, Stream::Init, 9, i as u32)));
    let weights = random.take(n).map(|z| scale * z).collect();
    SavedModel { config: config.model.clone(), process: config.process, vocab: vocab.clone(), weights, step: 0 }
}

/// Hard tokens, with this share of masks in their noise.
fn mixed(mask_share: MaskShare) -> (RunConfig, Arc<Corpus>) {
    let (mut config, corpus) = run(Family::Mixed, Objective::nelbo(Schedule::Linear));
    config.process = match mask_share {
        MaskShare::Constant(0.0) => Family::Uniform.config(corpus.vocab().mask_id()),
        _ => ProcessConfig::Mixed { mask_token_id: corpus.vocab().mask_id(), mask_share },
    };
    (config, corpus)
}

/// Relaxed tokens, with this share of masks in their noise.
fn relaxed(mask_share: MaskShare, relaxation: Relaxation) -> (RunConfig, Arc<Corpus>) {
    let (mut config, corpus) = run(Family::Relaxed, Objective::simple(Schedule::Linear));
    let (mask_token_id, temperatures) = (corpus.vocab().mask_id(), "1:0.5:60".parse().unwrap());
    config.process = ProcessConfig::Relaxed { mask_token_id, mask_share, temperatures, unroll: 0.5, relaxation };
    (config, corpus)
}

#[test]
fn a_step_on_soft_tokens_has_the_slopes_of_its_loss() {
    for (part, mask_share) in [(0, 0.0.into()), (1, 0.6.into()), (1, MaskShare::Gidd(0.2))] {
        let (mut config, corpus) = relaxed(mask_share, Relaxation::Soft);
        config.model.short_conv = 3;
        let start = model(&config, corpus.vocab(), 0.2).weights;
        let args = StepArgs { seed: 3, step: 9, ..StepArgs::default() };
        steps::check(&config, &corpus, part, &start, &args, true);
    }
}

#[test]
fn soft_and_straight_through_tokens_are_learned_from_on_any_threads_and_go_on_as_if_never_stopped() {
    for (relaxation, mask_share, dtype) in
        [(Relaxation::Soft, MaskShare::Gidd(0.2), DType::F32), (Relaxation::StraightThrough, 0.6.into(), DType::Bf16)]
    {
        let (config, corpus) = relaxed(mask_share, relaxation);
        let config = RunConfig { dtype, ..config };
        let parts: Vec<usize> = (0..60).map(|step| config.process.part_of_step(config.seed, step)).collect();
        assert!(parts[..25].contains(&1) && parts[25..].contains(&1) && parts.contains(&0));
        let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        let mut whole = trainer();
        let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        assert!(mean(&losses[40..]) < 0.95 * mean(&losses[..10]), "{losses:?}");
        let mut first = trainer();
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        alone.install(|| (0..25).for_each(|_| assert!(first.step().is_ok())));
        let mut second = trainer();
        second.restore(&first.state().unwrap()).unwrap();
        (25..60).for_each(|_| assert!(second.step().is_ok()));
        assert_eq!(second.state().unwrap(), whole.state().unwrap());
    }
}

/// Whatever it was trained on, a model is measured and writes as one of hard tokens with the same weights.
#[test]
fn a_model_of_relaxed_tokens_is_evaluated_and_writes_with_hard_ones() {
    let mixed = ProcessConfig::MASK_SHARE.into();
    for (family, mask_share) in [(Family::Uniform, MaskShare::default()), (Family::Mixed, mixed)] {
        let (config, corpus) = relaxed(mask_share, Relaxation::Soft);
        let soft = model(&config, corpus.vocab(), 0.3);
        let hard = SavedModel { process: family.config(corpus.vocab().mask_id()), ..soft.clone() };
        let found = [&soft, &hard].map(|model| {
            let mut denoiser = Denoiser::new(model, DType::F32, 4, &Device::Cpu).unwrap();
            let eval = EvalConfig {
                steps: vec![2],
                passes: Some(2),
                ..EvalConfig::nelbo_only(&config.model, &model.process, 0..8 * 24, 0, 3)
            };
            let report = eval::evaluate(&mut denoiser, &corpus, &eval, &mut |_, _, _| {}).unwrap();
            let sampling = SampleConfig::new("ancestral:9".parse().unwrap(), 9, &model.process);
            let texts = texts(model, &sampling, 2, &[sample::open(24), sample::open(24)]);
            (report.nelbo.unwrap().nats, report.step_bounds[0].bound.unwrap().nats, texts)
        });
        assert_eq!(found[0], found[1]);
    }
}

/// A model that knows nothing is an exact denoiser of texts whose symbols are all as likely.
#[test]
fn evaluation_of_a_model_that_knows_nothing_finds_the_logarithm_of_its_symbols() {
    for family in [Family::Uniform, Family::Mixed] {
        let (config, corpus) = run(family, Objective::nelbo(Schedule::Linear));
        let mut denoiser = Denoiser::new(&model(&config, corpus.vocab(), 0.0), DType::F32, 16, &Device::Cpu).unwrap();
        let range = 0..16 * 24;
        let eval = EvalConfig {
            steps: vec![1, 4, 64],
            passes: Some(64),
            ..EvalConfig::nelbo_only(&config.model, &config.process, range, 0, 3)
        };
        let report = eval::evaluate(&mut denoiser, &corpus, &eval, &mut |_, _, _| {}).unwrap();
        let wanted = f64::from(corpus.vocab().size() as u32 - 1).ln();
        let found = report.nelbo.unwrap();
        let error = found.standard_error.unwrap();
        assert!((found.nats - wanted).abs() < 5.0 * error && error < 0.1, "{found:?}, wanted {wanted}");
        for bound in report.step_bounds {
            let found = bound.bound.unwrap();
            let error = found.standard_error.unwrap();
            assert!(
                (found.nats - wanted).abs() < 5.0 * error + 1e-4,
                "{} steps: {found:?}, wanted {wanted}",
                bound.steps
            );
        }
    }
}

#[test]
fn a_run_learns_by_either_objective_and_goes_on_as_if_it_had_never_stopped() {
    let levels: Levels = "beta:3:5".parse().unwrap();
    let simple = Objective::Simple { schedule: Schedule::Cosine, levels };
    for (family, objective) in [(Family::Mixed, simple), (Family::Uniform, Objective::nelbo(Schedule::Linear))] {
        let (config, corpus) = run(family, objective);
        let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        let mut whole = trainer();
        let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        assert!(mean(&losses[40..]) < 0.95 * mean(&losses[..10]), "{losses:?}");
        let mut first = trainer();
        (0..25).for_each(|_| assert!(first.step().is_ok()));
        let mut second = trainer();
        second.restore(&first.state().unwrap()).unwrap();
        (25..60).for_each(|_| assert!(second.step().is_ok()));
        assert_eq!(second.state().unwrap(), whole.state().unwrap());
    }
}

#[test]
fn the_bound_of_a_given_text_is_that_of_an_evaluation_and_its_own_whatever_stands_beside_it() {
    const DRAWS: u32 = 1024;
    for family in [Family::Masked, Family::Uniform, Family::Mixed] {
        let (config, corpus) = run(family, Objective::nelbo(Schedule::Linear));
        let model = model(&config, corpus.vocab(), 0.3);
        let denoiser = |batch| Denoiser::new(&model, DType::F32, batch, &Device::Cpu).unwrap();
        let texts: Vec<Vec<u32>> = [0, 500, 900].map(|at| corpus.tokens().window(at..at + 24)).into();
        let (mut many, mut one) = (denoiser(64), denoiser(1));
        let bound = eval::bounds(&mut many, &texts[1..2], 0, DRAWS, 3).unwrap()[0];
        let own = EvalConfig {
            passes: Some(DRAWS / 4),
            ..EvalConfig::nelbo_only(&model.config, &model.process, 500..524, 1, 9)
        };
        let evaluated = 24.0 * eval::nelbo(&mut many, &corpus, &own, &mut |_, _, _| {}).unwrap().0.unwrap().nats;
        // Of as many draws it would have the same error, of a quarter twice that.
        let error = 5.0 * bound.standard_error * 5.0_f64.sqrt();
        assert!((bound.nats - evaluated).abs() < error, "{family}: {bound:?}, evaluated {evaluated}");
        assert!(bound.standard_error < 0.05 * bound.nats, "{family}: {bound:?}");

        let together = eval::bounds(&mut many, &texts, 0, 9, 3).unwrap();
        let alone = texts.iter().map(|text| eval::bounds(&mut one, std::slice::from_ref(text), 0, 9, 3).unwrap()[0]);
        assert_eq!(together, alone.collect::<Vec<_>>(), "{family}");
        assert_ne!(together, eval::bounds(&mut many, &texts, 0, 9, 4).unwrap(), "{family}");

        // The deviation of 24 estimates is known to one part in √46; five of these are less than a half of it.
        let found: Vec<_> = (0..24).map(|seed| eval::bounds(&mut many, &texts[..1], 0, 32, seed).unwrap()[0]).collect();
        let mean = |of: &dyn Fn(&eval::Bounded) -> f64| found.iter().map(of).sum::<f64>() / 24.0;
        let nats = mean(&|bound| bound.nats);
        let spread = (mean(&|bound| (bound.nats - nats).powi(2)) * 24.0 / 23.0).sqrt();
        let said = mean(&|bound| bound.standard_error);
        assert!((0.5..2.0).contains(&(said / spread)), "{family}: {said} is said, {spread} found");
    }
    let refused = |part, given| eval::check_bounds(part, given).unwrap_err().to_string();
    assert!(refused(Family::Autoregressive, 0).contains("has an exact likelihood"));
    assert!(refused(Family::Gaussian, 0).contains("whole windows alone"));
    assert!(refused(Family::Mixed, 2).contains("found 2 given tokens"));
}

fn texts(model: &SavedModel, config: &SampleConfig, batch: usize, starts: &[Start]) -> Vec<Text> {
    let mut denoiser = Denoiser::new(model, DType::F32, batch, &Device::Cpu).unwrap();
    sample::sample(&mut denoiser, config, starts, 0, Watch::Progress(&mut |_| {})).unwrap()
}

/// Noise of rate 0.3 that is given again up to 0.7 is noise of 0.7: how many tokens are masks and stay, ±5 standard errors.
#[test]
fn noise_that_is_given_again_is_that_of_its_rate() {
    const TEXTS: usize = 64;
    let shares = [MaskShare::default(), ProcessConfig::MASK_SHARE.into(), MaskShare::Gidd(0.3)];
    for mask_share in shares {
        let (config, corpus) = mixed(mask_share);
        let (others, count) = (corpus.vocab().size() as u32 - 1, (TEXTS * 24) as f64);
        let mask = corpus.vocab().mask_id();
        let mixing = Mixing::new(mask, others, mask_share);
        let model = model(&config, corpus.vocab(), 0.0);
        let mut denoiser = Denoiser::new(&model, DType::F32, TEXTS, &Device::Cpu).unwrap();
        let starts = vec![(0..24).map(Some).collect::<Start>(); TEXTS];
        let mut canvas = denoiser.canvas(&starts, &[SamplingParams::MOST_PROBABLE; TEXTS]).unwrap();
        for (step, [from, to]) in [[0.0, 0.3], [0.3, 0.7]].map(|pair| pair.map(threshold)).into_iter().enumerate() {
            let args = StepArgs { seed: 5, step: step as u64, ..StepArgs::default() };
            canvas.noise_again(&args, &[[to, from]; TEXTS]).unwrap();
            let tokens = canvas.tokens().unwrap();
            let near = |is: &dyn Fn(usize, u32) -> bool, wanted: f32, what: &str| {
                let found = tokens.iter().enumerate().filter(|&(i, &token)| is(i, token)).count() as f64 / count;
                let (wanted, rate) = (f64::from(wanted), f64::from(to) / f64::from(UNIFORM_STEPS));
                let error = (wanted * (1.0 - wanted) / count).sqrt();
                assert!(
                    (found - wanted).abs() <= 5.0 * error,
                    "{mask_share} at {rate}: {what} {found}, wanted {wanted}"
                );
            };
            let law = mixing.marginal(to);
            near(&|_, token| token == mask, law.noise[0], "masks");
            near(&|i, token| token == (i % 24) as u32, law.keep + law.noise[1], "tokens that stay");
        }
    }
}

#[test]
fn a_text_keeps_what_is_known_of_it_and_is_the_same_alone_and_among_others() {
    for family in [Family::Uniform, Family::Mixed] {
        let (config, corpus) = run(family, Objective::nelbo(Schedule::Linear));
        let model = model(&config, corpus.vocab(), 0.3);
        let policy: Policy = "ancestral:40".parse().unwrap();
        let sampling = SampleConfig { greedy_tail: 0.1, ..SampleConfig::new(policy, 9, &model.process) };
        let known = |number: usize, p: usize| (p % 5 < number || p < 3).then_some(((number + p) % 60) as u32);
        let starts: Vec<Start> = (0..4).map(|number| (0..24).map(|p| known(number, p)).collect()).collect();
        let together = texts(&model, &sampling, 4, &starts);
        assert_eq!(together, texts(&model, &sampling, 1, &starts));
        for (text, start) in together.iter().zip(&starts) {
            for ((token, known), at) in text.tokens.iter().zip(start).zip(&text.committed_at) {
                assert!(known.is_none_or(|known| known == *token) && known.is_some() == at.is_none());
                assert_ne!(*token, model.process.mask_token_id());
            }
            assert!(text.committed_at.iter().flatten().any(|&at| at > 0), "tokens change again");
        }
        let greedy = SampleConfig { temperature: 0.0, ..sampling.clone() };
        assert_eq!(texts(&model, &greedy, 4, &starts), texts(&model, &greedy, 2, &starts));
        // Every step but the last three times.
        let again = SampleConfig { policy: "ancestral:6".parse().unwrap(), resample: 3, ..sampling };
        let written = texts(&model, &again, 4, &starts);
        assert_eq!(written, texts(&model, &again, 1, &starts));
        for (text, start) in written.iter().zip(&starts) {
            assert!(text.tokens.iter().zip(start).all(|(token, known)| known.is_none_or(|known| known == *token)));
            assert!(!text.tokens.contains(&model.process.mask_token_id()));
            assert!(text.committed_at.iter().flatten().max() > Some(&5) && text.steps.iter().all(|&steps| steps <= 16));
        }
        assert_ne!(written, texts(&model, &SampleConfig { resample: 1, ..again }, 4, &starts));
    }
}

#[test]
fn what_is_written_is_edited_as_a_repair_edits_it_and_what_is_known_stays() {
    let (config, corpus) = run(Family::Mixed, Objective::nelbo(Schedule::Linear));
    // Sure enough to doubt a token of which one in twenty is told to be wrong.
    let model = model(&config, corpus.vocab(), 1.0);
    let edits = Edits { least: 0.9, sure: 0.1, rounds: 2 };
    let plain = SampleConfig::new("ancestral:6".parse().unwrap(), 9, &model.process);
    let edited = SampleConfig { edits: Some(edits), ..plain.clone() };
    let starts = vec![sample::open(24); 3];
    let (before, after) = (texts(&model, &plain, 3, &starts), texts(&model, &edited, 3, &starts));
    let repair = RepairConfig { lines: Lines::Free, ..RepairConfig::of(Family::Mixed) };
    let repair = RepairConfig { least: edits.least, sure: edits.sure, rounds: edits.rounds, ..repair };
    let written: Vec<String> = before.iter().map(|text| text.decoded(corpus.vocab())).collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let mut denoiser = Denoiser::new(&model, DType::F32, 3, &Device::Cpu).unwrap();
    let repaired = edit::repair(&mut denoiser, &repair, &written, &mut |_, _, _| {}).unwrap();
    for ((before, after), repaired) in before.iter().zip(&after).zip(repaired) {
        assert_eq!(after.decoded(corpus.vocab()), repaired.text);
        for ((token, was), at) in after.tokens.iter().zip(&before.tokens).zip(&after.committed_at) {
            assert!(token == was || at.is_some_and(|at| (6..8).contains(&at)), "{at:?}");
        }
        assert!(after.tokens != before.tokens && after.steps[0] > 6, "{after:?}");
    }
    // Others of a batch may take more steps, and known tokens stay.
    let start = |number: usize| (0..24).map(|p| (p % 4 < number).then_some((p + number) as u32)).collect::<Start>();
    let policies = ["ancestral:4", "ancestral:9", "ancestral:9"];
    let request =
        |(number, policy): (usize, &&str)| Request { policy: policy.parse().unwrap(), ..edited.request(start(number)) };
    let requests: Vec<Request> = policies.iter().enumerate().map(request).collect();
    let written = |batch| {
        let mut denoiser = Denoiser::new(&model, DType::F32, batch, &Device::Cpu).unwrap();
        sample::sample_each(&mut denoiser, &edited, &requests, 5, Watch::Progress(&mut |_| {})).unwrap()
    };
    let together = written(3);
    assert_eq!(together, written(1));
    let mut frames = Vec::new();
    let mut denoiser = Denoiser::new(&model, DType::F32, 3, &Device::Cpu).unwrap();
    let watch = Watch::Steps(&mut |frame| frames.push((frame.step, frame.tokens.to_vec())));
    assert_eq!(together, sample::sample_each(&mut denoiser, &edited, &requests, 5, watch).unwrap());
    let (last, shown) = frames.last().unwrap();
    assert!(*last > 9 && *shown == together[1..].iter().flat_map(|text| text.tokens.clone()).collect::<Vec<_>>());
    for (text, request) in together.iter().zip(&requests) {
        assert!(text.tokens.iter().zip(&request.start).all(|(token, known)| known.is_none_or(|known| known == *token)));
    }
    for wrong in ["2", "0.2:0.5:0", "0.2:x", "0.2:0.5:3:4"] {
        assert!(wrong.parse::<Edits>().unwrap_err().to_string().contains("wanted"), "{wrong}");
    }
    assert_eq!("0.1".parse::<Edits>().unwrap(), Edits { least: 0.1, ..Edits::USUAL });
}

#[test]
fn what_other_symbols_as_noise_cannot_have_is_refused() {
    let (config, corpus) = run(Family::Uniform, Objective::nelbo(Schedule::Linear));
    let refused = |objective: Objective| {
        let config = RunConfig { objective, ..config.clone() };
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    assert!(refused(Objective::NelboCount).contains("wanted --objective nelbo or simple"));
    let levels: Levels = "learned".parse().unwrap();
    assert!(refused(Objective::Nelbo { schedule: Schedule::Linear, levels }).contains("other --levels"));
    let (config, _) = relaxed(MaskShare::default(), Relaxation::Soft);
    let refused = |objective, mask_share: f32, unroll, relaxation| {
        let mask_share = mask_share.into();
        let (mask_token_id, temperatures) = (corpus.vocab().mask_id(), "1:0.1:9".parse().unwrap());
        let process = ProcessConfig::Relaxed { mask_token_id, mask_share, temperatures, unroll, relaxation };
        let config = RunConfig { objective, process, ..config.clone() };
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    let simple = Objective::simple(Schedule::Linear);
    assert!(refused(Objective::nelbo(Schedule::Linear), 0.0, 0.5, Relaxation::Soft).contains("a bound on nothing"));
    assert!(refused(simple, 1.0, 0.5, Relaxation::Soft).contains("wanted --mask-share from 0 to less than 1"));
    assert!(refused(simple, 0.0, 1.5, Relaxation::Soft).contains("wanted --unroll from 0 to 1"));
    assert!(refused(simple, 0.0, 0.0, Relaxation::StraightThrough).contains("give --unroll more than 0"));

    let model = model(&config, corpus.vocab(), 0.3);
    let mut denoiser = Denoiser::new(&model, DType::F32, 1, &Device::Cpu).unwrap();
    let mut of = |config: SampleConfig| {
        sample::sample(&mut denoiser, &config, &[sample::open(24)], 0, Watch::Progress(&mut |_| {}))
            .unwrap_err()
            .to_string()
    };
    let of_policy = |policy: &str| SampleConfig::new(policy.parse().unwrap(), 1, &model.process);
    assert!(of(of_policy("top-k:1")).contains("give --sampler ancestral:STEPS"));
    assert!(of(SampleConfig { top_p: 0.9, ..of_policy("ancestral") }).contains("wanted a --temperature below 1"));
    let mut eval = EvalConfig::nelbo_only(&config.model, &config.process, 0..240, 0, 1);
    (eval.duel, eval.duel_windows) = (vec![Policy::top_k(1)], 1);
    let error = eval::evaluate(&mut denoiser, &corpus, &eval, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("an order of masks to replace"), "{error}");
}
