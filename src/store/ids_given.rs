//! Was an id ever given? Ids are never used twice: one that no row has was deleted if it was given, and is a mistake of
//! the caller's if it never was.

use sea_orm::{DbBackend, Statement};

use super::decode::column;
use super::error::StoreError;
use super::session::Session;

/// A table whose ids are counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Channels,
    ChannelKeys,
    Tokens,
}

/// Whether a row of this table has, or once had, this id. Where the database does not tell, it may have.
pub(crate) async fn was_given(session: &Session, table: Counted, id: i64) -> Result<bool, StoreError> {
    let table = match table {
        Counted::Channels => "channels",
        Counted::ChannelKeys => "channel_keys",
        Counted::Tokens => "tokens",
    };
    let backend = session.backend();
    let last = match backend {
        DbBackend::Postgres => {
            format!("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_id_seq")
        }
        DbBackend::MySql => format!(
            "SELECT CAST(AUTO_INCREMENT AS SIGNED) - 1 FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}'"
        ),
        _ => format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'"),
    };
    let mut told = None;
    session
        .each(Statement::from_string(backend, last), |row| {
            told = column(row, 0, "last id").maybe_integer().ok();
        })
        .await?;
    Ok(match told {
        Some(Some(last)) => (1..=last).contains(&id),
        Some(None) => true,
        // SQLite has no line for a table that never had a row.
        None => backend != DbBackend::Sqlite,
    })
}
