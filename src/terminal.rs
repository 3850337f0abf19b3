//! What people get to see on standard error: lines, and under them what is going on.
//!
//! Nothing here can fail. Standard error may be closed, full, or a pipe whose reader is gone; a run of many hours does not
//! end for that, its words are lost and no more.
//!
//! Where standard error is a terminal, what is going on stands in its last line, as wide as the terminal is. Elsewhere (in a
//! file, a pipe, on a terminal without cursor movements: `TERM=dumb`) it is said as a line when nothing else was for a while.

use console::{Term, measure_text_width, style, truncate_str};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest silence where there is no bar.
const QUIET: Duration = Duration::from_secs(10);

/// Between looks at whether something is to be said, or a bar to be drawn anew.
const TICK: Duration = Duration::from_millis(250);

/// Columns of a bar: as many as are free, within these.
const BAR_COLUMNS: (usize, usize) = (8, 32);

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// Errors alone.
    Quiet,
    /// What most people want to know.
    #[default]
    Usual,
    /// Details, too.
    Detailed,
}

/// Something that takes time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// What it is: `reading the text`, `step`.
    pub what: String,
    /// Parts that are done.
    pub done: u64,
    /// Parts in all; 0 where that is not known.
    pub of: u64,
    /// More to show, what matters most first: the last ones go where a line is too short.
    pub facts: Vec<String>,
}

/// What is going on, and who was told last.
struct Board {
    voice: Voice,
    activity: Option<Activity>,
    /// When the activity got where it is.
    since: Instant,
    /// There while something goes on. It keeps the lines that are drawn apart from those that are said.
    bar: Option<ProgressBar>,
    last_word: Instant,
    /// Whether all is said in lines.
    plain: bool,
    /// There while a view has the terminal.
    held: Option<Held>,
}

/// What was said while a view has the terminal.
struct Held {
    lines: Vec<String>,
    /// Whether it is written once the view is gone; it is at once where standard error goes elsewhere.
    waits: bool,
}

static BOARD: LazyLock<Mutex<Board>> = LazyLock::new(|| {
    let ticker = || {
        loop {
            std::thread::sleep(TICK);
            board().tick();
        }
    };
    // Without the thread there are fewer words, and no harm is done.
    let _ = std::thread::Builder::new().name("terminal".into()).spawn(ticker);
    let now = Instant::now();
    let (voice, activity, bar, plain, held) = (Voice::default(), None, None, false, None);
    Mutex::new(Board { voice, activity, since: now, bar, last_word: now, plain, held })
});

fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much is said from now on.
pub fn set_voice(voice: Voice) {
    board().voice = voice;
}

/// From now on all is said in lines, as where there is no terminal.
pub fn set_plain() {
    board().plain = true;
}

/// Whether a view may have the terminal that standard output goes to, and why not.
pub fn admits_view() -> std::result::Result<(), &'static str> {
    let board = board();
    match std::io::stdout().is_terminal() {
        _ if board.plain => Err("--plain"),
        _ if board.voice == Voice::Quiet => Err("--quiet"),
        false => Err("standard output is no terminal"),
        true if !has_cursor() => Err("the terminal has no cursor movements (TERM)"),
        true => Ok(()),
    }
}

/// Whether the terminal's name is one of which anything is known, and not that of a printer of lines.
fn has_cursor() -> bool {
    cfg!(windows) || std::env::var("TERM").is_ok_and(|name| !name.is_empty() && name != "dumb")
}

/// A view has the terminal: what is said is held back where it would go there, too.
pub(crate) fn hold() {
    let mut board = board();
    if let Some(bar) = board.bar.take() {
        bar.finish_and_clear();
    }
    board.held = Some(Held { lines: Vec::new(), waits: std::io::stderr().is_terminal() });
}

/// The view is gone: says what was held back.
pub(crate) fn release() {
    let mut board = board();
    if let Some(Held { lines, waits: true }) = board.held.take() {
        lines.iter().for_each(|line| board.write(line));
    }
}

/// The last lines that were said since a view has the terminal.
pub(crate) fn held(most: usize) -> Vec<String> {
    let board = board();
    let lines = board.held.iter().flat_map(|held| &held.lines).flat_map(|text| text.lines());
    let mut last: Vec<String> = lines.rev().take(most).map(String::from).collect();
    last.reverse();
    last
}

