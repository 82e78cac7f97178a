//! What does an upstream's error say, whosever shape it comes in?

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::json::Loose;
use super::openai::failed_finish;
use super::retry_after::duration;

/// Enough for every message that says something; a page of HTML in `message` is not kept.
const MAX_MESSAGE_BYTES: usize = 2048;

/// An upstream's error, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    pub form: ErrorForm,
    /// The status: the answer's own, or for an error in a 200 or in a stream the one that the body names.
    pub status: Option<u16>,
    /// `error.code`, numbers as text (`"1113"`).
    pub code: Option<String>,
    /// `error.type`; Gemini's `error.status`.
    pub kind: Option<String>,
    /// The field that the upstream blames.
    pub param: Option<String>,
    /// Gemini's `ErrorInfo.reason` (`API_KEY_INVALID`), Azure's `innererror.code`.
    pub reason: Option<String>,
    /// The words, at most 2 KiB; empty if there are none.
    pub message: String,
    /// Gemini's `RetryInfo.retryDelay`.
    pub retry_delay: Option<Duration>,
    /// It stood in MiniMax's `base_resp`, whose numbers mean other things than Zhipu's.
    pub is_base_resp: bool,
}

/// What an error's body was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// An error object in one of the known shapes.
    Error,
    /// JSON, but no error known to us.
    OtherJson,
    /// An answer in every respect, but for a finish reason that says that it failed.
    FailedAnswer,
    /// A web page, text, garbage.
    NotJson,
    #[default]
    Empty,
}

/// Reads the body of an answer whose status is an error.
#[must_use]
pub fn read_error(status: u16, body: &[u8]) -> UpstreamError {
    UpstreamError {
        status: Some(status),
        ..read_body(body)
    }
}

/// The error inside a whole answer with a 2xx status, if it is one: an error object in place of an answer or of one
/// of its choices, a failed response, no JSON where JSON alone can come.
#[must_use]
pub fn error_in_200(endpoint: Endpoint, body: &[u8]) -> Option<UpstreamError> {
    match serde_json::from_slice::<Glance<'_>>(body) {
        Ok(glance) if !glance.looks_like_an_error(endpoint) => glance.choices.and_then(error_in_choices),
        Err(error) if error.is_data() && endpoint != Endpoint::StreamGenerateContent => None,
        Err(_) if !endpoint.answers_json() => None,
        Ok(_) | Err(_) => Some(read_body(body)).filter(|error| error.form != ErrorForm::OtherJson),
    }
}

/// The error in an event's data, if it is one.
pub(super) fn error_in_event(data: &[u8]) -> Option<UpstreamError> {
    Some(read_body(data)).filter(|error| error.form == ErrorForm::Error)
}

/// What shows at a glance whether a 200 is an answer. Nothing is kept of the rest.
#[derive(Default)]
struct Glance<'a> {
    error: Loose<'a>,
    object: Loose<'a>,
    kind: Loose<'a>,
    status: Loose<'a>,
    /// MiniMax's way of saying that a 200 is none.
    base_resp: Option<&'a RawValue>,
    choices: Option<&'a RawValue>,
    /// `message`, `msg`, `detail` or `errors`.
    has_words: bool,
    /// Anything that an answer consists of.
    has_answer: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Error,
    Object,
    Type,
    Status,
    BaseResp,
    #[serde(alias = "msg", alias = "detail", alias = "errors")]
    Message,
    Choices,
    #[serde(
        alias = "candidates",
        alias = "output",
        alias = "results",
        alias = "data",
        alias = "embedding",
        alias = "embeddings",
        alias = "text",
        alias = "input_tokens",
        alias = "totalTokens",
        alias = "promptFeedback"
    )]
    Content,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Glance<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(GlanceVisitor)
    }
}

struct GlanceVisitor;

impl<'de> Visitor<'de> for GlanceVisitor {
    type Value = Glance<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Glance<'de>, A::Error> {
        let mut glance = Glance::default();
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Error => glance.error = map.next_value()?,
                Field::Object => glance.object = map.next_value()?,
                Field::Type => glance.kind = map.next_value()?,
                Field::Status => glance.status = map.next_value()?,
                Field::BaseResp => glance.base_resp = Some(map.next_value()?),
                Field::Message => glance.has_words |= !map.next_value::<Loose<'_>>()?.says_nothing(),
                Field::Choices => {
                    let choices: &RawValue = map.next_value()?;
                    glance.has_answer |= choices.get() != "null";
                    glance.choices = Some(choices);
                }
                Field::Content => glance.has_answer |= map.next_value::<Loose<'_>>()? != Loose::Null,
                Field::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(glance)
    }
}

