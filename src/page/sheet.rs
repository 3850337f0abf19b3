//! The page of `tempest judge make`: pairs of texts, for people who do not know where they are from.

use super::shell::{data, page};
use crate::quality::blind::Key;
use crate::terminal::printable;
use maud::html;
use serde_json::json;

const STYLE: &str = include_str!("sheet.css");
const SCRIPT: &str = include_str!("sheet.js");

/// The page: `texts` are those of each of the key's sources. Names of sources are nowhere on it but sealed.
pub fn sheet(key: &Key, texts: &[Vec<String>]) -> String {
    let sealed = key.sealed();
    let pairs: Vec<[String; 2]> = key
        .pairs
        .iter()
        .map(|pair| [pair.left, pair.right].map(|source| printable(&texts[source][pair.text])))
        .collect();
    // Other pairs have other answers.
    let id = crate::files::sha256_of(json!([sealed, pairs]).to_string().as_bytes());
    let body = html! {
        h1 { "Which of two texts is better?" }
        p {
            "Each pair has two texts, of a model or of a person, in an order by chance. Choose the one that reads more like text \
             that somebody wrote, or neither. At the end, or whenever you like, save the answers as a file."
        }
        p.soft { "Keys: 1 left, 2 right, 0 neither, arrows go to other pairs." }
        noscript { p { "This page needs scripts to take answers; it asks for nothing from elsewhere." } }
        div id="sheet" hidden {
            p.count id="count" role="status" aria-live="polite" {}
            progress id="progress" aria-label="Pairs that are answered" {}
            div.pair {
                section aria-labelledby="left-head" { h2 id="left-head" { "Left" } pre id="left" tabindex="0" aria-labelledby="left-head" role="group" {} }
                section aria-labelledby="right-head" { h2 id="right-head" { "Right" } pre id="right" tabindex="0" aria-labelledby="right-head" role="group" {} }
            }
            div.bar role="group" aria-label="Which is better?" {
                button id="choose-left" aria-pressed="false" { "Left" }
                button id="choose-tie" aria-pressed="false" { "Neither" }
                button id="choose-right" aria-pressed="false" { "Right" }
                button.small id="previous" aria-label="Pair before" { "‹" }
                button.small id="next" aria-label="Next pair" { "›" }
                button.main.small id="save" { "Save the answers" }
                span.status id="status" role="status" {}
            }
        }
        (data("pairs", &json!({ "id": id[..16], "key": sealed, "pairs": pairs })))
    };
    page("Which of two texts is better?", STYLE, &body, SCRIPT)
}
