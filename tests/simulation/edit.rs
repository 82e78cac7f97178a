//! What operators and the relay write: each edit is one transaction, as `src/store` makes it, and tells what it has
//! touched and closed.

use std::sync::Arc;

use pointsman::routing::closings::Closed;
use pointsman::routing::ids::{ChannelId, KeyId, Protocol};
use pointsman::routing::rows::Status;

use crate::world::{Ability, AbilityRows, ChannelRows, GROUPS, KeyRows, MODELS, Spec, Version, World};

#[derive(Clone, Debug)]
pub enum Edit {
    /// An operator's word (`store::change_status::set_channel`).
    Status {
        channel: i64,
        to: Status,
    },
    /// The relay's own (`AutoDisable`, `Reopen`): only if all is still as it was judged.
    Auto {
        channel: i64,
        key: Option<i64>,
        to: Status,
        seen: (Status, i64),
    },
    Key {
        channel: i64,
        key: i64,
        to: Status,
    },
    AddKey {
        channel: i64,
    },
    ReplaceKey {
        channel: i64,
        key: i64,
    },
    DeleteKey {
        channel: i64,
        key: i64,
    },
    Hold {
        channel: i64,
        ability: Ability,
        held: bool,
    },
    Override {
        channel: i64,
        ability: Ability,
        priority: Option<i64>,
        weight: Option<u32>,
    },
    /// Groups and models added and taken away, or moved, in one commit.
    Abilities {
        channel: i64,
        add: Vec<Ability>,
        remove: Vec<Ability>,
    },
    Settings {
        channel: i64,
        priority: i64,
        weight: u32,
        protocols: Vec<Protocol>,
        max_in_flight: Option<u32>,
    },
    Create {
        spec: Spec,
        abilities: Vec<Ability>,
        keys: usize,
    },
    Delete {
        channel: i64,
    },
    /// One channel closed and another opened, in one commit.
    Swap {
        close: i64,
        open: i64,
    },
    /// Somebody writes a channel's status by hand, and not its abilities'.
    ByHand {
        channel: i64,
        to: Status,
    },
    /// Somebody writes nonsense into a row.
    Rot {
        channel: i64,
        part: Rot,
    },
    Repair {
        channel: i64,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Rot {
    Status,
    Spec,
    KeyStatus(usize),
    Secret(usize),
    Enabled(usize),
    Held(usize),
    Priority(usize),
    Weight(usize),
}

/// What a transaction has done to routing.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub touched: Vec<i64>,
    pub closed: Vec<Closed>,
}

/// Nothing was written: there is nothing to do, or somebody was faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moot {
    NotFound,
    Superseded,
    NoEnabledKey,
}

