//! Whether an expectation holds, and what is seen instead.

use std::ops::RangeInclusive;
use std::time::Instant;

use levada_overlay::StreamName;
use levada_sim::Impairment;

use crate::check::{Check, Measure, Relation, What, Who, fits};
use crate::history::History;
use crate::mesh::Mesh;
use crate::state::{Snapshot, Stream};
use crate::viewers::{FLOWING, IN_TIME_MS, Viewer, ViewerId};

/// So many packets must have been overheard before silence about their content means anything.
const OVERHEARD_MIN: usize = 200;
/// How far a ratio of counters may be off: they are read one after the other while media flow (E1 asked for 7 %).
const RATIO_SLACK: f64 = 0.07;

/// Bytes on the wire for each byte of objects: packets have headers and are acknowledged, and counters are read one after the other. Tuned:
/// 1.13 to 1.19 are seen.
const WIRE_RATIO: RangeInclusive<f64> = 0.9..=1.3;

const NOT_YET: &str = "not observed for long enough";

/// What was observed since something was done.
pub(crate) struct Observed<'a> {
    pub(crate) mesh: &'a Mesh,
    /// When it was done.
    pub(crate) since: Instant,
    pub(crate) history: &'a History,
    pub(crate) now: Instant,
}

impl Observed<'_> {
    /// `Err` says what is seen instead.
    pub(crate) fn judge(&self, check: &Check) -> Result<String, String> {
        let newest = self.history.newest();
        if let Some(silent) = silent(&check.hears(), |node| self.mesh.runs(node), newest) {
            return Err(format!("{silent} does not answer"));
        }
        match &check.what {
            What::Ready => self.ready(newest),
            What::Settled => self.settled(newest),
            What::Flows(who) => self.flows(who),
            What::Waits(node, stream) => match newest.stream(node, stream) {
                Some(known) if known.waiting => Ok("it waits".to_owned()),
                Some(known) => Err(format!("it is {}, fed by {}", known.state, shown(known.parent.as_deref()))),
                None => self.waits(node, stream),
            },
            What::Path { stream, node, ways, equal } => {
                let identity = self.mesh.identity(node, stream);
                let mut way = newest.way(&identity, stream);
                if let Some(last) = way.last_mut() {
                    *last = node.clone();
                }
                let hops: Vec<&str> = way.iter().map(String::as_str).collect();
                let found = ways.iter().any(|form| fits(&hops, form));
                let seen = if way.is_empty() { format!("{node} is not fed") } else { way.join(" ") };
                told(found == *equal && !way.is_empty() && hops[0] != "?", seen)
            }
            What::Backup { stream, node, any } => {
                let backup = newest.stream(node, stream).and_then(|known| known.backup.clone());
                let fits = backup.as_ref().is_some_and(|backup| any.iter().any(|one| one == "*" || one == backup));
                told(fits, format!("backup {}", shown(backup.as_deref())))
            }
            What::IdleNode(node) => self.idle(node, newest),
            What::IdleLink(a, b) => {
                let mut feeds = newest.feeds(a, b);
                feeds.extend(newest.feeds(b, a));
                told(feeds.is_empty(), format!("{} over it", listed(&feeds, "nothing")))
            }
            What::Sealed(a, b) => self.sealed(a, b),
            What::Traffic { a, b, relation, value } => self.traffic(a, b, *relation, *value, newest),
            What::Copies { node, out, times } => self.copies(node, *out, *times, newest),
            What::CopiesOver { a, b, times } => self.copies_over(a, b, *times, newest),
            What::Linked(a, b, wanted) => {
                let up = |at: &str, to: &str| {
                    let neighbours = newest.nodes.get(at).map(|node| node.map.neighbours.as_slice());
                    neighbours.unwrap_or_default().iter().any(|known| known.name == to && known.up)
                };
                let up = up(a, b) || up(b, a);
                told(up == *wanted, if up { "there is a link" } else { "there is no link" }.to_owned())
            }
            What::Reaches(from, to, wanted) => {
                let known =
                    newest.nodes.get(from).and_then(|node| node.map.nodes.iter().find(|known| known.name == *to));
                let reached = known.is_some_and(|known| known.reachable);
                told(reached == *wanted, if reached { "it is reached" } else { "it is not reached" }.to_owned())
            }
            What::Streams(node, wanted) => {
                let streams = newest.nodes.get(node).map(|node| node.map.streams.as_slice()).unwrap_or_default();
                let live = streams.iter().filter(|stream| !stream.origins.is_empty());
                let names: Vec<&str> = live.map(|stream| stream.name.as_str()).collect();
                let all = wanted.len() == names.len() && wanted.iter().all(|name| names.contains(&name.as_str()));
                told(all, listed(&names, "no streams"))
            }
            What::Origins { stream, node, names } => {
                let origins = newest.stream(node, stream).map(|known| known.origins.clone()).unwrap_or_default();
                let all = origins.len() == names.len() && names.iter().all(|name| origins.contains(name));
                told(all, if origins.is_empty() { "nobody".to_owned() } else { origins.join(" ") })
            }
            What::Bound { measure, who, relation, value } => self.bound(*measure, who, *relation, *value),
        }
    }

    /// Whether what is measured is known by now: as long as a viewer has no pictures, its pause lasts, and nobody can say what it
    /// misses.
    pub(crate) fn is_settled(&self, check: &Check) -> bool {
        match &check.what {
            What::Bound { measure, who, .. } if measure.is_of_viewers() => {
                self.viewers(who).all(|(_, viewer)| viewer.since.is_none() || !self.is_silent(viewer))
            }
            _ => true,
        }
    }

    fn is_silent(&self, viewer: &Viewer) -> bool {
        viewer.silence(self.now).is_none_or(|silence| silence > FLOWING)
    }

    fn ready(&self, newest: &Snapshot) -> Result<String, String> {
        let mesh = self.mesh;
        let lab = mesh.lab();
        let runs = |node: &str| mesh.runs(node);
        let names: Vec<&str> = lab.nodes.iter().map(String::as_str).collect();
        if let Some(silent) = silent(&names, runs, newest) {
            return Err(format!("{silent} does not answer"));
        }
        for link in lab.links.iter().filter(|link| runs(&link.a) && runs(&link.b) && mesh.passes(&link.a, &link.b)) {
            for (node, state) in &newest.nodes {
                let told = |from: &str, to: &str| state.map.links.iter().any(|link| link.from == from && link.to == to);
                if !told(&link.a, &link.b) || !told(&link.b, &link.a) {
                    return Err(format!("{node} does not know of the link {}-{}", link.a, link.b));
                }
            }
        }
        Ok("all links are known to all".to_owned())
    }

    fn settled(&self, newest: &Snapshot) -> Result<String, String> {
        self.ready(newest)?;
        let known = |from: &str, to: &str| Some(self.mesh.direction(from, to)?.0);
        overrated(newest, known).map_or_else(|| Ok("all links are taken for what they are".to_owned()), Err)
    }

    fn flows(&self, who: &Who) -> Result<String, String> {
        let watching: Vec<_> = self.viewers(who).filter(|(_, viewer)| viewer.since.is_some()).collect();
        if watching.is_empty() {
            return Err("nobody watches".to_owned());
        }
        let from = self.now.checked_sub(FLOWING).unwrap_or(self.now);
        for ((node, stream), viewer) in watching {
            let fresh = viewer.first().is_some_and(|first| first <= from);
            let pause = viewer.gap_ms(from, self.now);
            if !fresh || pause > IN_TIME_MS {
                let late = || format!("{node} gets {stream}, and not yet in time");
                return Err(self.silence(node, stream, viewer).unwrap_or_else(late));
            }
        }
        Ok("all get it in time".to_owned())
    }

    /// Whether who watches at a leaf, or at a node that does not run, has had no pictures for a second: neither says how it fares.
    fn waits(&self, node: &str, stream: &StreamName) -> Result<String, String> {
        let who = Who { node: Some(node.to_owned()), stream: Some(stream.clone()) };
        let watching = self.viewers(&who).filter(|(_, viewer)| viewer.since.is_some());
        let silences: Vec<_> = watching.map(|(_, viewer)| self.silence(node, stream, viewer)).collect();
        match silences.iter().flatten().next() {
            Some(silence) if silences.iter().all(Option::is_some) => Ok(silence.clone()),
            None if silences.is_empty() => Err("the stream is not known there".to_owned()),
            _ => Err(format!("{node} gets {stream}")),
        }
    }

    /// Since when a viewer has had nothing, in words.
    fn silence(&self, node: &str, stream: &StreamName, viewer: &Viewer) -> Option<String> {
        match viewer.silence(self.now) {
            None => Some(format!("{node} has nothing of {stream}")),
            Some(silence) if silence > FLOWING => {
                Some(format!("{node} has had nothing of {stream} for {:.1} s", silence.as_secs_f64()))
            }
            Some(_) => None,
        }
    }

    fn idle(&self, node: &str, newest: &Snapshot) -> Result<String, String> {
        let objects = |snapshot: &Snapshot| {
            let status = &snapshot.nodes.get(node)?.status;
            Some(status.objects_in + status.objects_out)
        };
        let Some((older, moved)) =
            self.history.older().and_then(|older| Some((older, objects(newest)?.checked_sub(objects(older)?)?)))
        else {
            return Err(NOT_YET.to_owned());
        };
        let seconds = newest.at.duration_since(older.at).as_secs_f64();
        told(moved == 0, format!("{moved} objects in {seconds:.1} s"))
    }

    fn sealed(&self, a: &str, b: &str) -> Result<String, String> {
        let sources = self.mesh.sources();
        let taps: Vec<_> =
            [(a, b), (b, a)].into_iter().filter_map(|(from, to)| self.mesh.overheard(from, to)).collect();
        let heard: usize = taps.iter().map(crate::net::Tap::count).sum();
        let readable: usize = taps.iter().flat_map(|tap| sources.iter().map(|source| tap.readable(source))).sum();
        let seen = format!("{readable} of {heard} packets carry the video as it is");
        told(heard >= OVERHEARD_MIN && readable == 0, seen)
    }

    fn traffic(&self, a: &str, b: &str, relation: Relation, value: f64, newest: &Snapshot) -> Result<String, String> {
        let Some(older) = self.history.older() else { return Err(NOT_YET.to_owned()) };
        let seconds = newest.at.duration_since(older.at).as_secs_f64();
        let bps = newest.carried(a, b).saturating_sub(older.carried(a, b)) as f64 * 8.0 / seconds;
        told(relation.holds(bps, value), format!("{:.1} kbit/s", bps / 1e3))
    }

    /// What the link carried against what the end that is fed over it got of new objects, from wherever.
    fn copies_over(&self, a: &str, b: &str, times: u32, newest: &Snapshot) -> Result<String, String> {
        let (from, fed) = match [newest.feeds(a, b), newest.feeds(b, a)].map(|streams| streams.is_empty()) {
            [false, true] => (a, b),
            [true, false] => (b, a),
            [true, true] => return told(times == 0, "nothing is fed over it".to_owned()),
            [false, false] => return Err("each feeds the other; what of it is whose cannot be told".to_owned()),
        };
        let Some(state) = newest.nodes.get(fed) else { return Err(format!("{fed} does not tell what it gets")) };
        let mut parents = state.map.streams.iter().filter_map(|stream| stream.parent.as_deref());
        if let Some(other) = parents.find(|parent| *parent != from) {
            return Err(format!("{fed} gets streams from {other}, too; how much cannot be told apart"));
        }
        let counts = |snapshot: &Snapshot| {
            let status = &snapshot.nodes.get(fed)?.status;
            Some([snapshot.carried(a, b), status.bytes_in, status.objects_in, status.objects_duplicated])
        };
        let both = self.history.older().and_then(|older| Some((counts(older)?, counts(newest)?)));
        let Some((before, now)) = both else { return Err(NOT_YET.to_owned()) };
        let [carried, bytes, objects, doubled] = std::array::from_fn(|at| now[at].saturating_sub(before[at]) as f64);
        if objects == 0.0 {
            return Err(format!("no object came to {fed}"));
        }
        let own = bytes * (1.0 - doubled / objects);
        let copies = carried / own;
        let fits = times > 0 && WIRE_RATIO.contains(&(copies / f64::from(times)));
        told(fits, format!("{copies:.2}, headers and all, of {:.0} kB at {fed}", own / 1e3))
    }

    fn copies(&self, node: &str, out: bool, times: f64, newest: &Snapshot) -> Result<String, String> {
        let counts = |snapshot: &Snapshot| {
            let status = &snapshot.nodes.get(node)?.status;
            let own = (status.objects_published + status.objects_in).saturating_sub(status.objects_duplicated);
            Some([own, status.objects_in, status.objects_out].map(|count| count as f64))
        };
        let both = self.history.older().and_then(|older| Some((counts(older)?, counts(newest)?)));
        let Some(([own_before, in_before, out_before], [own, came, left])) = both else {
            return Err(NOT_YET.to_owned());
        };
        let moved = if out { left - out_before } else { came - in_before };
        let ratio = moved / (own - own_before);
        let fits = own > own_before && (ratio - times).abs() <= RATIO_SLACK * times.max(1.0);
        told(fits, format!("{ratio:.2} of {:.0} objects", own - own_before))
    }

    fn bound(&self, measure: Measure, who: &Who, relation: Relation, value: f64) -> Result<String, String> {
        if let Some(unknown) = self.unknown(measure, who) {
            return Err(unknown);
        }
        let mut measured =
            if measure.is_of_viewers() { self.watched(measure, who) } else { self.counted(measure, who) };
        // The broken ones first, then the largest.
        measured.sort_by(|a, b| {
            let broken = |one: &(String, f64)| !relation.holds(one.1, value);
            broken(b).cmp(&broken(a)).then(b.1.total_cmp(&a.1))
        });
        match measured.first() {
            None => Err("there is nobody to measure it at".to_owned()),
            Some((at, worst)) => told(relation.holds(*worst, value), format!("{} at {at}", measure.show(*worst))),
        }
    }

    /// Why a measure of viewers has no value that could be compared: who never saw anything has no gap, and what whoever sees nothing
    /// now will have lost is not known.
    fn unknown(&self, measure: Measure, who: &Who) -> Option<String> {
        let mut viewers = self.viewers(who).filter(|_| measure.is_of_viewers());
        viewers.find_map(|((node, stream), viewer)| {
            let waits = measure.is_loss() && viewer.since.is_some();
            match viewer.first() {
                None => Some(format!("{node} never got a picture of {stream}")),
                Some(_) if waits => self
                    .silence(node, stream, viewer)
                    .map(|silence| format!("{silence}; what it loses is not known yet")),
                Some(_) => None,
            }
        })
    }

    /// What viewers got, each by its node and stream.
    fn watched(&self, measure: Measure, who: &Who) -> Vec<(String, f64)> {
        let (since, now) = (self.since, self.now);
        let of = |stream: &StreamName, viewer: &Viewer| match measure {
            Measure::Lost => viewer.faults(since, now).lost as f64,
            Measure::LostAudio => viewer.faults(since, now).lost_audio as f64,
            Measure::Doubled => viewer.faults(since, now).doubled as f64,
            Measure::Torn => viewer.faults(since, now).torn as f64,
            Measure::Gap => viewer.gap_ms(since, now),
            Measure::Recovery => viewer.recovery_ms(since, now),
            Measure::Latency => self.mesh.latency(stream, viewer, since, now).map_or(f64::NAN, |found| found.p99),
            // Counted by nodes.
            Measure::Switches | Measure::Missed | Measure::Memory => f64::NAN,
        };
        let viewers = self.viewers(who);
        viewers.map(|((node, stream), viewer)| (format!("{node} {stream}"), of(stream, viewer))).collect()
    }

    /// Counters of nodes, less what they were before; of nodes that began anew, all. Of a peak, where it is.
    fn counted(&self, measure: Measure, who: &Who) -> Vec<(String, f64)> {
        let newest = self.history.newest();
        let count = |snapshot: &Snapshot, node: &str| -> Option<u64> {
            let state = snapshot.nodes.get(node)?;
            let of = |stream: &&Stream| who.stream.as_ref().is_none_or(|name| stream.name == name.as_str());
            match measure {
                Measure::Missed => Some(state.status.objects_lost),
                Measure::Memory => state.status.memory_peak_bytes,
                _ => Some(state.map.streams.iter().filter(of).map(|stream| stream.switches).sum()),
            }
        };
        let names = newest.nodes.keys().filter(|name| who.node.as_ref().is_none_or(|node| node == *name));
        names
            .filter_map(|name| {
                let now = count(newest, name)?;
                let before = count(self.history.before(), name).filter(|_| measure != Measure::Memory).unwrap_or(0);
                Some((name.clone(), now.checked_sub(before).unwrap_or(now) as f64))
            })
            .collect()
    }

    fn viewers<'a>(&'a self, who: &'a Who) -> impl Iterator<Item = (&'a ViewerId, &'a Viewer)> {
        let fits = |id: &ViewerId| {
            who.node.as_ref().is_none_or(|node| *node == id.0) && who.stream.as_ref().is_none_or(|name| *name == id.1)
        };
        self.mesh.viewers.iter().filter(move |(id, _)| fits(id)).map(|(id, viewer)| (id, viewer))
    }
}

