//! The brain as the driver holds it: it writes down what goes in, if that is wanted.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc;

use levada_overlay::node::view::{PopView, WhyView};
use levada_overlay::tape::{Answers, Begin, Line, NotedKeys, Step, TAPE_VERSION, hash_outputs};
use levada_overlay::{Config, Input, Keys, Node, Output, StreamName, Time};

/// Steps that may wait for the disk; a recording that falls further behind is ended, not the node.
const QUEUE: usize = 16_384;

/// A brain, and its recording.
pub struct Taped {
    node: Node,
    tape: Option<Tape>,
}

struct Tape {
    answers: Answers,
    outputs: Vec<Output>,
    lines: mpsc::SyncSender<Line>,
}

impl Taped {
    /// A brain that nobody records.
    pub fn new(config: Config, keys: Box<dyn Keys>, now: Time) -> Self {
        Self { node: Node::new(config, keys, now), tape: None }
    }

    /// A brain whose inputs are written to a file, one JSON object a line.
    pub fn recorded(config: Config, keys: Box<dyn Keys>, now: Time, to: &Path) -> std::io::Result<Self> {
        let file = File::create(to)?;
        let (lines, queue) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new().name("tape".to_owned()).spawn(move || write(file, &queue))?;
        let (keys, answers) = NotedKeys::new(keys);
        let node = Node::new(config.clone(), Box::new(keys), now);
        let begin = Begin {
            version: TAPE_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            config,
            at: now,
            answers: answers.take(),
        };
        let mut tape = Some(Tape { answers, outputs: Vec::new(), lines });
        put(&mut tape, Line::Begin(begin));
        Ok(Self { node, tape })
    }

    /// See [`Node::handle_input`].
    pub fn handle_input(&mut self, input: Input, now: Time) {
        let noted = self.tape.is_some().then(|| input.clone());
        self.node.handle_input(input, now);
        self.note(noted, now);
    }

    /// See [`Node::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Time) {
        self.node.handle_timeout(now);
        self.note(None, now);
    }

    /// See [`Node::poll_output`].
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.node.poll_output()?;
        if let Some(tape) = &mut self.tape {
            tape.outputs.push(output.clone());
        }
        Some(output)
    }

    /// See [`Node::why`]: the brain remembers paths that it computed to answer, and decides nothing.
    pub fn why(&mut self, stream: &StreamName, now: Time) -> Option<WhyView> {
        self.node.why(stream, now)
    }

    /// See [`Node::pops`]: the same.
    pub fn pops(&mut self, stream: Option<&StreamName>) -> Vec<PopView> {
        self.node.pops(stream)
    }

    fn note(&mut self, input: Option<Input>, at: Time) {
        if let Some(tape) = &mut self.tape {
            let outputs = hash_outputs(&std::mem::take(&mut tape.outputs));
            let step = Step { at, input, answers: tape.answers.take(), outputs };
            put(&mut self.tape, Line::Step(step));
        }
    }
}

/// What changes nothing can be asked of the brain itself.
impl Deref for Taped {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

fn put(tape: &mut Option<Tape>, line: Line) {
    if tape.as_ref().is_some_and(|tape| tape.lines.try_send(line).is_err()) {
        tracing::warn!("the recording ends here: the disk is full or too slow");
        *tape = None;
    }
}

fn write(file: File, queue: &mpsc::Receiver<Line>) {
    let mut file = BufWriter::new(file);
    while let Ok(line) = queue.recv() {
        let mut written = serde_json::to_writer(&mut file, &line).is_ok() && file.write_all(b"\n").is_ok();
        // What waits goes out together, and nothing stays behind when the node stands still or is killed.
        while let Ok(line) = queue.try_recv() {
            written &= serde_json::to_writer(&mut file, &line).is_ok() && file.write_all(b"\n").is_ok();
        }
        if !written || file.flush().is_err() {
            return;
        }
    }
}
