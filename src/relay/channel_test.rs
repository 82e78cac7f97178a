//! One small request straight to one channel, past the router and past health, by the very code that brings
//! clients' requests upstream. It opens and closes nothing by itself.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use futures::StreamExt;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use log::warn;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, Body};
use super::attempt::{Failure, Served, Try, attempt};
use super::classify::{self, Place};
use super::decode::incoming;
use super::options::Timeouts;
use super::prepare::{Unfit, prepare, prepare_models};
use super::request::{Caller, Head, Request};
use super::resume::Told;
use super::rooms::{of_protocol, to_routing};
use super::test_question::{LimitField, TestQuestion, question};
use super::upstream;
use crate::actors::Routing;
use crate::actors::lease::Lease;
use crate::actors::tokens::Token;
use crate::actors::upkeep::StoreError;
use crate::protocol::providers;
use crate::protocol::upstream_error::{error_in_200, read_error};
use crate::protocol::{Endpoint, Protocol, models};
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::outcome::{Breakage, Outcome};
use crate::routing::rows::{ChannelRows, ChannelSpec, KeyRow, Status};
use crate::routing::snapshot::{Channel, Key};

/// Sixteen tokens take no upstream longer that is well.
const TEST_WITHIN: Duration = Duration::from_secs(30);
/// Tests in flight at once, whoever asked for them.
const AT_ONCE: usize = 10;
/// Of an upstream's own words so many characters are told.
const MESSAGE_LENGTH: usize = 300;
/// Large houses list thousands of models.
const LARGEST_LIST: usize = 8 << 20;
/// In the log, where a client's request id stands.
const REQUEST_ID: &str = "channel-test";

/// What to test; what is not given, the channel decides.
#[derive(Clone, Debug, Default)]
pub struct Order {
    pub model: Option<String>,
    pub protocol: Option<Protocol>,
    pub stream: bool,
    pub key: Option<KeyId>,
}

/// How a test ended. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub ok: bool,
    /// To the answer's last byte.
    pub latency_ms: u64,
    /// The upstream's own, if it gave one.
    pub status: Option<u16>,
    pub model: Option<String>,
    pub protocol: Option<Protocol>,
    pub key_id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TestError>,
}

