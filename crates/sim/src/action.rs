//! What a scenario can do to its world, one line each.

use std::time::Duration;

use levada_overlay::StreamName;
use serde::Deserialize;

use crate::link::Impairment;
use crate::units;
use crate::world::World;

/// Something that befalls the world.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// `crash n3`: it is gone without a word.
    Crash(usize),
    /// `stop n3`: it says goodbye.
    Stop(usize),
    /// `start n3`: for the first time, or anew.
    Start(usize),
    /// `restart n3`: it is gone without a word and back at once.
    Restart(usize),
    /// `stall n3`: it stands still (SIGSTOP).
    Stall(usize),
    /// `resume n3`: it goes on.
    Resume(usize),
    /// `cut n1-n2`: nothing passes in either direction.
    Cut(usize, usize),
    /// `cut n1>n2`: nothing passes from the first to the second.
    CutOneWay(usize, usize),
    /// `heal n1-n2`.
    Heal(usize, usize),
    /// `link n1-n2 delay=80ms loss=5%`: both directions change.
    Link(usize, usize, String),
    /// `subscribe n4 cam`.
    Subscribe(usize, StreamName),
    /// `unsubscribe n4 cam`.
    Unsubscribe(usize, StreamName),
    /// `publish n2 cam`.
    Publish(usize, StreamName),
    /// `withdraw n2 cam`.
    Withdraw(usize, StreamName),
    /// `pause n0 cam 3s`: nothing comes from its encoder for so long, and then everything at once.
    Pause(usize, StreamName, Duration),
}

/// Parses `n3`.
pub(crate) fn node(text: &str) -> Result<usize, String> {
    let number = text.trim().strip_prefix('n').and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("{text:?} is no node; write n3"))
}

/// Parses `n1-n2`.
pub(crate) fn pair(text: &str, between: char) -> Result<(usize, usize), String> {
    let (a, b) = text.split_once(between).ok_or_else(|| format!("{text:?} is no link; write n1-n2"))?;
    Ok((node(a)?, node(b)?))
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (verb, rest) = text.trim().split_once(' ').ok_or_else(|| format!("{text:?} does nothing to anything"))?;
        let of_stream = || {
            let (at, stream) = rest.trim().split_once(' ').ok_or_else(|| format!("{text:?} names no stream"))?;
            Ok::<_, String>((node(at)?, StreamName::new(stream.trim()).map_err(|error| error.to_string())?))
        };
        Ok(match verb {
            "crash" | "kill" => Self::Crash(node(rest)?),
            "stop" => Self::Stop(node(rest)?),
            "start" => Self::Start(node(rest)?),
            "restart" => Self::Restart(node(rest)?),
            "stall" => Self::Stall(node(rest)?),
            "resume" => Self::Resume(node(rest)?),
            "cut" if rest.contains('>') => pair(rest, '>').map(|(a, b)| Self::CutOneWay(a, b))?,
            "cut" => pair(rest, '-').map(|(a, b)| Self::Cut(a, b))?,
            "heal" => pair(rest, '-').map(|(a, b)| Self::Heal(a, b))?,
            "link" => {
                let (link, change) = rest.trim().split_once(' ').ok_or_else(|| format!("{text:?} changes nothing"))?;
                let (a, b) = pair(link, '-')?;
                Impairment::default().change(change)?;
                Self::Link(a, b, change.to_owned())
            }
            "subscribe" => of_stream().map(|(at, stream)| Self::Subscribe(at, stream))?,
            "unsubscribe" => of_stream().map(|(at, stream)| Self::Unsubscribe(at, stream))?,
            "publish" => of_stream().map(|(at, stream)| Self::Publish(at, stream))?,
            "withdraw" => of_stream().map(|(at, stream)| Self::Withdraw(at, stream))?,
            "pause" => {
                let (source, pause) =
                    rest.trim().rsplit_once(' ').ok_or_else(|| format!("{text:?} names no stream"))?;
                let (at, stream) = source.split_once(' ').ok_or_else(|| format!("{text:?} says not for how long"))?;
                let stream = StreamName::new(stream.trim()).map_err(|error| error.to_string())?;
                Self::Pause(node(at)?, stream, units::duration(pause)?)
            }
            _ => {
                return Err(format!(
                    "{verb:?} is nothing that can be done; there are crash, stop, start, restart, stall, resume, cut, heal, link, subscribe, unsubscribe, publish, withdraw, pause"
                ));
            }
        })
    }
}

impl Action {
    /// Checks that the nodes and links are there.
    pub(crate) fn check(&self, world: &World) -> Result<(), String> {
        let (node, link) = match self {
            Self::Crash(a) | Self::Stop(a) | Self::Start(a) | Self::Restart(a) => (*a, None),
            Self::Stall(a) | Self::Resume(a) => (*a, None),
            Self::Subscribe(a, _) | Self::Unsubscribe(a, _) | Self::Publish(a, _) | Self::Withdraw(a, _) => (*a, None),
            Self::Pause(a, ..) => (*a, None),
            Self::Cut(a, b) | Self::CutOneWay(a, b) | Self::Heal(a, b) | Self::Link(a, b, _) => {
                (*a.max(b), Some((*a, *b)))
            }
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
        let parse = |text: &str| Action::try_from(text.to_owned());
        assert_eq!(parse("crash n3"), Ok(Action::Crash(3)));
        assert_eq!(parse("cut n1>n2"), Ok(Action::CutOneWay(1, 2)));
        assert_eq!(parse("cut n1-n2"), Ok(Action::Cut(1, 2)));
        assert!(parse("link n1-n2 delay=80ms loss=5%").is_ok());
        assert!(parse("link n1-n2 delay=80").is_err());
        assert!(matches!(parse("pause n0 cam 3s"), Ok(Action::Pause(0, _, pause)) if pause == Duration::from_secs(3)));
        assert!(parse("pause n0 cam").is_err());
        assert!(parse("subscribe n4").is_err());
        assert!(parse("explode n4").unwrap_err().contains("crash"));
    }
}
