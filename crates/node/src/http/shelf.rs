//! Publishing on demand: files of the media folder on the node's machine, and files that an operator puts there.

use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::Body as RawBody;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt as _;
use levada_overlay::StreamName;
use levada_overlay::record::{PRIORITY_DEFAULT, PRIORITY_MAX};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Rooms;
use super::api::Problem;
use super::body::Body;
use super::operator::MayChange;
use crate::ingest::{IngestError, is_media, prepare_file, stream_name};
use crate::journal::{Kind, Note};
use crate::node::NodeError;

/// Longest upload unless the node is told otherwise, in bytes.
pub const UPLOAD_BYTES_MAX: u64 = 2_000_000_000;
/// Files of the folder that are listed.
const FILES_MAX: usize = 1_024;
/// Longest name of a file, in bytes, as file systems have it.
const NAME_LEN_MAX: usize = 255;
/// Uploads, and files being opened, at once: each reads or writes the disk as fast as it can.
const BUSY_MAX: usize = 4;
/// An upload of which nothing comes for so long is given up.
const UPLOAD_STALLED: Duration = Duration::from_secs(30);
/// Time for a stream to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What can be published on demand, and what is.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: Option<PathBuf>,
    upload_bytes_max: u64,
    busy: Semaphore,
    /// Streams that flow; they end with the node's HTTP server.
    flowing: Mutex<JoinSet<()>>,
}

impl Shelf {
    pub(super) fn new(folder: Option<PathBuf>, upload_bytes_max: u64) -> Self {
        Self { folder, upload_bytes_max, busy: Semaphore::new(BUSY_MAX), flowing: Mutex::default() }
    }

    fn folder(&self) -> Result<&FilePath, Problem> {
        let none = || "this node has no media folder; start it with --media DIR".to_owned();
        self.folder.as_deref().ok_or_else(|| Problem::conflict(none()))
    }

    /// Where a file of the folder is, or would be.
    fn path(&self, file: &str) -> Result<PathBuf, Problem> {
        let mut parts = FilePath::new(file).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == file);
        if !plain || file.starts_with('.') || file.len() > NAME_LEN_MAX || file.contains(char::is_control) {
            return Err(Problem::bad_request(format!(
                "{file:?} is no plain file name; name a file of the media folder"
            )));
        }
        Ok(self.folder()?.join(file))
    }

    /// A file that is there. A symbolic link leads out of the folder only for whoever may write into it.
    fn existing(&self, file: &str) -> Result<PathBuf, Problem> {
        let path = self.path(file)?;
        match path.is_file() {
            true => Ok(path),
            false => Err(Problem::not_found(format!("there is no file {file:?} in the media folder"))),
        }
    }

    fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        let busy =
            |_| Problem::busy(format!("{BUSY_MAX} files are being opened or uploaded already; try again in a moment"));
        self.busy.try_acquire().map_err(busy)
    }
}

/// Answer of `/api/v1/media`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Media {
    /// Name of the node that answers.
    pub node: String,
    /// The media folder, if the node has one.
    pub folder: Option<String>,
    /// Longest file that can be put there.
    pub upload_bytes_max: u64,
    /// By name.
    pub files: Vec<MediaFile>,
}

/// A file of the media folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaFile {
    /// Its name.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Name that its stream gets unless another one is given.
    pub stream: Option<String>,
}

pub(super) async fn list(_: MayChange, State(rooms): State<Rooms>) -> Result<Json<Media>, Problem> {
    let shelf = &rooms.shelf;
    let folder = shelf.folder.clone();
    let listing = tokio::task::spawn_blocking(move || folder.map(|folder| files_of(&folder)).unwrap_or_default());
    Ok(Json(Media {
        node: rooms.node.name().to_owned(),
        folder: shelf.folder.as_ref().map(|folder| folder.display().to_string()),
        upload_bytes_max: shelf.upload_bytes_max,
        files: listing.await.unwrap_or_default(),
    }))
}

fn files_of(folder: &FilePath) -> Vec<MediaFile> {
    let file = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file() && is_media(&path))?;
        media_file(&path, meta.len())
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<MediaFile> = entries.filter_map(|entry| file(entry.ok()?)).take(FILES_MAX).collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    files
}

