//! What requests ask for: read from JSON, checked against the model before anything waits; and answers as JSON.

use super::fields::{Fields, quoted};
use super::queue::{Event, Measure, Score, What, Writing};
use super::refusal::Refusal;
use super::{Model, Options};
use crate::config::{Family, Policy, Unknown};
use crate::data::Vocab;
use crate::denoiser::Start;
use crate::edit::repair::Lines;
use crate::edit::{Candidate, FillConfig, Gapped, LengthPrior, RepairConfig};
use crate::error::Error;
use crate::eval::{self, Bounded};
use crate::process::Kind;
use crate::sample::{self, Request, SampleConfig, Text};
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads the body of one kind of request: the texts that it asks for.
pub(super) type Read = fn(&mut Fields, &Model, &Options) -> Result<Vec<What>, Refusal>;

/// `POST /api/generate`: texts that begin with a prompt, or with nothing.
pub(super) fn generate(fields: &mut Fields, model: &Model, options: &Options) -> Result<Vec<What>, Refusal> {
    let window = model.window();
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let wanted = fields.whole("length", 1..=options.length as u64)?.map_or(window.min(options.length), |n| n as usize);
    let how = How::read(fields, model, options, wanted)?;
    let ids = model.encode("prompt", &prompt)?.len();
    if ids >= wanted {
        let wanted = format!("fewer than the {wanted} of the whole text (length)");
        return Err(Refusal::field("prompt", format!("{ids} tokens"), wanted));
    }
    // Of a prompt that fills a window its end is gone on from.
    let overlap = how.common.overlap;
    let rest = if ids < window { wanted } else { wanted - (ids - overlap) };
    let length = rest.min(window);
    let (before, start) = sample::end_of_prompt(&model.vocab, &prompt, length, overlap).map_err(bad)?;
    let common = how.common.clone().of_length(rest, length);
    how.texts(model, common, start, before)
}

/// `POST /api/fill`: a text with holes, of which nothing else changes.
pub(super) fn fill(fields: &mut Fields, model: &Model, options: &Options) -> Result<Vec<What>, Refusal> {
    let template =
        fields.text("template")?.ok_or_else(|| Refusal::field("template", "nothing", "a string with holes"))?;
    let hole = hole(fields)?;
    let mut length = template.matches(hole).count();
    if length == 0 {
        let wanted = format!("{} for every token to be written (or another hole)", quoted(&hole.to_string()));
        return Err(Refusal::field("template", quoted(&template), wanted));
    }
    for piece in template.split(hole) {
        length += model.encode("template", piece)?.len();
    }
    let most = model.window().min(options.length);
    if length > most {
        return Err(Refusal::field("template", format!("{length} tokens"), format!("at most {most}")));
    }
    let how = How::read(fields, model, options, length)?;
    let start = sample::template(&model.vocab, &template, hole, length, most).map_err(bad)?;
    how.texts(model, how.common.clone(), start, Vec::new())
}

/// What marks a hole.
fn hole(fields: &mut Fields) -> Result<char, Refusal> {
    let hole = fields.word("hole", |word| {
        let mut chars = word.chars();
        chars.next().filter(|_| chars.next().is_none()).ok_or_else(|| "one character".into())
    })?;
    Ok(hole.unwrap_or('_'))
}

