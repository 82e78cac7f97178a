//! One change on its way: transaction, COMMIT, its answer, the closings, the rebuild. Mirrors `store::commit` and
//! `actors::changes`.

use pointsman::routing::closings::{Closed, Closing};
use pointsman::routing::ids::{ChannelId, Moment};
use pointsman::routing::rebuilds::Scope;

use crate::edit::{Applied, Edit};
use crate::world::Version;

#[derive(Debug)]
pub struct Change {
    pub id: u64,
    pub node: usize,
    pub edit: Edit,
    pub at: ChangeAt,
}

#[derive(Debug)]
pub enum ChangeAt {
    /// Before COMMIT.
    Writing,
    /// Committed; the answer is on its way.
    Committed {
        version: Version,
        applied: Applied,
    },
    /// The answer to COMMIT was lost: the mark will tell.
    Lost(Lost),
    /// The answer is known, and the closings' moment drawn.
    Closing {
        version: Version,
        applied: Applied,
        at: Moment,
    },
    /// The closings hold.
    ToRebuild {
        version: Version,
        touched: Vec<i64>,
    },
    Rebuilding {
        version: Version,
        touched: Vec<i64>,
    },
    Done,
}

#[derive(Debug)]
pub enum Lost {
    Done {
        version: Version,
        applied: Applied,
    },
    NotDone,
    /// The database is at it still: it may be done yet.
    InFlight,
}

/// `Receipt::new`: the closings of a commit, at the moment at which it was known to be done.
pub fn closings(closed: &[Closed], at: Moment) -> Vec<Closing> {
    let closing = |closed: &Closed| Closing {
        closed: closed.clone(),
        at,
    };
    closed.iter().map(closing).collect()
}

/// `changes::scope_of`.
pub fn scope_of(touched: &[i64]) -> Scope {
    Scope::Channels(touched.iter().copied().map(ChannelId).collect())
}
