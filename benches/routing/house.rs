//! How large a house is routed for: so many channels that serve so many models each, all in one group.

use std::sync::Arc;

use pointsman::routing::build::Draft;
use pointsman::routing::ids::{ChannelId, Generation, KeyId, Moment, Protocol};
use pointsman::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ProviderTraits, Secret, Settings, Status,
};
use pointsman::routing::snapshot::Snapshot;

pub const GROUP: &str = "default";

/// Channels of one priority and weight, each open and with one key.
#[derive(Clone, Copy, Debug)]
pub struct House {
    pub channels: usize,
    /// How many models each channel serves.
    pub models_each: usize,
    /// How many models there are: each channel serves the next few of them, round and round.
    pub models: usize,
}

impl House {
    /// A thousand abilities, 20 channels a route.
    pub const THOUSAND: House = House::new(20, 50, 50);
    /// Twenty channels a route, like the others.
    pub const HUNDRED_THOUSAND: House = House::new(400, 250, 5_000);
    /// Twenty channels a route: 50,000 routes, so that a random one is in no cache.
    pub const MILLION: House = House::new(2_000, 500, 50_000);
    /// As many abilities in 500 routes of all 2,000 channels.
    pub const MILLION_IN_WIDE_ROUTES: House = House::new(2_000, 500, 500);

    const fn new(channels: usize, models_each: usize, models: usize) -> House {
        House {
            channels,
            models_each,
            models,
        }
    }

    /// One route of so many channels.
    pub const fn of_one_route(channels: usize) -> House {
        House::new(channels, 1, 1)
    }

    pub fn abilities(&self) -> usize {
        self.channels * self.models_each
    }

    pub fn model(number: usize) -> String {
        format!("vendor/model-{number}")
    }

    /// The rows of the house, made beforehand, so that none of this is in what is measured.
    pub fn rows(self) -> Rows {
        Rows {
            house: self,
            models: (0..self.models).map(House::model).collect(),
            specs: (1..=self.channels as i64).map(|id| Arc::new(spec(id))).collect(),
        }
    }

    pub fn snapshot(self) -> Snapshot {
        self.rows().snapshot()
    }
}

/// What the database would tell of a [`House`].
pub struct Rows {
    house: House,
    models: Vec<String>,
    specs: Vec<Arc<ChannelSpec>>,
}

impl Rows {
    /// Everything, not yet a snapshot.
    pub fn draft(&self) -> Draft {
        let mut draft = Draft::default();
        (0..self.house.channels).for_each(|number| self.tell_channel(&mut draft, number));
        (0..self.house.channels).for_each(|number| self.tell_abilities(&mut draft, number));
        draft
    }

    pub fn snapshot(&self) -> Snapshot {
        self.draft()
            .snapshot(&Snapshot::default(), Generation(1), Moment(1))
    }

    /// `base` with one channel read anew.
    pub fn patched(&self, base: &Snapshot, number: usize) -> Snapshot {
        let mut draft = Draft::default();
        self.tell_channel(&mut draft, number);
        self.tell_abilities(&mut draft, number);
        draft.patch(base, [channel_id(number)], Generation(2), Moment(2))
    }

    fn tell_channel(&self, draft: &mut Draft, number: usize) {
        let id = channel_id(number);
        draft.channel(ChannelRow {
            id,
            status: Ok(Status::Enabled),
            status_changed_at: 0,
            status_reason: None,
            spec: Ok(Arc::clone(&self.specs[number])),
        });
        draft.key(KeyRow {
            id: KeyId(id.0),
            channel: id,
            status: Ok(Status::Enabled),
            status_changed_at: 0,
            key: Ok(KeySpec {
                secret: Secret::new("sk-of-no-account-at-all"),
                hint: "-all".into(),
            }),
        });
    }

    fn tell_abilities(&self, draft: &mut Draft, number: usize) {
        let first = number * self.house.models_each;
        for place in first..first + self.house.models_each {
            draft.ability(AbilityRow {
                group: GROUP,
                model: &self.models[place % self.house.models],
                channel: channel_id(number),
                enabled: Ok(true),
                held: Ok(false),
                priority: Ok(None),
                weight: Ok(None),
            });
        }
    }
}

fn channel_id(number: usize) -> ChannelId {
    ChannelId(number as i64 + 1)
}

fn spec(id: i64) -> ChannelSpec {
    ChannelSpec {
        name: format!("channel {id}"),
        provider: "openai".to_owned(),
        traits: ProviderTraits {
            protocols: [Protocol::OpenAi].into_iter().collect(),
            needs_key: true,
        },
        base_url: None,
        priority: 0,
        weight: 1,
        tag: None,
        key_mode: KeyMode::Random,
        model_mapping: Default::default(),
        header_override: Default::default(),
        param_override: Default::default(),
        settings: Settings::default(),
        test_model: None,
        auto_disable: true,
    }
}
