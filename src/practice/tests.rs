//! A practice upstream, spoken to as a relay would.

use std::sync::Once;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};

use super::{Ended, Practice};

const SOON: Duration = Duration::from_secs(10);

struct Stand {
    practice: Practice,
    client: Client,
}

impl Stand {
    fn new() -> Stand {
        static PROVIDER: Once = Once::new();
        // Another test of the process may have installed it already.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let listen = "127.0.0.1:0".parse().expect("an address");
        let practice = Practice::start(listen, 1).expect("a free port");
        let no_redirect = reqwest::redirect::Policy::none();
        let client = Client::builder()
            .no_proxy()
            .redirect(no_redirect)
            .build()
            .expect("a client");
        Stand { practice, client }
    }

    fn at(&self, path: &str) -> String {
        self.practice.url() + path
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.try_post(path, body).await.expect("an answer")
    }

    async fn try_post(&self, path: &str, body: Value) -> reqwest::Result<Response> {
        let request = self
            .client
            .post(self.at(path))
            .header("content-type", "application/json");
        request
            .header("authorization", "Bearer sk-test-7777")
            .body(body.to_string())
            .send()
            .await
    }

    async fn chat(&self, model: &str) -> Response {
        self.post("/v1/chat/completions", chat(model, false)).await
    }

    async fn chat_stream(&self, model: &str) -> Response {
        self.post("/v1/chat/completions", chat(model, true)).await
    }

    async fn json(&self, path: &str, body: Value) -> Value {
        read_json(self.post(path, body).await).await
    }
}

fn chat(model: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]})
}

fn gemini() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
}

async fn read_json(response: Response) -> Value {
    let text = response.text().await.expect("a whole body");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What a stream brought, and whether it ended cleanly.
async fn read_all(response: Response) -> (String, bool) {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => all.extend_from_slice(&chunk),
            Err(_) => return (String::from_utf8(all).expect("text"), false),
        }
    }
    (String::from_utf8(all).expect("text"), true)
}

