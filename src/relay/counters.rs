//! What the relay counts, for `/metrics`. Names follow OpenTelemetry's GenAI conventions where one exists.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramVec, IntCounterVec, IntGauge, histogram_opts, register_histogram,
    register_histogram_vec, register_int_counter_vec, register_int_gauge,
};

/// Seconds, from a refusal at once to the longest of answers.
const SECONDS: [f64; 14] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0,
];

/// `gen_ai.server.request.duration`: from the request's head to the answer's last byte.
pub static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let made = register_histogram_vec!(
        histogram_opts!(
            "gen_ai_server_request_duration_seconds",
            "Time from a request's head to its answer's last byte.",
            SECONDS.to_vec()
        ),
        &["gen_ai_operation_name", "http_response_status_code"]
    );
    made.expect("the name is registered once")
});

/// `gen_ai.server.time_to_first_token`: from the request's head to the answer's first real event.
pub static FIRST_TOKEN_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let made = register_histogram!(histogram_opts!(
        "gen_ai_server_time_to_first_token_seconds",
        "Time from a request's head to the first real event of its stream.",
        SECONDS.to_vec()
    ));
    made.expect("the name is registered once")
});

/// Streams that broke off and were asked for again, by what came of it.
pub static RESUMES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_resumes_total",
        "Streams that broke off before their end: resumed, differed (another answer came), failed (none came).",
        &["result"]
    );
    made.expect("the name is registered once")
});

/// Requests whose answer is not complete yet.
pub static IN_FLIGHT: LazyLock<IntGauge> = LazyLock::new(|| {
    let made = register_int_gauge!(
        "pointsman_requests_in_flight",
        "Relay requests whose answer is not complete yet."
    );
    made.expect("the name is registered once")
});

/// Attempts by how they ended.
pub static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_attempts_total",
        "Attempts at upstreams by outcome.",
        &["outcome"]
    );
    made.expect("the name is registered once")
});

/// Answers that are an error of our own, by their code.
pub static REFUSALS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_refusals_total",
        "Requests answered with an error of the relay's own, by its code.",
        &["code"]
    );
    made.expect("the name is registered once")
});
