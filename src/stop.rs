//! A request to end early, as Ctrl-C makes one: seen by everything that runs long, between ops and between steps.

use crate::error::{Error, Result};
use crate::raw::signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether somebody asked to stop. Clones share the answer; the default is never asked.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// The signal; 0 for none.
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// One that SIGINT (Ctrl-C), SIGTERM and SIGHUP ask. The second of them ends the process at once.
    ///
    /// What was ignored when the process began stays so: `nohup` ignores SIGHUP, and a shell without job control SIGINT for
    /// what it starts with `&`.
    pub fn on_signals() -> Result<Self> {
        let stop = Stop::default();
        let asked = Arc::new(AtomicBool::new(false));
        for signal in signals::TO_STOP.into_iter().filter(|&signal| !signals::is_ignored(signal)) {
            let watch = || -> io::Result<()> {
                // In this order: the first signal finds the flag unset.
                let status = 128 + signal;
                signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&asked))?;
                signal_hook::flag::register(signal, Arc::clone(&asked))?;
                signal_hook::flag::register_usize(signal, Arc::clone(&stop.signal), signal as usize)?;
                Ok(())
            };
            watch().map_err(|e| Error::input(format!("cannot watch for signal {signal}: {e}")))?;
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
