//! What a request keeps away from, as it has tried it. By id, never by position, so a request that began
//! under one snapshot goes on rightly under another (R2).

use std::time::Instant;

use super::ids::{ChannelId, KeyId};

/// The channels and keys that a request has tried for one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tried {
    /// Not to be tried again by this request.
    channels: Vec<ChannelId>,
    keys: Vec<KeyId>,
    /// To be tried again once nothing else is left, each from its time on.
    resting_channels: Vec<(ChannelId, Instant)>,
    resting_keys: Vec<(KeyId, Instant)>,
    round: Round,
    attempts: u32,
}

/// Whether what rests may be tried again (section 5's second round).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Round {
    /// What rests is left out as the rest is.
    #[default]
    First,
    /// Nothing else is left: what has rested is as good as any.
    Second,
}

/// Whether this request may try it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// Not before then.
    From(Instant),
    Never,
}

impl Tried {
    /// The whole channel failed.
    pub fn channel(&mut self, channel: ChannelId) {
        self.attempts += 1;
        self.channels.push(channel);
    }

    /// One key of a channel failed; the channel goes on with its others.
    pub fn key(&mut self, key: KeyId) {
        self.attempts += 1;
        self.keys.push(key);
    }

    /// The whole channel failed, and may be tried again from `due` on when nothing else is left.
    pub fn channel_until(&mut self, channel: ChannelId, due: Instant) {
        self.attempts += 1;
        self.resting_channels.retain(|(known, _)| *known != channel);
        self.resting_channels.push((channel, due));
    }

    /// One key failed, and may be tried again from `due` on when nothing else is left.
    pub fn key_until(&mut self, key: KeyId, due: Instant) {
        self.attempts += 1;
        self.resting_keys.retain(|(known, _)| *known != key);
        self.resting_keys.push((key, due));
    }

    pub fn begin(&mut self, round: Round) {
        self.round = round;
    }

    /// Nothing was sent yet.
    pub fn is_empty(&self) -> bool {
        self.attempts == 0
    }

    /// Something rests that a second round may try again.
    pub fn has_resting(&self) -> bool {
        let channel = |(channel, _): &(ChannelId, Instant)| !self.channels.contains(channel);
        let key = |(key, _): &(KeyId, Instant)| !self.keys.contains(key);
        self.resting_channels.iter().any(channel) || self.resting_keys.iter().any(key)
    }

    pub fn channel_turn(&self, channel: ChannelId, now: Instant) -> Turn {
        self.turn(
            self.channels.contains(&channel),
            &self.resting_channels,
            channel,
            now,
        )
    }

    pub fn key_turn(&self, key: KeyId, now: Instant) -> Turn {
        self.turn(self.keys.contains(&key), &self.resting_keys, key, now)
    }

    fn turn<T: PartialEq>(&self, excluded: bool, resting: &[(T, Instant)], id: T, now: Instant) -> Turn {
        let due = resting
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, due)| *due);
        match (excluded, due, self.round) {
            (true, ..) | (false, Some(_), Round::First) => Turn::Never,
            (false, Some(due), Round::Second) if due > now => Turn::From(due),
            (false, Some(_), Round::Second) | (false, None, _) => Turn::Now,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's time has to start somewhere")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn r2_what_rests_has_its_turn_again_in_the_second_round_only() {
        let now = Instant::now();
        let due = now + Duration::from_secs(1);
        let (one, two, three) = (ChannelId(1), ChannelId(2), ChannelId(3));
        let mut tried = Tried::default();
        assert!(tried.is_empty());
        tried.channel(one);
        tried.channel_until(two, due);
        tried.key_until(KeyId(31), now);
        assert!(!tried.is_empty() && tried.has_resting());
        let turns = |tried: &Tried, at| [one, two, three].map(|id| tried.channel_turn(id, at));
        assert_eq!(turns(&tried, due), [Turn::Never, Turn::Never, Turn::Now]);
        assert_eq!(tried.key_turn(KeyId(31), now), Turn::Never);
        tried.begin(Round::Second);
        assert_eq!(turns(&tried, now), [Turn::Never, Turn::From(due), Turn::Now]);
        assert_eq!(turns(&tried, due), [Turn::Never, Turn::Now, Turn::Now]);
        assert_eq!(tried.key_turn(KeyId(31), now), Turn::Now);
        // What is left out for good does not rest.
        tried.channel(two);
        tried.key(KeyId(31));
        assert!(!tried.has_resting());
    }
}