fn media_file(path: &FilePath, bytes: u64) -> Option<MediaFile> {
    let file = path.file_name()?.to_str().filter(|name| !name.starts_with('.'))?.to_owned();
    Some(MediaFile { file, bytes, stream: stream_name(path).ok().map(|name| name.to_string()) })
}

/// What to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Name of a file in the media folder.
    pub file: String,
    /// Name of the stream; from the file's if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Which origin is preferred if several publish the stream: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

/// What is published now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Published {
    /// Name of the stream.
    pub stream: String,
    /// Name of the file.
    pub file: String,
}

pub(super) async fn publish(
    _: MayChange,
    State(rooms): State<Rooms>,
    Body(Publish { file, stream, priority }): Body<Publish>,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let (node, shelf) = (&rooms.node, &rooms.shelf);
    let path = shelf.existing(&file)?;
    let name = match stream {
        Some(stream) => StreamName::new(&stream).map_err(|error| Problem::bad_request(error.to_string()))?,
        None => stream_name(&path)?,
    };
    let priority = priority.unwrap_or(PRIORITY_DEFAULT);
    if priority > PRIORITY_MAX {
        return Err(Problem::bad_request(format!("a priority is a number from 0 to {PRIORITY_MAX}")));
    }
    let permit = shelf.permit()?;
    let prepared = prepare_file(node, &path, name.clone(), priority).await?;
    drop(permit);
    let mut flowing = shelf.flowing.lock().unwrap_or_else(PoisonError::into_inner);
    while flowing.try_join_next().is_some() {}
    let stream = name.to_string();
    flowing.spawn(async move {
        if let Err(error) = prepared.run().await {
            tracing::warn!(%stream, %error, "what was published on demand has ended");
        }
    });
    let text = format!("{name}: {file} was published by an operator");
    node.journal().note(Note::new(Kind::Published, text).of_stream(&name));
    Ok((StatusCode::CREATED, Json(Published { stream: name.to_string(), file })))
}

pub(super) async fn stop(
    _: MayChange,
    State(rooms): State<Rooms>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let node = &rooms.node;
    let stream = StreamName::new(&name).map_err(|error| Problem::bad_request(error.to_string()))?;
    match tokio::time::timeout(STOP_DEADLINE, node.stop_stream(&stream)).await {
        Ok(true) => {
            let text = format!("{stream}: stopped by an operator");
            node.journal().note(Note::new(Kind::Stopped, text).of_stream(&stream));
            return Ok(StatusCode::NO_CONTENT);
        }
        Ok(false) => {}
        Err(_) => return Err(Problem::busy(format!("stream \"{stream}\" does not stop; look into the node's log"))),
    }
    let origins = node.view().await?.streams.into_iter().find(|known| known.name == name).map(|known| known.origins);
    Err(match origins.filter(|origins| !origins.is_empty()) {
        None => Problem::not_found(format!("nobody publishes a stream \"{name}\"")),
        Some(origins) => {
            let origins = origins.join(", ");
            Problem::conflict(format!("stream \"{name}\" is published by {origins}, not by this node; stop it there"))
        }
    })
}

pub(super) async fn upload(
    _: MayChange,
    State(rooms): State<Rooms>,
    Path(file): Path<String>,
    headers: HeaderMap,
    body: RawBody,
) -> Result<(StatusCode, Json<MediaFile>), Problem> {
    let shelf = &rooms.shelf;
    let path = shelf.path(&file)?;
    if !is_media(&path) {
        return Err(Problem::bad_request(format!("{file:?} is none of .mp4, .m4v, .mov, .ts and .m2ts")));
    }
    let too_large = || {
        Problem::too_large(format!("a file is at most {} bytes long here; see --max-upload", shelf.upload_bytes_max))
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if told.is_some_and(|length| length > shelf.upload_bytes_max) {
        return Err(too_large());
    }
    let taken = || Problem::conflict(format!("there is a file {file:?} already; upload it under another name"));
    if path.exists() {
        return Err(taken());
    }
    let _permit = shelf.permit()?;
    let failed = |error: std::io::Error| Problem::busy(format!("cannot write {}: {error}", path.display()));
    let part = Part::new(shelf.folder()?);
    let mut to = tokio::fs::OpenOptions::new().write(true).create_new(true).open(&part.0).await.map_err(failed)?;
    let (mut pieces, mut length) = (body.into_data_stream(), 0);
    while let Some(piece) = tokio::time::timeout(UPLOAD_STALLED, pieces.next()).await.map_err(|_| broken_off())? {
        let piece = piece.map_err(|_| broken_off())?;
        length += piece.len() as u64;
        if length > shelf.upload_bytes_max {
            return Err(too_large());
        }
        to.write_all(&piece).await.map_err(failed)?;
    }
    to.sync_all().await.map_err(failed)?;
    part.name(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(),
        _ => failed(error),
    })?;
    rooms
        .node
        .journal()
        .note(Note::new(Kind::Uploaded, format!("{file} ({length} bytes) was uploaded by an operator")));
    let uploaded =
        media_file(&path, length).ok_or_else(|| Problem::bad_request(format!("{file:?} is no file name")))?;
    Ok((StatusCode::CREATED, Json(uploaded)))
}

