//! What can be expected, one line each: `path cam n4 = s1 n1 n2 n4`, `gap n4 < 450ms`. A *state* holds at some time or
//! not; a *bound* is kept over a stretch of time or broken for good.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use levada_overlay::StreamName;
use levada_sim::{NodeRef as _, pair, units};

use crate::file::Name;

/// An expectation, with the line that it was written as.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    line: String,
    pub(crate) what: What,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// `ready`: whoever runs has links with its neighbours that run, and knows it of the others.
    Ready,
    /// `settled`: and nobody takes a link for much longer than it is.
    Settled,
    /// `flows`, `flows n4`, `flows n4 cam`: viewers get the stream in time.
    Flows(Who),
    /// `waits n4 cam`: the stream is wanted, and nobody can give it. Of leaves and of nodes that do not run: their viewers have no pictures.
    Waits(String, StreamName),
    /// `path cam n4 = s1 n1 n4`, with `*` for any number of nodes and `|` between alternatives; `!=` for what may not be.
    Path { stream: StreamName, node: String, ways: Vec<Vec<String>>, equal: bool },
    /// `backup cam n4 = n2 | n3`, `backup cam n4 = *`: who would take over.
    Backup { stream: StreamName, node: String, any: Vec<String> },
    /// `idle n1`: no media come or go. `idle n1-n2`: nor over this link.
    IdleNode(String),
    /// See above.
    IdleLink(String, String),
    /// `sealed n1-n2`: whoever listens in on the link cannot read what is published.
    Sealed(String, String),
    /// `traffic n1-n2 < 40kbit/s`: what is sent over a link, both directions together; bits a second.
    Traffic { a: String, b: String, relation: Relation, value: f64 },
    /// `copies out n1 = 2`: how many times each object leaves; `copies in n1 = 1`: how many times it comes.
    Copies { node: String, out: bool, times: f64 },
    /// `copies n1-n2 = 1`: how many times what an end has that is fed over the link goes over it, headers and all.
    CopiesOver { a: String, b: String, times: u32 },
    /// `linked n4-n1`: there is a link, in the file or adopted. `unlinked n4-n1`.
    Linked(String, String, bool),
    /// `reaches n4 n1`: links lead from one to the other. `misses n4 n1`.
    Reaches(String, String, bool),
    /// `streams n4 = cam film`: what can be had there, and no more.
    Streams(String, Vec<StreamName>),
    /// `origins cam n4 = s1 s2`: who publishes it and can be reached from there.
    Origins { stream: StreamName, node: String, names: Vec<String> },
    /// A measure of viewers or nodes: `gap < 450ms`, `lost n4 = 0`, `switches n4 cam <= 1`.
    Bound { measure: Measure, who: Who, relation: Relation, value: f64 },
}

/// Whom it is about: everybody, a node, or a node's stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Who {
    pub(crate) node: Option<String>,
    pub(crate) stream: Option<StreamName>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Frames, of both tracks, that a viewer never got.
    Lost,
    /// Of these, how many were of the sound.
    LostAudio,
    /// Frames that a viewer got twice.
    Doubled,
    /// Places in what a viewer got where something does not belong or is cut off: see [`crate::tape`].
    Torn,
    /// Longest time without a new picture, less the frame interval, ms.
    Gap,
    /// How long after it had come at the source a picture came, in 99 of a hundred cases at most; ms.
    Latency,
    /// Time from what was done until pictures came in time for good, ms; 0 where they always did.
    Recovery,
    /// Times that a node got another parent.
    Switches,
    /// Objects that a node could not give its viewers.
    Missed,
    /// The most memory that a node has ever had, bytes.
    Memory,
}

/// How a measure and a value compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// What is waited for before any script.
pub(crate) fn ready() -> Check {
    Check { line: "ready".to_owned(), what: What::Ready }
}

/// What is given a while to come true, so that the first ways are chosen by what links are, not by how busy the machine was when all
/// nodes started.
pub(crate) fn settled() -> Check {
    Check { line: "settled".to_owned(), what: What::Settled }
}

