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