/// The data of each event.
fn data(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

/// The text that a chat stream brought so far.
fn chat_text(text: &str) -> String {
    let piece = |data: &str| {
        let event: Value = serde_json::from_str(data).ok()?;
        Some(event.pointer("/choices/0/delta/content")?.as_str()?.to_owned())
    };
    data(text).into_iter().filter_map(piece).collect()
}

fn words(count: usize) -> String {
    (1..=count)
        .map(|number| format!("word{number}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn plain_answers_have_each_protocols_shape() {
    let stand = Stand::new();
    let ask = |path, body| stand.json(path, body);
    let text = words(20);

    let answer = ask("/v1/chat/completions", chat("m", false)).await;
    assert_eq!(answer["choices"][0]["message"]["content"], text);
    assert_eq!(
        (&answer["model"], &answer["usage"]["completion_tokens"]),
        (&json!("m"), &json!(20))
    );
    let again = ask("/api/paas/v4/chat/completions", chat("m", false)).await;
    assert_ne!(answer["id"], again["id"]);

    let answer = ask("/v1/completions", json!({"model": "m", "prompt": "x", "n": 2})).await;
    assert_eq!(answer["choices"][1]["text"], text);
    let answer = ask("/v1/responses", json!({"model": "m", "input": "hello"})).await;
    assert_eq!(answer["output"][0]["content"][0]["text"], text);
    let answer = ask("/v1/messages", chat("m", false)).await;
    assert_eq!(
        (&answer["content"][0]["text"], &answer["stop_reason"]),
        (&json!(text), &json!("end_turn"))
    );
    let answer = ask("/v1beta/models/a%2Fb:generateContent", gemini()).await;
    assert_eq!(answer["candidates"][0]["content"]["parts"][0]["text"], text);
    assert_eq!(answer["modelVersion"], "a/b");
    let answer = ask("/v1/embeddings", json!({"model": "m", "input": ["a", "b"]})).await;
    assert_eq!(answer["data"][1]["embedding"][1], 1.0);
    let answer = ask(
        "/v1/rerank",
        json!({"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 1}),
    )
    .await;
    assert_eq!(
        answer["results"],
        json!([{"index": 0, "relevance_score": 1.0, "document": {"text": "a"}}])
    );
    let azure = "/openai/deployments/gpt~tokens=1/chat/completions?api-version=2024-10-21";
    let answer = ask(azure, json!({"messages": []})).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "word1");
}

#[tokio::test]
async fn every_other_path_answers() {
    let stand = Stand::new();
    let plain = json!({"model": "m", "input": "x", "prompt": "x"});
    for path in [
        "/v1/responses/compact",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/moderations",
        "/v1/messages/count_tokens",
        "/v1/models/m:countTokens",
        "/v1beta/models/m:embedContent",
        "/v1beta/models/m:batchEmbedContents",
    ] {
        let response = stand.post(path, plain.clone()).await;
        assert_eq!(response.status(), 200, "{path}");
    }
    for (path, part) in [
        ("/v1/models", "\"object\":\"list\""),
        ("/v1/models/org/any", "\"id\":\"org/any\""),
        ("/v1beta/models", "\"name\":\"models/practice\""),
        ("/", "practice"),
    ] {
        let response = stand.client.get(stand.at(path)).send().await.expect("an answer");
        let text = response.text().await.expect("a body");
        assert!(text.contains(part), "{path}: {text}");
    }
    assert_eq!(stand.post("/v1/nowhere", plain).await.status(), 404);
}

#[tokio::test]
async fn a_model_is_read_from_multipart() {
    let stand = Stand::new();
    let body = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper~tokens=2\r\n\
        --b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\ntext\r\n\
        --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n";
    let request = stand.client.post(stand.at("/v1/audio/transcriptions"));
    let request = request
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.text().await.expect("text"), "word1 word2\n");
    assert_eq!(stand.practice.log().count("whisper~tokens=2"), 1);
}

#[tokio::test]
async fn a_chat_stream_ends_with_its_marker() {
    let stand = Stand::new();
    let mut body = chat("m~tokens=7,chunk=3", true);
    body["stream_options"] = json!({"include_usage": true});
    let (text, clean) = read_all(stand.post("/v1/chat/completions", body).await).await;
    assert!(clean);
    assert_eq!(chat_text(&text), words(7));
    let events = data(&text);
    assert_eq!(
        (events.len(), events[events.len() - 1]),
        (1 + 3 + 1 + 1 + 1, "[DONE]")
    );
    assert!(
        events[5].contains("\"choices\":[],\"usage\":{\"prompt_tokens\""),
        "{}",
        events[5]
    );
}

#[tokio::test]
async fn the_other_streams_have_their_sequences() {
    let stand = Stand::new();
    let names = |text: &str| {
        let names: Vec<String> = text
            .lines()
            .filter_map(|line| Some(line.strip_prefix("event: ")?.to_owned()))
            .collect();
        names.join(" ")
    };
    let body = json!({"model": "m~tokens=2", "stream": true, "input": "hello"});
    let (text, _) = read_all(stand.post("/v1/responses", body).await).await;
    assert_eq!(
        names(&text).replace("response.", ""),
        "created in_progress output_item.added content_part.added output_text.delta output_text.delta \
         output_text.done content_part.done output_item.done completed"
    );
    for (number, data) in data(&text).iter().enumerate() {
        let event: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(event["sequence_number"], number, "{data}");
    }
    let (text, _) = read_all(stand.post("/v1/messages", chat("m~tokens=1", true)).await).await;
    assert_eq!(
        names(&text),
        "message_start content_block_start ping content_block_delta content_block_stop message_delta message_stop"
    );
    let (text, _) = read_all(
        stand
            .post(
                "/v1beta/models/m~tokens=2:streamGenerateContent?alt=sse",
                gemini(),
            )
            .await,
    )
    .await;
    assert_eq!(data(&text).len(), 3);
    let array = stand
        .json("/v1beta/models/m~tokens=2:streamGenerateContent", gemini())
        .await;
    assert_eq!(array[2]["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn a_tool_is_called_when_the_user_says_so_or_the_choice_forces_it() {
    let stand = Stand::new();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let says = |text: &str| json!([{"role": "user", "content": text}]);
    let function = json!({"name": "weather", "parameters": schema});
    let mut body = json!({"model": "m", "messages": says("use a tool"),
        "tools": [{"type": "function", "function": function}]});
    let answer = stand.json("/v1/chat/completions", body.clone()).await;
    assert_eq!(
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"],
        "{\"city\":\"word1\"}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    body["messages"] = says("hello");
    let answer = stand.json("/v1/chat/completions", body.clone()).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    body["tool_choice"] = "required".into();
    body["stream"] = true.into();
    let (text, _) = read_all(stand.post("/v1/chat/completions", body).await).await;
    let piece = |data: &&str| {
        let event: Value = serde_json::from_str(data).ok()?;
        Some(
            event
                .pointer("/choices/0/delta/tool_calls/0/function/arguments")?
                .as_str()?
                .to_owned(),
        )
    };
    assert_eq!(
        data(&text).iter().filter_map(piece).collect::<String>(),
        "{\"city\":\"word1\"}"
    );

    let body = json!({"model": "m", "messages": says("tool"), "tools": [{"name": "weather", "input_schema": schema}]});
    let answer = stand.json("/v1/messages", body).await;
    assert_eq!(answer["content"][0]["input"], json!({"city": "word1"}));
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "tool"}]}],
        "tools": [{"functionDeclarations": [function]}]});
    let answer = stand.json("/v1beta/models/m:generateContent", body).await;
    assert_eq!(
        answer["candidates"][0]["content"]["parts"][0]["functionCall"]["name"],
        "weather"
    );
    let body = json!({"model": "m", "input": "tool", "tools": [{"type": "function", "name": "weather", "parameters": schema}]});
    let answer = stand.json("/v1/responses", body).await;
    assert_eq!(answer["output"][0]["arguments"], "{\"city\":\"word1\"}");
}

