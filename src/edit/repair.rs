//! Improbable characters of a text, replaced.
//!
//! **A model of masks** is asked for the probability of every token given all others but those of its stripe, every K-th: K passes
//! (pseudo-likelihood). Tokens less probable than one threshold are masked, all at once, and written anew, the surest first; what comes
//! out is asked about again, and stays where its tokens are at least as probable as another threshold. A model that agrees with
//! what it sees would find nothing: it has to be asked through masks.
//!
//! **A model whose noise are other symbols** has learned to see errors: one pass, with noise of a low rate said to be there, gives the
//! posterior of every token, and a token is replaced where another is more probable than the one threshold and it itself less than
//! the other (LLaDA 2.1's two thresholds).
//!
//! Both are done again until nothing changes. Characters are replaced one by one: none is inserted or left out.

use super::Sight;
use super::window::{Window, cover, input};
use super::write::{Draft, write};
use crate::config::{Family, Policy, VocabKind};
use crate::data::Vocab;
use crate::denoiser::{Denoiser, Law, Start};
use crate::error::{Error, Result};
use crate::program::SamplingParams;
use crate::sample::{Edits, SampleConfig};
use serde::Serialize;
use std::ops::Range;

/// How texts are repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct RepairConfig {
    /// A character may be replaced where it is less probable than this,
    pub least: f32,
    /// by one that is at least as probable as this.
    pub sure: f32,
    /// Most times that a text is gone through.
    pub rounds: u32,
    /// K: every K-th token is masked at once. More see more of their neighbours, and cost as many passes.
    pub stripes: usize,
    /// The share of wrong characters that a model whose noise are other symbols is told of; above 0 and below 1.
    pub errors: f32,
    /// Whether lines may change.
    pub lines: Lines,
}

/// What becomes of newlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// They stay, and nothing becomes one.
    #[default]
    Kept,
    /// They are characters like others.
    Free,
}

/// A text and what was done to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repaired {
    /// As it is now.
    pub text: String,
    /// What was replaced, from left to right.
    pub edits: Vec<Edit>,
}

/// Something that was replaced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edit {
    /// Characters of the text before it.
    pub at: usize,
    /// What stood there.
    pub from: String,
    /// What stands there now.
    pub to: String,
    /// How probable what stood there was when it was replaced.
    pub before: f64,
    /// How probable what stands there now was then.
    pub after: f64,
}

impl Default for RepairConfig {
    fn default() -> Self {
        // By which a model of masks as small as the built-in one lowers the error rate whatever it was: `tempest bench-repair`.
        RepairConfig { least: 0.0003, sure: 0.98, rounds: 3, stripes: 8, errors: Edits::ERRORS, lines: Lines::Kept }
    }
}

impl RepairConfig {
    /// As a model of this family repairs best. One whose noise are other symbols has learned that characters may be wrong, and what
    /// it thinks of one includes that.
    pub fn of(family: Family) -> Self {
        let usual = RepairConfig::default();
        if family.has_policies() {
            return usual;
        }
        let Edits { least, sure, rounds } = Edits::USUAL;
        RepairConfig { least, sure, rounds, ..usual }
    }

    /// Refuses what repairs nothing.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::input(message));
        for (what, p) in [("least", self.least), ("sure", self.sure)] {
            if !(0.0..=1.0).contains(&p) {
                return refuse(format!("{what} is {p}; wanted a probability, 0 to 1"));
            }
        }
        if !(self.errors > 0.0 && self.errors < 1.0) {
            return refuse(format!("a share of {} wrong characters; wanted above 0 and below 1", self.errors));
        }
        if self.rounds == 0 {
            return refuse("0 rounds repair nothing; wanted at least 1".into());
        }
        if self.stripes < 2 {
            return refuse(format!(
                "{} stripes leave nothing to see of a text whose characters are judged; wanted at least 2",
                self.stripes
            ));
        }
        Ok(())
    }
}

