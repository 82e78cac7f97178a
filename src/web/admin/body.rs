//! A JSON body of the admin REST.
//!
//! What is no JSON is 400; what is JSON but does not fit is 422 and names the field. What was sent is never
//! repeated: it may be a secret.

use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::{FromRequest, HttpRequest};
use bytes::BytesMut;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::web::problem::{ApiError, FieldError};

/// Ten thousand keys of a channel at once.
const LONGEST: usize = 4 << 20;

const READ_BEYOND: usize = 32 << 20;

/// A field that may be absent, `null`, or given.
pub type Given<T> = Option<Option<T>>;

/// For `#[serde(default, deserialize_with)]`: tells `null` from absent.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Given<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The body, read into `T`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let acceptable = acceptable(request);
        let payload = payload.take();
        Box::pin(async move {
            acceptable?;
            read(&whole(payload).await?).map(Body)
        })
    }
}

/// As `Body`; none at all is `T`'s default.
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest for OptionalBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let acceptable = acceptable(request);
        let payload = payload.take();
        Box::pin(async move {
            let body = whole(payload).await?;
            if body.is_empty() {
                return Ok(OptionalBody(T::default()));
            }
            acceptable?;
            read(&body).map(OptionalBody)
        })
    }
}

fn acceptable(request: &HttpRequest) -> Result<(), ApiError> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let kind = header(CONTENT_TYPE)
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let is_plain = matches!(header(CONTENT_ENCODING), None | Some("identity"));
    if is_json && is_plain {
        Ok(())
    } else {
        Err(ApiError::ContentType)
    }
}

/// Of a body that is too large some more is read: a client that still sends when the answer comes may never
/// see it.
async fn whole(mut payload: Payload) -> Result<BytesMut, ApiError> {
    let mut body = BytesMut::new();
    let mut beyond = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::BodyCut)?;
        if beyond > 0 || body.len() + chunk.len() > LONGEST {
            beyond += chunk.len();
            body.clear();
        } else {
            body.extend_from_slice(&chunk);
        }
        if beyond > READ_BEYOND {
            break;
        }
    }
    if beyond > 0 {
        Err(ApiError::BodyTooLarge(LONGEST))
    } else {
        Ok(body)
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Err(ApiError::NotJson("the body is empty".to_owned()));
    }
    // All of it first, so that what is no JSON is never told as a field that does not fit.
    let body =
        std::str::from_utf8(body).map_err(|_| ApiError::NotJson("the body is not UTF-8".to_owned()))?;
    serde_json::from_str::<IgnoredAny>(body).map_err(|error| malformed(&error))?;
    // A derived struct would take a list for an object.
    if !body.trim_start().starts_with('{') {
        return Err(ApiError::Invalid(vec![FieldError::new(
            "body",
            "must be an object",
        )]));
    }
    let mut json = serde_json::Deserializer::from_str(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        misfit(&path, error.inner())
    })
}

/// The body is JSON by now, whatever serde_json calls it: to it a list in place of a word is bad syntax.
fn misfit(path: &str, error: &serde_json::Error) -> ApiError {
    let words = error.to_string();
    if words.starts_with("recursion limit exceeded") {
        return ApiError::NotJson("the JSON is nested too deeply".to_owned());
    }
    ApiError::Invalid(vec![field_error(path, &words)])
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::NotJson(match error.classify() {
        Category::Eof => "the JSON ends too early".to_owned(),
        Category::Syntax | Category::Io | Category::Data => {
            format!("no JSON at line {line} column {column}")
        }
    })
}