/// `POST /api/gaps`: the gaps of a text, of known or of unknown length, and which fills are the most probable.
pub(super) fn gaps(fields: &mut Fields, model: &Model, options: &Options) -> Result<Vec<What>, Refusal> {
    let text = fields.text("text")?.ok_or_else(|| Refusal::field("text", "nothing", "a string with gaps"))?;
    let hole = hole(fields)?;
    let usual = FillConfig::new(options.seed);
    let longest = MOST_LONGEST.min(model.window() / 2);
    let mean = fields.number("mean", "a finite number above 0", |mean| mean > 0.0 && mean.is_finite())?;
    let config = FillConfig {
        candidates: fields.whole("candidates", 1..=MOST_CANDIDATES)?.map_or(usual.candidates, |n| n as usize),
        tries: fields.whole("tries", 1..=MOST_TRIES)?.map_or(usual.tries, |n| n as usize),
        longest: fields.whole("longest", 1..=longest as u64)?.map_or(longest.min(usual.longest), |n| n as usize),
        prior: mean.map_or(usual.prior, |mean| LengthPrior::Geometric { mean: mean.into() }),
        policy: sampler(fields)?,
        temperature: fields
            .number("temperature", "0 or more", |t| t >= 0.0 && t.is_finite())?
            .unwrap_or(usual.temperature),
        resample: resample(fields, model.process_config.family())?,
        seed: fields.whole("seed", 0..=MOST_SEED)?.unwrap_or(options.seed),
        ..usual
    };
    // No text has more tokens than bytes.
    if text.len() > options.length {
        return Err(Refusal::field("text", format!("{} bytes", text.len()), format!("at most {}", options.length)));
    }
    sees_both_sides(model, "fill a gap by what stands behind it")?;
    let family = model.process_config.family();
    let (kind, policies) = (model.process.part(family.parts()[0]), (config.policy, FillConfig::usual_policy(family)));
    check_sampler(kind, policies, config.resample, model.window().min(options.length))?;
    let gapped = Gapped::parse(&model.vocab, &text, hole).map_err(bad)?;
    if gapped.unknown() > MOST_UNKNOWN {
        let found = format!("{} gaps of unknown length", gapped.unknown());
        return Err(Refusal::field("text", found, format!("at most {MOST_UNKNOWN}")));
    }
    config.validate(model.window()).map_err(bad)?;
    Ok(vec![What::Fill { text: gapped, config }])
}

/// Most fills that are told of.
const MOST_CANDIDATES: u64 = 64;

/// Of a gap of unknown length; each is a text to be written.
const MOST_TRIES: u64 = 16;

/// Tokens of such a gap; each length is a pass.
const MOST_LONGEST: usize = 32;

/// Such gaps of a text; each multiplies the lengths to be tried.
const MOST_UNKNOWN: usize = 4;

/// The fills of a text's gaps, the best first.
pub(super) fn filled(seed: u64, candidates: &[Candidate]) -> Value {
    json!({ "seed": seed, "candidates": candidates })
}

