//! Views: what they draw of their state, what keys do to them, and that the terminal is given back.

use crate::health::config;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
#[cfg(target_os = "linux")]
use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::path::Path;
#[cfg(target_os = "linux")]
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;
use tempest::config::{Measure, RunConfig, Score, TrainConfig, VocabKind};
use tempest::data::Vocab;
use tempest::denoiser::Start;
use tempest::report::History;
use tempest::sample::{Frame, Recording, Text};
#[cfg(target_os = "linux")]
use tempest::stop::Stop;
use tempest::train::{Event, StepReport, Validation};
#[cfg(target_os = "linux")]
use tempest::watch::Screen;
use tempest::watch::{Colours, Facts, Key, Texts, Then, Training, View};

fn drawn(view: &mut impl View, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(buffer: &Buffer) -> Vec<String> {
    let row = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    let width = usize::from(buffer.area.width);
    buffer.content.chunks_exact(width).map(|cells| row(cells).trim_end().to_owned()).collect()
}

/// The first cell that shows this.
fn cell<'a>(buffer: &'a Buffer, symbol: &str) -> &'a ratatui::buffer::Cell {
    buffer.content.iter().find(|cell| cell.symbol() == symbol).unwrap_or_else(|| panic!("{symbol}"))
}

/// A step of two texts of the length of `tokens` halved, `_` where one is open.
fn step(recording: &mut Recording, number: u32, tokens: &str, confidence: &[f32]) {
    let vocab = recording.vocab().clone();
    let id = |c| if c == '_' { vocab.mask_id() } else { vocab.id(c).unwrap() };
    let tokens: Vec<u32> = tokens.chars().map(id).collect();
    let masked: Vec<u32> = tokens.iter().map(|&token| u32::from(token == vocab.mask_id())).collect();
    let (before, new) = (&[Text::default(), Text::default()], 0..tokens.len() / 2);
    let frame =
        Frame { texts: 0..2, block: 0, step: number, tokens: &tokens, masked: &masked, confidence, before, new };
    recording.take(0, &frame);
}

/// Two texts of eight after two steps.
fn view(score: Option<Score>, colours: Colours) -> Texts {
    let vocab = Vocab::chars("abcdxyz\n").unwrap();
    let start: Start = [vec![vocab.id('a')], vec![None; 7]].concat();
    let mut recording = Recording::new(&vocab, score);
    recording.begin(0, &[], &[start.clone(), start]);
    step(&mut recording, 1, "ax______a_______", &[0.02; 16]);
    step(&mut recording, 2, "ax_\ny___ab______", &[0.98; 16]);
    let mut texts = Texts::new(recording, colours, "a model", 2);
    texts.tell("texts 0 to 1, step 2: 10 tokens left", 0);
    texts
}

#[test]
fn a_view_of_texts_shows_them_with_a_scale_of_colours_and_its_keys() {
    let mut view = view(Some(Score::Max), Colours::Some);
    let buffer = drawn(&mut view, 84, 13);
    let wanted = [
        "a model  texts 0 to 1, step 2: 10 tokens left  0 of 2 texts done",
        "─ text 0 ───────────────────────────────────────────────────────────────────────────",
        "ax·",
        "y···",
        "",
        "",
        "─ text 1 ───────────────────────────────────────────────────────────────────────────",
        "ab······",
        "",
        "",
        "",
        "unsure 0 % ██████████████ 100 % sure   · open   given   of this step",
        "space pause   → step   + - 25 steps/s   q close the view   Ctrl-C stop",
    ];
    assert_eq!(lines(&buffer), wanted);
    let written = |row: u16, column: u16| &buffer[(column, row)];
    // Given, unsure and of the step before, sure and of this one, open.
    assert_eq!((written(2, 0).fg, written(2, 0).modifier), (Color::Reset, Modifier::BOLD));
    assert_eq!((written(2, 1).fg, written(2, 1).modifier), (Color::Indexed(202), Modifier::empty()));
    assert_eq!((written(3, 0).fg, written(3, 0).modifier), (Color::Indexed(39), Modifier::REVERSED));
    assert_eq!((written(2, 2).fg, written(2, 2).modifier), (Color::Reset, Modifier::DIM));
    assert_eq!([cell(&buffer, "█").fg, written(11, 24).fg], [Color::Indexed(202), Color::Indexed(39)]);
}

