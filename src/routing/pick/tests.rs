use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::routing::build::Draft;
use crate::routing::closings::{Closed, Closing};
use crate::routing::ids::Generation;
use crate::routing::outcome::Outcome;
use crate::routing::rebuilds::Scope;
use crate::routing::refusal::Refusal;
use crate::routing::router::{Built, Chosen, Found, Router};
use crate::routing::rows::{ModelSpec, RowFault, Status};
use crate::routing::stage::{Rows, draft, question, snapshot, tiers};

fn now() -> Instant {
    // The only clock reading of these tests: every later time is reckoned from it.
    #[allow(clippy::disallowed_methods)]
    Instant::now()
}

fn router(rows: &[Rows]) -> Router {
    let mut router = Router::new(Duration::from_secs(60));
    install(&mut router, rows, Scope::Everything, 1);
    router
}

fn install(router: &mut Router, rows: &[Rows], scope: Scope, began: u64) {
    let base = router.snapshot().clone();
    let built = Built::new(draft(rows), &base, scope, Generation(began), Moment(began));
    drop(router.install(built, now()));
}

fn found(rows: &[Rows], began: u64) -> Found {
    Found::new(draft(rows), &Snapshot::default(), Moment(began))
}

/// Shares in percent of 20,000 picks, by channel, as `1 75% 2 25%`.
fn shares(mut pick: impl FnMut(&mut SmallRng) -> Option<i64>) -> String {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut counts = BTreeMap::new();
    for _ in 0..20_000 {
        if let Some(channel) = pick(&mut rng) {
            *counts.entry(channel).or_insert(0u32) += 1;
        }
    }
    let share = |(channel, count): (i64, u32)| format!("{channel} {}%", (count + 100) / 200);
    counts.into_iter().map(share).collect::<Vec<_>>().join(" ")
}

/// The shares from the snapshot, which must be those from a lookup's route.
fn check(picture: &str, tried: &[i64], expected: &str) {
    let rows = tiers(picture);
    let mut asked = question(&["g"], "m");
    tried.iter().for_each(|id| asked.tried.channel(ChannelId(*id)));
    let mut full = router(&rows);
    let from_snapshot = shares(|rng| Some(full.pick(&asked, now(), rng).ok()?.picked.channel.id.0));
    assert_eq!(from_snapshot, expected, "{picture} without {tried:?}");
    let mut empty = router(&[]);
    let looked_up = found(&rows, 2);
    let from_lookup = shares(|rng| match empty.choose(&asked, &looked_up, now(), rng) {
        Chosen::Granted(grant) => Some(grant.picked.channel.id.0),
        _ => None,
    });
    assert_eq!(from_lookup, expected, "{picture} without {tried:?}, by lookup");
}

#[test]
fn r2_highest_tier_by_weight_standby_last() {
    check("10: 1*3 2*1 | 5: 3*1", &[], "1 75% 2 25%");
    check("10: 1*3 2*1 | 5: 3*1", &[1], "2 100%");
    check("10: 1*3 2*1 | 5: 3*1", &[1, 2], "3 100%");
    check("10: 1*3 2*0", &[], "1 100%");
    check("10: 1*3 2*0 3*0", &[1], "2 50% 3 50%");
    check("10: 1*0 2*0", &[], "1 50% 2 50%");
    check("-5: 1*1 | -9: 2*1", &[], "1 100%");
    check("0: 1*1 2*2 3*9", &[2], "1 10% 3 90%");
    check("0: 1*1", &[1], "");
}

#[test]
fn r2_ability_overrides_its_channel() {
    let mut low = Rows::new(1).tier(1, 1);
    low.overrides.insert(0, (Some(9), None));
    let rows = [low, Rows::new(2).tier(5, 1)];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let grant = router
        .pick(&question(&["g"], "m"), now(), &mut rng)
        .expect("one is open");
    assert_eq!(grant.picked.channel.id, ChannelId(1));
}

