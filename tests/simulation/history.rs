//! A seed's history: run, and where it fails, cut down to a shortest one that fails alike.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::coverage::Coverage;
use crate::oracle::{Fault, fault};
use crate::run::Run;
use crate::schedule::{self, Choice};

/// Choices in a history.
const LENGTH: usize = 300;

/// How a run ended.
pub struct Ended {
    pub coverage: Coverage,
    pub fault: Option<Fault>,
    pub story: Vec<String>,
}

/// What failed, in as few choices as could be found.
pub struct Failure {
    pub seed: u64,
    pub fault: Fault,
    pub choices: usize,
    pub story: Vec<String>,
}

/// Runs the seed's history; the time at which it begins is any.
pub fn run(seed: u64) -> Result<Coverage, Box<Failure>> {
    let began = Instant::now();
    let choices = schedule::choices(seed, LENGTH);
    let ended = carry_out(seed, &choices, began, false);
    let Some(found) = ended.fault else {
        return Ok(ended.coverage);
    };
    let fails_alike = |choices: &[Choice]| {
        let again = carry_out(seed, choices, began, false).fault;
        again.is_some_and(|fault| fault.rule == found.rule)
    };
    let shortest = shortest(choices, fails_alike);
    let ended = carry_out(seed, &shortest, began, true);
    Err(Box::new(Failure {
        seed,
        fault: ended.fault.unwrap_or(found),
        choices: shortest.len(),
        story: ended.story,
    }))
}

fn carry_out(seed: u64, choices: &[Choice], began: Instant, tells: bool) -> Ended {
    let mut run = Run::new(seed, began, tells);
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        run.start(&mut SmallRng::seed_from_u64(seed))?;
        choices.iter().try_for_each(|choice| run.step(*choice))?;
        run.comes_to_rest()
    }));
    let verdict = verdict.unwrap_or_else(|_| fault("panic", "the code under test panicked"));
    Ended {
        coverage: run.coverage,
        fault: verdict.err(),
        story: run.story.unwrap_or_default(),
    }
}

/// Takes out chunks, large ones first, as long as what is left still fails (delta debugging; Zeller, Hildebrandt 2002).
fn shortest(mut choices: Vec<Choice>, fails: impl Fn(&[Choice]) -> bool) -> Vec<Choice> {
    let mut chunk = choices.len().div_ceil(2);
    while chunk > 0 {
        let before = choices.len();
        let mut at = 0;
        while at < choices.len() {
            let mut without = choices.clone();
            without.drain(at..(at + chunk).min(choices.len()));
            if fails(&without) {
                choices = without;
            } else {
                at += chunk;
            }
        }
        if chunk == 1 && choices.len() == before {
            break;
        }
        chunk = if chunk == 1 { 1 } else { chunk / 2 };
    }
    choices
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure {
            seed,
            fault,
            choices,
            story,
        } = self;
        writeln!(f, "{}: {}", fault.rule, fault.words)?;
        writeln!(f, "the shortest history found, of {choices} choices:")?;
        story.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(
            f,
            "again: POINTSMAN_SIMULATION_SEED={seed} cargo test --test simulation -- --nocapture"
        )
    }
}
