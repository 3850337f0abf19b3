//! What a model cannot write, said before anything is sampled.

use super::{Policy, Request, SampleConfig};
use crate::config::{Family, Gamma, ModelConfig};
use crate::denoiser::Start;
use crate::error::{Error, Result};
use crate::process::{Kind, Process};

/// Refuses to repeat steps of a model whose steps give no noise.
pub fn check_resample(family: Family, times: u32) -> Result<()> {
    if times > 1 && (family.has_policies() || family == Family::Autoregressive) {
        return Err(Error::input(format!(
            "every step made {times} times (--resample) of a model of --process {family}; wanted uniform, mixed, relaxed, gaussian or \
             latent: texts of others have no noise to be given again"
        )));
    }
    Ok(())
}

/// Refuses requests that a model cannot write, before anything is sampled: one of a batch that cannot be fails all of it.
pub fn check(process: &Process, config: &SampleConfig, requests: &[Request]) -> Result<()> {
    let lengths = requests.iter().map(|request| request.start.len());
    let model = &process.model().config;
    for length in [lengths.clone().min(), lengths.clone().max()].into_iter().flatten() {
        check_length(length, model)?;
        config.validate(length)?;
    }
    lengths.chain(config.last).try_for_each(|length| check_pool(length, model))?;
    requests.iter().try_for_each(Request::validate)?;
    check_resample(config.part, config.resample)?;
    requests
        .iter()
        .filter(|request| request.is_guided())
        .try_for_each(|request| check_guided(process, config, request))?;
    check_edits(process, config)?;
    let together = match process.part(config.part) {
        Kind::Autoregressive(_) => Some(1),
        Kind::Diffusion(process) => {
            requests.iter().try_for_each(check_masked)?;
            process.stretch()
        }
        Kind::Interpolating(_) | Kind::Vectors(_) => {
            requests.iter().try_for_each(|request| check_renoised(request, config))?;
            None
        }
    };
    match together {
        Some(together) => requests.iter().try_for_each(|request| check_order(&request.start, together)),
        None => Ok(()),
    }
}

/// Refuses texts that are guided where a device has the memory of one at a time: each takes that of two.
pub(super) fn check_room(batch: usize, requests: &[Request]) -> Result<()> {
    match requests.iter().find(|request| request.is_guided()) {
        Some(request) if batch < 2 => Err(Error::input(format!(
            "a guidance of {} (--guidance) with a batch of {batch}; a guided text takes the place of two: wanted --batch 2 or more",
            request.guidance
        ))),
        _ => Ok(()),
    }
}

/// Refuses to guide what a model writes without a condition, or only ever with one.
fn check_guided(process: &Process, config: &SampleConfig, request: &Request) -> Result<()> {
    let guidance = request.guidance;
    let Kind::Diffusion(masked) = process.part(config.part) else {
        return Err(Error::input(format!(
            "a guidance of {guidance} (--guidance) of a model of --process {}; wanted masked or joint, which can be asked what a text is \
             without what is given",
            config.part
        )));
    };
    masked.check_guidance()?;
    if config.original_order {
        return Err(Error::input(format!(
            "a guidance of {guidance} (--guidance) in the original's order, which has none; leave --order out, or --guidance"
        )));
    }
    if request.start.iter().all(Option::is_none) {
        return Err(Error::input(format!(
            "a guidance of {guidance} (--guidance) by what is given, and nothing is; wanted a --prompt or a --template"
        )));
    }
    Ok(())
}

/// Refuses to replace tokens again that a model has not learned to doubt.
fn check_edits(process: &Process, config: &SampleConfig) -> Result<()> {
    match (config.edits, process.part(config.part)) {
        (None, _) | (_, Kind::Interpolating(_)) => Ok(()),
        (Some(edits), _) => Err(Error::input(format!(
            "edits by {edits} (--edits) of a model of --process {}; wanted uniform, mixed or relaxed, which have learned that any symbol may \
             be wrong",
            config.part
        ))),
    }
}

/// Refuses what texts out of masks cannot have.
fn check_masked(request: &Request) -> Result<()> {
    match request.policy {
        Policy::Ddim { .. } => Err(Error::input(format!(
            "the sampler {} takes Gaussian noise away, and this model's noise are masks; give another --sampler, such as ancestral",
            request.policy.name()
        ))),
        _ => Ok(()),
    }
}

/// Refuses what texts that are drawn anew in every step cannot have.
fn check_renoised(request: &Request, config: &SampleConfig) -> Result<()> {
    let of_vectors = config.part.has_vectors();
    match request.policy {
        Policy::Ancestral { schedule, .. } | Policy::Ddim { schedule, .. } if of_vectors => Gamma::check(schedule)?,
        Policy::Ancestral { .. } => {}
        Policy::Ddim { .. } => {
            return Err(Error::input(format!(
                "the sampler {} takes Gaussian noise away, and this model's noise are other symbols; give --sampler ancestral:STEPS",
                request.policy.name()
            )));
        }
        other => {
            return Err(Error::input(format!(
                "the sampler {} chooses which masks to replace, and this model's texts have none; give --sampler {}ancestral:STEPS",
                other.name(),
                if of_vectors { "ddim:STEPS, ddpm:STEPS or " } else { "" }
            )));
        }
    }
    if of_vectors && request.greedy_tail > 0.0 {
        return Err(Error::input(
            "a greedy tail (--greedy-tail) of a model that draws no tokens; wanted a --temperature below 1",
        ));
    }
    if config.original_order {
        return Err(Error::input("--order original is of masked diffusion, and this model's noise is none of masks"));
    }
    if request.top_p < 1.0 || request.min_p > 0.0 || request.top_symbols > 0 {
        return Err(Error::input(
            "draws among the likeliest symbols alone (--top-p, --min-p, --top-symbols) of a model that takes noise away bit by bit, and may draw any \
             symbol on the way; wanted a --temperature below 1",
        ));
    }
    Ok(())
}

/// Refuses a start with known tokens behind the first stretch of so many that has open ones.
pub(super) fn check_order(start: &Start, stretch: usize) -> Result<()> {
    let known = start.iter().take_while(|token| token.is_some()).count();
    let seen = start.len().min((known / stretch + 1) * stretch);
    if start[seen..].iter().all(Option::is_none) {
        return Ok(());
    }
    let gap = start[known..].iter().take_while(|token| token.is_none()).count();
    Err(Error::input(format!(
        "a text with {gap} open tokens before known ones, and this model writes from left to right, {stretch} at a time; give a \
         prompt, or use a model of masked diffusion"
    )))
}

/// Most tokens of a text in many windows: what is kept of it grows with it.
pub const LONGEST: usize = 1 << 24;

/// Refuses texts that are not as long as a model's window allows.
pub fn check_length(length: usize, model: &ModelConfig) -> Result<()> {
    if length == 0 || length > model.sequence_len {
        return Err(Error::input(format!(
            "a text of {length} tokens; wanted 1 to {}, this model's window",
            model.sequence_len
        )));
    }
    Ok(())
}

/// Refuses texts that are no whole vectors, of a model whose vectors are of several tokens.
fn check_pool(length: usize, model: &ModelConfig) -> Result<()> {
    let (pool, whole) = (model.pool(), length.next_multiple_of(model.pool()));
    if length == whole {
        return Ok(());
    }
    Err(Error::input(format!(
        "a text, or a last window, of {length} tokens, and this model makes vectors of {pool} tokens each; wanted a --length of {whole}"
    )))
}
