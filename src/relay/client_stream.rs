//! The one stream that a client gets, whoever serves it: attempts go on behind keep-alives, a stream that breaks off
//! is taken up by another, and what cannot be brought to its end is never passed off as whole: its last event is then
//! an error in the client's own protocol, whatever form the upstream's had.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::unfold;
use futures::{FutureExt, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use log::info;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::answer::{Aborted, Answer, Body, Chunks};
use super::attempt::{Begun, Running, Served};
use super::classify::{self, Place};
use super::counters;
use super::failover::Step;
use super::journey::{Found, Journey, Seeking};
use super::keep_alive::Quiet;
use super::refusal;
use super::stream::{Ended, Events, Happening};
use crate::protocol::stream::{Shape, Started, StreamReader};
use crate::protocol::{ErrorAnswer, UpstreamError};
use crate::routing::outcome::{Breakage, Next, Outcome};

/// What leaves in one write at most, or little more: a slow client slows its upstream from there on.
const TOGETHER_BYTES: usize = 16 * 1024;
/// Events that follow one another within this come faster than anybody reads.
const IN_A_ROW: Duration = Duration::from_millis(1);
/// After an error event the connection closes; before that the event must have left.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The answer while attempts still go on: a status, and a first keep-alive.
pub fn still_seeking(seeking: Seeking, shape: Shape, keep_alive: Duration) -> Answer {
    seeking.wants_events();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let mut stream = ClientStream {
        held: VecDeque::new(),
        sent_at: None,
        shape,
        started: Started::NotYet,
        quiet: Quiet::new(Some(keep_alive)),
        state: State::Seeking {
            seeking,
            broke_off: None,
        },
    };
    stream.keep_alive();
    Answer {
        status: StatusCode::OK,
        headers,
        body: stream.body(),
    }
}

/// The answer that a stream has begun.
pub fn begun(journey: Journey, begun: Box<Begun>, keep_alive: Option<Duration>) -> Answer {
    let (status, headers) = (begun.status, begun.headers.clone());
    let mut stream = ClientStream {
        held: VecDeque::new(),
        sent_at: None,
        shape: begun.events.shape(),
        started: Started::NotYet,
        quiet: Quiet::new(keep_alive),
        state: State::Over,
    };
    stream.begin(journey, begun);
    Answer {
        status,
        headers,
        body: stream.body(),
    }
}

struct ClientStream {
    /// On its way to the client.
    held: VecDeque<Bytes>,
    /// When something last left.
    sent_at: Option<Instant>,
    shape: Shape,
    started: Started,
    quiet: Quiet,
    state: State,
}

enum State {
    /// Nobody speaks. `broke_off`: the client has a part of an answer, and these are the last words if it stays one.
    Seeking {
        seeking: Seeking,
        broke_off: Option<BrokeOff>,
    },
    Passing(Box<Passing>),
    /// The error event is out; the connection is to be closed behind it.
    Closing,
    Over,
}

struct Passing {
    journey: Journey,
    events: Events,
    running: Running,
}

/// The error event for a stream that nobody takes up.
struct BrokeOff(Bytes);

/// An upstream's error in the midst of its stream, in whatever form.
struct Said {
    error: Box<UpstreamError>,
    data: Bytes,
}

impl Said {
    /// In the client's protocol; what the upstream says of our account is not for the client.
    fn as_event(&self, reader: &StreamReader, outcome: &Outcome) -> Option<Bytes> {
        if matches!(outcome, Outcome::Refused { .. }) {
            return None;
        }
        let status = StatusCode::from_u16(classify::status_of(outcome)).ok()?;
        reader.upstream_error_event(&self.error, &self.data, status)
    }
}

impl ClientStream {
    fn body(self) -> Body {
        let chunks: Chunks = unfold(self, ClientStream::step).boxed_local();
        Body::Passing { length: None, chunks }
    }

    async fn step(mut self) -> Option<(Result<Bytes, Aborted>, Self)> {
        loop {
            self.take_what_is_there().await;
            if let Some(bytes) = self.held_together() {
                self.quiet.broken();
                self.sent_at = Some(Instant::now());
                return Some((Ok(bytes), self));
            }
            match &mut self.state {
                State::Over => return None,
                State::Closing => {
                    sleep(LAST_WORDS).await;
                    self.state = State::Over;
                    return Some((Err(Aborted), self));
                }
                State::Seeking { seeking, .. } => match self.quiet.or_due(seeking).await {
                    Some((journey, found)) => self.found(journey, found),
                    None => self.keep_alive(),
                },
                State::Passing(passing) => {
                    let due = self.quiet.due();
                    let happening = passing.events.next(&mut passing.journey.told, due).await;
                    self.take(happening);
                }
            }
        }
    }

    /// Behind the first event those that have come with it: one write for all. No time is waited for. Where events come
    /// one right after another, the task that reads the upstream's connection, which hands over one chunk at a time, is
    /// let run for more; elsewhere that would be in vain.
    async fn take_what_is_there(&mut self) {
        let mut has_yielded = self.sent_at.is_none_or(|at| at.elapsed() > IN_A_ROW);
        while (1..TOGETHER_BYTES).contains(&self.held_bytes()) {
            let State::Passing(passing) = &mut self.state else {
                return;
            };
            let next = passing
                .events
                .next(&mut passing.journey.told, None)
                .now_or_never();
            match next {
                Some(happening) => {
                    has_yielded = false;
                    self.take(happening);
                }
                None if has_yielded => return,
                None => {
                    has_yielded = true;
                    yield_now().await;
                }
            }
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(Bytes::len).sum()
    }

    /// What is held, in one piece.
    fn held_together(&mut self) -> Option<Bytes> {
        self.held.retain(|bytes| !bytes.is_empty());
        if self.held.len() < 2 {
            return self.held.pop_front();
        }
        let mut together = BytesMut::with_capacity(self.held_bytes());
        self.held
            .drain(..)
            .for_each(|bytes| together.extend_from_slice(&bytes));
        Some(together.freeze())
    }

    fn keep_alive(&mut self) {
        self.quiet.broken();
        let sign = self.shape.keep_alive(self.started);
        self.held.extend(sign.map(Bytes::from_static));
    }

    /// The first stream, or one that takes up another.
    fn begin(&mut self, mut journey: Journey, begun: Box<Begun>) {
        let is_first = journey.told.first().is_none();
        let Begun {
            events,
            opening,
            running,
            ..
        } = *begun;
        if is_first {
            journey.first_token();
        }
        if !journey.told.may_be_resumed() {
            journey.forget_request();
        }
        self.started = Started::Yes;
        self.held.extend(opening.held);
        self.state = State::Passing(Box::new(Passing {
            journey,
            events,
            running,
        }));
        match opening.end {
            Ended::NotYet => {}
            Ended::Whole => self.end(),
            Ended::Differs => self.differs(),
        }
    }

    fn found(&mut self, journey: Journey, found: Found) {
        let State::Seeking { broke_off, .. } = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        match (found, broke_off) {
            (Found::Served(_, Served::Stream(begun)), _) => self.begin(journey, begun),
            // Such an answer is not looked for once a stream has begun, as it cannot stand in it.
            (Found::Served(_, Served::Answer(_)), Some(BrokeOff(words))) => self.give_up(words),
            (Found::Served(_, Served::Answer(_)), None) => {
                let error = refusal::of_attempt(&Outcome::Broken(Breakage::Garbage));
                self.close(journey.reader().error_event(&error));
            }
            (Found::Nothing(_), Some(BrokeOff(words))) => self.give_up(words),
            (Found::Nothing(unserved), None) => {
                self.close(unserved.into_event(&journey.reader(), journey.request()));
            }
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Aside(raw) if self.shape.takes_comments() => self.held.push_back(raw),
            Happening::Aside(_) => {}
            Happening::Prelude(raw) | Happening::Real(raw) => self.held.push_back(raw),
            Happening::End(raw) => {
                self.held.push_back(raw);
                self.end();
            }
            Happening::Nothing => self.keep_alive(),
            Happening::Differs => self.differs(),
            Happening::Error { error, data } => {
                let outcome = classify::of_error(&error, Place::InAnswer, error.retry_delay);
                self.broke_off(&outcome, Some(Said { error, data }));
            }
            Happening::Failed(transport) => self.broke_off(&classify::of_transport(transport), None),
        }
    }

    fn end(&mut self) {
        if let State::Passing(passing) = std::mem::replace(&mut self.state, State::Over) {
            let Passing {
                journey,
                events,
                mut running,
            } = *passing;
            if journey.told.first().is_some() {
                counters::RESUMES.with_label_values(&["resumed"]).inc();
            }
            running.counted(events.usage());
            running.end(&Outcome::Ok);
            events.finish();
        }
    }

    /// What speaks now has ended before its end. `said`: the upstream's own words for it.
    fn broke_off(&mut self, outcome: &Outcome, said: Option<Said>) {
        let State::Passing(passing) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let Passing {
            mut journey,
            events,
            mut running,
        } = *passing;
        let place = running.place();
        running.counted(events.usage());
        running.end(outcome);
        let words = said.and_then(|said| said.as_event(clients_reader(&journey, events.reader()), outcome));
        let words =
            words.unwrap_or_else(|| last_words(&journey, events.reader(), &refusal::of_attempt(outcome)));
        // What the request itself is to blame for would meet it everywhere.
        let may_go_on = journey.told.may_be_resumed() && outcome.next() == Next::Elsewhere;
        let step = place
            .filter(|_| may_go_on)
            .map(|place| journey.failed(place, outcome));
        match step {
            Some(Step::Pick) => {
                let request_id = journey.request().head.caller.request_id.as_str();
                info!(request_id; "stream broke off, another is asked to go on with it");
                journey.told.broke_off(events.into_reader());
                self.state = State::Seeking {
                    seeking: journey.seek(),
                    broke_off: Some(BrokeOff(words)),
                };
            }
            Some(Step::End) | None => self.close(words),
        }
    }

    /// What took up the stream says something else; its upstream is cancelled.
    fn differs(&mut self) {
        let State::Passing(passing) = std::mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let Passing {
            journey,
            events,
            mut running,
        } = *passing;
        // Nothing that its channel is to blame for.
        running.end(&Outcome::Gone);
        counters::RESUMES.with_label_values(&["differed"]).inc();
        let error = ErrorAnswer::new(
            StatusCode::BAD_GATEWAY,
            "upstream_failed",
            "the upstream broke off its answer, and no other has the same",
        );
        self.close(last_words(&journey, events.reader(), &error));
    }

    /// Nobody takes up the stream.
    fn give_up(&mut self, words: Bytes) {
        counters::RESUMES.with_label_values(&["failed"]).inc();
        self.close(words);
    }

    fn close(&mut self, event: Bytes) {
        self.held.push_back(event);
        self.state = State::Closing;
    }
}

/// The error event goes on with the stream that the client knows.
fn last_words(journey: &Journey, reader: &StreamReader, error: &ErrorAnswer) -> Bytes {
    clients_reader(journey, reader).error_event(error)
}

fn clients_reader<'a>(journey: &'a Journey, reader: &'a StreamReader) -> &'a StreamReader {
    journey.told.first().unwrap_or(reader)
}
