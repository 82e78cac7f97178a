//! A house written into a database's tables, behind Pointsman's back: a million rows in a few seconds.

use std::fmt::Write as _;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr};

use crate::house::{GROUP, House};
use crate::kind::Kind;

/// Rows of names in one statement.
const ROWS_AT_ONCE: usize = 500;

/// Fills tables that are there and empty. Every channel serves every model.
pub async fn fill(kind: Kind, url: &str, house: House) -> Result<(), DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await?;
    channels(&database, kind, house.channels).await?;
    abilities(&database, kind, house).await?;
    // As PostgreSQL does by itself sooner or later: here before anything is measured.
    if kind == Kind::Postgres {
        run(&database, kind, "VACUUM ANALYZE").await?;
    }
    database.close().await
}

async fn channels(database: &DatabaseConnection, kind: Kind, channels: usize) -> Result<(), DbErr> {
    let names: Vec<String> = (1..=channels).map(|number| format!("channel {number}")).collect();
    let columns = "name, provider, base_url, model_mapping, header_override, param_override, settings";
    let others = "'openai', 'https://api.openai.com', '{}', '{}', '{}', '{}'";
    for some in names.chunks(ROWS_AT_ONCE) {
        let rows = list(some, |name| format!("('{name}', {others})"));
        run(
            database,
            kind,
            &format!("INSERT INTO channels ({columns}) VALUES {rows}"),
        )
        .await?;
    }
    let keys = "INSERT INTO channel_keys (channel_id, secret, hint) \
                SELECT id, 'sk-of-no-account-at-all', '-all' FROM channels";
    run(database, kind, keys).await
}

async fn abilities(database: &DatabaseConnection, kind: Kind, house: House) -> Result<(), DbErr> {
    run(database, kind, "CREATE TABLE names (model VARCHAR(255) NOT NULL)").await?;
    let names: Vec<String> = (0..house.models).map(House::model).collect();
    for some in names.chunks(ROWS_AT_ONCE) {
        let rows = list(some, |name| format!("('{name}')"));
        run(
            database,
            kind,
            &format!("INSERT INTO names (model) VALUES {rows}"),
        )
        .await?;
    }
    let abilities = format!(
        "INSERT INTO abilities (\"group\", model, channel_id, enabled, held) \
         SELECT '{GROUP}', model, id, TRUE, FALSE FROM names CROSS JOIN channels ORDER BY model, id"
    );
    run(database, kind, &abilities).await?;
    run(database, kind, "DROP TABLE names").await
}

fn list(names: &[String], row: impl Fn(&String) -> String) -> String {
    let mut rows = String::new();
    for (place, name) in names.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(rows, "{comma}{}", row(name));
    }
    rows
}

async fn run(database: &DatabaseConnection, kind: Kind, sql: &str) -> Result<(), DbErr> {
    database.execute_unprepared(&kind.quoted(sql)).await.map(drop)
}
