//! How is JSON read one level deep, and changed where it stands?
//!
//! No tree: values that nobody asked for stay bytes of the body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Lays `patch` over the JSON object in `target` as a merge patch (RFC 7396): objects are merged, `null` removes,
/// anything else replaces. Members that it does not name stay byte for byte (white space between members goes).
///
/// # Errors
/// `target` is no JSON object.
pub fn merge_patch(target: &str, patch: &Map<String, Value>) -> serde_json::Result<String> {
    let mut members: Vec<Member<'_>> = serde_json::from_str::<Members<'_>>(target)?.0;
    let mut out = String::with_capacity(target.len() + 64);
    let mut added = Vec::new();
    for (name, value) in patch {
        // Of duplicates the last is the one that counts.
        let last = members.iter().rposition(|member| member.name == *name);
        let old = last.map(|at| members[at].value.clone());
        if let Some(at) = last {
            let mut index = 0;
            members.retain(|member| {
                index += 1;
                member.name != *name || index == at + 1
            });
        }
        let slot = members.iter().position(|member| member.name == *name);
        match (patched(old.as_deref(), value)?, slot) {
            (Some(new), Some(at)) => members[at].value = new.into(),
            (Some(new), None) => added.push((name, new)),
            (None, Some(at)) => drop(members.remove(at)),
            (None, None) => {}
        }
    }
    out.push('{');
    for member in &members {
        push_member(&mut out, member.key, &member.value);
    }
    for (name, value) in &added {
        push_member(&mut out, &quote(name), value);
    }
    out.push('}');
    Ok(out)
}

/// What `patch` makes of `old`; `None`: nothing is left.
fn patched(old: Option<&str>, patch: &Value) -> serde_json::Result<Option<String>> {
    match patch {
        Value::Null => Ok(None),
        Value::Object(inner) => {
            let target = old.filter(|old| old.starts_with('{')).unwrap_or("{}");
            merge_patch(target, inner).map(Some)
        }
        other => Ok(Some(other.to_string())),
    }
}

fn push_member(out: &mut String, key: &str, value: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(key);
    out.push(':');
    out.push_str(value);
}

/// The text as a JSON string, quotes included.
#[must_use]
pub fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// Where `part`, a slice of `whole`, stands in it.
pub(super) fn span_of(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

struct Member<'a> {
    /// With its quotes and escapes, as it stands.
    key: &'a str,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
            let name: Text<'de> = serde_json::from_str(key.get()).map_err(de::Error::custom)?;
            members.push(Member {
                key: key.get(),
                name: name.0,
                value: value.get().into(),
            });
        }
        Ok(Members(members))
    }
}

/// A string, borrowed from the input unless it has escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Loose::deserialize(deserializer)? {
            Loose::Text(text) => Ok(Text(text)),
            _ => Err(de::Error::custom("not a string")),
        }
    }
}

/// Any value, of which only what is cheap is kept. Providers put the oddest things into fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Loose<'a> {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    /// `[]` or `{}`
    EmptyTree,
    Tree,
}

impl<'a> Loose<'a> {
    /// Whether nothing of an answer is in it: null, `false`, a number, an empty string, list or object.
    pub fn says_nothing(&self) -> bool {
        match self {
            Loose::Null | Loose::Bool(false) | Loose::Number(_) | Loose::EmptyTree => true,
            Loose::Bool(true) | Loose::Tree => false,
            Loose::Text(text) => text.is_empty(),
        }
    }

    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Loose::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Loose::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    pub fn count(&self) -> Option<u64> {
        match self {
            // Token counts and indices are far below 2^53, where f64 is exact.
            Loose::Number(number) if *number >= 0.0 => Some(*number as u64),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Loose::from)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Number(value as f64))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Number(value as f64))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Number(value))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(value.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
        let mut tree = Loose::EmptyTree;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            tree = Loose::Tree;
        }
        Ok(tree)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
        let mut tree = Loose::EmptyTree;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            tree = Loose::Tree;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(target: &str, patch: &str) -> String {
        merge_patch(target, &serde_json::from_str(patch).unwrap()).unwrap()
    }

    #[test]
    fn merge_patch_sets_merges_and_removes() {
        for (target, over, want) in [
            (r#"{"a":1}"#, r#"{}"#, r#"{"a":1}"#),
            (r#"{ "a" : 1.0 , "b":2 }"#, r#"{"b":3}"#, r#"{"a":1.0,"b":3}"#),
            (r#"{"a":1}"#, r#"{"b":"x\ny"}"#, r#"{"a":1,"b":"x\ny"}"#),
            (r#"{"a":1,"b":2}"#, r#"{"a":null}"#, r#"{"b":2}"#),
            (r#"{"a":1}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{}"#, r#"{"a":1}"#, r#"{"a":1}"#),
            (
                r#"{"o":{"x":1,"y":2}}"#,
                r#"{"o":{"y":null,"z":3}}"#,
                r#"{"o":{"x":1,"z":3}}"#,
            ),
            (r#"{"o":[1]}"#, r#"{"o":{"y":1}}"#, r#"{"o":{"y":1}}"#),
            (r#"{"o":{"x":1}}"#, r#"{"o":[2]}"#, r#"{"o":[2]}"#),
            // Of duplicates the last counts; the others go.
            (
                r#"{"a":{"x":1},"b":0,"a":{"y":2}}"#,
                r#"{"a":{"z":3}}"#,
                r#"{"b":0,"a":{"y":2,"z":3}}"#,
            ),
            // A key is the same key however it is escaped; numbers keep every digit.
            (
                r#"{"\u0061":1,"n":1e400}"#,
                r#"{"a":2}"#,
                r#"{"\u0061":2,"n":1e400}"#,
            ),
        ] {
            assert_eq!(patch(target, over), want, "{target} with {over}");
        }
        assert!(merge_patch("[]", &Map::new()).is_err());
        assert!(merge_patch("{", &Map::new()).is_err());
    }
}
