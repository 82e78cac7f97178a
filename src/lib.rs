//! Pointsman: a relay for LLM APIs whose router never lies about what is open.
//!
//! The rooms stand in reading order. Who may import whom is told by `docs/architecture.md`
//! and checked by `tests/pointsman/house.rs`.

/// Pure: routes, tiers, weights, health, picks. No I/O, no clock, no dice of its own.
pub mod routing;
/// Every SQL statement, one question a file.
pub mod store;
/// Who owns which piece of state, and the messages by which others ask for it.
pub mod actors;
/// Pure: what each wire protocol looks like.
pub mod protocol;
/// One request's way upstream: read, try, stream.
pub mod relay;
/// HTTP: relay routes, admin REST, probes.
pub mod web;
/// An upstream that fails to order, for demo, drills, tests and benches.
pub mod practice;

/// The command line: every flag, its unit and its environment variable.
pub mod config;
/// What `pointsman serve` starts, and how it stops.
pub mod serve;
/// What `pointsman demo` starts.
pub mod demo;
/// What `pointsman check` asks and prints.
pub mod check;