#[test]
fn r2_a_key_that_failed_is_not_picked_again_and_its_channel_goes_with_the_last() {
    let mut rows = Rows::new(1);
    rows.keys = vec![(1, true), (2, true), (3, false)];
    let mut router = router(&[rows]);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut asked = question(&["g"], "m");
    for _ in 0..2 {
        let grant = router.pick(&asked, now(), &mut rng).expect("a key is left");
        let key = grant.picked.key.expect("the provider needs one").id;
        assert_eq!(asked.tried.key_turn(key, now()), Turn::Now);
        asked.tried.key(key);
    }
    let shortage = router
        .pick(&asked, now(), &mut rng)
        .expect_err("both keys were tried");
    assert!(shortage.open && shortage.speaks);
}

#[test]
fn r2_groups_in_order_and_names_byte_for_byte() {
    let rows = [
        Rows::new(1).serves(&[("b", "m")]),
        Rows::new(2).serves(&[("a", "M")]),
    ];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut channel = |groups: &[&str], model: &str| {
        router
            .pick(&question(groups, model), now(), &mut rng)
            .map(|grant| grant.picked.channel.id.0)
            .ok()
    };
    assert_eq!(channel(&["a", "b"], "m"), Some(1));
    assert_eq!(channel(&["a", "b"], "M"), Some(2));
    assert_eq!(channel(&["a"], "m"), None);
}

#[test]
fn r2_affinity_keeps_a_conversation_and_weights_hold_overall() {
    let rows = tiers("0: 1*1 2*3");
    let mut router_of_two = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut asked = question(&["g"], "m");
    let mut channel = |router: &mut Router, conversation: u64| {
        asked.affinity = Some(conversation);
        router
            .pick(&asked, now(), &mut rng)
            .expect("open")
            .picked
            .channel
            .id
            .0
    };
    let mut conversation = 0u64;
    let shares = shares(|_| {
        conversation = conversation.wrapping_add(0x9E37_79B9_7F4A_7C15);
        Some(channel(&mut router_of_two, conversation))
    });
    assert_eq!(shares, "1 25% 2 75%");
    let mut router_of_three = router(&tiers("0: 1*1 2*3 3*1"));
    for conversation in 0..1_000u64 {
        let (before, after) = (
            channel(&mut router_of_two, conversation),
            channel(&mut router_of_three, conversation),
        );
        assert!(
            after == before || after == 3,
            "only conversations of the new channel move"
        );
    }
}

fn refusal(rows: &[Rows], asked: &Question) -> Refusal {
    let mut router = router(rows);
    let mut rng = SmallRng::seed_from_u64(1);
    router.pick(asked, now(), &mut rng).expect_err("a miss");
    match router.choose(asked, &found(rows, 2), now(), &mut rng) {
        Chosen::Refused { refusal, .. } => refusal,
        other => panic!("not refused but {other:?}"),
    }
}

#[test]
fn r4_refusals_tell_apart() {
    let asked = question(&["g"], "m");
    assert_eq!(refusal(&[], &asked), Refusal::ModelNotFound);
    let closed = Rows {
        status: Some(Status::Disabled),
        ..Rows::new(1)
    };
    assert_eq!(refusal(&[closed], &asked), Refusal::NoAvailableChannel);
    let keyless = Rows {
        keys: vec![],
        ..Rows::new(1)
    };
    assert_eq!(refusal(&[keyless], &asked), Refusal::NoAvailableChannel);
    let mut held = Rows::new(1);
    held.abilities[0].3 = true;
    assert_eq!(refusal(&[held], &asked), Refusal::NoAvailableChannel);
    let other = Rows {
        protocols: vec![Protocol::Gemini],
        ..Rows::new(1)
    };
    assert_eq!(refusal(&[other], &asked), Refusal::ProtocolNotServed);
    let mut tried = asked.clone();
    tried.tried.channel(ChannelId(1));
    assert_eq!(refusal(&[Rows::new(1)], &tried), Refusal::Exhausted);
}

