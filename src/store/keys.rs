//! A channel's keys. A secret is written and never read back by an operator.

use std::sync::Arc;

use serde::Serialize;

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::receipt::Receipt;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{Secret, Status};

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
    let _ = (database, channel);
    todo!()
}

/// Adds keys, enabled; those that the channel has are skipped.
pub async fn add(
    database: &Database,
    channel: ChannelId,
    secrets: Vec<Secret>,
) -> Result<(AddedKeys, Receipt), ChangeError> {
    let _ = (database, channel, secrets);
    todo!()
}

/// Replaces a key's secret in place. What the relay has held against the old secret is forgotten: an
/// `auto_disabled` key is enabled; one that an operator has disabled stays so.
pub async fn replace(
    database: &Database,
    channel: ChannelId,
    key: KeyId,
    secret: Secret,
) -> Result<Receipt, ChangeError> {
    let _ = (database, channel, key, secret);
    todo!()
}

/// Deletes a key. One that is gone already is no error; a channel that is not there is.
pub async fn delete(database: &Database, channel: ChannelId, key: KeyId) -> Result<Receipt, ChangeError> {
    let _ = (database, channel, key);
    todo!()
}
