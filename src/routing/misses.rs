//! Which rebuilds misses ask for: of the channels that a lookup found and the snapshot lacks, at most once
//! a second, and no more for one that a later build left out (R3).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::ids::{ChannelId, Moment};
use super::rebuilds::Scope;
use super::snapshot::Snapshot;

/// A rebuild a second is nothing to a database, and soon enough for what lookups serve meanwhile.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub struct Misses {
    last_asked: Option<Instant>,
    /// Channels that were asked for, and when the lookup that found them began.
    asked: FxHashMap<ChannelId, Moment>,
    /// Channels that a build left out after a lookup had found them: another build would do the same.
    given_up: FxHashMap<ChannelId, Moment>,
}

impl Misses {
    /// A lookup that began at `began` found these channels open, and the snapshot did not show them so.
    pub fn found(
        &mut self,
        channels: impl IntoIterator<Item = ChannelId>,
        began: Moment,
        now: Instant,
    ) -> Option<Scope> {
        let wanted: BTreeSet<ChannelId> = channels
            .into_iter()
            .filter(|channel| !self.given_up.contains_key(channel))
            .collect();
        if wanted.is_empty() || self.last_asked.is_some_and(|at| now < at + ASK_AGAIN_AFTER) {
            return None;
        }
        self.last_asked = Some(now);
        self.asked.extend(wanted.iter().map(|channel| (*channel, began)));
        Some(Scope::Channels(wanted))
    }

    /// A build of `scope` that began at `began` is installed.
    pub fn built(&mut self, snapshot: &Snapshot, scope: &Scope, began: Moment) {
        self.given_up
            .retain(|channel, _| !scope.covers(*channel) || snapshot.left_out(*channel));
        let (given_up, scope) = (&mut self.given_up, scope);
        self.asked.retain(|channel, asked| {
            let answered = scope.covers(*channel) && began > *asked;
            if answered && snapshot.left_out(*channel) {
                given_up.insert(*channel, began);
            }
            !answered
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        // The only clock reading of these tests: every later time is reckoned from it.
        #[allow(clippy::disallowed_methods)]
        Instant::now()
    }

    #[test]
    fn r3_asks_at_most_once_a_second() {
        let (mut misses, now) = (Misses::default(), now());
        let scope = misses.found([ChannelId(1)], Moment(1), now);
        assert_eq!(scope, Some(Scope::channel(ChannelId(1))));
        assert_eq!(misses.found([ChannelId(2)], Moment(2), now), None);
        let later = now + ASK_AGAIN_AFTER;
        assert_eq!(
            misses.found([ChannelId(2)], Moment(3), later),
            Some(Scope::channel(ChannelId(2)))
        );
    }
}
