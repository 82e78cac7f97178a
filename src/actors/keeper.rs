//! Keeps on disk what a node can start from without its database: each closing at once, the snapshot and the known
//! tokens in the background.

use std::time::{Duration, Instant};

use log::{debug, warn};
use tokio::time::sleep;

use super::routing_handle::Routing;
use crate::routing::closings::{Closed, Closing};
use crate::routing::ids::{Generation, Moment, Moments};
use crate::routing::rebuilds::Scope;
use crate::routing::router::{Built, Router};
use crate::routing::rows::ProviderLookup;
use crate::routing::snapshot::Snapshot;
use crate::store::kept::Kept;
use crate::store::snapshot_file::SnapshotFile;
use crate::store::tokens::TokenRow;

/// The file is written no more often than this.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// Tokens that were seen since are written at least so often, though no route changes.
const WRITE_AT_LEAST_EVERY: Duration = Duration::from_secs(60);

/// What was kept: a node begins with it while its database is away.
pub struct Beginning {
    pub snapshot: Snapshot,
    began: Moment,
    /// What was closed after that was written.
    pub closings: Vec<Closing>,
    pub tokens: Vec<TokenRow>,
    /// When the database was last read before, Unix milliseconds.
    pub kept_at: i64,
}

impl Beginning {
    /// Reads the file and its journal; `None` where there is no file, or none that can be used.
    pub fn read(file: &SnapshotFile, providers: ProviderLookup, moments: &Moments) -> Option<Beginning> {
        let mut kept = match file.read() {
            Ok(kept) => kept?,
            Err(damaged) => {
                warn!(path:% = file.path().display(), reason:% = damaged; "the snapshot file is not used");
                return None;
            }
        };
        let closed = match file.read_journal() {
            Ok(closed) => closed,
            Err(error) => {
                // What was closed since is not known: nothing may be picked by what is not.
                warn!(path:% = file.path().display(), reason:% = error; "its journal cannot be read, so the snapshot file is not used");
                return None;
            }
        };
        let tokens = kept.take_tokens();
        let began = moments.draw();
        let draft = kept.draft(providers);
        let closings = at(closed, moments.draw());
        file.go_on_with(&closings);
        Some(Beginning {
            snapshot: draft.snapshot(&Snapshot::default(), Generation(1), began),
            began,
            closings,
            tokens,
            kept_at: kept.kept_at,
        })
    }

    /// Puts it into a router that holds nothing yet. (The old snapshot is empty: freeing it takes no time.)
    pub fn install(self, router: &mut Router, now: Instant) {
        let built = Built {
            snapshot: self.snapshot,
            scope: Scope::Everything,
            began: self.began,
        };
        drop(router.install(built, now));
        router.close(self.closings);
    }
}

fn at(closed: Vec<Closed>, at: Moment) -> Vec<Closing> {
    let closing = |closed| Closing { closed, at };
    closed.into_iter().map(closing).collect()
}

/// Appends closings to the journal, if there is one, before a change that made them has returned.
#[derive(Clone, Default)]
pub struct Journal(Option<SnapshotFile>);

impl Journal {
    pub fn new(file: Option<SnapshotFile>) -> Journal {
        Journal(file)
    }

    /// Whether they are kept, or need not be.
    pub async fn append(&self, closings: &[Closing]) -> bool {
        let Some(file) = self.0.clone().filter(|_| !closings.is_empty()) else {
            return true;
        };
        let closings = closings.to_vec();
        let appended = tokio::task::spawn_blocking(move || file.append(&closings)).await;
        let failed = match appended {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the write panicked".to_owned(),
        };
        warn!(reason = failed.as_str(); "a closing is not kept on disk");
        false
    }
}

/// Writes the file whenever the snapshot or a token has changed, for as long as there is routing.
pub async fn run(routing: Routing, file: SnapshotFile) {
    let mut snapshots = routing.snapshots();
    loop {
        tokio::select! {
            changed = snapshots.changed() => if changed.is_err() { return },
            () = routing.tokens_changed() => {}
            () = sleep(WRITE_AT_LEAST_EVERY) => {}
        }
        // A burst of changes is one file.
        sleep(WRITE_EVERY).await;
        snapshots.mark_unchanged();
        keep(&routing, &file).await;
    }
}

/// Writes the file as things are. What came from the file itself is not written again: it would look newer than it is.
pub async fn keep(routing: &Routing, file: &SnapshotFile) {
    let built_at = routing.inspect().await.and_then(|inspection| inspection.built_at);
    let Some(built_at) = built_at else { return };
    let snapshot = routing.snapshot();
    let tokens = routing.known_tokens().await;
    let file = file.clone();
    let writing =
        tokio::task::spawn_blocking(move || file.write(&Kept::of(&snapshot, tokens, built_at), &snapshot));
    match writing.await {
        Ok(Ok(())) => debug!("the snapshot file is written"),
        Ok(Err(error)) => warn!(reason:% = error; "the snapshot file cannot be written"),
        Err(_) => warn!("writing the snapshot file panicked"),
    }
}