#[tokio::test]
async fn refusals_come_by_name_or_by_prefix() {
    let stand = Stand::new();
    let response = stand.chat("m~429=7").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"7".parse().expect("value"))
    );
    let response = stand.chat("m~503,retry_after_ms=250").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after-ms"]),
        (503, &"250".parse().expect("value"))
    );
    let response = stand.chat("m~503,retry_after_date=30").await;
    assert!(
        response.headers()["retry-after"]
            .to_str()
            .expect("text")
            .ends_with(" GMT")
    );
    assert_eq!(
        stand.post("/~529/v1/messages", chat("m", false)).await.status(),
        529
    );
    assert_eq!(
        stand
            .post("/~first=1:500/v1/messages", chat("m", false))
            .await
            .status(),
        500
    );
    assert_eq!(
        stand
            .post("/~first=1:500/v1/messages", chat("m", false))
            .await
            .status(),
        200
    );
    assert_eq!(
        stand
            .post("/v1beta/models/m~wrong_key:generateContent", gemini())
            .await
            .status(),
        400
    );
    assert_eq!(
        stand
            .post("/v1beta/models/m%7Efirst%3D1%3A429:generateContent", gemini())
            .await
            .status(),
        429
    );
    assert_eq!(stand.chat("m~key_refused=7777").await.status(), 401);
    assert_eq!(stand.chat("m~key_refused=8888,require_key").await.status(), 200);
    let response = stand.chat("m~firewall").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (403, &"text/html; charset=utf-8".parse().expect("value"))
    );
    assert_eq!(stand.chat("m~redirect").await.status(), 302);
    let response = stand.chat("m~frobnicate=1").await;
    assert_eq!(response.status(), 400);
    assert!(
        read_json(response).await["error"]["message"]
            .as_str()
            .expect("text")
            .contains("`frobnicate=1`")
    );
    let (text, clean) = read_all(stand.chat_stream("m~error_event,rate_limited").await).await;
    assert!(
        clean && data(&text).len() == 1 && text.contains("rate_limit_exceeded"),
        "{text}"
    );
    let response = stand.chat_stream("m~error_in_200,quota").await;
    assert_eq!(response.status(), 200);
    assert_eq!(read_json(response).await["error"]["code"], "insufficient_quota");
}

