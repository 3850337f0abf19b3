//! What `tempest replay` writes: texts that come about, on a page forwards and backwards, or as a picture that moves.

use super::animation::{Stay, animation};
use super::shell::{data, page};
use crate::config::Score;
use crate::data::Vocab;
use crate::denoiser::Start;
use crate::sample::Frame;
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

/// Watches texts as they are sampled, and keeps what each step changed.
pub struct Recorder {
    vocab: Vocab,
    /// What the sampler's confidence is; none where it keeps none.
    score: Option<Score>,
    texts: BTreeMap<u32, Recorded>,
}

/// One text, from what was given to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Recorded {
    number: u32,
    length: usize,
    /// What was given: a symbol, or -1.
    start: Vec<i64>,
    /// What each step changed: position, symbol, percent, one after the other.
    steps: Vec<Vec<i64>>,
    /// The text so far.
    #[serde(skip)]
    state: Vec<i64>,
}

impl Recorder {
    /// Of texts in a vocabulary, by a sampler with this score.
    pub fn new(vocab: &Vocab, score: Option<Score>) -> Self {
        Recorder { vocab: vocab.clone(), score, texts: BTreeMap::new() }
    }

    /// Texts begin with this, the first of these numbers and those behind it; `before` stands before it.
    pub fn begin(&mut self, first: u32, before: &[u32], starts: &[Start]) {
        for (number, start) in (first..).zip(starts) {
            let known = before.iter().map(|&id| i64::from(id));
            let start: Vec<i64> = known.chain(start.iter().map(|id| id.map_or(OPEN, i64::from))).collect();
            let (length, state, steps) = (start.len(), start.clone(), Vec::new());
            self.texts.insert(number, Recorded { number, length, start, steps, state });
        }
    }

    /// A step was made; `before` as many tokens as stand before what is sampled.
    pub fn take(&mut self, before: usize, frame: &Frame<'_>) {
        let rows = frame.texts.len();
        let length = frame.tokens.len() / rows;
        for (row, number) in frame.texts.clone().enumerate() {
            let Some(text) = self.texts.get_mut(&number) else { continue };
            let first = before + frame.before[row].tokens.len();
            let mut changes = Vec::new();
            for (at, place) in (first..).zip(frame.new.clone()) {
                let cell = row * length + place;
                let token = frame.tokens[cell];
                let symbol = if token == self.vocab.mask_id() { OPEN } else { i64::from(token) };
                if at >= text.state.len() {
                    text.state.resize(at + 1, OPEN);
                }
                if text.state[at] != symbol {
                    text.state[at] = symbol;
                    let sure = if symbol == OPEN { UNKNOWN } else { percent(self.score, frame.confidence[cell]) };
                    changes.extend([at as i64, symbol, sure]);
                }
            }
            text.length = text.length.max(text.state.len());
            text.steps.push(changes);
        }
    }

    /// Tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.texts.values().map(|text| text.length).sum()
    }

    /// The page; `facts` say what made the texts, a line each.
    pub fn page(&self, facts: &[String]) -> String {
        let title = format!("How {} came about", counted(self.texts.len() as u64, "text"));
        let body = html! {
            h1 { (title) }
            @for fact in facts { p.soft { (fact) } }
            (self.texts_of_page())
            (data("recording", &self.recording()))
        };
        page(&title, STYLE, &body, SCRIPT)
    }

    /// A picture that moves, of all texts below each other.
    pub fn picture(&self) -> String {
        let steps = self.texts.values().map(|text| text.steps.len()).max().unwrap_or(0);
        let texts: Vec<Vec<Vec<Stay>>> = self.texts.values().map(|text| self.stays(text)).collect();
        let finished: Vec<String> = self.texts.values().map(|text| self.decoded(text)).collect();
        animation(&texts, steps, &format!("Text comes about out of noise. Finished: {}", finished.join("\n\n")))
    }

    /// What stands at each position of a text, one after the other.
    fn stays(&self, text: &Recorded) -> Vec<Vec<Stay>> {
        let stay = |from: usize, id: i64| {
            let symbol = u32::try_from(id).ok().map(|id| printable(&self.vocab.decode(&[id])));
            Stay { from, until: None, symbol }
        };
        let first = |at: usize| vec![stay(0, text.start.get(at).copied().unwrap_or(OPEN))];
        let mut stays: Vec<Vec<Stay>> = (0..text.length).map(first).collect();
        for (step, changes) in (1..).zip(&text.steps) {
            for change in changes.chunks_exact(3) {
                let here = &mut stays[change[0] as usize];
                here.last_mut().expect("something stands there from the start").until = Some(step);
                here.push(stay(step, change[1]));
            }
        }
        stays
    }

    fn texts_of_page(&self) -> Markup {
        let sure = self.score.is_some_and(|score| score != Score::Random);
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
                    @for text in self.texts.values() {
                        section aria-labelledby={ "head-" (text.number) } {
                            h2 id={ "head-" (text.number) } { "Text " (text.number) }
                            p.heard id={ "plain-" (text.number) } { (self.decoded(text)) }
                            div.text id={ "text-" (text.number) } tabindex="0" role="group"
                                aria-label={ "Characters of text " (text.number) ": left and right arrow go through them" } {
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
        let ids: Vec<u32> = text.state.iter().map(|&id| u32::try_from(id).unwrap_or(self.vocab.mask_id())).collect();
        printable(&self.vocab.decode(&ids))
    }

    fn recording(&self) -> serde_json::Value {
        // Symbols that occur, with numbers of their own.
        let mut symbols: BTreeMap<i64, usize> = BTreeMap::new();
        let in_steps = |text: &Recorded| text.steps.iter().flatten().skip(1).step_by(3).copied().collect::<Vec<_>>();
        for text in self.texts.values() {
            // A step's changes are three numbers each, so that all of them together are too.
            symbols.extend(text.start.iter().copied().chain(in_steps(text)).filter(|&id| id >= 0).map(|id| (id, 0)));
        }
        symbols.values_mut().enumerate().for_each(|(i, number)| *number = i);
        let number = |id: i64| symbols.get(&id).map_or(OPEN, |&number| number as i64);
        let texts: Vec<Recorded> = self
            .texts
            .values()
            .cloned()
            .map(|mut text| {
                text.start.iter_mut().for_each(|id| *id = number(*id));
                text.steps
                    .iter_mut()
                    .flat_map(|step| step.chunks_exact_mut(3))
                    .for_each(|change| change[1] = number(change[1]));
                text
            })
            .collect();
        let shapes: Vec<String> = symbols.keys().map(|&id| self.vocab.decode(&[id as u32])).collect();
        serde_json::json!({ "unit": self.vocab.kind().unit(), "symbols": shapes, "texts": texts })
    }
}

/// How sure a model was, from its sampler's score; of an entropy the probability that as many equally likely symbols have.
fn percent(score: Option<Score>, confidence: f32) -> i64 {
    let share = match score {
        None | Some(Score::Random) => return UNKNOWN,
        Some(Score::Entropy) => confidence.exp(),
        Some(Score::Max | Score::Margin | Score::Candidate) => confidence,
    };
    if share.is_finite() { (100.0 * share.clamp(0.0, 1.0)).round() as i64 } else { UNKNOWN }
}
