//! R9: a change of status is done whole or not at all, whoever goes in its middle: the client, or Pointsman.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, with_json};
use crate::upstream::works;

const SOON: Duration = Duration::from_secs(15);
/// How often a process is killed on each database, at the least.
const KILLS: usize = 12;
const MODELS: [&str; 3] = ["m1", "m2", "m3"];

on_each_database! {
    async fn r9_a_client_that_goes_in_the_middle_leaves_all_of_it_done(kind: Kind) {
        // One worker, so that what a later call answers tells that an earlier one has been read.
        let stage = Stage::new(kind).channel("a", channel()).flag("--sync-interval", "3600").flag("--workers", "1").await;
        let mut state = State::stored(&stage).await;
        for (to, goes) in [("disabled", Goes::Resets), ("enabled", Goes::Closes), ("disabled", Goes::Closes), ("enabled", Goes::Resets)] {
            let lock = lock_channel(&stage).await;
            let socket = ask(&stage, to).await;
            until_it_waits(&stage).await;
            if goes == Goes::Resets {
                socket.set_zero_linger().expect("a socket option");
            }
            drop(socket);
            turns_of_the_worker(&stage).await;
            assert_eq!(State::stored(&stage).await, state, "it waits for the lock, and nothing is done by halves");
            lock.rollback().await.expect("the lock goes");

            state = state.after(to);
            eventually(SOON, async || {
                let (stored, open) = (State::stored(&stage).await, open_abilities(&stage).await);
                if stored == state && open == state.open() { Ok(()) } else { Err((goes, stored, open)) }
            })
            .await;
            state.check_picks(&stage).await;
        }
    }

    async fn r9_kill_9_leaves_channel_keys_and_abilities_agreeing(kind: Kind) {
        let mut stage = Stage::new(kind).channel("a", channel()).flag("--sync-interval", "3600").await;
        let keys: Vec<i64> = stage.query("SELECT id FROM channel_keys ORDER BY id").await;
        stage.sql(&format!("UPDATE channel_keys SET status = 'disabled' WHERE id = {}", keys[1])).await;
        let mut dice = SmallRng::seed_from_u64(9);
        let mut state = State::stored(&stage).await;
        let (mut round, mut done) = (0, HashSet::new());
        // Kills that all come before the commit, or all after it, would show nothing.
        while round < KILLS || (done.len() < 2 && round < 5 * KILLS) {
            round += 1;
            // Whole changes first: they tell how long one takes.
            let mut took = Duration::ZERO;
            for _ in 0..dice.random_range(1..=3) {
                state.close_a_key(&stage, keys[0]).await;
                let began = Instant::now();
                stage.set_status("a", state.other()).await;
                took = began.elapsed();
                state = state.after(state.other());
                assert_eq!(State::stored(&stage).await, state, "round {round}");
            }
            state.close_a_key(&stage, keys[0]).await;
            let answered = kill_during_a_change(&stage, state.other(), took.mul_f64(dice.random_range(0.0..1.3))).await;
            // A server may have a statement, and the COMMIT, still to carry out when its client has gone.
            let after = state.after(state.other());
            let stored = eventually(SOON, async || {
                let stored = State::stored(&stage).await;
                let fits = stored == after || (!answered && stored == state);
                if fits { Ok(stored) } else { Err((round, answered, stored)) }
            })
            .await;
            done.insert(stored == after);
            stage.restart().await;
            state = State::stored(&stage).await;
            assert!(state == after || state == stored, "round {round}: {state:?}");
            state.check_picks(&stage).await;
        }
        assert_eq!(done.len(), 2, "of {round} changes, all were done or none");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    Resets,
    Closes,
}

fn channel() -> crate::upstream::Channel {
    works().models(&MODELS).keys(&["k-one", "k-two", "k-three"])
}

/// What the tables say of the only channel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    status: String,
    /// Its abilities' `enabled`, by model.
    abilities: Vec<bool>,
    /// Its keys' statuses, by id.
    keys: Vec<String>,
}

impl State {
    async fn stored(stage: &Stage) -> State {
        let mut status = stage.query("SELECT status FROM channels").await;
        State {
            status: status.pop().expect("a channel"),
            abilities: stage.query("SELECT enabled FROM abilities ORDER BY model").await,
            keys: stage.query("SELECT status FROM channel_keys ORDER BY id").await,
        }
    }

