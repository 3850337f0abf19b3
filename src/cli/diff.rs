//! How two texts differ, line by line.

use console::Style;
use similar::{ChangeTag, TextDiff};
use tempest::terminal;

/// Lines around a change.
const CONTEXT: usize = 3;

/// A unified patch of a file, as `patch` applies it; empty where nothing differs.
pub(crate) fn unified(name: &str, old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new).unified_diff().context_radius(CONTEXT).header(name, name).to_string()
}

/// The same for people: where standard output has colours, what is new is green, what goes is red, and of a line that changes the
/// characters that do stand out.
pub(crate) fn coloured(name: &str, old: &str, new: &str) -> String {
    if !terminal::output_has_colours() {
        return unified(name, old, new);
    }
    let [head, place, gone, added] =
        [Style::new().bold(), Style::new().cyan(), Style::new().red(), Style::new().green()]
            .map(|s| s.force_styling(true));
    let diff = TextDiff::from_lines(old, new);
    let mut shown = String::new();
    for (i, hunk) in diff.unified_diff().context_radius(CONTEXT).iter_hunks().enumerate() {
        if i == 0 {
            shown += &format!("{}\n{}\n", head.apply_to(format!("--- {name}")), head.apply_to(format!("+++ {name}")));
        }
        shown += &format!("{}\n", place.apply_to(hunk.header()));
        for change in hunk.ops().iter().flat_map(|op| diff.iter_inline_changes(op)) {
            let (sign, style) = match change.tag() {
                ChangeTag::Equal => (" ", Style::new()),
                ChangeTag::Delete => ("-", gone.clone()),
                ChangeTag::Insert => ("+", added.clone()),
            };
            shown += &style.apply_to(sign).to_string();
            for (differs, part) in change.iter_strings_lossy() {
                // Colours end before the line does.
                let (line, end) = part.strip_suffix('\n').map_or((&part[..], ""), |line| (line, "\n"));
                let style = if differs { style.clone().bold().underlined() } else { style.clone() };
                if !line.is_empty() {
                    shown += &style.apply_to(terminal::printable(line)).to_string();
                }
                shown += end;
            }
            if change.missing_newline() {
                shown += "\n\\ No newline at end of file\n";
            }
        }
    }
    shown
}
