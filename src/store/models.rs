//! What is configured for a model: its fallbacks and settings.

use serde::Serialize;
use serde_json::Value;

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::paging::{Listed, Page};
use crate::routing::ids::ModelName;

/// A row of `models`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRow {
    pub name: ModelName,
    /// Other models, tried in this order when this one cannot be served.
    pub fallbacks: Vec<ModelName>,
    pub first_token_timeout_ms: Option<i64>,
    /// An object, or `null`.
    pub settings: Value,
    pub remark: Option<String>,
}

/// Every row that can be read; one that cannot is logged and left out.
pub async fn all(database: &Database) -> Result<Vec<ModelRow>, StoreError> {
    let _ = database;
    todo!()
}

/// A page of models in order of their names; `q` is a substring of the name.
pub async fn list(
    database: &Database,
    q: Option<String>,
    page: Page,
) -> Result<Listed<ModelRow>, StoreError> {
    let _ = (database, q, page);
    todo!()
}

pub async fn get(database: &Database, name: &ModelName) -> Result<Option<ModelRow>, StoreError> {
    let _ = (database, name);
    todo!()
}

/// Creates or replaces; true if there was none before.
pub async fn put(database: &Database, row: ModelRow) -> Result<bool, ChangeError> {
    let _ = (database, row);
    todo!()
}

/// True if there was one.
pub async fn delete(database: &Database, name: &ModelName) -> Result<bool, ChangeError> {
    let _ = (database, name);
    todo!()
}
