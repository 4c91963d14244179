use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;

use levada_media::Frame;
use levada_media::object::MAX_PAYLOAD;
use levada_overlay::{Inflow, LinkId, Mode};
use quinn::{Connection, PathStats};
use tokio::sync::mpsc;

use super::*;
use crate::driver::ToBrain;
use crate::feed::{Feeds, Inlet, Watched, receive};
use crate::journal::Journal;
use crate::link::{self, LinkContext};
use crate::quic;
use crate::trust::{self, Authority};

const LINK: LinkId = LinkId(1);
const FEED: FeedId = FeedId(1);
const DEADLINE: Duration = Duration::from_secs(20);

/// So many objects, as large as they can be, make up what is sent twice.
const FIRST: u32 = (TWICE / MAX_PAYLOAD) as u32;

/// The end of a link that sends, and the connection at the other end.
async fn link_to_child() -> (LinkHandle, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_create(dir.path()).unwrap();
    let [parent, child] = ["parent", "child"].map(|name| authority.enrol(name, &dir.path().join(name)).unwrap());
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listening = quic::endpoint(anywhere, Some(trust::link_server_config(&child).unwrap())).unwrap();
    let dialling = quic::endpoint(anywhere, None).unwrap();
    let config = trust::link_client_config(&parent).unwrap();
    let dialled = dialling.connect_with(config, listening.local_addr().unwrap(), trust::SERVER_NAME).unwrap();
    let accepted = async { listening.accept().await.unwrap().await };
    let (to_child, from_parent) = tokio::try_join!(dialled, accepted).unwrap();
    let (brain, mut events) = mpsc::channel(64);
    let context =
        LinkContext { brain, feeds: Arc::default(), stats: Arc::default(), journal: Arc::new(Journal::new()) };
    let peer = trust::peer_identity(&to_child).unwrap();
    tokio::spawn(link::run(LINK, to_child, peer, true, context));
    let Some(ToBrain::LinkUp { handle, .. }) = events.recv().await else { panic!("the link is not up") };
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    (handle, from_parent)
}

/// Puts what comes into a log, as a node does.
fn take(connection: Connection, log: &Arc<StreamLog>, stats: &Arc<Stats>) {
    let feeds = Arc::<Feeds>::default();
    let inflow = Inflow { link: LINK, feed: FEED, mode: Mode::Full, report: false, passed_on: false };
    feeds.open(FEED, Arc::new(Inlet::new(&inflow, log.clone(), Arc::new(Watched::new(Instant::now())))));
    let (stats, brain) = (stats.clone(), mpsc::channel(1).0);
    tokio::spawn(async move {
        while let Ok(stream) = connection.accept_uni().await {
            tokio::spawn(receive(stream, LINK, feeds.clone(), brain.clone(), stats.clone()));
        }
    });
}

fn group(stamp: u64) -> GroupId {
    GroupId { group: stamp, timeline: 7 }
}

fn fill(log: &StreamLog, stamp: u64, indices: std::ops::Range<u32>) {
    for index in indices {
        let data = Bytes::from(vec![index as u8; MAX_PAYLOAD]);
        let frame = Frame { track: 0, pts: 0, dts: 0, duration: 1, keyframe: index == 0, discardable: false, data };
        let object = Object::split(&frame, Layer::Video, index).next().unwrap();
        log.insert(group(stamp), stamp.checked_sub(1), object, Instant::now());
    }
    log.wake();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, polled).await.is_ok(), "expected: {what}");
}

