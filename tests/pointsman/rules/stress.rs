//! R3, R9, R10: the actors under as many picks and status changes as the machine has room for, with no server round
//! them. No pick is refused while a channel is open, none gets a channel whose closing has returned.
//!
//! `POINTSMAN_TEST_PICKS` says how many picks on each database.

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use pointsman::actors::changes::RoutingState;
use pointsman::actors::counters;
use pointsman::routing::ids::ChannelId;
use pointsman::routing::outcome::Outcome;
use pointsman::store::change_status::{Change, OperatorStatus, set_channel};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::core::{Core, question};
use crate::databases::Database;

/// As many as fit into a normal run.
const PICKS: u64 = 300_000;
/// Requests under way at once.
const PICKERS: usize = 64;
const TOLD_EVERY: u64 = 64;
const PAIRS: usize = 6;
const CROWD: usize = 8;
const SOLOS: usize = 2;
const GROUPS: [&str; 2] = ["first", "second"];

on_each_database! {
    async fn heavy_stress_no_false_refusal_and_no_pick_of_a_closed_channel(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Arc::new(Core::start(&database).await);
        let world = Arc::new(World::new(&core).await);
        let goal = env::var("POINTSMAN_TEST_PICKS").map_or(PICKS, |text| text.parse().expect("a number"));
        let (began, before) = (Instant::now(), Counted::now());

        let togglers: Vec<_> = world.togglers(&core).into_iter().map(|toggler| tokio::spawn(toggler)).collect();
        let pickers: Vec<_> = (0..PICKERS).map(|n| tokio::spawn(pick_on(Arc::clone(&core), Arc::clone(&world), n as u64, goal))).collect();
        for picker in pickers {
            picker.await.expect("a picker");
        }
        let seconds = began.elapsed().as_secs_f64();
        world.ended.store(true, SeqCst);
        world.told.send_replace(u64::MAX);
        for toggler in togglers {
            toggler.await.expect("a toggler");
        }

        let told = Counted::now();
        println!(
            "{kind:?}: {goal} picks, {} of them beside a closed channel, {} toggles, {} rebuilds, {} misses, {} refusals that were right, {} overloaded, {seconds:.1} s",
            world.beside_closed.load(SeqCst), world.toggles.load(SeqCst), told.rebuilds - before.rebuilds, told.misses - before.misses,
            world.refused.load(SeqCst), world.overloaded.load(SeqCst),
        );
        assert_eq!(told.failed, before.failed, "no build failed");
        assert!(world.toggles.load(SeqCst) > 20, "channels were toggled");
        assert!(world.refused.load(SeqCst) > 0, "a model without an open channel was asked for");
    }
}

/// Every channel that serves one model, and how it may be toggled.
struct Model {
    name: String,
    channels: Vec<Arc<Toggled>>,
    /// One of its channels is open at every moment.
    is_always_open: bool,
}

/// What is certain of a channel while it is toggled.
struct Toggled {
    id: ChannelId,
    /// Odd: a closing has returned and no opening has begun since.
    closed: AtomicU64,
    /// Odd: an opening has returned and no closing has begun since.
    open: AtomicU64,
}

struct World {
    models: Vec<Model>,
    picked: AtomicU64,
    toggles: AtomicU64,
    refused: AtomicU64,
    overloaded: AtomicU64,
    /// Picks that went on while a channel of their model was certainly closed.
    beside_closed: AtomicU64,
    /// The number of picks, told every now and then.
    told: watch::Sender<u64>,
    ended: AtomicBool,
}

impl World {
    async fn new(core: &Core) -> World {
        let mut models = Vec::new();
        for (count, times, name) in [(2, PAIRS, "pair"), (CROWD, 1, "crowd"), (1, SOLOS, "solo")] {
            for n in 0..times {
                let name = format!("{name}-{n}");
                let mut channels = Vec::new();
                for c in 0..count {
                    // Of every other pair, each channel is another group's.
                    let groups = if n % 2 == 0 {
                        &GROUPS[..]
                    } else {
                        &GROUPS[c % 2..=c % 2]
                    };
                    let id = core.channel(&format!("{name}-{c}"), groups, &[&name]).await;
                    channels.push(Arc::new(Toggled {
                        id,
                        closed: 0.into(),
                        open: 1.into(),
                    }));
                }
                models.push(Model {
                    name,
                    channels,
                    is_always_open: count > 1,
                });
            }
        }
        World {
            models,
            picked: 0.into(),
            toggles: 0.into(),
            refused: 0.into(),
            overloaded: 0.into(),
            beside_closed: 0.into(),
            told: watch::Sender::new(0),
            ended: false.into(),
        }
    }

