//! Pages: what they hold, and that a text in them is nothing but a text.

use tempest::config::{Schedule, Score};
use tempest::data::Vocab;
use tempest::eval::{ByLevel, Estimate, Passes, StepBound};
use tempest::page::{Origin, Replay, Report, Trained, report};
use tempest::quality::{MEANINGS, Reference};
use tempest::report::History;
use tempest::sample::{Frame, Recording, Text};

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
    let origin = |run: Option<&str>, steps: Option<u32>, text: &str| Origin {
        run: run.map(String::from),
        temperature: 1.0,
        steps,
        sampler: None,
        seconds: steps.map(|steps| 0.25 * f64::from(steps)),
        quality: reference.judge(&[text.to_owned(), "to be or not".into()]),
        nll: Some(Estimate { nats: 1.5, bits: 2.0, standard_error: None }),
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
            Origin { sampler: Some("top-k:4".into()), seconds: Some(0.125), ..origin(Some(name), None, HOSTILE) },
            Origin { sampler: Some("top-k:1".into()), seconds: Some(0.5), ..origin(Some(name), None, HOSTILE) },
        ],
    })
    .unwrap();
    asks_for_nothing(&page);
    assert_eq!((page.matches("<script").count(), page.matches("<img").count(), page.matches("<b>").count()), (0, 0, 0));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("␛[31m␀"), "{page}");
    for (what, meaning) in MEANINGS {
        assert!(page.contains(meaning), "{what} has no meaning in {page}");
    }
    // Loss, levels, step bounds, likelihood against variety, two figures over seconds, and three over steps.
    assert_eq!(page.matches("<svg ").count(), 9);
    assert_eq!(page.matches("seconds of a text").count(), 5, "two axes, drawn and in words, and a row");
    let row = page.split("seconds of a text").last().unwrap().split("</tr>").next().unwrap();
    let values: Vec<&str> = row.split("<td>").skip(1).map(|cell| cell.split('<').next().unwrap()).collect();
    assert_eq!(values, ["n/a", "0.2500", "1.0000", "0.1250", "0.5000"]);
    // What differs in its number of tokens a step alone is one line over seconds, in both charts.
    assert_eq!(page.matches(" at 1, top-k<").count(), 2, "{page}");
    for row in reference.judge(&["to be".to_owned()]).rows() {
        assert!(page.contains(&row.0), "{} is missing", row.0);
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "{ids:?}");
}

/// A vocabulary with what a page must not take for markup.
fn vocab() -> Vocab {
    Vocab::chars("ab</script>\n\u{1b}").unwrap()
}

/// A step of two texts of two positions, the second text's tokens as they are.
fn step(recorder: &mut Recording, vocab: &Vocab, tokens: [char; 4], confidence: [f32; 4]) {
    let tokens = tokens.map(|c| if c == '_' { vocab.mask_id() } else { vocab.id(c).unwrap() });
    let masked = tokens.map(|id| u32::from(id == vocab.mask_id()));
    let before = [Text::default(), Text::default()];
    recorder.take(
        1,
        &Frame {
            texts: 4..6,
            block: 0,
            step: 1,
            tokens: &tokens,
            masked: &masked,
            confidence: &confidence,
            before: &before,
            new: 0..2,
        },
    );
}

/// The picture of the steps of [`a_replay_holds_what_each_step_changed_and_how_sure_it_was`].
#[track_caller]
fn moves_as_it_was_written(picture: &str) {
    assert!(picture.starts_with("<svg ") && !picture.contains("<script"), "{picture}");
    let texts: Vec<(&str, &str)> = picture
        .split("<text class=\"")
        .skip(1)
        .map(|text| text.split_once('"').unwrap())
        .map(|(class, rest)| (class, rest.split_once('>').unwrap().1.split('<').next().unwrap()))
        .collect();
    // Given from the start; open until the first step or the second; gone behind the second; there from the second on.
    let wanted =
        [("s0", "aab"), ("dot s0-1", "·"), ("dot s0-2", "··"), ("gone s1-2", "&lt;"), ("dot s2", "·"), ("s2", "/␛")];
    assert_eq!(texts.len(), wanted.len(), "{texts:?}");
    assert!(wanted.iter().all(|text| texts.contains(text)), "{texts:?}");
    // Two steps of 80 % of the time.
    let frames = "@keyframes s1-2{0%{opacity:0}40.00%{opacity:1}80.00%{opacity:0}}";
    assert!(picture.contains(frames) && picture.contains("prefers-reduced-motion:no-preference"), "{picture}");
}

