use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::routing::ids::ModelName;
use crate::routing::outcome::{Breakage, Lack};
use crate::routing::tried::Turn;

const RETRY_WAIT: Duration = Duration::from_secs(5);

/// A request on its way, and the router's part of it played by hand.
struct Story {
    failover: Failover,
    now: Instant,
    rng: SmallRng,
}

impl Story {
    /// For the first of these models, the others its fallbacks.
    fn of(models: &[&str]) -> Story {
        let now = Instant::now();
        let spec = |name: &&str| Arc::new(ModelSpec::plain(ModelName::new(name)));
        let wanted = Wanted {
            groups: Arc::from([GroupName::new("g")]),
            protocol: Protocol::OpenAi,
            models: models.iter().map(spec).collect(),
            conversation: Some(7),
            state: None,
        };
        let budget = Budget {
            retries: 2,
            retry_wait: RETRY_WAIT,
            deadline: now + Duration::from_secs(60),
        };
        Story {
            failover: Failover::new(wanted, budget),
            now,
            rng: SmallRng::seed_from_u64(1),
        }
    }

    fn fails(&mut self, place: Place, outcome: &Outcome) -> Step {
        self.failover.begins();
        self.failover.failed(place, outcome, self.now, &mut self.rng)
    }

    fn refused(&mut self, refusal: Refusal) -> Step {
        self.failover.refused(refusal, self.now)
    }

    /// What is asked for: the model, whether what cools is passed over, and whether it is waited for.
    #[track_caller]
    fn check_asks(&self, model: &str, cooling: CoolingRule, waits: bool) {
        let question = self.failover.question();
        let patience = self.failover.patience(self.now);
        let asked = (question.model.as_str(), question.cooling, patience.is_some());
        assert_eq!(asked, (model, cooling, waits));
    }

    fn turn(&self, channel: i64) -> Turn {
        let tried = self.failover.question().tried;
        tried.channel_turn(ChannelId(channel), self.now)
    }
}

use CoolingRule::{PassOver, SoonestDue};

fn at(channel: i64) -> Place {
    Place {
        channel: ChannelId(channel),
        key: Some(KeyId(channel * 10)),
        probe: false,
    }
}

fn probing(channel: i64) -> Place {
    Place {
        probe: true,
        ..at(channel)
    }
}

fn refused_key() -> Outcome {
    Outcome::Refused {
        reason: Arc::from("401"),
    }
}

fn broken() -> Outcome {
    Outcome::Broken(Breakage::status(500))
}

fn busy(seconds: Option<u64>) -> Outcome {
    Outcome::Busy {
        status: 429,
        retry_after: seconds.map(Duration::from_secs),
    }
}

