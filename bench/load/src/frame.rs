//! Frames as the load needs them: encoded once, counted by their lengths.

use anyhow::{Result, bail};

/// RFC 6455, section 5.3 asks for a fresh key for each frame; the server cannot
/// tell, and a constant key lets one encoded frame be sent for ever.
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The longest header of a frame from a server, which is never masked.
const HEADER_BYTES_MAX: usize = 10;

/// What a message is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// The payload of every message: letters, so that it is valid as text.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

/// One masked, unfragmented frame, as a client sends it (RFC 6455, section 5.2).
pub(crate) fn masked(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if kind == Kind::Text { 0x81 } else { 0x82 }];
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

/// Counts the messages in a server's bytes, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct MessageCounter {
    header: [u8; HEADER_BYTES_MAX],
    header_length: usize,
    payload_left: u64,
    ends_message: bool,
}

impl MessageCounter {
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
            if bytes.is_empty() {
                return Ok(messages);
            }
            bytes = self.take_header(bytes)?;
        }
    }

    /// Takes what is missing of a header and returns the bytes behind it.
    fn take_header<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8]> {
        // Two rounds: the first two bytes tell whether a longer length follows.
        for _ in 0..2 {
            let taken = (self.header_bytes() - self.header_length).min(bytes.len());
            self.header[self.header_length..self.header_length + taken].copy_from_slice(&bytes[..taken]);
            self.header_length += taken;
            bytes = &bytes[taken..];
        }
        if self.header_length >= 2 && self.header_length == self.header_bytes() {
            self.begin_payload()?;
        }
        Ok(bytes)
    }

    /// How long the header will be, as far as it can be told yet.
    fn header_bytes(&self) -> usize {
        match self.header[1] & 0x7f {
            _ if self.header_length < 2 => 2,
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn begin_payload(&mut self) -> Result<()> {
        let [first, second, a, b, c, d, e, f, g, h] = self.header;
        let opcode = first & 0x0f;
        if first & 0x70 != 0 || second & 0x80 != 0 {
            bail!("the server sent a frame that is masked or has a reserved bit: {first:#04x} {second:#04x}");
        }
        if opcode == 0x8 {
            bail!("the server closed the connection");
        }
        self.payload_left = match second {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => length.into(),
        };
        self.ends_message = first & 0x80 != 0 && opcode < 0x8;
        self.header_length = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(length: usize) -> Vec<u8> {
        let mut frame = masked(Kind::Binary, &payload(length));
        frame[1] &= 0x7f;
        let header = match length {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        };
        frame.drain(header..header + 4);
        frame
    }

    #[test]
    fn messages_are_counted_whatever_the_split() {
        let bytes: Vec<u8> = [0, 1, 125, 126, 70_000, 0].into_iter().flat_map(from_server).collect();
        for step in [1, 2, 3, 7, 4096, bytes.len()] {
            let mut counter = MessageCounter::default();
            let counted: usize = bytes.chunks(step).map(|chunk| counter.count(chunk).unwrap()).sum();
            assert_eq!(counted, 6, "in steps of {step}");
        }
    }

    #[test]
    fn fragments_and_pings_are_no_messages_of_their_own() {
        let bytes = [0x01, 0x01, b'a', 0x89, 0x00, 0x00, 0x00, 0x80, 0x01, b'b'];
        assert_eq!(MessageCounter::default().count(&bytes).unwrap(), 1);
    }

    #[test]
    fn a_close_frame_is_an_error() {
        assert!(MessageCounter::default().count(&[0x88, 0x00]).is_err());
    }

    #[test]
    fn a_masked_payload_unmasks_to_the_original() {
        let frame = masked(Kind::Text, b"Hello");
        assert_eq!(&frame[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        // The example of RFC 6455, section 5.7.
        assert_eq!(&frame[6..], [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
