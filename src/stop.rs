//! A request to end early, as Ctrl-C makes one: seen by everything that runs long, between ops and between steps.

use crate::error::{Error, Result};
use crate::raw::signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether somebody asked to stop. Clones share the answer; the default is never asked.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The signal; 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// One that SIGINT (Ctrl-C), SIGTERM and SIGHUP ask. A second one ends the process at once, but for what comes on the
    /// heels of the first, which is the same request: `timeout` sends its signal to a command and then to its whole group.
    ///
    /// What was ignored when the process began stays so: `nohup` ignores SIGHUP, and a shell without job control SIGINT for
    /// what it starts with `&`.
    pub fn on_signals() -> Result<Self> {
        let stop = Stop::default();
        let requests = Arc::new(signals::Requests::default());
        for signal in signals::TO_STOP.into_iter().filter(|&signal| !signals::is_ignored(signal)) {
            signals::on(signal, &requests, &stop.signal)
                .map_err(|e| Error::input(format!("cannot watch for signal {signal}: {e}")))?;
        }
        Ok(stop)
    }

    /// Asks, as a signal would.
    pub fn ask(&self, signal: i32) {
        self.signal.store(signal as usize, Ordering::Relaxed);
    }

    /// An error once somebody has asked.
    pub fn check(&self) -> Result<()> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Error::Stopped(signal as i32)),
        }
    }
}
