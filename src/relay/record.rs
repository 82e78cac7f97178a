//! What is told of a request when it is over: one log line, one observation.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, StatusCode};
use log::info;

use super::counters;
use crate::protocol::Endpoint;
use crate::routing::ids::ChannelId;

/// The target of the lines that tell of requests and attempts which ended in good order.
pub const REQUESTS: &str = module_path!();
/// A client's own id is repeated in the log, but not at any length.
const MAX_CLIENT_ID: usize = 64;

/// One request, from its head to its answer's last byte. Told when it is dropped, however that comes.
pub struct Record {
    began: Instant,
    request_id: String,
    client_request_id: String,
    endpoint: Endpoint,
    /// The id of the client's token.
    pub token: Option<i64>,
    pub model: Option<String>,
    pub stream: bool,
    trail: Rc<Trail>,
    /// `None`: the client had gone before there was one.
    status: Option<StatusCode>,
    end: End,
}

/// What attempts leave behind for the record, while they still go on inside the answer's body.
#[derive(Default)]
pub struct Trail {
    channel: Cell<Option<ChannelId>>,
    attempts: Cell<u32>,
}

impl Trail {
    /// An attempt begins; it is the request's so-many-th.
    pub fn attempt(&self, channel: ChannelId, number: u32) {
        self.channel.set(Some(channel));
        self.attempts.set(number);
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// To its last byte.
    Complete,
    /// With an error event or a closed connection.
    Cut,
    /// The client went.
    Gone,
}

impl Record {
    pub fn new(request_id: &str, headers: &HeaderMap, endpoint: Endpoint) -> Record {
        counters::IN_FLIGHT.inc();
        Record {
            began: Instant::now(),
            request_id: request_id.to_owned(),
            client_request_id: client_request_id(headers),
            endpoint,
            token: None,
            model: None,
            stream: false,
            trail: Rc::default(),
            status: None,
            end: End::Gone,
        }
    }

    pub fn began(&self) -> Instant {
        self.began
    }

    pub fn trail(&self) -> Rc<Trail> {
        Rc::clone(&self.trail)
    }

    /// The answer's head is known.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub fn ended(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        counters::IN_FLIGHT.dec();
        let elapsed = self.began.elapsed();
        // Nginx's number for a client that went before its answer.
        let status = self.status.map_or(499, |status| status.as_u16());
        counters::REQUEST_SECONDS
            .with_label_values(&[self.endpoint.name(), &status.to_string()])
            .observe(elapsed.as_secs_f64());
        info!(
            target: REQUESTS,
            request_id = self.request_id.as_str(),
            client_request_id = self.client_request_id.as_str(),
            endpoint = self.endpoint.name(),
            token = self.token.unwrap_or(0),
            model = self.model.as_deref().unwrap_or(""),
            stream = self.stream,
            channel = self.trail.channel.get().map_or(0, |channel| channel.0),
            attempts = self.trail.attempts.get(),
            status = status,
            end = self.end.word(),
            ms = elapsed.as_millis() as u64;
            "request"
        );
    }
}

impl End {
    fn word(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Cut => "cut",
            End::Gone => "gone",
        }
    }
}

fn client_request_id(headers: &HeaderMap) -> String {
    let value = headers
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    value
        .chars()
        .filter(char::is_ascii_graphic)
        .take(MAX_CLIENT_ID)
        .collect()
}
