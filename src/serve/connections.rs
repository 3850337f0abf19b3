//! Connections: so many at a time, and none that keeps silent for long.

use super::http::App;
use crate::error::{Error, Result};
use crate::stop::Stop;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};

/// Most at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 512;

/// Longest time for a request's head, and between requests.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Longest time in which a client takes nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(20);

/// Bytes of a request's head, and of an answer that waits to be sent.
const BUFFER: usize = 64 << 10;

/// Between looks at whether somebody asked to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Answers requests until somebody asks to stop and all are answered, or too late to be.
pub(super) fn run(listener: TcpListener, app: Arc<App>, stop: &Stop) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|e| Error::input(format!("cannot speak HTTP: {e}")))?;
    runtime.block_on(accept(listener, app, stop)).map_err(|e| Error::input(format!("cannot accept connections: {e}")))
}

async fn accept(listener: TcpListener, app: Arc<App>, stop: &Stop) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let (room, graceful) = (Arc::new(Semaphore::new(CONNECTIONS)), GracefulShutdown::new());
    let mut speaks = http1::Builder::new();
    speaks.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let router = app.router();
    while stop.check().is_ok() {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?.0))
        };
        let (place, stream) = match timeout(LOOK, next).await {
            Err(_) => continue,
            Ok(Ok(accepted)) => accepted,
            // Out of file handles, or a client that went at once.
            Ok(Err(_)) => {
                sleep(LOOK).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(speaks.serve_connection(TokioIo::new(Patient::new(stream)), service));
        let counted = Counted::new(&app);
        tokio::spawn(async move {
            let _held = (place, counted);
            // A client that breaks off or speaks something else is its own fault.
            let _ = connection.await;
        });
    }
    drop(listener);
    let _ = timeout(app.options.deadline + WRITE_TIME, graceful.shutdown()).await;
    Ok(())
}

/// A connection that is open.
struct Counted(Arc<App>);

impl Counted {
    fn new(app: &Arc<App>) -> Self {
        app.metrics.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(app))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that breaks off when nothing of what is written is taken for a while.
struct Patient {
    stream: TcpStream,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Patient { stream, waits: None }
    }

    fn heed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        waits.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.heed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.heed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.heed(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
