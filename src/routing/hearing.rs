//! When to ask what other nodes on the same database have changed, from which version on, and what is then read anew.
//!
//! A call only says that there may be news, and calls are lost with the connection that they come on: what is known is a
//! version, and whoever has asked from it on has missed nothing. A question that failed is asked again by itself, as no
//! other call may come. The actor only drives this: it asks when it is told to, and tells how that went.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::ids::ChannelId;
use super::rebuilds::Scope;

/// Many calls at once are answered by few questions.
const CALLS_WITHIN: Duration = Duration::from_millis(20);
/// After a question that failed; sooner, where it is asked more often anyway.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is to be asked of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The version: nothing is known yet, and all that was before it is read whole.
    Version,
    /// What was changed after this version.
    Since(i64),
}

/// What the database has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The version that is known with this.
    pub version: i64,
    /// The channels whose routes may be others now; `None`: no route has changed.
    pub channels: Option<BTreeSet<ChannelId>>,
    /// It is not known what has changed.
    pub anything: bool,
}

/// What has to be read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outdated {
    pub routes: Option<Scope>,
    /// Every remembered token; those that a change has named come besides.
    pub all_tokens: bool,
}

/// What is known of the other nodes' changes.
#[derive(Clone, Debug)]
pub struct Hearing {
    /// All that was changed up to this version was read, or its reading was asked for. `None`: nothing is known.
    known: Option<i64>,
    /// `None`: asks only when it is called.
    interval: Option<Duration>,
    ask_at: Option<Instant>,
}

impl Hearing {
    /// `known`: the database's version before the first build began; `None`: it could not be asked. Asks every
    /// `interval`, and when it is called; of zero, only then.
    pub fn new(known: Option<i64>, interval: Duration, now: Instant) -> Hearing {
        let interval = (!interval.is_zero()).then_some(interval);
        let first = interval.map(|interval| now + interval);
        Hearing {
            known,
            interval,
            ask_at: if known.is_some() { first } else { Some(now) },
        }
    }

    /// When to ask, if nobody calls before. `None`: not before.
    pub fn ask_at(&self) -> Option<Instant> {
        self.ask_at
    }

    /// Somebody has called; or listening has begun, or begun anew: whoever called before was not heard. It may come while
    /// a question is under way, which may have been answered before that change: then another one follows.
    pub fn called(&mut self, now: Instant) {
        self.ask_within(CALLS_WITHIN, now);
    }

    /// The question that is put now.
    pub fn asks(&mut self) -> Wanted {
        self.ask_at = None;
        self.known.map_or(Wanted::Version, Wanted::Since)
    }

    /// The answer to the question that was put last. What it says has to be read by builds that begin after this.
    pub fn answered(&mut self, answer: Answer, now: Instant) -> Outdated {
        if let Some(interval) = self.interval {
            self.ask_within(interval, now);
        }
        let before = self.known.replace(answer.version);
        if before.is_none() || answer.anything {
            return Outdated {
                routes: Some(Scope::Everything),
                all_tokens: true,
            };
        }
        Outdated {
            routes: answer.channels.map(Scope::Channels),
            all_tokens: false,
        }
    }

    /// The question that was put last was not answered, so nothing more is known than before.
    pub fn failed(&mut self, now: Instant) {
        let after = self
            .interval
            .map_or(AGAIN_AFTER, |interval| interval.min(AGAIN_AFTER));
        self.ask_within(after, now);
    }

    fn ask_within(&mut self, wait: Duration, now: Instant) {
        let at = now + wait;
        self.ask_at = Some(self.ask_at.map_or(at, |earlier| earlier.min(at)));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's time has to start somewhere")]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    fn answer(version: i64, channels: &[i64]) -> Answer {
        let channels: BTreeSet<ChannelId> = channels.iter().copied().map(ChannelId).collect();
        Answer {
            version,
            channels: (!channels.is_empty()).then_some(channels),
            anything: false,
        }
    }

