//! Gaps that are filled, and characters that are replaced.

use std::sync::LazyLock;
use tempest::backend::Device;
use tempest::config::{Family, ModelConfig, Policy, ProcessConfig, Schedule};
use tempest::data::Vocab;
use tempest::denoiser::{Denoiser, Start};
use tempest::edit::bench::bench;
use tempest::edit::cloze::{Cloze, Outcome, by_counts, words};
use tempest::edit::typos::{Slips, slip};
use tempest::edit::{
    Candidate, FillConfig, Gapped, LengthPrior, Lines, Passage, RepairConfig, RewriteConfig, fill, repair, rewrite,
};
use tempest::eval;
use tempest::model::Params;
use tempest::program::{DType, SamplingParams};
use tempest::quality::cer;
use tempest::quality::interpolated::Interpolated;
use tempest::rng::{Stream, normals, philox};
use tempest::store::SavedModel;

static BUILT_IN: LazyLock<SavedModel> = LazyLock::new(SavedModel::built_in);

fn built_in(batch: usize) -> Denoiser {
    Denoiser::new(&BUILT_IN, DType::F32, batch, &Device::Cpu).unwrap()
}

/// A model of a process whose predictions are far from uniform.
fn random(vocab: &Vocab, family: Family, batch: usize) -> Denoiser {
    let config = ModelConfig {
        n_layer: 1,
        n_head: 2,
        n_embd: 16,
        sequence_len: 32,
        vocab_size: vocab.size(),
        diffusion_steps: if family.timesteps() == Some(0) { 0 } else { 8 },
        vector_dims: 0,
        autoencoder: None,
        short_conv: 0,
        architecture: Default::default(),
    };
    let n = Params::new(&config).len();
    let weights = (0..n.div_ceil(4)).flat_map(|i| normals(philox(5, Stream::Init, 9, i as u32)));
    let weights = weights.take(n).map(|z| 0.3 * z).collect();
    let process = match family {
        Family::Block => ProcessConfig::Block { mask_token_id: vocab.mask_id(), block_length: 8.into() },
        family => family.config(vocab.mask_id()),
    };
    let model = SavedModel { config, process, vocab: vocab.clone(), weights, step: 0 };
    Denoiser::new(&model, DType::F32, batch, &Device::Cpu).unwrap()
}

fn quick() -> FillConfig {
    FillConfig { tries: 2, longest: 3, ..FillConfig::new(1) }
}

fn filled(denoiser: &mut Denoiser, config: &FillConfig, texts: &[&str], first: u32) -> Vec<Vec<Candidate>> {
    let vocab = denoiser.vocab().clone();
    let texts: Vec<Gapped> = texts.iter().map(|text| Gapped::parse(&vocab, text, '_').unwrap()).collect();
    fill(denoiser, config, &texts, first, &mut |_, _, _| {}).unwrap()
}

/// What stands around the gaps is what was given, and candidates come in the order of their shares.
#[track_caller]
fn check(text: &str, candidates: &[Candidate], longest: usize) {
    assert!(!candidates.is_empty(), "{text}");
    assert!(candidates.is_sorted_by(|a, b| a.share >= b.share && a.text != b.text), "{candidates:?}");
    assert!(candidates.iter().map(|found| found.share).sum::<f64>() < 1.0 + 1e-9, "{candidates:?}");
    for found in candidates {
        let mut rest = text.to_owned();
        for (gap, &length) in found.gaps.iter().zip(&found.lengths) {
            let at = rest.find('_').unwrap();
            let holes = rest[at..].chars().take_while(|&c| c == '_').count();
            let any = rest[at + holes..].starts_with('*');
            assert!(length == gap.chars().count() && (length == holes || any && length <= longest), "{found:?}");
            rest.replace_range(at..at + holes + usize::from(any), gap);
        }
        assert_eq!(rest, found.text);
    }
}

#[test]
fn gaps_are_read_and_what_has_none_is_refused() {
    let vocab = Vocab::ascii();
    let gapped = |text: &str, hole| Gapped::parse(&vocab, text, hole).map(|gapped| gapped.unknown());
    assert_eq!(gapped("a__b_*c", '_').unwrap(), 1);
    assert_eq!(gapped("_*_*____*", '_').unwrap(), 3);
    assert_eq!(gapped("a*b #", '#').unwrap(), 0);
    assert!(gapped("a*b", '_').unwrap_err().to_string().contains("put '_' where"));
    assert!(gapped("é_", '_').unwrap_err().to_string().contains("é"));
}

