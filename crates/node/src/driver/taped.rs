//! The brain as the driver holds it: it writes down what goes in, if that is wanted.

use std::collections::VecDeque;
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
    /// What came out of it before its last step and has not been taken yet.
    waiting: VecDeque<Output>,
}

struct Tape {
    answers: Answers,
    /// What came out since the last step.
    outputs: Vec<Output>,
    lines: mpsc::SyncSender<Line>,
}

impl Taped {
    /// A brain that nobody records.
    pub fn new(config: Config, keys: Box<dyn Keys>, now: Time) -> Self {
        Self { node: Node::new(config, keys, now), tape: None, waiting: VecDeque::new() }
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
        Ok(Self { node, tape, waiting: VecDeque::new() })
    }

    /// See [`Node::handle_input`].
    pub fn handle_input(&mut self, input: Input, now: Time) {
        let noted = self.tape.is_some().then(|| input.clone());
        self.collect();
        self.node.handle_input(input, now);
        self.note(noted, now);
    }

    /// See [`Node::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Time) {
        self.collect();
        self.node.handle_timeout(now);
        self.note(None, now);
    }

    /// See [`Node::poll_output`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.waiting.pop_front().or_else(|| {
            let output = self.node.poll_output()?;
            if let Some(tape) = &mut self.tape {
                tape.outputs.push(output.clone());
            }
            Some(output)
        })
    }

    /// Whoever carries outputs out may have something to put in before he has taken all of them; a step is recorded with all that
    /// came out before it, however it was taken.
    fn collect(&mut self) {
        let Some(tape) = &mut self.tape else { return };
        while let Some(output) = self.node.poll_output() {
            tape.outputs.push(output.clone());
            self.waiting.push_back(output);
        }
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

#[cfg(test)]
mod tests {
    use levada_overlay::record::StreamFacts;
    use levada_overlay::tape::Replay;
    use levada_overlay::{Credential, NodeId};

    use super::*;

    struct Blank;

    impl Keys for Blank {
        fn sign(&self, _message: &[u8]) -> [u8; 64] {
            [0; 64]
        }

        fn verify(&self, _author: NodeId, _message: &[u8], _signature: &[u8; 64]) -> bool {
            true
        }

        fn verify_credential(&self, _id: NodeId, _credential: &Credential) -> bool {
            true
        }
    }

    fn config() -> Config {
        let credential = Credential { name: "a".to_owned(), not_after_unix_s: u64::MAX, signature: [0; 64] };
        Config {
            id: NodeId([1; 32]),
            credential,
            epoch: 1,
            seed: 1,
            addresses: Vec::new(),
            http: None,
            transit: true,
            children_max: 8,
            egress_max_bps: None,
        }
    }

    /// The lines of a recording that another thread is writing.
    fn written(path: &Path, lines: usize) -> Vec<Line> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let text = std::fs::read_to_string(path).unwrap();
            if text.lines().count() >= lines && text.ends_with('\n') {
                return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(std::time::Instant::now() < deadline, "{text}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_is_put_in_before_all_that_came_out_was_taken_is_recorded_truly() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tape.jsonl");
        let mut brain = Taped::recorded(config(), Box::new(Blank), Time::ZERO, &path).unwrap();
        let mut taken = 0;
        for (name, takes) in [("one", 1), ("two", 0), ("three", usize::MAX)] {
            let facts = StreamFacts::new(StreamName::new(name).unwrap(), 1);
            brain.handle_input(Input::Publish(facts), Time::ZERO);
            taken += std::iter::from_fn(|| brain.poll_output()).take(takes).count();
        }
        brain.handle_timeout(Time::from_micros(1));
        drop(brain);
        let lines = written(&path, 5);
        let Some(Line::Begin(begin)) = lines.first().cloned() else { panic!("{lines:?}") };
        let mut replay = Replay::new(begin);
        let mut replayed = 0;
        for line in lines.into_iter().skip(1) {
            let Line::Step(step) = line else { panic!("{line:?}") };
            let (outputs, same) = replay.step(step);
            assert!(same, "{outputs:?}");
            replayed += outputs.len();
        }
        assert!(taken >= 3, "each is told as a route");
        assert_eq!(taken, replayed, "nothing is carried out twice, nothing is lost");
    }
}
