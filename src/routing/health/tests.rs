//! Health rule by rule. Time is a number that the test moves.

mod properties;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::routing::outcome::{Breakage, Lack};

const PROBE_TIMEOUT: Duration = secs(60);
const C: ChannelId = ChannelId(1);
const OTHER: ChannelId = ChannelId(2);
const K1: Option<KeyId> = Some(KeyId(1));
const K2: Option<KeyId> = Some(KeyId(2));

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One channel's key for one model.
type At = (ChannelId, Option<KeyId>, &'static str);
const HERE: At = (C, K1, "m");

struct Ward {
    health: Health,
    now: Instant,
    rng: StdRng,
    leases: u64,
}

impl Ward {
    fn new() -> Ward {
        Ward {
            health: Health::new(PROBE_TIMEOUT),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(7),
            leases: 0,
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    fn grant(&mut self, (channel, key, model): At) -> (LeaseId, bool) {
        self.leases += 1;
        let lease = LeaseId(self.leases);
        let granted = self.health.granted(lease, channel, key, &model.into(), self.now);
        (lease, granted.probe)
    }

    fn probe(&mut self, at: At) -> LeaseId {
        let (lease, probe) = self.grant(at);
        assert!(probe, "{at:?} is not there to be probed");
        lease
    }

    fn report(&mut self, lease: LeaseId, outcome: &Outcome) -> Learnt {
        let learnt = self.health.report(lease, outcome, self.now, &mut self.rng);
        learnt.expect("a lease that has not reported")
    }

    fn attempt(&mut self, at: At, outcome: &Outcome) -> Learnt {
        let (lease, _) = self.grant(at);
        self.report(lease, outcome)
    }

    fn attempts(&mut self, at: At, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.attempt(at, outcome);
        }
    }

    fn standing(&self, (channel, key, model): At) -> Standing {
        self.health.standing(channel, key, &model.into(), self.now)
    }

    fn is_well(&self, at: At) -> bool {
        self.standing(at) == Standing::Well
    }

    /// How long from now something cools.
    fn cooling(&self, at: At) -> Duration {
        match self.standing(at) {
            Standing::Cooling { due, .. } => due - self.now,
            standing => panic!("{at:?} does not cool: {standing:?}"),
        }
    }

    /// Lets something cool until it is half-open.
    fn cool_off(&mut self, at: At) {
        self.wait(self.cooling(at));
        assert_eq!(self.standing(at), Standing::ReadyToProbe);
    }
}

fn busy(retry_after_secs: Option<u64>) -> Outcome {
    Outcome::Busy {
        status: 429,
        retry_after: retry_after_secs.map(secs),
    }
}

fn broken() -> Outcome {
    Outcome::Broken(Breakage::status(500))
}

fn refused() -> Outcome {
    Outcome::Refused {
        reason: "invalid key".into(),
    }
}

#[test]
fn three_failures_in_a_row_trip_and_a_success_between_does_not() {
    for (outcomes, trips) in [
        (vec![broken(), broken()], false),
        (vec![broken(), broken(), broken()], true),
        (vec![broken(), Outcome::Silent, broken()], true),
        (vec![Outcome::Silent, Outcome::Silent, Outcome::Silent], true),
        (vec![broken(), broken(), Outcome::Ok, broken()], false),
        (
            vec![broken(), broken(), Outcome::BadRequest, Outcome::Gone, broken()],
            true,
        ),
    ] {
        let mut ward = Ward::new();
        ward.attempts(HERE, &outcomes);
        assert_eq!(!ward.is_well(HERE), trips, "{outcomes:?}");
    }
}

#[test]
fn half_of_at_least_five_in_30_s_trips() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), Outcome::Ok, broken(), Outcome::Ok]);
    assert!(ward.is_well(HERE));
    ward.attempt(HERE, &broken());
    assert!(!ward.is_well(HERE));

    let mut ward = Ward::new();
    for _ in 0..10 {
        ward.attempts(HERE, &[broken(), Outcome::Ok]);
        ward.wait(secs(20)); // never five within the window
    }
    assert!(ward.is_well(HERE));
}

#[test]
fn a_streak_that_began_ten_minutes_ago_is_forgotten() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), broken()]);
    ward.wait(secs(600));
    ward.attempt(HERE, &broken());
    assert!(ward.is_well(HERE));
}

