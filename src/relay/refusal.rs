//! Why there is no answer (R4): our own errors, their status, and whether a repeat can help.

use std::time::Duration;

use http::StatusCode;

use super::answer::Answer;
use super::counters;
use crate::protocol::{ErrorAnswer, Protocol};
use crate::routing::outcome::Outcome;
use crate::routing::refusal::{NO_CHANNEL_RETRY_AFTER, Refusal};

/// The SDKs ignore a longer `Retry-After` and would repeat at once.
const LONGEST_OBEYED: Duration = Duration::from_secs(60);
/// For `overloaded` where nothing is known to be due: places free up in seconds.
const OVERLOADED_RETRY_AFTER: Duration = Duration::from_secs(1);
/// For a database that is away.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What a client gets for the router's refusal; `model` is the one that it asked for.
pub fn of_router(refusal: &Refusal, model: &str) -> ErrorAnswer {
    let code = refusal.code();
    match refusal {
        Refusal::ModelNotFound => {
            let message = format!("the model `{model}` does not exist or this token has no access to it");
            ErrorAnswer::new(StatusCode::NOT_FOUND, code, message)
        }
        Refusal::NoAvailableChannel => {
            let message = format!("no channel is open for the model `{model}` just now");
            ErrorAnswer::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
                .retry_after(NO_CHANNEL_RETRY_AFTER)
        }
        Refusal::ProtocolNotServed => {
            let message = format!("the model `{model}` is not served in this protocol");
            ErrorAnswer::new(StatusCode::NOT_FOUND, code, message)
        }
        Refusal::Overloaded { retry_after } => {
            let message = "all channels are busy; try again shortly";
            ErrorAnswer::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
                .retry_after(retry_after.unwrap_or(OVERLOADED_RETRY_AFTER))
        }
        Refusal::RateLimited { status, retry_after } => {
            let status = match status {
                503 => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::TOO_MANY_REQUESTS,
            };
            let message = format!("every upstream of the model `{model}` asks to be left alone for a while");
            ErrorAnswer::new(status, code, message).retry_after(*retry_after)
        }
        Refusal::RoutingUnavailable => {
            let message = "the routing database cannot be reached";
            ErrorAnswer::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
                .retry_after(UNAVAILABLE_RETRY_AFTER)
        }
        // Only after an attempt, whose own error then goes to the client.
        Refusal::Exhausted => of_attempt(&Outcome::Broken(crate::routing::outcome::Breakage::Reset)),
    }
}

/// What a client gets for an attempt that left no answer that could be passed on.
pub fn of_attempt(outcome: &Outcome) -> ErrorAnswer {
    match outcome {
        Outcome::Refused { .. } => {
            let message = "the upstream does not accept this relay's account";
            ErrorAnswer::new(StatusCode::BAD_GATEWAY, "upstream_refused", message)
        }
        Outcome::Silent => {
            let message = "the upstream did not answer in time";
            ErrorAnswer::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
        }
        Outcome::BadRequest => {
            let message = "the request's body cannot be brought into the form that the channel asks for";
            ErrorAnswer::new(StatusCode::BAD_REQUEST, "invalid_request", message)
        }
        Outcome::Ok
        | Outcome::Busy { .. }
        | Outcome::Broken(_)
        | Outcome::NotHere(_)
        | Outcome::TooLong
        | Outcome::Filtered
        | Outcome::Gone => {
            let message = "the upstream could not be reached or broke off its answer";
            ErrorAnswer::new(StatusCode::BAD_GATEWAY, "upstream_failed", message)
        }
    }
}

pub fn model_not_allowed(model: &str) -> ErrorAnswer {
    let message = format!("this token may not use the model `{model}`");
    ErrorAnswer::new(StatusCode::FORBIDDEN, "model_not_allowed", message)
}

/// Whether the same request, sent again, could fare better.
fn a_repeat_can_mend(error: &ErrorAnswer) -> bool {
    let waits_too_long = error.retry_after.is_some_and(|wait| wait > LONGEST_OBEYED);
    let passes = error.status.is_server_error()
        || matches!(
            error.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    passes && !waits_too_long && error.code != "upstream_refused"
}

/// Our error as an answer in the client's protocol.
pub fn answer(error: ErrorAnswer, protocol: Protocol, request_id: &str) -> Answer {
    counters::REFUSALS.with_label_values(&[error.code.as_ref()]).inc();
    let error = error.request_id(request_id);
    let mut answer = Answer::json(error.status, error.body(protocol));
    if let Some(seconds) = error.retry_after_seconds() {
        answer.set("retry-after", &seconds.to_string());
    }
    if !a_repeat_can_mend(&error) {
        forbid_repeat(&mut answer);
    }
    answer
}

/// Whether an upstream's own error is one that a repeat, as soon as the SDKs make it, cannot mend.
pub fn is_final(outcome: &Outcome) -> bool {
    let waits_too_long = outcome
        .provider_word()
        .is_some_and(|(wait, _)| wait > LONGEST_OBEYED);
    let of_the_request = matches!(
        outcome,
        Outcome::NotHere(_) | Outcome::TooLong | Outcome::Filtered | Outcome::BadRequest
    );
    waits_too_long || of_the_request
}

/// The SDKs of OpenAI and Anthropic obey it; they would repeat every 408, 409, 429 and 5xx twice.
pub fn forbid_repeat(answer: &mut Answer) {
    answer.set("x-should-retry", "false");
}
