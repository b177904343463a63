//! The negotiation of permessage-deflate (RFC 7692 §5 and §7.1), both sides.

use nexios_protocol::{Agreed, ClientHandshake, DeflateConfig, HandshakeError, negotiate, offer_header, parse_offers};
use proptest::prelude::*;

use crate::handshake::{answer_with, read_answer};

fn takeover(window_bits: u8) -> DeflateConfig {
    DeflateConfig { takeover: true, window_bits, ..DeflateConfig::default() }
}

fn answer(config: &DeflateConfig, offers: &[&str]) -> Option<String> {
    negotiate(config, &parse_offers(offers.iter().copied())).map(|(_, header)| header)
}

#[test]
fn offers_are_answered_as_rfc_7692_section_7_1_asks() {
    let open = takeover(15);
    let small = takeover(12);
    let table: [(&DeflateConfig, &[&str], &str); 17] = [
        (&open, &["permessage-deflate"], ""),
        (&open, &["permessage-deflate; client_max_window_bits"], ""),
        (&open, &["permessage-deflate; server_no_context_takeover"], "; server_no_context_takeover"),
        (&open, &["permessage-deflate; client_no_context_takeover"], "; client_no_context_takeover"),
        (
            &open,
            &["permessage-deflate; client_no_context_takeover; server_no_context_takeover"],
            "; server_no_context_takeover; client_no_context_takeover",
        ),
        (&open, &["permessage-deflate; server_max_window_bits=15"], "; server_max_window_bits=15"),
        (&open, &["permessage-deflate;server_max_window_bits=9"], "; server_max_window_bits=9"),
        (&open, &["permessage-deflate; server_max_window_bits = \"9\""], "; server_max_window_bits=9"),
        (&open, &["permessage-deflate; client_max_window_bits=10"], "; client_max_window_bits=10"),
        (&open, &["permessage-deflate; client_max_window_bits=8"], "; client_max_window_bits=8"),
        (
            &open,
            &["permessage-deflate; server_max_window_bits=10; client_max_window_bits=11"],
            "; server_max_window_bits=10; client_max_window_bits=11",
        ),
        // Our own limit: asked of the client only where it knows the parameter.
        (&small, &["permessage-deflate"], "; server_max_window_bits=12"),
        (&small, &["permessage-deflate; server_max_window_bits=14"], "; server_max_window_bits=12"),
        (
            &small,
            &["permessage-deflate; client_max_window_bits"],
            "; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            &small,
            &["permessage-deflate; client_max_window_bits=14; server_max_window_bits=9"],
            "; server_max_window_bits=9; client_max_window_bits=12",
        ),
        // Other extensions, several lines, any case of the name.
        (&open, &["x-webkit-deflate-frame, foo; a=\"permessage-deflate, b\"", "Permessage-Deflate"], ""),
        (&open, &[" ,, permessage-deflate"], ""),
    ];
    for (config, offers, expected) in table {
        assert_eq!(answer(config, offers), Some(format!("permessage-deflate{expected}")), "{offers:?}");
    }
}

#[test]
fn a_bad_offer_is_declined_and_the_next_is_tried() {
    let parameters = [
        "unknown",
        "unknown=1",
        "server_no_context_takeover=1",
        "server_no_context_takeover=",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=+10",
        "server_max_window_bits=-10",
        "server_max_window_bits=1e1",
        "server_max_window_bits=10.",
        "server_max_window_bits=\"10",
        "server_max_window_bits=266",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=08",
        "client_max_window_bits=",
        "client_max_window_bits=\"\"",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits; client_max_window_bits=10",
        // Allowed, but no window of 256 bytes can be made here.
        "server_max_window_bits=8",
        "",
    ];
    for parameters in parameters {
        let bad = format!("permessage-deflate; {parameters}");
        assert_eq!(answer(&takeover(15), &[&bad]), None, "{parameters}");
        if parameters.contains("\"10") {
            continue; // The open quote swallows what follows.
        }
        let fallback = "permessage-deflate; client_no_context_takeover";
        assert_eq!(answer(&takeover(15), &[&format!("{bad}, {fallback}")]).as_deref(), Some(fallback), "{parameters}");
        assert_eq!(answer(&takeover(15), &[&bad, fallback]).as_deref(), Some(fallback), "{parameters}");
    }
}

