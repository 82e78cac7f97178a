//! R9: Pointsman is killed by -9 at random moments of admin writes; what was answered is there, what was not is there
//! whole or not at all, and every invariant of the tables holds.
//!
//! `POINTSMAN_TEST_KILLS` says how often on each database; `POINTSMAN_TEST_SEED` repeats a run's dice.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::answer::Answer;
use crate::checked;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, with_json};

const SOON: Duration = Duration::from_secs(20);
/// As many as fit into a normal run.
const KILLS: usize = 10;
/// Each changes only what is its own, one call after the other, so that what must be there is known.
const WRITERS: usize = 5;
/// And these change one channel between them: there only the invariants are known.
const RIVALS: usize = 3;
/// No writer gets so far within one round, so names and secrets are its own.
const CALLS_A_ROUND: u64 = 100;
/// Microseconds from the moment at which all of them write to the kill.
const KILLED_WITHIN: u64 = 30_000;

on_each_database! {
    async fn heavy_kill_9_loses_nothing_that_was_answered_and_breaks_no_invariant(kind: Kind) {
        let seed = number("POINTSMAN_TEST_SEED", 6);
        let kills = number("POINTSMAN_TEST_KILLS", KILLS as u64);
        let began = Instant::now();
        let mut stage = Stage::new(kind).flag("--sync-interval", "3600").await;
        let rivals = made(&stage, "rivals-0", &["sk-rival-0000"]).await;
        let mut dice = SmallRng::seed_from_u64(seed);
        let mut figures = Figures::default();
        for round in 0..kills {
            let said = || format!("seed {seed}, kill {round}");
            let before = Things::stored(&stage).await;
            let writers = (0..WRITERS).map(|number| Writer {
                stage: &stage,
                prefix: format!("w{number}-"),
                owned: before.of(&format!("w{number}-")),
                dice: SmallRng::seed_from_u64(dice.random()),
                next: round * CALLS_A_ROUND,
                answered: 0,
                not_done: 0,
                pending: None,
            });
            let mut writers: Vec<Writer<'_>> = writers.collect();
            let after = Duration::from_micros(dice.random_range(0..KILLED_WITHIN));
            let writing = Barrier::new(WRITERS + RIVALS);
            let pid = stage.node().pid();
            let owners = futures::future::join_all(writers.iter_mut().map(|writer| writer.write(&writing, pid, after)));
            let seeds: Vec<u64> = (0..RIVALS).map(|_| dice.random()).collect();
            let others = futures::future::join_all(seeds.iter().map(|seed| rival(&stage, rivals, *seed, &writing, pid, after)));
            tokio::join!(owners, others);
            stage.kill9();
            settled(&stage).await;
            checked::holds(stage.database().url(), &format!("{}, before the restart", said())).await;
            let stored = Things::stored(&stage).await;
            for writer in &writers {
                figures.judge(writer, &stored.of(&writer.prefix), &said());
            }
            stage.restart().await;
            checked::holds(stage.database().url(), &format!("{}, after the restart", said())).await;
            figures.kills += 1;
        }
        println!("{kind:?}, seed {seed}: {figures:?}, {:.1} s", began.elapsed().as_secs_f64());
        assert!(figures.answered > 0, "nothing was ever answered: {figures:?}");
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = env::var(variable).ok();
    given.map_or(otherwise, |text| text.parse().expect(variable))
}

/// What a run has shown.
#[derive(Debug, Default)]
struct Figures {
    kills: u64,
    /// Calls that were answered 2xx, and all found again.
    answered: u64,
    /// Calls that were answered `not_done`, and none is.
    not_done: u64,
    /// Calls whose answer the kill has swallowed: done whole, or not at all.
    cut_done: u64,
    cut_not_done: u64,
}

impl Figures {
    fn judge(&mut self, writer: &Writer<'_>, stored: &Things, said: &str) {
        self.answered += writer.answered;
        self.not_done += writer.not_done;
        let stored = stored.shape();
        let answered = writer.owned.shape();
        let Some(pending) = &writer.pending else {
            assert_eq!(stored, answered, "{said}, {}", writer.prefix);
            return;
        };
        let done = pending.shape();
        assert!(
            stored == answered || stored == done,
            "{said}, {}: neither\n{answered:#?} nor\n{done:#?} but\n{stored:#?}",
            writer.prefix
        );
        match stored == done {
            true => self.cut_done += 1,
            false => self.cut_not_done += 1,
        }
    }
}

/// What a test knows of the tables, by names.
#[derive(Clone, Debug, Default)]
struct Things {
    channels: BTreeMap<String, Channel>,
    /// By name: the id, and whether it is enabled.
    tokens: BTreeMap<String, (i64, bool)>,
}

#[derive(Clone, Debug, Default)]
struct Channel {
    id: i64,
    enabled: bool,
    /// By the secret's last four: the id.
    keys: BTreeMap<String, i64>,
    pairs: BTreeSet<(String, String)>,
}

impl Things {
    async fn stored(stage: &Stage) -> Things {
        let mut things = Things::default();
        let read = async |sql: &str| -> Vec<Vec<String>> {
            let lines = stage.query::<String>(sql).await;
            lines
                .iter()
                .map(|line| line.split(' ').map(str::to_owned).collect())
                .collect()
        };
        for row in read("SELECT CONCAT(id, ' ', name, ' ', status) FROM channels").await {
            let channel = things.channels.entry(row[1].clone()).or_default();
            assert_eq!(channel.id, 0, "two channels of one name: {row:?}");
            (channel.id, channel.enabled) = (row[0].parse().expect("an id"), row[2] == "enabled");
        }
        let keys = "SELECT CONCAT(k.id, ' ', c.name, ' ', k.hint) FROM channel_keys k JOIN channels c ON c.id = k.channel_id";
        for row in read(keys).await {
            let keys = &mut things.channels.get_mut(&row[1]).expect("its channel").keys;
            let twice = keys.insert(row[2].clone(), row[0].parse().expect("an id"));
            assert_eq!(twice, None, "a key was added twice: {row:?}");
        }
        let abilities = r#"SELECT CONCAT(c.name, ' ', a."group", ' ', a.model) FROM abilities a JOIN channels c ON c.id = a.channel_id"#;
        for row in read(abilities).await {
            let pairs = &mut things.channels.get_mut(&row[0]).expect("its channel").pairs;
            pairs.insert((row[1].clone(), row[2].clone()));
        }
        for row in read("SELECT CONCAT(id, ' ', name, ' ', status) FROM tokens").await {
            let token = (row[0].parse().expect("an id"), row[2] == "enabled");
            let twice = things.tokens.insert(row[1].clone(), token);
            assert_eq!(twice, None, "two tokens of one name: {row:?}");
        }
        things
    }

    /// One writer's own.
    fn of(&self, prefix: &str) -> Things {
        let mut own = self.clone();
        own.channels.retain(|name, _| name.starts_with(prefix));
        own.tokens.retain(|name, _| name.starts_with(prefix));
        own
    }

    /// All that can be known before an id is.
    fn shape(&self) -> BTreeSet<String> {
        let mut shape = BTreeSet::new();
        for (name, channel) in &self.channels {
            shape.insert(format!("channel {name}, enabled: {}", channel.enabled));
            shape.extend(channel.keys.keys().map(|key| format!("key {name} {key}")));
            shape.extend(
                channel
                    .pairs
                    .iter()
                    .map(|(group, model)| format!("ability {name} {group} {model}")),
            );
        }
        shape.extend(
            self.tokens
                .iter()
                .map(|(name, (_, enabled))| format!("token {name}, enabled: {enabled}")),
        );
        shape
    }
}

struct Writer<'s> {
    stage: &'s Stage,
    prefix: String,
    /// As it must be by all that was answered.
    owned: Things,
    dice: SmallRng,
    /// Of the next name or secret.
    next: u64,
    answered: u64,
    not_done: u64,
    /// As it is if the call that was not answered was done.
    pending: Option<Things>,
}

