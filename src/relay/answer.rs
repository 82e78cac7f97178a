//! What goes back to the client.

use std::borrow::Cow;

use bytes::Bytes;
use futures::stream::LocalBoxStream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{CONTROLS, utf8_percent_encode};

/// An answer to a request.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

pub enum Body {
    Whole(Bytes),
    /// As it comes from the upstream.
    Passing {
        /// What the upstream has promised, where it still holds.
        length: Option<u64>,
        chunks: Chunks,
    },
}

pub type Chunks = LocalBoxStream<'static, Result<Bytes, Aborted>>;

/// The answer cannot be brought to its end: the connection is closed, so that the client sees a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut")]
pub struct Aborted;

impl Answer {
    pub fn json(status: StatusCode, body: Bytes) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Answer {
            status,
            headers,
            body: Body::Whole(body),
        }
    }

    /// What cannot stand in a header, as the letters of `豆包`, is percent-encoded.
    pub fn set(&mut self, name: &'static str, value: &str) {
        let value = match value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            true => Cow::Borrowed(value),
            false => utf8_percent_encode(value, CONTROLS).into(),
        };
        if let Ok(value) = HeaderValue::from_str(&value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
