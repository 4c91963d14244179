//! What a TUN device with offloads hands out: an IPv4 packet behind a `virtio_net_hdr` (virtio 1.2, section 5.1.6).
//!
//! A packet may be a *bundle*: up to 64 KiB of one flow that the sender's kernel would have cut into segments just before
//! the wire (TCP segmentation offload, UDP segmentation offload). Bundles are what makes a user-space link fast, and they
//! would make it wrong: losing one would lose forty packets in a row, and a queue would take or refuse them all. So a
//! bundle that comes to a wire that looks at single packets is cut here, as the kernel would have done.
//!
//! Checksums stay the kernel's business. In a bundle the checksum field holds the sum of the pseudo header only, and the
//! header asks whoever puts the packet on a wire to complete it. A segment asks for the same, so no payload is ever summed:
//! the receiving kernel takes such a packet as whole. Only the sums over the IPv4 header and the pseudo header, in both of
//! which the length stands, are made anew.

use std::net::Ipv4Addr;

/// Length of `struct virtio_net_hdr`, without the field for merged buffers.
pub(crate) const HEADER_LEN: usize = 10;
const IP_LEN_MIN: usize = 20;
const UDP_LEN: usize = 8;
const TCP_LEN_MIN: usize = 20;

// `flags` and `gso_type` of `struct virtio_net_hdr`.
const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_UDP: u8 = 5;
/// Set besides `GSO_TCP4` when the flow uses explicit congestion notification.
const GSO_ECN: u8 = 0x80;

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Where a packet comes from and where it goes; `None`: it is not IPv4.
pub(crate) fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = packet.get(HEADER_LEN..)?;
    if ip.len() < IP_LEN_MIN || ip[0] >> 4 != 4 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    Some((address(12), address(16)))
}

/// A bundle, looked at as the segments it stands for.
#[derive(Debug)]
pub(crate) struct Segments<'a> {
    packet: &'a [u8],
    is_tcp: bool,
    /// Where the headers of IP and of the transport end, counted from the beginning of the IP packet.
    ip_len: usize,
    headers_len: usize,
    /// Payload of all segments but the last.
    size: usize,
}

impl<'a> Segments<'a> {
    /// `None`: the packet is one segment, or nothing that can be cut.
    pub(crate) fn of(packet: &'a [u8]) -> Option<Self> {
        let ip = packet.get(HEADER_LEN..)?;
        let is_tcp = match packet[1] & !GSO_ECN {
            GSO_TCP4 => true,
            GSO_UDP => false,
            _ => return None,
        };
        let size = usize::from(u16::from_ne_bytes([packet[4], packet[5]]));
        let ip_len = usize::from(ip.first()? & 0x0f) * 4;
        let transport = ip.get(ip_len..)?;
        let transport_len = match is_tcp {
            true => usize::from(*transport.get(12)? >> 4) * 4,
            false => UDP_LEN,
        };
        let is_whole = ip_len >= IP_LEN_MIN && transport_len >= if is_tcp { TCP_LEN_MIN } else { UDP_LEN };
        let headers_len = ip_len + transport_len;
        (is_whole && size > 0 && ip.len() > headers_len).then_some(Self { packet, is_tcp, ip_len, headers_len, size })
    }

    pub(crate) fn count(&self) -> usize {
        self.payload().len().div_ceil(self.size)
    }

    /// Length of a segment with its headers.
    pub(crate) fn len(&self, index: usize) -> usize {
        HEADER_LEN + self.headers_len + self.payload_of(index).len()
    }

    /// Writes a segment into memory of its length.
    pub(crate) fn write(&self, index: usize, out: &mut [u8]) {
        let payload = self.payload_of(index);
        let (header, ip) = out.split_at_mut(HEADER_LEN);
        // Where the checksum is stays the same; only there is no bundle any more.
        header.copy_from_slice(&self.packet[..HEADER_LEN]);
        header[0] |= NEEDS_CHECKSUM;
        header[1] = GSO_NONE;
        header[4..6].fill(0);
        ip[..self.headers_len].copy_from_slice(&self.packet[HEADER_LEN..HEADER_LEN + self.headers_len]);
        ip[self.headers_len..].copy_from_slice(payload);

        let ip_packet_len = ip.len() as u16;
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(index as u16);
        ip[2..4].copy_from_slice(&ip_packet_len.to_be_bytes());
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[10..12].fill(0);
        let sum = !folded(&ip[..self.ip_len], 0);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let (network, transport) = ip.split_at_mut(self.ip_len);
        let transport_len = transport.len() as u16;
        let pseudo = folded(&network[12..20], u32::from(network[9]) + u32::from(transport_len));
        if self.is_tcp {
            self.finish_tcp(index, transport);
            transport[16..18].copy_from_slice(&pseudo.to_be_bytes());
        } else {
            transport[4..6].copy_from_slice(&transport_len.to_be_bytes());
            transport[6..8].copy_from_slice(&pseudo.to_be_bytes());
        }
    }

    fn finish_tcp(&self, index: usize, tcp: &mut [u8]) {
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let sequence = sequence.wrapping_add((index * self.size) as u32);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if index > 0 {
            tcp[13] &= !TCP_CWR;
        }
        if index + 1 < self.count() {
            tcp[13] &= !(TCP_FIN | TCP_PSH);
        }
    }

