//! Rooms import one way only, and the pure ones stay pure.
//!
//! The table below is the house's law. A path is read wherever it stands, in a `use` or in the middle of an
//! expression; comments and strings are not code. What a macro of another crate makes up is not seen.

use std::fs;
use std::path::Path;

/// What each room's files may name, beside the room itself. The rest of `src/` (`main.rs`, `serve.rs` and
/// their like) starts the rooms and may name them all.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("entity", &[]),
    ("migration", &[]),
    ("routing", &[]),
    ("store", &["entity", "migration", "routing"]),
    ("actors", &["store", "routing"]),
    ("protocol", &[]),
    ("relay", &["actors", "routing", "protocol"]),
    (
        "web",
        &[
            "entity",
            "migration",
            "routing",
            "store",
            "actors",
            "protocol",
            "relay",
        ],
    ),
    ("practice", &["protocol"]),
];

/// Rooms that are handed time, chance and data.
const PURE: &[&str] = &["routing", "protocol"];

/// What pure code does not name, outside of its unit tests.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "actix",
    "actix_web",
    "log",
    "rand::random",
    "rand::rng",
    "reqwest",
    "sea_orm",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "tokio",
];

#[test]
fn rooms_import_one_way_only_and_pure_rooms_stay_pure() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "entity/src", "migration/src"] {
        list_files(root, &root.join(folder), &mut files);
    }
    assert!(files.len() > 10, "only {} source files found", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|path| faults(path, &fs::read_to_string(root.join(path)).expect("a source file")))
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Paths under `folder`, told from `root`, with `/` between their parts.
fn list_files(root: &Path, folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("a folder's entry").path();
        if path.is_dir() {
            list_files(root, &path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let path = path.strip_prefix(root).expect("a path under the root");
            into.push(path.to_str().expect("a path in UTF-8").replace('\\', "/"));
        }
    }
}

/// Everything that is wrong with one file, as `path:line: what`.
fn faults(path: &str, source: &str) -> Vec<String> {
    let home = module_of(path);
    let Some(room) = home.first().filter(|room| may_know(room).is_some()) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for named in paths(&tokens(source), &home) {
        if let Some(other) = foreign_room(&named.path, room) {
            faults.push(format!("{path}:{}: {room} may not know {other}", named.line));
        }
        let impure =
            PURE.contains(&room.as_str()) && !named.in_tests && !home.iter().any(|part| part == "tests");
        if let Some(word) = IMPURE.iter().find(|word| impure && mentions(&named.path, word)) {
            faults.push(format!(
                "{path}:{}: {room} is pure and may not name {word}",
                named.line
            ));
        }
    }
    faults
}

fn may_know(room: &str) -> Option<&'static [&'static str]> {
    MAY_KNOW
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, others)| *others)
}

/// `src/routing/pick.rs` is `routing::pick`, `entity/src/token.rs` is `entity::token`, `src/main.rs` is `main`.
fn module_of(path: &str) -> Vec<String> {
    let mut parts: Vec<&str> = path
        .trim_end_matches(".rs")
        .split('/')
        .filter(|part| *part != "src")
        .collect();
    if matches!(parts.last(), Some(&"mod" | &"lib")) {
        parts.pop();
    }
    parts.into_iter().map(str::to_owned).collect()
}

/// The room that a path from inside this workspace leads to, if this one may not know it.
fn foreign_room<'a>(path: &'a [String], room: &str) -> Option<&'a str> {
    let inside = match path.first()?.as_str() {
        // These rooms are crates of their own.
        "crate" if matches!(room, "entity" | "migration") => return None,
        "crate" => path.get(1)?,
        head @ ("entity" | "migration") if head != room => &path[0],
        "pointsman" => path.get(1).unwrap_or(&path[0]),
        _ => return None,
    };
    let known = inside == room || may_know(room)?.contains(&inside.as_str());
    (!known).then_some(inside)
}

/// Whether `word`, a crate or a path, stands in the path. A lone name may be a variable, so a crate counts
/// only at the head of something longer.
fn mentions(path: &[String], word: &str) -> bool {
    let word: Vec<&str> = word.split("::").collect();
    match word[..] {
        [krate] => path.len() > 1 && path[0] == krate,
        _ => path.windows(word.len()).any(|part| part == word),
    }
}

// ---- reading paths ----

#[derive(Debug)]
struct Named {
    /// Absolute (`crate`, room, …) where it leads inside the crate.
    path: Vec<String>,
    line: usize,
    in_tests: bool,
}

