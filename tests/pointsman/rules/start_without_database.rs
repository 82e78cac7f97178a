//! A node that starts while its database is away serves from the file that it has kept, and takes the database's truth
//! as soon as that is there (R12).

use crate::answer::Answer;
use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::node::{Node, Setup};
use crate::servers::PrivateServer;
use crate::stage::{chat_body, with_json};
use crate::upstream::{Upstream, works};
use reqwest::Method;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(40);
const ADMIN: &str = "an-admin-token-of-ours";
const UPSTREAM_KEY: &str = "sk-upstream-0123456789";

struct Scene {
    server: PrivateServer,
    /// Dropped with the scene, and the database with it.
    _database: Database,
    setup: Setup,
    node: Option<Node>,
    upstreams: Vec<Upstream>,
    token: String,
    client: reqwest::Client,
    folder: TempDir,
}

impl Scene {
    async fn new(kind: Kind) -> Scene {
        let server = PrivateServer::start(kind).await;
        let database = Database::fresh_on(&server).await;
        let folder = tempfile::tempdir().expect("a folder");
        let setup = Setup {
            database_url: database.url().to_owned(),
            admin_token: ADMIN.to_owned(),
            flags: ["--snapshot-file", "kept", "--secret-key", &"5a".repeat(32)]
                .map(str::to_owned)
                .to_vec(),
            variables: Vec::new(),
            folder: folder.path().to_owned(),
        };
        // Whoever was first has installed the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut scene = Scene {
            node: Some(Node::start(&setup).await),
            server,
            _database: database,
            setup,
            upstreams: Vec::new(),
            token: String::new(),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            folder,
        };
        scene.ready().await;
        for (name, model) in [("a", "first"), ("b", "second")] {
            let upstream = Upstream::start();
            let channel = works().models(&[model]).keys(&[UPSTREAM_KEY]);
            let body = channel.body(name, &channel.base_url(&upstream.url()));
            scene.admin(Method::POST, "/api/channels", body).await.expect(201);
            scene.upstreams.push(upstream);
        }
        let token = scene
            .admin(Method::POST, "/api/tokens", json!({"name": "t"}))
            .await;
        scene.token = token.expect(201).json()["key"]
            .as_str()
            .expect("a key")
            .to_owned();
        scene.chat("first").await.expect(200);
        scene
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("a running node")
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", self.node().url());
        let request = self.client.request(method, url).bearer_auth(ADMIN);
        Answer::to(match body {
            Value::Null => request,
            body => with_json(request, &body),
        })
        .await
    }

    async fn chat(&self, model: &str) -> Answer {
        let url = format!("{}/v1/chat/completions", self.node().url());
        let request = self.client.post(url).bearer_auth(&self.token);
        Answer::to(with_json(request, &chat_body(model))).await
    }

    async fn ready(&self) {
        let url = format!("{}/readyz", self.node().url());
        eventually(SOON, async || {
            let answer = Answer::try_to(self.client.get(&url)).await;
            let answer = answer.map_err(|error| error.to_string())?;
            answer.with_status(200).map_err(|answer| format!("{answer:?}"))
        })
        .await;
    }

    async fn snapshot(&self) -> Value {
        let url = format!("{}/readyz?verbose", self.node().url());
        Answer::to(self.client.get(url)).await.json()["snapshot"].clone()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("kept.closings")
    }

    async fn close(&self, channel: u32) -> Answer {
        let path = format!("/api/channels/{channel}/status");
        let closed = self
            .admin(Method::PUT, &path, json!({"status": "disabled"}))
            .await;
        closed.expect(200)
    }

    /// Until the file holds what the node now holds.
    async fn kept(&self, before: &[u8]) -> Vec<u8> {
        eventually(SOON, async || match std::fs::read(self.file()) {
            Ok(bytes) if bytes != before => Ok(bytes),
            Ok(_) => Err("as it was".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    fn kill(&mut self) {
        self.node().kill9();
        self.node = None;
    }

    async fn start(&mut self) {
        self.node = Some(Node::start(&self.setup).await);
    }
}

on_each_database! {
    async fn heavy_r12_a_node_starts_from_what_it_has_kept(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let mut scene = Scene::new(kind).await;
        // Channels, token and all: each is in the file a moment after it was made.
        eventually(SOON, async || {
            let kept = scene.node().log().with("snapshot file");
            if kept.is_empty() && scene.file().exists() { Ok(()) } else { Err(kept) }
        })
        .await;
        let first = scene.kept(b"").await;
        scene.admin(Method::PATCH, "/api/channels/2", json!({"weight": 7})).await.expect(200);
        let bytes = scene.kept(&first).await;
        for secret in [UPSTREAM_KEY, &scene.token, ADMIN] {
            assert_eq!(memchr::memmem::find(&bytes, secret.as_bytes()), None, "{secret}");
        }
        for file in [scene.file(), scene.journal()] {
            let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
        // Closed, and killed before the file can have it: the journal has.
        assert_eq!(scene.close(2).await.json()["kept"], Value::Null);
        scene.kill();
        scene.server.kill9();

        for _ in 0..2 {
            scene.start().await;
            scene.ready().await;
            let snapshot = scene.snapshot().await;
            let metrics = Answer::to(scene.client.get(format!("{}/metrics", scene.node().url()))).await.text();
            assert!(metrics.contains("\npointsman_snapshot_from_file 1\n"), "{metrics}");
            assert_eq!((&snapshot["from_file"], snapshot["kept_at"].is_string()), (&json!(true), true), "{snapshot}");
            scene.chat("first").await.expect(200);
            let refused = scene.chat("second").await.expect(503);
            assert_eq!(refused.code().as_deref(), Some("routing_unavailable"), "closed, and the database cannot be asked");
            assert_eq!(scene.chat("third").await.expect(503).code().as_deref(), Some("routing_unavailable"));
            assert!(scene.upstreams[1].received().is_empty());
            scene.kill();
        }
        scene.start().await;
        scene.server.start_again().await;
        eventually(SOON, async || match scene.snapshot().await {
            snapshot if snapshot["from_file"] == json!(false) => Ok(()),
            snapshot => Err(snapshot),
        })
        .await;
        let refused = scene.chat("second").await.expect(503);
        assert_eq!(refused.code().as_deref(), Some("no_available_channel"), "now the database says so");
        scene.admin(Method::PUT, "/api/channels/2/status", json!({"status": "enabled"})).await.expect(200);
        scene.chat("second").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_closing_that_is_not_on_disk_is_told_so() {
    let scene = Scene::new(Kind::Postgres).await;
    scene.kept(b"").await;
    // Whatever else writes it, in the end a folder stands in its place.
    eventually(SOON, async || {
        let _ = std::fs::remove_file(scene.journal());
        std::fs::create_dir(scene.journal())
    })
    .await;
    assert_eq!(scene.close(2).await.json()["kept"], json!(false));
    std::fs::remove_dir(scene.journal()).expect("an empty folder");
    assert_eq!(scene.close(1).await.json()["kept"], Value::Null);
    scene.chat("first").await.expect(503);
    let kept = std::fs::read_to_string(scene.journal()).expect("a journal");
    assert!(kept.contains(r#"{"channel":1}"#), "{kept}");
}

/// It may be reachable, and unusable all the same: a node that serves goes on, and takes its truth once it is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_r12_a_node_that_serves_from_its_file_outlives_an_unusable_database() {
    let mut scene = Scene::new(Kind::Postgres).await;
    scene.kept(b"").await;
    scene.kill();
    let name = scene
        .setup
        .database_url
        .rsplit('/')
        .next()
        .expect("a name")
        .to_owned();
    let rename = async |scene: &Scene, from: &str, to: &str| {
        let server = sea_orm::Database::connect(scene.server.url())
            .await
            .expect("the server");
        let renamed = format!("ALTER DATABASE {from} RENAME TO {to}");
        server
            .execute_unprepared(&renamed)
            .await
            .expect("nobody is connected");
    };
    // Whoever was connected is no longer.
    scene.server.kill9();
    scene.server.start_again().await;
    rename(&scene, &name, "elsewhere").await;
    scene.server.kill9();
    scene.start().await;
    scene.ready().await;
    assert_eq!(scene.snapshot().await["from_file"], json!(true));
    scene.server.start_again().await;
    // 3D000: there is no such database.
    eventually(SOON, async || scene.node().log().first_with("3D000")).await;
    scene.chat("first").await.expect(200);
    rename(&scene, "elsewhere", &name).await;
    eventually(SOON, async || match scene.snapshot().await {
        snapshot if snapshot["from_file"] == json!(false) => Ok(()),
        snapshot => Err(snapshot),
    })
    .await;
    scene.chat("first").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_damaged_file_is_a_warning() {
    let mut scene = Scene::new(Kind::Postgres).await;
    let mut bytes = scene.kept(b"").await;
    scene.kill();
    scene.server.kill9();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(scene.file(), bytes).expect("a file");
    scene.start().await;
    eventually(SOON, async || {
        scene.node().log().first_with("the snapshot file is not used")
    })
    .await;
    let url = format!("{}/readyz", scene.node().url());
    Answer::to(scene.client.get(url)).await.expect(503);
    scene.server.start_again().await;
    scene.ready().await;
    scene.chat("first").await.expect(200);
}