/// Fails again at each probe; `full` are the lengths in seconds without jitter.
fn check_ladder(outcome: &Outcome, first_failures: usize, full: &[u64]) {
    for seed in 0..50 {
        let mut ward = Ward::new();
        ward.rng = StdRng::seed_from_u64(seed);
        for _ in 1..first_failures {
            ward.attempt(HERE, outcome);
            assert!(ward.is_well(HERE), "{outcome:?}");
        }
        ward.attempt(HERE, outcome);
        for full in full.iter().copied().map(secs) {
            let cooling = ward.cooling(HERE);
            assert!(
                cooling <= full && cooling >= full * 3 / 4,
                "{outcome:?}: {cooling:?} of {full:?}"
            );
            ward.cool_off(HERE);
            let probe = ward.probe(HERE);
            ward.report(probe, outcome);
        }
    }
}

#[test]
fn coolings_double_to_their_caps_with_jitter_below() {
    check_ladder(&broken(), 3, &[2, 4, 8, 15, 15, 15]);
    check_ladder(&Outcome::Broken(Breakage::Connect), 3, &[2, 4, 8, 15, 15]);
    check_ladder(&Outcome::Silent, 3, &[2, 4, 8, 16, 32, 64, 120, 120]);
    check_ladder(&busy(None), 1, &[1, 2, 4, 8, 16, 32, 60, 60]);
    check_ladder(&Outcome::NotHere(Lack::Model), 1, &[60, 120, 240, 480, 600, 600]);
    check_ladder(&refused(), 1, &[600, 600]);
}

#[test]
fn jitter_spreads() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut ward = Ward::new();
        ward.rng = StdRng::seed_from_u64(seed);
        ward.attempt(HERE, &busy(None));
        lengths.insert(ward.cooling(HERE));
    }
    assert!(lengths.len() > 10);
}

#[test]
fn r13_a_providers_word_is_a_floor_and_believed_for_ten_minutes_at_most() {
    let word = |status: u16, wait: u64| Outcome::Busy {
        status,
        retry_after: Some(secs(wait)),
    };
    let unavailable = Outcome::Broken(Breakage::Status {
        status: 503,
        retry_after: Some(secs(20)),
    });
    for (outcome, barred_secs, status) in [
        (word(429, 2), 2, 429),
        (word(429, 30), 30, 429),
        (word(529, 30), 30, 503),
        (word(429, 3600), 600, 429),
        (word(429, u64::MAX), 600, 429),
        (unavailable, 20, 503),
    ] {
        let mut ward = Ward::new();
        ward.attempt(HERE, &outcome);
        let until = ward.now + secs(barred_secs);
        let standing = ward.standing(HERE);
        assert_eq!(
            standing,
            Standing::Cooling {
                due: until,
                word: Word::Provider { until, status }
            },
            "{outcome:?}"
        );
        ward.cool_off(HERE);
    }
}

#[test]
fn a_word_of_nothing_bars_nothing_and_own_guesses_grow_past_short_words() {
    let mut ward = Ward::new();
    ward.attempt(HERE, &busy(Some(0)));
    let Standing::Cooling { word, .. } = ward.standing(HERE) else {
        panic!("does not cool");
    };
    assert_eq!(word, Word::Guess);

    for _ in 0..4 {
        ward.cool_off(HERE);
        let probe = ward.probe(HERE);
        ward.report(probe, &busy(Some(1)));
    }
    assert!(ward.cooling(HERE) >= secs(12)); // the fifth step: 16 s
    ward.wait(secs(1));
    assert!(matches!(
        ward.standing(HERE),
        Standing::Cooling {
            word: Word::Guess,
            ..
        }
    ));
}

