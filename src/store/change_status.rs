//! A change of status: channel, keys and abilities in one commit (R9).

use super::connect::Database;
use super::error::StoreError;
use super::receipt::Receipt;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::Status;

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
pub async fn set_channel(
    database: &Database,
    channel: ChannelId,
    change: Change,
) -> Result<Receipt, ChangeError> {
    let _ = (database, channel, change);
    todo!()
}

/// Changes one key's status. The channel's own status stays; without an enabled key it is not open.
pub async fn set_key(
    database: &Database,
    channel: ChannelId,
    key: KeyId,
    change: Change,
) -> Result<Receipt, ChangeError> {
    let _ = (database, channel, key, change);
    todo!()
}
