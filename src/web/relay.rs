//! The relay's routes: from actix's types to the relay's and back, nothing decided.

use std::time::Duration;

use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::Version;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, dev, web};
use futures::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use uuid::Uuid;

use super::connection::Connection;
use crate::protocol::gemini_path::{BadGeminiPath, GeminiPath, decode_model};
use crate::protocol::models::wanted_shape;
use crate::protocol::upstream_url::ClientVersion;
use crate::protocol::{Endpoint, ErrorAnswer, Protocol};
use crate::relay::answer::{Answer, Body};
use crate::relay::body::BrokenOff;
use crate::relay::client_gone::ClientGone;
use crate::relay::request::{Caller, Head};
use crate::relay::{Relay, refusal};

/// How often a stream of an HTTP/2 connection is asked whether its client has reset it: nothing wakes us for that
/// while nothing is sent.
const ASK_STREAM: Duration = Duration::from_millis(250);

/// What a browser's script may read of an answer.
const EXPOSED: &str = "x-request-id, retry-after, x-should-retry, x-pointsman-channel, x-pointsman-model, \
    x-pointsman-attempts, x-upstream-request-id";

/// Registers every relay route.
pub fn configure(cfg: &mut web::ServiceConfig, relay: Relay) {
    cfg.app_data(web::Data::new(relay))
        .configure(|cfg| everywhere(cfg, || web::to(handle)));
}

/// Wherever a relay route lies. (A scope is found by comparing; a pattern would be a regular expression.)
pub fn everywhere(cfg: &mut web::ServiceConfig, route: impl Fn() -> actix_web::Route) {
    cfg.service(web::resource("/").route(route()));
    for versions in ["/v1", "/v1beta"] {
        cfg.service(web::scope(versions).default_service(route()));
    }
}

/// Where a request goes, told from its method and raw path.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// `GET /`: somebody looks whether anything is here.
    Root,
    Preflight,
    Upstream {
        endpoint: Endpoint,
        version: ClientVersion,
        path_model: Option<String>,
    },
    /// `None`: in the shape that the client's headers ask for.
    Models(Option<Protocol>),
    Model {
        id: String,
        shape: Option<Protocol>,
    },
    Nowhere(Protocol),
    WrongMethod {
        protocol: Protocol,
        allow: &'static str,
    },
    BadModel {
        protocol: Protocol,
        bad: BadGeminiPath,
    },
}

fn route(method: &Method, path: &str) -> Route {
    if method == Method::OPTIONS {
        return Route::Preflight;
    }
    if let Some(below) = path.strip_prefix("/v1beta/") {
        return route_versioned(method, below, ClientVersion::V1Beta);
    }
    match (path, path.strip_prefix("/v1/")) {
        (_, Some(below)) => route_versioned(method, below, ClientVersion::V1),
        ("/", None) if reads(method) => Route::Root,
        ("/", None) => wrong_method(Protocol::OpenAi, READ),
        ("/v1beta", None) => Route::Nowhere(Protocol::Gemini),
        _ => Route::Nowhere(Protocol::OpenAi),
    }
}

const READ: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST, OPTIONS";

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn wrong_method(protocol: Protocol, allow: &'static str) -> Route {
    Route::WrongMethod { protocol, allow }
}

fn route_versioned(method: &Method, below: &str, version: ClientVersion) -> Route {
    let shape = match version {
        ClientVersion::V1 => None,
        ClientVersion::V1Beta => Some(Protocol::Gemini),
    };
    let protocol = shape.unwrap_or(if below.starts_with("messages") {
        Protocol::Anthropic
    } else {
        Protocol::OpenAi
    });
    if below == "models" {
        return if reads(method) {
            Route::Models(shape)
        } else {
            wrong_method(protocol, READ)
        };
    }
    if let Some(rest) = below.strip_prefix("models/") {
        return route_model(method, rest, version, shape);
    }
    let named = |endpoint: &Endpoint| endpoint.protocol() != Protocol::Gemini && endpoint.name() == below;
    match Endpoint::ALL
        .into_iter()
        .find(named)
        .filter(|_| version == ClientVersion::V1)
    {
        None => Route::Nowhere(protocol),
        Some(_) if method != Method::POST => wrong_method(protocol, POST),
        Some(endpoint) => Route::Upstream {
            endpoint,
            version,
            path_model: None,
        },
    }
}

fn route_model(method: &Method, rest: &str, version: ClientVersion, shape: Option<Protocol>) -> Route {
    if reads(method) {
        return match decode_model(rest) {
            Ok(id) => Route::Model { id, shape },
            Err(bad) => Route::BadModel {
                protocol: shape.unwrap_or(Protocol::OpenAi),
                bad,
            },
        };
    }
    let path = GeminiPath::parse(rest);
    match path {
        _ if method != Method::POST => wrong_method(Protocol::Gemini, "GET, HEAD, POST, OPTIONS"),
        Ok(path) => Route::Upstream {
            endpoint: path.endpoint,
            version,
            path_model: Some(path.model),
        },
        Err(BadGeminiPath::NoAction | BadGeminiPath::UnknownAction) => Route::Nowhere(Protocol::Gemini),
        Err(bad) => Route::BadModel {
            protocol: Protocol::Gemini,
            bad,
        },
    }
}