impl World {
    pub fn apply(
        &mut self,
        edit: &Edit,
        version: Version,
        last_id: &mut i64,
        at_ms: i64,
    ) -> Result<Applied, Moot> {
        let mut closed = Vec::new();
        let touched = match edit {
            Edit::Status { channel, to } => {
                self.set_status(*channel, *to, version, at_ms, &mut closed)?;
                vec![*channel]
            }
            Edit::Auto {
                channel,
                key: None,
                to,
                seen,
            } => {
                let rows = self.write(*channel, version)?;
                if (rows.status, rows.changed_at) != *seen || rows.bad_status {
                    return Err(Moot::Superseded);
                }
                self.set_status(*channel, *to, version, at_ms, &mut closed)?;
                vec![*channel]
            }
            Edit::Auto {
                channel,
                key: Some(key),
                to,
                seen,
            } => {
                let rows = self.write(*channel, version)?;
                let row = rows.key_mut(*key)?;
                if (row.status, row.changed_at) != *seen || row.bad_status {
                    return Err(Moot::Superseded);
                }
                set_key(rows, *key, *to, at_ms, &mut closed)?;
                vec![*channel]
            }
            Edit::Key { channel, key, to } => {
                set_key(self.write(*channel, version)?, *key, *to, at_ms, &mut closed)?;
                vec![*channel]
            }
            Edit::AddKey { channel } => {
                let rows = self.write(*channel, version)?;
                rows.keys.push(new_key(last_id, at_ms));
                open_with_its_key(rows, at_ms);
                vec![*channel]
            }
            Edit::ReplaceKey { channel, key } => {
                replace_key(self.write(*channel, version)?, *key, last_id, at_ms, &mut closed)?;
                vec![*channel]
            }
            Edit::DeleteKey { channel, key } => {
                let rows = self.write(*channel, version)?;
                rows.key_mut(*key)?;
                close_without(rows, *key, &mut closed);
                rows.keys.retain(|row| row.id != *key);
                vec![*channel]
            }
            Edit::Hold {
                channel,
                ability,
                held,
            } => {
                let rows = self.write(*channel, version)?;
                let row = rows.abilities.get_mut(ability).ok_or(Moot::NotFound)?;
                (row.held, row.bad_held) = (*held, false);
                if *held {
                    closed.push(closed_ability(*channel, *ability));
                }
                vec![*channel]
            }
            Edit::Override {
                channel,
                ability,
                priority,
                weight,
            } => {
                let rows = self.write(*channel, version)?;
                let row = rows.abilities.get_mut(ability).ok_or(Moot::NotFound)?;
                (row.priority, row.bad_priority) = (*priority, false);
                (row.weight, row.bad_weight) = (*weight, false);
                vec![*channel]
            }
            Edit::Abilities { channel, add, remove } => {
                move_abilities(self.write(*channel, version)?, add, remove, &mut closed);
                vec![*channel]
            }
            Edit::Settings {
                channel,
                priority,
                weight,
                protocols,
                max_in_flight,
            } => {
                let rows = self.write(*channel, version)?;
                let spec = &mut rows.spec;
                (spec.priority, spec.weight) = (*priority, *weight);
                (spec.protocols, spec.max_in_flight) = (protocols.clone(), *max_in_flight);
                rows.bad_spec = false;
                vec![*channel]
            }
            Edit::Create {
                spec,
                abilities,
                keys,
            } => {
                vec![self.create(spec, abilities, *keys, version, last_id, at_ms)]
            }
            Edit::Delete { channel } => {
                self.channels.remove(channel).ok_or(Moot::NotFound)?;
                closed.push(Closed::Channel(ChannelId(*channel)));
                vec![*channel]
            }
            Edit::Swap { close, open } => {
                self.set_status(*open, Status::Enabled, version, at_ms, &mut closed)?;
                self.set_status(*close, Status::Disabled, version, at_ms, &mut closed)?;
                vec![*close, *open]
            }
            Edit::ByHand { channel, to } => {
                let rows = self.write(*channel, version)?;
                (rows.status, rows.changed_at) = (*to, later(rows.changed_at, at_ms));
                (rows.bad_status, rows.by_hand) = (false, true);
                vec![*channel]
            }
            Edit::Rot { channel, part } => {
                scribble(self.write(*channel, version)?, *part)?;
                vec![*channel]
            }
            Edit::Repair { channel } => {
                self.write(*channel, version)?.repair();
                vec![*channel]
            }
        };
        Ok(Applied { touched, closed })
    }

    /// The channel's status, and with it its abilities' `enabled`; opening brings back what the relay has closed.
    fn set_status(
        &mut self,
        channel: i64,
        to: Status,
        version: Version,
        at_ms: i64,
        closed: &mut Vec<Closed>,
    ) -> Result<(), Moot> {
        let rows = self.write(channel, version)?;
        let opens = to == Status::Enabled;
        if opens {
            let would_serve = |key: &KeyRows| !key.bad_status && key.status != Status::Disabled;
            if rows.spec.needs_key && !rows.keys.iter().any(would_serve) {
                return Err(Moot::NoEnabledKey);
            }
            for key in rows
                .keys
                .iter_mut()
                .filter(|key| key.status == Status::AutoDisabled && !key.bad_status)
            {
                (key.status, key.changed_at) = (Status::Enabled, later(key.changed_at, at_ms));
            }
        } else {
            closed.push(Closed::Channel(ChannelId(channel)));
        }
        write_status(rows, to, at_ms);
        Ok(())
    }

    fn create(
        &mut self,
        spec: &Spec,
        abilities: &[Ability],
        keys: usize,
        version: Version,
        last_id: &mut i64,
        at_ms: i64,
    ) -> i64 {
        *last_id += 1;
        let id = *last_id;
        let open = AbilityRows {
            enabled: true,
            ..AbilityRows::default()
        };
        let rows = ChannelRows {
            id,
            status: Status::Enabled,
            changed_at: at_ms,
            spec: spec.clone(),
            keys: (0..keys).map(|_| new_key(last_id, at_ms)).collect(),
            abilities: abilities.iter().map(|ability| (*ability, open.clone())).collect(),
            bad_status: false,
            bad_spec: false,
            by_hand: false,
            touched: version,
        };
        self.channels.insert(id, Arc::new(rows));
        id
    }
}

fn write_status(rows: &mut ChannelRows, to: Status, at_ms: i64) {
    (rows.status, rows.changed_at) = (to, later(rows.changed_at, at_ms));
    (rows.bad_status, rows.by_hand) = (false, false);
    for ability in rows.abilities.values_mut() {
        (ability.enabled, ability.bad_enabled) = (to == Status::Enabled, false);
    }
}

