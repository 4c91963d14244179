//! Objects: the unit that the mesh numbers, caches, forwards and repairs. A frame becomes one object, or several of at
//! most [`MAX_PAYLOAD`] bytes.
//!
//! The wire form (below) does not depend on the link, so a relay writes the very bytes it received.
//! docs/protocol.md holds the same table.
//!
//! ```text
//! length   varint   bytes that follow the length (RFC 9000, section 16, for all varints)
//! index    varint   position in the group, counted over all layers, from 0 without holes
//! track    u8       CATALOG_TRACK for the catalog
//! flags    u8       see `Flags`
//! pts      varint   zigzag; ticks of the track
//! dts      varint   zigzag, pts - dts
//! duration varint   ticks of the track
//! payload  bytes
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::frame::Frame;

/// Largest payload of an object, in bytes. Bounds the time that one object keeps a link busy: 16 KiB take 13 ms at 10 Mbit/s.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// Largest encoded object without its length, in bytes: the payload and the largest header.
pub const MAX_BODY: usize = MAX_PAYLOAD + MAX_HEADER;
/// Largest header, in bytes: four varints of 8 and one of 4, track and flags.
const MAX_HEADER: usize = 4 * 8 + 4 + 2;
/// Track number of the catalog object, which opens every group.
pub const CATALOG_TRACK: u8 = 255;
/// Largest encoded frame that is taken apart or put together, in bytes.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Number of layers.
pub const LAYERS: usize = 3;

/// Which QUIC stream of a group an object travels on; lower layers are sent first and dropped last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Layer {
    /// Catalog, audio and data.
    Base = 0,
    /// Video that other frames refer to.
    Video = 1,
    /// Video that nothing refers to.
    Discardable = 2,
}

impl Layer {
    /// All layers, most urgent first.
    pub const ALL: [Self; LAYERS] = [Self::Base, Self::Video, Self::Discardable];

    /// The layer with this number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

/// One byte of facts about an object.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// Decoding can start at this object's frame.
    pub const KEYFRAME: Self = Self(1);
    /// First piece of its frame.
    pub const FIRST: Self = Self(1 << 1);
    /// Last piece of its frame.
    pub const LAST: Self = Self(1 << 2);
    const LAYER_SHIFT: u32 = 6;

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }

    fn layer(self) -> Option<Layer> {
        Layer::from_number(u64::from(self.0 >> Self::LAYER_SHIFT))
    }

    fn of(layer: Layer) -> Self {
        Self((layer as u8) << Self::LAYER_SHIFT)
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flags({:#010b})", self.0)
    }
}

/// One object, parsed, with its wire form. A clone costs a reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Position in the group, counted over all layers.
    pub index: u32,
    /// Track, or [`CATALOG_TRACK`].
    pub track: u8,
    /// Facts.
    pub flags: Flags,
    /// The layer that the flags name.
    pub layer: Layer,
    /// Presentation time of the frame, ticks of the track.
    pub pts: i64,
    /// Decoding time of the frame, ticks of the track.
    pub dts: i64,
    /// Duration of the frame, ticks of the track.
    pub duration: u32,
    wire: Bytes,
    payload_at: usize,
}

/// Why bytes are not an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The length exceeds [`MAX_BODY`].
    #[error("object of {0} bytes is longer than the {MAX_BODY} that the protocol allows")]
    TooLong(u64),
    /// The header ends before its last field.
    #[error("object header is cut short")]
    Truncated,
    /// The flags name a layer that does not exist.
    #[error("object names layer 3, which does not exist")]
    UnknownLayer,
    /// A number does not fit its field.
    #[error("object field {0} is out of range")]
    OutOfRange(&'static str),
    /// The pieces of a frame add up to more than [`MAX_FRAME`].
    #[error("frame is larger than the {MAX_FRAME} bytes that are put together")]
    FrameTooLarge,
}

