//! `tempest completions` and `tempest man`: the command line as shells and manuals have it.

use super::print;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use tempest::files::atomic::{self, Existing};
use tempest::{Error, Result, terminal};

/// Print what lets a shell complete tempest's options
///
/// For bash: tempest completions bash > ~/.local/share/bash-completion/completions/tempest
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write the manual pages
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// Folder for all pages, one a command [default: tempest's own page, on standard output]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn completions(mut command: Command, args: &CompletionsArgs) -> Result<()> {
    let (name, mut script) = (command.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(crate) fn man(mut command: Command, args: &ManArgs) -> Result<()> {
    command.build();
    let Some(folder) = &args.out else {
        return print(&page(&Man::new(command))?);
    };
    atomic::create_folder(folder)?;
    let commands = command.get_subcommands().filter(|one| one.get_name() != "help").cloned();
    let pages: Vec<Man> = commands.chain([command.clone()]).map(Man::new).collect();
    for man in &pages {
        let path = folder.join(man.get_filename());
        atomic::write_text(&path, "write a manual page", Existing::Replace, &page(man)?)?;
    }
    terminal::say(format!("{} pages are in {}", pages.len(), folder.display()));
    Ok(())
}

fn page(man: &Man) -> Result<String> {
    let mut text = Vec::new();
    man.render(&mut text).map_err(Error::io("write a manual page", Path::new("tempest.1")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
