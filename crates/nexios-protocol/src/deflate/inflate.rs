//! Inflating in steps against a limit, so that a small bomb stays small.

use std::collections::VecDeque;

use zlib_rs::{Inflate, InflateFlush, Status};

use super::codec::TAIL;
use crate::error::ProtocolError;

/// Bytes of output made before the limit is looked at again: what texts usually inflate to, within bounds,
/// since the room for it is zeroed first.
const STEP_MIN: usize = 320;
const STEP_MAX: usize = 64 << 10;
const USUAL_RATIO: usize = 4;

/// How far back a message may refer.
const WINDOW_BYTES: usize = 32 << 10;

/// A decompression stream; window bits of the peer do not matter, 15 takes them all.
pub(crate) struct Inflater {
    inflate: Inflate,
    /// Part of the message has come.
    begun: bool,
    /// The last that came was the end of a block with BFINAL.
    ended: bool,
    /// What earlier messages ended with, where the next may refer to it: a stream that has ended gives its window away.
    window: Option<VecDeque<u8>>,
}

impl Default for Inflater {
    fn default() -> Self {
        Inflater { inflate: Inflate::new(false, 15), begun: false, ended: false, window: None }
    }
}

impl Inflater {
    /// A stream whose messages build on each other.
    pub(crate) fn in_context() -> Self {
        Inflater { window: Some(VecDeque::new()), ..Inflater::default() }
    }

    pub(crate) fn reset(&mut self) {
        self.inflate.reset(false);
        self.begun = false;
        self.ended = false;
    }

    /// Begins a new stream behind the one that has ended; it may refer to all that came before it (RFC 7692 §7.2.3.4).
    fn go_on_behind_final_block(&mut self, out: &[u8]) -> Result<(), ProtocolError> {
        let mut before = Vec::new();
        if let Some(window) = &self.window {
            let missing = WINDOW_BYTES.saturating_sub(out.len()).min(window.len());
            before.extend(window.range(window.len() - missing..));
        }
        before.extend_from_slice(&out[out.len().saturating_sub(WINDOW_BYTES)..]);
        self.inflate.reset(false);
        self.ended = true;
        if !before.is_empty() {
            self.inflate.set_dictionary(&before).map_err(|_| ProtocolError::Deflate)?;
        }
        Ok(())
    }

    /// Keeps the end of a message for those that follow it.
    fn remember(&mut self, out: &[u8]) {
        let Some(window) = &mut self.window else { return };
        let end = &out[out.len().saturating_sub(WINDOW_BYTES)..];
        window.drain(..(window.len() + end.len()).saturating_sub(WINDOW_BYTES));
        window.extend(end);
    }

    /// Inflates a piece of a message into `out`, which may grow to `max` bytes.
    pub(crate) fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), ProtocolError> {
        self.begun |= !input.is_empty();
        self.ended &= input.is_empty();
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
                    self.go_on_behind_final_block(out)?;
                    if input.is_empty() {
                        break;
                    }
                    self.ended = false;
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
    /// but zlib gives nothing for a flush behind a flush, and senders pass that on. Behind a block
    /// with BFINAL there is a tail only where a byte 0x00 was sent for it.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), ProtocolError> {
        if !self.begun {
            return Ok(());
        }
        if !self.ended {
            self.push(&TAIL, out, max)?;
        }
        self.begun = false;
        self.ended = false;
        self.remember(out);
        Ok(())
    }
}
