//! A server and a client of our own understand each other, whatever they have agreed on.

use nexios_protocol::{
    Agreed, Codec, Connection, ContextDeflater, DeflateConfig, HeadLimits, Limits, OpCode, RequestHead, Role,
    check_upgrade, negotiate, write_accept,
};
use nexios_protocol::{ClientHandshake, offer_header, parse_offers};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::*;

fn config() -> impl Strategy<Value = DeflateConfig> {
    (any::<bool>(), 9u8..=15, 1u8..=9, 1u8..=9).prop_map(|(takeover, window_bits, level, mem_level)| DeflateConfig {
        takeover,
        window_bits,
        level,
        mem_level,
    })
}

/// One side's way to compress what it has agreed on.
enum Compressor {
    Shared { window_bits: u8, level: u8 },
    Own(ContextDeflater),
}

impl Compressor {
    fn new(role: Role, agreed: &Agreed, config: &DeflateConfig) -> Self {
        let (forgets, window_bits) = match role {
            Role::Server => (agreed.server_no_context_takeover, agreed.server_max_window_bits),
            Role::Client => (agreed.client_no_context_takeover, agreed.client_max_window_bits),
        };
        if forgets {
            return Compressor::Shared { window_bits, level: config.level };
        }
        Compressor::Own(ContextDeflater::new(window_bits, config.level, config.mem_level))
    }

    fn compress(&mut self, codec: &mut Codec, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Compressor::Shared { window_bits, level } => codec.compress(*window_bits, *level, payload, &mut out),
            Compressor::Own(deflater) => deflater.compress(payload, &mut out),
        }
        out
    }
}

/// Does the handshake over bytes; what each side has understood.
fn shake_hands(client: &DeflateConfig, server: &DeflateConfig) -> (Option<Agreed>, Option<Agreed>) {
    let handshake = ClientHandshake::new("example.org", "/").deflate(*client);
    let (head, _) = RequestHead::parse(&handshake.request().unwrap(), &HeadLimits::default()).unwrap().unwrap();
    let upgrade = check_upgrade(&head).unwrap();
    let (agreed, header) = negotiate(server, &upgrade.deflate_offers).unzip();
    let mut answer = Vec::new();
    write_accept(&mut answer, &upgrade.accept_key, None, header.as_deref(), &[]).unwrap();
    let (response, used) = handshake.parse_response(&answer).unwrap().unwrap();
    assert_eq!(used, answer.len());
    (response.deflate, agreed)
}

#[derive(Clone, Debug)]
enum Payload {
    Text(String),
    Binary(Vec<u8>),
    /// Repeats from as far back as a window goes.
    Far(u8, usize),
}