#[test]
fn r4_a_failed_lookup_is_never_a_refusal_for_want_of_a_channel() {
    let mut router = router(&[]);
    let mut rng = SmallRng::seed_from_u64(1);
    let chosen = router.without_database(&question(&["g"], "m"), now(), &mut rng);
    assert!(matches!(
        chosen,
        Chosen::Refused {
            refusal: Refusal::RoutingUnavailable,
            ..
        }
    ));
}

#[test]
fn r7_what_cannot_be_read_is_not_refused_as_closed() {
    let bad = Rows {
        readable: false,
        ..Rows::new(1)
    };
    let asked = question(&["g"], "m");
    assert_eq!(
        refusal(std::slice::from_ref(&bad), &asked),
        Refusal::RoutingUnavailable
    );
    let closed = Rows {
        status: Some(Status::Disabled),
        ..bad.clone()
    };
    assert_eq!(refusal(&[closed], &asked), Refusal::NoAvailableChannel);
    let unknown = Rows {
        status: None,
        ..Rows::new(1)
    };
    assert_eq!(refusal(&[unknown], &asked), Refusal::RoutingUnavailable);
}

#[test]
fn r10_closed_is_not_picked_and_a_late_lookup_does_not_bring_it_back() {
    let rows = [Rows::new(1)];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let asked = question(&["g"], "m");
    router.close([Closing {
        closed: Closed::Channel(ChannelId(1)),
        at: Moment(5),
    }]);
    assert!(router.pick(&asked, now(), &mut rng).is_err());
    let early = router.choose(&asked, &found(&rows, 4), now(), &mut rng);
    assert!(
        matches!(early, Chosen::Outdated),
        "a lookup that began before the closing: {early:?}"
    );
    let closed = Rows {
        status: Some(Status::Disabled),
        ..Rows::new(1)
    };
    install(&mut router, &[closed], Scope::Everything, 6);
    let still = router.choose(&asked, &found(&rows, 4), now(), &mut rng);
    assert!(
        matches!(still, Chosen::Outdated),
        "the build has consumed the closing, and knows better: {still:?}"
    );
    let late = router.choose(&asked, &found(&rows, 7), now(), &mut rng);
    assert!(matches!(late, Chosen::Granted(_)), "reopened since: {late:?}");
}

#[test]
fn r4_a_lookup_is_outdated_by_a_channel_that_speaks_the_protocol_no_longer() {
    let rows = [Rows::new(1)];
    let mut rng = SmallRng::seed_from_u64(1);
    let asked = question(&["g"], "m");
    let changed = [Rows {
        protocols: vec![Protocol::Anthropic],
        ..Rows::new(1)
    }];
    let mut router = router(&changed);
    install(&mut router, &changed, Scope::Everything, 6);
    let early = router.choose(&asked, &found(&rows, 4), now(), &mut rng);
    assert!(
        matches!(early, Chosen::Outdated),
        "nothing is full, and another channel may speak it by now: {early:?}"
    );
    let late = router.choose(&asked, &found(&changed, 7), now(), &mut rng);
    let refusal = Refusal::ProtocolNotServed;
    assert!(
        matches!(&late, Chosen::Refused { refusal: told, .. } if *told == refusal),
        "{late:?}"
    );
}

#[test]
fn r10_a_lookup_after_the_closing_lifts_it() {
    let rows = [Rows::new(1)];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let asked = question(&["g"], "m");
    router.close([Closing {
        closed: Closed::Channel(ChannelId(1)),
        at: Moment(5),
    }]);
    assert!(matches!(
        router.choose(&asked, &found(&rows, 6), now(), &mut rng),
        Chosen::Granted(_)
    ));
    assert!(router.pick(&asked, now(), &mut rng).is_ok());
}

