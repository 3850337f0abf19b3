//! Texts from left to right.

use super::{Context, computed};
use crate::program::{AppendToken, BROKEN, Counted, OpenRow, Shift};
use crate::raw::cpu::element::Element;

computed! {
    shift(Shift);
    open_row(OpenRow) by x;
    append_token(AppendToken);
}

fn shift(Context { o, args, .. }: &mut Context<'_>, op: &Shift) {
    let Shift { x0, start, ref counted, xt, weight } = *op;
    let positions = x0.cols;
    for (x0, xt) in o.get::<u32>(x0).chunks_exact(positions).zip(o.take::<u32>(xt).chunks_exact_mut(positions)) {
        xt[0] = start;
        xt[1..].copy_from_slice(&x0[..positions - 1]);
    }
    let Some(weight) = weight else { return };
    for (b, weight) in o.take::<f32>(weight).chunks_exact_mut(positions).enumerate() {
        match counted {
            Counted::Mean { sequences } => weight.fill((1.0 / (f64::from(*sequences) * positions as f64)) as f32),
            Counted::Once { range, windows } => {
                let (i, gaps) = (u64::from((args.sequence + b as u32).min(windows - 1)), u64::from(windows - 1));
                let start = |i: u64| i * (range.end - range.start - positions as u64) / gaps.max(1);
                let new = if i == 0 { positions } else { (start(i) - start(i - 1)).min(positions as u64) as usize };
                weight[..positions - new].fill(0.0);
                weight[positions - new..].fill(1.0);
            }
        }
    }
}

fn open_row<A: Element>(Context { o, .. }: &mut Context<'_>, op: &OpenRow) {
    let OpenRow { x, sumsq, remaining, out, out_sumsq } = *op;
    let (positions, c, slots) = (x.rows / remaining.rows, x.cols, sumsq.cols);
    let (x, sumsq) = (o.get::<A>(x), o.get::<f32>(sumsq));
    let outs = o.take::<A>(out).chunks_exact_mut(c).zip(o.take::<f32>(out_sumsq).chunks_exact_mut(slots));
    for (b, (&remaining, (out, out_sumsq))) in o.get::<u32>(remaining).iter().zip(outs).enumerate() {
        let row = b * positions + next(remaining, positions).unwrap_or(positions - 1);
        out.copy_from_slice(&x[row * c..][..c]);
        out_sumsq.copy_from_slice(&sumsq[row * slots..][..slots]);
    }
}

/// Where a text's next token goes; none where nothing is open, or the text is broken.
fn next(remaining: u32, positions: usize) -> Option<usize> {
    let remaining = remaining as usize;
    (1..=positions).contains(&remaining).then(|| positions - remaining)
}

fn append_token(Context { o, args, .. }: &mut Context<'_>, op: &AppendToken) {
    let AppendToken { candidate, confidence, x, masked, committed_at, remaining } = *op;
    let positions = x.cols;
    let (candidate, confidence) = (o.get::<u32>(candidate), o.get::<f32>(confidence));
    let (x, masked, committed_at) = (o.take::<u32>(x), o.take::<u32>(masked), o.take::<u32>(committed_at));
    for (b, remaining) in o.take::<u32>(remaining).iter_mut().enumerate() {
        let Some(position) = next(*remaining, positions) else { continue };
        if confidence[b].is_nan() {
            *remaining = BROKEN;
            continue;
        }
        let at = b * positions + position;
        (x[at], masked[at], committed_at[at]) = (candidate[b], 0, args.step as u32);
        *remaining -= 1;
    }
}
