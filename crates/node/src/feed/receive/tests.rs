use levada_media::object::put_varint;
use levada_overlay::LinkId;

use super::*;

const LINK: LinkId = LinkId(1);

/// Opens a full feed into a log.
fn open(feeds: &Feeds, feed: u64, log: &Arc<StreamLog>) -> FeedId {
    let feed = FeedId(feed);
    let inflow = Inflow { link: LINK, feed, mode: Mode::Full, report: false, passed_on: false };
    let watched = Arc::new(Watched::new(Instant::now()));
    feeds.open(feed, Arc::new(Inlet::new(&inflow, log.clone(), watched)));
    feed
}

fn header_of(feed: FeedId, timeline: u64, group: u64) -> BytesMut {
    let mut bytes = BytesMut::new();
    for field in [feed.0, timeline, group, Layer::Video as u64, 1] {
        put_varint(&mut bytes, field);
    }
    bytes
}

#[test]
fn stamps_and_timelines_that_nobody_can_count_on_from_are_malformed() {
    let feeds = Feeds::default();
    let feed = open(&feeds, 1, &Arc::default());
    let read = |timeline, group| header(&mut header_of(feed, timeline, group), LINK, &feeds);
    let target = read(TIMELINE_MAX, STAMP_MAX - 1).unwrap().unwrap();
    assert_eq!((target.group.group, target.previous), (STAMP_MAX - 1, Some(STAMP_MAX - 2)));
    assert!(matches!(read(TIMELINE_MAX, STAMP_MAX), Err(ReceiveError::Header)));
    assert!(matches!(read(TIMELINE_MAX + 1, 1), Err(ReceiveError::Header)));
}

/// The first group whose video may yet come.
fn video_from(log: &StreamLog) -> u64 {
    log.resume().unwrap().layers[Layer::Video as usize].0
}

#[test]
fn what_one_feed_dropped_is_waited_for_while_another_may_bring_it() {
    let (feeds, log) = (Feeds::default(), Arc::new(StreamLog::default()));
    let [main, candidate, former] = [1, 2, 3].map(|feed| open(&feeds, feed, &log));
    let other = open(&feeds, 4, &Arc::default());
    let begin = |stamp: u64| {
        let opener = Object::catalog(b"{}").unwrap();
        log.insert(GroupId { group: stamp, timeline: 7 }, Some(stamp - 1), opener, Instant::now());
    };
    (1..=3).for_each(begin);
    let drop_before = |feed, stamp| {
        let gap = Gap { feed, layer: Layer::Video as u8, from: (1, 0), to: (stamp, 0) };
        feeds.gap(LINK, &gap);
    };
    assert_eq!(video_from(&log), 1);
    drop_before(main, 3);
    drop_before(other, 3);
    assert_eq!(video_from(&log), 1, "two other feeds are open");
    drop_before(candidate, 2);
    assert_eq!(video_from(&log), 1, "one other feed is open");
    feeds.close(former);
    assert_eq!(video_from(&log), 2, "both dropped what lies before");
    feeds.close(candidate);
    assert_eq!(video_from(&log), 3, "nobody is left to bring it");
    drop_before(main, 6);
    open(&feeds, 5, &log);
    (4..=5).for_each(begin);
    assert_eq!(video_from(&log), 4, "another one has come");
}

#[test]
fn a_feed_tells_how_much_it_brought_and_when_last() {
    let inflow = Inflow { link: LINK, feed: FeedId(1), mode: Mode::Full, report: false, passed_on: false };
    let inlet = Inlet::new(&inflow, Arc::default(), Arc::new(Watched::new(Instant::now())));
    assert_eq!(inlet.brought(), (None, 0));
    let at = inlet.opened_at + Duration::from_micros(1_500);
    inlet.bring(at);
    inlet.bring(inlet.opened_at);
    assert_eq!(inlet.brought(), (Some(at), 2));
}
