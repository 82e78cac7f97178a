//! One line an event: `2026-01-01T00:00:00.000Z info target message key=value …`.
//!
//! Whatever stands in a message or a value, it stays one line: control characters are escaped, and a value
//! with a space or a quote in it is quoted.
//!
//! The lines of requests are written with those of the next tenth of a second: one write for many. Any other line is
//! written at once, behind those.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use env_logger::Env;
use env_logger::Target;
use log::Record;
use log::kv::{self, Key, Value, VisitSource};

use crate::relay::REQUESTS;

/// How long a line may wait for others.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);
/// What has gathered is written when it is so much, in bytes.
const WRITTEN_FROM: usize = 32 * 1024;

/// Logs to stderr by `RUST_LOG`, else by `default`, without what the server says of its own starting. A second
/// call changes nothing.
pub fn start(default: &str) {
    let default = format!("{default},actix_server=warn");
    let mut builder = env_logger::Builder::from_env(Env::new().filter_or("RUST_LOG", default));
    builder.format(|out, record| {
        IS_URGENT.set(record.target() != REQUESTS);
        let time = out.timestamp_millis();
        writeln!(out, "{time} {}", Line(record))
    });
    builder.target(Target::Pipe(Box::new(Lines::started())));
    let _ = builder.try_init();
}

thread_local! {
    /// The line that this thread writes now must not wait for others.
    static IS_URGENT: Cell<bool> = const { Cell::new(true) };
    /// The value that is being written.
    static VALUE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes what has gathered; for the process's last words.
pub fn flush() {
    if let Some(gathered) = LINES.get() {
        gathered.write(&mut gathered.lines());
    }
}

static LINES: OnceLock<Arc<Gathered>> = OnceLock::new();

/// Lines on their way to stderr.
struct Lines(Arc<Gathered>);

#[derive(Default)]
struct Gathered {
    lines: Mutex<Vec<u8>>,
    /// There are some again.
    some: Condvar,
}

impl Lines {
    /// With the thread that writes what waits.
    fn started() -> Lines {
        let gathered = LINES.get_or_init(|| {
            let gathered = Arc::<Gathered>::default();
            let to_write = Arc::clone(&gathered);
            let writer = std::thread::Builder::new().name("log".to_owned());
            // Without the thread a line waits for the next that does not, or for more lines.
            let _ = writer.spawn(move || to_write.write_what_waits());
            gathered
        });
        Lines(Arc::clone(gathered))
    }
}

impl Gathered {
    fn lines(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_what_waits(&self) {
        loop {
            let some = self.some.wait_while(self.lines(), |lines| lines.is_empty());
            drop(some);
            std::thread::sleep(WRITTEN_WITHIN);
            self.write(&mut self.lines());
        }
    }

    /// A stderr that is closed or full takes no line: requests go on all the same.
    fn write(&self, lines: &mut Vec<u8>) {
        let _ = io::stderr().write_all(lines);
        lines.clear();
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lines();
        if lines.is_empty() {
            self.0.some.notify_one();
        }
        lines.extend_from_slice(line);
        if IS_URGENT.get() || lines.len() >= WRITTEN_FROM {
            self.0.write(&mut lines);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Line<'a>(&'a Record<'a>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        let level = match record.level() {
            log::Level::Error => "error",
            log::Level::Warn => "warn",
            log::Level::Info => "info",
            log::Level::Debug => "debug",
            log::Level::Trace => "trace",
        };
        write!(f, "{level} {} ", record.target())?;
        escaped(f, &record.args().to_string(), false)?;
        let mut pairs = Pairs(f);
        record.key_values().visit(&mut pairs).map_err(|_| fmt::Error)
    }
}

struct Pairs<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl<'kvs> VisitSource<'kvs> for Pairs<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, " {key}=")?;
        VALUE.with_borrow_mut(|text| {
            text.clear();
            write!(text, "{value}")?;
            let bare =
                !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
            if bare {
                escaped(self.0, text, false)?;
            } else {
                self.0.write_char('"')?;
                escaped(self.0, text, true)?;
                self.0.write_char('"')?;
            }
            Ok(())
        })
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, text: &str, in_quotes: bool) -> fmt::Result {
    if text
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    {
        return f.write_str(text);
    }
    for c in text.chars() {
        match c {
            '"' | '\\' if in_quotes => write!(f, "\\{c}")?,
            // The line separators of Unicode too: some readers break lines there.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                write!(f, "{}", c.escape_default())?
            }
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let check = |message: &str, pairs: &[(&str, &str)], line: &str| {
            let mut record = Record::builder();
            record
                .level(log::Level::Warn)
                .target("pointsman")
                .key_values(&pairs);
            assert_eq!(
                Line(&record.args(format_args!("{message}")).build()).to_string(),
                line
            );
        };
        check(
            "listening",
            &[("addr", "127.0.0.1:3000")],
            "warn pointsman listening addr=127.0.0.1:3000",
        );
        check(
            "a b",
            &[("why", "x y"), ("none", "")],
            r#"warn pointsman a b why="x y" none="""#,
        );
        check(
            "a\nb",
            &[("k", "c\r\nd\"e\\")],
            r#"warn pointsman a\nb k="c\r\nd\"e\\""#,
        );
        check(
            "a",
            &[("k", "x\u{2028}y"), ("q", "a=b")],
            r#"warn pointsman a k="x\u{2028}y" q="a=b""#,
        );
    }
}
