//! Rows from a few words: channels for one group and one model, each open or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman::routing::build::Draft;
use pointsman::routing::ids::{ChannelId, Protocol};
use pointsman::routing::pick::{CoolingRule, Question};
use pointsman::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, ProviderTraits, Settings, Status,
};
use pointsman::routing::tried::Tried;

pub const GROUP: &str = "g";
pub const MODEL: &str = "m";

/// Those of the channels 1, 2, … that `reads` names; of `open` bit n tells of channel n + 1.
pub fn draft(channels: usize, open: u8, reads: impl Fn(usize) -> bool) -> Draft {
    let mut draft = Draft::default();
    for channel in (0..channels).filter(|channel| reads(*channel)) {
        let is_open = open >> channel & 1 == 1;
        tell(&mut draft, channel, is_open, Settings::default(), &[MODEL]);
    }
    draft
}

/// A channel without keys, and its abilities.
pub fn tell(draft: &mut Draft, channel: usize, is_open: bool, settings: Settings, models: &[&str]) {
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
        spec: Ok(Arc::new(spec(settings))),
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

fn spec(settings: Settings) -> ChannelSpec {
    ChannelSpec {
        name: String::new(),
        provider: "openai".to_owned(),
        traits: ProviderTraits {
            protocols: [Protocol::OpenAi].into_iter().collect(),
            needs_key: false,
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
