//! What a node keeps on disk to start from without its database: the last good snapshot as rows, and the tokens that
//! it knew. Read back, the rows make a snapshot of the same routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::key_hash::KeyHash;
use super::tokens::{TokenId, TokenRow, TokenStatus};
use crate::routing::build::Draft;
use crate::routing::ids::{ChannelId, GroupName, KeyId, ModelName};
use crate::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ModelSpec, ProviderLookup, RowFault,
    Secret, Settings, Status, Timeouts,
};
use crate::routing::snapshot::{Channel, Snapshot};

/// Everything that is kept.
#[derive(Default, Serialize, Deserialize)]
pub struct Kept {
    /// When the database was read, Unix milliseconds.
    pub kept_at: i64,
    channels: Vec<KeptChannel>,
    /// Group and model names, each once; abilities name them by number.
    groups: Vec<String>,
    models: Vec<String>,
    abilities: Vec<KeptAbility>,
    model_specs: Vec<KeptModel>,
    tokens: Vec<KeptToken>,
}

#[derive(Serialize, Deserialize)]
struct KeptChannel {
    id: i64,
    status: Option<Status>,
    status_changed_at: i64,
    name: String,
    provider: String,
    base_url: Option<String>,
    priority: i64,
    weight: u32,
    tag: Option<String>,
    key_mode: KeyMode,
    model_mapping: BTreeMap<String, String>,
    header_override: BTreeMap<String, Option<String>>,
    param_override: Map<String, Value>,
    settings: Settings,
    test_model: Option<String>,
    auto_disable: bool,
    keys: Vec<KeptKey>,
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    id: i64,
    status_changed_at: i64,
    secret: String,
    hint: String,
}

/// (group, model, channel, priority and weight if it is open)
#[derive(Serialize, Deserialize)]
struct KeptAbility(u32, u32, i64, Option<(i64, u32)>);

#[derive(Serialize, Deserialize)]
struct KeptModel {
    name: String,
    fallbacks: Vec<String>,
    timeouts: Timeouts,
    affinity: bool,
}

#[derive(Serialize, Deserialize)]
struct KeptToken {
    id: i64,
    hash: String,
    name: String,
    enabled: bool,
    groups: Vec<String>,
    models: Option<Vec<String>>,
    allow_ips: Option<Vec<String>>,
    expires_at: Option<i64>,
}

impl Kept {
    /// The snapshot as rows, and the tokens.
    pub fn of(snapshot: &Snapshot, tokens: impl IntoIterator<Item = TokenRow>, kept_at: i64) -> Kept {
        let mut groups = Numbers::default();
        let mut models = Numbers::default();
        let abilities = snapshot.abilities().map(|ability| {
            let group = groups.number(ability.group.as_str());
            let model = models.number(ability.model.as_str());
            KeptAbility(group, model, ability.channel.0, ability.open)
        });
        Kept {
            kept_at,
            abilities: abilities.collect(),
            groups: groups.names,
            models: models.names,
            channels: snapshot.channels().map(|channel| keep_channel(channel)).collect(),
            model_specs: snapshot.models().map(keep_model).collect(),
            tokens: tokens.into_iter().map(keep_token).collect(),
        }
    }

    /// The rows, to build a snapshot from. A channel whose provider is not known any more is left out.
    pub fn draft(&mut self, providers: ProviderLookup) -> Draft {
        let mut draft = Draft::default();
        for channel in std::mem::take(&mut self.channels) {
            let (row, keys) = channel.rows(providers);
            draft.channel(row);
            keys.into_iter().for_each(|key| draft.key(key));
        }
        for KeptAbility(group, model, channel, open) in std::mem::take(&mut self.abilities) {
            let names = (self.groups.get(group as usize), self.models.get(model as usize));
            let (Some(group), Some(model)) = names else {
                continue;
            };
            draft.ability(AbilityRow {
                group,
                model,
                channel: ChannelId(channel),
                enabled: Ok(open.is_some()),
                held: Ok(false),
                priority: Ok(open.map(|(priority, _)| priority)),
                weight: Ok(open.map(|(_, weight)| weight)),
            });
        }
        for model in std::mem::take(&mut self.model_specs) {
            let name = ModelName::new(&model.name);
            let spec = ModelSpec {
                name: name.clone(),
                fallbacks: model.fallbacks.iter().map(|name| ModelName::new(name)).collect(),
                timeouts: model.timeouts,
                affinity: model.affinity,
            };
            draft.model(name, Ok(spec));
        }
        draft
    }

