//! A channel's keys. A secret is written and never read back by an operator.

use std::collections::HashSet;
use std::sync::Arc;

use entity::{channel, channel_key};
use futures::FutureExt;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Order, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;

use super::change_status::{ChangeError, open_with_its_key};
use super::commit::{self, Written, now_ms};
use super::connect::{Database, LaneName};
use super::decode::column;
use super::error::StoreError;
use super::ids_given::{Counted, was_given};
use super::locked_channel::{closed_without, keys_of, later_than, lock_channel};
use super::receipt::Receipt;
use super::secrets;
use super::session::{Begin, Session};
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{ProviderLookup, Secret, Status};

/// A key as the admin REST shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyView {
    pub id: KeyId,
    pub channel_id: ChannelId,
    pub hint: Arc<str>,
    /// `null`: the row's status cannot be read.
    pub status: Option<Status>,
    pub status_reason: Option<String>,
    pub status_changed_at: i64,
}

/// What became of the keys that were to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedKeys {
    pub added: Vec<KeyId>,
    /// Those that the channel had already, and repetitions.
    pub skipped: usize,
}

/// A channel's keys in order of their ids; `None` if there is no such channel.
pub async fn list(database: &Database, channel: ChannelId) -> Result<Option<Vec<KeyView>>, StoreError> {
    database
        .read(LaneName::Reads, channel, |session, channel| {
            read(session, *channel).boxed()
        })
        .await
}

async fn read(session: &Session, id: ChannelId) -> Result<Option<Vec<KeyView>>, StoreError> {
    use channel_key::Column::{ChannelId, Hint, Id, Status, StatusChangedAt, StatusReason};
    session.begin(Begin::View).await?;
    let mut exists = Query::select();
    exists
        .column(channel::Column::Id)
        .from(channel::Entity)
        .and_where(channel::Column::Id.eq(id.0));
    let exists = session.first(&exists, |_| ()).await?;
    let mut select = Query::select();
    select
        .columns([Id, Hint, Status, StatusReason, StatusChangedAt])
        .from(channel_key::Entity)
        .and_where(ChannelId.eq(id.0))
        .order_by(Id, Order::Asc);
    let mut keys = Vec::new();
    session
        .each_of(&select, |row| {
            let Ok(key) = column(row, 0, "id").integer() else {
                return;
            };
            keys.push(KeyView {
                id: KeyId(key),
                channel_id: id,
                hint: column(row, 1, "hint").text().unwrap_or("").into(),
                status: column(row, 2, "status").status().ok(),
                status_reason: column(row, 3, "status_reason").maybe_text().unwrap_or(None),
                status_changed_at: column(row, 4, "status_changed_at").integer().unwrap_or(0),
            });
        })
        .await?;
    session.run("COMMIT").await?;
    Ok(exists.map(|()| keys))
}

/// Adds keys, enabled; those that the channel has are skipped.
pub async fn add(
    database: &Database,
    channel: ChannelId,
    secrets: Vec<Secret>,
) -> Result<(AddedKeys, Receipt), ChangeError> {
    commit::write(database, (channel, secrets), |session, (channel, secrets)| {
        async move {
            let locked = lock_channel(session, *channel).await?;
            let added = insert_missing(session, locked.id, secrets, now_ms()).await?;
            if !added.added.is_empty() {
                open_with_its_key(session, &locked).await?;
            }
            Ok(Written::routes(added, vec![locked.id], Vec::new()))
        }
        .boxed()
    })
    .await
}

/// Inserts the secrets that the channel, which is locked or new, does not have.
pub(crate) async fn insert_missing(
    session: &Session,
    channel: ChannelId,
    secrets: &[Secret],
    now: i64,
) -> Result<AddedKeys, ChangeError> {
    let mut present = secrets_of(session, channel).await?;
    let mut keys = AddedKeys::default();
    for secret in secrets {
        if !present.insert(secret.reveal().to_owned()) {
            keys.skipped += 1;
            continue;
        }
        let row = channel_key::ActiveModel {
            id: NotSet,
            channel_id: Set(channel.0),
            secret: Set(secrets::seal(secret)),
            hint: Set(secrets::hint(secret)),
            status: Set(Status::Enabled.word().to_owned()),
            status_reason: Set(None),
            status_changed_at: Set(now),
        };
        let id = channel_key::Entity::insert(row)
            .exec(session)
            .await?
            .last_insert_id;
        keys.added.push(KeyId(id));
    }
    Ok(keys)
}

