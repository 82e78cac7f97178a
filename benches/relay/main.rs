//! What Pointsman costs in CPU, time and memory, beside nginx as a plain reverse proxy, in the same run.
//!
//! `benches/relay/run` installs nginx if it is missing and runs this; `--quick` shows in a minute that it works,
//! `--only plain-64` measures one case, `--svg PATH` draws the picture. JSON goes to `target/bench/relay.json`.
//!
//! Load and upstream run on CPU 1, nginx (one worker) and Pointsman on CPU 0. The upstream is
//! `pointsman practice --repeat`; the load is one thread that asks over kept connections and compares every answer
//! with the first one, byte by byte. Anything else than that answer, at the first attempt, ends the run with an error.
//! Pointsman runs as in production: `pointsman serve` with its defaults on an SQLite file, set up by its admin REST
//! with 20 channels that serve 50 models each, so a route of 20 channels and a thousand abilities.
//!
//! CPU is the time that the scheduler gave to the relay's threads, divided by the answers. Each round measures each
//! case directly, by nginx and by Pointsman, one right after the other; ratios are taken within a round, and what is
//! told is the median over the rounds, with the least and the most.

// Figures for people: no count here comes near the 52 bits of a float.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

mod ask;
mod cases;
mod cost;
mod figures;
mod goals;
mod load;
mod memory;
mod nginx;
mod picture;
mod processes;
mod reading;
mod report;
mod rounds;
mod stage;
mod start;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::cases::{CASES, Case};
use crate::figures::{CaseFigures, Figures, Round, Spread};
use crate::report::Circumstances;
use crate::rounds::Trial;
use crate::stage::{Stage, Target};

const JSON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench/relay.json");

/// What Pointsman costs, beside nginx
#[derive(Parser)]
#[command(name = "benches/relay/run")]
struct Arguments {
    /// How often everything is measured
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each measurement takes, warm-up apart
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only cases whose name begins so (repeatable); memory and start are left out
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// One round of a quarter of a second: shows that it works, and no more
    #[arg(long)]
    quick: bool,
    /// Where the picture goes; none given: none is drawn
    #[arg(long, value_name = "PATH")]
    svg: Option<PathBuf>,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        (arguments.rounds, arguments.seconds) = (1, 0.25);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benches/relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let seconds = Duration::try_from_secs_f64(arguments.seconds).map_err(io::Error::other)?;
    let cases = chosen(&arguments.only)?;
    let circumstances = circumstances(arguments)?;
    tell("setting the stage");
    let mut stage = Stage::set()?;
    let (mut memory, mut start_ms) = (None, None);
    if arguments.only.is_empty() {
        tell("memory");
        memory = Some(memory::measure(&stage, seconds)?);
        tell("start");
        start_ms = Some(Spread::of(start::measure(&stage, arguments.rounds.into())?));
        stage = stage.renew_node()?;
    }
    let figures = Figures {
        cases: measure(&cases, &stage.targets(), arguments.rounds, seconds)?,
        memory,
        start_ms,
    };
    drop(stage);
    hand_over(&figures, &circumstances, arguments)
}

fn chosen(only: &[String]) -> io::Result<Vec<&'static Case>> {
    let is_chosen =
        |case: &&Case| only.is_empty() || only.iter().any(|name| case.name.starts_with(name.as_str()));
    let chosen: Vec<&Case> = CASES.iter().filter(is_chosen).collect();
    match chosen.is_empty() {
        true => Err(io::Error::other("no case of that name")),
        false => Ok(chosen),
    }
}

fn circumstances(arguments: &Arguments) -> io::Result<Circumstances> {
    let given: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let load_average = fs::read_to_string("/proc/loadavg")?;
    Ok(Circumstances {
        command: ["benches/relay/run".to_owned()]
            .into_iter()
            .chain(given)
            .collect::<Vec<_>>()
            .join(" "),
        rounds: arguments.rounds.into(),
        seconds: arguments.seconds,
        load_average: load_average.split(' ').next().unwrap_or_default().to_owned(),
    })
}

fn measure(
    cases: &[&'static Case],
    targets: &[Target; 3],
    rounds: u16,
    seconds: Duration,
) -> io::Result<Vec<CaseFigures>> {
    let mut trials = Vec::new();
    let mut figures = Vec::new();
    for case in cases {
        tell(&format!("first answers: {}", case.title));
        let [direct, nginx, pointsman] = targets;
        trials.push([
            Trial::prepare(case, direct)?,
            Trial::prepare(case, nginx)?,
            Trial::prepare(case, pointsman)?,
        ]);
        figures.push(CaseFigures {
            case,
            rounds: Vec::new(),
        });
    }
    for round in 1..=rounds {
        for (trials, figures) in trials.iter().zip(&mut figures) {
            tell(&format!("round {round} of {rounds}: {}", figures.case.title));
            let [direct, nginx, pointsman] = trials;
            let taken = |trial: &Trial<'_>| trial.measure(seconds, || Ok(()));
            figures.rounds.push(Round {
                direct: taken(direct)?,
                nginx: taken(nginx)?,
                pointsman: taken(pointsman)?,
            });
        }
    }
    Ok(figures)
}

fn hand_over(figures: &Figures, circumstances: &Circumstances, arguments: &Arguments) -> io::Result<()> {
    print!("{}", report::to_text(figures, circumstances));
    let json = PathBuf::from(JSON);
    if let Some(folder) = json.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&json, format!("{:#}\n", report::to_json(figures, circumstances)))?;
    tell(&format!("JSON: {}", json.display()));
    if let Some(path) = &arguments.svg {
        fs::write(path, picture::draw(figures))?;
        tell(&format!("picture: {}", path.display()));
    }
    Ok(())
}

/// Progress is no result, so it goes to stderr.
fn tell(what: &str) {
    eprintln!("benches/relay: {what}");
}
