//! What nodes and their hub say about logs: the bodies of those frames, behind the ticket.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::wire::{self, Malformed, counted, length, number, text};
use crate::history::log::{Append, Appended, Entry, History, Log, Nonce, Page, Position, Span};

/// Flags of an append.
const KEY: u8 = 1;
const AGAIN: u8 = 2;
/// Kinds of span.
const AFTER: u8 = 0;
const NEWEST: u8 = 1;
const OLDEST: u8 = 2;

pub(super) fn append(ticket: u32, batch: &[Append]) -> BytesMut {
    let key = |append: &Append| append.key.clone().unwrap_or_default();
    let size = |append: &Append| append.log.channel.len() + key(append).len() + append.envelope.len() + 48;
    let mut out = begin(wire::APPEND, ticket, batch.iter().map(size).sum());
    for append in batch {
        put_log(&mut out, &append.log);
        out.put_slice(&append.nonce.0);
        out.put_u8(if append.key.is_some() { KEY } else { 0 } | if append.again { AGAIN } else { 0 });
        put_counted(&mut out, key(append).as_bytes());
        put_counted(&mut out, &append.envelope);
    }
    end(out)
}

/// Envelopes are copied: what is kept must not hold the whole of what was read.
pub(super) fn appends(mut body: Bytes) -> Result<Vec<Append>, Malformed> {
    let mut appends = Vec::new();
    while !body.is_empty() {
        let log = log(&mut body)?;
        let nonce = nonce(&mut body)?;
        let flags = body.try_get_u8().map_err(|_| Malformed)?;
        let key = text(&counted(&mut body)?)?;
        let envelope = Bytes::copy_from_slice(&counted(&mut body)?);
        let key = (flags & KEY != 0).then_some(key);
        appends.push(Append { log, nonce, key, again: flags & AGAIN != 0, envelope });
    }
    Ok(appends)
}

pub(super) fn appended(ticket: u32, appended: &[Appended]) -> Bytes {
    let mut out = begin(wire::APPENDED, ticket, appended.len() * 33);
    for appended in appended {
        put_position(&mut out, appended.position);
        out.put_u8(u8::from(appended.duplicate));
    }
    end(out).freeze()
}

pub(super) fn positions(mut body: Bytes) -> Result<Vec<Appended>, Malformed> {
    let mut appended = Vec::new();
    while !body.is_empty() {
        let position = position(&mut body)?;
        let duplicate = body.try_get_u8().map_err(|_| Malformed)? != 0;
        appended.push(Appended { position, duplicate, replicas: 0 });
    }
    Ok(appended)
}

pub(super) fn read(ticket: u32, log: &Log, span: Span) -> BytesMut {
    let mut out = begin(wire::READ, ticket, log.channel.len() + 64);
    put_log(&mut out, log);
    match span {
        Span::After(position, max) => {
            out.put_u8(AFTER);
            out.put_u32(length(max));
            put_position(&mut out, position);
        }
        Span::Newest(max) => {
            out.put_u8(NEWEST);
            out.put_u32(length(max));
        }
        Span::Oldest(max) => {
            out.put_u8(OLDEST);
            out.put_u32(length(max));
        }
    }
    end(out)
}

pub(super) fn question(mut body: Bytes) -> Result<(Log, Span), Malformed> {
    let log = log(&mut body)?;
    let kind = body.try_get_u8().map_err(|_| Malformed)?;
    let max = number(&mut body)? as usize;
    match kind {
        AFTER => Ok((log, Span::After(position(&mut body)?, max))),
        NEWEST => Ok((log, Span::Newest(max))),
        OLDEST => Ok((log, Span::Oldest(max))),
        _ => Err(Malformed),
    }
}

pub(super) fn page(ticket: u32, page: &Page) -> Bytes {
    let size = page.entries.iter().map(|entry| entry.envelope.len() + 64).sum::<usize>();
    let mut out = begin(wire::PAGE, ticket, size + 33);
    put_position(&mut out, page.top);
    out.put_u8(u8::from(page.recovered));
    page.entries.iter().for_each(|entry| put_counted(&mut out, &entry.encode()));
    end(out).freeze()
}

