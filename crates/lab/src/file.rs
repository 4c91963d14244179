//! The lab's file: nodes and links, streams and who watches them, a script, and what is expected. TOML, unknown keys
//! refused; examples/lab/ has some, docs/lab.md explains every key.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use levada_overlay::{StreamName, check_node_name};
use levada_sim::{Action, Impairment, NodeRef, pair, units};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::check::Check;
use crate::notation::expand;

/// Largest file, in bytes.
const FILE_LEN_MAX: u64 = 1024 * 1024;
/// Most nodes: each is a process of some 20 MB.
pub(crate) const NODES_MAX: usize = 100;
/// Most players of one stream at one node: each is a thread.
const PLAYERS_MAX: usize = 100;
/// Most times that a script is played.
const REPEAT_MAX: usize = 1_000;
/// Time for what a step expects to come true, unless it says otherwise. Tuned: a busy machine with 2 cores.
const WITHIN: Duration = Duration::from_secs(20);
/// Viewers are observed at least so long where something is asked of them: a silence is noticed late.
const WATCH: Duration = Duration::from_millis(1_500);
/// ... and for so much longer than the longest time that is asked for: what was done takes a moment to be felt.
const WATCH_MARGIN: Duration = Duration::from_secs(1);
/// The source that is built in.
pub const TESTCARD: &str = "testcard";

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// It cannot be read.
    #[error("lab file {0} cannot be read")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// It is longer than any lab.
    #[error("lab file {0} is larger than {FILE_LEN_MAX} bytes")]
    TooLarge(PathBuf),
    /// It is no TOML, or has keys or lines that mean nothing.
    #[error("lab file {0} is not understood")]
    Syntax(PathBuf, #[source] Box<toml::de::Error>),
    /// It contradicts itself.
    #[error("lab file {0}: {1}")]
    Content(PathBuf, String),
}

/// The same, of a text that is in no file yet.
#[derive(Debug)]
pub(crate) enum Wrong {
    Syntax(Box<toml::de::Error>),
    Content(String),
}

