//! An HTTP/1.1 answer, read as its bytes come.

use std::io;

use memchr::memchr;

/// As many as an answer has.
const HEADERS: usize = 64;

/// Who is told of the answer's parts; an error of theirs ends the reading.
pub trait Sink {
    /// Once, when the head is whole.
    fn head(&mut self, head: &httparse::Response<'_, '_>) -> io::Result<()>;
    /// A part of the body, without its framing.
    fn body(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Reads one answer after the other.
#[derive(Default)]
pub struct Reader {
    state: State,
    /// A head that did not come at once.
    begun: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Head,
    /// So many bytes of the body are left.
    Sized(usize),
    /// The number so far.
    ChunkSize(usize),
    ChunkExtension(usize),
    Chunk(usize),
    /// So many bytes of the line's end have come.
    ChunkEnd(usize),
    /// So many bytes have come of the line that stands behind the last chunk.
    Trailer(usize),
}

impl Reader {
    /// Takes what came; true if that ends the answer.
    ///
    /// # Errors
    /// It is no answer, more follows than an answer, or the sink objects.
    pub fn take(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> io::Result<bool> {
        while !bytes.is_empty() {
            let (used, ends) = self.step(bytes, sink)?;
            bytes = &bytes[used..];
            if ends {
                self.state = State::Head;
                return match bytes.is_empty() {
                    true => Ok(true),
                    false => Err(garbled("more than one answer")),
                };
            }
        }
        Ok(false)
    }

    /// How many bytes were used, and whether the answer is whole.
    fn step(&mut self, bytes: &[u8], sink: &mut impl Sink) -> io::Result<(usize, bool)> {
        let (used, next) = match self.state {
            State::Head => return self.head(bytes, sink),
            State::Sized(left) => {
                let part = left.min(bytes.len());
                sink.body(&bytes[..part])?;
                if part == left {
                    return Ok((part, true));
                }
                (part, State::Sized(left - part))
            }
            State::ChunkSize(size) => match bytes[0] {
                b'\r' => (1, State::ChunkSize(size)),
                b'\n' if size == 0 => (1, State::Trailer(0)),
                b'\n' => (1, State::Chunk(size)),
                b';' => (1, State::ChunkExtension(size)),
                digit => {
                    let digit = char::from(digit)
                        .to_digit(16)
                        .ok_or_else(|| garbled("no chunk size"))?;
                    (1, State::ChunkSize(size * 16 + digit as usize))
                }
            },
            State::ChunkExtension(size) => match memchr(b'\n', bytes) {
                Some(end) => (end, State::ChunkSize(size)),
                None => (bytes.len(), State::ChunkExtension(size)),
            },
            State::Chunk(left) => {
                let part = left.min(bytes.len());
                sink.body(&bytes[..part])?;
                match left - part {
                    0 => (part, State::ChunkEnd(0)),
                    left => (part, State::Chunk(left)),
                }
            }
            State::ChunkEnd(0) => (1, State::ChunkEnd(1)),
            State::ChunkEnd(_) => (1, State::ChunkSize(0)),
            State::Trailer(length) => match bytes[0] {
                b'\r' => (1, State::Trailer(length)),
                b'\n' if length == 0 => return Ok((1, true)),
                b'\n' => (1, State::Trailer(0)),
                _ => (1, State::Trailer(length + 1)),
            },
        };
        self.state = next;
        Ok((used, false))
    }

    fn head(&mut self, bytes: &[u8], sink: &mut impl Sink) -> io::Result<(usize, bool)> {
        let before = self.begun.len();
        if before > 0 {
            self.begun.extend_from_slice(bytes);
        }
        let all = if before > 0 { &self.begun } else { bytes };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = head.parse(all).map_err(io::Error::other)? else {
            if before == 0 {
                self.begun.extend_from_slice(bytes);
            }
            return Ok((bytes.len(), false));
        };
        sink.head(&head)?;
        let next = body_of(&head)?;
        self.begun.clear();
        self.state = next;
        Ok((length - before, matches!(next, State::Sized(0))))
    }
}

/// How the body comes.
fn body_of(head: &httparse::Response<'_, '_>) -> io::Result<State> {
    let value = |name| header(head, name);
    if let Some(length) = value("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        return Ok(State::Sized(length));
    }
    match value("transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => Ok(State::ChunkSize(0)),
        _ => Err(garbled("a body without an end")),
    }
}

/// The first header of that name, if it is text.
pub fn header<'a>(head: &httparse::Response<'_, 'a>, name: &str) -> Option<&'a str> {
    let found = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