/// Repairs texts. Characters that the model's vocabulary lacks stay as they are. `progress` is told what is done of how much.
pub fn repair(
    denoiser: &mut Denoiser,
    config: &RepairConfig,
    texts: &[&str],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<Repaired>> {
    let sight = Sight::of(denoiser, "repair a text")?;
    config.validate()?;
    let vocab = denoiser.vocab().clone();
    let mut copies: Vec<Copy> = texts.iter().map(|text| Copy::of(&vocab, text, config.lines, sight)).collect();
    let mut repairer = Repairer { denoiser, config, sight, allowed: allowed(&vocab, config.lines) };
    for round in 0..config.rounds {
        progress("rounds", round as usize, config.rounds as usize);
        let open: Vec<usize> = (0..copies.len()).filter(|&i| !copies[i].settled).collect();
        if open.is_empty() {
            break;
        }
        repairer.round(&mut copies, &open)?;
    }
    Ok(copies.into_iter().map(|copy| copy.finished(&vocab)).collect())
}

/// Symbols that may stand in the place of others.
fn allowed(vocab: &Vocab, lines: Lines) -> Vec<bool> {
    let fits = |id: u32| {
        let text = vocab.decode(&[id]);
        let odd = |c: char| c == char::REPLACEMENT_CHARACTER || c == '\n' && lines == Lines::Kept || c == '\r';
        id != vocab.mask_id() && !text.is_empty() && !text.contains(odd)
    };
    (0..vocab.size() as u32).map(fits).collect()
}

/// A text that is being repaired, token by token.
struct Copy<'t> {
    text: &'t str,
    tokens: Vec<u32>,
    /// What each stands for in the text.
    places: Vec<Range<usize>>,
    fixed: Vec<bool>,
    /// The probabilities of what stood there and of what stands there, of each that was replaced.
    replaced: Vec<Option<(f64, f64)>>,
    /// Nothing is left to be done.
    settled: bool,
}

impl<'t> Copy<'t> {
    fn of(vocab: &Vocab, text: &'t str, lines: Lines, sight: Sight) -> Self {
        let (mut tokens, mut places, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
        let unknown = match sight {
            Sight::Masks => vocab.mask_id(),
            // Its embedding was never learned.
            _ => vocab.id(' ').or_else(|| vocab.id('?')).unwrap_or(0),
        };
        let breaks = |text: &str| text.contains('\r') || lines == Lines::Kept && text.contains('\n');
        match vocab.kind() {
            VocabKind::Ascii | VocabKind::Chars => {
                for (at, c) in text.char_indices() {
                    let id = vocab.id(c);
                    tokens.push(id.unwrap_or(unknown));
                    places.push(at..at + c.len_utf8());
                    fixed.push(id.is_none() || breaks(&text[at..at + c.len_utf8()]));
                }
            }
            VocabKind::Bytes | VocabKind::Bpe => {
                tokens = vocab.encode(text).unwrap_or_default();
                let (mut at, mut first) = (0, 0);
                for next in 1..=tokens.len() {
                    // Tokens of a part of a character belong together.
                    let said = vocab.decode(&tokens[first..next]);
                    if !text[at..].starts_with(&said[..]) || said.is_empty() {
                        continue;
                    }
                    let alone = next == first + 1;
                    places.push(at..at + said.len());
                    places.extend((first + 1..next).map(|_| at + said.len()..at + said.len()));
                    fixed.extend((first..next).map(|_| !alone || breaks(&said)));
                    (at, first) = (at + said.len(), next);
                }
                // What cannot be told apart stays.
                places.extend(
                    (first..tokens.len()).map(|i| if i == first { at..text.len() } else { text.len()..text.len() }),
                );
                fixed.resize(tokens.len(), true);
            }
        }
        let replaced = vec![None; tokens.len()];
        Copy { text, tokens, places, fixed, replaced, settled: false }
    }

    fn start(&self) -> Start {
        self.tokens.iter().copied().map(Some).collect()
    }

    fn replace(&mut self, at: usize, token: u32, before: f64, after: f64) {
        self.tokens[at] = token;
        self.replaced[at] = Some((before, after));
    }

    fn finished(self, vocab: &Vocab) -> Repaired {
        let (mut text, mut edits, mut characters) = (String::with_capacity(self.text.len()), Vec::new(), 0);
        for ((place, token), replaced) in self.places.into_iter().zip(self.tokens).zip(self.replaced) {
            let from = &self.text[place];
            let to = if replaced.is_some() { vocab.decode(&[token]) } else { from.to_owned() };
            if let Some((before, after)) = replaced.filter(|_| from != to) {
                edits.push(Edit { at: characters, from: from.to_owned(), to: to.clone(), before, after });
            }
            characters += from.chars().count();
            text += &to;
        }
        Repaired { text, edits }
    }
}

/// One window of one of the texts.
struct Part {
    copy: usize,
    window: Window,
}

struct Repairer<'a> {
    denoiser: &'a mut Denoiser,
    config: &'a RepairConfig,
    sight: Sight,
    allowed: Vec<bool>,
}

