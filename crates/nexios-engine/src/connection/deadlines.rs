//! A connection's deadlines, all in one place: one timer entry serves them all.

use std::rc::Rc;
use std::time::Duration;

use nexios_protocol::CloseCode;

use super::{Inner, Phase, Refusal, State};
use crate::metrics::Cause;
use crate::settings::SlowClient;
use crate::timer::Tick;

impl Inner {
    /// The first timer entry of a new connection.
    pub(crate) fn arm_first(self: &Rc<Self>) {
        self.arm(&mut self.state.borrow_mut());
    }

    /// Sets the phase's deadline.
    pub(crate) fn arm_deadline(self: &Rc<Self>, state: &mut State, after: Duration) {
        state.clock.set_due(self.shard.tick().after(after));
        self.arm(state);
    }

    /// The next ping, spread by ± 20 % so that connections made together do not ping together.
    pub(super) fn arm_next_ping(self: &Rc<Self>, state: &mut State) {
        if !state.is_connected() {
            return;
        }
        state.clock.stop();
        if let Some(interval) = self.settings().ping_interval {
            state.clock.set_due(self.shard.tick().after(interval.mul_f64(0.8 + 0.4 * fastrand::f64())));
        }
        self.arm(state);
    }

    /// Some input was parsed: sees to it that a stalled message is noticed.
    pub(super) fn watch_fragments(self: &Rc<Self>, state: &mut State) {
        if state.is_mid_message() {
            let (now, has_begun) = (self.shard.tick(), state.has_begun_message());
            let busy = state.busy();
            busy.heard = now;
            busy.began = if !has_begun || busy.began.is_set() { busy.began } else { now };
            self.note_held(state);
            self.arm(state);
        } else {
            self.note_held(state);
            self.forget_fragments(state);
        }
    }

    /// Reading was paused: that time is not the peer's.
    pub(super) fn begin_message_again(&self, state: &mut State) {
        if let Some(busy) = &mut state.busy
            && busy.began.is_set()
        {
            busy.began = self.shard.tick();
        }
    }

    fn forget_fragments(&self, state: &mut State) {
        if let Some(busy) = &mut state.busy
            && busy.heard.is_set()
        {
            busy.heard = Tick::NEVER;
            busy.began = Tick::NEVER;
            self.shard.buffers.pool().give_back_busy(&mut state.busy);
        }
    }

    /// Enters the earliest deadline, unless an earlier entry will look at it anyway.
    pub(crate) fn arm(self: &Rc<Self>, state: &mut State) {
        let next = self.next_deadline(state);
        if state.clock.arm(next) {
            self.shard.time.enter(next, self.token());
            self.shard.notifier.notify();
        }
    }

    fn next_deadline(&self, state: &State) -> Tick {
        let due = state.clock.due();
        if !state.is_connected() {
            return due;
        }
        due.earlier(self.drain_deadline(state)).earlier(self.fragment_deadline(state))
    }

    fn drain_deadline(&self, state: &State) -> Tick {
        let blocked = state.busy.as_ref().map_or(Tick::NEVER, |busy| busy.blocked);
        match (blocked.is_set(), self.settings().slow_client) {
            (true, SlowClient::Close) => blocked.after(self.settings().drain_timeout),
            _ => Tick::NEVER,
        }
    }

    fn fragment_deadline(&self, state: &State) -> Tick {
        if state.is_mid_message() && state.heard().is_set() && !state.read.is_paused() {
            let total = self.settings().message_timeout.map_or(Tick::NEVER, |timeout| state.began().after(timeout));
            state.heard().after(self.settings().fragment_timeout).earlier(total)
        } else {
            Tick::NEVER
        }
    }

    /// A timer entry fired: acts on every deadline that has passed, enters the next.
    pub(crate) fn on_tick(self: &Rc<Self>, entry: Tick, now: Tick) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !state.clock.fire(entry) {
            return;
        }
        let due = |at: Tick| at.is_set() && at <= now;
        if !state.is_connected() && due(state.clock.due()) {
            state.clock.stop();
            self.on_deadline(state);
        }
        if state.is_connected() && due(self.drain_deadline(state)) {
            // The kernel tells of room only once half of its queue has gone, so a client that
            // has taken less than that is slow, but reads.
            self.retry_write(state);
        }
        if state.is_connected() && due(self.drain_deadline(state)) {
            self.close_slow_client(state);
        }
        if state.is_connected() && due(self.fragment_deadline(state)) {
            self.shard.shared.metrics.closed(Cause::StalledMessage);
            self.start_close(state, CloseCode::POLICY_VIOLATION, "message not finished in time");
        }
        if state.is_connected() && due(state.clock.due()) {
            self.on_ping_due(state, now);
        }
        self.arm(state);
    }

    fn on_deadline(self: &Rc<Self>, state: &mut State) {
        match &state.phase {
            Phase::Head(_) => {
                self.shard.shared.metrics.refused(Cause::SlowHead);
                self.answer_and_hang_up(
                    state,
                    &Refusal::new(408, "the request head took too long\n"),
                    super::CloseInfo::cut(),
                );
                self.arm_deadline(state, self.settings().close_timeout);
            }
            Phase::Connecting(_) => {
                self.shard.shared.metrics.refused(Cause::SlowAccept);
                tracing::warn!(connection = %self.id(), "the handler did not accept in time: answered 504");
                self.answer_and_hang_up(
                    state,
                    &Refusal::new(504, "the handler did not accept in time\n"),
                    super::CloseInfo::cut(),
                );
                self.arm_deadline(state, self.settings().close_timeout);
            }
            Phase::Http(_) | Phase::Gone => {}
            // By RST: a peer that does not end its side leaves nothing behind in the kernel. Behind an answer of plain
            // HTTP the kernel goes on: a client that reads slowly gets all of it, one that does not is cut by the
            // kernel's own timeout.
            Phase::Open(_) | Phase::Lingering => {
                let reset = !state.ending.is_answered();
                self.finish(state, super::CloseInfo::cut());
                self.release(state, reset);
            }
        }
    }

    fn on_ping_due(self: &Rc<Self>, state: &mut State, now: Tick) {
        let timeout = self.settings().ping_timeout;
        if state.keepalive.waits() {
            // A paused connection cannot deliver its pong, and one with input that waits for its turn may
            // have; bytes of a frame that is still on its way prove life as well.
            let has_unread = state.read.is_paused() || state.read.is_ready();
            let alive = has_unread || (state.is_mid_message() && state.heard().after(timeout) > now);
            if alive {
                state.clock.set_due(now.after(timeout));
            } else {
                self.shard.shared.metrics.closed(Cause::Silence);
                self.cut(state);
            }
            return;
        }
        let payload = state.keepalive.begin();
        state.clock.set_due(now.after(timeout));
        self.write_own(state, |tail| {
            nexios_protocol::write_frame(tail, nexios_protocol::OpCode::Ping, true, false, &payload, None);
        });
    }
}

impl State {
    fn heard(&self) -> Tick {
        self.busy.as_ref().map_or(Tick::NEVER, |busy| busy.heard)
    }

    fn began(&self) -> Tick {
        self.busy.as_ref().map_or(Tick::NEVER, |busy| busy.began)
    }

    /// Returns true if the head of a data frame is there, and not all of its message.
    fn has_begun_message(&self) -> bool {
        matches!(&self.phase, Phase::Open(protocol) if protocol.is_mid_message())
    }

    fn is_mid_message(&self) -> bool {
        match &self.phase {
            Phase::Open(protocol) => protocol.is_mid_message() || protocol.is_mid_frame(),
            _ => false,
        }
    }
}
