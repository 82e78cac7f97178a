//! What is not well, as `GET /api/routing` shows it.

use std::time::Instant;

use serde::Serialize;

use super::unwell::{Part, Unwell};
use crate::routing::ids::{ChannelId, KeyId, ModelName};

/// One part of a channel that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthView {
    pub channel: ChannelId,
    pub part: HealthPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    pub state: HealthState,
    /// What remains until it may be chosen again; 0 where nothing keeps it.
    pub cooling_ms: u64,
    /// Failures in a row.
    pub streak: u32,
    /// From grant to first real event, all of the channel: a moving average since something is not well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Attempts in flight, all of the channel.
    pub in_flight: u32,
}

/// What of a channel is not well. `key` and `model` say which; a channel without keys has no `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthPart {
    /// For every key and model.
    Connections,
    /// For every model.
    Key,
    /// For every key.
    Model,
    KeyForModel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It fails now and then, and is chosen as if it were well.
    Watched,
    /// By our guess.
    Cooling,
    /// By its provider's own word.
    Barred,
    /// Its cooling is over and the next request probes it.
    HalfOpen,
    /// One request is finding out.
    Probing,
}

impl HealthView {
    pub(super) fn place(&self) -> (ChannelId, HealthPart, Option<KeyId>, Option<&ModelName>) {
        (self.channel, self.part, self.key, self.model.as_ref())
    }
}

pub(super) fn of(channel: ChannelId, unwell: &Unwell, in_flight: u32, now: Instant) -> Vec<HealthView> {
    unwell
        .marks
        .iter()
        .map(|(part, mark)| {
            let (due, bar) = (mark.due(now), mark.bar(now));
            let state = match (bar, due) {
                (Some(_), _) => HealthState::Barred,
                (None, None) => HealthState::Watched,
                (None, Some(_)) if unwell.is_probed(part, now) => HealthState::Probing,
                (None, Some(due)) if due > now => HealthState::Cooling,
                (None, Some(_)) => HealthState::HalfOpen,
            };
            let until = due.max(bar.map(|bar| bar.until));
            let (name, key, model) = match part {
                Part::Whole => (HealthPart::Connections, None, None),
                Part::Key(key) => (HealthPart::Key, *key, None),
                Part::Model(model) => (HealthPart::Model, None, Some(model.clone())),
                Part::KeyForModel(key, model) => (HealthPart::KeyForModel, *key, Some(model.clone())),
            };
            HealthView {
                channel,
                part: name,
                key,
                model,
                state,
                cooling_ms: until.map_or(0, |until| millis(until.saturating_duration_since(now))),
                streak: mark.streak(),
                latency_ms: unwell.latency.map(millis),
                in_flight,
            }
        })
        .collect()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
