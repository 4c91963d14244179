//! A folder whose files are streams: what is put in is published, what is taken out is withdrawn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use levada_overlay::record::PRIORITY_DEFAULT;
use tokio::task::JoinHandle;

use super::{IngestError, publish_file, stream_name};
use crate::node::Node;

/// Pause between two looks. A file is taken once two looks found it the same, since it may still be being copied.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Endings of files that are tried.
const ENDINGS: [&str; 5] = ["mp4", "m4v", "mov", "ts", "m2ts"];
/// Most files of a folder that are published.
const FILES_MAX: usize = 1_024;

/// Length and time of change: another stamp means another content.
type Stamp = (u64, SystemTime);

struct Entry {
    stamp: Stamp,
    /// `None` until two looks agree.
    task: Option<JoinHandle<()>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Publishes the files of a folder until the future is dropped. One bad file does not stop the others.
pub async fn publish_folder(node: &Node, dir: &Path) -> Result<(), IngestError> {
    std::fs::read_dir(dir).map_err(|error| IngestError::Open(dir.to_owned(), error))?;
    let mut files: BTreeMap<PathBuf, Entry> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        ticks.tick().await;
        let looking = dir.to_owned();
        let Ok(Some(found)) = tokio::task::spawn_blocking(move || list(&looking)).await else { continue };
        files.retain(|path, entry| {
            let stays = found.get(path).is_some_and(|stamp| entry.task.is_none() || entry.stamp == *stamp);
            if !stays && entry.task.is_some() {
                tracing::info!(path = %path.display(), "withdrawn");
            }
            stays
        });
        for (path, stamp) in found {
            let entry =
                files.entry(path.clone()).or_insert(Entry { stamp: (u64::MAX, SystemTime::UNIX_EPOCH), task: None });
            if entry.task.is_none() && entry.stamp == stamp {
                let node = node.clone();
                entry.task = Some(tokio::spawn(async move { run(&node, &path).await }));
            }
            entry.stamp = stamp;
        }
    }
}

/// Whether a file's name ends as those do that are tried.
pub fn is_media(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The files to publish; `None` if the folder cannot be read now.
fn list(dir: &Path) -> Option<BTreeMap<PathBuf, Stamp>> {
    let file = |entry: std::fs::DirEntry| {
        let path = entry.path();
        let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file() && is_media(&path))?;
        Some((path, (meta.len(), meta.modified().ok()?)))
    };
    Some(std::fs::read_dir(dir).ok()?.filter_map(|entry| file(entry.ok()?)).take(FILES_MAX).collect())
}

async fn run(node: &Node, path: &Path) {
    let result = match stream_name(path) {
        Ok(name) => publish_file(node, path, name, PRIORITY_DEFAULT).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%error, cause, "a file of the folder is left out; put a good one in its place");
    }
}
