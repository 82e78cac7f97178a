//! A PostgreSQL or MariaDB server for one test alone, to be killed, stopped and started again.

use crate::databases::Kind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PASSWORD: &str = "private";
/// Making one takes a second or two; a loaded machine gets much more.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs from `start` on and is gone with its data when dropped. It keeps its port over restarts.
pub struct PrivateServer {
    kind: Kind,
    port: u16,
    /// `None` while killed.
    process: Mutex<Option<Child>>,
    folder: TempDir,
}

impl PrivateServer {
    /// Makes an empty server and waits until it answers. Takes some seconds: prefer `Database::fresh` wherever
    /// the server itself need not suffer. SQLite has none.
    pub async fn start(kind: Kind) -> Self {
        tokio::task::spawn_blocking(move || Self::make(kind))
            .await
            .expect("the server's start")
    }

    fn make(kind: Kind) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pointsman-server-")
            .tempdir()
            .expect("a temporary folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("its permissions");
        give_away(kind, folder.path());
        match kind {
            Kind::Postgres => make_postgres(folder.path()),
            Kind::Mariadb => make_mariadb(folder.path()),
            Kind::Sqlite => panic!("SQLite has no server"),
        }
        let server = Self {
            kind,
            port: free_port(),
            process: Mutex::new(None),
            folder,
        };
        server.run();
        server
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A user who may create databases.
    pub fn url(&self) -> String {
        match self.kind {
            Kind::Postgres => format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres", self.port),
            Kind::Mariadb => format!("mysql://pointsman:{PASSWORD}@127.0.0.1:{}/mysql", self.port),
            Kind::Sqlite => unreachable!("no server of SQLite is ever made"),
        }
    }

    /// As a power cut for the process: nothing is flushed, no connection is told.
    pub fn kill9(&self) {
        let Some(mut child) = self.process().take() else {
            return;
        };
        // PostgreSQL's backends outlive their postmaster for a moment; here they do not.
        self.signal_all(child.id(), Signal::SIGKILL);
        let _ = child.wait();
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn sigstop(&self) {
        self.signal_running(Signal::SIGSTOP);
    }

    pub fn sigcont(&self) {
        self.signal_running(Signal::SIGCONT);
    }

    /// After `kill9`: runs again on the same port, with what had been committed. Waits until it answers.
    pub async fn start_again(&self) {
        tokio::task::block_in_place(|| self.run());
    }

    fn run(&self) {
        let mut process = self.process();
        assert!(process.is_none(), "it runs already");
        let until = Instant::now() + START_TIMEOUT;
        loop {
            let mut child = self.command().spawn().expect("the server's program");
            let answers = self.wait_for_answer(&mut child, until);
            if answers {
                *process = Some(child);
                return;
            }
            // Say, because the shared memory of the one just killed is still in use.
            let _ = (child.kill(), child.wait());
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "{:?} does not start:\n{log}", self.kind);
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait_for_answer(&self, child: &mut Child, until: Instant) -> bool {
        while Instant::now() < until && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if self.answers() {
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn answers(&self) -> bool {
        let port = self.port.to_string();
        let mut ask = match self.kind {
            Kind::Postgres => command(
                &postgres_program("pg_isready"),
                &["-q", "-h", "127.0.0.1", "-p", &port],
            ),
            _ => {
                let password = format!("--password={PASSWORD}");
                let port = format!("--port={port}");
                let program = PathBuf::from("mariadb-admin");
                command(
                    &program,
                    &[
                        "--no-defaults",
                        "--host=127.0.0.1",
                        &port,
                        "--user=pointsman",
                        &password,
                        "ping",
                    ],
                )
            }
        };
        let quiet = ask.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let folder = self.folder.path();
        let port = self.port.to_string();
        let mut command = match self.kind {
            Kind::Postgres => command(&postgres_program("postgres"), &["-D", "data", "-p", &port]),
            _ => {
                let path = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
                let mut command = command(
                    &mariadb_program("mariadbd"),
                    &["--no-defaults", "--skip-name-resolve"],
                );
                command.args([
                    path("datadir", "data"),
                    path("socket", "socket"),
                    path("pid-file", "pid"),
                ]);
                command.args([path("init-file", "users.sql"), format!("--port={port}")]);
                command.args([
                    "--bind-address=127.0.0.1",
                    "--innodb-buffer-pool-size=32M",
                    "--skip-log-bin",
                ]);
                // Debian's own settings, which `--no-defaults` keeps out.
                command.args([
                    "--character-set-server=utf8mb4",
                    "--collation-server=utf8mb4_general_ci",
                ]);
                command
            }
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .expect("the server's log");
        // MariaDB, when it starts, clears the common temporary folder of other servers' tables.
        command.env("TMPDIR", folder);
        command
            .current_dir(folder)
            .stdout(log.try_clone().expect("the log twice"))
            .stderr(log);
        as_server_user(self.kind, &mut command);
        command
    }

    fn signal_running(&self, signal: Signal) {
        let process = self.process();
        let child = process.as_ref().expect("a running server");
        self.signal_all(child.id(), signal);
    }

    /// To the server and its children, which PostgreSQL puts into sessions of their own.
    fn signal_all(&self, pid: u32, signal: Signal) {
        let mut pids = vec![pid];
        if signal == Signal::SIGSTOP {
            // First, so that it starts no child that is then missed.
            send(pid, signal);
        }
        pids.extend(children_of(pid));
        for pid in pids {
            send(pid, signal);
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a process id");
    // It may just have ended by itself.
    let _ = kill(Pid::from_raw(pid), signal);
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it stands in brackets and may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn make_postgres(folder: &Path) {
    let password = folder.join("password");
    fs::write(&password, PASSWORD).expect("the password's file");
    give_away(Kind::Postgres, &password);
    let mut initdb = command(
        &postgres_program("initdb"),
        &[
            "-D",
            "data",
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--pwfile=password",
            "--encoding=UTF8",
        ],
    );
    initdb.args(["--no-locale", "--no-sync"]).current_dir(folder);
    as_server_user(Kind::Postgres, &mut initdb);
    run_to_end(&mut initdb);
    // A killed process loses nothing that it has written to the kernel, so nothing waits for the disk.
    let settings = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = off
";
    let mut file = File::options()
        .append(true)
        .open(folder.join("data/postgresql.conf"))
        .expect("its settings");
    file.write_all(settings.as_bytes()).expect("its settings written");
}

fn make_mariadb(folder: &Path) {
    let users = folder.join("users.sql");
    let sql = format!(
        "CREATE OR REPLACE USER 'pointsman'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON *.* TO 'pointsman'@'%' WITH GRANT OPTION;\n"
    );
    fs::write(&users, sql).expect("the users' file");
    give_away(Kind::Mariadb, &users);
    let mut install = command(
        &mariadb_program("mariadb-install-db"),
        &["--no-defaults", "--skip-test-db"],
    );
    install.args(["--auth-root-authentication-method=normal", "--skip-name-resolve"]);
    install
        .arg(format!("--datadir={}", folder.join("data").display()))
        .current_dir(folder);
    install.env("TMPDIR", folder);
    as_server_user(Kind::Mariadb, &mut install);
    run_to_end(&mut install);
}

fn run_to_end(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Debian keeps PostgreSQL's programs out of the path, one folder for each version.
fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions.max_by_key(|version| {
        version
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
    });
    newest
        .expect("PostgreSQL is not installed: run tests/run")
        .path()
        .join("bin")
        .join(name)
}

fn mariadb_program(name: &str) -> PathBuf {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed: run tests/run"))
}

/// Both servers refuse to run as root.
fn server_user(kind: Kind) -> Option<User> {
    let name = if kind == Kind::Postgres {
        "postgres"
    } else {
        "mysql"
    };
    let user = || {
        User::from_name(name)
            .ok()
            .flatten()
            .unwrap_or_else(|| panic!("no user {name}: run tests/run"))
    };
    Uid::effective().is_root().then(user)
}

fn as_server_user(kind: Kind, command: &mut Command) {
    if let Some(user) = server_user(kind) {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
}

fn give_away(kind: Kind, path: &Path) {
    if let Some(user) = server_user(kind) {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("the server's user as owner");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener").port()
}
