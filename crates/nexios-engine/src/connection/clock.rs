//! A connection's deadlines, all in one place: one timer entry serves them all.

use std::rc::Rc;
use std::time::Duration;

use nexios_protocol::CloseCode;

use super::{Flag, Inner, Phase, Refusal, State};
use crate::metrics::Cause;
use crate::settings::SlowClient;
use crate::timer::Tick;

/// First bytes of the keepalive's ping payload.
const KEEPALIVE: [u8; 2] = *b"ka";

/// Points in time that matter to one connection.
#[derive(Default)]
pub(crate) struct Clock {
    /// The timer entry that counts.
    armed: Tick,
    /// The phase's own deadline: head, accept, close.
    deadline: Tick,
    /// The next ping, or the end of patience for its pong.
    ping: Tick,
    /// Since when the socket has taken nothing.
    blocked: Tick,
    /// The last byte in.
    heard: Tick,
    ping_serial: u16,
    waits_for_pong: bool,
}

impl Clock {
    pub(crate) fn new(now: Tick, head_timeout: Duration) -> Self {
        Clock { deadline: now.after(head_timeout), ..Clock::default() }
    }

    pub(super) fn deadline(&mut self, at: Tick) {
        self.deadline = at;
    }

    pub(super) fn heard(&mut self, now: Tick) {
        self.heard = now;
    }

    pub(super) fn blocked_at(&mut self, now: Tick) {
        self.blocked = now;
    }

    pub(super) fn unblocked(&mut self) {
        self.blocked = Tick::NEVER;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_set()
    }

    fn keepalive_payload(&self) -> [u8; 4] {
        let [a, b] = self.ping_serial.to_be_bytes();
        [KEEPALIVE[0], KEEPALIVE[1], a, b]
    }

    /// Whether this pong answers the keepalive's ping.
    pub(super) fn keepalive_answered(&mut self, payload: &[u8]) -> bool {
        let answered = self.waits_for_pong && payload == self.keepalive_payload();
        self.waits_for_pong &= !answered;
        answered
    }
}

impl Inner {
    /// The first timer entry of a new connection.
    pub(crate) fn arm_first(self: &Rc<Self>) {
        self.arm(&mut self.state.borrow_mut());
    }

    /// Sets the phase's deadline.
    pub(crate) fn arm_deadline(self: &Rc<Self>, state: &mut State, after: Duration) {
        state.clock.deadline = self.shard.tick().after(after);
        self.arm(state);
    }

    pub(super) fn arm_keepalive(self: &Rc<Self>, state: &mut State) {
        state.clock.heard = self.shard.tick();
        self.arm_next_ping(state);
    }

    /// The next ping, spread by ± 20 % so that connections made together do not ping together.
    pub(super) fn arm_next_ping(self: &Rc<Self>, state: &mut State) {
        state.clock.waits_for_pong = false;
        state.clock.ping = Tick::NEVER;
        if let Some(interval) = self.settings().ping_interval {
            state.clock.ping = self.shard.tick().after(interval.mul_f64(0.8 + 0.4 * fastrand::f64()));
        }
        self.arm(state);
    }

    /// Sees to it that a stalled message is noticed.
    pub(super) fn watch_fragments(self: &Rc<Self>, state: &mut State) {
        if state.is_mid_message() {
            self.arm(state);
        }
    }

    /// Enters the earliest deadline, unless an earlier entry will look at it anyway.
    pub(crate) fn arm(self: &Rc<Self>, state: &mut State) {
        let next = self.next_deadline(state);
        let clock = &mut state.clock;
        if next.is_set() && (!clock.armed.is_set() || next < clock.armed) {
            clock.armed = next;
            self.shard.timers.borrow_mut().insert(next, self.token());
            self.shard.notifier.notify();
        }
    }

    fn next_deadline(&self, state: &State) -> Tick {
        let clock = &state.clock;
        let mut next = clock.deadline;
        if state.is_connected() {
            next = next.earlier(clock.ping).earlier(self.drain_deadline(state)).earlier(self.fragment_deadline(state));
        }
        next
    }

    fn drain_deadline(&self, state: &State) -> Tick {
        match (state.clock.is_blocked(), self.settings().slow_client) {
            (true, SlowClient::Close) => state.clock.blocked.after(self.settings().drain_timeout),
            _ => Tick::NEVER,
        }
    }

    fn fragment_deadline(&self, state: &State) -> Tick {
        if state.is_mid_message() && !state.flags.has(Flag::Paused) {
            state.clock.heard.after(self.settings().fragment_timeout)
        } else {
            Tick::NEVER
        }
    }

    /// A timer entry fired: acts on every deadline that has passed, enters the next.
    pub(crate) fn on_tick(self: &Rc<Self>, entry: Tick, now: Tick) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.clock.armed != entry {
            return;
        }
        state.clock.armed = Tick::NEVER;
        let due = |at: Tick| at.is_set() && at <= now;
        if due(state.clock.deadline) {
            state.clock.deadline = Tick::NEVER;
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
        if state.is_connected() && due(state.clock.ping) {
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
                tracing::warn!(id = %self.id(), "the handler did not accept in time: answered 504");
                self.answer_and_hang_up(
                    state,
                    &Refusal::new(504, "the handler did not accept in time\n"),
                    super::CloseInfo::cut(),
                );
                self.arm_deadline(state, self.settings().close_timeout);
            }
            Phase::Http(_) | Phase::Gone => {}
            // By RST: a peer that does not end its side leaves nothing behind in the kernel.
            Phase::Open(_) | Phase::Lingering => {
                self.finish(state, super::CloseInfo::cut());
                self.release(state, true);
            }
        }
    }

    fn on_ping_due(self: &Rc<Self>, state: &mut State, now: Tick) {
        let timeout = self.settings().ping_timeout;
        if state.clock.waits_for_pong {
            // A paused connection cannot deliver its pong; bytes of a frame that is still
            // on its way prove life as well.
            let alive =
                state.flags.has(Flag::Paused) || (state.is_mid_message() && state.clock.heard.after(timeout) > now);
            if alive {
                state.clock.ping = now.after(timeout);
            } else {
                self.shard.shared.metrics.closed(Cause::Silence);
                self.cut(state);
            }
            return;
        }
        state.clock.ping_serial = state.clock.ping_serial.wrapping_add(1);
        state.clock.waits_for_pong = true;
        state.clock.ping = now.after(timeout);
        let payload = state.clock.keepalive_payload();
        self.write_own(state, |tail| {
            nexios_protocol::write_frame(tail, nexios_protocol::OpCode::Ping, true, false, &payload, None);
        });
    }
}

impl State {
    fn is_mid_message(&self) -> bool {
        match &self.phase {
            Phase::Open(protocol) => protocol.is_mid_message() || protocol.is_mid_frame(),
            _ => false,
        }
    }
}
