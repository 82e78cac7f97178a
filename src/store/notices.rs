//! What other nodes on the same database have changed.
//!
//! Each change of routes or tokens counts `routing_version` up in its own transaction, as its last statement: the row's
//! lock makes the order of versions the order of commits, so whoever sees one version sees all before it. A notice says
//! what was changed. A node asks for the version every now and then; on PostgreSQL it is called as well.

use std::collections::BTreeSet;
use std::time::Duration;

use entity::{change_notice, routing_version};
use futures::FutureExt;
use sea_orm::sea_query::{Alias, Expr, ExprTrait, Order, Query};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, QueryFilter};
use tokio::time::sleep;

use super::commit::now_ms;
use super::connect::{Database, LaneName};
use super::decode::column;
use super::error::StoreError;
use super::session::{Session, Target};
use super::tokens::TokenId;
use crate::routing::ids::ChannelId;

/// Notices last so long; a node that was away for longer reads everything.
const LAST_MS: i64 = 3_600_000;
/// The channel of PostgreSQL's NOTIFY, as statements need it.
macro_rules! call {
    () => {
        "pointsman_changes"
    };
}
const CALL: &str = call!();
const ROW: i64 = 1;
/// A listener whose connection failed tries again after this.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What a change tells the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tells {
    Nothing,
    /// That routes have changed: of the channels that it touched, or a model's fallbacks and settings.
    Routes,
    Token(TokenId),
}

/// What the others have changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The version that is known with this.
    pub version: i64,
    /// The channels whose routes may be others now; `None`: no route has changed.
    pub channels: Option<BTreeSet<ChannelId>>,
    pub tokens: BTreeSet<TokenId>,
    /// It is not known what has changed.
    pub anything: bool,
}

/// Tells the other nodes, as the last statement before COMMIT.
pub(crate) async fn write(
    session: &Session,
    node: &str,
    tells: Tells,
    touched: &[ChannelId],
) -> Result<(), StoreError> {
    let (channels, token_id) = match tells {
        Tells::Nothing => return Ok(()),
        Tells::Routes => {
            let ids: Vec<i64> = touched.iter().map(|id| id.0).collect();
            (Some(format!("{ids:?}")), None)
        }
        Tells::Token(id) => (None, Some(id.0)),
    };
    routing_version::Entity::update_many()
        .col_expr(
            routing_version::Column::Version,
            Expr::col(routing_version::Column::Version).add(1),
        )
        .filter(routing_version::Column::Id.eq(ROW))
        .exec(session)
        .await?;
    let Some(version) = version_on(session).await? else {
        return Err(StoreError::Internal(
            "routing_version has lost its row".to_owned(),
        ));
    };
    let notice = change_notice::ActiveModel {
        version: Set(version),
        node: Set(node.to_owned()),
        channels: Set(channels),
        token_id: Set(token_id),
        at: Set(now_ms()),
    };
    change_notice::Entity::insert(notice)
        .exec_without_returning(session)
        .await?;
    if session.backend() == DbBackend::Postgres {
        session.run(concat!("NOTIFY ", call!())).await?;
    }
    Ok(())
}

async fn version_on(session: &Session) -> Result<Option<i64>, StoreError> {
    let mut select = Query::select();
    select
        .column(routing_version::Column::Version)
        .from(routing_version::Entity)
        .and_where(routing_version::Column::Id.eq(ROW));
    let version = session
        .first(&select, |row| column(row, 0, "version").integer())
        .await?;
    Ok(version.transpose()?)
}

/// How many changes there have been.
pub async fn version(database: &Database) -> Result<i64, StoreError> {
    let version = database
        .read(LaneName::Reads, (), |session, ()| version_on(session).boxed())
        .await?;
    Ok(version.unwrap_or_default())
}

/// What other nodes have changed since this version was known.
pub async fn since(database: &Database, known: i64) -> Result<News, StoreError> {
    let version = version(database).await?;
    if version == known {
        return Ok(News {
            version,
            ..News::default()
        });
    }
    let notices = database
        .read(LaneName::Reads, known, |session, known| {
            notices_on(session, *known).boxed()
        })
        .await?;
    let own = (!database.hears_itself()).then(|| database.node());
    Ok(news(own, known, version, notices))
}

struct Notice {
    version: i64,
    node: String,
    /// `Err`: it cannot be read.
    channels: Result<Option<Vec<i64>>, ()>,
    token: Option<TokenId>,
}

async fn notices_on(session: &Session, known: i64) -> Result<Vec<Notice>, StoreError> {
    use change_notice::Column::{Channels, Node, TokenId as Token, Version};
    let mut select = Query::select();
    select
        .columns([Version, Node, Channels, Token])
        .from(change_notice::Entity)
        .and_where(Version.gt(known))
        .order_by(Alias::new("version"), Order::Asc);
    let mut notices = Vec::new();
    session
        .each_of(&select, |row| {
            let channels = column(row, 2, "channels").maybe_text();
            let channels = channels.map_err(|_| ()).and_then(|text| {
                let list = text.map(|text| serde_json::from_str(&text));
                list.transpose().map_err(|_| ())
            });
            notices.push(Notice {
                version: column(row, 0, "version").integer().unwrap_or_default(),
                node: column(row, 1, "node").text().unwrap_or_default().to_owned(),
                channels,
                token: column(row, 3, "token_id")
                    .maybe_integer()
                    .ok()
                    .flatten()
                    .map(TokenId),
            });
        })
        .await?;
    Ok(notices)
}

