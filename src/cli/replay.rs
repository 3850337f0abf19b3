//! `tempest replay`.

use super::sample::{Form, Request, To};
use clap::Args;
use std::path::PathBuf;
use tempest::Result;
use tempest::files::atomic::{self, Existing};
use tempest::terminal;

/// Write a page that plays how texts come about, forwards and backwards, or a picture of it that moves
#[derive(Args, Debug)]
#[command(after_help = super::help::REPLAY)]
pub(crate) struct ReplayArgs {
    /// The page to write; one that ends in .svg is a picture
    #[arg(short, long, value_name = "FILE", default_value = "replay.html")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    request: Request,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<()> {
    let existing = Existing::forced(args.force);
    atomic::check_place(&args.out, existing)?;
    let is_picture = args.out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("svg"));
    let (form, what) = if is_picture { (Form::Picture, "picture") } else { (Form::Page, "page") };
    let mut text = String::new();
    super::sample::write(&args.request, None, To::Record(form, &mut text))?;
    atomic::write_text(&args.out, "write the replay", existing, &text)?;
    terminal::say(format!("{what:<9} {}", args.out.display()));
    Ok(())
}
