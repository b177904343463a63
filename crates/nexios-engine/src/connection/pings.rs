//! Pings that were sent, and the pongs that acknowledge them.
//!
//! A pong acknowledges the ping whose payload it carries and all pings before that: a peer may
//! answer only the newest (RFC 6455 §5.5.3).

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{CloseInfo, Connection, Inner, SendError, State};

/// Pings whose pongs are expected; of more, the oldest are not expected any longer.
const SENT_PINGS_MAX: usize = 128;

/// The application's pings without a pong, in the order in which they were sent. The keepalive's
/// is not among them, so that an idle connection keeps nothing.
#[derive(Default)]
pub(super) struct SentPings {
    waiting: VecDeque<SentPing>,
    round_trips: Vec<RoundTrip>,
}

struct SentPing {
    payload: Box<[u8]>,
    /// The keepalive's ping that went before it and had no pong yet.
    behind_keepalive: Option<u8>,
}

/// Somebody waits for the pong of one ping.
struct RoundTrip {
    id: u64,
    sent: Instant,
    answered: Option<Instant>,
    waker: Waker,
}

impl SentPings {
    fn note(&mut self, payload: &[u8], behind_keepalive: Option<u8>) {
        if self.waiting.len() == SENT_PINGS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(SentPing { payload: payload.into(), behind_keepalive });
    }

    /// Acknowledges the oldest ping with this payload and all before it. Returns the keepalive's
    /// ping that went before them, if any; `None` if no ping has this payload.
    fn acknowledge(&mut self, payload: &[u8], now: Instant) -> Option<Option<u8>> {
        let index = self.waiting.iter().position(|ping| *ping.payload == *payload)?;
        let behind = self.waiting[index].behind_keepalive;
        self.acknowledge_first(index + 1, now);
        Some(behind)
    }

    /// Acknowledges the pings that were sent before this one of the keepalive.
    fn acknowledge_before_keepalive(&mut self, serial: u8, now: Instant) {
        let count = self.waiting.iter().take_while(|ping| ping.behind_keepalive != Some(serial)).count();
        self.acknowledge_first(count, now);
    }

    fn acknowledge_first(&mut self, count: usize, now: Instant) {
        for ping in self.waiting.drain(..count) {
            let trip = self.round_trips.iter_mut().find(|trip| round_trip_payload(trip.id)[..] == *ping.payload);
            if let Some(trip) = trip {
                trip.answered = Some(now);
                trip.waker.wake_by_ref();
            }
        }
    }

    pub(super) fn wake_round_trips(&self) {
        self.round_trips.iter().for_each(|trip| trip.waker.wake_by_ref());
    }
}