/// `POST /api/score`: how likely a text is.
pub(super) fn score(fields: &mut Fields, model: &Model, options: &Options) -> Result<Vec<What>, Refusal> {
    let text = fields.text("text")?.ok_or_else(|| Refusal::field("text", "nothing", "a string"))?;
    let prompt = fields.text("prompt")?.unwrap_or_default();
    let part = model.part(fields)?;
    let kind = model.process.part(part);
    let is_bound = fields.word("measure", |word| match word {
        "exact" => Ok(false),
        "bound" => Ok(true),
        _ => Err("exact or bound".into()),
    })?;
    let is_bound = is_bound.unwrap_or(matches!(kind, Kind::Interpolating(_) | Kind::Vectors(_)));
    let temperature = fields.number("temperature", "a finite number above 0", |t| t > 0.0 && t.is_finite())?;
    let policy = sampler(fields)?;
    let draws = fields.whole("draws", eval::LEAST_DRAWS.into()..=MOST_DRAWS)?;
    let seed = fields.whole("seed", 0..=MOST_SEED)?;
    let (given, measured) = (model.encode("prompt", &prompt)?, model.encode("text", &text)?);
    let most = model.window().min(options.length) - given.len().min(model.window());
    if measured.is_empty() || measured.len() > most {
        let found = format!("{} tokens", measured.len());
        return Err(Refusal::field("text", found, format!("1 to {most}, with the prompt this model's window")));
    }
    let none = |fields: [(&str, bool); 2], why: &str| match fields.into_iter().find(|(_, is_given)| *is_given) {
        Some((name, _)) => Err(Refusal::field(name, "one", format!("none: {why}"))),
        None => Ok(()),
    };
    let of_order = [("sampler", policy.is_some()), ("temperature", temperature.is_some())];
    let of_noise = [("draws", draws.is_some()), ("seed", seed.is_some())];
    match kind {
        Kind::Interpolating(_) if !is_bound => {
            return Err(Refusal::field("measure", "exact", "bound: this model has no exact likelihood"));
        }
        _ if is_bound || matches!(kind, Kind::Vectors(_)) => {
            eval::check_bounds(part, given.len()).map_err(bad)?;
            none(of_order, "a bound goes by no order, and holds at temperature 1")?;
        }
        Kind::Autoregressive(_) => none(of_order, "this model's likelihood is that of its own distribution")?,
        _ => {}
    }
    if !is_bound {
        none(of_noise, "an exact likelihood draws no noise")?;
    }
    // Of a block that a text ends within, what is behind the end would have to be summed over.
    if let Kind::Diffusion(process) = kind
        && let Some(block) = process.stretch()
        && !(given.len() + measured.len()).is_multiple_of(block)
    {
        let found = format!("{} tokens with the prompt", given.len() + measured.len());
        return Err(Refusal::field("text", found, format!("whole blocks of {block} tokens, as this model writes")));
    }
    let policy = policy.unwrap_or(MEASURED);
    policy.check_likelihood().map_err(|e| Refusal::field("sampler", policy.to_string(), e.to_string()))?;
    let measure = match is_bound {
        true => Measure::Bound { draws: draws.map_or(DRAWS, |n| n as u32), seed: seed.unwrap_or(options.seed) },
        false => Measure::Exact { policy, temperature: temperature.unwrap_or(1.0) },
    };
    let (given_tokens, characters) = (given.len(), text.chars().count());
    Ok(vec![What::Score(Score { tokens: [given, measured].concat(), given: given_tokens, part, measure, characters })])
}

/// Draws of noise for a bound, unless said.
const DRAWS: u32 = 64;

/// And the most: each is a pass over the text.
const MOST_DRAWS: u64 = 1024;

/// `POST /api/repair`: a text with its improbable characters replaced.
pub(super) fn repair(fields: &mut Fields, model: &Model, options: &Options) -> Result<Vec<What>, Refusal> {
    let text = fields.text("text")?.ok_or_else(|| Refusal::field("text", "nothing", "a string"))?;
    let (share, shares) = ("a number from 0 to 1", |share: f32| (0.0..=1.0).contains(&share));
    let usual = RepairConfig::of(model.process_config.family());
    let config = RepairConfig {
        least: fields.number("least", share, shares)?.unwrap_or(usual.least),
        sure: fields.number("sure", share, shares)?.unwrap_or(usual.sure),
        rounds: fields.whole("rounds", 1..=MOST_ROUNDS)?.map_or(usual.rounds, |n| n as u32),
        stripes: fields.whole("stripes", 2..=MOST_STRIPES)?.map_or(usual.stripes, |n| n as usize),
        errors: fields
            .number("errors", "a number above 0 and below 1", |p| p > 0.0 && p < 1.0)?
            .unwrap_or(usual.errors),
        lines: fields
            .word("lines", |word| match word {
                "kept" => Ok(Lines::Kept),
                "free" => Ok(Lines::Free),
                _ => Err("kept or free".into()),
            })?
            .unwrap_or(usual.lines),
    };
    // No text has more tokens than bytes.
    if text.is_empty() || text.len() > options.length {
        return Err(Refusal::field("text", format!("{} bytes", text.len()), format!("1 to {}", options.length)));
    }
    sees_both_sides(model, "repair a text")?;
    config.validate().map_err(bad)?;
    Ok(vec![What::Repair { text, config }])
}

/// Refuses a model that does not see symbols on both sides of a place; `what` is what that is for.
fn sees_both_sides(model: &Model, what: &str) -> Result<(), Refusal> {
    let why = match model.process_config.family() {
        Family::Autoregressive => "writes from left to right and sees nothing of what follows a place",
        Family::Gaussian | Family::Latent => "has vectors and no symbols while it writes",
        _ => return Ok(()),
    };
    Err(Refusal::bad(format!("this model {why}, and cannot {what}; wanted one of masks or other symbols")))
}

