//! A client in memory, without Python: it reads by itself, as browsers do.
//!
//! A task on the shard reads, answers pings and Close frames, and sorts what has come. It stops
//! while more waits to be received than the receive buffer holds: so is a slow reader made.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use nexios_engine::MemoryClient;
use nexios_engine::protocol::{
    ABNORMAL, ClientHandshake, CloseCode, CloseFrame, Codec, Connection, HandshakeError, HandshakeResponse, Limits,
    NO_STATUS, Received, Role,
};

/// Pings and pongs that nobody looks at, as on the server; the oldest are dropped first.
const CONTROL_FRAMES_MAX: usize = 16;

pub(super) struct Client {
    pub(super) pipe: MemoryClient,
    phase: Phase,
    /// Read, but not understood yet; in the plain phase, what is to be received.
    unread: Vec<u8>,
    messages: VecDeque<Message>,
    message_bytes: usize,
    pings: VecDeque<Vec<u8>>,
    pongs: VecDeque<Vec<u8>>,
    close: Option<Close>,
    /// The server has closed, or there is no stream any more.
    over: bool,
    /// The fault of a server that breaks the protocol.
    fault: Option<String>,
    receive_buffer: usize,
    reads: bool,
    answers: bool,
    cut: bool,
    /// The task that reads.
    reader: Option<Waker>,
    waiting: Vec<Waker>,
}

enum Phase {
    /// Bytes as they come: plain HTTP, or an answer to a handshake that is no 101.
    Plain,
    Opening(Box<ClientHandshake>),
    Open(Box<Open>),
}

struct Open {
    response: HandshakeResponse,
    protocol: Connection,
    codec: Codec,
}

pub(super) enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// The code and reason of whoever closed first.
#[derive(Clone)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

/// The task that reads.
pub(super) struct Reader(pub(super) Rc<RefCell<Client>>);