/// Why it is not ok.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestError {
    /// An outcome's word, or why nothing was asked: `no_model`, `no_key`, `protocol_not_served`, `unfit`,
    /// `unreadable_row`.
    pub code: &'static str,
    pub message: String,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTested {
    #[error("no such channel")]
    NoChannel,
    #[error("no such key of this channel")]
    NoKey,
    #[error("{0}")]
    Database(#[from] StoreError),
}

/// Why there is no list of models.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoList {
    #[error("{0}")]
    NotTested(#[from] NotTested),
    /// The upstream, or the channel's definition, is at fault.
    #[error("{}", .0.message)]
    Failed(TestError),
}

impl From<StoreError> for NoList {
    fn from(error: StoreError) -> Self {
        NoList::NotTested(error.into())
    }
}

/// Tests channels, a few at once.
#[derive(Clone)]
pub struct ChannelTests {
    routing: Routing,
    timeouts: Timeouts,
    at_once: Arc<Semaphore>,
}

impl ChannelTests {
    /// `timeouts`: the relay's own, which a channel's settings go before.
    pub fn new(routing: Routing, timeouts: Timeouts) -> ChannelTests {
        ChannelTests {
            routing,
            timeouts,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Tests a channel as it stands in the database, whatever its status, and keeps when and how fast.
    pub async fn test(&self, channel: ChannelId, order: &Order) -> Result<Verdict, NotTested> {
        let _one_of_few = self.at_once.acquire().await;
        let rows = self.routing.channel_rows(channel).await?;
        let rows = rows.ok_or(NotTested::NoChannel)?;
        self.judge(&rows, order).await
    }

    /// As `test`, with rows that were read already.
    pub async fn judge(&self, rows: &ChannelRows, order: &Order) -> Result<Verdict, NotTested> {
        if let Some(key) = order.key
            && !rows.keys.iter().any(|row| row.id == key)
        {
            return Err(NotTested::NoKey);
        }
        let subject = match Subject::new(rows, order) {
            Ok(subject) => subject,
            Err(error) => return Ok(Verdict::unasked(error)),
        };
        let verdict = self.ask(&subject).await;
        let response_ms = verdict.ok.then_some(verdict.latency_ms as i64);
        if let Err(error) = self
            .routing
            .record_test(rows.channel.id, unix_ms(), response_ms)
            .await
        {
            warn!(channel:% = rows.channel.id, error:%; "a test was not kept");
        }
        Ok(verdict)
    }

    async fn ask(&self, subject: &Subject<'_>) -> Verdict {
        let first = LimitField::of_provider(&subject.spec.provider);
        let verdict = self.ask_with(subject, first).await;
        let blames_limit = |error: &TestError| {
            error.code == "bad_request"
                && [LimitField::MaxTokens, LimitField::MaxCompletionTokens]
                    .iter()
                    .any(|field| error.message.contains(field.name()))
        };
        match &verdict.error {
            Some(error) if blames_limit(error) => self.ask_with(subject, first.other()).await,
            _ => verdict,
        }
    }

    async fn ask_with(&self, subject: &Subject<'_>, limit: LimitField) -> Verdict {
        let asked = question(subject.protocol, &subject.model, subject.stream, limit);
        let endpoint = asked.endpoint;
        let Some(request) = request(asked) else {
            return subject.verdict(Duration::ZERO, None, Some(TestError::unfit("the model's name")));
        };
        let (lease, outcome) = Lease::detached(subject.channel());
        if let Err(unfit) = prepare(&request, &subject.model, &lease) {
            return subject.verdict(Duration::ZERO, None, Some(unfit.into()));
        }
        let timeouts = self.timeouts.overridden_by(&subject.spec.settings.timeouts);
        let (began, deadline) = (Instant::now(), Instant::now() + TEST_WITHIN);
        let what = Try {
            request: &request,
            model: &subject.model,
            timeouts,
            deadline,
        };
        let mut told = Told::new(request.shape(), &request.asked);
        let answered = attempt(what, lease, &mut told).await;
        let (status, words, in_time) = match answered {
            Ok(Served::Answer(answer)) => read(answer, deadline).await,
            Ok(Served::Stream(begun)) => {
                let status = begun.status.as_u16();
                let read = timeout_at(deadline, begun.read_to_end(&mut told)).await;
                (Some(status), None, read.is_ok())
            }
            Err(failure) => said(endpoint, failure),
        };
        let outcome = match outcome.await {
            // Ended by the test's deadline: no mark on the channel, and no answer all the same.
            Ok(Outcome::Gone) => Outcome::Silent,
            Ok(outcome) if in_time => outcome,
            _ => Outcome::Silent,
        };
        let error = subject.error(&outcome, words.as_deref());
        subject.verdict(began.elapsed(), status.or_else(|| status_in(&outcome)), error)
    }

    /// Which models the upstream says that it serves.
    pub async fn upstream_models(
        &self,
        channel: ChannelId,
        protocol: Option<Protocol>,
    ) -> Result<Vec<String>, NoList> {
        let _one_of_few = self.at_once.acquire().await;
        let rows = self.routing.channel_rows(channel).await?;
        let rows = rows.ok_or(NotTested::NoChannel)?;
        let order = Order {
            protocol,
            // None is asked for, and a channel may have none yet.
            model: Some("any".to_owned()),
            ..Order::default()
        };
        let subject = Subject::new(&rows, &order).map_err(NoList::Failed)?;
        self.list(&subject).await.map_err(NoList::Failed)
    }

    async fn list(&self, subject: &Subject<'_>) -> Result<Vec<String>, TestError> {
        let spec = subject.spec;
        let key = subject.key.as_ref().map(|key| &key.spec.secret);
        let prepared = prepare_models(spec, key, subject.protocol)?;
        let connect = self.timeouts.overridden_by(&spec.settings.timeouts).connect;
        let client = upstream::client(spec.settings.proxy.as_deref(), connect)
            .map_err(|reason| TestError::unfit(&reason.to_string()))?;
        let deadline = Instant::now() + TEST_WITHIN;
        let failed = |outcome: Outcome, words: Option<&str>| {
            let broken = || TestError::of(Outcome::Broken(Breakage::Garbage).word(), "no list of models");
            subject.error(&outcome, words).unwrap_or_else(broken)
        };
        let response = match timeout_at(deadline, client.execute(prepared)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(failed(classify::of_transport(upstream::transport(&error)), None));
            }
            Err(_) => return Err(failed(Outcome::Silent, None)),
        };
        let status = response.status();
        let mut body = BytesMut::new();
        let mut chunks = incoming(response).chunks;
        loop {
            match timeout_at(deadline, chunks.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() <= LARGEST_LIST => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(Ok(_))) => return Err(failed(Outcome::Broken(Breakage::Garbage), None)),
                Ok(Some(Err(transport))) => return Err(failed(classify::of_transport(transport), None)),
                Err(_) => return Err(failed(Outcome::Silent, None)),
            }
        }
        if !status.is_success() {
            let error = read_error(status.as_u16(), &body);
            let outcome = classify::of_error(&error, Place::Status(status.as_u16()), None);
            return Err(failed(outcome, Some(&error.message)));
        }
        models::read(&body)
            .ok_or_else(|| failed(Outcome::Broken(Breakage::Garbage), Some("no list of models")))
    }
}

/// One channel, key, protocol and model.
struct Subject<'a> {
    rows: &'a ChannelRows,
    spec: &'a Arc<ChannelSpec>,
    protocol: Protocol,
    model: String,
    stream: bool,
    key: Option<Key>,
}

