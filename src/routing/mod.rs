//! The router, pure: rows go in, snapshots and picks come out. Nothing here does I/O, asks the time or
//! throws dice of its own; what is needed of these is handed in.
#![deny(clippy::disallowed_methods)]

pub mod ids;
pub mod rows;
pub mod open;
pub mod weight;
pub mod route;
pub mod snapshot;
pub mod build;
pub mod closings;
pub mod outcome;
pub mod health;
pub mod tried;
pub mod met;
pub mod remembered;
pub mod pick;
pub mod refusal;
pub mod waiters;
pub mod misses;
pub mod rebuilds;
pub mod hearing;
pub mod lookups;
pub mod router;

#[cfg(test)]
pub(crate) mod stage;