/// Every path in the code, those of a `use` tree spread out.
fn paths(tokens: &[Token], home: &[String]) -> Vec<Named> {
    let mut reader = Reader { tokens, at: 0 };
    let mut scopes: Vec<Scope> = Vec::new();
    let (mut depth, mut test_ahead) = (0_usize, false);
    let mut found = Vec::new();
    while let Some(token) = reader.peek() {
        let line = token.line;
        if reader.starts_with(&["#", "[", "cfg", "(", "test", ")", "]"]) {
            test_ahead = true;
            reader.at += 7;
            continue;
        }
        match token.text.as_str() {
            "mod" if reader.text(2) == "{" => {
                depth += 1;
                scopes.push(Scope {
                    name: reader.text(1).to_owned(),
                    depth,
                    test: test_ahead,
                });
                test_ahead = false;
                reader.at += 3;
            }
            "use" => {
                reader.at += 1;
                let mut spread = Vec::new();
                reader.use_tree(&[], &mut spread);
                found.extend(spread.into_iter().map(|path| named(path, line, home, &scopes)));
                test_ahead = false;
            }
            text if is_word(text) => {
                let path = reader.path();
                found.push(named(path, line, home, &scopes));
            }
            text => {
                match text {
                    "{" => depth += 1,
                    "}" => {
                        scopes.retain(|scope| scope.depth < depth);
                        depth = depth.saturating_sub(1);
                    }
                    _ => {}
                }
                test_ahead &= !matches!(text, "{" | "}" | ";");
                reader.at += 1;
            }
        }
    }
    found
}

/// An inline module that is open at some place.
struct Scope {
    name: String,
    depth: usize,
    test: bool,
}

fn named(path: Vec<String>, line: usize, home: &[String], scopes: &[Scope]) -> Named {
    let mut here: Vec<String> = home.to_vec();
    here.extend(scopes.iter().map(|scope| scope.name.clone()));
    Named {
        path: absolute(path, here),
        line,
        in_tests: scopes.iter().any(|scope| scope.test),
    }
}

