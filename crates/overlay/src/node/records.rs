//! Records: this node's own, and the flood.
//!
//! A record is sent over the links of a tree that forms by itself, and announced by its hash on all others, from where it
//! is fetched if the tree is broken (epidemic broadcast trees: Leitão, Pereira, Rodrigues 2007). A link over which a
//! record came for the second time leaves the tree; one from which a record had to be fetched joins it. When a link comes
//! up both ends compare one hash per bucket; for buckets that differ each lists what it holds, and the other sends what
//! is missing there.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::streams::choice::WAY_PERCENT;
use crate::graph::{Distances, Graph, Micros, TreeParent};
use crate::id::{NodeId, StreamName};
use crate::io::{Event, LinkId, Output};
use crate::link::Told;
use crate::message::{Aged, BUCKETS, HASHES_MAX, Message};
use crate::record::{Facts, LINKS_MAX, LinkFacts, NodeFacts, Record, RecordKind, STREAMS_MAX, StreamFacts, Version};
use crate::table::{Offer, RECORD_REFRESH, Table, bucket_of};
use crate::time::Time;

/// Pause between sweeps of expired records.
pub(super) const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);
/// Changes of the own links or streams within this time make one record. Tuned.
const OWN_HOLD: Duration = Duration::from_millis(10);
/// Links that come up, or get better, within this time make one record: those of a node that starts come up one after the
/// other. Tuned: a mesh of a thousand nodes with measured delays.
const GOOD_HOLD: Duration = Duration::from_millis(150);
/// Least time between two records of one kind by one author. Tuned: "some records a second" in the worst case.
const OWN_PAUSE: Duration = Duration::from_millis(200);
/// Least time between two records that bring only good news of links, after the first few. Tuned: a link that is better
/// is used seconds later anyway.
const GOOD_PAUSE: Duration = Duration::from_secs(1);
/// Good news that need not wait for that: a node that starts gets its links one after the other. Tuned.
const GOOD_BURST: u32 = 2;
/// A neighbour whose records differ in at least this many buckets has much to send ...
const SYNC_BUCKETS: usize = 16;
/// ... and gets this long before another one is asked. Tuned: a few thousand records over a slow link.
const SYNC_HOLD: Duration = Duration::from_secs(1);
/// A load that differs by so many percent from what others were told is told ...
const LOAD_STEP: u8 = crate::pop::LOAD_STEP_PERCENT;
/// ... once it has for this long, and this often at most. Tuned: viewers come and go in crowds.
const LOAD_PAUSE: Duration = Duration::from_secs(5);
/// Records are announced this long after they came, all of that time at once. Tuned: the tree is faster.
const ANNOUNCE_HOLD: Duration = Duration::from_millis(500);
/// What the links of a node that is about to stop cost: more than any way round it.
const LEAVING: Told = Told { out_us: 1_000_000_000, in_us: 1_000_000_000 };
/// Furthest that the epoch of an earlier life may lie ahead of this one's, in microseconds, which epochs are: a hundred
/// years. A clock that was wrong by more is none.
const EPOCH_AHEAD_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000_000;
/// Sets of distances that are kept until the graph changes: one for the origins of each stream, and those of its detours. At
/// [`crate::graph::VERTICES_MAX`] nodes each is a quarter of a megabyte. Tuned.
pub(super) const DISTANCES_MAX: usize = 128;
/// Records in one message are gathered up to this many bytes.
const BATCH_LEN: usize = 32 * 1024;

/// Origins of a stream that count, and how far everybody is from them.
#[derive(Debug, Default)]
pub(super) struct Ranked {
    pub(super) priority: u32,
    pub(super) origins: Vec<NodeId>,
    pub(super) distances: Arc<Distances>,
}

/// State of this node's own records.
#[derive(Debug)]
pub(super) struct Own {
    version: Version,
    /// When the links record is to be made.
    links_at: Time,
    links_made: Time,
    /// Records with good news alone that may still be made without a pause.
    good_left: u32,
    /// Others hold a record of this node's streams. Before that, none need be made of none.
    streams_told: bool,
    streams_at: Time,
    streams_made: Time,
    load_at: Time,
    load_told: u8,
    refresh_at: Time,
}

impl Own {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            version: Version { epoch, seq: 0 },
            links_at: Time::NEVER,
            links_made: Time::ZERO,
            good_left: GOOD_BURST,
            streams_told: false,
            streams_at: Time::NEVER,
            streams_made: Time::ZERO,
            load_at: Time::NEVER,
            load_told: 0,
            refresh_at: Time::NEVER,
        }
    }

    pub(super) fn due(&self) -> Time {
        self.links_at.min(self.streams_at).min(self.load_at).min(self.refresh_at)
    }
}

