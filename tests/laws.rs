//! The law of every sampler: what it draws with a denoiser that is a table, and what its likelihood says of every text,
//! against enumerations in double precision. Of 3 symbols and 3 positions there are 27 texts.
//!
//! `tests/data/laws` holds two joint distributions with their exact conditionals: in *flat* positions depend strongly on each
//! other, so that samplers differ most; in *skewed* some positions are nearly certain, so that several are committed at once.

use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::config::{Policy, Schedule};
use tempest::denoiser::Law;
use tempest::program::{
    Builder, Commit, CommitTokens, DType, GIVEN, Guide, Mat, Persistence, Plan, Predict, Program, SamplingParams,
    StepArgs, Unprompt,
};
use tempest::rng::{Stream, philox, threshold};

/// Symbols and positions; the mask's id is behind the symbols.
const V: usize = 3;
const L: usize = 3;
const MASK: u32 = V as u32;

/// Texts that are drawn of each law unless [`ASKED`] says how many, and so many at a time.
const DRAWS: usize = 100_000;
const BATCH: usize = 10_000;

/// With 1,000,000 the tests take ten times as long and see differences a third as large.
const ASKED: &str = "TEMPEST_TEST_DRAWS";

fn draws() -> usize {
    std::env::var(ASKED).map_or(DRAWS, |draws| draws.parse::<usize>().unwrap().next_multiple_of(BATCH))
}

/// A joint distribution, its conditionals and the laws of samplers.
struct Toy {
    file: Value,
    /// ln p of the symbols of each position, for each state; a state's digits in base V + 1 are its tokens, the last lowest.
    logits: Vec<[f32; L * V]>,
}

fn state_of(tokens: &[u32]) -> usize {
    tokens.iter().fold(0, |state, &token| state * (V + 1) + token as usize)
}

impl Toy {
    fn open(name: &str) -> Toy {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/laws").join(name);
        let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let states = file["denoiser[state with _ for mask][position] (null where revealed)"].as_object().unwrap();
        let mut logits = vec![[0.0; L * V]; (V + 1).pow(L as u32)];
        for (state, positions) in states {
            let tokens: Vec<u32> = state.chars().map(|c| c.to_digit(10).unwrap_or(MASK)).collect();
            let row = &mut logits[state_of(&tokens)];
            for (position, p) in positions.as_array().unwrap().iter().enumerate().filter(|(_, p)| !p.is_null()) {
                for (symbol, p) in p.as_array().unwrap().iter().enumerate() {
                    row[position * V + symbol] = p.as_f64().unwrap().ln() as f32;
                }
            }
        }
        Toy { file, logits }
    }

    fn laws(&self) -> impl Iterator<Item = (&str, Vec<f64>)> {
        let numbers = |law: &Value| law.as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
        self.file["laws"].as_object().unwrap().iter().map(move |(name, law)| (name.as_str(), numbers(law)))
    }

    /// Denoiser calls of a text on average.
    fn passes(&self, law: &str) -> Option<f64> {
        self.file["how"][law]["expected_passes"].as_f64()
    }
}

/// How a law's texts are sampled.
struct Way {
    policy: Policy,
    params: SamplingParams,
    start: [Option<u32>; L],
}

