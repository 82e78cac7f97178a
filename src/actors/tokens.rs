//! `TokenActor`: the tokens seen lately, a bounded memory before the database.
//!
//! A token that was seen goes on working while the database is away (R12). It is asked of the database
//! again after a minute, in the background. Unknown keys have a small memory of their own, so that a flood
//! of them neither evicts good tokens nor reaches the database more than a few at a time.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use ipnet::IpNet;
use log::warn;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::caught::caught;
use super::counters;
use super::seen_tokens::{Seen, SeenTokens};
use crate::routing::ids::{GroupName, ModelName};
use crate::routing::lookups::{Bounds, Lookups, Overloaded};
use crate::store::connect::Database;
use crate::store::error::StoreError;
/// What a token is asked for by, so that who asks need not know the store.
pub use crate::store::key_hash::KeyHash;
use crate::store::tokens::{self, TokenId, TokenRow, TokenStatus};

/// Unknown keys remembered, for a second at most: their memory is emptied rather than grown.
const REMEMBERED_UNKNOWN: usize = 10_000;
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// A remembered token is asked of the database again after this (R12).
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// While the database fails, a remembered token is asked again no sooner than this.
const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(5);
const BOUNDS: Bounds = Bounds {
    running: 2,
    waiting: 256,
};
/// How often it is written when tokens were last used.
const WRITE_LAST_USED: Duration = Duration::from_secs(15);
/// Rows that one such write holds locked.
const TOUCHED_AT_ONCE: usize = 200;

/// Sent by: relay requests that show a key which [`SeenTokens`] does not let in by itself. Answered: at once if it was
/// seen lately, else when a lookup that began after this arrived has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<Arc<Token>, NoToken>")]
pub struct Authenticate {
    pub hash: KeyHash,
}

/// Sent by: admin calls that changed or deleted a token. Answered: when it is forgotten; what a read that
/// began before found is not kept either.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Forget {
    pub hash: KeyHash,
}

/// Sent by: admin calls that perhaps changed a token, and notices that another node has; its key is then not told. As
/// `Forget`, of this token or of all.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ForgetId {
    /// `None`: it is not known which.
    pub id: Option<TokenId>,
}

/// Sent by: the keeper. Answered: at once, with the rows of the tokens seen lately.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Vec<TokenRow>")]
pub struct KnownTokens;

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoToken {
    Unknown,
    /// The database could not be asked.
    Unavailable,
    /// Too many unknown keys are asked at once.
    Overloaded,
}

/// A token, its lists parsed once.
#[derive(Debug)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    status: TokenStatus,
    /// In order of preference.
    pub groups: Arc<[GroupName]>,
    models: Option<HashSet<ModelName>>,
    networks: Option<Vec<IpNet>>,
    /// Unix milliseconds.
    expires_at: Option<i64>,
    /// As it was read; none for a token of nobody.
    row: Option<TokenRow>,
}

impl Token {
    pub(super) fn new(row: TokenRow) -> Token {
        Token {
            networks: row.allow_ips.as_ref().map(|list| networks(row.id, list)),
            models: row.models.as_ref().map(|models| models.iter().cloned().collect()),
            id: row.id,
            name: row.name.clone(),
            status: row.status,
            groups: row.groups.clone().into(),
            expires_at: row.expires_at,
            row: Some(row),
        }
    }

    /// Of nobody: with it the relay asks a channel for itself. It is let in nowhere.
    pub fn of_nobody() -> Token {
        Token {
            id: TokenId(0),
            name: String::new(),
            status: TokenStatus::Disabled,
            groups: Arc::default(),
            models: None,
            networks: None,
            expires_at: None,
            row: None,
        }
    }

    /// Enabled and not expired.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        let expired = self.expires_at.is_some_and(|at| at <= unix_ms(now));
        self.status == TokenStatus::Enabled && !expired
    }

    pub fn allows_model(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.contains(model))
    }

    /// A caller whose address is not known comes from none that is allowed.
    pub fn allows_address(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.networks else {
            return true;
        };
        let address = address.map(|address| address.to_canonical());
        address.is_some_and(|address| networks.iter().any(|net| net.contains(&address)))
    }
}

/// An entry that is neither an address nor a network allows nobody.
fn networks(token: TokenId, list: &[String]) -> Vec<IpNet> {
    let parse = |entry: &String| {
        let entry = entry.trim();
        let parsed = entry
            .parse::<IpNet>()
            .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        parsed
            .inspect_err(|_| warn!(token:% = token; "an entry of allow_ips is no address and no network"))
            .ok()
    };
    list.iter().filter_map(parse).collect()
}

type Asker = Option<oneshot::Sender<Result<Arc<Token>, NoToken>>>;

