//! The oracle's own idea of what is open, written from the rules and not from `src/routing`.

use pointsman::routing::ids::Protocol;
use pointsman::routing::rows::Status;

use crate::world::{Ability, ChannelRows, KeyRows, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    Closed,
    /// Some row cannot be read, and what can be read does not close it.
    Maybe,
    Open,
}

/// What a client asks, as the oracle sees it. `model` is none for a model that no channel ever has.
#[derive(Clone, Debug)]
pub struct Asked {
    pub groups: Vec<usize>,
    pub model: Option<usize>,
    pub protocol: Protocol,
}

/// What the database says of a question at one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    NoAbility,
    NoneOpen,
    SpeaksNot,
    /// Nothing is known to be open, but something that cannot be read may be.
    Maybe,
    Served,
}

impl ChannelRows {
    /// None: there is no such ability.
    pub fn truth(&self, ability: Ability) -> Option<Truth> {
        let row = self.abilities.get(&ability)?;
        if !row.enabled || row.held {
            return Some(Truth::Closed);
        }
        let channel = self.channel_truth();
        Some(if row.bad_weight {
            channel.min(Truth::Maybe)
        } else {
            channel
        })
    }

    pub fn channel_truth(&self) -> Truth {
        if !self.bad_status && self.status != Status::Enabled {
            return Truth::Closed;
        }
        let row = if self.bad_status || self.bad_spec {
            Truth::Maybe
        } else {
            Truth::Open
        };
        row.min(self.key_truth())
    }

    fn key_truth(&self) -> Truth {
        if !self.spec.needs_key && self.keys.is_empty() {
            return Truth::Open;
        }
        let best = self
            .keys
            .iter()
            .map(KeyRows::truth)
            .max()
            .unwrap_or(Truth::Closed);
        if self.spec.needs_key { best } else { Truth::Open }
    }

    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.spec.protocols.contains(&protocol)
    }
}

impl KeyRows {
    pub fn truth(&self) -> Truth {
        match (self.bad_status, self.status, self.bad_secret) {
            (true, ..) | (false, Status::Enabled, true) => Truth::Maybe,
            (false, Status::Enabled, false) => Truth::Open,
            (false, Status::Disabled | Status::AutoDisabled, _) => Truth::Closed,
        }
    }
}

impl World {
    pub fn truth(&self, channel: i64, ability: Ability) -> Option<Truth> {
        self.channel(channel)?.truth(ability)
    }

    pub fn answer(&self, asked: &Asked) -> Answer {
        let Some(model) = asked.model else {
            return Answer::NoAbility;
        };
        let (mut any, mut open, mut maybe, mut served) = (false, false, false, false);
        for rows in self.channels.values() {
            for group in &asked.groups {
                match rows.truth((*group, model)) {
                    None => continue,
                    Some(Truth::Open) => {
                        open = true;
                        served |= rows.speaks(asked.protocol);
                    }
                    Some(Truth::Maybe) => maybe = true,
                    Some(Truth::Closed) => {}
                }
                any = true;
            }
        }
        match (any, open, served, maybe) {
            (_, _, true, _) => Answer::Served,
            (_, _, _, true) => Answer::Maybe,
            (_, true, ..) => Answer::SpeaksNot,
            (true, ..) => Answer::NoneOpen,
            (false, ..) => Answer::NoAbility,
        }
    }
}
