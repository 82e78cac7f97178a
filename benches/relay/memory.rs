//! What a Pointsman that has just started holds: idle, at work, and after it.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;

use crate::cases::named;
use crate::cost::Memory;
use crate::rounds::Trial;
use crate::stage::Stage;

/// After the start, and after the load: what was only for the moment has gone then.
const REST: Duration = Duration::from_secs(3);

/// At four moments of one process's life.
#[derive(Serialize)]
pub struct MemoryFigures {
    pub idle: Memory,
    pub busy_64: Memory,
    pub streams_1000: Memory,
    pub after: Memory,
}

/// Loads a fresh node first with 64 busy connections, then with 1,000 streams.
///
/// # Errors
/// As the measurements.
pub fn measure(stage: &Stage, seconds: Duration) -> io::Result<MemoryFigures> {
    let pid = stage.node.process.pid();
    sleep(REST);
    let idle = Memory::of(pid)?;
    let busy_64 = while_at(stage, "plain-64", seconds)?;
    let streams_1000 = while_at(stage, "stream-1000", seconds)?;
    sleep(REST);
    Ok(MemoryFigures {
        idle,
        busy_64,
        streams_1000,
        after: Memory::of(pid)?,
    })
}

fn while_at(stage: &Stage, case: &str, seconds: Duration) -> io::Result<Memory> {
    let pid = stage.node.process.pid();
    let [_, _, pointsman] = stage.targets();
    let mut memory = Err(io::Error::other("the load ended too soon"));
    Trial::prepare(named(case), &pointsman)?.measure(seconds, || {
        memory = Memory::of(pid);
        Ok(())
    })?;
    memory
}
