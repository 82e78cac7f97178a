//! Images, speech and transcription as OpenAI answers them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, Ask, Event, HOLE, Part, Template};

/// One transparent pixel.
const PIXEL: [u8; 68] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00,
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x04, 0x00, 0x00, 0x00, 0xb5, 0x1c, 0x0c, 0x02, 0x00,
    0x00, 0x00, 0x0b, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x60, 0x60, 0x00, 0x00, 0x00, 0x03, 0x00,
    0x01, 0xb8, 0xad, 0x3a, 0x63, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// A picture of that many bytes: a PNG, then padding that decoders pass over.
fn picture(ask: &Ask<'_>) -> String {
    let mut bytes = PIXEL.to_vec();
    let size = ask.size_or(bytes.len()).max(bytes.len());
    bytes.resize(size, 0);
    STANDARD.encode(bytes)
}

fn image_usage(ask: &Ask<'_>) -> Value {
    json!({
        "input_tokens": ask.tokens_in(), "input_tokens_details": {"image_tokens": 0, "text_tokens": ask.tokens_in()},
        "output_tokens": 272, "output_tokens_details": {"image_tokens": 272, "text_tokens": 0},
        "total_tokens": ask.tokens_in() + 272,
    })
}

/// `…/images/{generations,edits,variations}`
pub fn images(ask: &Ask<'_>) -> Answer {
    if ask.streams() {
        return Answer::events(image_events(ask));
    }
    let one = if ask.response_format() == "url" {
        json!({"url": format!("https://images.practice.invalid/{}.png", ask.id)})
    } else {
        json!({"b64_json": picture(ask)})
    };
    let data = vec![one; ask.body.n.unwrap_or(1).clamp(1, 10)];
    Answer::json(&json!({
        "created": ask.created, "background": "opaque", "data": data, "output_format": "png", "quality": "low",
        "size": "1024x1024", "usage": image_usage(ask),
    }))
}

fn image_events(ask: &Ask<'_>) -> Vec<Event> {
    let (partial, completed) = if ask.path.contains("/edits") {
        ("image_edit.partial_image", "image_edit.completed")
    } else {
        ("image_generation.partial_image", "image_generation.completed")
    };
    let event = |name: &str| {
        json!({
            "type": name, "b64_json": picture(ask), "created_at": ask.created, "size": "1024x1024",
            "quality": "low", "background": "opaque", "output_format": "png",
        })
    };
    let mut events = Vec::new();
    for index in 0..ask.body.partial_images.unwrap_or(0).min(3) {
        let mut data = event(partial);
        data["partial_image_index"] = index.into();
        events.push(Event::named(Part::Content, partial, data));
    }
    let mut last = event(completed);
    last["usage"] = image_usage(ask);
    events.push(Event::named(Part::Finish, completed, last));
    events
}

/// `…/audio/speech`: silence in the shape of MP3 frames.
pub fn speech(ask: &Ask<'_>) -> Answer {
    const FRAME: [u8; 4] = [0xff, 0xfb, 0x90, 0x00];
    let sound: Vec<u8> = FRAME.iter().copied().cycle().take(ask.size_or(2048)).collect();
    if ask.body.stream_format.as_deref() == Some("sse") {
        return Answer::events(speech_events(ask, &sound));
    }
    let content_type = match ask.response_format().as_str() {
        "opus" => "audio/opus",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "pcm" => "audio/pcm",
        _ => "audio/mpeg",
    };
    Answer::Plain {
        content_type,
        body: Bytes::from(sound),
    }
}

fn speech_events(ask: &Ask<'_>, sound: &[u8]) -> Vec<Event> {
    const PIECE: usize = 512;
    let delta = |piece: &[u8]| json!({"type": "speech.audio.delta", "audio": STANDARD.encode(piece)});
    let mut events: Vec<Event> = sound
        .chunks(PIECE)
        .map(|piece| Event::new(Part::Content, delta(piece)))
        .collect();
    let (tokens_in, tokens_out) = (ask.tokens_in(), ask.tokens_out());
    let usage = json!({"input_tokens": tokens_in, "output_tokens": tokens_out, "total_tokens": tokens_in + tokens_out});
    events.push(Event::new(
        Part::Finish,
        json!({"type": "speech.audio.done", "usage": usage}),
    ));
    events
}

/// `…/audio/{transcriptions,translations}`
pub fn transcription(ask: &Ask<'_>) -> Answer {
    if ask.streams() {
        return Answer::events(transcript_events(ask));
    }
    let text: &str = &ask.text;
    let subtitles = |content_type, body: String| Answer::Plain {
        content_type,
        body: Bytes::from(body),
    };
    match ask.response_format().as_str() {
        "text" => subtitles("text/plain; charset=utf-8", format!("{text}\n")),
        "srt" => subtitles(
            "text/plain; charset=utf-8",
            format!("1\n00:00:00,000 --> 00:00:02,000\n{text}\n\n"),
        ),
        "vtt" => subtitles(
            "text/vtt; charset=utf-8",
            format!("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\n{text}\n\n"),
        ),
        "verbose_json" => Answer::json(&json!({
            "task": if ask.path.contains("/translations") { "translate" } else { "transcribe" },
            "language": "english", "duration": 2.0, "text": text,
            "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": text, "tokens": [1],
                "temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}],
            "usage": {"type": "duration", "seconds": 2},
        })),
        _ => Answer::json(&json!({"text": text, "usage": transcript_usage(ask)})),
    }
}

fn transcript_usage(ask: &Ask<'_>) -> Value {
    json!({
        "type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
        "output_tokens": ask.tokens_out(), "total_tokens": 14 + ask.tokens_out(),
    })
}

fn transcript_events(ask: &Ask<'_>) -> Vec<Event> {
    let template = Template::new(&json!({"type": "transcript.text.delta", "delta": HOLE}));
    let mut events: Vec<Event> = ask
        .pieces()
        .iter()
        .map(|piece| Event::new(Part::Content, template.fill(piece)))
        .collect();
    let done = json!({"type": "transcript.text.done", "text": &*ask.text, "usage": transcript_usage(ask)});
    events.push(Event::new(Part::Finish, done));
    events.push(Event::new(Part::End, "[DONE]"));
    events
}
