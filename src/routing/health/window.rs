//! How many of the last seconds' attempts failed, counted from the first failure on.

use std::collections::VecDeque;
use std::time::Instant;

use super::cooling::{TRIP_AT_LEAST, WINDOW};

/// Counts by whole seconds, so that it stays small however many attempts there are. Nothing is counted
/// before the first failure: what is well costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Window {
    opened: Option<Instant>,
    seconds: VecDeque<Second>,
}

#[derive(Clone, Debug)]
struct Second {
    /// Whole seconds since `opened`.
    number: u64,
    failed: u32,
    total: u32,
}

impl Window {
    pub fn failed(&mut self, now: Instant) {
        let opened = *self.opened.get_or_insert(now);
        let second = self.second(opened, now);
        second.failed = second.failed.saturating_add(1);
        second.total = second.total.saturating_add(1);
    }

    pub fn succeeded(&mut self, now: Instant) {
        if let Some(opened) = self.opened {
            let second = self.second(opened, now);
            second.total = second.total.saturating_add(1);
        }
    }

    /// Half of at least five.
    pub fn is_bad(&self, now: Instant) -> bool {
        let (failed, total) = self.counts(now);
        total >= u64::from(TRIP_AT_LEAST) && failed * 2 >= total
    }

    /// Nothing failed lately.
    pub fn is_clean(&self, now: Instant) -> bool {
        self.counts(now).0 == 0
    }

    fn counts(&self, now: Instant) -> (u64, u64) {
        let Some(opened) = self.opened else {
            return (0, 0);
        };
        let oldest = oldest_counted(number(opened, now));
        self.seconds
            .iter()
            .filter(|second| second.number >= oldest)
            .fold((0, 0), |(failed, total), second| {
                (failed + u64::from(second.failed), total + u64::from(second.total))
            })
    }

    fn second(&mut self, opened: Instant, now: Instant) -> &mut Second {
        let number = number(opened, now);
        let oldest = oldest_counted(number);
        while self.seconds.front().is_some_and(|second| second.number < oldest) {
            self.seconds.pop_front();
        }
        if self.seconds.back().is_none_or(|second| second.number < number) {
            self.seconds.push_back(Second {
                number,
                failed: 0,
                total: 0,
            });
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }
}

fn number(opened: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(opened).as_secs()
}

fn oldest_counted(number: u64) -> u64 {
    (number + 1).saturating_sub(WINDOW.as_secs())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's time has to start somewhere")]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Each letter is an attempt, `x` a failure and `.` a success; a number is a pause in seconds.
    fn check(story: &str, bad: bool) {
        let mut now = Instant::now();
        let mut window = Window::default();
        for word in story.split(' ') {
            if let Ok(secs) = word.parse() {
                now += Duration::from_secs(secs);
                continue;
            }
            for attempt in word.chars() {
                match attempt {
                    'x' => window.failed(now),
                    _ => window.succeeded(now),
                }
            }
        }
        assert_eq!(window.is_bad(now), bad, "{story}");
    }

    #[test]
    fn trips_at_half_of_at_least_five_in_30_s() {
        check("x.x.", false); // only four
        check("x.x.x", true); // three of five
        check("x..x.", false); // two of five
        check("x.x.x.", true); // half of six
        check("x.x..x.", false); // three of seven
        check("....x.x.", false); // what was before the first failure is not counted: two of four
        check("x.x 29 .x.", true); // the first two are still in the window
        check("x.x 30 .x.", false); // and a second later no more
        check("x 10 . 10 x 9 . x", true);
        check("x 10 . 10 x 10 . x", false);
        check("x....................", false);
    }

    #[test]
    fn stays_small_and_clears_with_time() {
        let start = Instant::now();
        let mut window = Window::default();
        for ms in 0..300_000 {
            window.failed(start + Duration::from_millis(ms));
        }
        assert!(window.seconds.len() <= 30);
        assert!(!window.is_clean(start + Duration::from_secs(328)));
        assert!(window.is_clean(start + Duration::from_secs(330)));
    }
}
