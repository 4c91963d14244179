//! The records a node holds: the newest of each kind of each author, with digests to compare them with a neighbour's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{NodeId, StreamName};
use crate::message::{Aged, BUCKETS};
use crate::record::{Facts, LinkFacts, NodeFacts, Record, RecordKind, StreamFacts, Version};
use crate::time::Time;

/// Most authors whose records are held. Tuned: somewhat more than the few thousand nodes of the largest mesh aimed at.
pub const AUTHORS_MAX: usize = 8_192;
/// A record lives this long after it was signed. Tuned: three refreshes.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(3_600);
/// An author signs his records anew this often. Tuned: 1,000 nodes at 0.8 records a second in all.
pub const RECORD_REFRESH: Duration = Duration::from_secs(1_200);

/// All records held.
#[derive(Debug, Default)]
pub struct Table {
    records: BTreeMap<(NodeId, RecordKind), Held>,
    authors: usize,
    /// Records by the hash that stands for them in announcements and digests.
    hashes: BTreeMap<u64, (NodeId, RecordKind)>,
    /// Who publishes each stream.
    origins: BTreeMap<StreamName, BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Held {
    record: Record,
    signed_at: Time,
    /// Age that the record already had at `Time::ZERO`, if it was signed before that.
    older_s: u32,
}

/// What became of a record that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is new and was taken.
    Taken,
    /// It, or a newer one, is already held, or its author has started anew since.
    Known,
    /// Its author has shown no credential yet.
    Stranger,
    /// It is past its lifetime.
    Expired,
    /// The table has [`AUTHORS_MAX`] authors.
    Full,
}

impl Table {
    /// Whether a record of this version would be taken; cheap, so that signatures of known records are never checked.
    pub fn judge(&self, author: NodeId, kind: RecordKind, version: Version, age_s: u32) -> Offer {
        if u64::from(age_s) >= RECORD_LIFETIME.as_secs() {
            return Offer::Expired;
        }
        if self.version(author, kind).is_some_and(|held| held >= version) {
            return Offer::Known;
        }
        if kind == RecordKind::Node {
            let new_author = self.version(author, kind).is_none();
            return if new_author && self.authors >= AUTHORS_MAX { Offer::Full } else { Offer::Taken };
        }
        match self.version(author, RecordKind::Node) {
            None => Offer::Stranger,
            // What it told before it started anew is not true any more.
            Some(node) if version.epoch < node.epoch => Offer::Known,
            Some(_) => Offer::Taken,
        }
    }

    /// Takes a record whose signature and credential have been checked.
    pub fn insert(&mut self, record: Record, age_s: u32, now: Time) -> Offer {
        let (author, kind) = (record.author, record.facts.kind());
        let offer = self.judge(author, kind, record.version, age_s);
        if offer == Offer::Taken {
            let age_us = u64::from(age_s) * 1_000_000;
            let signed_at = Time::from_micros(now.as_micros().saturating_sub(age_us));
            let older_s = (age_us.saturating_sub(now.as_micros()) / 1_000_000) as u32;
            self.unlist(author, kind);
            if kind == RecordKind::Node {
                self.forget_before(author, record.version.epoch);
            }
            self.hashes.insert(hash(author, kind, record.version), (author, kind));
            if let Facts::Streams(streams) = &record.facts {
                for stream in streams {
                    self.origins.entry(stream.name.clone()).or_default().insert(author);
                }
            }
            let fresh = self.records.insert((author, kind), Held { record, signed_at, older_s }).is_none();
            self.authors += usize::from(fresh && kind == RecordKind::Node);
        }
        offer
    }

    /// Drops what a node told before it started anew.
    fn forget_before(&mut self, author: NodeId, epoch: u64) {
        for kind in [RecordKind::Links, RecordKind::Streams, RecordKind::Load] {
            if self.version(author, kind).is_some_and(|version| version.epoch < epoch) {
                self.unlist(author, kind);
                self.records.remove(&(author, kind));
            }
        }
    }

    /// Forgets by what a record can be found that is to be replaced.
    fn unlist(&mut self, author: NodeId, kind: RecordKind) {
        let Some(held) = self.records.get(&(author, kind)) else { return };
        self.hashes.remove(&hash(author, kind, held.record.version));
        let Facts::Streams(streams) = &held.record.facts else { return };
        for stream in streams {
            if let Some(origins) = self.origins.get_mut(&stream.name) {
                origins.remove(&author);
                if origins.is_empty() {
                    self.origins.remove(&stream.name);
                }
            }
        }
    }

    /// Version held of an author's record.
    pub fn version(&self, author: NodeId, kind: RecordKind) -> Option<Version> {
        self.records.get(&(author, kind)).map(|held| held.record.version)
    }

    /// A record in the form that travels.
    pub fn aged(&self, author: NodeId, kind: RecordKind, now: Time) -> Option<Aged> {
        let held = self.records.get(&(author, kind))?;
        let age_s = held.older_s.saturating_add(now.since(held.signed_at).as_secs() as u32);
        Some(Aged { body: held.record.body.clone(), signature: held.record.signature, age_s })
    }

