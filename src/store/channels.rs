//! Channels as an operator sees and changes them. Statuses are changed by `change_status`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::paging::{Direction, Listed, Page};
use super::receipt::Receipt;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::{KeyMode, RowFault, Secret, Settings, Status};

/// A channel that does not exist yet, with its keys and the abilities `groups` × `models`.
#[derive(Clone, Debug)]
pub struct NewChannel {
    pub name: String,
    pub provider: String,
    pub base_url: Option<String>,
    pub status: Status,
    pub priority: i64,
    pub weight: u32,
    pub tag: Option<String>,
    pub key_mode: KeyMode,
    pub model_mapping: BTreeMap<String, String>,
    pub header_override: BTreeMap<String, Option<String>>,
    pub param_override: Map<String, Value>,
    pub settings: Settings,
    pub test_model: Option<String>,
    pub auto_disable: bool,
    pub remark: Option<String>,
    pub keys: Vec<Secret>,
    pub groups: Vec<GroupName>,
    pub models: Vec<ModelName>,
}

impl NewChannel {
    /// An enabled channel with the tables' defaults and nothing else.
    pub fn new(name: &str, provider: &str) -> Self {
        Self {
            name: name.to_owned(),
            provider: provider.to_owned(),
            base_url: None,
            status: Status::Enabled,
            priority: 0,
            weight: 1,
            tag: None,
            key_mode: KeyMode::Random,
            model_mapping: BTreeMap::new(),
            header_override: BTreeMap::new(),
            param_override: Map::new(),
            settings: Settings::default(),
            test_model: None,
            auto_disable: true,
            remark: None,
            keys: Vec::new(),
            groups: Vec::new(),
            models: Vec::new(),
        }
    }
}

/// What of a channel is to change; `None` stays. An inner `None` empties the column.
#[derive(Clone, Debug, Default)]
pub struct ChannelPatch {
    pub name: Option<String>,
    pub provider: Option<String>,
    pub base_url: Option<Option<String>>,
    pub priority: Option<i64>,
    pub weight: Option<u32>,
    pub tag: Option<Option<String>>,
    pub key_mode: Option<KeyMode>,
    pub model_mapping: Option<BTreeMap<String, String>>,
    pub header_override: Option<BTreeMap<String, Option<String>>>,
    pub param_override: Option<Map<String, Value>>,
    pub settings: Option<Settings>,
    pub test_model: Option<Option<String>>,
    pub auto_disable: Option<bool>,
    pub remark: Option<Option<String>>,
    /// The groups that it serves from now on.
    pub groups: Option<Vec<GroupName>>,
    /// The models that it serves from now on.
    pub models: Option<Vec<ModelName>>,
}

/// A channel as the admin REST shows it. A column that cannot be read is `null` here and named in
/// `faults`, so that an operator can see and mend it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelView {
    pub id: ChannelId,
    pub name: Option<String>,
    pub provider: Option<String>,
    pub base_url: Option<String>,
    pub status: Option<Status>,
    pub status_reason: Option<String>,
    pub status_changed_at: i64,
    pub priority: Option<i64>,
    pub weight: Option<u32>,
    pub tag: Option<String>,
    pub key_mode: Option<KeyMode>,
    /// JSON columns are shown as they stand; an empty column is `null`.
    pub model_mapping: Value,
    pub header_override: Value,
    pub param_override: Value,
    pub settings: Value,
    pub test_model: Option<String>,
    pub auto_disable: Option<bool>,
    pub remark: Option<String>,
    pub tested_at: Option<i64>,
    pub response_ms: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    /// From its abilities.
    pub groups: Vec<GroupName>,
    pub models: Vec<ModelName>,
    pub keys: KeyCounts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<RowFault>,
}

/// How many keys a channel has, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyCounts {
    pub enabled: u64,
    pub disabled: u64,
    pub auto_disabled: u64,
}

/// Which channels a list shows; all conditions hold together.
#[derive(Clone, Debug, Default)]
pub struct ChannelFilter {
    pub group: Option<GroupName>,
    pub model: Option<ModelName>,
    pub status: Option<Status>,
    pub tag: Option<String>,
    pub provider: Option<String>,
    /// A substring of the name, case as it stands.
    pub q: Option<String>,
}

/// By what a list of channels is sorted; the id decides between equals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelSort {
    #[default]
    Id,
    Name,
    Provider,
    Status,
    Priority,
    Weight,
    CreatedAt,
    UpdatedAt,
}

/// Creates a channel, its keys and its abilities in one commit. Repeated secrets are written once.
pub async fn create(database: &Database, new: NewChannel) -> Result<(ChannelId, Receipt), ChangeError> {
    let _ = (database, new);
    todo!()
}

/// One channel, or none.
pub async fn get(database: &Database, id: ChannelId) -> Result<Option<ChannelView>, StoreError> {
    let _ = (database, id);
    todo!()
}

/// A page of the channels that the filter lets through.
pub async fn list(
    database: &Database,
    filter: ChannelFilter,
    sort: (ChannelSort, Direction),
    page: Page,
) -> Result<Listed<ChannelView>, StoreError> {
    let _ = (database, filter, sort, page);
    todo!()
}

/// Changes a channel's definition and abilities in one commit. Abilities that stay keep what they are;
/// new ones are enabled as far as the channel is.
pub async fn patch(database: &Database, id: ChannelId, patch: ChannelPatch) -> Result<Receipt, ChangeError> {
    let _ = (database, id, patch);
    todo!()
}

/// Deletes a channel with its keys and abilities. One that is gone already is no error.
pub async fn delete(database: &Database, id: ChannelId) -> Result<Receipt, ChangeError> {
    let _ = (database, id);
    todo!()
}

/// Keeps what a test of the channel has measured. Touches no route.
pub async fn record_test(
    database: &Database,
    id: ChannelId,
    tested_at: i64,
    response_ms: Option<i64>,
) -> Result<(), ChangeError> {
    let _ = (database, id, tested_at, response_ms);
    todo!()
}
