//! How does a list of models look in each protocol?

use bytes::Bytes;
use http::HeaderMap;

use super::endpoint::Protocol;

/// The shape in which a client of `/v1/models` wants its list: Anthropic's if it sends `anthropic-version`, Gemini's if
/// it shows its token only as `x-goog-api-key` or `?key=`, else OpenAI's.
#[must_use]
pub fn wanted_shape(headers: &HeaderMap, query: Option<&str>) -> Protocol {
    todo!()
}

/// The list of these names, sorted, each once.
#[must_use]
pub fn list<'a>(protocol: Protocol, names: impl IntoIterator<Item = &'a str>) -> Bytes {
    todo!()
}

/// One model.
#[must_use]
pub fn one(protocol: Protocol, name: &str) -> Bytes {
    todo!()
}
