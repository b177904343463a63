//! Frames: `1E`, a header of JSON on one line, `0A`, a payload.

use std::collections::HashMap;
use std::sync::Arc;

use nexios_engine::{Message, MessageRef};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::broker::{Nonce, Position};

/// The longest header.
pub(crate) const HEADER_BYTES_MAX: usize = 4096;
/// The longest header of a `hello`, which may name many rooms, and of a server's frame.
pub(crate) const LONG_HEADER_BYTES_MAX: usize = 128 << 10;
/// The longest code of an error, as JSON.
const CODE_BYTES_MAX: usize = 256;
/// The longest message of an error, as JSON: with all other members it is within a server's header.
const MESSAGE_BYTES_MAX: usize = LONG_HEADER_BYTES_MAX - 1024;
/// The longest `key` of a `publish`.
pub(crate) const KEY_BYTES_MAX: usize = 128;
/// The highest number that every JSON library keeps exactly.
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;

const MARK: char = '\u{1E}';
/// The first byte of a frame: RS, U+001E. UTF-8 has it as one byte.
const FRAME_MARK: u8 = 0x1E;
/// The empty header that stands before an application's message which itself begins with a mark.
const EMPTY_HEADER: &str = "\u{1E}\n";

/// What a message of a framed client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    /// An application's message, as it is.
    Application,
    /// An application's message that stood behind an empty header.
    Escaped(Message),
    /// A frame, and its payload.
    Frame(ClientFrame, Message),
    /// A frame that is not valid, though it has an id, so that it can be answered; and why.
    Invalid(Id, String),
}

/// The header of a frame that a client may send.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ClientFrame {
    Hello {
        #[serde(default)]
        rooms: HashMap<String, String>,
    },
    Join {
        id: Id,
        room: Arc<str>,
        #[serde(default)]
        position: Option<String>,
    },
    Leave {
        id: Id,
        room: Arc<str>,
    },
    Publish {
        id: Id,
        room: Arc<str>,
        #[serde(default)]
        key: Option<Arc<str>>,
    },
    Request {
        id: Id,
        method: String,
    },
    Presence {
        id: Id,
        room: Arc<str>,
    },
    Ping {
        id: Id,
    },
}

/// All that has to be right in a frame so that it can be answered.
#[derive(Deserialize)]
struct Numbered {
    id: Id,
}

/// The client's number of something that wants an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Id(pub(crate) u64);

/// The header of a frame that a server sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame<'a> {
    Welcome {
        id: String,
        retry_ms: [u64; 2],
        #[serde(skip_serializing_if = "Option::is_none")]
        ping_ms: Option<u64>,
        limits: WelcomeLimits,
    },
    Joined {
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
        position: Option<Position>,
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    Left {
        room: &'a str,
    },
    Message {
        room: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
        nonce: Option<Nonce>,
    },
    Reset {
        room: &'a str,
        #[serde(serialize_with = "as_text")]
        position: Option<Position>,
    },
    Gap {
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missed: Option<u64>,
        /// Of the first of them, in rooms with history.
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
    },
    Ack {
        id: Id,
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
        position: Option<Position>,
        /// Of a publish whose key was stored before.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        duplicate: bool,
    },
    Reply {
        id: Id,
    },
    Error {
        id: Id,
        code: &'a str,
        message: &'a str,
        /// Of a publish that is not confirmed.
        #[serde(skip_serializing_if = "Option::is_none")]
        maybe_stored: Option<bool>,
    },
    Presence {
        room: &'a str,
        event: &'a str,
        user: &'a str,
        data: serde_json::Value,
    },
    Closing {
        code: u16,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_ms: Option<[u64; 2]>,
    },
}

/// Limits of the server that a client has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct WelcomeLimits {
    /// Bytes of a message, its header included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_bytes: Option<usize>,
    /// Frames that wait for their answers.
    pub(crate) unanswered: usize,
    /// Rooms of a client that asks for another, and of a `hello`.
    pub(crate) rooms: usize,
}

