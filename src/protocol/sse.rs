//! Bytes to server-sent events, and back without a byte lost.
//!
//! The `raw` parts of all frames, one behind the other, are exactly what came in, so an event that needs no change
//! passes as it came. An event within one chunk is not copied.
//!
//! Lines end in LF, CRLF or CR. An event whose empty line ends in CR goes out at once; if an LF follows it belongs to that
//! CR and stands, without a meaning, before the next frame.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2};

/// More than any event that providers send (a 4K image as base64).
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether a `Content-Type` says that the body is a stream of events.
#[must_use]
pub fn is_event_stream(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

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
        match self {
            Frame::Event(event) => &event.raw,
            Frame::Comment(raw) | Frame::Blank(raw) => raw,
        }
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
    Joined(Vec<u8>),
}

impl SseEvent {
    /// The exact bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// What `event:` says.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        std::str::from_utf8(&self.raw[self.name.clone()?]).ok()
    }

    /// The data, its lines joined by `\n`.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        match &self.data {
            Data::Line(span) => &self.raw[span.clone()],
            Data::Joined(data) => data,
        }
    }

    /// The exact bytes, closed by an empty line if the stream ended before that.
    #[must_use]
    pub fn closed(&self) -> Bytes {
        if self.terminated {
            return self.raw.clone();
        }
        let line_is_closed = self.raw.ends_with(b"\n") || self.raw.ends_with(b"\r");
        [&self.raw[..], if line_is_closed { b"\n" } else { b"\n\n" }]
            .concat()
            .into()
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
    input: Input,
    /// How far the input has been searched for the end of its first frame.
    searched: usize,
    /// Where in the input the line begins that is being searched.
    line: usize,
    /// The byte before `searched` is a CR, so an LF there ends no line of its own.
    after_cr: bool,
    /// Nothing but a BOM has been seen.
    at_start: bool,
}

/// What is not yet cut. One chunk by itself stays as it came; a frame that spans chunks is gathered.
#[derive(Debug)]
enum Input {
    Chunk(Bytes),
    Gathered(BytesMut),
}

impl Input {
    fn bytes(&self) -> &[u8] {
        match self {
            Input::Chunk(chunk) => chunk,
            Input::Gathered(bytes) => bytes,
        }
    }

    fn push(&mut self, chunk: Bytes) {
        match self {
            Input::Chunk(rest) if rest.is_empty() => *rest = chunk,
            Input::Gathered(rest) if rest.is_empty() => *self = Input::Chunk(chunk),
            Input::Gathered(rest) => rest.extend_from_slice(&chunk),
            Input::Chunk(rest) => {
                let mut bytes = BytesMut::with_capacity(rest.len() + chunk.len());
                bytes.extend_from_slice(rest);
                bytes.extend_from_slice(&chunk);
                *self = Input::Gathered(bytes);
            }
        }
    }

    fn cut(&mut self, at: usize) -> Bytes {
        match self {
            Input::Chunk(chunk) => chunk.split_to(at),
            Input::Gathered(bytes) => bytes.split_to(at).freeze(),
        }
    }
}

impl SseParser {
    /// A parser with the usual bound, [`MAX_EVENT_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_event_bytes(MAX_EVENT_BYTES)
    }

    #[must_use]
    pub fn with_max_event_bytes(max_event_bytes: usize) -> Self {
        SseParser {
            max_event_bytes,
            input: Input::Chunk(Bytes::new()),
            searched: 0,
            line: 0,
            after_cr: false,
            at_start: true,
        }
    }

    /// Takes the next chunk.
    pub fn feed(&mut self, chunk: Bytes) {
        if chunk.has_remaining() {
            self.input.push(chunk);
        }
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The event is over the bound, whole or not; no use in going on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, EventTooLarge> {
        let end = self.find_end();
        if end.unwrap_or(self.searched) > self.max_event_bytes {
            return Err(EventTooLarge {
                max_bytes: self.max_event_bytes,
            });
        }
        Ok(end.map(|end| self.cut(end, true)))
    }

    /// What is left when the stream has ended: an event without its empty line.
    ///
    /// # Errors
    /// The event is over the bound.
    pub fn finish(&mut self) -> Result<Option<Frame>, EventTooLarge> {
        if let Some(frame) = self.next_frame()? {
            return Ok(Some(frame));
        }
        let end = self.input.bytes().len();
        Ok((end > 0).then(|| self.cut(end, false)))
    }

    /// Where the first frame ends. Goes on where the last search stopped.
    fn find_end(&mut self) -> Option<usize> {
        let bytes = self.input.bytes();
        if let Some(next) = bytes.get(self.searched)
            && std::mem::take(&mut self.after_cr)
            && *next == b'\n'
        {
            self.searched += 1;
            self.line = self.searched;
        }
        while let Some(found) = memchr2(b'\n', b'\r', &bytes[self.searched..]) {
            let at = self.searched + found;
            let empty = at == self.line || (self.at_start && self.line == 0 && bytes[..at] == *BOM);
            self.searched = at + 1;
            if bytes[at] == b'\r' {
                match bytes.get(at + 1) {
                    Some(b'\n') => self.searched += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.line = self.searched;
            if empty {
                return Some(self.searched);
            }
        }
        self.searched = bytes.len();
        None
    }

    fn cut(&mut self, end: usize, terminated: bool) -> Frame {
        let raw = self.input.cut(end);
        self.searched = 0;
        self.line = 0;
        let at_start = std::mem::take(&mut self.at_start);
        read_frame(raw, at_start, terminated)
    }
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}

fn read_frame(raw: Bytes, at_start: bool, terminated: bool) -> Frame {
    let mut name = None;
    let mut data: Option<Data> = None;
    let mut says_something = false;
    let mut start = if at_start && raw.starts_with(BOM) {
        BOM.len()
    } else {
        0
    };
    while start < raw.len() {
        let end = memchr2(b'\n', b'\r', &raw[start..]).map_or(raw.len(), |found| start + found);
        says_something |= end > start;
        match field(&raw, start..end) {
            Some((Field::Event, value)) => name = Some(value),
            Some((Field::Data, value)) => data = Some(with_line(data, &raw, value)),
            None => {}
        }
        start = end + 1;
    }
    match data {
        Some(data) => Frame::Event(SseEvent {
            name,
            data,
            terminated,
            raw,
        }),
        None if says_something => Frame::Comment(raw),
        None => Frame::Blank(raw),
    }
}

enum Field {
    Event,
    Data,
}

fn field(raw: &[u8], line: Range<usize>) -> Option<(Field, Range<usize>)> {
    let text = &raw[line.clone()];
    let colon = memchr(b':', text).unwrap_or(text.len());
    let field = match &text[..colon] {
        b"data" => Field::Data,
        b"event" => Field::Event,
        _ => return None,
    };
    let value = match &text[colon..] {
        [b':', b' ', ..] => colon + 2,
        [b':', ..] => colon + 1,
        _ => colon,
    };
    Some((field, line.start + value..line.end))
}

fn with_line(data: Option<Data>, raw: &[u8], line: Range<usize>) -> Data {
    let mut lines = match data {
        None => return Data::Line(line),
        Some(Data::Line(first)) => raw[first].to_vec(),
        Some(Data::Joined(lines)) => lines,
    };
    lines.push(b'\n');
    lines.extend_from_slice(&raw[line]);
    Data::Joined(lines)
}

#[cfg(test)]
mod tests;
