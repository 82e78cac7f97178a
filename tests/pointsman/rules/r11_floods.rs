//! R11: a flood of what nobody knows is bounded, and who is known does not notice it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::Method;

use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::works;

const EACH: usize = 2_000;
const AT_ONCE: usize = 200;
/// Clients who are served meanwhile, one request each at a time.
const KNOWN: usize = 8;
/// A request that waits for nobody, on a machine that is busy with 200 others.
const GOOD_WITHIN: Duration = Duration::from_secs(10);
/// Every connection that one node may have: lookups, tokens, reads, writes, builds; on servers the test's own two.
const ALL_CONNECTIONS: usize = 4 + 2 + 3 + 4 + 1 + 2;

on_each_database! {
    async fn heavy_r11_a_flood_of_unknown_models_and_tokens_is_bounded_and_harms_nobody(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).flag("--sync-interval", "3600").await;
        stage.chat("gpt-4o").await.expect(200);
        let (floods, good) = (AtomicBool::new(true), AtomicUsize::new(0));
        let flood = async {
            let answers = stream::iter(0..EACH * 2)
                .map(|n| unknown(&stage, n))
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await;
            floods.store(false, Ordering::SeqCst);
            answers
        };
        let known = join_all((0..KNOWN).map(|_| async {
            while floods.load(Ordering::SeqCst) {
                let began = Instant::now();
                stage.chat("gpt-4o").await.expect(200);
                assert!(began.elapsed() < GOOD_WITHIN, "{:?}", began.elapsed());
                good.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let most_connections = async {
            let mut most = 0;
            while floods.load(Ordering::SeqCst) {
                most = most.max(connections(&stage).await);
                tokio::task::yield_now().await;
            }
            most
        };
        let (answers, _, (), most) = tokio::join!(flood, known, stays_ready(&stage, &floods), most_connections);
        assert!(most <= ALL_CONNECTIONS, "{most} connections");
        assert!(good.load(Ordering::SeqCst) > 2 * KNOWN, "{good:?} good ones");
        for (answer, of_its_own) in [("404 model_not_found", 0), ("401 invalid_token", 1)] {
            let (told, overloaded) = answers.iter().filter(|(n, _)| n % 2 == of_its_own).fold((0, 0), |(told, overloaded), (n, got)| {
                assert!(
                    got == answer || got == "503 overloaded",
                    "{n}: {got}; {:#?}",
                    [stage.log().with("lookup failed"), stage.log().with("in time")]
                );
                if got == answer { (told + 1, overloaded) } else { (told, overloaded + 1) }
            });
            assert!(told > 0, "{answer} {told}, overloaded {overloaded}");
        }
        // It is over when it is over.
        assert_eq!(stage.chat("unknown").await.code().as_deref(), Some("model_not_found"));
        assert_eq!(unknown(&stage, 1_000_001).await.1, "401 invalid_token");
    }
}

/// The even ones name a model that nobody has, the odd ones show a token that nobody made.
async fn unknown(stage: &Stage, n: usize) -> (usize, String) {
    let answer = if n.is_multiple_of(2) {
        stage.chat(&format!("unknown-{n}")).await
    } else {
        let request = stage
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth(format!("sk-unknown-{n}"));
        Answer::to(with_json(request, &chat_body("gpt-4o"))).await
    };
    let code = answer.code().unwrap_or_default();
    (n, format!("{} {code}", answer.status))
}

async fn stays_ready(stage: &Stage, floods: &AtomicBool) {
    while floods.load(Ordering::SeqCst) {
        Answer::to(stage.request(Method::GET, "/readyz"))
            .await
            .expect(200);
    }
}

/// Every connection to the stage's database.
async fn connections(stage: &Stage) -> usize {
    let sql = match stage.database().kind() {
        Kind::Sqlite => return open_files(stage),
        Kind::Postgres => "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()",
        Kind::Mariadb => "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()",
    };
    stage.query::<i64>(sql).await[0] as usize
}

/// How often the node has SQLite's file open: once a connection.
fn open_files(stage: &Stage) -> usize {
    let file = stage.database().file();
    let folder = format!("/proc/{}/fd", stage.node().pid());
    let open = std::fs::read_dir(Path::new(&folder))
        .expect("a running process")
        .flatten();
    open.filter(|open| std::fs::read_link(open.path()).is_ok_and(|path| path == file))
        .count()
}
