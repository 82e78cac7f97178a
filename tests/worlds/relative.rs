//! A state's text with what only grows told relative to now: so that a world that goes on for ever comes back to
//! states that it has been in. The text is `Debug`'s of the real state, so that none of its fields is forgotten.

use std::time::Instant;

/// `BuildNumber`s and `last_number` count back from the newest, points in time from `now`; of what is past it only
/// matters that it is.
pub fn relative(text: &str, newest_build: u64, now: Instant) -> String {
    let now = nanoseconds(&format!("{now:?}"));
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, mark)) = ["BuildNumber(", "last_number: ", "Instant {"]
        .into_iter()
        .filter_map(|mark| Some((rest.find(mark)?, mark)))
        .min()
    {
        let begins = at + mark.len();
        out.push_str(&rest[..begins]);
        rest = &rest[begins..];
        if mark == "Instant {" {
            let end = rest.find('}').expect("a brace that is opened is closed");
            out.push_str(&(nanoseconds(&rest[..end]) - now).max(0).to_string());
            rest = &rest[end..];
        } else {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..end].parse().expect("a number");
            out.push_str(&newest_build.wrapping_sub(number).to_string());
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

/// `questions: {2: Running([0], []), 1: …}, …` with the entries in order: the same map comes in many orders.
pub fn sorted_map(text: &str) -> String {
    let (Some(open), Some(close)) = (text.find('{'), text.find('}')) else {
        return text.to_owned();
    };
    let entries = text[open + 1..close].split("), ");
    let mut entries: Vec<&str> = entries.map(|entry| entry.trim_end_matches(')')).collect();
    entries.sort_unstable();
    format!("{}{}{}", &text[..=open], entries.join("), "), &text[close..])
}

/// `tv_sec: 12, tv_nsec: 34`: the two numbers of a point in time.
fn nanoseconds(instant: &str) -> i128 {
    let mut numbers = instant
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<i128>().ok());
    let (seconds, nanoseconds) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}
