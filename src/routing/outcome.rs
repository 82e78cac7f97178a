//! How an attempt can end, and what follows of it for the request: section by section the table that
//! `docs/routing.md` shows. What follows for health is told by `health`.

use std::sync::Arc;
use std::time::Duration;

/// How one try of one request at one channel with one key ended. Decided in one place, reported by the
/// lease exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// A complete answer.
    Ok,
    /// The provider has no room for this key and model just now: 429, 529, a quota per minute.
    Busy {
        /// The status that the provider gave; for an error inside a 200, the one that it stands for.
        status: u16,
        /// The provider's own word on when to come again; `None`: it said nothing.
        retry_after: Option<Duration>,
    },
    /// The upstream, or the way to it, does not work.
    Broken(Breakage),
    /// No first byte, first token or next chunk in time.
    Silent,
    /// The provider does not accept this key or account. The reason is kept in the key's row and must
    /// never quote the secret.
    Refused { reason: Arc<str> },
    /// This upstream lacks what was asked for; another may have it.
    NotHere(Lack),
    /// The model's context is too small for this request.
    TooLong,
    /// The provider's content policy; never routed around.
    Filtered,
    /// Any other 4xx: the request itself is wrong.
    BadRequest,
    /// The client hung up.
    Gone,
}

/// In which way an upstream was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// An answer whose status says so: 5xx, 408, 3xx, or a 401 or 403 that is a firewall's page.
    Status {
        status: u16,
        /// A `Retry-After` beside a 503 is the provider's own word as much as one beside a 429.
        retry_after: Option<Duration>,
    },
    /// An error that stood inside a 200, or came as an event of a stream.
    InAnswer,
    /// No connection: name, address, port, proxy, or not in time.
    Connect,
    /// No TLS with it.
    Tls,
    /// The connection was closed or reset before an answer began.
    Reset,
    /// An answer that is none: not the protocol's JSON, or too large.
    Garbage,
    /// The answer began and ended before its end.
    Cut,
}

impl Breakage {
    /// A status without a word on when to come again.
    pub fn status(status: u16) -> Breakage {
        Breakage::Status {
            status,
            retry_after: None,
        }
    }

    /// Whether it concerns every key and model of the channel, as the connection is the same for all.
    pub fn is_of_whole_channel(self) -> bool {
        match self {
            Breakage::Connect | Breakage::Tls | Breakage::Reset => true,
            Breakage::Status { .. } | Breakage::InAnswer | Breakage::Garbage | Breakage::Cut => false,
        }
    }
}

/// What an upstream lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The model or deployment, also by region: the next request for it fails in the same way.
    Model,
    /// The path, or the model by this path (`/v1/responses` at an upstream that has none): by others the
    /// model may be well.
    Path,
    /// State that lives in another account (`invalid_encrypted_content`, unknown
    /// `previous_response_id`, another's file): true of this one request only.
    State,
}

/// What the rest of the request keeps away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excludes {
    Nothing,
    /// This key; the channel too when it has no other key left.
    Key,
    Channel,
}

/// What the request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The answer is complete.
    Done,
    /// Another key or channel may serve the same model.
    Elsewhere,
    /// The same model will not do anywhere; a fallback model may.
    OtherModel,
    /// The client gets the upstream's error as it is.
    PassOn,
    /// Nobody is waiting any more.
    Stop,
}

