//! Reads the short fields of a multipart body, as far as an answer depends on them.

use memchr::memmem;
use serde_json::{Map, Value};

/// A field longer than this is a file.
const FIELD_LIMIT: usize = 4096;

/// The boundary that a `Content-Type` names.
pub fn boundary(content_type: &str) -> Option<&str> {
    let (_, rest) = content_type.split_once("boundary=")?;
    Some(rest.split(';').next().unwrap_or(rest).trim().trim_matches('"'))
}

/// The fields as JSON: numbers and booleans as such, everything else as text.
pub fn fields(boundary: &str, body: &[u8]) -> Map<String, Value> {
    let mark = format!("--{boundary}");
    let starts: Vec<usize> = memmem::find_iter(body, &mark).collect();
    let parts = starts
        .iter()
        .zip(starts.iter().skip(1))
        .map(|(start, end)| &body[start + mark.len()..*end]);
    parts.filter_map(field).collect()
}

fn field(part: &[u8]) -> Option<(String, Value)> {
    let border = memmem::find(part, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&part[..border]).ok()?;
    let content = part[border + 4..].strip_suffix(b"\r\n")?;
    if content.len() > FIELD_LIMIT || head.contains("filename=") {
        return None;
    }
    let name = parameter(head, "name")?;
    let text = std::str::from_utf8(content).ok()?;
    let value = match (name, text) {
        ("stream", "true" | "True" | "1") => Value::Bool(true),
        ("stream", _) => Value::Bool(false),
        ("n" | "partial_images", _) => text.parse::<u64>().map_or(Value::Null, Value::from),
        _ => Value::from(text),
    };
    Some((name.to_owned(), value))
}

/// `name="…"` or `name=…` of a Content-Disposition.
fn parameter<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = head.split_once(&format!(" {name}="))?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([';', '\r', '\n']).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_fields_are_read_and_files_passed_over() {
        let body =
            b"--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF--xy\r\n\
            --xyz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper~cut=1\r\n\
            --xyz\r\nContent-Disposition: form-data; name=stream\r\n\r\ntrue\r\n--xyz--\r\n";
        let fields = fields("xyz", body);
        assert_eq!(
            Value::Object(fields),
            serde_json::json!({"model": "whisper~cut=1", "stream": true})
        );
        assert_eq!(boundary("multipart/form-data; boundary=\"xyz\""), Some("xyz"));
        assert_eq!(boundary("application/json"), None);
    }
}
