//! What always holds in the tables, asked of all rows: whatever was killed in the middle of whatever it did.
//!
//! Only what every write of ours keeps is asked (docs/reliability.md lists it, and what is not in it). Columns are read
//! as the snapshot's build reads them, in one consistent view, on a connection that cannot write.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use entity::{ability, admin_token, change_notice, channel, channel_key, routing_version, token};
use sea_orm::sea_query::{Alias, IntoIden, Order, Query, SelectStatement};
use tokio::time::timeout;

use super::decode::column;
use super::error::StoreError;
use super::key_hash::KeyHash;
use super::session::{Begin, Session, Target};
use crate::routing::rows::{RowFault, Status};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Millions of rows are read in seconds; a server that hangs is not waited for all day.
const READ_WITHIN: Duration = Duration::from_secs(600);

/// A row that should not be as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which row: its table's word and its id. Never a secret.
    pub row: String,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row, self.what)
    }
}

/// How many rows were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub channels: u64,
    pub keys: u64,
    pub abilities: u64,
    pub tokens: u64,
}

/// Why nothing is known of the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    #[error("{0}")]
    Database(#[from] StoreError),
    /// Its tables are older, newer or none of ours.
    #[error("the tables are not this version's: {0}")]
    Tables(String),
    /// Something in this process failed first.
    #[error("{0}")]
    Here(String),
}

/// Hands each violation to `told` as it is found. Changes nothing: it neither migrates nor makes a file.
pub async fn violations(url: &str, told: impl FnMut(Violation) + Send) -> Result<Rows, NotAsked> {
    let target = Target::parse(url)?.only_read();
    let connecting = timeout(CONNECT_WITHIN, target.connect(None));
    let session = connecting.await.map_err(|_| StoreError::TimedOut)??;
    let mut check = Check {
        session: &session,
        told,
        rows: Rows::default(),
        statuses: HashMap::new(),
    };
    let asked = timeout(READ_WITHIN, check.everything()).await;
    let rows = check.rows;
    session.close().await;
    asked.unwrap_or(Err(StoreError::TimedOut.into())).map(|()| rows)
}

struct Check<'s, T> {
    session: &'s Session,
    told: T,
    rows: Rows,
    /// Every channel's status; `None`: it cannot be read.
    statuses: HashMap<i64, Option<Status>>,
}

