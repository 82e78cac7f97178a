//! Which model and which action does a Gemini path name?

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::endpoint::Endpoint;
use super::request::MAX_MODEL_CHARS;

/// What stands unencoded in a path: RFC 3986's unreserved letters, and the slashes and colons of model names.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':')
    .remove(b'@');

/// One segment: no slash.
const IN_A_SEGMENT: &AsciiSet = &IN_A_PATH.add(b'/');

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
    #[error("the model is longer than 255 characters")]
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
        let (model, action) = rest.rsplit_once(':').ok_or(BadGeminiPath::NoAction)?;
        let endpoint = Endpoint::of_gemini_action(action).ok_or(BadGeminiPath::UnknownAction)?;
        Ok(GeminiPath {
            model: decode_model(model)?,
            endpoint,
        })
    }
}

/// A model's name from a raw path (`/v1/models/{id}`): percent-decoded, slashes included.
///
/// # Errors
/// Not UTF-8, empty, too long.
pub fn decode_model(raw: &str) -> Result<String, BadGeminiPath> {
    let model = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| BadGeminiPath::NotUtf8)?;
    if model.trim().is_empty() {
        return Err(BadGeminiPath::Empty);
    }
    if model.chars().count() > MAX_MODEL_CHARS {
        return Err(BadGeminiPath::TooLong);
    }
    if !fits_a_path(&model) {
        return Err(BadGeminiPath::DotSegment);
    }
    Ok(model.into_owned())
}

/// Whether the name can stand in a path without climbing out of it.
pub(super) fn fits_a_path(model: &str) -> bool {
    !model.is_empty() && !model.split('/').any(|part| matches!(part, "." | ".."))
}

/// A model's name as it stands in an upstream's path: slashes and colons as they are, the rest encoded.
#[must_use]
pub fn encode_model(model: &str) -> String {
    utf8_percent_encode(model, IN_A_PATH).to_string()
}

/// A name as one segment of a path (a deployment).
pub(super) fn encode_segment(name: &str) -> String {
    utf8_percent_encode(name, IN_A_SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_what_stands_before_the_last_colon() {
        for (path, model, endpoint) in [
            (
                "gemini-2.5-pro:generateContent",
                "gemini-2.5-pro",
                Endpoint::GenerateContent,
            ),
            (
                "gemini-2.5-pro:streamGenerateContent",
                "gemini-2.5-pro",
                Endpoint::StreamGenerateContent,
            ),
            (
                "google/gemini:countTokens",
                "google/gemini",
                Endpoint::GeminiCountTokens,
            ),
            (
                "google%2Fgemini:embedContent",
                "google/gemini",
                Endpoint::EmbedContent,
            ),
            (
                "llama3:8b:batchEmbedContents",
                "llama3:8b",
                Endpoint::BatchEmbedContents,
            ),
            (
                "a%20%C3%A9%3Ab:generateContent",
                "a é:b",
                Endpoint::GenerateContent,
            ),
            ("...:generateContent", "...", Endpoint::GenerateContent),
        ] {
            assert_eq!(
                GeminiPath::parse(path),
                Ok(GeminiPath {
                    model: model.into(),
                    endpoint
                }),
                "{path}"
            );
        }
    }

    #[test]
    fn bad_paths_say_what_is_wrong() {
        for (path, want) in [
            ("gemini-2.5-pro", BadGeminiPath::NoAction),
            ("gemini-2.5-pro:chat", BadGeminiPath::UnknownAction),
            ("gemini:", BadGeminiPath::UnknownAction),
            (":generateContent", BadGeminiPath::Empty),
            ("%20:generateContent", BadGeminiPath::Empty),
            ("%ff:generateContent", BadGeminiPath::NotUtf8),
            ("..%2F..%2Ffiles%2Fx:generateContent", BadGeminiPath::DotSegment),
            ("%2e:generateContent", BadGeminiPath::DotSegment),
        ] {
            assert_eq!(GeminiPath::parse(path), Err(want), "{path}");
        }
        assert_eq!(decode_model(&"m".repeat(256)), Err(BadGeminiPath::TooLong));
    }

    #[test]
    fn a_model_is_encoded_anew() {
        for (model, path) in [("a/b:c", "a/b:c"), ("a b?c#d%\\é", "a%20b%3Fc%23d%25%5C%C3%A9")] {
            assert_eq!(encode_model(model), path);
            assert_eq!(decode_model(path).as_deref(), Ok(model));
        }
        assert_eq!(encode_segment("a/b"), "a%2Fb");
    }
}
