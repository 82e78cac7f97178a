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
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Protocol};
use super::error::ErrorAnswer;
use super::request::Asked;
use super::sse::{Frame, SseEvent};
use super::upstream_error::{UpstreamError, error_in_event};
use super::{anthropic, gemini, openai, responses};

mod adopt;

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
        match endpoint {
            Endpoint::ChatCompletions => Shape::ChatCompletions,
            Endpoint::Completions => Shape::Completions,
            Endpoint::Responses => Shape::Responses,
            Endpoint::Messages => Shape::Messages,
            Endpoint::StreamGenerateContent if asks_for_sse(query) => Shape::GeminiSse,
            Endpoint::ImagesGenerations
            | Endpoint::ImagesEdits
            | Endpoint::Transcriptions
            | Endpoint::Translations
            | Endpoint::Speech => Shape::OtherSse,
            _ => Shape::Raw,
        }
    }

    /// Whether its clients read over comments (google-genai fails on them: drop them).
    #[must_use]
    pub const fn takes_comments(self) -> bool {
        !matches!(self, Shape::GeminiSse | Shape::Raw)
    }

    /// What keeps intermediaries from hanging up while an upstream thinks, or `None` where nothing can be sent.
    /// `started`: whether a real event (or Anthropic's `message_start`) has been sent.
    #[must_use]
    pub fn keep_alive(self, started: Started) -> Option<&'static [u8]> {
        match (self, started) {
            (Shape::Messages, Started::Yes) => Some(b"event: ping\ndata: {\"type\": \"ping\"}\n\n"),
            (Shape::GeminiSse, _) => Some(b"\n"),
            (Shape::Raw, _) => None,
            _ => Some(b": keep-alive\n\n"),
        }
    }
}

/// Whether the client has seen the answer begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    NotYet,
    Yes,
}

fn asks_for_sse(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"))
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
    /// Whether a reader sees text in it, comparable or not: from here on silence is a stall, not thinking.
    pub speaks: bool,
    pub border: Border,
}

/// Where an event begins or ends a block of the answer. Only messages have such events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Border {
    #[default]
    None,
    Opens,
    Closes,
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
    /// The end marker. [`StreamReader::completion`] says whether the answer before it was whole.
    End,
    /// The upstream's error in place of an event.
    Error(Box<UpstreamError>),
    /// No JSON: dropped, and the rest goes on.
    Malformed,
    /// No JSON where others build on it, in the midst of tool arguments or where a block or message begins: a cut.
    Hole,
}

impl<'a> Judged<'a> {
    pub(super) fn of(kind: EventKind) -> Self {
        Judged {
            kind,
            text: None,
            opaque: false,
            speaks: false,
            border: Border::None,
        }
    }

    /// Part of the answer, of a kind that nothing can be compared with.
    pub(super) fn opaque() -> Self {
        Judged {
            opaque: true,
            ..Judged::of(EventKind::Real)
        }
    }

    pub(super) fn at(mut self, border: Border) -> Self {
        self.border = border;
        self
    }

    pub(super) fn error(error: Option<UpstreamError>) -> Self {
        Judged::of(EventKind::Error(Box::new(error.unwrap_or_default())))
    }
}

/// How far an answer has come when its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Every choice is finished, and its end marker was seen if its protocol has one.
    Whole,
    /// Every choice is finished, but the end marker is missing: [`StreamReader::missing_end`].
    Finished,
    /// It ended before.
    Cut,
}

/// Tokens, as the upstream counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Anthropic counts without the cached ones, the others with them.
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Read from the provider's prompt cache.
    pub cached_tokens: Option<u64>,
}

impl Usage {
    /// Later counts replace earlier ones; what they leave out stays.
    pub(super) fn update(&mut self, later: Usage) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cached_tokens = later.cached_tokens.or(self.cached_tokens);
    }
}

/// Follows one upstream's stream.
#[derive(Debug)]
pub struct StreamReader {
    shape: Shape,
    progress: Progress,
}

/// What a reader remembers from event to event.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How many choices were asked for.
    pub asked_choices: u32,
    /// Bit n: choice n was seen. OpenAI allows 128.
    pub seen: u128,
    pub finished: u128,
    /// The end marker was seen.
    pub ended: bool,
    /// Between the first and the last piece of a tool's arguments.
    pub in_tool: bool,
    /// Messages: the block that is open.
    pub open_block: Option<u64>,
    /// An event was dropped because it is no JSON: it may have begun something.
    pub lost: bool,
    /// A tool call, or a piece of one, has come.
    pub called: bool,
    /// A part of the answer came before any finish.
    spoke_before_finish: bool,
    /// A part of the answer came behind a finish, so that a finish of this upstream's is no end.
    spoke_behind_finish: bool,
    pub usage: Usage,
    /// Responses: the first event's `response`, and the number of the next event.
    pub response: Option<String>,
    pub next_sequence: u64,
    /// What names this stream in each of its events.
    pub ids: Option<Map<String, Value>>,
}

impl Progress {
    pub fn see(&mut self, choice: Option<u64>) {
        self.seen |= bit(choice);
    }