impl Connection {
    /// Sends a ping on the first poll, resolves to the time until a pong acknowledges it.
    pub fn poll_round_trip(&self, cx: &mut Context<'_>, id: &mut Option<u64>) -> Poll<Result<Duration, SendError>> {
        let Some(id) = *id else {
            let fresh = fastrand::u64(..);
            *id = Some(fresh);
            self.0.write_ping(&round_trip_payload(fresh))?;
            self.0.note_ping(&round_trip_payload(fresh));
            let trip = RoundTrip { id: fresh, sent: self.0.shard.now(), answered: None, waker: cx.waker().clone() };
            self.0.state.borrow_mut().rare().sent_pings.round_trips.push(trip);
            return Poll::Pending;
        };
        let mut state = self.0.state.borrow_mut();
        let closed = state.close_info().cloned();
        let trips = &mut state.rare().sent_pings.round_trips;
        let Some(index) = trips.iter().position(|trip| trip.id == id) else {
            return Poll::Ready(Err(SendError::Closed(closed.unwrap_or_else(CloseInfo::cut))));
        };
        match (trips[index].answered, closed) {
            (Some(answered), _) => {
                let trip = trips.swap_remove(index);
                Poll::Ready(Ok(answered.saturating_duration_since(trip.sent)))
            }
            (None, Some(info)) => {
                trips.swap_remove(index);
                Poll::Ready(Err(SendError::Closed(info)))
            }
            (None, None) => {
                trips[index].waker.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }

    /// Gives up a round trip.
    pub fn end_round_trip(&self, id: Option<u64>) {
        if let Some(rare) = self.0.state.borrow_mut().rare_if_any() {
            rare.sent_pings.round_trips.retain(|trip| Some(trip.id) != id);
        }
    }
}

impl Inner {
    /// Expects the pong of a ping of the application that is in the outbox now.
    pub(super) fn note_ping(&self, payload: &[u8]) {
        let mut state = self.state.borrow_mut();
        let behind = state.keepalive.waiting();
        state.rare().sent_pings.note(payload, behind);
    }

    pub(super) fn on_ping(&self, state: &mut State, payload: Vec<u8>) {
        state.rare().pings.push(payload);
    }

    /// Takes a pong. Returns false if it answers no ping that was sent.
    pub(super) fn on_pong(self: &Rc<Self>, state: &mut State, payload: Vec<u8>) -> bool {
        let now = self.shard.now();
        if state.keepalive.is_answered_by(&payload) {
            let serial = state.keepalive.waiting();
            if let (Some(serial), Some(rare)) = (serial, state.rare_if_any()) {
                rare.sent_pings.acknowledge_before_keepalive(serial, now);
            }
            self.on_keepalive_answered(state);
            return true;
        }
        let rare = state.rare();
        let is_round_trip =
            rare.sent_pings.round_trips.iter().any(|trip| round_trip_payload(trip.id)[..] == payload[..]);
        let acknowledged = rare.sent_pings.acknowledge(&payload, now);
        if !is_round_trip {
            rare.pongs.push(payload);
        }
        if let Some(Some(serial)) = acknowledged
            && state.keepalive.waiting() == Some(serial)
        {
            self.on_keepalive_answered(state);
        }
        acknowledged.is_some()
    }

    fn on_keepalive_answered(self: &Rc<Self>, state: &mut State) {
        state.keepalive.end();
        self.arm_next_ping(state);
    }
}

fn round_trip_payload(id: u64) -> [u8; 12] {
    let mut payload = *b"rtt:\0\0\0\0\0\0\0\0";
    payload[4..].copy_from_slice(&id.to_be_bytes());
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(pings: &SentPings) -> Vec<&[u8]> {
        pings.waiting.iter().map(|ping| &*ping.payload).collect()
    }

    fn sent(payloads: &[(&str, Option<u8>)]) -> SentPings {
        let mut pings = SentPings::default();
        payloads.iter().for_each(|(payload, behind)| pings.note(payload.as_bytes(), *behind));
        pings
    }

    #[test]
    fn a_pong_acknowledges_its_ping_and_all_before_it() {
        let mut pings = sent(&[("a", None), ("b", None), ("c", None)]);
        assert_eq!(pings.acknowledge(b"b", Instant::now()), Some(None));
        assert_eq!(payloads(&pings), [b"c"]);
        assert_eq!(pings.acknowledge(b"a", Instant::now()), None, "it is acknowledged already");
    }

    #[test]
    fn of_equal_payloads_the_oldest_is_acknowledged() {
        let mut pings = sent(&[("", None), ("", None), ("x", None)]);
        assert_eq!(pings.acknowledge(b"", Instant::now()), Some(None));
        assert_eq!(payloads(&pings), [&b""[..], b"x"]);
    }

    #[test]
    fn the_keepalives_pong_acknowledges_only_what_went_before_its_ping() {
        let mut pings = sent(&[("before", None), ("of an older one", Some(6)), ("behind", Some(7))]);
        pings.acknowledge_before_keepalive(7, Instant::now());
        assert_eq!(payloads(&pings), [b"behind"]);
        assert_eq!(pings.acknowledge(b"behind", Instant::now()), Some(Some(7)));
    }

    #[test]
    fn pings_that_are_never_answered_do_not_pile_up() {
        let mut pings = SentPings::default();
        (0..1000).for_each(|n: u32| pings.note(&n.to_be_bytes(), None));
        assert_eq!(pings.waiting.len(), SENT_PINGS_MAX);
    }
}