/// What the name of a law says.
fn way(name: &str) -> Way {
    let (name, start) = match name.strip_prefix("infill_last_is_1_") {
        Some(name) => (name, [None, None, Some(1)]),
        None => (name, [None; L]),
    };
    let words: Vec<&str> = name.splitn(3, '_').collect();
    let number = |word: &str| word.trim_start_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let score = |words: &[&str]| match words.join("_").as_str() {
        "max_prob" => "max",
        "neg_entropy" => "entropy",
        "margin" => "margin",
        "candidate" => "candidate",
        other => panic!("{name}: no score {other}"),
    };
    let mut draw = (1.0, 1.0);
    let policy = match words[..] {
        ["ancestral", steps, ref more @ ..] => {
            let schedule = if more == ["cosine"] { Schedule::Cosine } else { Schedule::Linear };
            match more.first().copied().unwrap_or_default() {
                "" | "cosine" => {}
                "temperature0.7" => draw = (0.7, 1.0),
                "top_p0.8" => draw = (1.0, 0.8),
                other => panic!("{name}: no draw {other}"),
            }
            format!("ancestral:{}:{schedule}", number(steps))
        }
        ["remdm", how, steps] => {
            let (rule, eta) = how.split_at(how.find(|c: char| c.is_ascii_digit()).unwrap());
            format!("remdm-{rule}:{eta}:{}:linear", number(steps))
        }
        ["first", "hitting"] => "first-hitting".to_owned(),
        ["top", k, what] => format!("top-k:{}:{}", number(k), score(&[what])),
        ["entropy", bound] => format!("entropy-bounded:{}", number(bound)),
        [rule, ref what @ ..] if rule.starts_with("threshold") || rule.starts_with("factor") => {
            format!("{}:{}:{}", rule.trim_end_matches(|c: char| !c.is_ascii_lowercase()), number(rule), score(what))
        }
        _ => panic!("{name}: no policy"),
    };
    let policy: Policy = policy.parse().unwrap();
    let (temperature, top_p) = draw;
    Way { policy, params: SamplingParams { temperature, top_p, ..SamplingParams::greedy(policy, L) }, start }
}

/// A batch of texts over the table.
struct Texts<'t> {
    toy: &'t Toy,
    backend: Box<dyn Backend>,
    /// What the denoiser reads is made by the first, where texts are guided.
    unprompt: Option<Program>,
    step: Program,
    logits: Mat,
    /// What the denoiser reads.
    reads: Mat,
    x: Mat,
    masked: Mat,
    committed_at: Mat,
    remaining: Mat,
    truth: Mat,
    nll: Mat,
    /// Steps of the policy.
    steps: u32,
    from: Vec<[Vec<u32>; 2]>,
}

impl<'t> Texts<'t> {
    fn new(toy: &'t Toy, way: &Way, sequences: usize, scores: bool) -> Self {
        let mut plan = Plan::new();
        let floats = plan.region("floats", DType::F32, Persistence::Kept);
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let mut float = |rows, cols| plan.alloc(floats, rows, cols);
        let is_guided = way.params.guidance > 0.0;
        let copies = 1 + usize::from(is_guided);
        let (both, confidence) = (float(copies * sequences * L, V), float(sequences, L));
        let logits = both.row_block(0, sequences * L);
        let (nll, cross_entropy) = (float(sequences, 1), float(sequences * L, 1));
        let params = float(sequences, SamplingParams::COLS);
        let steps = way.policy.steps(L, L as u32);
        let mut id = |rows, cols| plan.alloc(ids, rows, cols);
        let [x, masked, committed_at, truth] = [(); 4].map(|()| id(sequences, L));
        let (remaining, candidate, lots) = (id(sequences, 1), id(sequences, L), id(sequences, 2 * steps as usize));
        let commit = match scores {
            true => Commit::Truth { target: truth, cross_entropy, nll },
            false => Commit::Candidates { candidate },
        };
        let [x_both, open] = [(); 2].map(|()| id(2 * sequences, L));
        let unprompt = is_guided.then(|| {
            let mut b = Builder::new(&mut plan, "unprompt");
            b.push(Unprompt { x, masked, committed_at, mask_id: MASK, context: 0, x_both, open });
            b.finish()
        });
        let mut b = Builder::new(&mut plan, "step");
        if is_guided {
            b.push(Guide { unprompted: both.row_block(sequences * L, sequences * L), params, logits });
        }
        b.push(Predict { logits, masked, params, remaining, drop: None, commit, confidence });
        b.push(CommitTokens { confidence, params, lots, mask_id: MASK, commit, x, masked, committed_at, remaining });
        let step = b.finish();
        let mut backend: Box<dyn Backend> = Box::new(Cpu::new(Arc::new(plan)));
        backend.write_f32(params, bytemuck::cast_slice(&vec![way.params; sequences])).unwrap();
        let pair = |step| [way.policy.reveal(step, L), way.policy.remask(step, L)].map(threshold);
        backend.write_u32(lots, &(0..steps).flat_map(pair).collect::<Vec<_>>().repeat(sequences)).unwrap();
        let tokens: Vec<u32> = way.start.iter().map(|token| token.unwrap_or(MASK)).collect();
        let open: Vec<u32> = way.start.iter().map(|token| u32::from(token.is_none())).collect();
        let from = vec![[tokens.repeat(sequences), open.repeat(sequences)]];
        let (logits, reads) = (both, if is_guided { x_both } else { x });
        Texts {
            toy,
            backend,
            unprompt,
            step,
            logits,
            reads,
            x,
            masked,
            committed_at,
            remaining,
            truth,
            nll,
            steps,
            from,
        }
    }