#[test]
fn each_outcome_marks_what_it_speaks_of_and_nothing_else() {
    let here = [HERE, (C, K2, "m"), (C, K1, "n"), (C, K2, "n"), (OTHER, K1, "m")];
    //                                                         key for model, other key, other model, both, other channel
    for (outcome, times, cools) in [
        (busy(None), 1, [true, false, false, false, false]),
        (busy(Some(9)), 1, [true, false, false, false, false]),
        (broken(), 3, [true, false, false, false, false]),
        (
            Outcome::Broken(Breakage::InAnswer),
            3,
            [true, false, false, false, false],
        ),
        (
            Outcome::Broken(Breakage::Garbage),
            3,
            [true, false, false, false, false],
        ),
        (
            Outcome::Broken(Breakage::Cut),
            3,
            [true, false, false, false, false],
        ),
        (Outcome::Silent, 3, [true, false, false, false, false]),
        (
            Outcome::Broken(Breakage::Connect),
            3,
            [true, true, true, true, false],
        ),
        (Outcome::Broken(Breakage::Tls), 3, [true, true, true, true, false]),
        (
            Outcome::Broken(Breakage::Reset),
            3,
            [true, true, true, true, false],
        ),
        (
            Outcome::NotHere(Lack::Model),
            1,
            [true, true, false, false, false],
        ),
        (refused(), 1, [true, false, true, false, false]),
    ] {
        let mut ward = Ward::new();
        for _ in 0..times {
            assert!(ward.is_well(HERE), "{outcome:?} trips too soon");
            ward.attempt(HERE, &outcome);
        }
        assert_eq!(here.map(|at| !ward.is_well(at)), cools, "{outcome:?}");
    }
}

#[test]
fn what_says_nothing_of_health_leaves_no_mark() {
    for outcome in [
        Outcome::Ok,
        Outcome::NotHere(Lack::State),
        Outcome::TooLong,
        Outcome::Filtered,
        Outcome::BadRequest,
        Outcome::Gone,
    ] {
        let mut ward = Ward::new();
        for _ in 0..10 {
            let learnt = ward.attempt(HERE, &outcome);
            assert_eq!(learnt, Learnt::nothing(C), "{outcome:?}");
        }
        assert!(ward.health.is_all_well(C), "{outcome:?}");
    }
}

#[test]
fn a_longer_cooling_is_never_shortened_by_a_later_one() {
    let mut ward = Ward::new();
    let (early, _) = ward.grant(HERE);
    ward.attempt(HERE, &busy(Some(300)));
    let due = ward.now + secs(300);
    ward.wait(secs(1));
    for outcome in [busy(Some(5)), busy(None), broken()] {
        let lease = ward.probe(HERE);
        ward.report(lease, &outcome);
        assert_eq!(ward.now + ward.cooling(HERE), due, "{outcome:?}");
    }
    ward.report(early, &busy(Some(10)));
    assert_eq!(ward.now + ward.cooling(HERE), due);
    let lease = ward.probe(HERE);
    ward.report(lease, &busy(Some(400)));
    assert_eq!(ward.cooling(HERE), secs(400));
}

#[test]
fn fifty_that_fail_together_are_one_step() {
    for (outcome, longest) in [
        (broken(), secs(2)),
        (Outcome::Silent, secs(2)),
        (busy(None), secs(1)),
    ] {
        let mut ward = Ward::new();
        let leases: Vec<LeaseId> = (0..50).map(|_| ward.grant(HERE).0).collect();
        for lease in leases {
            ward.report(lease, &outcome);
        }
        assert!(ward.cooling(HERE) <= longest, "{outcome:?}");
    }
}

#[test]
fn fifty_that_hung_since_before_a_recovery_do_not_bring_the_fall_back() {
    for first_sign in [true, false] {
        let mut ward = Ward::new();
        let hung: Vec<LeaseId> = (0..50).map(|_| ward.grant(HERE).0).collect();
        ward.attempts(HERE, &[broken(), broken(), broken()]);
        ward.cool_off(HERE);
        let probe = ward.probe(HERE);
        if first_sign {
            let learnt = ward.health.first_event(probe, ward.now).expect("known");
            assert!(learnt.recovered);
        } else {
            assert!(ward.report(probe, &Outcome::Ok).recovered);
        }
        for lease in hung {
            assert_eq!(ward.report(lease, &Outcome::Silent).cooled_until, None);
        }
        assert!(ward.is_well(HERE));
    }
}

#[test]
fn a_late_refusal_of_a_key_counts_after_a_recovery_of_something_else() {
    let mut ward = Ward::new();
    let (late, _) = ward.grant(HERE);
    ward.attempt(HERE, &busy(None));
    ward.cool_off(HERE);
    ward.attempt(HERE, &Outcome::Ok);
    ward.report(late, &refused());
    assert!(ward.cooling(HERE) >= secs(450));
}

