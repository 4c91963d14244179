//! `levada replay`: a recorded brain, run again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use levada_overlay::tape::{Line, Replay, TAPE_VERSION};
use levada_overlay::{Event, Output, StreamName, Time};
use serde_json::json;

use crate::cli::ReplayArgs;
use crate::query::say;

pub(crate) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let shown = args.stream.as_deref().map(StreamName::new).transpose()?;
    let path = args.file.display();
    let file = File::open(&args.file).with_context(|| format!("cannot read {path}"))?;
    let mut lines = BufReader::new(file).lines();
    let first = lines.next().with_context(|| format!("{path} is empty"))??;
    let Ok(Line::Begin(begin)) = serde_json::from_str(&first) else {
        bail!("{path} is no recording of a node; make one with: levada node --record FILE");
    };
    if begin.version != TAPE_VERSION {
        bail!("{path} has version {} of the format, this program reads {TAPE_VERSION}", begin.version);
    }
    let (name, program) = (begin.config.credential.name.clone(), begin.program.clone());
    let mut replay = Replay::new(begin);
    let (mut steps, mut differing, mut until) = (0_u64, 0_u64, Time::ZERO);
    let mut streams = BTreeSet::new();
    for line in lines {
        // A node that was killed may leave half a line.
        let Ok(Line::Step(step)) = serde_json::from_str(&line?) else { break };
        let at = step.at;
        let (outputs, same) = replay.step(step);
        steps += 1;
        differing += u64::from(!same);
        // What came out belongs to the step before.
        for output in outputs {
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
        say(&json!({ "node": name, "program": program, "steps": steps, "differing": differing }).to_string());
    } else {
        let verdict = if same {
            "every one as it was recorded".to_owned()
        } else {
            format!("{differing} of them otherwise than recorded (by version {program})")
        };
        say(&format!("node {name}: {steps} steps, {verdict}"));
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
