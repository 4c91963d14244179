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
    let anchor = prop::option::of((any::<u64>(), any::<i64>(), any::<u64>()));
    let stream = ("[a-z][a-z0-9_-]{0,20}", any::<u64>(), anchor, 0..=PRIORITY_MAX, any::<u64>(), any::<bool>());
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
