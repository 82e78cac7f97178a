//! Rows from a few words: channels for one group and one model, each open or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman::routing::build::Draft;
use pointsman::routing::ids::{ChannelId, KeyId, Protocol};
use pointsman::routing::pick::{CoolingRule, Question};
use pointsman::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ProviderTraits, Secret, Settings, Status,
};
use pointsman::routing::tried::Tried;

pub const GROUP: &str = "g";
pub const MODEL: &str = "m";

/// The key of the channel that has one.
pub const KEY: KeyId = KeyId(10);
pub const KEYED: u8 = 1 << 7;
/// One more version of its secret.
pub const SECRET: u8 = 1 << 4;
/// A bit for each channel that is open.
pub const OPEN: u8 = SECRET - 1;

/// Those of the channels 1, 2, … that `reads` names; of `open` bit n tells of channel n + 1.
/// With `KEYED`, a channel has a key, whose secret's version stands at `SECRET`; it is open as its key is enabled.
pub fn draft(channels: usize, open: u8, reads: impl Fn(usize) -> bool) -> Draft {
    let mut draft = Draft::default();
    for channel in (0..channels).filter(|channel| reads(*channel)) {
        let is_open = open >> channel & 1 == 1;
        let is_keyed = open & KEYED != 0;
        tell(
            &mut draft,
            channel,
            is_open || is_keyed,
            is_keyed,
            Settings::default(),
            &[MODEL],
        );
        if is_keyed {
            draft.key(key(channel, is_open, version(open)));
        }
    }
    draft
}

fn key(channel: usize, is_enabled: bool, version: u8) -> KeyRow {
    let status = if is_enabled {
        Status::Enabled
    } else {
        Status::Disabled
    };
    KeyRow {
        id: KEY,
        channel: ChannelId(channel as i64 + 1),
        status: Ok(status),
        status_changed_at: 0,
        key: Ok(KeySpec {
            secret: Secret::new(&version.to_string()),
            hint: "".into(),
        }),
    }
}

/// The version of the secret that a database has.
pub fn version(database: u8) -> u8 {
    (database & !KEYED) / SECRET
}

/// A channel, without keys as yet, and its abilities.
pub fn tell(
    draft: &mut Draft,
    channel: usize,
    is_open: bool,
    needs_key: bool,
    settings: Settings,
    models: &[&str],
) {
    let id = ChannelId(channel as i64 + 1);
    draft.channel(ChannelRow {
        id,
        status: Ok(if is_open {
            Status::Enabled
        } else {
            Status::Disabled
        }),
        status_changed_at: 0,
        status_reason: None,
        spec: Ok(Arc::new(spec(settings, needs_key))),
    });
    for model in models {
        draft.ability(AbilityRow {
            group: GROUP,
            model,
            channel: id,
            enabled: Ok(is_open),
            held: Ok(false),
            priority: Ok(None),
            weight: Ok(None),
        });
    }
}

fn spec(settings: Settings, needs_key: bool) -> ChannelSpec {
    ChannelSpec {
        name: String::new(),
        provider: "openai".to_owned(),
        traits: ProviderTraits {
            protocols: [Protocol::OpenAi].into_iter().collect(),
            needs_key,
        },
        base_url: None,
        priority: 0,
        weight: 1,
        tag: None,
        key_mode: KeyMode::Random,
        model_mapping: BTreeMap::new(),
        header_override: BTreeMap::new(),
        param_override: serde_json::Map::new(),
        settings,
        test_model: None,
        auto_disable: true,
    }
}

pub fn question() -> Question {
    asks(MODEL, CoolingRule::PassOver)
}

pub fn asks(model: &str, cooling: CoolingRule) -> Question {
    Question {
        groups: Arc::from([GROUP.into()]),
        model: model.into(),
        protocol: Protocol::OpenAi,
        tried: Tried::default(),
        affinity: None,
        state: None,
        cooling,
    }
}
