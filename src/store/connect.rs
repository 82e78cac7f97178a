//! Opens a database: connections by purpose, deadlines, migrations.

use std::time::Duration;

use tokio::runtime::Handle;

use super::error::StoreError;
use super::receipt::{Bell, Committed};
use crate::routing::ids::Moments;
use crate::routing::rows::ProviderLookup;

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
pub struct Database {}

impl Database {
    /// Connects and brings the tables up to date. Two nodes that do so at once both succeed.
    ///
    /// `url` is `sqlite:path` (the file is created), `postgres://…` or `mysql://…` (also `mariadb://…`).
    pub async fn open(url: &str, options: Options) -> Result<Database, StoreError> {
        let _ = (url, options);
        todo!()
    }

    /// This node's order of reads and commits.
    pub fn moments(&self) -> &Moments {
        todo!()
    }

    /// Says who is told of receipts that were dropped unused; the first call holds.
    pub fn on_dropped_receipt(&self, bell: impl Fn(Committed) + Send + Sync + 'static) {
        let _: Bell = std::sync::Arc::new(bell);
        todo!()
    }
}
