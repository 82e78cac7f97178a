//! The admin REST, one resource a file. Fields bear their columns' names; times are RFC 3339.

pub mod abilities;
pub mod channel_tests;
pub mod channels;
pub mod groups;
pub mod keys;
pub mod models;
pub mod routing;
pub mod tokens;

/// A JSON body, or the field at which it does not fit.
pub mod body;
/// What a channel's fields may hold.
pub mod channel_fields;
/// What names, lists and numbers may hold.
pub mod fields;
/// The query of a list, read field by field.
pub mod query;
/// What a committed change answers.
pub mod changed;
/// Unix milliseconds as RFC 3339 and back.
pub mod times;
