//! What does a request body ask for, and how is it changed where a channel wants it otherwise?
//!
//! The body is scanned, not parsed into a tree: whatever is not named here stays bytes.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::endpoint::Endpoint;

/// A model's name takes at most so many bytes (the width of its column).
pub const MAX_MODEL_BYTES: usize = 255;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub endpoint: Endpoint,
    /// The model as the body names it; `None` where it is omitted, and always for Gemini (see `GeminiPath`).
    pub model: Option<String>,
    /// Whether the body asks for a stream. Gemini says so in the path: use [`Asked::is_stream`].
    pub stream: bool,
    /// `stream_options.include_usage`, as the client set it.
    pub include_usage: bool,
    /// `n` or `candidateCount`: how many choices are asked for; one if not said.
    pub choices: u32,
    pub affinity: AffinityHints,
    form: Form,
    /// Every place where the body names the model (JSON: the value with its quotes).
    spots: Vec<Range<usize>>,
}

/// What in a body tells one conversation from another; headers come on top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AffinityHints {
    pub prompt_cache_key: Option<String>,
    pub session_id: Option<String>,
    /// Anthropic's `metadata.user_id`.
    pub user_id: Option<String>,
    pub previous_response_id: Option<String>,
    /// Gemini's `cachedContent`.
    pub cached_content: Option<String>,
    /// Where in the body the conversation begins: its messages up to the first of the user. The same on every turn.
    pub opening: Option<Range<usize>>,
}

/// Why a body cannot be read. Its words go to the client; they never repeat the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    #[error("the body is not valid JSON: {what} at line {line} column {column}")]
    NotJson {
        what: String,
        line: usize,
        column: usize,
    },
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("`{field}` is missing")]
    Missing { field: &'static str },
    #[error("`{field}` must be {expected}")]
    WrongType {
        field: &'static str,
        expected: &'static str,
    },
    #[error("`{field}` must not be empty")]
    Empty { field: &'static str },
    #[error("`{field}` is longer than {max_bytes} bytes")]
    TooLong { field: &'static str, max_bytes: usize },
    #[error("the multipart form cannot be read: {0}")]
    Multipart(&'static str),
}

impl BadRequest {
    /// The field that is wrong, for `error.param`.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        todo!()
    }
}

/// Reads a JSON body. Of duplicate keys the last wins.
///
/// # Errors
/// The body is no JSON object, or `model` or `stream` is of the wrong kind.
pub fn read_json(endpoint: Endpoint, body: &Bytes) -> Result<Asked, BadRequest> {
    todo!()
}

/// Reads a `multipart/form-data` body; `content_type` is the header's value.
///
/// # Errors
/// No boundary, no such form, or `model` or `stream` is of the wrong kind.
pub fn read_multipart(endpoint: Endpoint, content_type: &str, body: &Bytes) -> Result<Asked, BadRequest> {
    todo!()
}

impl Asked {
    /// The model that is meant: as named, else `default` (the setting, `endpoint.default_model()` to begin with).
    ///
    /// # Errors
    /// Omitted, and there is no default. Not for Gemini.
    pub fn model_or<'a>(&'a self, default: Option<&'a str>) -> Result<&'a str, BadRequest> {
        todo!()
    }

    /// Whether the answer is asked for as a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        todo!()
    }

    /// The body with `model` for model wherever it stands; the very same bytes if it says so already. Where the
    /// model is omitted it is added, unless it is what OpenAI takes by itself. Comes before the other changes, as
    /// it works with this body's positions.
    #[must_use]
    pub fn with_model(&self, body: &Bytes, model: &str) -> Bytes {
        todo!()
    }
}

/// The channel's `param_override` laid over a JSON body as a merge patch (RFC 7396): objects are merged, `null`
/// removes, anything else replaces. What it does not name stays byte for byte, white space between members apart.
///
/// # Errors
/// The body is no JSON object.
pub fn apply_param_override(body: &Bytes, over: &Map<String, Value>) -> Result<Bytes, BadRequest> {
    todo!()
}

/// Asks for usage at the end of the stream (`stream_options.include_usage`); other stream options stay.
///
/// # Errors
/// The body is no JSON object.
pub fn ask_for_usage(body: &Bytes) -> Result<Bytes, BadRequest> {
    todo!()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Multipart { boundary: String, first: usize },
}