impl Outcome {
    /// The word for it in logs, metrics and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Busy { .. } => "busy",
            Outcome::Broken(_) => "broken",
            Outcome::Silent => "silent",
            Outcome::Refused { .. } => "refused",
            Outcome::NotHere(_) => "not_here",
            Outcome::TooLong => "too_long",
            Outcome::Filtered => "filtered",
            Outcome::BadRequest => "bad_request",
            Outcome::Gone => "gone",
        }
    }

    /// R2: `busy` and `refused` speak of a key, and so does an account that has not the state: another key
    /// may be of the account that has it. Every other failure is of the channel.
    pub fn excludes(&self) -> Excludes {
        match self {
            Outcome::Ok | Outcome::Gone => Excludes::Nothing,
            Outcome::Busy { .. } | Outcome::Refused { .. } | Outcome::NotHere(Lack::State) => Excludes::Key,
            Outcome::Broken(_)
            | Outcome::Silent
            | Outcome::NotHere(Lack::Model | Lack::Path)
            | Outcome::TooLong
            | Outcome::Filtered
            | Outcome::BadRequest => Excludes::Channel,
        }
    }

    /// Where the request goes from here, budget permitting.
    pub fn next(&self) -> Next {
        match self {
            Outcome::Ok => Next::Done,
            Outcome::Busy { .. }
            | Outcome::Broken(_)
            | Outcome::Silent
            | Outcome::Refused { .. }
            | Outcome::NotHere(_) => Next::Elsewhere,
            Outcome::TooLong => Next::OtherModel,
            Outcome::Filtered | Outcome::BadRequest => Next::PassOn,
            Outcome::Gone => Next::Stop,
        }
    }

    /// Whether the same model may be tried at another key or channel.
    pub fn may_retry_elsewhere(&self) -> bool {
        self.next() == Next::Elsewhere
    }

    /// Whether the second round may come back to where this happened, when nothing else is left. A
    /// half-open probe that failed is not come back to all the same: the lease knows that it was one.
    pub fn is_lifted_in_second_round(&self) -> bool {
        matches!(self, Outcome::Busy { .. } | Outcome::Broken(_))
    }

    /// Whether the next try is one of `--retries`. A dead key or a missing model costs the upstream
    /// nothing, so ten of them must not use up the tries that a well channel would have had.
    pub fn counts_against_retries(&self) -> bool {
        match self {
            Outcome::Refused { .. } | Outcome::NotHere(_) => false,
            Outcome::Busy { .. } | Outcome::Broken(_) | Outcome::Silent => true,
            Outcome::Ok | Outcome::TooLong | Outcome::Filtered | Outcome::BadRequest | Outcome::Gone => false,
        }
    }

    /// The provider's own word on when to come again, and the status under which it gave it.
    pub fn provider_word(&self) -> Option<(Duration, u16)> {
        match self {
            Outcome::Busy { status, retry_after }
            | Outcome::Broken(Breakage::Status { status, retry_after }) => {
                retry_after.map(|wait| (wait, *status))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_of_each_outcome() {
        use Excludes::{Channel, Key, Nothing};
        use Next::{Done, Elsewhere, OtherModel, PassOn, Stop};
        let busy = Outcome::Busy {
            status: 429,
            retry_after: None,
        };
        let refused = Outcome::Refused { reason: "401".into() };
        //                                     excludes  next        counts  second round
        check(Outcome::Ok, "ok", Nothing, Done, false, false);
        check(busy, "busy", Key, Elsewhere, true, true);
        for breakage in [
            Breakage::status(500),
            Breakage::InAnswer,
            Breakage::Connect,
            Breakage::Tls,
            Breakage::Reset,
            Breakage::Garbage,
            Breakage::Cut,
        ] {
            check(
                Outcome::Broken(breakage),
                "broken",
                Channel,
                Elsewhere,
                true,
                true,
            );
        }
        check(Outcome::Silent, "silent", Channel, Elsewhere, true, false);
        check(refused, "refused", Key, Elsewhere, false, false);
        for (lack, excludes) in [(Lack::Model, Channel), (Lack::Path, Channel), (Lack::State, Key)] {
            let outcome = Outcome::NotHere(lack);
            check(outcome, "not_here", excludes, Elsewhere, false, false);
        }
        check(Outcome::TooLong, "too_long", Channel, OtherModel, false, false);
        check(Outcome::Filtered, "filtered", Channel, PassOn, false, false);
        check(Outcome::BadRequest, "bad_request", Channel, PassOn, false, false);
        check(Outcome::Gone, "gone", Nothing, Stop, false, false);
    }

    fn check(outcome: Outcome, word: &str, excludes: Excludes, next: Next, counts: bool, second: bool) {
        assert_eq!(outcome.word(), word);
        assert_eq!(outcome.excludes(), excludes, "{word}");
        assert_eq!(outcome.next(), next, "{word}");
        assert_eq!(outcome.may_retry_elsewhere(), next == Next::Elsewhere, "{word}");
        assert_eq!(outcome.counts_against_retries(), counts, "{word}");
        assert_eq!(outcome.is_lifted_in_second_round(), second, "{word}");
    }

    #[test]
    fn connect_tls_and_reset_are_of_the_whole_channel() {
        for breakage in [Breakage::Connect, Breakage::Tls, Breakage::Reset] {
            assert!(breakage.is_of_whole_channel());
        }
        for breakage in [
            Breakage::status(502),
            Breakage::InAnswer,
            Breakage::Garbage,
            Breakage::Cut,
        ] {
            assert!(!breakage.is_of_whole_channel());
        }
    }

    #[test]
    fn a_retry_after_beside_a_503_is_the_providers_word_too() {
        let wait = Some(Duration::from_secs(7));
        let busy = Outcome::Busy {
            status: 429,
            retry_after: wait,
        };
        let broken = Outcome::Broken(Breakage::Status {
            status: 503,
            retry_after: wait,
        });
        assert_eq!(busy.provider_word(), Some((Duration::from_secs(7), 429)));
        assert_eq!(broken.provider_word(), Some((Duration::from_secs(7), 503)));
        assert_eq!(Outcome::Broken(Breakage::status(503)).provider_word(), None);
        assert_eq!(Outcome::Silent.provider_word(), None);
    }
}