impl Future for Reader {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut client = self.0.borrow_mut();
        client.reader = Some(cx.waker().clone());
        client.read(cx);
        if client.over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Client {
    pub(super) fn new(pipe: MemoryClient, receive_buffer: usize) -> Self {
        Client {
            pipe,
            phase: Phase::Plain,
            unread: Vec::new(),
            messages: VecDeque::new(),
            message_bytes: 0,
            pings: VecDeque::new(),
            pongs: VecDeque::new(),
            close: None,
            over: false,
            fault: None,
            receive_buffer,
            reads: true,
            answers: true,
            cut: false,
            reader: None,
            waiting: Vec::new(),
        }
    }

    /// Sends the request; what comes next is its answer.
    pub(super) fn open(&mut self, handshake: ClientHandshake) -> Result<(), HandshakeError> {
        self.pipe.write(&handshake.request()?);
        self.phase = Phase::Opening(Box::new(handshake));
        Ok(())
    }

    /// Sends frames, where the handshake is done.
    pub(super) fn send<R>(&mut self, write: impl FnOnce(&mut Connection, &mut Vec<u8>) -> R) -> Option<R> {
        let Phase::Open(open) = &mut self.phase else { return None };
        let mut out = Vec::new();
        let result = write(&mut open.protocol, &mut out);
        self.pipe.write(&out);
        Some(result)
    }

    pub(super) fn send_close(&mut self, frame: Option<(CloseCode, &str)>) {
        let frame = frame.map(|(code, reason)| CloseFrame { code, reason });
        self.send(|protocol, out| protocol.send_close(out, frame));
        self.note_close(frame);
        self.read_on();
    }

    /// From now on nothing is read, until it is again.
    pub(super) fn set_reads(&mut self, reads: bool) {
        self.reads = reads;
        self.read_on();
    }

    /// Leaves pings and Close frames unanswered from now on, as a client that hangs.
    pub(super) fn stop_answering(&mut self) {
        self.answers = false;
    }

    /// Pulls the cable: nothing arrives any more on either side, and nobody is told.
    pub(super) fn cut(&mut self) {
        self.cut = true;
        self.pipe.cut();
    }

    /// Returns true if it would not notice that the server closes.
    pub(super) fn is_deaf(&self) -> bool {
        !self.over && (self.cut || !self.reads || !self.answers || !self.has_room())
    }

    /// Nobody is there any more.
    pub(super) fn leave(&mut self) {
        self.pipe.shutdown();
        self.end();
    }

    /// Kills the connection; nothing is received any more.
    pub(super) fn reset(&mut self) {
        self.pipe.reset();
        self.end();
    }

    // --- what has come; `None` as long as nothing has

    /// Returns true if the handshake has an answer.
    pub(super) fn poll_answer(&mut self) -> Option<bool> {
        match &self.phase {
            Phase::Open(_) => Some(true),
            _ if self.over => Some(false),
            Phase::Opening(_) => None,
            Phase::Plain => Some(false),
        }
    }

    /// The next bytes of a plain answer, none at its end.
    pub(super) fn poll_bytes(&mut self) -> Option<Option<Vec<u8>>> {
        if self.unread.is_empty() {
            return self.over.then_some(None);
        }
        let bytes = std::mem::take(&mut self.unread);
        self.read_on();
        Some(Some(bytes))
    }

    /// The next message, none once the connection is over.
    pub(super) fn poll_message(&mut self) -> Option<Option<Message>> {
        let Some(message) = self.messages.pop_front() else { return self.over.then_some(None) };
        self.message_bytes -= message.len();
        self.read_on();
        Some(Some(message))
    }

    pub(super) fn poll_ping(&mut self) -> Option<Option<Vec<u8>>> {
        self.pings.pop_front().map(Some).or_else(|| self.over.then_some(None))
    }

    pub(super) fn poll_pong(&mut self) -> Option<Option<Vec<u8>>> {
        self.pongs.pop_front().map(Some).or_else(|| self.over.then_some(None))
    }

    /// Woken whenever something has come.
    pub(super) fn await_more(&mut self, cx: &Context<'_>) {
        self.waiting.retain(|waker| !waker.will_wake(cx.waker()));
        self.waiting.push(cx.waker().clone());
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(super) fn close(&self) -> Option<&Close> {
        self.close.as_ref()
    }

    /// The server's 101.
    pub(super) fn response(&self) -> Option<&HandshakeResponse> {
        match &self.phase {
            Phase::Open(open) => Some(&open.response),
            _ => None,
        }
    }

    // --- reading

    fn read_on(&mut self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }

    fn has_room(&self) -> bool {
        let plain = if matches!(self.phase, Phase::Plain) { self.unread.len() } else { 0 };
        // What comes after our Close frame is thrown away.
        self.message_bytes + plain < self.receive_buffer || self.close.is_some()
    }

    fn read(&mut self, cx: &mut Context<'_>) {
        while self.reads && !self.over && self.has_room() {
            let Poll::Ready(read) = self.pipe.poll_read(cx, self.receive_buffer) else { return };
            match read {
                Ok(bytes) if !bytes.is_empty() => {
                    self.unread.extend(bytes);
                    self.understand();
                }
                // The end of the stream, or a reset.
                _ => {
                    self.pipe.shutdown();
                    self.end();
                }
            }
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }

    fn understand(&mut self) {
        if let Phase::Opening(handshake) = &self.phase {
            match handshake.parse_response(&self.unread) {
                Ok(None) => return,
                Ok(Some((response, used))) => {
                    self.unread.drain(..used);
                    let protocol = Connection::new(Role::Client, response.deflate);
                    self.phase = Phase::Open(Box::new(Open { response, protocol, codec: Codec::new() }));
                }
                Err(HandshakeError::Refused { .. }) => self.phase = Phase::Plain,
                Err(error) => return self.fail(error.to_string()),
            }
        }
        let mut bytes = match self.phase {
            Phase::Open(_) => std::mem::take(&mut self.unread),
            _ => return,
        };
        while !bytes.is_empty() && !self.over {
            self.decode(&mut bytes);
        }
    }

    fn decode(&mut self, bytes: &mut Vec<u8>) {
        let Phase::Open(open) = &mut self.phase else { return };
        let limits = Limits { message_bytes_max: None, fragments_max: None };
        let mut out = Vec::new();
        let (used, received) = match open.protocol.receive(bytes, &mut out, &limits, &mut open.codec) {
            Ok((used, received)) => (used, received.map(Incoming::from)),
            Err(error) => {
                self.pipe.write(&out);
                return self.fail(error.to_string());
            }
        };
        bytes.drain(..used);
        if self.answers {
            self.pipe.write(&out);
        }
        if let Some(received) = received {
            self.sort(received);
        }
    }

    fn sort(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => {
                self.message_bytes += message.len();
                self.messages.push_back(message);
            }
            Incoming::Ping(payload) => keep(&mut self.pings, payload),
            Incoming::Pong(payload) => keep(&mut self.pongs, payload),
            Incoming::Close(close) => {
                self.close.get_or_insert(close);
                if self.answers {
                    self.pipe.shutdown();
                }
                self.end();
            }
        }
    }

    fn note_close(&mut self, frame: Option<CloseFrame<'_>>) {
        self.close.get_or_insert_with(|| Close::of(frame));
    }

    fn fail(&mut self, what: String) {
        self.fault.get_or_insert(what);
        self.pipe.shutdown();
        self.end();
    }

    /// Nothing more comes. Without a Close frame that is 1006.
    fn end(&mut self) {
        self.over = true;
        self.close.get_or_insert(Close { code: ABNORMAL, reason: String::new() });
        self.read_on();
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }
}

impl Close {
    fn of(frame: Option<CloseFrame<'_>>) -> Self {
        Close {
            code: frame.map_or(NO_STATUS, |frame| frame.code.get()),
            reason: frame.map_or_else(String::new, |frame| frame.reason.to_owned()),
        }
    }
}

/// An event with its own copy of the data that the protocol lends.
enum Incoming {
    Message(Message),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Close),
}

impl From<Received<'_>> for Incoming {
    fn from(received: Received<'_>) -> Self {
        match received {
            Received::Text(text) => Incoming::Message(Message::Text(text.into_owned())),
            Received::Binary(bytes) => Incoming::Message(Message::Binary(bytes.into_owned())),
            Received::Ping(payload) => Incoming::Ping(payload.to_vec()),
            Received::Pong(payload) => Incoming::Pong(payload.to_vec()),
            Received::Close(frame) => Incoming::Close(Close::of(frame)),
        }
    }
}

fn keep(frames: &mut VecDeque<Vec<u8>>, payload: Vec<u8>) {
    if frames.len() == CONTROL_FRAMES_MAX {
        frames.pop_front();
    }
    frames.push_back(payload);
}
