//! A practice upstream for benches: it learns an answer once from the full one, and repeats its bytes.
//!
//! What a request orders is obeyed when it is learned; method, path, model and the wish for a stream tell requests
//! apart, nothing else does. Of faults only `gap_ms` holds again for each answer. Nothing is logged. One thread.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;
use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memmem;
use reqwest::{Client, Method};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::answer::StreamOptions;
use super::faults::{Plan, faults_of};

/// A chat request with its headers; longer ones grow the buffer.
const READ_AT_ONCE: usize = 8 * 1024;
/// As many as any client sends.
const HEADERS: usize = 64;
/// A thousand connections may come at once; one that finds no room is tried again after a second only.
const BACKLOG: u32 = 4096;
/// When no more connections can be had, some may end meanwhile.
const BREATHE: Duration = Duration::from_millis(50);

/// Takes the port.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves on `listener` until dropped; what is not known yet is asked of `full`. Must run in a `LocalSet`.
///
/// # Errors
/// A client of `full` cannot be made.
pub async fn serve(listener: TcpListener, full: SocketAddr) -> io::Result<()> {
    let repeater = Rc::new(Repeater::new(full)?);
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                let repeater = Rc::clone(&repeater);
                // A connection that ends by an error is the client's to notice.
                rt::spawn(async move { drop(repeater.converse(connection).await) });
            }
            Err(_) => rt::time::sleep(BREATHE).await,
        }
    }
}

struct Repeater {
    full: SocketAddr,
    client: Client,
    /// By [`Question::name`].
    known: RefCell<FxHashMap<String, Rc<Known>>>,
}

/// An answer in the pieces in which it leaves, head and framing included.
struct Known {
    pieces: Vec<Bytes>,
    /// Between two of them.
    gap: Duration,
}

impl Repeater {
    fn new(full: SocketAddr) -> io::Result<Repeater> {
        // It may have been installed already: then that one serves.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Repeater {
            full,
            client: Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(io::Error::other)?,
            known: RefCell::default(),
        })
    }

    async fn converse(&self, mut connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut read = BytesMut::with_capacity(READ_AT_ONCE);
        let mut name = String::new();
        loop {
            let Some(head) = read_request(&mut connection, &mut read).await? else {
                return Ok(());
            };
            let known = {
                let question = Question::read(&head, &read[head.length..head.length + head.body]);
                question.put_name(&mut name);
                let known = self.known.borrow().get(&name).cloned();
                match known {
                    Some(known) => known,
                    None => {
                        let known = Rc::new(self.learn(&question).await?);
                        self.known.borrow_mut().insert(name.clone(), Rc::clone(&known));
                        known
                    }
                }
            };
            read.advance(head.length + head.body);
            known.send(&mut connection).await?;
        }
    }

    async fn learn(&self, question: &Question<'_>) -> io::Result<Known> {
        let method = Method::from_bytes(question.method.as_bytes()).map_err(io::Error::other)?;
        let url = format!("http://{}{}", self.full, question.path);
        let mut request = self.client.request(method, url).body(question.body.to_vec());
        if let Some(content_type) = question.content_type {
            request = request.header("content-type", content_type);
        }
        let answer = request.send().await.map_err(io::Error::other)?;
        let mut head = format!("HTTP/1.1 {}\r\n", answer.status());
        let mut is_stream = false;
        for (name, value) in answer.headers() {
            is_stream |= name == "content-type" && value.as_bytes().starts_with(b"text/event-stream");
            if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
                // Writing to a string cannot fail.
                let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
            }
        }
        let body = answer.bytes().await.map_err(io::Error::other)?;
        let plan = Plan::read(faults_of(question.model())).unwrap_or_default();
        Ok(match is_stream {
            true => Known::stream(head, &body, plan.gap),
            false => Known::plain(head, &body),
        })
    }
}

impl Known {
    fn plain(head: String, body: &[u8]) -> Known {
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Known {
            pieces: vec![bytes.into()],
            gap: Duration::ZERO,
        }
    }

    /// A chunk an event; without a gap all of them leave at once, and with one the end comes with the last.
    fn stream(head: String, body: &[u8], gap: Duration) -> Known {
        let mut pieces = Vec::new();
        let mut piece = head.into_bytes();
        piece.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        let events = events(body);
        for (index, event) in events.iter().enumerate() {
            piece.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
            piece.extend_from_slice(event);
            piece.extend_from_slice(b"\r\n");
            // The last content and the end marker come together, as from a real upstream.
            if !gap.is_zero() && index + 2 < events.len() {
                pieces.push(std::mem::take(&mut piece).into());
            }
        }
        piece.extend_from_slice(b"0\r\n\r\n");
        pieces.push(piece.into());
        Known { pieces, gap }
    }

