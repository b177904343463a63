//! What travels between the page and the server, as JSON text messages.

use serde::{Deserialize, Serialize};

/// From the page.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum FromClient {
    Say { text: String },
    Direct { to: String, text: String },
    Typing,
}

/// To the page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ToClient<'a> {
    Welcome { you: &'a str, room: &'a str, people: Vec<String>, history: Vec<Said> },
    Joined { name: &'a str },
    Left { name: &'a str },
    Said(&'a Said),
    Direct { from: &'a str, to: &'a str, text: &'a str, at: u64 },
    Typing { from: &'a str },
    Notice { text: &'a str },
}

/// A message in a room; `at` is in milliseconds since 1970.
#[derive(Clone, Serialize)]
pub(crate) struct Said {
    pub(crate) from: String,
    pub(crate) text: String,
    pub(crate) at: u64,
}
