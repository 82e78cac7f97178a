//! What does each event of a stream mean, and is the answer whole?
//!
//! | | not yet real | end | error |
//! |---|---|---|---|
//! | chat completions | role-only or empty delta | finish reason of every choice, `[DONE]` | `data: {"error":{…}}` |
//! | responses | `response.created`, `queued`, `in_progress` | `response.completed` or `.incomplete` | `response.failed` |
//! | messages | `message_start`, `ping` | `message_delta` with stop reason, `message_stop` | `event: error` |
//! | Gemini `alt=sse` | chunk without parts | `finishReason`, then end | `data: {"error":{…}}` |

use std::borrow::Cow;

use bytes::Bytes;

use super::endpoint::Endpoint;
use super::error::ErrorAnswer;
use super::request::Asked;
use super::sse::Frame;
use super::upstream_error::UpstreamError;

/// How the events of a stream look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    ChatCompletions,
    Completions,
    Responses,
    Messages,
    GeminiSse,
    /// Events of their own (images, speech, transcripts): they pass as they come, only an error is recognised.
    OtherSse,
    /// No server-sent events at all (Gemini's JSON array, audio): not for [`StreamReader`].
    Raw,
}

impl Shape {
    /// The shape of an endpoint's stream; `query` is the client's (Gemini says `alt=sse` there).
    #[must_use]
    pub fn of(endpoint: Endpoint, query: Option<&str>) -> Shape {
        todo!()
    }

    /// What keeps intermediaries from hanging up while an upstream thinks, or `None` where nothing can be sent.
    /// `started`: whether a real event (or Anthropic's `message_start`) has been sent.
    #[must_use]
    pub fn keep_alive(self, started: Started) -> Option<&'static [u8]> {
        todo!()
    }
}

/// Whether the client has seen the answer begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    NotYet,
    Yes,
}

/// What one frame means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'a> {
    pub kind: EventKind,
    /// The text that it adds to the one choice; `None` for none.
    pub text: Option<Cow<'a, str>>,
    /// It carries what cannot be compared: a tool call, thinking, a signature, a second choice. From here on there is
    /// no verified resume.
    pub opaque: bool,
}

/// What follows from a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Says nothing yet: held back until something real comes.
    Prelude,
    /// Part of the answer.
    Real,
    /// The extra chunk of `stream_options.include_usage`: held back where the client did not ask.
    UsageOnly,
    /// The end marker.
    End,
    /// The upstream's error in place of an event.
    Error(Box<UpstreamError>),
    /// No JSON: dropped, and the rest goes on.
    Malformed,
    /// No JSON in the midst of tool arguments: a cut.
    HoleInTool,
}

/// How far an answer has come when its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Its end marker was seen, or its protocol has none and every choice is finished.
    Whole,
    /// Every choice is finished, but the end marker is missing: [`StreamReader::missing_end`].
    Finished,
    /// It ended before.
    Cut,
}

/// Tokens, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Read from the provider's prompt cache.
    pub cached_tokens: Option<u64>,
}

/// Follows one upstream's stream.
#[derive(Debug)]
pub struct StreamReader {
    shape: Shape,
}

impl StreamReader {
    #[must_use]
    pub fn new(shape: Shape, asked: &Asked) -> Self {
        todo!()
    }
    /// What this frame means. Call it for every frame in order.
    pub fn judge<'a>(&mut self, frame: &'a Frame) -> Judged<'a> {
        todo!()
    }
    /// What the stream's end would mean now.
    #[must_use]
    pub fn completion(&self) -> Completion {
        todo!()
    }
    /// The end marker that is missing from a finished answer; empty otherwise.
    #[must_use]
    pub fn missing_end(&self) -> Bytes {
        todo!()
    }
    /// The tokens counted so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        todo!()
    }
    /// Our error as the last event of this very stream (Responses go on with its response and sequence number). The
    /// connection closes behind it. Empty where nothing can be said ([`Shape::Raw`]).
    #[must_use]
    pub fn error_event(&self, error: &ErrorAnswer) -> Bytes {
        todo!()
    }
}