impl Node {
    /// Whether one more stream can be published: all of them are told of in one record.
    pub fn has_room_to_publish(&self) -> bool {
        self.streams.values().filter(|stream| stream.published.is_some()).count() < STREAMS_MAX
    }

    /// Makes this node's records anew and tells everybody.
    pub(super) fn introduce(&mut self, now: Time) {
        let node = NodeFacts {
            credential: self.config.credential.clone(),
            addresses: self.config.addresses.clone(),
            http: self.config.http.clone(),
            transit: self.config.transit,
        };
        self.author(Facts::Node(node), now);
        self.author_links(now);
        self.author_streams(now);
        if self.own.load_told > 0 {
            self.author_load(now);
        }
        self.own.refresh_at = now + RECORD_REFRESH;
    }

    /// A link is there, or is better than before.
    pub(super) fn own_links_changed(&mut self, now: Time) {
        if now.since(self.own.links_made) > GOOD_PAUSE * (GOOD_BURST + 1) {
            self.own.good_left = GOOD_BURST;
        }
        let pause = if self.own.good_left > 0 { OWN_PAUSE } else { GOOD_PAUSE };
        self.own.links_at = self.own.links_at.min((now + GOOD_HOLD).max(self.own.links_made + pause));
        self.graph_changed(now);
    }

    /// A link is gone, or is worse than before.
    pub(super) fn own_links_worse(&mut self, now: Time) {
        self.own.links_at = self.own.links_at.min((now + OWN_HOLD).max(self.own.links_made + OWN_PAUSE));
        self.graph_changed(now);
    }

    pub(super) fn own_streams_changed(&mut self, now: Time) {
        self.own.streams_at = self.own.streams_at.min((now + OWN_HOLD).max(self.own.streams_made + OWN_PAUSE));
    }

    /// What this node gives may have changed.
    pub(super) fn own_load_changed(&mut self, now: Time) {
        let differs = self.load_percent().abs_diff(self.own.load_told) >= LOAD_STEP;
        self.own.load_at = if differs { self.own.load_at.min(now + LOAD_PAUSE) } else { Time::NEVER };
    }

    pub(super) fn records_due(&mut self, now: Time) {
        if self.own.refresh_at <= now {
            self.introduce(now);
        }
        if self.own.links_at <= now {
            self.author_links(now);
        }
        self.announce_due(now);
        self.digests_due(now);
        if self.own.streams_at <= now {
            self.author_streams(now);
        }
        if self.own.load_at <= now {
            self.author_load(now);
        }
        if self.expire_at <= now {
            self.expire_at = now + EXPIRE_INTERVAL;
            if self.table.expire(now) {
                self.graph = graph_of(&self.table);
                self.graph_changed(now);
            }
            self.release_adopted(now);
        }
    }

    fn author_links(&mut self, now: Time) {
        self.own.links_at = Time::NEVER;
        self.own.links_made = now;
        self.own.good_left = self.own.good_left.saturating_sub(1);
        let facts = |link: &super::Link| {
            if !link.estimator.is_settled() {
                // Telling twice would double what a mesh hears that starts.
                return None;
            }
            let told = if self.drain_until.is_some() { LEAVING } else { link.estimator.told()? };
            let rtt_us = link.estimator.rtt()?.as_micros() as u32;
            Some(LinkFacts { peer: link.peer, out_us: told.out_us, in_us: told.in_us, rtt_us })
        };
        let links = self.links.values().filter_map(facts).take(LINKS_MAX).collect();
        self.author(Facts::Links(links), now);
    }

    fn author_streams(&mut self, now: Time) {
        self.own.streams_at = Time::NEVER;
        self.own.streams_made = now;
        let published = |stream: &super::Stream| Some(stream.published.as_ref()?.told(now));
        // Until it flows there is nothing to be known of a stream but how to make the same of the same encoder.
        let of_use = |facts: &StreamFacts| !facts.preparing || facts.anchor.is_some();
        let told = self.streams.values().filter_map(published).filter(of_use);
        let streams: Vec<StreamFacts> = told.take(STREAMS_MAX).collect();
        if !streams.is_empty() || self.own.streams_told {
            self.own.streams_told = true;
            self.author(Facts::Streams(streams), now);
        }
    }

