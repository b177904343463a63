//! Bytes in: from the shard's read buffer through the protocol into the inbox, or right to the handler.

use std::io;
use std::rc::Rc;

use nexios_protocol::{self as protocol, CloseCode, Codec, Limits, Received, escaped};

use super::{Busy, CloseInfo, Inner, Phase, State};
use crate::input::Input;
use crate::message::Message;
use crate::metrics::Cause;
use crate::readiness::Readiness;
use crate::settings::Settings;
use crate::timer::Tick;

/// Full reads of one connection before the others get their turn.
const READS_PER_TURN: usize = 4;

/// Whether parsing may go on.
#[derive(PartialEq, Eq)]
enum Parsed {
    /// All input is consumed.
    All,
    /// The inbox is full: the rest is still in the input.
    InboxFull,
    /// The turn has taken enough of this connection: the rest is still in the input.
    Enough,
    /// Nothing more is to be read here: closed, failed, or cut.
    Over,
}

impl Inner {
    /// The socket has news. Handlers may take messages while they are still in the cache.
    pub(crate) fn on_readiness(self: &Rc<Self>, readiness: Readiness) {
        if readiness.writable {
            self.on_writable();
        }
        let hangs_up = readiness.read_closed || readiness.error;
        let mut state = self.state.borrow_mut();
        let paused = state.read.is_paused();
        match &mut state.phase {
            Phase::Head(_) => {
                drop(state);
                self.read_head();
            }
            Phase::Http(http) => {
                if readiness.readable || hangs_up {
                    http.reader.take().into_iter().for_each(std::task::Waker::wake);
                }
            }
            Phase::Connecting(_) => {
                if hangs_up {
                    self.cut(&mut state);
                }
            }
            Phase::Open(_) if paused => {
                if hangs_up {
                    self.hang_up(&mut state);
                }
            }
            Phase::Open(_) => {
                // One that waits for its turn is read then, to the end: news do not bring it before its turn.
                let waits = state.read.is_ready();
                drop(state);
                if !waits && (readiness.readable || hangs_up) {
                    self.read_on(hangs_up);
                }
                let mut state = self.state.borrow_mut();
                // The edge that tells of the hang-up is taken: no other will come for it.
                if hangs_up && state.read.is_paused() && matches!(state.phase, Phase::Open(_)) {
                    self.hang_up(&mut state);
                }
            }
            Phase::Lingering => self.discard_input(&mut state),
            Phase::Gone => {}
        }
    }

    /// Goes on with a connection from the shard's ready list: no edge will come for it.
    pub(crate) fn read_again(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        state.read.clear_ready();
        if !matches!(state.phase, Phase::Open(_)) {
            drop(state);
            return self.on_readiness(Readiness { readable: true, ..Readiness::default() });
        }
        if state.read.resume() {
            self.begin_message_again(&mut state);
        }
        drop(state);
        // To the end: an edge that told of the FIN may have been taken while it was paused.
        self.read_on(true);
    }

    /// Parses what was read earlier and then reads on. What came behind the upgrade request waits
    /// like that until the next turn, and the socket may have news before.
    fn read_on(self: &Rc<Self>, to_the_end: bool) {
        self.shard.buffers.allowance().refill();
        let unread = self.state.borrow_mut().rare_if_any().map(|rare| std::mem::take(&mut rare.unread));
        if let Some(unread) = unread.filter(|unread| !unread.is_empty()) {
            self.shard.buffers.input().put(&unread);
            self.lend_input();
            if self.parse_and_run() != Parsed::All {
                return;
            }
        }
        self.read_open(to_the_end);
    }

    /// Reads and parses until the socket is empty, the inbox full, or the turn is over.
    ///
    /// With `to_the_end` it reads to 0 or EAGAIN: data and FIN can share one edge, and
    /// after a short read no other would tell of the FIN.
    fn read_open(self: &Rc<Self>, to_the_end: bool) {
        for _ in 0..READS_PER_TURN {
            if self.shard.buffers.allowance().is_spent() {
                break;
            }
            let Some(may_hold_more) = self.read_input() else { return };
            self.lend_input();
            if self.parse_and_run() != Parsed::All {
                return;
            }
            if !may_hold_more && !to_the_end {
                return;
            }
        }
        self.mark_ready(&mut self.state.borrow_mut());
    }

