//! The end: `closing` before the Close frame.

use std::time::Duration;

use nexios::{App, RateLimit, WebSocket};

use super::{deaf, frame, got, live, offer};
use crate::bench::Bench;

/// Closes with the code that the client says.
async fn obey(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    let code: u16 = ws.receive_json().await?;
    ws.close(code, "as \"told\"").await?;
    Ok(())
}

#[test]
fn a_close_is_announced_with_the_window_for_coming_back() {
    let bench = Bench::new(App::new().live(true).ws("/", obey));
    for (code, window) in [
        (1000, ""),
        (1008, ""),
        (4000, ""),
        (1001, r#","retry_ms":[100,2000]"#),
        (1011, r#","retry_ms":[100,2000]"#),
        (1012, r#","retry_ms":[100,2000]"#),
        (1013, r#","retry_ms":[10000,12000]"#),
    ] {
        let client = live(&bench, "/");
        client.send(&code.to_string());
        let closing = format!(r#"|{{"type":"closing","code":{code},"reason":"as \"told\""{window}}}|"#);
        assert_eq!(got(&client)[..2], [closing, format!("Close({code}, \"as \\\"told\\\"\")")]);
    }
    let plain = bench.connect("/");
    plain.send("1000");
    assert_eq!(got(&plain)[0], "Close(1000, \"as \\\"told\\\"\")");
}

#[test]
fn a_close_before_accept_is_announced_as_well() {
    let refuse = async |ws: WebSocket| {
        ws.close(1008, "Invalid token").await?;
        Ok(())
    };
    let bench = Bench::new(App::new().live(true).ws("/", refuse));
    let client = offer(&bench, "/");
    let closing = r#"|{"type":"closing","code":1008,"reason":"Invalid token"}|"#;
    assert_eq!(got(&client)[..2], [closing, r#"Close(1008, "Invalid token")"#]);
    let plain = bench.connect("/");
    assert_eq!(got(&plain)[0], r#"Close(1008, "Invalid token")"#);
}

#[test]
fn a_close_for_a_message_of_the_client_is_not_announced() {
    let bench = Bench::new(App::new().live(true).ws("/", obey));
    for (message, code) in [("1002", 1002), ("1003", 1003), ("1007", 1007), ("1009", 1009), ("no json", 1007)] {
        let client = live(&bench, "/");
        client.send(message);
        assert!(got(&client)[0].starts_with(&format!("Close({code}, ")), "{message}");
    }
    let client = live(&bench, "/");
    client.send("\u{1E}no header");
    assert_eq!(got(&client)[0], r#"Close(1002, "a frame's header has no end")"#);
}

#[test]
fn an_end_that_the_application_does_not_mean_to_be_final_has_a_window() {
    let limited = App::new().live(true).middleware(RateLimit::messages(1)).ws("/", deaf);
    let bench = Bench::new(limited);
    let client = live(&bench, "/");
    (0..2).for_each(|_| client.send("x"));
    let closing =
        |reason: &str| format!(r#"|{{"type":"closing","code":1008,"reason":"{reason}","retry_ms":[100,2000]}}|"#);
    assert_eq!(got(&client)[0], closing("Rate limit exceeded"));
    let silent = offer(&bench, "/");
    bench.advance(Duration::from_secs(11));
    assert_eq!(got(&silent)[0], closing("no hello"));
    frame(&silent, r#"{"type":"hello"}"#, "");
}

#[test]
fn the_end_of_the_handler_and_a_fault_are_announced_as_well() {
    let bench = Bench::new(App::new().live(true).ws("/", async |ws: WebSocket| {
        ws.accept().await?;
        match ws.receive_text().await?.as_str() {
            "fail" => Err(nexios::Error::msg("a secret")),
            _ => Ok(()),
        }
    }));
    for (word, code, window) in [("end", 1000, ""), ("fail", 1011, r#","retry_ms":[100,2000]"#)] {
        let client = live(&bench, "/");
        client.send(word);
        let closing = format!(r#"|{{"type":"closing","code":{code},"reason":""{window}}}|"#);
        assert_eq!(got(&client)[0], closing, "{word}");
    }
}

#[test]
fn a_clients_own_close_is_answered_without_a_word() {
    let bench = Bench::new(App::new().live(true).ws("/", deaf));
    let client = live(&bench, "/");
    client.close(1000, "");
    assert_eq!(got(&client)[0], "Close(1000, \"\")");
}

#[test]
fn a_restart_spreads_the_clients_by_their_number() {
    let bench = Bench::new(App::new().live(true).ws("/", deaf).retry(Duration::ZERO, Duration::from_millis(2)));
    let clients: Vec<_> = (0..10).map(|_| live(&bench, "/")).collect();
    bench.shard.close_all(Duration::ZERO);
    bench.run();
    let windows: Vec<u64> = clients
        .iter()
        .map(|client| {
            let closing = got(client).swap_remove(0);
            assert!(closing.contains(r#""code":1012,"reason":"server restarting","#), "{closing}");
            let window = closing.split_once("\"retry_ms\":[0,").unwrap().1;
            window.trim_end_matches(['|', '}', ']']).parse().unwrap()
        })
        .collect();
    assert_eq!(windows.iter().max(), Some(&10), "{windows:?}");
    assert!(windows.iter().all(|end| (2..=10).contains(end)), "{windows:?}");
}
