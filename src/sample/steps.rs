//! The steps of what is written together.

use super::{Edits, Frame, Policy, Progress, Request, SampleConfig, Text, VectorSampling, Watch};
use crate::config::Gamma;
use crate::denoiser::Canvas;
use crate::error::Result;
use crate::process::{Past, ReverseStep};
use crate::program::{StepArgs, VectorStep, reveal_words};
use crate::rng::{threshold, uniform24};
use std::collections::VecDeque;
use std::ops::Range;

/// Is told how many tokens each text has left, and says whether all that is wanted is written.
pub(super) type Heard<'a> = &'a mut dyn FnMut(&mut Canvas<'_>, &[u32]) -> Result<bool>;

/// What is done again and again until nothing is open.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Reverse(ReverseStep),
    Renoise,
    /// Of vectors, between the ends of their noise.
    Vectors(Gamma),
    NextToken(Past),
}

impl Step {
    /// To be done once before; of `args`, what they say of texts counts.
    fn begin(self, canvas: &mut Canvas<'_>, args: &StepArgs) -> Result<()> {
        match self {
            Step::NextToken(Past::Kept) => canvas.fill_cache(),
            Step::Renoise => canvas.noise(args),
            Step::NextToken(Past::Recomputed) | Step::Reverse(_) | Step::Vectors(_) => Ok(()),
        }
    }

    fn run(self, canvas: &mut Canvas<'_>, steps: &[StepArgs]) -> Result<()> {
        match self {
            Step::Reverse(step) => canvas.reverse_steps(step, steps),
            Step::Renoise => canvas.renoise(steps),
            Step::Vectors(_) => canvas.renoise_vectors(steps),
            Step::NextToken(past) => canvas.next_tokens(past, steps),
        }
    }

    /// Most steps for a text of `length` tokens, `open` of them unknown.
    fn most(self, policy: Policy, length: usize, open: u32) -> u32 {
        match self {
            Step::Reverse(_) | Step::Renoise | Step::Vectors(_) => policy.steps(length, open),
            Step::NextToken(_) => open,
        }
    }
}

/// One block of a batch.
pub(super) struct Batch<'a> {
    pub(super) config: &'a SampleConfig,
    pub(super) requests: &'a [Request],
    pub(super) step: Step,
    pub(super) first: u32,
    pub(super) block: u32,
    pub(super) before: &'a [Text],
    /// Places of what is added to those.
    pub(super) new: Range<usize>,
}

