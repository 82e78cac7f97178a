//! Why a request gets no channel (R4): told from what the database had, never from what the cache lacked.

use std::time::{Duration, Instant};

use super::pick::{CoolingRule, Shortage};
use super::waiters::Event;

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
        (None, Some((due, status))) if !shortage.full && shortage.probed_until.is_none() => {
            Refusal::RateLimited {
                status,
                retry_after: due.saturating_duration_since(now),
            }
        }
        (Some(due), _) => Refusal::Overloaded {
            retry_after: Some(due.saturating_duration_since(now)),
        },
        (None, _) => Refusal::Overloaded { retry_after: None },
    }
}

/// Whether the route has something that can be waited for.
pub fn waits(shortage: &Shortage) -> bool {
    shortage.full
        || shortage.probed_until.is_some()
        || shortage.cooling_until.is_some()
        || shortage.barred.is_some()
}

/// What a request may wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitsFor {
    /// A place at a channel that is full.
    pub place: bool,
    /// The first real event of a probe, or its end.
    pub probe: bool,
    /// The moment from which a channel may be tried, as far as anybody knows.
    pub due: Option<Instant>,
}

impl WaitsFor {
    /// What a question of this rule waits for. One that passes over what cools has other models to go on to: it
    /// waits for nothing but its own rest.
    pub fn of(shortage: &Shortage, rule: CoolingRule) -> WaitsFor {
        match rule {
            CoolingRule::PassOver => WaitsFor {
                due: shortage.resting,
                ..WaitsFor::default()
            },
            CoolingRule::SoonestDue => {
                let barred = shortage.barred.map(|(due, _)| due);
                WaitsFor {
                    place: shortage.full,
                    probe: shortage.probed_until.is_some(),
                    // A claim that ends by itself is told by nobody.
                    due: [
                        shortage.resting,
                        barred,
                        shortage.cooling_until,
                        shortage.probed_until,
                    ]
                    .into_iter()
                    .flatten()
                    .min(),
                }
            }
        }
    }

    /// Whether there is anything to wait for.
    pub fn may_come(&self) -> bool {
        *self != WaitsFor::default()
    }

    /// Whether it may come by then.
    pub fn is_worth_a_wait(&self, until: Instant) -> bool {
        self.place || self.probe || self.due.is_some_and(|due| due <= until)
    }

    pub fn is_ended_by(&self, event: Event) -> bool {
        match event {
            Event::Place => self.place,
            Event::Probed => self.place || self.probe,
            Event::Time(now) => self.due.is_some_and(|due| due <= now),
            Event::Anything => true,
        }
    }
}
