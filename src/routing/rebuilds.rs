//! Which build answers which asker (R5), and when a failed one is tried again (R6).
//!
//! At most one build runs. Askers that arrive meanwhile are gathered into exactly one more, so that every
//! answer comes from a build that began after its question. The actor only drives this: it starts what it
//! is told to start, and tells when a build has ended or its deadline has passed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::ids::ChannelId;

/// So many named channels are read faster as everything.
const NAMED_CHANNELS_AT_MOST: usize = 500;

/// A database that just came back deserves a quick second try; one that is away is not to be hammered.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LONGEST: Duration = Duration::from_secs(15);

/// What a build reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    Channels(BTreeSet<ChannelId>),
}

/// Who asks, and so whether the backoff after a failure is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A miss or the timer: waits.
    Background,
    /// An operator: starts at once.
    Admin,
}

/// Tells builds apart; a later one has a greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildNumber(pub u64);

/// What the actor must do next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Start {
        number: BuildNumber,
        scope: Scope,
    },
    /// Call `wake` at that time.
    WakeAt(Instant),
    Rest,
}

/// The state of rebuilding; `T` is whatever the actor needs to answer an asker.
#[derive(Clone, Debug)]
pub struct Rebuilds<T> {
    running: Option<Running<T>>,
    next: Option<Next<T>>,
    last_number: u64,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Running<T> {
    number: BuildNumber,
    scope: Scope,
    askers: Vec<T>,
}

#[derive(Clone, Debug)]
struct Next<T> {
    scope: Scope,
    urgency: Urgency,
    askers: Vec<T>,
}

impl<T> Default for Rebuilds<T> {
    fn default() -> Self {
        Self {
            running: None,
            next: None,
            last_number: 0,
            failures: 0,
            not_before: None,
        }
    }
}

impl<T> Rebuilds<T> {
    /// Someone asks; with an `asker`, someone waits for the answer.
    pub fn ask(&mut self, scope: Scope, urgency: Urgency, asker: Option<T>, now: Instant) -> Step {
        match &mut self.next {
            Some(next) => {
                next.scope.widen(scope);
                next.urgency = next.urgency.max(urgency);
                next.askers.extend(asker);
            }
            None => {
                self.next = Some(Next {
                    scope,
                    urgency,
                    askers: asker.into_iter().collect(),
                })
            }
        }
        self.proceed(now)
    }

    /// A build has ended, or its deadline has passed. Returns its askers, to be told `succeeded` or not; of a
    /// build that was given up before, nobody.
    pub fn ended(
        &mut self,
        number: BuildNumber,
        succeeded: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> (Vec<T>, Step) {
        let Some(running) = self.running.take_if(|running| running.number == number) else {
            return (Vec::new(), Step::Rest);
        };
        if succeeded {
            self.failures = 0;
            self.not_before = None;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.not_before = Some(now + backoff(self.failures, rng));
            self.retry(running.scope);
        }
        (running.askers, self.proceed(now))
    }

    /// The time that `WakeAt` named has come, or any other.
    pub fn wake(&mut self, now: Instant) -> Step {
        self.proceed(now)
    }

    /// Whether the build is the one that runs: only its result may be installed.
    pub fn is_running(&self, number: BuildNumber) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.number == number)
    }

    /// Builds that failed since the last one that did not.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// What failed is asked for again, so that a lost patch is not forgotten.
    fn retry(&mut self, scope: Scope) {
        match &mut self.next {
            Some(next) => next.scope.widen(scope),
            None => {
                self.next = Some(Next {
                    scope,
                    urgency: Urgency::Background,
                    askers: Vec::new(),
                })
            }
        }
    }

    fn proceed(&mut self, now: Instant) -> Step {
        let (None, Some(next)) = (&self.running, &self.next) else {
            return Step::Rest;
        };
        match self.not_before {
            Some(at) if next.urgency == Urgency::Background && now < at => return Step::WakeAt(at),
            _ => {}
        }
        self.last_number += 1;
        let number = BuildNumber(self.last_number);
        match self.next.take() {
            Some(Next { scope, askers, .. }) => {
                self.running = Some(Running {
                    number,
                    scope: scope.clone(),
                    askers,
                });
                Step::Start { number, scope }
            }
            None => Step::Rest,
        }
    }
}

impl Scope {
    pub fn channel(id: ChannelId) -> Scope {
        Scope::Channels(BTreeSet::from([id]))
    }

    pub fn covers(&self, id: ChannelId) -> bool {
        match self {
            Scope::Everything => true,
            Scope::Channels(ids) => ids.contains(&id),
        }
    }

    fn widen(&mut self, other: Scope) {
        match (&mut *self, other) {
            (Scope::Channels(ids), Scope::Channels(more)) => {
                ids.extend(more);
                if ids.len() > NAMED_CHANNELS_AT_MOST {
                    *self = Scope::Everything;
                }
            }
            _ => *self = Scope::Everything,
        }
    }
}

