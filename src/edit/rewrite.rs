//! Passages written anew: noise is put on part of a text, as in training, and taken away again. How much there is says how far what
//! comes out may be from what was there (SDEdit, Meng et al. 2022, of images).

use super::Sight;
use super::repair::Lines;
use super::window::{Window, cover};
use super::write::{Draft, write_open};
use crate::config::{Policy, ProcessConfig, Schedule, Unknown};
use crate::denoiser::{Denoiser, Start};
use crate::error::{Error, Result};
use crate::program::{SamplingParams, StepArgs};
use crate::rng::{Stream, philox, threshold, uniform24};
use crate::sample::{CAREFUL, SampleConfig};

/// How passages are written anew.
#[derive(Clone, Debug, PartialEq)]
pub struct RewriteConfig {
    /// The noise rate that a passage gets: above 0, where little changes, to 1, where all is new.
    pub strength: f32,
    /// By which policy it is taken away.
    pub policy: Policy,
    /// Of the draws.
    pub temperature: f32,
    /// Key of every random number.
    pub seed: u64,
    /// Whether lines may change.
    pub lines: Lines,
}

/// A text of which the beginning stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// What stays.
    pub kept: String,
    /// What is written anew.
    pub text: String,
}

impl RewriteConfig {
    /// As a model of this process does it best.
    pub fn new(process: &ProcessConfig, strength: f32, seed: u64) -> Self {
        let steps = if process.family().has_policies() { None } else { Some(32) };
        let policy = Policy::Ancestral { steps, schedule: Schedule::Cosine };
        RewriteConfig { strength, policy, temperature: CAREFUL, seed, lines: Lines::Free }
    }

    /// Refuses what writes nothing.
    pub fn validate(&self) -> Result<()> {
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            return Err(Error::input(format!("a strength of {}; wanted above 0 and at most 1", self.strength)));
        }
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Error::input(format!(
                "a temperature of {}; wanted 0 (the most probable symbol) or a finite number above it",
                self.temperature
            )));
        }
        self.policy.validate()
    }
}

/// Writes passages anew: each as it came out, what was kept before it. Its draws are those of its number, the first of these being
/// `first`.
pub fn rewrite(
    denoiser: &mut Denoiser,
    config: &RewriteConfig,
    passages: &[Passage],
    first: u32,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<String>> {
    let sight = Sight::of(denoiser, "write a passage anew")?;
    config.validate()?;
    if first.checked_add(passages.len() as u32).is_none() {
        return Err(Error::input(format!("{} passages from number {first} on; numbers end at 2³²", passages.len())));
    }
    let vocab = denoiser.vocab().clone();
    let mut texts = Vec::with_capacity(passages.len());
    for (number, passage) in (first..).zip(passages) {
        let encode = |text: &str| Ok::<_, Error>(vocab.encode_as("text", text, Unknown::Error)?.ids);
        let (kept, tokens) = (encode(&passage.kept)?, encode(&passage.text)?);
        let line = |id: u32| config.lines == Lines::Kept && vocab.decode(&[id]).contains('\n');
        let stays: Vec<bool> = kept.iter().map(|_| true).chain(tokens.iter().map(|&id| line(id))).collect();
        texts.push(Noised { tokens: [kept, tokens].concat(), stays, number });
    }
    let written = match sight {
        Sight::Masks | Sight::Blocks => from_masks(denoiser, sight, config, &texts, progress)?,
        Sight::Symbols => from_symbols(denoiser, config, &texts, progress)?,
    };
    Ok(written.iter().map(|tokens| vocab.decode(tokens)).collect())
}

/// A text that noise is put on.
struct Noised {
    tokens: Vec<u32>,
    stays: Vec<bool>,
    number: u32,
}

impl Noised {
    /// The random words of a position.
    fn words(&self, seed: u64, at: usize) -> [u32; 4] {
        philox(seed, Stream::Start, u64::from(self.number), at as u32)
    }

    fn is_hit(&self, config: &RewriteConfig, at: usize) -> bool {
        !self.stays[at] && uniform24(self.words(config.seed, at)[0]) < threshold(config.strength.into())
    }
}

fn from_masks(
    denoiser: &mut Denoiser,
    sight: Sight,
    config: &RewriteConfig,
    texts: &[Noised],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Vec<u32>>> {
    let draft = |text: &Noised| {
        let token = |(at, &token): (usize, &u32)| (!text.is_hit(config, at)).then_some(token);
        Draft { text: text.tokens.iter().enumerate().map(token).collect(), temperature: config.temperature }
    };
    let mut drafts: Vec<Draft> = texts.iter().map(draft).collect();
    let sampling = SampleConfig::new(config.policy, config.seed, denoiser.process_config());
    let numbers: Vec<u32> = texts.iter().map(|text| text.number).collect();
    write_open(denoiser, sight, &sampling, &mut drafts, &numbers, progress)?;
    Ok(drafts.into_iter().map(|draft| draft.text.into_iter().flatten().collect()).collect())
}

/// The noise is other symbols: all of a passage may change on the way from its rate to 0.
fn from_symbols(
    denoiser: &mut Denoiser,
    config: &RewriteConfig,
    texts: &[Noised],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Vec<u32>>> {
    let Policy::Ancestral { .. } = config.policy else {
        return Err(Error::input(format!(
            "the sampler {} chooses which masks to replace, and this model's texts have none; give --sampler ancestral:STEPS",
            config.policy.name()
        )));
    };
    let (mixing, window) = (denoiser.process().interpolating().mixing, denoiser.config().sequence_len);
    let masks = mixing.masks_at(threshold(config.strength.into()));
    let mut written: Vec<Vec<u32>> = texts.iter().map(|text| text.tokens.clone()).collect();
    for (i, text) in texts.iter().enumerate() {
        progress("texts", i, texts.len());
        for Window { seen, own } in cover(text.tokens.len(), window) {
            // What stands before was written already.
            let known = |at: usize| at < own.start || text.stays[at];
            let noise = |at: usize| {
                let [_, symbol, mask, _] = text.words(config.seed, at);
                if at >= own.start && text.is_hit(config, at) {
                    mixing.draw(symbol, mask, masks)
                } else {
                    written[i][at]
                }
            };
            let start: Start = seen.clone().map(|at| known(at).then(|| written[i][at])).collect();
            let noised: Vec<u32> = seen.clone().map(noise).collect();
            let positions = start.len();
            let params = SamplingParams { temperature: config.temperature, ..SamplingParams::MOST_PROBABLE };
            let mut canvas = denoiser.canvas(&[start], &[params])?;
            canvas.set_tokens(&noised)?;
            let steps = config.policy.steps(positions, positions as u32);
            for step in 0..steps {
                let rates = config.policy.noise_rates(step, positions);
                let rates = rates.map(|rate| threshold(rate * f64::from(config.strength)));
                canvas.set_lots(&rates.repeat(positions))?;
                let args =
                    StepArgs { seed: config.seed, step: u64::from(step), sequence: text.number, ..StepArgs::default() };
                canvas.renoise(&[args])?;
            }
            let tokens = canvas.tokens()?;
            canvas.remaining()?;
            for at in own {
                written[i][at] = tokens[at - seen.start];
            }
        }
    }
    Ok(written)
}
