//! Channels as an operator sees and changes them. Statuses are changed by `change_status`.

use std::collections::BTreeMap;

use entity::{ability, channel, channel_key};
use futures::FutureExt;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::prelude::Json;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use serde_json::{Map, Value};

use super::change_status::ChangeError;
use super::channel_abilities;
use super::channel_views;
use super::commit::{self, Written, now_ms};
use super::connect::{Database, LaneName};
use super::error::StoreError;
use super::ids_given::{Counted, was_given};
use super::keys;
use super::locked_channel::{keys_of, later_than, lock_channel};
use super::paging::{Direction, Listed, Page};
use super::receipt::Receipt;
use super::session::Session;
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::{KeyMode, ProviderLookup, RowFault, Secret, Settings, Status};

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
    /// JSON columns are shown as they stand; an empty column is `{}`.
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
    /// A substring of the name, letters' case aside.
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
    commit::write(database, new, |session, new| insert(session, new).boxed()).await
}

async fn insert(session: &Session, new: &NewChannel) -> Result<Written<ChannelId>, ChangeError> {
    let now = now_ms();
    let row = channel::ActiveModel {
        id: NotSet,
        name: Set(new.name.clone()),
        provider: Set(new.provider.clone()),
        base_url: Set(new.base_url.clone()),
        status: Set(new.status.word().to_owned()),
        status_reason: Set(None),
        status_changed_at: Set(now),
        priority: Set(new.priority),
        weight: Set(new.weight.into()),
        tag: Set(new.tag.clone()),
        key_mode: Set(word(new.key_mode).to_owned()),
        model_mapping: Set(json(&new.model_mapping)?),
        header_override: Set(json(&new.header_override)?),
        param_override: Set(json(&new.param_override)?),
        settings: Set(json(&new.settings)?),
        test_model: Set(new.test_model.clone()),
        auto_disable: Set(new.auto_disable),
        remark: Set(new.remark.clone()),
        tested_at: Set(None),
        response_ms: Set(None),
        created_at: Set(now),
        updated_at: Set(now),
    };
    let id = ChannelId(channel::Entity::insert(row).exec(session).await?.last_insert_id);
    keys::insert_missing(session, id, &new.keys, now).await?;
    channel_abilities::insert_product(session, id, new).await?;
    Ok(Written::routes(id, vec![id], Vec::new()))
}

/// One channel, or none.
pub async fn get(database: &Database, id: ChannelId) -> Result<Option<ChannelView>, StoreError> {
    database
        .read(LaneName::Reads, id, |session, id| {
            channel_views::one(session, *id).boxed()
        })
        .await
}

/// A page of the channels that the filter lets through.
pub async fn list(
    database: &Database,
    filter: ChannelFilter,
    sort: (ChannelSort, Direction),
    page: Page,
) -> Result<Listed<ChannelView>, StoreError> {
    let question = (filter, sort, page);
    database
        .read(LaneName::Reads, question, |session, (filter, sort, page)| {
            channel_views::page(session, filter, *sort, *page).boxed()
        })
        .await
}

/// Changes a channel's definition and abilities in one commit. With `groups` or `models` its abilities
/// become groups × models (the one not named as it was). Abilities that stay keep what they are; new ones
/// are enabled if the channel is.
pub async fn patch(database: &Database, id: ChannelId, patch: ChannelPatch) -> Result<Receipt, ChangeError> {
    let input = (id, patch, database.providers());
    let ((), receipt) = commit::write(database, input, |session, (id, patch, providers)| {
        apply(session, *id, patch, *providers).boxed()
    })
    .await?;
    Ok(receipt)
}

