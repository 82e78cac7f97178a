//! How did an attempt end? The one place where status, the upstream's words and transport become an [`Outcome`].
//! What the words of each provider mean is in `words`; `docs/routing.md` shows both as one table.
//!
//! Words count only where a status leaves it open: a 5xx is broken whatever it says. What closes a key or cools a
//! model for everybody must be said outright; a 4xx that says neither is the request's own.

mod words;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use self::words::Meaning;
use crate::protocol::UpstreamError;
use crate::protocol::retry_after::{reset_of_spent_limits, retry_after};
use crate::protocol::upstream_error::ErrorForm;
use crate::routing::outcome::{Breakage, Lack, Outcome};

/// Where an error stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An answer whose status is no 2xx.
    Status(u16),
    /// Inside a 200, or as an event of a stream.
    InAnswer,
}

/// Why there is no answer, or no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Connect,
    Tls,
    /// Closed or reset before the status line.
    Reset,
    /// No HTTP.
    Garbage,
    /// Broke off behind the status line.
    Cut,
    /// Not in time.
    Silent,
}

pub fn of_transport(transport: Transport) -> Outcome {
    match transport {
        Transport::Connect => Outcome::Broken(Breakage::Connect),
        Transport::Tls => Outcome::Broken(Breakage::Tls),
        Transport::Reset => Outcome::Broken(Breakage::Reset),
        Transport::Garbage => Outcome::Broken(Breakage::Garbage),
        Transport::Cut => Outcome::Broken(Breakage::Cut),
        Transport::Silent => Outcome::Silent,
    }
}

/// An answer that is an error, with its headers: what they say of when to come again counts too.
pub fn of_answer(error: &UpstreamError, place: Place, headers: &HeaderMap, now: SystemTime) -> Outcome {
    match of_error(error, place, retry_after(headers, Some(error), now)) {
        // The counters of a limit stand beside every answer: only where the limit is what failed do they say when
        // to come again. A server error of a key that is at its limit must not bar that key for hours.
        Outcome::Busy {
            status,
            retry_after: None,
        } => Outcome::Busy {
            status,
            retry_after: reset_of_spent_limits(headers, now),
        },
        outcome => outcome,
    }
}

/// `wait`: the provider's own word on when to come again.
pub fn of_error(error: &UpstreamError, place: Place, wait: Option<Duration>) -> Outcome {
    let meaning = words::meaning(error);
    let status = match place {
        Place::Status(status) => status,
        Place::InAnswer => error
            .status
            .filter(|status| *status >= 300)
            .unwrap_or_else(|| meaning.map_or(500, Meaning::status)),
    };
    let broken = || match place {
        Place::InAnswer if wait.is_none() => Outcome::Broken(Breakage::InAnswer),
        _ => Outcome::Broken(Breakage::Status {
            status,
            retry_after: wait,
        }),
    };
    let busy = || Outcome::Busy {
        status,
        retry_after: wait,
    };
    let refused = || Outcome::Refused {
        reason: reason(status, error),
    };
    match (status, meaning) {
        (402, _) => refused(),
        // A firewall's page, not the provider's word.
        (401 | 403, _) if error.form != ErrorForm::Error => broken(),
        (401, _) => refused(),
        (400 | 403 | 429, Some(Meaning::Account)) => refused(),
        (429 | 529, _) | (400 | 403, Some(Meaning::Limit)) => busy(),
        (408 | 500.. | 300..400, _) => broken(),
        (400..500, Some(Meaning::ForeignState)) => Outcome::NotHere(Lack::State),
        (400..500, Some(Meaning::Length)) => Outcome::TooLong,
        (400..500, Some(Meaning::Policy)) => Outcome::Filtered,
        (400..500, Some(Meaning::NoPath)) => Outcome::NotHere(Lack::Path),
        (400 | 403 | 404 | 422, Some(Meaning::NoModel)) => Outcome::NotHere(Lack::Model),
        (400..500, Some(Meaning::Request)) => Outcome::BadRequest,
        // Whatever it names, it is this account's right to it that is missing: a sibling may have it.
        (403, _) => Outcome::NotHere(Lack::Model),
        // Whoever lacks a model says so. This may be a path that the upstream does not have, or a thing that the
        // request names: neither speaks against the model.
        (404 | 405, _) => Outcome::NotHere(Lack::Path),
        (400..500, _) => Outcome::BadRequest,
        _ => broken(),
    }
}

/// The status that an error inside a 200 gets (R4).
pub fn status_of(outcome: &Outcome) -> u16 {
    match outcome {
        Outcome::Busy { .. } => 429,
        Outcome::Broken(_) => 502,
        Outcome::Silent => 504,
        Outcome::Ok
        | Outcome::Refused { .. }
        | Outcome::NotHere(_)
        | Outcome::TooLong
        | Outcome::Filtered
        | Outcome::BadRequest
        | Outcome::Gone => 400,
    }
}

/// Kept in the key's row. Never the message: providers quote parts of the key in it.
fn reason(status: u16, error: &UpstreamError) -> Arc<str> {
    let word = [&error.reason, &error.code, &error.kind]
        .into_iter()
        .flatten()
        .next();
    let plain = |word: &&String| {
        word.len() <= 64
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match word.filter(plain) {
        Some(word) => format!("{status} {word}").into(),
        None => status.to_string().into(),
    }
}

#[cfg(test)]
mod tests;
