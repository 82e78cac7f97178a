//! A process on a CPU of its own, that ends with this one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A cold start on a busy machine.
const SPEAKS_WITHIN: Duration = Duration::from_secs(60);
/// A Pointsman that drains.
const ENDS_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A child; dropped, it is stopped.
pub struct Process {
    child: Child,
    pid: Pid,
    end_by: Signal,
    output: PathBuf,
}

impl Process {
    /// Starts a program pinned to `cpu`. Its stdout and stderr go to the file `output`; `end_by` stops it at once.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        program: &str,
        arguments: &[&str],
        cpu: usize,
        end_by: Signal,
        output: &Path,
    ) -> io::Result<Process> {
        let file = File::create(output)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", &end_by.as_str()[3..], "taskset", "--cpu-list"])
            .arg(cpu.to_string())
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("POINTSMAN_") || name.starts_with("RUST_LOG") {
                command.env_remove(&*name);
            }
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Process {
            child,
            pid: Pid::from_raw(pid),
            end_by,
            output: output.to_owned(),
        })
    }

    /// `setpriv` and `taskset` become the program, so this is the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a word in its output, and returns what follows up to the next space.
    ///
    /// # Errors
    /// It ends, or does not say so in time.
    pub fn says(&mut self, word: &str) -> io::Result<String> {
        self.until(word, |process| {
            let text = fs::read_to_string(&process.output)?;
            // The last line may still be on its way.
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let said = whole
                .split_once(word)
                .and_then(|(_, rest)| rest.split_whitespace().next());
            Ok(said.map(str::to_owned))
        })
    }

    /// Waits until `look` finds something.
    ///
    /// # Errors
    /// The process ends first, `look` fails, or it takes too long.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Process) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let deadline = Instant::now() + SPEAKS_WITHIN;
        while Instant::now() < deadline {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.complaint(&format!("ended ({status}) before {what}")));
            }
            sleep(LOOK_EVERY);
        }
        Err(self.complaint(&format!("waited in vain for {what}")))
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// It does not, or not well.
    pub fn end(mut self) -> io::Result<()> {
        kill(self.pid, Signal::SIGTERM)?;
        let deadline = Instant::now() + ENDS_WITHIN;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.complaint(&format!("ended badly ({status})"))),
                None => sleep(LOOK_EVERY),
            }
        }
        Err(self.complaint("does not end"))
    }

    /// What it printed, if that holds an error.
    pub fn complaint(&self, what: &str) -> io::Error {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let from = text.len().saturating_sub(2000);
        let tail = text.get(from..).unwrap_or_default();
        io::Error::other(format!("{}: {what}\n{tail}", self.output.display()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It may end by itself in between.
            let _ = kill(self.pid, self.end_by);
            let _ = self.child.wait();
        }
    }
}
