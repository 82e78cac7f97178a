//! The newest that has been seen of a channel and its keys, so that what they have shown can be told from what their
//! earlier selves had shown.
//!
//! Reads may arrive in another order than they were made: a build that began before a lookup may show more, or less,
//! than the lookup did. What orders selves is the row's own `status_changed_at`, which only ever grows.

use super::ids::{KeyId, Moment};
use super::rows::Secret;
use super::snapshot::{Channel, Key};

/// A channel as it was when it was last met.
#[derive(Clone, Debug)]
pub struct Met {
    /// When the latest read began that has shown it.
    pub read: Moment,
    /// Unix milliseconds.
    status_changed_at: i64,
    keys: Vec<(KeyId, i64, Secret)>,
}

/// What is another than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewed {
    Channel,
    Keys(Vec<KeyId>),
}

impl Met {
    pub fn new(channel: &Channel, read: Moment) -> Met {
        Met {
            read,
            status_changed_at: channel.status_changed_at,
            keys: channel.keys.iter().map(self_of).collect(),
        }
    }

    /// Takes note of what a read shows, and tells what of it is newer than all before.
    pub fn meet(&mut self, channel: &Channel, read: Moment) -> Renewed {
        self.read = self.read.max(read);
        let renewed: Vec<KeyId> = channel
            .keys
            .iter()
            .filter(|key| self.renew(key))
            .map(|key| key.id)
            .collect();
        if channel.status_changed_at > self.status_changed_at {
            self.status_changed_at = channel.status_changed_at;
            return Renewed::Channel;
        }
        Renewed::Keys(renewed)
    }

    fn renew(&mut self, key: &Key) -> bool {
        let Some(known) = self.keys.iter_mut().find(|(id, ..)| *id == key.id) else {
            self.keys.push(self_of(key));
            return true;
        };
        let (_, changed_at, secret) = &*known;
        let is_newer = key.status_changed_at > *changed_at
            || key.status_changed_at == *changed_at && key.spec.secret != *secret;
        if is_newer {
            *known = self_of(key);
        }
        is_newer
    }
}

fn self_of(key: &Key) -> (KeyId, i64, Secret) {
    (key.id, key.status_changed_at, key.spec.secret.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::routing::stage::{Rows, snapshot};

    /// Channel 1 with these keys, each changed at its time.
    fn channel(changed_at: i64, keys: &[(i64, i64)]) -> Channel {
        let rows = Rows {
            keys: keys.iter().map(|(id, _)| (*id, true)).collect(),
            ..Rows::new(1)
        };
        let known = snapshot([&rows], 1);
        let mut channel = known
            .channels()
            .next()
            .map(Arc::clone)
            .map(Arc::unwrap_or_clone)
            .expect("one");
        channel.status_changed_at = changed_at;
        for (key, (_, at)) in channel.keys.iter_mut().zip(keys) {
            key.status_changed_at = *at;
        }
        channel
    }

    #[test]
    fn only_what_changed_later_is_another() {
        let mut met = Met::new(&channel(5, &[(11, 5)]), Moment(2));
        let keys = |keys: &[i64]| Renewed::Keys(keys.iter().copied().map(KeyId).collect());
        let mut check =
            |shows: &Channel, expected| assert_eq!(met.meet(shows, Moment(3)), expected, "{shows:?}");
        check(&channel(5, &[(11, 5)]), keys(&[]));
        check(&channel(5, &[(11, 6), (12, 5)]), keys(&[11, 12]));
        // Reads that were made earlier, and arrive later.
        check(&channel(4, &[(11, 4)]), keys(&[]));
        check(&channel(5, &[]), keys(&[]));
        check(&channel(5, &[(11, 6), (12, 5)]), keys(&[]));
        check(&channel(7, &[(11, 6)]), Renewed::Channel);
        check(&channel(5, &[(11, 6)]), keys(&[]));
    }
}