#[test]
fn a_late_429_still_brings_its_providers_word() {
    let mut ward = Ward::new();
    let (late, _) = ward.grant(HERE);
    ward.attempt(HERE, &busy(None));
    ward.cool_off(HERE);
    ward.attempt(HERE, &Outcome::Ok);
    assert!(ward.health.is_all_well(C));
    ward.report(late, &busy(Some(30)));
    assert_eq!(ward.cooling(HERE), secs(30));
}

#[test]
fn a_long_answer_that_began_before_the_fall_does_not_end_the_cooling() {
    let mut ward = Ward::new();
    let (long, _) = ward.grant(HERE);
    ward.attempts(HERE, &[broken(), broken(), broken()]);
    ward.health.first_event(long, ward.now);
    assert!(!ward.report(long, &Outcome::Ok).recovered);
    assert!(!ward.is_well(HERE));
}

#[test]
fn half_open_is_probed_by_one_request_at_a_time() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), broken(), broken()]);
    ward.cool_off(HERE);
    let probe = ward.probe(HERE);
    let until = ward.now + PROBE_TIMEOUT;
    assert_eq!(ward.standing(HERE), Standing::ProbeInFlight { until });
    assert!(!ward.grant(HERE).1);

    let learnt = ward.report(probe, &broken());
    assert!(learnt.probe_ended && !learnt.recovered && learnt.cooled_until.is_some());
    ward.cool_off(HERE);
    let probe = ward.probe(HERE);
    let learnt = ward.report(probe, &Outcome::Ok);
    assert!(learnt.probe_ended && learnt.recovered && learnt.cooled_until.is_none());
    assert!(ward.health.is_all_well(C));
}

#[test]
fn r13_a_try_before_its_due_is_one_at_a_time_for_all_keys_of_the_model() {
    let mut ward = Ward::new();
    for at in [HERE, (C, K2, "m"), (C, K1, "n")] {
        ward.attempt(at, &busy(None));
    }
    ward.probe(HERE);
    assert!(matches!(
        ward.standing((C, K2, "m")),
        Standing::ProbeInFlight { .. }
    ));
    assert!(matches!(ward.standing((C, K1, "n")), Standing::Cooling { .. }));
    assert!(!ward.grant((C, K2, "m")).1);
    ward.probe((C, K1, "n"));
}

#[test]
fn where_connections_fail_one_probe_is_for_the_whole_channel() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &vec![Outcome::Broken(Breakage::Connect); 3]);
    ward.cool_off(HERE);
    let probe = ward.probe((C, K2, "n"));
    assert!(matches!(ward.standing(HERE), Standing::ProbeInFlight { .. }));
    // Any answer shows that connections work again, whatever it says.
    assert!(ward.report(probe, &broken()).recovered);
    assert!(ward.is_well(HERE));
}

#[test]
fn r13_the_first_real_event_of_a_probe_ends_the_wait_of_others() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), broken(), broken()]);
    ward.cool_off(HERE);
    let probe = ward.probe(HERE);
    let learnt = ward.health.first_event(probe, ward.now).expect("known");
    assert!(learnt.recovered && learnt.probe_ended);
    assert!(ward.is_well(HERE));
    ward.report(probe, &Outcome::Ok);
    assert!(ward.health.is_all_well(C));
}

#[test]
fn doubling_is_remembered_until_an_answer_is_complete() {
    let cut = Outcome::Broken(Breakage::Cut);
    let mut ward = Ward::new();
    ward.attempts(HERE, &[cut.clone(), cut.clone(), cut.clone()]);
    for round in 1..3 {
        ward.cool_off(HERE);
        let probe = ward.probe(HERE);
        ward.health.first_event(probe, ward.now);
        assert_eq!(ward.report(probe, &cut).cooled_until, None, "one cut is noise");
        ward.attempts(HERE, &[cut.clone(), cut.clone()]);
        assert!(
            ward.cooling(HERE) > secs(2) * round,
            "an upstream that ends no answer"
        );
    }
    ward.cool_off(HERE);
    ward.attempt(HERE, &Outcome::Ok);
    ward.attempts(HERE, &[cut.clone(), cut.clone(), cut]);
    assert!(ward.cooling(HERE) <= secs(2));
}

