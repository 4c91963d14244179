use std::sync::Arc;

use bytes::Bytes;
use levada_media::Frame;

use super::cursor::{HOLE_PATIENCE, LAG_MAX, WARM_UP};
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

/// One child has all of a group's base, and where it went on this log was filled from; another lacks but the end of it.
#[test]
fn the_end_of_a_group_is_lacking_like_its_objects() {
    let log = StreamLog::default();
    log.begin(Resume { timeline: 1, layers: [(1_001, 0), (1_000, 3), (1_001, 0)] });
    part(&log, id(1_000), Some(500), 3..4);
    let lacks = |base| log.begins_after(&Resume { timeline: 1, layers: [base, (1_000, 3), (1_001, 0)] });
    assert!(lacks((1_000, 4)), "it has objects of the group, so an end is owed to it");
    assert!(lacks((1_000, 0)), "the group is there, and its base never came here");
    assert!(!lacks((1_001, 0)));
}

/// A log of stamped groups of four objects each, all ended: (timeline, stamp, previous).
fn stamped(groups: &[(u64, u64, Option<u64>)]) -> StreamLog {
    let log = StreamLog::default();
    groups.iter().for_each(|(timeline, stamp, previous)| whole(&log, of(*timeline, *stamp), *previous));
    log
}

fn whole(log: &StreamLog, id: GroupId, previous: Option<u64>) {
    part(log, id, previous, 0..4);
    log.end(id, None, 4);
}

fn part(log: &StreamLog, id: GroupId, previous: Option<u64>, indices: std::ops::Range<u32>) {
    indices.for_each(|index| {
        let taken = log.insert(id, previous, object(index, layer_of(index)), Instant::now());
        assert!(matches!(taken, Inserted::Newest | Inserted::Filled), "{id:?} {index}: {taken:?}");
    });
}

/// Groups in the order in which a frame cursor enters them.
fn tour(cursor: &mut FrameCursor, log: &StreamLog, now: Instant) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    while let FrameStep::Objects(id) = cursor.next(log, 100, &mut Vec::new(), now) {
        out.push((id.timeline, id.group));
    }
    out.dedup();
    out
}

/// What a layer cursor gives until it waits: groups whose objects came, and ends with what was told of them.
fn steps(cursor: &mut LayerCursor, log: &StreamLog, now: Instant) -> Vec<String> {
    let mut out = Vec::new();
    loop {
        let mut objects = Vec::new();
        out.push(match cursor.next(log, 100, &mut objects, now) {
            LayerStep::Objects(id, _) => format!("{}x{}@{}", objects.len(), id.group, id.timeline),
            LayerStep::End { group, total, owed } => {
                format!("end {}@{} {}", group.group, group.timeline, total.filter(|_| owed).unwrap_or(0))
            }
            LayerStep::Skipped { from, to } => format!("skip {} to {}", from.0.group, to.0.group),
            LayerStep::Wait => return out,
        });
    }
}

fn at(timeline: u64, group: u64) -> FrameCursor {
    FrameCursor::at(of(timeline, group))
}

fn from(layer: Layer, timeline: u64, point: (u64, u32)) -> LayerCursor {
    LayerCursor::resume(layer, &Resume { timeline, layers: [point; 3] })
}

const SOON: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_secs(10);

#[test]
fn stamps_far_apart_follow_each_other_if_nothing_is_told_to_lie_between() {
    let log = stamped(&[(1, 1_000, None), (1, 2_005, Some(1_000)), (1, 2_990, Some(2_005))]);
    let mut cursor = at(1, 1_000);
    assert_eq!(tour(&mut cursor, &log, Instant::now()), [(1, 1_000), (1, 2_005), (1, 2_990)]);
    assert_eq!(cursor.lost, 0);
    let mut layer = LayerCursor::start(Layer::Video, Some(id(1_000)));
    let seen = steps(&mut layer, &log, Instant::now());
    assert_eq!(seen, ["2x1000@1", "end 1000@1 4", "2x2005@1", "end 2005@1 4", "2x2990@1", "end 2990@1 4"]);
}

