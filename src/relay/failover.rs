//! Which attempt comes next, or none. Pure: it is told how attempts ended and what time it is.
//!
//! Other keys and channels of the asked model come first, at once; which they are is the router's to choose from
//! what was tried. Channels that cool come when nothing else is left.

use std::time::Instant;

use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::outcome::{Excludes, Next, Outcome};
use crate::routing::pick::{CoolingRule, Tried};
use crate::routing::refusal::Refusal;

/// However cheap they are, no request tries more often.
pub const MAX_ATTEMPTS: u32 = 16;

/// What a request may spend.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Tries after the first that cost an upstream something.
    pub retries: u32,
    /// No attempt begins after this.
    pub deadline: Instant,
}

/// How far one request has come.
#[derive(Debug)]
pub struct Failover {
    budget: Budget,
    tried: Tried,
    cooling: CoolingRule,
    attempts: u32,
    /// Attempts that count against `--retries`.
    counted: u32,
}

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask the router for a channel.
    Pick,
    /// Tell the client what there is to tell.
    End,
}

impl Failover {
    pub fn new(budget: Budget) -> Failover {
        Failover {
            budget,
            tried: Tried::default(),
            cooling: CoolingRule::PassOver,
            attempts: 0,
            counted: 0,
        }
    }

    /// What the next pick keeps away from.
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// Whether the next pick may give a channel that cools.
    pub fn cooling(&self) -> CoolingRule {
        self.cooling
    }

    /// Attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub fn deadline(&self) -> Instant {
        self.budget.deadline
    }

    /// An attempt begins.
    pub fn begins(&mut self) {
        self.attempts += 1;
    }

    /// The router had no channel. If one cools, it is asked for once more (R13: cooling never refuses).
    pub fn refused(&mut self, refusal: &Refusal) -> Step {
        match (refusal, self.cooling) {
            (Refusal::Overloaded { retry_after: Some(_) }, CoolingRule::PassOver) => {
                self.cooling = CoolingRule::SoonestDue;
                Step::Pick
            }
            _ => Step::End,
        }
    }

    /// The attempt at this channel with this key failed.
    pub fn failed(
        &mut self,
        channel: ChannelId,
        key: Option<KeyId>,
        outcome: &Outcome,
        now: Instant,
    ) -> Step {
        match (outcome.excludes(), key) {
            (Excludes::Nothing, _) => {}
            (Excludes::Key, Some(key)) => self.tried.key(key),
            (Excludes::Key, None) | (Excludes::Channel, _) => self.tried.channel(channel),
        }
        self.counted += u32::from(outcome.counts_against_retries());
        match outcome.next() {
            Next::Elsewhere if self.may_go_on(now) => Step::Pick,
            Next::Elsewhere | Next::Done | Next::OtherModel | Next::PassOn | Next::Stop => Step::End,
        }
    }

    fn may_go_on(&self, now: Instant) -> bool {
        self.attempts < MAX_ATTEMPTS && self.counted <= self.budget.retries && now < self.budget.deadline
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::routing::outcome::{Breakage, Lack};

    fn refused() -> Outcome {
        Outcome::Refused {
            reason: Arc::from("401"),
        }
    }

    fn broken() -> Outcome {
        Outcome::Broken(Breakage::status(500))
    }

    fn failover() -> (Failover, Instant) {
        let now = Instant::now();
        let budget = Budget {
            retries: 2,
            deadline: now + Duration::from_secs(60),
        };
        (Failover::new(budget), now)
    }

    /// Attempts that are made while every one ends in `outcome`.
    fn attempts_ending_in(outcome: &Outcome) -> u32 {
        let (mut failover, now) = failover();
        loop {
            failover.begins();
            let id = i64::from(failover.attempts());
            if failover.failed(ChannelId(id), Some(KeyId(id)), outcome, now) == Step::End {
                return failover.attempts();
            }
        }
    }

    #[test]
    fn dead_keys_and_missing_models_do_not_count_as_retries() {
        for (outcome, attempts) in [
            (broken(), 3),
            (Outcome::Silent, 3),
            (
                Outcome::Busy {
                    status: 429,
                    retry_after: None,
                },
                3,
            ),
            (refused(), MAX_ATTEMPTS),
            (Outcome::NotHere(Lack::Model), MAX_ATTEMPTS),
            (Outcome::TooLong, 1),
            (Outcome::Filtered, 1),
            (Outcome::BadRequest, 1),
            (Outcome::Gone, 1),
        ] {
            assert_eq!(attempts_ending_in(&outcome), attempts, "{outcome:?}");
        }
    }

    #[test]
    fn r2_busy_and_refused_exclude_the_key_every_other_failure_the_channel() {
        let (mut failover, now) = failover();
        let _ = failover.failed(ChannelId(1), Some(KeyId(11)), &refused(), now);
        assert!(failover.tried().has_key(KeyId(11)) && !failover.tried().has_channel(ChannelId(1)));
        let _ = failover.failed(ChannelId(2), Some(KeyId(21)), &broken(), now);
        assert!(failover.tried().has_channel(ChannelId(2)));
        // No key to leave out: the channel it is.
        let _ = failover.failed(ChannelId(3), None, &refused(), now);
        assert!(failover.tried().has_channel(ChannelId(3)));
    }

    #[test]
    fn past_its_deadline_nothing_begins() {
        let (mut failover, now) = failover();
        failover.begins();
        let late = now + Duration::from_secs(60);
        assert_eq!(failover.failed(ChannelId(1), None, &broken(), late), Step::End);
    }

    #[test]
    fn r13_what_cools_is_asked_for_once_before_a_refusal() {
        let (mut failover, _) = failover();
        let cooling = Refusal::Overloaded {
            retry_after: Some(Duration::from_secs(1)),
        };
        assert_eq!(failover.refused(&cooling), Step::Pick);
        assert_eq!(failover.cooling(), CoolingRule::SoonestDue);
        assert_eq!(failover.refused(&cooling), Step::End);
        for refusal in [
            Refusal::Overloaded { retry_after: None },
            Refusal::NoAvailableChannel,
            Refusal::RoutingUnavailable,
            Refusal::RateLimited {
                status: 429,
                retry_after: Duration::from_secs(9),
            },
        ] {
            let (mut failover, _) = self::failover();
            assert_eq!(failover.refused(&refusal), Step::End, "{refusal:?}");
        }
    }
}
