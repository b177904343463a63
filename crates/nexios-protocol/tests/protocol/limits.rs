//! What a peer may not do, and how little it costs us when it does.

use nexios_protocol::{Agreed, CloseState, Codec, Limits, OpCode, ProtocolError, Role};

use crate::wire::*;

const PLAIN: Option<Agreed> = None;

fn at_most(bytes: usize) -> Limits {
    Limits { message_bytes_max: Some(bytes), fragments_max: Some(4) }
}

/// The error, and after how many bytes it comes when they arrive one by one.
fn failure(role: Role, limits: Limits, deflate: Option<Agreed>, bytes: &[u8]) -> Option<(usize, ProtocolError)> {
    let mut connection = nexios_protocol::Connection::new(role, deflate);
    let (mut codec, mut seen, mut out) = (Codec::new(), Vec::new(), Vec::new());
    for (index, byte) in bytes.iter().enumerate() {
        if let Err(error) = feed(&mut connection, &limits, &mut codec, &[*byte], &mut seen, &mut out) {
            assert_eq!(connection.close_state(), CloseState::Failed);
            assert_eq!(frames(&out).last(), Some(&(OpCode::Close, error.close_code().get().to_be_bytes().to_vec())));
            return Some((index + 1, error));
        }
    }
    None
}

fn header(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first, 127];
    bytes.extend(len.to_be_bytes());
    bytes
}

#[test]
fn a_message_too_big_is_refused_by_its_header_alone() {
    let limits = at_most(70_000);
    for len in [70_001, 1 << 32, u64::MAX >> 1] {
        let bytes = header(FIN | BINARY, len);
        assert_eq!(failure(Role::Client, limits, PLAIN, &bytes), Some((10, ProtocolError::MessageTooBig)), "{len}");
        let whole = outcome(Role::Client, limits, PLAIN, [&bytes[..]]);
        assert_eq!(whole.error, Some(ProtocolError::MessageTooBig));
        let deflated = header(FIN | RSV1 | BINARY, (len * 2) & (u64::MAX >> 1));
        assert_eq!(
            failure(Role::Client, limits, Some(NO_TAKEOVER), &deflated),
            Some((10, ProtocolError::MessageTooBig)),
            "{len}"
        );
    }
    let fits = frame(FIN | BINARY, None, &vec![1; 70_000]);
    assert_eq!(outcome(Role::Client, limits, PLAIN, fits.chunks(999)).seen, [Seen::Binary(vec![1; 70_000])]);
}

#[test]
fn fragments_count_together_towards_the_limit() {
    let fits = [frame(BINARY, None, &[1; 60]), frame(FIN | CONTINUATION, None, &[2; 40])].concat();
    assert_eq!(failure(Role::Client, at_most(100), PLAIN, &fits), None);
    let over = [frame(BINARY, None, &[1; 60]), vec![CONTINUATION, 41]].concat();
    assert_eq!(failure(Role::Client, at_most(100), PLAIN, &over), Some((64, ProtocolError::MessageTooBig)));
    // The next message starts from nothing.
    let three = [&fits[..], &fits[..], &fits[..]].concat();
    assert_eq!(failure(Role::Client, at_most(100), PLAIN, &three), None);
}

#[test]
fn a_limit_of_messages_leaves_control_frames_alone() {
    let bytes = [frame(PING, None, &[7; 125]), frame(FIN | TEXT, None, b"0123456789")].concat();
    let read = outcome(Role::Client, at_most(10), PLAIN, [&bytes[..]]);
    assert_eq!(read.seen, [Seen::Ping(vec![7; 125]), Seen::Text("0123456789".into())]);
    assert_eq!(failure(Role::Client, at_most(10), PLAIN, &bytes), None);
}

#[test]
fn more_fragments_than_allowed_are_refused_by_the_header_of_the_next() {
    let fragments = |count: usize| {
        let mut bytes = frame(TEXT, None, b"a");
        (1..count).for_each(|_| bytes.extend(frame(CONTINUATION, None, b"")));
        bytes
    };
    assert_eq!(failure(Role::Client, at_most(100), PLAIN, &fragments(4)), None);
    assert_eq!(failure(Role::Client, at_most(100), PLAIN, &fragments(5)), Some((11, ProtocolError::TooManyFragments)));
    let unlimited = Limits { fragments_max: None, ..at_most(100) };
    assert_eq!(failure(Role::Client, unlimited, PLAIN, &fragments(3000)), None);
    assert_eq!(ProtocolError::TooManyFragments.close_code().get(), 1008);
}

