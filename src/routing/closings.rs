//! What a commit on this node has closed: it takes channels out of picks at once, before any build has
//! read the commit (R10).

use super::ids::{ChannelId, GroupName, KeyId, ModelName, Moment};

/// What a committed change has taken from routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The whole channel: closed, deleted, or without an enabled key.
    Channel(ChannelId),
    /// One ability: held, or its group or model was removed from the channel.
    Ability {
        channel: ChannelId,
        group: GroupName,
        model: ModelName,
    },
    /// One key: closed, deleted, or its secret replaced.
    Key { channel: ChannelId, key: KeyId },
}

/// A closing and the moment at which its commit was known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub closed: Closed,
    pub at: Moment,
}

impl Closed {
    pub fn channel(&self) -> ChannelId {
        match self {
            Closed::Channel(channel) | Closed::Ability { channel, .. } | Closed::Key { channel, .. } => {
                *channel
            }
        }
    }
}
