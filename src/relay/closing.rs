//! A key that its provider refuses is closed: at once for picks, as health cools it, and then in the database.
//!
//! One task hears every refusal; requests never wait for it. Of one key, or of a channel without keys, at most one
//! write is under way, however many attempts were refused. While the database does not take it, the key goes on
//! cooling and the write is tried again, until health itself would believe the refusal no longer: the next refusal
//! then begins anew.

use std::sync::Arc;
use std::time::Duration;

use log::{debug, info, warn};
use rand::RngExt;
use rustc_hash::FxHashMap;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};

use crate::actors::Routing;
use crate::actors::upkeep::{Judged, Refused, Written};
use crate::routing::ids::{ChannelId, KeyId};

/// Refusals that wait to be heard: more than all keys of the largest channel at once.
const WAITING: usize = 16_384;
/// Keys whose closing is under way. One more than these only cools.
const UNDER_WAY: usize = 16_384;
/// Keys of which it is remembered that they are closed, so that late reports ask the database nothing.
const REMEMBERED: usize = 65_536;
/// Closings leave most of the connections for writes to operators.
const WRITES_AT_ONCE: usize = 2;
/// The database may only have hiccuped; one that is away is not to be hammered.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_LONGEST: Duration = Duration::from_secs(10);
/// As long as the key cools (R13).
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// A key, or a channel without keys.
type Target = (ChannelId, Option<KeyId>);

/// Hears refusals and closes what was refused, for as long as there is routing.
pub async fn run(routing: Routing) {
    let (ear, mut refusals) = mpsc::channel(WAITING);
    routing.tell_refusals(ear);
    let mut closer = Closer {
        routing,
        writes: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
        under_way: FxHashMap::default(),
        closed: FxHashMap::default(),
        tasks: JoinSet::new(),
    };
    loop {
        tokio::select! {
            refused = refusals.recv() => match refused {
                Some(refused) => closer.hear(refused),
                None => return,
            },
            Some(ended) = closer.tasks.join_next_with_id() => match ended {
                Ok((_, judged)) => closer.ended(judged),
                Err(error) => closer.failed(error.id()),
            },
        }
    }
}

struct Closer {
    routing: Routing,
    writes: Arc<Semaphore>,
    under_way: FxHashMap<Target, UnderWay>,
    /// When the status that was judged began, of what needs no closing any more.
    closed: FxHashMap<Target, i64>,
    tasks: JoinSet<Result<Judged, Judged>>,
}

struct UnderWay {
    task: Id,
    judged: Judged,
    /// Refused meanwhile in a newer state: opened or replaced while the write waited.
    newer: Option<Refused>,
}

fn target(judged: &Judged) -> Target {
    (judged.channel, judged.key)
}

impl Closer {
    fn hear(&mut self, refused: Refused) {
        let target = target(&refused.judged);
        let since = refused.judged.seen.status_changed_at;
        if self.closed.get(&target).is_some_and(|closed| *closed >= since) {
            return;
        }
        if let Some(under_way) = self.under_way.get_mut(&target) {
            let known = under_way
                .newer
                .as_ref()
                .map_or(&under_way.judged, |newer| &newer.judged);
            if since > known.seen.status_changed_at {
                under_way.newer = Some(refused);
            }
        } else if self.under_way.len() < UNDER_WAY {
            self.begin(target, refused);
        }
    }

    fn begin(&mut self, target: Target, refused: Refused) {
        let judged = refused.judged;
        let closing = close(self.routing.clone(), Arc::clone(&self.writes), refused);
        let task = self.tasks.spawn(closing).id();
        let under_way = UnderWay {
            task,
            judged,
            newer: None,
        };
        self.under_way.insert(target, under_way);
    }

    fn ended(&mut self, ended: Result<Judged, Judged>) {
        if let Ok(judged) = &ended {
            if self.closed.len() >= REMEMBERED {
                self.closed.clear();
            }
            self.closed.insert(target(judged), judged.seen.status_changed_at);
        }
        let (Ok(judged) | Err(judged)) = ended;
        let under_way = self.under_way.remove(&target(&judged));
        if let Some(newer) = under_way.and_then(|under_way| under_way.newer) {
            self.begin(target(&newer.judged), newer);
        }
    }

    /// The task panicked.
    fn failed(&mut self, task: Id) {
        self.under_way.retain(|_, under_way| under_way.task != task);
    }
}

/// `Ok`: nothing is left to do in this state. `Err`: it stays as it is, and may be refused again.
async fn close(routing: Routing, writes: Arc<Semaphore>, refused: Refused) -> Result<Judged, Judged> {
    let Refused {
        judged,
        reason,
        hint,
        may_close,
    } = refused;
    let (channel, key) = (judged.channel, &*hint);
    let give_up_at = Instant::now() + GIVE_UP_AFTER;
    let mut wait = AGAIN_FIRST;
    loop {
        // An operator may have changed that meanwhile.
        let known = routing
            .snapshot()
            .channel(channel)
            .map(|known| known.spec.auto_disable);
        if !known.unwrap_or(may_close) {
            return Err(judged);
        }
        let written = {
            let _writing = writes.acquire().await;
            routing.auto_disable(judged, &reason).await
        };
        match written {
            Written::Done => {
                let what = if judged.key.is_some() { "key" } else { "channel" };
                warn!(channel:%, key, reason:%; "{what} closed: its provider refuses it");
                return Ok(judged);
            }
            Written::Moot => {
                debug!(channel:%, key; "refused, but changed meanwhile");
                return Ok(judged);
            }
            Written::NotNow(error) => {
                let wait_ms = wait.as_millis() as u64;
                info!(channel:%, key, error, wait_ms; "refused, but not closed yet: it goes on cooling");
            }
        }
        let jittered = wait.mul_f64(rand::rng().random_range(0.75..=1.0));
        sleep(jittered).await;
        wait = (wait * 2).min(AGAIN_LONGEST);
        if Instant::now() >= give_up_at {
            warn!(channel:%, key; "refused, but never closed: the database took no change");
            return Err(judged);
        }
    }
}
