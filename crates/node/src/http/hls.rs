//! HLS: playlists, segments and parts of a stream, and where else it is to be had.
//!
//! ```text
//! /hls/NAME/index.m3u8          multivariant playlist: what players are given
//! /hls/NAME/media.m3u8          media playlist; ?_HLS_msn=N&_HLS_part=P waits for that part, viewer=N says who asks
//! /hls/NAME/init-HASH.mp4       initialisation segment
//! /hls/NAME/N.m4s, N.P.m4s      segment, part
//! /hls/NAME/steering.json       steering manifest
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use levada_media::hls::{Pathway, multivariant, steering};
use levada_overlay::StreamName;
use levada_overlay::node::view::PopView;
use levada_overlay::pop;
use serde::Deserialize;

use super::Rooms;
use super::api::Problem;
use super::body::Asked;
use super::viewers::{full, known};
use crate::playout::hls::{HlsError, HlsStream, HlsViewer};

/// Most nodes that a player is told of. Tuned: more than it will try.
const PATHWAYS_MAX: usize = 16;
const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MEDIA: &str = "video/mp4";
/// Content Steering manifests are JSON.
const MANIFEST: &str = "application/json";
/// What changes from one request to the next.
const CHANGES: &str = "no-cache";
/// Content of a name never changes; caches may keep it for as long as players ask for it, in seconds.
const STAYS: &str = "public, max-age=60, immutable";

/// What a player adds to its requests.
#[derive(Debug, Deserialize)]
pub(super) struct Directives {
    /// Segment to wait for (draft-pantos-hls-rfc8216bis, section 6.2.5.1).
    #[serde(rename = "_HLS_msn")]
    msn: Option<u64>,
    /// Part of it.
    #[serde(rename = "_HLS_part")]
    part: Option<usize>,
    /// Pathway that the player uses (section 7.1).
    #[serde(rename = "_HLS_pathway")]
    pathway: Option<String>,
    /// Number that the multivariant playlist gave the viewer, by which it is counted.
    viewer: Option<u64>,
}

impl From<HlsError> for Problem {
    fn from(error: HlsError) -> Self {
        match error {
            HlsError::Refused(_) => Self::bad_request(error.to_string()),
            HlsError::Late | HlsError::Full => Self::busy(error.to_string()),
        }
    }
}

/// What a file name asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File<'a> {
    Multivariant,
    Media,
    Steering,
    Init(&'a str),
    Segment(u64),
    Part(u64, usize),
}

impl<'a> File<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        match name {
            "index.m3u8" => return Some(Self::Multivariant),
            "media.m3u8" => return Some(Self::Media),
            "steering.json" => return Some(Self::Steering),
            _ if name.starts_with("init-") => return Some(Self::Init(name)),
            _ => {}
        }
        let stem = name.strip_suffix(".m4s")?;
        match stem.split_once('.') {
            None => Some(Self::Segment(stem.parse().ok()?)),
            Some((number, part)) => Some(Self::Part(number.parse().ok()?, part.parse().ok()?)),
        }
    }
}

/// `/hls/NAME/FILE`.
pub(super) async fn file(
    State(rooms): State<Rooms>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path((name, file)): Path<(String, String)>,
    Asked(directives): Asked<Directives>,
) -> Result<Response, Problem> {
    let name = StreamName::new(&name).map_err(|error| Problem::bad_request(error.to_string()))?;
    let gone =
        || Problem::not_found(format!("there is no {file} of stream \"{name}\"; players read /hls/{name}/index.m3u8"));
    let wanted = File::parse(&file).ok_or_else(gone)?;
    if directives.part.is_some() && directives.msn.is_none() {
        return Err(Problem::bad_request("_HLS_part needs _HLS_msn".to_owned()));
    }
    Ok(match wanted {
        File::Multivariant => {
            let variant = stream_of(&rooms, &name).await?.variant().await?;
            let own = rooms.node.name();
            let steered = pathways(own, rooms.node.pops(Some(name.clone())).await?, None).len() > 1;
            answer(PLAYLIST, CHANGES, multivariant(&variant, own, rand::random(), steered).into())
        }
        File::Steering => {
            let own = rooms.node.name();
            let pops = rooms.node.pops(Some(name.clone())).await?;
            let pathways = pathways(own, pops, directives.pathway.as_deref());
            answer(MANIFEST, CHANGES, steering(name.as_str(), own, directives.viewer, &pathways).into())
        }
        File::Media => {
            let stream = stream_of(&rooms, &name).await?;
            // Only here: whoever is sent away has the other playlist, and with it the way to other PoPs.
            if !stream.admit(directives.viewer.map_or(HlsViewer::At(from.ip()), HlsViewer::Number)) {
                return Err(full(&rooms));
            }
            let waits_for = directives.msn.map(|msn| (msn, directives.part));
            answer(PLAYLIST, CHANGES, stream.playlist(waits_for).await?)
        }
        File::Init(init) => answer(MEDIA, STAYS, stream_of(&rooms, &name).await?.init(init).ok_or_else(gone)?),
        File::Part(number, part) => {
            answer(MEDIA, STAYS, stream_of(&rooms, &name).await?.part(number, part).await?.ok_or_else(gone)?)
        }
        File::Segment(number) => {
            let parts = stream_of(&rooms, &name).await?.segment(number).ok_or_else(gone)?;
            let len: usize = parts.iter().map(Bytes::len).sum();
            let body = futures_util::stream::iter(parts.into_iter().map(Ok::<_, std::convert::Infallible>));
            let mut whole = answer(MEDIA, STAYS, Bytes::new());
            whole.headers_mut().insert(CONTENT_LENGTH, len.into());
            *whole.body_mut() = Body::from_stream(body);
            whole
        }
    })
}

