//! The keepalive of a connection: pings that the engine sends by itself, told apart by a serial.

/// First bytes of the keepalive's ping payload.
const PREFIX: [u8; 2] = *b"ka";
const WAITS: u8 = 1 << 7;

/// The last ping of the keepalive, and whether it waits for its pong: in one byte.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Keepalive(u8);

impl Keepalive {
    /// Another ping goes out; returns its payload.
    pub(super) fn begin(&mut self) -> [u8; 3] {
        self.0 = (self.serial() + 1) & !WAITS | WAITS;
        self.payload()
    }

    /// The pong is there.
    pub(super) fn end(&mut self) {
        self.0 &= !WAITS;
    }

    /// Returns true while a ping waits for its pong.
    pub(super) fn waits(self) -> bool {
        self.0 & WAITS != 0
    }

    /// Returns the serial of the ping that waits for its pong.
    pub(super) fn waiting(self) -> Option<u8> {
        self.waits().then_some(self.serial())
    }

    /// Returns true if this is the pong of the ping that waits for it.
    pub(super) fn is_answered_by(self, payload: &[u8]) -> bool {
        self.waits() && payload == self.payload()
    }

    fn serial(self) -> u8 {
        self.0 & !WAITS
    }

    fn payload(self) -> [u8; 3] {
        [PREFIX[0], PREFIX[1], self.serial()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pong_of_the_last_ping_answers_it() {
        let mut keepalive = Keepalive::default();
        assert!(!keepalive.is_answered_by(b"ka\0"));
        let first = keepalive.begin();
        assert_eq!((first, keepalive.waiting()), (*b"ka\x01", Some(1)));
        assert!(keepalive.is_answered_by(&first));
        keepalive.end();
        assert!(!keepalive.is_answered_by(&first) && keepalive.waiting().is_none());
        let second = keepalive.begin();
        assert!(!keepalive.is_answered_by(&first) && keepalive.is_answered_by(&second));
    }

    #[test]
    fn serials_begin_again() {
        let mut keepalive = Keepalive::default();
        let serials: Vec<u8> = (0..129).map(|_| keepalive.begin()[2]).collect();
        assert_eq!((serials[0], serials[126], serials[127], serials[128]), (1, 127, 0, 1));
    }
}
