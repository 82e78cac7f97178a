//! Opens a database: connections by purpose, deadlines, migrations.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_orm::DbBackend;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use super::commit;
use super::error::StoreError;
use super::lanes::{Body, Lane, Lanes};
use super::migrate::migrate;
use super::receipt::{Bell, Committed};
use super::session::Target;
use crate::routing::ids::Moments;
use crate::routing::rows::ProviderLookup;

/// A flood of wrong keys gets no more than these.
const TOKEN_CONNECTIONS: u32 = 2;
const READ_CONNECTIONS: u32 = 3;

/// How a database is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many lookups may be on their way at once.
    pub lookup_connections: u32,
    /// From a lookup's or token's question to its answer.
    pub lookup_deadline: Duration,
    /// From an admin call's question to its answer; also a write's.
    pub admin_deadline: Duration,
    /// To a connection that can be used.
    pub connect_deadline: Duration,
    /// What the router must know of a provider.
    pub providers: ProviderLookup,
    /// The multi-threaded runtime on which every question runs.
    pub runtime: Handle,
}

impl Options {
    pub fn new(providers: ProviderLookup, runtime: Handle) -> Self {
        Self {
            lookup_connections: 4,
            lookup_deadline: Duration::from_secs(3),
            admin_deadline: Duration::from_secs(10),
            connect_deadline: Duration::from_secs(5),
            providers,
            runtime,
        }
    }
}

/// An open database; clones share it.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    lanes: Lanes,
    options: Options,
    target: Target,
    /// Tells this node from the others on the same database; another one each time.
    node: String,
    moments: Moments,
    bell: OnceLock<Bell>,
    writes: AtomicU64,
    /// A commit of this node may be done after its fate could not be found out.
    lost_commit: AtomicBool,
}

/// Which connections a question is asked on.
#[derive(Clone, Copy)]
pub(crate) enum LaneName {
    Builds,
    Lookups,
    Tokens,
    Reads,
}

impl Database {
    /// Connects and brings the tables up to date. Two nodes that do so at once both succeed.
    ///
    /// `url` is `sqlite:path` (the file is created), `postgres://…` or `mysql://…` (also `mariadb://…`).
    /// With the server down this is an error at once, or after `connect_deadline`.
    pub async fn open(url: &str, options: Options) -> Result<Database, StoreError> {
        let database = Database::unopened(url, options)?;
        database.prepare().await?;
        Ok(database)
    }

    /// A database that nobody has asked yet: it may be away, and its tables may not be there.
    pub fn unopened(url: &str, options: Options) -> Result<Database, StoreError> {
        Ok(Database::on(Target::parse(url)?, options))
    }

    /// Connects and brings the tables up to date. Can be called again where it failed.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        let database = self.clone();
        let preparing = self.runtime().spawn(async move {
            migrate(database.target(), database.options().connect_deadline).await?;
            commit::forget_old_marks(&database).await;
            Ok(())
        });
        joined(preparing).await
    }

    fn on(target: Target, options: Options) -> Database {
        // Only `prepare` makes a file that is not there.
        let made = target.clone().not_made();
        let lane = |name, connections, deadline| {
            Lane::new(
                name,
                made.clone(),
                connections,
                options.connect_deadline,
                deadline,
            )
        };
        let lanes = Lanes {
            // A build ends when its caller gives it up.
            builds: lane("builds", 1, None),
            lookups: lane(
                "lookups",
                options.lookup_connections,
                Some(options.lookup_deadline),
            ),
            tokens: lane("tokens", TOKEN_CONNECTIONS, Some(options.lookup_deadline)),
            reads: lane("reads", READ_CONNECTIONS, Some(options.admin_deadline)),
            writes: lane("writes", write_connections(&target), Some(options.admin_deadline)),
        };
        Database(Arc::new(Inner {
            lanes,
            target,
            node: uuid::Uuid::new_v4().simple().to_string(),
            options,
            moments: Moments::default(),
            bell: OnceLock::new(),
            writes: AtomicU64::new(0),
            lost_commit: AtomicBool::new(false),
        }))
    }

    /// This node's order of reads and commits.
    pub fn moments(&self) -> &Moments {
        &self.0.moments
    }

    /// Says who is told of receipts that were dropped unused; the first call holds.
    pub fn on_dropped_receipt(&self, bell: impl Fn(Committed) + Send + Sync + 'static) {
        if self.0.bell.set(Arc::new(bell)).is_err() {
            log::warn!("the bell for dropped receipts is already set");
        }
    }

    /// Closes what lies idle. Questions asked afterwards open connections anew.
    pub async fn close(&self) {
        let database = self.clone();
        let _ = self
            .0
            .options
            .runtime
            .spawn(async move { database.0.lanes.close().await })
            .await;
    }

    pub(crate) fn bell(&self) -> Option<Bell> {
        self.0.bell.get().cloned()
    }

    pub(crate) fn providers(&self) -> ProviderLookup {
        self.0.options.providers
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.0.target.backend()
    }

    pub(crate) fn target(&self) -> &Target {
        &self.0.target
    }

    pub(crate) fn node(&self) -> &str {
        &self.0.node
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.options.runtime
    }

    pub(crate) fn write_lane(&self) -> &Arc<Lane> {
        &self.0.lanes.writes
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn lost_a_commit(&self) {
        self.0.lost_commit.store(true, Ordering::Relaxed);
    }

    /// Whether what this node has changed itself is news to it.
    pub(crate) fn hears_itself(&self) -> bool {
        self.0.lost_commit.load(Ordering::Relaxed)
    }

    /// Counts this node's writes.
    pub(crate) fn count_write(&self) -> u64 {
        self.0.writes.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks a question that only reads. It ends, and its connection with it, when the caller goes.
    pub(crate) async fn read<I, T>(&self, lane: LaneName, input: I, body: Body<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let lanes = &self.0.lanes;
        let lane = Arc::clone(match lane {
            LaneName::Builds => &lanes.builds,
            LaneName::Lookups => &lanes.lookups,
            LaneName::Tokens => &lanes.tokens,
            LaneName::Reads => &lanes.reads,
        });
        joined(
            self.0
                .options
                .runtime
                .spawn(async move { lane.ask(&input, body).await }),
        )
        .await
    }
}

/// Awaits a task that ends when its waiter goes.
async fn joined<T>(task: JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    struct AbortOnDrop<T>(JoinHandle<T>);
    impl<T> Drop for AbortOnDrop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = AbortOnDrop(task);
    match (&mut task.0).await {
        Ok(answer) => answer,
        Err(error) => Err(task_ended(&error)),
    }
}

/// A panic's own words may quote a value, so they are not passed on.
pub(crate) fn task_ended(error: &JoinError) -> StoreError {
    StoreError::Internal(
        if error.is_panic() {
            "task panicked"
        } else {
            "task was stopped"
        }
        .to_owned(),
    )
}

/// SQLite has one writer at a time; others would only wait in its busy loop.
fn write_connections(target: &Target) -> u32 {
    match target {
        Target::Sqlite(_) => 1,
        Target::Postgres(_) | Target::MySql(_) => 4,
    }
}
