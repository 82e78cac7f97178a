//! The names and numbers by which the router knows things: what differs has its own type.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A row of `channels`. Ids are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelId(pub i64);

/// A row of `channel_keys`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub i64);

/// The number of a snapshot: each one that is installed has a higher one than the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// A point in this node's own order of reads and commits, drawn from one counter.
///
/// A read draws its moment before its first statement is sent, a closing draws one after its commit
/// was answered: so a read with a greater moment than a closing's has seen that closing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Moment(pub u64);

/// The wire protocol that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini];

    /// The word for it in settings and answers.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::OpenAi => "openai",
            Protocol::Anthropic => "anthropic",
            Protocol::Gemini => "gemini",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Protocol::OpenAi => 1,
            Protocol::Anthropic => 2,
            Protocol::Gemini => 4,
        }
    }
}

/// The protocols that a channel speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protocols(u8);

impl Protocols {
    pub fn contains(self, protocol: Protocol) -> bool {
        self.0 & protocol.bit() != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Protocol> {
        Protocol::ALL.into_iter().filter(move |p| self.contains(*p))
    }
}

impl FromIterator<Protocol> for Protocols {
    fn from_iter<I: IntoIterator<Item = Protocol>>(protocols: I) -> Self {
        Protocols(protocols.into_iter().fold(0, |bits, p| bits | p.bit()))
    }
}

/// A shared, immutable name: cloning one copies a pointer.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self::new(name)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

name! {
    /// Which clients may use which channels.
    GroupName
}
name! {
    /// What the client asks for, compared byte for byte: `GPT-4o` and `gpt-4o` are two models.
    ModelName
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hands out moments, one after another, to everyone on this node who reads or commits.
#[derive(Clone, Debug, Default)]
pub struct Moments(Arc<AtomicU64>);

impl Moments {
    /// A moment greater than every one drawn before.
    pub fn draw(&self) -> Moment {
        Moment(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_database_and_the_answers() {
        assert_eq!(
            Protocol::ALL.map(Protocol::word),
            ["openai", "anthropic", "gemini"]
        );
        assert_eq!(ChannelId(7).to_string(), "7");
        assert_eq!(KeyId(8).to_string(), "8");
        assert_eq!(Generation(9).to_string(), "9");
    }

    #[test]
    fn protocols_are_a_set() {
        use Protocol::{Anthropic, Gemini, OpenAi};
        for some in [
            &[][..],
            &[OpenAi],
            &[Anthropic, Gemini],
            &[OpenAi, Anthropic, Gemini],
        ] {
            let twice: Protocols = some.iter().chain(some).copied().collect();
            assert_eq!(twice.iter().collect::<Vec<_>>(), some);
            for protocol in Protocol::ALL {
                assert_eq!(twice.contains(protocol), some.contains(&protocol));
            }
        }
    }

    #[test]
    fn each_moment_is_greater_than_those_before() {
        let moments = Moments::default();
        let drawn = [moments.draw(), moments.clone().draw(), moments.draw()];
        assert_eq!(drawn, [Moment(1), Moment(2), Moment(3)]);
        assert!(
            drawn[0] > Moment::default(),
            "what was never read is older than every read"
        );
    }
}
