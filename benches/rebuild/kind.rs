//! The three databases: how each is reached, and a fresh one made.

use sea_orm::{ConnectionTrait, Database, DbErr};
use tempfile::TempDir;
use url::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Sqlite,
    Postgres,
    Mariadb,
}

/// An empty database, gone with its folder or server.
pub struct Fresh {
    pub url: String,
    /// Where an SQLite database's file is.
    folder: Option<TempDir>,
}

/// The name of the database on a server.
const NAME: &str = "pointsman_bench";

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Sqlite, Kind::Postgres, Kind::Mariadb];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
            Kind::Mariadb => "MariaDB",
        }
    }

    /// Where its server is, as `benches/rebuild/run` has exported it.
    fn server_variable(self) -> Option<&'static str> {
        match self {
            Kind::Sqlite => None,
            Kind::Postgres => Some("POINTSMAN_TEST_POSTGRES_URL"),
            Kind::Mariadb => Some("POINTSMAN_TEST_MARIADB_URL"),
        }
    }

    /// `None`: its server is not there.
    pub async fn fresh(self) -> Result<Option<Fresh>, DbErr> {
        let Some(variable) = self.server_variable() else {
            return Ok(Some(Fresh::file()));
        };
        let Ok(server) = std::env::var(variable) else {
            return Ok(None);
        };
        let database = Database::connect(&server).await?;
        database
            .execute_unprepared(&format!("DROP DATABASE IF EXISTS {NAME}"))
            .await?;
        database
            .execute_unprepared(&format!("CREATE DATABASE {NAME}"))
            .await?;
        database.close().await?;
        let mut url = Url::parse(&server).expect("the server's URL is one");
        url.set_path(NAME);
        Ok(Some(Fresh {
            url: url.into(),
            folder: None,
        }))
    }

    /// SQL whose names are quoted as the standard says, `"group"`. What stands in quotes has none of its own.
    pub fn quoted(self, sql: &str) -> String {
        match self {
            Kind::Sqlite | Kind::Postgres => sql.to_owned(),
            Kind::Mariadb => sql.replace('"', "`"),
        }
    }
}

impl Fresh {
    fn file() -> Fresh {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("pointsman.sqlite");
        Fresh {
            url: format!("sqlite://{}?mode=rwc", file.display()),
            folder: Some(folder),
        }
    }

    /// The file of an SQLite database.
    pub fn path(&self) -> Option<std::path::PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.path().join("pointsman.sqlite"))
    }
}
