//! HTTP: relay routes, admin REST, probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::distr::{Alphanumeric, SampleString};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::actors::Routing;
use crate::relay::channel_test::ChannelTests;
use crate::store::change_status::ChangeError;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use auth::Admins;

/// The relay's routes.
pub mod relay;
/// Has the client gone?
pub mod connection;
/// Every URL of the operator's side.
pub mod routes;
/// Who may call the admin REST.
pub mod auth;
/// Why a call of the admin REST failed, as problem+json.
pub mod problem;
/// Alive, ready.
pub mod probes;
/// What is counted, for Prometheus.
pub mod metrics;
/// What is answered until the database is open.
pub mod starting;
/// The admin REST, one resource a file.
pub mod admin;

/// 62 to the power of 48: beyond guessing.
const SECRET_LENGTH: usize = 48;

/// What the admin REST and the probes work with.
pub struct Desk {
    pub routing: Routing,
    pub database: Database,
    pub admins: Admins,
    pub tests: ChannelTests,
    pub node: Arc<Node>,
    runtime: Handle,
    writes: TaskTracker,
}

impl Desk {
    /// `runtime` is the multi-threaded one, on which writes go on though their caller has gone.
    pub fn new(
        routing: Routing,
        database: Database,
        tests: ChannelTests,
        node: Arc<Node>,
        runtime: Handle,
    ) -> Desk {
        Desk {
            tests,
            admins: Admins::new(database.clone()),
            routing,
            database,
            node,
            runtime,
            writes: TaskTracker::new(),
        }
    }

    /// Runs a write that touches no route to its end, whatever becomes of the caller. Those that do touch
    /// routes go through [`Routing::changes`].
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let task = self.writes.spawn_on(write, &self.runtime);
        task.await.unwrap_or_else(|_| {
            Err(ChangeError::Unknown(StoreError::Internal(
                "the write panicked".to_owned(),
            )))
        })
    }

    /// Tasks that are alive on the shared runtime.
    pub fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Waits for the writes that run; new ones are still taken.
    pub async fn writes_ended(&self) {
        self.writes.close();
        self.writes.wait().await;
    }
}

/// Where this process stands in its life.
#[derive(Debug, Default)]
pub struct Node {
    draining: AtomicBool,
}

impl Node {
    /// From now on `/readyz` says 503.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

/// A new token: the prefix and 48 random letters and digits.
pub fn new_secret(prefix: &str) -> String {
    let mut secret = prefix.to_owned();
    Alphanumeric.append_string(&mut rand::rng(), &mut secret, SECRET_LENGTH);
    secret
}
