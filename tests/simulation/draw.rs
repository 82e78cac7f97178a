//! Edits drawn at random from what there is.

use pointsman::routing::ids::Protocol;
use pointsman::routing::rows::Status;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::edit::{Edit, Rot};
use crate::run::pick_one;
use crate::world::{Ability, ChannelRows, GROUPS, MODELS, Spec, World};

/// More would only make questions easier to serve.
const CHANNELS_AT_MOST: usize = 5;

/// How many of the groups and models a run has: with one of each, everything meets.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub groups: usize,
    pub models: usize,
}

impl Size {
    pub fn draw(rng: &mut SmallRng) -> Size {
        let (groups, models) =
            [(1, 1), (1, 1), (2, 1), (2, 2), (GROUPS.len(), MODELS.len())][rng.random_range(0..5)];
        Size { groups, models }
    }
}

pub fn edit(world: &World, size: Size, rng: &mut SmallRng) -> Edit {
    let ids: Vec<i64> = world.channels.keys().copied().collect();
    let (Some(channel), true) = (pick_one(&ids, rng).copied(), ids.len() <= CHANNELS_AT_MOST) else {
        return match ids.len() {
            0 => create(size, rng),
            _ => Edit::Delete {
                channel: ids[rng.random_range(0..ids.len())],
            },
        };
    };
    let rows = &world.channels[&channel];
    let key = rows
        .keys
        .get(rng.random_range(0..rows.keys.len().max(1)))
        .map(|key| key.id);
    let ability = rows
        .abilities
        .keys()
        .nth(rng.random_range(0..rows.abilities.len().max(1)))
        .copied();
    match (rng.random_range(0..24), key, ability) {
        (0..4, ..) => Edit::Status {
            channel,
            to: Status::Disabled,
        },
        (4..9, ..) => Edit::Status {
            channel,
            to: Status::Enabled,
        },
        (9, Some(key), _) => Edit::Key {
            channel,
            key,
            to: Status::Disabled,
        },
        (10, Some(key), _) => Edit::Key {
            channel,
            key,
            to: Status::Enabled,
        },
        (11, ..) if rows.keys.len() < 3 => Edit::AddKey { channel },
        (12, Some(key), _) => Edit::ReplaceKey { channel, key },
        (13, Some(key), _) => Edit::DeleteKey { channel, key },
        (14, _, Some(ability)) => Edit::Hold {
            channel,
            ability,
            held: true,
        },
        (15, _, Some(ability)) => Edit::Hold {
            channel,
            ability,
            held: false,
        },
        (16, _, Some(ability)) => Edit::Override {
            channel,
            ability,
            priority: rng.random_bool(0.5).then(|| rng.random_range(0..3)),
            weight: rng.random_bool(0.5).then(|| rng.random_range(0..3)),
        },
        (17..19, _, Some(from)) => move_model(channel, from, size, rng),
        (19, ..) => Edit::Abilities {
            channel,
            add: abilities(size, rng),
            remove: Vec::new(),
        },
        (20, ..) => settings(channel, rng),
        (21, ..) => create(size, rng),
        (22, ..) if ids.len() > 2 => Edit::Delete { channel },
        (23, ..) if ids.len() > 1 => swap(world, &ids, rng),
        _ => reopen(rows),
    }
}

/// A model moves to another group, or goes.
fn move_model(channel: i64, from: Ability, size: Size, rng: &mut SmallRng) -> Edit {
    let to = (rng.random_range(0..size.groups), from.1);
    let add = if rng.random_bool(0.8) && to != from {
        vec![to]
    } else {
        Vec::new()
    };
    Edit::Abilities {
        channel,
        add,
        remove: vec![from],
    }
}

/// An open channel goes, and a closed one comes, in one commit.
fn swap(world: &World, ids: &[i64], rng: &mut SmallRng) -> Edit {
    let is = |status| move |id: &&i64| (world.channels[*id].status == Status::Enabled) == status;
    let open: Vec<i64> = ids.iter().filter(is(true)).copied().collect();
    let closed: Vec<i64> = ids.iter().filter(is(false)).copied().collect();
    match (pick_one(&open, rng), pick_one(&closed, rng)) {
        (Some(close), Some(open)) => Edit::Swap {
            close: *close,
            open: *open,
        },
        _ => Edit::Status {
            channel: ids[0],
            to: Status::Disabled,
        },
    }
}

/// A test by the relay that has gone well.
fn reopen(rows: &ChannelRows) -> Edit {
    let to = Status::Enabled;
    match rows.keys.iter().find(|key| key.status == Status::AutoDisabled) {
        Some(key) => {
            let seen = (key.status, key.changed_at);
            Edit::Auto {
                channel: rows.id,
                key: Some(key.id),
                to,
                seen,
            }
        }
        None if rows.status == Status::AutoDisabled => Edit::Auto {
            channel: rows.id,
            key: None,
            to,
            seen: (rows.status, rows.changed_at),
        },
        None => Edit::Status { channel: rows.id, to },
    }
}

