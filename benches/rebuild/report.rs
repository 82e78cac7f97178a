//! What was measured, as a table with the goals beside, and as JSON.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::picks::Waits;
use crate::rounds::{Measured, Plan, Round};

const FILE: &str = "target/bench/rebuild.json";

/// One line: its key in the JSON, its name with its unit, what each round gives, and what is wanted of it.
struct Line {
    key: &'static str,
    name: &'static str,
    goal: &'static str,
    of: fn(&Round) -> f64,
}

const LINES: [Line; 23] = [
    line("rebuild_ms", "full rebuild, ms", "", |r| ms(r.rebuild)),
    line("read_ms", "  reading alone, ms", "", |r| ms(r.read)),
    line("assemble_ms", "  assembling alone, ms", "", |r| ms(r.assemble)),
    line("client_ms", "the client's read, ms", "", |r| ms(r.client)),
    line("rebuild_to_client", "rebuild / client's read", "at most 2", |r| {
        ms(r.rebuild) / ms(r.client)
    }),
    line(
        "change_ms",
        "status change, median, ms",
        "at most 20 (SQLite)",
        |r| median(r.changes.iter().map(|took| ms(*took)).collect()),
    ),
    line("change_worst_ms", "status change, worst, ms", "", |r| {
        r.changes.iter().map(|took| ms(*took)).fold(0.0, f64::max)
    }),
    line("pick_itself_ns", "pick itself, ns", "under 200", |r| {
        r.pick_itself
    }),
    line("rest_p50_us", "picks at rest, p50, µs", "under 10", |r| {
        r.at_rest.quantile(0.5)
    }),
    line("rest_p99_us", "  p99, µs", "", |r| r.at_rest.quantile(0.99)),
    line("rest_p999_us", "  p99.9, µs", "", |r| r.at_rest.quantile(P999)),
    line("rebuild_p50_us", "picks during rebuilds, p50, µs", "", |r| {
        r.during_rebuild.quantile(0.5)
    }),
    line("rebuild_p99_us", "  p99, µs", "", |r| {
        r.during_rebuild.quantile(0.99)
    }),
    line("rebuild_p999_us", "  p99.9, µs", "", |r| {
        r.during_rebuild.quantile(P999)
    }),
    line("rebuild_p999_to_rest", "  p99.9 / at rest", "at most 1.5", |r| {
        to_rest(r, &r.during_rebuild)
    }),
    line("change_p50_us", "picks during changes, p50, µs", "", |r| {
        r.during_changes.quantile(0.5)
    }),
    line("change_p99_us", "  p99, µs", "", |r| {
        r.during_changes.quantile(0.99)
    }),
    line("change_p999_us", "  p99.9, µs", "", |r| {
        r.during_changes.quantile(P999)
    }),
    line("change_p999_to_rest", "  p99.9 / at rest", "at most 1.5", |r| {
        to_rest(r, &r.during_changes)
    }),
    line("client_p50_us", "picks during client's read, p50, µs", "", |r| {
        r.during_client.quantile(0.5)
    }),
    line("client_p99_us", "  p99, µs", "", |r| {
        r.during_client.quantile(0.99)
    }),
    line("client_p999_us", "  p99.9, µs", "", |r| {
        r.during_client.quantile(P999)
    }),
    line(
        "client_p999_to_rest",
        "  p99.9 / at rest",
        "(other load alone)",
        |r| to_rest(r, &r.during_client),
    ),
];

const P999: f64 = 0.999;

const fn line(key: &'static str, name: &'static str, goal: &'static str, of: fn(&Round) -> f64) -> Line {
    Line { key, name, goal, of }
}

/// The median of the rounds, and the least and greatest of them.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: Vec<f64>) -> Spread {
        Spread {
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median: median(values),
        }
    }

    fn shown(&self) -> String {
        let digits = if self.median < 10.0 {
            2
        } else if self.median < 100.0 {
            1
        } else {
            0
        };
        let Spread { median, low, high } = self;
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "low": self.low, "high": self.high })
    }
}

pub fn print(plan: &Plan, measured: &[Measured]) {
    let house = plan.house;
    println!(
        "\n{} abilities ({} channels × {} models), medians of {} rounds (lowest–highest)\n",
        house.abilities(),
        house.channels,
        house.models,
        plan.rounds
    );
    let names = measured.iter().map(|measured| measured.kind.name().to_owned());
    print_line("", names, "goal");
    for line in &LINES {
        let cells = measured.iter().map(|measured| spread(line, measured).shown());
        print_line(line.name, cells, line.goal);
    }
    let bytes = measured
        .iter()
        .map(|measured| format!("{:.2}", measured.bytes_an_ability));
    print_line("bytes an ability", bytes, "at most 24");
}

fn print_line(name: &str, cells: impl Iterator<Item = String>, goal: &str) {
    let cells: String = cells.map(|cell| format!("{cell:>26}")).collect();
    println!("{name:<38}{cells}   {goal}");
}

pub fn write(plan: &Plan, measured: &[Measured]) -> std::io::Result<()> {
    let databases: Map<String, Value> = measured
        .iter()
        .map(|measured| (measured.kind.name().to_owned(), of_database(measured)))
        .collect();
    let all = json!({
        "command": "benches/rebuild/run",
        "version": env!("CARGO_PKG_VERSION"),
        "channels": plan.house.channels,
        "models": plan.house.models,
        "rounds": plan.rounds,
        "changes_a_round": plan.changes,
        "databases": databases,
    });
    let path = Path::new(FILE);
    std::fs::create_dir_all(path.parent().expect("the file is in a folder"))?;
    std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("\nas JSON: {FILE}");
    Ok(())
}

fn of_database(measured: &Measured) -> Value {
    let lines = LINES.iter();
    let mut lines: Map<String, Value> = lines
        .map(|line| (line.key.to_owned(), spread(line, measured).json()))
        .collect();
    lines.insert("bytes_an_ability".to_owned(), measured.bytes_an_ability.into());
    let waits = |of: fn(&Round) -> &Waits| measured.rounds.iter().map(|round| of(round).len()).sum::<usize>();
    let picks = json!({
        "at_rest": waits(|round| &round.at_rest),
        "during_rebuilds": waits(|round| &round.during_rebuild),
        "during_changes": waits(|round| &round.during_changes),
        "during_client": waits(|round| &round.during_client),
    });
    lines.insert("picks".to_owned(), picks);
    lines.into()
}

fn spread(line: &Line, measured: &Measured) -> Spread {
    Spread::of(measured.rounds.iter().map(line.of).collect())
}

fn to_rest(round: &Round, waits: &Waits) -> f64 {
    waits.quantile(P999) / round.at_rest.quantile(P999)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
