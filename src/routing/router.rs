//! The router: snapshot, closings and health together, and every decision that the `CacheActor` drives.
//! The simulation and the model checker run this very code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rustc_hash::{FxHashMap, FxHashSet};

use super::build::Draft;
use super::closings::{Closed, Closing, Closings};
use super::health::{Granted, Health, HealthView, Learnt, LeaseId};
use super::ids::{ChannelId, Generation, Moment};
use super::met::{Met, Renewed};
use super::misses::Misses;
use super::open::WhyClosed;
use super::outcome::Outcome;
use super::pick::{Bars, Picked, Question, Shortage, Turns, pick};
use super::rebuilds::Scope;
use super::refusal::{Refusal, WaitsFor, busy, refusal};
use super::remembered::{Home, Remembered, StateId};
use super::snapshot::{Channel, Snapshot};

/// Everything that picks are made of on this node.
#[derive(Clone, Debug)]
pub struct Router {
    snapshot: Arc<Snapshot>,
    /// Channels that a lookup has shown since the snapshot has read them: what their leases report is of these.
    ahead: FxHashMap<ChannelId, Met>,
    closings: Closings,
    health: Health,
    misses: Misses,
    turns: KeyTurns,
    remembered: Remembered,
    last_lease: u64,
}

/// A channel and key for one attempt, to be reported on once.
#[derive(Clone, Debug)]
pub struct Grant {
    pub lease: LeaseId,
    pub picked: Picked,
    /// It finds out whether something that cooled works again: when it fails, its request goes elsewhere.
    pub probe: bool,
    /// Everything of its channel was well, and no other attempt can be waiting for its place.
    is_quiet: bool,
    pub generation: Generation,
}

impl Grant {
    /// An end in good order is no news to anybody: it may be told late, and its first event not at all.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// One that is told of nobody.
    pub fn detached(picked: Picked) -> Grant {
        Grant {
            lease: LeaseId(0),
            picked,
            probe: false,
            is_quiet: false,
            generation: Generation::default(),
        }
    }
}

/// The route that a lookup found, and when it began.
#[derive(Clone, Debug)]
pub struct Found {
    /// Everything that the database has for the model in the groups, built as a snapshot is.
    pub route: Arc<Snapshot>,
    pub began: Moment,
    /// A row that cannot be decoded might be open: a refusal must not speak for it (R7).
    pub maybe_open: bool,
}

/// Why an ability is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpen {
    /// There is no such ability.
    NoAbility,
    Channel(WhyClosed),
    /// The channel is open, but the ability is disabled or held.
    Ability,
    /// A row cannot be decoded, and no last good definition is known.
    Unreadable,
}

/// What becomes of a lookup's route.
#[derive(Debug)]
pub enum Chosen {
    Granted(Grant),
    Refused {
        refusal: Refusal,
        /// What may come all the same.
        waits_for: WaitsFor,
    },
    /// What the lookup read is older than what this node knows by now: ask again.
    Outdated,
}

/// A build that has ended well, not yet installed.
#[derive(Clone, Debug)]
pub struct Built {
    pub snapshot: Snapshot,
    pub scope: Scope,
    pub began: Moment,
}

impl Found {
    /// What a lookup's rows mean, with `last_good` standing in for rows that are bad.
    pub fn new(draft: Draft, last_good: &Snapshot, began: Moment) -> Found {
        let maybe_open = draft.doubt(last_good).maybe_open;
        let route = Arc::new(draft.snapshot(last_good, Generation::default(), began));
        Found {
            route,
            began,
            maybe_open,
        }
    }

    /// Whether the channel is open for (group, model), by its own status and keys and the ability's flags.
    pub fn is_open(&self, channel: ChannelId, group: &str, model: &str) -> Result<(), NotOpen> {
        if self.route.shows_open(channel, group, model) {
            return Ok(());
        }
        match self.route.channel(channel) {
            Some(known) if self.route.route(group, model).is_some() => match known.open() {
                Err(why) => Err(NotOpen::Channel(why)),
                Ok(()) => Err(NotOpen::Ability),
            },
            None if self.maybe_open => Err(NotOpen::Unreadable),
            _ => Err(NotOpen::NoAbility),
        }
    }
}

impl Built {
    /// What a build's rows mean, on top of the snapshot that was in place when it began.
    pub fn new(draft: Draft, base: &Snapshot, scope: Scope, generation: Generation, began: Moment) -> Built {
        let snapshot = match &scope {
            Scope::Everything => draft.snapshot(base, generation, began),
            Scope::Channels(ids) => draft.patch(base, ids.iter().copied(), generation, began),
        };
        Built {
            snapshot,
            scope,
            began,
        }
    }
}

