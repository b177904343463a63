//! Bytes waiting to be written: a cork for one turn, a bounded backlog under backpressure.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use nexios_protocol::{OpCode, write_frame};

use crate::message::Message;
use crate::settings::{Settings, SlowClient};
use crate::stream::Stream;

/// Frames gathered before a chunk of the backlog is closed.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that one system call writes.
const SLICES_PER_WRITE: usize = 16;
/// Bytes that a waiting chunk costs besides its own.
const CHUNK_COST: usize = size_of::<Chunk>();
/// Broadcasts up to here wait as bytes among others, where they are never taken out again.
const COPIED_BYTES_MAX: usize = 1 << 10;

/// Exists only while a connection has output; idle connections hold none.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Own frames of this turn.
    cork: Vec<u8>,
    /// What a write left over, in order. Each chunk ends at the end of a frame, and all but the
    /// first begin at the beginning of one.
    backlog: VecDeque<Chunk>,
    backlog_bytes: usize,
    /// Bytes of the first chunk that are written.
    front_written: usize,
    /// The first waiting byte lies inside a frame: a direct write has sent what came before it.
    front_is_rest: bool,
    /// Under backpressure only the newest pong is kept (RFC 6455 §5.5.3).
    pong: Option<Vec<u8>>,
}

enum Chunk {
    Own(Vec<u8>),
    Broadcast { frame: Bytes, message: Message, key: Option<Arc<str>> },
}

/// How a flush ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flushed {
    /// Nothing is left.
    All,
    /// The socket would block; some bytes may have gone out.
    Blocked {
        /// Whether any byte went out.
        progress: bool,
    },
}

/// What became of a broadcast for a client under backpressure.
#[derive(Debug)]
pub(crate) enum Queued {
    /// It waits in the outbox.
    Kept,
    /// These were given up for it (or it was itself).
    Dropped(Vec<Message>),
    /// The outbox is at its limit: the client has to go.
    Overflow,
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Broadcast { frame, .. } => frame,
        }
    }
}

impl Outbox {
    /// Unsent bytes, and what each waiting chunk costs besides: many small broadcasts are more than their bytes.
    pub(crate) fn len(&self) -> usize {
        let bytes = self.cork.len() + self.backlog_bytes - self.front_written;
        bytes + self.backlog.len() * CHUNK_COST + self.pong.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the next write takes in any case: they cannot be dropped any more.
    pub(crate) fn corked_bytes(&self) -> usize {
        self.cork.len()
    }

    /// Whether output waits for the socket, so that order asks the rest to queue up.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Adds an own frame where the cork with it stays within `bytes_max` and nothing waits before it.
    #[inline]
    pub(crate) fn cork(&mut self, opcode: OpCode, payload: &[u8], bytes_max: usize) -> bool {
        let fits = self.backlog.is_empty() && self.cork.len() + payload.len() <= bytes_max;
        if fits {
            write_frame(&mut self.cork, opcode, true, false, payload, None);
        }
        fits
    }

    /// Where the next own frame goes.
    pub(crate) fn tail(&mut self) -> OutboxTail<'_> {
        if self.backlog.is_empty() {
            return OutboxTail { bytes: &mut self.cork, before: None };
        }
        if !matches!(self.backlog.back(), Some(Chunk::Own(bytes)) if bytes.len() < CHUNK_BYTES) {
            self.backlog.push_back(Chunk::Own(Vec::new()));
        }
        let backlog_bytes = &mut self.backlog_bytes;
        match self.backlog.back_mut() {
            Some(Chunk::Own(bytes)) => {
                let before = bytes.len();
                OutboxTail { bytes, before: Some((before, backlog_bytes)) }
            }
            // Unreachable by the two lines above; the cork keeps the bytes in any case.
            _ => OutboxTail { bytes: &mut self.cork, before: None },
        }
    }

    /// Queues a pong; where output is blocked it replaces one that still waits.
    pub(crate) fn push_pong(&mut self, frame: &[u8]) {
        if self.has_backlog() {
            self.pong = Some(frame.to_vec());
        } else {
            self.cork.extend_from_slice(frame);
        }
    }

