//! What a decoder keeps between two inputs: the peer's window, and what is unfinished.

use crate::deflate::{Codec, Inflater};
use crate::error::ProtocolError;
use crate::frame::{FrameHeader, HEADER_BYTES_MAX};
use crate::limits::Limits;
use crate::utf8::Utf8Stream;

/// What a decoder keeps between two inputs, where it keeps anything.
pub(crate) type Kept = Option<Box<Progress>>;

/// What is kept between two inputs: the peer's window, and what is unfinished: part of a header,
/// of a frame, of a message.
#[derive(Default)]
pub(crate) struct Progress {
    /// The peer's compressed messages build on each other; without it each stands on its own.
    pub(crate) context: Option<Box<Inflater>>,
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    pub(crate) frame: Option<Frame>,
    pub(crate) control: Vec<u8>,
    pub(crate) message: Option<Message>,
}

pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Payload bytes taken so far.
    pub(crate) taken: u64,
}

pub(crate) struct Message {
    pub(crate) text: bool,
    pub(crate) compressed: bool,
    pub(crate) fragments: u32,
    /// The payload so far. A compressed one stays as it came until its last piece is there, so that a
    /// message that is never finished holds what its sender has paid for, and no more.
    pub(crate) payload: Vec<u8>,
    pub(crate) utf8: Utf8Stream,
}

/// What inflates a message: the peer's window where it lasts, else a stream that all messages share.
pub(crate) struct Inflating<'a> {
    pub(crate) context: Option<&'a mut Inflater>,
    pub(crate) codec: &'a mut Codec,
    pub(crate) bytes_max: usize,
}

pub(crate) fn is_mid_message(kept: &Kept) -> bool {
    kept.as_ref().is_some_and(|progress| progress.message.is_some())
}

pub(crate) fn is_mid_frame(kept: &Kept) -> bool {
    kept.as_ref().is_some_and(|progress| progress.frame.is_some() || progress.header_len > 0)
}

/// Bytes of an unfinished message that are kept.
pub(crate) fn held_bytes(kept: &Kept) -> usize {
    let message = kept.as_ref().and_then(|progress| progress.message.as_ref());
    message.map_or(0, |message| message.payload.len())
}

pub(crate) fn frame_is_complete(kept: &Kept) -> bool {
    let frame = kept.as_ref().and_then(|progress| progress.frame.as_ref());
    frame.is_some_and(|frame| frame.taken == frame.header.payload_len)
}

impl Progress {
    /// With a window that lasts from message to message.
    pub(crate) fn in_context() -> Self {
        Progress { context: Some(Box::new(Inflater::in_context())), ..Progress::default() }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.is_finished() && self.context.is_none()
    }

    /// Completes a header, from here or from what was kept of it.
    pub(crate) fn take_header(&mut self, input: &[u8]) -> Result<(usize, Option<FrameHeader>), ProtocolError> {
        let room = (HEADER_BYTES_MAX - self.header_len).min(input.len());
        let kept = self.header_len;
        self.header[kept..kept + room].copy_from_slice(&input[..room]);
        match FrameHeader::parse(&self.header[..kept + room])? {
            Some((header, len)) => {
                self.header_len = 0;
                Ok((len - kept, Some(header)))
            }
            None => {
                self.header_len = kept + room;
                Ok((room, None))
            }
        }
    }
}

impl Message {
    /// How many more bytes its frames may carry. Compressed bytes may be more than what they inflate to: zlib's own
    /// bound for small memory levels is 1/8 + 1/64 more, and a flush for each fragment. Inflating has its own bound.
    pub(crate) fn bytes_left(&self, limits: &Limits) -> usize {
        let max = limits.message_bytes();
        let slack = if self.compressed { (max >> 2).saturating_add(64 + 16 * self.fragments as usize) } else { 0 };
        max.saturating_add(slack).saturating_sub(self.payload.len())
    }

    /// Takes a piece that others follow.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let before = self.payload.len();
        self.make_room(piece.len());
        self.payload.extend_from_slice(piece);
        if self.compressed { Ok(()) } else { self.check_text(before) }
    }

    /// By a quarter at a time: what is kept of a message is little more than what has come of it.
    fn make_room(&mut self, bytes: usize) {
        if self.payload.capacity() - self.payload.len() < bytes {
            self.payload.reserve_exact(bytes.max(self.payload.len() / 4));
        }
    }

    /// Takes the last piece; then the payload is whole and inflated.
    pub(crate) fn finish(&mut self, piece: &[u8], inflating: Inflating<'_>) -> Result<(), ProtocolError> {
        if self.compressed {
            let packed = std::mem::take(&mut self.payload);
            self.inflate(&[&packed, piece], inflating)?;
        } else {
            self.add(piece)?;
        }
        if self.text { self.utf8.finish() } else { Ok(()) }
    }

    fn inflate(&mut self, pieces: &[&[u8]], inflating: Inflating<'_>) -> Result<(), ProtocolError> {
        let Inflating { context, codec, bytes_max } = inflating;
        let mut own = context.is_none().then(|| codec.take_inflater());
        let Some(inflater) = own.as_deref_mut().or(context) else { return Err(ProtocolError::Deflate) };
        let mut pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let inflated = pieces
            .try_for_each(|piece| inflater.push(piece, &mut self.payload, bytes_max))
            .and_then(|()| inflater.finish(&mut self.payload, bytes_max));
        if let Some(own) = own {
            codec.give_back(own);
        }
        self.check_inflated(bytes_max, inflated)
    }

    /// The fault that comes first in the message counts, however its bytes were split: text that is not UTF-8
    /// within the limit, then what inflating met.
    fn check_inflated(&mut self, max: usize, inflated: Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        let too_big = self.payload.len() > max;
        self.payload.truncate(max);
        self.check_text(0)?;
        if too_big { Err(ProtocolError::MessageTooBig) } else { inflated }
    }

    fn check_text(&mut self, from: usize) -> Result<(), ProtocolError> {
        if self.text { self.utf8.push(&self.payload[from..]) } else { Ok(()) }
    }
}
