use futures::stream::iter;
use tokio::time::sleep;

use super::*;
use crate::protocol::Endpoint;
use crate::protocol::request::read_json;

/// What an upstream does behind its last event.
#[derive(Clone, Copy)]
enum Then {
    Ends,
    Dies,
    Hangs,
    Pings,
}

fn upstream(events: &[&str], then: Then) -> Upstream {
    let chunk = |data: &&str| Ok(Bytes::from(format!("data: {data}\n\n")));
    let events = iter(events.iter().map(chunk).collect::<Vec<_>>());
    let rest: Upstream = match then {
        Then::Ends => iter([]).boxed(),
        Then::Dies => iter([Err(Transport::Cut)]).boxed(),
        Then::Hangs => futures::stream::pending().boxed(),
        Then::Pings => unfold((), async |()| {
            sleep(Duration::from_millis(50)).await;
            Some((Ok(Bytes::from_static(b": ping\n\n")), ()))
        })
        .boxed(),
    };
    events.chain(rest).boxed()
}

/// How a stream of these events ends, and how long that is waited for. A silence of three seconds is one.
async fn ends(shape: Shape, body: &'static str, events: &[&str], then: Then) -> (String, Duration) {
    let asked = read_json(Endpoint::ChatCompletions, &Bytes::from_static(body.as_bytes())).unwrap();
    let pace = Pace {
        before_text: Duration::from_secs(3),
        after_text: Duration::from_secs(3),
    };
    let upstream = upstream(events, then);
    let mut events = Events::new(upstream, shape, &asked, pace, UsageChunk::Passed);
    let mut told = Told::new(shape, &asked);
    let began = Instant::now();
    loop {
        let end = match events.next(&mut told, None).await {
            Happening::End(raw) => String::from_utf8(raw.to_vec()).unwrap(),
            Happening::Failed(transport) => format!("{transport:?}"),
            Happening::Error { .. } => "error".to_owned(),
            _ => continue,
        };
        return (end, began.elapsed());
    }
}

const WORD: &str = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
const FINISH: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
const DONE: &str = "data: [DONE]\n\n";
const PIECE: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
const LAST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}"#;

#[tokio::test]
async fn a_finished_answer_waits_for_its_end_marker_for_a_second_and_not_for_the_idle_timeout() {
    use Shape::{ChatCompletions, GeminiSse, Messages};
    let plain = "{}";
    let with_usage = r#"{"stream_options":{"include_usage":true}}"#;
    let message_end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let message_open =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let message_stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let at_once = Duration::ZERO;
    let idle = Duration::from_secs(3);
    let cases = [
        (
            ChatCompletions,
            plain,
            vec![WORD, FINISH],
            Then::Ends,
            DONE,
            at_once,
        ),
        (
            ChatCompletions,
            plain,
            vec![WORD, FINISH],
            Then::Dies,
            DONE,
            at_once,
        ),
        (
            ChatCompletions,
            plain,
            vec![WORD, FINISH],
            Then::Hangs,
            DONE,
            AFTER_FINISH,
        ),
        // What keeps the connection alive is no part of the answer.
        (
            ChatCompletions,
            plain,
            vec![WORD, FINISH],
            Then::Pings,
            DONE,
            AFTER_FINISH,
        ),
        (
            ChatCompletions,
            with_usage,
            vec![WORD, FINISH, USAGE],
            Then::Hangs,
            DONE,
            AFTER_FINISH,
        ),
        (
            ChatCompletions,
            with_usage,
            vec![WORD, FINISH],
            Then::Hangs,
            DONE,
            idle,
        ),
        (ChatCompletions, plain, vec![WORD], Then::Hangs, "Silent", idle),
        (
            Messages,
            plain,
            vec![message_open, message_end],
            Then::Hangs,
            message_stop,
            AFTER_FINISH,
        ),
        (GeminiSse, plain, vec![PIECE, LAST], Then::Hangs, "", AFTER_FINISH),
        // Whether it puts a finish reason into every chunk is not known after one.
        (GeminiSse, plain, vec![LAST], Then::Hangs, "", idle),
    ];
    let all = cases.map(async |(shape, body, events, then, end, within)| {
        let (ended, took) = ends(shape, body, &events, then).await;
        assert_eq!(ended, end, "{events:?}");
        let slack = Duration::from_millis(900);
        assert!(took >= within && took < within + slack, "{events:?}: {took:?}");
    });
    futures::future::join_all(all).await;
}

#[tokio::test]
async fn a_finish_in_every_chunk_is_an_end_only_where_the_body_ends() {
    use Shape::GeminiSse;
    for (events, then, end) in [
        (vec![LAST], Then::Dies, ""),
        (vec![LAST, LAST], Then::Dies, "Cut"),
        (vec![LAST, LAST, LAST], Then::Dies, "Cut"),
        (vec![LAST, LAST], Then::Ends, ""),
    ] {
        let (ended, _) = ends(GeminiSse, "{}", &events, then).await;
        assert_eq!(ended, end, "{events:?}");
    }
}