/// Reason why a message of a `nexios.v1` client cannot be answered. The connection closes with 1002.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a frame's header has no end")]
    Endless,
    #[error("a frame's header has to be a JSON object in UTF-8 with an id")]
    Header,
    #[error("a hello has to come first")]
    NoHello,
    #[error("a hello comes once")]
    SecondHello,
}

impl ClientFrame {
    /// The number that an answer has.
    pub(crate) fn id(&self) -> Option<Id> {
        match self {
            ClientFrame::Hello { .. } => None,
            ClientFrame::Join { id, .. }
            | ClientFrame::Leave { id, .. }
            | ClientFrame::Publish { id, .. }
            | ClientFrame::Request { id, .. }
            | ClientFrame::Presence { id, .. }
            | ClientFrame::Ping { id } => Some(*id),
        }
    }
}

/// Returns an application's message behind an empty header, if a client would take it for a frame.
pub(crate) fn escape_mistakable(message: MessageRef<'_>) -> Option<Message> {
    (message.as_bytes().first() == Some(&FRAME_MARK)).then(|| match message {
        MessageRef::Text(text) => [EMPTY_HEADER, text].concat().into(),
        MessageRef::Binary(bytes) => [EMPTY_HEADER.as_bytes(), bytes].concat().into(),
    })
}

/// Takes a message apart; a header may have this many bytes.
pub(crate) fn read(message: MessageRef<'_>, header_bytes_max: usize) -> Result<Incoming, Malformed> {
    let Some(framed) = message.as_bytes().strip_prefix(&[FRAME_MARK]) else { return Ok(Incoming::Application) };
    let end = framed.iter().position(|byte| *byte == b'\n').ok_or(Malformed::Endless)?;
    let header = framed.get(..end).unwrap_or_default();
    if header.is_empty() {
        return Ok(Incoming::Escaped(behind(message, 1 + end + 1)));
    }
    // A sequence would pass as well, in the order of the members. What a parser skips is not checked.
    let is_object = header.trim_ascii_start().starts_with(b"{") && std::str::from_utf8(header).is_ok();
    if !is_object {
        return Err(Malformed::Header);
    }
    let why = match end <= header_bytes_max {
        true => match serde_json::from_slice(header) {
            Ok(frame) => return Ok(Incoming::Frame(frame, behind(message, 1 + end + 1))),
            Err(error) => error.to_string(),
        },
        false => format!("its header has {end} bytes, at most {header_bytes_max} are allowed"),
    };
    let Numbered { id } = serde_json::from_slice(header).map_err(|_| Malformed::Header)?;
    Ok(Incoming::Invalid(id, format!("invalid frame: {why}")))
}

fn behind(message: MessageRef<'_>, start: usize) -> Message {
    match message {
        // The byte before is LF, so this is a boundary.
        MessageRef::Text(text) => text.get(start..).unwrap_or_default().into(),
        MessageRef::Binary(bytes) => bytes.get(start..).unwrap_or_default().into(),
    }
}

impl ServerFrame<'_> {
    /// The frame with an empty payload.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from(MARK);
        // Texts, numbers and options of them always have a JSON form.
        text.push_str(&serde_json::to_string(self).unwrap_or_default());
        text.push('\n');
        text
    }

    /// Returns an error frame whose header keeps to its limit: of a longer code or message the end is left out.
    pub(crate) fn error(id: Id, code: &str, message: &str, maybe_stored: Option<bool>) -> String {
        let code = up_to_bytes(code, CODE_BYTES_MAX);
        let message = up_to_bytes(message, MESSAGE_BYTES_MAX);
        ServerFrame::Error { id, code, message, maybe_stored }.to_text()
    }

    /// The frame with a payload, of the payload's kind.
    pub(crate) fn around(&self, payload: MessageRef<'_>) -> Message {
        let mut head = self.to_text();
        match payload {
            MessageRef::Text(text) => {
                head.push_str(text);
                head.into()
            }
            MessageRef::Binary(bytes) => [head.as_bytes(), bytes].concat().into(),
        }
    }
}

