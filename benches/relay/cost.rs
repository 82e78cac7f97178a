//! What a process costs: CPU time from `schedstat`, which is exact where `utime` is sampled, and memory.

use std::fs;
use std::io;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;

/// The CPU time that each thread of a process has had. A thread that ends between two looks is not counted for its
/// last stretch.
pub struct CpuTime {
    ns: FxHashMap<String, u64>,
}

impl CpuTime {
    /// Read now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: u32) -> io::Result<CpuTime> {
        let mut ns = FxHashMap::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that has just ended.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
                continue;
            };
            let on_cpu = text.split(' ').next().and_then(|first| first.parse().ok());
            let on_cpu = on_cpu.ok_or_else(|| io::Error::other("schedstat tells no time"))?;
            ns.insert(task.file_name().to_string_lossy().into_owned(), on_cpu);
        }
        Ok(CpuTime { ns })
    }

    /// What was used since an earlier look.
    pub fn since(&self, earlier: &CpuTime) -> Duration {
        let used = self.ns.iter().map(|(thread, now)| {
            let before = earlier.ns.get(thread).copied().unwrap_or(0);
            now.saturating_sub(before)
        });
        Duration::from_nanos(used.sum())
    }
}

/// What a process holds, in MB of 1,000,000 bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// All pages that it has in memory.
    pub rss_mb: f64,
    /// The same, pages shared with others by their part.
    pub pss_mb: f64,
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
        mb("Rss:")
            .zip(mb("Pss:"))
            .map(|(rss_mb, pss_mb)| Memory { rss_mb, pss_mb })
            .ok_or_else(|| io::Error::other("smaps_rollup tells no sizes"))
    }
}
