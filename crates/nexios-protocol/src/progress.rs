//! What a decoder keeps between two inputs: the peer's window, and what is unfinished.

use crate::deflate::{Codec, Inflater};
use crate::error::ProtocolError;
use crate::frame::{FrameHeader, HEADER_BYTES_MAX};
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
    /// The payload so far, inflated where it was compressed.
    pub(crate) payload: Vec<u8>,
    pub(crate) utf8: Utf8Stream,
    /// The stream of a compressed message under way, without takeover.
    pub(crate) inflater: Option<Box<Inflater>>,
}

pub(crate) fn is_mid_message(kept: &Kept) -> bool {
    kept.as_ref().is_some_and(|progress| progress.message.is_some())
}

pub(crate) fn is_mid_frame(kept: &Kept) -> bool {
    kept.as_ref().is_some_and(|progress| progress.frame.is_some() || progress.header_len > 0)
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
    pub(crate) fn add(
        &mut self,
        piece: &[u8],
        context: Option<&mut Inflater>,
        max: usize,
    ) -> Result<(), ProtocolError> {
        let before = self.payload.len();
        if self.compressed {
            let inflater = self.inflater.as_deref_mut().or(context).ok_or(ProtocolError::Deflate)?;
            let pushed = inflater.push(piece, &mut self.payload, max);
            return self.check_inflated(before, max, pushed);
        }
        self.payload.extend_from_slice(piece);
        self.check_text(before)
    }

    pub(crate) fn finish(
        &mut self,
        context: Option<&mut Inflater>,
        max: usize,
        codec: &mut Codec,
    ) -> Result<(), ProtocolError> {
        let before = self.payload.len();
        if self.compressed {
            let finished = match (self.inflater.take(), context) {
                (Some(mut own), _) => {
                    let finished = own.finish(&mut self.payload, max);
                    codec.give_back(own);
                    finished
                }
                (None, Some(context)) => context.finish(&mut self.payload, max),
                (None, None) => Err(ProtocolError::Deflate),
            };
            self.check_inflated(before, max, finished)?;
        }
        if self.text { self.utf8.finish() } else { Ok(()) }
    }

    /// The fault that comes first in the message counts, however its bytes were split: text that is not UTF-8
    /// within the limit, then what inflating met.
    fn check_inflated(
        &mut self,
        from: usize,
        max: usize,
        inflated: Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        let too_big = self.payload.len() > max;
        self.payload.truncate(max);
        self.check_text(from)?;
        if too_big { Err(ProtocolError::MessageTooBig) } else { inflated }
    }

    fn check_text(&mut self, from: usize) -> Result<(), ProtocolError> {
        if self.text { self.utf8.push(&self.payload[from..]) } else { Ok(()) }
    }
}