#[test]
fn a_gap_told_by_the_previous_stamp_is_waited_for_and_then_counted() {
    let log = stamped(&[(1, 1_000, None), (1, 3_000, Some(2_000))]);
    let mut cursor = at(1, 1_000);
    let mut layer = LayerCursor::start(Layer::Base, Some(id(1_000)));
    let now = Instant::now();
    assert_eq!(tour(&mut cursor, &log, now + SOON), [(1, 1_000)]);
    assert_eq!(steps(&mut layer, &log, now + SOON), ["2x1000@1", "end 1000@1 4"]);
    let (mut impatient, mut hasty) = (cursor.clone(), layer.clone());
    assert_eq!(tour(&mut impatient, &log, now + LATE), [(1, 3_000)]);
    assert_eq!(impatient.lost, 1);
    assert_eq!(steps(&mut hasty, &log, now + LATE)[0], "skip 1001 to 3000");
    // It comes in time: a late group head.
    whole(&log, id(2_000), Some(1_000));
    assert_eq!(tour(&mut cursor, &log, now + LATE), [(1, 2_000), (1, 3_000)]);
    assert_eq!(cursor.lost, 0);
    assert_eq!(steps(&mut layer, &log, now + SOON)[0], "2x2000@1");
}

#[test]
fn a_group_of_unknown_predecessor_is_taken_as_the_next_and_what_is_learnt_later_counts() {
    let log = stamped(&[(1, 1_000, None), (1, 3_000, None)]);
    let mut cursor = at(1, 1_000);
    assert_eq!(tour(&mut cursor, &log, Instant::now()), [(1, 1_000), (1, 3_000)]);
    assert_eq!(log.previous(id(3_000)), None);
    let taken = log.insert(id(4_000), None, object(0, Layer::Base), Instant::now());
    assert_eq!(taken, Inserted::Newest);
    log.insert(id(4_000), Some(3_500), object(1, Layer::Video), Instant::now());
    assert_eq!(log.previous(id(4_000)), Some(3_500));
    assert_eq!(tour(&mut cursor, &log, Instant::now()), []);
}

#[test]
fn a_resume_at_the_beginning_of_whatever_comes_next_finds_it() {
    let log = stamped(&[(1, 1_000, None), (1, 2_000, Some(1_000)), (1, 4_000, Some(3_000))]);
    let now = Instant::now();
    assert_eq!(steps(&mut from(Layer::Base, 1, (1_001, 0)), &log, now)[0], "2x2000@1");
    assert_eq!(steps(&mut from(Layer::Base, 1, (3_001, 0)), &log, now)[0], "2x4000@1");
    assert!(steps(&mut from(Layer::Base, 1, (2_001, 0)), &log, now).is_empty(), "3000 may come yet");
    assert!(steps(&mut from(Layer::Base, 1, (4_001, 0)), &log, now).is_empty());
}

#[test]
fn a_reader_moves_to_another_timeline_and_back_as_soon_as_newer_groups_are_there() {
    let log = StreamLog::default();
    part(&log, of(1, 1_000), None, 0..3);
    let now = Instant::now();
    let mut cursor = FrameCursor::newest();
    let mut layer = LayerCursor::start(Layer::Base, Some(of(1, 1_000)));
    assert_eq!(tour(&mut cursor, &log, now), [(1, 1_000)]);
    assert_eq!(steps(&mut layer, &log, now), ["2x1000@1"]);
    // An older group of the other origin is no reason to move; a newer one is, although group 1000 has not ended.
    whole(&log, of(2, 500), None);
    assert_eq!(tour(&mut cursor, &log, now), []);
    whole(&log, of(2, 1_500), Some(500));
    assert_eq!(tour(&mut cursor, &log, now), [(2, 1_500)]);
    assert_eq!(steps(&mut layer, &log, now), ["end 1000@1 0", "2x1500@2", "end 1500@2 4"]);
    whole(&log, of(1, 2_000), Some(1_000));
    assert_eq!(tour(&mut cursor, &log, now), [(1, 2_000)]);
    assert_eq!(steps(&mut layer, &log, now), ["end 1500@2 0", "2x2000@1", "end 2000@1 4"]);
    assert_eq!(cursor.lost, 0);
}

#[test]
fn of_two_timelines_that_interleave_a_reader_keeps_to_its_own() {
    let log = stamped(&[
        (1, 1_000, None),
        (2, 1_500, None),
        (1, 2_000, Some(1_000)),
        (2, 2_500, Some(1_500)),
        (1, 3_000, Some(2_000)),
    ]);
    let now = Instant::now();
    assert_eq!(tour(&mut at(1, 1_000), &log, now), [(1, 1_000), (1, 2_000), (1, 3_000)]);
    // Timeline 2 ends first; then the newer group of the other one comes next.
    assert_eq!(tour(&mut at(2, 1_500), &log, now), [(2, 1_500), (2, 2_500), (1, 3_000)]);
}

