//! A commit, its closings and its rebuild, as one task that the caller's going does not end (R9, R10).

use log::warn;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::cache::CacheActor;
use super::keeper::Journal;
use super::messages::{Close, Rebuild};
use crate::routing::ids::{ChannelId, Generation};
use crate::routing::rebuilds::{Scope, Urgency};
use crate::store::change_status::ChangeError;
use crate::store::receipt::{Committed, Receipt};

/// A change that is committed.
#[derive(Clone, Debug)]
pub struct Changed<T> {
    pub value: T,
    pub settled: Settled,
}

/// Whether picks already go by the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingState {
    /// A build that began after the commit is in place.
    InPlace(Generation),
    /// The build failed and is tried again. What was closed is closed for picks all the same; what was
    /// opened is found by lookups.
    Pending,
}

/// What has become of a committed change on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    pub routing: RoutingState,
    /// What it has closed is kept on disk, where that is asked for.
    pub kept: bool,
}

/// Runs changes, and lets draining wait for those that run.
#[derive(Clone)]
pub struct Changes {
    cache: actix::Addr<CacheActor>,
    journal: Journal,
    runtime: Handle,
    tasks: TaskTracker,
}

impl Changes {
    pub(super) fn new(cache: actix::Addr<CacheActor>, journal: Journal, runtime: Handle) -> Changes {
        Changes {
            cache,
            journal,
            runtime,
            tasks: TaskTracker::new(),
        }
    }

    /// Runs `write` to its commit, then closes and rebuilds. The change goes on though nobody waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<(T, Receipt), ChangeError>> + Send + 'static,
    ) -> Result<Changed<T>, ChangeError> {
        let (cache, journal) = (self.cache.clone(), self.journal.clone());
        let task = self.tasks.spawn_on(
            async move {
                let written = write.await;
                if let Err(ChangeError::Unknown(_)) = &written {
                    // Nobody knows which channels: once the database answers, a build tells.
                    ask_for_rebuild(&cache, Scope::Everything);
                }
                let (value, receipt) = written?;
                let settled = settle(&cache, &journal, receipt.consume()).await;
                Ok(Changed { value, settled })
            },
            &self.runtime,
        );
        match task.await {
            Ok(result) => result,
            Err(_) => {
                ask_for_rebuild(&self.cache, Scope::Everything);
                Err(ChangeError::Unknown(crate::store::error::StoreError::Internal(
                    "the change panicked".to_owned(),
                )))
            }
        }
    }

    /// What a receipt that was dropped unused asks for.
    pub(super) fn ring(&self, committed: Committed) {
        let cache = self.cache.clone();
        let scope = scope_of(&committed.touched);
        cache.do_send(Close(committed.closings.clone()));
        ask_for_rebuild(&cache, scope);
        let journal = self.journal.clone();
        self.tasks.spawn_on(
            async move { journal.append(&committed.closings).await },
            &self.runtime,
        );
    }

    /// How many changes run.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Waits for the changes that run; new ones are still taken.
    pub async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The closings first, so that they hold whatever becomes of the build: for picks, and then on disk.
async fn settle(cache: &actix::Addr<CacheActor>, journal: &Journal, committed: Committed) -> Settled {
    let Committed { touched, closings } = committed;
    let closed = closings.is_empty() || cache.send(Close(closings.clone())).await.is_ok();
    let kept = journal.append(&closings).await;
    let routing = match closed {
        true => rebuilt(cache, scope_of(&touched)).await,
        false => RoutingState::Pending,
    };
    Settled { routing, kept }
}

async fn rebuilt(cache: &actix::Addr<CacheActor>, scope: Scope) -> RoutingState {
    let urgency = Urgency::Admin;
    match cache.send(Rebuild { scope, urgency }).await {
        Ok(Ok(generation)) => RoutingState::InPlace(generation),
        Ok(Err(failed)) => {
            warn!(reason = failed.reason.as_str(); "a change is committed, but its rebuild failed");
            RoutingState::Pending
        }
        Err(_) => RoutingState::Pending,
    }
}

fn ask_for_rebuild(cache: &actix::Addr<CacheActor>, scope: Scope) {
    cache.do_send(Rebuild {
        scope,
        urgency: Urgency::Admin,
    });
}

fn scope_of(touched: &[ChannelId]) -> Scope {
    Scope::Channels(touched.iter().copied().collect())
}
