//! A fresh database of each kind for each test.

use std::sync::LazyLock;

use pointsman::routing::ids::{ChannelId, GroupName, ModelName, Protocol};
use pointsman::routing::rows::{ProviderTraits, Secret};
use pointsman::store::channels::{self, NewChannel};
use pointsman::store::connect::{Database, Options};
use sea_orm::sqlx::{
    self, AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row, SqliteConnection,
};
use tokio::runtime::Runtime;

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(4).enable_all().build().expect("a runtime")
});

/// Runs the body on each of the three databases; a server whose URL is not given is left out.
macro_rules! on_all {
    ($(#[$meta:meta])* async fn $name:ident($stage:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn body($stage: &$crate::store::databases::Stage) $body

            $(#[$meta])*
            #[test]
            fn sqlite() {
                $crate::store::databases::run($crate::store::databases::Kind::Sqlite, |stage| Box::pin(body(stage)));
            }

            $(#[$meta])*
            #[test]
            fn postgres() {
                $crate::store::databases::run($crate::store::databases::Kind::Postgres, |stage| Box::pin(body(stage)));
            }

            $(#[$meta])*
            #[test]
            fn mariadb() {
                $crate::store::databases::run($crate::store::databases::Kind::MariaDb, |stage| Box::pin(body(stage)));
            }
        }
    };
}
pub(crate) use on_all;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
    MariaDb,
}

pub struct Stage {
    pub kind: Kind,
    pub url: String,
    admin_url: String,
    name: String,
    _folder: tempfile::TempDir,
}

pub fn run<F>(kind: Kind, body: F)
where
    F: for<'a> FnOnce(&'a Stage) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>,
{
    RUNTIME.block_on(async {
        let stage = Stage::new(kind).await;
        body(&stage).await;
        stage.tear_down().await;
    });
}

impl Stage {
    async fn new(kind: Kind) -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let (admin_url, url) = match kind {
            Kind::Sqlite => (String::new(), format!("sqlite:{}/p.db", folder.path().display())),
            Kind::Postgres => urls("POINTSMAN_TEST_POSTGRES_URL", &name),
            Kind::MariaDb => urls("POINTSMAN_TEST_MARIADB_URL", &name),
        };
        let stage = Stage {
            kind,
            url,
            admin_url,
            name,
            _folder: folder,
        };
        // latin1: the tables say their own character set.
        let charset = if kind == Kind::MariaDb {
            " CHARACTER SET latin1"
        } else {
            ""
        };
        stage
            .on_server(&format!("CREATE DATABASE {}{charset}", stage.name))
            .await;
        stage
    }

    async fn tear_down(&self) {
        let force = if self.kind == Kind::Postgres {
            " WITH (FORCE)"
        } else {
            ""
        };
        self.on_server(&format!("DROP DATABASE {}{force}", self.name))
            .await;
    }

    async fn on_server(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite => {}
            Kind::Postgres => {
                let mut c = PgConnection::connect(&self.admin_url).await.expect("the server");
                c.execute(sql).await.expect("the statement");
            }
            Kind::MariaDb => {
                let mut c = MySqlConnection::connect(&self.admin_url)
                    .await
                    .expect("the server");
                c.execute(sql).await.expect("the statement");
            }
        }
    }

    pub fn options(&self) -> Options {
        Options::new(providers, RUNTIME.handle().clone())
    }

    pub async fn open(&self) -> Database {
        Database::open(&self.url, self.options())
            .await
            .expect("an open database")
    }

    /// A name that may be a reserved word.
    pub fn quoted(&self, name: &str) -> String {
        if self.kind == Kind::MariaDb {
            format!("`{name}`")
        } else {
            format!("\"{name}\"")
        }
    }

    /// Runs statements behind the store's back, on one connection, each by itself.
    pub async fn sql(&self, statements: &[&str]) {
        let mut by_hand = self.by_hand().await;
        for statement in statements {
            by_hand.run(statement).await;
        }
    }

    pub async fn by_hand(&self) -> ByHand {
        match self.kind {
            Kind::Sqlite => {
                let mut c = SqliteConnection::connect(&self.url).await.expect("a connection");
                c.execute("PRAGMA busy_timeout = 20000").await.expect("a timeout");
                ByHand::Sqlite(c)
            }
            Kind::Postgres => ByHand::Postgres(PgConnection::connect(&self.url).await.expect("a connection")),
            Kind::MariaDb => {
                ByHand::MariaDb(MySqlConnection::connect(&self.url).await.expect("a connection"))
            }
        }
    }

    /// All rows, each value as text, columns joined by a blank.
    pub async fn rows(&self, sql: &str) -> Vec<String> {
        self.by_hand().await.rows(sql).await
    }
}

