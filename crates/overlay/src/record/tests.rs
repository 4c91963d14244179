use proptest::prelude::*;

use super::*;

fn id(byte: u8) -> NodeId {
    NodeId([byte; 32])
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let links =
        prop::collection::vec((any::<u8>(), any::<u32>(), any::<u32>(), any::<u32>()), 0..20).prop_map(|links| {
            let link = |(peer, out_us, in_us, rtt_us)| LinkFacts { peer: id(peer), out_us, in_us, rtt_us };
            Facts::Links(links.into_iter().map(link).collect())
        });
    let anchor = prop::option::of((0..=TIMELINE_MAX, any::<i64>(), 0..=STAMP_MAX));
    let stream = ("[a-z][a-z0-9_-]{0,20}", 0..=TIMELINE_MAX, anchor, 0..=PRIORITY_MAX, 0..=STAMP_MAX, any::<bool>());
    let streams = prop::collection::vec(stream, 0..20).prop_map(|streams| {
        type Told = (String, u64, Option<(u64, i64, u64)>, u32, u64, bool);
        let stream = |(name, timeline, anchor, priority, stamp_at_ms, preparing): Told| {
            let anchor = anchor.map(|(timeline, dts, unix_ms)| Anchor { timeline, dts, unix_ms });
            let name = StreamName::new(&name).unwrap();
            StreamFacts { name, timeline, anchor, priority, stamp_at_ms, preparing }
        };
        Facts::Streams(streams.into_iter().map(stream).collect())
    });
    let node = ("[a-z]{1,20}", any::<u64>(), any::<bool>()).prop_map(|(name, not_after_unix_s, transit)| {
        let credential = Credential { name, not_after_unix_s, signature: [7; 64] };
        Facts::Node(NodeFacts { credential, addresses: vec!["127.0.0.1:1".into()], http: None, transit })
    });
    prop_oneof![links, streams, node]
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was_made(facts in any_facts(), epoch: u64, seq: u64) {
        let record = Record::make(id(1), Version { epoch, seq }, facts, |_| [3; 64]);
        prop_assert_eq!(Record::parse(record.body.clone(), record.signature), Ok(record));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::parse(bytes.into(), [0; 64]);
    }
}

#[test]
fn too_many_links_are_refused() {
    let link = LinkFacts { peer: id(2), out_us: 1, in_us: 1, rtt_us: 1 };
    let record = Record::make(id(1), Version::default(), Facts::Links(vec![link; LINKS_MAX + 1]), |_| [0; 64]);
    assert_eq!(Record::parse(record.body, record.signature), Err(RecordError::Field("links")));
}

#[test]
fn oversized_bodies_are_refused_unread() {
    let body = Bytes::from(vec![0; RECORD_LEN_MAX + 1]);
    assert_eq!(Record::parse(body, [0; 64]), Err(RecordError::TooLong(RECORD_LEN_MAX + 1)));
}

#[test]
fn the_largest_records_within_the_limits_are_taken() {
    let anchor = Anchor { timeline: TIMELINE_MAX, dts: i64::MIN, unix_ms: STAMP_MAX };
    let stream = |n| StreamFacts {
        name: StreamName::new(&format!("{n:0>width$}", width = crate::id::STREAM_NAME_LEN_MAX)).unwrap(),
        timeline: TIMELINE_MAX,
        anchor: Some(anchor),
        priority: PRIORITY_MAX,
        stamp_at_ms: STAMP_MAX,
        preparing: true,
    };
    let link = LinkFacts { peer: id(2), out_us: u32::MAX, in_us: u32::MAX, rtt_us: u32::MAX };
    let last = Version { epoch: u64::MAX, seq: u64::MAX };
    for facts in [Facts::Streams((0..STREAMS_MAX).map(stream).collect()), Facts::Links(vec![link; LINKS_MAX])] {
        let record = Record::make(id(1), last, facts, |_| [0; 64]);
        assert_eq!(Record::parse(record.body.clone(), record.signature), Ok(record));
    }
}

#[test]
fn stamps_and_timelines_that_media_cannot_carry_are_refused() {
    let name = StreamName::new("cam").unwrap();
    let good = StreamFacts {
        anchor: Some(Anchor { timeline: TIMELINE_MAX, dts: 0, unix_ms: STAMP_MAX }),
        stamp_at_ms: STAMP_MAX,
        ..StreamFacts::new(name, TIMELINE_MAX)
    };
    let parse = |facts: StreamFacts| {
        let record = Record::make(id(1), Version::default(), Facts::Streams(vec![facts]), |_| [0; 64]);
        Record::parse(record.body, record.signature).map(|_| ())
    };
    assert_eq!(parse(good.clone()), Ok(()));
    let anchored = |timeline, unix_ms| Some(Anchor { timeline, dts: 0, unix_ms });
    assert_eq!(parse(StreamFacts { timeline: TIMELINE_MAX + 1, ..good.clone() }), Err(RecordError::Field("timeline")));
    assert_eq!(parse(StreamFacts { stamp_at_ms: u64::MAX, ..good.clone() }), Err(RecordError::Field("stamp")));
    for anchor in [anchored(TIMELINE_MAX + 1, 0), anchored(0, STAMP_MAX + 1)] {
        assert_eq!(parse(StreamFacts { anchor, ..good.clone() }), Err(RecordError::Field("anchor")));
    }
}
