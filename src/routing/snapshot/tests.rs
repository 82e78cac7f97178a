use super::*;
use crate::routing::build::Draft;
use crate::routing::stage::{Rows, draft, snapshot};

/// 2,000 channels that serve 500 models each: channels and names apart, an ability takes 4 bytes in its route (8 where
/// weights differ) and 8 in its channel's list.
#[test]
fn a_million_abilities_take_less_than_24_bytes_each() {
    let models: Vec<String> = (0..500).map(|n| format!("model-{n}")).collect();
    let abilities: Vec<(&str, &str)> = models.iter().map(|model| ("default", model.as_str())).collect();
    let rows: Vec<Rows> = (1..=2_000).map(|id| Rows::new(id).serves(&abilities)).collect();
    let snapshot = snapshot(&rows, 1);
    let counts = snapshot.counts();
    assert_eq!(
        (counts.abilities, counts.open_abilities, counts.routes),
        (1_000_000, 1_000_000, 500)
    );
    let each = snapshot.ability_bytes() as f64 / 1e6;
    println!("{each:.2} bytes an ability");
    assert!(each < 24.0, "{each:.2} bytes an ability");
}

#[test]
fn a_patch_shares_what_it_does_not_touch() {
    let many: Vec<String> = (0..1_000).map(|n| format!("model-{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|model| ("g", model.as_str())).collect();
    let base = snapshot(
        &[
            Rows::new(1).serves(&many),
            Rows::new(2).serves(&[("g", "model-0")]),
        ],
        1,
    );
    let touched = Rows::new(2).serves(&[("g", "model-0"), ("g", "model-1")]);
    let patched = draft(&[touched]).patch(&base, [ChannelId(2)], Generation(2), Moment(2));
    let shared = (0..1_000).filter(|n| {
        let model = format!("model-{n}");
        let (old, new) = (base.route("g", &model), patched.route("g", &model));
        old.is_some_and(|old| new.is_some_and(|new| std::ptr::eq(old, new)))
    });
    assert_eq!(shared.count(), 998);
}

#[test]
fn a_snapshot_tells_what_it_holds() {
    let mut rows = [
        Rows::new(1).serves(&[("g", "m"), ("h", "n")]).tier(7, 2),
        Rows::new(2).serves(&[("g", "m"), ("g", "a")]),
        Rows::new(3).serves(&[("h", "z")]),
    ];
    rows[1].abilities[1].3 = true; // held
    rows[2].bad_ability = Some(0);
    let snapshot = snapshot(&rows, 4);
    assert_eq!(snapshot.generation(), Generation(4));
    let names = |models: Vec<&ModelName>| models.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(snapshot.models_of("g")), ["a", "m"]);
    assert_eq!(names(snapshot.models_of("h")), ["n", "z"]);
    assert!(snapshot.models_of("i").is_empty());
    let groups: Vec<_> = snapshot.groups().iter().map(ToString::to_string).collect();
    assert_eq!(groups, ["g", "h"]);
    let open = |group, model| {
        let mut ids: Vec<_> = snapshot
            .open_channels(group, model)
            .into_iter()
            .map(|id| id.0)
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(open("g", "m"), [1, 2]);
    assert!(open("g", "a").is_empty() && open("h", "z").is_empty());
    assert!(snapshot.shows_open(ChannelId(1), "g", "m"));
    assert!(!snapshot.shows_open(ChannelId(2), "g", "a"));
    let mut shown: Vec<_> = snapshot
        .abilities()
        .map(|ability| (ability.channel.0, ability.model.to_string(), ability.open))
        .collect();
    shown.sort();
    let ability = |channel, model: &str, open| (channel, model.to_owned(), open);
    let want = [
        ability(1, "m", Some((7, 2))),
        ability(1, "n", Some((7, 2))),
        ability(2, "a", None),
        ability(2, "m", Some((0, 1))),
        ability(3, "z", None),
    ];
    assert_eq!(shown, want);
    let bad: Vec<_> = snapshot.quarantined().iter().map(|bad| bad.channel).collect();
    assert_eq!(bad, [ChannelId(3)]);
    let counts = snapshot.counts();
    assert_eq!((counts.channels, counts.groups, counts.models), (3, 2, 4));
    assert_eq!(
        (counts.routes, counts.abilities, counts.open_abilities),
        (4, 5, 3)
    );
}

#[test]
fn models_beyond_the_first_page_are_found_under_their_own_names() {
    let names: Vec<String> = (0..PAGE * 2 + 1).map(|number| format!("m{number:05}")).collect();
    let abilities: Vec<_> = names.iter().map(|name| ("g", name.as_str())).collect();
    let snapshot = snapshot(&[Rows::new(1).serves(&abilities)], 1);
    let told: Vec<_> = snapshot.models_of("g").iter().map(ToString::to_string).collect();
    assert_eq!(told, names);
    assert!(names.iter().all(|name| snapshot.route("g", name).is_some()));
}

/// Of one group: the list of its pages, each page and each route with the two counts of its `Arc`, what the route holds
/// beside itself, and eight bytes for each ability in its channel's list.
#[test]
fn the_bytes_of_abilities_are_those_that_were_asked_of_the_allocator() {
    let word = size_of::<usize>();
    let of = |models: usize, channels: i64| {
        let names: Vec<String> = (0..models).map(|number| format!("m{number}")).collect();
        let abilities: Vec<_> = names.iter().map(|name| ("g", name.as_str())).collect();
        let rows: Vec<_> = (1..=channels)
            .map(|id| Rows::new(id).serves(&abilities))
            .collect();
        snapshot(&rows, 1).ability_bytes()
    };
    let pages = |pages: usize| pages * (word + PAGE * word + 2 * word);
    let route = |channels: usize| 2 * word + size_of::<Route>() + 16 + 4 * channels;
    assert_eq!(of(1, 1), pages(1) + route(1) + 8);
    assert_eq!(of(1, 3), pages(1) + route(3) + 3 * 8);
    assert_eq!(of(PAGE + 1, 2), pages(2) + (PAGE + 1) * (route(2) + 2 * 8));
}

#[test]
fn a_draft_knows_the_channels_whose_own_rows_it_has_taken() {
    let draft = draft(&[Rows::new(1)]);
    assert!(draft.knows_channel(ChannelId(1)));
    assert!(!draft.knows_channel(ChannelId(2)));
    let mut only_ability = Draft::default();
    only_ability.ability(crate::routing::rows::AbilityRow {
        group: "g",
        model: "m",
        channel: ChannelId(2),
        enabled: Ok(true),
        held: Ok(false),
        priority: Ok(None),
        weight: Ok(None),
    });
    assert!(
        !only_ability.knows_channel(ChannelId(2)),
        "only an ability of it has come"
    );
}

#[test]
fn r2_an_ability_overrides_the_priority_or_the_weight_of_its_channel_alone() {
    let mut rows = Rows::new(1)
        .tier(1, 2)
        .serves(&[("g", "p"), ("g", "w"), ("g", "both"), ("g", "none")]);
    rows.overrides = [
        (0, (Some(5), None)),
        (1, (None, Some(6))),
        (2, (Some(7), Some(8))),
    ]
    .into();
    let snapshot = snapshot(&[rows], 1);
    let of = |model| {
        let open = snapshot.open_ability(ChannelId(1), "g", model);
        open.map(|candidate| (candidate.priority, candidate.weight))
    };
    assert_eq!(
        ["p", "w", "both", "none"].map(of),
        [(5, 2), (1, 6), (7, 8), (1, 2)].map(Some)
    );
}