#[test]
fn texts_stand_side_by_side_where_there_is_room() {
    let beside = lines(&drawn(&mut view(Some(Score::Max), Colours::Some), 130, 13));
    assert!(beside[1].starts_with("─ text 0 ──") && beside[1].contains("  ─ text 1 ──"), "{beside:?}");
    assert!(beside[2].starts_with("ax·  ") && beside[2].ends_with("ab······"), "{beside:?}");
    // Where not all are seen a key shows the others.
    let mut view = view(Some(Score::Max), Colours::Some);
    let first = lines(&drawn(&mut view, 30, 7));
    assert!(first[1].starts_with("─ text 0") && !first.iter().any(|line| line.contains("text 1 ")), "{first:?}");
    for (number, line) in [(1, "ab······"), (0, "ax·"), (1, "ab······")] {
        assert_eq!(view.key(Key::Tab), Then::Stay);
        let shown = lines(&drawn(&mut view, 30, 7));
        assert!(shown[1].starts_with(&format!("─ text {number}")) && shown[2] == line, "{shown:?}");
    }
}

#[test]
fn without_colours_and_without_a_score_a_view_tells_as_much_by_other_means() {
    let buffer = drawn(&mut view(Some(Score::Max), Colours::None), 84, 13);
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert_eq!(buffer[(1, 2)].modifier, Modifier::DIM, "it was unsure");
    assert_eq!(buffer[(0, 3)].modifier, Modifier::REVERSED);
    // Where it is not known how sure a model was colours say when.
    let buffer = drawn(&mut view(None, Colours::Some), 84, 13);
    assert!(lines(&buffer)[11].starts_with("early ██████████████ late "), "{:?}", lines(&buffer));
    assert_eq!([buffer[(1, 2)].fg, buffer[(0, 3)].fg], [Color::Indexed(68), Color::Indexed(39)]);
}

#[test]
fn a_text_longer_than_its_place_is_shown_where_it_is_written() {
    let vocab = Vocab::bytes();
    let mut recording = Recording::new(&vocab, None);
    recording.begin(0, &[], &[vec![None; 400]]);
    let mut view = Texts::new(recording, Colours::None, "", 1);
    // Byte by byte: a character of two is one where both are there.
    let frame_of = |view: &mut Texts, written: usize| {
        let tokens: Vec<u32> =
            (0..400).map(|i| if i >= written { vocab.mask_id() } else { [0xc3, 0xa4][i % 2] }).collect();
        let masked = vec![0; 400];
        let before = [Text::default()];
        let frame = Frame {
            texts: 0..1,
            block: 0,
            step: 1,
            tokens: &tokens,
            masked: &masked,
            confidence: &[0.0; 400],
            before: &before,
            new: 0..400,
        };
        view.recording().take(0, &frame);
        lines(&drawn(view, 20, 8))
    };
    assert_eq!(frame_of(&mut view, 3)[2], format!("ä\u{fffd}{}", "·".repeat(18)));
    let middle = frame_of(&mut view, 200);
    // 100 characters of 20 a line are written; two lines of those and two that are open are seen.
    assert_eq!(middle[2..6].iter().filter(|line| line.starts_with('ä')).count(), 2, "{middle:?}");
    assert_eq!(middle[4], "·".repeat(20), "{middle:?}");
}

#[test]
fn keys_pause_step_and_change_the_speed() {
    let mut view = view(None, Colours::None);
    let status = |view: &mut Texts| lines(&drawn(view, 84, 13))[12].clone();
    let ms = Duration::from_millis;
    assert_eq!([0, 15, 40].map(|shown| view.rest(ms(shown))), [Some(ms(40)), Some(ms(25)), None]);
    view.key(Key::Char('+'));
    assert_eq!(view.rest(ms(0)), Some(ms(20)));
    assert!(status(&mut view).contains("+ - 50 steps/s"));
    let press = |view: &mut Texts, key, times| (0..times).for_each(|_| assert_eq!(view.key(key), Then::Stay));
    press(&mut view, Key::Char('+'), 9);
    assert_eq!(view.rest(ms(0)), None);
    assert!(status(&mut view).contains("+ - as fast as it goes"));
    press(&mut view, Key::Char('-'), 20);
    assert_eq!(view.rest(ms(0)), Some(ms(1000)));
    view.key(Key::Char(' '));
    assert!(status(&mut view).starts_with("space go on"));
    assert_eq!(view.rest(ms(99_000)), Some(Duration::MAX));
    // A step each, and no more.
    view.key(Key::Right);
    view.key(Key::Right);
    assert_eq!([(); 3].map(|()| view.rest(ms(0))), [None, None, Some(Duration::MAX)]);
    assert_eq!(
        [view.key(Key::Char(' ')), view.key(Key::Enter), view.key(Key::Char('q'))],
        [Then::Stay, Then::Stay, Then::Close]
    );
    // Finished texts stay until a key is pressed.
    view.finish();
    assert_eq!(view.rest(ms(99_000)), Some(Duration::MAX));
    assert_eq!(status(&mut view), "q print the texts and end");
    assert_eq!(view.key(Key::Enter), Then::Close);
}