/// Of a repair.
const MOST_ROUNDS: u64 = 16;

/// Of a repair; each is a pass over the text.
const MOST_STRIPES: u64 = 64;

/// In which order a likelihood is taken, unless said: the surest first, one after another.
const MEASURED: Policy = Policy::TopK(Some(1), crate::config::Score::Max);

/// What every way of writing can be told.
struct How {
    common: SampleConfig,
    texts: usize,
    first: Option<u32>,
}

/// Most denoising steps of a text's window.
const MOST_STEPS: u32 = 4096;

/// The largest whole number that every reader of JSON reads exactly.
const MOST_SEED: u64 = (1 << 53) - 1;

impl How {
    fn read(fields: &mut Fields, model: &Model, options: &Options, length: usize) -> Result<How, Refusal> {
        let texts = fields.whole("texts", 1..=options.texts as u64)?.unwrap_or(1) as usize;
        let seed = fields.whole("seed", 0..=MOST_SEED)?;
        let first = fields.whole("first", 0..=u64::from(u32::MAX) - texts as u64)?.map(|first| first as u32);
        let part = model.part(fields)?;
        let policy = sampler(fields)?;
        let (share, shares) = ("a number from 0 to 1", |share: f32| (0.0..=1.0).contains(&share));
        let temperature =
            fields.number("temperature", "0 or a finite number above it", |t| t >= 0.0 && t.is_finite())?;
        let top_p = fields.number("top_p", "a number above 0 and at most 1", |p| p > 0.0 && p <= 1.0)?;
        let min_p = fields.number("min_p", share, shares)?;
        let top_symbols = fields.whole("top_symbols", 1..=1 << 24)?;
        let greedy_tail = fields.number("greedy_tail", share, shares)?;
        let guided = |w: f32| (0.0..=sample::MOST_GUIDANCE).contains(&w);
        let guidance = fields.number("guidance", &format!("0 (none) to {}", sample::MOST_GUIDANCE), guided)?;
        let resample = resample(fields, part)?;
        let stop = fields.text("stop")?;
        if stop.as_ref().is_some_and(String::is_empty) {
            return Err(Refusal::field("stop", "\"\"", "some characters"));
        }
        let window = length.min(model.window());
        let kind = model.process.part(part);
        check_sampler(kind, (policy, Policy::ANCESTRAL), resample, window)?;
        if let Kind::Interpolating(_) | Kind::Vectors(_) = kind {
            let limits = [
                ("top_p", top_p.is_some()),
                ("min_p", min_p.is_some()),
                ("top_symbols", top_symbols.is_some()),
                ("greedy_tail", matches!(kind, Kind::Vectors(_)) && greedy_tail.is_some()),
            ];
            if let Some((name, _)) = limits.into_iter().find(|(_, given)| *given) {
                return Err(Refusal::field(name, "one", "none: this model may draw any symbol on the way"));
            }
        }
        let policy = policy.unwrap_or(Policy::ANCESTRAL);
        let base =
            SampleConfig { part, ..SampleConfig::new(policy, seed.unwrap_or(options.seed), &model.process_config) };
        let common = SampleConfig {
            temperature: temperature.unwrap_or(sample::CAREFUL),
            top_p: top_p.unwrap_or(base.top_p),
            min_p: min_p.unwrap_or(base.min_p),
            top_symbols: top_symbols.map_or(base.top_symbols, |n| n as u32),
            greedy_tail: greedy_tail.unwrap_or(base.greedy_tail),
            guidance: guidance.unwrap_or(base.guidance),
            overlap: base.usual_overlap(window, &model.process_config),
            resample,
            stop,
            ..base
        };
        // Who names a seed means certain texts.
        Ok(How { common, texts, first: first.or(seed.map(|_| 0)) })
    }

