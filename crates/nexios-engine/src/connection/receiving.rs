//! Messages and control frames, handed to the application.

use std::task::{Context, Poll, Waker};

use super::control_queue::ControlQueue;
use super::waiters::{add, store, wake};
use super::{CloseInfo, Connection, Inner, Phase, ReceiveError, State};
use crate::inbox::Inbox;
use crate::message::{Message, MessageRef};
use crate::settings::Settings;

/// A pending receive's claim on the connection; give it back with [`Connection::end_receive`].
#[derive(Default, Debug)]
pub struct ReceiveTicket {
    held: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Data,
    Ping,
    Pong,
}

impl Connection {
    /// The next data message, in order; after the last one, how the connection ended, every time.
    #[inline]
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        ticket: &mut ReceiveTicket,
    ) -> Poll<Result<Message, ReceiveError>> {
        if let Some(message) = self.receive_at_once(ticket) {
            return Poll::Ready(Ok(message));
        }
        self.poll_receive_queued(cx, ticket)
    }

    /// The hot path of [`poll_receive`](Self::poll_receive): the next message where the handler runs right behind
    /// the read, and nothing is to be heeded. `None`: go on with [`poll_receive_queued`](Self::poll_receive_queued).
    #[inline(always)]
    pub fn receive_at_once(&self, ticket: &mut ReceiveTicket) -> Option<Message> {
        let mut state = self.0.state.borrow_mut();
        if !state.read.lends_to(ticket.held.is_some()) {
            return None;
        }
        if ticket.held.is_some() {
            release(&mut state, ticket);
        }
        self.0.take_lent(&mut state)
    }

    /// The rest of [`poll_receive`](Self::poll_receive), behind [`receive_at_once`](Self::receive_at_once).
    #[inline(never)]
    pub fn poll_receive_queued(
        &self,
        cx: &mut Context<'_>,
        ticket: &mut ReceiveTicket,
    ) -> Poll<Result<Message, ReceiveError>> {
        self.poll_inbox(&mut self.0.state.borrow_mut(), Some(cx), ticket)
    }

    /// As [`poll_receive`](Self::poll_receive) in a poll of the connection's own task, but from anywhere:
    /// for a front end whose handlers run elsewhere and are resumed by the task. `None`: it has ended.
    pub fn poll_receive_as_task(&self, ticket: &mut ReceiveTicket) -> Option<Poll<Result<Message, ReceiveError>>> {
        let mut state = self.0.state.borrow_mut();
        state.task_marks.is_alive().then(|| self.poll_inbox(&mut state, None, ticket))
    }

    fn poll_inbox(
        &self,
        state: &mut State,
        cx: Option<&mut Context<'_>>,
        ticket: &mut ReceiveTicket,
    ) -> Poll<Result<Message, ReceiveError>> {
        if state.read.is_receiving() && ticket.held.is_none() {
            return Poll::Ready(Err(ReceiveError::Busy));
        }
        state.read.take_back();
        if state.read.receive() {
            state.engage();
        }
        if let Some(message) = self.0.take_message(state) {
            release(state, ticket);
            return Poll::Ready(Ok(message));
        }
        if let Some(error) = state.receive_error() {
            release(state, ticket);
            return Poll::Ready(Err(error));
        }
        ticket.held = Some(Kind::Data);
        // Without a context it is the connection's own task that asks.
        let other = cx.filter(|cx| !self.0.is_task(state, cx));
        state.read.begin_receive(other.is_none());
        if let Some(cx) = other {
            store(&mut state.rare().receiver, cx);
        }
        Poll::Pending
    }

    /// As [`poll_receive`](Self::poll_receive), but lends the message to `f` instead of handing it over.
    pub fn poll_receive_with<R>(
        &self,
        cx: &mut Context<'_>,
        ticket: &mut ReceiveTicket,
        f: impl FnOnce(MessageRef<'_>) -> R,
    ) -> Poll<Result<R, ReceiveError>> {
        self.poll_receive(cx, ticket).map(|result| result.map(|message| f(message.as_ref())))
    }

    /// The payload of the oldest ping not yet asked for; the engine has answered it already.
    pub fn poll_ping(&self, cx: &mut Context<'_>, ticket: &mut ReceiveTicket) -> Poll<Result<Vec<u8>, ReceiveError>> {
        self.poll_control(cx, ticket, Kind::Ping)
    }

    /// The payload of the oldest pong not yet asked for; those of the keepalive are not shown.
    pub fn poll_pong(&self, cx: &mut Context<'_>, ticket: &mut ReceiveTicket) -> Poll<Result<Vec<u8>, ReceiveError>> {
        self.poll_control(cx, ticket, Kind::Pong)
    }

    fn poll_control(
        &self,
        cx: &mut Context<'_>,
        ticket: &mut ReceiveTicket,
        kind: Kind,
    ) -> Poll<Result<Vec<u8>, ReceiveError>> {
        let mut state = self.0.state.borrow_mut();
        state.engage();
        let over = state.control_error();
        let queue = state.control_queue(kind);
        if queue.receiving && ticket.held.is_none() {
            return Poll::Ready(Err(ReceiveError::Busy));
        }
        let result = match (queue.payloads.pop_front(), over) {
            (Some(payload), _) => Ok(payload),
            (None, Some(error)) => Err(error),
            (None, None) => {
                queue.receiving = true;
                ticket.held = Some(kind);
                store(&mut queue.receiver, cx);
                return Poll::Pending;
            }
        };
        release(&mut state, ticket);
        Poll::Ready(result)
    }

    /// Gives up a pending receive; nothing that arrives meanwhile is lost.
    pub fn end_receive(&self, ticket: &mut ReceiveTicket) {
        if ticket.held.is_some() {
            release(&mut self.0.state.borrow_mut(), ticket);
        }
    }

    /// Lets listeners see each message before it can be received: see
    /// [`poll_unheard`](Self::poll_unheard).
    pub fn observe(&self) {
        self.0.state.borrow_mut().read.observe();
    }

    /// The next message that no listener has seen; it stays queued. `None`: closed, and all are heard.
    pub fn poll_unheard(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let mut state = self.0.state.borrow_mut();
        if let Some(message) = state.inbox().and_then(Inbox::unheard) {
            return Poll::Ready(Some(message.clone()));
        }
        if state.ending.is_input_over() {
            return Poll::Ready(None);
        }
        let is_task = self.0.is_task(&state, cx);
        state.read.listen(is_task);
        if !is_task {
            store(&mut state.rare().listener, cx);
        }
        Poll::Pending
    }

    /// The message that [`poll_unheard`](Self::poll_unheard) showed may be received now.
    pub fn mark_heard(&self) {
        let mut state = self.0.state.borrow_mut();
        if let Some(inbox) = state.inbox_mut() {
            inbox.mark_heard();
        }
        self.0.discard_heard(&mut state);
        self.0.wake_receive(&mut state);
    }

    /// Puts another message in the place of the one that [`poll_unheard`](Self::poll_unheard) showed.
    pub fn replace_unheard(&self, message: Message) {
        let mut state = self.0.state.borrow_mut();
        if let Some(inbox) = state.inbox_mut() {
            inbox.replace_unheard(message);
        }
        self.0.note_held(&mut state);
    }

    /// Throws away the message that [`poll_unheard`](Self::poll_unheard) showed: it is neither
    /// heard nor received.
    pub fn discard_unheard(&self) {
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        if let Some(inbox) = state.inbox_mut() {
            inbox.remove_unheard();
            self.0.note_held(state);
            self.0.go_on_reading(state);
        }
        self.0.shard.buffers.pool().give_back_inbox(&mut state.busy);
    }

    /// From now on messages are thrown away once listeners, if any, have seen them.
    pub fn discard_messages(&self, on: bool) {
        let mut state = self.0.state.borrow_mut();
        state.read.discard(on);
        state.engage();
        self.0.discard_heard(&mut state);
    }

    /// As [`discard_messages`](Self::discard_messages), until somebody receives; what a receive
    /// is waiting for is not thrown away. Where somebody has received before, and may again, that
    /// happens only when the inbox is full.
    pub fn discard_unreceived(&self, on: bool) {
        let mut state = self.0.state.borrow_mut();
        state.read.discard_unreceived(on);
        state.engage();
        self.0.discard_heard(&mut state);
    }

    /// Resolves once the application has received, has discarded messages, or has ended: it has done what comes before
    /// that. Also when the connection is over. Any number may wait, but for the connection's own task.
    pub fn poll_engaged(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        if state.read.is_engaged() || state.ending.is_finished() {
            return Poll::Ready(());
        }
        add(&mut state.rare().closed_waiters, cx);
        Poll::Pending
    }

    /// Resolves when the connection is over, to how it ended. Any number may wait.
    pub fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseInfo> {
        let mut state = self.0.state.borrow_mut();
        if state.ending.is_finished() {
            return Poll::Ready(state.close_info().cloned().unwrap_or_else(CloseInfo::cut));
        }
        // The connection's own task is woken at the end in any case.
        if !self.0.is_task(&state, cx) {
            add(&mut state.rare().closed_waiters, cx);
        }
        Poll::Pending
    }
}