    /// One for each pair, which never closes both; two for the crowd, which leave its first alone; one for each solo.
    fn togglers(self: &Arc<Self>, core: &Arc<Core>) -> Vec<impl Future<Output = ()> + use<>> {
        let mut of: Vec<Vec<Arc<Toggled>>> = Vec::new();
        for model in &self.models {
            match model.channels.len() {
                CROWD => {
                    let (some, others) = model.channels[1..].split_at(CROWD / 2);
                    of.extend([some.to_vec(), others.to_vec()]);
                }
                _ => of.push(model.channels.clone()),
            }
        }
        let togglers = of
            .into_iter()
            .map(|channels| toggle_in_turn(Arc::clone(core), Arc::clone(self), channels));
        togglers.collect()
    }

    /// Until more picks have been made than are under way at once.
    async fn some_picks(&self) {
        let mut told = self.told.subscribe();
        let enough = told
            .borrow_and_update()
            .saturating_add(2 * PICKERS as u64 + TOLD_EVERY);
        while *told.borrow_and_update() < enough && !self.ended.load(SeqCst) {
            // Its sender is this very world.
            let _ = told.changed().await;
        }
    }
}

/// Closes and opens one after the other, as fast as it goes.
async fn toggle_in_turn(core: Arc<Core>, world: Arc<World>, channels: Vec<Arc<Toggled>>) {
    for (turn, channel) in channels.iter().cycle().enumerate() {
        channel.open.fetch_add(1, SeqCst);
        set(&core, channel.id, OperatorStatus::Disabled).await;
        channel.closed.fetch_add(1, SeqCst);
        // Every other time it stays so, as only what lasts for a while can be told from what just changes.
        if turn % 4 < 2 {
            world.some_picks().await;
        }
        channel.closed.fetch_add(1, SeqCst);
        set(&core, channel.id, OperatorStatus::Enabled).await;
        channel.open.fetch_add(1, SeqCst);
        world.toggles.fetch_add(2, SeqCst);
        if turn % 4 < 2 {
            world.some_picks().await;
        }
        if world.ended.load(SeqCst) {
            return;
        }
    }
}

/// As the admin REST does.
async fn set(core: &Core, channel: ChannelId, to: OperatorStatus) {
    let database = core.database.clone();
    let write = async move {
        let receipt = set_channel(&database, channel, Change::ByOperator { to, reason: None }).await?;
        Ok(((), receipt))
    };
    let changed = core
        .routing
        .changes()
        .run(write)
        .await
        .expect("the status is changed");
    assert!(
        matches!(changed.settled.routing, RoutingState::InPlace(_)),
        "{changed:?}"
    );
}

async fn pick_on(core: Arc<Core>, world: Arc<World>, number: u64, goal: u64) {
    let mut dice = SmallRng::seed_from_u64(number);
    // Whoever is in a hurry drops its lease; that is no news of the channel.
    loop {
        let picks = world.picked.fetch_add(1, SeqCst);
        if picks >= goal {
            return;
        }
        if picks.is_multiple_of(TOLD_EVERY) {
            world.told.send_replace(picks);
        }
        let model = &world.models[dice.random_range(0..world.models.len())];
        let known: BTreeMap<ChannelId, (u64, u64)> = model
            .channels
            .iter()
            .map(|channel| {
                (
                    channel.id,
                    (channel.closed.load(SeqCst), channel.open.load(SeqCst)),
                )
            })
            .collect();
        if known.values().any(|(closed, _)| closed % 2 == 1) {
            world.beside_closed.fetch_add(1, SeqCst);
        }
        let picked = core.routing.pick(question(&GROUPS, &model.name), None).await;
        match picked {
            Ok(lease) => {
                let id = lease.channel().id;
                let channel = model
                    .channels
                    .iter()
                    .find(|channel| channel.id == id)
                    .expect("one of the model's");
                let (closed, _) = known[&id];
                let was_closed = closed % 2 == 1 && channel.closed.load(SeqCst) == closed;
                assert!(
                    !was_closed,
                    "{}: {id:?} was picked after its closing had returned",
                    model.name
                );
                if dice.random_range(0..8) > 0 {
                    lease.report(Outcome::Ok);
                }
            }
            Err(refusal) => {
                let open = model.channels.iter().find(|channel| {
                    let (_, open) = known[&channel.id];
                    open % 2 == 1 && channel.open.load(SeqCst) == open
                });
                let code = refusal.code();
                assert!(
                    !model.is_always_open && open.is_none(),
                    "{}: {code}, though one was open all the time",
                    model.name
                );
                match code {
                    "no_available_channel" => world.refused.fetch_add(1, SeqCst),
                    // Its status moves faster than it can be read.
                    "overloaded" => world.overloaded.fetch_add(1, SeqCst),
                    other => panic!("{}: {other}", model.name),
                };
            }
        }
    }
}

struct Counted {
    rebuilds: u64,
    failed: u64,
    misses: u64,
}

impl Counted {
    fn now() -> Counted {
        let rebuilds = |result| -> u64 {
            let of = |scope| counters::REBUILDS.with_label_values(&[scope, result]).get();
            of("full") + of("channels")
        };
        Counted {
            rebuilds: rebuilds("ok"),
            failed: rebuilds("failed"),
            misses: counters::MISSES.get(),
        }
    }
}