    async fn send(&self, connection: &mut TcpStream) -> io::Result<()> {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                rt::time::sleep(self.gap).await;
            }
            connection.write_all(piece).await?;
        }
        Ok(())
    }
}

/// The events of a stream, each with the empty line that ends it.
fn events(body: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::new();
    let mut rest = body;
    while let Some(end) = memmem::find(rest, b"\n\n") {
        let (event, tail) = rest.split_at(end + 2);
        events.push(event);
        rest = tail;
    }
    if !rest.is_empty() {
        events.push(rest);
    }
    events
}

/// Where the parts of a request stand in what was read.
struct Head {
    /// Of the head with its empty line, in bytes.
    length: usize,
    /// Of the body, in bytes.
    body: usize,
    method: String,
    path: String,
    content_type: Option<String>,
}

/// The next request is then whole in `read`; `None` if the client closed.
async fn read_request(connection: &mut TcpStream, read: &mut BytesMut) -> io::Result<Option<Head>> {
    loop {
        if let Some(head) = Head::read(read)? {
            while read.len() < head.length + head.body {
                read.reserve(head.length + head.body - read.len());
                if connection.read_buf(read).await? == 0 {
                    return Ok(None);
                }
            }
            return Ok(Some(head));
        }
        read.reserve(READ_AT_ONCE);
        if connection.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

impl Head {
    fn read(bytes: &[u8]) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes).map_err(io::Error::other)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let mut head = Head {
            length,
            body: 0,
            method: request.method.unwrap_or_default().to_owned(),
            path: request.path.unwrap_or_default().to_owned(),
            content_type: None,
        };
        for header in request.headers {
            let value = || std::str::from_utf8(header.value).map_err(io::Error::other);
            if header.name.eq_ignore_ascii_case("content-length") {
                head.body = value()?.parse().map_err(io::Error::other)?;
            } else if header.name.eq_ignore_ascii_case("content-type") {
                head.content_type = Some(value()?.to_owned());
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(io::Error::other("a body without a length is not repeated"));
            }
        }
        Ok(Some(head))
    }
}

/// What tells requests apart.
struct Question<'a> {
    method: &'a str,
    path: &'a str,
    content_type: Option<&'a str>,
    body: &'a [u8],
    wish: Wish<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wish<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

impl<'a> Question<'a> {
    fn read(head: &'a Head, body: &'a [u8]) -> Question<'a> {
        Question {
            method: &head.method,
            path: &head.path,
            content_type: head.content_type.as_deref(),
            body,
            // A body that is no JSON has its answer by the path alone.
            wish: serde_json::from_slice(body).unwrap_or_default(),
        }
    }

    fn model(&self) -> &str {
        self.wish.model.as_deref().unwrap_or_default()
    }

    fn put_name(&self, name: &mut String) {
        let streams = self.wish.stream == Some(true);
        let with_usage = self
            .wish
            .stream_options
            .as_ref()
            .is_some_and(|options| options.include_usage == Some(true));
        name.clear();
        for part in [self.method, self.path, self.model()] {
            name.push_str(part);
            name.push('\n');
        }
        name.push(if streams { 's' } else { 'p' });
        name.push(if with_usage { 'u' } else { '-' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves_as(known: &Known) -> Vec<&str> {
        known
            .pieces
            .iter()
            .map(|piece| std::str::from_utf8(piece).expect("text"))
            .collect()
    }

    #[test]
    fn an_event_is_a_chunk_and_the_end_comes_with_the_last_two() {
        let body = b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n";
        let gap = Duration::from_millis(1);
        let head = || "HTTP/1.1 200 OK\r\n".to_owned();
        let first = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
        let rest = "9\r\ndata: 2\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
        assert_eq!(leaves_as(&Known::stream(head(), body, gap)), [first, rest]);
        assert_eq!(
            leaves_as(&Known::stream(head(), body, Duration::ZERO)),
            [[first, rest].concat()]
        );
    }

    #[test]
    fn requests_are_told_apart_by_path_model_and_stream() {
        let name = |path: &str, body: &[u8]| {
            let bytes = format!("POST {path} HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
            let head = Head::read(bytes.as_bytes()).expect("a head").expect("whole");
            let mut name = String::new();
            Question::read(&head, body).put_name(&mut name);
            name
        };
        let plain = name("/v1/a", br#"{"model":"m","messages":[1]}"#);
        assert_eq!(plain, name("/v1/a", br#"{"messages":[2],"model":"m"}"#));
        for other in [
            name("/v1/b", br#"{"model":"m"}"#),
            name("/v1/a", br#"{"model":"n"}"#),
            name("/v1/a", br#"{"model":"m","stream":true}"#),
        ] {
            assert_ne!(plain, other);
        }
    }
}
