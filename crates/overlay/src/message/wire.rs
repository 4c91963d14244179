//! Protocol Buffers (proto3) forms of the messages; docs/protocol.md holds them as a .proto file.

use bytes::Bytes;

/// Declares structs whose fields are all visible to the codec alone.
macro_rules! messages {
    ($($name:ident { $($(#[$attr:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            #[derive(Clone, PartialEq, prost::Message)]
            pub(super) struct $name {
                $($(#[$attr])* pub(super) $field: $ty,)*
            }
        )*
    };
}

messages! {
    Control {
        #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
        message: Option<Any>,
    }
    Hello {
        #[prost(uint32, tag = "1")]
        version: u32,
        #[prost(uint32, tag = "2")]
        version_min: u32,
    }
    Digest {
        #[prost(fixed64, repeated, tag = "1")]
        buckets: Vec<u64>,
    }
    Listing {
        #[prost(uint32, tag = "1")]
        bucket: u32,
        #[prost(message, repeated, tag = "2")]
        entries: Vec<Entry>,
    }
    Entry {
        #[prost(bytes = "vec", tag = "1")]
        author: Vec<u8>,
        #[prost(uint32, tag = "2")]
        kind: u32,
        #[prost(uint64, tag = "3")]
        epoch: u64,
        #[prost(uint64, tag = "4")]
        seq: u64,
    }
    Hashes {
        #[prost(fixed64, repeated, tag = "1")]
        hashes: Vec<u64>,
    }
    Prune {}
    Records {
        #[prost(message, repeated, tag = "1")]
        records: Vec<Signed>,
    }
    Signed {
        #[prost(bytes = "bytes", tag = "1")]
        body: Bytes,
        #[prost(bytes = "vec", tag = "2")]
        signature: Vec<u8>,
        #[prost(uint32, tag = "3")]
        age_s: u32,
    }
    Join {
        #[prost(uint64, tag = "1")]
        feed: u64,
        #[prost(string, tag = "2")]
        stream: String,
        #[prost(message, optional, tag = "3")]
        resume: Option<Resume>,
        #[prost(bool, tag = "4")]
        shadow: bool,
    }
    Resume {
        #[prost(uint64, tag = "1")]
        timeline: u64,
        #[prost(message, repeated, tag = "2")]
        layers: Vec<Point>,
    }
    Point {
        #[prost(uint64, tag = "1")]
        group: u64,
        #[prost(uint32, tag = "2")]
        index: u32,
    }
    Leave {
        #[prost(uint64, tag = "1")]
        feed: u64,
    }
    Refuse {
        #[prost(uint64, tag = "1")]
        feed: u64,
        #[prost(uint32, tag = "2")]
        reason: u32,
        #[prost(bytes = "vec", repeated, tag = "3")]
        alternates: Vec<Vec<u8>>,
    }
    Supply {
        #[prost(uint64, tag = "1")]
        feed: u64,
        #[prost(uint32, tag = "2")]
        supply: u32,
        #[prost(bytes = "vec", repeated, tag = "3")]
        path: Vec<Vec<u8>>,
        #[prost(uint32, tag = "4")]
        patience_us: u32,
    }
    Carries {
        #[prost(string, tag = "1")]
        stream: String,
        #[prost(bool, tag = "2")]
        yes: bool,
    }
    Gap {
        #[prost(uint64, tag = "1")]
        feed: u64,
        #[prost(uint32, tag = "2")]
        layer: u32,
        #[prost(message, optional, tag = "3")]
        from: Option<Point>,
        #[prost(message, optional, tag = "4")]
        to: Option<Point>,
    }
    Trace {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(string, tag = "2")]
        stream: String,
        #[prost(uint32, tag = "3")]
        hops_left: u32,
    }
    TraceReply {
        #[prost(uint64, tag = "1")]
        id: u64,
        #[prost(message, repeated, tag = "2")]
        hops: Vec<Hop>,
    }
    Hop {
        #[prost(bytes = "vec", tag = "1")]
        id: Vec<u8>,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(uint32, tag = "3")]
        rtt_us: u32,
        #[prost(uint32, tag = "4")]
        cost_us: u32,
        #[prost(uint64, optional, tag = "5")]
        newest_age_us: Option<u64>,
    }
    Goodbye {}
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Any {
    #[prost(message, tag = "1")]
    Hello(Hello),
    #[prost(message, tag = "2")]
    Digest(Digest),
    #[prost(message, tag = "3")]
    Listing(Listing),
    #[prost(message, tag = "4")]
    Records(Records),
    #[prost(message, tag = "5")]
    Join(Join),
    #[prost(message, tag = "6")]
    Leave(Leave),
    #[prost(message, tag = "7")]
    Refuse(Refuse),
    #[prost(message, tag = "8")]
    Supply(Supply),
    #[prost(message, tag = "9")]
    Carries(Carries),
    #[prost(message, tag = "10")]
    Gap(Gap),
    #[prost(message, tag = "11")]
    Trace(Trace),
    #[prost(message, tag = "12")]
    TraceReply(TraceReply),
    #[prost(message, tag = "13")]
    Goodbye(Goodbye),
    #[prost(message, tag = "14")]
    Have(Hashes),
    #[prost(message, tag = "15")]
    Want(Hashes),
    #[prost(message, tag = "16")]
    Prune(Prune),
}