/// Returns true if the header of a server's frame has room for the name of a room.
pub(crate) fn is_nameable(room: &str) -> bool {
    up_to_bytes(room, MESSAGE_BYTES_MAX).len() == room.len()
}

/// Returns as much of a text as has so many bytes as a JSON string.
fn up_to_bytes(text: &str, bytes_max: usize) -> &str {
    let mut left = bytes_max;
    let overflow = text.char_indices().find(|(_, char)| {
        let bytes = bytes_in_json(*char);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        !fits
    });
    overflow.and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

fn bytes_in_json(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{C}' => 2,
        '\0'..='\u{1F}' => 6,
        _ => char.len_utf8(),
    }
}

/// What stands behind the header of a frame of ours; another message as it is.
pub(crate) fn payload(message: &Message) -> Message {
    match header(message) {
        Some(header) => behind(message.as_ref(), 1 + header.len() + 1),
        None => message.clone(),
    }
}

/// The room that a frame of ours is about, and its offset there, if it has one.
pub(crate) fn place(message: &Message) -> Option<(String, Option<u64>)> {
    #[derive(Deserialize)]
    struct OfRoom {
        room: String,
        offset: Option<u64>,
    }
    serde_json::from_slice(header(message)?).ok().map(|OfRoom { room, offset }| (room, offset))
}

/// What all messages with an offset in a room begin with.
pub(crate) fn entry_prefix(room: &str) -> String {
    let plain = ServerFrame::Message { room, offset: None, nonce: None }.to_text();
    plain.replace("}\n", ",\"offset\":")
}

fn header(message: &Message) -> Option<&[u8]> {
    let framed = message.as_bytes().strip_prefix(&[FRAME_MARK])?;
    framed.get(..framed.iter().position(|byte| *byte == b'\n')?)
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        if number > NUMBER_MAX {
            return Err(D::Error::custom(format_args!("the number {number} is out of range (0 to 2^53 - 1)")));
        }
        Ok(Id(number))
    }
}