#[tokio::test]
async fn the_first_of_a_feed_may_be_sent_twice_and_is_held_once() {
    let (link, connection) = link_to_child().await;
    let [sent, received] = [(); 2].map(|()| Arc::<StreamLog>::default());
    let [sending, receiving] = [(); 2].map(|()| Arc::<Stats>::default());
    take(connection, &received, &receiving);
    let target = ChildTarget { link, feed: FEED };
    let outlet = Outlet { log: sent.clone(), target, layer: Layer::Video };
    let again = Again::begin(outlet.clone());
    let sender = LayerSender::new(outlet, sending.clone(), again);
    tokio::spawn(sender.run(LayerCursor::start(Layer::Video, None)));
    let came = |objects: u32, twice: u32| {
        let [all, again] = [&receiving.objects_in, &receiving.duplicates].map(|count| count.load(Ordering::Relaxed));
        all == u64::from(objects + twice) && again == u64::from(twice)
    };
    // A group ends while more is to be sent twice.
    fill(&sent, 1, 0..1);
    sent.end(group(1), None, 1);
    sent.wake();
    until("the only one of the first group comes twice", || came(1, 1)).await;
    // The next one holds more than that.
    fill(&sent, 2, 0..FIRST + 2);
    sent.end(group(2), None, FIRST + 2);
    sent.wake();
    let whole = || received.summary().iter().map(|group| group.complete).collect::<Vec<_>>();
    until("both groups are whole", || whole() == [Some(1), Some(FIRST + 2)]).await;
    until("the first comes twice, and what follows once", || came(FIRST + 3, FIRST)).await;
    assert_eq!(sending.objects_out.load(Ordering::Relaxed), u64::from(FIRST + 3), "they count once");
}

/// A sender of video over a link where packets queue, and of a log that holds the beginning of a group.
async fn short_sender() -> (LayerSender, Arc<StreamLog>, Connection) {
    let (link, connection) = link_to_child().await;
    let log = Arc::<StreamLog>::default();
    link.turns.set_short(true);
    let outlet = Outlet { log: log.clone(), target: ChildTarget { link, feed: FEED }, layer: Layer::Video };
    fill(&log, 1, 0..1);
    (LayerSender::new(outlet, Arc::default(), Again::default()), log, connection)
}

async fn write_one(sender: &mut LayerSender, log: &StreamLog) {
    let mut objects = Vec::new();
    LayerCursor::start(Layer::Video, Some(group(1))).next(log, 1, &mut objects, Instant::now());
    sender.write(group(1), &mut [objects[0].wire().clone()], None, true).await.unwrap();
}

#[tokio::test]
async fn what_was_written_before_video_is_passed_over_arrives() {
    let (mut sender, log, connection) = short_sender().await;
    let received = Arc::<StreamLog>::default();
    take(connection, &received, &Arc::default());
    write_one(&mut sender, &log).await;
    sender.skip((group(1), 1), (group(2), 0));
    until("the picture arrives", || received.head().is_some()).await;
}

/// Or else the child would take for dropped what is still on its way.
#[tokio::test]
async fn a_gap_waits_for_the_group_before_that_was_sent_whole() {
    let (mut sender, log, _connection) = short_sender().await;
    let (told, mut waiting) = mpsc::channel(GAPS_WAITING);
    sender.gaps.waiting = Some(told);
    let mut waits_for = || waiting.try_recv().map(|(written, _)| written.map(|stream| stream.is_some()));
    write_one(&mut sender, &log).await;
    sender.end(group(1), Some(1)).await.unwrap();
    sender.end(group(1), None).await.unwrap();
    sender.skip((group(2), 0), (group(3), 0));
    assert_eq!(waits_for(), Ok([true, false]));
    write_one(&mut sender, &log).await;
    sender.skip((group(3), 1), (group(4), 0));
    assert_eq!(waits_for(), Ok([false, true]));
}

#[test]
fn whole_objects_are_taken_until_it_is_enough_and_none_where_there_is_no_room() {
    let objects = [600, 300, 200, 100].map(|len| Bytes::from(vec![0; len]));
    let (sender, mut waiting) = mpsc::channel(1);
    let mut again = Again { left: 1_000, objects: Some(sender), _task: JoinSet::new() };
    again.send(group(1), &objects[..1]);
    again.send(group(1), &objects[..1]);
    again.send(group(2), &objects);
    assert!(again.objects.is_none(), "it was enough");
    let taken = waiting.try_recv().map(|(_, objects)| objects.len());
    assert_eq!((taken, waiting.try_recv().is_err()), (Ok(1), true));
}

#[test]
fn a_link_may_lose_packets_until_it_has_carried_hundreds_and_lost_few() {
    let may_lose = |lost, sent| {
        let mut path = PathStats::default();
        (path.lost_packets, path.sent_packets) = (lost, sent);
        may_lose(&path)
    };
    assert!(may_lose(0, 0) && may_lose(0, 499) && may_lose(1, 999) && may_lose(10, 1_000));
    assert!(!may_lose(0, 500) && !may_lose(1, 1_000) && !may_lose(3, 2_000));
}
