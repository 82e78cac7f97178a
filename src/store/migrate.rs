//! Brings the tables up to date. Of nodes that start at once one does it and the others wait.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use migration::{Migrator, MigratorTrait};
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqliteTransactionMode, SqlxMySqlConnector, SqlxPostgresConnector,
    SqlxSqliteConnector, TransactionOptions, TransactionTrait,
};

use super::error::StoreError;
use super::session::Target;

/// How long a node waits for another one's migrations.
const PATIENCE: Duration = Duration::from_secs(120);

/// Any number, so long as nothing else on the server takes it: the ASCII of "pointsmn".
const ADVISORY_LOCK: &str = "8101817537053289838";

pub(crate) async fn migrate(target: &Target, connect_deadline: Duration) -> Result<(), StoreError> {
    let migrating = async {
        // A pool only tells that it has waited in vain; one connection tells why.
        if !matches!(target, Target::Sqlite(_)) {
            let connecting = tokio::time::timeout(connect_deadline, target.connect(None));
            connecting.await.map_err(|_| StoreError::TimedOut)??.close().await;
        }
        match target {
            Target::Sqlite(options) => {
                make_private(options)?;
                turn_to_wal(options).await?;
                let pool = SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(connect_deadline)
                    .connect_with((**options).clone())
                    .await?;
                in_one_transaction(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)).await
            }
            Target::Postgres(options) => {
                let pool = PgPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(connect_deadline)
                    .connect_with((**options).clone())
                    .await?;
                in_one_transaction(SqlxPostgresConnector::from_sqlx_postgres_pool(pool)).await
            }
            Target::MySql(options) => {
                let pool = MySqlPoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(connect_deadline)
                    .connect_with((**options).clone())
                    .await?;
                under_a_named_lock(SqlxMySqlConnector::from_sqlx_mysql_pool(pool)).await
            }
        }
    };
    tokio::time::timeout(PATIENCE, migrating)
        .await
        .unwrap_or(Err(StoreError::TimedOut))
}

/// All steps or none. SQLite takes its write lock at the beginning, PostgreSQL an advisory lock.
async fn in_one_transaction(db: DatabaseConnection) -> Result<(), StoreError> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    };
    let done = async {
        let transaction = loop {
            match db.begin_with_options(options).await.map_err(StoreError::from) {
                Err(error) if error.is_worth_a_repeat() => tokio::task::yield_now().await,
                other => break other?,
            }
        };
        if transaction.get_database_backend() == sea_orm::DbBackend::Postgres {
            let lock = format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})");
            transaction.execute_unprepared(&lock).await?;
        }
        Migrator::up(&transaction, None).await?;
        transaction.commit().await?;
        Ok(())
    }
    .await;
    let _ = db.close().await;
    done
}

/// MySQL commits each statement by itself; its steps can be run again.
async fn under_a_named_lock(db: DatabaseConnection) -> Result<(), StoreError> {
    let done = async {
        // One for each database: the name is the server's.
        let seconds = PATIENCE.as_secs();
        db.execute_unprepared(&format!(
            "DO GET_LOCK(CONCAT('pointsman-', LEFT(SHA1(DATABASE()), 40)), {seconds})"
        ))
        .await?;
        Migrator::up(&db, None).await?;
        Ok(())
    }
    .await;
    // The lock ends with its session.
    let _ = db.close().await;
    done
}

/// The file holds secrets, so a new one is its owner's alone; SQLite gives its companions the same mode.
fn make_private(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let file = options.get_filename();
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Database {
            code: "14".to_owned(),
            message: format!("cannot make {}: {error}", file.display()),
        }),
    }
}

/// WAL is kept in the file, so it is turned on once. The switch needs the file for itself and does not
/// wait for it, whatever the busy timeout.
async fn turn_to_wal(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match try_wal(options).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_worth_a_repeat() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn try_wal(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let connected = options.connect().await;
    let mut connection = connected.map_err(|error| unopened(error, options.get_filename()))?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    match mode.as_str() {
        "wal" => Ok(()),
        _ => Err(StoreError::Internal(
            "sqlite: this file system allows no WAL".to_owned(),
        )),
    }
}

/// "unable to open database file" leaves one wondering which, and why.
fn unopened(error: sqlx::Error, file: &Path) -> StoreError {
    match StoreError::from(error) {
        StoreError::Database { code, message } => StoreError::Database {
            code,
            message: format!("{}: {message}", file.display()),
        },
        other => other,
    }
}