    /// Queues a shared frame behind everything else, without a policy.
    pub(crate) fn push_shared(&mut self, frame: Bytes, message: Message, key: Option<Arc<str>>) {
        self.close_cork();
        self.backlog_bytes += frame.len();
        self.backlog.push_back(Chunk::Broadcast { frame, message, key });
    }

    /// Queues bytes that a direct write left over.
    pub(crate) fn push_rest(&mut self, rest: &[u8]) {
        self.close_cork();
        self.front_is_rest |= self.backlog.is_empty();
        self.backlog_bytes += rest.len();
        self.backlog.push_back(Chunk::Own(rest.to_vec()));
    }

    /// Takes off what a direct write has sent of the cork.
    pub(crate) fn cork_written(&mut self, n: usize) {
        self.front_is_rest |= n > 0;
        self.cork.drain(..n);
    }

    /// Whether a frame is sent in part, so that nothing else may go out before its rest.
    fn is_mid_frame(&self) -> bool {
        self.front_is_rest || self.front_written > 0
    }

    /// Queues a broadcast behind what waits, as the policy says. Where the socket is not `blocked`, the client has not
    /// been asked to take what waits: nothing is dropped for want of room.
    pub(crate) fn push_broadcast(
        &mut self,
        settings: &Settings,
        blocked: bool,
        frame: Bytes,
        message: &Message,
        key: Option<&Arc<str>>,
    ) -> Queued {
        // As the groups count those who are over their mark: what is dropped can be told at the call.
        let over_mark = self.len() > settings.outbox_mark_bytes;
        let mut dropped = Vec::new();
        match settings.slow_client {
            SlowClient::Close if !self.is_empty() && self.len() + frame.len() > settings.outbox_bytes_max => {
                return Queued::Overflow;
            }
            SlowClient::Close if frame.len() <= COPIED_BYTES_MAX => {
                self.tail().extend_from_slice(&frame);
                return Queued::Kept;
            }
            SlowClient::Close => {}
            SlowClient::DropNewest if over_mark => return Queued::Dropped(vec![message.clone()]),
            SlowClient::DropNewest => {}
            SlowClient::DropOldest => self.make_room(settings, frame.len(), &mut dropped),
            SlowClient::Conflate => {
                self.drop_older(key, &mut dropped);
                if blocked {
                    self.make_room(settings, frame.len(), &mut dropped);
                }
            }
        }
        self.push_shared(frame, message.clone(), key.cloned());
        if dropped.is_empty() { Queued::Kept } else { Queued::Dropped(dropped) }
    }

    /// Drops the oldest broadcasts until a frame of so many bytes fits under the mark.
    fn make_room(&mut self, settings: &Settings, len: usize, dropped: &mut Vec<Message>) {
        let mut from = usize::from(self.is_mid_frame());
        while !self.is_empty() && self.len() + len + CHUNK_COST > settings.outbox_mark_bytes {
            let is_broadcast = |chunk: &Chunk| matches!(chunk, Chunk::Broadcast { .. });
            let Some(index) = self.backlog.iter().skip(from).position(is_broadcast) else { return };
            from += index;
            dropped.extend(self.drop_at(from));
        }
    }

    /// Drops the broadcast of this key that waits, which is one at most.
    fn drop_older(&mut self, key: Option<&Arc<str>>, dropped: &mut Vec<Message>) {
        let from = usize::from(self.is_mid_frame());
        let has_key = |chunk: &Chunk| matches!(chunk, Chunk::Broadcast { key: other, .. } if other.as_ref() == key);
        if let Some(index) = self.backlog.iter().skip(from).position(has_key) {
            dropped.extend(self.drop_at(from + index));
        }
    }

    /// Drops a broadcast; own frames before and behind it become one chunk, so that few chunks have to be passed over.
    fn drop_at(&mut self, index: usize) -> Option<Message> {
        let Some(Chunk::Broadcast { frame, message, .. }) = self.backlog.remove(index) else { return None };
        self.backlog_bytes -= frame.len();
        let neighbours = index.checked_sub(1).and_then(|before| Some((before, self.backlog.get(index)?)));
        if let Some((before, Chunk::Own(behind))) = neighbours
            && matches!(&self.backlog[before], Chunk::Own(bytes) if bytes.len() + behind.len() <= CHUNK_BYTES)
            && let Some(Chunk::Own(behind)) = self.backlog.remove(index)
            && let Some(Chunk::Own(bytes)) = self.backlog.get_mut(before)
        {
            bytes.extend_from_slice(&behind);
        }
        Some(message)
    }

