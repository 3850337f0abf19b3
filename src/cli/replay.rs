//! `tempest replay`.

use super::place::{Place, ending};
use super::sample::Request;
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::Result;
use tempest::page::Replay;

/// Write a page that plays how texts come about, forwards and backwards, or a picture of it that moves
#[derive(Args, Debug)]
#[command(after_help = super::help::REPLAY)]
pub(crate) struct ReplayArgs {
    /// The page to write, or - for standard output; one that ends in .svg or .gif is a picture that moves, in .png one of the finished texts
    #[arg(short, long, value_name = "FILE", default_value = "replay.html")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
    /// Show the texts that tempest sample --json wrote into this file, by the same model, instead of new ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["Beginning", "How", "Which"])]
    from_json: Option<PathBuf>,
    #[command(flatten)]
    request: Request,
}

/// What shows every step.
#[derive(Clone, Copy)]
enum Form {
    Page,
    Svg,
    Gif,
    Png,
}

impl Form {
    /// By the ending of a file's name.
    fn of(path: &Path) -> Self {
        match ending(path).as_deref() {
            Some("svg") => Form::Svg,
            Some("gif") => Form::Gif,
            Some("png") => Form::Png,
            _ => Form::Page,
        }
    }

    fn write(self, replay: Replay<'_>, facts: &[String]) -> Result<Vec<u8>> {
        match self {
            Form::Page => Ok(replay.page(facts).into_bytes()),
            Form::Svg => Ok(replay.svg().into_bytes()),
            Form::Gif => replay.gif(),
            Form::Png => replay.png(),
        }
    }
}

pub(crate) fn run(args: &ReplayArgs) -> Result<()> {
    let place = Place::of(&args.out, args.force, &["html", "svg", "gif", "png"])?;
    let (recording, facts) = match &args.from_json {
        Some(file) => super::sample::written(&args.request, file)?,
        None => super::sample::record(&args.request)?,
    };
    let form = Form::of(&args.out);
    let bytes = form.write(Replay(&recording), &facts)?;
    let what = if matches!(form, Form::Page) { "page" } else { "picture" };
    place.write("write the replay", what, "", &bytes)
}