#[test]
fn the_end_of_a_group_exactly_at_the_change_is_told() {
    let log = stamped(&[(1, 1_000, None), (2, 1_500, None)]);
    let mut layer = LayerCursor::resume(Layer::Video, &Resume { timeline: 1, layers: [(1_000, 4); 3] });
    let seen = steps(&mut layer, &log, Instant::now());
    assert_eq!(seen, ["end 1000@1 4", "2x1500@2", "end 1500@2 4"], "an empty tail, then the other timeline");
}

#[test]
fn a_child_whose_timeline_is_not_held_gets_the_first_newer_group_in_all_layers() {
    let log = stamped(&[(2, 900, None), (2, 1_000, Some(900)), (2, 1_100, Some(1_000))]);
    let resume = Resume { timeline: 1, layers: [(1_001, 0), (1_000, 3), (1_000, 0)] };
    for layer in [Layer::Base, Layer::Video] {
        let mut cursor = LayerCursor::resume(layer, &resume);
        let seen = steps(&mut cursor, &log, Instant::now());
        assert_eq!(seen.iter().find(|step| step.starts_with('2')).unwrap(), "2x1100@2", "{layer:?}: {seen:?}");
    }
    assert_eq!(tour(&mut at(1, 1_001), &log, Instant::now()), [(2, 1_100)]);
    assert!(steps(&mut from(Layer::Base, 1, (1_101, 0)), &log, Instant::now()).is_empty(), "nothing newer yet");
}

#[test]
fn a_resume_point_is_before_whatever_is_missing() {
    let log = stamped(&[(1, 1_000, None), (1, 3_000, Some(2_000))]);
    part(&log, id(4_000), Some(3_000), 0..2);
    assert_eq!(log.resume().unwrap().layers, [(1_001, 0); 3], "2000 is missing although 3000 is whole");
    Layer::ALL.iter().for_each(|layer| log.skip(*layer, 2_001));
    assert_eq!(log.resume().unwrap().layers, [(4_000, 1), (4_000, 2), (4_000, 0)], "a parent dropped it");
    let log = stamped(&[(1, 1_000, None)]);
    part(&log, id(3_000), Some(2_000), 0..2);
    assert_eq!(log.resume().unwrap().layers, [(1_001, 0); 3], "2000 is missing");
    log.skip(Layer::Video, 3_000);
    assert_eq!(log.resume().unwrap().layers, [(1_001, 0), (3_000, 2), (1_001, 0)], "a parent dropped it in one layer");
    // Another timeline that is newer is what goes on.
    whole(&log, of(2, 3_500), None);
    assert_eq!(log.resume().unwrap(), Resume { timeline: 2, layers: [(3_501, 0); 3] });
}

#[test]
fn a_log_that_was_asked_for_from_further_back_asks_again_until_it_came() {
    let log = StreamLog::default();
    log.begin(Resume { timeline: 1, layers: [(1_001, 0), (1_000, 3), (1_001, 0)] });
    part(&log, id(3_000), Some(2_000), 0..1);
    assert_eq!(log.resume().unwrap().layers, [(1_001, 0), (1_000, 3), (1_001, 0)]);
    whole(&log, id(2_000), Some(1_000));
    assert_eq!(log.resume().unwrap().layers[0], (3_000, 1));
}

#[test]
fn whether_a_child_can_be_served_is_told_by_the_first_group_of_its_own_timeline() {
    let log = stamped(&[(2, 1_000, Some(900)), (1, 1_500, Some(500)), (2, 2_000, Some(1_000))]);
    let wants = |timeline, group| log.begins_after(&Resume { timeline, layers: [(group, 0); 3] });
    assert!(wants(2, 801) && wants(2, 900), "900 is told of and not here");
    assert!(!wants(2, 901) && !wants(2, 1_001));
    assert!(wants(1, 500) && !wants(1, 501));
    assert!(wants(3, 900) && !wants(3, 901), "of a timeline that is not held a child gets what is newer");
    let first = stamped(&[(1, 1_000, None)]);
    assert!(!first.begins_after(&Resume { timeline: 1, layers: [(10, 0); 3] }), "nothing was made before");
}

