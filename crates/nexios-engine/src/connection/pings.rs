//! Pings and pongs of a connection, and the time between them.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::sent_pings::{RoundTrip, round_trip_payload};
use super::{CloseInfo, Connection, Inner, SendError, State};

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