    /// The texts of a request, each from the same start.
    fn texts(&self, model: &Model, common: SampleConfig, start: Start, before: Vec<u32>) -> Result<Vec<What>, Refusal> {
        let request = common.request(start);
        model.check_guided(&request, common.part)?;
        sample::check(&model.process, &common, std::slice::from_ref(&request)).map_err(bad)?;
        // Texts of different requests may share a batch.
        let Request { policy, temperature, top_p, min_p, top_symbols, greedy_tail, guidance, .. } =
            SampleConfig::new(Policy::ANCESTRAL, 0, &model.process_config).request(Start::new());
        let common = SampleConfig { policy, temperature, top_p, min_p, top_symbols, greedy_tail, guidance, ..common };
        let (common, before) = (Arc::new(common), Arc::<[u32]>::from(before));
        let text = |i: u32| {
            let number = self.first.map(|first| first + i);
            let (request, common, before) = (request.clone(), Arc::clone(&common), Arc::clone(&before));
            What::Write(Box::new(Writing { request, common, number, before }))
        };
        Ok((0..self.texts as u32).map(text).collect())
    }
}

fn sampler(fields: &mut Fields) -> Result<Option<Policy>, Refusal> {
    let wanted = |e: Error| {
        let said = e.to_string();
        said.split_once("; wanted ").map_or(said.clone(), |(_, wanted)| wanted.to_owned())
    };
    fields.word("sampler", |word| word.parse().map_err(wanted))
}

/// Refuses a sampler that a model does not write by, and more steps of it, or of the usual one, than a window may take.
fn check_sampler(
    kind: Kind<'_>,
    (policy, usual): (Option<Policy>, Policy),
    resample: u32,
    window: usize,
) -> Result<(), Refusal> {
    if policy.is_some() || resample > 1 {
        let steps = policy.unwrap_or(usual).steps(window, window as u32).saturating_mul(resample);
        if steps > MOST_STEPS {
            let field = if resample > 1 { "resample" } else { "sampler" };
            return Err(Refusal::field(field, format!("{steps} steps"), format!("at most {MOST_STEPS}")));
        }
    }
    let Some(policy) = policy else { return Ok(()) };
    let wanted = match (kind, policy) {
        (Kind::Autoregressive(_), _) => {
            return Err(Refusal::field("sampler", "one", "none: this model writes from left to right"));
        }
        (Kind::Diffusion(_), Policy::Ddim { .. }) => {
            "one that replaces masks, such as ancestral: this model's noise are masks"
        }
        (Kind::Interpolating(_) | Kind::Vectors(_), Policy::Ancestral { .. }) => return Ok(()),
        (Kind::Vectors(_), Policy::Ddim { .. }) | (Kind::Diffusion(_), _) => return Ok(()),
        (Kind::Vectors(_), _) => "ancestral:STEPS, ddpm:STEPS or ddim:STEPS: this model's texts have no masks",
        (Kind::Interpolating(_), _) => "ancestral:STEPS: this model's texts have no masks",
    };
    Err(Refusal::field("sampler", policy.to_string(), wanted))
}

/// How often each step is made.
fn resample(fields: &mut Fields, part: Family) -> Result<u32, Refusal> {
    let times = fields.whole("resample", 1..=MOST_RESAMPLE)?.map_or(1, |n| n as u32);
    let none = "1: what this model writes has no noise to be given again";
    sample::check_resample(part, times).map_err(|_| Refusal::field("resample", times.to_string(), none))?;
    Ok(times)
}

/// Of a step.
const MOST_RESAMPLE: u64 = 64;

fn bad(error: Error) -> Refusal {
    Refusal::bad(error.to_string())
}

impl Model {
    /// Tokens that the model sees at once.
    pub(super) fn window(&self) -> usize {
        self.process.model().config.sequence_len
    }

