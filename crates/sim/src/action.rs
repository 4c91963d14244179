//! What a script can do to a mesh, one line each: `kill n3`. The simulator's nodes are numbers, the lab's have names; both
//! read the same lines.

use std::fmt;

use std::time::Duration;

use levada_overlay::StreamName;
use serde::Deserialize;

use crate::link::Impairment;
use crate::units;
use crate::world::World;

/// How a script writes a node.
pub trait NodeRef: Sized {
    /// Reads it, or says what to write.
    fn parse(text: &str) -> Result<Self, String>;
}

/// Something that befalls a mesh.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String", bound = "N: NodeRef")]
pub enum Action<N = usize> {
    /// `crash n3`, `kill n3`: it is gone without a word.
    Crash(N),
    /// `stop n3`: it says goodbye.
    Stop(N),
    /// `start n3`: for the first time, or anew.
    Start(N),
    /// `drain n3`: its children move, then it says goodbye.
    Drain(N),
    /// `restart n3`: it is gone without a word and back at once.
    Restart(N),
    /// `stall n3`: it stands still (SIGSTOP).
    Stall(N),
    /// `resume n3`: it goes on.
    Resume(N),
    /// `cut n1-n2`: nothing passes in either direction.
    Cut(N, N),
    /// `cut n1>n2`: nothing passes from the first to the second.
    CutOneWay(N, N),
    /// `heal n1-n2`.
    Heal(N, N),
    /// `link n1-n2 delay=80ms loss=5%`: both directions change.
    Link(N, N, String),
    /// `link n1>n2 delay=80ms loss=5%`: what the first sends to the second.
    LinkOneWay(N, N, String),
    /// `watch n4 cam`, `subscribe n4 cam`.
    Subscribe(N, StreamName),
    /// `unwatch n4 cam`, `unsubscribe n4 cam`.
    Unsubscribe(N, StreamName),
    /// `publish n2 cam`.
    Publish(N, StreamName),
    /// `withdraw n2 cam`.
    Withdraw(N, StreamName),
    /// `pause n0 cam 3s`: nothing comes from its encoder for so long, and then everything at once.
    Pause(N, StreamName, Duration),
}

/// Parses `n3`.
impl NodeRef for usize {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_prefix('n').and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("{text:?} is no node; write n3"))
    }
}

/// Parses `n1-n2` or `n1>n2`.
pub fn pair<N: NodeRef>(text: &str, between: char) -> Result<(N, N), String> {
    let (a, b) = text.split_once(between).ok_or_else(|| format!("{text:?} is no link; write n1{between}n2"))?;
    Ok((N::parse(a.trim())?, N::parse(b.trim())?))
}

impl<N: NodeRef> TryFrom<String> for Action<N> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (verb, rest) = text.trim().split_once(' ').ok_or_else(|| format!("{text:?} does nothing to anything"))?;
        let of_stream = || {
            let (at, stream) = rest.trim().split_once(' ').ok_or_else(|| format!("{text:?} names no stream"))?;
            Ok::<_, String>((N::parse(at)?, StreamName::new(stream.trim()).map_err(|error| error.to_string())?))
        };
        Ok(match verb {
            "crash" | "kill" => Self::Crash(N::parse(rest.trim())?),
            "stop" => Self::Stop(N::parse(rest.trim())?),
            "start" => Self::Start(N::parse(rest.trim())?),
            "drain" => Self::Drain(N::parse(rest.trim())?),
            "restart" => Self::Restart(N::parse(rest.trim())?),
            "stall" => Self::Stall(N::parse(rest.trim())?),
            "resume" => Self::Resume(N::parse(rest.trim())?),
            "cut" if rest.contains('>') => pair(rest, '>').map(|(a, b)| Self::CutOneWay(a, b))?,
            "cut" => pair(rest, '-').map(|(a, b)| Self::Cut(a, b))?,
            "heal" => pair(rest, '-').map(|(a, b)| Self::Heal(a, b))?,
            "link" => {
                let (link, change) = rest.trim().split_once(' ').ok_or_else(|| format!("{text:?} changes nothing"))?;
                Impairment::default().change(change)?;
                if link.contains('>') {
                    pair(link, '>').map(|(a, b)| Self::LinkOneWay(a, b, change.to_owned()))?
                } else {
                    pair(link, '-').map(|(a, b)| Self::Link(a, b, change.to_owned()))?
                }
            }
            "watch" | "subscribe" => of_stream().map(|(at, stream)| Self::Subscribe(at, stream))?,
            "unwatch" | "unsubscribe" => of_stream().map(|(at, stream)| Self::Unsubscribe(at, stream))?,
            "publish" => of_stream().map(|(at, stream)| Self::Publish(at, stream))?,
            "withdraw" => of_stream().map(|(at, stream)| Self::Withdraw(at, stream))?,
            "pause" => {
                let (source, pause) =
                    rest.trim().rsplit_once(' ').ok_or_else(|| format!("{text:?} names no stream"))?;
                let (at, stream) = source.split_once(' ').ok_or_else(|| format!("{text:?} says not for how long"))?;
                let stream = StreamName::new(stream.trim()).map_err(|error| error.to_string())?;
                Self::Pause(N::parse(at)?, stream, units::duration(pause)?)
            }
            _ => {
                return Err(format!(
                    "{verb:?} is nothing that can be done; there are kill, stop, drain, start, restart, stall, resume, cut, heal, link, watch, unwatch, publish, withdraw, pause"
                ));
            }
        })
    }
}

