//! Rounds: each case on each target, one after the other, so that a disturbance meets all of them.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use memchr::memmem;
use serde::Serialize;
use serde_json::Value;

use crate::ask::ask;
use crate::cases::{Case, Expected, Pace};
use crate::cost::CpuTime;
use crate::load::{Brought, Load, Until, Wanted};
use crate::stage::Target;

/// Work that an answer leaves behind (outcomes, metrics, closing) ends within this, and is counted.
const SETTLE: Duration = Duration::from_millis(30);
/// Of the measured time.
const WARM_UP_PART: u32 = 4;

/// What one measurement found.
#[derive(Clone, Serialize)]
pub struct Sample {
    /// Of the relay, for one request.
    pub cpu_us: Option<f64>,
    /// How often a thread of the relay was set on the CPU, for one request.
    pub turns: Option<f64>,
    /// Of the upstream, for one request.
    pub upstream_cpu_us: f64,
    /// Of the load, for one request.
    pub load_cpu_us: f64,
    pub per_second: f64,
    /// To the body's first byte.
    pub first_us: Quantiles,
    /// To the answer's end.
    pub whole_us: Quantiles,
}

/// Of all answers of one measurement, in µs.
#[derive(Clone, Copy, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
}

/// A case on a target, with the requests as bytes and the answer that each must get.
pub struct Trial<'a> {
    case: &'a Case,
    target: &'a Target,
    requests: Vec<Vec<u8>>,
    wanted: Wanted,
}

impl<'a> Trial<'a> {
    /// Asks once, and looks whether that answer is as it must be: it is the measure of all that follow.
    ///
    /// # Errors
    /// It is not.
    pub fn prepare(case: &'a Case, target: &'a Target) -> io::Result<Trial<'a>> {
        let prefix = if case.streams() { target.stream_prefix } else { "" };
        let requests = case.requests(&target.address.to_string(), prefix, &target.token);
        let answer = ask(target.address, &requests[0])?;
        if answer.attempts.as_deref() != target.attempts {
            return Err(io::Error::other(format!("attempts: {:?}", answer.attempts)));
        }
        let body = answer.expect(200)?;
        if !is_as_expected(&body, case.answer) {
            return Err(io::Error::other(format!(
                "{} by {}: not the answer that it must be: {}",
                case.name,
                target.name,
                String::from_utf8_lossy(&body[..body.len().min(2000)])
            )));
        }
        Ok(Trial {
            case,
            target,
            requests,
            wanted: Wanted {
                body,
                attempts: target.attempts,
            },
        })
    }

    /// Warms up, then measures. `midway` is called once while the load is on.
    ///
    /// # Errors
    /// Any answer that is not as it must be.
    pub fn measure(&self, seconds: Duration, midway: impl FnMut() -> io::Result<()>) -> io::Result<Sample> {
        let explained = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("{} by {}: {error}", self.case.name, self.target.name),
            )
        };
        self.try_measure(seconds, midway).map_err(explained)
    }

    fn try_measure(&self, seconds: Duration, midway: impl FnMut() -> io::Result<()>) -> io::Result<Sample> {
        let (case, target) = (self.case, self.target);
        let mut load = Load::open(target.address, case.connections, &self.requests, &self.wanted)?;
        let until = match case.pace {
            Pace::Closed => {
                let warm_up = Until::Passed(seconds / WARM_UP_PART);
                load.run(warm_up, Duration::ZERO, || Ok(()))?;
                Until::Passed(seconds)
            }
            Pace::Once => Until::Asked(1),
        };
        sleep(SETTLE);
        let before = self.look()?;
        let brought = load.run(until, case.lasts(), midway)?;
        sleep(SETTLE);
        let after = self.look()?;
        Ok(sample(brought, &before, &after))
    }

    fn look(&self) -> io::Result<Look> {
        Ok(Look {
            relay: self.target.relay.map(CpuTime::of).transpose()?,
            upstream: CpuTime::of(self.target.upstream)?,
            load: CpuTime::of(std::process::id())?,
        })
    }
}

/// The CPU time of everybody at one moment.
struct Look {
    relay: Option<CpuTime>,
    upstream: CpuTime,
    load: CpuTime,
}

fn sample(brought: Brought, before: &Look, after: &Look) -> Sample {
    let answers = brought.whole.len() as f64;
    let each_us = |now: &CpuTime, then: &CpuTime| now.since(then).ns as f64 / 1e3 / answers;
    let relay = after.relay.as_ref().zip(before.relay.as_ref());
    Sample {
        cpu_us: relay.map(|(now, then)| each_us(now, then)),
        turns: relay.map(|(now, then)| now.since(then).turns as f64 / answers),
        upstream_cpu_us: each_us(&after.upstream, &before.upstream),
        load_cpu_us: each_us(&after.load, &before.load),
        per_second: answers / brought.took.as_secs_f64(),
        first_us: quantiles(brought.first),
        whole_us: quantiles(brought.whole),
    }
}

/// Exact: of some hundred thousand numbers, sorting is cheap.
fn quantiles(mut ns: Vec<u64>) -> Quantiles {
    ns.sort_unstable();
    let at = |part: f64| {
        let rank = (part * ns.len() as f64).ceil() as usize;
        ns.get(rank.max(1) - 1).map_or(0.0, |ns| *ns as f64 / 1e3)
    };
    Quantiles {
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
    }
}

fn is_as_expected(body: &[u8], expected: Expected) -> bool {
    match expected {
        Expected::Plain(least) => body.len() >= least && serde_json::from_slice::<Value>(body).is_ok(),
        Expected::Stream(events) => {
            let marks = memmem::find_iter(body, "data: ").count();
            marks == events + 1 && body.ends_with(b"\n\ndata: [DONE]\n\n")
        }
    }
}
