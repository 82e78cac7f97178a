//! Every write: one transaction, and the truth about whether it was done.
//!
//! Only at COMMIT can an answer be lost and the write be done all the same. So each transaction also writes
//! a mark of its own into `commit_marks`. Where the answer to a COMMIT was lost, the same mark is written
//! again on a fresh connection: as long as the lost transaction lives the database makes this wait, after
//! that the mark is either taken (it was done) or free (it was not, and now never will be). That is the
//! reading of the row under its lock which R9 asks for, and it serves rows that were only being created too.

use std::time::Duration;

use entity::commit_mark;
use futures::FutureExt;
use futures::future::BoxFuture;
use sea_orm::{ActiveValue::Set, ColumnTrait, DbBackend, EntityTrait, QueryFilter};
use tokio::time::Instant;

use super::change_status::ChangeError;
use super::connect::{Database, task_ended};
use super::error::StoreError;
use super::lanes::Held;
use super::notices::{self, Tells};
use super::receipt::Receipt;
use super::session::{Begin, Session};
use super::tokens::TokenId;
use crate::routing::closings::Closed;
use crate::routing::ids::ChannelId;

/// A body of a write. It is run again, in a transaction of its own, after a deadlock and its like.
pub(crate) type WriteBody<I, T> =
    for<'a> fn(&'a Session, &'a I) -> BoxFuture<'a, Result<Written<T>, ChangeError>>;

/// What a body has written, not yet committed.
pub(crate) struct Written<T> {
    pub value: T,
    /// Channels whose routes may be others now.
    pub touched: Vec<ChannelId>,
    pub closed: Vec<Closed>,
    pub tells: Tells,
}

impl<T> Written<T> {
    /// What changes routes of these channels.
    pub fn routes(value: T, touched: Vec<ChannelId>, closed: Vec<Closed>) -> Self {
        Self {
            value,
            touched,
            closed,
            tells: Tells::Routes,
        }
    }

    /// What is configured for a model: every build reads all of that, so no channel need be named.
    pub fn models(value: T) -> Self {
        Self::routes(value, Vec::new(), Vec::new())
    }

    /// A token, which no route depends on.
    pub fn token(value: T, id: TokenId) -> Self {
        Self {
            tells: Tells::Token(id),
            ..Self::aside(value)
        }
    }

    /// Something that no route depends on.
    pub fn aside(value: T) -> Self {
        Self {
            value,
            touched: Vec::new(),
            closed: Vec::new(),
            tells: Tells::Nothing,
        }
    }
}

/// Deadlocks end by themselves; after so many there is another reason.
const MAX_REPEATS: u32 = 8;

/// How long the database is asked whether a lost COMMIT was done.
const ASK_FOR: Duration = Duration::from_secs(15);

/// No COMMIT's answer is waited for longer than this, and no mark is asked for later.
const MARKS_LAST_MS: i64 = 3_600_000;

/// Marks are few; they are cleared now and then.
const CLEAR_EVERY: u64 = 256;

/// Runs `body` in one transaction, in a task that ends only when the truth is known.
pub(crate) async fn write<I, T>(
    database: &Database,
    input: I,
    body: WriteBody<I, T>,
) -> Result<(T, Receipt), ChangeError>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
{
    let writer = database.clone();
    // If the caller goes, the receipt is dropped where the task ends, and rings.
    let task = database.runtime().spawn(async move {
        let done = run(&writer, &input, body).await;
        if writer.count_write() % CLEAR_EVERY == CLEAR_EVERY - 1 {
            let clearer = writer.clone();
            writer
                .runtime()
                .spawn(async move { forget_old_marks(&clearer).await });
        }
        done
    });
    match task.await {
        Ok(done) => done,
        Err(error) => Err(ChangeError::Unknown(task_ended(&error))),
    }
}