/// A call, and what is when it is done.
struct Call {
    method: Method,
    path: String,
    body: Value,
    after: Things,
    /// Puts the ids that the answer tells in their places.
    learn: Learn,
}

type Learn = Box<dyn FnOnce(&mut Things, &Value)>;

impl Writer<'_> {
    /// One call whole; then, once all others are as far and the killer is on its way, one after the other until it dies.
    async fn write(&mut self, writing: &Barrier, pid: nix::unistd::Pid, after: Duration) {
        self.call().await;
        start_together(writing, pid, after).await;
        while self.call().await {}
    }

    /// False: it was cut.
    async fn call(&mut self) -> bool {
        let call = self.next_call();
        let Some(answer) = ask(self.stage, call.method, &call.path, call.body).await else {
            self.pending = Some(call.after);
            return false;
        };
        if !is_done(self.stage, &answer) {
            self.not_done += 1;
            return true;
        }
        self.owned = call.after;
        (call.learn)(&mut self.owned, &answer.json());
        self.answered += 1;
        true
    }

    fn next_call(&mut self) -> Call {
        self.next += 1;
        let fresh = format!("{}{}", self.prefix, self.next);
        let hint = format!("{:04x}", self.next);
        let secret = format!("sk-of-a-writer-{hint}");
        let mut after = self.owned.clone();
        let name = pick_name(&mut self.dice, self.owned.channels.keys());
        let token = pick_name(&mut self.dice, self.owned.tokens.keys());
        let what = self.dice.random_range(0..10);
        let (method, path, body, learn): (Method, String, Value, Learn) = match (what, name, token) {
            (0..=2, Some(name), _) => {
                let channel = after.channels.get_mut(&name).expect("its own");
                channel.enabled = !channel.enabled;
                let status = if channel.enabled { "enabled" } else { "disabled" };
                (
                    Method::PUT,
                    format!("/api/channels/{}/status", channel.id),
                    json!({"status": status}),
                    learn_nothing(),
                )
            }
            (3, Some(name), _) => {
                let channel = after.channels.get_mut(&name).expect("its own");
                channel.keys.insert(hint.clone(), 0);
                (
                    Method::POST,
                    format!("/api/channels/{}/keys", channel.id),
                    json!({"keys": [secret]}),
                    learn_key(name, hint),
                )
            }
            // A key that was made with its channel is known by its id only in the next round.
            (4, Some(name), _)
                if self.owned.channels[&name]
                    .keys
                    .values()
                    .filter(|id| **id > 0)
                    .count()
                    > 1 =>
            {
                let channel = after.channels.get_mut(&name).expect("its own");
                let (hint, key) = channel
                    .keys
                    .iter()
                    .find(|(_, id)| **id > 0)
                    .map(|(hint, id)| (hint.clone(), *id))
                    .expect("two");
                channel.keys.remove(&hint);
                (
                    Method::DELETE,
                    format!("/api/channels/{}/keys/{key}", channel.id),
                    Value::Null,
                    learn_nothing(),
                )
            }
            (5 | 6, Some(name), _) => {
                let channel = after.channels.get_mut(&name).expect("its own");
                let groups = some_of(&mut self.dice, "g");
                let models = some_of(&mut self.dice, "m");
                channel.pairs = product(&groups, &models);
                (
                    Method::PATCH,
                    format!("/api/channels/{}", channel.id),
                    json!({"groups": groups, "models": models}),
                    learn_nothing(),
                )
            }
            (7, Some(name), _) if self.owned.channels.len() > 1 => {
                let channel = after.channels.remove(&name).expect("its own");
                (
                    Method::DELETE,
                    format!("/api/channels/{}", channel.id),
                    Value::Null,
                    learn_nothing(),
                )
            }
            (8, _, Some(token)) => {
                let row = after.tokens.get_mut(&token).expect("its own");
                row.1 = !row.1;
                let status = if row.1 { "enabled" } else { "disabled" };
                (
                    Method::PATCH,
                    format!("/api/tokens/{}", row.0),
                    json!({"status": status}),
                    learn_nothing(),
                )
            }
            (9, _, Some(token)) if self.owned.tokens.len() > 3 => {
                let (id, _) = after.tokens.remove(&token).expect("its own");
                (
                    Method::DELETE,
                    format!("/api/tokens/{id}"),
                    Value::Null,
                    learn_nothing(),
                )
            }
            (8 | 9, ..) => {
                after.tokens.insert(fresh.clone(), (0, true));
                (
                    Method::POST,
                    "/api/tokens".to_owned(),
                    json!({"name": fresh, "groups": ["g1"]}),
                    learn_token(fresh),
                )
            }
            _ => {
                let channel = Channel {
                    enabled: true,
                    keys: BTreeMap::from([(hint, 0)]),
                    pairs: product(&["g1".to_owned()], &["m1".to_owned(), "m2".to_owned()]),
                    id: 0,
                };
                after.channels.insert(fresh.clone(), channel);
                (
                    Method::POST,
                    "/api/channels".to_owned(),
                    new_channel(&fresh, &[&secret]),
                    learn_channel(fresh),
                )
            }
        };
        Call {
            method,
            path,
            body,
            after,
            learn,
        }
    }
}

