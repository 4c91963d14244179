//! HLS: playlists, segments and parts of a stream, and where else it is to be had.
//!
//! ```text
//! /hls/NAME/index.m3u8          multivariant playlist: what players are given
//! /hls/NAME/media.m3u8          media playlist; ?_HLS_msn=N&_HLS_part=P waits for that part
//! /hls/NAME/init-HASH.mp4       initialisation segment
//! /hls/NAME/N.m4s, N.P.m4s      segment, part
//! /hls/NAME/steering.json       steering manifest
//! ```

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use levada_media::hls::{Pathway, multivariant, steering};
use levada_overlay::StreamName;
use levada_overlay::node::view::View;
use serde::Deserialize;

use super::Rooms;
use super::api::Problem;
use super::viewers::known;
use crate::playout::hls::{HlsError, HlsStream};

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
    Path((name, file)): Path<(String, String)>,
    Query(directives): Query<Directives>,
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
            let view = rooms.node.view().await?;
            let steered = pathways(&view, None).len() > 1;
            answer(PLAYLIST, CHANGES, multivariant(&variant, &view.node, steered).into())
        }
        File::Steering => {
            let view = rooms.node.view().await?;
            let pathways = pathways(&view, directives.pathway.as_deref());
            answer(MANIFEST, CHANGES, steering(name.as_str(), &view.node, &pathways).into())
        }
        File::Media => {
            let waits_for = directives.msn.map(|msn| (msn, directives.part));
            answer(PLAYLIST, CHANGES, stream_of(&rooms, &name).await?.playlist(waits_for).await?)
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
    known(rooms, name).await?;
    let stream = rooms.hls.open_stream(name).await?;
    stream.ok_or_else(|| {
        let node = rooms.node.name();
        Problem::busy(format!("node {node} makes as many streams into HLS as it may; try another PoP"))
    })
}

fn answer(kind: &'static str, cache: &'static str, body: Bytes) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, cache), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")], body).into_response()
}

/// The nodes that serve players, the one to be used first: where the player is as long as that can be reached, or else this one.
fn pathways(view: &View, current: Option<&str>) -> Vec<Pathway> {
    let pathway = |node: &levada_overlay::node::view::NodeView| {
        let pathway = Pathway { id: node.name.clone(), base: node.http.clone()? };
        (node.reachable && node.name != view.node && pathway.is_usable()).then_some(pathway)
    };
    let own = view.nodes.iter().find(|node| node.name == view.node).and_then(|node| node.http.clone());
    let mut pathways = vec![Pathway { id: view.node.clone(), base: own.unwrap_or_default() }];
    pathways.extend(view.nodes.iter().filter_map(pathway));
    pathways.sort_by_key(|pathway| (current != Some(&pathway.id), pathway.id != view.node));
    pathways.truncate(PATHWAYS_MAX);
    pathways
}

#[cfg(test)]
mod tests {
    use super::*;

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