    fn payload(&self) -> &'a [u8] {
        &self.packet[HEADER_LEN + self.headers_len..]
    }

    fn payload_of(&self, index: usize) -> &'a [u8] {
        let payload = self.payload();
        let start = index * self.size;
        &payload[start..payload.len().min(start + self.size)]
    }
}

/// The sum of the Internet checksum (RFC 1071), not inverted.
fn folded(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bundle as the kernel makes it: `flags` of TCP, or UDP without.
    fn bundle(tcp_flags: Option<u8>, payload: &[u8], size: u16) -> Vec<u8> {
        let (protocol, gso, checksum_at) = if tcp_flags.is_some() { (6, GSO_TCP4, 16u16) } else { (17, GSO_UDP, 6) };
        let mut packet = vec![NEEDS_CHECKSUM, gso, 0, 0];
        packet.extend(size.to_ne_bytes());
        packet.extend(20u16.to_ne_bytes());
        packet.extend(checksum_at.to_ne_bytes());
        packet.extend([0x45, 0, 0, 0, 0xff, 0xff, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
        match tcp_flags {
            Some(flags) => {
                packet.extend([0, 80, 0, 81, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1, 0x60, flags, 0, 9, 0, 0, 0, 0]);
                packet.extend([1, 1, 1, 1]);
            }
            None => packet.extend([0, 80, 0, 81, 0, 0, 0, 0]),
        }
        packet.extend(payload);
        packet
    }

    fn cut(packet: &[u8]) -> Vec<Vec<u8>> {
        let segments = Segments::of(packet).unwrap();
        let write = |index| {
            let mut out = vec![0xaa; segments.len(index)];
            segments.write(index, &mut out);
            out
        };
        (0..segments.count()).map(write).collect()
    }

    /// Completes the checksum as the kernel would, and tells whether all of the packet's sums are right.
    fn is_sound(segment: &[u8]) -> bool {
        let (header, ip) = segment.split_at(HEADER_LEN);
        let start = usize::from(u16::from_ne_bytes([header[6], header[7]]));
        let field = start + usize::from(u16::from_ne_bytes([header[8], header[9]]));
        let mut ip = ip.to_vec();
        let sum = !folded(&ip[start..], 0);
        ip[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let pseudo = u32::from(ip[9]) + (ip.len() - start) as u32;
        let pseudo = u32::from(folded(&ip[12..20], pseudo));
        folded(&ip[..start], 0) == 0xffff
            && folded(&ip[start..], pseudo) == 0xffff
            && usize::from(u16::from_be_bytes([ip[2], ip[3]])) == ip.len()
            && header[..2] == [NEEDS_CHECKSUM, GSO_NONE]
    }

    #[test]
    fn a_bundle_of_datagrams_is_cut_where_the_sender_said() {
        let payload: Vec<u8> = (0..2_501u32).map(|n| n as u8).collect();
        let packet = bundle(None, &payload, 1_000);
        let segments = cut(&packet);
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1_038, 1_038, 539]);
        assert_eq!(segments.iter().flat_map(|segment| &segment[38..]).copied().collect::<Vec<_>>(), payload);
        for (segment, udp_len) in segments.iter().zip([1_008u16, 1_008, 509]) {
            assert!(is_sound(segment));
            assert_eq!(segment[34..36], udp_len.to_be_bytes());
            assert!(Segments::of(segment).is_none());
        }
        // The identification goes on, over its end too.
        assert_eq!(segments[1][14..16], [0, 0]);
    }

    #[test]
    fn a_bundle_of_tcp_counts_on_and_ends_once() {
        let packet = bundle(Some(TCP_CWR | TCP_PSH | TCP_FIN | 0x10), &[7; 96], 32);
        let segments = cut(&packet);
        let sequences: Vec<[u8; 4]> = segments.iter().map(|segment| segment[34..38].try_into().unwrap()).collect();
        assert_eq!(sequences, [[0xff, 0xff, 0xff, 0xf0], [0, 0, 0, 0x10], [0, 0, 0, 0x30]]);
        let flags: Vec<u8> = segments.iter().map(|segment| segment[43]).collect();
        assert_eq!(flags, [TCP_CWR | 0x10, 0x10, TCP_PSH | TCP_FIN | 0x10]);
        assert!(segments.iter().all(|segment| is_sound(segment)));
    }

    #[test]
    fn what_is_no_bundle_is_left_alone() {
        let whole = bundle(None, &[1; 100], 1_000);
        assert_eq!(Segments::of(&whole).unwrap().count(), 1);
        // Any shortening, and a size of nothing, is refused and not read beyond its end.
        for len in 0..HEADER_LEN + IP_LEN_MIN + UDP_LEN + 1 {
            assert!(Segments::of(&whole[..len]).is_none(), "{len}");
        }
        assert!(Segments::of(&bundle(None, &[1; 100], 0)).is_none());
        let mut plain = whole;
        plain[1] = GSO_NONE;
        assert!(Segments::of(&plain).is_none());
    }

    #[test]
    fn only_ipv4_has_ends() {
        let packet = bundle(None, &[], 0);
        assert_eq!(ends(&packet), Some((Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2))));
        assert_eq!(ends(&packet[..20]), None);
        let mut six = packet;
        six[HEADER_LEN] = 0x60;
        assert_eq!(ends(&six), None);
    }
}