    fn everything() -> Outdated {
        Outdated {
            routes: Some(Scope::Everything),
            all_tokens: true,
        }
    }

    #[test]
    fn asks_every_interval_from_what_is_known_on() {
        let now = Instant::now();
        let mut hearing = Hearing::new(Some(7), INTERVAL, now);
        assert_eq!(hearing.ask_at(), Some(now + INTERVAL));
        assert_eq!(hearing.asks(), Wanted::Since(7));
        assert_eq!(hearing.ask_at(), None, "one question at a time");
        assert_eq!(hearing.answered(answer(7, &[]), now), Outdated::default());
        assert_eq!(hearing.ask_at(), Some(now + INTERVAL));
        assert_eq!(hearing.asks(), Wanted::Since(7));
        let changed = hearing.answered(answer(9, &[3, 4]), now);
        let channels = BTreeSet::from([ChannelId(3), ChannelId(4)]);
        assert_eq!(changed.routes, Some(Scope::Channels(channels)));
        assert!(!changed.all_tokens);
        assert_eq!(hearing.asks(), Wanted::Since(9));
    }

    #[test]
    fn many_calls_are_one_question_and_soon() {
        let now = Instant::now();
        let mut hearing = Hearing::new(Some(1), Duration::ZERO, now);
        assert_eq!(hearing.ask_at(), None, "only when it is called");
        hearing.called(now);
        let soon = now + CALLS_WITHIN;
        hearing.called(now + CALLS_WITHIN / 2);
        assert_eq!(
            hearing.ask_at(),
            Some(soon),
            "a later call does not put it off for ever"
        );
        hearing.asks();
        hearing.answered(answer(2, &[1]), soon);
        assert_eq!(hearing.ask_at(), None);
    }

    #[test]
    fn a_call_during_a_question_is_asked_after() {
        let now = Instant::now();
        for interval in [Duration::ZERO, INTERVAL] {
            for is_answered in [true, false] {
                let mut hearing = Hearing::new(Some(1), interval, now);
                hearing.asks();
                hearing.called(now);
                if is_answered {
                    hearing.answered(answer(1, &[]), now);
                } else {
                    hearing.failed(now);
                }
                assert_eq!(hearing.ask_at(), Some(now + CALLS_WITHIN));
            }
        }
    }

    #[test]
    fn a_question_that_failed_is_asked_again_though_nobody_calls() {
        let now = Instant::now();
        let short = AGAIN_AFTER / 4;
        for (interval, again) in [
            (Duration::ZERO, AGAIN_AFTER),
            (INTERVAL, AGAIN_AFTER),
            (short, short),
        ] {
            let mut hearing = Hearing::new(Some(5), interval, now);
            hearing.called(now);
            hearing.asks();
            hearing.failed(now);
            assert_eq!(hearing.ask_at(), Some(now + again));
            assert_eq!(
                hearing.asks(),
                Wanted::Since(5),
                "nothing more is known than before"
            );
        }
    }

    #[test]
    fn who_knows_nothing_asks_at_once_and_reads_everything() {
        let now = Instant::now();
        for interval in [Duration::ZERO, INTERVAL] {
            let mut hearing = Hearing::new(None, interval, now);
            assert_eq!(hearing.ask_at(), Some(now));
            assert_eq!(hearing.asks(), Wanted::Version);
            hearing.failed(now);
            assert_eq!(hearing.asks(), Wanted::Version);
            assert_eq!(hearing.answered(answer(3, &[]), now), everything());
            assert_eq!(hearing.asks(), Wanted::Since(3));
        }
    }

    #[test]
    fn what_is_not_known_to_be_told_whole_is_read_whole() {
        let now = Instant::now();
        let mut hearing = Hearing::new(Some(9), INTERVAL, now);
        hearing.asks();
        let put_back = Answer {
            anything: true,
            ..answer(4, &[1])
        };
        assert_eq!(hearing.answered(put_back, now), everything());
        assert_eq!(
            hearing.asks(),
            Wanted::Since(4),
            "an earlier state of the database"
        );
    }
}
