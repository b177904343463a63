//! However the bytes arrive, the same is made of them.

use nexios_protocol::{Agreed, CloseState, ContextDeflater, Limits, OpCode, ProtocolError, Role};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::*;

#[derive(Clone, Debug)]
enum Sent {
    /// Text, compressed, the payload, where it is cut into frames, a control frame in between.
    Message {
        text: bool,
        compressed: bool,
        payload: String,
        fragments: Vec<usize>,
        between: Option<(bool, Vec<u8>)>,
    },
    Control {
        ping: bool,
        payload: Vec<u8>,
    },
    Close(Option<(u16, String)>),
}

fn message() -> impl Strategy<Value = Sent> {
    let payload = prop_oneof![4 => ".{0,60}", 1 => "[a-zäöü€😀]{100,400}"];
    let between = proptest::option::of((any::<bool>(), vec(any::<u8>(), 0..20)));
    (any::<bool>(), any::<bool>(), payload, vec(0usize..200, 0..4), between).prop_map(
        |(text, compressed, payload, fragments, between)| Sent::Message {
            text,
            compressed,
            payload,
            fragments,
            between,
        },
    )
}

fn sent() -> impl Strategy<Value = Vec<Sent>> {
    let control =
        (any::<bool>(), vec(any::<u8>(), 0..=125)).prop_map(|(ping, payload)| Sent::Control { ping, payload });
    let close = proptest::option::of((3000u16..5000, "[a-zä€]{0,30}")).prop_map(Sent::Close);
    (vec(prop_oneof![4 => message(), 1 => control], 0..8), proptest::option::weighted(0.3, close)).prop_map(
        |(mut sent, close)| {
            sent.extend(close);
            sent
        },
    )
}

fn agreed() -> impl Strategy<Value = Option<Agreed>> {
    prop_oneof![Just(None), Just(Some(NO_TAKEOVER)), Just(Some(TAKEOVER))]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

/// The stream that a peer of `role` sends, and what is to be seen of it.
fn stream(sent: &[Sent], role: Role, agreed: Option<Agreed>) -> (Vec<u8>, Vec<Seen>) {
    let (mut bytes, mut seen) = (Vec::new(), Vec::new());
    let mut context = ContextDeflater::new(15, 6, 8);
    for one in sent {
        match one {
            Sent::Message { text, compressed: wanted, payload, fragments, between } => {
                let rsv1 = if *wanted && agreed.is_some() { RSV1 } else { 0 };
                let mut coded = Vec::new();
                match agreed {
                    Some(TAKEOVER) if *wanted => context.compress(payload.as_bytes(), &mut coded),
                    Some(_) if *wanted => coded = compressed(payload.as_bytes()),
                    _ => coded.extend_from_slice(payload.as_bytes()),
                }
                if let Some((ping, payload)) = between.as_ref().filter(|_| !fragments.is_empty()) {
                    seen.push(control_seen(*ping, payload));
                }
                let opcode = rsv1 | if *text { TEXT } else { BINARY };
                bytes.extend(fragmented(role, opcode, &coded, fragments, between.as_ref()));
                seen.push(match text {
                    true => Seen::Text(payload.clone()),
                    false => Seen::Binary(payload.clone().into_bytes()),
                });
            }
            Sent::Control { ping, payload } => {
                bytes.extend(frame(if *ping { PING } else { PONG }, key_to(role), payload));
                seen.push(control_seen(*ping, payload));
            }
            Sent::Close(content) => {
                let payload = content
                    .as_ref()
                    .map_or(Vec::new(), |(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat());
                bytes.extend(frame(CLOSE, key_to(role), &payload));
                seen.push(Seen::Close(content.clone()));
            }
        }
    }
    (bytes, seen)
}

fn control_seen(ping: bool, payload: &[u8]) -> Seen {
    if ping { Seen::Ping(payload.to_vec()) } else { Seen::Pong(payload.to_vec()) }
}

/// One message in frames, with a control frame after the first of several.
fn fragmented(
    role: Role,
    opcode: u8,
    mut payload: &[u8],
    sizes: &[usize],
    between: Option<&(bool, Vec<u8>)>,
) -> Vec<u8> {
    let (mut bytes, mut first) = (Vec::new(), opcode);
    for (index, size) in sizes.iter().enumerate() {
        let (piece, rest) = payload.split_at((*size).min(payload.len()));
        bytes.extend(frame(first, key_to(role), piece));
        (payload, first) = (rest, CONTINUATION);
        if let (0, Some((ping, payload))) = (index, between) {
            bytes.extend(frame(if *ping { PING } else { PONG }, key_to(role), payload));
        }
    }
    bytes.extend(frame(first | FIN, key_to(role), payload));
    bytes
}

/// Cuts at lengths that are used in turn.
fn cut<'a>(bytes: &'a [u8], lens: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest, mut lens) = (Vec::new(), bytes, lens.iter().cycle());
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at((*lens.next().unwrap()).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    pieces
}

/// Pings, and the Close frame last.
fn answers_to(seen: &[Seen]) -> Vec<(OpCode, Vec<u8>)> {
    let answer = |seen: &Seen| match seen {
        Seen::Ping(payload) => Some((OpCode::Pong, payload.clone())),
        Seen::Close(frame) => {
            Some((OpCode::Close, frame.as_ref().map_or(Vec::new(), |(code, _)| code.to_be_bytes().to_vec())))
        }
        _ => None,
    };
    seen.iter().filter_map(answer).collect()
}

fn lens() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1usize..4, 1..4), vec(1usize..80, 1..20), vec(1usize..500, 1..5)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_valid_stream_means_the_same_however_it_is_cut(
        sent in sent(), role in role(), agreed in agreed(), lens in lens(),
    ) {
        let (bytes, seen) = stream(&sent, role, agreed);
        let whole = outcome(role, Limits::default(), agreed, [&bytes[..]]);
        prop_assert_eq!(&whole.answers, &answers_to(&seen));
        prop_assert_eq!(&whole.seen, &seen);
        prop_assert_eq!(whole.error, None);
        prop_assert_eq!(&outcome(role, Limits::default(), agreed, cut(&bytes, &lens)), &whole);
    }

    #[test]
    fn a_broken_stream_fails_at_the_same_message_however_it_is_cut(
        sent in sent(), role in role(), agreed in agreed(), lens in lens(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut bytes, _) = stream(&sent, role, agreed);
        for (index, byte) in damage {
            if !bytes.is_empty() {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
        }
        let limits = Limits { message_bytes_max: Some(1000), fragments_max: Some(4) };
        let whole = outcome(role, limits, agreed, [&bytes[..]]);
        let pieces = outcome(role, limits, agreed, cut(&bytes, &lens));
        prop_assert_eq!(unordered(pieces), unordered(whole));
    }
}

