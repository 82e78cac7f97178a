use proptest::prelude::*;

use super::*;

fn json(endpoint: Endpoint, body: &str) -> Result<Asked, BadRequest> {
    read_json(endpoint, &Bytes::copy_from_slice(body.as_bytes()))
}

fn chat(body: &str) -> Asked {
    json(Endpoint::ChatCompletions, body).unwrap()
}

#[test]
fn model_and_stream_are_read_wherever_they_stand() {
    for (body, model, stream) in [
        (r#"{"model":"gpt-4o"}"#, Some("gpt-4o"), false),
        (r#" { "stream" : true , "model" : "a" } "#, Some("a"), true),
        ("{\n\t\"model\"\r\n:\"a\",\"stream\":false}", Some("a"), false),
        (r#"{"model":"gpt\u002d4o\"x"}"#, Some("gpt-4o\"x"), false),
        (r#"{"mod\u0065l":"a"}"#, Some("a"), false),
        (
            r#"{"model":"a","model":"b","stream":true,"stream":false}"#,
            Some("b"),
            false,
        ),
        (
            r#"{"x":{"model":"inner","stream":true},"model":"outer"}"#,
            Some("outer"),
            false,
        ),
        (
            r#"{"messages":[{"content":"\"model\":\"x\""}],"model":"é/中文"}"#,
            Some("é/中文"),
            false,
        ),
        (r#"{"model":null,"stream":null}"#, None, false),
        (r#"{}"#, None, false),
    ] {
        let asked = chat(body);
        assert_eq!((asked.model.as_deref(), asked.stream), (model, stream), "{body}");
    }
}

#[test]
fn bad_bodies_name_what_is_wrong() {
    for (body, want) in [
        (
            "",
            "the body is not valid JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "{",
            "the body is not valid JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "{\"a\":1,\n \"b\" 2}",
            "the body is not valid JSON: expected `:` at line 2 column 6",
        ),
        (
            r#"{"a":1} x"#,
            "the body is not valid JSON: trailing characters at line 1 column 9",
        ),
        (
            r#"{"a":[1,}"#,
            "the body is not valid JSON: expected value at line 1 column 9",
        ),
        ("[]", "the body must be a JSON object"),
        ("\"x\"", "the body must be a JSON object"),
        ("null", "the body must be a JSON object"),
        (r#"{"model":1}"#, "`model` must be a string"),
        (
            r#"{"model":"a","Model":"b"}"#,
            "`model` must be spelled in lower case",
        ),
        (r#"{"model":["a"]}"#, "`model` must be a string"),
        (r#"{"model":""}"#, "`model` must not be empty"),
        (r#"{"model":"  "}"#, "`model` must not be empty"),
        (
            r#"{"model":"a","stream":"true"}"#,
            "`stream` must be true or false",
        ),
        (r#"{"model":"a","stream":1}"#, "`stream` must be true or false"),
    ] {
        assert_eq!(
            json(Endpoint::ChatCompletions, body).unwrap_err().to_string(),
            want,
            "{body}"
        );
    }
    let model = |bytes: usize| format!(r#"{{"model":"{}"}}"#, "m".repeat(bytes));
    assert!(json(Endpoint::Messages, &model(255)).is_ok());
    let error = json(Endpoint::Messages, &model(256)).unwrap_err();
    assert_eq!(
        (error.field(), error.to_string().as_str()),
        (Some("model"), "`model` is longer than 255 characters")
    );
    assert_eq!(
        read_json(Endpoint::Messages, &Bytes::from_static(b"{\"\xff\":1}")),
        Err(BadRequest::NotUtf8)
    );
}

#[test]
fn deep_nesting_is_skipped_not_followed() {
    let body = format!(
        r#"{{"x":{}{},"model":"a"}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(chat(&body).model.as_deref(), Some("a"));
}

#[test]
fn an_omitted_model_is_the_default_or_an_error() {
    assert_eq!(
        chat("{}").model_or(None).unwrap_err().to_string(),
        "`model` is missing"
    );
    let asked = json(Endpoint::Moderations, r#"{"input":"x"}"#).unwrap();
    assert_eq!(
        asked.model_or(Endpoint::Moderations.default_model()),
        Ok("omni-moderation-latest")
    );
}

#[test]
fn what_else_is_asked_for() {
    let asked = chat(r#"{"model":"a","n":3,"stream":true,"stream_options":{"include_usage":true,"x":1}}"#);
    assert_eq!((asked.choices, asked.include_usage), (3, true));
    assert!(!asked.leaves_usage_unasked());
    assert!(!chat("{}").leaves_usage_unasked());
    assert!(chat(r#"{"stream":true}"#).leaves_usage_unasked());
    let asked = chat(r#"{"n":null,"stream_options":null}"#);
    assert_eq!((asked.choices, asked.include_usage), (1, false));
    let asked = chat(r#"{"n":"x","stream_options":[1]}"#);
    assert_eq!((asked.choices, asked.include_usage), (1, false));
    let asked = json(
        Endpoint::GenerateContent,
        r#"{"generationConfig":{"candidateCount":2},"cachedContent":"c/1"}"#,
    );
    let asked = asked.unwrap();
    assert_eq!(
        (asked.choices, asked.affinity.cached_content.as_deref()),
        (2, Some("c/1"))
    );
    assert!(json(Endpoint::StreamGenerateContent, "{}").unwrap().is_stream());
}

#[test]
fn hints_of_the_conversation() {
    let asked = json(
        Endpoint::Responses,
        r#"{"prompt_cache_key":"k","session_id":"s","previous_response_id":"r","metadata":{"user_id":"u"},"input":"hi"}"#,
    )
    .unwrap();
    let hints = asked.affinity;
    assert_eq!(hints.prompt_cache_key.as_deref(), Some("k"));
    assert_eq!(hints.session_id.as_deref(), Some("s"));
    assert_eq!(hints.previous_response_id.as_deref(), Some("r"));
    assert_eq!(hints.user_id.as_deref(), Some("u"));
    let odd = json(
        Endpoint::Responses,
        r#"{"prompt_cache_key":1,"metadata":"x","session_id":"","input":null}"#,
    )
    .unwrap();
    assert_eq!(
        AffinityHints {
            opening: None,
            ..odd.affinity
        },
        AffinityHints::default()
    );
}

#[test]
fn the_opening_is_the_same_on_every_turn() {
    let opening = |endpoint, body: &str| {
        let asked = json(endpoint, body).unwrap();
        asked.affinity.opening.map(|span| body[span].to_owned())
    };
    let first = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}]}"#;
    let later = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"q2"}]}"#;
    let want = Some(r#"[{"role":"system","content":"s"},{"role":"user","content":"q"}"#.to_owned());
    assert_eq!(opening(Endpoint::ChatCompletions, first), want);
    assert_eq!(opening(Endpoint::ChatCompletions, later), want);
    assert_eq!(
        opening(Endpoint::Responses, r#"{"input":"hi"}"#),
        Some("\"hi\"".to_owned())
    );
    assert_eq!(
        opening(Endpoint::GenerateContent, r#"{"contents":[{"parts":[]},1]}"#),
        Some(r#"[{"parts":[]}"#.to_owned())
    );
    assert_eq!(opening(Endpoint::ChatCompletions, r#"{"messages":[]}"#), None);
    assert_eq!(opening(Endpoint::Embeddings, r#"{"input":"hi"}"#), None);
}

#[test]
fn a_mapping_rewrites_the_model_where_it_stands() {
    for (endpoint, body, model, want) in [
        (
            Endpoint::ChatCompletions,
            r#"{ "model" : "a" , "x": 1.0 }"#,
            "b",
            r#"{ "model" : "b" , "x": 1.0 }"#,
        ),
        (
            Endpoint::ChatCompletions,
            r#"{"model":"a"}"#,
            "q\"\\\n",
            r#"{"model":"q\"\\\n"}"#,
        ),
        (
            Endpoint::ChatCompletions,
            r#"{"model":"a","model":"b"}"#,
            "b",
            r#"{"model":"b","model":"b"}"#,
        ),
        (
            Endpoint::ChatCompletions,
            r#"{"model":"\u0061"}"#,
            "a",
            r#"{"model":"\u0061"}"#,
        ),
        (
            Endpoint::Moderations,
            r#"{"input":"x"}"#,
            "m",
            r#"{"model":"m","input":"x"}"#,
        ),
        (Endpoint::Moderations, "{ }", "m", r#"{"model":"m" }"#),
        (
            Endpoint::Moderations,
            r#"{"model":null}"#,
            "m",
            r#"{"model":"m"}"#,
        ),
        (
            Endpoint::Moderations,
            r#"{"input":"x"}"#,
            "omni-moderation-latest",
            r#"{"input":"x"}"#,
        ),
        (
            Endpoint::EmbedContent,
            r#"{"model":"models/a","content":{}}"#,
            "b",
            r#"{"model":"models/b","content":{}}"#,
        ),
        (
            Endpoint::GenerateContent,
            r#"{"contents":[]}"#,
            "b",
            r#"{"contents":[]}"#,
        ),
        (
            Endpoint::BatchEmbedContents,
            r#"{"requests":[{"model":"models/a"},{"x":1},{"model":"models/b"}]}"#,
            "b",
            r#"{"requests":[{"model":"models/b"},{"x":1},{"model":"models/b"}]}"#,
        ),
        (
            Endpoint::GeminiCountTokens,
            r#"{"generateContentRequest":{"model":"models/a"},"model":"a"}"#,
            "b",
            r#"{"generateContentRequest":{"model":"models/b"},"model":"b"}"#,
        ),
    ] {
        let body = Bytes::from_static(body.as_bytes());
        let asked = read_json(endpoint, &body).unwrap();
        let new = asked.with_model(&body, model);
        assert_eq!(std::str::from_utf8(&new).unwrap(), want);
        if new == body {
            assert_eq!(new.as_ptr(), body.as_ptr(), "an unchanged body is not copied");
        }
    }
}

#[test]
fn usage_is_asked_for_beside_other_stream_options() {
    let ask = |body: &'static str| ask_for_usage(&Bytes::from_static(body.as_bytes())).unwrap();
    assert_eq!(
        ask(r#"{"model":"a"}"#),
        r#"{"model":"a","stream_options":{"include_usage":true}}"#
    );
    assert_eq!(
        ask(r#"{"stream_options":{"include_obfuscation":false},"x":0.10}"#),
        r#"{"stream_options":{"include_obfuscation":false,"include_usage":true},"x":0.10}"#
    );
}

const FORM: &str = "multipart/form-data; boundary=XX";

fn form(parts: &str) -> Bytes {
    parts.replace('|', "\r\n").into()
}

#[test]
fn a_form_names_its_model() {
    let file = "--XX|Content-Disposition: form-data; name=\"file\"; filename=\"a\"|Content-Type: audio/wav||\
        Content-Disposition: form-data; name=\"model\"||fooled|--XXY|";
    let field =
        |name: &str, value: &str| format!("--XX|content-disposition: form-data; name={name}||{value}|");
    let model = field("\"model\"", "whisper-1");
    for (content_type, body, model, stream) in [
        (FORM, format!("{file}{model}--XX--|"), Some("whisper-1"), false),
        (
            FORM,
            format!("preamble|{model}{file}--XX--"),
            Some("whisper-1"),
            false,
        ),
        (
            "Multipart/Form-Data; charset=x; Boundary=\"XX\"",
            format!("{model}--XX--"),
            Some("whisper-1"),
            false,
        ),
        (
            FORM,
            format!("{}{model}--XX--", field("model", "a")),
            Some("whisper-1"),
            false,
        ),
        (
            FORM,
            format!("{model}{}--XX--", field("stream", "True")),
            Some("whisper-1"),
            true,
        ),
        (FORM, format!("{file}--XX--"), None, false),
        (
            FORM,
            format!(
                "{}--XX--|epilogue --XX",
                field("model", "a").replace("--XX|", "--XX  |")
            ),
            Some("a"),
            false,
        ),
    ] {
        let asked = read_multipart(Endpoint::Transcriptions, content_type, &form(&body)).unwrap();
        assert_eq!((asked.model.as_deref(), asked.stream), (model, stream), "{body}");
    }
}

#[test]
fn bad_forms_name_what_is_wrong() {
    let field = "--XX|Content-Disposition: form-data; name=\"model\"||";
    for (content_type, body, want) in [
        (
            "multipart/form-data",
            format!("{field}a|--XX--"),
            "Content-Type names no boundary",
        ),
        (
            "multipart/form-data; boundary=\"\"",
            format!("{field}a|--XX--"),
            "Content-Type names no boundary",
        ),
        (
            FORM,
            String::new(),
            "the boundary of Content-Type does not stand in the body",
        ),
        (FORM, "--XX--".into(), "it has no parts"),
        (FORM, format!("{field}a|"), "it ends before its closing boundary"),
        (FORM, format!("{field}a\n--XX--"), "its lines must end in CRLF"),
        (
            FORM,
            format!("--XX\n{}", &field[5..]),
            "its lines must end in CRLF",
        ),
        (
            FORM,
            "--XX|Content-Disposition: form-data|--XX--".into(),
            "a part's header does not end",
        ),
        (FORM, "--XX|--XX--".into(), "a part has no header"),
    ] {
        let error = read_multipart(Endpoint::Transcriptions, content_type, &form(&body)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the multipart form cannot be read: {want}"),
            "{body}"
        );
    }
    let error =
        read_multipart(Endpoint::Transcriptions, FORM, &form(&format!("{field}|--XX--"))).unwrap_err();
    assert_eq!(error, BadRequest::Empty { field: "model" });
}

#[test]
fn a_mapping_rewrites_the_model_of_a_form() {
    let body = form("--XX|Content-Disposition: form-data; name=\"model\"||a|--XX--");
    let asked = read_multipart(Endpoint::ImagesEdits, FORM, &body).unwrap();
    let want = form("--XX|Content-Disposition: form-data; name=\"model\"||b|--XX--");
    assert_eq!(asked.with_model(&body, "b\r\n"), want);
    assert_eq!(asked.with_model(&body, "a").as_ptr(), body.as_ptr());

    let body = form("x|--XX|Content-Disposition: form-data; name=\"prompt\"||a|--XX--");
    let asked = read_multipart(Endpoint::ImagesEdits, FORM, &body).unwrap();
    let again = asked.with_model(&body, "b");
    assert_eq!(
        read_multipart(Endpoint::ImagesEdits, FORM, &again)
            .unwrap()
            .model
            .as_deref(),
        Some("b")
    );
    assert_eq!(asked.with_model(&body, "dall-e-2"), body);
}

proptest! {
    #[test]
    fn rewriting_changes_the_model_and_nothing_else(old in "[^\u{0}]{1,40}", new in ".{1,40}", other in ".{0,40}") {
        prop_assume!(!old.trim().is_empty() && !new.trim().is_empty());
        let (before, after) = (format!("{{\"x\" : {} ,\"model\": ", quote(&other)), format!(" , \"y\":{}}}", quote(&old)));
        let body = Bytes::from(format!("{before}{}{after}", quote(&old)));
        let asked = read_json(Endpoint::ChatCompletions, &body).unwrap();
        prop_assert_eq!(asked.model.as_deref(), Some(old.as_str()));
        let changed = asked.with_model(&body, &new);
        prop_assert_eq!(&changed, &Bytes::from(format!("{before}{}{after}", quote(&new))));
        prop_assert_eq!(asked.with_model(&body, &old).as_ptr(), body.as_ptr());
        prop_assert_eq!(rewrite_model(&body, asked.spots[0].clone(), &new), changed);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        let _ = read_json(Endpoint::ChatCompletions, &body);
        let _ = read_multipart(Endpoint::ImagesEdits, FORM, &body);
    }

    #[test]
    fn no_form_makes_the_reader_panic(body in "(--XX|\r\n|--|Content-Disposition: form-data; name=|\"|model|;|=|a){0,30}") {
        let body = Bytes::from(body);
        if let Ok(asked) = read_multipart(Endpoint::ImagesEdits, FORM, &body) {
            let changed = asked.with_model(&body, "new-model");
            let again = read_multipart(Endpoint::ImagesEdits, FORM, &changed).unwrap();
            prop_assert_eq!(again.model.as_deref(), Some("new-model"));
        }
    }
}

#[test]
fn an_override_changes_the_fields_of_a_form() {
    let part =
        |name: &str, value: &str| format!("--XX|Content-Disposition: form-data; name=\"{name}\"||{value}|");
    let file = "--XX|Content-Disposition: form-data; name=\"file\"; filename=\"a\"||bytes|";
    let body = form(&format!(
        "{}{file}{}--XX--|",
        part("language", "de"),
        part("model", "whisper-1")
    ));
    let asked = read_multipart(Endpoint::Transcriptions, FORM, &body).unwrap();
    let check = |over: serde_json::Value, want: String| {
        let over = over.as_object().unwrap();
        assert_eq!(asked.with_params(&body, over).unwrap(), form(&want), "{over:?}");
    };
    let model = part("model", "whisper-1");
    check(
        json!({}),
        format!("{}{file}{model}--XX--|", part("language", "de")),
    );
    check(
        json!({"language": "en"}),
        format!("{}{file}{model}--XX--|", part("language", "en")),
    );
    check(json!({"language": null}), format!("{file}{model}--XX--|"));
    check(
        json!({"language": null, "temperature": 0.5, "a\"b": "two\r\nlines"}),
        format!(
            "{}{}{file}{model}--XX--|",
            part("temperature", "0.5"),
            part("a%22b", "two lines")
        ),
    );
    check(
        json!({"file": null}),
        format!("{}{file}{model}--XX--|", part("language", "de")),
    );
}