#[test]
fn a_gap_of_one_token_is_scored_by_its_probability() {
    let mut denoiser = built_in(4);
    let (text, vocab) = ("KING RICHARD:\nWhat is th_", denoiser.vocab().clone());
    let config = FillConfig { tries: 12, ..FillConfig::new(3) };
    let candidates = &filled(&mut denoiser, &config, &[text], 0)[0];
    check(text, candidates, 0);
    // Masks stand up to a length of 32.
    let known = text.chars().map(|c| vocab.id(c).filter(|_| c != '_'));
    let start: Start = known.chain(std::iter::repeat_n(Some(vocab.mask_id()), 32 - text.len())).collect();
    let at = text.len() - 1;
    let mut canvas = denoiser.canvas(&[start], &[SamplingParams::MOST_PROBABLE]).unwrap();
    let logits = &canvas.logits(Family::Masked, std::slice::from_ref(&(at..at + 1))).unwrap()[0];
    let sum: f64 = (0..66).filter(|&id| id != vocab.mask_id()).map(|id| f64::from(logits[id as usize]).exp()).sum();
    for found in candidates {
        let id = vocab.id(found.gaps[0].chars().next().unwrap()).unwrap();
        let wanted = (f64::from(logits[id as usize]).exp() / sum).ln();
        // Sums of 66 exponents in f32, here in f64.
        assert!((found.score - wanted).abs() < 1e-4, "{found:?}, wanted {wanted}");
    }
    assert_eq!(candidates[0].gaps, ["e"]);
}

#[test]
fn a_wide_beam_finds_every_fill_and_their_probabilities_add_up_to_one() {
    let vocab = Vocab::chars("\n .abcdefgh").unwrap();
    let mut denoiser = random(&vocab, Family::Masked, 4);
    let text = "abc d__gh. ab_";
    let symbols = vocab.size() - 1;
    let fills = symbols.pow(3);
    let all = FillConfig { tries: fills, candidates: fills, ..quick() };
    let all = &filled(&mut denoiser, &all, &[text], 0)[0];
    check(text, all, 0);
    assert_eq!(all.len(), fills);
    let sum: f64 = all.iter().map(|found| found.score.exp()).sum();
    // Logits are f32: each of three laws is off by some 2⁻²⁴ of logits below 16.
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    let wide = FillConfig { tries: 30, ..quick() };
    let found = &filled(&mut denoiser, &wide, &[text], 0)[0];
    assert_eq!((&found[0].text, found[0].score), (&all[0].text, all[0].score), "a narrower beam finds the best");
    let drawn = FillConfig { policy: Some(Policy::top_k(1)), scored_by: Some(Policy::top_k(1)), ..wide };
    let drawn = &filled(&mut denoiser, &drawn, &[text], 0)[0];
    check(text, drawn, 0);
    let known = |found: &Candidate| all.iter().find(|one| one.text == found.text).unwrap().score;
    assert!(drawn.iter().any(|found| (found.score - known(found)).abs() > 1e-3), "a sampler's order is another");
}

#[test]
fn a_gap_that_a_block_model_fills_is_scored_with_all_that_follows() {
    let vocab = Vocab::chars("\n .abcdefgh").unwrap();
    let mut denoiser = random(&vocab, Family::Block, 4);
    let policy = Policy::top_k(2);
    let config = FillConfig { scored_by: Some(policy), ..quick() };
    for found in &filled(&mut denoiser, &config, &["ab c__ d.gh abc."], 0)[0] {
        let text = vocab.encode(&found.text).unwrap();
        let wanted = -f64::from(eval::score(&mut denoiser, &[text], 4, policy, 1.0).unwrap()[0].0);
        assert!((found.score - wanted).abs() < 1e-9, "{found:?}, wanted {wanted}");
    }
}

#[test]
fn a_text_is_filled_alike_whatever_stands_beside_it() {
    let texts = ["KING RICHARD:\nWhat is the ____ of my lord?", "To be, or not to _*: that is"];
    let mut one = built_in(3);
    let config = FillConfig { longest: 4, ..quick() };
    let both = filled(&mut one, &config, &texts, 5);
    for (text, candidates) in texts.iter().zip(&both) {
        check(text, candidates, 4);
    }
    assert_eq!(filled(&mut built_in(8), &config, &texts[1..], 6)[0], both[1]);
    let flat = FillConfig { prior: LengthPrior::Counted(vec![0, 0, 0, 0, 1 << 40]), ..config };
    let of_four = filled(&mut one, &flat, &texts[1..], 6);
    assert_eq!(of_four[0][0].lengths, [4], "a prior that knows decides");
}

