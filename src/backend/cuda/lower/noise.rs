//! Windows and noise.

use super::super::call::{CorruptConfig, Launch, Ptr, call};
use super::{Lowering, blocks, size};
use crate::config::Schedule;
use crate::program::{Corrupt, Corruption, CountMasked, Crop, Level, Noise, NormalNoise, Streams, Weighting, Windows};

/// Threads of a block.
const THREADS: usize = 256;

impl Lowering<'_> {
    pub(super) fn crop(&mut self, op: &Crop) -> Launch {
        let (windows, x0) = (&op.windows, op.x0);
        let (corpus, wide) = self.corpus.expect("looked at before a program is lowered");
        let (range, windows) = match windows {
            Windows::Random(range) => (range, 0),
            Windows::Spaced { range, windows } => (range, *windows),
        };
        let (args, to, shape) = (self.args(), self.ids_mut(x0), (size(x0.rows), size(x0.cols)));
        let call = if wide {
            call::crop_u16(args, Ptr::at(corpus), to, range.start, range.end, windows, shape.0, shape.1)
        } else {
            call::crop_u8(args, Ptr::at(corpus), to, range.start, range.end, windows, shape.0, shape.1)
        };
        call.over([blocks(x0.len(), THREADS), 1, 1])
    }

    pub(super) fn count_masked(&mut self, op: &CountMasked) -> Launch {
        let CountMasked { positions, context, sequences, timesteps, inv_count } = *op;
        call::count_masked(self.args(), self.float_mut(inv_count), positions, context, sequences, timesteps)
            .over([1, 1, 1])
    }

    pub(super) fn corrupt(&mut self, op: &Corrupt) -> Launch {
        let Corrupt { x0, noise, level, quantiles, streams, context, corruption, sequences, timesteps, xt, t, weight } =
            *op;
        let positions = size(x0.cols);
        let (mask_id, symbols) = match corruption {
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
            streams: u32::from(streams == Streams::Eval),
            positions,
            context,
            mask_id,
            symbols,
            timesteps,
            noise_timesteps: 0,
            // As the CPU divides.
            per_token: 1.0 / (f64::from(sequences) * f64::from(positions - context)) as f32,
            mean_rate: 0.0,
        };
        let mut counted = Ptr::NULL;
        match noise {
            Noise::Timesteps { timesteps, inv_count } => {
                config.noise_timesteps = timesteps;
                counted = self.float(inv_count);
            }
            Noise::Continuous { schedule, weighting } => {
                config.noise = 1;
                config.schedule = match schedule {
                    Schedule::Linear => 0,
                    Schedule::LogLinear => 1,
                    Schedule::Cosine => 2,
                    Schedule::Quadratic => 3,
                };
                if let Weighting::Simple { mean_rate } = weighting {
                    (config.weighting, config.mean_rate) = (1, mean_rate);
                }
            }
            Noise::ExactCount => config.noise = 2,
        }
        match level {
            Level::Independent => {}
            Level::Stratified { of } => (config.level, config.level_of) = (1, of),
            Level::Spread { windows, passes } => {
                (config.level, config.level_of, config.level_passes) = (2, windows, passes);
            }
        }
        let quantiles = quantiles.map_or(Ptr::NULL, |mat| self.ids(mat));
        let (xt_, t_, weight_) = (self.ids_mut(xt), self.ids_mut(t), self.float_mut(weight));
        let call = call::corrupt(self.args(), self.ids(x0), counted, quantiles, xt_, t_, weight_, config);
        call.over([size(x0.rows), 1, 1])
    }

    pub(super) fn normal_noise(&mut self, op: &NormalNoise) -> Launch {
        let NormalNoise { positions, out } = *op;
        let sequences = out.rows / positions as usize;
        let quads = (positions as usize * out.cols).div_ceil(4);
        let call = call::normal_noise(self.args(), self.float_mut(out), positions, size(out.cols), size(sequences));
        call.over([size(sequences) * blocks(quads, THREADS), 1, 1])
    }
}
