//! What does a request body ask for, and how is it changed where a channel wants it otherwise?
//!
//! The body is scanned, not parsed into a tree: whatever is not named here stays bytes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Protocol};
use super::json::{Loose, Text, merge_patch, quote, span_of};
use super::multipart::{self, one_line};
use scan::{Top, opening};

mod scan;

/// A model's name takes at most so many characters (the width of its column).
pub const MAX_MODEL_CHARS: usize = 255;

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
    /// Every place where the body names the model, in order (JSON: the value with its quotes).
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Json,
    /// `first`: where the first part's delimiter stands.
    Multipart {
        boundary: String,
        first: usize,
    },
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
    #[error("`{field}` is longer than {max_chars} characters")]
    TooLong { field: &'static str, max_chars: usize },
    #[error("the multipart form cannot be read: {0}")]
    Multipart(&'static str),
}

impl BadRequest {
    /// The field that is wrong, for `error.param`.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            BadRequest::Missing { field }
            | BadRequest::WrongType { field, .. }
            | BadRequest::Empty { field }
            | BadRequest::TooLong { field, .. } => Some(field),
            BadRequest::NotUtf8
            | BadRequest::NotJson { .. }
            | BadRequest::NotAnObject
            | BadRequest::Multipart(_) => None,
        }
    }
}

/// Reads a JSON body. Of duplicate keys the last wins.
///
/// # Errors
/// The body is no JSON object, or `model` or `stream` is of the wrong kind.
pub fn read_json(endpoint: Endpoint, body: &Bytes) -> Result<Asked, BadRequest> {
    let body = std::str::from_utf8(body).map_err(|_| BadRequest::NotUtf8)?;
    let top: Top<'_> = serde_json::from_str(body).map_err(not_json)?;
    let is_gemini = endpoint.protocol() == Protocol::Gemini;
    let mut asked = Asked {
        endpoint,
        model: None,
        stream: read_stream(top.stream.filter(|_| !is_gemini))?,
        include_usage: top.stream_options.and_then(include_usage).unwrap_or(false),
        choices: choices(&top),
        affinity: AffinityHints {
            prompt_cache_key: top.prompt_cache_key.and_then(string),
            session_id: top.session_id.and_then(string),
            user_id: top.metadata.and_then(user_id),
            previous_response_id: top.previous_response_id.and_then(string),
            cached_content: top.cached_content.and_then(string),
            opening: opening(endpoint, &top).map(|part| span_of(body, part)),
        },
        form: Form::Json,
        spots: top.models.iter().map(|raw| span_of(body, raw.get())).collect(),
    };
    if is_gemini {
        let inner = [top.requests, top.generate_content_request].into_iter().flatten();
        asked
            .spots
            .extend(inner.flat_map(inner_models).map(|raw| span_of(body, raw.get())));
        asked.spots.sort_by_key(|spot| spot.start);
    } else if top.has_misspelt_model {
        return Err(BadRequest::WrongType {
            field: "model",
            expected: "spelled in lower case",
        });
    } else if let Some(raw) = top.models.last() {
        asked.model = read_model(raw)?;
    }
    Ok(asked)
}

/// Reads a `multipart/form-data` body; `content_type` is the header's value.
///
/// # Errors
/// No boundary, no such form, or `model` or `stream` is of the wrong kind.
pub fn read_multipart(endpoint: Endpoint, content_type: &str, body: &Bytes) -> Result<Asked, BadRequest> {
    let form = multipart::fields(content_type, body)?;
    let text = |field, span: &Range<usize>| {
        std::str::from_utf8(&body[span.clone()]).map_err(|_| BadRequest::WrongType {
            field,
            expected: "valid UTF-8",
        })
    };
    let model = match form.spans("model").last() {
        Some(span) => Some(checked_model(text("model", span)?)?.to_owned()),
        None => None,
    };
    let stream = match form.spans("stream").last() {
        Some(span) => form_bool(text("stream", span)?)?,
        None => false,
    };
    let choices = form
        .spans("n")
        .last()
        .and_then(|span| text("n", span).ok()?.trim().parse().ok());
    Ok(Asked {
        endpoint,
        model,
        stream,
        include_usage: false,
        choices: choices.unwrap_or(1).max(1),
        affinity: AffinityHints::default(),
        spots: form.spans("model").cloned().collect(),
        form: Form::Multipart {
            boundary: form.boundary,
            first: form.first,
        },
    })
}

/// Whether a `Content-Type` says that the body is a form.
#[must_use]
pub fn is_multipart(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("multipart/form-data")
}

