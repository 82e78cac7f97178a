//! Waiting for something to become true.

use std::fmt::Debug;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Long enough not to load the machine, short enough not to be felt.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again until `condition` answers `Ok`, and hands that out. Panics after `within` with what
/// it saw last. This is the one place in the tests that sleeps.
///
/// ```ignore
/// eventually(Duration::from_secs(5), async || stage.chat("gpt-4o").await.with_status(200)).await;
/// ```
#[track_caller]
pub fn eventually<T, Seen: Debug>(
    within: Duration,
    condition: impl AsyncFnMut() -> Result<T, Seen>,
) -> impl Future<Output = T> {
    until(within, condition, Location::caller())
}

async fn until<T, Seen: Debug>(
    within: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, Seen>,
    asked_at: &'static Location<'static>,
) -> T {
    let began = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(seen) if began.elapsed() > within => {
                panic!("{asked_at}: not within {within:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