#[test]
fn groups_of_all_timelines_age_alike() {
    let log = StreamLog::default();
    let start = Instant::now();
    for n in 0..10 {
        let now = start + Duration::from_secs(60 * n);
        let taken = log.insert(of(1 + n % 2, 1_000 * n), None, object(0, Layer::Base), now);
        assert_eq!(taken, Inserted::Newest);
    }
    let held: Vec<u64> = log.summary().iter().map(|group| group.id.group).collect();
    assert_eq!(held, [8_000, 9_000]);
    assert_eq!(log.insert(of(5, 7_500), None, object(0, Layer::Base), start), Inserted::Filled);
    assert_eq!(
        log.insert(of(5, 6_999), None, object(0, Layer::Base), start),
        Inserted::Refused,
        "older than what went"
    );
    assert_eq!(log.newest_group(), Some(of(2, 9_000)));
    // A reader of a group that went goes on with what is held, at once.
    let mut cursor = at(2, 5_000);
    assert_eq!(tour(&mut cursor, &log, start), [(2, 9_000)]);
}

/// After a failover two groups of the other origin come at once; of the second one something may be here first.
#[test]
fn another_timeline_is_entered_at_its_first_newer_group_even_if_that_comes_late() {
    let resume = Resume { timeline: 1, layers: [(1_000, 7), (1_000, 3), (1_000, 0)] };
    let log = StreamLog::default();
    log.begin(resume);
    let now = Instant::now();
    let mut muxer = FrameCursor::at(id(1_001));
    let mut layers = Layer::ALL.map(|layer| LayerCursor::resume(layer, &resume));
    part(&log, of(2, 2_500), Some(1_500), 0..1);
    layers.iter_mut().for_each(|layer| assert!(steps(layer, &log, now).is_empty()));
    assert_eq!(tour(&mut muxer, &log, now), []);
    assert!(!log.begins_after(&resume), "it was asked for");
    whole(&log, of(2, 1_500), Some(500));
    assert_eq!(tour(&mut muxer, &log, now), [(2, 1_500), (2, 2_500)]);
    assert_eq!(steps(&mut layers[0], &log, now), ["end 1000@1 0", "2x1500@2", "end 1500@2 4", "1x2500@2"]);
    assert_eq!(steps(&mut layers[1], &log, now), ["end 1000@1 0", "2x1500@2", "end 1500@2 4"]);
    // A log that joined at the newest group must be filled for such a child, once what it lacks is not gone.
    let cold = StreamLog::default();
    part(&cold, of(2, 2_500), Some(1_500), 0..1);
    assert!(cold.begins_after(&resume));
    assert!(!cold.begins_after(&Resume { timeline: 1, layers: [(1_600, 1); 3] }));
}

/// A parent that no longer has what was asked for says so, perhaps before the first object it has.
#[test]
fn what_a_parent_dropped_is_not_waited_for() {
    let log = stamped(&[(1, 1_000, None)]);
    let mut muxer = FrameCursor::at(id(1_000));
    let now = Instant::now();
    assert_eq!(tour(&mut muxer, &log, now), [(1, 1_000)]);
    Layer::ALL.iter().for_each(|layer| log.skip(*layer, 5_000));
    part(&log, of(2, 5_000), Some(4_000), 0..2);
    assert_eq!(tour(&mut muxer, &log, now), [(2, 5_000)]);
    let mut child = LayerCursor::start(Layer::Base, Some(id(1_001)));
    assert_eq!(steps(&mut child, &log, now), ["skip 1001 to 5000", "1x5000@2"], "children are told, too");
}

#[test]
fn a_log_that_begins_with_a_group_makes_nobody_wait_for_earlier_ones() {
    let log = StreamLog::default();
    let first = GroupId { group: 5_000, timeline: 1 };
    log.begins_with(first);
    let now = Instant::now();
    log.insert(first, None, object(0, Layer::Base), now);
    let resume = Resume { timeline: 1, layers: [(4_000, 7); LAYERS] };
    let mut cursor = LayerCursor::resume(Layer::Base, &resume);
    let mut out = Vec::new();
    assert!(matches!(cursor.next(&log, 4, &mut out, now), LayerStep::Skipped { .. }));
    assert!(matches!(cursor.next(&log, 4, &mut out, now), LayerStep::Objects(id, _) if id == first));
}