/// Everybody gets what they watch.
pub(crate) fn flows() -> Check {
    Check { line: "flows".to_owned(), what: What::Flows(Who::default()) }
}

/// Nothing comes to a node, and nothing leaves it.
pub(crate) fn idle(node: &str) -> Check {
    Check { line: format!("idle {node}"), what: What::IdleNode(node.to_owned()) }
}

/// Nothing passes a link but what neighbours say to each other.
pub(crate) fn quiet(a: &str, b: &str) -> Check {
    const BPS: f64 = 100e3;
    let what = What::Traffic { a: a.to_owned(), b: b.to_owned(), relation: Relation::Less, value: BPS };
    Check { line: format!("traffic {a}-{b} < {:.0}kbit/s", BPS / 1e3), what }
}

impl Check {
    /// Whether it is kept over time, rather than true at one time.
    pub fn is_bound(&self) -> bool {
        matches!(self.what, What::Bound { .. })
    }

    /// The longest time that a measure may take.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self.what {
            What::Bound { measure, relation: Relation::Less | Relation::AtMost | Relation::Equal, value, .. } => {
                measure.is_time().then(|| Duration::from_secs_f64(value / 1e3))
            }
            _ => None,
        }
    }

    /// Takes this many times longer for as good as it was.
    pub(crate) fn relax(&mut self, slack: f64) {
        if let What::Bound { measure, value, .. } = &mut self.what
            && measure.is_time()
            && slack != 1.0
        {
            *value *= slack;
            self.line = format!("{} (times {slack})", self.line);
        }
    }

    /// The node and the stream whose way it is about.
    pub(crate) fn way_of(&self) -> Option<(&str, &StreamName)> {
        match &self.what {
            What::Path { stream, node, .. } => Some((node, stream)),
            _ => None,
        }
    }

    /// The link that is listened in on for it.
    pub(crate) fn overhears(&self) -> Option<(&str, &str)> {
        match &self.what {
            What::Sealed(a, b) => Some((a, b)),
            _ => None,
        }
    }

    /// The link of the file on whose wire it looks.
    pub(crate) fn wire(&self) -> Option<(&str, &str)> {
        match &self.what {
            What::Traffic { a, b, .. } | What::CopiesOver { a, b, .. } | What::Sealed(a, b) => Some((a, b)),
            _ => None,
        }
    }

    /// Nodes that have to answer: their silence would look as if it were so.
    pub(crate) fn hears(&self) -> Vec<&str> {
        match &self.what {
            What::IdleLink(a, b) | What::Linked(a, b, false) | What::CopiesOver { a, b, times: 0 } => vec![a, b],
            What::Reaches(node, _, false) | What::Streams(node, _) | What::Origins { node, .. } => vec![node],
            _ => Vec::new(),
        }
    }

    /// Whether somebody has to watch at the sources for it.
    pub(crate) fn compares_with_sources(&self) -> bool {
        matches!(self.what, What::Bound { measure: Measure::Latency, .. })
    }

    /// Nodes that it names.
    pub fn nodes(&self) -> Vec<&str> {
        match &self.what {
            What::Ready | What::Settled => Vec::new(),
            What::Flows(who) | What::Bound { who, .. } => who.node.iter().map(String::as_str).collect(),
            What::Waits(node, _) | What::IdleNode(node) | What::Copies { node, .. } | What::Streams(node, _) => {
                vec![node]
            }
            What::Path { node, ways, .. } => {
                ways.iter().flatten().filter(|hop| *hop != "*").chain([node]).map(String::as_str).collect()
            }
            What::Backup { node, any, .. } => {
                any.iter().filter(|hop| *hop != "*").chain([node]).map(String::as_str).collect()
            }
            What::Origins { node, names, .. } => names.iter().chain([node]).map(String::as_str).collect(),
            What::Traffic { a, b, .. } | What::CopiesOver { a, b, .. } => vec![a, b],
            What::IdleLink(a, b) | What::Sealed(a, b) | What::Linked(a, b, _) | What::Reaches(a, b, _) => vec![a, b],
        }
    }

    /// Streams that it names.
    pub fn streams(&self) -> Vec<&StreamName> {
        match &self.what {
            What::Flows(who) | What::Bound { who, .. } => who.stream.iter().collect(),
            What::Waits(_, stream) | What::Path { stream, .. } | What::Backup { stream, .. } => vec![stream],
            What::Origins { stream, .. } => vec![stream],
            What::Streams(_, streams) => streams.iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl Relation {
    /// Whether it is so.
    pub(crate) fn holds(self, measured: f64, value: f64) -> bool {
        match self {
            Self::Less => measured < value,
            Self::AtMost => measured <= value,
            Self::Equal => measured == value,
            Self::AtLeast => measured >= value,
            Self::More => measured > value,
        }
    }
}

impl Measure {
    /// Whether it is taken from what viewers got, rather than from what nodes counted.
    pub(crate) fn is_of_viewers(self) -> bool {
        !matches!(self, Self::Switches | Self::Missed | Self::Memory)
    }

    /// Whether it counts what never came.
    pub(crate) fn is_loss(self) -> bool {
        matches!(self, Self::Lost | Self::LostAudio)
    }

    /// Whether it is in milliseconds.
    fn is_time(self) -> bool {
        matches!(self, Self::Gap | Self::Recovery | Self::Latency)
    }

    /// With its unit.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Memory => format!("{:.0} MB", value / 1e6),
            _ if self.is_time() => format!("{value:.0} ms"),
            _ => format!("{value:.0}"),
        }
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (rest, wrong) = (rest.trim(), |form: &str| format!("{line:?} is not of the form: {form}"));
        let node = |text: &str| Name::parse(text).map(|name| name.0);
        let link = || pair::<Name>(rest, '-').map(|(a, b)| (a.0, b.0));
        let two = |form| rest.split_once(' ').map(|(a, b)| (a, b.trim())).ok_or_else(|| wrong(form));
        let what = match verb {
            "ready" if rest.is_empty() => What::Ready,
            "settled" if rest.is_empty() => What::Settled,
            "flows" => What::Flows(who(rest)?),
            "waits" => {
                let (at, of) = two("waits n4 cam")?;
                What::Waits(node(at)?, stream(of)?)
            }
            "path" => {
                let form = "path cam n4 = s1 n1 n4";
                let (subject, equal, ways) = sides(rest).ok_or_else(|| wrong(form))?;
                let (of, at) = subject.split_once(' ').ok_or_else(|| wrong(form))?;
                let ways = ways.split('|').map(|way| way.split_whitespace().map(str::to_owned).collect()).collect();
                What::Path { stream: stream(of)?, node: node(at)?, ways, equal }
            }
            "backup" => {
                let form = "backup cam n4 = n2 | n3";
                let (subject, any) = rest.split_once('=').ok_or_else(|| wrong(form))?;
                let (of, at) = subject.trim().split_once(' ').ok_or_else(|| wrong(form))?;
                let any = any.split('|').map(|one| one.trim().to_owned()).collect();
                What::Backup { stream: stream(of)?, node: node(at)?, any }
            }
            "idle" if rest.contains('-') => link().map(|(a, b)| What::IdleLink(a, b))?,
            "idle" => What::IdleNode(node(rest)?),
            "sealed" => link().map(|(a, b)| What::Sealed(a, b))?,
            "traffic" => {
                let form = "traffic n1-n2 < 40kbit/s";
                let (link, relation, value) = compared(rest).ok_or_else(|| wrong(form))?;
                let (Name(a), Name(b)) = pair(link, '-')?;
                What::Traffic { a, b, relation, value: units::rate(value)? as f64 }
            }
            "copies" => {
                let form = "copies out n1 = 2, or: copies n1-n2 = 1";
                let (subject, times) = rest.split_once('=').ok_or_else(|| wrong(form))?;
                let (subject, times) = (subject.trim(), times.trim());
                match subject.split_once(' ') {
                    Some((way @ ("in" | "out"), at)) => {
                        let times = times.parse().map_err(|_| wrong(form))?;
                        What::Copies { node: node(at)?, out: way == "out", times }
                    }
                    None if subject.contains('-') => {
                        let (Name(a), Name(b)) = pair(subject, '-')?;
                        What::CopiesOver { a, b, times: times.parse().map_err(|_| wrong(form))? }
                    }
                    _ => return Err(wrong(form)),
                }
            }
            "linked" | "unlinked" => link().map(|(a, b)| What::Linked(a, b, verb == "linked"))?,
            "reaches" | "misses" => {
                let (from, to) = two("reaches n4 n1")?;
                What::Reaches(node(from)?, node(to)?, verb == "reaches")
            }
            "streams" => {
                let (at, names) = rest.split_once('=').ok_or_else(|| wrong("streams n4 = cam film"))?;
                What::Streams(node(at.trim())?, names.split_whitespace().map(stream).collect::<Result<_, _>>()?)
            }
            "origins" => {
                let form = "origins cam n4 = s1 s2";
                let (subject, names) = rest.split_once('=').ok_or_else(|| wrong(form))?;
                let (of, at) = subject.trim().split_once(' ').ok_or_else(|| wrong(form))?;
                let names = names.split_whitespace().map(node).collect::<Result<_, _>>()?;
                What::Origins { stream: stream(of)?, node: node(at)?, names }
            }
            _ => bound(verb, rest).map_err(|error| error.unwrap_or_else(|| unknown(verb)))?,
        };
        Ok(Self { line: line.to_owned(), what })
    }
}

