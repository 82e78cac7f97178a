//! When is a client that waits given a sign of life?
//!
//! Intermediaries hang up on connections that carry nothing, after 30 to 100 seconds as a rule; models think for
//! longer. Counted is the time for which the client has been kept waiting: while it reads slowly itself, none is.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The silence towards one client.
#[derive(Debug)]
pub struct Quiet {
    /// `None`: it is never broken.
    every: Option<Duration>,
    /// Since when the client has waited; `None`: it does not.
    since: Option<Instant>,
}

impl Quiet {
    pub fn new(every: Option<Duration>) -> Quiet {
        Quiet { every, since: None }
    }

    /// When the next sign is due, for a client that waits from now on if it did not before.
    pub fn due(&mut self) -> Option<Instant> {
        let every = self.every?;
        Some(*self.since.get_or_insert_with(Instant::now) + every)
    }

    /// Something goes to the client.
    pub fn broken(&mut self) {
        self.since = None;
    }

    /// What comes of `future`; `None`: a sign of life is due first.
    pub async fn or_due<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        match self.due() {
            Some(due) => timeout_at(due, future).await.ok(),
            None => Some(future.await),
        }
    }
}
