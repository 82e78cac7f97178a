//! What a test stands on: a running Pointsman, its database, its practice upstreams.
//!
//! ```ignore
//! let stage = Stage::new(kind).channel("a", fails(500)).channel("b", works()).await;
//! assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(stage.id("b")));
//! ```
//!
//! Each stage has everything of its own, so tests run beside each other. All of it ends when it is dropped.

use crate::answer::Answer;
use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::logs::Lines;
use crate::node::{Node, Setup};
use crate::proxy::DatabaseProxy;
use crate::upstream::{Channel, Upstream};
use reqwest::{Method, RequestBuilder};
use sea_orm::TryGetable;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Once;
use std::time::Duration;
use tempfile::TempDir;

/// How long a node may take from listening to its first snapshot.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// No answer that a test waits for takes longer; a hanging one fails the test instead of the run.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What the stage will be; `.await` sets it up.
pub struct StageBuilder {
    kind: Kind,
    database: Option<Database>,
    proxied: bool,
    channels: Vec<(String, Channel)>,
    token: Value,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl StageBuilder {
    /// A channel with this name and an upstream of its own, made by the admin REST in this order.
    pub fn channel(mut self, name: &str, channel: Channel) -> Self {
        self.channels.push((name.to_owned(), channel));
        self
    }

    /// Fields of `POST /api/tokens` for the client's token, over `{"groups": ["default"]}`.
    pub fn token(mut self, fields: Value) -> Self {
        let Value::Object(fields) = fields else {
            panic!("a token's fields are an object")
        };
        self.token.as_object_mut().expect("an object").extend(fields);
        self
    }

    /// A flag of `pointsman serve` with its value, say `("--sync-interval", "3600")`.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// An environment variable, say `("RUST_LOG", "trace")`. None of the test's own `POINTSMAN_*` are passed on.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// This database instead of a fresh one, say one on a `PrivateServer`.
    pub fn database(mut self, database: Database) -> Self {
        self.kind = database.kind();
        self.database = Some(database);
        self
    }

    /// The node reaches its database by a `DatabaseProxy`; the test itself goes straight. Server databases only.
    pub fn behind_proxy(mut self) -> Self {
        self.proxied = true;
        self
    }

    async fn build(self) -> Stage {
        let database = match self.database {
            Some(database) => database,
            None => Database::fresh(self.kind).await,
        };
        let proxy = match self.proxied {
            true => Some(DatabaseProxy::before(database.server_address()).await),
            false => None,
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = Setup {
            database_url: match &proxy {
                Some(proxy) => database.url_by_way_of(proxy.address()),
                None => database.url().to_owned(),
            },
            admin_token: format!("admin-{:032x}", rand::random::<u128>()),
            flags: self.flags,
            variables: self.variables,
            folder: folder.path().to_owned(),
        };
        let node = Node::start(&setup).await;
        let mut stage = Stage {
            node,
            client: client(),
            token: String::new(),
            ids: HashMap::new(),
            upstreams: HashMap::new(),
            setup,
            proxy,
            database,
            _folder: folder,
        };
        stage.ready().await;
        for (name, channel) in self.channels {
            stage.add_channel(&name, channel).await;
        }
        stage.token = stage.new_token(self.token).await;
        stage
    }
}

impl IntoFuture for StageBuilder {
    type Output = Stage;
    type IntoFuture = Pin<Box<dyn Future<Output = Stage>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.build())
    }
}

/// One node with its surroundings. Fields end in this order: the node before its database.
pub struct Stage {
    node: Node,
    client: reqwest::Client,
    token: String,
    ids: HashMap<String, i64>,
    upstreams: HashMap<String, Upstream>,
    setup: Setup,
    proxy: Option<DatabaseProxy>,
    database: Database,
    _folder: TempDir,
}

impl Stage {
    #[expect(clippy::new_ret_no_self, reason = "reads as the stage that it becomes")]
    pub fn new(kind: Kind) -> StageBuilder {
        StageBuilder {
            kind,
            database: None,
            proxied: false,
            channels: Vec::new(),
            token: json!({"name": "client", "groups": ["default"]}),
            flags: Vec::new(),
            variables: Vec::new(),
        }
    }

    // ---- as a client ----

    /// One client for the whole stage, so connections are reused; it follows no redirect.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The client's token, which `relay` and `chat` send.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The node's origin, without a slash at the end; another one after `restart`.
    pub fn url(&self) -> &str {
        self.node.url()
    }

