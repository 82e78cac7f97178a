//! One connection, held by one question at a time.
//!
//! Connections are sqlx's own, kept in lanes of ours (`lanes.rs`) in place of sqlx's pool: that one pings
//! each connection when it comes back, and a server that is stopped never answers, so that the
//! connection's place in the pool stays taken. Here a connection that a question has not brought to its
//! end is dropped, which closes its socket at once.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use sea_orm::prelude::async_trait;
use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection, PgConnection,
    SqliteConnection,
    mysql::MySqlConnectOptions,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;

use super::cells::Cells;
use super::error::StoreError;

/// How long SQLite waits for another process's write to end. Shorter than a write's deadline, so that
/// the wait ends before the write is given up.
pub(crate) const SQLITE_BUSY: Duration = Duration::from_secs(8);

/// Rows that may wait between SQLite's thread and ours: enough that neither waits for the other.
const SQLITE_ROWS_UNDERWAY: usize = 1024;

/// Where connections lead to.
#[derive(Clone)]
pub(crate) enum Target {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
    MySql(Box<MySqlConnectOptions>),
}

impl Target {
    /// No error names the URL: it may hold a password.
    pub fn parse(url: &str) -> Result<Target, StoreError> {
        let unreadable = |_| StoreError::Url("cannot be read".to_owned());
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        match scheme {
            "sqlite" if url.contains(":memory:") || url.contains("mode=memory") => Err(StoreError::Url(
                "an sqlite database in memory has one connection and is not supported; name a file"
                    .to_owned(),
            )),
            "sqlite" => SqliteConnectOptions::from_str(url)
                .map_err(unreadable)
                .map(|options| Target::Sqlite(Box::new(of_ours(options)))),
            "postgres" | "postgresql" => PgConnectOptions::from_str(url)
                .map_err(unreadable)
                .map(|options| {
                    Target::Postgres(Box::new(
                        options.application_name("pointsman").disable_statement_logging(),
                    ))
                }),
            "mysql" | "mariadb" => {
                let url = url.replacen("mariadb:", "mysql:", 1);
                MySqlConnectOptions::from_str(&url)
                    .map_err(unreadable)
                    .map(|options| Target::MySql(Box::new(options.disable_statement_logging())))
            }
            _ => Err(StoreError::Url(
                "must begin with sqlite:, postgres:// or mysql:// (or mariadb://)".to_owned(),
            )),
        }
    }

    /// The same, for what is there already: a file that has gone is not made anew without its tables.
    pub fn not_made(self) -> Target {
        match self {
            Target::Sqlite(options) => Target::Sqlite(Box::new(options.create_if_missing(false))),
            server @ (Target::Postgres(_) | Target::MySql(_)) => server,
        }
    }

    /// Which file an SQLite database now is; `None`: there is none, or it is on a server.
    pub fn file(&self) -> Option<FileId> {
        match self {
            Target::Sqlite(options) => FileId::of(options.get_filename()),
            Target::Postgres(_) | Target::MySql(_) => None,
        }
    }

    /// The same, for who must change nothing: no file is made, none is written to.
    pub fn only_read(self) -> Target {
        match self {
            Target::Sqlite(options) => {
                Target::Sqlite(Box::new(options.create_if_missing(false).read_only(true)))
            }
            // There a read-only transaction does it.
            server @ (Target::Postgres(_) | Target::MySql(_)) => server,
        }
    }

    pub fn backend(&self) -> DbBackend {
        match self {
            Target::Sqlite(_) => DbBackend::Sqlite,
            Target::Postgres(_) => DbBackend::Postgres,
            Target::MySql(_) => DbBackend::MySql,
        }
    }

    /// A new connection. `patience` is how long the server itself shall go on with a statement or a wait
    /// for a lock: it must not heap up what we have long given up.
    pub async fn connect(&self, patience: Option<Duration>) -> Result<Session, StoreError> {
        // Before it is opened: should another take its place in between, this is found to be outlived.
        let file = self.file();
        let mut driver = match self {
            Target::Sqlite(options) => Driver::Sqlite(options.connect().await?),
            Target::Postgres(options) => Driver::Postgres(options.connect().await?),
            Target::MySql(options) => Driver::MySql(options.connect().await?),
        };
        if let Some(patience) = patience {
            driver.set_patience(patience).await?;
        }
        Ok(Session {
            backend: self.backend(),
            file,
            driver: Mutex::new(driver),
        })
    }
}

/// A file, whatever its name. One that was put in another's place is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> Option<FileId> {
        let file = std::fs::metadata(path).ok()?;
        Some(FileId {
            device: file.dev(),
            inode: file.ino(),
        })
    }
}

/// `synchronous = FULL`: a change of status is rare and has been answered for, so it outlives a power
/// cut too, for the price of one sync each.
fn of_ours(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY)
        .synchronous(SqliteSynchronous::Full)
        .row_buffer_size(SQLITE_ROWS_UNDERWAY)
        .disable_statement_logging()
}

