//! Leases that ended well where all was well: nobody waits for that news, so it is no message of its own.
//!
//! The `CacheActor` takes it in before whatever it does next, and after [`TAKEN_IN_EVERY`] at the latest. (A message
//! wakes the actor's thread, which costs more than a pick.)

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::routing::health::LeaseId;

/// Good news is taken in at least so often while leases are out.
pub const TAKEN_IN_EVERY: Duration = Duration::from_millis(100);

/// Leases that ended well. Clones share them.
#[derive(Clone, Default)]
pub struct GoodNews(Arc<Mutex<Vec<LeaseId>>>);

impl GoodNews {
    /// Leaves it to be taken in.
    pub fn leave(&self, lease: LeaseId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
    }

    /// Takes in what was left.
    pub fn take(&self) -> Vec<LeaseId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
