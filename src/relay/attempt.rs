//! One try of one request at one channel with one key.
//!
//! Ends with an answer that can be passed on, or with a [`Failure`] of which the client has not seen a byte, so that
//! another channel can be asked.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use log::{info, warn};
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Body};
use super::classify::{self, Transport};
use super::counters;
use super::decode::{Incoming, incoming};
use super::failover::Place;
use super::options::Timeouts;
use super::prepare::{Prepared, Unfit, prepare};
use super::record::REQUESTS;
use super::request::Request;
use super::resume::Told;
use super::stream::{self, Events, Happening, Opening, Pace, UsageChunk};
use super::upstream;
use crate::actors::lease::Lease;
use crate::protocol::headers::{AnswerBody, downstream_headers};
use crate::protocol::stream::{Shape, StreamReader, Usage};
use crate::protocol::upstream_error::{ErrorForm, UpstreamError, error_in_200, read_error};
use crate::protocol::upstream_url::BadUrl;
use crate::protocol::{Endpoint, ErrorAnswer};
use crate::routing::outcome::{Breakage, Lack, Outcome};

/// An answer up to this is held whole before it is passed on, so that a cut one fails over.
const MAX_HELD_BYTES: usize = 1024 * 1024;
/// An error that takes longer to be told is judged by what has come of it.
const ERROR_BODY_WITHIN: Duration = Duration::from_secs(10);

/// An attempt with an answer.
pub enum Served {
    /// Whole, or as bytes that nobody reads.
    Answer(Answer),
    Stream(Box<Begun>),
}

/// A stream whose first real event has come.
pub struct Begun {
    pub status: StatusCode,
    /// For the client.
    pub headers: HeaderMap,
    pub events: Events,
    pub opening: Opening,
    pub running: Running,
}

impl Begun {
    /// Reads on to the end, for one who wants to know no more than how it ends.
    pub async fn read_to_end(mut self, told: &mut Told) {
        let mut outcome = (self.opening.end == stream::Ended::Whole).then_some(Outcome::Ok);
        while outcome.is_none() {
            outcome = match self.events.next(told, None).await {
                Happening::End(_) => Some(Outcome::Ok),
                Happening::Failed(transport) => Some(classify::of_transport(transport)),
                Happening::Error { error, .. } => Some(classify::of_error(
                    &error,
                    classify::Place::InAnswer,
                    error.retry_delay,
                )),
                Happening::Aside(_)
                | Happening::Prelude(_)
                | Happening::Real(_)
                | Happening::Differs
                | Happening::Nothing => None,
            };
        }
        self.running.end(&outcome.unwrap_or(Outcome::Ok));
    }
}

/// An attempt without an answer.
pub struct Failure {
    pub outcome: Outcome,
    /// What the upstream answered, if it may go to the client.
    pub said: Option<Box<Said>>,
}

/// An upstream's own error.
pub struct Said {
    pub status: StatusCode,
    headers: HeaderMap,
    body: AnswerBody,
    bytes: Bytes,
}

impl Said {
    /// As the last event of the stream that this reader follows.
    pub fn as_event(&self, reader: &StreamReader) -> Option<Bytes> {
        let as_it_is = reader.foreign_error_event(&self.bytes);
        as_it_is.or_else(|| {
            let error = read_error(self.status.as_u16(), &self.bytes);
            let code = error.code.or(error.kind).filter(|_| !error.message.is_empty())?;
            Some(reader.error_event(&ErrorAnswer::new(self.status, code, error.message)))
        })
    }

    pub fn into_answer(self) -> Answer {
        Answer {
            status: self.status,
            headers: downstream_headers(&self.headers, self.body),
            body: Body::Whole(self.bytes),
        }
    }
}

/// An attempt under way: its lease, and what is logged of it. Dropped without an end, the client has gone.
pub struct Running {
    lease: Option<Lease>,
    request_id: String,
    began: Instant,
    usage: Usage,
}

impl Running {
    /// Where it runs; `None` once it has ended.
    pub fn place(&self) -> Option<Place> {
        self.lease.as_ref().map(Place::of)
    }

