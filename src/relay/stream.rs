//! One upstream's stream: its events up to the first real one, which are held back, and those behind it.
//!
//! Chunks are taken from the upstream only when the client's connection asks for more, so a slow client slows its
//! upstream and nothing piles up here.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, unfold};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Aborted, Chunks};
use super::attempt::Running;
use super::classify::{self, Transport};
use super::resume::{Passage, Told};
use crate::protocol::UpstreamError;
use crate::protocol::request::Asked;
use crate::protocol::sse::{Frame, SseParser};
use crate::protocol::stream::{Completion, EventKind, Judged, Shape, StreamReader, Usage};
use crate::routing::outcome::Outcome;

/// How long an upstream may take to end its body behind the end marker, for its connection to be used again.
const TAIL: Duration = Duration::from_secs(1);
/// How long an upstream whose answer is finished may keep its end marker, and its client, waiting: those that have one
/// send it with the finish or within milliseconds of it, and a second is not yet felt as a stall.
const AFTER_FINISH: Duration = Duration::from_secs(1);
/// What is held back before the first real event.
const MAX_OPENING_BYTES: usize = 1024 * 1024;

type Upstream = BoxStream<'static, Result<Bytes, Transport>>;

/// How long a stream may be silent; any byte counts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub before_text: Duration,
    pub after_text: Duration,
}

/// What becomes of the chunk that tells nothing but usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageChunk {
    /// The client asked for it, or the upstream sends it unasked.
    Passed,
    /// We asked for it.
    Dropped,
}

/// One upstream's events.
pub struct Events {
    upstream: Upstream,
    parser: SseParser,
    reader: StreamReader,
    shape: Shape,
    pace: Pace,
    usage_chunk: UsageChunk,
    /// The client has asked for the usage, which comes behind the finish.
    wants_usage: bool,
    has_text: bool,
    /// Since when the upstream has been waited for; kept when the wait is interrupted.
    waits_since: Option<Instant>,
    /// The same since the answer was finished, whatever else came meanwhile that is no part of it.
    waits_for_end_since: Option<Instant>,
    /// The upstream's body has ended, or nothing more is expected of it.
    is_over: bool,
}

/// What happens next on a stream.
pub enum Happening {
    /// Comments and empty lines.
    Aside(Bytes),
    /// Says nothing yet.
    Prelude(Bytes),
    /// A part of the answer; empty where the client has it already.
    Real(Bytes),
    /// The answer is whole; what is left to send, perhaps nothing.
    End(Bytes),
    Error {
        error: Box<UpstreamError>,
        data: Bytes,
    },
    Failed(Transport),
    /// It says something else than the client has.
    Differs,
    /// Nothing until the time at which a keep-alive is due.
    Nothing,
}

