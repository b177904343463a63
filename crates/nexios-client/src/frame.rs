//! Frames of `nexios.v1`: a header before the payload (`docs/protocol.md`, "Frames").

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::message::Message;
use crate::position::Position;

/// The first byte of a frame, and not of an application's message.
const MARK: u8 = 0x1e;
/// The longest header that a client sends, except `hello`.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;
/// The longest header of a `hello`, and of a server.
const SERVER_HEADER_BYTES_MAX: usize = 131_072;

/// A frame's header, from the server.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromServer {
    Welcome {
        id: String,
        #[serde(default)]
        retry_ms: Value,
        #[serde(default)]
        limits: Limits,
    },
    Joined {
        room: String,
        #[serde(default, deserialize_with = "position")]
        position: Option<Position>,
        recovered: Option<bool>,
    },
    Left {
        room: String,
    },
    Message {
        room: String,
        offset: Option<u64>,
        nonce: Option<String>,
    },
    Reset {
        room: String,
        #[serde(deserialize_with = "position")]
        position: Option<Position>,
    },
    Gap {
        room: Option<String>,
        missed: Option<u64>,
        offset: Option<u64>,
    },
    Ack {
        id: u64,
        #[serde(default, deserialize_with = "position")]
        position: Option<Position>,
        #[serde(default)]
        duplicate: bool,
    },
    Reply {
        id: u64,
    },
    Error {
        id: u64,
        code: String,
        message: String,
        #[serde(default)]
        maybe_stored: bool,
    },
    Presence {
        room: String,
        event: PresenceEvent,
        user: String,
        #[serde(default)]
        data: Value,
    },
    Closing {
        code: u16,
        reason: String,
        #[serde(default)]
        retry_ms: Value,
    },
    /// A type of a later version.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PresenceEvent {
    Join,
    Leave,
    #[serde(other)]
    Unknown,
}

/// The server's limits, as far as `welcome` names them.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub(crate) message_bytes: Option<u64>,
    pub(crate) unanswered: Option<u64>,
    /// Rooms that a `hello` names.
    pub(crate) rooms: Option<u64>,
}

impl Limits {
    /// Returns the bytes of the longest `hello` that the server takes, its mark and line feed left out.
    pub(crate) fn hello_bytes(&self) -> usize {
        at_most(self.message_bytes, SERVER_HEADER_BYTES_MAX).saturating_sub(2)
    }

    /// Returns the most rooms that a `hello` names.
    pub(crate) fn hello_rooms(&self) -> usize {
        at_most(self.rooms, usize::MAX)
    }
}

fn at_most(limit: Option<u64>, max: usize) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).map_or(max, |limit| limit.min(max))
}

/// Reads a position; a text that is not one is an error, and so is a missing member that has no default.
fn position<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Position>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A frame's header, to the server.
#[derive(Clone, Serialize, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToServer<'a> {
    Hello {
        rooms: BTreeMap<String, String>,
        user_agent: &'static str,
    },
    Join {
        id: u64,
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<String>,
    },
    Leave {
        id: u64,
        room: &'a str,
    },
    Publish {
        id: u64,
        room: &'a str,
        key: &'a str,
    },
    Request {
        id: u64,
        method: &'a str,
    },
    Presence {
        id: u64,
        room: &'a str,
    },
}

/// A message from the server.
#[derive(PartialEq, Debug)]
pub(crate) enum Incoming {
    Message(Message),
    Frame(FromServer, Message),
}

/// A message that is not a frame of `nexios.v1` though it begins like one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed frame: {0}")]
pub(crate) struct Malformed(String);

impl ToServer<'_> {
    pub(crate) fn header(&self) -> String {
        // Maps of texts and numbers always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn with(&self, payload: &Message) -> Message {
        framed(&self.header(), payload)
    }
}

/// Returns an application's message as it travels.
pub(crate) fn escaped(message: Message) -> Message {
    match message.as_bytes().first() {
        Some(&MARK) => framed("", &message),
        _ => message,
    }
}

fn framed(header: &str, payload: &Message) -> Message {
    match payload {
        Message::Text(text) => Message::Text(format!("\u{1e}{header}\n{text}")),
        Message::Binary(bytes) => Message::Binary([&[MARK], header.as_bytes(), b"\n", bytes].concat()),
    }
}

impl Incoming {
    pub(crate) fn parse(message: Message) -> Result<Incoming, Malformed> {
        let Some(frame) = message.as_bytes().strip_prefix(&[MARK]) else { return Ok(Incoming::Message(message)) };
        let end = frame.iter().take(SERVER_HEADER_BYTES_MAX + 1).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| Malformed("its header has no end".to_owned()))?;
        let payload = payload(&message, &frame[end + 1..])?;
        match &frame[..end] {
            [] => Ok(Incoming::Message(payload)),
            header => Ok(Incoming::Frame(parse_header(header)?, payload)),
        }
    }
}

fn payload(message: &Message, bytes: &[u8]) -> Result<Message, Malformed> {
    match message {
        Message::Binary(_) => Ok(Message::Binary(bytes.to_vec())),
        Message::Text(_) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Message::Text(text.to_owned())),
            Err(error) => Err(Malformed(error.to_string())),
        },
    }
}

fn parse_header(header: &[u8]) -> Result<FromServer, Malformed> {
    // An array would do for serde.
    if !header.trim_ascii_start().starts_with(b"{") {
        return Err(Malformed("its header is not a JSON object".to_owned()));
    }
    serde_json::from_slice(header).map_err(|error| Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages() -> impl Strategy<Value = Message> {
        prop_oneof![
            "\u{1e}?.*".prop_map(Message::Text),
            any::<Vec<u8>>().prop_map(Message::Binary),
            any::<Vec<u8>>().prop_map(|mut bytes| {
                bytes.insert(0, MARK);
                Message::Binary(bytes)
            }),
        ]
    }

    proptest! {
        #[test]
        fn any_message_comes_through(message in messages()) {
            prop_assert_eq!(Incoming::parse(escaped(message.clone())), Ok(Incoming::Message(message)));
        }

        #[test]
        fn garbage_does_no_harm(message in messages()) {
            let _ = Incoming::parse(message);
        }
    }

    #[test]
    fn a_header_stands_before_its_payload() {
        let request = ToServer::Request { id: 7, method: "say" }.with(&"hi\nyou".into());
        assert_eq!(request, "\u{1e}{\"type\":\"request\",\"id\":7,\"method\":\"say\"}\nhi\nyou".into());
        let reply = Incoming::parse("\u{1e}{\"type\":\"reply\",\"id\":7,\"more\":1}\nyes".into());
        assert_eq!(reply, Ok(Incoming::Frame(FromServer::Reply { id: 7 }, "yes".into())));
    }

    #[test]
    fn what_a_later_version_sends_is_left_alone() {
        let frame = Incoming::parse("\u{1e}{\"type\":\"later\",\"x\":[1]}\n".into());
        assert_eq!(frame, Ok(Incoming::Frame(FromServer::Unknown, Message::empty())));
        for text in ["\u{1e}", "\u{1e}{}", "\u{1e}{}\n", "\u{1e}[1]\n", "\u{1e}{\"type\":\"ack\"}\n"] {
            assert!(Incoming::parse(text.into()).is_err(), "{text:?}");
        }
        assert!(Incoming::parse("\u{1e}[\"left\",\"r\"]\n".into()).is_err());
        let long = format!("\u{1e}{{\"type\":\"later\",\"x\":\"{}\"}}\n", "x".repeat(SERVER_HEADER_BYTES_MAX));
        assert!(Incoming::parse(long.into()).is_err());
    }
}
