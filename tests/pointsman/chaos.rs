//! R6, R9, R12 on real servers and files that die, freeze, fill up and are exchanged under load: what the snapshot knows
//! loses no request, what was answered to the operator is true afterwards, and everything comes back to its level.
//!
//! `POINTSMAN_TEST_CHAOS_SECONDS` says how long each trouble lasts.

use std::cell::Cell;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::Uid;
use reqwest::{Method, RequestBuilder};
use sea_orm::ConnectionTrait;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::answer::Answer;
use crate::checked;
use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::servers::PrivateServer;
use crate::stage::{Stage, StageBuilder, chat_body, with_json};
use crate::upstream::ordered;

/// As long as a normal run can wait for each.
const SECONDS: f64 = 1.5;
/// Longer than every timeout that the stage is given.
const LONGER_THAN_TIMEOUTS: Duration = Duration::from_millis(2600);
/// Requests of each kind begin so far apart: 50 a second in all.
const PACE: Duration = Duration::from_millis(40);
const SOON: Duration = Duration::from_secs(30);
/// Served from the snapshot in all that comes; its channel is never touched.
const MODEL: &str = "gpt-4o";

on_each_database! {
    async fn chaos_of_a_server(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has none.
        }
        let server = PrivateServer::start(kind).await;
        let stage = stage(Stage::new(kind).database(Database::fresh_on(&server).await)).await;
        let level = Level::of(&stage).await;
        let lasts = lasts();

        trouble(&stage, &level, "killed", async {
            server.kill9();
            sleep(lasts / 2).await;
            server.start_again().await;
            server.kill9();
            sleep(lasts / 2).await;
            server.start_again().await;
        })
        .await;
        trouble(&stage, &level, "frozen", async {
            server.sigstop();
            sleep(lasts.max(LONGER_THAN_TIMEOUTS)).await;
            server.sigcont();
        })
        .await;
        trouble(&stage, &level, "cut", async {
            let until = Instant::now() + lasts;
            while Instant::now() < until {
                cut_connections(&stage).await;
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_of_a_file_that_may_not_grow() {
    let stage = stage(Stage::new(Kind::Sqlite)).await;
    let level = Level::of(&stage).await;
    let pid = stage.node().pid().to_string();
    trouble(&stage, &level, "limited", async {
        limit_files(&pid, "0");
        refuses_changes_meanwhile(&stage).await;
        limit_files(&pid, "unlimited");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_of_a_full_disk() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(!Uid::effective().is_root(), "root can mount a tmpfs");
        println!("left out: no tmpfs can be mounted here (it needs root); a limit on files stands in for it");
        return;
    };
    let stage = stage(Stage::new(Kind::Sqlite).database(Database::sqlite_in(disk.folder.path()).await)).await;
    let level = Level::of(&stage).await;
    trouble(&stage, &level, "full", async {
        disk.fill();
        refuses_changes_meanwhile(&stage).await;
        disk.empty();
    })
    .await;
}

/// As an operator does who puts a backup in the file's place while Pointsman runs: the old one goes with its companions,
/// and for a while there is none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_of_an_exchanged_file() {
    let stage = stage(Stage::new(Kind::Sqlite)).await;
    let level = Level::of(&stage).await;
    let file = stage.database().file();
    let backup = file.with_extension("backup");
    stage.set_status("b", "disabled").await;
    stage.sql(&format!("VACUUM INTO '{}'", backup.display())).await;
    stage.set_status("b", "enabled").await;

    let most = under_load(&stage, "exchanged", async {
        sleep(lasts() / 2).await;
        for companion in ["sqlite-wal", "sqlite-shm"] {
            let _ = fs::remove_file(file.with_extension(companion));
        }
        fs::remove_file(&file).expect("the old file");
        refuses_changes_meanwhile(&stage).await;
        assert!(!file.exists(), "a file without tables was made");
        fs::rename(&backup, &file).expect("the backup in its place");
        // What stands in the new file is the truth, without a restart.
        eventually(SOON, async || match stage.chat("other").await {
            closed if closed.code().as_deref() == Some("no_available_channel") => Ok(()),
            other => Err(other),
        })
        .await;
        sleep(lasts() / 2).await;
    })
    .await;
    stage.set_status("b", "enabled").await;
    stage.chat("other").await.expect(200);
    let now_there = Database::connect_again(stage.database()).await;
    let status = format!("SELECT status FROM channels WHERE id = {}", stage.id("b"));
    assert_eq!(
        now_there.query::<String>(&status).await,
        ["enabled"],
        "a change went into the old file"
    );
    checked::holds(stage.database().url(), "exchanged").await;
    level.again(&stage, "exchanged", most).await;
}

/// Steps of the process's own clock, an hour to and fro, as a machine's may make.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_of_a_clock_that_jumps() {
    let Some(library) = libfaketime() else {
        assert!(
            env::var_os("POINTSMAN_TEST_POSTGRES_URL").is_none(),
            "tests/run installs libfaketime"
        );
        println!("left out: libfaketime is not installed; tests/run does it");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = folder.path().join("clock");
    let jump = |by: &str| {
        let next = clock.with_extension("next");
        fs::write(&next, by).expect("the clock's file");
        fs::rename(&next, &clock).expect("the clock's file");
    };
    jump("+0");
    let faked = Stage::new(Kind::Sqlite)
        .variable("LD_PRELOAD", &library.display().to_string())
        .variable("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .variable("FAKETIME_NO_CACHE", "1")
        // As on a machine whose clock is set: what only ever goes on does go on.
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let stage = stage(faked).await;
    let level = Level::of(&stage).await;
    let changed_at = format!(
        "SELECT status_changed_at FROM channels WHERE id = {}",
        stage.id("b")
    );
    trouble(&stage, &level, "clock", async {
        let mut before = stage.query::<i64>(&changed_at).await;
        for by in [3_600, -3_600, DAY, 0] {
            jump(&format!("{by:+}"));
            sleep(lasts() / 4).await;
            for status in ["disabled", "enabled"] {
                stage.set_status("b", status).await;
                stage
                    .chat("other")
                    .await
                    .expect(if status == "enabled" { 200 } else { 503 });
                let now = stage.query::<i64>(&changed_at).await;
                assert!(
                    now > before,
                    "each change of a status is later than the last: {before:?}, {now:?}"
                );
                let ahead_ms = now[0] - unix_ms();
                assert!(
                    by != DAY || ahead_ms > (DAY - 3_600) * 1_000,
                    "the clock was not stepped: {ahead_ms} ms ahead"
                );
                before = now;
            }
        }
    })
    .await;
}

/// Seconds.
const DAY: i64 = 86_400;

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_millis() as i64
}

fn lasts() -> Duration {
    let given = env::var("POINTSMAN_TEST_CHAOS_SECONDS").ok();
    Duration::from_secs_f64(given.map_or(SECONDS, |text| text.parse().expect("a number of seconds")))
}

/// Streams go on for a fifth of a second, so that every trouble finds some on their way.
async fn stage(stage: StageBuilder) -> Stage {
    stage
        .channel("a", ordered("tokens=20,gap_ms=10"))
        .channel("b", ordered("").models(&["other"]))
        .channel("spare", ordered("").models(&["spare"]))
        .flag("--lookup-timeout", "1")
        .flag("--admin-timeout", "2")
        .flag("--build-deadline", "2")
        .flag("--sync-interval", "1")
        .await
}

/// Goes through it under load, and looks whether all is well afterwards.
async fn trouble(stage: &Stage, level: &Level, what: &str, trouble: impl Future<Output = ()>) {
    let spare = Spare::of(stage).await;
    let most = under_load(stage, what, async {
        let over = Cell::new(false);
        tokio::join!(
            async {
                trouble.await;
                over.set(true);
            },
            spare.change_until(stage, &over)
        );
        recovers(stage).await;
    })
    .await;
    spare.is_as_answered(stage, what).await;
    checked::holds(stage.database().url(), what).await;
    level.again(stage, what, most).await;
}

// ---- the load ----

/// Plain and streamed requests at a steady rate from before `meanwhile` until after it; none may be lost.
///
/// Answers how many were ever under way at once.
async fn under_load(stage: &Stage, what: &str, meanwhile: impl Future<Output = ()>) -> u64 {
    let (under_way, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ended = Cell::new(false);
    let began = Instant::now();
    let load = async {
        let mut tick = interval(PACE);
        // The rate is kept however long a turn of ours takes.
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut asked = Vec::new();
        while !ended.get() {
            tick.tick().await;
            for stream in [false, true] {
                let (asking, under_way, most) = (
                    ask(request(stage, stream), stream),
                    Arc::clone(&under_way),
                    Arc::clone(&most),
                );
                asked.push(tokio::spawn(async move {
                    most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
                    let answer = asking.await;
                    under_way.fetch_sub(1, SeqCst);
                    answer
                }));
            }
        }
        asked
    };
    let meanwhile = async {
        meanwhile.await;
        ended.set(true);
    };
    let (asked, ()) = tokio::join!(load, meanwhile);
    let count = asked.len();
    let answers = futures::future::join_all(asked).await;
    let lost: Vec<String> = answers
        .into_iter()
        .filter_map(|answer| answer.expect("a request's task").err())
        .collect();
    println!(
        "{:?}, {what}: {count} requests in {:.1} s, {} lost",
        stage.database().kind(),
        began.elapsed().as_secs_f64(),
        lost.len()
    );
    assert!(
        lost.is_empty(),
        "{what}: {} of {count} lost, such as {}",
        lost.len(),
        lost[0]
    );
    most.load(SeqCst)
}

fn request(stage: &Stage, stream: bool) -> RequestBuilder {
    let mut body = chat_body(MODEL);
    body["stream"] = json!(stream);
    let request = stage.request(Method::POST, "/v1/chat/completions");
    with_json(request.bearer_auth(stage.token()), &body)
}

/// Whole, or what came instead.
async fn ask(request: RequestBuilder, stream: bool) -> Result<(), String> {
    let answer = Answer::try_to(request)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let is_whole = match stream {
        true => answer.text().trim_end().ends_with("data: [DONE]"),
        false => answer.said().is_some_and(|text| !text.is_empty()),
    };
    match answer.status == 200 && is_whole {
        true => Ok(()),
        false => Err(format!("{answer:?}")),
    }
}

// ---- the operator meanwhile ----

/// A channel whose status is changed all the time, and what it may be by all that was answered.
struct Spare {
    may_be: Cell<&'static [&'static str]>,
    answered: Cell<usize>,
}

impl Spare {
    async fn of(stage: &Stage) -> Spare {
        stage.set_status("spare", "enabled").await;
        Spare {
            may_be: Cell::new(&["enabled"]),
            answered: Cell::new(0),
        }
    }

    async fn change_until(&self, stage: &Stage, over: &Cell<bool>) {
        let path = format!("/api/channels/{}/status", stage.id("spare"));
        for to in ["disabled", "enabled"].into_iter().cycle() {
            if over.get() {
                return;
            }
            let answer = stage
                .admin_answer(Method::PUT, &path, json!({"status": to}))
                .await;
            let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
            match (answer.status, code.as_str()) {
                (200 | 202, _) => {
                    self.may_be.set(if to == "enabled" {
                        &["enabled"]
                    } else {
                        &["disabled"]
                    });
                    self.answered.set(self.answered.get() + 1);
                }
                (503, "not_done") => {}
                (503, "commit_unknown") => self.may_be.set(&["enabled", "disabled"]),
                _ => panic!("{answer:?}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_as_answered(&self, stage: &Stage, what: &str) {
        let sql = format!("SELECT status FROM channels WHERE id = {}", stage.id("spare"));
        let stored = stage.query::<String>(&sql).await;
        let may_be = self.may_be.get();
        assert!(
            may_be.contains(&stored[0].as_str()),
            "{what}: {stored:?}, but by what was answered {may_be:?}"
        );
        println!(
            "{:?}, {what}: {} changes were answered meanwhile, none is lost",
            stage.database().kind(),
            self.answered.get()
        );
    }
}

async fn refuses_changes_meanwhile(stage: &Stage) {
    let until = Instant::now() + lasts();
    let path = format!("/api/channels/{}/status", stage.id("b"));
    let mut refused = 0;
    while Instant::now() < until || refused == 0 {
        let answer = stage
            .admin_answer(Method::PUT, &path, json!({"status": "enabled"}))
            .await;
        // The disk may have had room for one more.
        if answer.status != 200 {
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (503, Some("not_done")),
                "{answer:?}"
            );
            refused += 1;
        }
        assert!(until.elapsed() < SOON, "changes went on");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Without a restart, changes are made again and picks go by them.
async fn recovers(stage: &Stage) {
    let path = format!("/api/channels/{}/status", stage.id("b"));
    for (status, served) in [("disabled", 503), ("enabled", 200)] {
        eventually(SOON, async || {
            let answer = stage
                .admin_answer(Method::PUT, &path, json!({"status": status}))
                .await;
            answer.with_status(200)
        })
        .await;
        stage.chat("other").await.expect(served);
    }
}

// ---- levels ----

/// What a node has of everything while it serves.
#[derive(Debug)]
struct Level {
    memory_kb: u64,
    threads: u64,
    /// Tokio's, on the runtime that all share.
    tasks: u64,
    files: u64,
    /// Requests that were under way at once before.
    most: u64,
}

impl Level {
    /// Once it has warmed up.
    async fn of(stage: &Stage) -> Level {
        let most = under_load(stage, "warm-up", async {
            sleep(Duration::from_millis(700)).await;
            recovers(stage).await;
        })
        .await;
        Level::now(stage, most).await
    }

    async fn now(stage: &Stage, most: u64) -> Level {
        let process = PathBuf::from(format!("/proc/{}", stage.node().pid()));
        let status = fs::read_to_string(process.join("status")).expect("a running process");
        let number = |name: &str| -> u64 {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect(name);
            line.trim_start_matches(':')
                .trim()
                .trim_end_matches(" kB")
                .parse()
                .expect(name)
        };
        Level {
            memory_kb: number("VmRSS"),
            threads: number("Threads"),
            tasks: tasks(stage).await,
            files: fs::read_dir(process.join("fd")).expect("its files").count() as u64,
            most,
        }
    }

    /// Nobody holds or waits for a channel, and memory, threads and files are about as they were. Connections of every
    /// lane may be open now that were not then, connections from and to as many requests as were under way at once lie
    /// idle for a while, and an allocator keeps some of what it once had.
    async fn again(&self, stage: &Stage, what: &str, most: u64) {
        let files = self.files + 40 + 2 * most.max(self.most);
        eventually(SOON, async || {
            let routing = stage.routing().await;
            let now = Level::now(stage, most).await;
            let is_as_before = routing["leases"] == 0
                && routing["waiting"] == 0
                && now.memory_kb < self.memory_kb * 3 / 2 + 20_000
                && now.threads < self.threads + 20
                && now.tasks < self.tasks + 10
                && now.files < files;
            match is_as_before {
                true => Ok(()),
                false => Err((
                    what.to_owned(),
                    routing["leases"].clone(),
                    routing["waiting"].clone(),
                    format!("{self:?} {now:?}"),
                )),
            }
        })
        .await;
        println!(
            "{:?}, {what}: {self:?} before, {:?} after",
            stage.database().kind(),
            Level::now(stage, most).await
        );
    }
}

async fn tasks(stage: &Stage) -> u64 {
    let metrics = Answer::to(stage.request(Method::GET, "/metrics")).await.text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("pointsman_tasks "));
    line.expect("pointsman_tasks").parse().expect("a number")
}

// ---- troubles ----

/// Every connection of the node's, from the server's side.
async fn cut_connections(stage: &Stage) {
    match stage.database().kind() {
        Kind::Postgres => {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE datname = current_database() AND application_name = 'pointsman'";
            stage.query::<bool>(cut).await;
        }
        _ => {
            let all = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
                       WHERE db = DATABASE() AND id <> CONNECTION_ID()";
            for id in stage.query::<i64>(all).await {
                // It may have gone by itself.
                let _ = stage
                    .database()
                    .connection()
                    .execute_unprepared(&format!("KILL {id}"))
                    .await;
            }
        }
    }
}

/// No file that the process writes may grow over so many bytes.
fn limit_files(pid: &str, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", pid, &limit]).status();
    assert!(status.expect("prlimit, of util-linux").success());
}

/// A disk in memory, unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None`: here it cannot be.
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "pointsman-test"])
            .arg(folder.path())
            .output();
        let is_mounted = Uid::effective().is_root() && mount.is_ok_and(|mount| mount.status.success());
        is_mounted.then_some(SmallDisk { folder })
    }

    /// Until not a byte more goes in.
    fn fill(&self) {
        let _ = fs::write(self.ballast(), vec![1; 8 << 20]);
    }

    fn empty(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: connections to what lies on it may still be open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn libfaketime() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut paths = libraries.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    paths.find(|path| Path::exists(path))
}
