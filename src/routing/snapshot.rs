//! Every route at one moment, and beside them the model names of each group, open or not.
//!
//! A snapshot never changes. A patch makes a new one that shares with the old whatever the patched
//! channels do not touch: routes stand in pages of 64, and only the pages of touched routes are copied.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use super::ids::{ChannelId, Generation, GroupName, KeyId, ModelName, Moment};
use super::route::{Candidate, Route, Slot};
use super::rows::{ChannelRow, ChannelSpec, KeySpec, ModelSpec, RowFault, Status};

/// Routes on one page: a patch copies a page of pointers for each route that it touches.
const PAGE: usize = 64;

/// A group's or model's number within one snapshot.
pub(super) type NameIndex = u32;

/// Every route at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) generation: Generation,
    /// When the full build that this snapshot stems from began.
    pub(super) began: Moment,
    /// Channels that a later patch has read, and when it began.
    pub(super) patched: FxHashMap<ChannelId, Moment>,
    pub(super) names: Arc<Names>,
    pub(super) channels: Vec<Option<Arc<Channel>>>,
    pub(super) slots: FxHashMap<ChannelId, Slot>,
    /// By group number.
    pub(super) groups: Vec<Pages>,
    pub(super) quarantined: Vec<Quarantined>,
    /// Channels that a bad row keeps out, and their abilities: the models are listed all the same.
    pub(super) left_out: FxHashMap<ChannelId, Places>,
    /// What is configured for models, whether any channel serves them or not.
    pub(super) models: Arc<FxHashMap<ModelName, Arc<ModelSpec>>>,
}

/// The (group, model)s of a channel's abilities.
pub(super) type Places = Box<[(NameIndex, NameIndex)]>;

/// A channel as a snapshot knows it: definition, keys and abilities.
#[derive(Clone, Debug)]
pub struct Channel {
    pub id: ChannelId,
    /// `None`: its status could not be read, so it is not open.
    pub status: Option<Status>,
    /// Unix milliseconds.
    pub status_changed_at: i64,
    pub spec: Arc<ChannelSpec>,
    /// The enabled keys.
    pub keys: Box<[Key]>,
    /// Its abilities, open or not, so that a patch finds the routes that it must leave.
    pub(super) abilities: Places,
}

impl Channel {
    /// A channel outside of every route: asked by itself, whatever its status, with this one key or with none.
    pub fn alone(row: &ChannelRow, spec: Arc<ChannelSpec>, key: Option<Key>) -> Channel {
        Channel {
            id: row.id,
            status: row.status.as_ref().ok().copied(),
            status_changed_at: row.status_changed_at,
            spec,
            keys: key.into_iter().collect(),
            abilities: Box::default(),
        }
    }
}

/// An enabled key.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: KeyId,
    /// Unix milliseconds.
    pub status_changed_at: i64,
    pub spec: KeySpec,
}

/// An ability as a snapshot shows it.
#[derive(Clone, Copy, Debug)]
pub struct ShownAbility<'a> {
    pub group: &'a GroupName,
    pub model: &'a ModelName,
    pub channel: ChannelId,
    /// Its priority and weight, if it is open.
    pub open: Option<(i64, u32)>,
}

/// A channel of which something could not be decoded (R7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    pub channel: ChannelId,
    pub faults: Vec<RowFault>,
    /// Whether the channel serves on from its last good definition; else it is left out.
    pub last_good: bool,
}

/// Group and model names, each stored once and numbered.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub groups: NameTable<GroupName>,
    pub models: NameTable<ModelName>,
}

#[derive(Clone, Debug)]
pub(super) struct NameTable<N> {
    list: Vec<N>,
    numbers: FxHashMap<N, NameIndex>,
}

/// A group's routes by model number, in shared pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages(Vec<Option<Arc<Page>>>);

type Page = [Option<Arc<Route>>; PAGE];

/// How much a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub channels: usize,
    pub groups: usize,
    pub models: usize,
    pub routes: usize,
    pub abilities: usize,
    pub open_abilities: usize,
}

impl Snapshot {
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// When the read that told of this channel began: each channel of a snapshot is of one moment.
    pub fn read_at(&self, channel: ChannelId) -> Moment {
        self.patched.get(&channel).copied().unwrap_or(self.began)
    }

    /// The route of (group, model): `None` if the model has no ability in the group.
    pub fn route(&self, group: &str, model: &str) -> Option<&Route> {
        let group = self.names.groups.number(group)?;
        let model = self.names.models.number(model)?;
        self.groups.get(group as usize)?.get(model).map(Arc::as_ref)
    }

    /// What is configured for a model; `None` for most.
    pub fn model(&self, name: &str) -> Option<&Arc<ModelSpec>> {
        self.models.get(name)
    }

    pub fn channel(&self, id: ChannelId) -> Option<&Arc<Channel>> {
        self.at(*self.slots.get(&id)?)
    }

    pub(super) fn at(&self, slot: Slot) -> Option<&Arc<Channel>> {
        self.channels.get(slot as usize)?.as_ref()
    }

    /// Whether the channel has an open ability for (group, model).
    pub fn shows_open(&self, channel: ChannelId, group: &str, model: &str) -> bool {
        self.open_ability(channel, group, model).is_some()
    }