impl<'a> Subject<'a> {
    fn new(rows: &'a ChannelRows, order: &Order) -> Result<Subject<'a>, TestError> {
        let unreadable =
            |fault: &crate::routing::rows::RowFault| TestError::of("unreadable_row", &fault.to_string());
        let spec = rows.channel.spec.as_ref().map_err(unreadable)?;
        Ok(Subject {
            rows,
            spec,
            protocol: protocol(spec, order.protocol)?,
            model: model(rows, spec, order)?,
            stream: order.stream,
            key: key(rows, spec, order.key)?,
        })
    }

    fn channel(&self) -> Channel {
        Channel::alone(&self.rows.channel, Arc::clone(self.spec), self.key.clone())
    }

    fn verdict(&self, took: Duration, status: Option<u16>, error: Option<TestError>) -> Verdict {
        Verdict {
            ok: error.is_none(),
            latency_ms: took.as_millis() as u64,
            status,
            model: Some(self.model.clone()),
            protocol: Some(self.protocol),
            key_id: self.key.as_ref().map(|key| key.id),
            error,
        }
    }

    /// Nothing, if it went well.
    fn error(&self, outcome: &Outcome, words: Option<&str>) -> Option<TestError> {
        let message = match outcome {
            Outcome::Ok => return None,
            Outcome::Refused { reason } => format!("the provider refuses the key: {reason}"),
            _ => match words.map(|words| self.without_secrets(words)) {
                Some(words) if !words.is_empty() => words,
                _ => plainly(outcome).to_owned(),
            },
        };
        Some(TestError {
            code: outcome.word(),
            message,
        })
    }

    /// Upstreams repeat keys, whole or in part.
    fn without_secrets(&self, words: &str) -> String {
        let keys = self.key.iter().map(|key| key.spec.secret.reveal());
        let over = self.spec.header_override.values().flatten();
        let over = over.flat_map(|value| value.split_whitespace());
        let secrets: Vec<&str> = keys.chain(over).collect();
        hide(words, &secrets)
    }
}

/// The given one, else the first that the provider calls its own.
fn protocol(spec: &ChannelSpec, given: Option<Protocol>) -> Result<Protocol, TestError> {
    let spoken = spec.protocols();
    let speaks = |protocol: &Protocol| spoken.contains(to_routing(*protocol));
    let own = providers::provider(&spec.provider).into_iter();
    let own = own.flat_map(|provider| provider.speaks.iter().map(|spoken| spoken.protocol));
    let any = spoken.iter().map(of_protocol);
    let chosen = match given {
        Some(protocol) => Some(protocol).filter(speaks),
        None => own.chain(any).find(speaks),
    };
    chosen.ok_or_else(|| TestError::of("protocol_not_served", "the channel does not speak this protocol"))
}

fn model(rows: &ChannelRows, spec: &ChannelSpec, order: &Order) -> Result<String, TestError> {
    let first = || rows.models.first().map(|model| model.as_str().to_owned());
    let model = order
        .model
        .clone()
        .or_else(|| spec.test_model.clone())
        .or_else(first);
    model.ok_or_else(|| TestError::of("no_model", "the channel has neither a test_model nor a model"))
}

/// The given one, else the first that is enabled, else the first that the relay has closed, else any.
fn key(rows: &ChannelRows, spec: &ChannelSpec, given: Option<KeyId>) -> Result<Option<Key>, TestError> {
    let rank = |row: &&KeyRow| match row.status {
        Ok(Status::Enabled) => 0,
        Ok(Status::AutoDisabled) => 1,
        Ok(Status::Disabled) | Err(_) => 2,
    };
    let row = match given {
        Some(id) => rows.keys.iter().find(|row| row.id == id),
        None => rows.keys.iter().filter(|row| row.key.is_ok()).min_by_key(rank),
    };
    let Some(row) = row else {
        return match spec.traits.needs_key {
            true => Err(TestError::of("no_key", "the channel has no key")),
            false => Ok(None),
        };
    };
    match &row.key {
        Ok(spec) => Ok(Some(Key {
            id: row.id,
            status_changed_at: row.status_changed_at,
            spec: spec.clone(),
        })),
        Err(fault) => Err(TestError::of("unreadable_row", &fault.to_string())),
    }
}

fn request(asked: TestQuestion) -> Option<Request> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asked.content_type));
    let agent = concat!("pointsman/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let head = Head {
        caller: Caller {
            request_id: REQUEST_ID.to_owned(),
            headers,
            query: asked.query,
            peer: None,
        },
        endpoint: asked.endpoint,
        version: asked.version,
        path_model: asked.path_model,
    };
    Request::read(head, Arc::new(Token::of_nobody()), asked.body, None).ok()
}

