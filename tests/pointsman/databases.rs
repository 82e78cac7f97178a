//! A fresh database for one test, gone after it.

use crate::servers::PrivateServer;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as SeaOrm, DatabaseConnection, DbBackend, Statement, TryGetable,
};
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use url::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

/// An empty database of its own, and a connection to it behind Pointsman's back.
pub struct Database {
    kind: Kind,
    url: String,
    connection: DatabaseConnection,
    end: End,
}

/// What is to be undone.
enum End {
    Nothing,
    RemoveFolder(TempDir),
    Drop { server_url: String, name: String },
}

impl Database {
    pub async fn fresh(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::sqlite().await,
            Kind::Postgres => Self::on_server(kind, &server_url("POINTSMAN_TEST_POSTGRES_URL")).await,
            Kind::Mariadb => Self::on_server(kind, &server_url("POINTSMAN_TEST_MARIADB_URL")).await,
        }
    }

    /// A second connection of its own to the same database, for a lock that is to be held. `database` must
    /// outlive it.
    pub async fn connect_again(database: &Database) -> Self {
        Self {
            kind: database.kind,
            url: database.url.clone(),
            connection: connect(&database.url).await,
            end: End::Nothing,
        }
    }

    /// On a server that the test may kill. The server must outlive it.
    pub async fn fresh_on(server: &PrivateServer) -> Self {
        Self::on_server(server.kind(), &server.url()).await
    }

    async fn sqlite() -> Self {
        Self::sqlite_in_own(tempfile::tempdir().expect("a temporary folder")).await
    }

    /// An SQLite database somewhere in this folder.
    pub async fn sqlite_in(folder: &Path) -> Self {
        let folder = tempfile::tempdir_in(folder).expect("a folder in it");
        Self::sqlite_in_own(folder).await
    }

    async fn sqlite_in_own(folder: TempDir) -> Self {
        let url = format!(
            "sqlite://{}?mode=rwc",
            folder.path().join("pointsman.sqlite").display()
        );
        let connection = connect(&url).await;
        Self {
            kind: Kind::Sqlite,
            url,
            connection,
            end: End::RemoveFolder(folder),
        }
    }

    async fn on_server(kind: Kind, server_url: &str) -> Self {
        let name = format!("pm_test_{:016x}", rand::random::<u64>());
        run_once(server_url, &format!("CREATE DATABASE {name}")).await;
        let mut url = Url::parse(server_url).expect("the server's URL");
        url.set_path(&name);
        let url = url.to_string();
        let connection = connect(&url).await;
        Self {
            kind,
            url,
            connection,
            end: End::Drop {
                server_url: server_url.to_owned(),
                name,
            },
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As `--database-url` takes it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database by way of another address, a proxy's.
    pub fn url_by_way_of(&self, address: SocketAddr) -> String {
        let mut url = Url::parse(&self.url).expect("the database's URL");
        url.set_host(Some(&address.ip().to_string()))
            .expect("a URL with a host");
        url.set_port(Some(address.port())).expect("a URL with a port");
        url.to_string()
    }

    /// Where the server listens; there is none for SQLite.
    pub fn server_address(&self) -> SocketAddr {
        let url = Url::parse(&self.url).expect("the database's URL");
        let (host, port) = (url.host_str().expect("a host"), url.port().expect("a port"));
        SocketAddr::new(host.parse().expect("an address"), port)
    }

    /// The file of an SQLite database.
    pub fn file(&self) -> PathBuf {
        match &self.end {
            End::RemoveFolder(folder) => folder.path().join("pointsman.sqlite"),
            End::Drop { .. } | End::Nothing => panic!("{:?} has no file", self.kind),
        }
    }

    /// For what a string of SQL cannot say.
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Runs one statement. Names are quoted as the standard says, `"group"`, on all three. Answers how many
    /// rows it touched. `TRUE` and `FALSE` are understood by all three as well.
    pub async fn sql(&self, sql: &str) -> u64 {
        self.connection
            .execute_raw(Statement::from_string(self.backend(), quoted_for(self.kind, sql)))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .rows_affected()
    }

    /// The first column of every row, say `query::<i64>("SELECT COUNT(*) FROM channels")`.
    pub async fn query<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        let rows = self
            .connection
            .query_all_raw(Statement::from_string(self.backend(), quoted_for(self.kind, sql)))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.iter()
            .map(|row| {
                row.try_get_by_index(0)
                    .unwrap_or_else(|error| panic!("{sql}: {error}"))
            })
            .collect()
    }

    fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let End::Drop { server_url, name } = &self.end else {
            return;
        };
        let force = if self.kind == Kind::Postgres {
            " WITH (FORCE)"
        } else {
            ""
        };
        let (server_url, sql) = (
            server_url.clone(),
            format!("DROP DATABASE IF EXISTS {name}{force}"),
        );
        // A test may have killed the server, and its own runtime may be going down: hence a thread, and no
        // word when it fails. `tests/run` removes the whole server anyway.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let connection = SeaOrm::connect(options(&server_url))
                    .await
                    .map_err(std::io::Error::other)?;
                connection
                    .execute_unprepared(&sql)
                    .await
                    .map_err(std::io::Error::other)?;
                connection.close().await.map_err(std::io::Error::other)
            })
        });
        let _ = dropping.join();
    }
}

fn server_url(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run tests/run"))
}

async fn connect(url: &str) -> DatabaseConnection {
    SeaOrm::connect(options(url))
        .await
        .unwrap_or_else(|error| panic!("no connection to the test's database: {error}"))
}

async fn run_once(url: &str, sql: &str) {
    let connection = connect(url).await;
    connection
        .execute_unprepared(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let _ = connection.close().await;
}

fn options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(2)
        .connect_timeout(Duration::from_secs(10))
        .acquire_timeout(Duration::from_secs(10))
        .map_sqlx_sqlite_opts(|options| options.busy_timeout(Duration::from_secs(10)))
        .sqlx_logging(false);
    options
}

/// MariaDB quotes names by backticks; what stands in a string stays.
fn quoted_for(kind: Kind, sql: &str) -> String {
    if kind != Kind::Mariadb {
        return sql.to_owned();
    }
    let mut in_string = false;
    sql.chars()
        .map(|sign| {
            in_string ^= sign == '\'';
            if sign == '"' && !in_string { '`' } else { sign }
        })
        .collect()
}

#[test]
fn names_are_quoted_for_each_database_and_strings_left_alone() {
    let sql = r#"UPDATE abilities SET "group" = 'a"b', "held" = TRUE WHERE x = '{"y": 1}'"#;
    assert_eq!(quoted_for(Kind::Postgres, sql), sql);
    assert_eq!(
        quoted_for(Kind::Mariadb, sql),
        r#"UPDATE abilities SET `group` = 'a"b', `held` = TRUE WHERE x = '{"y": 1}'"#
    );
}
