use super::*;
use crate::credential::Credential;

fn record(author: u8, seq: u64, facts: Facts) -> Record {
    Record::make(NodeId([author; 32]), Version { epoch: 1, seq }, facts, |_| [0; 64])
}

fn node() -> Facts {
    let credential = Credential { name: "a".into(), not_after_unix_s: 1, signature: [0; 64] };
    Facts::Node(NodeFacts { credential, addresses: vec![], http: None, transit: true })
}

fn at(seconds: u64) -> Time {
    Time::from_micros(seconds * 1_000_000)
}

#[test]
fn newer_versions_replace_older_ones_and_strangers_stay_out() {
    let mut table = Table::default();
    assert_eq!(table.insert(record(1, 1, Facts::Links(vec![])), 0, at(0)), Offer::Stranger);
    assert_eq!(table.insert(record(1, 1, node()), 0, at(0)), Offer::Taken);
    assert_eq!(table.insert(record(1, 3, Facts::Links(vec![])), 0, at(0)), Offer::Taken);
    assert_eq!(table.insert(record(1, 2, Facts::Links(vec![])), 0, at(0)), Offer::Known);
    assert_eq!(table.len(), 2);
}

#[test]
fn what_a_node_told_before_it_started_anew_is_forgotten() {
    let stream = StreamName::new("cam").unwrap();
    let made = |epoch, seq, facts| Record::make(NodeId([1; 32]), Version { epoch, seq }, facts, |_| [0; 64]);
    let streams = || Facts::Streams(vec![StreamFacts::new(stream.clone(), 7)]);
    let link = LinkFacts { peer: NodeId([2; 32]), out_us: 1, in_us: 1, rtt_us: 1 };
    let mut table = Table::default();
    table.insert(made(1, 1, node()), 0, at(0));
    table.insert(made(1, 2, Facts::Links(vec![link])), 0, at(0));
    table.insert(made(1, 3, streams()), 0, at(0));
    // Of the new life one record overtook the one that introduces it.
    table.insert(made(2, 2, Facts::Links(vec![link])), 0, at(1));
    assert_eq!(table.insert(made(2, 1, node()), 0, at(1)), Offer::Taken);
    assert_eq!((table.origins_of(&stream).count(), table.links(NodeId([1; 32])).len(), table.len()), (0, 1, 2));
    assert_eq!(table.insert(made(1, 3, streams()), 0, at(1)), Offer::Known);
    let mut fresh = Table::default();
    fresh.insert(made(2, 1, node()), 0, at(1));
    fresh.insert(made(2, 2, Facts::Links(vec![link])), 0, at(1));
    assert_eq!(table.digest(), fresh.digest());
}

#[test]
fn age_travels_with_a_record_and_ends_it() {
    let mut table = Table::default();
    table.insert(record(1, 1, node()), 1_000, at(10));
    let aged = |table: &Table, now| table.aged(NodeId([1; 32]), RecordKind::Node, now).unwrap().age_s;
    assert_eq!(aged(&table, at(10)), 1_000, "older than this node's own epoch");
    assert_eq!(aged(&table, at(100)), 1_090);
    assert!(!table.expire(at(2_600)));
    assert!(table.expire(at(2_611)));
    assert!(table.is_empty());
    assert_eq!(table.insert(record(1, 1, node()), 3_600, at(0)), Offer::Expired);
}

#[test]
fn digests_agree_whatever_the_order_and_differ_where_records_do() {
    let records: Vec<_> = (0..200).map(|n| record(n, 1, node())).collect();
    let table = |records: Vec<Record>| {
        let mut table = Table::default();
        records.into_iter().for_each(|r| assert_eq!(table.insert(r, 0, at(0)), Offer::Taken));
        table
    };
    let (forth, back) = (table(records.clone()), table(records.into_iter().rev().collect()));
    assert_eq!(forth.digest(), back.digest());
    let mut changed = back;
    changed.insert(record(70, 2, node()), 0, at(0));
    let differing: Vec<_> = (0..BUCKETS).filter(|&b| forth.digest()[b] != changed.digest()[b]).collect();
    assert_eq!(differing, [bucket_of(NodeId([70; 32]))]);
    assert!(changed.listing(differing[0]).contains(&(
        NodeId([70; 32]),
        RecordKind::Node,
        Version { epoch: 1, seq: 2 }
    )));
}

#[test]
fn the_number_of_authors_is_bounded() {
    let mut table = Table::default();
    for n in 0..=AUTHORS_MAX {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let record = Record::make(NodeId(id), Version::default(), node(), |_| [0; 64]);
        let expected = if n < AUTHORS_MAX { Offer::Taken } else { Offer::Full };
        assert_eq!(table.insert(record, 0, at(0)), expected);
    }
}

#[test]
fn the_stamps_of_origins_run_on_with_the_age_of_their_records() {
    let mut table = Table::default();
    let name = StreamName::new("cam").unwrap();
    let told = |stamp_at_ms| StreamFacts { stamp_at_ms, ..StreamFacts::new(name.clone(), 7) };
    for (author, age_s, stamp_at_ms) in [(1, 0, 5_000), (2, 30, 9_000), (3, 0, 0)] {
        table.insert(record(author, 1, node()), age_s, at(10));
        table.insert(record(author, 2, Facts::Streams(vec![told(stamp_at_ms)])), age_s, at(10));
    }
    let now = Time::from_micros(12_250_000);
    let stamps: Vec<u64> = table.publishers_at(&name, now).iter().map(|(_, facts)| facts.stamp_at_ms).collect();
    // The second one was signed 20 s before this node began to count; the third one says nothing.
    assert_eq!(stamps, [7_250, 41_250, 0]);
    assert!(table.publishers_at(&StreamName::new("other").unwrap(), now).is_empty());
}