impl Events {
    pub fn new(
        upstream: Upstream,
        shape: Shape,
        asked: &Asked,
        pace: Pace,
        usage_chunk: UsageChunk,
    ) -> Events {
        Events {
            upstream,
            parser: SseParser::new(),
            reader: StreamReader::new(shape, asked),
            shape,
            pace,
            usage_chunk,
            wants_usage: asked.include_usage,
            has_text: false,
            waits_since: None,
            waits_for_end_since: None,
            is_over: false,
        }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn reader(&self) -> &StreamReader {
        &self.reader
    }

    pub fn into_reader(self) -> StreamReader {
        self.reader
    }

    pub fn usage(&self) -> Usage {
        self.reader.usage()
    }

    /// Can be dropped at any time: nothing that came is lost. `due`: when to stop waiting for the upstream.
    pub async fn next(&mut self, told: &mut Told, due: Option<Instant>) -> Happening {
        loop {
            match self.parser.next_frame() {
                Err(_) => return Happening::Failed(Transport::Garbage),
                Ok(Some(frame)) => {
                    if let Some(happening) = self.judge(&frame, told) {
                        return happening;
                    }
                }
                Ok(None) if self.is_over => return self.at_the_end(),
                Ok(None) => {
                    if let Some(happening) = self.feed(told, due).await {
                        return happening;
                    }
                }
            }
        }
    }

    /// Takes the next chunk.
    async fn feed(&mut self, told: &mut Told, due: Option<Instant>) -> Option<Happening> {
        let silence = if self.has_text {
            self.pace.after_text
        } else {
            self.pace.before_text
        };
        let mut given_up_at = *self.waits_since.get_or_insert_with(Instant::now) + silence;
        if self.has_all_but_the_end() {
            let since = self.waits_for_end_since.get_or_insert_with(Instant::now);
            given_up_at = given_up_at.min(*since + AFTER_FINISH);
        }
        let until = due.map_or(given_up_at, |due| due.min(given_up_at));
        let Ok(chunk) = timeout_at(until, self.upstream.next()).await else {
            return Some(match until < given_up_at {
                true => Happening::Nothing,
                false => self.broken_off(Transport::Silent),
            });
        };
        self.waits_since = None;
        match chunk {
            Some(Ok(chunk)) => {
                self.parser.feed(chunk);
                None
            }
            Some(Err(transport)) => Some(self.broken_off(transport)),
            None => {
                self.is_over = true;
                match self.parser.finish() {
                    Ok(frame) => frame.and_then(|frame| self.judge(&frame, told)),
                    Err(_) => Some(Happening::Failed(Transport::Garbage)),
                }
            }
        }
    }

    fn has_all_but_the_end(&self) -> bool {
        let lacks_usage = self.wants_usage && self.reader.usage() == Usage::default();
        self.reader.is_settled() && !lacks_usage
    }

    /// `None`: the frame is dropped.
    fn judge(&mut self, frame: &Frame, told: &mut Told) -> Option<Happening> {
        let judged = self.reader.judge(frame);
        self.has_text |= judged.speaks;
        if matches!(judged.kind, EventKind::Real | EventKind::UsageOnly) {
            self.waits_for_end_since = None;
        }
        let event = match frame {
            Frame::Event(event) => event,
            Frame::Comment(raw) | Frame::Blank(raw) => {
                return Some(match judged.kind {
                    EventKind::Error(error) => Happening::Error {
                        error,
                        data: raw.clone(),
                    },
                    _ => Happening::Aside(raw.clone()),
                });
            }
        };
        match judged.kind {
            EventKind::UsageOnly if self.usage_chunk == UsageChunk::Dropped => None,
            EventKind::Prelude | EventKind::Real | EventKind::UsageOnly => {
                let is_finished = self.reader.completion() != Completion::Cut;
                let bytes = match told.hear(&judged, is_finished) {
                    Passage::AsItIs => event.closed(),
                    Passage::Adopted(text) => told.adopted(event, text),
                    Passage::Swallowed => Bytes::new(),
                    Passage::Differs => return Some(Happening::Differs),
                };
                Some(as_it_counts(&judged, bytes))
            }
            EventKind::End if self.reader.completion() == Completion::Cut => {
                Some(Happening::Failed(Transport::Cut))
            }
            EventKind::End => Some(Happening::End(event.closed())),
            EventKind::Error(error) => Some(Happening::Error {
                error,
                data: Bytes::copy_from_slice(event.data()),
            }),
            EventKind::Malformed => None,
            EventKind::Hole => Some(Happening::Failed(Transport::Cut)),
        }
    }

    fn at_the_end(&self) -> Happening {
        match self.reader.completion() {
            Completion::Whole => Happening::End(Bytes::new()),
            Completion::Finished => Happening::End(self.reader.missing_end()),
            Completion::Cut => Happening::Failed(Transport::Cut),
        }
    }

    /// A finished answer is one, however its connection ended.
    fn broken_off(&mut self, transport: Transport) -> Happening {
        self.is_over = true;
        match self.reader.is_whole_if_cut() {
            true => self.at_the_end(),
            false => Happening::Failed(transport),
        }
    }

    /// Reads to the end of the body beside the answer, so that the connection can be used again.
    pub fn finish(self) {
        let mut upstream = self.upstream;
        if !self.is_over {
            tokio::spawn(async move {
                let tail = async { while let Some(Ok(_)) = upstream.next().await {} };
                let _ = timeout(TAIL, tail).await;
            });
        }
    }
}

fn as_it_counts(judged: &Judged<'_>, bytes: Bytes) -> Happening {
    match judged.kind {
        EventKind::Prelude => Happening::Prelude(bytes),
        _ => Happening::Real(bytes),
    }
}

/// What was held back until the first real event, which is its last.
pub struct Opening {
    pub held: VecDeque<Bytes>,
    pub end: Ended,
}

/// Whether the stream goes on behind its opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    NotYet,
    /// The answer was whole before anything real came.
    Whole,
    /// It is not the answer that the client has a part of.
    Differs,
}

/// Why there is no first real event.
pub enum NoOpening {
    Failed(Transport),
    Error { error: Box<UpstreamError>, data: Bytes },
}

/// Waits for the first real event.
pub async fn opening(events: &mut Events, told: &mut Told) -> Result<Opening, NoOpening> {
    let mut held = VecDeque::new();
    let mut bytes = 0;
    loop {
        let (raw, end) = match events.next(told, None).await {
            // It has kept this side waiting; the client has not begun to read.
            Happening::Aside(_) | Happening::Nothing => continue,
            Happening::Prelude(raw) => {
                bytes += raw.len();
                held.push_back(raw);
                if bytes > MAX_OPENING_BYTES {
                    return Err(NoOpening::Failed(Transport::Garbage));
                }
                continue;
            }
            Happening::Real(raw) => (raw, Ended::NotYet),
            Happening::End(raw) => (raw, Ended::Whole),
            Happening::Differs => (Bytes::new(), Ended::Differs),
            Happening::Error { error, data, .. } => return Err(NoOpening::Error { error, data }),
            Happening::Failed(transport) => return Err(NoOpening::Failed(transport)),
        };
        held.push_back(raw);
        return Ok(Opening { held, end });
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

#[cfg(test)]
mod tests;