impl Object {
    /// Length of the encoded object at the start of `buf`, its length field included; `None` while the length field
    /// itself is incomplete.
    pub fn wire_len(buf: &[u8]) -> Result<Option<usize>, ObjectError> {
        let mut rest = buf;
        let Some(body) = get_varint(&mut rest) else {
            return Ok(None);
        };
        if body > MAX_BODY as u64 {
            return Err(ObjectError::TooLong(body));
        }
        Ok(Some(buf.len() - rest.len() + body as usize))
    }

    /// Parses one encoded object, length field included, keeping `wire` as its payload's storage.
    pub fn parse(wire: Bytes) -> Result<Self, ObjectError> {
        let mut rest: &[u8] = &wire;
        let body = get_varint(&mut rest).ok_or(ObjectError::Truncated)?;
        if body != rest.len() as u64 {
            return Err(ObjectError::Truncated);
        }
        let index = get_varint(&mut rest).ok_or(ObjectError::Truncated)?;
        let [track, flags, tail @ ..] = rest else {
            return Err(ObjectError::Truncated);
        };
        let flags = Flags(*flags);
        rest = tail;
        let pts = unzigzag(get_varint(&mut rest).ok_or(ObjectError::Truncated)?);
        let ahead = unzigzag(get_varint(&mut rest).ok_or(ObjectError::Truncated)?);
        let duration = get_varint(&mut rest).ok_or(ObjectError::Truncated)?;
        if rest.len() > MAX_PAYLOAD {
            return Err(ObjectError::TooLong(body));
        }
        Ok(Self {
            index: u32::try_from(index).map_err(|_| ObjectError::OutOfRange("index"))?,
            track: *track,
            flags,
            layer: flags.layer().ok_or(ObjectError::UnknownLayer)?,
            pts,
            dts: pts.checked_sub(ahead).ok_or(ObjectError::OutOfRange("dts"))?,
            duration: u32::try_from(duration).map_err(|_| ObjectError::OutOfRange("duration"))?,
            payload_at: wire.len() - rest.len(),
            wire,
        })
    }

    fn encode(index: u32, track: u8, flags: Flags, pts: i64, dts: i64, duration: u32, payload: &[u8]) -> Self {
        debug_assert!(payload.len() <= MAX_PAYLOAD, "pieces are cut to size before they are encoded");
        let mut body = BytesMut::with_capacity(MAX_HEADER);
        put_varint(&mut body, u64::from(index));
        body.put_u8(track);
        body.put_u8(flags.0);
        put_varint(&mut body, zigzag(pts));
        // Times from a damaged file may be anything; the reader undoes whatever wraps here.
        put_varint(&mut body, zigzag(pts.wrapping_sub(dts)));
        put_varint(&mut body, u64::from(duration));
        let mut wire = BytesMut::with_capacity(4 + body.len() + payload.len());
        put_varint(&mut wire, (body.len() + payload.len()) as u64);
        wire.put_slice(&body);
        let payload_at = wire.len();
        wire.put_slice(payload);
        let layer = flags.layer().unwrap_or(Layer::Base);
        Self { index, track, flags, layer, pts, dts, duration, wire: wire.freeze(), payload_at }
    }

    /// The object that opens a group: its catalog as JSON.
    pub fn catalog(json: &[u8]) -> Result<Self, ObjectError> {
        if json.len() > MAX_PAYLOAD {
            return Err(ObjectError::TooLong(json.len() as u64));
        }
        let flags = Flags::of(Layer::Base).with(Flags::FIRST, true).with(Flags::LAST, true);
        Ok(Self::encode(0, CATALOG_TRACK, flags, 0, 0, 0, json))
    }