    /// All steps from the beginning; returns the tokens.
    fn run(&mut self, first: u32) -> Vec<u32> {
        let [tokens, open] = &self.from[0];
        self.backend.write_u32(self.x, tokens).unwrap();
        self.backend.write_u32(self.masked, open).unwrap();
        self.backend.write_u32(self.committed_at, &vec![GIVEN; tokens.len()]).unwrap();
        let left: Vec<u32> = open.chunks(L).map(|open| open.iter().sum()).collect();
        self.backend.write_u32(self.remaining, &left).unwrap();
        for step in 0..self.steps {
            let args = StepArgs { seed: 1, step: u64::from(step), sequence: first, ..StepArgs::default() };
            self.unprompt.iter().for_each(|unprompt| self.backend.run(unprompt, &args).unwrap());
            let reads = self.backend.read_u32(self.reads).unwrap();
            let logits: Vec<f32> = reads.chunks(L).flat_map(|text| self.toy.logits[state_of(text)]).collect();
            self.backend.write_f32(self.logits, &logits).unwrap();
            self.backend.run(&self.step, &args).unwrap();
        }
        assert!(self.backend.read_u32(self.masked).unwrap().iter().all(|&open| open == 0));
        self.backend.read_u32(self.x).unwrap()
    }
}

/// How often each text came out, and how many steps a text took on average.
fn draw(toy: &Toy, way: &Way) -> (Vec<f64>, f64) {
    let mut texts = Texts::new(toy, way, BATCH, false);
    let (mut counts, mut steps) = (vec![0.0; V.pow(L as u32)], 0.0);
    for first in (0..draws()).step_by(BATCH) {
        let tokens = texts.run(first as u32);
        tokens.chunks(L).for_each(|text| counts[text.iter().fold(0, |n, &t| n * V + t as usize)] += 1.0);
        let committed_at = texts.backend.read_u32(texts.committed_at).unwrap();
        let last = |text: &[u32]| text.iter().map(|&at| at.wrapping_add(1)).max().unwrap();
        steps += committed_at.chunks(L).map(|text| f64::from(last(text))).sum::<f64>();
    }
    (counts, steps / draws() as f64)
}

/// χ² of counts under a law, and what it is below but for one case in 10⁴ or less: five standard deviations, √(2n), above its
/// mean, n cells less one. Cells where fewer than 5 are expected count as one.
fn chi_squared(counts: &[f64], law: &[f64]) -> (f64, f64) {
    let (mut chi2, mut cells, mut rare) = (0.0, 0.0, (0.0, 0.0));
    let mut cell = |count: f64, want: f64| {
        chi2 += (count - want) * (count - want) / want;
        cells += 1.0;
    };
    for (&count, p) in counts.iter().zip(law) {
        match p * draws() as f64 {
            want if want >= 5.0 => cell(count, want),
            want => rare = (rare.0 + count, rare.1 + want),
        }
    }
    if rare.1 > 0.0 {
        cell(rare.0, rare.1.max(1.0));
    }
    assert!(rare.1 > 0.0 || rare.0 == 0.0, "texts that cannot be");
    let freedom: f64 = cells - 1.0;
    (chi2, freedom + 5.0 * (2.0 * freedom).sqrt())
}