pub fn create(size: Size, rng: &mut SmallRng) -> Edit {
    let needs_key = rng.random_range(0..4) > 0;
    let spec = Spec {
        protocols: protocols(rng),
        priority: rng.random_range(0..3),
        weight: rng.random_range(0..3),
        needs_key,
        polling: rng.random_bool(0.3),
        max_in_flight: max_in_flight(rng),
    };
    Edit::Create {
        spec,
        abilities: abilities(size, rng),
        keys: if needs_key { rng.random_range(1..3) } else { 0 },
    }
}

fn settings(channel: i64, rng: &mut SmallRng) -> Edit {
    Edit::Settings {
        channel,
        priority: rng.random_range(0..3),
        weight: rng.random_range(0..3),
        protocols: protocols(rng),
        max_in_flight: max_in_flight(rng),
    }
}

fn max_in_flight(rng: &mut SmallRng) -> Option<u32> {
    (rng.random_range(0..4) == 0).then(|| rng.random_range(1..3))
}

fn protocols(rng: &mut SmallRng) -> Vec<Protocol> {
    match rng.random_range(0..4) {
        0 => vec![Protocol::Anthropic],
        1 => vec![Protocol::OpenAi, Protocol::Anthropic],
        _ => vec![Protocol::OpenAi],
    }
}

fn abilities(size: Size, rng: &mut SmallRng) -> Vec<Ability> {
    let place = |rng: &mut SmallRng| (rng.random_range(0..size.groups), rng.random_range(0..size.models));
    (0..rng.random_range(1..5)).map(|_| place(rng)).collect()
}

/// What somebody does with the database's own tools.
pub fn by_hand(world: &World, size: Size, rng: &mut SmallRng) -> Edit {
    let ids: Vec<i64> = world.channels.keys().copied().collect();
    match pick_one(&ids, rng) {
        Some(channel) if rng.random_range(0..3) == 0 => Edit::ByHand {
            channel: *channel,
            to: [Status::Enabled, Status::Disabled][rng.random_range(0..2)],
        },
        _ => edit(world, size, rng),
    }
}

pub fn rot(world: &World, rng: &mut SmallRng) -> Option<Edit> {
    let ids: Vec<i64> = world.channels.keys().copied().collect();
    let channel = *pick_one(&ids, rng)?;
    let place = rng.random_range(0..9);
    let part = match rng.random_range(0..8) {
        0 => Rot::Status,
        1 => Rot::Spec,
        2 => Rot::KeyStatus(place),
        3 => Rot::Secret(place),
        4 => Rot::Enabled(place),
        5 => Rot::Held(place),
        6 => Rot::Priority(place),
        _ => Rot::Weight(place),
    };
    Some(Edit::Rot { channel, part })
}

impl Edit {
    /// The channels that it names; one that it creates has no number yet.
    pub fn channels(&self) -> Vec<i64> {
        match self {
            Edit::Create { .. } => Vec::new(),
            Edit::Swap { close, open } => vec![*close, *open],
            Edit::Status { channel, .. }
            | Edit::Auto { channel, .. }
            | Edit::Key { channel, .. }
            | Edit::AddKey { channel }
            | Edit::ReplaceKey { channel, .. }
            | Edit::DeleteKey { channel, .. }
            | Edit::Hold { channel, .. }
            | Edit::Override { channel, .. }
            | Edit::Abilities { channel, .. }
            | Edit::Settings { channel, .. }
            | Edit::Delete { channel }
            | Edit::ByHand { channel, .. }
            | Edit::Rot { channel, .. }
            | Edit::Repair { channel } => vec![*channel],
        }
    }
}

/// The database in words.
pub fn words(world: &World) -> String {
    let channels = world.channels.values().map(|rows| {
        let keys: Vec<String> = rows.keys.iter().map(|key| format!("{} {:?}", key.id, key.status)).collect();
        let abilities: Vec<String> = rows
            .abilities
            .keys()
            .map(|(group, model)| format!("{}/{}", GROUPS[*group], MODELS[*model]))
            .collect();
        let Spec { priority, weight, protocols, max_in_flight, .. } = &rows.spec;
        format!(
            "channel {} ({:?}, priority {priority}, weight {weight}, {protocols:?}, max {max_in_flight:?}, keys {keys:?}) \
             for {abilities:?}",
            rows.id, rows.status
        )
    });
    channels.collect::<Vec<_>>().join("; ")
}