#[test]
fn a_log_has_a_bound_of_groups_even_if_none_of_them_holds_anything() {
    let log = StreamLog::default();
    for stamp in 0..2 * GROUPS_MAX as u64 {
        log.end(id(stamp), None, 1);
    }
    assert_eq!(log.summary().len(), GROUPS_MAX);
}

#[test]
fn a_refused_object_leaves_nothing_behind() {
    let log = StreamLog::default();
    for index in [OBJECTS_MAX, AHEAD_MAX as u32 + 1] {
        assert_eq!(put(&log, 1, object(index, Layer::Base), Instant::now()), Inserted::Refused);
    }
    assert_eq!((log.summary().len(), log.bytes(), log.stats().refused), (0, 0, 2));
}

#[test]
fn places_for_objects_that_are_missing_count_as_bytes() {
    let log = StreamLog::default();
    let far = AHEAD_MAX as u32;
    put(&log, 1, object(far, Layer::Base), Instant::now());
    assert!(log.bytes() > AHEAD_MAX * PLACE_LEN, "{} bytes", log.bytes());
    // So many of them that the oldest must go.
    for stamp in 2..=(BYTES_MAX / (AHEAD_MAX * PLACE_LEN)) as u64 + 2 {
        put(&log, stamp, object(far, Layer::Base), Instant::now());
    }
    assert!(log.bytes() <= BYTES_MAX && log.summary()[0].id > id(1));
}

#[test]
fn readers_start_at_the_newest_group_that_holds_something() {
    let log = StreamLog::default();
    fill(&log, 1, 0..3);
    log.end(id(9), None, 4);
    assert_eq!(read(&mut FrameCursor::newest(), &log, Instant::now()), [0, 1, 2]);
    let step = LayerCursor::start(Layer::Base, None).next(&log, 9, &mut Vec::new(), Instant::now());
    assert!(matches!(step, LayerStep::Objects(GroupId { group: 1, .. }, _)), "{step:?}");
}

#[test]
fn the_rate_of_media_does_not_depend_on_how_fast_they_came() {
    let log = StreamLog::default();
    assert_eq!(log.bitrate(), None);
    let len = object(0, Layer::Base).wire().len() as u64;
    // Ten seconds at once, as after a repair, then a hole, then the group that is being made.
    let now = Instant::now();
    for second in 0..10 {
        log.insert(id(second * 1_000), second.checked_sub(1).map(|s| s * 1_000), object(0, Layer::Base), now);
    }
    log.insert(id(60_000), Some(59_000), object(0, Layer::Base), now);
    log.insert(of(2, 61_000), None, object(0, Layer::Base), now);
    assert_eq!(log.bitrate(), Some(len * 8));
}

/// Interval of frames of [`video_given`], and frames of its groups.
const FRAME: Duration = Duration::from_millis(40);

/// What a child is given of the video of a stream, in groups of so many frames, over a cold link that takes so many objects in the
/// n-th frame interval: stamp, index, and how late it was given.
fn video_given(group_frames: u64, frames: u64, takes: impl Fn(u64) -> usize) -> Vec<(u64, u32, Duration)> {
    video_given_to(LayerCursor::start(Layer::Video, None), Instant::now(), group_frames, frames, takes)
}

/// The same, to a cursor, from a time on.
fn video_given_to(
    mut cursor: LayerCursor,
    start: Instant,
    group_frames: u64,
    frames: u64,
    takes: impl Fn(u64) -> usize,
) -> Vec<(u64, u32, Duration)> {
    let log = StreamLog::default();
    let mut given = Vec::new();
    for n in 0..frames {
        let (stamp, frame, now) = (n / group_frames * 10_000, (n % group_frames) as u32, start + FRAME * n as u32);
        for index in [frame * 2, frame * 2 + 1] {
            log.insert(id(stamp), stamp.checked_sub(10_000), object(index, layer_of(index)), now);
        }
        if u64::from(frame) + 1 == group_frames {
            log.end(id(stamp), None, group_frames as u32 * 2);
        }
        let mut left = takes(n);
        while left > 0 {
            let mut out = Vec::new();
            match cursor.next(&log, left, &mut out, now) {
                LayerStep::Objects(group, _) => {
                    left -= out.len();
                    let made =
                        |index: u32| start + FRAME * (group.group / 10_000 * group_frames) as u32 + FRAME * (index / 2);
                    given.extend(
                        out.iter().map(|object| (group.group, object.index, now.duration_since(made(object.index)))),
                    );
                }
                LayerStep::Wait => break,
                LayerStep::End { .. } | LayerStep::Skipped { .. } => {}
            }
        }
    }
    given
}

