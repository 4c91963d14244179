use bytes::Bytes;
use levada_media::Frame;

use super::cursor::{HOLE_PATIENCE, LAG_MAX};
use super::*;

fn object(index: u32, layer: Layer) -> Object {
    let data = Bytes::from(index.to_be_bytes().to_vec());
    let frame = Frame { track: 0, pts: 0, dts: 0, duration: 1, keyframe: index == 0, discardable: false, data };
    Object::split(&frame, layer, index).next().unwrap()
}

/// Even indices are audio, odd ones video.
fn layer_of(index: u32) -> Layer {
    if index.is_multiple_of(2) { Layer::Base } else { Layer::Video }
}

/// A group of timeline 1.
fn id(group: u64) -> GroupId {
    of(1, group)
}

fn of(timeline: u64, group: u64) -> GroupId {
    GroupId { group, timeline }
}

/// Puts an object into a log whose groups are one apart.
fn put(log: &StreamLog, group: u64, object: Object, now: Instant) -> Inserted {
    log.insert(id(group), group.checked_sub(1), object, now)
}

fn fill(log: &StreamLog, group: u64, indices: std::ops::Range<u32>) {
    for index in indices {
        assert_eq!(put(log, group, object(index, layer_of(index)), Instant::now()), Inserted::Newest);
    }
}

fn read(cursor: &mut FrameCursor, log: &StreamLog, now: Instant) -> Vec<u32> {
    let mut out = Vec::new();
    while matches!(cursor.next(log, 3, &mut out, now), FrameStep::Objects(_)) {}
    out.iter().map(|object| object.index).collect()
}

#[test]
fn a_frame_cursor_reads_everything_once_and_in_order() {
    let log = StreamLog::default();
    let mut cursor = FrameCursor::newest();
    fill(&log, 1, 0..5);
    assert_eq!(read(&mut cursor, &log, Instant::now()), [0, 1, 2, 3, 4]);
    log.end(id(1), None, 5);
    fill(&log, 2, 0..2);
    assert_eq!(read(&mut cursor, &log, Instant::now()), [0, 1]);
    assert_eq!((cursor.lost, cursor.read), (0, 7));
}

#[test]
fn a_hole_is_waited_for_and_then_passed_over_and_counted() {
    let log = StreamLog::default();
    let mut cursor = FrameCursor::newest();
    let now = Instant::now();
    for index in [0, 1, 4, 5] {
        put(&log, 1, object(index, layer_of(index)), now);
    }
    assert_eq!(read(&mut cursor, &log, now), [0, 1]);
    assert_eq!(read(&mut cursor, &log, now + HOLE_PATIENCE + Duration::from_millis(1)), [4, 5]);
    assert_eq!(cursor.lost, 2);
}

#[test]
fn a_hole_that_fills_in_time_costs_nothing() {
    let log = StreamLog::default();
    let mut cursor = FrameCursor::newest();
    for index in [0, 2, 3] {
        put(&log, 1, object(index, layer_of(index)), Instant::now());
    }
    assert_eq!(read(&mut cursor, &log, Instant::now()), [0]);
    assert_eq!(put(&log, 1, object(1, Layer::Video), Instant::now()), Inserted::Filled);
    assert_eq!(read(&mut cursor, &log, Instant::now()), [1, 2, 3]);
    assert_eq!(cursor.lost, 0);
}

#[test]
fn a_layer_cursor_gives_its_layer_and_its_end_once() {
    let log = StreamLog::default();
    fill(&log, 7, 0..6);
    let mut cursor = LayerCursor::start(Layer::Video, None);
    let mut out = Vec::new();
    assert!(matches!(cursor.next(&log, 10, &mut out, Instant::now()), LayerStep::Objects(GroupId { group: 7, .. }, _)));
    assert_eq!(out.iter().map(|object| object.index).collect::<Vec<_>>(), [1, 3, 5]);
    assert!(matches!(cursor.next(&log, 10, &mut out, Instant::now()), LayerStep::Wait));
    log.end(id(7), None, 6);
    let end = cursor.next(&log, 10, &mut out, Instant::now());
    assert!(matches!(end, LayerStep::End { group: GroupId { group: 7, .. }, total: Some(6), owed: true }), "{end:?}");
    assert!(matches!(cursor.next(&log, 10, &mut out, Instant::now()), LayerStep::Wait));
}

#[test]
fn an_empty_tail_is_told_to_a_child_that_resumes_right_at_the_end() {
    let parent = StreamLog::default();
    fill(&parent, 7, 0..4);
    parent.end(id(7), None, 4);
    let child = StreamLog::default();
    fill(&child, 7, 0..4);
    let resume = child.resume().unwrap();
    assert_eq!(resume.layers, [(7, 3), (7, 4), (7, 0)]);
    let mut cursor = LayerCursor::resume(Layer::Video, &resume);
    let step = cursor.next(&parent, 10, &mut Vec::new(), Instant::now());
    assert!(matches!(step, LayerStep::End { total: Some(4), owed: true, .. }), "{step:?}");
}

#[test]
fn a_resume_point_names_the_first_missing_object_of_each_layer() {
    let log = StreamLog::default();
    assert_eq!(log.resume(), None);
    fill(&log, 1, 0..4);
    log.end(id(1), Some(Layer::Base), 6);
    fill(&log, 2, 0..1);
    // Video of group 1 is incomplete although group 2 has begun.
    assert_eq!(log.resume().unwrap().layers, [(2, 1), (1, 4), (1, 0)]);
}

