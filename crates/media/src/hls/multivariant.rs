//! Multivariant playlists, and Content Steering between the nodes that serve a stream (bis, sections 4.4.6 and 7).

use std::fmt::Write as _;

use serde_json::json;

/// Identifies the one variant that there is, wherever it is served (STABLE-VARIANT-ID).
const VARIANT: &str = "live";
/// TTL of a steering manifest, in seconds: a player asks again after it (bis, section 7.2). Tuned: how soon players learn of another
/// order, against what asking costs.
const STEERING_TTL_S: u64 = 5;

/// A node that serves the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pathway {
    /// PATHWAY-ID: the node's name.
    pub id: String,
    /// Base URL of the node; empty: that of whoever answers.
    pub base: String,
}

/// What the stream is, for players to choose by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Greatest bit rate of a segment.
    pub bandwidth_bps: u64,
    /// Bit rate over all of them.
    pub average_bps: u64,
    /// Codecs (RFC 6381).
    pub codecs: String,
    /// Pixels, if there is a picture.
    pub resolution: Option<(u16, u16)>,
}

impl Pathway {
    /// Whether its address can stand in a playlist; it came from another node.
    pub fn is_usable(&self) -> bool {
        let scheme = ["http://", "https://"].iter().any(|scheme| self.base.starts_with(scheme));
        scheme && self.base.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'?' | b'#'))
    }

    fn url(&self, stream: &str, file: &str, viewer: Option<u64>) -> String {
        let file = numbered(file, viewer);
        match self.base.trim_end_matches('/') {
            "" => file,
            base => format!("{base}/hls/{stream}/{file}"),
        }
    }
}

/// A file's name with the number of who asks for it, which players repeat as they repeat all of a URI.
fn numbered(file: &str, viewer: Option<u64>) -> String {
    viewer.map_or_else(|| file.to_owned(), |viewer| format!("{file}?viewer={viewer}"))
}

/// The multivariant playlist of one node (RFC 8216, section 4.3.4), for the viewer with a number by which it is told from others, here and
/// elsewhere. With `steered` it names where the other nodes are told: not here, since
/// players without Content Steering open all that is listed.
pub fn multivariant(variant: &Variant, node: &str, viewer: u64, steered: bool) -> String {
    // Version 8 is the media playlists'; here nothing asks for more.
    let mut out = "#EXTM3U\n#EXT-X-VERSION:8\n".to_owned();
    let [steering, media] = ["steering.json", "media.m3u8"].map(|file| numbered(file, Some(viewer)));
    if steered {
        let _ = writeln!(out, "#EXT-X-CONTENT-STEERING:SERVER-URI=\"{steering}\",PATHWAY-ID=\"{node}\"");
    }
    let resolution = variant.resolution.map(|(width, height)| format!(",RESOLUTION={width}x{height}"));
    let _ = writeln!(
        out,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"{},STABLE-VARIANT-ID=\"{VARIANT}\",PATHWAY-ID=\"{node}\"\n{media}",
        variant.bandwidth_bps,
        variant.average_bps,
        variant.codecs,
        resolution.unwrap_or_default(),
    );
    out
}

/// The steering manifest (bis, section 7.2), the best pathway first. It is to be asked for again at the second one: whoever tells
/// where to go next should not be whose death is to be survived. All but the node that answers, `own`, are told as clones of it (bis, section 7.3).
pub fn steering(stream: &str, own: &str, viewer: Option<u64>, pathways: &[Pathway]) -> String {
    let reload = pathways.get(1).or(pathways.first()).map(|pathway| pathway.url(stream, "steering.json", viewer));
    let clone = |pathway: &Pathway| {
        let url = pathway.url(stream, "media.m3u8", viewer);
        json!({"BASE-ID": own, "ID": pathway.id, "URI-REPLACEMENT": {"PER-VARIANT-URIS": {VARIANT: url}}})
    };
    let others = pathways.iter().filter(|pathway| pathway.id != own);
    let manifest = json!({
        "VERSION": 1,
        "TTL": STEERING_TTL_S,
        "RELOAD-URI": reload.unwrap_or_else(|| numbered("steering.json", viewer)),
        "PATHWAY-PRIORITY": pathways.iter().map(|pathway| &pathway.id).collect::<Vec<_>>(),
        "PATHWAY-CLONES": others.map(clone).collect::<Vec<_>>(),
    });
    manifest.to_string()
}
