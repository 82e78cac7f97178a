//! What a process costs: CPU time from `schedstat`, which is exact where `utime` is sampled, and memory.

use std::fs;
use std::io;

use rustc_hash::FxHashMap;
use serde::Serialize;

/// What each thread of a process has had of the CPUs. One that ends between two looks is not counted for its last
/// stretch.
pub struct CpuTime {
    threads: FxHashMap<String, Had>,
}

/// Of a process between two looks, or of one thread since it began.
#[derive(Clone, Copy, Default)]
pub struct Had {
    pub ns: u64,
    /// How often a thread was set on a CPU: after each wait, each wake-up, each turn of another.
    pub turns: u64,
}

impl CpuTime {
    /// Read now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<CpuTime> {
        let mut threads = FxHashMap::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that has just ended.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let mut fields = text.split_whitespace().map(str::parse);
            let (Some(Ok(ns)), _, Some(Ok(turns))) = (fields.next(), fields.next(), fields.next()) else {
                return Err(io::Error::other("schedstat tells no times"));
            };
            let name = task.file_name().to_string_lossy().into_owned();
            threads.insert(name, Had { ns, turns });
        }
        Ok(CpuTime { threads })
    }

    /// What was had since an earlier look.
    pub fn since(&self, earlier: &CpuTime) -> Had {
        let none = Had::default();
        let mut all = none;
        for (thread, now) in &self.threads {
            let before = earlier.threads.get(thread).unwrap_or(&none);
            all.ns += now.ns.saturating_sub(before.ns);
            all.turns += now.turns.saturating_sub(before.turns);
        }
        all
    }
}

/// What a process holds, in MB of 1,000,000 bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// All pages that it has in memory.
    pub rss_mb: f64,
    /// The same, pages shared with others by their part.
    pub pss_mb: f64,
    /// Its own, without those of files (the program's).
    pub anonymous_mb: f64,
}

impl Memory {
    /// Read now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let mb = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024.0 / 1e6)
        };
        let all = || {
            Some(Memory {
                rss_mb: mb("Rss:")?,
                pss_mb: mb("Pss:")?,
                anonymous_mb: mb("Anonymous:")?,
            })
        };
        all().ok_or_else(|| io::Error::other("smaps_rollup tells no sizes"))
    }
}
