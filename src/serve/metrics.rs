//! What Prometheus gets to read.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts since the server began.
#[derive(Default)]
pub(super) struct Metrics {
    /// By route and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    seconds: Histogram<{ SECONDS.len() }>,
    texts: Histogram<{ TEXTS.len() }>,
    tokens: AtomicU64,
    given_up: AtomicU64,
    busy_micros: AtomicU64,
    pub(super) connections: AtomicU64,
}

/// Upper ends of the buckets of how long an answer takes, in seconds.
const SECONDS: [f64; 9] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// Upper ends of the buckets of how many texts a batch has.
const TEXTS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

struct Histogram<const N: usize> {
    /// Values up to each end, and above the bucket before.
    buckets: [AtomicU64; N],
    count: AtomicU64,
    millionths: AtomicU64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU64::new(0) }; N], count: AtomicU64::new(0), millionths: AtomicU64::new(0) }
    }
}

impl<const N: usize> Histogram<N> {
    fn add(&self, ends: &[f64; N], value: f64) {
        if let Some(bucket) = ends.iter().position(|&end| value <= end) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.millionths.fetch_add((value * 1e6) as u64, Relaxed);
    }

    fn sum(&self) -> f64 {
        self.millionths.load(Relaxed) as f64 / 1e6
    }

    fn write(&self, to: &mut String, name: &str, help: &str, ends: &[f64; N]) {
        *to += &format!("# HELP {name} {help}\n# TYPE {name} histogram\n");
        let mut up_to = 0;
        for (end, bucket) in ends.iter().zip(&self.buckets) {
            up_to += bucket.load(Relaxed);
            let _ = writeln!(to, "{name}_bucket{{le=\"{end}\"}} {up_to}");
        }
        let (count, sum) = (self.count.load(Relaxed), self.sum());
        let _ = writeln!(to, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

impl Metrics {
    pub(super) fn request(&self, route: &'static str, status: u16, took: Duration) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
        self.seconds.add(&SECONDS, took.as_secs_f64());
    }

    pub(super) fn batch(&self, texts: usize, took: Duration) {
        self.texts.add(&TEXTS, texts as f64);
        self.busy_micros.fetch_add(took.as_micros() as u64, Relaxed);
    }

    pub(super) fn tokens(&self, tokens: u64) {
        self.tokens.fetch_add(tokens, Relaxed);
    }

    /// A batch for which nobody waited any more.
    pub(super) fn given_up(&self) {
        self.given_up.fetch_add(1, Relaxed);
    }

    /// After how many seconds so many texts that wait, and one more batch, are computed at the rate so far: 1 to 60.
    pub(super) fn wait(&self, waiting: usize) -> u64 {
        let (busy, texts) = (self.busy_micros.load(Relaxed) as f64 / 1e6, self.texts.sum());
        let seconds = if texts > 0.0 { waiting as f64 * busy / texts } else { 1.0 };
        (seconds.ceil() as u64).clamp(1, 60)
    }

    /// All of it, in Prometheus' text format.
    pub(super) fn text(&self, waiting: usize) -> String {
        let mut to = String::new();
        to += "# HELP tempest_requests_total Requests that were answered.\n# TYPE tempest_requests_total counter\n";
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(to, "tempest_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        self.seconds.write(&mut to, "tempest_request_seconds", "From a request's head to its answer's.", &SECONDS);
        self.texts.write(&mut to, "tempest_batch_texts", "Texts that were computed together.", &TEXTS);
        let busy = self.busy_micros.load(Relaxed) as f64 / 1e6;
        let figures = [
            (
                "tempest_tokens_total",
                "counter",
                "Tokens that were written, measured or looked through.",
                self.tokens.load(Relaxed) as f64,
            ),
            ("tempest_busy_seconds_total", "counter", "Time in which a batch was computed.", busy),
            (
                "tempest_batches_given_up_total",
                "counter",
                "Batches that ended early because nobody waited for them any more.",
                self.given_up.load(Relaxed) as f64,
            ),
            ("tempest_waiting_texts", "gauge", "Texts in the queue.", waiting as f64),
            ("tempest_connections", "gauge", "Open connections.", self.connections.load(Relaxed) as f64),
        ];
        for (name, kind, help, value) in figures {
            let _ = writeln!(to, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        to
    }
}
