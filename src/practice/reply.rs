//! How an answer or a refusal becomes the reply that the connection sends.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Event, Framing, Part};
use super::faults::{Coding, ErrorForm, ErrorPlace, Instead, Plan, RetryAfter};
use super::gemini;
use super::heard::Heard;
use super::log::InFlight;
use super::place::Place;
use super::refusals::{self, Voice, Worded};
use super::sending::{Sending, Step, compress, compress_steps, plain_steps, stream_steps};

/// An answer that the log follows to its end.
pub type Reply = HttpResponse<Sending>;

/// What is sent in place of an answer.
pub async fn instead(heard: &Heard, plan: &Plan, in_flight: InFlight, what: Instead) -> Reply {
    const PAGE: &str = "<!DOCTYPE html><html><head><title>Attention Required!</title></head><body>\
        <h1>Sorry, you have been blocked</h1></body></html>\n";
    let html = "text/html; charset=utf-8";
    match what {
        Instead::Firewall => whole(heard, plan, in_flight, 403, html, PAGE.into(), &[]).await,
        Instead::Redirect => {
            let location = [("location", "/practice/elsewhere".to_owned())];
            whole(heard, plan, in_flight, 302, html, "".into(), &location).await
        }
        Instead::Huge(bytes) => huge(heard, plan, in_flight, bytes),
        Instead::Garbage | Instead::Silence | Instead::Reset | Instead::Close => {
            let bytes = Bytes::from_static(b"\x00\x01\xfe\xff<<<< this is no JSON >>>>\n");
            whole(heard, plan, in_flight, 200, "application/json", bytes, &[]).await
        }
    }
}

/// A JSON string of so many letters, without holding them all.
fn huge(heard: &Heard, plan: &Plan, in_flight: InFlight, bytes: u64) -> Reply {
    static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX - 2);
    let piece = Bytes::from_static(&PIECE);
    let mut steps = VecDeque::from([Step::send(&b"\""[..])]);
    steps.extend((0..bytes / PIECE.len()).map(|_| Step::send(piece.clone())));
    steps.push_back(Step::send(piece.slice(..bytes % PIECE.len())));
    steps.push_back(Step::send(&b"\""[..]));
    in_flight.status(200);
    let sending = Sending::sized(in_flight, steps, bytes + 2);
    reply(heard, plan, StatusCode::OK, "application/json", &[], sending)
}

/// One body with these headers.
pub async fn whole(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    status: u16,
    content_type: &str,
    mut body: Bytes,
    extra: &[(&str, String)],
) -> Reply {
    let mut extra = extra.to_vec();
    if let Some(coding) = plan.coding
        && let Ok(coded) = compress(coding, &body).await
    {
        body = coded;
        extra.push(coding_header(coding));
    }
    in_flight.status(status);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let sending = Sending::sized(in_flight, plain_steps(plan, &body), body.len());
    reply(heard, plan, status, content_type, &extra, sending)
}