#[test]
fn a_child_that_gets_half_gets_the_beginning_of_every_group_in_time() {
    let given = video_given(50, 1_500, |n| usize::from(n % 2 == 0 || n < 100));
    for stamp in (4..29).map(|group| group * 10_000) {
        let indices: Vec<u32> = given.iter().filter(|one| one.0 == stamp).map(|one| one.1).collect();
        assert!(indices.len() >= 20, "{stamp}: {indices:?}");
        assert!(indices.iter().enumerate().all(|(n, index)| *index == n as u32 * 2 + 1), "no holes: {indices:?}");
    }
    let latest = given.iter().map(|one| one.2).max().unwrap();
    assert!(latest < Duration::from_secs(2), "{latest:?}");
}

/// It asked anew, for want of anything better, while its only link was squeezed.
#[test]
fn a_child_that_begins_anew_over_a_warm_link_which_carries_half_waits_no_longer_than_before() {
    let start = Instant::now();
    let latest = |warm: Option<Instant>| {
        let cursor = LayerCursor::start(Layer::Video, None).over_warm(warm);
        let given = video_given_to(cursor, start + WARM_UP, 50, 150, |n| usize::from(n % 2 == 0));
        given.iter().map(|one| one.2).max().unwrap()
    };
    assert!(latest(Some(start)) < Duration::from_millis(1_200), "{:?}", latest(Some(start)));
    assert!(latest(None) > Duration::from_millis(1_800), "it takes a cold link for one that will carry more");
}

#[test]
fn a_child_that_was_cut_off_for_two_seconds_and_catches_up_gets_all() {
    let given = video_given(50, 1_000, |n| if (300..350).contains(&n) { 0 } else { 2 });
    assert_eq!(given.len(), 1_000);
}

/// Two seconds behind when it joins, over a connection that gets going slowly.
#[test]
fn a_child_that_begins_behind_and_catches_up_late_gets_all() {
    let given = video_given(50, 1_000, |n| {
        if n < 49 {
            0
        } else if n < 110 {
            1
        } else {
            2
        }
    });
    assert_eq!(given.len(), 1_000);
}

#[test]
fn of_a_long_group_that_is_too_late_the_rest_is_passed_over() {
    let given = video_given(500, 1_100, |n| usize::from(n % 2 == 0));
    let latest = given.iter().map(|one| one.2).max().unwrap();
    assert!(latest < LAG_MAX + FRAME * 3, "{latest:?}");
    assert!(given.contains(&(10_000, 1, Duration::ZERO)), "the next one begins in time");
}

#[test]
fn what_no_layer_can_bring_any_more_is_passed_over_at_once() {
    let (log, now) = (StreamLog::default(), Instant::now());
    let mut cursor = FrameCursor::newest();
    fill(&log, 1, 0..4);
    log.end(id(1), None, 4);
    assert_eq!(read(&mut cursor, &log, now), [0, 1, 2, 3]);
    for index in [0, 1, 2, 4, 6] {
        put(&log, 2, object(index, layer_of(index)), now);
    }
    assert_eq!(read(&mut cursor, &log, now), [0, 1, 2], "video may still come");
    log.skip(Layer::Video, 3);
    assert_eq!(read(&mut cursor, &log, now), [4, 6], "a parent dropped it");
    assert_eq!(cursor.lost, 2);
}

/// A parent says what it drops when it does; the rest of that group may be on its way yet.
#[test]
fn what_was_dropped_of_a_group_that_is_not_here_yet_is_not_waited_for() {
    let (log, now) = (StreamLog::default(), Instant::now());
    let mut cursor = FrameCursor::at(id(1));
    fill(&log, 1, 0..4);
    log.end(id(1), None, 4);
    log.skip(Layer::Video, 3);
    for group in [2, 3] {
        for index in [0, 2, 4] {
            put(&log, group, object(index, Layer::Base), now);
        }
    }
    log.end(id(2), Some(Layer::Base), 5);
    assert_eq!(read(&mut cursor, &log, now), [0, 1, 2, 3, 0, 2, 4, 0], "what comes after it is waited for");
    // Another parent may bring it, but for what others have been told is dropped.
    log.skip(Layer::Video, 5);
    log.hope();
    put(&log, 3, object(5, Layer::Video), now);
    log.end(id(3), None, 6);
    for index in [0, 2] {
        put(&log, 4, object(index, Layer::Base), now);
    }
    assert_eq!(read(&mut cursor, &log, now), [2, 4, 5, 0]);
}

