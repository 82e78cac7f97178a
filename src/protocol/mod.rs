//! What does each wire protocol look like: its routes, requests, headers, URLs, errors and stream events?
//!
//! Pure: no I/O, no clock, no dice. Knows no other room. Bytes in, bytes and facts out.
#![deny(clippy::disallowed_methods)]

/// The protocols and the relay routes.
pub mod endpoint;
/// What a request body asks for, and how it is rewritten.
pub mod request;
/// Multipart forms: where the model stands.
pub mod multipart;
/// JSON read one level deep and changed where it stands.
pub mod json;
/// The model and the action in a Gemini path.
pub mod gemini_path;
/// The kinds of upstream: base URLs, protocols, keys.
pub mod providers;
/// Where a request goes at a channel.
pub mod upstream_url;
/// Which headers pass, in both directions.
pub mod headers;
/// The tokens that a client shows.
pub mod client_tokens;
/// Our own errors in each protocol's shape.
pub mod error;
/// What an upstream's error says.
pub mod upstream_error;
/// How long an upstream asks to be left alone.
pub mod retry_after;
/// Bytes to server-sent events.
pub mod sse;
/// What each event of a stream means, and whether the answer is whole.
pub mod stream;
/// Model lists in each protocol's shape.
pub mod models;

mod anthropic;
mod gemini;
mod openai;
/// What does an event of OpenAI's responses say?
pub mod responses;

pub use endpoint::{BodyKind, Endpoint, Protocol};
pub use error::ErrorAnswer;
pub use upstream_error::UpstreamError;
