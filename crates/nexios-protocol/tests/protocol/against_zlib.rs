//! C zlib inflates what we compress, within the window agreed on, and the reverse.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use nexios_protocol::{Agreed, Codec, ContextDeflater, Limits, Role};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::*;

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Inflates a message as RFC 7692 §7.2.2 says. Output is taken in small pieces: zlib sees
/// distances beyond its window only once that is all that it has.
fn inflate(inflater: &mut Decompress, compressed: &[u8]) -> Vec<u8> {
    let input = [compressed, &TAIL].concat();
    let (mut read, mut out, mut piece) = (0, Vec::new(), [0; 16]);
    loop {
        let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
        let status = inflater.decompress(&input[read..], &mut piece, FlushDecompress::Sync).expect("inflates");
        let (taken, made) = ((inflater.total_in() - before_in) as usize, (inflater.total_out() - before_out) as usize);
        read += taken;
        out.extend_from_slice(&piece[..made]);
        assert_ne!(status, Status::StreamEnd, "we never end a stream");
        if read == input.len() && made < piece.len() {
            return out;
        }
        assert!(taken > 0 || made > 0, "stuck at {read} of {}", input.len());
    }
}

/// Compresses as RFC 7692 §7.2.1 says, with any flush.
fn deflate(deflater: &mut Compress, payload: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 1000);
    let before = deflater.total_in();
    deflater.compress_vec(payload, &mut out, flush).unwrap();
    assert_eq!(deflater.total_in() - before, payload.len() as u64);
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    out
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => ".{0,200}".prop_map(String::into_bytes),
        2 => "[a-d ]{0,2000}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..500),
        // Repeats at a distance, around the edges of windows.
        2 => (any::<u32>(), prop_oneof![200usize..600, 900usize..1100, 4000usize..4200], 3usize..400).prop_map(
            |(seed, distance, len)| {
                let noise = noise(seed, distance);
                [&noise[..], &noise[..len.min(distance)]].concat()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn zlib_inflates_what_we_compress(
        window_bits in 9u8..=15, level in 1u8..=9, mem_level in 1u8..=9, messages in vec(payload(), 1..5),
    ) {
        let (mut codec, mut context) = (Codec::new(), ContextDeflater::new(window_bits, level, mem_level));
        let mut inflater = Decompress::new_with_window_bits(false, window_bits);
        for message in messages {
            let mut alone = Vec::new();
            codec.compress(window_bits, level, &message, &mut alone);
            let fresh = &mut Decompress::new_with_window_bits(false, window_bits);
            prop_assert_eq!(&inflate(fresh, &alone), &message);
            let mut in_context = Vec::new();
            context.compress(&message, &mut in_context);
            prop_assert_eq!(&inflate(&mut inflater, &in_context), &message);
        }
    }

    #[test]
    fn we_inflate_what_zlib_compresses(
        window_bits in 9u8..=15, level in 0u32..=9, takeover: bool, lens in vec(1usize..300, 1..4),
        messages in vec((payload(), any::<bool>()), 1..5),
    ) {
        let mut deflater = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
        let mut wire = Vec::new();
        for (message, full) in &messages {
            let flush = if *full { FlushCompress::Full } else { FlushCompress::Sync };
            wire.extend(frame(FIN | RSV1 | BINARY, Some(KEY), &deflate(&mut deflater, message, flush)));
            if !takeover {
                deflater.reset();
            }
        }
        let agreed = if takeover { TAKEOVER } else { NO_TAKEOVER };
        let agreed = Agreed { client_max_window_bits: window_bits, ..agreed };
        let expected: Vec<_> = messages.into_iter().map(|(message, _)| Seen::Binary(message)).collect();
        let (mut pieces, mut rest, mut lens) = (Vec::new(), &wire[..], lens.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(lens.next().unwrap().min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        let read = outcome(Role::Server, Limits::default(), Some(agreed), pieces);
        prop_assert_eq!((read.seen, read.error), (expected, None));
    }
}

/// zlib has nothing to say for a flush behind a flush, so an empty message may come as no bytes.
#[test]
fn an_empty_message_of_no_bytes_leaves_the_context_alone() {
    let mut deflater = Compress::new_with_window_bits(Compression::new(6), false, 15);
    let messages = [&b"one and another"[..], b"", b"one and another"];
    let coded = messages.map(|message| deflate(&mut deflater, message, FlushCompress::Sync));
    assert!(coded[1].is_empty() && coded[2].len() < coded[0].len());
    let read = read(&coded, TAKEOVER);
    assert_eq!((read.seen, read.error), (messages.map(|message| Seen::Binary(message.to_vec())).to_vec(), None));
}

/// A server may ask a client for a window of 256 bytes. zlib's smallest has 512, of which it uses
/// no more than the last 250: what repeats from further away is not found.
#[test]
fn the_smallest_window_fits_into_256_bytes() {
    for level in 1..=9 {
        for distance in (16..600).step_by(9).chain(245..265) {
            let noise = noise(distance, distance as usize);
            let message = [&noise[..], &noise[..]].concat();
            let (mut in_context, mut alone) = (Vec::new(), Vec::new());
            ContextDeflater::new(8, level, 8).compress(&message, &mut in_context);
            Codec::new().compress(8, level, &message, &mut alone);
            for coded in [in_context, alone] {
                let found = coded.len() < message.len() - 8;
                assert!(!found || distance <= 256, "level {level}: {distance} bytes back");
                // And where it may look, it does.
                assert!(found || distance > 240, "level {level}: {distance} bytes back");
            }
        }
    }
}

/// Reads compressed binary messages with and without a context.
fn read(messages: &[Vec<u8>], agreed: Agreed) -> Outcome {
    let wire: Vec<u8> = messages.iter().flat_map(|message| frame(FIN | RSV1 | BINARY, None, message)).collect();
    let whole = outcome(Role::Client, Limits::default(), Some(agreed), [&wire[..]]);
    assert_eq!(outcome(Role::Client, Limits::default(), Some(agreed), wire.chunks(1)), whole);
    whole
}

#[test]
fn the_messages_of_rfc_7692_section_7_2_3_are_read() {
    let hello = b"Hello".to_vec();
    let table: [(&str, &[u8], &[u8]); 6] = [
        ("7.2.3.1, one block", &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &hello),
        ("7.2.3.3, no compression", b"\x00\x05\x00\xfa\xffHello\x00", &hello),
        ("7.2.3.4, BFINAL", &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], &hello),
        ("7.2.3.5, two blocks", &[0xf2, 0x48, 0x05, 0, 0, 0, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], &hello),
        ("7.2.3.6, empty", &[0x00], b""),
        ("an empty fixed block", &[0x02, 0x00], b""),
    ];
    for (name, compressed, expected) in table {
        for agreed in [NO_TAKEOVER, TAKEOVER] {
            let twice = read(&[compressed.to_vec(), compressed.to_vec()], agreed);
            assert_eq!(twice.error, None, "{name}");
            assert_eq!(twice.seen, vec![Seen::Binary(expected.to_vec()); 2], "{name}");
        }
    }
    // 7.2.3.2: the second Hello is a reference to the first.
    let pair = [vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], vec![0xf2, 0x00, 0x11, 0x00, 0x00]];
    assert_eq!(read(&pair, TAKEOVER).seen, vec![Seen::Binary(hello); 2]);
    assert!(read(&pair, NO_TAKEOVER).error.is_some());
}

#[test]
fn a_final_block_ends_no_message() {
    let mut deflater = Compress::new(Compression::new(6), false);
    let (mut first, second) = (deflate(&mut deflater, b"one, ", FlushCompress::Finish), compressed(b"two"));
    first.extend(second);
    for agreed in [NO_TAKEOVER, TAKEOVER] {
        let messages = [first.clone(), compressed(b"three")];
        let both = read(&messages, agreed);
        assert_eq!(both.error, None);
        assert_eq!(both.seen, [Seen::Binary(b"one, two".to_vec()), Seen::Binary(b"three".to_vec())]);
    }
}

/// How a sender ends a message.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By a flush, as most do.
    Flush,
    /// By a block with BFINAL and a byte 0x00 behind it (RFC 7692 §7.2.3.4).
    Final,
    /// By a block with BFINAL and nothing behind it.
    FinalOnly,
    /// By an empty block with BFINAL, the tail of which is left out.
    FinalEmpty,
}