impl Payload {
    fn seen(&self) -> Seen {
        match self {
            Payload::Text(text) => Seen::Text(text.clone()),
            Payload::Binary(bytes) => Seen::Binary(bytes.clone()),
            Payload::Far(seed, distance) => {
                let noise = noise(u32::from(*seed), *distance);
                Seen::Binary([&noise[..], &noise[..noise.len().min(300)]].concat())
            }
        }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        3 => ".{0,100}".prop_map(Payload::Text),
        3 => "[ab ]{0,400}".prop_map(Payload::Text),
        2 => vec(any::<u8>(), 0..600).prop_map(Payload::Binary),
        // 250 and 262 stand at the edge of the smallest window, 512 bytes.
        1 => (0u8..3, prop_oneof![240usize..270, 500usize..530, 1000usize..1100, 3900usize..4200])
            .prop_map(|(seed, distance)| Payload::Far(seed, distance)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn messages_come_back_with_every_agreement(
        client in config(), server in config(),
        messages in vec((any::<bool>(), any::<bool>(), payload()), 1..6),
    ) {
        let (theirs, ours) = shake_hands(&client, &server);
        prop_assert_eq!(theirs.is_some(), ours.is_some());
        let (Some(theirs), Some(ours)) = (theirs, ours) else { return Ok(()) };
        assert_compatible(&theirs, &ours);
        let mut sides = [(Role::Client, theirs, client), (Role::Server, ours, server)].map(|(role, agreed, config)| {
            (Connection::new(role, Some(agreed)), Compressor::new(role, &agreed, &config))
        });
        let mut codec = Codec::new();
        for (from_client, compress, payload) in messages {
            let [client, server] = &mut sides;
            let (from, to) = if from_client { (client, server) } else { (server, client) };
            let (opcode, bytes) = match payload.seen() {
                Seen::Text(text) => (OpCode::Text, text.into_bytes()),
                Seen::Binary(bytes) => (OpCode::Binary, bytes),
                _ => unreachable!(),
            };
            let (mut wire, mut seen) = (Vec::new(), Vec::new());
            if compress {
                let compressed = from.1.compress(&mut codec, &bytes);
                from.0.send_compressed(&mut wire, opcode, &compressed);
            } else {
                from.0.send_message(&mut wire, opcode, &bytes);
            }
            feed(&mut to.0, &Limits::default(), &mut codec, &wire, &mut seen, &mut Vec::new()).unwrap();
            prop_assert_eq!(seen, [payload.seen()]);
        }
    }

    #[test]
    fn fragments_come_back_as_one_message(
        from_client: bool, payload in vec(any::<u8>(), 0..500), sizes in vec(0usize..100, 0..8), pings: bool,
    ) {
        let role = if from_client { Role::Client } else { Role::Server };
        let (mut from, mut wire) = (Connection::new(role, None), Vec::new());
        let (mut rest, mut opcode) = (&payload[..], OpCode::Binary);
        let mut expected = Vec::new();
        for size in sizes {
            let (piece, tail) = rest.split_at(size.min(rest.len()));
            from.send_fragment(&mut wire, opcode, false, piece);
            if pings {
                from.send_ping(&mut wire, b"between").unwrap();
                expected.push(Seen::Ping(b"between".to_vec()));
            }
            (rest, opcode) = (tail, OpCode::Continuation);
        }
        from.send_fragment(&mut wire, opcode, true, rest);
        expected.push(Seen::Binary(payload.clone()));
        let to = outcome(other(role), Limits::default(), None, [&wire[..]]);
        prop_assert_eq!((to.seen, to.error), (expected, None));
    }
}

/// No side keeps or uses more than the other counts on.
fn assert_compatible(client: &Agreed, server: &Agreed) {
    assert_eq!(client.server_no_context_takeover, server.server_no_context_takeover);
    assert_eq!(client.server_max_window_bits, server.server_max_window_bits);
    assert!(client.client_no_context_takeover || !server.client_no_context_takeover);
    assert!(client.client_max_window_bits <= server.client_max_window_bits);
    assert!((9..=15).contains(&server.server_max_window_bits) && (9..=15).contains(&client.client_max_window_bits));
}

#[test]
fn every_pair_of_settings_agrees_and_keeps_to_the_smaller_window() {
    for (client_bits, server_bits) in (9..=15).flat_map(|a| (9..=15).map(move |b| (a, b))) {
        for (client_takeover, server_takeover) in [(false, false), (false, true), (true, false), (true, true)] {
            let config = DeflateConfig::default();
            let client = DeflateConfig { takeover: client_takeover, window_bits: client_bits, ..config };
            let server = DeflateConfig { takeover: server_takeover, window_bits: server_bits, ..config };
            let (theirs, ours) = shake_hands(&client, &server);
            let (theirs, ours) = (theirs.unwrap(), ours.unwrap());
            assert_compatible(&theirs, &ours);
            let both = client_takeover && server_takeover;
            assert_eq!((theirs.server_no_context_takeover, theirs.client_no_context_takeover), (!both, !both));
            let smaller = client_bits.min(server_bits);
            assert_eq!((theirs.server_max_window_bits, theirs.client_max_window_bits), (smaller, smaller));
            assert_eq!(parse_offers([offer_header(&client).as_str()]).len(), 1);
        }
    }
}

#[test]
fn an_agreed_context_spans_messages() {
    let config = DeflateConfig { takeover: true, ..DeflateConfig::default() };
    let mut deflater = ContextDeflater::new(15, config.level, config.mem_level);
    let text = "the same line again and again, with a number 12345".repeat(3);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    deflater.compress(text.as_bytes(), &mut first);
    deflater.compress(text.as_bytes(), &mut second);
    assert!(second.len() * 4 < first.len(), "{} then {}", first.len(), second.len());
    let wire = [frame(FIN | RSV1 | TEXT, None, &first), frame(FIN | RSV1 | TEXT, None, &second)].concat();
    let kept = outcome(Role::Client, Limits::default(), Some(TAKEOVER), [&wire[..]]);
    assert_eq!(kept.seen, [Seen::Text(text.clone()), Seen::Text(text.clone())]);
    let forgotten = outcome(Role::Client, Limits::default(), Some(NO_TAKEOVER), [&wire[..]]);
    assert_eq!(forgotten.seen, [Seen::Text(text)]);
    assert!(forgotten.error.is_some(), "a reference into a window that was forgotten");
}

/// What does not compress must still fit the limit that it obeys uncompressed.
#[test]
fn noise_of_the_largest_size_passes_compressed() {
    let limits = Limits { message_bytes_max: Some(20_000), fragments_max: None };
    let payload = noise(7, 20_000);
    for level in 1..=9 {
        for mem_level in [1, 8, 9] {
            let mut compressed = Vec::new();
            ContextDeflater::new(15, level, mem_level).compress(&payload, &mut compressed);
            let wire = frame(FIN | RSV1 | BINARY, None, &compressed);
            let read = outcome(Role::Client, limits, Some(TAKEOVER), [&wire[..]]);
            assert_eq!(read.error, None, "level {level}, mem_level {mem_level}: {} bytes", compressed.len());
            assert_eq!(read.seen, [Seen::Binary(payload.clone())]);
        }
    }
}
