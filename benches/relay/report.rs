//! The figures as tables for a reader, and as JSON.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::figures::{CaseFigures, Figures, OfTarget, Round, Spread, cpu};
use crate::goals::{Goal, added_p50_ratio, goals, p99_ratio};
use crate::memory::MemoryFigures;
use crate::nginx;
use crate::rounds::{Quantiles, Sample};

/// Under what the figures came about.
pub struct Circumstances {
    pub command: String,
    pub rounds: usize,
    pub seconds: f64,
    /// Of the machine before the first measurement: much more than 0 disturbs them.
    pub load_average: String,
}

impl Circumstances {
    fn to_json(&self) -> Value {
        json!({
            "command": self.command, "rounds": self.rounds, "seconds": self.seconds,
            "load_average_before": self.load_average, "versions": versions(), "machine": machine(),
        })
    }
}

fn versions() -> Value {
    let rustc = std::process::Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    json!({
        "pointsman": env!("CARGO_PKG_VERSION"), "rustc": rustc,
        "nginx": nginx::version().unwrap_or_else(|_| "unknown".to_owned()),
    })
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({"cpu": model, "kernel": format!("Linux {}", kernel.trim())})
}

/// Everything, as it is kept in `target/bench/relay.json`.
pub fn to_json(figures: &Figures, circumstances: &Circumstances) -> Value {
    let case = |case: &CaseFigures| {
        json!({
            "name": case.case.name, "title": case.case.title, "connections": case.case.connections,
            "direct": target_json(case, |round| &round.direct),
            "nginx": target_json(case, |round| &round.nginx),
            "pointsman": target_json(case, |round| &round.pointsman),
            "cpu_ratio": case.cpu_ratio(),
            "added_p50_ratio": added_p50_ratio(case),
            "p99_ratio": p99_ratio(case),
        })
    };
    json!({
        "circumstances": circumstances.to_json(),
        "goals": goals(figures),
        "cases": figures.cases.iter().map(case).collect::<Vec<_>>(),
        "memory": figures.memory,
        "start_ms": figures.start_ms,
    })
}

fn target_json(case: &CaseFigures, of: impl Fn(&Round) -> &Sample) -> Value {
    let spread = |figure: &dyn Fn(&Sample) -> f64| case.spread(|round| figure(of(round)));
    let added =
        |figure: &dyn Fn(&Sample) -> f64| case.spread(|round| figure(of(round)) - figure(&round.direct));
    let quantiles = |which: &dyn Fn(&Sample) -> Quantiles| {
        json!({
            "p50": spread(&|sample| which(sample).p50), "p99": spread(&|sample| which(sample).p99),
            "p999": spread(&|sample| which(sample).p999), "added_p50": added(&|sample| which(sample).p50),
            "added_p99": added(&|sample| which(sample).p99), "added_p999": added(&|sample| which(sample).p999),
        })
    };
    json!({
        "cpu_us": spread(&cpu),
        "turns": spread(&turns),
        "upstream_cpu_us": spread(&|sample| sample.upstream_cpu_us),
        "load_cpu_us": spread(&|sample| sample.load_cpu_us),
        "per_second": spread(&|sample| sample.per_second),
        "first_us": quantiles(&|sample| sample.first_us),
        "whole_us": quantiles(&|sample| sample.whole_us),
    })
}

/// Everything, as a reader wants it on a terminal.
pub fn to_text(figures: &Figures, circumstances: &Circumstances) -> String {
    let mut text = String::new();
    let about = circumstances.to_json();
    let (versions, machine) = (&about["versions"], &about["machine"]);
    put(&mut text, format_args!("{}", circumstances.command));
    put(
        &mut text,
        format_args!(
            "pointsman {}, {}, {}; {}, {}; load average before: {}",
            said(&versions["pointsman"]),
            said(&versions["nginx"]),
            said(&versions["rustc"]),
            said(&machine["cpu"]),
            said(&machine["kernel"]),
            circumstances.load_average
        ),
    );
    put(
        &mut text,
        format_args!(
            "{} rounds of {} s a measurement; median (least..most); p99.9, turns (of threads on the CPU, a request) and CPU of upstream and load (µs a request) are medians",
            circumstances.rounds, circumstances.seconds
        ),
    );
    for case in &figures.cases {
        put_case(&mut text, case);
    }
    if let Some(memory) = &figures.memory {
        put_memory(&mut text, memory);
    }
    put_goals(&mut text, &goals(figures));
    text
}