/// As `write`, for what no route depends on.
pub(crate) async fn write_aside<I, T>(
    database: &Database,
    input: I,
    body: WriteBody<I, T>,
) -> Result<T, ChangeError>
where
    I: Send + Sync + 'static,
    T: Send + 'static,
{
    let (value, receipt) = write(database, input, body).await?;
    let _ = receipt.consume();
    Ok(value)
}

async fn run<I: Sync, T>(
    database: &Database,
    input: &I,
    body: WriteBody<I, T>,
) -> Result<(T, Receipt), ChangeError> {
    let deadline = Instant::now() + database.options().admin_deadline;
    let mut repeats = 0;
    loop {
        let error = match attempt(database, input, body, deadline).await {
            Err(ChangeError::NotDone(error)) => error,
            other => return other,
        };
        repeats += 1;
        if !error.is_worth_a_repeat() || repeats > MAX_REPEATS || Instant::now() >= deadline {
            return Err(ChangeError::NotDone(error));
        }
        log::info!(repeats = repeats; "transaction is run again: {error}");
        // Whoever deadlocked with us goes on meanwhile.
        tokio::time::sleep(Duration::from_millis(
            rand::random_range(1..=20) * u64::from(repeats),
        ))
        .await;
    }
}

async fn attempt<I: Sync, T>(
    database: &Database,
    input: &I,
    body: WriteBody<I, T>,
    deadline: Instant,
) -> Result<(T, Receipt), ChangeError> {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let preparing = prepare(database, &mark, input, body);
    let (held, written) = match tokio::time::timeout_at(deadline, preparing).await {
        Ok(prepared) => prepared?,
        Err(_) => {
            database.write_lane().flush();
            return Err(ChangeError::NotDone(StoreError::TimedOut));
        }
    };
    let receipt = |database: &Database, closed| {
        Receipt::new(
            written.touched.clone(),
            closed,
            database.moments().draw(),
            database.bell(),
        )
    };
    // COMMIT has a time of its own: what comes late in it is not given up for the body's sake.
    let committing = tokio::time::timeout(database.options().admin_deadline, held.session.run("COMMIT"));
    let lost = match committing.await {
        Ok(Ok(())) => {
            let receipt = receipt(database, written.closed);
            held.give_back();
            return Ok((written.value, receipt));
        }
        Ok(Err(error)) => StoreError::from(error),
        Err(_) => StoreError::TimedOut,
    };
    drop(held);
    database.write_lane().flush();
    if says_not_done(database.backend(), &lost) {
        return Err(ChangeError::NotDone(lost));
    }
    log::warn!("the answer to a commit was lost: {lost}");
    match was_done(database, &mark).await {
        Ok(true) => Ok((written.value, receipt(database, written.closed))),
        Ok(false) => {
            // R9: after one that may have happened a rebuild follows; dropped, this asks for it.
            drop(receipt(database, Vec::new()));
            Err(ChangeError::NotDone(no_repeat(lost)))
        }
        Err(_) => {
            // Should it be done later after all, its own notice tells of it.
            database.lost_a_commit();
            drop(receipt(database, written.closed));
            Err(ChangeError::Unknown(lost))
        }
    }
}

/// Everything up to COMMIT, and a connection that waits for it.
async fn prepare<I: Sync, T>(
    database: &Database,
    mark: &str,
    input: &I,
    body: WriteBody<I, T>,
) -> Result<(Held, Written<T>), ChangeError> {
    let held = begin(database).await?;
    let written = async {
        put_mark(&held.session, mark).await?;
        let written = body(&held.session, input).await?;
        notices::write(&held.session, database.node(), written.tells, &written.touched).await?;
        Ok(written)
    };
    let written = written.await;
    match written {
        Ok(written) => Ok((held, written)),
        // Undone by the connection's end.
        Err(ChangeError::NotDone(error) | ChangeError::Unknown(error)) => {
            if !error.is_certain() {
                database.write_lane().flush();
            }
            Err(ChangeError::NotDone(error))
        }
        Err(error) => {
            if held.session.run("ROLLBACK").await.is_ok() {
                held.give_back();
            }
            Err(error)
        }
    }
}

