//! How an answer leaves: a list of steps, made from answer and plan, that the connection draws on.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::rt::time::{Sleep, sleep};
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::answer::{Event, Framing, Part};
use super::faults::{Break, Coding, Plan};
use super::log::{Ended, InFlight};

/// Before a connection dies, what was written gets so long to leave it.
const FLUSH: Duration = Duration::from_millis(5);

/// One step of an answer's way out.
pub enum Step {
    /// Nothing for so long.
    Wait(Duration),
    /// These bytes; `content` if they are what faults count.
    Send {
        /// The bytes.
        bytes: Bytes,
        /// Whether they count.
        content: bool,
    },
    /// Nothing any more, the connection open.
    Hang,
    /// The connection dies.
    Die(Ended),
}

impl Step {
    /// Bytes that do not count.
    pub fn send(bytes: impl Into<Bytes>) -> Step {
        Step::Send {
            bytes: bytes.into(),
            content: false,
        }
    }
}

/// An answer on its way.
pub struct Sending {
    steps: VecDeque<Step>,
    size: BodySize,
    sleeping: Option<Pin<Box<Sleep>>>,
    in_flight: InFlight,
}

impl Sending {
    /// A body of so many bytes.
    pub fn sized(in_flight: InFlight, steps: VecDeque<Step>, len: usize) -> Sending {
        let mut sending = Sending {
            steps,
            size: BodySize::Sized(len as u64),
            sleeping: None,
            in_flight,
        };
        if len == 0 {
            // Of an empty body the connection never asks.
            sending.in_flight.end(Ended::Answered);
        }
        sending
    }

    /// A body whose length nobody knows.
    pub fn open(in_flight: InFlight, steps: VecDeque<Step>) -> Sending {
        Sending {
            steps,
            size: BodySize::Stream,
            sleeping: None,
            in_flight,
        }
    }

    fn poll_wait(&mut self, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleeping = self.sleeping.get_or_insert_with(|| Box::pin(sleep(time)));
        if sleeping.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.sleeping = None;
        Poll::Ready(())
    }
}

