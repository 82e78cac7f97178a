//! The operators' tokens.

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::key_hash::KeyHash;

/// A row of `admin_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    pub id: i64,
    pub name: String,
    pub role: String,
    pub created_at: i64,
}

/// The operator's token with this hash, on the lane `tokens`.
pub async fn find_by_hash(database: &Database, hash: KeyHash) -> Result<Option<AdminToken>, StoreError> {
    let _ = (database, hash);
    todo!()
}

/// Whether there is any.
pub async fn exists(database: &Database) -> Result<bool, StoreError> {
    let _ = database;
    todo!()
}

/// Inserts the first one. Of two nodes that start at once exactly one gets `true`.
pub async fn insert_if_none(
    database: &Database,
    name: &str,
    hash: KeyHash,
    role: &str,
) -> Result<bool, ChangeError> {
    let _ = (database, name, hash, role);
    todo!()
}

/// Makes sure that there is one with this hash: the one that the configuration gives.
pub async fn ensure(database: &Database, name: &str, hash: KeyHash, role: &str) -> Result<(), ChangeError> {
    let _ = (database, name, hash, role);
    todo!()
}
