//! Texts judged blindly: pairs, answers, intervals.

use super::page::asks_for_nothing;
use tempest::page::sheet;
use tempest::quality::blind::{Answers, Choice, Key, Pair, count, shuffled, wilson};

#[test]
fn wilsons_interval_has_the_known_ends() {
    // Newcombe 1998, table I, method 3, to the digits that it has; and what nothing says.
    for (wins, of, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ] {
        let found = wilson(wins, of);
        assert!((found[0] - low).abs() <= 5e-5 && (found[1] - high).abs() <= 5e-5, "{wins} of {of}: {found:?}");
        // Ends are where the share is as many standard deviations of the end away as 95 % are (the definition).
        for end in found.into_iter().filter(|end| (1e-9..1.0 - 1e-9).contains(end)) {
            let share = wins as f64 / of as f64;
            let distance = (share - end).abs() / (end * (1.0 - end) / of as f64).sqrt();
            assert!((distance - 1.959_963_984_540_054).abs() < 1e-9, "{wins} of {of}: {distance}");
        }
    }
}

#[test]
fn every_two_sources_are_paired_and_chance_decides_order_and_sides() {
    let pairs = shuffled(3, 40, 7);
    let mut all: Vec<_> = pairs.iter().map(|p| (p.left.min(p.right), p.left.max(p.right), p.text)).collect();
    all.sort_unstable();
    let twos = [(0, 1), (0, 2), (1, 2)];
    let wanted: Vec<_> = twos.iter().flat_map(|&(a, b)| (0..40).map(move |text| (a, b, text))).collect();
    assert_eq!(all, wanted);
    // Of 120 fair coins fewer than 38 or more than 82 are heads in one of 10,000 cases.
    let straight = pairs.iter().filter(|pair| pair.left < pair.right).count();
    assert!((38..=82).contains(&straight), "{straight} of 120");
    let first: Vec<_> = pairs[..40].iter().filter(|p| p.left.min(p.right) == 0 && p.left.max(p.right) == 1).collect();
    assert!(first.len() < 40 && !first.is_empty(), "kinds are mixed: {}", first.len());
    assert_eq!(pairs, shuffled(3, 40, 7));
    assert_ne!(pairs, shuffled(3, 40, 8));
}

fn key() -> Key {
    let pair = |left, right, text| Pair { left, right, text };
    Key {
        sources: ["runs/1", "</script>", "real text"].map(String::from).to_vec(),
        pairs: vec![pair(0, 1, 0), pair(1, 0, 1), pair(2, 0, 0), pair(1, 2, 0), pair(0, 2, 1)],
    }
}

#[test]
fn answers_are_counted_for_who_was_preferred_whatever_side_it_stood_on() {
    let key = key();
    assert_eq!(Key::open(&key.sealed()), Some(key.clone()));
    let file = |answers: &[Option<Choice>]| {
        let json = serde_json::to_string(&Answers { key: key.sealed(), answers: answers.to_vec() }).unwrap();
        Answers::parse("a.json", &json).unwrap()
    };
    let (left, right, tie) = (Some(Choice::Left), Some(Choice::Right), Some(Choice::Tie));
    let duels = count(&[file(&[left, left, left, tie, None]), file(&[left, right, right, tie, left])]);
    let found: Vec<_> = duels.iter().map(|d| (&d.source[..], &d.against[..], d.wins, d.losses, d.ties)).collect();
    assert_eq!(
        found,
        [("runs/1", "</script>", 3, 1, 0), ("runs/1", "real text", 2, 1, 0), ("</script>", "real text", 0, 0, 2)]
    );
    assert_eq!((duels[0].rate, duels[2].rate, duels[2].interval), (Some(0.75), None, [0.0, 1.0]));
    assert_eq!(duels[0].interval, wilson(3, 4));
}

#[test]
fn files_that_no_sheet_saved_are_refused() {
    let sealed = key().sealed();
    let cases = [
        ("{", "a.json: is no file of answers"),
        ("{\"key\":\"\",\"answers\":[],\"more\":1}", "is no file of answers (unknown field `more`"),
        ("{\"key\":\"zz\",\"answers\":[]}", "its key was changed"),
        ("{\"key\":\"\u{e9}\u{e9}\",\"answers\":[]}", "its key was changed"),
        (&format!("{{\"key\":\"{sealed}\",\"answers\":[\"left\"]}}"), "has 1 answers to 5 pairs"),
        (&format!("{{\"key\":\"{sealed}\",\"answers\":[\"up\"]}}"), "is no file of answers (unknown variant `up`"),
    ];
    for (text, part) in cases {
        let refused = Answers::parse("a.json", text).unwrap_err().to_string();
        assert!(refused.contains(part) && refused.contains("tempest judge make"), "{text}: {refused}");
    }
    let broken = Key { pairs: vec![Pair { left: 0, right: 3, text: 0 }], ..key() };
    assert_eq!(Key::open(&broken.sealed()), None, "a source that there is none of");
}

#[test]
fn a_sheet_shows_texts_and_not_where_they_are_from() {
    let texts: Vec<Vec<String>> =
        (0..3).map(|source| (0..2).map(|i| format!("<b>text</b> {source} {i}\n</script>\u{1b}")).collect()).collect();
    let page = sheet(&key(), &texts);
    asks_for_nothing(&page);
    assert!(!page.contains("runs/1") && !page.contains("real text\""), "{page}");
    // Its data and its script, and no text ends either.
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2), "{page}");
    assert!(!page.contains("<b>") && page.contains("\\u003cb>text\\u003c/b> 0 0"), "{page}");
    assert_eq!(page, sheet(&key(), &texts));
    for word in ["aria-live=\"polite\"", "aria-pressed", "aria-label=\"Which is better?\"", "<noscript>"] {
        assert!(page.contains(word), "{word} is not in {page}");
    }
}
