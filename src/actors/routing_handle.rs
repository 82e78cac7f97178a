//! [`Routing`]: the one way to the actors, cloned into every web worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot, watch};
use tokio::time::timeout_at;

use super::cache::{CacheActor, CacheOptions};
use super::changes::Changes;
use super::counters;
use super::keeper::{Beginning, Journal};
use super::lease::Lease;
use super::messages::{
    Answer, BuildFailed, Choice, Choose, HasModel, Inspect, Inspection, IsOpen, Pick, Rebuild, Remember,
    Unanswered, Wait,
};
use super::query::QueryActor;
use super::seen_tokens::SeenTokens;
use super::together;
use super::tokens::{Authenticate, Forget, ForgetId, KnownTokens, NoToken, Token, TokenActor};
use super::upkeep::Refusals;
use crate::routing::ids::{ChannelId, Generation, GroupName, KeyId};
use crate::routing::pick::Question;
use crate::routing::rebuilds::{Scope, Urgency};
use crate::routing::refusal::Refusal;
use crate::routing::remembered::{Home, StateId};
use crate::routing::router::{Found, NotOpen};
use crate::routing::snapshot::Snapshot;
use crate::store::connect::Database;
use crate::store::key_hash::KeyHash;
use crate::store::snapshot_file::SnapshotFile;
use crate::store::tokens::{TokenId, TokenRow};

/// Picks under way at once; the mailbox of an actor has no bound of its own.
const PICKS_AT_ONCE: usize = 20_000;
/// Requests that wait for the database's answer at once.
const MISSES_AT_ONCE: usize = 10_000;
/// Requests whose token is asked for at once.
const TOKENS_AT_ONCE: usize = 20_000;
/// Leases out at once; each may send its report whenever it likes.
const LEASES_AT_ONCE: usize = 100_000;
/// A lookup may be overtaken by a change and is then asked again; more often than this in one pick means
/// that the truth moves faster than it can be read.
const LOOKUPS_A_PICK: usize = 5;

/// What the actors are started with.
pub struct RoutingOptions {
    pub database: Database,
    /// Multi-threaded: builds, lookups and changes run here.
    pub runtime: Handle,
    /// A full rebuild at least so often, as a safety net.
    pub sync_interval: Duration,
    /// A build that takes longer is given up.
    pub build_deadline: Duration,
    /// Lookups that run at once.
    pub lookup_connections: usize,
    /// Where what a node can start from is kept.
    pub snapshot_file: Option<SnapshotFile>,
    /// What was kept there, to begin with while the database is away.
    pub beginning: Option<Beginning>,
}

/// Picks, tokens, changes: everything that others ask of the actors.
#[derive(Clone)]
pub struct Routing {
    cache: Addr<CacheActor>,
    query: Addr<QueryActor>,
    tokens: Addr<TokenActor>,
    seen_tokens: SeenTokens,
    tokens_changed: Arc<Notify>,
    changes: Changes,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    picks: Arc<Semaphore>,
    misses: Arc<Semaphore>,
    asked_tokens: Arc<Semaphore>,
    leases: Arc<Semaphore>,
    pub(super) refusals: Refusals,
    pub(super) database: Database,
}

impl Routing {
    /// Starts the actors, each on an arbiter of its own. Call it inside an actix system.
    pub fn start(options: RoutingOptions) -> Routing {
        let RoutingOptions {
            database,
            runtime,
            sync_interval,
            build_deadline,
            lookup_connections,
            snapshot_file,
            mut beginning,
        } = options;
        let known = beginning.as_mut().map(|kept| std::mem::take(&mut kept.tokens));
        let (cache, snapshots) = CacheActor::new(CacheOptions {
            database: database.clone(),
            runtime: runtime.clone(),
            sync_interval,
            build_deadline,
            beginning,
        });
        let cache = CacheActor::start_in_arbiter(&Arbiter::new().handle(), |_| cache);
        let query = QueryActor::new(
            database.clone(),
            runtime.clone(),
            lookup_connections,
            snapshots.clone(),
        );
        let query = QueryActor::start_in_arbiter(&Arbiter::new().handle(), |_| query);
        let (tokens, seen_tokens) =
            TokenActor::new(database.clone(), runtime.clone(), known.unwrap_or_default());
        let tokens = TokenActor::start_in_arbiter(&Arbiter::new().handle(), |_| tokens);
        let changes = Changes::new(cache.clone(), Journal::new(snapshot_file), runtime);
        let bell = changes.clone();
        database.on_dropped_receipt(move |committed| bell.ring(committed));
        Routing {
            cache,
            query,
            tokens,
            seen_tokens,
            tokens_changed: Arc::default(),
            changes,
            snapshots,
            picks: Arc::new(Semaphore::new(PICKS_AT_ONCE)),
            misses: Arc::new(Semaphore::new(MISSES_AT_ONCE)),
            asked_tokens: Arc::new(Semaphore::new(TOKENS_AT_ONCE)),
            leases: Arc::new(Semaphore::new(LEASES_AT_ONCE)),
            refusals: Refusals::default(),
            database,
        }
    }

