//! Where do the fields of a `multipart/form-data` body stand?
//!
//! Strict on purpose: what another parser might read otherwise (a delimiter behind a bare LF) is refused, so that no form
//! can show one model here and another one upstream.

use std::ops::Range;

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value};

use super::request::{BadRequest, is_multipart, splice};

/// RFC 2046 allows 70.
const MAX_BOUNDARY_BYTES: usize = 70;
/// Far more than real forms have; bounds the work on a hostile one.
const MAX_PARTS: usize = 1000;

/// The plain fields of a form (files are left out).
#[derive(Debug)]
pub(super) struct Fields {
    pub boundary: String,
    /// Where the first delimiter stands.
    pub first: usize,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    value: Range<usize>,
    /// From its delimiter to the next one.
    part: Range<usize>,
}

impl Fields {
    /// Where the values of this field stand, in order.
    pub fn spans<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Range<usize>> {
        self.fields
            .iter()
            .filter(move |field| field.name == name)
            .map(|field| &field.value)
    }
}

/// The form with these fields in place of those of the same name, or beside the others; `null` takes a field away. A
/// value that is no text stands as JSON.
pub(super) fn with_fields(
    boundary: &str,
    body: &Bytes,
    over: &Map<String, Value>,
) -> Result<Bytes, BadRequest> {
    let form = fields_between(boundary, body)?;
    let mut edits = Vec::new();
    let mut added = String::new();
    for (name, value) in over {
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(one_line(text)),
            other => Some(other.to_string()),
        };
        let mut there = false;
        for field in form.fields.iter().filter(|field| field.name == *name) {
            there = true;
            edits.push(match &text {
                Some(text) => (&field.value, text.clone()),
                None => (&field.part, String::new()),
            });
        }
        if let (false, Some(text)) = (there, text) {
            added += &part(boundary, name, &text);
        }
    }
    let first = form.first..form.first;
    edits.push((&first, added));
    edits.sort_by_key(|(span, _)| (span.start, span.end));
    Ok(splice(body, &edits))
}

/// A part with its delimiter.
pub(super) fn part(boundary: &str, name: &str, value: &str) -> String {
    // As browsers escape it.
    let name = one_line(name).replace('"', "%22");
    format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// A form's value must not be able to end its part.
pub(super) fn one_line(value: &str) -> String {
    value.lines().collect::<Vec<_>>().join(" ").replace('\r', " ")
}

/// Finds the fields of a form.
pub(super) fn fields(content_type: &str, body: &[u8]) -> Result<Fields, BadRequest> {
    let boundary = boundary(content_type).ok_or(BadRequest::Multipart("Content-Type names no boundary"))?;
    fields_between(&boundary, body)
}

fn fields_between(boundary: &str, body: &[u8]) -> Result<Fields, BadRequest> {
    let delimiters = delimiters(boundary, body)?;
    let mut fields = Vec::new();
    for pair in delimiters.windows(2) {
        let part = pair[0].after..pair[1].before;
        if part.start > part.end {
            return Err(BadRequest::Multipart("a part has no header"));
        }
        if let Some((name, value)) = field(body, part)? {
            let part = pair[0].at..pair[1].at;
            fields.push(Field { name, value, part });
        }
    }
    Ok(Fields {
        boundary: boundary.to_owned(),
        first: delimiters[0].at,
        fields,
    })
}

struct Delimiter {
    /// Where its two hyphens stand.
    at: usize,
    /// Where the part before it ends.
    before: usize,
    /// Where the part behind it begins.
    after: usize,
}

/// Every delimiter up to the closing one.
fn delimiters(boundary: &str, body: &[u8]) -> Result<Vec<Delimiter>, BadRequest> {
    let dashed = format!("--{boundary}");
    let mut found = Vec::new();
    for at in memmem::find_iter(body, dashed.as_bytes()) {
        let behind = at + dashed.len();
        let before = match &body[..at] {
            [] => at,
            [.., b'\r', b'\n'] => at - 2,
            [.., b'\n' | b'\r'] => return Err(BadRequest::Multipart("its lines must end in CRLF")),
            _ => continue,
        };
        if body[behind..].starts_with(b"--") {
            found.push(Delimiter {
                at,
                before,
                after: behind,
            });
            return if found.len() > 1 {
                Ok(found)
            } else {
                Err(BadRequest::Multipart("it has no parts"))
            };
        }
        let padding = body[behind..]
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count();
        match &body[behind + padding..] {
            [b'\r', b'\n', ..] => found.push(Delimiter {
                at,
                before,
                after: behind + padding + 2,
            }),
            [b'\n' | b'\r', ..] => return Err(BadRequest::Multipart("its lines must end in CRLF")),
            // A longer word that begins like the boundary.
            _ => continue,
        }
        if found.len() > MAX_PARTS {
            return Err(BadRequest::Multipart("it has too many parts"));
        }
    }
    Err(BadRequest::Multipart(match found.len() {
        0 => "the boundary of Content-Type does not stand in the body",
        _ => "it ends before its closing boundary",
    }))
}

/// Name and value of a part, unless it is a file.
fn field(body: &[u8], part: Range<usize>) -> Result<Option<(String, Range<usize>)>, BadRequest> {
    let bytes = &body[part.clone()];
    let (header, value) = if bytes.starts_with(b"\r\n") {
        (0, 2)
    } else {
        let end =
            memmem::find(bytes, b"\r\n\r\n").ok_or(BadRequest::Multipart("a part's header does not end"))?;
        (end, end + 4)
    };
    // Lossy: a header that is not UTF-8 still names its field for others.
    let name = field_name(&String::from_utf8_lossy(&bytes[..header]))?;
    Ok(name.map(|name| (name, part.start + value..part.end)))
}

/// The `name` in `Content-Disposition`; `None` for a file.
fn field_name(header: &str) -> Result<Option<String>, BadRequest> {
    let disposition = header.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    });
    let mut name = None;
    let mut is_file = false;
    for (param, value) in disposition.map(params).unwrap_or_default() {
        match param.to_ascii_lowercase().as_str() {
            "name" if name.is_some() => return Err(BadRequest::Multipart("a part has two names")),
            "name" => name = Some(value),
            "filename" | "filename*" => is_file = true,
            _ => {}
        }
    }
    // Some servers take a file without a name for a plain field.
    if is_file && name.as_deref() == Some("model") {
        return Err(BadRequest::WrongType {
            field: "model",
            expected: "a plain field, not a file",
        });
    }
    Ok(name.filter(|_| !is_file))
}

fn boundary(content_type: &str) -> Option<String> {
    if !is_multipart(content_type) {
        return None;
    }
    let (_, boundary) = params(content_type)
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    (1..=MAX_BOUNDARY_BYTES)
        .contains(&boundary.len())
        .then_some(boundary)
}

/// The parameters of a header value (`kind; name=value; name="quoted; value"`).
fn params(value: &str) -> Vec<(&str, String)> {
    let mut params = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']);
        let (value, behind) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (token, behind) = behind.split_once(';').unwrap_or((behind, ""));
                (token.trim().to_owned(), behind)
            }
        };
        params.push((name, value));
        rest = behind;
    }
    params
}

/// The text up to the closing quote, and what stands behind it.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => text.push(letter),
        }
    }
    (text, "")
}
