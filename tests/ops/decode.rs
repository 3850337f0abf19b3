//! What an autoregressive model reads, and how its texts grow.

use crate::harness::{Harness, Want};
use crate::number::{BF16, F32, Num, Table, exact, sum};
use tempest::program::{
    AppendToken, BROKEN, CachedAttention, Counted, DType, FillCache, LastToken, OpenRow, Shift, StepArgs, sumsq_slots,
};

const START: u32 = 999;

#[test]
fn shift_puts_before_each_token_the_one_that_precedes_it() {
    for (rows, positions) in [(1, 1), (7, 5), (3, 33)] {
        let mut b = Harness::default();
        let (x0, ids) = b.some_ids(rows, positions, 65);
        let (xt, weight) = (b.output(DType::U32, rows, positions), b.output(DType::F32, rows * positions, 1));
        let before = |i: usize| if i.is_multiple_of(positions) { START } else { ids[i - 1] };
        let mean = (1.0 / (9.0 * positions as f64)) as f32;
        let op = Shift { x0, start: START, counted: Counted::Mean { sequences: 9 }, xt, weight: Some(weight) };
        let wants = [
            Want::Ids(xt, (0..rows * positions).map(before).collect()),
            Want::Bits(weight, vec![mean; rows * positions]),
        ];
        b.check(&format!("{rows} of {positions}"), op, &wants);
    }
}

/// Windows as `Crop` cuts them: together they count every token of the range, and none twice.
#[test]
fn windows_that_cover_a_text_count_every_token_once() {
    for (range, positions, windows) in
        [(10..43, 7, 5), (10..43, 7, 27), (0..7, 7, 1), (0..7, 7, 3), (5..105, 33, 4), (5..105, 33, 50), (0..40, 1, 40)]
    {
        let mut counts = vec![0; 200];
        for first in (0..windows).step_by(3) {
            let rows = (windows - first).min(3) as usize;
            let mut b = Harness::default();
            b.args = StepArgs { sequence: first, ..StepArgs::default() };
            let (x0, _) = b.some_ids(rows, positions, 65);
            let (xt, weight) = (b.output(DType::U32, rows, positions), b.output(DType::F32, rows * positions, 1));
            let counted = Counted::Once { range: range.clone(), windows };
            let op = Shift { x0, start: START, counted, xt, weight: Some(weight) };
            let weights = b.run(&[op.into()], &[weight]).remove(0);
            for (row, weights) in weights.chunks_exact(positions).enumerate() {
                let i = u64::from(first) + row as u64;
                let room = range.end - range.start - positions as u64;
                let start = range.start + i * room / u64::from(windows - 1).max(1);
                for (p, weight) in weights.iter().enumerate() {
                    assert!([0.0, 1.0].contains(weight));
                    counts[start as usize + p] += *weight as u32;
                }
            }
        }
        let once = |at: usize| u32::from(range.contains(&(at as u64)));
        assert!((0..200).all(|at| counts[at] == once(at)), "{range:?} in {windows} of {positions}: {counts:?}");
    }
}

#[test]
fn open_row_takes_the_row_that_predicts_the_next_token() {
    let (positions, cols) = (5, 130);
    for dtype in [DType::F32, DType::Bf16] {
        let mut b = Harness::default();
        // The first open position, or the last where none is, or the text is broken.
        let remaining = [5, 1, 0, 3, BROKEN];
        let rows = [0, 5 + 4, 10 + 4, 15 + 2, 20 + 4];
        let slots = sumsq_slots(cols);
        let (x, values) = b.normal(dtype, remaining.len() * positions, cols, 1.0);
        let (sumsq, sums) = b.normal(DType::F32, remaining.len() * positions, slots, 1.0);
        let left = b.ids(remaining.len(), 1, &remaining);
        let (out, out_sumsq) = (b.output(dtype, remaining.len(), cols), b.output(DType::F32, remaining.len(), slots));
        let taken = |table: &Table| rows.iter().flat_map(|&row| table.row(row)).collect();
        let wants = [Want::Numbers(out, taken(&values)), Want::Numbers(out_sumsq, taken(&sums))];
        b.check(&format!("{dtype:?}"), OpenRow { x, sumsq: Some([sumsq, out_sumsq]), remaining: left, out }, &wants);
        let mut b = Harness::default();
        let (x, values) = b.normal(dtype, remaining.len() * positions, cols, 1.0);
        let (left, out) = (b.ids(remaining.len(), 1, &remaining), b.output(dtype, remaining.len(), cols));
        let wants = [Want::Numbers(out, taken(&values))];
        b.check(&format!("{dtype:?}, without sums"), OpenRow { x, sumsq: None, remaining: left, out }, &wants);
    }
}

#[test]
fn last_token_is_the_one_before_the_next() {
    let mut b = Harness::default();
    let x = b.ids(5, 3, &[7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21]);
    let remaining = b.ids(5, 1, &[3, 2, 1, 0, BROKEN]);
    let ids = b.output(DType::U32, 5, 1);
    let wants = [Want::Ids(ids, vec![START, 10, 14, START, START])];
    b.check("five texts", LastToken { x, remaining, start: START, ids }, &wants);
}

/// What a cache of so many rows holds after rows of it were written: the others stay.
fn written(before: &Table, rows: impl IntoIterator<Item = (usize, Vec<Num>)>) -> Vec<Num> {
    let mut after = before.data.clone();
    for (row, values) in rows {
        after[row * before.cols..][..before.cols].copy_from_slice(&values);
    }
    after
}