/// The name of a node in a line of a script.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub String);

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl NodeRef for Name {
    fn parse(text: &str) -> Result<Self, String> {
        check_node_name(text).map_err(|error| error.to_string())?;
        if text.contains('-') {
            return Err(format!("{text:?} has a hyphen, which stands for a link in a lab; write n1"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A checked file.
#[derive(Clone, Debug)]
pub struct Lab {
    /// What it shows, in a sentence.
    pub about: String,
    /// Names, in the order in which they appear.
    pub nodes: Vec<String>,
    /// Those that only watch.
    pub leaves: BTreeSet<String>,
    /// Those whose pages are for people.
    pub pops: Vec<String>,
    /// Those that the script starts.
    pub late: BTreeSet<String>,
    /// Who is linked with whom, and how.
    pub links: Vec<Link>,
    /// What is published.
    pub streams: Vec<Stream>,
    /// Who watches what from the beginning.
    pub viewers: Vec<(String, StreamName)>,
    /// The script.
    pub steps: Vec<Step>,
    /// How often it is played, one time after the other.
    pub repeat: usize,
    /// What must hold over the whole run.
    pub always: Vec<Check>,
}

/// A link.
#[derive(Clone, Debug)]
pub struct Link {
    /// One end.
    pub a: String,
    /// The other.
    pub b: String,
    /// What it does in both directions.
    pub impairment: Impairment,
    /// Whether the script heals it first.
    pub late: bool,
}

/// A stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its name.
    #[serde(deserialize_with = "de_stream")]
    pub name: StreamName,
    /// Nodes that publish it from the beginning.
    #[serde(default, deserialize_with = "de_names")]
    pub at: Vec<String>,
    /// `testcard`, or a video beside the lab file.
    #[serde(default = "usual_source")]
    pub source: String,
}

/// A step of the script: it waits, does something, and sees to it that something holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens, for people.
    #[serde(default)]
    pub about: String,
    /// Not before this long after the mesh was ready.
    #[serde(default, deserialize_with = "de_duration_maybe")]
    pub at: Option<Duration>,
    /// This long after the step before.
    #[serde(default, deserialize_with = "de_duration_maybe")]
    pub after: Option<Duration>,
    /// Not before all this holds.
    #[serde(default, deserialize_with = "de_parsed")]
    pub when: Vec<Check>,
    /// What is done.
    #[serde(default, rename = "do", deserialize_with = "de_parsed")]
    pub actions: Vec<Action<Name>>,
    /// What must come true, all at one time.
    #[serde(default, deserialize_with = "de_parsed")]
    pub expect: Vec<Check>,
    /// How soon.
    #[serde(default = "usual_within", deserialize_with = "units::de_duration")]
    pub within: Duration,
    /// How long viewers are observed at least, counted from what was done.
    #[serde(default, deserialize_with = "de_duration_maybe")]
    pub watch: Option<Duration>,
}

impl Step {
    /// How long viewers are observed: what is to be shorter than three seconds cannot be seen in two.
    pub(crate) fn watched(&self) -> Duration {
        let longest = self.expect.iter().filter_map(Check::longest).max().map(|longest| longest + WATCH_MARGIN);
        let usual = if self.expect.iter().any(Check::is_bound) { WATCH } else { Duration::ZERO };
        self.watch.unwrap_or(usual).max(longest.unwrap_or_default())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    about: String,
    #[serde(default, deserialize_with = "de_parsed")]
    nodes: Vec<String>,
    #[serde(default, deserialize_with = "de_names")]
    leaves: Vec<String>,
    #[serde(default, deserialize_with = "de_names")]
    pops: Vec<String>,
    #[serde(default, deserialize_with = "de_names")]
    late: Vec<String>,
    /// What every link does unless it says otherwise.
    #[serde(default)]
    link: String,
    #[serde(deserialize_with = "de_parsed")]
    links: Vec<String>,
    #[serde(default, deserialize_with = "de_parsed")]
    late_links: Vec<String>,
    #[serde(default, deserialize_with = "de_parsed")]
    viewers: Vec<String>,
    #[serde(default, deserialize_with = "de_parsed")]
    always: Vec<Check>,
    #[serde(default, rename = "stream")]
    streams: Vec<Stream>,
    #[serde(default, rename = "step")]
    steps: Vec<Step>,
    #[serde(default = "once")]
    repeat: usize,
}

impl Lab {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, LabError> {
        let unreadable = |error| LabError::Unreadable(path.to_owned(), error);
        if std::fs::metadata(path).map_err(unreadable)?.len() > FILE_LEN_MAX {
            return Err(LabError::TooLarge(path.to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let mut lab = Self::parse(&text).map_err(|what| match what {
            Wrong::Syntax(error) => LabError::Syntax(path.to_owned(), error),
            Wrong::Content(what) => LabError::Content(path.to_owned(), what),
        })?;
        let beside = path.parent().unwrap_or(Path::new("."));
        for stream in lab.streams.iter_mut().filter(|stream| stream.source != TESTCARD) {
            stream.source = beside.join(&stream.source).display().to_string();
        }
        Ok(lab)
    }

    /// Multiplies all times that are expected: for machines that have other things to do, whose gaps are no fault of the
    /// mesh. Times of the script stay; viewers are watched for longer than what is allowed all the same.
    pub fn relax(&mut self, slack: f64) {
        for step in &mut self.steps {
            step.within = step.within.mul_f64(slack);
            step.expect.iter_mut().for_each(|check| check.relax(slack));
        }
        self.always.iter_mut().for_each(|check| check.relax(slack));
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let file: File = toml::from_str(text).map_err(|error| Wrong::Syntax(Box::new(error)))?;
        Self::check(file).map_err(Wrong::Content)
    }

    /// All that is played, in this order.
    pub fn script(&self) -> Vec<Step> {
        std::iter::repeat_n(&self.steps, self.repeat).flatten().cloned().collect()
    }

    /// All that is expected at any time.
    pub(crate) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.steps.iter().flat_map(|step| step.when.iter().chain(&step.expect)).chain(&self.always)
    }

    /// What a line of a script's `do` stands for, if this lab has what it names.
    pub fn actions(&self, line: &str) -> Result<Vec<Action<Name>>, String> {
        let Expanded(actions) = Expanded::read(line)?;
        actions.iter().try_for_each(|action| self.check_action(action))?;
        Ok(actions)
    }

    /// Whether two nodes are linked.
    pub fn linked(&self, a: &str, b: &str) -> bool {
        self.links.iter().any(|link| (link.a == a && link.b == b) || (link.a == b && link.b == a))
    }

    /// Those that a node has links with.
    pub fn neighbours<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a str> {
        self.links.iter().filter_map(move |link| match node {
            node if node == link.a => Some(link.b.as_str()),
            node if node == link.b => Some(link.a.as_str()),
            _ => None,
        })
    }

    fn check(file: File) -> Result<Self, String> {
        let mut lab = Self {
            about: file.about,
            nodes: Vec::new(),
            leaves: file.leaves.into_iter().collect(),
            pops: file.pops,
            late: file.late.into_iter().collect(),
            links: Vec::new(),
            streams: file.streams,
            viewers: Vec::new(),
            steps: file.steps,
            repeat: file.repeat,
            always: file.always,
        };
        for (lines, late) in [(&file.links, false), (&file.late_links, true)] {
            for line in lines {
                lab.add_link(line, &file.link, late)?;
            }
        }
        for node in &file.nodes {
            lab.add_node(&Name::parse(node)?.0);
        }
        if lab.nodes.is_empty() || lab.nodes.len() > NODES_MAX {
            return Err(format!("it has {} nodes; a lab has 1 to {NODES_MAX}", lab.nodes.len()));
        }
        if !(1..=REPEAT_MAX).contains(&lab.repeat) {
            return Err(format!("repeat = {}; a script is played 1 to {REPEAT_MAX} times", lab.repeat));
        }
        for name in lab.leaves.iter().chain(&lab.pops).chain(&lab.late) {
            lab.known(name)?;
        }
        let mut names = BTreeSet::new();
        for stream in &lab.streams {
            if !names.insert(stream.name.clone()) {
                return Err(format!("stream {} is there twice; list its nodes in one", stream.name));
            }
            stream.at.iter().try_for_each(|node| lab.is_no_leaf(node, "publish"))?;
        }
        for line in &file.viewers {
            lab.viewers.extend(viewers_of(line)?);
        }
        for (n, (node, stream)) in lab.viewers.iter().enumerate() {
            lab.known(node)?;
            lab.streamed(stream)?;
            if lab.leaves.contains(node) && lab.viewers[..n].contains(&(node.clone(), stream.clone())) {
                return Err(format!("leaf {node} watches {stream} twice; one process has one player"));
            }
        }
        for step in &lab.steps {
            step.actions.iter().try_for_each(|action| lab.check_action(action))?;
            step.when.iter().chain(&step.expect).try_for_each(|check| lab.check_names(check))?;
        }
        lab.always.iter().try_for_each(|check| lab.check_names(check))?;
        for check in lab.checks() {
            if let Some((a, b)) = check.wire().filter(|(a, b)| !lab.linked(a, b)) {
                return Err(format!("{check}: there is no link {a}-{b}"));
            }
        }
        if let Some(check) = lab.always.iter().find(|check| !check.is_bound()) {
            return Err(format!("{check} may hold at one time and not at another; expect it in a [[step]]"));
        }
        Ok(lab)
    }

    fn add_node(&mut self, name: &str) {
        if !self.nodes.iter().any(|node| node == name) {
            self.nodes.push(name.to_owned());
        }
    }

    fn add_link(&mut self, line: &str, usual: &str, late: bool) -> Result<(), String> {
        let (ends, change) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let (Name(a), Name(b)) = pair(ends, '-')?;
        if a == b {
            return Err(format!("link {ends} leads from {a} to itself"));
        }
        if self.linked(&a, &b) {
            return Err(format!("link {ends} is there twice; remove one"));
        }
        let mut impairment = Impairment { delay: Duration::ZERO, ..Impairment::default() };
        impairment.change(usual)?;
        impairment.change(change)?;
        self.add_node(&a);
        self.add_node(&b);
        self.links.push(Link { a, b, impairment, late });
        Ok(())
    }

    fn known(&self, node: &str) -> Result<(), String> {
        let there = self.nodes.iter().any(|known| known == node);
        there.then_some(()).ok_or_else(|| format!("there is no node {node}; name it in links or nodes"))
    }

    fn is_no_leaf(&self, node: &str, what: &str) -> Result<(), String> {
        self.known(node)?;
        match self.leaves.contains(node) {
            true => Err(format!("{node} is a leaf and cannot {what}")),
            false => Ok(()),
        }
    }

    fn streamed(&self, stream: &StreamName) -> Result<(), String> {
        let there = self.streams.iter().any(|known| known.name == *stream);
        there.then_some(()).ok_or_else(|| format!("there is no stream {stream}; describe it in a [[stream]]"))
    }

    fn check_action(&self, action: &Action<Name>) -> Result<(), String> {
        let link = |a: &Name, b: &Name| match self.linked(&a.0, &b.0) {
            true => Ok(()),
            false => Err(format!("there is no link {}-{}", a.0, b.0)),
        };
        match action {
            Action::Crash(node) | Action::Stop(node) | Action::Start(node) | Action::Restart(node) => {
                self.known(&node.0)
            }
            Action::Stall(node) | Action::Resume(node) => self.known(&node.0),
            Action::Drain(node) => self.is_no_leaf(&node.0, "be drained"),
            Action::Cut(a, b) | Action::CutOneWay(a, b) | Action::Heal(a, b) => link(a, b),
            Action::Link(a, b, _) | Action::LinkOneWay(a, b, _) => link(a, b),
            Action::Subscribe(node, stream) | Action::Unsubscribe(node, stream) => {
                self.known(&node.0)?;
                self.streamed(stream)
            }
            Action::Publish(node, stream) | Action::Withdraw(node, stream) => {
                self.is_no_leaf(&node.0, "publish")?;
                self.streamed(stream)
            }
            Action::Pause(node, ..) => {
                Err(format!("a lab publishes files, which do not pause; write: stall {}", node.0))
            }
        }
    }

    fn check_names(&self, check: &Check) -> Result<(), String> {
        check.nodes().iter().try_for_each(|node| self.known(node))?;
        check.streams().iter().try_for_each(|stream| self.streamed(stream))
    }
}

/// `n4 cam`, or `n4 cam 3` for three players.
fn viewers_of(line: &str) -> Result<Vec<(String, StreamName)>, String> {
    let wrong = || format!("viewer {line:?} is not of the form: n4 cam, or n4 cam 3");
    let words: Vec<&str> = line.split_whitespace().collect();
    let (node, stream, count) = match words[..] {
        [node, stream] => (node, stream, 1),
        [node, stream, count] => {
            (node, stream, count.parse().ok().filter(|count| *count <= PLAYERS_MAX).ok_or_else(wrong)?)
        }
        _ => return Err(wrong()),
    };
    let viewer = (Name::parse(node)?.0, StreamName::new(stream).map_err(|error| error.to_string())?);
    Ok(vec![viewer; count])
}

fn usual_source() -> String {
    TESTCARD.to_owned()
}

fn once() -> usize {
    1
}

fn usual_within() -> Duration {
    WITHIN
}

/// A line, or a list of lines; braces are expanded. Each is read where it stands, so that errors name its line.
fn de_parsed<'de, D: Deserializer<'de>, T: FromLine>(from: D) -> Result<Vec<T>, D::Error> {
    struct Lines<T>(PhantomData<T>);
    impl<'de, T: FromLine> serde::de::Visitor<'de> for Lines<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a line, or a list of lines")
        }

        fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Self::Value, E> {
            Expanded::read(line).map(|expanded| expanded.0).map_err(E::custom)
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut lines = Vec::new();
            while let Some(Expanded(more)) = list.next_element()? {
                lines.extend(more);
            }
            Ok(lines)
        }
    }
    from.deserialize_any(Lines(PhantomData))
}

trait FromLine: Sized {
    fn from_line(line: String) -> Result<Self, String>;
}

/// All that one line stands for.
struct Expanded<T>(Vec<T>);

impl<T: FromLine> Expanded<T> {
    fn read(line: &str) -> Result<Self, String> {
        expand(line)?.into_iter().map(T::from_line).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de, T: FromLine> Deserialize<'de> for Expanded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Line<T>(PhantomData<T>);
        impl<T: FromLine> serde::de::Visitor<'_> for Line<T> {
            type Value = Expanded<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a line")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Self::Value, E> {
                Expanded::read(line).map_err(E::custom)
            }
        }
        // What fails within the visitor gets the place of this line, and not that of the list.
        from.deserialize_str(Line(PhantomData))
    }
}

impl FromLine for String {
    fn from_line(line: String) -> Result<Self, String> {
        Ok(line)
    }
}

impl FromLine for Name {
    fn from_line(line: String) -> Result<Self, String> {
        Self::parse(&line)
    }
}

impl FromLine for Action<Name> {
    fn from_line(line: String) -> Result<Self, String> {
        Self::try_from(line)
    }
}

impl FromLine for Check {
    fn from_line(line: String) -> Result<Self, String> {
        line.parse()
    }
}

fn de_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(de_parsed::<D, Name>(from)?.into_iter().map(|name| name.0).collect())
}

fn de_stream<'de, D: Deserializer<'de>>(from: D) -> Result<StreamName, D::Error> {
    StreamName::new(&String::deserialize(from)?).map_err(D::Error::custom)
}

fn de_duration_maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    units::de_duration(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(text: &str) -> Result<Lab, String> {
        Lab::parse(text).map_err(|wrong| match wrong {
            Wrong::Syntax(error) => error.to_string(),
            Wrong::Content(what) => what,
        })
    }

    #[test]
    fn viewers_are_watched_for_longer_than_what_is_asked_of_them() {
        let watched = |step: &str| {
            let text = format!("links = \"s1-n1\"\n[[step]]\nexpect = [\"flows\", \"gap < 3s\"]\n{step}");
            let mut lab = lab(&text).unwrap();
            let watched = lab.steps[0].watched();
            lab.relax(2.0);
            (watched.as_millis(), lab.steps[0].watched().as_millis())
        };
        assert_eq!(watched(""), (4_000, 7_000));
        assert_eq!(watched("watch = \"1s\""), (4_000, 7_000));
        assert_eq!(watched("watch = \"9s\""), (9_000, 9_000));
        let idle = lab("links = \"s1-n1\"\n[[step]]\nexpect = \"idle n1\"").unwrap();
        assert!(idle.steps[0].watched().is_zero());
    }

    const GOOD: &str = r#"
        links = ["s1-n1", "n1-{n2,n3} delay=20ms loss=1%"]
        link = "delay=5ms"
        late = "n3"
        viewers = ["n2 cam 2", "n3 cam"]
        always = "lost = 0"
        [[stream]]
        name = "cam"
        at = "s1"
        [[step]]
        when = "flows"
        do = "kill {n2,n3}"
        expect = ["idle n1-{n2,n3}"]
    "#;

    #[test]
    fn the_notation_is_understood() {
        let lab = lab(GOOD).unwrap();
        assert_eq!(lab.nodes, ["s1", "n1", "n2", "n3"]);
        assert_eq!(lab.links.len(), 3);
        assert_eq!(lab.links[0].impairment.delay, Duration::from_millis(5));
        assert_eq!((lab.links[2].impairment.delay, lab.links[2].impairment.loss), (Duration::from_millis(20), 0.01));
        assert_eq!(lab.viewers.len(), 3);
        assert_eq!((lab.steps[0].actions.len(), lab.steps[0].expect.len()), (2, 2));
        assert_eq!(lab.neighbours("n1").collect::<Vec<_>>(), ["s1", "n2", "n3"]);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let wrong = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            lab(&GOOD.replace(from, to)).unwrap_err()
        };
        let error = wrong("late =", "lately =");
        assert!(error.contains("line 4") && error.contains("lately"), "{error}");
        let error = wrong("kill {n2", "tickle {n2");
        assert!(error.contains("line 12") && error.contains("tickle"), "{error}");
        assert!(wrong("late = \"n3\"", "late = \"n9\"").contains("no node n9"));
        assert!(wrong("n2 cam 2", "n2 film").contains("no stream film"));
        assert!(wrong("n2 cam 2", "n2 cam two").contains("n4 cam 3"));
        assert!(wrong("late = \"n3\"", "leaves = \"n2\"").contains("twice"));
        assert!(wrong("kill {n2,n3}", "cut s1-n3").contains("no link s1-n3"));
        assert!(wrong("lost = 0", "idle n1").contains("idle n1"));
        assert!(wrong("\"s1-n1\"", "\"s-1-n1\"").contains("hyphen"));
        assert!(wrong("\"s1-n1\"", "\"n2-n1\"").contains("twice"));
        assert!(wrong("late =", "repeat = 0\n        late =").contains("1 to 1000"));
        for check in ["sealed s1-n2", "traffic s1-n2 < 40kbit/s", "copies s1-n2 = 1"] {
            assert!(wrong("idle n1-{n2,n3}", check).contains("no link s1-n2"));
        }
    }
}
