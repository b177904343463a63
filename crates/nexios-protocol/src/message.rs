//! Bytes to messages: the decoder of one direction (RFC 6455 §5, RFC 7692 §7.2.2).

use std::borrow::Cow;

use crate::close::{CloseCode, CloseFrame};
use crate::deflate::{Agreed, Codec};
use crate::error::ProtocolError;
use crate::frame::{CONTROL_BYTES_MAX, FrameHeader};
use crate::limits::Limits;
use crate::mask::{apply_mask, unmask_into};
use crate::opcode::OpCode;
use crate::progress::{Frame, Inflating, Kept, Message, Progress, frame_is_complete, is_mid_frame, is_mid_message};
use crate::received::Received;
use crate::role::Role;
use crate::utf8::Utf8Stream;

/// A message that came in one plain frame, borrowed from where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whole<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// Texts up to here are unmasked into an aligned block, where checking them is fastest.
const SHORT_BYTES_MAX: usize = 64;

/// Where the payload of an unfragmented, uncompressed data frame lies that is all there.
struct PlainFrame {
    text: bool,
    key: [u8; 4],
    start: usize,
    end: usize,
}

/// Turns the bytes of one peer into events, in place.
///
/// Call [`decode`](Self::decode) with what was read, and again with what it did not use.
/// Whole messages are unmasked where they lie and borrowed from the input; only what comes
/// in pieces is copied, as it arrives. Idle, a decoder holds no heap memory (but for an
/// inflater, where the peer keeps its context).
///
/// ```
/// use nexios_protocol::{Codec, Decoder, Limits, Received, Role};
/// let mut decoder = Decoder::new(Role::Client, None);
/// let mut input = *b"\x81\x05Hello";
/// let (used, event) = decoder.decode(&mut input, &Limits::default(), &mut Codec::new()).unwrap();
/// assert_eq!((used, event), (7, Some(Received::Text("Hello".into()))));
/// ```
pub struct Decoder {
    kept: Kept,
    rules: Rules,
}

/// What a decoder judges by. Apart from what it keeps, so that a connection can put its own
/// state into the same eight bytes.
pub(crate) struct Rules {
    /// Compression was negotiated; without it RSV1 is an error.
    deflate: bool,
    pub(crate) role: Role,
    failed: Option<ProtocolError>,
    /// Messages are thrown away as they come: they are still judged by their frames, and nothing of them is kept.
    discards: bool,
}

pub(crate) type Decoded<'a> = Result<(usize, Option<Received<'a>>), ProtocolError>;

impl PlainFrame {
    #[inline]
    fn parse(input: &[u8], role: Role) -> Option<Self> {
        let &[first, second, ..] = input else { return None };
        let text = match first {
            0x81 => true,
            0x82 => false,
            _ => return None,
        };
        let (len, len_end) = match second & 0x7f {
            126 => {
                let len = usize::from(u16::from_be_bytes(*input.get(2..)?.first_chunk()?));
                (Some(len).filter(|len| *len >= 126)?, 4)
            }
            127 => {
                let len = u64::from_be_bytes(*input.get(2..)?.first_chunk()?);
                (usize::try_from(len).ok().filter(|len| *len > usize::from(u16::MAX))?, 10)
            }
            len => (usize::from(len), 2),
        };
        let (key, start) = match (role, second & 0x80 != 0) {
            (Role::Server, true) => (*input.get(len_end..)?.first_chunk()?, len_end + 4),
            (Role::Client, false) => ([0; 4], len_end),
            _ => return None,
        };
        (len <= input.len() - start).then(|| PlainFrame { text, key, start, end: start + len })
    }
}

#[repr(align(16))]
struct Block([u8; SHORT_BYTES_MAX]);

