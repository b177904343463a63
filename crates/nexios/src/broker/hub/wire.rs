//! How nodes and their hub talk: frames of a length (32 bits, without itself), a kind and a body.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::broker::link::Frame;

/// The first byte that a node sends.
pub(super) const VERSION: u8 = 1;
/// Longer than any batch: 1 MiB, or one envelope.
const FRAME_BYTES_MAX: usize = 80 << 20;

/// What a node asks for. The hub answers each with [`Reply::Done`].
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Request {
    Publish { ticket: u32, messages: Vec<Publication> },
    Subscribe { ticket: u32, channels: Vec<Arc<str>> },
    Unsubscribe { ticket: u32, channels: Vec<Arc<str>> },
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
    /// A request is carried out.
    Done(u32),
    /// An envelope of a channel that is subscribed to.
    Envelope(Bytes),
}

/// What came breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what came is not the hub's protocol")]
pub(super) struct Malformed;

const PUBLISH: u8 = 1;
const SUBSCRIBE: u8 = 2;
const UNSUBSCRIBE: u8 = 3;
const DONE: u8 = 16;
const ENVELOPE: u8 = 17;

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
        out.put_u8(ENVELOPE);
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

fn length(len: usize) -> u32 {
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
        _ => return Err(Malformed),
    };
    Ok(Some(request))
}

/// The next reply, if it is whole.
pub(super) fn reply(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    match frame(buffer)? {
        None => Ok(None),
        Some((DONE, mut body)) => Ok(Some(Reply::Done(number(&mut body)?))),
        Some((ENVELOPE, body)) => Ok(Some(Reply::Envelope(body))),
        Some(_) => Err(Malformed),
    }
}

fn publications(mut body: Bytes) -> Result<Vec<Publication>, Malformed> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let channel = counted(&mut body)?;
        let mut ahead = body.clone();
        let envelope = counted(&mut ahead)?;
        if envelope.first() != Some(&ENVELOPE) {
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
        channels.push(std::str::from_utf8(&channel).map_err(|_| Malformed)?.into());
    }
    Ok(channels)
}

fn number(body: &mut Bytes) -> Result<u32, Malformed> {
    body.try_get_u32().map_err(|_| Malformed)
}

fn counted(body: &mut Bytes) -> Result<Bytes, Malformed> {
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

    fn batch() -> Vec<Frame> {
        let frame = |channel: &str, bytes: &'static [u8]| Frame {
            channel: channel.into(),
            bytes: Bytes::from_static(bytes),
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
        assert_eq!(reply(&mut got), Ok(Some(Reply::Envelope(Bytes::from_static(b"one")))));
        assert_eq!(reply(&mut got), Ok(Some(Reply::Envelope(Bytes::new()))));
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
        assert_eq!(reply(&mut BytesMut::from(&done(3)[..])), Ok(Some(Reply::Done(3))));
    }

    #[test]
    fn a_length_that_nothing_has_is_refused_at_once() {
        assert_eq!(request(&mut BytesMut::from(&[0xff; 4][..])), Err(Malformed));
        assert_eq!(request(&mut BytesMut::from(&[0; 4][..])), Err(Malformed));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes: Vec<u8>, kind in 0_u8..20) {
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
