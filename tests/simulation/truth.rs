//! The oracle's own idea of what is open, written from the rules and not from `src/routing`.

use pointsman::routing::ids::Protocol;
use pointsman::routing::rows::Status;

use crate::world::{Ability, AbilityRows, ChannelRows, KeyRows, World};

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
        Some(match row.truth() {
            Truth::Closed => Truth::Closed,
            truth => truth.min(self.channel_truth()),
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

    /// Nothing that can be read closes the ability. A provider that cannot be read may need no key: who has no last good
    /// definition cannot tell.
    pub fn may_be_open(&self, ability: Ability) -> bool {
        if !self.bad_spec {
            return matches!(self.truth(ability), Some(Truth::Open | Truth::Maybe));
        }
        let is_closed = |row: &AbilityRows| row.truth() == Truth::Closed;
        let row = self.abilities.get(&ability);
        row.is_some_and(|row| !is_closed(row)) && (self.bad_status || self.status == Status::Enabled)
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

impl AbilityRows {
    /// The ability's own: what can be read of its flags closes it, or something cannot be read.
    pub fn truth(&self) -> Truth {
        let is_closed = (!self.bad_enabled && !self.enabled) || (!self.bad_held && self.held);
        match (is_closed, self.has_rot()) {
            (true, _) => Truth::Closed,
            (false, true) => Truth::Maybe,
            (false, false) => Truth::Open,
        }
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

    /// Something that cannot be read might serve the question.
    pub fn is_unsure(&self, asked: &Asked) -> bool {
        let Some(model) = asked.model else {
            return false;
        };
        let may_be = |rows: &ChannelRows, group: &usize| {
            rows.may_be_open((*group, model)) && rows.truth((*group, model)) != Some(Truth::Open)
        };
        let mut channels = self.channels.values();
        channels.any(|rows| asked.groups.iter().any(|group| may_be(rows, group)))
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
