//! How the relay is set up: bounds, budgets and timeouts.

use std::time::Duration;

use ipnet::IpNet;

use crate::routing::rows;

/// Settings of the whole relay.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Bytes that a request body may have, decoded.
    pub max_body: usize,
    pub timeouts: Timeouts,
    /// Further tries of one model; see [`Outcome::counts_against_retries`](crate::routing::outcome::Outcome).
    pub retries: u32,
    /// The longest wait for a channel that is full or due soon.
    pub retry_wait: Duration,
    /// No attempt begins later than this after the request came, and one that has not answered by then ends.
    pub deadline: Duration,
    /// How long a client that asked for a stream hears nothing before it gets a sign of life; `None`: it gets none.
    pub keep_alive: Option<Duration>,
    /// The model of a moderation that names none.
    pub moderation_model: String,
    /// The model of an image request that names none.
    pub image_model: String,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            max_body: 64 * 1024 * 1024,
            timeouts: Timeouts::default(),
            retries: 2,
            retry_wait: Duration::from_secs(5),
            // A plain answer may take ten minutes; a second channel gets as long again.
            deadline: Duration::from_secs(20 * 60),
            // Below the 30 s at which the strictest of the usual load balancers hang up.
            keep_alive: Some(Duration::from_secs(15)),
            moderation_model: "omni-moderation-latest".to_owned(),
            image_model: "dall-e-2".to_owned(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// To the status line; streams only, as a plain answer's first byte is its last.
    pub first_byte: Duration,
    /// To the first real event; streams only.
    pub first_token: Option<Duration>,
    /// Silence on a stream before its first text: models think.
    pub idle_before_text: Duration,
    /// Silence on a stream after its first text.
    pub idle: Duration,
    /// A whole plain request.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            first_token: None,
            idle_before_text: Duration::from_secs(5 * 60),
            idle: Duration::from_secs(30),
            total: Duration::from_secs(10 * 60),
        }
    }
}

impl Timeouts {
    /// These, but for what the channel sets itself.
    #[must_use]
    pub fn overridden_by(self, channel: &rows::Timeouts) -> Timeouts {
        Timeouts {
            connect: seconds(channel.connect).unwrap_or(self.connect),
            first_byte: seconds(channel.first_byte).unwrap_or(self.first_byte),
            first_token: seconds(channel.first_token).or(self.first_token),
            idle_before_text: seconds(channel.idle_before_text).unwrap_or(self.idle_before_text),
            idle: seconds(channel.idle).unwrap_or(self.idle),
            total: seconds(channel.total).unwrap_or(self.total),
        }
    }
}

/// A day is as good as no limit, and far from where clocks overflow.
const LONGEST_SECONDS: f64 = 86_400.0;

/// What is no time at all is as if it were not set.
fn seconds(set: Option<f64>) -> Option<Duration> {
    let set = set.filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(set.min(LONGEST_SECONDS)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_timeouts_go_before_the_relays() {
        let channel = rows::Timeouts {
            connect: Some(0.5),
            first_token: Some(10.0),
            idle: Some(0.0),
            total: Some(f64::NAN),
            first_byte: Some(f64::INFINITY),
            ..rows::Timeouts::default()
        };
        let base = Timeouts::default();
        let want = Timeouts {
            connect: Duration::from_millis(500),
            first_token: Some(Duration::from_secs(10)),
            first_byte: Duration::from_secs(86_400),
            ..base
        };
        assert_eq!(base.overridden_by(&channel), want);
        assert_eq!(base.overridden_by(&rows::Timeouts::default()), base);
    }
}