    /// The tokens that were known.
    pub fn take_tokens(&mut self) -> Vec<TokenRow> {
        let tokens = std::mem::take(&mut self.tokens).into_iter();
        tokens.filter_map(KeptToken::row).collect()
    }
}

#[derive(Default)]
struct Numbers {
    names: Vec<String>,
    numbers: rustc_hash::FxHashMap<String, u32>,
}

impl Numbers {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

fn keep_channel(channel: &Channel) -> KeptChannel {
    let spec = &channel.spec;
    let keys = channel.keys.iter().map(|key| KeptKey {
        id: key.id.0,
        status_changed_at: key.status_changed_at,
        secret: key.spec.secret.reveal().to_owned(),
        hint: key.spec.hint.to_string(),
    });
    KeptChannel {
        id: channel.id.0,
        status: channel.status,
        status_changed_at: channel.status_changed_at,
        name: spec.name.clone(),
        provider: spec.provider.clone(),
        base_url: spec.base_url.clone(),
        priority: spec.priority,
        weight: spec.weight,
        tag: spec.tag.clone(),
        key_mode: spec.key_mode,
        model_mapping: spec.model_mapping.clone(),
        header_override: spec.header_override.clone(),
        param_override: spec.param_override.clone(),
        settings: spec.settings.clone(),
        test_model: spec.test_model.clone(),
        auto_disable: spec.auto_disable,
        keys: keys.collect(),
    }
}

impl KeptChannel {
    fn rows(self, providers: ProviderLookup) -> (ChannelRow, Vec<KeyRow>) {
        let id = ChannelId(self.id);
        let traits = providers(&self.provider);
        let spec = traits.map(|traits| ChannelSpec {
            name: self.name,
            provider: self.provider,
            traits,
            base_url: self.base_url,
            priority: self.priority,
            weight: self.weight,
            tag: self.tag,
            key_mode: self.key_mode,
            model_mapping: self.model_mapping,
            header_override: self.header_override,
            param_override: self.param_override,
            settings: self.settings,
            test_model: self.test_model,
            auto_disable: self.auto_disable,
        });
        let row = ChannelRow {
            id,
            status: self
                .status
                .ok_or_else(|| RowFault::new("status", "could not be read")),
            status_changed_at: self.status_changed_at,
            status_reason: None,
            spec: spec
                .map(Arc::new)
                .ok_or_else(|| RowFault::new("provider", "expected one that is known")),
        };
        let keys = self.keys.into_iter().map(|key| KeyRow {
            id: KeyId(key.id),
            channel: id,
            status: Ok(Status::Enabled),
            status_changed_at: key.status_changed_at,
            key: Ok(KeySpec {
                secret: Secret::new(&key.secret),
                hint: key.hint.as_str().into(),
            }),
        });
        (row, keys.collect())
    }
}

fn keep_model(spec: &ModelSpec) -> KeptModel {
    let fallbacks = spec.fallbacks.iter().map(|name| name.as_str().to_owned());
    KeptModel {
        name: spec.name.as_str().to_owned(),
        fallbacks: fallbacks.collect(),
        timeouts: spec.timeouts,
        affinity: spec.affinity,
    }
}

fn keep_token(row: TokenRow) -> KeptToken {
    let models = row.models.map(|models| {
        let names = models.iter().map(|name| name.as_str().to_owned());
        names.collect()
    });
    KeptToken {
        id: row.id.0,
        hash: row.key_hash.to_hex(),
        name: row.name,
        enabled: row.status == TokenStatus::Enabled,
        groups: row.groups.iter().map(|group| group.as_str().to_owned()).collect(),
        models,
        allow_ips: row.allow_ips,
        expires_at: row.expires_at,
    }
}

impl KeptToken {
    fn row(self) -> Option<TokenRow> {
        let status = match self.enabled {
            true => TokenStatus::Enabled,
            false => TokenStatus::Disabled,
        };
        let models = self.models.map(|models| {
            let names = models.iter().map(|name| ModelName::new(name));
            names.collect()
        });
        Some(TokenRow {
            id: TokenId(self.id),
            name: self.name,
            key_hash: KeyHash::from_hex(&self.hash)?,
            hint: String::new(),
            status,
            groups: self.groups.iter().map(|group| GroupName::new(group)).collect(),
            models,
            allow_ips: self.allow_ips,
            expires_at: self.expires_at,
            limits: Value::Null,
            created_at: 0,
            last_used_at: None,
        })
    }
}