fn check_laws(name: &str) {
    let toy = Toy::open(name);
    let laws: Vec<(&str, Vec<f64>)> = toy.laws().collect();
    assert_eq!(laws.len(), 34);
    let of = |name: &str| &laws.iter().find(|law| law.0 == name).unwrap().1;
    for (law, want) in &laws {
        let way = way(law);
        let (counts, steps) = draw(&toy, &way);
        let (chi2, most) = chi_squared(&counts, want);
        assert!(chi2 < most, "{name}: {law} as {}: χ² {chi2}, at most {most}", way.policy);
        if let Some(passes) = toy.passes(law) {
            // 1 to 3 steps, a deviation of at most 1: five standard errors.
            assert!(
                (steps - passes).abs() < 5.0 / (draws() as f64).sqrt(),
                "{name}: {law} takes {steps} steps, not {passes}"
            );
        }
        // Ranked by what was drawn, texts have another law, and so many of them tell.
        if let Some(other) = law.strip_suffix("candidate").map(|rule| of(&format!("{rule}max_prob"))) {
            let (chi2, most) = chi_squared(&counts, other);
            assert!(chi2 > 10.0 * most, "{name}: {law} is not told from {}", way.policy);
        }
    }
}

#[test]
fn every_sampler_draws_its_law_where_positions_depend_on_each_other() {
    check_laws("flat.json");
}

#[test]
fn every_sampler_draws_its_law_where_several_positions_are_sure() {
    check_laws("skewed.json");
}

/// The temperature of tokens that are masked again by how sure the model was: it writes what it doubts.
const WARM: f64 = 4.0;

/// What a state is: tokens, and the bits of the probabilities that they were written with.
type Written = ([u32; L], [u64; L]);

/// Adds what comes of a state in a step in which a masked position is written with probability `reveal` and a written one masked
/// again with its `back`: all of them independently, `place` and those behind it.
fn take_step(
    toy: &Toy,
    (state, place): (&Written, usize),
    (next, p): (Written, f64),
    (reveal, back): (f64, &[f64; L]),
    to: &mut HashMap<Written, f64>,
) {
    if p == 0.0 {
        return;
    }
    if place == L {
        *to.entry(next).or_default() += p;
        return;
    }
    let mut follow = |token, with: f64, p: f64| {
        let mut next = next;
        (next.0[place], next.1[place]) = (token, with.to_bits());
        take_step(toy, (state, place + 1), (next, p), (reveal, back), to);
    };
    let (token, with) = (state.0[place], f64::from_bits(state.1[place]));
    if token == MASK {
        follow(MASK, 0.0, p * (1.0 - reveal));
        let logits = &toy.logits[state_of(&state.0)][place * V..][..V];
        let warm = logits.iter().map(|&y| (f64::from(y) / WARM).exp());
        let all: f64 = warm.clone().sum();
        for (symbol, (warm, &y)) in warm.zip(logits).enumerate() {
            follow(symbol as u32, f64::from(y).exp(), p * reveal * warm / all);
        }
    } else {
        follow(MASK, 0.0, p * back[place]);
        follow(token, with, p * (1.0 - back[place]));
    }
}

/// The law of a policy that masks again by shares, which `weight` makes of a token's probability.
fn law_of_shares(toy: &Toy, policy: Policy, weight: fn(f64) -> f64) -> Vec<f64> {
    let mut states = HashMap::from([(([MASK; L], [0; L]), 1.0)]);
    for step in 0..policy.steps(L, L as u32) {
        let (reveal, remask) = (policy.reveal(step, L), policy.remask(step, L));
        let mut to = HashMap::new();
        for (state, p) in states {
            let weights: [f64; L] = std::array::from_fn(|place| match state.0[place] {
                MASK => 0.0,
                _ => weight(f64::from_bits(state.1[place])),
            });
            let all: f64 = weights.iter().sum();
            let back = weights.map(|weight| if weight > 0.0 { remask * weight / all } else { 0.0 });
            take_step(toy, (&state, 0), (state, p), (reveal, &back), &mut to);
        }
        states = to;
    }
    let mut law = vec![0.0; V.pow(L as u32)];
    states.iter().for_each(|((tokens, _), p)| law[tokens.iter().fold(0, |n, &t| n * V + t as usize)] += p);
    law
}

