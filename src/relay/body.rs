//! A request's body, read and decoded within its bound.

use std::io;
use std::pin::pin;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use crate::protocol::ErrorAnswer;

/// A client that sends nothing for so long is not sending any more.
const SILENCE: Duration = Duration::from_secs(60);

/// The client's body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body broke off")]
pub struct BrokenOff;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBody {
    TooLarge {
        max_bytes: usize,
    },
    /// Neither gzip nor zstd.
    Encoding,
    /// It does not decode.
    Undecodable,
    BrokenOff,
    Silent,
}

impl From<BadBody> for ErrorAnswer {
    fn from(bad: BadBody) -> ErrorAnswer {
        let (status, code, message) = match bad {
            BadBody::TooLarge { max_bytes } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "request_too_large",
                format!("the body is larger than {max_bytes} bytes"),
            ),
            BadBody::Encoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "the body's Content-Encoding must be gzip, zstd or identity".to_owned(),
            ),
            BadBody::Undecodable => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the body cannot be decoded as its Content-Encoding says".to_owned(),
            ),
            BadBody::BrokenOff => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the body broke off".to_owned(),
            ),
            BadBody::Silent => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!("the body did not come on for {} s", SILENCE.as_secs()),
            ),
        };
        ErrorAnswer::new(status, code, message)
    }
}

enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// The whole body, decoded; at most `max_bytes` before and after decoding.
pub async fn read<S>(payload: &mut S, headers: &HeaderMap, max_bytes: usize) -> Result<Bytes, BadBody>
where
    S: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
{
    let encoding = encoding(headers)?;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(BadBody::TooLarge { max_bytes });
    }
    match encoding {
        Encoding::Identity => collect(payload, max_bytes).await,
        Encoding::Gzip => {
            let mut decoder = GzipDecoder::new(StreamReader::new(raw(payload)));
            decoder.multiple_members(true);
            decode(decoder, max_bytes).await
        }
        Encoding::Zstd => decode(ZstdDecoder::new(StreamReader::new(raw(payload))), max_bytes).await,
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BadBody> {
    let mut named = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty() && word != "identity");
    let encoding = match named.next().as_deref() {
        None => Encoding::Identity,
        Some("gzip" | "x-gzip") => Encoding::Gzip,
        Some("zstd") => Encoding::Zstd,
        Some(_) => return Err(BadBody::Encoding),
    };
    match named.next() {
        None => Ok(encoding),
        Some(_) => Err(BadBody::Encoding),
    }
}

/// A body of one chunk is not copied.
async fn collect<S>(payload: &mut S, max_bytes: usize) -> Result<Bytes, BadBody>
where
    S: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
{
    let Some(first) = chunk(payload).await? else {
        return Ok(Bytes::new());
    };
    let too_large = Err(BadBody::TooLarge { max_bytes });
    if first.len() > max_bytes {
        return too_large;
    }
    let mut body = None;
    while let Some(more) = chunk(payload).await? {
        let whole: &mut BytesMut = body.get_or_insert_with(|| BytesMut::from(&first[..]));
        if whole.len() + more.len() > max_bytes {
            return too_large;
        }
        whole.extend_from_slice(&more);
    }
    Ok(body.map_or(first, BytesMut::freeze))
}

async fn chunk<S>(payload: &mut S) -> Result<Option<Bytes>, BadBody>
where
    S: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
{
    match timeout(SILENCE, payload.next()).await {
        Ok(chunk) => chunk.transpose().map_err(|BrokenOff| BadBody::BrokenOff),
        Err(_) => Err(BadBody::Silent),
    }
}

fn raw<S>(payload: &mut S) -> impl Stream<Item = io::Result<Bytes>> + Unpin
where
    S: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
{
    payload.map_err(|BrokenOff| io::Error::from(io::ErrorKind::ConnectionAborted))
}

async fn decode(decoder: impl AsyncRead, max_bytes: usize) -> Result<Bytes, BadBody> {
    let mut decoder = pin!(decoder);
    let mut body = BytesMut::new();
    loop {
        // One byte more than allowed tells "exactly full" from "too large".
        let room = (max_bytes + 1).saturating_sub(body.len()).min(64 * 1024);
        body.reserve(room);
        let read = timeout(SILENCE, decoder.read_buf(&mut (&mut body).limit(room))).await;
        match read {
            Err(_) => return Err(BadBody::Silent),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
                return Err(BadBody::BrokenOff);
            }
            Ok(Err(_)) => return Err(BadBody::Undecodable),
            Ok(Ok(0)) => return Ok(body.freeze()),
            Ok(Ok(_)) if body.len() > max_bytes => return Err(BadBody::TooLarge { max_bytes }),
            Ok(Ok(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
    use futures::stream;
    use http::HeaderValue;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const MAX: usize = 1000;

    async fn read_chunks(encoding: &str, chunks: Vec<Result<Bytes, BrokenOff>>) -> Result<Bytes, BadBody> {
        let mut headers = HeaderMap::new();
        if !encoding.is_empty() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        }
        read(&mut stream::iter(chunks), &headers, MAX).await
    }

    fn cut_up(whole: &[u8]) -> Vec<Result<Bytes, BrokenOff>> {
        whole
            .chunks(7)
            .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
            .collect()
    }

    async fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzipEncoder::new(Vec::new());
        encoder.write_all(plain).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    async fn zstd(plain: &[u8]) -> Vec<u8> {
        let mut encoder = ZstdEncoder::new(Vec::new());
        encoder.write_all(plain).await.unwrap();
        encoder.shutdown().await.unwrap();
        encoder.into_inner()
    }

    #[tokio::test]
    async fn bodies_come_whole_whatever_their_encoding() {
        let plain = vec![b'x'; MAX];
        for (encoding, sent) in [
            ("", plain.clone()),
            ("identity", plain.clone()),
            ("gzip", gzip(&plain).await),
            ("X-GZIP", gzip(&plain).await),
            ("zstd", zstd(&plain).await),
        ] {
            assert_eq!(
                read_chunks(encoding, cut_up(&sent)).await.as_deref(),
                Ok(&plain[..]),
                "{encoding}"
            );
        }
    }

    #[tokio::test]
    async fn the_bound_holds_for_what_comes_out_too() {
        let bomb = vec![0; MAX + 1];
        for (encoding, sent) in [
            ("", bomb.clone()),
            ("gzip", gzip(&bomb).await),
            ("zstd", zstd(&bomb).await),
        ] {
            let read = read_chunks(encoding, cut_up(&sent)).await;
            assert_eq!(read, Err(BadBody::TooLarge { max_bytes: MAX }), "{encoding}");
        }
    }

    #[tokio::test]
    async fn other_encodings_and_broken_ones_are_told_apart() {
        for encoding in ["br", "deflate", "gzip, gzip", "compress"] {
            assert_eq!(
                read_chunks(encoding, vec![]).await,
                Err(BadBody::Encoding),
                "{encoding}"
            );
        }
        let garbage = vec![Ok(Bytes::from_static(b"no gzip at all"))];
        assert_eq!(read_chunks("gzip", garbage).await, Err(BadBody::Undecodable));
        let mut half = cut_up(&gzip(&[1; 500]).await);
        half.truncate(1);
        half.push(Err(BrokenOff));
        assert_eq!(read_chunks("gzip", half).await, Err(BadBody::BrokenOff));
    }
}
