//! Pages: what they hold, and that a text in them is nothing but a text.

use tempest::config::Schedule;
use tempest::eval::{ByLevel, Passes, StepBound};
use tempest::page::{Origin, Report, Trained, report};
use tempest::quality::{MEANINGS, Reference};
use tempest::report::History;

/// What would be markup, a script or a control character if it were taken as it is.
const HOSTILE: &str =
    "</script></pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u{1b}[31m\0\u{2028}'\"";

/// What a page asks for: nothing.
#[track_caller]
pub(crate) fn asks_for_nothing(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    for word in ["src=", "href=", "url(", "@import", "http://", "https://", "fetch(", "XMLHttpRequest", "import("] {
        let found = page.match_indices(word).filter(|(at, _)| {
            // A place within the page.
            let rest = &page[at + word.len()..];
            !(rest.starts_with('#') || word == "src=" && page[..*at].ends_with("&lt;img "))
        });
        assert_eq!(found.count(), 0, "{word} in {page}");
    }
    assert!(
        page.contains("default-src 'none'")
            && page.contains("width=device-width")
            && page.contains("prefers-color-scheme")
    );
}

fn measured() -> Passes {
    // Of 4 tokens, each number of them masked in one window; what one costs is that number.
    Passes { maskable: 4, sums: (1..=4).map(|k| vec![[(k * k) as f32, k as f32]]).collect() }
}

#[test]
fn the_mean_over_levels_is_the_bound() {
    let passes = measured();
    let levels = passes.by_level(4);
    assert_eq!(
        levels.iter().map(|of| (of.level, of.draws, of.cost.nats)).collect::<Vec<_>>(),
        [(0.125, 1, 1.0), (0.375, 1, 2.0), (0.625, 1, 3.0), (0.875, 1, 4.0)]
    );
    assert_eq!(passes.nelbo().unwrap().nats, 2.5);
    assert_eq!(levels[0].cost.standard_error, None, "of one draw there is none");
    let halves = passes.by_level(2);
    assert_eq!(halves.iter().map(|of| of.cost.nats).collect::<Vec<_>>(), [1.5, 3.5]);
}

#[test]
fn a_report_shows_every_figure_with_its_meaning_and_texts_as_text() {
    let reference = Reference::new("to be, or not to be", vec!["to be or be".into()]);
    let origin = |run: Option<&str>, steps, text: &str| Origin {
        run: run.map(String::from),
        temperature: 1.0,
        steps,
        quality: reference.judge(&[text.to_owned(), "to be or not".into()]),
        samples: vec![text.to_owned()],
    };
    let passes = measured();
    let bounds = ByLevel {
        nelbo: passes.nelbo(),
        levels: passes.by_level(4),
        step_bounds: vec![StepBound { steps: 1, bound: passes.step_bound(1, Schedule::Cosine) }],
    };
    let name = "runs/<b>1</b>";
    let history = History { losses: vec![(1, 4.0), (2, 3.0)], ..History::default() };
    let page = report(&Report {
        facts: vec![HOSTILE.into()],
        trained: vec![Trained { name: name.into(), unit: "char", history }],
        bounds: vec![(name.into(), bounds)],
        unit: "char",
        origins: vec![
            origin(None, None, "to be"),
            origin(Some(name), Some(1), HOSTILE),
            origin(Some(name), Some(4), HOSTILE),
        ],
    })
    .unwrap();
    asks_for_nothing(&page);
    assert_eq!((page.matches("<script").count(), page.matches("<img").count(), page.matches("<b>").count()), (0, 0, 0));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("␛[31m␀"), "{page}");
    for (what, meaning) in MEANINGS {
        assert!(page.contains(meaning), "{what} has no meaning in {page}");
    }
    // Loss, levels, step bounds, and three figures over steps.
    assert_eq!(page.matches("<svg ").count(), 6);
    for row in reference.judge(&["to be".to_owned()]).rows() {
        assert!(page.contains(&row.0), "{} is missing", row.0);
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "{ids:?}");
}
