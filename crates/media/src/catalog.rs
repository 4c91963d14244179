//! The catalog: which tracks a stream has and how to decode them. Carried as JSON in the first object of every group,
//! so that each group can be decoded by itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Tracks of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// In the order of their identifiers, which are unique.
    pub tracks: Vec<Track>,
}

/// One elementary stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Unique within the catalog.
    pub id: u8,
    /// Codec of the track; tells audio from video.
    pub codec: Codec,
    /// Ticks per second of the track's timestamps.
    pub timescale: u32,
    /// Decoder configuration: the body of `avcC` (H.264), of `hvcC` (HEVC), the AudioSpecificConfig (AAC) or the body of
    /// `dOps` (Opus). Base64 in JSON.
    #[serde(with = "base64_bytes")]
    pub config: Bytes,
    /// What the codec's kind adds.
    #[serde(flatten)]
    pub kind: Kind,
    /// ISO 639-2 code of the language, where the source tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// Codecs that Levada carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    Hevc,
    /// MPEG-4 AAC.
    Aac,
    /// RFC 6716.
    Opus,
}

impl Codec {
    /// Whether it carries pictures; the others carry sound.
    pub fn is_video(self) -> bool {
        match self {
            Self::H264 | Self::Hevc => true,
            Self::Aac | Self::Opus => false,
        }
    }
}

/// Parameters by kind of track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Pictures.
    Video {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
    },
    /// Sound.
    Audio {
        /// Samples per second.
        sample_rate: u32,
        /// Number of channels.
        channels: u8,
    },
}

impl Kind {
    /// Width and height, if it is a picture.
    pub fn size(&self) -> Option<(u16, u16)> {
        match *self {
            Self::Video { width, height } => Some((width, height)),
            Self::Audio { .. } => None,
        }
    }
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
        STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}