#[test]
fn texts_longer_than_the_window_are_filled_everywhere() {
    let mut denoiser = built_in(8);
    let text = "First Citizen:\nBefore we ______d any further, hear me _*.\n".repeat(3);
    let config = FillConfig { longest: 1, ..quick() };
    let candidates = &filled(&mut denoiser, &config, &[&text], 0)[0];
    assert!(text.len() > denoiser.config().sequence_len);
    check(&text, candidates, 1);
}

#[test]
fn every_process_that_sees_both_sides_fills_and_repairs() {
    let vocab = Vocab::chars("\n .abcdefgh").unwrap();
    let long = "abc de__gh. abc _* abc. bad cab. head.\nbead ___ bag_* cab";
    for family in [Family::Masked, Family::Joint, Family::Block, Family::Uniform, Family::Mixed] {
        let mut denoiser = random(&vocab, family, 4);
        let mut config = quick();
        if !family.has_policies() {
            config.policy = Some(Policy::Ancestral { steps: Some(4), schedule: Schedule::Linear });
        }
        for text in [long, "ab_*d"] {
            let found = filled(&mut denoiser, &config, &[text], 0);
            check(text, &found[0], 3);
            assert_eq!(found, filled(&mut denoiser, &config, &[text], 0), "{family}");
        }
        let config =
            RepairConfig { least: 1.0, sure: 0.05, rounds: 2, stripes: 4, errors: 0.9, ..RepairConfig::default() };
        let text = "abc deegh.\nabc\tabc é abc. bad cab. head. bead";
        let repaired = repair(&mut denoiser, &config, &[text, ""], &mut |_, _, _| {}).unwrap();
        assert!(!repaired[0].edits.is_empty(), "{family}: an untrained model is rarely of a text's opinion");
        let kept = |text: &str| text.char_indices().filter(|(_, c)| "\n\té".contains(*c)).collect::<Vec<_>>();
        assert_eq!(kept(&repaired[0].text), kept(text), "{family}");
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        for edit in &repaired[0].edits {
            assert_eq!(std::mem::replace(&mut characters[edit.at], edit.to.clone()), edit.from, "{family}");
        }
        assert_eq!(characters.concat(), repaired[0].text, "{family}");
        assert_eq!(repaired[1].text, "");
        if family == Family::Block {
            // Of 8 tokens: no stripe of one can be longer.
            let striped = |stripes, batch| {
                let (config, denoiser) =
                    (RepairConfig { stripes, ..config.clone() }, &mut random(&vocab, family, batch));
                repair(denoiser, &config, &[text], &mut |_, _, _| {}).unwrap()
            };
            assert_eq!(striped(20, 3), striped(8, 8), "every token is judged once");
        }
    }
    let mut denoiser = random(&vocab, Family::Autoregressive, 4);
    let gapped = Gapped::parse(&vocab, "ab_d", '_').unwrap();
    let config = FillConfig::new(1);
    let error = fill(&mut denoiser, &config, &[gapped], 0, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("process ar") && error.contains("--process masked"), "{error}");
    let error = repair(&mut denoiser, &RepairConfig::default(), &["ab"], &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("process ar"), "{error}");
}

#[test]
fn a_wrong_character_is_replaced_and_a_right_one_stays() {
    let right = "First Citizen:\nBefore we proceed and further, hear me speak.\n\nAll:\nSpeak, speak.\n";
    let wrong = right.replace("me speak", "me spesk").replace("Speak, ", "Spezk, ");
    let mut denoiser = built_in(4);
    let config = RepairConfig { least: 0.001, sure: 0.9, ..RepairConfig::default() };
    let found = repair(&mut denoiser, &config, &[&wrong, right], &mut |_, _, _| {}).unwrap();
    assert_eq!(found[0].text, right, "{:?}", found[0].edits);
    assert_eq!((found[1].text.as_str(), found[1].edits.len()), (right, 0));
    let edit = &found[0].edits[0];
    assert_eq!((wrong.chars().nth(edit.at), &edit.from[..], &edit.to[..]), (Some('s'), "s", "a"));
    assert!(edit.before < 0.001 && edit.after >= 0.9, "{edit:?}");
}

#[test]
fn newlines_change_only_where_that_is_asked_for() {
    let vocab = Vocab::chars("\n ab").unwrap();
    let text = "ab ab\nab ab\nab ab\nab ab";
    let lines = |lines| {
        let config = RepairConfig { least: 1.0, sure: 0.0, rounds: 1, lines, ..RepairConfig::default() };
        repair(&mut random(&vocab, Family::Masked, 2), &config, &[text], &mut |_, _, _| {}).unwrap().remove(0).text
    };
    let places = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(places(&lines(Lines::Kept)), places(text));
    assert_ne!(places(&lines(Lines::Free)), places(text));
}

