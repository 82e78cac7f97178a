//! A request as it was heard: path, query, key, body and model, before anything is ordered.

use actix_web::http::{Method, Version, header};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::json;

use super::answer::{Body, fresh_id};
use super::connection::Connection;
use super::log::Arrival;
use super::multipart;
use super::place::{Address, Place};
use super::refusals::Voice;

/// A body may have so many bytes: 256 MiB.
const BODY_LIMIT: usize = 256 << 20;

/// A request as far as it can be read without knowing what it orders.
pub struct Heard {
    /// The path as it came, fault prefix included.
    pub path: String,
    /// The query without `?`.
    pub query: String,
    /// What the path asks for.
    pub address: Address,
    /// The protocol that errors are told in.
    pub voice: Voice,
    /// The key that was shown, wherever.
    pub key: Option<String>,
    /// Unique in this process and unlike another's.
    pub id: String,
    /// Whether only the head is asked for.
    pub head: bool,
}

/// Reads what stands before the body.
pub fn hear(request: &HttpRequest) -> Heard {
    let address = Address::read(request.uri().path());
    let headers = request.headers();
    let voice = match address.place {
        Place::Messages | Place::CountTokens => Voice::Anthropic,
        Place::Gemini { .. } => Voice::Gemini,
        Place::Models | Place::Model(_) if headers.contains_key("anthropic-version") => Voice::Anthropic,
        Place::Models | Place::Model(_) if address.beta || headers.contains_key("x-goog-api-key") => {
            Voice::Gemini
        }
        _ => Voice::OpenAi,
    };
    let query = request.query_string().to_owned();
    Heard {
        path: request.uri().path().to_owned(),
        key: key(request, &query),
        query,
        address,
        voice,
        id: fresh_id(),
        head: request.method() == Method::HEAD,
    }
}

fn key(request: &HttpRequest, query: &str) -> Option<String> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
    let in_query = || query.split('&').find_map(|pair| pair.strip_prefix("key="));
    bearer
        .or_else(|| header("x-api-key"))
        .or_else(|| header("api-key"))
        .or_else(|| header("x-goog-api-key"))
        .or_else(in_query)
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
}

/// Reads the body whole.
pub async fn read_body(mut payload: web::Payload) -> Result<Bytes, String> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        if whole.len() + chunk.len() > BODY_LIMIT {
            return Err("the body is longer than 256 MiB".to_owned());
        }
        if whole.is_empty() && chunk.len() > 4096 {
            // Long bodies come in many chunks; the buffer doubles, never more than the limit.
            whole.reserve(chunk.len() * 2);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// The body as JSON: as it came, or what a multipart body says in its short fields.
pub fn as_json(request: &HttpRequest, whole: &Bytes) -> Bytes {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    match kind.filter(|kind| kind.starts_with("multipart/")) {
        Some(kind) => {
            let fields = multipart::fields(multipart::boundary(kind).unwrap_or_default(), whole);
            Bytes::from(serde_json::Value::Object(fields).to_string())
        }
        None => whole.clone(),
    }
}

/// The fields of a JSON body; an empty one has none.
pub fn read_fields(json: &[u8]) -> serde_json::Result<Body<'_>> {
    if json.is_empty() {
        Ok(Body::default())
    } else {
        serde_json::from_slice(json)
    }
}

/// The model by the path, else by the body.
pub fn asked_model(address: &Address, body: &Body<'_>) -> Option<String> {
    match &address.place {
        Place::Gemini { model, .. } | Place::Model(model) => Some(model.clone()),
        _ => address
            .deployment
            .clone()
            .or_else(|| body.model.as_deref().map(str::to_owned)),
    }
}

/// What the log keeps of it.
pub fn arrival(
    request: &HttpRequest,
    heard: &Heard,
    body: Bytes,
    model: Option<String>,
    faults: String,
) -> Arrival {
    Arrival {
        method: request.method().as_str().to_owned(),
        path: heard.path.clone(),
        query: heard.query.clone(),
        headers: headers(request),
        body,
        model,
        faults,
        http_version: match request.version() {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
        .to_owned(),
        connection: Connection::number_of(request),
    }
}

/// The server keeps headers in a hash map, so their order is lost: sorted by name they are at least
/// the same each time.
fn headers(request: &HttpRequest) -> Vec<(String, String)> {
    let pair = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    };
    let mut headers: Vec<_> = request.headers().iter().map(pair).collect();
    headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    headers
}

/// Whether events are asked for.
pub fn streams(place: &Place, body: &Body<'_>) -> bool {
    match place {
        Place::Gemini { action, .. } => action == "streamGenerateContent",
        _ => body.stream == Some(true),
    }
}

/// What is said of a body that cannot be read.
pub fn unread_words(why: &serde_json::Error) -> String {
    format!("We could not parse the JSON body of your request: {why}")
}

/// What a request for an answer cannot do without.
pub fn missing(heard: &Heard, model: Option<&str>) -> Option<String> {
    let needs_model = matches!(
        heard.address.place,
        Place::Chat
            | Place::Completions
            | Place::Responses
            | Place::Compact
            | Place::Embeddings
            | Place::Speech
            | Place::Transcription
            | Place::Rerank
            | Place::Messages
            | Place::CountTokens
    );
    let words = match heard.voice {
        Voice::Anthropic => "model: Field required",
        Voice::OpenAi | Voice::Gemini => "you must provide a model parameter",
    };
    (needs_model && model.is_none()).then(|| words.to_owned())
}

/// What was received, as the text of an answer.
pub fn echo(request: &HttpRequest, heard: &Heard, body: &Bytes) -> String {
    json!({
        "method": request.method().as_str(), "path": heard.path, "query": heard.query,
        "headers": headers(request), "body": String::from_utf8_lossy(body),
    })
    .to_string()
}
