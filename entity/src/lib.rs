//! The tables, one file each. Statuses are words, times are Unix milliseconds.
//!
//! Columns that a hand may leave broken (JSON, statuses, flags) are read by `src/store/decode.rs`, one by
//! one; these models are for writing and for naming columns.

pub mod ability;
pub mod admin_token;
pub mod change_notice;
pub mod channel;
pub mod channel_key;
pub mod commit_mark;
pub mod model;
pub mod routing_version;
pub mod token;