/// A link that somebody takes for much longer than it is, one that `known` does not tell of apart.
fn overrated(newest: &Snapshot, known: impl Fn(&str, &str) -> Option<Impairment>) -> Option<String> {
    let links = newest.nodes.iter().flat_map(|(node, state)| state.map.links.iter().map(move |link| (node, link)));
    links.into_iter().find_map(|(node, link)| {
        let most = cost_us_at_most(&known(&link.from, &link.to)?);
        let [seen, most] = [f64::from(link.cost_us), most].map(|us| us / 1e3);
        let ends = format!("{}-{}", link.from, link.to);
        (seen > most).then(|| format!("{node} takes {ends} for {seen:.1} ms long, and not for {most:.1} ms at most"))
    })
}

/// What a link costs at most if its ends are not too busy to measure it.
fn cost_us_at_most(impairment: &Impairment) -> f64 {
    // What is measured late, and the price of a hop.
    const SLACK_US: f64 = 3_000.0;
    let way = impairment.delay + impairment.jitter * 2;
    way.as_micros() as f64 * (1.25 + 4.0 * impairment.loss) + SLACK_US
}

/// Whoever runs, and has not answered. A leaf never answers, and of who was killed it is known why.
fn silent<'a>(names: &[&'a str], runs: impl Fn(&str) -> bool, newest: &Snapshot) -> Option<&'a str> {
    names.iter().copied().find(|name| runs(name) && !newest.nodes.contains_key(*name))
}

