//! A pair of peers closes in every order (RFC 6455 §7), and answers pings until then (§5.5).

use nexios_protocol::{
    CloseCode, CloseFrame, CloseState, Codec, Connection, Limits, OpCode, ProtocolError, Role, truncate_reason,
};

use crate::wire::*;

/// One side, what it has seen, and what it has written that is not delivered.
struct Peer {
    connection: Connection,
    seen: Vec<Seen>,
    wire: Vec<u8>,
    error: Option<ProtocolError>,
}

/// Two peers; bytes travel when a test says so.
struct Pair {
    client: Peer,
    server: Peer,
}

impl Peer {
    fn new(role: Role) -> Self {
        let connection = Connection::new(role, Some(NO_TAKEOVER));
        Peer { connection, seen: Vec::new(), wire: Vec::new(), error: None }
    }

    fn text(&mut self, text: &str) {
        self.connection.send_message(&mut self.wire, OpCode::Text, text.as_bytes());
    }

    fn close(&mut self, code: u16, reason: &str) {
        let code = CloseCode::new(code).unwrap();
        self.connection.send_close(&mut self.wire, Some(CloseFrame { code, reason }));
    }

    fn receive(&mut self, bytes: &[u8]) {
        let fed =
            feed(&mut self.connection, &Limits::default(), &mut Codec::new(), bytes, &mut self.seen, &mut self.wire);
        self.error = self.error.or(fed.err());
    }

    fn state(&self) -> CloseState {
        self.connection.close_state()
    }
}

impl Pair {
    fn new() -> Self {
        Pair { client: Peer::new(Role::Client), server: Peer::new(Role::Server) }
    }

    /// The same, seen from the other end.
    fn swapped(self) -> Self {
        Pair { client: self.server, server: self.client }
    }

    fn client_to_server(&mut self) {
        self.server.receive(&std::mem::take(&mut self.client.wire));
    }

    fn server_to_client(&mut self) {
        self.client.receive(&std::mem::take(&mut self.server.wire));
    }

    /// Until nothing more is said.
    fn settle(&mut self) {
        while !(self.client.wire.is_empty() && self.server.wire.is_empty()) {
            self.client_to_server();
            self.server_to_client();
        }
    }

    fn assert_closed(&self) {
        for peer in [&self.client, &self.server] {
            assert_eq!((peer.state(), peer.error), (CloseState::Closed, None));
            assert!(peer.connection.is_closed());
        }
    }
}

fn closed(code: u16, reason: &str) -> Seen {
    Seen::Close(Some((code, reason.to_owned())))
}

/// Runs a story told of client and server with the two roles both ways round.
fn both_ways(story: impl Fn(Pair)) {
    story(Pair::new());
    story(Pair::new().swapped());
}

#[test]
fn a_close_is_echoed_with_its_code() {
    both_ways(|mut pair| {
        pair.client.close(1001, "going");
        assert_eq!(pair.client.state(), CloseState::Sent);
        assert!(!pair.client.connection.is_closed());
        pair.client_to_server();
        assert_eq!(pair.server.state(), CloseState::Closed);
        assert_eq!(frames(&pair.server.wire), [(OpCode::Close, vec![0x03, 0xe9])]);
        pair.settle();
        pair.assert_closed();
        assert_eq!(pair.server.seen, [closed(1001, "going")]);
        assert_eq!(pair.client.seen, [closed(1001, "")]);
    });
}

#[test]
fn a_close_without_a_code_is_echoed_without_one() {
    both_ways(|mut pair| {
        pair.client.connection.send_close(&mut pair.client.wire, None);
        pair.settle();
        pair.assert_closed();
        assert_eq!(pair.server.seen, [Seen::Close(None)]);
        assert_eq!(pair.client.seen, [Seen::Close(None)]);
    });
}

#[test]
fn both_may_close_at_once() {
    both_ways(|mut pair| {
        pair.client.close(3000, "client");
        pair.server.close(3001, "server");
        pair.settle();
        pair.assert_closed();
        assert_eq!(pair.server.seen, [closed(3000, "client")]);
        assert_eq!(pair.client.seen, [closed(3001, "server")]);
    });
}

#[test]
fn what_was_sent_before_a_close_arrives_before_it() {
    both_ways(|mut pair| {
        pair.client.text("one");
        pair.client.text("two");
        pair.client.close(1000, "");
        pair.client.text("never sent");
        pair.client_to_server();
        assert_eq!(pair.server.seen, [Seen::Text("one".into()), Seen::Text("two".into()), closed(1000, "")]);
    });
}