    /// A request to any path without any token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.node.url()))
    }

    /// A POST to a relay route with the client's token as bearer.
    pub async fn relay(&self, path: &str, body: Value) -> Answer {
        Answer::to(with_json(
            self.request(Method::POST, path).bearer_auth(&self.token),
            &body,
        ))
        .await
    }

    /// A plain chat completion.
    pub async fn chat(&self, model: &str) -> Answer {
        self.relay("/v1/chat/completions", chat_body(model)).await
    }

    /// A chat completion as stream, read to its end.
    pub async fn chat_stream(&self, model: &str) -> Answer {
        let mut body = chat_body(model);
        body["stream"] = json!(true);
        self.relay("/v1/chat/completions", body).await
    }

    // ---- as the operator ----

    pub fn admin_token(&self) -> &str {
        &self.setup.admin_token
    }

    /// One admin call: its status and its body (`null` if that is no JSON). `Value::Null` sends none.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let answer = self.admin_answer(method, path, body).await;
        (answer.status, answer.json())
    }

    /// The same with headers.
    pub async fn admin_answer(&self, method: Method, path: &str, body: Value) -> Answer {
        let mut request = self.request(method, path).bearer_auth(&self.setup.admin_token);
        if !body.is_null() {
            request = with_json(request, &body);
        }
        Answer::to(request).await
    }

    /// Makes a channel with an upstream of its own. Panics unless the answer is 201.
    pub async fn add_channel(&mut self, name: &str, channel: Channel) -> i64 {
        let upstream = Upstream::start();
        let body = channel.body(name, &channel.base_url(&upstream.url()));
        let made = self
            .admin_answer(Method::POST, "/api/channels", body)
            .await
            .expect(201)
            .json();
        let id = made["id"].as_i64().unwrap_or_else(|| panic!("no id in {made}"));
        self.ids.insert(name.to_owned(), id);
        self.upstreams.insert(name.to_owned(), upstream);
        id
    }

    /// A channel's id by its name.
    #[track_caller]
    pub fn id(&self, channel: &str) -> i64 {
        *self
            .ids
            .get(channel)
            .unwrap_or_else(|| panic!("no channel {channel} on this stage"))
    }

    /// The upstream of a channel, with its log.
    #[track_caller]
    pub fn upstream(&self, channel: &str) -> &Upstream {
        self.upstreams
            .get(channel)
            .unwrap_or_else(|| panic!("no channel {channel} on this stage"))
    }

    /// `PUT …/status`; panics unless the answer is 200.
    pub async fn set_status(&self, channel: &str, status: &str) -> Value {
        let path = format!("/api/channels/{}/status", self.id(channel));
        self.admin_answer(Method::PUT, &path, json!({"status": status}))
            .await
            .expect(200)
            .json()
    }

    /// Another client token, by the fields of `POST /api/tokens`.
    pub async fn new_token(&self, fields: Value) -> String {
        let made = self
            .admin_answer(Method::POST, "/api/tokens", fields)
            .await
            .expect(201)
            .json();
        made["key"].as_str().expect("the new token's key").to_owned()
    }

    /// `POST /api/routing/rebuild`; panics unless the answer is 200.
    pub async fn rebuild(&self) -> Value {
        self.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null)
            .await
            .expect(200)
            .json()
    }

    /// `GET /api/routing`.
    pub async fn routing(&self) -> Value {
        self.admin_answer(Method::GET, "/api/routing", Value::Null)
            .await
            .expect(200)
            .json()
    }

    /// The same, to stop it.
    #[track_caller]
    pub fn upstream_mut(&mut self, channel: &str) -> &mut Upstream {
        self.upstreams
            .get_mut(channel)
            .unwrap_or_else(|| panic!("no channel {channel} on this stage"))
    }

    // ---- behind its back ----

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// See `Database::sql`.
    pub async fn sql(&self, sql: &str) -> u64 {
        self.database.sql(sql).await
    }

    /// See `Database::query`.
    pub async fn query<T: TryGetable>(&self, sql: &str) -> Vec<T> {
        self.database.query(sql).await
    }

    /// The proxy of a stage built `behind_proxy`.
    #[track_caller]
    pub fn proxy(&self) -> &DatabaseProxy {
        self.proxy.as_ref().expect("a stage built behind_proxy()")
    }

    // ---- the process ----

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What the node logged.
    pub fn log(&self) -> &Lines {
        self.node.log()
    }

    pub fn kill9(&self) {
        self.node.kill9();
    }

    pub fn sigstop(&self) {
        self.node.sigstop();
    }

    pub fn sigcont(&self) {
        self.node.sigcont();
    }

    pub fn sigterm(&self) {
        self.node.sigterm();
    }

    /// Waits for the node's end.
    pub async fn exit_status(&self, within: Duration) -> ExitStatus {
        self.node.exit_status(within).await
    }

    /// Kills the node if it still runs, and starts it again on the same database. Its port, and with it `url`,
    /// is another one.
    pub async fn restart(&mut self) {
        self.node.kill9();
        self.node = Node::start(&self.setup).await;
        self.ready().await;
    }

    /// A second node on the same database.
    pub async fn another_node(&self) -> Node {
        let node = Node::start(&self.setup).await;
        ready(&self.client, &node).await;
        node
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&self) {
        ready(&self.client, &self.node).await;
    }
}

/// The body of a small chat.
pub fn chat_body(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}]})
}

/// A request with a JSON body.
pub fn with_json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(body.to_string())
}

async fn ready(client: &reqwest::Client, node: &Node) {
    eventually(READY_WITHIN, async || {
        match Answer::try_to(client.get(format!("{}/readyz", node.url()))).await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{answer:?}; log: {:#?}", node.log().all())),
            Err(error) => Err(format!("{error:?}; log: {:#?}", node.log().all())),
        }
    })
    .await;
}

/// A client that talks straight to the node, whatever proxy the machine's environment names.
fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails only if another test of this process came first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_WITHIN)
        .build()
        .expect("an HTTP client")
}
