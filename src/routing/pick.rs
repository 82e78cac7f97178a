//! The choice of one channel and one key: groups in order, tiers in order, by weight within a tier (R2),
//! past what was tried, closed, full or cooling.

use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, RngExt};

use super::closings::Closings;
use super::health::{Health, Standing, Word};
use super::ids::{ChannelId, GroupName, KeyId, ModelName, Moment, Protocol};
use super::remembered::{Home, StateId};
use super::route::{Route, Slot, Tier};
use super::rows::KeyMode;
use super::snapshot::{Channel, Key, Snapshot};
use super::tried::{Tried, Turn};
use super::weight;

/// What a request asks of the router.
#[derive(Clone, Debug)]
pub struct Question {
    /// The token's groups, in order of preference.
    pub groups: Arc<[GroupName]>,
    pub model: ModelName,
    /// What the client speaks; channels that do not speak it are passed over.
    pub protocol: Protocol,
    /// What this request has tried, and may not try again.
    pub tried: Tried,
    /// The conversation's hash: it takes the dice's place, so that one conversation keeps to one channel.
    pub affinity: Option<u64>,
    /// An earlier answer that this one builds on: its home is asked first.
    pub state: Option<StateId>,
    pub cooling: CoolingRule,
}

/// Whether a channel that cools may be picked (R13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CoolingRule {
    /// Only channels that do not cool.
    #[default]
    PassOver,
    /// Nothing else is left: the one soonest due, unless its provider's own word bars it.
    SoonestDue,
}

/// What was picked.
#[derive(Clone, Debug)]
pub struct Picked {
    pub channel: Arc<Channel>,
    /// `None` for a channel whose provider needs none.
    pub key: Option<Key>,
    pub group: GroupName,
}

/// Why a route gave nothing: what a refusal is told from (R4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shortage {
    /// Some group has an ability for the model.
    pub has_ability: bool,
    /// Some ability is open.
    pub open: bool,
    /// Some open channel speaks the protocol.
    pub speaks: bool,
    /// Some open channel that speaks it has all its places taken.
    pub full: bool,
    /// When the first of those that cool by a guess may be tried.
    pub cooling_until: Option<Instant>,
    /// Some are being probed: when the first claim ends by itself.
    pub probed_until: Option<Instant>,
    /// When the first of those that this request may try again has rested.
    pub resting: Option<Instant>,
    /// When the first of those that cool by their provider's own word may be tried, and its status.
    pub barred: Option<(Instant, u16)>,
    /// A read older than what this node knows of a channel spoke for it: ask again.
    pub superseded: bool,
}

impl Shortage {
    /// This one, and what another route of the same question has that is full, cooling or barred.
    pub fn merged(&self, other: &Shortage) -> Shortage {
        Shortage {
            full: self.full || other.full,
            probed_until: earlier(self.probed_until, other.probed_until),
            cooling_until: earlier(self.cooling_until, other.cooling_until),
            resting: earlier(self.resting, other.resting),
            barred: earlier(self.barred, other.barred),
            ..self.clone()
        }
    }
}

fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    one.into_iter().chain(other).min()
}

/// What stands between a route and a pick, besides the route.
pub struct Bars<'a> {
    pub closings: &'a Closings,
    pub health: &'a Health,
    pub now: Instant,
    /// For the route of a lookup: when it began, and the snapshot that may know better.
    pub read: Option<(Moment, &'a Snapshot)>,
    /// Where the state lives that the question builds on.
    pub home: Option<Home>,
}

/// The channel that has its turn, of those whose keys take turns.
pub trait Turns {
    /// A number that grows by one each time that the channel is asked for.
    fn next(&mut self, channel: ChannelId) -> usize;
}

