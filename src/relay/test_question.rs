//! What a channel test asks: as little as shows that the channel answers.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::upstream_url::ClientVersion;
use crate::protocol::{Endpoint, Protocol};

/// With one token, models that think fail.
const TOKENS: u32 = 16;

/// The field in which a chat completion bears its limit: OpenAI's newer models refuse the old one, many
/// look-alikes do not know the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitField {
    MaxTokens,
    MaxCompletionTokens,
}

impl LimitField {
    pub fn of_provider(provider: &str) -> LimitField {
        match provider {
            "openai" | "azure" => LimitField::MaxCompletionTokens,
            _ => LimitField::MaxTokens,
        }
    }

    pub fn other(self) -> LimitField {
        match self {
            LimitField::MaxTokens => LimitField::MaxCompletionTokens,
            LimitField::MaxCompletionTokens => LimitField::MaxTokens,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            LimitField::MaxTokens => "max_tokens",
            LimitField::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// A request as a client would send it.
#[derive(Debug)]
pub struct TestQuestion {
    pub endpoint: Endpoint,
    pub version: ClientVersion,
    pub path_model: Option<String>,
    pub query: Option<String>,
    pub content_type: &'static str,
    pub body: Bytes,
}

pub fn question(protocol: Protocol, model: &str, stream: bool, limit: LimitField) -> TestQuestion {
    let endpoint = endpoint(protocol, model, stream);
    let in_path = protocol == Protocol::Gemini;
    let (content_type, body) = match endpoint {
        Endpoint::Transcriptions => (FORM, form(model)),
        _ => (
            "application/json",
            body(endpoint, model, stream, limit).to_string().into(),
        ),
    };
    TestQuestion {
        endpoint,
        version: ClientVersion::of_house(protocol),
        path_model: in_path.then(|| model.to_owned()),
        query: (endpoint == Endpoint::StreamGenerateContent).then(|| "alt=sse".to_owned()),
        content_type,
        body,
    }
}

/// What a model is for shows in its name, as far as it shows at all: the first row with a part of the name. Others
/// are asked to chat.
const FAMILIES: &[(Endpoint, &[&str])] = &[
    (Endpoint::Rerank, &["rerank"]),
    (Endpoint::Embeddings, &["embed", "bge-"]),
    (Endpoint::Moderations, &["moderation"]),
    (
        Endpoint::ImagesGenerations,
        &[
            "dall-e",
            "gpt-image",
            "imagen",
            "flux",
            "stable-diffusion",
            "seedream",
            "cogview",
        ],
    ),
    (
        Endpoint::Transcriptions,
        &["whisper", "-transcribe", "sensevoice"],
    ),
    (Endpoint::Speech, &["tts-", "-tts", "cosyvoice"]),
];

fn endpoint(protocol: Protocol, model: &str, stream: bool) -> Endpoint {
    let name = model.to_ascii_lowercase();
    let family = FAMILIES
        .iter()
        .find(|(_, parts)| parts.iter().any(|part| name.contains(part)));
    match (protocol, family.map(|family| family.0)) {
        (Protocol::Anthropic, _) => Endpoint::Messages,
        (Protocol::Gemini, Some(Endpoint::Embeddings)) => Endpoint::EmbedContent,
        (Protocol::Gemini, _) if stream => Endpoint::StreamGenerateContent,
        (Protocol::Gemini, _) => Endpoint::GenerateContent,
        (Protocol::OpenAi, family) => family.unwrap_or(Endpoint::ChatCompletions),
    }
}

fn body(endpoint: Endpoint, model: &str, stream: bool, limit: LimitField) -> Value {
    let content = json!({"role": "user", "parts": [{"text": "Hi"}]});
    let mut body = match endpoint {
        Endpoint::Messages => {
            json!({"model": model, "max_tokens": TOKENS, "messages": [{"role": "user", "content": "Hi"}]})
        }
        Endpoint::EmbedContent => return json!({"content": content}),
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => {
            return json!({"contents": [content], "generationConfig": {"maxOutputTokens": TOKENS}});
        }
        Endpoint::Rerank => return json!({"model": model, "query": "Hi", "documents": ["Hi", "Bye"]}),
        Endpoint::Embeddings | Endpoint::Moderations => return json!({"model": model, "input": "Hi"}),
        Endpoint::ImagesGenerations => return json!({"model": model, "prompt": "A dot", "n": 1}),
        Endpoint::Speech => return json!({"model": model, "input": "Hi", "voice": "alloy"}),
        _ => json!({"model": model, limit.name(): TOKENS, "messages": [{"role": "user", "content": "Hi"}]}),
    };
    if stream {
        body["stream"] = true.into();
    }
    body
}

const FORM: &str = "multipart/form-data; boundary=pointsman-channel-test";

/// A recording of silence, to be written down.
fn form(model: &str) -> Bytes {
    let head = format!(
        "--pointsman-channel-test\r\n\
         Content-Disposition: form-data; name=\"model\"\r\n\r\n\
         {model}\r\n\
         --pointsman-channel-test\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"silence.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    let mut form = head.into_bytes();
    form.extend(silence());
    form.extend(b"\r\n--pointsman-channel-test--\r\n");
    form.into()
}

/// Half a second as WAV: OpenAI wants a tenth or more.
fn silence() -> Vec<u8> {
    const RATE: u32 = 8000;
    const SAMPLES: u32 = RATE / 2;
    let mut wav = Vec::with_capacity(44 + SAMPLES as usize);
    wav.extend(b"RIFF");
    wav.extend((36 + SAMPLES).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    wav.extend(RATE.to_le_bytes());
    // Bytes a second, bytes a sample, bits a sample.
    wav.extend(RATE.to_le_bytes());
    wav.extend([1, 0, 8, 0]);
    wav.extend(b"data");
    wav.extend(SAMPLES.to_le_bytes());
    // Eight bits are unsigned: silence is the middle.
    wav.resize(44 + SAMPLES as usize, 0x80);
    wav
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::request::read_multipart;

    #[test]
    fn each_protocol_and_kind_of_model_has_its_question() {
        let check = |protocol, model: &str, stream, want: Endpoint| {
            let question = question(protocol, model, stream, LimitField::MaxTokens);
            assert_eq!(question.endpoint, want, "{model}");
            assert_eq!(question.endpoint.protocol(), protocol);
            let body: Value = serde_json::from_slice(&question.body).unwrap_or_default();
            assert_eq!(body.is_null(), want == Endpoint::Transcriptions, "{model}");
            let in_form = body.is_null().then(|| field_of_form(&question));
            let in_body = body["model"].as_str().or(question.path_model.as_deref());
            let in_body = in_body.or(in_form.as_deref());
            assert_eq!(in_body, Some(model));
            let streams = body["stream"] == true || question.query.as_deref() == Some("alt=sse");
            assert_eq!(streams, stream, "{model}");
        };
        use Protocol::{Anthropic, Gemini, OpenAi};
        check(OpenAi, "gpt-4o", false, Endpoint::ChatCompletions);
        check(OpenAi, "gpt-4o", true, Endpoint::ChatCompletions);
        check(OpenAi, "text-embedding-3-small", false, Endpoint::Embeddings);
        check(OpenAi, "jina-reranker-v2", false, Endpoint::Rerank);
        check(OpenAi, "omni-moderation-latest", false, Endpoint::Moderations);
        for image in ["dall-e-3", "gpt-image-1", "imagen-4.0-generate-001"] {
            check(OpenAi, image, false, Endpoint::ImagesGenerations);
        }
        for speech in ["tts-1-hd", "gpt-4o-mini-tts"] {
            check(OpenAi, speech, false, Endpoint::Speech);
        }
        for audio in ["whisper-1", "Whisper-large-v3", "gpt-4o-mini-transcribe"] {
            check(OpenAi, audio, false, Endpoint::Transcriptions);
        }
        check(Anthropic, "claude-sonnet-4", true, Endpoint::Messages);
        check(Gemini, "gemini-2.5-pro", false, Endpoint::GenerateContent);
        check(Gemini, "gemini-2.5-pro", true, Endpoint::StreamGenerateContent);
        check(Gemini, "gemini-embedding-001", false, Endpoint::EmbedContent);
    }

    fn field_of_form(question: &TestQuestion) -> String {
        let asked = read_multipart(question.endpoint, question.content_type, &question.body).unwrap();
        asked.model_or(None).unwrap().to_owned()
    }

    #[test]
    fn silence_is_a_recording_of_half_a_second() {
        let wav = silence();
        let number = |at: usize| u32::from_le_bytes(wav[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(
            (&wav[..4], &wav[8..16], &wav[36..40]),
            (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..])
        );
        assert_eq!((number(4), number(40)), (wav.len() - 8, wav.len() - 44));
        assert_eq!(number(28), 2 * number(40), "bytes a second");
    }
}
