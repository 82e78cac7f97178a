//! What do a provider's words mean? Tables, from codes, numbers and phrases.
//!
//! Names go before phrases, as messages repeat each other across meanings: Gemini's quota per minute says the very
//! sentence with which OpenAI says that the account is empty.

use crate::protocol::UpstreamError;

/// What an error speaks of, where its words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The key or the account behind it is not accepted, and a short wait does not mend that.
    Account,
    /// So many requests or tokens in so much time.
    Limit,
    /// What the request names is in another account, or gone from this one.
    ForeignState,
    /// The request is longer than the model's context.
    Length,
    /// The provider's content policy.
    Policy,
    /// The path, or the model by this path.
    NoPath,
    /// The model, deployment or region.
    NoModel,
    /// The request itself is wrong.
    Request,
}

impl Meaning {
    /// The status that an error without one stands for.
    pub fn status(self) -> u16 {
        match self {
            Meaning::Account => 401,
            Meaning::Limit => 429,
            Meaning::NoPath | Meaning::NoModel => 404,
            Meaning::ForeignState | Meaning::Length | Meaning::Policy | Meaning::Request => 400,
        }
    }
}

/// `None`: the status alone tells.
pub fn meaning(error: &UpstreamError) -> Option<Meaning> {
    let names = [&error.code, &error.reason, &error.kind].into_iter().flatten();
    let by_name = names
        .map(|name| name.to_ascii_lowercase())
        .find_map(|name| meaning_in(NAMES, |word| name == word || is_part(word, &name)));
    by_name
        .or_else(|| by_number(error))
        .or_else(|| by_phrase(&error.message))
}

type Table = [(Meaning, &'static [&'static str])];

fn meaning_in(table: &Table, fits: impl Fn(&str) -> bool) -> Option<Meaning> {
    let row = table
        .iter()
        .find(|(_, words)| words.iter().any(|word| fits(word)))?;
    Some(row.0)
}

/// Codes, types and reasons, in small letters; `*NAME`: as a part of the name.
const NAMES: &Table = &[
    (
        Meaning::Account,
        &[
            // OpenAI and those who took its words.
            "invalid_api_key",
            "insufficient_quota",
            "billing_not_active",
            "billing_hard_limit_reached",
            "account_deactivated",
            "organization_disabled",
            "organization_restricted",
            // Anthropic.
            "authentication_error",
            "billing_error",
            // Gemini: the reasons of Google's ErrorInfo.
            "api_key_invalid",
            "api_key_expired",
            "api_key_ip_address_blocked",
            "api_key_service_blocked",
            "api_key_http_referrer_blocked",
            "service_disabled",
            "billing_disabled",
            "consumer_suspended",
            "consumer_invalid",
            // Moonshot.
            "invalid_authentication_error",
            "exceeded_current_quota_error",
            // VolcEngine.
            "authenticationerror",
            "accountoverdueerror",
            "operationdenied.serviceoverdue",
            // DashScope.
            "invalidapikey",
            "arrearage",
            "accessdenied.unpurchased",
            // One API and New API: an account of theirs.
            "insufficient_user_quota",
            "pre_consume_token_quota_failed",
            // Others.
            "insufficient_balance",
        ],
    ),
    (
        Meaning::ForeignState,
        &["previous_response_not_found", "invalid_encrypted_content"],
    ),
    (
        Meaning::Length,
        &[
            "context_length_exceeded",
            "model_context_window_exceeded",
            "exceed_context_size_error",
            "tokens_limit_reached",
        ],
    ),
    (
        Meaning::Policy,
        &[
            "content_filter",
            "content_policy_violation",
            "moderation_blocked",
            "invalid_prompt",
            "responsibleaipolicyviolation",
            "data_inspection_failed",
            "datainspectionfailed",
            "*sensitivecontentdetected",
        ],
    ),
    (Meaning::NoPath, &["unknown_url", "operationnotsupported"]),
    (
        Meaning::NoModel,
        &[
            "model_not_found",
            "modelnotfound",
            "invalid_model",
            "unknown_model",
            "model_not_supported",
            "model_not_available",
            "model_decommissioned",
            "deploymentnotfound",
            "unsupported_country_region_territory",
            "modelnotopen",
            "invalidendpointormodel.notfound",
            "operationdenied.servicenotopen",
        ],
    ),
    (
        Meaning::Request,
        &[
            "unsupported_parameter",
            "invalid_value",
            "unsupported_value",
            "unknown_parameter",
            "missing_required_parameter",
            "invalid_type",
            "string_above_max_length",
        ],
    ),
];

