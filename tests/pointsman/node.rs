//! One Pointsman process: the real binary, started, watched, killed.

use crate::eventually::eventually;
use crate::logs::Lines;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::env;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Two nodes that migrate an empty database on a loaded machine come up in this time.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How a node is started; the same setup starts it again.
#[derive(Clone, Debug)]
pub struct Setup {
    pub database_url: String,
    pub admin_token: String,
    pub flags: Vec<String>,
    pub variables: Vec<(String, String)>,
    /// Where it runs, so that what it leaves lying about is not in the source tree.
    pub folder: PathBuf,
}

/// A running `pointsman serve`, killed when dropped.
pub struct Node {
    child: Mutex<Child>,
    pid: Pid,
    stdout: Lines,
    stderr: Lines,
    url: String,
}

impl Node {
    /// Starts it and waits until it listens. Panics with its log when it ends instead.
    pub async fn start(setup: &Setup) -> Self {
        let mut child = command(setup).spawn().expect("the pointsman binary");
        let (stdout, stderr) = (Lines::default(), Lines::default());
        stdout.follow(child.stdout.take().expect("a pipe"));
        stderr.follow(child.stderr.take().expect("a pipe"));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        let mut node = Self {
            child: Mutex::new(child),
            pid,
            stdout,
            stderr,
            url: String::new(),
        };
        let address = eventually(START_TIMEOUT, async || {
            if let Some(status) = node.exited() {
                panic!(
                    "pointsman ended before it listened ({status}): {:#?}",
                    node.stderr.all()
                );
            }
            listening_at(&node.stderr).ok_or_else(|| node.stderr.all())
        })
        .await;
        node.url = format!("http://{address}");
        node
    }

    /// Its origin, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it logged (stderr).
    pub fn log(&self) -> &Lines {
        &self.stderr
    }

    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Kills it on the spot and waits until it is gone.
    pub fn kill9(&self) {
        let mut child = self.child();
        let _ = (child.kill(), child.wait());
    }

    pub fn sigterm(&self) {
        self.signal(Signal::SIGTERM);
    }

    pub fn sigstop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn sigcont(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child's status")
    }

    /// Waits for its end.
    pub async fn exit_status(&self, within: Duration) -> ExitStatus {
        eventually(within, async || self.exited().ok_or_else(|| self.stderr.all())).await
    }

    fn signal(&self, signal: Signal) {
        // Held, so that the process id cannot have been given to another meanwhile.
        let mut child = self.child();
        let ended = child.try_wait().expect("a child's status");
        assert!(ended.is_none(), "pointsman has ended already: {ended:?}");
        kill(self.pid, signal).expect("a signal to a child");
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// The log line that tells the port: `… listening addr=127.0.0.1:PORT`.
fn listening_at(log: &Lines) -> Option<String> {
    let line = log
        .with("listening")
        .into_iter()
        .find(|line| line.contains(" addr="))?;
    let (_, address) = line.split_once(" addr=")?;
    address.split_whitespace().next().map(str::to_owned)
}

fn command(setup: &Setup) -> Command {
    // Another build may be put to the same tests.
    let binary =
        env::var_os("POINTSMAN_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_pointsman").into());
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--database-url", &setup.database_url])
        .args(["--admin-token", &setup.admin_token])
        .args(&setup.flags)
        .envs(setup.variables.iter().cloned())
        .current_dir(&setup.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
