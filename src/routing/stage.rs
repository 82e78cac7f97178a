//! For tests of this room: rows from a few words.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Draft;
use super::ids::{ChannelId, Generation, KeyId, Moment, Protocol};
use super::pick::{CoolingRule, Question};
use super::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ProviderTraits, RowFault, Secret,
    Settings, Status,
};
use super::snapshot::Snapshot;
use super::tried::Tried;

/// A channel and its rows, as the database would tell them.
#[derive(Clone, Debug)]
pub struct Rows {
    pub id: i64,
    pub status: Option<Status>,
    pub readable: bool,
    pub priority: i64,
    pub weight: u32,
    pub protocols: Vec<Protocol>,
    /// Key ids and whether they are enabled.
    pub keys: Vec<(i64, bool)>,
    /// Group, model, enabled, held.
    pub abilities: Vec<(String, String, bool, bool)>,
    /// Overrides of priority and weight, by place in `abilities`.
    pub overrides: BTreeMap<usize, (Option<i64>, Option<u32>)>,
    /// An ability whose weight cannot be read.
    pub bad_ability: Option<usize>,
}

impl Rows {
    /// An open channel with one key, for group `g` and model `m`.
    pub fn new(id: i64) -> Rows {
        Rows {
            id,
            status: Some(Status::Enabled),
            readable: true,
            priority: 0,
            weight: 1,
            protocols: vec![Protocol::OpenAi],
            keys: vec![(id * 100, true)],
            abilities: vec![("g".to_owned(), "m".to_owned(), true, false)],
            overrides: BTreeMap::new(),
            bad_ability: None,
        }
    }

    pub fn tier(self, priority: i64, weight: u32) -> Rows {
        Rows {
            priority,
            weight,
            ..self
        }
    }

    pub fn serves(self, abilities: &[(&str, &str)]) -> Rows {
        let ability = |(group, model): &(&str, &str)| ((*group).to_owned(), (*model).to_owned(), true, false);
        Rows {
            abilities: abilities.iter().map(ability).collect(),
            ..self
        }
    }

    fn tell(&self, draft: &mut Draft) {
        let fault = || RowFault::new("settings", "expected an object");
        draft.channel(ChannelRow {
            id: ChannelId(self.id),
            status: self
                .status
                .ok_or_else(|| RowFault::new("status", "expected a status")),
            status_changed_at: 0,
            status_reason: None,
            spec: if self.readable {
                Ok(Arc::new(self.spec()))
            } else {
                Err(fault())
            },
        });
        for (id, enabled) in &self.keys {
            draft.key(KeyRow {
                id: KeyId(*id),
                channel: ChannelId(self.id),
                status: Ok(if *enabled {
                    Status::Enabled
                } else {
                    Status::Disabled
                }),
                status_changed_at: 0,
                key: Ok(KeySpec {
                    secret: Secret::new(&format!("sk-{id}")),
                    hint: "hint".into(),
                }),
            });
        }
        for (place, (group, model, enabled, held)) in self.abilities.iter().enumerate() {
            let (priority, weight) = self.overrides.get(&place).copied().unwrap_or_default();
            draft.ability(AbilityRow {
                group,
                model,
                channel: ChannelId(self.id),
                enabled: Ok(*enabled),
                held: Ok(*held),
                priority: Ok(priority),
                weight: match self.bad_ability {
                    Some(bad) if bad == place => Err(RowFault::new("weight", "expected a number")),
                    _ => Ok(weight),
                },
            });
        }
    }

    fn spec(&self) -> ChannelSpec {
        ChannelSpec {
            name: format!("channel {}", self.id),
            provider: "openai".to_owned(),
            traits: ProviderTraits {
                protocols: self.protocols.iter().copied().collect(),
                needs_key: true,
            },
            base_url: None,
            priority: self.priority,
            weight: self.weight,
            tag: None,
            key_mode: KeyMode::Random,
            model_mapping: BTreeMap::new(),
            header_override: BTreeMap::new(),
            param_override: serde_json::Map::new(),
            settings: Settings::default(),
            test_model: None,
            auto_disable: true,
        }
    }
}

pub fn draft<'a>(rows: impl IntoIterator<Item = &'a Rows>) -> Draft {
    let mut draft = Draft::default();
    rows.into_iter().for_each(|rows| rows.tell(&mut draft));
    draft
}

pub fn snapshot<'a>(rows: impl IntoIterator<Item = &'a Rows>, began: u64) -> Snapshot {
    draft(rows).snapshot(&Snapshot::default(), Generation(began), Moment(began))
}

/// `10: 1*3 2*1 | 5: 3*0`: tiers of channels with their weights.
pub fn tiers(picture: &str) -> Vec<Rows> {
    let tier = |tier: &str| -> Vec<Rows> {
        let (priority, channels) = tier.split_once(':').expect("a tier has a priority");
        let priority: i64 = priority.trim().parse().expect("a priority is a number");
        let channel = |word: &str| {
            let (id, weight) = word.split_once('*').expect("a channel has a weight");
            Rows::new(id.parse().expect("an id")).tier(priority, weight.parse().expect("a weight"))
        };
        channels.split_whitespace().map(channel).collect()
    };
    picture.split('|').flat_map(tier).collect()
}

pub fn question(groups: &[&str], model: &str) -> Question {
    Question {
        groups: groups.iter().map(|group| (*group).into()).collect(),
        model: model.into(),
        protocol: Protocol::OpenAi,
        tried: Tried::default(),
        affinity: None,
        state: None,
        cooling: CoolingRule::PassOver,
    }
}

/// A property is tried eight times as often as proptest, or `PROPTEST_CASES`, says.
pub fn cases() -> proptest::test_runner::Config {
    let mut asked = proptest::test_runner::Config::default();
    asked.cases = asked.cases.saturating_mul(8);
    asked
}