/// Whether what is going on is drawn in colours, and results that have any; by default where they go to a terminal and `NO_COLOR`
/// is not set.
pub fn set_colours(wanted: bool) {
    console::set_colors_enabled_stderr(wanted);
    console::set_colors_enabled(wanted);
}

/// Whether results on standard output may have colours.
pub fn output_has_colours() -> bool {
    console::colors_enabled()
}

/// Says a line, or several.
pub fn say(text: impl AsRef<str>) {
    let mut board = board();
    if board.voice != Voice::Quiet {
        board.say(text.as_ref());
    }
}

/// Says what only those want to know who ask for details.
pub fn detail(text: impl AsRef<str>) {
    let mut board = board();
    if board.voice == Voice::Detailed {
        board.say(text.as_ref());
    }
}

/// Says what must be heard: an error.
pub fn complain(text: impl AsRef<str>) {
    board().say(text.as_ref());
}

/// Tells that something is going on whose end is not known.
pub fn doing(what: impl Into<String>) {
    let mut board = board();
    board.activity = Some(Activity { what: what.into(), ..Activity::default() });
    board.since = Instant::now();
}

/// Tells how far something is.
pub fn show(activity: Activity) {
    let mut board = board();
    if board.activity.as_ref() != Some(&activity) {
        board.activity = Some(activity);
        board.since = Instant::now();
    }
    board.draw();
}

/// Nothing is going on any more.
pub fn rest() {
    let mut board = board();
    board.activity = None;
    if let Some(bar) = board.bar.take() {
        bar.finish_and_clear();
    }
}

/// Whether what is going on stands in the last line of a terminal.
pub fn has_bar() -> bool {
    board().bar().is_some()
}

/// Lets something else write to the terminal, above what is going on.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    match &board().bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A number with its thousands set apart: `10,764,288`.
pub fn thousands(n: u64) -> String {
    HumanCount(n).to_string()
}

/// `1 character`, `2,000 characters`.
pub fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(n), if n == 1 { "" } else { "s" })
}

