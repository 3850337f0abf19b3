//! The terminal that a view has for itself: taken, and given back from wherever a process ends, a signal's handler included.
//!
//! While it is taken, keys come one by one and do not show. Those that signal (Ctrl-C, Ctrl-\, Ctrl-Z) signal as ever: what
//! they do hangs on no view.

#[cfg(not(unix))]
pub(crate) use elsewhere::{give_back, is_ours, is_taken, key_bytes, take};
#[cfg(unix)]
pub(crate) use unix::{give_back, is_ours, is_taken, key_bytes, take};

#[cfg(unix)]
mod unix {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fd::{AsFd, BorrowedFd};
    use rustix::io::{Errno, read, write};
    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use std::fs::File;
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Another screen beside that with the shell's lines, no cursor, no wrapping at the last column.
    const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
    /// Usual colours, wrapping, a cursor, the first screen.
    const LEAVE: &[u8] = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

    static TAKEN: AtomicBool = AtomicBool::new(false);
    /// Modes of the terminal before it was taken first.
    static FOUND: OnceLock<Termios> = OnceLock::new();
    /// Where keys come from if standard input is no terminal.
    static KEYS: OnceLock<Option<File>> = OnceLock::new();

    /// Whether standard output is a terminal that belongs to this process now, and not to a shell that put it behind: a process
    /// there is stopped when it changes the terminal's modes.
    pub(crate) fn is_ours() -> bool {
        tcgetpgrp(rustix::stdio::stdout()).is_ok_and(|group| group == rustix::process::getpgrp())
    }

    /// Whether it is taken.
    pub(crate) fn is_taken() -> bool {
        TAKEN.load(Ordering::SeqCst)
    }

    /// Takes it.
    pub(crate) fn take() -> io::Result<()> {
        let out = rustix::stdio::stdout();
        let now = tcgetattr(out)?;
        let mut modes = FOUND.get_or_init(|| now).clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Before anything is changed: a signal in between finds what is to be given back.
        TAKEN.store(true, Ordering::SeqCst);
        tcsetattr(out, OptionalActions::Now, &modes)?;
        write_all(ENTER).inspect_err(|_| give_back())
    }

    /// Gives it back, once. It allocates nothing and locks nothing: `write` and `tcsetattr` are async-signal-safe.
    pub(crate) fn give_back() {
        if TAKEN.swap(false, Ordering::SeqCst) {
            let _ = write_all(LEAVE);
            if let Some(modes) = FOUND.get() {
                let _ = tcsetattr(rustix::stdio::stdout(), OptionalActions::Now, modes);
            }
        }
    }

    fn write_all(mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match write(rustix::stdio::stdout(), bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// What was typed, if anything was before a time is over; an error where nothing more will be.
    pub(crate) fn key_bytes(patience: Duration) -> io::Result<Vec<u8>> {
        let source = source().ok_or(io::ErrorKind::NotFound)?;
        let mut fds = [PollFd::new(&source, PollFlags::IN)];
        let patience = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        match poll(&mut fds, Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        let mut bytes = [0; 64];
        match read(source, &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(bytes[..n].to_vec()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// Standard input if it is a terminal, else the terminal that the process belongs to.
    fn source() -> Option<BorrowedFd<'static>> {
        let input = rustix::stdio::stdin();
        match rustix::termios::isatty(input) {
            true => Some(input),
            false => KEYS.get_or_init(|| File::open("/dev/tty").ok()).as_ref().map(AsFd::as_fd),
        }
    }
}

/// Where terminals have no modes of this kind, a view has none for itself.
#[cfg(not(unix))]
mod elsewhere {
    use std::io;
    use std::time::Duration;

    pub(crate) fn is_ours() -> bool {
        false
    }

    pub(crate) fn is_taken() -> bool {
        false
    }

    pub(crate) fn take() -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn give_back() {}

    pub(crate) fn key_bytes(_patience: Duration) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
