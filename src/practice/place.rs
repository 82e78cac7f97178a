//! What a path asks for: read from its tail, so that any prefix (`/api/paas/v4`, `/openai/v1`,
//! `/openai/deployments/{model}`) leads to the same answer.

use percent_encoding::percent_decode_str;

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `…/chat/completions`
    Chat,
    /// `…/completions`
    Completions,
    /// `…/responses`
    Responses,
    /// `…/responses/compact`
    Compact,
    /// `…/embeddings`
    Embeddings,
    /// `…/images/{generations,edits,variations}`
    Images,
    /// `…/audio/speech`
    Speech,
    /// `…/audio/{transcriptions,translations}`
    Transcription,
    /// `…/moderations`
    Moderations,
    /// `…/rerank`
    Rerank,
    /// `…/messages`
    Messages,
    /// `…/messages/count_tokens`
    CountTokens,
    /// `…/models/{model}:{action}`
    Gemini {
        /// Percent-decoded, slashes included.
        model: String,
        /// What stands behind the last colon.
        action: String,
    },
    /// `…/models`
    Models,
    /// `…/models/{id}`
    Model(String),
    /// `/`
    Root,
    /// `/practice/log`
    Log,
    /// None of the above.
    Nowhere,
}

/// A path read: what it asks for, what its prefix orders, and the deployment it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What the path asks for.
    pub place: Place,
    /// Faults that a prefix `/~FAULT/` orders, joined by commas.
    pub faults: String,
    /// The model in an Azure path.
    pub deployment: Option<String>,
    /// Whether the path is of Gemini's own version.
    pub beta: bool,
}

impl Address {
    /// Reads a raw path (still percent-encoded, without query).
    pub fn read(path: &str) -> Address {
        let (rest, faults) = take_prefix(path);
        let deployment = rest
            .split_once("/deployments/")
            .and_then(|(_, tail)| tail.split_once('/'))
            .map(|(model, _)| decoded(model));
        Address {
            place: place(&rest),
            faults,
            deployment,
            beta: rest.contains("/v1beta"),
        }
    }
}

/// Takes `/~FAULT,FAULT` segments out of the path's front.
fn take_prefix(path: &str) -> (String, String) {
    let mut faults: Vec<String> = Vec::new();
    let mut rest = path;
    while let Some(tail) = ["/~", "/%7E", "/%7e"]
        .iter()
        .find_map(|mark| rest.strip_prefix(mark))
    {
        let end = tail.find('/').unwrap_or(tail.len());
        faults.push(decoded_once(&tail[..end]));
        rest = &tail[end..];
    }
    (rest.to_owned(), faults.join(","))
}

const TAILS: [(&str, Place); 16] = [
    ("/chat/completions", Place::Chat),
    ("/completions", Place::Completions),
    ("/responses", Place::Responses),
    ("/responses/compact", Place::Compact),
    ("/embeddings", Place::Embeddings),
    ("/images/generations", Place::Images),
    ("/images/edits", Place::Images),
    ("/images/variations", Place::Images),
    ("/audio/speech", Place::Speech),
    ("/audio/transcriptions", Place::Transcription),
    ("/audio/translations", Place::Transcription),
    ("/moderations", Place::Moderations),
    ("/rerank", Place::Rerank),
    ("/messages", Place::Messages),
    ("/messages/count_tokens", Place::CountTokens),
    ("/practice/log", Place::Log),
];

fn place(path: &str) -> Place {
    if let Some((_, tail)) = path.split_once("/models/") {
        return match tail.rsplit_once(':').or_else(|| tail.rsplit_once("%3A")) {
            Some((model, action)) if action.bytes().all(|byte| byte.is_ascii_alphabetic()) => Place::Gemini {
                model: decoded(model),
                action: action.to_owned(),
            },
            _ => Place::Model(decoded(tail)),
        };
    }
    let path = path.trim_end_matches('/');
    if path.ends_with("/models") {
        return Place::Models;
    }
    match TAILS.iter().find(|(tail, _)| path.ends_with(tail)) {
        Some((_, place)) => place.clone(),
        None if path.is_empty() => Place::Root,
        None => Place::Nowhere,
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A prefix is decoded only where a client's URL library encoded what was plain: `%2C` stays, as it
/// stands for a comma inside an argument.
fn decoded_once(text: &str) -> String {
    text.replace("%3D", "=")
        .replace("%3d", "=")
        .replace("%3A", ":")
        .replace("%3a", ":")
        .replace("%7E", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_path_says_what_it_asks_for() {
        let gemini = |model: &str, action: &str| Place::Gemini {
            model: model.into(),
            action: action.into(),
        };
        for (path, wanted) in [
            ("/", Place::Root),
            ("", Place::Root),
            ("/v1/chat/completions", Place::Chat),
            ("/api/paas/v4/chat/completions", Place::Chat),
            ("/openai/deployments/gpt/chat/completions", Place::Chat),
            ("/chat/completions", Place::Chat),
            ("/v1/completions", Place::Completions),
            ("/openai/v1/responses", Place::Responses),
            ("/v1/responses/compact", Place::Compact),
            ("/anthropic/v1/messages", Place::Messages),
            ("/v1/messages/count_tokens", Place::CountTokens),
            (
                "/v1beta/models/gem:generateContent",
                gemini("gem", "generateContent"),
            ),
            (
                "/v1/models/a%2Fb~first=1:429:countTokens",
                gemini("a/b~first=1:429", "countTokens"),
            ),
            (
                "/v1beta/models/a/b%7Ecut=1%3AembedContent",
                gemini("a/b~cut=1", "embedContent"),
            ),
            ("/v1/models", Place::Models),
            ("/v1/models/org/name:free2", Place::Model("org/name:free2".into())),
            ("/v1/models/org/name", Place::Model("org/name".into())),
            ("/practice/log", Place::Log),
            ("/v1/files", Place::Nowhere),
        ] {
            assert_eq!(Address::read(path).place, wanted, "{path}");
        }
    }

    #[test]
    fn a_prefix_orders_faults_before_any_path() {
        let address = Address::read("/~cut=3,chunk=2/~gzip/v1/chat/completions");
        assert_eq!(
            (address.place, address.faults.as_str()),
            (Place::Chat, "cut=3,chunk=2,gzip")
        );
        let address = Address::read("/~header=a%3Ab%2Cc/openai/deployments/gpt~429/embeddings");
        assert_eq!(address.place, Place::Embeddings);
        assert_eq!(address.faults, "header=a:b%2Cc");
        assert_eq!(address.deployment.as_deref(), Some("gpt~429"));
    }
}
