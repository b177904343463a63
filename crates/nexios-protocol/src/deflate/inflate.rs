//! Inflating in steps against a limit, so that a small bomb stays small.

use zlib_rs::{Inflate, InflateFlush, Status};

use super::codec::TAIL;
use crate::error::ProtocolError;

/// Bytes of output made before the limit is looked at again: what texts usually inflate to, within bounds,
/// since the room for it is zeroed first.
const STEP_MIN: usize = 320;
const STEP_MAX: usize = 64 << 10;
const USUAL_RATIO: usize = 4;

/// A decompression stream; window bits of the peer do not matter, 15 takes them all.
pub(crate) struct Inflater {
    inflate: Inflate,
    /// Part of the message has come.
    begun: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater { inflate: Inflate::new(false, 15), begun: false }
    }
}

impl Inflater {
    pub(crate) fn reset(&mut self) {
        self.inflate.reset(false);
        self.begun = false;
    }

    /// Inflates a piece of a message into `out`, which may grow to `max` bytes.
    pub(crate) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), ProtocolError> {
        self.begun |= !input.is_empty();
        loop {
            let start = out.len();
            if start > max {
                return Err(ProtocolError::MessageTooBig);
            }
            let step = input.len().saturating_mul(USUAL_RATIO).clamp(STEP_MIN, STEP_MAX).min(max - start + 1);
            out.resize(start + step, 0);
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let result = self.inflate.decompress(input, &mut out[start..], InflateFlush::SyncFlush);
            let consumed = (self.inflate.total_in() - before_in) as usize;
            let produced = (self.inflate.total_out() - before_out) as usize;
            out.truncate(start + produced);
            input = &input[consumed..];
            match result {
                // A block with BFINAL ends a stream, not the message (RFC 7692 §7.2.3.4).
                Ok(Status::StreamEnd) => {
                    self.reset();
                    self.begun = true;
                    if input.is_empty() {
                        break;
                    }
                }
                Ok(_) if produced < step && input.is_empty() => break,
                Ok(_) if produced == 0 && consumed == 0 => return Err(ProtocolError::Deflate),
                Ok(_) => {}
                Err(zlib_rs::InflateError::DataError | zlib_rs::InflateError::NeedDict { .. }) => {
                    return Err(ProtocolError::Deflate);
                }
                // Nothing to do with what is there: the stream wants more input.
                Err(_) if input.is_empty() => break,
                Err(_) => return Err(ProtocolError::Deflate),
            }
        }
        if out.len() > max { Err(ProtocolError::MessageTooBig) } else { Ok(()) }
    }

    /// The message is complete: adds the tail that the sender left out (RFC 7692 §7.2.2).
    ///
    /// A message of no bytes at all has no tail either. It should be one byte 0x00 (§7.2.3.6),
    /// but zlib gives nothing for a flush behind a flush, and senders pass that on.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), ProtocolError> {
        if !self.begun {
            return Ok(());
        }
        self.push(&TAIL, out, max)?;
        self.begun = false;
        Ok(())
    }
}
