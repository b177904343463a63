//! The hot path takes what the decoder takes, and leaves alone what it does not.

use nexios_protocol::{Codec, Decoder, FrameHeader, Limits, OpCode, Received, Role, Whole, apply_mask};
use proptest::prelude::*;

const LIMITS: Limits = Limits { message_bytes_max: Some(1000), fragments_max: Some(4) };

/// Whether it is text, and its bytes.
type Content = (bool, Vec<u8>);

/// What the hot path makes of the front of `input`: how far it went, the message, the bytes after it.
fn whole(role: Role, input: &[u8]) -> (Option<usize>, Option<Content>, Vec<u8>) {
    let mut after = input.to_vec();
    let mut message = None;
    let used = Decoder::new(role, None).decode_whole(&mut after, &LIMITS, |whole| {
        message = Some(match whole {
            Whole::Text(text) => (true, text.as_bytes().to_vec()),
            Whole::Binary(bytes) => (false, bytes.to_vec()),
        });
    });
    (used, message, after)
}

/// The same from the decoder that knows all of the protocol.
fn decoded(role: Role, input: &[u8]) -> Option<(usize, Content)> {
    let mut input = input.to_vec();
    match Decoder::new(role, None).decode(&mut input, &LIMITS, &mut Codec::new()) {
        Ok((used, Some(Received::Text(text)))) => Some((used, (true, text.as_bytes().to_vec()))),
        Ok((used, Some(Received::Binary(bytes)))) => Some((used, (false, bytes.to_vec()))),
        _ => None,
    }
}

fn check(role: Role, input: &[u8]) {
    let (used, message, after) = whole(role, input);
    match used {
        None => {
            assert_eq!(message, None);
            assert_eq!(after, input, "nothing may be changed where nothing is taken");
        }
        Some(used) => {
            assert_eq!(Some((used, message.clone().unwrap())), decoded(role, input));
            assert_eq!(after[used..], input[used..]);
        }
    }
}

fn frame(opcode: OpCode, fin: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let header = FrameHeader { fin, rsv1: false, opcode, payload_len: payload.len() as u64, mask };
    let (bytes, len) = header.encode();
    let mut frame = bytes[..len].to_vec();
    frame.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut frame[len..], key, 0);
    }
    frame
}

#[test]
fn a_whole_plain_message_is_taken() {
    let long = "é".repeat(300);
    for payload in ["", "Hello", "h\u{e9}llo", &"x".repeat(64), &"x".repeat(65), &"y".repeat(126), &long] {
        for opcode in [OpCode::Text, OpCode::Binary] {
            let mut input = frame(opcode, true, payload.as_bytes(), Some([1, 2, 0xf3, 4]));
            let len = input.len();
            input.extend_from_slice(b"next");
            let (used, message, _) = whole(Role::Server, &input);
            assert_eq!(used, Some(len), "{opcode:?} {}", payload.len());
            assert_eq!(message, Some((opcode == OpCode::Text, payload.as_bytes().to_vec())));
        }
    }
}

#[test]
fn what_is_anything_else_is_left_alone() {
    let key = Some([9, 8, 7, 6]);
    let mut compressed = frame(OpCode::Text, true, b"x", key);
    compressed[0] |= 0x40;
    let half = &frame(OpCode::Text, true, b"half of it", key)[..9];
    for (what, input) in [
        ("a control frame", frame(OpCode::Ping, true, b"x", key)),
        ("a fragment", frame(OpCode::Text, false, b"x", key)),
        ("a continuation", frame(OpCode::Continuation, true, b"x", key)),
        ("compressed", compressed),
        ("unmasked", frame(OpCode::Text, true, b"x", None)),
        ("no UTF-8", frame(OpCode::Text, true, b"\xff", key)),
        ("no UTF-8 at length", frame(OpCode::Text, true, &[0xff; 100], key)),
        ("too long", frame(OpCode::Binary, true, &[0; 1001], key)),
        ("half", half.to_vec()),
        ("a long form of a short length", vec![0x82, 0xfe, 0, 1, 0, 0, 0, 0, 1]),
        ("nothing", vec![]),
    ] {
        let (used, message, after) = whole(Role::Server, &input);
        assert_eq!((used, message), (None, None), "{what}");
        assert_eq!(after, input, "{what}");
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_decoder_on_frames(
        opcode in prop_oneof![Just(OpCode::Text), Just(OpCode::Binary), Just(OpCode::Ping), Just(OpCode::Continuation)],
        fin in prop::bool::weighted(0.9),
        payload in prop_oneof![
            "\\PC{0,80}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..200),
            prop::collection::vec(any::<u8>(), 990..1010),
        ],
        mask: Option<[u8; 4]>,
        cut in 0usize..40,
    ) {
        let mut input = frame(opcode, fin, &payload, mask);
        input.extend_from_slice(b"\x81\x85next frame");
        input.truncate(input.len().saturating_sub(cut));
        check(Role::Server, &input);
        check(Role::Client, &input);
    }

    #[test]
    fn it_agrees_with_the_decoder_on_any_bytes(input in prop::collection::vec(any::<u8>(), 0..40)) {
        check(Role::Server, &input);
        check(Role::Client, &input);
    }
}