/// Inside one compressed message the faults of its bytes and its text, both 1007, are found in
/// the order in which the pieces come: which of the two is named may depend on the cuts.
fn unordered(mut outcome: Outcome) -> Outcome {
    if let Some(ProtocolError::Deflate) = outcome.error {
        outcome.error = Some(ProtocolError::Utf8);
        outcome.answers.pop();
    } else if outcome.error == Some(ProtocolError::Utf8) {
        outcome.answers.pop();
    }
    outcome
}

/// Each kind of frame once, with each form of length.
fn fixed(role: Role) -> Vec<u8> {
    let key = key_to(role);
    let long = "€".repeat(22_000);
    [
        frame(FIN | TEXT, key, "Grüße".as_bytes()),
        frame(BINARY, key, b"one"),
        frame(PING, key, b"between"),
        frame(CONTINUATION, key, b""),
        frame(PONG, key, b""),
        frame(FIN | CONTINUATION, key, b"two"),
        frame(FIN | RSV1 | TEXT, key, &compressed("compressed €".as_bytes())),
        frame(RSV1 | TEXT, key, &compressed("split 😀 €".as_bytes())[..5]),
        frame(FIN | CONTINUATION, key, &compressed("split 😀 €".as_bytes())[5..]),
        frame(FIN | BINARY, key, &[7; 126]),
        frame(FIN | TEXT, key, long.as_bytes()),
        frame(FIN | TEXT, key, b""),
        frame(CLOSE, key, &[&1000u16.to_be_bytes()[..], "tschüß".as_bytes()].concat()),
        frame(FIN | TEXT, key, b"too late"),
    ]
    .concat()
}

#[test]
fn no_single_cut_changes_what_a_stream_means() {
    for role in [Role::Server, Role::Client] {
        let bytes = fixed(role);
        let whole = outcome(role, Limits::default(), Some(NO_TAKEOVER), [&bytes[..]]);
        assert_eq!((whole.seen.len(), whole.error, whole.state), (10, None, CloseState::Closed));
        // Inside the long payload only some cuts; everywhere else each.
        let cuts = (0..=bytes.len()).filter(|cut| *cut < 300 || bytes.len() - cut < 100 || cut % 997 == 0);
        for cut in cuts {
            let (left, right) = bytes.split_at(cut);
            let pieces = outcome(role, Limits::default(), Some(NO_TAKEOVER), [left, right]);
            assert!(pieces == whole, "{role:?} cut at {cut}: {pieces:?}");
        }
    }
}

#[test]
fn a_fault_is_found_at_the_same_byte_in_whole_or_in_pieces() {
    let table: [(&[u8], usize, ProtocolError); 8] = [
        (b"\x81\x02hi\x83\x00", 5, ProtocolError::ReservedOpCode(3)),
        (b"\x81\x02hi\xa1\x00", 5, ProtocolError::ReservedBits),
        (b"\x81\x02hi\xc1\x00", 6, ProtocolError::ReservedBits),
        (b"\x81\x02hi\x09\x00", 6, ProtocolError::ControlFrame),
        (b"\x81\x02hi\x80\x00", 6, ProtocolError::UnexpectedContinuation),
        (b"\x81\x02hi\x82\x7e\x00\x01", 8, ProtocolError::PayloadLength),
        (b"\x81\x02hi\x81\x05a\xff\xff\xff\xff", 8, ProtocolError::Utf8),
        (b"\x81\x02hi\x88\x03\x03\xe8\xff", 9, ProtocolError::Utf8),
    ];
    for (bytes, at, error) in table {
        let hi = vec![Seen::Text("hi".into())];
        for end in 4..=bytes.len() {
            let expected = (end >= at).then_some(error);
            let whole = outcome(Role::Client, Limits::default(), None, [&bytes[..end]]);
            assert_eq!((&whole.seen, whole.error), (&hi, expected), "{end} bytes of {bytes:02x?}");
            let pieces = outcome(Role::Client, Limits::default(), None, bytes[..end].chunks(1));
            assert_eq!(pieces, whole, "{end} bytes of {bytes:02x?}");
        }
    }
}
