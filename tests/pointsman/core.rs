//! The actors and their database, without the server round them: for rules that are about picks.

use crate::databases;
use pointsman::actors::{Routing, RoutingOptions};
use pointsman::protocol::providers;
use pointsman::routing::closings::Closing;
use pointsman::routing::ids::{ChannelId, GroupName, KeyId, Protocol};
use pointsman::routing::pick::{CoolingRule, Question};
use pointsman::routing::rows::{ProviderTraits, Secret};
use pointsman::routing::snapshot::Snapshot;
use pointsman::routing::tried::Tried;
use pointsman::store::change_status::{Change, OperatorStatus, set_channel};
use pointsman::store::channels::{self, NewChannel};
use pointsman::store::connect::{Database, Options};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;

/// A provider whose every look-up panics: so that builds can be made to.
pub const PANICS: &str = "panics";

/// Running actors.
pub struct Core {
    pub routing: Routing,
    pub database: Database,
    system: Option<(actix::System, JoinHandle<()>)>,
}

/// What a test may want otherwise.
pub struct Tuning {
    /// Never by itself, so that tests see only the rebuilds that they cause.
    pub sync_interval: Duration,
    pub build_deadline: Duration,
    pub lookup_connections: u32,
    pub lookup_deadline: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            sync_interval: Duration::from_secs(3600),
            build_deadline: Duration::from_secs(30),
            lookup_connections: 4,
            lookup_deadline: Duration::from_secs(10),
        }
    }
}

impl Core {
    pub async fn start(on: &databases::Database) -> Core {
        Core::tuned(on.url(), Tuning::default()).await
    }

    pub async fn tuned(url: &str, tuning: Tuning) -> Core {
        let runtime = Handle::current();
        let options = Options {
            lookup_connections: tuning.lookup_connections,
            lookup_deadline: tuning.lookup_deadline,
            ..Options::new(traits, runtime.clone())
        };
        let database = Database::open(url, options).await.expect("the database opens");
        let options = RoutingOptions {
            database: database.clone(),
            runtime,
            sync_interval: tuning.sync_interval,
            build_deadline: tuning.build_deadline,
            lookup_connections: tuning.lookup_connections as usize,
            snapshot_file: None,
            beginning: None,
        };
        let (started, starting) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let system = actix::System::new();
            let routing = system.block_on(async { Routing::start(options) });
            started
                .send((routing, actix::System::current()))
                .expect("the test waits");
            system.run().expect("the system ends well");
        });
        let (routing, system) = starting.recv().expect("the actors start");
        let core = Core {
            routing,
            database,
            system: Some((system, thread)),
        };
        core.rebuild().await;
        core
    }

    /// An open channel for `groups` and `models`, in the snapshot when this returns.
    pub async fn channel(&self, name: &str, groups: &[&str], models: &[&str]) -> ChannelId {
        self.create(NewChannel {
            keys: vec![Secret::new(&format!("sk-{name}"))],
            groups: groups.iter().map(|name| (*name).into()).collect(),
            models: models.iter().map(|name| (*name).into()).collect(),
            ..NewChannel::new(name, "openai")
        })
        .await
    }

    pub async fn create(&self, new: NewChannel) -> ChannelId {
        let database = self.database.clone();
        let write = async move { channels::create(&database, new).await };
        self.routing
            .changes()
            .run(write)
            .await
            .expect("the channel is created")
            .value
    }

    pub async fn set(&self, channel: ChannelId, to: OperatorStatus) {
        let database = self.database.clone();
        let change = Change::ByOperator { to, reason: None };
        let write = async move {
            set_channel(&database, channel, change)
                .await
                .map(|receipt| ((), receipt))
        };
        self.routing
            .changes()
            .run(write)
            .await
            .expect("the status is changed");
    }

    pub async fn rebuild(&self) {
        use pointsman::routing::rebuilds::{Scope, Urgency};
        self.routing
            .rebuild(Scope::Everything, Urgency::Admin)
            .await
            .expect("a rebuild works");
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.routing.snapshot()
    }

    /// The channel that a pick gets, or the refusal's name.
    pub async fn pick(&self, groups: &[&str], model: &str) -> Result<ChannelId, &'static str> {
        pick(&self.routing, groups, model).await
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some((system, thread)) = self.system.take() {
            system.stop();
            let _ = thread.join();
        }
    }
}

pub async fn pick(routing: &Routing, groups: &[&str], model: &str) -> Result<ChannelId, &'static str> {
    match routing.pick(question(groups, model), None).await {
        Ok(lease) => Ok(lease.channel().id),
        Err(refusal) => Err(refusal.code()),
    }
}

pub fn question(groups: &[&str], model: &str) -> Question {
    Question {
        groups: groups.iter().map(|name| GroupName::new(name)).collect(),
        model: model.into(),
        protocol: Protocol::OpenAi,
        tried: Tried::default(),
        affinity: None,
        state: None,
        cooling: CoolingRule::PassOver,
    }
}

/// A closing as a commit's receipt would bear it.
pub fn closing_of(core: &Core, channel: ChannelId, key: Option<KeyId>) -> Closing {
    use pointsman::routing::closings::Closed;
    let closed = key.map_or(Closed::Channel(channel), |key| Closed::Key { channel, key });
    Closing {
        closed,
        at: core.database.moments().draw(),
    }
}

fn traits(name: &str) -> Option<ProviderTraits> {
    assert!(name != PANICS, "ordered by the test");
    let provider = providers::provider(name)?;
    let protocols = Protocol::ALL.into_iter().filter(|protocol| {
        let same = match protocol {
            Protocol::OpenAi => pointsman::protocol::Protocol::OpenAi,
            Protocol::Anthropic => pointsman::protocol::Protocol::Anthropic,
            Protocol::Gemini => pointsman::protocol::Protocol::Gemini,
        };
        provider.speaks(same)
    });
    Some(ProviderTraits {
        protocols: protocols.collect(),
        needs_key: provider.needs_key,
    })
}