fn unknown(verb: &str) -> String {
    format!(
        "{verb:?} is nothing that can be expected; there are ready, settled, flows, waits, path, backup, idle, sealed, traffic, copies, \
         linked, unlinked, reaches, misses, streams, origins, lost, lost_audio, doubled, torn, gap, latency, recovery, switches, missed, memory"
    )
}

/// `None`: it is no measure at all.
fn bound(verb: &str, rest: &str) -> Result<What, Option<String>> {
    let measure = match verb {
        "lost" => Measure::Lost,
        "lost_audio" => Measure::LostAudio,
        "doubled" => Measure::Doubled,
        "torn" => Measure::Torn,
        "gap" => Measure::Gap,
        "latency" => Measure::Latency,
        "recovery" => Measure::Recovery,
        "switches" => Measure::Switches,
        "missed" => Measure::Missed,
        "memory" => Measure::Memory,
        _ => return Err(None),
    };
    let (subject, relation, value) =
        compared(rest).ok_or_else(|| Some(format!("\"{verb} {rest}\" compares nothing; write: {verb} n4 <= 1")))?;
    let who = who(subject).map_err(Some)?;
    if matches!(measure, Measure::Missed | Measure::Memory) && who.stream.is_some() {
        return Err(Some(format!("{verb} is counted by node, not by stream; name the node alone")));
    }
    let value = match measure {
        Measure::Memory => units::bytes(value).map(|bytes| bytes as f64),
        _ if measure.is_time() => units::duration(value).map(ms),
        _ => value.parse().map_err(|_| format!("{value:?} is no number")),
    };
    Ok(What::Bound { measure, who, relation, value: value.map_err(Some)? })
}