/// A transaction; a connection that died while it lay idle is replaced.
async fn begin(database: &Database) -> Result<Held, StoreError> {
    loop {
        let held = database.write_lane().take().await?;
        match held.session.begin(Begin::Write).await {
            Ok(()) => return Ok(held),
            Err(_) if held.used_before => database.write_lane().flush(),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn put_mark(session: &Session, mark: &str) -> Result<(), StoreError> {
    let mark = commit_mark::ActiveModel {
        mark: Set(mark.to_owned()),
        at: Set(now_ms()),
    };
    commit_mark::Entity::insert(mark)
        .exec_without_returning(session)
        .await?;
    Ok(())
}

/// Whether the transaction with this mark was committed; an error if that cannot be found out in time.
async fn was_done(database: &Database, mark: &str) -> Result<bool, StoreError> {
    let deadline = Instant::now() + ASK_FOR;
    let asking = async {
        loop {
            match ask(database, mark).await {
                Ok(done) => return done,
                Err(error) => log::warn!("cannot yet tell whether a commit was done: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout_at(deadline, asking)
        .await
        .map_err(|_| StoreError::TimedOut)
}

async fn ask(database: &Database, mark: &str) -> Result<bool, StoreError> {
    let held = begin(database).await?;
    let free = put_mark(&held.session, mark).await;
    match free {
        // Rolled back with its connection.
        Ok(()) => Ok(false),
        Err(error) if is_unique_violation(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A unique or primary key is taken already.
pub(crate) fn is_unique_violation(error: &StoreError) -> bool {
    matches!(error.code(), Some("23505" | "1062" | "1555" | "2067"))
}

/// Whether this answer to COMMIT says that nothing was committed. Everything else is asked for: an error
/// that a dying server sends may come after the commit.
fn says_not_done(backend: DbBackend, error: &StoreError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    match backend {
        // Rolled back: serialization, deadlock; constraints that were checked last.
        DbBackend::Postgres => code.starts_with("40") && code != "40003" || code.starts_with("23"),
        DbBackend::MySql => matches!(code, "1213" | "1205" | "1062" | "1452"),
        // Busy, and constraints; a full or broken disk is asked.
        _ => code
            .parse::<u32>()
            .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 19)),
    }
}

/// The error of a write whose fate has been asked for: it is told, not repeated.
fn no_repeat(error: StoreError) -> StoreError {
    match error {
        StoreError::Database { message, .. } => StoreError::Unavailable(message),
        other => other,
    }
}

/// Deletes marks that nobody will ask for. If it fails, the next one does it.
pub(crate) async fn forget_old_marks(database: &Database) {
    let lane = database.write_lane();
    let before = now_ms() - MARKS_LAST_MS;
    let done = lane
        .ask(&before, |session, before| {
            async move {
                commit_mark::Entity::delete_many()
                    .filter(commit_mark::Column::At.lt(*before))
                    .exec(session)
                    .await?;
                notices::forget_old(session).await
            }
            .boxed()
        })
        .await;
    if let Err(error) = done {
        log::warn!("old commit marks stay: {error}");
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r9_only_a_clear_word_means_not_done() {
        let check = |backend, code: &str, not_done| {
            let error = StoreError::Database {
                code: code.to_owned(),
                message: String::new(),
            };
            assert_eq!(says_not_done(backend, &error), not_done, "{code}");
        };
        check(DbBackend::Postgres, "40001", true);
        check(DbBackend::Postgres, "40P01", true);
        check(DbBackend::Postgres, "40003", false);
        check(DbBackend::Postgres, "57P01", false);
        check(DbBackend::MySql, "1213", true);
        check(DbBackend::MySql, "1053", false);
        check(DbBackend::Sqlite, "5", true);
        check(DbBackend::Sqlite, "10", false);
        for error in [StoreError::TimedOut, StoreError::Unavailable(String::new())] {
            assert!(!says_not_done(DbBackend::Postgres, &error));
        }
    }
}
