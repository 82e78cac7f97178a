//! What the practice upstream received, and how each request ended: what drills and tests ask.
//!
//! A bounded ring behind one lock: every worker writes to it, any thread reads a copy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Entries kept; the oldest go first.
const ENTRIES: usize = 10_000;
/// Of each body so many bytes are kept.
const BODY_KEPT: usize = 64 * 1024;
/// Of all bodies together so many bytes: ten thousand full ones would not fit a small machine.
const BODIES_KEPT: usize = 128 * 1024 * 1024;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The whole answer, refusals included, was handed to the connection.
    Answered,
    /// The connection was reset before headers, as ordered.
    Reset,
    /// The connection was closed before headers, as ordered.
    Closed,
    /// The answer was cut, as ordered.
    Cut,
    /// The client went away before the answer was complete.
    ClientGone,
}

/// One request as it was received. Header names are in lower case and sorted, values of one name in
/// the order in which they came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Counted from 1 since the start.
    pub number: u64,
    /// When its head and body were complete, in milliseconds since the start.
    pub at_ms: f64,
    /// The method.
    pub method: String,
    /// The path, still percent-encoded, with its fault prefix.
    pub path: String,
    /// The query without `?`.
    pub query: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of the body.
    pub body: Bytes,
    /// The body's whole length in bytes.
    pub body_len: u64,
    /// The whole body's SHA-256 as hex, for bodies longer than what is kept.
    long_body_sha256: Option<String>,
    /// The model as it was asked for, faults included.
    pub model: Option<String>,
    /// The faults that held, prefix first.
    pub faults: String,
    /// The status that was answered.
    pub status: Option<u16>,
    /// Content events handed to the connection.
    pub events: u64,
    /// How it ended; nothing while it is in flight.
    pub ended: Option<Ended>,
    /// When it ended, in milliseconds since the start.
    pub ended_at_ms: Option<f64>,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub http_version: String,
    /// The connection it came on, counted from 1.
    pub connection: u64,
}

impl Received {
    /// The first value of a header; the name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// SHA-256 of the whole body as lower-case hex.
    pub fn body_sha256(&self) -> String {
        self.long_body_sha256
            .clone()
            .unwrap_or_else(|| hex::encode(Sha256::digest(&self.body)))
    }

    /// How long it took from its arrival to its end.
    pub fn took_ms(&self) -> Option<f64> {
        self.ended_at_ms.map(|ended| ended - self.at_ms)
    }

    /// The entry as `GET /practice/log` shows it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "number": self.number, "at_ms": self.at_ms, "method": self.method, "path": self.path,
            "query": self.query, "headers": self.headers, "body_len": self.body_len,
            "body_sha256": self.body_sha256(), "model": self.model, "faults": self.faults,
            "status": self.status, "events": self.events, "ended": self.ended,
            "ended_at_ms": self.ended_at_ms, "took_ms": self.took_ms(),
            "http_version": self.http_version, "connection": self.connection,
        });
        match std::str::from_utf8(&self.body) {
            Ok(text) => json["body"] = text.into(),
            Err(_) => {
                json["body_base64"] = base64::engine::general_purpose::STANDARD
                    .encode(&self.body)
                    .into();
            }
        }
        json
    }
}

/// A shared handle to the log; clones show the same.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    started: Instant,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Received>,
    body_bytes: usize,
    numbered: u64,
    in_flight: u64,
}

impl Default for Log {
    fn default() -> Self {
        let shared = Shared {
            started: Instant::now(),
            state: Mutex::new(State::default()),
            changes: watch::Sender::new(0),
        };
        Log {
            shared: Arc::new(shared),
        }
    }
}

impl Log {
    /// Everything that is kept, oldest first.
    pub fn all(&self) -> Vec<Received> {
        self.lock().entries.iter().cloned().collect()
    }

    /// What came for this model, its name as it was asked for, faults included.
    pub fn of(&self, model: &str) -> Vec<Received> {
        let of_model = |entry: &&Received| entry.model.as_deref() == Some(model);
        self.lock().entries.iter().filter(of_model).cloned().collect()
    }

    /// How many came for this model.
    pub fn count(&self, model: &str) -> usize {
        self.lock()
            .entries
            .iter()
            .filter(|entry| entry.model.as_deref() == Some(model))
            .count()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests that were received and have not ended.
    pub fn in_flight(&self) -> u64 {
        self.lock().in_flight
    }

    /// Forgets what was received. Requests in flight go on being counted; numbers go on too.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.entries.clear();
        state.body_bytes = 0;
        drop(state);
        self.changed();
    }

    /// Milliseconds since the start, as in the entries.
    pub fn now_ms(&self) -> f64 {
        self.shared.started.elapsed().as_secs_f64() * 1000.0
    }

    /// Waits until the log is as wanted; `false` if it was not within `limit`. Asked anew after every
    /// change, on any tokio runtime.
    pub async fn wait_until(&self, limit: Duration, mut wanted: impl FnMut(&Log) -> bool) -> bool {
        let mut changes = self.shared.changes.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if wanted(self) {
                    return;
                }
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok()
    }