#[test]
fn what_the_model_was_less_sure_of_is_masked_again_rather() {
    let toy = Toy::open("skewed.json");
    let policy: Policy = "remdm-confidence:1:20:linear".parse().unwrap();
    let params = SamplingParams { temperature: WARM as f32, ..SamplingParams::greedy(policy, L) };
    let (counts, _) = draw(&toy, &Way { policy, params, start: [None; L] });
    let (chi2, most) = chi_squared(&counts, &law_of_shares(&toy, policy, |p| (-p).exp()));
    assert!(chi2 < most, "χ² {chi2}, at most {most}");
    // Equal shares would be another law, and so many texts tell.
    let (chi2, most) = chi_squared(&counts, &law_of_shares(&toy, policy, |_| 1.0));
    assert!(chi2 > most, "χ² {chi2} of equal shares, where {most} is the most");
}

/// What is drawn at a position of these logits: the most probable symbols, at most `most`, that hold `top_p` of all.
fn truncated(logits: &[f32], most: usize, top_p: f64) -> Vec<f64> {
    let p: Vec<f64> = logits.iter().map(|y| f64::from(*y).exp()).collect();
    let all: f64 = p.iter().sum();
    let before = |i: usize| (0..p.len()).filter(move |&j| logits[j] > logits[i] || (logits[j] == logits[i] && j < i));
    let kept = |i: usize| before(i).count() < most && before(i).map(|j| p[j]).sum::<f64>() < top_p * all;
    (0..p.len()).map(|i| if kept(i) { p[i] } else { 0.0 }).collect()
}

/// What a denoiser says of a state.
type Denoise<'a> = &'a dyn Fn(&[u32; L]) -> [f32; L * V];

/// Adds to the law of all texts what comes of a state with some probability, the surest position first.
fn unfold(denoise: Denoise<'_>, tokens: [u32; L], p: f64, draw: &dyn Fn(&[f32]) -> Vec<f64>, law: &mut [f64]) {
    let logits = denoise(&tokens);
    let of = |place: usize| &logits[place * V..][..V];
    let sure = |place: usize| of(place).iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let open = (0..L).rev().filter(|&place| tokens[place] == MASK);
    let Some(place) = open.max_by(|&a, &b| sure(a).total_cmp(&sure(b))) else {
        law[tokens.iter().fold(0, |n, &t| n * V + t as usize)] += p;
        return;
    };
    let weights = draw(of(place));
    let sum: f64 = weights.iter().sum();
    for (symbol, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        let mut next = tokens;
        next[place] = symbol as u32;
        unfold(denoise, next, p * weight / sum, draw, law);
    }
}

#[test]
fn draws_are_among_no_more_symbols_than_are_asked_for() {
    let toy = Toy::open("flat.json");
    for (top_symbols, top_p) in [(2.0, 1.0), (2.0, 0.5), (3.0, 1.0)] {
        let policy = Policy::top_k(1);
        let greedy = SamplingParams::greedy(policy, L);
        let params = SamplingParams { temperature: 1.0, top_p, top_symbols, ..greedy };
        let draws = |logits: &[f32]| truncated(logits, top_symbols as usize, f64::from(top_p));
        let mut law = vec![0.0; V.pow(L as u32)];
        unfold(&|tokens| toy.logits[state_of(tokens)], [MASK; L], 1.0, &draws, &mut law);
        let (counts, _) = draw(&toy, &Way { policy, params, start: [None; L] });
        let (chi2, most) = chi_squared(&counts, &law);
        assert!(chi2 < most, "{top_symbols} symbols and {top_p}: χ² {chi2}, at most {most}");
        // And where two models share the work.
        let logits = &toy.logits[state_of(&[MASK; L])][..V];
        let (ours, exact) = (Law::drawn(logits, MASK, &params), Law::new(draws(logits)));
        assert!((0..1 << 12).all(|i| ours.draw(i << 20 | 1 << 19) == exact.draw(i << 20 | 1 << 19)));
    }
}