/// 1 GiB of zeros in about 1 MiB: the same MiB compressed, 1024 times, each with its flush.
fn bomb() -> Vec<u8> {
    let mut mebibyte = compressed(&vec![0; 1 << 20]);
    mebibyte.extend([0, 0, 0xff, 0xff]);
    mebibyte.repeat(1024)
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let bomb = bomb();
    assert!((900 << 10..1200 << 10).contains(&bomb.len()), "{} bytes", bomb.len());
    let limits = Limits { message_bytes_max: Some(4 << 20), fragments_max: None };
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let bytes = frame(FIN | RSV1 | BINARY, None, &bomb);
        for size in [bytes.len(), 4096] {
            let read = outcome(Role::Client, limits, Some(agreed), bytes.chunks(size).collect::<Vec<_>>());
            assert_eq!((read.error, read.seen.len()), (Some(ProtocolError::MessageTooBig), 0));
        }
    }
    #[cfg(target_os = "linux")]
    assert!(peak_memory_kib() < 512 << 10, "{} KiB", peak_memory_kib());
}

/// Of the whole process: far less than the bomb, whatever other tests hold meanwhile.
#[cfg(target_os = "linux")]
fn peak_memory_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_limit_is_of_inflated_bytes_and_exact() {
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        for (len, fine) in [(999, true), (1000, true), (1001, false), (100_000, false)] {
            let bytes = frame(FIN | RSV1 | BINARY, None, &compressed(&vec![7; len]));
            let read = outcome(Role::Client, at_most(1000), Some(agreed), [&bytes[..]]);
            assert_eq!(read.error, (!fine).then_some(ProtocolError::MessageTooBig), "{len}");
            assert_eq!(read.seen.len(), usize::from(fine));
        }
    }
}

#[test]
fn which_fault_of_a_compressed_text_counts_does_not_depend_on_how_it_was_split() {
    for (bad, expected) in [(10, ProtocolError::Utf8), (999, ProtocolError::Utf8), (1000, ProtocolError::MessageTooBig)]
    {
        let mut text = vec![b'a'; 3000];
        text[bad] = 0xff;
        let bytes = frame(FIN | RSV1 | TEXT, None, &compressed(&text));
        for agreed in [NO_TAKEOVER, TAKEOVER] {
            for size in [1, 2, 5, bytes.len()] {
                let read = outcome(Role::Client, at_most(1000), Some(agreed), bytes.chunks(size).collect::<Vec<_>>());
                assert_eq!(read.error, Some(expected), "bad at {bad}, pieces of {size}");
            }
        }
    }
}

#[test]
fn a_bomb_in_fragments_stops_too() {
    let zeros = compressed(&vec![0; 100_000]);
    let mut bytes = frame(RSV1 | BINARY, None, &zeros[..10]);
    for byte in &zeros[10..] {
        bytes.extend(frame(CONTINUATION, None, &[*byte]));
    }
    bytes.extend(frame(FIN | CONTINUATION, None, b""));
    let limits = Limits { message_bytes_max: Some(50_000), fragments_max: None };
    let failed = failure(Role::Client, limits, Some(NO_TAKEOVER), &bytes);
    assert_eq!(failed.map(|(_, error)| error), Some(ProtocolError::MessageTooBig));
}

#[test]
fn lengths_are_in_their_shortest_form_without_the_top_bit() {
    let table: [(&[u8], usize); 6] = [
        (&[0x82, 126, 0, 0], 4),
        (&[0x82, 126, 0, 125], 4),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 10),
        (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0], 10),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0], 10),
        (&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 10),
    ];
    let unlimited = Limits { message_bytes_max: None, fragments_max: None };
    for (bytes, at) in table {
        let failed = failure(Role::Client, unlimited, PLAIN, bytes);
        assert_eq!(failed, Some((at, ProtocolError::PayloadLength)), "{bytes:02x?}");
    }
    // The largest length there is takes no memory before its bytes come, even without a limit.
    let read = outcome(Role::Client, unlimited, PLAIN, [&header(FIN | BINARY, u64::MAX >> 1)[..], &[1; 100]]);
    assert_eq!((read.seen.len(), read.error), (0, None));
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        let table: [(u8, u8); 4] = [(FIN | opcode, 126), (FIN | opcode, 127), (opcode, 0), (opcode, 125)];
        for (first, second) in table {
            let failed = failure(Role::Client, at_most(1000), PLAIN, &[first, second]);
            assert_eq!(failed, Some((2, ProtocolError::ControlFrame)), "{first:02x} {second:02x}");
        }
    }
}

