use proptest::prelude::*;

use super::*;

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let mut reader = EventReader::new(1 << 20);
    let mut events = Vec::new();
    for piece in pieces {
        reader.push(piece);
        while let Some(event) = reader.next_event().expect("within the limit") {
            events.push(event);
        }
    }
    events
}

fn data(events: &[Event]) -> Vec<&[u8]> {
    events.iter().filter_map(|event| event.data.as_deref()).collect()
}

#[test]
fn events_are_read_as_the_standard_has_them() {
    assert_eq!(data(&read(&[b"data: a\n\ndata:b\n\n"])), [b"a", b"b"]);
    assert_eq!(data(&read(&[b"data: a\r\n\r\ndata: b\r\rdata: c\n\n"])), [b"a", b"b", b"c"]);
    assert_eq!(data(&read(&[b"\xef\xbb\xbfdata: a\n\n"])), [b"a"]);
    assert_eq!(data(&read(&[b"data: a\ndata: b\ndata\n\n"])), [b"a\nb\n"]);
    assert_eq!(data(&read(&[b": a comment\n\nevent: x\n\ndata: a\n\n"])), [b"a"]);
    assert!(read(&[b"data: not ended"]).is_empty());

    let events = read(&[b"id: 7\nretry: 50\ndata:\n\nretry: soon\ndata: a\n\nid:\ndata: b\n\n"]);
    assert_eq!((events[0].id.as_deref(), events[0].retry_ms), (Some("7"), Some(50)));
    assert_eq!((events[1].id.as_deref(), events[1].retry_ms), (Some("7"), None));
    assert_eq!(events[2].id, None);
}

#[test]
fn f25_an_event_without_end_is_refused() {
    for piece in [&b"data: aaaaaaaaaaaaaaaa"[..], b"data: aaaaaaaaa\n", b":aaaaaaaaaaaaaa"] {
        let mut reader = EventReader::new(100);
        let refused = (0..1000).any(|_| {
            reader.push(piece);
            reader.next_event().is_err()
        });
        assert!(refused, "{}", String::from_utf8_lossy(piece));
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in "(data: [ab]{0,3}|id: [0-9]|retry: 9|: c|x|)(\n|\r\n|\r)(data: z\n\n|\n|\r\n\r\n){0,4}", cuts in prop::collection::vec(0usize..40, 0..6)) {
        let whole = format!("{bytes}\n\n\ndata: end\n\n");
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts {
            pieces.push(&whole.as_bytes()[at..cut]);
            at = cut;
        }
        pieces.push(&whole.as_bytes()[at..]);
        prop_assert_eq!(read(&pieces), read(&[whole.as_bytes()]));
    }
}