#[test]
fn a_guided_text_has_the_law_that_its_formula_says() {
    let toy = Toy::open("flat.json");
    let (policy, start, weight) = (Policy::top_k(1), [None, None, Some(1)], 1.5);
    // p ∝ p_c^(1+W)·p_u^(-W), where the given token is masked in p_u and nothing else is.
    let guided = |tokens: &[u32; L]| {
        let (with, without) = (state_of(tokens), state_of(&[tokens[0], tokens[1], MASK]));
        let both = toy.logits[with].iter().zip(&toy.logits[without]).map(|(&c, &u)| (f64::from(c), f64::from(u)));
        let p: Vec<f64> = both.map(|(c, u)| c.exp().powf(1.0 + weight) / u.exp().powf(weight)).collect();
        std::array::from_fn(|i| (p[i] / p[i / V * V..][..V].iter().sum::<f64>()).ln() as f32)
    };
    let law_of = |denoise: Denoise<'_>| {
        let mut law = vec![0.0; V.pow(L as u32)];
        let draws = |logits: &[f32]| truncated(logits, V, 2.0);
        unfold(denoise, start.map(|token| token.unwrap_or(MASK)), 1.0, &draws, &mut law);
        law
    };
    let params = SamplingParams { temperature: 1.0, guidance: weight as f32, ..SamplingParams::greedy(policy, L) };
    let (counts, _) = draw(&toy, &Way { policy, params, start });
    let (chi2, most) = chi_squared(&counts, &law_of(&guided));
    assert!(chi2 < most, "χ² {chi2}, at most {most}");
    // Texts that nothing guides have another law, and so many of them tell.
    let (chi2, most) = chi_squared(&counts, &law_of(&|tokens| toy.logits[state_of(tokens)]));
    assert!(chi2 > 10.0 * most, "χ² {chi2} of texts without guidance, where {most} is the most");
}

#[test]
fn a_likelihood_is_the_law_of_its_sampler() {
    for file in ["flat.json", "skewed.json"] {
        let toy = Toy::open(file);
        let mut found = 0;
        for (law, want) in toy.laws() {
            let mut way = way(law);
            if way.policy.check_likelihood().is_err() {
                continue;
            }
            found += 1;
            way.params.temperature = 1.0;
            let mut texts = Texts::new(&toy, &way, want.len(), true);
            let digit = |text: usize, place: usize| (text / V.pow((L - 1 - place) as u32) % V) as u32;
            let all: Vec<u32> = (0..want.len()).flat_map(|text| (0..L).map(move |place| digit(text, place))).collect();
            texts.backend.write_u32(texts.truth, &all).unwrap();
            texts.backend.write_f32(texts.nll, &vec![0.0; want.len()]).unwrap();
            assert_eq!(texts.run(0), all);
            for (nll, want) in texts.backend.read_f32(texts.nll).unwrap().iter().zip(&want) {
                // The table has 9 digits, the sum of three logarithms about 7.
                let p = (-f64::from(*nll)).exp();
                assert!((p - want).abs() <= 1e-6 * want + 1e-8, "{file}: {law}: {p}, not {want}");
            }
        }
        assert_eq!(found, 14, "{file}");
    }
}

