//! What travels between clients and the server, as JSON.
//!
//! The page speaks `nexios.v1`: it is in the rooms `talk/…` and `news/…`, asks `history` and
//! `say`, and receives who is there. A plain WebSocket client gets all in one stream, and begins
//! with `welcome`.

use serde::{Deserialize, Serialize};

/// From a client.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum FromClient {
    Say(Say),
    Direct { to: String, text: String },
    Typing,
}

/// Something to say; sent again with the same key it is said once.
#[derive(Deserialize)]
pub(crate) struct Say {
    pub(crate) text: String,
    pub(crate) key: Option<String>,
}

/// To a client.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum ToClient<'a> {
    Welcome { you: &'a str, room: &'a str, people: Vec<String>, history: Vec<Stored> },
    Joined { name: &'a str },
    Left { name: &'a str },
    Said(&'a Said),
    Direct { from: &'a str, to: &'a str, text: &'a str, at: u64 },
    Typing { from: &'a str },
    Notice { text: &'a str },
}

/// A message in a room; `at` is in milliseconds since 1970.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) from: String,
    pub(crate) text: String,
    pub(crate) at: u64,
}

/// The same, with its position in the room's history.
#[derive(Serialize)]
pub(crate) struct Stored {
    pub(crate) offset: u64,
    #[serde(flatten)]
    pub(crate) said: Said,
}
