use proptest::prelude::*;

use super::*;

fn frames(chunks: &[&[u8]]) -> Vec<Frame> {
    let mut parser = SseParser::new();
    let mut frames = Vec::new();
    for chunk in chunks {
        parser.feed(Bytes::copy_from_slice(chunk));
        while let Some(frame) = parser.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    while let Some(frame) = parser.finish().unwrap() {
        frames.push(frame);
    }
    frames
}

fn show(frames: &[Frame]) -> Vec<String> {
    let show = |frame: &Frame| match frame {
        Frame::Event(event) => {
            let data = String::from_utf8_lossy(event.data());
            format!(
                "{}={}{}",
                event.name().unwrap_or(""),
                data.replace('\n', "|"),
                if event.terminated { "" } else { "…" }
            )
        }
        Frame::Comment(_) => ":".to_owned(),
        Frame::Blank(_) => "_".to_owned(),
    };
    frames.iter().map(show).collect()
}

#[test]
fn bytes_become_events() {
    for (text, want) in [
        ("data: a\n\n", "=a"),
        ("data:a\r\n\r\n", "=a"),
        ("data:  a\r\r", "= a"),
        ("event: ping\ndata: {}\n\n", "ping={}"),
        (
            "event:x\nid: 7\nretry: 1\ndata: a\ndata: b\ndata\ndata: c\n\n",
            "x=a|b||c",
        ),
        (": OPENROUTER PROCESSING\n\ndata: a\n\n", ": =a"),
        (": c\ndata: a\n\n", "=a"),
        ("event: x\n\n", ":"),
        ("\n\r\n\rdata: a\n\n", "_ _ _ =a"),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", "=a :"),
        ("\u{feff}\ndata: a\n\n", "_ =a"),
        ("data: a\n\ndata: b", "=a =b…"),
        ("data: a\n\ndata: b\n", "=a =b…"),
        ("dataset: a\nDATA: b\n\n", ":"),
        ("data: [DONE]", "=[DONE]…"),
        ("data: a\r\n\ndata: b\n\r\n", "=a =b"),
        ("{\"error\":1}\n", ":"),
        ("", ""),
    ] {
        assert_eq!(show(&frames(&[text.as_bytes()])).join(" "), want, "{text:?}");
    }
}

#[test]
fn event_streams_are_known_by_their_content_type() {
    for (content_type, want) in [
        ("text/event-stream", true),
        ("Text/Event-Stream; charset=utf-8", true),
        ("application/json", false),
        ("text/event-streams", false),
        ("", false),
    ] {
        assert_eq!(is_event_stream(content_type), want, "{content_type}");
    }
}

#[test]
fn an_event_within_a_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\ndata: c");
    let mut parser = SseParser::new();
    parser.feed(chunk.clone());
    for at in [0, 9] {
        let frame = parser.next_frame().unwrap().unwrap();
        assert_eq!(frame.raw().as_ptr(), chunk[at..].as_ptr());
    }
    assert_eq!(parser.next_frame(), Ok(None));
}

#[test]
fn an_event_ends_with_its_empty_line_and_waits_for_nothing_more() {
    for ending in ["\n\n", "\r\n\r\n", "\r\r", "\n\r", "\r\n\r"] {
        let mut parser = SseParser::new();
        parser.feed(format!("data: a{ending}").into());
        assert!(parser.next_frame().unwrap().is_some(), "{ending:?}");
    }
}

#[test]
fn an_unterminated_event_can_be_closed() {
    for (text, want) in [
        ("data: a", "data: a\n\n"),
        ("data: a\n", "data: a\n\n"),
        ("data: a\r\n", "data: a\r\n\n"),
    ] {
        let Frame::Event(event) = &frames(&[text.as_bytes()])[0] else {
            panic!("no event")
        };
        assert_eq!(event.closed(), want);
    }
}

#[test]
fn an_event_over_the_bound_is_an_error() {
    let too_large = Err(EventTooLarge { max_bytes: 16 });
    let mut parser = SseParser::with_max_event_bytes(16);
    parser.feed(Bytes::from_static(b"data: 12345678\n\ndata: 12345678"));
    assert!(parser.next_frame().unwrap().is_some());
    assert_eq!(parser.next_frame(), Ok(None));
    parser.feed(Bytes::from_static(b"9ab"));
    assert_eq!(parser.next_frame(), too_large);
    let mut parser = SseParser::with_max_event_bytes(16);
    parser.feed(Bytes::from_static(b"data: 123456789\n\n"));
    assert_eq!(parser.next_frame(), too_large);
}

proptest! {
    #[test]
    fn chunks_split_anywhere_give_the_same_events(
        text in "(data: |data:|event: |: |x|é|\u{feff}|\n|\r|\r\n|\n\n){0,40}",
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let bytes = text.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (whole, split) = (frames(&[bytes]), frames(&chunks));
        let raw: Vec<u8> = split.iter().flat_map(|frame| frame.raw().to_vec()).collect();
        prop_assert_eq!(raw, bytes);
        // The LF of a CRLF may come later than its CR, and is then a blank of its own at most.
        let told = |frames: &[Frame]| {
            let mut told = show(frames);
            told.retain(|frame| frame != "_");
            told
        };
        prop_assert_eq!(told(&whole), told(&split));
    }

    #[test]
    fn every_byte_by_itself_gives_the_same_events(text in "(data: a|event: b|: c|\n|\r|\r\n){0,40}") {
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let told = |frames: &[Frame]| {
            let mut told = show(frames);
            told.retain(|frame| frame != "_");
            told
        };
        prop_assert_eq!(told(&frames(&[text.as_bytes()])), told(&frames(&bytes)));
    }
}
