//! Windows, noise and embeddings.

use super::super::call::{CorruptConfig, Launch, Ptr, PtrMut, call};
use super::{Lowering, blocks, size};
use crate::config::Schedule;
use crate::program::{Accumulate, Corruption, Crop, Level, Mat, Noise, Op, Streams, Weighting};

/// Threads of a block.
const THREADS: usize = 256;

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

/// Rows that a block of the embedding's backward orders by symbol.
const CHUNK: usize = 64;

/// Columns of a block of its reduction.
const REDUCE_COLS: usize = 128;

impl Lowering<'_> {
    pub(super) fn noise(&mut self, op: &Op) -> Vec<Launch> {
        match op {
            Op::Crop { crop, x0 } => vec![self.crop(crop, *x0)],
            Op::CountMasked { positions, context, sequences, timesteps, inv_count } => vec![
                call::count_masked(
                    self.args(),
                    self.float_mut(*inv_count),
                    *positions,
                    *context,
                    *sequences,
                    *timesteps,
                )
                .over([1, 1, 1]),
            ],
            Op::Corrupt { x0, noise, level, streams, context, corruption, sequences, timesteps, xt, t, weight } => {
                let positions = size(x0.cols);
                let (mask_id, symbols) = match *corruption {
                    Corruption::Mask(mask) => (mask, 0),
                    Corruption::Uniform(symbols) => (0, symbols),
                };
                let mut config = CorruptConfig {
                    noise: 0,
                    schedule: 0,
                    weighting: 0,
                    level: 0,
                    level_of: 0,
                    level_passes: 0,
                    streams: u32::from(*streams == Streams::Eval),
                    positions,
                    context: *context,
                    mask_id,
                    symbols,
                    timesteps: *timesteps,
                    noise_timesteps: 0,
                    // As the CPU divides.
                    per_token: 1.0 / (f64::from(*sequences) * f64::from(positions - context)) as f32,
                    mean_rate: 0.0,
                };
                let mut counted = Ptr::NULL;
                match noise {
                    Noise::Timesteps { timesteps, inv_count } => {
                        config.noise_timesteps = *timesteps;
                        counted = self.float(*inv_count);
                    }
                    Noise::Continuous { schedule, weighting } => {
                        config.noise = 1;
                        config.schedule = match schedule {
                            Schedule::Linear => 0,
                            Schedule::LogLinear => 1,
                            Schedule::Cosine => 2,
                            Schedule::Quadratic => 3,
                        };
                        config.weighting = u32::from(*weighting == Weighting::Simple);
                        config.mean_rate = schedule.mean_mask_rate();
                    }
                    Noise::ExactCount => config.noise = 2,
                }
                match *level {
                    Level::Independent => {}
                    Level::Stratified { of } => (config.level, config.level_of) = (1, of),
                    Level::Spread { windows, passes } => {
                        (config.level, config.level_of, config.level_passes) = (2, windows, passes);
                    }
                }
                let (xt_, t_, weight_) = (self.ids_mut(*xt), self.ids_mut(*t), self.float_mut(*weight));
                let call = call::corrupt(self.args(), self.ids(*x0), counted, xt_, t_, weight_, config);
                vec![call.over([size(x0.rows), 1, 1])]
            }
            Op::NormalNoise { positions, out } => {
                let sequences = out.rows / *positions as usize;
                let quads = (*positions as usize * out.cols).div_ceil(4);
                let call =
                    call::normal_noise(self.args(), self.float_mut(*out), *positions, size(out.cols), size(sequences));
                vec![call.over([size(sequences) * blocks(quads, THREADS), 1, 1])]
            }
            _ => unreachable!("{} is no noise", op.name()),
        }
    }

    fn crop(&self, crop: &Crop, x0: Mat) -> Launch {
        let (corpus, wide) = self.corpus.expect("looked at before a program is lowered");
        let (range, windows) = match crop {
            Crop::Random(range) => (range, 0),
            Crop::Spaced { range, windows } => (range, *windows),
        };
        let (args, to, shape) = (self.args(), self.ids_mut(x0), (size(x0.rows), size(x0.cols)));
        let call = if wide {
            call::crop_u16(args, Ptr::at(corpus), to, range.start, range.end, windows, shape.0, shape.1)
        } else {
            call::crop_u8(args, Ptr::at(corpus), to, range.start, range.end, windows, shape.0, shape.1)
        };
        call.over([blocks(x0.len(), THREADS), 1, 1])
    }

    pub(super) fn embedding(&mut self, op: &Op) -> Vec<Launch> {
        match *op {
            Op::Embed { ids, time, token, x, sumsq, rstd } => {
                let call = call::embed(
                    self.ids(ids),
                    time.map_or(Ptr::NULL, |(t, _)| self.ids(t)),
                    time.map_or(Ptr::NULL, |(_, table)| self.store(table)),
                    self.store(token),
                    self.store_mut(x),
                    self.float_mut(sumsq),
                    self.float_mut(rstd),
                    size(x.rows),
                    size(ids.cols),
                    size(x.cols),
                );
                vec![call.over([blocks(x.rows, WARPS), 1, 1])]
            }
            Op::EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } => {
                let (symbols, cols, chunks) = (dtoken.rows, dtoken.cols, ids.cols.div_ceil(CHUNK));
                let all = ids.rows * chunks;
                let rows = all * CHUNK.min(symbols) * cols;
                let partials = self.partials(0, rows);
                let totals = if time.is_some() { self.partials(rows, all * cols) } else { PtrMut::NULL };
                let slots = PtrMut::at(self.partials(rows + all * cols, all * symbols).address());
                let sums = call::embed_backward(
                    self.ids(ids),
                    self.store(dx),
                    self.store(x),
                    self.float(rstd),
                    partials,
                    totals,
                    slots,
                    size(ids.cols),
                    size(cols),
                    size(symbols),
                );
                let reduce = call::embed_backward_reduce(
                    time.map_or(Ptr::NULL, |(t, _)| self.ids(t)),
                    Ptr::at(partials.address()),
                    Ptr::at(totals.address()),
                    Ptr::at(slots.address()),
                    self.float_mut(dtoken),
                    time.map_or(PtrMut::NULL, |(_, dtime)| self.float_mut(dtime)),
                    size(ids.rows),
                    size(chunks),
                    size(cols),
                    size(symbols),
                    u32::from(accumulate == Accumulate::Add),
                );
                let tables = symbols + time.map_or(0, |(_, dtime)| dtime.rows);
                vec![sums.over([size(all), 1, 1]), reduce.over([size(tables), blocks(cols, REDUCE_COLS), 1])]
            }
            _ => unreachable!("{} is no embedding", op.name()),
        }
    }
}
