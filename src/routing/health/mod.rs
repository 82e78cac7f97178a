//! What attempts have lately shown of each channel's key for one model: streaks, cooling, half-open.
//!
//! State is kept only for what is not well, and for leases in flight. A failure marks a [`Part`] of a
//! channel, and a pick is told the worst of the parts that it would touch:
//!
//! | outcome | part | cools |
//! |---|---|---|
//! | `busy` | key for model | at once: the provider's word as floor, else growing 1 s to 1 min |
//! | `broken` | key for model | after 3 in a row, or half of at least 5 in 30 s: 2 s to 15 s; at once by a provider's word |
//! | `broken` by connect, TLS, reset | whole channel | as above |
//! | `silent` | key for model | as above: 2 s to 2 min |
//! | `not_here` for want of the model | model, all keys | at once: 1 min to 10 min |
//! | `refused` | key, all models | at once: 10 min, until its closing has committed |
//!
//! What follows a cooling is half-open: one probe at a time for a model (for the whole channel where that
//! is what cooled). An `ok` of a lease granted after the cooling began ends streak, cooling and doubling.
//! The first real event, or a well-formed 4xx, shows that the upstream lives: it ends streak and cooling,
//! but the doubling is remembered a while. Order is that of grants and reports, not of the clock: whoever
//! was granted before a cooling began neither ends nor lengthens it, and whoever was granted before the
//! lease that ended it can no longer bring it back.

mod cooling;
mod evidence;
mod leases;
mod mark;
mod standing;
mod unwell;
mod view;
mod window;

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's time has to start somewhere")]
mod tests;

use std::time::{Duration, Instant};

use rand::Rng;
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::ids::{ChannelId, KeyId, ModelName};
use super::outcome::Outcome;
use cooling::LONGEST_BELIEF;
use evidence::{Blow, Evidence};
use leases::{Leased, Leases, Order};
use mark::Mark;
pub use standing::{Standing, Word};
use unwell::{Part, Unwell};
pub use view::{HealthPart, HealthState, HealthView};

/// One picked channel and key, until it has reported. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct LeaseId(pub u64);

/// What a grant has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// This lease probes something that is not well. When it fails, its request does not come back here.
    pub probe: bool,
}

/// What a lease's word has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learnt {
    pub channel: ChannelId,
    /// Something cools by this, until then.
    pub cooled_until: Option<Instant>,
    /// A cooling or half-open state has ended: those who wait may all go.
    pub recovered: bool,
    /// A claim has ended: the next of those who wait may probe.
    pub probe_ended: bool,
}

/// Every channel's health on this node.
#[derive(Clone, Debug)]
pub struct Health {
    probe_timeout: Duration,
    unwell: FxHashMap<ChannelId, Unwell>,
    leases: Leases,
}

impl Health {
    /// `probe_timeout`: after this long a probe's claim ends by itself, so that a report that never comes
    /// blocks nobody for ever.
    pub fn new(probe_timeout: Duration) -> Health {
        Health {
            probe_timeout: probe_timeout.min(LONGEST_BELIEF),
            unwell: FxHashMap::default(),
            leases: Leases::default(),
        }
    }

    /// The fast path of picks: [`Health::standing`] of everything of this channel is `Well`.
    pub fn is_all_well(&self, channel: ChannelId) -> bool {
        !self.unwell.contains_key(&channel)
    }

    /// How this key of this channel stands for this model. `key` is `None` for a channel without keys.
    pub fn standing(
        &self,
        channel: ChannelId,
        key: Option<KeyId>,
        model: &ModelName,
        now: Instant,
    ) -> Standing {
        match self.unwell.get(&channel) {
            None => Standing::Well,
            Some(unwell) => unwell.standing(key, model, now),
        }
    }

    /// The channels of which something is not well.
    pub fn unwell_channels(&self) -> impl Iterator<Item = ChannelId> {
        self.unwell.keys().copied()
    }

    /// Leases that have not reported.
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Leases of this channel that have not reported.
    pub fn in_flight(&self, channel: ChannelId) -> u32 {
        self.leases.in_flight(channel)
    }

    /// Whether the channel has no room for another attempt; `None` is unbounded.
    pub fn is_full(&self, channel: ChannelId, max_in_flight: Option<u32>) -> bool {
        max_in_flight.is_some_and(|max| self.in_flight(channel) >= max)
    }

    /// Takes note of a lease: counts it in flight, and claims the probe where something is not well and
    /// nobody probes it.
    pub fn granted(
        &mut self,
        lease: LeaseId,
        channel: ChannelId,
        key: Option<KeyId>,
        model: &ModelName,
        now: Instant,
    ) -> Granted {
        self.leases.add(lease, channel, key, model, now);
        let until = now + self.probe_timeout;
        let probe = self
            .unwell
            .get_mut(&channel)
            .is_some_and(|unwell| unwell.claim(lease, key, model, now, until));
        Granted { probe }
    }

    /// The lease's first real event: the upstream lives, so a cooling that it probed is over, and its claim
    /// with it. `None`: nobody knows this lease.
    pub fn first_event(&mut self, lease: LeaseId, now: Instant) -> Option<Learnt> {
        let leased = self.leases.get(lease)?;
        let (channel, granted) = (leased.channel, leased.granted);
        let mut learnt = Learnt::nothing(channel);
        let Some(unwell) = self.unwell.get_mut(&channel) else {
            return Some(learnt);
        };
        learnt.probe_ended = unwell.end_claim(lease, now);
        if leased.is_deaf {
            return Some(learnt);
        }
        unwell.note_latency(now.saturating_duration_since(leased.granted_at));
        let marks = &mut unwell.marks;
        let mut healed = Vec::from(leased.parts());
        healed.retain(|part| marks.get_mut(part).is_some_and(|mark| mark.lives(granted, now)));
        learnt.recovered = !healed.is_empty();
        self.leases.outdate(channel, granted, &healed);
        Some(learnt)
    }

