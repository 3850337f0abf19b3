//! What `tempest replay` writes: texts that come about, on a page forwards and backwards, or as a picture that moves.

use super::animation::{Stay, animation};
use super::pixels::Pixels;
use super::shell::{data, page};
use crate::error::Result;
use crate::sample::{Change, Recorded, Recording};
use crate::terminal::{counted, printable};
use maud::{Markup, html};
use serde::Serialize;
use std::collections::BTreeMap;

const STYLE: &str = include_str!("replay.css");
const SCRIPT: &str = include_str!("replay.js");

/// An open position, and a symbol that is none.
const OPEN: i64 = -1;

/// How sure a model was, where it is not known.
const UNKNOWN: i64 = -1;

/// Texts that were recorded, to be looked at.
#[derive(Clone, Copy)]
pub struct Replay<'a>(pub &'a Recording);

/// One text, as the page's script reads it.
#[derive(Serialize)]
struct Played {
    number: u32,
    length: usize,
    /// What was given: a symbol, or -1.
    start: Vec<i64>,
    /// What each step changed: position, symbol, percent, one after the other.
    steps: Vec<Vec<i64>>,
}

impl Replay<'_> {
    fn texts(&self) -> &BTreeMap<u32, Recorded> {
        self.0.texts()
    }

    /// The page; `facts` say what made the texts, a line each.
    pub fn page(&self, facts: &[String]) -> String {
        let title = format!("How {} came about", counted(self.texts().len() as u64, "text"));
        let body = html! {
            h1 { (title) }
            @for fact in facts { p.soft { (fact) } }
            (self.texts_of_page())
            (data("recording", &self.recording()))
        };
        page(&title, STYLE, &body, SCRIPT)
    }

    /// A picture that moves, of all texts below each other: SVG.
    pub fn svg(&self) -> String {
        let (texts, steps) = self.all_stays();
        let finished: Vec<String> = self.texts().values().map(|text| self.decoded(text)).collect();
        animation(&texts, steps, &format!("Text comes about out of noise. Finished: {}", finished.join("\n\n")))
    }

    /// The same in pixels, as a GIF.
    pub fn gif(&self) -> Result<Vec<u8>> {
        let (texts, steps) = self.all_stays();
        Pixels::new(&texts, steps)?.gif()
    }

    /// What it comes to, as a PNG.
    pub fn png(&self) -> Result<Vec<u8>> {
        let (texts, steps) = self.all_stays();
        Pixels::new(&texts, steps)?.png()
    }

    /// What stands at each position of every text, and the number of steps.
    fn all_stays(&self) -> (Vec<Vec<Vec<Stay>>>, usize) {
        let steps = self.texts().values().map(|text| text.steps.len()).max().unwrap_or(0);
        (self.texts().values().map(|text| self.stays(text)).collect(), steps)
    }

    /// What stands at each position of a text, one after the other.
    fn stays(&self, text: &Recorded) -> Vec<Vec<Stay>> {
        let stay = |from: usize, token: Option<u32>, sure: Option<f32>| {
            let symbol = token.map(|id| printable(&self.0.vocab().decode(&[id])));
            let share = sure.unwrap_or(from as f32 / text.steps.len().max(1) as f32);
            Stay { from, until: None, symbol, share }
        };
        let first = |at: usize| vec![stay(0, text.start.get(at).copied().flatten(), None)];
        let mut stays: Vec<Vec<Stay>> = (0..text.places.len()).map(first).collect();
        for (step, changes) in (1..).zip(&text.steps) {
            for change in changes {
                let here = &mut stays[change.at];
                here.last_mut().expect("something stands there from the start").until = Some(step);
                here.push(stay(step, change.token, change.sure));
            }
        }
        stays
    }

    fn texts_of_page(&self) -> Markup {
        let sure = self.0.has_sureness();
        html! {
            div id="replay" class=(if sure { "by-confidence" } else { "by-step" }) {
                div.bar id="controls" role="group" aria-label="Player" hidden {
                    button.main id="play" aria-pressed="false" { "Play" }
                    button id="back" aria-pressed="false" { "Play backwards" }
                    button id="previous" aria-label="One step back" { "‹" }
                    button id="next" aria-label="One step forward" { "›" }
                    input id="scrub" type="range" min="0" max="0" value="0" step="1" aria-label="Step";
                    span.status id="status" {}
                }
                div.settings id="settings" role="group" aria-label="How it is shown" hidden {
                    label { "Steps a second " select id="speed" {
                        @for speed in [1, 2, 4, 8, 16, 32] { option value=(speed) selected[speed == 8] { (speed) } }
                    } }
                    label { "Colour " select id="colour" {
                        @if sure { option value="confidence" { "how sure" } }
                        option value="step" { "which step" }
                        option value="nothing" { "none" }
                    } }
                    span.legend {
                        span.scale-of { span id="low" {} span.scale {} span id="high" {} }
                        span { "bold: given; framed: of this step" }
                    }
                }
                p.heard id="heard" role="status" aria-live="polite" {}
                div.tip id="tip" aria-hidden="true" hidden {}
                div.texts {
                    @for (number, text) in self.texts() {
                        section aria-labelledby={ "head-" (number) } {
                            h2 id={ "head-" (number) } { "Text " (number) }
                            p.heard id={ "plain-" (number) } { (self.decoded(text)) }
                            div.text id={ "text-" (number) } tabindex="0" role="group"
                                aria-label={ "Characters of text " (number) ": left and right arrow go through them" } {
                                (self.decoded(text))
                            }
                        }
                    }
                }
                p.soft {
                    "Keys: space plays and pauses, left and right arrow make a step, Home and End go to both ends; in a text the \
                     arrows go from character to character and tell of each."
                }
            }
        }
    }

    /// A finished text.
    fn decoded(&self, text: &Recorded) -> String {
        let vocab = self.0.vocab();
        let ids: Vec<u32> = text.places.iter().map(|place| place.token.unwrap_or(vocab.mask_id())).collect();
        printable(&vocab.decode(&ids))
    }

    fn recording(&self) -> serde_json::Value {
        // Symbols that occur, with numbers of their own.
        let written =
            |text: &Recorded| text.steps.iter().flatten().filter_map(|change| change.token).collect::<Vec<_>>();
        let occurring =
            self.texts().values().flat_map(|text| text.start.iter().copied().flatten().chain(written(text)));
        let mut symbols: BTreeMap<u32, i64> = occurring.map(|id| (id, OPEN)).collect();
        symbols.values_mut().zip(0..).for_each(|(number, i)| *number = i);
        let number = |token: Option<u32>| token.map_or(OPEN, |id| symbols[&id]);
        let percent = |sure: Option<f32>| sure.map_or(UNKNOWN, |sure| (100.0 * sure).round() as i64);
        let change = |c: &Change| [c.at as i64, number(c.token), percent(c.sure)];
        let texts = self.texts().iter().map(|(&of, text)| Played {
            number: of,
            length: text.places.len(),
            start: text.start.iter().map(|&token| number(token)).collect(),
            steps: text.steps.iter().map(|step| step.iter().flat_map(change).collect()).collect(),
        });
        let vocab = self.0.vocab();
        let shapes: Vec<String> = symbols.keys().map(|&id| vocab.decode(&[id])).collect();
        serde_json::json!({ "unit": vocab.kind().unit(), "symbols": shapes, "texts": texts.collect::<Vec<_>>() })
    }
}
