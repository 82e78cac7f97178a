//! R1: snapshot and lookup give the same distribution, and each reads one consistent view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pointsman::routing::ids::Generation;
use pointsman::routing::ids::{ChannelId, KeyId};
use pointsman::routing::pick::Question;
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::router::{Built, Chosen, Found, Router};
use pointsman::routing::rows::Secret;
use pointsman::store::channels::NewChannel;
use pointsman::store::{find_route, load_snapshot};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::core::{Core, question};
use crate::databases::Database;

const DRAWS: usize = 100_000;
const LOOKUPS: usize = 1_000;

on_each_database! {
    async fn r1_snapshot_and_lookups_give_the_same_distribution(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        // Tiers, zero weights, several keys, and overrides of both.
        for (name, priority, weight, keys) in
            [("a", 5, 3, 2), ("b", 5, 1, 1), ("c", 5, 0, 1), ("d", 1, 2, 3), ("e", 1, 0, 1), ("f", 0, 0, 1), ("g", 0, 0, 1)]
        {
            let keys = (0..keys).map(|n| Secret::new(&format!("sk-{name}-{n}"))).collect();
            let (groups, models) = (vec!["g".into()], vec!["m".into()]);
            core.create(NewChannel { priority, weight, keys, groups, models, ..NewChannel::new(name, "openai") }).await;
        }
        database.sql(r#"UPDATE abilities SET priority = 5, weight = 2 WHERE channel_id = 4"#).await;
        database.sql(r#"UPDATE abilities SET weight = 4 WHERE channel_id = 5"#).await;
        core.rebuild().await;
        for excluded in [&[][..], &[1], &[1, 2], &[1, 2, 3, 4], &[1, 2, 4], &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 6]] {
            let mut asked = question(&["g"], "m");
            excluded.iter().for_each(|id| asked.tried.channel(ChannelId(*id)));
            let from_snapshot = by_snapshot(&core, &asked).await;
            let from_lookups = by_lookups(&core, &asked).await;
            assert_same_distribution(&from_snapshot, &from_lookups, &format!("without {excluded:?}"));
        }
    }

    async fn r1_two_channels_swapped_by_one_commit_are_never_both_missing(kind: Kind) {
        let database = Arc::new(Database::fresh(kind).await);
        let core = Core::start(&database).await;
        let (a, b) = (core.channel("a", &["g"], &["m"]).await, core.channel("b", &["g"], &["m"]).await);
        core.set(b, pointsman::store::change_status::OperatorStatus::Disabled).await;
        let swapping = Arc::new(AtomicBool::new(true));
        let swaps = tokio::spawn(swap(Arc::clone(&database), a, b, Arc::clone(&swapping)));
        let ends = Instant::now() + Duration::from_secs(3);
        let (mut builds, mut lookups) = (0, 0);
        while Instant::now() < ends {
            let draft = load_snapshot::everything(&core.database).await.expect("a build reads");
            let built = draft.snapshot(&core.snapshot(), Generation(1), core.database.moments().draw());
            assert_eq!(open(&built, a, b), 1, "a build saw one of the two");
            builds += 1;
            let found = look_up(&core).await;
            assert_eq!(open(&found.route, a, b), 1, "a lookup saw one of the two");
            lookups += 1;
        }
        swapping.store(false, Ordering::SeqCst);
        let swaps = swaps.await.expect("the swaps end well");
        assert!(builds > 20 && lookups > 20 && swaps > 20, "{builds} builds, {lookups} lookups, {swaps} swaps");
    }
}

fn open(snapshot: &pointsman::routing::snapshot::Snapshot, a: ChannelId, b: ChannelId) -> usize {
    [a, b]
        .into_iter()
        .filter(|id| snapshot.shows_open(*id, "g", "m"))
        .count()
}

/// Opens one and closes the other in one commit, over and over, behind the relay's back.
async fn swap(database: Arc<Database>, a: ChannelId, b: ChannelId, go_on: Arc<AtomicBool>) -> usize {
    use sea_orm::{ConnectionTrait, TransactionTrait};
    let mut swaps = 0;
    let (mut open, mut closed) = (b, a);
    while go_on.load(Ordering::SeqCst) {
        let written: Result<(), sea_orm::DbErr> = async {
            let write = database.connection().begin().await?;
            for (id, status, enabled) in [(open, "enabled", "TRUE"), (closed, "disabled", "FALSE")] {
                write
                    .execute_unprepared(&format!(
                        "UPDATE channels SET status = '{status}' WHERE id = {id}"
                    ))
                    .await?;
                write
                    .execute_unprepared(&format!(
                        "UPDATE abilities SET enabled = {enabled} WHERE channel_id = {id}"
                    ))
                    .await?;
            }
            write.commit().await
        }
        .await;
        written.expect("a swap");
        (open, closed) = (closed, open);
        swaps += 1;
    }
    swaps
}

async fn look_up(core: &Core) -> Found {
    let groups = ["g".into()];
    let rows = find_route::candidates(&core.database, &groups, &"m".into())
        .await
        .expect("a lookup");
    Found::new(rows.draft, &core.snapshot(), rows.began)
}

type Counts = BTreeMap<(ChannelId, Option<KeyId>), usize>;

async fn by_snapshot(core: &Core, asked: &Question) -> Counts {
    let draft = load_snapshot::everything(&core.database)
        .await
        .expect("a build reads");
    let began = core.database.moments().draw();
    let mut router = Router::new(Duration::from_secs(60));
    let built = Built::new(draft, router.snapshot(), Scope::Everything, Generation(1), began);
    drop(router.install(built, Instant::now()));
    let mut rng = SmallRng::seed_from_u64(11);
    let mut counts = Counts::new();
    for _ in 0..DRAWS {
        count(&mut counts, router.pick(asked, Instant::now(), &mut rng).ok());
    }
    counts
}

/// Choices from routes that lookups found, a thousand of them each by a lookup of its own.
async fn by_lookups(core: &Core, asked: &Question) -> Counts {
    let mut router = Router::new(Duration::from_secs(60));
    let mut rng = SmallRng::seed_from_u64(12);
    let mut counts = Counts::new();
    for _ in 0..LOOKUPS {
        let found = look_up(core).await;
        for _ in 0..DRAWS / LOOKUPS {
            let grant = match router.choose(asked, &found, Instant::now(), &mut rng) {
                Chosen::Granted(grant) => Some(grant),
                _ => None,
            };
            count(&mut counts, grant);
        }
    }
    counts
}

fn count(counts: &mut Counts, grant: Option<pointsman::routing::router::Grant>) {
    if let Some(grant) = grant {
        let key = grant.picked.key.as_ref().map(|key| key.id);
        *counts.entry((grant.picked.channel.id, key)).or_default() += 1;
    }
}

/// Chi-square of two samples of equal size; the seeds are fixed, so the bound is met always or never.
fn assert_same_distribution(a: &Counts, b: &Counts, what: &str) {
    assert_eq!(
        a.keys().collect::<Vec<_>>(),
        b.keys().collect::<Vec<_>>(),
        "{what}"
    );
    assert_eq!(a.values().sum::<usize>(), DRAWS, "{what}");
    let chi_square: f64 = a
        .iter()
        .map(|(key, count)| {
            let (x, y) = (*count as f64, b[key] as f64);
            (x - y) * (x - y) / (x + y)
        })
        .sum();
    // The 99.9th percentiles of the distribution for 0 to 8 degrees of freedom.
    const BOUND: [f64; 9] = [0.001, 10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12];
    assert!(
        chi_square < BOUND[a.len() - 1],
        "{what}: chi-square {chi_square:.2} of {a:?} and {b:?}"
    );
}
