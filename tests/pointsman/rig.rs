//! The rig itself holds: databases, proxy and private servers do what they say.

use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::proxy::{DatabaseProxy, Way};
use crate::servers::PrivateServer;
use crate::stage::Stage;
use crate::upstream::{fails, works};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database as SeaOrm, DatabaseConnection, DbErr, TransactionTrait,
};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(10);

on_each_database! {
    async fn a_fresh_database_is_empty_and_understands_one_way_of_quoting(kind: Kind) {
        let database = Database::fresh(kind).await;
        database.sql(r#"CREATE TABLE "t" ("group" VARCHAR(20), "open" BOOLEAN)"#).await;
        assert_eq!(database.query::<i64>("SELECT COUNT(*) FROM t").await, [0]);
        assert_eq!(database.sql(r#"INSERT INTO "t" ("group", "open") VALUES ('a"b', TRUE)"#).await, 1);
        let groups = database.query::<String>(r#"SELECT "group" FROM "t" WHERE "open" = TRUE"#).await;
        assert_eq!(groups, [r#"a"b"#]);
    }

    async fn a_stage_serves_restarts_and_ends(kind: Kind) {
        let mut stage = Stage::new(kind).channel("a", works()).channel("b", fails(500).models(&["broken"])).await;
        let answer = stage.chat("gpt-4o").await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id("a")));
        assert!(answer.said().is_some_and(|text| !text.is_empty()), "{answer:?}");
        assert_eq!(stage.upstream("a").received().len(), 1);

        stage.kill9();
        stage.restart().await;
        stage.chat("gpt-4o").await.expect(200);

        stage.sigterm();
        assert!(stage.exit_status(SOON).await.success());
        stage.log().first_with("listening").expect("its first line");
        stage.log().assert_without(stage.admin_token());
        stage.log().assert_without(stage.token());
    }

    async fn the_proxy_passes_hangs_cuts_and_passes_again(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server to stand before.
        }
        let database = Database::fresh(kind).await;
        let proxy = DatabaseProxy::before(database.server_address()).await;
        let connection = connect(&database.url_by_way_of(proxy.address())).await.expect("a way through");
        ask(&connection).await.expect("an answer");
        assert_eq!((proxy.open(), proxy.accepted()), (1, 1));

        proxy.hang();
        let held = tokio::time::timeout(Duration::from_millis(300), ask(&connection)).await;
        assert!(held.is_err(), "nothing passes: {held:?}");
        proxy.pass();
        eventually(SOON, async || ask(&connection).await).await;

        proxy.cut();
        ask(&connection).await.expect_err("no way through");
        eventually(SOON, async || if proxy.open() == 0 { Ok(()) } else { Err(proxy.open()) }).await;
        let refused = TcpStream::connect(proxy.address()).await;
        assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::ConnectionRefused));

        proxy.pass();
        eventually(SOON, async || ask(&connection).await).await;
    }

    async fn the_proxy_cuts_before_and_after_a_commit(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server to stand before.
        }
        let database = Database::fresh(kind).await;
        database.sql("CREATE TABLE t (n INT)").await;
        let proxy = DatabaseProxy::before(database.server_address()).await;
        let connection = connect(&database.url_by_way_of(proxy.address())).await.expect("a way through");

        proxy.cut_before_commit();
        insert(&connection, 1).await.expect_err("cut before the commit");
        proxy.cut_after_commit();
        insert(&connection, 2).await.expect_err("cut after the commit");
        assert_eq!(proxy.sprung(), 2);
        insert(&connection, 3).await.expect("not cut at all");
        assert_eq!(database.query::<i32>("SELECT n FROM t ORDER BY n").await, [2, 3]);
    }

    async fn heavy_a_private_server_is_stopped_killed_and_started_again(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let server = PrivateServer::start(kind).await;
        let database = Database::fresh_on(&server).await;
        database.sql("CREATE TABLE t (n INT)").await;

        let connection = connect(database.url()).await.expect("a connection");

        server.sigstop();
        let frozen = tokio::time::timeout(Duration::from_millis(300), ask(&connection)).await;
        assert!(frozen.is_err(), "nothing answers: {frozen:?}");
        server.sigcont();
        eventually(SOON, async || ask(&connection).await).await;

        database.sql("INSERT INTO t VALUES (1)").await;
        server.kill9();
        ask(&connection).await.expect_err("it is dead");
        server.start_again().await;
        eventually(SOON, async || ask(&connection).await).await;
        assert_eq!(database.query::<i32>("SELECT n FROM t").await, [1]);
    }
}

#[tokio::test]
async fn the_proxy_cuts_after_just_so_many_bytes() {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = DatabaseProxy::before(echo.local_addr().expect("a bound listener")).await;
    let mut client = TcpStream::connect(proxy.address()).await.expect("a way through");
    let (mut server, _) = echo.accept().await.expect("the proxy");
    proxy.cut_after(5, Way::Answered);

    let (mut asked, mut answered) = ([0; 6], Vec::new());
    client.write_all(b"asking").await.expect("a way there");
    server.read_exact(&mut asked).await.expect("all of the question");
    server.write_all(b"ans").await.expect("a way back");
    server.write_all(b"wer").await.expect("a way back");
    // What was passed may be read or be lost to the reset, as in any network.
    let ended = client.read_to_end(&mut answered).await;
    assert_eq!(
        ended.err().map(|error| error.kind()),
        Some(ErrorKind::ConnectionReset)
    );
    assert!(b"answe".starts_with(&answered), "{answered:?}");
    assert_eq!(proxy.sprung(), 1);
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .sqlx_logging(false);
    SeaOrm::connect(options).await
}

async fn ask(connection: &DatabaseConnection) -> Result<(), DbErr> {
    connection.execute_unprepared("SELECT 1").await.map(drop)
}

async fn insert(connection: &DatabaseConnection, n: i32) -> Result<(), DbErr> {
    let transaction = connection.begin().await?;
    transaction
        .execute_unprepared(&format!("INSERT INTO t VALUES ({n})"))
        .await?;
    transaction.commit().await
}

#[tokio::test]
#[should_panic(expected = "last seen: 7")]
async fn eventually_tells_what_it_saw_last() {
    eventually(Duration::from_millis(30), async || Err::<(), _>(7)).await;
}
