//! Pointsman: a relay for LLM APIs whose router never lies about what is open.
//!
//! The rooms, in reading order. A room imports only from those above it in this list
//! (`tests/pointsman/house.rs` checks it): see `docs/architecture.md`.

/// Who owns which piece of state, and the messages by which others ask for it.
pub mod actors;
/// An upstream that fails to order, for demo, drills, tests and benches.
pub mod practice;
/// Pure: what each wire protocol looks like.
pub mod protocol;
/// One request's way upstream: read, try, stream.
pub mod relay;
/// Pure: routes, tiers, weights, health, picks. No I/O, no clock, no dice of its own.
pub mod routing;
/// Every SQL statement, one question a file.
pub mod store;
/// HTTP: relay routes, admin REST, probes.
pub mod web;

/// The command line: every flag, its unit and its environment variable.
pub mod config;
/// What `pointsman demo` starts.
pub mod demo;
/// What `pointsman serve` starts, and how it stops.
pub mod serve;