#[test]
fn a_complete_answer_ends_the_doubling_while_failures_are_still_in_the_window() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &vec![broken(); 3]);
    ward.cool_off(HERE);
    let probe = ward.probe(HERE);
    ward.health.first_event(probe, ward.now);
    ward.report(probe, &Outcome::Broken(Breakage::Cut));
    ward.attempt(HERE, &Outcome::Ok);
    assert!(!ward.health.is_all_well(C));
    ward.attempts(HERE, &vec![broken(); 3]);
    assert!(ward.cooling(HERE) <= secs(2));
}

#[test]
fn every_probe_that_ends_frees_the_way() {
    for (outcome, after) in [
        (Outcome::Ok, Some(Standing::Well)),
        (Outcome::TooLong, Some(Standing::Well)),
        (Outcome::Filtered, Some(Standing::Well)),
        (Outcome::BadRequest, Some(Standing::Well)),
        (Outcome::Gone, Some(Standing::ReadyToProbe)),
        (Outcome::Broken(Breakage::Connect), Some(Standing::ReadyToProbe)),
        (broken(), None),
        (Outcome::Silent, None),
        (busy(None), None),
    ] {
        let mut ward = Ward::new();
        ward.attempts(HERE, &[broken(), broken(), broken()]);
        ward.cool_off(HERE);
        let probe = ward.probe(HERE);
        assert!(ward.report(probe, &outcome).probe_ended, "{outcome:?}");
        match after {
            Some(after) => assert_eq!(ward.standing(HERE), after, "{outcome:?}"),
            None => assert!(ward.cooling(HERE) > Duration::ZERO, "{outcome:?}"),
        }
    }
}

#[test]
fn a_probe_that_never_reports_ends_after_its_time() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), broken(), broken()]);
    ward.cool_off(HERE);
    let lost = ward.probe(HERE);
    ward.wait(PROBE_TIMEOUT - Duration::from_millis(1));
    assert!(matches!(ward.standing(HERE), Standing::ProbeInFlight { .. }));
    ward.wait(Duration::from_millis(1));
    assert_eq!(ward.standing(HERE), Standing::ReadyToProbe);
    let second = ward.probe(HERE);
    // When the first reports after all, it neither ends the second's claim nor is it a step of its own.
    let learnt = ward.report(lost, &broken());
    assert!(!learnt.probe_ended);
    assert!(matches!(ward.standing(HERE), Standing::ProbeInFlight { .. }));
    ward.report(second, &Outcome::Ok);
    assert!(ward.health.is_all_well(C));
}

#[test]
fn a_lease_counts_in_flight_until_its_one_report() {
    let mut ward = Ward::new();
    let (first, _) = ward.grant(HERE);
    let (second, _) = ward.grant((C, K2, "n"));
    assert_eq!(ward.health.in_flight(C), 2);
    for (max, full) in [(None, false), (Some(3), false), (Some(2), true), (Some(0), true)] {
        assert_eq!(ward.health.is_full(C, max), full, "{max:?}");
    }
    ward.report(first, &Outcome::Ok);
    assert_eq!(
        ward.health.report(first, &broken(), ward.now, &mut ward.rng),
        None
    );
    assert_eq!(ward.health.first_event(first, ward.now), None);
    assert_eq!(ward.health.in_flight(C), 1);
    ward.report(second, &Outcome::Gone);
    assert_eq!(ward.health.in_flight(C), 0);
    assert!(ward.health.leases.is_empty());
    assert!(ward.health.is_all_well(C));
}

#[test]
fn a_deleted_channel_is_forgotten_with_what_its_leases_would_say() {
    let mut ward = Ward::new();
    ward.attempt(HERE, &busy(Some(60)));
    ward.attempt((OTHER, K1, "m"), &busy(Some(60)));
    let (late, _) = ward.grant(HERE);
    ward.health.forget(C);
    assert!(ward.health.is_all_well(C) && !ward.health.is_all_well(OTHER));
    ward.report(late, &busy(Some(60)));
    assert!(ward.health.is_all_well(C));
    assert_eq!(ward.health.in_flight(C), 0);
}

#[test]
fn a_closed_key_takes_its_own_marks_along() {
    let mut ward = Ward::new();
    ward.attempt(HERE, &refused());
    ward.attempt((C, K2, "m"), &busy(Some(60)));
    let probe = ward.probe(HERE);
    ward.health.forget_key(C, K1);
    assert!(ward.report(probe, &refused()).probe_ended);
    assert!(ward.is_well(HERE));
    assert!(!ward.is_well((C, K2, "m")));
    ward.health.forget_key(C, K2);
    assert!(ward.health.is_all_well(C));
}