async fn apply(
    session: &Session,
    id: ChannelId,
    patch: &ChannelPatch,
    providers: ProviderLookup,
) -> Result<Written<()>, ChangeError> {
    let locked = lock_channel(session, id).await?;
    let mut row = channel::ActiveModel {
        id: Set(id.0),
        updated_at: Set(later_than(locked.updated_at)),
        ..Default::default()
    };
    set(&mut row.name, &patch.name);
    set(&mut row.provider, &patch.provider);
    set(&mut row.base_url, &patch.base_url);
    set(&mut row.priority, &patch.priority);
    set(&mut row.weight, &patch.weight.map(i64::from));
    set(&mut row.tag, &patch.tag);
    set(
        &mut row.key_mode,
        &patch.key_mode.map(|mode| word(mode).to_owned()),
    );
    set(&mut row.test_model, &patch.test_model);
    set(&mut row.auto_disable, &patch.auto_disable);
    set(&mut row.remark, &patch.remark);
    set(
        &mut row.model_mapping,
        &patch.model_mapping.as_ref().map(json).transpose()?,
    );
    set(
        &mut row.header_override,
        &patch.header_override.as_ref().map(json).transpose()?,
    );
    set(
        &mut row.param_override,
        &patch.param_override.as_ref().map(json).transpose()?,
    );
    set(&mut row.settings, &patch.settings.as_ref().map(json).transpose()?);
    channel::Entity::update_many()
        .set(row)
        .filter(channel::Column::Id.eq(id.0))
        .exec(session)
        .await?;
    let mut closed = channel_abilities::make_product(session, &locked, patch).await?;
    if let Some(provider) = &patch.provider {
        closed.extend(closed_for_want_of_a_key(session, id, provider, providers).await?);
    }
    Ok(Written::routes((), vec![id], closed))
}

/// A channel that did without a key may come to a provider that wants one.
async fn closed_for_want_of_a_key(
    session: &Session,
    id: ChannelId,
    provider: &str,
    providers: ProviderLookup,
) -> Result<Option<Closed>, ChangeError> {
    if providers(provider).is_some_and(|traits| !traits.needs_key) {
        return Ok(None);
    }
    let keys = keys_of(session, id).await?;
    let any = keys.iter().any(|key| key.status == Some(Status::Enabled));
    Ok((!any).then_some(Closed::Channel(id)))
}

/// Deletes a channel with its keys and abilities. One that is gone already is no error; one that never was is.
pub async fn delete(database: &Database, id: ChannelId) -> Result<Receipt, ChangeError> {
    let ((), receipt) = commit::write(database, id, |session, id| remove(session, *id).boxed()).await?;
    Ok(receipt)
}

async fn remove(session: &Session, id: ChannelId) -> Result<Written<()>, ChangeError> {
    match lock_channel(session, id).await {
        Ok(_) => {}
        // Another node may have deleted it: here it may still be in the snapshot.
        Err(ChangeError::NotFound) if was_given(session, Counted::Channels, id.0).await? => {}
        Err(error) => return Err(error),
    }
    ability::Entity::delete_many()
        .filter(ability::Column::ChannelId.eq(id.0))
        .exec(session)
        .await?;
    channel_key::Entity::delete_many()
        .filter(channel_key::Column::ChannelId.eq(id.0))
        .exec(session)
        .await?;
    channel::Entity::delete_many()
        .filter(channel::Column::Id.eq(id.0))
        .exec(session)
        .await?;
    Ok(Written::routes((), vec![id], vec![Closed::Channel(id)]))
}

/// Keeps what a test of the channel has measured. Touches no route. A channel that is gone is no error.
pub async fn record_test(
    database: &Database,
    id: ChannelId,
    tested_at: i64,
    response_ms: Option<i64>,
) -> Result<(), ChangeError> {
    commit::write_aside(
        database,
        (id, tested_at, response_ms),
        |session, (id, tested_at, response_ms)| {
            async move {
                channel::Entity::update_many()
                    .col_expr(channel::Column::TestedAt, (*tested_at).into())
                    .col_expr(channel::Column::ResponseMs, (*response_ms).into())
                    .filter(channel::Column::Id.eq(id.0))
                    .exec(session)
                    .await?;
                Ok(Written::aside(()))
            }
            .boxed()
        },
    )
    .await
}

fn set<T: Clone + Into<sea_orm::Value>>(column: &mut sea_orm::ActiveValue<T>, to: &Option<T>) {
    if let Some(to) = to {
        *column = Set(to.clone());
    }
}

fn word(mode: KeyMode) -> &'static str {
    match mode {
        KeyMode::Random => "random",
        KeyMode::Polling => "polling",
    }
}

/// What stands in a JSON column; nothing, if there is nothing to say.
pub(crate) fn json(value: &impl Serialize) -> Result<Option<Json>, ChangeError> {
    let value = serde_json::to_value(value)
        .map_err(|_| ChangeError::NotDone(StoreError::Internal("not JSON".to_owned())))?;
    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
    Ok((!empty).then_some(value))
}
