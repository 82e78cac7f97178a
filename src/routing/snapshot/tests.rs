use super::*;
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
