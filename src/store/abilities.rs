//! Which channel serves which model to which group.

use serde::Serialize;

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::paging::{Listed, Page};
use super::receipt::Receipt;
use crate::routing::ids::{ChannelId, GroupName, ModelName};

/// An ability as the admin REST shows it; what cannot be read is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbilityView {
    pub group: GroupName,
    pub model: ModelName,
    pub channel_id: ChannelId,
    pub enabled: Option<bool>,
    pub held: Option<bool>,
    /// Overrides the channel's, where given.
    pub priority: Option<i64>,
    pub weight: Option<u32>,
}

/// Which abilities a list shows.
#[derive(Clone, Debug, Default)]
pub struct AbilityFilter {
    pub group: Option<GroupName>,
    pub model: Option<ModelName>,
    pub channel_id: Option<ChannelId>,
}

/// The primary key of an ability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbilityKey {
    pub group: GroupName,
    pub model: ModelName,
    pub channel_id: ChannelId,
}

/// What of an ability is to change; `None` stays, an inner `None` takes the channel's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AbilityPatch {
    pub held: Option<bool>,
    pub priority: Option<Option<i64>>,
    pub weight: Option<Option<u32>>,
}

/// A page of abilities, in order of group, model, channel.
pub async fn list(
    database: &Database,
    filter: AbilityFilter,
    page: Page,
) -> Result<Listed<AbilityView>, StoreError> {
    let _ = (database, filter, page);
    todo!()
}

/// Changes one ability and returns it as it now is.
pub async fn patch(
    database: &Database,
    key: AbilityKey,
    patch: AbilityPatch,
) -> Result<(AbilityView, Receipt), ChangeError> {
    let _ = (database, key, patch);
    todo!()
}

/// The names of all groups that have an ability, in order.
pub async fn groups(database: &Database) -> Result<Vec<GroupName>, StoreError> {
    let _ = database;
    todo!()
}

/// The names of all models that have an ability in one of the groups, open or not, in order.
pub async fn models(database: &Database, groups: &[GroupName]) -> Result<Vec<ModelName>, StoreError> {
    let _ = (database, groups);
    todo!()
}