#[test]
fn a_group_that_comes_after_newer_ones_is_waited_for_whole() {
    let (log, now) = (StreamLog::default(), Instant::now());
    fill(&log, 5, 0..4);
    log.skip(Layer::Video, 5);
    put(&log, 2, object(3, Layer::Video), now);
    let resume = Resume { timeline: 1, layers: [(2, 3); LAYERS] };
    let mut cursor = LayerCursor::resume(Layer::Video, &resume);
    let mut step = || cursor.next(&log, 4, &mut Vec::new(), now);
    assert!(matches!(step(), LayerStep::Objects(..)));
    assert!(matches!(step(), LayerStep::Wait));
    put(&log, 2, object(5, Layer::Video), now);
    assert!(matches!(step(), LayerStep::Objects(..)));
}

/// A layer without anything in the group before is taken for one that the stream does not use, unless a parent dropped it there.
#[test]
fn the_beginning_of_a_group_is_waited_for_where_that_of_the_one_before_was_dropped() {
    let (log, now) = (StreamLog::default(), Instant::now());
    let mut cursor = FrameCursor::at(id(1));
    fill(&log, 1, 0..4);
    log.end(id(1), None, 4);
    for group in [2, 3] {
        for index in [0, 2] {
            put(&log, group, object(index, Layer::Base), now);
        }
    }
    log.end(id(2), Some(Layer::Base), 3);
    log.skip(Layer::Video, 3);
    let read = |cursor: &mut FrameCursor| {
        let (read, position) = (read(cursor, &log, now), cursor.position());
        (read.len(), position)
    };
    assert_eq!(read(&mut cursor), (4 + 2 + 1, Some((id(3), 1))));
    put(&log, 3, object(1, Layer::Video), now);
    assert_eq!(read(&mut cursor), (2, Some((id(3), 3))));
}

/// Of several groups that come at once, the last layer comes after the others of all of them.
#[test]
fn a_patient_reader_waits_for_a_layer_that_is_groups_behind() {
    let (log, now) = (StreamLog::default(), Instant::now());
    let rare = |index| object(index, Layer::Discardable);
    for group in [1, 2] {
        for index in [0, 1, 3, 4] {
            put(&log, group, object(index, layer_of(index)), now);
        }
    }
    let mut hasty = FrameCursor::at(id(2));
    assert_eq!((read(&mut hasty, &log, now), hasty.lost), (vec![0, 1, 3, 4], 1), "the layer seems not to be in use");
    let mut patient = FrameCursor::at(id(1));
    patient.patient = true;
    assert_eq!(read(&mut patient, &log, now), [0, 1]);
    for group in [1, 2] {
        put(&log, group, rare(2), now);
        log.end(id(group), None, 5);
    }
    assert_eq!(read(&mut patient, &log, now), [2, 3, 4, 0, 1, 2, 3, 4]);
    assert_eq!(patient.lost, 0);
}

/// It is in time at first, and then its connection, still cold, carries a third for two seconds.
#[test]
fn a_child_whose_connection_is_still_cold_gets_all() {
    let given = video_given(50, 1_000, |n| if n < 50 { usize::from(n % 3 == 0) } else { 2 });
    assert_eq!(given.len(), 1_000);
}

