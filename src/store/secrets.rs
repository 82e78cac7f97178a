//! How a channel's secrets stand in their column. They are kept as they are for now; encryption at rest
//! has its place in `seal` and `open`.

use entity::channel_key::Sealed;

use crate::routing::rows::Secret;

/// What is written into the column.
pub(crate) fn seal(secret: &Secret) -> Sealed {
    Sealed(secret.reveal().to_owned())
}

/// What was written into the column.
pub(crate) fn open(sealed: &str) -> Secret {
    Secret::new(sealed)
}

/// A secret's last four characters; of one so short that these would give it away, none.
pub(crate) fn hint(secret: &Secret) -> String {
    let secret = secret.reveal();
    let from = secret.char_indices().rev().nth(3).map(|(at, _)| at);
    match from {
        Some(at) if secret.chars().count() >= 8 => secret[at..].to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_four_characters_or_none() {
        for (secret, expected) in [
            ("sk-0123456789abcd", "abcd"),
            ("short", ""),
            ("", ""),
            ("ключ-ключ-ключ", "ключ"),
        ] {
            assert_eq!(hint(&Secret::new(secret)), expected);
        }
    }
}
