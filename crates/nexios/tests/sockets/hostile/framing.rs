//! Frames that no client sends by mistake.

use nexios::serve::Cause;
use nexios_protocol::Codec;

use crate::site::Site;
use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, Seen, TEXT, Wire, close, frame, header};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// Each of these fails its connection with the code, is counted, and what follows it on the
/// connection is not looked at.
fn check(attacks: &[(&str, Vec<u8>)], code: u16) {
    check_with("", attacks, code, Cause::Protocol);
}

fn check_with(lines: &str, attacks: &[(&str, Vec<u8>)], code: u16, cause: Cause) {
    let site = Site::echo(|_| {});
    for (index, (name, bytes)) in attacks.iter().enumerate() {
        let mut wire = site.dial().shake_hands_with("/", lines);
        wire.say([bytes.as_slice(), &frame(FIN | TEXT, "next")].concat());
        site.assert_others_served();
        let Seen::Close(seen, _) = wire.next() else { panic!("{name}: no Close frame") };
        assert_eq!(seen, code, "{name}");
        wire.hang_up();
        assert_eq!(wire.next(), Seen::Fin, "{name}");
        site.assert_causes(&[(cause, index as u64 + 1)]);
    }
    site.await_connections(1);
}

pub(super) fn deflated(payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Codec::new().compress(15, 9, payload, &mut packed);
    packed
}

#[test]
fn length_tricks_are_1002() {
    let raw = |bytes: &[u8]| [bytes, &[0; 4]].concat();
    let top_bit = raw(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    let all_bits = raw(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let minus_one_after_a_fragment =
        [frame(BINARY, "a"), raw(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])];
    check(
        &[
            ("the top bit", top_bit),
            ("all bits", all_bits),
            ("wraps around the first fragment", minus_one_after_a_fragment.concat()),
            ("7 bits in 16", raw(&[0x82, 0xfe, 0, 125])),
            ("16 bits in 64", raw(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff])),
        ],
        1002,
    );
}

#[test]
fn a_message_over_the_limit_is_1009_at_its_header() {
    let announce = |first, len: u64| [header(first, len), vec![0; 4]].concat();
    let first = frame(BINARY, vec![0; 1 << 19]);
    check(
        &[
            ("one byte more", announce(FIN | BINARY, (1 << 20) + 1)),
            ("nearly all bits", announce(FIN | BINARY, u64::MAX >> 1)),
            ("in a second fragment", [first, announce(FIN | CONTINUATION, (1 << 19) + 1)].concat()),
            ("just short of wrapping around", [frame(BINARY, "ab"), announce(CONTINUATION, u64::MAX >> 1)].concat()),
        ],
        1009,
    );
}

#[test]
fn tiny_fragments_are_1008() {
    let many = |payload: &str| {
        let rest = frame(CONTINUATION, payload).repeat(1024);
        [frame(TEXT, payload), rest].concat()
    };
    check(&[("of one byte", many("a")), ("empty", many(""))], 1008);
}

#[test]
fn a_deflate_bomb_is_1009_and_the_same_without_a_bomb_passes() {
    let bomb = deflated(&vec![0; 64 << 20]);
    assert!(bomb.len() < 128 << 10, "{} bytes", bomb.len());
    let (a, b) = bomb.split_at(100);
    let split = [frame(RSV1 | BINARY, a), frame(FIN | CONTINUATION, b)].concat();
    check_with(OFFER, &[("one frame", frame(FIN | RSV1 | BINARY, &bomb)), ("two", split)], 1009, Cause::Protocol);
    let site = Site::echo(|_| {});
    let mut wire = site.dial().shake_hands_with("/", OFFER);
    wire.say(frame(FIN | RSV1 | BINARY, deflated(&vec![0; 1 << 20])));
    assert_eq!(wire.next(), Seen::Binary(vec![0; 1 << 20]));
}

#[test]
fn what_is_no_deflate_stream_is_1007() {
    let garbage = frame(FIN | RSV1 | BINARY, [0xff; 40]);
    check_with(OFFER, &[("garbage", garbage)], 1007, Cause::Protocol);
}