fn learn_nothing() -> Learn {
    Box::new(|_, _| {})
}

fn learn_channel(name: String) -> Learn {
    Box::new(move |things, answer| things.channels.get_mut(&name).expect("just made").id = id_in(answer))
}

fn learn_key(name: String, hint: String) -> Learn {
    Box::new(move |things, answer| {
        let id = answer["ids"][0]
            .as_i64()
            .unwrap_or_else(|| panic!("no id in {answer}"));
        let channel = things.channels.get_mut(&name).expect("just changed");
        channel.keys.insert(hint, id);
    })
}

fn learn_token(name: String) -> Learn {
    Box::new(move |things, answer| things.tokens.get_mut(&name).expect("just made").0 = id_in(answer))
}

fn id_in(answer: &Value) -> i64 {
    answer["id"]
        .as_i64()
        .unwrap_or_else(|| panic!("no id in {answer}"))
}

fn pick_name<'n>(dice: &mut SmallRng, names: impl ExactSizeIterator<Item = &'n String>) -> Option<String> {
    let count = names.len();
    let mut names = names;
    (count > 0).then(|| names.nth(dice.random_range(0..count)).expect("within").clone())
}

fn some_of(dice: &mut SmallRng, letter: &str) -> Vec<String> {
    let count = dice.random_range(1..=3);
    (0..count)
        .map(|n| format!("{letter}{}", n + dice.random_range(0..2) * 3))
        .collect()
}