fn broken_off() -> Problem {
    Problem::bad_request("the upload broke off; send it again".to_owned())
}

/// An upload under way; removed when dropped, unless it got its name.
struct Part(PathBuf);

impl Part {
    fn new(folder: &FilePath) -> Self {
        Self(folder.join(format!(".upload-{:016x}", rand::random::<u64>())))
    }

    /// Gives it its name; a file that has it already stays.
    fn name(&self, path: &FilePath) -> std::io::Result<()> {
        use std::io::ErrorKind::{PermissionDenied, Unsupported};
        match std::fs::hard_link(&self.0, path) {
            // The file system knows no links. A rename replaces what is there, so the name is taken first.
            Err(error) if matches!(error.kind(), PermissionDenied | Unsupported) => {
                std::fs::File::create_new(path)?;
                std::fs::rename(&self.0, path).inspect_err(|_| drop(std::fs::remove_file(path)))
            }
            linked => linked,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that could not be made, or was renamed, is not there.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        match error {
            IngestError::Node(NodeError::AlreadyPublished { .. } | NodeError::TooManyStreams { .. }) => {
                Self::conflict(text)
            }
            IngestError::Node(_) => Self::busy(text),
            _ => Self::bad_request(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_folder_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("media");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(dir.path().join("secret.mp4"), "x").unwrap();
        std::fs::write(folder.join("clip.mp4"), "x").unwrap();
        let shelf = Shelf::new(Some(folder.clone()), 1);
        assert_eq!(shelf.existing("clip.mp4").unwrap(), folder.join("clip.mp4"));
        let absolute = dir.path().join("secret.mp4").display().to_string();
        for outside in [
            "../secret.mp4",
            "./clip.mp4",
            "a/../clip.mp4",
            "clip.mp4/",
            "..",
            ".",
            "",
            &absolute,
            ".hidden.mp4",
            "a\0b",
            "a\nb",
        ] {
            assert!(shelf.path(outside).is_err(), "{outside:?}");
        }
        assert!(shelf.existing("none.mp4").is_err() && Shelf::new(None, 1).path("clip.mp4").is_err());
    }

    #[test]
    fn an_upload_gets_its_name_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (path, names) = (dir.path().join("clip.mp4"), || std::fs::read_dir(dir.path()).unwrap().count());
        let part = Part::new(dir.path());
        assert!(part.name(&path).is_err() && names() == 0, "nothing was uploaded");
        std::fs::write(&part.0, "new").unwrap();
        part.name(&path).unwrap();
        drop(part);
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), ("new", 1));
        let other = Part::new(dir.path());
        std::fs::write(&other.0, "other").unwrap();
        assert_eq!(other.name(&path).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        drop(other);
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), ("new", 1));
    }

    #[test]
    fn only_media_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.mp4", "a.TS", ".upload-1", ".c.mp4", "notes.txt"] {
            std::fs::write(dir.path().join(name), "xyz").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.mp4")).unwrap();
        let names: Vec<(String, u64)> = files_of(dir.path()).into_iter().map(|file| (file.file, file.bytes)).collect();
        assert_eq!(names, [("a.TS".to_owned(), 3), ("b.mp4".to_owned(), 3)]);
    }
}
