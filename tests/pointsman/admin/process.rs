//! How the process starts and stops.

use super::problem;
use crate::answer::Answer;
use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::logs::Lines;
use crate::node::{Node, Setup};
use crate::servers::PrivateServer;
use crate::stage::{Stage, chat_body};
use crate::upstream::ordered;
use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_a_stream_in_flight_ends_whole_and_the_exit_is_0() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("tokens=20,gap_ms=100"))
        .flag("--drain-delay", "1")
        .await;
    let mut body = chat_body("gpt-4o");
    body["stream"] = json!(true);
    let request = stage
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth(stage.token())
        .header("content-type", "application/json")
        .body(body.to_string());
    let mut stream = request.send().await.expect("an answer").bytes_stream();
    let mut text = stream
        .next()
        .await
        .expect("a first chunk")
        .expect("a chunk")
        .to_vec();

    stage.sigterm();
    eventually(SOON, async || {
        Answer::to(stage.request(Method::GET, "/readyz"))
            .await
            .with_status(503)
    })
    .await;
    // The listener is open for the moment, so new work is done.
    let other = client();
    let late = other
        .post(format!("{}/v1/embeddings", stage.url()))
        .bearer_auth(stage.token())
        .header("content-type", "application/json")
        .body(r#"{"model": "gpt-4o", "input": "x"}"#);
    Answer::to(late).await.expect(200);
    while let Some(chunk) = stream.next().await {
        text.extend_from_slice(&chunk.expect("the stream is not cut"));
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
    let status = stage.exit_status(SOON).await;
    assert_eq!(status.code(), Some(0), "{status}: {:#?}", stage.log().all());
    assert!(stage.log().with(" stopped").len() == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_operators_in_flight_ends_whole_too() {
    // Longer than the quiet that a drain waits for.
    let stage = Stage::new(Kind::Sqlite)
        .channel("slow", ordered("slow_first_byte_ms=6000"))
        .flag("--drain-delay", "0")
        .await;
    let path = format!("/api/channels/{}/test", stage.id("slow"));
    let test = stage.admin_answer(Method::POST, &path, serde_json::Value::Null);
    let stop = async {
        eventually(SOON, async || match stage.upstream("slow").received().len() {
            1 => Ok(()),
            others => Err(others),
        })
        .await;
        stage.sigterm();
    };
    let (verdict, ()) = tokio::join!(test, stop);
    assert_eq!(verdict.expect(200).json()["ok"], true);
    assert_eq!(stage.exit_status(SOON).await.code(), Some(0));
    assert!(stage.log().with("connections are cut").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_drain_timeout_is_cut() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("stall=3"))
        .flag("--drain-timeout", "1.5")
        .flag("--drain-delay", "0")
        .await;
    let mut body = chat_body("gpt-4o");
    body["stream"] = json!(true);
    let request = stage
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth(stage.token())
        .header("content-type", "application/json")
        .body(body.to_string());
    let mut stream = request.send().await.expect("an answer").bytes_stream();
    stream.next().await.expect("a first chunk").expect("a chunk");
    let began = Instant::now();
    stage.sigterm();
    let status = stage.exit_status(SOON).await;
    assert_eq!(status.code(), Some(0), "{status}: {:#?}", stage.log().all());
    assert!(
        began.elapsed() >= Duration::from_millis(1400),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_stops_at_once_on_sigint() {
    let stage = Stage::new(Kind::Sqlite).await;
    // A connection that is kept alive, idle.
    stage.routing().await;
    // And one that has not said anything yet.
    let address = stage.url().trim_start_matches("http://");
    let _silent = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let began = Instant::now();
    kill(stage.node().pid(), Signal::SIGINT).expect("a signal");
    let status = stage.exit_status(SOON).await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_an_admin_token_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Started::serve(folder.path());
    eventually(SOON, async || first.log.first_with("snapshot installed")).await;
    let line = first.stdout.first_with("admin token").expect("a token on stdout");
    let token = line.rsplit(' ').next().expect("a token").to_owned();
    assert!(token.len() >= 16, "{line}");
    first.log.assert_without(&token);
    assert!(
        folder.path().join("pointsman.sqlite").exists(),
        "an SQLite file in the working directory"
    );
    assert_eq!(first.interrupt().await.code(), Some(0));

    let second = Started::serve(folder.path());
    eventually(SOON, async || second.log.first_with("snapshot installed")).await;
    assert_eq!(second.stdout.all(), [""; 0]);
    assert_eq!(second.interrupt().await.code(), Some(0));

    let node = Node::start(&setup(
        &format!("sqlite://{}", folder.path().join("pointsman.sqlite").display()),
        folder.path(),
    ))
    .await;
    // One that is configured takes the place of what was before.
    for (token, status) in [(token.as_str(), 401), (ADMIN, 200)] {
        let request = client()
            .get(format!("{}/api/routing", node.url()))
            .bearer_auth(token);
        Answer::to(request).await.expect(status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_shown_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let output = pointsman(folder.path())
        .args(["--listen", "127.0.0.1:0"])
        .stdout(full)
        .output()
        .expect("it starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("cannot be printed") && !error.contains("panicked"),
        "{error}"
    );
    let second = Started::serve(folder.path());
    eventually(SOON, async || second.stdout.first_with("admin token")).await;
    let mode = std::fs::metadata(folder.path().join("pointsman.sqlite"))
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds secrets");
    eventually(SOON, async || second.log.first_with("snapshot installed")).await;
    assert_eq!(second.interrupt().await.code(), Some(0));
}

#[test]
fn what_cannot_work_is_said_and_the_exit_is_not_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |arguments: &[&str], words: &str| {
        let output = pointsman(folder.path())
            .args(arguments)
            .output()
            .expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && error.contains(words),
            "{arguments:?}: {} {error}",
            output.status
        );
        assert!(!error.contains("secret"), "{error}");
    };
    let check_database =
        |url: &str, words: &str| check(&["--listen", "127.0.0.1:0", "--database-url", url], words);
    check_database("redis://user:secret@localhost/0", "database url");
    check_database("sqlite:/nowhere/at/all.sqlite", "/nowhere/at/all.sqlite");
    check(
        &["--admin-token", "short-secret"],
        "--admin-token must have 16 characters",
    );
    check(&["--retry-wait", "soon"], "must be a number of seconds");
    check(&["--no-such-flag"], "--no-such-flag");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    check(&["--listen", &address], "cannot listen at");
    check(&["demo", "--listen", &address], "cannot listen at");
}

on_each_database! {
    async fn heavy_it_listens_while_its_database_is_away(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let server = PrivateServer::start(kind).await;
        let database = Database::fresh_on(&server).await;
        let folder = tempfile::tempdir().expect("a folder");
        server.kill9();
        let node = Node::start(&setup(database.url(), folder.path())).await;
        let client = client();
        let get = async |path: &str| Answer::try_to(client.get(format!("{}{path}", node.url())).bearer_auth(ADMIN)).await;
        eventually(SOON, async || get("/livez").await.map_err(|error| error.to_string())?.with_status(200).map_err(|answer| format!("{answer:?}"))).await;
        assert_eq!(get("/readyz").await.expect("an answer").status, 503);
        let refused = get("/v1/models").await.expect("an answer").expect(503);
        assert_eq!(refused.code().as_deref(), Some("routing_unavailable"));
        assert!(refused.header("x-request-id").is_some() && refused.header("access-control-allow-origin").is_some(), "{refused:?}");
        problem(&get("/api/routing").await.expect("an answer"), 503, "starting");
        get("/").await.expect("an answer").expect(200);
        let preflight = client.request(Method::OPTIONS, format!("{}/v1/messages", node.url()));
        Answer::to(preflight).await.expect(204);

        server.start_again().await;
        eventually(SOON, async || get("/readyz").await.map_err(|error| error.to_string())?.with_status(200).map_err(|answer| format!("{answer:?}"))).await;
        get("/api/routing").await.expect("an answer").expect(200);
    }

    async fn two_nodes_start_at_once_on_an_empty_database(kind: Kind) {
        let database = Database::fresh(kind).await;
        let folder = tempfile::tempdir().expect("a folder");
        let setup = setup(database.url(), folder.path());
        let (one, other) = tokio::join!(Node::start(&setup), Node::start(&setup));
        for node in [one, other] {
            let client = client();
            eventually(SOON, async || {
                let request = client.get(format!("{}/api/routing", node.url())).bearer_auth(ADMIN);
                Answer::try_to(request).await.map_err(|error| error.to_string())?.with_status(200).map_err(|answer| format!("{answer:?}"))
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_s_curls_answer_as_they_stand() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Started::new(folder.path(), &["--listen", "127.0.0.1:0", "demo"]);
    eventually(SOON, async || demo.stdout.first_with("/api/routing")).await;
    eventually(SOON, async || {
        demo.stdout
            .with("Authorization")
            .get(2)
            .cloned()
            .ok_or_else(|| demo.stdout.all())
    })
    .await;
    let printed = demo.stdout.all().join("\n");
    let commands: Vec<&str> = printed
        .split("\n\n")
        .filter(|part| part.starts_with("curl "))
        .collect();
    assert_eq!(commands.len(), 5, "{printed}");
    let first = format!("{} -sSi", commands[0].trim_end());
    let output = tokio::process::Command::new("sh")
        .args(["-c", &first])
        .output()
        .await;
    let answer = String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned();
    assert!(
        answer.contains("x-pointsman-attempts: 2"),
        "it shows a failover: {answer}"
    );
    for command in commands {
        assert!(!command.contains('$') && !command.contains('`'), "{command}");
        let command = format!("{} -sS -w '\\n%{{http_code}}'", command.trim_end());
        let output = tokio::process::Command::new("sh")
            .args(["-c", &command])
            .output()
            .await
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.ends_with("\n200"),
            "{command}\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(demo.interrupt().await.code(), Some(0));
}

/// Another client than the stage's, with connections of its own.
fn client() -> reqwest::Client {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

const ADMIN: &str = "an-admin-token-of-ours";

fn setup(database_url: &str, folder: &Path) -> Setup {
    Setup {
        database_url: database_url.to_owned(),
        admin_token: ADMIN.to_owned(),
        flags: Vec::new(),
        variables: Vec::new(),
        folder: folder.to_owned(),
    }
}

/// A process that is started otherwise than the stage's, killed when dropped.
struct Started {
    child: Child,
    stdout: Lines,
    log: Lines,
}

impl Started {
    fn serve(folder: &Path) -> Self {
        Self::new(folder, &["--listen", "127.0.0.1:0"])
    }

    fn new(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = pointsman(folder);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let (stdout, log) = (Lines::default(), Lines::default());
        stdout.follow(child.stdout.take().expect("a pipe"));
        log.follow(child.stderr.take().expect("a pipe"));
        Self { child, stdout, log }
    }

    /// As Ctrl-C does; how it ends.
    async fn interrupt(mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("a signal");
        eventually(SOON, async || {
            self.child
                .try_wait()
                .expect("a child")
                .ok_or_else(|| self.log.all())
        })
        .await
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

fn pointsman(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}
