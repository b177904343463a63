//! Pings that were sent, and the pongs that acknowledge them.
//!
//! A pong acknowledges the ping whose payload it carries and all pings before that: a peer may
//! answer only the newest (RFC 6455 §5.5.3).

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

/// Pings whose pongs are expected; of more, the oldest are not expected any longer.
const SENT_PINGS_MAX: usize = 128;

/// The application's pings without a pong, in the order in which they were sent. The keepalive's
/// is not among them, so that an idle connection keeps nothing.
#[derive(Default)]
pub(super) struct SentPings {
    waiting: VecDeque<SentPing>,
    pub(super) round_trips: Vec<RoundTrip>,
}

struct SentPing {
    payload: Box<[u8]>,
    /// The keepalive's ping that went before it and had no pong yet.
    behind_keepalive: Option<u8>,
}

/// Somebody waits for the pong of one ping.
pub(super) struct RoundTrip {
    pub(super) id: u64,
    pub(super) sent: Instant,
    pub(super) answered: Option<Instant>,
    pub(super) waker: Waker,
}

impl SentPings {
    pub(super) fn note(&mut self, payload: &[u8], behind_keepalive: Option<u8>) {
        if self.waiting.len() == SENT_PINGS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(SentPing { payload: payload.into(), behind_keepalive });
    }

    /// Acknowledges the oldest ping with this payload and all before it. Returns the keepalive's
    /// ping that went before them, if any; `None` if no ping has this payload.
    pub(super) fn acknowledge(&mut self, payload: &[u8], now: Instant) -> Option<Option<u8>> {
        let index = self.waiting.iter().position(|ping| *ping.payload == *payload)?;
        let behind = self.waiting[index].behind_keepalive;
        self.acknowledge_first(index + 1, now);
        Some(behind)
    }

    /// Acknowledges the pings that were sent before this one of the keepalive.
    pub(super) fn acknowledge_before_keepalive(&mut self, serial: u8, now: Instant) {
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

pub(super) fn round_trip_payload(id: u64) -> [u8; 12] {
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