/// The stream, which is made from now on if it was not.
async fn stream_of(rooms: &Rooms, name: &StreamName) -> Result<Arc<HlsStream>, Problem> {
    if let Some(stream) = rooms.hls.find(name) {
        return Ok(stream);
    }
    known(rooms, name, "").await?;
    let stream = rooms.hls.open_stream(name).await?;
    stream.ok_or_else(|| {
        let node = rooms.node.name();
        Problem::busy(format!("node {node} makes as many streams into HLS as it may; try another PoP"))
    })
}

fn answer(kind: &'static str, cache: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, cache)], body).into_response()
}

/// The nodes that serve players, the one to be used first: where the player is as long as that can be reached, then this one, then
/// whoever is nearest to the stream and not full.
fn pathways(own: &str, mut pops: Vec<PopView>, current: Option<&str>) -> Vec<Pathway> {
    let far = |pop: &PopView| {
        let way = pop.stream_metric_us.map(|way| pop::Cost { way, load_percent: pop.load_percent }.score());
        way.unwrap_or(u64::MAX)
    };
    pops.retain(|pop| pop.reachable || pop.name == own);
    pops.sort_by_key(|pop| (current != Some(&pop.name), pop.name != own, far(pop)));
    let pathways = pops.into_iter().map(|pop| Pathway { id: pop.name, base: pop.http });
    pathways.filter(|pathway| pathway.id == own || pathway.is_usable()).take(PATHWAYS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn players_go_on_at_the_pop_that_is_nearest_to_the_stream() {
        let pop = |name: &str, stream_metric_us, load_percent, reachable| PopView {
            name: name.to_owned(),
            http: format!("http://{name}.example"),
            stream_metric_us,
            load_percent,
            reachable,
        };
        let pops = vec![
            pop("dead", Some(1), 0, false),
            pop("far", Some(90_000), 0, true),
            pop("full", Some(5_000), 100, true),
            pop("lost", None, 0, true),
            pop("near", Some(9_000), 0, true),
            pop("own", Some(20_000), 0, true),
        ];
        let order = |current| -> Vec<String> {
            pathways("own", pops.clone(), current).into_iter().map(|pathway| pathway.id).collect()
        };
        assert_eq!(order(None), ["own", "near", "far", "full", "lost"]);
        assert_eq!(order(Some("far")), ["far", "own", "near", "full", "lost"]);
        assert_eq!(order(Some("dead")), ["own", "near", "far", "full", "lost"]);
    }

    #[test]
    fn names_of_files_are_told_apart() {
        assert_eq!(File::parse("838.m4s"), Some(File::Segment(838)));
        assert_eq!(File::parse("838.12.m4s"), Some(File::Part(838, 12)));
        assert_eq!(File::parse("init-0badcafe.mp4"), Some(File::Init("init-0badcafe.mp4")));
        for name in ["", ".m4s", "a.m4s", "1.2.3.m4s", "-1.m4s", "1.-1.m4s", "99999999999999999999.m4s", "other.m3u8"] {
            assert_eq!(File::parse(name), None, "{name}");
        }
    }
}