impl Batch<'_> {
    /// All of its steps.
    pub(super) fn run(&self, canvas: &mut Canvas<'_>, watch: &mut Watch<'_>, heard: Heard<'_>) -> Result<()> {
        let open = canvas.remaining()?;
        if open.iter().all(|&open| open == 0) {
            return Ok(());
        }
        let steps = self.steps(canvas, &open)?;
        let edits = self.config.edits.map(|edits| canvas.masked().map(|masked| (edits, masked))).transpose()?;
        // What may change again is not handed over.
        let mut stays = |_: &mut Canvas<'_>, _: &[u32]| Ok(false);
        let heard: Heard<'_> = if edits.is_some() { &mut stays } else { heard };
        self.step.begin(canvas, &self.args(0))?;
        if let Step::Vectors(gamma) = self.step {
            let of = |request: &Request| self.vector_step(request, gamma, 0, canvas.positions());
            let first: Vec<VectorStep> = self.requests.iter().map(of).collect();
            canvas.noise_vectors(&self.args(0), &first)?;
        }
        let left = match watch {
            Watch::Progress(tell) => self.run_ahead(canvas, &steps, tell, heard)?,
            Watch::Steps(show) => self.run_watched(canvas, &steps, show, heard)?,
        };
        assert_eq!(left, 0, "{steps:?} left {left} positions open");
        match edits {
            Some((edits, masked)) => self.edit(canvas, edits, &open, &masked, watch),
            None => Ok(()),
        }
    }

    /// Goes through finished texts, of each of which so many tokens were open, and replaces some of those, each round as a step of
    /// its own.
    fn edit(
        &self,
        canvas: &mut Canvas<'_>,
        edits: Edits,
        open: &[u32],
        masked: &[u32],
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let length = canvas.positions();
        let done: Vec<u32> =
            self.requests.iter().zip(open).map(|(request, &open)| self.most(request, length, open)).collect();
        let among = vec![true; canvas.symbols()];
        for round in 0..edits.rounds {
            let laws = canvas.posteriors(Edits::ERRORS, &vec![0..length; canvas.rows()])?;
            let (mut tokens, mut committed_at) = (canvas.tokens()?, canvas.committed_at()?);
            let mut changed = false;
            for (i, law) in laws.iter().flatten().enumerate().filter(|(i, _)| masked[*i] != 0) {
                let (best, p) = law.best(&among);
                if best != tokens[i] && p >= edits.sure.into() && law.of_symbol(tokens[i]) < edits.least.into() {
                    (tokens[i], committed_at[i]) = (best, done[i / length] + round);
                    changed = true;
                }
            }
            if !changed {
                return Ok(());
            }
            canvas.replace(&tokens, &committed_at)?;
            if let Watch::Steps(show) = watch {
                let step = done.iter().max().copied().unwrap_or(0) + round + 1;
                let confidence = canvas.confidence()?;
                show(&self.frame(canvas, step, &tokens, &vec![0; tokens.len()], &confidence));
            }
        }
        Ok(())
    }

    /// Most steps for a text of `length` tokens, `open` of them unknown, those among them that are made again.
    fn most(&self, request: &Request, length: usize, open: u32) -> u32 {
        match self.step.most(request.policy, length, open) {
            0 => 0,
            // The last step leaves no noise, and is made once.
            steps => (steps - 1).saturating_mul(self.config.resample).saturating_add(1),
        }
    }

    /// The steps that commit something, in order. Where lots alone decide for all texts they are drawn first, and the model is
    /// asked only where one falls: what it would have said in the other steps is never read.
    fn steps(&self, canvas: &mut Canvas<'_>, open: &[u32]) -> Result<Vec<u32>> {
        let length = canvas.positions();
        let most = self.requests.iter().zip(open).map(|(request, &open)| self.most(request, length, open));
        let most = most.max().unwrap_or(0);
        let by_lot = |request: &Request| matches!(self.step, Step::Reverse(_)) && request.policy.is_by_lot();
        if !self.requests.iter().all(by_lot) {
            return Ok((0..most).collect());
        }
        let (mut masked, mut falls) = (canvas.masked()?, vec![false; most as usize]);
        for (row, (request, masked)) in self.requests.iter().zip(masked.chunks_exact_mut(length)).enumerate() {
            for step in 0..most {
                let (args, below) = (self.args(step), threshold(request.policy.reveal(step, length)));
                for (position, masked) in masked.iter_mut().enumerate().filter(|(_, masked)| **masked != 0) {
                    if uniform24(reveal_words(&args, row, position)[0]) < below {
                        *masked = 0;
                        falls[step as usize] = true;
                    }
                }
            }
        }
        Ok((0..most).filter(|&step| falls[step as usize]).collect())
    }

    fn args(&self, step: u32) -> StepArgs {
        let seed = self.config.block_seed(self.block);
        StepArgs { seed, step: u64::from(step), sequence: self.first, ..StepArgs::default() }
    }

    /// Of its policy's steps the one that a step makes, or makes again.
    fn of_policy(&self, step: u32) -> u32 {
        step / self.config.resample
    }

    /// Before a step that repeats the one before, brings texts that are not finished back to the noise that this one began with: from
    /// q(z_s|x) to q(z_t|x), known tokens too.
    fn go_back(&self, canvas: &mut Canvas<'_>, step: u32) -> Result<()> {
        if step.is_multiple_of(self.config.resample) {
            return Ok(());
        }
        let (positions, args, of_policy) = (canvas.positions(), self.args(step), self.of_policy(step));
        let texts: Vec<(&Request, bool)> =
            self.requests.iter().zip(canvas.remaining()?).map(|(request, left)| (request, left > 0)).collect();
        if let Step::Vectors(gamma) = self.step {
            let factors = texts.iter().map(|&(request, is_open)| {
                let step = self.vector_step(request, gamma, of_policy, positions);
                if is_open && step.ends == 0.0 { step.back() } else { [1.0, 0.0] }
            });
            return canvas.noise_vectors_again(&args, &factors.collect::<Vec<_>>());
        }
        let rates = texts.iter().map(|&(request, is_open)| {
            let [from, to] = request.policy.noise_rates(of_policy, positions).map(threshold);
            // At rate 0 a text is finished.
            if is_open && to > 0 { [from, to] } else { [0; 2] }
        });
        canvas.noise_again(&args, &rates.collect::<Vec<_>>())
    }

    /// As many steps as are given at once: between repeated ones something is done.
    fn burst(&self, canvas: &Canvas<'_>) -> usize {
        if self.config.resample > 1 { 1 } else { canvas.burst() }
    }

    /// Puts lots on the device, those of as many steps as a text has positions, the step `first` among them.
    fn set_lots(&self, canvas: &mut Canvas<'_>, first: u32) -> Result<()> {
        let positions = canvas.positions();
        let first = first - first % positions as u32;
        if let Step::Vectors(gamma) = self.step {
            let of = |request| {
                let steps = (first..).take(positions).map(|step| self.of_policy(step));
                steps.map(move |step| self.vector_step(request, gamma, step, positions))
            };
            return canvas.set_steps(&self.requests.iter().flat_map(of).collect::<Vec<_>>());
        }
        let of = |request: &Request| {
            let policy = request.policy;
            let of_step = move |step| match self.step {
                Step::Renoise => policy.noise_rates(self.of_policy(step), positions),
                _ => [policy.reveal(step, positions), policy.remask(step, positions)],
            };
            let pair = move |step| of_step(step).map(threshold);
            (first..).take(positions).flat_map(pair)
        };
        canvas.set_lots(&self.requests.iter().flat_map(of).collect::<Vec<_>>())
    }

    /// A step of a text's vectors; behind its last one that one.
    fn vector_step(&self, request: &Request, gamma: Gamma, step: u32, positions: usize) -> VectorStep {
        let (steps, eta, schedule) = request.policy.of_vectors(positions).expect("looked at before");
        let (VectorSampling { score_temperature, clamps }, step) = (self.config.vectors, step.min(steps - 1));
        let at = |left: u32| gamma.at(schedule, f64::from(left) / f64::from(steps));
        let [from, to] = [steps - step, steps - step - 1].map(at);
        let ends = f32::from(u8::from(step + 1 == steps));
        VectorStep { clamps: f32::from(u8::from(clamps)), ends, ..VectorStep::level(gamma, from, 0.0) }.leading(
            Gamma::squares(from),
            Gamma::squares(to),
            eta.into(),
            score_temperature.into(),
        )
    }

    /// Reads tokens off vectors behind a step, where it is a text's last or somebody looks on.
    fn read(&self, canvas: &mut Canvas<'_>, steps: &[u32], is_watched: bool) -> Result<()> {
        let Some(&last) = steps.last().filter(|_| matches!(self.step, Step::Vectors(_))) else { return Ok(()) };
        let positions = canvas.positions();
        let ends = |request: &Request| {
            let last = |count: u32| (count - 1).saturating_mul(self.config.resample);
            request.policy.of_vectors(positions).is_some_and(|(count, ..)| steps.contains(&last(count)))
        };
        if is_watched || self.requests.iter().any(ends) { canvas.read_vectors(&self.args(last)) } else { Ok(()) }
    }

    /// Whether texts without masks are finished.
    fn keep(&self) -> bool {
        self.requests.iter().all(|request| request.policy.keeps())
    }

    /// What is seen of texts in the making.
    fn frame<'f>(
        &'f self,
        canvas: &Canvas<'_>,
        step: u32,
        tokens: &'f [u32],
        masked: &'f [u32],
        confidence: &'f [f32],
    ) -> Frame<'f> {
        let (texts, block, before, new) = (self.texts(canvas), self.block, self.before, self.new.clone());
        Frame { texts, block, step, tokens, masked, confidence, before, new }
    }

    fn texts(&self, canvas: &Canvas<'_>) -> Range<u32> {
        self.first..self.first + canvas.rows() as u32
    }

    /// Gives the device bursts of steps and hears how far it is one burst late, so that it never waits: what it does beyond
    /// the last token changes nothing; it waits where a text is finished before the others. Returns the tokens left.
    fn run_ahead(
        &self,
        canvas: &mut Canvas<'_>,
        steps: &[u32],
        tell: &mut dyn FnMut(&Progress),
        heard: Heard<'_>,
    ) -> Result<u32> {
        let (mut asked, mut left) = (VecDeque::new(), u32::MAX);
        let round = canvas.positions() as u32;
        for steps in steps.chunk_by(|step, next| step / round == next / round) {
            self.set_lots(canvas, steps[0])?;
            for burst in steps.chunks(self.burst(canvas)) {
                self.go_back(canvas, burst[0])?;
                let args: Vec<StepArgs> = burst.iter().map(|&step| self.args(step)).collect();
                self.step.run(canvas, &args)?;
                self.read(canvas, burst, false)?;
                asked.push_back(canvas.ask_remaining()?);
                while asked.len() > 1 || asked.front().is_some_and(|answer| answer.is_ready()) {
                    let answer = asked.pop_front().expect("there is a front");
                    let remaining = canvas.answered(answer)?;
                    left = remaining.iter().sum();
                    if left > 0 && self.keep() && heard(canvas, &remaining)? {
                        return Ok(0);
                    }
                }
                if left < u32::MAX {
                    let steps = burst.last().map_or(0, |last| last + 1);
                    tell(&Progress { texts: self.texts(canvas), block: self.block, steps, left });
                }
                if left == 0 && self.keep() {
                    return Ok(0);
                }
            }
        }
        while let Some(answer) = asked.pop_front() {
            left = canvas.answered(answer)?.into_iter().sum();
        }
        Ok(left)
    }

    /// Gives the device one step at a time and shows each. Returns the tokens left.
    fn run_watched(
        &self,
        canvas: &mut Canvas<'_>,
        steps: &[u32],
        show: &mut dyn FnMut(&Frame<'_>),
        heard: Heard<'_>,
    ) -> Result<u32> {
        let (mut left, round) = (u32::MAX, canvas.positions() as u32);
        for steps in steps.chunk_by(|step, next| step / round == next / round) {
            self.set_lots(canvas, steps[0])?;
            for &step in steps {
                self.go_back(canvas, step)?;
                self.step.run(canvas, &[self.args(step)])?;
                self.read(canvas, &[step], true)?;
                let remaining = canvas.remaining()?;
                left = remaining.iter().sum();
                let (tokens, masked, confidence) = (canvas.tokens()?, canvas.masked()?, canvas.confidence()?);
                show(&self.frame(canvas, step + 1, &tokens, &masked, &confidence));
                if left == 0 && self.keep() {
                    return Ok(0);
                }
                if self.keep() && heard(canvas, &remaining)? {
                    return Ok(0);
                }
            }
        }
        Ok(left)
    }
}