#[test]
fn a_view_of_texts_is_drawn_at_any_size() {
    for texts in [0, 1, 2, 17] {
        let vocab = Vocab::chars("ab").unwrap();
        let mut recording = Recording::new(&vocab, Some(Score::Max));
        recording.begin(0, &[], &vec![vec![vocab.id('b'); 300]; texts]);
        let mut view = Texts::new(recording, Colours::Some, "a model", texts);
        for (width, height) in
            (1..220).step_by(13).flat_map(|width| (1..60).step_by(7).map(move |height| (width, height)))
        {
            let shown = lines(&drawn(&mut view, width, height));
            view.key(Key::Tab);
            if texts == 17 && width >= 200 && height >= 50 {
                assert_eq!(shown.iter().map(|line| line.matches("─ text ").count()).sum::<usize>(), 17, "{shown:?}");
            }
        }
    }
}

/// What a terminal gets from a shell script, in which `$1` is the command, until it ends; `act` is called once a view is there, with
/// what takes keys and the number of the process that wrote it to `$2`.
#[cfg(target_os = "linux")]
fn in_a_terminal(script: &str, command: &Path, act: impl FnOnce(&mut ChildStdin, &str)) -> String {
    let temp = tempfile::tempdir().unwrap();
    let (file, id) = (temp.path().join("script.sh"), temp.path().join("id"));
    std::fs::write(&file, format!("stty rows 24 cols 80\nstty -g\n{script}\necho code $?\nstty -g\n")).unwrap();
    let line = format!("sh {} {} {}", file.display(), command.display(), id.display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm-256color").env("TEMPEST_DEVICE", "cpu");
    terminal.env_remove("NO_COLOR").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.spawn().expect("script(1) of util-linux");
    let (mut keys, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut act) = (Vec::new(), Some(act));
    let mut buffer = [0; 4096];
    while let Some(read) = output.read(&mut buffer).ok().filter(|&read| read > 0) {
        seen.extend(&buffer[..read]);
        if String::from_utf8_lossy(&seen).contains("Ctrl-C") {
            act.take().into_iter().for_each(|act| act(&mut keys, std::fs::read_to_string(&id).unwrap().trim()));
        }
    }
    child.wait().unwrap();
    String::from_utf8(seen).unwrap()
}

/// What stands on the first screen behind a view; the terminal's modes must be those that it had.
#[cfg(target_os = "linux")]
#[track_caller]
fn given_back(seen: &str) -> String {
    let (enter, leave) = ("\u{1b}[?1049h", "\u{1b}[?1049l");
    assert_eq!([enter, leave].map(|code| seen.matches(code).count()), [1, 1], "{seen:?}");
    let (view, after) = seen.split_once(enter).unwrap().1.split_once(leave).unwrap();
    assert!(view.ends_with("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h"), "{view:?}");
    let modes: Vec<&str> = seen.lines().filter(|line| line.matches(':').count() > 20).map(str::trim).collect();
    assert!(modes.len() == 2 && modes[0] == modes[1], "{modes:?}");
    trimmed(after)
}

/// Lines without blanks and carriage returns at their ends.
#[cfg(target_os = "linux")]
fn trimmed(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_terminal_is_given_back_by_a_key_and_by_a_signal() {
    let tempest = Path::new(env!("CARGO_BIN_EXE_tempest"));
    let sample = "sh -c 'echo $$ > \"$1\"; exec \"$2\" sample -n 2 -l 16 -w' sh \"$2\" \"$1\"";
    // How the rest goes on would stand among the texts.
    let seen = in_a_terminal(&format!("{sample} 2>&-"), tempest, |keys, _| keys.write_all(b"q").unwrap());
    let plain =
        Command::new(tempest).args(["sample", "-n", "2", "-l", "16"]).env("TEMPEST_DEVICE", "cpu").output().unwrap();
    let after = given_back(&seen);
    assert!(after.contains(&format!("{}code 0\n", trimmed(&String::from_utf8(plain.stdout).unwrap()))), "{after}");
    let signal = |name: &'static str| {
        move |_: &mut ChildStdin, id: &str| {
            assert!(Command::new("kill").args(["-s", name, id]).status().unwrap().success())
        }
    };
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let after = given_back(&in_a_terminal(sample, tempest, signal(name)));
        assert!(after.contains("stopped after 0 of 2 texts\n") && after.contains(&format!("code {code}\n")), "{after}");
    }
    // Training saves before it ends.
    let train = "sh -c 'echo $$ > \"$1\"; exec \"$2\" train -o \"$1.run\" --steps 9999 --layers 1 --width 32 --heads 2 -b 2' sh \"$2\" \"$1\"";
    let seen = in_a_terminal(train, tempest, signal("INT"));
    assert!(seen.contains("9,999"), "{seen:?}");
    let after = given_back(&seen);
    assert!(
        after.contains("and saved; go on with: tempest train --resume ") && after.contains("code 130\n"),
        "{after}"
    );
    // A signal that nothing in the program waits for.
    let after = given_back(&in_a_terminal(&format!("ulimit -c 0; {sample}"), tempest, signal("QUIT")));
    assert!(after.contains("code 131\n"), "{after}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_terminal_is_given_back_before_a_panic_says_anything() {
    // This test, again, in a terminal of its own.
    if std::env::var_os("TEMPEST_TEST_PANICS").is_some() {
        let screen = Screen::open(view(None, Colours::Some)).unwrap();
        screen.wait(&Stop::default(), |_, shown| Duration::from_millis(500).checked_sub(shown));
        panic!("as it was asked to");
    }
    let name = "watch::the_terminal_is_given_back_before_a_panic_says_anything";
    let script = format!("echo > \"$2\"; TEMPEST_TEST_PANICS=1 \"$1\" --exact {name} --nocapture 2>&1");
    let after = given_back(&in_a_terminal(&script, &std::env::current_exe().unwrap(), |_, _| {}));
    assert!(after.contains("as it was asked to"), "{after}");
}

/// A run after a resumption, as its view shows it.
fn training(colours: Colours) -> Training {
    let config = RunConfig { train: TrainConfig { steps: 2000, ..config(1).train }, ..config(1) };
    let falls = |step: u64| 1.5 + 2.5 / (1.0 + step as f64 / 100.0);
    let mut before = History { losses: (1..=1000).map(|step| (step, falls(step))).collect(), ..History::default() };
    before.validations[Measure::Nelbo as usize] = (1..=4).map(|i| (250 * i, falls(250 * i), Some(0.01))).collect();
    let facts = Facts { folder: "runs/1".into(), device: "a CPU of 2 cores".into(), memory: 123_000_000 };
    let mut view = Training::new(facts, &config, VocabKind::Chars, 1000, &before, colours);
    for step in 1001..=1200 {
        let (loss, lr, loss_scale) = (falls(step) as f32, 3e-4, 65_536.0);
        view.take(&Event::Step(StepReport { step, loss, masked: 9, grad_norm: 0.5, lr, loss_scale }));
    }
    let validation = Validation { measure: Measure::Nelbo, nats: 1.692, standard_error: Some(0.0123), misread: None };
    view.take(&Event::Validation { step: 1200, validation });
    view.take(&Event::Sample { step: 1200, text: "ROMEO:\nWhat\u{1b} light?" });
    view.take(&Event::Checkpoint { step: 1200 });
    view
}

#[test]
fn a_view_of_training_shows_curves_figures_and_the_latest_sample() {
    for (width, height) in [(80, 24), (200, 50)] {
        let buffer = drawn(&mut training(Colours::Some), width, height);
        let shown = lines(&buffer);
        let all = shown.join("\n");
        for part in [
            "step 1,200 of 2,000",
            " loss 1.69",
            // With its unit where there is room.
            if width < 100 {
                " validation NELBO 1.692 ± 0.012 ─"
            } else {
                " validation NELBO 1.692 ± 0.012 nats/char "
            },
            "learning rate 3.000e-4",
            "gradient norm 0.500",
            "loss scale    65,536",
            "checkpoint    step 1,200",
            "memory        123.00 MB",
            "device        a CPU of 2 cores",
            " sample after step 1,200 ",
            "What␛ light?",
            "steps/s",
            "chars/s",
            " left",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
        assert_eq!(shown[0], "runs/1");
        assert_eq!(shown[usize::from(height) - 1], "q close the view and train on   Ctrl-C save and stop");
        // A line of Braille dots in each chart, which falls from left to right.
        for colour in [208, 39] {
            let dots: Vec<usize> = buffer
                .content
                .iter()
                .enumerate()
                .filter(|(_, cell)| {
                    cell.fg == Color::Indexed(colour) && ("\u{2801}"..="\u{28ff}").contains(&cell.symbol())
                })
                .map(|(at, _)| at)
                .collect();
            let column = |at: usize| at % usize::from(width);
            assert!(dots.len() > 10 && column(dots[0]) < column(dots[dots.len() - 1]), "{colour}:\n{all}");
        }
    }
}

#[test]
fn a_view_of_training_needs_no_colours_and_no_room() {
    let buffer = drawn(&mut training(Colours::None), 80, 24);
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    for (width, height) in (1..200).step_by(11).flat_map(|width| (1..50).step_by(5).map(move |height| (width, height)))
    {
        drawn(&mut training(Colours::Some), width, height);
    }
    // Before the first step there is nothing to show, and nothing to divide by.
    let empty = Training::new(Facts::default(), &config(1), VocabKind::Bytes, 0, &History::default(), Colours::Some);
    let shown = lines(&drawn(&mut { empty }, 80, 24)).join("\n");
    assert!(shown.contains("step 0 of ") && shown.contains("nothing yet") && shown.contains("none yet"), "{shown}");
}
