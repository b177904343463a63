//! `nexios.v1` as far as a client that comes back needs it (docs/protocol.md).

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::frame::{self, Kind};

/// The field of a request that offers the subprotocol.
pub(crate) const OFFER: &str = "Sec-WebSocket-Protocol: nexios.v1\r\n";

/// What a frame of the subprotocol begins with, and what ends its header.
const START: u8 = 0x1e;
const HEADER_END: u8 = b'\n';

/// Where a client is in one room that remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    epoch: String,
    offset: u64,
    nonce: String,
}

impl Position {
    /// Reads `EPOCH-OFFSET-NONCE`.
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('-');
        let mut part = || parts.next().with_context(|| format!("{text} is no position"));
        let position = Self { epoch: part()?.to_owned(), offset: part()?.parse()?, nonce: part()?.to_owned() };
        ensure!(parts.next().is_none(), "{text} is no position");
        Ok(position)
    }

    fn text(&self) -> String {
        format!("{}-{}-{}", self.epoch, self.offset, self.nonce)
    }
}

/// What the server says that moves the position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Welcome,
    Joined {
        recovered: bool,
    },
    /// A message of the room that is new to the client.
    Message(&'a [u8]),
    /// Messages are lost that nobody has any more.
    Lost,
    /// Nothing that matters here.
    Other,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "type")]
    kind: String,
    position: Option<String>,
    #[serde(default)]
    recovered: bool,
    offset: Option<u64>,
    nonce: Option<String>,
    message: Option<String>,
}

/// The frame with which a client opens, with where it was in the room, if it was there.
pub(crate) fn hello(room: &str, position: Option<&Position>) -> Vec<u8> {
    let hello = match position {
        Some(position) => json!({ "type": "hello", "rooms": { room: position.text() } }),
        None => json!({ "type": "hello" }),
    };
    let mut payload = vec![START];
    payload.extend(hello.to_string().into_bytes());
    payload.push(HEADER_END);
    frame::masked(Kind::Text, false, &payload)
}

/// Reads one payload of the server, and moves the position with it.
pub(crate) fn hear<'a>(payload: &'a [u8], position: &mut Option<Position>) -> Result<Said<'a>> {
    let Some(rest) = payload.strip_prefix(&[START]) else { bail!("a message of no room") };
    let end = rest.iter().position(|byte| *byte == HEADER_END).context("a header does not end")?;
    let header: Header = serde_json::from_slice(&rest[..end]).context("a header cannot be read")?;
    match header.kind.as_str() {
        "welcome" => Ok(Said::Welcome),
        "joined" => {
            *position = Some(Position::parse(&header.position.context("a room that does not remember")?)?);
            Ok(Said::Joined { recovered: header.recovered })
        }
        "message" => hear_message(header, &rest[end + 1..], position),
        "reset" | "gap" => Ok(Said::Lost),
        "error" | "closing" => bail!("the server says {}", header.message.unwrap_or(header.kind)),
        _ => Ok(Said::Other),
    }
}

/// A client drops what is not above its own offset.
fn hear_message<'a>(header: Header, payload: &'a [u8], position: &mut Option<Position>) -> Result<Said<'a>> {
    let position = position.as_mut().context("a message came before `joined`")?;
    let (offset, nonce) = header.offset.zip(header.nonce).context("a message without offset or nonce")?;
    if offset <= position.offset {
        return Ok(Said::Other);
    }
    (position.offset, position.nonce) = (offset, nonce);
    Ok(Said::Message(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "00112233445566778899aabbccddeeff";

    fn frame(header: &str, payload: &str) -> Vec<u8> {
        format!("\u{1e}{header}\n{payload}").into_bytes()
    }

    fn joined(offset: u64) -> Vec<u8> {
        frame(&format!(r#"{{"type":"joined","room":"r","position":"7f-{offset}-{NONCE}","recovered":true}}"#), "")
    }

    fn message(offset: u64) -> Vec<u8> {
        frame(&format!(r#"{{"type":"message","room":"r","offset":{offset},"nonce":"{NONCE}"}}"#), "hi\nthere")
    }

    #[test]
    fn messages_move_the_position() {
        let mut position = None;
        assert_eq!(hear(&joined(4), &mut position).unwrap(), Said::Joined { recovered: true });
        assert_eq!(hear(&message(9), &mut position).unwrap(), Said::Message(b"hi\nthere"));
        assert_eq!(position.unwrap().text(), format!("7f-9-{NONCE}"));
    }

    #[test]
    fn what_is_not_above_the_position_is_dropped() {
        let mut position = None;
        hear(&joined(4), &mut position).unwrap();
        assert_eq!(hear(&message(4), &mut position).unwrap(), Said::Other);
    }

    #[test]
    fn a_message_before_joined_is_an_error_and_so_is_a_broken_header() {
        assert!(hear(&message(1), &mut None).is_err());
        for payload in [&b"hi"[..], b"\x1e{\"type\":\"welcome\"}", b"\x1e{\n", b"\x1e{\"type\":\"error\"}\n"] {
            assert!(hear(payload, &mut None).is_err(), "{}", String::from_utf8_lossy(payload));
        }
    }

    #[test]
    fn losses_are_heard_and_the_unknown_is_ignored() {
        assert_eq!(hear(&frame(r#"{"type":"gap"}"#, ""), &mut None).unwrap(), Said::Lost);
        assert_eq!(hear(&frame(r#"{"type":"something"}"#, ""), &mut None).unwrap(), Said::Other);
        assert_eq!(hear(&frame(r#"{"type":"welcome","id":"x"}"#, ""), &mut None).unwrap(), Said::Welcome);
    }

    #[test]
    fn hello_says_where_the_client_was() {
        let position = Position::parse(&format!("7f-12-{NONCE}")).unwrap();
        let expected = format!("\u{1e}{{\"rooms\":{{\"r\":\"7f-12-{NONCE}\"}},\"type\":\"hello\"}}\n");
        assert_eq!(hello("r", Some(&position)), frame::masked(Kind::Text, false, expected.as_bytes()));
        assert_eq!(hello("r", None), frame::masked(Kind::Text, false, b"\x1e{\"type\":\"hello\"}\n"));
        assert!(Position::parse("7f-12").is_err() && Position::parse("7f-x-0").is_err());
    }
}