    fn is_enabled(&self) -> bool {
        self.status == "enabled"
    }

    /// What it can be changed to.
    fn other(&self) -> &'static str {
        if self.is_enabled() { "disabled" } else { "enabled" }
    }

    /// What R9 says of a change that is done.
    fn after(&self, to: &str) -> State {
        let opens = to == "enabled";
        let key = |status: &String| match status.as_str() {
            "auto_disabled" if opens => "enabled".to_owned(),
            other => other.to_owned(),
        };
        State {
            status: to.to_owned(),
            abilities: vec![opens; self.abilities.len()],
            keys: self.keys.iter().map(key).collect(),
        }
    }

    fn open(&self) -> u64 {
        self.abilities.iter().filter(|enabled| **enabled).count() as u64
    }

    /// So that the next opening has a key to open too.
    async fn close_a_key(&mut self, stage: &Stage, key: i64) {
        if !self.is_enabled() {
            stage
                .sql(&format!(
                    "UPDATE channel_keys SET status = 'auto_disabled' WHERE id = {key}"
                ))
                .await;
            self.keys[0] = "auto_disabled".to_owned();
        }
    }

    /// Snapshot and picks are as this says.
    async fn check_picks(&self, stage: &Stage) {
        assert_eq!(open_abilities(stage).await, self.open(), "{self:?}");
        for model in MODELS {
            let answer = stage.chat(model).await;
            if self.is_enabled() {
                assert_eq!(answer.expect(200).channel(), Some(stage.id("a")));
            } else {
                assert_eq!(answer.expect(503).code().as_deref(), Some("no_available_channel"));
            }
        }
    }
}

async fn open_abilities(stage: &Stage) -> u64 {
    let state = stage.routing().await;
    state["counts"]["open_abilities"]
        .as_u64()
        .unwrap_or_else(|| panic!("no count in {state}"))
}

fn status_path(stage: &Stage) -> String {
    format!("/api/channels/{}/status", stage.id("a"))
}

/// A transaction of ours that holds the channel's row (on SQLite: that writes).
async fn lock_channel(stage: &Stage) -> DatabaseTransaction {
    let lock = stage
        .database()
        .connection()
        .begin()
        .await
        .expect("a transaction");
    let update = "UPDATE channels SET remark = 'held'";
    lock.execute_unprepared(update).await.expect("the lock");
    lock
}

/// `PUT …/status` over a plain socket, its answer not awaited.
async fn ask(stage: &Stage, to: &str) -> TcpStream {
    let address = stage.url().trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).await.expect("the node");
    let body = json!({"status": to}).to_string();
    let request = format!(
        "PUT {} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        status_path(stage),
        stage.admin_token(),
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("written");
    socket
}

/// Until the change waits for the lock: on MariaDB, until the statement that takes it has begun. SQLite does not
/// tell; there the call has been read, which is as much.
async fn until_it_waits(stage: &Stage) {
    let waiting = match stage.database().kind() {
        Kind::Sqlite => return turns_of_the_worker(stage).await,
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        }
        Kind::Mariadb => {
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE '%FOR UPDATE%'"
        }
    };
    eventually(SOON, async || {
        let count = stage.query::<i64>(waiting).await;
        if count == [1] { Ok(()) } else { Err(count) }
    })
    .await;
}

/// The one worker has looked at all of its sockets meanwhile.
async fn turns_of_the_worker(stage: &Stage) {
    for _ in 0..5 {
        stage.routing().await;
    }
}

/// Begins a change and kills the process so long after; whether the change was answered before.
async fn kill_during_a_change(stage: &Stage, to: &str, after: Duration) -> bool {
    let request = stage
        .request(Method::PUT, &status_path(stage))
        .bearer_auth(stage.admin_token());
    let request = with_json(request, &json!({"status": to}));
    let pid = stage.node().pid();
    let killer = std::thread::spawn(move || {
        let began = Instant::now();
        // A change takes few milliseconds; timers are coarser than its steps.
        while began.elapsed() < after {
            std::hint::spin_loop();
        }
        kill(pid, Signal::SIGKILL).expect("it runs");
    });
    let answer = Answer::try_to(request).await;
    killer.join().expect("the process is killed");
    stage.kill9();
    answer.is_ok_and(|answer| answer.expect(200).status == 200)
}