pub enum ByHand {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl ByHand {
    pub async fn run(&mut self, sql: &str) {
        let text = AssertSqlSafe(sql.to_owned());
        let done = match self {
            ByHand::Sqlite(c) => c.execute(text).await.map(|_| ()),
            ByHand::Postgres(c) => c.execute(text).await.map(|_| ()),
            ByHand::MariaDb(c) => c.execute(text).await.map(|_| ()),
        };
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn rows(&mut self, sql: &str) -> Vec<String> {
        let text = AssertSqlSafe(sql.to_owned());
        macro_rules! read {
            ($c:expr) => {
                sqlx::raw_sql(text)
                    .fetch_all($c)
                    .await
                    .unwrap_or_else(|error| panic!("{sql}: {error}"))
                    .iter()
                    .map(|row| {
                        let values = (0..row.len()).map(|i| {
                            row.try_get_unchecked::<Option<String>, _>(i)
                                .expect("text")
                                .unwrap_or("NULL".to_owned())
                        });
                        values.collect::<Vec<_>>().join(" ")
                    })
                    .collect()
            };
        }
        match self {
            ByHand::Sqlite(c) => read!(c),
            ByHand::Postgres(c) => read!(c),
            ByHand::MariaDb(c) => read!(c),
        }
    }
}

fn urls(variable: &str, name: &str) -> (String, String) {
    let admin_url =
        std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run tests/run"));
    let mut url = url::Url::parse(&admin_url).expect("a url");
    url.set_path(name);
    (admin_url, url.to_string())
}

pub fn providers(name: &str) -> Option<ProviderTraits> {
    let needs_key = match name {
        "openai" => true,
        "ollama" => false,
        _ => return None,
    };
    let protocols = [Protocol::OpenAi].into_iter().collect();
    Some(ProviderTraits { protocols, needs_key })
}

/// A channel with two keys that serves `m1` and `m2` to `default`.
pub fn channel(name: &str) -> NewChannel {
    NewChannel {
        keys: vec![Secret::new("sk-first-0001"), Secret::new("sk-second-0002")],
        groups: vec!["default".into()],
        models: vec!["m1".into(), "m2".into()],
        ..NewChannel::new(name, "openai")
    }
}

/// Created, and its receipt consumed.
pub async fn made(database: &Database, new: NewChannel) -> ChannelId {
    let (id, receipt) = channels::create(database, new).await.expect("a channel");
    let _ = receipt.consume();
    id
}

/// Which of the channels a lookup finds open for the model in `group`.
pub async fn open_by_lookup(
    database: &Database,
    group: &str,
    model: &str,
    of: &[ChannelId],
) -> Vec<ChannelId> {
    use pointsman::routing::snapshot::Snapshot;
    use pointsman::store::find_route::candidates;
    let found = candidates(database, &[GroupName::new(group)], &ModelName::new(model))
        .await
        .expect("a lookup");
    let snapshot = found
        .draft
        .snapshot(&Snapshot::default(), Default::default(), found.began);
    of.iter()
        .copied()
        .filter(|id| snapshot.shows_open(*id, group, model))
        .collect()
}

/// Which of the channels a whole read finds open for the model in `group`.
pub async fn open_by_build(
    database: &Database,
    group: &str,
    model: &str,
    of: &[ChannelId],
) -> Vec<ChannelId> {
    use pointsman::routing::snapshot::Snapshot;
    use pointsman::store::load_snapshot::everything;
    let draft = everything(database).await.expect("a build");
    let snapshot = draft.snapshot(&Snapshot::default(), Default::default(), Default::default());
    of.iter()
        .copied()
        .filter(|id| snapshot.shows_open(*id, group, model))
        .collect()
}