#[test]
fn reserved_bits_are_refused_unless_negotiated() {
    for first in (0..=255u8).filter(|first| matches!(first & 0x0f, 1 | 2 | 9 | 10) && first & FIN != 0) {
        let bytes = [first, 0];
        let rsv1 = first & RSV1 != 0;
        let others = first & 0x30 != 0;
        let read = failure(Role::Client, at_most(10), PLAIN, &bytes).map(|(_, error)| error);
        assert_eq!(read, (rsv1 || others).then_some(ProtocolError::ReservedBits), "{first:02x}");
        // Compressed: data may have RSV1, control frames not (RFC 7692 §6).
        let control = first & 8 != 0;
        let read = failure(Role::Client, at_most(10), Some(NO_TAKEOVER), &bytes).map(|(_, error)| error);
        assert_eq!(read, (others || (rsv1 && control)).then_some(ProtocolError::ReservedBits), "{first:02x}");
    }
    // Only the first fragment tells that a message is compressed.
    let bytes = [frame(RSV1 | TEXT, None, &compressed(b"hi")[..2]), vec![RSV1 | CONTINUATION, 0]].concat();
    let failed = failure(Role::Client, at_most(10), Some(NO_TAKEOVER), &bytes);
    assert_eq!(failed, Some((bytes.len(), ProtocolError::ReservedBits)));
}

#[test]
fn reserved_opcodes_are_refused_by_their_first_byte() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for first in [opcode, FIN | opcode] {
            let failed = failure(Role::Server, at_most(10), PLAIN, &[first]);
            assert_eq!(failed, Some((1, ProtocolError::ReservedOpCode(opcode))));
        }
    }
}

#[test]
fn clients_mask_and_servers_do_not() {
    for first in [FIN | TEXT, FIN | BINARY, PING, PONG, CLOSE, TEXT] {
        for (role, wrong) in [(Role::Server, None), (Role::Client, Some(KEY))] {
            let bytes = frame(first, wrong, b"");
            let failed = failure(role, at_most(10), PLAIN, &bytes);
            assert_eq!(failed, Some((bytes.len(), ProtocolError::Masking)), "{role:?} {first:02x}");
            assert_eq!(failure(role, at_most(10), PLAIN, &frame(first, key_to(role), b"")), None);
        }
    }
}

#[test]
fn messages_are_not_interleaved() {
    let table: [(&[u8], usize, ProtocolError); 4] = [
        (&[0x80, 0], 2, ProtocolError::UnexpectedContinuation),
        (&[0x81, 0, 0x00, 0], 4, ProtocolError::UnexpectedContinuation),
        (&[0x01, 0, 0x81, 0], 4, ProtocolError::InterleavedMessage),
        (&[0x02, 0, 0x89, 0, 0x02, 0], 6, ProtocolError::InterleavedMessage),
    ];
    for (bytes, at, error) in table {
        assert_eq!(failure(Role::Client, at_most(10), PLAIN, bytes), Some((at, error)), "{bytes:02x?}");
    }
}

/// Texts that go wrong, and after how many bytes that is certain; the last is fine.
const TEXTS: [(&[u8], Option<usize>); 9] = [
    (b"ok\xffmore to come", Some(3)),
    (b"\x80 a continuation first", Some(1)),
    (b"\xc0\xaf overlong", Some(1)),
    (b"\xe0\x9f\xbf overlong", Some(2)),
    (b"\xed\xa0\x80 a surrogate", Some(2)),
    (b"\xf4\x90\x80\x80 over the last character", Some(2)),
    (b"\xf5 no such byte", Some(1)),
    (b"\xe2\x82 cut short", Some(3)),
    ("κόσμε\u{20ac}\u{1f600} then \u{10ffff}".as_bytes(), None),
];

#[test]
fn bad_text_fails_at_its_first_bad_byte_before_the_frame_is_complete() {
    for (text, bad) in TEXTS {
        for role in [Role::Server, Role::Client] {
            let expected = |header: usize| bad.map(|bad| (header + bad, ProtocolError::Utf8));
            let whole = frame(FIN | TEXT, key_to(role), text);
            let header = whole.len() - text.len();
            assert_eq!(failure(role, at_most(1000), PLAIN, &whole), expected(header), "{text:02x?}");
            // In the second fragment, a character before it split between the two.
            let euro = "€".as_bytes();
            let mut split = frame(TEXT, key_to(role), &euro[..1]);
            let rest = [&euro[1..], text].concat();
            split.extend(frame(FIN | CONTINUATION, key_to(role), &rest));
            let before = split.len() - text.len();
            assert_eq!(failure(role, at_most(1000), PLAIN, &split), expected(before), "{text:02x?}");
            // The same bytes are no concern of a binary message.
            assert_eq!(failure(role, at_most(1000), PLAIN, &frame(FIN | BINARY, key_to(role), text)), None);
        }
    }
}

