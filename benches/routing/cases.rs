//! The picks that are measured, by name. `routing` times them, `routing_instructions` and `routing_memory` count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::closings::Closings;
use pointsman::routing::health::{Health, LeaseId};
use pointsman::routing::ids::{ChannelId, GroupName, KeyId, Protocol};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::pick::{Bars, CoolingRule, Picked, Question, Shortage, Turns, pick};
use pointsman::routing::snapshot::Snapshot;
use pointsman::routing::tried::Tried;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::house::{GROUP, House};

/// More models than a core's own cache has room for the routes of.
const RANDOM_QUESTIONS: usize = 16_384;

/// A case's name, and how it is set up.
pub type Named = (&'static str, fn() -> Case);

pub const CASES: [Named; 15] = [
    ("hot key, thousand abilities", || Case::hot(House::THOUSAND)),
    ("hot key, 100 thousand", || Case::hot(House::HUNDRED_THOUSAND)),
    ("hot key, million", || Case::hot(House::MILLION)),
    ("random keys, thousand", || Case::random(House::THOUSAND)),
    ("random keys, 100 thousand", || {
        Case::random(House::HUNDRED_THOUSAND)
    }),
    ("random keys, million", || Case::random(House::MILLION)),
    ("random keys, million in wide routes", || {
        Case::random(House::MILLION_IN_WIDE_ROUTES)
    }),
    ("second try, million", || Case::random(House::MILLION).tries(1)),
    ("third try, million", || Case::random(House::MILLION).tries(2)),
    ("5 of 20 cool", || Case::hot(House::THOUSAND).cools(5)),
    ("19 of 20 cool", || Case::hot(House::THOUSAND).cools(19)),
    ("affinity over 10", || {
        Case::hot(House::of_one_route(10)).keeps_to_conversations()
    }),
    ("affinity over 20, million", || {
        Case::random(House::MILLION).keeps_to_conversations()
    }),
    ("affinity over 100", || {
        Case::hot(House::of_one_route(100)).keeps_to_conversations()
    }),
    ("affinity over 1000", || {
        Case::hot(House::of_one_route(1_000)).keeps_to_conversations()
    }),
];

/// A snapshot, what stands between it and a pick, and the questions that are asked of it in turn.
pub struct Case {
    snapshot: Arc<Snapshot>,
    closings: Closings,
    health: Health,
    questions: Vec<Question>,
    asked: usize,
    now: Instant,
    rng: SmallRng,
}

impl Case {
    /// One and the same model.
    pub fn hot(house: House) -> Case {
        Case::asking(Arc::new(house.snapshot()), [0])
    }

    /// Another model each time.
    pub fn random(house: House) -> Case {
        Case::random_of(Arc::new(house.snapshot()), house)
    }

    /// The same, from a snapshot of that house which is there already.
    pub fn random_of(snapshot: Arc<Snapshot>, house: House) -> Case {
        let mut rng = SmallRng::seed_from_u64(7);
        let models: Vec<usize> = (0..RANDOM_QUESTIONS)
            .map(|_| rng.random_range(0..house.models))
            .collect();
        Case::asking(snapshot, models)
    }

    fn asking(snapshot: Arc<Snapshot>, models: impl IntoIterator<Item = usize>) -> Case {
        let mut questions: Vec<Question> = models.into_iter().map(question).collect();
        // As those of one token do.
        let groups = Arc::clone(&questions[0].groups);
        for question in &mut questions {
            question.groups = Arc::clone(&groups);
        }
        Case {
            snapshot,
            closings: Closings::default(),
            health: Health::new(Duration::from_secs(60)),
            questions,
            asked: 0,
            now: Instant::now(),
            rng: SmallRng::seed_from_u64(1),
        }
    }

    /// So many channels of each route have been tried already.
    fn tries(mut self, tried: usize) -> Case {
        for question in &mut self.questions {
            let channels = self.snapshot.open_channels(GROUP, question.model.as_str());
            let mut channels: Vec<ChannelId> = channels.into_iter().collect();
            channels.sort_unstable();
            for channel in channels.into_iter().take(tried) {
                question.tried.channel(channel);
            }
        }
        self
    }

    /// So many channels cool by their provider's own word, for the first question's model.
    fn cools(mut self, channels: i64) -> Case {
        let busy = Outcome::Busy {
            status: 429,
            retry_after: Some(Duration::from_secs(300)),
        };
        let model = self.questions[0].model.clone();
        for id in 1..=channels {
            let lease = LeaseId(id as u64);
            let (channel, key) = (ChannelId(id), Some(KeyId(id)));
            self.health.granted(lease, channel, key, &model, self.now);
            self.health.report(lease, &busy, self.now, &mut self.rng);
        }
        self
    }

    /// Each question belongs to a conversation, another one each time round.
    fn keeps_to_conversations(mut self) -> Case {
        for question in &mut self.questions {
            question.affinity = Some(self.rng.random());
        }
        self
    }

    /// The next pick.
    pub fn pick(&mut self) -> Result<Picked, Shortage> {
        self.asked = if self.asked + 1 < self.questions.len() {
            self.asked + 1
        } else {
            0
        };
        let question = &mut self.questions[self.asked];
        if let Some(conversation) = &mut question.affinity {
            *conversation = conversation.wrapping_add(1);
        }
        let bars = Bars {
            closings: &self.closings,
            health: &self.health,
            now: self.now,
            read: None,
            home: None,
        };
        pick(&self.snapshot, question, &bars, &mut NoTurns, &mut self.rng)
    }
}

/// What a client that speaks OpenAI's protocol asks for one model of a house.
pub fn question(model: usize) -> Question {
    Question {
        groups: [GroupName::new(GROUP)].into(),
        model: House::model(model).as_str().into(),
        protocol: Protocol::OpenAi,
        tried: Tried::default(),
        affinity: None,
        state: None,
        cooling: CoolingRule::PassOver,
    }
}

/// No key takes turns here.
struct NoTurns;

impl Turns for NoTurns {
    fn next(&mut self, _: ChannelId) -> usize {
        0
    }
}