async fn handle(request: HttpRequest, payload: web::Payload, relay: web::Data<Relay>) -> HttpResponse {
    let caller = caller(&request);
    let request_id = caller.request_id.clone();
    let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or(Method::TRACE);
    let refuse = |status, code: &'static str, message: String, protocol| {
        refusal::answer(ErrorAnswer::new(status, code, message), protocol, &request_id)
    };
    let answer = match route(&method, request.uri().path()) {
        Route::Root => empty(StatusCode::OK),
        Route::Preflight => preflight(&caller.headers),
        Route::Upstream {
            endpoint,
            version,
            path_model,
        } => {
            let head = Head {
                caller,
                endpoint,
                version,
                path_model,
            };
            let payload = payload.map(|chunk| chunk.map_err(|_| BrokenOff));
            let watch = |payload: futures::stream::Map<web::Payload, _>| gone(&request, payload.into_inner());
            relay.answer(head, payload, watch).await
        }
        Route::Models(shape) => {
            let shape = shape.unwrap_or_else(|| wanted_shape(&caller.headers, caller.query.as_deref()));
            relay.list_models(&caller, shape).await
        }
        Route::Model { id, shape } => {
            let shape = shape.unwrap_or_else(|| wanted_shape(&caller.headers, caller.query.as_deref()));
            relay.one_model(&caller, shape, &id).await
        }
        Route::Nowhere(protocol) => {
            let message = format!("there is no {method} {}", request.uri().path());
            refuse(StatusCode::NOT_FOUND, "not_found", message, protocol)
        }
        Route::WrongMethod { protocol, allow } => {
            let message = format!("this path takes {allow}");
            let mut answer = refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                message,
                protocol,
            );
            answer.set("allow", allow);
            answer
        }
        Route::BadModel { protocol, bad } => {
            let error =
                ErrorAnswer::new(StatusCode::BAD_REQUEST, "invalid_request", bad.to_string()).param("model");
            refusal::answer(error, protocol, &request_id)
        }
    };
    respond(answer, &request_id)
}

/// What every relay route answers until the database is open.
pub async fn not_yet(request: HttpRequest) -> HttpResponse {
    let caller = caller(&request);
    let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or(Method::TRACE);
    let protocol = match route(&method, request.uri().path()) {
        Route::Root => return respond(empty(StatusCode::OK), &caller.request_id),
        Route::Preflight => return respond(preflight(&caller.headers), &caller.request_id),
        Route::Upstream { endpoint, .. } => endpoint.protocol(),
        Route::Models(shape) | Route::Model { shape, .. } => {
            shape.unwrap_or_else(|| wanted_shape(&caller.headers, caller.query.as_deref()))
        }
        Route::Nowhere(protocol) | Route::WrongMethod { protocol, .. } | Route::BadModel { protocol, .. } => {
            protocol
        }
    };
    let words = "the database cannot be asked yet";
    let error = ErrorAnswer::new(StatusCode::SERVICE_UNAVAILABLE, "routing_unavailable", words)
        .retry_after(Duration::from_secs(1));
    respond(
        refusal::answer(error, protocol, &caller.request_id),
        &caller.request_id,
    )
}

fn caller(request: &HttpRequest) -> Caller {
    Caller {
        request_id: Uuid::new_v4().to_string(),
        headers: headers_of(request),
        query: request.uri().query().map(str::to_owned),
        peer: request.peer_addr().map(|peer| peer.ip()),
    }
}

