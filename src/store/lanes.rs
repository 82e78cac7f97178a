//! Connections by purpose, so that no purpose starves another.
//!
//! A lane lends each connection to one question at a time and takes it back only when the question was
//! brought to its end. One whose question failed, ran past its deadline or was given up is dropped on the
//! spot, and with it all that lie idle in the lane: what broke one has mostly broken all (a server that is
//! gone, a table that was altered under prepared statements). So a server that was stopped leaves nothing
//! stuck, and there are never more connections than the lane has permits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StoreError;
use super::session::{Session, Target};

/// A body of a question: what is asked of a connection. It may be run twice, so it only reads.
pub(crate) type Body<I, T> = for<'a> fn(&'a Session, &'a I) -> BoxFuture<'a, Result<T, StoreError>>;

/// Idle longer than this, a connection is not trusted: firewalls forget, servers hang up.
const MAX_IDLE: Duration = Duration::from_secs(300);

/// The lanes of a database.
pub(crate) struct Lanes {
    pub builds: Arc<Lane>,
    pub lookups: Arc<Lane>,
    pub tokens: Arc<Lane>,
    pub reads: Arc<Lane>,
    pub writes: Arc<Lane>,
}

pub(crate) struct Lane {
    name: &'static str,
    target: Target,
    permits: Arc<Semaphore>,
    connect_deadline: Duration,
    /// From question to answer; none: the caller gives up by itself.
    deadline: Option<Duration>,
    idle: Mutex<Idle>,
}

struct Idle {
    /// Raised by each flush: connections lent before it do not come back.
    epoch: u64,
    sessions: Vec<(Instant, Session)>,
}

/// A connection on loan. Dropped, it is closed; only [`Held::give_back`] keeps it.
pub(crate) struct Held {
    pub session: Session,
    /// It has served before, so it may have died since.
    pub used_before: bool,
    epoch: u64,
    lane: Arc<Lane>,
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    pub fn new(
        name: &'static str,
        target: Target,
        connections: u32,
        connect_deadline: Duration,
        deadline: Option<Duration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            target,
            permits: Arc::new(Semaphore::new(connections.max(1) as usize)),
            connect_deadline,
            deadline,
            idle: Mutex::new(Idle {
                epoch: 0,
                sessions: Vec::new(),
            }),
        })
    }

    /// Runs `body` on a connection of this lane within the lane's deadline.
    pub async fn ask<I: Sync, T>(self: &Arc<Self>, input: &I, body: Body<I, T>) -> Result<T, StoreError> {
        let asked = AtomicBool::new(false);
        let asking = self.ask_patiently(input, body, &asked);
        match self.deadline {
            None => asking.await,
            Some(deadline) => match tokio::time::timeout(deadline, asking).await {
                Ok(answer) => answer,
                Err(_) => {
                    // Who only waited for a turn has learnt nothing of the connections.
                    if asked.load(Ordering::Relaxed) {
                        self.flush();
                    }
                    log::warn!(lane = self.name, deadline_ms = deadline.as_millis() as u64; "database did not answer in time");
                    Err(StoreError::TimedOut)
                }
            },
        }
    }

    async fn ask_patiently<I: Sync, T>(
        self: &Arc<Self>,
        input: &I,
        body: Body<I, T>,
        asked: &AtomicBool,
    ) -> Result<T, StoreError> {
        loop {
            let held = self.take().await?;
            asked.store(true, Ordering::Relaxed);
            match body(&held.session, input).await {
                Ok(found) => {
                    held.give_back();
                    return Ok(found);
                }
                // The database has answered all right; the row is what is wrong.
                Err(error @ StoreError::BadRow(_)) => return Err(error),
                // The fault may be the connection's own age: it is asked once more of a fresh one.
                Err(_) if held.used_before => self.flush(),
                Err(error) => {
                    self.flush();
                    return Err(error);
                }
            }
        }
    }

    /// Waits for a connection's turn, and opens one if none lies idle.
    pub async fn take(self: &Arc<Self>) -> Result<Held, StoreError> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Internal("lane closed".to_owned()))?;
        self.flush_if_outlived();
        let (epoch, idle) = self.pop();
        let (session, used_before) = match idle {
            Some(session) => (session, true),
            None => (self.connect().await?, false),
        };
        Ok(Held {
            session,
            used_before,
            epoch,
            lane: Arc::clone(self),
            _permit: permit,
        })
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        match tokio::time::timeout(self.connect_deadline, self.target.connect(self.deadline)).await {
            Ok(connected) => connected,
            Err(_) => Err(StoreError::Unavailable("no connection in time".to_owned())),
        }
    }

    /// SQLite goes on reading and writing a file that another has taken the place of, and nobody else would ever see
    /// what was written there.
    fn flush_if_outlived(&self) {
        let now = self.target.file();
        let outlived = {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.sessions.iter().any(|(_, session)| session.file() != now)
        };
        if outlived {
            log::warn!(lane = self.name; "the database's file is another one now");
            self.flush();
        }
    }

    fn pop(&self) -> (u64, Option<Session>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = idle.sessions.pop();
        let fresh_enough = newest.filter(|(since, _)| since.elapsed() < MAX_IDLE);
        (idle.epoch, fresh_enough.map(|(_, session)| session))
    }

    /// Closes all that lie idle, and those on loan when they come back.
    pub fn flush(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.epoch += 1;
        idle.sessions.clear();
    }

    fn put(&self, session: Session, epoch: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.epoch == epoch {
            idle.sessions.push((Instant::now(), session));
        }
    }

    fn drain(&self) -> Vec<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.epoch += 1;
        idle.sessions.drain(..).map(|(_, session)| session).collect()
    }
}

impl Held {
    /// The connection is as it was lent: nothing unfinished, no transaction open.
    pub fn give_back(self) {
        let Held {
            session,
            epoch,
            lane,
            _permit,
            ..
        } = self;
        lane.put(session, epoch);
    }
}

impl Lanes {
    /// Says good-bye on every idle connection.
    pub async fn close(&self) {
        let lanes = [
            &self.builds,
            &self.lookups,
            &self.tokens,
            &self.reads,
            &self.writes,
        ];
        let sessions: Vec<Session> = lanes.iter().flat_map(|lane| lane.drain()).collect();
        futures::future::join_all(sessions.into_iter().map(Session::close)).await;
    }
}
