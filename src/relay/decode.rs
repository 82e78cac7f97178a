//! What comes from an upstream, as chunks: decoded where it compresses although it was not asked to.

use std::io;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use super::classify::Transport;
use crate::protocol::headers::AnswerBody;

/// More than any answer; what grows beyond was made to.
const MAX_DECODED_BYTES: usize = 256 * 1024 * 1024;

/// The body of an upstream's answer.
pub struct Incoming {
    pub chunks: BoxStream<'static, Result<Bytes, Transport>>,
    pub body: AnswerBody,
}

/// An encoding that is not known to us passes as it came.
pub fn incoming(response: reqwest::Response) -> Incoming {
    let encoding = encoding(response.headers());
    let raw = response.bytes_stream();
    let reader = |raw| StreamReader::new(raw);
    let io = raw.map_err(|_| io::Error::from(io::ErrorKind::ConnectionAborted));
    match encoding.as_deref() {
        Some("gzip" | "x-gzip") => decoded(GzipDecoder::new(reader(io))),
        Some("deflate") => decoded(ZlibDecoder::new(reader(io))),
        Some("br") => decoded(BrotliDecoder::new(reader(io))),
        Some("zstd") => decoded(ZstdDecoder::new(reader(io))),
        _ => Incoming {
            chunks: io.map_err(|_| Transport::Cut).boxed(),
            body: AnswerBody::AsSent,
        },
    }
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_ENCODING)?.to_str().ok()?;
    Some(value.trim().to_ascii_lowercase())
}

fn decoded(decoder: impl AsyncRead + Send + 'static) -> Incoming {
    let chunks = ReaderStream::with_capacity(decoder, 16 * 1024).map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionAborted => Transport::Cut,
        _ => Transport::Garbage,
    });
    Incoming {
        chunks: bounded(chunks, MAX_DECODED_BYTES).boxed(),
        body: AnswerBody::Changed,
    }
}

fn bounded(
    chunks: impl Stream<Item = Result<Bytes, Transport>> + Send + 'static,
    max_bytes: usize,
) -> impl Stream<Item = Result<Bytes, Transport>> + Send + 'static {
    let mut total = 0;
    chunks.map(move |chunk| {
        let chunk = chunk?;
        total += chunk.len();
        if total > max_bytes {
            Err(Transport::Garbage)
        } else {
            Ok(chunk)
        }
    })
}