/// Picks from `snapshot`, or says what there was instead.
pub fn pick(
    snapshot: &Snapshot,
    question: &Question,
    bars: &Bars<'_>,
    turns: &mut impl Turns,
    rng: &mut impl Rng,
) -> Result<Picked, Shortage> {
    let view = |group| View {
        snapshot,
        question,
        bars,
        group,
    };
    if let Some(home) = bars.home
        && let Some(picked) = question
            .groups
            .iter()
            .find_map(|group| view(group).at_home(home, turns, rng))
    {
        return Ok(picked);
    }
    let mut shortage = Shortage::default();
    let mut soonest: Option<(Instant, Slot, &GroupName)> = None;
    for group in question.groups.iter() {
        let Some(route) = snapshot.route(group.as_str(), question.model.as_str()) else {
            continue;
        };
        shortage.has_ability = true;
        if let Some(slot) = view(group).choose(route, rng) {
            return view(group).lease(slot, turns, rng).ok_or(shortage);
        }
        view(group).account(route, &mut shortage, &mut soonest);
    }
    if let (CoolingRule::SoonestDue, Some((_, slot, group))) = (question.cooling, soonest) {
        return view(group).lease_soonest(slot).ok_or(shortage);
    }
    Err(shortage)
}

/// One group's route as one question sees it.
struct View<'a> {
    snapshot: &'a Snapshot,
    question: &'a Question,
    bars: &'a Bars<'a>,
    group: &'a GroupName,
}

/// Whether a channel, or a key of it, may be used for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usable {
    Now,
    Closed,
    /// Closed by something newer than the read that showed it open.
    Superseded,
    /// The snapshot has read it later than the lookup, and has already been asked.
    InSnapshot,
    SpeaksNot,
    Tried,
    Full,
    /// Cools by a guess, or is being probed.
    Cooling {
        due: Instant,
        probed: bool,
    },
    Barred {
        due: Instant,
        status: u16,
    },
    /// Nothing but this request's own rest after a failure there speaks against it.
    Resting {
        due: Instant,
    },
}

impl<'a> View<'a> {
    /// The first tier that has a usable channel, and the choice in it.
    fn choose(&self, route: &Route, rng: &mut impl Rng) -> Option<Slot> {
        route
            .tiers()
            .find_map(|tier| self.draw(tier, rng).map(|index| tier.slots[index]))
    }

    fn draw(&self, tier: Tier<'_>, rng: &mut impl Rng) -> Option<usize> {
        let usable = |index: usize| self.usable(tier.slots[index]) == Usable::Now;
        let id = |index: usize| {
            self.snapshot
                .at(tier.slots[index])
                .map_or(ChannelId(0), |channel| channel.id)
        };
        match self.question.affinity {
            Some(conversation) => weight::rendezvous(tier, conversation, id, usable),
            None => weight::draw(tier, usable, rng),
        }
    }

    fn usable(&self, slot: Slot) -> Usable {
        let Some(channel) = self.snapshot.at(slot) else {
            return Usable::Closed;
        };
        if let Some(closed) = self.closed(channel) {
            return closed;
        }
        if !self.speaks(slot) {
            return Usable::SpeaksNot;
        }
        let turn = self.question.tried.channel_turn(channel.id, self.bars.now);
        if turn == Turn::Never {
            return Usable::Tried;
        }
        if self
            .bars
            .health
            .is_full(channel.id, channel.spec.settings.max_in_flight)
        {
            return Usable::Full;
        }
        if channel.keys.is_empty() {
            return self.rested(turn, self.standing(channel, None));
        }
        let keys = channel.keys.iter().map(|key| self.key_usable(channel, key));
        let best = keys.min_by_key(|usable| usable.rank());
        self.rested(turn, best.unwrap_or(Usable::Closed))
    }

    /// What a rest adds to how a channel or key stands.
    fn rested(&self, turn: Turn, usable: Usable) -> Usable {
        match (turn, usable) {
            (Turn::Never, _) => Usable::Tried,
            (Turn::From(due), Usable::Now) => Usable::Resting { due },
            // Where a rest would not be the end of it, it is not worth a wait.
            (Turn::From(due), Usable::Cooling { probed: false, .. })
                if self.question.cooling == CoolingRule::SoonestDue =>
            {
                Usable::Resting { due }
            }
            (Turn::From(due), Usable::Resting { due: other }) => Usable::Resting { due: due.max(other) },
            (Turn::From(_) | Turn::Now, usable) => usable,
        }
    }

