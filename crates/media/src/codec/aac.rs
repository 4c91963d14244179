//! MPEG-4 AAC: AudioSpecificConfig and ADTS (ISO/IEC 14496-3).

/// Samples of one access unit.
pub const SAMPLES: u32 = 1_024;
/// Sampling frequencies by index (table 1.18).
pub const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// The facts of an AudioSpecificConfig that ADTS can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Audio object type; 2 is AAC-LC.
    pub object_type: u8,
    /// Index into [`RATES`].
    pub rate_index: u8,
    /// Channel configuration.
    pub channels: u8,
}

impl Config {
    /// Reads an AudioSpecificConfig (section 1.6.2.1). Explicit frequencies and escaped object types are not carried.
    pub fn parse(asc: &[u8]) -> Option<Self> {
        let [a, b, ..] = *asc else { return None };
        let config = Self { object_type: a >> 3, rate_index: (a & 7) << 1 | b >> 7, channels: b >> 3 & 0xf };
        (config.rate_index < 13 && config.object_type < 31).then_some(config)
    }

    /// Writes an AudioSpecificConfig.
    pub fn to_asc(self) -> [u8; 2] {
        [self.object_type << 3 | self.rate_index >> 1, self.rate_index << 7 | self.channels << 3]
    }

    /// Samples per second.
    pub fn rate(self) -> u32 {
        RATES.get(usize::from(self.rate_index)).copied().unwrap_or(48_000)
    }

    /// The ADTS header (section 1.A.2.2) of an access unit of `len` bytes; `None` if it is too long for one.
    pub fn adts(self, len: usize) -> Option<[u8; 7]> {
        let len = u16::try_from(len + 7).ok().filter(|len| *len < 1 << 13)?;
        // ADTS knows the first four object types only; HE-AAC travels as its LC core.
        let profile = self.object_type.clamp(1, 4) - 1;
        let profile = if self.object_type > 4 { 1 } else { profile };
        Some([
            0xff,
            0xf1,
            profile << 6 | self.rate_index << 2 | self.channels >> 2 & 1,
            (self.channels & 3) << 6 | (len >> 11) as u8,
            (len >> 3) as u8,
            (len as u8) << 5 | 0x1f,
            0xfc,
        ])
    }
}

/// Reads an ADTS header: the configuration, the header's length, and the length of the whole frame.
pub fn parse_adts(data: &[u8]) -> Option<(Config, usize, usize)> {
    let header: &[u8; 7] = data.first_chunk()?;
    if header[0] != 0xff || header[1] & 0xf6 != 0xf0 {
        return None;
    }
    let config = Config {
        object_type: (header[2] >> 6) + 1,
        rate_index: header[2] >> 2 & 0xf,
        channels: (header[2] & 1) << 2 | header[3] >> 6,
    };
    let head = if header[1] & 1 == 1 { 7 } else { 9 };
    let len = usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5] >> 5);
    (config.rate_index < 13 && len >= head).then_some((config, head, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written() {
        let config = Config { object_type: 2, rate_index: 4, channels: 2 };
        assert_eq!(Config::parse(&config.to_asc()), Some(config));
        let header = config.adts(300).unwrap();
        assert_eq!(parse_adts(&header), Some((config, 7, 307)));
        assert_eq!(config.adts(1 << 13), None);
        assert_eq!(parse_adts(&[0; 7]), None);
    }
}
