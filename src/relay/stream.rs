//! A stream on its way from upstream to client: held until its first real event, passed on as it comes, and when it
//! is cut, never passed off as whole.
//!
//! Chunks are taken from the upstream only when the client's connection asks for more, so a slow client slows its
//! upstream and nothing piles up here.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::answer::{Aborted, Chunks};
use super::attempt::Running;
use super::classify::{self, Place, Transport};
use super::refusal;
use crate::protocol::UpstreamError;
use crate::protocol::request::Asked;
use crate::protocol::sse::{Frame, SseParser};
use crate::protocol::stream::{Completion, EventKind, Shape, StreamReader};
use crate::routing::outcome::Outcome;

/// After an error event the connection closes; before that the event must have left.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How long an upstream may take to end its body behind the end marker, for its connection to be used again.
const TAIL: Duration = Duration::from_secs(1);
/// What is held back before the first real event.
const MAX_OPENING_BYTES: usize = 1024 * 1024;

type Upstream = BoxStream<'static, Result<Bytes, Transport>>;

/// How long a stream may be silent; any byte counts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub before_text: Duration,
    pub after_text: Duration,
}

/// One upstream's events.
pub struct Events {
    upstream: Upstream,
    parser: SseParser,
    reader: StreamReader,
    shape: Shape,
    pace: Pace,
    has_text: bool,
    /// The upstream's body has ended.
    is_over: bool,
}

/// What happens next on a stream.
enum Happening {
    /// Comments and empty lines.
    Aside(Bytes),
    /// Says nothing yet.
    Prelude(Bytes),
    Real(Bytes),
    /// The answer is whole; what is left to send, perhaps nothing.
    End(Bytes),
    Error {
        error: Box<UpstreamError>,
        raw: Bytes,
        data: Bytes,
    },
    Failed(Transport),
}

impl Events {
    pub fn new(upstream: Upstream, shape: Shape, asked: &Asked, pace: Pace) -> Events {
        Events {
            upstream,
            parser: SseParser::new(),
            reader: StreamReader::new(shape, asked),
            shape,
            pace,
            has_text: false,
            is_over: false,
        }
    }

    async fn next(&mut self) -> Happening {
        loop {
            match self.parser.next_frame() {
                Err(_) => return Happening::Failed(Transport::Garbage),
                Ok(Some(frame)) => {
                    if let Some(happening) = self.judge(&frame) {
                        return happening;
                    }
                }
                Ok(None) if self.is_over => return self.at_the_end(),
                Ok(None) => {
                    if let Some(failed) = self.feed().await {
                        return failed;
                    }
                }
            }
        }
    }

    /// Takes the next chunk.
    async fn feed(&mut self) -> Option<Happening> {
        let silence = if self.has_text {
            self.pace.after_text
        } else {
            self.pace.before_text
        };
        match timeout(silence, self.upstream.next()).await {
            Ok(Some(Ok(chunk))) => self.parser.feed(chunk),
            Ok(Some(Err(transport))) => return Some(self.broken_off(transport)),
            Err(_) => return Some(self.broken_off(Transport::Silent)),
            Ok(None) => {
                self.is_over = true;
                return match self.parser.finish() {
                    Ok(frame) => frame.and_then(|frame| self.judge(&frame)),
                    Err(_) => Some(Happening::Failed(Transport::Garbage)),
                };
            }
        }
        None
    }

    /// `None`: the frame is dropped.
    fn judge(&mut self, frame: &Frame) -> Option<Happening> {
        let judged = self.reader.judge(frame);
        self.has_text |= judged.text.is_some();
        let kind = judged.kind;
        let raw = match frame {
            Frame::Event(event) => event.closed(),
            Frame::Comment(raw) | Frame::Blank(raw) => raw.clone(),
        };
        Some(match kind {
            EventKind::Prelude if !matches!(frame, Frame::Event(_)) => Happening::Aside(raw),
            EventKind::Prelude => Happening::Prelude(raw),
            EventKind::Real | EventKind::UsageOnly => Happening::Real(raw),
            EventKind::End if self.reader.completion() == Completion::Cut => {
                Happening::Failed(Transport::Cut)
            }
            EventKind::End => Happening::End(raw),
            EventKind::Error(error) => {
                let data = match frame {
                    Frame::Event(event) => Bytes::copy_from_slice(event.data()),
                    Frame::Comment(raw) | Frame::Blank(raw) => raw.clone(),
                };
                Happening::Error { error, raw, data }
            }
            EventKind::Malformed => return None,
            EventKind::HoleInTool => Happening::Failed(Transport::Cut),
        })
    }

    fn at_the_end(&self) -> Happening {
        match self.reader.completion() {
            Completion::Whole => Happening::End(Bytes::new()),
            Completion::Finished => Happening::End(self.reader.missing_end()),
            Completion::Cut => Happening::Failed(Transport::Cut),
        }
    }

    /// A finished answer is one, however its connection ended.
    fn broken_off(&self, transport: Transport) -> Happening {
        match (self.shape, self.at_the_end()) {
            // It has no end by which it could be known.
            (Shape::OtherSse, _) | (_, Happening::Failed(_)) => Happening::Failed(transport),
            (_, end) => end,
        }
    }

