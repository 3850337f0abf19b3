//! The character error rate: edits between a text and what it should be.

/// Characters that must be inserted, deleted or replaced to make one text of the other (Levenshtein).
pub fn edits(text: &str, reference: &str) -> usize {
    strsim::levenshtein(text, reference)
}

/// Edits over the reference's characters, of all pairs of a text and its reference together; none where all references are empty.
/// Above 1 where a text needs more edits than its reference has characters.
pub fn rate<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<f64> {
    let add =
        |(edits, length), (text, reference)| (edits + self::edits(text, reference), length + reference.chars().count());
    let (edits, length) = pairs.into_iter().fold((0, 0), add);
    (length > 0).then(|| edits as f64 / length as f64)
}
