//! Rows in, snapshot and quarantine out.
//!
//! A [`Draft`] takes the rows of one consistent read: of everything (a full build), of named channels (a
//! patch), or of one model in some groups (a lookup). All three become routes by the code below, which is
//! what makes them agree (R1).

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::ids::{ChannelId, Generation, KeyId, ModelName, Moment};
use super::open::{AbilityFacts, ChannelFacts, WhyClosed, ability_open, channel_open};
use super::route::{Candidate, Route, Slot};
use super::rows::{AbilityRow, ChannelRow, KeyRow, ModelSpec, RowFault};
use super::snapshot::{Channel, Key, NameIndex, Names, Places, Quarantined, Snapshot};

/// The slot of a channel that is in no snapshot.
const NO_SLOT: Slot = Slot::MAX;

/// Rows as they come from the database, not yet a snapshot.
#[derive(Debug, Default)]
pub struct Draft {
    names: Names,
    slots: FxHashMap<ChannelId, Slot>,
    channels: Vec<DraftChannel>,
    keys: FxHashSet<KeyId>,
    abilities: Vec<DraftAbility>,
    /// Overrides and faults of the few abilities that have any, by place in `abilities`.
    overrides: FxHashMap<u32, Overrides>,
    models: FxHashMap<ModelName, Option<Arc<ModelSpec>>>,
}

#[derive(Debug)]
struct DraftChannel {
    id: ChannelId,
    row: Option<ChannelRow>,
    keys: Vec<KeyRow>,
}

/// Kept small: a full build holds a million of these for a moment.
#[derive(Clone, Copy, Debug)]
struct DraftAbility {
    group: NameIndex,
    model: NameIndex,
    slot: Slot,
    closed: Option<WhyClosed>,
}

#[derive(Debug, Default)]
struct Overrides {
    priority: Option<i64>,
    weight: Option<u32>,
    /// Not closed by a flag that could be read, but something of the row could not be read.
    fault: Option<RowFault>,
}

/// What a draft knows of a model in some groups beyond its open routes: what a refusal must consider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// Something that cannot be decoded might be open.
    pub maybe_open: bool,
}

impl Draft {
    /// Takes a row of `channels`; one that is already known is ignored.
    pub fn channel(&mut self, row: ChannelRow) {
        let slot = self.slot(row.id);
        self.channels[slot as usize].row.get_or_insert(row);
    }

    /// Takes a row of `channel_keys`; one that is already known is ignored.
    pub fn key(&mut self, row: KeyRow) {
        if self.keys.insert(row.id) {
            let slot = self.slot(row.channel);
            self.channels[slot as usize].keys.push(row);
        }
    }

    /// Whether a row of `channels` with this id was taken: a joined read can then skip decoding it again.
    pub fn knows_channel(&self, id: ChannelId) -> bool {
        self.slots
            .get(&id)
            .is_some_and(|slot| self.channels[*slot as usize].row.is_some())
    }

    /// Takes a row of `abilities`. Its channel may come before or after it.
    pub fn ability(&mut self, row: AbilityRow<'_>) {
        let facts = AbilityFacts {
            enabled: row.enabled.as_ref().ok().copied(),
            held: row.held.as_ref().ok().copied(),
        };
        let ability = DraftAbility {
            group: self.names.groups.intern(row.group),
            model: self.names.models.intern(row.model),
            slot: self.slot(row.channel),
            closed: ability_open(facts).err(),
        };
        let fault = [
            row.enabled.err(),
            row.held.err(),
            row.priority.as_ref().err().cloned(),
            row.weight.as_ref().err().cloned(),
        ];
        let overrides = Overrides {
            priority: row.priority.unwrap_or_default(),
            weight: row.weight.unwrap_or_default(),
            fault: fault.into_iter().flatten().next(),
        };
        if overrides.priority.is_some() || overrides.weight.is_some() || overrides.fault.is_some() {
            self.overrides.insert(self.abilities.len() as u32, overrides);
        }
        self.abilities.push(ability);
    }

    /// Takes a row of `models`.
    pub fn model(&mut self, name: ModelName, spec: Result<ModelSpec, RowFault>) {
        self.models.insert(name, spec.ok().map(Arc::new));
    }

