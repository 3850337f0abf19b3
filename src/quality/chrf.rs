//! chrF2 (Popović 2015): how many n-grams of characters two texts share, n = 1 to 6, recall counting four times as much as
//! precision. White space does not count, as sacrebleu has it unless told otherwise.

use super::ngrams::Counts;

/// The longest n-grams.
const ORDER: usize = 6;

/// β² of the mean of precision and recall.
const RECALL_COUNTS: f64 = 4.0;

/// 0 to 100, of texts and what they should be, pair by pair: n-grams are counted over all of them. Means are over the n of which
/// both sides have n-grams; 0 where there are none.
pub fn score<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> f64 {
    let mut of_order = [[0, 0, 0]; ORDER];
    for (text, reference) in pairs {
        for (n, [found, wanted, matches]) in (1..).zip(&mut of_order) {
            let [text, reference] = [text, reference].map(|text| counts(text, n));
            *found += if reference.all() > 0 { text.all() } else { 0 };
            *wanted += reference.all();
            *matches += text.iter().map(|(gram, count)| count.min(reference.count(gram))).sum::<u64>();
        }
    }
    let counted: Vec<[f64; 3]> = of_order
        .into_iter()
        .filter(|[found, wanted, _]| *found > 0 && *wanted > 0)
        .map(|n| n.map(|x| x as f64))
        .collect();
    let mean = |share: fn(&[f64; 3]) -> f64| counted.iter().map(share).sum::<f64>() / counted.len().max(1) as f64;
    let (precision, recall) =
        (mean(|[found, _, matches]| matches / found), mean(|[_, wanted, matches]| matches / wanted));
    if precision + recall == 0.0 {
        return 0.0;
    }
    100.0 * (1.0 + RECALL_COUNTS) * precision * recall / (RECALL_COUNTS * precision + recall)
}

fn counts(text: &str, n: usize) -> Counts<char> {
    Counts::of([text.split_whitespace().flat_map(str::chars).collect()], n)
}
