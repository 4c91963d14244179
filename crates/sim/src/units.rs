//! Quantities with their units, as scenarios write them: `"40ms"`, `"1.5%"`, `"20Mbit/s"`, `"250kB"`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer};

/// Parses `250us`, `40ms`, `20s`, `5m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = quantity(text, &units).ok_or_else(|| format!("{text:?} is no duration; write 40ms, 20s or 5m"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Parses `1.5%` or `0.015`.
pub fn share(text: &str) -> Result<f64, String> {
    let found = quantity(text, &[("%", 0.01), ("", 1.0)]).filter(|share| (0.0..=1.0).contains(share));
    found.ok_or_else(|| format!("{text:?} is no share; write 1.5% or a number from 0 to 1"))
}

/// Parses `20Mbit/s` into bits a second.
pub fn rate(text: &str) -> Result<u64, String> {
    let units = [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
    let found = quantity(text, &units).map(|bits| bits as u64).filter(|bits| *bits > 0);
    found.ok_or_else(|| format!("{text:?} is no rate; write 800kbit/s or 20Mbit/s"))
}

/// Parses `250kB` into bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let found = quantity(text, &[("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)]);
    found.map(|bytes| bytes as u64).ok_or_else(|| format!("{text:?} is no size; write 250kB"))
}

/// Writes a share as [`share`] reads it, to a millionth of a per cent: `1.5%`.
pub fn show_share(share: f64) -> String {
    format!("{}%", (share * 1e8).round() / 1e6)
}

/// Writes bytes as [`bytes`] reads them, in the largest unit of which they are a whole number: `250kB`.
pub fn show_bytes(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    let unit = units.into_iter().find(|(_, size)| bytes > 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| format!("{bytes}B"), |(name, size)| format!("{}{name}", bytes / size))
}

fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = units.iter().find(|(name, _)| *name == unit.trim())?.1;
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// A number, or text with a unit.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

/// Reads a duration with its unit from a file.
pub fn de_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

pub(crate) fn de_share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let text = match Written::deserialize(from)? {
        Written::Number(number) => number.to_string(),
        Written::Text(text) => text,
    };
    share(&text).map_err(serde::de::Error::custom)
}

pub(crate) fn de_rate<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    rate(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

pub(crate) fn de_rate_maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    de_rate(from).map(Some)
}

pub(crate) fn de_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    bytes(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_missing_ones_refused() {
        assert_eq!(duration("1.5ms"), Ok(Duration::from_micros(1_500)));
        assert!(duration("20").is_err());
        assert_eq!(share("5%"), Ok(0.05));
        assert!(share("105%").is_err());
        assert_eq!(rate("20Mbit/s"), Ok(20_000_000));
        assert!(rate("0bit/s").is_err());
        assert_eq!(bytes("250kB"), Ok(250_000));
    }

    #[test]
    fn quantities_are_written_as_they_are_read() {
        for text in ["0%", "0.1%", "7%", "33.3%", "100%"] {
            assert_eq!(share(text).map(show_share).as_deref(), Ok(text));
        }
        for text in ["0B", "1500B", "250kB", "3MB", "1GB"] {
            assert_eq!(bytes(text).map(show_bytes).as_deref(), Ok(text));
        }
    }
}
