//! Frames as the load needs them: encoded once, counted by their lengths.

use anyhow::{Result, bail};

/// RFC 6455, section 5.3 asks for a fresh key for each frame; the server cannot
/// tell, and a constant key lets one encoded frame be sent for ever.
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest header of a frame from a server, which is never masked.
const HEADER_BYTES_MAX: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// What the payload of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

impl Kind {
    pub(crate) fn opcode(self) -> u8 {
        if self == Kind::Text { 0x1 } else { 0x2 }
    }
}

/// One masked, unfragmented frame, as a client sends it (RFC 6455, section 5.2).
pub(crate) fn masked(kind: Kind, compressed: bool, payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | if compressed { RSV1 } else { 0 } | kind.opcode(), payload)
}

/// One masked Pong, as a client sends it (RFC 6455, section 5.5.3).
pub(crate) fn masked_pong(payload: &[u8]) -> Vec<u8> {
    masked_frame(FIN | PONG, payload)
}

fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASKING_KEY);
    frame.extend(payload.iter().zip(MASKING_KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The header of a frame from a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: u8,
    pub(crate) payload_bytes: u64,
}

impl Header {
    /// How long the header is, as far as its first bytes tell.
    pub(crate) fn length(bytes: &[u8]) -> usize {
        match bytes.get(1).map(|second| second & 0x7f) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        }
    }

    /// Reads a header that is whole.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let (first, second) = (bytes[0], bytes[1]);
        if first & RSV2_AND_3 != 0 || second & 0x80 != 0 {
            bail!("the server sent a frame that is masked or has a reserved bit: {first:#04x} {second:#04x}");
        }
        let length = bytes[2..Self::length(bytes)].iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        Ok(Self {
            fin: first & FIN != 0,
            rsv1: first & RSV1 != 0,
            opcode: first & 0x0f,
            payload_bytes: if second < 126 { second.into() } else { length },
        })
    }

    fn is_control(self) -> bool {
        self.opcode >= CLOSE
    }
}

/// Counts the messages in a server's bytes, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct MessageCounter {
    header: [u8; HEADER_BYTES_MAX],
    header_length: usize,
    payload_left: u64,
    ends_message: bool,
    alike: Alike,
    /// Bytes of payload in all messages so far, as they were sent.
    payload_bytes: u64,
}

/// The last frame that was a message of its own: most that follow have the same header.
#[derive(Debug, Default)]
struct Alike {
    header: [u8; HEADER_BYTES_MAX],
    header_length: usize,
    payload_bytes: usize,
}

impl MessageCounter {
    /// Bytes of payload in all messages so far, as they were sent.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// How many messages end within these bytes.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> Result<usize> {
        let mut messages = 0;
        loop {
            let skipped = self.payload_left.min(bytes.len() as u64);
            self.payload_left -= skipped;
            bytes = &bytes[skipped as usize..];
            if self.payload_left > 0 {
                return Ok(messages);
            }
            messages += usize::from(std::mem::take(&mut self.ends_message));
            if self.header_length == 0 {
                messages += self.skip_alike(&mut bytes);
            }
            if bytes.is_empty() {
                return Ok(messages);
            }
            bytes = self.take_header(bytes)?;
        }
    }

    /// Skips whole frames with the header of the last one: a full pipeline is little else.
    fn skip_alike(&mut self, bytes: &mut &[u8]) -> usize {
        let header = &self.alike.header[..self.alike.header_length];
        let length = header.len() + self.alike.payload_bytes;
        let mut messages = 0;
        while !header.is_empty() && bytes.len() >= length && bytes.starts_with(header) {
            *bytes = &bytes[length..];
            messages += 1;
        }
        self.payload_bytes += (messages * self.alike.payload_bytes) as u64;
        messages
    }

    /// Takes what is missing of a header and returns the bytes behind it.
    fn take_header<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8]> {
        // Two rounds: the first two bytes tell whether a longer length follows.
        for _ in 0..2 {
            let missing = Header::length(&self.header[..self.header_length]) - self.header_length;
            let taken = missing.min(bytes.len());
            self.header[self.header_length..self.header_length + taken].copy_from_slice(&bytes[..taken]);
            self.header_length += taken;
            bytes = &bytes[taken..];
        }
        let header = &self.header[..self.header_length];
        if header.len() >= 2 && header.len() == Header::length(header) {
            self.begin_payload(Header::read(header)?)?;
        }
        Ok(bytes)
    }

    fn begin_payload(&mut self, header: Header) -> Result<()> {
        if header.opcode == CLOSE {
            bail!("the server closed the connection");
        }
        self.payload_left = header.payload_bytes;
        self.ends_message = header.fin && !header.is_control();
        if !header.is_control() {
            self.payload_bytes += header.payload_bytes;
        }
        if self.ends_message && header.opcode != 0 {
            let payload_bytes = header.payload_bytes as usize;
            self.alike = Alike { header: self.header, header_length: self.header_length, payload_bytes };
        }
        self.header_length = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(length: usize) -> Vec<u8> {
        let mut frame = masked(Kind::Binary, false, &vec![b'a'; length]);
        frame[1] &= 0x7f;
        let header = Header::length(&frame);
        frame.drain(header..header + 4);
        frame
    }

    #[test]
    fn messages_are_counted_whatever_the_split() {
        let lengths = [0, 1, 1, 1, 125, 126, 126, 70_000, 70_000, 0];
        let bytes: Vec<u8> = lengths.into_iter().flat_map(from_server).collect();
        for step in [1, 2, 3, 7, 4096, bytes.len()] {
            let mut counter = MessageCounter::default();
            let counted: usize = bytes.chunks(step).map(|chunk| counter.count(chunk).unwrap()).sum();
            assert_eq!(counted, lengths.len(), "in steps of {step}");
            assert_eq!(counter.payload_bytes(), lengths.iter().sum::<usize>() as u64, "in steps of {step}");
        }
    }

    #[test]
    fn fragments_and_pings_are_no_messages_of_their_own() {
        let bytes = [0x01, 0x01, b'a', 0x89, 0x00, 0x00, 0x00, 0x80, 0x01, b'b'];
        let mut counter = MessageCounter::default();
        assert_eq!(counter.count(&bytes).unwrap(), 1);
        assert_eq!(counter.payload_bytes(), 2);
    }

    #[test]
    fn a_close_frame_is_an_error() {
        assert!(MessageCounter::default().count(&[0x88, 0x00]).is_err());
    }

    #[test]
    fn a_masked_payload_unmasks_to_the_original() {
        let frame = masked(Kind::Text, false, b"Hello");
        assert_eq!(&frame[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        // The example of RFC 6455, section 5.7.
        assert_eq!(&frame[6..], [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn a_compressed_frame_has_the_first_reserved_bit() {
        assert_eq!(masked(Kind::Text, true, b"")[0], 0xc1);
        assert!(Header::read(&[0xc1, 0x00]).unwrap().rsv1);
        assert!(Header::read(&[0xa1, 0x00]).is_err());
    }
}
