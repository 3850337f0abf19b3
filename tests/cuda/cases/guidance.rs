//! Guidance of masked diffusion: texts without what is given, and guided logits, on shapes that blocks of threads do not fit.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{GIVEN, Guide, SamplingParams, Unprompt};

pub(crate) fn cases(watch: &mut Watch) {
    for (texts, positions, symbols) in [(1, 1, 2), (3, 7, 67), (7, 33, 9), (2, 130, 129)] {
        let mut b = Harness::new(watch.dtype());
        let n = texts * positions;
        for context in [0, positions as u32 / 2] {
            let x = b.some_ids(texts, positions, 65);
            // Unknown, given, written in the first step, unknown again.
            let of = |i: usize| [(1, GIVEN), (0, GIVEN), (0, 0), (3, 4)][(i + i / positions) % 4];
            let (masked, committed_at) = (0..n).map(of).unzip();
            let [masked, committed_at] = [masked, committed_at].map(|ids| b.ids(texts, positions, ids));
            let [x_both, open] = [(); 2].map(|()| b.ids_out(2 * texts, positions));
            b.push(Unprompt { x, masked, committed_at, mask_id: 66, context, x_both, open });
        }
        let way =
            |text: usize| SamplingParams { guidance: [1.5, 0.0, 100.0][text % 3], ..SamplingParams::MOST_PROBABLE };
        let params = bytemuck::cast_slice(&(0..texts).map(way).collect::<Vec<_>>()).to_vec();
        let params = b.float(texts, SamplingParams::COLS, params);
        let mut numbers = b.normals(n * symbols, 2.0);
        (numbers[0], numbers[1]) = (f32::NAN, f32::INFINITY);
        let (logits, unprompted) = (b.normal(n, symbols, 2.0), b.float(n, symbols, numbers));
        b.push(Guide { unprompted, params, logits });
        b.run(watch, &format!("guidance of {texts} texts of {positions} and {symbols} symbols"));
    }
}