    /// The tokens that its upstream has counted.
    pub fn counted(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// The answer has begun: what the lease probed is well again.
    pub fn first_event(&self) {
        if let Some(lease) = &self.lease {
            lease.first_event();
        }
    }

    /// How it ended; told once to health, counters and log.
    pub fn end(&mut self, outcome: &Outcome) {
        let Some(lease) = self.lease.take() else { return };
        self.tell(&lease, outcome);
        lease.report(outcome.clone());
    }

    fn tell(&self, lease: &Lease, outcome: &Outcome) {
        counters::ATTEMPTS.with_label_values(&[outcome.word()]).inc();
        let request_id = &self.request_id;
        let channel = lease.channel().id;
        let key = lease.key().map_or("", |key| &*key.spec.hint);
        let ms = self.began.elapsed().as_millis() as u64;
        let word = outcome.word();
        match outcome {
            Outcome::Ok | Outcome::Gone => {
                let input_tokens = Counted(self.usage.input_tokens);
                let output_tokens = Counted(self.usage.output_tokens);
                info!(target: REQUESTS, request_id:%, channel:%, key, outcome = word, ms, input_tokens:%, output_tokens:%; "attempt ended");
            }
            Outcome::Broken(breakage) => {
                warn!(request_id:%, channel:%, key, outcome = word, breakage:?, ms; "attempt failed");
            }
            Outcome::Refused { reason } => {
                warn!(request_id:%, channel:%, key, outcome = word, reason:%, ms; "attempt failed");
            }
            _ => warn!(request_id:%, channel:%, key, outcome = word, ms; "attempt failed"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(&Outcome::Gone);
    }
}

/// What is tried.
#[derive(Clone, Copy)]
pub struct Try<'a> {
    pub request: &'a Request,
    /// The asked model, or one that stands in for it.
    pub model: &'a str,
    pub timeouts: Timeouts,
    /// The request's: an attempt that has not answered by then ends.
    pub deadline: Instant,
}

/// Tries once. `told` is what the client has of an answer, which a stream must then repeat.
pub async fn attempt(what: Try<'_>, lease: Lease, told: &mut Told) -> Result<Served, Failure> {
    let mut attempt = Attempt {
        what,
        usage_chunk: UsageChunk::Passed,
        running: Running {
            request_id: what.request.head.caller.request_id.clone(),
            lease: Some(lease),
            began: Instant::now(),
            usage: Usage::default(),
        },
    };
    match attempt.send().await {
        Ok(response) => attempt.read(response, told).await,
        Err(NotSent::Attempted(outcome)) => Err(attempt.failed(outcome, None)),
        Err(NotSent::Late(limit)) => Err(attempt.late(Some(limit))),
        // The client's body does not go with the channel's override: that says nothing of the upstream.
        Err(NotSent::Unfit) => Err(attempt.failed_unmarked(Outcome::BadRequest)),
    }
}

/// Why there is no answer to read.
enum NotSent {
    /// The channel could not be asked, or did not answer.
    Attempted(Outcome),
    /// It did not answer within this limit, or not before the request's deadline.
    Late(Duration),
    /// The request itself cannot be sent.
    Unfit,
}

impl From<Outcome> for NotSent {
    fn from(outcome: Outcome) -> Self {
        NotSent::Attempted(outcome)
    }
}

struct Attempt<'a> {
    what: Try<'a>,
    usage_chunk: UsageChunk,
    running: Running,
}

impl Attempt<'_> {
    fn within(&self, limit: Duration) -> Instant {
        (self.running.began + limit).min(self.what.deadline)
    }

    fn asks_for_stream(&self) -> bool {
        self.what.request.asked.is_stream()
    }

