//! What does an upstream's error say, whosever shape it comes in?

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::endpoint::Endpoint;
use super::json::Loose;
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
}

/// What an error's body was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// An error object in one of the known shapes.
    Error,
    /// JSON, but no error known to us.
    OtherJson,
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

/// The error inside a whole answer with a 2xx status, if it is one: an error object in place of an answer, a failed
/// response, no JSON where JSON alone can come.
#[must_use]
pub fn error_in_200(endpoint: Endpoint, body: &[u8]) -> Option<UpstreamError> {
    match serde_json::from_slice::<Glance<'_>>(body) {
        Ok(glance) if !glance.looks_like_an_error(endpoint) => None,
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
    #[serde(
        alias = "content",
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
    Choices,
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
                Field::Choices => glance.has_answer |= map.next_value::<Loose<'_>>()? != Loose::Null,
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
        return Some(error(None, text(&base["status_code"]), text(&base["status_msg"])));
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
    // A failed response, whole or as the event `response.failed`.
    if value["status"] == "failed" {
        return Some(error(None, None, None));
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
    (says("message") || says("msg")).then(|| error_object(value))
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
    Some(match word {
        "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
        "authentication_error" | "invalid_authentication_error" | "invalid_api_key" | "UNAUTHENTICATED" => {
            401
        }
        "billing_error" => 402,
        "permission_error" | "permission_denied" | "PERMISSION_DENIED" => 403,
        "not_found_error" | "model_not_found" | "NOT_FOUND" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "RESOURCE_EXHAUSTED" => 429,
        "server_error"
        | "api_error"
        | "internal_server_error"
        | "internal_error"
        | "INTERNAL"
        | "UNKNOWN" => 500,
        "server_overloaded" | "service_unavailable" | "UNAVAILABLE" => 503,
        "timeout_error" | "DEADLINE_EXCEEDED" => 504,
        "overloaded_error" | "engine_overloaded_error" => 529,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// code / kind / reason / message
    fn told(error: &UpstreamError) -> String {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        format!(
            "{} / {} / {} / {}",
            or_none(&error.code),
            or_none(&error.kind),
            or_none(&error.reason),
            error.message
        )
    }

    #[test]
    fn errors_are_read_in_every_shape() {
        for (body, want) in [
            // OpenAI
            (
                r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                "invalid_api_key / invalid_request_error / - / Incorrect API key",
            ),
            // Anthropic
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
                "- / overloaded_error / - / Overloaded",
            ),
            // Gemini
            (
                r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
                "400 / INVALID_ARGUMENT / API_KEY_INVALID / API key not valid.",
            ),
            (
                r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
                "503 / UNAVAILABLE / - / m",
            ),
            // Azure
            (
                r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
                "content_filter / - / ResponsibleAIPolicyViolation / filtered",
            ),
            (
                r#"{"statusCode":429,"message":"Rate limit is exceeded."}"#,
                "429 / - / - / Rate limit is exceeded.",
            ),
            // OpenRouter
            (
                r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"slow down","provider_name":"X"}},"user_id":"u"}"#,
                "429 / - / - / slow down",
            ),
            // vLLM, before and after
            (
                r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
                "404 / NotFoundError / - / The model `x` does not exist.",
            ),
            (
                r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
                "400 / BadRequestError / - / m",
            ),
            // FastAPI
            (r#"{"detail":"Not Found"}"#, "- / - / - / Not Found"),
            (
                r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]}"#,
                "- / missing / - / Field required",
            ),
            (
                r#"{"detail":{"error":{"message":"m","code":"c"}}}"#,
                "c / - / - / m",
            ),
            // DeepSeek, Moonshot
            (
                r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
                "invalid_request_error / unknown_error / - / Insufficient Balance",
            ),
            (
                r#"{"error":{"message":"Invalid Authentication","type":"invalid_authentication_error"}}"#,
                "- / invalid_authentication_error / - / Invalid Authentication",
            ),
            // Zhipu, now and once
            (
                r#"{"error":{"code":"1113","message":"您的账户已欠费"}}"#,
                "1113 / - / - / 您的账户已欠费",
            ),
            (r#"{"code":1113,"msg":"m","success":false}"#, "1113 / - / - / m"),
            // SiliconFlow, DashScope, VolcEngine, MiniMax, Ollama, Mistral, Cloudflare
            (
                r#"{"code":20012,"message":"Model does not exist.","data":null}"#,
                "20012 / - / - / Model does not exist.",
            ),
            (
                r#"{"code":"InvalidApiKey","message":"m","request_id":"r"}"#,
                "InvalidApiKey / - / - / m",
            ),
            (
                r#"{"error":{"code":"AccountOverdueError","message":"m","param":"","type":"Forbidden"}}"#,
                "AccountOverdueError / Forbidden / - / m",
            ),
            (
                r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
                "1008 / - / - / insufficient balance",
            ),
            (
                r#"{"error":"model 'x' not found"}"#,
                "- / - / - / model 'x' not found",
            ),
            (
                r#"{"message":"Unauthorized","request_id":"r"}"#,
                "- / - / - / Unauthorized",
            ),
            (
                r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#,
                "10000 / - / - / Authentication error",
            ),
            // Events of the Responses API
            (
                r#"{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}"#,
                "server_error / - / - / m",
            ),
            (
                r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
                "rate_limit_exceeded / - / - / m",
            ),
        ] {
            let error = read_error(400, body.as_bytes());
            assert_eq!(
                (error.form, error.status),
                (ErrorForm::Error, Some(400)),
                "{body}"
            );
            assert_eq!(told(&error), want);
        }
    }

    #[test]
    fn what_is_no_error_object_is_told_apart() {
        for (body, form) in [
            ("", ErrorForm::Empty),
            (" \n", ErrorForm::Empty),
            ("<html>Access denied</html>", ErrorForm::NotJson),
            ("upstream connect error", ErrorForm::NotJson),
            ("{\"error\":", ErrorForm::NotJson),
            ("{}", ErrorForm::OtherJson),
            ("[]", ErrorForm::OtherJson),
            ("null", ErrorForm::OtherJson),
            (r#"{"error":null}"#, ErrorForm::OtherJson),
            (r#"{"detail":[]}"#, ErrorForm::OtherJson),
        ] {
            let want = UpstreamError {
                form,
                status: Some(403),
                ..UpstreamError::default()
            };
            assert_eq!(read_error(403, body.as_bytes()), want, "{body}");
        }
        assert_eq!(read_error(500, b"\xff\xfe").form, ErrorForm::NotJson);
    }

    #[test]
    fn retry_info_is_read() {
        let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
        assert_eq!(
            read_error(429, body.as_bytes()).retry_delay,
            Some(Duration::from_millis(34_500))
        );
    }

    #[test]
    fn a_long_message_is_cut() {
        let body = format!(r#"{{"error":"{}"}}"#, "é".repeat(5000));
        assert_eq!(read_error(500, body.as_bytes()).message.len(), 2048);
    }

    #[test]
    fn an_error_in_a_200_is_found_with_the_status_it_stands_for() {
        use Endpoint::{
            ChatCompletions as Chat, GenerateContent, Messages, Responses, Speech, StreamGenerateContent,
            Transcriptions,
        };
        for (endpoint, body, want) in [
            (
                Chat,
                r#"{"id":"x","choices":[{"message":{"content":"\"error\":1"}}],"usage":{}}"#,
                None,
            ),
            (Chat, r#"{"choices":[],"error":null,"message":"x"}"#, None),
            (
                Chat,
                r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#,
                None,
            ),
            (Chat, r#"{"error":{"message":"m","code":502}}"#, Some(Some(502))),
            (
                Chat,
                r#"{"error":{"message":"m","type":"overloaded_error"}}"#,
                Some(Some(529)),
            ),
            (Chat, r#"{"error":{"message":"m"},"choices":[]}"#, Some(None)),
            (
                Chat,
                r#"{"base_resp":{"status_code":1004,"status_msg":"m"},"choices":null}"#,
                Some(None),
            ),
            (Chat, r#"{"code":20012,"message":"m","data":null}"#, Some(None)),
            (Chat, r#"{"detail":"m"}"#, Some(None)),
            (
                Chat,
                r#"{"object":"error","message":"m","code":404}"#,
                Some(Some(404)),
            ),
            (Chat, "<html>sign in</html>", Some(None)),
            (Chat, "", Some(None)),
            (Chat, r#"{"choices":[{"mess"#, Some(None)),
            (Messages, r#"{"type":"message","content":[]}"#, None),
            (
                Messages,
                r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
                Some(Some(500)),
            ),
            (
                Responses,
                r#"{"object":"response","status":"completed","error":null,"output":[]}"#,
                None,
            ),
            (
                Responses,
                r#"{"object":"response","status":"incomplete","error":null,"output":[]}"#,
                None,
            ),
            (
                Responses,
                r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[],"text":{"format":{}}}"#,
                Some(Some(500)),
            ),
            (
                Responses,
                r#"{"object":"response","status":"failed","error":null,"output":[]}"#,
                Some(None),
            ),
            (
                GenerateContent,
                r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
                None,
            ),
            (StreamGenerateContent, r#"[{"candidates":[]}]"#, None),
            (
                StreamGenerateContent,
                r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
                Some(Some(503)),
            ),
            (Speech, "ID3\u{0}", None),
            (Speech, r#"{"error":{"message":"m","code":500}}"#, Some(Some(500))),
            (Transcriptions, "1\n00:00 --> 00:01\nhi", None),
            (Transcriptions, r#"{"text":"hi"}"#, None),
        ] {
            let status = error_in_200(endpoint, body.as_bytes()).map(|error| error.status);
            assert_eq!(status, want, "{endpoint:?} {body}");
        }
    }
}