/// Reads an answer to its end. The last: whether it came in time.
async fn read(answer: Answer, deadline: Instant) -> (Option<u16>, Option<String>, bool) {
    let status = Some(answer.status.as_u16());
    let to_its_end = async {
        if let Body::Passing { mut chunks, .. } = answer.body {
            while let Some(Ok(_)) = chunks.next().await {}
        }
    };
    (status, None, timeout_at(deadline, to_its_end).await.is_ok())
}

/// What an upstream said in place of an answer.
fn said(endpoint: Endpoint, failure: Failure) -> (Option<u16>, Option<String>, bool) {
    let Some(said) = failure.said else {
        return (None, None, true);
    };
    let status = said.status.as_u16();
    let words = match said.into_answer().body {
        Body::Whole(bytes) => match error_in_200(endpoint, &bytes) {
            Some(error) => error.message,
            None => read_error(status, &bytes).message,
        },
        Body::Passing { .. } => String::new(),
    };
    (Some(status), Some(words), true)
}

/// The status of an outcome whose answer is not passed on.
fn status_in(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::Busy { status, .. } | Outcome::Broken(Breakage::Status { status, .. }) => Some(*status),
        // A reason begins with it.
        Outcome::Refused { reason } => reason.split(' ').next()?.parse().ok(),
        _ => None,
    }
}

