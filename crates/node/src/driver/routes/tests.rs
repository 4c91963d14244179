use levada_media::{Layer, Object};

use super::*;

const LINK: LinkId = LinkId(1);
const SHADOW: FeedId = FeedId(1);
const FULL: FeedId = FeedId(2);
const RESUME: Resume = Resume { timeline: 1, layers: [(1_000, 4), (1_001, 0), (1_001, 0)] };

fn cam() -> StreamName {
    StreamName::new("cam").unwrap()
}

fn water() -> Water {
    let (brain, _) = mpsc::channel(1);
    Water::new(Arc::default(), Arc::default(), brain, Instant::now())
}

/// A route with the feed of a parent that tells how far it is, and perhaps that of one that is to give objects.
fn route(full: bool) -> Route {
    let inflow = |feed, mode, passed_on: bool| Inflow { link: LINK, feed, mode, report: !passed_on, passed_on };
    let inflows = [inflow(SHADOW, Mode::Shadow, true)];
    let asked = full.then(|| inflow(FULL, Mode::Full, false));
    Route { inflows: inflows.into_iter().chain(asked).collect(), ..Route::default() }
}

impl Water {
    fn set(&mut self, route: Route) {
        assert_eq!(self.set_route(&cam(), Some(route), &HashMap::new()), []);
    }
}

/// A second child asks while the first objects come for the first one, and before the parent has answered.
#[test]
fn what_comes_for_a_child_is_kept_when_another_one_asks() {
    let mut water = water();
    let log = water.open(&cam());
    water.set(route(false));
    water.set(route(true));
    let id = GroupId { group: 1_000, timeline: 1 };
    log.end(id, Some(Layer::Base), 4);
    log.insert(GroupId { group: 2_000, ..id }, Some(1_000), Object::catalog(b"{}").unwrap(), Instant::now());
    let held = log.resume();
    water.set(route(true));
    assert_eq!(log.resume(), held);
    assert_eq!(log.summary().len(), 2);
    water.set(route(false));
    assert_eq!(log.summary().len(), 0, "nobody needs objects any more, and later ones would not be their continuation");
}

/// A feed that is asked for again, for a child that is further behind in one layer, takes the place of one that is further
/// behind in another.
#[test]
fn what_is_asked_for_again_begins_no_later_than_the_log_ends() {
    let mut water = water();
    let log = water.open(&cam());
    let join = |resume| Join { feed: FULL, stream: cam(), resume: Some(resume), mode: Mode::Full };
    assert_eq!(water.resume_for(&join(RESUME), true), Some(RESUME), "an empty log has no end");
    log.insert(GroupId { group: 2_000, timeline: 1 }, Some(1_000), Object::catalog(b"{}").unwrap(), Instant::now());
    let held = log.resume().unwrap();
    assert_eq!(held.layers[0], (1_000, 4), "what was asked for has yet to come");
    let behind = Resume { layers: [(1_001, 0), (1_000, 2), (1_001, 0)], ..RESUME };
    let both = Resume { layers: [(1_000, 4), (1_000, 2), (1_001, 0)], ..RESUME };
    assert_eq!(water.resume_for(&join(behind), false), Some(both));
    let other = Resume { timeline: 9, ..behind };
    assert_eq!(water.resume_for(&join(other), false), Some(other), "of another broadcast");
}
