//! What the headers of a packet say: IP (RFC 791; RFC 8200), TCP (RFC 9293, 3.1).

use crate::flow::{is_own_host, mapped};
use aya_ebpf::programs::SkBuffContext;
use keymoat_abi::{Tuple, event::tuple_flags};

const HOP_BY_HOP: u8 = 0;
const IPV6_HEADER: u32 = 40;
const SYN: u16 = 0x02;

/// What the IP header says.
pub struct Packet {
    pub protocol: u8,
    /// Where the transport header begins.
    pub transport: u32,
    pub local: [u32; 4],
    pub remote: [u32; 4],
}

impl Packet {
    #[inline(always)]
    pub fn parse(ctx: &SkBuffContext) -> Option<Self> {
        let first: u8 = ctx.load(0).ok()?;
        match first >> 4 {
            4 => {
                let header: [u32; 5] = ctx.load(0).ok()?;
                let [_, fragment, ttl_protocol, source, target] = header;
                // Later fragments carry no transport header.
                if u32::from_be(fragment) & 0x1fff != 0 {
                    return None;
                }
                Some(Self {
                    protocol: (u32::from_be(ttl_protocol) >> 16) as u8,
                    transport: u32::from(first & 0xf) * 4,
                    local: mapped(source),
                    remote: mapped(target),
                })
            }
            6 => {
                let [a, b, c, d, e, f, g, h]: [u32; 8] = ctx.load(8).ok()?;
                let mut protocol: u8 = ctx.load(6).ok()?;
                let mut transport = IPV6_HEADER;
                // A jumbo packet (more than 64 KiB before the card cuts it) says its length in one.
                if protocol == HOP_BY_HOP {
                    let [next, length]: [u8; 2] = ctx.load(IPV6_HEADER as usize).ok()?;
                    protocol = next;
                    transport += (u32::from(length) + 1) * 8;
                }
                Some(Self { protocol, transport, local: [a, b, c, d], remote: [e, f, g, h] })
            }
            _ => None,
        }
    }

    #[inline(always)]
    pub fn tuple(&self, source_port: u16, target_port: u16) -> Tuple {
        // SAFETY: same size, every value valid.
        let bytes = |words| unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) };
        Tuple {
            local: bytes(self.local),
            remote: bytes(self.remote),
            local_port: source_port,
            remote_port: target_port,
            flags: if is_own_host(self.local, self.remote) { tuple_flags::LOOPBACK } else { 0 },
            known: 1,
            reserved: [0; 2],
        }
    }
}

/// What a TCP header says.
pub struct Segment {
    pub source_port: u16,
    pub target_port: u16,
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// Where the payload begins, and its bytes.
    pub payload: u32,
    pub len: u32,
}

impl Segment {
    /// Sequence number of the first byte behind it.
    #[inline(always)]
    pub fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }

    /// `None` when there is no payload.
    #[inline(always)]
    pub fn parse(ctx: &SkBuffContext, packet: &Packet) -> Option<Self> {
        let [source, target, seq_high, seq_low, _, _, offset_flags]: [u16; 7] =
            ctx.load(packet.transport as usize).ok()?;
        let offset_flags = u16::from_be(offset_flags);
        let payload = packet.transport + u32::from(offset_flags >> 12) * 4;
        let len = ctx.len();
        if len <= payload {
            return None;
        }
        let seq = u32::from(u16::from_be(seq_high)) << 16 | u32::from(u16::from_be(seq_low));
        // A SYN takes a sequence number of its own; data behind it is TCP fast open.
        let seq = seq.wrapping_add(u32::from(offset_flags & SYN != 0));
        Some(Self {
            source_port: u16::from_be(source),
            target_port: u16::from_be(target),
            seq,
            payload,
            len: len - payload,
        })
    }
}
