//! The clients' tokens, found by the hash of the key that a client shows.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change_status::ChangeError;
use super::connect::Database;
use super::error::StoreError;
use super::key_hash::KeyHash;
use super::paging::{Listed, Page};
use crate::routing::ids::{GroupName, ModelName};
use crate::routing::rows::RowFault;

/// A row of `tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub i64);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a token is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenStatus {
    Enabled,
    Disabled,
}

/// A row of `tokens`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenRow {
    pub id: TokenId,
    pub name: String,
    #[serde(skip)]
    pub key_hash: KeyHash,
    pub hint: String,
    pub status: TokenStatus,
    /// In order of preference.
    pub groups: Vec<GroupName>,
    /// `None`: every model.
    pub models: Option<Vec<ModelName>>,
    /// Addresses and networks; `None`: from anywhere.
    pub allow_ips: Option<Vec<String>>,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
    /// An object, or `null`.
    pub limits: Value,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
}

/// A token as a list shows it: one that cannot be read is still there to be seen and deleted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ListedToken {
    Whole(TokenRow),
    Unreadable { id: TokenId, fault: RowFault },
}

/// A token that does not exist yet.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub key_hash: KeyHash,
    pub hint: String,
    pub status: TokenStatus,
    pub groups: Vec<GroupName>,
    pub models: Option<Vec<ModelName>>,
    pub allow_ips: Option<Vec<String>>,
    pub expires_at: Option<i64>,
    pub limits: Value,
}

/// What of a token is to change; `None` stays, an inner `None` empties the column.
#[derive(Clone, Debug, Default)]
pub struct TokenPatch {
    pub name: Option<String>,
    pub status: Option<TokenStatus>,
    pub groups: Option<Vec<GroupName>>,
    pub models: Option<Option<Vec<ModelName>>>,
    pub allow_ips: Option<Option<Vec<String>>>,
    pub expires_at: Option<Option<i64>>,
    pub limits: Option<Value>,
}

/// Which tokens a list shows; `q` is a substring of the name.
#[derive(Clone, Debug, Default)]
pub struct TokenFilter {
    pub q: Option<String>,
    pub status: Option<TokenStatus>,
}

/// The token with this hash, on the lane `tokens`. A row that cannot be read is an error, never `None`.
pub async fn find_by_hash(database: &Database, hash: KeyHash) -> Result<Option<TokenRow>, StoreError> {
    let _ = (database, hash);
    todo!()
}

pub async fn get(database: &Database, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
    let _ = (database, id);
    todo!()
}

/// A page of tokens in order of their ids.
pub async fn list(
    database: &Database,
    filter: TokenFilter,
    page: Page,
) -> Result<Listed<ListedToken>, StoreError> {
    let _ = (database, filter, page);
    todo!()
}

pub async fn create(database: &Database, new: NewToken) -> Result<TokenId, ChangeError> {
    let _ = (database, new);
    todo!()
}

/// Changes a token; the hash is what a cache knows it by and has to forget.
pub async fn patch(database: &Database, id: TokenId, patch: TokenPatch) -> Result<KeyHash, ChangeError> {
    let _ = (database, id, patch);
    todo!()
}

/// Gives a token a new key; the old hash is what a cache has to forget.
pub async fn rotate(
    database: &Database,
    id: TokenId,
    hash: KeyHash,
    hint: String,
) -> Result<KeyHash, ChangeError> {
    let _ = (database, id, hash, hint);
    todo!()
}

/// Deletes a token; `None` if it was gone already.
pub async fn delete(database: &Database, id: TokenId) -> Result<Option<KeyHash>, ChangeError> {
    let _ = (database, id);
    todo!()
}

/// Writes when tokens were last used (Unix milliseconds); an earlier time never replaces a later one.
pub async fn touch(database: &Database, used: Vec<(TokenId, i64)>) -> Result<(), ChangeError> {
    let _ = (database, used);
    todo!()
}