    /// Refuses a text that is to be guided, and cannot be.
    fn check_guided(&self, request: &Request, part: Family) -> Result<(), Refusal> {
        let knows = |kind| matches!(kind, Kind::Diffusion(process) if process.check_guidance().is_ok());
        let wanted = match () {
            () if request.guidance == 0.0 => return Ok(()),
            () if !knows(self.process.part(part)) => "0: this model has not learned texts without what is given",
            () if self.batch < 2 => "0: a guided text takes the place of two, and this server computes one at a time",
            () if request.start.iter().all(Option::is_none) => "0: nothing is given that could guide",
            () => return Ok(()),
        };
        Err(Refusal::field("guidance", request.guidance.to_string(), wanted))
    }

    fn encode(&self, field: &str, text: &str) -> Result<Vec<u32>, Refusal> {
        self.vocab.encode_as(field, text, Unknown::Error).map(|encoded| encoded.ids).map_err(bad)
    }

    /// As which of its parts the model is used.
    fn part(&self, fields: &mut Fields) -> Result<Family, Refusal> {
        let parts = self.process_config.family().parts();
        let names = parts.iter().map(Family::to_string).collect::<Vec<_>>().join(" or ");
        let named = |word: &str| parts.iter().copied().find(|part| part.to_string() == word);
        Ok(fields.word("as", |word| named(word).ok_or(names))?.unwrap_or(parts[0]))
    }

    /// What is to be known of it to ask for something.
    pub(super) fn json(&self, options: &Options) -> Value {
        let config = &self.process.model().config;
        let family = self.process_config.family();
        json!({
            "name": options.name,
            "process": family.to_string(),
            "orders": family.has_policies(),
            "as": family.parts().iter().map(Family::to_string).collect::<Vec<_>>(),
            "parameters": config.n_params(),
            "window": config.sequence_len,
            "vocabulary": { "kind": self.vocab.kind().to_string(), "size": self.vocab.size() },
            "device": self.device,
            "batch": self.batch,
            "seed": options.seed,
            "most": {
                "length": options.length,
                "texts": options.texts,
                "waiting": options.queue,
                "seconds": options.deadline.as_secs_f64(),
            },
        })
    }
}

/// A finished text.
pub(super) fn text(vocab: &Vocab, index: usize, seed: u64, text: &Text) -> Value {
    json!({
        "index": index,
        "seed": seed,
        "number": text.number,
        "text": text.decoded(vocab),
        "tokens": text.tokens,
        "committed_at": text.committed_at,
        "steps": text.steps,
    })
}

/// A text in the making: strings that are known, and numbers of masks between them.
pub(super) fn frame(vocab: &Vocab, event: &Event) -> Option<Value> {
    let Event::Frame { index, number, step, tokens } = event else { return None };
    let mask = vocab.mask_id();
    let piece = |run: &[u32]| if run[0] == mask { run.len().into() } else { Value::from(vocab.decode(run)) };
    let pieces: Vec<Value> = tokens.chunk_by(|one, next| (*one == mask) == (*next == mask)).map(piece).collect();
    Some(json!({ "index": index, "number": number, "step": step, "pieces": pieces }))
}

/// An exact likelihood, of an order where there is one to choose.
pub(super) fn likelihood(score: &Score, nats: f64, order: Option<(Policy, f32)>, steps: u32) -> Value {
    let mut found = measured("exact", score, nats, steps);
    found["sampler"] = order.map(|(policy, _)| policy.to_string()).into();
    found["temperature"] = order.map_or(1.0, |(_, temperature)| temperature).into();
    found
}

/// A bound.
pub(super) fn bound(score: &Score, bound: Bounded, draws: u32, seed: u64) -> Value {
    let mut found = measured("bound", score, bound.nats, draws);
    found["standard_error"] = bound.standard_error.into();
    found["draws"] = draws.into();
    found["seed"] = seed.into();
    found
}

/// What all that is measured has.
fn measured(measure: &str, score: &Score, nats: f64, steps: u32) -> Value {
    json!({
        "measure": measure,
        "nats": nats,
        "standard_error": null,
        "bits_per_character": nats / std::f64::consts::LN_2 / score.characters as f64,
        "tokens": score.tokens.len() - score.given,
        "characters": score.characters,
        "sampler": null,
        "temperature": null,
        "steps": steps,
        "draws": null,
        "seed": null,
    })
}