    fn author_load(&mut self, now: Time) {
        self.own.load_at = Time::NEVER;
        self.own.load_told = self.load_percent();
        self.author(Facts::Load(self.own.load_told), now);
    }

    fn author(&mut self, facts: Facts, now: Time) {
        self.own.version.seq += 1;
        let record = Record::make(self.config.id, self.own.version, facts, |bytes| self.keys.sign(bytes));
        self.accept(record, 0, None, now);
    }

    /// Puts a checked record into the table and floods it to all but the link it came from.
    fn accept(&mut self, record: Record, age_s: u32, from: Option<LinkId>, now: Time) {
        let (author, kind) = (record.author, record.facts.kind());
        // A node that started anew took its other records with it, though it may tell the same of itself.
        let same_life = self.table.version(author, kind).is_some_and(|held| held.epoch == record.version.epoch);
        let refreshed = same_life && self.table.facts(author, kind) == Some(&record.facts);
        if self.table.insert(record, age_s, now) != Offer::Taken {
            return;
        }
        self.counters.records_taken += 1;
        match kind {
            _ if refreshed => {}
            RecordKind::Node => {
                self.links.values_mut().for_each(|link| link.listed &= !bit(bucket_of(author)));
                let transit = self.table.node(author).is_some_and(|node| node.transit);
                if self.graph.set_transit(author, transit) {
                    // If it started anew, those of its former life went with it.
                    self.graph.set_links(author, self.table.links(author));
                } else {
                    // Full of nodes that are only spoken of, or were.
                    self.graph = graph_of(&self.table);
                }
            }
            RecordKind::Links => self.graph.set_links(author, self.table.links(author)),
            RecordKind::Streams | RecordKind::Load => {}
        }
        if !refreshed && kind != RecordKind::Load {
            self.graph_changed(now);
        }
        let Some(aged) = self.table.aged(author, kind, now) else {
            return;
        };
        let hash = self.table.hash_of(author, kind).unwrap_or_default();
        for (&link, entry) in self.links.iter_mut().filter(|(link, _)| Some(**link) != from) {
            if entry.eager {
                let message = Message::Records(vec![aged.clone()]);
                self.outputs.push_back(Output::Send { link, message });
            } else {
                entry.announce.push(hash);
                self.announce_at = self.announce_at.min(now + ANNOUNCE_HOLD);
            }
        }
    }

    /// Announces what came since the last time, on links over which it was not sent.
    pub(super) fn announce_due(&mut self, now: Time) {
        if self.announce_at > now {
            return;
        }
        self.announce_at = Time::NEVER;
        for (&link, entry) in &mut self.links {
            for hashes in std::mem::take(&mut entry.announce).chunks(HASHES_MAX) {
                self.outputs.push_back(Output::Send { link, message: Message::Have(hashes.to_vec()) });
            }
        }
    }

    /// A neighbour announces records: those that this node lacks are fetched, and the link is one of the tree.
    pub(super) fn have(&mut self, link: LinkId, hashes: Vec<u64>) {
        let lacking: Vec<u64> = hashes.into_iter().filter(|hash| self.table.by_hash(*hash).is_none()).collect();
        if !lacking.is_empty() {
            self.set_eager(link, true);
            self.send(link, Message::Want(lacking));
        }
    }

    pub(super) fn want(&mut self, link: LinkId, hashes: &[u64], now: Time) {
        self.set_eager(link, true);
        let held: Vec<Aged> = hashes
            .iter()
            .filter_map(|hash| self.table.by_hash(*hash))
            .filter_map(|(author, kind)| self.table.aged(author, kind, now))
            .collect();
        self.send_records(link, held);
    }

    /// Sends records in messages of a moderate length.
    fn send_records(&mut self, link: LinkId, records: Vec<Aged>) {
        let mut batch = Vec::new();
        let mut len = 0;
        for aged in records {
            if len + aged.body.len() > BATCH_LEN && !batch.is_empty() {
                self.send(link, Message::Records(std::mem::take(&mut batch)));
                len = 0;
            }
            len += aged.body.len();
            batch.push(aged);
        }
        if !batch.is_empty() {
            self.send(link, Message::Records(batch));
        }
    }

    pub(super) fn set_eager(&mut self, link: LinkId, eager: bool) {
        if let Some(entry) = self.links.get_mut(&link) {
            entry.eager = eager;
        }
    }

