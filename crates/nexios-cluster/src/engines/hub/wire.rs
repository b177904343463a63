//! How nodes and their hub talk: frames of a length (32 bits, without itself), a kind and a body.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::wire_log;
pub(super) use super::wire_log::{append, appended, page, read};
use crate::engines::link::Frame;
use crate::history::log::{Append, Appended, Log, Page, Span};

/// The first byte that a node sends. A hub refuses every other.
pub(super) const VERSION: u8 = 2;
/// Longer than any batch: 1 MiB, or one envelope.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// What a node asks for. The hub answers each, in order.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Request {
    Publish { ticket: u32, messages: Vec<Publication> },
    Subscribe { ticket: u32, channels: Vec<Arc<str>> },
    Unsubscribe { ticket: u32, channels: Vec<Arc<str>> },
    Append { ticket: u32, appends: Vec<Append> },
    Read { ticket: u32, log: Log, span: Span },
}

/// A message for a channel, framed already as its subscribers get it.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Publication {
    pub(super) channel: Bytes,
    pub(super) framed: Bytes,
}

/// What a hub says.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// An envelope or an entry of a channel that is subscribed to.
    Message(Bytes),
    /// A request is carried out.
    Answer(u32, Answer),
    /// There is nothing to be had here, and why.
    Refused(String),
}

/// What a request has come to.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Done,
    Appended(Vec<Appended>),
    Page(Page),
}

/// What came breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what came is not the hub's protocol")]
pub(super) struct Malformed;

const PUBLISH: u8 = 1;
const SUBSCRIBE: u8 = 2;
const UNSUBSCRIBE: u8 = 3;
pub(super) const APPEND: u8 = 4;
pub(super) const READ: u8 = 5;
const DONE: u8 = 16;
const MESSAGE: u8 = 17;
pub(super) const APPENDED: u8 = 18;
pub(super) const PAGE: u8 = 19;
const REFUSED: u8 = 20;

pub(super) fn publish(ticket: u32, batch: &[Frame]) -> BytesMut {
    let size = batch.iter().map(|frame| frame.channel.len() + frame.bytes.len() + 9).sum::<usize>();
    let mut out = BytesMut::with_capacity(size + 9);
    out.put_u32(length(size + 5));
    out.put_u8(PUBLISH);
    out.put_u32(ticket);
    for frame in batch {
        out.put_u32(length(frame.channel.len()));
        out.put_slice(frame.channel.as_bytes());
        out.put_u32(length(frame.bytes.len() + 1));
        out.put_u8(MESSAGE);
        out.put_slice(&frame.bytes);
    }
    out
}

pub(super) fn subscribe(ticket: u32, channels: &[Arc<str>]) -> BytesMut {
    of_channels(SUBSCRIBE, ticket, channels)
}

pub(super) fn unsubscribe(ticket: u32, channels: &[Arc<str>]) -> BytesMut {
    of_channels(UNSUBSCRIBE, ticket, channels)
}

fn of_channels(kind: u8, ticket: u32, channels: &[Arc<str>]) -> BytesMut {
    let size = channels.iter().map(|channel| channel.len() + 4).sum::<usize>();
    let mut out = BytesMut::with_capacity(size + 9);
    out.put_u32(length(size + 5));
    out.put_u8(kind);
    out.put_u32(ticket);
    for channel in channels {
        out.put_u32(length(channel.len()));
        out.put_slice(channel.as_bytes());
    }
    out
}

pub(super) fn done(ticket: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u32(5);
    out.put_u8(DONE);
    out.put_u32(ticket);
    out.freeze()
}

/// An envelope or an entry, as its subscribers get it.
pub(super) fn message(bytes: &[u8]) -> Bytes {
    framed(MESSAGE, bytes)
}

pub(super) fn refused(reason: &str) -> Bytes {
    framed(REFUSED, reason.as_bytes())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u32(length(body.len() + 1));
    out.put_u8(kind);
    out.put_slice(body);
    out.freeze()
}

pub(super) fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The next whole frame of what has arrived: its kind and its body.
fn frame(buffer: &mut BytesMut) -> Result<Option<(u8, Bytes)>, Malformed> {
    let Some(head) = buffer.get(..4) else { return Ok(None) };
    let len = head.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    if len == 0 || len > FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    if buffer.len() < 4 + len {
        return Ok(None);
    }
    buffer.advance(4);
    let mut body = buffer.split_to(len).freeze();
    let kind = body.get_u8();
    Ok(Some((kind, body)))
}

