//! How does a list of models look in each protocol?

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::client_tokens::client_tokens;
use super::endpoint::{Endpoint, Protocol};

/// The shape in which a client of `/v1/models` wants its list: Anthropic's if it sends `anthropic-version`, Gemini's if
/// it shows its token only as `x-goog-api-key` or `?key=`, else OpenAI's.
#[must_use]
pub fn wanted_shape(headers: &HeaderMap, query: Option<&str>) -> Protocol {
    let shown_otherwise = ["authorization", "x-api-key", "api-key"]
        .into_iter()
        .any(|name| headers.contains_key(name));
    if headers.contains_key("anthropic-version") {
        Protocol::Anthropic
    } else if !shown_otherwise && client_tokens(headers, query).next().is_some() {
        Protocol::Gemini
    } else {
        Protocol::OpenAi
    }
}

/// The list of these names, sorted, each once.
#[must_use]
pub fn list<'a>(protocol: Protocol, names: impl IntoIterator<Item = &'a str>) -> Bytes {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let models: Vec<Value> = names.iter().map(|name| model(protocol, name)).collect();
    let list = match protocol {
        Protocol::OpenAi => json!({"object": "list", "data": models}),
        Protocol::Anthropic => json!({
            "data": models,
            "has_more": false,
            "first_id": names.first(),
            "last_id": names.last(),
        }),
        Protocol::Gemini => json!({"models": models}),
    };
    list.to_string().into()
}

/// The names in an upstream's list, sorted, each once; `None` if it is no list of models.
#[must_use]
pub fn read(body: &[u8]) -> Option<Vec<String>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    // OpenAI and Anthropic: `data`; Gemini and Cohere: `models`; some houses: the bare list.
    let list = [&body["data"], &body["models"], &body].into_iter();
    let list = list.filter_map(Value::as_array).next()?;
    let name = |entry: &Value| match entry {
        Value::String(name) => Some(name.clone()),
        _ => {
            let name = entry["id"].as_str().or_else(|| entry["name"].as_str())?;
            Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
        }
    };
    let mut names: Vec<String> = list
        .iter()
        .filter_map(name)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// One model.
#[must_use]
pub fn one(protocol: Protocol, name: &str) -> Bytes {
    model(protocol, name).to_string().into()
}

/// When a model was made is not known here, so it is the epoch everywhere.
fn model(protocol: Protocol, name: &str) -> Value {
    match protocol {
        Protocol::OpenAi => json!({"id": name, "object": "model", "created": 0, "owned_by": "pointsman"}),
        Protocol::Anthropic => json!({
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
        }),
        Protocol::Gemini => {
            let methods = Endpoint::ALL
                .into_iter()
                .filter(|endpoint| endpoint.protocol() == Protocol::Gemini);
            let methods: Vec<_> = methods.map(Endpoint::name).collect();
            json!({
                "name": format!("models/{name}"),
                "displayName": name,
                "supportedGenerationMethods": methods,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn show(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lists_are_sorted_and_in_each_shape() {
        let names = ["b", "a", "b"];
        insta::assert_snapshot!(show(&list(Protocol::OpenAi, names)), @r#"{"object":"list","data":[{"id":"a","object":"model","created":0,"owned_by":"pointsman"},{"id":"b","object":"model","created":0,"owned_by":"pointsman"}]}"#);
        insta::assert_snapshot!(show(&list(Protocol::Anthropic, names)), @r#"{"data":[{"type":"model","id":"a","display_name":"a","created_at":"1970-01-01T00:00:00Z"},{"type":"model","id":"b","display_name":"b","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"a","last_id":"b"}"#);
        insta::assert_snapshot!(show(&list(Protocol::Anthropic, [])), @r#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#);
        insta::assert_snapshot!(show(&list(Protocol::Gemini, ["a"])), @r#"{"models":[{"name":"models/a","displayName":"a","supportedGenerationMethods":["generateContent","streamGenerateContent","embedContent","batchEmbedContents","countTokens"]}]}"#);
        insta::assert_snapshot!(show(&one(Protocol::OpenAi, "x/y")), @r#"{"id":"x/y","object":"model","created":0,"owned_by":"pointsman"}"#);
    }

    #[test]
    fn upstreams_lists_are_read_in_every_shape() {
        for protocol in Protocol::ALL {
            let names = read(&list(protocol, ["b", "a", "x/y"]));
            assert_eq!(names.unwrap(), ["a", "b", "x/y"], "{protocol}");
        }
        for (body, want) in [
            (r#"{"models":[{"name":"command-r"}]}"#, Some(vec!["command-r"])),
            (r#"[{"id":"m"},"n",{"x":1},{"id":""}]"#, Some(vec!["m", "n"])),
            (r#"{"data":[]}"#, Some(vec![])),
            (r#"{"data":{"a":1}}"#, None),
            ("<html>", None),
        ] {
            let want: Option<Vec<String>> = want.map(|names| names.into_iter().map(str::to_owned).collect());
            assert_eq!(read(body.as_bytes()), want, "{body}");
        }
    }

    #[test]
    fn the_client_shows_which_shape_it_wants() {
        for (names, query, want) in [
            (&["authorization"][..], None, Protocol::OpenAi),
            (&[], None, Protocol::OpenAi),
            (&["anthropic-version", "x-api-key"], None, Protocol::Anthropic),
            (&["x-api-key"], None, Protocol::OpenAi),
            (&["x-goog-api-key"], None, Protocol::Gemini),
            (&[], Some("key=k"), Protocol::Gemini),
            (
                &["authorization", "x-goog-api-key"],
                Some("key=k"),
                Protocol::OpenAi,
            ),
            (&[], Some("limit=5"), Protocol::OpenAi),
        ] {
            let headers = names
                .iter()
                .map(|name| (name.parse().unwrap(), HeaderValue::from_static("Bearer k")))
                .collect();
            assert_eq!(wanted_shape(&headers, query), want, "{names:?} {query:?}");
        }
    }
}
