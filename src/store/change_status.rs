//! A change of status: channel, keys and abilities in one commit (R9).

use entity::{ability, channel, channel_key};
use futures::FutureExt;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::commit::{self, Written, now_ms};
use super::connect::Database;
use super::error::StoreError;
use super::locked_channel::{LockedChannel, LockedKey, closed_without, keys_of, later_than, lock_channel};
use super::receipt::Receipt;
use super::session::Session;
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{ProviderLookup, Status};

/// Who changes a status, to what, and on what condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An operator's word holds whatever the status was.
    ByOperator {
        to: OperatorStatus,
        reason: Option<String>,
    },
    /// The relay closes what an upstream has refused, if it still is as it was seen.
    AutoDisable { reason: String, seen: Seen },
    /// A test found that it works again, if it still is as it was seen.
    Reopen { seen: Seen },
}

/// What an operator can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorStatus {
    Enabled,
    Disabled,
}

/// The state on which the relay or a test has judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: Status,
    /// Unix milliseconds, as the row said.
    pub status_changed_at: i64,
}

/// Why a write did not happen, or may have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("no such row")]
    NotFound,
    /// A channel cannot be opened without an enabled key; nothing was written.
    #[error("the channel would have no enabled key")]
    NoEnabledKey,
    /// Groups live in a channel's abilities, so they cannot be kept without a model.
    #[error("the channel has no models to go with its groups")]
    NoModels,
    /// The row is no longer as it was seen; nothing was written.
    #[error("the row has changed meanwhile")]
    Superseded,
    /// Certainly not done; nothing was written.
    #[error("not done: {0}")]
    NotDone(StoreError),
    /// The connection died during COMMIT, and the database could not be asked afterwards. The bell has
    /// been rung already, so that a rebuild follows.
    #[error("perhaps done: {0}")]
    Unknown(StoreError),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        ChangeError::NotDone(error)
    }
}

impl From<sea_orm::DbErr> for ChangeError {
    fn from(error: sea_orm::DbErr) -> Self {
        ChangeError::NotDone(error.into())
    }
}

/// Changes a channel's status, its abilities' `enabled`, and on opening its `auto_disabled` keys'.
///
/// An operator's word is written even where the status is that already: it puts abilities right that
/// disagree with it.
pub async fn set_channel(
    database: &Database,
    channel: ChannelId,
    change: Change,
) -> Result<Receipt, ChangeError> {
    let wanted = Wanted {
        channel,
        change,
        providers: database.providers(),
    };
    let ((), receipt) = commit::write(database, wanted, |session, wanted| {
        change_channel(session, wanted).boxed()
    })
    .await?;
    Ok(receipt)
}

/// Changes one key's status. A channel whose last key the relay closes is closed with it, and comes back with the first
/// key that is open again; an operator's own word for the channel stays.
pub async fn set_key(
    database: &Database,
    channel: ChannelId,
    key: KeyId,
    change: Change,
) -> Result<Receipt, ChangeError> {
    let wanted = Wanted {
        channel,
        change,
        providers: database.providers(),
    };
    let ((), receipt) = commit::write(database, (wanted, key), |session, (wanted, key)| {
        change_key(session, wanted, *key).boxed()
    })
    .await?;
    Ok(receipt)
}

struct Wanted {
    channel: ChannelId,
    change: Change,
    providers: ProviderLookup,
}

/// What a status becomes, and why.
struct Target<'a> {
    to: Status,
    reason: Option<&'a str>,
}

impl Change {
    /// What follows for a row that is in this state, or that the relay has judged on an older one.
    fn target(&self, status: Option<Status>, changed_at: i64) -> Result<Target<'_>, ChangeError> {
        let still = |seen: &Seen| {
            let now = status.map(|status| Seen {
                status,
                status_changed_at: changed_at,
            });
            if now == Some(*seen) {
                Ok(())
            } else {
                Err(ChangeError::Superseded)
            }
        };
        match self {
            Change::ByOperator { to, reason } => Ok(Target {
                to: match to {
                    OperatorStatus::Enabled => Status::Enabled,
                    OperatorStatus::Disabled => Status::Disabled,
                },
                reason: reason.as_deref(),
            }),
            Change::AutoDisable { reason, seen } => {
                still(seen)?;
                // What an operator has closed stays the operator's.
                match seen.status {
                    Status::Enabled => Ok(Target {
                        to: Status::AutoDisabled,
                        reason: Some(reason),
                    }),
                    Status::Disabled | Status::AutoDisabled => Err(ChangeError::Superseded),
                }
            }
            Change::Reopen { seen } => {
                still(seen)?;
                match seen.status {
                    Status::AutoDisabled => Ok(Target {
                        to: Status::Enabled,
                        reason: None,
                    }),
                    Status::Enabled | Status::Disabled => Err(ChangeError::Superseded),
                }
            }
        }
    }
}

