//! `pointsman check`, put to a database.

use std::process::{Command, Output};

/// What it printed, and its exit code.
pub async fn run(database_url: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    command
        .args(["check", "--database-url", database_url])
        .env_remove("RUST_LOG");
    let ran = tokio::task::spawn_blocking(move || command.output());
    ran.await.expect("a thread").expect("the pointsman binary")
}

/// Panics, with what it printed, unless every invariant holds.
pub async fn holds(database_url: &str, when: &str) {
    let told = run(database_url).await;
    let said = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(0), "{when}: {said}");
}