#[tokio::test]
async fn it_fails_so_often_or_so_long_then_is_well() {
    let stand = Stand::new();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(stand.chat("m~first=2:429=1").await.status().as_u16());
    }
    assert_eq!(statuses, [429, 429, 200]);
    assert_eq!(stand.chat("other~first=2:429=1").await.status(), 429);
    assert_eq!(stand.chat("m~flap=0.05").await.status(), 503);
    let well = async { while stand.chat("m~flap=0.05").await.status() != 200 {} };
    tokio::time::timeout(SOON, well).await.expect("well again");
    assert!(
        stand
            .try_post("/v1/chat/completions", chat("m~first=1:reset", false))
            .await
            .is_err()
    );
    assert_eq!(stand.chat("m~first=1:reset").await.status(), 200);
}

#[tokio::test]
async fn a_stream_breaks_where_it_is_ordered_to() {
    let stand = Stand::new();
    let (text, clean) = read_all(stand.chat_stream("m~cut=4").await).await;
    assert_eq!((chat_text(&text), clean), (words(4), false));
    let (text, clean) = read_all(stand.chat_stream("m~cut=0").await).await;
    assert_eq!((data(&text).len(), clean), (1, false));
    let (text, clean) = read_all(stand.chat_stream("m~tokens=3,cut=40").await).await;
    assert_eq!(
        (chat_text(&text), clean, text.contains("stop")),
        (words(3), false, false)
    );
    let (text, clean) = read_all(stand.chat_stream("m~tokens=3,malformed=2").await).await;
    assert_eq!((chat_text(&text).as_str(), clean), ("word1 word3", true));
    let (text, clean) = read_all(stand.chat_stream("m~no_end").await).await;
    assert!(clean && text.contains("\"stop\"") && !text.contains("[DONE]"));
    for (form, wanted) in [
        ("own", "data: {\"error\":"),
        ("bare", "\n\n{\"error\":"),
        ("chunk", "\"finish_reason\":\"error\""),
    ] {
        let model = format!("m~error_after=3,error_form={form}");
        let (text, clean) = read_all(stand.chat_stream(&model).await).await;
        assert!(
            clean && text.contains(wanted) && !text.contains("[DONE]"),
            "{text}"
        );
        assert_eq!(chat_text(&text), words(3), "{form}");
    }
    let (text, clean) = read_all(stand.chat_stream("m~finish=network_error").await).await;
    assert!(clean && text.contains("\"network_error\"") && text.contains("[DONE]"));
    let (text, clean) = read_all(stand.chat_stream("m~malformed_frame=1").await).await;
    assert_eq!((chat_text(&text), clean), (words(20), true));
    assert!(serde_json::from_str::<Value>(data(&text)[0]).is_err(), "{text}");
    let whole = read_json(stand.chat_stream("m~plain,tokens=3").await).await;
    assert_eq!(whole["choices"][0]["message"]["content"], words(3));
    let (text, clean) = read_all(stand.chat_stream("m~no_finish").await).await;
    assert!(clean && !text.contains("\"stop\"") && !text.contains("[DONE]"));
    let log = stand.practice.log();
    let cut = &log.of("m~cut=4")[0];
    assert_eq!((cut.ended, cut.events), (Some(Ended::Cut), 4));

    let response = stand.chat("m~cut=1").await;
    let promised = response.content_length().expect("a length");
    let (text, clean) = read_all(response).await;
    assert!(!clean && !text.is_empty() && (text.len() as u64) < promised);
    assert!(
        stand
            .try_post("/v1/chat/completions", chat("m~close", false))
            .await
            .is_err()
    );
    assert_eq!(log.of("m~close")[0].ended, Some(Ended::Closed));
}