    /// Cuts `frame` into objects whose indices start at `index`.
    pub fn split(frame: &Frame, layer: Layer, index: u32) -> impl Iterator<Item = Self> {
        let pieces = frame.data.len().div_ceil(MAX_PAYLOAD).max(1);
        (0..pieces).map(move |piece| {
            let start = piece * MAX_PAYLOAD;
            let end = (start + MAX_PAYLOAD).min(frame.data.len());
            let flags = Flags::of(layer)
                .with(Flags::KEYFRAME, frame.keyframe)
                .with(Flags::FIRST, piece == 0)
                .with(Flags::LAST, piece + 1 == pieces);
            Self::encode(
                index + piece as u32,
                frame.track,
                flags,
                frame.pts,
                frame.dts,
                frame.duration,
                &frame.data[start..end],
            )
        })
    }

    /// The encoded object as it travels, length field included.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }

    /// The payload, sharing the storage of the wire form.
    pub fn payload(&self) -> Bytes {
        self.wire.slice(self.payload_at..)
    }

    /// Number of payload bytes.
    pub fn payload_len(&self) -> usize {
        self.wire.len() - self.payload_at
    }
}

/// Most tracks with a frame half put together: what a catalog holds of them at most.
const OPEN_MAX: usize = 16;

/// Puts the frames of one stream together from objects in index order; pieces of different tracks may interleave.
#[derive(Debug, Default)]
pub struct Assembler {
    open: std::collections::BTreeMap<u8, Pieces>,
}

#[derive(Debug)]
struct Pieces {
    first: Object,
    next_index: u32,
    data: BytesMut,
}

impl Assembler {
    /// Takes one object and gives back the frame that it completes. Pieces whose frame lacks an earlier piece are passed
    /// over, so a hole costs its frame and no other.
    pub fn push(&mut self, object: &Object) -> Result<Option<Frame>, ObjectError> {
        let first = object.flags.contains(Flags::FIRST);
        let last = object.flags.contains(Flags::LAST);
        if first && last {
            self.open.remove(&object.track);
            return Ok(Some(frame_of(object, object.payload())));
        }
        if first {
            if self.open.len() >= OPEN_MAX && !self.open.contains_key(&object.track) {
                return Ok(None);
            }
            let data = BytesMut::from(&object.payload()[..]);
            let next_index = object.index.wrapping_add(1);
            self.open.insert(object.track, Pieces { first: object.clone(), next_index, data });
            return Ok(None);
        }
        let Some(pieces) = self.open.get_mut(&object.track) else {
            return Ok(None);
        };
        if pieces.next_index != object.index {
            self.open.remove(&object.track);
            return Ok(None);
        }
        if pieces.data.len() + object.payload_len() > MAX_FRAME {
            self.open.remove(&object.track);
            return Err(ObjectError::FrameTooLarge);
        }
        pieces.next_index = object.index.wrapping_add(1);
        pieces.data.put_slice(&object.payload());
        if !last {
            return Ok(None);
        }
        Ok(self.open.remove(&object.track).map(|done| frame_of(&done.first, done.data.freeze())))
    }
}

fn frame_of(object: &Object, data: Bytes) -> Frame {
    Frame {
        track: object.track,
        pts: object.pts,
        dts: object.dts,
        duration: object.duration,
        keyframe: object.flags.contains(Flags::KEYFRAME),
        discardable: object.layer == Layer::Discardable,
        data,
    }
}

/// Reads a QUIC variable-length integer (RFC 9000, section 16) and advances `buf`; `None` if it is incomplete.
pub fn get_varint(buf: &mut &[u8]) -> Option<u64> {
    let first = *buf.first()?;
    let len = 1 << (first >> 6);
    let (bytes, rest) = buf.split_at_checked(len)?;
    *buf = rest;
    Some(bytes[1..].iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
}

/// Writes a QUIC variable-length integer in its shortest form. Values of 2^62 and more lose their upper bits.
pub fn put_varint(buf: &mut impl BufMut, value: u64) {
    match value {
        0..0x40 => buf.put_u8(value as u8),
        0x40..0x4000 => buf.put_u16(value as u16 | 0x4000),
        0x4000..0x4000_0000 => buf.put_u32(value as u32 | 0x8000_0000),
        _ => buf.put_u64(value | 0xc000_0000_0000_0000),
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests;
