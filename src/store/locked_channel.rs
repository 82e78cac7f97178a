//! A channel's row under its lock, and its keys: what every change of a channel begins with (R9). Whoever
//! holds the row's lock is the only one who changes the channel, its keys or its abilities.

use entity::{channel, channel_key};
use sea_orm::ColumnTrait;
use sea_orm::sea_query::{LockType, Query};

use super::change_status::ChangeError;
use super::commit::now_ms;
use super::decode::column;
use super::session::Session;
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{ProviderLookup, Status};

pub(crate) struct LockedChannel {
    pub id: ChannelId,
    /// `None`: it cannot be read.
    pub status: Option<Status>,
    pub status_changed_at: i64,
    pub updated_at: i64,
    provider: Option<String>,
}

pub(crate) struct LockedKey {
    pub id: KeyId,
    /// `None`: it cannot be read.
    pub status: Option<Status>,
    pub status_changed_at: i64,
}

impl LockedChannel {
    /// A provider that nobody knows needs one, as far as we know.
    pub fn needs_key(&self, providers: ProviderLookup) -> bool {
        let traits = self.provider.as_deref().and_then(providers);
        traits.is_none_or(|traits| traits.needs_key)
    }
}

/// Locks the channel's row until the transaction ends. (SQLite has locked the whole file already.)
pub(crate) async fn lock_channel(session: &Session, id: ChannelId) -> Result<LockedChannel, ChangeError> {
    use channel::Column::{Id, Provider, Status, StatusChangedAt, UpdatedAt};
    let mut select = Query::select();
    select
        .columns([Status, StatusChangedAt, UpdatedAt, Provider])
        .from(channel::Entity)
        .and_where(Id.eq(id.0))
        .lock(LockType::Update);
    let row = session
        .first(&select, |row| LockedChannel {
            id,
            status: column(row, 0, "status").status().ok(),
            status_changed_at: column(row, 1, "status_changed_at").integer().unwrap_or(0),
            updated_at: column(row, 2, "updated_at").integer().unwrap_or(0),
            provider: column(row, 3, "provider").text().ok().map(str::to_owned),
        })
        .await?;
    row.ok_or(ChangeError::NotFound)
}

/// The keys of a channel that this transaction has locked.
pub(crate) async fn keys_of(session: &Session, channel: ChannelId) -> Result<Vec<LockedKey>, ChangeError> {
    use channel_key::Column::{ChannelId, Id, Status, StatusChangedAt};
    let mut select = Query::select();
    select
        .columns([Id, Status, StatusChangedAt])
        .from(channel_key::Entity)
        .and_where(ChannelId.eq(channel.0));
    let mut keys = Vec::new();
    session
        .each_of(&select, |row| {
            if let Ok(id) = column(row, 0, "id").integer() {
                keys.push(LockedKey {
                    id: KeyId(id),
                    status: column(row, 1, "status").status().ok(),
                    status_changed_at: column(row, 2, "status_changed_at").integer().unwrap_or(0),
                });
            }
        })
        .await?;
    Ok(keys)
}

/// What closes when this key serves no longer: the key, and with the last one the channel.
pub(crate) fn closed_without(
    channel: &LockedChannel,
    keys: &[LockedKey],
    gone: KeyId,
    providers: ProviderLookup,
) -> Vec<Closed> {
    let others = keys
        .iter()
        .any(|key| key.id != gone && key.status == Some(Status::Enabled));
    let mut closed = vec![Closed::Key {
        channel: channel.id,
        key: gone,
    }];
    if !others && channel.needs_key(providers) {
        closed.push(Closed::Channel(channel.id));
    }
    closed
}

/// Now, but later than what stands in the row: each change of status can be told from the last.
pub(crate) fn later_than(before: i64) -> i64 {
    now_ms().max(before.saturating_add(1))
}