    async fn send(&mut self) -> Result<reqwest::Response, NotSent> {
        // Only an end takes the lease away, and this comes before any.
        let Some(lease) = &self.running.lease else {
            return Err(Outcome::Gone.into());
        };
        let channel = lease.channel();
        let prepared = prepare(self.what.request, self.what.model, lease).map_err(|unfit| {
            warn!(channel:% = channel.id, reason:% = unfit; "channel cannot be asked");
            of_unfit(&unfit)
        })?;
        let Prepared { request, usage_chunk } = prepared;
        let proxy = channel.spec.settings.proxy.as_deref();
        let client = upstream::client(proxy, self.what.timeouts.connect).map_err(|reason| {
            warn!(channel:% = channel.id, reason:%; "channel cannot be asked");
            Outcome::Broken(Breakage::Connect)
        })?;
        let limit = if self.asks_for_stream() {
            self.what.timeouts.first_byte
        } else {
            self.what.timeouts.total
        };
        self.usage_chunk = usage_chunk;
        match timeout_at(self.within(limit), client.execute(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(classify::of_transport(upstream::transport(&error)).into()),
            Err(_) => Err(NotSent::Late(limit)),
        }
    }

    async fn read(self, response: reqwest::Response, told: &mut Told) -> Result<Served, Failure> {
        let status = response.status();
        let headers = response.headers().clone();
        let body = incoming(response);
        if !status.is_success() {
            return Err(self.read_failure(status, headers, body).await);
        }
        let is_events = is_of_type(&headers, "text/event-stream");
        let shape = self.what.request.shape();
        match (self.asks_for_stream(), is_events, shape) {
            (true, false, Shape::Raw) => self.pass(status, headers, body).await,
            (true, true, shape) if shape != Shape::Raw => {
                self.events(status, headers, body, shape, told).await
            }
            // Speech and transcripts stream without being asked in a way that shows in the body.
            (false, true, Shape::OtherSse) => self.events(status, headers, body, Shape::OtherSse, told).await,
            (true, true, _) => self.pass(status, headers, body).await,
            _ => self.plain(status, headers, body).await,
        }
    }

    async fn read_failure(mut self, status: StatusCode, headers: HeaderMap, mut body: Incoming) -> Failure {
        let until = (Instant::now() + ERROR_BODY_WITHIN).min(self.what.deadline);
        let mut held = Held::default();
        while let Ok(Some(Ok(chunk))) = timeout_at(until, body.chunks.next()).await {
            held.push(chunk);
            if held.len > MAX_HELD_BYTES {
                break;
            }
        }
        let bytes = held.whole();
        let error = read_error(status.as_u16(), &bytes);
        let place = classify::Place::Status(status.as_u16());
        let outcome = classify::of_answer(&error, place, &headers, SystemTime::now());
        let outcome = of_path(outcome, self.what.request.head.endpoint);
        let said = Said {
            status: of_upstream(status, &outcome),
            headers,
            body: body.body,
            bytes,
        };
        let said = may_be_passed_on(&outcome, status).then_some(said);
        self.failed(outcome, said)
    }

    /// An error inside a 200, or as the first event of a stream.
    fn failed_inside(
        &mut self,
        error: &UpstreamError,
        headers: HeaderMap,
        body: AnswerBody,
        bytes: Bytes,
    ) -> Failure {
        let outcome = classify::of_answer(error, classify::Place::InAnswer, &headers, SystemTime::now());
        let said = StatusCode::from_u16(classify::status_of(&outcome))
            .ok()
            .map(|status| Said {
                status,
                headers,
                body,
                bytes,
            });
        // What is no JSON is no error that a client could read (R4: garbage leaves no status).
        let readable = matches!(error.form, ErrorForm::Error | ErrorForm::OtherJson);
        let said = said.filter(|said| readable && may_be_passed_on(&outcome, said.status));
        self.failed(outcome, said)
    }

    fn failed(&mut self, outcome: Outcome, said: Option<Said>) -> Failure {
        self.running.end(&outcome);
        let said = said.map(Box::new);
        Failure { outcome, said }
    }

    /// Nothing that happened speaks for or against the upstream.
    fn failed_unmarked(&mut self, outcome: Outcome) -> Failure {
        self.running.end(&Outcome::Gone);
        Failure { outcome, said: None }
    }

    /// Its time is up: `silent` where the upstream's own limit has passed; where it was the request's deadline, which
    /// others may have used up, the client is told the same, but it is no mark on this upstream.
    fn late(&mut self, limit: Option<Duration>) -> Failure {
        let its_own = limit.is_some_and(|limit| self.running.began + limit <= self.what.deadline);
        match its_own {
            true => self.failed_on_the_way(Transport::Silent),
            false => self.failed_unmarked(Outcome::Silent),
        }
    }

    fn failed_on_the_way(&mut self, transport: Transport) -> Failure {
        self.failed(classify::of_transport(transport), None)
    }

    /// A plain answer: held whole as far as it is small enough, and read for an error inside.
    async fn plain(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        mut body: Incoming,
    ) -> Result<Served, Failure> {
        let until = self.within(self.what.timeouts.total);
        let holds =
            self.what.request.head.endpoint.answers_json() || is_of_type(&headers, "application/json");
        let bound = if holds { MAX_HELD_BYTES } else { 0 };
        let mut held = Held::default();
        while held.len <= bound {
            match timeout_at(until, body.chunks.next()).await {
                Ok(Some(Ok(chunk))) => held.push(chunk),
                Ok(Some(Err(transport))) => return Err(self.failed_on_the_way(transport)),
                Ok(None) => return self.whole(status, headers, body.body, held.whole()),
                Err(_) => return Err(self.late(Some(self.what.timeouts.total))),
            }
        }
        self.running.first_event();
        let pace = stream::RawPace::Until(until);
        Ok(passed(status, &headers, body, held.chunks, pace, self.running))
    }

    fn whole(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        body: AnswerBody,
        bytes: Bytes,
    ) -> Result<Served, Failure> {
        if let Some(error) = error_in_200(self.what.request.head.endpoint, &bytes) {
            return Err(self.failed_inside(&error, headers, body, bytes));
        }
        self.running.end(&Outcome::Ok);
        Ok(Served::Answer(Answer {
            status,
            headers: downstream_headers(&headers, body),
            body: Body::Whole(bytes),
        }))
    }

    /// A stream whose events are none of ours to read: passed on from its first byte.
    async fn pass(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        mut body: Incoming,
    ) -> Result<Served, Failure> {
        let limit = self.what.timeouts.first_token;
        let limit = limit.unwrap_or(self.what.timeouts.idle_before_text);
        let first = match timeout_at(self.within(limit), body.chunks.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(transport))) => return Err(self.failed_on_the_way(transport)),
            Ok(None) => return Err(self.failed_on_the_way(Transport::Cut)),
            Err(_) => return Err(self.late(Some(limit))),
        };
        self.running.first_event();
        let pace = stream::RawPace::Silence(self.what.timeouts.idle_before_text);
        Ok(passed(status, &headers, body, vec![first], pace, self.running))
    }

    /// A stream of events, held until the first that is real.
    async fn events(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        body: Incoming,
        shape: Shape,
        told: &mut Told,
    ) -> Result<Served, Failure> {
        let Try {
            request, timeouts, ..
        } = self.what;
        let kind = body.body;
        let pace = Pace {
            before_text: timeouts.idle_before_text,
            after_text: timeouts.idle,
        };
        let mut events = Events::new(body.chunks, shape, &request.asked, pace, self.usage_chunk);
        let first_token = timeouts
            .first_token
            .map_or(self.what.deadline, |limit| self.within(limit));
        let opening = match timeout_at(first_token, stream::opening(&mut events, told)).await {
            Ok(opening) => opening,
            Err(_) => return Err(self.late(timeouts.first_token)),
        };
        match opening {
            Ok(opening) => {
                self.running.first_event();
                Ok(Served::Stream(Box::new(Begun {
                    status,
                    headers: without_length(downstream_headers(&headers, kind)),
                    events,
                    opening,
                    running: self.running,
                })))
            }
            Err(stream::NoOpening::Failed(transport)) => Err(self.failed_on_the_way(transport)),
            Err(stream::NoOpening::Error { error, data }) => {
                let mut headers = headers;
                headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
                Err(self.failed_inside(&error, headers, AnswerBody::Changed, data))
            }
        }
    }
}