impl Asked {
    /// The model that is meant: as named, else `default` (the setting, `endpoint.default_model()` to begin with).
    ///
    /// # Errors
    /// Omitted, and there is no default. Not for Gemini.
    pub fn model_or<'a>(&'a self, default: Option<&'a str>) -> Result<&'a str, BadRequest> {
        self.model
            .as_deref()
            .or(default)
            .ok_or(BadRequest::Missing { field: "model" })
    }

    /// Whether the answer is asked for as a stream.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        self.stream || self.endpoint == Endpoint::StreamGenerateContent
    }

    /// Whether usage can be asked for on the client's behalf: a stream of (chat) completions without it. Whether the
    /// provider takes it is its own line's to say (`takes_stream_usage`).
    #[must_use]
    pub fn leaves_usage_unasked(&self) -> bool {
        let may = matches!(self.endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        may && self.stream && !self.include_usage
    }

    /// The body with `model` for model wherever it stands; the very same bytes if it says so already. Where the
    /// model is omitted it is added, unless it is what OpenAI takes by itself. Call it for every request, mapped or
    /// not: a body that names two models leaves with one. Comes before the other changes, as it works with this
    /// body's positions.
    #[must_use]
    pub fn with_model(&self, body: &Bytes, model: &str) -> Bytes {
        let omitted = self.model.is_none() && self.endpoint.protocol() != Protocol::Gemini;
        if omitted && self.endpoint.default_model() == Some(model) {
            return body.clone();
        }
        if omitted && self.spots.is_empty() {
            return self.model_added(body, model);
        }
        let edits: Vec<_> = self
            .spots
            .iter()
            .filter_map(|spot| Some((spot, self.edit(body, spot, model)?)))
            .collect();
        splice(body, &edits)
    }

    /// What must stand at `spot`; `None`: it stands there.
    fn edit(&self, body: &Bytes, spot: &Range<usize>, model: &str) -> Option<String> {
        let now = body.get(spot.clone())?;
        if let Form::Multipart { .. } = self.form {
            return (now != model.as_bytes()).then(|| one_line(model));
        }
        let now = serde_json::from_slice::<Text<'_>>(now).ok();
        let now = now.as_ref().map(|text| text.0.as_ref());
        // Gemini's bodies name the model as a resource (`models/…`).
        let wanted = match now {
            Some(now) if self.endpoint.protocol() == Protocol::Gemini && now.starts_with("models/") => {
                Cow::Owned(format!("models/{model}"))
            }
            _ => Cow::Borrowed(model),
        };
        (now != Some(&wanted)).then(|| quote(&wanted))
    }

    /// The body under the channel's `param_override`: see [`apply_param_override`]. In a form a field stands for a member.
    ///
    /// # Errors
    /// The body is not of the kind that was read.
    pub fn with_params(&self, body: &Bytes, over: &Map<String, Value>) -> Result<Bytes, BadRequest> {
        match &self.form {
            _ if over.is_empty() => Ok(body.clone()),
            Form::Json => apply_param_override(body, over),
            Form::Multipart { boundary, .. } => multipart::with_fields(boundary, body, over),
        }
    }

    fn model_added(&self, body: &Bytes, model: &str) -> Bytes {
        match &self.form {
            Form::Json => {
                // The scan has shown that the first brace opens the object.
                let Some(brace) = memchr::memchr(b'{', body) else {
                    return body.clone();
                };
                let empty = body[brace + 1..].trim_ascii_start().first() == Some(&b'}');
                let comma = if empty { "" } else { "," };
                splice(
                    body,
                    &[(
                        &(brace + 1..brace + 1),
                        format!("\"model\":{}{comma}", quote(model)),
                    )],
                )
            }
            Form::Multipart { boundary, first } => {
                let part = multipart::part(boundary, "model", &one_line(model));
                splice(body, &[(&(*first..*first), part)])
            }
        }
    }
}

/// The JSON body with `model` in place of the value at `span`; everything else byte for byte.
#[must_use]
pub fn rewrite_model(body: &Bytes, span: Range<usize>, model: &str) -> Bytes {
    splice(body, &[(&span, quote(model))])
}

/// The channel's `param_override` laid over a JSON body as a merge patch (RFC 7396): objects are merged, `null`
/// removes, anything else replaces. What it does not name stays byte for byte, white space between members apart.
///
/// # Errors
/// The body is no JSON object.
pub fn apply_param_override(body: &Bytes, over: &Map<String, Value>) -> Result<Bytes, BadRequest> {
    if over.is_empty() {
        return Ok(body.clone());
    }
    let body = std::str::from_utf8(body).map_err(|_| BadRequest::NotUtf8)?;
    merge_patch(body, over).map(Bytes::from).map_err(not_json)
}