    pub fn finish(&mut self, choice: Option<u64>) {
        self.seen |= bit(choice);
        self.finished |= bit(choice);
    }

    fn all_seen_are_finished(&self) -> bool {
        self.seen != 0 && self.seen == self.finished
    }
}

fn bit(choice: Option<u64>) -> u128 {
    1 << choice.unwrap_or(0).min(127)
}

impl StreamReader {
    #[must_use]
    pub fn new(shape: Shape, asked: &Asked) -> Self {
        StreamReader {
            shape,
            progress: Progress {
                asked_choices: asked.choices,
                ..Progress::default()
            },
        }
    }

    /// What this frame means. Call it for every frame in order.
    pub fn judge<'a>(&mut self, frame: &'a Frame) -> Judged<'a> {
        match frame {
            Frame::Blank(_) => Judged::of(EventKind::Prelude),
            Frame::Comment(raw) => self.judge_unframed(raw),
            Frame::Event(event) => self.judge_event(event),
        }
    }

    /// Some servers write an error into a stream as bare JSON.
    fn judge_unframed(&self, raw: &[u8]) -> Judged<'static> {
        let looks_like_json = matches!(raw.trim_ascii_start().first(), Some(b'{' | b'['));
        match looks_like_json.then(|| error_in_event(raw)).flatten() {
            Some(error) => Judged::error(Some(error)),
            None => Judged::of(EventKind::Prelude),
        }
    }

    fn judge_event<'a>(&mut self, event: &'a SseEvent) -> Judged<'a> {
        let data = event.data().trim_ascii();
        if data.is_empty() {
            return Judged::of(EventKind::Prelude);
        }
        if data == b"[DONE]" {
            return self.judge_done();
        }
        let was_finished = self.completion() != Completion::Cut;
        let next_sequence = self.progress.next_sequence;
        let judged = match self.shape {
            Shape::ChatCompletions | Shape::Completions => openai::judge(&mut self.progress, data),
            Shape::Responses => responses::judge(&mut self.progress, event.name(), data),
            Shape::Messages => anthropic::judge(&mut self.progress, event.name(), data),
            Shape::GeminiSse => gemini::judge(&mut self.progress, data),
            Shape::OtherSse => openai::judge_other(event.name(), data),
            Shape::Raw => return Judged::opaque(),
        };
        let is_error = matches!(&judged, Ok(judged) if matches!(judged.kind, EventKind::Error(_)));
        let judged = match judged {
            // Whatever its data look like.
            _ if event.name() == Some("error") && !is_error => Judged::error(error_in_event(data)),
            Ok(judged) => {
                if judged.kind == EventKind::Real {
                    self.progress.remember_ids(data);
                }
                judged
            }
            Err(Unread::Odd) => Judged::opaque(),
            Err(Unread::Malformed) if self.progress.in_tool => Judged::of(EventKind::Hole),
            Err(Unread::Malformed) => Judged::of(EventKind::Malformed),
        };
        match judged.kind {
            EventKind::Real => self.progress_of_part(&judged, was_finished),
            EventKind::Malformed => self.progress.lost = true,
            // The client does not get it, so its number is free.
            EventKind::Error(_) => self.progress.next_sequence = next_sequence,
            _ => {}
        }
        judged
    }

    fn progress_of_part(&mut self, judged: &Judged<'_>, was_finished: bool) {
        let says_something = judged.opaque || judged.text.is_some();
        self.progress.spoke_behind_finish |= was_finished && says_something;
        self.progress.spoke_before_finish |= self.completion() == Completion::Cut;
    }

    fn judge_done(&mut self) -> Judged<'static> {
        match self.shape {
            Shape::ChatCompletions | Shape::Completions | Shape::OtherSse => {
                self.progress.ended = true;
                Judged::of(EventKind::End)
            }
            // Not of this protocol; look-alikes add it.
            Shape::Responses | Shape::Messages | Shape::GeminiSse | Shape::Raw => {
                Judged::of(EventKind::Prelude)
            }
        }
    }

    /// What the stream's end would mean now.
    #[must_use]
    pub fn completion(&self) -> Completion {
        let progress = &self.progress;
        match self.shape {
            Shape::ChatCompletions | Shape::Completions => match progress.ended {
                // An upstream that does not know `n` answers with one choice.
                true if progress.all_seen_are_finished() => Completion::Whole,
                false
                    if progress.all_seen_are_finished()
                        && progress.finished.count_ones() >= progress.asked_choices.min(128) =>
                {
                    Completion::Finished
                }
                _ => Completion::Cut,
            },
            Shape::Messages => match (progress.all_seen_are_finished(), progress.ended) {
                (true, true) => Completion::Whole,
                (true, false) => Completion::Finished,
                (false, _) => Completion::Cut,
            },
            Shape::Responses if progress.ended => Completion::Whole,
            Shape::GeminiSse if progress.all_seen_are_finished() => Completion::Whole,
            Shape::Responses | Shape::GeminiSse => Completion::Cut,
            Shape::OtherSse | Shape::Raw => Completion::Whole,
        }
    }

    /// Whether the answer is whole even if its stream breaks off now: a finish is an end, unless this upstream has gone
    /// on behind one (some put a finish reason into every chunk).
    #[must_use]
    pub fn is_whole_if_cut(&self) -> bool {
        match self.shape {
            // Nothing in it tells its end.
            Shape::OtherSse | Shape::Raw => false,
            _ => self.completion() != Completion::Cut && !self.progress.spoke_behind_finish,
        }
    }

    /// Whether nothing more of the answer is to be waited for. Where a finish reason stands in every chunk, the first
    /// one alone does not show it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_whole_if_cut() && self.progress.spoke_before_finish
    }

    /// The end marker that is missing from a finished answer; empty otherwise.
    #[must_use]
    pub fn missing_end(&self) -> Bytes {
        Bytes::from_static(match (self.completion(), self.shape) {
            (Completion::Finished, Shape::ChatCompletions | Shape::Completions) => b"data: [DONE]\n\n",
            (Completion::Finished, Shape::Messages) => {
                b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
            }
            _ => b"",
        })
    }

    /// The tokens counted so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.progress.usage
    }

    /// Our error as the last event of this very stream (Responses go on with its response and sequence number). The
    /// connection closes behind it. Empty where nothing can be said ([`Shape::Raw`]).
    #[must_use]
    pub fn error_event(&self, error: &ErrorAnswer) -> Bytes {
        match self.shape {
            Shape::ChatCompletions | Shape::Completions | Shape::OtherSse => {
                sse(None, &error.body(Protocol::OpenAi))
            }
            Shape::Responses => sse(Some("response.failed"), &responses::failed(&self.progress, error)),
            Shape::Messages => sse(Some("error"), &error.body(Protocol::Anthropic)),
            Shape::GeminiSse => sse(None, &error.body(Protocol::Gemini)),
            Shape::Raw => Bytes::new(),
        }
    }

    /// An upstream's own error, as it answered it instead of a stream or in its midst, as this stream's last event.
    /// `None`: it is not of a form that this protocol's clients could read there.
    #[must_use]
    pub fn foreign_error_event(&self, body: &[u8]) -> Option<Bytes> {
        let mut body: Value = serde_json::from_slice(body).ok()?;
        if self.shape == Shape::Responses {
            return self.failed_response(body);
        }
        let error = body.get_mut("error").filter(|error| error.is_object())?.take();
        match self.shape {
            // Nothing beside it: OpenRouter's has choices with a finish reason.
            Shape::ChatCompletions | Shape::Completions | Shape::OtherSse => {
                Some(sse(None, json!({"error": error}).to_string().as_bytes()))
            }
            Shape::Messages if body["type"] == "error" && error["type"].is_string() => {
                let data = json!({"type": "error", "error": error});
                Some(sse(Some("error"), data.to_string().as_bytes()))
            }
            // The SDK knows an error by `error` as the first key, and compares its code with numbers.
            Shape::GeminiSse if error["code"].is_u64() && error["status"].is_string() => {
                Some(sse(None, json!({"error": error}).to_string().as_bytes()))
            }
            Shape::Messages | Shape::GeminiSse | Shape::Responses | Shape::Raw => None,
        }
    }

    /// An upstream's error that came in the midst of its stream, as this stream's last event; `status` is what it
    /// stands for. `None`: it has no words.
    #[must_use]
    pub fn upstream_error_event(
        &self,
        error: &UpstreamError,
        data: &[u8],
        status: StatusCode,
    ) -> Option<Bytes> {
        let as_it_is = self.foreign_error_event(data);
        as_it_is.or_else(|| {
            let message = Some(&error.message).filter(|message| !message.is_empty())?;
            let code = error.code.as_ref().or(error.kind.as_ref());
            let code = code.map_or("upstream_failed", String::as_str).to_owned();
            Some(self.error_event(&ErrorAnswer::new(status, code, message)))
        })
    }

    /// A failed response under the number that is next for this client.
    fn failed_response(&self, mut event: Value) -> Option<Bytes> {
        let is_one = event["type"] == "response.failed" && event["response"].is_object();
        if !is_one {
            return None;
        }
        event["sequence_number"] = self.progress.next_sequence.into();
        Some(sse(Some("response.failed"), event.to_string().as_bytes()))
    }
}

/// Bytes of one event; `data` has no line breaks.
fn sse(name: Option<&str>, data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + 40);
    if let Some(name) = name {
        event.extend_from_slice(b"event: ");
        event.extend_from_slice(name.as_bytes());
        event.push(b'\n');
    }
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// Why an event's data could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Malformed,
    /// JSON, of a shape that we do not know: it passes.
    Odd,
}

pub(super) fn parse<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Unread> {
    serde_json::from_slice(data).map_err(|error| {
        // An odd shape stops the reader early: whether the rest is JSON is not yet known.
        let is_json = error.is_data() && serde_json::from_slice::<IgnoredAny>(data).is_ok();
        if is_json { Unread::Odd } else { Unread::Malformed }
    })
}

#[cfg(test)]
mod tests;
