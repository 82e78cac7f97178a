//! The command line: every flag, its unit and its environment variable.
//!
//! The doc comments below are `--help`. Flags may stand before or after the command's name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use ipnet::IpNet;

use crate::practice::PracticeArgs;
use crate::routing::rows::Secret;
use crate::store::snapshot_file::{SecretKey, SnapshotFile};

/// Shorter ones could be guessed.
const ADMIN_TOKEN_AT_LEAST: usize = 16;
/// Longer than any timeout that means something, and far from where clocks overflow.
const LONGEST_SECONDS: f64 = 31_536_000.0;

/// A self-hosted relay for LLM APIs whose router never lies about what is open
#[derive(Debug, Parser)]
#[command(
    name = "pointsman",
    version,
    subcommand_precedence_over_arg = true,
    after_help = "Durations are seconds, fractions allowed (`--retry-wait 0.5`). What is logged, and how much, is told \
        by RUST_LOG (default: info)."
)]
pub struct Config {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the relay with its admin REST and probes (the default)
    Serve,
    /// Run a relay on a throw-away database before two practice upstreams, and print what to try
    Demo,
    /// Look at the database, changing nothing, and name every row that should not be: exit 0, none; 1, some; 2, the
    /// database cannot be asked
    Check,
    Practice(PracticeArgs),
}

