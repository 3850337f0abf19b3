//! The optimizer over all parameters, written as ops.

use super::{Memory, Params, TrainingMemory, Transformer};
use crate::config::OptimizerConfig;
use crate::program::{
    AdamW, AdamWStep, Builder, GradNorm, Gram, LossScale, Mat, MuonMomentum, MuonStep, NEWTON_SCHULZ, NewtonSchulz,
    Stack, WeightAverage,
};

impl Transformer {
    /// Appends the optimizer step over all parameters of a model by itself.
    pub fn update(&self, b: &mut Builder<'_>, metrics: Mat, optimizer: &OptimizerConfig) {
        self.memory.update(b, &self.params, metrics, optimizer);
    }
}

const _: () = assert!(NEWTON_SCHULZ.len() > 1, "the first polynomial divides X by its length, the last one steps");

impl Memory {
    /// Appends the optimizer step over the parameters of all modules.
    pub fn update(&self, b: &mut Builder<'_>, params: &Params, metrics: Mat, optimizer: &OptimizerConfig) {
        let training = self.training.as_ref().expect("the model was laid out for training");
        let learned = params.learned();
        let grads = Mat { offset: training.grads.offset + learned.start, cols: learned.len(), ..training.grads };
        b.push(GradNorm { grads, scale: training.scale, metrics });
        self.adamw(b, params, training, metrics, optimizer);
        self.muon(b, params, training, metrics, optimizer);
        for (&average, &decay) in training.averages.iter().zip(optimizer.ema.decays()) {
            b.push(WeightAverage { metrics, params: self.weights, decay, average });
        }
        if let Some(scale) = training.scale {
            b.push(LossScale { metrics, scale });
        }
    }

    fn adamw(
        &self,
        b: &mut Builder<'_>,
        params: &Params,
        training: &TrainingMemory,
        metrics: Mat,
        o: &OptimizerConfig,
    ) {
        let mut done = 0;
        for (run, decays) in params.of_adamw(o.kind()) {
            let weight_decay = if decays { o.weight_decay } else { 0.0 };
            let adamw = AdamW { beta1: o.beta1, beta2: o.beta2, eps: o.eps, weight_decay, clip: clip(o) };
            let part = |all: Mat| Mat { offset: all.offset + run.start, cols: run.len(), ..all };
            b.push(AdamWStep {
                grads: part(training.grads),
                metrics,
                scale: training.scale,
                adamw,
                params: part(self.weights),
                m: part(training.m),
                v: Mat { offset: training.v.offset + done, cols: run.len(), ..training.v },
                stored: self.copy().map(part),
            });
            done += run.len();
        }
    }

    fn muon(&self, b: &mut Builder<'_>, params: &Params, training: &TrainingMemory, metrics: Mat, o: &OptimizerConfig) {
        let Some(muon) = &o.muon else { return };
        let (stacks, places) = params.matrices(o.kind());
        let places = b.constant(self.kept_ids, places);
        let mut row = |region, of: fn(Stack) -> usize| {
            let len = stacks.iter().map(|&stack| stack.matrices * of(stack)).sum();
            b.alloc(region, 1, len)
        };
        let [gram, square] = [(); 2].map(|()| row(self.acts, |stack| stack.squares().len()));
        let [mut x, mut next] = [(); 2].map(|()| row(self.acts, Stack::len));
        let sumsq = row(self.stats, Stack::chunks);
        let squares: Vec<Stack> = stacks.iter().map(|stack| stack.squares()).collect();
        let (grads, scale, m, clip) = (training.grads, training.scale, training.m, clip(o));
        b.push(MuonMomentum { grads, metrics, scale, places, stacks: stacks.clone(), clip, m, x, sumsq });
        let multiplied = |b: &mut Builder<'_>, x, sumsq, terms| {
            b.push(Gram { x, sumsq, stacks: stacks.clone(), terms: None, out: gram });
            b.push(Gram { x: gram, sumsq: None, stacks: squares.clone(), terms: Some(terms), out: square });
        };
        // Whoever reads x first divides it by its length.
        let mut sumsq = Some(sumsq);
        let [polynomials @ .., [a, terms @ ..]] = NEWTON_SCHULZ;
        for [a, terms @ ..] in polynomials {
            multiplied(b, x, sumsq, terms);
            b.push(NewtonSchulz { x, sumsq, b: square, stacks: stacks.clone(), a, out: next });
            (x, next, sumsq) = (next, x, None);
        }
        multiplied(b, x, sumsq, terms);
        b.push(MuonStep {
            metrics,
            x,
            b: square,
            places,
            stacks,
            a,
            rate: muon.lr / o.lr,
            weight_decay: o.weight_decay,
            params: self.weights,
            stored: self.copy(),
        });
    }

    /// The parameters as the matmuls read them, where that is another dtype.
    fn copy(&self) -> Option<Mat> {
        (self.stored != self.weights).then_some(self.stored)
    }
}

/// The norm that gradients are scaled down to.
fn clip(o: &OptimizerConfig) -> f32 {
    if o.clip > 0.0 { o.clip } else { f32::INFINITY }
}
