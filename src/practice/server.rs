//! One request's way through the practice upstream: read it, read what it orders, log it, answer it.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix_web::dev::{Extensions, Server};
use actix_web::http::{Method, StatusCode, Version, header};
use actix_web::rt::time::sleep;
use actix_web::{App, HttpRequest, HttpResponse, HttpResponseBuilder, HttpServer, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::answer::{self, Answer, Ask, Body, Event, Framing, Part, fresh_id};
use super::faults::{ErrorPlace, Instead, Plan, Refusal, RetryAfter, faults_of};
use super::log::{Arrival, Ended, InFlight, Log};
use super::place::{Address, Place};
use super::refusals::{self, Voice, Worded};
use super::sending::{Sending, Step, compress, compress_steps, plain_steps, stream_steps};
use super::{anthropic, gemini, media, multipart, openai, responses};

/// A body may have so many bytes: 256 MiB.
const BODY_LIMIT: usize = 256 << 20;
/// Longer than a relay's pool keeps an idle connection, so that it is the relay that closes.
const KEEP_ALIVE: Duration = Duration::from_secs(120);

/// What all workers of one practice upstream share.
#[derive(Default)]
pub struct Stage {
    /// What was received.
    pub log: Log,
    connections: AtomicU64,
    /// What `first` and `flap` count from, by prefix and full model name.
    seen: Mutex<FxHashMap<String, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    since: Instant,
    requests: u64,
}

impl Stage {
    /// Counts one more request under this name.
    fn see(&self, name: String) -> Seen {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(name).or_insert_with(|| Seen {
            since: Instant::now(),
            requests: 0,
        });
        entry.requests += 1;
        *entry
    }

    /// Forgets what was received, and starts `first` and `flap` anew.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.log.clear();
    }
}

/// What is kept of a connection while it lasts.
struct Connection {
    number: u64,
    /// The socket once more, to say how it is to be closed.
    socket: Option<OwnedFd>,
}

/// The server on a listener that is bound; it runs when awaited.
///
/// # Errors
/// The listener cannot be used.
pub fn server(
    listener: TcpListener,
    workers: usize,
    stage: Arc<Stage>,
    signals: Signals,
) -> io::Result<Server> {
    let data = web::Data::from(Arc::clone(&stage));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .default_service(web::to(answer_request))
    })
    .workers(workers.max(1))
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(KEEP_ALIVE)
    .tcp_nodelay(true)
    // A client that closes its half has gone: the answer is dropped, and the log says so.
    .h1_allow_half_closed(false)
    .shutdown_timeout(1)
    .on_connect(move |io, extensions| connected(&stage, io, extensions));
    let server = match signals {
        Signals::Obeyed => server,
        Signals::LeftAlone => server.disable_signals(),
    };
    Ok(server.listen_auto_h2c(listener)?.run())
}

/// Whether SIGTERM and SIGINT stop the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// As a command of its own.
    Obeyed,
    /// Inside another process.
    LeftAlone,
}

fn connected(stage: &Stage, io: &dyn std::any::Any, extensions: &mut Extensions) {
    let socket = io
        .downcast_ref::<tokio::net::TcpStream>()
        .and_then(|io| io.as_fd().try_clone_to_owned().ok());
    let number = stage.connections.fetch_add(1, Ordering::Relaxed) + 1;
    extensions.insert(Connection { number, socket });
}

/// A request as far as it can be read without knowing what it orders.
struct Heard {
    path: String,
    query: String,
    address: Address,
    voice: Voice,
    key: Option<String>,
    id: String,
    head: bool,
}

type Reply = HttpResponse<Sending>;