    /// What is configured for models; a row that cannot be read is as it was last.
    fn take_models(&mut self, last_good: &Snapshot) -> Arc<FxHashMap<ModelName, Arc<ModelSpec>>> {
        let specs = std::mem::take(&mut self.models).into_iter();
        let good = |(name, spec): (ModelName, Option<Arc<ModelSpec>>)| {
            let spec = spec.or_else(|| last_good.model(name.as_str()).cloned())?;
            Some((name, spec))
        };
        Arc::new(specs.filter_map(good).collect())
    }

    fn slot(&mut self, id: ChannelId) -> Slot {
        *self.slots.entry(id).or_insert_with(|| {
            self.channels.push(DraftChannel {
                id,
                row: None,
                keys: Vec::new(),
            });
            self.channels.len() as Slot - 1
        })
    }

    /// A whole new snapshot of these rows. What cannot be decoded is taken from `last_good`.
    pub fn snapshot(mut self, last_good: &Snapshot, generation: Generation, began: Moment) -> Snapshot {
        let models = self.take_models(last_good);
        let mut quarantine = Quarantine::default();
        let decided = self.decide(last_good, &mut quarantine);
        let left_out = self.left_out(&decided);
        let mut snapshot = Snapshot {
            left_out,
            generation,
            began,
            channels: decided.channels,
            slots: self.slots,
            names: Arc::new(self.names),
            quarantined: quarantine.list(),
            models,
            ..Snapshot::default()
        };
        snapshot
            .slots
            .retain(|_, slot| snapshot.channels[*slot as usize].is_some());
        snapshot
            .groups
            .resize_with(snapshot.names.groups.len(), Default::default);
        let mut abilities = decided.abilities;
        abilities.sort_unstable_by_key(|a| (a.group, a.model));
        for route in abilities.chunk_by(|a, b| (a.group, a.model) == (b.group, b.model)) {
            let candidates = route.iter().filter_map(|ability| ability.candidate).collect();
            let built = Arc::new(Route::new(route.len() as u32, candidates));
            snapshot.groups[route[0].group as usize].set(route[0].model, Some(built));
        }
        snapshot
    }

    /// `base` with these rows in place of all that it knew of `channels`; a channel without a row is gone.
    pub fn patch(
        mut self,
        base: &Snapshot,
        channels: impl IntoIterator<Item = ChannelId>,
        generation: Generation,
        began: Moment,
    ) -> Snapshot {
        let mut quarantine = Quarantine::default();
        let decided = self.decide(base, &mut quarantine);
        let mut patch = Patch::new(base, generation);
        patch.snapshot.models = self.take_models(base);
        for id in channels {
            patch.leave(id);
            patch.snapshot.patched.insert(id, began);
        }
        let slots: Vec<Slot> = decided
            .channels
            .iter()
            .zip(&self.channels)
            .map(|(channel, draft)| channel.as_ref().map_or(NO_SLOT, |_| patch.slot(draft.id)))
            .collect();
        let mut lists: Vec<Vec<(NameIndex, NameIndex)>> = vec![Vec::new(); slots.len()];
        for ability in decided.abilities {
            let (Some(group), Some(model)) = (
                self.names.groups.name(ability.group),
                self.names.models.name(ability.model),
            ) else {
                continue;
            };
            let place = patch.intern(group.as_str(), model.as_str());
            lists[ability.slot as usize].push(place);
            let candidate = ability.candidate.map(|c| Candidate {
                slot: slots[ability.slot as usize],
                ..c
            });
            patch.join(place, candidate);
        }
        let places = slots.into_iter().zip(lists);
        for ((channel, draft), (slot, abilities)) in
            decided.channels.into_iter().zip(&self.channels).zip(places)
        {
            let abilities: Places = abilities.into();
            match channel.map(Arc::unwrap_or_clone) {
                Some(channel) => {
                    patch.snapshot.channels[slot as usize] = Some(Arc::new(Channel { abilities, ..channel }));
                }
                None if abilities.is_empty() => {}
                None => drop(patch.snapshot.left_out.insert(draft.id, abilities)),
            }
        }
        patch.finish(quarantine)
    }

