//! Why a stream comes the way it comes: the neighbours with what they would cost and what they lack, the backup, and the
//! last changes.

use serde::{Deserialize, Serialize};

use super::{Node, Supply, Upstream};
use crate::id::StreamName;
use crate::io::LinkId;
use crate::time::Time;

/// The whole answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhyView {
    /// Name of the node that answers.
    pub node: String,
    /// The stream.
    pub stream: String,
    /// Name of the parent.
    pub parent: Option<String>,
    /// Names of the nodes from the origin to the parent, as it told.
    pub path: Vec<String>,
    /// Name of the backup parent.
    pub backup: Option<String>,
    /// Names of the nodes from the origin to the backup, as it told.
    pub backup_path: Vec<String>,
    /// Name of a parent that was asked and has brought nothing newer yet.
    pub candidate: Option<String>,
    /// Why it is not fed, or not as usual, in words.
    pub state: String,
    /// All neighbours, by metric.
    pub candidates: Vec<CandidateView>,
    /// The last changes of parents, the newest last.
    pub switches: Vec<SwitchView>,
}

/// A neighbour as a possible parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its name.
    pub name: String,
    /// Microseconds from the nearest origin through it to here.
    pub metric_us: Option<u64>,
    /// Links on that path.
    pub hops: Option<u16>,
    /// Whether it already carries the stream.
    pub carries: bool,
    /// What it lacks; `None`: it qualifies.
    pub lacks: Option<String>,
    /// The last time that it refused, unless it feeds this node since.
    pub refused: Option<RefusedView>,
}

/// A join that was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedView {
    /// Seconds ago.
    pub ago_s: f64,
    /// Why.
    pub reason: String,
    /// Names of the nodes that it named in its stead.
    pub alternates: Vec<String>,
}

/// A change of parents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwitchView {
    /// Seconds ago.
    pub ago_s: f64,
    /// Name of the parent before.
    pub from: Option<String>,
    /// Name of the parent since.
    pub to: String,
    /// Why.
    pub cause: String,
}

impl Node {
    /// Explains a stream; `None` if this node has no state of it and nobody is known to publish it.
    pub fn why(&mut self, name: &StreamName, now: Time) -> Option<WhyView> {
        let known = self.table.origins_of(name).next().is_some();
        if !known && !self.streams.contains_key(name) {
            return None;
        }
        let idle = !self.streams.contains_key(name);
        if idle {
            // What it would be if somebody wanted it.
            self.streams.entry(name.clone()).or_default();
        }
        let judged = self.candidates(name, now);
        let distances = self.distances(name, &[]);
        let stream = self.streams.get(name)?;
        let refused = |link: &LinkId| {
            stream.refused.get(link).map(|refused| RefusedView {
                ago_s: now.since(refused.at).as_secs_f64(),
                reason: refused.reason.to_string(),
                alternates: refused.alternates.iter().map(|id| self.name_of(*id)).collect(),
            })
        };
        let mut candidates: Vec<CandidateView> = judged
            .into_iter()
            .filter_map(|(id, choice)| {
                let link = self.links.get(&id)?;
                let reached = distances.get(link.peer);
                Some(CandidateView {
                    name: link.name.clone(),
                    metric_us: reached.map(|peer| peer.metric + u64::from(self.cost_from(link))),
                    hops: reached.map(|peer| peer.hops + 1),
                    carries: link.carries.contains(name) || reached.is_some_and(|peer| peer.hops == 0),
                    lacks: choice.err().map(|lack| lack.to_string()),
                    refused: refused(&id),
                })
            })
            .collect();
        candidates.sort_by_key(|candidate| (candidate.metric_us.unwrap_or(u64::MAX), candidate.name.clone()));
        let link_name = |upstream: &Upstream| self.peer_name(upstream.link);
        let path = |upstream: Option<&Upstream>| {
            upstream.map_or(&[][..], Upstream::path).iter().map(|id| self.name_of(*id)).collect()
        };
        let state = match (&stream.main, &stream.published) {
            (_, Some(_)) => "published here",
            _ if idle => "idle: nobody here wants it",
            _ if stream.former.is_some() => "the parent before fell behind; the verdict is out",
            (Some(main), _) if main.supply() == Supply::Waiting => "the parent waits for a path",
            (Some(main), _) if main.supply() == Supply::Repairing => "the parent is repairing its own supply",
            _ if stream.is_suspect() => "the parent is suspected",
            _ if stream.suspicion.is_some() => "fed; nothing new has come for a moment",
            (Some(_), _) => "fed",
            (None, _) if stream.candidate.is_some() => "waits for the first newer object of the candidate",
            (None, _) => "waits for a path",
        };
        let switches = stream.history.iter().map(|switch| SwitchView {
            ago_s: now.since(switch.at).as_secs_f64(),
            from: switch.from.clone(),
            to: switch.to.clone(),
            cause: switch.cause.to_string(),
        });
        let view = WhyView {
            node: self.name().to_owned(),
            stream: name.to_string(),
            parent: stream.main.as_ref().map(link_name),
            path: path(stream.main.as_ref()),
            backup: stream.backup.as_ref().map(link_name),
            backup_path: path(stream.backup.as_ref()),
            candidate: stream.candidate.as_ref().map(link_name),
            state: state.to_owned(),
            candidates,
            switches: switches.collect(),
        };
        if idle {
            self.streams.remove(name);
        }
        Some(view)
    }
}