async fn answer_request(request: HttpRequest, payload: web::Payload, stage: web::Data<Stage>) -> Reply {
    let heard = hear(&request);
    let whole = match read_body(payload).await {
        Ok(whole) => whole,
        Err(why) => {
            let in_flight = stage
                .log
                .receive(arrival(&request, &heard, Bytes::new(), None, String::new()));
            return refuse(&heard, in_flight, bad_request(heard.voice, &heard.id, &why), None);
        }
    };
    if heard.address.place == Place::Log {
        return show_log(&request, &stage, &heard);
    }
    let text;
    let fields = match request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    {
        Some(kind) if kind.starts_with("multipart/") => {
            let boundary = multipart::boundary(kind).unwrap_or_default();
            text = Value::Object(multipart::fields(boundary, &whole)).to_string();
            serde_json::from_str(&text)
        }
        _ if whole.is_empty() => Ok(Body::default()),
        _ => serde_json::from_slice(&whole),
    };
    let (body, unread) = match fields {
        Ok(body) => (body, None),
        Err(error) => (Body::default(), Some(error.to_string())),
    };
    let model = asked_model(&heard.address, &body);
    let by_name = model.as_deref().map_or("", faults_of);
    let faults = [heard.address.faults.as_str(), by_name]
        .into_iter()
        .filter(|part| !part.is_empty());
    let faults = faults.collect::<Vec<_>>().join(",");
    let plan = Plan::read(&faults);
    let mut in_flight = stage
        .log
        .receive(arrival(&request, &heard, whole.clone(), model.clone(), faults));
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(bad) => {
            return refuse(
                &heard,
                in_flight,
                bad_request(heard.voice, &heard.id, &bad.to_string()),
                None,
            );
        }
    };
    by_history(&stage, &heard, model.as_deref(), &mut plan);
    by_key(&heard, &mut plan);
    if !plan.slow_first_byte.is_zero() {
        sleep(plan.slow_first_byte).await;
    }
    match plan.instead {
        Some(Instead::Silence) => return std::future::pending().await,
        Some(Instead::Reset) => return die(&request, in_flight, Ended::Reset),
        Some(Instead::Close) => return die(&request, in_flight, Ended::Closed),
        Some(other) => return instead(&heard, &plan, in_flight, other),
        None => {}
    }
    let streams = streams(&heard.address.place, &body);
    let name = model.as_deref().unwrap_or("practice");
    if let Some(refusal) = refusal(&plan) {
        let worded = refusals::word(heard.voice, refusal, &plan, name, heard.key.as_deref(), &heard.id);
        return refuse_as_ordered(&heard, &plan, in_flight, worded, streams).await;
    }
    if let Some(why) = unread
        .as_deref()
        .map(unread_words)
        .or_else(|| missing(&heard, model.as_deref()))
    {
        return refuse(&heard, in_flight, bad_request(heard.voice, &heard.id, &why), None);
    }
    let text = if plan.echo {
        echo(&request, &heard, &whole).into()
    } else {
        answer::text(&plan)
    };
    let ask = Ask {
        path: &heard.path,
        query: &heard.query,
        model: name,
        plan: &plan,
        body: &body,
        body_len: whole.len(),
        text,
        id: &heard.id,
        created: seconds_now(),
    };
    let Some(answer) = answer(&ask, &heard, &request) else {
        let worded = refusals::word(heard.voice, Refusal::Status(404), &plan, name, None, &heard.id);
        return refuse(&heard, in_flight, worded, None);
    };
    if heard.head {
        in_flight.end(Ended::Answered);
    }
    send(&heard, &plan, in_flight, StatusCode::OK, answer).await
}

