//! The client without I/O and without a clock: a state machine that a session drives.
//!
//! The session performs [`next_step`](Core::next_step) until nothing is left, and reports the result: `dialled` or
//! `dial_failed` after `Dial`; `received` and `ended` of a connection; `handle_timeout` at
//! [`next_timeout`](Core::next_timeout). The application calls everything else.

pub(crate) mod calls;
pub(crate) mod receive;
pub(crate) mod room;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backoff::{Backoff, Window};
use crate::end::{Cause, End, Next};
use crate::error::{Closed, Error};
use crate::event::{Event, State};
use crate::feed::{Feed, Full, Mark};
use crate::frame::{Limits, ToServer, escaped};
use crate::message::Message;
use crate::position::Position;
use crate::positions::Positions;
use calls::Calls;
use room::RoomState;

/// The subprotocol.
pub(crate) const SUBPROTOCOL: &str = "nexios.v1";
const USER_AGENT: &str = concat!("nexios-client/", env!("CARGO_PKG_VERSION"), " rust");
/// Connections in a row that may end with a malformed frame.
const MALFORMED_MAX: u32 = 3;
/// Bytes that wait to be written before `send` waits.
const OUT_BYTES_MAX: usize = 256 << 10;

/// Settings of a client.
pub(crate) struct Settings {
    pub(crate) stable_after: Duration,
    pub(crate) open_timeout: Duration,
    /// False if the client parks once each address has failed, while it has never been open.
    pub(crate) retry_first: bool,
    /// The number of addresses.
    pub(crate) addresses: usize,
    /// A token, an address or the subprotocols come from a function.
    pub(crate) is_renewable: bool,
    pub(crate) chance: Arc<dyn Fn() -> f64 + Send + Sync>,
}

pub(crate) struct Core {
    settings: Settings,
    state: State,
    id: Option<String>,
    link: Link,
    closing: Option<Closing>,
    backoff: Backoff,
    /// Connections and attempts that have ended, without those that are repeated with another token: addresses take
    /// turns.
    turn: usize,
    /// Connections in a row that ended with a malformed frame.
    malformed: u32,
    /// True if a fresh token was fetched since the last connection that held.
    is_renewed: bool,
    calls: Calls,
    /// Limits of the last welcome.
    limits: Limits,
    positions: Positions,
    rooms: HashMap<String, RoomState>,
    /// Times at which rooms are joined again, after a passing refusal.
    retries: BTreeSet<(Instant, String)>,
    tickets: u64,
    steps: VecDeque<Step>,
    out_bytes: usize,
    events: Arc<Feed<Event>>,
    first: Option<First>,
}

/// The way to report the first connection, or its failure.
pub(crate) type First = oneshot::Sender<Result<(), Closed>>;

/// The connection, as far as it is.
#[derive(Clone, Copy, Debug)]
enum Link {
    /// No attempt is due.
    Idle,
    /// The next attempt waits for rooms that are behind.
    Held,
    Waiting {
        until: Instant,
    },
    Dialling {
        until: Instant,
    },
    /// `hello` is sent.
    Greeting {
        until: Instant,
    },
    Open {
        since: Instant,
    },
}

/// The server's `closing`.
struct Closing {
    end: End,
    window: Option<Window>,
    until: Instant,
}

/// Something for the session to do.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Open a connection, to the address whose turn it is.
    Dial { turn: usize },
    /// Send a message on the connection.
    Send(Message),
    /// End the connection with a Close frame.
    Close { code: u16, reason: String },
    /// Drop the connection, or the attempt to make one.
    Cut,
}

impl Core {
    pub(crate) fn new(settings: Settings, positions: Positions, now: Instant) -> Self {
        let mut core = Core {
            settings,
            state: State::Connecting,
            id: None,
            link: Link::Idle,
            closing: None,
            backoff: Backoff::default(),
            turn: 0,
            malformed: 0,
            is_renewed: false,
            calls: Calls::new(),
            limits: Limits::default(),
            positions,
            rooms: HashMap::new(),
            retries: BTreeSet::new(),
            tickets: 0,
            steps: VecDeque::new(),
            out_bytes: 0,
            events: Arc::new(Feed::new(None)),
            first: None,
        };
        core.dial(now);
        core
    }