    /// A lease for the question, or the refusal that the database itself has told (R3). With patience, what may be
    /// free or due by then is waited for, in order of arrival.
    pub async fn pick(&self, question: Question, patience: Option<Instant>) -> Result<Lease, Refusal> {
        let picked = self.ask(Pick(Arc::new(question)), patience).await;
        let result = match &picked {
            Ok((_, source)) => source,
            Err(refusal) => refusal.code(),
        };
        counters::PICKS.with_label_values(&[result]).inc();
        picked.map(|(lease, _)| lease)
    }

    async fn ask(&self, pick: Pick, patience: Option<Instant>) -> Result<(Lease, &'static str), Refusal> {
        let overloaded = |_: TryAcquireError| Refusal::Overloaded { retry_after: None };
        let asking = self.picks.try_acquire().map_err(overloaded)?;
        let permit = Arc::clone(&self.leases).try_acquire_owned().map_err(overloaded)?;
        match together::pick(&self.cache, pick.clone()).await {
            Ok(Ok(Answer::Lease(lease))) => return Ok((lease.with(permit, &self.refusals), "snapshot")),
            Ok(Err(Unanswered::Miss(_))) => counters::MISSES.inc(),
            Ok(Ok(Answer::Route(_)) | Err(_)) | Err(_) => {
                return Err(Refusal::Overloaded { retry_after: None });
            }
        }
        // Those who wait for the database must not keep out those whom the snapshot answers (R11).
        drop(asking);
        let _waiting = self.misses.try_acquire().map_err(overloaded)?;
        let lease = self.ask_database(pick, patience).await?;
        Ok((lease.with(permit, &self.refusals), "lookup"))
    }

    /// Whether the model has an ability in any of the groups, open or not, by the database where the snapshot has
    /// none.
    pub async fn knows_model(&self, groups: &Arc<[GroupName]>, model: &str) -> Result<bool, Refusal> {
        let snapshot = self.snapshot();
        if groups
            .iter()
            .any(|group| snapshot.route(group.as_str(), model).is_some())
        {
            return Ok(true);
        }
        let overloaded = |_: TryAcquireError| Refusal::Overloaded { retry_after: None };
        let _waiting = self.misses.try_acquire().map_err(overloaded)?;
        let asked = HasModel {
            groups: Arc::clone(groups),
            model: model.into(),
        };
        match self.query.send(asked).await {
            Ok(Ok(has)) => Ok(has),
            Ok(Err(Unanswered::LookupFailed)) => Err(Refusal::RoutingUnavailable),
            Ok(Err(_)) | Err(_) => Err(Refusal::Overloaded { retry_after: None }),
        }
    }

    async fn ask_database(&self, pick: Pick, patience: Option<Instant>) -> Result<Lease, Refusal> {
        for _ in 0..LOOKUPS_A_PICK {
            let found = self.found(pick.clone()).await?;
            let question = Arc::clone(&pick.0);
            let choice = match patience {
                Some(until) => self.wait(question, found, until).await,
                None => self.choose(question, found).await,
            };
            match choice {
                Choice::Lease(lease) => return Ok(lease),
                Choice::Refused(refusal) => return Err(refusal),
                Choice::Outdated => {}
            }
        }
        // The database did answer, each time too late.
        Err(Refusal::Overloaded { retry_after: None })
    }

    async fn choose(&self, question: Arc<Question>, found: Option<Arc<Found>>) -> Choice {
        let choice = self.cache.send(Choose { question, found }).await;
        choice.unwrap_or(Choice::Refused(Refusal::Overloaded { retry_after: None }))
    }

