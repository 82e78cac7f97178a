//! Exhaustive small worlds: the state machines of the router, explored completely for a few askers, channels,
//! nodes and failures: every interleaving, and what would go on for ever.
//!
//! The code that runs is the very code of `src/routing`; each world's own part is only what the actors do with it:
//! keep what it returns, deliver messages, start builds and lookups. Each test prints how many states there are.
//! `WORLDS=1` (or more) explores larger worlds, which takes minutes.
//!
//! So that nobody has to believe that the checks can fail: each world also has careless variants, whose mistakes
//! must be found, and it prints the shortest way to each.

mod dice;
mod explorer;
mod relative;
mod stage;

mod closings;
mod hearing;
mod lookups;
mod rebuilds;
mod waiters;

use explorer::Broken;

/// How much larger than usual the worlds are.
fn size() -> usize {
    std::env::var("WORLDS")
        .ok()
        .and_then(|size| size.parse().ok())
        .unwrap_or(0)
}

/// The careless variant broke a property of this word; prints how.
fn is_found(variant: &str, checked: Result<(), Broken>, word: &str) {
    let Err(broken) = checked else {
        panic!("{variant} was not found");
    };
    println!("{variant}: {broken}");
    assert!(
        broken.what.contains(word),
        "{variant} was found for something else: {broken}"
    );
    assert!(!broken.path.is_empty(), "{variant}: a path leads there");
}