    /// Reports the result of the first attempts.
    pub(crate) fn wait_for_first(&mut self, first: First) {
        self.first = Some(first);
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) fn turn(&self) -> usize {
        self.turn
    }

    pub(crate) fn events(&self) -> Arc<Feed<Event>> {
        self.events.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Returns true if so much waits to be written that more should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.out_bytes > OUT_BYTES_MAX
    }

    fn chance(&self) -> f64 {
        (self.settings.chance)()
    }

    // --- what the application does

    /// Sends an application's message; `false` if there is no connection.
    pub(crate) fn send(&mut self, message: Message) -> Result<bool, Error> {
        let message = escaped(message);
        self.calls.check_size(message.len())?;
        let is_open = self.state == State::Open;
        if is_open {
            self.push_out(message);
        }
        Ok(is_open)
    }

    /// Loses the connection; `is_away`: until `reconnect`.
    pub(crate) fn drop_connection(&mut self, now: Instant, is_away: bool) {
        match self.link {
            Link::Dialling { .. } | Link::Greeting { .. } | Link::Open { .. } => {
                self.steps.push_back(Step::Cut);
                self.end(now, End::lost("dropped"), is_away);
            }
            _ if is_away => self.link = Link::Idle,
            _ => {}
        }
    }

    /// Makes an attempt now.
    pub(crate) fn reconnect(&mut self, now: Instant) {
        if self.state == State::Parked {
            self.state = State::Reconnecting;
            self.backoff.reset();
            (self.malformed, self.is_renewed) = (0, false);
        }
        let is_between = matches!(self.link, Link::Idle | Link::Held | Link::Waiting { .. });
        if self.state == State::Reconnecting && is_between {
            self.attempt(now);
        }
    }

    /// Closes for good.
    pub(crate) fn close(&mut self) {
        if self.is_closed() {
            return;
        }
        let normal = Closed { code: 1000, reason: String::new(), kind: crate::CloseKind::Normal, retry: false };
        self.steps.push_back(match self.link {
            Link::Greeting { .. } | Link::Open { .. } => Step::Close { code: normal.code, reason: String::new() },
            _ => Step::Cut,
        });
        (self.state, self.link, self.closing) = (State::Closed, Link::Idle, None);
        self.calls.closed();
        self.tell(Event::Close(normal));
        self.events.close();
        self.close_rooms();
    }

    pub(crate) fn take_position_changes(&mut self) -> Vec<(String, Option<Position>)> {
        self.positions.take_changes()
    }

    /// Reports an event of the client. Without a consumer, events over the limit replace the waiting ones.
    pub(crate) fn tell(&mut self, event: Event) {
        let bytes = if let Event::Message(message) = &event { message.len() } else { 0 };
        if let Event::Error(error) = &event
            && !self.events.has_consumers()
        {
            tracing::warn!(%error, "an error that no handler takes");
        }
        let Err(Full) = self.events.push(event, Mark::Nothing, bytes) else { return };
        if !self.events.has_consumers() {
            self.events.clear();
        }
        self.events.merge(|last| match last {
            Some(Event::Gap { missed: Some(missed) }) => {
                *missed = missed.saturating_add(1);
                None
            }
            _ => Some(Event::Gap { missed: Some(1) }),
        });
    }

    // --- what the session does

