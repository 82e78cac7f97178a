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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut parser = SseParser::new();
        let mut frames = Vec::new();
        for chunk in chunks {
            parser.feed(Bytes::copy_from_slice(chunk));
            while let Some(frame) = parser.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        while let Some(frame) = parser.finish().unwrap() {
            frames.push(frame);
        }
        frames
    }

    fn show(frames: &[Frame]) -> Vec<String> {
        let show = |frame: &Frame| match frame {
            Frame::Event(event) => {
                let data = String::from_utf8_lossy(event.data());
                format!(
                    "{}={}{}",
                    event.name().unwrap_or(""),
                    data.replace('\n', "|"),
                    if event.terminated { "" } else { "…" }
                )
            }
            Frame::Comment(_) => ":".to_owned(),
            Frame::Blank(_) => "_".to_owned(),
        };
        frames.iter().map(show).collect()
    }

    #[test]
    fn bytes_become_events() {
        for (text, want) in [
            ("data: a\n\n", "=a"),
            ("data:a\r\n\r\n", "=a"),
            ("data:  a\r\r", "= a"),
            ("event: ping\ndata: {}\n\n", "ping={}"),
            (
                "event:x\nid: 7\nretry: 1\ndata: a\ndata: b\ndata\ndata: c\n\n",
                "x=a|b||c",
            ),
            (": OPENROUTER PROCESSING\n\ndata: a\n\n", ": =a"),
            (": c\ndata: a\n\n", "=a"),
            ("event: x\n\n", ":"),
            ("\n\r\n\rdata: a\n\n", "_ _ _ =a"),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", "=a :"),
            ("\u{feff}\ndata: a\n\n", "_ =a"),
            ("data: a\n\ndata: b", "=a =b…"),
            ("data: a\n\ndata: b\n", "=a =b…"),
            ("dataset: a\nDATA: b\n\n", ":"),
            ("data: [DONE]", "=[DONE]…"),
            ("data: a\r\n\ndata: b\n\r\n", "=a =b"),
            ("{\"error\":1}\n", ":"),
            ("", ""),
        ] {
            assert_eq!(show(&frames(&[text.as_bytes()])).join(" "), want, "{text:?}");
        }
    }

    #[test]
    fn an_event_within_a_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
        let mut parser = SseParser::new();
        parser.feed(chunk.clone());
        for at in [0, 9] {
            let frame = parser.next_frame().unwrap().unwrap();
            assert_eq!(frame.raw().as_ptr(), chunk[at..].as_ptr());
        }
        assert_eq!(parser.next_frame(), Ok(None));
    }

    #[test]
    fn an_event_ends_with_its_empty_line_and_waits_for_nothing_more() {
        for ending in ["\n\n", "\r\n\r\n", "\r\r", "\n\r", "\r\n\r"] {
            let mut parser = SseParser::new();
            parser.feed(format!("data: a{ending}").into());
            assert!(parser.next_frame().unwrap().is_some(), "{ending:?}");
        }
    }

    #[test]
    fn an_unterminated_event_can_be_closed() {
        for (text, want) in [
            ("data: a", "data: a\n\n"),
            ("data: a\n", "data: a\n\n"),
            ("data: a\r\n", "data: a\r\n\n"),
        ] {
            let Frame::Event(event) = &frames(&[text.as_bytes()])[0] else {
                panic!("no event")
            };
            assert_eq!(event.closed(), want);
        }
    }

    #[test]
    fn an_event_over_the_bound_is_an_error() {
        let too_large = Err(EventTooLarge { max_bytes: 16 });
        let mut parser = SseParser::with_max_event_bytes(16);
        parser.feed(Bytes::from_static(b"data: 12345678\n\ndata: 12345678"));
        assert!(parser.next_frame().unwrap().is_some());
        assert_eq!(parser.next_frame(), Ok(None));
        parser.feed(Bytes::from_static(b"9ab"));
        assert_eq!(parser.next_frame(), too_large);
        let mut parser = SseParser::with_max_event_bytes(16);
        parser.feed(Bytes::from_static(b"data: 123456789\n\n"));
        assert_eq!(parser.next_frame(), too_large);
    }

    proptest! {
        #[test]
        fn chunks_split_anywhere_give_the_same_events(
            text in "(data: |data:|event: |: |x|é|\u{feff}|\n|\r|\r\n|\n\n){0,40}",
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let (whole, split) = (frames(&[bytes]), frames(&chunks));
            let raw: Vec<u8> = split.iter().flat_map(|frame| frame.raw().to_vec()).collect();
            prop_assert_eq!(raw, bytes);
            // The LF of a CRLF may come later than its CR, and is then a blank of its own at most.
            let told = |frames: &[Frame]| {
                let mut told = show(frames);
                told.retain(|frame| frame != "_");
                told
            };
            prop_assert_eq!(told(&whole), told(&split));
        }

        #[test]
        fn every_byte_by_itself_gives_the_same_events(text in "(data: a|event: b|: c|\n|\r|\r\n){0,40}") {
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            let told = |frames: &[Frame]| {
                let mut told = show(frames);
                told.retain(|frame| frame != "_");
                told
            };
            prop_assert_eq!(told(&frames(&[text.as_bytes()])), told(&frames(&bytes)));
        }
    }
}
