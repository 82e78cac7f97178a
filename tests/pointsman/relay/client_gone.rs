//! When its client goes, an upstream ends within a second: by close, reset, or HTTP/2.

use super::asks::{CHAT, MODEL};
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::ordered;
use futures::StreamExt;
use pointsman::practice::Ended;
use reqwest::Client;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The promise, counted from the client's going.
const SOON: Duration = Duration::from_secs(1);
/// What an upstream does while its client goes: silent before its headers, behind them, in the midst, and speaking.
const WHILE: [&str; 4] = [
    "silence",
    "slow_first_token_ms=60000",
    "stall=3",
    "tokens=10000,gap_ms=50",
];

fn streamed() -> serde_json::Value {
    let mut body = chat_body(MODEL);
    body["stream"] = json!(true);
    body
}

async fn arrived(stage: &Stage) {
    eventually(Duration::from_secs(10), async || {
        let received = stage.upstream("a").received().len();
        if received > 0 { Ok(()) } else { Err(received) }
    })
    .await;
}

async fn ends(stage: &Stage, what: &str) {
    eventually(SOON, async || {
        let received = stage.upstream("a").received().pop().expect("it came");
        match received.ended {
            Some(Ended::ClientGone) => Ok(()),
            other => Err(format!("{what}: {other:?} after {} events", received.events)),
        }
    })
    .await;
    // Nothing of it counts against the channel.
    let (_, routing) = stage
        .admin(reqwest::Method::GET, "/api/routing", serde_json::Value::Null)
        .await;
    assert_eq!(
        routing["health"].as_array().map_or(0, Vec::len),
        0,
        "{what}: {routing}"
    );
}

/// A request over a plain socket, of which so much of the answer is read.
async fn raw_request(stage: &Stage, body: &serde_json::Value, reads_answer: bool) -> TcpStream {
    let address = stage.url().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(&address).await.expect("the node");
    let body = body.to_string();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        stage.token(),
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("written");
    arrived(stage).await;
    if reads_answer {
        let mut some = [0; 512];
        assert!(socket.read(&mut some).await.expect("an answer") > 0);
    }
    socket
}

fn answers(faults: &str) -> bool {
    faults.starts_with("stall") || faults.starts_with("tokens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_closed() {
    for faults in WHILE {
        for body in [streamed(), chat_body(MODEL)] {
            let is_stream = body["stream"] == json!(true);
            if !is_stream && faults.starts_with("tokens") {
                // A plain answer knows no pauses: it would be there before its client has gone.
                continue;
            }
            let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
            drop(raw_request(&stage, &body, is_stream && answers(faults)).await);
            ends(&stage, faults).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_reset() {
    for faults in WHILE {
        let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
        let socket = raw_request(&stage, &streamed(), answers(faults)).await;
        socket.set_zero_linger().expect("a socket option");
        drop(socket);
        ends(&stage, faults).await;
    }
}

fn http2() -> Client {
    Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .expect("a client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_connection_dies() {
    for faults in WHILE {
        let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
        let client = http2();
        let request = client
            .post(format!("{}{CHAT}", stage.url()))
            .bearer_auth(stage.token());
        let asking = tokio::spawn(async move {
            let response = with_json(request, &streamed()).send().await.expect("headers");
            response.bytes_stream().for_each(async |_| {}).await;
        });
        arrived(&stage).await;
        asking.abort();
        drop(client);
        ends(&stage, faults).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_stream_is_reset_while_its_connection_lives() {
    for faults in WHILE {
        let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
        let client = http2();
        // Opens the connection, which then outlives the stream.
        client.get(stage.url()).send().await.expect("200");
        let request = client
            .post(format!("{}{CHAT}", stage.url()))
            .bearer_auth(stage.token());
        let asking = tokio::spawn(async move {
            let response = with_json(request, &streamed()).send().await.expect("headers");
            response.bytes_stream().for_each(async |_| {}).await;
        });
        arrived(&stage).await;
        asking.abort();
        ends(&stage, faults).await;
        client
            .get(stage.url())
            .send()
            .await
            .expect("the connection lives");
    }
}
