//! Messages of `nexios.v1`: an application's as they are, frames with a header before the payload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a frame begins with, and an application's message does not.
const MARK: u8 = 0x1e;

/// A message, text or binary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// In UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// A frame's header, from the server.
#[derive(Deserialize, PartialEq, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromServer {
    Welcome {
        id: String,
        retry_ms: (u64, u64),
    },
    Joined {
        room: String,
        position: Option<String>,
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
        position: String,
    },
    Gap {
        room: Option<String>,
        missed: Option<u64>,
        offset: Option<u64>,
    },
    Ack {
        id: u64,
        position: Option<String>,
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
    },
    Presence {
        room: String,
        event: String,
        user: String,
        #[serde(default)]
        data: Value,
    },
    Closing {
        code: u16,
        reason: String,
        retry_ms: Option<(u64, u64)>,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// A frame's header, to the server.
#[derive(Clone, Serialize, Debug)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToServer {
    Hello {
        rooms: BTreeMap<String, String>,
        user_agent: &'static str,
    },
    Join {
        id: u64,
        room: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<String>,
    },
    Leave {
        id: u64,
        room: String,
    },
    Publish {
        id: u64,
        room: String,
        key: String,
    },
    Request {
        id: u64,
        method: String,
    },
    Presence {
        id: u64,
        room: String,
    },
}

/// What a message from the server is.
#[derive(PartialEq, Debug)]
pub(crate) enum Incoming {
    Message(Message),
    Frame(FromServer, Message),
}

/// What came is no frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server's frame makes no sense: {0}")]
pub(crate) struct Malformed(String);

impl Message {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Its text; `None` of a binary message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The value that it is the JSON of.
    ///
    /// # Errors
    /// It is no JSON of such a value.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.as_bytes())
    }

    pub(crate) fn empty() -> Self {
        Message::Text(String::new())
    }

    /// Of the same kind.
    fn with(&self, bytes: &[u8]) -> Result<Message, Malformed> {
        match self {
            Message::Binary(_) => Ok(Message::Binary(bytes.to_vec())),
            Message::Text(_) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Message::Text(text.to_owned())),
                Err(error) => Err(Malformed(error.to_string())),
            },
        }
    }

    /// An application's message as it travels.
    pub(crate) fn escaped(self) -> Message {
        match self.as_bytes().first() {
            Some(&MARK) => framed("", &self),
            _ => self,
        }
    }
}

impl ToServer {
    pub(crate) fn with(&self, payload: &Message) -> Message {
        // Maps of texts and numbers always have a JSON form.
        framed(&serde_json::to_string(self).unwrap_or_default(), payload)
    }
}

fn framed(header: &str, payload: &Message) -> Message {
    let mut bytes = Vec::with_capacity(header.len() + payload.as_bytes().len() + 2);
    bytes.push(MARK);
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(payload.as_bytes());
    match payload {
        // Texts put together are text.
        Message::Text(_) => Message::Text(String::from_utf8(bytes).unwrap_or_default()),
        Message::Binary(_) => Message::Binary(bytes),
    }
}

impl Incoming {
    pub(crate) fn parse(message: Message) -> Result<Incoming, Malformed> {
        let Some(frame) = message.as_bytes().strip_prefix(&[MARK]) else { return Ok(Incoming::Message(message)) };
        let Some(end) = frame.iter().position(|byte| *byte == b'\n') else {
            return Err(Malformed("its header does not end".to_owned()));
        };
        let (header, payload) = (&frame[..end], message.with(&frame[end + 1..])?);
        if header.is_empty() {
            return Ok(Incoming::Message(payload));
        }
        let header = serde_json::from_slice(header).map_err(|error| Malformed(error.to_string()))?;
        Ok(Incoming::Frame(header, payload))
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Message::Binary(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
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
            prop_assert_eq!(Incoming::parse(message.clone().escaped()), Ok(Incoming::Message(message)));
        }

        #[test]
        fn garbage_does_no_harm(message in messages()) {
            let _ = Incoming::parse(message);
        }
    }

    #[test]
    fn a_header_stands_before_its_payload() {
        let request = ToServer::Request { id: 7, method: "say".into() }.with(&"hi\nyou".into());
        assert_eq!(request, "\u{1e}{\"type\":\"request\",\"id\":7,\"method\":\"say\"}\nhi\nyou".into());
        let reply = Incoming::parse("\u{1e}{\"type\":\"reply\",\"id\":7,\"more\":1}\nyes".into());
        assert_eq!(reply, Ok(Incoming::Frame(FromServer::Reply { id: 7 }, "yes".into())));
    }

    #[test]
    fn what_a_later_version_says_is_left_alone() {
        let frame = Incoming::parse("\u{1e}{\"type\":\"later\",\"x\":[1]}\n".into());
        assert_eq!(frame, Ok(Incoming::Frame(FromServer::Unknown, Message::empty())));
        for text in ["\u{1e}", "\u{1e}{}", "\u{1e}{}\n", "\u{1e}[1]\n", "\u{1e}{\"type\":\"ack\"}\n"] {
            assert!(Incoming::parse(text.into()).is_err(), "{text:?}");
        }
    }
}