    pub(super) fn records(&mut self, link: LinkId, records: Vec<Aged>, now: Time) {
        let flooded = records.len() == 1;
        for aged in records {
            let age_s = aged.age_s;
            let record = match aged.parse() {
                Ok(record) => record,
                Err(error) => {
                    self.record_refused(link, error.to_string());
                    continue;
                }
            };
            if record.author == self.config.id {
                self.own_record_returned(link, &record, now);
                continue;
            }
            match self.table.judge(record.author, record.facts.kind(), record.version, age_s) {
                Offer::Taken => {}
                Offer::Known => {
                    if flooded && self.links.get(&link).is_some_and(|link| link.eager) {
                        self.set_eager(link, false);
                        self.send(link, Message::Prune);
                    }
                    continue;
                }
                Offer::Expired => continue,
                Offer::Stranger => {
                    self.stranger(link, record.author);
                    continue;
                }
                Offer::Full => {
                    self.record_refused(link, "the table of nodes is full".to_owned());
                    continue;
                }
            }
            if !self.is_signed(link, &record) {
                continue;
            }
            if let Facts::Node(node) = &record.facts
                && !self.keys.verify_credential(record.author, &node.credential)
            {
                self.record_refused(link, format!("node {} is not of this cluster", record.author));
                continue;
            }
            self.accept(record, age_s, Some(link), now);
        }
    }

    /// Records of one author may come over different links, and a later one first. The neighbour that holds it holds the
    /// one that it needs, too.
    fn stranger(&mut self, link: LinkId, author: NodeId) {
        let Some(entry) = self.links.get_mut(&link) else { return };
        let bucket = bucket_of(author);
        if entry.listed & bit(bucket) != 0 {
            self.record_refused(link, format!("node {author} has shown no credential"));
        } else if entry.digest.is_none() {
            entry.listed |= bit(bucket);
            self.send_listing(link, bucket);
        }
    }

    /// Tells a neighbour what is held of a bucket, for it to send what it holds besides.
    fn send_listing(&mut self, link: LinkId, bucket: usize) {
        let entries = self.table.listing(bucket);
        self.send(link, Message::Listing { bucket: bucket as u32, entries });
    }

    /// Whether a record is by its author; tells of it if not.
    fn is_signed(&mut self, link: LinkId, record: &Record) -> bool {
        let good = self.keys.verify(record.author, &Record::signed_bytes(&record.body), &record.signature);
        if !good {
            self.record_refused(link, format!("the signature is not by node {}", record.author));
        }
        good
    }

    /// An earlier life of this node may have left a record of streams, or one that is newer than what it makes now: its
    /// clock went back. All others come back over every link, and are not worth the check of a signature.
    fn own_record_returned(&mut self, link: LinkId, record: &Record, now: Time) {
        let streams = record.facts.kind() == RecordKind::Streams && !self.own.streams_told;
        let newer = record.version > self.own.version;
        if !(streams || newer) || !self.is_signed(link, record) {
            return;
        }
        if streams {
            self.own.streams_told = true;
            self.own_streams_changed(now);
        }
        if newer {
            let epoch = record.version.epoch;
            if epoch - self.own.version.epoch > EPOCH_AHEAD_MAX {
                self.record_refused(link, format!("no life of this node can have had epoch {epoch}"));
                return;
            }
            self.own.version = Version { epoch: epoch + 1, seq: 0 };
            self.introduce(now);
        }
    }

    fn record_refused(&mut self, link: LinkId, reason: String) {
        self.counters.records_refused += 1;
        let peer = self.links.get(&link).map(|link| link.name.clone()).unwrap_or_default();
        self.event(Event::RecordRefused { peer, reason });
    }

    /// A neighbour told its digest. While another one is sending what this node lacks, it waits: most of that would come
    /// twice.
    pub(super) fn digest(&mut self, link: LinkId, theirs: Vec<u64>, now: Time) {
        if now < self.sync_until {
            if let Some(entry) = self.links.get_mut(&link) {
                entry.digest = Some(theirs);
            }
            return;
        }
        let ours = self.table.digest();
        let differing = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
        if differing >= SYNC_BUCKETS {
            self.sync_until = now + SYNC_HOLD;
        }
        for (bucket, _) in ours.iter().zip(&theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs) {
            self.send_listing(link, bucket);
        }
    }

    /// Takes up the digests that waited, one at a time.
    fn digests_due(&mut self, now: Time) {
        while now >= self.sync_until
            && let Some((link, digest)) = self.links.iter_mut().find_map(|(id, link)| Some((*id, link.digest.take()?)))
        {
            self.digest(link, digest, now);
        }
    }