impl<T: FnMut(Violation) + Send> Check<'_, T> {
    async fn everything(&mut self) -> Result<(), NotAsked> {
        self.session.begin(Begin::View).await.map_err(StoreError::from)?;
        self.tables().await?;
        self.channels().await?;
        self.keys().await?;
        self.abilities().await?;
        self.tokens().await?;
        self.admin_tokens().await?;
        self.notices().await?;
        self.session.run("COMMIT").await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Of other tables the questions below would be the wrong ones.
    async fn tables(&mut self) -> Result<(), NotAsked> {
        let version = Alias::new("version").into_iden();
        let mut select = Query::select();
        select.column(version).from(Alias::new("seaql_migrations"));
        let mut taken = HashSet::new();
        let asked = self.session.each_of(&select, |row| {
            taken.extend(column(row, 0, "version").text().map(str::to_owned));
        });
        match asked.await {
            Ok(()) => {}
            Err(StoreError::Database { message, .. }) => return Err(NotAsked::Tables(message)),
            Err(error) => return Err(error.into()),
        }
        let ours: HashSet<String> = migration::steps().into_iter().collect();
        if let Some(missing) = ours.difference(&taken).min() {
            return Err(NotAsked::Tables(format!("{missing} was not taken")));
        }
        match taken.difference(&ours).max() {
            Some(newer) => Err(NotAsked::Tables(format!("{newer} is not known"))),
            None => Ok(()),
        }
    }

    async fn channels(&mut self) -> Result<(), StoreError> {
        use channel::Column::{Id, Status};
        let mut select = Query::select();
        select
            .columns([Id, Status])
            .from(channel::Entity)
            .order_by(Id, Order::Asc);
        let Self {
            session,
            told,
            rows,
            statuses,
        } = self;
        session
            .each_of(&select, |row| {
                rows.channels += 1;
                let id = column(row, 0, "id").integer().unwrap_or_default();
                let status = column(row, 1, "status").status();
                if let Err(fault) = &status {
                    told(unreadable(format!("channel {id}"), fault));
                }
                statuses.insert(id, status.ok());
            })
            .await
    }

    async fn keys(&mut self) -> Result<(), StoreError> {
        use channel_key::Column::{ChannelId, Id, Status};
        let mut select = Query::select();
        select
            .columns([Id, ChannelId, Status])
            .from(channel_key::Entity)
            .order_by(Id, Order::Asc);
        let Self {
            session,
            told,
            rows,
            statuses,
        } = self;
        session
            .each_of(&select, |row| {
                rows.keys += 1;
                let id = column(row, 0, "id").integer().unwrap_or_default();
                let channel = column(row, 1, "channel_id").integer().unwrap_or_default();
                let key = || format!("key {id} of channel {channel}");
                if !statuses.contains_key(&channel) {
                    told(violation(key(), "there is no such channel"));
                }
                if let Err(fault) = column(row, 2, "status").status() {
                    told(unreadable(key(), &fault));
                }
            })
            .await
    }

    /// R9: an ability is enabled exactly if its channel is.
    async fn abilities(&mut self) -> Result<(), StoreError> {
        use ability::Column::{ChannelId, Enabled, Group, Held, Model};
        let mut select = Query::select();
        select
            .columns([Group, Model, ChannelId, Enabled, Held])
            .from(ability::Entity);
        let Self {
            session,
            told,
            rows,
            statuses,
        } = self;
        session
            .each_of(&select, |row| {
                rows.abilities += 1;
                let text = |index, name| column(row, index, name).text().unwrap_or("?");
                let channel = column(row, 2, "channel_id").integer().unwrap_or_default();
                let ability = || {
                    let (group, model) = (text(0, "group"), text(1, "model"));
                    format!("ability {group:?} {model:?} of channel {channel}")
                };
                let enabled = column(row, 3, "enabled").flag();
                for fault in [&enabled, &column(row, 4, "held").flag()] {
                    if let Err(fault) = fault {
                        told(unreadable(ability(), fault));
                    }
                }
                let what = match (statuses.get(&channel), enabled) {
                    (None, _) => "there is no such channel",
                    (Some(Some(Status::Enabled)), Ok(false)) => "it is not enabled, but its channel is",
                    (Some(Some(Status::Disabled | Status::AutoDisabled) | None), Ok(true)) => {
                        "it is enabled, but its channel is not"
                    }
                    (Some(_), _) => return,
                };
                told(violation(ability(), what));
            })
            .await
    }

    async fn tokens(&mut self) -> Result<(), StoreError> {
        use token::Column::{Id, KeyHash, Status};
        let select = by_id(token::Entity, [Id, KeyHash, Status]);
        let Self {
            session, told, rows, ..
        } = self;
        let mut hashes = Hashes::default();
        session
            .each_of(&select, |row| {
                rows.tokens += 1;
                let token = format!("token {}", column(row, 0, "id").integer().unwrap_or_default());
                if !matches!(column(row, 2, "status").text(), Ok("enabled" | "disabled")) {
                    let fault = RowFault::new("status", "expected enabled or disabled");
                    told(unreadable(token.clone(), &fault));
                }
                let hash = column(row, 1, "key_hash").text().unwrap_or_default();
                hashes
                    .judge(hash, &token)
                    .inspect(|what| told(violation(token, what)));
            })
            .await
    }

    async fn admin_tokens(&mut self) -> Result<(), StoreError> {
        use admin_token::Column::{Id, KeyHash};
        let select = by_id(admin_token::Entity, [Id, KeyHash]);
        let Self { session, told, .. } = self;
        let mut hashes = Hashes::default();
        session
            .each_of(&select, |row| {
                let id = column(row, 0, "id").integer().unwrap_or_default();
                let token = format!("admin token {id}");
                let hash = column(row, 1, "key_hash").text().unwrap_or_default();
                hashes
                    .judge(hash, &token)
                    .inspect(|what| told(violation(token, what)));
            })
            .await
    }

    /// A version that was told is never above the one that is counted: other nodes would never look at what follows.
    async fn notices(&mut self) -> Result<(), StoreError> {
        use routing_version::Column::{Id, Version};
        let mut select = Query::select();
        select
            .columns([Id, Version])
            .from(routing_version::Entity)
            .order_by(Id, Order::Asc);
        let Self { session, told, .. } = self;
        let mut counted = None;
        session
            .each_of(&select, |row| {
                match (
                    column(row, 0, "id").integer(),
                    column(row, 1, "version").integer(),
                ) {
                    (Ok(1), Ok(version)) => counted = Some(version),
                    (id, _) => told(violation(
                        format!("routing version {}", id.unwrap_or_default()),
                        "there is one row, 1, with a whole number",
                    )),
                }
            })
            .await?;
        let Some(counted) = counted else {
            told(violation("routing version 1".to_owned(), "it is missing"));
            return Ok(());
        };
        let mut select = Query::select();
        select
            .columns([change_notice::Column::Version, change_notice::Column::Channels])
            .from(change_notice::Entity)
            .order_by(change_notice::Column::Version, Order::Asc);
        session
            .each_of(&select, |row| {
                let version = column(row, 0, "version").integer().unwrap_or_default();
                let notice = || format!("change notice {version}");
                if version > counted {
                    let what = format!("the version that is counted is only {counted}");
                    told(violation(notice(), &what));
                }
                let channels = column(row, 1, "channels");
                if let Err(fault) = channels.json::<Option<Vec<i64>>>("expected a JSON list of ids") {
                    told(unreadable(notice(), &fault));
                }
            })
            .await
    }
}

fn by_id<E: IntoIden + Clone + 'static, C: IntoIden + Copy, const N: usize>(
    table: E,
    columns: [C; N],
) -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(columns)
        .from(table.into_iden())
        .order_by(columns[0].into_iden(), Order::Asc);
    select
}

/// Whose hash is whose.
#[derive(Default)]
struct Hashes(HashMap<KeyHash, String>);

impl Hashes {
    /// What is wrong with this token's.
    fn judge(&mut self, digits: &str, token: &str) -> Option<String> {
        let Some(hash) = KeyHash::from_hex(digits).filter(|hash| hash.to_hex() == digits) else {
            return Some("its key_hash is not 64 lower-case hex digits".to_owned());
        };
        let other = self.0.insert(hash, token.to_owned())?;
        Some(format!("its key_hash is {other}'s too"))
    }
}

fn violation(row: String, what: &str) -> Violation {
    Violation {
        row,
        what: what.to_owned(),
    }
}

fn unreadable(row: String, fault: &RowFault) -> Violation {
    violation(row, &fault.to_string())
}
