//! The clients' tokens, found by the hash of the key that a client shows.

use std::fmt;

use entity::token;
use futures::FutureExt;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{LockType, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cells::Cells;
use super::change_status::ChangeError;
use super::channels::json;
use super::commit::{self, Written, now_ms};
use super::connect::{Database, LaneName};
use super::decode::{Column, column};
use super::error::StoreError;
use super::ids_given::{Counted, was_given};
use super::key_hash::KeyHash;
use super::paging::{Listed, Page, contains, count};
use super::session::{Begin, Session};
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
#[expect(clippy::large_enum_variant, reason = "nearly all are whole")]
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
    let found = database
        .read(LaneName::Tokens, hash, |session, hash| {
            async move {
                let mut select = columns();
                select.and_where(token::Column::KeyHash.eq(hash.to_hex()));
                Ok(session.first(&select, read).await?.transpose()?)
            }
            .boxed()
        })
        .await?;
    Ok(found.filter(|token| token.key_hash == hash))
}

/// One token. A row that cannot be read is an error.
pub async fn get(database: &Database, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
    database
        .read(LaneName::Reads, id, |session, id| {
            async move {
                let mut select = columns();
                select.and_where(token::Column::Id.eq(id.0));
                Ok(session.first(&select, read).await?.transpose()?)
            }
            .boxed()
        })
        .await
}

/// A page of tokens in order of their ids.
pub async fn list(
    database: &Database,
    filter: TokenFilter,
    page: Page,
) -> Result<Listed<ListedToken>, StoreError> {
    database
        .read(LaneName::Reads, (filter, page), |session, (filter, page)| {
            list_on(session, filter, *page).boxed()
        })
        .await
}

async fn list_on(
    session: &Session,
    filter: &TokenFilter,
    page: Page,
) -> Result<Listed<ListedToken>, StoreError> {
    session.begin(Begin::View).await?;
    let mut select = columns();
    if let Some(q) = &filter.q {
        select.and_where(contains(session.backend(), token::Column::Name, q));
    }
    if let Some(status) = filter.status {
        select.and_where(token::Column::Status.eq(word(status)));
    }
    let total = count(session, &select).await?;
    select
        .order_by(token::Column::Id, Order::Asc)
        .limit(page.limit())
        .offset(page.offset());
    let mut items = Vec::new();
    session
        .each_of(&select, |row| match (read(row), column(row, 0, "id").integer()) {
            (Ok(token), _) => items.push(ListedToken::Whole(token)),
            (Err(fault), Ok(id)) => items.push(ListedToken::Unreadable {
                id: TokenId(id),
                fault,
            }),
            (Err(_), Err(_)) => {}
        })
        .await?;
    session.run("COMMIT").await?;
    Ok(Listed::new(items, total, page))
}

fn columns() -> SelectStatement {
    use token::Column::*;
    let mut select = Query::select();
    select
        .columns([
            Id, Name, KeyHash, Hint, Status, Groups, Models, AllowIps, ExpiresAt, Limits, CreatedAt,
            LastUsedAt,
        ])
        .from(token::Entity);
    select
}

/// What restricts a token is never read as absent because it cannot be read.
fn read(row: &dyn Cells) -> Result<TokenRow, RowFault> {
    let get = |i, name| column(row, i, name);
    let groups: Vec<String> = get(5, "groups").json("expected a JSON list of groups")?;
    let models: Option<Vec<String>> = get(6, "models").json("expected a JSON list of models")?;
    let hash = KeyHash::from_hex(get(2, "key_hash").text()?);
    Ok(TokenRow {
        id: TokenId(get(0, "id").integer()?),
        name: get(1, "name").text()?.to_owned(),
        key_hash: hash.ok_or_else(|| RowFault::new("key_hash", "expected 64 hex digits"))?,
        hint: get(3, "hint").text().unwrap_or("").to_owned(),
        status: status(get(4, "status"))?,
        groups: groups.iter().map(|group| GroupName::new(group)).collect(),
        models: models.map(|models| models.iter().map(|model| ModelName::new(model)).collect()),
        allow_ips: get(7, "allow_ips").json("expected a JSON list of addresses")?,
        expires_at: get(8, "expires_at").maybe_integer()?,
        limits: get(9, "limits").value()?,
        created_at: get(10, "created_at").integer().unwrap_or(0),
        last_used_at: get(11, "last_used_at").maybe_integer().unwrap_or(None),
    })
}

fn status(column: Column<'_>) -> Result<TokenStatus, RowFault> {
    match column.text() {
        Ok("enabled") => Ok(TokenStatus::Enabled),
        Ok("disabled") => Ok(TokenStatus::Disabled),
        _ => Err(RowFault::new("status", "expected enabled or disabled")),
    }
}

fn word(status: TokenStatus) -> &'static str {
    match status {
        TokenStatus::Enabled => "enabled",
        TokenStatus::Disabled => "disabled",
    }
}

/// Creates a token.
pub async fn create(database: &Database, new: NewToken) -> Result<TokenId, ChangeError> {
    commit::write_aside(database, new, |session, new| insert(session, new).boxed()).await
}

