//! `tempest serve`.

use super::machine::Machine;
use super::model::SavedModelArgs;
use super::print;
use clap::Args;
use std::net::SocketAddr;
use std::time::Duration;
use tempest::serve::{self, LONGEST, Options};
use tempest::stop::Stop;
use tempest::{Result, terminal};

/// Serve a model over HTTP: a page to try it, and a JSON interface that batches what many ask for
#[derive(Args, Debug)]
#[command(after_help = super::help::SERVE)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    /// Of a model of --process block: the length of its blocks [default: the first that it has learned]
    #[arg(long, value_name = "N", help_heading = "Model")]
    block_length: Option<usize>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    machine: Machine,
}

/// Who may ask, and for how much.
#[derive(Args, Debug)]
#[command(next_help_heading = "Server")]
struct Server {
    /// Address and port, port 0 for a free one; other than loopback wants a --token
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// What clients must show, as "Authorization: Bearer TOKEN"; others on this machine see options, not its variable
    #[arg(long, env = "TEMPEST_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Most texts at a time
    #[arg(short, long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Most texts that wait; further requests are told when to ask again
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Most texts of a request
    #[arg(long, value_name = "N", default_value_t = 16)]
    most_texts: usize,
    /// Most tokens of a text
    #[arg(long, value_name = "N", default_value_t = LONGEST)]
    most_tokens: usize,
    /// Most seconds until a request is answered
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    deadline: u64,
    /// Key of the random numbers of texts whose request names none
    #[arg(short, long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let Server { listen, token, batch, queue, most_texts, most_tokens, deadline, seed } = &args.server;
    let mut options = Options {
        listen: *listen,
        token: token.clone().filter(|token| !token.is_empty()),
        name: String::new(),
        seed: *seed,
        queue: *queue,
        texts: *most_texts,
        length: *most_tokens,
        deadline: Duration::from_secs(*deadline),
    };
    options.validate()?;
    let loaded = args.model.load_or_built_in(None)?.of_blocks(args.block_length)?;
    options.name = loaded.name();
    let mut denoiser = loaded.denoiser(&args.machine, *batch)?;
    let stop = Stop::on_signals()?;
    serve::serve(&mut denoiser, &options, &stop, |at| {
        // A script reads the address from standard output; nobody may.
        let _ = print(&format!("http://{at}\n"));
        terminal::say("serving   until Ctrl-C, which lets what was asked for finish; a second one does not");
    })?;
    terminal::say("stopped   all that was asked for is answered");
    Ok(())
}
