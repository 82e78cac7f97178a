//! The floor of a full rebuild: the same rows, read by the database's own client and thrown away.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use url::Url;

use crate::kind::{Fresh, Kind};

/// What a build reads, table by table (`src/store/load_snapshot.rs`).
const READ: [&str; 3] = [
    "SELECT id, status, status_changed_at, status_reason, name, provider, base_url, priority, weight, tag, \
     key_mode, model_mapping, header_override, param_override, settings, test_model, auto_disable FROM channels",
    "SELECT id, channel_id, status, status_changed_at, secret, hint FROM channel_keys ORDER BY id",
    "SELECT \"group\", model, channel_id, enabled, held, priority, weight FROM abilities",
];

/// From the client's start to its end.
pub async fn read(kind: Kind, database: &Fresh) -> Duration {
    let mut client = client(kind, database);
    client
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let began = Instant::now();
    let ended = client.status().await.expect("the database's client starts");
    assert!(ended.success(), "{}'s client: {ended}", kind.name());
    began.elapsed()
}

fn client(kind: Kind, database: &Fresh) -> Command {
    let sql = READ.map(|sql| kind.quoted(sql));
    match (kind, database.path()) {
        (Kind::Sqlite, file) => {
            let mut client = Command::new("sqlite3");
            client.arg(file.expect("SQLite has a file")).arg(sql.join("; "));
            client
        }
        (Kind::Postgres, _) => {
            let mut client = Command::new("psql");
            client.args(["--no-psqlrc", "--quiet", &database.url]);
            for sql in sql {
                client.arg("--command").arg(format!("COPY ({sql}) TO STDOUT"));
            }
            client
        }
        (Kind::Mariadb, _) => {
            let url = Url::parse(&database.url).expect("the database's URL is one");
            let mut client = Command::new("mariadb");
            client
                .env("MYSQL_PWD", url.password().unwrap_or_default())
                .args(["--no-defaults", "--quick", "--batch", "--skip-column-names"])
                .arg(format!("--host={}", url.host_str().unwrap_or_default()))
                .arg(format!("--port={}", url.port().unwrap_or(3306)))
                .arg(format!("--user={}", url.username()))
                .arg(url.path().trim_start_matches('/'))
                .arg("--execute")
                .arg(sql.join("; "));
            client
        }
    }
}