    /// Drops queued broadcasts of which no byte is written yet.
    pub(crate) fn drop_where(
        &mut self,
        dropped: &mut Vec<Message>,
        mut matches: impl FnMut(&Message, Option<&Arc<str>>) -> bool,
    ) {
        let begun = self.is_mid_frame();
        let mut index = 0;
        self.backlog.retain(|chunk| {
            let partly_written = begun && index == 0;
            index += 1;
            match chunk {
                Chunk::Broadcast { frame, message, key } if !partly_written && matches(message, key.as_ref()) => {
                    self.backlog_bytes -= frame.len();
                    dropped.push(message.clone());
                    false
                }
                _ => true,
            }
        });
    }

    /// Gives up everything but a frame that is partly written, so that a Close can still follow.
    pub(crate) fn drop_unwritten(&mut self) {
        self.close_cork();
        let partly_written = self.is_mid_frame().then(|| self.backlog.pop_front()).flatten();
        self.backlog.clear();
        self.pong = None;
        self.backlog_bytes = partly_written.as_ref().map_or(0, |chunk| chunk.as_slice().len());
        self.backlog.extend(partly_written);
    }

    /// Writes as much as the stream takes, so many bytes at most in one step.
    pub(crate) fn flush(&mut self, stream: &mut Stream, step_bytes_max: usize) -> io::Result<Flushed> {
        let sent_before = stream.ciphertext_sent();
        let (all, mut progress) = self.write_all(stream, step_bytes_max)?;
        let flushed = written(stream.flush().map(|()| 0))?.is_some();
        progress |= stream.ciphertext_sent() > sent_before;
        Ok(if all && flushed { Flushed::All } else { Flushed::Blocked { progress } })
    }

    /// Whether everything was taken, and whether anything was.
    fn write_all(&mut self, stream: &mut Stream, step_bytes_max: usize) -> io::Result<(bool, bool)> {
        let mut progress = false;
        if self.backlog.is_empty() && !self.cork.is_empty() {
            let step = self.cork.len().min(step_bytes_max);
            match written(stream.write_vectored(&[IoSlice::new(&self.cork[..step])]))? {
                Some(n) if n == self.cork.len() => {
                    self.cork.clear();
                    self.front_is_rest = false;
                }
                // TLS takes less than all also where its socket is not blocked.
                Some(n) => {
                    self.close_cork();
                    self.front_written = n;
                    progress = true;
                }
                None => {
                    self.close_cork();
                    return Ok((false, false));
                }
            }
        }
        self.close_cork();
        loop {
            self.insert_pong();
            if self.backlog.is_empty() {
                return Ok((true, progress));
            }
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let (mut count, mut left) = (0, step_bytes_max);
            for (slice, chunk) in slices.iter_mut().zip(&self.backlog) {
                if left == 0 {
                    break;
                }
                let skip = if count == 0 { self.front_written } else { 0 };
                let bytes = &chunk.as_slice()[skip..];
                let bytes = &bytes[..bytes.len().min(left)];
                left -= bytes.len();
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            match written(stream.write_vectored(&slices[..count]))? {
                Some(n) => {
                    progress = true;
                    self.advance(n);
                }
                None => return Ok((false, progress)),
            }
        }
    }

    /// A pong may go between two frames: at the first boundary that is left.
    fn insert_pong(&mut self) {
        if let Some(pong) = self.pong.take() {
            let boundary = usize::from(self.is_mid_frame());
            self.backlog_bytes += pong.len();
            self.backlog.insert(boundary, Chunk::Own(pong));
        }
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.backlog.front() {
            let len = front.as_slice().len();
            let left = len - self.front_written;
            if n < left {
                self.front_written += n;
                return;
            }
            n -= left;
            self.front_written = 0;
            self.front_is_rest = false;
            self.backlog_bytes -= len;
            self.backlog.pop_front();
        }
    }

    /// Moves the cork into the backlog, behind what waits there.
    fn close_cork(&mut self) {
        if !self.cork.is_empty() {
            self.backlog_bytes += self.cork.len();
            self.backlog.push_back(Chunk::Own(std::mem::take(&mut self.cork)));
        }
    }

    /// Makes an emptied outbox ready for its next connection; huge buffers are given back.
    pub(crate) fn recycle(&mut self) {
        self.cork.clear();
        self.cork.shrink_to(CHUNK_BYTES);
        self.backlog.clear();
        self.backlog.shrink_to(SLICES_PER_WRITE);
        self.backlog_bytes = 0;
        self.front_written = 0;
        self.front_is_rest = false;
        self.pong = None;
    }
}

/// The place for the next own frame; counts what was added when it is dropped.
pub(crate) struct OutboxTail<'a> {
    bytes: &'a mut Vec<u8>,
    before: Option<(usize, &'a mut usize)>,
}

impl std::ops::Deref for OutboxTail<'_> {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        self.bytes
    }
}