impl MessageBody for Sending {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        let this = self.get_mut();
        loop {
            match this.steps.front_mut() {
                Some(Step::Wait(time)) => {
                    let time = *time;
                    if this.poll_wait(time, cx).is_pending() {
                        return Poll::Pending;
                    }
                    this.steps.pop_front();
                }
                Some(Step::Send { bytes, content }) => {
                    let (bytes, content) = (std::mem::take(bytes), *content);
                    this.steps.pop_front();
                    if content {
                        this.in_flight.event();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                // Nobody wakes this: the connection drops it when the peer has gone.
                Some(Step::Hang) => return Poll::Pending,
                Some(Step::Die(how)) => {
                    let how = *how;
                    this.in_flight.end(how);
                    return Poll::Ready(Some(Err(io::Error::other("practice: broken off as ordered"))));
                }
                None => {
                    this.in_flight.end(Ended::Answered);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// A plain body, broken as the plan says.
pub fn plain_steps(plan: &Plan, body: &Bytes) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    if !plan.slow_first_token.is_zero() {
        steps.push_back(Step::Wait(plan.slow_first_token));
    }
    let half = || body.slice(..body.len() / 2);
    match plan.breaks {
        Some(Break::Cut(_)) => steps.extend([Step::send(half()), Step::Wait(FLUSH), Step::Die(Ended::Cut)]),
        Some(Break::Stall(_)) => steps.extend([Step::send(half()), Step::Hang]),
        Some(Break::NoEnd | Break::OpenEnd | Break::NoFinish) | None => {
            steps.push_back(Step::send(body.clone()));
        }
    }
    steps
}

/// The events of a stream, paced and broken as the plan says.
pub fn stream_steps(plan: &Plan, framing: Framing, events: Vec<Event>) -> VecDeque<Step> {
    let mut steps = VecDeque::with_capacity(events.len() + 2);
    if !plan.slow_first_token.is_zero() {
        steps.push_back(Step::Wait(plan.slow_first_token));
    }
    let mut frames = Frames { framing, first: true };
    let (mut contents, mut borders) = (0, 0);
    if breaks_after(plan, contents) {
        // Frames that come before any content are sent all the same, as by a real upstream.
        for event in events.into_iter().take_while(|event| event.part == Part::Frame) {
            steps.push_back(Step::send(frames.frame(&event, false)));
        }
        break_off(plan, &mut steps);
        return steps;
    }
    for event in events {
        if left_out(plan, event.part) {
            continue;
        }
        if event.part == Part::Finish && matches!(plan.breaks, Some(Break::Cut(_) | Break::Stall(_))) {
            // An answer shorter than the order says is broken all the same, before its end.
            break_off(plan, &mut steps);
            return steps;
        }
        let content = event.part == Part::Content;
        contents += u64::from(content);
        borders += u64::from(event.part == Part::Frame);
        if !plan.gap.is_zero() && !frames.first {
            steps.push_back(Step::Wait(plan.gap));
        }
        let malformed = match event.part {
            Part::Content => plan.malformed == Some(contents),
            Part::Frame => plan.malformed_frame == Some(borders),
            Part::Finish | Part::End | Part::Bare => false,
        };
        steps.push_back(Step::Send {
            bytes: frames.frame(&event, malformed),
            content,
        });
        if content && breaks_after(plan, contents) {
            break_off(plan, &mut steps);
            return steps;
        }
    }
    if plan.breaks == Some(Break::OpenEnd) {
        steps.push_back(Step::Hang);
        return steps;
    }
    if framing == Framing::JsonArray && plan.breaks != Some(Break::NoEnd) {
        steps.push_back(Step::send(if frames.first { &b"[]"[..] } else { &b"\n]\n"[..] }));
    }
    steps
}

fn breaks_after(plan: &Plan, contents: u64) -> bool {
    matches!(plan.breaks, Some(Break::Cut(after) | Break::Stall(after)) if after == contents)
}

fn break_off(plan: &Plan, steps: &mut VecDeque<Step>) {
    match plan.breaks {
        Some(Break::Stall(_)) => steps.push_back(Step::Hang),
        _ => steps.extend([Step::Wait(FLUSH), Step::Die(Ended::Cut)]),
    }
}

fn left_out(plan: &Plan, part: Part) -> bool {
    match plan.breaks {
        Some(Break::NoEnd | Break::OpenEnd) => part == Part::End,
        Some(Break::NoFinish) => matches!(part, Part::Finish | Part::End),
        Some(Break::Cut(_) | Break::Stall(_)) | None => false,
    }
}

struct Frames {
    framing: Framing,
    first: bool,
}

impl Frames {
    fn frame(&mut self, event: &Event, malformed: bool) -> Bytes {
        let first = std::mem::replace(&mut self.first, false);
        let data = if malformed { half(&event.data) } else { &event.data };
        if event.part == Part::Bare {
            return Bytes::from([data, "\n\n"].concat());
        }
        Bytes::from(match (self.framing, event.name) {
            (Framing::Sse, None) => ["data: ", data, "\n\n"].concat(),
            (Framing::Sse, Some(name)) => ["event: ", name, "\ndata: ", data, "\n\n"].concat(),
            (Framing::JsonArray, _) => [if first { "[" } else { ",\r\n" }, data].concat(),
        })
    }
}

fn half(data: &str) -> &str {
    let end = (0..=data.len() / 2).rev().find(|end| data.is_char_boundary(*end));
    &data[..end.unwrap_or(0)]
}

/// Compresses a plain body.
pub async fn compress(coding: Coding, body: &Bytes) -> io::Result<Bytes> {
    let mut steps = VecDeque::from([Step::send(body.clone())]);
    compress_steps(coding, &mut steps).await?;
    let bytes = steps.into_iter().filter_map(|step| match step {
        Step::Send { bytes, .. } => Some(bytes),
        Step::Wait(_) | Step::Hang | Step::Die(_) => None,
    });
    Ok(Bytes::from(bytes.collect::<Vec<_>>().concat()))
}

/// Compresses what is sent, flushed after each event as real upstreams do.
pub async fn compress_steps(coding: Coding, steps: &mut VecDeque<Step>) -> io::Result<()> {
    match coding {
        Coding::Gzip => encode(GzipEncoder::new(Vec::new()), GzipEncoder::get_mut, steps).await,
        Coding::Zstd => encode(ZstdEncoder::new(Vec::new()), ZstdEncoder::get_mut, steps).await,
    }
}

async fn encode<E: AsyncWrite + Unpin>(
    mut encoder: E,
    written: impl Fn(&mut E) -> &mut Vec<u8>,
    steps: &mut VecDeque<Step>,
) -> io::Result<()> {
    for step in steps.iter_mut() {
        if let Step::Send { bytes, .. } = step {
            encoder.write_all(bytes).await?;
            encoder.flush().await?;
            *bytes = Bytes::from(std::mem::take(written(&mut encoder)));
        }
    }
    if !matches!(steps.back(), Some(Step::Die(_) | Step::Hang)) {
        encoder.shutdown().await?;
        steps.push_back(Step::send(std::mem::take(written(&mut encoder))));
    }
    Ok(())
}
