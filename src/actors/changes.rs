//! A commit, its closings and its rebuild, as one task that the caller's going does not end (R9, R10).

use log::warn;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::cache::CacheActor;
use super::messages::{Close, Rebuild};
use crate::routing::ids::{ChannelId, Generation};
use crate::routing::rebuilds::{Scope, Urgency};
use crate::store::change_status::ChangeError;
use crate::store::receipt::{Committed, Receipt};

/// A change that is committed.
#[derive(Clone, Debug)]
pub struct Changed<T> {
    pub value: T,
    pub routing: RoutingState,
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

/// Runs changes, and lets draining wait for those that run.
#[derive(Clone)]
pub struct Changes {
    cache: actix::Addr<CacheActor>,
    runtime: Handle,
    tasks: TaskTracker,
}

impl Changes {
    pub(super) fn new(cache: actix::Addr<CacheActor>, runtime: Handle) -> Changes {
        Changes {
            cache,
            runtime,
            tasks: TaskTracker::new(),
        }
    }

    /// Runs `write` to its commit, then closes and rebuilds. The change goes on though nobody waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<(T, Receipt), ChangeError>> + Send + 'static,
    ) -> Result<Changed<T>, ChangeError> {
        let cache = self.cache.clone();
        let task = self.tasks.spawn_on(
            async move {
                let written = write.await;
                if let Err(ChangeError::Unknown(_)) = &written {
                    // Nobody knows which channels: once the database answers, a build tells.
                    ask_for_rebuild(&cache, Scope::Everything);
                }
                let (value, receipt) = written?;
                let routing = settle(&cache, receipt.consume()).await;
                Ok(Changed { value, routing })
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
        cache.do_send(Close(committed.closings));
        ask_for_rebuild(&cache, scope);
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

/// The closings first, so that they hold whatever becomes of the build.
async fn settle(cache: &actix::Addr<CacheActor>, committed: Committed) -> RoutingState {
    let Committed { touched, closings } = committed;
    if !closings.is_empty() && cache.send(Close(closings)).await.is_err() {
        return RoutingState::Pending;
    }
    match cache
        .send(Rebuild {
            scope: scope_of(&touched),
            urgency: Urgency::Admin,
        })
        .await
    {
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
