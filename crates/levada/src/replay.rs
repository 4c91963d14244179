//! `levada replay`: a recorded brain, run again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use levada_overlay::tape::{Begin, Line, Replay, Step, TAPE_VERSION};
use levada_overlay::{Event, Output, StreamName, Time};
use serde_json::json;

use crate::cli::ReplayArgs;
use crate::query::say;

/// Bytes of the longest line. A message in hexadecimal with the signatures that it made necessary takes about a megabyte
/// at most.
const LINE_MAX: u64 = 16 << 20;

pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let shown = args.stream.as_deref().map(StreamName::new).transpose()?;
    let (mut recording, begin) = Recording::open(&args.file)?;
    let (name, program) = (begin.config.credential.name.clone(), begin.program.clone());
    let mut replay = Replay::new(begin);
    let (mut steps, mut differing, mut until) = (0_u64, 0_u64, Time::ZERO);
    let mut streams = BTreeSet::new();
    while let Some(step) = recording.step()? {
        let at = step.at;
        tracing::trace!(%at, input = ?step.input);
        let (outputs, same) = replay.step(step);
        steps += 1;
        differing += u64::from(!same);
        // What came out belongs to the step before.
        for output in outputs {
            tracing::trace!(at = %until, ?output);
            if let Output::Event(event) = output {
                streams.extend(stream_of(&event).cloned());
                if shown.is_none() || stream_of(&event) == shown.as_ref() {
                    show(until, &event, args.json);
                }
            }
        }
        until = at;
    }
    for stream in streams.iter().filter(|stream| shown.as_ref().is_none_or(|shown| shown == *stream)) {
        if let Some(why) = replay.node().why(stream, until) {
            say(&if args.json {
                serde_json::to_string(&why)?
            } else {
                format!(
                    "at the end, {stream}: {}, parent {}, backup {}",
                    why.state,
                    or_none(&why.parent),
                    or_none(&why.backup)
                )
            });
        }
    }
    let same = differing == 0;
    if args.json {
        let cut = recording.is_cut;
        say(&json!({ "node": name, "program": program, "steps": steps, "differing": differing, "cut": cut })
            .to_string());
    } else {
        if recording.is_cut {
            say(
                "the recording ends in the middle of a line, which is left out: the node was killed, or the file was cut",
            );
        }
        let verdict = if same {
            "every one as it was recorded".to_owned()
        } else {
            format!("{differing} of them otherwise than recorded (by version {program})")
        };
        say(&format!("node {name}: {steps} steps, {verdict}"));
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The lines of a recording, read as they are needed.
struct Recording {
    reader: BufReader<File>,
    path: String,
    /// Number of the line that was read last, the first being 1.
    number: u64,
    /// Whether it ended in the middle of a line.
    is_cut: bool,
}

impl Recording {
    fn open(path: &Path) -> anyhow::Result<(Self, Begin)> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.display().to_string();
        let mut recording = Self { reader: BufReader::new(file), path, number: 0, is_cut: false };
        let first = recording.line()?;
        let path = &recording.path;
        if first.is_empty() {
            bail!("{path} is empty");
        }
        let Ok(Line::Begin(begin)) = serde_json::from_slice(&first) else {
            bail!("{path} is no recording of a node; make one with: levada node --record FILE");
        };
        if begin.version != TAPE_VERSION {
            bail!("{path} has version {} of the format, this program reads {TAPE_VERSION}", begin.version);
        }
        Ok((recording, begin))
    }

    /// The next step, `None` at the end. A node that was killed may leave half a line; any other damage is an error.
    fn step(&mut self) -> anyhow::Result<Option<Step>> {
        let line = self.line()?;
        let whole = line.ends_with(b"\n");
        let why = match serde_json::from_slice(&line) {
            _ if line.is_empty() => return Ok(None),
            Ok(Line::Step(step)) => return Ok(Some(step)),
            Ok(Line::Begin(_)) => "it begins anew".to_owned(),
            Err(_) if !whole => {
                self.is_cut = true;
                return Ok(None);
            }
            Err(error) => error.to_string(),
        };
        bail!(
            "line {} of {} is damaged: {why}; what comes before it can be replayed without it",
            self.number,
            self.path
        )
    }

    fn line(&mut self) -> anyhow::Result<Vec<u8>> {
        self.number += 1;
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        read.with_context(|| format!("cannot read {}", self.path))?;
        if line.len() as u64 == LINE_MAX {
            bail!("line {} of {} is longer than any that a node records; the file is damaged", self.number, self.path);
        }
        Ok(line)
    }
}

fn or_none(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("none")
}

fn stream_of(event: &Event) -> Option<&StreamName> {
    match event {
        Event::Committed { stream, .. }
        | Event::Waiting { stream }
        | Event::Suspected { stream, .. }
        | Event::Cleared { stream, .. }
        | Event::Adopting { stream, .. }
        | Event::Refused { stream, .. } => Some(stream),
        Event::LinkUp { .. } | Event::LinkDown { .. } | Event::RecordRefused { .. } => None,
    }
}

fn show(at: Time, event: &Event, json: bool) {
    let text = event.to_string();
    say(&if json { json!({ "at_us": at.as_micros(), "event": text }).to_string() } else { format!("{at}  {text}") });
}