#[test]
fn fill_cache_keeps_the_keys_and_values_of_the_first_positions() {
    for (texts, filled, positions, c) in [(1, 1, 1, 2), (3, 2, 5, 6), (2, 5, 5, 34)] {
        for dtype in [DType::F32, DType::Bf16] {
            let mut b = Harness::default();
            let (qkv, rows) = b.normal(dtype, texts * filled, 3 * c, 1.0);
            let (cache, before) = b.normal(dtype, texts * positions, 2 * c, 1.0);
            let kept = |row: usize| (row / filled * positions + row % filled, rows.row(row).skip(c).collect());
            let wants = [Want::Numbers(cache, written(&before, (0..texts * filled).map(kept)))];
            let op = FillCache { qkv, positions: positions as u32, cache };
            b.check(&format!("{filled} of {positions}, {dtype:?}"), op, &wants);
        }
    }
}

/// One head's columns turned to a position (Su et al., RoFormer, 2021), in halves.
fn turned(head: &[Num], position: usize) -> Vec<Num> {
    let half = head.len() / 2;
    let angle = |i: usize| position as f64 / 10_000_f64.powf(i as f64 / half as f64);
    // The table is rounded once.
    let table = |x: f64| exact(1.0) * exact(x);
    let pair = |i: usize| (head[i], head[half + i], table(angle(i).cos()), table(angle(i).sin()));
    let first = (0..half).map(pair).map(|(x, y, cos, sin)| x * cos + y * sin);
    let second = (0..half).map(pair).map(|(x, y, cos, sin)| y * cos - x * sin);
    first.chain(second).collect()
}

#[test]
fn cached_attention_sees_what_is_kept_and_itself() {
    // One position, as many as there are, and some.
    let cases = [(1, 2, 1, 1), (3, 6, 5, 1), (2, 32, 33, 1), (1, 130, 9, 9), (2, 6, 12, 3)];
    for (i, (heads, d, positions, next)) in cases.into_iter().enumerate() {
        for dtype in [DType::F32, DType::Bf16] {
            let rotated = i % 2 == 0;
            let turned = |head: &[Num], position| if rotated { turned(head, position) } else { head.to_vec() };
            let mut b = Harness::default();
            let (c, t, least) = (heads * d, positions as u32, next as u32);
            let remaining = [t, least, least - 1, t.div_ceil(2).max(least), BROKEN];
            let texts = remaining.len();
            let (qkv, rows) = b.normal(dtype, texts * next, 3 * c, 1.0);
            let (cache, before) = b.normal(dtype, texts * positions, 2 * c, 1.0);
            let left = b.ids(texts, 1, &remaining);
            let o = b.output(dtype, texts * next, c);
            let (mut after, mut out) = (before.data.clone(), vec![exact(0.0); texts * next * c]);
            for text in (0..texts).filter(|&text| (least..=t).contains(&remaining[text])) {
                let first = (t - remaining[text]) as usize;
                for head in 0..heads {
                    let at = |row: usize, part: usize| (text * positions + row) * 2 * c + part * c + head * d;
                    let part = |row: usize, part: usize| -> Vec<Num> {
                        rows.row(text * next + row).skip(part * c + head * d).take(d).collect()
                    };
                    for row in 0..next {
                        after[at(first + row, 0)..][..d].copy_from_slice(&turned(&part(row, 1), first));
                        after[at(first + row, 1)..][..d].copy_from_slice(&part(row, 2));
                    }
                    for row in 0..next {
                        let q = turned(&part(row, 0), first);
                        let score = |key: usize| {
                            // Those of now are rounded as they are kept.
                            let unit = if key >= first && dtype == DType::Bf16 { BF16 } else { F32 };
                            let key = &after[at(key, 0)..][..d];
                            sum(q.iter().zip(key).map(|(q, k)| *q * k.factor(unit))) / exact((d as f64).sqrt())
                        };
                        let scores: Vec<Num> = (0..first + next).map(score).collect();
                        let (p, _) = crate::head::softmax(&scores, None);
                        for col in 0..d {
                            let terms = p.iter().enumerate().map(|(key, p)| *p * after[at(key, 1) + col]);
                            out[(text * next + row) * c + head * d + col] = sum(terms);
                        }
                    }
                }
            }
            let (positions, heads) = (positions as u32, heads as u32);
            let op = CachedAttention { qkv, remaining: left, positions, heads, rotated, cache, o };
            let wants = [Want::Numbers(o, out), Want::Numbers(cache, after)];
            b.check(&format!("{heads} heads of {d}, {next} of {positions} positions, {dtype:?}"), op, &wants);
        }
    }
}

#[test]
fn append_token_writes_one_token_and_stops_at_what_is_no_number() {
    let mut b = Harness::default();
    b.args = StepArgs { step: 6, ..StepArgs::default() };
    let candidate = b.ids(5, 1, &[10, 11, 12, 13, 14]);
    let (confidence, _) = b.input(DType::F32, 5, 1, &[0.5, 0.0, f32::NAN, f32::NAN, 0.5]);
    // Two left; one left; two left and no number; none left, whatever the confidence; broken before.
    let remaining = b.ids(5, 1, &[2, 1, 2, 0, BROKEN]);
    let x = b.ids(5, 3, &[1, 0, 0, 1, 2, 0, 1, 0, 0, 1, 2, 3, 1, 0, 0]);
    let masked = b.ids(5, 3, &[0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1]);
    let committed_at = b.ids(5, 3, &[9; 15]);
    let op = AppendToken { candidate, confidence, x, masked, committed_at, remaining };
    let wants = [
        Want::Ids(x, vec![1, 10, 0, 1, 2, 11, 1, 0, 0, 1, 2, 3, 1, 0, 0]),
        Want::Ids(masked, vec![0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1]),
        Want::Ids(committed_at, vec![9, 6, 9, 9, 9, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9]),
        Want::Ids(remaining, vec![1, 0, BROKEN, 0, BROKEN]),
    ];
    b.check("five texts", op, &wants);
}
