//! Signals, as the process found them.

#[cfg(unix)]
use signal_hook::consts::SIGHUP;
use signal_hook::consts::{SIGINT, SIGTERM};

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