async fn change_channel(session: &Session, wanted: &Wanted) -> Result<Written<()>, ChangeError> {
    let id = wanted.channel;
    let row = lock_channel(session, id).await?;
    let target = wanted.change.target(row.status, row.status_changed_at)?;
    let opens = target.to == Status::Enabled;
    let at = later_than(row.status_changed_at);
    if opens {
        open_keys(session, &row, wanted.providers, at).await?;
    }
    write_channel_status(session, id, &target, at).await?;
    Ok(Written::routes(
        (),
        vec![id],
        if opens {
            Vec::new()
        } else {
            vec![Closed::Channel(id)]
        },
    ))
}

/// The channel's status, and with it its abilities' `enabled`.
async fn write_channel_status(
    session: &Session,
    id: ChannelId,
    target: &Target<'_>,
    at: i64,
) -> Result<(), ChangeError> {
    channel::Entity::update_many()
        .col_expr(channel::Column::Status, target.to.word().into())
        .col_expr(
            channel::Column::StatusReason,
            target.reason.map(str::to_owned).into(),
        )
        .col_expr(channel::Column::StatusChangedAt, at.into())
        .col_expr(channel::Column::UpdatedAt, now_ms().into())
        .filter(channel::Column::Id.eq(id.0))
        .exec(session)
        .await?;
    ability::Entity::update_many()
        .col_expr(ability::Column::Enabled, (target.to == Status::Enabled).into())
        .filter(ability::Column::ChannelId.eq(id.0))
        .exec(session)
        .await?;
    Ok(())
}

/// A channel that the relay has closed is open again as soon as a key of it is.
pub(crate) async fn open_with_its_key(session: &Session, channel: &LockedChannel) -> Result<(), ChangeError> {
    if channel.status != Some(Status::AutoDisabled) {
        return Ok(());
    }
    let open = Target {
        to: Status::Enabled,
        reason: None,
    };
    write_channel_status(session, channel.id, &open, later_than(channel.status_changed_at)).await
}

/// Enables the `auto_disabled` keys; an error, before anything is written, if no key is enabled then.
async fn open_keys(
    session: &Session,
    channel: &LockedChannel,
    providers: ProviderLookup,
    at: i64,
) -> Result<(), ChangeError> {
    let keys = keys_of(session, channel.id).await?;
    let would_serve = |key: &LockedKey| matches!(key.status, Some(Status::Enabled | Status::AutoDisabled));
    if channel.needs_key(providers) && !keys.iter().any(would_serve) {
        return Err(ChangeError::NoEnabledKey);
    }
    for key in keys.iter().filter(|key| key.status == Some(Status::AutoDisabled)) {
        write_key_status(
            session,
            key.id,
            Status::Enabled,
            None,
            at.max(later_than(key.status_changed_at)),
        )
        .await?;
    }
    Ok(())
}

async fn change_key(session: &Session, wanted: &Wanted, id: KeyId) -> Result<Written<()>, ChangeError> {
    let channel = lock_channel(session, wanted.channel).await?;
    let keys = keys_of(session, channel.id).await?;
    let key = keys
        .iter()
        .find(|key| key.id == id)
        .ok_or(ChangeError::NotFound)?;
    let target = wanted.change.target(key.status, key.status_changed_at)?;
    write_key_status(
        session,
        id,
        target.to,
        target.reason,
        later_than(key.status_changed_at),
    )
    .await?;
    let closed = match target.to {
        Status::Enabled => {
            open_with_its_key(session, &channel).await?;
            Vec::new()
        }
        Status::Disabled | Status::AutoDisabled => closed_without(&channel, &keys, id, wanted.providers),
    };
    let was_the_last = closed.contains(&Closed::Channel(channel.id));
    if was_the_last && target.to == Status::AutoDisabled && channel.status == Some(Status::Enabled) {
        let at = later_than(channel.status_changed_at);
        write_channel_status(session, channel.id, &target, at).await?;
    }
    Ok(Written::routes((), vec![channel.id], closed))
}

async fn write_key_status(
    session: &Session,
    key: KeyId,
    status: Status,
    reason: Option<&str>,
    at: i64,
) -> Result<(), ChangeError> {
    channel_key::Entity::update_many()
        .col_expr(channel_key::Column::Status, status.word().into())
        .col_expr(
            channel_key::Column::StatusReason,
            reason.map(str::to_owned).into(),
        )
        .col_expr(channel_key::Column::StatusChangedAt, at.into())
        .filter(channel_key::Column::Id.eq(key.0))
        .exec(session)
        .await?;
    Ok(())
}
