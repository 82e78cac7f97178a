//! What a process has printed so far, kept in memory.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// The lines of one stream, in order. Clones look at the same lines.
#[derive(Clone, Default)]
pub struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Lines {
    /// Reads in a thread of its own until the stream ends.
    pub fn follow(&self, stream: impl Read + Send + 'static) {
        let lines = self.clone();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lock().push(text);
                line.clear();
            }
        });
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// The lines with this text in them.
    pub fn with(&self, text: &str) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// For `eventually`: the first line with this text, or all there is.
    pub fn first_with(&self, text: &str) -> Result<String, Vec<String>> {
        self.with(text).into_iter().next().ok_or_else(|| self.all())
    }

    /// Panics if a secret was printed, without printing it again.
    #[track_caller]
    pub fn assert_without(&self, secret: &str) {
        let found = self.with(secret);
        let shown: Vec<String> = found
            .iter()
            .map(|line| line.replace(secret, "<THE SECRET>"))
            .collect();
        assert!(found.is_empty(), "a secret was printed: {shown:#?}");
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