#[test]
fn rsv1_where_nothing_compressed_begins_is_1002() {
    check(&[("not negotiated", frame(FIN | RSV1 | TEXT, "a")), ("on a ping", frame(FIN | RSV1 | PING, ""))], 1002);
    let continuation = [frame(RSV1 | TEXT, deflated(b"a")), frame(FIN | RSV1 | CONTINUATION, "")].concat();
    let attacks = [
        ("on a continuation", continuation),
        ("on a ping", frame(FIN | RSV1 | PING, "")),
        ("on a Close", frame(FIN | RSV1 | CLOSE, "")),
    ];
    check_with(OFFER, &attacks, 1002, Cause::Protocol);
}

#[test]
fn malformed_frames_are_1002() {
    check(
        &[
            ("unmasked", vec![0x81, 1, b'a']),
            ("unmasked and empty", vec![0x81, 0]),
            ("a ping in fragments", frame(PING, "a")),
            ("a Close in fragments", frame(CLOSE, [3, 232])),
            ("a long ping", frame(FIN | PING, [0; 126])),
            ("a long pong", frame(FIN | PONG, [0; 126])),
            ("a long Close", frame(FIN | CLOSE, [3; 126])),
            ("RSV2", frame(FIN | 0x20 | TEXT, "a")),
            ("RSV3", frame(FIN | 0x10 | TEXT, "a")),
            ("a continuation of nothing", frame(FIN | CONTINUATION, "a")),
            ("a message in a message", [frame(TEXT, "a"), frame(FIN | TEXT, "b")].concat()),
        ],
        1002,
    );
}

#[test]
fn reserved_opcodes_are_1002() {
    let attacks: Vec<_> = (3..8).chain(11..16).map(|opcode| ("reserved", frame(FIN | opcode, ""))).collect();
    check(&attacks, 1002);
}

#[test]
fn close_codes_that_may_not_be_sent_are_1002() {
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535];
    let mut attacks: Vec<_> = codes.into_iter().map(|code| ("code", close(code, ""))).collect();
    attacks.push(("half a code", frame(FIN | CLOSE, [3])));
    check(&attacks, 1002);
}

#[test]
fn text_that_is_not_utf8_is_1007() {
    check(
        &[
            ("a lone continuation", frame(FIN | TEXT, [0x80])),
            ("overlong", frame(FIN | TEXT, [0xc0, 0xaf])),
            ("a surrogate", frame(FIN | TEXT, [0xed, 0xa0, 0x80])),
            ("above the last", frame(FIN | TEXT, [0xf4, 0x90, 0x80, 0x80])),
            ("cut short", frame(FIN | TEXT, [b'a', 0xe2, 0x82])),
            ("split over fragments", [frame(TEXT, [0xe2]), frame(FIN | CONTINUATION, [0x28, 0xa1])].concat()),
            ("in a close reason", close(1000, [0xff])),
        ],
        1007,
    );
}

#[test]
fn text_is_judged_at_its_first_bad_byte() {
    let begun = [header(FIN | TEXT, 1000), vec![0, 0, 0, 0, b'a', 0xff]].concat();
    // What `check` sends behind it is still part of this frame: only six bytes were needed.
    let second_fragment = [frame(TEXT, [0xf0]), header(CONTINUATION, 1000), vec![0, 0, 0, 0, 0x41]].concat();
    check(&[("in a frame", begun), ("in a fragment", second_fragment)], 1007);
    let bad = frame(FIN | RSV1 | TEXT, deflated(&[&[b'a'; 70_000][..], &[0xff]].concat()));
    check_with(OFFER, &[("compressed", bad)], 1007, Cause::Protocol);
}

#[test]
fn control_frames_in_flood_are_1008_and_a_hundred_are_answered() {
    let site = Site::echo(|_| {});
    for (index, opcode) in [PING, PONG].into_iter().enumerate() {
        let mut wire = site.connect("/");
        wire.say(frame(FIN | opcode, "flood").repeat(101));
        site.assert_others_served();
        let seen = wire.next_of_flood(opcode);
        assert_eq!(seen, Seen::Close(1008, "too many control frames".into()));
        site.assert_causes(&[(Cause::ControlFlood, index as u64 + 1)]);
    }
}

impl Wire {
    fn next_of_flood(&mut self, opcode: u8) -> Seen {
        if opcode == PING {
            (0..101).for_each(|_| assert_eq!(self.next(), Seen::Pong(b"flood".to_vec())));
        }
        self.next()
    }
}
