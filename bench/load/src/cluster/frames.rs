//! Whole frames out of a server's bytes, however they are cut.

use anyhow::Result;

use crate::frame::Header;

/// What has come of the next frame so far.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Hands out every frame that ends within these bytes, with its payload.
    pub(crate) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Header, &[u8]) -> Result<()>) -> Result<()> {
        if self.rest.is_empty() {
            let taken = take_whole(bytes, &mut each)?;
            self.rest.extend_from_slice(&bytes[taken..]);
        } else {
            self.rest.extend_from_slice(bytes);
            let taken = take_whole(&self.rest, &mut each)?;
            self.rest.drain(..taken);
        }
        Ok(())
    }
}

/// How many of the bytes are whole frames.
fn take_whole(bytes: &[u8], each: &mut impl FnMut(Header, &[u8]) -> Result<()>) -> Result<usize> {
    let mut taken = 0;
    loop {
        let rest = &bytes[taken..];
        let start = Header::length(rest);
        if rest.len() < start {
            return Ok(taken);
        }
        let header = Header::read(rest)?;
        let Some(payload) = rest[start..].get(..header.payload_bytes as usize) else { return Ok(taken) };
        each(header, payload)?;
        taken += start + payload.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_whatever_the_split() {
        let long = [b'x'; 300];
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x89, 0, 0x81, 126, 1, 44];
        bytes.extend(long);
        bytes.extend([0x82, 1, 7]);
        for step in [1, 2, 3, 5, 100, bytes.len()] {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for chunk in bytes.chunks(step) {
                frames
                    .take(chunk, |header, payload| {
                        seen.push((header.opcode, payload.to_vec()));
                        Ok(())
                    })
                    .unwrap();
            }
            let expected = [(1, b"hi".to_vec()), (9, vec![]), (1, long.to_vec()), (2, vec![7])];
            assert_eq!(seen, expected, "in steps of {step}");
        }
    }
}