    fn speaks(&self, slot: Slot) -> bool {
        let channel = self.snapshot.at(slot);
        channel.is_some_and(|channel| channel.spec.protocols().contains(self.question.protocol))
    }

    fn closed(&self, channel: &Channel) -> Option<Usable> {
        let read_at = match self.bars.read {
            Some((began, _)) => began,
            None => self.snapshot.read_at(channel.id),
        };
        let (group, model) = (self.group, &self.question.model);
        if self.bars.closings.bars_ability(channel.id, group, model, read_at) {
            return Some(if self.bars.read.is_some() {
                Usable::Superseded
            } else {
                Usable::Closed
            });
        }
        let (began, newer) = self.bars.read?;
        let newer_read_at = newer.read_at(channel.id);
        if newer_read_at <= began {
            return None;
        }
        let has_key = newer.channel(channel.id).is_some_and(|known| {
            let barred = |key: &Key| self.bars.closings.bars_key(key.id, newer_read_at);
            known.keys.is_empty() || !known.keys.iter().all(barred)
        });
        let shown = has_key && newer.shows_open(channel.id, group.as_str(), model.as_str());
        // Who has lost the protocol since has answered for it neither then nor now: another may have gained it.
        let protocol = self.question.protocol;
        let speaks = |channel: &Channel| channel.spec.protocols().contains(protocol);
        let still_speaks = newer.channel(channel.id).is_some_and(|known| speaks(known));
        Some(if shown && (still_speaks || !speaks(channel)) {
            Usable::InSnapshot
        } else {
            Usable::Superseded
        })
    }

    fn key_usable(&self, channel: &Channel, key: &Key) -> Usable {
        let read_at = self
            .bars
            .read
            .map_or_else(|| self.snapshot.read_at(channel.id), |(began, _)| began);
        if self.bars.closings.bars_key(key.id, read_at) {
            return if self.bars.read.is_some() {
                Usable::Superseded
            } else {
                Usable::Closed
            };
        }
        let turn = self.question.tried.key_turn(key.id, self.bars.now);
        self.rested(turn, self.standing(channel, Some(key.id)))
    }

    fn standing(&self, channel: &Channel, key: Option<KeyId>) -> Usable {
        let now = self.bars.now;
        match self
            .bars
            .health
            .standing(channel.id, key, &self.question.model, now)
        {
            Standing::Well | Standing::ReadyToProbe => Usable::Now,
            Standing::Cooling {
                word: Word::Provider { until, status },
                ..
            } if until > now => Usable::Barred { due: until, status },
            Standing::Cooling { due, .. } => Usable::Cooling { due, probed: false },
            Standing::ProbeInFlight { until } => Usable::Cooling {
                due: until,
                probed: true,
            },
        }
    }

    /// The channel at which the question's state lives, with its key if that may be used, else another of its keys.
    fn at_home(&self, home: Home, turns: &mut impl Turns, rng: &mut impl Rng) -> Option<Picked> {
        let (group, model) = (self.group.as_str(), self.question.model.as_str());
        let slot = self.snapshot.open_ability(home.channel, group, model)?.slot;
        if self.usable(slot) != Usable::Now {
            return None;
        }
        let channel = self.snapshot.at(slot)?;
        let key = channel.keys.iter().find(|key| Some(key.id) == home.key);
        match key.filter(|key| self.key_usable(channel, key) == Usable::Now) {
            Some(key) => Some(self.picked(channel, Some(key.clone()))),
            None => self.lease(slot, turns, rng),
        }
    }

    fn picked(&self, channel: &Arc<Channel>, key: Option<Key>) -> Picked {
        Picked {
            channel: Arc::clone(channel),
            key,
            group: self.group.clone(),
        }
    }