    /// The abilities of channels that have a row but no definition.
    fn left_out(&self, decided: &Decided) -> FxHashMap<ChannelId, Places> {
        let mut places: FxHashMap<ChannelId, Vec<(NameIndex, NameIndex)>> = FxHashMap::default();
        for ability in &decided.abilities {
            if decided.channels[ability.slot as usize].is_none() {
                let id = self.channels[ability.slot as usize].id;
                places.entry(id).or_default().push((ability.group, ability.model));
            }
        }
        places
            .into_iter()
            .map(|(id, places)| (id, places.into()))
            .collect()
    }

    /// Openness of every row, by the shared predicate, with last good definitions where rows are bad.
    fn decide(&self, last_good: &Snapshot, quarantine: &mut Quarantine) -> Decided {
        let mut lists: Vec<Vec<(NameIndex, NameIndex)>> = vec![Vec::new(); self.channels.len()];
        for ability in &self.abilities {
            lists[ability.slot as usize].push((ability.group, ability.model));
        }
        let channels: Vec<Option<Arc<Channel>>> = self
            .channels
            .iter()
            .zip(lists)
            .map(|(draft, abilities)| {
                draft
                    .decide(abilities.into(), last_good, quarantine)
                    .map(Arc::new)
            })
            .collect();
        let open: Vec<bool> = channels
            .iter()
            .map(|c| c.as_ref().is_some_and(|c| c.open().is_ok()))
            .collect();
        let abilities = (0..self.abilities.len())
            .map(|index| self.decide_ability(index, &channels, &open, last_good, quarantine))
            .collect();
        Decided { channels, abilities }
    }

    fn decide_ability(
        &self,
        index: usize,
        channels: &[Option<Arc<Channel>>],
        open: &[bool],
        last_good: &Snapshot,
        quarantine: &mut Quarantine,
    ) -> DecidedAbility {
        let DraftAbility {
            group,
            model,
            slot,
            closed,
        } = self.abilities[index];
        let overrides = self.overrides.get(&(index as u32));
        let fault = overrides.and_then(|o| o.fault.as_ref());
        let mut candidate = None;
        if let (true, None, Some(channel)) = (open[slot as usize], closed, &channels[slot as usize]) {
            let spec = &channel.spec;
            candidate = match fault {
                None => Some(Candidate {
                    slot,
                    priority: overrides.and_then(|o| o.priority).unwrap_or(spec.priority),
                    weight: overrides.and_then(|o| o.weight).unwrap_or(spec.weight),
                }),
                Some(_) => self
                    .last_good_ability(group, model, channel.id, last_good)
                    .map(|c| Candidate { slot, ..c }),
            };
        }
        if let Some(fault) = fault {
            // Only an ability that had served keeps its channel whole; one left out is named as such.
            let serves = candidate.is_some() || closed.is_some();
            quarantine.add(self.channels[slot as usize].id, fault.clone(), serves);
        }
        DecidedAbility {
            group,
            model,
            slot,
            candidate,
        }
    }

    fn last_good_ability(
        &self,
        group: NameIndex,
        model: NameIndex,
        channel: ChannelId,
        last_good: &Snapshot,
    ) -> Option<Candidate> {
        let group = self.names.groups.name(group)?;
        let model = self.names.models.name(model)?;
        last_good.open_ability(channel, group.as_str(), model.as_str())
    }

    /// Whether something that cannot be decoded, and for which `last_good` knows no stand-in, might be open.
    pub fn doubt(&self, last_good: &Snapshot) -> Doubt {
        let mut ignored = Quarantine::default();
        let decided = self.decide(last_good, &mut ignored);
        let maybe_open =
            decided
                .abilities
                .iter()
                .zip(&self.abilities)
                .enumerate()
                .any(|(index, (decided, draft))| {
                    let may_ability = matches!(draft.closed, None | Some(WhyClosed::Unreadable));
                    decided.candidate.is_none() && may_ability && {
                        let fault = self
                            .overrides
                            .get(&(index as u32))
                            .is_some_and(|o| o.fault.is_some());
                        match self.channels[draft.slot as usize].facts(last_good) {
                            Maybe::Open => fault,
                            Maybe::Unknown => true,
                            Maybe::Closed => false,
                        }
                    }
                });
        Doubt { maybe_open }
    }
}

