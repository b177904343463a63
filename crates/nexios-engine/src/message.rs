//! Messages as the application owns them, and as the engine lends them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use nexios_protocol::{OpCode, Short, Whole};

use crate::payload::{Payload, TextPayload};

/// One whole data message, owned.
///
/// ```
/// use nexios_engine::Message;
/// let message = Message::from("hello");
/// assert_eq!(message.len(), 5);
/// assert_eq!(message.as_text(), Some("hello"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// UTF-8 text (RFC 6455 §5.6).
    Text(Text),
    /// Arbitrary bytes (RFC 6455 §5.6).
    Binary(Binary),
}

/// One whole data message, borrowed from the engine's buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageRef<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Arbitrary bytes.
    Binary(&'a [u8]),
}

/// The text of a message: cheap to clone, up to 21 bytes live inline.
///
/// ```
/// use nexios_engine::Text;
/// let text = Text::from("hello");
/// assert_eq!(&*text, "hello");
/// ```
#[derive(Clone)]
pub struct Text(TextPayload);

/// The bytes of a message: cheap to clone, up to 21 live inline.
///
/// ```
/// use nexios_engine::Binary;
/// let binary = Binary::from(vec![1, 2, 3]);
/// assert_eq!(&*binary, &[1, 2, 3]);
/// ```
#[derive(Clone)]
pub struct Binary(Payload);

impl Message {
    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, of whichever kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(binary) => binary,
        }
    }

    /// The text, if this is a text message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// The same message, borrowed.
    pub fn as_ref(&self) -> MessageRef<'_> {
        match self {
            Message::Text(text) => MessageRef::Text(text),
            Message::Binary(binary) => MessageRef::Binary(binary),
        }
    }
}

impl MessageRef<'_> {
    pub(crate) fn opcode(&self) -> OpCode {
        match self {
            MessageRef::Text(_) => OpCode::Text,
            MessageRef::Binary(_) => OpCode::Binary,
        }
    }

    /// The payload, of whichever kind.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            MessageRef::Text(text) => text.as_bytes(),
            MessageRef::Binary(binary) => binary,
        }
    }

    /// An owned copy.
    pub fn to_message(&self) -> Message {
        match *self {
            MessageRef::Text(text) => Message::Text(text.into()),
            MessageRef::Binary(binary) => Message::Binary(binary.into()),
        }
    }
}

impl Text {
    /// The text as a `str`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The text as an owned `String`, without a copy where nobody else holds it.
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

impl Binary {
    /// The bytes as an owned `Vec`, without a copy where nobody else holds them.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Deref for Binary {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for Binary {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(text.into())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq for Binary {
    fn eq(&self, other: &Binary) -> bool {
        **self == **other
    }
}

impl Eq for Binary {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&[u8]> for Binary {
    fn from(bytes: &[u8]) -> Self {
        Binary(bytes.into())
    }
}

impl From<Vec<u8>> for Binary {
    fn from(bytes: Vec<u8>) -> Self {
        Binary(bytes.into())
    }
}

impl From<Bytes> for Binary {
    fn from(bytes: Bytes) -> Self {
        Binary((&*bytes).into())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<Cow<'_, [u8]>> for Binary {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl From<Whole<'_>> for Message {
    #[inline]
    fn from(message: Whole<'_>) -> Self {
        match message {
            Whole::Text(text) => Message::Text(text.into()),
            Whole::Binary(bytes) => Message::Binary(bytes.into()),
        }
    }
}

impl From<Short> for Message {
    #[inline]
    fn from(message: Short) -> Self {
        match message {
            Short::Text(text) => Message::Text(Text(text.into())),
            Short::Binary(bytes) => Message::Binary(Binary(bytes.into())),
        }
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Message::Text(text)
    }
}

impl From<Binary> for Message {
    fn from(binary: Binary) -> Self {
        Message::Binary(binary)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes.into())
    }
}
