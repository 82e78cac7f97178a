//! Why a request gets no channel (R4): told from what the database had, never from what the cache lacked.

use std::time::{Duration, Instant};

use super::pick::Shortage;

/// The router's own refusals, by the names that clients see in `error.code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No ability for the model in any of the groups.
    ModelNotFound,
    /// Abilities, but none open.
    NoAvailableChannel,
    /// Open, but none speaks the protocol.
    ProtocolNotServed,
    /// Open, but everything is taken, or being probed, or too many ask at once.
    Overloaded { retry_after: Option<Duration> },
    /// All open channels cool by their provider's own word: its status, and what remains of the wait.
    RateLimited { status: u16, retry_after: Duration },
    /// The database could not be asked.
    RoutingUnavailable,
    /// Every open channel was tried: the answer is the last upstream's own error.
    Exhausted,
}

/// For a refusal that names no time of its own: channels are opened by people and by tests, in minutes.
pub const NO_CHANNEL_RETRY_AFTER: Duration = Duration::from_secs(10);

impl Refusal {
    /// The name in `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::ModelNotFound => "model_not_found",
            Refusal::NoAvailableChannel => "no_available_channel",
            Refusal::ProtocolNotServed => "protocol_not_served",
            Refusal::Overloaded { .. } => "overloaded",
            Refusal::RateLimited { .. } => "rate_limited",
            Refusal::RoutingUnavailable => "routing_unavailable",
            Refusal::Exhausted => "exhausted",
        }
    }
}

/// What to answer when a lookup's route, after the snapshot's, gave nothing. `shortage` is the lookup's;
/// `known` is the snapshot's, whose full and cooling channels the lookup leaves to it.
pub fn refusal(shortage: &Shortage, known: &Shortage, has_tried: bool, now: Instant) -> Refusal {
    if !shortage.has_ability {
        return if has_tried {
            Refusal::Exhausted
        } else {
            Refusal::ModelNotFound
        };
    }
    if has_tried && !waits(shortage) && !waits(known) {
        return Refusal::Exhausted;
    }
    if !shortage.open {
        return Refusal::NoAvailableChannel;
    }
    if !shortage.speaks {
        return Refusal::ProtocolNotServed;
    }
    busy(&shortage.merged(known), now)
}

/// The answer for a route that is open but full, cooling or barred: also when the lookup failed, as what
/// the snapshot has is open for all we know (R3).
pub fn busy(shortage: &Shortage, now: Instant) -> Refusal {
    match (shortage.cooling_until, shortage.barred) {
        (None, Some((due, status))) if !shortage.full => Refusal::RateLimited {
            status,
            retry_after: due.saturating_duration_since(now),
        },
        (Some(due), _) => Refusal::Overloaded {
            retry_after: Some(due.saturating_duration_since(now)),
        },
        (None, _) => Refusal::Overloaded { retry_after: None },
    }
}

/// Whether the route has something that can be waited for.
pub fn waits(shortage: &Shortage) -> bool {
    shortage.full || shortage.cooling_until.is_some() || shortage.barred.is_some()
}
