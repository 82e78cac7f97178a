//! The tokens seen lately, as the `TokenActor` knows them: read by every worker without a message.
//!
//! The actor alone writes, and each write is seen by whoever reads after it: a token that was forgotten lets nobody in
//! once that call has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use papaya::HashMap;
use rustc_hash::FxBuildHasher;

use super::tokens::{KeyHash, Token, unix_ms};
use crate::store::tokens::TokenId;

/// Good tokens remembered; each takes a few hundred bytes.
const REMEMBERED: usize = 20_000;
/// How many make room at once when there are too many: each time all are looked through.
const MAKE_ROOM: usize = REMEMBERED / 16;
/// The last use is noted no more often than this, so that workers do not write the same memory all the time.
const USE_NOTED_EVERY_MS: i64 = 1_000;

/// The tokens seen lately. Clones share them.
#[derive(Clone, Default)]
pub struct SeenTokens(Arc<HashMap<KeyHash, Arc<Seen>, FxBuildHasher>>);

/// A token as it was last read.
pub struct Seen {
    pub token: Arc<Token>,
    pub read_at: Instant,
    /// The database is asked again when it is shown after this.
    pub ask_again_at: Instant,
    /// Unix milliseconds; 0 if it was not used since it was read in an earlier life.
    used_at: AtomicI64,
}

impl Seen {
    pub fn new(token: Arc<Token>, read_at: Instant, believed_for: Duration, used_at: i64) -> Seen {
        Seen {
            token,
            read_at,
            ask_again_at: read_at + believed_for,
            used_at: AtomicI64::new(used_at),
        }
    }

    /// It is used now.
    pub fn used(&self, now_ms: i64) {
        if now_ms - self.used_at() >= USE_NOTED_EVERY_MS {
            self.used_at.store(now_ms, Ordering::Relaxed);
        }
    }

    pub fn used_at(&self) -> i64 {
        self.used_at.load(Ordering::Relaxed)
    }
}

impl SeenTokens {
    /// A token that lets its client in without anybody being asked: valid, and not due to be read anew. Notes the use.
    pub fn admit(&self, hash: KeyHash) -> Option<Arc<Token>> {
        let seen = self.0.pin();
        let seen = seen.get(&hash)?;
        let now = SystemTime::now();
        if Instant::now() >= seen.ask_again_at || !seen.token.is_valid(now) {
            return None;
        }
        seen.used(unix_ms(now));
        Some(Arc::clone(&seen.token))
    }

    pub fn get(&self, hash: KeyHash) -> Option<Arc<Seen>> {
        self.0.pin().get(&hash).cloned()
    }

    /// Remembers it; those used the longest time ago make room, and are handed out.
    pub fn put(&self, hash: KeyHash, seen: Seen) -> Vec<Arc<Seen>> {
        let tokens = self.0.pin();
        let before = tokens.insert(hash, Arc::new(seen)).cloned();
        let mut gone: Vec<_> = before.into_iter().collect();
        if tokens.len() > REMEMBERED {
            let mut by_use: Vec<_> = tokens
                .iter()
                .filter(|(known, _)| **known != hash)
                .map(|(hash, seen)| (seen.used_at(), *hash))
                .collect();
            by_use.sort_unstable_by_key(|(used_at, _)| *used_at);
            let oldest = by_use.iter().take(MAKE_ROOM);
            gone.extend(oldest.filter_map(|(_, hash)| tokens.remove(hash).cloned()));
        }
        gone
    }

    pub fn remove(&self, hash: KeyHash) -> Option<Arc<Seen>> {
        self.0.pin().remove(&hash).cloned()
    }

    /// It is to be read anew when it is shown after `when`.
    pub fn ask_again(&self, hash: KeyHash, when: impl Fn(&Seen) -> Instant) {
        self.0.pin().update(hash, |seen| {
            Arc::new(Seen {
                token: Arc::clone(&seen.token),
                read_at: seen.read_at,
                ask_again_at: when(seen),
                used_at: AtomicI64::new(seen.used_at()),
            })
        });
    }

    /// Of this token, or of all.
    pub fn hashes_of(&self, id: Option<TokenId>) -> Vec<KeyHash> {
        let is_meant = |seen: &Seen| id.is_none_or(|id| seen.token.id == id);
        let tokens = self.0.pin();
        let meant = tokens.iter().filter(|(_, seen)| is_meant(seen));
        meant.map(|(hash, _)| *hash).collect()
    }

    pub fn all(&self) -> Vec<Arc<Seen>> {
        self.0.pin().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tokens::{TokenRow, TokenStatus};

    fn hash(number: usize) -> KeyHash {
        KeyHash::of(&number.to_string())
    }

    fn seen(number: usize, status: TokenStatus, expires_at: Option<i64>) -> Seen {
        let row = TokenRow {
            id: TokenId(number as i64),
            name: String::new(),
            key_hash: hash(number),
            hint: String::new(),
            status,
            groups: Vec::new(),
            models: None,
            allow_ips: None,
            expires_at,
            limits: serde_json::Value::Null,
            created_at: 0,
            last_used_at: None,
        };
        let minute = Duration::from_secs(60);
        Seen::new(Arc::new(Token::new(row)), Instant::now(), minute, number as i64)
    }

    #[test]
    fn only_what_is_valid_and_fresh_lets_in() {
        let tokens = SeenTokens::default();
        tokens.put(hash(1), seen(1, TokenStatus::Enabled, None));
        tokens.put(hash(2), seen(2, TokenStatus::Disabled, None));
        tokens.put(hash(3), seen(3, TokenStatus::Enabled, Some(1)));
        tokens.put(hash(4), seen(4, TokenStatus::Enabled, None));
        tokens.ask_again(hash(4), |seen| seen.read_at);
        let let_in = |number| tokens.admit(hash(number)).is_some();
        assert_eq!([1, 2, 3, 4, 5].map(let_in), [true, false, false, false, false]);
        let used = tokens.get(hash(1)).unwrap().used_at();
        assert!(used > 1, "the use is noted: {used}");
        tokens.remove(hash(1));
        assert!(!let_in(1));
    }

    #[test]
    fn those_used_the_longest_time_ago_make_room() {
        let tokens = SeenTokens::default();
        let mut gone = Vec::new();
        for number in 0..=REMEMBERED {
            gone.extend(tokens.put(hash(number), seen(number, TokenStatus::Enabled, None)));
        }
        let mut ids: Vec<_> = gone.iter().map(|seen| seen.token.id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..MAKE_ROOM as i64).collect::<Vec<_>>());
        assert!(tokens.get(hash(0)).is_none() && tokens.get(hash(REMEMBERED)).is_some());
    }
}