#[test]
fn data_in_flight_towards_a_closer_is_thrown_away() {
    both_ways(|mut pair| {
        pair.server.text("in flight");
        pair.server.connection.send_fragment(&mut pair.server.wire, OpCode::Text, false, b"begun");
        pair.client.close(1000, "");
        pair.settle();
        pair.assert_closed();
        assert_eq!(pair.client.seen, [closed(1000, "")]);
    });
}

#[test]
fn a_close_is_read_between_fragments() {
    both_ways(|mut pair| {
        pair.client.connection.send_fragment(&mut pair.client.wire, OpCode::Text, false, b"begun");
        pair.client.close(1000, "");
        pair.settle();
        pair.assert_closed();
        assert_eq!(pair.server.seen, [closed(1000, "")]);
    });
}

#[test]
fn nothing_is_delivered_or_answered_after_a_close() {
    for role in [Role::Server, Role::Client] {
        let key = key_to(role);
        let close = frame(CLOSE, key, &1000u16.to_be_bytes());
        let after =
            [frame(FIN | TEXT, key, b"late"), frame(PING, key, b"late"), close.clone(), vec![0xff; 40]].concat();
        let wire = [close, after].concat();
        for pieces in [vec![&wire[..]], wire.chunks(1).collect()] {
            let read = outcome(role, Limits::default(), None, pieces);
            assert_eq!((read.seen, read.error), (vec![closed(1000, "")], None));
            assert_eq!(read.answers, [(OpCode::Close, vec![0x03, 0xe8])]);
            assert_eq!(read.state, CloseState::Closed);
        }
    }
}

#[test]
fn closing_twice_says_it_once() {
    both_ways(|mut pair| {
        pair.client.close(3000, "first");
        let once = pair.client.wire.len();
        pair.client.close(3001, "second");
        pair.client.connection.send_ping(&mut pair.client.wire, b"").unwrap();
        pair.client.connection.send_compressed(&mut pair.client.wire, OpCode::Text, &compressed(b"late"));
        assert_eq!(pair.client.wire.len(), once);
        pair.settle();
        pair.client.close(3002, "third");
        pair.server.close(3003, "fourth");
        assert!(pair.client.wire.is_empty() && pair.server.wire.is_empty());
        assert_eq!(pair.server.seen, [closed(3000, "first")]);
        pair.assert_closed();
    });
}

#[test]
fn an_error_is_told_once_with_its_code() {
    let table: [(&[u8], ProtocolError, u16); 4] = [
        (b"\x83\x00", ProtocolError::ReservedOpCode(3), 1002),
        (b"\x81\x01\xff", ProtocolError::Utf8, 1007),
        (b"\xc2\x01\xff", ProtocolError::Deflate, 1007),
        (b"\x82\x7f\x00\x00\x00\x00\x80\x00\x00\x00", ProtocolError::MessageTooBig, 1009),
    ];
    for (bytes, error, code) in table {
        let mut pair = Pair::new();
        pair.client.receive(bytes);
        assert_eq!((pair.client.error, pair.client.state()), (Some(error), CloseState::Failed));
        assert!(pair.client.connection.is_closed());
        assert_eq!(frames(&pair.client.wire), [(OpCode::Close, code.to_be_bytes().to_vec())]);
        let told = pair.client.wire.len();
        pair.client.receive(b"\x89\x00\x81\x00");
        pair.client.close(1000, "");
        pair.client.text("late");
        assert_eq!((pair.client.wire.len(), pair.client.seen.len()), (told, 0));
        pair.client_to_server();
        assert_eq!((pair.server.seen, pair.server.connection.is_closed()), (vec![closed(code, "")], true));
    }
}

#[test]
fn an_error_after_our_own_close_is_not_told() {
    let mut peer = Peer::new(Role::Client);
    peer.close(1000, "");
    peer.wire.clear();
    peer.receive(b"\x81\x01\xff");
    assert_eq!((peer.error, peer.state()), (Some(ProtocolError::Utf8), CloseState::Failed));
    assert!(peer.wire.is_empty());
}

#[test]
fn only_codes_for_the_wire_are_sent_or_taken() {
    for number in 0..=5000u16 {
        let fine = matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999);
        assert_eq!(CloseCode::new(number).map(CloseCode::get), fine.then_some(number));
        assert_eq!(CloseCode::try_from(number).is_ok(), fine);
        let read = outcome(Role::Client, Limits::default(), None, [&frame(CLOSE, None, &number.to_be_bytes())[..]]);
        let expected = if fine { vec![closed(number, "")] } else { Vec::new() };
        assert_eq!((read.seen, read.error), (expected, (!fine).then_some(ProtocolError::CloseFrame)), "{number}");
        let answer = if fine { number } else { 1002 };
        assert_eq!(read.answers, [(OpCode::Close, answer.to_be_bytes().to_vec())]);
    }
    assert_eq!(CloseCode::new(u16::MAX), None);
}