/// What `serve` and `demo` go by.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where it listens (HTTP/1.1 and HTTP/2 without TLS)
    #[arg(
        long,
        env = "POINTSMAN_LISTEN",
        global = true,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:3000",
        value_parser = address,
    )]
    pub listen: SocketAddr,

    /// The database: `sqlite:PATH` (made if it is not there), `postgres://…` or `mysql://…`
    #[arg(
        long,
        env = "POINTSMAN_DATABASE_URL",
        global = true,
        value_name = "URL",
        default_value = "sqlite:pointsman.sqlite",
        hide_env_values = true
    )]
    pub database_url: String,

    /// The operator's token for /api, 16 characters or more. None given: one is made on the first start and
    /// printed once on stdout
    #[arg(
        long,
        env = "POINTSMAN_ADMIN_TOKEN",
        global = true,
        value_name = "TOKEN",
        value_parser = secret,
        hide_env_values = true
    )]
    pub admin_token: Option<Secret>,

    /// Where what is needed to start without the database is kept: the last good snapshot and the tokens seen lately,
    /// sealed under --secret-key. None given: nothing is kept
    #[arg(long, env = "POINTSMAN_SNAPSHOT_FILE", global = true, value_name = "PATH")]
    pub snapshot_file: Option<PathBuf>,

    /// 32 bytes, as 64 hex digits or base64, under which the snapshot file is sealed
    #[arg(
        long,
        env = "POINTSMAN_SECRET_KEY",
        global = true,
        value_name = "KEY",
        value_parser = secret,
        hide_env_values = true
    )]
    pub secret_key: Option<Secret>,

    /// Threads that serve requests; one for each processor if not given
    #[arg(long, env = "POINTSMAN_WORKERS", global = true, value_name = "COUNT", value_parser = workers)]
    pub workers: Option<usize>,

    /// The longest request body, in bytes; longer ones get 413
    #[arg(
        long,
        env = "POINTSMAN_MAX_BODY",
        global = true,
        value_name = "BYTES",
        default_value = "67108864",
        value_parser = bytes,
    )]
    pub max_body: usize,

    /// Proxies whose X-Forwarded-For is believed by a token's `allow_ips`: addresses and networks, separated by
    /// commas
    #[arg(
        long,
        env = "POINTSMAN_TRUSTED_PROXIES",
        global = true,
        value_name = "NETWORKS",
        value_delimiter = ',',
        value_parser = network
    )]
    pub trusted_proxies: Vec<IpNet>,

    /// After SIGTERM, seconds in which requests in flight may end, streams too
    #[arg(long, env = "POINTSMAN_DRAIN_TIMEOUT", global = true, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    pub drain_timeout: Duration,

    /// After SIGTERM, seconds for which the listener stays open while /readyz says 503, so that load balancers
    /// turn away first; part of --drain-timeout
    #[arg(long, env = "POINTSMAN_DRAIN_DELAY", global = true, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub drain_delay: Duration,

    /// Seconds between two full rebuilds of the routing snapshot, as a safety net
    #[arg(long, env = "POINTSMAN_SYNC_INTERVAL", global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds_above_zero, help_heading = "Routing")]
    pub sync_interval: Duration,

    /// Seconds between two looks for what other nodes on the same database have changed; 0: never. On PostgreSQL they
    /// call each other besides
    #[arg(long, env = "POINTSMAN_NOTICE_INTERVAL", global = true, value_name = "SECONDS", default_value = "2", value_parser = seconds, help_heading = "Routing")]
    pub notice_interval: Duration,

    /// Seconds after which a rebuild is given up; the last good snapshot serves on
    #[arg(long, env = "POINTSMAN_BUILD_DEADLINE", global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds_above_zero, help_heading = "Routing")]
    pub build_deadline: Duration,

    /// Database connections for lookups of what the snapshot does not know
    #[arg(long, env = "POINTSMAN_LOOKUP_CONNECTIONS", global = true, value_name = "COUNT", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Routing")]
    pub lookup_connections: u32,

    /// Seconds after which a lookup, of a route or of a token, has failed
    #[arg(long, env = "POINTSMAN_LOOKUP_TIMEOUT", global = true, value_name = "SECONDS", default_value = "3", value_parser = seconds_above_zero, help_heading = "Routing")]
    pub lookup_timeout: Duration,

    /// Seconds after which an admin call's question to the database has failed
    #[arg(long, env = "POINTSMAN_ADMIN_TIMEOUT", global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds_above_zero, help_heading = "Routing")]
    pub admin_timeout: Duration,

    /// More tries of one model after the first has failed; another key does not count
    #[arg(long, env = "POINTSMAN_RETRIES", global = true, value_name = "COUNT", default_value = "2", value_parser = clap::value_parser!(u32).range(0..=15), help_heading = "Attempts")]
    pub retries: u32,

    /// The longest wait for a channel before it is tried again, in seconds
    #[arg(long, env = "POINTSMAN_RETRY_WAIT", global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Attempts")]
    pub retry_wait: Duration,

    /// Seconds from a request's arrival after which no further attempt begins
    #[arg(long, env = "POINTSMAN_REQUEST_DEADLINE", global = true, value_name = "SECONDS", default_value = "1200", value_parser = seconds_above_zero, help_heading = "Attempts")]
    pub request_deadline: Duration,

    /// Seconds between two tests of a channel or key that was closed because its provider refused it; one that
    /// works is reopened. 0: never tested
    #[arg(long, env = "POINTSMAN_TEST_INTERVAL", global = true, value_name = "SECONDS", default_value = "300", value_parser = seconds, help_heading = "Attempts")]
    pub test_interval: Duration,

    /// Seconds of silence after which a client that waits for a stream gets a keep-alive; 0: never. The first one
    /// answers 200, before any upstream has
    #[arg(long, env = "POINTSMAN_KEEP_ALIVE_INTERVAL", global = true, value_name = "SECONDS", default_value = "15", value_parser = seconds, help_heading = "Attempts")]
    pub keep_alive_interval: Duration,

    /// Seconds to a connection with an upstream, TLS included
    #[arg(long, env = "POINTSMAN_CONNECT_TIMEOUT", global = true, value_name = "SECONDS", default_value = "5", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub connect_timeout: Duration,

    /// Seconds to the status line of a stream
    #[arg(long, env = "POINTSMAN_FIRST_BYTE_TIMEOUT", global = true, value_name = "SECONDS", default_value = "60", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub first_byte_timeout: Duration,

    /// Seconds to the first token of a stream; not given: no limit
    #[arg(long, env = "POINTSMAN_FIRST_TOKEN_TIMEOUT", global = true, value_name = "SECONDS", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub first_token_timeout: Option<Duration>,

    /// Seconds of silence on a stream before its first text
    #[arg(long, env = "POINTSMAN_IDLE_BEFORE_TEXT_TIMEOUT", global = true, value_name = "SECONDS", default_value = "300", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub idle_before_text_timeout: Duration,

    /// Seconds of silence on a stream after its first text
    #[arg(long, env = "POINTSMAN_IDLE_TIMEOUT", global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub idle_timeout: Duration,

    /// Seconds for a whole plain request
    #[arg(long, env = "POINTSMAN_TOTAL_TIMEOUT", global = true, value_name = "SECONDS", default_value = "600", value_parser = seconds_above_zero, help_heading = "Timeouts (a channel's settings go before)")]
    pub total_timeout: Duration,

    /// The model of a moderation that names none
    #[arg(long, env = "POINTSMAN_MODERATION_MODEL", global = true, value_name = "MODEL", default_value = "omni-moderation-latest", value_parser = model, help_heading = "Models")]
    pub moderation_model: String,

    /// The model of an image request that names none
    #[arg(long, env = "POINTSMAN_IMAGE_MODEL", global = true, value_name = "MODEL", default_value = "dall-e-2", value_parser = model, help_heading = "Models")]
    pub image_model: String,
}

