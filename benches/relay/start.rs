//! How long it takes from the start to the first answer that came from an upstream.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ask::ask;
use crate::cases::named;
use crate::stage::{Node, Stage, furnish};

pub const CHANNELS: usize = 1000;
const MODELS_A_CHANNEL: usize = 5;
/// Of 50 names, each channel serves five, one of them for all.
const NAMES: usize = 50;
const ASK_EVERY: Duration = Duration::from_millis(1);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Starts Pointsman `times` on a database of a thousand channels; what each start took, in ms.
///
/// # Errors
/// It does not start, or does not answer.
pub fn measure(stage: &Stage, times: usize) -> io::Result<Vec<f64>> {
    let case = named("plain-1");
    let database = stage.folder.path().join("start.sqlite");
    let models = |channel: usize| {
        let others = (1..MODELS_A_CHANNEL).map(|step| format!("model-{:02}", (channel + step) % NAMES));
        others.chain([case.model().to_owned()]).collect()
    };
    let token = furnish(&database, stage.upstream_address(), CHANNELS, models)?;
    (0..times)
        .map(|_| {
            let began = Instant::now();
            let node = Node::start_listening(&database)?;
            let requests = case.requests(&node.address.to_string(), "", &token);
            // Until the snapshot is there it says 503.
            while ask(node.address, &requests[0])?.status != 200 {
                if began.elapsed() > ANSWERS_WITHIN {
                    return Err(node.process.complaint("no answer after its start"));
                }
                sleep(ASK_EVERY);
            }
            let took = began.elapsed();
            node.process.end()?;
            Ok(took.as_secs_f64() * 1e3)
        })
        .collect()
}