/// `None`, and nothing is changed, where it is no UTF-8.
#[inline]
fn lend_short_text(payload: &[u8], key: [u8; 4], take: impl FnOnce(Whole<'_>)) -> Option<()> {
    let mut block = Block([0; SHORT_BYTES_MAX]);
    let unmasked = block.0.get_mut(..payload.len())?;
    unmask_into(unmasked, payload, key);
    let text = std::str::from_utf8(unmasked).ok()?;
    take(Whole::Text(text));
    Some(())
}

/// `None`, and nothing is changed, where it is no UTF-8.
#[inline]
fn lend_text(payload: &mut [u8], key: [u8; 4], take: impl FnOnce(Whole<'_>)) -> Option<()> {
    apply_mask(payload, key, 0);
    let Ok(text) = simdutf8::basic::from_utf8(payload) else {
        apply_mask(payload, key, 0);
        return None;
    };
    take(Whole::Text(text));
    Some(())
}

impl Decoder {
    /// A decoder for what our peer sends; `role` is our own.
    pub fn new(role: Role, deflate: Option<&Agreed>) -> Self {
        let (kept, rules) = Rules::new(role, deflate);
        Decoder { kept, rules }
    }

    /// Decodes from the front: how many bytes were used, and an event where one is complete.
    /// Without an event all of the input is used; what is unfinished is kept inside.
    ///
    /// # Errors
    /// [`ProtocolError`]; the decoder then stays failed.
    #[inline]
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8], limits: &Limits, codec: &mut Codec) -> Decoded<'a> {
        self.rules.decode(&mut self.kept, input, limits, codec)
    }

    /// The hot path: lends the message at the front of `input` to `take`, where it is all there in one
    /// plain frame and breaks no rule; returns how many bytes it took. `None`: nothing was taken, and
    /// [`decode`](Self::decode) judges what it is.
    #[inline]
    pub fn decode_whole(&self, input: &mut [u8], limits: &Limits, take: impl FnOnce(Whole<'_>)) -> Option<usize> {
        self.rules.decode_whole(&self.kept, input, limits, take)
    }

    /// Whether [`decode_whole`](Self::decode_whole) would take the front of `input`, if it is a text in UTF-8.
    #[inline]
    pub fn has_whole(&self, input: &[u8], limits: &Limits) -> bool {
        self.rules.has_whole(&self.kept, input, limits)
    }

    /// Whether a message has begun and is not complete.
    pub fn is_mid_message(&self) -> bool {
        is_mid_message(&self.kept)
    }

    /// Whether a frame has begun and is not complete.
    pub fn is_mid_frame(&self) -> bool {
        is_mid_frame(&self.kept)
    }
}

impl Rules {
    pub(crate) fn new(role: Role, deflate: Option<&Agreed>) -> (Kept, Self) {
        let in_context = deflate.is_some_and(|agreed| match role {
            Role::Server => !agreed.client_no_context_takeover,
            Role::Client => !agreed.server_no_context_takeover,
        });
        let kept = in_context.then(|| Box::new(Progress::in_context()));
        (kept, Rules { deflate: deflate.is_some(), role, failed: None, discards: false })
    }

    /// From now on messages are thrown away, and with them what is kept of one.
    pub(crate) fn discard_messages(&mut self, kept: &mut Kept) {
        self.discards = true;
        if let Some(message) = kept.as_mut().and_then(|progress| progress.message.as_mut()) {
            message.payload = Vec::new();
        }
    }

    /// See [`Decoder::decode`].
    #[inline]
    pub(crate) fn decode<'a>(
        &mut self,
        kept: &'a mut Kept,
        input: &'a mut [u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Decoded<'a> {
        if kept.as_ref().is_none_or(|progress| progress.is_finished())
            && self.failed.is_none()
            && let Some((header, header_len, end)) = self.whole_frame(input, limits)
        {
            let payload = &mut input[header_len..end];
            if let Some(key) = header.mask {
                apply_mask(payload, key, 0);
            }
            let event = match header.opcode {
                OpCode::Text => simdutf8::basic::from_utf8(payload)
                    .map(|text| Received::Text(Cow::Borrowed(text)))
                    .map_err(|_| ProtocolError::Utf8),
                OpCode::Binary => Ok(Received::Binary(Cow::Borrowed(payload))),
                opcode => control_event(opcode, payload),
            };
            return match event {
                Ok(event) => Ok((end, Some(event))),
                Err(error) => {
                    self.failed = Some(error);
                    Err(error)
                }
            };
        }
        self.decode_pieces(kept, input, limits, codec)
    }

