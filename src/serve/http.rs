//! Routes: who may ask, what is read, and what is answered.

use super::api::{self, Read};
use super::fields::Fields;
use super::metrics::Metrics;
use super::queue::{Event, Full, Queue, Ticket, What};
use super::refusal::{Refusal, json_body};
use super::{Model, Options};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_stream::{Stream, StreamExt};

/// All that requests share.
pub(super) struct App {
    model: Model,
    pub(super) options: Options,
    queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    token: Option<[u8; 32]>,
}

const PAGE: &str = include_str!("page.html");
const OPENAPI: &str = include_str!("openapi.json");

/// Bytes of the largest body.
const BODY: usize = 1 << 20;

/// Longest time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What counts are kept of; other paths count as one.
const ROUTES: [&str; 10] = [
    "/",
    "/healthz",
    "/metrics",
    "/api/openapi.json",
    "/api/model",
    "/api/generate",
    "/api/fill",
    "/api/score",
    "/api/gaps",
    "/api/repair",
];

/// Open where a token is wanted: they say nothing, and do nothing.
const OPEN: [&str; 2] = ["/", "/healthz"];

impl App {
    pub(super) fn new(model: Model, options: Options, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Arc<Self> {
        let token = options.token.as_ref().map(|token| digest(token.as_bytes()));
        Arc::new(App { model, options, queue, metrics, token })
    }

    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/healthz", get(async || json_body(&json!({ "status": "ok" }))))
            .route("/metrics", get(figures))
            .route("/api/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
            .route("/api/model", get(async |State(app): State<Arc<App>>| json_body(&app.model.json(&app.options))))
            .route("/api/generate", post(async |app, request| answer(app, request, api::generate).await))
            .route("/api/fill", post(async |app, request| answer(app, request, api::fill).await))
            .route("/api/gaps", post(async |app, request| answer(app, request, api::gaps).await))
            .route("/api/score", post(async |app, request| answer(app, request, api::score).await))
            .route("/api/repair", post(async |app, request| answer(app, request, api::repair).await))
            .fallback(async |uri: Uri| {
                let wanted = ROUTES.join(", ");
                Refusal::new(StatusCode::NOT_FOUND, format!("there is no {}; wanted one of {wanted}", uri.path()))
            })
            .method_not_allowed_fallback(async |method: Method, uri: Uri| {
                let message = format!("{} takes no {method}; the header Allow says what it takes", uri.path());
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
            })
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard))
            .with_state(Arc::clone(self))
    }

    /// Refuses who may not ask.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let forbidden = |message: String| Err(Refusal::new(StatusCode::FORBIDDEN, message));
        let Some(token) = self.token else {
            // Without a token only pages of this server's own address may ask: a page from elsewhere whose name was bent to
            // this machine, or that posts here, is told by these.
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            if !is_this_machine(host) {
                return forbidden(format!(
                    "the request is for {host:?}; wanted localhost or a loopback address as Host"
                ));
            }
            return match headers.get(header::ORIGIN) {
                Some(origin) if origin.to_str().ok().and_then(|o| o.strip_prefix("http://")) != Some(host) => {
                    forbidden(format!("a page from {origin:?} may not ask; wanted this server's own, or none"))
                }
                _ => Ok(()),
            };
        };
        if OPEN.contains(&uri.path()) {
            return Ok(());
        }
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        match shown {
            // Digests differ in no way that tells how much of the token is right.
            Some(shown) if same(&digest(shown), &token) => Ok(()),
            _ => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "this server wants a token; show it as \"Authorization: Bearer TOKEN\"",
            )),
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether digests are equal, in a time that does not depend on where they differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    std::hint::black_box(one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b))) == 0
}

/// Whether a Host header names a loopback address.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What stands before and behind every answer.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = ROUTES.into_iter().find(|route| *route == request.uri().path()).unwrap_or("other");
    let mut response = match app.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    app.metrics.request(route, response.status().as_u16(), began.elapsed());
    response
}

/// Nothing is kept, guessed, framed or fetched from elsewhere.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

async fn page() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE)
}

async fn figures(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.text(app.queue.len()))
}