/// What can be said of a channel's openness from rows that may be bad.
enum Maybe {
    Open,
    Unknown,
    Closed,
}

impl DraftChannel {
    fn decide(
        &self,
        abilities: Box<[(NameIndex, NameIndex)]>,
        last_good: &Snapshot,
        quarantine: &mut Quarantine,
    ) -> Option<Channel> {
        let row = self.row.as_ref()?;
        let known = last_good.channel(self.id);
        if let Err(fault) = &row.status {
            quarantine.add(self.id, fault.clone(), false);
        }
        let spec = match &row.spec {
            Ok(spec) => Arc::clone(spec),
            Err(fault) => {
                quarantine.add(self.id, fault.clone(), known.is_some());
                Arc::clone(&known?.spec)
            }
        };
        let keys = self
            .keys
            .iter()
            .filter_map(|row| enabled_key(row, known.map(Arc::as_ref), quarantine))
            .collect();
        Some(Channel {
            id: self.id,
            status: row.status.as_ref().ok().copied(),
            status_changed_at: row.status_changed_at,
            spec,
            keys,
            abilities,
        })
    }

    fn facts(&self, last_good: &Snapshot) -> Maybe {
        let Some(row) = &self.row else {
            return Maybe::Closed;
        };
        let known = last_good.channel(self.id);
        let spec = row.spec.as_ref().ok().or(known.map(|channel| &channel.spec));
        let usable =
            |row: &&KeyRow| enabled_key(row, known.map(Arc::as_ref), &mut Quarantine::default()).is_some();
        let unsure = |row: &KeyRow| {
            row.status.is_err() || (row.status == Ok(super::rows::Status::Enabled) && row.key.is_err())
        };
        let enabled_keys = self.keys.iter().filter(usable).count();
        let facts = ChannelFacts {
            status: row.status.as_ref().ok().copied(),
            enabled_keys,
            traits: spec.map(|spec| spec.traits),
        };
        match channel_open(facts) {
            Ok(()) => Maybe::Open,
            Err(WhyClosed::Unreadable) => Maybe::Unknown,
            Err(WhyClosed::NoEnabledKey) if self.keys.iter().any(unsure) => Maybe::Unknown,
            Err(_) => Maybe::Closed,
        }
    }
}

fn enabled_key(row: &KeyRow, known: Option<&Channel>, quarantine: &mut Quarantine) -> Option<Key> {
    match &row.status {
        Ok(super::rows::Status::Enabled) => {}
        Ok(_) => return None,
        Err(fault) => {
            quarantine.add(row.channel, fault.clone(), known.is_some());
            return None;
        }
    }
    let spec = match &row.key {
        Ok(spec) => Some(spec.clone()),
        Err(fault) => {
            let last = known.and_then(|channel| channel.keys.iter().find(|key| key.id == row.id));
            quarantine.add(row.channel, fault.clone(), last.is_some());
            last.map(|key| key.spec.clone())
        }
    };
    spec.map(|spec| Key {
        id: row.id,
        status_changed_at: row.status_changed_at,
        spec,
    })
}

impl Channel {
    /// Whether the channel is open for any of its abilities.
    pub fn open(&self) -> Result<(), WhyClosed> {
        channel_open(ChannelFacts {
            status: self.status,
            enabled_keys: self.keys.len(),
            traits: Some(self.spec.traits),
        })
    }
}

struct Decided {
    channels: Vec<Option<Arc<Channel>>>,
    abilities: Vec<DecidedAbility>,
}

struct DecidedAbility {
    group: NameIndex,
    model: NameIndex,
    slot: Slot,
    /// `None`: not open.
    candidate: Option<Candidate>,
}

/// Collects faults by channel.
#[derive(Default)]
struct Quarantine(FxHashMap<ChannelId, Quarantined>);