impl State {
    /// Notes that the application has come so far; wakes those who wait for that among those who wait for the end.
    fn engage(&mut self) {
        if self.read.engage() {
            let rare = self.rare_if_any();
            rare.into_iter().for_each(|rare| rare.closed_waiters.drain(..).for_each(Waker::wake));
        }
    }

    fn receive_error(&self) -> Option<ReceiveError> {
        if self.ending.is_input_over() {
            let inbox_empty = self.inbox().is_none_or(Inbox::is_empty);
            let info = || self.close_info().cloned().unwrap_or_else(CloseInfo::cut);
            return inbox_empty.then(|| ReceiveError::Closed(info()));
        }
        match self.phase {
            Phase::Open(_) => None,
            _ => Some(ReceiveError::NotAccepted),
        }
    }

    /// Whether messages that listeners have seen are thrown away.
    fn discards(&self, settings: &Settings) -> bool {
        self.read.discards(|| self.inbox().is_some_and(|inbox| inbox.is_full(settings)))
    }

    fn control_error(&self) -> Option<ReceiveError> {
        match (self.close_info(), &self.phase) {
            (Some(info), _) => Some(ReceiveError::Closed(info.clone())),
            (None, Phase::Open(_)) => None,
            (None, _) => Some(ReceiveError::NotAccepted),
        }
    }

