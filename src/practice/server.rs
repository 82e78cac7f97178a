//! One request's way through the practice upstream: read it, read what it orders, log it, answer it.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use actix_web::dev::Server;
use actix_web::http::{Method, StatusCode};
use actix_web::rt::time::sleep;
use actix_web::{App, HttpRequest, HttpServer, web};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::answer::{self, Answer, Ask, Body};
use super::connection::{Connection, die};
use super::faults::{ErrorForm, ErrorPlace, Instead, Plan, Refusal, faults_of};
use super::heard::{
    Heard, arrival, as_json, asked_model, echo, hear, missing, read_body, read_fields, streams, unread_words,
};
use super::log::{Ended, InFlight, Log};
use super::place::Place;
use super::refusals::{self, Voice, Worded};
use super::reply::{Reply, bad_request, broken_by_error, instead, refuse, refuse_as_ordered, send, whole};
use super::{anthropic, gemini, media, openai, responses};

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
    .on_connect(move |io, extensions| {
        extensions.insert(Connection::accept(
            stage.connections.fetch_add(1, Ordering::Relaxed) + 1,
            io,
        ));
    });
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

async fn answer_request(request: HttpRequest, payload: web::Payload, stage: web::Data<Stage>) -> Reply {
    let heard = hear(&request);
    let read = read_body(payload).await;
    if heard.address.place == Place::Log {
        return show_log(&request, &stage, &heard).await;
    }
    let (whole, cut_off) = match read {
        Ok(whole) => (whole, None),
        Err(why) => (Bytes::new(), Some(why)),
    };
    let json = as_json(&request, &whole);
    let (body, unread) = match read_fields(&json) {
        Ok(body) => (body, cut_off),
        Err(error) => (Body::default(), Some(unread_words(&error))),
    };
    let model = asked_model(&heard.address, &body);
    let faults = ordered(&heard, model.as_deref());
    let plan = Plan::read(&faults);
    let arrival = arrival(&request, &heard, whole.clone(), model.clone(), faults);
    let in_flight = stage.log.receive(arrival);
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(bad) => {
            let worded = bad_request(heard.voice, &heard.id, &bad.to_string());
            return refuse(&heard, in_flight, &worded).await;
        }
    };
    by_history(&stage, &heard, model.as_deref(), &mut plan);
    by_key(&heard, &mut plan);
    let order = Order {
        request: &request,
        heard: &heard,
        plan: &plan,
        model: model.as_deref(),
        body: &body,
        whole: &whole,
        unread,
    };
    order.obey(in_flight).await
}

/// What the prefix orders, then what the model's name orders.
fn ordered(heard: &Heard, model: Option<&str>) -> String {
    let by_prefix = heard.address.faults.as_str();
    match (by_prefix, model.map_or("", faults_of)) {
        ("", by_name) => by_name.to_owned(),
        (by_prefix, "") => by_prefix.to_owned(),
        (by_prefix, by_name) => [by_prefix, ",", by_name].concat(),
    }
}

/// A request that has been read, logged and planned for.
struct Order<'a> {
    request: &'a HttpRequest,
    heard: &'a Heard,
    plan: &'a Plan,
    model: Option<&'a str>,
    body: &'a Body<'a>,
    whole: &'a Bytes,
    /// Why the body could not be read.
    unread: Option<String>,
}

impl Order<'_> {
    async fn obey(&self, in_flight: InFlight) -> Reply {
        let (heard, plan) = (self.heard, self.plan);
        if !plan.slow_first_byte.is_zero() {
            sleep(plan.slow_first_byte).await;
        }
        match plan.instead {
            Some(Instead::Silence) => return std::future::pending().await,
            Some(Instead::Reset) => return die(self.request, in_flight, Ended::Reset),
            Some(Instead::Close) => return die(self.request, in_flight, Ended::Closed),
            Some(other) => return instead(heard, plan, in_flight, other).await,
            None => {}
        }
        let streams = streams(&heard.address.place, self.body);
        let comes_later = streams && matches!(plan.error_place, Some(ErrorPlace::After(_)));
        if let Some(refusal) = refusal(plan).filter(|_| !comes_later) {
            let worded = self.word(refusal);
            return refuse_as_ordered(heard, plan, in_flight, &worded, streams).await;
        }
        if let Some(why) = self.unread.clone().or_else(|| missing(heard, self.model)) {
            return refuse(heard, in_flight, &bad_request(heard.voice, &heard.id, &why)).await;
        }
        self.answer(in_flight).await
    }

    async fn answer(&self, mut in_flight: InFlight) -> Reply {
        let (heard, plan) = (self.heard, self.plan);
        let echo = || echo(self.request, heard, self.whole).into();
        let ask = Ask {
            path: &heard.path,
            query: &heard.query,
            model: self.name(),
            plan,
            body: self.body,
            body_len: self.whole.len(),
            text: if plan.echo { echo() } else { answer::text(plan) },
            id: &heard.id,
            created: seconds_now(),
        };
        let Some(answer) = answer(&ask, heard, self.request) else {
            return refuse(heard, in_flight, &self.word(Refusal::Status(404))).await;
        };
        let answer = match plan.error_place {
            Some(ErrorPlace::After(contents)) => {
                broken_by_error(heard, plan, answer, contents, &self.word_in_stream())
            }
            _ => answer,
        };
        if heard.head {
            // Of the body of an answer to HEAD the connection never asks.
            in_flight.end(Ended::Answered);
        }
        send(heard, plan, in_flight, StatusCode::OK, answer).await
    }

    fn name(&self) -> &str {
        self.model.unwrap_or("practice")
    }

    fn word(&self, refusal: Refusal) -> Worded {
        self.word_in(self.heard.voice, refusal)
    }

    /// In the midst of a stream; by default a server error.
    fn word_in_stream(&self) -> Worded {
        let voice = match self.plan.error_form {
            ErrorForm::OpenAi | ErrorForm::Chunk => Voice::OpenAi,
            ErrorForm::Own | ErrorForm::Unnamed | ErrorForm::Bare => self.heard.voice,
        };
        self.word_in(voice, refusal(self.plan).unwrap_or(Refusal::Status(500)))
    }

    fn word_in(&self, voice: Voice, refusal: Refusal) -> Worded {
        let heard = self.heard;
        refusals::word(
            voice,
            refusal,
            self.plan,
            self.name(),
            heard.key.as_deref(),
            &heard.id,
        )
    }
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
    let ends_in = |suffix: &String| heard.key.as_ref().is_some_and(|key| key.ends_with(suffix));
    if refused {
        plan.refusal = Some(Refusal::WrongKey);
    } else if plan.state_of.as_ref().is_some_and(|suffix| !ends_in(suffix)) {
        plan.refusal = Some(Refusal::ForeignState);
    }
}

fn refusal(plan: &Plan) -> Option<Refusal> {
    plan.refusal
        .or_else(|| plan.error_place.map(|_| Refusal::Status(500)))
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

fn seconds_now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// `GET` and `DELETE /practice/log`; neither is logged itself.
async fn show_log(request: &HttpRequest, stage: &Stage, heard: &Heard) -> Reply {
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
                &Worded::new(405, json!({"error": "GET or DELETE"})),
            )
            .await;
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
    .await
}