impl std::ops::DerefMut for OutboxTail<'_> {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        self.bytes
    }
}

impl Drop for OutboxTail<'_> {
    fn drop(&mut self) {
        if let Some((before, total)) = &mut self.before {
            **total += self.bytes.len() - *before;
        }
    }
}

/// `None` where the stream would block.
fn written(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(n) => Ok(Some(n)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push_rest(b"rest of a frame");
        outbox
    }

    fn settings(slow_client: SlowClient) -> Settings {
        Settings {
            slow_client,
            outbox_mark_bytes: 40 + 3 * CHUNK_COST,
            outbox_bytes_max: 60 + CHUNK_COST,
            ..Settings::default()
        }
    }

    fn push(outbox: &mut Outbox, settings: &Settings, text: &str, key: Option<&str>) -> Queued {
        let key = key.map(Arc::from);
        outbox.push_broadcast(
            settings,
            true,
            Bytes::copy_from_slice(text.as_bytes()),
            &Message::from(text),
            key.as_ref(),
        )
    }

    fn dropped(queued: Queued) -> Vec<Message> {
        match queued {
            Queued::Dropped(messages) => messages,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn under_close_the_limit_is_an_overflow() {
        let (mut outbox, settings) = (blocked(), settings(SlowClient::Close));
        assert!(matches!(push(&mut outbox, &settings, "0123456789012345678901234567890123456789", None), Queued::Kept));
        assert!(matches!(push(&mut outbox, &settings, "0123456789", None), Queued::Overflow));
    }

    #[test]
    fn drop_newest_leaves_out_what_comes_above_the_mark() {
        let (mut outbox, settings) = (blocked(), settings(SlowClient::DropNewest));
        for _ in 0..3 {
            assert!(matches!(push(&mut outbox, &settings, "0123456789", None), Queued::Kept));
        }
        assert!(outbox.len() > settings.outbox_mark_bytes);
        assert_eq!(dropped(push(&mut outbox, &settings, "newest", None)), [Message::from("newest")]);
    }

    #[test]
    fn drop_oldest_makes_room_for_the_new_one() {
        let (mut outbox, settings) = (blocked(), settings(SlowClient::DropOldest));
        push(&mut outbox, &settings, "oldest----", None);
        push(&mut outbox, &settings, "older-----", None);
        assert_eq!(dropped(push(&mut outbox, &settings, "newest", None)), [Message::from("oldest----")]);
        assert_eq!(outbox.len(), 15 + 10 + 6 + 3 * CHUNK_COST);
    }

    #[test]
    fn conflate_keeps_the_newest_of_each_key() {
        let settings = Settings { slow_client: SlowClient::Conflate, ..Settings::default() };
        let mut outbox = blocked();
        push(&mut outbox, &settings, "a1", Some("a"));
        push(&mut outbox, &settings, "b1", Some("b"));
        assert_eq!(dropped(push(&mut outbox, &settings, "a2", Some("a"))), [Message::from("a1")]);
        assert!(matches!(push(&mut outbox, &settings, "c1", Some("c")), Queued::Kept));
    }

    #[test]
    fn a_frame_that_is_partly_written_is_never_dropped() {
        let settings = settings(SlowClient::DropOldest);
        let mut outbox = Outbox::default();
        push(&mut outbox, &settings, "partly written, 30 bytes long.", None);
        outbox.front_written = 4;
        assert!(matches!(push(&mut outbox, &settings, "0123456789012345", None), Queued::Kept));
        outbox.drop_unwritten();
        assert_eq!(outbox.len(), 26 + CHUNK_COST);
    }

    #[test]
    fn only_the_newest_pong_waits_behind_a_blocked_socket() {
        let mut outbox = blocked();
        outbox.push_pong(b"old");
        outbox.push_pong(b"newest");
        assert_eq!(outbox.len(), 15 + 6 + CHUNK_COST);
    }

    #[test]
    fn what_a_direct_write_left_over_is_neither_dropped_nor_split() {
        let mut outbox = blocked();
        outbox.push_pong(b"pong");
        outbox.insert_pong();
        assert_eq!(outbox.backlog[0].as_slice(), b"rest of a frame");
        outbox.drop_unwritten();
        assert_eq!(outbox.len(), 15 + CHUNK_COST);
        outbox.advance(15);
        assert!(outbox.is_empty() && !outbox.is_mid_frame());
        outbox.tail().extend_from_slice(b"frame");
        outbox.cork_written(2);
        outbox.drop_unwritten();
        assert_eq!(outbox.backlog[0].as_slice(), b"ame");
    }

    #[test]
    fn own_frames_behind_a_backlog_are_counted() {
        let mut outbox = blocked();
        outbox.tail().extend_from_slice(b"12345");
        outbox.tail().extend_from_slice(b"678");
        assert_eq!(outbox.len(), 15 + 8 + CHUNK_COST);
    }

    #[test]
    fn many_small_broadcasts_wait_within_the_mark_with_all_that_they_cost() {
        for policy in [SlowClient::DropOldest, SlowClient::DropNewest, SlowClient::Conflate] {
            let mut outbox = blocked();
            let settings = Settings { slow_client: policy, ..Settings::default() };
            for number in 0..20_000 {
                let key = number.to_string();
                push(&mut outbox, &settings, "abc", Some(&key));
            }
            let held = outbox.backlog.len() * (CHUNK_COST + 3);
            assert!((settings.outbox_mark_bytes / 2..settings.outbox_mark_bytes + 200).contains(&held), "{held}");
        }
    }

    #[test]
    fn under_close_small_broadcasts_wait_as_bytes_in_few_chunks() {
        let mut outbox = blocked();
        let settings = Settings::default();
        for _ in 0..20_000 {
            assert!(matches!(push(&mut outbox, &settings, "abc", None), Queued::Kept));
        }
        assert!(outbox.backlog.len() < 4, "{} chunks", outbox.backlog.len());
        assert!(outbox.backlog.iter().map(|chunk| chunk.as_slice().len()).sum::<usize>() == 15 + 60_000);
    }

    #[test]
    fn own_frames_between_dropped_broadcasts_stay_in_order_in_one_chunk() {
        let mut outbox = blocked();
        let settings = Settings { slow_client: SlowClient::DropOldest, ..Settings::default() };
        for number in 0..2000 {
            push(&mut outbox, &settings, "a broadcast", None);
            outbox.tail().extend_from_slice(&u32::to_be_bytes(number));
        }
        assert!(outbox.backlog.len() < 2 * (settings.outbox_mark_bytes / CHUNK_COST), "{}", outbox.backlog.len());
        let own = outbox.backlog.iter().filter(|chunk| matches!(chunk, Chunk::Own(_)));
        let own: Vec<u8> = own.flat_map(Chunk::as_slice).copied().skip(b"rest of a frame".len()).collect();
        assert_eq!(own, (0..2000).flat_map(u32::to_be_bytes).collect::<Vec<u8>>());
    }

    #[test]
    fn what_is_written_in_steps_is_whole_and_in_order() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut stream = Stream::Plain(crate::socket::Socket::Unix(mio::net::UnixStream::from_std(ours)));
        for step in [1, 7, 100, usize::MAX] {
            let mut outbox = Outbox::default();
            outbox.tail().extend_from_slice(b"cork, ");
            outbox.push_shared(Bytes::from_static(b"shared, "), "shared".into(), None);
            outbox.tail().extend_from_slice(b"own");
            assert_eq!(outbox.flush(&mut stream, step).unwrap(), Flushed::All);
            let mut read = [0; 17];
            std::io::Read::read_exact(&mut &theirs, &mut read).unwrap();
            assert_eq!(&read, b"cork, shared, own");
            assert!(outbox.is_empty());
        }
    }
}
