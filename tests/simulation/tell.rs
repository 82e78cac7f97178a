//! What a read brings: the rows of one version, as `src/store` hands them to a `Draft`.
//!
//! A channel's name tells the version that was read, so that the oracle sees where a picked channel comes from.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman::routing::build::Draft;
use pointsman::routing::ids::{ChannelId, GroupName, KeyId, ModelName};
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ProviderTraits, RowFault, Secret, Settings,
};

use crate::world::{Ability, ChannelRows, GROUPS, KeyRows, MODELS, Version, World};

/// `store::load_snapshot`: everything, or every row of some channels; one that is gone has none.
pub fn build(world: &World, version: Version, scope: &Scope) -> Draft {
    let mut draft = Draft::default();
    for rows in world
        .channels
        .values()
        .filter(|rows| scope.covers(ChannelId(rows.id)))
    {
        draft.channel(channel(rows, version));
        rows.keys.iter().for_each(|row| draft.key(key(rows, row)));
        rows.abilities
            .keys()
            .for_each(|place| tell_ability(rows, *place, &mut draft));
    }
    draft
}

/// `store::find_route`: the abilities of one model in some groups, open or not, with their channels and keys.
pub fn lookup(world: &World, version: Version, groups: &[GroupName], model: &ModelName) -> Draft {
    let mut draft = Draft::default();
    for rows in world.channels.values() {
        let asked = |(group, of): &&Ability| groups.contains(&GROUPS[*group]) && MODELS[*of] == *model;
        let places: Vec<&Ability> = rows.abilities.keys().filter(asked).collect();
        if places.is_empty() {
            continue;
        }
        draft.channel(channel(rows, version));
        rows.keys.iter().for_each(|row| draft.key(key(rows, row)));
        places
            .into_iter()
            .for_each(|place| tell_ability(rows, *place, &mut draft));
    }
    draft
}

/// The version that a channel's definition was read at.
pub fn version_of(spec: &ChannelSpec) -> Version {
    spec.name.parse().unwrap_or_default()
}

fn read<T>(is_bad: bool, column: &str, value: T) -> Result<T, RowFault> {
    if is_bad {
        Err(RowFault::new(column, "expected sense"))
    } else {
        Ok(value)
    }
}

fn channel(rows: &ChannelRows, version: Version) -> ChannelRow {
    ChannelRow {
        id: ChannelId(rows.id),
        status: read(rows.bad_status, "status", rows.status),
        status_changed_at: rows.changed_at,
        status_reason: None,
        spec: read(rows.bad_spec, "settings", Arc::new(spec(rows, version))),
    }
}

fn spec(rows: &ChannelRows, version: Version) -> ChannelSpec {
    let spec = &rows.spec;
    ChannelSpec {
        name: version.to_string(),
        provider: String::new(),
        traits: ProviderTraits {
            protocols: spec.protocols.iter().copied().collect(),
            needs_key: spec.needs_key,
        },
        base_url: None,
        priority: spec.priority,
        weight: spec.weight,
        tag: None,
        key_mode: if spec.polling {
            KeyMode::Polling
        } else {
            KeyMode::Random
        },
        model_mapping: BTreeMap::new(),
        header_override: BTreeMap::new(),
        param_override: serde_json::Map::new(),
        settings: Settings {
            max_in_flight: spec.max_in_flight,
            ..Settings::default()
        },
        test_model: None,
        auto_disable: true,
    }
}

fn key(rows: &ChannelRows, row: &KeyRows) -> KeyRow {
    let spec = KeySpec {
        secret: Secret::new(&row.secret.to_string()),
        hint: "".into(),
    };
    KeyRow {
        id: KeyId(row.id),
        channel: ChannelId(rows.id),
        status: read(row.bad_status, "status", row.status),
        status_changed_at: row.changed_at,
        key: read(row.bad_secret, "secret", spec),
    }
}

fn tell_ability(rows: &ChannelRows, (group, model): Ability, draft: &mut Draft) {
    let row = &rows.abilities[&(group, model)];
    draft.ability(AbilityRow {
        group: GROUPS[group].as_str(),
        model: MODELS[model].as_str(),
        channel: ChannelId(rows.id),
        enabled: read(row.bad_enabled, "enabled", row.enabled),
        held: read(row.bad_held, "held", row.held),
        priority: read(row.bad_priority, "priority", row.priority),
        weight: read(row.bad_weight, "weight", row.weight),
    });
}