    /// When a digest that waits may be taken up.
    pub(super) fn digests_at(&self) -> Time {
        if self.links.values().any(|link| link.digest.is_some()) { self.sync_until } else { Time::NEVER }
    }

    /// Sends what a neighbour lacks in a bucket. Node records come before others of their author, as the table sorts.
    pub(super) fn listing(&mut self, link: LinkId, bucket: u32, theirs: &[(NodeId, RecordKind, Version)], now: Time) {
        let theirs: std::collections::BTreeMap<_, _> =
            theirs.iter().map(|(author, kind, version)| ((*author, *kind), *version)).collect();
        let lacking = |(author, kind, version): &(NodeId, RecordKind, Version)| {
            theirs.get(&(*author, *kind)).is_none_or(|held| held < version)
        };
        let listing = self.table.listing(bucket as usize).into_iter().filter(lacking);
        let records = listing.filter_map(|(author, kind, _)| self.table.aged(author, kind, now)).collect();
        self.send_records(link, records);
        debug_assert!(self.table.listing(bucket as usize).iter().all(|(id, ..)| bucket_of(*id) == bucket as usize));
    }

    /// Shortest paths to all nodes from those who publish `stream`, as if the nodes `without` were not there.
    pub(super) fn distances(&mut self, stream: &StreamName, without: &[NodeId]) -> Arc<Distances> {
        self.ranked(stream, without).distances
    }

    /// The origins that count: of several, those of the highest priority that lead anywhere here, to one of this node's
    /// neighbours.
    pub(super) fn ranked(&mut self, stream: &StreamName, without: &[NodeId]) -> Ranked {
        let mut origins: Vec<(u32, NodeId)> =
            self.table.origins_of(stream).map(|(author, facts)| (facts.priority, author)).collect();
        origins.sort_by_key(|(priority, author)| (std::cmp::Reverse(*priority), *author));
        let mut ranked = Ranked::default();
        for same in origins.chunk_by(|a, b| a.0 == b.0) {
            ranked.origins = same.iter().map(|(_, author)| *author).collect();
            ranked.priority = same.first().map_or(0, |(priority, _)| *priority);
            let graph = &self.graph;
            let key = (ranked.origins.clone(), without.to_vec());
            if self.distances.len() >= DISTANCES_MAX && !self.distances.contains_key(&key) {
                self.distances.clear();
            }
            let made = |(origins, without): &(Vec<NodeId>, Vec<NodeId>)| Arc::new(graph.distances(origins, without));
            ranked.distances = self.distances.entry(key).or_insert_with_key(made).clone();
            // An origin that is about to stop leads nowhere.
            let leads_here = |link: &super::Link| {
                let reached = ranked.distances.get(link.peer);
                reached.is_some_and(|peer| peer.metric + Micros::from(self.cost_from(link)) < LEAVING.in_us.into())
            };
            if self.links.values().any(leads_here) {
                break;
            }
        }
        ranked
    }

    /// Who is above this node in the tree of all nodes from the origins that count.
    pub(super) fn tree_parent(&mut self, stream: &StreamName) -> Option<TreeParent> {
        let origins = self.ranked(stream, &[]).origins;
        if self.tree_parents.len() >= DISTANCES_MAX && !self.tree_parents.contains_key(&origins) {
            self.tree_parents.clear();
        }
        let (graph, here) = (&self.graph, self.config.id);
        *self.tree_parents.entry(origins).or_insert_with_key(|origins| graph.tree_parent(origins, here, WAY_PERCENT))
    }

    /// Tells a new neighbour which streams this node carries.
    pub(super) fn tell_carried(&mut self, link: LinkId) {
        let carried: Vec<StreamName> =
            self.streams.iter().filter(|(_, stream)| stream.carries()).map(|(name, _)| name.clone()).collect();
        for stream in carried {
            self.emit(Output::Send { link, message: Message::Carries { stream, yes: true } });
        }
    }
}

/// The bit of a bucket among [`BUCKETS`].
fn bit(bucket: usize) -> u64 {
    const { assert!(BUCKETS <= u64::BITS as usize) };
    1 << bucket
}

/// The mesh as all records tell it. Authors get their places before those they speak of.
fn graph_of(table: &Table) -> Graph {
    let mut graph = Graph::default();
    let placed = table.nodes().all(|(id, node)| graph.set_transit(id, node.transit));
    debug_assert!(placed, "a graph has room for all authors of a table");
    for (id, _) in table.nodes() {
        graph.set_links(id, table.links(id));
    }
    graph
}
