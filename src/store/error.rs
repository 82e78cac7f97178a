//! What a question to the database can fail with. No variant ever holds a URL, a value or a secret.

use std::borrow::Cow;

use sea_orm::sqlx;
use sea_orm::{DbErr, RuntimeErr};

use crate::routing::rows::RowFault;

/// Why the database did not answer, or answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database that Pointsman knows, or cannot be read.
    #[error("database url: {0}")]
    Url(String),
    /// No connection, or it broke. What had been sent may or may not have been done.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed; the wait for a connection is part of it.
    #[error("database did not answer in time")]
    TimedOut,
    /// The database answered with an error, so the statement was certainly not done.
    #[error("database error {code}: {message}")]
    Database { code: String, message: String },
    /// A row that had to be read whole could not be.
    #[error("unreadable row: {0}")]
    BadRow(#[from] RowFault),
    /// The question could not be put, or its task ended early: a fault of our own.
    #[error("internal: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the statement that failed has certainly not been done.
    pub fn is_certain(&self) -> bool {
        match self {
            StoreError::Unavailable(_) | StoreError::TimedOut => false,
            StoreError::Url(_)
            | StoreError::Database { .. }
            | StoreError::BadRow(_)
            | StoreError::Internal(_) => true,
        }
    }

    /// The database's own code (SQLSTATE, MySQL's number, SQLite's extended result code).
    pub fn code(&self) -> Option<&str> {
        match self {
            StoreError::Database { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same transaction, run again, may well succeed: deadlocks, serialization failures and
    /// SQLite's busy ones.
    pub(crate) fn is_worth_a_repeat(&self) -> bool {
        // SQLite's extended codes carry the primary one (5 busy, 6 locked) in their low byte.
        let sqlite_busy =
            |code: &str| matches!(code.parse::<u32>(), Ok(n) if n < 10_000 && matches!(n & 0xff, 5 | 6));
        match self.code() {
            Some("40001" | "40P01" | "1213" | "1205") => true,
            Some(code) if code.len() < 5 => sqlite_busy(code),
            _ => false,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => from_database(&*error),
            sqlx::Error::Io(error) => StoreError::Unavailable(format!("{:?}", error.kind())),
            sqlx::Error::Tls(_) => StoreError::Unavailable("tls failed".to_owned()),
            sqlx::Error::Protocol(_) => StoreError::Unavailable("protocol violated".to_owned()),
            sqlx::Error::WorkerCrashed => StoreError::Unavailable("connection closed".to_owned()),
            sqlx::Error::PoolTimedOut => StoreError::TimedOut,
            sqlx::Error::PoolClosed => StoreError::Unavailable("connection closed".to_owned()),
            sqlx::Error::Configuration(_) => StoreError::Url("cannot be read".to_owned()),
            other => StoreError::Internal(kind_of(&other).to_owned()),
        }
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(e))
            | DbErr::Exec(RuntimeErr::SqlxError(e))
            | DbErr::Query(RuntimeErr::SqlxError(e)) => match std::sync::Arc::try_unwrap(e) {
                Ok(e) => e.into(),
                Err(e) => from_shared(&e),
            },
            DbErr::ConnectionAcquire(_) => StoreError::TimedOut,
            DbErr::Custom(words) => StoreError::Internal(words),
            DbErr::RecordNotInserted => StoreError::Internal("nothing was inserted".to_owned()),
            DbErr::RecordNotUpdated => StoreError::Internal("nothing was updated".to_owned()),
            other => StoreError::Internal(variant_name(&other)),
        }
    }
}

fn from_shared(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(error) => from_database(&**error),
        sqlx::Error::Io(error) => StoreError::Unavailable(format!("{:?}", error.kind())),
        _ => StoreError::Unavailable("connection failed".to_owned()),
    }
}

/// MySQL's SQLSTATE is too coarse to decide by, so its number is taken.
fn from_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    let code = match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        Some(mysql) => Cow::Owned(mysql.number().to_string()),
        None => error.code().unwrap_or(Cow::Borrowed("unknown")),
    };
    StoreError::Database {
        code: code.into_owned(),
        message: without_values(error.message()),
    }
}

/// The database's words may quote values (`Duplicate entry 'x' for key 'y'`): what stands in quotes is
/// taken out.
fn without_values(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut within = None;
    for c in message.chars() {
        match within {
            Some(quote) if c == quote => {
                within = None;
                out.push('…');
                out.push(c);
            }
            Some(_) => {}
            None => {
                out.push(c);
                // An apostrophe inside a word is no quote.
                if c == '\'' && !out[..out.len() - 1].ends_with(char::is_alphanumeric) {
                    within = Some(c);
                }
            }
        }
    }
    out
}

fn kind_of(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::RowNotFound => "no row",
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } => "no such column",
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => "a value could not be decoded",
        sqlx::Error::Encode(_) => "a value could not be encoded",
        _ => "driver error",
    }
}

/// The variant's name and nothing of what it holds.
fn variant_name(error: &DbErr) -> String {
    let debug = format!("{error:?}");
    let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
    debug[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_taken_out_of_messages() {
        let check = |from: &str, to: &str| assert_eq!(without_values(from), to);
        check(
            "Duplicate entry 'sk-1' for key 'x'",
            "Duplicate entry '…' for key '…'",
        );
        check("can't do 'that", "can't do '");
        check(
            "relation \"abilities\" does not exist",
            "relation \"abilities\" does not exist",
        );
    }

    #[test]
    fn what_is_worth_a_repeat() {
        let error = |code: &str| StoreError::Database {
            code: code.to_owned(),
            message: String::new(),
        };
        for code in ["40001", "40P01", "1213", "1205", "5", "517", "6"] {
            assert!(error(code).is_worth_a_repeat(), "{code}");
        }
        for code in ["23505", "1062", "2067", "1", "unknown"] {
            assert!(!error(code).is_worth_a_repeat(), "{code}");
        }
        assert!(!StoreError::TimedOut.is_worth_a_repeat());
    }
}