    /// A channel that cools, with its key that is soonest due; one that its provider's word bars is not tried.
    fn lease_soonest(&self, slot: Slot) -> Option<Picked> {
        let channel = self.snapshot.at(slot)?;
        if channel.keys.is_empty() {
            return Some(self.picked(channel, None));
        }
        let due = |key: &&Key| match self.key_usable(channel, key) {
            Usable::Now => Some(self.bars.now),
            Usable::Cooling { due, probed: false } => Some(due),
            _ => None,
        };
        let keys = channel.keys.iter().filter_map(|key| Some((due(&key)?, key)));
        let (_, key) = keys.min_by_key(|(due, _)| *due)?;
        Some(self.picked(channel, Some(key.clone())))
    }

    /// The chosen channel with one of its keys that may be used now.
    fn lease(&self, slot: Slot, turns: &mut impl Turns, rng: &mut impl Rng) -> Option<Picked> {
        let channel = self.snapshot.at(slot)?;
        let picked = |key| self.picked(channel, key);
        if channel.keys.is_empty() {
            return Some(picked(None));
        }
        let usable: Vec<&Key> = channel
            .keys
            .iter()
            .filter(|key| self.key_usable(channel, key) == Usable::Now)
            .collect();
        if usable.is_empty() {
            return None;
        }
        let key = match (self.question.affinity, channel.spec.key_mode) {
            (Some(conversation), _) => {
                let id = weight::rendezvous_key(conversation, usable.iter().map(|key| key.id))?;
                usable.iter().find(|key| key.id == id)?
            }
            (None, KeyMode::Random) => usable[rng.random_range(0..usable.len())],
            (None, KeyMode::Polling) => usable[turns.next(channel.id) % usable.len()],
        };
        Some(picked(Some(key.clone())))
    }

    /// Adds to the shortage what this route has, though nothing of it can be used.
    fn account(
        &self,
        route: &Route,
        shortage: &mut Shortage,
        soonest: &mut Option<(Instant, Slot, &'a GroupName)>,
    ) {
        for candidate in route.candidates() {
            let usable = self.usable(candidate.slot);
            shortage.superseded |= usable == Usable::Superseded;
            shortage.open |= !matches!(usable, Usable::Closed | Usable::Superseded);
            shortage.speaks |= match usable {
                Usable::Closed | Usable::Superseded | Usable::SpeaksNot => false,
                Usable::InSnapshot => self.speaks(candidate.slot),
                _ => true,
            };
            match usable {
                Usable::Full => shortage.full = true,
                Usable::Cooling { due, probed: true } => {
                    shortage.probed_until = earlier(shortage.probed_until, Some(due));
                }
                Usable::Cooling { due, probed: false } => {
                    shortage.cooling_until = earlier(shortage.cooling_until, Some(due));
                    if soonest.is_none_or(|(known, ..)| due < known) {
                        *soonest = Some((due, candidate.slot, self.group));
                    }
                }
                Usable::Barred { due, status } => {
                    shortage.barred = earlier(shortage.barred, Some((due, status)));
                }
                Usable::Resting { due } => shortage.resting = earlier(shortage.resting, Some(due)),
                Usable::Now | Usable::Closed | Usable::Superseded => {}
                Usable::InSnapshot | Usable::SpeaksNot | Usable::Tried => {}
            }
        }
    }
}

impl Usable {
    /// Of a channel's keys the one of the lowest rank speaks for the channel.
    fn rank(self) -> (u8, Option<Instant>) {
        match self {
            Usable::Now => (0, None),
            Usable::Resting { due } => (1, Some(due)),
            Usable::Cooling { due, probed: false } => (2, Some(due)),
            Usable::Cooling { due, probed: true } => (3, Some(due)),
            Usable::Barred { due, .. } => (4, Some(due)),
            Usable::Full => (5, None),
            Usable::Tried => (6, None),
            Usable::SpeaksNot => (7, None),
            Usable::Superseded => (8, None),
            Usable::InSnapshot => (9, None),
            Usable::Closed => (10, None),
        }
    }
}

#[cfg(test)]
mod tests;