pub struct TokenActor {
    database: Database,
    runtime: Handle,
    /// Every worker reads it; only this actor writes.
    known: SeenTokens,
    unknown: FxHashMap<KeyHash, Instant>,
    lookups: Lookups<KeyHash, Asker>,
    /// Lookups that run, and whether a `Forget` has come since they began.
    running: FxHashMap<KeyHash, Outdated>,
    refreshing: FxHashSet<KeyHash>,
    /// Uses of tokens that are forgotten since, not yet written.
    last_used: FxHashMap<TokenId, i64>,
    /// Uses up to then are written. Unix milliseconds.
    written_at: i64,
}

struct Outdated(bool);

impl TokenActor {
    /// `kept`: what was known in an earlier life; each is asked of the database again when it is next shown.
    pub fn new(database: Database, runtime: Handle, kept: Vec<TokenRow>) -> (TokenActor, SeenTokens) {
        let now = Instant::now();
        let known = SeenTokens::default();
        for row in kept {
            let (hash, token) = (row.key_hash, Arc::new(Token::new(row)));
            known.put(hash, Seen::new(token, now, Duration::ZERO, 0));
        }
        let actor = TokenActor {
            database,
            runtime,
            known: known.clone(),
            unknown: FxHashMap::default(),
            lookups: Lookups::new(BOUNDS),
            running: FxHashMap::default(),
            refreshing: FxHashSet::default(),
            last_used: FxHashMap::default(),
            written_at: unix_ms(SystemTime::now()),
        };
        (actor, known)
    }

    /// What is known without the database.
    fn remembered(
        &mut self,
        hash: KeyHash,
        now: Instant,
        ctx: &mut Context<Self>,
    ) -> Option<Result<Arc<Token>, NoToken>> {
        if let Some(known) = self.known.get(hash) {
            let clock = SystemTime::now();
            // No refusal is remembered for long: it may have been enabled, or given more time, elsewhere.
            if !known.token.is_valid(clock) && now >= known.read_at + UNKNOWN_FOR {
                return None;
            }
            if now >= known.ask_again_at && self.refreshing.insert(hash) {
                self.ask(hash, None, ctx);
            }
            known.used(unix_ms(clock));
            return Some(Ok(Arc::clone(&known.token)));
        }
        match self.unknown.get(&hash) {
            Some(until) if now < *until => Some(Err(NoToken::Unknown)),
            Some(_) => {
                self.unknown.remove(&hash);
                None
            }
            None => None,
        }
    }

    fn ask(&mut self, hash: KeyHash, asker: Asker, ctx: &mut Context<Self>) {
        match self.lookups.ask(hash, asker) {
            Ok(()) => self.start_lookups(ctx),
            Err(Overloaded(asker)) => {
                self.refreshing.remove(&hash);
                answer(asker, Err(NoToken::Overloaded));
            }
        }
    }

    fn start_lookups(&mut self, ctx: &mut Context<Self>) {
        while let Some(hash) = self.lookups.start_next() {
            self.running.insert(hash, Outdated(false));
            let database = self.database.clone();
            let lookup = self.runtime.spawn(async move {
                let row = tokens::find_by_hash(&database, hash).await?;
                Ok(row.map(Token::new).map(Arc::new))
            });
            ctx.spawn(lookup.into_actor(self).map(move |result, actor, ctx| {
                let result =
                    result.unwrap_or_else(|_| Err(StoreError::Internal("the lookup panicked".to_owned())));
                actor.ended(hash, result, ctx);
            }));
        }
    }

    fn ended(
        &mut self,
        hash: KeyHash,
        result: Result<Option<Arc<Token>>, StoreError>,
        ctx: &mut Context<Self>,
    ) {
        let keep = !self
            .running
            .remove(&hash)
            .is_some_and(|Outdated(outdated)| outdated);
        self.refreshing.remove(&hash);
        let now = Instant::now();
        let found = match result {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(NoToken::Unknown),
            Err(error) => {
                warn!(reason:% = error; "token lookup failed");
                Err(NoToken::Unavailable)
            }
        };
        if keep {
            self.remember(hash, &found, now);
        }
        if let (Ok(token), false) = (&found, keep) {
            self.last_used.insert(token.id, unix_ms(SystemTime::now()));
        }
        // While the database is away, what was known holds (R12).
        let found = match (found, self.known.get(hash)) {
            (Err(NoToken::Unavailable), Some(known)) => Ok(Arc::clone(&known.token)),
            (found, _) => found,
        };
        for asker in self.lookups.ended(&hash) {
            answer(asker, found.clone());
        }
        self.start_lookups(ctx);
    }

