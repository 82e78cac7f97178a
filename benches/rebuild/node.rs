//! The store and the actors on one database, as `pointsman serve` starts them, and what is asked of them here.

use std::time::{Duration, Instant};

use pointsman::actors::{Routing, RoutingOptions};
use pointsman::relay::provider_traits;
use pointsman::routing::build::Draft;
use pointsman::routing::ids::{ChannelId, Generation, Moment};
use pointsman::routing::rebuilds::{Scope, Urgency};
use pointsman::store::change_status::{Change, OperatorStatus, set_channel};
use pointsman::store::connect::{Database, Options};
use pointsman::store::load_snapshot;
use tokio::runtime::Handle;

/// No rebuild but those that are asked for.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

pub struct Node {
    pub database: Database,
    pub routing: Routing,
}

impl Node {
    /// Call it inside an actix system on a multi-threaded runtime. The tables are there, filled or not.
    pub async fn start(database: Database) -> Node {
        let routing = Routing::start(RoutingOptions {
            database: database.clone(),
            runtime: Handle::current(),
            sync_interval: NEVER,
            build_deadline: Duration::from_secs(600),
            lookup_connections: 4,
            snapshot_file: None,
            beginning: None,
        });
        let node = Node { database, routing };
        node.rebuild().await;
        node
    }

    /// From the question to the answer that a build which began after it is in place.
    pub async fn rebuild(&self) -> Duration {
        let began = Instant::now();
        let rebuilt = self.routing.rebuild(Scope::Everything, Urgency::Admin).await;
        rebuilt.expect("a rebuild works");
        began.elapsed()
    }

    /// The two parts of a full rebuild by themselves: reading the rows, and making a snapshot of them.
    pub async fn read_and_assemble(&self) -> (Duration, Duration) {
        let began = Instant::now();
        let draft = load_snapshot::everything(&self.database).await;
        let draft = draft.expect("the rows can be read");
        let read = began.elapsed();
        (read, assemble(draft, self).await)
    }

    /// A status change as an admin call makes it: commit, closing and patch are done when this returns.
    pub async fn set(&self, channel: ChannelId, to: OperatorStatus) -> Duration {
        let database = self.database.clone();
        let began = Instant::now();
        let write = async move {
            let change = Change::ByOperator { to, reason: None };
            let receipt = set_channel(&database, channel, change).await?;
            Ok(((), receipt))
        };
        let changed = self.routing.changes().run(write).await;
        changed.expect("a status can be changed");
        began.elapsed()
    }
}

/// A channel-free database that is ready to be filled.
pub async fn open(url: &str) -> Database {
    let options = Options::new(provider_traits, Handle::current());
    let opened = Database::open(url, options).await;
    opened.expect("the database opens")
}

async fn assemble(draft: Draft, node: &Node) -> Duration {
    let base = node.routing.snapshot();
    let assembling = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let snapshot = draft.snapshot(&base, Generation(1), Moment(1));
        (began.elapsed(), snapshot)
    });
    let (took, snapshot) = assembling.await.expect("a snapshot can be made");
    drop(snapshot);
    took
}