    /// Reads once: whether there may be more. `None` where nothing was read.
    fn read_input(self: &Rc<Self>) -> Option<bool> {
        let mut state = self.state.borrow_mut();
        let is_ending = state.rare_if_any().is_some_and(|rare| rare.last_word.is_some());
        if !matches!(state.phase, Phase::Open(_)) || state.read.is_paused() || is_ending {
            return None;
        }
        let mut input = self.shard.buffers.input();
        let space = input.space();
        match state.stream.read(space) {
            Ok(n) if n > 0 => {
                let is_full = n == space.len();
                input.filled(n);
                return Some(is_full || state.stream.may_hold_plaintext());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A FIN right behind messages: whoever sent them may still read the answers.
            Ok(_) if state.inbox().is_some() => self.end_behind_messages(&mut state, CloseInfo::cut(), &[]),
            _ => self.cut(&mut state),
        }
        None
    }

    /// Lets a handler that waits for a message take them straight from the input, one after
    /// another, with no inbox between, and writes its answers; what it leaves is parsed as ever.
    fn lend_input(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if !state.read.may_be_lent() || !self.shard.runs_between.get() || state.inbox().is_some() {
            return;
        }
        let Phase::Open(protocol) = &state.phase else { return };
        if !protocol.has_whole(self.shard.buffers.input().left(), &self.settings().limits()) {
            return;
        }
        state.read.lend();
        state.write.attend(true);
        drop(state);
        self.run_task();
        self.shard.end_connections();
        let mut state = self.state.borrow_mut();
        state.read.take_back();
        state.write.attend(false);
        if state.write.is_dirty() {
            drop(state);
            self.flush();
        }
    }

    /// The next message of the lent input; `None` where no whole one is left.
    #[inline]
    pub(super) fn take_lent(&self, state: &mut State) -> Option<Message> {
        let Phase::Open(protocol) = &mut state.phase else { return None };
        let allowance = self.shard.buffers.allowance();
        if allowance.is_spent() {
            return None;
        }
        let message = take_whole(protocol, &mut self.shard.buffers.input(), &self.settings().limits())?;
        allowance.count(message.len());
        Some(message)
    }

    /// Parses; where the inbox fills up it lets the handlers run once and tries again.
    fn parse_and_run(self: &Rc<Self>) -> Parsed {
        loop {
            match self.parse() {
                Parsed::InboxFull => {
                    self.shard.run_between();
                    self.shard.buffers.allowance().look_at_clock();
                    if self.inbox_is_full() {
                        self.pause();
                        return Parsed::InboxFull;
                    }
                }
                Parsed::Enough => {
                    self.leave_to_next_turn();
                    return Parsed::Enough;
                }
                end => {
                    let state = self.state.borrow();
                    // The peer may have left, or we may have closed, while handlers ran.
                    return if matches!(state.phase, Phase::Open(_)) { end } else { Parsed::Over };
                }
            }
        }
    }

    fn inbox_is_full(&self) -> bool {
        let state = self.state.borrow();
        state.inbox().is_some_and(|inbox| inbox.is_full(self.settings()))
    }

    /// Keeps what was read and goes on with it in the next turn, behind the other connections.
    fn leave_to_next_turn(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        state.rare().unread = self.shard.buffers.input().left().to_vec();
        self.note_held(&mut state);
        self.mark_ready(&mut state);
    }

    /// Keeps what was read and reads no more until the handler has taken some.
    fn pause(&self) {
        let mut state = self.state.borrow_mut();
        state.read.pause();
        state.rare().unread = self.shard.buffers.input().left().to_vec();
        self.note_held(&mut state);
    }

    fn parse(self: &Rc<Self>) -> Parsed {
        let mut input = self.shard.buffers.input();
        if input.is_empty() {
            return Parsed::All;
        }
        let mut state = self.state.borrow_mut();
        let mut codec = self.shard.buffers.codec();
        let mut control = self.shard.buffers.control_out();
        let settings = self.settings();
        let limits = settings.limits();
        let before = state.inbox().is_some();
        let mut end = Parsed::All;
        while !input.is_empty() {
            let allowance = self.shard.buffers.allowance();
            if allowance.is_spent() {
                end = Parsed::Enough;
                break;
            }
            if state.inbox().is_some_and(|inbox| inbox.is_full(settings)) {
                end = Parsed::InboxFull;
                break;
            }
            let State { phase: Phase::Open(protocol), busy, .. } = &mut *state else {
                end = Parsed::Over;
                break;
            };
            if let Some(message) = take_whole(protocol, &mut input, &limits) {
                allowance.count(message.len());
                self.shard.buffers.inbox_of(busy).push(message);
                continue;
            }
            match self.parse_one(&mut state, settings, &limits, input.left(), &mut codec, &mut control) {
                Some(used) => input.advance(used),
                None => {
                    end = Parsed::Over;
                    break;
                }
            }
        }
        self.watch_fragments(&mut state);
        if before || state.inbox().is_some() {
            self.wake_receiver(&mut state);
        }
        end
    }

    /// Feeds the protocol once; `None` where nothing more is to be parsed.
    fn parse_one(
        self: &Rc<Self>,
        state: &mut State,
        settings: &Settings,
        limits: &Limits,
        input: &mut [u8],
        codec: &mut Codec,
        control: &mut Vec<u8>,
    ) -> Option<usize> {
        let State { phase, busy, .. } = state;
        let Phase::Open(protocol) = phase else { return None };
        control.clear();
        match protocol.receive(input, control, limits, codec) {
            Ok((used, None)) => {
                self.shard.buffers.allowance().count_bytes(used);
                Some(used)
            }
            Ok((used, Some(Received::Text(text)))) => {
                self.shard.buffers.allowance().count(text.len());
                end_message(busy);
                self.shard.buffers.inbox_of(busy).push(Message::Text(text.into()));
                Some(used)
            }
            Ok((used, Some(Received::Binary(bytes)))) => {
                self.shard.buffers.allowance().count(bytes.len());
                end_message(busy);
                self.shard.buffers.inbox_of(busy).push(Message::Binary(bytes.into()));
                Some(used)
            }
            Ok((used, Some(Received::Ping(payload)))) => {
                let payload = payload.to_vec();
                self.send_pong_frame(state, control);
                self.on_ping(state, payload);
                self.count_control(state, settings).then_some(used)
            }
            Ok((used, Some(Received::Pong(payload)))) => {
                let payload = payload.to_vec();
                let asked = self.on_pong(state, payload);
                (asked || self.count_control(state, settings)).then_some(used)
            }
            Ok((_, Some(Received::Close(frame)))) => {
                let info = CloseInfo::of_frame(frame.as_ref());
                self.end_behind_messages(state, info, control);
                None
            }
            Err(error) => {
                tracing::debug!(connection = %self.id(), error = %escaped(&error), "protocol error");
                self.shard.shared.metrics.closed(Cause::Protocol);
                let info = CloseInfo::new(error.close_code().get(), "");
                self.end_behind_messages(state, info, control);
                None
            }
        }
    }

    /// Messages that came right before the end are handed out first, so that their answers
    /// still go out before our Close frame.
    fn end_behind_messages(self: &Rc<Self>, state: &mut State, info: CloseInfo, answer: &[u8]) {
        if state.inbox().is_none() || !state.ending.is_open() {
            return self.on_close_frame(state, info, answer);
        }
        // The first word counts: an EOF behind a Close frame changes nothing.
        state.rare().last_word.get_or_insert_with(|| (info, answer.to_vec()));
        self.shard.lists.push_ending(self.clone());
    }

    /// The handlers have run: now the end that came behind their messages.
    pub(crate) fn end_now(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let last_word = state.rare_if_any().and_then(|rare| rare.last_word.take());
        if let (Some((info, answer)), Phase::Open(_)) = (last_word, &state.phase) {
            self.on_close_frame(&mut state, info, &answer);
        }
    }

    /// Counts an unasked control frame; closes 1008 where there are too many in a second.
    fn count_control(self: &Rc<Self>, state: &mut State, settings: &Settings) -> bool {
        let second = self.shard.tick().second();
        let rare = state.rare();
        if rare.control_second != second {
            rare.control_second = second;
            rare.control_count = 0;
        }
        rare.control_count += 1;
        if rare.control_count <= settings.control_frames_per_second_max {
            return true;
        }
        self.shard.shared.metrics.closed(Cause::ControlFlood);
        self.start_close(state, CloseCode::POLICY_VIOLATION, "too many control frames");
        false
    }

    /// After our last word: waits for the peer's FIN so that no RST overtakes the Close frame.
    fn discard_input(self: &Rc<Self>, state: &mut State) {
        let mut input = self.shard.buffers.input();
        for _ in 0..READS_PER_TURN {
            match state.stream.read(input.space()) {
                Ok(n) if n > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => return self.release(state, false),
            }
        }
        self.mark_ready(state);
    }
}

/// The message under way is complete: the time of the next one is its own.
fn end_message(busy: &mut Option<Box<Busy>>) {
    if let Some(busy) = busy {
        busy.began = Tick::NEVER;
    }
}

/// The hot path: a message that lies whole at the front of the input.
#[inline]
fn take_whole(protocol: &mut protocol::Connection, input: &mut Input, limits: &Limits) -> Option<Message> {
    let (buffer, left) = input.left_and_more();
    if let Some((short, used)) = protocol.receive_short(buffer, left, limits) {
        input.advance(used);
        return Some(short.into());
    }
    take_long(protocol, input, limits)
}

#[inline(never)]
fn take_long(protocol: &mut protocol::Connection, input: &mut Input, limits: &Limits) -> Option<Message> {
    let mut message = None;
    let used = protocol.receive_whole(input.left(), limits, |whole| message = Some(whole.into()))?;
    input.advance(used);
    message
}