/// `own`: the node whose notices are no news. `version` was read before the notices, so they go at least as far. A gap means that some are gone already.
fn news(own: Option<&str>, known: i64, version: i64, notices: Vec<Notice>) -> News {
    let mut news = News {
        version: notices
            .last()
            .map_or(version, |last| Ord::max(last.version, version)),
        ..News::default()
    };
    let expected = known + 1..;
    let is_whole = notices
        .iter()
        .map(|notice| notice.version)
        .eq(expected.take(notices.len()));
    let reaches = notices.last().is_some_and(|last| last.version >= version);
    if !is_whole || !reaches {
        news.anything = true;
        return news;
    }
    for notice in notices.into_iter().filter(|notice| Some(&*notice.node) != own) {
        match notice.channels {
            Ok(Some(ids)) => {
                let channels = news.channels.get_or_insert_default();
                channels.extend(ids.into_iter().map(ChannelId));
            }
            Ok(None) => {}
            Err(()) => news.anything = true,
        }
        news.tokens.extend(notice.token);
    }
    news
}

/// Deletes what every node has long read.
pub(crate) async fn forget_old(session: &Session) -> Result<(), StoreError> {
    change_notice::Entity::delete_many()
        .filter(change_notice::Column::At.lt(now_ms() - LAST_MS))
        .exec(session)
        .await?;
    Ok(())
}

/// Hears PostgreSQL call, on a connection of its own.
pub struct Ear {
    options: Box<PgConnectOptions>,
    listener: Option<PgListener>,
}

impl Ear {
    /// `None`: this database calls nobody.
    pub fn of(database: &Database) -> Option<Ear> {
        match database.target() {
            Target::Postgres(options) => Some(Ear {
                options: options.clone(),
                listener: None,
            }),
            Target::Sqlite(_) | Target::MySql(_) => None,
        }
    }

    /// Ends when there may be news: at a call, and whenever listening begins anew, as calls may have been missed.
    pub async fn called(&mut self) {
        if let Some(listener) = &mut self.listener {
            match listener.try_recv().await {
                Ok(Some(_)) => {
                    // Many calls are one question.
                    while listener.next_buffered().is_some() {}
                    return;
                }
                // The connection is lost.
                Ok(None) => {}
                Err(error) => log::info!("listening for changes broke off: {}", StoreError::from(error)),
            }
            self.listener = None;
        }
        loop {
            match self.listen().await {
                Ok(listener) => {
                    self.listener = Some(listener);
                    return;
                }
                Err(error) => log::debug!("cannot listen for changes: {}", StoreError::from(error)),
            }
            sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen(&self) -> Result<PgListener, sea_orm::sqlx::Error> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with((*self.options).clone())
            .await?;
        let mut listener = PgListener::connect_with(&pool).await?;
        // A loss is to be told, not mended in silence.
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        listener.listen(CALL).await?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(version: i64, node: &str, channels: Option<&[i64]>, token: Option<i64>) -> Notice {
        Notice {
            version,
            node: node.to_owned(),
            channels: Ok(channels.map(<[i64]>::to_vec)),
            token: token.map(TokenId),
        }
    }

    #[test]
    fn news_are_what_others_have_changed() {
        let notices = vec![
            notice(4, "b", Some(&[1, 2]), None),
            notice(5, "a", Some(&[9]), None),
            notice(6, "b", None, Some(7)),
            notice(7, "c", Some(&[]), None),
        ];
        let want = News {
            version: 7,
            channels: Some([ChannelId(1), ChannelId(2)].into()),
            tokens: [TokenId(7)].into(),
            anything: false,
        };
        // One that was committed after the version was read is there already.
        assert_eq!(news(Some("a"), 3, 6, notices), want);
        let own = news(None, 3, 4, vec![notice(4, "a", Some(&[9]), None)]);
        assert_eq!(
            own.channels,
            Some([ChannelId(9)].into()),
            "after a commit whose fate is unknown"
        );
    }

    #[test]
    fn what_is_not_told_whole_may_be_anything() {
        let check = |known, version, notices| {
            let news = news(Some("a"), known, version, notices);
            assert!(news.anything, "{news:?}");
            assert!(news.version >= version);
        };
        check(3, 5, vec![notice(5, "b", None, None)]);
        check(3, 5, vec![notice(4, "b", None, None)]);
        check(3, 4, vec![]);
        // A database that was put back to an earlier state.
        check(9, 4, vec![]);
        let unreadable = Notice {
            channels: Err(()),
            ..notice(4, "b", None, None)
        };
        check(3, 4, vec![unreadable]);
    }
}
