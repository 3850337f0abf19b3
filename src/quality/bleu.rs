//! BLEU-4 (Papineni et al. 2002): how many n-grams of a text its references have, n = 1 to 4.

use super::ngrams::Counts;

/// What stands for a count of 0 matches where a text is compared with its like, so that one missing 4-gram does not make
/// everything 0 (sacrebleu's smoothing `floor`, 0.1).
pub const FLOOR: f64 = 0.1;

/// 0 to 100, of one text against references. An n-gram matches as often as the reference that has it most does; a text shorter than
/// the reference that is nearest in length (of two, the shorter) loses exp(1 - reference/text). `floor` stands for 0 matches.
/// 0 where the text has no n-gram of 4, or none matches.
pub fn score<T: Ord + Clone>(text: &[T], references: &[&[T]], floor: f64) -> f64 {
    let mut logs = 0.0;
    for n in 1..=4 {
        let found = Counts::of([text.to_vec()], n);
        let references: Vec<Counts<T>> = references.iter().map(|of| Counts::of([of.to_vec()], n)).collect();
        let most = |gram: &[T]| references.iter().map(|of| of.count(gram)).max().unwrap_or(0);
        let matches: u64 = found.iter().map(|(gram, count)| count.min(most(gram))).sum();
        if found.all() == 0 || (n == 1 && matches == 0) {
            return 0.0;
        }
        let matches = if matches == 0 { floor } else { matches as f64 };
        logs += (matches / found.all() as f64).ln() / 4.0;
    }
    let length = text.len();
    let nearest = references.iter().map(|of| of.len()).min_by_key(|&of| (of.abs_diff(length), of)).unwrap_or(0);
    let brevity = if length >= nearest { 1.0 } else { (1.0 - nearest as f64 / length as f64).exp() };
    100.0 * brevity * logs.exp()
}

/// Self-BLEU (Zhu et al., Texygen, 2018): the mean of each text's score against all others; none of a single one.
pub fn of_each_against_the_others<T: Ord + Clone>(texts: &[Vec<T>]) -> Option<f64> {
    let score_of = |i: usize| {
        let others: Vec<&[T]> = texts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, text)| &text[..]).collect();
        score(&texts[i], &others, FLOOR)
    };
    (texts.len() > 1).then(|| (0..texts.len()).map(score_of).sum::<f64>() / texts.len() as f64)
}