    fn control_queue(&mut self, kind: Kind) -> &mut ControlQueue {
        match kind {
            Kind::Ping => &mut self.rare().pings,
            Kind::Pong | Kind::Data => &mut self.rare().pongs,
        }
    }
}

impl Inner {
    fn wake_receive(&self, state: &mut State) {
        if state.read.task_receives() {
            self.wake_task(state);
        } else if let Some(rare) = state.rare_if_any() {
            wake(&mut rare.receiver);
        }
    }

    fn wake_listener(&self, state: &mut State) {
        if state.read.task_listens() {
            self.wake_task(state);
        } else if let Some(rare) = state.rare_if_any() {
            wake(&mut rare.listener);
        }
    }

    /// Wakes everybody who waits for anything: the connection is ending.
    pub(super) fn wake_all(&self, state: &mut State) {
        self.wake_task(state);
        let finished = state.ending.is_finished();
        let Some(rare) = state.rare_if_any() else { return };
        wake(&mut rare.receiver);
        wake(&mut rare.pings.receiver);
        wake(&mut rare.pongs.receiver);
        wake(&mut rare.listener);
        rare.send_waiters.drain(..).for_each(Waker::wake);
        rare.sent_pings.wake_round_trips();
        if finished {
            rare.closed_waiters.drain(..).for_each(Waker::wake);
        }
    }

    fn take_message(self: &std::rc::Rc<Self>, state: &mut State) -> Option<Message> {
        let observed = state.read.is_observed();
        let message = state.inbox_mut()?.pop(observed)?;
        self.note_held(state);
        self.go_on_reading(state);
        self.shard.buffers.pool().give_back_inbox(&mut state.busy);
        Some(message)
    }

    /// Where reading was paused for a full inbox that has room again.
    fn go_on_reading(self: &std::rc::Rc<Self>, state: &mut State) {
        if state.read.is_paused() && state.inbox().is_some_and(|inbox| inbox.has_room(self.settings())) {
            self.mark_ready(state);
        }
    }

    fn discard_heard(self: &std::rc::Rc<Self>, state: &mut State) {
        if state.discards(self.settings()) {
            while self.take_message(state).is_some() {}
        }
    }

    /// New messages are there.
    pub(super) fn wake_receiver(self: &std::rc::Rc<Self>, state: &mut State) {
        if state.read.is_observed() {
            self.wake_listener(state);
        } else {
            self.discard_heard(state);
            self.wake_receive(state);
        }
    }
}

fn release(state: &mut State, ticket: &mut ReceiveTicket) {
    match ticket.held.take() {
        None => {}
        Some(Kind::Data) => {
            state.read.end_receive();
        }
        Some(kind) => {
            let queue = state.control_queue(kind);
            queue.receiving = false;
            queue.receiver = None;
        }
    }
}