/// Control characters, which a text may well hold, as their pictures: they must not steer a terminal.
pub fn printable(text: &str) -> String {
    let picture = |c: char| match c {
        '\n' | '\t' => c,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or(c),
        '\u{7f}' => '\u{2421}',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(picture).collect()
}

impl Board {
    /// The bar; none where standard error is no terminal that could show it.
    fn bar(&mut self) -> Option<&ProgressBar> {
        if self.voice == Voice::Quiet || self.plain || self.held.is_some() {
            return None;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let target = if has_cursor() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
            let style = ProgressStyle::with_template("{msg}").expect("the template is well formed");
            ProgressBar::with_draw_target(None, target).with_style(style)
        });
        (!bar.is_hidden()).then_some(bar)
    }

    fn say(&mut self, text: &str) {
        let line = printable(text.trim_end_matches('\n')) + "\n";
        let waits = self.held.as_ref().is_some_and(|held| held.waits);
        if !waits {
            self.write(&line);
        }
        if let Some(held) = &mut self.held {
            held.lines.push(line);
        }
    }

    fn write(&mut self, line: &str) {
        let write = || {
            let mut err = std::io::stderr().lock();
            // Nobody is left to be told.
            let _ = err.write_all(line.as_bytes()).and_then(|()| err.flush());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
        self.last_word = Instant::now();
    }

    fn draw(&mut self) {
        let Some(activity) = &self.activity else { return };
        let (_, columns) = Term::stderr().size();
        let (bar_columns, text) = activity.fit(usize::from(columns), self.since.elapsed());
        let share = activity.done as f64 / activity.of.max(1) as f64;
        let full = ((share * bar_columns as f64) as usize).min(bar_columns);
        let Some(bar) = self.bar() else { return };
        bar.set_message(match bar_columns {
            0 => text,
            _ => {
                let (left, right) = ("█".repeat(full), "░".repeat(bar_columns - full));
                format!("{}{} {text}", style(left).for_stderr().cyan(), style(right).for_stderr().dim())
            }
        });
    }

    fn tick(&mut self) {
        let Some(activity) = &self.activity else { return };
        let line = activity.line(self.since.elapsed());
        if self.bar().is_some() {
            self.draw();
        } else if self.voice != Voice::Quiet && self.held.is_none() && self.last_word.elapsed() >= QUIET {
            self.say(&line);
        }
    }
}

impl Activity {
    /// `step 120/3000`.
    fn headline(&self) -> String {
        match self.of {
            0 => self.what.clone(),
            of => format!("{} {}/{of}", self.what, self.done),
        }
    }

    /// `step 120/3000  loss 2.310  2 minutes left`, and how long it has been there if that is worth a word.
    fn line(&self, lasting: Duration) -> String {
        let mut line = self.headline();
        for fact in &self.facts {
            line += &format!("  {fact}");
        }
        if lasting >= QUIET {
            line += &format!("  ({} seconds so far)", lasting.as_secs());
        }
        line
    }

    /// The columns of a bar and the text beside it, for a terminal of this width: what wraps around cannot be taken back.
    fn fit(&self, columns: usize, lasting: Duration) -> (usize, String) {
        // The last column is left free: some terminals wrap when it is written.
        let room = columns.saturating_sub(1).max(1);
        let mut parts = vec![printable(&self.headline())];
        parts.extend(self.facts.iter().map(|fact| printable(fact)));
        if lasting >= Duration::from_secs(2) {
            parts.insert(1, format!("{} s", lasting.as_secs()));
        }
        while parts.len() > 1 && measure_text_width(&parts.join("  ")) > room {
            parts.pop();
        }
        let text = truncate_str(&parts.join("  "), room, "…").into_owned();
        let free = room.saturating_sub(measure_text_width(&text) + 1);
        (if self.of == 0 || free < BAR_COLUMNS.0 { 0 } else { free.min(BAR_COLUMNS.1) }, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Activity {
        let facts = ["loss 2.310", "2 minutes left", "45.1 k chars/s"].map(String::from).into();
        Activity { what: "step".into(), done: 120, of: 3000, facts }
    }

    #[test]
    fn no_line_of_a_bar_is_as_wide_as_the_terminal() {
        let wide = Activity { what: "wide 世界 text".into(), ..activity() };
        for columns in 1..130 {
            for activity in [activity(), Activity { of: 0, ..activity() }, wide.clone()] {
                let (bar, text) = activity.fit(columns, Duration::ZERO);
                let beside = if bar > 0 { bar + 1 } else { 0 };
                // A character of two columns does not fit into one.
                let most = columns.saturating_sub(1).max(2);
                assert!(measure_text_width(&text) + beside <= most, "{columns} columns: {bar} and {text:?}");
                assert_eq!(text.lines().count(), 1);
            }
        }
    }

    #[test]
    fn a_narrow_line_keeps_what_matters_most() {
        let shown = |columns| activity().fit(columns, Duration::ZERO);
        assert_eq!(shown(120), (32, "step 120/3000  loss 2.310  2 minutes left  45.1 k chars/s".into()));
        assert_eq!(shown(60), (0, "step 120/3000  loss 2.310  2 minutes left  45.1 k chars/s".into()));
        assert_eq!(shown(40), (13, "step 120/3000  loss 2.310".into()));
        assert_eq!(shown(34), (0, "step 120/3000  loss 2.310".into()));
        assert_eq!(shown(6), (0, "step…".into()));
    }

    #[test]
    fn what_takes_long_says_for_how_long() {
        assert_eq!(activity().line(Duration::ZERO), "step 120/3000  loss 2.310  2 minutes left  45.1 k chars/s");
        let reading = Activity { what: "reading the text".into(), ..Activity::default() };
        assert_eq!(reading.line(Duration::from_secs(20)), "reading the text  (20 seconds so far)");
        assert_eq!(reading.fit(80, Duration::from_secs(20)).1, "reading the text  20 s");
    }

    #[test]
    fn counts_have_their_thousands_set_apart() {
        assert_eq!([0, 999, 1000, 1_115_394].map(thousands), ["0", "999", "1,000", "1,115,394"]);
        assert_eq!([1, 2000].map(|n| counted(n, "file")), ["1 file", "2,000 files"]);
    }

    #[test]
    fn control_characters_become_pictures() {
        assert_eq!(printable("a\r\n\tb\u{1b}[2J\u{0}\u{7f}\u{9b}"), "a␍\n\tb␛[2J␀␡\u{fffd}");
    }
}
