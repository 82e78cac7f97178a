//! Who owns which piece of state, and the messages by which others ask for it.
//!
//! | actor | owns |
//! |---|---|
//! | [`cache::CacheActor`] | the router: snapshot, closings, health; the build in flight and its waiters |
//! | [`query::QueryActor`] | the lookups in flight and their bound |
//! | [`tokens::TokenActor`] | the tokens seen lately |
//!
//! No actor waits for another inside a handler. Everyone else holds a [`Routing`], the one way to all three.

/// The messages of routing: who sends each, and when it is answered.
pub mod messages;
/// A picked channel and key, which reports its outcome exactly once.
pub mod lease;
/// Owns the snapshot; picks, and builds.
pub mod cache;
/// Asks the database what the snapshot does not know.
pub mod query;
/// Remembers tokens before the database.
pub mod tokens;
mod seen_tokens;
mod good_news;
mod together;
/// A commit, its closings and its rebuild, in a task that nobody's going ends.
pub mod changes;
/// What the relay closes and reopens by itself.
pub mod upkeep;
/// What other nodes on the same database have changed.
pub mod notices;
/// Keeps on disk what a node can start from without its database.
pub mod keeper;
/// What the actors count, for `/metrics`.
pub mod counters;

mod routing_handle;
mod caught;

pub use routing_handle::{Routing, RoutingOptions};
