//! What the database tells the router: plain structs that `store` fills.
//!
//! R7 is why a row comes in two halves. Ids and statuses are read by themselves and always hold; the
//! rest of a row may fail to decode and is then a [`RowFault`], in place of which the last good
//! definition serves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::{ChannelId, KeyId, ModelName, Protocol, Protocols};

/// Whether a channel or key may be used, in the database's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Enabled,
    /// Closed by an operator: only an operator opens it again.
    Disabled,
    /// Closed by the relay: a test that succeeds opens it again.
    AutoDisabled,
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Status::Enabled => "enabled",
            Status::Disabled => "disabled",
            Status::AutoDisabled => "auto_disabled",
        }
    }

    pub fn parse(word: &str) -> Option<Status> {
        match word {
            "enabled" => Some(Status::Enabled),
            "disabled" => Some(Status::Disabled),
            "auto_disabled" => Some(Status::AutoDisabled),
            _ => None,
        }
    }
}

/// Why a column could not be read. `expected` never quotes the value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("column {column}: {expected}")]
pub struct RowFault {
    pub column: String,
    pub expected: String,
}

impl RowFault {
    pub fn new(column: &str, expected: impl Into<String>) -> Self {
        Self {
            column: column.to_owned(),
            expected: expected.into(),
        }
    }
}

/// A row of `channels`.
#[derive(Clone, Debug)]
pub struct ChannelRow {
    pub id: ChannelId,
    /// An unreadable status is never open, and may be open for all we know.
    pub status: Result<Status, RowFault>,
    /// Unix milliseconds; 0 when it cannot be read.
    pub status_changed_at: i64,
    pub status_reason: Option<String>,
    pub spec: Result<Arc<ChannelSpec>, RowFault>,
}

/// A row of `channel_keys`.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub id: KeyId,
    pub channel: ChannelId,
    pub status: Result<Status, RowFault>,
    /// Unix milliseconds; 0 when it cannot be read.
    pub status_changed_at: i64,
    pub key: Result<KeySpec, RowFault>,
}

/// What of a key is used to speak to its upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    pub secret: Secret,
    /// The secret's last four characters.
    pub hint: Arc<str>,
}

/// A channel with everything that is needed to ask it, whatever its status and its keys' are.
#[derive(Clone, Debug)]
pub struct ChannelRows {
    pub channel: ChannelRow,
    /// In order of their ids.
    pub keys: Vec<KeyRow>,
    /// The models of its abilities, each once, in byte order.
    pub models: Vec<ModelName>,
}

/// A row of `abilities`; the names are borrowed from the driver's row.
#[derive(Clone, Debug)]
pub struct AbilityRow<'a> {
    pub group: &'a str,
    pub model: &'a str,
    pub channel: ChannelId,
    /// Unreadable flags are never open, and may be open for all we know.
    pub enabled: Result<bool, RowFault>,
    pub held: Result<bool, RowFault>,
    /// Overrides the channel's, where given.
    pub priority: Result<Option<i64>, RowFault>,
    pub weight: Result<Option<u32>, RowFault>,
}

/// A channel's definition: everything of its row but id and status.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelSpec {
    pub name: String,
    /// A name that the code's list of providers has; decides the protocols unless `settings` does.
    pub provider: String,
    pub traits: ProviderTraits,
    pub base_url: Option<String>,
    pub priority: i64,
    pub weight: u32,
    pub tag: Option<String>,
    pub key_mode: KeyMode,
    /// The model that the client asks for → the model that this upstream knows.
    pub model_mapping: BTreeMap<String, String>,
    /// Header name → value; `null` takes the header away.
    pub header_override: BTreeMap<String, Option<String>>,
    /// Merged into a JSON body's top level; `null` takes the field away.
    pub param_override: Map<String, Value>,
    pub settings: Settings,
    pub test_model: Option<String>,
    /// Whether the relay may close this channel and its keys by itself.
    pub auto_disable: bool,
}

impl ChannelSpec {
    /// The protocols that this channel speaks: its own setting, else its provider's.
    pub fn protocols(&self) -> Protocols {
        match &self.settings.protocols {
            Some(protocols) => protocols.iter().copied().collect(),
            None => self.traits.protocols,
        }
    }
}

/// What the router must know of a provider; the code's list of providers tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderTraits {
    pub protocols: Protocols,
    /// False for upstreams such as Ollama: their channels are open without a key.
    pub needs_key: bool,
}

/// Looks a provider up by name. Handed in, as the list lives in a room that the router does not know.
pub type ProviderLookup = fn(&str) -> Option<ProviderTraits>;

/// How a channel's next key is chosen where no affinity decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyMode {
    #[default]
    Random,
    /// One after the other.
    Polling,
}

/// The column `settings` of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `http://`, `https://`, `socks5://` or `socks5h://` URL through which this upstream is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    #[serde(skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    /// Attempts in flight at once; none: unbounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// The protocols that this upstream speaks, in place of its provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<Protocol>>,
    /// A base URL for single protocols, before `base_url`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub base_urls: BTreeMap<Protocol, String>,
    /// Azure: use the deployment URLs of this API version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

/// What is configured for a model: a row of `models`. Most models have none.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    pub name: ModelName,
    /// Other models, in the order in which they are tried when this one cannot be served.
    pub fallbacks: Vec<ModelName>,
    /// Before the channel's own and the relay's; `first_token_timeout_ms` is in it.
    pub timeouts: Timeouts,
    /// Whether a conversation keeps to one channel and key.
    pub affinity: bool,
}

impl ModelSpec {
    /// What holds for a model of which nothing is configured.
    pub fn plain(name: ModelName) -> ModelSpec {
        ModelSpec {
            name,
            fallbacks: Vec::new(),
            timeouts: Timeouts::default(),
            affinity: true,
        }
    }
}

/// The column `settings` of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    #[serde(skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    /// Whether a conversation keeps to one channel and key; none: it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<bool>,
}

/// How long an attempt may take, in seconds (fractions allowed); what is absent is inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<f64>,
    /// To the status line; streams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<f64>,
    /// To the first real event; streams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token: Option<f64>,
    /// Silence on a stream before its first text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_before_text: Option<f64>,
    /// Silence on a stream after its first text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<f64>,
    /// A whole plain request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
}

impl Timeouts {
    pub fn is_empty(&self) -> bool {
        *self == Timeouts::default()
    }
}

/// A secret that shows itself to nobody but who asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(secret: &str) -> Self {
        Self(Arc::from(secret))
    }

    /// The secret itself: only for what is sent to its own upstream or written to its own row.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_of_three_words() {
        for (status, word) in [
            (Status::Enabled, "enabled"),
            (Status::Disabled, "disabled"),
            (Status::AutoDisabled, "auto_disabled"),
        ] {
            assert_eq!((status.word(), Status::parse(word)), (word, Some(status)));
        }
        for word in ["", "Enabled", "enabled ", "autodisabled"] {
            assert_eq!(Status::parse(word), None, "{word:?}");
        }
    }

    #[test]
    fn a_secret_is_shown_only_by_name() {
        let secret = Secret::new("sk-1");
        assert_eq!(
            (secret.reveal(), format!("{secret:?}")),
            ("sk-1", "Secret(…)".to_owned())
        );
    }

    #[test]
    fn timeouts_are_empty_where_none_is_set() {
        assert!(Timeouts::default().is_empty());
        let total = Some(1.0);
        assert!(
            !Timeouts {
                total,
                ..Timeouts::default()
            }
            .is_empty()
        );
    }
}