/// Follows `self` and `super` from where a path stands.
fn absolute(path: Vec<String>, mut here: Vec<String>) -> Vec<String> {
    if !matches!(path[0].as_str(), "self" | "super") {
        return path;
    }
    let mut rest = path.into_iter().peekable();
    while let Some(step) = rest.next_if(|step| step == "self" || step == "super") {
        if step == "super" {
            here.pop();
        }
    }
    std::iter::once("crate".to_owned())
        .chain(here)
        .chain(rest)
        .collect()
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn starts_with(&self, texts: &[&str]) -> bool {
        texts
            .iter()
            .enumerate()
            .all(|(ahead, text)| self.text(ahead) == *text)
    }

    /// `a::b::c`, up to the first thing that is neither name nor `::`.
    fn path(&mut self) -> Vec<String> {
        let mut path = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && is_word(self.text(1)) {
            path.push(self.text(1).to_owned());
            self.at += 2;
        }
        path
    }

    /// `a::{b, c::*, d as e}` as `a::b`, `a::c::*`, `a::d`.
    fn use_tree(&mut self, prefix: &[String], into: &mut Vec<Vec<String>>) {
        let mut path = prefix.to_vec();
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | "") {
                        self.use_tree(&path, into);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => self.at += 2,
                "self" if !path.is_empty() => self.at += 1,
                text if is_word(text) || text == "*" => {
                    path.push(text.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
        }
        // Something that is no `use` tree at all must not stop the reading.
        if path.len() == prefix.len() && !matches!(self.text(0), "," | ";" | "}" | "") {
            self.at += 1;
        } else if !path.is_empty() {
            into.push(path);
        }
    }
}

// ---- reading tokens ----

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single signs; no comments, strings, characters or lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest).unwrap_or(0);
        let length = if length > 0 {
            length
        } else {
            let length = token_length(rest, first);
            if !first.is_whitespace() {
                tokens.push(Token {
                    text: rest[..length].to_owned(),
                    line,
                });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn token_length(rest: &str, first: char) -> usize {
    if first.is_alphanumeric() || first == '_' {
        rest.find(|next: char| !next.is_alphanumeric() && next != '_')
            .unwrap_or(rest.len())
    } else if rest.starts_with("::") {
        2
    } else {
        first.len_utf8()
    }
}

/// The length of a comment, string, character or lifetime that begins here.
fn skipped(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(block_comment(rest));
    }
    let unprefixed = rest.trim_start_matches(['b', 'c']);
    let prefix = rest.len() - unprefixed.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = unprefixed.strip_prefix('r') {
        let quoted = raw.trim_start_matches('#');
        if quoted.starts_with('"') {
            let end = format!("\"{}", "#".repeat(raw.len() - quoted.len()));
            let open = prefix + 1 + end.len();
            return Some(
                rest[open..]
                    .find(&end)
                    .map_or(rest.len(), |at| open + at + end.len()),
            );
        }
    }
    if unprefixed.starts_with('"') {
        return Some(prefix + quoted_length(unprefixed, '"'));
    }
    let second = unprefixed.strip_prefix('\'')?.chars().next()?;
    if second == '\\' || unprefixed[1 + second.len_utf8()..].starts_with('\'') {
        return Some(prefix + quoted_length(unprefixed, '\''));
    }
    (prefix == 0).then(|| 1 + token_length(&rest[1..], second))
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in rest.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            next if next == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

// ---- the checker can fail ----

#[test]
fn the_house_check_finds_every_way_to_name_a_room() {
    let check = |path: &str, source: &str, expected: &[&str]| {
        let found = faults(path, source);
        assert_eq!(found, expected, "{path}: {source}");
    };

    check(
        "src/store/drift.rs",
        "use entity::channel; use crate::routing::ids::ChannelId;",
        &[],
    );
    check(
        "src/routing/pick.rs",
        "use super::route::Route; use crate::routing::{ids, weight::*};",
        &[],
    );
    check(
        "src/main.rs",
        "use pointsman::{serve, web}; use tokio::main;",
        &[],
    );
    check("src/serve.rs", "use crate::{actors, config, web};", &[]);
    check(
        "src/web/probes.rs",
        "use crate::{relay::failover, store, actors::cache::CacheActor};",
        &[],
    );

    let upward = &["src/store/a.rs:1: store may not know actors"];
    check("src/store/a.rs", "use crate::actors::cache;", upward);
    check(
        "src/store/a.rs",
        "use crate::{routing::{self, ids}, actors::cache as c};",
        upward,
    );
    check(
        "src/store/a.rs",
        "use super::super::actors::{A, B};",
        &[upward[0], upward[0]],
    );
    check(
        "src/store/a.rs",
        "fn a() { crate::actors::cache::start(super::b()) }",
        upward,
    );
    check(
        "src/store/a.rs",
        "mod deep { use super::super::super::actors::A; use super::b; }",
        upward,
    );
    check(
        "src/store/mod.rs",
        "pub(crate) use super::actors::A;",
        &["src/store/mod.rs:1: store may not know actors"],
    );
    check(
        "src/store/a.rs",
        "let x = 'x'; let y: &'a str = \"\\\"\"; crate::actors::x()",
        upward,
    );
    check(
        "src/store/a.rs",
        "use crate::config::Config;",
        &["src/store/a.rs:1: store may not know config"],
    );
    check(
        "src/store/a.rs",
        "use crate::*;",
        &["src/store/a.rs:1: store may not know *"],
    );
    check(
        "src/relay/a.rs",
        "fn a(_: entity::channel::Model) {}",
        &["src/relay/a.rs:1: relay may not know entity"],
    );
    check(
        "entity/src/a.rs",
        "\n\nuse pointsman::routing;",
        &["entity/src/a.rs:3: entity may not know routing"],
    );
    check(
        "migration/src/a.rs",
        "use entity::token;",
        &["migration/src/a.rs:1: migration may not know entity"],
    );
    check(
        "src/practice/a.rs",
        "use crate::relay::x;",
        &["src/practice/a.rs:1: practice may not know relay"],
    );

    let told = "// use crate::actors::a;\n/* crate::actors /* nested */ */ let a = r#\"crate::actors\"#; b\"crate::actors\";";
    check("src/store/a.rs", told, &[]);
}

#[test]
fn the_house_check_finds_clock_and_io_in_pure_rooms() {
    let check = |source: &str, word: Option<&str>| {
        let found = faults("src/routing/a.rs", source);
        let expected: Vec<String> = word
            .iter()
            .map(|word| format!("src/routing/a.rs:1: routing is pure and may not name {word}"))
            .collect();
        assert_eq!(found, expected, "{source}");
    };

    check("use std::time::{Duration, Instant}; fn a(now: Instant) {}", None);
    check("use std::net::IpAddr;", None);
    check("fn a(log: &Log) { log.rows() }", None);
    check("// tokio\nfn a() { b(\"tokio\") }", None);
    check(
        "#[cfg(test)] mod tests { fn a() { std::time::Instant::now(); } }",
        None,
    );
    check(
        "#[cfg(test)] mod tests { } fn a() { std::time::Instant::now(); }",
        Some("Instant::now"),
    );
    check(
        "#[cfg(test)] use a::b; mod c { fn a() { SystemTime::now(); } }",
        Some("SystemTime::now"),
    );
    check("fn a() -> Instant { Instant::now() }", Some("Instant::now"));
    check("use std::{fs, time};", Some("std::fs"));
    check("use std::net::{IpAddr, TcpStream};", Some("std::net::TcpStream"));
    check("async fn a() { tokio::time::sleep(b).await }", Some("tokio"));
    check("use sea_orm::prelude::*;", Some("sea_orm"));
    check("fn a() { log::warn!(\"\") }", Some("log"));
}