#[test]
fn a_passage_is_written_anew_as_far_as_its_strength_says_and_what_is_kept_stays() {
    let vocab = Vocab::chars("\n .abcdefgh").unwrap();
    let (kept, text) = ("bad cab.\n", "abc deegh.\nabc abc abc. bad cab. head. bead");
    let passages = vec![Passage { kept: kept.into(), text: text.into() }; 3];
    for family in [Family::Masked, Family::Block, Family::Uniform, Family::Mixed] {
        let mut denoiser = random(&vocab, family, 4);
        let mut changed = |strength: f32, first: u32, lines: Lines| {
            let usual = RewriteConfig::new(denoiser.process_config(), strength, 7);
            let policy = if family.has_policies() { usual.policy } else { "ancestral:8".parse().unwrap() };
            let config = RewriteConfig { policy, lines, temperature: 1.0, ..usual };
            rewrite(&mut denoiser, &config, &passages, first, &mut |_, _, _| {}).unwrap()
        };
        let all = changed(1.0, 0, Lines::Kept);
        for written in &all {
            assert_eq!(written.chars().count(), kept.len() + text.len(), "{family}");
            assert!(written.starts_with(kept), "{family}: {written:?}");
            assert_eq!(written.find("\nabc").is_some(), written[kept.len()..].contains("\nabc"), "{family}");
            assert_eq!(written.as_bytes()[kept.len() + 10], b'\n', "{family}");
        }
        assert_ne!(all[0], all[1], "{family}: each has randomness of its own");
        assert_eq!(changed(1.0, 1, Lines::Kept)[0], all[1], "{family}: and it is that of its number");
        let whole =
            |written: &[String]| written.iter().map(|new| cer::edits(new, &[kept, text].concat())).sum::<usize>();
        let little = changed(0.1, 0, Lines::Free);
        assert!(whole(&little) < whole(&all), "{family}");
    }
    let masked = &mut random(&vocab, Family::Masked, 1);
    let none = RewriteConfig::new(masked.process_config(), 0.0, 1);
    assert!(rewrite(masked, &none, &passages, 0, &mut |_, _, _| {}).unwrap_err().to_string().contains("strength of 0"));
}

#[test]
fn errors_are_made_as_they_are_said_and_known() {
    let text = "The quick brown morning clerk modern vvall.\n".repeat(40);
    for slips in [Slips::Typing, Slips::Reading] {
        let made = slip(&text, slips, 0.1, 3, 0);
        assert_eq!(made, slip(&text, slips, 0.1, 3, 0));
        assert_ne!(made, slip(&text, slips, 0.1, 4, 0));
        assert_ne!(made, slip(&text, slips, 0.1, 3, 1));
        assert_eq!(made.text.chars().count(), made.meant.len());
        assert_eq!(made.text.lines().count(), 40, "lines stay");
        let wrong = made.text.chars().zip(&made.meant).filter(|(is, meant)| Some(*is) != **meant).count();
        assert!(wrong > 0 && made.errors > 0, "{slips}");
        // Of 1720 characters a tenth is hit, give or take five times √(1720 · 0.1 · 0.9); of reading only where a shape is known.
        let most = 172 + 63;
        assert!(made.errors <= most && (slips == Slips::Reading || made.errors >= 172 - 63 - 40), "{}", made.errors);
        // Whoever knows what was meant can put every replaced character right.
        let mended: String = made.text.chars().zip(&made.meant).map(|(is, meant)| meant.unwrap_or(is)).collect();
        assert!(cer::edits(&mended, &text) < cer::edits(&made.text, &text), "{slips}");
        assert_eq!(slip(&text, slips, 0.0, 3, 0).text, text);
    }
}

#[test]
fn the_benchmark_counts_what_repair_did() {
    let mut denoiser = built_in(8);
    let texts: Vec<String> =
        include_str!("../../data/tinyshakespeare.txt").lines().skip(30_000).take(8).map(String::from).collect();
    let config = RepairConfig { rounds: 1, ..RepairConfig::default() };
    let outcomes = bench(&mut denoiser, &config, &texts, (&[Slips::Typing], &[0.05]), 1, &mut |_, _, _| {}).unwrap();
    let [clean, typing] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((clean.before, clean.recall, clean.slips), (0.0, None, None));
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    assert!((clean.damage - clean.edits as f64 / characters as f64).abs() < 1e-12, "{clean:?}");
    assert!(typing.before > 0.02 && typing.before < 0.1 && typing.recall.is_some(), "{typing:?}");
    let error = bench(&mut denoiser, &config, &texts, (&[Slips::Typing], &[1.5]), 1, &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("share of 1.5"), "{error}");
}