#[test]
fn a_reset_is_a_reset() {
    use std::io::{Read as _, Write as _};
    let stand = Stand::new();
    for (fault, wanted) in [
        ("reset", Err(std::io::ErrorKind::ConnectionReset)),
        ("close", Ok(0)),
    ] {
        let mut stream = std::net::TcpStream::connect(stand.practice.addr()).expect("a connection");
        let request = format!("GET /~{fault}/v1/models HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let read = stream.read(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(read, wanted, "{fault}");
    }
}

#[tokio::test]
async fn a_client_that_goes_is_noticed_while_it_is_silent_or_stalls() {
    let stand = Stand::new();
    let log = stand.practice.log();
    for model in [
        "m~silence",
        "m~slow_first_byte_ms=60000",
        "m~slow_first_token_ms=60000",
        "m~stall=3",
    ] {
        let request = stand.try_post("/v1/chat/completions", chat(model, true));
        let answered = async {
            let mut stream = request.await.expect("headers").bytes_stream();
            while stream.next().await.is_some() {}
        };
        let waits = |log: &super::Log| log.count(model) == 1 && log.in_flight() == 1;
        let received = log.wait_until(SOON, waits);
        tokio::select! {
            () = answered => panic!("{model} ended"),
            came = received => assert!(came, "{model}"),
        }
        let gone = |log: &super::Log| log.of(model)[0].ended == Some(Ended::ClientGone);
        assert!(log.wait_until(SOON, gone).await, "{model}");
        assert_eq!(log.in_flight(), 0, "{model}");
    }
}

#[tokio::test]
async fn what_was_sent_is_echoed_and_logged() {
    let stand = Stand::new();
    let request = stand.client.post(stand.at("/~echo/v1/chat/completions?a=1"));
    let request = request.header("x-test", "one").header("x-test", "two");
    let response = request
        .body(chat("m~header=x-extra:a%2Cb", false).to_string())
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["x-extra"], "a,b");
    let answer = read_json(response).await;
    let heard: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().expect("text"))
            .expect("JSON");
    assert_eq!(
        (&heard["method"], &heard["query"]),
        (&json!("POST"), &json!("a=1"))
    );
    let both = json!([["x-test", "one"], ["x-test", "two"]]);
    let tests = heard["headers"]
        .as_array()
        .expect("headers")
        .iter()
        .filter(|pair| pair[0] == "x-test");
    assert_eq!(Value::from_iter(tests.cloned()), both);

    let url = stand.at("/practice/log?model=m~header%3Dx-extra:a%252Cb");
    let log = read_json(stand.client.get(&url).send().await.expect("an answer")).await;
    assert_eq!(
        (&log["total"], &log["items"][0]["ended"]),
        (&json!(1), &json!("answered")),
        "{log}"
    );
    assert_eq!(log["items"][0]["faults"], "echo,header=x-extra:a%2Cb");
    assert_eq!(
        stand
            .client
            .delete(&url)
            .send()
            .await
            .expect("an answer")
            .status(),
        200
    );
    assert!(stand.practice.log().is_empty());
}

#[tokio::test]
async fn it_compresses_unasked() {
    use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
    use tokio::io::{AsyncRead, AsyncReadExt as _, BufReader};
    let stand = Stand::new();
    let refused = stand.chat("m~503,gzip").await;
    assert_eq!(refused.headers()["content-encoding"], "gzip");
    assert_eq!(refused.bytes().await.expect("a body")[..2], [0x1f, 0x8b]);
    for (coding, stream) in [("gzip", false), ("gzip", true), ("zstd", false), ("zstd", true)] {
        let response = stand
            .post("/v1/chat/completions", chat(&format!("m~{coding}"), stream))
            .await;
        assert_eq!(response.headers()["content-encoding"], coding);
        let bytes = response.bytes().await.expect("a body");
        let reader = BufReader::new(&bytes[..]);
        let mut decoder: Box<dyn AsyncRead + Unpin> = if coding == "gzip" {
            Box::new(GzipDecoder::new(reader))
        } else {
            Box::new(ZstdDecoder::new(reader))
        };
        let mut text = String::new();
        decoder.read_to_string(&mut text).await.expect(coding);
        assert!(
            text.contains("word1") && text.trim_end().ends_with(if stream { "[DONE]" } else { "}" }),
            "{text}"
        );
    }
}