#[test]
fn r13_cooling_is_passed_over_and_tried_only_when_nothing_else_is_left() {
    let rows = tiers("10: 1*1 | 5: 2*1");
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut asked = question(&["g"], "m");
    let at = now();
    let busy = Outcome::Busy {
        status: 429,
        retry_after: None,
    };
    for channel in [1, 2] {
        let grant = router.pick(&asked, at, &mut rng).expect("one is well");
        assert_eq!(grant.picked.channel.id.0, channel);
        router.report(grant.lease, &busy, at, &mut rng);
    }
    let shortage = router.pick(&asked, at, &mut rng).expect_err("both cool");
    assert!(shortage.cooling_until.is_some() && shortage.open);
    asked.cooling = CoolingRule::SoonestDue;
    let grant = router.pick(&asked, at, &mut rng).expect("cooling is advice");
    assert!(grant.probe);
}

#[test]
fn r13_a_build_that_catches_up_with_a_lookup_forgets_nothing_that_was_heard_since() {
    let check = |known: &[Rows], stale: &[Rows]| {
        let (mut router, mut rng) = (router(known), SmallRng::seed_from_u64(1));
        let asked = question(&["g"], "m");
        let (rows, at) = ([Rows::new(1)], now());
        let chosen = router.choose(&asked, &found(&rows, 4), at, &mut rng);
        let Chosen::Granted(grant) = chosen else {
            panic!("{chosen:?}");
        };
        let busy = Outcome::Busy {
            status: 429,
            retry_after: Some(Duration::from_secs(30)),
        };
        router.report(grant.lease, &busy, at, &mut rng);
        // One build had begun before the lookup; the next shows what the lookup has shown.
        for (rows, began) in [(stale, 3), (&rows[..], 5)] {
            install(&mut router, rows, Scope::Everything, began);
            let chosen = router.choose(&asked, &found(&[Rows::new(1)], 6), at, &mut rng);
            let barred = |refusal: &Refusal| matches!(refusal, Refusal::RateLimited { .. });
            assert!(
                matches!(&chosen, Chosen::Refused { refusal, .. } if barred(refusal)),
                "after the build of {began}: {chosen:?}"
            );
        }
    };
    let without_key = [Rows {
        keys: Vec::new(),
        ..Rows::new(1)
    }];
    check(&[], &[]);
    check(&without_key, &without_key);
}

#[test]
fn r1_snapshot_of_a_patch_is_the_snapshot_of_a_full_build() {
    let mut rows = tiers("10: 1*3 2*1 | 5: 3*1");
    rows[2] = rows[2].clone().serves(&[("g", "m"), ("h", "n")]);
    let base = snapshot(&rows, 1);
    rows[0].status = Some(Status::Disabled);
    rows[2] = rows[2].clone().serves(&[("h", "new")]).tier(7, 2);
    rows.push(Rows::new(4).serves(&[("g", "m"), ("other", "m")]));
    let full = snapshot(&rows, 2);
    let named = [1, 3, 4].map(ChannelId);
    let touched: Vec<Rows> = rows.iter().filter(|row| row.id != 2).cloned().collect();
    let patched = draft(&touched).patch(&base, named, Generation(2), Moment(2));
    assert_eq!(picture(&patched), picture(&full));
    let gone = Draft::default().patch(&patched, [ChannelId(2), ChannelId(3)], Generation(3), Moment(3));
    let left: Vec<Rows> = rows
        .into_iter()
        .filter(|row| row.id != 2 && row.id != 3)
        .collect();
    assert_eq!(picture(&gone), picture(&snapshot(&left, 3)));
}

#[test]
fn r1_patches_of_a_channel_that_is_left_out_count_its_abilities_once() {
    let bad = Rows {
        readable: false,
        ..Rows::new(1)
    };
    let mut patched = snapshot(&[bad.clone(), Rows::new(2).serves(&[("g", "other")])], 1);
    for began in 2..5 {
        patched = draft(std::slice::from_ref(&bad)).patch(
            &patched,
            [ChannelId(1)],
            Generation(began),
            Moment(began),
        );
        assert!(patched.left_out(ChannelId(1)));
        assert_eq!(patched.route("g", "m").map(Route::abilities), Some(1));
    }
    let mended = draft(&[Rows::new(1)]).patch(&patched, [ChannelId(1)], Generation(5), Moment(5));
    assert!(mended.shows_open(ChannelId(1), "g", "m") && !mended.left_out(ChannelId(1)));
    let gone = Draft::default().patch(&patched, [ChannelId(1)], Generation(6), Moment(6));
    assert!(gone.route("g", "m").is_none(), "no ghost of the model is left");
}

