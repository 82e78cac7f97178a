//! Real clients, unmodified: the SDKs of OpenAI, Anthropic and Google talk through the relay.
//!
//! What each does stands in `tests/sdk/`; the scripts fail on the first thing that is not as they expect.

use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::{Channel, works};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A script takes a second or two, most of it to load the SDK.
const SCRIPT_WITHIN: Duration = Duration::from_secs(120);

/// A stage with one channel: for the model itself, and for what a stream can do otherwise than come at once.
async fn stage_of(name: &str, channel: Channel, model: &str) -> Stage {
    let otherwise = [
        ("slow", "tokens=3,slow_first_token_ms=900,gap_ms=500"),
        ("broken", "tokens=6,cut=3"),
        ("late", "slow_first_byte_ms=500,503"),
    ];
    let names: Vec<String> = otherwise
        .iter()
        .map(|(name, _)| format!("{model}-{name}"))
        .collect();
    let mapped = names.iter().zip(otherwise);
    let mapping: serde_json::Map<_, _> = mapped
        .map(|(name, (_, faults))| (name.clone(), json!(format!("{model}~{faults}"))))
        .collect();
    let mut models: Vec<&str> = names.iter().map(String::as_str).collect();
    models.push(model);
    Stage::new(Kind::Sqlite)
        .channel(name, channel.models(&models).with("model_mapping", mapping))
        .flag("--keep-alive-interval", "0.2")
        .flag("--retry-wait", "0.2")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_of_openai_gets_its_answers() {
    let stage = stage_of("openai", works(), "gpt-4o").await;
    run("POINTSMAN_TEST_PYTHON", "openai_sdk.py", &stage, "gpt-4o").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_sdk_of_openai_gets_its_answers() {
    let stage = Stage::new(Kind::Sqlite).channel("openai", works()).await;
    run("node", "openai_sdk.mjs", &stage, "gpt-4o").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_of_anthropic_gets_its_answers() {
    let model = "claude-sonnet-4-5";
    let stage = stage_of("anthropic", works().provider("anthropic"), model).await;
    run("POINTSMAN_TEST_PYTHON", "anthropic_sdk.py", &stage, model).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_of_google_gets_its_answers() {
    let model = "gemini-2.5-flash";
    let stage = stage_of("gemini", works().provider("gemini"), model).await;
    run("POINTSMAN_TEST_PYTHON", "google_sdk.py", &stage, model).await;
}

/// Runs one script to its end. `interpreter` is a program, or the variable by which `tests/run` names it.
async fn run(interpreter: &str, script: &str, stage: &Stage, model: &str) {
    let interpreter = match interpreter {
        "POINTSMAN_TEST_PYTHON" => variable(interpreter),
        program => program.to_owned(),
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/sdk")
        .join(script);
    let running = Command::new(interpreter)
        .arg(path)
        .args([stage.url(), stage.token(), model])
        .env(
            "POINTSMAN_TEST_NODE_MODULES",
            variable("POINTSMAN_TEST_NODE_MODULES"),
        )
        // The relay is on this machine, whatever proxy the environment names.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SCRIPT_WITHIN, running)
        .await
        .expect("an end in time")
        .expect("an interpreter");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{out}");
    assert!(
        output.status.success(),
        "{script}:\n{out}\n{err}\nlog: {:#?}",
        stage.log().all()
    );
    assert!(
        out.lines()
            .last()
            .is_some_and(|line| line.starts_with("all well")),
        "{script} did not finish:\n{out}"
    );
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
}