/// serde's words without what was sent: `invalid type: string "x", expected i64` → `must be a whole number`.
fn field_error(path: &str, words: &str) -> FieldError {
    let words = words.rsplit_once(" at line ").map_or(words, |(words, _)| words);
    let path = if path == "." { "" } else { path };
    // What is told of the object as a whole, by the name within it.
    let within = |prefix: &str| {
        let name = words.strip_prefix(prefix)?.split('`').next()?;
        let dot = if path.is_empty() { "" } else { "." };
        Some(format!("{path}{dot}{name}"))
    };
    if let Some(field) = within("missing field `") {
        return FieldError::new(field, "is required");
    }
    if let Some(field) = within("duplicate field `") {
        return FieldError::new(field, "is given twice");
    }
    let field = if path.is_empty() { "body" } else { path };
    if words.starts_with("unknown field `") {
        return FieldError::new(field, "is no field that is known here");
    }
    match words.rsplit_once(", expected ") {
        Some((_, expected)) => FieldError::new(field, format!("must be {}", plainly(expected))),
        None => FieldError::new(field, "does not fit"),
    }
}

fn plainly(expected: &str) -> &str {
    match expected {
        "i64" | "u64" | "i32" | "u32" | "usize" => "a whole number",
        "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Thing {
        name: String,
        #[serde(default)]
        keys: Vec<String>,
        #[serde(default, deserialize_with = "given")]
        weight: Given<u32>,
        #[serde(default)]
        settings: crate::routing::rows::Settings,
        #[serde(default, deserialize_with = "given")]
        status: Given<crate::routing::rows::Status>,
    }

    #[test]
    fn the_field_that_does_not_fit_is_named_and_not_repeated() {
        let check = |body: &str, field: &str, message: &str| match read::<Thing>(body.as_bytes()) {
            Err(ApiError::Invalid(errors)) => assert_eq!(errors, [FieldError::new(field, message)], "{body}"),
            other => panic!("{body}: {other:?}"),
        };
        check(r#"{}"#, "name", "is required");
        check(r#"{"name": 5}"#, "name", "must be a string");
        check(r#"{"name": null}"#, "name", "must be a string");
        check(r#"{"name": "a", "keys": "sk-1"}"#, "keys", "must be a list");
        check(
            r#"{"name": "a", "keys": ["x", {"sk": 1}]}"#,
            "keys[1]",
            "must be a string",
        );
        check(
            r#"{"name": "a", "weight": -1}"#,
            "weight",
            "must be a whole number",
        );
        check(
            r#"{"name": "a", "weight": 1.5}"#,
            "weight",
            "must be a whole number",
        );
        check(
            r#"{"name": "a", "nom": 1}"#,
            "nom",
            "is no field that is known here",
        );
        check(r#"{"name": "a", "name": "b"}"#, "name", "is given twice");
        check(
            r#"{"name": "a", "status": "open"}"#,
            "status",
            "must be one of `enabled`, `disabled`, `auto_disabled`",
        );
        check(
            r#"{"name": "a", "settings": {"timeouts": {"connect": "5"}}}"#,
            "settings.timeouts.connect",
            "must be a number",
        );
        check(
            r#"{"name": "a", "settings": {"timeouts": {"conect": 5}}}"#,
            "settings.timeouts.conect",
            "is no field that is known here",
        );
        check(r#"{"name": "a", "status": [1]}"#, "status", "does not fit");
        check(r#"[]"#, "body", "must be an object");
        check(r#" ["a"]"#, "body", "must be an object");
        check(r#""x, expected y""#, "body", "must be an object");
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for body in [
            "",
            "{",
            "nonsense",
            r#"{"name": "a"} x"#,
            "{\"name\": \"a\",}",
            "\u{feff}{}",
        ] {
            assert!(
                matches!(read::<Thing>(body.as_bytes()), Err(ApiError::NotJson(_))),
                "{body}"
            );
        }
        assert!(matches!(
            read::<Thing>(b"{\"name\": \"\xff\"}"),
            Err(ApiError::NotJson(_))
        ));
    }

    #[test]
    fn absent_null_and_given_are_three() {
        let weight = |body: &str| read::<Thing>(body.as_bytes()).expect("fits").weight;
        assert_eq!(weight(r#"{"name": "a"}"#), None);
        assert_eq!(weight(r#"{"name": "a", "weight": null}"#), Some(None));
        assert_eq!(weight(r#"{"name": "a", "weight": 7}"#), Some(Some(7)));
    }
}
