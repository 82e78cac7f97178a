//! Rows in, snapshot and quarantine out.

use super::rows::{AbilityRow, ChannelRow, KeyRow};

/// Rows as they come from the database, not yet a snapshot.
#[derive(Debug, Default)]
pub struct Draft {}

impl Draft {
    /// Takes a row of `channels`; one that is already known is ignored.
    pub fn channel(&mut self, _row: ChannelRow) {}

    /// Takes a row of `channel_keys`; one that is already known is ignored.
    pub fn key(&mut self, _row: KeyRow) {}

    /// Takes a row of `abilities`. Its channel may come before or after it.
    pub fn ability(&mut self, _row: AbilityRow<'_>) {}
}