#[tokio::test]
async fn sizes_are_kept() {
    let stand = Stand::new();
    let answer = read_json(stand.chat("m~size=300000").await).await;
    assert_eq!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .expect("text")
            .len(),
        300_000
    );
    let response = stand.chat("m~huge=200000").await;
    assert_eq!(response.bytes().await.expect("a body").len(), 200_002);
    let response = stand
        .post("/v1/audio/speech", json!({"model": "m~size=5000", "input": "x"}))
        .await;
    assert_eq!(response.bytes().await.expect("sound").len(), 5000);
    assert!(
        serde_json::from_str::<Value>(&stand.chat("m~garbage").await.text().await.expect("bytes")).is_err()
    );
}

#[tokio::test]
async fn it_speaks_http_2_without_tls() {
    let stand = Stand::new();
    let client = Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let send = |model: &str, stream| {
        client
            .post(stand.at("/v1/chat/completions"))
            .body(chat(model, stream).to_string())
            .send()
    };
    let answer = read_json(send("m", false).await.expect("an answer")).await;
    assert_eq!(answer["choices"][0]["message"]["content"], words(20));
    let (text, clean) = read_all(send("m~cut=2", true).await.expect("headers")).await;
    assert_eq!((chat_text(&text), clean), (words(2), false));
    assert!(send("m~reset", false).await.is_err());
    assert_eq!(stand.practice.log().of("m")[0].http_version, "HTTP/2.0");
}

#[test]
fn it_stops_at_once_and_frees_its_port() {
    let mut stand = Stand::new();
    let address = stand.practice.addr();
    stand.practice.stop();
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(Practice::start(address, 1).is_ok());
}

#[test]
fn its_help_documents_every_fault() {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: super::PracticeArgs,
    }
    let mut command = <Command as clap::CommandFactory>::command();
    let help = command.render_long_help().to_string();
    assert!(
        help.contains("127.0.0.1:3900") && help.contains("first=N:FAULT"),
        "{help}"
    );
    let parsed = <Command as clap::Parser>::parse_from(["practice", "--listen", "127.0.0.1:0"]);
    assert_eq!(parsed.args.listen.port(), 0);
}

#[tokio::test]
async fn a_client_that_goes_in_the_midst_of_a_stream_is_noticed() {
    let stand = Stand::new();
    let log = stand.practice.log();
    let over_h2 = Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    for (client, model) in [
        (&stand.client, "m~gap_ms=20,tokens=10000"),
        (&over_h2, "n~gap_ms=20,tokens=10000"),
    ] {
        let request = client
            .post(stand.at("/v1/chat/completions"))
            .body(chat(model, true).to_string());
        let mut stream = request.send().await.expect("headers").bytes_stream();
        stream.next().await.expect("a chunk").expect("a good one");
        let begun = |log: &super::Log| log.of(model)[0].events >= 2;
        assert!(log.wait_until(SOON, begun).await, "{model}");
        drop(stream);
        let gone = |log: &super::Log| log.of(model)[0].ended == Some(Ended::ClientGone);
        assert!(log.wait_until(SOON, gone).await, "{model}");
    }
}

#[test]
fn a_client_that_reads_nothing_and_goes_is_noticed() {
    use std::io::Write as _;
    let stand = Stand::new();
    let log = stand.practice.log();
    let mut stream = std::net::TcpStream::connect(stand.practice.addr()).expect("a connection");
    let request = "GET /~huge=100000000/v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("written");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    assert!(runtime.block_on(log.wait_until(SOON, |log| log.in_flight() == 1)));
    drop(stream);
    let gone = |log: &super::Log| log.all()[0].ended == Some(Ended::ClientGone);
    assert!(runtime.block_on(log.wait_until(SOON, gone)));
}

#[tokio::test]
async fn two_requests_on_one_connection_bear_its_number() {
    let stand = Stand::new();
    for _ in 0..2 {
        stand.chat("m").await.bytes().await.expect("a body");
    }
    let log = stand.practice.log().of("m");
    assert_eq!((log[0].connection, log[1].connection, log[1].number), (1, 1, 2));
    assert!(log[1].at_ms >= log[0].ended_at_ms.expect("ended"));
}