fn is_part(word: &str, name: &str) -> bool {
    word.strip_prefix('*').is_some_and(|part| name.contains(part))
}

/// Zhipu and SiliconFlow. Neither has a type beside the number; Mistral does, whose numbers mean other things.
const NUMBERS: &Table = &[
    (
        Meaning::Account,
        &[
            // Zhipu: authentication; no such account, locked, in arrears.
            "1000", "1001", "1002", "1003", "1004", "1110", "1111", "1112", "1113",
            // Zhipu: the day's or the package's quota is used up, the package has ended.
            "1304", "1308", "1309", "1310", // SiliconFlow: no balance.
            "30001",
        ],
    ),
    (Meaning::Limit, &["1302", "1303", "1305"]),
    (Meaning::Length, &["1261"]),
    (Meaning::Policy, &["1301"]),
    (Meaning::NoPath, &["1212", "1222"]),
    (Meaning::NoModel, &["1211", "20012"]),
];

/// MiniMax; what stands for a status is known to `protocol`.
const NUMBERS_OF_BASE_RESP: &Table = &[(Meaning::Policy, &["1026", "1027"])];

fn by_number(error: &UpstreamError) -> Option<Meaning> {
    let code = error.code.as_deref()?;
    let table = match (error.is_base_resp, &error.kind) {
        (true, _) => NUMBERS_OF_BASE_RESP,
        (false, None) => NUMBERS,
        (false, Some(_)) => return None,
    };
    meaning_in(table, |number| number == code)
}

/// Parts of messages, in small letters. `*` stands for one word, `^` for the message's beginning. What a client's own
/// mistake could say has no place among those that close a key or cool a model: "'max_tokens' is not supported with
/// this model" is about the parameter.
const PHRASES: &Table = &[
    // First: these quote what the client has sent, which may be any of the phrases below.
    (
        Meaning::Request,
        &[
            // OpenAI.
            "^invalid value",
            "^invalid type",
            "^unknown parameter",
            "^unrecognized request argument",
            // Anthropic, Mistral, vLLM: paths of fields before the words.
            "extra inputs are not permitted",
            "input should be",
            "field required",
            // Gemini.
            "^invalid json payload",
            "^invalid value at",
        ],
    ),
    // These close keys: each begins its message, where nothing that a client has sent can stand.
    (
        Meaning::Account,
        &[
            // OpenAI, xAI, DashScope.
            "^incorrect api key",
            "^invalid api key",
            "^your account is not active",
            "^account is not active",
            "^your * account has been deactivated",
            "^your account has been deactivated",
            "^your team * has either used all available credits",
            // Anthropic.
            "^your credit balance is too low",
            "^credit balance is too low",
            "^you have reached your specified api usage limits",
            "^you have reached your specified workspace api usage limits",
            "^this organization has been disabled",
            "^organization has been disabled",
            "^your organization has been disabled",
            "^your organization is disabled",
            // Gemini.
            "^api key not valid",
            "^api key expired",
            "^your api key was reported as leaked",
            // Azure.
            "^access denied due to invalid subscription key",
            "^out of call volume quota",
            // OpenRouter.
            "^key limit exceeded",
            "^insufficient credits",
            "^this request requires more credits",
            // DeepSeek, Moonshot, SiliconFlow, VolcEngine.
            "^insufficient balance",
            "^your account * is suspended",
            "^sorry, your account balance is insufficient",
            "^your account balance is insufficient",
            "^the request failed because your account has an overdue balance",
        ],
    ),
    (
        Meaning::ForeignState,
        &[
            // OpenAI: a response, item, prompt, conversation, file or vector store.
            "previous response with id",
            "with id * not found",
            "no such file object",
            "encrypted content could not be",
            // Anthropic.
            "^file not found",
            "invalid `signature` in `thinking` block",
            // Gemini.
            "permission to access the file",
            "cachedcontent not found",
            "cached content not found",
            "cached content * not found",
            "thought signature is not valid",
        ],
    ),
    (
        Meaning::Length,
        &[
            // OpenAI, Azure, OpenRouter, DeepSeek, Mistral, vLLM.
            "maximum context length",
            "context length exceeded",
            "context window",
            "longer than the maximum model length",
            // Anthropic.
            "prompt is too long",
            "exceed context limit",
            // Gemini.
            "input token count",
            "exceeds the maximum number of tokens",
            // xAI, Moonshot, SiliconFlow, VolcEngine, DashScope.
            "maximum prompt length is",
            "exceeded model token limit",
            "input token length too long",
            "less than max_seq_len",
            "exceed max message tokens",
            "range of input length",
            // Groq, Bedrock, llama.cpp, Ollama.
            "request too large for model",
            "input is too long",
            "exceeds the available context size",
            "exceeds the context length",
        ],
    ),
    (
        Meaning::Policy,
        &[
            "content management policy",
            "content filtering policy",
            "safety system",
            "violating our usage policy",
            "content violates usage guidelines",
            "content exists risk",
            "considered high risk",
            "requires moderation",
        ],
    ),
    (
        Meaning::NoPath,
        &[
            // OpenAI: a chat model asked for completions, a model of the responses alone asked for chat.
            "not supported in the v1/",
            "not supported in v1/",
            "only supported in v1/",
            "operation does not work with the specified model",
        ],
    ),
    (
        Meaning::NoModel,
        &[
            "model * does not exist",
            "model does not exist",
            "model or endpoint * does not exist",
            "model not exist",
            "model * not found",
            "model not found",
            "not found the model",
            "unknown model",
            "^model * is not supported",
            "^the model * is not supported",
            "the requested model is not supported",
            "' model is not supported when using",
            "invalid model name",
            "^invalid model",
            // Anthropic.
            "^model: *",
            // Gemini.
            "is not found for api version",
            // OpenRouter.
            "is not a valid model id",
            "no endpoints found for",
            // Regions: Gemini, OpenRouter, OpenAI.
            "location is not supported",
            "not available in your country",
            "not available in your region",
            "territory not supported",
        ],
    ),
];