async fn secrets_of(session: &Session, channel: ChannelId) -> Result<HashSet<String>, ChangeError> {
    use channel_key::Column::{ChannelId, Secret};
    let mut select = Query::select();
    select
        .column(Secret)
        .from(channel_key::Entity)
        .and_where(ChannelId.eq(channel.0));
    let mut present = HashSet::new();
    session
        .each_of(&select, |row| {
            if let Ok(sealed) = column(row, 0, "secret").text() {
                present.insert(secrets::open(sealed).reveal().to_owned());
            }
        })
        .await?;
    Ok(present)
}

/// Replaces a key's secret in place. What the relay has held against the old secret is forgotten: an
/// `auto_disabled` key is enabled; one that an operator has disabled stays so.
pub async fn replace(
    database: &Database,
    channel: ChannelId,
    key: KeyId,
    secret: Secret,
) -> Result<Receipt, ChangeError> {
    let input = (channel, key, secret);
    let ((), receipt) = commit::write(database, input, |session, (channel, key, secret)| {
        put_secret(session, *channel, *key, secret).boxed()
    })
    .await?;
    Ok(receipt)
}

async fn put_secret(
    session: &Session,
    channel: ChannelId,
    id: KeyId,
    secret: &Secret,
) -> Result<Written<()>, ChangeError> {
    let locked = lock_channel(session, channel).await?;
    let keys = keys_of(session, channel).await?;
    let key = keys
        .iter()
        .find(|key| key.id == id)
        .ok_or(ChangeError::NotFound)?;
    let mut row = channel_key::ActiveModel {
        secret: Set(secrets::seal(secret)),
        hint: Set(secrets::hint(secret)),
        // A late report about the old secret must not fit the new one.
        status_changed_at: Set(later_than(key.status_changed_at)),
        ..Default::default()
    };
    if key.status == Some(Status::AutoDisabled) {
        row.status = Set(Status::Enabled.word().to_owned());
        row.status_reason = Set(None);
    }
    if matches!(key.status, Some(Status::Enabled | Status::AutoDisabled)) {
        open_with_its_key(session, &locked).await?;
    }
    channel_key::Entity::update_many()
        .set(row)
        .filter(channel_key::Column::Id.eq(id.0))
        .exec(session)
        .await?;
    Ok(Written::routes(
        (),
        vec![locked.id],
        vec![Closed::Key { channel, key: id }],
    ))
}

/// Deletes a key. One that is gone already is no error; one that the channel never had is, and so is a channel that is
/// not there.
pub async fn delete(database: &Database, channel: ChannelId, key: KeyId) -> Result<Receipt, ChangeError> {
    let input = (channel, key, database.providers());
    let ((), receipt) = commit::write(database, input, |session, (channel, key, providers)| {
        remove(session, *channel, *key, *providers).boxed()
    })
    .await?;
    Ok(receipt)
}

async fn remove(
    session: &Session,
    channel: ChannelId,
    key: KeyId,
    providers: ProviderLookup,
) -> Result<Written<()>, ChangeError> {
    let locked = lock_channel(session, channel).await?;
    let keys = keys_of(session, channel).await?;
    let deleted = channel_key::Entity::delete_many()
        .filter(channel_key::Column::ChannelId.eq(channel.0))
        .filter(channel_key::Column::Id.eq(key.0))
        .exec(session)
        .await?;
    if deleted.rows_affected == 0 && !was_deleted(session, key).await? {
        return Err(ChangeError::NotFound);
    }
    Ok(Written::routes(
        (),
        vec![channel],
        closed_without(&locked, &keys, key, providers),
    ))
}

/// Whether it was a key once, and is one no more.
async fn was_deleted(session: &Session, key: KeyId) -> Result<bool, ChangeError> {
    let mut select = Query::select();
    select
        .column(channel_key::Column::Id)
        .from(channel_key::Entity)
        .and_where(channel_key::Column::Id.eq(key.0));
    let of_another_channel = session.first(&select, |_| ()).await?.is_some();
    Ok(!of_another_channel && was_given(session, Counted::ChannelKeys, key.0).await?)
}
