//! What did the client ask for?

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::refusal;
use crate::actors::tokens::Token;
use crate::protocol::endpoint::BodyKind;
use crate::protocol::request::{self, Asked, BadRequest};
use crate::protocol::stream::Shape;
use crate::protocol::upstream_url::{ClientVersion, strip_key};
use crate::protocol::{Endpoint, ErrorAnswer};

/// Who asks: everything of a request but what it asks for.
pub struct Caller {
    /// Ours.
    pub request_id: String,
    pub headers: HeaderMap,
    /// Raw, without `?`. May hold a token: never logged.
    pub query: Option<String>,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
}

/// A request before its body is read.
pub struct Head {
    pub caller: Caller,
    pub endpoint: Endpoint,
    pub version: ClientVersion,
    /// The model, where the path names it (Gemini).
    pub path_model: Option<String>,
}

/// A request that may go upstream.
pub struct Request {
    pub head: Head,
    pub token: Arc<Token>,
    pub asked: Asked,
    pub body: Bytes,
    pub model: String,
    /// The client's query without our key.
    pub query: Option<String>,
}

impl Request {
    /// How the events of its stream look, if it is answered with one.
    pub fn shape(&self) -> Shape {
        Shape::of(self.head.endpoint, self.head.caller.query.as_deref())
    }

    /// Reads the body. `default_model` is meant where it names none.
    pub fn read(
        head: Head,
        token: Arc<Token>,
        body: Bytes,
        default_model: Option<&str>,
    ) -> Result<Request, ErrorAnswer> {
        let asked = read(&head, &body).map_err(bad_request)?;
        let model = match &head.path_model {
            Some(model) => model.clone(),
            None => asked
                .model_or(default_model)
                .map_err(bad_request)?
                .trim()
                .to_owned(),
        };
        if !token.allows_model(&model) {
            return Err(refusal::model_not_allowed(&model));
        }
        let query = head
            .caller
            .query
            .as_deref()
            .map(|query| strip_key(query).into_owned());
        Ok(Request {
            head,
            token,
            asked,
            body,
            model,
            query,
        })
    }
}

fn read(head: &Head, body: &Bytes) -> Result<Asked, BadRequest> {
    let content_type = head
        .caller
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    match head.endpoint.body_kind() {
        BodyKind::JsonOrMultipart if request::is_multipart(content_type) => {
            request::read_multipart(head.endpoint, content_type, body)
        }
        BodyKind::Json | BodyKind::JsonOrMultipart => request::read_json(head.endpoint, body),
    }
}

fn bad_request(bad: BadRequest) -> ErrorAnswer {
    let error = ErrorAnswer::new(StatusCode::BAD_REQUEST, "invalid_request", bad.to_string());
    match bad.field() {
        Some(field) => error.param(field),
        None => error,
    }
}