fn put_case(text: &mut String, case: &CaseFigures) {
    put(text, format_args!("\n{} [{}]", case.case.title, case.case.name));
    put(
        text,
        format_args!(
            "  {:<10}{:>24}{:>26}{:>27}{:>27}{:>10}{:>7}{:>10}{:>7}",
            "", "CPU µs a request", "requests/s", "p50 µs", "p99 µs", "p99.9", "turns", "upstream", "load"
        ),
    );
    let targets: [(&str, OfTarget); 3] = [
        ("direct", |round| &round.direct),
        ("nginx", |round| &round.nginx),
        ("pointsman", |round| &round.pointsman),
    ];
    for (name, of) in targets {
        put_target(text, case, name, "", of, |sample| sample.whole_us);
        if case.case.streams() {
            put_target(text, case, "", "first byte", of, |sample| sample.first_us);
        }
    }
    let added = |name: &str, of: OfTarget| {
        let part = |part: fn(Quantiles) -> f64| {
            let added = |round: &Round| part(of(round).whole_us) - part(round.direct.whole_us);
            case.spread(added).median
        };
        let (p50, p99, p999) = (part(|q| q.p50), part(|q| q.p99), part(|q| q.p999));
        format!("{name} adds {p50:.0} / {p99:.0} / {p999:.0} µs")
    };
    put(
        text,
        format_args!(
            "  p50 / p99 / p99.9: {}, {}",
            added("nginx", |round| &round.nginx),
            added("pointsman", |round| &round.pointsman)
        ),
    );
    put(
        text,
        format_args!("  CPU, pointsman against nginx: {:.2}", case.cpu_ratio()),
    );
}

fn put_target(
    text: &mut String,
    case: &CaseFigures,
    name: &str,
    instead: &str,
    of: impl Fn(&Round) -> &Sample,
    which: impl Fn(&Sample) -> Quantiles,
) {
    let spread = |figure: &dyn Fn(&Sample) -> f64| case.spread(|round| figure(of(round)));
    let (p50, p99) = (
        spread(&|sample| which(sample).p50),
        spread(&|sample| which(sample).p99),
    );
    let p999 = spread(&|sample| which(sample).p999).median;
    let latencies = format!("{p50:>27.0}{p99:>27.0}{p999:>10.0}");
    if !instead.is_empty() {
        put(
            text,
            format_args!("  {name:<10}{instead:>24}{:>26}{latencies}", ""),
        );
        return;
    }
    let cpu_us = spread(&cpu);
    let cpu_us = match cpu_us.median.is_nan() {
        true => String::new(),
        false => format!("{cpu_us:.1}"),
    };
    let per_second = spread(&|sample| sample.per_second);
    let turns = match spread(&turns).median {
        turns if turns.is_nan() => String::new(),
        turns => format!("{turns:.1}"),
    };
    let upstream = spread(&|sample| sample.upstream_cpu_us).median;
    let load = spread(&|sample| sample.load_cpu_us).median;
    put(
        text,
        format_args!(
            "  {name:<10}{cpu_us:>24}{per_second:>26.0}{latencies}{turns:>7}{upstream:>10.1}{load:>7.1}"
        ),
    );
}

fn put_memory(text: &mut String, memory: &MemoryFigures) {
    put(
        text,
        format_args!("\nmemory of Pointsman{:>22}{:>14}", "RSS", "its own"),
    );
    for (when, memory) in [
        ("idle", memory.idle),
        ("64 busy connections", memory.busy_64),
        ("1,000 streams", memory.streams_1000),
        ("after", memory.after),
    ] {
        put(
            text,
            format_args!(
                "  {when:<24}{:>12.1} MB{:>11.1} MB",
                memory.rss_mb, memory.anonymous_mb
            ),
        );
    }
}

/// Of a relay; of the straight way there are none.
fn turns(sample: &Sample) -> f64 {
    sample.turns.unwrap_or(f64::NAN)
}

fn put_goals(text: &mut String, goals: &[Goal]) {
    put(
        text,
        format_args!("\n{:<60}{:>10}{:>26}", "goal", "at most", "measured"),
    );
    for goal in goals {
        let measured = match goal.measured {
            Spread { median, least, most } if least == most => format!("{median:.1} {}", goal.unit),
            spread => format!("{spread:.2} {}", goal.unit),
        };
        let verdict = match goal.met {
            true => "met".to_owned(),
            false => format!(
                "missed by {:.0} %",
                (goal.measured.median / goal.limit - 1.0) * 100.0
            ),
        };
        put(
            text,
            format_args!(
                "{:<60}{:>10}{measured:>26}  {verdict}",
                goal.what,
                format!("{} {}", goal.limit, goal.unit)
            ),
        );
    }
}

fn said(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