fn cooling() -> Refusal {
    Refusal::Overloaded {
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// Attempts that are made while every one, each at another channel, ends in `outcome`.
fn attempts_ending_in(outcome: &Outcome) -> u32 {
    let mut story = Story::of(&["m"]);
    loop {
        let next = at(i64::from(story.failover.attempts()));
        if story.fails(next, outcome) == Step::End {
            return story.failover.attempts();
        }
    }
}

#[test]
fn dead_keys_and_missing_models_do_not_count_as_retries() {
    for (outcome, attempts) in [
        (broken(), 3),
        (Outcome::Silent, 3),
        (busy(None), 3),
        (refused_key(), MAX_ATTEMPTS),
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
    let mut story = Story::of(&["m"]);
    let _ = story.fails(at(1), &refused_key());
    let _ = story.fails(at(2), &Outcome::Silent);
    let keyless = Place { key: None, ..at(3) };
    let _ = story.fails(keyless, &refused_key());
    let tried = story.failover.question().tried;
    assert_eq!(tried.key_turn(KeyId(10), story.now), Turn::Never);
    assert_eq!(
        [1, 2, 3].map(|channel| story.turn(channel)),
        [Turn::Now, Turn::Never, Turn::Never]
    );
}

#[test]
fn past_its_deadline_nothing_begins() {
    let mut story = Story::of(&["m"]);
    story.now += Duration::from_secs(60);
    assert_eq!(story.fails(at(1), &broken()), Step::End);
}

#[test]
fn one_channel_and_one_passing_500_rests_and_is_tried_again() {
    let mut story = Story::of(&["m", "spare"]);
    story.check_asks("m", PassOver, false);
    assert_eq!(story.fails(at(1), &broken()), Step::Pick);
    story.check_asks("m", PassOver, false);
    assert_eq!(story.turn(1), Turn::Never, "others first");
    assert_eq!(story.refused(Refusal::Exhausted), Step::Pick);
    story.check_asks("m", PassOver, true);
    let Turn::From(due) = story.turn(1) else {
        panic!("it rests")
    };
    let rest = due - story.now;
    assert!(
        rest >= BROKEN_REST.mul_f64(LEAST_SHARE) && rest <= BROKEN_REST,
        "{rest:?}"
    );
    // It cools by now: another model is at hand.
    assert_eq!(story.refused(cooling()), Step::Pick);
    story.check_asks("spare", PassOver, false);
}

#[test]
fn r13_order_others_then_fallbacks_then_the_asked_model_soonest_due() {
    let mut story = Story::of(&["m", "spare", "last"]);
    for model in ["spare", "last"] {
        assert_eq!(story.refused(cooling()), Step::Pick);
        story.check_asks(model, PassOver, false);
    }
    assert_eq!(story.refused(Refusal::ModelNotFound), Step::Pick);
    story.check_asks("m", SoonestDue, true);
    assert_eq!(story.refused(cooling()), Step::End);
    assert_eq!(*story.failover.refusal(), cooling(), "the asked model's");
}

#[test]
fn r13_where_nothing_can_be_waited_for_nothing_is() {
    for refusal in [
        Refusal::NoAvailableChannel,
        Refusal::ModelNotFound,
        Refusal::ProtocolNotServed,
        Refusal::RoutingUnavailable,
        Refusal::Exhausted,
    ] {
        let mut story = Story::of(&["m"]);
        assert_eq!(story.refused(refusal.clone()), Step::End);
        assert_eq!(*story.failover.refusal(), refusal);
    }
}

#[test]
fn r13_a_probe_that_failed_is_not_tried_again() {
    let mut story = Story::of(&["m"]);
    assert_eq!(story.fails(probing(1), &broken()), Step::Pick);
    assert_eq!(story.refused(Refusal::Exhausted), Step::End);
    assert_eq!(story.turn(1), Turn::Never);
}

#[test]
fn a_retry_after_is_waited_for_if_it_is_short() {
    for (seconds, step) in [(2, Step::Pick), (5, Step::Pick), (6, Step::End)] {
        let mut story = Story::of(&["m"]);
        assert_eq!(story.fails(at(1), &busy(Some(seconds))), Step::Pick);
        let _ = story.refused(Refusal::Exhausted);
        let again = story.refused(Refusal::Exhausted);
        assert_eq!(again, step, "{seconds}");
        if step == Step::Pick {
            story.check_asks("m", SoonestDue, true);
            let until = story.failover.patience(story.now);
            assert!(until > Some(story.now + Duration::from_secs(seconds)));
            let tried = story.failover.question().tried;
            let due = story.now + Duration::from_secs(seconds);
            assert_eq!(tried.key_turn(KeyId(10), story.now), Turn::From(due));
        }
    }
}

#[test]
fn rests_grow_and_never_pass_retry_wait() {
    let mut story = Story::of(&["m"]);
    story.failover.budget.retries = 12;
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        assert_eq!(story.fails(at(1), &broken()), Step::Pick);
        let _ = story.refused(Refusal::Exhausted);
        let Turn::From(due) = story.turn(1) else {
            panic!("it rests")
        };
        assert!(due - story.now <= RETRY_WAIT);
        longest = longest.max(due - story.now);
    }
    assert!(longest >= RETRY_WAIT.mul_f64(LEAST_SHARE));
}

#[test]
fn too_long_goes_to_a_fallback_and_never_back() {
    let mut story = Story::of(&["m", "large"]);
    assert_eq!(story.fails(at(1), &Outcome::TooLong), Step::Pick);
    story.check_asks("large", PassOver, false);
    assert_eq!(
        story.turn(1),
        Turn::Now,
        "the same channel may serve a larger model"
    );
    assert_eq!(story.refused(cooling()), Step::End, "not the same model again");
    for outcome in [Outcome::Filtered, Outcome::BadRequest, Outcome::Gone] {
        let mut story = Story::of(&["m", "large"]);
        assert_eq!(story.fails(at(1), &outcome), Step::End, "never routed around");
    }
}

#[test]
fn a_fallback_that_cannot_take_the_request_is_passed_over() {
    let mut story = Story::of(&["m", "spare", "last"]);
    assert_eq!(story.fails(at(1), &busy(None)), Step::Pick);
    assert_eq!(story.refused(cooling()), Step::Pick, "a key rests");
    assert_eq!(story.refused(cooling()), Step::Pick);
    story.check_asks("spare", PassOver, false);
    assert!(story.failover.is_at_fallback());
    assert_eq!(story.fails(at(2), &Outcome::BadRequest), Step::Pick);
    story.check_asks("last", PassOver, false);
    assert_eq!(story.fails(at(3), &Outcome::BadRequest), Step::Pick);
    story.check_asks("m", SoonestDue, true);
    assert!(!story.failover.is_at_fallback());
    assert_eq!(
        story.fails(at(1), &Outcome::BadRequest),
        Step::End,
        "the asked one's word"
    );

    let mut story = Story::of(&["m", "spare", "last"]);
    assert_eq!(story.refused(cooling()), Step::Pick);
    assert_eq!(
        story.fails(at(2), &Outcome::Filtered),
        Step::End,
        "never routed around"
    );
}

#[test]
fn r2_a_key_refused_under_a_fallback_is_dead_for_the_asked_model_too() {
    let mut story = Story::of(&["m", "spare"]);
    assert_eq!(story.fails(at(1), &busy(None)), Step::Pick);
    let _ = story.refused(Refusal::Exhausted);
    let _ = story.refused(Refusal::Exhausted);
    story.check_asks("spare", PassOver, false);
    let other = Place {
        key: Some(KeyId(11)),
        ..at(1)
    };
    assert_eq!(story.fails(other, &refused_key()), Step::Pick);
    let keyless = Place { key: None, ..at(2) };
    assert_eq!(story.fails(keyless, &refused_key()), Step::Pick);
    assert_eq!(story.fails(at(3), &broken()), Step::Pick);
    let _ = story.refused(Refusal::Exhausted);
    assert_eq!(story.refused(Refusal::Exhausted), Step::Pick);
    story.check_asks("m", SoonestDue, true);
    let tried = story.failover.question().tried;
    assert_eq!(tried.key_turn(KeyId(11), story.now), Turn::Never);
    assert_ne!(tried.key_turn(KeyId(10), story.now), Turn::Never, "it only rests");
    assert_eq!(
        [2, 3].map(|channel| story.turn(channel)),
        [Turn::Never, Turn::Now],
        "what was broken for another model may do for this one"
    );
}

#[test]
fn each_model_has_retries_of_its_own() {
    let mut story = Story::of(&["m", "spare"]);
    for channel in 1..=3 {
        story.check_asks("m", PassOver, false);
        assert_eq!(story.fails(at(channel), &broken()), Step::Pick);
    }
    for channel in 4..=5 {
        story.check_asks("spare", PassOver, false);
        assert_eq!(story.fails(at(channel), &broken()), Step::Pick);
    }
    assert_eq!(story.fails(at(6), &broken()), Step::End, "both are spent");
}

#[test]
fn what_failed_for_one_model_comes_last_for_the_next() {
    let mut story = Story::of(&["m", "spare"]);
    let _ = story.fails(at(1), &refused_key());
    let _ = story.fails(at(2), &Outcome::Silent);
    let _ = story.fails(at(3), &busy(None));
    assert_eq!(story.refused(cooling()), Step::Pick, "a key rests");
    assert_eq!(story.refused(cooling()), Step::Pick);
    story.check_asks("spare", PassOver, false);
    let tried = story.failover.question().tried;
    assert_eq!(
        tried.key_turn(KeyId(10), story.now),
        Turn::Never,
        "dead for every model"
    );
    assert_eq!(
        [1, 2, 3].map(|channel| story.turn(channel)),
        [Turn::Now, Turn::Never, Turn::Now]
    );
    assert_eq!(story.refused(Refusal::Exhausted), Step::Pick);
    story.check_asks("spare", PassOver, true);
    assert_eq!(story.turn(2), Turn::Now, "nothing else is left");
}

#[test]
fn affinity_is_each_models_own_setting() {
    let mut story = Story::of(&["m", "spare"]);
    story.failover.wanted.models[1] = Arc::new(ModelSpec {
        affinity: false,
        ..ModelSpec::plain(ModelName::new("spare"))
    });
    assert_eq!(story.failover.question().affinity, Some(7));
    let _ = story.refused(cooling());
    assert_eq!(story.failover.question().affinity, None);
}