#[test]
fn a_reader_that_falls_too_far_behind_goes_on_at_the_newest_group() {
    let log = StreamLog::default();
    let mut cursor = LayerCursor::start(Layer::Base, Some(id(1)));
    let now = Instant::now();
    fill(&log, 1, 0..4);
    fill(&log, 2, 0..4);
    fill(&log, 3, 0..4);
    assert!(matches!(cursor.next(&log, 1, &mut Vec::new(), now), LayerStep::Objects(GroupId { group: 1, .. }, _)));
    let step = cursor.next(&log, 1, &mut Vec::new(), now + LAG_MAX + Duration::from_secs(1));
    let LayerStep::Skipped { from, to } = step else { panic!("{step:?}") };
    assert_eq!((from, to), ((id(1), 1), (id(3), 0)));
}

/// A child that was cut off for long resumes far behind; that is no reason to drop what it lacks.
#[test]
fn a_reader_that_begins_far_behind_is_given_everything() {
    let log = StreamLog::default();
    for group in 1..=5 {
        fill(&log, group, 0..4);
        log.end(id(group), None, 4);
    }
    let late = Instant::now() + LAG_MAX * 2;
    let mut cursor = LayerCursor::resume(Layer::Base, &Resume { timeline: 1, layers: [(1, 1); 3] });
    let mut out = Vec::new();
    loop {
        match cursor.next(&log, 1, &mut out, late) {
            LayerStep::Wait => break,
            LayerStep::Skipped { from, to } => panic!("skipped from {from:?} to {to:?}"),
            LayerStep::Objects(..) | LayerStep::End { .. } => {}
        }
    }
    assert_eq!(out.len(), 1 + 4 * 2);
}

#[test]
fn old_groups_go_and_the_two_newest_stay() {
    let log = StreamLog::default();
    let start = Instant::now();
    for group in 0..10 {
        let now = start + Duration::from_secs(60 * group);
        assert_eq!(put(&log, group, object(0, Layer::Base), now), Inserted::Newest);
    }
    assert_eq!(log.summary().iter().map(|group| group.id.group).collect::<Vec<_>>(), [8, 9]);
    assert_eq!(put(&log, 7, object(0, Layer::Base), start), Inserted::Refused, "it went");
}

#[test]
fn what_comes_twice_is_counted_and_what_is_out_of_bounds_refused() {
    let log = StreamLog::default();
    let now = Instant::now();
    fill(&log, 1, 0..1);
    assert_eq!(put(&log, 1, object(0, Layer::Base), now), Inserted::Duplicate);
    assert_eq!(put(&log, 1, object(OBJECTS_MAX, Layer::Base), now), Inserted::Refused);
    assert_eq!(put(&log, 1, object(AHEAD_MAX as u32 + 9, Layer::Base), now), Inserted::Refused);
    log.end(id(1), None, 1);
    assert_eq!(put(&log, 1, object(1, Layer::Base), now), Inserted::Refused, "beyond the end");
    let stats = log.stats();
    assert_eq!((stats.objects, stats.duplicates, stats.refused), (1, 1, 3));
}

#[test]
fn a_broadcast_that_begins_anew_is_followed_without_waiting() {
    let log = StreamLog::default();
    let mut cursor = FrameCursor::newest();
    fill(&log, 9, 0..3);
    assert_eq!(read(&mut cursor, &log, Instant::now()).len(), 3);
    log.insert(of(2, 10), None, object(0, Layer::Base), Instant::now());
    assert_eq!(read(&mut cursor, &log, Instant::now()), [0]);
    assert_eq!(cursor.lost, 0);
}

/// Layers travel on streams of their own: after a resume, audio of the next group may overtake video of this one.
#[test]
fn a_group_that_arrives_after_its_successor_is_waited_for() {
    let log = StreamLog::default();
    let now = Instant::now();
    let resume = Resume { timeline: 1, layers: [(1, 4), (1, 3), (1, 0)] };
    let mut cursor = LayerCursor::resume(Layer::Video, &resume);
    let mut out = Vec::new();
    put(&log, 2, object(0, Layer::Base), now);
    assert!(matches!(cursor.next(&log, 10, &mut out, now), LayerStep::Wait));
    put(&log, 1, object(3, Layer::Video), now);
    assert!(matches!(cursor.next(&log, 10, &mut out, now), LayerStep::Objects(GroupId { group: 1, .. }, _)));
    let mut never = LayerCursor::resume(Layer::Video, &Resume { timeline: 1, layers: [(0, 0); 3] });
    assert!(matches!(never.next(&log, 10, &mut out, now), LayerStep::Wait));
    let late = now + LAG_MAX + Duration::from_millis(1);
    assert!(matches!(never.next(&log, 10, &mut out, late), LayerStep::Skipped { .. }));
}

/// A layer may hold nothing because nothing was made: only where the log was filled from tells what is missing.
#[test]
fn a_log_knows_whether_it_can_serve_a_child_that_is_behind() {
    let log = StreamLog::default();
    let from = Resume { timeline: 1, layers: [(5, 20), (5, 19), (5, 0)] };
    assert!(!log.begins_after(&from), "an empty log cannot tell");
    log.begin(from);
    put(&log, 5, object(20, Layer::Base), Instant::now());
    assert!(!log.begins_after(&from));
    assert!(!log.begins_after(&Resume { timeline: 1, layers: [(6, 0); 3] }));
    assert!(log.begins_after(&Resume { timeline: 1, layers: [(5, 20), (5, 17), (5, 0)] }));
    assert!(log.begins_after(&Resume { timeline: 1, layers: [(4, 9), (4, 8), (4, 0)] }));
    let whole = StreamLog::default();
    fill(&whole, 5, 0..4);
    assert!(!whole.begins_after(&Resume { timeline: 1, layers: [(5, 2), (5, 1), (5, 0)] }));
    assert!(whole.begins_after(&Resume { timeline: 1, layers: [(4, 2), (4, 1), (4, 0)] }));
}
