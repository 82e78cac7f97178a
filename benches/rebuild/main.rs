//! What a million abilities cost: a full rebuild beside the database's own client reading the same rows, the patch
//! after a status change, and what picks wait meanwhile.
//!
//! `benches/rebuild/run` starts the databases and then this; by itself (`cargo bench --bench rebuild`) it measures
//! those that are there, SQLite always. The table goes to stdout, and as JSON to `target/bench/rebuild.json`.

#[path = "../routing/cases.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod cases;
#[path = "../routing/house.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod house;

mod fill;
mod floor;
mod kind;
mod node;
mod picks;
mod report;
mod rounds;

use std::io::Error;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use pointsman::serve::{Failed, in_system};

use house::House;
use kind::Kind;
use rounds::Contender;

/// Full rebuilds, patches and picks at a million abilities
#[derive(Debug, Parser)]
#[command(name = "benches/rebuild/run")]
struct Arguments {
    /// Rounds that count; one before them warms up
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    #[arg(long, default_value_t = 2_000)]
    channels: usize,

    /// Each channel serves all of them
    #[arg(long, default_value_t = 500)]
    models: usize,

    /// Status changes in a round
    #[arg(long, default_value_t = 40)]
    changes: usize,

    /// Seconds of picks at rest in a round
    #[arg(long, default_value_t = 3.0)]
    rest: f64,

    /// Only these databases
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,

    /// cargo adds it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    in_system(async move {
        measure(arguments)
            .await
            .map_err(|error| Failed::Io(Error::other(error)))
    })
}

async fn measure(arguments: Arguments) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let house = House {
        channels: arguments.channels,
        models_each: arguments.models,
        models: arguments.models,
    };
    let mut contenders = Vec::new();
    for kind in Kind::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&kind) {
            continue;
        }
        let Some(fresh) = kind.fresh().await? else {
            eprintln!("{} is left out: start it with benches/rebuild/run", kind.name());
            continue;
        };
        let began = Instant::now();
        let database = node::open(&fresh.url).await;
        fill::fill(kind, &fresh.url, house).await?;
        let node = node::Node::start(database).await;
        eprintln!("{} filled in {:.1} s", kind.name(), began.elapsed().as_secs_f64());
        contenders.push(Contender::new(kind, fresh, node));
    }
    let plan = rounds::Plan {
        house,
        rounds: arguments.rounds,
        changes: arguments.changes,
        rest: std::time::Duration::from_secs_f64(arguments.rest),
    };
    let measured = rounds::run(&plan, &contenders).await;
    report::print(&plan, &measured);
    report::write(&plan, &measured)?;
    Ok(())
}
