//! Messages of applications.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::json::{Bigint, text_of};

/// A message, text or binary.
///
/// ```
/// use nexios_client::Message;
/// let message = Message::of_json(&[1, 2]).unwrap();
/// assert_eq!(message.as_text(), Some("[1,2]"));
/// assert_eq!(message.json::<Vec<u8>>().unwrap(), [1, 2]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Text in UTF-8.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Serializes a value as JSON text. [`Client::message`](crate::Client::message) follows the settings of a client.
    ///
    /// # Errors
    /// [`Error`] with the code `argument`: the value has no form in JSON, as NaN and infinities have not, or holds a
    /// whole number beyond 2^53.
    pub fn of_json(value: &impl Serialize) -> Result<Self, Error> {
        text_of(value, Bigint::Error).map(Message::Text)
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Returns its text; `None` for a binary message.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }
    }

    /// Deserializes the message as JSON.
    ///
    /// # Errors
    /// The message is not the JSON of such a value.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.as_bytes())
    }

    pub(crate) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    pub(crate) fn empty() -> Self {
        Message::Text(String::new())
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
