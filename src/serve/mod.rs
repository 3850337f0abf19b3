//! Texts over HTTP: one model, many who ask.
//!
//! The thread that calls [`serve`] owns the [`Denoiser`] and computes (`worker`); another one speaks HTTP (`http`,
//! `connections`) and never computes. Between them stands a bounded `queue` of texts, not of requests: what is taken out of it
//! is as many texts as a batch has, those that can share a program, whoever asked for them. A text's randomness is a function of
//! its seed and its number, so it is the same text in any batch, and the one that `tempest sample` writes.
//!
//! Nobody waits without end and nothing grows without bounds: connections, headers, bodies, lengths, texts, steps and the queue
//! have limits, every request has a deadline, and who goes away makes room.

mod api;
mod connections;
mod fields;
mod http;
mod metrics;
mod queue;
mod refusal;
mod worker;

use crate::data::Vocab;
use crate::denoiser::Denoiser;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::stop::Stop;
use metrics::Metrics;
use queue::Queue;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// How the model is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 for any that is free.
    pub listen: SocketAddr,
    /// What a client must show. Without one only this machine may ask.
    pub token: Option<String>,
    /// What the model is called.
    pub name: String,
    /// Key of the random numbers of texts for which no other is asked.
    pub seed: u64,
    /// Most texts that wait.
    pub queue: usize,
    /// Most texts of one request.
    pub texts: usize,
    /// Most tokens of a text.
    pub length: usize,
    /// Longest time from a request's head to the end of its answer.
    pub deadline: Duration,
}

/// Tokens of the longest text that is written, unless said.
pub const LONGEST: usize = 4096;

impl Options {
    /// Refuses what serves nobody, or everybody.
    pub fn validate(&self) -> Result<()> {
        if self.token.is_none() && !self.listen.ip().is_loopback() {
            return Err(Error::input(format!(
                "{} can be reached by other machines, and no token keeps them out; give --token, or listen on 127.0.0.1",
                self.listen
            )));
        }
        let short = self.token.as_ref().is_some_and(|token| token.len() < LEAST_TOKEN);
        if short || self.token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::input(format!(
                "the token has to be {LEAST_TOKEN} or more printed ASCII characters without blanks; take some at random"
            )));
        }
        for (what, found) in [("--queue", self.queue), ("--most-texts", self.texts), ("--most-tokens", self.length)] {
            if !(1..=MOST).contains(&found) {
                return Err(Error::input(format!("{what} is {found}; wanted 1 to {MOST}")));
            }
        }
        if self.texts > self.queue {
            return Err(Error::input(format!(
                "--most-texts {} of a request do not fit into --queue {}; wanted at most as many",
                self.texts, self.queue
            )));
        }
        if self.deadline.is_zero() || self.deadline > LONGEST_DEADLINE {
            let most = LONGEST_DEADLINE.as_secs();
            return Err(Error::input(format!("--deadline is {:?}; wanted 1 to {most} seconds", self.deadline)));
        }
        Ok(())
    }
}

/// Fewer characters can be guessed.
const LEAST_TOKEN: usize = 8;

/// Of texts that wait, of one request, and of tokens of a text.
const MOST: usize = 1 << 20;

const LONGEST_DEADLINE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is to be known of a model to read requests, apart from the memory that it computes in.
struct Model {
    process: Process,
    process_config: crate::config::ProcessConfig,
    vocab: Vocab,
    batch: usize,
    device: String,
}

/// Serves until somebody asks to stop; then accepts nothing more, finishes what it was asked for, and returns. `listening` is told
/// the address.
pub fn serve(
    denoiser: &mut Denoiser,
    options: &Options,
    stop: &Stop,
    listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    options.validate()?;
    let cannot = |e: std::io::Error| {
        Error::input(format!(
            "cannot listen on {}: {e}; choose another --listen, port 0 for a free one",
            options.listen
        ))
    };
    let listener = TcpListener::bind(options.listen).map_err(cannot)?;
    listener.set_nonblocking(true).map_err(cannot)?;
    let at = listener.local_addr().map_err(cannot)?;
    let model = Model {
        process: denoiser.process().clone(),
        process_config: *denoiser.process_config(),
        vocab: denoiser.vocab().clone(),
        batch: denoiser.batch(),
        device: denoiser.describe(),
    };
    let queue = Arc::new(Queue::new(options.queue));
    let metrics = Arc::new(Metrics::default());
    let app = http::App::new(model, options.clone(), Arc::clone(&queue), Arc::clone(&metrics));
    let (open, stop) = (queue.open_until_dropped(), stop.clone());
    let speaks = std::thread::Builder::new().name("http".into()).spawn(move || {
        let _open = open;
        connections::run(listener, app, &stop)
    });
    let speaks = speaks.map_err(|e| Error::input(format!("cannot start the thread that speaks HTTP: {e}")))?;
    listening(at);
    worker::run(denoiser, &queue, &metrics);
    speaks.join().unwrap_or_else(|_| Err(Error::Device("the thread that speaks HTTP broke off".into())))
}
