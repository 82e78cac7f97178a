//! One request on its way: each question to the router, and what it has tried. Mirrors `actors::routing_handle`
//! (pick, miss, lookup, choice) and `relay::failover` (exclusions and rounds, without fallback models).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::ids::{ChannelId, GroupName, KeyId, ModelName};
use pointsman::routing::outcome::{Excludes, Next, Outcome};
use pointsman::routing::pick::{CoolingRule, Question};
use pointsman::routing::refusal::Refusal;
use pointsman::routing::remembered::StateId;
use pointsman::routing::router::{Found, Grant};
use pointsman::routing::tried::{Round, Tried};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::truth::Asked;
use crate::world::Version;

/// As in `actors::routing_handle`.
pub const LOOKUPS_A_PICK: u32 = 5;
/// The relay's defaults.
pub const RETRIES: u32 = 2;
pub const RETRY_WAIT: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_millis(100);
const MAX_ATTEMPTS: u32 = 16;

#[derive(Debug)]
pub struct Request {
    pub id: u64,
    pub node: usize,
    pub asked: Asked,
    pub groups: Arc<[GroupName]>,
    pub model: ModelName,
    pub hints: Hints,
    pub tried: Tried,
    /// The same as `tried` holds, kept apart for the oracle.
    pub own: Own,
    pub stage: Stage,
    pub counted: u32,
    pub attempts: u32,
    pub ask: Ask,
    pub at: At,
}

/// Where a question would rather go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// A conversation.
    pub affinity: Option<u64>,
    /// An earlier answer that it names.
    pub state: Option<StateId>,
}

/// What the request itself remembers of its tries.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pub never_channels: Vec<i64>,
    pub never_keys: Vec<i64>,
    pub resting_channels: Vec<(i64, Instant)>,
    pub resting_keys: Vec<(i64, Instant)>,
    pub second_round: bool,
}

/// One question to the router: a call of `Routing::pick`.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub serial: u32,
    pub version: Version,
    pub lookups: u32,
    pub lookup_failed: bool,
    /// Refused by a bound, not by a route.
    pub by_bound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Others,
    Again,
    WhateverThereIs,
}

#[derive(Debug)]
pub enum At {
    ToCache,
    ToQuery,
    /// Until then it is patient.
    LookingUp {
        until: Instant,
    },
    ToChoose(Option<Arc<Found>>),
    /// It has stood in line in vain: what there is now is the answer.
    ToChooseAtOnce(Option<Arc<Found>>),
    Waiting {
        until: Instant,
        found: Option<Arc<Found>>,
    },
    Leased {
        grant: Box<Grant>,
        has_spoken: bool,
    },
    Done,
}

impl Request {
    pub fn question(&self) -> Arc<Question> {
        Arc::new(Question {
            groups: Arc::clone(&self.groups),
            model: self.model.clone(),
            protocol: self.asked.protocol,
            tried: self.tried.clone(),
            affinity: self.hints.affinity,
            state: self.hints.state,
            cooling: match self.stage {
                Stage::Others | Stage::Again => CoolingRule::PassOver,
                Stage::WhateverThereIs => CoolingRule::SoonestDue,
            },
        })
    }

    /// `Failover::patience`.
    pub fn patience(&self, now: Instant) -> Option<Instant> {
        (self.stage != Stage::Others).then(|| now + RETRY_WAIT + GRACE)
    }

    /// The next question; `Routing::ask` begins.
    pub fn asks(&mut self, version: Version) {
        self.ask = Ask {
            serial: self.ask.serial + 1,
            version,
            lookups: 0,
            lookup_failed: false,
            by_bound: false,
        };
        self.at = At::ToCache;
    }

    /// `Failover::refused` and `next_model`; whether it asks again.
    pub fn refused(&mut self, refusal: &Refusal) -> bool {
        match self.stage {
            Stage::Others if self.tried.has_resting() => self.second_round(Stage::Again),
            Stage::Others | Stage::Again => {
                let is_worth_it = match refusal {
                    Refusal::Overloaded { .. } | Refusal::RateLimited { .. } => true,
                    _ => self.tried.has_resting(),
                };
                is_worth_it && self.second_round(Stage::WhateverThereIs)
            }
            Stage::WhateverThereIs => false,
        }
    }