fn passed(
    status: StatusCode,
    headers: &HeaderMap,
    body: Incoming,
    held: Vec<Bytes>,
    pace: stream::RawPace,
    running: Running,
) -> Served {
    let length = match body.body {
        AnswerBody::AsSent => headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse().ok()),
        AnswerBody::Changed => None,
    };
    Served::Answer(Answer {
        status,
        headers: downstream_headers(headers, body.body),
        body: Body::Passing {
            length,
            chunks: stream::pass_raw(body.chunks, held, pace, running),
        },
    })
}

/// Events may be dropped or added, so no length holds.
fn without_length(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(CONTENT_LENGTH);
    headers
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    value
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

/// R4: a 401 or 403 always speaks of the client's own token, so neither the upstream's word on our account nor a
/// firewall's page goes on; and no redirect sends a client and its token elsewhere.
fn may_be_passed_on(outcome: &Outcome, status: StatusCode) -> bool {
    match outcome {
        Outcome::Refused { .. } => false,
        Outcome::Broken(_) => status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT,
        _ => !status.is_redirection(),
    }
}

/// R4: a 401 or 403 always speaks of the client's own token, so an upstream's is told by what it stands for.
fn of_upstream(status: StatusCode, outcome: &Outcome) -> StatusCode {
    match (status, outcome) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Outcome::NotHere(_)) => StatusCode::NOT_FOUND,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Outcome::Busy { .. }) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => StatusCode::BAD_REQUEST,
        (status, _) => status,
    }
}

/// A number of the log that may not have been counted.
struct Counted(Option<u64>);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(count) => count.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Every upstream of a protocol has its main path: where that one is missing, so is the model. Another path may be
/// missing alone.
fn of_path(outcome: Outcome, endpoint: Endpoint) -> Outcome {
    let is_main = matches!(
        endpoint,
        Endpoint::ChatCompletions
            | Endpoint::Messages
            | Endpoint::GenerateContent
            | Endpoint::StreamGenerateContent
    );
    match outcome {
        Outcome::NotHere(Lack::Path) if is_main => Outcome::NotHere(Lack::Model),
        other => other,
    }
}

fn of_unfit(unfit: &Unfit) -> NotSent {
    match unfit {
        // This name cannot be asked for here; others can.
        Unfit::Url(BadUrl::Model) => Outcome::NotHere(Lack::Model).into(),
        Unfit::Provider | Unfit::Url(_) | Unfit::Header(_) => Outcome::Broken(Breakage::Connect).into(),
        Unfit::Param(_) => NotSent::Unfit,
    }
}

/// Chunks held back. One alone is not copied.
#[derive(Default)]
struct Held {
    chunks: Vec<Bytes>,
    len: usize,
}

impl Held {
    fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.chunks.push(chunk);
    }

    fn whole(mut self) -> Bytes {
        if self.chunks.len() == 1 {
            return self.chunks.swap_remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.len);
        self.chunks
            .iter()
            .for_each(|chunk| whole.extend_from_slice(chunk));
        whole.freeze()
    }
}