pub(super) fn entries(mut body: Bytes) -> Result<Page, Malformed> {
    let top = position(&mut body)?;
    let recovered = body.try_get_u8().map_err(|_| Malformed)? != 0;
    let mut entries = Vec::new();
    while !body.is_empty() {
        entries.push(Entry::decode(&counted(&mut body)?).ok_or(Malformed)?);
    }
    Ok(Page { top, recovered, entries })
}

/// A frame whose length is not known yet.
fn begin(kind: u8, ticket: u32, size: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(size + 9);
    out.put_u32(0);
    out.put_u8(kind);
    out.put_u32(ticket);
    out
}

fn end(mut out: BytesMut) -> BytesMut {
    let len = length(out.len() - 4);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn put_counted(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(length(bytes.len()));
    out.put_slice(bytes);
}

fn put_log(out: &mut BytesMut, log: &Log) {
    put_counted(out, log.channel.as_bytes());
    out.put_u32(length(log.history.size));
    out.put_u64(u64::try_from(log.history.ttl.as_millis()).unwrap_or(u64::MAX));
}

fn log(body: &mut Bytes) -> Result<Log, Malformed> {
    let channel = text(&counted(body)?)?;
    let size = number(body)? as usize;
    let ttl = Duration::from_millis(body.try_get_u64().map_err(|_| Malformed)?);
    Ok(Log { channel, history: History::new(size, ttl) })
}

fn put_position(out: &mut BytesMut, position: Position) {
    out.put_u64(position.epoch);
    out.put_u64(position.offset);
    out.put_slice(&position.nonce.0);
}

fn position(body: &mut Bytes) -> Result<Position, Malformed> {
    let epoch = body.try_get_u64().map_err(|_| Malformed)?;
    let offset = body.try_get_u64().map_err(|_| Malformed)?;
    Ok(Position { epoch, offset, nonce: nonce(body)? })
}

fn nonce(body: &mut Bytes) -> Result<Nonce, Malformed> {
    let mut nonce = Nonce::default();
    body.try_copy_to_slice(&mut nonce.0).map_err(|_| Malformed)?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Answer, Reply, Request, reply, request};
    use super::*;

    fn log_of(channel: &str) -> Log {
        Log { channel: channel.into(), history: History::new(7, Duration::from_millis(1500)) }
    }

    #[test]
    fn appends_come_out_as_they_went_in() {
        let append = |key: Option<&str>, again, envelope: &'static [u8]| Append {
            log: log_of("nexios-room-x"),
            nonce: Nonce::random(),
            key: key.map(Into::into),
            again,
            envelope: Bytes::from_static(envelope),
        };
        let appends = vec![append(None, true, b"one"), append(Some("key"), false, b""), append(Some(""), true, b"3")];
        let mut buffer = super::append(9, &appends);
        assert_eq!(request(&mut buffer), Ok(Some(Request::Append { ticket: 9, appends })));
        let appended = [true, false].map(|duplicate| {
            let position = Position { epoch: u64::MAX, offset: 3, nonce: Nonce([7; 16]) };
            Appended { position, duplicate, replicas: 0 }
        });
        let mut buffer = BytesMut::from(&super::appended(9, &appended)[..]);
        assert_eq!(reply(&mut buffer), Ok(Some(Reply::Answer(9, Answer::Appended(appended.to_vec())))));
    }

    #[test]
    fn questions_and_pages_come_out_as_they_went_in() {
        let position = Position { epoch: 1, offset: 2, nonce: Nonce([3; 16]) };
        for span in [Span::After(position, 128), Span::Newest(5), Span::Oldest(7)] {
            let question = Request::Read { ticket: 4, log: log_of("x"), span };
            assert_eq!(request(&mut read(4, &log_of("x"), span)), Ok(Some(question)));
        }
        let envelope = Bytes::from_static(b"envelope");
        let entry = Entry { epoch: 1, offset: 3, previous: 2, time_ms: 5, nonce: Nonce([6; 16]), envelope };
        let page = Page { top: entry.position(), recovered: true, entries: vec![entry.clone(), entry] };
        let mut buffer = BytesMut::from(&super::page(4, &page)[..]);
        assert_eq!(reply(&mut buffer), Ok(Some(Reply::Answer(4, Answer::Page(page)))));
    }
}
