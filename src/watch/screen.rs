//! A view on the whole terminal, drawn by a thread of its own: what is looked at never waits for a terminal.

use super::keys::{Key, keys};
use crate::error::Result;
use crate::raw::signals;
use crate::stop::Stop;
use crate::{terminal, tty};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use std::io::{self, BufWriter, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between looks at whether the terminal belongs to this process again, and whether somebody asked to stop.
const LOOK: Duration = Duration::from_millis(100);

/// What a terminal shows, and what keys do to it.
pub trait View: Send + 'static {
    /// Least time between two pictures.
    const PACE: Duration;
    /// Longest time between two pictures: of a clock, if it has one.
    const REFRESH: Duration;

    /// Draws it.
    fn draw(&mut self, frame: &mut Frame<'_>);

    /// A key was pressed.
    fn key(&mut self, key: Key) -> Then;
}

/// What becomes of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays.
    Stay,
    /// It goes, and what it looked at goes on.
    Close,
}

/// A view that has the terminal, until it is dropped or a key closes it. What is said in the meantime stands below it or is said
/// behind it.
pub struct Screen<V: View> {
    shared: Arc<Shared<V>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<V> {
    view: Mutex<V>,
    /// Told when the view has changed.
    changed: Condvar,
    /// Whether there is something new to draw.
    news: AtomicBool,
    open: AtomicBool,
}

impl<V: View> Shared<V> {
    fn view(&self) -> MutexGuard<'_, V> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn note(&self) {
        self.news.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }
}

impl<V: View> Screen<V> {
    /// Takes the terminal for a view; the reason why not where [`terminal::admits_view`] has one, or where a shell has put the
    /// process behind. `stop` must be asked by signals already: they end what a view looks at.
    pub fn open(view: V) -> Result<Self, &'static str> {
        terminal::admits_view()?;
        if !tty::is_ours() {
            return Err("this process is none in the foreground of a terminal");
        }
        give_back_on_the_way_out();
        tty::take().map_err(|_| "the terminal does not change its modes")?;
        terminal::hold();
        let (view, changed) = (Mutex::new(view), Condvar::new());
        let shared = Arc::new(Shared { view, changed, news: true.into(), open: true.into() });
        let for_thread = Arc::clone(&shared);
        let run = move || {
            let _closing = Closing(&for_thread);
            // A terminal that cannot be written to is gone.
            let _ = look(&for_thread);
        };
        match std::thread::Builder::new().name("view".into()).spawn(run) {
            Ok(thread) => Ok(Screen { shared, thread: Some(thread) }),
            Err(_) => {
                drop(Closing(&shared));
                Err("there is no thread for it")
            }
        }
    }

    /// Whether it is still there.
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// Changes the view. What is drawn at that moment is drawn before; nobody waits for the terminal.
    pub fn change<T>(&self, change: impl FnOnce(&mut V) -> T) -> T {
        let result = change(&mut self.shared.view());
        self.shared.note();
        result
    }

    /// Waits until the view, asked with how long that has taken so far, wants nobody to wait any more; until it is closed, or
    /// somebody asks to stop.
    pub fn wait(&self, stop: &Stop, mut wants: impl FnMut(&mut V, Duration) -> Option<Duration>) {
        let start = Instant::now();
        let mut view = self.shared.view();
        while self.is_open() && stop.check().is_ok() {
            let Some(left) = wants(&mut view, start.elapsed()) else { return };
            let waited = self.shared.changed.wait_timeout(view, left.min(LOOK));
            view = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<V: View> Drop for Screen<V> {
    fn drop(&mut self) {
        self.shared.open.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the terminal back when the thread that draws ends, however it does.
struct Closing<'a, V: View>(&'a Shared<V>);

impl<V: View> Drop for Closing<'_, V> {
    fn drop(&mut self) {
        self.0.open.store(false, Ordering::SeqCst);
        tty::give_back();
        terminal::release();
        self.0.changed.notify_all();
    }
}

/// Whether any thread has panicked: what it says must stay to be read.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// From now on a panic and every signal that ends or suspends the process gives the terminal back first.
fn give_back_on_the_way_out() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICKED.store(true, Ordering::SeqCst);
            tty::give_back();
            before(panic);
        }));
        signals::give_the_terminal_back();
    });
}

/// Draws, and reads keys, until the view is closed.
fn look<V: View>(shared: &Shared<V>) -> io::Result<()> {
    let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, io::stdout()));
    let mut terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>> = Terminal::new(backend)?;
    let (mut drawn, mut size, mut has_keys) = (None::<Instant>, terminal.size()?, true);
    while shared.is_open() {
        if !tty::is_taken() {
            // It was given back: for good by a panic, until the process is in the foreground again by Ctrl-Z.
            if PANICKED.load(Ordering::SeqCst) {
                return Ok(());
            }
            if !tty::is_ours() {
                std::thread::sleep(LOOK);
                continue;
            }
            tty::take()?;
            terminal.clear()?;
            shared.note();
        }
        match has_keys.then(|| tty::key_bytes(V::PACE)) {
            Some(Ok(bytes)) => {
                for key in keys(&bytes) {
                    if shared.view().key(key) == Then::Close {
                        return Ok(());
                    }
                    shared.note();
                }
            }
            Some(Err(_)) => has_keys = false,
            None => std::thread::sleep(V::PACE),
        }
        let now = terminal.size()?;
        let is_old = drawn.is_none_or(|then| then.elapsed() >= V::REFRESH);
        let is_due = drawn.is_none_or(|then| then.elapsed() >= V::PACE);
        let is_new = now != size || is_old || shared.news.load(Ordering::SeqCst);
        if is_due && is_new && tty::is_taken() {
            shared.news.store(false, Ordering::SeqCst);
            (drawn, size) = (Some(Instant::now()), now);
            // The view is free again before anything goes to the terminal.
            terminal.draw(|frame| shared.view().draw(frame))?;
        }
    }
    Ok(())
}
