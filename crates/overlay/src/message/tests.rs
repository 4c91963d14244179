use proptest::prelude::*;

use super::*;

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn samples() -> Vec<Message> {
    let id = NodeId([9; 32]);
    let hop = Hop { id, name: "porto".into(), rtt_us: 40, cost_us: 1_020, newest_age_us: Some(7) };
    let resume = Resume { timeline: 5, layers: [(1, 2), (3, 4), (5, 6)] };
    let report = Report { supply: Supply::Repairing, path: vec![id].into(), patience: Duration::from_millis(60) };
    vec![
        Message::Hello(Hello { version: 1, version_min: 1 }),
        Message::Digest((0..BUCKETS as u64).collect()),
        Message::Listing { bucket: 3, entries: vec![(id, RecordKind::Links, Version { epoch: 1, seq: 2 })] },
        Message::Records(vec![Aged { body: Bytes::from_static(b"body"), signature: [1; 64], age_s: 9 }]),
        Message::Join(Join { feed: FeedId(1), stream: name("cam1"), resume: Some(resume), mode: Mode::Full }),
        Message::Join(Join { feed: FeedId(2), stream: name("cam1"), resume: None, mode: Mode::Shadow }),
        Message::Have(vec![1, u64::MAX]),
        Message::Want(vec![7]),
        Message::Prune,
        Message::Leave(FeedId(3)),
        Message::Refuse { feed: FeedId(4), reason: Refusal::Busy, alternates: vec![id] },
        Message::Refuse { feed: FeedId(4), reason: Refusal::Circular, alternates: vec![] },
        Message::Supply { feed: FeedId(5), report },
        Message::Carries { stream: name("cam1"), yes: true },
        Message::Gap(Gap { feed: FeedId(6), layer: 2, from: (1, 2), to: (3, 0) }),
        Message::Trace { id: 8, stream: name("cam1"), hops_left: 5 },
        Message::TraceReply { id: 8, hops: vec![hop] },
        Message::Goodbye,
    ]
}

#[test]
fn every_message_reads_back_as_it_was_written() {
    for message in samples() {
        let bytes = message.encode();
        let len = Message::len_of(bytes[..4].try_into().unwrap()).unwrap();
        assert_eq!(len, bytes.len() - 4);
        assert_eq!(Message::decode(bytes.slice(4..)), Ok(Some(message)));
    }
}

#[test]
fn a_message_of_a_later_version_is_passed_over() {
    // Field 99, length-delimited, empty.
    assert_eq!(Message::decode(Bytes::from_static(&[0x9a, 0x06, 0x00])), Ok(None));
}

#[test]
fn lengths_are_refused_before_anything_is_read() {
    assert!(matches!(Message::len_of([0xff; 4]), Err(MessageError::TooLong(_))));
}

#[test]
fn bounds_are_held() {
    let short = Message::Digest(vec![1, 2]).encode().slice(4..);
    assert_eq!(Message::decode(short), Err(MessageError::Field("digest.buckets")));
    let hop = Hop { id: NodeId([1; 32]), name: "a".into(), rtt_us: 0, cost_us: 0, newest_age_us: None };
    let long = Message::TraceReply { id: 1, hops: vec![hop; TRACE_HOPS_MAX + 1] }.encode().slice(4..);
    assert_eq!(Message::decode(long), Err(MessageError::Field("trace.hops")));
    let far = Gap { feed: FeedId(6), layer: 2, from: (1, 2), to: (u64::MAX, 0) };
    assert_eq!(Message::decode(Message::Gap(far).encode().slice(4..)), Err(MessageError::Field("gap")));
    for resume in [
        Resume { timeline: u64::MAX, layers: [(1, 0); LAYERS] },
        Resume { timeline: 1, layers: [(1, 0), (1, 0), (u64::MAX, 1)] },
    ] {
        let join = Join { feed: FeedId(1), stream: name("cam1"), resume: Some(resume), mode: Mode::Full };
        assert_eq!(Message::decode(Message::Join(join).encode().slice(4..)), Err(MessageError::Field("resume")));
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(bytes.into());
    }

    #[test]
    fn mutated_messages_never_panic(which in 0..15usize, at: prop::sample::Index, byte: u8) {
        let mut bytes = samples()[which].encode().slice(4..).to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Message::decode(bytes.into());
    }
}