fn as_text<S: Serializer>(value: &Option<impl std::fmt::Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> Result<Incoming, Malformed> {
        read(MessageRef::Text(text), HEADER_BYTES_MAX)
    }

    fn frame(text: &str) -> ClientFrame {
        match read_text(text) {
            Ok(Incoming::Frame(frame, _)) => frame,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn what_does_not_begin_with_the_mark_is_an_applications_message() {
        for text in ["", "hello", "{\"type\":\"join\"}\n", " \u{1E}\n", "\n"] {
            assert_eq!(read_text(text), Ok(Incoming::Application), "{text:?}");
        }
        assert_eq!(read(MessageRef::Binary(&[0xFF, 0x1E]), 10), Ok(Incoming::Application));
    }

    #[test]
    fn an_empty_header_makes_the_rest_an_applications_message_of_its_kind() {
        assert_eq!(read_text("\u{1E}\n\u{1E}x\n"), Ok(Incoming::Escaped("\u{1E}x\n".into())));
        assert_eq!(read_text("\u{1E}\n"), Ok(Incoming::Escaped("".into())));
        let bytes = [0x1E, 0x0A, 0x1E, 0xFF];
        assert_eq!(read(MessageRef::Binary(&bytes), 10), Ok(Incoming::Escaped(vec![0x1E, 0xFF].into())));
    }

    #[test]
    fn each_frame_of_a_client_is_read() {
        let (id, room) = (Id(7), Arc::<str>::from("a\"b"));
        for (text, expected) in [
            ("\u{1E}{\"type\":\"hello\"}\n", ClientFrame::Hello { rooms: HashMap::new() }),
            (
                "\u{1E}{\"type\":\"hello\",\"rooms\":{\"r\":\"1-2-3\"},\"user_agent\":\"x\"}\n",
                ClientFrame::Hello { rooms: HashMap::from([("r".to_owned(), "1-2-3".to_owned())]) },
            ),
            (
                "\u{1E}{\"room\":\"a\\\"b\",\"id\":7,\"more\":[{}],\"type\":\"join\"}\n",
                ClientFrame::Join { id, room: room.clone(), position: None },
            ),
            (
                "\u{1E}{\"type\":\"leave\",\"id\":7,\"room\":\"a\\\"b\"}\n",
                ClientFrame::Leave { id, room: room.clone() },
            ),
            (
                "\u{1E}{\"type\":\"publish\",\"id\":7,\"room\":\"a\\\"b\",\"key\":\"k\"}\nhello",
                ClientFrame::Publish { id, room: room.clone(), key: Some("k".into()) },
            ),
            (
                "\u{1E}{\"type\":\"request\",\"id\":7,\"method\":\"sum\"}\n[1]",
                ClientFrame::Request { id, method: "sum".to_owned() },
            ),
            ("\u{1E}{\"type\":\"ping\",\"id\":7}\n", ClientFrame::Ping { id }),
            ("\u{1E}{\"type\":\"presence\",\"id\":7,\"room\":\"a\\\"b\"}\n", ClientFrame::Presence { id, room }),
        ] {
            assert_eq!(frame(text), expected, "{text}");
        }
    }

    #[test]
    fn a_payload_is_the_rest_and_keeps_its_kind() {
        let text = "\u{1E}{\"type\":\"request\",\"id\":1,\"method\":\"m\"}\na\nb";
        let Ok(Incoming::Frame(_, payload)) = read_text(text) else { panic!("no frame") };
        assert_eq!(payload, Message::from("a\nb"));
        let binary = [text.as_bytes(), &[0xFF]].concat();
        let Ok(Incoming::Frame(_, payload)) = read(MessageRef::Binary(&binary), 4096) else { panic!("no frame") };
        assert_eq!(payload, Message::from(b"a\nb\xFF".to_vec()));
    }

    fn invalid(text: &str) -> Option<(Id, String)> {
        match read_text(text) {
            Ok(Incoming::Invalid(id, why)) => Some((id, why)),
            _ => None,
        }
    }

    #[test]
    fn a_frame_that_is_not_valid_is_one_to_be_answered_if_it_has_an_id() {
        for (header, why) in [
            (r#"{"type":"none","id":7}"#, "unknown variant `none`"),
            (r#"{"id":7}"#, "missing field `type`"),
            (r#"{"type":1,"id":7}"#, "invalid"),
            (r#"{"type":"join","id":7}"#, "missing field `room`"),
            (r#"{"type":"join","id":7,"room":1}"#, "expected a string"),
            (r#"{"type":"join","id":7,"room":"r","position":{}}"#, "expected a string"),
            (r#"{"type":"publish","id":7,"room":"r","key":5}"#, "expected a string"),
            (r#"{"type":"publish","id":7,"room":"r","room":"r"}"#, "duplicate field `room`"),
            (r#"{"type":"request","id":7,"method":null}"#, "expected a string"),
            (r#"{"type":"request","id":7,"method":"\ud800"}"#, "hex escape"),
            (r#"{"type":"hello","id":7,"rooms":[]}"#, "expected a map"),
        ] {
            let (id, told) = invalid(&format!("\u{1E}{header}\n")).unwrap_or_else(|| panic!("{header}"));
            assert_eq!(id, Id(7), "{header}");
            assert!(told.starts_with("invalid frame: ") && told.contains(why), "{header}: {told}");
        }
    }

    #[test]
    fn the_text_of_an_error_is_cut_between_characters_so_that_its_header_keeps_to_its_limit() {
        for char in ["x", "é", "😀", "\"", "\\", "\u{1}", "\n", "\u{7F}"] {
            for count in [0, 1, 200_000] {
                let long = char.repeat(count);
                let frame = ServerFrame::error(Id(NUMBER_MAX), &long, &long, Some(false));
                assert!(frame.len() <= LONG_HEADER_BYTES_MAX + 2, "{char:?}: {}", frame.len());
                let header: serde_json::Value = serde_json::from_str(frame.trim_start_matches(MARK)).unwrap();
                let [code, message] = ["code", "message"].map(|member| header[member].as_str().unwrap().to_owned());
                assert!(long.starts_with(&code) && long.starts_with(&message), "{char:?}");
                assert_eq!((code.is_empty(), message.is_empty()), (count == 0, count == 0), "{char:?}");
            }
        }
        let exact = "x".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(up_to_bytes(&exact, MESSAGE_BYTES_MAX), exact);
    }

    #[test]
    fn what_has_neither_a_header_nor_an_id_is_malformed() {
        for header in [
            "x",
            "{}",
            "[]",
            "[\"leave\",1,\"r\"]",
            "\"hello\"",
            "null",
            "{\"type\":1}",
            "{\"type\":\"none\"}",
            "{\"type\":\"welcome\",\"id\":\"x\",\"retry_ms\":[1,2]}",
            "{\"type\":\"join\",\"room\":\"r\"}",
            "{\"type\":\"join\",\"id\":-1,\"room\":\"r\"}",
            "{\"type\":\"join\",\"id\":1.5,\"room\":\"r\"}",
            "{\"type\":\"join\",\"id\":\"1\",\"room\":\"r\"}",
            "{\"type\":\"join\",\"id\":9007199254740993,\"room\":\"r\"}",
            "{\"type\":\"hello\",\"rooms\":[]}",
            "{\"type\":\"hello\"",
            "{\"type\":\"hello\"} x",
        ] {
            assert_eq!(read_text(&format!("\u{1E}{header}\n")), Err(Malformed::Header), "{header}");
        }
        let not_utf8 = b"\x1E{\"type\":\"request\",\"id\":1,\"method\":\"\xFF\"}\n";
        assert_eq!(read(MessageRef::Binary(not_utf8), 4096), Err(Malformed::Header));
    }

    #[test]
    fn a_header_ends_within_its_limit() {
        let header = |len: usize| format!("\u{1E}{:len$}\n", "{\"type\":\"hello\"}");
        assert!(matches!(read_text(&header(HEADER_BYTES_MAX)), Ok(Incoming::Frame(..))));
        assert_eq!(read_text(&header(HEADER_BYTES_MAX + 1)), Err(Malformed::Header));
        let with_id = format!("\u{1E}{:4097}\n", r#"{"type":"join","id":7,"room":"x"}"#);
        let why = "invalid frame: its header has 4097 bytes, at most 4096 are allowed".to_owned();
        assert_eq!(invalid(&with_id), Some((Id(7), why)));
        assert_eq!(read_text("\u{1E}{\"type\":\"hello\"}"), Err(Malformed::Endless));
        assert_eq!(read_text("\u{1E}"), Err(Malformed::Endless));
    }

    #[test]
    fn a_servers_frames_are_one_line_of_json() {
        let position: Position = format!("a-5-{:032}", 7).parse().unwrap();
        for (frame, text) in [
            (
                ServerFrame::Welcome {
                    id: "x".into(),
                    retry_ms: [1, 2],
                    ping_ms: Some(3),
                    limits: WelcomeLimits { message_bytes: None, unanswered: 4, rooms: 5 },
                },
                r#"{"type":"welcome","id":"x","retry_ms":[1,2],"ping_ms":3,"limits":{"unanswered":4,"rooms":5}}"#
                    .to_owned(),
            ),
            (
                ServerFrame::Presence { room: "r", event: "join", user: "ann", data: serde_json::json!({"a": 1}) },
                r#"{"type":"presence","room":"r","event":"join","user":"ann","data":{"a":1}}"#.to_owned(),
            ),
            (
                ServerFrame::Joined { room: "r", position: None, recovered: None },
                r#"{"type":"joined","room":"r"}"#.to_owned(),
            ),
            (
                ServerFrame::Joined { room: "r", position: Some(position), recovered: Some(true) },
                format!(r#"{{"type":"joined","room":"r","position":"a-5-{:032}","recovered":true}}"#, 7),
            ),
            (
                ServerFrame::Message { room: "a\n\"", offset: Some(5), nonce: Some(position.nonce) },
                format!(r#"{{"type":"message","room":"a\n\"","offset":5,"nonce":"{:032}"}}"#, 7),
            ),
            (ServerFrame::Gap { room: None, missed: None, offset: None }, r#"{"type":"gap"}"#.to_owned()),
            (ServerFrame::Ack { id: Id(3), position: None, duplicate: false }, r#"{"type":"ack","id":3}"#.to_owned()),
            (
                ServerFrame::Ack { id: Id(3), position: None, duplicate: true },
                r#"{"type":"ack","id":3,"duplicate":true}"#.to_owned(),
            ),
            (
                ServerFrame::Closing { code: 1012, reason: "x", retry_ms: Some([0, 5]) },
                r#"{"type":"closing","code":1012,"reason":"x","retry_ms":[0,5]}"#.to_owned(),
            ),
        ] {
            assert_eq!(frame.to_text(), format!("\u{1E}{text}\n"));
        }
    }

    #[test]
    fn a_frame_has_its_payloads_kind_and_gives_it_back() {
        let frame = ServerFrame::Message { room: "r", offset: None, nonce: None };
        let text = frame.around(MessageRef::Text("a\n"));
        assert_eq!(text, Message::from("\u{1E}{\"type\":\"message\",\"room\":\"r\"}\na\n"));
        assert_eq!((payload(&text), place(&text)), (Message::from("a\n"), Some(("r".to_owned(), None))));
        assert_eq!(payload(&frame.around(MessageRef::Binary(&[0xFF]))), Message::from(vec![0xFF]));
        let plain = Message::from("a\nb");
        assert_eq!((payload(&plain), place(&plain)), (plain.clone(), None));
    }

    #[test]
    fn only_what_begins_with_the_mark_is_mistakable_and_its_kind_stays() {
        for plain in ["", "a", "\n\u{1E}", "{}"] {
            assert_eq!(escape_mistakable(MessageRef::Text(plain)), None, "{plain:?}");
        }
        let text = escape_mistakable(MessageRef::Text("\u{1E}x"));
        assert_eq!(text, Some(Message::from("\u{1E}\n\u{1E}x")));
        let binary = escape_mistakable(MessageRef::Binary(&[0x1E, 0xFF]));
        assert_eq!(binary, Some(Message::from(vec![0x1E, 0x0A, 0x1E, 0xFF])));
    }

    proptest! {
        #[test]
        fn garbage_behind_a_mark_is_read_without_a_panic(bytes: Vec<u8>, max in 0_usize..64) {
            let bytes = [&[FRAME_MARK], &bytes[..]].concat();
            let _ = read(MessageRef::Binary(&bytes), max);
        }

        #[test]
        fn a_header_with_garbage_in_it_is_read_without_a_panic(text: String, room: String, id: u64) {
            let room = serde_json::to_string(&room).unwrap();
            for header in [
                format!("{{\"type\":\"join\",\"id\":{id},\"room\":{room}{text}}}"),
                format!("{{\"type\":\"join\",\"id\":{id},\"room\":{room},\"position\":{text}}}"),
                format!("{{{text}}}"),
            ] {
                let _ = read_text(&format!("\u{1E}{header}\n{text}"));
            }
        }

        #[test]
        fn every_room_name_comes_back(room: String, id in 0..=NUMBER_MAX) {
            let header = serde_json::json!({"type": "leave", "id": id, "room": &room});
            prop_assume!(header.to_string().len() <= HEADER_BYTES_MAX);
            prop_assert_eq!(frame(&format!("\u{1E}{header}\n")), ClientFrame::Leave { id: Id(id), room: room.into() });
        }
    }
}