impl Settings {
    /// `--secret-key`, read; `None` if there is none, or it is none.
    fn secret_key(&self) -> Option<SecretKey> {
        let text = self.secret_key.as_ref()?.reveal().trim();
        let bytes = match text.len() {
            64 => hex::decode(text).ok()?,
            _ => STANDARD.decode(text).ok()?,
        };
        bytes.try_into().ok().map(SecretKey::new)
    }

    /// Where what is needed to start without the database is kept.
    pub fn snapshot_file(&self) -> Option<SnapshotFile> {
        let path = self.snapshot_file.clone()?;
        Some(SnapshotFile::new(path, self.secret_key()?))
    }
}

impl Config {
    /// Reads the process's arguments and variables; ends the process on `--help` and on what cannot be read.
    pub fn read() -> Config {
        Config::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_read<I, T>(arguments: I) -> Result<Config, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let config = Config::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        match config.check() {
            Ok(()) => Ok(config),
            Err(words) => Err(command.error(ErrorKind::ValueValidation, words)),
        }
    }

    /// What clap cannot check without repeating the value: it may be a secret.
    fn check(&self) -> Result<(), &'static str> {
        let settings = &self.settings;
        if settings.secret_key.is_some() && settings.secret_key().is_none() {
            return Err("--secret-key must be 32 bytes, as 64 hex digits or base64");
        }
        if settings.snapshot_file.is_some() && settings.secret_key.is_none() {
            return Err("--snapshot-file holds secrets, so it needs a --secret-key to seal them under");
        }
        let Some(token) = &self.settings.admin_token else {
            return Ok(());
        };
        if token.reveal().len() < ADMIN_TOKEN_AT_LEAST {
            return Err("--admin-token must have 16 characters or more");
        }
        if !token.reveal().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("--admin-token must consist of ASCII letters, digits and signs, without spaces");
        }
        Ok(())
    }
}

/// `practice` takes none of the settings but an address of its own, and `check` the database, so their help lists no
/// others.
fn command() -> clap::Command {
    let mut command = Config::command();
    command.build();
    let command = command.mut_subcommand("practice", |practice| only("listen", practice));
    command.mut_subcommand("check", |check| only("database_url", check))
}

