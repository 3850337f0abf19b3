//! Figures of texts against ones that another implementation gives (sacrebleu 2.6.0; the rest by plain loops in double precision).

use serde::Deserialize;
use std::collections::HashMap;
use tempest::quality::chain::Chain;
use tempest::quality::copied::Longest;
use tempest::quality::interpolated::Interpolated;
use tempest::quality::ngrams::{Counts, divergence};
use tempest::quality::{Reference, bleu, cer, chrf};
use tempest::rng::{Stream, philox};

#[derive(Deserialize)]
struct Known {
    pairs: Vec<Pair>,
    corpus_of_the_10: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Pair {
    hypothesis: String,
    reference: String,
    bleu4_words_unsmoothed: f64,
    #[serde(rename = "bleu4_words_floor0.1")]
    bleu4_words_floor: f64,
    chrf2: f64,
    levenshtein: usize,
    cer: f64,
    longest_common_substring: usize,
    #[serde(rename = "js_nats_1..4")]
    js: [Option<f64>; 4],
}

fn known() -> Known {
    serde_json::from_str(include_str!("../data/quality.json")).unwrap()
}

/// Of one number or a list.
fn numbers(value: &serde_json::Value) -> Vec<f64> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The numbers have 12 digits; sums in another order differ by less than 1e-12.
#[track_caller]
fn same(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{what}: {found}, wanted {wanted}");
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn bleu_divergence_and_stretches_of_pairs_are_the_known_ones() {
    for pair in known().pairs {
        let Pair {
            hypothesis, reference, bleu4_words_unsmoothed, bleu4_words_floor, longest_common_substring, js, ..
        } = pair;
        let (text, other) = (words(&hypothesis), words(&reference));
        same(bleu::score(&text, &[&other], 0.0), bleu4_words_unsmoothed, &hypothesis);
        same(bleu::score(&text, &[&other], bleu::FLOOR), bleu4_words_floor, &hypothesis);
        let (text, other) = (characters(&hypothesis), characters(&reference));
        assert_eq!(Longest::of(&text).shared_with(&other), longest_common_substring, "{hypothesis}");
        assert_eq!(Longest::of(&other).shared_with(&text), longest_common_substring, "{hypothesis}");
        for (n, wanted) in (1..).zip(js) {
            let found = divergence(&Counts::of([text.clone()], n), &Counts::of([other.clone()], n));
            match wanted {
                Some(wanted) => same(found, wanted, &hypothesis),
                None => assert!(found.is_nan(), "{hypothesis}: {found}"),
            }
        }
    }
}

#[test]
fn character_error_rates_and_chrf_are_the_known_ones() {
    let known = known();
    for Pair { hypothesis, reference, chrf2, levenshtein, cer, .. } in &known.pairs {
        assert_eq!(cer::edits(hypothesis, reference), *levenshtein, "{hypothesis}");
        same(cer::rate([(&hypothesis[..], &reference[..])]).unwrap(), *cer, hypothesis);
        same(chrf::score([(&hypothesis[..], &reference[..])]), *chrf2, hypothesis);
    }
    let pairs = || known.pairs.iter().map(|pair| (&pair.hypothesis[..], &pair.reference[..]));
    let of = |name: &str| numbers(&known.corpus_of_the_10[name])[0];
    same(cer::rate(pairs()).unwrap(), of("cer_total_edits_over_total_reference"), "error rate of all");
    same(chrf::score(pairs()), of("chrf2"), "chrF2 of all");
    assert_eq!((cer::rate([("", "")]), cer::rate([("abc", "x")])), (None, Some(3.0)));
    assert_eq!((chrf::score([("", "")]), chrf::score([("abc", "")])), (0.0, 0.0));
}

#[test]
fn figures_of_many_texts_are_the_known_ones() {
    let known = known();
    let of = |name: &str| numbers(&known.corpus_of_the_10[name]);
    let texts: Vec<Vec<&str>> = known.pairs.iter().map(|pair| words(&pair.hypothesis)).collect();
    let in_characters: Vec<Vec<char>> = known.pairs.iter().map(|pair| characters(&pair.hypothesis)).collect();
    for (n, wanted) in (1..).zip(of("distinct_n_words_1..3")) {
        same(Counts::of(texts.clone(), n).distinct().unwrap(), wanted, "distinct words");
    }
    for (n, wanted) in (1..).zip(of("distinct_n_characters_1..4")) {
        same(Counts::of(in_characters.clone(), n).distinct().unwrap(), wanted, "distinct characters");
    }
    same(bleu::of_each_against_the_others(&texts).unwrap(), of("self_bleu4_words_floor0.1")[0], "self-BLEU of words");
    let found = bleu::of_each_against_the_others(&in_characters).unwrap();
    same(found, of("self_bleu4_characters_floor0.1")[0], "self-BLEU of characters");
    let joined = |of: fn(&Pair) -> &str| characters(&known.pairs.iter().map(of).collect::<Vec<_>>().join("\n"));
    let (texts, references) = (joined(|pair| &pair.hypothesis), joined(|pair| &pair.reference));
    for (n, wanted) in (1..).zip(of("js_nats_1..4_of_texts_joined_by_newline")) {
        let found = divergence(&Counts::of([texts.clone()], n), &Counts::of([references.clone()], n));
        same(found, wanted, "divergence of all texts");
    }
}

#[test]
fn the_longest_shared_stretch_is_the_one_that_trying_all_finds() {
    for case in 0..200 {
        let draw = |which: u32, most: u32, symbols: u32| -> Vec<u32> {
            let length = philox(7, Stream::Init, case, which << 16)[0] % (most + 1);
            (0..length).map(|i| philox(7, Stream::Init, case, (which << 16) | (i + 1))[0] % symbols).collect()
        };
        let symbols = 1 + case as u32 % 4;
        let (text, other) = (draw(1, 40, symbols), draw(2, 60, symbols));
        let shares =
            |length: usize| text.windows(length).any(|stretch| other.windows(length).any(|window| window == stretch));
        let wanted = (1..=text.len()).filter(|&length| shares(length)).max().unwrap_or(0);
        assert_eq!(Longest::of(&text).shared_with(&other), wanted, "{text:?} in {other:?}");
    }
}

#[test]
fn a_text_of_the_reference_is_all_like_it_and_a_copied_one_is_seen() {
    let (train, real) = ("The king's men, well-met, went on and on.\n", "A king went on.\nMen met.\n");
    let reference = Reference::new(train, vec![real.into()]);
    let same_text = reference.judge(&[real.to_owned()]);
    assert!(same_text.divergence.iter().all(|&js| js.abs() < 1e-12), "{same_text:?}");
    assert_eq!(same_text.coverage, [1.0; 6]);
    assert_eq!((same_text.word_lengths, same_text.line_lengths), (0.0, 0.0));
    // "king", "Men" and "met" are no words of the first text, which has "king's", "men" and "well-met".
    assert_eq!(same_text.known_words, Some(3.0 / 6.0));
    assert_eq!(same_text.self_bleu, None);
    let copy = reference.judge(&[train.to_owned(), "zzzz zzzz zzzz zzzz zzzz zzzz".into()]);
    assert_eq!((copy.copied.max, copy.copied.share_32, copy.copied.share_50), (42, 0.5, 0.0));
    // 5 of the first, 3 of the second, of which 2 are its first again.
    assert_eq!(copy.repeated, Some(2.0 / 8.0));
    assert!(copy.divergence[5] > 0.6 && copy.divergence[5] <= std::f64::consts::LN_2 + 1e-12, "{copy:?}");
}

#[test]
fn a_chain_writes_characters_as_often_as_they_stand_behind_the_same_ones() {
    let text = "abab abba babb aabb ".repeat(3);
    let ring: Vec<char> = text.chars().chain(text.chars().take(2)).collect();
    let real = Counts::of([ring], 3);
    let chain = Chain::of(&text, 3).unwrap();
    let written = chain.write(1, 0, 20_000);
    assert_eq!(written, chain.write(1, 0, 20_000));
    assert_ne!(written[..60], chain.write(1, 1, 60));
    let found = Counts::of([characters(&written)], 3);
    // The ring's 3-grams are the chain's stationary law: 20,000 draws that depend on each other over a few characters have a
    // standard error of less than 3 times that of as many that do not, and 5 of those are allowed.
    for (gram, count) in real.iter() {
        let (p, n) = (count as f64 / real.all() as f64, found.all() as f64);
        let error = (found.count(gram) as f64 / n - p).abs();
        assert!(error < 5.0 * 3.0 * (p * (1.0 - p) / n).sqrt(), "{gram:?}: off by {error} of {p}");
    }
    assert!(found.iter().all(|(gram, _)| real.count(gram) > 0), "it writes what the text has not");
    assert!(Chain::of("ab", 3).is_none() && Chain::of("ab", 0).is_none());
}

/// Witten and Bell's interpolation by hand, and that it is a probability.
#[test]
fn counts_are_interpolated_as_witten_and_bell_have_it() {
    // As a ring: aab followed by a; pairs aa, ab, ba.
    let model = Interpolated::of("aab", 2).unwrap();
    let one = |before: &str, next: &str| model.ln_p(&characters(before), &characters(next)).exp();
    // Of single characters 3 with 2 different ones; below them 1/3 each for a, b and all others.
    let [a, b, other] = [(2.0 + 2.0 / 3.0) / 5.0, (1.0 + 2.0 / 3.0) / 5.0, (2.0 / 3.0) / 5.0];
    assert_relative(one("", "a"), a);
    assert_relative(one("a", "b"), (1.0 + 2.0 * b) / 4.0);
    assert_relative(one("zb", "a"), (1.0 + a) / 2.0);
    assert_relative(one("a", "z"), 2.0 * other / 4.0);
    // Nothing stands behind z: the shorter context counts alone.
    assert_relative(one("z", "a"), a);
    assert_relative(one("a", "a") + one("a", "b") + one("a", "z"), 1.0);
    assert_relative(one("a", "ba"), one("a", "b") * one("b", "a"));
    assert!(Interpolated::of("a", 2).is_none() && Interpolated::of("a", 0).is_none());
}

#[test]
fn the_best_fill_by_counts_is_the_best_of_all() {
    let model = Interpolated::of("abcabacbbcaab", 3).unwrap();
    let [before, behind] = ["cab", "bca"].map(characters);
    for (length, found) in model.fills(&before, 3, &behind).into_iter().enumerate() {
        let all: Vec<(String, f64)> = (0..3usize.pow(length as u32))
            .map(|number| {
                let letter = |i: usize| ['a', 'b', 'c'][number / 3usize.pow(i as u32) % 3];
                let fill: Vec<char> = (0..length).map(letter).collect();
                (fill.iter().collect(), model.ln_p(&before, &[&fill[..], &behind].concat()))
            })
            .collect();
        let best = all.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_relative(found.ln_p, best.1);
        let of_found = all.iter().find(|(fill, _)| *fill == found.text).unwrap();
        assert_relative(of_found.1, best.1);
        assert_relative(found.ln_all, all.iter().map(|(_, ln_p)| ln_p.exp()).sum::<f64>().ln());
    }
}

/// Equal but for the rounding of a few dozen sums in double precision.
#[track_caller]
fn assert_relative(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= 1e-13 * wanted.abs().max(1.0), "{found}, wanted {wanted}");
}
