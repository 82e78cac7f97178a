//! A channel to be asked by itself, whatever its status, and which channels and keys wait for a test to open
//! them again. What is read here holds secrets: it goes to the relay and never to an operator.

use entity::{ability, channel, channel_key};
use futures::FutureExt;
use sea_orm::ColumnTrait;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query};

use super::change_status::Seen;
use super::connect::{Database, LaneName};
use super::decode::{self, CHANNEL, KEY, column, of_table};
use super::error::StoreError;
use super::session::{Begin, Session};
use crate::routing::ids::{ChannelId, KeyId, ModelName};
use crate::routing::rows::{ChannelRows, ProviderLookup, Status};

/// A channel or key, and the state in which it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub channel: ChannelId,
    /// `None`: the channel itself.
    pub key: Option<KeyId>,
    pub seen: Seen,
}

/// One channel with its keys and models; `None` if there is no such channel.
pub async fn one(database: &Database, id: ChannelId) -> Result<Option<ChannelRows>, StoreError> {
    database
        .read(
            LaneName::Reads,
            (id, database.providers()),
            |session, (id, providers)| read(session, *id, *providers).boxed(),
        )
        .await
}

async fn read(
    session: &Session,
    id: ChannelId,
    providers: ProviderLookup,
) -> Result<Option<ChannelRows>, StoreError> {
    session.begin(Begin::View).await?;
    let mut channels = Query::select();
    channels
        .columns(of_table("channels", &CHANNEL))
        .from(Alias::new("channels"))
        .and_where(channel::Column::Id.eq(id.0));
    let found = session
        .first(&channels, |row| decode::channel(row, 0, providers))
        .await?;
    let mut keys = Vec::new();
    let mut select = Query::select();
    select
        .columns(of_table("channel_keys", &KEY))
        .from(Alias::new("channel_keys"))
        .and_where(channel_key::Column::ChannelId.eq(id.0))
        .order_by(channel_key::Column::Id, Order::Asc);
    session
        .each_of(&select, |row| keys.extend(decode::key(row, 0)))
        .await?;
    let mut models = Vec::new();
    let mut select = Query::select();
    select
        .distinct()
        .column(ability::Column::Model)
        .from(ability::Entity)
        .and_where(ability::Column::ChannelId.eq(id.0));
    session
        .each_of(&select, |row| {
            models.extend(column(row, 0, "model").text().map(ModelName::new));
        })
        .await?;
    session.run("COMMIT").await?;
    // Databases order by their own rules.
    models.sort_unstable();
    Ok(found.flatten().map(|channel| ChannelRows {
        channel,
        keys,
        models,
    }))
}

/// What the relay has closed by itself: keys, and channels that do not wait for one of theirs. The keys of a channel that
/// an operator has disabled are left in peace with it.
pub async fn auto_disabled(database: &Database) -> Result<Vec<Judged>, StoreError> {
    database
        .read(LaneName::Reads, (), |session, ()| closed(session).boxed())
        .await
}

async fn closed(session: &Session) -> Result<Vec<Judged>, StoreError> {
    let seen = |at: i64| Seen {
        status: Status::AutoDisabled,
        status_changed_at: at,
    };
    let mut found = Vec::new();
    session.begin(Begin::View).await?;
    let with_key = |status: Status| {
        let mut keys = Query::select();
        keys.column(channel_key::Column::ChannelId)
            .from(channel_key::Entity)
            .and_where(channel_key::Column::Status.eq(status.word()))
            .take()
    };
    let mut any_key = Query::select();
    any_key
        .column(channel_key::Column::ChannelId)
        .from(channel_key::Entity);
    // A channel whose keys are all closed comes back with the first of them that works: the others stay closed.
    let has_an_open_key = Expr::col(channel::Column::Id).in_subquery(with_key(Status::Enabled));
    let has_no_key = Expr::col(channel::Column::Id).not_in_subquery(any_key);
    let mut channels = Query::select();
    channels
        .columns([channel::Column::Id, channel::Column::StatusChangedAt])
        .from(channel::Entity)
        .and_where(channel::Column::Status.eq(Status::AutoDisabled.word()))
        .and_where(has_an_open_key.or(has_no_key))
        .order_by(channel::Column::Id, Order::Asc);
    session
        .each_of(&channels, |row| {
            let (id, at) = (column(row, 0, "id"), column(row, 1, "status_changed_at"));
            if let (Ok(id), Ok(at)) = (id.integer(), at.integer()) {
                found.push(Judged {
                    channel: ChannelId(id),
                    key: None,
                    seen: seen(at),
                });
            }
        })
        .await?;
    let mut open = Query::select();
    open.column(channel::Column::Id)
        .from(channel::Entity)
        .and_where(channel::Column::Status.ne(Status::Disabled.word()));
    let mut keys = Query::select();
    keys.columns([
        channel_key::Column::Id,
        channel_key::Column::ChannelId,
        channel_key::Column::StatusChangedAt,
    ])
    .from(channel_key::Entity)
    .and_where(channel_key::Column::Status.eq(Status::AutoDisabled.word()))
    .and_where(Expr::col(channel_key::Column::ChannelId).in_subquery(open))
    .order_by(channel_key::Column::Id, Order::Asc);
    session
        .each_of(&keys, |row| {
            let key = column(row, 0, "id").integer();
            let channel = column(row, 1, "channel_id").integer();
            let at = column(row, 2, "status_changed_at").integer();
            if let (Ok(key), Ok(channel), Ok(at)) = (key, channel, at) {
                found.push(Judged {
                    channel: ChannelId(channel),
                    key: Some(KeyId(key)),
                    seen: seen(at),
                });
            }
        })
        .await?;
    session.run("COMMIT").await?;
    Ok(found)
}