fn plainly(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "well",
        Outcome::Busy { .. } => "the provider has no room just now",
        Outcome::Broken(Breakage::Connect) => "no connection to the upstream",
        Outcome::Broken(Breakage::Tls) => "no TLS with the upstream",
        Outcome::Broken(Breakage::Reset) => "the upstream closed the connection without an answer",
        Outcome::Broken(Breakage::Garbage) => "the answer is none that the protocol knows",
        Outcome::Broken(Breakage::Cut) => "the answer ended before its end",
        Outcome::Broken(Breakage::Status { .. } | Breakage::InAnswer) => "the upstream failed",
        Outcome::Silent => "no answer in time",
        Outcome::Refused { .. } => "the provider refuses the key",
        Outcome::NotHere(_) => "the upstream does not have the model",
        Outcome::TooLong => "the question is too long for the model",
        Outcome::Filtered => "the provider's policy forbids the question",
        Outcome::BadRequest => "the upstream does not take the question",
        Outcome::Gone => "given up",
    }
}

/// The words without those that hold a piece of a secret, shortened. A key is known by its beginning and its
/// end; what is starred out may show more of it than it hides.
fn hide(words: &str, secrets: &[&str]) -> String {
    let tells = |word: &str| {
        word.contains("**")
            || secrets.iter().any(|secret| {
                let pieces = [first(secret, 8), last(secret, 4)];
                let is_long = secret.chars().count() >= 12;
                word.contains(secret) || (is_long && pieces.iter().any(|piece| word.contains(piece)))
            })
    };
    let words = words.split_whitespace();
    let shown: Vec<&str> = words.map(|word| if tells(word) { "…" } else { word }).collect();
    shown.join(" ").chars().take(MESSAGE_LENGTH).collect()
}

fn first(text: &str, count: usize) -> &str {
    text.char_indices()
        .nth(count)
        .map_or(text, |(end, _)| &text[..end])
}

fn last(text: &str, count: usize) -> &str {
    let from = text.char_indices().rev().nth(count - 1);
    from.map_or(text, |(from, _)| &text[from..])
}

impl Verdict {
    fn unasked(error: TestError) -> Verdict {
        Verdict {
            ok: false,
            latency_ms: 0,
            status: None,
            model: None,
            protocol: None,
            key_id: None,
            error: Some(error),
        }
    }
}

impl TestError {
    fn of(code: &'static str, message: &str) -> TestError {
        TestError {
            code,
            message: message.to_owned(),
        }
    }

    fn unfit(message: &str) -> TestError {
        TestError::of("unfit", message)
    }
}

impl From<Unfit> for TestError {
    fn from(unfit: Unfit) -> Self {
        TestError::unfit(&unfit.to_string())
    }
}

fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_of_a_secret_is_told() {
        let secret = "sk-proj-0123456789abcdWXYZ";
        let check = |words: &str, want: &str| assert_eq!(hide(words, &[secret]), want, "{words}");
        check("no such model `x`", "no such model `x`");
        check(
            "Incorrect API key provided: sk-proj-0123456789abcdWXYZ.",
            "Incorrect API key provided: …",
        );
        check("key sk-pr****WXYZ is bad", "key … is bad");
        check("key ending in WXYZ is bad", "key ending in … is bad");
        check("key sk-proj-… is bad", "key … is bad");
        assert_eq!(hide("a k1 b", &["k1"]), "a … b");
        assert_eq!(hide(&"x".repeat(1000), &[]).len(), MESSAGE_LENGTH);
    }
}
