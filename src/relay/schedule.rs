//! What the relay has closed by itself is tested again, and reopened when it works. What an operator has disabled
//! is never asked; and a change that comes while a test is under way goes before what the test says (R9).

use std::time::Duration;

use futures::StreamExt;
use log::{debug, info};
use rand::{Rng, RngExt};
use rustc_hash::FxHashMap;
use tokio::time::{Instant, sleep};

use super::channel_test::{ChannelTests, Order};
use crate::actors::Routing;
use crate::actors::upkeep::{Judged, Written};
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{ChannelRows, Status};

/// Tests of the schedule at once: operators' own need not wait behind them.
const AT_ONCE: usize = 4;
/// How often it is looked for what is closed, as a part of the interval.
const LOOKS: u32 = 20;
const LOOK_SOONEST: Duration = Duration::from_millis(50);
const LOOK_LATEST: Duration = Duration::from_secs(15);
/// Nodes that began together do not test together.
const JITTER: f64 = 0.1;
/// A key is not to stay closed for want of one model.
const MODELS: usize = 3;

/// Tests what is closed, each every `interval`, the first time an interval after it was first seen closed. Never
/// ends; futures of it are local, as all upstream connections are.
pub async fn run(routing: Routing, tests: ChannelTests, interval: Duration) {
    let look_every = (interval / LOOKS).clamp(LOOK_SOONEST, LOOK_LATEST);
    let mut dues = Dues::default();
    loop {
        sleep(look_every).await;
        let closed = match routing.auto_disabled().await {
            Ok(closed) => closed,
            Err(error) => {
                debug!(error:%; "it is not known what waits for a test");
                continue;
            }
        };
        let due = dues.due(&closed, interval, Instant::now(), &mut rand::rng());
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |judged| again(&routing, &tests, judged))
            .await;
    }
}

/// When what is closed is tested next.
#[derive(Debug, Default)]
struct Dues(FxHashMap<(ChannelId, Option<KeyId>), Due>);

#[derive(Debug)]
struct Due {
    /// Since when it is closed: closed anew, it waits anew.
    since: i64,
    at: Instant,
}

impl Dues {
    fn due(
        &mut self,
        closed: &[Judged],
        interval: Duration,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Vec<Judged> {
        let mut known = std::mem::take(&mut self.0);
        let mut due = Vec::new();
        for judged in closed {
            let target = (judged.channel, judged.key);
            let since = judged.seen.status_changed_at;
            let next = match known.remove(&target).filter(|due| due.since == since) {
                Some(waiting) if waiting.at > now => waiting.at,
                known => {
                    due.extend(known.map(|_| *judged));
                    now + interval.mul_f64(1.0 + rng.random_range(0.0..=JITTER))
                }
            };
            self.0.insert(target, Due { since, at: next });
        }
        due
    }
}

async fn again(routing: &Routing, tests: &ChannelTests, judged: Judged) {
    let (channel, key) = (judged.channel, judged.key.map(|key| key.0));
    let rows = match routing.channel_rows(channel).await {
        Ok(Some(rows)) if is_as_seen(&rows, &judged) => rows,
        _ => return,
    };
    if !works(tests, &rows, judged.key).await {
        return;
    }
    match routing.reopen(judged).await {
        Written::Done => info!(channel:%, key; "reopened: it works again"),
        Written::Moot => debug!(channel:%, key; "works again, but changed meanwhile"),
        Written::NotNow(error) => info!(channel:%, key, error; "works again, but is not open yet"),
    }
}

fn is_as_seen(rows: &ChannelRows, judged: &Judged) -> bool {
    let (status, since) = match judged.key {
        None => (&rows.channel.status, rows.channel.status_changed_at),
        Some(id) => match rows.keys.iter().find(|key| key.id == id) {
            Some(key) if matches!(rows.channel.status, Ok(Status::Enabled | Status::AutoDisabled)) => {
                (&key.status, key.status_changed_at)
            }
            _ => return false,
        },
    };
    *status == Ok(judged.seen.status) && since == judged.seen.status_changed_at
}

/// Asks for the channel's test model or its first; where the upstream lacks that one, for the next.
async fn works(tests: &ChannelTests, rows: &ChannelRows, key: Option<KeyId>) -> bool {
    let set = rows
        .channel
        .spec
        .as_ref()
        .ok()
        .and_then(|spec| spec.test_model.clone());
    let others = rows.models.iter().map(|model| model.as_str().to_owned());
    let models = set.into_iter().chain(others).take(MODELS);
    for model in models {
        let order = Order {
            model: Some(model),
            key,
            ..Order::default()
        };
        let Ok(verdict) = tests.judge(rows, &order).await else {
            return false;
        };
        if verdict.ok {
            return true;
        }
        let code = verdict.error.map_or("", |error| error.code);
        debug!(channel:% = rows.channel.id, key = key.map(|key| key.0), code; "stays closed");
        if code != "not_here" {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::upkeep::Seen;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn each_is_due_an_interval_after_it_was_closed_and_every_interval_then() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let (begin, minute) = (Instant::now(), Duration::from_secs(60));
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let closed = |key: i64, since: i64| Judged {
            channel: ChannelId(1),
            key: Some(KeyId(key)),
            seen: Seen {
                status: Status::AutoDisabled,
                status_changed_at: since,
            },
        };
        let mut dues = Dues::default();
        let one = [closed(1, 5)];
        assert_eq!(dues.due(&one, minute, at(0), rng), []);
        assert_eq!(dues.due(&one, minute, at(59), rng), []);
        assert_eq!(dues.due(&one, minute, at(67), rng), one);
        assert_eq!(dues.due(&one, minute, at(120), rng), []);
        let two = [closed(1, 5), closed(2, 9)];
        assert_eq!(dues.due(&two, minute, at(134), rng), one);
        let anew = [closed(1, 130), closed(2, 9)];
        assert_eq!(dues.due(&anew, minute, at(140), rng), []);
        assert_eq!(dues.due(&[], minute, at(150), rng), []);
        assert_eq!(
            dues.due(&two, minute, at(300), rng),
            [],
            "what was open waits anew"
        );
    }
}