    /// See [`Decoder::decode_whole`].
    #[inline]
    pub(crate) fn decode_whole(
        &self,
        kept: &Kept,
        input: &mut [u8],
        limits: &Limits,
        take: impl FnOnce(Whole<'_>),
    ) -> Option<usize> {
        let frame = self.plain_frame(kept, input, limits)?;
        let payload = &mut input[frame.start..frame.end];
        match (frame.text, payload.len()) {
            (true, 0..=SHORT_BYTES_MAX) => lend_short_text(payload, frame.key, take)?,
            (true, _) => lend_text(payload, frame.key, take)?,
            (false, _) => {
                apply_mask(payload, frame.key, 0);
                take(Whole::Binary(payload));
            }
        }
        Some(frame.end)
    }

    /// See [`Decoder::has_whole`].
    #[inline]
    pub(crate) fn has_whole(&self, kept: &Kept, input: &[u8], limits: &Limits) -> bool {
        self.plain_frame(kept, input, limits).is_some()
    }

    /// Whether what comes next is the beginning of a message.
    #[inline]
    pub(crate) fn may_begin(&self, kept: &Kept) -> bool {
        self.failed.is_none() && kept.as_ref().is_none_or(|progress| progress.is_finished())
    }

    #[inline]
    fn plain_frame(&self, kept: &Kept, input: &[u8], limits: &Limits) -> Option<PlainFrame> {
        if !self.may_begin(kept) {
            return None;
        }
        let frame = PlainFrame::parse(input, self.role)?;
        let fits = limits.message_bytes_max.is_none_or(|max| frame.end - frame.start <= max);
        fits.then_some(frame)
    }

    /// The hot path: an unfragmented, uncompressed frame that is all there and breaks no rule.
    /// Anything else is judged, and refused, piece by piece.
    #[inline]
    fn whole_frame(&self, input: &[u8], limits: &Limits) -> Option<(FrameHeader, usize, usize)> {
        let (header, header_len) = FrameHeader::parse(input).ok()??;
        let plain = header.fin && !header.rsv1 && header.opcode != OpCode::Continuation;
        let masked = header.mask.is_some() == (self.role == Role::Server);
        let len = usize::try_from(header.payload_len).ok()?;
        let there = len <= input.len() - header_len;
        let fits = limits.message_bytes_max.is_none_or(|max| len <= max) || header.opcode.is_control();
        (plain && masked && there && fits).then(|| (header, header_len, header_len + len))
    }

    fn decode_pieces<'a>(
        &mut self,
        kept: &'a mut Kept,
        input: &mut [u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Decoded<'a> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut used = 0;
        while used < input.len() || frame_is_complete(kept) {
            let step = self.step(kept, &mut input[used..], limits, codec);
            match step {
                Ok((taken, finished)) => {
                    used += taken;
                    if let Some(finished) = finished {
                        return self.event_of(kept, finished, used);
                    }
                }
                Err(error) => {
                    self.failed = Some(error);
                    return Err(error);
                }
            }
        }
        if kept.as_ref().is_some_and(|progress| progress.is_empty()) {
            *kept = None;
        }
        Ok((used, None))
    }

    /// One header, one piece of payload, or the end of a frame.
    fn step(
        &mut self,
        kept: &mut Kept,
        input: &mut [u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<(usize, Option<Finished>), ProtocolError> {
        let mut progress = kept.take().unwrap_or_default();
        let result = match &mut progress.frame {
            None => progress.take_header(input).and_then(|(taken, header)| {
                if let Some(header) = header {
                    self.begin_frame(&mut progress, header, limits)?;
                }
                Ok((taken, None))
            }),
            Some(frame) if frame.taken < frame.header.payload_len => {
                self.take_payload(&mut progress, input, limits, codec)
            }
            Some(_) => self.end_frame(&mut progress, &[], limits, codec).map(|finished| (0, finished)),
        };
        *kept = Some(progress);
        result
    }

    /// Judges a header by what came before it.
    fn begin_frame(
        &mut self,
        progress: &mut Progress,
        header: FrameHeader,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        if header.mask.is_some() != (self.role == Role::Server) {
            return Err(ProtocolError::Masking);
        }
        if header.opcode.is_control() {
            if header.rsv1 {
                return Err(ProtocolError::ReservedBits);
            }
            progress.control.clear();
        } else {
            self.begin_fragment(progress, &header, limits)?;
        }
        progress.frame = Some(Frame { header, taken: 0 });
        Ok(())
    }

    fn begin_fragment(
        &mut self,
        progress: &mut Progress,
        header: &FrameHeader,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        match (&mut progress.message, header.opcode) {
            (None, OpCode::Continuation) => return Err(ProtocolError::UnexpectedContinuation),
            (Some(_), OpCode::Continuation) if header.rsv1 => return Err(ProtocolError::ReservedBits),
            (Some(message), OpCode::Continuation) => {
                message.fragments += 1;
                if limits.fragments_max.is_some_and(|max| message.fragments > max) {
                    return Err(ProtocolError::TooManyFragments);
                }
            }
            (Some(_), _) => return Err(ProtocolError::InterleavedMessage),
            (None, opcode) => {
                if header.rsv1 && !self.deflate {
                    return Err(ProtocolError::ReservedBits);
                }
                progress.message = Some(Message {
                    text: opcode == OpCode::Text,
                    compressed: header.rsv1,
                    fragments: 1,
                    payload: Vec::new(),
                    utf8: Utf8Stream::default(),
                });
            }
        }
        let Some(message) = &progress.message else { return Ok(()) };
        // By the header alone, before anything is allocated.
        if header.payload_len > message.bytes_left(limits) as u64 && !self.discards {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(())
    }

    /// Takes payload of the frame under way, and with the last of it the end of the frame.
    fn take_payload(
        &mut self,
        progress: &mut Progress,
        input: &mut [u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<(usize, Option<Finished>), ProtocolError> {
        let Some(frame) = &mut progress.frame else { return Ok((0, None)) };
        let left = frame.header.payload_len - frame.taken;
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let piece = &mut input[..taken];
        if let Some(key) = frame.header.mask {
            apply_mask(piece, key, (frame.taken & 3) as usize);
        }
        frame.taken += taken as u64;
        if frame.header.opcode.is_control() {
            progress.control.extend_from_slice(piece);
        } else if frame.taken == frame.header.payload_len && frame.header.fin {
            return self.end_frame(progress, piece, limits, codec).map(|finished| (taken, finished));
        } else if let Some(message) = progress.message.as_mut().filter(|_| !self.discards) {
            message.add(piece)?;
        }
        Ok((taken, None))
    }

    /// Ends the frame under way, whose payload ends with `last`.
    fn end_frame(
        &mut self,
        progress: &mut Progress,
        last: &[u8],
        limits: &Limits,
        codec: &mut Codec,
    ) -> Result<Option<Finished>, ProtocolError> {
        let Some(frame) = progress.frame.take() else { return Ok(None) };
        if frame.header.opcode.is_control() {
            return Ok(Some(Finished::Control(frame.header.opcode)));
        }
        if !frame.header.fin {
            return Ok(None);
        }
        let Some(mut message) = progress.message.take().filter(|_| !self.discards) else { return Ok(None) };
        let context = progress.context.as_deref_mut();
        message.finish(last, Inflating { context, codec, bytes_max: limits.message_bytes() })?;
        if message.text {
            let text = String::from_utf8(message.payload).map_err(|_| ProtocolError::Utf8)?;
            return Ok(Some(Finished::Text(text)));
        }
        Ok(Some(Finished::Binary(message.payload)))
    }

    fn event_of<'a>(&mut self, kept: &'a mut Kept, finished: Finished, used: usize) -> Decoded<'a> {
        let event = match finished {
            Finished::Text(text) => Received::Text(Cow::Owned(text)),
            Finished::Binary(bytes) => Received::Binary(Cow::Owned(bytes)),
            Finished::Control(opcode) => {
                let control = kept.as_ref().map_or(&[][..], |progress| &progress.control);
                return match control_event(opcode, control) {
                    Ok(event) => Ok((used, Some(event))),
                    Err(error) => {
                        self.failed = Some(error);
                        Err(error)
                    }
                };
            }
        };
        if kept.as_ref().is_some_and(|progress| progress.is_empty()) {
            *kept = None;
        }
        Ok((used, Some(event)))
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("role", &self.rules.role)
            .field("failed", &self.rules.failed)
            .finish_non_exhaustive()
    }
}

enum Finished {
    Text(String),
    Binary(Vec<u8>),
    Control(OpCode),
}

fn control_event(opcode: OpCode, payload: &[u8]) -> Result<Received<'_>, ProtocolError> {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
    match opcode {
        OpCode::Ping => Ok(Received::Ping(payload)),
        OpCode::Pong => Ok(Received::Pong(payload)),
        _ => parse_close(payload).map(Received::Close),
    }
}

/// RFC 6455 §5.5.1: nothing, or a code and a reason in UTF-8.
fn parse_close(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, ProtocolError> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (code, reason) = payload.split_first_chunk::<2>().ok_or(ProtocolError::CloseFrame)?;
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(ProtocolError::CloseFrame)?;
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::Utf8)?;
    Ok(Some(CloseFrame { code, reason }))
}