    /// Drops what is past its lifetime, and all of an author whose node record is gone. Tells whether anything went.
    pub fn expire(&mut self, now: Time) -> bool {
        let before = self.records.len();
        let alive =
            |held: &Held| now.since(held.signed_at) + Duration::from_secs(u64::from(held.older_s)) < RECORD_LIFETIME;
        self.records.retain(|_, held| alive(held));
        let known: BTreeSet<NodeId> = self.nodes().map(|(id, _)| id).collect();
        self.records.retain(|(author, _), _| known.contains(author));
        self.authors = known.len();
        let gone = self.records.len() != before;
        if gone {
            let mut origins: BTreeMap<StreamName, BTreeSet<NodeId>> = BTreeMap::new();
            for (author, stream) in self.streams() {
                origins.entry(stream.name.clone()).or_default().insert(author);
            }
            self.origins = origins;
            let of = |((author, kind), held): (&(NodeId, RecordKind), &Held)| {
                (hash(*author, *kind, held.record.version), (*author, *kind))
            };
            self.hashes = self.records.iter().map(of).collect();
        }
        gone
    }

    /// One hash per bucket, independent of the order in which records came.
    pub fn digest(&self) -> Vec<u64> {
        let mut buckets = vec![0; BUCKETS];
        for ((author, kind), held) in &self.records {
            buckets[bucket_of(*author)] ^= hash(*author, *kind, held.record.version);
        }
        buckets
    }

    /// The hash that stands for a record that is held.
    pub fn hash_of(&self, author: NodeId, kind: RecordKind) -> Option<u64> {
        Some(hash(author, kind, self.version(author, kind)?))
    }

    /// The record that a hash stands for, if it is held.
    pub fn by_hash(&self, hash: u64) -> Option<(NodeId, RecordKind)> {
        self.hashes.get(&hash).copied()
    }

    /// What is held in one bucket.
    pub fn listing(&self, bucket: usize) -> Vec<(NodeId, RecordKind, Version)> {
        let held = self.records.iter().filter(|((author, _), _)| bucket_of(*author) == bucket);
        held.map(|((author, kind), held)| (*author, *kind, held.record.version)).collect()
    }

    /// Facts of all nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeFacts)> {
        self.records.iter().filter_map(|((author, _), held)| match &held.record.facts {
            Facts::Node(node) => Some((*author, node)),
            _ => None,
        })
    }

    /// What an author's record of a kind says.
    pub fn facts(&self, author: NodeId, kind: RecordKind) -> Option<&Facts> {
        self.records.get(&(author, kind)).map(|held| &held.record.facts)
    }

    /// Facts of one node.
    pub fn node(&self, id: NodeId) -> Option<&NodeFacts> {
        match &self.records.get(&(id, RecordKind::Node))?.record.facts {
            Facts::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Links that a node lists.
    pub fn links(&self, id: NodeId) -> &[LinkFacts] {
        match self.records.get(&(id, RecordKind::Links)).map(|held| &held.record.facts) {
            Some(Facts::Links(links)) => links,
            _ => &[],
        }
    }

    /// Percent of what a node can carry that it does, as it last told.
    pub fn load_percent(&self, id: NodeId) -> u8 {
        match self.facts(id, RecordKind::Load) {
            Some(Facts::Load(percent)) => *percent,
            _ => 0,
        }
    }

    /// Streams that all nodes publish.
    pub fn streams(&self) -> impl Iterator<Item = (NodeId, &StreamFacts)> {
        self.records.iter().flat_map(|((author, _), held)| {
            let streams: &[StreamFacts] = match &held.record.facts {
                Facts::Streams(streams) => streams,
                _ => &[],
            };
            streams.iter().map(|stream| (*author, stream))
        })
    }

    /// Who can give a stream, with what he tells of it, in the order of identities.
    pub fn origins_of(&self, stream: &StreamName) -> impl Iterator<Item = (NodeId, &StreamFacts)> {
        self.publishers_of(stream).filter(|(_, facts)| !facts.preparing)
    }

    /// The same, and those who are about to.
    fn publishers_of(&self, stream: &StreamName) -> impl Iterator<Item = (NodeId, &StreamFacts)> {
        let authors = self.origins.get(stream).into_iter().flatten();
        authors.filter_map(|author| {
            let Facts::Streams(streams) = &self.records.get(&(*author, RecordKind::Streams))?.record.facts else {
                return None;
            };
            streams.iter().find(|facts| facts.name == *stream).map(|facts| (*author, facts))
        })
    }

    /// Who publishes a stream or is about to, with what he would tell of it now, by the age of his record. Ages are cut
    /// down to whole seconds where they travel, so nobody's stamps are thought to be further on than they are.
    pub fn publishers_at(&self, name: &StreamName, now: Time) -> Vec<(NodeId, StreamFacts)> {
        let aged = |(author, facts): (NodeId, &StreamFacts)| {
            let held = self.records.get(&(author, RecordKind::Streams))?;
            let age = Duration::from_secs(u64::from(held.older_s)) + now.since(held.signed_at);
            Some((author, facts.clone().aged(age)))
        };
        self.publishers_of(name).filter_map(aged).collect()
    }

    /// Number of records held.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Bucket of an author's records.
pub fn bucket_of(author: NodeId) -> usize {
    usize::from(author.0[0]) % BUCKETS
}

/// FNV-1a over the fields, finished by the mixer of SplitMix64 so that XOR of many keeps its bits apart. Finds
/// accidental differences; against forgery stand the signatures.
fn hash(author: NodeId, kind: RecordKind, version: Version) -> u64 {
    let fields = author.0.into_iter().chain([kind as u8]);
    let bytes = fields.chain(version.epoch.to_be_bytes()).chain(version.seq.to_be_bytes());
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
