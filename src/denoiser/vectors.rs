//! What is asked of a model of vectors.

use super::{Canvas, Denoiser, EvalPass, Key};
use crate::error::Result;
use crate::process::{SampleState, VectorState};
use crate::program::{Mat, StepArgs, VectorStep, Windows};
use crate::rng::{Stream, normals, philox};

impl Denoiser {
    /// Runs pass number `pass` over windows `first ..` of the bound corpus, one for each level. Per window, the sum of its tokens'
    /// squared errors, as the levels say that they count, and what it costs to read them off.
    pub fn errors(
        &mut self,
        seed: u64,
        eval: &EvalPass,
        pass: u32,
        first: u32,
        levels: &[VectorStep],
    ) -> Result<Vec<[f32; 2]>> {
        let rows = levels.len();
        let (sums, steps) = (self.sums.row_block(0, 2 * rows), levels_of(self.state, rows));
        let crop = Windows::Spaced { range: eval.range.clone(), windows: eval.windows };
        let program = self.program(Key::Vectors { rows, pass: eval.clone() }, "evaluate", |process, b| {
            process.gaussian().evaluate(b, crop, steps, halves(sums));
        });
        self.backend.write_f32(steps, bytemuck::cast_slice(levels))?;
        let args = StepArgs { seed, step: u64::from(pass), sequence: first, ..StepArgs::default() };
        let sums = self.sums(&program, sums, &args)?;
        let (errors, readings) = sums.split_at(rows);
        Ok(errors.iter().zip(readings).map(|([error, _], [reading, _])| [*error, *reading]).collect())
    }

    /// The tokens' vectors, each of length 1, one behind the other.
    fn units(&mut self) -> Result<Vec<f32>> {
        let model = self.process.model();
        let table = model.vector_table(model.memory.weights);
        let rows = self.backend.read_f32(table)?;
        let unit = |row: &[f32]| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect::<Vec<_>>()
        };
        Ok(rows.chunks_exact(table.cols).flat_map(unit).collect())
    }
}

impl Canvas<'_> {
    /// Replaces all vectors by noise as a text's writing begins with it, those of known tokens by theirs with noise of the first step's
    /// level: of `args`, `seed` and `sequence` count. Nothing was made of them yet.
    pub fn noise_vectors(&mut self, args: &StepArgs, first: &[VectorStep]) -> Result<()> {
        let (state, [rows, positions]) = (self.state, self.state.x.shape());
        let VectorState { z: to, denoised, .. } = state.vectors.expect("the process has vectors");
        let (d, units) = (to.cols, self.denoiser.units()?);
        let [masked, truth] = [state.masked, state.truth].map(|mat| self.denoiser.backend.read_u32(mat));
        let (masked, truth) = (masked?, truth?);
        let mut z = Vec::with_capacity(to.len());
        for b in 0..rows {
            let sequence = u64::from(args.sequence) + b as u64;
            let fours = (0..(positions * d).div_ceil(4)).flat_map(|i| {
                let words = philox(args.seed, Stream::Start, sequence, i as u32);
                normals(words)
            });
            z.extend(fours.take(positions * d));
        }
        for (i, z) in z.chunks_exact_mut(d).enumerate().filter(|(i, _)| masked[*i] == 0) {
            let (step, unit) = (first[i / positions], &units[truth[i] as usize * d..]);
            z.iter_mut().zip(unit).for_each(|(z, x)| *z = step.alpha * x + step.sigma * *z);
        }
        self.denoiser.backend.write_f32(to, &z)?;
        self.denoiser.backend.write_f32(denoised, &vec![0.0; denoised.len()])
    }

    /// Makes one step of Gaussian noise's reversal for each of `steps`, without waiting, as [`Canvas::set_steps`] says.
    pub fn renoise_vectors(&mut self, steps: &[StepArgs]) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::RenoiseVectors { rows, positions }, "reverse step", |process, b| {
            process.gaussian().reverse_step(b, state);
        });
        self.denoiser.backend.run_each(&program, steps)
    }

    /// Sets the levels of every text's steps, and where they lead: `[rows, positions]`, of which number `step mod positions` is that
    /// of a step.
    pub fn set_steps(&mut self, steps: &[VectorStep]) -> Result<()> {
        let vectors = self.state.vectors.expect("the process has vectors");
        self.denoiser.backend.write_f32(vectors.steps, bytemuck::cast_slice(steps))
    }
}

/// The memory of a level for each of so many texts.
pub(super) fn levels_of(state: SampleState, rows: usize) -> Mat {
    let steps = state.vectors.expect("the process has vectors").steps;
    Mat { rows, cols: VectorStep::COLS, ..steps }
}

/// A matrix as two of half of its rows.
pub(super) fn halves(mat: Mat) -> [Mat; 2] {
    let rows = mat.rows / 2;
    [mat.row_block(0, rows), mat.row_block(rows, rows)]
}
