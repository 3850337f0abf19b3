//! Open tokens, written.

use super::Sight;
use super::window::{Window, input, open_windows};
use crate::denoiser::{Denoiser, Start};
use crate::error::Result;
use crate::sample::{Request, SampleConfig, Watch, sample_each};

/// A text that is being written, one window after another.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) text: Start,
    /// How its tokens are drawn.
    pub(super) temperature: f32,
}

/// Writes all that is open in texts of any length, each as the text of its number. Texts whose numbers follow one another share
/// batches. `progress` is told what is done of how much.
pub(super) fn write_open(
    denoiser: &mut Denoiser,
    sight: Sight,
    config: &SampleConfig,
    drafts: &mut [Draft],
    numbers: &[u32],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<()> {
    let window = denoiser.config().sequence_len;
    let windows: Vec<Vec<Window>> = drafts.iter().map(|draft| open_windows(&draft.text, window)).collect();
    let rounds = windows.iter().map(Vec::len).max().unwrap_or(0);
    for round in 0..rounds {
        progress("windows", round, rounds);
        let mut at = 0;
        while at < drafts.len() {
            let in_row = |i: &usize| windows[*i].len() > round && (numbers[*i] - numbers[at]) as usize == *i - at;
            let run = (at..drafts.len()).take_while(in_row).count();
            if run > 0 {
                let here: Vec<Window> = windows[at..at + run].iter().map(|windows| windows[round].clone()).collect();
                write(denoiser, sight, config, &mut drafts[at..at + run], &here, numbers[at])?;
            }
            at += run.max(1);
        }
    }
    Ok(())
}

/// Writes what is open in one window of each text, as text `first`, `first + 1`, …
pub(super) fn write(
    denoiser: &mut Denoiser,
    sight: Sight,
    config: &SampleConfig,
    drafts: &mut [Draft],
    windows: &[Window],
    first: u32,
) -> Result<()> {
    let request = |(draft, window): (&Draft, &Window)| Request {
        temperature: draft.temperature,
        ..config.request(input(denoiser, sight, &draft.text, window))
    };
    let requests: Vec<Request> = drafts.iter().zip(windows).map(request).collect();
    let written = match sight {
        Sight::Blocks => by_stretches(denoiser, config, requests, first)?,
        Sight::Masks | Sight::Symbols => sample_each(denoiser, config, &requests, first, Watch::Progress(&mut |_| {}))?
            .into_iter()
            .map(|text| text.tokens)
            .collect(),
    };
    for ((draft, window), written) in drafts.iter_mut().zip(windows).zip(written) {
        for p in window.own.clone() {
            draft.text[p] = Some(written[p - window.seen.start]);
        }
    }
    Ok(())
}

/// The same of a model that writes a block behind the other: up to the last block with something open, each in its turn, sees
/// what is known in it.
fn by_stretches(
    denoiser: &mut Denoiser,
    config: &SampleConfig,
    mut requests: Vec<Request>,
    first: u32,
) -> Result<Vec<Vec<u32>>> {
    let longest = requests.iter().map(|request| request.start.len()).max().unwrap_or(0);
    let stretch = denoiser.stretch(longest);
    for at in (0..longest).step_by(stretch) {
        let until = |request: &Request| request.start.len().min(at + stretch);
        let open = |request: &Request| {
            request.start.len() > at && request.start[at..until(request)].iter().any(Option::is_none)
        };
        let mut from = 0;
        while from < requests.len() {
            let is_open = open(&requests[from]);
            let run = requests[from..].iter().take_while(|request| open(request) == is_open).count();
            if is_open {
                let cut =
                    |request: &Request| Request { start: request.start[..until(request)].to_vec(), ..request.clone() };
                let beginnings: Vec<Request> = requests[from..from + run].iter().map(cut).collect();
                let number = first + from as u32;
                let texts = sample_each(denoiser, config, &beginnings, number, Watch::Progress(&mut |_| {}))?;
                for (request, text) in requests[from..].iter_mut().zip(texts) {
                    request.start.iter_mut().zip(text.tokens).for_each(|(place, token)| *place = Some(token));
                }
            }
            from += run;
        }
    }
    Ok(requests.into_iter().map(|request| request.start.into_iter().flatten().collect()).collect())
}
