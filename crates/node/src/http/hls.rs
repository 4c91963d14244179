//! HLS: playlists, segments and parts of a stream, and where else it is to be had.
//!
//! ```text
//! /hls/NAME/index.m3u8          multivariant playlist: what players are given
//! /hls/NAME/media.m3u8          media playlist; ?_HLS_msn=N&_HLS_part=P waits for that part
//! /hls/NAME/init-HASH.mp4       initialisation segment
//! /hls/NAME/N.m4s, N.P.m4s      segment, part
//! /hls/NAME/steering.json       steering manifest
//! ```

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
use crate::playout::hls::HlsError;

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
    if wanted == File::Steering {
        let view = rooms.node.view().await?;
        let pathways = pathways(&view, directives.pathway.as_deref());
        return Ok(answer(MANIFEST, CHANGES, steering(name.as_str(), &view.node, &pathways).into()));
    }
    let stream = match rooms.hls.find(&name) {
        Some(stream) => stream,
        None => {
            known(&rooms, &name).await?;
            let opened = rooms.hls.open_stream(&name).await?;
            opened
                .ok_or_else(|| Problem::busy("too many streams are watched here as HLS; try another PoP".to_owned()))?
        }
    };
    Ok(match wanted {
        File::Multivariant => {
            let variant = stream.variant().await?;
            let view = rooms.node.view().await?;
            let mut pathways = pathways(&view, None);
            // Whoever reads this one reached it, by whatever name.
            pathways[0].base.clear();
            answer(PLAYLIST, CHANGES, multivariant(name.as_str(), &variant, &pathways).into())
        }
        File::Media => {
            let waits_for = directives.msn.map(|msn| (msn, directives.part));
            answer(PLAYLIST, CHANGES, stream.playlist(waits_for).await?)
        }
        File::Init(init) => answer(MEDIA, STAYS, stream.init(init).ok_or_else(gone)?),
        File::Part(number, part) => answer(MEDIA, STAYS, stream.part(number, part).await?.ok_or_else(gone)?),
        File::Segment(number) => {
            let parts = stream.segment(number).ok_or_else(gone)?;
            let len: usize = parts.iter().map(Bytes::len).sum();
            let body = futures_util::stream::iter(parts.into_iter().map(Ok::<_, std::convert::Infallible>));
            let headers = [
                (CONTENT_TYPE, MEDIA.to_owned()),
                (CACHE_CONTROL, STAYS.to_owned()),
                (CONTENT_LENGTH, len.to_string()),
                (ACCESS_CONTROL_ALLOW_ORIGIN, "*".to_owned()),
            ];
            (headers, Body::from_stream(body)).into_response()
        }
        File::Steering => return Err(gone()),
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