#[test]
fn the_bound_of_few_steps_is_that_of_the_ancestral_sampler() {
    for file in ["flat.json", "skewed.json"] {
        let toy = Toy::open(file);
        let weights = toy.file["p_weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap());
        let weights: Vec<f64> = weights.collect();
        let total: f64 = weights.iter().sum();
        // Σ CE of the masked positions of a text.
        let cost = |text: &[u32], masked: usize| -> f64 {
            let open = |place: usize| masked >> place & 1 == 1;
            let seen: Vec<u32> = (0..L).map(|place| if open(place) { MASK } else { text[place] }).collect();
            let logits = &toy.logits[state_of(&seen)];
            (0..L).filter(|&place| open(place)).map(|place| -f64::from(logits[place * V + text[place] as usize])).sum()
        };
        for (steps, want) in toy.file["nelbo_T_steps_uniform_grid"].as_object().unwrap() {
            let weight = tempest::eval::step_weights(L, steps.parse().unwrap(), Schedule::Linear);
            let mut bound = 0.0;
            for (text, p) in weights.iter().enumerate() {
                let tokens: Vec<u32> = (0..L).map(|place| (text / V.pow((L - 1 - place) as u32) % V) as u32).collect();
                for masked in 1..1_usize << L {
                    let k = masked.count_ones() as usize;
                    let choices = [1.0, 3.0, 3.0, 1.0][k];
                    bound += p / total * weight[k - 1] / k as f64 * cost(&tokens, masked) / choices;
                }
            }
            // Of f32 logarithms.
            assert!((bound - want.as_f64().unwrap()).abs() < 1e-6, "{file}: {steps} steps: {bound}, not {want}");
        }
    }
}

#[test]
fn verified_drafts_have_the_law_of_the_model_that_verifies() {
    let [toy, other] = ["flat.json", "skewed.json"].map(Toy::open);
    let weights: Vec<f64> = toy.file["p_weights"].as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
    let wanted = weights.iter().map(|w| w / weights.iter().sum::<f64>()).collect::<Vec<_>>();
    // What comes next under the flat law, exactly: the sum of its texts that begin so.
    let next = |known: &[u32]| {
        let begins = |text: usize, known: &[u32]| {
            known.iter().enumerate().all(|(place, &t)| text / V.pow((L - 1 - place) as u32) % V == t as usize)
        };
        let of = |symbol: u32| {
            let begun = [known, &[symbol]].concat();
            wanted.iter().enumerate().filter(|&(text, _)| begins(text, &begun)).map(|(_, p)| p).sum()
        };
        Law::new((0..V as u32).map(of).collect())
    };
    // The drafts are of the other toy's denoiser: what it says of each open position, given the accepted ones.
    let params = SamplingParams { temperature: 1.0, ..SamplingParams::MOST_PROBABLE };
    let drafts = |known: &[u32]| -> Vec<Law> {
        let seen: Vec<u32> = (0..L).map(|place| known.get(place).copied().unwrap_or(MASK)).collect();
        let logits = &other.logits[state_of(&seen)];
        (known.len()..L).map(|place| Law::drawn(&logits[place * V..][..V], MASK, &params)).collect()
    };
    for chunk in 1..=L {
        let (mut counts, mut accepted, mut drafted) = (vec![0.0; wanted.len()], 0, 0);
        for number in 0..draws() {
            let words = |at: usize| philox(chunk as u64, Stream::Draft, number as u64, at as u32);
            let mut text = Vec::new();
            while text.len() < L {
                let (begun, laws) = (text.len(), drafts(&text));
                for (draft, at) in laws.iter().take(chunk).zip(begun..) {
                    let symbol = draft.draw(words(at)[0]);
                    text.push(next(&text).verify(draft, symbol, [words(at)[1], words(at)[2]]));
                    drafted += 1;
                    if text[at] != symbol {
                        break;
                    }
                    accepted += 1;
                }
                // A chunk that was accepted whole is gone on behind, by the law itself.
                if text.len() == begun + chunk && text.len() < L && chunk > 1 {
                    text.push(next(&text).draw(words(text.len())[3]));
                }
            }
            counts[text.iter().fold(0, |n, &t| n * V + t as usize)] += 1.0;
        }
        let (chi2, most) = chi_squared(&counts, &wanted);
        assert!(chi2 < most, "chunks of {chunk}: χ² {chi2}, at most {most}");
        let share = f64::from(accepted) / f64::from(drafted);
        assert!((0.2..0.9).contains(&share), "the laws differ, and not in all: {share} are accepted");
    }
}