impl Glance<'_> {
    fn looks_like_an_error(&self, endpoint: Endpoint) -> bool {
        let is_response = matches!(endpoint, Endpoint::Responses | Endpoint::ResponsesCompact);
        !self.error.says_nothing()
            || self.object.as_str() == Some("error")
            || self.kind.as_str() == Some("error")
            || (is_response && self.status.as_str() == Some("failed"))
            || self.base_resp.is_some_and(is_refusal)
            || (self.has_words && !self.has_answer)
    }
}

fn is_refusal(base_resp: &RawValue) -> bool {
    let base = serde_json::from_str::<Value>(base_resp.get()).unwrap_or_default();
    base["status_code"].as_i64().is_some_and(|code| code != 0)
}

/// One choice that failed is none that a client could use; the others, if there are any, come anew with it.
fn error_in_choices(choices: &RawValue) -> Option<UpstreamError> {
    #[derive(Deserialize)]
    struct Choice<'a> {
        #[serde(borrow, default)]
        finish_reason: Loose<'a>,
        #[serde(borrow, default)]
        error: Option<&'a RawValue>,
    }
    // Whatever else stands there is not for us to judge.
    let choices: Vec<Choice<'_>> = serde_json::from_str(choices.get()).ok()?;
    choices.iter().find_map(|choice| {
        let said = choice.error.and_then(|error| {
            let error = serde_json::from_str::<Value>(error.get()).ok()?;
            let is_empty = error.as_object().is_some_and(Map::is_empty);
            read_value(&json!({"error": error})).filter(|_| !is_empty)
        });
        let reason = choice
            .finish_reason
            .as_str()
            .filter(|reason| failed_finish(reason));
        said.or_else(|| {
            Some(UpstreamError {
                form: ErrorForm::FailedAnswer,
                code: Some(reason?.to_owned()),
                ..UpstreamError::default()
            })
        })
    })
}

fn read_body(body: &[u8]) -> UpstreamError {
    if body.trim_ascii().is_empty() {
        return UpstreamError::default();
    }
    match serde_json::from_slice::<Value>(body) {
        Err(_) => UpstreamError {
            form: ErrorForm::NotJson,
            ..UpstreamError::default()
        },
        Ok(value) => read_value(&value).unwrap_or(UpstreamError {
            form: ErrorForm::OtherJson,
            ..UpstreamError::default()
        }),
    }
}

/// The error in one of the shapes that providers give it; `None`: there is none.
pub(super) fn read_value(value: &Value) -> Option<UpstreamError> {
    // Gemini's streams without `alt=sse` are lists.
    let value = value.get(0).unwrap_or(value);
    if let Some(base) = value
        .get("base_resp")
        .filter(|base| base["status_code"].as_i64().unwrap_or(0) != 0)
    {
        return Some(error_in_base_resp(base));
    }
    // SiliconFlow: the words and nothing else.
    if let Value::String(words) = value {
        return (!words.is_empty()).then(|| error(None, None, Some(words.clone())));
    }
    match &value["error"] {
        Value::Object(_) => return Some(error_object(&value["error"])),
        // Ollama: the words alone.
        Value::String(words) if !words.is_empty() => {
            let code = text(&value["code"]).or_else(|| text(&value["error_code"]));
            let told = text(&value["message"]).or_else(|| text(&value["error_description"]));
            return Some(match told {
                Some(message) => error(
                    text(&value["type"]),
                    code.or_else(|| Some(words.clone())),
                    Some(message),
                ),
                None => error(text(&value["type"]), code, Some(words.clone())),
            });
        }
        _ => {}
    }
    if value["response"]["status"] == "failed" {
        return read_value(&value["response"]);
    }
    match &value["detail"] {
        // FastAPI: words, a list of what is wrong, or an error of its own.
        Value::String(words) => return Some(error(None, None, Some(words.clone()))),
        Value::Array(list) => {
            let first = list.first()?;
            let mut error = error(text(&first["type"]), None, text(&first["msg"]));
            error.param = first["loc"].as_array().and_then(|loc| text(loc.last()?));
            return Some(error);
        }
        detail @ Value::Object(_) => return read_value(detail),
        _ => {}
    }
    if let Some(first) = value["errors"].get(0) {
        return Some(error_object(first));
    }
    // vLLM, SiliconFlow, DashScope, Mistral, an API gateway: the error is the whole body.
    let says = |name: &str| matches!(value[name], Value::String(_) | Value::Object(_));
    if says("message") || says("msg") {
        return Some(error_object(value));
    }
    // A failed response that does not say why.
    (value["status"] == "failed").then(|| error(None, None, None))
}