/// `a <= b` and the like.
fn compared(text: &str) -> Option<(&str, Relation, &str)> {
    let relations = [
        ("<=", Relation::AtMost),
        (">=", Relation::AtLeast),
        ("<", Relation::Less),
        (">", Relation::More),
        ("=", Relation::Equal),
    ];
    relations.iter().find_map(|(sign, relation)| {
        let (subject, value) = text.split_once(sign)?;
        Some((subject.trim(), *relation, value.trim()))
    })
}

/// `a != b` or `a = b`.
fn sides(text: &str) -> Option<(&str, bool, &str)> {
    let (subject, ways) = text.split_once('=')?;
    match subject.strip_suffix('!') {
        Some(subject) => Some((subject.trim(), false, ways)),
        None => Some((subject.trim(), true, ways)),
    }
}

fn who(text: &str) -> Result<Who, String> {
    let mut words = text.split_whitespace();
    let node = words.next().map(|name| Name::parse(name).map(|name| name.0)).transpose()?;
    let stream = words.next().map(stream).transpose()?;
    match words.next() {
        None => Ok(Who { node, stream }),
        Some(more) => Err(format!("{more:?} is one word too many; write a node, or a node and a stream")),
    }
}

fn stream(text: &str) -> Result<StreamName, String> {
    StreamName::new(text.trim()).map_err(|error| error.to_string())
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Whether a way is of a form, in which `*` stands for any number of nodes.
pub(crate) fn fits(way: &[&str], form: &[String]) -> bool {
    match form.split_first() {
        None => way.is_empty(),
        Some((any, rest)) if any == "*" => (0..=way.len()).any(|skipped| fits(&way[skipped..], rest)),
        Some((hop, rest)) => way.split_first().is_some_and(|(first, way)| first == hop && fits(way, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> What {
        line.parse::<Check>().unwrap().what
    }

    #[test]
    fn lines_are_understood() {
        let cam = StreamName::new("cam").unwrap();
        assert_eq!(check("flows"), What::Flows(Who::default()));
        let who = Who { node: Some("n4".to_owned()), stream: Some(cam) };
        let what = What::Bound { measure: Measure::Gap, who, relation: Relation::Less, value: 450.0 };
        assert_eq!(check("gap n4 cam < 450ms"), what);
        assert!(matches!(check("path cam n4 != * n3 *"), What::Path { equal: false, .. }));
        assert!(matches!(check("idle n1-n2"), What::IdleLink(..)));
        assert!(matches!(check("latency n4 <= 1s"), What::Bound { measure: Measure::Latency, value: 1e3, .. }));
        assert!(matches!(check("torn n4 = 0"), What::Bound { measure: Measure::Torn, .. }));
        assert!(matches!(check("sealed n1-n2"), What::Sealed(..)));
        assert!(matches!(check("copies out n1 = 2"), What::Copies { out: true, .. }));
        assert!(matches!(check("copies n1-n2 = 1"), What::CopiesOver { times: 1, .. }));
        for wrong in [
            "",
            "ready now",
            "path cam = n1",
            "gap < 450",
            "lost",
            "copies on n1 = 2",
            "copies n1 = 2",
            "copies n1-n2 = 0.5",
            "flows a b c",
            "idle",
            "memory n4 cam < 100MB",
            "missed n4 cam = 0",
        ] {
            assert!(wrong.parse::<Check>().is_err(), "{wrong:?}");
        }
        let longest = |line: &str| line.parse::<Check>().unwrap().longest();
        assert_eq!(longest("gap n4 < 3s"), Some(Duration::from_secs(3)));
        assert!(longest("gap > 1h").is_none() && longest("lost = 0").is_none() && longest("flows").is_none());
        assert!("tickles n1".parse::<Check>().unwrap_err().contains("path"));
    }

    #[test]
    fn what_holds_where_nothing_is_has_to_be_heard_of() {
        let hears = |line: &str| line.parse::<Check>().unwrap().hears().join(" ");
        for line in ["idle n1-n2", "unlinked n1-n2", "copies n1-n2 = 0"] {
            assert_eq!(hears(line), "n1 n2", "{line}");
        }
        for line in ["misses n1 n2", "streams n1 =", "origins cam n1 ="] {
            assert_eq!(hears(line), "n1", "{line}");
        }
        for line in ["linked n1-n2", "copies n1-n2 = 1", "reaches n1 n2", "idle n1", "flows"] {
            assert_eq!(hears(line), "", "{line}");
        }
    }

    #[test]
    fn stars_stand_for_any_number_of_nodes() {
        let fits = |way: &str, form: &str| {
            let form: Vec<String> = form.split_whitespace().map(str::to_owned).collect();
            fits(&way.split_whitespace().collect::<Vec<_>>(), &form)
        };
        assert!(fits("a b c", "a b c") && fits("a b c", "* b *") && fits("a b c", "a *") && fits("a", "* a *"));
        assert!(!fits("a b c", "a c") && !fits("a b c", "* d *") && !fits("", "a") && !fits("a b", "a"));
    }
}
