//! What a commit has done to routing, until a rebuild consumes it (R9).

use std::fmt;
use std::sync::Arc;

use crate::routing::closings::{Closed, Closing};
use crate::routing::ids::{ChannelId, Moment};

/// Called with what a receipt held that was dropped unused: it asks for the rebuild.
pub type Bell = Arc<dyn Fn(Committed) + Send + Sync>;

/// Proof of a commit that touched routing. Only a rebuild consumes it; one that is dropped unused rings
/// the database's bell, so that the rebuild is never lost.
#[must_use = "a commit must be followed by a rebuild"]
pub struct Receipt {
    committed: Committed,
    bell: Option<Bell>,
}

/// What a commit has done: which channels to rebuild, and what it has taken from routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub touched: Vec<ChannelId>,
    pub closings: Vec<Closing>,
}

impl Receipt {
    /// `at` was drawn right after the commit was answered.
    pub(crate) fn new(touched: Vec<ChannelId>, closed: Vec<Closed>, at: Moment, bell: Option<Bell>) -> Self {
        let closings = closed.into_iter().map(|closed| Closing { closed, at }).collect();
        Self {
            committed: Committed { touched, closings },
            bell,
        }
    }

    /// Hands over what was done to whoever rebuilds.
    pub fn consume(mut self) -> Committed {
        self.bell = None;
        std::mem::take(&mut self.committed)
    }

    /// What was done, to look at.
    pub fn committed(&self) -> &Committed {
        &self.committed
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // One without channels may be of a model's settings.
        if let Some(bell) = self.bell.take() {
            bell(std::mem::take(&mut self.committed));
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receipt").field(&self.committed).finish()
    }
}
