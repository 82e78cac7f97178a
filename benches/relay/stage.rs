//! What the measurements stand on: the practice upstream, nginx and Pointsman, each on its CPU.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

use crate::ask::{ask, create};
use crate::cases::MODELS;
use crate::nginx::{Nginx, UNBUFFERED};
use crate::processes::Process;

const POINTSMAN: &str = env!("CARGO_BIN_EXE_pointsman");
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789";
/// Where nginx and Pointsman run, one after the other.
const RELAY_CPU: usize = 0;
/// Where load and upstream run.
const LOAD_CPU: usize = 1;
/// A route of 20 channels; with 50 models each, a thousand abilities.
pub const CHANNELS: usize = 20;
pub const MODELS_A_CHANNEL: usize = 50;

/// Everything that runs. Fields end in this order: who asks before who is asked.
pub struct Stage {
    pub node: Node,
    nginx: Nginx,
    upstream: Process,
    upstream_address: SocketAddr,
    token: String,
    database: PathBuf,
    pub folder: TempDir,
}

/// Whom the load asks.
pub struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    /// The relay between load and upstream, if there is one.
    pub relay: Option<u32>,
    pub upstream: u32,
    pub token: String,
    /// In front of the paths of streams.
    pub stream_prefix: &'static str,
    /// What `x-pointsman-attempts` must say.
    pub attempts: Option<&'static str>,
}

impl Stage {
    /// Starts all of it; Pointsman has been set up by its admin REST and started anew.
    ///
    /// # Errors
    /// Something does not start, or there are not two CPUs.
    pub fn set() -> io::Result<Stage> {
        pin_this_thread()?;
        let folder = tempfile::Builder::new().prefix("pointsman-bench-").tempdir()?;
        let output = folder.path().join("practice.log");
        let arguments = ["practice", "--listen", "127.0.0.1:0", "--repeat"];
        let mut upstream = Process::start(POINTSMAN, &arguments, LOAD_CPU, Signal::SIGKILL, &output)?;
        let upstream_address = address(&upstream.says("practice upstream on http://")?)?;
        let home = folder.path().join("nginx");
        fs::create_dir(&home)?;
        let nginx = Nginx::start(&home, upstream_address, RELAY_CPU)?;
        let database = folder.path().join("bench.sqlite");
        let token = furnish(&database, upstream_address, CHANNELS, |_| models())?;
        Ok(Stage {
            node: Node::start(&database)?,
            nginx,
            upstream,
            upstream_address,
            token,
            database,
            folder,
        })
    }

    /// Straight to the upstream, by nginx, by Pointsman.
    pub fn targets(&self) -> [Target; 3] {
        let target = |name, address, relay| Target {
            name,
            address,
            relay,
            upstream: self.upstream.pid(),
            token: self.token.clone(),
            stream_prefix: "",
            attempts: None,
        };
        [
            target("direct", self.upstream_address, None),
            Target {
                stream_prefix: UNBUFFERED,
                ..target("nginx", self.nginx.address, Some(self.nginx.worker))
            },
            Target {
                attempts: Some("1"),
                ..target("pointsman", self.node.address, Some(self.node.process.pid()))
            },
        ]
    }

    /// Ends Pointsman and starts it on the same database: what it holds is then what a start takes.
    ///
    /// # Errors
    /// It does not end well, or not start.
    pub fn renew_node(self) -> io::Result<Stage> {
        self.node.process.end()?;
        Ok(Stage {
            node: Node::start(&self.database)?,
            ..self
        })
    }

    /// Where the upstream listens.
    pub fn upstream_address(&self) -> SocketAddr {
        self.upstream_address
    }
}

/// A running `pointsman serve`.
pub struct Node {
    pub process: Process,
    pub address: SocketAddr,
}

impl Node {
    /// Starts it as in production, on a port of its own, and waits until it is ready.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(database: &Path) -> io::Result<Node> {
        let mut node = Node::start_listening(database)?;
        let address = node.address;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\n\r\n");
        node.process.until("it was ready", |_| {
            let answer = ask(address, request.as_bytes())?;
            Ok((answer.status == 200).then_some(()))
        })?;
        Ok(node)
    }

    /// The same, but it only listens.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_listening(database: &Path) -> io::Result<Node> {
        let url = format!("sqlite:{}", database.display());
        let arguments = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--database-url",
            &url,
            "--admin-token",
            ADMIN_TOKEN,
        ];
        let output = database.with_extension("log");
        let mut process = Process::start(POINTSMAN, &arguments, RELAY_CPU, Signal::SIGKILL, &output)?;
        let address = address(&process.says(" addr=")?)?;
        Ok(Node { process, address })
    }
}

/// Fills a new database by the admin REST, with one token; its key.
///
/// # Errors
/// Pointsman does not start, refuses, or does not end.
pub fn furnish(
    database: &Path,
    upstream: SocketAddr,
    channels: usize,
    models: impl Fn(usize) -> Vec<String>,
) -> io::Result<String> {
    let node = Node::start(database)?;
    for number in 0..channels {
        let channel = json!({
            "name": format!("channel-{number:04}"), "provider": "openai",
            "base_url": format!("http://{upstream}"), "keys": [format!("sk-upstream-{number:04}")],
            "groups": ["default"], "models": models(number),
        });
        create(node.address, ADMIN_TOKEN, "/api/channels", &channel)?;
    }
    let token = json!({"name": "bench", "groups": ["default"]});
    let made = create(node.address, ADMIN_TOKEN, "/api/tokens", &token)?;
    let key = made["key"].as_str().map(str::to_owned);
    node.process.end()?;
    key.ok_or_else(|| io::Error::other("a new token without a key"))
}

/// Those that are asked for, and as many more as make a thousand abilities.
fn models() -> Vec<String> {
    let others = (MODELS.len()..MODELS_A_CHANNEL).map(|number| format!("model-{number:02}"));
    MODELS
        .iter()
        .map(|model| (*model).to_owned())
        .chain(others)
        .collect()
}

fn address(text: &str) -> io::Result<SocketAddr> {
    text.parse()
        .map_err(|_| io::Error::other(format!("no address: {text}")))
}

fn pin_this_thread() -> io::Result<()> {
    for cpu in [RELAY_CPU, LOAD_CPU] {
        let mut set = CpuSet::new();
        set.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &set)
            .map_err(|error| io::Error::other(format!("CPU {cpu} cannot be had: {error}")))?;
    }
    Ok(())
}