#[test]
fn an_unfinished_compressed_message_holds_what_came_and_not_what_it_inflates_to() {
    let packed = compressed(&vec![b'a'; 1 << 20]);
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let mut connection = nexios_protocol::Connection::new(Role::Client, Some(agreed));
        let (mut codec, mut seen, mut out) = (Codec::new(), Vec::new(), Vec::new());
        let mut feed = |connection: &mut _, bytes: &[u8]| {
            feed(connection, &at_most(1 << 20), &mut codec, bytes, &mut seen, &mut out).unwrap();
            seen.len()
        };
        feed(&mut connection, &frame(RSV1 | TEXT, None, &packed));
        assert_eq!(connection.held_bytes(), packed.len());
        assert_eq!(feed(&mut connection, &frame(FIN | CONTINUATION, None, b"")), 1);
        assert_eq!(connection.held_bytes(), 0);
    }
}

#[test]
fn compressed_fragments_together_are_held_to_the_limit() {
    let noise: Vec<u8> = (0..1000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let two = [frame(RSV1 | BINARY, None, &noise), frame(CONTINUATION, None, &noise)].concat();
    let failed = failure(Role::Client, at_most(1000), Some(NO_TAKEOVER), &two);
    assert_eq!(failed, Some((two.len() - noise.len(), ProtocolError::MessageTooBig)));
}

#[test]
fn nothing_is_kept_of_what_comes_behind_our_close_frame() {
    let mut connection = nexios_protocol::Connection::new(Role::Server, Some(NO_TAKEOVER));
    let (mut codec, mut seen, mut out) = (Codec::new(), Vec::new(), Vec::new());
    let mut feed = |connection: &mut _, bytes: &[u8]| {
        feed(connection, &at_most(1 << 20), &mut codec, bytes, &mut seen, &mut out).unwrap();
    };
    let key = key_to(Role::Server);
    feed(&mut connection, &frame(BINARY, key, &[7; 1000]));
    assert_eq!(connection.held_bytes(), 1000);
    connection.send_close(&mut Vec::new(), None);
    assert_eq!(connection.held_bytes(), 0);
    feed(&mut connection, &frame(CONTINUATION, key, &[7; 1000]));
    assert_eq!(connection.held_bytes(), 0);
    feed(&mut connection, &[frame(FIN | CONTINUATION, key, b""), frame(FIN | RSV1 | TEXT, key, b"no stream")].concat());
    feed(&mut connection, &frame(FIN | 8, key, b""));
    assert!(connection.is_closed());
    assert_eq!(seen, [Seen::Close(None)]);
}

#[test]
fn bad_text_in_a_compressed_message_fails_with_its_last_byte() {
    for (text, bad) in TEXTS {
        // Stored byte by byte, as no compressor does it.
        let stored: Vec<u8> = text.iter().flat_map(|byte| [0, 1, 0, 0xfe, 0xff, *byte]).chain([0]).collect();
        for agreed in [NO_TAKEOVER, TAKEOVER] {
            let bytes = frame(FIN | RSV1 | TEXT, None, &stored);
            let failed = failure(Role::Client, at_most(1000), Some(agreed), &bytes);
            assert_eq!(failed, bad.map(|_| (bytes.len(), ProtocolError::Utf8)), "{text:02x?}");
        }
    }
}

#[test]
fn a_text_may_not_end_within_a_character() {
    for bytes in [frame(FIN | TEXT, None, b"a\xe2\x82"), frame(FIN | RSV1 | TEXT, None, &compressed(b"a\xe2\x82"))] {
        let failed = failure(Role::Client, at_most(100), Some(NO_TAKEOVER), &bytes);
        assert_eq!(failed, Some((bytes.len(), ProtocolError::Utf8)));
    }
}

#[test]
fn what_is_no_deflate_stream_is_refused() {
    let table: [&[u8]; 4] = [
        &[0x06],                         // A block of the reserved kind.
        &[0x00, 0x05, 0x00, 0x00, 0x00], // A stored block whose length is not confirmed.
        &[0x4b, 0x04, 0x12, 0x00],       // A reference before the beginning.
        &[0xff; 10],
    ];
    for compressed in table {
        for agreed in [NO_TAKEOVER, TAKEOVER] {
            let bytes = frame(FIN | RSV1 | BINARY, None, compressed);
            let failed = failure(Role::Client, at_most(1000), Some(agreed), &bytes).map(|(_, error)| error);
            assert_eq!(failed, Some(ProtocolError::Deflate), "{compressed:02x?}");
        }
    }
}
