//! How well texts are repaired whose errors are known.

use super::repair::{RepairConfig, repair};
use super::typos::{Slipped, Slips, slip};
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use crate::quality::cer;
use serde::Serialize;

/// What comes of one kind of errors at one rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The errors; none in clean text.
    pub slips: Option<Slips>,
    /// Share of the characters that were to go wrong.
    pub share: f64,
    /// Texts.
    pub texts: usize,
    /// Character error rate with the errors.
    pub before: f64,
    /// And after the repair.
    pub after: f64,
    /// Characters that were replaced.
    pub edits: usize,
    /// Of these the share that became what they should be; none where there were none.
    pub precision: Option<f64>,
    /// Of the errors that were made the share that was put right, those among them that no replacement puts right; none where there
    /// were none.
    pub recall: Option<f64>,
    /// Share of the characters that were right and were replaced.
    pub damage: f64,
}

/// Makes errors in some texts, once for each kind and share, and repairs them; clean texts first.
pub fn bench(
    denoiser: &mut Denoiser,
    config: &RepairConfig,
    texts: &[String],
    (slips, shares): (&[Slips], &[f64]),
    seed: u64,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Outcome>> {
    if let Some(share) = shares.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
        return Err(Error::input(format!("a share of {share} characters to go wrong; wanted above 0 and at most 1")));
    }
    if texts.iter().all(String::is_empty) {
        return Err(Error::input("no text to make errors in; wanted some characters"));
    }
    let kinds = slips.iter().flat_map(|&slips| shares.iter().map(move |&share| (Some(slips), share)));
    let all: Vec<(Option<Slips>, f64)> = [(None, 0.0)].into_iter().chain(kinds).collect();
    let mut outcomes = Vec::with_capacity(all.len());
    for (i, &(slips, share)) in all.iter().enumerate() {
        let what = slips.map_or("clean text".into(), |slips| format!("{slips} {} %", 100.0 * share));
        let of = |(number, text): (usize, &String)| match slips {
            Some(slips) => slip(text, slips, share, seed, number as u32),
            None => Slipped { text: text.clone(), meant: text.chars().map(Some).collect(), errors: 0 },
        };
        let made: Vec<Slipped> = texts.iter().enumerate().map(of).collect();
        let mut repaired = Vec::with_capacity(texts.len());
        for made in made.chunks(denoiser.batch()) {
            progress(&what, i * texts.len() + repaired.len(), all.len() * texts.len());
            let made: Vec<&str> = made.iter().map(|made| &made.text[..]).collect();
            repaired.extend(repair(denoiser, config, &made, &mut |_, _, _| {})?);
        }
        let (mut edits, mut right, mut damaged, mut sound) = (0, 0, 0, 0);
        for (made, repaired) in made.iter().zip(&repaired) {
            let characters: Vec<char> = made.text.chars().collect();
            sound += characters.iter().zip(&made.meant).filter(|(is, meant)| Some(**is) == **meant).count();
            for edit in &repaired.edits {
                let meant = made.meant[edit.at];
                edits += 1;
                right += usize::from(edit.to.chars().eq(meant));
                damaged += usize::from(Some(characters[edit.at]) == meant);
            }
        }
        let errors: usize = made.iter().map(|made| made.errors).sum();
        let rate = |texts_now: Vec<&str>| cer::rate(texts_now.into_iter().zip(texts.iter().map(String::as_str)));
        let share_of = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        outcomes.push(Outcome {
            slips,
            share,
            texts: texts.len(),
            before: rate(made.iter().map(|made| &made.text[..]).collect()).unwrap_or(0.0),
            after: rate(repaired.iter().map(|repaired| &repaired.text[..]).collect()).unwrap_or(0.0),
            edits,
            precision: share_of(right, edits),
            recall: share_of(right.min(errors), errors),
            damage: share_of(damaged, sound).unwrap_or(0.0),
        });
    }
    Ok(outcomes)
}
