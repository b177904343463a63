//! Frame headers (RFC 6455 §5.2), to and from bytes.

use crate::error::ProtocolError;
use crate::mask::apply_mask;
use crate::opcode::OpCode;
use crate::short::SHORT_BYTES_MAX;

/// Longest header: 2 bytes, 8 of length, 4 of mask.
pub(crate) const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame (RFC 6455 §5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// What stands before a frame's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// The last fragment, or the only one.
    pub fin: bool,
    /// A compressed message begins (RFC 7692 §6).
    pub rsv1: bool,
    /// What the frame carries.
    pub opcode: OpCode,
    /// Bytes of payload that follow.
    pub payload_len: u64,
    /// The masking key of a client's frame.
    pub mask: Option<[u8; 4]>,
}

impl FrameHeader {
    /// Reads a header from the front; `None` where bytes are missing, else it and its length.
    ///
    /// # Errors
    /// What no peer may send whatever was negotiated: RSV2 and RSV3, reserved opcodes,
    /// malformed lengths and control frames.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        let &[first, second, ..] = bytes else {
            return bytes.first().map_or(Ok(None), |first| check_first(*first).map(|_| None));
        };
        let opcode = check_first(first)?;
        let fin = first & 0x80 != 0;
        let short = second & 0x7f;
        if opcode.is_control() && (!fin || short > CONTROL_BYTES_MAX as u8) {
            return Err(ProtocolError::ControlFrame);
        }
        let rest = &bytes[2..];
        let (payload_len, rest) = match short {
            126 => match rest.split_first_chunk::<2>() {
                Some((len, rest)) => (u64::from(u16::from_be_bytes(*len)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((len, rest)) => (u64::from_be_bytes(*len), rest),
                None => return Ok(None),
            },
            len => (u64::from(len), rest),
        };
        // Shortest form only, and the top bit is 0 (RFC 6455 §5.2).
        let malformed = match short {
            126 => payload_len < 126,
            127 => payload_len <= u64::from(u16::MAX) || payload_len >> 63 != 0,
            _ => false,
        };
        if malformed {
            return Err(ProtocolError::PayloadLength);
        }
        let (mask, rest) = match (second & 0x80 != 0, rest.split_first_chunk::<4>()) {
            (false, _) => (None, rest),
            (true, Some((key, rest))) => (Some(*key), rest),
            (true, None) => return Ok(None),
        };
        let header = FrameHeader { fin, rsv1: first & 0x40 != 0, opcode, payload_len, mask };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// The header's bytes, and how many of the array they are.
    #[inline]
    pub fn encode(&self) -> ([u8; HEADER_BYTES_MAX], usize) {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[0] = first_byte(self.fin, self.rsv1, self.opcode);
        let mut len = match self.payload_len {
            0..=125 => {
                bytes[1] = self.payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(self.payload_len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&self.payload_len.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.mask {
            bytes[1] |= 0x80;
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        (bytes, len)
    }
}

fn first_byte(fin: bool, rsv1: bool, opcode: OpCode) -> u8 {
    u8::from(fin) << 7 | u8::from(rsv1) << 6 | opcode as u8
}

/// RSV2, RSV3 and the opcode can be judged by the first byte alone.
#[inline]
fn check_first(first: u8) -> Result<OpCode, ProtocolError> {
    if first & 0x30 != 0 {
        return Err(ProtocolError::ReservedBits);
    }
    OpCode::new(first & 0x0f).ok_or(ProtocolError::ReservedOpCode(first & 0x0f))
}

/// Appends a whole frame; the payload is masked where there is a key.
///
/// ```
/// use nexios_protocol::{OpCode, write_frame};
/// let mut out = Vec::new();
/// write_frame(&mut out, OpCode::Text, true, false, b"Hello", None);
/// assert_eq!(out, b"\x81\x05Hello");
/// ```
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: OpCode, fin: bool, rsv1: bool, payload: &[u8], mask: Option<[u8; 4]>) {
    if mask.is_none() && payload.len() <= SHORT_BYTES_MAX {
        return write_short(out, first_byte(fin, rsv1, opcode), payload);
    }
    out.reserve(HEADER_BYTES_MAX + payload.len());
    if mask.is_none() && payload.len() < 126 {
        // What most frames are, without a detour.
        out.extend_from_slice(&[first_byte(fin, rsv1, opcode), payload.len() as u8]);
        return out.extend_from_slice(payload);
    }
    let header = FrameHeader { fin, rsv1, opcode, payload_len: payload.len() as u64, mask };
    let (bytes, len) = header.encode();
    out.extend_from_slice(&bytes[..len]);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[start..], key, 0);
    }
}

/// Room for a whole frame first, then its bytes in whole words: a call to copy so few would take longer.
#[inline]
fn write_short(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let (start, len) = (out.len(), payload.len());
    out.extend_from_slice(&[0; 2 + SHORT_BYTES_MAX]);
    if let Some(frame) = out[start..].first_chunk_mut::<{ 2 + SHORT_BYTES_MAX }>() {
        frame[0] = first;
        frame[1] = len as u8;
        copy_short(&mut frame[2..], payload);
    }
    out.truncate(start + 2 + len);
}

#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    let to = &mut to[..from.len()];
    let Some(last) = from.last_chunk::<8>() else {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        return;
    };
    for (to, from) in to.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
        *to = *from;
    }
    if let Some(to) = to.last_chunk_mut::<8>() {
        *to = *last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, ProtocolError> {
        FrameHeader::parse(bytes)
    }

    #[test]
    fn what_no_peer_may_send_is_refused() {
        let table: [(&[u8], ProtocolError); 10] = [
            (&[0xa1], ProtocolError::ReservedBits),
            (&[0x91], ProtocolError::ReservedBits),
            (&[0x83], ProtocolError::ReservedOpCode(3)),
            (&[0x8f], ProtocolError::ReservedOpCode(15)),
            (&[0x09, 0x80], ProtocolError::ControlFrame),
            (&[0x89, 0xfe], ProtocolError::ControlFrame),
            (&[0x82, 126, 0, 125], ProtocolError::PayloadLength),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], ProtocolError::PayloadLength),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], ProtocolError::PayloadLength),
            (&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], ProtocolError::PayloadLength),
        ];
        for (bytes, error) in table {
            assert_eq!(parse(bytes), Err(error), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back_whole_and_never_from_fewer_bytes(
            fin: bool, rsv1: bool, binary: bool, mask: Option<[u8; 4]>,
            payload_len in prop_oneof![0u64..200, 65_500u64..65_600, 0u64..(1 << 63)],
        ) {
            let opcode = if binary { OpCode::Binary } else { OpCode::Continuation };
            let header = FrameHeader { fin, rsv1, opcode, payload_len, mask };
            let (bytes, len) = header.encode();
            prop_assert_eq!(parse(&bytes[..len]), Ok(Some((header, len))));
            for cut in 0..len {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(None));
            }
        }
    }
}
