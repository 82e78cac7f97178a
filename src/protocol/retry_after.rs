//! How long does an upstream ask to be left alone?

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::upstream_error::UpstreamError;

/// The provider's word, unbounded: `retry-after-ms`, `Retry-After`, Gemini's `RetryInfo`, else the latest reset of the
/// limits whose `remaining` is 0. `None`: it did not say.
#[must_use]
pub fn retry_after(headers: &HeaderMap, error: Option<&UpstreamError>, now: SystemTime) -> Option<Duration> {
    todo!()
}
