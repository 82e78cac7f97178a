//! Which model and which action does a Gemini path name?

use super::endpoint::Endpoint;

/// What stands behind `/v1beta/models/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeminiPath {
    /// Everything up to the last colon, percent-decoded, slashes included.
    pub model: String,
    pub endpoint: Endpoint,
}

/// Why a Gemini path cannot be read. The first two are a 404, the others a 400 that names `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGeminiPath {
    #[error("the path names no method: it must end in `models/{{model}}:{{method}}`")]
    NoAction,
    #[error(
        "the method is not one of generateContent, streamGenerateContent, embedContent, batchEmbedContents, countTokens"
    )]
    UnknownAction,
    #[error("the model is not valid UTF-8 once percent-decoded")]
    NotUtf8,
    #[error("the model must not be empty")]
    Empty,
    #[error("the model is longer than 255 bytes")]
    TooLong,
    #[error("the model must not contain `.` or `..` as a part of its path")]
    DotSegment,
}

impl GeminiPath {
    /// Reads `rest`, the raw path (still percent-encoded, no query) behind `/v1beta/models/` or `/v1/models/`.
    ///
    /// # Errors
    /// See [`BadGeminiPath`].
    pub fn parse(rest: &str) -> Result<GeminiPath, BadGeminiPath> {
        todo!()
    }
}

/// A model's name from a raw path (`/v1/models/{id}`): percent-decoded, slashes included.
///
/// # Errors
/// Not UTF-8, empty, too long.
pub fn decode_model(raw: &str) -> Result<String, BadGeminiPath> {
    todo!()
}

/// A model's name as it stands in an upstream's path: slashes and colons as they are, the rest encoded.
#[must_use]
pub fn encode_model(model: &str) -> String {
    todo!()
}
