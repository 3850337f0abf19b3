//! Signals: as the process found them, and what it does on those that ask it to end.

use crate::tty;
#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Signals by which people and systems ask a program to end.
#[cfg(unix)]
pub(crate) const TO_STOP: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// Signals by which people and systems ask a program to end.
#[cfg(not(unix))]
pub(crate) const TO_STOP: [i32; 2] = [SIGINT, SIGTERM];

/// Whether a signal has no effect on this process.
#[cfg(unix)]
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: a `sigaction` of zeros is a value of that type.
    let mut found: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set; what is there is written to `found`.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut found) };
    asked == 0 && found.sa_sigaction == libc::SIG_IGN
}

/// Whether a signal has no effect on this process.
#[cfg(not(unix))]
pub(crate) fn is_ignored(_signal: i32) -> bool {
    false
}

/// Signals that come so soon after the first are of one request, in nanoseconds: half a second. A person takes longer to see
/// that the first has done nothing.
const ONE_REQUEST: u64 = 500_000_000;

/// When this process was first asked to end.
#[derive(Debug)]
pub(crate) struct Requests {
    began: Instant,
    /// Nanoseconds after that, and 1; 0 for not yet.
    first: AtomicU64,
}

impl Default for Requests {
    fn default() -> Self {
        Requests { began: Instant::now(), first: AtomicU64::new(0) }
    }
}

impl Requests {
    /// Whether a signal that comes now is a further request, and not part of the first.
    fn is_further(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        match self.first.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => false,
            Err(first) => now.saturating_sub(first) > ONE_REQUEST,
        }
    }
}

/// From now on a signal is written to `asked`, if it is part of the first request, and ends the process if it is a further
/// one. Signals that share `requests` make requests together.
pub(crate) fn on(signal: i32, requests: &Arc<Requests>, asked: &Arc<AtomicUsize>) -> io::Result<()> {
    let (requests, asked) = (Arc::clone(requests), Arc::clone(asked));
    let act = move || {
        if requests.is_further() {
            tty::give_back();
            low_level::exit(128 + signal);
        }
        let _ = asked.compare_exchange(0, signal as usize, Ordering::Relaxed, Ordering::Relaxed);
    };
    // SAFETY: what a signal handler may do: it reads the monotonic clock (clock_gettime, which POSIX lists as
    // async-signal-safe) and atomics, neither allocates nor locks, does not panic, gives a terminal back by functions on that
    // list, and `exit` is _exit.
    unsafe { low_level::register(signal, act) }.map(|_| ())
}

/// From now on what suspends the process or ends it with a memory dump gives the terminal back first.
#[cfg(unix)]
pub(crate) fn give_the_terminal_back() {
    for signal in [signal_hook::consts::SIGTSTP, signal_hook::consts::SIGQUIT].into_iter().filter(|&s| !is_ignored(s)) {
        let act = move || {
            tty::give_back();
            let _ = low_level::emulate_default_handler(signal);
        };
        // SAFETY: both are async-signal-safe, as they say.
        let _ = unsafe { low_level::register(signal, act) };
    }
}

/// There is nothing to give back.
#[cfg(not(unix))]
pub(crate) fn give_the_terminal_back() {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_signal_on_the_heels_of_the_first_is_the_same_request() {
        let asked_before = |ago: Duration| {
            let now = Instant::now();
            let requests = Requests { began: now - ago, first: AtomicU64::new(1) };
            requests.is_further()
        };
        assert!(!Requests::default().is_further());
        assert!(!asked_before(Duration::ZERO));
        assert!(asked_before(Duration::from_nanos(ONE_REQUEST + 1)));
    }
}