#[test]
fn the_beginning_of_a_group_that_is_filled_from_further_up_is_waited_for() {
    let (log, now) = (StreamLog::default(), Instant::now());
    fill(&log, 1, 0..2);
    log.end(id(1), None, 2);
    let mut cursor = FrameCursor::newest();
    assert_eq!(read(&mut cursor, &log, now), [0, 1]);
    for index in 6..9 {
        put(&log, 2, object(index, layer_of(index)), now);
    }
    log.end(id(2), None, 9);
    assert!(read(&mut cursor, &log, now).is_empty(), "a child went on from the seventh object");
    for index in 0..6 {
        put(&log, 2, object(index, layer_of(index)), now);
    }
    assert_eq!(read(&mut cursor, &log, now), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_child_that_was_cut_off_for_long_within_one_group_and_catches_up_gets_all() {
    let given = video_given(1_000, 900, |n| if (300..420).contains(&n) { 0 } else { 2 });
    assert_eq!(given.len(), 900);
}

/// A picture that nothing refers to, and none of the video that it stands between.
#[test]
fn what_can_be_done_without_is_passed_over_with_the_video_beside_it() {
    let (log, start) = (StreamLog::default(), Instant::now());
    let squeeze = Arc::<Squeeze>::default();
    let [mut video, mut rest] = [Layer::Video, Layer::Discardable]
        .map(|layer| LayerCursor::start(layer, Some(id(1))).over_warm(Some(start)).beside(squeeze.clone()));
    let warm = start + WARM_UP;
    put(&log, 1, object(0, Layer::Video), warm);
    put(&log, 1, object(1, Layer::Discardable), warm);
    // Up to which group it goes on, with no room for anything.
    let skips = |cursor: &mut LayerCursor, ms: u64| match cursor.next(
        &log,
        0,
        &mut Vec::new(),
        warm + Duration::from_millis(ms),
    ) {
        LayerStep::Skipped { to: (to, 0), .. } => Some(to),
        LayerStep::Wait => None,
        other => panic!("{other:?}"),
    };
    assert_eq!([skips(&mut video, 500), skips(&mut rest, 500)], [None; 2], "they may catch up");
    put(&log, 2, object(0, Layer::Video), warm + Duration::from_millis(990));
    assert_eq!(
        [skips(&mut video, 1_010), skips(&mut video, 1_510)],
        [None, Some(id(2))],
        "one large picture tells little"
    );
    assert_eq!(skips(&mut rest, 1_510), Some(id(2)));
    put(&log, 2, object(1, Layer::Discardable), warm + Duration::from_millis(1_600));
    assert_eq!([skips(&mut video, 1_650), skips(&mut rest, 1_650)], [None; 2]);
    assert_eq!([skips(&mut video, 1_750), skips(&mut rest, 1_750)], [None, Some(id(3))], "nobody waits for it");
}

/// Else its children would wait for it.
#[test]
fn of_a_layer_that_a_stream_does_not_use_no_gap_is_told() {
    let (log, now) = (StreamLog::default(), Instant::now());
    let squeeze = Arc::<Squeeze>::default();
    put(&log, 1, object(0, Layer::Video), now);
    put(&log, 2, object(0, Layer::Video), now);
    squeeze.note(id(2), now);
    let mut unused = LayerCursor::start(Layer::Discardable, Some(id(1))).beside(squeeze);
    assert!(steps(&mut unused, &log, now).is_empty());
}

#[test]
fn one_large_picture_is_no_reason_to_pass_over_the_small_ones_behind_it() {
    let (log, start) = (StreamLog::default(), Instant::now());
    let mut cursor = LayerCursor::start(Layer::Video, Some(id(1))).over_warm(Some(start));
    let began = start + WARM_UP;
    // A picture in 13 pieces, and 24 in one.
    for index in 0..37 {
        put(&log, 1, object(index, Layer::Video), began + FRAME * index.saturating_sub(12));
    }
    put(&log, 2, object(0, Layer::Video), began + FRAME * 25);
    let mut now = began + FRAME * 20;
    for index in 0..37 {
        let mut out = Vec::new();
        let step = cursor.next(&log, 1, &mut out, now);
        assert!(matches!(step, LayerStep::Objects(GroupId { group: 1, .. }, _)), "{index}: {step:?}");
        now += if index < 13 { FRAME } else { FRAME / 4 };
    }
}

/// The children of a child that is squeezed.
#[test]
fn what_a_parent_dropped_is_told_on() {
    let (log, now) = (StreamLog::default(), Instant::now());
    for group in [2, 3] {
        put(&log, group, object(0, Layer::Base), now);
    }
    log.end(id(2), Some(Layer::Base), 2);
    log.skip(Layer::Video, 3);
    let told = |layer| steps(&mut LayerCursor::start(layer, Some(id(2))), &log, now);
    assert_eq!(told(Layer::Video), ["skip 2 to 3"]);
    assert_eq!(told(Layer::Base), ["1x2@1", "end 2@1 2", "1x3@1"]);
}
