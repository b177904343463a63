//! One rule for JSON in both languages: `json_cases.json` is read by the tests in Python, too.

use nexios::{App, ReceiveError, WebSocket};
use serde::Deserialize;

use crate::bench::{Bench, Seen};

#[derive(Deserialize)]
struct Case {
    name: String,
    valid: bool,
    text: Option<String>,
    hex: Option<String>,
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

#[test]
fn what_is_json_is_received_and_anything_else_is_1007() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../json_cases.json")).unwrap();
    let app = App::new().ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        let received: Result<serde_json::Value, ReceiveError> = ws.receive_json().await;
        received?;
        ws.send_text("valid").await?;
        Ok(())
    });
    let bench = Bench::new(app);
    for Case { name, valid, text, hex } in cases {
        let client = bench.connect("/");
        match (text, hex) {
            (Some(text), _) => client.send(&text),
            (None, Some(hex)) => client.send_binary(&bytes(&hex)),
            (None, None) => panic!("{name} has nothing to send"),
        }
        let first = client.seen().into_iter().next();
        match valid {
            true => assert_eq!(first, Some(Seen::Text("valid".into())), "{name}"),
            false => assert!(matches!(first, Some(Seen::Close(1007, _))), "{name}: {first:?}"),
        }
    }
}