/// The next request, if it is whole.
pub(super) fn request(buffer: &mut BytesMut) -> Result<Option<Request>, Malformed> {
    let Some((kind, mut body)) = frame(buffer)? else { return Ok(None) };
    let ticket = number(&mut body)?;
    let request = match kind {
        PUBLISH => Request::Publish { ticket, messages: publications(body)? },
        SUBSCRIBE => Request::Subscribe { ticket, channels: channels(body)? },
        UNSUBSCRIBE => Request::Unsubscribe { ticket, channels: channels(body)? },
        APPEND => Request::Append { ticket, appends: wire_log::appends(body)? },
        READ => wire_log::question(body).map(|(log, span)| Request::Read { ticket, log, span })?,
        _ => return Err(Malformed),
    };
    Ok(Some(request))
}

/// The next reply, if it is whole.
pub(super) fn reply(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let Some((kind, mut body)) = frame(buffer)? else { return Ok(None) };
    let reply = match kind {
        MESSAGE => Reply::Message(body),
        REFUSED => Reply::Refused(String::from_utf8_lossy(&body).into_owned()),
        DONE => Reply::Answer(number(&mut body)?, Answer::Done),
        APPENDED => Reply::Answer(number(&mut body)?, Answer::Appended(wire_log::positions(body)?)),
        PAGE => Reply::Answer(number(&mut body)?, Answer::Page(wire_log::entries(body)?)),
        _ => return Err(Malformed),
    };
    Ok(Some(reply))
}

fn publications(mut body: Bytes) -> Result<Vec<Publication>, Malformed> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let channel = counted(&mut body)?;
        let mut ahead = body.clone();
        let envelope = counted(&mut ahead)?;
        if envelope.first() != Some(&MESSAGE) {
            return Err(Malformed);
        }
        messages.push(Publication { channel, framed: body.split_to(4 + envelope.len()) });
    }
    Ok(messages)
}

fn channels(mut body: Bytes) -> Result<Vec<Arc<str>>, Malformed> {
    let mut channels = Vec::new();
    while !body.is_empty() {
        let channel = counted(&mut body)?;
        channels.push(text(&channel)?);
    }
    Ok(channels)
}

pub(super) fn text(bytes: &[u8]) -> Result<Arc<str>, Malformed> {
    std::str::from_utf8(bytes).map(Arc::from).map_err(|_| Malformed)
}

pub(super) fn number(body: &mut Bytes) -> Result<u32, Malformed> {
    body.try_get_u32().map_err(|_| Malformed)
}

pub(super) fn counted(body: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = usize::try_from(number(body)?).map_err(|_| Malformed)?;
    if len > body.len() {
        return Err(Malformed);
    }
    Ok(body.split_to(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engines::link::Sent;

    fn batch() -> Vec<Frame> {
        let frame = |channel: &str, bytes: &'static [u8]| Frame {
            channel: channel.into(),
            bytes: Bytes::from_static(bytes),
            sent: Sent::No,
            receipt: None,
        };
        vec![frame("a", b"one"), frame("b", b"")]
    }

    #[test]
    fn what_is_published_comes_out_as_subscribers_get_it() {
        let mut buffer = publish(7, &batch());
        let Ok(Some(Request::Publish { ticket: 7, messages })) = request(&mut buffer) else { panic!() };
        assert!(buffer.is_empty());
        let mut got = BytesMut::new();
        messages.iter().for_each(|message| got.extend_from_slice(&message.framed));
        assert_eq!(messages.iter().map(|message| &*message.channel).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(reply(&mut got), Ok(Some(Reply::Message(Bytes::from_static(b"one")))));
        assert_eq!(reply(&mut got), Ok(Some(Reply::Message(Bytes::new()))));
        assert_eq!(reply(&mut got), Ok(None));
    }

    #[test]
    fn subscriptions_and_answers_come_through_in_pieces() {
        let whole = subscribe(9, &["a".into(), "b".into()]);
        let mut buffer = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            buffer.put_u8(*byte);
            assert_eq!(request(&mut buffer), Ok(None));
        }
        buffer.put_u8(whole[whole.len() - 1]);
        let subscribe = Request::Subscribe { ticket: 9, channels: vec!["a".into(), "b".into()] };
        assert_eq!(request(&mut buffer), Ok(Some(subscribe)));
        assert_eq!(reply(&mut BytesMut::from(&done(3)[..])), Ok(Some(Reply::Answer(3, Answer::Done))));
    }

    #[test]
    fn a_length_that_nothing_has_is_refused_at_once() {
        assert_eq!(request(&mut BytesMut::from(&[0xff; 4][..])), Err(Malformed));
        assert_eq!(request(&mut BytesMut::from(&[0; 4][..])), Err(Malformed));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes: Vec<u8>, kind in 0_u8..24) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let _ = request(&mut buffer);
            let mut framed = BytesMut::new();
            framed.put_u32(bytes.len() as u32 + 1);
            framed.put_u8(kind);
            framed.extend_from_slice(&bytes);
            let _ = request(&mut framed.clone());
            let _ = reply(&mut framed);
        }
    }
}
