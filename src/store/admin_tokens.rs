//! The operators' tokens.

use entity::{admin_token, commit_mark};
use futures::FutureExt;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::change_status::ChangeError;
use super::commit::{self, Written, is_unique_violation, now_ms};
use super::connect::{Database, LaneName};
use super::decode::column;
use super::error::StoreError;
use super::key_hash::KeyHash;
use super::session::Session;

/// Whoever would make the first one holds this mark meanwhile.
const FIRST: &str = "first admin token";

/// The name of the one that the configuration gives.
const CONFIGURED: &str = "configured";
/// The name of the one that is made on the first start where none is configured.
const MADE: &str = "first";

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
    database
        .read(LaneName::Tokens, hash, |session, hash| {
            async move {
                use admin_token::Column::{CreatedAt, Id, KeyHash, Name, Role};
                let mut select = Query::select();
                select
                    .columns([Id, Name, Role, CreatedAt])
                    .from(admin_token::Entity)
                    .and_where(KeyHash.eq(hash.to_hex()));
                let found = session
                    .first(&select, |row| {
                        Ok(AdminToken {
                            id: column(row, 0, "id").integer()?,
                            name: column(row, 1, "name").text()?.to_owned(),
                            role: column(row, 2, "role").text()?.to_owned(),
                            created_at: column(row, 3, "created_at").integer().unwrap_or(0),
                        })
                    })
                    .await?;
                found.transpose()
            }
            .boxed()
        })
        .await
}

/// Whether there is any.
pub async fn exists(database: &Database) -> Result<bool, StoreError> {
    database
        .read(LaneName::Reads, (), |session, ()| any(session).boxed())
        .await
}

async fn any(session: &Session) -> Result<bool, StoreError> {
    let mut select = Query::select();
    select
        .column(admin_token::Column::Id)
        .from(admin_token::Entity)
        .limit(1);
    Ok(session.first(&select, |_| ()).await?.is_some())
}

/// Inserts the first one. Of two nodes that start at once exactly one gets `true`.
pub async fn insert_if_none(database: &Database, hash: KeyHash, role: &str) -> Result<bool, ChangeError> {
    let new = (hash, role.to_owned());
    commit::write_aside(database, new, |session, (hash, role)| {
        async move {
            // The other node waits here until this one's transaction has ended.
            let mark = commit_mark::ActiveModel {
                mark: Set(FIRST.to_owned()),
                at: Set(now_ms()),
            };
            commit_mark::Entity::insert(mark)
                .exec_without_returning(session)
                .await?;
            let none = !any(session).await?;
            if none {
                insert(session, MADE, hash, role).await?;
            }
            commit_mark::Entity::delete_many()
                .filter(commit_mark::Column::Mark.eq(FIRST))
                .exec(session)
                .await?;
            Ok(Written::aside(none))
        }
        .boxed()
    })
    .await
}

/// Makes sure that there is one with this hash: the one that the configuration gives. It takes the place of what was
/// configured before, and of the one that the first start made. (A node that knows one of these believes it for some
/// seconds more, or for as long as it cannot ask the database.)
pub async fn ensure(database: &Database, hash: KeyHash, role: &str) -> Result<(), ChangeError> {
    let new = (hash, role.to_owned());
    let done = commit::write_aside(database, new, |session, (hash, role)| {
        async move {
            admin_token::Entity::delete_many()
                .filter(admin_token::Column::Name.is_in([CONFIGURED, MADE]))
                .filter(admin_token::Column::KeyHash.ne(hash.to_hex()))
                .exec(session)
                .await?;
            let mut same = Query::select();
            same.column(admin_token::Column::Id)
                .from(admin_token::Entity)
                .and_where(admin_token::Column::KeyHash.eq(hash.to_hex()));
            if session.first(&same, |_| ()).await?.is_none() {
                insert(session, CONFIGURED, hash, role).await?;
            }
            Ok(Written::aside(()))
        }
        .boxed()
    })
    .await;
    match done {
        // Another node was quicker.
        Err(ChangeError::NotDone(error)) if is_unique_violation(&error) => Ok(()),
        other => other,
    }
}

/// Deletes the one with this hash.
pub async fn delete(database: &Database, hash: KeyHash) -> Result<(), ChangeError> {
    commit::write_aside(database, hash, |session, hash| {
        async move {
            admin_token::Entity::delete_many()
                .filter(admin_token::Column::KeyHash.eq(hash.to_hex()))
                .exec(session)
                .await?;
            Ok(Written::aside(()))
        }
        .boxed()
    })
    .await
}

async fn insert(session: &Session, name: &str, hash: &KeyHash, role: &str) -> Result<(), ChangeError> {
    let row = admin_token::ActiveModel {
        id: NotSet,
        name: Set(name.to_owned()),
        key_hash: Set(hash.to_hex()),
        role: Set(role.to_owned()),
        created_at: Set(now_ms()),
    };
    admin_token::Entity::insert(row)
        .exec_without_returning(session)
        .await?;
    Ok(())
}
