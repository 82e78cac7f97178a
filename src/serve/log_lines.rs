//! One line an event: `2026-01-01T00:00:00.000Z info target message key=value …`.
//!
//! Whatever stands in a message or a value, it stays one line: control characters are escaped, and a value
//! with a space or a quote in it is quoted.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use env_logger::Env;
use log::Record;
use log::kv::{self, Key, Value, VisitSource};

/// Logs to stderr by `RUST_LOG`, else by `default`, without what the server says of its own starting. A second
/// call changes nothing.
pub fn start(default: &str) {
    let default = format!("{default},actix_server=warn");
    let mut builder = env_logger::Builder::from_env(Env::new().filter_or("RUST_LOG", default));
    builder.format(|out, record| {
        let time = out.timestamp_millis();
        writeln!(out, "{time} {}", Line(record))
    });
    let _ = builder.try_init();
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
        let value = value.to_string();
        let bare =
            !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '='));
        if bare {
            escaped(self.0, &value, false)?;
        } else {
            self.0.write_char('"')?;
            escaped(self.0, &value, true)?;
            self.0.write_char('"')?;
        }
        Ok(())
    }
}

fn escaped(f: &mut fmt::Formatter<'_>, text: &str, in_quotes: bool) -> fmt::Result {
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