fn hear(request: &HttpRequest) -> Heard {
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

async fn read_body(mut payload: web::Payload) -> Result<Bytes, String> {
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

fn asked_model(address: &Address, body: &Body<'_>) -> Option<String> {
    match &address.place {
        Place::Gemini { model, .. } | Place::Model(model) => Some(model.clone()),
        _ => address
            .deployment
            .clone()
            .or_else(|| body.model.as_deref().map(str::to_owned)),
    }
}

fn arrival(
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
        connection: request
            .conn_data::<Connection>()
            .map_or(0, |connection| connection.number),
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

/// `first` and `flap` depend on what came before.
fn by_history(stage: &Stage, heard: &Heard, model: Option<&str>, plan: &mut Plan) {
    if plan.first.is_none() && plan.flap.is_none() {
        return;
    }
    let name = [heard.address.faults.as_str(), model.unwrap_or("")].join("\n");
    let seen = stage.see(name);
    if plan.flap.is_some_and(|time| seen.since.elapsed() < time) {
        plan.refusal = Some(Refusal::Status(503));
    }
    if let Some((count, fault)) = plan.first.clone()
        && seen.requests <= count
    {
        // It was read once when the plan was, so it can be read again.
        let _ = plan.order(&fault);
    }
}

fn by_key(heard: &Heard, plan: &mut Plan) {
    let refused = match &heard.key {
        None => plan.require_key,
        Some(key) => plan.dead_keys.iter().any(|dead| key.ends_with(dead)),
    };
    if refused {
        plan.refusal = Some(Refusal::WrongKey);
    }
}

fn refusal(plan: &Plan) -> Option<Refusal> {
    plan.refusal
        .or_else(|| plan.error_place.map(|_| Refusal::Status(500)))
}

fn streams(place: &Place, body: &Body<'_>) -> bool {
    match place {
        Place::Gemini { action, .. } => action == "streamGenerateContent",
        _ => body.stream == Some(true),
    }
}

fn unread_words(why: &str) -> String {
    format!("We could not parse the JSON body of your request: {why}")
}

/// What a request for an answer cannot do without.
fn missing(heard: &Heard, model: Option<&str>) -> Option<String> {
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

fn answer(ask: &Ask<'_>, heard: &Heard, request: &HttpRequest) -> Option<Answer> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    Some(match &heard.address.place {
        Place::Models | Place::Model(_) | Place::Root if !reads => return None,
        Place::Models => match heard.voice {
            Voice::OpenAi => openai::models(ask.created),
            Voice::Anthropic => anthropic::models(),
            Voice::Gemini => gemini::models(),
        },
        Place::Model(id) => match heard.voice {
            Voice::OpenAi => openai::model(id, ask.created),
            Voice::Anthropic => anthropic::model(id),
            Voice::Gemini => gemini::model(id),
        },
        Place::Root => Answer::json(&json!({"practice": true})),
        Place::Log | Place::Nowhere => return None,
        _ if *request.method() != Method::POST => return None,
        Place::Chat => openai::chat(ask),
        Place::Completions => openai::completions(ask),
        Place::Responses => responses::responses(ask),
        Place::Compact => responses::compact(ask),
        Place::Embeddings => openai::embeddings(ask),
        Place::Images => media::images(ask),
        Place::Speech => media::speech(ask),
        Place::Transcription => media::transcription(ask),
        Place::Moderations => openai::moderations(ask),
        Place::Rerank => openai::rerank(ask),
        Place::Messages => anthropic::messages(ask),
        Place::CountTokens => anthropic::count_tokens(ask),
        Place::Gemini { action, .. } => return gemini::act(ask, action),
    })
}

/// What was received, as the text of an answer.
fn echo(request: &HttpRequest, heard: &Heard, body: &Bytes) -> String {
    json!({
        "method": request.method().as_str(), "path": heard.path, "query": heard.query,
        "headers": headers(request), "body": String::from_utf8_lossy(body),
    })
    .to_string()
}

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// A connection that dies before any header leaves: the body fails before the head is flushed.
fn die(request: &HttpRequest, in_flight: InFlight, how: Ended) -> Reply {
    if let Some(socket) = request
        .conn_data::<Connection>()
        .and_then(|connection| connection.socket.as_ref())
    {
        close_socket(socket, how, request.version());
    }
    let steps = VecDeque::from([Step::Die(how)]);
    let reply = HttpResponseBuilder::new(StatusCode::OK).message_body(Sending::open(in_flight, steps));
    reply.expect("a status alone is a valid head")
}

/// Lingering for no time turns the close into a reset. HTTP/2 has many requests on a connection, so
/// there it is shut down whole.
fn close_socket(socket: &OwnedFd, how: Ended, version: Version) {
    let Ok(stream) = socket.try_clone().map(TcpStream::from) else {
        return;
    };
    if version == Version::HTTP_2 {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    if how == Ended::Reset
        && let Ok(stream) = tokio::net::TcpStream::from_std(stream)
    {
        let _ = stream.set_zero_linger();
    }
}

fn instead(heard: &Heard, plan: &Plan, in_flight: InFlight, what: Instead) -> Reply {
    const PAGE: &str = "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>\
        <h1>Sorry, you have been blocked</h1></body></html>\n";
    let html = "text/html; charset=utf-8";
    match what {
        Instead::Firewall => whole(heard, plan, in_flight, 403, html, PAGE.into(), &[]),
        Instead::Redirect => {
            let location = [("location", "/practice/elsewhere".to_owned())];
            whole(heard, plan, in_flight, 302, html, "".into(), &location)
        }
        Instead::Huge(bytes) => huge(heard, plan, in_flight, bytes),
        Instead::Garbage | Instead::Silence | Instead::Reset | Instead::Close => {
            let bytes = Bytes::from_static(b"\x00\x01\xfe\xff<<<< this is no JSON >>>>\n");
            whole(heard, plan, in_flight, 200, "application/json", bytes, &[])
        }
    }
}

/// A JSON string of so many letters, without holding them all.
fn huge(heard: &Heard, plan: &Plan, in_flight: InFlight, bytes: u64) -> Reply {
    const PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX - 2);
    let piece = Bytes::copy_from_slice(&PIECE);
    let mut steps = VecDeque::from([Step::send(&b"\""[..])]);
    steps.extend((0..bytes / PIECE.len()).map(|_| Step::send(piece.clone())));
    steps.push_back(Step::send(piece.slice(..bytes % PIECE.len())));
    steps.push_back(Step::send(&b"\""[..]));
    in_flight.status(200);
    let sending = Sending::sized(in_flight, steps, bytes + 2);
    reply(heard, plan, StatusCode::OK, "application/json", &[], sending)
}

fn whole(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    status: u16,
    content_type: &str,
    body: Bytes,
    extra: &[(&str, String)],
) -> Reply {
    in_flight.status(status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let sending = Sending::sized(in_flight, plain_steps(plan, &body), body.len());
    reply(heard, plan, status, content_type, extra, sending)
}

fn bad_request(voice: Voice, id: &str, why: &str) -> Worded {
    let kind = "invalid_request_error";
    Worded::new(
        400,
        match voice {
            Voice::OpenAi => refusals::openai_error(why, kind, Value::Null, Value::Null),
            Voice::Anthropic => refusals::anthropic_error(kind, why, id),
            Voice::Gemini => refusals::gemini_error(400, "INVALID_ARGUMENT", why, Value::Null),
        },
    )
}

/// A refusal that no order breaks or delays.
fn refuse(heard: &Heard, in_flight: InFlight, worded: Worded, retry_after: Option<RetryAfter>) -> Reply {
    let plan = Plan {
        retry_after,
        ..Plan::default()
    };
    refuse_plainly(heard, &plan, in_flight, &worded, worded.status)
}

async fn refuse_as_ordered(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    worded: Worded,
    streams: bool,
) -> Reply {
    let hidden = worded.status == 200;
    match plan.error_place {
        Some(ErrorPlace::FirstEvent) if streams => {}
        None if hidden && streams => {}
        Some(_) => return refuse_plainly(heard, plan, in_flight, &worded, 200),
        None => return refuse_plainly(heard, plan, in_flight, &worded, worded.status),
    }
    let answer = Answer::Stream {
        framing: framing(heard),
        events: vec![error_event(heard, &worded.body)],
    };
    let unbroken = Plan {
        breaks: None,
        malformed: None,
        ..plan.clone()
    };
    send(heard, &unbroken, in_flight, StatusCode::OK, answer).await
}

fn framing(heard: &Heard) -> Framing {
    if heard.voice == Voice::Gemini {
        gemini::framing(&heard.query)
    } else {
        Framing::Sse
    }
}

fn error_event(heard: &Heard, body: &Value) -> Event {
    match (heard.voice, &heard.address.place) {
        (Voice::Anthropic, _) => Event::named(Part::Frame, "error", body),
        (Voice::OpenAi, Place::Responses) => {
            let error = body.get("error").unwrap_or(body);
            let field = |name: &str| error.get(name).cloned().unwrap_or(Value::Null);
            let data = json!({
                "type": "error", "code": field("code"), "message": field("message"), "param": field("param"),
                "sequence_number": 0});
            Event::named(Part::Frame, "error", data)
        }
        _ => Event::new(Part::Frame, body),
    }
}

fn refuse_plainly(heard: &Heard, plan: &Plan, in_flight: InFlight, worded: &Worded, status: u16) -> Reply {
    let mut body = worded.body.to_string();
    let array =
        matches!(&heard.address.place, Place::Gemini { action, .. } if action == "streamGenerateContent");
    if array && framing(heard) == Framing::JsonArray {
        body = format!("[{body}\n]\n");
    }
    let mut extra: Vec<(&str, String)> = plan.retry_after.map(retry_after_header).into_iter().collect();
    let own = worded
        .headers
        .iter()
        .filter(|(name, _)| *name != "retry-after" || plan.retry_after.is_none());
    extra.extend(own.cloned());
    whole(
        heard,
        plan,
        in_flight,
        status,
        "application/json",
        Bytes::from(body),
        &extra,
    )
}

fn retry_after_header(retry_after: RetryAfter) -> (&'static str, String) {
    match retry_after {
        RetryAfter::Seconds(seconds) => ("retry-after", seconds.to_string()),
        RetryAfter::Date(seconds) => {
            let when = SystemTime::now() + Duration::from_secs(seconds);
            ("retry-after", httpdate::fmt_http_date(when))
        }
        RetryAfter::Millis(millis) => ("retry-after-ms", millis.to_string()),
    }
}

async fn send(heard: &Heard, plan: &Plan, in_flight: InFlight, status: StatusCode, answer: Answer) -> Reply {
    in_flight.status(status.as_u16());
    match answer {
        Answer::Plain {
            content_type,
            mut body,
        } => {
            if let Some(coding) = plan.coding
                && let Ok(coded) = compress(coding, &body).await
            {
                body = coded;
            }
            let sending = Sending::sized(in_flight, plain_steps(plan, &body), body.len());
            reply(heard, plan, status, content_type, &[], sending)
        }
        Answer::Stream { framing, events } => {
            let mut steps = stream_steps(plan, framing, events);
            if let Some(coding) = plan.coding {
                // Writing into memory cannot fail.
                let _ = compress_steps(coding, &mut steps).await;
            }
            let content_type = match framing {
                Framing::Sse => "text/event-stream; charset=utf-8",
                Framing::JsonArray => "application/json; charset=UTF-8",
            };
            let sending = Sending::open(in_flight, steps);
            reply(
                heard,
                plan,
                status,
                content_type,
                &[("cache-control", "no-cache".into())],
                sending,
            )
        }
    }
}

fn reply(
    heard: &Heard,
    plan: &Plan,
    status: StatusCode,
    content_type: &str,
    extra: &[(&str, String)],
    sending: Sending,
) -> Reply {
    let mut builder = HttpResponseBuilder::new(status);
    builder.insert_header((header::CONTENT_TYPE, content_type));
    match heard.voice {
        Voice::OpenAi => {
            builder.insert_header(("x-request-id", format!("req_{}", heard.id)));
            builder.insert_header(("openai-organization", "org-practice"));
        }
        Voice::Anthropic => {
            builder.insert_header(("request-id", format!("req_{}", heard.id)));
            builder.insert_header(("anthropic-organization-id", "org-practice"));
        }
        Voice::Gemini => {
            builder.insert_header(("server", "practice"));
        }
    }
    for (name, value) in extra {
        builder.insert_header((*name, value.as_str()));
    }
    match plan
        .coding
        .filter(|_| status == StatusCode::OK && plan.instead.is_none())
    {
        Some(super::faults::Coding::Gzip) => drop(builder.insert_header((header::CONTENT_ENCODING, "gzip"))),
        Some(super::faults::Coding::Zstd) => drop(builder.insert_header((header::CONTENT_ENCODING, "zstd"))),
        None => {}
    }
    for (name, value) in &plan.headers {
        builder.append_header((name.as_str(), value.as_str()));
    }
    builder
        .message_body(sending)
        .expect("headers were checked when the plan was read")
}

/// `GET` and `DELETE /practice/log`; neither is logged itself.
fn show_log(request: &HttpRequest, stage: &Stage, heard: &Heard) -> Reply {
    let in_flight = InFlight::unlogged(&stage.log);
    let body = match *request.method() {
        Method::GET => {
            let model = url::form_urlencoded::parse(heard.query.as_bytes()).find(|(name, _)| name == "model");
            let entries = match model {
                Some((_, model)) => stage.log.of(&model),
                None => stage.log.all(),
            };
            let entries: Vec<Value> = entries.iter().map(super::log::Received::to_json).collect();
            json!({"now_ms": stage.log.now_ms(), "in_flight": stage.log.in_flight(), "total": entries.len(),
                   "items": entries})
        }
        Method::DELETE => {
            stage.forget();
            json!({"total": 0})
        }
        _ => {
            return refuse(
                heard,
                in_flight,
                Worded::new(405, json!({"error": "GET or DELETE"})),
                None,
            );
        }
    };
    let bytes = Bytes::from(body.to_string());
    whole(
        heard,
        &Plan::default(),
        in_flight,
        200,
        "application/json",
        bytes,
        &[],
    )
}