const ENDS: [End; 4] = [End::Flush, End::Final, End::FinalOnly, End::FinalEmpty];

/// A sender whose messages refer to all that it has sent before, whatever they ended with.
fn send_in_context(messages: &[(End, Vec<u8>)]) -> Vec<Vec<u8>> {
    let (mut deflater, mut history, mut sent) = (zlib_rs::Deflate::new(6, false, 15), Vec::new(), Vec::new());
    for (end, message) in messages {
        let flush = match end {
            End::Flush | End::FinalEmpty => zlib_rs::DeflateFlush::SyncFlush,
            End::Final | End::FinalOnly => zlib_rs::DeflateFlush::Finish,
        };
        let mut out = vec![0; message.len() * 2 + 256];
        let before = deflater.total_out();
        deflater.compress(message, &mut out, flush).expect("compresses");
        out.truncate((deflater.total_out() - before) as usize);
        history.extend_from_slice(message);
        match end {
            End::Flush => out.truncate(out.len() - TAIL.len()),
            End::FinalEmpty => out.push(1),
            End::Final | End::FinalOnly => {
                deflater.reset();
                deflater.set_dictionary(&history[history.len().saturating_sub(32 << 10)..]).expect("takes the window");
                out.extend(matches!(end, End::Final).then_some(0));
            }
        }
        sent.push(out);
    }
    sent
}