/// Numbers after <https://platform.minimax.io/docs/api-reference/errorcode>, with the HTTP status 200 beside most.
fn error_in_base_resp(base: &Value) -> UpstreamError {
    let status = match base["status_code"].as_i64().unwrap_or_default() {
        // Wrong parameters; what the content filter strikes in question or answer; invisible characters.
        2013 | 1026 | 1027 | 1042 => 400,
        1004 | 2049 => 401,
        // No balance; a package that is used up.
        1008 | 2056 => 402,
        // Requests, tokens, connections, and how fast they grow.
        1002 | 1039 | 1041 | 2045 => 429,
        1001 => 504,
        _ => 500,
    };
    UpstreamError {
        status: Some(status),
        is_base_resp: true,
        ..error(None, text(&base["status_code"]), text(&base["status_msg"]))
    }
}

fn error_object(object: &Value) -> UpstreamError {
    let message = text(&object["message"]).or_else(|| text(&object["msg"]));
    // OpenRouter: "Provider returned error", and what it returned.
    let message = text(&object["metadata"]["raw"]).or(message);
    // Mistral: FastAPI's list as the message.
    let inner = Some(&object["message"])
        .filter(|inner| inner.is_object())
        .and_then(read_value);
    let message = message.or_else(|| inner.as_ref().map(|inner| inner.message.clone()));
    let kind = text(&object["type"]).filter(|kind| kind != "error");
    let kind = kind.or_else(|| object["status"].as_str().map(str::to_owned));
    let code = text(&object["code"]).or_else(|| text(&object["statusCode"]));
    let mut error = error(kind, code, message);
    error.param = text(&object["param"]).or_else(|| inner.and_then(|inner| inner.param));
    error.reason = text(&object["innererror"]["code"]);
    for detail in object["details"].as_array().into_iter().flatten() {
        let kind = detail["@type"].as_str().unwrap_or_default();
        if kind.ends_with("google.rpc.ErrorInfo") {
            error.reason = text(&detail["reason"]);
        } else if kind.ends_with("google.rpc.RetryInfo") {
            error.retry_delay = detail["retryDelay"].as_str().and_then(duration);
        }
    }
    error
}

fn error(kind: Option<String>, code: Option<String>, message: Option<String>) -> UpstreamError {
    let mut message = message.unwrap_or_default();
    message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
    let status = status_of(code.as_deref(), kind.as_deref());
    UpstreamError {
        form: ErrorForm::Error,
        status,
        code,
        kind,
        message,
        ..UpstreamError::default()
    }
}

/// A string that is not empty, or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The status that an error without one stands for, as far as its code or type is a provider's standing word.
fn status_of(code: Option<&str>, kind: Option<&str>) -> Option<u16> {
    let number = code
        .filter(|code| code.len() == 3)
        .and_then(|code| code.parse().ok());
    let number = number.filter(|status| (400..600).contains(status));
    number
        .or_else(|| code.and_then(status_of_word))
        .or_else(|| kind.and_then(status_of_word))
}

fn status_of_word(word: &str) -> Option<u16> {
    Some(match word.to_ascii_lowercase().as_str() {
        "invalid_request_error"
        | "badrequesterror"
        | "invalid_argument"
        | "failed_precondition"
        | "out_of_range" => 400,
        "authentication_error" | "invalid_authentication_error" | "invalid_api_key" | "unauthenticated" => {
            401
        }
        "billing_error" => 402,
        "permission_error" | "permission_denied" => 403,
        "not_found_error" | "model_not_found" | "not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "rate_limit_reached_error"
        | "insufficient_quota"
        | "resource_exhausted"
        | "toomanyrequests"
        | "requests"
        | "tokens" => 429,
        "server_error"
        | "api_error"
        | "internal_server_error"
        | "internal_error"
        | "internal"
        | "unknown" => 500,
        "server_overloaded" | "service_unavailable" | "unavailable" => 503,
        "timeout_error" | "deadline_exceeded" => 504,
        "overloaded_error" | "overloaded" | "engine_overloaded_error" | "serveroverloaded" => 529,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
