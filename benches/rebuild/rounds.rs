//! The rounds: in each, every database does everything once, so that what disturbs the machine disturbs all alike.

use std::time::{Duration, Instant};

use pointsman::routing::ids::ChannelId;
use pointsman::store::change_status::OperatorStatus;

use crate::cases::Case;
use crate::floor;
use crate::house::House;
use crate::kind::{Fresh, Kind};
use crate::node::Node;
use crate::picks::{Picker, Waits};

/// Enough for the mean to be steady.
const PICKS_ITSELF: u32 = 200_000;

/// What is done.
pub struct Plan {
    pub house: House,
    pub rounds: usize,
    pub changes: usize,
    pub rest: Duration,
}

/// A database, filled, with a node on it.
pub struct Contender {
    kind: Kind,
    fresh: Fresh,
    node: Node,
}

impl Contender {
    pub fn new(kind: Kind, fresh: Fresh, node: Node) -> Contender {
        Contender { kind, fresh, node }
    }
}

/// What a database showed in all rounds.
pub struct Measured {
    pub kind: Kind,
    pub bytes_an_ability: f64,
    pub rounds: Vec<Round>,
}

/// What it showed in one.
pub struct Round {
    pub rebuild: Duration,
    pub read: Duration,
    pub assemble: Duration,
    pub client: Duration,
    /// Each of them.
    pub changes: Vec<Duration>,
    /// Nanoseconds of a pick by itself, without a message.
    pub pick_itself: f64,
    pub at_rest: Waits,
    pub during_rebuild: Waits,
    pub during_changes: Waits,
    /// While the client reads: what any other load on the same CPUs does to picks.
    pub during_client: Waits,
}

pub async fn run(plan: &Plan, contenders: &[Contender]) -> Vec<Measured> {
    let picker = Picker::new(plan.house);
    let mut measured: Vec<Measured> = contenders.iter().map(Measured::of).collect();
    for number in 0..=plan.rounds {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let round = round(plan, contender, &picker).await;
            let name = contender.kind.name();
            eprintln!(
                "round {number}: {name}, rebuilt in {:.0} ms",
                round.rebuild.as_secs_f64() * 1e3
            );
            // The first one warms up.
            if number > 0 {
                measured.rounds.push(round);
            }
        }
    }
    measured
}

impl Measured {
    fn of(contender: &Contender) -> Measured {
        let snapshot = contender.node.routing.snapshot();
        let abilities = snapshot.counts().abilities;
        Measured {
            kind: contender.kind,
            bytes_an_ability: snapshot.ability_bytes() as f64 / abilities as f64,
            rounds: Vec::new(),
        }
    }
}

async fn round(plan: &Plan, contender: &Contender, picker: &Picker) -> Round {
    let Contender { kind, fresh, node } = contender;
    let routing = &node.routing;
    let ((), at_rest) = picker.during(routing, tokio::time::sleep(plan.rest)).await;
    let (client, during_client) = picker.during(routing, floor::read(*kind, fresh)).await;
    let (rebuild, during_rebuild) = picker.during(routing, node.rebuild()).await;
    let (changes, during_changes) = picker.during(routing, change(plan, node)).await;
    let (read, assemble) = node.read_and_assemble().await;
    Round {
        rebuild,
        read,
        assemble,
        client,
        changes,
        pick_itself: pick_itself(plan, node),
        at_rest,
        during_rebuild,
        during_changes,
        during_client,
    }
}

/// Closes channels and opens them again, one after the other.
async fn change(plan: &Plan, node: &Node) -> Vec<Duration> {
    let mut took = Vec::with_capacity(plan.changes);
    let channels = (1..=plan.house.channels as i64).map(ChannelId).cycle();
    for channel in channels.take(plan.changes.div_ceil(2)) {
        took.push(node.set(channel, OperatorStatus::Disabled).await);
        took.push(node.set(channel, OperatorStatus::Enabled).await);
    }
    took
}

fn pick_itself(plan: &Plan, node: &Node) -> f64 {
    let mut case = Case::random_of(node.routing.snapshot(), plan.house);
    let began = Instant::now();
    for _ in 0..PICKS_ITSELF {
        let _ = std::hint::black_box(case.pick());
    }
    began.elapsed().as_nanos() as f64 / f64::from(PICKS_ITSELF)
}