pub(crate) enum Driver {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

impl Driver {
    async fn set_patience(&mut self, patience: Duration) -> Result<(), sqlx::Error> {
        let ms = patience.as_millis().max(1);
        let seconds = patience.as_secs().max(1);
        match self {
            Driver::Sqlite(_) => {}
            Driver::Postgres(c) => {
                // Whoever stops in the middle of a change must not hold up the changes of all others.
                let sql = format!(
                    "SET statement_timeout = {ms}; SET lock_timeout = {ms}; \
                     SET idle_in_transaction_session_timeout = {ms}"
                );
                c.execute(AssertSqlSafe(sql)).await?;
            }
            Driver::MySql(c) => {
                let sql = format!(
                    "SET SESSION lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}"
                );
                c.execute(AssertSqlSafe(sql)).await?;
                // MariaDB only; MySQL knows no such variable.
                let sql = format!(
                    "SET SESSION max_statement_time = {seconds}, idle_write_transaction_timeout = {seconds}"
                );
                match c.execute(AssertSqlSafe(sql)).await {
                    Ok(_) | Err(sqlx::Error::Database(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// What a transaction is for.
#[derive(Clone, Copy)]
pub(crate) enum Begin {
    /// One consistent view over all of its statements.
    View,
    /// Writes; on SQLite it holds the write lock from its beginning.
    Write,
}

/// One connection. It is sea-orm's `ConnectionTrait`, and can hand out rows as they come.
pub(crate) struct Session {
    backend: DbBackend,
    file: Option<FileId>,
    driver: Mutex<Driver>,
}

/// Runs one expression for whichever driver it is.
macro_rules! with {
    ($session:expr, $c:ident => $body:expr) => {
        match &mut *$session.driver.lock().await {
            Driver::Sqlite($c) => $body,
            Driver::Postgres($c) => $body,
            Driver::MySql($c) => $body,
        }
    };
}

impl Session {
    pub async fn run(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        with!(self, c => c.execute(sql).await.map(|_| ()))
    }

    pub async fn begin(&self, begin: Begin) -> Result<(), sqlx::Error> {
        match (self.backend, begin) {
            (DbBackend::Postgres, Begin::View) => {
                self.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await
            }
            (DbBackend::Postgres, Begin::Write) => self.run("BEGIN ISOLATION LEVEL READ COMMITTED").await,
            (DbBackend::MySql, Begin::View) => {
                self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    .await?;
                self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
                    .await
            }
            (DbBackend::MySql, Begin::Write) => {
                self.run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                self.run("START TRANSACTION").await
            }
            (_, Begin::View) => self.run("BEGIN DEFERRED").await,
            (_, Begin::Write) => self.run("BEGIN IMMEDIATE").await,
        }
    }

    /// Hands each row to `take` as it comes.
    pub async fn each(
        &self,
        statement: Statement,
        mut take: impl FnMut(&dyn Cells) + Send,
    ) -> Result<(), StoreError> {
        let values = values_of(&statement);
        with!(self, c => {
            let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
            let mut rows = query.fetch(c);
            while let Some(row) = rows.try_next().await? {
                take(&row);
            }
        });
        Ok(())
    }

    /// As `each`, for a statement that sea-query builds.
    pub async fn each_of<S: sea_orm::StatementBuilder>(
        &self,
        statement: &S,
        take: impl FnMut(&dyn Cells) + Send,
    ) -> Result<(), StoreError> {
        self.each(self.backend.build(statement), take).await
    }

    /// The first row, through `read`.
    pub async fn first<T: Send, S: sea_orm::StatementBuilder>(
        &self,
        statement: &S,
        mut read: impl FnMut(&dyn Cells) -> T + Send,
    ) -> Result<Option<T>, StoreError> {
        let mut first = None;
        self.each_of(statement, |row| {
            if first.is_none() {
                first = Some(read(row));
            }
        })
        .await?;
        Ok(first)
    }

    pub fn backend(&self) -> DbBackend {
        self.backend
    }

    /// The file that this connection has open; `None`: it leads to a server.
    pub fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Closes it as its protocol asks, as far as that goes within a second.
    pub async fn close(self) {
        let closing = async {
            match self.driver.into_inner() {
                Driver::Sqlite(c) => c.close().await,
                Driver::Postgres(c) => c.close().await,
                Driver::MySql(c) => c.close().await,
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), closing).await;
    }
}

fn values_of(statement: &Statement) -> SqlxValues {
    SqlxValues(
        statement
            .values
            .clone()
            .unwrap_or_else(|| sea_orm::Values(Vec::new())),
    )
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}

#[async_trait]
impl ConnectionTrait for Session {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let values = values_of(&statement);
        with!(self, c => {
            let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
            query.execute(c).await.map(ExecResult::from).map_err(failed)
        })
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        with!(self, c => c.execute(AssertSqlSafe(sql.to_owned())).await.map(ExecResult::from).map_err(failed))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let values = values_of(&statement);
        with!(self, c => {
            let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
            // All rows, so that no statement is left unfinished.
            let rows = query.fetch_all(c).await.map_err(failed)?;
            Ok(rows.into_iter().next().map(QueryResult::from))
        })
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let values = values_of(&statement);
        with!(self, c => {
            let query = sqlx::query_with(AssertSqlSafe(statement.sql), values);
            let rows = query.fetch_all(c).await.map_err(failed)?;
            Ok(rows.into_iter().map(QueryResult::from).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_refused_without_being_quoted() {
        for url in [
            "oracle://u:hunter2@h/db",
            "postgres://u:hunter2@h:port/db",
            "mysql://u:hunter2@h:99999999/x",
            "sqlite::memory:",
            "",
        ] {
            let error = Target::parse(url).err().expect(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn urls_of_all_kinds_are_taken() {
        for (url, backend) in [
            ("sqlite:pointsman.db", DbBackend::Sqlite),
            ("sqlite://pointsman.db?mode=rwc", DbBackend::Sqlite),
            ("postgres://u:p@h:5/db", DbBackend::Postgres),
            ("postgresql://u@h/db", DbBackend::Postgres),
            ("mysql://u:p@h/db", DbBackend::MySql),
            ("mariadb://u:p@h/db", DbBackend::MySql),
        ] {
            assert_eq!(Target::parse(url).map(|t| t.backend()), Ok(backend), "{url}");
        }
    }
}