/// Asks for usage at the end of the stream (`stream_options.include_usage`); other stream options stay.
///
/// # Errors
/// The body is no JSON object.
pub fn ask_for_usage(body: &Bytes) -> Result<Bytes, BadRequest> {
    match json!({"stream_options": {"include_usage": true}}) {
        Value::Object(over) => apply_param_override(body, &over),
        _ => Ok(body.clone()),
    }
}

/// `edits` in ascending order, none overlapping.
pub(super) fn splice(body: &Bytes, edits: &[(&Range<usize>, String)]) -> Bytes {
    if edits.is_empty() {
        return body.clone();
    }
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown);
    let mut done = 0;
    for (span, new) in edits {
        out.extend_from_slice(&body[done..span.start]);
        out.extend_from_slice(new.as_bytes());
        done = span.end;
    }
    out.extend_from_slice(&body[done..]);
    out.into()
}

fn not_json(error: serde_json::Error) -> BadRequest {
    if error.is_data() {
        return BadRequest::NotAnObject;
    }
    let words = error.to_string();
    let what = words.split(" at line ").next().unwrap_or_default().to_owned();
    BadRequest::NotJson {
        what,
        line: error.line(),
        column: error.column(),
    }
}

fn read_model(raw: &RawValue) -> Result<Option<String>, BadRequest> {
    match parse::<Loose<'_>>(raw) {
        Some(Loose::Null) => Ok(None),
        Some(Loose::Text(model)) => Ok(Some(checked_model(&model)?.to_owned())),
        _ => Err(BadRequest::WrongType {
            field: "model",
            expected: "a string",
        }),
    }
}

fn checked_model(model: &str) -> Result<&str, BadRequest> {
    if model.trim().is_empty() {
        return Err(BadRequest::Empty { field: "model" });
    }
    if model.chars().count() > MAX_MODEL_CHARS {
        return Err(BadRequest::TooLong {
            field: "model",
            max_chars: MAX_MODEL_CHARS,
        });
    }
    Ok(model)
}

/// Strict: an upstream that reads `"true"` as true would stream where a plain answer is awaited.
fn read_stream(raw: Option<&RawValue>) -> Result<bool, BadRequest> {
    match raw.map(RawValue::get) {
        None | Some("false" | "null") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(BadRequest::WrongType {
            field: "stream",
            expected: "true or false",
        }),
    }
}

fn form_bool(value: &str) -> Result<bool, BadRequest> {
    match value.trim() {
        "" | "0" => Ok(false),
        "1" => Ok(true),
        word if word.eq_ignore_ascii_case("true") => Ok(true),
        word if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(BadRequest::WrongType {
            field: "stream",
            expected: "true or false",
        }),
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

fn string(raw: &RawValue) -> Option<String> {
    parse::<Text<'_>>(raw)
        .map(|text| text.0.into_owned())
        .filter(|text| !text.is_empty())
}

fn include_usage(raw: &RawValue) -> Option<bool> {
    #[derive(Deserialize)]
    struct StreamOptions<'a> {
        #[serde(borrow, default)]
        include_usage: Loose<'a>,
    }
    Some(parse::<StreamOptions<'_>>(raw)?.include_usage == Loose::Bool(true))
}

fn user_id(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        user_id: Loose<'a>,
    }
    let id = parse::<Metadata<'_>>(raw)?.user_id.text()?;
    (!id.is_empty()).then(|| id.into_owned())
}

fn choices(top: &Top<'_>) -> u32 {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct GenerationConfig<'a> {
        #[serde(borrow, default, alias = "candidate_count")]
        candidate_count: Loose<'a>,
    }
    let count = match (top.n, top.generation_config) {
        (Some(n), _) => parse::<Loose<'_>>(n).and_then(|n| n.count()),
        (None, Some(raw)) => {
            parse::<GenerationConfig<'_>>(raw).and_then(|config| config.candidate_count.count())
        }
        (None, None) => None,
    };
    count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(1)
        .max(1)
}

/// The models that Gemini's bodies name further down: `requests[].model`, `generateContentRequest.model`.
fn inner_models(raw: &RawValue) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        model: Option<&'a RawValue>,
    }
    let requests = match raw.get().starts_with('[') {
        true => parse::<Vec<Request<'_>>>(raw).unwrap_or_default(),
        false => parse::<Request<'_>>(raw).into_iter().collect(),
    };
    requests.into_iter().filter_map(|request| request.model).collect()
}

#[cfg(test)]
mod tests;