impl Quarantine {
    fn add(&mut self, channel: ChannelId, fault: RowFault, last_good: bool) {
        let entry = self.0.entry(channel).or_insert_with(|| Quarantined {
            channel,
            faults: Vec::new(),
            last_good,
        });
        entry.last_good &= last_good;
        if !entry.faults.contains(&fault) {
            entry.faults.push(fault);
        }
    }

    fn list(self) -> Vec<Quarantined> {
        let mut list: Vec<_> = self.0.into_values().collect();
        list.sort_unstable_by_key(|q| q.channel);
        list
    }
}

/// A snapshot in the making that differs from its base in some channels.
struct Patch {
    snapshot: Snapshot,
    names: Names,
    new_names: bool,
    routes: FxHashMap<(NameIndex, NameIndex), Edits>,
    free: Vec<Slot>,
}

/// What becomes of a route.
#[derive(Default)]
struct Edits {
    /// Abilities that go, and that come, open or not.
    fewer: u32,
    more: u32,
    leave: Vec<Slot>,
    join: Vec<Candidate>,
}

impl Patch {
    fn new(base: &Snapshot, generation: Generation) -> Self {
        let snapshot = Snapshot {
            generation,
            ..base.clone()
        };
        Self {
            snapshot,
            free: Vec::new(),
            names: Names::default(),
            new_names: false,
            routes: FxHashMap::default(),
        }
    }

    /// Takes the channel out of every route.
    fn leave(&mut self, id: ChannelId) {
        self.snapshot.quarantined.retain(|q| q.channel != id);
        if let Some(places) = self.snapshot.left_out.remove(&id) {
            self.leave_routes(&places, NO_SLOT);
        }
        let Some(slot) = self.snapshot.slots.remove(&id) else {
            return;
        };
        if let Some(channel) = self.snapshot.channels[slot as usize].take() {
            self.leave_routes(&channel.abilities, slot);
        }
        self.free.push(slot);
    }

    fn leave_routes(&mut self, places: &[(NameIndex, NameIndex)], slot: Slot) {
        for place in places {
            let edits = self.routes.entry(*place).or_default();
            edits.fewer += 1;
            edits.leave.push(slot);
        }
    }

    fn join(&mut self, place: (NameIndex, NameIndex), candidate: Option<Candidate>) {
        let edits = self.routes.entry(place).or_default();
        edits.more += 1;
        edits.join.extend(candidate);
    }

    /// A slot that no route of this snapshot names any more, so that slots do not grow with every patch.
    fn slot(&mut self, id: ChannelId) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.snapshot.channels.push(None);
            self.snapshot.channels.len() as Slot - 1
        });
        self.snapshot.slots.insert(id, slot);
        slot
    }

    fn intern(&mut self, group: &str, model: &str) -> (NameIndex, NameIndex) {
        let known = &self.snapshot.names;
        if !self.new_names {
            if let (Some(group), Some(model)) = (known.groups.number(group), known.models.number(model)) {
                return (group, model);
            }
            self.names = Names::clone(known);
            self.new_names = true;
        }
        (self.names.groups.intern(group), self.names.models.intern(model))
    }

    fn finish(mut self, quarantine: Quarantine) -> Snapshot {
        if self.new_names {
            self.snapshot.names = Arc::new(self.names);
        }
        self.snapshot
            .groups
            .resize_with(self.snapshot.names.groups.len(), Default::default);
        for ((group, model), edits) in self.routes {
            let routes = &mut self.snapshot.groups[group as usize];
            let known = routes.get(model).map_or(0, |route| route.abilities());
            let abilities = known.saturating_sub(edits.fewer) + edits.more;
            let Edits { leave, join, .. } = edits;
            let route = (abilities > 0).then(|| match routes.get(model) {
                Some(route) => route.edited(abilities, leave, join),
                None => Route::new(abilities, join),
            });
            routes.set(model, route.map(Arc::new));
        }
        self.snapshot.quarantined.extend(quarantine.list());
        self.snapshot.quarantined.sort_unstable_by_key(|q| q.channel);
        self.snapshot
    }
}

#[cfg(test)]
mod tests;