impl Repairer<'_> {
    /// Goes once through some of the texts.
    fn round(&mut self, copies: &mut [Copy<'_>], open: &[usize]) -> Result<()> {
        let window = self.denoiser.config().sequence_len;
        let mut parts: Vec<Part> = Vec::new();
        for &copy in open {
            let windows = cover(copies[copy].tokens.len(), window);
            parts.extend(windows.into_iter().map(|window| Part { copy, window }));
        }
        let mut changed = vec![false; copies.len()];
        let texts: Vec<Start> = parts.iter().map(|part| copies[part.copy].start()).collect();
        let laws = self.laws(&texts, &parts)?;
        match self.sight {
            Sight::Symbols => {
                for (part, laws) in parts.iter().zip(&laws) {
                    let copy = &mut copies[part.copy];
                    for (at, law) in part.window.own.clone().zip(laws) {
                        let (best, p) = law.best(&self.allowed);
                        let before = law.of_symbol(copy.tokens[at]);
                        if !copy.fixed[at]
                            && best != copy.tokens[at]
                            && p >= self.config.sure.into()
                            && before < self.config.least.into()
                        {
                            changed[part.copy] = true;
                            copy.replace(at, best, before, p);
                        }
                    }
                }
            }
            Sight::Masks | Sight::Blocks => {
                let mut drafts = self.written(copies, &parts, &laws)?;
                self.keep_sure(copies, &parts, &laws, &mut drafts, &mut changed)?;
            }
        }
        for &copy in open {
            copies[copy].settled = !changed[copy];
        }
        Ok(())
    }

    /// The texts with their improbable tokens written anew, one for each part.
    fn written(&mut self, copies: &[Copy<'_>], parts: &[Part], laws: &[Vec<Law>]) -> Result<Vec<Start>> {
        let mut drafts = Vec::with_capacity(parts.len());
        for (part, laws) in parts.iter().zip(laws) {
            let copy = &copies[part.copy];
            let mut text = copy.start();
            for (at, law) in part.window.own.clone().zip(laws).filter(|(at, _)| !copy.fixed[*at]) {
                if law.of_symbol(copy.tokens[at]) < self.config.least.into() {
                    text[at] = None;
                }
            }
            drafts.push(Draft { text, temperature: 0.0 });
        }
        let config = SampleConfig::new(Policy::top_k(1), 0, self.denoiser.process_config());
        let windows: Vec<Window> = parts.iter().map(|part| part.window.clone()).collect();
        write(self.denoiser, self.sight, &config, &mut drafts, &windows, 0)?;
        Ok(drafts.into_iter().map(|draft| draft.text).collect())
    }

    /// Takes over of what was written anew what the model is sure of, run by run.
    fn keep_sure(
        &mut self,
        copies: &mut [Copy<'_>],
        parts: &[Part],
        before: &[Vec<Law>],
        drafts: &mut [Start],
        changed: &mut [bool],
    ) -> Result<()> {
        let differs = |copy: &Copy<'_>, draft: &Start, at: usize| draft[at] != Some(copy.tokens[at]);
        let touched: Vec<usize> = (0..parts.len())
            .filter(|&i| parts[i].window.own.clone().any(|at| differs(&copies[parts[i].copy], &drafts[i], at)))
            .collect();
        let asked: Vec<Part> =
            touched.iter().map(|&i| Part { copy: parts[i].copy, window: parts[i].window.clone() }).collect();
        let texts: Vec<Start> = touched.iter().map(|&i| drafts[i].clone()).collect();
        let after = self.laws(&texts, &asked)?;
        for ((part, draft), (after, &i)) in asked.iter().zip(&texts).zip(after.iter().zip(&touched)) {
            let (copy, own) = (&mut copies[part.copy], part.window.own.clone());
            let mut at = own.start;
            while at < own.end {
                let run = (at..own.end).take_while(|&p| differs(copy, draft, p)).count();
                let sure = |p: usize| {
                    let token = draft[p].unwrap_or_default();
                    self.allowed[token as usize] && after[p - own.start].of_symbol(token) >= self.config.sure.into()
                };
                if run > 0 && (at..at + run).all(sure) {
                    changed[part.copy] = true;
                    for p in at..at + run {
                        let token = draft[p].unwrap_or_default();
                        let old = before[i][p - own.start].of_symbol(copy.tokens[p]);
                        copy.replace(p, token, old, after[p - own.start].of_symbol(token));
                    }
                }
                at += run.max(1);
            }
        }
        Ok(())
    }

    /// Of every token that is worked on in each part: the law of what stands there.
    fn laws(&mut self, texts: &[Start], parts: &[Part]) -> Result<Vec<Vec<Law>>> {
        match self.sight {
            Sight::Masks => self.striped(texts, parts),
            Sight::Blocks => self.striped_by_blocks(texts, parts),
            Sight::Symbols => self.posteriors(texts, parts),
        }
    }

    /// Of a model of masks: K passes.
    fn striped(&mut self, texts: &[Start], parts: &[Part]) -> Result<Vec<Vec<Law>>> {
        let (mask, family) = (self.denoiser.process().mask_id(), Family::Masked);
        let symbols = self.denoiser.config().vocab_size;
        let mut laws: Vec<Vec<Option<Law>>> =
            parts.iter().map(|part| part.window.own.clone().map(|_| None).collect()).collect();
        for stripe in 0..self.config.stripes {
            let hidden = |(text, part): (&Start, &Part)| {
                let mut text = text.clone();
                let own = part.window.own.clone();
                own.filter(|at| at % self.config.stripes == stripe).for_each(|at| text[at] = None);
                input(self.denoiser, self.sight, &text, &part.window)
            };
            let starts: Vec<Start> = texts.iter().zip(parts).map(hidden).collect();
            let mut done = 0;
            let most = self.denoiser.batch();
            for starts in starts.chunk_by(|one, next| one.len() == next.len()).flat_map(|alike| alike.chunks(most)) {
                let here = done..done + starts.len();
                let rows: Vec<Range<usize>> = parts[here.clone()].iter().map(|part| part.window.own_seen()).collect();
                let params = vec![SamplingParams::MOST_PROBABLE; starts.len()];
                let logits = self.denoiser.canvas(starts, &params)?.logits(family, &rows)?;
                for (i, logits) in here.clone().zip(logits) {
                    let own = parts[i].window.own.clone();
                    for (at, logits) in own.clone().zip(logits.chunks_exact(symbols)) {
                        if at % self.config.stripes == stripe {
                            laws[i][at - own.start] = Some(Law::of(logits, mask));
                        }
                    }
                }
                done = here.end;
            }
        }
        Ok(laws.into_iter().map(|laws| laws.into_iter().flatten().collect()).collect())
    }

    /// Of a model of blocks: K passes over each, and one over it as it is, whose keys and values those behind see.
    fn striped_by_blocks(&mut self, texts: &[Start], parts: &[Part]) -> Result<Vec<Vec<Law>>> {
        let (mask, family) = (self.denoiser.process().mask_id(), self.denoiser.process_config().family());
        let (symbols, most) = (self.denoiser.config().vocab_size, self.denoiser.batch());
        let stretch = self.denoiser.stretch(self.denoiser.config().sequence_len);
        // With more there would be nothing to mask in some.
        let count = self.config.stripes.min(stretch);
        // Of those that are seen the ones that are judged.
        let blocks = |i: &usize| {
            let own = parts[*i].window.own_seen();
            own.start / stretch..own.end.div_ceil(stretch)
        };
        let mut laws: Vec<Vec<Option<Law>>> =
            parts.iter().map(|part| part.window.own.clone().map(|_| None).collect()).collect();
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|i| (blocks(i).start, blocks(i).end));
        let alike = order.chunk_by(|one, next| blocks(one).start == blocks(next).start);
        for here in alike.flat_map(|alike| alike.chunks(most)) {
            let (begun, end) = (blocks(&here[0]).start, blocks(&here[here.len() - 1]).end);
            for block in begun..end {
                let places = |i: &usize| (parts[*i].window.seen.start + block * stretch..).take(stretch);
                // The last one hides nothing.
                for stripe in 0..count + usize::from(block + 1 < end) {
                    let is_hidden = |i: &usize, at: usize| parts[*i].window.own.contains(&at) && at % count == stripe;
                    let token =
                        |i: &usize, at: usize| texts[*i].get(at).copied().flatten().filter(|_| !is_hidden(i, at));
                    let starts: Vec<Start> = here.iter().map(|i| places(i).map(|at| token(i, at)).collect()).collect();
                    let params = vec![SamplingParams::MOST_PROBABLE; starts.len()];
                    let mut canvas = self.denoiser.canvas(&starts, &params)?;
                    canvas.stand_at(block * stretch)?;
                    if block == begun && stripe == 0 && begun > 0 {
                        let before = |i: &usize| {
                            let seen = parts[*i].window.seen.start;
                            texts[*i][seen..seen + begun * stretch].iter().flatten().copied().collect()
                        };
                        let before: Vec<Vec<u32>> = here.iter().map(before).collect();
                        canvas.keep_before(&before.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                    }
                    let wanted = |i: &usize| if places(i).any(|at| is_hidden(i, at)) { 0..stretch } else { 0..0 };
                    let logits = canvas.logits(family, &here.iter().map(wanted).collect::<Vec<_>>())?;
                    for (i, logits) in here.iter().zip(&logits) {
                        for (at, logits) in places(i).zip(logits.chunks_exact(symbols)) {
                            if is_hidden(i, at) {
                                laws[*i][at - parts[*i].window.own.start] = Some(Law::of(logits, mask));
                            }
                        }
                    }
                }
            }
        }
        Ok(laws.into_iter().map(|laws| laws.into_iter().flatten().collect()).collect())
    }

    /// Of a model whose noise are other symbols: the posterior in one pass, as if noise had hit a share of all tokens.
    fn posteriors(&mut self, texts: &[Start], parts: &[Part]) -> Result<Vec<Vec<Law>>> {
        let starts: Vec<Start> =
            texts.iter().zip(parts).map(|(text, part)| input(self.denoiser, self.sight, text, &part.window)).collect();
        let mut found = Vec::with_capacity(parts.len());
        let most = self.denoiser.batch();
        for starts in starts.chunk_by(|one, next| one.len() == next.len()).flat_map(|alike| alike.chunks(most)) {
            let here = found.len()..found.len() + starts.len();
            let rows: Vec<Range<usize>> = parts[here].iter().map(|part| part.window.own_seen()).collect();
            let mut canvas = self.denoiser.canvas(starts, &vec![SamplingParams::MOST_PROBABLE; starts.len()])?;
            found.extend(canvas.posteriors(self.config.errors, &rows)?);
        }
        Ok(found)
    }
}