#[test]
fn r13_an_unreadable_row_does_not_hide_a_channel_that_cools() {
    let bad = Rows {
        readable: false,
        ..Rows::new(2)
    };
    let rows = [Rows::new(1), bad];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let asked = question(&["g"], "m");
    let at = now();
    let grant = router.pick(&asked, at, &mut rng).expect("one is well");
    let busy = Outcome::Busy {
        status: 429,
        retry_after: None,
    };
    router.report(grant.lease, &busy, at, &mut rng);
    match router.choose(&asked, &found(&rows, 2), at, &mut rng) {
        Chosen::Refused {
            refusal: Refusal::Overloaded { retry_after: Some(_) },
            ..
        } => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn r10_an_early_lookup_does_not_bring_back_an_ability_of_a_channel_with_a_bad_row() {
    let mut rows = Rows::new(1).serves(&[("g", "m"), ("g", "n")]);
    let mut router = router(&[rows.clone()]);
    let mut rng = SmallRng::seed_from_u64(1);
    let early = found(&[rows.clone()], 4);
    rows.abilities[0].3 = true;
    rows.bad_ability = Some(1);
    let held = Closed::Ability {
        channel: ChannelId(1),
        group: "g".into(),
        model: "m".into(),
    };
    router.close([Closing {
        closed: held,
        at: Moment(5),
    }]);
    install(&mut router, &[rows], Scope::Everything, 6);
    let chosen = router.choose(&question(&["g"], "m"), &early, now(), &mut rng);
    assert!(matches!(chosen, Chosen::Outdated), "{chosen:?}");
}

#[test]
fn r10_a_key_closing_newer_than_the_snapshot_asks_the_database_again() {
    let rows = [Rows::new(1)];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let early = found(&rows, 2);
    install(&mut router, &rows, Scope::Everything, 5);
    let replaced = Closed::Key {
        channel: ChannelId(1),
        key: KeyId(100),
    };
    router.close([Closing {
        closed: replaced,
        at: Moment(6),
    }]);
    let chosen = router.choose(&question(&["g"], "m"), &early, now(), &mut rng);
    assert!(matches!(chosen, Chosen::Outdated), "{chosen:?}");
}

/// Every route by names and ids, and every group's models.
fn picture(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for group in snapshot.groups() {
        for model in snapshot.models_of(group.as_str()) {
            let route = snapshot
                .route(group.as_str(), model.as_str())
                .expect("listed models have a route");
            let mut open: Vec<_> = route
                .candidates()
                .map(|c| {
                    (
                        -c.priority,
                        snapshot.at(c.slot).expect("open channels are there").id.0,
                        c.weight,
                    )
                })
                .collect();
            open.sort_unstable();
            lines.push(format!("{group} {model} {} {open:?}", route.abilities()));
        }
    }
    lines
}

#[test]
fn r13_of_the_keys_that_cool_one_that_is_barred_is_never_tried() {
    let mut rows = Rows::new(1);
    rows.keys = vec![(11, true), (12, true)];
    let mut router = router(&[rows]);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut asked = question(&["g"], "m");
    let at = now();
    let mut fails = |router: &mut Router, retry_after| {
        let grant = router.pick(&asked, at, &mut rng).expect("a key is well");
        let busy = Outcome::Busy {
            status: 429,
            retry_after,
        };
        router.report(grant.lease, &busy, at, &mut rng);
        grant.picked.key.map(|key| key.id)
    };
    // The bar ends before the guessed cooling of the other key can.
    let barred = fails(&mut router, Some(Duration::from_millis(1)));
    let cooling = fails(&mut router, None);
    assert_ne!(barred, cooling);
    asked.cooling = CoolingRule::SoonestDue;
    for seed in 0..20 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let grant = router.pick(&asked, at, &mut rng).expect("one cools by a guess");
        assert_eq!(grant.picked.key.map(|key| key.id), cooling);
        router.report(grant.lease, &Outcome::Gone, at, &mut rng);
    }
}

#[test]
fn r2_what_rests_is_waited_for_unless_it_cools_and_something_else_is_at_hand() {
    let mut router = router(&tiers("0: 1*1"));
    let mut rng = SmallRng::seed_from_u64(1);
    let at = now();
    let due = at + Duration::from_secs(1);
    let mut asked = question(&["g"], "m");
    asked.tried.channel_until(ChannelId(1), due);
    let shortage = router.pick(&asked, at, &mut rng).expect_err("others first");
    assert_eq!(shortage.resting, None);
    asked.tried.begin(crate::routing::tried::Round::Second);
    let shortage = router.pick(&asked, at, &mut rng).expect_err("it rests");
    assert_eq!(shortage.resting, Some(due));
    let grant = router.pick(&asked, due, &mut rng).expect("it has rested");
    let busy = Outcome::Busy {
        status: 429,
        retry_after: None,
    };
    router.report(grant.lease, &busy, at, &mut rng);
    let shortage = router.pick(&asked, at, &mut rng).expect_err("it cools");
    assert!(shortage.resting.is_none() && shortage.cooling_until.is_some());
    asked.cooling = CoolingRule::SoonestDue;
    let shortage = router.pick(&asked, at, &mut rng).expect_err("a rest is a rest");
    assert_eq!(shortage.resting, Some(due));
    assert!(router.pick(&asked, due, &mut rng).is_ok());
}

#[test]
fn state_is_looked_for_at_home_first_and_elsewhere_where_that_is_not_open() {
    let mut rows = tiers("10: 1*1 | 5: 2*0");
    rows[1].keys = vec![(21, true), (22, true)];
    let mut router = router(&rows);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut asked = question(&["g"], "m");
    let id = StateId::of("resp_1");
    asked.state = Some(id);
    let mut place = |router: &mut Router, asked: &Question| {
        let picked = router.pick(asked, now(), &mut rng).expect("open").picked;
        (picked.channel.id.0, picked.key.map(|key| key.id.0))
    };
    assert_eq!(place(&mut router, &asked).0, 1, "nobody knows it");
    let home = Home {
        channel: ChannelId(2),
        key: Some(KeyId(22)),
    };
    router.remember(id, home);
    for _ in 0..20 {
        assert_eq!(place(&mut router, &asked), (2, Some(22)));
    }
    asked.tried.key(KeyId(22));
    assert_eq!(
        place(&mut router, &asked),
        (2, Some(21)),
        "the account's other key"
    );
    asked.tried.channel(ChannelId(2));
    assert_eq!(place(&mut router, &asked).0, 1);
}

#[test]
fn what_is_configured_for_a_model_is_in_every_snapshot_and_a_bad_row_keeps_its_last_good() {
    let spec = |fallback: &str| ModelSpec {
        fallbacks: vec![fallback.into()],
        ..ModelSpec::plain("m".into())
    };
    let fault = || RowFault::new("settings", "expected an object");
    let mut first = draft(&[]);
    first.model("m".into(), Ok(spec("a")));
    first.model("n".into(), Err(fault()));
    let base = first.snapshot(&Snapshot::default(), Generation(1), Moment(1));
    assert_eq!(
        base.model("m").map(|spec| spec.fallbacks.clone()),
        Some(vec!["a".into()])
    );
    assert!(base.model("n").is_none());
    let mut bad = draft(&[]);
    bad.model("m".into(), Err(fault()));
    let patched = bad.patch(&base, [], Generation(2), Moment(2));
    assert_eq!(patched.model("m"), base.model("m"));
    let gone = draft(&[]).patch(&patched, [], Generation(3), Moment(3));
    assert!(gone.model("m").is_none());
}
