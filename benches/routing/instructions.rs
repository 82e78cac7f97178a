//! How many instructions a pick takes: does so many picks of one case, for `benches/routing/instructions` to
//! count under callgrind.
//!
//! `routing_instructions` alone names the cases, `routing_instructions CASE PICKS` does the picks.

#[path = "cases.rs"]
mod cases;
#[path = "house.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod house;

use std::hint::black_box;

use cases::{CASES, Case};

fn main() {
    // cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match (arguments.next(), arguments.next()) {
        (None, _) => CASES.iter().for_each(|(name, _)| println!("{name}")),
        (Some(name), picks) => {
            let picks = picks.and_then(|picks| picks.parse().ok());
            let case = CASES.iter().find(|(known, _)| *known == name);
            let (Some((_, case)), Some(picks)) = (case, picks) else {
                eprintln!("no such case, or no number of picks: {name}");
                std::process::exit(2);
            };
            let mut case = case();
            counted_picks(&mut case, picks);
        }
    }
}

/// Callgrind counts inside of this function only, by its name.
#[unsafe(no_mangle)]
#[inline(never)]
fn counted_picks(case: &mut Case, picks: u64) {
    for _ in 0..picks {
        let _ = black_box(case.pick());
    }
}
