//! All rows that routing needs, or those of some channels, in one consistent view (R1).

use super::connect::Database;
use super::error::StoreError;
use crate::routing::build::Draft;
use crate::routing::ids::ChannelId;

/// Every channel, key and ability.
pub async fn everything(database: &Database) -> Result<Draft, StoreError> {
    let _ = database;
    todo!()
}

/// Every row of the named channels; one that is gone has none.
pub async fn channels(database: &Database, ids: &[ChannelId]) -> Result<Draft, StoreError> {
    let _ = (database, ids);
    todo!()
}
