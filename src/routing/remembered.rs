//! Which channel and key hold what an earlier answer left behind: a stored response, a cached content.
//! Bounded, in memory, of this node: a hint where to go first, never a condition.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use lru::LruCache;

use super::ids::{ChannelId, KeyId};

/// Each takes about a hundred bytes.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// The name that an upstream gave to what it keeps (a response's id), hashed: two that meet cost one request a
/// detour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateId(u64);

impl StateId {
    pub fn of(id: &str) -> StateId {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        StateId(hasher.finish())
    }
}

/// Where an upstream's state lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    pub channel: ChannelId,
    /// `None` for a channel without keys.
    pub key: Option<KeyId>,
}

/// The homes of what was answered last.
#[derive(Debug)]
pub struct Remembered(LruCache<StateId, Home>);

impl Default for Remembered {
    fn default() -> Self {
        // Not `new`: it would take the memory of all places at once.
        let mut homes = LruCache::unbounded();
        homes.resize(REMEMBERED);
        Remembered(homes)
    }
}

impl Clone for Remembered {
    fn clone(&self) -> Self {
        // As in `default`: the cache's own clone takes the memory of all places too.
        let mut copy = Remembered::default();
        for (id, home) in self.0.iter().rev() {
            copy.0.put(*id, *home);
        }
        copy
    }
}

impl Remembered {
    pub fn remember(&mut self, id: StateId, home: Home) {
        self.0.put(id, home);
    }

    /// Asking keeps it: a conversation that goes on names its last response only.
    pub fn home(&mut self, id: StateId) -> Option<Home> {
        self.0.get(&id).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut remembered = Remembered::default();
        let home = |n: usize| Home {
            channel: ChannelId(n as i64),
            key: None,
        };
        let id = |n: usize| StateId::of(&format!("resp_{n}"));
        for n in 0..=REMEMBERED.get() {
            remembered.remember(id(n), home(n));
        }
        assert_eq!(remembered.home(id(0)), None);
        assert_eq!(remembered.home(id(1)), Some(home(1)));
        assert_eq!(
            remembered.home(id(REMEMBERED.get())),
            Some(home(REMEMBERED.get()))
        );
    }
}