fn product(groups: &[String], models: &[String]) -> BTreeSet<(String, String)> {
    let pairs = groups
        .iter()
        .flat_map(|group| models.iter().map(move |model| (group.clone(), model.clone())));
    pairs.collect()
}

fn new_channel(name: &str, keys: &[&str]) -> Value {
    json!({
        "name": name, "provider": "openai", "base_url": "http://127.0.0.1:9", "keys": keys,
        "groups": ["g1"], "models": ["m1", "m2"],
    })
}

async fn made(stage: &Stage, name: &str, keys: &[&str]) -> i64 {
    let answer = stage
        .admin_answer(Method::POST, "/api/channels", new_channel(name, keys))
        .await;
    id_in(&answer.expect(201).json())
}

/// Changes what others change at the same time.
async fn rival(
    stage: &Stage,
    channel: i64,
    seed: u64,
    writing: &Barrier,
    pid: nix::unistd::Pid,
    after: Duration,
) {
    let mut dice = SmallRng::seed_from_u64(seed);
    start_together(writing, pid, after).await;
    loop {
        let path = format!("/api/channels/{channel}");
        let (method, path, body) = match dice.random_range(0..4) {
            0 => (
                Method::PUT,
                format!("{path}/status"),
                json!({"status": "disabled"}),
            ),
            1 => (
                Method::PUT,
                format!("{path}/status"),
                json!({"status": "enabled"}),
            ),
            2 => (
                Method::POST,
                format!("{path}/keys"),
                json!({"keys": [format!("sk-rival-{:04}", dice.random_range(0..10_000))]}),
            ),
            _ => (
                Method::PATCH,
                path,
                json!({"groups": some_of(&mut dice, "g"), "models": some_of(&mut dice, "m")}),
            ),
        };
        match ask(stage, method, &path, body).await {
            Some(answer) => {
                is_done(stage, &answer);
            }
            None => return,
        }
    }
}

/// The last to come starts the killer.
async fn start_together(writing: &Barrier, pid: nix::unistd::Pid, after: Duration) {
    if writing.wait().await.is_leader() {
        std::thread::spawn(move || {
            std::thread::sleep(after);
            kill(pid, Signal::SIGKILL).expect("it runs");
        });
    }
}

/// Whether it was done; on a machine that is busy with other things a change may fail in time.
fn is_done(stage: &Stage, answer: &Answer) -> bool {
    if (answer.status, answer.json()["code"].as_str()) == (503, Some("not_done")) {
        return false;
    }
    let log = stage.log().all();
    let last = &log[log.len().saturating_sub(12)..];
    assert!((200..300).contains(&answer.status), "{answer:?}; log: {last:#?}");
    true
}

/// `None`: the process is gone.
async fn ask(stage: &Stage, method: Method, path: &str, body: Value) -> Option<Answer> {
    let mut request = stage.request(method, path).bearer_auth(stage.admin_token());
    if !body.is_null() {
        request = with_json(request, &body);
    }
    Answer::try_to(request).await.ok()
}

/// A server may have a statement, and the COMMIT, still to carry out when its client has gone.
async fn settled(stage: &Stage) {
    let under_way = match stage.database().kind() {
        Kind::Sqlite => return,
        Kind::Postgres => {
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pointsman'"
        }
        // Of the whole server; but no other test runs beside this one.
        Kind::Mariadb => "SELECT COUNT(*) FROM information_schema.innodb_trx",
    };
    eventually(SOON, async || {
        if stage.database().kind() == Kind::Mariadb {
            // This table is a copy that is made anew only when nobody has looked for a tenth of a second.
            stage.query::<i32>("SELECT SLEEP(0.15)").await;
        }
        let count = stage.query::<i64>(under_way).await;
        if count == [0] { Ok(()) } else { Err(count) }
    })
    .await;
}