    pub(super) fn receive(&self, arrival: Arrival) -> InFlight {
        let entry = self.entry(arrival);
        let number = {
            let mut state = self.lock();
            state.in_flight += 1;
            state.numbered += 1;
            let number = state.numbered;
            state.push(Received { number, ..entry });
            number
        };
        self.changed();
        InFlight {
            log: self.clone(),
            number,
            events: 0,
            ended: false,
        }
    }

    fn entry(&self, arrival: Arrival) -> Received {
        let long = arrival.body.len() > BODY_KEPT;
        Received {
            number: 0,
            at_ms: self.now_ms(),
            method: arrival.method,
            path: arrival.path,
            query: arrival.query,
            headers: arrival.headers,
            body_len: arrival.body.len() as u64,
            long_body_sha256: long.then(|| hex::encode(Sha256::digest(&arrival.body))),
            // A copy, so that 64 KiB do not hold on to 256 MiB.
            body: if long {
                Bytes::copy_from_slice(&arrival.body[..BODY_KEPT])
            } else {
                arrival.body
            },
            model: arrival.model,
            faults: arrival.faults,
            status: None,
            events: 0,
            ended: None,
            ended_at_ms: None,
            http_version: arrival.http_version,
            connection: arrival.connection,
        }
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut Received)) {
        let mut state = self.lock();
        let Some(front) = state.entries.front().map(|entry| entry.number) else {
            return;
        };
        let index = number
            .checked_sub(front)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| state.entries.get_mut(index)) {
            change(entry);
        }
    }

    /// Who begins to wait looks at the log after subscribing, so what goes unannounced is not missed.
    fn changed(&self) {
        if self.shared.changes.receiver_count() == 0 {
            return;
        }
        self.shared
            .changes
            .send_modify(|change| *change = change.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole by itself, so a panic elsewhere leaves nothing half done.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, entry: Received) {
        self.body_bytes += entry.body.len();
        self.entries.push_back(entry);
        while self.entries.len() > ENTRIES || self.body_bytes > BODIES_KEPT {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.body_bytes -= oldest.body.len();
        }
    }
}

/// What is known of a request when it has been read.
pub(super) struct Arrival {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub model: Option<String>,
    pub faults: String,
    pub http_version: String,
    pub connection: u64,
}

/// A request that has not ended. Dropped without an end, its client has gone.
#[must_use]
pub(super) struct InFlight {
    log: Log,
    number: u64,
    events: u64,
    ended: bool,
}

impl InFlight {
    /// A request that the log does not show and does not count.
    pub fn unlogged(log: &Log) -> InFlight {
        InFlight {
            log: log.clone(),
            number: 0,
            events: 0,
            ended: true,
        }
    }

    pub fn status(&self, status: u16) {
        self.log.update(self.number, |entry| entry.status = Some(status));
    }

    /// One more content event was handed to the connection; readers see it at once.
    pub fn event(&mut self) {
        self.events += 1;
        let events = self.events;
        self.log.update(self.number, |entry| entry.events = events);
        self.log.changed();
    }

    pub fn end(&mut self, how: Ended) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.log.now_ms();
        self.log.lock().in_flight -= 1;
        self.log.update(self.number, |entry| {
            entry.ended = Some(how);
            entry.ended_at_ms = Some(now);
        });
        self.log.changed();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.end(Ended::ClientGone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(model: &str, body: Bytes) -> Arrival {
        Arrival {
            method: "POST".into(),
            path: "/v1/x".into(),
            query: String::new(),
            headers: vec![("a".into(), "b".into())],
            body,
            model: Some(model.into()),
            faults: String::new(),
            http_version: "HTTP/1.1".into(),
            connection: 1,
        }
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let log = Log::default();
        for number in 0..ENTRIES + 5 {
            log.receive(arrival(if number % 2 == 0 { "a" } else { "b" }, Bytes::new()))
                .end(Ended::Answered);
        }
        assert_eq!(log.len(), ENTRIES);
        assert_eq!(log.all()[0].number, 6);
        assert_eq!(log.count("a"), ENTRIES / 2);
        assert!(log.all().iter().all(|entry| entry.ended == Some(Ended::Answered)));
    }

    #[test]
    fn a_long_body_is_kept_in_part_and_summed_whole() {
        let log = Log::default();
        let body = Bytes::from(vec![7_u8; BODY_KEPT + 1]);
        log.receive(arrival("a", body.clone())).end(Ended::Cut);
        let entry = &log.of("a")[0];
        assert_eq!(
            (entry.body.len(), entry.body_len),
            (BODY_KEPT, BODY_KEPT as u64 + 1)
        );
        assert_eq!(entry.body_sha256(), hex::encode(Sha256::digest(&body)));
    }

    #[test]
    fn dropped_without_an_end_its_client_has_gone() {
        let log = Log::default();
        let in_flight = log.receive(arrival("a", Bytes::new()));
        assert_eq!(log.in_flight(), 1);
        drop(in_flight);
        assert_eq!(log.in_flight(), 0);
        assert_eq!(log.of("a")[0].ended, Some(Ended::ClientGone));
    }
}
