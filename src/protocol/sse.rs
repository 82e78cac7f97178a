//! Bytes to server-sent events, and back without a byte lost.
//!
//! The `raw` parts of all frames, one behind the other, are exactly what came in, so an event that needs no change
//! passes as it came. An event within one chunk is not copied.

use std::ops::Range;

use bytes::Bytes;

/// More than any event that providers send (a 4K image as base64).
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// Everything up to and including an empty line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Event(SseEvent),
    /// Comments, or fields without data: nothing that a client is told about.
    Comment(Bytes),
    /// An empty line by itself.
    Blank(Bytes),
}

impl Frame {
    /// The exact bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        todo!()
    }
}

/// One event with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    raw: Bytes,
    name: Option<Range<usize>>,
    data: Data,
    terminated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Data {
    Line(Range<usize>),
    Joined(Bytes),
}

impl SseEvent {
    /// The exact bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        todo!()
    }
    /// What `event:` says.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        todo!()
    }
    /// The data, its lines joined by `\n`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        todo!()
    }
    /// The exact bytes, closed by an empty line if the stream ended before that.
    #[must_use]
    pub fn closed(&self) -> Bytes {
        todo!()
    }
}

/// One event is larger than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {max_bytes} bytes")]
pub struct EventTooLarge {
    pub max_bytes: usize,
}

/// Cuts a byte stream into frames: `feed` a chunk, take frames with `next_frame` until there is none, at the end `finish`.
#[derive(Debug)]
pub struct SseParser {
    max_event_bytes: usize,
}

impl SseParser {
    /// A parser with the usual bound, [`MAX_EVENT_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }
    #[must_use]
    pub fn with_max_event_bytes(max_event_bytes: usize) -> Self {
        todo!()
    }
    /// Takes the next chunk.
    pub fn feed(&mut self, chunk: Bytes) {
        todo!()
    }
    /// The next whole frame.
    ///
    /// # Errors
    /// The event is over the bound, whole or not; no use in going on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, EventTooLarge> {
        todo!()
    }
    /// What is left when the stream has ended: an event without its empty line.
    ///
    /// # Errors
    /// The event is over the bound.
    pub fn finish(&mut self) -> Result<Option<Frame>, EventTooLarge> {
        todo!()
    }
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}