impl<N: fmt::Display> fmt::Display for Action<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(node) => write!(f, "kill {node}"),
            Self::Stop(node) => write!(f, "stop {node}"),
            Self::Drain(node) => write!(f, "drain {node}"),
            Self::Start(node) => write!(f, "start {node}"),
            Self::Restart(node) => write!(f, "restart {node}"),
            Self::Stall(node) => write!(f, "stall {node}"),
            Self::Resume(node) => write!(f, "resume {node}"),
            Self::Cut(a, b) => write!(f, "cut {a}-{b}"),
            Self::CutOneWay(a, b) => write!(f, "cut {a}>{b}"),
            Self::Heal(a, b) => write!(f, "heal {a}-{b}"),
            Self::Link(a, b, change) => write!(f, "link {a}-{b} {change}"),
            Self::LinkOneWay(a, b, change) => write!(f, "link {a}>{b} {change}"),
            Self::Subscribe(node, stream) => write!(f, "watch {node} {stream}"),
            Self::Unsubscribe(node, stream) => write!(f, "unwatch {node} {stream}"),
            Self::Publish(node, stream) => write!(f, "publish {node} {stream}"),
            Self::Withdraw(node, stream) => write!(f, "withdraw {node} {stream}"),
            Self::Pause(node, stream, pause) => write!(f, "pause {node} {stream} {}ms", pause.as_millis()),
        }
    }
}

impl Action {
    /// Checks that the nodes and links are there.
    pub(crate) fn check(&self, world: &World) -> Result<(), String> {
        let (node, link) = match self {
            Self::Crash(a) | Self::Stop(a) | Self::Drain(a) | Self::Start(a) | Self::Restart(a) => (*a, None),
            Self::Stall(a) | Self::Resume(a) => (*a, None),
            Self::Subscribe(a, _) | Self::Unsubscribe(a, _) | Self::Publish(a, _) | Self::Withdraw(a, _) => (*a, None),
            Self::Pause(a, ..) => (*a, None),
            Self::Cut(a, b) | Self::CutOneWay(a, b) | Self::Heal(a, b) => (*a.max(b), Some((*a, *b))),
            Self::Link(a, b, _) | Self::LinkOneWay(a, b, _) => (*a.max(b), Some((*a, *b))),
        };
        if node >= world.nodes() {
            return Err(format!("there is no node n{node}"));
        }
        match link {
            Some((a, b)) if !world.linked(a, b) => Err(format!("there is no link n{a}-n{b}")),
            _ => Ok(()),
        }
    }

    /// Does it.
    pub(crate) fn apply(&self, world: &mut World) {
        match self {
            Self::Crash(node) => world.crash(*node),
            Self::Stop(node) => world.stop(*node),
            Self::Drain(node) => world.drain_node(*node),
            Self::Start(node) => world.start(*node),
            Self::Restart(node) => {
                world.crash(*node);
                world.start(*node);
            }
            Self::Stall(node) => world.stall(*node),
            Self::Resume(node) => world.resume(*node),
            Self::Cut(a, b) => world.cut(*a, *b),
            Self::CutOneWay(a, b) => world.cut_one_way(*a, *b),
            Self::Heal(a, b) => world.heal(*a, *b),
            // It was tried when it was parsed.
            Self::Link(a, b, change) => world.change_link(*a, *b, |impairment| drop(impairment.change(change))),
            Self::LinkOneWay(a, b, change) => {
                world.change_direction(*a, *b, |impairment| drop(impairment.change(change)))
            }
            Self::Subscribe(node, stream) => world.subscribe(*node, stream),
            Self::Unsubscribe(node, stream) => world.unsubscribe(*node, stream),
            Self::Publish(node, stream) => world.publish(*node, stream),
            Self::Withdraw(node, stream) => world.withdraw(*node, stream),
            Self::Pause(node, stream, pause) => world.pause(*node, stream, *pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let parse = |text: &str| Action::<usize>::try_from(text.to_owned());
        assert_eq!(parse("crash n3"), Ok(Action::Crash(3)));
        assert_eq!(parse("cut n1>n2"), Ok(Action::CutOneWay(1, 2)));
        assert_eq!(parse("cut n1-n2"), Ok(Action::Cut(1, 2)));
        assert_eq!(parse("link n1>n2 delay=80ms"), Ok(Action::LinkOneWay(1, 2, "delay=80ms".to_owned())));
        assert_eq!(parse("watch n4 cam"), parse("subscribe n4 cam"));
        assert!(parse("link n1-n2 delay=80ms loss=5%").is_ok());
        assert!(parse("link n1-n2 delay=80").is_err());
        assert!(matches!(parse("pause n0 cam 3s"), Ok(Action::Pause(0, _, pause)) if pause == Duration::from_secs(3)));
        assert!(parse("pause n0 cam").is_err());
        assert!(parse("subscribe n4").is_err());
        assert!(parse("explode n4").unwrap_err().contains("kill"));
    }
}