    /// Reads to the end of the body beside the answer, so that the connection can be used again.
    fn finish(self) {
        let mut upstream = self.upstream;
        if !self.is_over {
            tokio::spawn(async move {
                let tail = async { while let Some(Ok(_)) = upstream.next().await {} };
                let _ = timeout(TAIL, tail).await;
            });
        }
    }
}

/// What was held back until the first real event, which is its last.
pub struct Opening {
    held: VecDeque<Bytes>,
    /// The answer was whole before anything real came.
    is_whole: bool,
}

/// Why there is no first real event.
pub enum NoOpening {
    Failed(Transport),
    Error { error: Box<UpstreamError>, data: Bytes },
}

/// Waits for the first real event.
pub async fn opening(events: &mut Events) -> Result<Opening, NoOpening> {
    let mut held = VecDeque::new();
    let mut bytes = 0;
    loop {
        let (raw, is_whole) = match events.next().await {
            // It has kept this side waiting; the client has not begun to read.
            Happening::Aside(_) => continue,
            Happening::Prelude(raw) => {
                bytes += raw.len();
                held.push_back(raw);
                if bytes > MAX_OPENING_BYTES {
                    return Err(NoOpening::Failed(Transport::Garbage));
                }
                continue;
            }
            Happening::Real(raw) => (raw, false),
            Happening::End(raw) => (raw, true),
            Happening::Error { error, data, .. } => return Err(NoOpening::Error { error, data }),
            Happening::Failed(transport) => return Err(NoOpening::Failed(transport)),
        };
        held.push_back(raw);
        return Ok(Opening { held, is_whole });
    }
}

/// The stream from its opening to its end.
pub fn pass_events(events: Events, opening: Opening, running: Running) -> Chunks {
    let mut passing = Passing {
        held: opening.held,
        state: State::Passing(Box::new(events)),
        running,
    };
    if opening.is_whole {
        passing.end();
    }
    unfold(passing, Passing::step).boxed_local()
}

struct Passing {
    held: VecDeque<Bytes>,
    state: State,
    running: Running,
}

enum State {
    Passing(Box<Events>),
    /// The error event is out; the connection is to be closed behind it.
    Closing,
    Over,
}

impl Passing {
    async fn step(mut self) -> Option<(Result<Bytes, Aborted>, Self)> {
        loop {
            if let Some(bytes) = self.held.pop_front() {
                if bytes.is_empty() {
                    continue;
                }
                return Some((Ok(bytes), self));
            }
            match &mut self.state {
                State::Over => return None,
                State::Closing => {
                    sleep(LAST_WORDS).await;
                    self.state = State::Over;
                    return Some((Err(Aborted), self));
                }
                State::Passing(events) => {
                    let happening = events.next().await;
                    self.take(happening);
                }
            }
        }
    }

    fn take(&mut self, happening: Happening) {
        let State::Passing(events) = &mut self.state else {
            return;
        };
        match happening {
            Happening::Aside(raw) if events.shape.takes_comments() => self.held.push_back(raw),
            Happening::Aside(_) => {}
            Happening::Prelude(raw) | Happening::Real(raw) => self.held.push_back(raw),
            Happening::End(raw) => {
                self.held.push_back(raw);
                self.end();
            }
            Happening::Error { error, raw, .. } => {
                let outcome = classify::of_error(&error, Place::InAnswer, error.retry_delay);
                // What the upstream says of our account is not for the client.
                let event = match outcome {
                    Outcome::Refused { .. } => events.reader.error_event(&refusal::of_attempt(&outcome)),
                    _ => raw,
                };
                self.cut(event, &outcome);
            }
            Happening::Failed(transport) => {
                let outcome = classify::of_transport(transport);
                let event = events.reader.error_event(&refusal::of_attempt(&outcome));
                self.cut(event, &outcome);
            }
        }
    }

    fn end(&mut self) {
        self.running.end(&Outcome::Ok);
        if let State::Passing(events) = std::mem::replace(&mut self.state, State::Over) {
            events.finish();
        }
    }

    fn cut(&mut self, event: Bytes, outcome: &Outcome) {
        self.running.end(outcome);
        self.held.push_back(event);
        self.state = State::Closing;
    }
}

/// How long bytes that nobody reads may take.
#[derive(Clone, Copy, Debug)]
pub enum RawPace {
    /// A whole plain answer.
    Until(Instant),
    /// A stream.
    Silence(Duration),
}

/// `held`, then everything that comes.
pub fn pass_raw(upstream: Upstream, held: Vec<Bytes>, pace: RawPace, running: Running) -> Chunks {
    let raw = Raw {
        upstream,
        pace,
        running,
    };
    futures::stream::iter(held.into_iter().map(Ok))
        .chain(raw.chunks())
        .boxed_local()
}

struct Raw {
    upstream: Upstream,
    pace: RawPace,
    running: Running,
}

impl Raw {
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Aborted>> {
        unfold(Some(self), async |raw| {
            let mut raw = raw?;
            match raw.next().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(raw))),
                Ok(None) => {
                    raw.running.end(&Outcome::Ok);
                    None
                }
                Err(transport) => {
                    raw.running.end(&classify::of_transport(transport));
                    Some((Err(Aborted), None))
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Transport> {
        let until = match self.pace {
            RawPace::Until(until) => until,
            RawPace::Silence(silence) => Instant::now() + silence,
        };
        match timeout_at(until, self.upstream.next()).await {
            Ok(chunk) => chunk.transpose(),
            Err(_) => Err(Transport::Silent),
        }
    }
}