/// The same as a GIF and a PNG.
#[track_caller]
fn moves_in_pixels(replay: Replay<'_>) {
    let bytes = replay.gif().unwrap();
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    let mut decoder = options.read_info(&bytes[..]).unwrap();
    let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
    let (mut screen, mut screens, mut delays) = (vec![0; width * height], Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        assert_eq!((frame.left, usize::from(frame.width)), (0, width), "whole lines change");
        screen[usize::from(frame.top) * width..][..frame.buffer.len()].copy_from_slice(&frame.buffer);
        screens.push(screen.clone());
        delays.push(frame.delay);
    }
    // Before the first step and after each of both: four seconds of steps, and one in which the finished text stands.
    assert_eq!(delays, [200, 200, 200]);
    assert!(screens[0] != screens[1] && screens[1] != screens[2]);
    // Inks, 16 numbers each: open positions get fewer, and what was given stays.
    let inked = |screen: &[u8], inks: std::ops::Range<u8>| {
        screen.iter().filter(|&&ink| ink > 0 && inks.contains(&(ink / 16))).count()
    };
    let open: Vec<usize> = screens.iter().map(|screen| inked(screen, 0..1)).collect();
    assert!(open[0] > open[1] && open[1] > open[2] && open[2] > 0, "{open:?}");
    assert!(screens.iter().all(|screen| inked(screen, 1..2) == inked(&screens[0], 1..2)));
    assert_eq!([inked(&screens[0], 2..9) == 0, inked(&screens[2], 2..9) > 0], [true, true]);
    let bytes = replay.png().unwrap();
    let mut decoder = png::Decoder::new(std::io::Cursor::new(&bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().unwrap();
    let mut last = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut last).unwrap();
    assert!(last == screens[2], "the PNG is the GIF's last picture");
}

#[test]
fn a_replay_holds_what_each_step_changed_and_how_sure_it_was() {
    let vocab = vocab();
    let record = |score| {
        let mut recorder = Recording::new(&vocab, score);
        let b = vocab.id('b').unwrap();
        recorder.begin(4, &[vocab.id('a').unwrap()], &[vec![None, None], vec![Some(b), None]]);
        step(&mut recorder, &vocab, ['<', '_', 'b', '_'], [-0.1, 0.0, 0.0, 0.0]);
        // One is masked again, another is written.
        step(&mut recorder, &vocab, ['_', '/', 'b', '\u{1b}'], [0.0, 0.256, 0.0, f32::NAN]);
        assert_eq!(recorder.tokens(), 6);
        moves_as_it_was_written(&Replay(&recorder).svg());
        moves_in_pixels(Replay(&recorder));
        Replay(&recorder).page(&["</title><script>alert(1)</script>".into()])
    };
    let page = record(Some(Score::Max));
    asks_for_nothing(&page);
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2), "{page}");
    let json = page.split("id=\"recording\">").nth(1).unwrap().split("</script>").next().unwrap();
    let found: serde_json::Value = serde_json::from_str(json).unwrap();
    let symbols: Vec<&str> = found["symbols"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    let named = |id: &serde_json::Value| match id.as_i64().unwrap() {
        -1 => "·",
        id => symbols[id as usize],
    };
    let texts = found["texts"].as_array().unwrap();
    let shape = |text: &serde_json::Value| {
        let start: Vec<&str> = text["start"].as_array().unwrap().iter().map(named).collect();
        let change = |c: &[serde_json::Value]| format!("{}:{}:{}", c[0], named(&c[1]), c[2]);
        let steps = text["steps"].as_array().unwrap().iter();
        let steps: Vec<String> =
            steps.map(|step| step.as_array().unwrap().chunks(3).map(change).collect::<Vec<_>>().join(" ")).collect();
        (text["number"].as_u64().unwrap(), text["length"].as_u64().unwrap(), start.concat(), steps)
    };
    // Below 0 is 0, what is no number is unknown, and so is an open one's.
    assert_eq!(shape(&texts[0]), (4, 3, "a··".into(), vec!["1:<:0".into(), "1:·:-1 2:/:26".into()]));
    assert_eq!(shape(&texts[1]), (5, 3, "ab·".into(), vec![String::new(), "2:\u{1b}:-1".into()]));
    for word in [
        "role=\"status\" aria-live=\"polite\"",
        "aria-label=\"Step\"",
        "prefers-reduced-motion",
        "aria-pressed",
        "Play backwards",
    ] {
        assert!(page.contains(word), "{word} is not in {page}");
    }
    assert!(page.contains("value=\"confidence\"") && page == record(Some(Score::Max)));
    // Where nothing is known of how sure a model was there is nothing to colour by.
    for score in [None, Some(Score::Random)] {
        let page = record(score);
        assert!(!page.contains("value=\"confidence\"") && page.contains("class=\"by-step\""), "{page}");
    }
    // -0.1 nats are as sure as one among 1.105: 90 %.
    assert!(record(Some(Score::Entropy)).contains("[[1,0,90]") || record(Some(Score::Entropy)).contains(",90],"));
}
