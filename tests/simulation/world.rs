//! The model database: rows, and every state that they were ever committed in.
//!
//! A commit makes a new version. Versions are numbered from 0, so that the oracle can ask what was true at each
//! moment between a question and its answer.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use pointsman::routing::ids::{GroupName, ModelName, Protocol};
use pointsman::routing::rows::Status;

use crate::edit::{Applied, Edit, Moot};

/// The names that questions and abilities are made of.
pub static GROUPS: LazyLock<[GroupName; 3]> = LazyLock::new(|| ["default", "vip", "lab"].map(GroupName::new));
pub static MODELS: LazyLock<[ModelName; 3]> =
    LazyLock::new(|| ["small", "large", "image"].map(ModelName::new));

/// A place in `GROUPS` and one in `MODELS`.
pub type Ability = (usize, usize);

/// The number of a committed state.
pub type Version = usize;

/// One committed state.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub channels: BTreeMap<i64, Arc<ChannelRows>>,
}

/// A row of `channels`, with the rows of its keys and abilities.
#[derive(Clone, Debug)]
pub struct ChannelRows {
    pub id: i64,
    pub status: Status,
    pub changed_at: i64,
    pub spec: Spec,
    pub keys: Vec<KeyRows>,
    pub abilities: BTreeMap<Ability, AbilityRows>,
    /// What somebody has scribbled over; what stands there by right is kept above.
    pub bad_status: bool,
    pub bad_spec: bool,
    /// The status was written without the abilities' `enabled`.
    pub by_hand: bool,
    /// The version that wrote any of these rows last.
    pub touched: Version,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub protocols: Vec<Protocol>,
    pub priority: i64,
    pub weight: u32,
    /// Never changes in a channel's life.
    pub needs_key: bool,
    pub polling: bool,
    pub max_in_flight: Option<u32>,
}

#[derive(Clone, Debug)]
pub struct KeyRows {
    pub id: i64,
    pub status: Status,
    pub changed_at: i64,
    /// Stands for the secret.
    pub secret: u64,
    pub bad_status: bool,
    pub bad_secret: bool,
}

#[derive(Clone, Debug, Default)]
pub struct AbilityRows {
    pub enabled: bool,
    pub held: bool,
    pub priority: Option<i64>,
    pub weight: Option<u32>,
    pub bad_enabled: bool,
    pub bad_held: bool,
    pub bad_priority: bool,
    pub bad_weight: bool,
}

/// The database, and what it was at every version.
#[derive(Debug)]
pub struct Database {
    history: Vec<Arc<World>>,
    last_id: i64,
    /// Answers nobody while it is down.
    pub is_up: bool,
}

impl Database {
    pub fn new() -> Database {
        Database {
            history: vec![Arc::default()],
            last_id: 0,
            is_up: true,
        }
    }

    pub fn now(&self) -> Version {
        self.history.len() - 1
    }

    pub fn world(&self) -> &Arc<World> {
        &self.history[self.now()]
    }

    pub fn at(&self, version: Version) -> &Arc<World> {
        &self.history[version]
    }

    /// Every channel that there ever was.
    pub fn channels_ever(&self) -> impl Iterator<Item = i64> {
        1..=self.last_id
    }

    /// One transaction, done at once and whole, or not at all.
    pub fn commit(&mut self, edit: &Edit, at_ms: i64) -> Result<(Version, Applied), Moot> {
        let mut world = World::clone(self.world());
        let version = self.history.len();
        let applied = world.apply(edit, version, &mut self.last_id, at_ms)?;
        self.history.push(Arc::new(world));
        Ok((version, applied))
    }
}

impl World {
    pub fn channel(&self, id: i64) -> Option<&ChannelRows> {
        self.channels.get(&id).map(Arc::as_ref)
    }

    /// The channel's rows, to be written by this version.
    pub fn write(&mut self, id: i64, version: Version) -> Result<&mut ChannelRows, Moot> {
        let rows = Arc::make_mut(self.channels.get_mut(&id).ok_or(Moot::NotFound)?);
        rows.touched = version;
        Ok(rows)
    }
}

impl ChannelRows {
    pub fn key(&self, id: i64) -> Option<&KeyRows> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub fn key_mut(&mut self, id: i64) -> Result<&mut KeyRows, Moot> {
        self.keys
            .iter_mut()
            .find(|key| key.id == id)
            .ok_or(Moot::NotFound)
    }

    /// Something of these rows cannot be read.
    pub fn has_rot(&self) -> bool {
        self.bad_status
            || self.bad_spec
            || self.keys.iter().any(|key| key.bad_status || key.bad_secret)
            || self.abilities.values().any(AbilityRows::has_rot)
    }

    pub fn repair(&mut self) {
        (self.bad_status, self.bad_spec) = (false, false);
        for key in &mut self.keys {
            (key.bad_status, key.bad_secret) = (false, false);
        }
        for ability in self.abilities.values_mut() {
            ability.repair();
        }
    }
}

impl AbilityRows {
    pub fn has_rot(&self) -> bool {
        self.bad_enabled || self.bad_held || self.bad_priority || self.bad_weight
    }

    fn repair(&mut self) {
        (self.bad_enabled, self.bad_held) = (false, false);
        (self.bad_priority, self.bad_weight) = (false, false);
    }
}
