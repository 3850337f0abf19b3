//! Vocabularies: ids, texts, and what they refuse.

use proptest::prelude::*;
use tempest::config::Unknown;
use tempest::data::{MAX_VOCAB, Vocab};

fn all(text: &str) -> [Vocab; 3] {
    [Vocab::ascii(), Vocab::chars(text).unwrap(), Vocab::bytes()]
}

#[test]
fn ascii_ids_are_character_codes_and_nul_is_the_mask() {
    let vocab = Vocab::ascii();
    assert_eq!((vocab.size(), vocab.mask_id()), (128, 0));
    assert_eq!(vocab.encode("To be\n\u{7f}").unwrap(), [84, 111, 32, 98, 101, 10, 127]);
    assert_eq!(vocab.decode(&[84, 0, 111]), "T_o");
    assert_eq!(vocab.id('\0'), None);
}

#[test]
fn chars_are_numbered_in_code_point_order_and_the_mask_comes_last() {
    let vocab = Vocab::chars("née 🌍\n").unwrap();
    assert_eq!((vocab.size(), vocab.mask_id()), (7, 6));
    assert_eq!(vocab.encode("\n ené🌍").unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(vocab.id('x'), None);
    assert_eq!(vocab.decode_with(&[3, 6, 2], "▒"), "n▒e");
}

#[test]
fn bytes_hold_every_text_and_decode_lossily() {
    let vocab = Vocab::bytes();
    assert_eq!((vocab.size(), vocab.mask_id()), (257, 256));
    assert_eq!(vocab.encode("é\0").unwrap(), [0xc3, 0xa9, 0]);
    assert_eq!((vocab.id('a'), vocab.id('é')), (Some(97), None));
    // A mask inside a character splits it into two broken halves.
    assert_eq!(vocab.decode(&[0xc3, 256, 0xa9, 97]), "\u{fffd}_\u{fffd}a");
    assert_eq!(vocab.decode(&[0xc3, 0xa9, 7]), "é\u{7}");
}

#[test]
fn ids_outside_the_vocabulary_decode_to_the_replacement_character() {
    for vocab in all("ab") {
        assert_eq!(vocab.decode(&[vocab.size() as u32, u32::MAX]), "\u{fffd}\u{fffd}");
    }
}

#[test]
fn a_character_outside_the_vocabulary_is_reported_with_its_place() {
    let error = Vocab::ascii().encode_as("prompt", "to be\nor not – “to”\n", Unknown::Error).unwrap_err().to_string();
    assert_eq!(
        error,
        "prompt, line 2, column 8: \"–\" (U+2013) is not in the ascii vocabulary; 3 characters like it in all, \
         3 different: – “ ”; leave it out, or train a model on text that has it"
    );
    let error = Vocab::chars("ab ").unwrap().encode("a\u{7}").unwrap_err().to_string();
    assert_eq!(
        error,
        "text, line 1, column 2: \"\\u{7}\" (U+0007) is not in the chars vocabulary; leave it out, or train a \
         model on text that has it"
    );
    let error = Vocab::ascii().encode("a\0").unwrap_err().to_string();
    assert!(
        error.contains("\"\\0\" (U+0000) is not in the ascii vocabulary, where its code stands for the mask;"),
        "{error}"
    );
}

#[test]
fn unknown_characters_become_question_mark_space_or_first_symbol() {
    let encode = |known: &str| Vocab::chars(known).unwrap().encode_as("text", "a–b–", Unknown::Replace).unwrap();
    let vocab = Vocab::chars("ab ?").unwrap();
    assert_eq!(vocab.decode(&encode("ab ?").ids), "a?b?");
    assert_eq!(encode("ab ?").replaced, 2);
    assert_eq!(Vocab::chars("ab ").unwrap().decode(&encode("ab ").ids), "a b ");
    assert_eq!(Vocab::chars("ab").unwrap().decode(&encode("ab").ids), "aaba");
}

#[test]
fn json_is_short_and_reads_back() {
    for vocab in all("b\"\\\n é") {
        assert_eq!(Vocab::from_json(&vocab.to_json()).unwrap(), vocab);
    }
    assert_eq!(Vocab::ascii().to_json(), r#"{"kind":"ascii"}"#);
    assert_eq!(Vocab::chars("b\n").unwrap().to_json(), r#"{"kind":"chars","symbols":"\nb"}"#);
    assert_ne!(Vocab::chars("ab").unwrap(), Vocab::chars("ac").unwrap());
}

#[test]
fn broken_vocabularies_are_refused() {
    for (json, reason) in [
        ("", "EOF"),
        (r#"{"kind":"words"}"#, "unknown variant `words`"),
        (r#"{"kind":"chars"}"#, "needs its symbols"),
        (r#"{"kind":"chars","symbols":""}"#, "at least one character"),
        (r#"{"kind":"chars","symbols":"ba"}"#, "distinct and ascending"),
        (r#"{"kind":"chars","symbols":"aa"}"#, "distinct and ascending"),
        (r#"{"kind":"ascii","symbols":"a"}"#, "takes no symbols"),
    ] {
        let error = Vocab::from_json(json).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_vocabulary_has_at_most_65536_ids() {
    let text: String = ('\u{1}'..).take(MAX_VOCAB - 1).collect();
    let vocab = Vocab::chars(&text).unwrap();
    assert_eq!(vocab.size(), MAX_VOCAB);
    assert_eq!(vocab.id(text.chars().last().unwrap()), Some(65534));
    let error = Vocab::chars(&('\0'..).take(MAX_VOCAB).collect::<String>()).unwrap_err().to_string();
    assert_eq!(error, "the text has 65,536 different characters, a vocabulary holds at most 65,535; use --vocab bytes");
}

proptest! {
    #[test]
    fn every_text_survives_encoding_and_decoding(text in "\\PC{0,40}", ascii in "[\\x01-\\x7f]{0,40}") {
        prop_assert_eq!(Vocab::bytes().decode(&Vocab::bytes().encode(&text).unwrap()), text.as_str());
        prop_assert_eq!(Vocab::ascii().decode(&Vocab::ascii().encode(&ascii).unwrap()), ascii.as_str());
        let vocab = Vocab::chars(&format!("{text}x")).unwrap();
        let ids = vocab.encode(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| id < vocab.mask_id()));
        prop_assert_eq!(vocab.decode(&ids), text.as_str());
        prop_assert_eq!(Vocab::from_json(&vocab.to_json()).unwrap(), vocab);
    }
}