    fn remember(&mut self, hash: KeyHash, found: &Result<Arc<Token>, NoToken>, now: Instant) {
        match found {
            Ok(token) => {
                let used_at = unix_ms(SystemTime::now());
                let seen = Seen::new(Arc::clone(token), now, ASK_AGAIN_AFTER, used_at);
                for gone in self.known.put(hash, seen) {
                    self.note_use(&gone);
                }
            }
            Err(NoToken::Unknown) => {
                self.forget(hash);
                if self.unknown.len() >= REMEMBERED_UNKNOWN {
                    self.unknown.clear();
                }
                self.unknown.insert(hash, now + UNKNOWN_FOR);
            }
            Err(NoToken::Unavailable | NoToken::Overloaded) => {
                self.known.ask_again(hash, |_| now + ASK_AGAIN_AFTER_FAILURE);
            }
        }
    }

    fn forget(&mut self, hash: KeyHash) {
        if let Some(gone) = self.known.remove(hash) {
            self.note_use(&gone);
        }
    }

    /// It is not remembered any more, but its last use is to be written.
    fn note_use(&mut self, gone: &Seen) {
        if gone.used_at() >= self.written_at {
            self.last_used.insert(gone.token.id, gone.used_at());
        }
    }

    fn write_last_used(&mut self) {
        let since = std::mem::replace(&mut self.written_at, unix_ms(SystemTime::now()));
        let mut used = std::mem::take(&mut self.last_used);
        for seen in self.known.all() {
            if seen.used_at() >= since {
                used.insert(seen.token.id, seen.used_at());
            }
        }
        if used.is_empty() {
            return;
        }
        let used: Vec<(TokenId, i64)> = used.into_iter().collect();
        let database = self.database.clone();
        self.runtime.spawn(async move {
            for some in used.chunks(TOUCHED_AT_ONCE) {
                // Of no weight: a time that is lost is written when the token is used again.
                if let Err(error) = tokens::touch(&database, some.to_vec()).await {
                    warn!(reason:% = error; "could not write when tokens were last used");
                    return;
                }
            }
        });
    }
}

fn answer(asker: Asker, found: Result<Arc<Token>, NoToken>) {
    let result = match &found {
        Ok(_) => "database",
        Err(NoToken::Unknown) => "unknown",
        Err(NoToken::Unavailable) => "failed",
        Err(NoToken::Overloaded) => "overloaded",
    };
    if let Some(asker) = asker {
        counters::TOKENS.with_label_values(&[result]).inc();
        // An asker that has gone needs no answer.
        let _ = asker.send(found);
    }
}

impl Actor for TokenActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(WRITE_LAST_USED, |actor, _| actor.write_last_used());
    }
}

impl Handler<Authenticate> for TokenActor {
    type Result = ActorResponse<Self, Result<Arc<Token>, NoToken>>;

    fn handle(&mut self, Authenticate { hash }: Authenticate, ctx: &mut Self::Context) -> Self::Result {
        let remembered = caught(|| self.remembered(hash, Instant::now(), ctx));
        match remembered {
            Ok(Some(answer)) => {
                counters::TOKENS.with_label_values(&["remembered"]).inc();
                ActorResponse::reply(answer)
            }
            Ok(None) => {
                let (asker, answer) = oneshot::channel();
                let _ = caught(|| self.ask(hash, Some(asker), ctx));
                // Its turn and its lookup, as for routes.
                let patience = self.database.options().lookup_deadline * 2;
                let answer = async move {
                    match tokio::time::timeout(patience, answer).await {
                        Ok(answer) => answer.unwrap_or(Err(NoToken::Overloaded)),
                        Err(_) => Err(NoToken::Unavailable),
                    }
                };
                ActorResponse::r#async(answer.into_actor(self))
            }
            Err(_) => ActorResponse::reply(Err(NoToken::Overloaded)),
        }
    }
}

impl Handler<KnownTokens> for TokenActor {
    type Result = MessageResult<KnownTokens>;

    fn handle(&mut self, _: KnownTokens, _: &mut Self::Context) -> Self::Result {
        let known = self.known.all();
        MessageResult(known.iter().filter_map(|known| known.token.row.clone()).collect())
    }
}

impl Handler<Forget> for TokenActor {
    type Result = ();

    fn handle(&mut self, Forget { hash }: Forget, _: &mut Self::Context) {
        self.forget(hash);
        self.unknown.remove(&hash);
        if let Some(outdated) = self.running.get_mut(&hash) {
            *outdated = Outdated(true);
        }
    }
}

impl Handler<ForgetId> for TokenActor {
    type Result = ();

    fn handle(&mut self, ForgetId { id }: ForgetId, _: &mut Self::Context) {
        for hash in self.known.hashes_of(id) {
            match id {
                // They go on working while each is asked anew, as after a minute (R12): a crowd at the database's door
                // would shut good ones out.
                None => self.known.ask_again(hash, |seen| seen.read_at),
                Some(_) => self.forget(hash),
            }
        }
        // It may be one that was unknown until now.
        self.unknown.clear();
        // Whose lookups run is not known before they end.
        for outdated in self.running.values_mut() {
            *outdated = Outdated(true);
        }
    }
}

pub(super) fn unix_ms(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