    /// The channels that have an open ability for (group, model).
    pub fn open_channels(&self, group: &str, model: &str) -> FxHashSet<ChannelId> {
        let route = self.route(group, model).into_iter();
        let slots = route.flat_map(|route| route.candidates());
        slots
            .filter_map(|candidate| Some(self.at(candidate.slot)?.id))
            .collect()
    }

    pub(super) fn open_ability(&self, channel: ChannelId, group: &str, model: &str) -> Option<Candidate> {
        self.route(group, model)?.candidate(*self.slots.get(&channel)?)
    }

    /// The names of the models that have an ability in the group, open or not, in byte order.
    pub fn models_of<'a>(&'a self, group: &str) -> Vec<&'a ModelName> {
        let Some(pages) = self
            .names
            .groups
            .number(group)
            .and_then(|g| self.groups.get(g as usize))
        else {
            return Vec::new();
        };
        let mut models: Vec<_> = pages
            .iter()
            .filter_map(|(model, _)| self.names.models.name(model))
            .collect();
        models.sort_unstable();
        models
    }

    /// The groups that have an ability, in byte order.
    pub fn groups(&self) -> Vec<&GroupName> {
        let used = |number: usize| self.groups[number].iter().next().is_some();
        let mut groups: Vec<_> = (0..self.groups.len())
            .filter(|number| used(*number))
            .filter_map(|number| self.names.groups.name(number as NameIndex))
            .collect();
        groups.sort_unstable();
        groups
    }

    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.iter().flatten()
    }

    /// Every ability of the channels that are in it, open or not.
    pub fn abilities(&self) -> impl Iterator<Item = ShownAbility<'_>> {
        self.channels().flat_map(move |channel| {
            let slot = self.slots.get(&channel.id).copied();
            let shown = move |(group, model): &(NameIndex, NameIndex)| {
                let route = self.groups.get(*group as usize)?.get(*model);
                let open = route.and_then(|route| route.candidate(slot?));
                Some(ShownAbility {
                    group: self.names.groups.name(*group)?,
                    model: self.names.models.name(*model)?,
                    channel: channel.id,
                    open: open.map(|candidate| (candidate.priority, candidate.weight)),
                })
            };
            channel.abilities.iter().filter_map(shown)
        })
    }

    /// What is configured for models.
    pub fn models(&self) -> impl Iterator<Item = &ModelSpec> {
        self.models.values().map(|spec| &**spec)
    }

    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// Whether a bad row keeps the channel out of this snapshot altogether.
    pub fn left_out(&self, channel: ChannelId) -> bool {
        self.left_out.contains_key(&channel)
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            channels: self.channels().count(),
            groups: self.groups().len(),
            models: self.names.models.list.len(),
            ..Counts::default()
        };
        for (_, route) in self.groups.iter().flat_map(Pages::iter) {
            counts.routes += 1;
            counts.abilities += route.abilities() as usize;
            counts.open_abilities += route.open();
        }
        counts
    }

    /// The bytes that routes and the channels' lists of abilities occupy; channels and names apart.
    pub fn ability_bytes(&self) -> usize {
        let pages: usize = self.groups.iter().map(Pages::heap_bytes).sum();
        let lists: usize = self
            .channels()
            .map(|channel| size_of_val(&*channel.abilities))
            .sum();
        pages + lists
    }
}

impl<N: Clone + Eq + std::hash::Hash + for<'a> From<&'a str> + std::borrow::Borrow<str>> NameTable<N> {
    pub fn number(&self, name: &str) -> Option<NameIndex> {
        self.numbers.get(name).copied()
    }

    pub fn name(&self, number: NameIndex) -> Option<&N> {
        self.list.get(number as usize)
    }

    /// The number of `name`, which is added if it is new.
    pub fn intern(&mut self, name: &str) -> NameIndex {
        if let Some(number) = self.number(name) {
            return number;
        }
        let number = self.list.len() as NameIndex;
        let name = N::from(name);
        self.list.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}

impl<N> Default for NameTable<N> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            numbers: FxHashMap::default(),
        }
    }
}

impl Pages {
    pub fn get(&self, model: NameIndex) -> Option<&Arc<Route>> {
        self.0.get(model as usize / PAGE)?.as_ref()?[model as usize % PAGE].as_ref()
    }

    /// Puts a route in its place; `None` takes it away.
    pub fn set(&mut self, model: NameIndex, route: Option<Arc<Route>>) {
        let page = model as usize / PAGE;
        if self.0.len() <= page {
            self.0.resize_with(page + 1, || None);
        }
        let page = self.0[page].get_or_insert_with(|| Arc::new([const { None }; PAGE]));
        Arc::make_mut(page)[model as usize % PAGE] = route;
    }

    pub fn iter(&self) -> impl Iterator<Item = (NameIndex, &Arc<Route>)> {
        self.0.iter().enumerate().flat_map(|(number, page)| {
            let routes = page.iter().flat_map(|page| page.iter().enumerate());
            routes.filter_map(move |(place, route)| {
                route
                    .as_ref()
                    .map(|route| ((number * PAGE + place) as NameIndex, route))
            })
        })
    }

    fn heap_bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>();
        let pages = self.0.iter().flatten().count() * (PAGE * size_of::<usize>() + counts);
        let routes: usize = self
            .iter()
            .map(|(_, route)| counts + size_of::<Route>() + route.heap_bytes())
            .sum();
        self.0.len() * size_of::<usize>() + pages + routes
    }
}

#[cfg(test)]
mod tests;