    /// The lease's one report. `None`: nobody knows this lease, or it has reported.
    pub fn report(
        &mut self,
        lease: LeaseId,
        outcome: &Outcome,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Learnt> {
        let leased = self.leases.take(lease)?;
        let channel = leased.channel;
        let mut learnt = Learnt::nothing(channel);
        if let Some(unwell) = self.unwell.get_mut(&channel) {
            learnt.probe_ended = unwell.end_claim(lease, now);
        }
        if !leased.is_deaf {
            let at = self.leases.next();
            let mut healed = Vec::new();
            for part in leased.parts() {
                match evidence::of(outcome, &part) {
                    Evidence::Nothing => {}
                    Evidence::Fails(blow) => {
                        let until = self.mark(&leased, part, &blow, at, now, rng);
                        learnt.cooled_until = learnt.cooled_until.max(until);
                    }
                    Evidence::Lives => {
                        self.heal(&leased, part, &mut healed, |mark| mark.lives(leased.granted, now))
                    }
                    Evidence::Works => {
                        self.heal(&leased, part, &mut healed, |mark| mark.works(leased.granted, now))
                    }
                }
            }
            learnt.recovered = !healed.is_empty();
            self.leases.outdate(channel, leased.granted, &healed);
        }
        self.tidy_channel(channel, now);
        Some(learnt)
    }

    /// Forgets what is well by now or too old to be believed. Reports do it for their own channel; this is
    /// for those that nobody asks for any more.
    pub fn tidy(&mut self, now: Instant) {
        self.unwell.retain(|_, unwell| unwell.tidy(now));
    }

    /// The channel is deleted: its marks go, and its leases in flight leave none.
    pub fn forget(&mut self, channel: ChannelId) {
        self.retain(|known| known != channel);
    }

    /// Keeps the marks of these channels only; everything else survives rebuilds.
    pub fn retain(&mut self, mut keep: impl FnMut(ChannelId) -> bool) {
        self.unwell.retain(|channel, _| keep(*channel));
        self.leases.deafen(|leased| !keep(leased.channel));
    }

    /// The key is closed, replaced or opened anew, by a commit: what its old self has shown is over, and
    /// its leases in flight leave no marks.
    pub fn forget_key(&mut self, channel: ChannelId, key: Option<KeyId>) {
        self.leases
            .deafen(|leased| leased.channel == channel && leased.key == key);
        if let Some(unwell) = self.unwell.get_mut(&channel) {
            unwell.marks.retain(|part, _| match part {
                Part::Key(of) | Part::KeyForModel(of, _) => *of != key,
                Part::Whole | Part::Model(_) => true,
            });
            if unwell.is_empty() {
                self.unwell.remove(&channel);
            }
        }
    }

    /// Everything that is not well, for `GET /api/routing`, in a stable order.
    pub fn unwell(&self, now: Instant) -> Vec<HealthView> {
        let mut views: Vec<HealthView> = self
            .unwell
            .iter()
            .flat_map(|(channel, unwell)| view::of(*channel, unwell, self.in_flight(*channel), now))
            .collect();
        views.sort_by(|a, b| a.place().cmp(&b.place()));
        views
    }

    /// Marks a part that has failed; answers until when it cools, if by this.
    fn mark(
        &mut self,
        leased: &Leased,
        part: Part,
        blow: &Blow,
        at: Order,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Instant> {
        let unwell = self.unwell.entry(leased.channel).or_default();
        // A probe granted later is finding out already, and its word is newer: this one must not push the
        // cooling past it.
        let is_overtaken = unwell.probes(now).any(|probe| {
            let probe = self.leases.get(probe);
            probe.is_some_and(|probe| probe.granted > leased.granted && probe.depends_on(&part))
        });
        let is_outdated = leased.is_outdated(&part);
        let mark = unwell.marks.entry(part).or_default();
        if is_outdated || (is_overtaken && mark.due(now).is_some()) {
            mark.hear(blow, at, now)
        } else {
            mark.fail(blow, leased.granted, at, now, rng)
        }
    }

    /// Notes a part's sign of life, if it is not well, and whether that has ended something.
    fn heal(
        &mut self,
        leased: &Leased,
        part: Part,
        healed: &mut Vec<Part>,
        sign: impl FnOnce(&mut Mark) -> bool,
    ) {
        let unwell = self.unwell.get_mut(&leased.channel);
        if let Some(mark) = unwell.and_then(|unwell| unwell.marks.get_mut(&part))
            && sign(mark)
        {
            healed.push(part);
        }
    }

    fn tidy_channel(&mut self, channel: ChannelId, now: Instant) {
        if let Some(unwell) = self.unwell.get_mut(&channel)
            && !unwell.tidy(now)
        {
            self.unwell.remove(&channel);
        }
    }
}

impl Learnt {
    fn nothing(channel: ChannelId) -> Learnt {
        Learnt {
            channel,
            cooled_until: None,
            recovered: false,
            probe_ended: false,
        }
    }
}
