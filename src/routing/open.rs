//! Open, or the reason why not: the one predicate that snapshot build, lookup and *explain* share (R1).

use serde::Serialize;

use super::rows::{ProviderTraits, Status};

/// What decides whether a channel is open at all, for any group and model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelFacts {
    /// `None`: the row's status could not be read.
    pub status: Option<Status>,
    pub enabled_keys: usize,
    /// `None`: the row could not be decoded and no last good definition is known.
    pub traits: Option<ProviderTraits>,
}

/// What decides whether one ability of an open channel is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbilityFacts {
    /// `None`: the flag could not be read.
    pub enabled: Option<bool>,
    pub held: Option<bool>,
}

/// Why an ability is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyClosed {
    /// An operator closed the channel.
    Disabled,
    /// The relay closed the channel.
    AutoDisabled,
    NoEnabledKey,
    AbilityDisabled,
    Held,
    /// It may be open, but its row cannot be decoded: a refusal must not speak for it (R7).
    Unreadable,
}

/// Open means: an ability with `enabled`, not `held`, of a channel whose status is `enabled`, that has an
/// enabled key or whose provider needs none.
pub fn open(channel: ChannelFacts, ability: AbilityFacts) -> Result<(), WhyClosed> {
    channel_open(channel)?;
    ability_open(ability)
}

/// The channel's half of [`open`]. What is known to be closed is closed, whatever else is unreadable.
pub fn channel_open(channel: ChannelFacts) -> Result<(), WhyClosed> {
    match channel.status {
        Some(Status::Disabled) => return Err(WhyClosed::Disabled),
        Some(Status::AutoDisabled) => return Err(WhyClosed::AutoDisabled),
        Some(Status::Enabled) | None => {}
    }
    match channel.traits {
        Some(traits) if traits.needs_key && channel.enabled_keys == 0 => return Err(WhyClosed::NoEnabledKey),
        Some(_) => {}
        None => return Err(WhyClosed::Unreadable),
    }
    if channel.status.is_none() {
        Err(WhyClosed::Unreadable)
    } else {
        Ok(())
    }
}

/// The ability's half of [`open`].
pub fn ability_open(ability: AbilityFacts) -> Result<(), WhyClosed> {
    match (ability.enabled, ability.held) {
        (Some(false), _) => Err(WhyClosed::AbilityDisabled),
        (_, Some(true)) => Err(WhyClosed::Held),
        (Some(true), Some(false)) => Ok(()),
        (None, _) | (_, None) => Err(WhyClosed::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::ids::Protocols;

    #[test]
    fn r1_open_needs_every_part() {
        let keyed = Some(ProviderTraits {
            protocols: Protocols::default(),
            needs_key: true,
        });
        let keyless = Some(ProviderTraits {
            protocols: Protocols::default(),
            needs_key: false,
        });
        let on = AbilityFacts {
            enabled: Some(true),
            held: Some(false),
        };
        let check = |status, enabled_keys, traits, ability, expected| {
            assert_eq!(
                open(
                    ChannelFacts {
                        status,
                        enabled_keys,
                        traits
                    },
                    ability
                ),
                expected
            );
        };
        check(Some(Status::Enabled), 1, keyed, on, Ok(()));
        check(Some(Status::Enabled), 0, keyless, on, Ok(()));
        check(Some(Status::Enabled), 0, keyed, on, Err(WhyClosed::NoEnabledKey));
        check(Some(Status::Disabled), 1, keyed, on, Err(WhyClosed::Disabled));
        check(
            Some(Status::AutoDisabled),
            1,
            None,
            on,
            Err(WhyClosed::AutoDisabled),
        );
        check(None, 1, keyed, on, Err(WhyClosed::Unreadable));
        check(Some(Status::Enabled), 1, None, on, Err(WhyClosed::Unreadable));
        let off = AbilityFacts {
            enabled: Some(false),
            held: None,
        };
        check(
            Some(Status::Enabled),
            1,
            keyed,
            off,
            Err(WhyClosed::AbilityDisabled),
        );
        let held = AbilityFacts {
            enabled: Some(true),
            held: Some(true),
        };
        check(Some(Status::Enabled), 1, keyed, held, Err(WhyClosed::Held));
        let unknown = AbilityFacts {
            enabled: None,
            held: Some(false),
        };
        check(
            Some(Status::Enabled),
            1,
            keyed,
            unknown,
            Err(WhyClosed::Unreadable),
        );
    }
}