/// 400 in the protocol's shape.
pub fn bad_request(voice: Voice, id: &str, why: &str) -> Worded {
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
pub async fn refuse(heard: &Heard, in_flight: InFlight, worded: &Worded) -> Reply {
    refuse_plainly(heard, &Plan::default(), in_flight, worded, worded.status).await
}

/// A refusal where the plan places it: as status, hidden in a 200, or as first event.
pub async fn refuse_as_ordered(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    worded: &Worded,
    streams: bool,
) -> Reply {
    let hidden = worded.status == 200;
    match plan.error_place {
        Some(ErrorPlace::FirstEvent) if streams => {}
        None if hidden && streams => {}
        Some(_) => return refuse_plainly(heard, plan, in_flight, worded, 200).await,
        None => return refuse_plainly(heard, plan, in_flight, worded, worded.status).await,
    }
    let answer = Answer::Stream {
        framing: framing(heard),
        events: vec![formed(heard, plan, &worded.body, 0)],
    };
    let unbroken = Plan {
        breaks: None,
        malformed: None,
        ..plan.clone()
    };
    send(heard, &unbroken, in_flight, StatusCode::OK, answer).await
}

/// The answer's first content events, and the refusal in place of the rest.
pub fn broken_by_error(heard: &Heard, plan: &Plan, answer: Answer, after: u64, worded: &Worded) -> Answer {
    let Answer::Stream { framing, mut events } = answer else {
        return answer;
    };
    let mut contents = 0;
    let behind = |event: &Event| {
        contents += u64::from(event.part == Part::Content);
        contents >= after || event.part == Part::Finish
    };
    let last = events.iter().position(behind).map_or(events.len(), |at| at + 1);
    events.truncate(last);
    if events.last().is_some_and(|event| event.part == Part::Finish) {
        // An answer shorter than the order says is broken all the same, before its end.
        events.pop();
    }
    events.push(formed(heard, plan, &worded.body, events.len()));
    Answer::Stream { framing, events }
}

/// The error event in the form that is ordered; `number`: its own, from 0.
fn formed(heard: &Heard, plan: &Plan, body: &Value, number: usize) -> Event {
    match plan.error_form {
        ErrorForm::Own => error_event(heard, body, number),
        ErrorForm::Unnamed => Event::new(Part::Frame, error_event(heard, body, number).data),
        ErrorForm::OpenAi => Event::new(Part::Frame, body),
        ErrorForm::Bare => Event::new(Part::Bare, body),
        ErrorForm::Chunk => {
            let mut chunk = body.clone();
            chunk["id"] = format!("gen-{}", heard.id).into();
            chunk["object"] = "chat.completion.chunk".into();
            let delta = json!({"role": "assistant", "content": ""});
            chunk["choices"] = json!([{"index": 0, "delta": delta, "finish_reason": "error",
                "native_finish_reason": "error"}]);
            Event::new(Part::Frame, chunk)
        }
    }
}

fn framing(heard: &Heard) -> Framing {
    if heard.voice == Voice::Gemini {
        gemini::framing(&heard.query)
    } else {
        Framing::Sse
    }
}

fn error_event(heard: &Heard, body: &Value, number: usize) -> Event {
    match (heard.voice, &heard.address.place) {
        (Voice::Anthropic, _) => Event::named(Part::Frame, "error", body),
        (Voice::OpenAi, Place::Responses) => {
            let error = body.get("error").unwrap_or(body);
            let field = |name: &str| error.get(name).cloned().unwrap_or(Value::Null);
            let data = json!({
                "type": "error", "code": field("code"), "message": field("message"), "param": field("param"),
                "sequence_number": number});
            Event::named(Part::Frame, "error", data)
        }
        _ => Event::new(Part::Frame, body),
    }
}

async fn refuse_plainly(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    worded: &Worded,
    status: u16,
) -> Reply {
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
    .await
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

/// An answer, coded and broken as the plan says.
pub async fn send(
    heard: &Heard,
    plan: &Plan,
    in_flight: InFlight,
    status: StatusCode,
    answer: Answer,
) -> Reply {
    match answer {
        Answer::Plain { content_type, body } => {
            whole(heard, plan, in_flight, status.as_u16(), content_type, body, &[]).await
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
            in_flight.status(status.as_u16());
            let mut extra = vec![("cache-control", "no-cache".to_owned())];
            extra.extend(plan.coding.map(coding_header));
            reply(
                heard,
                plan,
                status,
                content_type,
                &extra,
                Sending::open(in_flight, steps),
            )
        }
    }
}

fn coding_header(coding: Coding) -> (&'static str, String) {
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Zstd => "zstd",
    };
    ("content-encoding", name.to_owned())
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
    for (name, value) in &plan.headers {
        builder.append_header((name.as_str(), value.as_str()));
    }
    builder
        .message_body(sending)
        .expect("headers were checked when the plan was read")
}
