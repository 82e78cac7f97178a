//! A million abilities, read whole. By hand: `cargo test million -- --ignored --nocapture`.

use std::time::Instant;

use pointsman::store::load_snapshot::everything;

use super::databases::*;

on_all! {
    #[ignore = "a measurement"]
    async fn a_million_abilities_are_read(stage) {
        let database = stage.open().await;
        let group = stage.quoted("group");
        let numbers = |to: u32| match stage.kind {
            Kind::Postgres => format!("(SELECT n FROM generate_series(1, {to}) AS g(n)) AS numbers"),
            Kind::MariaDb => format!("(SELECT seq AS n FROM seq_1_to_{to}) AS numbers"),
            Kind::Sqlite => format!("(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {to}) SELECT n FROM c) AS numbers"),
        };
        let text = if stage.kind == Kind::Postgres { "TEXT" } else { "CHAR(9)" };
        stage.sql(&[
            &format!("INSERT INTO channels (name, provider) SELECT 'c', 'openai' FROM {}", numbers(2000)),
            "INSERT INTO channel_keys (channel_id, secret) SELECT id, 'sk-1234567890' FROM channels",
            &format!("INSERT INTO abilities ({group}, model, channel_id) SELECT 'default', REPLACE('some-model-name-N', 'N', CAST(n AS {text})), id FROM {} CROSS JOIN channels", numbers(500)),
        ]).await;
        for _ in 0..3 {
            let began = Instant::now();
            let draft = everything(&database).await.expect("rows");
            let read = began.elapsed();
            let snapshot = draft.snapshot(&Default::default(), Default::default(), Default::default());
            println!("{:?}: read {read:?}, built {:?}, {:?}", stage.kind, began.elapsed() - read, snapshot.counts());
        }
        if stage.kind != Kind::Sqlite {
            println!("{}", stage.url);
        } else {
            let began = Instant::now();
            let path = stage.url.trim_start_matches("sqlite:");
            let sql = "SELECT \"group\", model, channel_id, enabled, held, priority, weight FROM abilities";
            let out = std::process::Command::new("sqlite3").args([path, sql]).output().expect("sqlite3");
            println!("sqlite3 itself: {:?}, {} bytes", began.elapsed(), out.stdout.len());
        }
    }
}
