//! A recording of everything that went into a brain, and the same brain fed with it again.
//!
//! The brain is deterministic, so its inputs with their times, and what its keys answered, are all there is to record. The
//! hash of the outputs of each step shows whether a replay is true to the recording.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use crate::id::NodeId;
use crate::io::{Input, Output};
use crate::node::{Config, Keys, Node};
use crate::time::Time;

/// Version of the format.
pub const TAPE_VERSION: u32 = 1;

/// One line of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    /// The first: who the brain is.
    Begin(Begin),
    /// What went in.
    Step(Step),
}

/// A brain as it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// Version of the format.
    pub version: u32,
    /// Version of the program; another one may decide otherwise.
    pub program: String,
    /// What the node was told about itself.
    pub config: Config,
    /// When.
    pub at: Time,
    /// What its keys answered meanwhile.
    pub answers: Vec<Answer>,
}

/// Something that happened to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at: Time,
    /// What; `None`: its time had come.
    pub input: Option<Input>,
    /// What its keys answered meanwhile.
    pub answers: Vec<Answer>,
    /// Hash of what came out of it before.
    pub outputs: u64,
}

/// What keys answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// A signature, hexadecimal.
    Signed(String),
    /// Whether a signature or a credential is good.
    Good(bool),
}

/// Keys whose answers are noted for as long as somebody is there to take them.
pub struct NotedKeys {
    inner: Box<dyn Keys>,
    answers: Weak<Mutex<Vec<Answer>>>,
}

/// The answers that [`NotedKeys`] gave since they were taken last. Once this is dropped none are kept.
#[derive(Clone, Debug)]
pub struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    /// Takes them.
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl NotedKeys {
    /// Notes what `inner` answers.
    pub fn new(inner: Box<dyn Keys>) -> (Self, Answers) {
        let answers = Arc::default();
        (Self { inner, answers: Arc::downgrade(&answers) }, Answers(answers))
    }

    fn note(&self, answer: Answer) {
        if let Some(answers) = self.answers.upgrade() {
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        }
    }
}

impl Keys for NotedKeys {
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.inner.sign(message);
        self.note(Answer::Signed(hex(&signature)));
        signature
    }

    fn verify(&self, author: NodeId, message: &[u8], signature: &[u8; 64]) -> bool {
        let good = self.inner.verify(author, message, signature);
        self.note(Answer::Good(good));
        good
    }

    fn verify_credential(&self, id: NodeId, credential: &Credential) -> bool {
        let good = self.inner.verify_credential(id, credential);
        self.note(Answer::Good(good));
        good
    }
}

/// Hash of outputs, over the words in which they are shown.
pub fn hash_outputs(outputs: &[Output]) -> u64 {
    struct Fnv(u64);
    impl std::hash::Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
    impl std::fmt::Write for Fnv {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for output in outputs {
        // Writing into a hash cannot fail.
        let _ = std::fmt::write(&mut hash, format_args!("{output:?}"));
    }
    hash.finish()
}

/// A brain that lives its recorded life again.
pub struct Replay {
    node: Node,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    outputs: Vec<Output>,
}

impl Replay {
    /// The brain as it began.
    pub fn new(begin: Begin) -> Self {
        let answers = Arc::new(Mutex::new(begin.answers.into()));
        let keys = RecordedKeys(Arc::clone(&answers));
        let node = Node::new(begin.config, Box::new(keys), begin.at);
        Self { node, answers, outputs: Vec::new() }
    }

    /// Takes a step: what came out before it, and whether that is what came out when it was recorded.
    pub fn step(&mut self, step: Step) -> (Vec<Output>, bool) {
        self.drain();
        let outputs = std::mem::take(&mut self.outputs);
        let same = hash_outputs(&outputs) == step.outputs;
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).extend(step.answers);
        match step.input {
            Some(input) => self.node.handle_input(input, step.at),
            None => self.node.handle_timeout(step.at),
        }
        (outputs, same)
    }

    /// The brain, to be asked.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    fn drain(&mut self) {
        while let Some(output) = self.node.poll_output() {
            self.outputs.push(output);
        }
    }
}

struct RecordedKeys(Arc<Mutex<VecDeque<Answer>>>);

impl RecordedKeys {
    fn next(&self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Keys for RecordedKeys {
    fn sign(&self, _message: &[u8]) -> [u8; 64] {
        match self.next() {
            Some(Answer::Signed(text)) => unhex(&text).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; 64]),
            Some(Answer::Good(_)) | None => [0; 64],
        }
    }

    fn verify(&self, _author: NodeId, _message: &[u8], _signature: &[u8; 64]) -> bool {
        self.next() == Some(Answer::Good(true))
    }

    fn verify_credential(&self, _id: NodeId, _credential: &Credential) -> bool {
        self.next() == Some(Answer::Good(true))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Signatures in hexadecimal.
pub(crate) mod hex_signature {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(signature: &[u8; 64], serializer: S) -> Result<S::Ok, S::Error> {
        super::hex(signature).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 64], D::Error> {
        let bytes = super::unhex(&String::deserialize(deserializer)?).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| D::Error::custom("a signature that is not 64 bytes in hexadecimal"))
    }
}

/// Control messages as they travel, in hexadecimal.
pub(crate) mod hex_message {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::message::Message;

    pub(crate) fn serialize<S: Serializer>(message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
        super::hex(&message.encode()[4..]).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = super::unhex(&text).ok_or_else(|| D::Error::custom("a message that is not hexadecimal"))?;
        let message = Message::decode(bytes.into()).map_err(D::Error::custom)?;
        message.ok_or_else(|| D::Error::custom("a message that this version does not know"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::{PlainKeys, signed_by};

    const OWN: NodeId = NodeId([7; 32]);

    #[test]
    fn answers_are_kept_only_while_there_is_a_recording() {
        let (keys, answers) = NotedKeys::new(Box::new(PlainKeys(OWN)));
        keys.sign(b"recorded");
        assert_eq!(answers.take(), [Answer::Signed("07".repeat(64))]);
        drop(answers);
        assert_eq!(keys.sign(b"the recording ended"), signed_by(OWN));
        assert!(keys.answers.upgrade().is_none(), "nothing is left to keep them in");
    }
}