    fn second_round(&mut self, stage: Stage) -> bool {
        self.tried.begin(Round::Second);
        self.own.second_round = true;
        self.stage = stage;
        self.attempts < MAX_ATTEMPTS
    }

    /// `Failover::failed`; whether it asks again.
    pub fn failed(&mut self, grant: &Grant, outcome: &Outcome, now: Instant, rng: &mut SmallRng) -> bool {
        self.exclude(grant, outcome, now, rng);
        self.attempts += 1;
        self.counted += u32::from(outcome.counts_against_retries());
        outcome.next() == Next::Elsewhere && self.counted <= RETRIES && self.attempts < MAX_ATTEMPTS
    }

    /// `Failover::exclude`.
    fn exclude(&mut self, grant: &Grant, outcome: &Outcome, now: Instant, rng: &mut SmallRng) {
        let channel = grant.picked.channel.id;
        let key = grant.picked.key.as_ref().map(|key| key.id);
        let again_at = self.again_at(grant, outcome, now, rng);
        match (outcome.excludes(), key, again_at) {
            (Excludes::Nothing, ..) => {}
            (Excludes::Key, Some(key), again_at) => self.exclude_key(key, again_at),
            (Excludes::Key, None, again_at) | (Excludes::Channel, _, again_at) => {
                self.exclude_channel(channel, again_at);
            }
        }
    }

    fn exclude_key(&mut self, key: KeyId, again_at: Option<Instant>) {
        match again_at {
            None => {
                self.tried.key(key);
                self.own.never_keys.push(key.0);
            }
            Some(due) => {
                self.tried.key_until(key, due);
                self.own.resting_keys.retain(|(known, _)| *known != key.0);
                self.own.resting_keys.push((key.0, due));
            }
        }
    }

    fn exclude_channel(&mut self, channel: ChannelId, again_at: Option<Instant>) {
        match again_at {
            None => {
                self.tried.channel(channel);
                self.own.never_channels.push(channel.0);
            }
            Some(due) => {
                self.tried.channel_until(channel, due);
                self.own.resting_channels.retain(|(known, _)| *known != channel.0);
                self.own.resting_channels.push((channel.0, due));
            }
        }
    }

    /// `Failover::again_at`.
    fn again_at(
        &self,
        grant: &Grant,
        outcome: &Outcome,
        now: Instant,
        rng: &mut SmallRng,
    ) -> Option<Instant> {
        if grant.probe || !outcome.is_lifted_in_second_round() {
            return None;
        }
        if let Some((wait, _)) = outcome.provider_word() {
            return (wait <= RETRY_WAIT).then(|| now + wait);
        }
        let first = Duration::from_millis(if matches!(outcome, Outcome::Busy { .. }) {
            1000
        } else {
            500
        });
        let rest = (first * (1 << self.counted.min(10))).min(RETRY_WAIT);
        Some(now + rest.mul_f64(rng.random_range(0.75..=1.0)))
    }
}

impl Own {
    /// Whether the request may not go there, by its own memory.
    pub fn bars(&self, channel: i64, key: Option<i64>, now: Instant) -> bool {
        let rests = |resting: &[(i64, Instant)], id: i64| {
            let due = resting
                .iter()
                .find(|(known, _)| *known == id)
                .map(|(_, due)| *due);
            due.is_some_and(|due| !self.second_round || due > now)
        };
        self.never_channels.contains(&channel)
            || rests(&self.resting_channels, channel)
            || key.is_some_and(|key| self.never_keys.contains(&key) || rests(&self.resting_keys, key))
    }

    /// Whether it has been there.
    pub fn knows(&self, channel: i64, key: Option<i64>) -> bool {
        let in_resting = |resting: &[(i64, Instant)], id: i64| resting.iter().any(|(known, _)| *known == id);
        self.never_channels.contains(&channel)
            || in_resting(&self.resting_channels, channel)
            || key.is_some_and(|key| self.never_keys.contains(&key) || in_resting(&self.resting_keys, key))
    }

    pub fn is_empty(&self) -> bool {
        self.never_channels.is_empty()
            && self.never_keys.is_empty()
            && self.resting_channels.is_empty()
            && self.resting_keys.is_empty()
    }
}