    async fn wait(&self, question: Arc<Question>, found: Option<Arc<Found>>, until: Instant) -> Choice {
        let (answer, waited) = oneshot::channel();
        self.cache.do_send(Wait {
            question: Arc::clone(&question),
            found: found.clone(),
            until,
            answer,
        });
        match timeout_at(until.into(), waited).await {
            Ok(Ok(choice)) => choice,
            Ok(Err(_)) => Choice::Refused(Refusal::Overloaded { retry_after: None }),
            // In vain: what there is now is the answer.
            Err(_) => self.choose(question, found).await,
        }
    }

    /// `None`: the lookup failed.
    async fn found(&self, pick: Pick) -> Result<Option<Arc<Found>>, Refusal> {
        match self.query.send(pick).await {
            Ok(Ok(Answer::Route(found))) => Ok(Some(found)),
            Ok(Err(Unanswered::LookupFailed)) => Ok(None),
            Ok(Ok(Answer::Lease(_)) | Err(_)) | Err(_) => Err(Refusal::Overloaded { retry_after: None }),
        }
    }

    /// An answer has come whose upstream keeps something of it under this name: who names it goes there first.
    pub fn remember_response(&self, id: &str, channel: ChannelId, key: Option<KeyId>) {
        self.cache.do_send(Remember {
            id: StateId::of(id),
            home: Home { channel, key },
        });
    }

    /// Whether one ability is open, asked of the database.
    pub async fn is_open(&self, ability: IsOpen) -> Result<Result<(), NotOpen>, Unanswered> {
        self.query
            .send(ability)
            .await
            .unwrap_or(Err(Unanswered::Overloaded))
    }

    /// Answers when a build that began after this call has ended.
    pub async fn rebuild(&self, scope: Scope, urgency: Urgency) -> Result<Generation, BuildFailed> {
        let closed = |_| {
            Err(BuildFailed {
                reason: "the cache actor is gone".to_owned(),
            })
        };
        self.cache
            .send(Rebuild { scope, urgency })
            .await
            .unwrap_or_else(closed)
    }

    pub async fn authenticate(&self, hash: KeyHash) -> Result<Arc<Token>, NoToken> {
        if let Some(token) = self.seen_tokens.admit(hash) {
            counters::TOKENS.with_label_values(&["remembered"]).inc();
            return Ok(token);
        }
        // Past this bound only a database that hangs has so many waiting.
        let Ok(_asking) = self.asked_tokens.try_acquire() else {
            return Err(NoToken::Overloaded);
        };
        self.tokens
            .send(Authenticate { hash })
            .await
            .unwrap_or(Err(NoToken::Overloaded))
    }

    /// No later request is let in by what was remembered of this token.
    pub async fn forget_token(&self, hash: KeyHash) {
        // A token actor that is gone remembers nothing.
        let _ = self.tokens.send(Forget { hash }).await;
        self.tokens_changed.notify_one();
    }

    /// As `forget_token`, where no hash is told.
    pub async fn forget_token_id(&self, id: TokenId) {
        let _ = self.tokens.send(ForgetId { id: Some(id) }).await;
        self.tokens_changed.notify_one();
    }

    /// It is not known which tokens have changed: each is asked anew when it is next shown.
    pub async fn forget_all_tokens(&self) {
        let _ = self.tokens.send(ForgetId { id: None }).await;
        self.tokens_changed.notify_one();
    }

    /// For every write that touches routing.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The snapshot in place; its generation is 0 before the first.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Each snapshot as it is put in place.
    pub(super) fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Ends when a token was forgotten since it was last asked for.
    pub(super) async fn tokens_changed(&self) {
        self.tokens_changed.notified().await;
    }

    /// The tokens seen lately.
    pub(super) async fn known_tokens(&self) -> Vec<TokenRow> {
        self.tokens.send(KnownTokens).await.unwrap_or_default()
    }

    /// A snapshot was built.
    pub fn is_ready(&self) -> bool {
        self.snapshots.borrow().generation() > Generation::default()
    }

    pub async fn inspect(&self) -> Option<Box<Inspection>> {
        self.cache.send(Inspect).await.ok()
    }

    /// Whether all actors live: one whose handler panicked is gone for good, and the process must end.
    pub fn is_alive(&self) -> bool {
        self.cache.connected() && self.query.connected() && self.tokens.connected()
    }
}