#[test]
fn numbers_that_do_nothing_are_refused() {
    let mut denoiser = random(&Vocab::ascii(), Family::Masked, 1);
    let usual = FillConfig::new(1);
    let wrong = [
        (FillConfig { candidates: 0, ..usual.clone() }, "0 candidates"),
        (FillConfig { longest: 17, ..usual.clone() }, "at most 16"),
        (FillConfig { prior: LengthPrior::Geometric { mean: 0.0 }, ..usual.clone() }, "above 0"),
        (FillConfig { scored_by: "ancestral".parse().ok(), ..usual.clone() }, "no exact likelihood"),
    ];
    let gapped = Gapped::parse(&Vocab::ascii(), "a_", '_').unwrap();
    for (config, says) in wrong {
        let found = fill(&mut denoiser, &config, std::slice::from_ref(&gapped), 0, &mut |_, _, _| {});
        assert!(found.unwrap_err().to_string().contains(says), "{says}");
    }
    for (config, says) in [
        (RepairConfig { sure: 1.5, ..RepairConfig::default() }, "sure is 1.5"),
        (RepairConfig { stripes: 1, ..RepairConfig::default() }, "at least 2"),
        (RepairConfig { errors: 0.0, ..RepairConfig::default() }, "above 0"),
        (RepairConfig { rounds: 0, ..RepairConfig::default() }, "0 rounds"),
    ] {
        let found = repair(&mut denoiser, &config, &["a"], &mut |_, _, _| {});
        assert!(found.unwrap_err().to_string().contains(says), "{says}");
    }
}

#[test]
fn words_are_taken_out_of_the_middle_of_what_is_around_them() {
    let text = "A king, a lord; the king's son - incomprehensible - and I. ".repeat(4);
    let taken = words(&text, 5, 10).unwrap();
    let mut last = 0;
    for Cloze { before, word, behind } in &taken {
        assert!((2..=9).contains(&word.len()) && word.chars().all(char::is_alphabetic), "{word:?}");
        assert_eq!((before.len(), behind.len()), (10, 10));
        let at = last
            + text[last..]
                .find(&format!("{before}{word}{behind}"))
                .expect("it stands in the text, behind the last one");
        last = at + 1;
    }
    assert_eq!(taken, words(&text, 5, 10).unwrap());
    let error = words(&text, 60, 10).unwrap_err().to_string();
    assert!(error.contains("words of 2 to 9 letters") && error.contains("wanted 60"), "{error}");
    assert!(words("king", 1, 10).is_err());
}

/// A text that says itself again is known by its counts; of one that says nothing no length is found.
#[test]
fn outcomes_count_what_came_back() {
    let text = "pack my box with five dozen liquor jugs; quick brown foxes jump. ".repeat(6);
    let clozes = words(&text, 8, 12).unwrap();
    let config = FillConfig { prior: LengthPrior::Flat, ..FillConfig::new(1) };
    let known = by_counts(&Interpolated::of(&text, 6).unwrap(), &config, &clozes, &mut |_, _, _| {});
    let characters = clozes.iter().map(|cloze| cloze.word.len()).sum();
    assert_eq!((known.words, known.characters, known.characters_right), (8, characters, characters));
    assert_eq!((known.exact, known.exact_unknown, known.length_found, known.length_within_one), (8, 8, 8, 8));
    let counts = |text: &str, n| by_counts(&Interpolated::of(text, n).unwrap(), &config, &clozes, &mut |_, _, _| {});
    let none = counts("######", 2);
    let Outcome { exact, exact_unknown, characters_right, .. } = none;
    assert_eq!((exact, exact_unknown, characters_right), (0, 0, 0));
    let all = known.above(&none);
    assert_eq!((all[0].share, all[0].standard_error, all[1].share), (1.0, Some(0.0), 1.0));
    // McNemar: b words that the one alone restores, c that the other does, of n: ((b + c) - (b - c)²/n) / (n (n - 1)).
    let some = counts(&text[..60], 6);
    let alone = (known.exact - some.exact) as f64;
    assert!(some.exact > 0 && alone > 0.0, "{some:?}");
    let variance = (alone - alone * alone / 8.0) / (8.0 * 7.0);
    let exact = some.above(&known)[0];
    assert!((exact.share + alone / 8.0).abs() < 1e-12, "{exact:?}");
    assert!((exact.standard_error.unwrap() - variance.sqrt()).abs() < 1e-12, "{exact:?}, wanted {variance}");
}