async fn answer(State(app): State<Arc<App>>, request: Request, read: Read) -> Response {
    let deadline = Instant::now() + app.options.deadline;
    match ask(&app, request, read, deadline).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn ask(app: &Arc<App>, request: Request, read: Read, deadline: Instant) -> Result<Response, Refusal> {
    let accepts = request.headers().get_all(header::ACCEPT);
    let streams = accepts.iter().any(|value| value.to_str().is_ok_and(|value| value.contains("text/event-stream")));
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let message = format!("the body is said to be {kind:?}; wanted the content type application/json");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let body = timeout_at(deadline.min(Instant::now() + BODY_TIME), body(request)).await.unwrap_or_else(|_| {
        let message = format!("the body has not arrived within {} seconds", BODY_TIME.as_secs());
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
    })?;
    let mut fields = Fields::of(&body)?;
    let texts = read(&mut fields, &app.model, &app.options)?;
    fields.finish()?;
    let count = texts.len();
    if streams && !texts.iter().all(What::has_frames) {
        let message = "what is asked for has no frames to show; wanted application/json as Accept";
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, message));
    }
    let mut ticket = app.queue.put(texts, streams).map_err(|Full(waiting)| {
        let message = format!("{waiting} texts wait already, and no more than {} may", app.options.queue);
        Refusal::later(message, app.metrics.wait(waiting))
    })?;
    if streams {
        return Ok(Sse::new(Telling {
            app: Arc::clone(app),
            ticket,
            left: count,
            late: Box::pin(sleep_until(deadline)),
        })
        .into_response());
    }
    let all = async {
        let mut texts = vec![Value::Null; count];
        for _ in 0..count {
            match ticket.events.recv().await {
                Some(Event::Text { index, seed, text }) => {
                    texts[index] = api::text(&app.model.vocab, index, seed, &text)
                }
                Some(Event::Whole(value)) => return Ok(value),
                Some(Event::Failed(why)) => return Err(failed(why)),
                Some(Event::Frame { .. }) => {}
                None => return Err(failed("the server stops".into())),
            }
        }
        Ok(json!({ "texts": texts }))
    };
    let value = timeout_at(deadline, all).await.unwrap_or_else(|_| Err(late(app)))?;
    Ok(json_body(&value).into_response())
}

fn failed(why: String) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

fn late(app: &App) -> Refusal {
    let message = format!("it takes longer than {:?}, the most that a request may take", app.options.deadline);
    Refusal::later(message, app.metrics.wait(app.queue.len()))
}

/// A request's body, as far as it may be long.
async fn body(request: Request) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {BODY} bytes; ask for less at once"),
        )
    };
    let said =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|bytes| bytes > BODY) {
        return Err(too_large());
    }
    let (mut body, mut data) = (Vec::new(), request.into_body().into_data_stream());
    while let Some(chunk) = data.next().await {
        let chunk = chunk.map_err(|e| Refusal::bad(format!("the body cannot be read: {e}")))?;
        if body.len() + chunk.len() > BODY {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Texts in the making as server-sent events: `frame` after each step, `text` for each that is finished, and at the end
/// `done` or `error`.
struct Telling {
    app: Arc<App>,
    ticket: Ticket,
    /// Texts that are not finished.
    left: usize,
    late: Pin<Box<Sleep>>,
}

/// In the place of how many are left, once all is said.
const OVER: usize = usize::MAX;

impl Telling {
    fn end(&mut self, refusal: &Refusal) -> (&'static str, Value) {
        self.left = OVER;
        ("error", refusal.json())
    }

    fn told(&mut self, event: Option<Event>) -> (&'static str, Value) {
        match event {
            Some(Event::Text { index, seed, text }) => {
                self.left -= 1;
                ("text", api::text(&self.app.model.vocab, index, seed, &text))
            }
            Some(frame @ Event::Frame { .. }) => {
                ("frame", api::frame(&self.app.model.vocab, &frame).unwrap_or(Value::Null))
            }
            Some(Event::Failed(why)) => self.end(&failed(why)),
            Some(Event::Whole(_)) | None => self.end(&failed("the server stops".into())),
        }
    }
}

impl Stream for Telling {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let (name, value) = match this.left {
            OVER => return Poll::Ready(None),
            0 => {
                this.left = OVER;
                ("done", json!({}))
            }
            _ if this.late.as_mut().poll(context).is_ready() => {
                let late = late(&this.app);
                this.end(&late)
            }
            _ => {
                let event = ready!(this.ticket.events.poll_recv(context));
                this.told(event)
            }
        };
        Poll::Ready(Some(Ok(sse::Event::default().event(name).data(value.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:80", "127.1.2.3:5", "[::1]", "[::1]:8000"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["", "example.com", "localhost.example.com:8000", "127.0.0.1.example.com", "0.0.0.0:8000", "10.0.0.1"]
        {
            assert!(!is_this_machine(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_the_same_only_whole() {
        let token = digest(b"a secret");
        assert!(same(&digest(b"a secret"), &token));
        for other in [&b"a secre"[..], b"a secret ", b"", b"A secret"] {
            assert!(!same(&digest(other), &token));
        }
    }
}