fn told(holds: bool, seen: String) -> Result<String, String> {
    if holds { Ok(seen) } else { Err(seen) }
}

fn shown(name: Option<&str>) -> &str {
    name.unwrap_or("nobody")
}

fn listed(names: &[&str], none: &str) -> String {
    if names.is_empty() { none.to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::LinkState;
    use crate::state::tests::snapshot;

    #[test]
    fn who_runs_and_does_not_answer_is_silent_and_who_is_dead_is_not() {
        let newest = snapshot(&[("s", None), ("a", Some("s"))]);
        let of = |names: &[&'static str], dead: &str| silent(names, |name| name != dead, &newest);
        assert_eq!(of(&["s", "a"], ""), None);
        assert_eq!(of(&["a", "b"], ""), Some("b"));
        assert_eq!(of(&["a", "b"], "b"), None);
    }

    #[test]
    fn a_link_that_somebody_takes_for_much_longer_than_it_is_is_named() {
        let told = |cost_us: u32| {
            let mut newest = snapshot(&[("s", None), ("a", Some("s"))]);
            let links = &mut newest.nodes.get_mut("a").unwrap().map.links;
            links.push(LinkState { from: "s".to_owned(), to: "a".to_owned(), cost_us, rtt_us: 10_000 });
            links.push(LinkState { from: "a".to_owned(), to: "adopted".to_owned(), cost_us: 900_000, rtt_us: 1 });
            let known = |_: &str, to: &str| {
                (to == "a").then(|| Impairment { delay: Duration::from_millis(5), ..Impairment::default() })
            };
            overrated(&newest, known)
        };
        assert_eq!(told(6_300), None);
        assert_eq!(told(15_000).unwrap(), "a takes s-a for 15.0 ms long, and not for 9.2 ms at most");
    }
}