fn by_phrase(message: &str) -> Option<Meaning> {
    let message = message.to_lowercase();
    meaning_in(PHRASES, |phrase| says(&message, phrase))
}

fn says(message: &str, phrase: &str) -> bool {
    match phrase.strip_prefix('^') {
        Some(phrase) => begins(message, phrase),
        None => {
            let first = phrase.split('*').next().unwrap_or_default();
            message
                .match_indices(first)
                .any(|(at, _)| begins(&message[at..], phrase))
        }
    }
}

/// Whether the message begins with the phrase.
fn begins(message: &str, phrase: &str) -> bool {
    let mut rest = message;
    for (index, part) in phrase.split('*').enumerate() {
        if index > 0 {
            let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
            if word == 0 {
                return false;
            }
            rest = &rest[word..];
        }
        match rest.strip_prefix(part) {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_word_and_a_caret_the_beginning() {
        for (phrase, message, want) in [
            ("not found", "it was not found here", true),
            ("model * not found", "the model `x/y:1` not found", true),
            ("model * not found", "a model, and model x not found", true),
            ("model * not found", "this model has tools not found", false),
            ("model * not found", "model  not found", false),
            ("model * not found", "the model x", false),
            ("^model: *", "model: x", true),
            ("^model: *", "model: ", false),
            ("^model: *", "no such model: x", false),
            ("with id * not found", "file with id 'é' not found.", true),
        ] {
            assert_eq!(says(message, phrase), want, "{phrase} in {message}");
        }
    }

    #[test]
    fn words_are_in_small_letters_and_stand_for_one_thing() {
        for table in [NAMES, NUMBERS, NUMBERS_OF_BASE_RESP, PHRASES] {
            let words: Vec<&str> = table
                .iter()
                .flat_map(|(_, words)| words.iter().copied())
                .collect();
            for (index, word) in words.iter().enumerate() {
                assert_eq!(*word, word.to_lowercase());
                assert!(!words[..index].contains(word), "{word}");
            }
        }
    }
}
