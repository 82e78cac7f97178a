//! One model in some groups, asked of the database itself (R3, R11).

use super::connect::Database;
use super::error::StoreError;
use crate::routing::build::Draft;
use crate::routing::ids::{GroupName, ModelName, Moment};

/// The rows that a lookup found.
#[derive(Debug)]
pub struct FoundRows {
    /// Every ability of the model in the groups, open or not, with its channel and the channel's keys.
    pub draft: Draft,
    /// Drawn before the statement was sent.
    pub began: Moment,
}

/// Every ability of `model` in `groups`, in one statement.
pub async fn candidates(
    database: &Database,
    groups: &[GroupName],
    model: &ModelName,
) -> Result<FoundRows, StoreError> {
    let _ = (database, groups, model);
    todo!()
}
