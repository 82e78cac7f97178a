//! Every SQL statement, one question a file.
//!
//! A [`connect::Database`] runs each question as a task of its own on one multi-threaded runtime, on a
//! connection of the lane that the question belongs to, within a deadline. Reads end with their caller;
//! writes run on to their end, and each one that touches routing hands back a [`receipt::Receipt`].

/// Opens a database: pools by purpose, deadlines, migrations.
pub mod connect;
/// What a question to the database can fail with, and what may follow.
pub mod error;
/// All rows, or those of some channels, in one consistent view.
pub mod load_snapshot;
/// One model in some groups, asked of the database itself.
pub mod find_route;
/// Channel, keys and abilities: one commit.
pub mod change_status;
/// What a commit has done to routing, until a rebuild consumes it.
pub mod receipt;
/// Channels as an operator sees and changes them.
pub mod channels;
/// A channel to be asked by itself, and which ones wait for a test.
pub mod channels_to_test;
/// A channel's keys.
pub mod keys;
/// Which channel serves which model to which group.
pub mod abilities;
/// What is configured for a model: fallbacks and settings.
pub mod models;
/// The clients' tokens.
pub mod tokens;
/// The operators' tokens.
pub mod admin_tokens;
/// What other nodes on the same database have changed.
pub mod notices;
/// What a node keeps on disk to start from without its database.
pub mod kept;
/// The file in which that is kept, sealed, and the journal of closings beside it.
pub mod snapshot_file;
/// What always holds in the tables, asked of all rows.
pub mod invariants;
/// The form in which tokens are kept.
pub mod key_hash;
/// One page of a list.
pub mod paging;

mod cells;
mod channel_abilities;
mod channel_views;
mod commit;
mod decode;
mod gathered_abilities;
mod ids_given;
mod lanes;
mod locked_channel;
mod migrate;
mod secrets;
mod session;