async fn insert(session: &Session, new: &NewToken) -> Result<Written<TokenId>, ChangeError> {
    let row = token::ActiveModel {
        id: NotSet,
        name: Set(new.name.clone()),
        key_hash: Set(new.key_hash.to_hex()),
        hint: Set(new.hint.clone()),
        status: Set(word(new.status).to_owned()),
        groups: Set(json(&new.groups)?),
        models: Set(json(&new.models)?),
        allow_ips: Set(json(&new.allow_ips)?),
        expires_at: Set(new.expires_at),
        limits: Set(json(&new.limits)?),
        created_at: Set(now_ms()),
        last_used_at: Set(None),
    };
    let id = token::Entity::insert(row).exec(session).await?.last_insert_id;
    Ok(Written::token(TokenId(id), TokenId(id)))
}

/// Changes a token; the hash is what a cache knows it by and has to forget.
pub async fn patch(database: &Database, id: TokenId, patch: TokenPatch) -> Result<KeyHash, ChangeError> {
    commit::write_aside(database, (id, patch), |session, (id, patch)| {
        async move {
            let mut row = token::ActiveModel::default();
            if let Some(name) = &patch.name {
                row.name = Set(name.clone());
            }
            if let Some(status) = patch.status {
                row.status = Set(word(status).to_owned());
            }
            if let Some(groups) = &patch.groups {
                row.groups = Set(json(groups)?);
            }
            if let Some(models) = &patch.models {
                row.models = Set(json(models)?);
            }
            if let Some(allow_ips) = &patch.allow_ips {
                row.allow_ips = Set(json(allow_ips)?);
            }
            if let Some(expires_at) = patch.expires_at {
                row.expires_at = Set(expires_at);
            }
            if let Some(limits) = &patch.limits {
                row.limits = Set(json(limits)?);
            }
            update(session, *id, row).await
        }
        .boxed()
    })
    .await
}

/// Gives a token a new key; the old hash is what a cache has to forget.
pub async fn rotate(
    database: &Database,
    id: TokenId,
    hash: KeyHash,
    hint: String,
) -> Result<KeyHash, ChangeError> {
    commit::write_aside(database, (id, hash, hint), |session, (id, hash, hint)| {
        let row = token::ActiveModel {
            key_hash: Set(hash.to_hex()),
            hint: Set(hint.clone()),
            ..Default::default()
        };
        update(session, *id, row).boxed()
    })
    .await
}

async fn update(
    session: &Session,
    id: TokenId,
    row: token::ActiveModel,
) -> Result<Written<KeyHash>, ChangeError> {
    let before = lock(session, id).await?.ok_or(ChangeError::NotFound)?;
    if row != token::ActiveModel::default() {
        token::Entity::update_many()
            .set(row)
            .filter(token::Column::Id.eq(id.0))
            .exec(session)
            .await?;
    }
    Ok(Written::token(before, id))
}

/// Deletes a token; `None` if it was gone already. One that never was is an error.
pub async fn delete(database: &Database, id: TokenId) -> Result<Option<KeyHash>, ChangeError> {
    commit::write_aside(database, id, |session, id| {
        async move {
            let before = lock(session, *id).await?;
            if before.is_none() && !was_given(session, Counted::Tokens, id.0).await? {
                return Err(ChangeError::NotFound);
            }
            token::Entity::delete_many()
                .filter(token::Column::Id.eq(id.0))
                .exec(session)
                .await?;
            Ok(Written::token(before, *id))
        }
        .boxed()
    })
    .await
}

/// The hash of a token, its row locked. One that cannot be read is no hash that anyone could show.
async fn lock(session: &Session, id: TokenId) -> Result<Option<KeyHash>, ChangeError> {
    let mut select = Query::select();
    select
        .column(token::Column::KeyHash)
        .from(token::Entity)
        .and_where(token::Column::Id.eq(id.0))
        .lock(LockType::Update);
    let hash = session
        .first(&select, |row| {
            column(row, 0, "key_hash").text().ok().and_then(KeyHash::from_hex)
        })
        .await?;
    Ok(hash.map(|hash| hash.unwrap_or_else(|| KeyHash::of(""))))
}

/// Writes when tokens were last used (Unix milliseconds); an earlier time never replaces a later one.
pub async fn touch(database: &Database, mut used: Vec<(TokenId, i64)>) -> Result<(), ChangeError> {
    if used.is_empty() {
        return Ok(());
    }
    // In one order on all nodes, so that they do not deadlock.
    used.sort_unstable();
    commit::write_aside(database, used, |session, used| {
        async move {
            for (id, at) in used {
                let earlier = Condition::any()
                    .add(token::Column::LastUsedAt.is_null())
                    .add(token::Column::LastUsedAt.lt(*at));
                token::Entity::update_many()
                    .col_expr(token::Column::LastUsedAt, (*at).into())
                    .filter(token::Column::Id.eq(id.0))
                    .filter(earlier)
                    .exec(session)
                    .await?;
            }
            Ok(Written::aside(()))
        }
        .boxed()
    })
    .await
}