fn set_key(
    rows: &mut ChannelRows,
    key: i64,
    to: Status,
    at_ms: i64,
    closed: &mut Vec<Closed>,
) -> Result<(), Moot> {
    let row = rows.key_mut(key)?;
    (row.status, row.changed_at, row.bad_status) = (to, later(row.changed_at, at_ms), false);
    if to == Status::Enabled {
        open_with_its_key(rows, at_ms);
        return Ok(());
    }
    let was_last = close_without(rows, key, closed);
    if was_last && to == Status::AutoDisabled && rows.status == Status::Enabled && !rows.bad_status {
        write_status(rows, to, at_ms);
    }
    Ok(())
}

fn replace_key(
    rows: &mut ChannelRows,
    key: i64,
    last_id: &mut i64,
    at_ms: i64,
    closed: &mut Vec<Closed>,
) -> Result<(), Moot> {
    let row = rows.key_mut(key)?;
    *last_id += 1;
    (row.secret, row.bad_secret) = (*last_id as u64, false);
    row.changed_at = later(row.changed_at, at_ms);
    if row.status == Status::AutoDisabled {
        row.status = Status::Enabled;
    }
    if row.status != Status::Disabled {
        open_with_its_key(rows, at_ms);
    }
    closed.push(Closed::Key {
        channel: ChannelId(rows.id),
        key: KeyId(key),
    });
    Ok(())
}

/// A channel that the relay has closed for want of a key is open again as soon as it has one.
fn open_with_its_key(rows: &mut ChannelRows, at_ms: i64) {
    if rows.status == Status::AutoDisabled && rows.spec.needs_key && !rows.bad_status {
        write_status(rows, Status::Enabled, at_ms);
    }
}

/// What closes when this key serves no longer; whether the channel does.
fn close_without(rows: &ChannelRows, gone: i64, closed: &mut Vec<Closed>) -> bool {
    closed.push(Closed::Key {
        channel: ChannelId(rows.id),
        key: KeyId(gone),
    });
    let serves = |key: &KeyRows| key.id != gone && key.status == Status::Enabled && !key.bad_status;
    let was_last = rows.spec.needs_key && !rows.keys.iter().any(serves);
    if was_last {
        closed.push(Closed::Channel(ChannelId(rows.id)));
    }
    was_last
}

fn move_abilities(rows: &mut ChannelRows, add: &[Ability], remove: &[Ability], closed: &mut Vec<Closed>) {
    for ability in remove {
        if rows.abilities.remove(ability).is_some() {
            closed.push(closed_ability(rows.id, *ability));
        }
    }
    let enabled = rows.status == Status::Enabled;
    for ability in add {
        let row = AbilityRows {
            enabled,
            ..AbilityRows::default()
        };
        rows.abilities.entry(*ability).or_insert(row);
    }
}

fn scribble(rows: &mut ChannelRows, part: Rot) -> Result<(), Moot> {
    match part {
        Rot::Status => rows.bad_status = true,
        Rot::Spec => rows.bad_spec = true,
        Rot::KeyStatus(place) => nth_key(rows, place)?.bad_status = true,
        Rot::Secret(place) => nth_key(rows, place)?.bad_secret = true,
        Rot::Enabled(place) => nth_ability(rows, place)?.bad_enabled = true,
        Rot::Held(place) => nth_ability(rows, place)?.bad_held = true,
        Rot::Priority(place) => nth_ability(rows, place)?.bad_priority = true,
        Rot::Weight(place) => nth_ability(rows, place)?.bad_weight = true,
    }
    Ok(())
}

fn nth_key(rows: &mut ChannelRows, place: usize) -> Result<&mut KeyRows, Moot> {
    let place = place.checked_rem(rows.keys.len()).ok_or(Moot::NotFound)?;
    rows.keys.get_mut(place).ok_or(Moot::NotFound)
}

fn nth_ability(rows: &mut ChannelRows, place: usize) -> Result<&mut AbilityRows, Moot> {
    let place = place.checked_rem(rows.abilities.len()).ok_or(Moot::NotFound)?;
    rows.abilities.values_mut().nth(place).ok_or(Moot::NotFound)
}

fn new_key(last_id: &mut i64, at_ms: i64) -> KeyRows {
    *last_id += 1;
    KeyRows {
        id: *last_id,
        status: Status::Enabled,
        changed_at: at_ms,
        secret: *last_id as u64,
        bad_status: false,
        bad_secret: false,
    }
}

fn closed_ability(channel: i64, (group, model): Ability) -> Closed {
    Closed::Ability {
        channel: ChannelId(channel),
        group: GROUPS[group].clone(),
        model: MODELS[model].clone(),
    }
}

/// Each change of a status can be told from the last.
fn later(before: i64, at_ms: i64) -> i64 {
    at_ms.max(before + 1)
}