/// Hides all settings but this one.
fn only(setting: &str, command: clap::Command) -> clap::Command {
    let settings: Vec<clap::Id> = Settings::augment_args(clap::Command::new("settings"))
        .get_arguments()
        .map(|argument| argument.get_id().clone())
        .filter(|id| id != setting)
        .collect();
    command.mut_args(|argument| {
        let hidden = settings.contains(argument.get_id());
        argument.hide(hidden)
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .trim()
        .parse()
        .map_err(|_| "must be a number of seconds, such as 30 or 0.5".to_owned())?;
    if !(0.0..=LONGEST_SECONDS).contains(&number) {
        return Err("must be between 0 and 31536000 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(number))
}

fn seconds_above_zero(text: &str) -> Result<Duration, String> {
    match seconds(text)? {
        Duration::ZERO => Err("must be more than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(number) if number >= 1024 => Ok(number),
        Ok(_) => Err("must be 1024 bytes or more".to_owned()),
        Err(_) => Err("must be a whole number of bytes, such as 67108864".to_owned()),
    }
}

/// 512 is what actix-server takes.
fn workers(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(number @ 1..=512) => Ok(number),
        _ => Err("must be a whole number from 1 to 512".to_owned()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim()
        .parse()
        .map_err(|_| "must be an address and a port, such as 127.0.0.1:3000 or [::]:3000".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse::<IpNet>().ok();
    network
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        .ok_or_else(|| "must be an address or a network, such as 10.0.0.1 or 10.0.0.0/8".to_owned())
}

fn model(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("must name a model".to_owned()),
        model => Ok(model.to_owned()),
    }
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, String> {
        let arguments = std::iter::once(&"pointsman").chain(arguments);
        Config::try_read(arguments).map_err(|error| error.to_string())
    }

    fn settings(arguments: &[&str]) -> Settings {
        read(arguments).expect("good arguments").settings
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        let config = read(&[]).expect("nothing is required");
        assert!(config.command.is_none());
        assert_eq!(config.settings.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(config.settings.max_body, 64 << 20);
    }

    #[test]
    fn a_secret_key_is_32_bytes_and_never_repeated() {
        let hex = "0123456789abcdef".repeat(4);
        let base64 = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
        for key in [hex.as_str(), base64] {
            let settings = settings(&["--secret-key", key, "--snapshot-file", "x"]);
            assert!(settings.snapshot_file().is_some());
        }
        for key in ["short", &hex[..62], "MDEy", &"g".repeat(64)] {
            let error = read(&["--secret-key", key]).expect_err("no key");
            assert!(
                error.contains("must be 32 bytes") && !error.contains(key),
                "{error}"
            );
        }
        let error = read(&["--snapshot-file", "x"]).expect_err("no key");
        assert!(error.contains("needs a --secret-key"), "{error}");
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for arguments in [
            &["--retries", "7", "serve"] as &[_],
            &["serve", "--retries", "7"],
            &["--retries", "7"],
            &["demo", "--retries=7"],
        ] {
            assert_eq!(settings(arguments).retries, 7, "{arguments:?}");
        }
    }

    #[test]
    fn practice_listens_where_it_says() {
        let listen = |arguments: &[&str]| match read(arguments).expect("good arguments").command {
            Some(Command::Practice(args)) => args.listen.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(listen(&["practice"]), "127.0.0.1:3900");
        assert_eq!(listen(&["practice", "--listen", "127.0.0.1:1"]), "127.0.0.1:1");
        assert_eq!(listen(&["--listen", "127.0.0.1:2", "practice"]), "127.0.0.1:2");
        let help = read(&["practice", "--help"]).expect_err("help");
        assert!(
            !help.contains("--retry-wait") && help.contains("--listen"),
            "{help}"
        );
    }

    #[test]
    fn durations_are_seconds_with_fractions() {
        assert_eq!(
            settings(&["--retry-wait", "0.25"]).retry_wait,
            Duration::from_millis(250)
        );
        for bad in ["-1", "x", "inf", "NaN", "1e300", ""] {
            let flag = format!("--retry-wait={bad}");
            let error = read(&[&flag]).expect_err(bad);
            assert!(
                error.contains("--retry-wait") && error.contains("must be"),
                "{error}"
            );
        }
        assert!(read(&["--sync-interval", "0"]).is_err());
    }

    #[test]
    fn networks_are_addresses_too() {
        let proxies = settings(&["--trusted-proxies", "10.0.0.0/8, ::1"]).trusted_proxies;
        assert_eq!(
            proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.0/8", "::1/128"]
        );
        assert!(read(&["--trusted-proxies", "ten"]).is_err());
    }

    #[test]
    fn a_bad_admin_token_is_not_repeated() {
        for token in [
            "short-secret",
            "a secret with spaces in it",
            "ein-längerer-secret",
        ] {
            let error = read(&["--admin-token", token]).expect_err(token);
            assert!(
                error.contains("--admin-token must") && !error.contains("secret"),
                "{error}"
            );
        }
        let config = read(&["--admin-token", "0123456789-secret"]).expect("long enough");
        assert!(!format!("{config:?}").contains("secret\""));
    }
}