#[test]
fn marks_survive_a_rebuild_that_keeps_their_channel() {
    let mut ward = Ward::new();
    ward.attempt(HERE, &busy(Some(60)));
    let standing = ward.standing(HERE);
    ward.health.retain(|channel| channel == C);
    assert_eq!(ward.standing(HERE), standing);
}

#[test]
fn what_nobody_asks_for_is_forgotten() {
    let mut ward = Ward::new();
    ward.attempts(HERE, &[broken(), broken(), broken()]);
    ward.attempt((OTHER, None, "m"), &broken());
    ward.cool_off(HERE);
    ward.wait(secs(599));
    ward.health.tidy(ward.now);
    assert!(!ward.health.is_all_well(C));
    ward.wait(secs(2));
    assert!(ward.is_well(HERE));
    ward.health.tidy(ward.now);
    assert!(ward.health.is_all_well(C) && ward.health.is_all_well(OTHER));
}

#[test]
fn the_view_names_every_part_that_is_not_well() {
    let mut ward = Ward::new();
    ward.attempt((C, K1, "a"), &busy(Some(60)));
    ward.attempts((C, K1, "b"), &[broken(), broken()]);
    ward.attempt((C, K2, "b"), &Outcome::NotHere(Lack::Model));
    ward.attempt((C, K2, "c"), &refused());
    ward.attempts((OTHER, None, "a"), &vec![Outcome::Broken(Breakage::Tls); 3]);
    ward.cool_off((OTHER, None, "a"));
    let views = |ward: &Ward| {
        let lines = ward.health.unwell(ward.now).into_iter().map(|view| {
            format!(
                "{} {:?} {:?} {:?} {:?} streak={} in_flight={}",
                view.channel,
                view.part,
                view.key.map(|key| key.0),
                view.model.as_ref().map(ModelName::as_str),
                view.state,
                view.streak,
                view.in_flight
            )
        });
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        views(&ward),
        [
            "1 Key Some(2) None Cooling streak=1 in_flight=0",
            "1 Model None Some(\"b\") Cooling streak=1 in_flight=0",
            "1 KeyForModel Some(1) Some(\"a\") Barred streak=1 in_flight=0",
            "1 KeyForModel Some(1) Some(\"b\") Watched streak=2 in_flight=0",
            "2 Connections None None HalfOpen streak=3 in_flight=0",
        ]
    );
    ward.probe((OTHER, None, "a"));
    assert_eq!(
        views(&ward)[4],
        "2 Connections None None Probing streak=3 in_flight=1"
    );
    let json = serde_json::to_string(&ward.health.unwell(ward.now)[4]).expect("plain data");
    assert_eq!(
        json,
        r#"{"channel":2,"part":"connections","state":"probing","cooling_ms":0,"streak":3,"in_flight":1}"#
    );
}

/// The row of the issue: down for 60 s, one request each 4 s, a fallback exists.
#[test]
fn down_for_a_minute_costs_few_probes_and_recovery_is_seen_soon() {
    for outcome in [broken(), Outcome::Broken(Breakage::Connect), busy(None)] {
        for seed in 0..100 {
            let mut ward = Ward::new();
            ward.rng = StdRng::seed_from_u64(seed);
            let start = ward.now;
            let (mut tries, mut recovered_after) = (0, None);
            for _ in 0..24 {
                let down = ward.now - start < secs(60);
                if ward.standing(HERE).is_eligible() {
                    let probing = ward.standing(HERE) == Standing::ReadyToProbe;
                    let (lease, probe) = ward.grant(HERE);
                    assert_eq!(probe, probing);
                    ward.report(lease, if down { &outcome } else { &Outcome::Ok });
                    tries += u32::from(down);
                    if !down {
                        recovered_after.get_or_insert(ward.now - start - secs(60));
                    }
                }
                ward.wait(secs(4));
            }
            assert!(tries <= 12, "{outcome:?}: {tries} tries");
            let recovered = recovered_after.expect("the primary serves again");
            let longest = if outcome == busy(None) { secs(34) } else { secs(20) };
            assert!(recovered <= longest, "{outcome:?}: {recovered:?}");
        }
    }
}