/// actix-web knows the `http` crate's older types only; this is the one place where they are turned into the newer.
fn headers_of(request: &HttpRequest) -> HeaderMap {
    let pair = |(name, value): (
        &actix_web::http::header::HeaderName,
        &actix_web::http::header::HeaderValue,
    )| {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    let mut headers = HeaderMap::with_capacity(request.headers().len());
    for (name, value) in request.headers().iter().filter_map(pair) {
        headers.append(name, value);
    }
    headers
}

/// Ends when the connection is closed or reset, or the request's own HTTP/2 stream is.
fn gone(request: &HttpRequest, payload: web::Payload) -> ClientGone {
    let connection = request.conn_data::<Connection>().cloned();
    let is_http2 = request.version() == Version::HTTP_2;
    let mut payload = payload.into_inner();
    ClientGone::when(async move {
        let closed = async {
            match connection {
                Some(connection) => connection.closed().await,
                None => std::future::pending().await,
            }
        };
        let reset = async {
            match is_http2 {
                true => stream_reset(&mut payload).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! { () = closed => {}, () = reset => {} }
    })
}

/// A body that has been read to its end says so again when asked, unless its stream was reset.
async fn stream_reset(payload: &mut dev::Payload) {
    loop {
        tokio::time::sleep(ASK_STREAM).await;
        if let Some(Some(Err(_))) = payload.next().now_or_never() {
            return;
        }
    }
}

fn empty(status: StatusCode) -> Answer {
    Answer {
        status,
        headers: HeaderMap::new(),
        body: Body::Whole(bytes::Bytes::new()),
    }
}

/// Any origin, without credentials: a token is shown by whoever has it, never by a browser on its own.
fn preflight(asked: &HeaderMap) -> Answer {
    let mut answer = empty(StatusCode::NO_CONTENT);
    let wanted = asked.get("access-control-request-headers").cloned();
    answer.set("access-control-allow-methods", "GET, HEAD, POST, OPTIONS");
    answer.set("access-control-max-age", "86400");
    let wanted = wanted.unwrap_or(HeaderValue::from_static("authorization, content-type"));
    answer
        .headers
        .insert(HeaderName::from_static("access-control-allow-headers"), wanted);
    answer.set("vary", "access-control-request-headers");
    answer
}

fn respond(mut answer: Answer, request_id: &str) -> HttpResponse {
    answer.set("x-request-id", request_id);
    answer.set("access-control-allow-origin", "*");
    answer.set("access-control-expose-headers", EXPOSED);
    let status = actix_web::http::StatusCode::from_u16(answer.status.as_u16());
    let mut response = HttpResponseBuilder::new(status.unwrap_or(actix_web::http::StatusCode::BAD_GATEWAY));
    for (name, value) in &answer.headers {
        // The length is the body's own.
        if name != http::header::CONTENT_LENGTH {
            response.append_header((name.as_str(), value.as_bytes()));
        }
    }
    match answer.body {
        Body::Whole(bytes) => response.body(bytes),
        Body::Passing {
            length: Some(length),
            chunks,
        } => response.body(SizedStream::new(length, chunks)),
        Body::Passing { length: None, chunks } => response.body(BodyStream::new(chunks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(endpoint: Endpoint, version: ClientVersion, model: Option<&str>) -> Route {
        Route::Upstream {
            endpoint,
            version,
            path_model: model.map(str::to_owned),
        }
    }

    #[test]
    fn every_route_of_the_relay() {
        use ClientVersion::{V1, V1Beta};
        for endpoint in Endpoint::ALL {
            let path = match endpoint.protocol() {
                Protocol::Gemini => format!("/v1beta/models/google%2Fm:{}", endpoint.name()),
                _ => format!("/v1/{}", endpoint.name()),
            };
            let want = match endpoint.protocol() {
                Protocol::Gemini => upstream(endpoint, V1Beta, Some("google/m")),
                _ => upstream(endpoint, V1, None),
            };
            assert_eq!(route(&Method::POST, &path), want, "{path}");
            assert_eq!(route(&Method::OPTIONS, &path), Route::Preflight);
            assert!(
                matches!(route(&Method::PUT, &path), Route::WrongMethod { .. }),
                "{path}"
            );
        }
        let gemini = upstream(Endpoint::StreamGenerateContent, V1, Some("a/b:c"));
        assert_eq!(
            route(&Method::POST, "/v1/models/a/b:c:streamGenerateContent"),
            gemini
        );
    }

    #[test]
    fn what_is_read() {
        let model = |id: &str, shape| Route::Model {
            id: id.to_owned(),
            shape,
        };
        for (path, want) in [
            ("/", Route::Root),
            ("/v1/models", Route::Models(None)),
            ("/v1beta/models", Route::Models(Some(Protocol::Gemini))),
            ("/v1/models/gpt-4o", model("gpt-4o", None)),
            ("/v1/models/org/name", model("org/name", None)),
            ("/v1/models/org%2Fname", model("org/name", None)),
            ("/v1beta/models/gemini", model("gemini", Some(Protocol::Gemini))),
        ] {
            assert_eq!(route(&Method::GET, path), want, "{path}");
            assert_eq!(route(&Method::HEAD, path), want, "{path}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_in_the_protocol_of_its_path() {
        for (method, path, want) in [
            (Method::POST, "/v1/nothing", Route::Nowhere(Protocol::OpenAi)),
            (
                Method::POST,
                "/v1/messages/nothing",
                Route::Nowhere(Protocol::Anthropic),
            ),
            (Method::POST, "/v1beta/nothing", Route::Nowhere(Protocol::Gemini)),
            (
                Method::POST,
                "/v1beta/chat/completions",
                Route::Nowhere(Protocol::Gemini),
            ),
            (Method::POST, "/v1/models/m:fly", Route::Nowhere(Protocol::Gemini)),
            (Method::GET, "/v1", Route::Nowhere(Protocol::OpenAi)),
            (
                Method::GET,
                "/v1/chat/completions",
                wrong_method(Protocol::OpenAi, POST),
            ),
            (
                Method::GET,
                "/v1/messages",
                wrong_method(Protocol::Anthropic, POST),
            ),
            (Method::POST, "/v1/models", wrong_method(Protocol::OpenAi, READ)),
            (Method::POST, "/", wrong_method(Protocol::OpenAi, READ)),
        ] {
            assert_eq!(route(&method, path), want, "{method} {path}");
        }
        let bad = route(&Method::POST, "/v1beta/models/%ff:generateContent");
        assert_eq!(
            bad,
            Route::BadModel {
                protocol: Protocol::Gemini,
                bad: BadGeminiPath::NotUtf8
            }
        );
    }
}