    /// Returns what is to be done next.
    pub(crate) fn next_step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        if let Step::Send(message) = &step {
            self.out_bytes -= message.len();
        }
        Some(step)
    }

    /// Returns true if only messages are to be sent, which may wait for those before them.
    pub(crate) fn may_wait(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Send(_)))
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let link = match self.link {
            Link::Waiting { until } | Link::Dialling { until } | Link::Greeting { until } => Some(until),
            Link::Idle | Link::Held | Link::Open { .. } => None,
        };
        let closing = self.closing.as_ref().map(|closing| closing.until);
        let retry = self.retries.first().map(|(at, _)| *at);
        [link, closing, retry, self.calls.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self.link {
            Link::Waiting { until } if until <= now => self.attempt(now),
            Link::Dialling { until } | Link::Greeting { until } if until <= now => {
                self.cut(now, End::lost("the server did not answer in time"));
            }
            _ => {}
        }
        if self.closing.as_ref().is_some_and(|closing| closing.until <= now) {
            self.cut(now, End::lost("the server did not close"));
        }
        self.calls.handle_timeout(now);
        self.retry_rooms(now);
        self.flush();
    }

    /// Handles a handshake that selected this subprotocol.
    pub(crate) fn dialled(&mut self, now: Instant, subprotocol: Option<&str>) {
        let Link::Dialling { until } = self.link else { return };
        if subprotocol != Some(SUBPROTOCOL) {
            let reason = format!("the server does not speak {SUBPROTOCOL}");
            let end = End { code: 1002, reason: reason.clone(), cause: Cause::NotSpoken };
            self.steps.push_back(Step::Close { code: 1002, reason });
            return self.end(now, end, false);
        }
        self.link = Link::Greeting { until };
        let hello = self.hello();
        self.push_out(hello);
    }

    /// Handles an attempt that failed.
    pub(crate) fn dial_failed(&mut self, now: Instant, end: End) {
        if matches!(self.link, Link::Dialling { .. }) {
            self.end(now, end, false);
        }
    }

    /// Handles the end of the connection.
    pub(crate) fn ended(&mut self, now: Instant, end: End) {
        if self.is_connected() {
            self.end(now, end, false);
        }
    }

    fn is_connected(&self) -> bool {
        matches!(self.link, Link::Greeting { .. } | Link::Open { .. })
    }

    // --- between the two

    /// Makes an attempt, unless rooms are behind: what comes would not fit again.
    fn attempt(&mut self, now: Instant) {
        match self.rooms.values().any(|room| room.is_behind) {
            true => self.link = Link::Held,
            false => self.dial(now),
        }
    }

    fn resume_if_held(&mut self, now: Instant) {
        if matches!(self.link, Link::Held) && !self.rooms.values().any(|room| room.is_behind) {
            self.dial(now);
        }
    }

    fn dial(&mut self, now: Instant) {
        self.link = Link::Dialling { until: now + self.settings.open_timeout };
        self.steps.push_back(Step::Dial { turn: self.turn });
    }

    fn hello(&self) -> Message {
        let empty = ToServer::Hello { rooms: Default::default(), user_agent: USER_AGENT };
        let mut received: Vec<_> =
            self.rooms.iter().filter_map(|(name, room)| Some((name.clone(), room.at.clone()?))).collect();
        received.sort_by(|(one, _), (other, _)| one.cmp(other));
        let bytes_max = self.limits.hello_bytes().saturating_sub(empty.header().len());
        let rooms = self.positions.for_hello(received, bytes_max, self.limits.hello_rooms());
        ToServer::Hello { rooms, user_agent: USER_AGENT }.with(&Message::empty())
    }

    fn opened(&mut self, now: Instant, id: String, window: Option<Window>, limits: Limits) {
        self.link = Link::Open { since: now };
        self.state = State::Open;
        self.id = Some(id.clone());
        self.backoff.welcome(window);
        self.limits = limits;
        self.calls.set_limits(limits);
        self.resume_rooms();
        self.flush();
        if let Some(first) = self.first.take() {
            // The caller may have given up.
            let _ = first.send(Ok(()));
        }
        self.tell(Event::Open { id });
    }

    /// Drops the connection.
    fn cut(&mut self, now: Instant, end: End) {
        self.steps.push_back(Step::Cut);
        self.end(now, end, false);
    }

    fn end(&mut self, now: Instant, end: End, is_away: bool) {
        let end = match self.closing.take() {
            Some(closing) => {
                self.backoff.closing(closing.window);
                closing.end
            }
            None => end,
        };
        self.count(now, &end);
        self.link = Link::Idle;
        // A message of this connection must not be sent on another, and nothing waits behind it.
        self.steps.retain(|step| !matches!(step, Step::Send(_)));
        self.out_bytes = 0;
        if end.is_rejection() {
            self.calls.rejected(end.code, &end.reason);
        }
        self.calls.disconnected();
        self.rooms_disconnected();
        self.follow(now, end, is_away);
    }

    /// Counts connections that did not hold.
    fn count(&mut self, now: Instant, end: &End) {
        let is_held = matches!(self.link, Link::Open { since } if now >= since + self.settings.stable_after);
        if is_held {
            self.backoff.reset();
            self.is_renewed = false;
        }
        self.malformed = match (end.cause, self.link) {
            (Cause::Malformed, _) if is_held => 1,
            (Cause::Malformed, _) => self.malformed + 1,
            (_, Link::Open { .. }) => 0,
            _ => self.malformed,
        };
    }

    /// Makes another attempt later, or parks.
    fn follow(&mut self, now: Instant, end: End, is_away: bool) {
        let chance = self.settings.chance.clone();
        let next = end.next();
        let delay = match next {
            _ if self.malformed >= MALFORMED_MAX => None,
            Next::Park => None,
            Next::Retry { .. } if !is_away && self.is_first_round_over() => None,
            Next::Authorize if self.is_renewed || !self.settings.is_renewable => None,
            Next::Authorize => {
                self.is_renewed = true;
                Some(self.backoff.delay_at_once(|| chance()))
            }
            Next::Retry { more, least } => Some((self.backoff.delay(|| chance()) + more).max(least)),
        };
        let (kind, retry) = (end.kind(), delay.is_some());
        // The address that refused a token is tried with another one.
        if !(retry && next == Next::Authorize) {
            self.log_first_failure(&end);
            self.turn = self.turn.wrapping_add(1);
        }
        self.state = if retry { State::Reconnecting } else { State::Parked };
        let End { code, reason, .. } = end;
        let closed = Closed { code, reason: reason.clone(), kind, retry };
        self.fail_first(&closed);
        self.tell(Event::Close(closed));
        match delay {
            Some(_) if is_away => {}
            Some(delay) => self.wait(now, delay),
            None => {
                let shown = nexios_protocol::escaped(&reason);
                tracing::warn!(code, reason = %shown, %kind, "parked: there is no attempt until reconnect()");
                if next == Next::Authorize {
                    self.tell(Event::Unauthorized { code, reason: reason.clone() });
                }
                self.tell(Event::Parked { code, reason, kind });
            }
        }
    }

    /// Returns true if each address has failed once, where the application wants no more of that.
    fn is_first_round_over(&self) -> bool {
        let is_first = !self.settings.retry_first && self.id.is_none();
        // An attempt with another token is one at the same address.
        is_first && self.backoff.attempt() as usize + 1 - usize::from(self.is_renewed) >= self.settings.addresses
    }

    /// Fails `connect()` if there is no further attempt.
    fn fail_first(&mut self, closed: &Closed) {
        if let Some(first) = self.first.take_if(|_| !closed.retry) {
            // The caller may have given up.
            let _ = first.send(Err(closed.clone()));
        }
    }

    fn wait(&mut self, now: Instant, delay: Duration) {
        self.link = Link::Waiting { until: now + delay };
        self.tell(Event::Reconnecting { attempt: self.backoff.attempt(), delay });
    }

    fn log_first_failure(&self, end: &End) {
        if self.id.is_none() && self.turn == 0 {
            let reason = nexios_protocol::escaped(&end.reason);
            tracing::warn!(code = end.code, %reason, "the first attempt to connect has failed");
        }
    }

    /// Sends the calls that may be sent.
    fn flush(&mut self) {
        if !matches!(self.link, Link::Open { .. }) {
            return;
        }
        while let Some(frame) = self.calls.next_frame() {
            self.push_out(frame);
        }
    }

    fn push_out(&mut self, message: Message) {
        self.out_bytes += message.len();
        self.steps.push_back(Step::Send(message));
    }
}