impl Router {
    /// `probe_timeout`: see [`Health::new`].
    pub fn new(probe_timeout: Duration) -> Router {
        Router {
            snapshot: Arc::default(),
            ahead: FxHashMap::default(),
            closings: Closings::default(),
            health: Health::new(probe_timeout),
            misses: Misses::default(),
            turns: KeyTurns::default(),
            remembered: Remembered::default(),
            last_lease: 0,
        }
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// A pick from the snapshot. What it cannot answer is a miss, whatever the reason (R3).
    pub fn pick(&mut self, question: &Question, now: Instant, rng: &mut impl Rng) -> Result<Grant, Shortage> {
        let bars = Bars {
            closings: &self.closings,
            health: &self.health,
            now,
            read: None,
            home: question.state.and_then(|id| self.remembered.home(id)),
        };
        let picked = pick(&self.snapshot, question, &bars, &mut self.turns, rng)?;
        Ok(self.grant(picked, question, now))
    }

    /// A choice from the route that a lookup found; only here is a request refused. The snapshot is asked
    /// once more first: a build may have been installed since.
    pub fn choose(&mut self, question: &Question, found: &Found, now: Instant, rng: &mut impl Rng) -> Chosen {
        let known = match self.pick(question, now, rng) {
            Ok(grant) => return Chosen::Granted(grant),
            Err(shortage) => shortage,
        };
        let read = Some((found.began, &*self.snapshot));
        let bars = Bars {
            closings: &self.closings,
            health: &self.health,
            now,
            read,
            home: question.state.and_then(|id| self.remembered.home(id)),
        };
        match pick(&found.route, question, &bars, &mut self.turns, rng) {
            Ok(picked) => {
                let group = &picked.group;
                self.closings
                    .found_open(picked.channel.id, group, &question.model, found.began);
                self.meet(&picked.channel, found.began);
                Chosen::Granted(self.grant(picked, question, now))
            }
            Err(shortage) if shortage.superseded => Chosen::Outdated,
            Err(shortage) => {
                let refusal = refusal(&shortage, &known, !question.tried.is_empty(), now);
                // What cannot be read stands in the way of a refusal for want of a channel, and of no other.
                let for_want = matches!(
                    refusal,
                    Refusal::ModelNotFound | Refusal::NoAvailableChannel | Refusal::ProtocolNotServed
                );
                Chosen::Refused {
                    refusal: if for_want && found.maybe_open {
                        Refusal::RoutingUnavailable
                    } else {
                        refusal
                    },
                    waits_for: WaitsFor::of(&shortage.merged(&known), question.cooling),
                }
            }
        }
    }

    /// The answer when the lookup failed: the snapshot's own shortage stands if it has an open route that is
    /// only barred or full, else nothing is known (R3).
    pub fn without_database(&mut self, question: &Question, now: Instant, rng: &mut impl Rng) -> Chosen {
        let shortage = match self.pick(question, now, rng) {
            Ok(grant) => return Chosen::Granted(grant),
            Err(shortage) => shortage,
        };
        let refusal = if super::refusal::waits(&shortage) {
            busy(&shortage, now)
        } else if question.tried.is_empty() {
            Refusal::RoutingUnavailable
        } else {
            Refusal::Exhausted
        };
        Chosen::Refused {
            refusal,
            waits_for: WaitsFor::of(&shortage, question.cooling),
        }
    }

    /// An upstream keeps something under this name.
    pub fn remember(&mut self, id: StateId, home: Home) {
        self.remembered.remember(id, home);
    }

    /// The rebuild to ask for after a lookup has found what the snapshot lacks.
    pub fn wanted(&mut self, question: &Question, found: &Found, now: Instant) -> Option<Scope> {
        let model = question.model.as_str();
        let lacking = question.groups.iter().flat_map(|group| {
            let shown = self.snapshot.open_channels(group.as_str(), model);
            let route = found.route.route(group.as_str(), model);
            let channels = route.into_iter().flat_map(|route| route.candidates());
            channels
                .filter_map(|candidate| found.route.at(candidate.slot))
                .map(|channel| channel.id)
                .filter(|id| !shown.contains(id))
                .collect::<Vec<_>>()
        });
        let lacking: Vec<ChannelId> = lacking.collect();
        self.misses.found(lacking, found.began, now)
    }

    /// A commit has closed something: no later pick returns it (R10).
    pub fn close(&mut self, closings: impl IntoIterator<Item = Closing>) {
        for closing in closings {
            if let Closed::Key { channel, key } = closing.closed {
                self.health.forget_key(channel, Some(key));
            }
            self.closings.add(closing);
        }
    }

    /// A build is done: it replaces the snapshot, and what it frees is handed back, to be dropped elsewhere.
    #[must_use = "freeing a large snapshot takes long: do it off the actor"]
    pub fn install(&mut self, built: Built, now: Instant) -> Arc<Snapshot> {
        let Built {
            snapshot,
            scope,
            began,
        } = built;
        // First of all: should anything below panic, closings that outlast it bar nothing that was read after them,
        // while the old snapshot without them would serve what is closed.
        let snapshot = Arc::new(snapshot);
        let old = std::mem::replace(&mut self.snapshot, Arc::clone(&snapshot));
        self.closings
            .read_by_build(began, |channel| scope.covers(channel));
        self.misses.built(&snapshot, &scope, began);
        self.turns
            .0
            .retain(|channel, _| snapshot.channel(*channel).is_some());
        let ahead = &self.ahead;
        let is_ahead = |channel| ahead.get(&channel).is_some_and(|met| met.read > began);
        self.health.retain(|channel| {
            snapshot.channel(channel).is_some() || !scope.covers(channel) || is_ahead(channel)
        });
        self.health.tidy(now);
        self.forget_old_selves(&old);
        old
    }

    /// A lease is about to be given of a channel as a lookup has shown it.
    fn meet(&mut self, channel: &Channel, read: Moment) {
        let known = self.ahead.get(&channel.id).cloned();
        let known = known.or_else(|| {
            self.snapshot
                .channel(channel.id)
                .map(|known| Met::new(known, read))
        });
        let mut met = known.unwrap_or_else(|| Met::new(channel, read));
        self.forget_old_self(&mut met, channel, read);
        self.ahead.insert(channel.id, met);
    }

    fn forget_old_selves(&mut self, old: &Snapshot) {
        let snapshot = Arc::clone(&self.snapshot);
        let unwell = self.health.unwell_channels();
        let concerned: FxHashSet<ChannelId> = unwell.chain(self.ahead.keys().copied()).collect();
        for id in concerned {
            let (read, after) = (snapshot.read_at(id), snapshot.channel(id));
            let known = self.ahead.get(&id).cloned();
            let known = known.or_else(|| old.channel(id).map(|known| Met::new(known, read)));
            let (Some(mut met), Some(after)) = (known, after) else {
                continue;
            };
            self.forget_old_self(&mut met, after, read);
            if let Some(ahead) = self.ahead.get_mut(&id) {
                *ahead = met;
            }
        }
        self.ahead
            .retain(|channel, met| met.read > snapshot.read_at(*channel));
    }

    /// What a channel or key has shown before its status or secret was changed is no word on what it is now.
    fn forget_old_self(&mut self, met: &mut Met, channel: &Channel, read: Moment) {
        match met.meet(channel, read) {
            Renewed::Channel => self.health.forget(channel.id),
            Renewed::Keys(keys) => {
                for key in keys {
                    self.health.forget_key(channel.id, Some(key));
                }
            }
        }
    }

    /// The lease's first real event: what it probed is well again.
    pub fn first_event(&mut self, lease: LeaseId, now: Instant) -> Option<Learnt> {
        self.health.first_event(lease, now)
    }

    /// The lease's one report. Unknown leases, and those that have reported, are ignored.
    pub fn report(
        &mut self,
        lease: LeaseId,
        outcome: &Outcome,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Learnt> {
        self.health.report(lease, outcome, now, rng)
    }

    pub fn unwell(&self, now: Instant) -> Vec<HealthView> {
        self.health.unwell(now)
    }

    /// Leases that have not reported.
    pub fn leases(&self) -> usize {
        self.health.leases()
    }

    pub fn closings(&self) -> &Closings {
        &self.closings
    }

    fn grant(&mut self, picked: Picked, question: &Question, now: Instant) -> Grant {
        self.last_lease += 1;
        let lease = LeaseId(self.last_lease);
        let key = picked.key.as_ref().map(|key| key.id);
        let is_quiet = self.health.is_all_well(picked.channel.id)
            && picked.channel.spec.settings.max_in_flight.is_none();
        let Granted { probe } = self
            .health
            .granted(lease, picked.channel.id, key, &question.model, now);
        Grant {
            lease,
            picked,
            probe,
            is_quiet,
            generation: self.snapshot.generation(),
        }
    }
}

/// Whose turn it is among the keys of each channel that takes turns.
#[derive(Clone, Debug, Default)]
struct KeyTurns(FxHashMap<ChannelId, usize>);

impl Turns for KeyTurns {
    fn next(&mut self, channel: ChannelId) -> usize {
        let turn = self.0.entry(channel).or_default();
        *turn = turn.wrapping_add(1);
        *turn
    }
}

#[cfg(test)]
mod tests;
