//! All rows that routing needs, or those of some channels, in one consistent view (R1).
//!
//! Rows are handed on as they come, by column number, names borrowed from the driver's row: a million
//! abilities are read without an entity for each. Who drops the future ends the read, and its connection.

use futures::FutureExt;

use sea_orm::DbBackend;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query, SelectStatement};

use super::connect::{Database, LaneName};
use super::decode::{self, ABILITY, CHANNEL, KEY, of_table};
use super::error::StoreError;
use super::gathered_abilities;
use super::models;
use super::session::{Begin, Session};
use crate::routing::build::Draft;
use crate::routing::ids::ChannelId;
use crate::routing::rows::ProviderLookup;

/// Ids in one statement: SQLite takes 32766 values, PostgreSQL 65535.
const IDS_AT_ONCE: usize = 10_000;

/// Every channel, key and ability, and what is configured for models.
pub async fn everything(database: &Database) -> Result<Draft, StoreError> {
    load(database, Which::All).await
}

/// Every row of the named channels; one that is gone has none. What is configured for models is few rows and read
/// whole.
pub async fn channels(database: &Database, ids: &[ChannelId]) -> Result<Draft, StoreError> {
    load(database, Which::These(ids.iter().map(|id| id.0).collect())).await
}

enum Which {
    All,
    These(Vec<i64>),
}

struct Wanted {
    which: Which,
    providers: ProviderLookup,
}

async fn load(database: &Database, which: Which) -> Result<Draft, StoreError> {
    let wanted = Wanted {
        which,
        providers: database.providers(),
    };
    database
        .read(LaneName::Builds, wanted, |session, wanted| {
            load_on(session, wanted).boxed()
        })
        .await
}

async fn load_on(session: &Session, wanted: &Wanted) -> Result<Draft, StoreError> {
    let mut draft = Draft::default();
    session.begin(Begin::View).await?;
    match &wanted.which {
        Which::All => read_in_order(session, wanted.providers, None, &mut draft).await?,
        Which::These(ids) => {
            for some in ids.chunks(IDS_AT_ONCE) {
                read_in_order(session, wanted.providers, Some(some), &mut draft).await?;
            }
        }
    }
    models::for_build(session, &mut draft).await?;
    session.run("COMMIT").await?;
    Ok(draft)
}

/// Channels, then keys, then abilities.
async fn read_in_order(
    session: &Session,
    providers: ProviderLookup,
    ids: Option<&[i64]>,
    draft: &mut Draft,
) -> Result<(), StoreError> {
    let channels = select("channels", &CHANNEL, "id", ids);
    session
        .each_of(&channels, |row| {
            if let Some(channel) = decode::channel(row, 0, providers) {
                draft.channel(channel);
            }
        })
        .await?;
    let mut keys = select("channel_keys", &KEY, "channel_id", ids);
    // The order in which `polling` goes round.
    keys.order_by(Alias::new("id"), Order::Asc);
    session
        .each_of(&keys, |row| {
            if let Some(key) = decode::key(row, 0) {
                draft.key(key);
            }
        })
        .await?;
    if ids.is_none() && session.backend() == DbBackend::Sqlite {
        return gathered_abilities::read(session, draft).await;
    }
    let abilities = select("abilities", &ABILITY, "channel_id", ids);
    session
        .each_of(&abilities, |row| {
            if let Some(ability) = decode::ability(row, 0) {
                draft.ability(ability);
            }
        })
        .await
}

fn select(
    table: &'static str,
    columns: &[&'static str],
    by: &'static str,
    ids: Option<&[i64]>,
) -> SelectStatement {
    let mut select = Query::select();
    select.columns(of_table(table, columns)).from(Alias::new(table));
    if let Some(ids) = ids {
        select.and_where(Expr::col((Alias::new(table), Alias::new(by))).is_in(ids.iter().copied()));
    }
    select
}
