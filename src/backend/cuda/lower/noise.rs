//! Windows and noise.

use super::super::call::{CorruptArgs, CountMaskedArgs, CropArgs, Launch, NormalNoiseArgs, Ptr, call};
use super::{Lowering, args};
use crate::config::Schedule;
use crate::program::{Corrupt, CountMasked, Crop, Level, Noise, NormalNoise, Weighting, Windows};

impl Lowering<'_> {
    pub(super) fn crop(&mut self, op: &Crop) -> Launch {
        let (corpus, wide) = self.corpus.expect("looked at before a program is lowered");
        let (range, windows) = match &op.windows {
            Windows::Random(range) => (range, 0),
            Windows::Spaced { range, windows } => (range, *windows),
        };
        let (x0, corpus, start, end) = (op.x0, Ptr::<u8>::at(corpus), range.start, range.end);
        let (step, [sequences, positions]) = (self.step(), x0.shape());
        let args = args!(self, CropArgs { step, corpus, x0, start, end, windows, sequences, positions });
        let kernel = if wide { call::crop_u16 } else { call::crop_u8 };
        kernel(args).cover_rows(x0.len())
    }

    pub(super) fn count_masked(&mut self, op: &CountMasked) -> Launch {
        let CountMasked { positions, context, sequences, timesteps, inv_count } = *op;
        let step = self.step();
        call::count_masked(args!(self, CountMaskedArgs { step, inv_count, positions, context, sequences, timesteps }))
            .alone()
    }

    pub(super) fn corrupt(&mut self, op: &Corrupt) -> Launch {
        let Corrupt { x0, noise, level, quantiles, streams, context, context_drop, mixing, sequences, .. } = *op;
        let Corrupt { timesteps, blocks, xt, rates, t, weight, .. } = *op;
        let (noise_timesteps, inv_count) = match noise {
            Noise::Timesteps { timesteps, inv_count } => (timesteps, Some(inv_count)),
            Noise::Continuous { .. } | Noise::Given | Noise::ExactCount => (0, None),
        };
        let (schedule, weighting) = match noise {
            Noise::Continuous { schedule, weighting } => (schedule, weighting),
            Noise::Timesteps { .. } | Noise::Given | Noise::ExactCount => (Schedule::Linear, Weighting::Nelbo),
        };
        let (mean_rate, uniform_rate) = match weighting {
            Weighting::Nelbo | Weighting::NelboByRate | Weighting::Even => (0.0, 0.0),
            Weighting::Simple { mean_rate } => (mean_rate, schedule.mean_mask_rate()),
        };
        let (level_of, level_passes) = match level {
            Level::Independent => (0, 0),
            Level::Stratified { of } => (of, 0),
            Level::Spread { windows, passes } => (windows, passes),
        };
        let maskable = x0.cols as u32 - context;
        let args = args!(
            self,
            CorruptArgs {
                step: self.step(),
                x0,
                inv_count,
                quantiles,
                xt,
                t,
                weight,
                rates,
                noise,
                noise_timesteps,
                schedule,
                weighting,
                mean_rate,
                uniform_rate,
                level,
                level_of,
                level_passes,
                blocks,
                streams,
                positions: x0.cols,
                context,
                context_drop,
                mixing,
                timesteps,
                // As the CPU divides.
                per_token: (1.0 / (f64::from(sequences) * f64::from(maskable))) as f32,
            }
        );
        call::corrupt(args).cover_rows(x0.rows)
    }

    pub(super) fn normal_noise(&mut self, op: &NormalNoise) -> Launch {
        let NormalNoise { positions, out } = *op;
        let (sequences, count) = (out.rows / positions as usize, positions as usize * out.cols);
        let args = args!(self, NormalNoiseArgs { step: self.step(), out, count, sequences });
        call::normal_noise(args).cover_each(args.sequences, count)
    }
}
