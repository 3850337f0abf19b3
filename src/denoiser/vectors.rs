//! What is asked of a model of vectors.

use super::{Canvas, Denoiser, EvalPass, Key};
use crate::error::Result;
use crate::process::{SampleState, VectorState};
use crate::program::{Mat, StepArgs, VectorStep, Windows};
use crate::rng::{Stream, normals, philox};

impl Denoiser {
    /// Runs pass number `pass` over windows `first ..` of the bound corpus, one for each level. Per window, the sum of its vectors'
    /// squared errors, as the levels say that they count; what it costs to read its tokens off; and how many of them are read off
    /// wrong, where the process counts those.
    pub fn errors(
        &mut self,
        seed: u64,
        eval: &EvalPass,
        pass: u32,
        first: u32,
        levels: &[VectorStep],
    ) -> Result<Vec<[f32; 3]>> {
        let rows = levels.len();
        let (sums, steps) = (self.sums.row_block(0, 3 * rows), levels_of(self.state, rows));
        let crop = Windows::Spaced { range: eval.range.clone(), windows: eval.windows };
        let program = self.program(Key::Vectors { rows, pass: eval.clone() }, "evaluate", |process, b| {
            process.vectors().evaluate(b, crop, steps, thirds(sums));
        });
        self.backend.write_f32(steps, bytemuck::cast_slice(levels))?;
        let args = StepArgs { seed, step: u64::from(pass), sequence: first, ..StepArgs::default() };
        let misreads = self.process.vectors().misreads();
        let sums = self.sums(&program, sums.row_block(0, if misreads { 3 } else { 2 } * rows), &args)?;
        let sum = |part: usize, window: usize| sums.get(part * rows + window).map_or(0.0, |[sum, _]| *sum);
        Ok((0..rows).map(|window| [0, 1, 2].map(|part| sum(part, window))).collect())
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
        let VectorState { z: to, denoised, .. } = self.state.vectors.expect("the process has vectors");
        let (d, per_text) = (to.cols, to.len() / self.rows());
        let known = self.known_vectors()?;
        let mut z = Vec::with_capacity(to.len());
        for b in 0..self.rows() {
            let sequence = u64::from(args.sequence) + b as u64;
            let fours = (0..per_text.div_ceil(4)).flat_map(|i| {
                let words = philox(args.seed, Stream::Start, sequence, i as u32);
                normals(words)
            });
            z.extend(fours.take(per_text));
        }
        for ((i, z), vector) in z.chunks_exact_mut(d).enumerate().zip(known) {
            let step = first[i * d / per_text];
            z.iter_mut().zip(vector.unwrap_or_default()).for_each(|(z, x)| *z = step.alpha * x + step.sigma * *z);
        }
        self.denoiser.backend.write_f32(to, &z)?;
        self.denoiser.backend.write_f32(denoised, &vec![0.0; denoised.len()])
    }

    /// Gives the vectors of every text noise again before a step that repeats one, `a·z + b·ε` of its text's `[a, b]`; of `args`,
    /// `seed`, `step` and `sequence` count.
    pub fn noise_vectors_again(&mut self, args: &StepArgs, factors: &[[f32; 2]]) -> Result<()> {
        let to = self.state.vectors.expect("the process has vectors").z;
        let (mut z, per_text) = (self.denoiser.backend.read_f32(to)?, to.len() / self.rows());
        for ((b, z), [kept, added]) in z.chunks_exact_mut(per_text).enumerate().zip(factors) {
            let step = args.step << 32 | (u64::from(args.sequence) + b as u64);
            let noise = (0..).flat_map(|i| normals(philox(args.seed, Stream::Again, step, i)));
            z.iter_mut().zip(noise).for_each(|(z, normal)| *z = kept * *z + added * normal);
        }
        self.denoiser.backend.write_f32(to, &z)
    }

    /// The vectors all of whose tokens are known, in order.
    fn known_vectors(&mut self) -> Result<Vec<Option<Vec<f32>>>> {
        let (state, [rows, positions]) = (self.state, self.state.x.shape());
        let vectors = state.vectors.expect("the process has vectors").z;
        let masked = self.denoiser.backend.read_u32(state.masked)?;
        let known: Vec<bool> =
            masked.chunks_exact(masked.len() / vectors.rows).map(|tokens| tokens.iter().all(|&m| m == 0)).collect();
        if !known.contains(&true) {
            return Ok(vec![None; vectors.rows]);
        }
        let (table, ids) = match state.vectors.and_then(|vectors| vectors.known) {
            Some(made) => {
                let key = Key::BeginVectors { rows, positions };
                let program = self.denoiser.program(key, "known tokens", |process, b| {
                    process.vectors().begin(b, state);
                });
                self.denoiser.backend.run(&program, &StepArgs::default())?;
                (self.denoiser.backend.read_f32(made)?, (0..vectors.rows as u32).collect())
            }
            None => (self.denoiser.units()?, self.denoiser.backend.read_u32(state.truth)?),
        };
        let vector = |id: u32| table[id as usize * vectors.cols..][..vectors.cols].to_vec();
        Ok(known.into_iter().zip(ids).map(|(known, id)| known.then(|| vector(id))).collect())
    }

    /// Makes one step of Gaussian noise's reversal for each of `steps`, without waiting, as [`Canvas::set_steps`] says.
    pub fn renoise_vectors(&mut self, steps: &[StepArgs]) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::RenoiseVectors { rows, positions }, "reverse step", |process, b| {
            process.vectors().reverse_step(b, state);
        });
        self.denoiser.backend.run_each(&program, steps)
    }

    /// Reads tokens off the vectors behind a step that has been made, where steps do not: the likeliest, and of texts that ended with it
    /// those that they have.
    pub fn read_vectors(&mut self, step: &StepArgs) -> Result<()> {
        let state = self.state;
        let [rows, positions] = state.x.shape();
        let program = self.denoiser.program(Key::ReadVectors { rows, positions }, "read tokens", |process, b| {
            process.vectors().read(b, state);
        });
        if program.ops.is_empty() { Ok(()) } else { self.denoiser.backend.run(&program, step) }
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

/// A matrix as three of a third of its rows.
pub(super) fn thirds(mat: Mat) -> [Mat; 3] {
    let rows = mat.rows / 3;
    [0, 1, 2].map(|i| mat.row_block(i * rows, rows))
}