#[test]
fn messages_behind_a_final_block_refer_to_what_came_before_it() {
    for first in ENDS {
        for second in ENDS {
            let message = |n: u8| format!("the same words in message {n}").into_bytes();
            let messages = [(first, message(1)), (second, message(2)), (End::Flush, message(3))];
            let read = read(&send_in_context(&messages), TAKEOVER);
            assert_eq!(read.error, None, "{first:?}, {second:?}");
            assert_eq!(read.seen, [1, 2, 3].map(|n| Seen::Binary(message(n))), "{first:?}, {second:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_sequence_of_ends_is_read_in_context(
        messages in vec((0..ENDS.len(), 1u8..5, prop_oneof![1usize..200, 8_000usize..40_000]), 1..8),
    ) {
        let messages: Vec<_> = messages
            .into_iter()
            .map(|(end, seed, len)| (ENDS[end], (0..len).map(|at| (at * at / 7) as u8 ^ seed).collect::<Vec<u8>>()))
            .collect();
        let read = read(&send_in_context(&messages), TAKEOVER);
        prop_assert_eq!(read.error, None);
        let expected: Vec<_> = messages.into_iter().map(|(_, message)| Seen::Binary(message)).collect();
        prop_assert_eq!(read.seen, expected);
    }
}

#[test]
fn blocks_of_every_kind_are_read_at_every_level() {
    let text = "{\"kind\":\"stored, fixed or dynamic\"}".repeat(40).into_bytes();
    let payloads = [Vec::new(), b"a".to_vec(), text, noise(1, 40_000), vec![0; 70_000]];
    for level in 0..=9 {
        for window_bits in 9..=15 {
            let mut deflater = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
            let messages: Vec<_> =
                payloads.iter().map(|payload| deflate(&mut deflater, payload, FlushCompress::Sync)).collect();
            let wire: Vec<u8> = messages.iter().flat_map(|m| frame(FIN | RSV1 | BINARY, None, m)).collect();
            let read = outcome(Role::Client, Limits::default(), Some(TAKEOVER), wire.chunks(4096));
            assert_eq!(read.error, None, "level {level}, window {window_bits}");
            assert!(read.seen.iter().eq(payloads.iter().cloned().map(Seen::Binary).collect::<Vec<_>>().iter()));
        }
    }
}

#[test]
fn an_empty_message_is_one_byte_and_zlib_reads_it() {
    for level in 1..=9 {
        let (mut codec, mut context) = (Codec::new(), ContextDeflater::new(15, level, 8));
        let mut inflater = Decompress::new(false);
        for message in [&b""[..], b"", b"x", b"", b""] {
            let (mut alone, mut in_context) = (Vec::new(), Vec::new());
            codec.compress(15, level, message, &mut alone);
            context.compress(message, &mut in_context);
            assert_eq!(inflate(&mut Decompress::new(false), &alone), message);
            assert_eq!(inflate(&mut inflater, &in_context), message);
            if message.is_empty() {
                assert_eq!((&alone[..], &in_context[..]), (&[0][..], &[0][..]), "level {level}");
            }
        }
    }
}

/// Chat messages, prices and a document: what this compresses all day.
fn json() -> Vec<Vec<u8>> {
    let chat = (0..60).map(|n| {
        let user = ["ada", "grace", "linus", "margaret", "edsger"][n % 5];
        format!(
            r#"{{"type":"message","id":"{:08x}","room":"general","user":{{"name":"{user}","id":{}}},"text":"{}","at":"2025-03-{:02}T12:{:02}:07Z"}}"#,
            n * 2_654_435_761 % 0xffff_ffff,
            n * 7919 % 100_000,
            "the quick brown fox jumps over the lazy dog "[n % 40..].repeat(1 + n % 4),
            1 + n % 28,
            n % 60
        )
    });
    let prices = (0..20).map(|n: usize| {
        let rows: Vec<_> = (0..40)
            .map(|row| {
                let noise = noise((n * 100 + row) as u32, 6);
                format!(
                    r#"{{"symbol":"S{:03}","bid":{}.{:02},"ask":{}.{:02},"volume":{}}}"#,
                    row * 13 % 500,
                    noise[0],
                    noise[1] % 100,
                    noise[2],
                    noise[3] % 100,
                    u32::from(noise[4]) * u32::from(noise[5])
                )
            })
            .collect();
        format!(r#"{{"channel":"ticker","sequence":{},"rows":[{}]}}"#, n * 1001, rows.join(","))
    });
    chat.chain(prices).map(String::into_bytes).collect()
}

/// In percent of zlib's at another level.
fn size_against_zlib(level: u8, zlib_level: u32) -> f64 {
    let (mut ours, mut zlibs) = (0, 0);
    let mut codec = Codec::new();
    for message in json() {
        let mut out = Vec::new();
        codec.compress(15, level, &message, &mut out);
        ours += out.len();
        let mut deflater = Compress::new(Compression::new(zlib_level), false);
        zlibs += deflate(&mut deflater, &message, FlushCompress::Sync).len();
    }
    100.0 * f64::from(ours as u32) / f64::from(zlibs as u32)
}

#[test]
fn at_level_6_json_is_at_most_5_percent_larger_than_with_zlib() {
    let percent = size_against_zlib(6, 6);
    assert!(percent <= 105.0, "{percent:.1} % of zlib's size");
    // Not by chance, and not by storing.
    let total: usize = json().iter().map(Vec::len).sum();
    let compressed: usize = json().iter().map(|message| compressed(message).len()).sum();
    assert!(compressed * 2 < total, "{compressed} of {total}");
}

#[test]
fn json_at_the_levels_without_a_stream_is_not_much_larger_than_at_level_6_of_zlib() {
    for (level, percent_max) in [(1, 135.0), (2, 105.0)] {
        let percent = size_against_zlib(level, 6);
        assert!(percent <= percent_max, "level {level}: {percent:.1} % of zlib's size");
    }
}

#[test]
fn messages_around_the_longest_that_needs_no_stream_are_read() {
    for len in [(32 << 10) - 1, 32 << 10, (32 << 10) + 1] {
        for level in [1, 2] {
            // The same 300 bytes from end to end, and what does not repeat.
            for message in [noise(3, 300).repeat(len / 300 + 1)[..len].to_vec(), noise(4, len)] {
                let mut coded = Vec::new();
                Codec::new().compress(15, level, &message, &mut coded);
                assert!(len > 32 << 10 || coded.len() <= len + 6, "{}", coded.len());
                assert_eq!(inflate(&mut Decompress::new(false), &coded), message);
            }
        }
    }
}