/// Doubles with each failure up to its longest; half of it is jitter, so that nodes do not come together.
fn backoff(failures: u32, rng: &mut impl Rng) -> Duration {
    let full = BACKOFF_FIRST
        .saturating_mul(1 << (failures - 1).min(10))
        .min(BACKOFF_LONGEST);
    full.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn stage() -> (Rebuilds<u32>, Instant, SmallRng) {
        // The only clock reading of these tests: every later time is reckoned from it.
        #[allow(clippy::disallowed_methods)]
        (Rebuilds::default(), Instant::now(), SmallRng::seed_from_u64(1))
    }

    fn started(step: Step) -> BuildNumber {
        match step {
            Step::Start { number, .. } => number,
            other => panic!("no build was started but {other:?}"),
        }
    }

    #[test]
    fn r5_thousand_askers_cost_one_more_build() {
        let (mut rebuilds, now, mut rng) = stage();
        let first = started(rebuilds.ask(Scope::Everything, Urgency::Admin, Some(0), now));
        for asker in 1..=1000 {
            assert_eq!(
                rebuilds.ask(Scope::Everything, Urgency::Admin, Some(asker), now),
                Step::Rest
            );
        }
        let (answered, step) = rebuilds.ended(first, true, now, &mut rng);
        assert_eq!(
            answered,
            [0],
            "those who asked during a build are not answered by it"
        );
        let second = started(step);
        let (answered, step) = rebuilds.ended(second, true, now, &mut rng);
        assert_eq!(answered.len(), 1000);
        assert_eq!(step, Step::Rest);
    }

    #[test]
    fn r5_scopes_widen() {
        let (mut rebuilds, now, mut rng) = stage();
        let first = started(rebuilds.ask(Scope::channel(ChannelId(1)), Urgency::Admin, None, now));
        let _ = rebuilds.ask(Scope::channel(ChannelId(2)), Urgency::Background, None, now);
        let _ = rebuilds.ask(Scope::channel(ChannelId(3)), Urgency::Background, None, now);
        let (_, step) = rebuilds.ended(first, true, now, &mut rng);
        let scope = Scope::Channels(BTreeSet::from([ChannelId(2), ChannelId(3)]));
        assert_eq!(
            step,
            Step::Start {
                number: BuildNumber(2),
                scope
            }
        );
        let _ = rebuilds.ask(Scope::channel(ChannelId(4)), Urgency::Background, None, now);
        let _ = rebuilds.ask(Scope::Everything, Urgency::Background, None, now);
        let (_, step) = rebuilds.ended(BuildNumber(2), true, now, &mut rng);
        assert_eq!(
            step,
            Step::Start {
                number: BuildNumber(3),
                scope: Scope::Everything
            }
        );
    }

    #[test]
    fn r6_failure_is_retried_after_a_backoff_and_an_admin_does_not_wait() {
        let (mut rebuilds, now, mut rng) = stage();
        let first = started(rebuilds.ask(Scope::channel(ChannelId(7)), Urgency::Background, Some(1), now));
        let (answered, step) = rebuilds.ended(first, false, now, &mut rng);
        assert_eq!(answered, [1]);
        let Step::WakeAt(at) = step else {
            panic!("no backoff but {step:?}")
        };
        assert!(at >= now + BACKOFF_FIRST / 2 && at <= now + BACKOFF_FIRST);
        assert_eq!(
            rebuilds.ask(Scope::Everything, Urgency::Background, None, now),
            Step::WakeAt(at)
        );
        let step = rebuilds.ask(Scope::channel(ChannelId(8)), Urgency::Admin, Some(2), now);
        assert_eq!(
            step,
            Step::Start {
                number: BuildNumber(2),
                scope: Scope::Everything
            }
        );
    }

    #[test]
    fn r6_backoff_ends_by_itself() {
        let (mut rebuilds, now, mut rng) = stage();
        let first = started(rebuilds.ask(Scope::channel(ChannelId(7)), Urgency::Admin, None, now));
        let (_, step) = rebuilds.ended(first, false, now, &mut rng);
        let Step::WakeAt(at) = step else {
            panic!("no backoff but {step:?}")
        };
        assert_eq!(rebuilds.wake(now), Step::WakeAt(at));
        let again = rebuilds.wake(at);
        assert_eq!(
            again,
            Step::Start {
                number: BuildNumber(2),
                scope: Scope::channel(ChannelId(7))
            }
        );
    }

    #[test]
    fn r5_a_build_given_up_answers_nobody_later() {
        let (mut rebuilds, now, mut rng) = stage();
        let slow = started(rebuilds.ask(Scope::Everything, Urgency::Admin, Some(1), now));
        let _ = rebuilds.ask(Scope::Everything, Urgency::Admin, Some(2), now);
        let (_, step) = rebuilds.ended(slow, false, now, &mut rng);
        let next = started(step);
        assert!(!rebuilds.is_running(slow));
        assert_eq!(rebuilds.ended(slow, true, now, &mut rng), (vec![], Step::Rest));
        assert!(rebuilds.is_running(next));
    }
}