#[test]
fn the_first_good_offer_wins() {
    let offers = ["permessage-deflate; server_max_window_bits=10, permessage-deflate"];
    assert_eq!(answer(&takeover(15), &offers).as_deref(), Some("permessage-deflate; server_max_window_bits=10"));
}

fn deflate_answer(config: &DeflateConfig, extensions: &str) -> Result<Option<Agreed>, HandshakeError> {
    let client = ClientHandshake::new("a", "/").deflate(*config);
    let line = format!("Sec-WebSocket-Extensions: {extensions}");
    let response = read_answer(&client, &answer_with(&line))?;
    Ok(response.unwrap().0.deflate)
}

#[test]
fn a_client_understands_what_a_server_may_answer() {
    let open = takeover(15);
    let agreed = Agreed {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
    };
    let table = [
        ("permessage-deflate", agreed),
        (
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            Agreed { server_no_context_takeover: true, client_no_context_takeover: true, ..agreed },
        ),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=\"10\"",
            Agreed { server_max_window_bits: 9, client_max_window_bits: 10, ..agreed },
        ),
        // A server may use less than it could, down to a window that only it can make.
        ("permessage-deflate; server_max_window_bits=8", Agreed { server_max_window_bits: 8, ..agreed }),
    ];
    for (answer, expected) in table {
        assert_eq!(deflate_answer(&open, answer), Ok(Some(expected)), "{answer}");
    }
}

#[test]
fn a_client_refuses_extensions_that_contradict_its_offer() {
    let (open, small, forgetful) = (takeover(15), takeover(10), DeflateConfig::default());
    let table = [
        (&open, ""),
        (&open, "foo"),
        (&open, "permessage-deflate, foo"),
        (&open, "permessage-deflate, permessage-deflate"),
        (&open, "permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate"),
        (&open, "permessage-deflate\r\nSec-WebSocket-Extensions: foo"),
        (&open, "permessage-deflate; unknown"),
        (&open, "permessage-deflate; server_no_context_takeover; server_no_context_takeover"),
        (&open, "permessage-deflate; server_no_context_takeover=1"),
        (&open, "permessage-deflate; server_max_window_bits"),
        (&open, "permessage-deflate; server_max_window_bits=7"),
        (&open, "permessage-deflate; server_max_window_bits=16"),
        (&open, "permessage-deflate; client_max_window_bits"),
        (&open, "permessage-deflate; client_max_window_bits=16"),
        (&small, "permessage-deflate"),
        (&small, "permessage-deflate; server_max_window_bits=11"),
        (&forgetful, "permessage-deflate"),
        (&forgetful, "permessage-deflate; client_no_context_takeover"),
    ];
    for (config, answer) in table {
        assert_eq!(deflate_answer(config, answer), Err(HandshakeError::Extension), "{answer}");
    }
}

#[test]
fn an_offer_is_one_that_our_own_server_understands() {
    for window_bits in 9..=15 {
        for takeover in [false, true] {
            let config = DeflateConfig { takeover, window_bits, ..DeflateConfig::default() };
            let offers = parse_offers([offer_header(&config).as_str()]);
            assert_eq!(offers.len(), 1);
            assert_eq!(offers[0].client_no_context_takeover, !takeover);
            assert_eq!(offers[0].server_no_context_takeover, !takeover);
            assert_eq!(offers[0].server_max_window_bits, (window_bits < 15).then_some(window_bits));
            assert_eq!(offers[0].client_max_window_bits, Some((window_bits < 15).then_some(window_bits)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_list_of_extensions_makes_the_parser_panic(value in "[dpelrmst;=,\" 0-9_-]{0,60}") {
        let offers = parse_offers([value.as_str(), "permessage-deflate"]);
        prop_assert!(!offers.is_empty());
        prop_assert!(negotiate(&takeover(15), &offers).is_some());
    }
}