#[test]
fn a_close_frame_of_one_byte_is_an_error() {
    let read = outcome(Role::Client, Limits::default(), None, [&b"\x88\x01\x03"[..]]);
    assert_eq!(read.error, Some(ProtocolError::CloseFrame));
}

#[test]
fn a_reason_is_utf_8_of_at_most_123_bytes() {
    for reason in ["", "done", "tschüß €😀", &"a".repeat(123), &"€".repeat(41)] {
        let mut pair = Pair::new();
        pair.client.close(4000, reason);
        pair.settle();
        assert_eq!(pair.server.seen, [closed(4000, reason)]);
    }
    for reason in ["a".repeat(124), "€".repeat(42), format!("{}😀", "a".repeat(120)), "é".repeat(1000)] {
        let mut pair = Pair::new();
        pair.client.close(4000, &reason);
        pair.settle();
        let cut = truncate_reason(&reason);
        assert!((120..=123).contains(&cut.len()) && reason.starts_with(cut));
        assert_eq!(pair.server.seen, [closed(4000, cut)]);
    }
    let table: [&[u8]; 5] = [b"\xff", b"\xc3", b"ok\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf"];
    for reason in table {
        let payload = [&1000u16.to_be_bytes()[..], reason].concat();
        let read = outcome(Role::Client, Limits::default(), None, [&frame(CLOSE, None, &payload)[..]]);
        assert_eq!(read.error, Some(ProtocolError::Utf8), "{reason:02x?}");
        assert_eq!(read.answers, [(OpCode::Close, 1007u16.to_be_bytes().to_vec())]);
    }
}

#[test]
fn every_ping_is_answered_in_order_with_its_payload() {
    both_ways(|mut pair| {
        let payloads: Vec<Vec<u8>> = (0..=125).map(|len| vec![len as u8; len]).collect();
        for payload in &payloads {
            pair.client.connection.send_ping(&mut pair.client.wire, payload).unwrap();
        }
        pair.client_to_server();
        assert!(pair.server.seen.iter().cloned().eq(payloads.iter().cloned().map(Seen::Ping)));
        pair.server_to_client();
        assert!(pair.client.seen.iter().cloned().eq(payloads.into_iter().map(Seen::Pong)));
        assert!(pair.client.wire.is_empty(), "a pong is not answered");
    });
}

#[test]
fn a_ping_is_answered_while_a_message_is_fragmented() {
    both_ways(|mut pair| {
        pair.client.connection.send_fragment(&mut pair.client.wire, OpCode::Text, false, b"one, ");
        pair.client.connection.send_ping(&mut pair.client.wire, b"still there?").unwrap();
        pair.client_to_server();
        assert!(pair.server.connection.is_mid_message());
        assert_eq!(frames(&pair.server.wire), [(OpCode::Pong, b"still there?".to_vec())]);
        pair.client.connection.send_fragment(&mut pair.client.wire, OpCode::Continuation, true, b"two");
        pair.client_to_server();
        assert!(!pair.server.connection.is_mid_message() && !pair.server.connection.is_mid_frame());
        assert_eq!(pair.server.seen, [Seen::Ping(b"still there?".to_vec()), Seen::Text("one, two".into())]);
    });
}

#[test]
fn a_ping_after_our_close_is_seen_and_not_answered() {
    both_ways(|mut pair| {
        pair.server.connection.send_ping(&mut pair.server.wire, b"hello?").unwrap();
        pair.client.close(1000, "");
        let said = pair.client.wire.len();
        pair.server_to_client();
        assert_eq!((&pair.client.seen[..], pair.client.wire.len()), (&[Seen::Ping(b"hello?".to_vec())][..], said));
        pair.settle();
        pair.assert_closed();
    });
}

#[test]
fn a_control_frame_of_126_bytes_is_not_sent() {
    let mut peer = Peer::new(Role::Server);
    assert!(peer.connection.send_ping(&mut peer.wire, &[0; 126]).is_err());
    assert!(peer.connection.send_pong(&mut peer.wire, &[0; 126]).is_err());
    assert!(peer.wire.is_empty());
}
